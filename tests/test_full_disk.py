"""A disk that is full: one sentence, exit 1, nothing that looks whole and is not; later the same command works."""

import errno
import os
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
from astropy.table import Table

from emeraldcut.data import ImageSet
from emeraldcut.images import read_images, write_images
from emeraldcut.nbody import Snapshot, read_snapshot, write_snapshot
from emeraldcut.runs import read_manifest
from emeraldcut.tables import read_table, write_table
from tests.helpers import run

resource = pytest.importorskip("resource")


@contextmanager
def files_end_at(n_bytes):
    """No file can grow beyond `n_bytes`, as on a full disk or in a used-up share of one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 100 kB, and a function that gives it another size."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", place], capture_output=True)
    if made.returncode:
        pytest.skip("no file system can be mounted here")

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)

    yield place, resize
    subprocess.run(["umount", place], check=True)


def said_so(result):
    code, out, err = result
    return code == 1 and out == "" and "is full; make room" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("ending", ["parquet", "ecsv", "csv", "fits", "vot", "reg"])
def test_tables(ending, tmp_path, capsys):
    numbers = np.random.default_rng(0).random((2, 3000))
    write_table(Table({"id": [str(k) for k in range(3000)], "x": numbers[0], "y": numbers[1]}), tmp_path / "in.parquet")
    (tmp_path / "out").mkdir()
    words = ("convert", tmp_path / "in.parquet", "-o", tmp_path / "out" / f"t.{ending}")
    with files_end_at(8000):
        assert said_so(run(capsys, *words))
    assert list((tmp_path / "out").iterdir()) == []
    assert run(capsys, *words)[0] == 0
    if ending != "reg":
        np.testing.assert_array_equal(read_table(words[-1])["x"], numbers[0])


@pytest.mark.slow
@pytest.mark.parametrize("limit", [50, 8000, 100_000, 400_000])
def test_sets(limit, tmp_path, capsys):
    """Wherever the file ends: in HDF5's own header, in the images, or when it is closed."""
    words = ("synthesise", "--number", "40", "-o", tmp_path / "set")
    with files_end_at(limit):
        assert said_so(run(capsys, *words))
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path / "set")
    assert run(capsys, *words)[0] == 0
    assert len(read_images(tmp_path / "set")) == 40


@pytest.mark.slow
def test_snapshots(tmp_path):
    n = 5000
    position = np.random.default_rng(1).normal(size=(n, 3)).astype(np.float32)
    kinds = np.zeros(n, np.int8)
    snapshot = Snapshot(position, position, np.ones(n, np.float32), kinds, kinds)
    with files_end_at(50_000), pytest.raises(OSError, match=os.strerror(errno.EFBIG)) as caught:
        write_snapshot(snapshot, tmp_path / "s.hdf5")
    assert caught.value.errno == errno.EFBIG and list(tmp_path.iterdir()) == []
    write_snapshot(snapshot, tmp_path / "s.hdf5")
    np.testing.assert_array_equal(read_snapshot(tmp_path / "s.hdf5").position, position)


@pytest.mark.slow
def test_a_table_in_parts_goes_on_when_there_is_room(small_disk, tmp_path, capsys, monkeypatch):
    place, resize = small_disk
    monkeypatch.setattr("emeraldcut.tables.resumable.PART_ROWS", 100)
    y, x = np.mgrid[-16:16, -16:16]
    noise = np.random.default_rng(0).normal(size=(600, 32, 32))
    images = ImageSet((noise + 50 * np.exp(-np.hypot(x, 2 * y) / 4)).astype(np.float32), Table({"id": range(600)}))
    write_images(images, tmp_path / "set", command="synthesise")
    resize("200k")
    words = ("measure", tmp_path / "set", "-o", place / "shapes.parquet")
    assert said_so(run(capsys, *words))
    assert [path.name for path in place.iterdir()] == [".shapes.parquet.unfinished"]
    assert list(place.glob("*/*.parquet"))  # at least one part is there
    resize("4m")
    assert run(capsys, *words)[0] == 0
    assert run(capsys, "measure", tmp_path / "set", "-o", tmp_path / "shapes.parquet")[0] == 0
    one, other = (read_table(folder / "shapes.parquet") for folder in (place, tmp_path))
    assert len(one) == 600 and list(one["id"]) == list(other["id"])
    np.testing.assert_array_equal(np.ma.filled(one["a4"], 0), np.ma.filled(other["a4"], 0))


def test_a_real_small_disk(small_disk, tmp_path, capsys):
    place, resize = small_disk
    assert run(capsys, "synthesise", "--number", "8", "-o", tmp_path / "set")[0] == 0
    (place / "filler").write_bytes(os.urandom(90_000))
    words = ("clean", tmp_path / "set", "-o", place / "cleaned")
    assert said_so(run(capsys, *words))
    resize("4m")
    assert run(capsys, *words)[0] == 0
    assert len(read_images(place / "cleaned")) == 8
