"""The order in which candidates are shown, learned from the verdicts so far."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.images.origin import ORIGIN_COLUMNS

ORDERS = ("suggested", "rank", "network")
INFORMATIVE_EVERY = 5  # one in 5 suggested candidates is the one whose verdict would be most informative
CHUNK = 20_000
# The Gaussian process that corrects the score: standard deviation of the correction, and of a verdict; length scale
# in units of the typical distance of two candidates.
AMPLITUDE, NOISE, LENGTH = 0.3, 0.3, 2.0

PLAIN = "axis_ratio a3 b3 a4 b4_sin a6 b6_sin a8 b8_sin residual similarity".split()
PER_ERROR = "a3 a4 a6 a8".split()
LOGARITHMS = "radius_pix snr a4_err".split()
PROBABILITIES = "p_oval p_rectangular p_obround p_other p_boxy typical similarity_p score".split()
NO_FEATURES = (*ORIGIN_COLUMNS, *PROBABILITIES, "id", "rank", "flag", "ra", "dec", "x", "y")


def features(table: Table) -> np.ndarray:
    """The features (n, d) of a table of candidates, each with mean 0 and standard deviation 1.

    Features are measured columns, harmonics over their errors, logarithms of sizes, log odds of probabilities, and
    columns named `feature_...` that a user has added, if the table has them; of a table without any of the former, all
    its columns of numbers. Missing values are replaced by the median, and values in the outer 0.5 % on both sides are
    clipped.
    """
    have = set(table.colnames)
    columns = [numbers(table[name]) for name in PLAIN if name in have]
    columns += [numbers(table[name]) for name in table.colnames if name.startswith("feature_")]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns += [numbers(table[n]) / numbers(table[f"{n}_err"]) for n in PER_ERROR if {n, f"{n}_err"} <= have]
        columns += [np.log(numbers(table[name])) for name in LOGARITHMS if name in have]
    columns += [_log_odds(numbers(table[name])) for name in PROBABILITIES if name in have]
    if not have & set(PLAIN):  # a table of somebody else
        columns += [numbers(table[name]) for name in table.colnames if _is_feature(table, name)]
    scaled = [_scaled(column) for column in columns if np.isfinite(column).any()]
    return np.stack(scaled, axis=1) if scaled else np.zeros((len(table), 1))


def _is_feature(table: Table, name: str) -> bool:
    """Whether a column of any table has numbers that say something of the galaxy."""
    return name not in NO_FEATURES and table[name].dtype.kind in "buif" and table[name].ndim == 1


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

    - "rank": by the score of the run, highest first
    - "network": by the network's probability of what is searched for, highest first
    - "suggested": by the score until there is a verdict, and then by the score corrected by what was learned

    The correction is a Gaussian process over `features`, fitted to verdict (1 for what is searched for, 0 for others)
    minus score. One positive verdict is enough to start. Candidates similar to those with a verdict move up or down,
    and the score stays as it is for all others. One in `INFORMATIVE_EVERY` is the candidate with the largest score plus
    one standard deviation (an upper confidence bound, Auer 2002, J. Mach. Learn. Res. 3, 397).
    """

    def __init__(self, table: Table, score: np.ndarray | None = None, network: np.ndarray | None = None) -> None:
        score = numbers(table["score"], 0.0) if score is None else score
        if network is None:
            network = numbers(table["p_rectangular"], -1.0) if "p_rectangular" in table.colnames else score
        self.n_verdicts = 0  # that the suggested order was learned from
        self._features, self._score = features(table), np.nan_to_num(score)
        self._by_rank = np.argsort(numbers(table["rank"]), kind="stable")
        self._by_network = np.argsort(-network[self._by_rank], kind="stable")
        self._by_network = self._by_rank[self._by_network]
        self._likely, self._informative = self._by_rank, self._by_rank

    def learn(self, rows: np.ndarray, sought: np.ndarray) -> None:
        """Updates the suggested order.

        Parameters
        ----------
        rows : (k,) int
            Candidates with a verdict.
        sought : (k,) float
            1 if they are what is searched for, 0 if not, or the fraction of reviewers who say so.
        """
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        if not len(rows):
            self._likely, self._informative, self.n_verdicts = self._by_rank, self._by_rank, 0
            return
        length = LENGTH * np.sqrt(self._features.shape[1])
        kernel = ConstantKernel(AMPLITUDE**2) * RBF(length) + WhiteKernel(NOISE**2)
        process = GaussianProcessRegressor(kernel, optimizer=None)
        process.fit(self._features[rows], np.asarray(sought, dtype=float) - self._score[rows])
        value = self._score.copy()
        for start in range(0, len(value), CHUNK):
            value[start : start + CHUNK] += process.predict(self._features[start : start + CHUNK])
        likely = self._by_rank[np.argsort(-value[self._by_rank], kind="stable")]
        first = likely[:CHUNK]  # the others are too unlikely to be suggested
        scatter = process.predict(self._features[first], return_std=True)[1]
        informative = first[np.argsort(-(value[first] + scatter), kind="stable")]
        self._likely, self._informative, self.n_verdicts = likely, informative, len(rows)

    def all(self, order: str) -> np.ndarray:
        """Every row (n,), in an order of `ORDERS`."""
        return {"suggested": self._likely, "rank": self._by_rank, "network": self._by_network}[order]

    def next(self, order: str, left: np.ndarray, count: int) -> list[int]:
        """The first `count` rows where `left` (n,) is True; the suggested order has informative ones among them."""
        rows = self.all(order)
        rows = rows[left[rows]]
        if order != "suggested":
            return rows[:count].tolist()
        informative = self._informative[left[self._informative]]
        return list(islice(_mixed(rows.tolist(), informative.tolist()), count))


def _mixed(likely: list[int], informative: list[int]) -> Iterator[int]:
    """Each row once: one of `informative` after every `INFORMATIVE_EVERY` - 1 of `likely`."""
    shown: set[int] = set()
    sources = [iter(likely)] * (INFORMATIVE_EVERY - 1) + [chain(informative, likely)]
    sources = [iter(source) for source in sources]
    while len(shown) < len(likely):
        for source in sources:
            row = next((row for row in source if row not in shown), None)
            if row is not None:
                shown.add(row)
                yield row
