"""Particles for programs that read and write Gadget-style HDF5, in kpc, km/s and 1e10 Msun."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.nbody.engines.program import GAS, NEW_STARS, Job, State
from emeraldcut.nbody.snapshot import COMPONENTS, KPC_PER_KM_S_GYR, UNIT_MASS_MSUN, UNITS
from emeraldcut.nbody.snapshot_files import read_snapshot
from emeraldcut.runs.writing import new_hdf5

INITIAL, OUTPUTS = "initial.hdf5", "outputs.txt"  # in the program's folder


def check_program(job: Job) -> None:
    """Raises ValueError if there is no such program, or for gas that it would not move as ours."""
    name, program = job.settings.engine, job.program.executable
    if not program or (not job.program.script and not shutil.which(program)):
        raise UsageError(f"the engine {name} needs --executable, a program that can be run; received '{program}'.")
    adiabatic = job.settings.gas == "adiabatic" and job.settings.star_efficiency == 0
    if job.gas.any() and not adiabatic:
        raise UsageError(
            f"the engine {name} moves adiabatic gas without star formation; received gas '{job.settings.gas}' and "
            f"star_efficiency {job.settings.star_efficiency:g}."
        )


def executable(job: Job) -> str:
    """The program's whole path, since it runs in a folder of its own; as it is where it is not here."""
    return str(Path(found).resolve()) if (found := shutil.which(job.program.executable)) else job.program.executable


def internal_times(job: Job) -> list[float]:
    """Times of the outputs in the program's unit, 0.978 Gyr."""
    return [gyr * KPC_PER_KM_S_GYR for gyr in job.gyr_of_outputs]


def write_particles(job: Job, parts: Mapping[str, int], shift_kpc: float = 0.0, box_kpc: float = 0.0) -> None:
    """Writes the particles of `job.begin` to `initial.hdf5`.

    Parameters
    ----------
    parts : component to number of PartType
    shift_kpc : added to positions along each axis
    """
    begin = job.begin
    numbers = np.array([parts[name] for name in COMPONENTS])[begin.component]
    counts = np.bincount(numbers, minlength=6)[:6]
    ids = np.arange(1, len(begin) + 1, dtype=np.uint32)
    with new_hdf5(job.folder / INITIAL) as file:
        header = {
            "NumPart_ThisFile": counts.astype(np.uint32),
            "NumPart_Total": counts.astype(np.uint32),
            "NumPart_Total_HighWord": np.zeros(6, np.uint32),
            "MassTable": np.zeros(6),
            "Time": begin.time_gyr * KPC_PER_KM_S_GYR,
            "Redshift": 0.0,
            "BoxSize": box_kpc,
            "NumFilesPerSnapshot": 1,
            "Dimension": 3,
            "HubbleParam": 1.0,
        }
        flags = ("Sfr", "Feedback", "Cooling", "StellarAge", "Metals", "Entropy_ICs", "DoublePrecision")
        file.create_group("Header").attrs.update(header | {f"Flag_{name}": 0 for name in flags})
        cgs = {"mass": ("M", "UnitMass_in_g"), "length": ("L", "UnitLength_in_cm"), "time": ("t", "UnitTime_in_s")}
        units = {f"Unit {what} in cgs (U_{letter})": UNITS[name] for what, (letter, name) in cgs.items()}
        units |= {"Unit current in cgs (U_I)": 1.0, "Unit temperature in cgs (U_T)": 1.0}
        file.create_group("Units").attrs.update(units | UNITS)
        for number in np.unique(numbers):
            own = numbers == number
            group = file.create_group(f"PartType{number}")
            group["Coordinates"] = np.asarray(begin.position, float)[own] + shift_kpc
            group["Velocities"] = begin.velocity[own].astype(np.float32)
            group["Masses"] = (np.asarray(begin.mass, float)[own] / UNIT_MASS_MSUN).astype(np.float32)
            group["ParticleIDs"] = ids[own]
            group["SmoothingLength"] = job.softening_kpc[begin.component[own]].astype(np.float32)
            if number == parts["gas"]:
                group["InternalEnergy"] = begin.internal_energy[own].astype(np.float32)


def read_particles(job: Job, path: Path, shift_kpc: float = 0.0) -> State:
    """An output, its particles in the order of `job.begin`, which their ids tell.

    Raises ValueError if it cannot be read or lacks particles.
    """
    import h5py

    there = read_snapshot(path)
    with h5py.File(path, "r") as file:
        parts = [file[f"PartType{k}"] for k in range(5) if f"PartType{k}" in file and len(file[f"PartType{k}"])]
        ids = np.concatenate([part["ParticleIDs"][:] for part in parts]).astype(np.int64)
        names = ("Potential", "Potentials")
        phi = [part[name][:] for part in parts for name in names if name in part]
        energies = [part["InternalEnergy"][:] for part in parts if "InternalEnergy" in part]
    order = np.argsort(ids)
    if len(ids) != len(there) or not np.array_equal(ids[order], np.arange(1, len(job.begin) + 1)):
        raise ValueError(f"it holds {len(ids)} particles, not the {len(job.begin)} that were sent, each once")
    mass, component = there.mass[order], job.begin.component.copy()
    component[job.gas & (there.component[order] != GAS)] = NEW_STARS
    internal_energy = np.full(len(order), np.nan)
    if energies:
        internal_energy[component == GAS] = np.concatenate(energies)[np.argsort(ids[there.component == GAS])]
    potential = None
    if sum(map(len, phi)) == len(ids):
        potential = float(0.5 * np.concatenate(phi)[order].astype(float) @ mass)
    return State(
        np.asarray(there.position, float)[order] - shift_kpc,
        there.velocity[order],
        mass,
        component,
        internal_energy,
        there.time_gyr,
        potential,
    )
