"""The settings of a suite of mergers, and the list of its mergers."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.mergers.encounters import EncounterSettings, encounter_orbit
from emeraldcut.mergers.orbits import (
    OrbitSettings,
    attracting_mass_msun,
    draw_orbits,
    lattice_orbits,
    place,
    thesis_orbits,
)
from emeraldcut.mergers.progenitors import PROGENITORS, ProgenitorSettings, make_progenitor, scaled, total_mass_msun
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.settings import build, items, read_toml, setting

DIAGNOSTICS = "diagnostics.ecsv"  # of each task
SUITE = "suite.ecsv"  # a row for each task
_SNAPSHOT = re.compile(r"snapshot_\d+\.hdf5")  # and not what others leave beside it, as yt snapshot_0002.hsml.hdf5
SHIPPED = Path(__file__).parent / "suites"  # TOML files
LATTICE = 16  # orbits of `lattice_orbits`


@dataclass(frozen=True, kw_only=True)
class SuiteSettings(EncounterSettings):
    """Which galaxies merge, on which orbits, and for how long. Every combination of the lists is run.

    The settings of an encounter count with the grid `encounter` alone.
    """

    progenitor: str = setting(
        "dwarf",
        f"the heavier galaxy: {', '.join(PROGENITORS)}, a TOML file of its settings, or settings of the dwarf that "
        "differ, such as disc_mass_msun=1e9, disc_scale_kpc=0.7",
        reads=True,
    )
    companion: str = setting(
        "",
        "the other galaxy of an encounter, written as the progenitor; if not given, the progenitor once more",
        reads=True,
    )
    mass_ratios: tuple[float, ...] = setting(
        (1.0, 2.0, 3.0, 4.0), "mass of the heavier galaxy over that of the lighter one", at_least=1, not_empty=True
    )
    gas_fractions: tuple[float, ...] = setting(
        (), "gas fractions of the discs; if not given, that of the progenitor", at_least=0, below=1
    )
    orbits: int = setting(4, "orbits of each combination, with isotropic spin directions", at_least=1, at_most=10_000)
    pericentre: float = setting(2.0, "pericentre in scale lengths of the heavier disc", above=0)
    eccentricity: float = setting(1.0, "eccentricity of the orbit; 1 is parabolic, less is bound", at_least=0)
    separation: float = setting(
        30.0, "distance of the galaxies at the start, in scale lengths of the heavier disc", above=0
    )
    grid: str = setting(
        "isotropic",
        "isotropic spins; the 16 pairs of spins of Barnes and of Naab & Burkert (lattice); the orbits of the thesis; "
        "one encounter, or the heavier galaxy alone, of either of which orbits is the number of runs with particles of "
        "their own",
        choices=("isotropic", "lattice", "thesis", "encounter", "alone"),
    )
    grid_step: int = setting(
        1, "run every Nth orbit of the lattice, or of the distinct orbits of the thesis", at_least=1, at_most=1_000_000
    )
    duration_gyr: float = setting(3.0, "simulated time in Gyr", above=0)
    halo_particles: int | None = setting(
        None,
        "halo particles of the heavier galaxy; if not given, those of the progenitor",
        at_least=2,
        at_most=100_000_000,
    )
    star_particles: int | None = setting(
        None,
        "star particles of the heavier galaxy; if not given, those of the progenitor",
        at_least=2,
        at_most=100_000_000,
    )
    gas_particles: int | None = setting(
        None,
        "gas particles of the heavier galaxy; if not given, those of the progenitor",
        at_least=2,
        at_most=100_000_000,
    )
    control: bool = setting(True, "also run isolated control galaxies: the heavier one, once for each gas fraction")

    def check(self) -> None:
        """UsageError where a merger would be run twice, and what `EncounterSettings` cannot be."""
        super().check()
        for name in ("mass_ratios", "gas_fractions"):
            values = getattr(self, name)
            if twice := sorted({value for value in values if values.count(value) > 1}):
                raise UsageError(f"setting '{name}' must name each value once; received {twice[0]} twice.")

    @property
    def heavier(self) -> ProgenitorSettings:
        """The heavier galaxy, with the suite's particle numbers."""
        galaxy = progenitor_of(self.progenitor)
        numbers = {name: getattr(self, name) for name in ("halo_particles", "star_particles", "gas_particles")}
        return replace(galaxy, **{name: number for name, number in numbers.items() if number is not None})


def progenitor_of(text: str) -> ProgenitorSettings:
    """The galaxy that a setting names: a preset, a TOML file, or settings of the dwarf that differ.

    Raises UsageError for a text that is none of these.
    """
    if text in PROGENITORS:
        return PROGENITORS[text]
    if text.endswith(".toml"):
        return cast(ProgenitorSettings, build(ProgenitorSettings, read_toml(text)))
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(sign for _, sign, _ in pairs):
        raise UsageError(
            f"progenitor must be one of {', '.join(PROGENITORS)}, a .toml file, or NAME=VALUE, ...; received '{text}'."
        )
    values = {name.strip(): value.strip() for name, _, value in pairs}
    return cast(ProgenitorSettings, build(ProgenitorSettings, values))


def progenitor_text(galaxy: ProgenitorSettings) -> str:
    """A galaxy as a setting that `progenitor_of` understands: what differs from the dwarf."""
    return (
        ", ".join(
            f"{item.name}={getattr(galaxy, item.name)!r}".replace("'", "")
            for item in items(ProgenitorSettings)
            if getattr(galaxy, item.name) != item.default
        )
        or "dwarf"
    )


@dataclass(frozen=True)
class Task:
    """One run of a suite: a merger, or the heavier galaxy alone (`mass_ratio` is None)."""

    name: str
    number: int
    mass_ratio: float | None
    gas_fraction: float
    orbit: int = 0


def shipped_suites() -> list[str]:
    """Names of the suites that come with the program."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def suite_file(name: str) -> Path:
    """The TOML file of a suite: the one that ships under this name, or the file of this name.

    Raises ValueError if there is neither.
    """
    if name in shipped_suites():
        return SHIPPED / f"{name}.toml"
    if not Path(name).is_file():
        raise UsageError(f"no preset or TOML file named '{name}'; presets are {', '.join(shipped_suites())}.")
    return Path(name)


def plan(settings: SuiteSettings) -> list[Task]:
    """All tasks of a suite, controls first. Of the thesis's 819 orbits only the distinct ones are run."""
    if settings.grid == "thesis":
        orbits = [k for k, orbit in enumerate(thesis_orbits(1.0)) if orbit.about["distinct"]][:: settings.grid_step]
    elif settings.grid == "lattice":
        orbits = list(range(LATTICE))[:: settings.grid_step]
    else:
        orbits = list(range(settings.orbits))
    fractions = settings.gas_fractions or (settings.heavier.gas_fraction,)
    number = count()
    if settings.grid == "alone":
        return [
            Task(f"alone-gas{_digits(gas)}-run{orbit:03d}", next(number), None, gas, orbit)
            for gas in fractions
            for orbit in orbits
        ]
    controls = [Task(f"control-gas{_digits(gas)}", next(number), None, gas) for gas in fractions if settings.control]
    if settings.grid == "encounter":
        host, other = settings.heavier, progenitor_of(settings.companion or settings.progenitor)
        ratio = total_mass_msun(host) / total_mass_msun(other)
        return controls + [
            Task(f"encounter-gas{_digits(gas)}-run{orbit:03d}", next(number), ratio, gas, orbit)
            for gas in fractions
            for orbit in orbits
        ]
    return controls + [
        Task(f"ratio{_digits(ratio)}-gas{_digits(gas)}-orbit{orbit:03d}", next(number), ratio, gas, orbit)
        for ratio in settings.mass_ratios
        for gas in fractions
        for orbit in orbits
    ]


def _digits(value: float) -> str:
    """A number with as many digits as tell it from all others: 1, 0.1, 1.0000001."""
    return repr(float(value)).removesuffix(".0")


def begin(task: Task, settings: SuiteSettings, seed: int, softening_kpc: tuple[float, ...] | None = None) -> Snapshot:
    """The state at the beginning of a task, from the suite's seed and the task alone.

    Both galaxies are made for one softening, the recommended one of the heavier if none is given. On our orbits they
    have the energy of a Kepler orbit of this pericentre and eccentricity, see `attracting_mass_msun`.
    """
    heavier = replace(settings.heavier, gas_fraction=task.gas_fraction)
    first_seed, second_seed = (int(k) for k in np.random.default_rng([seed, task.number]).integers(0, 2**31, 2))
    galaxy = make_progenitor(heavier, seed=first_seed, softening_kpc=softening_kpc)
    softening_kpc = galaxy.about["softening_kpc"]
    about: dict[str, Any] = {"merger": task.name, "seed": seed, "gas_fraction": task.gas_fraction}
    if task.mass_ratio is None:
        return replace(galaxy, about=dict(galaxy.about) | about)
    about |= {"mass_ratio": task.mass_ratio, "orbit_number": task.orbit, "sound_speed_km_s": heavier.sound_speed_km_s}
    if settings.grid == "encounter":
        lighter = progenitor_of(settings.companion or settings.progenitor)
    else:
        lighter = scaled(heavier, 1 / task.mass_ratio)
    other = make_progenitor(lighter, seed=second_seed, softening_kpc=softening_kpc)
    scale = heavier.disc_scale_kpc
    if settings.grid == "thesis":
        orbit = thesis_orbits(settings.separation * scale)[task.orbit]
    elif settings.grid == "encounter":
        orbit = encounter_orbit(heavier, lighter, settings)
    else:
        path = OrbitSettings(
            pericentre_kpc=settings.pericentre * scale,
            eccentricity=settings.eccentricity,
            separation_kpc=settings.separation * scale,
        )
        mass = attracting_mass_msun(galaxy, other, path.separation_kpc)
        lattice = settings.grid == "lattice"  # either way the same spins at every ratio
        orbits = lattice_orbits(path, mass) if lattice else draw_orbits(path, mass, task.orbit + 1, seed=seed)
        orbit = orbits[task.orbit]
    both = place(galaxy, other, orbit)
    return replace(both, about=dict(both.about) | about | {"softening_kpc": softening_kpc})


def evolution_seed(seed: int, task: Task) -> int:
    """The seed of star formation in one task of a suite: other stars form in every merger."""
    return int(np.random.default_rng([seed, task.number]).integers(2**31))


def snapshots_of(folder: str | Path) -> list[Path]:
    """The snapshots of one task, in the order of time."""
    return sorted(path for path in Path(folder).glob("snapshot_*.hdf5") if _SNAPSHOT.fullmatch(path.name))
