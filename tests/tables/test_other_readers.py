"""Our tables in the hands of others: astropy, pandas, polars, STILTS; units, descriptions and meta are there."""

import shutil
import subprocess
import warnings

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from emeraldcut.data import ImageSet, describe_columns
from emeraldcut.errors import UsageError
from emeraldcut.images import ReadSettings, apply_to_images, write_images
from emeraldcut.tables import read_table, write_table


def sample():
    table = Table({"id": ["a", "0012"], "flag_text": ["", ""], "ra": [1.5, 2.5], "a4": [0.1, np.nan]})
    table["rank"] = MaskedColumn([1, 2], mask=[False, True])
    table["objid"] = np.array([2**64 - 1, 1], dtype=np.uint64)
    return describe_columns(table)


def streamed(path):
    """The same as a command writes it, in parts."""
    images = ImageSet(np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32), sample())
    write_images(images, path.with_name("set"), command="x")
    return apply_to_images(lambda chunk: chunk.table.copy(), path.with_name("set"), ReadSettings(), path, command="x")


@pytest.mark.parametrize("write", [lambda path: write_table(sample(), path, provenance={"seed": 3}), streamed])
def test_astropy_reads_parquet(tmp_path, write):
    pytest.importorskip("pandas")
    path = write(tmp_path / "t.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = Table.read(path)
    assert list(table["id"]) == ["a", "0012"] and list(table["flag_text"]) == ["", ""]
    assert str(table["ra"].unit) == "deg" and "ICRS" in table["ra"].description
    assert table.meta["provenance"]["seed"] in (3, None) and int(table["objid"][0]) == 2**64 - 1
    ours = read_table(path)
    assert str(ours["ra"].unit) == "deg" and ours["rank"].mask.tolist() == [False, True]


def test_pandas_reads_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(write_table(sample(), tmp_path / "t.parquet"))
    assert frame["id"].tolist() == ["a", "0012"] and int(frame["objid"][0]) == 2**64 - 1
    assert frame["flag_text"].tolist() == ["", ""] and frame["rank"].isna().tolist() == [False, True]


def test_polars_reads_parquet(tmp_path):
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(write_table(sample(), tmp_path / "t.parquet"))
    assert frame["id"].to_list() == ["a", "0012"] and frame["objid"][0] == 2**64 - 1
    assert frame["flag_text"].to_list() == ["", ""] and frame["rank"].to_list() == [1, None]


def test_what_astropy_and_voparquet_say_in_parquet_is_read(tmp_path):
    pytest.importorskip("pandas")
    table = Table({"x": MaskedColumn([1.0, 2.0], mask=[False, True], unit="mag")}, meta={"survey": "s"})
    table.write(tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert read.colnames == ["x"] and str(read["x"].unit) == "mag" and read["x"].mask.tolist() == [False, True]
    assert read.meta == {"survey": "s"}
    about = {"lon": {"unit": "rad", "ucd": "pos.eq.ra;meta.main", "description": "where"}}
    Table({"lon": [0.5]}).write(tmp_path / "v.parquet", format="parquet.votable", metadata=about)
    column = read_table(tmp_path / "v.parquet")["lon"]
    assert str(column.unit) == "rad" and column.description == "where" and column.meta["ucd"] == about["lon"]["ucd"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("stilts") is None, reason="STILTS is not installed (Debian's package `stilts`)")
def test_stilts_accepts_votables_and_reads_fits(tmp_path):
    """Its colfits and the forms of VOTable that it writes are read too, or are one sentence."""
    path = write_table(sample(), tmp_path / "t.vot")
    checked = subprocess.run(["stilts", "votlint", f"votable={path}"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and "ERROR" not in checked.stdout + checked.stderr
    forms = {"colfits-basic": "c.colfits", "colfits-plus": "cp.fits", "fits-plus": "p.fits", "fits-var": "v.fits"}
    for form, name in (
        forms | {"votable-binary2": "b.vot", "votable-fits-inline": "i.vot", "votable-fits-href": "h.vot"}
    ).items():
        words = ["stilts", "tcopy", f"in={tmp_path / 't.vot'}", f"ofmt={form}", f"out={tmp_path / name}"]
        subprocess.run(words, capture_output=True, check=True)
        table = read_table(tmp_path / name)
        assert [str(v).strip() for v in table["id"]] == ["a", "0012"] and list(table["ra"]) == [1.5, 2.5], form
        assert str(table["ra"].unit) == "deg" and table["ra"].meta["ucd"].startswith("pos.eq.ra"), form
    for file in tmp_path.glob("h-*.fits"):
        file.unlink()
    with pytest.raises(UsageError, match="which is not there"):
        read_table(tmp_path / "h.vot")
