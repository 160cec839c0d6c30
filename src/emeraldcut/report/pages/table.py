"""The page of a table that `measure`, `compare` or `classify` wrote, with its images where they still are."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data import ImageSet, read_table, usable
from emeraldcut.data.columns import numbers
from emeraldcut.data.originals import Originals
from emeraldcut.report.cards import CARD_WORDS, card, decimal, probability, with_error
from emeraldcut.report.figures import galleries
from emeraldcut.report.figures.comparison import compare_with_references
from emeraldcut.report.figures.pictures import galaxy_pictures, number, text, with_data
from emeraldcut.report.html import counted, fact_list, made_by, shell, table_of
from emeraldcut.report.pages.common import all_images, flags_section
from emeraldcut.similarity import read_references

# Columns that the rows may be ordered by, the first that is there: what is best in it, in words for readers.
ORDERS = {
    "score": "highest score",
    "similarity": "most like the reference",
    "p_rectangular": "most probably rectangular",
    "p_boxy": "most probably boxy",
}


def table_page(path: Path) -> str:
    """The page of a table; ValueError if it has none of the columns of `ORDERS`. See `report`."""
    table = read_table(path)
    by = next((name for name in ORDERS if name in table.colnames), None)
    if by is None or "id" not in table.colnames:
        raise ValueError(
            f"report expects a finished run, or a table of `measure`, `compare` or `classify`; '{path}' has no column "
            f"id, or none of {', '.join(ORDERS)}."
        )
    if "flag" not in table.colnames:  # the thesis's format has no place for it
        table["flag"] = np.zeros(len(table), dtype=int)
    manifest = table.meta.get("provenance", {})
    table = table[np.argsort(-numbers(table[by], -np.inf), kind="stable")]
    table["rank"] = np.arange(1, len(table) + 1)
    images = _best_images(table, by, manifest, path.parent)
    references = _references(manifest) if "reference" in table.colnames else None
    good = usable(table["flag"])
    facts = {
        "Asked": f"emeraldcut {manifest['command']}" if "command" in manifest else None,
        "Images": f"{len(table):,}",
        "Usable": f"{good.sum():,}",
        "Network": manifest.get("settings.network"),
        "Reference": ", ".join(manifest.get("settings.reference") or []),
        "Method": manifest.get("settings.method"),
    }
    marked = [] if images is None else [int(rank) for rank in images.table["rank"]]
    main = fact_list(facts | made_by(manifest))
    main += _cards(images, references, table, by) if marked else _listing(table, by)
    main += all_images(table, marked) + flags_section(table)
    return shell(f"Galaxies of {path.name}", _result(table, by), main, manifest)


def _result(table: Table, by: str) -> str:
    """The first row in a sentence."""
    first = None if len(table) == 0 else number(table[0], by)
    if first is None:
        return f"Nothing is known of {counted(len(table), 'image')}; the <a href='#flags'>flags</a> say why."
    shape = f", a4/a = <span class='number'>{with_error(table[0], 'a4')}</span>" if "a4" in table.colnames else ""
    name = f"<span class='id'>{escape(text(table[0], 'id'))}</span>"
    return f"Of {counted(len(table), 'image')}, {name} is {ORDERS[by]} ({decimal(first, 2)}){shape}."


def _best_images(table: Table, by: str, manifest: dict[str, Any], folder: Path) -> ImageSet | None:
    """The images of the first rows, None where they are not there any more."""
    first = np.flatnonzero(np.isfinite(numbers(table[by])))[: galleries.SHOWN]
    try:
        source_images = Originals.of_run(table, manifest, roots=(folder,))
    except (OSError, LookupError, ValueError):  # moved, or a table that does not say
        return None
    pixels = [source_images[int(row)] for row in first]
    source_images.close()
    images = with_data(ImageSet(pixels, table[first]))
    return images if len(images) else None


def _references(manifest: dict[str, Any]) -> ImageSet | None:
    """What the images were compared with, None where that is not there any more."""
    try:
        return read_references(tuple(manifest.get("settings.reference") or ()))
    except (OSError, ValueError):
        return None


def _cards(images: ImageSet, references: ImageSet | None, table: Table, by: str) -> str:
    shown = {int(rank) for rank in images.table["rank"]}
    pairs = zip(galaxy_pictures(images), compare_with_references(images, references, table), strict=True)
    cards = "".join(card(galaxy, found, table, shown, by) for galaxy, found in pairs)
    return (
        f"<section id='candidates'><h2>The {counted(len(images), 'image')} {ORDERS[by]}</h2><p>{CARD_WORDS}</p>"
        f"<div class='cards'>{cards}</div></section>"
    )


def _listing(table: Table, by: str) -> str:
    """The first rows as a table, for want of images."""
    rows = [
        [str(row["rank"]), f"<span class='id'>{escape(text(row, 'id'))}</span>", decimal(number(row, by), 2),
         with_error(row, "a4"), decimal(number(row, "axis_ratio"), 2), probability(number(row, "p_rectangular"))]
        for row in table[: galleries.SHOWN]
    ]  # fmt: skip
    columns = ["", "id", by.replace("_", " "), "a4/a", "axis ratio", "p(rectangular)"]
    words = "The images are not where they were, so that they cannot be shown."
    body = table_of(columns, rows, words, [f"rank-{row['rank']}" for row in table[: galleries.SHOWN]])
    return f"<section id='candidates'><h2>The images {ORDERS[by]}</h2>{body}</section>"
