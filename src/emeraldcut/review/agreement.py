"""Agreement: how far reviewers agree beyond what chance would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from emeraldcut.errors import UsageError


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> tuple[float, float]:
    """Cohen's kappa of two reviewers of the same candidates, and its standard error.

    Kappa is from Cohen 1960 (Educ. Psychol. Meas. 20, 37), its error from Fleiss, Cohen & Everitt 1969 (Psychol. Bull.
    72, 323). Both are NaN if both reviewers give one and the same verdict to all candidates.

    Raises
    ------
    ValueError
        There are no candidates, or not as many for both.
    """
    if len(first) != len(second) or len(first) == 0:
        raise UsageError(f"kappa needs two equally long lists of verdicts; received {len(first)} and {len(second)}.")
    words = sorted({*first, *second})
    p = np.zeros((len(words), len(words)))
    for a, b in zip(first, second, strict=True):
        p[words.index(a), words.index(b)] += 1 / len(first)
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    seen, expected = np.trace(p), rows @ columns
    if expected > 1 - 1e-12:
        return np.nan, np.nan
    kappa = (seen - expected) / (1 - expected)
    on = np.sum(np.diag(p) * (1 - (rows + columns) * (1 - kappa)) ** 2)
    pairs = (columns[:, None] + rows[None, :]) ** 2
    off = (1 - kappa) ** 2 * np.sum((p * pairs)[~np.eye(len(words), dtype=bool)])
    variance = (on + off - (kappa - expected * (1 - kappa)) ** 2) / (len(first) * (1 - expected) ** 2)
    return float(kappa), float(np.sqrt(max(variance, 0.0)))


def fleiss_kappa(counts: np.ndarray) -> float:
    """Fleiss' kappa of any number of reviewers.

    Parameters
    ----------
    counts : (n, k) int
        How many reviewers gave candidate i the verdict j. Fleiss 1971 (Psychol. Bull. 76, 378) assumes the same number
        of reviewers for all candidates. Where it differs, the fraction of agreeing pairs of each candidate has the same
        weight, and candidates with fewer than two verdicts are left out.

    Returns
    -------
    float
        NaN if no candidate has two verdicts, or all verdicts are the same.
    """
    counts = np.asarray(counts, dtype=float)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        return np.nan
    raters = counts.sum(axis=1)
    seen = np.mean((counts * (counts - 1)).sum(axis=1) / (raters * (raters - 1)))
    expected = np.sum((counts.sum(axis=0) / counts.sum()) ** 2)
    return np.nan if expected > 1 - 1e-12 else float((seen - expected) / (1 - expected))


def agreement(votes: Mapping[str, Mapping[str, str]]) -> dict[str, object]:
    """Fleiss' kappa (`fleiss`) of the `candidates` with several verdicts, and Cohen's kappa of `pairs` of reviewers.

    Parameters
    ----------
    votes : mapping
        The verdict of each reviewer by id of the candidate.
    """
    shared = [said for said in votes.values() if len(said) > 1]
    words = sorted({word for said in shared for word in said.values()})
    counts = np.zeros((len(shared), len(words)), dtype=int)
    for row, said in enumerate(shared):
        counts[row] = [list(said.values()).count(word) for word in words]
    pairs = []
    for a, b in combinations(sorted({name for said in shared for name in said}), 2):
        both = [(said[a], said[b]) for said in shared if a in said and b in said]
        if both:
            pairs.append({"reviewers": [a, b], **compared(both)})
    return {"fleiss": _known(fleiss_kappa(counts)), "candidates": len(shared), "pairs": pairs}


def compared(both: Sequence[tuple[str, str]]) -> dict[str, object]:
    """Cohen's kappa of pairs of verdicts, with its error, and the fraction of pairs that are the same."""
    kappa, error = cohen_kappa(*zip(*both, strict=True))
    same = sum(a == b for a, b in both) / len(both)
    return {"candidates": len(both), "same": same, "kappa": _known(kappa), "kappa_err": _known(error)}


def _known(value: float) -> float | None:
    """The value, with None for NaN, which JSON lacks."""
    return value if np.isfinite(value) else None
