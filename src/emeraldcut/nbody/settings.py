"""How particles are moved: the settings, and the names of all engines."""

from __future__ import annotations

from dataclasses import dataclass

from emeraldcut.nbody.gas import EQUATIONS
from emeraldcut.nbody.gravity import ENGINES, OPENING
from emeraldcut.nbody.snapshot import COMPONENTS
from emeraldcut.settings import Settings, setting

PROGRAMS = {  # name of the engine, as `EvolveSettings.engine` has it: module that knows how to talk to it
    "amuse:fi": "emeraldcut.nbody.engines.amuse_codes",
    "amuse:gadget2": "emeraldcut.nbody.engines.amuse_codes",
    "gadget2": "emeraldcut.nbody.engines.gadget",
    "gadget4": "emeraldcut.nbody.engines.gadget",
    "swift": "emeraldcut.nbody.engines.swift",
}


@dataclass(frozen=True, kw_only=True)
class EvolveSettings(Settings):
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
    opening: float = setting(OPENING, "largest size over distance of cells that attract as a whole", above=0, at_most=1)
    accuracy: float = setting(
        0.3, "steps are at most this times sqrt(softening / acceleration) of every particle", above=0
    )
    output_gyr: float = setting(0.05, "time between outputs in Gyr; they are at its multiples", above=0)
    gas: str = setting("isothermal", "of one temperature, or an ideal gas with gamma 5/3", choices=EQUATIONS)
    sound_speed_km_s: float | None = setting(
        None, "sound speed of isothermal gas; none: as the snapshot states", above=0
    )
    neighbours: float = setting(64.0, "gas particles under the kernel that smooths gas", at_least=20, at_most=1000)
    viscosity: float = setting(1.0, "strength alpha of the viscosity by which gas is shocked", at_least=0)
    courant: float = setting(
        0.3, "steps of gas are at most this times the kernel's radius over the fastest signal", above=0
    )
    star_efficiency: float = setting(
        0.02, "part of the gas that becomes stars in a free-fall time; 0: no stars form", at_least=0
    )
    star_threshold: float = setting(3e6, "density of gas in Msun/kpc^3 below which no stars form", at_least=0)
