"""Optimiser: asks for points of the unit cube and is told their scores: a Sobol sequence, then CMA-ES or a process."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from emeraldcut.errors import MissingPackageError, UsageError
from emeraldcut.runs.workers import single_threaded
from emeraldcut.search.gaussian_process import GaussianProcess, fitted

FIRST_WIDTH = 0.2  # standard deviation of the first generation of CMA-ES, in units of the priors
LEAST_WIDTH = 0.01  # at which it has settled and begins again from another point
METHODS = ("cma", "gp")
EVERYWHERE, NEARBY = 2048, 256  # points among which the greatest expected improvement is sought, and near the best ones
NEAR = (0.1, 0.03, 0.01)  # widths of those near, in units of the priors


def sobol(dimension: int, number: int, seed: int) -> np.ndarray:
    """The first points (number, dimension) of a scrambled Sobol sequence."""
    from scipy.stats import qmc  # which takes as long to import as all else here

    points = qmc.Sobol(dimension, scramble=True, seed=seed).random_base2(int(np.ceil(np.log2(max(number, 1)))))
    return np.asarray(points)[:number]


def proposals(
    dimension: int, *, start: int, population: int, seed: int, method: str = "cma"
) -> Generator[np.ndarray, np.ndarray, None]:
    """Points (n, dimension) of the unit cube to try next, for ever; to be sent their scores (n,), higher better.

    First `start` points of a Sobol sequence all at once, then generations of `population`, by one of `METHODS`:

    - "cma": CMA-ES (Hansen & Ostermeier 2001, Evol. Comput. 9, 159; package `cma`) about the best of them; when that
      settles, about the next.
    - "gp": where a Gaussian process of all scores so far expects the greatest improvement; within a generation it
      believes its own means (Ginsbourger et al. 2010, "kriging believer").

    The same scores bring the same points, so that a search which is told the scores that it has kept goes on as if it
    had not been stopped.

    Examples
    --------
    >>> asking = proposals(2, start=4, population=3, seed=1, method="gp")
    >>> points = next(asking)
    >>> asking.send(-np.sum((points - 0.3) ** 2, axis=1)).shape
    (3, 2)

    Raises
    ------
    UsageError
        An unknown method.
    MissingPackageError
        `cma` is not installed.
    """
    if method not in METHODS:
        raise UsageError(f"method must be one of {', '.join(METHODS)}; received {method!r}.")
    if method == "cma":
        _cma()  # says at once that it is missing
    points = sobol(dimension, start, seed)
    scores = yield points
    rng = np.random.default_rng([seed, dimension])
    yield from (_by_process if method == "gp" else _by_cma)(points, scores, population, rng)


def _cma() -> Any:
    try:
        import cma
    except ImportError:
        raise MissingPackageError(
            "method cma needs the package cma: pip install 'emeraldcut[search]'; or use method gp."
        ) from None
    return cma


def _by_cma(
    points: np.ndarray, scores: np.ndarray, population: int, rng: np.random.Generator
) -> Generator[np.ndarray, np.ndarray, None]:
    """Generations of CMA-ES."""
    options = {
        "bounds": [0, 1],
        "popsize": population,
        "seed": np.nan,  # the random numbers are ours
        "randn": lambda *shape: rng.standard_normal(shape),
        "verbose": -9,
        "verb_log": 0,
        "tolx": LEAST_WIDTH,
    }
    order = np.argsort(-scores, kind="stable")
    while True:
        for best in order:
            strategy = _cma().CMAEvolutionStrategy(points[best], FIRST_WIDTH, dict(options))
            while not strategy.stop():
                asked = np.clip(np.array(strategy.ask()), 0, 1)
                told = yield asked
                strategy.tell(list(asked), [-float(score) for score in told])


def _by_process(
    points: np.ndarray, scores: np.ndarray, population: int, rng: np.random.Generator
) -> Generator[np.ndarray, np.ndarray, None]:
    """Generations of a Gaussian process."""
    while True:
        asked = _most_promising(points, scores, population, rng)
        told = yield asked
        points, scores = np.vstack([points, asked]), np.concatenate([scores, told])


@single_threaded
def _most_promising(points: np.ndarray, scores: np.ndarray, population: int, rng: np.random.Generator) -> np.ndarray:
    """The next generation (population, d)."""
    process = fitted(points, scores)
    asked = []
    for _ in range(population):
        asked.append(_best_point(process, rng))
        process = process.believing(asked[-1])
    return np.array(asked)


def _best_point(process: GaussianProcess, rng: np.random.Generator) -> np.ndarray:
    """The point (d,) of the greatest expected improvement: among many everywhere, then ever closer to the best."""
    dimension = process.points.shape[1]
    known = process.points[np.argsort(-process.values, kind="stable")[:4]]
    best, most = known[0], -np.inf
    for width in (None, *NEAR):
        if width is None:
            tried = rng.random((EVERYWHERE, dimension))
        else:
            centres = np.concatenate([best[None], known])[rng.integers(0, 1 + len(known), NEARBY)]
            tried = np.clip(centres + width * rng.standard_normal((NEARBY, dimension)), 0, 1)
        gain = process.expected_improvement(tried)
        if gain.max() > most:
            most, best = gain.max(), tried[np.argmax(gain)]
    return best
