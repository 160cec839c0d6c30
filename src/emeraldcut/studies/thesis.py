"""What the thesis would have concluded from the same mergers: its maps, its network, its cosine, all moments mixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.table import Table

from emeraldcut.data import read_snapshot
from emeraldcut.data.columns import numbers
from emeraldcut.data.tables import table_from_rows
from emeraldcut.galaxies import thesis_grid, thesis_maps
from emeraldcut.mergers import THESIS_DIRECTIONS, THESIS_MAPS, observe
from emeraldcut.networks import ClassifySettings, TrainSettings, classify, train
from emeraldcut.similarity import CompareSettings, compare
from emeraldcut.studies.look import Moment, StudySettings
from emeraldcut.studies.shares import rows_where

CONCLUSIONS = "thesis.ecsv"


def thesis_network(folder: Path, epochs: int, *, seed: int = 0) -> Path:
    """The thesis's network of ovals and rectangles, trained on the 108 maps of its grid as it was; kept in `folder`.

    One thing differs: maps are divided by their peak, since masses of simulations are in no unit that it learned.
    """
    if not (folder / "card.json").exists():
        maps = thesis_maps(thesis_grid(repaired=False, seed=seed), seed=seed)
        settings = TrainSettings(network="thesis", classes=("oval", "rectangular"), epochs=epochs, patience=0)
        maps = maps[np.isin(np.array(maps.table["label"], dtype=str), settings.classes)]
        train(maps, settings, seed=seed).save(folder)
    return folder


def judge_as_thesis(moments: list[Moment], network: Path, settings: StudySettings, *, seed: int = 0) -> Table:
    """Density maps of moments from the thesis's directions: `called` by its network, `cosine` of raw pixels with the
    reference, and `label`, the true outline."""
    rows = []
    for moment in moments:
        maps = observe(read_snapshot(moment.file), replace(THESIS_MAPS, views=len(THESIS_DIRECTIONS)), seed=seed)
        names = classify(maps, ClassifySettings(network=str(network)))["class"]
        cosine = numbers(compare(maps, CompareSettings(reference=settings.reference, method="cosine"))["similarity"])
        known = {name: moment.facts[name] for name in ("model", "phase")}
        rows += [
            known | {"called": str(name), "cosine": float(value),
             "label": str(label)}
            for name, value, label in zip(names, cosine, maps.table["label"], strict=True)
        ]  # fmt: skip
    return table_from_rows(rows)


def conclusions(judged: Table, images: Table, shares: Table) -> Table:
    """The thesis's answer beside ours, one row for each model.

    Returns
    -------
    Table
        `model`; of the thesis: `maps` (of all moments of mergers), `called_rectangular`, their share, `best_cosine`,
        `best_is` (the true outline of that map), and `cosine_gap`, the mean cosine of maps with a rectangular outline
        less that of the others (masked without any). Ours: `rectangular`, the share of relaxed views with a rectangular
        outline, with its 90 % interval over mergers, `corrected` with its interval, what the network sees in noise less
        its known errors, and `best_similarity`, of the frames, and `best_p`, the chance that an ordinary galaxy is so
        similar to the reference (masked without relaxed remnants).
    """
    rows = []
    for model in sorted(set(map(str, judged["model"]))):
        own = judged[(np.array(judged["model"], dtype=str) == model) & (np.array(judged["phase"]) != "alone")]
        if not len(own):
            continue
        cosine, box = np.asarray(own["cosine"], float), np.array(own["label"]) == "rectangular"
        best = int(np.nanargmax(cosine))
        row = {
            "model": model,
            "maps": len(own),
            "called_rectangular": float(np.mean(np.array(own["called"]) == "rectangular")),
            "best_cosine": float(cosine[best]),
            "best_is": str(own["label"][best]),
            "cosine_gap": float(np.nanmean(cosine[box]) - np.nanmean(cosine[~box]))
            if 0 < box.sum() < len(box)
            else None,
        }
        for column, sight, eye in (("rectangular", "clear", "outline"), ("corrected", "noisy", "network")):
            of_model = {"group": "model", "value": model, "phase": "relaxed", "class_": "rectangular"}
            found = rows_where(shares, **of_model, sight=sight, eye=eye)
            source = "share" if eye == "outline" else "corrected"
            for end in ("", "_low", "_high"):
                row[column + end] = float(found[source + end][0]) if len(found) else None
        relaxed = images[(np.array(images["model"], dtype=str) == model) & (np.array(images["phase"]) == "relaxed")]
        relaxed = relaxed[np.array(relaxed["sight"]) == "noisy"]
        alike = numbers(relaxed["similarity"], -1.0)
        row["best_similarity"] = float(alike.max()) if len(relaxed) else None
        row["best_p"] = float(relaxed["similarity_p"][int(np.argmax(alike))]) if len(relaxed) else None
        rows.append(row)
    return table_from_rows(rows, unknown=np.nan)
