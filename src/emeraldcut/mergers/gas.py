"""Gas among the particles: its equation of state, its own steps in time, and the stars that form from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from emeraldcut.data.snapshot import GRAVITY, KPC_PER_KM_S_GYR
from emeraldcut.mergers.sph import Flow, flow_of

GAMMA = 5 / 3  # of the adiabatic gas
ZERO_DENSITY = 1e9  # Msun/kpc^3 at which the free energy of isothermal gas is counted as 0
EQUATIONS = ("isothermal", "adiabatic")
NOTHING = Flow(np.empty((0, 3)), *(np.empty(0) for _ in range(6)))


def schmidt_rate(density: np.ndarray, efficiency: float, threshold: float) -> np.ndarray:
    """Part of gas that becomes stars in the time in which 1 km/s makes 1 kpc, for a density (n,) in Msun/kpc^3.

    Schmidt's law (1959, ApJ 129, 243) with the power 1.5: `efficiency` in each free-fall time sqrt(3 pi / (32 G rho)),
    nothing below the `threshold` in Msun/kpc^3 (Katz 1992, ApJ 391, 502; Kennicutt 1998, ApJ 498, 541).
    """
    free_fall = np.sqrt(3 * np.pi / (32 * GRAVITY * density))
    return np.where(density < threshold, 0.0, efficiency / free_fall)


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
        Steps are at most this times H over the fastest signal of every particle.
    efficiency, threshold
        As of `schmidt_rate`.
    seed : int
        Of star formation.
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
    flow: Flow | None = field(init=False, default=None)
    rng: np.random.Generator = field(init=False)

    @property
    def energy(self) -> float:
        """Msun (km/s)^2: the internal energy, or of isothermal gas the free energy, mass times c^2 ln(density).

        Isothermal gas takes heat from outside when it expands and gives it away when it is compressed. The work that it
        does and takes is what its free energy loses and gains.
        """
        if self.internal_energy is not None:
            return float(self.mass @ self.internal_energy)
        return float(self.mass @ self._free_energy(self.flow.density))

    def _free_energy(self, density: np.ndarray) -> np.ndarray:
        return self.sound_speed_km_s**2 * np.log(density / ZERO_DENSITY)

    def settle(self, output: int, position: np.ndarray, velocity: np.ndarray) -> None:
        """Begins anew at an output, from what a Snapshot holds alone; `output` is its number."""
        self.rng, self.flow = np.random.default_rng([self.seed, output]), None
        if self.internal_energy is not None:
            self.internal_energy = self.internal_energy.astype(np.float32).astype(float)
        self._look(position, velocity, 0.0)

    def _look(self, position: np.ndarray, velocity: np.ndarray, ahead: float) -> None:
        """The flow at the present positions. Velocities and internal energies are `ahead` kpc/(km/s) behind these."""
        if len(self.places) == 0:
            self.flow = NOTHING
            return
        velocity, energy, radius, flow = velocity[self.places], self.internal_energy, None, self.flow
        if flow is not None:
            velocity = velocity + flow.acceleration * ahead
            radius = flow.radius * np.exp(np.clip(flow.divergence * ahead * (2 / 3), -0.2, 0.2))
        if energy is None:
            sound = np.full(len(self.places), self.sound_speed_km_s)
            stiffness = sound**2
        else:
            stiffness = (GAMMA - 1) * (energy if flow is None else self._heated(ahead))
            sound = np.sqrt(GAMMA * stiffness)
        self.flow = flow_of(
            position[self.places], velocity, self.mass, stiffness, sound,
            neighbours=self.neighbours, viscosity=self.viscosity, radius=radius, threads=self.threads,
        )  # fmt: skip

    def _heated(self, distance: float) -> np.ndarray:
        """Internal energies (n,) after the time in which 1 km/s makes this distance; at least half of what they are."""
        change = (self.flow.compression + self.flow.friction) * distance
        return self.internal_energy + np.maximum(change, -0.5 * self.internal_energy)

    def longest_step(self) -> float:
        """Gyr: the Courant condition of the particle for which it is the shortest (Springel 2005, equation 16)."""
        return self.courant * float(np.min(self.flow.radius / self.flow.signal, initial=np.inf)) / KPC_PER_KM_S_GYR

    def step(self, position: np.ndarray, velocity: np.ndarray, gyr: float) -> np.ndarray:
        """Moves the gas by a step, in the arrays of all particles, under its own forces alone: kick, drift, kick.

        Returns the rows of what has become stars. These leave the gas between both kicks, so that no momentum is lost.
        """
        distance = gyr * KPC_PER_KM_S_GYR
        self._kick(velocity, 0.5 * distance)
        position[self.places] += velocity[self.places] * distance
        formed = self._form_stars(distance)
        self._look(position, velocity, 0.5 * distance)
        self._kick(velocity, 0.5 * distance)
        return formed

    def _kick(self, velocity: np.ndarray, distance: float) -> None:
        velocity[self.places] += self.flow.acceleration * distance
        if self.internal_energy is None:
            self.radiated += float(self.mass @ self.flow.friction) * distance
        else:
            self.internal_energy = self._heated(distance)

    def _form_stars(self, distance: float) -> np.ndarray:
        """Takes the gas away that becomes stars during a step; returns the rows of these.

        A particle that leaves takes its share in the free energy, and its part in the densities of its neighbours: its
        chemical potential c^2 [ln(density) + 1], for small particles.
        """
        rate = schmidt_rate(self.flow.density, self.efficiency, self.threshold)
        forms = self.rng.random(len(self.places)) < -np.expm1(-rate * distance)
        if self.internal_energy is None:
            energy = self._free_energy(self.flow.density) + self.sound_speed_km_s**2
        else:
            energy = self.internal_energy
        formed = self.places[forms]
        if len(formed):
            self.radiated += float(self.mass[forms] @ energy[forms])
            self.places, self.mass, self.flow = self.places[~forms], self.mass[~forms], self.flow.of(~forms)
            if self.internal_energy is not None:
                self.internal_energy = self.internal_energy[~forms]
        return formed
