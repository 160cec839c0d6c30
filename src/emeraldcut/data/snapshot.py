"""Snapshot: particles at one time, the datum that flows from simulations to images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

COMPONENTS = ("halo", "disc", "bulge", "gas", "new_stars")  # `Snapshot.component` counts through these
STARS = (1, 2, 4)  # components that shine
GRAVITY = 4.30091e-6  # kpc (km/s)^2 / Msun
KPC_PER_KM_S_GYR = 1.022712165  # kpc that something moves in 1 Gyr at 1 km/s


@dataclass(frozen=True)
class Snapshot:
    """Particles at one time.

    Attributes
    ----------
    position : (n, 3) float32, kpc
    velocity : (n, 3) float32, km/s
    mass : (n,) float32, Msun
    component : (n,) int8
        Place in `COMPONENTS`.
    galaxy : (n,) int8
        Which progenitor a particle comes from, counted from 0.
    time_gyr : float
    formed_gyr : (n,) float32
        When a star formed; NaN where it was there from the beginning and for what is no star.
    about : mapping
        Whatever else is known of the run: merger, mass ratio, seed ...
    """

    position: np.ndarray
    velocity: np.ndarray
    mass: np.ndarray
    component: np.ndarray
    galaxy: np.ndarray
    time_gyr: float = 0.0
    formed_gyr: np.ndarray | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.mass)
        if self.formed_gyr is None:
            object.__setattr__(self, "formed_gyr", np.full(n, np.nan, np.float32))
        shapes = {"position": (n, 3), "velocity": (n, 3), "component": (n,), "galaxy": (n,), "formed_gyr": (n,)}
        for name, shape in shapes.items():
            if np.shape(getattr(self, name)) != shape:
                raise ValueError(
                    f"a Snapshot of {n} particles needs {name} {shape}; received {np.shape(getattr(self, name))}."
                )

    def __len__(self) -> int:
        return len(self.mass)

    @property
    def stars(self) -> np.ndarray:
        """Boolean (n,): particles that shine."""
        return np.isin(self.component, STARS)
