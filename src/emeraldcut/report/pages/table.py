"""The page of a table of `measure`, `compare` or `classify`, with the images if they can be found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data import ImageSet, usable
from emeraldcut.data.columns import numbers
from emeraldcut.errors import UsageError
from emeraldcut.images.source_images import SourceImages
from emeraldcut.report.cards import card, value_words, with_error
from emeraldcut.report.explorer import explorer
from emeraldcut.report.figures import galleries
from emeraldcut.report.figures.comparison import compare_with_references
from emeraldcut.report.figures.pictures import galaxy_pictures, number, text, with_data
from emeraldcut.report.html import made_by, page
from emeraldcut.report.pages.common import all_images, flag_counts
from emeraldcut.similarity import read_references
from emeraldcut.tables import read_table

# Rows are sorted by the first of these columns that the table has; the names are those on the page.
ORDERS = {
    "score": "score",
    "similarity": "similarity to the reference",
    "p_rectangular": "probability of being rectangular",
    "p_boxy": "probability of being boxy",
}
LIKELY = 0.5  # a first row with a lower probability is called unlikely
TITLES = {"measure": "Shape measurements", "compare": "Similarities", "classify": "Classifications"}


def table_page(path: Path) -> str:
    """The page of a table; ValueError if it has none of the columns of `ORDERS`. See `report`."""
    table = read_table(path)
    by = next((name for name in ORDERS if name in table.colnames), None)
    if by is None or "id" not in table.colnames:
        raise UsageError(
            f"report expects a finished run, or a table of `measure`, `compare` or `classify`; '{path}' has no column "
            f"id, or none of {', '.join(ORDERS)}."
        )
    if "flag" not in table.colnames:  # which the format of the thesis lacks
        table["flag"] = np.zeros(len(table), dtype=int)
    manifest = table.meta.get("provenance", {})
    table = table[np.argsort(-numbers(table[by], -np.inf), kind="stable")]
    table["rank"] = np.arange(1, len(table) + 1)
    images = _best_images(table, by, manifest, path.parent)
    marked = [] if images is None else [int(rank) for rank in images.table["rank"]]
    return page(
        "table.html",
        f"{TITLES.get(manifest.get('command'), 'Table')}: {path.name}",
        manifest,
        images=len(table),
        order=ORDERS[by],
        first=_first(table, by),
        unlikely=by.startswith("p_") and (number(table[0], by) or 0) <= LIKELY if len(table) else False,
        facts=_facts(table, manifest),
        cards=[] if images is None else _cards(images, table, by, manifest),
        rows=explorer(table, marked),
        file=path.name,
        plots=all_images(table, marked),
        flags=flag_counts(table),
    )


def _facts(table: Table, manifest: dict[str, Any]) -> dict[str, Any]:
    facts = {
        "Command": f"emeraldcut {manifest['command']}" if "command" in manifest else None,
        "Images": f"{len(table):,}",
        "Usable": f"{usable(table['flag']).sum():,}",
        "Network": manifest.get("settings.network"),
        "Reference": ", ".join(manifest.get("settings.reference") or []),
        "Method": manifest.get("settings.method"),
    }
    return facts | made_by(manifest)


def _first(table: Table, by: str) -> dict[str, str] | None:
    """The first row for the conclusion; None if there is no value."""
    if len(table) == 0 or number(table[0], by) is None:
        return None
    return {
        "id": text(table[0], "id"),
        "link": "",
        "order": value_words(table[0], by),
        "a4": with_error(table[0], "a4") if "a4" in table.colnames else "",
    }


def _best_images(table: Table, by: str, manifest: dict[str, Any], folder: Path) -> ImageSet | None:
    """The images of the first rows; None if they cannot be found any more."""
    first = np.flatnonzero(np.isfinite(numbers(table[by])))[: galleries.SHOWN]
    try:
        source_images = SourceImages.of_run(table, manifest, roots=(folder,))
    except (OSError, LookupError, ValueError):  # moved, or a table that does not say
        return None
    images = with_data(source_images.shown(first, table[first]))
    source_images.close()
    return images if len(images) else None


def _references(manifest: dict[str, Any]) -> ImageSet | None:
    """The references that the images were compared with; None if they cannot be found any more."""
    try:
        return read_references(tuple(manifest.get("settings.reference") or ()))
    except (OSError, ValueError):
        return None


def _cards(images: ImageSet, table: Table, by: str, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    references = _references(manifest) if "reference" in table.colnames else None
    shown = {int(rank) for rank in images.table["rank"]}
    pairs = zip(galaxy_pictures(images), compare_with_references(images, references, table), strict=True)
    return [card(galaxy, found, table, shown, by) for galaxy, found in pairs]
