"""Order: which candidates to show next, learned from the verdicts so far."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers

ORDERS = ("suggested", "rank", "network")
TELLING_EVERY = 5  # of the suggested candidates, one in so many is there because its verdict would tell most
CHUNK = 20_000
# The Gaussian process that corrects the score: standard deviation of the correction, and of a verdict; length scale
# in units of the typical distance of two candidates.
AMPLITUDE, NOISE, LENGTH = 0.3, 0.3, 2.0

PLAIN = "axis_ratio a3 b3 a4 b4_sin a6 b6_sin a8 b8_sin residual similarity".split()
PER_ERROR = "a3 a4 a6 a8".split()
LOGARITHMS = "radius_pix snr a4_err".split()
PROBABILITIES = "p_oval p_rectangular p_obround p_other p_boxy typical similarity_p score".split()


def features(table: Table) -> np.ndarray:
    """What a table of candidates says of each, (n, d), each column with mean 0 and scatter 1.

    Measured columns, shapes over their errors, logarithms of sizes, log odds of probabilities, and columns named
    `feature_...` that a user has added, as far as they are there. A missing value is replaced by the median, and the
    outermost half per cent on both sides by what lies inside.
    """
    have = set(table.colnames)
    columns = [numbers(table[name]) for name in PLAIN if name in have]
    columns += [numbers(table[name]) for name in table.colnames if name.startswith("feature_")]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns += [numbers(table[n]) / numbers(table[f"{n}_err"]) for n in PER_ERROR if {n, f"{n}_err"} <= have]
        columns += [np.log(numbers(table[name])) for name in LOGARITHMS if name in have]
    columns += [_log_odds(numbers(table[name])) for name in PROBABILITIES if name in have]
    scaled = [_scaled(column) for column in columns if np.isfinite(column).any()]
    return np.stack(scaled, axis=1) if scaled else np.zeros((len(table), 1))


def _log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def _scaled(column: np.ndarray) -> np.ndarray:
    known = np.isfinite(column)
    column = np.where(known, column, np.median(column[known]))
    column = np.clip(column, *np.percentile(column, [0.5, 99.5]))
    return (column - column.mean()) / max(column.std(), 1e-9)


class Order:
    """The candidates of a table in the orders of `ORDERS`.

    "rank" is the run's own, by its score; "network" falls with p_rectangular; "suggested" is the run's own until
    there is a verdict, and then by what was learned.

    What is learned is where the score errs: a Gaussian process over `features` is fitted to verdict (1 rectangular, 0
    not) minus score. So one positive is enough to start, candidates like those that were judged move up or down, and
    far from all of them the score stands. One in `TELLING_EVERY` is taken where score plus one standard deviation is
    largest (an upper confidence bound, Auer 2002, J. Mach. Learn. Res. 3, 397).
    """

    def __init__(self, table: Table) -> None:
        score = numbers(table["score"], 0.0)
        network = numbers(table["p_rectangular"], -1.0) if "p_rectangular" in table.colnames else score
        self.n_verdicts = 0  # that the suggested order knows
        self._features, self._score = features(table), np.nan_to_num(score)
        self._by_rank = np.argsort(numbers(table["rank"]), kind="stable")
        self._by_network = np.argsort(-network[self._by_rank], kind="stable")
        self._by_network = self._by_rank[self._by_network]
        self._likely, self._telling = self._by_rank, self._by_rank

    def learn(self, rows: np.ndarray, rectangular: np.ndarray) -> None:
        """Renews the suggested order.

        Parameters
        ----------
        rows : (k,) int
            Candidates with a verdict.
        rectangular : (k,) float
            1 if they are rectangular, 0 if not, or the fraction of reviewers who say so.
        """
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        if not len(rows):
            self._likely, self._telling, self.n_verdicts = self._by_rank, self._by_rank, 0
            return
        length = LENGTH * np.sqrt(self._features.shape[1])
        kernel = ConstantKernel(AMPLITUDE**2) * RBF(length) + WhiteKernel(NOISE**2)
        process = GaussianProcessRegressor(kernel, optimizer=None)
        process.fit(self._features[rows], np.asarray(rectangular, dtype=float) - self._score[rows])
        value = self._score.copy()
        for start in range(0, len(value), CHUNK):
            value[start : start + CHUNK] += process.predict(self._features[start : start + CHUNK])
        likely = self._by_rank[np.argsort(-value[self._by_rank], kind="stable")]
        first = likely[:CHUNK]  # the others are too unlikely to be asked about
        scatter = process.predict(self._features[first], return_std=True)[1]
        telling = first[np.argsort(-(value[first] + scatter), kind="stable")]
        self._likely, self._telling, self.n_verdicts = likely, telling, len(rows)

    def all(self, order: str) -> np.ndarray:
        """Every row (n,), in an order of `ORDERS`."""
        return {"suggested": self._likely, "rank": self._by_rank, "network": self._by_network}[order]

    def next(self, order: str, left: np.ndarray, count: int) -> list[int]:
        """The first `count` rows among those where `left` (n,) is True, telling ones mixed in if suggested."""
        rows = self.all(order)
        rows = rows[left[rows]]
        if order != "suggested":
            return rows[:count].tolist()
        telling = self._telling[left[self._telling]]
        return list(islice(_mixed(rows.tolist(), telling.tolist()), count))


def _mixed(likely: list[int], telling: list[int]) -> Iterator[int]:
    """Each row once: one of `telling` after every `TELLING_EVERY` - 1 of `likely`."""
    shown: set[int] = set()
    sources = [iter(likely)] * (TELLING_EVERY - 1) + [chain(telling, likely)]
    sources = [iter(source) for source in sources]
    while len(shown) < len(likely):
        for source in sources:
            row = next((row for row in source if row not in shown), None)
            if row is not None:
                shown.add(row)
                yield row
