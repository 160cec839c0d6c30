"""What is found does not depend on the unit of the counts, nor on the level of the sky."""

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.data import ImageSet
from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import Flag
from emeraldcut.detection import detect_sources
from emeraldcut.frame import clean
from emeraldcut.galaxies import SynthesiseSettings, draw_galaxy, shapes, synthesise
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.isophotes import measure, radial_profiles
from emeraldcut.networks import classify
from emeraldcut.similarity import compare

SIGMA = 2.0  # of the sky's noise
COUNTS = {
    "background",
    "sky_sigma",
    "brightness",
    "brightness_err",
    "light_inside",
    "noise_removed",
}  # columns in counts
binary = st.integers(-105, 100).map(lambda k: 2.0**k)
units = st.tuples(st.floats(1, 10), st.integers(-31, 29)).map(lambda t: t[0] * 10.0 ** t[1])
levels = st.one_of(st.just(0.0), st.floats(-300, 300))  # of the sky, in its noise
ROUNDING = 3e-6  # of the errors, for each sigma of the sky's level: what single precision does to the pixels
few = settings(max_examples=8, deadline=None)


def _galaxies() -> np.ndarray:
    """Three galaxies in noise (3, 64, 64): nearly round, boxy, and with a star beside it; the last with a gap."""
    rng, images = np.random.default_rng(3), []
    for q, exponent, height in ((0.9, 2.0, 20), (0.6, 3.5, 40), (0.7, 2.0, 60)):
        light = draw_galaxy(shapes.superellipse(q, exponent), Sersic(1), radius_pix=7, psf_fwhm_pix=2.5)
        images.append(SIGMA * (light / light.max() * height + rng.normal(size=light.shape)))
    y, x = np.mgrid[:64, :64]
    images[2] += 30 * SIGMA * np.exp(-(np.hypot(x - 48, y - 40) ** 2) / 4)
    images[2][5:9, 5:30] = np.nan
    return np.array(images)


GALAXIES = _galaxies()


def _images(unit: float, level: float, psf: bool) -> ImageSet:
    table = Table({"id": ["round", "boxy", "crowded"]})
    if psf:
        table["psf_fwhm_pix"] = 2.5
    return ImageSet((unit * (GALAXIES + level * SIGMA)).astype(np.float32), table)


STAGES = {
    "measure": measure,
    "profiles": radial_profiles,
    "classify": classify,
    "compare": compare,
    "clean": lambda images: clean(images).table,
}
EXPECTED = {}


def _expected(stage: str, psf: bool) -> Table:
    if (stage, psf) not in EXPECTED:
        EXPECTED[stage, psf] = STAGES[stage](_images(1.0, 0.0, psf))
    return EXPECTED[stage, psf]


@pytest.mark.parametrize("psf", [False, True], ids=["PSF unknown", "PSF known"])
@pytest.mark.parametrize("stage", STAGES)
@few
@given(unit=binary)
def test_a_power_of_two_changes_no_bit(stage, psf, unit):
    found, expected = STAGES[stage](_images(unit, 0.0, psf)), _expected(stage, psf)
    assert found.colnames == expected.colnames
    for name in found.colnames:
        scale = unit if name in COUNTS else 1.0
        one, other = (np.ma.filled(np.ma.asarray(t[name]), np.nan if t[name].dtype.kind == "f" else 0)
                      for t in (found, expected))  # fmt: skip
        np.testing.assert_array_equal(one / scale if name in COUNTS else one, other, err_msg=name)


def _close(found: Table, expected: Table, unit: float, level: float) -> None:
    """To 1e-4 of the errors, 1e-3 for single isophotes; those that did not converge may hang on the last bit.

    Under a sky of many sigma single precision rounds the pixels of each unit more coarsely.

    One step of rounding of all pixels, up or down, moves results by 3e-4 of their errors where the level is 300 and the
    PSF is known, by 1e-4 where it is unknown, and by 2e-5 where there is no sky; a unit rounds by a third of that.
    """
    known, profiles = "psf_fwhm_pix" in found.colnames, "stop_reason" in found.colnames
    tolerance = max(1e-4, (1e-5 if known else ROUNDING) * abs(level)) * (10 if profiles else 1)
    assert found.colnames == expected.colnames
    if profiles:
        assert list(found["stop_reason"]) == list(expected["stop_reason"])
        converged = expected["stop_reason"] == "converged"
        found, expected = found[converged], expected[converged]
    for name in found.colnames:
        if expected[name].dtype.kind not in "fiu":
            assert list(found[name]) == list(expected[name]), name
            continue
        one, other = numbers(found[name]), numbers(expected[name])
        if name in COUNTS:
            one, allowed = one / unit - (level * SIGMA if name == "background" else 0.0), tolerance * SIGMA
            if name == "light_inside":  # of many pixels
                allowed = tolerance * np.abs(other)
        elif (errors := name.removesuffix("_deg") + "_err" + "_deg" * name.endswith("_deg")) in expected.colnames:
            errors = numbers(expected[errors])  # NaN of axes that an isophote has from its neighbour
            allowed = tolerance * np.where(np.isnan(errors), np.abs(other) + 1e-2, errors)
        elif name.startswith("p_"):
            allowed = tolerance
        else:
            allowed = tolerance * np.abs(other) + 1e-5
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other), err_msg=name)
        assert np.all((np.abs(one - other) <= allowed) | np.isnan(one)), (name, one, other)


@pytest.mark.parametrize("psf", [False, True], ids=["PSF unknown", "PSF known"])
@pytest.mark.parametrize("stage", STAGES)
@few
@given(unit=units, level=levels)
def test_results_do_not_depend_on_the_unit_of_counts(stage, psf, unit, level):
    _close(STAGES[stage](_images(unit, level, psf)), _expected(stage, psf), unit, level)


@few
@given(unit=units, level=levels)
def test_cleaned_pixels_have_the_unit_of_counts(unit, level):
    found = clean(_images(unit, level, True)).pixels.astype(float) / unit - level * SIGMA
    np.testing.assert_allclose(found, clean(_images(1.0, 0.0, True)).pixels, atol=1e-3 * SIGMA)


def _field(unit: float, level: float) -> np.ndarray:
    field = np.random.default_rng(1).normal(0, SIGMA, (256, 256))
    for k, galaxy in enumerate(np.nan_to_num(GALAXIES)):
        field[60 * k + 10 : 60 * k + 74, 50 * k + 10 : 50 * k + 74] += galaxy
    field[200:210, 5:40] = np.nan
    return (unit * (field + level * SIGMA)).astype(np.float32)


@few
@given(unit=units, level=levels)
def test_sources_do_not_depend_on_the_unit_of_counts(unit, level):
    found, expected = detect_sources(_field(unit, level)), detect_sources(_field(1.0, 0.0))
    assert len(expected) >= 3 and list(found["id"]) == list(expected["id"])
    for name, scale in (("x", 1.0), ("y", 1.0), ("area_pix", 1.0), ("flux", unit)):
        np.testing.assert_allclose(found[name] / scale, expected[name], rtol=1e-4)


def test_the_brightest_pixels_do_not_set_the_unit():
    """Nor do the many of no light: a bad pixel of 1e30, and a drawing that fills little of its image."""
    images = _images(1.0, 0.0, True)
    images.pixels[:, 3, 3] = 1e30
    spoilt, expected = measure(images), measure(_images(1.0, 0.0, True))
    np.testing.assert_allclose(spoilt["a4"][:2], expected["a4"][:2], atol=0.1 * max(expected["a4_err"]))
    drawing = draw_galaxy(shapes.superellipse(0.6, 4), Sersic(1), size=400, radius_pix=8).astype(np.float32)
    drawing[drawing < 0.02 * drawing.max()] = 0  # one pixel in 190 has light
    large, small = (measure(ImageSet([d], Table({"id": ["a"]}))) for d in (drawing, drawing[150:250, 150:250]))
    assert large["a4"][0] == pytest.approx(small["a4"][0], abs=0.005)


MANY = synthesise(SynthesiseSettings(number=60), seed=5)


@pytest.mark.parametrize("psf", [False, True], ids=["PSF unknown", "PSF known"])
@few
@given(unit=units)
def test_only_fits_that_are_flagged_depend_on_the_unit_of_counts(psf, unit):
    """Galaxies and artefacts of all classes: one in thirty may hang on a pixel at the edge of what is clipped."""
    tables = []
    for factor in (1.0, unit):
        table = MANY.table.copy()
        if not psf:
            table.remove_column("psf_fwhm_pix")
        images = ImageSet([(factor * pixels.astype(float)).astype(np.float32) for pixels in MANY.pixels], table)
        tables.append(measure(images))
    expected, found = tables
    settled = (expected["flag"] & Flag.NOT_CONVERGED) == 0
    assert settled.mean() > 0.85 and np.sum(found["flag"] != expected["flag"]) <= 1
    for name in ("a3", "a4", "a6", "a8", "b4_sin", "axis_ratio"):
        moved = np.abs(numbers(found[name]) - numbers(expected[name])) / numbers(expected[f"{name}_err"])
        assert np.sum(moved[settled] > 1e-4) <= 2, (name, np.sort(moved[settled])[-3:])
        assert np.nanmax(moved[settled]) < 0.1
