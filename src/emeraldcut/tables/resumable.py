"""Tables too long for memory: written in parts as they come, gone on with after an early end, joined at the end."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import cached_property, partial
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import describe_columns
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import begin_or_go_on, lock, unlock
from emeraldcut.runs.workers import Workers, map_chunks
from emeraldcut.runs.writing import complete
from emeraldcut.tables.arrow import (
    column_of,
    described,
    from_arrow,
    joined,
    joined_schema,
    text_lengths,
    to_arrow,
    write_joined,
    written,
)
from emeraldcut.tables.identifiers import with_numbers, with_whole_ids

if TYPE_CHECKING:
    import pyarrow as pa

PART_ROWS = 4096  # of a part: what a run that is killed does again at most, besides the chunks under way
BEGUN = "begun.json"
NOT_FACTS = ("date_utc", "python", "platform")  # of a provenance: these may change before work goes on


class ResumableTable:
    """A table of Arrow in a folder, one Parquet file for each part, which another process can go on with.

    A part is written as a whole, holds whole chunks, and is named after the number of images that are done with it.

    Parameters
    ----------
    folder : Path
        Made if it is not there, and this process's until `remove`.
    origin : dict
        What the work is begun with, see `provenance`.
    what : str
        The work in words, for the error.
    overwrite : bool
        Begin again where the folder holds unfinished work with other facts.

    Attributes
    ----------
    files : list of Path
        The parts, in order.
    done : int
        Number of images whose rows are there.

    Raises
    ------
    FileExistsError
        Another process works in the folder, or it holds unfinished work with other facts.
    """

    def __init__(self, folder: Path, origin: dict[str, Any], what: str, *, overwrite: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        lock(folder)
        facts = _facts(folder, origin)
        try:
            begin_or_go_on(folder / BEGUN, facts, what)
        except FileExistsError:
            if not overwrite:
                unlock(folder)
                raise
            for path in folder.glob("*.parquet"):
                path.unlink()
            (folder / BEGUN).unlink()
            begin_or_go_on(folder / BEGUN, facts, what)
        self.files = sorted(path for path in folder.iterdir() if re.fullmatch(r"\d+\.parquet", path.name))
        self.done = int(self.files[-1].stem) if self.files else 0
        self._waiting: list[pa.Table] = []

    @cached_property
    def starts(self) -> np.ndarray:
        """Number of the first row of each part, and that of all rows, when no more are to come."""
        import pyarrow.parquet as pq

        return np.cumsum([0, *(pq.read_metadata(path).num_rows for path in self.files)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def append(self, table: pa.Table, images: int) -> None:
        """Adds the Arrow table of so many images at the end; kept until there are `PART_ROWS`, or `flush` is called."""
        self._waiting.append(table)
        self.done += images
        if sum(map(len, self._waiting)) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what is kept as a part of its own."""
        import pyarrow.parquet as pq

        if self._waiting:
            path = self.folder / f"{self.done:012}.parquet"
            table = joined(self._waiting)
            with complete(path) as temporary:
                pq.write_table(table, temporary, **written(table.schema))
            self.files.append(path)
        self._waiting = []

    def __iter__(self) -> Iterator[pa.Table]:
        """The parts, as Arrow tables."""
        for path in self.files:
            yield _read(path)

    def parts(self, columns: list[str]) -> Iterator[pa.Table]:
        """Some columns of the parts, as Arrow tables."""
        for path in self.files:
            yield _read(path, columns)

    def text_lengths(self) -> dict[str, int]:
        """See `arrow.text_lengths`."""
        import pyarrow as pa

        return text_lengths(self.parts([field.name for field in self.schema() if pa.types.is_string(field.type)]))

    def pick(self, places: np.ndarray, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The rows at `places` (n,), which rise, as an Arrow table for each part that has some."""
        ends = np.searchsorted(places, self.starts)
        for path, start, first, last in zip(self.files, self.starts, ends, ends[1:], strict=False):
            if last > first:
                yield _read(path, columns).take(places[first:last] - start)

    def column(self, name: str) -> np.ndarray:
        """A column of numbers of all parts, see `column_of`."""
        return column_of(self.files, name)

    def schema(self) -> pa.Schema:
        """The columns of all parts."""
        import pyarrow.parquet as pq

        return joined_schema(pq.read_schema(path) for path in self.files)

    def remove(self) -> None:
        """Removes the folder."""
        rmtree(self.folder)
        unlock(self.folder)


def _facts(folder: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """What must be the same when work goes on: inputs by their whole paths, without what changes with `folder`."""
    facts = {name: value for name, value in origin.items() if name not in NOT_FACTS}
    for name in [name for name in facts if re.fullmatch(r"input_\d+", name)]:
        facts[name] = os.path.abspath(facts[name])
        if folder.resolve().is_relative_to(Path(facts[name]).resolve()):  # the list of its files grows with the parts
            facts = {fact: value for fact, value in facts.items() if not fact.startswith(f"{name}_")}
    return facts


def same_work(path: Path, one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether what is at `path`, made with the facts `one`, is what work with the facts `other` would give."""
    first, second = (json.dumps(_facts(path, facts), sort_keys=True, default=str) for facts in (one, other))
    return first == second


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read(columns)


def join(table: ResumableTable, path: Path, provenance: dict[str, Any], *, whole_ids: bool = False) -> Path:
    """All rows in their order as one Parquet table, its columns in the order of the contract.

    With `whole_ids` identifiers are whole numbers if all of them are.
    """
    schema = described(table.schema(), provenance)
    schema = with_whole_ids(schema, table.parts(["id"])) if whole_ids else schema
    write_joined(table, schema, path, table.text_lengths())
    return path


def joined_table(table: ResumableTable, *, whole_ids: bool = False) -> Table:
    """All rows, in memory; ids as in `join`."""
    rows = describe_columns(from_arrow(joined(list(table))))
    return with_numbers(rows) if whole_ids else rows


def fill(
    table: ResumableTable,
    stage: Callable[[Any], Table],
    chunks: Callable[[int], Iterable[Sized]],
    *,
    jobs: int | str | Workers = 1,
    progress: Progress = SILENT,
) -> None:
    """Adds to `table` the rows of `stage(chunk)` of every chunk that it does not hold yet.

    `chunks(n)` are those after the first n images. `progress`, which the caller begins, is advanced by the number of
    images of each chunk, and first by the number of those that are there.
    """
    if table.done:
        progress.advance(table.done)
    rows = map_chunks(partial(_in_arrow, stage), chunks(table.done), jobs=jobs, progress=progress)
    for piece, n_images in rows:
        table.append(piece, n_images)
    table.flush()


def _in_arrow(stage: Callable[[Any], Table], chunk: Sized) -> tuple[pa.Table, int]:
    return to_arrow(stage(chunk)), len(chunk)
