"""Snapshot: particles at one time, the datum that flows from simulations to images, and its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError

COMPONENTS = ("halo", "disc", "bulge", "gas", "new_stars")  # `Snapshot.component` counts through these
STARS = (1, 2, 4)  # components that shine
GRAVITY = 4.30091e-6  # kpc (km/s)^2 / Msun
KPC_PER_KM_S_GYR = 1.022712165  # kpc that something moves in 1 Gyr at 1 km/s
# Units of our files, those of GADGET: kpc, km/s and 1e10 Msun, and from them 0.978 Gyr.
CM_PER_KPC, CM_S_PER_KM_S, G_PER_MSUN = 3.0856775814913673e21, 1e5, 1.98840987e33
UNIT_MASS_MSUN = 1e10
UNITS = {
    "UnitLength_in_cm": CM_PER_KPC,
    "UnitMass_in_g": UNIT_MASS_MSUN * G_PER_MSUN,
    "UnitVelocity_in_cm_per_s": CM_S_PER_KM_S,
    "UnitTime_in_s": CM_PER_KPC / CM_S_PER_KM_S,
}


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
    internal_energy : (n,) float32, (km/s)^2
        Of a unit of mass of gas; NaN where it is not known or not needed, as for isothermal gas.
    about : mapping
        Whatever else is known of the run: merger, mass ratio, seed ...
    """

    position: np.ndarray
    velocity: np.ndarray
    mass: np.ndarray
    component: np.ndarray
    galaxy: np.ndarray
    time_gyr: float = 0.0
    formed_gyr: np.ndarray = None  # type: ignore[assignment]  # NaN where not given, see __post_init__
    internal_energy: np.ndarray = None  # type: ignore[assignment]  # the same
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.mass)
        for name in ("formed_gyr", "internal_energy"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(n, np.nan, np.float32))
        shapes: dict[str, tuple[int, ...]] = {"position": (n, 3), "velocity": (n, 3)}
        shapes |= dict.fromkeys(("component", "galaxy", "formed_gyr", "internal_energy"), (n,))
        for name, shape in shapes.items():
            if np.shape(getattr(self, name)) != shape:
                raise UsageError(
                    f"a Snapshot of {n} particles needs {name} {shape}; received {np.shape(getattr(self, name))}."
                )

    def __len__(self) -> int:
        return len(self.mass)

    def __repr__(self) -> str:
        numbers = np.bincount(np.asarray(self.component, int), minlength=len(COMPONENTS))
        parts = (f"{n:,} {name}" for name, n in zip(COMPONENTS, numbers, strict=True) if n)
        return f"<Snapshot at {self.time_gyr:.3g} Gyr: {', '.join(parts) or 'no particles'}>"

    @property
    def stars(self) -> np.ndarray:
        """Boolean (n,): particles that shine."""
        return np.isin(self.component, STARS)
