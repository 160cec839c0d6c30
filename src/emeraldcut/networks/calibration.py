"""Calibrated probabilities: calibration by S/N, other priors, prediction sets, and expected numbers.

All functions take probabilities (n, k) at equal priors and the S/N (n,) of the images, NaN where it is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

KNOTS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0)  # signal-to-noise ratios between which a calibration is interpolated
SNR_BINS = (0.0, 15.0, 30.0, 60.0, 120.0, np.inf)  # in each of which prediction sets have their coverage
CONFIDENCE = 0.9  # coverage of prediction sets
PREVALENCES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)  # at which found galaxies are counted
MOST_EXACT = 1000  # galaxies whose number of true ones is computed exactly
FOUND = 0.5  # a galaxy is found if its probability at the prevalence is at least this
_RIDGE = 1e-3  # keeps the calibration near the identity where there are few galaxies

IDENTITY = {"log_snr": [0.0], "log_temperature": [0.0], "bias": [[0.0]]}


def calibrate(probabilities: np.ndarray, calibration: Mapping[str, Any], snr: np.ndarray) -> np.ndarray:
    """Calibrated probabilities softmax(log p / T + b), (n, k) float32, with temperature T and bias b by S/N.

    Temperature scaling is from Guo et al. 2017 (arXiv 1706.04599). `calibration` has `log_temperature` (m,) and `bias`
    (m, k) at knots `log_snr` (m,). They are linear between knots and constant beyond. The middle knot is used where the
    S/N is not known.
    """
    knots = np.asarray(calibration["log_snr"], dtype=np.float64)
    place = _place(snr, knots)
    temperature = np.exp(np.interp(place, knots, calibration["log_temperature"]))
    bias = np.stack([np.interp(place, knots, b) for b in np.transpose(calibration["bias"])], axis=1)
    return _softmax(_logits(probabilities) / temperature[:, None] + bias).astype(np.float32)


def fit_calibration(probabilities: np.ndarray, targets: np.ndarray, snr: np.ndarray) -> dict[str, Any]:
    """The calibration (see `calibrate`) that maximises the likelihood of the true classes `targets` (n,).

    It has a single knot if no S/N is known.
    """
    from scipy.optimize import minimize

    logits, known = _logits(probabilities), np.isfinite(snr)
    n, k = logits.shape
    knots = np.log(KNOTS) if known.any() else np.zeros(1)
    weights, m = _interpolation(snr, knots), len(knots)
    truth = np.zeros((n, k))
    truth[np.arange(n), targets] = 1

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_temperature, bias = parameters[:m], parameters[m:].reshape(m, k)
        scaled = logits * np.exp(-(weights @ log_temperature))[:, None]
        p = _softmax(scaled + weights @ bias)
        value = -np.mean(np.log(np.clip(p[np.arange(n), targets], 1e-12, None))) + _RIDGE * np.mean(parameters**2)
        slope = (p - truth) / n  # of the loss in the shifted logits
        by_temperature = -weights.T @ np.sum(slope * scaled, axis=1)
        gradient = np.concatenate([by_temperature, (weights.T @ slope).ravel()])
        return value, gradient + 2 * _RIDGE * parameters / len(parameters)

    best = minimize(loss, np.zeros(m * (1 + k)), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return {"log_snr": knots.tolist(), "log_temperature": best[:m].tolist(), "bias": best[m:].reshape(m, k).tolist()}


def _place(snr: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """log S/N (n,), or the middle knot where it is not known."""
    unknown = np.exp(knots[len(knots) // 2])
    return np.log(np.maximum(np.nan_to_num(np.asarray(snr, np.float64), nan=unknown), 1e-3))


def _interpolation(snr: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Weights (n, m) of the knots in log S/N, for an interpolation that is linear between and constant beyond them."""
    return np.stack([np.interp(_place(snr, knots), knots, unit) for unit in np.eye(len(knots))], axis=1)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.clip(np.asarray(probabilities, dtype=np.float64), 1e-12, None))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def priors(classes: Sequence[str], prevalence: float) -> np.ndarray:
    """Priors (k,): `prevalence` for rectangular and for obround galaxies, the rest divided equally."""
    rare = [name in ("rectangular", "obround") for name in classes]
    rest = max(1 - prevalence * sum(rare), 1e-6) / max(len(classes) - sum(rare), 1)
    return np.where(rare, prevalence, rest)


def shift_priors(probabilities: np.ndarray, classes: Sequence[str], prevalence: float) -> np.ndarray:
    """Probabilities (n, k) at a stated prevalence of rectangular galaxies, from those at equal priors.

    By Bayes' rule with new priors p'_k is proportional to p_k pi_k (Saerens, Latinne & Decaestecker 2002, Neural
    Computation 14, 21).
    """
    shifted = probabilities * priors(classes, prevalence)
    return (shifted / np.maximum(shifted.sum(axis=1, keepdims=True), 1e-300)).astype(np.float32)


def count_found(
    probabilities: np.ndarray, targets: np.ndarray, snr: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """How many images of each class are classified as rectangular, at several prevalences and in bins of S/N.

    Returns the lists `prevalence` (m,), `images` (bins, k) and `found` (m, bins, k), see `expected_found`.
    """
    shape = (len(SNR_BINS) - 1, len(classes))
    cell = np.ravel_multi_index((snr_bin(snr), targets), shape)
    found = []
    for prevalence in PREVALENCES:
        p = shift_priors(probabilities, classes, prevalence)[:, classes.index("rectangular")]
        found.append(np.bincount(cell, weights=p >= FOUND, minlength=np.prod(shape)).astype(int).reshape(shape))
    images = np.bincount(cell, minlength=np.prod(shape)).reshape(shape)
    return {
        "prevalence": list(PREVALENCES),
        "images": images.tolist(),
        "found": [counts.tolist() for counts in found],
    }


def expected_found(
    counts: Mapping[str, Any], classes: Sequence[str], prevalence: float, snr: np.ndarray
) -> dict[str, list[float]]:
    """Expected numbers of rectangular and of other galaxies among those classified as rectangular.

    Parameters
    ----------
    counts : the result of `count_found` for held-out galaxies; rates are interpolated in log prevalence.
    snr : (n,) of the images to search, whose galaxies are assumed to be like the held-out ones of the same S/N.

    Returns
    -------
    dict
        `true` and `false`, each [mean, low, high] with a 68 % interval. The interval is that of a gamma distribution
        whose variance is the sum of those of counting (Poisson) and of the rates (Jeffreys' beta distributions).
    """
    from scipy.stats import gamma

    images, found = np.array(counts["images"], float), np.array(counts["found"], float)
    order = np.argsort(counts["prevalence"])
    place = np.interp(np.log(prevalence), np.log(counts["prevalence"])[order], np.arange(len(order)))
    weight = np.maximum(1 - abs(place - np.arange(len(order))), 0)
    called = np.tensordot(weight, found[order], axes=1)
    rate = (called + 0.5) / (images + 1)
    variance = rate * (1 - rate) / (images + 2)
    number = np.bincount(snr_bin(snr), minlength=len(images))[:, None] * priors(classes, prevalence)
    rare = np.array(classes) == "rectangular"
    result = {}
    for name, chosen in (("true", rare), ("false", ~rare)):
        mean = float(np.sum((number * rate)[:, chosen]))
        spread = mean + float(np.sum((number**2 * variance)[:, chosen]))
        ends = gamma.ppf((0.16, 0.84), mean**2 / spread, scale=spread / mean) if mean > 0 else (0.0, 0.0)
        result[name] = [mean, min(mean, float(ends[0])), max(mean, float(ends[1]))]
    return result


def number_true(probabilities: np.ndarray) -> tuple[list[float], list[float]]:
    """How many of some galaxies with these probabilities (n,) are rectangular, and how many are not.

    Each is [mean, low, high] with the 68 % interval of the sum of n independent draws (Poisson's binomial distribution,
    exact up to MOST_EXACT galaxies, beyond that a normal one with its variance, the sum of p (1 - p)).
    """
    p = np.asarray(probabilities, dtype=float)
    mean, number = float(p.sum()), len(p)
    if number <= MOST_EXACT:
        chances = np.ones(1)
        for one in p:
            chances = np.convolve(chances, [1 - one, one])
        low, high = (float(np.searchsorted(np.cumsum(chances), level)) for level in (0.16, 0.84))
    else:
        spread = float(np.sqrt(np.sum(p * (1 - p))))
        low, high = mean - spread, mean + spread
    low, high = min(low, mean), min(max(high, mean), float(number))
    return [mean, low, high], [number - mean, number - high, number - low]


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> float:
    """The expected calibration error: the mean gap between the largest probability and the accuracy, in `bins` of it.

    Guo et al. 2017 (arXiv 1706.04599), equation 3.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    which = np.clip((confidence * bins).astype(int), 0, bins - 1)
    gap = np.bincount(which, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / max(len(targets), 1))


def snr_bin(snr: np.ndarray) -> np.ndarray:
    """The number (n,) of the bin of `SNR_BINS`; unknown S/N counts as the lowest, whose sets are the largest."""
    return np.clip(np.searchsorted(SNR_BINS, np.nan_to_num(snr, nan=0.0), side="right") - 1, 0, len(SNR_BINS) - 2)


def fit_sets(probabilities: np.ndarray, targets: np.ndarray, snr: np.ndarray) -> list[float]:
    """The smallest probability of a class in the prediction set, for each bin of S/N; see `in_set`.

    This is split conformal prediction, Mondrian in S/N (Vovk, Gammerman & Shafer 2005), with the score 1 - p of the
    true class. With n galaxies in a bin, it is given by the ceil((n + 1) 0.9)-th smallest of their scores.
    """
    scores = 1 - probabilities[np.arange(len(targets)), targets].astype(np.float64)
    where, least = snr_bin(snr), []
    for k in range(len(SNR_BINS) - 1):
        ordered = np.sort(scores[where == k])
        place = int(np.ceil((len(ordered) + 1) * CONFIDENCE))
        least.append(float(1 - ordered[place - 1]) if place <= len(ordered) else 0.0)
    return least


def in_set(probabilities: np.ndarray, least: Sequence[float], snr: np.ndarray) -> np.ndarray:
    """Prediction sets, boolean (n, k): the true class is among them with probability 0.9 in every bin of S/N."""
    return probabilities.astype(np.float64) >= np.asarray(least)[snr_bin(snr)][:, None] - 1e-12
