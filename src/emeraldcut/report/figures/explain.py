"""Why two galaxies are similar: both in their own frames, the residual, and the harmonics of both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from emeraldcut.data import ImageSet, concatenate
from emeraldcut.data.columns import numbers
from emeraldcut.errors import UsageError
from emeraldcut.frame import EXTENT, RING_MIDDLES, frame_galaxies, known_psf
from emeraldcut.report.figures.comparison import RESIDUAL_SIGMA, reference_and_residual
from emeraldcut.report.figures.palette import BLACK, EMERALD, GREY, SERIES
from emeraldcut.report.figures.pictures import COLOUR_MAP, RESIDUAL_MAP, stretch
from emeraldcut.report.figures.style import new_figure, save_figure
from emeraldcut.settings import Settings, setting
from emeraldcut.similarity.framed import MIRRORS, Deviations

SHOWN_TERMS = ((4, "a4"), (6, "a6"), (8, "a8"))  # orders whose cosine terms are drawn against radius


@dataclass(frozen=True, kw_only=True)
class ExplainSettings(Settings):
    """Whether the best matches are drawn."""

    explain: str | None = setting(
        None, "also draw the best matches next to their references to this file (.png, .pdf, .svg)"
    )
    explain_best: int = setting(5, "number of best matches to draw", at_least=1, at_most=1_000)


def explain_best(chunks: Iterable[ImageSet], table: Table, references: ImageSet, settings: ExplainSettings) -> Path:
    """The picture of `explain` for the best rows of `table`, sorted by `similarity_p` if known and by `similarity`.

    The images are found in `chunks`, of which one at a time is in memory.
    """
    assert settings.explain is not None  # else there is nothing to draw to
    chance = numbers(table["similarity_p"], 2.0) if "similarity_p" in table.colnames else np.zeros(len(table))
    best = table[np.lexsort((-numbers(table["similarity"], -np.inf), chance))[: settings.explain_best]]
    places = {str(name): place for place, name in enumerate(best["id"])}
    found = [chunk[np.array([str(name) in places for name in chunk.table["id"]], dtype=bool)] for chunk in chunks]
    images = concatenate([chosen for chosen in found if len(chosen)])
    order = np.argsort([places[str(name)] for name in images.table["id"]])
    return explain(images[order], best, references, settings.explain)


def explain(images: ImageSet, table: Table, references: ImageSet, path: str | Path) -> Path:
    """Draws each image next to its most similar reference, with the residual and the harmonics of both.

    Parameters
    ----------
    images : ImageSet
        The images to draw, one below the other.
    table : Table
        Rows of `compare` for these images, found by `id`.
    references : ImageSet
        With all references that the column `reference` names.
    path : path of the picture to write

    Raises
    ------
    ValueError
        No image has a galaxy that is in the table.
    """
    frames, framed_references = frame_galaxies(images), frame_galaxies(references)
    variances = Deviations.of(frames, known_psf(images)).variances
    rows = {str(row["id"]): row for row in table}
    places = {str(name): k for k, name in enumerate(references.table["id"])}
    shown = [i for i, galaxy in enumerate(frames.galaxies) if galaxy is not None and str(images.table["id"][i]) in rows]
    if not shown:
        raise UsageError("explain expects images of galaxies that are in the table; received none.")
    figure = new_figure(11.0, 2.9 * len(shown))
    grid = {"left": 0.01, "right": 0.985, "top": 1 - 0.32 / len(shown), "bottom": 0.18 / len(shown)}
    axes = figure.subplots(
        len(shown),
        4,
        squeeze=False,
        gridspec_kw=grid | {"wspace": 0.2, "hspace": 0.42, "width_ratios": (1, 1, 1, 1.4)},
    )
    for line, i in zip(axes, shown, strict=True):
        row = rows[str(images.table["id"][i])]
        k = places[str(row["reference"])]
        other, left, mirror = reference_and_residual(frames, i, framed_references, k)
        chance = f", p = {row['similarity_p']:.2g}" if "similarity_p" in row.colnames else ""
        _picture(
            line[0], stretch(frames.stamps[i], 0.0, 1.0), str(row["id"]), f"similarity {row['similarity']:.2f}{chance}"
        )
        _picture(line[1], stretch(other, 0.0, 1.0), str(row["reference"]), "the reference", EMERALD)
        line[2].imshow(left, cmap=RESIDUAL_MAP, vmin=-RESIDUAL_SIGMA, vmax=RESIDUAL_SIGMA, origin="lower")
        _label(line[2], "residual", f"in noise units, ±{RESIDUAL_SIGMA:g}")
        galaxy, reference = frames.galaxies[i], framed_references.galaxies[k]
        assert galaxy is not None  # `shown` are images with a galaxy
        assert reference is not None  # and `compare` names references with one
        _harmonics(line[3], galaxy.rings[0], variances[i], MIRRORS[mirror] * reference.rings[0])
    return save_figure(figure, path)


def _picture(axes, values: np.ndarray, title: str, below: str, colour: str = BLACK) -> None:
    axes.imshow(values, cmap=COLOUR_MAP, vmin=0, vmax=1, origin="lower")
    middle, unit = (len(values) - 1) / 2, len(values) / (2 * EXTENT)
    psi = np.linspace(0, 2 * np.pi, 97)
    for radius in (1, 2):
        axes.plot(middle + radius * unit * np.cos(psi), middle + radius * unit * np.sin(psi), "--", color="w", lw=0.6)
    _label(axes, title if len(title) < 30 else title[:28] + "…", below, colour)


def _label(axes, title: str, below: str, colour: str = BLACK) -> None:
    axes.set_title(title, fontsize=9, color=colour)
    axes.set_xlabel(below, fontsize=8, color=GREY, labelpad=3)
    axes.set_xticks([])
    axes.set_yticks([])


def _harmonics(axes, terms: np.ndarray, variances: np.ndarray, others: np.ndarray) -> None:
    """Cosine terms of the isophotes against radius: the galaxy as points with errors, the reference as lines."""
    for (order, name), colour, shift in zip(SHOWN_TERMS, SERIES, (-0.04, 0, 0.04), strict=False):
        t = 2 * (order - 1)
        axes.plot(RING_MIDDLES, others[:, t], color=colour, lw=1.2, label=name)
        axes.errorbar(RING_MIDDLES + shift, terms[:, t], np.sqrt(variances), fmt="o", ms=3.5, lw=1, color=colour)
    axes.axhline(0, color=GREY, lw=0.6)
    certain = np.sqrt(variances) < 0.05  # rings whose points should be in the picture
    span = 1.4 * max(np.abs(others[:, [6, 10, 14]]).max(), np.abs(terms[certain, 6]).max(initial=0), 0.05)
    axes.set_ylim(-span, span)
    axes.set_title("harmonics: points galaxy, lines reference", fontsize=9, color=BLACK)
    axes.set_xlabel("radius / half-light radius", fontsize=8, color=GREY, labelpad=2)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, ncols=3, loc="lower left")
