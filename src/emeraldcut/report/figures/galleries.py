"""Galleries: the best candidates next to their references, and a field with its candidates, drawn to files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from emeraldcut.report.figures.palette import AMBER, BLACK, EMERALD, GREY, MINT
from emeraldcut.report.figures.pictures import (
    GalaxyPictures,
    Picture,
    sky_level,
    stretch,
    text,
)
from emeraldcut.report.figures.style import new_figure, save_figure, short

SHOWN = 20  # candidates on the page and in the gallery
GALLERY_COLUMNS = 5
GAP = 0.03  # between pictures, in their widths
PAIR_WIDTH, PAIR_HEIGHT = 2.08, 1.23  # of two pictures next to each other and their title
SQUARE = 1.13  # a picture and its title


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
    figure, axes = _canvas(PAIR_WIDTH * n_columns, PAIR_HEIGHT * n_rows, 1.25)
    for k, galaxy in enumerate(references):
        corner = (0.0, PAIR_HEIGHT * (n_rows - 1 - k))
        _draw_pair(axes, corner, galaxy, f"reference: {text(galaxy.row, 'id')}", EMERALD)
    for k, galaxy in enumerate(candidates):
        row, column = divmod(k, GALLERY_COLUMNS)
        corner = (PAIR_WIDTH * (left + column), PAIR_HEIGHT * (n_rows - 1 - row))
        _draw_pair(axes, corner, galaxy, f"{galaxy.row['rank']}. {text(galaxy.row, 'id')}", BLACK)
    return save_figure(figure, path)


def draw_best_match(candidate: GalaxyPictures, reference: GalaxyPictures | None, path: str | Path) -> Path:
    """Draws the best candidate next to its reference, on the sky (top) and in their own frames (bottom)."""
    pair = [galaxy for galaxy in (candidate, reference) if galaxy is not None]
    figure, axes = _canvas(SQUARE * len(pair), 2 * SQUARE, 3.2)
    for column, galaxy in enumerate(pair):
        name = short(text(galaxy.row, "id"), 36)
        _draw(axes, (SQUARE * column, SQUARE), galaxy.cutout, name, (BLACK, EMERALD)[column], 9.5)
        _draw(axes, (SQUARE * column, 0.0), galaxy.framed, "in its own frame", GREY, 9.5)
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


def _canvas(width: float, height: float, unit_inch: float):
    """A figure with one set of axes, as wide and high as so many pictures, for all of them: many would be slow."""
    figure = new_figure(unit_inch * width, unit_inch * height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-GAP, width - GAP)
    axes.set_ylim(-GAP, height - GAP)
    return figure, axes


def _draw_pair(axes, corner: tuple[float, float], galaxy: GalaxyPictures, title: str, colour: str) -> None:
    """A cutout of a gallery, and the galaxy in its own frame next to it."""
    x, y = corner
    _draw(axes, corner, galaxy.cutout, short(title, 34), colour, 7.5, centred=False)
    _draw(axes, (x + 1 + GAP, y), galaxy.framed)


def _draw(
    axes,
    corner: tuple[float, float],
    picture: Picture | None,
    title: str = "",
    colour: str = BLACK,
    size: float = 9.5,
    centred: bool = True,
) -> None:
    """One picture with its lines and scale bar, a unit wide and high, above and to the right of `corner`; or none."""
    x, y = corner
    place = (x + 0.5, "center") if centred else (x, "left")
    axes.text(place[0], y + 1.02, title, color=colour, fontsize=size, ha=place[1], va="bottom")
    if picture is None:
        return
    n = len(picture.values)
    axes.imshow(
        picture.drawn(),
        origin="lower",
        interpolation="nearest",
        extent=(x, x + 1, y, y + 1),
        aspect="auto",
    )
    from matplotlib.patches import Rectangle

    frame = Rectangle(corner, 1, 1, transform=axes.transData)
    lines = [
        (line, {"color": "white", "linewidth": 0.6, "linestyle": (0, (3, 3)), "alpha": 0.7})
        for line in picture.ellipses
    ]
    for line in picture.isophotes:
        lines += [
            (line, {"color": "black", "linewidth": 2.0, "alpha": 0.35}),
            (line, {"color": MINT, "linewidth": 0.9}),
        ]
    for line, style in lines:
        for drawn in axes.plot(*(np.array([[x], [y]]) + (line.T + 0.5) / n), **style):
            drawn.set_clip_path(frame)
    if picture.bar_pix:
        left, width = x + 0.05, picture.bar_pix / n
        axes.plot([left, left + width], [y + 0.065] * 2, color="white", linewidth=1.6)
        axes.text(left, y + 0.095, picture.bar_text, color="white", fontsize=7)
