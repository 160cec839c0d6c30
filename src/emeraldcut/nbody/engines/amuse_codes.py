"""Fi and Gadget-2 in AMUSE (Pelupessy et al. 2013, A&A 557, A84), in a Python of its own that has AMUSE.

The environment variable EMERALDCUT_AMUSE_PYTHON names that Python; `tools/install_amuse.sh` makes one. It runs
`amuse_worker.py`, and all else goes by files.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.nbody.engines.program import GAS, NEW_STARS, Job, State
from emeraldcut.nbody.gas import free_energy, schmidt_rate
from emeraldcut.nbody.leapfrog import gas_of
from emeraldcut.nbody.snapshot import KPC_PER_KM_S_GYR
from emeraldcut.runs.writing import write_text

PYTHON = "EMERALDCUT_AMUSE_PYTHON"  # environment variable
WORKER = Path(__file__).with_name("amuse_worker.py")
LONGEST_STEP_GYR = 0.01
MOST_TRIES = 100  # numbers of steps between two outputs that are tried for Fi


def check(job: Job) -> None:
    """Raises ValueError for what AMUSE's code cannot do."""
    name = job.settings.engine
    python = os.environ.get(PYTHON)
    if not python or not shutil.which(python):
        raise UsageError(
            f"the engine {name} needs the environment variable {PYTHON} to name a Python that has AMUSE; "
            f"received '{python or ''}'. tools/install_amuse.sh makes one."
        )
    if name == "amuse:fi" and job.program.mpi > 1:
        raise UsageError(f"Fi is one process; received --mpi {job.program.mpi}.")
    if job.gas.any() and name == "amuse:gadget2":
        raise UsageError(
            "GADGET-2 as AMUSE builds it has neither gas of one temperature nor stars that form from it; received "
            f"{job.gas.sum()} particles of gas. Use the engine amuse:fi or tree, or gas_fraction 0."
        )
    gas_of(job.begin, job.settings, job.seed, threads=1)
    lengths = np.unique(job.softening_kpc[job.begin.component])
    if name == "amuse:gadget2" and len(lengths) > 1:
        raise UsageError(
            "Gadget-2 in AMUSE knows one softening length for all particles without gas; received "
            f"{', '.join(f'{length:g}' for length in lengths)} kpc. Set --softening-kpc, or use the engine gadget2."
        )
    if name == "amuse:fi":
        _longest_step_gyr(job)


def write(job: Job) -> list[str]:
    """Writes the worker's files; returns its command."""
    begin, settings = job.begin, job.settings
    gas = gas_of(begin, settings, job.seed, threads=1)
    energy = np.full(len(begin), gas.sound_speed_km_s**2)
    if gas.internal_energy is not None:
        energy[gas.places] = gas.internal_energy
    vectors: dict[str, Any] = {
        name: np.asarray(getattr(begin, name), float) for name in ("position", "velocity", "mass")
    }
    vectors |= {"softening": job.softening_kpc[begin.component], "is_gas": job.gas, "energy": energy}
    np.savez(job.folder / "begin.npz", **vectors)
    facts = {
        "code": settings.engine.removeprefix("amuse:"),
        "processes": job.program.mpi,
        "gyr_of_outputs": [time - begin.time_gyr for time in job.gyr_of_outputs],
        "longest_step_gyr": _longest_step_gyr(job) if settings.engine == "amuse:fi" else LONGEST_STEP_GYR,
        "accuracy": settings.accuracy,
        "isothermal": gas.internal_energy is None,
        "neighbours": round(settings.neighbours),
        "viscosity": settings.viscosity,
        "courant": settings.courant,
        "star_rate": float(schmidt_rate(1.0, settings.star_efficiency, 0.0)) * KPC_PER_KM_S_GYR,
        "star_threshold": settings.star_threshold,
        "star_softening": job.softening_kpc[NEW_STARS],
        "seed": [job.seed, round(1e6 * begin.time_gyr)],
    }
    write_text(job.folder / "job.json", json.dumps(facts))
    python = shutil.which(os.environ[PYTHON])
    assert python is not None  # see `check`
    return [python, str(WORKER), str(job.folder)]


def _longest_step_gyr(job: Job) -> float:
    """A step of which all times between outputs are multiples, since Fi stops only there; ValueError if none is."""
    gaps = np.diff(job.gyr_of_outputs)
    fewest = int(np.ceil(gaps[0] / LONGEST_STEP_GYR - 1e-9))
    for parts in range(fewest, fewest + MOST_TRIES):
        steps = gaps * (parts / gaps[0])
        if np.all(np.abs(steps - np.round(steps)) < 1e-4):
            return float(gaps[0] / parts)
    raise UsageError(
        f"Fi needs outputs that are multiples of one step; received outputs every {job.settings.output_gyr:g} Gyr from "
        f"{job.gyr_of_outputs[0]:g} to {job.gyr_of_outputs[-1]:g} Gyr. Let the time be a multiple of --output-gyr."
    )


def output(job: Job, k: int) -> Path:
    """The worker's k-th output; it appears when it is complete."""
    return job.folder / f"state_{k:04d}.npz"


def read(job: Job, path: Path) -> State:
    """One output, with the energies that the code itself gives: its softening is a spline.

    The energy of isothermal gas is its free energy, as in `gas.Gas`, from the code's densities.
    """
    with np.load(path) as file:
        arrays = dict(file)
    formed = np.isfinite(arrays["formed_gyr"])
    component = np.where(formed, NEW_STARS, job.begin.component)
    gas, isothermal = component == GAS, job.settings.gas == "isothermal"
    gas_energy = None
    if isothermal and gas.any():
        mass, speed = np.asarray(job.begin.mass, float)[gas], np.sqrt(arrays["energy"][gas])
        gas_energy = float(mass @ free_energy(arrays["density"][gas], speed))
    return State(
        arrays["position"],
        arrays["velocity"],
        mass=job.begin.mass,
        component=component,
        internal_energy=np.full(len(gas), np.nan) if isothermal else arrays["energy"],
        time_gyr=float(arrays["time_gyr"]) + job.begin.time_gyr,
        potential=float(arrays["potential"]),
        kinetic=float(arrays["kinetic"]),
        gas_energy=gas_energy,
        formed_gyr=arrays["formed_gyr"] + job.begin.time_gyr,
    )
