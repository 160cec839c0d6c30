"""Plots of tables: SVG text for pages, and completeness as a picture in a file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.galaxies import shapes
from emeraldcut.report.figures.palette import GREY, SERIES
from emeraldcut.report.figures.style import ACCENT, INK, LINE, MUTED, SECOND, new_figure, save_figure, svg_of

PLOTTED = 1000  # points of a scatter plot at most
SCORE_BINS = 40
CLEAR_SCORE = 0.5  # scores above it are counted and marked
ABOVE: Any = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 4, "borderaxespad": 0.2}  # the axes
CLASSES = ("oval", "rectangular", "obround", "other")
LEDA_A4 = (-0.08, -0.05)  # LEDA 074886 between 3 and 5 kpc (Graham et al. 2012, ApJ 750, 121)


def completeness_figure(table: Table, path: str | Path) -> Path:
    """Draws the table of `completeness`: the fraction found against S/N, by size (panels) and exponent (lines).

    Axis ratios are taken together; bars are 68 % intervals (Jeffreys).
    """
    sizes, exponents = (np.unique(table[name]) for name in ("radius_fwhm", "exponent"))
    figure = new_figure(1.2 + 2.9 * len(sizes), 3.5)
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    colours = [f"C{k}" for k in range(len(exponents))] if len(exponents) > 4 else [GREY, *SERIES[:3]]
    for panel, size in zip(panels, sizes, strict=True):
        _draw_completeness(panel, table[table["radius_fwhm"] == size], colours)
        panel.set_title(f"half-light radius {size:g} FWHM", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("fraction of rectangular galaxies found")
    panels[0].legend(frameon=False, fontsize=9, loc="upper left")
    figure.tight_layout()
    return save_figure(figure, path)


def plot_completeness(table: Table) -> dict[float, str]:
    """SVG for each size (radius over FWHM): the fraction found against S/N, as `completeness_figure` draws it."""
    colours = [MUTED, ACCENT, SECOND, INK] * len(np.unique(table["exponent"]))

    def draw(axes, own: Table) -> None:
        _draw_completeness(axes, own, colours)
        axes.set_ylabel("fraction found")
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left")

    sizes = np.unique(table["radius_fwhm"])
    parts = [table[table["radius_fwhm"] == size] for size in sizes]
    return {float(size): svg_of(f"found-{k}", partial(draw, own=own))
            for k, (size, own) in enumerate(zip(sizes, parts, strict=True))}  # fmt: skip


def _draw_completeness(panel, table: Table, colours: Sequence[str]) -> None:
    """Fraction found against S/N with 68 % intervals, a line for each exponent; `table` of one size."""
    from astropy.stats import binom_conf_interval

    exponents, snrs = (np.unique(table[name]) for name in ("exponent", "snr"))
    for k, exponent in enumerate(exponents):
        cells = [table[(table["exponent"] == exponent) & (table["snr"] == snr)] for snr in snrs]
        found, injected = (np.array([cell[name].sum() for cell in cells]) for name in ("found", "injected"))
        low, high = binom_conf_interval(found, injected, interval="jeffreys")
        fraction = found / injected
        panel.errorbar(
            snrs * (1 + 0.02 * (k - (len(exponents) - 1) / 2)),
            fraction,
            [np.maximum(fraction - low, 0), np.maximum(high - fraction, 0)],
            fmt="o-",
            markersize=4,
            linewidth=1.4,
            color=colours[k],
            label=f"exponent {exponent:g}",
        )
    panel.set_xscale("log")
    panel.set_xticks(snrs, [f"{snr:g}" for snr in snrs])
    panel.minorticks_off()
    panel.set_xlabel("S/N within the half-light radius")
    panel.set_ylim(-0.03, 1.03)
    panel.grid(alpha=0.25)


def plot_axis_ratio(table: Table, marked: Sequence[int]) -> str:
    """SVG: a4 against axis ratio with errors; empty if nothing was measured.

    The ranks in `marked` stand out and link to the anchors `#rank-N`.
    """
    return _scatter(table, marked, "axis_ratio", "axis ratio b/a", _leda)


def plot_sixth(table: Table, marked: Sequence[int]) -> str:
    """SVG: as `plot_axis_ratio`, against a6, which separates obrounds (a6 > 0) from rectangles."""
    return _scatter(table, marked, "a6", "a6/a", _loci)


def class_fractions(table: Table, name: str = "class") -> Table:
    """How many images have each class in the column `name`; no rows if none has a class.

    Columns `class`, `images`, and `fraction` with its 95 % interval `fraction_low`, `fraction_high` (Wilson 1927, JASA
    22, 209).
    """
    from astropy.stats import binom_conf_interval

    found = texts(table, name)
    counts = np.array([(found == known).sum() for known in CLASSES])
    fractions = Table({"class": np.array(CLASSES, dtype=object), "images": counts})
    if counts.sum() == 0:
        return fractions[:0]
    fractions["fraction"] = counts / counts.sum()
    fractions["fraction_low"], fractions["fraction_high"] = binom_conf_interval(
        counts, counts.sum(), confidence_level=0.95, interval="wilson"
    )
    return fractions


def plot_classes(table: Table, name: str = "class") -> str:
    """SVG: the fraction of each class with its interval, as from `class_fractions`; empty without classes."""
    fractions = class_fractions(table, name)
    if not len(fractions):
        return ""
    counts = fractions["images"]
    fraction, low, high = (100 * np.array(fractions[key]) for key in ("fraction", "fraction_low", "fraction_high"))

    def draw(axes) -> None:
        place = np.arange(len(CLASSES))[::-1]
        colours = [ACCENT if name == "rectangular" else LINE for name in CLASSES]
        axes.barh(place, fraction, height=0.55, color=colours)
        axes.hlines(place, low, high, color=INK, linewidth=1.2)
        for y, k, end in zip(place, counts, high, strict=True):
            axes.annotate(f"{k}", (end, y), (6, 0), textcoords="offset points", va="center", color=INK)
        axes.set_yticks(place, CLASSES)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(0, 1.12 * high.max())
        axes.set_xlabel("fraction of the classified images (%)")

    return svg_of("classes", draw)


def plot_fractions(fractions: Table, widest: float = 1.0) -> str:
    """SVG: the fractions of the classes by each method, with intervals; `fractions` as of one phase of `study`.

    Intervals that are wider than `widest` say nothing, and are not drawn.
    """
    methods = [method_words(row["image_quality"], row["method"]) for row in fractions]
    names = list(dict.fromkeys(methods))
    colours = dict(zip(CLASSES, (LINE, ACCENT, SECOND, MUTED), strict=True))

    def draw(axes) -> None:
        for k, name in enumerate(CLASSES):
            for y, method in enumerate(names[::-1]):
                (row,) = (r for r, own in zip(fractions, methods, strict=True) if own == method and r["class"] == name)
                place = y + 0.2 * (1.5 - k)
                axes.barh(place, row["fraction"], height=0.18, color=colours[name], label=name if y == 0 else None)
                if row["fraction_high"] - row["fraction_low"] <= widest:
                    axes.hlines(place, row["fraction_low"], row["fraction_high"], color=INK, linewidth=1)
        axes.set_yticks(range(len(names)), names[::-1])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(0, 1)
        axes.set_xlabel("fraction of the views")
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, handlelength=1, columnspacing=1.2, **ABOVE)

    return svg_of("fractions", draw)


def plot_dependence(fractions: Table, group: str, label: str) -> str:
    """SVG: the fraction of rectangular views against a group of `study`, by each method; empty for one value."""
    own = fractions[(np.array(fractions["group"]) == group) & (np.array(fractions["class"]) == "rectangular")]
    values = sorted(set(map(float, own["value"]))) if len(own) else []
    if len(values) < 2:
        return ""
    methods = list(dict.fromkeys(zip(own["image_quality"], own["method"], strict=True)))
    styles = {"truth": (INK, "o-"), "network": (ACCENT, "s"), "isophotes": (SECOND, "^")}
    lines = {"clear": "-", "noisy": "--", "cleaned": ":"}

    def draw(axes) -> None:
        for k, (quality, method) in enumerate(methods):
            rows = own[(np.array(own["image_quality"]) == quality) & (np.array(own["method"]) == method)]
            rows = rows[np.argsort(rows["value"].astype(float))]
            fraction, low, high = (np.array(rows[name]) for name in ("fraction", "fraction_low", "fraction_high"))
            x = np.searchsorted(values, rows["value"].astype(float)) + 0.06 * (k - (len(methods) - 1) / 2)
            colour, marker = styles[method]
            axes.errorbar(
                x, fraction, [fraction - low, high - fraction], fmt=marker[0] + lines[quality], color=colour,
                markersize=4, linewidth=1.1, elinewidth=0.8, label=method_words(quality, method),
            )  # fmt: skip
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_ylim(0, min(1.0, 1.15 * float(np.max(own["fraction_high"]))))
        axes.set_xlabel(label)
        axes.set_ylabel("fraction of rectangular views")
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, **ABOVE | {"ncols": 3})

    return svg_of(group, draw)


def method_words(quality: str, method: str) -> str:
    """A method of `study` and the image quality that it sees, in words; the true outline has none."""
    return "true outline" if method == "truth" else f"{method}, {quality}"


def plot_scores(table: Table) -> str:
    """SVG: the histogram of scores with a logarithmic count axis; empty without scores."""
    score = column(table, "score")
    score = score[np.isfinite(score)]
    if len(score) == 0:
        return ""

    def draw(axes) -> None:
        counts, edges, bars = axes.hist(np.clip(score, 0, 1), bins=SCORE_BINS, range=(0, 1), log=True)
        for edge, bar in zip(edges, bars, strict=False):
            bar.set_facecolor(ACCENT if edge >= CLEAR_SCORE else MUTED)
        axes.axvline(CLEAR_SCORE, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_ylim(0.7, 2 * counts.max())
        axes.yaxis.set_major_formatter(_whole)
        axes.set_xlim(0, 1)
        axes.set_xlabel("score")
        axes.set_ylabel("images")

    return svg_of("scores", draw)


def plot_chances(table: Table) -> str:
    """SVG: the number of images up to each `similarity_p`, and the number expected by chance; empty without."""
    p = column(table, "similarity_p")
    p = np.sort(p[np.isfinite(p) & (p > 0)])
    if len(p) < 2:
        return ""

    def draw(axes) -> None:
        lowest = max(p[0] / 2, 0.01 / len(p))
        kept = np.unique(np.geomspace(1, len(p), PLOTTED).astype(int)) - 1  # ranks of the points that are drawn
        axes.plot(p[kept], kept + 1, color=ACCENT, linewidth=1.5, drawstyle="steps-post")
        axes.plot([lowest, 1], [lowest * len(p), len(p)], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(lowest, 1)
        axes.set_ylim(0.7, 1.5 * len(p))
        axes.yaxis.set_major_formatter(_whole)
        axes.set_xlabel("p-value of the similarity")
        axes.set_ylabel("images with at most this p-value")

    return svg_of("chances", draw)


def plot_growth(table: Table) -> str:
    """SVG: rectangular and other galaxies to expect by how many of the list are inspected; empty without scores."""
    p, rank = np.nan_to_num(column(table, "score")), column(table, "rank")
    if (rank[1:] < rank[:-1]).any():
        p = p[np.argsort(rank)]
    if not p.sum() > 0:
        return ""

    def draw(axes) -> None:
        inspected = np.unique(np.geomspace(1, len(p), PLOTTED).astype(int))
        true = np.cumsum(p, dtype=float)[inspected - 1]
        axes.plot(inspected, true, color=ACCENT, linewidth=1.5, label="rectangular")
        axes.plot(inspected, inspected - true, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), label="others")
        axes.set_xscale("log")
        axes.set_xlim(1, max(len(p), 2))
        axes.xaxis.set_major_formatter(_whole)
        axes.set_ylim(0, 1.3 * true[-1])
        axes.set_xlabel("images inspected, highest rank first")
        axes.set_ylabel("expected number among them")
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left")

    return svg_of("growth", draw)


def plot_truth(table: Table) -> str:
    """SVG: the true a4 against the true axis ratio of a labelled set, by class; empty where they are not known."""
    x, y = column(table, "truth_axis_ratio"), column(table, "truth_a4")
    labels = texts(table, "label")
    colours = dict(zip(CLASSES, (MUTED, ACCENT, SECOND, INK), strict=True))
    shown = {name: np.flatnonzero((labels == name) & np.isfinite(x) & np.isfinite(y)) for name in CLASSES}
    if not any(map(len, shown.values())):
        return ""

    def draw(axes) -> None:
        for name, rows in shown.items():
            rows = rows[:: max(len(rows) * len(CLASSES) // PLOTTED, 1)]
            if len(rows):
                axes.scatter(x[rows], y[rows], s=7, color=colours[name], alpha=0.7, linewidths=0, label=name)
        axes.axhline(0, color=MUTED, linewidth=0.7)
        axes.set_xlim(0, 1)
        axes.set_xlabel("true axis ratio b/a")
        axes.set_ylabel("true a4/a")
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, handletextpad=0.1, markerscale=2, **ABOVE)

    return svg_of("truth", draw)


def plot_histogram(table: Table, name: str, label: str) -> str:
    """SVG: how many images have which value of a column, over its logarithm; empty without values above 0."""
    values = column(table, name)
    values = values[np.isfinite(values) & (values > 0)]
    if len(values) < 2 or values.min() == values.max():
        return ""

    def draw(axes) -> None:
        bins = int(np.clip(2 * len(values) ** (1 / 3), 8, SCORE_BINS))  # Rice's rule
        axes.hist(values, bins=np.geomspace(values.min(), values.max(), bins + 1), color=MUTED)
        axes.set_xscale("log")
        shown = [v for v in _round_numbers(values.min(), values.max()) if values.min() <= v <= values.max()]
        axes.set_xticks(shown, [f"{v:g}" for v in shown])
        axes.minorticks_off()
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel(label)
        axes.set_ylabel("images")

    return svg_of(name, draw)


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20, ... from `low` to `high`."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [step * 10.0**decade for decade in decades for step in (1, 2, 5)]


def plot_bars(names: Sequence[str], fractions: np.ndarray, label: str, of: str) -> str:
    """SVG: fractions between 0 and 1 of things in their order."""

    def draw(axes) -> None:
        axes.bar(np.arange(len(names)), fractions, width=0.6, color=ACCENT)
        for k, fraction in enumerate(fractions):
            axes.annotate(f"{fraction:.2f}", (k, fraction), (0, 3), textcoords="offset points", ha="center", color=INK)
        axes.set_xticks(range(len(names)), names)
        axes.set_ylim(0, 1)
        axes.set_xlabel(label)
        axes.set_ylabel(of)

    return svg_of("bars", draw)


def texts(table: Table, name: str) -> np.ndarray:
    """A column as text (n,) object, empty where it is missing or masked."""
    if name not in table.colnames:
        return np.full(len(table), "", dtype=object)
    return np.ma.filled(np.ma.asarray(table[name], dtype=object), "")


def _whole(value: float, place: int) -> str:
    """A count at a tick of a logarithmic axis, in full; empty below 1."""
    return f"{value:,.0f}" if value >= 1 else ""


def column(table: Table, name: str) -> np.ndarray:
    """A column as floats (n,), NaN where it is missing or masked."""
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    values = table[name]
    return values if type(values) is np.ndarray and values.dtype.kind == "f" else numbers(values)


def _scatter(table: Table, marked: Sequence[int], name: str, label: str, annotate) -> str:
    """SVG: a4 against the column `name`, at most `PLOTTED` rows of it, evenly along the ranks."""
    x, a4, a4_err, rank = (column(table, key) for key in (name, "a4", "a4_err", "rank"))
    measured = np.nonzero(np.isfinite(x) & np.isfinite(a4))[0]
    if len(measured) == 0:
        return ""
    best = measured[np.isin(rank[measured], marked)]
    others = np.setdiff1d(measured, best)
    others = others[np.unique(np.linspace(0, len(others) - 1, min(len(others), PLOTTED)).astype(int))]

    def draw(axes) -> None:
        axes.scatter(x[others], a4[others], s=7, color=MUTED, alpha=0.7, linewidths=0)
        _crosses(axes, x[best], a4[best], column(table, f"{name}_err")[best], a4_err[best], ACCENT, 0.7)
        points = axes.scatter(x[best], a4[best], s=24, color=ACCENT, linewidths=0, zorder=3)
        points.set_urls([f"#rank-{int(place)}" for place in rank[best]])
        axes.set_ylim(*_range(a4, best, include=(-0.1, 0.05)))
        axes.set_xlim(*((0, 1) if name == "axis_ratio" else _range(x, best, include=(-0.04, 0.04))))
        axes.axhline(0, color=MUTED, linewidth=0.7)
        axes.locator_params(axis="x", nbins=6)  # with more, labels with a minus sign touch each other
        axes.set_xlabel(label)
        axes.set_ylabel("a4/a")
        for place, word, side in ((1.0, "disky →", "top"), (0.0, "← boxy", "bottom")):
            axes.text(1.02, place, word, transform=axes.transAxes, rotation=90, va=side, color=MUTED, fontsize=9)
        annotate(axes)
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, **ABOVE)

    return svg_of(name, draw)


def _crosses(axes, x, y, x_err, y_err, colour: str, alpha: float) -> None:
    """Standard errors as thin lines; those that are None or NaN are left out."""
    style = {"color": colour, "linewidth": 0.8, "alpha": alpha}
    if x_err is not None and (known := np.isfinite(x_err)).any():
        axes.hlines(y[known], (x - x_err)[known], (x + x_err)[known], **style)
    if y_err is not None and (known := np.isfinite(y_err)).any():
        axes.vlines(x[known], (y - y_err)[known], (y + y_err)[known], **style)


def _range(values: np.ndarray, best: np.ndarray, include: tuple[float, float]) -> tuple[float, float]:
    """Limits that hold the best candidates and 96 % of all rows; failed fits would squeeze the rest."""
    held = np.concatenate([np.nanpercentile(values, [2, 98]), values[best], include])
    margin = 0.06 * (held.max() - held.min())
    return held.min() - margin, held.max() + margin


def _leda(axes) -> None:
    """The range of LEDA 074886."""
    axes.axhspan(*LEDA_A4, color=ACCENT, alpha=0.13, linewidth=0, label="LEDA 074886, 3 to 5 kpc")


def _loci(axes) -> None:
    """Where ideal shapes lie: superellipses of rising exponent, obrounds of falling axis ratio."""
    rectangles = [shapes.superellipse(0.6, exponent) for exponent in (2.01, 2.3, 2.6, 3, 3.5, 4, 6)]
    obrounds = [shapes.obround(axis_ratio) for axis_ratio in (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)]
    families = {"ideal rectangles": (rectangles, "-"), "ideal obrounds": (obrounds, (0, (4, 2)))}
    for name, (members, style) in families.items():
        found = [shapes.harmonics(member) for member in members]
        a4, a6 = ([harmonic[key] for harmonic in found] for key in ("a4", "a6"))
        axes.plot(a6, a4, color=INK, linewidth=1.1, linestyle=style, label=name)
