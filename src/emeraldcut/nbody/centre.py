"""Where a galaxy is: its densest place, and how far two galaxies are apart."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from emeraldcut.nbody.snapshot import STARS, Snapshot

_TREE = 20_000  # stars among which the densest place is sought
_NEIGHBOURS = 32


def separation(snapshot: Snapshot) -> float:
    """Distance in kpc between the centres of galaxies 0 and 1, NaN where there is only one; see `offset`."""
    return float(np.linalg.norm(offset(snapshot)))


def offset(snapshot: Snapshot) -> np.ndarray:
    """Where the centre of galaxy 1 is from that of galaxy 0, (3,) in kpc; NaN where there is only one galaxy.

    A galaxy's centre is the densest place of its stars, or where it has none of all its particles.
    """
    both = [snapshot.galaxy == galaxy for galaxy in (0, 1)]
    if not (both[0].any() and both[1].any()):
        return np.full(3, np.nan)
    stars = np.isin(snapshot.component, STARS)
    chosen = [own & stars if (own & stars).any() else own for own in both]
    first, second = (
        centre_of(np.asarray(snapshot.position, float)[c], np.asarray(snapshot.mass, float)[c]) for c in chosen
    )
    return second - first


def centre_of(position: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """The densest place (3,) of particles at `position` (n, 3).

    From the particle whose 32nd neighbour is nearest, a sphere that holds a tenth of all particles moves to their
    centre of mass until it stays (mean shift, Fukunaga & Hostetler 1975, IEEE Trans. Inf. Theory 21, 32). In a flat
    core a smaller sphere would follow the noise of particles. Of fewer particles the farthest neighbour counts.
    """
    few = position[:: len(position) // _TREE + 1]
    some = few[:: len(few) // 1000 + 1]
    distance, _ = cKDTree(few).query(some, k=[min(_NEIGHBOURS, len(few))])
    centre = some[np.argmin(distance[:, -1])].astype(float)
    away = np.linalg.norm(position - centre, axis=1)
    size = float(np.quantile(away, 0.1))
    near, weight = position[away <= 3 * size].astype(float), mass[away <= 3 * size].astype(float)
    for _ in range(200):
        inside = np.sum((near - centre) ** 2, axis=1) <= size**2
        moved = np.average(near[inside], axis=0, weights=weight[inside]) - centre
        centre += moved
        if np.linalg.norm(moved) <= 1e-3 * size:
            break
    return centre
