"""Leapfrog: moves particles under their own gravity from one output to the next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from emeraldcut.compiled import compiled
from emeraldcut.data.snapshot import COMPONENTS, KPC_PER_KM_S_GYR, STARS, Snapshot
from emeraldcut.mergers.gravity import ENGINES, OPENING, accelerations
from emeraldcut.settings import setting

FINEST = 30  # halvings of the way between two outputs at most
TURNS = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 3, 3)))[0]  # axes along which trees are built
SHRINK = 0.9  # by which the sphere that finds a centre shrinks (Power et al. 2003)
LEAST_IN_CENTRE = 50  # particles, or 2 % of them, at which it stops


@dataclass(frozen=True, kw_only=True)
class EvolveSettings:
    """How particles are moved."""

    softening_kpc: tuple[float, ...] | None = setting(
        None, f"Plummer softening length in kpc of {', '.join(COMPONENTS)}; none: as the snapshot states"
    )
    engine: str = setting("tree", "how gravity is summed", choices=tuple(ENGINES))
    opening: float = setting(OPENING, "largest size over distance of cells that attract as a whole")
    accuracy: float = setting(0.3, "steps are at most this times sqrt(softening / acceleration) of every particle")
    output_gyr: float = setting(0.05, "time between outputs in Gyr; they are at its multiples")

    def __post_init__(self) -> None:
        if not 0 < self.opening <= 1:
            raise ValueError(f"opening expects a number above 0 and up to 1; received {self.opening}.")
        for name in ("accuracy", "output_gyr"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} expects a positive number; received {getattr(self, name)}.")


@compiled
def centre(position: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """The densest part (3,) of particles at position (n, 3) with mass (n,), by shrinking spheres.

    Each sphere is centred on the centre of mass within the one before and a tenth smaller, down to 2 % of the particles
    or 50 of them (Power et al. 2003, MNRAS 338, 14).
    """
    n, middle, square = len(mass), np.array([np.sum(position[:, k] * mass) for k in range(3)]) / mass.sum(), np.inf
    least = max(min(LEAST_IN_CENTRE, n), n // 50)
    while True:
        count, total, x, y, z, largest = 0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(n):
            dx, dy, dz = position[i, 0] - middle[0], position[i, 1] - middle[1], position[i, 2] - middle[2]
            distance = dx * dx + dy * dy + dz * dz
            if distance <= square:
                count += 1
                total += mass[i]
                x += mass[i] * dx
                y += mass[i] * dy
                z += mass[i] * dz
                largest = max(largest, distance)
        if count < least or largest == 0:
            return middle
        middle += np.array([x, y, z]) / total
        square = (largest if square == np.inf else square) * SHRINK * SHRINK


def separation(snapshot: Snapshot) -> float:
    """Distance in kpc between the centres of galaxies 0 and 1, NaN where there is only one.

    A galaxy's centre is that of its stars, or where it has none of all its particles.
    """
    both = [snapshot.galaxy == galaxy for galaxy in (0, 1)]
    if not (both[0].any() and both[1].any()):
        return float("nan")
    stars = np.isin(snapshot.component, STARS)
    chosen = [own & stars if (own & stars).any() else own for own in both]
    first, second = (
        centre(np.asarray(snapshot.position, float)[c], np.asarray(snapshot.mass, float)[c]) for c in chosen
    )
    return float(np.linalg.norm(second - first))


@compiled
def _advance(values: np.ndarray, rates: np.ndarray, by: float) -> None:
    """Adds `rates` (n, 3) times `by` to `values` (n, 3)."""
    for i in range(len(values)):
        for axis in range(3):
            values[i, axis] += rates[i, axis] * by


@compiled
def _along(vectors: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Components (n, 3) of vectors (n, 3) along the rows of `axes` (3, 3)."""
    seen = np.empty((len(vectors), 3))
    for i in range(len(vectors)):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        for k in range(3):
            seen[i, k] = axes[k, 0] * x + axes[k, 1] * y + axes[k, 2] * z
    return seen


@compiled
def _shortest(softening: np.ndarray, acceleration: np.ndarray) -> float:
    """Least sqrt(softening / |acceleration|) of particles with softening (n,) and acceleration (n, 3)."""
    largest = 0.0
    for i in range(len(softening)):
        ax, ay, az = acceleration[i, 0], acceleration[i, 1], acceleration[i, 2]
        largest = max(largest, (ax * ax + ay * ay + az * az) / (softening[i] * softening[i]))
    return largest**-0.25


@dataclass
class _Particles:
    """What moves, in double precision: position kpc, velocity km/s, acceleration (km/s)^2/kpc, potential (km/s)^2."""

    position: np.ndarray
    velocity: np.ndarray
    mass: np.ndarray
    softening: np.ndarray
    settings: EvolveSettings
    threads: int
    acceleration: np.ndarray = field(init=False)
    potential: np.ndarray = field(init=False)
    turn: int = 0
    steps: int = 0
    force_seconds: float = 0.0

    def pull(self) -> None:
        """Acceleration and potential at the present positions.

        Each time the tree lies along other axes. Its errors then average out over steps instead of adding up: the
        angular momentum of a merger drifts by a tenth of what it would otherwise.
        """
        axes = TURNS[self.turn % len(TURNS)]
        position = _along(self.position, axes)
        start = time.process_time()
        acceleration, self.potential = accelerations(
            position, self.mass, self.softening, engine=self.settings.engine, opening=self.settings.opening,
            threads=self.threads,
        )  # fmt: skip
        self.force_seconds += time.process_time() - start
        self.acceleration = _along(acceleration, axes.T.copy())
        self.turn += 1

    def longest_step(self) -> float:
        """Gyr: accuracy * sqrt(softening / |acceleration|) of the particle for which it is the shortest."""
        return self.settings.accuracy * _shortest(self.softening, self.acceleration) / KPC_PER_KM_S_GYR

    def step(self, gyr: float) -> None:
        """Kick by half a step, drift by a step, kick by half a step."""
        distance = gyr * KPC_PER_KM_S_GYR  # that 1 km/s makes
        _advance(self.velocity, self.acceleration, 0.5 * distance)
        _advance(self.position, self.velocity, distance)
        self.pull()
        _advance(self.velocity, self.acceleration, 0.5 * distance)
        self.steps += 1

    def go(self, gyr: float) -> None:
        """Moves all by `gyr`, in steps that are power-of-two fractions of it and begin at their own multiples."""
        done, whole = 0, 2**FINEST  # counted in the finest steps
        while done < whole:
            longest, size = self.longest_step(), whole
            while size > 1 and (size * (gyr / whole) > longest or done % size):
                size //= 2
            self.step(size * (gyr / whole))
            done += size

    def settle(self, turn: int) -> None:
        """Rounds the state to what a Snapshot holds, so that to go on from a Snapshot is to go on undisturbed.

        `turn` says which axes come next; it must not depend on what was before the Snapshot.
        """
        self.turn = turn
        self.position = self.position.astype(np.float32).astype(float)
        self.velocity = self.velocity.astype(np.float32).astype(float)
        self.pull()


def _row(particles: _Particles, snapshot: Snapshot) -> dict[str, Any]:
    """Diagnostics of the present state."""
    position, velocity, mass = particles.position, particles.velocity, particles.mass
    kinetic = 0.5 * np.einsum("i,ij,ij->", mass, velocity, velocity)
    potential = 0.5 * mass @ particles.potential
    relative = velocity - np.average(velocity, axis=0, weights=mass)
    lost = 0.5 * np.einsum("ij,ij->i", relative, relative) + particles.potential > 0
    return {
        "time_gyr": snapshot.time_gyr,
        "energy": kinetic + potential,
        "kinetic": kinetic,
        "potential": potential,
        "momentum": mass @ velocity,
        "angular_momentum": mass @ np.cross(position, velocity),
        "lost": int(lost.sum()),
        "separation_kpc": separation(snapshot),
        "steps": particles.steps,
    }


def evolve(
    snapshot: Snapshot, settings: EvolveSettings = EvolveSettings(), *, until_gyr: float, threads: int = 1
) -> Iterator[tuple[Snapshot, dict[str, Any]]]:
    """Moves the particles of a snapshot under their own gravity, and yields the state at each output.

    Kick-drift-kick leapfrog (Springel 2005, MNRAS 364, 1105) with one step for all particles: the largest power-of-two
    fraction of the time between two outputs that is at most accuracy * sqrt(softening / |acceleration|) of every
    particle. A step begins at a multiple of itself, so that all outputs are hit.

    Outputs are at multiples of `output_gyr` and at `until_gyr`. Between them the state is held in double precision. At
    an output it is rounded to single precision, which is what is yielded. So a run that goes on from a yielded
    snapshot, at a multiple of `output_gyr`, gives the same numbers as the undisturbed run.

    Parameters
    ----------
    snapshot : Snapshot
        The state at the beginning.
    until_gyr : float
        When to stop; later than the snapshot.
    threads : int
        For the force; results do not depend on it.

    Yields
    ------
    snapshot : Snapshot
        First the state at the beginning, then that at each output.
    row : dict
        time_gyr; energy, kinetic, potential in Msun (km/s)^2; momentum (3,) in Msun km/s; angular_momentum (3,) in
        Msun kpc km/s; lost, the number of particles that are not bound (their energy in the frame of the centre of
        mass is positive); separation_kpc, see `separation`; steps since the beginning; force_seconds and
        other_seconds, CPU time in and outside the force since the beginning.

    Raises
    ------
    ValueError
        If the end is not after the beginning, softening lengths are not known, or particles have no usable mass or
        position.
    """
    if not snapshot.time_gyr < until_gyr < np.inf:
        raise ValueError(
            f"until_gyr expects a time after that of the snapshot, {snapshot.time_gyr} Gyr; received {until_gyr}."
        )
    return _evolve(snapshot, settings, _softening(snapshot, settings), until_gyr, threads)


def _softening(snapshot: Snapshot, settings: EvolveSettings) -> np.ndarray:
    """Softening length (n,) in kpc of each particle."""
    lengths = snapshot.about.get("softening_kpc") if settings.softening_kpc is None else settings.softening_kpc
    if lengths is None or len(lengths) != len(COMPONENTS) or not min(lengths) > 0:
        raise ValueError(
            f"softening_kpc expects {len(COMPONENTS)} positive lengths, of {', '.join(COMPONENTS)}; received {lengths}."
        )
    return np.array(lengths, float)[snapshot.component]


def _evolve(
    snapshot: Snapshot, settings: EvolveSettings, softening: np.ndarray, until_gyr: float, threads: int
) -> Iterator[tuple[Snapshot, dict[str, Any]]]:
    begun, now = time.process_time(), snapshot.time_gyr
    state = (np.array(values, float) for values in (snapshot.position, snapshot.velocity, snapshot.mass))
    particles, outside = _Particles(*state, softening, settings, threads), 0.0
    while True:
        number = int(now / settings.output_gyr + 1e-6)  # of outputs from time 0 on
        particles.settle(number)
        snapshot = replace(
            snapshot,
            position=particles.position.astype(np.float32),
            velocity=particles.velocity.astype(np.float32),
            time_gyr=now,
        )
        row = _row(particles, snapshot)
        spent = time.process_time() - begun - outside
        yield (
            snapshot,
            row | {"force_seconds": particles.force_seconds, "other_seconds": spent - particles.force_seconds},
        )
        outside = time.process_time() - begun - spent  # what the caller did with it
        if now >= until_gyr:
            return
        following = min((number + 1) * settings.output_gyr, until_gyr)
        particles.go(following - now)
        now = following
