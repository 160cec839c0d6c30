"""The null hypothesis behind `similarity_p`: how similar ordinary galaxies are to the reference.

`ordinary.npz` has the deviations (`framed.Deviations`) of synthetic ellipticals, lenticulars, disky discs, edge-on
discs, barred and spiral galaxies, none of them boxy. Their S/N is 10 to 400, their half-light radius 1.2 to 8 times the
FWHM of the PSF, and their axis ratio 0.3 to 1. The similarity of each of them to given references is computed once. The
p-value of an image is the fraction of ordinary galaxies of similar S/N, size over PSF and axis ratio that are at least
as similar to the reference. Beyond the highest of them it falls exponentially. `python benchmarks/ordinary.py --write`
makes the file.
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
NEAREST = 200  # ordinary galaxies of similar conditions that a p-value is computed from
SCALES = np.array([0.7, 0.25, 0.04])  # unit of the distance in each condition
BATCH = 512


def conditions(images: ImageSet, frames: FrameSet) -> np.ndarray:
    """Coordinates (n, 3) in which galaxies are matched, NaN where there is no galaxy: ln S/N, ln size, axis ratio.

    The size is in units of the FWHM of the PSF, for which 2.5 pixels are assumed where it is not known.
    """
    psf = known_psf(images)
    snr, radius, axis_ratio = (numbers(frames.table[name]) for name in ("snr", "radius_pix", "axis_ratio"))
    size = np.log(radius / np.where(np.isfinite(psf), psf, ASSUMED_PSF_FWHM_PIX))
    return np.stack([np.log(np.maximum(snr, 1.0)), size, axis_ratio], axis=1)


@dataclass(frozen=True)
class Ordinary:
    """The sample of ordinary galaxies.

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
    """The sample that ships with the package."""
    with np.load(FILE) as stored:
        terms, variances, where = (stored[name].astype(np.float32) for name in ("terms", "variances", "conditions"))
    damping = np.stack([psf_damping(np.exp(-size), q) for _, size, q in where]).astype(np.float32)
    return Ordinary(Deviations(terms, variances, damping), where)


class Null:
    """The distribution of a score among ordinary galaxies, as a function of their conditions."""

    def __init__(self, scores: np.ndarray, where: np.ndarray) -> None:
        """From scores (n,) of galaxies with conditions (n, 3)."""
        known = np.isfinite(scores) & np.isfinite(where).all(axis=1)
        self._scores, self._tree = scores[known], cKDTree(where[known] / SCALES)

    def p_values(self, scores: np.ndarray, where: np.ndarray) -> np.ndarray:
        """The probability (n,) that an ordinary galaxy under the same conditions (n, 3) has at least these scores (n,).

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
