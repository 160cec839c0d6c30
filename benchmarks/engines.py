"""Do other programs make the same remnant? One merger without gas in our tree, in Fi and in Gadget-2.

    export EMERALDCUT_AMUSE_PYTHON=FOLDER/bin/python        (after tools/install_amuse.sh FOLDER)
    python benchmarks/engines.py [--gadget2 PROGRAM] [--folder DIR] [--figure FILE] [--quick]

Two equal galaxies of 10,000 particles each, those of Naab & Burkert (2003) without their bulges, begin as the same
particles with the same softening of 0.7 kpc (Plummer; the others' splines are as deep) and the same rule for steps. The
runs are: our tree; our tree with finer forces and steps, which shows what the chaos of particles does by itself; Fi in
AMUSE; Gadget-2 in AMUSE, or with --gadget2 as a program of its own. Then Gadget-2 for a short time with one process and
with two. With --folder what is done is kept, and a run that was stopped goes on. --quick takes our tree and Fi over
0.05 Gyr, and nothing to compare. The last line is one JSON object, of each run:

    coalesced_gyr        since when the centres have stayed within one scale length, between outputs
    half_mass_kpc        radius of the sphere with half of the stars' mass
    axis_ratio           median of 100 views, at 1.5 half-light semi-major axes
    a4, a4_err           a4/a within: mean of 100 views, and the standard error of one
    boxy                 share of the views with a4 < 0
    energy_drift         largest change of the energy
    cpu_seconds          of the program, and of what looks at its outputs
    wall_seconds

and of the short runs `one_process_seconds`, `two_processes_seconds` (wall), `same_position_kpc`, the median distance of
a particle in one from itself in the other.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from emeraldcut.data import read_manifest, read_snapshot, read_table
from emeraldcut.data.run import MANIFEST
from emeraldcut.mergers import (
    DIAGNOSTICS,
    PROGENITORS,
    SUITE,
    EvolveSettings,
    ProgramSettings,
    SuiteSettings,
    look_at,
    simulate,
    snapshots_of,
)  # fmt: skip
from emeraldcut.mergers.stars import gather
from emeraldcut.report.figures import EMERALD, GREY, new_figure, save_figure
from emeraldcut.settings import to_toml

SEED, VIEWS, STACK = 2003, 100, 5
GALAXY = replace(PROGENITORS["naab_burkert"], bulge_mass_msun=0.0, halo_particles=4000, star_particles=6000)
MERGER = SuiteSettings(
    mass_ratios=(1.0,), orbits=1, control=False, separation=15.0, eccentricity=0.9, duration_gyr=0.9
)  # fmt: skip
MOVING = EvolveSettings(softening_kpc=(0.7,) * 5, accuracy=0.5, output_gyr=0.025)
SHORT_GYR = 0.05
COLOURS = (EMERALD, "#8fc1a9", "#c0504d", "#3b6ea5")


def run(folder: Path, merger: SuiteSettings, moving: EvolveSettings, program: ProgramSettings) -> Path:
    """Runs the merger, or goes on with it; returns its folder. How long it took is kept beside it."""
    if not (folder / MANIFEST).exists():
        folder.mkdir(parents=True, exist_ok=True)
        galaxy, begun = folder.parent / "galaxy.toml", time.perf_counter()
        galaxy.write_text(to_toml(GALAXY))
        simulate(folder, replace(merger, progenitor=str(galaxy)), moving, program, seed=SEED)
        print(f"{folder.name}: {time.perf_counter() - begun:.0f} s", flush=True)
    return folder / str(read_table(folder / SUITE)["merger"][0])


def coalesced(rows, scale_kpc: float) -> float:
    """When the centres come within a scale length for good, in Gyr, by straight lines between outputs."""
    gap, gyr = np.asarray(rows["separation_kpc"]), np.asarray(rows["time_gyr"])
    last = np.flatnonzero(gap > scale_kpc)[-1]
    if last == len(gap) - 1:
        return float("nan")
    return float(np.interp(scale_kpc, [gap[last + 1], gap[last]], [gyr[last + 1], gyr[last]]))


def figures_of(task: Path) -> tuple[dict[str, float], np.ndarray]:
    """What a run comes to, and the a4 of its views."""
    rows, spent = read_table(task / DIAGNOSTICS), read_manifest(task)
    snapshots = [read_snapshot(path) for path in snapshots_of(task)[-STACK:]]
    views = look_at(snapshots, VIEWS, seed=0)
    a4 = np.asarray(views["a4"])
    return {
        "coalesced_gyr": coalesced(rows, GALAXY.disc_scale_kpc),
        "half_mass_kpc": gather(snapshots, None).half_light_kpc,
        "axis_ratio": np.nanmedian(views["axis_ratio"]),
        "a4": np.nanmean(a4),
        "a4_err": np.nanmean(views["a4_err"]),
        "boxy": np.mean(a4 < 0),
        "energy_drift": spent["row"]["energy_drift"],
        "cpu_seconds": spent["force_seconds"] + spent["other_seconds"],
        "wall_seconds": spent["wall_seconds"],
    }, a4


def draw(tasks: dict[str, Path], looks: dict[str, tuple[dict, np.ndarray]], path: str) -> None:
    """Separation of the centres, half-mass radius of the stars, and a4 of the views, of all runs."""
    figure = new_figure(11.0, 3.3)
    left, middle, right = figure.subplots(1, 3)
    for (name, task), colour in zip(tasks.items(), COLOURS, strict=False):
        rows = read_table(task / DIAGNOSTICS)
        left.plot(rows["time_gyr"], rows["separation_kpc"], color=colour, linewidth=1.2, label=name)
        every = snapshots_of(task)[:: max(len(rows) // 18, 1)]
        half = [(s.time_gyr, gather([s], None).half_light_kpc) for s in map(read_snapshot, every)]
        middle.plot(*np.transpose(half), color=colour, linewidth=1.2)
        facts, a4 = looks[name]
        right.plot(np.sort(a4), np.linspace(0, 1, len(a4)), color=colour, linewidth=1.2)
    right.errorbar(np.nanmean(a4), 0.06, xerr=facts["a4_err"], color=GREY, capsize=2, linewidth=1)
    right.axvline(0, color=GREY, linewidth=0.6)
    left.set(xlabel="time in Gyr", ylabel="distance of the centres in kpc", yscale="log")
    middle.set(xlabel="time in Gyr", ylabel="half-mass radius of the stars in kpc", yscale="log")
    right.set(xlabel="a4/a of 100 views; below: error of one", ylabel="share of views with less")
    left.legend(frameon=False, fontsize=8)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save_figure(figure, path)


def processes(folder: Path, merger: SuiteSettings, moving: EvolveSettings, executable: str) -> dict[str, float]:
    """A short time with one and with two processes."""
    ends, result = [], {}
    for name, number in (("one_process", 1), ("two_processes", 2)):
        program = ProgramSettings(executable=executable, mpi=number)
        task = run(folder / name, replace(merger, duration_gyr=SHORT_GYR), moving, program)
        result[f"{name}_seconds"] = read_manifest(task)["wall_seconds"]
        ends.append(read_snapshot(snapshots_of(task)[-1]).position)
    return result | {"same_position_kpc": float(np.median(np.linalg.norm(ends[0] - ends[1], axis=1)))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gadget2", default="", metavar="PROGRAM", help="Gadget-2 as a program of its own")
    parser.add_argument("--folder", type=Path, help="where runs are kept")
    parser.add_argument("--figure", default="engines.png", help="where the picture goes")
    parser.add_argument("--quick", action="store_true", help="our tree and Fi over 0.05 Gyr")
    arguments = parser.parse_args()
    gadget = "gadget2" if arguments.gadget2 else "amuse:gadget2"
    runs = {
        "tree": MOVING,
        "tree, finer": replace(MOVING, accuracy=0.3, opening=0.6),
        "Fi": replace(MOVING, engine="amuse:fi"),
        "Gadget-2": replace(MOVING, engine=gadget),
    }
    merger, program = MERGER, ProgramSettings(executable=arguments.gadget2)
    if arguments.quick:
        merger, runs = replace(MERGER, duration_gyr=SHORT_GYR), {name: runs[name] for name in ("tree", "Fi")}
    with TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        tasks = {name: run(folder / name.replace(", ", "_"), merger, how, program) for name, how in runs.items()}
        if arguments.quick:
            drifts = {name: read_manifest(task)["row"]["energy_drift"] for name, task in tasks.items()}
            print(json.dumps({name: {"energy_drift": round(float(drift), 6)} for name, drift in drifts.items()}))
            return
        looks = {name: figures_of(task) for name, task in tasks.items()}
        draw(tasks, looks, arguments.figure)
        found = {name: {key: round(float(v), 5) for key, v in facts.items()} for name, (facts, _) in looks.items()}
        short = processes(folder / "processes", merger, runs["Gadget-2"], arguments.gadget2)
        print(json.dumps(found | {"processes": {key: round(value, 5) for key, value in short.items()}}))


if __name__ == "__main__":
    main()
