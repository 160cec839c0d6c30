"""What ordinary galaxies score: the null hypothesis behind `similarity_p`.

`ordinary.npz` holds the deviations (`framed.Deviations`) of synthetic ellipticals, lenticulars, discs with diskiness,
edge-on discs, barred and spiral galaxies, none of them boxy, with signal-to-noise ratios of 10 to 400, half-light
radii of 1.2 to 8 PSF widths and axis ratios of 0.3 to 1. For given references every one of them gets its similarity
once. The p-value of an image is the share of the ordinary galaxies like it (in signal-to-noise ratio, size over PSF
width and axis ratio) that score as high, with an exponential tail fitted to the highest tenth. `python
benchmarks/ordinary.py --write` makes the file again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from emeraldcut.data.columns import numbers
from emeraldcut.data.imageset import ImageSet
from emeraldcut.frame import ASSUMED_PSF_FWHM_PIX, FrameSet, known_psf
from emeraldcut.similarity.framed import Deviations, psf_damping

FILE = Path(__file__).parent / "ordinary.npz"
NEAREST = 500  # ordinary galaxies that an anchor compares with
TAIL = 0.1  # share of these to which an exponential is fitted
# Lattice of anchors: ln(S/N), ln(half-light radius / PSF width), axis ratio; and what counts as a difference of one.
ANCHORS = (np.log([12, 20, 35, 60, 100, 180, 320]), np.log([1.4, 2.2, 3.5, 6.0]), np.array([0.4, 0.6, 0.8, 0.95]))
SCALES = np.array([0.5, 0.5, 0.2])


def conditions(images: ImageSet, frames: FrameSet) -> np.ndarray:
    """Coordinates (n, 3) in which galaxies are matched, NaN where there is none.

    2.5 pixels stand in for a PSF width that is not known.
    """
    psf = known_psf(images)
    snr, radius, axis_ratio = (numbers(frames.table[name]) for name in ("snr", "radius_pix", "axis_ratio"))
    size = np.log(radius / np.where(np.isfinite(psf), psf, ASSUMED_PSF_FWHM_PIX))
    return np.stack([np.log(np.maximum(snr, 1.0)), size, axis_ratio], axis=1)


@dataclass(frozen=True)
class Ordinary:
    """The ordinary galaxies.

    Attributes
    ----------
    deviations : Deviations
    conditions : (n, 3)
        See `conditions`.
    """

    deviations: Deviations
    conditions: np.ndarray


@lru_cache(maxsize=1)
def ordinary() -> Ordinary:
    """Those that ship with the package."""
    with np.load(FILE) as stored:
        terms, variances, where = (stored[name].astype(np.float32) for name in ("terms", "variances", "conditions"))
    damping = np.stack([psf_damping(np.exp(-size), q) for _, size, q in where]).astype(np.float32)
    return Ordinary(Deviations(terms, variances, damping), where)


class Null:
    """Distribution of a score among ordinary galaxies, as a function of their conditions."""

    def __init__(self, scores: np.ndarray, where: np.ndarray) -> None:
        """From scores (n,) of galaxies with conditions (n, 3)."""
        self._anchors = {}
        known = np.isfinite(scores)
        scores, scaled = scores[known], where[known] / SCALES
        for i, a in enumerate(ANCHORS[0]):
            for j, b in enumerate(ANCHORS[1]):
                for k, c in enumerate(ANCHORS[2]):
                    distance = ((scaled - np.array([a, b, c]) / SCALES) ** 2).sum(axis=1)
                    near = np.argpartition(distance, min(NEAREST, len(scores)) - 1)[:NEAREST]
                    ordered = np.sort(scores[near])
                    start = ordered[int(len(ordered) * (1 - TAIL))]
                    self._anchors[i, j, k] = ordered, start, max(np.mean(ordered[ordered >= start] - start), 1e-3)

    def p_values(self, scores: np.ndarray, where: np.ndarray) -> np.ndarray:
        """The chance (n,) that an ordinary galaxy under the same conditions scores as high, for scores (n,).

        Between anchors it is interpolated linearly, outside the lattice its edge counts.
        """
        result = np.zeros(len(scores))
        corners = [_between(grid, where[:, axis]) for axis, grid in enumerate(ANCHORS)]
        for steps in np.ndindex(2, 2, 2):
            index = [low + step for (low, _), step in zip(corners, steps, strict=True)]
            weight = np.prod([t if step else 1 - t for (_, t), step in zip(corners, steps, strict=True)], axis=0)
            for anchor in set(zip(*(i.tolist() for i in index), strict=True)):
                rows = np.all([i == a for i, a in zip(index, anchor, strict=True)], axis=0) & (weight > 0)
                if rows.any():
                    result[rows] += weight[rows] * self._at(anchor, scores[rows])
        return np.where(np.isfinite(scores), np.clip(result, 0, 1), np.nan)

    def _at(self, anchor: tuple[int, int, int], scores: np.ndarray) -> np.ndarray:
        ordered, start, mean_excess = self._anchors[anchor]
        n = len(ordered)
        body = (n - np.searchsorted(ordered, scores) + 0.5) / (n + 1)
        beyond = np.maximum(scores - start, 0.0) / mean_excess
        tail = (np.count_nonzero(ordered >= start) + 0.5) / (n + 1) * np.exp(-beyond)
        return np.where(scores > start, tail, body)


def _between(grid: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the lattice point below each value, and the fraction of the way to the next; clipped to the lattice."""
    clipped = np.clip(np.nan_to_num(values, nan=grid[0], posinf=grid[-1], neginf=grid[0]), grid[0], grid[-1])
    low = np.clip(np.searchsorted(grid, clipped, side="right") - 1, 0, len(grid) - 2)
    return low, (clipped - grid[low]) / (grid[low + 1] - grid[low])
