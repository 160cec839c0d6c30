"""The page of a search, and the command."""

from dataclasses import replace

import pytest

from emeraldcut.cli import main
from emeraldcut.report import report
from emeraldcut.search.search import search
from tests.search.test_search import FEW, TWO_FREE
from tests.search.toys import toy_remnant


@pytest.mark.slow
def test_the_page_says_what_was_found_and_how(tmp_path):
    run = search("box", tmp_path / "run", replace(FEW, best=1), TWO_FREE, seed=7, runner=toy_remnant)
    page = report(run.folder).read_text(encoding="utf-8")
    number = run.manifest["winners"][0]
    assert "<h1>Search for box</h1>" in page
    assert "of all directions, the mean of 2 runs with new particles, after 14 evaluations." in page
    assert f"No. {number}" in page
    assert "a4 at 1.5 a_e: at most -0.04" in page
    assert "rank correlation with the score" in page
    assert (run.folder / "figures" / "remnants.png").stat().st_size > 10_000
    assert page.count("<svg") >= 4


@pytest.mark.parametrize(
    "arguments, words",
    [(["m87"], "targets are leda074886, box"), (["box", "--tilt-deg", "3,1"], "lower and the upper end"),
     (["box", "--evaluations", "0"], "from 1 to")],
)  # fmt: skip
def test_wrong_use_is_one_sentence(tmp_path, capsys, arguments, words):
    assert main(["search", *arguments, "-o", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err
