"""Screen: a list of images ranked by one score, from a first pass over all and a careful pass over the best.

The first pass finds the frame of each galaxy, the harmonics of its observed isophotes, and the probabilities of the
network. The careful pass corrects the harmonics for the PSF and compares the galaxy with the references. What these can
add to a score is limited (`ranking.Ranking.highest`), so the images with the highest possible scores get the careful
pass. The same bound gives the rank (`sure_ranks`) down to which the list is as if all images had had it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import MaskedColumn, Table

from emeraldcut.data import Flag, ImageSet, add_flags, describe_columns, trusted
from emeraldcut.data.columns import numbers
from emeraldcut.frame import ONE_BAND, FrameSet, band_agreement, frame_galaxies
from emeraldcut.frame.ellipse_fit import fit_example
from emeraldcut.frame.frame import frame_example, maps_example
from emeraldcut.frame.quick_shape import quick_shape_example
from emeraldcut.isophotes import MeasureSettings, measure
from emeraldcut.isophotes.isophote_fit import rings_example
from emeraldcut.isophotes.measure import measure_example
from emeraldcut.isophotes.zones import add_zones, zones_example
from emeraldcut.networks import (
    CLASSES,
    FOUND,
    ClassifySettings,
    classify,
    load_network,
    shift_priors,
)
from emeraldcut.networks.calibration import number_true
from emeraldcut.networks.classify import classify_example
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.screening.ranking import PRECISIONS, probability, read_rankings
from emeraldcut.settings import Settings, setting
from emeraldcut.similarity import CompareSettings, References, compare

EXAMPLES = (
    quick_shape_example,
    measure_example,
    rings_example,
    zones_example,
    fit_example,
    classify_example,
    frame_example,
    maps_example,
)  # fmt: skip  the longest first, so that two cores end together
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
    include_untrusted: bool = setting(
        False, "show candidates on the page whose flags say not to trust them; the table always has all images"
    )


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
    equal = np.stack([numbers(classified[f"p_{name}"], 0.0) for name in CLASSES], axis=1)
    shifted = shift_priors(equal, CLASSES, settings.prevalence)
    missing = np.ma.getmaskarray(classified["p_rectangular"])
    for k, name in enumerate(CLASSES):
        table[f"p_{name}"] = MaskedColumn(shifted[:, k], mask=np.ma.getmaskarray(classified[f"p_{name}"]))
    table["careful"] = np.full(len(table), careful)
    table["band_agreement"] = _agreement(images, frames)
    one_band = numbers(table["band_agreement"], np.inf) < ONE_BAND
    add_flags(table, (np.array(classified["flag"]) & int(Flag.UNUSUAL)) | np.where(one_band, int(Flag.ONE_BAND), 0))
    table["trusted"] = trusted(table["flag"])
    score, highest, why = scores(table, settings, careful=careful)
    table["score"] = MaskedColumn(np.where(missing, 0.0, score), mask=missing)
    table["why"] = np.where(missing, "", why)
    return describe_columns(table), np.where(missing, np.nan, highest)


def scores(table: Table, settings: ScreenSettings, *, careful: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The score (n,) of each image, the highest that a careful pass could give it, and after that pass the reasons.

    All are meaningless where the network gives no probability. The score is the probability of `rectangular` at the
    stated prevalence from everything that is measured, see `screening.ranking`; with a network that has no ranking it
    is the network's own.
    """
    rankings = read_rankings(load_network(settings.network).folder)
    if rankings is None:
        own = numbers(table["p_rectangular"], 0.0)
        return own, own, np.full(len(table), "", dtype=object)
    ranking = rankings.careful if careful else rankings.first
    return (
        probability(ranking.log_odds(table, settings.prevalence)),
        probability(rankings.careful.highest(table, settings.prevalence)),
        ranking.reasons(table, settings.prevalence) if careful else np.full(len(table), "", dtype=object),
    )


def _agreement(images: ImageSet, frames: FrameSet) -> MaskedColumn:
    """How well the bands of colour pictures agree (n,); of images that were read again without colours as before."""
    if images.colours is None and "band_agreement" in images.table.colnames:
        return MaskedColumn(images.table["band_agreement"], dtype=float)
    values = band_agreement(images, frames.quick_shapes)
    return MaskedColumn(np.nan_to_num(values), mask=np.isnan(values))


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
        probabilities are those of the network at the stated prevalence; `class` is the most probable class at equal
        priors. `score` is the probability from everything that is measured, see `screening.ranking`. `trusted` is
        False where a flag says not to trust it.
    """
    return rank(examine(images, settings))


def expectations(candidates: Table, settings: ScreenSettings) -> dict[str, object]:
    """What a ranked table says of the numbers of rectangular galaxies, for the manifest of a run.

    Parameters
    ----------
    candidates : table with `score`, `snr` and `trusted`

    Returns
    -------
    dict
        - `expected_rectangular`: the sum of all scores.
        - `ranks_to_inspect`: how many of the best candidates contain 50 %, 80 % and 90 % of that sum.
        - `found`: number of trusted images whose score is at least 0.5; `found_untrusted`: of the others.
        - `expected_true`, `expected_false`: how many of those found are rectangular and how many are not, by their
          scores, as [mean, low, high] with a 68 % interval.
        - `forecast_true`, `forecast_false`: how many of each the network alone is expected to find in as many images of
          this S/N at the stated prevalence, before looking at them, as [mean, low, high]. They assume that the images
          are like the held-out galaxies of the network at the same S/N, and are missing for one without test results.
        - `thresholds`, `above`: by precision, the score from which on a list at this prevalence has it, and the number
          of trusted images above.
    """
    p, good = numbers(candidates["score"], 0.0), np.array(candidates["trusted"], dtype=bool)
    total, growth = float(p.sum(dtype=float)), np.cumsum(p, dtype=float)
    found = good & (p >= FOUND)
    facts: dict[str, object] = {
        "expected_rectangular": total,
        "found": int(found.sum()),
        "found_untrusted": int((~good & (p >= FOUND)).sum()),
    }
    if total > 0:
        facts["ranks_to_inspect"] = {
            f"{level:g}": int(np.searchsorted(growth, level * total)) + 1 for level in COMPLETENESS_LEVELS
        }
    facts["expected_true"], facts["expected_false"] = number_true(p[found])
    network, snr = load_network(settings.network), numbers(candidates["snr"])
    forecast = network.expected_found(settings.prevalence, snr[np.isfinite(snr)])
    if forecast is not None:
        facts |= {f"forecast_{name}": interval for name, interval in forecast.items()}
    rankings = read_rankings(network.folder)
    if rankings is not None:
        limits = {f"{precision:g}": rankings.threshold(precision, settings.prevalence) for precision in PRECISIONS}
        known = {name: limit for name, limit in limits.items() if limit is not None}
        facts["thresholds"] = known
        facts["above"] = {name: int((good & (p >= limit)).sum()) for name, limit in known.items()}
    return facts
