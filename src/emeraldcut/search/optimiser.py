"""Optimiser: asks for points of the unit cube and is told their scores, first of a Sobol sequence, then by CMA-ES."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from scipy.stats import qmc

from emeraldcut.errors import MissingPackageError

FIRST_WIDTH = 0.2  # standard deviation of the first generation of CMA-ES, in units of the priors
LEAST_WIDTH = 0.01  # at which it has settled and begins again from another point


def sobol(dimension: int, number: int, seed: int) -> np.ndarray:
    """The first points (number, dimension) of a scrambled Sobol sequence."""
    points = qmc.Sobol(dimension, scramble=True, seed=seed).random_base2(int(np.ceil(np.log2(max(number, 1)))))
    return np.asarray(points)[:number]


def proposals(dimension: int, *, start: int, population: int, seed: int) -> Generator[np.ndarray, np.ndarray, None]:
    """Points (n, dimension) of the unit cube to try next, for ever; to be sent their scores (n,), higher better.

    First `start` points of a Sobol sequence all at once, then generations of `population` of CMA-ES (Hansen &
    Ostermeier 2001, Evol. Comput. 9, 159; package `cma`) about the best of them; when that settles, about the next.
    The same scores bring the same points, so that a search which is told the scores that it has kept goes on as if it
    had not been stopped.

    Raises
    ------
    MissingPackageError
        `cma` is not installed.
    """
    try:
        import cma
    except ImportError:
        raise MissingPackageError("search needs cma: pip install 'emeraldcut[search]'.") from None
    points = sobol(dimension, start, seed)
    scores = yield points
    rng = np.random.default_rng([seed, dimension])
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
            strategy = cma.CMAEvolutionStrategy(points[best], FIRST_WIDTH, dict(options))
            while not strategy.stop():
                asked = np.clip(np.array(strategy.ask()), 0, 1)
                told = yield asked
                strategy.tell(list(asked), [-float(score) for score in told])
