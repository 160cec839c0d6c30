"""Screen: three independent looks at every galaxy, one score, one ranked list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import MaskedColumn, Table, vstack

from emeraldcut.data import (
    Flag,
    ImageSet,
    NoImagesError,
    ReadSettings,
    Run,
    add_flags,
    concatenate,
    describe_columns,
    map_chunks,
    open_images,
    usable,
    write_images,
    write_table,
)
from emeraldcut.data.columns import numbers
from emeraldcut.data.run import BEST, CANDIDATES, REFERENCES
from emeraldcut.frame import frame_galaxies
from emeraldcut.isophotes import MeasureSettings, measure
from emeraldcut.networks import (
    CLASSES,
    FOUND,
    ClassifySettings,
    check_prevalence,
    classify,
    load_network,
    shift_priors,
)
from emeraldcut.settings import setting
from emeraldcut.similarity import CompareSettings, References, compare, prepare_references, read_references

LOOK_AT = (0.5, 0.8, 0.9)  # shares of the expected rectangular galaxies for which one wants to know how far to look


@dataclass(frozen=True, kw_only=True)
class ScreenSettings:
    """What is looked for, and how rare it is."""

    network: str = setting("screener", "network: 'screener', which ships with the package, or a network folder")
    reference: tuple[str, ...] = setting(
        ("leda074886",), "built-in model leda074886, or image files, separated by commas"
    )
    prevalence: float = setting(0.01, "share of rectangular galaxies expected among the images")
    best: int = setting(20, "number of best candidates whose images are kept and shown")

    def __post_init__(self) -> None:
        check_prevalence(self.prevalence)
        if self.best < 1:
            raise ValueError(f"best expects at least 1; received {self.best}.")


def scores(classified: Table, measured: Table, compared: Table) -> MaskedColumn:
    """Between 0 and 1: what the network sees, weighed by two measurements.

    sqrt(network (1 + boxy + alike) / 3) of the network's probability of `rectangular` at equal priors, the probability
    that a4 < -0.03, and the similarity (0 where it is negative). The 1 keeps a candidate whose measurements failed,
    beside a neighbour for instance, from the very end of the list; among weights 0 to 4 it gave the highest average
    precision on synthetic galaxies. A look that failed counts as 0; a row without any of the three has no score.
    """
    looks = [classified["p_rectangular"], measured["p_boxy"], compared["similarity"]]
    missing = np.all([np.ma.getmaskarray(look) for look in looks], axis=0)
    network, boxy, alike = (np.clip(numbers(look, 0.0), 0.0, 1.0) for look in looks)
    return MaskedColumn(np.sqrt(network * (1 + boxy + alike) / 3), mask=missing)


def examine(
    images: ImageSet,
    settings: ScreenSettings = ScreenSettings(),
    *,
    seed: int = 0,
    references: References | None = None,
) -> Table:
    """Everything `screen` finds out about each image, in the order of the input and without ranks."""
    frames = frame_galaxies(images)
    measured = measure(images, MeasureSettings(), seed=seed, frames=frames)
    classified = classify(images, ClassifySettings(network=settings.network), seed=seed, frames=frames)
    compared = compare(
        images, CompareSettings(reference=settings.reference), seed=seed, frames=frames, references=references
    )
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
    add_flags(table, np.array(classified["flag"]) & int(Flag.UNUSUAL))
    return describe_columns(table)


def rank(table: Table) -> Table:
    """The table in order of falling score (ties and rows without a score by id), with `rank` from 1."""
    order = np.lexsort((np.array(table["id"], dtype=str), -numbers(table["score"], -1.0)))
    ranked = table[order]
    ranked["rank"] = np.arange(1, len(ranked) + 1)
    return describe_columns(ranked)


def screen(images: ImageSet, settings: ScreenSettings = ScreenSettings(), *, seed: int = 0) -> Table:
    """Candidates for rectangular galaxies: every image classified, measured and compared, best first.

    Parameters
    ----------
    images : ImageSet
    settings : ScreenSettings
    seed : int
        Passed to the stages; none of them draws random numbers so far.

    Returns
    -------
    Table
        One row per image with the columns of `measure`, `classify` and `compare`, `score` and `rank`. The class
        probabilities are those at the stated prevalence; `class` is the most probable class at equal priors.
    """
    return rank(examine(images, settings, seed=seed))


def expectations(candidates: Table, settings: ScreenSettings) -> dict[str, object]:
    """What to expect of a ranked table, as facts for the manifest.

    Returns
    -------
    dict
        `expected_rectangular`: the sum of p_rectangular. `look_at`: how many of the best candidates hold half, 80 % and
        90 % of that sum. `found`: images whose p_rectangular is at least 0.5. `expected_true` and `expected_false`,
        [mean, low, high] with a 68 % interval: rectangular and other galaxies among those, at the stated prevalence,
        if the images are like the network's held-out galaxies of the same S/N; not there for a network without figures.
    """
    p = numbers(candidates["p_rectangular"], 0.0)
    total, growth = float(p.sum()), np.cumsum(p)
    facts: dict[str, object] = {"expected_rectangular": total, "found": int(np.sum(p >= FOUND))}
    if total > 0:
        facts["look_at"] = {f"{share:g}": int(np.searchsorted(growth, share * total)) + 1 for share in LOOK_AT}
    snr = numbers(candidates["snr"])
    expected = load_network(settings.network).expected_found(settings.prevalence, snr[np.isfinite(snr)])
    if expected is not None:
        facts |= {f"expected_{name}": interval for name, interval in expected.items()}
    return facts


def _examine_and_keep(images: ImageSet, settings: ScreenSettings, seed: int, references: References):
    """The table of a chunk, and the images of its best candidates."""
    table = examine(images, settings, seed=seed, references=references)
    return table, _best(ImageSet(images.pixels, table), settings.best)


def _best(images: ImageSet, number: int) -> ImageSet:
    """The `number` images of highest score, best first, ties in their order."""
    return images[np.argsort(-numbers(images.table["score"], -1.0), kind="stable")[:number]]


def screen_run(
    source: str | Path,
    folder: str | Path,
    settings: ScreenSettings = ScreenSettings(),
    read_settings: ReadSettings = ReadSettings(),
    *,
    seed: int = 0,
    jobs: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int | None], object] | None = None,
) -> Run:
    """Screens all images of `source`, chunk by chunk, into a run folder.

    The folder gets `candidates.parquet` and `candidates.ecsv` (one row per input image, best first), the sets `best`
    and `references` with images to look at, `settings.toml`, and `manifest.json` when everything is done.

    Raises
    ------
    NoImagesError
        There is no image, or not one of them can be used.
    """
    if Path(folder).resolve() == Path(source).resolve():
        raise ValueError(f"the results need a folder of their own; '{folder}' is that of the images.")
    images, references = open_images(source, read_settings), read_references(settings.reference)
    inputs = [name for name in (source, read_settings.catalogue) if name]
    run = Run.start(folder, "screen", (settings, read_settings), seed, inputs, overwrite)
    prepared = prepare_references(references)
    look = partial(_examine_and_keep, settings=settings, seed=seed, references=prepared)
    tables, best = [], None
    done = partial(progress, images.n_images) if progress else None
    for table, kept in map_chunks(look, images.chunks(), jobs=jobs, progress=done):
        tables.append(table)
        best = kept if best is None else _best(concatenate([best, kept]), settings.best)
    if best is None:
        raise NoImagesError(f"'{source}' holds no images.")
    candidates = rank(vstack(tables, metadata_conflicts="silent"))
    for name in (CANDIDATES, "candidates.ecsv"):
        write_table(candidates, run.path(name), provenance=run.origin, overwrite=True)
    ranks = dict(zip(candidates["id"], candidates["rank"], strict=True))
    best.table["rank"] = [ranks[i] for i in best.table["id"]]
    for name, kept in ((BEST, best[np.argsort(best.table["rank"])]), (REFERENCES, references)):
        write_images(kept, run.path(name), command="screen", settings=settings, seed=seed, overwrite=True)
    n_usable = int(usable(candidates["flag"]).sum())
    run.finish(images=len(candidates), usable=n_usable, **expectations(candidates, settings))
    if n_usable == 0:
        raise NoImagesError(f"none of the {len(candidates)} images in '{source}' can be used; see '{run.folder}'.")
    return run
