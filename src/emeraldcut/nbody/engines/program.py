"""Another program moves the particles: it is started, watched, and its outputs become snapshots and diagnostics.

A module of an engine offers four functions:

- `check(job)` raises ValueError, with one sentence, for what the program cannot do.
- `write(job)` writes the program's input to `job.folder` and returns the command that is run there.
- `output(job, k)` is the path of its k-th output; the first, 0, is the state at the beginning.
- `read(job, path)` reads one as a `State`; ValueError if something is missing or wrong.
"""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError, WorkError
from emeraldcut.nbody.gravity import accelerations
from emeraldcut.nbody.leapfrog import diagnostics, lengths_of
from emeraldcut.nbody.settings import PROGRAMS, EvolveSettings
from emeraldcut.nbody.snapshot import COMPONENTS, Snapshot
from emeraldcut.runs.writing import write_text
from emeraldcut.settings import Settings, setting

LOG, SCRIPT = "log.txt", "run.sh"  # in the program's folder: what it says, and how it is started
POLL_SECONDS = 0.2  # between two looks at what a program has written
SAME = 1e-3  # relative, of masses and times that should be the same
GO_ON = "Rerun the command to resume from the last snapshot."
GAS, NEW_STARS = (COMPONENTS.index(name) for name in ("gas", "new_stars"))


@dataclass(frozen=True, kw_only=True)
class ProgramSettings(Settings):
    """How an engine that is a program of its own is started. Results do not depend on it but for rounding."""

    executable: str = setting("", "path of the compiled code, for the engines gadget2, gadget4 and swift")
    mpi: int = setting(
        1, "MPI processes of the external code, started by mpirun; threads for swift", at_least=1, at_most=100_000
    )
    patience_minutes: float = setting(60.0, "stop the external code after this many minutes without progress", above=0)
    script: bool = setting(False, "write the input and a script for sbatch instead of starting the external code")


@dataclass(frozen=True)
class Job:
    """What a program has to do.

    Attributes
    ----------
    begin : Snapshot
    settings : EvolveSettings
    program : ProgramSettings
    gyr_of_outputs : tuple of float
        The beginning first.
    softening_kpc : (5,) array
        Plummer softening lengths of `COMPONENTS`.
    folder : Path
        The program's own.
    seed : int
        Of star formation.
    """

    begin: Snapshot
    settings: EvolveSettings
    program: ProgramSettings
    gyr_of_outputs: tuple[float, ...]
    softening_kpc: np.ndarray
    folder: Path
    seed: int = 0

    @property
    def gas(self) -> np.ndarray:
        """Boolean (n,): particles of gas."""
        return self.begin.component == GAS


@dataclass(frozen=True)
class State:
    """One output of a program, particles in the order of `Job.begin`.

    Attributes
    ----------
    position, velocity, mass, component, internal_energy : as in `Snapshot`
    time_gyr : float
    potential : float or None
        Msun (km/s)^2, of all particles, if the program tells.
    kinetic : float or None
        In the same unit, where that of the velocities above is not it.
    gas_energy : float or None
        In the same unit, where the internal energies above are not it.
    formed_gyr : (n,) array or None
        When the stars formed that are new since the beginning; None: not known better than between two outputs.
    """

    position: np.ndarray
    velocity: np.ndarray
    mass: np.ndarray
    component: np.ndarray
    internal_energy: np.ndarray
    time_gyr: float
    potential: float | None = None
    kinetic: float | None = None
    gas_energy: float | None = None
    formed_gyr: np.ndarray | None = None


class NotYetError(WorkError):
    """The program's outputs are not there yet, since somebody else runs it."""


def gyr_of_outputs(begin_gyr: float, until_gyr: float, output_gyr: float) -> tuple[float, ...]:
    """The beginning, the multiples of `output_gyr` after it, and the end: the outputs of `leapfrog.evolve`."""
    times = [begin_gyr]
    while times[-1] < until_gyr:
        times.append(min((int(times[-1] / output_gyr + 1e-6) + 1) * output_gyr, until_gyr))
    return tuple(times)


def evolve_elsewhere(
    snapshot: Snapshot,
    settings: EvolveSettings,
    program: ProgramSettings,
    *,
    until_gyr: float,
    folder: Path,
    seed: int = 0,
) -> Iterator[tuple[Snapshot, dict[str, Any]]]:
    """Moves the particles of a snapshot with the program that `settings.engine` names; yields what `evolve` yields.

    Of `settings` a program heeds `softening_kpc`, `accuracy`, `output_gyr`, and for gas what its `check` lets pass; its
    forces are as exact as its own defaults make them. Where it does not tell the potential energy, that is computed
    here, with Plummer softening; `lost` always is. `steps` is 0: programs count them in other ways.

    Parameters
    ----------
    folder : Path
        For the program's files; what is there from an earlier start is removed, unless `program.script` is set.
    seed : int
        Of star formation, where it is ours.

    Raises
    ------
    ValueError
        Something that the program cannot do.
    NotYetError
        With `program.script`, for outputs that are not there yet.
    RuntimeError
        The program cannot be started, ended with an error or too early, stood still, or wrote an output that is
        incomplete or is not of these particles.
    """
    engine = import_module(PROGRAMS[settings.engine])
    if settings.tide_mass_msun:
        raise UsageError(f"the engine '{settings.engine}' knows no tide; use tree, direct or jax.")
    times = gyr_of_outputs(snapshot.time_gyr, until_gyr, settings.output_gyr)
    job = Job(snapshot, settings, program, times, lengths_of(snapshot, settings), folder.resolve(), seed)
    engine.check(job)
    if program.script:
        yield from _by_others(engine, job)
        return
    command = _anew(engine, job)
    with _started(command, job) as process:
        yield from _states(engine, job, process)


def _by_others(engine: ModuleType, job: Job) -> Iterator[tuple[Snapshot, dict[str, Any]]]:
    """What was written by a program that somebody starts with our script.

    While it runs nothing is read. If it has ended early, a new script goes on from the last output that is followed by
    another, since the last one may be incomplete.
    """
    script, times = job.folder / SCRIPT, job.gyr_of_outputs
    if not script.exists():
        _anew(engine, job)
        raise NotYetError(f"'{script}' is to be submitted")
    there = next((k for k in range(len(times)) if not engine.output(job, k).exists()), len(times))
    if there < len(times):
        if there == 0 or time.time() - _last_change(job.folder) < 60 * job.program.patience_minutes:
            raise NotYetError(f"'{script}' has not ended yet")
        there -= 1
    snapshot = job.begin
    for snapshot, row in _states(engine, replace(job, gyr_of_outputs=times[:there]), None):
        yield snapshot, row
    if there < len(times):
        _anew(engine, replace(job, begin=snapshot, gyr_of_outputs=times[max(there - 1, 0) :]))
        raise NotYetError(f"'{script}' ended early and is to be submitted again, from its last output on")


def _anew(engine: ModuleType, job: Job) -> list[str]:
    """Writes the input into an empty folder, and the script; returns the command."""
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    command = engine.write(job)
    head = f"#!/bin/sh\n#SBATCH --job-name={job.folder.parent.name}\n#SBATCH --ntasks={job.program.mpi}\n"
    write_text(job.folder / SCRIPT, f"{head}cd {shlex.quote(str(job.folder))} && {shlex.join(command)} > {LOG} 2>&1\n")
    return command


def _last_change(folder: Path) -> float:
    """When a file of a folder changed last; files that are moved meanwhile do not count."""
    latest = 0.0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            latest = max(latest, path.stat().st_mtime)
    return latest


@contextmanager
def _started(command: list[str], job: Job) -> Iterator[subprocess.Popen]:
    """The program, running; what is left of it is ended at the end."""
    with (job.folder / LOG).open("wb") as log:
        try:
            process = subprocess.Popen(
                command, cwd=job.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            raise WorkError(
                f"the engine {job.settings.engine} cannot be started: '{command[0]}': {error.strerror}."
            ) from None
    try:
        yield process
    finally:
        for hard in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, hard)
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    continue


def _states(
    engine: ModuleType, job: Job, process: subprocess.Popen | None
) -> Iterator[tuple[Snapshot, dict[str, Any]]]:
    """The snapshot and its diagnostics at each output, as the program (None: which has ended) writes them."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
    snapshot = job.begin
    for k, gyr in enumerate(job.gyr_of_outputs):
        path = engine.output(job, k)
        if process is not None:
            _wait(engine, job, process, k)
        state = _read(engine, job, path, gyr, "" if process is None else f" with exit status {process.returncode}")
        if k:
            formed = (state.component == NEW_STARS) & (snapshot.component == GAS)
            times = gyr if state.formed_gyr is None else state.formed_gyr
            snapshot = replace(
                snapshot,
                position=state.position.astype(np.float32),
                velocity=state.velocity.astype(np.float32),
                mass=state.mass.astype(np.float32),
                component=state.component.astype(np.int8),
                formed_gyr=np.where(formed, times, snapshot.formed_gyr).astype(np.float32),
                internal_energy=state.internal_energy.astype(np.float32),
                time_gyr=gyr,
            )
        row = _row(job, snapshot, state)
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = spent.ru_utime + spent.ru_stime - before.ru_utime - before.ru_stime
        yield snapshot, row | {"force_seconds": cpu, "other_seconds": time.process_time() - begun}


def _wait(engine: ModuleType, job: Job, process: subprocess.Popen, k: int) -> None:
    """Returns when output `k` is complete, as one is when the next is begun, or the program has ended.

    Raises RuntimeError if the program stands still.
    """
    following, seen, since = engine.output(job, k + 1), 0.0, time.monotonic()
    while process.poll() is None:
        if following.exists() and k + 1 < len(job.gyr_of_outputs):
            return
        if (now := _last_change(job.folder)) != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > 60 * job.program.patience_minutes:
            raise WorkError(
                f"the engine {job.settings.engine} has shown no progress for {job.program.patience_minutes:g} minutes "
                f"before the output at {job.gyr_of_outputs[k]:g} Gyr and was stopped; its log is "
                f"'{job.folder / LOG}'. {GO_ON}"
            )
        time.sleep(POLL_SECONDS)


def _last_words(job: Job) -> str:
    """The last line of the log that is not empty; nothing where there is no log."""
    log = job.folder / LOG
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:200]


def _read(engine: ModuleType, job: Job, path: Path, gyr: float, ended: str) -> State:
    """One output; RuntimeError unless it is there, is complete and is of these particles at this time."""
    name, n = job.settings.engine, len(job.begin)
    if not path.exists():
        raise WorkError(
            f"the engine {name} ended{ended} and without its output at {gyr:g} Gyr, '{path.name}'; its last words are "
            f"'{_last_words(job)}' and its log is '{job.folder / LOG}'. {GO_ON}"
        )
    try:
        state = engine.read(job, path)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).strip("\"'").rstrip(".")
        raise WorkError(
            f"the engine {name} left an incomplete output '{path}': {reason}; its last words are '{_last_words(job)}'. "
            f"{GO_ON}"
        ) from None
    if not all(np.isfinite(values).all() for values in (state.position, state.velocity)):
        raise WorkError(f"the engine {name} wrote non-finite positions or velocities to '{path}'.")
    whole, sent = state.mass.sum(dtype=float), job.begin.mass.sum(dtype=float)
    if len(state.mass) != n or abs(whole / sent - 1) > SAME:
        raise WorkError(
            f"the engine {name} was given {n} particles of {sent:.4g} Msun but '{path}' holds {len(state.mass)} of "
            f"{whole:.4g} Msun; it must work in the units that its parameter file states."
        )
    if abs(state.time_gyr - gyr) > SAME * job.settings.output_gyr + 1e-4 * gyr:
        raise WorkError(
            f"the engine {name} was asked for an output at {gyr:g} Gyr but '{path}' is at {state.time_gyr:g} Gyr; it "
            "must work in the units that its parameter file states."
        )
    return state


def _row(job: Job, snapshot: Snapshot, state: State) -> dict[str, Any]:
    """Diagnostics as those of `evolve`."""
    position, mass = np.asarray(snapshot.position, float), np.asarray(snapshot.mass, float)
    _, potential = accelerations(position, mass, job.softening_kpc[snapshot.component])
    gas = snapshot.component == GAS
    energy = np.where(gas & np.isfinite(snapshot.internal_energy), snapshot.internal_energy, 0) @ mass
    row = diagnostics(snapshot, potential, gas_energy=float(energy), radiated=0.0, steps=0)
    names = ("kinetic", "potential", "gas_energy")
    row |= {name: value for name in names if (value := getattr(state, name)) is not None}
    return row | {"energy": row["kinetic"] + row["potential"] + row["gas_energy"]}
