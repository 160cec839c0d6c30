"""Suites: a plan of mergers, each one task in a folder of its own that goes on where it was stopped."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.imageset import ImageSet
from emeraldcut.data.run import MANIFEST, Run, begin_or_go_on, read_manifest
from emeraldcut.data.snapshot import COMPONENTS, Snapshot, read_snapshot, write_snapshot
from emeraldcut.data.streaming import map_chunks
from emeraldcut.data.tables import read_table, table_from_rows, write_table
from emeraldcut.mergers import engines
from emeraldcut.mergers.camera import ObserveSettings, camera_example, observe
from emeraldcut.mergers.engines.program import NotYetError, ProgramSettings, evolve_elsewhere
from emeraldcut.mergers.leapfrog import EvolveSettings, evolve, examples
from emeraldcut.mergers.orbits import (
    OrbitSettings,
    attracting_mass_msun,
    draw_orbits,
    lattice_orbits,
    place,
    thesis_orbits,
)
from emeraldcut.mergers.outline import outline_example
from emeraldcut.mergers.progenitors import PROGENITORS, ProgenitorSettings, make_progenitor, scaled
from emeraldcut.mergers.remnant import look_at
from emeraldcut.mergers.stars import FEWEST, centre_of
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.settings import build, setting

DIAGNOSTICS, SUITE = "diagnostics.ecsv", "suite.ecsv"
BEGUN = "suite.json"  # the settings that began an unfinished suite
PROGRAM = "program"  # folder, in that of a task, for the files of an engine that is a program of its own
SHIPPED = Path(__file__).parent / "suites"  # TOML files
THICKENING = 1.3  # of an isolated disc before the encounter, above which a suite is not to be trusted
CONTROL_VIEWS, CONTROL_STACK = 100, 3  # of each control, at its beginning and its end; snapshots that are seen together
WAITS = "waits"  # key in the place of a row: what somebody else's program has not done yet
VECTORS = ("momentum", "angular_momentum")  # of diagnostics, three columns each
LATTICE = 16  # orbits of `lattice_orbits`
MERGED = 0.5  # centres that stay within so many scale lengths of the heavier disc have merged


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
    return sorted(Path(folder).glob("snapshot_*.hdf5"))


def run_task(
    task: Task,
    folder: Path,
    settings: SuiteSettings,
    evolve_settings: EvolveSettings,
    program: ProgramSettings,
    seed: int,
) -> dict[str, Any]:
    """Runs one task to its end, from its last snapshot if there is one; returns its row of `suite.ecsv`.

    Each snapshot holds its diagnostics in `about`, so that a run that was killed lacks nothing. Raises NotYetError if
    somebody else runs it.
    """
    if (folder / MANIFEST).exists():
        return read_manifest(folder)["row"]
    run = Run.start(folder, "simulate", (settings, evolve_settings), seed)
    there = snapshots_of(folder)
    rows = [read_snapshot(path).about["diagnostics"] for path in there[:-1]]
    snapshot = read_snapshot(there[-1]) if there else begin(task, settings, seed, evolve_settings.softening_kpc)
    base = snapshot.about["diagnostics"] if there else None
    own = int(np.random.default_rng([seed, task.number]).integers(2**31))  # other stars form in every merger
    if base is not None and not snapshot.time_gyr < settings.duration_gyr:
        rows.append(base)
        states: Iterator = iter(())
    elif evolve_settings.engine in engines.ENGINES:
        until = {"until_gyr": settings.duration_gyr, "folder": folder / PROGRAM, "seed": own}
        states = evolve_elsewhere(snapshot, evolve_settings, program, **until)
    else:
        states = evolve(snapshot, evolve_settings, until_gyr=settings.duration_gyr, seed=own)
    seconds = {"force_seconds": 0.0, "other_seconds": 0.0}
    for k, (state, row) in enumerate(states, start=max(len(there) - 1, 0)):
        seconds = {name: row.pop(name) for name in seconds}
        for name in VECTORS:
            row |= dict(zip((f"{name}_{axis}" for axis in "xyz"), row.pop(name).tolist(), strict=True))
        row["steps"] += base["steps"] if base else 0
        row |= _disc_of(state)
        rows.append(row)
        path = folder / f"snapshot_{k:04d}.hdf5"
        if not path.exists():
            write_snapshot(replace(state, about=dict(state.about) | {"diagnostics": row}), path)
    table = Table(rows=rows)
    write_table(table, folder / DIAGNOSTICS, overwrite=True)
    first = read_snapshot(snapshots_of(folder)[0])
    summary = _summary(task, table, first, settings.heavier.disc_scale_kpc)
    run.finish(row=summary, **{name: round(value, 2) for name, value in seconds.items()})
    return summary


def _disc_of(snapshot: Snapshot) -> dict[str, float]:
    """How thick the disc of the first galaxy is: median height of its stars, about their own plane, within twice their
    median radius; and that radius, in kpc."""
    disc = (snapshot.component == COMPONENTS.index("disc")) & (snapshot.galaxy == 0)
    position, velocity = (np.asarray(v, float)[disc] for v in (snapshot.position, snapshot.velocity))
    mass = np.asarray(snapshot.mass, float)[disc]
    position = position - centre_of(position, mass)
    near = np.linalg.norm(position, axis=1)
    near = near < 2 * np.median(near)
    moving = velocity - np.average(velocity[near], axis=0, weights=mass[near])
    axis = np.sum(np.cross(position[near], moving[near]), axis=0)
    axis /= np.linalg.norm(axis)
    height = position @ axis
    radius = np.sqrt(np.maximum(np.sum(position**2, axis=1) - height**2, 0))
    inside = radius < 2 * np.median(radius)
    return {"disc_height_kpc": float(np.median(np.abs(height[inside]))), "disc_radius_kpc": float(np.median(radius))}


def vectors(rows: Table, name: str) -> np.ndarray:
    """One of `VECTORS` (n, 3) from a table of diagnostics."""
    return np.stack([np.asarray(rows[f"{name}_{axis}"], float) for axis in "xyz"], axis=1)


def drifts(rows: Table, mass_msun: float) -> dict[str, np.ndarray]:
    """How far what is conserved has changed since the first row: `energy` and `angular_momentum` over what they were,
    `momentum` over sqrt(2 K M), that of all the mass M at the root mean square speed of its kinetic energy K."""
    energy = np.asarray(rows["energy"], float)
    changes = {name: np.linalg.norm(vectors(rows, name) - vectors(rows, name)[0], axis=1) for name in VECTORS}
    return {
        "energy": np.abs(energy / energy[0] - 1),
        "momentum": changes["momentum"] / np.sqrt(2 * float(rows["kinetic"][0]) * mass_msun),
        "angular_momentum": changes["angular_momentum"] / np.linalg.norm(vectors(rows, "angular_momentum")[0]),
    }


def _spacing(snapshot: Snapshot, chosen: np.ndarray) -> float:
    """Mean distance in kpc of neighbours: the cube root of the volume per particle, in the sphere that holds half of
    the chosen particles of the first galaxy."""
    position = np.asarray(snapshot.position, float)[chosen & (snapshot.galaxy == 0)]
    if len(position) == 0:
        return float("nan")
    radius = np.median(np.linalg.norm(position - np.median(position, axis=0), axis=1))
    return float(radius * np.cbrt(4 / 3 * np.pi / (len(position) / 2)))


def _summary(task: Task, rows: Table, first: Snapshot, scale_kpc: float) -> dict[str, Any]:
    """What a task's diagnostics come to; `first` is its state at the beginning."""
    apart = np.asarray(rows["separation_kpc"], float) > MERGED * scale_kpc
    merged = None
    if task.mass_ratio is not None and not apart[-1]:
        merged = float(rows["time_gyr"][np.flatnonzero(apart)[-1] + 1 if apart.any() else 0])
    changes = drifts(rows, float(first.mass.sum(dtype=float)))
    softening = dict(zip(COMPONENTS, first.about["softening_kpc"], strict=True))
    return {
        "merger": task.name,
        "mass_ratio": task.mass_ratio,
        "gas_fraction": task.gas_fraction,
        "orbit": task.orbit,
        "particles": len(first),
        "time_gyr": float(rows["time_gyr"][-1]),
        "merged_gyr": merged,
        **{f"{name}_drift": float(np.max(change)) for name, change in changes.items()},
        "new_stars_mass": float(rows["new_stars_mass"][-1]),
        "lost": int(rows["lost"][-1]),
        "steps": int(rows["steps"][-1]),
        "disc_softening_kpc": softening["disc"],
        "star_spacing_kpc": _spacing(first, first.stars),
        "halo_softening_kpc": softening["halo"],
        "halo_spacing_kpc": _spacing(first, first.component == COMPONENTS.index("halo")),
    }


def simulate(
    folder: str | Path,
    settings: SuiteSettings = SuiteSettings(),
    evolve_settings: EvolveSettings = EvolveSettings(),
    program: ProgramSettings = ProgramSettings(),
    *,
    seed: int = 0,
    jobs: int = 1,
    overwrite: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Table:
    """Runs a suite: one folder per merger with its snapshots, diagnostics and manifest, and `suite.ecsv` for all.

    A suite that was stopped goes on from the last snapshot of every merger, and ends with the same particles as if it
    had not been stopped; the settings must be those that began it.

    Parameters
    ----------
    folder : where the run is written.
    settings, evolve_settings : the plan, and how particles are moved.
    program : how an engine that is a program of its own is started; it may change when a suite goes on.
    seed : of everything that is drawn: particles, spins.
    jobs : mergers at a time, each in a process of its own.
    progress : called with 1 for each merger that is done.

    Returns
    -------
    Table
        One row per merger and control: `merger`, `mass_ratio` (masked for a control), `gas_fraction`, `orbit`,
        `particles`, `time_gyr`, `merged_gyr` (since when the centres have stayed together; masked if they do not),
        `energy_drift`, `momentum_drift`, `angular_momentum_drift` (largest of `drifts`), `new_stars_mass` (Msun),
        `lost` (particles that are not bound), `steps` (0 where another program made them); `disc_softening_kpc` and
        `halo_softening_kpc` against `star_spacing_kpc` and `halo_spacing_kpc`, the mean distance of neighbours in the
        half-mass sphere of the first galaxy's stars, and halo, at the start. Its `meta` holds `thickening`: for each
        control how many times as thick as at the start its disc is when the others meet; and `control_a4`: of each
        control the a4/a that its views have without any merger, see `_control_a4`.

    Raises
    ------
    ValueError
        Settings that cannot be, or that are not those of the unfinished run in the folder.
    FileExistsError
        The folder holds a finished run and `overwrite` is not set.
    RuntimeError
        A program fails, or with `program.script` there are mergers that are not finished; the sentence names them.
    """
    folder = Path(folder)
    tasks = plan(settings)
    facts = {"settings": asdict(settings), "evolve": asdict(evolve_settings), "seed": seed}
    if not overwrite and not (folder / MANIFEST).exists():
        begin_or_go_on(folder / BEGUN, facts, "a suite")
    run = Run.start(folder, "simulate", (settings, evolve_settings, program), seed, overwrite=overwrite)
    if overwrite:  # not before `start` has made sure that no other process writes here
        for path in folder.glob(f"*/{PROGRAM}"):
            shutil.rmtree(path)
        for name in (BEGUN, f"*/{MANIFEST}", f"*/{DIAGNOSTICS}", "*/snapshot_*.hdf5"):
            for path in folder.glob(name):
                path.unlink()
        begin_or_go_on(folder / BEGUN, facts, "a suite")
    gas = any(task.gas_fraction > 0 for task in tasks)
    compile_ahead("simulate", *examples(evolve_settings, gas), camera_example, outline_example)
    how = {"settings": settings, "evolve_settings": evolve_settings, "program": program, "seed": seed}
    stage = partial(_run_tasks, folder=folder, **how)
    rows = [row for part in map_chunks(stage, [[task] for task in tasks], jobs=jobs, progress=progress) for row in part]
    waiting = [row[WAITS] for row in rows if WAITS in row]
    if waiting:
        raise RuntimeError(
            f"{len(waiting)} of {len(tasks)} mergers are not finished: {waiting[0]}{', ...' if waiting[1:] else ''}; "
            "give the same command again when their scripts have run."
        )
    table = table_from_rows(rows, unknown=np.nan)
    controls = [task.name for task in tasks if task.mass_ratio is None]
    facts = {"thickening": _thickening(folder, tasks, settings), "control_a4": _control_a4(folder, controls)}
    table.meta |= facts
    write_table(table, folder / SUITE, overwrite=True)
    run.finish(mergers=len(tasks), disc_scale_kpc=settings.heavier.disc_scale_kpc, **facts)
    return table


def _run_tasks(tasks: list[Task], folder: Path, **rest: Any) -> list[dict[str, Any]]:
    rows = []
    for task in tasks:
        try:
            rows.append(run_task(task, folder / task.name, **rest))
        except NotYetError as error:
            rows.append({WAITS: str(error)})
    return rows


def _thickening(folder: Path, tasks: list[Task], settings: SuiteSettings) -> dict[str, float]:
    """For each control the thickness of its disc when the galaxies would meet, as points, over that at the start."""
    meeting = 1.0
    for task in tasks:
        if task.mass_ratio is not None and settings.grid != "thesis":
            orbit = read_snapshot(snapshots_of(folder / task.name)[0]).about["orbit"]
            meeting = orbit["about"]["time_to_pericentre_gyr"]
            break
    result = {}
    for task in tasks:
        if task.mass_ratio is None:
            rows = read_table(folder / task.name / DIAGNOSTICS)
            height = np.interp(meeting, np.asarray(rows["time_gyr"]), np.asarray(rows["disc_height_kpc"]))
            result[task.name] = float(height / rows["disc_height_kpc"][0])
    return result


def _control_a4(folder: Path, controls: list[str]) -> dict[str, dict[str, list[float]]]:
    """What noise and heating make of a galaxy alone: at its `begin` and `end` 16, 50 and 84 % of its views have an a4/a
    below these numbers, and the mean standard error of one view from its number of particles is the fourth.

    Views and a4/a are those of `remnant.look_at`, of a few snapshots together. NaN where there are too few particles.
    """
    found = {}
    for name in controls:
        there = snapshots_of(folder / name)
        found[name] = {}
        for when, paths in (("begin", there[:CONTROL_STACK]), ("end", there[-CONTROL_STACK:])):
            snapshots = [read_snapshot(path) for path in paths]
            found[name][when] = [np.nan] * 4
            if np.count_nonzero(snapshots[0].stars) < FEWEST:
                continue
            views = look_at(snapshots, CONTROL_VIEWS, seed=0)
            a4, error = (np.asarray(views[column])[np.isfinite(views["a4"])] for column in ("a4", "a4_err"))
            if len(a4):
                found[name][when] = [*map(float, np.quantile(a4, (0.16, 0.5, 0.84))), float(error.mean())]
    return found


@dataclass(frozen=True)
class TakeSettings:
    """What of a run the camera looks at."""

    stack: int = setting(1, "last snapshots of each merger that are laid on top of each other, each on its own centre")
    maps: str = setting("", "folder for 2df.dat and 2dfn.dat as in the thesis, besides")

    def __post_init__(self) -> None:
        if self.stack < 1:
            raise ValueError(f"stack expects at least 1; received {self.stack}.")


def last_snapshots(folder: str | Path, stack: int = 1) -> list[list[Path]]:
    """Of each merger of a run the files of its `stack` last snapshots; or the one that `folder` is.

    Raises FileNotFoundError if there is none.
    """
    folder = Path(folder)
    if folder.is_file():
        return [[folder]]
    tasks = sorted({path.parent for path in folder.rglob("snapshot_*.hdf5")})
    if not tasks:
        raise FileNotFoundError(
            f"'{folder}' holds no snapshots; expected a run of `simulate`, or one Gadget-style HDF5 file."
        )
    return [snapshots_of(task)[-stack:] for task in tasks]


def observe_run(
    folder: str | Path,
    *settings: ObserveSettings,
    take: TakeSettings = TakeSettings(),
    seed: int = 0,
    jobs: int = 1,
) -> Iterator[tuple[ImageSet, ...]]:
    """The views of each merger of a run, a set for each of the settings; the same whatever `jobs`. See `observe`."""
    files = list(enumerate(last_snapshots(folder, take.stack)))
    stage = partial(_observe_files, settings=settings, seed=seed)
    return map_chunks(stage, files, jobs=jobs)


def _observe_files(
    numbered: tuple[int, list[Path]], settings: tuple[ObserveSettings, ...], seed: int
) -> tuple[ImageSet, ...]:
    number, files = numbered
    own = int(np.random.default_rng([seed, number]).integers(2**31))  # other directions and noise for every merger
    snapshots = [read_snapshot(path) for path in files]
    return tuple(observe(snapshots, each, seed=own) for each in settings)
