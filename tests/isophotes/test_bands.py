"""Galaxies in several bands: one geometry, harmonics and light of each band."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

import emeraldcut
from emeraldcut.cli import main
from emeraldcut.data import ImageSet
from emeraldcut.data.flags import Flag
from emeraldcut.errors import UsageError
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.isophotes import (
    MeasureSettings,
    ProfileSettings,
    band_profiles,
    band_shapes,
    bands,
    colour_profile,
    measure,
)
from emeraldcut.isophotes.bands import amplitudes, stepped
from emeraldcut.isophotes.galaxy_fit import measure_galaxy
from emeraldcut.tables import read_table
from tests.helpers import sky_noise_for

BANDS = ("g", "r", "z")
LIGHT = draw_galaxy(shapes.superellipse(0.6, 2.8), Sersic(1.0), size=72, radius_pix=8, position_angle_deg=25)
NOISE = sky_noise_for(LIGHT, 60)


def in_bands(number: int, seed: int = 0, flux: tuple[float, ...] = (1, 1, 1), **changed) -> ImageSet:
    """The same boxy galaxy in three bands of equal noise, so many times; `changed` replaces bands, or their noise."""
    rng, pixels, all_planes = np.random.default_rng(seed), [], []
    for _ in range(number):
        planes = {
            name: (f * changed.get(name, LIGHT) + rng.normal(0, NOISE, LIGHT.shape)).astype(np.float32)
            for name, f in zip(BANDS, flux, strict=True)
        }
        all_planes.append(planes)
        pixels.append(np.nanmean(list(planes.values()), axis=0))
    return ImageSet(np.array(pixels, np.float32), Table({"id": [f"g{k}" for k in range(number)]}), bands=all_planes)


def alone(images: ImageSet, name: str) -> ImageSet:
    return ImageSet([planes[name] for planes in images.bands], images.table[["id"]])


JOINT = MeasureSettings(bands="joint", zones=False)
angles = st.floats(-np.pi, np.pi)
small = st.floats(-0.03, 0.03)


@given(q=st.floats(0.2, 0.95), angle=angles, step=st.lists(small, min_size=12, max_size=12))
@settings(max_examples=100, deadline=None)
def test_amplitudes_take_a_shape_to_another(q, angle, step):
    """To second order in what they are."""
    shape = np.array([30.0, 31.0, q, angle, *np.linspace(-0.05, 0.05, 8)])
    step = np.array(step) * min(1.0, 1 - q * q)
    step[2] = max(step[2], (q - 1) / 2 + 0.03)  # an axis ratio stays below 1
    np.testing.assert_allclose(amplitudes(shape, stepped(shape, step)), step, atol=4e-3)
    np.testing.assert_allclose(amplitudes(shape, shape), 0, atol=1e-12)


@pytest.mark.slow
def test_three_equal_bands_leave_a_third_of_the_variance():
    """And no bias: the mean of many galaxies is that of the drawing without noise."""
    images = in_bands(150)
    joint, single = measure(images, JOINT), measure(alone(images, "g"), MeasureSettings(zones=False))
    truth = measure(ImageSet([LIGHT], Table({"id": ["x"]})))["a4"][0]
    ratio = np.median(joint["a4_err"].filled(np.nan)) / np.median(single["a4_err"].filled(np.nan))
    assert ratio == pytest.approx(3**-0.5, rel=0.1)
    scatter = np.std(joint["a4"].filled(np.nan)) / np.std(single["a4"].filled(np.nan))
    assert scatter == pytest.approx(3**-0.5, rel=0.2)
    assert abs(np.mean(joint["a4"]) - truth) < 0.001 + 2 * np.std(joint["a4"]) / np.sqrt(len(joint))
    assert 0.58 < np.mean(np.abs(joint["a4"] - truth) < joint["a4_err"]) < 0.8


def test_bands_on_one_geometry_hold_their_own_harmonics():
    """The galaxy is boxy in one band and an ellipse in the others."""
    ellipse = draw_galaxy(shapes.ellipse(0.6), Sersic(1.0), size=72, radius_pix=8, position_angle_deg=25)
    images = in_bands(8, flux=(3, 3, 3), g=ellipse, z=ellipse)
    for how in ("joint", "forced"):
        table = band_shapes(images, MeasureSettings(bands=how))
        assert list(table["id"][:3]) == ["g0"] * 3 and list(table["band"][:3]) == list(BANDS)
        for name in ("x", "axis_ratio", "position_angle_deg"):  # one geometry
            assert np.ptp(table[name][:3]) == pytest.approx(0, abs=1e-9)
        a4 = {name: np.mean(table["a4"][table["band"] == name]) for name in BANDS}
        expected = measure(ImageSet([LIGHT], Table({"id": ["x"]})))["a4"][0]
        assert a4["r"] == pytest.approx(expected, abs=0.01)
        assert a4["g"] == pytest.approx(0, abs=0.01) and a4["z"] == pytest.approx(0, abs=0.01)


def test_a_band_without_light_does_not_spoil_the_others():
    expected = measure(ImageSet([LIGHT], Table({"id": ["x"]})))["a4"][0]
    images, lacking = in_bands(6), in_bands(6, z=np.full(LIGHT.shape, np.nan))
    for planes in images.bands:
        planes["z"] = np.random.default_rng(5).normal(0, NOISE, LIGHT.shape).astype(np.float32)
    for given_images in (images, lacking):
        rows = band_shapes(given_images, JOINT)
        hidden = np.ma.getmaskarray(rows["a4"])
        assert not hidden[rows["band"] != "z"].any()
        joint = measure(given_images, JOINT)
        assert np.all(np.abs(joint["a4"] - expected) < 5 * joint["a4_err"])
    assert hidden[rows["band"] == "z"].all()
    assert all("No galaxy stands out" in text for text in rows["flag_text"][rows["band"] == "z"])
    assert not rows["flag"][rows["band"] != "z"].any()


def test_a_fit_of_a_band_that_does_not_settle_is_flagged_and_has_no_say(monkeypatch):
    """A fit that ends wherever its second step leads it."""
    images, calls = in_bands(1), []
    expected = measure(alone(images, "g"), MeasureSettings(zones=False))

    def measured(*given_values):
        calls.append(measure_galaxy(*given_values))
        fit = calls[-1]
        if len(calls) <= 2:  # all bands, and g
            return fit
        return replace(fit, converged=False, fitted=fit.fitted._replace(shape=fit.fitted.shape + 0.03))

    monkeypatch.setattr(bands, "measure_galaxy", measured)
    rows = band_shapes(images, JOINT)
    assert list(rows["band"]) == list(BANDS) and len(calls) == 4
    assert [bool(flag & Flag.NOT_CONVERGED) for flag in rows["flag"]] == [False, True, True]
    assert rows["a4"][0] == pytest.approx(expected["a4"][0], abs=expected["a4_err"][0] / 2)


def test_the_colour_of_a_galaxy_is_that_of_its_light():
    """Twice as bright in r as in g everywhere: a colour of 0.753 at all radii."""
    images = in_bands(2, flux=(20, 40, 20))
    profiles = band_profiles(images, JOINT, ProfileSettings(largest_radius_pix=16))
    colour = colour_profile(profiles, "g", "r")
    assert len(colour) >= 30 and set(profiles["band"]) == set(BANDS)
    off = np.abs(colour["colour_mag"] - 2.5 * np.log10(2)) / colour["colour_err_mag"]
    assert 0.4 < np.mean(off < 1) < 0.95 and np.max(off) < 5
    with pytest.raises(UsageError, match="expects two bands of g, r, z; received 'u'"):
        colour_profile(profiles, "g", "u")


@pytest.mark.slow
def test_files_arrays_and_the_shell_give_the_same(tmp_path):
    planes = np.array(list(in_bands(1, flux=(1, 1, 1)).bands[0].values()))
    path = tmp_path / "grz.fits"
    fits.PrimaryHDU(planes, fits.Header({"BANDS": "grz"})).writeto(path)
    output = tmp_path / "shape.ecsv"
    main(["measure", str(path), "--bands", "joint", "--output", str(output), "--profiles", str(tmp_path / "p.ecsv"),
          "--quiet"])  # fmt: skip
    shape, rows = read_table(output), read_table(tmp_path / "shape-bands.ecsv")
    assert list(rows["band"]) == list(BANDS) and set(read_table(tmp_path / "p.ecsv")["band"]) == set(BANDS)
    from_path = emeraldcut.measure(path, bands="joint")
    from_hdu = emeraldcut.measure(fits.PrimaryHDU(planes, fits.Header({"BANDS": "grz"})), bands="joint")
    for other in (from_path, from_hdu):
        assert other["a4"][0] == shape["a4"][0]
    assert shape["a4_err"][0] < 0.7 * rows["a4_err"][0]
    assert shape["a4"][0] != emeraldcut.measure(path)["a4"][0]


def test_images_without_bands_say_so(tmp_path):
    with pytest.raises(UsageError, match="expects images that are made of several bands"):
        measure(ImageSet([LIGHT], Table({"id": ["x"]})), JOINT)
