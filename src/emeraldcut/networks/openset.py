"""Open set: how unlike the training data an image is, from the features of the network.

Features are the input of the last layer. No single distance finds all unusual images: rings are far from their nearest
neighbours, stars from the centres of the classes. So two distances are measured, each as its rank among held-out
galaxies of known shape, and the larger rank counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emeraldcut.numerics.jit import compiled

N_REFERENCES = 3000  # features kept
NEIGHBOURS = 10
TILE, BLOCK = 192, 64  # references and images at a time
QUANTILES = 400  # of a distance among known galaxies
_RIDGE = 1e-2


@dataclass(frozen=True)
class OpenSet:
    """Features of galaxies of known classes, and the usual distances from them.

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
        """The fraction (n,) of galaxies of known classes that are at least as unusual; near 0 is unlike all of them."""
        return np.clip(1 - _rank(self._worse(features), self.usual[2]), 0, 1).astype(np.float32)

    def _worse(self, features: np.ndarray) -> np.ndarray:
        return np.maximum(*(_rank(d, usual) for d, usual in zip(self.distances(features), self.usual, strict=False)))

    def distances(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cosine distance to the nearest references (mean of 10), and Mahalanobis distance to the nearest class, (n,).

        Sun et al. 2022 (arXiv 2204.06507) and Lee et al. 2018 (arXiv 1807.03888).
        """
        features = np.ascontiguousarray(features, dtype=np.float32)
        near = 1 - _likeness(_unit(features), self._tiles, len(self.references), min(NEIGHBOURS, len(self.references)))
        return near, _mahalanobis(features, self.whitening, self.centres)

    @cached_property
    def _tiles(self) -> np.ndarray:
        """The references as `_likeness` takes them, (t, d, TILE), filled up with zeros."""
        m, d = self.references.shape
        filled = np.concatenate([self.references, np.zeros((-m % TILE, d), np.float32)])
        return np.ascontiguousarray(filled.reshape(-1, TILE, d).transpose(0, 2, 1))

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store in a file."""
        return {name: getattr(self, name).astype(np.float32) for name in ("whitening", "centres", "usual")} | {
            "references": self.references.astype(np.float16)
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> OpenSet:
        """The open set of the stored `arrays`, as 32-bit floats."""
        return cls(**{name: np.asarray(arrays[name], dtype=np.float32) for name in cls.__dataclass_fields__})


@compiled
def _likeness(features, tiles, m, k):
    """The mean (n,) of the k largest scalar products of each of `features` (n, d) with m references.

    These are in `tiles` (t, d, TILE), small enough for the first-level cache while a block of images is compared.
    """
    n, d = features.shape
    largest = np.full((n, k), np.float32(-np.inf))  # rising
    products = np.empty(TILE, np.float32)
    for first in range(0, n, BLOCK):
        for t in range(len(tiles)):
            part, number = tiles[t], min(m - t * TILE, TILE)
            for i in range(first, min(first + BLOCK, n)):
                products[:] = 0
                for c in range(0, d - d % 4, 4):
                    f0, f1, f2, f3 = features[i, c], features[i, c + 1], features[i, c + 2], features[i, c + 3]
                    a0, a1, a2, a3 = part[c], part[c + 1], part[c + 2], part[c + 3]
                    for j in range(TILE):
                        products[j] += f0 * a0[j] + f1 * a1[j] + f2 * a2[j] + f3 * a3[j]
                for c in range(d - d % 4, d):
                    for j in range(TILE):
                        products[j] += features[i, c] * part[c, j]
                best = largest[i]
                for j in range(number):
                    value = products[j]
                    if value > best[0]:  # the smallest of them, which goes
                        place = 1
                        while place < k and value > best[place]:
                            best[place - 1] = best[place]
                            place += 1
                        best[place - 1] = value
    result = np.empty(n, np.float32)
    for i in range(n):
        result[i] = largest[i].mean()
    return result


@compiled
def _mahalanobis(features, whitening, centres):
    """The smallest squared distance (n,) of `features` (n, d) from the `centres` (k, d), after `whitening` (d, d)."""
    n, d = features.shape
    white, result = np.empty(d, np.float32), np.full(n, np.float32(np.inf))
    for i in range(n):
        white[:] = 0
        for c in range(d):
            for j in range(d):
                white[j] += features[i, c] * whitening[c, j]
        for centre in centres:
            total = np.float32(0)
            for j in range(d):
                total += (white[j] - centre[j]) ** 2
            result[i] = min(result[i], total)
    return result


def fit_open_set(
    features: np.ndarray, targets: np.ndarray, held_out: np.ndarray, *, rng: np.random.Generator
) -> OpenSet:
    """An open set from features (n, d) and classes (n,) of the training set, and from features of held-out galaxies."""
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
    """The fraction (n,) of usual distances that are smaller; beyond the largest of them it approaches 2."""
    inside = np.interp(distance, usual, np.linspace(0, 1, len(usual)))
    beyond = np.maximum(distance - usual[-1], 0) / np.maximum(usual[-1], 1e-12)
    return inside + beyond / (1 + beyond)
