"""Tables too long for memory: written in parts as they come, gone on with after an early end, joined at the end."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import cached_property, partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import describe_columns
from emeraldcut.data.tables import arrow_pieces, from_arrow, to_arrow, written
from emeraldcut.runs.run import begin_or_go_on, lock, unlock
from emeraldcut.runs.workers import Workers, map_chunks
from emeraldcut.runs.writing import complete

PART_ROWS = 4096  # of a part: what a run that is killed does again at most, besides the chunks under way
GROUP_ROWS = 16_384  # of a row group of a joined table
RUN_ROWS = 256  # of a piece of a sorted part; samples of the order are as far apart
BEGUN = "begun.json"
NOT_FACTS = ("date_utc", "python", "platform")  # of a provenance: these may change before work goes on


class Parts:
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
        self._waiting = []

    @cached_property
    def starts(self) -> np.ndarray:
        """Number of the first row of each part, and that of all rows, when no more are to come."""
        import pyarrow.parquet as pq

        return np.cumsum([0, *(pq.read_metadata(path).num_rows for path in self.files)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def append(self, table, images: int) -> None:
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

    def __iter__(self) -> Iterator:
        """The parts, as Arrow tables."""
        for path in self.files:
            yield _read(path)

    def pick(self, places: np.ndarray, columns: list[str] | None = None) -> Iterator:
        """The rows at `places` (n,), which rise, as an Arrow table for each part that has some."""
        ends = np.searchsorted(places, self.starts)
        for path, start, first, last in zip(self.files, self.starts, ends, ends[1:], strict=False):
            if last > first:
                yield _read(path, columns).take(places[first:last] - start)

    def column(self, name: str) -> np.ndarray:
        """A column of numbers of all parts, see `column_of`."""
        return column_of(self.files, name)

    def schema(self):
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


def _read(path: Path, columns: list[str] | None = None):
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read(columns)


def column_of(files: Iterable[Path], name: str) -> np.ndarray:
    """A column of numbers of several Parquet tables, one after another, as float32 (n,), NaN where it is missing."""
    pieces = [np.zeros(0, np.float32)]
    for path in files:
        for table in arrow_pieces(path, GROUP_ROWS, [name]):
            lacking = np.full(len(table), np.nan, np.float32)
            pieces.append(np.asarray(table[name].to_numpy(), np.float32) if table.column_names else lacking)
    return np.concatenate(pieces)


class Columns:
    """The columns of a Parquet table, of which none stays in memory: numbers as from `column_of`, text as objects."""

    def __init__(self, file: Path) -> None:
        import pyarrow.parquet as pq

        self._file, self._rows = file, pq.read_metadata(file).num_rows
        self._schema = pq.read_schema(file)
        self.colnames = self._schema.names

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> np.ndarray:
        import pyarrow as pa

        if not pa.types.is_string(self._schema.field(name).type):
            return column_of([self._file], name)
        pieces = [np.asarray(from_arrow(piece)[name]) for piece in arrow_pieces(self._file, GROUP_ROWS, [name])]
        return np.concatenate([np.zeros(0, dtype=object), *pieces])


def rows_of(file: Path, places: np.ndarray, columns: list[str]) -> Table:
    """Rows of a Parquet table at `places` (n,), which rise, of those `columns` that it has."""
    import pyarrow.parquet as pq

    schema, start = pq.read_schema(file), 0
    columns = [name for name in columns if name in schema.names]
    pieces = [schema.empty_table().select(columns)]
    for piece in arrow_pieces(file, PART_ROWS, columns):
        first, last = np.searchsorted(places, (start, start + len(piece)))
        pieces.append(piece.take(places[first:last] - start))
        start += len(piece)
    return from_arrow(joined(pieces))


# --- one schema


def joined_schema(schemas: Iterable):
    """The columns of all schemas in the order of their coming; where types differ, one that holds both."""
    import pyarrow as pa

    distinct = list(dict.fromkeys(schemas))
    if not distinct:
        return pa.schema([])
    return pa.unify_schemas(distinct, promote_options="permissive").with_metadata(distinct[0].metadata)


def fitted(table, schema):
    """An Arrow table with the columns of `schema`; those that it lacks are missing in all rows."""
    import pyarrow as pa

    if table.schema.equals(schema):
        return table
    arrays = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def joined(tables: list):
    """Arrow tables one below the other."""
    import pyarrow as pa

    schema = joined_schema(table.schema for table in tables)
    return pa.concat_tables([fitted(table, schema) for table in tables])


def described(schema, provenance: dict):
    """`schema` with its columns in the contract's order, with units and descriptions, and where the table is from."""
    import pyarrow as pa

    table = describe_columns(from_arrow(schema.empty_table()))
    table.meta["provenance"] = provenance
    fields = to_arrow(table).schema
    return pa.schema([schema.field(f.name).with_metadata(f.metadata) for f in fields], metadata=fields.metadata)


# --- joining


def write_joined(tables: Iterable, schema, path: Path) -> None:
    """Arrow tables below one another as one Parquet file with the columns of `schema`, whole or not at all."""
    import pyarrow.parquet as pq

    with complete(path) as temporary, pq.ParquetWriter(temporary, schema, **written(schema)) as writer:
        for table in _groups(fitted(table, schema) for table in tables):
            writer.write_table(table)


def join(parts: Parts, path: Path, provenance: dict) -> Path:
    """All parts in their order as one Parquet table, its columns in the contract's order."""
    write_joined(parts, described(parts.schema(), provenance), path)
    return path


def joined_table(parts: Parts) -> Table:
    """All parts in memory."""
    return describe_columns(from_arrow(joined(list(parts))))


def in_order(tables: Iterable, by: str, folder: Path) -> Iterator:
    """The rows of Arrow tables in order of a falling column, ties and rows without a value by `id`.

    About `GROUP_ROWS` at a time are sorted and put aside in `folder`, which is removed at the end. Samples of all of
    them then cut the order into stretches as long, of which one at a time is in memory.
    """
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    runs = [SortedRun.write(table, by, folder / f"{k:05}.arrow") for k, table in enumerate(_groups(tables))]
    samples = sorted(sample for run in runs for sample in run.samples)
    every = max(GROUP_ROWS // RUN_ROWS, 1)
    starts = [[0] * len(runs)]
    starts += [[run.place(cut) for run in runs] for cut in samples[every::every]]
    starts.append([run.rows for run in runs])
    for first, last in zip(starts, starts[1:], strict=False):
        pieces = [run.slice(a, b) for run, a, b in zip(runs, first, last, strict=True) if b > a]
        if pieces:
            yield _sorted(joined(pieces), by)
    rmtree(folder)


def _groups(tables: Iterable) -> Iterator:
    """Arrow tables joined until they have `GROUP_ROWS`."""
    waiting: list = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP_ROWS:
            yield joined(waiting)
            waiting = []
    if waiting:
        yield joined(waiting)


def _sorted(table, by: str):
    """An Arrow table in order of a falling column, ties and rows without a value by `id`."""
    return table.take(np.lexsort((np.array(table["id"].to_pylist(), dtype=str), -_keys(table, by))))


def _keys(table, by: str) -> np.ndarray:
    """The column that sorts, (n,), below all others where it is missing."""
    return np.nan_to_num(np.asarray(table[by].to_numpy(), dtype=float), nan=-np.inf)


class SortedRun:
    """A sorted table in a file, of which any stretch is read by itself."""

    def __init__(self, path: Path, rows: int, by: str, samples: list[tuple[float, str]]) -> None:
        self.path, self.rows, self.samples, self._by = path, rows, samples, by

    @classmethod
    def write(cls, table, by: str, path: Path) -> SortedRun:
        import pyarrow as pa

        table = _sorted(table, by)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=RUN_ROWS)
        keys, ids = -_keys(table, by), table["id"]
        return cls(path, len(table), by, [(float(keys[k]), ids[k].as_py()) for k in range(0, len(table), RUN_ROWS)])

    def place(self, cut: tuple[float, str]) -> int:
        """How many rows come before `cut`."""
        piece = max(bisect_left(self.samples, cut) - 1, 0)  # the only one that can hold it
        start = piece * RUN_ROWS
        table = self.slice(start, min(start + RUN_ROWS, self.rows))
        keys, ids = -_keys(table, self._by), table["id"]
        return start + bisect_left(range(len(table)), cut, key=lambda k: (float(keys[k]), ids[k].as_py()))

    def slice(self, start: int, stop: int):
        """Rows `start` to `stop`."""
        import pyarrow as pa

        first = start // RUN_ROWS
        with pa.OSFile(str(self.path), "rb") as file, pa.ipc.open_file(file) as reader:
            batches = [reader.get_batch(k) for k in range(first, -(-stop // RUN_ROWS))]
        return pa.Table.from_batches(batches).slice(start - first * RUN_ROWS, stop - start)


def fill(
    parts: Parts,
    stage: Callable[[Any], Table],
    chunks: Callable[[int], Iterable[Sized]],
    *,
    jobs: int | str | Workers = 1,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Adds to `parts` the rows of `stage(chunk)` of every chunk that they do not hold yet.

    `chunks(n)` are those after the first n images.
    """
    if progress and parts.done:
        progress(parts.done)
    rows = map_chunks(partial(_in_arrow, stage), chunks(parts.done), jobs=jobs, progress=progress)
    for table, n_images in rows:
        parts.append(table, n_images)
    parts.flush()


def _in_arrow(stage: Callable[[Any], Table], chunk: Sized) -> tuple[Any, int]:
    return to_arrow(stage(chunk)), len(chunk)
