"""Real galaxies made rectangular: their elliptical isophotes become superellipses."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from emeraldcut.frame.frame import frame_galaxy
from emeraldcut.frame.resample import unbinned

SMALLEST_PIX = 6.0  # half-light radius; a warp of a smaller galaxy would warp its PSF


def warped(image: np.ndarray, exponent: float) -> np.ndarray | None:
    """A real galaxy whose elliptical isophotes have become superellipses; None if it is not suited.

    The pixel at (x, y) in the galaxy's axes takes the light from the point in the same elliptical direction whose
    elliptical radius is (|x|^c + |y/q|^c)^(1/c). The warp fades out beyond four half-light radii.
    """
    galaxy = frame_galaxy(image)
    if galaxy is None or galaxy.flag or galaxy.binning * galaxy.radius < SMALLEST_PIX:
        return None
    ellipse, binning = galaxy.ellipse, galaxy.binning
    centre = unbinned(np.array([ellipse.x, ellipse.y]), binning)
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(float)
    cos, sin = np.cos(ellipse.angle), np.sin(ellipse.angle)
    u = (x - centre[0]) * cos + (y - centre[1]) * sin
    v = ((y - centre[1]) * cos - (x - centre[0]) * sin) / ellipse.axis_ratio
    rho = np.hypot(u, v)
    box = (np.abs(u) ** exponent + np.abs(v) ** exponent) ** (1 / exponent)
    fade = 1 / (1 + np.exp((rho / (binning * galaxy.radius) - 4) * 3))
    factor = 1 + fade * (box / np.maximum(rho, 1e-9) - 1)
    back = [
        centre[1] + factor * (u * sin + v * ellipse.axis_ratio * cos),
        centre[0] + factor * (u * cos - v * ellipse.axis_ratio * sin),
    ]
    return ndimage.map_coordinates(image, back, order=1, mode="nearest").astype(np.float32)
