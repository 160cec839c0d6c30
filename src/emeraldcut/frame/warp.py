"""Real galaxies made rectangular: their elliptical isophotes become superellipses."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from emeraldcut.frame.ellipse_fit import Q, axes_of, to_circle
from emeraldcut.frame.frame import frame_galaxy
from emeraldcut.frame.resample import unbinned

SMALLEST_PIX = 6.0  # half-light radius; a warp of a smaller galaxy would warp its PSF


def warped(image: np.ndarray, exponent: float, *, whatever: bool = False) -> np.ndarray | None:
    """A real galaxy whose elliptical isophotes have become superellipses; None if it is not suited.

    With `whatever`, flagged and small galaxies are warped too, and None is returned only where there is no galaxy.
    See `warp_of`.
    """
    places = warp_of(image, exponent, whatever=whatever)
    return None if places is None else moved_to(image, places)


def warp_of(image: np.ndarray, exponent: float, *, whatever: bool = False) -> np.ndarray | None:
    """From where (y, x) each pixel (2, ny, nx) of a `warped` image takes its light.

    The pixel at (x, y) in the galaxy's axes takes the light from the point in the same elliptical direction whose
    elliptical radius is (|x|^c + |y/q|^c)^(1/c). The warp fades out beyond four half-light radii.
    """
    galaxy = frame_galaxy(image)
    if galaxy is None:
        return None
    if not whatever and (galaxy.flag or galaxy.binning * galaxy.radius < SMALLEST_PIX):
        return None
    binning, axes = galaxy.binning, axes_of(galaxy.shape)
    axes = axes._replace(x=unbinned(axes.x, binning), y=unbinned(axes.y, binning))
    q = galaxy.shape[Q]
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    u, v = to_circle(x, y, axes)
    rho = np.hypot(u, v)
    box = (np.abs(u) ** exponent + np.abs(v) ** exponent) ** (1 / exponent)
    fade = 1 / (1 + np.exp((rho / (binning * galaxy.radius) - 4) * 3))
    factor = 1 + fade * (box / np.maximum(rho, 1e-9) - 1)
    return np.stack(
        [
            axes.y + factor * (u * axes.sin + v * q * axes.cos),
            axes.x + factor * (u * axes.cos - v * q * axes.sin),
        ]
    )


def moved_to(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The image (ny, nx) whose pixels take the light from `places` (2, ny, nx), by linear interpolation; float32."""
    return ndimage.map_coordinates(image, places, order=1, mode="nearest").astype(np.float32)
