"""The score: one calibrated probability that a galaxy is rectangular, from everything that is known of it.

The network's log odds at the stated prevalence are the start. To them are added terms, each a function of one
measurement, linear between a few knots and constant beyond them: a generalised additive model (Hastie & Tibshirani
1986, Statistical Science 1, 297), fitted as a logistic regression. Terms of which one knows the direction, such as that
of a4, are monotone. As terms add, each says by how much it changed the odds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table

from emeraldcut.data import Flag
from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import flag_name
from emeraldcut.errors import UsageError
from emeraldcut.frame import ASSUMED_PSF_FWHM_PIX
from emeraldcut.networks import CLASSES
from emeraldcut.networks.calibration import priors
from emeraldcut.networks.card import card_page
from emeraldcut.runs.reading import read_json

FILE = "ranking.json"  # in the folder of the network that it belongs to
N_REASONS = 3  # of what changed the odds, that are named
PRECISIONS = (0.5, 0.85, 0.9)  # of lists, for each of which a threshold is stored
AT = 0.01  # prevalence at which it is fitted
LEAST = 1e-6  # of a probability or p-value whose logarithm is taken
RIDGE = 10.0  # of the squared rises of a term, in weights of a galaxy; 3 did worse on drawn galaxies, 30 on real ones


class Term(NamedTuple):
    """A function of one measurement.

    Attributes
    ----------
    name, words : str
        For the file, and for people.
    value : function of a table that gives the measurement (n,), NaN where it is not known
    knots : tuple of float
    rising : int
        1 if more of it never lowers the probability, -1 if more of it never raises it, 0 if either may be.
    """

    name: str
    words: str
    value: Callable[[Table], np.ndarray]
    knots: tuple[float, ...]
    rising: int = 0


def probability(log_odds: np.ndarray) -> np.ndarray:
    """The probability (n,) that has these log odds (n,)."""
    return 1 / (1 + np.exp(-np.clip(log_odds, -500, 500)))


def _factor(added: float) -> str:
    """What is added to log odds as a factor on the odds, with two digits."""
    factor = np.exp(min(abs(added), 20.0))
    text = f"{factor:.1f}" if factor < 10 else f"{float(f'{factor:.2g}'):,.0f}"
    return f"{'×' if added >= 0 else '÷'} {text}"


def _column(name: str) -> Callable[[Table], np.ndarray]:
    return lambda table: numbers(table[name]) if name in table.colnames else np.full(len(table), np.nan)


def _over_error(name: str) -> Callable[[Table], np.ndarray]:
    value, error = _column(name), _column(f"{name}_err")
    return lambda table: value(table) / np.maximum(error(table), 1e-9)


def _logarithm(name: str, least: float = LEAST) -> Callable[[Table], np.ndarray]:
    value = _column(name)
    return lambda table: np.log10(np.maximum(value(table), least))


def _over_fwhm(name: str) -> Callable[[Table], np.ndarray]:
    """Logarithm of a length over the FWHM of the PSF; one that is not known is assumed, see `star_marks`."""
    length = _column(name)

    def value(table: Table) -> np.ndarray:
        fwhm, grain = _column("psf_fwhm_pix")(table), np.nan_to_num(_column("grain_pix")(table), nan=1.0)
        fwhm = np.where(fwhm > 0, fwhm, ASSUMED_PSF_FWHM_PIX * np.maximum(grain, 1.0))
        return np.log10(np.maximum(length(table), 0.1) / fwhm)

    return value


def _brightness(table: Table) -> np.ndarray:
    """Logarithm of the S/N over the radius in grains of the noise: the light of a resolution element over its noise."""
    grain = np.maximum(np.nan_to_num(_column("grain_pix")(table), nan=1.0), 1.0)
    return np.log10(np.maximum(_column("snr")(table), 0.1) * grain / np.maximum(_column("radius_pix")(table), 0.1))


def _has(flag: Flag) -> Callable[[Table], np.ndarray]:
    return lambda table: ((np.asarray(table["flag"], dtype=np.int64) & int(flag)) != 0).astype(float)


def log_odds(table: Table, prevalence: float, at: float) -> np.ndarray:
    """The network's log odds (n,) of rectangular at prevalence `at`, from probabilities at `prevalence`."""
    p = np.stack([np.maximum(_column(f"p_{name}")(table), 1e-12) for name in CLASSES], axis=1)
    p = p * priors(CLASSES, at) / priors(CLASSES, prevalence)
    own = CLASSES.index("rectangular")
    return np.log(p[:, own]) - np.log(np.delete(p, own, axis=1).sum(axis=1))


TERMS = (
    Term("signal", "S/N", _logarithm("snr", 0.1), (0.8, 1.2, 1.5, 1.8, 2.1, 2.5, 3.2)),
    Term("size", "size over the PSF", _over_fwhm("radius_pix"), (-0.2, 0.1, 0.3, 0.5, 0.8, 1.2)),
    Term("brightness", "brightness over the noise", _brightness, (-0.3, 0.0, 0.2, 0.4, 0.7, 1.0, 1.5)),
    Term("axis_ratio", "axis ratio", _column("axis_ratio"), (0.2, 0.35, 0.5, 0.65, 0.8, 1.0)),
    Term("size_of_a4", "a4", _column("a4"), (-0.2, -0.12, -0.08, -0.05, -0.03, -0.015, 0.0, 0.03), -1),
    Term("boxiness", "a4 over its error", _over_error("a4"), (-15, -8, -5, -3, -2, -1, 0, 2), -1),
    Term("sixth", "a6 over its error", _over_error("a6"), (-6, -3, -1.5, 0, 1.5, 3, 6)),
    Term("eighth", "a8 over its error", _over_error("a8"), (-4, -2, 0, 2, 4)),
    Term("similarity", "similarity", _column("similarity"), (-0.5, 0, 0.25, 0.5, 0.7, 0.85, 1.0), 1),
    Term("chance", "p-value", _logarithm("similarity_p"), (-6, -4, -3, -2, -1.3, -0.7, 0.0), -1),
    Term("structure", "residual", _column("residual"), (0.0, 0.03, 0.06, 0.1, 0.15, 0.3), -1),
    Term("typicality", "typicality", _logarithm("typical", 1e-4), (-4, -3, -2, -1, 0), 1),
    Term("saturated", "saturated core", _column("saturated"), (0.02, 0.08, 0.15, 0.3, 0.8), -1),
    Term("edge_width", "width of the edge", _column("edge_width"), (0.1, 0.25, 0.4, 0.6, 0.9, 1.3, 9.0)),
    Term("edge", "edge over the PSF", _over_fwhm("edge_pix"), (-0.5, -0.25, -0.1, 0.05, 0.2, 0.35, 0.6, 1.0)),
    Term("bands", "agreement of the bands", _column("band_agreement"), (0.1, 0.25, 0.4, 0.55, 0.7, 0.9), 1),
    Term("spikes", "spikes", _column("spikes"), (0.0, 0.3, 1.0, 3.0), -1),
    *(
        Term(f"flag_{str(flag.name).lower()}", flag_name(flag), _has(flag), (0.0, 1.0), -1)
        for flag in (Flag.CUT_BY_EDGE, Flag.MISSING_PIXELS, Flag.NEIGHBOUR, Flag.OFF_CENTRE, Flag.NOT_CONVERGED,
                     Flag.STRUCTURE, Flag.EDGE_ON, Flag.SKY_GRADIENT, Flag.UNUSUAL, Flag.UNRESOLVED, Flag.HIDDEN,
                     Flag.ONE_BAND)
    ),
)  # fmt: skip
# The network's log odds count more or less by S/N: a table over both, which never falls with the former.
ODDS = (-14.0, -11.0, -8.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 7.0, 11.0)
SIGNALS = (1.1, 1.5, 1.9, 2.4)  # log10 of S/N
# Terms whose measurements the careful pass may change.
CHANGED = (
    "axis_ratio", "size_of_a4", "boxiness", "sixth", "eighth", "similarity", "chance", "structure",
    "flag_not_converged", "flag_structure",
)  # fmt: skip
ONLY_CAREFUL = ("similarity", "chance")  # terms whose measurements the first pass lacks


def _value(name: str, table: Table) -> np.ndarray:
    """The measurement (n,) of the term with this name."""
    return next(term for term in TERMS if term.name == name).value(table)


def _hats(values: np.ndarray, knots: tuple[float, ...]) -> np.ndarray:
    """Weights (n, k) of the knots for a function that is linear between and constant beyond them; 0 where unknown."""
    clipped = np.clip(np.nan_to_num(values), knots[0], knots[-1])
    hats = np.stack([np.interp(clipped, knots, unit) for unit in np.eye(len(knots))], axis=1)
    return np.where(np.isnan(values)[:, None], 0.0, hats)


def _network_hats(table: Table, prevalence: float) -> np.ndarray:
    """Weights (n, signals, odds) of the table of the network's log odds by S/N."""
    odds = _hats(log_odds(table, prevalence, AT), ODDS)
    signal = _hats(np.nan_to_num(_logarithm("snr", 0.1)(table), nan=SIGNALS[1]), SIGNALS)
    return signal[:, :, None] * odds[:, None, :]


@dataclass(frozen=True)
class Ranking:
    """A fitted score.

    Attributes
    ----------
    constant : float
        The mean log odds of a survey.
    network : (signals, odds)
        What the network adds to them at the knots SIGNALS and ODDS; on average over a survey nothing.
    terms : dict of str to (k,) array
        The same of each term at its knots.
    missing : dict of str to float
        What it adds where its measurement is missing.
    knots : dict of str to (k,) array
        Those that each term was fitted with.
    """

    constant: float
    network: np.ndarray
    terms: dict[str, np.ndarray]
    missing: dict[str, float]
    knots: dict[str, np.ndarray]

    def contributions(self, table: Table, prevalence: float) -> dict[str, np.ndarray]:
        """What the network (n,) and each term (n,) add to the log odds at the `prevalence` of the table's columns."""
        known = {term.name: term for term in TERMS}
        shift = log_odds(table, prevalence, prevalence) - log_odds(table, prevalence, AT)
        parts = {"network": np.einsum("nso,so->n", _network_hats(table, prevalence), self.network) + shift}
        for name, values in self.terms.items():
            at = known[name].value(table)
            added = np.interp(np.nan_to_num(at), self.knots[name], values)
            parts[name] = np.where(np.isnan(at), self.missing[name], added)
        return parts

    def log_odds(self, table: Table, prevalence: float) -> np.ndarray:
        """Log odds (n,) that a galaxy is rectangular."""
        return self.constant + np.sum(list(self.contributions(table, prevalence).values()), axis=0)

    def highest(self, table: Table, prevalence: float) -> np.ndarray:
        """The highest log odds (n,) that the careful pass could give, whatever it measures."""
        parts = self.contributions(table, prevalence)
        for name in set(CHANGED) & set(self.terms):
            parts[name] = np.full(len(table), max(np.max(self.terms[name]), self.missing[name]))
        return self.constant + np.sum(list(parts.values()), axis=0)

    def reasons(self, table: Table, prevalence: float) -> np.ndarray:
        """What changed the odds of each image most, in words (n,), as factors on the mean odds of a survey."""
        words = {"network": "network"} | {term.name: term.words for term in TERMS}
        parts = self.contributions(table, prevalence)
        # that a flag is not set is no reason to name
        named = [part * (_value(name, table) > 0) if name.startswith("flag_") else part for name, part in parts.items()]
        names, values = [words[name] for name in parts], np.stack(named, axis=1)
        first = np.argsort(-np.abs(values), axis=1, kind="stable")[:, :N_REASONS]
        return np.array(
            [
                ", ".join(f"{names[k]} {_factor(row[k])}" for k in order)
                for row, order in zip(values, first, strict=True)
            ],
            dtype=object,
        )

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        return {
            "constant": self.constant,
            "network": self.network.round(4).tolist(),
            "terms": {name: values.round(4).tolist() for name, values in self.terms.items()},
            "missing": {name: round(value, 4) for name, value in self.missing.items()},
            "knots": {name: values.tolist() for name, values in self.knots.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Ranking:
        """From a file."""
        terms, knots = (
            {name: np.array(values, float) for name, values in stored[part].items()} for part in ("terms", "knots")
        )
        return cls(float(stored["constant"]), np.array(stored["network"], float), terms, dict(stored["missing"]), knots)


@dataclass(frozen=True)
class Rankings:
    """The scores of both passes, and thresholds on the latter.

    Attributes
    ----------
    first, careful : Ranking
        For images without and with the careful pass.
    thresholds : dict
        By prevalence, then by precision, as text: the score from which on a list has at least this precision. The
        network's card has them too.
    facts : dict
        What they were fitted to, and how well they do on galaxies that the fit has not seen.
    """

    first: Ranking
    careful: Ranking
    thresholds: dict[str, dict[str, float]]
    facts: dict[str, Any]

    def threshold(self, precision: float, prevalence: float) -> float | None:
        """The score from which on candidates have this precision; interpolated in log odds over log prevalence."""
        known = {float(k): v[f"{precision:g}"] for k, v in self.thresholds.items() if f"{precision:g}" in v}
        if not known:
            return None
        at = np.array(sorted(known))
        odds = np.log([known[k] / (1 - known[k]) for k in at])
        return float(1 / (1 + np.exp(-np.interp(np.log(prevalence), np.log(at), odds))))


@lru_cache(maxsize=4)
def read_rankings(folder: Path) -> Rankings | None:
    """The rankings that belong to the network in `folder`; None if it has none."""
    if not (folder / FILE).is_file():
        return None
    stored = read_json(folder / FILE)
    try:
        first, careful = (Ranking.from_dict(stored[name]) for name in ("first", "careful"))
        return Rankings(first, careful, stored["thresholds"], stored["facts"])
    except Exception as error:  # of what is not there, or is something else
        raise UsageError(f"'{folder / FILE}' holds no rankings ({error}); train the network again.") from None


def write_rankings(rankings: Rankings, folder: Path) -> None:
    """Writes FILE into the folder of a network, and the thresholds into its card."""
    stored = {
        "first": rankings.first.as_dict(),
        "careful": rankings.careful.as_dict(),
        "thresholds": rankings.thresholds,
        "facts": rankings.facts,
    }
    (folder / FILE).write_text(json.dumps(stored, indent=1) + "\n")
    card = json.loads((folder / "card.json").read_text()) | {"thresholds": rankings.thresholds}
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    (folder / "card.md").write_text(card_page(card))


# --- the fit


def fit_ranking(
    table: Table, rectangular: np.ndarray, weights: np.ndarray, *, careful: bool, prevalence: float = AT
) -> Ranking:
    """The ranking that maximises the likelihood of what is `rectangular` (n,), with ridges.

    Parameters
    ----------
    table : columns of `screen` with probabilities at `prevalence`
    weights : (n,)
        How many images of a survey with the prevalence AT each row stands for.
    careful : whether the table is that of a careful pass
    """
    from scipy.optimize import minimize

    used = [term for term in TERMS if careful or term.name not in ONLY_CAREFUL]
    design, lower, upper, ridge, start = _design(table, used, prevalence)
    sign, total = np.where(rectangular, 1.0, -1.0), weights.sum()

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ x)
        value = np.sum(weights * np.logaddexp(0, -margin)) + np.sum(ridge * (x - start) ** 2)
        slope = design.T @ (-weights * sign / (1 + np.exp(np.clip(margin, -500, 500)))) + 2 * ridge * (x - start)
        return value / total, slope / total

    bounds = list(zip(lower, upper, strict=True))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 3000, "maxfun": 4000})
    return _unpacked(found.x, used, table, weights, prevalence)


def _design(table: Table, used: list[Term], prevalence: float):
    """The matrix (n, m) of the fit, the limits of its coefficients, their ridges, and where these are centred.

    The coefficients: a constant; the network's table as its first column and rises from there; and for each term what
    is added where it is known, and rises from knot to knot.
    """
    rises = np.tril(np.ones((len(ODDS), len(ODDS))))  # knots from coefficients
    network = _network_hats(table, prevalence) @ rises
    blocks = [np.ones((len(table), 1)), network.reshape(len(table), -1)]
    steps = np.tile([ODDS[0], *np.diff(ODDS)], len(SIGNALS))
    is_rise = np.tile(np.arange(len(ODDS)) > 0, len(SIGNALS))
    lower, upper = [np.array([-np.inf]), np.where(is_rise, 0.0, -np.inf)], [np.full(1 + len(steps), np.inf)]
    ridge, start = [np.array([0.0]), np.where(is_rise, RIDGE, RIDGE / 10)], [np.array([0.0]), steps]
    for term in used:
        hats = _hats(term.value(table), term.knots)
        k = len(term.knots)
        blocks.append(hats @ np.tril(np.ones((k, k))))
        limit = np.full(k, np.inf)
        limit[1:] = 0.0 if term.rising else np.inf
        upper.append(np.where(term.rising < 0, limit, np.inf))
        lower.append(np.where(term.rising > 0, -limit, -np.inf))
        ridge.append(np.full(k, RIDGE))
        start.append(np.zeros(k))
    return (np.concatenate(blocks, axis=1), *(np.concatenate(part) for part in (lower, upper, ridge, start)))


def _unpacked(x: np.ndarray, used: list[Term], table: Table, weights: np.ndarray, prevalence: float) -> Ranking:
    """The ranking of fitted coefficients; terms are centred on their mean over the table."""
    constant, place = float(x[0]), 1 + len(SIGNALS) * len(ODDS)
    network = np.cumsum(x[1:place].reshape(len(SIGNALS), len(ODDS)), axis=1)
    terms, missing = {}, {}
    mean = float(weights @ np.einsum("nso,so->n", _network_hats(table, prevalence), network) / weights.sum())
    network, constant = network - mean, constant + mean
    for term in used:
        values = np.cumsum(x[place : place + len(term.knots)])
        place += len(term.knots)
        mean = float(weights @ (_hats(term.value(table), term.knots) @ values) / weights.sum())
        terms[term.name], missing[term.name] = values - mean, -mean
        constant += mean
    return Ranking(constant, network, terms, missing, {term.name: np.array(term.knots) for term in used})


def threshold_for(score: np.ndarray, rectangular: np.ndarray, weights: np.ndarray, precision: float) -> float | None:
    """The lowest score from which on the weighted list has this precision; None if there is none."""
    order = np.argsort(-score, kind="stable")
    true = np.cumsum((weights * rectangular)[order])
    last = np.append(score[order][1:] != score[order][:-1], True)  # ties are taken together
    good = np.flatnonzero((true / np.cumsum(weights[order]) >= precision) & last)
    return float(score[order][good[-1]]) if len(good) else None
