"""Sections that pages of tables share: plots of all rows, and what their flags mean."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from emeraldcut.data.flags import SENTENCES
from emeraldcut.report.cards import flag_name
from emeraldcut.report.figures import plots
from emeraldcut.report.html import plot, table_of


def all_images(table: Table, marked: list[int], shown: Table | None = None) -> str:
    """The plots of all rows; the ranks in `marked` have cards. Of a long table some rows, `shown`, stand for all in
    plots of single galaxies."""
    shown = table if shown is None else shown
    sections = (
        (
            plots.plot_axis_ratio(shown, marked),
            "a4/a against axis ratio",
            "Shape of the isophotes against axis ratio, with standard errors. Emerald: the best candidates, "
            "linked to their cards. Shaded: LEDA 074886 between 3 and 5 kpc (Graham et al. 2012).",
        ),
        (
            plots.plot_sixth(shown, marked),
            "a4/a against a6/a",
            "Rectangle or obround: lines are ideal shapes, superellipses of axis ratio 0.6 with exponents "
            "from 2 to 6, and obrounds of axis ratios from 0.95 to 0.4.",
        ),
        (
            plots.plot_classes(table),
            "Share of each class",
            "The most probable class of every image at equal priors, before the prevalence counts. Lines: 95 "
            "% binomial intervals (Wilson); numbers: images.",
        ),
        (
            plots.plot_chances(table),
            "Similarity and chance",
            "How many images are as like the reference as only a share p of ordinary galaxies of the same S/N, size "
            "and axis ratio is. Dashed: how many there would be if all were ordinary (the null hypothesis). Where the "
            "line is above, there are galaxies like the reference, or of kinds that the ordinary ones lack.",
        ),
        (
            plots.plot_growth(table) if "score" in table.colnames else "",
            "How far to look",
            "Rectangular galaxies (line) and others (dashed) to expect among so many images from the top of the list, "
            "by the network's probabilities at the stated prevalence: how complete looking so far is, and its false "
            "positives.",
        ),
        (
            plots.plot_scores(table),
            "Histogram of scores",
            "Scores of all images; the count axis is logarithmic, and images of score 0 stand at the left "
            f"end. Emerald: above {plots.CLEAR_SCORE}.",
        ),
    )
    drawn = "".join(plot(*each) for each in sections if each[0])
    return f"<section id='figures'><h2>All images</h2><div class='plots'>{drawn}</div></section>" if drawn else ""


def flags_section(table: Table) -> str:
    """How many rows carry each flag."""
    flags = np.asarray(table["flag"], dtype=np.int64)
    rows = [("", ["none", "Nothing is known to be wrong.", f"{(flags == 0).sum():,}"])]
    for bit, sentence in SENTENCES.items():
        count = int(((flags & bit) != 0).sum())
        if count:
            rows.append((f"flag-{bit.value}", [f"{flag_name(bit)} ({bit.value})", sentence, f"{count:,}"]))
    body = table_of(["flag", "meaning", "images"], [row for _, row in rows], "", [name for name, _ in rows])
    return f"<section id='flags'><h2>How the rows are flagged</h2>{body}</section>"
