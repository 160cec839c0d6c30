"""Gas among the particles: its equation of state, its own steps in time, and the stars that form from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from emeraldcut.nbody.snapshot import GRAVITY, KPC_PER_KM_S_GYR
from emeraldcut.nbody.sph import Flow, flow_of

GAMMA = 5 / 3  # of the adiabatic gas
ZERO_DENSITY = 1e9  # Msun/kpc^3 at which the free energy of isothermal gas is counted as 0
EQUATIONS = ("isothermal", "adiabatic")
FINEST = 2**30  # parts of a step at most
NOTHING = Flow(np.empty((0, 3)), *(np.empty(0) for _ in range(8)))


def schmidt_rate(density: ArrayLike, efficiency: float, threshold: float) -> np.ndarray:
    """Part of gas that becomes stars in the time in which 1 km/s makes 1 kpc, for a density (n,) in Msun/kpc^3.

    Schmidt's law (1959, ApJ 129, 243) with the power 1.5: `efficiency` in each free-fall time sqrt(3 pi / (32 G rho)),
    nothing below the `threshold` in Msun/kpc^3 (Katz 1992, ApJ 391, 502; Kennicutt 1998, ApJ 498, 541).
    """
    density = np.asarray(density)
    free_fall = np.sqrt(3 * np.pi / (32 * GRAVITY * density))
    return np.where(density < threshold, 0.0, efficiency / free_fall)


def jeans_mass_msun(density: float, sound_speed_km_s: float) -> float:
    """Mass in Msun of a sphere as wide as the Jeans length c sqrt(pi / (G rho)), at a density in Msun/kpc^3.

    That is pi^(5/2) c^3 / (6 G^(3/2) rho^(1/2)) (Binney & Tremaine 2008, section 5.2). SPH follows the collapse of
    gas as long as the mass that it smooths over is less than that (Bate & Burkert 1997, MNRAS 288, 1060).
    """
    return float(np.pi**2.5 * sound_speed_km_s**3 / (6 * GRAVITY**1.5 * np.sqrt(density)))


def free_energy(density: np.ndarray, sound_speed_km_s: float) -> np.ndarray:
    """Free energy (n,) of a unit of mass of isothermal gas in (km/s)^2, for a density (n,) in Msun/kpc^3."""
    return sound_speed_km_s**2 * np.log(density / ZERO_DENSITY)


@dataclass
class Gas:
    """The gas of a simulation. It holds no positions and velocities: these are rows of the arrays of all particles.

    Attributes
    ----------
    places : (n,) int
        Rows of gas particles.
    mass : (n,), Msun
    internal_energy : (n,), (km/s)^2, or None
        Of a unit of mass. None: the gas is isothermal.
    sound_speed_km_s : float
        Of isothermal gas.
    neighbours, viscosity
        As of `flow_of`.
    courant : float
        Steps of a particle are at most this times H over its fastest signal.
    efficiency, threshold
        As of `schmidt_rate`.
    seed : int
        Of star formation.
    threads : int
        Results do not depend on it.
    radiated : float, Msun (km/s)^2
        Energy that has left: what friction made of isothermal gas, and what gas had that became stars.
    """

    places: np.ndarray
    mass: np.ndarray
    internal_energy: np.ndarray | None
    sound_speed_km_s: float
    neighbours: float
    viscosity: float
    courant: float
    efficiency: float
    threshold: float
    seed: int
    threads: int
    radiated: float
    flow: Flow = field(init=False, default=NOTHING)
    rng: np.random.Generator = field(init=False)

    @property
    def energy(self) -> float:
        """Msun (km/s)^2: the internal energy, or of isothermal gas the free energy, mass times c^2 ln(density).

        Isothermal gas takes heat from outside when it expands and gives it away when it is compressed. The work that it
        does and takes is what its free energy loses and gains.
        """
        if self.internal_energy is not None:
            return float(self.mass @ self.internal_energy)
        return float(self.mass @ free_energy(self.flow.density, self.sound_speed_km_s))

    def settle(self, output: int, position: np.ndarray, velocity: np.ndarray) -> None:
        """Begins anew at an output, from what a Snapshot holds alone; `output` is its number."""
        self.rng = np.random.default_rng([self.seed, output])
        if self.internal_energy is not None:
            self.internal_energy = self.internal_energy.astype(np.float32).astype(float)
        self._look(position[self.places], velocity[self.places], self.internal_energy, None)

    def _look(
        self,
        position: np.ndarray,
        velocity: np.ndarray,
        energy: np.ndarray | None,
        before: Flow | None,
        active: np.ndarray | None = None,
    ) -> None:
        """The flow of active particles, from what is known of all gas at the present time, and of its flow `before`."""
        if len(self.places) == 0:
            self.flow = NOTHING
            return
        if energy is None:
            sound = np.full(len(self.places), self.sound_speed_km_s)
            stiffness = sound**2
        else:
            stiffness = (GAMMA - 1) * energy
            sound = np.sqrt(GAMMA * stiffness)
        self.flow = flow_of(
            position, velocity, self.mass, stiffness, sound, neighbours=self.neighbours, viscosity=self.viscosity,
            before=before, active=active, threads=self.threads,
        )  # fmt: skip

    def _heated(self, energy: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Internal energies (n,) after the times in which 1 km/s makes these distances; not less than half."""
        change = (self.flow.compression + self.flow.friction) * distance
        return energy + np.maximum(change, -0.5 * energy)

    def move(
        self, position: np.ndarray, velocity: np.ndarray, gravity: np.ndarray, gyr: float
    ) -> Iterator[tuple[np.ndarray, float]]:
        """Moves the gas under its own forces alone by `gyr`, in the arrays of all particles.

        Velocities are taken to hold half of what `gravity`, (n, 3) in (km/s)^2/kpc, adds to them in this time.

        Each particle makes steps of its own, kick, drift, kick: power-of-two fractions of `gyr` that begin at their own
        multiples, as long as the Courant condition allows it (Springel 2005, equation 16). Where a step ends, forces
        come from the present positions of all; what of other particles is in the middle of a step is carried on.

        Yields the rows of what has just become stars, and the Gyr that are left. These leave the gas before the last
        kick of their step.
        """
        unit = gyr * KPC_PER_KM_S_GYR / FINEST
        now, begun = 0, np.zeros(len(self.places), np.int64)
        span = self._spans(now, unit)
        everyone = np.ones(len(self.places), bool)
        self._kick(velocity, everyone, 0.5 * unit * span)
        while now < FINEST:
            then = int(np.min(begun + span, initial=FINEST))
            self._drift(position, velocity, (then - now) * unit)
            now, ends = then, begun + span == then
            stays = ~(ends & self._forms_stars(span * unit))
            formed = self.places[~stays]
            if len(formed):
                self._keep(stays)
                begun, span, ends = begun[stays], span[stays], ends[stays]
                yield formed, gyr * (1 - now / FINEST)
            # velocities are those of the middle of each particle's step, and as to gravity of that of the whole
            ahead, rows = (now - begun - 0.5 * span) * unit, self.places
            seen = velocity[rows] + self.flow.acceleration * ahead[:, None]
            seen += gravity[rows] * ((now - 0.5 * FINEST) * unit)
            energy = None if self.internal_energy is None else self._heated(self.internal_energy, ahead)
            self._look(position[rows], seen, energy, self.flow, ends)
            self._kick(velocity, ends, 0.5 * unit * span)
            begun[ends] = now
            if now < FINEST:
                span[ends] = self._spans(now, unit)[ends]
                self._kick(velocity, ends, 0.5 * unit * span)

    def _spans(self, now: int, unit: float) -> np.ndarray:
        """Steps (n,) in units: the largest powers of two that the Courant condition and the time `now` allow."""
        longest = self.courant * self.flow.radius / self.flow.signal / unit
        aligned = now & -now if now else FINEST
        return 2 ** np.floor(np.log2(np.clip(longest, 1, aligned))).astype(np.int64)

    def _drift(self, position: np.ndarray, velocity: np.ndarray, distance: float) -> None:
        position[self.places] += velocity[self.places] * distance
        growth = np.clip(self.flow.divergence * distance, -0.5, 0.5)
        self.flow = self.flow._replace(
            radius=self.flow.radius * np.exp(growth / 3), density=self.flow.density * np.exp(-growth)
        )

    def _kick(self, velocity: np.ndarray, chosen: np.ndarray, distance: np.ndarray) -> None:
        """Changes velocities and internal energies of the chosen particles; `distance` (n,) is as of `_heated`."""
        velocity[self.places[chosen]] += self.flow.acceleration[chosen] * distance[chosen, None]
        if self.internal_energy is None:
            self.radiated += float(self.mass[chosen] @ (self.flow.friction * distance)[chosen])
        else:
            self.internal_energy[chosen] = self._heated(self.internal_energy, distance)[chosen]

    def _forms_stars(self, distance: np.ndarray) -> np.ndarray:
        """Which particles (n,) become stars, at random, in the times in which 1 km/s makes these distances."""
        rate = schmidt_rate(self.flow.density, self.efficiency, self.threshold)
        return self.rng.random(len(self.places)) < -np.expm1(-rate * distance)

    def _keep(self, stays: np.ndarray) -> None:
        """Takes the other particles away, and counts their energy as radiated.

        Of isothermal gas a particle takes its share in the free energy and its part in the densities of its neighbours,
        its chemical potential c^2 [ln(density) + 1]. This is exact for small particles.
        """
        if self.internal_energy is None:
            energy = free_energy(self.flow.density, self.sound_speed_km_s) + self.sound_speed_km_s**2
        else:
            energy = self.internal_energy
            self.internal_energy = energy[stays]
        self.radiated += float(self.mass[~stays] @ energy[~stays])
        self.places, self.mass, self.flow = self.places[stays], self.mass[stays], self.flow.of(stays)
