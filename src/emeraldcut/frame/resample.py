"""Resampling of pixels: binning, and the framed stamp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emeraldcut.frame.compiled import compiled
from emeraldcut.frame.segment import NEIGHBOUR

if TYPE_CHECKING:
    from emeraldcut.frame.frame import FramedGalaxy

STAMP_SIZE = 32  # pixels on a side of the framed image
EXTENT = 2.5  # half the side of the framed image, in half-light radii
MOST_SAMPLES = 6  # a stamp pixel is the mean of up to this many interpolations along each side


def bin_down(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of blocks of `factor` x `factor` pixels, NaN only where a whole block has no data; the rest is cut off."""
    if factor == 1:
        return image
    ny, nx = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)
    count = np.isfinite(blocks).sum(axis=(1, 3))
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, np.nansum(blocks, axis=(1, 3)) / count, np.nan).astype(image.dtype)


@compiled
def _stamp(image, parts, shape, radius, light, size, extent):
    ny, nx = image.shape
    step = 2 * extent * radius / size  # image pixels per stamp pixel, along the major axis
    sub = min(max(int(np.ceil(step)), 1), MOST_SAMPLES)
    cos, sin, q, root_q = np.cos(shape[3]), np.sin(shape[3]), shape[2], np.sqrt(shape[2])
    values, weights = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    for j in range(size):
        for i in range(size):
            total, weight = 0.0, 0.0
            for b in range(sub):
                v = ((j + (b + 0.5) / sub) - size / 2) * step * q
                for a in range(sub):
                    u = ((i + (a + 0.5) / sub) - size / 2) * step
                    x, y = shape[0] + u * cos - v * sin, shape[1] + u * sin + v * cos
                    x0, y0 = int(np.floor(x)), int(np.floor(y))
                    if x0 < 0 or y0 < 0 or x0 >= nx - 1 or y0 >= ny - 1:
                        continue
                    fx, fy = x - x0, y - y0
                    if parts[y0, x0] < NEIGHBOUR:
                        w = (1 - fx) * (1 - fy)
                        total += w * image[y0, x0]
                        weight += w
                    if parts[y0, x0 + 1] < NEIGHBOUR:
                        w = fx * (1 - fy)
                        total += w * image[y0, x0 + 1]
                        weight += w
                    if parts[y0 + 1, x0] < NEIGHBOUR:
                        w = (1 - fx) * fy
                        total += w * image[y0 + 1, x0]
                        weight += w
                    if parts[y0 + 1, x0 + 1] < NEIGHBOUR:
                        w = fx * fy
                        total += w * image[y0 + 1, x0 + 1]
                        weight += w
            if weight > 0.5 * sub * sub:
                values[j, i], weights[j, i] = total / weight, 1.0
    stamp = values.copy()
    for j in range(size):
        for i in range(size):
            if weights[j, i] > 0:
                continue
            if weights[size - 1 - j, size - 1 - i] > 0:
                stamp[j, i] = values[size - 1 - j, size - 1 - i]
                continue
            r = np.hypot(i + 0.5 - size / 2, j + 0.5 - size / 2) * step * root_q
            k = min(int(r), len(light) - 2)
            t = min(r - k, 1.0)
            stamp[j, i] = light[k] + t * (light[k + 1] - light[k])
    return stamp


def stamp(galaxy: FramedGalaxy) -> np.ndarray:
    """The galaxy in its own frame: (size, size) float32, in units of the sky's noise per pixel.

    Each stamp pixel is the mean of enough linear interpolations that every image pixel under it counts. Pixels
    without data take the value of the point opposite the centre (a galaxy is symmetric to first order), or, where
    that is missing too, the mean light at their radius.
    """
    division = galaxy.segmentation
    values = _stamp(division.image, division.parts, galaxy.shape, galaxy.radius, galaxy.light, STAMP_SIZE, EXTENT)
    return values / np.float32(division.sky_sigma)
