"""Fractions of classes among views of mergers, with intervals, tests and corrections.

The views of one merger are not independent, since all of them show the effect of its orbit and spins; nor are mergers
on the same orbit that differ in mass ratio or gas. An orbit is therefore one draw, with the fraction of a class among
the views of all its mergers, and all estimates are means over orbits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from scipy.special import betaincinv, ndtr, ndtri, stdtrit  # scipy.stats would take a second to import

from emeraldcut.errors import UsageError

LEVEL = 0.9  # of all intervals
REPEATS = 1000  # of the bootstrap
PERMUTATIONS = 4999
_EM_STEPS, _EM_SETTLED = 500, 1e-5


@dataclass(frozen=True)
class Estimate:
    """An estimate with its interval."""

    value: float
    low: float
    high: float


def as_columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """An estimate, or None where there is none, as values of three columns."""
    ends = {name: "value", f"{name}_low": "low", f"{name}_high": "high"}
    return {column: None if estimate is None else getattr(estimate, end) for column, end in ends.items()}


def fractions_of(labels: np.ndarray, owners: np.ndarray, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The sorted owners (m,), orbits or mergers, and the fractions (m, k) of the classes among their labels (n,)."""
    names, which = np.unique(owners, return_inverse=True)
    hit = labels[:, None] == np.asarray(classes, dtype=labels.dtype)
    views = np.bincount(which, minlength=len(names))
    return names, np.stack([np.bincount(which, column, len(names)) for column in hit.T], axis=1) / views[:, None]


def means_of(values: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted owners (m,) and the means (m,) of their values (n,)."""
    names, which = np.unique(owners, return_inverse=True)
    return names, np.bincount(which, values, len(names)) / np.bincount(which, minlength=len(names))


def rows_where(table: Table, **wanted: str) -> Table:
    """The rows of a table whose columns have these values; `class_` stands for `class`."""
    chosen = np.ones(len(table), bool)
    for name, value in wanted.items():
        chosen &= np.array(table[name.rstrip("_")], dtype=str) == value
    return table[chosen]


def resampled(orbits: int, rng: np.random.Generator, repeats: int = REPEATS) -> np.ndarray:
    """Weights (repeats, orbits) of a bootstrap over orbits; the sum of each row is 1."""
    return rng.multinomial(orbits, np.full(orbits, 1 / orbits), repeats) / orbits


def fraction_interval(fraction: float, drawn: np.ndarray, orbits: int, level: float = LEVEL) -> Estimate:
    """The interval of a fraction, from the values `drawn` (repeats,) of a bootstrap over this number of orbits.

    It is the Jeffreys interval of independent draws, beta(n p + 1/2, n (1 - p) + 1/2). The number of draws n is chosen
    such that m (1 - m) / n is the variance of the bootstrap, where m is its mean. It is then multiplied by (z / t)^2,
    with quantiles of the normal and of Student's distribution, because a variance from few orbits is uncertain. Korn &
    Graubard (1998, Survey Methodology 24, 193) do the same with the interval of Clopper & Pearson. The variance of the
    bootstrap is (orbits - 1) / orbits of the true one.

    Where the variance is 0, n is the number of orbits: a class that none of ten orbits shows may still be seen on the
    next one.
    """
    if orbits < 2:
        return Estimate(fraction, 0.0, 1.0)
    tail, mean = (1 - level) / 2, float(drawn.mean())
    variance = float(drawn.var()) * orbits / (orbits - 1)
    draws = max(mean * (1 - mean) / variance, 1.0) if variance > 1e-12 else orbits
    draws *= (ndtri(tail) / stdtrit(orbits - 1, tail)) ** 2
    low, high = betaincinv(draws * fraction + 0.5, draws * (1 - fraction) + 0.5, (tail, 1 - tail))
    return Estimate(fraction, min(float(low), fraction), max(float(high), fraction))


def part_of(some: np.ndarray, whole: np.ndarray, rng: np.random.Generator, repeats: int = REPEATS) -> Estimate | None:
    """The sum of counts `some` (m,) over that of `whole` (m,), with its interval over orbits; None without counts."""
    if not whole.any():
        return None
    weights = resampled(len(whole), rng, repeats)
    weights = weights[weights @ whole > 0]
    return fraction_interval(some.sum() / whole.sum(), (weights @ some) / (weights @ whole), int(np.sum(whole > 0)))


def corrected(fractions: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """The most likely true fractions (..., k), given the `fractions` (..., k) that a method reports.

    `confusion` (..., k, k) is the probability that a galaxy of the class of the row is classified as that of the
    column. The true fractions, none of which is negative, are found by expectation maximisation: p_k is multiplied by
    the sum over j of q_j C_kj / (p C)_j (Vardi & Lee 1993, J. R. Statist. Soc. B 55, 569).
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
    """The number of galaxies (k, k) of the class of the row that are classified as that of the column."""
    place = {name: k for k, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, ([place[str(name)] for name in truth], [place[str(name)] for name in called]), 1)
    return counts


def estimate_fractions(
    fractions: np.ndarray, rng: np.random.Generator, confusion: np.ndarray | None = None, repeats: int = REPEATS
) -> list[Estimate]:
    """The mean of the orbits' fractions (m, k) of each class, with its interval.

    If the counts `confusion` (k, k) of galaxies of known class are given, the fractions are corrected by them. The
    bootstrap resamples orbits, and draws the rows of the confusion matrix from the Dirichlet distribution of their
    counts + 1/2 (Jeffreys' prior).
    """
    orbits = len(fractions)
    mean, drawn = fractions.mean(axis=0), resampled(orbits, rng, repeats) @ fractions
    if confusion is not None:
        counts = confusion + 0.5
        rows = rng.standard_gamma(counts, (repeats, *counts.shape))
        drawn = corrected(drawn, rows / rows.sum(axis=-1, keepdims=True))
        mean = corrected(mean, counts / counts.sum(axis=1, keepdims=True))
    return [fraction_interval(float(fraction), values, orbits) for fraction, values in zip(mean, drawn.T, strict=True)]


@dataclass(frozen=True)
class Dependence:
    """Whether, and how strongly, the fraction of a class depends on a variable.

    Attributes
    ----------
    slope : Estimate
        Change of the fraction per unit of the variable, by least squares over mergers.
    difference : Estimate
        The fraction at the largest value minus that at the smallest.
    explained : float
        Fraction of the variance among mergers that is between values of the variable (eta squared).
    p : float
        Probability of an `explained` at least as large if there is no dependence.
    """

    slope: Estimate
    difference: Estimate
    explained: float
    p: float


def complete(values: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Boolean (m,): the mergers that belong to a group of `alike` (m,) ones with every one of the `values` (m,).

    Others have nothing to be compared with: an orbit that was run without gas alone says nothing of what gas does.
    """
    number = len(np.unique(values))
    names, which = np.unique(alike, return_inverse=True)
    found = [len(np.unique(values[which == k])) == number for k in range(len(names))]
    return np.array(found, bool)[which] if len(names) else np.zeros(0, bool)


def dependence(
    fractions: np.ndarray,
    values: np.ndarray,
    alike: np.ndarray,
    orbits: np.ndarray,
    rng: np.random.Generator,
    repeats: int = REPEATS,
) -> Dependence:
    """Tests whether the mergers' fractions (m,) of a class depend on their `values` (m,), such as the mass ratio.

    The p-value is that of permutations of the fractions among mergers that are `alike` (m,) in everything else. This
    test is exact for any distribution of the fractions. Intervals are from a bootstrap over the `orbits` (m,), each
    with all its mergers, widened for few orbits as in `expanded`.

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

    def slope(weights: np.ndarray) -> np.ndarray:
        x = values - (weights @ values / weights.sum(axis=1))[:, None]
        return np.sum(weights * x * fractions, axis=1) / np.sum(weights * x * x, axis=1)

    def difference(weights: np.ndarray) -> np.ndarray:
        first, last = (weights * (which == k) for k in (0, len(known) - 1))
        return last @ fractions / last.sum(axis=1) - first @ fractions / first.sum(axis=1)

    return Dependence(
        slope=expanded(slope, orbits, rng, repeats),
        difference=expanded(difference, orbits, rng, repeats),
        explained=float(seen / total) if total > 0 else 0.0,
        p=float(chance),
    )


def expanded(
    statistic: Callable[[np.ndarray], np.ndarray],
    orbits: np.ndarray,
    rng: np.random.Generator,
    repeats: int = REPEATS,
    level: float = LEVEL,
) -> Estimate:
    """A statistic of all mergers with its expanded-percentile bootstrap interval, which is wider for few orbits.

    `statistic` computes the values (r,) for weights (r, m) of the mergers, whose `orbits` (m,) are drawn as a whole.
    Draws in which it is not finite, because a kind of merger is missing, are left out. The normal quantiles of the
    level are replaced by those of Student's distribution times sqrt(n / (n - 1)) for n orbits (Hesterberg 2015, The
    American Statistician 69, 371). One orbit has no interval: it is then unbounded.
    """
    names, which = np.unique(orbits, return_inverse=True)
    value = float(statistic(np.ones((1, len(orbits))))[0])
    if len(names) < 2:
        return Estimate(value, -np.inf, np.inf)
    z = np.sqrt(len(names) / (len(names) - 1)) * stdtrit(len(names) - 1, (1 + level) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = statistic(len(names) * resampled(len(names), rng, repeats)[:, which])
    low, high = np.quantile(drawn[np.isfinite(drawn)], ndtr((-z, z)))
    return Estimate(value, float(low), float(high))
