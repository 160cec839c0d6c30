"""Suites: a plan of mergers, each one task in a folder of its own that goes on where it was stopped."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from h5py import is_hdf5

from emeraldcut.camera.camera import ObserveSettings, observe
from emeraldcut.data.columns import table_from_rows
from emeraldcut.data.flags import Flag, describe
from emeraldcut.data.imageset import ImageSet
from emeraldcut.mergers.diagnostics import VECTORS, control_a4, disc_of, summarise, thickening
from emeraldcut.mergers.tasks import DIAGNOSTICS, SUITE, SuiteSettings, Task, begin, plan, snapshots_of
from emeraldcut.nbody.engines.program import NotYetError, ProgramSettings, evolve_elsewhere
from emeraldcut.nbody.leapfrog import evolve
from emeraldcut.nbody.settings import PROGRAMS, EvolveSettings
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.nbody.snapshot_files import HDF5_ENDINGS, read_snapshot, snapshot_kind, write_snapshot
from emeraldcut.runs.run import MANIFEST, Run, begin_or_go_on, read_manifest
from emeraldcut.runs.workers import map_chunks
from emeraldcut.settings import setting
from emeraldcut.tables.files import write_table

BEGUN = "suite.json"  # the settings that began an unfinished suite
PROGRAM = "program"  # folder, in that of a task, for the files of an engine that is a program of its own
WAITS = "waits"  # key in the place of a row: what somebody else's program has not done yet


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
    elif evolve_settings.engine in PROGRAMS:
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
        row |= disc_of(state)
        rows.append(row)
        path = folder / f"snapshot_{k:04d}.hdf5"
        if not path.exists():
            write_snapshot(replace(state, about=dict(state.about) | {"diagnostics": row}), path)
    table = Table(rows=rows)
    write_table(table, folder / DIAGNOSTICS, overwrite=True)
    first = read_snapshot(snapshots_of(folder)[0])
    summary = summarise(task, table, first, settings.heavier.disc_scale_kpc)
    run.finish(row=summary, **{name: round(value, 2) for name, value in seconds.items()})
    return summary


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
        control the a4/a that its views have without any merger, see `control_a4`.

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
    facts = {"thickening": thickening(folder, tasks, settings), "control_a4": control_a4(folder, controls)}
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


@dataclass(frozen=True)
class TakeSettings:
    """What of a run the camera looks at."""

    stack: int = setting(1, "last snapshots of each merger that are laid on top of each other, each on its own centre")
    maps: str = setting("", "folder for 2df.dat and 2dfn.dat as in the thesis, besides")

    def __post_init__(self) -> None:
        if self.stack < 1:
            raise ValueError(f"stack expects at least 1; received {self.stack}.")


@dataclass(frozen=True)
class Observed:
    """What gets views of its own: a merger of a run, or one file of somebody else's.

    Attributes
    ----------
    name : str
        Of the merger, or of its file without the ending; unique in a folder.
    files : list of Path
        Snapshots that are laid on top of each other, the last one last.
    """

    name: str
    files: list[Path]


def find_snapshots(source: str | Path, stack: int = 1) -> tuple[list[Observed], list[Path]]:
    """What `observe` looks at in a folder or a file, and the files of HDF5 that it passes over.

    Of each merger of a run of `simulate` these are the `stack` last snapshots. In other folders every snapshot or
    cut-out counts by itself, recognised by what it holds (`snapshot_kind`); files that are no HDF5, and hidden ones,
    are nobody's business. A file of HDF5 that cannot be opened is taken too, so that it is not lost without a word.

    Raises
    ------
    FileNotFoundError
        There is no snapshot.
    """
    source = Path(source)
    if source.is_file():
        return [Observed(_stem(source), [source])], []
    found, passed_over = [], []
    for folder in sorted({path.parent for path in source.rglob("*") if path.is_file()}):
        relative = folder.relative_to(source).parts
        if PROGRAM in relative or any(part.startswith(".") for part in relative):
            continue
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        kinds = {path: snapshot_kind(path) for path in files}
        of_merger = [path for path in snapshots_of(folder) if kinds[path] in ("ours", "broken")]
        if any(kinds[path] == "ours" for path in of_merger):
            found.append(Observed(folder.name, of_merger[-stack:]))
        else:
            of_merger = []
        found += [Observed(_stem(path), [path]) for path in files if kinds[path] and path not in of_merger]
        passed_over += [path for path in files if not kinds[path] and is_hdf5(path)]
    if not found:
        raise FileNotFoundError(
            f"'{source}' holds no snapshots; expected a run of `simulate`, a folder of snapshots or cut-outs (HDF5 or "
            "GADGET binary), or one such file."
        )
    return _with_unique_names(found, source), passed_over


def _stem(path: Path) -> str:
    return path.stem if path.suffix in HDF5_ENDINGS else path.name


def _with_unique_names(found: list[Observed], source: Path) -> list[Observed]:
    """The same, those of equal names with the folders in between, and if that is not enough, with the ending."""
    for name_of in (
        lambda one: "-".join((*_home(one).relative_to(source).parts, one.name)),
        lambda one: "-".join(one.files[-1].relative_to(source).parts),
    ):
        often = Counter(one.name for one in found)
        found = [replace(one, name=name_of(one)) if often[one.name] > 1 else one for one in found]
    return found


def _home(one: Observed) -> Path:
    """The folder that holds the file, or that of the merger."""
    folder = one.files[-1].parent
    return folder.parent if folder.name == one.name else folder


def last_snapshots(folder: str | Path, stack: int = 1) -> list[list[Path]]:
    """Of each merger of a run the files of its `stack` last snapshots, and every other snapshot in the folder by
    itself; or the one that `folder` is.

    Raises FileNotFoundError if there is none.
    """
    return [one.files for one in find_snapshots(folder, stack)[0]]


def observe_run(
    source: str | Path | Sequence[Observed],
    *settings: ObserveSettings,
    take: TakeSettings = TakeSettings(),
    seed: int = 0,
    jobs: int = 1,
) -> Iterator[tuple[ImageSet, ...]]:
    """The views of each merger of a run, or of each snapshot or cut-out in a folder, or of what `find_snapshots` has
    found: a set for each of the settings; the same whatever `jobs`. See `observe`.

    Of several, one that cannot be read or has too few stars is a set of one row with a flag, its name and the reason.

    Raises
    ------
    FileNotFoundError
        There is no snapshot.
    ValueError
        None of them can be observed; the sentence is that of the first.
    """
    found = find_snapshots(source, take.stack)[0] if isinstance(source, str | Path) else source
    stage = partial(_observe_files, settings=settings, seed=seed)
    good, first = 0, ""
    for images, reason in map_chunks(stage, list(enumerate(found)), jobs=jobs):
        good, first = good + (not reason), first or reason
        if not reason or len(found) > 1:
            yield images
    if not good:
        raise ValueError(first if len(found) == 1 else f"none of {len(found)} snapshots can be observed: {first}")


def _observe_files(
    numbered: tuple[int, Observed], settings: tuple[ObserveSettings, ...], seed: int
) -> tuple[tuple[ImageSet, ...], str]:
    """A set for each of the settings, and the reason if there are no views."""
    number, one = numbered
    own = int(np.random.default_rng([seed, number]).integers(2**31))  # other directions and noise for every merger
    try:
        snapshots = [_named(read_snapshot(path), one, path) for path in one.files]
        return tuple(observe(snapshots, each, seed=own) for each in settings), ""
    except (ValueError, OSError) as error:
        return tuple(_unobserved(one, str(error)) for _ in settings), str(error)


def _named(snapshot: Snapshot, one: Observed, path: Path) -> Snapshot:
    """The snapshot under its name, if it has none of its own, or another has the same."""
    about = dict(snapshot.about)
    if "merger" not in about:
        about |= {"merger": one.name, "snapshot_file": path.name}
    elif one.name not in (about["merger"], path.parent.name, _stem(path)):
        about["merger"] = one.name
    return replace(snapshot, about=about)


def _unobserved(one: Observed, reason: str) -> ImageSet:
    """One row without an image."""
    name = one.files[-1].name
    row = {"id": one.name, "merger": one.name, "galaxy": one.name, "snapshot_file": name}
    row |= {"flag": int(Flag.UNREADABLE), "flag_text": f"{describe(Flag.UNREADABLE)} {reason}"}
    return ImageSet.from_rows(np.zeros((1, 0, 0), np.float32), [row])
