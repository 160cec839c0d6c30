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
        None,
        f"Plummer softening length in kpc of {', '.join(COMPONENTS)}; if not given, as the snapshot states",
        above=0,
        at_most=1_000,
    )
    engine: str = setting(
        "tree",
        "gravity by a tree, by direct summation, or by direct summation on a GPU (jax); or the external code that "
        "integrates the particles",
        choices=(*ENGINES, *PROGRAMS),
    )
    opening: float = setting(
        OPENING,
        "opening angle of the tree: largest size over distance of cells that are not opened",
        above=0,
        at_most=1,
    )
    accuracy: float = setting(
        0.3, "time step of a particle in units of sqrt(softening / acceleration)", at_least=1e-4, at_most=100
    )
    output_gyr: float = setting(
        0.05, "time between snapshots in Gyr; they are at its multiples", at_least=1e-6, at_most=1_000
    )
    gas: str = setting(
        "isothermal", "equation of state of gas; adiabatic is an ideal gas with gamma 5/3", choices=EQUATIONS
    )
    sound_speed_km_s: float | None = setting(
        None, "sound speed of isothermal gas; if not given, as the snapshot states", at_least=0.001, at_most=100_000
    )
    neighbours: float = setting(64.0, "SPH neighbours: gas particles within the kernel", at_least=20, at_most=1000)
    viscosity: float = setting(1.0, "strength alpha of the artificial viscosity", at_least=0, at_most=100)
    courant: float = setting(
        0.3, "Courant factor of gas: time step in units of kernel radius over signal speed", at_least=1e-4, at_most=10
    )
    star_efficiency: float = setting(
        0.02, "fraction of the gas that forms stars per free-fall time; 0: no star formation", at_least=0, at_most=1e6
    )
    star_threshold: float = setting(
        3e6, "gas density in Msun/kpc^3 below which no stars form", at_least=0, at_most=1e18
    )
    tide_mass_msun: float = setting(
        0.0, "mass of an external Hernquist sphere whose tide acts on all particles; 0: none", at_least=0, at_most=1e18
    )
    tide_scale_kpc: float = setting(30.0, "scale length of that sphere", at_least=0.001, at_most=100_000)
    tide_start_kpc: tuple[float, ...] = setting(
        (0.0, 0.0, 0.0), "centre of that sphere at the time 0: x, y, z", at_least=-1_000_000, at_most=1_000_000
    )
    tide_velocity_km_s: tuple[float, ...] = setting(
        (0.0, 0.0, 0.0), "velocity of that sphere, which nothing changes: x, y, z", at_least=-100_000, at_most=100_000
    )
