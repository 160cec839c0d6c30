"""Galaxies that lie across the edge of a periodic box, put together again."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

_TREE = 20_000  # particles among which the densest place is sought
_ASKED = 1000  # and of which the neighbours are counted
_NEIGHBOURS = 32
_BEYOND = 0.01  # of the box: as far particles may have drifted across its edge before they were put back


def unwrap(position: np.ndarray, box: np.ndarray, chosen: np.ndarray, smallest: float = 0.5) -> tuple[np.ndarray, str]:
    """Positions (n, 3) with every particle at that of its periodic images which is nearest to the densest place.

    Only along axes where particles spread over more than `smallest` of the box, and not over more than the box, as they
    would if it were not periodic. A galaxy that is smaller than half of the box comes out in one piece, wherever in the
    box it lies.

    Parameters
    ----------
    position : (n, 3) float64
    box : (3,)
        Sides of the box in the same unit; 0 where it is not periodic.
    chosen : boolean (n,)
        Particles among which the densest place is sought: stars, where there are any.
    smallest : float

    Returns
    -------
    position : (n, 3) float64
        Along an unwrapped axis, coordinates that are next to those of the densest place, and may be negative.
    axes : str
        Axes along which particles were moved, such as "xz"; empty where there are none.
    """
    known = np.isfinite(position).all(axis=1)
    if not (known & chosen).any():
        return position, ""
    spread = np.ptp(position[known], axis=0)
    demanded = (box > 0) & (spread > smallest * box) & (spread <= (1 + _BEYOND) * box)
    if not demanded.any():
        return position, ""
    sides = np.where(demanded, box, 0.0)
    away = position - densest(position[known & chosen], sides)
    shift = np.round(np.divide(away, sides, out=np.zeros_like(away), where=sides > 0)) * sides
    shift[~known] = 0
    axes = "".join(axis for axis, moved in zip("xyz", shift.any(axis=0), strict=True) if moved)
    return position - shift, axes


def densest(position: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The particle (3,) of `position` (n, 3) whose 32nd neighbour is nearest, across the edges of `box` (3,) too."""
    few = position[:: len(position) // _TREE + 1]
    wrapped = np.where(box > 0, np.mod(few, np.where(box > 0, box, 1.0)), few)
    wrapped = np.where((box > 0) & (wrapped >= box), 0.0, wrapped)  # what rounding put onto the edge
    some = slice(None, None, len(few) // _ASKED + 1)
    tree = cKDTree(wrapped - np.where(box > 0, 0.0, wrapped.min(axis=0)), boxsize=box)
    distance, _ = tree.query(tree.data[some], k=[min(_NEIGHBOURS, len(few))])
    return few[some][np.argmin(distance[:, -1])].astype(float)
