"""The null hypothesis behind `similarity_p`: how close ordinary galaxies are to the reference.

`ordinary.npz` has the deviations (`framed.Deviations`) of synthetic ellipticals, lenticulars, disky discs, edge-on
discs, barred and spiral galaxies, none of them boxy. Their S/N is 10 to 400, their half-light radius 1.2 to 8 times the
FWHM of the PSF, and their axis ratio 0.3 to 1. How close each of them is to given references is computed once.
`python benchmarks/ordinary.py --write` makes the file.

The p-value of an image is the probability that an ordinary galaxy of its S/N, size over PSF and axis ratio is at least
as close, in three steps. Median and spread, above and below it, of the closeness are polynomials of these conditions
(quantile regression, Koenker & Bassett 1978, Econometrica 46, 33). In units of the spread, the fraction of closer ones
is counted among the ordinary galaxies with the most similar conditions. Beyond the closest tenth of them it is that of
a generalised Pareto distribution (Pickands 1975, Annals of Statistics 3, 119), whose scale and shape are polynomials of
the conditions, fitted to all such galaxies (maximum likelihood).
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
NEAREST, TAIL = 200, 20  # ordinary galaxies of similar conditions that are counted, and the closest of these
SCALES = np.array([0.7, 0.25, 0.04])  # unit of the distance in each condition
RANGE = np.array([[2.3, 0.1, 0.3], [6.0, 2.1, 1.0]])  # of the conditions; polynomials are constant beyond
# Degrees of the polynomials of median and spread, of the tail's log scale and of its shape. Higher ones of the tail
# make p-values of other galaxies than those of the fit too small.
OF_SPREAD, OF_SCALE, OF_SHAPE = 5, 2, 1
LEVELS = (0.1, 0.5, 0.9)  # the quantiles that give median and spread
SMOOTH, LEAST_SPREAD = 0.05, 0.1  # in closeness: the kink of the quantile regression, and the smallest spread
LEAST_SLOPE = 1e-6  # of the loss of the quantile regression at its minimum
RIDGE = 1.0  # of the coefficients of log scale, ten times as much of those of the shape: a galaxy's log likelihood
SMALL = 1e-5  # a shape as near to 0 as this is this
LEAST_P = 1e-7  # smaller p-values are not told apart
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


def _polynomials(where: np.ndarray, degree: int) -> np.ndarray:
    """Products (n, k) of Legendre polynomials of the conditions (n, 3) up to a total degree."""
    unit = 2 * (np.clip(where, *RANGE) - RANGE[0]) / (RANGE[1] - RANGE[0]) - 1
    one, two, three = (np.polynomial.legendre.legvander(unit[:, k], degree) for k in range(3))
    degrees = [(i, j, k) for i in range(degree + 1) for j in range(degree + 1 - i) for k in range(degree + 1 - i - j)]
    return np.stack([one[:, i] * two[:, j] * three[:, k] for i, j, k in degrees], axis=1)


def _quantile_fit(terms: np.ndarray, values: np.ndarray, level: float) -> np.ndarray:
    """Coefficients (k,) of `terms` (n, k) that give the quantile of `values` (n,) at this level."""
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        above = values - terms @ x
        total = np.mean(level * above + SMOOTH * np.logaddexp(0, -above / SMOOTH))
        return total, -terms.T @ (level - 1 + expit(above / SMOOTH)) / len(values)

    def curvature(x: np.ndarray) -> np.ndarray:
        share = expit((values - terms @ x) / SMOOTH)
        return (terms * (share * (1 - share))[:, None]).T @ terms / (SMOOTH * len(values))

    start = np.linalg.lstsq(terms, values, rcond=None)[0]  # the first term is 1
    start[0] += np.quantile(values - terms @ start, level)
    return minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": LEAST_SLOPE}).x


def _tail_fit(excess: np.ndarray, of_scale: np.ndarray, of_shape: np.ndarray) -> np.ndarray:
    """Coefficients of log scale and shape of the generalised Pareto distribution of `excess` (n,) above 0."""
    from scipy.optimize import minimize

    n_scale = of_scale.shape[1]
    ridge = np.repeat([RIDGE, 10 * RIDGE], [n_scale, of_shape.shape[1]])
    ridge[[0, n_scale]] = 0.0

    def loss(x: np.ndarray) -> float:
        log_scale, shape = of_scale @ x[:n_scale], _not_zero(of_shape @ x[n_scale:])
        inside = 1 + shape * excess * np.exp(-log_scale)
        if not np.all(inside > 0):  # beyond the end of the distribution
            return 1e6 * (1 - float(inside.min()))
        return float(np.sum(log_scale + (1 + 1 / shape) * np.log(inside)) + np.sum(ridge * x**2))

    start = np.zeros(len(ridge))
    start[0], start[n_scale] = np.log(excess.mean()), 0.02
    return minimize(loss, start, method="L-BFGS-B").x


def _not_zero(shape: np.ndarray) -> np.ndarray:
    return np.where(np.abs(shape) < SMALL, SMALL, shape)


class Null:
    """The distribution of a score among ordinary galaxies, as a function of their conditions."""

    def __init__(self, scores: np.ndarray, where: np.ndarray) -> None:
        """From scores (n,) of galaxies with conditions (n, 3)."""
        known = np.isfinite(scores) & np.isfinite(where).all(axis=1)
        scores, where = scores[known].astype(np.float64), where[known].astype(np.float64)
        terms = _polynomials(where, OF_SPREAD)
        self._quantiles = np.stack([_quantile_fit(terms, scores, level) for level in LEVELS], axis=1)
        self._scores, self._tree = self._in_spreads(scores, where), cKDTree(where / SCALES)
        limit = np.empty(len(scores))
        for start in range(0, len(scores), BATCH):
            rows = slice(start, start + BATCH)
            limit[rows] = self._similar(where[rows], itself=True)[:, -TAIL]
        above = self._scores > limit
        of_scale, of_shape = (_polynomials(where[above], degree) for degree in (OF_SCALE, OF_SHAPE))
        found = _tail_fit(self._scores[above] - limit[above], of_scale, of_shape)
        self._log_scale, self._shape = np.split(found, [of_scale.shape[1]])

    def _in_spreads(self, scores: np.ndarray, where: np.ndarray) -> np.ndarray:
        """Scores (n,) above the median at their conditions, in units of the spread above it; below, of that below."""
        low, middle, high = (_polynomials(where, OF_SPREAD) @ self._quantiles).T
        spread = np.where(scores > middle, high - middle, middle - low)
        return (scores - middle) / np.maximum(spread, LEAST_SPREAD)

    def _similar(self, where: np.ndarray, *, itself: bool = False) -> np.ndarray:
        """The sorted scores (n, NEAREST) of the ordinary galaxies with the most similar conditions."""
        number = min(NEAREST, len(self._scores) - itself)
        _, near = self._tree.query(where / SCALES, number + itself)
        return np.sort(self._scores[near.reshape(len(where), -1)[:, int(itself) :]], axis=1)

    def p_values(self, scores: np.ndarray, where: np.ndarray) -> np.ndarray:
        """The probability (n,) that an ordinary galaxy under the same conditions (n, 3) has at least these scores (n,).

        NaN where a score or a condition is not known.
        """
        result = np.full(len(scores), np.nan)
        known = np.nonzero(np.isfinite(scores) & np.isfinite(where).all(axis=1))[0]
        for start in range(0, len(known), BATCH):
            rows = known[start : start + BATCH]
            conditions_of = np.asarray(where[rows], dtype=np.float64)
            own, theirs = self._in_spreads(scores[rows], conditions_of), self._similar(conditions_of)
            number = theirs.shape[1] + 1
            counted = (np.count_nonzero(theirs >= own[:, None], axis=1) + 0.5) / number
            shape = _not_zero(_polynomials(conditions_of, OF_SHAPE) @ self._shape)
            beyond = np.maximum(own - theirs[:, -TAIL], 0.0)
            beyond *= np.exp(-_polynomials(conditions_of, OF_SCALE) @ self._log_scale)
            with np.errstate(over="ignore"):
                of_tail = np.maximum(1 + shape * beyond, 0.0) ** (-1 / shape)
            p = np.where(beyond > 0, TAIL / number * of_tail, np.maximum(counted, TAIL / number))
            result[rows] = np.maximum(p, LEAST_P)
        return result


@lru_cache(maxsize=8)
def null_of(scores: bytes) -> Null:
    """That of the ordinary galaxies, from their scores (n,) float64 as bytes; many calls have the same references."""
    return Null(np.frombuffer(scores), ordinary().conditions)
