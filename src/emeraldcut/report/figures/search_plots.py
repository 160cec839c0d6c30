"""Figures of a search: its course, profiles of the best remnants against the target, the remnants from three sides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.camera.camera import rotation
from emeraldcut.camera.projection import count, project, smooth
from emeraldcut.report.figures.palette import EMERALD, GREY
from emeraldcut.report.figures.style import ACCENT, INK, LINE, MUTED, SECOND, new_figure, save_figure, svg_of
from emeraldcut.search import Body, Target

QUANTITIES = {"a4": "a4/a", "a6": "a6/a", "axis_ratio": "axis ratio"}
SHADES = (ACCENT, SECOND, INK, MUTED)  # of remnants, best first
PIXELS, WIDTH_HALF_LIGHT = 120, 8.0  # of a picture of a remnant: its side, in pixels and half-light radii
NEIGHBOURS, WIDEST = 60.0, 4.0  # stars under the smoothing, and its greatest width in pixels
STEPS_MAG, FAINTEST_MAG = 0.75, 6.0  # between isophotes, and of the last one below the brightest


def plot_course(rows: Sequence[dict[str, Any]], sobol: int) -> str:
    """SVG: what each evaluation has found, in the order of asking, and the best so far."""

    def draw(axes) -> None:
        for kind, colour, label in (("small", MUTED, "few particles"), ("full", ACCENT, "run again, larger")):
            of = [row for row in rows if row["kind"] == kind]
            for mixed, face in ((True, colour), (False, "none")):
                some = [row for row in of if row["mixed"] is mixed]
                place = [row["number"] for row in some]
                axes.scatter(
                    place, [row["fraction"] for row in some], s=14, facecolor=face, edgecolor=colour, linewidth=0.8,
                    label=label if mixed else None,
                )  # fmt: skip
        small = [row for row in rows if row["kind"] == "small"]
        best = np.maximum.accumulate([row["fraction"] if row["mixed"] else 0.0 for row in small])
        axes.plot([row["number"] for row in small], best, color=INK, linewidth=1, drawstyle="steps-post")
        axes.axvline(sobol - 0.5, color=LINE, linewidth=1)
        axes.set_xlabel("evaluation")
        axes.set_ylabel("fraction of directions that match")
        axes.set_ylim(bottom=-0.01)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left")

    return svg_of("course", draw)


def plot_profile(quantity: str, target: Target, best: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """SVG: a quantity against radius in the view of each remnant that comes closest, and the target's limits.

    `best` are names and rows of evaluations.
    """

    def draw(axes) -> None:
        limits = [one for one in target.constraints if one.quantity == quantity]
        shown = []
        for (name, row), colour in zip(best, SHADES, strict=False):
            views = row["views"]
            radii, of_view = np.array(views["radii"]), np.array(views["scoring"][quantity])[row["best_view"]]
            error = np.array(views["scoring"]["error"])[row["best_view"]]
            error = 2 * of_view * error if quantity == "axis_ratio" else error
            axes.errorbar(radii, of_view, error, color=colour, marker="o", markersize=3, linewidth=1, label=name)
            shown.append(of_view)
        if shown:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK)
        bottom, top = axes.get_ylim()
        for one in limits:
            low, high = max(one.low, bottom), min(one.high, top)
            axes.bar(one.radius, high - low, 0.3, low, color=LINE, zorder=0)
        axes.set_ylim(min([bottom, *(c.low for c in limits if np.isfinite(c.low))]),
                      max([top, *(c.high for c in limits if np.isfinite(c.high))]))  # fmt: skip
        if quantity != "axis_ratio":
            axes.axhline(0, color=MUTED, linewidth=0.6)
        axes.set_xlabel("radius (half-light semi-major axes)")
        axes.set_ylabel(QUANTITIES[quantity])

    return svg_of(f"profile-{quantity.replace('_', '-')}", draw)


def remnants_figure(remnants: Sequence[tuple[str, list[Body], np.ndarray]], path: str | Path) -> Path:
    """Draws each remnant, `(name, snapshots, best direction)`, from three sides, with isophotes.

    The sides are the direction of the best view, edge-on along the middle axis, and face-on.
    """
    sides = ("best view", "edge-on", "face-on")
    figure = new_figure(9.0, 3.1 * len(remnants))
    figure.set_layout_engine("tight")
    panels = figure.subplots(len(remnants), len(sides), squeeze=False)
    for row, (name, bodies, best) in zip(panels, remnants, strict=True):
        half = float(np.mean([body.half_light_kpc for body in bodies]))
        for panel, side, direction in zip(
            row, sides, (best, np.array([0.0, 1, 0]), np.array([0.0, 0, 1])), strict=True
        ):
            draw_remnant(panel, bodies, direction, WIDTH_HALF_LIGHT * half)
            angle = np.degrees(np.arccos(abs(direction[2])))
            panel.set_title(f"{name}, {side}" + (f" ({angle:.0f}°)" if side == "best view" else ""), fontsize=9)
        row[0].set_ylabel("kpc")
    return save_figure(figure, path)


def draw_remnant(panel, bodies: Sequence[Body], direction: np.ndarray, width_kpc: float) -> None:
    """Surface density of stacked snapshots from a direction, logarithmic, with isophotes every `STEPS_MAG`."""
    image = remnant_image(bodies, direction, width_kpc)
    magnitude = -2.5 * np.log10(np.maximum(image, 1e-9) / image.max())
    extent = (-width_kpc / 2, width_kpc / 2, -width_kpc / 2, width_kpc / 2)
    panel.imshow(-magnitude, origin="lower", extent=extent, cmap="Greys", vmin=-FAINTEST_MAG - 1, vmax=0)
    levels = np.arange(-FAINTEST_MAG, 0, STEPS_MAG)
    panel.contour(-magnitude, levels, extent=extent, colors=EMERALD, linewidths=0.8, linestyles="solid")
    panel.tick_params(labelsize=7, colors=GREY)


def remnant_image(bodies: Sequence[Body], direction: np.ndarray, width_kpc: float) -> np.ndarray:
    """Mass of stars on each of `PIXELS` x `PIXELS` pixels, smoothed where there are few."""
    position = np.ascontiguousarray(np.concatenate([b.position for b in bodies]).T, np.float32)
    light = np.ascontiguousarray(np.concatenate([b.mass for b in bodies]), np.float32)
    x, y, z = direction
    turn = rotation(float(np.degrees(np.arccos(np.clip(z, -1, 1)))), float(np.degrees(np.arctan2(y, x))))
    maps = count(project(position, turn), light, (PIXELS, PIXELS), PIXELS / width_kpc)
    return smooth(maps, NEIGHBOURS, WIDEST)
