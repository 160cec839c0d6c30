"""Sections of several pages: plots of all images, and the meaning of their flags."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from emeraldcut.data.flags import SENTENCES, flag_name, level_of
from emeraldcut.report.figures import plots
from emeraldcut.report.html import Listing, Plot


def all_images(table: Table, marked: list[int], shown: Table | None = None) -> list[Plot]:
    """Plots of all images, if the table has their columns; the ranks in `marked` have cards.

    Plots of single galaxies show the rows `shown`, which are a sample of a long table.
    """
    shown = table if shown is None else shown
    linked = " Emerald: the best candidates with standard errors, linked to their cards." if marked else ""
    drawn = [
        Plot(
            plots.plot_axis_ratio(shown, marked),
            "a4/a against axis ratio",
            f"Isophote shape against axis ratio.{linked} Shaded: LEDA 074886 between 3 and 5 kpc (Graham et al. 2012).",
        ),
        Plot(
            plots.plot_sixth(shown, marked),
            "a4/a against a6/a",
            f"Rectangle or obround: the lines show ideal shapes, superellipses of axis ratio 0.6 with exponents from 2 "
            f"to 6, and obrounds of axis ratios from 0.95 to 0.4.{linked}",
        ),
        Plot(
            plots.plot_classes(table),
            "Fraction of each class",
            "The most probable class of every image at equal priors, before any prevalence is applied. Lines: 95 % "
            "binomial intervals (Wilson). Numbers: images.",
        ),
        Plot(
            plots.plot_chances(table),
            "Similarity p-values",
            "Number of images with at most a given p-value, which is the fraction of ordinary galaxies of the same "
            "S/N, size and axis ratio that are at least as similar to the reference. Dashed: the number expected if "
            "all images were of ordinary galaxies (the null hypothesis). A line above it means that there are galaxies "
            "like the reference, or of kinds that the ordinary sample lacks.",
        ),
        Plot(
            plots.plot_growth(table) if "score" in table.colnames else "",
            "Expected yield",
            "Expected number of rectangular galaxies (line) and of others (dashed) among the top-ranked images, from "
            "their scores. It shows the completeness and the false positives "
            "of inspecting the list down to a given rank.",
        ),
        Plot(
            plots.plot_scores(table),
            "Histogram of scores",
            "Scores of all images, with a logarithmic count axis. Images of score 0 are at the left end. "
            f"Emerald: above {plots.CLEAR_SCORE}.",
        ),
    ]
    return [one for one in drawn if one.svg]


def flag_counts(table: Table) -> Listing:
    """How many images have each flag, and what it means; rows have the anchors `flag-BIT`."""
    flags = np.asarray(table["flag"], dtype=np.int64)
    counts = {bit: int(((flags & bit) != 0).sum()) for bit in SENTENCES}
    raised = [bit for bit, count in counts.items() if count]
    rows = [["none", "", "Nothing is known to be wrong.", f"{(flags == 0).sum():,}"]]
    rows += [[f"{flag_name(bit)} ({bit.value})", level_of(bit), SENTENCES[bit], f"{counts[bit]:,}"] for bit in raised]
    return Listing(["flag", "level", "meaning", "images"], rows, ["", *(f"flag-{bit.value}" for bit in raised)])
