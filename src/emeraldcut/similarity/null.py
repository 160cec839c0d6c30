"""What ordinary galaxies score: the null hypothesis behind `similarity_p`.

`ordinary.npz` holds the deviations (`framed.Deviations`) of synthetic ellipticals, lenticulars, discs with diskiness,
edge-on discs, barred and spiral galaxies, none of them boxy, with signal-to-noise ratios of 10 to 400, half-light
radii of 1.2 to 8 PSF widths and axis ratios of 0.3 to 1. For given references every one of them gets its similarity
once. The p-value of an image is the share of the ordinary galaxies like it (in signal-to-noise ratio, size over PSF
width and axis ratio) that score as high; beyond the highest of them it falls exponentially. `python
benchmarks/ordinary.py --write` makes the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from emeraldcut.data.columns import numbers
from emeraldcut.data.imageset import ImageSet
from emeraldcut.frame import ASSUMED_PSF_FWHM_PIX, FrameSet, known_psf
from emeraldcut.similarity.framed import Deviations, psf_damping

FILE = Path(__file__).parent / "ordinary.npz"
NEAREST = 200  # ordinary galaxies with which one is compared
SCALES = np.array([0.7, 0.25, 0.04])  # what counts as a difference of one in each condition
BATCH = 512


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
        known = np.isfinite(scores) & np.isfinite(where).all(axis=1)
        self._scores, self._tree = scores[known], cKDTree(where[known] / SCALES)

    def p_values(self, scores: np.ndarray, where: np.ndarray) -> np.ndarray:
        """The chance (n,) that an ordinary galaxy under the same conditions (n, 3) scores as high as scores (n,).

        NaN where a score or a condition is not known.
        """
        result = np.full(len(scores), np.nan)
        known = np.nonzero(np.isfinite(scores) & np.isfinite(where).all(axis=1))[0]
        number = min(NEAREST, len(self._scores))
        for start in range(0, len(known), BATCH):
            rows = known[start : start + BATCH]
            _, near = self._tree.query(where[rows] / SCALES, number)
            near = near.reshape(len(rows), number)
            theirs = np.sort(self._scores[near], axis=1)  # (n, number)
            own = scores[rows]
            higher = np.count_nonzero(theirs >= own[:, None], axis=1)
            top = theirs[:, -max(number // 20, 1) :]
            beyond = np.maximum(own - theirs[:, -1], 0.0) / np.maximum(top.mean(axis=1) - top[:, 0], 1e-3)
            result[rows] = (higher + 0.5) / (number + 1) * np.exp(-beyond)
        return result
