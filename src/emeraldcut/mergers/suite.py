"""Suites: a plan of mergers, each one task in a folder of its own that goes on where it was stopped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.camera.camera import camera_example
from emeraldcut.camera.particle_isophote import particle_isophote_example
from emeraldcut.data.columns import table_from_rows
from emeraldcut.errors import WorkError
from emeraldcut.mergers.diagnostics import VECTORS, control_a4, disc_of, gas_resolution, summarise, thickening
from emeraldcut.mergers.tasks import (
    DIAGNOSTICS,
    SUITE,
    SuiteSettings,
    Task,
    begin,
    evolution_seed,
    orbit_name,
    plan,
    snapshots_of,
)
from emeraldcut.nbody.engines.program import NotYetError, ProgramSettings, evolve_elsewhere
from emeraldcut.nbody.leapfrog import evolve, examples
from emeraldcut.nbody.settings import PROGRAMS, EvolveSettings
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.nbody.snapshot_files import read_snapshot, write_snapshot
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import MANIFEST, Run, begin_or_go_on, contents, read_manifest
from emeraldcut.runs.workers import map_chunks
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
    own = evolution_seed(seed, task)
    if base is not None and not snapshot.time_gyr < settings.duration_gyr:
        rows.append(base)
        states: Iterator[tuple[Snapshot, dict[str, Any]]] = iter(())
    elif evolve_settings.engine in PROGRAMS:
        states = evolve_elsewhere(
            snapshot, evolve_settings, program, until_gyr=settings.duration_gyr, folder=folder / PROGRAM, seed=own
        )
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
    summary = summarise(task, table, first, settings.heavier.disc_scale_kpc) | gas_resolution(first, evolve_settings)
    summary["orbit_id"] = orbit_name(task, settings, seed)
    summary["mass_inside_start"] = first.about.get("mass_inside_start")
    run.finish(row=summary, **{name: round(value, 2) for name, value in seconds.items()})
    return summary


# long: half of it documents its parameters
def simulate(
    folder: str | Path,
    settings: SuiteSettings = SuiteSettings(),
    evolve_settings: EvolveSettings = EvolveSettings(),
    program: ProgramSettings = ProgramSettings(),
    *,
    seed: int = 0,
    jobs: int = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Run:
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
    progress : told of each merger that is done.

    Returns
    -------
    Run
        Its `suite.ecsv` has one row per merger and control: `merger`, `mass_ratio` (masked for a control),
        `gas_fraction`, `orbit`, `particles`, `time_gyr`, `merged_gyr` (since when the centres have stayed together;
        masked if they do not),
        `energy_drift`, `momentum_drift`, `angular_momentum_drift` (largest of `drifts`), `new_stars_mass` (Msun),
        `lost` (particles that are not bound), `steps` (0 where another program made them); `disc_softening_kpc` and
        `halo_softening_kpc` against `star_spacing_kpc` and `halo_spacing_kpc`, the mean distance of neighbours in the
        half-mass sphere of the first galaxy's stars, and halo, at the start; `gas_kernel_msun`, `jeans_mass_msun` and
        `gas_resolved_msun_kpc3`, see `gas_resolution`; `orbit_id`, the same for mergers that share their orbit, also
        with other suites; `mass_inside_start`, the fraction of the heavier galaxy's mass that is nearer to its centre
        than where the other one starts. Its `meta` holds `thickening`: for each
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

    Examples
    --------
    >>> import emeraldcut
    >>> from tempfile import TemporaryDirectory
    >>> small = {"mass_ratios": (1.0,), "orbits": 1, "control": False, "star_particles": 400, "halo_particles": 300}
    >>> with TemporaryDirectory() as folder:
    ...     run = emeraldcut.simulate(folder, **small, duration_gyr=0.02, output_gyr=0.01, seed=4)
    ...     emeraldcut.read_table(run.path("suite.ecsv"))["particles"].tolist()
    [1400]
    """
    folder, tasks = Path(folder), plan(settings)
    run = _begin_run(folder, settings, evolve_settings, program, seed, overwrite)
    stage = partial(
        _run_tasks, folder=folder, settings=settings, evolve_settings=evolve_settings, program=program, seed=seed
    )
    gas = any(task.gas_fraction > 0 for task in tasks)
    compile_ahead("simulate", *examples(evolve_settings, gas), camera_example, particle_isophote_example)
    progress.begin(len(tasks), "mergers")
    rows = [row for part in map_chunks(stage, [[task] for task in tasks], jobs=jobs, progress=progress) for row in part]
    _check_finished(rows)
    table = table_from_rows(rows, unknown=np.nan)
    controls = [task.name for task in tasks if task.mass_ratio is None]
    facts = {"thickening": thickening(folder, tasks, settings), "control_a4": control_a4(folder, controls)}
    table.meta |= facts
    write_table(table, folder / SUITE, overwrite=True)
    run.finish(mergers=len(tasks), disc_scale_kpc=settings.heavier.disc_scale_kpc, **facts)
    return run


def _begin_run(
    folder: Path,
    settings: SuiteSettings,
    evolve_settings: EvolveSettings,
    program: ProgramSettings,
    seed: int,
    overwrite: bool,
) -> Run:
    """The run of a suite, begun or to be gone on with; see `simulate` for the errors. `overwrite` begins it anew."""
    facts = {"settings": asdict(settings) | _hashes(settings), "evolve": asdict(evolve_settings), "seed": seed}
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
    return run


def _hashes(settings: SuiteSettings) -> dict[str, list[str]]:
    """Hashes of the files that say what the galaxies are."""
    return {f"{name}_sha256": hashes for name, hashes in contents(settings).items()}


def _check_finished(rows: list[dict[str, Any]]) -> None:
    """WorkError if the programs of some tasks have not run yet."""
    waiting = [row[WAITS] for row in rows if WAITS in row]
    if waiting:
        raise WorkError(
            f"{len(waiting)} of {len(rows)} mergers are not finished: {waiting[0]}{', ...' if waiting[1:] else ''}; "
            "rerun the command when their scripts have run."
        )


def _run_tasks(tasks: list[Task], folder: Path, **rest: Any) -> list[dict[str, Any]]:
    rows = []
    for task in tasks:
        try:
            rows.append(run_task(task, folder / task.name, **rest))
        except NotYetError as error:
            rows.append({WAITS: str(error)})
    return rows
