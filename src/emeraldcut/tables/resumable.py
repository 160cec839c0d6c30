"""Tables too long for memory: written in parts as they come, gone on with after an early end, joined at the end."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import describe_columns
from emeraldcut.runs.notices import notice
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import begin_or_go_on, lock, unlock
from emeraldcut.runs.stamps import Stamp, stamp_of
from emeraldcut.runs.workers import Workers, map_chunks
from emeraldcut.runs.writing import complete, write_text
from emeraldcut.tables.arrow import (
    column_of,
    described,
    for_arrow,
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

SOURCES, TOGETHER, OF = ".sources", "sources.json", "of.json"
PART_ROWS = 4096  # of a part: what a run that is killed does again at most, besides the chunks under way
BEGUN = "begun.json"
NOT_FACTS = ("date_utc", "python", "platform")  # of a provenance: these may change before work goes on


@dataclass(frozen=True)
class Inputs:
    """Where images come from, for work that goes on: what has changed of them is done again.

    Attributes
    ----------
    files : callable or None
        Gives the whole paths of the files, with their maps, in the order in which they are read, so that new ones
        are noticed; None where something else, such as a table, says what is read.
    together : tuple of paths
        Files of which a change means that everything is done again.
    names : tuple of str
        Which inputs of a provenance these are.
    """

    files: Callable[[], Iterable[str]] | None = None
    together: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()


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
    inputs : Inputs
        Where images come from. What is there of images that have changed since is removed, with all after it.

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

    def __init__(
        self,
        folder: Path,
        origin: dict[str, Any],
        what: str,
        *,
        overwrite: bool = False,
        inputs: Inputs = Inputs(),
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        lock(folder)
        facts = _facts(folder, origin, inputs)
        try:
            begin_or_go_on(folder / BEGUN, facts, what)
        except FileExistsError:
            if not overwrite:
                unlock(folder)
                raise
            for path in [*folder.glob("*.parquet"), *folder.glob(f"*{SOURCES}"), folder / TOGETHER]:
                path.unlink(missing_ok=True)
            (folder / BEGUN).unlink()
            begin_or_go_on(folder / BEGUN, facts, what)
        self.files = sorted(path for path in folder.iterdir() if re.fullmatch(r"\d+\.parquet", path.name))
        self.done = int(self.files[-1].stem) if self.files else 0
        self._waiting: list[pa.Table] = []
        self._sources: dict[Stamp, None] = {}
        self.again = self._keep_only_unchanged(inputs)

    @cached_property
    def starts(self) -> np.ndarray:
        """Number of the first row of each part, and that of all rows, when no more are to come."""
        import pyarrow.parquet as pq

        return np.cumsum([0, *(pq.read_metadata(for_arrow(path)).num_rows for path in self.files)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _keep_only_unchanged(self, inputs: Inputs) -> int:
        """Removes parts from the first on of which an image has changed; how many images that were done are not now."""
        together = [list(stamp_of(path)) for path in inputs.together]
        before = _read_json(self.folder / TOGETHER)
        if together and before not in (None, together):
            return self._drop_from(0)
        if together:
            write_text(self.folder / TOGETHER, json.dumps(together))
        expected = None if inputs.files is None or not self.files else iter(dict.fromkeys(inputs.files()))
        seen: set[str] = set()
        for number, path in enumerate(self.files):
            for stamp in (Stamp(*values) for values in _unpack(path.with_suffix(SOURCES))):
                is_next = expected is None or stamp.path in seen or next(expected, "") == stamp.path
                seen.add(stamp.path)
                if not is_next or stamp_of(stamp.path) != stamp:
                    return self._drop_from(number)
        return 0

    def _drop_from(self, number: int) -> int:
        """Removes the parts from this number on, and what else is known of the images."""
        before = self.done
        for path in self.files[number:]:
            path.unlink()
            path.with_suffix(SOURCES).unlink(missing_ok=True)
        (self.folder / TOGETHER).unlink(missing_ok=True)
        self.files = self.files[:number]
        self.done = int(self.files[-1].stem) if self.files else 0
        self.__dict__.pop("starts", None)
        return before - self.done

    def only_of(self, facts: dict[str, Any]) -> None:
        """Begins the table again, unless it is empty or was filled with the same facts known."""
        known = self.folder / OF
        if _read_json(known) != facts:
            self._drop_from(0)
            write_text(known, json.dumps(facts))

    def append(self, table: pa.Table, images: int, sources: Iterable[Stamp] = ()) -> None:
        """Adds the Arrow table of so many images at the end; kept until there are `PART_ROWS`, or `flush` is called.

        `sources` are the files that the images were read from, as they were then.
        """
        self._waiting.append(table)
        self._sources |= dict.fromkeys(sources)
        self.done += images
        if sum(map(len, self._waiting)) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what is kept as a part of its own."""
        import pyarrow.parquet as pq

        if self._waiting:
            path = self.folder / f"{self.done:012}.parquet"
            table = joined(self._waiting)
            if self._sources:
                _pack(path.with_suffix(SOURCES), list(self._sources))
            with complete(path) as temporary:
                pq.write_table(table, for_arrow(temporary, "wb"), **written(table.schema))
            self.files.append(path)
        self._waiting, self._sources = [], {}

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

        return joined_schema(pq.read_schema(for_arrow(path)) for path in self.files)

    def remove(self) -> None:
        """Removes the folder."""
        rmtree(self.folder)
        unlock(self.folder)


def _pack(path: Path, stamps: list[Stamp]) -> None:
    """Writes stamps to a file, in about a tenth of the room that they would take as text."""
    with complete(path) as temporary:
        temporary.write_bytes(zlib.compress(json.dumps(stamps).encode("ascii"), 1))


def _unpack(path: Path) -> list[list[Any]]:
    return list(json.loads(zlib.decompress(path.read_bytes()))) if path.exists() else []


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="ascii")) if path.exists() else None


def _facts(folder: Path, origin: dict[str, Any], inputs: Inputs = Inputs()) -> dict[str, Any]:
    """What must be the same when work goes on: inputs by their whole paths, without what changes with `folder`.

    And without what is known of the images, of which those that change are done again.
    """
    facts = {name: value for name, value in origin.items() if name not in NOT_FACTS}
    known = tuple(f"{name}_" for name in inputs.names)
    facts = {name: value for name, value in facts.items() if not name.startswith(known)}
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

    return pq.ParquetFile(for_arrow(path)).read(columns)


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


def say_what_is_done_again(table: ResumableTable) -> None:
    """Tells how many images are done again, if there are some."""
    if table.again:
        notice(f"Images have changed since this was begun; the {table.again} from the first of them on are done again.")


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
    sources: deque[Iterable[Stamp]] = deque()

    def noted() -> Iterator[Sized]:
        for chunk in chunks(table.done):
            sources.append(getattr(chunk, "sources", ()))
            yield chunk

    for piece, n_images in map_chunks(partial(_in_arrow, stage), noted(), jobs=jobs, progress=progress):
        table.append(piece, n_images, sources.popleft())
    table.flush()


def _in_arrow(stage: Callable[[Any], Table], chunk: Sized) -> tuple[pa.Table, int]:
    return to_arrow(stage(chunk)), len(chunk)
