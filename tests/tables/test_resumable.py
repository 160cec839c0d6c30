"""Tables in parts: joined and sorted as in memory, gone on with after any end, the same whoever works."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import MaskedColumn, Table, vstack
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.runs import map_chunks, provenance
from emeraldcut.runs.run import unlock_all
from emeraldcut.runs.workers import started
from emeraldcut.tables import ResumableTable, arrow, fill, join, read_table, resumable, sorting
from emeraldcut.tables.arrow import Columns, arrow_pieces, column_of, from_arrow, joined, table_pieces, to_arrow
from emeraldcut.tables.sorting import in_order
from tests.helpers import ROOT

ORIGIN = {"command": "test", "seed": 1, "date_utc": "now"}


def rows_of(numbers):
    """Two rows for each number, the second column missing here and there, the third only for some."""
    numbers = np.repeat(np.array(numbers), 2)
    table = Table({"id": np.array([f"{n}-{k % 2}" for k, n in enumerate(numbers)], dtype=object)})
    table["value"] = MaskedColumn(np.sin(numbers), mask=numbers % 3 == 0)
    if numbers[0] % 20 == 0:
        table["a4"] = numbers if numbers[0] % 40 == 0 else numbers + 0.5
    return table


def slowly(numbers):
    time.sleep(0.01)
    return rows_of(numbers)


def chunks(done, number=200, size=10):
    return (range(k, k + size) for k in range(done, number, size))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(resumable, "PART_ROWS", 50)
    yield
    unlock_all()


def same(one, other):
    assert one.colnames == other.colnames and len(one) == len(other)
    for name in one.colnames:
        np.testing.assert_array_equal(np.ma.getmaskarray(one[name]), np.ma.getmaskarray(other[name]), err_msg=name)
        np.testing.assert_array_equal(np.ma.filled(one[name], 0), np.ma.filled(other[name], 0), err_msg=name)


def test_resumable_join_as_tables_stack(tmp_path):
    parts = ResumableTable(tmp_path / "parts", ORIGIN, "a test")
    fill(parts, rows_of, chunks)
    assert len(parts) == 400 and len(parts.files) == 7 and parts.done == 200
    join(parts, tmp_path / "t.parquet", ORIGIN)
    table, stacked = read_table(tmp_path / "t.parquet"), vstack([rows_of(chunk) for chunk in chunks(0)])
    assert table.meta["provenance"] == ORIGIN and table["a4"].description
    same(table, stacked[table.colnames])
    np.testing.assert_allclose(parts.column("value"), np.ma.filled(stacked["value"], np.nan), rtol=1e-6)
    places = np.array([0, 1, 70, 399])
    assert list(joined(list(parts.pick(places, ["id"])))["id"].to_pylist()) == list(stacked["id"][places])
    assert [len(piece) for piece in table_pieces(tmp_path / "t.parquet", 150)] == [150, 150, 100]
    parts.remove()
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("stop", [1, 6, 13])
def test_what_was_stopped_goes_on(tmp_path, stop):
    class Stopped(Exception):
        pass

    def stopping(done):
        for number, chunk in enumerate(chunks(done)):
            if number == stop:
                raise Stopped
            yield chunk

    with pytest.raises(Stopped):
        fill(ResumableTable(tmp_path / "parts", ORIGIN, "a test"), rows_of, stopping)
    parts, seen = ResumableTable(tmp_path / "parts", ORIGIN | {"date_utc": "later"}, "a test"), Mock()
    assert parts.done <= 10 * stop and parts.done > 10 * stop - 30
    fill(parts, rows_of, chunks, progress=seen)
    assert sum(told.args[0] for told in seen.advance.mock_calls) == 200
    same(from_arrow(joined(list(parts))), vstack([rows_of(chunk) for chunk in chunks(0)]))


def test_other_settings_are_noticed(tmp_path):
    parts = ResumableTable(tmp_path, ORIGIN, "a test")
    fill(parts, rows_of, lambda done: chunks(done, 30))
    with pytest.raises(FileExistsError, match="a test with other settings"):
        ResumableTable(tmp_path, ORIGIN | {"seed": 2}, "a test")
    assert ResumableTable(tmp_path, ORIGIN, "a test", overwrite=True).done == 30
    assert ResumableTable(tmp_path, ORIGIN | {"seed": 2}, "a test", overwrite=True).done == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_damaged_facts_are_a_sentence_and_can_be_overwritten(tmp_path, content):
    table = ResumableTable(tmp_path / "work", ORIGIN, "work")
    table.append(pa.table({"x": [1.0]}), 1)
    table.flush()
    unlock_all()
    (tmp_path / "work" / resumable.BEGUN).write_bytes(content)
    with pytest.raises(FileExistsError, match=r"cannot be read as JSON: .*--overwrite\.$"):
        ResumableTable(tmp_path / "work", ORIGIN, "work")
    assert len(ResumableTable(tmp_path / "work", ORIGIN, "work", overwrite=True)) == 0


def test_work_inside_its_own_input_goes_on(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"1")
    for done in (0, 30):
        parts = ResumableTable(tmp_path / "parts", provenance("test", inputs=[tmp_path]), "a test")
        assert parts.done == done
        fill(parts, rows_of, lambda done: chunks(done, 30))


KILLED = """
import sys
sys.path.insert(0, {root!r})
from importlib import import_module
from pathlib import Path
from unittest.mock import Mock
test_resumable = import_module({module!r})
test_resumable.resumable.PART_ROWS = 50
if __name__ == "__main__":
    parts = test_resumable.ResumableTable(Path({folder!r}), test_resumable.ORIGIN, "a test")
    test_resumable.fill(parts, test_resumable.slowly, test_resumable.chunks, jobs=2)
    print("done")
"""


def children(pid):
    names = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(name) for name in names if "spawn_main" in Path(f"/proc/{name}/cmdline").read_text()]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs Linux")
@pytest.mark.parametrize("victim", ["main process", "worker"])
def test_kills_lose_nothing(tmp_path, victim):
    script, folder = tmp_path / "killed.py", tmp_path / "parts"
    script.write_text(KILLED.format(root=str(ROOT), module=__name__, folder=str(folder)))
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(folder.glob("0*.parquet")) and process.poll() is None:
        time.sleep(0.005)
    workers = children(process.pid)
    os.kill(process.pid if victim == "main process" else workers[0], signal.SIGKILL)
    out, error = process.communicate(timeout=60)
    assert "done" not in out and (victim == "main process" or "a worker process died" in error)
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}/exe") for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)  # a worker ends with the process that started it
    assert not any(os.path.exists(f"/proc/{pid}/exe") for pid in workers)
    parts = ResumableTable(folder, ORIGIN, "a test")
    assert 0 < parts.done < 200
    fill(parts, rows_of, chunks)
    same(from_arrow(joined(list(parts))), vstack([rows_of(chunk) for chunk in chunks(0)]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.text(max_size=3)), min_size=1,
                         max_size=60), min_size=1, max_size=6))  # fmt: skip
def test_a_list_in_order_is_that_of_memory(tmp_path_factory, drawn):
    """Any scores, ties and missing ones among them, in stretches of any length."""
    tables = []
    for number, rows in enumerate(drawn):
        scores = [np.nan if score is None else score / 5 for score, _ in rows]
        ids = np.array([f"{text}-{number}-{k}" for k, (_, text) in enumerate(rows)], dtype=object)
        tables.append(Table({"id": ids, "score": MaskedColumn(np.nan_to_num(scores), mask=np.isnan(scores))}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "RUN_ROWS", 4)
        for module in (arrow, sorting):
            patch.setattr(module, "GROUP_ROWS", 16)
        pieces = list(in_order(map(to_arrow, tables), "score", tmp_path_factory.mktemp("sorted") / "runs"))
    everything = vstack(tables)
    truth = sorted(zip(-np.ma.filled(everything["score"], -1), everything["id"], strict=True))
    assert joined(pieces)["id"].to_pylist() == [name for _, name in truth]
    assert max(map(len, pieces)) <= 16 + 2 * 4 * len(tables)


def test_a_column_that_a_file_lacks_is_missing(tmp_path):
    parts = ResumableTable(tmp_path, ORIGIN, "a test")
    fill(parts, rows_of, lambda done: chunks(done, 60))
    assert np.isnan(column_of(parts.files, "nothing")).all() and len(column_of(parts.files, "nothing")) == 120


def test_columns_are_those_of_the_table(tmp_path):
    parts = ResumableTable(tmp_path / "parts", ORIGIN, "a test")
    fill(parts, rows_of, chunks)
    join(parts, tmp_path / "t.parquet", ORIGIN)
    columns, table = Columns(tmp_path / "t.parquet"), read_table(tmp_path / "t.parquet")
    assert columns.colnames == table.colnames and len(columns) == len(table)
    assert list(columns["id"]) == list(table["id"])
    np.testing.assert_array_equal(columns["a4"], np.ma.filled(table["a4"].astype(np.float32), np.nan))


def who_and_what(numbers, factor):
    return os.getpid(), factor * sum(numbers)


@pytest.mark.slow
def test_workers_serve_one_stage_after_another():
    with started(2, bool) as workers:
        found = [list(map_chunks(partial(who_and_what, factor=k), chunks(0), jobs=workers)) for k in (1, 2)]
    assert [[value for _, value in each] for each in found] == [[k * sum(chunk) for chunk in chunks(0)] for k in (1, 2)]
    processes = {process for each in found for process, _ in each}
    assert len(processes) <= 2 and os.getpid() not in processes


def test_a_long_table_is_never_whole_in_memory(tmp_path):
    """Piece by piece means that Arrow reads no further than it is asked to."""
    values, path = np.random.default_rng(1).random(500_000), tmp_path / "long.parquet"
    pq.write_table(pa.table({"id": np.arange(len(values)).astype(str), "value": values}), path, row_group_size=10_000)
    before, most, read = pa.total_allocated_bytes(), 0, 0
    for piece in arrow_pieces(path, 4096):
        read += len(piece)
        most = max(most, pa.total_allocated_bytes() - before)
    assert read == len(values) and most < values.nbytes / 4
