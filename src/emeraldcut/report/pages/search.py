"""The page of a run of `search`: what was found, how it was found, and how the best remnants look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.camera.remnant_shape import BOX_A4, body_of
from emeraldcut.nbody import read_snapshot
from emeraldcut.report.cards import data_url
from emeraldcut.report.figures.search_plots import (
    QUANTITIES,
    motion_figure,
    plot_course,
    plot_families,
    plot_orbits,
    plot_profile,
    plot_separations,
    remnants_figure,
)
from emeraldcut.report.html import Cell, Listing, Plot, counted, made_by, page, percent
from emeraldcut.runs import read_manifest
from emeraldcut.search import TABLE, WINNERS, PriorSettings, Target, read_rows, stored_target
from emeraldcut.search.prevalence import COUNTS_FROM
from emeraldcut.settings import build, items, read_toml

PICTURE, MOTION_PICTURE = "figures/remnants.png", "figures/motion.png"
SHOWN, LISTED = 3, 25  # remnants in pictures, evaluations in the table
FEWEST_FOR_IMPORTANCE = 12  # evaluations


def search_page(folder: Path) -> str:
    """The page of a run of `search`; writes the pictures of its best remnants. See `report`."""
    manifest, rows, target = read_manifest(folder), read_rows(folder), stored_target(folder)
    priors = _priors(folder)
    full = [row for row in rows if row["kind"] == "full"]
    best = _best_runs(full, manifest["winners"])
    bodies = [
        (name, _bodies(folder, row), np.array(row["views"]["directions"][row["best_view"]])) for name, row in best
    ]
    remnants_figure(bodies, folder / PICTURE, leda="LEDA 074886" in target.name)
    motion_figure(bodies, folder / MOTION_PICTURE)
    return page(
        "search.html",
        f"Search for {target.name}",
        manifest,
        folder,
        conclusion=_conclusion(manifest, full, target),
        target=[str(one) for one in target.constraints],
        about=target.about,
        facts=_facts(manifest, rows),
        pictures={name: data_url((folder / name).read_bytes(), "image/png") for name in (PICTURE, MOTION_PICTURE)},
        words_of_pictures={PICTURE: SIDES, MOTION_PICTURE: MOTION},
        winners=_winners(manifest, full, priors),
        profiles=_profiles(target, best),
        families=[
            Plot(plot_families(name, stacked), f"Inclinations of the stars of {name}", f"{name}: {FAMILIES}")
            for name, stacked, _ in bodies
        ],
        encounters=_encounters(best),
        prevalence=_prevalence(manifest),
        course=[Plot(plot_course(rows, int(manifest["settings.sobol"])), "Course of the search", COURSE)],
        importances=_importances([row for row in rows if row["kind"] == "small"], priors),
        evaluations=_evaluations(rows, priors),
        table_file=TABLE,
        winners_folder=WINNERS,
        words=WORDS,
    )


SIDES = (
    "Stars of the last six snapshots together, smoothed where they are few, from the best view, edge-on and face-on. "
    "Isophotes are 0.75 magnitudes apart."
)
MOTION = (
    "How the stars move along the line of sight in the best view; blue comes towards us. Isophotes are 1.5 magnitudes "
    "apart."
)
FAMILIES = "inclinations of the stars' orbits against the remnant's short axis. A box needs most of them alike."
COURSE = (
    "Fraction of directions that match the target, in the order of asking; hollow: not counted, because the remnant "
    "has not mixed. The line is the best so far among runs with few particles; left of the grey line the Sobol points."
)
WORDS = {
    "Fraction": "Of directions spread evenly over the sphere, those from which the remnant is within the target's "
    "limits at all radii. It is measured on three snapshots that took no part in choosing the best view.",
    "Boxy fraction": f"The same for a4/a of at most {BOX_A4:g} at 1.5, 2 and 2.5 half-light semi-major axes.",
    "Noise": "Standard deviation of the fraction among runs of the same encounter whose particles were drawn anew.",
    "Nodes": "Length of the mean of exp(i node) of the stars of one galaxy: 1 for a disc that is tilted as a whole, 0 "
    "for orbits that have mixed.",
    "Inclination": "Of the stars' orbits against the short axis of the remnant, median of each galaxy.",
    "Importance": "Rank correlation (Spearman) of a parameter with the score, over all runs with few particles. The "
    "runs crowd where the search has gone, so it says what mattered there, and not what is likely in nature.",
}


def _priors(folder: Path) -> PriorSettings:
    """Those that the settings of the run name."""
    known = {item.name for item in items(PriorSettings)}
    given = read_toml(folder / "settings.toml")
    return build(PriorSettings, {name: value for name, value in given.items() if name in known})


def _best_runs(full: list[dict[str, Any]], winners: list[int]) -> list[tuple[str, dict[str, Any]]]:
    """Names of the first winners, and of each its full run with the highest score."""
    found = []
    for number in winners[:SHOWN]:
        runs = [row for row in full if row["of"] == number]
        found.append((f"No. {number}", max(runs, key=lambda row: row["score"])))
    return found


def _bodies(folder: Path, row: dict[str, Any]) -> list:
    own = folder / WINNERS / f"{row['of']:06}" / f"seed{row['seed']}"
    return [body_of(read_snapshot(path)) for path in sorted(own.glob("snapshot_*.hdf5"))]


def _mean(full: list[dict[str, Any]], number: int, name: str) -> float:
    return float(np.mean([row[name] for row in full if row["of"] == number]))


def _conclusion(manifest: dict[str, Any], full: list[dict[str, Any]], target: Target) -> str:
    """What the best encounter does, in larger runs that did not choose it."""
    number = manifest["winners"][0]
    fraction, runs = _mean(full, number, "fraction"), sum(row["of"] == number for row in full)
    tried = counted(manifest["evaluations"], "evaluation")
    if fraction == 0:
        views = len(full[0]["views"]["directions"])
        return f"No remnant looks like {target.name} from any of {views} directions, after {tried}."
    return (
        f"The best remnant looks like {target.name} from {percent(round(fraction, 3))} of all directions, the mean of "
        f"{counted(runs, 'run')} with new particles, after {tried}."
    )


def _facts(manifest: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    noise = manifest["noise"]
    return {
        "Command": "emeraldcut search",
        "Encounters tried": f"{sum(row['kind'] == 'small' for row in rows):,}",
        "Not mixed": f"{sum(not row['mixed'] for row in rows):,}",
        "Particles": " and ".join(f"{n:,}" for n in sorted({row["particles"] for row in rows})),
        "Noise of the fraction": None if noise is None or not np.isfinite(noise) else f"{noise:.3f}",
        "Largest energy drift": percent(round(max(row["energy_drift"] for row in rows), 5)),
        "CPU time of the runs": f"{manifest['evaluation_cpu_hours']:.2f} h",
    } | made_by(manifest)


def _winners(manifest: dict[str, Any], full: list[dict[str, Any]], priors: PriorSettings) -> Listing:
    """The best encounters: their parameters, and what their full runs show."""
    of = [next(row for row in full if row["of"] == number) for number in manifest["winners"]]
    names = ["fraction", "boxy_fraction", "inclination_host_deg", "inclination_companion_deg", "nodes_host",
             "nodes_companion"]  # fmt: skip
    rows: list[list[str | Cell]] = [
        [name, *(f"{row['parameters'][name]:.4g}" for row in of)] for name in priors.names if name in priors.free
    ]
    rows += [
        [Cell(name, "code"), *(_each(full, number, name) for number in manifest["winners"])]
        for name in names
        if np.isfinite(full[0][name])  # a galaxy alone has no companion
    ]
    columns = ["", *(f"No. {number}" for number in manifest["winners"])]
    return Listing(columns, rows)


def _each(full: list[dict[str, Any]], number: int, name: str) -> str:
    """A value in each of the full runs of an encounter."""
    digits = ".0f" if name.endswith("_deg") else ".2f"
    return ", ".join(format(row[name], digits) for row in full if row["of"] == number)


def _encounters(best: list[tuple[str, dict[str, Any]]]) -> list[Plot]:
    """How the galaxies of the best runs met; nothing for a galaxy alone."""
    met = [(name, row) for name, row in best if np.isfinite(row["course"][0]).all()]
    if not met:
        return []
    return [
        Plot(
            plot_separations(met), "Separation against time", "Distance of the densest places of both galaxies' stars."
        ),
        Plot(
            plot_orbits(met),
            "Orbits",
            "The companion's course about the host, whose disc lies in the horizontal line at the start. Square: "
            "start; points are snapshots, so that lines between them cut corners.",
        ),
    ]


def _prevalence(manifest: dict[str, Any]) -> str:
    """What fraction of mergers gives such a view, in a few sentences; empty where it was not asked."""
    found = manifest.get("prevalence")
    if not found:
        return ""
    low, _, high = (percent(round(value, 3)) for value in found["inside"])
    least, most = percent(round(found["overall"][0], 5)), percent(round(found["overall"][2], 4))
    kept = ", ".join(found["fixed"])
    fixed = f" Held fixed, so that nothing is said of other values: {kept}." if kept else ""
    return (
        f"Of {counted(found['draws'], 'merger')} drawn evenly over the region that was searched, weighted to the prior "
        f"of mergers, {low} to {high} (90 % interval) match from at least {percent(COUNTS_FROM)} of all directions. "
        f"The region holds {percent(round(found['region'], 4))} of the prior. What lies outside was not tried: of all "
        f"mergers of the prior it is at least {least} if none outside matches, and at most {most} if all do.{fixed} "
        "The prior itself is our statement, and says nothing of how often dwarfs meet, of halos that are not "
        "spherical, or of gas."
    )


def _profiles(target: Target, best: list[tuple[str, dict[str, Any]]]) -> list[Plot]:
    words = "In the view that comes closest, of the snapshots that did not choose it."
    allowed = "Grey: what the target allows."
    return [
        Plot(
            plot_profile(name, target, best),
            f"{shown} against radius",
            f"{words} {allowed if any(c.quantity == name for c in target.constraints) else 'The target allows any.'}",
        )
        for name, shown in QUANTITIES.items()
    ]


def _importances(small: list[dict[str, Any]], priors: PriorSettings) -> Listing:
    """Rank correlation of each free parameter with the score."""
    if len(small) < FEWEST_FOR_IMPORTANCE:
        return Listing([], [])
    from scipy.stats import spearmanr  # takes a second to import

    scores = [row["score"] for row in small]
    found = {name: float(spearmanr([row["parameters"][name] for row in small], scores)[0]) for name in priors.free}
    ranked = sorted(found.items(), key=lambda pair: -abs(np.nan_to_num(pair[1])))
    rows: list[list[str | Cell]] = [[Cell(name, "code"), f"{value:+.2f}".replace("-", "−")] for name, value in ranked]
    return Listing(["parameter", "rank correlation with the score"], rows)


def _evaluations(rows: list[dict[str, Any]], priors: PriorSettings) -> Listing:
    """The best evaluations, with their parameters."""
    shown = sorted(rows, key=lambda row: -row["score"])[:LISTED]
    columns = ["no.", "of", "particles", "fraction", "boxy", "mixed", *priors.free]
    cells: list[list[str | Cell]] = [
        [f"{row['number']}", f"{row['of']}", f"{row['particles']:,}", f"{row['fraction']:.2f}",
         f"{row['boxy_fraction']:.2f}", "yes" if row["mixed"] else "no",
         *(f"{row['parameters'][name]:.3g}" for name in priors.free)]
        for row in shown
    ]  # fmt: skip
    return Listing(columns, cells)
