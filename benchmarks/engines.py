"""Do other programs make the same remnant? One merger in our tree, in Fi and in Gadget-2.

    export EMERALDCUT_AMUSE_PYTHON=FOLDER/bin/python        (after tools/install_amuse.sh FOLDER)
    python benchmarks/engines.py [--quick] [--gadget2 PROGRAM] [--gas] [--folder DIR] [--figure FILE]

Two equal galaxies of 10,000 particles each, those of Naab & Burkert (2003) without their bulges, start from the same
particles in four runs: in our tree, in our tree with finer forces and steps (which shows what particle chaos does by
itself), in Fi within AMUSE, and in Gadget-2, within AMUSE or, with --gadget2, as a stand-alone program.

Softening differs in kind. Theirs is a spline of 0.7 kpc: by the usual rule it is as deep as a Plummer sphere of that
length, but beyond 2.8 times that length the force is Newton's. The Plummer softening that acts alike is the one with
the same potential energy, for these particles 0.3 kpc (see `potential` below), and our tree runs with it.

Gadget-2 also runs for a short time with one process and with two. With --folder finished runs are kept. With --gas a
fifth of the discs is gas, 1,000 particles in each galaxy, and only our tree and Fi run; the record is `engines-gas`.
--quick runs these two over 0.05 Gyr and compares only the potential.

Keys of the last line, of each run:

    potential            of all particles at the start, in 1e16 Msun (km/s)^2
    coalesced_gyr        time from which the centres stay within one scale length, interpolated between outputs
    half_mass_kpc        radius of the sphere with half of the stellar mass
    axis_ratio           median of 100 views, at 1.5 half-light semi-major axes
    a4, a4_err           mean a4/a of 100 views inside that radius; standard error of one view
    boxy                 fraction of views with a4 < 0
    energy_drift         largest relative change of the energy; Fi does not report what gas radiates
    new_stars            fraction of the gas that has become stars
    cpu_seconds          of the engine, without writing outputs
    wall_seconds

and under `processes`, of the short runs: one_process_seconds, two_processes_seconds (wall) and same_position_kpc, the
median distance between the places of a particle in the two runs.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import record
from astropy.table import Table

from emeraldcut.camera import measure_remnant
from emeraldcut.camera.stars import gather
from emeraldcut.mergers import DIAGNOSTICS, PROGENITORS, SuiteSettings, plan, snapshots_of
from emeraldcut.mergers.tasks import begin
from emeraldcut.nbody import EvolveSettings, evolve, read_snapshot
from emeraldcut.nbody.engines.program import ProgramSettings, evolve_elsewhere
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.nbody.snapshot_files import write_snapshot
from emeraldcut.report.figures.palette import EMERALD, GREY
from emeraldcut.report.figures.style import new_figure, save_figure
from emeraldcut.runs import read_manifest
from emeraldcut.runs.run import MANIFEST, Run
from emeraldcut.settings import to_toml
from emeraldcut.tables import read_table
from emeraldcut.tables.files import write_table

SEED, VIEWS, STACK = 2003, 100, 5
GALAXY = replace(
    PROGENITORS["naab_burkert"], bulge_mass_msun=0.0, halo_particles=4000, star_particles=6000, gas_particles=1000
)
MERGER = SuiteSettings(mass_ratios=(1.0,), orbits=1, control=False, separation=15.0, eccentricity=0.9)
OURS, THEIRS = ((length,) * 5 for length in (0.3, 0.7))  # softening in kpc
TREE = EvolveSettings(softening_kpc=OURS, accuracy=0.5, output_gyr=0.025)
RUNS = {
    "tree": TREE,
    "tree, finer": replace(TREE, accuracy=0.3, opening=0.6),
    "Fi": replace(TREE, engine="amuse:fi", softening_kpc=THEIRS),
    "Gadget-2": replace(TREE, softening_kpc=THEIRS, accuracy=0.3),  # its steps differ for each particle
}
GYR, SHORT_GYR = 0.7, 0.05
COLOURS = dict(zip(RUNS, (EMERALD, "#8fc1a9", "#c0504d", "#3b6ea5"), strict=True))


def particles(folder: Path, gas_fraction: float) -> Snapshot:
    """Both galaxies at the start."""
    folder.mkdir(parents=True, exist_ok=True)
    galaxy = folder / "galaxy.toml"
    galaxy.write_text(to_toml(replace(GALAXY, gas_fraction=gas_fraction)))
    merger = replace(MERGER, progenitor=str(galaxy), gas_fractions=(gas_fraction,))
    return begin(plan(merger)[0], merger, SEED, THEIRS)


def run(folder: Path, both: Snapshot, how: EvolveSettings, program: ProgramSettings, gyr: float) -> Path:
    """Runs an engine unless the run is finished; returns its folder with snapshots, diagnostics and manifest."""
    if (folder / MANIFEST).exists():
        return folder
    kept = Run.start(folder, "engines", (how, program), SEED)
    if how.engine == "tree":
        states = evolve(both, how, until_gyr=gyr)
    else:
        states = evolve_elsewhere(both, how, program, until_gyr=gyr, folder=folder / "program")
    rows, begun = [], time.perf_counter()
    for k, (snapshot, row) in enumerate(states):
        write_snapshot(snapshot, folder / f"snapshot_{k:04d}.hdf5")
        rows.append({key: value for key, value in row.items() if np.ndim(value) == 0})
    write_table(Table(rows=rows), folder / DIAGNOSTICS, overwrite=True)
    seconds = time.perf_counter() - begun
    kept.finish(seconds=seconds)
    print(f"{folder.name}: {seconds:.0f} s", flush=True)
    return folder


def coalesced(rows, scale_kpc: float) -> float:
    """Time in Gyr from which the centres stay within a scale length, interpolated linearly between outputs."""
    gap, gyr = np.asarray(rows["separation_kpc"]), np.asarray(rows["time_gyr"])
    last = np.flatnonzero(gap > scale_kpc)[-1]
    if last == len(gap) - 1:
        return float("nan")
    return float(np.interp(scale_kpc, [gap[last + 1], gap[last]], [gyr[last + 1], gyr[last]]))


def figures_of(folder: Path) -> tuple[dict[str, float], np.ndarray]:
    """The figures of a run, and the a4 of its views."""
    rows = read_table(folder / DIAGNOSTICS)
    energy = np.asarray(rows["energy"])
    snapshots = [read_snapshot(path) for path in snapshots_of(folder)[-STACK:]]
    views = measure_remnant(snapshots, VIEWS, seed=0)
    views = views[np.isfinite(views["a4"])]
    a4 = np.asarray(views["a4"])
    return {
        "potential": rows["potential"][0] / 1e16,
        "coalesced_gyr": coalesced(rows, GALAXY.disc_scale_kpc),
        "half_mass_kpc": gather(snapshots, None).half_light_kpc,
        "axis_ratio": np.median(views["axis_ratio"]),
        "a4": np.mean(a4),
        "a4_err": np.mean(views["a4_err"]),
        "boxy": np.mean(a4 < 0),
        "energy_drift": np.abs(energy / energy[0] - 1).max(),
        "new_stars": rows["new_stars_mass"][-1] / max(rows["gas_mass"][0], 1.0),
        "cpu_seconds": rows["force_seconds"][-1],
        "wall_seconds": read_manifest(folder)["seconds"],
    }, a4


def draw(folders: dict[str, Path], found: dict[str, tuple[dict, np.ndarray]], path: Path) -> None:
    """Separation of the centres, half-mass radius of the stars, and a4 of the views, of all runs."""
    figure = new_figure(11.0, 3.3)
    left, middle, right = figure.subplots(1, 3)
    for name, folder in folders.items():
        rows, colour = read_table(folder / DIAGNOSTICS), COLOURS[name]
        left.plot(rows["time_gyr"], rows["separation_kpc"], color=colour, linewidth=1.2, label=name)
        late = [snapshot for snapshot in map(read_snapshot, snapshots_of(folder)) if snapshot.time_gyr > 0.4]
        half = [(snapshot.time_gyr, gather([snapshot], None).half_light_kpc) for snapshot in late]
        middle.plot(*np.transpose(half), color=colour, linewidth=1.2)
        facts, a4 = found[name]
        right.plot(np.sort(a4), np.linspace(0, 1, len(a4)), color=colour, linewidth=1.2)
    right.errorbar(np.mean(a4), 0.06, xerr=facts["a4_err"], color=GREY, capsize=2, linewidth=1)
    right.axvline(0, color=GREY, linewidth=0.6)
    left.set(xlabel="time in Gyr", ylabel="distance of the centres in kpc", yscale="log")
    middle.set(xlabel="time in Gyr", ylabel="half-mass radius of the stars in kpc", ylim=(0, None))
    right.set(xlabel="a4/a of 100 views; error bar: one view", ylabel="cumulative fraction of views")
    left.legend(frameon=False, fontsize=8)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save_figure(figure, path)


def processes(folder: Path, both: Snapshot, how: EvolveSettings, executable: str) -> dict[str, float]:
    """Short runs with one process and with two."""
    ends, result = [], {}
    for name, number in (("one_process", 1), ("two_processes", 2)):
        done = run(folder / name, both, how, ProgramSettings(executable=executable, mpi=number), SHORT_GYR)
        result[f"{name}_seconds"] = read_manifest(done)["seconds"]
        ends.append(read_snapshot(snapshots_of(done)[-1]).position)
    return result | {"same_position_kpc": float(np.median(np.linalg.norm(ends[0] - ends[1], axis=1)))}


def main() -> None:
    parser = record.parser(__doc__, "our tree and Fi over 0.05 Gyr", figure="engines.png")
    parser.add_argument("--gadget2", default="", metavar="PROGRAM", help="Gadget-2 as a stand-alone program")
    parser.add_argument("--gas", action="store_true", help="a fifth of the discs is gas; our tree and Fi")
    parser.add_argument("--folder", type=Path, help="where runs are kept")
    arguments = parser.parse_args()
    gadget = replace(RUNS["Gadget-2"], engine="gadget2" if arguments.gadget2 else "amuse:gadget2")
    runs, program = RUNS | {"Gadget-2": gadget}, ProgramSettings(executable=arguments.gadget2)
    if arguments.quick or arguments.gas:
        runs = {name: runs[name] for name in ("tree", "Fi")}
    with TemporaryDirectory() as temporary:
        place = arguments.folder or Path(temporary)
        both = particles(place, 0.2 if arguments.gas else 0.0)
        folders = {
            name: run(place / name.replace(", ", "_"), both, how, program, SHORT_GYR if arguments.quick else GYR)
            for name, how in runs.items()
        }
        if arguments.quick:
            rows = {name: read_table(folder / DIAGNOSTICS) for name, folder in folders.items()}
            figures = {name: {"potential": own["potential"][0] / 1e16} for name, own in rows.items()}
            record.finish("engines", figures, arguments)
            return
        found = {name: figures_of(folder) for name, folder in folders.items()}
        figures = {name: facts for name, (facts, _) in found.items()}
        if path := arguments.figure if arguments.gas else record.figure_of(arguments):
            draw(folders, found, path)
        if not arguments.gas:
            figures["processes"] = processes(place / "processes", both, gadget, arguments.gadget2)
        record.finish("engines-gas" if arguments.gas else "engines", figures, arguments)


if __name__ == "__main__":
    main()
