"""Compiled pieces against numpy, scipy and plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.optimize import least_squares
from scipy.signal import convolve2d

from emeraldcut.frame import ALL, ellipse_fit, fit_shape, frame_galaxy, segmentation
from emeraldcut.frame.ellipse_fit import ANGLE, MOST_CENTRE, FitOptions, Pixels, Q, axes_of, to_circle
from emeraldcut.frame.segmentation import GALAXY, MISSING, NEIGHBOUR, SKY
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.isophotes import MeasureSettings, deconvolved_fit, fit_before_psf, measure_galaxy, moffat_kernel
from emeraldcut.isophotes.deconvolved_fit import separable
from emeraldcut.numerics import linalg, median
from tests.helpers import from_python

seeds = st.integers(0, 2**32 - 1)
invert, solve = from_python(linalg.invert), from_python(linalg.solve)
median_of, select = from_python(median.median_of), from_python(median.select)
segment, smoothed = from_python(segmentation.segment), from_python(segmentation.smoothed)
convolve, work_space = from_python(deconvolved_fit.convolve), from_python(deconvolved_fit.work_space)
moved = from_python(ellipse_fit.moved)


def _divided(image):
    found, division = segment(image, np.nan)
    assert found
    return division


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(1, 60))
def test_selection_is_that_of_a_sort(seed, n):
    values = np.random.default_rng(seed).integers(-4, 5, n).astype(np.float32) / 3
    k = seed % n
    assert select(values.copy(), n, k) == np.sort(values)[k]
    assert median_of(values.copy(), n) == np.sort(values)[n // 2]


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 25))
def test_linear_algebra_is_numpys(seed, n):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n, n + 3)) * 10.0 ** rng.uniform(-3, 3, (n, 1))
    matrix, right = half @ half.T, rng.normal(size=n)
    np.testing.assert_allclose(invert(matrix, 0.0) @ matrix, np.eye(n), atol=1e-5)
    np.testing.assert_allclose(matrix @ solve(matrix, right, 0.0), right, rtol=1e-5, atol=1e-7)


def test_what_nothing_is_known_of_does_not_move():
    matrix = np.diag([4.0, 0.0, 1.0])
    assert list(solve(matrix, np.array([8.0, 3.0, 1.0]), 0.0)) == [2.0, 0.0, 1.0]
    assert invert(matrix, 0.0)[1, 1] == 0.0


@pytest.mark.parametrize("shape", [(20, 31), (47, 33), (9, 64)])
def test_separable_convolution_is_scipys(shape):
    rng = np.random.default_rng(1)
    grid = rng.normal(size=shape).astype(np.float32)
    kernel = rng.normal(size=(11, 11))  # of full rank, and no symmetry
    parts = separable(kernel / kernel.sum(), 1e-7)
    out = np.empty_like(grid)
    convolve(grid, parts, out, work_space(shape, parts))
    np.testing.assert_allclose(out, convolve2d(grid, kernel / kernel.sum(), mode="same"), atol=2e-4)


@pytest.mark.parametrize("fwhm", [1.3, 2.5, 4.0])
def test_the_kernel_is_the_psf(fwhm):
    kernel = moffat_kernel(fwhm)
    columns, rows = kernel.fine
    image = np.einsum("ry,rx->yx", columns, rows)
    assert image.sum() == pytest.approx(1, abs=1e-5)
    assert kernel.fwhm_pix == pytest.approx(fwhm, rel=0.011)
    profile = image[len(image) // 2] / image.max()
    radius = np.abs(np.arange(len(profile)) - len(profile) // 2)
    # a Moffat of beta 3.5 over a pixel: a little wider than the Moffat itself
    half = np.interp(-0.5, -profile[len(profile) // 2 :], radius[len(profile) // 2 :])
    assert fwhm / 2 - 0.05 < half < np.hypot(fwhm, 1.0) / 2 + 0.05


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(8, 40), st.integers(8, 40))
def test_smoothing_is_scipys(seed, ny, nx):
    image = np.random.default_rng(seed).normal(size=(ny, nx)).astype(np.float32)
    np.testing.assert_allclose(smoothed(image, 1.2), ndimage.gaussian_filter(image, 1.2), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.2, 1), st.floats(0, 3.1), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1))
def test_a_step_of_the_second_harmonic_is_a_singular_value_decomposition(q, angle, c2, s2):
    start = np.zeros(ALL)
    start[2:4], step = (q, angle), np.zeros(ALL)
    step[2:4] = c2, s2
    new = moved(start, step, FitOptions(0.5, 1.0 / MOST_CENTRE, ALL, 1, False))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    directions, lengths, _ = np.linalg.svd(rotation @ np.diag([1, q]) @ [[1 + c2, s2], [s2, 1 - c2]])
    assert new[2] == pytest.approx(max(lengths[1] / lengths[0], 0.05), abs=1e-9)
    if lengths[1] / lengths[0] < 0.999:
        assert abs(np.cos(new[3]) * directions[1, 0] - np.sin(new[3]) * directions[0, 0]) < 1e-6


def falling(image: np.ndarray) -> np.ndarray:
    """A profile to start from."""
    return image.max() * np.exp(-np.arange(40) / 5)


@pytest.mark.slow
def test_the_fit_is_a_least_squares_fit():
    """The shape that scipy finds by minimising the same residuals, the profile being fitted for each shape."""
    rng = np.random.default_rng(0)
    light = draw_galaxy(shapes.superellipse(0.6, 3), Sersic(1), radius_pix=8, position_angle_deg=30, psf_fwhm_pix=2)
    image = (light / light.max() * 60 + rng.normal(size=light.shape)).astype(np.float32)
    parts = np.zeros(image.shape, np.uint8)
    start = np.zeros(ALL)
    start[:4] = 31, 32, 0.7, 0.4
    inner, outer = 5.0, 20.0
    options = FitOptions(inner, outer, ALL, 20, False)
    shape, covariance, *_ = fit_shape(Pixels(image, parts, 1.0), start, falling(image), options)
    y, x = np.mgrid[0:64, 0:64]

    def residuals(vector: np.ndarray) -> np.ndarray:
        x0, y0, q, angle = vector[:4]
        dx, dy = x - x0, y - y0
        u, v = dx * np.cos(angle) + dy * np.sin(angle), (dy * np.cos(angle) - dx * np.sin(angle)) / q
        psi = np.arctan2(v, u)
        deformation = sum(
            vector[4 + 2 * k] * np.cos(m * psi) + vector[5 + 2 * k] * np.sin(m * psi)
            for k, m in enumerate((3, 4, 6, 8))
        )
        s = np.hypot(u, v) / (1 + deformation)
        use = (s > inner) & (s < outer)
        basis = np.vander(s[use] / outer, 8)  # another profile than ours: a polynomial
        values = image[use]
        left = np.zeros(image.shape)
        left[use] = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
        return left.ravel()

    theirs = least_squares(residuals, shape, diff_step=1e-3).x
    errors = np.sqrt(np.diag(covariance))
    for k in range(4, ALL):
        assert shape[k] == pytest.approx(theirs[k], abs=0.75 * errors[k])


@pytest.mark.slow
def test_the_fit_before_the_psf_does_not_depend_on_the_matrix_that_guides_it():
    """Steps guided by every second pixel end where those guided by all pixels do."""
    rng = np.random.default_rng(3)
    light = draw_galaxy(
        shapes.superellipse(0.7, 4), Sersic(1), radius_pix=9, position_angle_deg=30, psf_fwhm_pix=3, psf_beta=3.5
    )
    image = (light / light.max() * 80 + rng.normal(size=light.shape)).astype(np.float32)
    parts, start = np.zeros(image.shape, np.uint8), np.zeros(ALL)
    start[:4] = 31.5, 31.5, 0.7, np.radians(30)
    pixels, options = Pixels(image, parts, 1.0), FitOptions(6.3, 22.5, ALL, 10, False)
    seen, kernel = fit_shape(pixels, start, falling(image), options), moffat_kernel(3.0)
    options = options._replace(iterations=12)
    coarse = fit_before_psf(pixels, seen, options, kernel)
    # a narrow PSF asks for all pixels
    fine = fit_before_psf(pixels, seen, options, kernel._replace(fwhm_pix=1.8))
    errors = np.sqrt(np.diag(coarse.covariance))
    assert coarse.converged
    np.testing.assert_allclose(coarse.shape[4:], fine.shape[4:], atol=0.35 * errors[4:].max())
    # and the model that the telescope sees describes the image
    compared = coarse.model != 0
    assert np.std((image - coarse.model)[compared]) == pytest.approx(1, abs=0.06)


def test_an_ellipse_becomes_a_circle():
    psi, start = np.linspace(0, 2 * np.pi, 30), np.zeros(ALL)
    start[:4] = 3.0, -2.0, 0.4, 0.7
    u, v = 5 * np.cos(psi), 5 * start[Q] * np.sin(psi)
    x = 3.0 + u * np.cos(start[ANGLE]) - v * np.sin(start[ANGLE])
    y = -2.0 + u * np.sin(start[ANGLE]) + v * np.cos(start[ANGLE])
    np.testing.assert_allclose(to_circle(x, y, axes_of(start)), (5 * np.cos(psi), 5 * np.sin(psi)), atol=1e-12)


def test_one_compiled_fit_serves_all():
    """Numbers that are written in the source do not make a compiled function of their own."""
    image = draw_galaxy(shapes.superellipse(0.95, 4), Sersic(1), radius_pix=8, psf_fwhm_pix=2).astype(np.float32)
    fitted = {str(s) for s in ellipse_fit._fit_shape.signatures}
    galaxy = frame_galaxy(image, 2.0)
    measure_galaxy(galaxy, MeasureSettings(), 2.0)
    measure_galaxy(galaxy, MeasureSettings(), np.nan)
    assert len({str(s) for s in ellipse_fit._fit_shape.signatures} | fitted) - len(fitted) <= 1
    assert len(deconvolved_fit._fit_before_psf.signatures) == 1


@pytest.mark.slow
def test_segments_of_a_blend():
    galaxy = draw_galaxy(shapes.ellipse(0.7), Sersic(1), radius_pix=6)
    y, x = np.mgrid[0:64, 0:64]
    star = galaxy.max() * np.exp(-0.5 * ((x - 46) ** 2 + (y - 40) ** 2) / 1.5**2)
    noise = np.random.default_rng(0).normal(0, galaxy.max() / 100, galaxy.shape)
    image = (galaxy + star + noise).astype(np.float32)
    image[5:9, 50:53] = np.nan
    parts = _divided(image).pixel_class
    assert parts[31, 31] == GALAXY and parts[40, 46] == NEIGHBOUR and parts[60, 3] == SKY
    assert (parts[5:9, 50:53] == MISSING).all()
    assert (parts == NEIGHBOUR).sum() < 250


def test_empty_parts_of_a_mosaic_are_missing_but_a_picture_of_few_grey_levels_keeps_its_sky():
    rng = np.random.default_rng(0)
    light = draw_galaxy(shapes.ellipse(0.7), Sersic(1), radius_pix=8)
    noisy = light / light.max() * 100 + rng.normal(size=light.shape)
    mosaic = noisy.copy()
    mosaic[:, :12] = 0.0
    parts = _divided(mosaic.astype(np.float32)).pixel_class
    assert (parts[:, :12] == MISSING).all() and not (parts[:, 14:] == MISSING).any()
    grey = np.clip(np.round(noisy / 4), 0, 255) * 4
    assert not (_divided(grey.astype(np.float32)).pixel_class == MISSING).any()
    drawing = np.where(light > 0.01 * light.max(), light, 0.0)
    assert not (_divided(drawing.astype(np.float32)).pixel_class == MISSING).any()


def test_correlation_of_the_noise():
    rng = np.random.default_rng(2)
    light = draw_galaxy(shapes.ellipse(0.7), Sersic(1), size=96, radius_pix=6)
    white = rng.normal(size=light.shape)
    block = ndimage.uniform_filter(white, 3, mode="wrap")
    images = [(light / light.max() * 100 * n.std() + n).astype(np.float32) for n in (white, block)]
    independent, correlated = (_divided(i).correlation for i in images)
    assert independent == 1
    # the mean of nine pixels: coefficients (1 + 2 (2/3 + 1/3))^2 = 9 in all
    assert correlated == pytest.approx(9, rel=0.2)
