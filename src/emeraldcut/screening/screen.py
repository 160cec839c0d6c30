"""Screen: a list of images ranked by one score, from a first pass over all and a careful pass over the best.

The first pass finds the frame of each galaxy, the harmonics of its observed isophotes, and the probabilities of the
network. The careful pass corrects the harmonics for the PSF and compares the galaxy with the references. As a score
cannot exceed the square root of the network's probability, the images with the highest probabilities get the careful
pass. The same bound gives the rank (`sure_ranks`) down to which the list is as if all images had had it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import MaskedColumn, Table

from emeraldcut.data import Flag, ImageSet, add_flags, describe_columns
from emeraldcut.data.columns import numbers
from emeraldcut.frame import frame_galaxies
from emeraldcut.frame.ellipse_fit import fit_example
from emeraldcut.frame.frame import frame_example, maps_example
from emeraldcut.frame.quick_shape import quick_shape_example
from emeraldcut.isophotes import MeasureSettings, measure
from emeraldcut.isophotes.isophote_fit import rings_example
from emeraldcut.isophotes.measure import measure_example
from emeraldcut.isophotes.zones import add_zones
from emeraldcut.networks import (
    CLASSES,
    FOUND,
    ClassifySettings,
    classify,
    load_network,
    shift_priors,
)
from emeraldcut.networks.classify import classify_example
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.settings import Settings, setting
from emeraldcut.similarity import CompareSettings, References, compare

EXAMPLES = (
    quick_shape_example, fit_example, measure_example, rings_example, classify_example, maps_example, frame_example,
)  # fmt: skip
LEAST_CAREFUL = 10_000  # images that get the careful pass, whatever the setting `careful`
COMPLETENESS_LEVELS = (0.5, 0.8, 0.9)  # of the expected rectangular galaxies, for each of which a rank is given


@dataclass(frozen=True, kw_only=True)
class ScreenSettings(Settings):
    """Which galaxies are searched for, how rare they are, and how many images get the careful pass."""

    network: str = setting("screener", "'screener', which ships with the package, or a network folder", reads=True)
    reference: tuple[str, ...] = setting(
        ("leda074886",),
        "reference galaxy: the built-in model leda074886, or image files, separated by commas",
        reads=True,
    )
    prevalence: float = setting(0.01, "expected fraction of rectangular galaxies among the images", above=0, below=1)
    best: int = setting(20, "number of top candidates whose images are saved and shown", at_least=1, at_most=100_000)
    careful: float = setting(
        0.05,
        "fraction of the images, the top-ranked ones, that get the careful pass; at least 10,000 images",
        at_least=0,
        at_most=1,
    )


def scores(classified: Table, measured: Table, compared: Table) -> MaskedColumn:
    """Scores between 0 and 1: the network's probability, weighted by two measurements.

    The score is sqrt(network (1 + boxy + alike) / 3), where `network` is the probability of `rectangular` at equal
    priors, `boxy` the probability that a4 < -0.03, and `alike` the similarity (0 where it is negative). The 1 keeps a
    candidate whose measurements failed, next to a neighbour for instance, from the very end of the list. Among weights
    of 0 to 4 it gave the highest average precision on synthetic galaxies. A missing value counts as 0, and a row
    without any of the three has no score.
    """
    columns = [classified["p_rectangular"], measured["p_boxy"], compared["similarity"]]
    missing = np.all([np.ma.getmaskarray(column) for column in columns], axis=0)
    network, boxy, alike = (np.clip(numbers(column, 0.0), 0.0, 1.0) for column in columns)
    return MaskedColumn(np.sqrt(network * (1 + boxy + alike) / 3), mask=missing)


def examine(
    images: ImageSet,
    settings: ScreenSettings = ScreenSettings(),
    *,
    references: References | None = None,
) -> Table:
    """The columns of `screen` for each image, in the order of the input and without ranks."""
    return examine_with_bound(images, settings, references=references)[0]


def examine_with_bound(
    images: ImageSet,
    settings: ScreenSettings = ScreenSettings(),
    *,
    references: References | None = None,
    careful: bool = True,
) -> tuple[Table, np.ndarray]:
    """The table of `examine`, and the highest score (n,) that measurements could still give; NaN if not classified.

    If not `careful`, harmonics are not corrected for the PSF, and there is no similarity.
    """
    compile_ahead("screen", *EXAMPLES)
    frames = frame_galaxies(images)
    measured = measure(images, MeasureSettings(psf_correction=careful, zones=careful), frames=frames)
    if not careful:
        add_zones(measured, [None] * len(images), np.zeros(len(images)))
    classified = classify(images, ClassifySettings(network=settings.network), frames=frames)
    compared = _not_compared(len(images))
    if careful:
        compared = compare(images, CompareSettings(reference=settings.reference), frames=frames, references=references)
    table = measured
    for source, names in (
        (compared, ("similarity", "similarity_p", "reference")),
        (classified, ("class", "possible", "typical", "network")),
    ):
        for name in names:
            if name in source.colnames:
                table[name] = source[name]
    table["score"] = scores(classified, measured, compared)
    equal = np.stack([numbers(classified[f"p_{name}"], 0.0) for name in CLASSES], axis=1)
    shifted = shift_priors(equal, CLASSES, settings.prevalence)
    for k, name in enumerate(CLASSES):
        table[f"p_{name}"] = MaskedColumn(shifted[:, k], mask=np.ma.getmaskarray(classified[f"p_{name}"]))
    table["careful"] = np.full(len(table), careful)
    add_flags(table, np.array(classified["flag"]) & int(Flag.UNUSUAL))
    return describe_columns(table), np.sqrt(np.clip(numbers(classified["p_rectangular"]), 0, 1))


def _not_compared(number: int) -> Table:
    """The columns of `compare` without any value."""
    missing = np.ones(number, dtype=bool)
    return Table(
        {
            "similarity": MaskedColumn(np.zeros(number), mask=missing),
            "similarity_p": MaskedColumn(np.zeros(number), mask=missing),
            "reference": MaskedColumn(np.full(number, "", dtype=object), mask=missing),
        }
    )


def rank(table: Table) -> Table:
    """The table sorted by score, highest first (ties and rows without a score by id), with `rank` from 1."""
    order = np.lexsort((np.array(table["id"], dtype=str), -numbers(table["score"], -1.0)))
    ranked = table[order]
    ranked["rank"] = np.arange(1, len(ranked) + 1)
    return describe_columns(ranked)


def screen(images: ImageSet, settings: ScreenSettings = ScreenSettings()) -> Table:
    """Candidates for rectangular galaxies, best first; every image gets the careful pass.

    Parameters
    ----------
    images : ImageSet
    settings : ScreenSettings

    Returns
    -------
    Table
        One row per image with the columns of `measure`, `classify` and `compare`, `score` and `rank`. The class
        probabilities are those at the stated prevalence; `class` is the most probable class at equal priors.
    """
    return rank(examine(images, settings))


def expectations(candidates: Table, settings: ScreenSettings) -> dict[str, object]:
    """What to expect of a ranked table, for the manifest of a run.

    Returns
    -------
    dict
        - `expected_rectangular`: the sum of p_rectangular.
        - `ranks_to_inspect`: how many of the best candidates contain 50 %, 80 % and 90 % of that sum.
        - `found`: number of images whose p_rectangular is at least 0.5.
        - `expected_true`, `expected_false`: numbers of rectangular and of other galaxies among those found, at the
          stated prevalence, as [mean, low, high] with a 68 % interval. They assume that the images are like the
          held-out galaxies of the network at the same S/N, and are missing for a network without test results.
    """
    p = numbers(candidates["p_rectangular"], 0.0)
    total, growth = float(p.sum(dtype=float)), np.cumsum(p, dtype=float)
    facts: dict[str, object] = {"expected_rectangular": total, "found": int(np.sum(p >= FOUND))}
    if total > 0:
        facts["ranks_to_inspect"] = {
            f"{level:g}": int(np.searchsorted(growth, level * total)) + 1 for level in COMPLETENESS_LEVELS
        }
    snr = numbers(candidates["snr"])
    expected = load_network(settings.network).expected_found(settings.prevalence, snr[np.isfinite(snr)])
    if expected is not None:
        facts |= {f"expected_{name}": interval for name, interval in expected.items()}
    return facts
