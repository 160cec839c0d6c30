"""Boxes of known strength: galaxies whose stars move on orbits of one inclination, which look boxy from the side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from emeraldcut.mergers.progenitors import ProgenitorSettings, make_progenitor
from emeraldcut.nbody.snapshot import Snapshot

INCLINATION_DEG, SPREAD_DEG = 40.0, 12.0  # from the side a4/a is -0.10 between 1.5 and 2.5 a_e, once settled
_STREAM = 24  # of random numbers, apart from those of the galaxy


def inclined(vectors: np.ndarray, inclination_deg: np.ndarray, node_deg: np.ndarray) -> np.ndarray:
    """Vectors (n, 3) that were in the plane of x and y, each turned with a plane of its own.

    The plane of each has the inclination (n,) to that of x and y, and its ascending node at the angle (n,) from +x.
    """
    i, node = np.radians(inclination_deg), np.radians(node_deg)
    along, up, z = vectors[:, 0], vectors[:, 1] * np.cos(i) - vectors[:, 2] * np.sin(i), vectors[:, 1] * np.sin(i)
    z = z + vectors[:, 2] * np.cos(i)
    return np.stack([along * np.cos(node) - up * np.sin(node), along * np.sin(node) + up * np.cos(node), z], axis=1)


def boxy_galaxy(
    settings: ProgenitorSettings,
    *,
    seed: int,
    inclination_deg: float = INCLINATION_DEG,
    spread_deg: float = SPREAD_DEG,
    softening_kpc: tuple[float, ...] | None = None,
) -> Snapshot:
    """A galaxy whose disc stars have all been tilted by about the same angle, with nodes all around.

    Each star's position and velocity are turned by the same rotation, so that its radius and speed stay those of the
    disc. Stars on orbits of one inclination and all nodes make a boxy body (Binney & Petrou 1985, MNRAS 214, 449). It
    is in equilibrium as far as the potential is spherical, that is, where the halo dominates.

    Parameters
    ----------
    settings : ProgenitorSettings
        Of a galaxy without gas.
    seed : int
    inclination_deg, spread_deg : float
        Mean and standard deviation of the inclinations.
    softening_kpc : (5,) floats, optional
        As in `make_progenitor`.
    """
    galaxy = make_progenitor(settings, seed=seed, softening_kpc=softening_kpc)
    rng = np.random.default_rng([seed, _STREAM])
    stars = galaxy.stars
    inclination = rng.normal(inclination_deg, spread_deg, int(stars.sum()))
    node = rng.uniform(0, 360, len(inclination))
    position, velocity = galaxy.position.copy(), galaxy.velocity.copy()
    for vectors in (position, velocity):
        vectors[stars] = inclined(vectors[stars].astype(float), inclination, node)
    about = dict(galaxy.about) | {"inclination_deg": inclination_deg, "inclination_spread_deg": spread_deg}
    return replace(galaxy, position=position, velocity=velocity, about=about)
