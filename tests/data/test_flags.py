"""Flags that the shape of a galaxy sets: each where it is true by construction, none on ordinary galaxies."""

import numpy as np
import pytest
from scipy.ndimage import zoom

from emeraldcut.data import UNUSABLE, Flag, trusted
from emeraldcut.data.flags import SENTENCES, level_of
from emeraldcut.galaxies import SynthesiseSettings, draw_galaxy, shapes, synthesise
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.isophotes import measure
from emeraldcut.networks import classify
from tests.helpers import images, sky_noise_for

SIDE = 64
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
BETA = 3.5  # of Moffat's profile


def noisy(light, snr, seed=0):
    return light + np.random.default_rng([seed, int(10 * snr)]).normal(0, sky_noise_for(light, snr), light.shape)


@pytest.fixture(scope="module")
def ordinary():
    """Ovals, rectangles and obrounds as `synthesise` draws them: resolved, S/N of 50 and more, alone."""
    classes = ("oval", "rectangular", "obround")
    return synthesise(SynthesiseSettings(number=200, snr_min=50, neighbours=0, blemishes=0, classes=classes), seed=11)


def test_ordinary_galaxies_have_none_of_these_flags(ordinary):
    flags = np.array(measure(ordinary)["flag"]) | np.array(classify(ordinary)["flag"])
    for flag in (Flag.UNRESOLVED, Flag.NOT_CONVERGED, Flag.LOW_SNR, Flag.UNUSUAL):
        assert not np.any(flags & flag), flag


# --- UNRESOLVED


def moffat(fwhm, x0, y0):
    width = fwhm / 2 / np.sqrt(2 ** (1 / BETA) - 1)
    return (1 + ((X - x0) ** 2 + (Y - y0) ** 2) / width**2) ** -BETA


def gaussian(fwhm, x0, y0):
    return np.exp(-4 * np.log(2) * ((X - x0) ** 2 + (Y - y0) ** 2) / fwhm**2)


@pytest.mark.parametrize("profile", [moffat, gaussian])
@pytest.mark.parametrize("snr", [30, 100, 1000])
def test_a_point_source_of_the_stated_psf_is_unresolved(profile, snr):
    widths = [2.0, 2.5, 3.0, 4.0, 6.0]
    stars = [noisy(profile(fwhm, 0.3, -0.2), snr, k) for k, fwhm in enumerate(widths)]
    assert np.all(measure(images(*stars, psf_fwhm_pix=widths))["flag"] & Flag.UNRESOLVED)


def test_a_galaxy_is_unresolved_by_its_size_over_that_of_the_psf():
    """Half-light radii (major axis) of 0.3 and of 1.5 FWHM before the PSF."""
    fwhm = 4.0
    drawn = {"psf_fwhm_pix": fwhm, "psf_beta": BETA, "position_angle_deg": 30}
    small, large = (
        draw_galaxy(shapes.ellipse(0.7), Sersic(1.0), radius_pix=times * fwhm, **drawn) for times in (0.3, 1.5)
    )
    for snr in (50, 300):
        flags = measure(images(noisy(small, snr), noisy(large, snr), psf_fwhm_pix=[fwhm, fwhm]))["flag"]
        assert list(flags & Flag.UNRESOLVED > 0) == [True, False]


def test_nothing_is_unresolved_without_a_stated_psf():
    assert not measure(images(noisy(moffat(2.5, 0, 0), 100)))["flag"][0] & Flag.UNRESOLVED


# --- LOW_SNR


def test_a_galaxy_below_the_limit_has_low_snr():
    """The limit is 10 within the half-light ellipse; what is found there scatters by 1 around the truth."""
    light = draw_galaxy(shapes.ellipse(0.7), Sersic(1.0), radius_pix=7, position_angle_deg=30)
    faint, bright = (measure(images(*[noisy(light, snr, k) for k in range(40)])) for snr in (7.5, 14))
    found = (faint["flag"] & Flag.NO_GALAXY) == 0
    assert 10 < found.sum() < 40  # of some not enough is left to be a galaxy
    assert np.mean(faint["flag"][found] & Flag.LOW_SNR > 0) > 0.9
    assert not np.any(bright["flag"] & (Flag.LOW_SNR | Flag.NO_GALAXY))
    for table in (faint[found], bright):
        np.testing.assert_array_equal(table["flag"] & Flag.LOW_SNR > 0, table["snr"] < 10)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("factor", [2, 4])
def test_enlarging_an_image_adds_nothing_to_its_signal(factor, order):
    """Nearest neighbours, linear and cubic interpolation: the S/N is that of the original, within 30 %."""
    light = draw_galaxy(shapes.ellipse(0.7), Sersic(1.0), radius_pix=6, position_angle_deg=30)
    scenes = [noisy(light, 40, k) for k in range(12)]
    before, after = (
        np.array(measure(images(*seen))["snr"]) for seen in (scenes, [zoom(s, factor, order=order) for s in scenes])
    )
    assert np.median(after / before) == pytest.approx(1.0, abs=0.3)


def crowded(factor, seed, halo=0.0):
    """Stars of a Gaussian PSF of 2.5 pixels, noise of 1 and the halo of a bright star, enlarged by a cubic spline."""
    rng, side = np.random.default_rng([seed, factor]), 200 // factor
    y, x = np.mgrid[:side, :side]
    image = rng.normal(size=(side, side))
    for place, light in zip(rng.uniform(0, side, (8, 2)), rng.uniform(10, 100, 8), strict=True):
        image += light * np.exp(-4 * np.log(2) * ((x - place[0]) ** 2 + (y - place[1]) ** 2) / 2.5**2)
    middle = (side - 1) / 2
    image += 40 * np.exp(-4 * np.log(2) * ((x - middle) ** 2 + (y - middle) ** 2) / 2.5**2)
    image += halo / (1 + np.hypot(x, y - side / 4) / 8) ** 2
    return zoom(image, factor, order=3)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_grains_of_the_noise_are_seen_in_crowds_and_haloes(factor):
    """The factor by which an image was enlarged, whatever else is on it; then its stars are unresolved."""
    for halo in (0.0, 60.0):
        table = measure(images(*[crowded(factor, k, halo) for k in range(8)]))
        found = np.array(table["grain_pix"])
        assert np.all(np.abs(found / factor - 1) < 0.35), (halo, found)
        assert np.mean(table["flag"] & Flag.UNRESOLVED > 0) >= 7 / 8


# --- NOT_CONVERGED, UNUSUAL


def cross():
    """Two equal discs seen edge-on, one across the other: no direction is that of a major axis."""
    disc = {"radius_pix": 10}
    one, other = (draw_galaxy(shapes.ellipse(0.15), Sersic(1.0), position_angle_deg=a, **disc) for a in (0, 90))
    return one + other


def spiral():
    """Two strong arms in a round disc: the position angle of its isophotes turns with radius, all the way round."""
    disc = draw_galaxy(shapes.ellipse(0.95), Sersic(1.0), radius_pix=9)
    return disc * (1 + 0.8 * np.cos(2 * np.arctan2(Y, X) - 0.45 * np.hypot(X, Y)))


def test_galaxies_without_one_ellipse_do_not_converge():
    scenes = [noisy(light, 300, k) for k in range(4) for light in (cross(), spiral())]
    flags = measure(images(*scenes))["flag"]
    # damped steps now and then end at an ellipse
    assert np.count_nonzero(flags & Flag.NOT_CONVERGED) >= 5
    plain = [draw_galaxy(shapes.superellipse(0.7, c), Sersic(1.0), radius_pix=9) for c in (2, 4)]
    scenes = [noisy(light, 300, k) for k in range(4) for light in plain]
    assert not np.any(measure(images(*scenes))["flag"] & Flag.NOT_CONVERGED)


def test_what_the_network_has_not_seen_is_unusual():
    """A cross so bright that noise hides nothing of it."""
    table = classify(images(*[noisy(cross(), 1000, k) for k in range(6)]))
    assert np.all(table["flag"] & Flag.UNUSUAL) and np.all(table["typical"] < 0.001)


# --- SATURATED, UNRESOLVED without a stated PSF, levels


def saturated_star(radius, fwhm, noise, seed):
    """Moffat's profile cut off at the level that it has at a radius, on a noisy sky, plateau without noise."""
    light = moffat(fwhm, 0.3, -0.2)
    level = moffat(fwhm, 0.3, -0.2)[np.abs(np.hypot(X - 0.3, Y + 0.2) - radius) < 0.7].mean()
    image = np.minimum(light / level, 1.0)
    noisy_image = image + np.random.default_rng(seed).normal(0, noise, image.shape)
    return np.where(image >= 1, 1.0, np.minimum(noisy_image, 1.0))


@pytest.mark.parametrize("radius", [3, 5, 8, 12])
def test_a_saturated_star_is_unresolved_whatever_is_known_of_the_psf(radius):
    stars = [saturated_star(radius, fwhm, noise, k) for k, (fwhm, noise) in enumerate([(2, 0.003), (3, 0.01)])]
    table = measure(images(*stars))
    assert np.all(table["flag"] & Flag.UNRESOLVED) and np.all(table["flag"] & Flag.SATURATED)
    # the plateau over the half-light ellipse, from the images themselves
    for star, row in zip(stars, table, strict=True):
        bright = np.sort(star, axis=None)[::-1]
        area = np.searchsorted(np.cumsum(bright), star.sum() / 2)  # of the half-light isophote
        assert row["saturated"] == pytest.approx(np.sum(star > 0.98) / area, rel=0.35)
    assert np.all(classify(images(*stars))["flag"] & Flag.UNRESOLVED)  # it is found with the frame


def test_smooth_galaxies_have_no_marks_of_a_star():
    """Gaussian to cuspy profiles, boxes too, and the same with an arcsinh stretch."""
    drawn = [
        draw_galaxy(shapes.superellipse(0.7, c), Sersic(n), radius_pix=r, psf_fwhm_pix=2.5, position_angle_deg=20)
        for c in (2, 4) for n in (0.6, 1, 2.5) for r in (5, 9)
    ]  # fmt: skip
    scenes = [noisy(light, 150, k) for k, light in enumerate(drawn)]
    stretched = [np.arcsinh(s / (20 * sky_noise_for(light, 150))) for s, light in zip(scenes, drawn, strict=True)]
    for group in (scenes, stretched):
        table = measure(images(*group))
        assert not np.any(table["flag"] & (Flag.UNRESOLVED | Flag.SATURATED))
        assert np.max(table["saturated"]) < 0.08 and np.max(table["spikes"]) == 0


def test_spikes_give_a_star_away():
    angle = np.arctan2(Y, X)
    light = moffat(3.0, 0, 0) * 3000
    for fold in (4, 6):
        rays = sum(np.exp(-0.5 * (np.hypot(X, Y) * np.sin(angle - 2 * np.pi * k / fold)) ** 2)
                   * (np.cos(angle - 2 * np.pi * k / fold) > 0) for k in range(fold))  # fmt: skip
        star = light + 60 * rays / (1 + np.hypot(X, Y) / 3)
        row = measure(images(star + np.random.default_rng(fold).normal(size=star.shape)))[0]
        assert row["spikes"] > 1 and row["flag"] & Flag.UNRESOLVED


def test_every_flag_has_a_sentence_and_a_level():
    for flag in Flag:
        if flag:
            assert SENTENCES[flag] and level_of(flag) in ("note", "do not trust")
            assert trusted(np.array([int(flag)]))[0] == (level_of(flag) == "note")
    assert trusted(np.array([0]))[0] and not trusted(np.array([int(UNUSABLE)]))[0]
    assert trusted(np.array([int(Flag.NEIGHBOUR | Flag.STRUCTURE)]))[0]  # notes add up to a note
