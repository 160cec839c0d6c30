"""What is conserved in a merger, how thick a disc becomes, and the summary of a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.camera.remnant import measure_remnant
from emeraldcut.camera.stars import FEWEST
from emeraldcut.mergers.tasks import DIAGNOSTICS, SuiteSettings, Task, snapshots_of
from emeraldcut.nbody.centre import centre_of
from emeraldcut.nbody.snapshot import COMPONENTS, Snapshot
from emeraldcut.nbody.snapshot_files import read_snapshot
from emeraldcut.tables.files import read_table

THICKENING = 1.3  # of an isolated disc before the encounter, above which a suite is not to be trusted
CONTROL_VIEWS, CONTROL_STACK = 100, 3  # of each control, at its beginning and its end; snapshots that are seen together
VECTORS = ("momentum", "angular_momentum")  # of diagnostics, three columns each
MERGED = 0.5  # centres that stay within so many scale lengths of the heavier disc have merged


def disc_of(snapshot: Snapshot) -> dict[str, float]:
    """How thick the disc of the first galaxy is, and how large, in kpc.

    The median height of its stars, about their own plane, within twice their median radius; and that radius.
    """
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
    """How far what is conserved has changed since the first row, (n,) each.

    `energy` and `angular_momentum` over what they were, `momentum` over sqrt(2 K M), that of all the mass M at the root
    mean square speed of its kinetic energy K.
    """
    energy = np.asarray(rows["energy"], float)
    changes = {name: np.linalg.norm(vectors(rows, name) - vectors(rows, name)[0], axis=1) for name in VECTORS}
    return {
        "energy": np.abs(energy / energy[0] - 1),
        "momentum": changes["momentum"] / np.sqrt(2 * float(rows["kinetic"][0]) * mass_msun),
        "angular_momentum": changes["angular_momentum"] / np.linalg.norm(vectors(rows, "angular_momentum")[0]),
    }


def _spacing(snapshot: Snapshot, chosen: np.ndarray) -> float:
    """Mean distance in kpc of neighbours: the cube root of the volume per particle.

    In the sphere that holds half of the chosen particles of the first galaxy.
    """
    position = np.asarray(snapshot.position, float)[chosen & (snapshot.galaxy == 0)]
    if len(position) == 0:
        return float("nan")
    radius = np.median(np.linalg.norm(position - np.median(position, axis=0), axis=1))
    return float(radius * np.cbrt(4 / 3 * np.pi / (len(position) / 2)))


def summarise(task: Task, rows: Table, first: Snapshot, scale_kpc: float) -> dict[str, Any]:
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


def thickening(folder: Path, tasks: list[Task], settings: SuiteSettings) -> dict[str, float]:
    """For each control the thickness of its disc when the galaxies would meet, as points, over that at the start."""
    if settings.grid == "alone":  # these are no controls of anything
        return {}
    meeting = 1.0
    for task in tasks:
        if task.mass_ratio is not None and settings.grid not in ("thesis", "encounter"):
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


def control_a4(folder: Path, controls: list[str]) -> dict[str, dict[str, list[float]]]:
    """What noise and heating make of a galaxy alone, at its `begin` and `end`: four numbers each.

    16, 50 and 84 % of its views have an a4/a below the first three, and the mean standard error of one view from its
    number of particles is the fourth.

    Views and a4/a are those of `remnant.measure_remnant`, of a few snapshots together. NaN where there are too few
    particles.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for name in controls:
        there = snapshots_of(folder / name)
        found[name] = {}
        for when, paths in (("begin", there[:CONTROL_STACK]), ("end", there[-CONTROL_STACK:])):
            snapshots = [read_snapshot(path) for path in paths]
            found[name][when] = [np.nan] * 4
            if np.count_nonzero(snapshots[0].stars) < FEWEST:
                continue
            views = measure_remnant(snapshots, CONTROL_VIEWS, seed=0)
            a4, error = (np.asarray(views[column])[np.isfinite(views["a4"])] for column in ("a4", "a4_err"))
            if len(a4):
                found[name][when] = [*map(float, np.quantile(a4, (0.16, 0.5, 0.84))), float(error.mean())]
    return found
