"""CSV: no spreadsheet computes a cell of ours, and every text comes back as it was."""

import csv

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.exchange import ConvertSettings, convert_table
from emeraldcut.tables import read_table, write_table

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "=HYPERLINK(1)"]
HARMLESS = ["-1.5", "+3", "-12:34:56.7", "-1e-5", "a=b", "J0340-1234", "", "'quoted'", "x"]


def cells(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_cells_that_a_spreadsheet_would_compute_are_text(tmp_path):
    texts = [*FORMULAS, *HARMLESS]
    table = Table({"name": np.array(texts, dtype=object), "=n": np.arange(len(texts)) - 1.5})
    path = write_table(table, tmp_path / "t.csv")
    head, *rows = cells(path)
    assert head == ["name", "'=n"]
    assert [row[0] for row in rows] == [f"'{text}" for text in FORMULAS] + HARMLESS
    assert float(rows[0][1]) == -1.5  # a number stays one
    back = read_table(path)
    assert list(back["name"]) == texts and back.colnames == ["name", "=n"]
    raw = write_table(table, tmp_path / "raw.csv", raw=True)
    assert [row[0] for row in cells(raw)][1:] == texts
    convert_table(path, tmp_path / "converted.csv", ConvertSettings(raw=True))
    assert [row[0] for row in cells(tmp_path / "converted.csv")][1:] == texts


@settings(deadline=None)  # of a busy machine
@given(st.lists(st.text(st.sampled_from("'=+-@\t1a "), max_size=4), min_size=1, max_size=6))
def test_any_text_comes_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    write_table(Table({"name": np.array(["x", *texts], dtype=object)}), path)
    assert list(read_table(path)["name"]) == ["x", *texts]
    assert all(not row[0].startswith(("=", "@", "\t")) for row in cells(path))


@pytest.mark.parametrize("ending", [".ecsv", ".parquet", ".vot", ".fits"])
def test_other_formats_keep_them(tmp_path, ending):
    path = write_table(Table({"name": np.array(FORMULAS, dtype=object)}), tmp_path / f"t{ending}")
    assert list(read_table(path)["name"]) == FORMULAS
