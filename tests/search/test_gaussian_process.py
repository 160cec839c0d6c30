"""The Gaussian process against another package's, and what it chooses."""

import numpy as np
import pytest

from emeraldcut.errors import UsageError
from emeraldcut.search.gaussian_process import GaussianProcess, _unlikelihood, fitted
from emeraldcut.search.optimiser import proposals

RNG = np.random.default_rng(4)
POINTS, VALUES = RNG.random((25, 3)), RNG.standard_normal(25)


def test_predictions_are_those_of_another_package():
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    from sklearn.gaussian_process import GaussianProcessRegressor

    ours = GaussianProcess(POINTS, VALUES, np.array([0.3, 0.6, 2.0]), 1.3, 0.2, 0.0)
    kernel = 1.3**2 * kernels.Matern([0.3, 0.6, 2.0], nu=2.5)
    theirs = GaussianProcessRegressor(kernel, alpha=0.2**2, optimizer=None).fit(POINTS, VALUES)
    tried = RNG.random((40, 3))
    mean, error = theirs.predict(tried, return_std=True)
    np.testing.assert_allclose(ours.predict(tried)[0], mean, atol=1e-10)
    np.testing.assert_allclose(ours.predict(tried)[1], error, atol=1e-8)
    likelihood = theirs.log_marginal_likelihood_value_
    logs = np.log([0.3, 0.6, 2.0, 1.3, 0.2])
    squares = (POINTS[:, None] - POINTS[None]) ** 2
    value, _ = _unlikelihood(logs, squares, VALUES, logs, np.ones(5))  # at the middle of the prior, which adds nothing
    assert -value - 25 / 2 * np.log(2 * np.pi) == pytest.approx(likelihood)


def test_the_gradient_is_that_of_the_likelihood():
    squares, logs = (POINTS[:, None] - POINTS[None]) ** 2, np.log([0.4, 0.8, 0.3, 1.1, 0.3])
    centre, spread = np.zeros(5), np.ones(5)
    _, gradient = _unlikelihood(logs, squares, VALUES, centre, spread)
    for k in range(5):
        step = 1e-5 * (np.arange(5) == k)
        ends = [_unlikelihood(logs + sign * step, squares, VALUES, centre, spread)[0] for sign in (1, -1)]
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(gradient[k], rel=1e-5, abs=1e-7)


def test_noise_and_parameters_that_matter_are_found():
    points = np.random.default_rng(1).random((120, 3))
    values = np.sin(5 * points[:, 0]) + 0.3 * np.random.default_rng(2).standard_normal(120)
    process = fitted(points, values)
    assert process.noise == pytest.approx(0.3, rel=0.25)
    assert process.lengths[0] < 0.5 * min(process.lengths[1:])


def test_the_expected_improvement_is_the_mean_of_what_is_better():
    process = GaussianProcess(POINTS, VALUES, np.full(3, 0.4), 1.0, 0.3, 0.0)
    tried = RNG.random((3, 3))
    mean, error = process.predict(tried)
    best = process.predict(POINTS)[0].max()
    drawn = mean + error * np.random.default_rng(0).standard_normal((400_000, 3))
    np.testing.assert_allclose(
        process.expected_improvement(tried), np.maximum(drawn - best, 0).mean(axis=0), rtol=0.05, atol=1e-4
    )


def test_it_finds_a_noisy_peak_with_few_evaluations():
    peak, rng = np.array([0.31, 0.77, 0.52]), np.random.default_rng(0)
    asking = proposals(3, start=16, population=6, seed=1, method="gp")
    points = next(asking)
    for _ in range(8):
        scores = np.exp(-np.sum((points - peak) ** 2, axis=1) / 0.1) + 0.03 * rng.standard_normal(len(points))
        points = asking.send(scores)
        assert points.shape == (6, 3)
        assert points.min() >= 0
        assert points.max() <= 1
    assert np.min(np.linalg.norm(points - peak, axis=1)) < 0.12


def test_the_same_scores_bring_the_same_points():
    found = []
    for _ in range(2):
        asking = proposals(2, start=8, population=4, seed=3, method="gp")
        points = next(asking)
        for _ in range(2):
            points = asking.send(-np.sum((points - 0.4) ** 2, axis=1))
        found.append(points)
    np.testing.assert_array_equal(*found)


def test_an_unknown_method_is_refused():
    with pytest.raises(UsageError, match="one of cma, gp"):
        next(proposals(2, start=4, population=4, seed=0, method="tpe"))
