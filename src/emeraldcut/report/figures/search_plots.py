"""Figures of a search: its course, and of the best remnants profiles, pictures, motions, families and orbits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.camera.projection import count, project, smooth
from emeraldcut.camera.remnant_shape import Body, inclinations_deg, turn_towards
from emeraldcut.galaxies.leda074886 import ARCSEC_PER_KPC, BODY_RADIUS_ARCSEC, leda074886
from emeraldcut.report.figures.palette import EMERALD, GREY
from emeraldcut.report.figures.style import ACCENT, INK, LINE, MUTED, SECOND, new_figure, save_figure, svg_of
from emeraldcut.search import Target

QUANTITIES = {"a4": "a4/a", "a6": "a6/a", "axis_ratio": "axis ratio"}
SHADES = (ACCENT, SECOND, INK, MUTED)  # of remnants, best first
PIXELS, WIDTH_HALF_LIGHT = 120, 8.0  # of a picture of a remnant: its side, in pixels and half-light radii
MOTION_HALF_LIGHT = 6.0  # side of a map of velocities, where stars are enough
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


def remnants_figure(
    remnants: Sequence[tuple[str, list[Body], np.ndarray]], path: str | Path, leda: bool = False
) -> Path:
    """Draws each remnant, `(name, snapshots, best direction)`, from three sides, with isophotes.

    The sides are the direction of the best view, edge-on along the middle axis, and face-on; with `leda` there is our
    model of LEDA 074886 beside them, as large in half-light radii.
    """
    sides = ("best view", "edge-on", "face-on")
    figure = new_figure(3.0 * (len(sides) + leda), 3.1 * len(remnants))
    figure.set_layout_engine("tight")
    panels = figure.subplots(len(remnants), len(sides) + leda, squeeze=False)
    for row, (name, bodies, best) in zip(panels, remnants, strict=True):
        half = float(np.mean([body.half_light_kpc for body in bodies]))
        for panel, side, direction in zip(
            row, sides, (best, np.array([0.0, 1, 0]), np.array([0.0, 0, 1])), strict=False
        ):
            draw_remnant(panel, bodies, direction, WIDTH_HALF_LIGHT * half)
            angle = np.degrees(np.arccos(abs(direction[2])))
            panel.set_title(f"{name}, {side}" + (f" ({angle:.0f}°)" if side == "best view" else ""), fontsize=9)
        row[0].set_ylabel("kpc")
        if leda:
            _draw_leda(row[-1])
    return save_figure(figure, path)


def _draw_leda(panel) -> None:
    """Our model of LEDA 074886, which uses no pixel of its picture."""
    kpc_per_pixel = WIDTH_HALF_LIGHT * BODY_RADIUS_ARCSEC / ARCSEC_PER_KPC / PIXELS
    model = leda074886(size=PIXELS, pixel_scale_arcsec=kpc_per_pixel * ARCSEC_PER_KPC)
    draw_light(panel, model, PIXELS * kpc_per_pixel)
    panel.set_title("LEDA 074886, our model", fontsize=9)


def draw_remnant(panel, bodies: Sequence[Body], direction: np.ndarray, width_kpc: float) -> None:
    """Surface density of stacked snapshots from a direction, logarithmic, with isophotes every `STEPS_MAG`."""
    draw_light(panel, remnant_image(bodies, direction, width_kpc), width_kpc)


def draw_light(panel, image: np.ndarray, width_kpc: float) -> None:
    """An image of so many kpc, logarithmic, with isophotes every `STEPS_MAG`."""
    magnitude = -2.5 * np.log10(np.maximum(image, 1e-9) / image.max())
    extent = (-width_kpc / 2, width_kpc / 2, -width_kpc / 2, width_kpc / 2)
    panel.imshow(-magnitude, origin="lower", extent=extent, cmap="Greys", vmin=-FAINTEST_MAG - 1, vmax=0)
    levels = np.arange(-FAINTEST_MAG, 0, STEPS_MAG)
    panel.contour(-magnitude, levels, extent=extent, colors=EMERALD, linewidths=0.8, linestyles="solid")
    panel.tick_params(labelsize=7, colors=GREY)


def remnant_image(bodies: Sequence[Body], direction: np.ndarray, width_kpc: float) -> np.ndarray:
    """Mass of stars on each of `PIXELS` x `PIXELS` pixels, smoothed where there are few."""
    light = np.concatenate([b.mass for b in bodies])
    return _smoothed(bodies, turn_towards(direction), light, width_kpc)


def motion_maps(
    bodies: Sequence[Body], direction: np.ndarray, width_kpc: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass, mean velocity and dispersion in km/s along the line of sight, on pixels as in `remnant_image`.

    Moments of the velocity are smoothed as the mass is. Approaching is negative.
    """
    turn = turn_towards(direction)
    mass, velocity = (np.concatenate([getattr(b, name) for b in bodies]) for name in ("mass", "velocity"))
    away = -velocity @ turn[2]
    shift = np.abs(away).max() + 1  # moments above 0, as the smoothing expects of light
    light, first, second = (_smoothed(bodies, turn, mass * (away + shift) ** power, width_kpc) for power in range(3))
    light = np.maximum(light, 1e-9 * light.max())
    mean = first / light
    return light, mean - shift, np.sqrt(np.maximum(second / light - mean**2, 0))


def _smoothed(bodies: Sequence[Body], turn: np.ndarray, light: np.ndarray, width_kpc: float) -> np.ndarray:
    """What the stars carry, on pixels, seen along the third row of `turn`."""
    position = np.ascontiguousarray(np.concatenate([b.position for b in bodies]).T, np.float32)
    maps = count(project(position, turn), light.astype(np.float32), (PIXELS, PIXELS), PIXELS / width_kpc)
    return smooth(maps, NEIGHBOURS, WIDEST)


def motion_figure(remnants: Sequence[tuple[str, list[Body], np.ndarray]], path: str | Path) -> Path:
    """Maps of mean velocity and dispersion of each remnant, `(name, snapshots, best direction)`, in its best view."""
    figure = new_figure(8.0, 3.3 * len(remnants))
    figure.set_layout_engine("tight")
    panels = figure.subplots(len(remnants), 2, squeeze=False)
    for row, (name, bodies, best) in zip(panels, remnants, strict=True):
        width = MOTION_HALF_LIGHT * float(np.mean([body.half_light_kpc for body in bodies]))
        light, mean, dispersion = motion_maps(bodies, best, width)
        magnitude = -2.5 * np.log10(light / light.max())
        seen = magnitude < FAINTEST_MAG
        largest = float(np.quantile(np.abs(mean[seen]), 0.99))
        extent = (-width / 2, width / 2, -width / 2, width / 2)
        for panel, values, words, colours, limits in (
            (row[0], mean, "mean velocity", "RdBu_r", (-largest, largest)),
            (row[1], dispersion, "dispersion", "viridis", tuple(np.quantile(dispersion[seen], [0.01, 0.99]))),
        ):
            drawn = panel.imshow(
                np.where(seen, values, np.nan),
                origin="lower",
                extent=extent,
                cmap=colours,
                vmin=limits[0],
                vmax=limits[1],
            )
            panel.contour(-magnitude, np.arange(-FAINTEST_MAG, 0, 2 * STEPS_MAG), extent=extent, colors=GREY,
                          linewidths=0.6, linestyles="solid")  # fmt: skip
            panel.set_title(f"{name}, {words}", fontsize=9)
            panel.tick_params(labelsize=7, colors=GREY)
            bar = figure.colorbar(drawn, ax=panel, shrink=0.85)
            bar.set_label("km/s", fontsize=8)
            bar.ax.tick_params(labelsize=7)
        row[0].set_ylabel("kpc")
    return save_figure(figure, path)


def plot_families(name: str, bodies: Sequence[Body]) -> str:
    """SVG: inclinations of the stars of both galaxies against the remnant's short axis."""

    def draw(axes) -> None:
        angles = np.concatenate([inclinations_deg(body) for body in bodies])
        galaxy = np.concatenate([body.galaxy for body in bodies])
        for number, (label, colour) in enumerate((("host", ACCENT), ("companion", SECOND))):
            if (galaxy == number).any():
                axes.hist(angles[galaxy == number], np.arange(0, 91, 3), histtype="step", color=colour, label=label)
        axes.set_xlabel("inclination of the orbit (degrees)")
        axes.set_ylabel("stars")
        axes.set_yticks([])
        axes.set_xlim(0, 90)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)

    return svg_of(f"families-{name.replace(' ', '-').replace('.', '')}", draw)


def plot_separations(best: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """SVG: distance of the two galaxies against time, of named rows of evaluations."""

    def draw(axes) -> None:
        for (name, row), colour in zip(best, SHADES, strict=False):
            course = np.array(row["course"], float)
            distance = np.linalg.norm(course[:, 1:], axis=1)
            axes.plot(course[:, 0], distance, color=colour, linewidth=1, marker="o", markersize=2, label=name)
        axes.set_xlabel("time (Gyr)")
        axes.set_ylabel("separation (kpc)")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)

    return svg_of("separations", draw)


def plot_orbits(best: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """SVG: the companion's course about the host, whose disc is seen edge-on, along the node of the orbit."""

    def draw(axes) -> None:
        for (name, row), colour in zip(best, SHADES, strict=False):
            course = np.array(row["course"], float)
            axes.plot(course[:, 2], course[:, 3], color=colour, linewidth=0.8, marker="o", markersize=2, label=name)
            axes.plot(course[:1, 2], course[:1, 3], color=colour, marker="s", markersize=5)
        axes.axhline(0, color=MUTED, linewidth=0.6)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel("y (kpc), in the plane of the host's disc")
        axes.set_ylabel("z (kpc), along its spin")
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)

    return svg_of("orbits", draw)
