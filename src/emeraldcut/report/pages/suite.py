"""The page of a run of `simulate`: times of coalescence, conserved quantities and isolated control galaxies."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.errors import UsageError
from emeraldcut.mergers import DIAGNOSTICS, MERGED, SUITE, THICKENING, drifts, snapshots_of
from emeraldcut.nbody import read_snapshot
from emeraldcut.report.cards import NONE, data_url
from emeraldcut.report.figures.merger_evolution import evolution_figure, plot_separations, plot_thickness
from emeraldcut.report.figures.merger_pictures import merger_figure, movie
from emeraldcut.report.html import Cell, Listing, Plot, counted, made_by, page
from emeraldcut.runs import read_manifest
from emeraldcut.tables import read_table

PICTURE = "evolution.png"  # in the folder of each merger: conserved quantities,
GALAXIES = "galaxies.png"  # the stars and gas at its epochs, and the remnant,
MOVIE = "galaxies.webp"  # and a movie, if it is asked for
SHOWN = 12  # mergers whose galaxies are on the page


def suite_page(folder: Path, *, movies: bool = False) -> str:
    """The page of a run of `simulate`; also draws pictures in the folder of each merger. See `report`."""
    manifest, suite = read_manifest(folder), read_table(folder / SUITE)
    for name in suite["merger"]:
        if Path(str(name)).name != name:
            raise UsageError(f"{SUITE} expects names of folders in '{folder}'; received {str(name)!r}.")
    evolutions = {str(name): read_table(folder / str(name) / DIAGNOSTICS) for name in suite["merger"]}
    facts: list[dict[str, Any]] = [
        {name: None if np.ma.is_masked(row[name]) else row[name] for name in suite.colnames} for row in suite
    ]
    for row in facts:
        rows, own = evolutions[row["merger"]], folder / row["merger"]
        mass = float(read_snapshot(snapshots_of(own)[0]).mass.sum(dtype=float))
        evolution_figure(rows, drifts(rows, mass), row, own / PICTURE)
        merged = np.nan if row["merged_gyr"] is None else float(row["merged_gyr"])
        merger_figure(snapshots_of(own), rows, merged, own / GALAXIES)
        if movies:
            movie(snapshots_of(own), own / MOVIE)
    alone = {row["merger"]: evolutions[row["merger"]] for row in facts if row["mass_ratio"] is None}
    return page(
        "suite.html",
        f"Merger suite: {folder.resolve().name}",
        manifest,
        folder,
        conclusion=_conclusion(suite),
        thickening=max(manifest["thickening"].values(), default=None),
        allowed=THICKENING,
        facts=_facts(facts, suite, manifest, len(alone)),
        separations=_separations(evolutions, manifest),
        galaxies=_galaxies(folder, facts),
        more_galaxies=max(len(facts) - SHOWN, 0),
        mergers=_mergers(facts),
        suite_file=SUITE,
        thickness=_thickness(alone),
        controls=_controls(alone, manifest),
        words=_words(),
    )


def _facts(facts: list[dict[str, Any]], suite: Table, manifest: dict[str, Any], n_alone: int) -> dict[str, Any]:
    shown = {
        "Command": "emeraldcut simulate",
        "Mergers": f"{len(facts) - n_alone:,}",
        "Isolated control galaxies": f"{n_alone:,}",
        "Particles of the largest run": f"{max(row['particles'] for row in facts):,}",
        "Largest energy drift": _percent(suite, "energy_drift"),
        "Largest angular momentum drift": _percent(suite, "angular_momentum_drift"),
        "Largest momentum drift": _percent(suite, "momentum_drift"),
    }
    return shown | made_by(manifest)


def _percent(suite: Table, name: str) -> str:
    return f"{100 * np.max(numbers(suite[name])):.2g} %"


def _small(value: float) -> Cell:
    return Cell(f"{value:.1e}", "number")


def _known(value: float, form: str) -> str:
    return format(value, form).replace("-", "−") if np.isfinite(value) else NONE


def _conclusion(suite: Table) -> str:
    """How many galaxies have merged, and when."""
    pairs = np.isfinite(numbers(suite["mass_ratio"]))
    if not pairs.any():
        return f"There are no mergers in this suite, only {counted(len(suite), 'isolated control galaxy')}."
    times = numbers(suite["merged_gyr"])[pairs]
    merged, mergers = int(np.isfinite(times).sum()), counted(int(pairs.sum()), "merger")
    if not merged:
        return f"None of {mergers} has coalesced by the end of its run."
    verb, when = ("has", "") if merged == 1 else ("have", "a median of ")
    return f"{merged:,} of {mergers} {verb} coalesced by the end of the run, at {when}{np.nanmedian(times):.2f} Gyr."


def _separations(evolutions: dict[str, Table], manifest: dict[str, Any]) -> list[Plot]:
    svg = plot_separations(list(evolutions.values()), MERGED * manifest["disc_scale_kpc"])
    return (
        [Plot(svg, "Separations", "Separation of the centres of both galaxies' stars, for every merger.")]
        if svg
        else []
    )


def _galaxies(folder: Path, facts: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The pictures of the first mergers; a movie, if there is one, is a file beside the page."""
    shown = []
    for row in facts[:SHOWN]:
        name = row["merger"]
        moving = f"./{quote(name)}/{MOVIE}" if (folder / name / MOVIE).exists() else ""
        picture = data_url((folder / name / GALAXIES).read_bytes(), "image/png")
        shown.append({"name": name, "src": picture, "movie": moving})
    return shown


def _mergers(facts: list[dict[str, Any]]) -> Listing:
    """All runs with their numbers."""
    columns = ["run", "galaxies", "coalescence (Gyr)", "end (Gyr)", "energy drift", "angular momentum drift",
               "momentum drift", "unbound particles", "particles", "stars: softening / spacing (kpc)",
               "halo: softening / spacing (kpc)"]  # fmt: skip
    rows = [
        [Cell(row["merger"], link=f"./{quote(row['merger'])}/{PICTURE}"),
         Cell("picture", link=f"./{quote(row['merger'])}/{GALAXIES}"),
         "" if row["merged_gyr"] is None else f"{row['merged_gyr']:.2f}", f"{row['time_gyr']:.2f}",
         _small(row["energy_drift"]), _small(row["angular_momentum_drift"]), _small(row["momentum_drift"]),
         f"{row['lost']:,}", f"{row['particles']:,}",
         f"{row['disc_softening_kpc']:.3g} / {row['star_spacing_kpc']:.3g}",
         f"{row['halo_softening_kpc']:.3g} / {row['halo_spacing_kpc']:.3g}"]
        for row in facts
    ]  # fmt: skip
    return Listing(columns, rows)


def _thickness(alone: dict[str, Table]) -> list[Plot]:
    words = "Thickness of the discs of isolated galaxies, which only the noise of the particles disturbs."
    return [Plot(plot_thickness(alone), "Thickness of isolated discs", words)] if alone else []


def _controls(alone: dict[str, Table], manifest: dict[str, Any]) -> Listing:
    """The shape of the heavier galaxy in isolation."""
    rows = [
        [name, _known(manifest["thickening"].get(name, np.nan), ".2f"), when,
         *(_known(value, "+.3f") for value in values[:3]), _known(values[3], ".3f")]
        for name, shapes in manifest["control_a4"].items() if name in alone
        for when, values in shapes.items()
    ]  # fmt: skip
    columns = ["control galaxy", "relative thickness at the encounter", "time", "a4/a, 16th percentile of views",
               "median", "84th percentile", "standard error of one view"]  # fmt: skip
    return Listing(columns, rows)


def _words() -> dict[str, str]:
    return {
        "Coalescence": "The first output after which the centres of both galaxies' stars stay within "
        f"{MERGED:g} scale lengths of the heavier disc.",
        "Drifts": "The largest change of what should be conserved: of energy and angular momentum relative to their "
        "initial values, of momentum relative to that of the total mass at the root mean square speed of its "
        "particles.",
        "Unbound particles": "Particles that are not bound at the end.",
        "Spacing": "The mean distance between neighbouring particles, the cube root of the volume per particle, in the "
        "half-mass sphere of the heavier galaxy at the start. Forces are softened over the (Plummer) softening length.",
    }
