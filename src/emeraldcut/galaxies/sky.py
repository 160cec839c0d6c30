"""Telescope and sky: light on pixels, PSF, noise, neighbours and blemishes.

Positions are in pixels, (x, y), pixel centres on integers; images are [y, x].
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter

from emeraldcut.errors import UsageError
from emeraldcut.galaxies.profiles import Body, Sersic
from emeraldcut.galaxies.shapes import ellipse
from emeraldcut.numerics.stretch import asinh_stretch

# Around the centre a profile is too steep for few samples: (half width in pixels, order of the quadrature).
_REFINEMENTS = ((4, 6), (1, 16), (0, 64))
# A PSF is applied on finer pixels, so that its FWHM spans at least this many: aliasing of a cusp stays small.
_FWHM_SAMPLES = 4.0


@dataclass(frozen=True)
class Psf:
    """Point-spread function, a circular Moffat profile (1969, A&A 3, 455); `beta` of infinity is a Gaussian.

    Attributes
    ----------
    fwhm_pix : float
        Full width at half maximum.
    beta : float
        Above 1; 2.5 to 4.5 is seeing.
    """

    fwhm_pix: float
    beta: float = np.inf

    def __post_init__(self) -> None:
        if not self.fwhm_pix > 0 or not self.beta > 1:
            raise UsageError(f"a PSF needs fwhm_pix > 0, beta > 1; received {self.fwhm_pix} and {self.beta}.")

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Brightness per square pixel at offsets in pixels from a star of flux 1."""
        square = (x * x + y * y) / self.fwhm_pix**2
        if np.isinf(self.beta):
            return 4 * np.log(2) / np.pi / self.fwhm_pix**2 * np.exp(-4 * np.log(2) * square)
        scale = 4 * (2 ** (1 / self.beta) - 1)
        return (self.beta - 1) * scale / np.pi / self.fwhm_pix**2 * (1 + scale * square) ** (-self.beta)

    @property
    def reach_pix(self) -> int:
        """Half width of the kernel: five FWHM with Moffat wings, two without."""
        return int(np.ceil((2 if np.isinf(self.beta) else 5) * self.fwhm_pix)) + 1

    def kernel(self) -> np.ndarray:
        """Odd square array with sum 1, sampled at pixel centres: `draw` integrates the light over pixels."""
        offset = np.arange(-self.reach_pix, self.reach_pix + 1)
        values = self(offset, offset[:, None])
        return values / values.sum()


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """`image` (ny, nx) convolved with `kernel` (odd sides) by FFT, with zeros outside the image."""
    shape = _room(image.shape, kernel.shape)
    return _seen_through(image, rfft2(kernel, shape), shape, kernel.shape)


def _room(image: tuple[int, int], kernel: tuple[int, int]) -> tuple[int, int]:
    """Sides of the array in which an image and a kernel with these sides are convolved."""
    return tuple(next_fast_len(n + k - 1, real=True) for n, k in zip(image, kernel, strict=True))


def _seen_through(image: np.ndarray, transform: np.ndarray, shape: tuple[int, int], kernel: tuple[int, int]):
    """`image` convolved with a kernel, given by its sides and its transform in an array of `shape`."""
    full = irfft2(rfft2(image, shape) * transform, shape)
    top, left = kernel[0] // 2, kernel[1] // 2
    return full[top : top + image.shape[0], left : left + image.shape[1]]


@lru_cache(maxsize=4)
def _kernel_transform(psf: Psf, shape: tuple[int, int], precision: str) -> tuple[np.ndarray, tuple, tuple]:
    """The transform of a PSF, the sides of its array and of the kernel; kept, as images often have one PSF and size."""
    kernel = psf.kernel()
    room = _room(shape, kernel.shape)
    return rfft2(kernel.astype(precision), room), room, kernel.shape


def finer_pixels(psf: Psf) -> tuple[int, int]:
    """Into how many finer pixels a side is divided, and the margin in pixels from which light is scattered in."""
    return int(np.ceil(_FWHM_SAMPLES / psf.fwhm_pix)), int(np.ceil(2 * psf.fwhm_pix))


def through_psf(sharp: np.ndarray, psf: Psf) -> np.ndarray:
    """The image that `psf` makes of light on finer pixels with their margin (see `finer_pixels`)."""
    fine, margin = finer_pixels(psf)
    seen_finer = Psf(fine * psf.fwhm_pix, psf.beta)
    image = _seen_through(sharp, *_kernel_transform(seen_finer, sharp.shape, sharp.dtype.char))
    ny, nx = image.shape[0] // fine, image.shape[1] // fine
    image = image.reshape(ny, fine, nx, fine).sum(axis=(1, 3))
    return image[margin : ny - margin, margin : nx - margin]


def draw(
    brightness: Callable,
    size: int | tuple[int, int],
    *,
    centre: tuple[float, float] | None = None,
    position_angle_deg: float = 0.0,
    radius_pix: float = 1.0,
    psf: Psf | None = None,
) -> np.ndarray:
    """Light of `brightness(x, y)` integrated over pixels, (ny, nx) float64.

    Parameters
    ----------
    brightness : callable
        Surface brightness at points in the galaxy's frame, in units of `radius_pix`, x along the major axis.
        If it holds light 1 in that frame, the image holds light 1, less what falls outside.
    size : int or (ny, nx)
    centre : (x, y), optional
        In pixels; the middle of the image if not given.
    position_angle_deg : float
        Of the major axis, counter-clockwise from +x.
    radius_pix : float
        Pixels per unit of the galaxy's frame.
    psf : Psf, optional
        Light from up to two FWHM outside the image is scattered in too.
    """
    ny, nx = size if isinstance(size, tuple) else (size, size)
    x0, y0 = centre if centre is not None else ((nx - 1) / 2, (ny - 1) / 2)
    if psf is None:
        return _draw_sharp(brightness, (ny, nx), (x0, y0), position_angle_deg, radius_pix, 2)
    fine, margin = finer_pixels(psf)
    inner = (fine * (x0 + margin + 0.5) - 0.5, fine * (y0 + margin + 0.5) - 0.5)
    shape = (fine * (ny + 2 * margin), fine * (nx + 2 * margin))
    order = 2 if fine == 1 else 1
    return through_psf(_draw_sharp(brightness, shape, inner, position_angle_deg, fine * radius_pix, order), psf)


def _draw_sharp(
    brightness: Callable,
    shape: tuple[int, int],
    centre: tuple[float, float],
    position_angle_deg: float,
    radius_pix: float,
    order: int,
) -> np.ndarray:
    """Light integrated over pixels without a PSF, from `order` x `order` points in each and more near the centre."""
    x0, y0 = centre
    columns, rows = np.arange(shape[1]), np.arange(shape[0])
    angle = np.radians(position_angle_deg)
    cosine, sine = np.cos(angle) / radius_pix, np.sin(angle) / radius_pix

    def light(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        dx, dy = x[None, :] - x0, y[:, None] - y0
        return brightness(dx * cosine + dy * sine, dy * cosine - dx * sine) / radius_pix**2

    image = _pixel_means(light, columns, rows, order)
    for half_width, finer in _REFINEMENTS:
        near_x = np.abs(columns - x0) <= half_width + 0.5
        near_y = np.abs(rows - y0) <= half_width + 0.5
        if near_x.any() and near_y.any():
            image[np.ix_(near_y, near_x)] = _pixel_means(light, columns[near_x], rows[near_y], finer)
    return image


@lru_cache
def _gauss_legendre(order: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(order)


def _pixel_means(light: Callable, columns: np.ndarray, rows: np.ndarray, order: int) -> np.ndarray:
    """Mean of `light` over unit pixels by Gauss-Legendre quadrature with `order` x `order` points in each."""
    nodes, weights = _gauss_legendre(order)
    x = (columns[:, None] + nodes / 2).ravel()
    y = (rows[:, None] + nodes / 2).ravel()
    samples = light(x, y).reshape(len(rows), order, len(columns), order)
    return np.einsum("yixj,i,j->yx", samples, weights / 2, weights / 2)


def draw_star(psf: Psf, size: int, centre: tuple[float, float]) -> np.ndarray:
    """A star of flux 1 at `centre` (x, y), (size, size) float64, integrated over pixels."""
    x0, y0 = centre
    pixels = np.arange(size)
    return _pixel_means(lambda x, y: psf(x[None, :] - x0, y[:, None] - y0), pixels, pixels, 2)


def neighbours(
    number: int,
    size: int,
    psf: Psf,
    *,
    flux: float,
    keep_clear_pix: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Light of `number` stars and elliptical galaxies at random places, (size, size) float64.

    Their fluxes follow dN/df ~ f^-2 (a slope between those of star and of faint galaxy counts) from 0.02 to 1
    times `flux`; none is centred within `keep_clear_pix` of the middle of the image.
    """
    image = np.zeros((size, size))
    middle = (size - 1) / 2
    for _ in range(number):
        brightness = flux / rng.uniform(1, 50)
        centre = rng.uniform(-2, size + 1, 2)
        while np.hypot(*(centre - middle)) < keep_clear_pix:
            centre = rng.uniform(-2, size + 1, 2)
        if rng.random() < 0.4:
            image += brightness * draw_star(psf, size, tuple(centre))
        else:
            _add_galaxy(image, brightness, centre, psf, rng)
    return image


def _add_galaxy(image: np.ndarray, flux: float, centre: np.ndarray, psf: Psf, rng: np.random.Generator) -> None:
    """Adds an elliptical galaxy of random shape to `image` in place, in a window of 6 half-light radii."""
    body = Body(ellipse(rng.uniform(0.3, 1)), Sersic(rng.uniform(0.7, 2.5)))
    radius = psf.fwhm_pix * rng.uniform(0.5, 1.5)
    reach = int(np.ceil(6 * radius + psf.fwhm_pix))
    corner = np.maximum(np.round(centre).astype(int) - reach, 0)
    end = np.minimum(np.round(centre).astype(int) + reach + 1, image.shape[::-1])
    image[corner[1] : end[1], corner[0] : end[0]] += flux * draw(
        body,
        (end[1] - corner[1], end[0] - corner[0]),
        centre=tuple(centre - corner),
        position_angle_deg=rng.uniform(0, 180),
        radius_pix=radius,
        psf=psf,
    )


def gradient(size: int, *, rng: np.random.Generator) -> np.ndarray:
    """A plane with a random direction, 0 in the middle and 1 at most, (size, size) float64."""
    angle = rng.uniform(0, 2 * np.pi)
    along = np.linspace(-1, 1, size)
    plane = np.cos(angle) * along + np.sin(angle) * along[:, None]
    return plane / np.abs(plane).max()


def expose(
    light: np.ndarray,
    *,
    sky_electrons: float,
    read_noise_electrons: float,
    gain: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """A noisy image of `light` (counts), sky level subtracted: photon noise of light and sky, and read noise.

    `gain` is in electrons per count; `sky_electrons` is the sky level per pixel.
    """
    electrons = rng.poisson(np.maximum(light * gain + sky_electrons, 0))
    read = rng.normal(0, read_noise_electrons, light.shape)
    return (electrons - sky_electrons + read) / gain


def correlate(image: np.ndarray, sigma_pix: float) -> np.ndarray:
    """`image` smoothed by a Gaussian of `sigma_pix`, which correlates its noise as resampling for a co-add does."""
    return gaussian_filter(image, sigma_pix, mode="nearest")


def brightest_half(light: np.ndarray) -> tuple[float, int]:
    """The sum and the number of the brightest pixels that together have half of `light` (ny, nx)."""
    ordered = np.sort(light, axis=None)[::-1]
    enclosed = np.cumsum(ordered)
    number = int(np.searchsorted(enclosed, enclosed[-1] / 2)) + 1
    return float(enclosed[number - 1]), number


def as_picture(image: np.ndarray, sky_sigma: float, *, rng: np.random.Generator) -> np.ndarray:
    """`image` as a survey's picture server gives it, 0 to 255: arcsinh stretch, 8 bits, JPEG; (ny, nx) float64.

    Softening, black level and white level of the stretch (see `asinh_stretch`) are drawn at random.
    """
    softening = sky_sigma * np.exp(rng.uniform(np.log(1), np.log(60)))
    black, white = -sky_sigma * rng.uniform(1, 5), image.max() * rng.uniform(0.7, 1.3)
    levels = np.arcsinh(np.array([black, white]) / softening)
    grey = np.round(255 * asinh_stretch(image, levels[0], levels[1], softening)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=int(rng.integers(75, 96)))
    return np.asarray(Image.open(file), dtype=np.float64)


def cosmic_rays(size: int, number: int, *, rng: np.random.Generator) -> np.ndarray:
    """`number` cosmic-ray hits: short tracks with sharp edges, brightness about 1, (size, size) float64."""
    image = np.zeros((size, size))
    for _ in range(number):
        length, angle = rng.uniform(1, 12), rng.uniform(0, 2 * np.pi)
        steps = np.arange(0, length, 0.5)
        start = rng.uniform(0, size, 2)
        columns = np.clip((start[0] + steps * np.cos(angle)).astype(int), 0, size - 1)
        rows = np.clip((start[1] + steps * np.sin(angle)).astype(int), 0, size - 1)
        image[rows, columns] += rng.uniform(0.3, 1)
    return image


def hot_columns(size: int, number: int, *, rng: np.random.Generator) -> np.ndarray:
    """`number` columns that are bright from a random row to an edge, brightness about 1, (size, size) float64."""
    image = np.zeros((size, size))
    for column in rng.integers(0, size, number):
        start = rng.integers(0, size)
        part = slice(start, None) if rng.random() < 0.5 else slice(None, start + 1)
        image[part, column] += rng.uniform(0.5, 1)
    return image


def satellite_trail(size: int, psf: Psf, *, rng: np.random.Generator) -> np.ndarray:
    """The trail of a satellite near the middle of the image, brightness 1, (size, size) float64."""
    angle, offset = rng.uniform(0, np.pi), rng.normal(0, size / 10)
    pixels = np.arange(size) - (size - 1) / 2
    distance = np.cos(angle) * pixels[:, None] - np.sin(angle) * pixels - offset
    width = psf.fwhm_pix * rng.uniform(0.5, 0.9)
    return np.exp(-0.5 * (distance / width) ** 2)


def amplitude(light: np.ndarray, snr: float, gain: float, sky_sigma: float) -> float:
    """The factor that gives `light` (ny, nx) the signal-to-noise ratio `snr` over its brightest half.

    With S = factor x sum over these N pixels, snr^2 = S^2 / (S / gain + N sky_sigma^2) is solved for S. With an
    infinite `gain` the light has no noise of its own.
    """
    half, number = brightest_half(light)
    photons = snr**2 / gain
    signal = (photons + np.sqrt(photons**2 + 4 * snr**2 * number * sky_sigma**2)) / 2
    return float(signal / half)
