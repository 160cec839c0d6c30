"""Cleaning: noise that is known goes, what is below it stays; and a galaxy that is taken out of its image."""

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.cli import main
from emeraldcut.data import Flag, ImageSet
from emeraldcut.frame import CleanSettings, clean, noise_of, quick_shape_of, without_galaxy
from emeraldcut.galaxies import SynthesiseSettings, draw_galaxy, shapes, synthesise
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.images import read_images


@pytest.fixture(scope="module")
def galaxy():
    """A galaxy without noise, (64, 64), brightest pixel 50."""
    light = draw_galaxy(shapes.superellipse(0.6, 4), Sersic(1), radius_pix=9, position_angle_deg=30, psf_fwhm_pix=2.5)
    return 50 * light / light.max()


@pytest.mark.parametrize("method", ["nlm", "wavelet"])
def test_noise_goes_and_the_galaxy_stays(galaxy, method):
    rng = np.random.default_rng(0)
    noisy = (galaxy + rng.normal(0, 2, (5, 64, 64))).astype(np.float32)
    cleaned = clean(ImageSet(noisy, Table({"id": list("abcde")})), CleanSettings(method=method))
    np.testing.assert_allclose(cleaned.table["noise_removed"], 2, rtol=0.08)
    before, after = (np.sqrt(np.mean((pixels - galaxy) ** 2)) for pixels in (noisy, cleaned.pixels))
    assert after < 0.5 * before
    np.testing.assert_allclose(cleaned.pixels.sum(axis=(1, 2)), noisy.sum(axis=(1, 2)), rtol=0.03)


def test_what_cannot_be_cleaned_stays_as_it_is(galaxy):
    rng = np.random.default_rng(0)
    holed = galaxy + rng.normal(0, 1, galaxy.shape)
    holed[20:24, 30:34] = np.nan
    pixels = [holed, np.full((20, 20), np.nan), np.zeros((0, 0)), np.ones((20, 20)), rng.normal(size=(30, 40))]
    flags = [0, 0, int(Flag.UNREADABLE), 0, 0]
    cleaned = clean(ImageSet(pixels, Table({"id": list("abcde"), "flag": flags})))
    np.testing.assert_array_equal(np.isnan(cleaned.pixels[0]), np.isnan(holed))
    assert np.isnan(cleaned.pixels[1]).all() and cleaned.pixels[2].shape == (0, 0)
    np.testing.assert_array_equal(cleaned.pixels[3], 1)
    assert cleaned.pixels[4].std() < 0.5  # sky alone
    assert np.isnan(cleaned.table["noise_removed"][[1, 2]]).all()


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-3, 1e5), st.integers(0, 1000))
def test_cleaning_does_not_depend_on_the_unit_of_counts(factor, seed):
    image = synthesise(SynthesiseSettings(number=1, size=48), seed=seed)
    scaled = ImageSet([image.pixels[0] * np.float32(factor)], Table({"id": ["a"]}))
    one, other = clean(image).pixels[0], clean(scaled).pixels[0] / factor
    np.testing.assert_allclose(other, one, atol=2e-3 * np.abs(one).max())


def test_noise_from_differences():
    rng = np.random.default_rng(3)
    plane = np.add.outer(np.arange(200), 3 * np.arange(150)) * 0.1
    assert noise_of(plane + rng.normal(0, 1.7, plane.shape)) == pytest.approx(1.7, rel=0.02)
    assert noise_of(plane) == pytest.approx(0, abs=1e-9)


def test_a_galaxy_taken_out_of_its_image():
    """Of an elliptical galaxy nothing is left but noise; a neighbour stays."""
    rng = np.random.default_rng(1)
    light = draw_galaxy(shapes.ellipse(0.6), Sersic(1.5), size=80, radius_pix=9, position_angle_deg=70, psf_fwhm_pix=3)
    other = draw_galaxy(shapes.ellipse(0.9), Sersic(1), size=80, radius_pix=3, centre=(12, 66), psf_fwhm_pix=3)
    image = (4e4 * light + 3e3 * other + rng.normal(0, 1, light.shape)).astype(np.float32)
    left = without_galaxy(image, quick_shape_of(image, 3.0)) - 3e3 * other
    y, x = np.mgrid[:80, :80] - 39.5
    inside = np.hypot(x, y) < 20
    assert abs(left[inside].sum()) < 0.01 * 4e4
    assert left[inside & (np.hypot(x, y) > 6)].std() < 1.5


def test_clean_as_a_command(tmp_path, capsys):
    assert main(["synthesise", "--number", "6", "-o", str(tmp_path / "set"), "--quiet"]) == 0
    command = ["clean", str(tmp_path / "set"), "-o", str(tmp_path / "cleaned"), "--method", "wavelet", "--quiet"]
    assert main(command) == 0
    assert capsys.readouterr().out.endswith("cleaned\n")
    noisy, cleaned = read_images(tmp_path / "set"), read_images(tmp_path / "cleaned")
    assert list(cleaned.table["id"]) == list(noisy.table["id"]) and "label" in cleaned.table.colnames
    assert cleaned.pixels[:, :4, :4].std() < noisy.pixels[:, :4, :4].std()
    assert main(command) == 2
    assert "finished run" in capsys.readouterr().err
    assert main(["clean", str(tmp_path / "set"), "-o", str(tmp_path / "set"), "--overwrite"]) == 2
    assert "folder of their own" in capsys.readouterr().err
