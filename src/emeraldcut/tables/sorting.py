"""Tables of any length in another order, sorted on disk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emeraldcut.tables.arrow import GROUP_ROWS, joined, row_groups

if TYPE_CHECKING:
    import pyarrow as pa

RUN_ROWS = 256  # of a piece of a sorted part; samples of the order are as far apart


def in_order(tables: Iterable[pa.Table], by: str, folder: Path) -> Iterator[pa.Table]:
    """The rows of Arrow tables in order of a falling column, ties and rows without a value by `id`.

    About `GROUP_ROWS` at a time are sorted and put aside in `folder`, which is removed at the end. Samples of all of
    them then cut the order into stretches as long, of which one at a time is in memory.
    """
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    runs = [SortedRun.write(table, by, folder / f"{k:05}.arrow") for k, table in enumerate(row_groups(tables))]
    samples = sorted(sample for run in runs for sample in run.samples)
    every = max(GROUP_ROWS // RUN_ROWS, 1)
    starts = [[0] * len(runs)]
    starts += [[run.place(cut) for run in runs] for cut in samples[every::every]]
    starts.append([run.rows for run in runs])
    for first, last in pairwise(starts):
        pieces = [run.slice(a, b) for run, a, b in zip(runs, first, last, strict=True) if b > a]
        if pieces:
            yield _sorted(joined(pieces), by)
    rmtree(folder)


def _sorted(table: pa.Table, by: str) -> pa.Table:
    """An Arrow table in order of a falling column, ties and rows without a value by `id`."""
    return table.take(np.lexsort((np.array(table["id"].to_pylist(), dtype=str), -_keys(table, by))))


def _keys(table: pa.Table, by: str) -> NDArray[np.float64]:
    """The column that sorts, (n,), below all others where it is missing."""
    values: NDArray[np.float64] = np.asarray(table[by].to_numpy(), dtype=float)
    return np.nan_to_num(values, nan=-np.inf)


class SortedRun:
    """A sorted table in a file, of which any stretch is read by itself."""

    def __init__(self, path: Path, rows: int, by: str, samples: list[tuple[float, str]]) -> None:
        self.path, self.rows, self.samples, self._by = path, rows, samples, by

    @classmethod
    def write(cls, table: pa.Table, by: str, path: Path) -> SortedRun:
        """Sorts an Arrow table by a falling column into the file `path`."""
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

    def slice(self, start: int, stop: int) -> pa.Table:
        """Rows `start` to `stop`."""
        import pyarrow as pa

        first = start // RUN_ROWS
        with pa.OSFile(str(self.path), "rb") as file, pa.ipc.open_file(file) as reader:
            batches = [reader.get_batch(k) for k in range(first, -(-stop // RUN_ROWS))]
        return pa.Table.from_batches(batches).slice(start - first * RUN_ROWS, stop - start)
