"""Gaussian process: what scores are to be expected at points of the unit cube, from those that are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr  # scipy.stats would take a second to import

LENGTH, LENGTH_SPREAD = 0.5, 1.0  # prior of the correlation lengths: log-normal, its median and width
NOISE, NOISE_SPREAD = 0.3, 1.0  # the same of the noise's standard deviation over that of the scores
AMPLITUDE_SPREAD = 0.5  # of the amplitude about that of the scores; these three are our choice
LEAST_NOISE = 1e-3  # so that repeated points leave the matrix invertible
ROOT5 = np.sqrt(5.0)


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process with a Matern 5/2 kernel and a length for each parameter (Rasmussen & Williams 2006).

    Attributes
    ----------
    points : (n, d) array
        Of the unit cube.
    values : (n,) array
        What was found there.
    lengths : (d,) array
        Correlation lengths.
    amplitude, noise : float
        Standard deviations, of what is to be found and of what is found again at the same point.
    mean : float
        Far from all points.
    """

    points: np.ndarray
    values: np.ndarray
    lengths: np.ndarray
    amplitude: float
    noise: float
    mean: float

    @property
    def factor(self) -> np.ndarray:
        """Cholesky factor (n, n), lower, of the covariance of the values."""
        covariance = self.amplitude**2 * matern(self.points, self.points, self.lengths)
        return np.asarray(cholesky(covariance + self.noise**2 * np.eye(len(self.points)), lower=True))

    def predict(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (m,) of what is to be found at points (m, d), without noise."""
        factor = self.factor
        cross = self.amplitude**2 * matern(self.points, points, self.lengths)
        mean = self.mean + cross.T @ cho_solve((factor, True), self.values - self.mean)
        variance = self.amplitude**2 - np.sum(solve_triangular(factor, cross, lower=True) ** 2, axis=0)
        return mean, np.sqrt(np.maximum(variance, 1e-18))

    def expected_improvement(self, points: np.ndarray) -> np.ndarray:
        """How much better than the best mean at a known point each point (m, d) is on average, where it is better.

        Jones, Schonlau & Welch (1998, J. Global Optim. 13, 455, equation 15); the best mean, and not the best value,
        which noise has chosen.
        """
        mean, error = self.predict(points)
        better = mean - self.predict(self.points)[0].max()
        z = better / error
        return np.asarray(better * ndtr(z) + error * np.exp(-z * z / 2) / np.sqrt(2 * np.pi))

    def believing(self, point: np.ndarray) -> GaussianProcess:
        """The same, told that at a point (d,) its own mean was found, so that the next point is sought elsewhere."""
        value = self.predict(point[None])[0]
        return GaussianProcess(
            np.vstack([self.points, point]), np.append(self.values, value), self.lengths, self.amplitude, self.noise,
            self.mean,
        )  # fmt: skip


def matern(first: np.ndarray, second: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Correlation (n, m) of points (n, d) and (m, d): (1 + s + s^2/3) exp(-s), s = sqrt(5) distance over lengths."""
    s = ROOT5 * np.sqrt(np.sum(((first[:, None] - second[None]) / lengths) ** 2, axis=-1))
    return np.asarray((1 + s + s**2 / 3) * np.exp(-s))


def fitted(points: np.ndarray, values: np.ndarray) -> GaussianProcess:
    """The Gaussian process of points (n, d) and values (n,) whose parameters are the most likely with their priors."""
    values = np.asarray(values, float)
    mean, scale = float(values.mean()), float(values.std()) or 1.0
    scaled, dimension = (values - mean) / scale, points.shape[1]
    squares = (points[:, None] - points[None]) ** 2
    start = np.log([*[LENGTH] * dimension, 1.0, NOISE])
    spread = np.array([*[LENGTH_SPREAD] * dimension, AMPLITUDE_SPREAD, NOISE_SPREAD])
    bounds = [*[(np.log(0.02), np.log(20.0))] * dimension, (np.log(0.1), np.log(10.0)), (np.log(LEAST_NOISE), 1.0)]
    found = minimize(_unlikelihood, start, (squares, scaled, start, spread), jac=True, bounds=bounds, method="L-BFGS-B")
    lengths, (amplitude, noise) = np.exp(found.x[:dimension]), np.exp(found.x[dimension:])
    return GaussianProcess(points, values, lengths, float(amplitude * scale), float(noise * scale), mean)


def _unlikelihood(
    logs: np.ndarray, squares: np.ndarray, values: np.ndarray, centre: np.ndarray, spread: np.ndarray
) -> tuple[float, np.ndarray]:
    """Minus the log of likelihood times prior, and its gradient, by the logs of lengths (d), amplitude and noise.

    `squares` (n, n, d) are squared differences of the points. Rasmussen & Williams (2006), equations 2.30 and 5.9.
    """
    lengths, amplitude, noise = np.exp(logs[:-2]), np.exp(2 * logs[-2]), np.exp(2 * logs[-1])
    s = ROOT5 * np.sqrt(squares @ (1 / lengths**2))
    falling = np.exp(-s)
    smooth = amplitude * (1 + s + s**2 / 3) * falling
    factor = cholesky(smooth + noise * np.eye(len(values)), lower=True)
    weights = cho_solve((factor, True), values)
    inner = np.outer(weights, weights) - cho_solve((factor, True), np.eye(len(values)))
    gradient = np.empty(len(logs))
    by_length = inner * (amplitude * 5 / 3 * (1 + s) * falling)
    gradient[:-2] = np.einsum("ij,ijk->k", by_length, squares) / lengths**2 / 2
    gradient[-2], gradient[-1] = np.sum(inner * smooth), noise * np.trace(inner)
    away = (logs - centre) / spread
    total = values @ weights / 2 + np.sum(np.log(np.diag(factor))) + away @ away / 2
    return float(total), away / spread - gradient
