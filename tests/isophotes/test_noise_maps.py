"""Noise maps in every fit, pixel by pixel: against known weights, and by what they must not change."""

import numpy as np
import pytest
from astropy.io import fits

from emeraldcut.data import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.frame import clean, frame_galaxies
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.images import read_images, write_images
from emeraldcut.isophotes import ProfileSettings, measure, radial_profiles
from tests.helpers import images, sky_noise_for

SHAPE = shapes.superellipse(0.65, 3)
TRUTH = shapes.harmonics(SHAPE)["a4"]
CLEAN = draw_galaxy(SHAPE, Sersic(1.0), size=80, radius_pix=9, position_angle_deg=30).astype(np.float32)
SIGMA = sky_noise_for(CLEAN, 120)


def noise_map(factor: float = 6.0) -> np.ndarray:
    """A detector's half that is noisier by this factor."""
    noise = np.full(CLEAN.shape, SIGMA, np.float32)
    noise[:, :38] *= factor
    return noise


def with_noise(pixels, noises, **columns):
    rows = images(*pixels, **columns).table
    return ImageSet([np.asarray(p, np.float32) for p in pixels], rows, None, noises)


def drawn(number, noise, seed=0):
    rng = np.random.default_rng(seed)
    return [CLEAN + noise * rng.normal(size=CLEAN.shape) for _ in range(number)]


def test_noisy_pixels_have_little_weight():
    noise = noise_map()
    pixels = drawn(80, noise)
    weighed, alike = (measure(with_noise(pixels, maps)) for maps in ([noise] * 80, None))
    scatter = [np.ma.std(table["a4"] - TRUTH) for table in (weighed, alike)]
    assert scatter[0] < 0.7 * scatter[1]
    pulls = (weighed["a4"] - TRUTH) / weighed["a4_err"]
    assert 0.56 < np.mean(np.abs(pulls) < 1) < 0.82
    assert abs(np.mean(pulls)) < 0.4
    profiles = radial_profiles(with_noise(pixels[:20], [noise] * 20))
    middle = (profiles["isophote_radius_pix"] > 8) & (profiles["isophote_radius_pix"] < 16)
    pulls = ((profiles["a4"] - TRUTH) / profiles["a4_err"])[middle].compressed()
    assert 0.6 < np.sqrt(np.mean(pulls**2)) < 1.3


def test_the_error_is_that_of_weighed_least_squares():
    """A sector with 30 times the noise is as good as one without data."""
    noise = np.full(CLEAN.shape, SIGMA, np.float32)
    noise[:36, :38] *= 30
    pixels = drawn(20, noise, seed=3)
    hidden = [np.where(noise > 10 * SIGMA, np.nan, p) for p in pixels]
    radii = ProfileSettings(radii_pix=(9.0, 13.0))
    by_map, by_mask = (
        np.ma.median(radial_profiles(with_noise(*both, noise_sigma=[SIGMA] * 20), profile_settings=radii)["a4_err"])
        for both in ((pixels, [noise] * 20), (hidden, None))
    )
    assert by_map == pytest.approx(by_mask, rel=0.15)


def test_an_even_map_changes_nothing():
    pixels = drawn(4, SIGMA)
    even = np.full(CLEAN.shape, SIGMA, np.float32)
    one, two = measure(with_noise(pixels, [even] * 4)), measure(with_noise(pixels, None))
    for name in ("a4", "a4_err", "axis_ratio"):
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e12])
def test_only_ratios_count_where_the_typical_noise_is_not_stated(unit):
    pixels = drawn(3, noise_map())
    one = measure(with_noise(pixels, [noise_map()] * 3))
    other = measure(with_noise(pixels, [(noise_map() * unit).astype(np.float32)] * 3))
    np.testing.assert_allclose(one["a4"], other["a4"], atol=1e-5)
    np.testing.assert_allclose(one["a4_err"], other["a4_err"], rtol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0, np.inf, 1e9])
def test_pixels_whose_noise_is_unknown_are_left_out(bad):
    rng = np.random.default_rng(5)
    noise = np.full(CLEAN.shape, SIGMA, np.float32)
    pixels = (CLEAN + SIGMA * rng.normal(size=CLEAN.shape)).astype(np.float32)
    broken, masked = pixels.copy(), pixels.copy()
    broken[30:36, 44:50], masked[30:36, 44:50] = 1e3 * CLEAN.max(), np.nan
    noise[30:36, 44:50] = bad
    one, two = measure(with_noise([broken], [noise]))[0], measure(images(masked))[0]
    for name in ("a4", "a4_err", "axis_ratio"):
        assert one[name] == pytest.approx(two[name], rel=1e-3, abs=1e-5)


def test_large_galaxies_bin_their_noise():
    clean_light = draw_galaxy(SHAPE, Sersic(1.0), size=320, radius_pix=60, position_angle_deg=30)
    sigma = sky_noise_for(clean_light, 150)
    noise = np.full(clean_light.shape, sigma, np.float32)
    noise[:, :150] *= 8
    rng = np.random.default_rng(2)
    pixels = [clean_light + noise * rng.normal(size=noise.shape) for _ in range(6)]
    found = with_noise(pixels, [noise] * 6)
    galaxy = frame_galaxies(found).galaxies[0]
    assert galaxy.noise.shape == galaxy.segmentation.image.shape
    weighed, alike = measure(found), measure(with_noise(pixels, None))
    assert np.ma.std(weighed["a4"] - TRUTH) < np.ma.std(alike["a4"] - TRUTH)


@pytest.mark.parametrize("kind", ["SIGMA", "VAR", "IVAR", "WHT"])
def test_maps_in_files_reach_the_fit_and_a_stored_set(kind, tmp_path):
    noise, pixels = noise_map(3.0), drawn(1, noise_map(3.0))[0]
    values = {"SIGMA": noise, "VAR": noise**2, "IVAR": noise**-2.0, "WHT": 1e4 * noise**-2.0}[kind]
    units = [fits.PrimaryHDU(pixels.astype(np.float32)), fits.ImageHDU(values.astype(np.float32), name=kind)]
    fits.HDUList(units).writeto(tmp_path / "galaxy.fits")
    read = read_images(tmp_path / "galaxy.fits")
    assert read.noises is not None
    found = measure(read)[0]
    stated = {} if kind == "WHT" else {"noise_sigma": [float(np.median(noise))]}
    assert found["a4"] == pytest.approx(measure(with_noise([pixels], [noise], **stated))[0]["a4"], abs=1e-4)
    write_images(read, tmp_path / "set", command="test")
    stored = read_images(tmp_path / "set")
    np.testing.assert_array_equal(stored.noises[0], read.noises[0])
    assert measure(stored)[0]["a4"] == found["a4"]


def test_sets_with_and_without_maps_are_stored_together(tmp_path):
    noise, pixels = noise_map(), drawn(2, noise_map())
    both = with_noise([pixels[0], pixels[1][:60, :64]], [None, noise[:60, :64]])
    write_images([both[0], both[1]], tmp_path / "set", command="test")
    stored = read_images(tmp_path / "set")
    assert stored.noises[0] is None
    np.testing.assert_array_equal(stored.noises[1], noise[:60, :64])
    assert clean(both).noises is None  # noise that is gone is stated no more


def test_maps_need_the_size_of_their_image():
    with pytest.raises(UsageError, match="size of its image"):
        with_noise([CLEAN], [np.ones((3, 3), np.float32)])
    with pytest.raises(UsageError, match="noise maps"):
        with_noise([CLEAN], [])
