"""Comparison in the galaxies' own frames: the same cosine, once what all galaxies have in common is removed."""

from __future__ import annotations

import numpy as np

from emeraldcut.frame import FrameSet

NOISE_FLOOR = 3.0  # light below this many times the noise is damped
INNER, OUTER = 0.5, 2.5  # half-light radii that are compared; the frame reaches OUTER
FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # the frame is defined up to these


def _rings(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Radius (half-light radii) of the stamp's pixels, and the ring (one pixel wide) each belongs to."""
    grid = (np.arange(size) + 0.5 - size / 2) * 2 * OUTER / size
    radius = np.hypot(*np.meshgrid(grid, grid))
    return radius, np.round(radius / (2 * OUTER / size)).astype(int)


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
    radius, ring = _rings(size)
    members = np.zeros((ring.max() + 1, size * size))
    members[ring.ravel(), np.arange(size * size)] = 1
    members /= np.maximum(members.sum(axis=1, keepdims=True), 1)
    flat = stamps.reshape(n, -1).astype(np.float64)
    mean = (flat @ members.T)[:, ring.ravel()]
    scale = np.hypot(mean, NOISE_FLOOR)
    annulus = ((radius > INNER) & (radius < OUTER)).ravel()
    return ((flat - mean) / scale)[:, annulus], (np.clip(mean, 0, None) / scale)[:, annulus]


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
