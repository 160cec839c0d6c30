"""Remnants of known shape, drawn as particles, in place of simulations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.search.evaluation import STACK, Encounter, Remnant
from emeraldcut.search.search import SearchSettings

DISC = 1  # component
BEST_ANGLE_DEG, SPREAD_DEG = 82.0, 5.0  # of the orbit, for which the toy's stars have the least spread
PER_DEGREE = 0.5  # degrees of spread that each degree away from it adds, and each of the companion's tilt


def as_snapshot(position: np.ndarray, velocity: np.ndarray, galaxy: np.ndarray | None = None) -> Snapshot:
    """Stars of equal mass."""
    n = len(position)
    return Snapshot(
        position=position.astype(np.float32),
        velocity=velocity.astype(np.float32),
        mass=np.full(n, 1e5, np.float32),
        component=np.full(n, DISC, np.int8),
        galaxy=np.zeros(n, np.int8) if galaxy is None else galaxy.astype(np.int8),
        time_gyr=4.0,
    )


def superellipsoid(number: int, axes: tuple[float, float, float], exponent: float, seed: int = 0) -> Snapshot:
    """Similar shells |x/a|^c + |y/b|^c + |z/c|^c with an exponential profile; exponent 2 is an ellipsoid."""
    rng = np.random.default_rng(seed)
    inside = rng.uniform(-1, 1, (8 * number, 3))  # a density that is constant within a shell, which is then scaled
    inside = inside[np.sum(np.abs(inside) ** exponent, axis=1) < 1][:number]
    position = inside * rng.gamma(3.0, 1.0, number)[:, None] * np.array(axes)
    turning = np.cross([0.0, 0.0, 1.0], position)
    return as_snapshot(position, 30 * turning)


def inclined_orbits(
    number: int, inclination_deg: float, spread_deg: float, seed: int = 0, mixed: bool = True
) -> Snapshot:
    """Circular orbits of two galaxies, all inclined alike and with nodes all around: boxes (Binney & Petrou 1985)."""
    rng = np.random.default_rng(seed)
    radius, phase = rng.gamma(2.0, 1.0, number), rng.uniform(0, 2 * np.pi, number)
    inclination = np.radians(rng.normal(inclination_deg, spread_deg, number))
    galaxy = np.arange(number) % 2
    node = rng.uniform(0, 2 * np.pi, number) if mixed else np.pi * galaxy
    towards = np.stack([np.cos(node), np.sin(node), np.zeros(number)], axis=1)
    beyond = np.stack(
        [-np.sin(node) * np.cos(inclination), np.cos(node) * np.cos(inclination), np.sin(inclination)], axis=1
    )
    cosine, sine = np.cos(phase)[:, None], np.sin(phase)[:, None]
    position = radius[:, None] * (cosine * towards + sine * beyond)
    velocity = 40 * (cosine * beyond - sine * towards)
    return as_snapshot(position, velocity, galaxy)


def toy_remnant(encounter: Encounter, seed: int, settings: SearchSettings, folder: Path | None = None) -> Remnant:
    """In place of a simulation: stars inclined by half of the orbit's angle, more alike the better the encounter."""
    start = encounter.start
    away = abs(start.orbit_angle_deg - BEST_ANGLE_DEG) + start.tilt_deg
    number = encounter.host.star_particles + encounter.companion.star_particles
    rng = np.random.default_rng(seed)
    snapshots = [
        inclined_orbits(number, start.orbit_angle_deg / 2, SPREAD_DEG + PER_DEGREE * away, int(rng.integers(2**31)))
        for _ in range(STACK)
    ]
    facts = {
        "particles": number,
        "duration_gyr": 4.0,
        "energy_drift": 0.0,
        "separation_kpc": 0.0,
        "new_stars_msun": 0.0,
        "simulate_cpu_s": 1.0,
        "course": [[0.0, 5.0, 0.0, 0.0], [2.0, 0.0, 1.0, 2.0], [4.0, 0.0, 0.0, 0.0]],
    }
    return Remnant(snapshots, facts)
