"""SWIFT (Schaller et al. 2024, MNRAS 530, 2378), built elsewhere; it is run with threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.nbody.engines.particles import (
    INITIAL,
    OUTPUTS,
    check_program,
    executable,
    internal_times,
    read_particles,
    write_particles,
)
from emeraldcut.nbody.engines.program import Job, State
from emeraldcut.nbody.snapshot import COMPONENTS, KPC_PER_KM_S_GYR, UNITS
from emeraldcut.runs.writing import write_text

PARTS = {"gas": 0, "halo": 1, "disc": 4, "bulge": 4, "new_stars": 4}
PARAMETERS = "parameters.yml"
BOX = 20.0  # its side over the farthest coordinate at the beginning; the galaxies are in its middle
LONGEST_STEP_GYR = 0.01


def check(job: Job) -> None:
    """Raises ValueError for what SWIFT cannot do: it has one softening length for matter that shines and gas."""
    check_program(job)
    lengths = np.unique([job.softening_kpc[k] for k in np.unique(job.begin.component) if COMPONENTS[k] != "halo"])
    if len(lengths) > 1:
        raise UsageError(
            "SWIFT knows one softening length for the halo and one for all else; received "
            f"{', '.join(f'{length:g}' for length in lengths)} kpc for all else. Set --softening-kpc."
        )


def write(job: Job) -> list[str]:
    """Writes particles, times of the outputs and parameters; returns the command."""
    box = _box_kpc(job)
    write_particles(job, PARTS, shift_kpc=0.5 * box, box_kpc=box)
    times = internal_times(job)
    write_text(job.folder / OUTPUTS, "# Time\n" + "".join(f"{time!r}\n" for time in times))
    softening = dict(zip(COMPONENTS, job.softening_kpc, strict=True))
    sections: dict[str, dict[str, Any]] = {
        "MetaData": {"run_name": job.folder.parent.name},
        "InternalUnitSystem": {
            "UnitMass_in_cgs": UNITS["UnitMass_in_g"],
            "UnitLength_in_cgs": UNITS["UnitLength_in_cm"],
            "UnitVelocity_in_cgs": UNITS["UnitVelocity_in_cm_per_s"],
            "UnitCurrent_in_cgs": 1.0,
            "UnitTemp_in_cgs": 1.0,
        },
        "TimeIntegration": {
            "time_begin": times[0],
            "time_end": times[-1],
            "dt_min": 1e-9,
            "dt_max": LONGEST_STEP_GYR * KPC_PER_KM_S_GYR,
        },
        "Snapshots": {
            "basename": "snapshot",
            "time_first": times[0],
            "delta_time": times[1] - times[0],
            "output_list_on": 1,
            "output_list": OUTPUTS,
        },
        "Statistics": {"time_first": times[0], "delta_time": job.settings.output_gyr * KPC_PER_KM_S_GYR},
        "Gravity": {  # steps are at most sqrt(2 eta softening / acceleration)
            "eta": 0.5 * job.settings.accuracy**2,
            "MAC": "adaptive",
            "epsilon_fmm": 0.001,
            "theta_cr": 0.7,
            "max_physical_DM_softening": softening["halo"],
            "max_physical_baryon_softening": softening["disc"],
        },
        "SPH": {
            "resolution_eta": 1.2348,
            "CFL_condition": job.settings.courant,
            "viscosity_alpha": job.settings.viscosity,
        },
        "InitialConditions": {"file_name": INITIAL, "periodic": 0},
    }
    lines = []
    for section, values in sections.items():
        lines += [f"{section}:", *(f"  {name}: {value}" for name, value in values.items())]
    write_text(job.folder / PARAMETERS, "\n".join(lines) + "\n")
    matter = ["--self-gravity", "--stars"] + (["--hydro"] if job.gas.any() else [])
    return [executable(job), *matter, f"--threads={job.program.mpi}", PARAMETERS]


def _box_kpc(job: Job) -> float:
    """Side of the box, a whole number of kpc, from the particles at the beginning."""
    return float(np.ceil(BOX * np.abs(job.begin.position).max()))


def output(job: Job, k: int) -> Path:
    """The k-th snapshot."""
    return job.folder / f"snapshot_{k:04d}.hdf5"


def read(job: Job, path: Path) -> State:
    """One snapshot, back from the middle of the box."""
    return read_particles(job, path, shift_kpc=0.5 * _box_kpc(job))
