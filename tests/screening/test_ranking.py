"""The score: a fit that finds known odds, monotone terms, bounds, thresholds, and the file that ships."""

import json

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.errors import UsageError
from emeraldcut.networks import CLASSES, load_network
from emeraldcut.networks.calibration import number_true, priors
from emeraldcut.screening import ranking as ranking_module
from emeraldcut.screening.ranking import (
    AT,
    CHANGED,
    FILE,
    TERMS,
    Ranking,
    Rankings,
    fit_ranking,
    log_odds,
    probability,
    read_rankings,
    threshold_for,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def measured(n, rng, **columns):
    """Rows as of a careful pass, with made-up measurements."""
    p = rng.dirichlet(np.ones(4), n)
    table = Table({f"p_{name}": p[:, k] for k, name in enumerate(CLASSES)})
    ranges = {"snr": (5, 400), "radius_pix": (2, 20), "psf_fwhm_pix": (1.5, 4), "axis_ratio": (0.3, 1),
              "a4": (-0.15, 0.05), "a4_err": (0.004, 0.03), "a6": (-0.03, 0.03), "a6_err": (0.004, 0.03),
              "a8": (-0.02, 0.02), "a8_err": (0.004, 0.03), "similarity": (-1, 1), "similarity_p": (0, 1),
              "residual": (0, 0.3), "typical": (0, 1), "saturated": (0, 0.3), "edge_width": (0.2, 2),
              "spikes": (0, 2), "edge_pix": (1, 20), "grain_pix": (0.5, 4), "band_agreement": (0, 1)}  # fmt: skip
    for name, (low, high) in ranges.items():
        table[name] = rng.uniform(low, high, n)
    table["flag"] = np.zeros(n, dtype=int)
    for name, values in columns.items():
        table[name] = values
    return table


@pytest.fixture(scope="module")
def shipped():
    rankings = read_rankings(load_network("screener").folder)
    assert rankings is not None
    return rankings


def test_log_odds_at_another_prevalence_are_bayes_rule(rng):
    table = measured(5, rng)
    equal = np.stack([np.array(table[f"p_{name}"]) for name in CLASSES], axis=1) / priors(CLASSES, 0.02)
    moved = equal * priors(CLASSES, 0.001)
    p = moved[:, 1] / moved.sum(axis=1)
    np.testing.assert_allclose(log_odds(table, 0.02, 0.001), np.log(p / (1 - p)), rtol=1e-6)


@pytest.mark.slow
def test_a_fit_finds_the_odds_that_were_put_in(rng):
    """Truths drawn from the network's odds and a step in a4: both come back, and the score is calibrated."""
    table = measured(5000, rng)
    true = log_odds(table, AT, AT) + 4.0 + np.where(table["a4"] < -0.05, 1.5, -1.5)
    rectangular = rng.random(len(table)) < probability(true)
    ranking = fit_ranking(table, rectangular, np.ones(len(table)), careful=True)
    found = ranking.log_odds(table, AT)
    clear = np.abs(table["a4"] + 0.05) > 0.02  # a linear spline cannot step
    assert np.abs(found - true)[clear & (np.abs(true) < 4)].mean() < 0.35
    p = probability(found)
    for low, high in ((0.05, 0.3), (0.3, 0.7), (0.7, 0.95)):
        here = (p > low) & (p < high)
        assert rectangular[here].mean() == pytest.approx(p[here].mean(), abs=4 * np.sqrt(0.25 / here.sum()))


def test_contributions_add_up_and_name_the_largest(shipped, rng):
    table = measured(50, rng)
    for prevalence in (0.01, 0.001):
        parts = shipped.careful.contributions(table, prevalence)
        total = shipped.careful.constant + sum(parts.values())
        np.testing.assert_allclose(total, shipped.careful.log_odds(table, prevalence))
    words = shipped.careful.reasons(table, AT)
    assert all(text.count(", ") == 2 for text in words)
    largest = max(parts := shipped.careful.contributions(table[:1], AT), key=lambda name: abs(parts[name][0]))
    name = {"network": "network"} | {term.name: term.words for term in TERMS}
    assert words[0].startswith(name[largest])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(t.name, t.rising) for t in TERMS if t.rising]))
def test_terms_of_known_direction_are_monotone(seed, term):
    shipped = read_rankings(load_network("screener").folder)
    for ranking in (shipped.first, shipped.careful):
        if term[0] in ranking.terms:
            assert (term[1] * np.diff(ranking.terms[term[0]]) >= -2e-4).all()
        assert (np.diff(ranking.network, axis=1) >= -2e-4).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_no_careful_pass_exceeds_the_bound(seed):
    """Whatever it measures of axis ratio, harmonics, similarity and structure."""
    shipped, rng = read_rankings(load_network("screener").folder), np.random.default_rng(seed)
    first, other = measured(20, rng), measured(20, rng)
    bound = shipped.careful.highest(first, 0.003)
    later = first.copy()
    for name in (
        "axis_ratio",
        "a4",
        "a4_err",
        "a6",
        "a6_err",
        "a8",
        "a8_err",
        "similarity",
        "similarity_p",
        "residual",
    ):
        later[name] = other[name]
    assert (shipped.careful.log_odds(later, 0.003) <= bound + 1e-9).all()
    assert set(CHANGED) <= {term.name for term in TERMS}


def test_missing_measurements_have_a_score(shipped, rng):
    table = measured(10, rng)
    for name in ("similarity", "similarity_p", "a4", "psf_fwhm_pix"):
        table[name] = np.nan
    assert np.isfinite(shipped.careful.log_odds(table, AT)).all()
    del table["similarity"]
    assert np.isfinite(shipped.careful.log_odds(table, AT)).all()


def test_a_stored_ranking_keeps_the_knots_it_was_fitted_with(shipped, rng, monkeypatch):
    """A network of an earlier version has its ranking in its folder; knots may be others now, or terms may be new."""
    table = measured(30, rng)
    before = shipped.careful.log_odds(table, AT)
    stored = json.loads(json.dumps(shipped.careful.as_dict()))
    moved = [term._replace(knots=tuple(k + 0.1 for k in (*term.knots, term.knots[-1] + 1))) for term in TERMS]
    monkeypatch.setattr(ranking_module, "TERMS", (*moved, moved[0]._replace(name="new")))
    np.testing.assert_allclose(Ranking.from_dict(stored).log_odds(table, AT), before, atol=0.01)


def test_thresholds_have_their_precision(rng):
    score, weights = rng.random(4000), np.ones(4000)
    rectangular = rng.random(4000) < score**2
    for precision in (0.5, 0.85):
        limit = threshold_for(score, rectangular, weights, precision)
        assert rectangular[score >= limit].mean() >= precision
        lower = score[score < limit].max()
        assert rectangular[score >= lower].mean() < precision
    assert threshold_for(score, np.zeros(4000, bool), weights, 0.5) is None


def test_thresholds_are_known_by_name(shipped):
    for prevalence in (0.01, 0.001):
        limits = [shipped.threshold(precision, prevalence) for precision in (0.5, 0.85, 0.9)]
        known = [limit for limit in limits if limit is not None]
        assert len(known) >= 2 and known == sorted(known) and all(0 < limit < 1 for limit in known)
    assert shipped.threshold(0.77, 0.01) is None
    between = Rankings(shipped.first, shipped.careful, {"0.01": {"0.5": 0.5}, "0.001": {"0.5": 0.8}}, {})
    assert between.threshold(0.5, 0.01 / np.sqrt(10)) == pytest.approx(2 / 3, abs=1e-3)  # odds 1 and 4: 2 in between


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=40))
def test_true_and_false_numbers_are_those_of_independent_draws(p):
    true, false = number_true(np.array(p))
    assert true[0] == pytest.approx(sum(p)) and true[0] + false[0] == pytest.approx(len(p))
    assert 0 <= true[1] <= true[0] <= true[2] <= len(p) + 1e-9
    draws = (np.random.default_rng(0).random((4000, len(p))) < np.array(p)).sum(axis=1)
    low, high = np.quantile(draws, (0.16, 0.84))
    assert abs(true[1] - min(low, true[0])) <= 1 and abs(true[2] - max(high, true[0])) <= 1


def test_intervals_of_many_are_normal():
    true, false = number_true(np.full(10_000, 0.3))
    assert true[2] - true[1] == pytest.approx(2 * np.sqrt(2100)) and false[1] == pytest.approx(7000 - np.sqrt(2100))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"first": 1, "careful": 2, "thresholds": {}, "facts": {}}'])
def test_damaged_rankings_are_a_sentence(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(UsageError, match=FILE):
        read_rankings(tmp_path)
