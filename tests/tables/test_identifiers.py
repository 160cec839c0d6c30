"""Identifiers come back digit for digit from every format; other columns keep their type; equal ones take no longer."""

import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from emeraldcut.data import ImageSet
from emeraldcut.images import ReadSettings, apply_to_images, read_images, write_images
from emeraldcut.images.readers import safe_names, unique_ids
from emeraldcut.tables import read_catalogue, read_table, write_table

FORMATS = (".parquet", ".ecsv", ".csv", ".fits", ".vot")
LARGE = np.array([2**64 - 1, 2**63, 2**63 - 1, 14641234567890123456], dtype=np.uint64)


def identity(images: ImageSet) -> Table:
    """A stage that measures nothing."""
    return images.table.copy()


def pictures(folder, *names):
    folder.mkdir(exist_ok=True)
    for k, name in enumerate(names):
        pixels = np.random.default_rng(k).normal(size=(24, 24)).astype(np.float32)
        fits.PrimaryHDU(pixels).writeto(folder / f"{name}.fits")
    return folder


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("missing", [False, True])
def test_a_column_of_64_bits_without_sign_survives(tmp_path, ending, missing):
    table = Table({"id": ["a", "b", "c", "d"], "n": [1, 2, 3, 4]})
    table["specobjid"] = MaskedColumn(LARGE, mask=[missing, False, False, False]) if missing else LARGE
    read = read_table(write_table(table, tmp_path / f"t{ending}"))
    assert read["specobjid"].dtype == np.uint64 and read["n"].dtype == np.int64
    mask = np.ma.getmaskarray(read["specobjid"])
    assert mask.tolist() == [missing, False, False, False]
    assert [int(v) for v, m in zip(read["specobjid"], mask, strict=True) if not m] == [int(v) for v in LARGE][missing:]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("kind", [np.int64, np.uint64])
@pytest.mark.parametrize("missing", [False, True])
def test_the_ends_of_64_bits_survive(tmp_path, ending, kind, missing):
    """With a missing value among them, which some formats write as a number that no row has."""
    about = np.iinfo(kind)
    values = np.array([about.min, about.max, 0, 1, 2, 4, 7], dtype=kind)
    mask = np.arange(len(values)) == (6 if missing else -1)
    read = read_table(
        write_table(Table({"id": list("abcdefg"), "n": MaskedColumn(values, mask=mask)}), tmp_path / f"t{ending}")
    )
    np.testing.assert_array_equal(np.ma.getmaskarray(read["n"]), mask)
    assert [int(v) for v in np.ma.getdata(read["n"])[~mask]] == [int(v) for v in values[~mask]]


def test_other_programs_read_large_numbers_digit_for_digit(tmp_path):
    table = Table({"id": ["a", "b", "c", "d"], "objid": LARGE})
    digits = [str(int(v)) for v in LARGE]
    for ending, form in ((".fits", "fits"), (".vot", "votable"), (".ecsv", "ascii.ecsv")):
        path = write_table(table, tmp_path / f"t{ending}")
        theirs = Table.read(path, format=form, **({"hdu": 1} if form == "fits" else {}))
        assert [str(v) for v in theirs["objid"]] == digits


@pytest.mark.parametrize("ending", FORMATS)
def test_text_that_looks_like_a_number_stays_as_it_is(tmp_path, ending):
    ids = ["0012", "12", "5853498713190525696000", "1e5"]
    read = read_table(write_table(Table({"id": ids, "objid": ids}), tmp_path / f"t{ending}"))
    assert list(read["id"]) == ids and list(read["objid"]) == ids


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("objid", ["14641234567890123456", "14641234567890123457"], np.uint64),
        ("TARGETID", ["39627788403084375", "-4"], np.int64),
        ("id", ["7", "12"], np.int64),
        ("id", ["0012", "0013"], object),
        ("coadd_objects_id", ["0012", "13"], object),
        ("hash", ["18446744073709551615", "1"], np.uint64),
        ("month", ["01", "12"], np.int64),  # is no identifier
        ("name", ["1e5", "2E10"], object),
        ("xcentroid", ["1e2", "3"], np.float64),
        ("flux", ["1e19", "2.5"], np.float64),
        ("flux", ["1e19", "2e19"], np.float64),
    ],
)
def test_csv(tmp_path, name, values, expected):
    (tmp_path / "t.csv").write_text("\n".join([f"{name},z", *(f"{value},0.5" for value in values)]) + "\n")
    read = read_table(tmp_path / "t.csv")
    assert read[name].dtype == expected and read["z"].dtype == np.float64
    if expected is object or np.dtype(expected).kind in "iu":
        kept = values if expected is object else [str(int(value)) for value in values]
        assert [str(value) for value in read[name]] == kept


def test_csv_keeps_the_zeros_of_a_column_that_is_said_to_be_the_identifier(tmp_path):
    (tmp_path / "t.csv").write_text("plate,ra,dec\n0012,1,2\n0266,3,4\n")
    assert list(read_catalogue(tmp_path / "t.csv", {"id": "plate"})["id"]) == ["0012", "0266"]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([14641234567890123456, 14641234567890123457], "u"),
        ([5853498713190525696, 7], "i"),
        (["0012", "12"], "O"),
        (["a", "5853498713190525696"], "O"),
    ],
)
def test_ids_of_a_list_of_files_reach_the_results(tmp_path, ending, ids, kind):
    """Whole numbers stay such, so that an exact match finds them; text stays text."""
    pictures(tmp_path / "p", "one", "two")
    Table({"objid": ids, "file": ["p/one.fits", "p/two.fits"]}).write(tmp_path / "list.ecsv")
    path = apply_to_images(identity, tmp_path / "list.ecsv", ReadSettings(), tmp_path / f"t{ending}", command="x")
    read = read_table(path)
    assert read["id"].dtype.kind == kind and [str(v) for v in read["id"]] == [str(v) for v in ids]


def test_whole_numbers_stay_such_through_sets(tmp_path):
    pictures(tmp_path / "p", "one", "two")
    ids = np.array([2**63 + 5, 3], dtype=np.uint64)
    Table({"id": ids, "file": ["p/one.fits", "p/two.fits"]}).write(tmp_path / "list.fits")
    from emeraldcut.images import map_images

    run = map_images(lambda images: images, tmp_path / "list.fits", ReadSettings(), tmp_path / "set", command="x")
    assert read_table(run.folder / "table.parquet")["id"].dtype == np.uint64
    assert list(read_images(run.folder).table["id"]) == [str(2**63 + 5), "3"]  # in the program they are text
    path = apply_to_images(identity, run.folder, ReadSettings(), tmp_path / "t.parquet", command="x")
    assert read_table(path)["id"].tolist() == [2**63 + 5, 3]
    write_images(read_images(run.folder), tmp_path / "again", command="x")
    assert read_table(tmp_path / "again" / "table.parquet")["id"].dtype == object


def test_equal_whole_numbers_become_text_with_endings(tmp_path):
    pictures(tmp_path / "p", "one", "two")
    Table({"id": [5, 5], "file": ["p/one.fits", "p/two.fits"]}).write(tmp_path / "list.ecsv")
    path = apply_to_images(identity, tmp_path / "list.ecsv", ReadSettings(), tmp_path / "t.parquet", command="x")
    assert list(read_table(path)["id"]) == ["5", "5#2"]


def test_decimals_and_large_strings_of_parquet(tmp_path):
    from decimal import Decimal

    wide = pa.array([Decimal(14641234567890123456), Decimal(7)], pa.decimal128(25, 0))
    pq.write_table(
        pa.table({"objid": wide, "name": pa.array(["0012", "b"], pa.large_string())}), tmp_path / "t.parquet"
    )
    table = read_catalogue(tmp_path / "t.parquet")
    assert list(table["id"]) == ["14641234567890123456", "7"] and list(table["name"]) == ["0012", "b"]


@pytest.mark.slow
def test_equal_ids_cost_linear_time():
    unique, start = unique_ids(), time.perf_counter()
    last = [unique("same") for _ in range(1_000_000)][-1]
    assert last == "same#1000000" and time.perf_counter() - start < 60
    unique = unique_ids()
    assert [unique(name) for name in ("a", "a#2", "a", "a", "a#2")] == ["a", "a#2", "a#3", "a#4", "a#2#2"]


def test_names_of_files_differ():
    safe = safe_names()
    names = [safe(name) for name in ("0012", "12", "a/b", "a_b", "A_B", "é", "")]
    assert len({name.lower() for name in names}) == 7 and names[:2] == ["0012", "12"]
