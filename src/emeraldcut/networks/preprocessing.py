"""What a network sees of an image: the ways from an `ImageSet` to its input, by the card's name for each."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.frame import EXTENT, STAMP_SIZE, QuickShape, flags_found, known_psf, quick_shapes_of
from emeraldcut.frame.ellipse_fit import Q
from emeraldcut.frame.resample import resampled
from emeraldcut.numerics.jit import compiled, kernel, part


@lru_cache(maxsize=64)
def _overlap(number: int, size: int) -> np.ndarray:
    """(size, number): the length, in pixels, over which each of `size` equal cells overlaps each pixel."""
    edges = np.linspace(0, number, size + 1)
    pixel = np.arange(number)
    low = np.maximum(edges[:-1, None], pixel)
    return np.maximum(np.minimum(edges[1:, None], pixel + 1) - low, 0)


def area_average(image: np.ndarray, size: int) -> np.ndarray:
    """The central square of `image` (ny, nx) averaged over (size, size) equal cells, float32.

    Pixels that are not finite are left out of the averages; a cell without any other is 0.
    """
    side = min(image.shape)
    y, x = ((n - side) // 2 for n in image.shape)
    square = np.asarray(image[y : y + side, x : x + side], dtype=np.float64)
    finite = np.isfinite(square)
    weight = _overlap(side, size)
    total = weight @ np.where(finite, square, 0) @ weight.T
    area = weight @ finite @ weight.T
    return np.divide(total, area, out=np.zeros_like(total), where=area > 1e-9).astype(np.float32)


Maps = tuple[np.ndarray, np.ndarray, np.ndarray]  # inputs (n, size, size[, channels]) float32, flags, S/N (n,)


def raw_maps(images: ImageSet, frames: Any, size: int) -> Maps:
    """As the thesis: each image averaged to (size, size), in its own counts; S/N is not known."""
    maps = np.zeros((len(images), size, size), dtype=np.float32)
    flags = np.array(images.table["flag"], dtype=np.int64)
    for i in np.flatnonzero(usable(flags)).tolist():
        image = np.asarray(images.pixels[i])
        if image.ndim != 2:
            flags[i] |= Flag.NOT_AN_IMAGE
        elif min(image.shape) < 8:
            flags[i] |= Flag.TOO_SMALL
        elif not np.isfinite(image).any() or np.nanmin(image) == np.nanmax(image):
            flags[i] |= Flag.NO_DATA
        else:
            maps[i] = area_average(image, size)
    return maps, flags, np.full(len(images), np.nan)


def peak_maps(images: ImageSet, frames: Any, size: int) -> Maps:
    """`raw_maps`, each divided by its peak, because survey counts span orders of magnitude."""
    maps, flags, snr = raw_maps(images, frames, size)
    peak = maps.max(axis=(1, 2), keepdims=True, initial=0)
    return maps / np.where(peak > 0, peak, 1), flags, snr


FOLDED_SIZE = STAMP_SIZE // 2
N_MAPS, N_PLANES = 5, 4
_RINGS = 24


class RingWeights(NamedTuple):
    """For the pixels (n,) of a quadrant: the ring inside each, and its share of the next one.

    And the weights (rings, n) with which light that is linear between rings follows from the pixels: least squares,
    with a ridge of 1e-3.
    """

    inner: np.ndarray
    share: np.ndarray
    weights: np.ndarray


def _ring_weights() -> RingWeights:
    radius = np.hypot(*(np.mgrid[:FOLDED_SIZE, :FOLDED_SIZE] + 0.5)).ravel()
    inner = np.floor(np.maximum(radius - 0.5, 0)).astype(np.int64)
    share = np.clip(radius - 0.5 - inner, 0, 1)
    hats = np.zeros((len(radius), _RINGS))
    hats[np.arange(len(radius)), inner] = 1 - share
    hats[np.arange(len(radius)), inner + 1] += share
    weights = np.linalg.solve(hats.T @ hats + 1e-3 * np.eye(_RINGS), hats.T)
    return RingWeights(inner, share.astype(np.float32), np.ascontiguousarray(weights, dtype=np.float32))


_RING_WEIGHTS = tuple(_ring_weights())  # plain tuples are handed to compiled code in less time than named ones
MOST_PSF = 2.0  # width of the PSF over the half-light radius that the network is told at most
LEAST_SHRUNK = 0.3  # image pixels under one of the stamp, in its noise, at least; chosen by eye


@kernel
def _parities(stamp):
    """Quadrants (4, size, size) of a stamp (2 size, 2 size): even in x and y, odd in x, odd in y, odd in both."""
    size, quarter = len(stamp) // 2, np.float32(0.25)
    quadrants = np.empty((4, size, size), np.float32)
    even, odd_x, odd_y, odd_both = quadrants[0], quadrants[1], quadrants[2], quadrants[3]
    for j in range(size):
        up, down = size + j, size - 1 - j
        for i in range(size):
            a, b = stamp[up, size + i], stamp[up, size - 1 - i]
            c, d = stamp[down, size + i], stamp[down, size - 1 - i]
            even[j, i] = quarter * ((a + d) + (b + c))
            odd_x[j, i] = quarter * ((a - d) + (c - b))
            odd_y[j, i] = quarter * ((a - d) + (b - c))
            odd_both[j, i] = quarter * ((a + d) - (b + c))
    return quadrants


@part
def _sign_of_sum(values):
    """-1 if the sum of `values` (n,) is negative, else 1."""
    total = np.float32(0)
    for p in range(len(values)):
        total += values[p]
    return np.float32(-1) if total < 0 else np.float32(1)


@kernel
def _mean_rings(flat, rings):
    """Light (k,) on the rings of a quadrant (n,)."""
    means = np.zeros(len(rings.weights), np.float32)
    for k in range(len(means)):
        total, row = np.float32(0), rings.weights[k]
        for p in range(len(flat)):
            total += row[p] * flat[p]
        means[k] = total
    return means


@part
def _fold(stamp: np.ndarray, scale: np.float32, rings: RingWeights, planes: np.ndarray, maps: np.ndarray) -> None:
    """Fills `maps` (size, size, 5 + k) with the folded `stamp` (2 size, 2 size) and `planes` (k,), see below."""
    size = len(stamp) // 2
    half, n = np.float32(0.5) * scale, size * size
    quadrants = _parities(stamp).reshape(4, n)
    even, odd_x, odd_y, odd_both = quadrants[0], quadrants[1], quadrants[2], quadrants[3]
    # a mirror image in x changes the signs of odd_x and odd_both, one in y those of odd_y and odd_both
    sign_x, sign_both, means = _sign_of_sum(odd_x), _sign_of_sum(odd_both), _mean_rings(even, rings)
    work = np.empty((N_MAPS, n), np.float32)
    for p in range(n):
        k = rings.inner[p]
        work[0, p] = even[p]
        work[1, p] = half * (even[p] - means[k] - rings.share[p] * (means[k + 1] - means[k]))
    for p in range(n):
        work[2, p] = half * odd_x[p] * sign_x
        work[3, p] = half * abs(odd_y[p])
        work[4, p] = half * odd_both[p] * sign_both
    arcsinh(work.reshape(N_MAPS * n))
    for p in range(n):
        for k in range(N_MAPS):
            maps[p // size, p % size, k] = work[k, p]
        for k in range(len(planes)):
            maps[p // size, p % size, N_MAPS + k] = planes[k]


@compiled
def _fold_framed(pixels, first, binning, psf, rings, maps):
    """Fills `maps` with what `folded_maps` says of one galaxy; `psf` is its FWHM in pixels of the image.

    The tuples are plain ones of `Pixels`, `FirstShape` and `RingWeights`.
    """
    (image, pixel_class, sigma), (shape, light, radius) = pixels, first
    framed = resampled(image, pixel_class, shape, radius, light)
    framed *= np.float32(1 / sigma)
    shrunk = (2 * EXTENT * radius / STAMP_SIZE) ** 2 * shape[Q]  # image pixels under one of the stamp
    radius, known = radius * binning, psf < np.inf
    planes = np.zeros(N_PLANES, np.float32)
    planes[0], planes[1], planes[3] = shape[Q], math.log(max(radius, 1.0)), known
    planes[2] = min(psf / radius, MOST_PSF) if known else 0.0
    _fold(framed, np.float32(2 * math.sqrt(max(shrunk, LEAST_SHRUNK))), RingWeights(*rings), planes, maps)


def folded_maps(images: ImageSet, frames: Any, size: int) -> Maps:
    """The galaxies in their own frames, folded along both axes: (n, size, size, 9).

    A frame is defined up to four mirror images; what is seen here is the same for all four. Light in the quadrant is
    parted into what is even in x and y, odd in x, odd in y, and odd in both (signs chosen so that the sums of the
    second and the last are positive, and the third is absolute). The maps, all as arcsinh: the even light in units of
    the sky's noise per pixel of the image; the even light less its mean at that radius, which holds the shape, in units
    of twice its own noise; and the three odd ones in the same unit. Then, constant over the quadrant: the axis ratio,
    the logarithm of the half-light radius in pixels, the width of the PSF over that radius (2 at most), and whether
    that width is known (1; else both are 0).
    """
    if size != FOLDED_SIZE:
        raise UsageError(f"folded galaxies have {FOLDED_SIZE} x {FOLDED_SIZE} pixels; the network expects {size}.")
    quick_shapes: list[QuickShape | None] = quick_shapes_of(images) if frames is None else frames.quick_shapes
    if len(quick_shapes) != len(images):
        raise UsageError(f"frames must belong to the images; received {len(quick_shapes)} for {len(images)} images.")
    psf = known_psf(images)
    maps = np.zeros((len(images), size, size, N_MAPS + N_PLANES), np.float32)
    for i, quick in enumerate(quick_shapes):
        if quick is not None:
            division, first = quick.segmentation, (quick.shape, quick.light, quick.radius)
            pixels = (division.image, division.pixel_class, division.sky_sigma)
            _fold_framed(pixels, first, quick.binning, psf[i], _RING_WEIGHTS, maps[i])
    snr = np.array([np.nan if quick is None else quick.snr for quick in quick_shapes])
    return maps, flags_found(images, quick_shapes), snr


PREPROCESSING: dict[str, Callable[[ImageSet, Any, int], Maps]] = {
    "raw": raw_maps,
    "peak": peak_maps,
    "folded": folded_maps,
}


def prepare(name: str, images: ImageSet, frames: Any, size: int) -> Maps:
    """Network input (n, size, size[, channels]) float32, flags (n,), and signal-to-noise ratios (n,), NaN if unknown.

    `frames`, from `frame_galaxies(images)`, saves looking for the galaxies again.
    """
    if name not in PREPROCESSING:
        raise UsageError(f"preprocessing must be one of {', '.join(PREPROCESSING)}; received '{name}'.")
    return PREPROCESSING[name](images, frames, size)


@kernel
def arcsinh(values: np.ndarray) -> None:
    """Replaces float32 `values` (n,) by their arcsinh, to 1e-6, in loops that run on vector units.

    sign(x) log(|x| + sqrt(x^2 + 1)), with the logarithm by exponent and a polynomial of the mantissa (the one of `logf`
    in the Cephes library, Moshier 1989).
    """
    n = len(values)
    larger, shifted = np.empty(n, np.float32), np.empty(n, np.float32)
    one, half = np.float32(1), np.float32(0.5)
    for i in range(n):
        x = abs(values[i])
        larger[i] = x + np.sqrt(x * x + one)
    bits, mantissa = larger.view(np.int32), shifted.view(np.int32)
    for i in range(n):
        mantissa[i] = (bits[i] & 0x7FFFFF) | 0x3F800000
    for i in range(n):
        exponent = np.float32((bits[i] >> 23) - 127)
        high = shifted[i] > np.float32(1.41421356)
        f = (half * shifted[i] if high else shifted[i]) - one
        exponent += one if high else np.float32(0)
        p = np.float32(7.0376836292e-2) * f - np.float32(1.1514610310e-1)
        p = p * f + np.float32(1.1676998740e-1)
        p = p * f - np.float32(1.2420140846e-1)
        p = p * f + np.float32(1.4249322787e-1)
        p = p * f - np.float32(1.6668057665e-1)
        p = p * f + np.float32(2.0000714765e-1)
        p = p * f - np.float32(2.4999993993e-1)
        p = p * f + np.float32(3.3333331174e-1)
        square = f * f
        log = f - half * square + p * f * square + exponent * np.float32(0.69314718)
        values[i] = log if values[i] >= 0 else -log
