"""The few lines that a command says at its end: what was read, what was found, how long it took."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import usable
from emeraldcut.runs.run import MANIFEST, PAGE, read_manifest
from emeraldcut.screening.two_passes import CANDIDATES
from emeraldcut.tables import read_table
from emeraldcut.tables.arrow import Columns, rows_of
from emeraldcut.tables.files import ENDINGS

NAMED = 5  # of the best candidates
LARGEST_READ_BYTES = 10**9  # of a table that is read once more for this
FACTS = ("p_rectangular", "a4", "a4_err")
ORDERS = {  # by the first of these columns that a table has its rows are ordered; what it is called
    "score": "score",
    "similarity": "similarity",
    "p_rectangular": "p(rectangular)",
    "p_boxy": "p(boxy)",
}
TITLES = {
    "score": "Best candidates",
    "similarity": "Most similar to the reference",
    "p_rectangular": "Most likely rectangular",
    "p_boxy": "Most likely boxy",
}
NONE = {"score": "No image could be given a score."}
RESULT = re.compile(r'<p class="result">(.*?)</p>', re.DOTALL)  # of a page
TAG = re.compile(r"<[^>]*>")
LONGEST_HEAD = 200_000  # letters of a page, of which the style is a part


def summary(written: str, seconds: float, *, noun: str = "image") -> list[str]:
    """Lines on what a command has written: how many images, the best of them, or the first sentence of a page.

    Parameters
    ----------
    written : str
        The path that the command prints, of a table, a page or a folder; of several lines the first counts.
    seconds : float
        How long it took.
    noun : str
        What the rows of a table are.
    """
    path, done = Path(written.partition("\n")[0]), f"Done in {_duration(seconds)}."
    if path.name == PAGE:
        if (path.parent / CANDIDATES).is_file():
            flags = Columns(path.parent / CANDIDATES)["flag"]
            return [f"{_counted(flags)} {done}", *_best(path.parent / CANDIDATES, "score")]
        return [f"{_first_sentence(path)} {done}".strip()]
    if path.is_dir():
        images = read_manifest(path).get("images") if (path / MANIFEST).is_file() else None
        return [f"{_number(images, 'image')}. {done}" if isinstance(images, int) else done]
    if not path.is_file() or not path.name.endswith(ENDINGS) or path.stat().st_size > LARGEST_READ_BYTES:
        return []
    columns: Columns | Table = Columns(path) if path.suffix == ".parquet" else read_table(path)
    if not {"flag", "id"} <= set(columns.colnames):
        return [f"{_number(len(columns), 'row')}. {done}"]
    by = next((name for name in ORDERS if name in columns.colnames), None)
    best = _best(path, by) if by and path.suffix == ".parquet" else _best_of(columns, by) if by else []
    return [f"{_counted(numbers(columns['flag']), noun)} {done}", *best]


def _number(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def _first_sentence(page: Path) -> str:
    """What a page says first; empty if it cannot be found."""
    with page.open(encoding="utf-8") as file:
        found = RESULT.search(file.read(LONGEST_HEAD))
    return " ".join(unescape(TAG.sub("", found[1])).split()) if found else ""


def _counted(values: np.ndarray, noun: str = "image") -> str:
    """How many images or sources there are, how many have a flag and how many cannot be used."""
    flags = np.nan_to_num(values).astype(np.int64)
    good = usable(flags)
    flagged = int(np.count_nonzero(flags[good]))
    lost = int(np.count_nonzero(~good))
    unusable = f"; {lost:,} cannot be used (flag_text says why)" if lost else ""
    return f"{_number(len(flags), noun)}: {int(good.sum()):,} with results, of these {flagged:,} with a flag{unusable}."


def _best(table: Path, by: str) -> list[str]:
    """The best images of a table in Parquet, which may be ranked, a line each."""
    columns = Columns(table)
    ranked = "rank" in columns.colnames
    places = np.arange(min(len(columns), NAMED)) if ranked else np.sort(_first(numbers(columns[by])))
    return _best_of(rows_of(table, places, ["rank", "id", by, *FACTS]), by)


def _first(values: np.ndarray) -> np.ndarray:
    """Where the highest `NAMED` of values (n,) are, highest first."""
    order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), kind="stable")[:NAMED]
    return order[np.isfinite(values[order])]


def _best_of(rows: Table, by: str) -> list[str]:
    """The best images of a table in memory, a line each."""
    if by not in rows.colnames:
        return []
    lines = []
    for number, place in enumerate(_first(numbers(rows[by])), start=1):
        row = rows[int(place)]
        facts = [f"{ORDERS[by]} {float(row[by]):.3f}"]
        if by != "p_rectangular" and "p_rectangular" in rows.colnames and not np.ma.is_masked(row["p_rectangular"]):
            facts.append(f"p(rectangular) {row['p_rectangular']:.3f}")
        if {"a4", "a4_err"} <= set(rows.colnames) and not np.ma.is_masked(row["a4"]):
            facts.append(f"a4 {row['a4']:+.3f} +- {row['a4_err']:.3f}")
        lines.append(f"  {number}. {row['id']}: {', '.join(facts)}")
    return [f"{TITLES[by]}:", *lines] if lines else [NONE[by]] if by in NONE else []


def _duration(seconds: float) -> str:
    """A duration in words, such as 1 h 02 min or 38 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
