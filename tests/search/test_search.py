"""Searches with a toy in place of simulations: the same whatever stops them, and whoever does the work."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest

from emeraldcut.camera.remnant_shape import body_of, families, view_remnant
from emeraldcut.errors import UsageError
from emeraldcut.mergers import SuiteSettings
from emeraldcut.mergers.encounters import EncounterSettings
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.search.evaluation import Evaluated, bodies_of
from emeraldcut.search.objective import Limits, judge
from emeraldcut.search.optimiser import proposals, sobol
from emeraldcut.search.parameters import PriorSettings, encounter_of
from emeraldcut.search.search import EVALUATIONS, TABLE, SearchSettings, noise_of, read_rows, search
from emeraldcut.search.target import BOX, read_target
from emeraldcut.settings import from_file
from emeraldcut.tables.files import read_table
from tests.search.toys import BEST_ANGLE_DEG, inclined_orbits, toy_remnant

FEW = SearchSettings(
    evaluations=12, sobol=4, population=4, best=2, repeats=2, particles=12_000, small_particles=6_000, directions=16
)  # fmt: skip
TWO_FREE = PriorSettings(
    host_stars_msun=(8e8,), host_halo_msun=(3e10,), host_scale_kpc=(0.8,), companion_stars_over_host=(0.7,),
    companion_halo_over_stars=(2.0,), companion_scale_kpc=(1.0,), start_kpc=(5.0,), circularity=(0.8,),
    orbit_angle_deg=(50.0, 110.0), tilt_deg=(0.0, 30.0), azimuth_deg=(0.0,), phase_deg=(0.0,),
)  # fmt: skip


class Stopped(Exception):
    pass


def without_times(rows):
    return [{name: value for name, value in row.items() if not name.endswith("_cpu_s")} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    return search("box", folder / "run", FEW, TWO_FREE, seed=7, runner=toy_remnant).folder


@pytest.mark.slow
def test_a_search_finds_the_encounter_that_makes_boxes(tmp_path):
    folder = search("box", tmp_path / "run", replace(FEW, directions=64), TWO_FREE, seed=7, runner=toy_remnant).folder
    rows = read_rows(folder)
    small = [row for row in rows if row["kind"] == "small"]
    assert len(small) == 12
    best = max(small, key=lambda row: row["score"])
    assert best["fraction"] > 0.4
    away = [abs(r["parameters"]["orbit_angle_deg"] - BEST_ANGLE_DEG) + r["parameters"]["tilt_deg"] for r in small]
    assert away[best["number"]] < min(away[: FEW.sobol])  # what CMA-ES is for
    assert away[best["number"]] < 20
    table = read_table(folder / TABLE)
    assert list(table["kind"][:4]) == ["small"] * 4 or list(table["kind"][:4]) == ["full"] * 4
    assert len(table) == 16


@pytest.mark.slow
def test_a_known_encounter_is_found_again(tmp_path):
    """The target is what the edge-on view of a toy shows: a4 and axis ratio at three radii, as a user would measure."""
    truth = TWO_FREE.at(np.array([0.5, 0.2]))  # 80 and 6 degrees
    remnant = toy_remnant(encounter_of(truth, "distance", 30_000), 99, FEW)
    bodies = bodies_of(remnant.snapshots)
    views = view_remnant(bodies)
    edge_on = int(np.argmin(np.abs(views.directions[:, 2])))
    lines = [
        f"[[isophote]]\nradius = {radius}\na4 = {views.a4[edge_on, k]}\na4_err = 0.012\n"
        f"axis_ratio = {views.axis_ratio[edge_on, k]}\naxis_ratio_err = 0.03\n"
        for k, radius in enumerate(views.radii) if radius >= 1.5
    ]  # fmt: skip
    file = tmp_path / "truth.toml"
    file.write_text("\n".join(lines))
    run = search(file, tmp_path / "run", replace(FEW, evaluations=20, best=1), TWO_FREE, seed=3, runner=toy_remnant)
    rows = read_rows(run)
    best = rows[run.manifest["winners"][0]]
    expected = read_target(file).matches(views).mean()
    assert expected > 0.05
    full = np.mean([row["fraction"] for row in rows if row["kind"] == "full"])
    assert full > 0.5 * expected
    assert best["parameters"]["orbit_angle_deg"] == pytest.approx(80.0, abs=12.0)


@pytest.mark.slow
def test_full_runs_repeat_the_best_with_other_seeds(undisturbed):
    rows = read_rows(undisturbed)
    full = [row for row in rows if row["kind"] == "full"]
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    assert len(full) == 4
    assert len({row["seed"] for row in rows}) == 16
    assert sorted({row["of"] for row in full}) == sorted(manifest["winners"])
    assert manifest["noise"] == pytest.approx(noise_of(full))
    for row in full:
        assert row["parameters"] == rows[row["of"]]["parameters"]
        assert row["particles"] > 1.9 * rows[row["of"]]["particles"]


@pytest.mark.slow
@pytest.mark.parametrize("after", [3, 13])
def test_a_search_that_was_stopped_ends_the_same(undisturbed, tmp_path, after):
    done = []

    def stopping(encounter, seed, settings, folder):
        if len(done) == after:
            raise Stopped
        done.append(seed)
        return toy_remnant(encounter, seed, settings)

    with pytest.raises(Stopped):
        search("box", tmp_path / "run", FEW, TWO_FREE, seed=7, runner=stopping)
    assert len(list((tmp_path / "run" / EVALUATIONS).glob("*.json"))) == after
    search("box", tmp_path / "run", FEW, TWO_FREE, seed=7, runner=toy_remnant)
    assert read_rows(tmp_path / "run") == read_rows(undisturbed)


KILLED_TEN_TIMES = """
import os, random, signal, sys, time
from pathlib import Path
from emeraldcut.search.search import EVALUATIONS, search
from tests.search.test_search import FEW, TWO_FREE
from tests.search.toys import toy_remnant

folder, chance, kills = Path(sys.argv[1]), random.Random(3), 0
for least in [0, 0, 1, 2, 4, 6, 9, 11, 12, 14]:
    child = os.fork()
    if child == 0:
        search("box", folder, FEW, TWO_FREE, seed=7, runner=toy_remnant)
        os._exit(0)
    while len(list((folder / EVALUATIONS).glob("*.json"))) < least and os.waitpid(child, os.WNOHANG)[0] == 0:
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    kills += os.waitpid(child, 0)[1] == signal.SIGKILL
print(kills)
search("box", folder, FEW, TWO_FREE, seed=7, runner=toy_remnant)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_ten_kills_leave_the_same_evaluations(undisturbed, tmp_path):
    command = [sys.executable, "-c", KILLED_TEN_TIMES, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 10
    assert read_rows(tmp_path / "run") == read_rows(undisturbed)


@pytest.mark.slow
def test_a_gaussian_process_is_resumed_like_cma(tmp_path):
    few = replace(FEW, evaluations=8, method="gp", best=1, repeats=1)
    whole = search("box", tmp_path / "whole", few, TWO_FREE, seed=2, runner=toy_remnant)
    done = []

    def stopping(encounter, seed, settings, folder):
        if len(done) == 6:
            raise Stopped
        done.append(seed)
        return toy_remnant(encounter, seed, settings)

    with pytest.raises(Stopped):
        search("box", tmp_path / "stopped", few, TWO_FREE, seed=2, runner=stopping)
    search("box", tmp_path / "stopped", few, TWO_FREE, seed=2, runner=toy_remnant)
    assert read_rows(tmp_path / "stopped") == read_rows(whole)


@pytest.mark.slow
def test_two_workers_find_the_same(undisturbed, tmp_path):
    search("box", tmp_path / "run", FEW, TWO_FREE, seed=7, jobs=2, runner=toy_remnant)
    assert read_rows(tmp_path / "run") == read_rows(undisturbed)


@pytest.mark.slow
def test_another_seed_asks_for_other_encounters(undisturbed, tmp_path):
    few = replace(FEW, evaluations=4, best=1, repeats=1)
    search("box", tmp_path / "run", few, TWO_FREE, seed=8, runner=toy_remnant)
    assert read_rows(tmp_path / "run")[0]["parameters"] != read_rows(undisturbed)[0]["parameters"]


def test_unfinished_work_with_other_settings_is_not_gone_on_with(tmp_path):
    few = replace(FEW, evaluations=1, sobol=1, best=1, repeats=1)

    def failing(*_):
        raise Stopped

    with pytest.raises(Stopped):
        search("box", tmp_path / "run", few, TWO_FREE, runner=failing)
    with pytest.raises(FileExistsError, match="a search with other settings"):
        search("leda074886", tmp_path / "run", few, TWO_FREE, runner=toy_remnant)
    search("leda074886", tmp_path / "run", few, TWO_FREE, runner=toy_remnant, overwrite=True)
    with pytest.raises(FileExistsError, match="finished run"):
        search("leda074886", tmp_path / "run", few, TWO_FREE, runner=toy_remnant)


@pytest.mark.slow
def test_cpu_hours_end_a_search(tmp_path):
    """Each run of the toy says that it took a second."""
    run = search("box", tmp_path / "run", replace(FEW, cpu_hours=4 / 3600), TWO_FREE, runner=toy_remnant)
    assert run.manifest["evaluations"] == 4 + 4


@pytest.mark.slow
def test_winners_are_suites_that_simulate_repeats(undisturbed):
    number = json.loads((undisturbed / "manifest.json").read_text())["winners"][0]
    suite, evolve = from_file(undisturbed / "winners" / f"{number:06}" / "suite.toml", SuiteSettings, EvolveSettings)
    encounter = encounter_of(read_rows(undisturbed)[number]["parameters"], "distance", FEW.particles)
    assert suite == encounter.suite(FEW.duration_gyr)
    assert evolve == FEW.evolve
    assert len(list((undisturbed / "winners" / f"{number:06}").glob("seed*/snapshot_0005.hdf5"))) == FEW.repeats


def test_parameters_lie_within_their_priors():
    priors = PriorSettings()
    points = sobol(len(priors.free), 64, 0)
    drawn = [priors.at(point) for point in points]
    for name in priors.names:
        values = np.array([one[name] for one in drawn])
        limits = getattr(priors, name)
        assert values.min() >= limits[0]
        assert values.max() <= limits[-1]
    halos = np.log10([one["host_halo_msun"] for one in drawn])
    assert np.median(halos) == pytest.approx(np.log10(6e20) / 2, abs=0.02)  # even in the logarithm
    encounter = encounter_of(drawn[0], priors.start, 44_000)
    stars = encounter.companion.disc_mass_msun / encounter.host.disc_mass_msun
    assert stars == pytest.approx(drawn[0]["companion_stars_over_host"])
    numbers = [
        asdict(g)[f"{kind}_particles"] for g in (encounter.host, encounter.companion) for kind in ("halo", "star")
    ]
    assert sum(numbers) == pytest.approx(44_000, abs=3)


@pytest.mark.parametrize("values, words", [
    ({"tilt_deg": (1, 2, 3)}, "lower and the upper end"), ({"tilt_deg": (2, 1)}, "lower and the upper end"),
    ({"tilt_deg": ()}, "received none"), ({name: getattr(PriorSettings(), name)[:1] for name in PriorSettings().free},
                                         "nothing is left to search")])  # fmt: skip
def test_priors_that_cannot_be_are_refused(values, words):
    with pytest.raises(UsageError, match=words):
        PriorSettings(**values)


def test_cma_finds_a_peak_that_the_sobol_points_miss():
    peak, asking = np.array([0.31, 0.77, 0.52]), proposals(3, start=16, population=8, seed=1)
    points, best = next(asking), []
    for _ in range(15):
        scores = -np.sum((points - peak) ** 2, axis=1)
        best.append(scores.max())
        points = asking.send(scores)
        assert points.min() >= 0
        assert points.max() <= 1
    assert max(best) > -1e-3 > best[0]


@pytest.mark.slow
def test_remnants_that_have_not_mixed_are_rejected():
    def judged(mixed, apart=0.0):
        body = body_of(inclined_orbits(20_000, 41.0, 8.0, mixed=mixed))
        views = view_remnant([body])
        return judge(Evaluated(views, views, families(body)), BOX, {"separation_kpc": apart}, Limits(0.35, 0.5))

    assert judged(True)["mixed"]
    assert judged(True)["score"] > 0.4
    assert not judged(True, apart=2.0)["mixed"]
    assert not judged(False)["mixed"]
    assert judged(False)["score"] < judged(True)["score"] - 0.9


def test_rivals_have_parameters_of_their_own():
    alone = PriorSettings(formation="isolated", host_height_kpc=(0.1, 0.6), host_toomre_q=(0.8, 2.0))
    assert set(alone.free) == {
        "host_stars_msun",
        "host_halo_msun",
        "host_scale_kpc",
        "host_height_kpc",
        "host_toomre_q",
    }
    encounter = encounter_of(alone.at(np.full(5, 0.5)), "distance", 20_000)
    assert encounter.companion is None
    assert encounter.host.toomre_q == pytest.approx(1.4)
    assert encounter.host.halo_particles + encounter.host.star_particles == 20_000
    assert encounter.suite(1.0).grid == "alone"
    tidal = PriorSettings(formation="tide")
    assert "tide_mass_msun" in tidal.free
    assert "start_kpc" not in tidal.names
    encounter = encounter_of(tidal.at(np.full(len(tidal.free), 0.5)), "distance", 20_000)
    moved = encounter.evolve(EvolveSettings())
    assert moved.tide_mass_msun == pytest.approx(1e13)
    assert np.linalg.norm(moved.tide_start_kpc) == pytest.approx(np.sqrt(50 * 300))
    with pytest.raises(UsageError, match="nothing is left to search"):
        PriorSettings(formation="isolated", host_stars_msun=(1e9,), host_halo_msun=(1e10,), host_scale_kpc=(1.0,))


@pytest.mark.slow
def test_a_galaxy_alone_is_searched_too(tmp_path):
    alone = PriorSettings(formation="isolated")
    run = search("box", tmp_path / "run", replace(FEW, evaluations=4, best=1), alone, runner=lonely)
    assert run.manifest["prevalence"] is None
    row = read_rows(run.folder)[0]
    assert np.isnan(row["inclination_companion_deg"])
    assert row["mixed"]


def lonely(encounter, seed, settings, folder):
    """A toy of one galaxy."""
    remnant = toy_remnant(replace(encounter, companion=encounter.host, start=EncounterSettings()), seed, settings)
    stars = [replace(snapshot, galaxy=np.zeros_like(snapshot.galaxy)) for snapshot in remnant.snapshots]
    return replace(remnant, snapshots=stars)


def test_noise_is_pooled_over_encounters():
    rows = [
        {"of": 1, "fraction": 0.4},
        {"of": 1, "fraction": 0.5},
        {"of": 2, "fraction": 0.1},
        {"of": 2, "fraction": 0.1},
    ]
    assert noise_of(rows) == pytest.approx(0.05)
    assert np.isnan(noise_of(rows[:1]))
