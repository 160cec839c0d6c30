"""Studies: shares with intervals, tests and corrections, against known truth; and a study of a small suite."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from emeraldcut.networks import CLASSES
from emeraldcut.study.shares import (
    confusion_of,
    corrected,
    dependence,
    estimate_shares,
    share_interval,
    shares_of,
)

CONFUSION = np.array([[90, 2, 3, 5], [4, 80, 14, 2], [6, 20, 70, 4], [8, 3, 1, 88]])


def test_a_merger_is_one_draw_however_many_views_it_has():
    mergers = np.array(["b"] * 2 + ["a"] * 6)
    labels = np.array(["oval", "rectangular", *["oval"] * 6])
    names, shares = shares_of(labels, mergers, CLASSES)
    assert names.tolist() == ["a", "b"]
    np.testing.assert_allclose(shares[:, :2], [[1, 0], [0.5, 0.5]])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4))
def test_correction_finds_the_true_shares(parts):
    true = np.array(parts) / sum(parts)
    eye = CONFUSION / CONFUSION.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(corrected(true @ eye, eye), true, atol=2e-3)


def test_correction_stays_among_shares():
    """Where the inverse of the confusion would be negative: more ovals than a world of ovals would show."""
    eye = CONFUSION / CONFUSION.sum(axis=1, keepdims=True)
    found = corrected(np.array([0.99, 0.01, 0.0, 0.0]), eye)
    assert found.min() >= 0 and found.sum() == pytest.approx(1) and found.argmax() == 0


def test_confusion_counts():
    counts = confusion_of(np.array(["oval", "oval", "other"]), np.array(["oval", "rectangular", "other"]), CLASSES)
    np.testing.assert_array_equal(counts, np.array([[1, 1, 0, 0], [0] * 4, [0] * 4, [0, 0, 0, 1]]))


def test_many_independent_mergers_give_the_textbook_interval():
    """One view each of 400 mergers: a plain binomial share."""
    shares = np.zeros((400, 1))
    shares[:120] = 1
    (found,) = estimate_shares(shares, np.random.default_rng(0), repeats=4000)
    low, high = beta.ppf((0.05, 0.95), 120.5, 280.5)
    assert found.low == pytest.approx(low, abs=0.004) and found.high == pytest.approx(high, abs=0.004)


def test_what_no_merger_shows_may_still_be():
    none = share_interval(0.0, 0.0, 10)
    assert none.low == 0 and 0.1 < none.high < 0.3


@pytest.mark.parametrize("mergers", [8, 24])
def test_intervals_hold_the_truth(mergers):
    """500 studies with known shares, whose mergers differ in all they show, seen by an eye that errs."""
    rng, true = np.random.default_rng(mergers), np.array([0.45, 0.2, 0.1, 0.25])
    eye = CONFUSION / CONFUSION.sum(axis=1, keepdims=True)
    held, mended = np.zeros(4), np.zeros(4)
    for _ in range(500):
        own = rng.dirichlet(2 * true, mergers)
        seen = np.array([rng.multinomial(30, p) for p in own @ eye]) / 30
        counts = np.array([rng.multinomial(400, row) for row in eye])
        for total, truth, found in (
            (held, true @ eye, estimate_shares(seen, rng, repeats=100)),
            (mended, true, estimate_shares(seen, rng, counts, repeats=100)),
        ):
            total += [one.low <= share <= one.high for share, one in zip(truth, found, strict=True)]
    assert 0.85 <= held.mean() / 500 <= 0.95 and 0.85 <= mended.mean() / 500 <= 0.95


def test_chance_is_even_where_nothing_depends():
    rng = np.random.default_rng(3)
    values, alike = np.repeat([1.0, 2.0, 3.0], 6), np.tile(np.arange(6), 3)
    chances = [dependence(rng.beta(0.4, 1, 18), values, alike, rng, repeats=50).p for _ in range(60)]
    assert 0.35 < np.mean(chances) < 0.65 and min(chances) < 0.2


def test_a_dependence_is_found_with_its_size():
    rng = np.random.default_rng(4)
    values, alike = np.repeat([0.0, 1.0, 2.0], 8), np.tile(np.arange(8), 3)
    shares = 0.6 - 0.2 * values + rng.normal(0, 0.05, 24)
    found = dependence(shares, values, alike, rng)
    assert found.p < 0.001 and found.explained > 0.8
    assert found.slope.low <= -0.2 <= found.slope.high and found.slope.high < -0.1
    assert found.difference.value == pytest.approx(shares[16:].mean() - shares[:8].mean())
    with pytest.raises(ValueError, match="two or more different values"):
        dependence(shares, np.ones(24), alike, rng)
