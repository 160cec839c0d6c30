"""Comparison in the galaxies' own frames: the same cosine, once what all galaxies have in common is removed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage

from emeraldcut.frame import EXTENT, FrameSet

SMOOTHING = 1.5  # standard deviation, in stamp pixels, of the Gaussian that averages noise before comparing
NOISE_FLOOR = 3.0  # light below this many times the smoothed noise is damped
INNER, OUTER = 0.8, EXTENT  # half-light radii that are compared
FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # the frame is defined up to these


@lru_cache(maxsize=4)
def _rings(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For the p pixels of a stamp: rings (n_rings, p), their pseudo-inverse, and which are in the annulus (p,).

    Rings are one pixel apart. A pixel belongs to its two nearest in proportion, so that a steep profile leaves no
    pattern of steps.
    """
    grid = np.arange(size) + 0.5 - size / 2
    radius = np.hypot(*np.meshgrid(grid, grid)).ravel()
    rings = np.arange(int(radius.max()) + 2)
    unit = size / 2 / OUTER
    membership = np.clip(1 - np.abs(radius - rings[:, None]), 0, None)
    return membership, np.linalg.pinv(membership), (radius > INNER * unit) & (radius < OUTER * unit)


def deviations(stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What distinguishes framed galaxies from circles, and how far to trust it.

    The azimuthal mean m(r) is removed and the rest divided by sqrt(m^2 + (3 noise)^2), so that neither the profile nor
    the brightness counts, and noise does not either where the galaxy is faint.

    Parameters
    ----------
    stamps : (n, size, size), in units of the noise

    Returns
    -------
    deviations, trust : (n, p) for the p pixels of the compared annulus
    """
    n, size, _ = stamps.shape
    smooth = ndimage.gaussian_filter(stamps.astype(np.float64), (0, SMOOTHING, SMOOTHING)).reshape(n, size * size)
    noise = 1 / (2 * np.sqrt(np.pi) * SMOOTHING)
    rings, inverse, annulus = _rings(size)
    # the profile is linear between rings; least squares for its values makes the rest orthogonal to every profile
    mean = smooth @ inverse @ rings
    scale = np.hypot(mean, NOISE_FLOOR * noise)
    return ((smooth - mean) / scale)[:, annulus], (np.clip(mean, 0, None) / scale)[:, annulus]


def framed_cosine(frames: FrameSet, references: FrameSet) -> np.ndarray:
    """Cosine (n, n_references) of the deviations from a circle, at the best of the frame's four flips.

    Free of centre, position angle, size, axis ratio, mirror and profile, because the frame is. The reference's
    deviations are damped where the image's light is lost in its noise. NaN where either has no galaxy.
    """
    own, trust = deviations(frames.stamps)
    norm = np.linalg.norm(own, axis=1)
    result = np.full((len(frames), len(references)), -np.inf)
    for vertical, horizontal in FLIPS:
        target, _ = deviations(references.stamps[:, ::vertical, ::horizontal])
        cosine = (own * trust) @ target.T / np.maximum(norm[:, None] * np.sqrt(trust**2 @ (target**2).T), 1e-12)
        result = np.maximum(result, cosine)
    result[[g is None for g in frames.galaxies]] = np.nan
    result[:, [g is None for g in references.galaxies]] = np.nan
    return result
