"""The page of results says what the records of benchmarks say, and records hold what they should."""

import ast
import importlib.util
import json
import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
RECORDS = sorted(RESULTS.glob("*.json"))
IMPORTED = ("record", "blind")  # by the others
SCRIPTS = sorted(file for file in (ROOT / "benchmarks").glob("*.py") if file.stem not in IMPORTED)
FULL, QUICK = Namespace(quick=False), Namespace(quick=True)
# The keys that the contract promises to those who read the last line.
CONTRACT = {
    "measure": ("speed_ratio", "bias_a4", "coverage_68", "lost_fraction"),
    "compare": ("ms_per_stamp", "precision_at_k_clean", "precision_at_k_noisy"),
    "classify": ("images_per_second_core", "speed_ratio"),
    "screen-speed": ("images_per_second_core", "peak_memory_mb", "scaling_2_workers"),
    "gravity": ("n", "speed_ratio", "median_error", "p99_error"),
    "merger": ("particles", "gyr", "cpu_seconds", "energy_drift", "angular_momentum_drift"),
    "camera": ("images_per_second_core",),
}


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record = load(ROOT / "benchmarks" / "record.py")
results = load(ROOT / "docs" / "results.py")


# --- the page


def test_the_page_is_up_to_date():
    assert (ROOT / "docs" / "results.md").read_text() == results.results_page(), "run `python docs/generate.py`"


def test_without_records_the_page_has_no_figure_and_names_every_benchmark(tmp_path):
    page = results.results_page(tmp_path)
    assert "Nothing has been measured" in page
    assert "|" not in page  # no table
    for script in SCRIPTS:
        assert f"python benchmarks/{script.name}" in page


def test_every_record_is_on_the_page():
    page = (ROOT / "docs" / "results.md").read_text()
    for file in RECORDS:
        assert json.loads(file.read_text())["command"] in page


def test_pictures_of_the_page_exist():
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "docs" / "results.md").read_text()):
        assert (ROOT / "docs" / target).exists(), target


def test_goals_are_counted_and_those_that_are_missed_are_marked(tmp_path):
    figures = {"galaxies": 9, "ks_p_box": 0.001, "ks_p_leda074886": 0.5}
    for name in ("box", "leda074886"):
        figures |= {f"fraction_below_{limit}_{name}": limit for limit in (0.1, 0.01, 0.001)}
        figures |= {f"ks_p_{name}_snr_{snr}": 0.5 for snr in ("10_30", "30_100", "100_400")}
        figures[f"counts_{name}"] = {"1 to 20": {"0.01": [3, 2.5]}}
    record.save("ordinary", figures, FULL, folder=tmp_path)
    page = results.results_page(tmp_path)
    assert "1 of the 2 goals" in page
    assert "| 0.00 (goal missed) | 0.50 |" in page


def test_a_figure_that_is_missing_is_an_error(tmp_path):
    record.save("ordinary", {"galaxies": 9}, FULL, folder=tmp_path)
    with pytest.raises(results.jinja2.UndefinedError, match="ks_p_box"):
        results.results_page(tmp_path)


# --- records


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.stem)
def test_records_are_whole_and_name_no_machine(file):
    found = json.loads(file.read_text())
    assert found["name"] == file.stem
    assert found["figures"] and found["commit"] and found["seconds"]["wall"] > 0
    assert (ROOT / "benchmarks" / f"{file.stem.split('-')[0]}.py").exists()
    assert not re.search(r"(?<![\w.])/\w", file.read_text()), "a path of the machine"
    assert set(CONTRACT.get(file.stem, ())) <= set(found["figures"])


def test_a_quick_run_leaves_no_record(tmp_path):
    record.save("measure", {"speed_ratio": 1.0}, QUICK, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_new_record_moves_the_former_ones_into_its_history(tmp_path):
    for figure in (1.0, 2.0, 3.0):
        record.save("measure", {"speed_ratio": figure}, FULL, folder=tmp_path)
    found = json.loads((tmp_path / "measure.json").read_text())
    assert found["figures"] == {"speed_ratio": 3.0}
    assert [former["figures"]["speed_ratio"] for former in found["history"]] == [2.0, 1.0]
    assert all(set(former) == set(record.KEPT) for former in found["history"])


def test_figures_become_plain_json():
    figures = {"a": np.float32(0.1), "b": np.nan, "c": np.array([1, 2]), "d": {"e": (np.int64(3), True, "word")}}
    plain = record.plain(figures | {"f": 1234567.0, "g": np.bool_(True), "h": None})
    assert plain == {
        "a": 0.1, "b": None, "c": [1, 2], "d": {"e": [3, True, "word"]}, "f": 1234600.0, "g": True, "h": None
    }  # fmt: skip
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_the_command_names_no_folder_of_the_machine(tmp_path):
    inside = ROOT / "docs" / "pictures" / "a.png"
    words = [
        "/somewhere/benchmarks/measure.py",
        "--real",
        str(tmp_path / "efigi"),
        "--figure",
        str(inside),
        "--seed",
        "3",
    ]
    assert record.command(words) == ("python benchmarks/measure.py --real efigi --figure docs/pictures/a.png --seed 3")


def test_the_last_line_is_the_figures(capsys):
    print("on the way")
    record.finish("measure", {"speed_ratio": np.float64(2.0)}, QUICK)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"speed_ratio": 2.0}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_benchmark_says_what_it_does_and_records_it(script):
    tree = ast.parse(script.read_text())
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert "record.parser" in called
    assert {"record.finish", "record.save"} & called
    doc = ast.get_docstring(tree)
    assert "?" in doc.splitlines()[0], "the first line is the question that it answers"
    assert f"python benchmarks/{script.name}" in doc and "--quick" in doc and "last line" in doc
