"""How particles are moved: the settings, and the names of all engines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emeraldcut.nbody.gas import EQUATIONS
from emeraldcut.nbody.gravity import ENGINES, OPENING
from emeraldcut.nbody.snapshot import COMPONENTS
from emeraldcut.settings import setting

PROGRAMS = {  # name of the engine, as `EvolveSettings.engine` has it: module that knows how to talk to it
    "amuse:fi": "emeraldcut.nbody.engines.amuse_codes",
    "amuse:gadget2": "emeraldcut.nbody.engines.amuse_codes",
    "gadget2": "emeraldcut.nbody.engines.gadget",
    "gadget4": "emeraldcut.nbody.engines.gadget",
    "swift": "emeraldcut.nbody.engines.swift",
}


@dataclass(frozen=True, kw_only=True)
class EvolveSettings:
    """How particles are moved."""

    softening_kpc: tuple[float, ...] | None = setting(
        None, f"Plummer softening length in kpc of {', '.join(COMPONENTS)}; none: as the snapshot states"
    )
    engine: str = setting(
        "tree",
        "how gravity is summed (by a tree, over all pairs, or over all pairs on a GPU), or the program that moves the "
        "particles",
        choices=(*ENGINES, *PROGRAMS),
    )
    opening: float = setting(OPENING, "largest size over distance of cells that attract as a whole")
    accuracy: float = setting(0.3, "steps are at most this times sqrt(softening / acceleration) of every particle")
    output_gyr: float = setting(0.05, "time between outputs in Gyr; they are at its multiples")
    gas: str = setting("isothermal", "of one temperature, or an ideal gas with gamma 5/3", choices=EQUATIONS)
    sound_speed_km_s: float | None = setting(None, "sound speed of isothermal gas; none: as the snapshot states")
    neighbours: float = setting(64.0, "gas particles under the kernel that smooths gas")
    viscosity: float = setting(1.0, "strength alpha of the viscosity by which gas is shocked")
    courant: float = setting(0.3, "steps of gas are at most this times the kernel's radius over the fastest signal")
    star_efficiency: float = setting(0.02, "part of the gas that becomes stars in a free-fall time; 0: no stars form")
    star_threshold: float = setting(3e6, "density of gas in Msun/kpc^3 below which no stars form")

    def __post_init__(self) -> None:
        if not 0 < self.opening <= 1:
            raise ValueError(f"opening expects a number above 0 and up to 1; received {self.opening}.")
        for name in ("accuracy", "output_gyr", "courant"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} expects a positive number; received {getattr(self, name)}.")
        for name in ("viscosity", "star_efficiency", "star_threshold"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} expects 0 or a positive number; received {getattr(self, name)}.")
        if not 20 <= self.neighbours <= 1000:
            raise ValueError(f"neighbours expects a number from 20 to 1000; received {self.neighbours}.")
