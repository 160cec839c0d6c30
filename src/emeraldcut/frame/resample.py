"""Resampling of pixels: binning, and the framed stamp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emeraldcut.frame.segment import NEIGHBOUR
from emeraldcut.numerics.jit import compiled

if TYPE_CHECKING:
    from emeraldcut.frame.frame import Look

STAMP_SIZE = 32  # pixels on a side of the framed image
EXTENT = 2.5  # half the side of the framed image, in half-light radii
MOST_SAMPLES = 6  # a stamp pixel is the mean of up to this many interpolations along each side


@compiled
def bin_down(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of blocks of `factor` x `factor` pixels, NaN only where a block has no data; the rest is cut off."""
    if factor == 1:
        return image
    ny, nx = image.shape[0] // factor, image.shape[1] // factor
    binned = np.empty((ny, nx), np.float32)
    for y in range(ny):
        for x in range(nx):
            total, count = 0.0, 0
            for j in range(factor):
                for i in range(factor):
                    value = image[y * factor + j, x * factor + i]
                    if np.isfinite(value):
                        total += value
                        count += 1
            binned[y, x] = total / count if count else np.nan
    return binned


def unbinned(place: np.ndarray | float, factor: int) -> np.ndarray | float:
    """Where places (pixels, any array) of an image that was binned by `factor` lie in the image itself."""
    return (place + 0.5) * factor - 0.5


@compiled
def stamp_of(image, parts, shape, radius, light, size, extent):
    """See `stamp`, in the unit of `image`; (size, size), reaching out to `extent` half-light radii."""
    ny, nx = image.shape
    step = 2 * extent * radius / size  # image pixels per stamp pixel, along the major axis
    one, zero = np.float32(1), np.float32(0)
    # an interpolation takes in two pixels along each side
    sub = min(max(int(np.ceil(step - 0.5)), 1), MOST_SAMPLES)
    q, root_q = np.float32(shape[2]), np.sqrt(shape[2])
    along_x, along_y = np.float32(np.cos(shape[3]) * step), np.float32(np.sin(shape[3]) * step)
    across_x, across_y = -along_y * q, along_x * q
    x_centre, y_centre = np.float32(shape[0]), np.float32(shape[1])
    seen = np.empty(ny * nx, np.float32)  # of each pixel, and its light, 0 where it is not of the galaxy or the sky
    light_seen = np.empty(ny * nx, np.float32)
    for y in range(ny):
        for x in range(nx):
            seen[y * nx + x] = one if parts[y, x] < NEIGHBOUR else zero
            light_seen[y * nx + x] = seen[y * nx + x] * image[y, x]
    seen_above, light_above = seen[nx:], light_seen[nx:]
    values, weights = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    fine, half = np.float32(1 / sub), np.float32(size / 2)
    for j in range(size):
        for b in range(sub):
            v = np.float32(j) + (np.float32(b) + np.float32(0.5)) * fine - half
            x_row, y_row = x_centre + v * across_x, y_centre + v * across_y
            for i in range(size):
                total, weight = zero, zero
                for a in range(sub):
                    u = np.float32(i) + (np.float32(a) + np.float32(0.5)) * fine - half
                    x, y = x_row + u * along_x, y_row + u * along_y
                    x0, y0 = np.int32(x), np.int32(y)
                    if x < zero or y < zero or x0 >= nx - 1 or y0 >= ny - 1:
                        continue
                    fx, fy = x - np.float32(x0), y - np.float32(y0)
                    here = np.uint32(y0 * nx + x0)  # unsigned: not counted from the end
                    beside = np.uint32(y0 * nx + x0 + 1)
                    w00, w01, w10, w11 = (one - fx) * (one - fy), fx * (one - fy), (one - fx) * fy, fx * fy
                    total += w00 * light_seen[here] + w01 * light_seen[beside]
                    total += w10 * light_above[here] + w11 * light_above[beside]
                    weight += w00 * seen[here] + w01 * seen[beside] + w10 * seen_above[here] + w11 * seen_above[beside]
                values[j, i] += total
                weights[j, i] += weight
    least = np.float32(0.5 * sub * sub)
    for j in range(size):
        for i in range(size):
            values[j, i] = values[j, i] / weights[j, i] if weights[j, i] > least else zero
    stamp = values.copy()
    for j in range(size):
        for i in range(size):
            if weights[j, i] > least:
                continue
            if weights[size - 1 - j, size - 1 - i] > least:
                stamp[j, i] = values[size - 1 - j, size - 1 - i]
                continue
            r = np.hypot(i + 0.5 - size / 2, j + 0.5 - size / 2) * step * root_q
            k = min(int(r), len(light) - 2)
            t = min(r - k, 1.0)
            stamp[j, i] = light[k] + t * (light[k + 1] - light[k])
    return stamp


def stamp(galaxy: Look) -> np.ndarray:
    """The galaxy in its own frame: (size, size) float32, in units of the sky's noise per pixel.

    Each stamp pixel is the mean of enough linear interpolations that every image pixel under it counts. Pixels
    without data take the value of the point opposite the centre (a galaxy is symmetric to first order), or, where
    that is missing too, the mean light at their radius.
    """
    division = galaxy.segmentation
    values = stamp_of(division.image, division.parts, galaxy.shape, galaxy.radius, galaxy.light, STAMP_SIZE, EXTENT)
    return values / np.float32(division.sky_sigma)
