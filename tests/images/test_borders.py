"""What is wrong with one image is its row: kinds of damage, claims and files that are none."""

import base64
import gzip
import io
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from astropy.io import fits
from astropy.table import Table

from emeraldcut import cli
from emeraldcut.data import Flag, ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.images import ReadSettings, apply_to_images, open_images, read_images, readers, write_images
from emeraldcut.images.formats import failed, read_file
from emeraldcut.images.parquet import parquet_images
from emeraldcut.images.psf import LARGEST_SIDE_PIX, read_psf
from emeraldcut.runs import map_chunks, read_manifest
from emeraldcut.runs.apart import Crashed, apart
from emeraldcut.runs.notices import listening
from emeraldcut.tables import read_table
from tests import fuzzing
from tests.helpers import ROOT, fits_bytes, npy_bytes

RAMP = (np.arange(24 * 20).reshape(24, 20) % 37).astype(np.float32)


def rows(source, **settings):
    """Flag and sentence of each row."""
    images = read_images(source, ReadSettings(**settings))
    return [(int(flag), str(text)) for flag, text in images.table["flag", "flag_text"].iterrows()]


def within(seconds, function, *arguments, **options):
    """What a function gives, which must come in time."""
    begun = time.monotonic()
    found = function(*arguments, **options)
    assert time.monotonic() - begun < seconds
    return found


# --- only files are opened


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_a_row(tmp_path, kind):
    path = tmp_path / "x.fits"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as place:
            os.chdir(tmp_path)
            place.bind("x.fits")
    else:
        path.symlink_to("/dev/zero")
    np.save(tmp_path / "good.npy", RAMP)
    Table({"file": ["x.fits", "good.npy"]}).write(tmp_path / "t.csv")
    for source in (tmp_path, tmp_path / "t.csv", path):
        found = within(10, rows, source)
        bad = [text for flag, text in found if flag == Flag.UNREADABLE]
        assert len(bad) == 1 and "not a regular file" in bad[0]
        assert len(found) == (1 if source == path else 2)
    with pytest.raises(ValueError, match="not a regular file"):
        read_table(path)


def test_a_set_of_which_a_part_is_a_pipe_does_not_wait(tmp_path):
    table = Table({"id": ["a", "b"]})
    write_images(ImageSet(np.stack([RAMP, RAMP + 1]), table), tmp_path / "set", command="test")
    for name in ("images.h5", "table.parquet", "manifest.json"):
        (tmp_path / "set" / name).rename(tmp_path / "kept")
        os.mkfifo(tmp_path / "set" / name)
        if name == "images.h5":
            found = within(20, rows, tmp_path / "set")
            assert [flag for flag, _ in found] == [1, 1] and all("not a regular file" in text for _, text in found)
        else:
            with pytest.raises(OSError, match="not a regular file"):
                PARTS_OF_A_SET[name](tmp_path / "set")
        (tmp_path / "set" / name).unlink()
        (tmp_path / "kept").rename(tmp_path / "set" / name)


PARTS_OF_A_SET = {"table.parquet": read_images, "manifest.json": read_manifest}


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff", b'{"a":' * 10_000 + b"1" + b"}" * 10_000])
def test_a_damaged_manifest_is_a_sentence(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"manifest.json' cannot be read as JSON: .*\."):
        read_manifest(tmp_path)


# --- any error is a row


def test_names_that_no_file_has_are_rows(tmp_path, monkeypatch):
    np.save(tmp_path / "good.npy", RAMP)
    files = ["x" * 5000 + ".fits", "good.npy", "closed/a.fits", "a\0b.fits"]
    Table({"file": files[:3]}).write(tmp_path / "t.csv")
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "a.fits").write_bytes(fits_bytes(RAMP))
    closed.chmod(0)
    really = os.stat

    def stat(path, *arguments, **options):  # also for root, who may enter any folder
        if os.fspath(path) == os.fspath(closed / "a.fits"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return really(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)
    found = rows(tmp_path / "t.csv")
    closed.chmod(0o700)
    assert [flag for flag, _ in found] == [1, 0, 1]
    assert "File name too long" in found[0][1]


@pytest.mark.parametrize("tail", [(1,), (2,)])
def test_hdf5_of_one_and_two_bands(tmp_path, tail):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = np.stack([RAMP, RAMP + 1])[..., None] * np.ones(tail, np.float32)
    assert rows(tmp_path / "x.h5") == [(0, ""), (0, "")]


def test_hdf5_of_text_is_rows(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("images", data=np.full((2, 9, 9), "text", dtype=object), dtype=h5py.string_dtype())
    found = rows(tmp_path / "x.h5")
    assert [flag for flag, _ in found] == [Flag.NOT_AN_IMAGE] * 2


@pytest.mark.parametrize("shape", [(1, 96_000, 96_000), (10**9, 64, 64)])
@pytest.mark.parametrize("packed", [None, "gzip", "lzf"])
def test_hdf5_that_was_never_written_is_one_row(tmp_path, shape, packed):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("images", shape=shape, dtype="f4", chunks=(1, 64, 64), compression=packed)
    ((flag, text),) = within(20, rows, tmp_path / "x.h5")
    assert flag == Flag.UNREADABLE and "claims" in text


def test_hdf5_with_a_damaged_chunk_keeps_the_others(tmp_path):
    images = np.random.default_rng(0).normal(size=(6, 16, 16)).astype("f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("images", data=images, chunks=(1, 16, 16), fletcher32=True)
        place = data.id.get_chunk_info(2).byte_offset
    content = bytearray((tmp_path / "x.h5").read_bytes())
    content[place + 50] ^= 255
    (tmp_path / "x.h5").write_bytes(content)
    assert [flag for flag, _ in rows(tmp_path / "x.h5")] == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("how", ["link", "storage", "virtual"])
def test_hdf5_does_not_lead_to_other_files(tmp_path, how):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["images"] = RAMP[None]
    (tmp_path / "secret.bin").write_bytes(RAMP.tobytes())
    with h5py.File(tmp_path / "x.h5", "w") as file:
        if how == "link":
            file["images"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "images")
        elif how == "storage":
            outside = [(str(tmp_path / "secret.bin"), 0, RAMP.nbytes)]
            file.create_dataset("images", (1, *RAMP.shape), "f4", external=outside)
        else:
            layout = h5py.VirtualLayout((1, *RAMP.shape), "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "images", (1, *RAMP.shape))
            file.create_virtual_dataset("images", layout)
    ((flag, text),) = rows(tmp_path / "x.h5")
    assert flag == Flag.UNREADABLE and "another file" in text


def claiming(path, columns, rows: int) -> None:
    """Writes a Parquet table of three rows whose footer claims so many (the third field of its Thrift, doubled)."""
    pq.write_table(pa.table(columns), path)
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    place = content.index(b"\x16\x06\x19", footer)
    path.write_bytes(content[:place] + bytes([0x16, 2 * rows, 0x19]) + content[place + 3 :])
    about = pq.read_metadata(path)
    assert about.num_rows == rows and about.row_group(0).num_rows == 3


def test_parquet_that_claims_more_rows_than_its_groups_hold_has_them_all(tmp_path):
    path, names = tmp_path / "x.parquet", ["a", "b", "c"]
    claiming(path, {"image": [{"bytes": fuzzing.picture("PNG")}] * 3, "id": names}, 7)
    images = read_images(path)
    assert [bool(flag) for flag in images.table["flag"]] == [False] * 3 + [True] * 4
    assert "none of its groups holds it" in images.table["flag_text"][-1]
    claiming(path, {"id": names}, 7)
    with pytest.raises(UsageError, match="claims 7 rows, and its groups hold 3"):
        read_table(path)


def test_parquet_with_a_damaged_page_has_all_its_rows(tmp_path):
    picture = {"bytes": npy_bytes(RAMP), "path": None}
    images = [{"bytes": fuzzing.picture("PNG"), "path": None}] * 9
    table = pa.table({"image": images, "id": [f"g{k}" for k in range(9)], "z": np.arange(9.0)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=3, use_dictionary=False, compression="zstd")
    about = pq.read_metadata(tmp_path / "x.parquet").row_group(1)
    column = next(about.column(k) for k in range(about.num_columns) if "bytes" in about.column(k).path_in_schema)
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    content[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = bytes(
        column.total_compressed_size
    )
    (tmp_path / "x.parquet").write_bytes(content)
    images = read_images(tmp_path / "x.parquet")
    assert list(images.table["flag"]) == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert list(images.table["id"]) == [f"g{k}" for k in range(9)]
    assert list(images.table["z"]) == list(range(9))  # what is known of them is kept
    assert picture and len(list(parquet_images(tmp_path / "x.parquet", "image"))) == 9


def test_a_cube_cut_short_keeps_what_is_there(tmp_path):
    cube = np.random.default_rng(0).normal(size=(10, 32, 32)).astype("f4")
    content = {"x.fits": fits_bytes(cube), "x.npy": npy_bytes(cube)}
    for name, whole in content.items():
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        found = read_images(tmp_path / name)
        assert len(found) == 10 and list(found.table["id"]) == [f"x#{k}" for k in range(10)]
        good = np.flatnonzero(found.table["flag"] == 0)
        assert 3 <= len(good) <= 5 and list(good) == list(range(len(good)))
        for k in good:
            np.testing.assert_array_equal(found.pixels[k], cube[k])


def test_an_array_of_no_planes_is_a_row(tmp_path):
    np.save(tmp_path / "none.npy", np.zeros((0, 32, 32), np.float32))
    np.save(tmp_path / "one.npy", RAMP)
    assert sorted(flag for flag, _ in rows(tmp_path)) == [0, Flag.NOT_AN_IMAGE]


def test_a_damaged_map_beside_an_image_is_its_row(tmp_path):
    (tmp_path / "a.fits").write_bytes(fits_bytes(RAMP))
    (tmp_path / "a_psf.fits").write_bytes(b"SIMPLE  = nothing of it")
    (tmp_path / "b.fits").write_bytes(fits_bytes(RAMP))
    found = read_images(tmp_path)
    assert list(found.table["flag"]) == [1, 0] and "PSF" in found.table["flag_text"][0]


def test_a_psf_that_a_row_names_and_that_is_not_there(tmp_path):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", RAMP)
    Table({"file": ["a.npy", "b.npy"], "psf_file": ["gone.fits", ""]}).write(tmp_path / "t.csv")
    found = rows(tmp_path / "t.csv")
    assert [flag for flag, _ in found] == [1, 0] and "PSF" in found[0][1]


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(12, "Cannot allocate memory"), RecursionError("too deep"), KeyError("x")]
)
def test_errors_of_every_kind_have_a_sentence(error):
    picture = failed(error)
    memory = "memory" in str(error) or isinstance(error, MemoryError)
    assert picture.flag == Flag.UNREADABLE and ("memory" in picture.detail) == memory
    assert ("damaged" in picture.detail) != memory and picture.detail.endswith(".")


# --- crashes


@pytest.mark.slow
def test_damage_of_tiles_costs_no_other_image(tmp_path):
    """RICE with other lengths of its tiles makes the decompressor of astropy read behind its data: SIGSEGV."""
    sample = fuzzing.of_fits("x.fits", fuzzing.packed("PLIO_1"), fuzzing.PLANES)
    crashed = 0
    for k in range(30):
        rng = np.random.default_rng(k)
        content = bytearray(sample.content)
        for place in rng.integers(sample.data, sample.data + 8 * fuzzing.PLANES, 3):
            content[place] = rng.integers(256)
        (tmp_path / "x.fits").write_bytes(content)
        np.save(tmp_path / "y.npy", RAMP)
        found = rows(tmp_path)
        assert len(found) == fuzzing.PLANES + 1 and found[-1] == (0, "")
        crashed += any("crashed (SIG" in text for _, text in found)
    assert crashed


@pytest.mark.parametrize(("axes", "good", "bad"), [((10, 12, 12), 3, 7), ((10**6, 12, 12), 0, 1), ((12, 12), 0, 1)])
def test_a_packed_image_has_no_more_tiles_than_rows(tmp_path, axes, good, bad):
    """A million planes that the table has three rows for took minutes, and none of the rows could be used."""
    held = np.stack([RAMP[:12, :12]] * 3)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(held, tile_shape=(1, 12, 12))]).writeto(tmp_path / "x.fits")
    with fits.open(tmp_path / "x.fits", disable_image_compression=True, mode="update") as hdus:
        header = hdus[1].header
        for k, n in enumerate(axes[::-1], 1):
            header[f"ZNAXIS{k}"] = n
        header["ZNAXIS"] = len(axes)
        if len(axes) == 2:  # rows of the image are its tiles, by the standard
            for k in (1, 2, 3):
                del header[f"ZTILE{k}"]
    damaged = ["damaged" in text for _, text in within(30, rows, tmp_path)]
    assert damaged == [False] * good + [True] * bad


@pytest.mark.parametrize("kind", ["image", "table", "VOTable", "PSF"])
def test_a_header_of_countless_columns_is_a_sentence(tmp_path, kind):
    """astropy looks for the cards of each of them."""
    packed = fits.CompImageHDU(RAMP) if kind in ("image", "PSF") else fits.BinTableHDU(Table({"id": ["a"]}))
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(file)
    content = file.getvalue()
    start = content.index(b"TFIELDS =")
    content = content[:start] + b"TFIELDS =         123456789012" + content[start + 30 :]
    path = tmp_path / ("x.vot" if kind == "VOTable" else "x.fits")
    if kind == "VOTable":
        head = b'<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
        head += b'<FIELD name="id" datatype="char"/><DATA><FITS><STREAM encoding="base64">'
        content = head + base64.b64encode(content) + b"</STREAM></FITS></DATA></TABLE></RESOURCE></VOTABLE>"
    path.write_bytes(content)
    if kind == "image":
        assert "123,456,789,012 columns" in within(10, rows, tmp_path)[0][1]
        return
    with pytest.raises(UsageError, match="123,456,789,012 columns"):
        within(10, read_psf if kind == "PSF" else read_table, path)


def killing(number):
    """Yields numbers, and crashes at 3."""
    for k in range(number):
        if k == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        yield k


def raising():
    yield 0
    raise ZeroDivisionError("of a library")


@pytest.mark.slow
def test_what_crashes_apart_is_an_error_here():
    for _ in range(3):
        items = apart("tests.images.test_borders:killing", 9)
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(Crashed, match="SIGSEGV"):
            next(items)
    assert list(apart("tests.images.test_borders:killing", 3)) == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        list(apart("tests.images.test_borders:raising"))
    few = apart("tests.images.test_borders:killing", 3)
    assert next(few) == 0
    few.close()
    assert list(apart("tests.images.test_borders:killing", 2)) == [0, 1]


POISONED = []  # in a process apart: whether memory is as it should be


def poisoning(how):
    POISONED.append(how)
    yield len(POISONED)
    if how == "error":
        raise ValueError("damaged")


def after_it(number):
    for k in range(number):
        if POISONED and k >= 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        yield k


@pytest.mark.slow
def test_what_a_damaged_file_leaves_behind_does_no_harm_to_the_next():
    """As a decompressor that writes beyond its memory does: the next call crashes, or works in a fresh process."""
    assert list(apart("tests.images.test_borders:poisoning", "quietly")) == [1]
    with pytest.raises(Crashed) as crash:
        list(apart("tests.images.test_borders:after_it", 3))
    assert crash.value.spoiled  # worth another try
    assert list(apart("tests.images.test_borders:after_it", 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="damaged"):
        list(apart("tests.images.test_borders:poisoning", "error"))
    assert list(apart("tests.images.test_borders:after_it", 3)) == [0, 1, 2]
    with pytest.raises(Crashed) as crash:
        list(apart("tests.images.test_borders:killing", 9))
    with pytest.raises(Crashed) as crash:
        list(apart("tests.images.test_borders:killing", 9))
    assert not crash.value.spoiled  # its own fault


@pytest.mark.slow
def test_an_image_whose_process_was_spoiled_is_read_again(monkeypatch, tmp_path):
    tries = []

    def pictures(*_):
        tries.append(1)
        if len(tries) == 1:
            raise Crashed("not of this file", spoiled=True)
        return 1, iter([failed(Crashed("read"))])

    monkeypatch.setattr("emeraldcut.images.formats._pictures", pictures)
    assert [picture.detail for picture in read_file(tmp_path / "x.fits.fz")] == ["read."]


def test_a_crash_after_the_last_image_adds_no_row(monkeypatch, tmp_path):
    def crashing():
        yield from (failed(Crashed("early")), failed(Crashed("early")))
        raise Crashed("late")

    monkeypatch.setattr("emeraldcut.images.formats._pictures", lambda *_: (2, crashing()))
    assert [picture.detail for picture in read_file(tmp_path / "x.fits.fz")] == ["early.", "early."]


@pytest.mark.slow
def test_what_hangs_apart_ends(monkeypatch):
    monkeypatch.setattr("emeraldcut.runs.apart.SLOWEST_S", 1)
    with pytest.raises(Crashed, match="did not come to an end in 1 s"):
        within(30, list, apart("tests.images.test_borders:endless"))


def endless():
    while True:
        pass
    yield


class Named:
    """A chunk of named images of which the reading of some kills the process."""

    def __init__(self, numbers, deadly=()):
        self.numbers, self.deadly = list(numbers), set(deadly)

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, part):
        return Named(self.numbers[part], self.deadly)

    def load(self, lost=None):
        for place, number in enumerate(self.numbers):
            if number in self.deadly and place not in (lost or {}):
                os.kill(os.getpid(), signal.SIGSEGV)
        return SimpleNamespace(numbers=self.numbers, lost=dict(lost or {}))


def as_is(chunk):
    return chunk


@pytest.mark.slow
def test_a_worker_that_dies_of_an_image_costs_that_image():
    chunks = [Named(range(4 * k, 4 * k + 4), deadly={5, 6}) for k in range(3)]
    done = list(map_chunks(as_is, chunks, jobs=2))
    assert [one.numbers for one in done] == [list(range(4 * k, 4 * k + 4)) for k in range(3)]
    assert [sorted(one.lost) for one in done] == [[], [1, 2], []]
    assert all("SIGSEGV" in why for one in done for why in one.lost.values())


@pytest.mark.slow
def test_workers_of_a_script_without_a_guard_say_so(tmp_path):
    script = "from emeraldcut.runs import map_chunks\nprint(list(map_chunks(len, [[1], [2]], jobs=2)))\n"
    (tmp_path / "script.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode != 0 and "__name__ == '__main__'" in ended.stderr and "lack of memory" not in ended.stderr


# --- claims


def header_bomb(content=b"", fill=b" ", megabytes=400):
    """A gzip file of a beginning and a long rest."""
    file = io.BytesIO()
    with gzip.open(file, "wb", compresslevel=1) as target:
        target.write(content)
        part = fill * 10**7
        for _ in range(megabytes // 10):
            target.write(part)
    return file.getvalue()


BOMBS = {
    "zeros.fits.gz": partial(header_bomb, b"", b"\0"),
    "image and zeros.fits.gz": partial(header_bomb, fits_bytes(RAMP), b"\0"),
    "header.fits.gz": partial(header_bomb, b"SIMPLE  =                    T".ljust(80)),
    "million.npy": lambda: npy_bytes(np.zeros((2, 8, 8), "f4")).replace(b"(2, 8, 8), ", b"(9**9,8,8),"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_at_once(tmp_path, name):
    (tmp_path / name).write_bytes(BOMBS[name]())
    ((flag, _),) = within(20, rows, tmp_path / name)
    assert flag == Flag.UNREADABLE


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_cube_that_claims_a_long_axis_ends_at_once(tmp_path, axis):
    cube = fits_bytes(np.random.default_rng(0).random((3, 16, 16), np.float32))
    value = b"3" if axis == 3 else b"16"
    whole = f"NAXIS{axis}  =".encode() + value.rjust(21)
    assert whole in cube
    (tmp_path / "x.fits").write_bytes(cube.replace(whole, f"NAXIS{axis}  =".encode() + b"2147483648".rjust(21)))
    ((flag, text),) = within(20, rows, tmp_path / "x.fits")
    assert flag == Flag.UNREADABLE and "2147483648" in text


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("first", [0, 1])
def test_pages_of_a_tiff_that_lead_back_are_a_sentence(tmp_path, big, first):
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path, bigtiff=big) as file:
        for k in range(3):
            file.write(RAMP + k, photometric="minisblack", contiguous=False)
    assert [flag for flag, _ in rows(path)] == [0, 0, 0]
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
        last = file.pages[2]
        end = last.offset + file.tiff.tagnosize + len(last.tags) * file.tiff.tagsize
        link = struct.pack(file.tiff.offsetformat, offsets[first])
    content = bytearray(path.read_bytes())
    content[end : end + len(link)] = link
    path.write_bytes(content)
    ((flag, text),) = within(10, rows, path)
    assert flag == Flag.UNREADABLE and "lead back" in text


@pytest.mark.parametrize("packed", [1, 5, 7, 8, 32773, 32946, 34925, 50000])
def test_a_short_tiff_that_claims_a_large_image_ends_at_once(tmp_path, packed):
    """361 megapixels in 140 bytes, by every way of packing: the first took 3.5 GB of memory."""
    values = {256: 19_000, 257: 19_000, 258: 8, 259: packed, 262: 1, 273: 0, 277: 1, 278: 19_000, 279: 10}
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    (tmp_path / "x.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, len(values)) + tags + bytes(4))
    ((flag, text),) = within(10, rows, tmp_path / "x.tif")
    assert flag == Flag.UNREADABLE and "claims 19000 x 19000 pixels" in text


SHORT_AND_EMPTY = {
    "x.dat": lambda: b"1.0\n" * 400,
    "x.fits": lambda: fits_bytes(RAMP),
    "x.npy": lambda: npy_bytes(RAMP),
    "x.png": lambda: fuzzing.picture("PNG"),
    "x.tif": fuzzing.tiff,
    "x.h5": lambda: b"\x89HDF\r\n\x1a\n",
    "x.fits.gz": lambda: gzip.compress(fits_bytes(RAMP)),
}


@pytest.mark.parametrize("name", SHORT_AND_EMPTY)
def test_what_is_followed_by_nothing_for_100_gigabytes_ends_at_once(tmp_path, name):
    """A file that has hardly any content on the disk."""
    (tmp_path / name).write_bytes(SHORT_AND_EMPTY[name]())
    os.truncate(tmp_path / name, 10**11)
    assert 1 <= len(within(20, rows, tmp_path / name)) <= 3


def test_an_array_that_claims_a_million_planes(tmp_path):
    file = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 64, 64)}
    np.lib.format.write_array_header_1_0(file, about)
    (tmp_path / "x.npy").write_bytes(file.getvalue()[:128])
    ((flag, text),) = rows(tmp_path / "x.npy")
    assert flag == Flag.UNREADABLE and "claims 1000000 x 64 x 64" in text


def test_limits_can_be_raised(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((1100, 1000), np.float32))
    ((flag, text),) = rows(tmp_path / "x.npy", largest_megapixels=1)
    assert flag == Flag.UNREADABLE and "--largest-megapixels" in text
    assert rows(tmp_path / "x.npy", largest_megapixels=2) == [(0, "")]
    (tmp_path / "x.fits.gz").write_bytes(gzip.compress(fits_bytes(np.zeros((600, 600), "f4") + RAMP[0, 1])))
    ((flag, text),) = rows(tmp_path / "x.fits.gz", largest_unpacked_gb=1e-3)
    assert flag == Flag.UNREADABLE and "--largest-unpacked-gb" in text


def test_chunks_are_counted_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "CHUNK_BYTES", 3 * RAMP.nbytes)
    monkeypatch.setattr("emeraldcut.images.store.CHUNK_BYTES", 3 * RAMP.nbytes)
    for k in range(10):
        np.save(tmp_path / f"{k}.npy", np.tile(RAMP, (2, 2)) if k == 4 else RAMP)
    source = open_images(tmp_path)
    sizes = [len(chunk) for chunk in source.chunks(5)]
    assert sizes == [3, 1, 1, 3, 2]
    write_images(source.chunks(), tmp_path / "set", command="test")
    stored = open_images(tmp_path / "set")
    assert [len(chunk) for chunk in stored.chunks(5)] == [3, 1, 1, 3, 2]
    ids = [name for chunk in source.chunks(5) for name in chunk.table["id"]]
    for one in (source, stored):
        for done in range(11):
            after = [name for chunk in one.chunks_after(done, 5) for name in readers.loaded(chunk).table["id"]]
            assert after == ids[done:]


@pytest.mark.slow
def test_large_images_are_few_at_a_time(tmp_path):
    """30 images of 2,000 x 2,000 take the memory of some, not of all."""
    for k in range(30):
        np.save(tmp_path / f"{k}.npy", np.random.default_rng(k).random((2000, 2000), np.float32))
    code = (
        "import resource, sys; from emeraldcut.images import open_images; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "n = sum(len(chunk) for chunk in open_images(sys.argv[1]).chunks()); "
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    said = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True)
    number, grown_kb = map(int, said.stdout.split())
    assert number == 30 and grown_kb < 30 * 16_000 * 0.75


@pytest.mark.slow
def test_lack_of_memory_is_no_damage(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((4000, 4000), np.float32))
    code = (
        "import resource, sys; from emeraldcut.images import read_images; import emeraldcut.images.formats; "
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize(); "
        "resource.setrlimit(resource.RLIMIT_AS, (size + 30_000_000, -1)); "
        "print(read_images(sys.argv[1]).table['flag_text'][0])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    if not Path("/proc/self/statm").exists():
        pytest.skip("the memory of a process is limited here as Linux does it")
    said = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.npy")], env=environment, capture_output=True)
    assert b"not enough memory" in said.stdout and b"damaged" not in said.stdout, said
    assert resource.RLIMIT_AS


def test_long_texts_are_cut(tmp_path):
    np.save(tmp_path / "a.npy", RAMP)
    np.save(tmp_path / "b.npy", RAMP)
    words = ["x" * 10**6, "x" * 10**6 + "y"]
    Table({"id": words, "file": ["a.npy", "b.npy"], "note": words}).write(tmp_path / "t.parquet")
    images = read_images(tmp_path / "t.parquet")
    ids = list(images.table["id"])
    assert len(set(ids)) == 2 and max(map(len, ids)) == readers.LONGEST_ID
    assert max(map(len, images.table["note"])) == readers.LONGEST_TEXT


@pytest.mark.parametrize(
    "words", [["simulate", "--orbits"], ["synthesise", "--number"], ["simulate", "--star-particles"]]
)
def test_numbers_that_no_run_ends_with_are_refused(words, tmp_path, capsys):
    begun = time.monotonic()
    assert cli.main([*words, "1000000000", "--output", str(tmp_path / "run")]) == 2
    assert "must be from" in capsys.readouterr().err and time.monotonic() - begun < 30


# --- our own sets


def test_a_set_notices_each_damage_of_its_pixels(tmp_path):
    """29 of 30 damages were silent."""
    stored = fuzzing.StoredSample(tmp_path)
    whole = np.frombuffer(stored.sample.content, np.uint8)
    noticed = 0
    for k in range(30):
        content = whole.copy()
        place = np.random.default_rng(k).integers(len(content) // 2, len(content))
        content[place] ^= 0x55
        noticed += stored.check(content.tobytes()) < fuzzing.PLANES  # and never gives other pixels
    assert noticed


def test_a_damaged_block_of_a_set_is_flagged_rows(tmp_path):
    number = 40
    table = Table({"id": [f"g{k}" for k in range(number)]})
    images = np.random.default_rng(0).normal(size=(number, 16, 16)).astype("f4")
    write_images(ImageSet(images, table), tmp_path / "set", command="test")
    with h5py.File(tmp_path / "set" / "images.h5") as file:
        place = file["pixels"].id.get_chunk_info(1).byte_offset
    content = bytearray((tmp_path / "set" / "images.h5").read_bytes())
    content[place + 200] ^= 255
    (tmp_path / "set" / "images.h5").write_bytes(content)
    found = read_images(tmp_path / "set")
    bad = np.flatnonzero(found.table["flag"])
    assert list(bad) == list(range(16, 32))
    for k in sorted({*range(number)} - {*bad.tolist()}):
        np.testing.assert_array_equal(found.pixels[k], images[k])


def test_how_many_could_not_be_read_is_said(tmp_path):
    np.save(tmp_path / "a.npy", RAMP)
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY nothing")
    said = []
    with listening(said.append):
        stage = lambda images: images.table.copy()  # noqa: E731
        apply_to_images(stage, tmp_path, ReadSettings(), tmp_path / "t.parquet", command="x")
    assert said[0] == "1 of 2 images could not be read; the rows of these are flagged and say why."
    table = read_table(tmp_path / "t.parquet")
    assert table.meta["provenance"]["unreadable_images"] == 1 and len(table) == 2


def test_a_file_is_read_from_any_plane_on(tmp_path):
    cube = np.random.default_rng(0).normal(size=(5, 16, 16)).astype("f4")
    (tmp_path / "x.fits").write_bytes(fits_bytes(cube))
    (tmp_path / "x.npy").write_bytes(npy_bytes(cube))
    unit = fits.CompImageHDU(cube, compression_type="GZIP_1", quantize_level=0)
    (tmp_path / "y.fits").write_bytes(fits_bytes(fits.PrimaryHDU(), unit))
    for name in ("x.fits", "x.npy", "y.fits"):
        pictures = list(read_file(tmp_path / name, start=3))
        assert [picture.index for picture in pictures] == [3, 4]
        np.testing.assert_array_equal(pictures[0].pixels, cube[3])


# --- what headers claim besides pixels


PSF = np.exp(-np.hypot(*np.mgrid[-7:8, -7:8]) / 2).astype("f4")


@pytest.mark.parametrize("cards", [{"PSF_SAMP": 1e6}, {"PSF_SAMP": 1e300}, {"PSF_SAMP": 0.0}, {"PSF_SAMP": -1.0}])
def test_a_psf_that_claims_to_be_huge_is_a_sentence(tmp_path, cards):
    unit = fits.ImageHDU(PSF, fits.Header(cards), name="PSF")
    (tmp_path / "a.fits").write_bytes(fits_bytes(fits.PrimaryHDU(RAMP), unit))
    (tmp_path / "b.fits").write_bytes(fits_bytes(RAMP))
    found = within(20, rows, tmp_path)
    assert [flag for flag, _ in found] == [1, 0] and "PSF" in found[0][1]
    (tmp_path / "psf.fits").write_bytes(fits_bytes(fits.PrimaryHDU(PSF, fits.Header(cards))))
    with pytest.raises(UsageError, match="PSF"):
        within(20, rows, tmp_path / "b.fits", psf=str(tmp_path / "psf.fits"))


def test_a_psf_is_no_mosaic(tmp_path):
    (tmp_path / "psf.fits").write_bytes(fits_bytes(np.ones((3, LARGEST_SIDE_PIX + 1), "f4")))
    with pytest.raises(UsageError, match="at most 2048 pixels along a side"):
        read_psf(tmp_path / "psf.fits")


def test_scales_of_images_that_make_a_psf_huge_cost_their_rows_alone(tmp_path):
    """The PSF of all images says its pixels on the sky; one image says that its own are 10^-9 arcsec wide."""
    (tmp_path / "psf.fits").write_bytes(fits_bytes(fits.PrimaryHDU(PSF, fits.Header({"PIXSCALE": 0.1}))))
    folder = tmp_path / "images"
    folder.mkdir()
    for name, scale in (("a", 1e-9), ("b", 0.2)):
        (folder / f"{name}.fits").write_bytes(fits_bytes(fits.PrimaryHDU(RAMP, fits.Header({"PIXSCALE": scale}))))
    found = within(20, rows, folder, psf=str(tmp_path / "psf.fits"))
    assert [flag for flag, _ in found] == [1, 0] and "PSF" in found[0][1]


@pytest.mark.parametrize("card", ["POLDEG1", "NROW_B"])
def test_models_of_psfs_that_claim_many_parts_end_at_once(tmp_path, card):
    sample = fuzzing.OTHERS["psf of psfex" if card == "POLDEG1" else "psf of a field"]()
    with fits.open(io.BytesIO(sample.content)) as units:
        if card == "POLDEG1":
            units[1].header[card] = 10**9
        else:
            units[1].data[card] = 2**31 - 1
        (tmp_path / "x.psf").write_bytes(fits_bytes(*units))
    psf = within(20, read_psf, tmp_path / "x.psf", "u")
    assert len(psf.parts) == (1 if card == "POLDEG1" else 4)


@pytest.mark.parametrize("card", ["WCSAXES", "A_ORDER", "BP_ORDER"])
@pytest.mark.parametrize("number", [20_000, 2**31 - 1, -5])
def test_a_wcs_that_claims_much_is_none(tmp_path, card, number):
    with fits.open(io.BytesIO(fuzzing.on_the_sky())) as units:
        units[0].header[card] = number
        units.writeto(tmp_path / "x.fits", output_verify="ignore")
    images = within(20, read_images, tmp_path / "x.fits")
    assert list(images.table["flag"]) == [0] and "ra" not in images.table.colnames
    assert "no position" in images.table["read_as"][0]


def test_headers_print_nothing(tmp_path, capfd):
    """Astropy says on standard output what it thinks of distortions that the axes do not name."""
    with fits.open(io.BytesIO(fuzzing.on_the_sky())) as units:
        units[0].header["CTYPE1"], units[0].header["CTYPE2"] = "RA---TAN", "DEC--TAN"
        units.writeto(tmp_path / "x.fits")
    assert "ra" in read_images(tmp_path / "x.fits").table.colnames
    assert capfd.readouterr() == ("", "")


def test_a_psf_of_a_row_of_a_mosaic_costs_that_row_alone(tmp_path):
    (tmp_path / "m.fits").write_bytes(fits_bytes(np.tile(RAMP, (8, 8))))
    (tmp_path / "psf.fits").write_bytes(fits_bytes(PSF))
    listed = {"x": [50.0, 60.0, 70.0], "y": [50.0, 60.0, 70.0], "psf_file": ["gone.fits", "psf.fits", ""]}
    Table(listed).write(tmp_path / "t.csv")
    cwd = os.getcwd()
    os.chdir(tmp_path)
    try:
        found = rows("m.fits", catalogue="t.csv", cutout_size=16)
    finally:
        os.chdir(cwd)
    assert [flag for flag, _ in found] == [1, 0, 0] and "PSF" in found[0][1]
