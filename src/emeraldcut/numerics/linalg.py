"""Small symmetric systems of equations, compiled, and rotation matrices."""

from __future__ import annotations

import numpy as np

from emeraldcut.numerics.jit import part


@part
def _factor(matrix: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Cholesky's lower factor (n, n) of a symmetric matrix scaled to a unit diagonal, and that scale (n,).

    `ridge` is added to the diagonal. A row of zeros gets the scale 0: nothing is known, nothing moves.
    """
    n = matrix.shape[0]
    factor, scale = np.zeros((n, n)), np.empty(n)
    for i in range(n):
        scale[i] = 1 / np.sqrt(matrix[i, i]) if matrix[i, i] > 0 else 0.0
    for i in range(n):
        for j in range(i):
            total = matrix[i, j] * scale[i] * scale[j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = total / factor[j, j]
        total = 1.0 + ridge
        for k in range(i):
            total -= factor[i, k] * factor[i, k]
        factor[i, i] = np.sqrt(max(total, 1e-12))
    return factor, scale


@part
def invert(matrix: np.ndarray, ridge: float) -> np.ndarray:
    """Inverse (n, n) of a symmetric matrix with no negative eigenvalue; see `_factor` for `ridge` and rows of zeros."""
    n = matrix.shape[0]
    factor, scale = _factor(matrix, ridge)
    lower = np.zeros((n, n))  # inverse of the factor
    for j in range(n):
        lower[j, j] = 1 / factor[j, j]
        for i in range(j + 1, n):
            total = 0.0
            for k in range(j, i):
                total -= factor[i, k] * lower[k, j]
            lower[i, j] = total / factor[i, i]
    inverse = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, n):
                total += lower[k, i] * lower[k, j]
            inverse[i, j] = total * scale[i] * scale[j]
            inverse[j, i] = inverse[i, j]
    return inverse


@part
def solve(matrix: np.ndarray, right: np.ndarray, ridge: float) -> np.ndarray:
    """The solution (n,) of matrix x = right, in the manner of `invert`."""
    n, x = matrix.shape[0], np.empty(matrix.shape[0])
    factor, scale = _factor(matrix, ridge)
    for i in range(n):
        total = right[i] * scale[i]
        for k in range(i):
            total -= factor[i, k] * x[k]
        x[i] = total / factor[i, i]
    for i in range(n - 1, -1, -1):
        total = x[i]
        for k in range(i + 1, n):
            total -= factor[k, i] * x[k]
        x[i] = total / factor[i, i]
    return x * scale


@part
def four_products(first: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray):
    """Scalar products of `first` (n,) float32 with four others; it is loaded once for all of them."""
    t0, t1, t2, t3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for j in range(len(first)):
        f = first[j]
        t0 += f * a[j]
        t1 += f * b[j]
        t2 += f * c[j]
        t3 += f * d[j]
    return t0, t1, t2, t3


@part
def four_exact_products(first: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray):
    """The same, summed in double precision: for matrices that are nearly singular."""
    t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
    for j in range(len(first)):
        f = np.float64(first[j])
        t0 += f * a[j]
        t1 += f * b[j]
        t2 += f * c[j]
        t3 += f * d[j]
    return t0, t1, t2, t3


def rotation(spin_deg: tuple[float, float]) -> np.ndarray:
    """Matrix (3, 3) that turns +z to a direction: by theta about y, then by phi about z."""
    theta, phi = np.radians(spin_deg)
    about_y = [[np.cos(theta), 0, np.sin(theta)], [0, 1, 0], [-np.sin(theta), 0, np.cos(theta)]]
    about_z = [[np.cos(phi), -np.sin(phi), 0], [np.sin(phi), np.cos(phi), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_y)
