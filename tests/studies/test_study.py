"""Studies: fractions with intervals, tests and corrections, against known truth; and a study of a small suite."""

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

import emeraldcut
from emeraldcut.images import NoImagesError
from emeraldcut.networks import CLASSES
from emeraldcut.studies.fractions import (
    confusion_of,
    corrected,
    dependence,
    estimate_fractions,
    fraction_interval,
    fractions_of,
)
from tests.helpers import Stretches

CONFUSION = np.array([[90, 2, 3, 5], [4, 80, 14, 2], [6, 20, 70, 4], [8, 3, 1, 88]])


def test_a_merger_is_one_draw_however_many_views_it_has():
    mergers = np.array(["b"] * 2 + ["a"] * 6)
    labels = np.array(["oval", "rectangular", *["oval"] * 6])
    names, fractions = fractions_of(labels, mergers, CLASSES)
    assert names.tolist() == ["a", "b"]
    np.testing.assert_allclose(fractions[:, :2], [[1, 0], [0.5, 0.5]])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4))
def test_correction_finds_the_true_fractions(parts):
    true = np.array(parts) / sum(parts)
    method = CONFUSION / CONFUSION.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(corrected(true @ method, method), true, atol=2e-3)


def test_correction_stays_among_fractions():
    """Where the inverse of the confusion would be negative: more ovals than a world of ovals would show."""
    method = CONFUSION / CONFUSION.sum(axis=1, keepdims=True)
    found = corrected(np.array([0.99, 0.01, 0.0, 0.0]), method)
    assert found.min() >= 0 and found.sum() == pytest.approx(1) and found.argmax() == 0


def test_confusion_counts():
    counts = confusion_of(np.array(["oval", "oval", "other"]), np.array(["oval", "rectangular", "other"]), CLASSES)
    np.testing.assert_array_equal(counts, np.array([[1, 1, 0, 0], [0] * 4, [0] * 4, [0, 0, 0, 1]]))


def test_many_independent_mergers_give_the_textbook_interval():
    """One view each of 400 mergers: a plain binomial fraction."""
    fractions = np.zeros((400, 1))
    fractions[:120] = 1
    (found,) = estimate_fractions(fractions, np.random.default_rng(0), repeats=4000)
    low, high = beta.ppf((0.05, 0.95), 120.5, 280.5)
    assert found.low == pytest.approx(low, abs=0.004) and found.high == pytest.approx(high, abs=0.004)


def test_what_no_merger_shows_may_still_be():
    none = fraction_interval(0.0, np.zeros(5), 10)
    assert none.low == 0 and 0.1 < none.high < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("mergers", [8, 24])
def test_intervals_hold_the_truth(mergers):
    """500 studies with known fractions, whose mergers differ in all they show, seen by an method that errs."""
    rng, true = np.random.default_rng(mergers), np.array([0.45, 0.2, 0.1, 0.25])
    method = CONFUSION / CONFUSION.sum(axis=1, keepdims=True)
    held, mended = np.zeros(4), np.zeros(4)
    for _ in range(500):
        own = rng.dirichlet(2 * true, mergers)
        seen = np.array([rng.multinomial(30, p) for p in own @ method]) / 30
        counts = np.array([rng.multinomial(400, row) for row in method])
        for total, truth, found in (
            (held, true @ method, estimate_fractions(seen, rng, repeats=100)),
            (mended, true, estimate_fractions(seen, rng, counts, repeats=100)),
        ):
            total += [one.low <= fraction <= one.high for fraction, one in zip(truth, found, strict=True)]
    assert 0.85 <= held.mean() / 500 <= 0.95 and 0.85 <= mended.mean() / 500 <= 0.95


def test_a_corrected_share_of_nothing_is_not_unknown():
    """Few rectangles are called so, as many as an method errs: the truth may be none, and cannot be most."""
    counts = np.array([[380, 20, 0, 0], [40, 360, 0, 0], [0, 0, 400, 0], [0, 0, 0, 400]])
    fractions = np.tile([0.95, 0.05, 0.0, 0.0], (20, 1)) + np.outer(np.linspace(-0.02, 0.02, 20), [-1, 1, 0, 0])
    found = estimate_fractions(fractions, np.random.default_rng(0), counts)[1]
    assert found.value < 0.02 and found.low <= found.value and 0.01 < found.high < 0.15


def test_chance_is_even_where_nothing_depends():
    rng = np.random.default_rng(3)
    values, alike = np.repeat([1.0, 2.0, 3.0], 6), np.tile(np.arange(6), 3)
    chances = [dependence(rng.beta(0.4, 1, 18), values, alike, rng, repeats=50).p for _ in range(60)]
    assert 0.35 < np.mean(chances) < 0.65 and min(chances) < 0.2


def test_a_dependence_is_found_with_its_size():
    rng = np.random.default_rng(4)
    values, alike = np.repeat([0.0, 1.0, 2.0], 8), np.tile(np.arange(8), 3)
    fractions = 0.6 - 0.2 * values + rng.normal(0, 0.05, 24)
    found = dependence(fractions, values, alike, rng)
    assert found.p < 0.001 and found.explained > 0.8
    assert found.slope.low <= -0.2 <= found.slope.high and found.slope.high < -0.1
    assert found.difference.value == pytest.approx(fractions[16:].mean() - fractions[:8].mean())
    with pytest.raises(ValueError, match="two or more different values"):
        dependence(fractions, np.ones(24), alike, rng)


def write_suite(folder, shapes):
    """A finished suite whose remnants are clouds of particles of known outlines, by mass ratio: `shapes` holds the
    exponent of the superellipsoid for each."""
    from astropy.table import Table

    from emeraldcut.data.columns import table_from_rows
    from emeraldcut.nbody import Snapshot, write_snapshot
    from emeraldcut.runs import Run
    from emeraldcut.tables import write_table

    rng, rows = np.random.default_rng(7), []
    run = Run.start(folder, "simulate", seed=0)
    for ratio, exponent in shapes.items():
        for orbit in range(4):
            name = f"ratio{ratio:g}-gas0-orbit{orbit:03d}"
            rows.append({"merger": name, "mass_ratio": ratio, "gas_fraction": 0.0, "orbit": orbit, "merged_gyr": 1.0})
            n = 60_000
            where = rng.uniform(-1, 1, (n * 6, 3))  # evenly within a superellipsoid, then stretched outwards
            size = np.sum(np.abs(where) ** exponent, axis=1) ** (1 / exponent)
            where = (where[size < 1] / size[size < 1, None])[:n]
            where *= rng.gamma(2.0, 1.0, (len(where), 1)) * [1.0, 0.7, 0.7]
            stars, whose = np.full(len(where), 1, np.int8), np.zeros(len(where), np.int8)
            light = np.full(len(where), 1e5, np.float32)
            about = {"merger": name, "mass_ratio": ratio, "gas_fraction": 0.0}
            still = np.zeros((len(where), 3), np.float32)
            for k, time in enumerate((0.0, 1.0, 2.0)):
                cloud = Snapshot(where.astype(np.float32), still, light, stars, whose, time, about=about)
                write_snapshot(cloud, folder / name / f"snapshot_{k:04d}.hdf5")
            course = Table({"time_gyr": [0.0, 1.0, 2.0], "separation_kpc": [9.0, 0.1, 0.1]})
            write_table(course, folder / name / "diagnostics.ecsv")
    write_table(table_from_rows(rows), folder / "suite.ecsv")
    run.finish()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from emeraldcut.studies import StudySettings, study

    folder = tmp_path_factory.mktemp("study")
    write_suite(folder / "run", {1.0: 6.0, 3.0: 2.0})
    told = Stretches()
    run = study(folder / "run", folder / "out", StudySettings(views=6, snapshots=1, known=60), seed=1, progress=told)
    told.check()  # a study once ran to 505 of 10
    return run


@pytest.mark.slow
def test_a_study_does_not_depend_on_the_number_of_workers(finished, tmp_path):
    from emeraldcut.studies import StudySettings, study
    from emeraldcut.tables import read_table

    again = study(
        finished.folder.parent / "run", tmp_path, StudySettings(views=6, snapshots=1, known=60), seed=1, jobs=2
    )
    for name in ("fractions.ecsv", "tests.ecsv", "accuracy.ecsv", "confusion.ecsv", "images.parquet"):
        one, two = (read_table(run.path(name)) for run in (finished, again))
        assert one.colnames == two.colnames and one.pformat(-1, -1) == two.pformat(-1, -1), name


def test_how_well_eyes_see_is_counted():
    """Two mergers of 10 views: 6 rectangular, of which the method finds 3; it calls one oval rectangular too."""
    from astropy.table import Table, vstack

    from emeraldcut.studies.study import accuracy_table

    views = Table({"merger": ["a"] * 10 + ["b"] * 10})
    views["label"] = ["rectangular"] * 4 + ["oval"] * 6 + ["rectangular"] * 2 + ["oval"] * 8
    views["class_network"] = ["rectangular"] * 2 + ["oval"] * 8 + ["rectangular"] + ["oval"] * 8 + ["rectangular"]
    views["class_isophotes"], views["phase"] = views["label"], "relaxed"
    seen = vstack([Table(views, copy=True) for _ in range(3)])
    seen["image_quality"] = np.repeat(["clear", "noisy", "cleaned"], 20)
    accuracy = accuracy_table(seen)
    row = accuracy[
        (accuracy["image_quality"] == "noisy")
        & (accuracy["method"] == "network")
        & (accuracy["class"] == "rectangular")
    ][0]
    assert (row["found"], row["right"]) == (0.5, 0.75) and row["difference"] == pytest.approx(-0.1)
    assert row["found_low"] < 0.5 < row["found_high"] and row["mergers"] == 2
    perfect = accuracy[(accuracy["method"] == "isophotes") & (accuracy["class"] == "rectangular")]
    assert set(perfect["found"]) == {1.0} == set(perfect["right"]) and set(perfect["difference"]) == {0.0}
    assert np.ma.getmaskarray(accuracy["found"])[np.array(accuracy["class"]) == "obround"].all()


def fraction(table, column="fraction", **wanted):
    chosen = np.all([np.array(table[name], dtype=str) == value for name, value in wanted.items()], axis=0)
    return float(table[chosen][column][0])


@pytest.mark.slow
def test_a_study_sees_the_shapes_that_are_there(finished):
    from emeraldcut.tables import read_table

    fractions, tests = (read_table(finished.path(name)) for name in ("fractions.ecsv", "tests.ecsv"))
    ours = {"group": "mass_ratio", "phase": "relaxed", "image_quality": "clear", "method": "truth"}
    assert fraction(fractions, **ours, value="3", **{"class": "oval"}) > 0.9
    assert fraction(fractions, **ours, value="3", **{"class": "rectangular"}) == 0
    boxes = fraction(fractions, **ours, value="1", **{"class": "rectangular"})
    assert boxes > 0.2 and np.all(np.ma.filled(fractions["sure"] <= fractions["fraction"], True))
    images = read_table(finished.path("images.parquet"))
    clear = images[(np.array(images["image_quality"]) == "clear") & (np.array(images["mass_ratio"]) == 1)]
    sure = np.mean((np.array(clear["label"]) == "rectangular") & np.array(clear["scored"]))
    assert fraction(fractions, column="sure", **ours, value="1", **{"class": "rectangular"}) == pytest.approx(sure)
    assert np.ma.getmaskarray(fractions["sure"])[np.array(fractions["method"]) != "truth"].all()
    row = tests[(np.array(tests["image_quality"]) == "clear") & (np.array(tests["method"]) == "truth")][0]
    assert row["on"] == "mass_ratio" and row["class"] == "rectangular"
    assert row["difference"] == pytest.approx(-boxes) and row["p"] < 0.15  # 2 of 16 permutations
    assert row["slope"] == pytest.approx(-boxes / np.log2(3))


@pytest.mark.slow
def test_a_study_has_a_row_for_every_view_and_quality(finished):
    from emeraldcut.tables import read_table

    images = read_table(finished.path("images.parquet"))
    assert len(images) == 8 * 6 * 3 and set(images["phase"]) == {"relaxed"}
    names, counts = np.unique(images["image_quality"], return_counts=True)
    assert names.tolist() == ["cleaned", "clear", "noisy"] and counts.tolist() == [48, 48, 48]
    assert np.ptp(np.asarray(images["cos_inclination"])) > 0.5


def classified_as_thesis():
    """10 maps of each of two mergers, 8 rectangular; of 6 called so 4 are; the largest cosine is that of an oval."""
    from astropy.table import Table

    maps = Table({"model": ["run"] * 24, "merger": ["a"] * 10 + ["b"] * 10 + ["c"] * 4})
    maps["phase"] = ["relaxed"] * 5 + ["merging"] * 5 + ["relaxed"] * 10 + ["alone"] * 4
    maps["label"] = ["rectangular"] * 4 + ["oval"] * 6 + ["rectangular"] * 4 + ["oval"] * 10
    maps["called"] = ["rectangular"] * 6 + ["oval"] * 18
    maps["cosine"] = np.r_[np.full(4, 0.9), np.full(4, 0.8), 0.95, 0.8, np.full(4, 0.9), np.full(6, 0.8), np.full(4, 1)]
    return maps


@pytest.mark.slow
def test_what_the_thesis_would_have_concluded_is_counted(finished):
    from astropy.table import Table, vstack

    from emeraldcut.studies.thesis import conclusions
    from emeraldcut.tables import read_table

    images, fractions = (read_table(finished.path(name)) for name in ("images.parquet", "fractions.ecsv"))
    table = conclusions(classified_as_thesis(), images, fractions)
    assert table["model"].tolist() == ["run"]
    twice = vstack([classified_as_thesis(), Table(classified_as_thesis(), copy=True)])
    twice["model"] = ["run"] * 24 + ["run2"] * 24
    assert conclusions(twice, images, fractions)["model"].tolist() == ["all", "run", "run2"]
    for row in table:
        assert (row["mergers"], row["maps"]) == (2, 20)
        for name, value in {"called": 0.3, "truly": 0.4, "right": 4 / 6, "found": 0.5}.items():
            assert row[name] == pytest.approx(value) and row[f"{name}_low"] < value < row[f"{name}_high"]
        assert (row["best_cosine"], row["best_is"], row["best_phase"]) == (0.95, "oval", "merging")
        assert row["cosine_tells"] == pytest.approx(11 / 12)  # of one oval of 12 the cosine is larger
        assert 0 <= row["best_p"] <= 1
    ours = {"phase": "relaxed", "image_quality": "clear", "method": "truth", "group": "model", "class": "rectangular"}
    assert table["rectangular"][0] == fraction(fractions, **ours) and table["sure"][0] == fraction(
        fractions, "sure", **ours
    )


@pytest.mark.slow
def test_the_page_of_a_study(finished):
    from emeraldcut.report import report
    from emeraldcut.studies.thesis import CONCLUSIONS, conclusions
    from emeraldcut.tables import read_table, write_table

    page = report(finished.folder).read_text()
    assert "Do mergers make rectangular galaxies?" in page and "Remnants most like the reference" in page
    assert (finished.folder / "figures" / "closest.png").exists() and 'id="thesis"' not in page
    images, fractions = (read_table(finished.path(name)) for name in ("images.parquet", "fractions.ecsv"))
    write_table(conclusions(classified_as_thesis(), images, fractions), finished.path(CONCLUSIONS))
    page = report(finished.folder).read_text()
    assert "would have called 30 % (" in page and "merging, whose true outline is oval" in page


def test_a_study_needs_a_finished_suite(tmp_path):
    from emeraldcut.studies import study

    with pytest.raises(FileNotFoundError, match="no finished suite"):
        study(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="settings that name `suites`"):
        study(None, tmp_path / "out")


def test_a_finished_suite_of_other_settings_is_refused_by_name(tmp_path):
    """Of a study that names its suites, whose file was changed since they were run."""
    from emeraldcut.mergers import SuiteSettings
    from emeraldcut.nbody import EvolveSettings
    from emeraldcut.runs import Run
    from emeraldcut.studies import StudySettings
    from emeraldcut.studies.study import run_suites

    file = tmp_path / "mine.toml"
    file.write_text("orbits = 2\n")
    own = tmp_path / "study" / "suites" / "mine"
    Run.start(own, "simulate", (SuiteSettings(orbits=2), EvolveSettings()), 5).finish()
    settings = StudySettings(suites=(str(file),))
    assert run_suites(own.parent, settings, seed=5) == own.parent
    with pytest.raises(FileExistsError, match="seed was 5, now it is 6"):
        run_suites(own.parent, settings, seed=6)
    file.write_text("orbits = 3\n")
    with pytest.raises(FileExistsError, match="orbits was 2, now it is 3"):
        run_suites(own.parent, settings, seed=5)


def test_a_run_that_is_too_short_is_one_sentence(tmp_path, monkeypatch):
    """No snapshot is late enough: numpy said "no values provided to stack."."""
    module = import_module("emeraldcut.studies.study")
    for found in ([], [SimpleNamespace(facts={"phase": "alone"})]):
        monkeypatch.setattr(module, "chosen_snapshots", lambda source, settings, found=found: found)
        with pytest.raises(NoImagesError, match=r"none is .* Gyr after coalescence .*--duration-gyr"):
            emeraldcut.study(tmp_path, tmp_path / "out")
