"""Galleries: the best candidates next to their references, and a field with its candidates, drawn to files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from emeraldcut.report.figures.palette import AMBER, BLACK, EMERALD, GREY, MINT
from emeraldcut.report.figures.pictures import (
    COLOUR_MAP,
    GalaxyPictures,
    Picture,
    sky_level,
    stretch,
    text,
)
from emeraldcut.report.figures.style import new_figure, save_figure, short

SHOWN = 20  # candidates on the page and in the gallery
GALLERY_COLUMNS = 5


def draw_gallery(candidates: list[GalaxyPictures], references: list[GalaxyPictures], path: str | Path) -> Path:
    """Draws the best candidates next to their most similar references.

    Parameters
    ----------
    candidates : list of GalaxyPictures
        Sorted, with `id`, `rank` and `reference` in their rows; the first 20 are drawn.
    references : list of GalaxyPictures
        Those that the candidates name are drawn.
    path : path of the picture to write (.png, .pdf or .svg)
    """
    candidates = candidates[:SHOWN]
    n_rows = -(-len(candidates) // GALLERY_COLUMNS)
    named = {text(galaxy.row, "reference") for galaxy in candidates}
    references = [galaxy for galaxy in references if text(galaxy.row, "id") in named][:n_rows]
    left = 1 if references else 0
    n_columns = left + min(len(candidates), GALLERY_COLUMNS)
    figure = new_figure(2.5 * n_columns, 1.5 * n_rows)
    grid = figure.add_gridspec(
        n_rows,
        2 * n_columns,
        left=0.005,
        right=0.995,
        bottom=0.01,
        top=1 - 0.2 / n_rows,
        wspace=0.04,
        hspace=0.2,
    )
    for k, galaxy in enumerate(references):
        _draw_pair(figure, grid, k, 0, galaxy, f"reference: {text(galaxy.row, 'id')}", EMERALD)
    for k, galaxy in enumerate(candidates):
        title = f"{galaxy.row['rank']}. {text(galaxy.row, 'id')}"
        _draw_pair(figure, grid, k // GALLERY_COLUMNS, left + k % GALLERY_COLUMNS, galaxy, title, BLACK)
    return save_figure(figure, path)


def draw_best_match(candidate: GalaxyPictures, reference: GalaxyPictures | None, path: str | Path) -> Path:
    """Draws the best candidate next to its reference, on the sky (top) and in their own frames (bottom)."""
    pair = [galaxy for galaxy in (candidate, reference) if galaxy is not None]
    figure = new_figure(3.2 * len(pair), 6.8)
    grid = {"left": 0.02, "right": 0.98, "top": 0.95, "bottom": 0.01, "hspace": 0.08, "wspace": 0.04}
    axes = figure.subplots(2, len(pair), squeeze=False, gridspec_kw=grid)
    for column, galaxy in enumerate(pair):
        _draw(axes[0, column], galaxy.cutout, short(text(galaxy.row, "id"), 36), (BLACK, EMERALD)[column])
        _draw(axes[1, column], galaxy.framed, "in its own frame", GREY)
    return save_figure(figure, path)


def field_figure(field: np.ndarray, catalogue: Table, candidates: Table, path: str | Path) -> Path:
    """Draws a field with the planted galaxies circled and the best candidates boxed and numbered.

    Parameters
    ----------
    field : (ny, nx), counts
    catalogue : Table
        `id`, `x`, `y` (pixels) and `planted` (bool) of the objects in the field.
    candidates : Table
        `id` and `rank`, as `screen` makes them.
    path : path of the picture to write
    """
    figure = new_figure(8.0, 8.0 * field.shape[0] / field.shape[1])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(stretch(field, *sky_level(field)), cmap="gray", origin="lower", interpolation="nearest")
    planted = catalogue[np.asarray(catalogue["planted"], dtype=bool)]
    axes.scatter(planted["x"], planted["y"], s=420, facecolors="none", edgecolors=MINT, linewidths=1.4)
    place = {str(row["id"]): (row["x"], row["y"]) for row in catalogue}
    for row in candidates[np.asarray(candidates["rank"]) <= SHOWN]:
        x, y = place[str(row["id"])]
        axes.plot(x, y, "s", markersize=14, fillstyle="none", color=AMBER, markeredgewidth=1.1)
        axes.annotate(str(row["rank"]), (x, y), (12, 6), textcoords="offset points", color=AMBER, fontsize=9)
    axes.set_axis_off()
    return save_figure(figure, path)


def _draw_pair(figure, grid, row: int, column: int, galaxy: GalaxyPictures, title: str, colour: str) -> None:
    """A cutout of a gallery, and the galaxy in its own frame next to it."""
    axes = figure.add_subplot(grid[row, 2 * column])
    _draw(axes, galaxy.cutout)
    axes.set_title(short(title, 34), fontsize=7.5, color=colour, loc="left", pad=3)
    _draw(figure.add_subplot(grid[row, 2 * column + 1]), galaxy.framed)


def _draw(axes, picture: Picture | None, title: str = "", colour: str = BLACK) -> None:
    """One picture with its lines and scale bar, or empty axes."""
    axes.set_axis_off()
    if picture is None:
        return
    n = len(picture.values)
    axes.imshow(picture.values, cmap=COLOUR_MAP, origin="lower", vmin=0, vmax=1, interpolation="nearest")
    for line in picture.ellipses:
        axes.plot(*line.T, color="white", linewidth=0.6, linestyle=(0, (3, 3)), alpha=0.7)
    for line in picture.isophotes:
        axes.plot(*line.T, color="black", linewidth=2.0, alpha=0.35)
        axes.plot(*line.T, color=MINT, linewidth=0.9)
    if picture.bar_pix:
        axes.plot([0.05 * n, 0.05 * n + picture.bar_pix], [0.06 * n] * 2, color="white", linewidth=1.6)
        axes.text(0.05 * n, 0.09 * n, picture.bar_text, color="white", fontsize=7)
    axes.set_xlim(-0.5, n - 0.5)
    axes.set_ylim(-0.5, n - 0.5)
    axes.set_title(title, fontsize=9.5, color=colour)
