"""Tide: the field of a galaxy or group that is far heavier than what it pulls, and so keeps its shape and course."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot import GRAVITY, KPC_PER_KM_S_GYR

AXES = 3


@dataclass(frozen=True)
class Tide:
    """A Hernquist sphere (1990, ApJ 356, 359) that nothing pulls, so that it moves on a straight line.

    Attributes
    ----------
    mass_msun, scale_kpc : float
        Its potential is -G M / (r + a).
    start_kpc : (3,) array
        Its centre at the time 0.
    velocity_km_s : (3,) array
        The frame in which it rests is as good as any other, so a galaxy may begin at rest at the origin.
    """

    mass_msun: float
    scale_kpc: float
    start_kpc: np.ndarray
    velocity_km_s: np.ndarray

    def field(self, position: np.ndarray, time_gyr: float) -> tuple[np.ndarray, np.ndarray]:
        """Acceleration (n, 3) in (km/s)^2/kpc and potential (n,) in (km/s)^2 at positions (n, 3) in kpc."""
        centre = self.start_kpc + self.velocity_km_s * (time_gyr * KPC_PER_KM_S_GYR)
        away = position - centre
        distance = np.maximum(np.linalg.norm(away, axis=1), 1e-9 * self.scale_kpc)
        pull = GRAVITY * self.mass_msun / (distance * (distance + self.scale_kpc) ** 2)
        return -away * pull[:, None], -GRAVITY * self.mass_msun / (distance + self.scale_kpc)

    def energy(self, mass: np.ndarray, velocity: np.ndarray, potential: np.ndarray) -> float:
        """What the field adds to the energy of particles in Msun (km/s)^2, so that the sum is conserved.

        Their potential energy in it, and the difference of their kinetic energies in its frame and in ours; only in its
        own frame is the field constant.
        """
        total, momentum = mass.sum(), mass @ velocity
        moving = 0.5 * total * self.velocity_km_s @ self.velocity_km_s - momentum @ self.velocity_km_s
        return float(mass @ potential + moving)


def tide_of(settings: EvolveSettings) -> Tide | None:
    """The tide that settings ask for, or None; UsageError unless its place and velocity are three numbers."""
    if not settings.tide_mass_msun:
        return None
    for name in ("tide_start_kpc", "tide_velocity_km_s"):
        if len(getattr(settings, name)) != AXES:
            raise UsageError(f"setting '{name}' expects x, y and z; received {getattr(settings, name)}.")
    return Tide(
        settings.tide_mass_msun,
        settings.tide_scale_kpc,
        np.array(settings.tide_start_kpc, float),
        np.array(settings.tide_velocity_km_s, float),
    )
