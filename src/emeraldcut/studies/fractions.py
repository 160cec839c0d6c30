"""Fractions of classes among views of mergers, with intervals, tests and corrections that know what is independent.

Views of one merger are not: whatever its orbit and spins did is in all of them. So a merger is one draw, whose fraction
is that of its views, and everything here is about means over mergers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from scipy.stats import beta, norm, t

from emeraldcut.errors import UsageError

LEVEL = 0.9  # of all intervals
REPEATS = 1000  # of the bootstrap
PERMUTATIONS = 4999
_EM_STEPS, _EM_SETTLED = 500, 1e-5


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its interval."""

    value: float
    low: float
    high: float


def as_columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """An estimate, or None, as three columns."""
    ends = {name: "value", f"{name}_low": "low", f"{name}_high": "high"}
    return {column: None if estimate is None else getattr(estimate, end) for column, end in ends.items()}


def fractions_of(labels: np.ndarray, mergers: np.ndarray, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The mergers (m,), sorted, and the fraction (m, k) of each of the classes among the labels (n,) of its views."""
    names, which = np.unique(mergers, return_inverse=True)
    hit = labels[:, None] == np.asarray(classes, dtype=labels.dtype)
    views = np.bincount(which, minlength=len(names))
    return names, np.stack([np.bincount(which, column, len(names)) for column in hit.T], axis=1) / views[:, None]


def rows_where(table: Table, **wanted: str) -> Table:
    """The rows of a table whose columns hold these words; `class_` stands for `class`."""
    chosen = np.ones(len(table), bool)
    for name, value in wanted.items():
        chosen &= np.array(table[name.rstrip("_")], dtype=str) == value
    return table[chosen]


def resampled(mergers: int, rng: np.random.Generator, repeats: int = REPEATS) -> np.ndarray:
    """Weights (repeats, mergers) of a bootstrap over mergers; each row adds up to 1."""
    return rng.multinomial(mergers, np.full(mergers, 1 / mergers), repeats) / mergers


def fraction_interval(fraction: float, drawn: np.ndarray, mergers: int, level: float = LEVEL) -> Estimate:
    """The interval of a fraction of which a bootstrap over so many mergers has drawn these values (repeats,).

    That of a fraction among independent draws, Jeffreys' beta(n p + 1/2, n (1 - p) + 1/2), with as many draws n as give
    the bootstrap's variance, m (1 - m) / n with its mean m, less what a variance from few mergers is uncertain by:
    n (z / t)^2 with the quantiles of a normal and of Student's distribution. So do Korn & Graubard (1998, Survey
    Methodology 24, 193), with Clopper & Pearson's interval. The bootstrap's variance is (mergers - 1) / mergers of the
    true one. Without any variance n is the number of mergers: if not one of ten mergers shows a class, another kind of
    merger may.
    """
    if mergers < 2:
        return Estimate(fraction, 0.0, 1.0)
    tail, mean = (1 - level) / 2, float(drawn.mean())
    variance = float(drawn.var()) * mergers / (mergers - 1)
    draws = max(mean * (1 - mean) / variance, 1.0) if variance > 1e-12 else mergers
    draws *= (norm.ppf(tail) / t.ppf(tail, mergers - 1)) ** 2
    low, high = beta.ppf((tail, 1 - tail), draws * fraction + 0.5, draws * (1 - fraction) + 0.5)
    return Estimate(fraction, min(float(low), fraction), max(float(high), fraction))


def part_of(some: np.ndarray, whole: np.ndarray, rng: np.random.Generator, repeats: int = REPEATS) -> Estimate | None:
    """Which part of the mergers' counts `whole` (m,) are `some` (m,), with its interval; None if there is no count."""
    if not whole.any():
        return None
    weights = resampled(len(whole), rng, repeats)
    weights = weights[weights @ whole > 0]
    return fraction_interval(some.sum() / whole.sum(), (weights @ some) / (weights @ whole), int(np.sum(whole > 0)))


def corrected(fractions: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """The true fractions (..., k) behind `fractions` (..., k) that a fallible method reports.

    `confusion` (..., k, k) holds the probability that a galaxy of the class of the row is called that of the column.
    The most likely true fractions, none of them negative, by expectation and maximisation: p_k grows by the sum over j
    of q_j C_kj / (p C)_j (Vardi & Lee 1993, J. R. Statist. Soc. B 55, 569).
    """
    fractions, confusion = np.asarray(fractions, float), np.asarray(confusion, float)
    true = np.full(np.broadcast_shapes(fractions.shape, confusion.shape[:-1]), 1 / fractions.shape[-1])
    for _ in range(_EM_STEPS):
        called = (true[..., None, :] @ confusion)[..., 0, :]
        grown = true * (confusion @ (fractions / np.maximum(called, 1e-12))[..., None])[..., 0]
        moved, true = np.max(np.abs(grown - true)), grown
        if moved < _EM_SETTLED:
            break
    return true / true.sum(axis=-1, keepdims=True)


def confusion_of(truth: np.ndarray, called: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """How many galaxies (k, k) of the class of the row are called that of the column."""
    place = {name: k for k, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, ([place[str(name)] for name in truth], [place[str(name)] for name in called]), 1)
    return counts


def estimate_fractions(
    fractions: np.ndarray, rng: np.random.Generator, confusion: np.ndarray | None = None, repeats: int = REPEATS
) -> list[Estimate]:
    """The mean of the mergers' fractions (m, k), each class with its interval.

    With the counts `confusion` (k, k) of galaxies of known class, the fractions are corrected by them. The bootstrap
    draws mergers anew, and the rows of the confusion from Dirichlet's distribution of their counts + 1/2 (Jeffreys'
    prior).
    """
    mergers = len(fractions)
    mean, drawn = fractions.mean(axis=0), resampled(mergers, rng, repeats) @ fractions
    if confusion is not None:
        counts = confusion + 0.5
        rows = rng.standard_gamma(counts, (repeats, *counts.shape))
        drawn = corrected(drawn, rows / rows.sum(axis=-1, keepdims=True))
        mean = corrected(mean, counts / counts.sum(axis=1, keepdims=True))
    return [fraction_interval(float(fraction), values, mergers) for fraction, values in zip(mean, drawn.T, strict=True)]


@dataclass(frozen=True)
class Dependence:
    """Whether the fraction of a class depends on something, and how much.

    Attributes
    ----------
    slope : Estimate
        Change of the fraction per unit of what it may depend on, by least squares over mergers.
    difference : Estimate
        Share at the largest value less that at the smallest.
    explained : float
        Part of the variance of the mergers' fractions that lies between values (eta squared).
    p : float
        Chance of an `explained` at least as large if there is no dependence.
    """

    slope: Estimate
    difference: Estimate
    explained: float
    p: float


def dependence(
    fractions: np.ndarray, values: np.ndarray, alike: np.ndarray, rng: np.random.Generator, repeats: int = REPEATS
) -> Dependence:
    """Tests whether the mergers' fractions (m,) of one class depend on their `values` (m,), e.g. the mass ratio.

    The chance is that of permutations of the fractions among mergers that are `alike` (m,) in everything else: a test
    that is exact whatever the fractions' distribution. Intervals are of the bootstrap over mergers, within each value,
    widened for few mergers as `expanded` says.

    Raises
    ------
    ValueError
        If there are fewer than two values.
    """
    known, which = np.unique(values, return_inverse=True)
    if len(known) < 2:
        raise UsageError(f"a dependence needs two or more different values; received {known.tolist()}.")
    counts = np.bincount(which)

    def between(shuffled: np.ndarray) -> np.ndarray:
        """Variance between values, (repeats,), of fractions (repeats, m)."""
        means = np.stack([shuffled[:, which == k].mean(axis=1) for k in range(len(known))], axis=1)
        return (means - shuffled.mean(axis=1, keepdims=True)) ** 2 @ counts

    order = np.tile(np.arange(len(fractions)), (PERMUTATIONS, 1))
    for kind in np.unique(alike):
        own = np.flatnonzero(alike == kind)
        order[:, own] = rng.permuted(order[:, own], axis=1)
    seen, total = between(fractions[None])[0], float(np.sum((fractions - fractions.mean()) ** 2))
    chance = (1 + np.sum(between(fractions[order]) >= seen - 1e-12)) / (PERMUTATIONS + 1)
    groups = [np.flatnonzero(which == k) for k in range(len(known))]
    drawn = np.concatenate([own[rng.integers(len(own), size=(repeats, len(own)))] for own in groups], axis=1)

    def slope(rows: np.ndarray) -> np.ndarray:
        x = values[rows] - values[rows].mean(axis=1, keepdims=True)
        return np.sum(x * fractions[rows], axis=1) / np.sum(x * x, axis=1)

    def difference(rows: np.ndarray) -> np.ndarray:
        first, last = (np.isin(rows, groups[k]) for k in (0, -1))
        return np.average(fractions[rows], axis=1, weights=last) - np.average(fractions[rows], axis=1, weights=first)

    return Dependence(
        slope=expanded(slope, drawn, len(fractions)),
        difference=expanded(difference, drawn, len(fractions)),
        explained=float(seen / total) if total > 0 else 0.0,
        p=float(chance),
    )


def expanded(
    statistic: Callable[[np.ndarray], np.ndarray], drawn: np.ndarray, mergers: int, level: float = LEVEL
) -> Estimate:
    """A statistic of all mergers with its bootstrap interval, of percentiles that are moved outwards for few mergers.

    `statistic` gives the values (r,) for rows (r, m) of numbers of mergers. Instead of the level's normal quantiles
    those of Student's distribution times sqrt(m / (m - 1)) (Hesterberg 2015, The American Statistician 69, 371).
    """
    z = np.sqrt(mergers / (mergers - 1)) * t.ppf((1 + level) / 2, mergers - 1)
    low, high = np.quantile(statistic(drawn), norm.cdf((-z, z)))
    return Estimate(float(statistic(np.arange(mergers)[None])[0]), float(low), float(high))
