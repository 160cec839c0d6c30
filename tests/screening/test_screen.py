"""Screening: scores, priors, ranks, and planted galaxies found again."""

import sys

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.data import Flag, ImageSet, concatenate, trusted
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.images import ImageSource, read_images, write_images
from emeraldcut.networks import CLASSES, shift_priors
from emeraldcut.runs import read_manifest
from emeraldcut.runs.run import unlock_all
from emeraldcut.screening import ScreenSettings, screen, two_passes
from emeraldcut.screening.screen import rank
from emeraldcut.tables import read_table, resumable, write_table

EASY = {"snr_min": 120.0, "neighbours": 0.3, "psf_fwhm_max_pix": 2.0, "blemishes": 0.0}


def test_prior_shift_is_bayes_rule():
    shifted = shift_priors(np.array([[0.05, 0.9, 0.03, 0.02]]), CLASSES, 0.01)[0]
    # odds against `oval`: 0.9 / 0.05 times the ratio of priors 0.01 / 0.49
    assert shifted[1] / shifted[0] == pytest.approx(18 * 0.01 / 0.49)
    assert shifted.sum() == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-4, 0.4), st.floats(1e-4, 0.4))
def test_a_rarer_kind_gets_a_lower_probability(a, b):
    low, high = (shift_priors(np.array([[0.2, 0.5, 0.2, 0.1]]), CLASSES, p)[0, 1] for p in sorted((a, b)))
    assert low <= high + 1e-7


def test_ranks_start_at_one_and_ties_go_by_id():
    table = Table({"id": ["b", "c", "a", "d"], "score": MaskedColumn([0.5, 0.9, 0.5, 0.0], mask=[0, 0, 0, 1])})
    ranked = rank(table)
    assert list(ranked["id"]) == ["c", "a", "b", "d"] and list(ranked["rank"]) == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def pool():
    few = synthesise(SynthesiseSettings(number=8, classes=("rectangular",), **EASY), seed=901)
    many = synthesise(SynthesiseSettings(number=80, classes=("oval", "other"), **EASY), seed=902)
    return concatenate([few, many])


@pytest.mark.slow
def test_rectangles_come_first(pool):
    table = screen(pool)
    assert len(table) == len(pool)
    first = np.asarray(table["label"])[:10] == "rectangular"
    assert first.sum() >= 6


@pytest.mark.slow
def test_the_score_is_a_probability_at_the_stated_prevalence(pool):
    """A rarer kind gets lower scores, whatever is measured; the network's probabilities stand beside them."""
    common, rare = (screen(pool, ScreenSettings(prevalence=p)) for p in (0.05, 0.001))
    order = {name: row for row, name in enumerate(rare["id"])}
    rare = rare[[order[name] for name in common["id"]]]
    assert (common["score"] >= rare["score"]).all() and (common["score"] <= 1).all() and (rare["score"] >= 0).all()
    assert (np.diff(np.ma.filled(common["score"], -1)) <= 0).all()
    assert all(text for text, known in zip(common["why"], ~np.ma.getmaskarray(common["score"]), strict=True) if known)
    np.testing.assert_array_equal(common["trusted"], trusted(common["flag"]))


def test_a_network_without_a_ranking_gives_the_score_itself(pool, monkeypatch):
    monkeypatch.setattr(sys.modules["emeraldcut.screening.screen"], "read_rankings", lambda folder: None)
    table = screen(pool[:10])
    np.testing.assert_array_equal(table["score"], table["p_rectangular"])


@pytest.mark.slow
def test_order_and_chunks_do_not_matter(pool):
    shuffled = pool[np.random.default_rng(0).permutation(len(pool))]
    a, b = screen(pool), screen(shuffled)
    assert list(a["id"]) == list(b["id"])
    np.testing.assert_allclose(np.ma.filled(a["score"], -1), np.ma.filled(b["score"], -1), atol=1e-5)


def test_bad_images_keep_their_row(pool):
    bad = ImageSet(
        [np.full((64, 64), np.nan, np.float32)], Table({"id": ["empty"], "flag": [4], "flag_text": ["No data."]})
    )
    table = screen(concatenate([pool[:3], bad]))
    row = table[table["id"] == "empty"]
    assert len(table) == 4 and row["rank"][0] == 4 and row["score"].mask[0] and row["flag"][0] == 4


@pytest.fixture
def few_carefully(monkeypatch):
    """Two passes also where there are few images, in small chunks and parts."""
    chunks = ImageSource.chunks_after
    monkeypatch.setattr(two_passes, "LEAST_CAREFUL", 20)
    monkeypatch.setattr(two_passes, "CHUNK", 6)
    monkeypatch.setattr(resumable, "PART_ROWS", 20)
    monkeypatch.setattr(ImageSource, "chunks_after", lambda images, done: chunks(images, done, 16))
    yield
    unlock_all()


def stored(pool, folder):
    write_images(pool, folder / "set", command="synthesise")
    return folder / "set"


def files(pool, folder):
    """One file for each image, what is known of them in a table beside."""
    (folder / "files").mkdir()
    for name, pixels in zip(pool.table["id"], pool.pixels, strict=True):
        np.save(folder / "files" / f"{name}.npy", pixels)
    table = pool.table["id", "psf_fwhm_pix"]
    table["file"] = [f"files/{name}.npy" for name in table["id"]]
    write_table(table, folder / "files.csv")
    return folder / "files.csv"


@pytest.mark.slow
@pytest.mark.parametrize("written", [stored, files])
def test_the_careful_pass_is_that_of_all(pool, tmp_path, few_carefully, written):
    run = two_passes.screen_run(written(pool, tmp_path), tmp_path / "run", ScreenSettings(best=5, careful=0.25))
    table, facts, whole = read_table(run.path("candidates.parquet")), read_manifest(run.folder), screen(pool)
    assert facts["careful"] == table["careful"].sum() == 22 and sorted(table["id"]) == sorted(whole["id"])
    assert (
        list(table["rank"]) == list(range(1, len(pool) + 1)) and (np.diff(np.ma.filled(table["score"], -1)) <= 0).all()
    )
    sure = facts["sure_ranks"]
    assert 3 < sure <= 22 and list(table["id"][:sure]) == list(whole["id"][:sure])
    order = {name: row for row, name in enumerate(whole["id"])}
    truth, with_care = whole[[order[name] for name in table["id"]]], np.array(table["careful"])

    def values(table, name):
        return np.ma.filled(table[name].astype(float), -9)[with_care]

    for name in ("a4", "a4_err", "similarity", "similarity_p", "score", "axis_ratio", "p_rectangular", "flag"):
        np.testing.assert_allclose(values(table, name), values(truth, name), rtol=1e-4, atol=1e-5, err_msg=name)
    assert np.ma.getmaskarray(table["similarity"])[~with_care].all()
    assert np.ma.filled(table["score"] <= truth["score"] + 0.05, True).all()
    best = read_images(run.folder / "best")
    assert list(best.table["id"]) == list(table["id"][:5])
    np.testing.assert_array_equal(best.pixels[0], pool.pixels[list(pool.table["id"]).index(table["id"][0])])


@pytest.mark.slow
def test_the_page_shows_trusted_candidates_unless_asked(pool, tmp_path):
    """The best box is also shown twice: once as it is, and once in an image that ends in its middle."""
    best = screen(pool[:8])["id"][0]
    box = pool[[list(pool.table["id"]).index(best)]]
    cut = box.pixels[0].copy()
    cut[:, 36:] = np.nan
    table = box.table.copy()
    table["id"] = ["cut"]
    source = stored(concatenate([pool[:8], ImageSet([cut], table)]), tmp_path)
    shown, everything = (
        two_passes.screen_run(source, tmp_path / str(asked), ScreenSettings(best=9, include_untrusted=asked))
        for asked in (False, True)
    )
    whole = read_table(shown.path("candidates.parquet"))
    hidden = whole[~np.array(whole["trusted"])]
    assert "cut" in hidden["id"] and (hidden["flag"] & int(Flag.HIDDEN)).any() and len(whole) == 9
    assert not set(read_images(shown.folder / "best").table["id"]) & set(hidden["id"])
    assert set(read_images(everything.folder / "best").table["id"]) == set(whole["id"])
    facts = read_manifest(shown.folder)
    good = np.array(whole["trusted"]) & (np.ma.filled(whole["score"], 0) >= 0.5)
    assert facts["found"] == good.sum() and facts["expected_true"][0] == pytest.approx(whole["score"][good].sum())
    assert facts["expected_true"][0] + facts["expected_false"][0] == pytest.approx(facts["found"])
    assert set(facts["above"]) == set(facts["thresholds"])


@pytest.mark.slow
@pytest.mark.parametrize("where", ["_first_pass", "_careful_pass", "write_joined", "write_images"])
def test_a_run_that_was_stopped_goes_on(pool, tmp_path, few_carefully, monkeypatch, where):
    source, settings, calls = stored(pool, tmp_path), ScreenSettings(best=5), []
    whole = two_passes.screen_run(source, tmp_path / "whole", settings)

    def stops(*arguments, **keywords):
        calls.append(where)
        if len(calls) == 3 or where.startswith("write"):
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    original = getattr(two_passes, where)
    monkeypatch.setattr(two_passes, where, stops)
    with pytest.raises(KeyboardInterrupt):
        two_passes.screen_run(source, tmp_path / "run", settings)
    monkeypatch.setattr(two_passes, where, original)
    with pytest.raises(FileExistsError, match="other settings"):
        two_passes.screen_run(source, tmp_path / "run", ScreenSettings(best=4))
    run = two_passes.screen_run(source, tmp_path / "run", settings)
    one, other = (read_table(each.path("candidates.parquet")) for each in (whole, run))
    assert one.colnames == other.colnames
    for name in one.colnames:
        np.testing.assert_array_equal(np.ma.filled(one[name], 0), np.ma.filled(other[name], 0), err_msg=name)
    assert not list(run.folder.glob("parts*"))


@pytest.mark.parametrize("wrong", [{"prevalence": 0.0}, {"prevalence": 2.0}, {"best": 0}, {"careful": 1.5}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' must be"):
        ScreenSettings(**wrong)
