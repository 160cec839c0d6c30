"""What the thesis method would conclude from the same mergers, by its density maps, network and cosine."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.camera import THESIS_DIRECTIONS, THESIS_MAPS, observe
from emeraldcut.data.columns import numbers, table_from_rows
from emeraldcut.galaxies import thesis_grid, thesis_maps
from emeraldcut.nbody import read_snapshot
from emeraldcut.networks import ClassifySettings, TrainSettings, classify, train
from emeraldcut.runs import SILENT, Progress
from emeraldcut.runs.reading import read_json
from emeraldcut.similarity import CompareSettings, compare
from emeraldcut.studies.fractions import as_columns, part_of, rows_where
from emeraldcut.studies.views import MergerSnapshot, StudySettings

CONCLUSIONS = "thesis.ecsv"
RECTANGULAR = "rectangular"


def thesis_network(folder: Path, epochs: int, *, seed: int = 0, progress: Progress = SILENT) -> Path:
    """The network of the thesis for ovals and rectangles, trained on its original grid of maps; kept in `folder`.

    One that is there is trained again if it is of another seed or number of epochs.

    Unlike in the thesis, maps are divided by their peak, because the masses of simulations have other units than the
    maps that the network is trained on.
    """
    settings, card = TrainSettings(network="thesis", classes=("oval", RECTANGULAR), epochs=epochs, patience=0), {}
    if (folder / "card.json").exists():
        card = read_json(folder / "card.json")
    if (card.get("settings"), card.get("seed")) != (json.loads(json.dumps(asdict(settings))), seed):
        maps = thesis_maps(thesis_grid(repaired=False, seed=seed), seed=seed)
        maps = maps[np.isin(np.array(maps.table["label"], dtype=str), settings.classes)]
        train(maps, settings, seed=seed, progress=progress).save(folder)
    return folder


def classify_as_thesis(
    snapshots: list[MergerSnapshot], network: Path, settings: StudySettings, *, seed: int = 0
) -> Table:
    """The results of the thesis method for density maps of snapshots from its directions, one row for each map.

    Columns are `model`, `merger`, `orbit_id` and `phase`; `called`, the class given by its network; `cosine` of raw
    pixels with the reference; and `label`, the class of the true outline.
    """
    rows = []
    for snapshot in snapshots:
        maps = observe(read_snapshot(snapshot.file), replace(THESIS_MAPS, views=len(THESIS_DIRECTIONS)), seed=seed)
        names = classify(maps, ClassifySettings(network=str(network)))["class"]
        cosine = numbers(compare(maps, CompareSettings(reference=settings.reference, method="cosine"))["similarity"])
        known = {name: snapshot.facts[name] for name in ("model", "merger", "orbit_id", "phase")}
        rows += [
            known | {"called": str(name), "cosine": float(value), "label": str(label)}
            for name, value, label in zip(names, cosine, maps.table["label"], strict=True)
        ]
    return table_from_rows(rows)


def conclusions(classified: Table, images: Table, fractions: Table, boxes: Table, *, seed: int = 0) -> Table:
    """The conclusions of the thesis method next to those of emeraldcut: for all models, if several, and for each.

    Parameters
    ----------
    classified : as of `classify_as_thesis`
    images, fractions, boxes : of the study, see `study`

    Returns
    -------
    Table
        `model`, or "all" in the first row, and the numbers of `mergers` and of `orbits`.

        By the thesis method, over all snapshots of the mergers:

        - `maps`: their number
        - `called`: the fraction that its network classifies as rectangular
        - `best_cosine`, `best_is`, `best_phase`: the largest cosine with the reference, and the true outline and the
          phase of that map

        The truth of the same maps:

        - `truly`: the fraction with a rectangular outline
        - `right`, `found`: purity and completeness of the maps classified as rectangular
        - `cosine_tells`: the probability that a rectangular map has a larger cosine than another; 0.5 by chance

        By emeraldcut, for relaxed remnants:

        - `boxy`: the fraction of all directions from which remnants are boxy over a range of radii
        - `power`: the fraction of true boxes with the remnants' stars that this test finds
        - `rectangular`, `sure`: the fractions of views whose outline is closest to a rectangle, and clearly one
        - `power_rectangular`, `power_sure`: the fractions of true boxes of which that is found
        - `corrected`: the fraction that the network finds in noise, corrected for its known errors
        - `best_similarity`, `best_p`: the largest similarity in the galaxies' own frames, and its p-value

        Fractions have 90 % intervals over orbits in `..._low` and `..._high`. Values that cannot be computed are
        masked.
    """
    rng, rows = np.random.default_rng([seed, 4]), []
    classified = classified[np.array(classified["phase"]) != "alone"]
    relaxed = images[(np.array(images["phase"]) == "relaxed") & (np.array(images["image_quality"]) == "noisy")]
    models = sorted(set(map(str, classified["model"])))
    for model in ("all", *models) if len(models) > 1 else models:
        chosen = {} if model == "all" else {"model": model}
        group = {"group": "model", "value": model} if chosen else {"group": "all"}
        row = {"model": model} | _by_thesis(rows_where(classified, **chosen), rng)
        judged = (rows_where(of, **group, phase="relaxed") if len(of) else of for of in (fractions, boxes))
        rows.append(row | _by_us(rows_where(relaxed, **chosen), *judged))
    return table_from_rows(rows, unknown=np.nan)


def _by_thesis(own: Table, rng: np.random.Generator) -> dict[str, Any]:
    """The conclusions of the thesis method for the maps in `own`, and their accuracy; see `conclusions`."""
    names, which = np.unique(np.array(own["orbit_id"], dtype=str), return_inverse=True)
    called, box = (np.array(own[name], dtype=str) == RECTANGULAR for name in ("called", "label"))
    seen, true, both, every = (
        np.bincount(which, hit, len(names)) for hit in (called, box, called & box, np.ones(len(own)))
    )
    cosine = np.asarray(own["cosine"], float)
    best = int(np.nanargmax(cosine))
    row: dict[str, Any] = {
        "mergers": len(set(own["merger"])),
        "orbits": len(names),
        "maps": len(own),
        "best_cosine": float(cosine[best]),
        "best_is": str(own["label"][best]),
        "best_phase": str(own["phase"][best]),
        "cosine_tells": _tells(cosine, box),
    }
    parts = {"called": (seen, every), "truly": (true, every), "right": (both, seen), "found": (both, true)}
    for name, (some, whole) in parts.items():
        row |= as_columns(name, part_of(some, whole, rng))
    return row


def _by_us(views: Table, fractions: Table, boxes: Table) -> dict[str, Any]:
    """The conclusions of emeraldcut for relaxed remnants; see `conclusions`."""
    row: dict[str, Any] = {
        name: float(boxes[name][0]) if len(boxes) else None for name in ("boxy", "boxy_low", "boxy_high", "power")
    }
    for column, quality, method, source in (
        ("rectangular", "clear", "truth", "fraction"),
        ("sure", "clear", "truth", "sure"),
        ("corrected", "noisy", "network", "corrected"),
    ):
        of_class = rows_where(fractions, class_=RECTANGULAR, image_quality=quality, method=method)
        for end in ("", "_low", "_high"):
            row[column + end] = float(of_class[source + end][0]) if len(of_class) else None
    true = rows_where(fractions, class_=RECTANGULAR, image_quality="clear", method="truth")
    for name, source in (("power_rectangular", "power"), ("power_sure", "power_sure")):
        known = len(true) and not np.ma.is_masked(true[source][0])
        row[name] = float(true[source][0]) if known else None
    alike = numbers(views["similarity"], -1.0)
    row["best_similarity"] = float(alike.max()) if len(views) else None
    row["best_p"] = float(views["similarity_p"][int(np.argmax(alike))]) if len(views) else None
    return row


def _tells(values: np.ndarray, wanted: np.ndarray) -> float | None:
    """The probability that a wanted value is above an unwanted one; None if one of both kinds is missing."""
    wanted, values = wanted[np.isfinite(values)], values[np.isfinite(values)]
    if not 0 < wanted.sum() < len(wanted):
        return None
    from scipy.stats import mannwhitneyu  # takes a second to import

    return float(mannwhitneyu(values[wanted], values[~wanted]).statistic / wanted.sum() / (~wanted).sum())
