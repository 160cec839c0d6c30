"""Tables that somebody else made: they lead to no other file or server, and claim no more than they can hold."""

import gzip
import os
import struct
import time
import urllib.request

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from pyarrow import feather

from emeraldcut.errors import UsageError, WorkError
from emeraldcut.tables import files, foreign, read_table, write_table
from emeraldcut.tables.foreign import parsed_votable
from tests.helpers import fits_bytes

FIELD = '<FIELD name="x" datatype="double"/>'
FORMS = {
    "binary": "<BINARY><STREAM {href}/></BINARY>",
    "binary2": "<BINARY2><STREAM {href}></STREAM></BINARY2>",
    "fits": '<FITS extnum="1"><STREAM {href}/></FITS>',
    "parquet": '<PARQUET type="VOTable-remote-file"><STREAM {href}/></PARQUET>',
}


def votable(data, before=""):
    return (
        f'<?xml version="1.0"?>{before}<VOTABLE version="1.4"><RESOURCE><TABLE>{FIELD}<DATA>{data}</DATA></TABLE>'
        "</RESOURCE></VOTABLE>"
    )


def hidden(href):
    """A document in which the link comes out of an entity alone."""
    return votable(
        "&d;", f"<!DOCTYPE VOTABLE [<!ENTITY d \"&#60;BINARY>&#60;STREAM &#104;ref='{href}'/>&#60;/BINARY>\">]>"
    )


@pytest.fixture
def asked(monkeypatch):
    """The addresses that astropy opens."""
    opened = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, *rest, **more: opened.append(url) or 1 / 0)
    return opened


@pytest.mark.parametrize("scheme", ["file:///etc/passwd", "http://127.0.0.1:1/x", "ftp://127.0.0.1/x"])
@pytest.mark.parametrize("form", [*FORMS, "prefix", "utf-16", "entity"])
def test_a_votable_leads_nowhere_else(tmp_path, form, scheme, asked):
    link = f'href="{scheme}"'
    text = votable(FORMS.get(form, FORMS["binary"]).format(href=link))
    if form == "prefix":
        text = text.replace("<VOTABLE", '<v:VOTABLE xmlns:v="http://www.ivoa.net/xml/VOTable/v1.3"')
        text = text.replace("</", "</v:").replace("<v:v:", "<v:")
        for name in ("RESOURCE", "TABLE>", "FIELD", "DATA", "BINARY", "STREAM"):
            text = text.replace(f"<{name}", f"<v:{name}")
    content = hidden(scheme).encode() if form == "entity" else text.encode("utf-16" if form == "utf-16" else "utf-8")
    path = tmp_path / "t.vot"
    path.write_bytes(content)
    for read in (read_table, lambda path: parsed_votable(path.read_bytes())):
        with pytest.raises(UsageError):
            read(path)
    assert not asked


def test_a_votable_may_have_its_fits_data_beside_it_and_nowhere_else(tmp_path):
    """As STILTS writes votable-fits."""
    unit = fits.BinTableHDU(Table({"x": [1.5, 2.5]}))
    (tmp_path / "in").mkdir()
    for folder in (tmp_path, tmp_path / "in"):
        (folder / "t-data.fits").write_bytes(fits_bytes(fits.PrimaryHDU(), unit))
    for name in (
        "t-data.fits",
        "../t-data.fits",
        f"{tmp_path}/t-data.fits",
        f"file://{tmp_path}/t-data.fits",
        "gone.fits",
    ):
        path = tmp_path / "in" / "t.vot"
        path.write_text(votable(FORMS["fits"].format(href=f'href="{name}"')))
        if name == "t-data.fits":
            assert list(read_table(path)["x"]) == [1.5, 2.5]
        else:
            with pytest.raises(UsageError, match="its data are in"):
                read_table(path)


@pytest.mark.slow
def test_what_unpacks_to_zeros_ends_at_once(tmp_path):
    """1 GB of them; and a file of 10^12 bytes that has no content on disk."""
    with gzip.open(tmp_path / "t.csv.gz", "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(bytes(10**7))
    for ending in (".csv", ".txt", ".ecsv", ".vot", ".out"):
        (tmp_path / f"t{ending}").touch()
        os.truncate(tmp_path / f"t{ending}", 10**12)
    for path in sorted(tmp_path.iterdir()):
        begun = time.monotonic()
        with pytest.raises(UsageError, match="first line has more than 1,000,000 letters"):
            read_table(path)
        assert time.monotonic() - begun < 5


BEGINNINGS = {
    "t.csv": b"id,x\n1,2\n", "t.csv.gz": gzip.compress(b"id,x\n1,2\n"), "t.parquet": b"PAR1",
    "t.fits": fits_bytes(fits.PrimaryHDU(), fits.BinTableHDU(Table({"x": [1.5]}))),
}  # fmt: skip


@pytest.mark.parametrize("name", BEGINNINGS)
def test_zeros_after_what_is_there_end_soon(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BEGINNINGS[name])
    os.truncate(path, 10**11)
    begun = time.monotonic()
    with pytest.raises(UsageError):
        read_table(path)
    assert time.monotonic() - begun < 20


def test_what_unpacks_to_too_much_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "LARGEST_UNPACKED_BYTES", 10_000)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"id,x\n" + b"1,2.5\n" * 3000))
    with pytest.raises(UsageError, match="unpacks to more than"):
        read_table(tmp_path / "t.csv.gz")
    (tmp_path / "u.csv.gz").write_bytes(gzip.compress(b"id,x\n" + b"1,2.5\n" * 30))
    assert len(read_table(tmp_path / "u.csv.gz")) == 30


def test_rows_that_a_file_cannot_hold_are_a_sentence(tmp_path, monkeypatch):
    """10^9 equal values take some hundred bytes, and 8 GB of memory."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": np.zeros(10**7)}), path, row_group_size=10**7)
    monkeypatch.setattr(files, "LARGEST_UNPACKED_BYTES", 10**7)
    begun = time.monotonic()
    with pytest.raises(UsageError, match="it claims 10,000,000 rows in"):
        read_table(path)
    assert time.monotonic() - begun < 5
    monkeypatch.setattr(files, "LARGEST_UNPACKED_BYTES", 10**9)
    assert len(read_table(path)) == 10**7


def test_lack_of_memory_is_said_as_that(tmp_path, monkeypatch):
    write_table(Table({"x": [1.0]}), tmp_path / "t.ecsv")

    def full(path):
        raise MemoryError

    monkeypatch.setitem(files._READERS, ".ecsv", full)
    with pytest.raises(WorkError, match="not enough memory to read the table"):
        read_table(tmp_path / "t.ecsv")


def test_a_pipe_beside_a_table_does_not_wait(tmp_path):
    (tmp_path / "t.csv").write_text("id,x\na,1\n")
    os.mkfifo(tmp_path / "t.csv.manifest.json")
    begun = time.monotonic()
    with pytest.raises(UsageError, match="named pipe"):
        read_table(tmp_path / "t.csv")
    assert time.monotonic() - begun < 5


def test_places_of_texts_behind_their_end_are_a_sentence(tmp_path):
    """Arrow does not look at them by itself, and whoever reads the texts crashes."""
    path = tmp_path / "t"
    feather.write_feather(pa.table({"file": ["aaa.npy", "bbb.npy"]}), path, compression="uncompressed")
    content = path.read_bytes()
    offsets = struct.pack("<3i", 0, 7, 14)
    assert content.count(offsets) == 1
    path.write_bytes(content.replace(offsets, struct.pack("<3i", 0, 2**30, 2**30 + 5)))
    with pytest.raises(UsageError, match="cannot be read as a table"):
        read_table(path)


@pytest.mark.parametrize("rows", ["1 2.5\n", ""], ids=["rows", "no rows"])
@pytest.mark.parametrize("number", [10**8, int("9" * 40)])
def test_a_column_of_sextractor_far_beyond_the_others_is_a_sentence(tmp_path, number, rows):
    """Astropy makes all columns up to there."""
    (tmp_path / "t.cat").write_text(f"#   1 NUMBER object\n#   {number} FLUX_AUTO flux [count]\n{rows}")
    with pytest.raises(UsageError, match="header names a column"):
        read_table(tmp_path / "t.cat")


@pytest.mark.parametrize("number", ["4611686018427387904", "99999"])
def test_a_header_of_sextractor_with_countless_columns_ends_at_once(tmp_path, number):
    """Whether its first column says that it is one, or astropy guesses so."""
    for first in ("#   1 NUMBER  Running number", "#   0 NUMBER  Running number"):
        path = tmp_path / "x.cat"
        path.write_text(f"{first}\n#   {number} ALPHA_J2000  Position  [deg]\n 1 2.5\n 2 3.5\n")
        begun = time.monotonic()
        with pytest.raises(UsageError, match="x.cat"):
            read_table(path)
        assert time.monotonic() - begun < 2


def test_comments_that_begin_with_a_number_are_comments(tmp_path):
    (tmp_path / "x.txt").write_text("# seen in\n# 2020 June\nid z\n a 0.5\n b 0.7\n")
    found = read_table(tmp_path / "x.txt")
    assert found.colnames == ["id", "z"] and list(found["z"]) == [0.5, 0.7]
