"""Probabilities that mean what they say: calibrated by signal-to-noise ratio, moved to other priors, and with sets.

Everything here works on arrays of probabilities (n, k) at equal priors and the signal-to-noise ratios (n,) of the
images, NaN where they are not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

KNOTS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0)  # signal-to-noise ratios between which a calibration is interpolated
SNR_BINS = (0.0, 15.0, 30.0, 60.0, 120.0, np.inf)  # in each of which sets hold their share
CONFIDENCE = 0.9
PREVALENCES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)  # at which it is counted what is found
FOUND = 0.5  # what counts as found: a probability at the prevalence of at least this
_RIDGE = 1e-3  # keeps the calibration where few galaxies settle it near none

IDENTITY = {"log_snr": [0.0], "log_temperature": [0.0], "bias": [[0.0]]}


def calibrate(probabilities: np.ndarray, calibration: Mapping[str, Any], snr: np.ndarray) -> np.ndarray:
    """softmax(log p / T + b), (n, k) float32: temperature (Guo et al. 2017, arXiv 1706.04599) and bias by snr.

    `calibration` holds them at knots in log snr (`log_snr`, `log_temperature` (m,), `bias` (m, k)); between knots they
    are linear, beyond them constant. Where snr is not known it is taken as that of the middle knot.
    """
    knots = np.asarray(calibration["log_snr"], dtype=np.float64)
    place = _place(snr, knots)
    temperature = np.exp(np.interp(place, knots, calibration["log_temperature"]))
    bias = np.stack([np.interp(place, knots, b) for b in np.transpose(calibration["bias"])], axis=1)
    return _softmax(_logits(probabilities) / temperature[:, None] + bias).astype(np.float32)


def fit_calibration(probabilities: np.ndarray, targets: np.ndarray, snr: np.ndarray) -> dict[str, Any]:
    """The calibration (see `calibrate`) with which `probabilities` make `targets` (n,) most likely.

    One knot, for all, where no snr is known.
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
    """log snr (n,); where it is not known, the middle one of the knots."""
    unknown = np.exp(knots[len(knots) // 2])
    return np.log(np.maximum(np.nan_to_num(np.asarray(snr, np.float64), nan=unknown), 1e-3))


def _interpolation(snr: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """(n, m): the share of each knot (log snr) at each snr; linear between, constant beyond."""
    return np.stack([np.interp(_place(snr, knots), knots, unit) for unit in np.eye(len(knots))], axis=1)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.clip(np.asarray(probabilities, dtype=np.float64), 1e-12, None))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def priors(classes: Sequence[str], prevalence: float) -> np.ndarray:
    """(k,): obround galaxies as rare as rectangular ones, at `prevalence`; the rest oval or other, in equal parts."""
    rare = [name in ("rectangular", "obround") for name in classes]
    rest = max(1 - prevalence * sum(rare), 1e-6) / max(len(classes) - sum(rare), 1)
    return np.where(rare, prevalence, rest)


def shift_priors(probabilities: np.ndarray, classes: Sequence[str], prevalence: float) -> np.ndarray:
    """`probabilities` (n, k), given at equal priors, at a stated prevalence of rectangular galaxies.

    Bayes' rule with new priors: p'_k is proportional to p_k pi_k (Saerens, Latinne & Decaestecker 2002, Neural
    Computation 14, 21).
    """
    shifted = probabilities * priors(classes, prevalence)
    return (shifted / np.maximum(shifted.sum(axis=1, keepdims=True), 1e-300)).astype(np.float32)


def count_found(
    probabilities: np.ndarray, targets: np.ndarray, snr: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """How many images of each class would be called rectangular, at several prevalences and in the bins of snr.

    Lists `prevalence` (m,), `images` (bins, k), `found` (m, bins, k): see `expected_found`.
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
    """Expected numbers of rectangular and of other galaxies among those called rectangular, with 68 % intervals.

    Parameters
    ----------
    counts : of `count_found`, on held-out galaxies; between its prevalences rates are linear in log prevalence.
    snr : (n,) of the images to be searched, whose galaxies are taken to be like the held-out ones of that snr.

    Returns
    -------
    dict
        `true` and `false`, each [mean, low, high]. The variance is that of counting (Poisson) and that of the rates
        (Jeffreys' beta distributions); the interval is that of a gamma distribution with this mean and variance.
    """
    from scipy.stats import gamma

    images, found = np.array(counts["images"], float), np.array(counts["found"], float)
    order = np.argsort(counts["prevalence"])
    place = np.interp(np.log(prevalence), np.log(counts["prevalence"])[order], np.arange(len(order)))
    share = np.maximum(1 - abs(place - np.arange(len(order))), 0)
    called = np.tensordot(share, found[order], axes=1)
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


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> float:
    """Mean difference between the largest probability and how often it is right, in `bins` of that probability.

    Guo et al. 2017 (arXiv 1706.04599), equation 3.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    which = np.clip((confidence * bins).astype(int), 0, bins - 1)
    gap = np.bincount(which, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / max(len(targets), 1))


def snr_bin(snr: np.ndarray) -> np.ndarray:
    """The number (n,) of the bin of `SNR_BINS`; images without snr are in the first, whose sets are the widest."""
    return np.clip(np.searchsorted(SNR_BINS, np.nan_to_num(snr, nan=0.0), side="right") - 1, 0, len(SNR_BINS) - 2)


def fit_sets(probabilities: np.ndarray, targets: np.ndarray, snr: np.ndarray) -> list[float]:
    """For each bin of snr the least probability with which a class belongs to the set (see `in_set`).

    Split conformal prediction, Mondrian in snr (Vovk, Gammerman & Shafer 2005; score 1 - p of the true class): with n
    galaxies in a bin, the ceil((n + 1) 0.9)-th smallest of their scores.
    """
    scores = 1 - probabilities[np.arange(len(targets)), targets].astype(np.float64)
    where, least = snr_bin(snr), []
    for k in range(len(SNR_BINS) - 1):
        ordered = np.sort(scores[where == k])
        place = int(np.ceil((len(ordered) + 1) * CONFIDENCE))
        least.append(float(1 - ordered[place - 1]) if place <= len(ordered) else 0.0)
    return least


def in_set(probabilities: np.ndarray, least: Sequence[float], snr: np.ndarray) -> np.ndarray:
    """Boolean (n, k): the classes that the true one is among with probability 0.9, in every bin of snr."""
    return probabilities.astype(np.float64) >= np.asarray(least)[snr_bin(snr)][:, None] - 1e-12
