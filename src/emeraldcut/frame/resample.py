"""Resampling of pixels: binning, and the framed stamp."""

from __future__ import annotations

import numpy as np

from emeraldcut.frame.ellipse_fit import ANGLE, Q, X, Y
from emeraldcut.frame.segmentation import NEIGHBOUR
from emeraldcut.numerics.jit import compiled, kernel, part

STAMP_SIZE = 32  # pixels on a side of the framed image
EXTENT = 2.5  # half the side of the framed image, in half-light radii
MOST_SAMPLES = 6  # a stamp pixel is the mean of up to this many interpolations along each side


@compiled
def bin_down(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of blocks of `factor` x `factor` pixels, NaN only where a block has no data; the rest is cut off."""
    return binned_down(image, factor)


@part
def binned_down(image, factor):
    """See `bin_down`."""
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


@kernel
def _seen_light(image, pixel_class):
    """For all pixels in one row: 1 for galaxy and sky, 0 for the rest, and the light of the former."""
    ny, nx = image.shape
    seen, light = np.empty(ny * nx, np.float32), np.empty(ny * nx, np.float32)
    one, zero = np.float32(1), np.float32(0)
    for y in range(ny):
        for x in range(nx):
            seen[y * nx + x] = one if pixel_class[y, x] < NEIGHBOUR else zero
            light[y * nx + x] = seen[y * nx + x] * image[y, x]
    return seen, light


@kernel
def _sample(image, pixel_class, shape, step, sub, values, weights):
    """Adds to each pixel of a stamp (size, size) the light of sub x sub interpolations, and the weights they have.

    `step` is the number of image pixels in one of the stamp, along the major axis.
    """
    (ny, nx), size = image.shape, len(values)
    one, zero, q = np.float32(1), np.float32(0), np.float32(shape[Q])
    along_x, along_y = np.float32(np.cos(shape[ANGLE]) * step), np.float32(np.sin(shape[ANGLE]) * step)
    across_x, across_y = -along_y * q, along_x * q
    x_centre, y_centre = np.float32(shape[X]), np.float32(shape[Y])
    seen, light_seen = _seen_light(image, pixel_class)
    seen_above, light_above = seen[nx:], light_seen[nx:]
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


@kernel
def _fill_missing(values, weights, least, light, step):
    """A stamp of means (values over weights), and what `stamp` says where the weights are not above `least`.

    `step` is here the number of image pixels in one of the stamp, along circularised radii.
    """
    size, zero = len(values), np.float32(0)
    for j in range(size):
        for i in range(size):
            values[j, i] = values[j, i] / weights[j, i] if weights[j, i] > least else zero
    filled = values.copy()
    for j in range(size):
        for i in range(size):
            if weights[j, i] > least:
                continue
            if weights[size - 1 - j, size - 1 - i] > least:
                filled[j, i] = values[size - 1 - j, size - 1 - i]
                continue
            r = np.hypot(i + 0.5 - size / 2, j + 0.5 - size / 2) * step
            k = min(int(r), len(light) - 2)
            t = min(r - k, 1.0)
            filled[j, i] = light[k] + t * (light[k + 1] - light[k])
    return filled


@compiled
def stamp_of(
    image: np.ndarray, pixel_class: np.ndarray, shape: np.ndarray, radius: float, light: np.ndarray
) -> np.ndarray:
    """See `stamp`, in the unit of `image`."""
    return resampled(image, pixel_class, shape, radius, light)


@part
def resampled(image, pixel_class, shape, radius, light):
    """See `stamp_of`."""
    step = 2 * EXTENT * radius / STAMP_SIZE  # image pixels per stamp pixel, along the major axis
    # an interpolation takes in two pixels along each side
    sub = min(max(int(np.ceil(step - 0.5)), 1), MOST_SAMPLES)
    values, weights = np.zeros((STAMP_SIZE, STAMP_SIZE), np.float32), np.zeros((STAMP_SIZE, STAMP_SIZE), np.float32)
    _sample(image, pixel_class, shape, step, sub, values, weights)
    least = np.float32(0.5 * sub * sub)  # half of the samples
    return _fill_missing(values, weights, least, light, step * np.sqrt(shape[Q]))
