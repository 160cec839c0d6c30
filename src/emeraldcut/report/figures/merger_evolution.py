"""Figures of merger evolution: the separation of the galaxies, and the drift of conserved quantities."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.mergers import THICKENING
from emeraldcut.report.figures.palette import EMERALD, GREY, SERIES
from emeraldcut.report.figures.style import ACCENT, INK, MUTED, new_figure, save_figure, short, svg_of

ALLOWED = 0.01  # drift of energy and of angular momentum
DRIFTS = dict(zip(("energy", "momentum", "angular momentum"), SERIES, strict=False))
LEAST = 1e-7  # lower end of the logarithmic axis of drifts
DASHED = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (4, 3))}
NOTE = {"textcoords": "offset points", "fontsize": 8, "color": GREY}


def evolution_figure(rows: Table, drifts: Mapping[str, np.ndarray], facts: Mapping[str, Any], path: str | Path) -> Path:
    """Draws the drifts of a run and the separation of its galaxies, or the thickness of an isolated disc.

    Parameters
    ----------
    rows : its diagnostics
    drifts : (n,) each, see `mergers.drifts`
    facts : its row of `suite.ecsv`
    path : path of the picture to write
    """
    figure = new_figure(9.0, 3.8)
    figure.set_layout_engine("tight")
    left, right = figure.subplots(1, 2, sharex=True)
    time = np.asarray(rows["time_gyr"], float)
    if facts["mass_ratio"] is None:
        _draw_thickness(left, time, np.asarray(rows["disc_height_kpc"], float))
    else:
        _draw_separation(left, time, np.asarray(rows["separation_kpc"], float), facts)
    _draw_drifts(right, time, drifts)
    for panel in (left, right):
        panel.set_xlabel("time (Gyr)")
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(x=0.02)
    spacing = "; ".join(
        f"{name}: softening {facts[soft]:.3g} kpc, mean spacing {facts[space]:.3g} kpc"
        for name, soft, space in (
            ("stars", "disc_softening_kpc", "star_spacing_kpc"), ("halo", "halo_softening_kpc", "halo_spacing_kpc"),
        )
    )  # fmt: skip
    title = f"{short(facts['merger'], 60)}: {facts['particles']:,} particles, {facts['lost']:,} unbound"
    figure.suptitle(f"{title}\n{spacing}", fontsize=9, x=0.01, ha="left")
    return save_figure(figure, path)


def _draw_thickness(panel, time: np.ndarray, thickness: np.ndarray) -> None:
    """The thickness of an isolated disc against time, and its limit."""
    panel.plot(time, thickness / thickness[0], color=EMERALD)
    panel.axhline(THICKENING, **DASHED)
    panel.annotate("limit before the encounter", (time[-1], THICKENING), (0, 3), ha="right", **NOTE)
    panel.set_ylim(0.9, 1.05 * max(THICKENING, (thickness / thickness[0]).max()))
    panel.set_ylabel("thickness of the disc, relative to the start")


def _draw_separation(panel, time: np.ndarray, separation: np.ndarray, facts: Mapping[str, Any]) -> None:
    """The separation of two galaxies against time, with the softening length and the time of coalescence."""
    softening = float(facts["disc_softening_kpc"])
    panel.plot(time, separation, color=EMERALD)
    panel.set_yscale("log")
    panel.axhline(softening, **DASHED)
    panel.annotate(f"softening {softening:g} kpc", (time[0], softening), (2, 3), **NOTE)
    panel.set_ylabel("separation of the centres (kpc)")
    if facts["merged_gyr"] is not None:
        merged = float(facts["merged_gyr"])
        panel.axvline(merged, color=GREY, linewidth=0.8)
        panel.annotate(f"merged at {merged:.2f} Gyr", (merged, 0.97), (4, 0), xycoords=("data", "axes fraction"),
                       va="top", **NOTE)  # fmt: skip


def _draw_drifts(panel, time: np.ndarray, drifts: Mapping[str, np.ndarray]) -> None:
    """The drifts of conserved quantities against time, and their limit."""
    for name, colour in DRIFTS.items():
        panel.plot(time[1:], np.maximum(drifts[name.replace(" ", "_")][1:], LEAST), color=colour, label=name)
    panel.axhline(ALLOWED, **DASHED)
    panel.set_yscale("log")
    panel.set_ylabel("relative drift")
    panel.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(DRIFTS))


def plot_separations(evolutions: list[Table], scale_kpc: float) -> str:
    """SVG: separation against time of all mergers; empty if there are none."""
    evolutions = [rows for rows in evolutions if np.isfinite(numbers(rows["separation_kpc"])).any()]
    if not evolutions:
        return ""

    def draw(axes) -> None:
        for rows in evolutions:
            axes.plot(rows["time_gyr"], rows["separation_kpc"], color=MUTED, linewidth=0.8, alpha=0.8)
        axes.axhline(scale_kpc, color=ACCENT, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate("merged", (0, scale_kpc), (4, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", color=ACCENT)  # fmt: skip
        axes.set_yscale("log")
        axes.set_xlabel("time (Gyr)")
        axes.set_ylabel("separation of the centres (kpc)")

    return svg_of("separations", draw)


def plot_thickness(controls: Mapping[str, Table]) -> str:
    """SVG: thickness of the discs of isolated galaxies, relative to the start; empty if there are none."""
    if not controls:
        return ""

    def draw(axes) -> None:
        for name, rows in controls.items():
            height = np.asarray(rows["disc_height_kpc"], float)
            axes.plot(rows["time_gyr"], height / height[0], linewidth=1.2, label=short(name, 60))
        axes.axhline(THICKENING, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate("limit before the encounter", (1, THICKENING), (0, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", color=INK)  # fmt: skip
        axes.set_xlabel("time (Gyr)")
        axes.set_ylabel("thickness, relative to the start")
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right")

    return svg_of("thickness", draw)
