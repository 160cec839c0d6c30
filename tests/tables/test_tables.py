"""Tables: what is written comes back, in every format; other programs see missing values as missing."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import Angle
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import from_dtype

from emeraldcut.data import COLUMNS, describe_columns
from emeraldcut.tables import check_output, read_catalogue, read_table, write_table
from emeraldcut.tables.files import _CONTROL, _WRITERS, ENDINGS, _pack, _write_ecsv

FULL = (".parquet", ".ecsv", ".fits", ".vot", ".vot.xml")  # formats that keep everything


def sample():
    meta = {"survey": "Fornax – deep", "nested": {"a": [1, 2.5, None]}, "long key of a dict": "v" * 300}
    table = Table(meta=meta)
    table["id"] = np.array(["007", "α \\x41 é", "line\nbreak "], dtype=object)
    table["label"] = MaskedColumn(np.array(["oval", "", "x"], dtype=object), mask=[False, False, True])
    table["reference"] = MaskedColumn(["a", "b", "c"], mask=[True, True, True])
    table["a4"] = MaskedColumn([-0.05, 1.0, 0.01], mask=[False, True, False], description="é a4")
    table["radius_pix"] = np.array([1.5, np.nan, np.inf], dtype=">f4")
    table["radius_pix"].unit = "pix"
    table["rank"] = MaskedColumn([-1, 2, 3], mask=[False, True, False])
    table["flag"] = np.array([0, 2**40, -7])
    table["scored"] = [True, False, True]
    table["maybe"] = MaskedColumn([True, True, False], mask=[False, True, False])
    table["flag_text"] = ["", "Bad.", ""]
    return table


def assert_same(written, read, attributes=True):
    assert read.colnames == written.colnames and len(read) == len(written)
    for name in written.colnames:
        ours, theirs = written[name], read[name]
        mask = np.ma.getmaskarray(ours)
        np.testing.assert_array_equal(np.ma.getmaskarray(theirs), mask, err_msg=name)
        np.testing.assert_array_equal(np.asarray(ours)[~mask], np.asarray(theirs)[~mask], err_msg=name)
        if attributes:
            assert ours.unit == theirs.unit and (ours.description or "") == (theirs.description or "")


@pytest.mark.parametrize("ending", FULL)
@pytest.mark.parametrize("rows", [3, 0])
def test_everything_survives(tmp_path, ending, rows):
    table = sample()[:rows]
    path = write_table(table, tmp_path / f"é table{ending}", provenance={"command": "tést", "seed": 3})
    read = read_table(path)
    assert_same(table, read)
    assert read.meta == {**table.meta, "provenance": {"command": "tést", "seed": 3}}
    assert read["id"].dtype == object and read["scored"].dtype == bool and read["maybe"].dtype == bool
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_csv_keeps_values_and_has_its_origin_beside(tmp_path):
    table = sample()
    path = write_table(table, tmp_path / "t.csv", provenance={"seed": 5})
    read = read_table(path)
    assert_same(table, read, attributes=False)
    beside = json.loads((tmp_path / "t.csv.manifest.json").read_text())
    assert beside == {"seed": 5} == read.meta["provenance"]


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.none() | text, min_size=1, max_size=5),
    number=st.none() | st.integers(-(2**62), 2**62),
    real=st.none() | st.floats(allow_nan=False),
    ending=st.sampled_from((*FULL, ".csv")),
)
@example(texts=["#", None], number=None, real=None, ending=".ecsv")
def test_any_value_survives(tmp_path_factory, texts, number, real, ending):
    n = len(texts) + 1
    mask = [t is None for t in texts] + [False]
    table = Table({"id": MaskedColumn(np.array([*(t or "" for t in texts), "end"], dtype=object), mask=mask)})
    table["rank"] = MaskedColumn([number or 0] * n, mask=[number is None] + [False] * (n - 1))
    table["a4"] = MaskedColumn([real or 0.0] * n, mask=[real is None] + [False] * (n - 1))
    path = write_table(table, tmp_path_factory.mktemp("any") / f"t{ending}")
    assert_same(table, read_table(path), attributes=False)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(0, 4))
def test_ecsv_is_astropys(tmp_path_factory, data, n):
    kinds = (np.float64, np.float32, np.int64, np.uint8, np.bool_, "str")
    table, words = Table(), st.text(st.characters(exclude_categories=("Cs",), max_codepoint=0x3000), max_size=6)
    for k in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(kinds))
        value = words if kind == "str" else from_dtype(np.dtype(kind))
        values = np.array(data.draw(st.lists(value, min_size=n, max_size=n)), dtype=kind)
        mask = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
        table[f"c {k}"] = MaskedColumn(values, mask=mask, unit="pix", description="of it") if k % 2 else Column(values)
    folder = tmp_path_factory.mktemp("ecsv")
    _write_ecsv(table, folder / "ours.ecsv")
    _pack(table, _CONTROL + "|^#", "always").write(folder / "theirs.ecsv", format="ascii.ecsv")
    assert (folder / "ours.ecsv").read_bytes() == (folder / "theirs.ecsv").read_bytes()


def test_other_programs_see_missing_values(tmp_path):
    table = sample()
    write_table(table, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet")["label"].to_pylist() == ["oval", "", None]
    write_table(table, tmp_path / "t.fits")
    with fits.open(tmp_path / "t.fits") as units:
        units.verify("exception")
        assert list(units[1].data["label"])[2] == ""
        assert units[1].columns["rank"].null == units[1].data["rank"][1] == -2
        assert np.isnan(units[1].data["a4"][1]) and units[1].columns["radius_pix"].unit == "pix"
    write_table(table, tmp_path / "t.vot")
    assert np.ma.getmaskarray(Table.read(tmp_path / "t.vot")["rank"]).tolist() == [False, True, False]
    write_table(table, tmp_path / "t.ecsv")
    assert np.ma.getmaskarray(Table.read(tmp_path / "t.ecsv")["a4"]).tolist() == [False, True, False]


@pytest.mark.parametrize("ending", [".ecsv", ".fits", ".vot", ".csv"])
def test_tables_of_other_programs_are_read(tmp_path, ending):
    theirs = Table({"id": ["a", "b"], "x": [1.5, 2.5], "n": [1, 2]}, meta={"AUTHOR": "me"})
    formats = {".ecsv": "ascii.ecsv", ".fits": "fits", ".vot": "votable", ".csv": "ascii.csv"}
    theirs.write(tmp_path / f"t{ending}", format=formats[ending])
    ours = read_table(tmp_path / f"t{ending}")
    assert list(ours["id"]) == ["a", "b"] and list(ours["x"]) == [1.5, 2.5] and list(ours["n"]) == [1, 2]
    assert ours["id"].dtype == object


def test_errors_are_sentences(tmp_path):
    with pytest.raises(ValueError, match=r"\.parquet, \.ecsv, .*received 't\.xlsx'"):
        write_table(sample(), tmp_path / "t.xlsx")
    (tmp_path / "t.csv").write_text("mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_table(sample(), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "mine"
    assert check_output(tmp_path / "t.csv", overwrite=True) == tmp_path / "t.csv"
    with pytest.raises(ValueError, match="p_oval"):
        write_table(sample(), tmp_path / "t.out")
    with pytest.raises(ValueError, match="one value per row.*'image'"):
        write_table(Table({"image": np.zeros((2, 3))}), tmp_path / "t.parquet")
    with pytest.raises(FileNotFoundError, match="no table"):
        read_table(tmp_path / "gone.fits")
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_tables_are_sentences(tmp_path, ending):
    (tmp_path / f"t{ending}").write_bytes(b"\x00\x01garbage" if ending != ".csv" else b"a,b\n1\n")
    with pytest.raises(ValueError, match="cannot be read as a"):
        read_table(tmp_path / f"t{ending}")


def test_a_write_that_fails_leaves_the_old_table(tmp_path, monkeypatch):
    path = write_table(sample(), tmp_path / "t.parquet")
    before = path.read_bytes()

    def breaks(table, target):
        target.write_bytes(b"half a tab")
        raise OSError("disk full")

    monkeypatch.setitem(_WRITERS, ".parquet", breaks)
    with pytest.raises(OSError, match="disk full"):
        write_table(sample(), path, overwrite=True)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_thesis_format(tmp_path):
    table = Table({"id": ["a", "b", "c"]})
    table["p_oval"] = MaskedColumn([0.1, 0.5, 0.0], mask=[False, False, True])
    table["p_rectangular"] = MaskedColumn([0.3, 0.25, 0.0], mask=[False, False, True])
    table["p_obround"] = MaskedColumn([0.1, 0.25, 0.0], mask=[False, False, True])
    table["p_other"] = [0.5, 0.0, 1.0]
    path = write_table(table, tmp_path / "test21.out")
    assert path.read_text().split("\n") == [
        "3",
        "2 0.200000 0.600000 0.200000",
        "1 0.500000 0.250000 0.250000",
        "0 0.333333 0.333333 0.333333",
        "",
    ]
    read = read_table(path)
    np.testing.assert_allclose(read["p_rectangular"][:2], [0.6, 0.25])
    assert list(read["class"])[:2] == ["rectangular", "oval"]
    assert read["class"].mask.tolist() == [False, False, True]
    path.write_text("5\n1 1 0 0\n")
    with pytest.raises(ValueError, match="promises 5 images"):
        read_table(path)


NAMES = ["RA DEC ID", "RAJ2000 DEJ2000 objid", "ra_deg dec_deg NAME", "ALPHA_J2000 DELTA_J2000 source_id"]


@pytest.mark.parametrize("names", NAMES)
def test_catalogue_names(tmp_path, names):
    values = ([10.5, 11.5], [-35.0, -36.0], [12345678901234567, 2])
    Table(dict(zip(names.split(), values, strict=True))).write(tmp_path / "c.ecsv")
    table = read_catalogue(tmp_path / "c.ecsv")
    assert list(table["ra"]) == [10.5, 11.5] and list(table["dec"]) == [-35.0, -36.0]
    assert list(table["id"]) == ["12345678901234567", "2"]


def test_catalogue_sexagesimal_and_missing(tmp_path):
    text = "# made by hand\nid,RA,Dec\n001,3:40:43.2,-18:38:43\n2,55.18,-18.645\n3,,\n4,?,1\n"
    (tmp_path / "c.csv").write_text(text)
    table = read_catalogue(tmp_path / "c.csv")
    assert list(table["id"]) == ["001", "2", "3", "4"]
    assert table["ra"][0] == pytest.approx(15 * (3 + 40 / 60 + 43.2 / 3600), abs=1e-9)
    assert table["dec"][0] == pytest.approx(Angle("-18d38m43s").deg, abs=1e-9)
    assert table["ra"][1] == 55.18 and table["ra"].mask.tolist() == [False, False, True, True]


def test_columns_follow_the_contract():
    contract = [
        "id",
        "file",
        "label",
        "p_oval",
        "p_rectangular",
        "p_obround",
        "p_other",
        "axis_ratio",
        "position_angle_deg",
        "radius_pix",
        "snr",
        "a3",
        "a4",
        "a4_err",
        "a6",
        "a6_err",
        "a8",
        "a8_err",
        "similarity",
        "similarity_p",
        "reference",
        "score",
        "rank",
        "flag",
        "flag_text",
    ]
    names = [column.name for column in COLUMNS]
    assert names[: len(contract)] == contract and len(set(names)) == len(names)
    table = describe_columns(Table({"mine": [1], "ra": [2.0], "flag": [0], "a4": [0.1], "id": ["x"]}))
    assert table.colnames == ["id", "a4", "flag", "ra", "mine"]
    assert "boxy negative, disky positive" in table["a4"].description and "b4" in table["a4"].description
    assert str(table["ra"].unit) == "deg" and table["mine"].unit is None


@pytest.mark.parametrize("ending", [*FULL, ".csv"])
def test_column_names_of_any_letters(tmp_path, ending):
    table = Table([[1, 2], ["q", "é"], [0.5, 1.5]], names=["µ é", "a\\b", "x-1"])
    table["x-1"].unit = "um"
    assert_same(table, read_table(write_table(table, tmp_path / f"t{ending}")), attributes=ending != ".csv")
