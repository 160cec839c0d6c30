"""docs/emerald.md states what the table of runs says, and the table holds what it should."""

import csv
import importlib.util

import numpy as np
import pytest

from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "emerald.md").read_text(encoding="utf-8")
with (ROOT / "docs" / "search_runs.csv").open(newline="", encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))


def script():
    spec = importlib.util.spec_from_file_location("emerald_runs", ROOT / "tools" / "emerald.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


runs = script()


@pytest.mark.parametrize("line", list(runs.claims()))
def test_the_page_states_what_the_table_says(line):
    assert line in PAGE, "run `python tools/emerald.py claims`"


def test_every_run_has_one_row_with_fractions_and_what_it_was_made_from():
    names = [row["run"] for row in ROWS]
    assert len(set(names)) == len(names)
    for row in ROWS:
        assert 0 <= runs.box_of(row) <= 1
        assert row["host_stars_msun"] and row["host_halo_msun"] and row["particles"] and row["duration_gyr"]
        if row["formation"] == "merger":
            assert row["companion_stars_msun"] and row["start_kpc"] and row["circularity"]


def test_runs_of_the_script_that_are_in_the_table_were_made_from_the_same_numbers():
    known, found = {row["run"]: row for row in ROWS}, 0
    for name, run in runs.runs().items():
        if name in known:
            found += 1
            for key in ("host_halo_msun", "companion_halo_msun", "start_kpc", "circularity", "orbit_angle_deg", "seed"):
                assert float(known[name][key]) == pytest.approx(run[key]), (name, key)
    assert found >= 20


def test_arrival_is_when_the_companion_comes_near_with_the_angles_before_they_meet():
    pole, host = np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    course = []
    for time_gyr, angle, distance in ((0, 0, 20.0), (1, 30, 8.0), (2, 60, 2.5), (3, 90, 2.0), (4, 120, 1.0)):
        outwards = np.array([np.cos(np.radians(angle)), 0, np.sin(np.radians(angle))])
        turned = np.radians(10.0 * time_gyr)
        course.append({
            "time_gyr": time_gyr, "away": distance * outwards, "moving": np.cross(pole, outwards),
            "spins": [np.array([np.sin(turned), 0, np.cos(turned)]), pole + 0.1 * host],
        })  # fmt: skip
    found = runs.arrival(course)
    assert found["arrival_gyr"] == 2
    assert found["host_turned_deg"] == pytest.approx(30)  # at 3 Gyr, the last before they are within 1.5 kpc
    assert found["arrival_tilt_deg"] == pytest.approx(np.degrees(np.arctan(0.1)), abs=0.06)
    assert found["arrival_orbit_angle_deg"] == pytest.approx(90)  # the spin turned within the orbit's plane
    assert runs.arrival(course[:2]) == {}
    assert runs.arrival([one | {"away": one["away"] / 5} for one in course]) == {}  # begins near
