"""The image of a PSF in the fit: elliptical, with wings, off its middle, of any sides; truth by scipy's convolution."""

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import fftconvolve

from emeraldcut.data import ImageSet
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.isophotes import fit_before_psf, image_kernel, measure, radial_profiles
from tests.helpers import ROOT, images, sky_noise_for

FINE = 5  # finer pixels on which galaxies are drawn and convolved
PAIRS = ROOT.parent / "shared" / "real" / "fits" / "pairs"


def moffat(x, y, fwhm, beta):
    scale = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
    return (1 + (x**2 + y**2) / scale**2) ** -beta


def elliptical(x, y):
    """A guided badly: axis ratio 0.6 at 35 degrees."""
    u, v = x * np.cos(0.6) + y * np.sin(0.6), y * np.cos(0.6) - x * np.sin(0.6)
    return moffat(u, v / 0.6, 3.6, 3.0)


def with_wings(x, y):
    """A fifth of the light in a halo three times as wide."""
    core, halo = moffat(x, y, 2.6, 4.0), moffat(x, y, 8.0, 2.5)
    return 0.8 * core / core.sum() + 0.2 * halo / halo.sum()


def comatic(x, y):
    """A tail to one side, and its middle off that of the array."""
    return moffat(x - 1.2, y + 0.7, 2.6, 3.5) + 0.4 * moffat(x - 3.0, y + 0.2, 3.0, 3.5)


def square(x, y):
    """Boxy itself, which nobody would see from its width."""
    return np.exp(-(x**4 + y**4) / 2.2**4)


def seen_through(shape, psf, size=81, radius=6.0, side=41):
    """A galaxy before a PSF, drawn finely, convolved by scipy, and averaged over pixels; and the image of the PSF."""
    n = side * FINE
    place = (np.arange(n) - (n - 1) / 2) / FINE
    fine_psf = psf(place, place[:, None])
    fine_psf = fine_psf / fine_psf.sum()
    light = draw_galaxy(shape, Sersic(1.0), size=size * FINE, radius_pix=radius * FINE, position_angle_deg=20)
    seen = fftconvolve(light, fine_psf, mode="same")
    seen = seen.reshape(size, FINE, size, FINE).sum(axis=(1, 3))
    # what a star would look like, that is with the pixel's own width
    image = fine_psf.reshape(side, FINE, side, FINE).sum(axis=(1, 3))
    return seen.astype(np.float32), image.astype(np.float32)


def with_psfs(pixels, psfs, **columns):
    rows = images(*pixels, **columns).table
    return ImageSet([np.asarray(p, np.float32) for p in pixels], rows, psfs)


@pytest.mark.parametrize("psf", [elliptical, with_wings, comatic, square], ids=lambda f: f.__name__)
def test_shapes_are_those_before_any_psf(psf):
    cases = [shapes.ellipse(0.7), shapes.superellipse(0.6, 3), shapes.superellipse(0.85, 4), shapes.disky(0.5, 0.04)]
    drawn = [seen_through(shape, psf) for shape in cases]
    table = measure(with_psfs([image for image, _ in drawn], [kernel for _, kernel in drawn]))
    alone = measure(images(*[image for image, _ in drawn]))
    for row, seen, shape in zip(table, alone, cases, strict=True):
        truth = shapes.harmonics(shape)
        assert row["a4"] == pytest.approx(truth["a4"], abs=0.004)
        assert row["axis_ratio"] == pytest.approx(truth["axis_ratio"], abs=0.006)
        assert abs(row["a4"] - truth["a4"]) < 0.004 or abs(row["a4"] - truth["a4"]) < 0.2 * abs(
            seen["a4"] - truth["a4"]
        )


def test_the_mean_error_of_a4_is_small():
    """Bias below .002 over shapes, angles between galaxy and PSF, and PSFs."""
    errors = []
    for psf in (elliptical, with_wings, comatic, square):
        for shape in (shapes.superellipse(0.6, 2.5), shapes.superellipse(0.7, 4), shapes.ellipse(0.6)):
            image, kernel = seen_through(shape, psf)
            errors.append(measure(with_psfs([image], [kernel]))[0]["a4"] - shapes.harmonics(shape)["a4"])
    assert abs(np.mean(errors)) < 0.002 and np.sqrt(np.mean(np.square(errors))) < 0.003


def test_an_image_says_more_than_its_width():
    """Of a PSF that is not round the width alone leaves a wrong a4."""
    shape = shapes.superellipse(0.7, 3)
    image, kernel = seen_through(shape, square)
    truth = shapes.harmonics(shape)["a4"]
    by_image = measure(with_psfs([image], [kernel], psf_fwhm_pix=[3.8]))[0]
    by_width = measure(images(image, psf_fwhm_pix=[3.8]))[0]
    assert abs(by_image["a4"] - truth) < abs(by_width["a4"] - truth)
    assert by_image["a4_err"] < by_width["a4_err"]


@pytest.mark.parametrize("change", ["padded", "even", "cut", "scaled", "shifted"])
def test_sides_middle_and_sum_of_the_image_change_nothing(change):
    image, kernel = seen_through(shapes.superellipse(0.6, 3), elliptical)
    other = {
        "padded": lambda: np.pad(kernel, ((3, 9), (12, 0))),
        "even": lambda: kernel[1:, :-1],
        "cut": lambda: kernel[8:-8, 8:-8],
        "scaled": lambda: 1e-7 * kernel,
        "shifted": lambda: np.roll(kernel, (4, -3), (0, 1)),
    }[change]()
    one, two = measure(with_psfs([image, image], [kernel, other]))
    for name in ("a4", "a6", "axis_ratio", "position_angle_deg", "b4_sin"):
        assert two[name] == pytest.approx(one[name], abs=0.01 if change == "cut" else 1e-3), name


@pytest.mark.parametrize("broken", [np.zeros((5, 5)), np.full((5, 5), np.nan), -np.ones((5, 5)), np.ones(5)])
def test_what_is_no_psf_is_not_used(broken):
    image, _ = seen_through(shapes.superellipse(0.6, 3), elliptical)
    one, two = measure(with_psfs([image, image], [None, broken.astype(np.float32)], psf_fwhm_pix=[3.0, 3.0]))
    assert one["a4"] == two["a4"]


@pytest.mark.slow
def test_binned_images_bin_their_psf():
    """A large galaxy is binned; a PSF as wide as three binned pixels must be, too."""
    shape = shapes.superellipse(0.6, 3)
    image, kernel = seen_through(shape, lambda x, y: elliptical(x / 5, y / 5), size=401, radius=70.0, side=101)
    row = measure(with_psfs([image], [kernel]))[0]
    assert row["a4"] == pytest.approx(shapes.harmonics(shape)["a4"], abs=0.004)
    assert row["axis_ratio"] == pytest.approx(0.6, abs=0.006)


def test_kernels_of_images_are_the_images():
    rng = np.random.default_rng(0)
    psf = np.abs(rng.normal(size=(15, 15))) * moffat(*np.meshgrid(np.arange(15) - 7.0, np.arange(15) - 7.0), 3, 3)
    found = image_kernel(psf)
    columns, rows = found.kernel.fine
    image = np.einsum("ry,rx->yx", columns, rows)
    half = len(image) // 2
    assert np.abs(image.sum() - 1) < 1e-5
    place = np.indices(psf.shape)
    core = np.where(psf > 0.1 * psf.max(), psf, 0)
    middle = (place * core).sum(axis=(1, 2)) / core.sum()
    first = np.round(middle).astype(int)
    assert (found.dy, found.dx) == pytest.approx(tuple(middle - first), abs=1e-6)
    overlap = slice(max(half - 4, 0), half + 5)
    theirs = psf[first[0] - 4 : first[0] + 5, first[1] - 4 : first[1] + 5] / psf.sum()
    assert np.abs(image[overlap, overlap] - theirs).sum() < 0.02
    assert fit_before_psf.__doc__


def test_errors_hold_the_truth_with_an_image_of_the_psf():
    rng = np.random.default_rng(1)
    shape = shapes.superellipse(0.65, 3)
    clean, kernel = seen_through(shape, with_wings, radius=9.0)
    sigma = sky_noise_for(clean, 80)
    noisy = [clean + rng.normal(0, sigma, clean.shape) for _ in range(150)]
    table = measure(with_psfs(noisy, [kernel] * 150))
    pulls = (table["a4"] - shapes.harmonics(shape)["a4"]) / table["a4_err"]
    assert 0.58 < np.mean(np.abs(pulls) < 1) < 0.78
    assert abs(np.mean(pulls)) < 0.5  # a fit that is held back is less boxy, here by 0.43 of its error


def test_errors_are_those_of_an_image_of_the_psf_that_is_six_per_cent_too_wide():
    """As the images of SDSS are, next to its stars: without noise the error of the axis ratio is that of the PSF."""
    pulls = []
    for axis_ratio, radius in ((0.6, 6.0), (0.5, 5.0)):
        shape = shapes.superellipse(axis_ratio, 4)
        for width in (0.94, 1.06):
            pixels, _ = seen_through(shape, lambda x, y, width=width: moffat(x, y, 3.0 * width, 3.5), radius=radius)
            _, told = seen_through(shape, lambda x, y: moffat(x, y, 3.0, 3.5), radius=radius)
            row = measure(with_psfs([pixels], [told]))[0]
            pulls.append((row["axis_ratio"] - shapes.harmonics(shape)["axis_ratio"]) / row["axis_ratio_err"])
    assert 0.7 < np.sqrt(np.mean(np.square(pulls))) < 1.3, pulls


def test_profiles_use_the_image_too():
    shape = shapes.superellipse(0.6, 3)
    image, kernel = seen_through(shape, elliptical)
    by_image, seen = radial_profiles(with_psfs([image], [kernel])), radial_profiles(images(image))
    truth = shapes.harmonics(shape)["a4"]
    error = [np.ma.median(np.abs(t["a4"] - truth)[(t["isophote_radius_pix"] > 5) & (t["isophote_radius_pix"] < 14)])
             for t in (by_image, seen)]  # fmt: skip
    assert error[0] < 0.004 and error[0] < 0.5 * error[1]


@pytest.mark.skipif(not PAIRS.exists(), reason="needs pairs of images of two surveys beside the project")
def test_two_surveys_agree_on_ten_galaxies():
    """Ten GAMA galaxies in KiDS and SDSS, each through the image of its own PSF."""
    from emeraldcut.images import read_images

    one, two = (measure(read_images(Path(PAIRS) / survey)) for survey in ("kids", "sdss"))
    assert list(one["id"]) == list(two["id"]) or len(one) == len(two) == 10
    difference = np.ma.filled(one["a4"] - two["a4"], np.nan)
    error = np.hypot(np.ma.filled(one["a4_err"], np.nan), np.ma.filled(two["a4_err"], np.nan))
    assert np.sqrt(np.mean(difference**2)) <= 0.010
    assert 0.7 <= np.sqrt(np.mean((difference / error) ** 2)) <= 1.3
