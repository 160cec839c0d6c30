"""Leapfrog: moves particles under their own gravity, and gas by its pressure, from one output to the next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.nbody.centre import separation
from emeraldcut.nbody.gas import Gas
from emeraldcut.nbody.gravity import EXAMPLES, accelerations
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot import COMPONENTS, KPC_PER_KM_S_GYR, Snapshot
from emeraldcut.nbody.sph import flow_example
from emeraldcut.nbody.tide import Tide, tide_of
from emeraldcut.numerics.jit import Example, compile_ahead, compiled

FINEST = 30  # halvings of the way between two outputs at most
TURNS = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 3, 3)))[0]  # axes along which trees are built
GAS, NEW_STARS = (COMPONENTS.index(name) for name in ("gas", "new_stars"))


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
    """What moves, in double precision: position kpc, velocity km/s, acceleration (km/s)^2/kpc, potential (km/s)^2.

    `lengths` are the softening lengths in kpc of `COMPONENTS`, `softening` those of the particles.
    """

    position: np.ndarray
    velocity: np.ndarray
    mass: np.ndarray
    component: np.ndarray
    formed_gyr: np.ndarray
    lengths: np.ndarray
    now: float
    settings: EvolveSettings
    threads: int
    gas: Gas
    tide: Tide | None = None
    softening: np.ndarray = field(init=False)
    acceleration: np.ndarray = field(init=False)
    potential: np.ndarray = field(init=False)
    tidal_potential: np.ndarray | None = None
    turn: int = 0
    steps: int = 0
    force_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.softening = self.lengths[self.component]

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
        self.acceleration = _along(np.ascontiguousarray(acceleration), axes.T.copy())
        self.turn += 1
        if self.tide is not None:
            pulled, self.tidal_potential = self.tide.field(self.position, self.now)
            self.acceleration += pulled

    def tidal_energy(self) -> float:
        """What the tide adds to the energy; 0 without one."""
        if self.tide is None or self.tidal_potential is None:
            return 0.0
        return self.tide.energy(self.mass, self.velocity, self.tidal_potential)

    def longest_step(self) -> float:
        """Gyr: accuracy * sqrt(softening / |acceleration|) of the particle for which it is the shortest."""
        return self.settings.accuracy * _shortest(self.softening, self.acceleration) / KPC_PER_KM_S_GYR

    def step(self, gyr: float) -> None:
        """Kick by half a step, drift by a step, kick by half a step."""
        distance = gyr * KPC_PER_KM_S_GYR  # that 1 km/s makes
        _advance(self.velocity, self.acceleration, 0.5 * distance)
        self._drift(gyr)
        self.now += gyr
        self.pull()
        _advance(self.velocity, self.acceleration, 0.5 * distance)
        self.steps += 1

    def _drift(self, gyr: float) -> None:
        """Drifts by a step. Gas does so in steps of its own, at which its own forces kick it."""
        start, gas = time.process_time(), self.gas
        held = self.position[gas.places]
        _advance(self.position, self.velocity, gyr * KPC_PER_KM_S_GYR)
        self.position[gas.places] = held
        for formed, left in gas.move(self.position, self.velocity, self.acceleration, gyr):
            self.position[formed] += self.velocity[formed] * (left * KPC_PER_KM_S_GYR)
            self.component[formed], self.softening[formed] = NEW_STARS, self.lengths[NEW_STARS]
            self.formed_gyr[formed] = self.now + gyr - left
        self.force_seconds += time.process_time() - start

    def go(self, gyr: float) -> None:
        """Moves all by `gyr`, in steps that are power-of-two fractions of it and begin at their own multiples."""
        done, whole = 0, 2**FINEST  # counted in the finest steps
        while done < whole:
            longest, size = self.longest_step(), whole
            while size > 1 and (size * (gyr / whole) > longest or done % size):
                size //= 2
            self.step(size * (gyr / whole))
            done += size

    def settle(self, now: float, output: int) -> None:
        """Rounds the state to what a Snapshot holds, so that to go on from a Snapshot is to go on undisturbed.

        From the number of the `output` follow the axes and random numbers that come next, whatever was before.
        """
        self.now, self.turn = now, output
        self.position = self.position.astype(np.float32).astype(float)
        self.velocity = self.velocity.astype(np.float32).astype(float)
        start = time.process_time()
        self.gas.settle(output, self.position, self.velocity)
        self.force_seconds += time.process_time() - start
        self.pull()


def diagnostics(
    snapshot: Snapshot, potential: np.ndarray, *, gas_energy: float, radiated: float, steps: int, tidal: float = 0.0
) -> dict[str, Any]:
    """The row that `evolve` yields, without times, of a snapshot and the potential (n,) of its particles.

    `tidal` is what a tide adds to the energy, see `Tide.energy`.
    """
    position, velocity, mass = (np.asarray(v, float) for v in (snapshot.position, snapshot.velocity, snapshot.mass))
    kinetic = 0.5 * np.einsum("i,ij,ij->", mass, velocity, velocity)
    energy = 0.5 * mass @ potential
    relative = velocity - np.average(velocity, axis=0, weights=mass)
    lost = 0.5 * np.einsum("ij,ij->i", relative, relative) + potential > 0
    return {
        "time_gyr": snapshot.time_gyr,
        "energy": kinetic + energy + gas_energy + radiated + tidal,
        "kinetic": kinetic,
        "potential": energy,
        "gas_energy": gas_energy,
        "radiated": radiated,
        "momentum": mass @ velocity,
        "angular_momentum": mass @ np.cross(position, velocity),
        "gas_mass": float(mass[snapshot.component == GAS].sum()),
        "new_stars_mass": float(mass[snapshot.component == NEW_STARS].sum()),
        "lost": int(lost.sum()),
        "separation_kpc": separation(snapshot),
        "steps": steps,
    }


def evolve(
    snapshot: Snapshot,
    settings: EvolveSettings = EvolveSettings(),
    *,
    until_gyr: float,
    seed: int = 0,
    threads: int = 1,
) -> Iterator[tuple[Snapshot, dict[str, Any]]]:
    """Moves the particles of a snapshot under gravity and the forces of gas, and yields the state at each output.

    Kick-drift-kick leapfrog (Springel 2005, MNRAS 364, 1105) with one step for all particles: the largest power-of-two
    fraction of the time between two outputs that is at most accuracy * sqrt(softening / |acceleration|) of every
    particle. A step begins at a multiple of itself, so that all outputs are hit. Within it gas makes steps of its own,
    as short as the Courant condition asks for, at which its pressure and viscosity kick it (`Gas.move`; for forces with
    several steps see Tuckerman, Berne & Martyna 1992, J. Chem. Phys. 97, 1990), and at whose ends stars form from it at
    random: a particle of gas becomes one of `new_stars`.

    Outputs are at multiples of `output_gyr` and at `until_gyr`. Between them the state is held in double precision. At
    an output it is rounded to single precision, which is what is yielded. So a run that goes on from a yielded
    snapshot, at a multiple of `output_gyr`, gives the same numbers as the undisturbed run.

    Parameters
    ----------
    snapshot : Snapshot
        The state at the beginning.
    until_gyr : float
        When to stop; later than the snapshot.
    seed : int
        Of star formation.
    threads : int
        For the forces; results do not depend on it.

    Yields
    ------
    snapshot : Snapshot
        First the state at the beginning, then that at each output.
    row : dict
        time_gyr; energy, kinetic, potential, gas_energy, radiated in Msun (km/s)^2; momentum (3,) in Msun km/s;
        angular_momentum (3,) in Msun kpc km/s; gas_mass, new_stars_mass in Msun; lost, the number of particles that are
        not bound (their energy in the frame of the centre of mass is positive); separation_kpc, see `separation`; steps
        since the beginning; force_seconds and other_seconds, CPU time in and outside the forces since the beginning.

        gas_energy is internal energy, of isothermal gas its free energy, see `Gas.energy`; radiated is what has left,
        see `Gas`. energy is the sum of all four, and of what a tide adds (`Tide.energy`), so that it stays.

    Raises
    ------
    ValueError
        If the end is not after the beginning, softening lengths are not known, the sound speed or internal energy of
        gas is not known, or particles have no usable mass, position or velocity.
    """
    if not snapshot.time_gyr < until_gyr < np.inf:
        raise UsageError(
            f"until_gyr expects a time after that of the snapshot, {snapshot.time_gyr} Gyr; received {until_gyr}."
        )
    if not np.isfinite(snapshot.velocity).all():
        raise UsageError("particles without velocities cannot be moved; the snapshot has none, or not of all.")
    lengths, gas = lengths_of(snapshot, settings), gas_of(snapshot, settings, seed, threads)
    compile_ahead("simulate", *examples(settings, len(gas.places) > 0))
    return _evolve(snapshot, settings, lengths, gas, tide_of(settings), until_gyr, threads)


def lengths_of(snapshot: Snapshot, settings: EvolveSettings) -> np.ndarray:
    """Softening lengths (5,) in kpc of `COMPONENTS`, as set or as the snapshot states; ValueError if neither."""
    lengths = snapshot.about.get("softening_kpc") if settings.softening_kpc is None else settings.softening_kpc
    if lengths is None or len(lengths) != len(COMPONENTS) or not min(lengths) > 0:
        raise UsageError(
            f"softening_kpc expects {len(COMPONENTS)} positive lengths, of {', '.join(COMPONENTS)}; received {lengths}."
        )
    return np.array(lengths, float)


def gas_of(snapshot: Snapshot, settings: EvolveSettings, seed: int, threads: int) -> Gas:
    """The gas of a snapshot; it may hold no particles. ValueError if sound speed or internal energy are not known."""
    places = np.flatnonzero(snapshot.component == GAS)
    speed, energy = settings.sound_speed_km_s, None
    if speed is None:
        speed = snapshot.about.get("sound_speed_km_s", np.nan)
    if settings.gas == "adiabatic":
        energy = np.asarray(snapshot.internal_energy, float)[places]
        if not np.all(energy > 0):
            raise UsageError("adiabatic gas needs a positive internal_energy of each gas particle of the snapshot.")
    elif len(places) and not 0 < speed < np.inf:
        raise UsageError(f"sound_speed_km_s expects a positive number, or a snapshot that states it; received {speed}.")
    return Gas(
        places=places,
        mass=np.asarray(snapshot.mass, float)[places],
        internal_energy=energy,
        sound_speed_km_s=speed,
        neighbours=settings.neighbours,
        viscosity=settings.viscosity,
        courant=settings.courant,
        efficiency=settings.star_efficiency,
        threshold=settings.star_threshold,
        seed=seed,
        threads=threads,
        radiated=snapshot.about.get("radiated", 0.0),
    )


def _evolve(
    snapshot: Snapshot,
    settings: EvolveSettings,
    lengths: np.ndarray,
    gas: Gas,
    tide: Tide | None,
    until_gyr: float,
    threads: int,
) -> Iterator[tuple[Snapshot, dict[str, Any]]]:
    begun, now = time.process_time(), snapshot.time_gyr
    position, velocity, mass = (np.array(v, float) for v in (snapshot.position, snapshot.velocity, snapshot.mass))
    component, formed_gyr, outside = snapshot.component.copy(), snapshot.formed_gyr.copy(), 0.0
    particles = _Particles(position, velocity, mass, component, formed_gyr, lengths, now, settings, threads, gas, tide)
    while True:
        number = int(now / settings.output_gyr + 1e-6)  # of outputs from time 0 on
        particles.settle(now, number)
        snapshot = _snapshot(particles, snapshot)
        energies = {"gas_energy": gas.energy, "radiated": gas.radiated, "tidal": particles.tidal_energy()}
        row = diagnostics(snapshot, particles.potential, **energies, steps=particles.steps)
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


def _snapshot(particles: _Particles, before: Snapshot) -> Snapshot:
    """The present state; what does not change is as in the snapshot before."""
    gas, about, energy = particles.gas, before.about, before.internal_energy
    if len(gas.places) or gas.radiated:
        about = dict(about) | {"radiated": gas.radiated}
    if gas.internal_energy is not None:
        energy = np.full(len(before), np.nan, np.float32)
        energy[gas.places] = gas.internal_energy
    return replace(
        before,
        position=particles.position.astype(np.float32),
        velocity=particles.velocity.astype(np.float32),
        component=particles.component.copy(),
        formed_gyr=particles.formed_gyr.copy(),
        internal_energy=energy,
        time_gyr=particles.now,
        about=about,
    )


# --- what is compiled ahead, see `numerics.jit`


def step_example() -> None:
    """A step in time."""
    vectors = np.ones((9, 3))
    _advance(vectors, vectors, 0.5)
    _along(vectors, TURNS[0])
    _along(vectors, TURNS[0].T.copy())
    _shortest(np.ones(9), vectors)


def examples(settings: EvolveSettings, gas: bool) -> list[Example]:
    """What `evolve` needs with these settings, with or without gas."""
    gravity = [EXAMPLES[settings.engine]] if settings.engine in EXAMPLES else []
    return [*gravity, step_example, *([flow_example] if gas else [])]
