"""Isophotes of one galaxy as people expect to see them: image, model, residual, and everything against radius."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.frame import FramedGalaxy, frame_galaxies
from emeraldcut.isophotes import MeasureSettings, PlotSettings, ProfileSettings, radial_profiles
from emeraldcut.isophotes.profile_model import NAMES, profile_model
from emeraldcut.report.figures.palette import BLACK, EMERALD, GREY, SERIES
from emeraldcut.report.figures.pictures import COLOUR_MAP, RESIDUAL_MAP, sky_level, stretch
from emeraldcut.report.figures.style import new_figure, save_figure, short

DRAWN_ISOPHOTES = 8  # in the picture of a galaxy at most
RESIDUAL_SIGMA = 5.0  # end of the colours of the residual
SHOWN = 1.25  # half width of the pictures over the largest isophote's radius
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)  # of radii in pixels
LEAST_A4_RANGE = 0.03  # of the axis of a4 and a6, to either side


def plot_isophotes(
    images: ImageSet, profiles: Table, identity: str | None = None, axes: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Draws one galaxy with its isophotes, the model that they make, what it leaves, and all against radius.

    Parameters
    ----------
    images : ImageSet
    profiles : Table
        From `radial_profiles`. The model is of the isophotes as they are seen if these were not corrected for the PSF.
    identity : str, optional
        Which galaxy; the first one with a profile if not given.
    axes : dict of matplotlib axes, optional
        Those to draw into: any of "image", "model", "residual", "brightness", "ellipticity", "position_angle", "a4"
        and "a6". A new figure with all of them is made otherwise.

    Returns
    -------
    dict of matplotlib axes

    Raises
    ------
    UsageError
        There is no such image, or it has no profile.

    Examples
    --------
    >>> import emeraldcut
    >>> profiles = emeraldcut.radial_profiles(emeraldcut.synthesise(1, seed=2))
    >>> axes = plot_isophotes(profiles.images, profiles)
    >>> sorted(axes)[:3]
    ['a4', 'a6', 'brightness']
    """
    identities = [str(name) for name in profiles["id"]]
    identity = identity if identity is not None else (identities[0] if identities else "")
    place = np.flatnonzero(images.table["id"] == str(identity))
    rows = profiles[[name == str(identity) for name in identities]]
    if not len(place) or not len(rows):
        raise UsageError(f"plot_isophotes expects an image with a profile; received '{identity}', which has none.")
    rows, image = Table(rows, copy=False), images[int(place[0])]
    galaxy = frame_galaxies(image).galaxies[0]
    axes = _new_axes(str(identity)) if axes is None else axes
    _draw_pictures(axes, np.asarray(image.pixels[0], dtype=float), rows, galaxy)
    _draw_profiles(axes, rows)
    return axes


def save_isophote_plots(
    chunks: Iterable[ImageSet],
    settings: MeasureSettings,
    profile_settings: ProfileSettings,
    plot_settings: PlotSettings,
) -> list[Path]:
    """Draws the first galaxies into the folder that `plots` names, a PNG for each, and returns their paths."""
    folder = Path(str(plot_settings.plots))
    made: list[Path] = []
    for images in chunks:
        for row in range(len(images)):
            one = images[row]
            rows = radial_profiles(one, settings, profile_settings)
            if not len(rows):
                continue
            identity = str(one.table["id"][0])
            name = re.sub(r"[^\w.+-]+", "_", identity)[:100] or "galaxy"
            path = folder / f"{name}.png"
            if path in made:
                path = folder / f"{name}-{len(made)}.png"
            axes = plot_isophotes(one, rows, identity)
            made.append(save_figure(axes["image"].figure, path))
            if len(made) == plot_settings.most_plots:
                return made
    return made


def _new_axes(identity: str) -> dict[str, Any]:
    """A figure with pictures above and curves below."""
    figure = new_figure(10.0, 9.0)
    rows = figure.add_gridspec(2, 1, height_ratios=(3.2, 4.6), hspace=0.1, left=0.09, right=0.98, top=0.92, bottom=0.07)
    above = rows[0].subgridspec(1, 3, wspace=0.05)
    below = rows[1].subgridspec(3, 2, height_ratios=(1.4, 1, 1), hspace=0.12, wspace=0.2)
    axes = {name: figure.add_subplot(above[k]) for k, name in enumerate(("image", "model", "residual"))}
    axes["brightness"] = figure.add_subplot(below[0, 0])
    others = {"ellipticity": (1, 0), "position_angle": (2, 0), "a4": (0, 1), "a6": (1, 1), "light_inside": (2, 1)}
    for name, place in others.items():
        axes[name] = figure.add_subplot(below[place], sharex=axes["brightness"])
    figure.suptitle(short(identity, 60), fontsize=13)
    return axes


def _draw_pictures(axes: dict[str, Any], image: np.ndarray, rows: Table, galaxy: FramedGalaxy | None) -> None:
    """Image with isophotes, model, and residual in units of the noise, around the galaxy."""
    sky, sigma = sky_level(image, galaxy)
    model = profile_model(rows, image.shape) + sky
    pictures = {"image": stretch(image, sky, sigma), "model": _like(image, model, sky, sigma)}
    pictures["residual"] = (image - model) / sigma if sigma > 0 else image - model
    reach = SHOWN * float(np.max(numbers(rows["isophote_radius_pix"])))
    x, y = (float(np.nanmean(numbers(rows[name]))) for name in ("x", "y"))
    for name, values in pictures.items():
        if name not in axes:
            continue
        limits = (-RESIDUAL_SIGMA, RESIDUAL_SIGMA) if name == "residual" else (0, 1)
        colours = RESIDUAL_MAP if name == "residual" else COLOUR_MAP
        axes[name].imshow(values, origin="lower", cmap=colours, vmin=limits[0], vmax=limits[1])
        axes[name].set_xlim(max(x - reach, -0.5), min(x + reach, image.shape[1] - 0.5))
        axes[name].set_ylim(max(y - reach, -0.5), min(y + reach, image.shape[0] - 0.5))
        axes[name].set_xticks([])
        axes[name].set_yticks([])
        axes[name].set_title({"residual": f"image - model, ±{RESIDUAL_SIGMA:g} of the sky's noise"}.get(name, name),
                             fontsize=10)  # fmt: skip
    if "image" in axes:
        chosen = np.unique(np.linspace(0, len(rows) - 1, DRAWN_ISOPHOTES).round().astype(int))
        for row in rows[chosen]:
            axes["image"].plot(*_outline(row), color=EMERALD, linewidth=0.9)


def _like(image: np.ndarray, model: np.ndarray, sky: float, sigma: float) -> np.ndarray:
    """A model in the stretch of its image: made together, so that both have one brightest pixel."""
    both = stretch(np.concatenate([image, model]), sky, sigma)
    return both[len(image) :]


def _outline(row: Any) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the points of one isophote."""
    psi = np.linspace(0, 2 * np.pi, 200)
    radius = np.ones_like(psi)
    for m, names in NAMES.items():
        cosine, sine = (0.0 if np.ma.is_masked(row[name]) else float(row[name]) for name in names)
        radius += cosine * np.cos(m * psi) + sine * np.sin(m * psi)
    radius *= row["isophote_radius_pix"]
    u, v = radius * np.cos(psi), radius * np.sin(psi) * row["axis_ratio"]
    angle = np.radians(row["position_angle_deg"])
    return row["x"] + u * np.cos(angle) - v * np.sin(angle), row["y"] + u * np.sin(angle) + v * np.cos(angle)


def _draw_profiles(axes: dict[str, Any], rows: Table) -> None:
    """Everything against the semi-major axis."""
    radius = numbers(rows["isophote_radius_pix"])
    magnitudes = "surface_brightness_mag_arcsec2" in rows.colnames
    curves: dict[str, tuple[str, np.ndarray, np.ndarray]] = {
        "ellipticity": ("ellipticity", 1 - numbers(rows["axis_ratio"]), numbers(rows["axis_ratio_err"])),
        "position_angle": ("position angle (deg)", _continued(numbers(rows["position_angle_deg"])),
                           numbers(rows["position_angle_err_deg"])),
        "a4": ("$a_4$", numbers(rows["a4"]), numbers(rows["a4_err"])),
        "a6": ("$a_6$", numbers(rows["a6"]), numbers(rows["a6_err"])),
        "light_inside": ("light inside (counts)", numbers(rows["light_inside"]), np.zeros(len(rows))),
    }  # fmt: skip
    if magnitudes:
        curves["brightness"] = ("mag arcsec$^{-2}$", numbers(rows["surface_brightness_mag_arcsec2"]),
                                numbers(rows["surface_brightness_err_mag_arcsec2"]))  # fmt: skip
    else:
        curves["brightness"] = ("brightness (counts per pixel)", numbers(rows["brightness"]),
                                numbers(rows["brightness_err"]))  # fmt: skip
    shown = [name for name in curves if name in axes]
    for name in shown:
        label, values, errors = curves[name]
        _draw_curve(axes[name], radius, values, errors, label)
    if "brightness" in axes:
        if magnitudes:
            axes["brightness"].invert_yaxis()
        elif np.nanmax(curves["brightness"][1], initial=0.0) > 0:
            axes["brightness"].set_yscale("log", nonpositive="mask")
    for name in {"a4", "a6"} & set(shown):
        reach = max(LEAST_A4_RANGE, 1.3 * float(np.nanpercentile(np.abs(curves[name][1]), 95, method="nearest")))
        axes[name].set_ylim(-reach if np.isfinite(reach) else -1, reach if np.isfinite(reach) else 1)
        axes[name].axhline(0, color=GREY, linewidth=0.8)
    if "a4" in axes:
        for place, word, alignment in ((0.97, "disky", "top"), (0.03, "boxy", "bottom")):
            axes["a4"].text(0.02, place, word, transform=axes["a4"].transAxes, color=GREY, fontsize=9, va=alignment)
    lowest = {"position_angle", "light_inside"} & set(shown) or set(shown)
    for name in shown:
        axes[name].tick_params(labelbottom=name in lowest)
        if name in lowest:
            axes[name].set_xlabel("semi-major axis (pixels)")


def _draw_curve(panel: Any, radius: np.ndarray, values: np.ndarray, errors: np.ndarray, label: str) -> None:
    good = np.isfinite(values)
    panel.errorbar(radius[good], values[good], np.nan_to_num(errors[good]), fmt="o", markersize=3.5, color=SERIES[0],
                   ecolor=GREY, elinewidth=0.9, markeredgecolor=BLACK, markeredgewidth=0.3)  # fmt: skip
    panel.set_xscale("log")
    panel.set_ylabel(label)
    panel.spines[["top", "right"]].set_visible(False)
    ticks = [t for t in TICKS if radius[0] * 0.9 <= t <= radius[-1] * 1.1]
    panel.set_xticks(ticks, [str(t) for t in ticks])
    panel.minorticks_off()


def _continued(angle_deg: np.ndarray) -> np.ndarray:
    """Position angles without jumps by 180 degrees."""
    good = np.isfinite(angle_deg)
    continued = angle_deg.copy()
    continued[good] = np.degrees(np.unwrap(2 * np.radians(angle_deg[good])) / 2)
    return continued
