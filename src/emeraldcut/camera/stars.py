"""The stars of snapshots, ready to be looked at: centred, each with its light, several snapshots as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.nbody.centre import centre_of
from emeraldcut.nbody.snapshot import COMPONENTS, Snapshot

_DISC, _BULGE, _NEW = (COMPONENTS.index(name) for name in ("disc", "bulge", "new_stars"))
_YOUNGEST_GYR = 0.01  # younger stars are still hidden in their clouds
_FADING = 0.75  # power of age in the mass-to-light ratio of stars of one age
FEWEST = 100  # stars that can be looked at


@dataclass(frozen=True)
class MassToLight:
    """Mass-to-light ratios in solar units.

    That of new stars is for an age of 10 Gyr; younger ones have (age / 10 Gyr)^0.75 times that. Light of stars of one
    age fades about so between 10 Myr and 10 Gyr in red light (after Tinsley 1980, Fund. Cosmic Phys. 5, 287; an
    approximation of this program, good to some tenths of a magnitude, for want of a table of stellar populations).
    """

    disc: float = 2.0
    bulge: float = 3.0
    new_stars: float = 3.0

    def light(self, stars: Snapshot) -> np.ndarray:
        """Luminosity (n,) in solar units of a snapshot that holds nothing but stars."""
        ratio = np.where(stars.component == _BULGE, self.bulge, self.disc)
        age = np.maximum(stars.time_gyr - stars.formed_gyr.astype(float), _YOUNGEST_GYR)
        aged = self.new_stars * (age / 10) ** _FADING
        known = (stars.component == _NEW) & np.isfinite(age)  # new stars of no known age are like the disc's
        return stars.mass / np.where(known, aged, ratio)


@dataclass(frozen=True)
class Stars:
    """Stars around a centre, in random order.

    Attributes
    ----------
    position : (3, n) float32, kpc
    light : (n,) float32
        Solar luminosities, or Msun.
    half_light_kpc : float
        Radius of the sphere around the centre that holds half of the light.
    separation_kpc : float
        Largest distance between the centres of two progenitors; 0 of one galaxy.
    time_gyr : float
    about : mapping
        What is known of the run.
    """

    position: np.ndarray
    light: np.ndarray
    half_light_kpc: float
    separation_kpc: float
    time_gyr: float
    about: Mapping[str, Any]


def gather(
    snapshots: Sequence[Snapshot], ratios: MassToLight | None, *, of_pair: bool = False, aligned: bool = False
) -> Stars:
    """The stars of one snapshot, or of several as one with the mean light of all.

    Parameters
    ----------
    snapshots : sequence of Snapshot
        Of one run; the last gives time and `about`.
    ratios : MassToLight, optional
        Without it a star's light is its mass.
    of_pair : bool
        Centre on the middle of the progenitors (mean of their centres by light) in place of the densest place.
    aligned : bool
        Turn each snapshot so that the principal axes of its light within two half-light radii are those of the last.

    Raises
    ------
    ValueError
        There is no snapshot, one has less than 100 stars, or a star's position or mass is no number.
    """
    if not snapshots:
        raise UsageError("at least one snapshot is needed; received none.")
    parts = [_centred(snapshot, ratios, of_pair) for snapshot in snapshots]
    positions, lights = [part[0] for part in parts], [part[1] / len(parts) for part in parts]
    if aligned:
        axes = [_principal_axes(position, light) for position, light in zip(positions, lights, strict=True)]
        positions = [p @ _turn(own, axes[-1]).T for p, own in zip(positions, axes, strict=True)]
    position, light = np.concatenate(positions), np.concatenate(lights)
    order = np.random.default_rng(0).permutation(len(light))
    return Stars(
        position=np.ascontiguousarray(position[order].T, np.float32),
        light=np.ascontiguousarray(light[order], np.float32),
        half_light_kpc=_half_light_radius(position, light),
        separation_kpc=parts[-1][2],
        time_gyr=float(snapshots[-1].time_gyr),
        about=snapshots[-1].about,
    )


def _centred(snapshot: Snapshot, ratios: MassToLight | None, of_pair: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Positions (n, 3) from the centre, light (n,) and the separation of the progenitors."""
    chosen = snapshot.stars
    if np.count_nonzero(chosen) < FEWEST:
        raise UsageError(
            f"an image needs a snapshot with {FEWEST} stars or more; received {np.count_nonzero(chosen)} stars "
            f"among {len(snapshot)} particles."
        )
    stars = Snapshot(
        **{name: getattr(snapshot, name)[chosen] for name in ("position", "velocity", "mass", "component", "galaxy")},
        time_gyr=snapshot.time_gyr,
        formed_gyr=snapshot.formed_gyr[chosen],
    )
    if not (np.isfinite(stars.position).all() and np.isfinite(stars.mass).all()):
        raise UsageError(f"positions and masses must be finite; the snapshot at {snapshot.time_gyr:g} Gyr has others.")
    light = stars.mass.astype(float) if ratios is None else ratios.light(stars)
    members = [stars.galaxy == number for number in np.unique(stars.galaxy)]
    members = [of for of in members if np.count_nonzero(of) >= FEWEST]
    centres = [centre_of(stars.position[of], stars.mass[of]) for of in members] if len(members) > 1 else []
    separation = max((float(np.linalg.norm(a - b)) for a, b in combinations(centres, 2)), default=0.0)
    if of_pair and centres:
        centre = np.average(centres, axis=0, weights=[light[of].sum() for of in members])
    else:
        centre = centre_of(stars.position, stars.mass)
    return stars.position - centre, light, separation


def _half_light_radius(position: np.ndarray, light: np.ndarray) -> float:
    """Radius of the sphere around the origin that holds half of the light."""
    radius = np.linalg.norm(position, axis=1)
    order = np.argsort(radius)
    enclosed = np.cumsum(light[order])
    return float(radius[order][np.searchsorted(enclosed, enclosed[-1] / 2)])


def _principal_axes(position: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Unit vectors in columns (3, 3), from the shortest to the longest axis, of light within two half-light radii."""
    inside = np.linalg.norm(position, axis=1) < 2 * _half_light_radius(position, light)
    near = position[inside].astype(float)
    return np.linalg.eigh((near * light[inside, None]).T @ near)[1]


def _turn(axes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that takes `axes` to `others`, where neither end of an axis is the front."""
    turns = [others @ np.diag(signs) @ axes.T for signs in product((1, -1), repeat=3)]
    return max((turn for turn in turns if np.linalg.det(turn) > 0), key=np.trace)
