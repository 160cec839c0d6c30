"""The few lines that a command says at its end: what was read, what was found, how long it took."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import usable
from emeraldcut.runs.run import PAGE
from emeraldcut.screening.two_passes import CANDIDATES
from emeraldcut.tables import read_table
from emeraldcut.tables.arrow import Columns, rows_of
from emeraldcut.tables.files import ENDINGS

NAMED = 5  # of the best candidates
LARGEST_READ_BYTES = 10**9  # of a table that is read once more for this
FACTS = ("p_rectangular", "a4", "a4_err")


def summary(written: str, seconds: float) -> list[str]:
    """Lines on what a command has written, if that is a table of images or a run of `screen`.

    Parameters
    ----------
    written : str
        The path that the command prints, of a table or a page; of several lines the first counts.
    seconds : float
        How long it took.
    """
    path = Path(written.partition("\n")[0])
    if path.name == PAGE and (path.parent / CANDIDATES).is_file():
        flags = Columns(path.parent / CANDIDATES)["flag"]
        return [f"{_counted(flags)} Done in {_duration(seconds)}.", *_best(path.parent / CANDIDATES)]
    if not path.is_file() or not path.name.endswith(ENDINGS) or path.stat().st_size > LARGEST_READ_BYTES:
        return []
    columns: Columns | Table = Columns(path) if path.suffix == ".parquet" else read_table(path)
    if not {"flag", "id"} <= set(columns.colnames):
        return []
    return [f"{_counted(numbers(columns['flag']))} Done in {_duration(seconds)}."]


def _counted(values: np.ndarray) -> str:
    """How many images there are, how many have a flag and how many cannot be used."""
    flags = np.nan_to_num(values).astype(np.int64)
    good = usable(flags)
    flagged = int(np.count_nonzero(flags[good]))
    lost = int(np.count_nonzero(~good))
    unusable = f"; {lost:,} cannot be used (flag_text says why)" if lost else ""
    what = "image" if len(flags) == 1 else "images"
    return f"{len(flags):,} {what}: {int(good.sum()):,} with results, of these {flagged:,} with a flag{unusable}."


def _best(table: Path) -> list[str]:
    """The best candidates of a ranked list, a line each."""
    number = min(len(Columns(table)), NAMED)
    rows = rows_of(table, np.arange(number), ["rank", "id", "score", *FACTS])
    rows = rows[np.isfinite(numbers(rows["score"]))] if "score" in rows.colnames else rows[:0]
    lines = []
    for row in rows:
        facts = [f"score {row['score']:.3f}"]
        if "p_rectangular" in rows.colnames and not np.ma.is_masked(row["p_rectangular"]):
            facts.append(f"p(rectangular) {row['p_rectangular']:.3f}")
        if {"a4", "a4_err"} <= set(rows.colnames) and not np.ma.is_masked(row["a4"]):
            facts.append(f"a4 {row['a4']:+.3f} +- {row['a4_err']:.3f}")
        lines.append(f"  {row['rank']}. {row['id']}: {', '.join(facts)}")
    return ["Best candidates:", *lines] if lines else ["No image could be given a score."]


def _duration(seconds: float) -> str:
    """A duration in words, such as 1 h 02 min or 38 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
