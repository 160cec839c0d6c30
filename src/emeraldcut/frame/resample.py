"""Resampling of pixels: binning, and the framed stamp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from emeraldcut.frame.frame import FramedGalaxy

STAMP_SIZE = 32  # pixels on a side of the framed image
EXTENT = 2.5  # half the side of the framed image, in half-light radii


def bin_down(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of blocks of `factor` x `factor` pixels, NaN only where a whole block has no data; the rest is cut off."""
    if factor == 1:
        return image
    ny, nx = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)
    count = np.isfinite(blocks).sum(axis=(1, 3))
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, np.nansum(blocks, axis=(1, 3)) / count, np.nan)


def stamp(galaxy: FramedGalaxy) -> np.ndarray:
    """The galaxy in its own frame: (size, size) float32, in units of the sky's noise per pixel.

    Each stamp pixel is the mean of enough linear interpolations that every image pixel under it counts. Pixels
    without data take the value of the point opposite the centre (a galaxy is symmetric to first order), or, where
    that is missing too, the fitted profile.
    """
    division, ellipse = galaxy.segmentation, galaxy.fit.ellipse
    size, q = STAMP_SIZE, ellipse.axis_ratio
    step = 2 * EXTENT * galaxy.radius / size  # image pixels per stamp pixel, along the major axis
    sub = int(np.clip(np.ceil(step), 1, 6))
    grid = ((np.arange(size * sub) + 0.5) / sub - size / 2) * step
    u, v = np.meshgrid(grid, grid * q)
    cos, sin = np.cos(ellipse.angle), np.sin(ellipse.angle)
    points = np.stack([ellipse.y + u * sin + v * cos, ellipse.x + u * cos - v * sin])
    light = ndimage.map_coordinates(np.where(division.valid, division.image, 0.0), points, order=1, cval=0.0)
    weight = ndimage.map_coordinates(division.valid.astype(float), points, order=1, cval=0.0)
    light, weight = (a.reshape(size, sub, size, sub).mean(axis=(1, 3)) for a in (light, weight))
    good = weight > 0.5
    opposite = good[::-1, ::-1]
    value = np.where(good, light / np.maximum(weight, 1e-6), 0.0)
    model = galaxy.light(np.hypot(*np.meshgrid(*[((np.arange(size) + 0.5) - size / 2) * step] * 2)))
    value = np.where(good, value, np.where(opposite, value[::-1, ::-1], model))
    return (value / division.sky_sigma).astype(np.float32)
