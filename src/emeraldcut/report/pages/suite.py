"""The page of a run of `simulate`: when the galaxies merged, what noise alone does, how well energy is kept."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from astropy.table import Table

from emeraldcut.data import read_manifest, read_snapshot, read_table
from emeraldcut.data.columns import numbers
from emeraldcut.mergers import DIAGNOSTICS, MERGED, SUITE, THICKENING, drifts, snapshots_of
from emeraldcut.report.figures.merger_evolution import evolution_figure, plot_separations, plot_thickness
from emeraldcut.report.html import counted, fact_list, made_by, plot, shell, table_of, words_of

PICTURE = "evolution.png"  # in the folder of each merger


def suite_page(folder: Path) -> str:
    """The page of a run of `simulate`; writes a picture into the folder of each merger. See `report`."""
    manifest, suite = read_manifest(folder), read_table(folder / SUITE)
    for name in suite["merger"]:
        if Path(str(name)).name != name:
            raise ValueError(f"{SUITE} expects names of folders in '{folder}'; received {str(name)!r}.")
    evolutions = {str(name): read_table(folder / str(name) / DIAGNOSTICS) for name in suite["merger"]}
    facts = [{name: None if np.ma.is_masked(row[name]) else row[name] for name in suite.colnames} for row in suite]
    for row in facts:
        rows, own = evolutions[row["merger"]], folder / row["merger"]
        mass = float(read_snapshot(snapshots_of(own)[0]).mass.sum(dtype=float))
        evolution_figure(rows, drifts(rows, mass), row, own / PICTURE)
    alone = [row["merger"] for row in facts if row["mass_ratio"] is None]
    shown = {
        "Asked": "emeraldcut simulate",
        "Mergers": f"{len(facts) - len(alone):,}",
        "Particles of the largest": f"{max(row['particles'] for row in facts):,}",
        "Largest change of energy": _percent(suite, "energy_drift"),
        "of angular momentum": _percent(suite, "angular_momentum_drift"),
        "of momentum": _percent(suite, "momentum_drift"),
    }
    parts = [fact_list(shown | made_by(manifest)), _mergers(facts, evolutions, manifest)]
    parts += [_controls({name: evolutions[name] for name in alone}, manifest), _meaning()]
    return shell(f"Mergers in {folder.resolve().name}", _result(suite, manifest), "".join(parts), manifest, folder)


def _percent(suite: Table, name: str) -> str:
    return f"{100 * np.max(numbers(suite[name])):.2g} %"


def _small(value: float) -> str:
    return f"<span class='number'>{value:.1e}</span>"


def _result(suite: Table, manifest: dict[str, Any]) -> str:
    """How many merged, and whether they may be trusted, in two sentences."""
    pairs = np.isfinite(numbers(suite["mass_ratio"]))
    merged = numbers(suite["merged_gyr"])[pairs]
    sentence = f"{np.isfinite(merged).sum()} of {counted(int(pairs.sum()), 'merger')} have merged"
    if np.isfinite(merged).any():
        sentence += f", half of these by {np.nanmedian(merged):.2f} Gyr"
    worst = max(manifest["thickening"].values(), default=None)
    if worst is None:
        return sentence + ". No galaxy was simulated alone, so nobody knows what the noise of particles does to discs."
    sentence += f". A disc alone is {worst:.2f} times as thick when the galaxies meet as at the start"
    trusted = "." if worst <= THICKENING else ": <strong>too much; take more particles.</strong>"
    return sentence + trusted


def _mergers(facts: list[dict[str, Any]], evolutions: dict[str, Table], manifest: dict[str, Any]) -> str:
    """All runs with their numbers."""
    columns = ["run", "merged at Gyr", "until", "energy", "angular momentum", "momentum", "lost", "particles",
               "stars: softening / spacing kpc", "halo: softening / spacing kpc"]  # fmt: skip
    rows = [
        [f"<a href='./{quote(row['merger'])}/{PICTURE}'>{escape(row['merger'])}</a>",
         "" if row["merged_gyr"] is None else f"{row['merged_gyr']:.2f}", f"{row['time_gyr']:.2f}",
         _small(row['energy_drift']), _small(row['angular_momentum_drift']), _small(row['momentum_drift']),
         f"{row['lost']:,}", f"{row['particles']:,}",
         f"{row['disc_softening_kpc']:.3g} / {row['star_spacing_kpc']:.3g}",
         f"{row['halo_softening_kpc']:.3g} / {row['halo_spacing_kpc']:.3g}"]
        for row in facts
    ]  # fmt: skip
    caption = f"Each run's name leads to its picture; all numbers are in <a href='{SUITE}'>{SUITE}</a>."
    figure = plot_separations(list(evolutions.values()), MERGED * manifest["disc_scale_kpc"])
    if figure:
        figure = plot(figure, "Separations", "Separation of the centres of both galaxies' stars in every merger.")
    body = f"<div class='plots'>{figure}</div>{table_of(columns, rows, caption)}"
    return f"<section id='mergers'><h2>The mergers</h2>{body}</section>"


def _controls(controls: dict[str, Table], manifest: dict[str, Any]) -> str:
    """What the heavier galaxy alone becomes."""
    if not controls:
        return ""
    rows = [
        [escape(name), f"{manifest['thickening'][name]:.2f}", when, *(f"{value:+.3f}" for value in values[:3]),
         f"{values[3]:.3f}"]
        for name, shapes in manifest["control_a4"].items()
        for when, values in shapes.items()
    ]  # fmt: skip
    columns = ["galaxy alone", "thickness when the others meet", "a4/a at its", "16 % of views", "median",
               "84 % of views", "standard error of one"]  # fmt: skip
    caption = (
        "a4/a from directions drawn evenly over the sphere, of a few snapshots together. What differs between begin "
        "and end is the work of heating by particles; the standard error is the noise of their number."
    )
    words = "The thickness of a disc that nothing disturbs but the noise of particles."
    figure = plot(plot_thickness(controls), "Thickness of discs alone", words)
    body = f"<div class='plots'>{figure}</div>{table_of(columns, rows, caption)}"
    return f"<section id='controls'><h2>Galaxies alone</h2>{body}</section>"


def _meaning() -> str:
    words = {
        "Merged": "The first output from which on the centres of both galaxies' stars stay within "
        f"{MERGED:g} scale lengths of the heavier disc.",
        "Changes": "The largest change of what should be conserved: of energy and angular momentum over what they "
        "were, of momentum over that of all the mass at the root mean square speed of its particles.",
        "Lost": "Particles that are not bound at the end.",
        "Spacing": "The mean distance of neighbours, the cube root of the volume per particle, in the half-mass sphere "
        "of the heavier galaxy at the start. Forces are softened over the (Plummer) softening length.",
    }
    return words_of(words)
