"""GADGET-2 (Springel 2005, MNRAS 364, 1105) and GADGET-4 (Springel et al. 2021, MNRAS 506, 2871), built elsewhere."""

from __future__ import annotations

from pathlib import Path

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
from emeraldcut.nbody.snapshot import COMPONENTS, GRAVITY, KPC_PER_KM_S_GYR, UNIT_MASS_MSUN, UNITS
from emeraldcut.runs.writing import write_text

PARTS = {"gas": 0, "halo": 1, "disc": 2, "bulge": 3, "new_stars": 4}  # each has a softening length of its own
NAMES_OF_2 = ("Gas", "Halo", "Disk", "Bulge", "Stars", "Bndry")  # of PartType0 to 5 in GADGET-2
PARAMETERS = "parameters.txt"
LONGEST_STEP_GYR = 0.01
check = check_program


def write(job: Job) -> list[str]:
    """Writes particles, times of the outputs and parameters; returns the command."""
    write_particles(job, PARTS)
    write_text(job.folder / OUTPUTS, "".join(f"{time!r}\n" for time in internal_times(job)))
    values = _parameters(job) | (_of_2(job) if job.settings.engine == "gadget2" else _of_4(job))
    write_text(job.folder / PARAMETERS, "".join(f"{name:<32}{value}\n" for name, value in values.items()))
    command = [executable(job), PARAMETERS]
    return command if job.program.mpi == 1 else ["mpirun", "-n", str(job.program.mpi), *command]


def _parameters(job: Job) -> dict[str, str | int | float]:
    """What both versions know. Steps are at most sqrt(2 ErrTolIntAccuracy softening / acceleration)."""
    times = internal_times(job)
    return {
        "InitCondFile": INITIAL.removesuffix(".hdf5"),
        "OutputDir": ".",
        "SnapshotFileBase": "snapshot",
        "OutputListFilename": OUTPUTS,
        "OutputListOn": 1,
        "ICFormat": 3,
        "SnapFormat": 3,
        "NumFilesPerSnapshot": 1,
        "TimeLimitCPU": 1e9,
        "CpuTimeBetRestartFile": 1e9,
        "ComovingIntegrationOn": 0,
        "TimeBegin": times[0],
        "TimeMax": times[-1],
        "TimeOfFirstSnapshot": times[0],
        "TimeBetSnapshot": times[-1],
        "TimeBetStatistics": job.settings.output_gyr * KPC_PER_KM_S_GYR,
        "Omega0": 0,
        "OmegaLambda": 0,
        "OmegaBaryon": 0,
        "HubbleParam": 1,
        "BoxSize": 0,
        "UnitLength_in_cm": UNITS["UnitLength_in_cm"],
        "UnitMass_in_g": UNITS["UnitMass_in_g"],
        "UnitVelocity_in_cm_per_s": UNITS["UnitVelocity_in_cm_per_s"],
        "GravityConstantInternal": GRAVITY * UNIT_MASS_MSUN,
        "ErrTolIntAccuracy": 0.5 * job.settings.accuracy**2,
        "MaxSizeTimestep": LONGEST_STEP_GYR * KPC_PER_KM_S_GYR,
        "MinSizeTimestep": 0,
        "TypeOfOpeningCriterion": 1,
        "ErrTolTheta": 0.5,
        "ErrTolForceAcc": 0.005,
        "CourantFac": 0.5 * job.settings.courant,  # of the kernel's diameter
        "DesNumNgb": round(job.settings.neighbours),
        "MaxNumNgbDeviation": 2,
        "ArtBulkViscConst": job.settings.viscosity,
        "InitGasTemp": 0,
    }


def _of_2(job: Job) -> dict[str, str | int | float]:
    """What GADGET-2 wants besides."""
    lengths = {number: job.softening_kpc[COMPONENTS.index(name)] for name, number in PARTS.items()}
    softening = {name: lengths.get(number, 0) for number, name in enumerate(NAMES_OF_2)}
    files = {"Energy": "energy.txt", "Info": "info.txt", "Timings": "timings.txt", "Cpu": "cpu.txt"}
    return {
        **{f"{name}File": file for name, file in files.items()},
        "RestartFile": "restart",
        "ResubmitOn": 0,
        "ResubmitCommand": "none",
        "NumFilesWrittenInParallel": 1,
        "PeriodicBoundariesOn": 0,
        "TypeOfTimestepCriterion": 0,
        "MaxRMSDisplacementFac": 0.2,
        "TreeDomainUpdateFrequency": 0.05,
        "MinGasTemp": 0,
        "MinGasHsmlFractional": 0,
        "BufferSize": 25,
        "PartAllocFactor": 2.0,
        "TreeAllocFactor": 1.5,
        **{f"Softening{name}{limit}": length for limit in ("", "MaxPhys") for name, length in softening.items()},
    }


def _of_4(job: Job) -> dict[str, str | int | float]:
    """What GADGET-4 wants besides: a class of softening for each PartType."""
    lengths = [0.0] * 6
    for name, number in PARTS.items():
        lengths[number] = float(job.softening_kpc[COMPONENTS.index(name)])
    lengths[5] = max(lengths)
    return {
        "Hubble": 0.1,
        "MaxMemSize": 4000,
        "MaxFilesWithConcurrentIO": 1,
        "ErrTolThetaMax": 1.0,
        "TopNodeFactor": 3.0,
        "ActivePartFracForNewDomainDecomp": 0.01,
        "MinEgySpec": 0,
        **{f"SofteningClassOfPartType{k}": k for k in range(6)},
        **{f"Softening{kind}Class{k}": lengths[k] for kind in ("Comoving", "MaxPhys") for k in range(6)},
    }


def output(job: Job, k: int) -> Path:
    """The k-th snapshot."""
    return job.folder / f"snapshot_{k:03d}.hdf5"


def read(job: Job, path: Path) -> State:
    """One snapshot."""
    return read_particles(job, path)
