"""What a remnant looks like from all sides: isophotes at several radii, families of stars, whether they have mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emeraldcut.camera.camera import rotation
from emeraldcut.camera.particle_isophote import ParticleIsophote, fit_particle_isophote
from emeraldcut.camera.projection import project
from emeraldcut.errors import UsageError
from emeraldcut.nbody.centre import centre_of
from emeraldcut.nbody.snapshot import Snapshot

RADII = (0.5, 1.0, 1.5, 2.0, 2.5)  # isophotes, in half-light semi-major axes
DIRECTIONS = 64  # even over the sphere
BOX_A4, BOX_RADII = -0.04, (1.5, 2.0, 2.5)  # what we call boxy: so much or less at all of these radii
UNMIXED_NODES = 0.35  # agreement of the nodes of a galaxy's stars above which they have not mixed
FAMILIES = 2  # stars of the host and of the companion
SLIT = 0.2  # half the relative width of the elliptical annulus in which stars' velocities are taken
FEWEST_MOVING = 50  # stars in it without which there is no rotation


@dataclass(frozen=True)
class Body:
    """The stars of one snapshot in the frame of their remnant.

    Attributes
    ----------
    position, velocity : (n, 3) arrays, kpc and km/s
        From the centre, along the long, middle and short principal axes; stars turn about the last in the positive
        sense.
    mass : (n,) array, Msun
    galaxy : (n,) int array
        0 for the host's stars, 1 for the companion's.
    half_light_kpc : float
        Radius of the sphere that holds half of the stars' mass.
    """

    position: np.ndarray
    velocity: np.ndarray
    mass: np.ndarray
    galaxy: np.ndarray
    half_light_kpc: float


@dataclass(frozen=True)
class Views:
    """Isophotes from directions (d, 3) at radii (r,), each (d, r); NaN where an isophote does not settle.

    `radius_kpc` (d,) are the half-light semi-major axes on the sky. `rotation_km_s` and `dispersion_km_s` (d, r), where
    they were asked for, are the amplitude V of V cos(psi) in the stars' mean line-of-sight velocity around an
    elliptical annulus, psi = 0 on the major axis, and the standard deviation about it.
    """

    directions: np.ndarray
    radii: tuple[float, ...]
    a4: np.ndarray
    a6: np.ndarray
    axis_ratio: np.ndarray
    error: np.ndarray
    radius_kpc: np.ndarray
    rotation_km_s: np.ndarray | None = None
    dispersion_km_s: np.ndarray | None = None

    def boxy(self) -> np.ndarray:
        """Boolean (d,): a4 at most `BOX_A4` at all of `BOX_RADII`."""
        columns = [self.radii.index(radius) for radius in BOX_RADII]
        return np.all(self.a4[:, columns] <= BOX_A4, axis=1)


def body_of(snapshot: Snapshot) -> Body:
    """The stars of a snapshot in the frame of its remnant.

    The centre is the densest place; the axes are the principal ones of the mass within two half-light radii, the third
    the shortest, turned so that the stars inside spin about it.

    Raises
    ------
    ValueError
        The snapshot has no stars.
    """
    chosen = snapshot.stars
    if not chosen.any():
        raise UsageError("a remnant needs stars; the snapshot has none.")
    position, velocity, mass = (
        np.asarray(v, float)[chosen] for v in (snapshot.position, snapshot.velocity, snapshot.mass)
    )
    position = position - centre_of(position, mass)
    radius = np.linalg.norm(position, axis=1)
    order = np.argsort(radius)
    half = float(radius[order][np.searchsorted(np.cumsum(mass[order]), mass.sum() / 2)])
    inside = radius < 2 * half
    velocity = velocity - np.average(velocity[inside], axis=0, weights=mass[inside])
    axes = np.linalg.eigh((position[inside] * mass[inside, None]).T @ position[inside])[1]
    short, long = axes[:, 0], axes[:, 2]
    spin = mass[inside] @ np.cross(position[inside], velocity[inside])
    short = short if short @ spin >= 0 else -short
    frame = np.stack([long, np.cross(short, long), short])
    return Body(position @ frame.T, velocity @ frame.T, mass, snapshot.galaxy[chosen].astype(int), half)


def even_directions(number: int) -> np.ndarray:
    """Unit vectors (number, 3) spread evenly over the sphere, on a spiral of the golden angle."""
    k = np.arange(number)
    z = 1 - (2 * k + 1) / number
    phi = k * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(phi), across * np.sin(phi), z], axis=1)


def view_remnant(
    bodies: Sequence[Body],
    directions: np.ndarray | None = None,
    radii: tuple[float, ...] = RADII,
    motion: bool = False,
) -> Views:
    """The isophotes of several snapshots stacked, each in the frame of its remnant, from `DIRECTIONS` or others (d, 3).

    A star's light is its mass. With `motion` also how the stars move along the line of sight.
    """
    directions = even_directions(DIRECTIONS) if directions is None else directions
    position, light = np.concatenate([b.position for b in bodies]), np.concatenate([b.mass for b in bodies])
    order = np.random.default_rng(0).permutation(len(light))
    velocity = np.concatenate([b.velocity for b in bodies])[order]
    position = np.ascontiguousarray(position[order].T, np.float32)
    light = np.ascontiguousarray(light[order] / light.mean(), np.float32)
    a4, a6, q, error = np.empty((4, len(directions), len(radii)))
    moving = np.full((2, len(directions), len(radii)), np.nan) if motion else None
    half = np.empty(len(directions))
    for k, direction in enumerate(directions):
        turn = turn_towards(direction)
        seen = project(position, turn)
        for j, radius in enumerate(radii):
            fit = fit_particle_isophote(seen, light, radius)
            a4[k, j], a6[k, j], q[k, j], error[k, j] = fit.terms["a4"], fit.terms["a6"], fit.axis_ratio, fit.error
            if moving is not None:
                moving[:, k, j] = _motion(seen, velocity @ turn[2], light, fit, radius)
        half[k] = fit.radius
    return Views(directions, tuple(radii), a4, a6, q, error, half, *(() if moving is None else moving))


def turn_towards(direction: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) whose third row is a unit vector (3,), the direction from which something is seen."""
    x, y, z = direction
    return rotation(float(np.degrees(np.arccos(np.clip(z, -1, 1)))), float(np.degrees(np.arctan2(y, x))))


def _motion(
    seen: np.ndarray, velocity: np.ndarray, light: np.ndarray, fit: ParticleIsophote, radius: float
) -> tuple[float, float]:
    """Rotation and dispersion around an elliptical annulus, see `Views`, from velocities (n,) along the line of sight.

    V is the first cosine term that kinemetry (Krajnovic et al. 2006, MNRAS 366, 787) fits, with a constant.
    """
    if not np.isfinite(fit.radius):
        return np.nan, np.nan
    angle = np.radians(fit.position_angle_deg)
    x, y = seen[0] - fit.x, seen[1] - fit.y
    along, across = x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / fit.axis_ratio
    distance = np.hypot(along, across)
    inside = np.abs(distance / (radius * fit.radius) - 1) < SLIT
    if np.count_nonzero(inside) < FEWEST_MOVING:
        return np.nan, np.nan
    cosine, v, weight = along[inside] / distance[inside], velocity[inside], np.sqrt(light[inside])
    terms = np.stack([np.ones(len(v)), cosine], axis=1)
    found = np.linalg.lstsq(terms * weight[:, None], v * weight, rcond=None)[0]
    return float(abs(found[1])), float(np.sqrt(np.average((v - terms @ found) ** 2, weights=light[inside])))


def families(body: Body) -> dict[str, float]:
    """Inclinations of the stars' orbits against the remnant's short axis, and how evenly their nodes are spread.

    Returns
    -------
    dict
        `inclination_host_deg`, `inclination_companion_deg`, medians from 0 to 90 degrees, whichever way a star turns;
        `inclination_spread_deg`, the standard deviation of all stars; `nodes_host`, `nodes_companion`, the length of
        the mean of exp(i node), weighted with the sine of the inclination: 1 for a disc that is tilted as a whole, 0
        for one that has mixed. NaN without companion.
    """
    momentum = np.cross(body.position, body.velocity)
    size = np.maximum(np.linalg.norm(momentum, axis=1), 1e-12)
    inclination = inclinations_deg(body)
    found = {"inclination_spread_deg": _spread(inclination, body.mass)}
    tilted = (momentum[:, 0] + 1j * momentum[:, 1]) / size
    for number, name in enumerate(("host", "companion")[:FAMILIES]):
        own = body.galaxy == number
        known = bool(own.any())
        found[f"inclination_{name}_deg"] = float(np.median(inclination[own])) if known else np.nan
        weight = body.mass[own]
        total = np.sum(weight * np.abs(tilted[own]))
        found[f"nodes_{name}"] = float(abs(np.sum(weight * tilted[own])) / total) if known else np.nan
    return found


def inclinations_deg(body: Body) -> np.ndarray:
    """Inclination (n,) of each star's orbit against the short axis, 0 to 90 degrees, whichever way it turns."""
    momentum = np.cross(body.position, body.velocity)
    size = np.maximum(np.linalg.norm(momentum, axis=1), 1e-12)
    return np.degrees(np.arccos(np.clip(np.abs(momentum[:, 2]) / size, 0, 1)))


def _spread(values: np.ndarray, weights: np.ndarray) -> float:
    """Standard deviation with weights."""
    mean = np.average(values, weights=weights)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
