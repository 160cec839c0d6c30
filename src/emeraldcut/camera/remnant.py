"""Remnants from all sides: the shape and the rotation that projections of particles have, without a telescope."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from emeraldcut.camera.camera import camera_example, draw_angles, rotation
from emeraldcut.camera.particle_isophote import ParticleIsophote, fit_particle_isophote, particle_isophote_example
from emeraldcut.camera.projection import project
from emeraldcut.camera.stars import gather
from emeraldcut.data.columns import table_from_rows
from emeraldcut.nbody.centre import centre_of
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.numerics.jit import compile_ahead

INNER = (0.4, 0.8)  # isophotes in half-light semi-major axes; their annuli reach from 0.24 to 1.12
SLIT = 0.25  # half its width, in half-light semi-major axes
CENTRAL = 0.5  # radius within which the central velocity dispersion is taken, in the same unit


def measure_remnant(snapshots: Sequence[Snapshot], views: int, *, seed: int) -> Table:
    """What the stars of a remnant show from directions drawn evenly over the sphere.

    Stars have light as mass. Several snapshots of one run are stacked, each turned to the principal axes of the last,
    to lessen the noise of particles; velocities are those of the last alone.

    Parameters
    ----------
    snapshots : sequence of Snapshot
        Of one run, the latest last.
    views : int
    seed : int
        View i is from the same direction for the same seed, whatever the galaxy.

    Returns
    -------
    Table
        One row per view: `view_theta_deg`, `view_phi_deg`; `a4`, a4/a as the mean of two isophotes, which see stars
        between 0.24 and 1.12 half-light semi-major axes (Naab & Burkert 2003, ApJ 597, 893, took the mean between 0.25
        and 1 half-light radii), and `a4_err`, its standard error from the number of particles; `a4_outer` and
        `a4_outer_err` at 1.5 half-light semi-major axes, and there `axis_ratio`; `rotation_km_s`, the mean speed along
        the line of sight in a slit along the major axis between 1 and 2 half-light semi-major axes, opposite on both
        sides; `dispersion_km_s` of the centre. NaN where an isophote does not settle, and the last two where the
        snapshot has no velocities.

    Raises
    ------
    ValueError
        Too few stars, or positions that are no numbers; see `stars.gather`.
    """
    compile_ahead("observe", camera_example, particle_isophote_example)
    stars, last = gather(snapshots, None, aligned=True), snapshots[-1]
    chosen = last.stars
    position, velocity, mass = (np.asarray(v, float)[chosen] for v in (last.position, last.velocity, last.mass))
    position -= centre_of(position, mass)
    inside = np.linalg.norm(position, axis=1) < stars.half_light_kpc
    velocity -= np.average(velocity[inside], axis=0, weights=mass[inside])
    rows = []
    for k in range(views):
        theta, phi, _ = draw_angles(np.random.default_rng([seed, k]))
        turn = rotation(theta, phi)
        seen = project(stars.position, turn)
        outer = fit_particle_isophote(seen, stars.light)
        inner = [fit_particle_isophote(seen, stars.light, isophote) for isophote in INNER]
        errors = np.array([one.error for one in inner])
        rows.append(
            {
                "view_theta_deg": theta,
                "view_phi_deg": phi,
                "a4": float(np.mean([one.terms["a4"] for one in inner])),
                "a4_err": float(np.sqrt(np.sum(errors**2)) / len(errors)),
                "a4_outer": outer.terms["a4"],
                "a4_outer_err": outer.error,
                "axis_ratio": outer.axis_ratio,
                **_rotation(position @ turn.T, velocity @ turn[2], mass, outer),
            }
        )
    return table_from_rows(rows)


def _rotation(seen: np.ndarray, speed: np.ndarray, mass: np.ndarray, outer: ParticleIsophote) -> dict[str, float]:
    """Rotation along the major axis of an outline, and central dispersion, in km/s.

    Of stars at `seen` (n, 3), the last coordinate towards us, with `speed` (n,) along the line of sight.
    """
    angle = np.radians(outer.position_angle_deg)
    along = (seen[:, 0] * np.cos(angle) + seen[:, 1] * np.sin(angle)) / outer.radius
    across = (seen[:, 1] * np.cos(angle) - seen[:, 0] * np.sin(angle)) / outer.radius
    slit = (np.abs(across) < SLIT) & (np.abs(along) > 1) & (np.abs(along) < 2)
    centre = np.hypot(along, across) < CENTRAL
    if not (slit.any() and centre.any()):
        return {"rotation_km_s": np.nan, "dispersion_km_s": np.nan}
    middle = np.average(speed[centre], weights=mass[centre])
    rotation_km_s = abs(np.average(np.sign(along[slit]) * speed[slit], weights=mass[slit]))
    variance = np.average((speed[centre] - middle) ** 2, weights=mass[centre])
    return {"rotation_km_s": float(rotation_km_s), "dispersion_km_s": float(np.sqrt(variance))}
