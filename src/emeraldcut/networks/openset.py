"""What is unlike everything that a network was trained on: how unusual an image's features are.

Features are what the network's last layer sees. No single distance finds everything (a ring is far from its nearest
neighbours, a star from the classes' middles), so two are taken, each as its rank among galaxies of known shape that
training did not see, and the more unusual one counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_REFERENCES = 3000  # features kept
NEIGHBOURS = 10
QUANTILES = 400  # of a distance among known galaxies
_RIDGE = 1e-2


@dataclass(frozen=True)
class OpenSet:
    """Features of galaxies of known classes, and what distances from them are usual.

    Attributes
    ----------
    references : (m, d) float32
        Features of length 1.
    whitening : (d, d), centres : (k, d)
        In whitened features the classes have unit scatter about these centres.
    usual : (3, q)
        Quantiles of both distances, and of the larger of their ranks, among held-out galaxies.
    """

    references: np.ndarray
    whitening: np.ndarray
    centres: np.ndarray
    usual: np.ndarray

    def typical(self, features: np.ndarray) -> np.ndarray:
        """The share (n,) of galaxies of known classes that are at least as unusual; near 0 is unlike all of them."""
        return np.clip(1 - _rank(self._worse(features), self.usual[2]), 0, 1).astype(np.float32)

    def _worse(self, features: np.ndarray) -> np.ndarray:
        return np.maximum(*(_rank(d, usual) for d, usual in zip(self.distances(features), self.usual, strict=False)))

    def distances(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cosine distance to the nearest references (mean of 10), and Mahalanobis distance to the nearest class, (n,).

        Sun et al. 2022 (arXiv 2204.06507) and Lee et al. 2018 (arXiv 1807.03888).
        """
        near, far = [], []
        for start in range(0, len(features), 1000):
            part = np.asarray(features[start : start + 1000], dtype=np.float32)
            likeness = _unit(part) @ self.references.T
            k = min(NEIGHBOURS, likeness.shape[1])
            near.append(1 - np.partition(likeness, -k, axis=1)[:, -k:].mean(axis=1))
            white = part @ self.whitening
            far.append(((white[:, None] - self.centres) ** 2).sum(axis=2).min(axis=1))
        empty = np.zeros(0, np.float32)
        return np.concatenate([empty, *near]), np.concatenate([empty, *far])

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept in a file."""
        return {name: getattr(self, name).astype(np.float32) for name in ("whitening", "centres", "usual")} | {
            "references": self.references.astype(np.float16)
        }

    @classmethod
    def from_arrays(cls, arrays) -> OpenSet:
        return cls(**{name: np.asarray(arrays[name], dtype=np.float32) for name in cls.__dataclass_fields__})


def fit_open_set(
    features: np.ndarray, targets: np.ndarray, held_out: np.ndarray, *, rng: np.random.Generator
) -> OpenSet:
    """From `features` (n, d) and classes (n,) of the training set, and features of galaxies that it does not hold."""
    chosen = rng.permutation(len(features))[:N_REFERENCES]
    present, which = np.unique(targets, return_inverse=True)
    centres = np.stack([features[targets == k].mean(axis=0) for k in present])
    scatter = np.cov((features - centres[which]).T.astype(np.float64))
    scatter += _RIDGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    values, vectors = np.linalg.eigh(scatter)
    whitening = (vectors / np.sqrt(values)).astype(np.float32)
    references = _unit(features[chosen]).astype(np.float16).astype(np.float32)
    usual = np.zeros((3, QUANTILES), np.float32)
    known = OpenSet(references, whitening, (centres @ whitening).astype(np.float32), usual)
    levels = np.linspace(0, 1, QUANTILES)
    for k, distance in enumerate(known.distances(held_out)):
        usual[k] = np.quantile(distance, levels)
    usual[2] = np.quantile(known._worse(held_out), levels)
    return known


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _rank(distance: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """The share (n,) of usual distances that are smaller; beyond the largest it grows on, by less and less, to 2."""
    inside = np.interp(distance, usual, np.linspace(0, 1, len(usual)))
    beyond = np.maximum(distance - usual[-1], 0) / np.maximum(usual[-1], 1e-12)
    return inside + beyond / (1 + beyond)
