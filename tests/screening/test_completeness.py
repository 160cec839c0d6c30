"""Completeness by injection: what is injected is what was asked for, and shares are counts."""

import numpy as np
import pytest
from astropy.table import Table

from emeraldcut.cli import main
from emeraldcut.data import ImageSet
from emeraldcut.frame import frame_galaxies
from emeraldcut.images import NoImagesError, ReadSettings
from emeraldcut.networks.calibration import SNR_BINS, count_found, expected_found, shift_priors
from emeraldcut.runs import read_manifest
from emeraldcut.screening import CompletenessSettings, ScreenSettings, completeness, inject
from emeraldcut.screening.screen import expectations
from emeraldcut.tables import read_table

SMALL = {"injections": 6, "snr": (60.0, 250.0), "radius_fwhm": (3.0,), "axis_ratio": (0.6,), "exponent": (5.0,)}


def skies(number, plan, size=64, sigma=2.0):
    noise = np.random.default_rng(5).normal(0, sigma, (number, size, size)).astype(np.float32)
    table = {"id": [f"sky {k}" for k in range(number)], "number": np.arange(number)}
    return ImageSet(noise, Table(table | {name: np.full(number, value) for name, value in plan.items()}))


def test_what_is_injected_is_what_was_asked_for():
    plan = {"snr": 200.0, "radius_fwhm": 4.0, "axis_ratio": 0.6, "exponent": 4.0}
    backgrounds = skies(8, plan)
    images = inject(backgrounds, CompletenessSettings(psf_pix=2.0), seed=3)
    light = np.array(images.pixels) - backgrounds.pixels
    found = []
    for one in light:
        ordered = np.sort(one, axis=None)[::-1].cumsum(dtype=float)
        n = np.searchsorted(ordered, ordered[-1] / 2) + 1
        found.append(ordered[n - 1] / (2.0 * np.sqrt(n)))
    np.testing.assert_allclose(found, 200, rtol=0.12)  # the noise is estimated
    assert np.mean(found) == pytest.approx(200, rel=0.04)
    frames = frame_galaxies(images).table
    assert np.ma.median(frames["radius_pix"].data) == pytest.approx(8, rel=0.1)
    assert np.ma.median(frames["axis_ratio"].data) == pytest.approx(0.62, abs=0.03)  # after the PSF
    assert list(images.table["injected_into"]) == [f"sky {k}" for k in range(8)]
    again = inject(backgrounds[3:5], CompletenessSettings(psf_pix=2.0), seed=3)
    np.testing.assert_array_equal(again.pixels[1], images.pixels[4])  # each by its number alone


def test_a_galaxy_that_was_there_makes_place():
    plan = {"snr": 100.0, "radius_fwhm": 3.0, "axis_ratio": 0.6, "exponent": 4.0}
    first = inject(skies(4, plan), CompletenessSettings(), seed=1)
    backgrounds = skies(4, plan)
    backgrounds.pixels = np.array(first.pixels)
    second = inject(backgrounds, CompletenessSettings(), seed=2)
    for a, b in zip(first.pixels, second.pixels, strict=True):
        assert b.sum() == pytest.approx(a.sum(), rel=0.3)  # one galaxy, not two


@pytest.mark.slow
def test_shares_are_counts():
    """Of what the injected galaxies' rows say; the same on two workers."""
    shares, injected = completeness(CompletenessSettings(**SMALL), seed=4)
    assert len(shares) == 2 and list(shares["injected"]) == [6, 6]
    for row in shares:
        here = injected[injected["truth_snr"] == row["snr"]]
        assert row["found"] == here["found"].sum() == np.sum(here["p_rectangular"] >= 0.5)
        assert row["completeness_low"] <= row["completeness"] <= row["completeness_high"]
    assert shares["completeness"][1] > 0.5
    parallel, _ = completeness(CompletenessSettings(**SMALL), seed=4, jobs=2)
    assert list(parallel["found"]) == list(shares["found"])


def test_settings_that_make_no_sense():
    with pytest.raises(ValueError, match="of setting 'axis_ratio' must be above 0 and at most 1; received 1.2"):
        CompletenessSettings(axis_ratio=(0.5, 1.2))
    with pytest.raises(ValueError, match="'snr' expects at least one value; received none"):
        CompletenessSettings(snr=())
    with pytest.raises(ValueError, match="'prevalence' must be above 0 and below 1"):
        CompletenessSettings(prevalence=2.0)


@pytest.mark.slow
def test_completeness_as_a_command(tmp_path, capsys):
    """Into the user's own images, and what the folder then holds."""
    assert main(["synthesise", "--number", "5", "--classes", "oval", "-o", str(tmp_path / "set"), "--quiet"]) == 0
    flags = ["--injections", "5", "--snr", "200", "--radius-fwhm", "3", "--axis-ratio", "0.6", "--exponent", "4"]
    out = tmp_path / "out"
    command = ["completeness", "--background", str(tmp_path / "set"), "-o", str(out), "--quiet", *flags]
    assert main(command) == 0
    assert capsys.readouterr().out.endswith("report.html\n")
    shares, injected = read_table(out / "completeness.ecsv"), read_table(out / "injected.parquet")
    assert len(shares) == 1 and shares["injected"][0] == len(injected) == 5
    assert set(injected["injected_into"]) == set(read_table(tmp_path / "set" / "table.parquet")["id"])
    assert read_manifest(out)["injected"] == 5 and (out / "completeness.png").stat().st_size > 5000
    assert main(command) == 2


# --- what screen says


def test_expected_numbers_are_those_of_the_rates():
    """A classifier that finds 0.8 of the rectangular and 0.001 of the others, at any snr."""
    rng, classes, n = np.random.default_rng(0), ("oval", "rectangular", "obround", "other"), 400_000
    targets, snr = rng.integers(0, 4, n), np.exp(rng.uniform(np.log(5), np.log(400), n))
    called = rng.random(n) < np.where(targets == 1, 0.8, 0.001)
    p = np.where(called[:, None], np.eye(4)[1] * 0.99999 + 2.5e-6, np.array([0.4, 1e-6, 0.2, 0.4]))
    counts = count_found(p, targets, snr, classes)
    assert np.sum(counts["images"]) == n and len(counts["images"]) == len(SNR_BINS) - 1
    expected = expected_found(counts, classes, 0.01, snr[:100_000])
    assert expected["true"][0] == pytest.approx(100_000 * 0.01 * 0.8, rel=0.01)
    assert expected["false"][0] == pytest.approx(100_000 * 0.99 * 0.001, rel=0.1)
    low, high = expected["true"][1:]
    assert high - low == pytest.approx(2 * np.sqrt(800), rel=0.15)  # Poisson; the rates are known well
    few = expected_found(counts, classes, 0.01, snr[:2000])
    assert 0 <= few["true"][1] < few["true"][0] < few["true"][2]
    between = expected_found(counts, classes, 0.005, snr[:100_000])
    assert between["true"][0] == pytest.approx(400, rel=0.02)
    assert shift_priors(p, classes, 0.01)[called, 1].min() > 0.5


def test_how_far_to_look():
    table = Table({"score": [0.9, 0.6, 0.3, 0.1, 0.05, 0.05], "snr": [50.0] * 6, "trusted": [True] * 6})
    facts = expectations(table, ScreenSettings())
    assert facts["expected_rectangular"] == pytest.approx(2) and facts["found"] == 2
    assert facts["ranks_to_inspect"] == {"0.5": 2, "0.8": 3, "0.9": 3}
    # of two found with 0.9 and 0.6, both are rectangular in 0.54 of cases and none in 0.04
    assert facts["expected_true"] == pytest.approx([1.5, 1, 2])
    assert facts["expected_false"] == pytest.approx([0.5, 0, 1])
    for name in ("forecast_true", "forecast_false"):  # before looking at them
        assert facts[name][1] <= facts[name][0] <= facts[name][2] and facts[name][0] < 0.1
    table["trusted"][0] = False
    facts = expectations(table, ScreenSettings())
    assert (facts["found"], facts["found_untrusted"]) == (1, 1) and facts["expected_true"][0] == pytest.approx(0.6)


def test_backgrounds_must_be_usable(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(NoImagesError, match="no usable images"):
        completeness(CompletenessSettings(background=str(tmp_path), **SMALL), ReadSettings())
