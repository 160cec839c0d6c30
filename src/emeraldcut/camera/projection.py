"""Particles on pixels: projected, counted, and smoothed where they are few."""

from __future__ import annotations

import numpy as np

from emeraldcut.numerics.jit import compiled

# Standard deviation of the narrowest Gaussian in pixels, and the ratio of one to the next.
_NARROWEST = 0.5
_STEP = 2.0
_REACH = 3.0  # of a kernel, in standard deviations


@compiled
def project(position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """x and y (2, n) float32 of `position` (3, n) float32 seen along the third row of `rotation` (3, 3)."""
    n = position.shape[1]
    seen = np.empty((2, n), np.float32)
    x, y, z = position
    for k in range(2):
        a, b, c = np.float32(rotation[k, 0]), np.float32(rotation[k, 1]), np.float32(rotation[k, 2])
        out = seen[k]
        for i in range(n):
            out[i] = a * x[i] + b * y[i] + c * z[i]
    return seen


@compiled
def count(seen: np.ndarray, light: np.ndarray, sides: tuple[int, int], scale: float) -> np.ndarray:
    """Number and light of particles on each pixel, (2, ny, nx) float32.

    Parameters
    ----------
    seen : (2, n) float32
        x and y from the middle of the array; `scale` pixels are one of their units.
    light : (n,) float32
    sides : (ny, nx)
    """
    ny, nx = sides
    place = np.empty(len(light), np.uint32)
    x, y, pixels = seen[0], seen[1], np.float32(scale)
    left, bottom, outside = np.float32(nx / 2), np.float32(ny / 2), np.uint32(ny * nx)
    width, height = np.float32(nx), np.float32(ny)
    for i in range(len(light)):
        column, row = x[i] * pixels + left, y[i] * pixels + bottom
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        place[i] = np.uint32(np.int32(row) * np.int32(nx) + np.int32(column)) if inside else outside
    sums = np.zeros((ny * nx + 1, 2))  # number and light of one pixel lie together
    for i in range(len(light)):
        sums[place[i], 0] += 1.0
        sums[place[i], 1] += light[i]
    maps = np.empty((2, ny, nx), np.float32)
    for k in range(2):
        maps[k] = sums[:-1, k].copy().reshape(ny, nx)
    return maps


@compiled
def blur(image: np.ndarray, sigma: float) -> None:
    """Replaces `image` (ny, nx) float32 by itself smoothed by a Gaussian of `sigma` pixels, zeros outside."""
    ny, nx = image.shape
    reach = int(np.ceil(_REACH * sigma))
    kernel = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    kernel = (kernel / (2 * kernel.sum() - 1)).astype(np.float32)
    wide = np.zeros(nx + 2 * reach, np.float32)
    for j in range(ny):
        row = image[j]
        wide[reach : reach + nx] = row
        for i in range(nx):
            row[i] *= kernel[0]
        for t in range(1, reach + 1):
            k, before, after = kernel[t], wide[reach - t : reach - t + nx], wide[reach + t : reach + t + nx]
            for i in range(nx):
                row[i] += k * (before[i] + after[i])
    high = np.zeros((ny + 2 * reach, nx), np.float32)
    high[reach : reach + ny] = image
    for j in range(ny):
        row = image[j]
        for i in range(nx):
            row[i] *= kernel[0]
        for t in range(1, reach + 1):
            k, before, after = kernel[t], high[reach + j - t], high[reach + j + t]
            for i in range(nx):
                row[i] += k * (before[i] + after[i])


@compiled
def smooth(maps: np.ndarray, neighbours: float, widest: float) -> np.ndarray:
    """The light of `maps` (2, ny, nx: number and light of particles), each pixel's spread by a Gaussian, (ny, nx).

    The Gaussian is so wide that `neighbours` particles lie under it: 4 pi sigma^2 times their density, which is the
    noise-equivalent number, seen through that Gaussian itself. Between two of a series of widths the light is divided,
    so that nothing jumps; the series ends with the first above `widest` pixels. Light is kept, less what leaves the
    array.
    """
    number, light = maps
    levels = 1 + max(int(np.ceil(np.log(widest / _NARROWEST) / np.log(_STEP))), 0)
    place = np.full(number.shape, np.float32(levels))  # in the series, 0 for no smoothing, with fractions
    density, under = number.copy(), np.zeros(number.shape, np.float32)
    for level in range(1, levels + 1):
        blur(density, _further(level))
        area = np.float32(4 * np.pi * _sigma(level) ** 2)
        if not _find(light, density, under, area, np.float32(neighbours), np.float32(level - 1), place):
            levels = level
            break
    image = np.zeros(number.shape, np.float32)
    for level in range(levels, 0, -1):  # what is wider than a width goes through it as well
        _add(image, light, place, np.float32(level))
        blur(image, _further(level))
    _add(image, light, place, np.float32(0))
    return image


@compiled
def _sigma(level: int) -> float:
    """Width of a Gaussian of the series, in pixels."""
    return _NARROWEST * _STEP ** (level - 1) if level else 0.0


@compiled
def _further(level: int) -> float:
    """Width of the Gaussian that makes one of the series out of the one before."""
    return np.sqrt(_sigma(level) ** 2 - _sigma(level - 1) ** 2)


@compiled
def _find(light, density, under, area, wanted, before, place):
    """Sets `place` where the number of particles passes `wanted` at this width; whether light is left elsewhere."""
    left = np.float32(0)
    light, density, under, place = light.ravel(), density.ravel(), under.ravel(), place.ravel()
    for i in range(len(light)):
        here = max(area * density[i], under[i])
        passes = (under[i] < wanted) & (here >= wanted)
        share = (wanted - under[i]) / max(here - under[i], np.float32(1e-30))
        place[i] = before + share if passes else place[i]
        under[i] = here
        left = max(left, light[i] if here < wanted else np.float32(0))
    return left > 0


@compiled
def _add(image, light, place, level):
    """Adds the light, or its part, that belongs to a width."""
    image, light, place = image.ravel(), light.ravel(), place.ravel()
    for i in range(len(light)):
        image[i] += light[i] * max(np.float32(1) - abs(place[i] - level), np.float32(0))
