"""The settings of a suite of mergers, and the list of its mergers."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.mergers.orbits import (
    OrbitSettings,
    attracting_mass_msun,
    draw_orbits,
    lattice_orbits,
    place,
    thesis_orbits,
)
from emeraldcut.mergers.progenitors import PROGENITORS, ProgenitorSettings, make_progenitor, scaled
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.settings import build, setting

DIAGNOSTICS = "diagnostics.ecsv"  # of each task
SUITE = "suite.ecsv"  # a row for each task
_SNAPSHOT = re.compile(r"snapshot_\d+\.hdf5")  # and not what others leave beside it, as yt snapshot_0002.hsml.hdf5
SHIPPED = Path(__file__).parent / "suites"  # TOML files
LATTICE = 16  # orbits of `lattice_orbits`


@dataclass(frozen=True)
class SuiteSettings:
    """Which galaxies merge, on which orbits, and for how long. Every combination of the lists is run."""

    progenitor: str = setting("dwarf", f"the heavier galaxy: {', '.join(PROGENITORS)}, or a TOML file of its settings")
    mass_ratios: tuple[float, ...] = setting((1.0, 2.0, 3.0, 4.0), "mass of the heavier galaxy over that of the other")
    gas_fractions: tuple[float, ...] = setting((), "gas in the discs; empty: as the progenitor has it")
    orbits: int = setting(4, "orbits of each combination, with spins in directions drawn isotropically")
    pericentre: float = setting(2.0, "pericentre in scale lengths of the heavier disc")
    eccentricity: float = setting(1.0, "of the orbit: 1 is parabolic, less is bound")
    separation: float = setting(30.0, "distance of the galaxies at the start, in scale lengths of the heavier disc")
    grid: str = setting(
        "isotropic",
        "orbits: with spins in any direction; with the 16 pairs of spins of Barnes and of Naab & Burkert; or the "
        "thesis's grid",
        choices=("isotropic", "lattice", "thesis"),
    )
    grid_step: int = setting(1, "of the lattice, or of the thesis's distinct orbits, only every so-manyth is run")
    duration_gyr: float = setting(3.0, "time that is simulated")
    halo_particles: int | None = setting(None, "halo particles of the heavier galaxy; as the progenitor has them")
    star_particles: int | None = setting(None, "star particles of the heavier galaxy; as the progenitor has them")
    gas_particles: int | None = setting(None, "gas particles of the heavier galaxy; as the progenitor has them")
    control: bool = setting(True, "also the heavier galaxy alone, with the same particles, once for each gas fraction")

    def __post_init__(self) -> None:
        for name in ("mass_ratios", "gas_fractions"):
            values = getattr(self, name)
            if any(not np.isfinite(v) for v in values) or (name == "mass_ratios" and not values):
                raise ValueError(f"{name} expects one or more numbers; received {values}.")
        if min(self.mass_ratios) < 1:
            raise ValueError(f"mass_ratios are heavier over lighter, 1 or more; received {self.mass_ratios}.")
        if self.gas_fractions and not 0 <= min(self.gas_fractions) <= max(self.gas_fractions) < 1:
            raise ValueError(f"gas_fractions go from 0 to below 1; received {self.gas_fractions}.")
        if min(self.orbits, self.grid_step) < 1 or not 0 < self.duration_gyr < np.inf:
            raise ValueError(
                "need orbits and grid_step of 1 or more and duration_gyr > 0; "
                f"received {self.orbits}, {self.grid_step} and {self.duration_gyr}."
            )

    @property
    def heavier(self) -> ProgenitorSettings:
        """The heavier galaxy, with the suite's particle numbers."""
        if self.progenitor in PROGENITORS:
            galaxy = PROGENITORS[self.progenitor]
        elif self.progenitor.endswith(".toml"):
            try:
                galaxy = build(ProgenitorSettings, tomllib.loads(Path(self.progenitor).read_text()))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise ValueError(f"the progenitor's file '{self.progenitor}' cannot be read: {error}.") from None
        else:
            raise ValueError(
                f"progenitor must be one of {', '.join(PROGENITORS)}, or a .toml file; received '{self.progenitor}'."
            )
        numbers = {name: getattr(self, name) for name in ("halo_particles", "star_particles", "gas_particles")}
        return replace(galaxy, **{name: number for name, number in numbers.items() if number is not None})


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
        raise ValueError(f"there is no suite '{name}'; expected a TOML file, or one of {', '.join(shipped_suites())}.")
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
    named = [(f"control-gas{gas:g}", None, gas, 0) for gas in fractions if settings.control]
    named += [
        (f"ratio{ratio:g}-gas{gas:g}-orbit{orbit:03d}", ratio, gas, orbit)
        for ratio in settings.mass_ratios
        for gas in fractions
        for orbit in orbits
    ]
    return [Task(name, number, *rest) for number, (name, *rest) in enumerate(named)]


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
    lighter = scaled(heavier, 1 / task.mass_ratio)
    other = make_progenitor(lighter, seed=second_seed, softening_kpc=softening_kpc)
    scale = heavier.disc_scale_kpc
    if settings.grid == "thesis":
        orbit = thesis_orbits(settings.separation * scale)[task.orbit]
    else:
        path = OrbitSettings(settings.pericentre * scale, settings.eccentricity, settings.separation * scale)
        mass = attracting_mass_msun(galaxy, other, path.separation_kpc)
        lattice = settings.grid == "lattice"  # either way the same spins at every ratio
        orbits = lattice_orbits(path, mass) if lattice else draw_orbits(path, mass, task.orbit + 1, seed=seed)
        orbit = orbits[task.orbit]
    both = place(galaxy, other, orbit)
    return replace(both, about=dict(both.about) | about | {"softening_kpc": softening_kpc})


def snapshots_of(folder: str | Path) -> list[Path]:
    """The snapshots of one task, in the order of time."""
    return sorted(path for path in Path(folder).glob("snapshot_*.hdf5") if _SNAPSHOT.fullmatch(path.name))
