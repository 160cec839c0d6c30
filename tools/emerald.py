"""The runs behind docs/emerald.md: simulates them, writes them to docs/search_runs.csv, prints the numbers of the page.

    python tools/emerald.py run FOLDER [--only PATTERN] [--until HH:MM]   simulates what FOLDER lacks, one after another
    python tools/emerald.py list                                          names of all runs
    python tools/emerald.py table FOLDER [SEARCH=NAME ...]                rows of the finished runs into the table
    python tools/emerald.py look FOLDER SIMULATED NAME MERGER             the row of a run of `emeraldcut simulate`
    python tools/emerald.py claims                                        what the page states, from the table alone
    python tools/emerald.py motion FOLDER NAME ...                        kinematics of remnants
    python tools/emerald.py picture FOLDER NAME TITLE FILE                a remnant beside our model of LEDA 074886

Every run has a name, in the order of this file, and a seed, so that a run that is repeated gives the same particles.
A row of the table is kept unless a finished run of the same name in FOLDER replaces it. SEARCH=NAME adds the
evaluations of a folder of `emeraldcut search` as rows NAME-0, NAME-1, ...
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from emeraldcut.camera.remnant_shape import UNMIXED_NODES, Body, Views, even_directions, families, view_remnant
from emeraldcut.mergers.encounters import EncounterSettings, TidalOrbit
from emeraldcut.mergers.progenitors import ProgenitorSettings
from emeraldcut.mergers.tasks import begin, evolution_seed, plan, snapshots_of
from emeraldcut.nbody.centre import centre_of
from emeraldcut.nbody.leapfrog import evolve
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.nbody.snapshot_files import read_snapshot
from emeraldcut.report.figures.search_plots import remnants_figure
from emeraldcut.runs import read_manifest
from emeraldcut.search import BUILT_IN
from emeraldcut.search.evaluation import ACCURACY, STACK, Encounter, Remnant, bodies_of
from emeraldcut.search.prevalence import interval
from emeraldcut.search.search import keep_stars

TABLE = Path(__file__).resolve().parent.parent / "docs" / "search_runs.csv"
OUTPUT_GYR, SOFTENING_KPC = 0.125, (0.4, 0.1, 0.1, 0.1, 0.1)
RADII = (0.5, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0)  # half-light semi-major axes
OUTER = (1.5, 2.0, 2.5)  # of these, where LEDA 074886 is compared
EDGE_ON_DEG = 14.0  # directions so close to edge-on are averaged
MET_KPC, ARRIVED_KPC = 1.5, 3.0
PARTICLES = {"host_halo": 14_000, "host_stars": 7_000, "companion_halo": 6_000, "companion_stars": 7_000}
GAS_PARTICLES = 3_000  # of each disc that has gas

# Masses in Msun, lengths in kpc, angles in degrees; all else is in COMMON.
COMMON = {
    "host_height_kpc": 0.15, "host_toomre_q": 1.5, "host_concentration": 11.0, "host_gas_fraction": 0.0,
    "companion_height_kpc": 0.15, "companion_toomre_q": 1.5, "companion_concentration": 15.0,
    "companion_gas_fraction": 0.0, "phase_deg": 0.0,
}  # fmt: skip
_NAMES = (
    "host_stars_msun", "host_scale_kpc", "host_halo_msun", "companion_stars_msun", "companion_scale_kpc",
    "companion_halo_msun", "start_kpc", "circularity", "orbit_angle_deg", "tilt_deg", "azimuth_deg",
)  # fmt: skip
MERGERS = {
    "A": (5.71e8, 0.76, 2.87e10, 3.56e8, 0.99, 7.3e8, 3.0, 0.71, 92.0, 11.1, 24.0),
    "B": (7.67e8, 1.14, 4.8e10, 4.05e8, 1.04, 9.12e8, 7.2, 0.80, 77.0, 17.4, 344.0),
    "C": (1.06e9, 0.68, 4.32e10, 7.45e8, 0.89, 1.28e9, 6.5, 0.82, 95.0, 11.2, 17.0),
    "D": (5.37e8, 1.22, 4.7e10, 4.37e8, 1.19, 9.24e8, 5.5, 0.68, 81.1, 26.5, 255.0),
    "E": (5.46e8, 1.21, 1.3e10, 4.12e8, 1.07, 8.28e8, 5.1, 0.68, 99.1, 3.7, 126.0),
    # found by the search for LEDA 074886 with few particles: numbers 22 and 37 of those drawn by a Sobol sequence
    "G": (6.9914e8, 1.1041, 2.7972e10, 4.6781e8, 0.93557, 2.1353e9, 6.2663, 0.89564, 77.167, 23.86, 141.83),
    "H": (5.7786e8, 1.0722, 1.0968e10, 6.1834e8, 1.1997, 2.4947e9, 4.2354, 0.97202, 88.473, 26.797, 333.67),
}
MERGERS = {letter: dict(zip(_NAMES, values, strict=True)) | COMMON for letter, values in MERGERS.items()}
MERGERS["G"]["phase_deg"], MERGERS["H"]["phase_deg"] = 201.31, 334.84
SEEDS = {"A": 19, "B": 15, "C": 12, "D": 18, "E": 22, "G": 31, "H": 31}  # of their first runs
# Drawn by a Sobol sequence: companions that come from far away, with enough dark matter for friction to bring them in.
AFAR = {
    "host_stars_msun": (5e8, 1.2e9), "host_halo_msun": (2e10, 6e10), "host_scale_kpc": (0.7, 1.3),
    "companion_stars_over_host": (0.4, 1.0), "companion_halo_over_stars": (4.0, 12.0),
    "companion_scale_kpc": (0.7, 1.3), "start_kpc": (20.0, 30.0), "circularity": (0.7, 1.0),
    "orbit_angle_deg": (70.0, 100.0), "phase_deg": (0.0, 360.0), "tilt_deg": (0.0, 25.0), "azimuth_deg": (0.0, 360.0),
}  # fmt: skip
POOL = 48  # evaluations of the search for LEDA 074886 that were drawn by a Sobol sequence
SAME = {  # runs of the table that differ in their particles alone
    "A": ("A-az24", "A-simulate-s0", "A-simulate-s1", "A-s31", "A-s32"), "B": ("B-az344", "B-s31", "B-s32"),
    "C": ("C-p0-az17", "C-s31", "C-s32"), "D": ("D-az255", "D-s2", "D-s31", "D-s32"),
    "E": ("E-az126", "E-s31", "E-s32"), "G": ("G-s31", "G-s32", "G-s33"),
    "H": ("H-s31", "H-s32", "H-s33"),
}  # fmt: skip
REMNANTS = {  # rows of the page's first table of results
    "A-az24": "A, 19", "A-az24-acc12": "A, 19, longer steps", "A-simulate-s0": "A, by `simulate emerald --seed 0`",
    "A-simulate-s1": "A, by `simulate emerald --seed 1`", "A-s31": "A, 31", "A-3x": "A, 19, three times the particles",
    "B-az344": "B, 15", "B-s31": "B, 31", "B-3x": "B, 15, three times the particles", "C-p0-az17": "C, 12",
    "C-s31": "C, 31", "D-az255": "D, 18", "D-s2": "D, 2", "D-s31": "D, 31", "D-3x": "D, 18, three times the particles",
    "D-3x-s2": "D, 2, three times the particles", "D-halfsoft": "D, 18, half the softening",
    "D-gadget2": "D, 0, by GADGET-2", "E-az126": "E, 22", "E-s31": "E, 31", "F-p0": "F, 1",
    "G-s31": "G, 31", "G-s32": "G, 32", "G-s33": "G, 33", "G-3x": "G, 31, three times the particles",
    "H-s31": "H, 31", "H-s32": "H, 32", "H-s33": "H, 33", "H-3x": "H, 31, three times the particles",
}  # fmt: skip
GAS = {
    "A-az24": "no gas", "A-az24-gas6": "6 % of both discs as gas", "A-az24-gas12": "12 % of both discs as gas",
    "A-az24-gas30": "30 % of both discs as gas",
}  # fmt: skip
SPECIAL = {  # what else differs in runs from afar
    "afar-F-r20-light-8Gyr": "host halo 1e10 Msun", "afar-B-m2.5-s2": "seed 2", "afar-B-m2.5-s3": "seed 3",
    "afar-B-m2.5-cgas30": "30 % of the companion's disc as gas", "afar-B-round-s2": "seed 2",
    "afar-B-round-s3": "seed 3", "afar-B-round-group": "in the tide of a group",
    "afar-B-round-aligned": "disc along the orbit", "afar-B-round-cold": "companion with Q 1.1 and height 0.1 kpc",
    "afar-B-round-m4-s2": "seed 2", "afar-B-round-m4-s3": "seed 3",
}  # fmt: skip
AFAR_DRAWS, AFAR_SEED, AFAR_GYR = 22, 24, 8.0
FOLLOWED = {"duration_gyr": 8.0, "look_gyr": (3.5, 6.0, 8.0)}
GROUP = TidalOrbit(2e13, 100.0, 400.0, 0.9, 60.0, 0.0)  # a group of galaxies, in which a pair moves


def runs() -> dict[str, dict[str, Any]]:
    """All runs by name, in the order in which they are done: parameters, and what differs from the defaults."""
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, letter: str, **changes: Any) -> None:
        found[name] = MERGERS.get(letter, {}) | {"merger": letter, "seed": SEEDS.get(letter, 0)} | changes

    add("B-8Gyr", "B", **FOLLOWED)  # does a box that is made stay, at this resolution?
    for k, parameters in enumerate(afar_draws()):
        add(f"afar-sobol-{k}", "", **parameters, seed=100 + k, duration_gyr=AFAR_GYR)
    far = {"start_kpc": 20.0, "circularity": 0.9, "duration_gyr": AFAR_GYR}
    near_b = far | {"companion_halo_msun": 2.5e9, "duration_gyr": 9.0}
    add("afar-B-m2.5-s2", "B", **near_b | {"seed": 2})
    add("afar-B-m2.5-s3", "B", **near_b | {"seed": 3})
    add("afar-B-m2.5-round", "B", **near_b | {"circularity": 1.0})
    add("afar-B-m2.5-cgas30", "B", **near_b, companion_gas_fraction=0.3)
    round_b = near_b | {"circularity": 1.0}  # the first of these was boxy, so the next ones vary it
    add("afar-B-round-s2", "B", **round_b | {"seed": 2})
    add("afar-B-round-s3", "B", **round_b | {"seed": 3})
    add("afar-B-round-th85", "B", **round_b | {"orbit_angle_deg": 85.0})
    add("afar-D-round", "D", **round_b)
    add("afar-A-round", "A", **round_b)
    add("afar-E-round", "E", **round_b)
    add("afar-B-round-m4", "B", **round_b | {"companion_halo_msun": 4e9})
    add("afar-B-round-m4-s2", "B", **round_b | {"companion_halo_msun": 4e9, "seed": 2})
    add("afar-B-round-m4-s3", "B", **round_b | {"companion_halo_msun": 4e9, "seed": 3})
    add("afar-D-round-m4", "D", **round_b | {"companion_halo_msun": 4e9})
    add("afar-B-round-m6", "B", **round_b | {"companion_halo_msun": 6e9})
    add("afar-B-round-30kpc-m8", "B", **round_b | {"companion_halo_msun": 8e9, "start_kpc": 30.0})
    add("afar-B-round-30kpc", "B", **round_b | {"companion_halo_msun": 4e9, "start_kpc": 30.0})
    add("afar-B-round-group", "B", **round_b, tide=GROUP)
    add("afar-B-round-aligned", "B", **round_b | {"tilt_deg": 0.0})
    add("afar-B-round-cold", "B", **round_b, companion_toomre_q=1.1, companion_height_kpc=0.1)
    for letter in "ADEC":
        add(f"{letter}-8Gyr", letter, **FOLLOWED)
    for letter in "ABCDE":
        for seed in (31, 32):
            add(f"{letter}-s{seed}", letter, seed=seed)
    for letter in "GH":
        for seed in (31, 32, 33):
            add(f"{letter}-s{seed}", letter, seed=seed)
        add(f"{letter}-3x", letter, times=3)
        add(f"{letter}-8Gyr", letter, **FOLLOWED)
    add("D-3x-s2", "D", times=3, seed=2)
    for letter in "BAEC":
        add(f"{letter}-3x", letter, times=3)
        add(f"{letter}-halfsoft", letter, softening=0.5)
    for letter in "ABCDE":  # what small runs, as those of the search, show of a known box
        for seed in (41, 42):
            add(f"{letter}-small-s{seed}", letter, seed=seed, times=19_500 / 34_000)
    return found


def afar_draws() -> list[dict[str, float]]:
    """Parameters drawn evenly over `AFAR`, masses and lengths in their logarithm."""
    from scipy.stats import qmc

    points = qmc.Sobol(len(AFAR), scramble=True, seed=AFAR_SEED).random_base2(5)[:AFAR_DRAWS]
    drawn = []
    for point in points:
        one = dict(COMMON)
        for (name, (low, high)), part in zip(AFAR.items(), point, strict=True):
            even = name.endswith(("_deg", "circularity"))
            one[name] = float(low + (high - low) * part if even else low * (high / low) ** part)
        stars = one["host_stars_msun"] * one.pop("companion_stars_over_host")
        one |= {"companion_stars_msun": stars, "companion_halo_msun": stars * one.pop("companion_halo_over_stars")}
        drawn.append({name: float(f"{value:.5g}") for name, value in one.items()})
    return drawn


def galaxy(run: dict[str, Any], name: str) -> ProgenitorSettings:
    """The host or the companion of a run."""
    times = run.get("times", 1)
    return ProgenitorSettings(
        halo_mass_msun=run[f"{name}_halo_msun"],
        halo_concentration=run[f"{name}_concentration"],
        disc_mass_msun=run[f"{name}_stars_msun"],
        disc_scale_kpc=run[f"{name}_scale_kpc"],
        disc_height_kpc=run[f"{name}_height_kpc"],
        toomre_q=run[f"{name}_toomre_q"],
        gas_fraction=run[f"{name}_gas_fraction"],
        halo_particles=round(times * PARTICLES[f"{name}_halo"]),
        star_particles=round(times * PARTICLES[f"{name}_stars"]),
        gas_particles=round(times * GAS_PARTICLES),
    )


def encounter(run: dict[str, Any]) -> Encounter:
    """The encounter of a run."""
    names = ("start_kpc", "circularity", "orbit_angle_deg", "phase_deg", "tilt_deg", "azimuth_deg")
    orbit = EncounterSettings(**{name: run[name] for name in names})
    return Encounter(galaxy(run, "host"), galaxy(run, "companion"), orbit, run.get("tide"))


def evolve_settings(run: dict[str, Any]) -> EvolveSettings:
    """How the particles of a run are moved."""
    lengths = tuple(run.get("softening", 1.0) * length for length in SOFTENING_KPC)
    return EvolveSettings(
        softening_kpc=lengths, accuracy=run.get("accuracy", ACCURACY), output_gyr=OUTPUT_GYR, sound_speed_km_s=8.0
    )


def simulate(name: str, run: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Runs one merger, and returns its row of the table; the stars of its last snapshots are kept in `folder`."""
    end = run.get("duration_gyr", 3.5)
    looks = run.get("look_gyr", (end,))
    pair = encounter(run)
    settings = pair.evolve(evolve_settings(run))
    suite = pair.suite(end)
    (task,) = plan(suite)
    began = time.process_time()
    first = begin(task, suite, run["seed"], settings.softening_kpc)
    last: deque[Snapshot] = deque(maxlen=STACK)
    energies, course, boxy = [], [], {}
    spent = 0.0
    for state, row in evolve(first, settings, until_gyr=end, seed=evolution_seed(run["seed"], task)):
        last.append(state)
        energies.append(row["energy"])
        course.append(course_of(state))
        spent += time.process_time() - began
        if any(abs(state.time_gyr - look) < OUTPUT_GYR / 2 for look in looks[:-1]):
            boxy[f"boxy_fraction_{state.time_gyr:g}_gyr"] = float(view_remnant(bodies_of(list(last))).boxy().mean())
        began = time.process_time()
    facts = {
        "steps": int(row["steps"]), "cpu_s": round(spent, 1), "particles": len(first),
        "energy_drift": f"{np.max(np.abs(np.array(energies) / energies[0] - 1)):.1e}",
        "separation_end_kpc": round(float(row["separation_kpc"]), 2), "new_stars_msun": f"{row['new_stars_mass']:.3g}",
        "duration_gyr": end,
    }  # fmt: skip
    keep_stars(folder / "stars" / name, Remnant(list(last), {}))
    return as_row(name, run) | facts | boxy | shown(list(last)) | arrival(course)


def as_row(name: str, run: dict[str, Any]) -> dict[str, Any]:
    """What was put into a run, as columns of the table."""
    tide = run.get("tide")
    columns = {
        key: value for key, value in run.items()
        if key not in ("times", "softening", "look_gyr", "tide", "duration_gyr", "accuracy")
        and not key.endswith("_concentration")
    }  # fmt: skip
    found = {"run": name, "formation": "merger"} | columns
    found |= {"softening_stars_kpc": 0.1 * run.get("softening", 1.0), "accuracy": run.get("accuracy", ACCURACY)}
    if tide is not None:
        found |= {f"tide_{key}": getattr(tide, key) for key in ("mass_msun", "scale_kpc", "start_kpc", "circularity")}
        found |= {"tide_angle_deg": tide.orbit_angle_deg, "tide_phase_deg": tide.phase_deg}
    return found


def course_of(state: Snapshot) -> dict[str, Any]:
    """Where the companion's stars are from the host's, how they move, and both discs' spins."""
    centres, motions, spins = [], [], []
    for number in (0, 1):
        own = state.stars & (state.galaxy == number)
        position, velocity, mass = (np.asarray(v, float)[own] for v in (state.position, state.velocity, state.mass))
        centre = centre_of(position, mass)
        near = np.linalg.norm(position - centre, axis=1)
        near = near < np.median(near)
        motion = np.average(velocity[near], axis=0, weights=mass[near])
        spin = mass[near] @ np.cross(position[near] - centre, velocity[near] - motion)
        centres.append(centre)
        motions.append(motion)
        spins.append(spin / np.linalg.norm(spin))
    return {
        "time_gyr": state.time_gyr, "away": centres[1] - centres[0], "moving": motions[1] - motions[0], "spins": spins
    }  # fmt: skip


def arrival(course: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """When the companion arrives, and how its disc, its orbit and the host's disc then lie; empty if it does not.

    The angles are those of the last output before the centres are first within `MET_KPC`.
    """
    apart = np.array([np.linalg.norm(one["away"]) for one in course])
    if apart[0] < 2 * ARRIVED_KPC or not np.any(apart < ARRIVED_KPC):
        return {}
    before = int(np.argmax(apart < MET_KPC)) - 1 if np.any(apart < MET_KPC) else len(course) - 1
    pole = np.cross(course[before]["away"], course[before]["moving"])
    host, companion = course[before]["spins"]
    return {
        "arrival_gyr": course[int(np.argmax(apart < ARRIVED_KPC))]["time_gyr"],
        "arrival_tilt_deg": round(angle_deg(companion, pole), 1),
        "arrival_orbit_angle_deg": round(angle_deg(host, pole), 1),
        "host_turned_deg": round(angle_deg(host, course[0]["spins"][0]), 1),
    }


def angle_deg(first: np.ndarray, second: np.ndarray) -> float:
    """Angle between two vectors."""
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def shown(snapshots: list[Snapshot]) -> dict[str, Any]:
    """What the last snapshots of a remnant show, as columns of the table."""
    bodies = bodies_of(snapshots)
    directions = even_directions(64)
    views = view_remnant(bodies, directions, RADII)
    halves = {name: view_remnant(bodies[k::2], directions, OUTER) for k, name in ((1, "choosing"), (0, "scoring"))}
    found: dict[str, Any] = {"boxy_fraction": views.boxy().mean()}
    found |= {f"boxy_fraction_{name}": half.boxy().mean() for name, half in halves.items()}
    found |= like_leda(views)
    found |= {name: round(value, 3) for name, value in families(bodies[-1]).items()}
    edge = np.abs(directions[:, 2]) < np.sin(np.radians(EDGE_ON_DEG))
    found["a_e_kpc"] = round(float(np.nanmean(views.radius_kpc[edge])), 3)
    found["half_light_kpc"] = round(float(np.mean([body.half_light_kpc for body in bodies])), 3)
    for label, values in (("a4", views.a4), ("a6", views.a6), ("q", views.axis_ratio)):
        found |= {f"{label}_{r:g}": round(float(np.nanmean(values[edge][:, j])), 4) for j, r in enumerate(RADII)}
    return found


def like_leda(views: Views) -> dict[str, float]:
    """Fractions of directions that match LEDA 074886: outside, outside within wide limits, and with a disc inside."""
    columns = [views.radii.index(radius) for radius in OUTER]
    a4, q = views.a4[:, columns], views.axis_ratio[:, columns]
    strict = np.all((a4 >= -0.08) & (a4 <= -0.05) & (q >= 0.65) & (q <= 0.75), axis=1)
    wide = np.all((a4 >= -0.09) & (a4 <= -0.04) & (q >= 0.60) & (q <= 0.80), axis=1)
    inner = [views.radii.index(radius) for radius in (0.5, 0.7)]
    disc = np.nanmax(views.a4[:, inner], axis=1) >= 0.01
    return {
        "leda_outside_fraction": strict.mean(), "leda_outside_wide_fraction": wide.mean(),
        "leda_wide_with_disc_fraction": (wide & disc).mean(), "boxy_with_disc_fraction": (views.boxy() & disc).mean(),
    }  # fmt: skip


def work(folder: Path, only: str, until: str) -> None:
    """Simulates what is missing; a run that fails leaves its error and is passed over."""
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    for name, run in runs().items():
        file = folder / "rows" / f"{name}.json"
        if not fnmatch(name, only) or file.exists() or file.with_suffix(".taken").exists():
            continue
        if until and datetime.now(UTC).strftime("%H:%M") >= until:
            return
        file.with_suffix(".taken").touch()  # several processes may share the work
        try:
            row = simulate(name, run, folder)
        except BaseException:
            file.with_suffix(".taken").unlink()
            raise
        file.with_suffix(".part").write_text(json.dumps(row))
        file.with_suffix(".part").rename(file)
        file.with_suffix(".taken").unlink()
        words = f"boxy {row['boxy_fraction']:.2f}, spread {row['inclination_spread_deg']:.1f}, {row['cpu_s']} CPU s"
        print(f"{datetime.now(UTC):%H:%M} {name}: {words}", flush=True)


def search_rows(folder: Path, name: str) -> Iterable[dict[str, Any]]:
    """The evaluations of a folder of `search` as rows of the table."""
    for file in sorted((folder / "evaluations").glob("*.json")):
        one = json.loads(file.read_text())
        given, views = one["parameters"], one["views"]
        radii, edge = views["radii"], np.abs(np.array(views["directions"])[:, 2]) < np.sin(np.radians(EDGE_ON_DEG))
        formation = "merger" if "companion_scale_kpc" in given else "tide" if "tide_mass_msun" in given else "isolated"
        row: dict[str, Any] = {"run": f"{name}-{one['number']}", "formation": formation, "seed": one["seed"]}
        row |= {key: float(f"{value:.5g}") for key, value in given.items() if not key.endswith("_concentration")}
        if formation == "merger":
            stars = given["host_stars_msun"] * row.pop("companion_stars_over_host")
            row["companion_stars_msun"] = float(f"{stars:.5g}")
            row["companion_halo_msun"] = float(f"{stars * row.pop('companion_halo_over_stars'):.5g}")
            row["separation_end_kpc"] = round(one["separation_kpc"], 2)
        row |= {"particles": one["particles"], "duration_gyr": one["duration_gyr"], "softening_stars_kpc": 0.1,
                "accuracy": ACCURACY, "cpu_s": round(one["simulate_cpu_s"], 1),
                "energy_drift": f"{one['energy_drift']:.1e}", "new_stars_msun": f"{one['new_stars_msun']:.3g}",
                "boxy_fraction_scoring": one["boxy_fraction"]}  # fmt: skip
        names = ("inclination_spread_deg", "inclination_host_deg", "nodes_host", "inclination_companion_deg",
                 "nodes_companion")  # fmt: skip
        row |= {key: round(one[key], 3) for key in names if np.isfinite(one[key])}
        for key, label in (("a4", "a4"), ("a6", "a6"), ("axis_ratio", "q")):
            values = np.array(views["scoring"][key], float)[edge]
            row |= {f"{label}_{r:g}": round(float(values[:, j].mean()), 4) for j, r in enumerate(radii)
                    if np.isfinite(values[:, j]).all()}  # fmt: skip
        yield row


def read_table() -> list[dict[str, str]]:
    """All rows of the table."""
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def write(folder: Path, searches: Sequence[str]) -> None:
    """Adds the finished runs to the table; rows of the same name are replaced."""
    rows: dict[str, dict[str, Any]] = {row["run"]: row for row in read_table()}
    added = [json.loads(file.read_text()) for file in sorted((folder / "rows").glob("*.json"))]
    order = list(runs())
    added.sort(key=lambda row: order.index(row["run"]) if row["run"] in order else len(order))
    for pair in searches:
        place, _, name = pair.partition("=")
        added += search_rows(Path(place), name)
    rows |= {row["run"]: row for row in added}
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    print(f"{len(rows)} runs in {TABLE.name}, {len(added)} of them from here")


def look(folder: Path, task: Path, name: str, merger: str) -> None:
    """The row of a run that `emeraldcut simulate` made of one of `MERGERS`, maybe with another program."""
    manifest = read_manifest(task)
    row = manifest["row"]
    snapshots = [read_snapshot(path) for path in snapshots_of(task)[-STACK:]]
    facts = {
        "engine": manifest["settings.engine"], "particles": len(snapshots[-1]), "duration_gyr": snapshots[-1].time_gyr,
        "energy_drift": f"{row['energy_drift']:.1e}", "accuracy": manifest["settings.accuracy"],
        "softening_stars_kpc": manifest["settings.softening_kpc"][1],
    }  # fmt: skip
    found = as_row(name, MERGERS[merger] | {"merger": merger, "seed": manifest["seed"]}) | facts | shown(snapshots)
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    (folder / "rows" / f"{name}.json").write_text(json.dumps(found))
    print(f"{name}: boxy {found['boxy_fraction']:.2f}")


def stars_of(folder: Path, name: str) -> list[Body]:
    """The stars of a run's last snapshots."""
    return bodies_of([read_snapshot(path) for path in sorted((folder / "stars" / name).glob("*.hdf5"))])


def picture(folder: Path, name: str, title: str, file: Path) -> None:
    """Draws a remnant from three sides beside our model of LEDA 074886; the first side is the most similar one."""
    bodies = stars_of(folder, name)
    directions = even_directions(64)
    target = BUILT_IN["leda074886"]
    best = directions[int(np.argmax(target.closeness(view_remnant(bodies, directions, RADII))))]
    remnants_figure([(title, bodies, best)], file, leda=True)


def motion(folder: Path, names: Sequence[str]) -> None:
    """Prints how the stars of remnants move, edge-on and at 70 degrees: means over six azimuths."""
    print("remnant, inclination | V at 0.5, 1, 1.5, 2, 2.5 | sigma | V/sigma | a6/a at 1.5, 2, 2.5")
    for name in names:
        bodies = stars_of(folder, name)
        for tilt in (90, 70):
            sine, cosine = np.sin(np.radians(tilt)), np.cos(np.radians(tilt))
            azimuths = np.arange(6) * np.pi / 3 + 0.3
            seen_from = np.array([[sine * np.cos(phi), sine * np.sin(phi), cosine] for phi in azimuths])
            views = view_remnant(bodies, seen_from, (0.5, 1.0, *OUTER), motion=True)
            assert views.rotation_km_s is not None
            assert views.dispersion_km_s is not None
            v, sigma = views.rotation_km_s.mean(axis=0), views.dispersion_km_s.mean(axis=0)
            over = (views.rotation_km_s / views.dispersion_km_s).mean(axis=0)
            print(" | ".join([f"{name}, {tilt}", _row(v, ".0f"), _row(sigma, ".0f"), _row(over, ".1f"),
                              _row(views.a6.mean(axis=0)[2:], "+.3f")]), flush=True)  # fmt: skip


def _row(values: Iterable[float], form: str) -> str:
    return " ".join(format(float(value), form) for value in values)


def claims() -> Iterable[str]:
    """Lines of docs/emerald.md that state what the runs show, from the table alone."""
    rows = {row["run"]: row for row in read_table()}
    merging = [row for row in rows.values() if row["formation"] == "merger"]
    yield from remnants_table(rows)
    yield from convergence_table(rows)
    yield from gas_table(rows)
    yield from afar_table(rows)
    kinds = [sum(row["formation"] == kind for row in rows.values()) for kind in ("isolated", "tide")]
    yield f"{len(rows)} runs: {len(merging)} mergers, {kinds[0]} isolated discs, {kinds[1]} discs in a tide."
    known = [row for row in merging if row["boxy_fraction"] and row["inclination_spread_deg"]]
    pairs = np.array([[number(row, name) for row in known] for name in ("inclination_spread_deg", "boxy_fraction")])
    found = spearmanr(*pairs)[0]
    yield f"Rank correlation of boxy fraction and spread of the inclinations: {found:.2f} over {len(known)} runs."
    far = [row for row in merging if row["run"].startswith("afar")]
    yield counted("Companions from 20 kpc and more", far)
    yield counted("Of these, drawn by a Sobol sequence", [row for row in far if "sobol" in row["run"]])
    yield counted("Of these, on circular orbits", [row for row in far if number(row, "circularity") == 1])
    for kind, words in (("isolated", "Isolated discs"), ("tide", "Discs in a tide")):
        yield counted(words, [row for row in rows.values() if row["run"].startswith(f"rival-{kind}")])
    drawn = [row for row in merging if row["run"].startswith("leda-") and int(row["run"][5:]) < POOL]
    yield counted("Mergers drawn over the default ranges of search", drawn)


def counted(name: str, rows: Sequence[dict[str, str]]) -> str:
    """How many of some runs are boxy from at least 5 and 30 % of all directions, and mixed, in a sentence."""
    mixed = [row for row in rows if nodes_of(row) <= UNMIXED_NODES]
    words = []
    for least in (0.05, 0.3):
        boxy = sum(box_of(row) >= least for row in mixed)
        low, high = interval(boxy, len(rows)) if rows else (0.0, 1.0)
        words.append(f"{boxy} boxy from at least {least:.0%} ({100 * low:.0f} to {100 * high:.0f} %)")
    best = ", ".join(f"{box_of(row):.2f}" for row in sorted(mixed, key=box_of)[::-1][:3])
    return f"{name}: {len(rows)} runs, {len(mixed)} mixed, {' and '.join(words)}; the boxiest {best}."


def remnants_table(rows: dict[str, dict[str, str]]) -> Iterable[str]:
    """What the remnants of the mergers show."""
    for name, words in REMNANTS.items():
        if name in rows:
            row = rows[name]
            a4 = _row((number(row, f"a4_{r}") for r in ("0.5", "1.5", "2", "2.5")), "+.3f")
            q = _row((number(row, f"q_{r}") for r in ("1.5", "2.5")), ".2f")
            both = ", ".join(f"{number(row, f'inclination_{which}_deg'):.0f}°" for which in ("host", "companion"))
            yield (
                f"| {words} | {int(number(row, 'particles')):,} | {box_of(row):.2f} | {a4} | {q} "
                f"| {number(row, 'leda_outside_wide_fraction'):.2f} | {both} | {nodes_of(row):.2f} |"
            )


def convergence_table(rows: dict[str, dict[str, str]]) -> Iterable[str]:
    """The boxy fraction of each merger with other particles, more of them, less softening, later, by another code."""

    def boxy(names: Iterable[str], column: str = "boxy_fraction") -> str:
        return ", ".join(
            f"{number(rows[name], column):.2f}" for name in names if name in rows and rows[name].get(column)
        )

    for letter in MERGERS:
        same = [number(rows[name], "boxy_fraction") for name in SAME[letter] if name in rows]
        scatter = f"{np.mean(same):.2f} ± {np.std(same, ddof=1):.2f}" if len(same) > 1 else ""
        later = [boxy([f"{letter}-8Gyr"], column) for column in (
            "boxy_fraction_3.5_gyr", "boxy_fraction_6_gyr", "boxy_fraction"
        )]  # fmt: skip
        cells = (boxy(SAME[letter]), scatter, boxy([f"{letter}-3x", f"{letter}-3x-s2"]), boxy([f"{letter}-halfsoft"]),
                 ", ".join(filter(None, later)), boxy([f"{letter}-gadget2"]))  # fmt: skip
        yield f"| {letter} | {' | '.join(cells)} |"


def gas_table(rows: dict[str, dict[str, str]]) -> Iterable[str]:
    """Merger A with gas."""
    for name, words in GAS.items():
        if name in rows:
            row = rows[name]
            gas = number(row, "host_gas_fraction")
            mass = gas * (number(row, "host_stars_msun") + number(row, "companion_stars_msun"))
            part = f"{100 * number(row, 'new_stars_msun') / mass:.0f} %" if mass else ""
            a4 = _row((number(row, f"a4_{r}") for r in ("0.5", "1", "1.5", "2", "2.5")), "+.3f")
            q = _row((number(row, f"q_{r}") for r in ("1.5", "2.5")), ".2f")
            yield f"| {words} | {part} | {a4} | {q} | {box_of(row):.2f} |"


def afar_table(rows: dict[str, dict[str, str]]) -> Iterable[str]:
    """Companions from far away that were not drawn by a Sobol sequence."""
    for name, row in rows.items():
        if name.startswith("afar") and "sobol" not in name:
            special = SPECIAL.get(name, "")
            came = f"{number(row, 'arrival_gyr'):.1f}" if row.get("arrival_gyr") else "not"
            tilt = f"{number(row, 'tilt_deg'):.0f}° to {number(row, 'arrival_tilt_deg'):.0f}°" if came != "not" else ""
            words = row["merger"] + (f", {special}" if special else "")
            yield (
                f"| {words} | {number(row, 'start_kpc'):.0f} | {number(row, 'companion_halo_msun') / 1e9:g} "
                f"| {number(row, 'circularity'):g} | {number(row, 'orbit_angle_deg'):.0f}° | {came} | {tilt} "
                f"| {box_of(row):.2f} | {number(row, 'inclination_spread_deg'):.1f}° | {nodes_of(row):.2f} |"
            )


def box_of(row: dict[str, str]) -> float:
    """Boxy fraction of a row; of evaluations of `search` that of the snapshots to score by."""
    return number(row, "boxy_fraction") if row["boxy_fraction"] else number(row, "boxy_fraction_scoring")


def nodes_of(row: dict[str, str]) -> float:
    """Agreement of the nodes of that galaxy's stars which have mixed less."""
    return max(number(row, "nodes_host"), number(row, "nodes_companion"))


def number(row: dict[str, str], name: str) -> float:
    """A number of a row; 0 where it is empty."""
    value = row.get(name) or "0"
    return 0.0 if value == "nan" else float(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("run")
    one.add_argument("folder", type=Path)
    one.add_argument("--only", default="*", help="names to run, with * and ?")
    one.add_argument("--until", default="", help="time of day (UTC) after which none is begun")
    verbs.add_parser("list")
    one = verbs.add_parser("table")
    one.add_argument("folder", type=Path)
    one.add_argument("searches", nargs="*", help="folder of `emeraldcut search` = name of its rows")
    verbs.add_parser("claims")
    one = verbs.add_parser("look")
    one.add_argument("folder", type=Path)
    one.add_argument("simulated", type=Path, help="folder of one merger of `emeraldcut simulate`")
    one.add_argument("name")
    one.add_argument("merger", choices=sorted(MERGERS))
    one = verbs.add_parser("motion")
    one.add_argument("folder", type=Path)
    one.add_argument("names", nargs="+")
    one = verbs.add_parser("picture")
    one.add_argument("folder", type=Path)
    one.add_argument("name")
    one.add_argument("title")
    one.add_argument("file", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "run":
        work(arguments.folder, arguments.only, arguments.until)
    elif arguments.verb == "list":
        print("\n".join(runs()))
    elif arguments.verb == "table":
        write(arguments.folder, arguments.searches)
    elif arguments.verb == "look":
        look(arguments.folder, arguments.simulated, arguments.name, arguments.merger)
    elif arguments.verb == "motion":
        motion(arguments.folder, arguments.names)
    elif arguments.verb == "picture":
        picture(arguments.folder, arguments.name, arguments.title, arguments.file)
    else:
        print("\n".join(claims()))


if __name__ == "__main__":
    main()
