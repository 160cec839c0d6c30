"""The table of a page: its rows are those of the run, and a browser sorts, filters and searches 100,000 from disk."""

from __future__ import annotations

import base64
import gzip
import json
import time

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.data import Flag
from emeraldcut.report import report
from emeraldcut.report.explorer import DIGITS, MOST_ROWS, explorer
from emeraldcut.runs import Run
from emeraldcut.tables import write_table

OPENS_S = 2.0  # a page of 100,000 rows; seconds of the page's main thread, which other programs do not change


def content(table: Table, **given) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(explorer(table, **given)["packed"])))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=1, max_size=20))
def test_numbers_keep_their_digits_and_what_is_missing_is_missing(values):
    table = Table({"id": [f"NaN {k}" for k in range(len(values))], "snr": values})
    columns = {one["name"]: one["values"] for one in content(table)["columns"]}
    assert columns["id"] == list(table["id"]) and columns["rank"] == list(range(1, len(values) + 1))
    for kept, value in zip(columns["snr"], values, strict=True):
        if not np.isfinite(value):
            assert kept is None
        else:
            assert abs(kept - value) <= max(abs(value) * 10.0 ** (1 - DIGITS), 1e-15)


def test_masked_values_flags_and_cards():
    table = Table({"id": ["a", "b", "c"], "flag": [0, 64, 1 << 20]})
    table["class"] = MaskedColumn(np.array(["oval", "", "other"], dtype=object), mask=[False, True, False])
    table["a4"] = MaskedColumn([0.1, 0.2, 0.3], mask=[False, True, False])
    made = content(table, shown=[2])
    columns = {one["name"]: one["values"] for one in made["columns"]}
    assert columns["class"] == ["oval", "", "other"] and columns["a4"] == [0.1, None, 0.3]
    assert [flag[0] for flag in made["flags"]] == [Flag.NEIGHBOUR.value, Flag.HIDDEN.value]
    assert made["flags"][0][3] == "note" and made["flags"][1][3] == "do not trust" and made["cards"] == [2]


def test_only_the_first_rows_of_a_very_long_table_are_in_its_page():
    table = Table({"id": np.arange(MOST_ROWS + 5).astype(str)})
    packed = explorer(table)
    assert (packed["rows"], packed["of"]) == (MOST_ROWS, MOST_ROWS + 5)
    assert len(content(table)["columns"][1]["values"]) == MOST_ROWS


# --- in a browser


def long_run(folder, number: int) -> Table:
    """A finished run of `screen` with made-up candidates."""
    rng = np.random.default_rng(2)
    score = np.sort(rng.random(number) ** 4)[::-1]
    table = Table({"id": np.array([f"J{k:06d}+{k % 977:03d}" for k in rng.permutation(number)], dtype=object)})
    table["rank"], table["score"], table["p_rectangular"] = np.arange(1, number + 1), score, rng.random(number)
    table["class"] = rng.choice(np.array(["oval", "rectangular", "obround", "other"], dtype=object), number)
    for name in ("a4", "a4_err", "a6", "axis_ratio", "radius_pix", "similarity", "similarity_p", "ra", "dec"):
        table[name] = rng.normal(size=number) if name.startswith("a") else rng.random(number) * 90
    table["snr"] = rng.lognormal(3, 1, number)
    table["flag"] = rng.choice([0, 0, 0, 64, 32, 96], number)
    table["trusted"] = table["flag"] & 32 == 0
    run = Run.start(folder, "screen", seed=1)
    write_table(table, run.path("candidates.parquet"))
    run.finish(images=number)
    return table


def first_ids(page, number: int = 5) -> list[str]:
    return [text.strip() for text in page.locator("#explorer-body tr td:nth-child(2)").all_text_contents()[:number]]


@pytest.mark.slow
def test_100_000_rows_open_from_disk_and_are_sorted_filtered_and_searched(browser, tmp_path):
    table = long_run(tmp_path / "run", 100_000)
    address = report(tmp_path / "run").as_uri()
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto("data:text/html,<p>warm")
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    begun = time.monotonic()
    page.goto(address)
    page.wait_for_selector("#explorer[data-ready]")
    wall = time.monotonic() - begun
    spent = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    print(f"open in {wall:.2f} s, of these {spent['TaskDuration']:.2f} s of the main thread")
    assert spent["TaskDuration"] < OPENS_S
    ids = np.array(table["id"], dtype=str)
    assert first_ids(page) == list(ids[:5])

    page.click("#explorer-head button:has-text('S/N')")
    assert first_ids(page) == list(ids[np.argsort(-np.asarray(table["snr"]), kind="stable")[:5]])
    page.click("#explorer-head button:has-text('S/N')")
    assert page.get_attribute("#explorer-head th[aria-sort]", "aria-sort") == "ascending"
    page.click("#explorer-head button:has-text('rank')")

    page.select_option("#explorer-class", "obround")
    page.select_option("#explorer-flag", "64")
    page.fill("#explorer-snr", "30")
    page.check("#explorer-trusted")
    kept = (table["class"] == "obround") & (table["flag"] & 64 > 0) & (table["snr"] >= 30) & table["trusted"]
    assert first_ids(page) == list(ids[np.asarray(kept)][:5])
    assert f"of {int(kept.sum()):,} that match" in page.text_content("#explorer-count")
    page.click("#explorer-next")
    assert first_ids(page) == list(ids[np.asarray(kept)][50:55])

    for name, value in (("class", ""), ("flag", "")):
        page.select_option(f"#explorer-{name}", value)
    page.fill("#explorer-snr", "")
    page.uncheck("#explorer-trusted")
    page.fill("#explorer-id", ids[77_777].lower())
    assert first_ids(page) == [ids[77_777]]
    page.fill("#explorer-id", "<img src=x>")
    assert page.text_content("#explorer-count").startswith("No row") and wrong == []
    page.close()
