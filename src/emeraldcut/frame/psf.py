"""What the telescope does to a galaxy, and the fit of the galaxy as it was before.

The model of `ellipse_fit` is drawn, convolved with the PSF and compared with the image, so that the fitted profile and
shape are those before the PSF. With D the patterns and P the convolution, the least-squares step needs the gradient
(P D)^T W r = D^T (P^T W r) and the matrix (P D)^T W P D. The gradient is exact and needs two convolutions however many
parameters are free. The matrix, which only guides the steps and gives the errors, is summed over every second pixel
where the PSF is wide enough. The result is that of the exact fit; only the number of steps depends on the matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emeraldcut.frame.ellipse_fit import (
    ALL,
    BASIS,
    CLIP_SIGMA,
    FIT_MARGIN,
    N_ROWS,
    RESIDUAL,
    TOLERANCE_PIX,
    TOLERANCE_SIGMA,
    box_around,
    knot_place,
    knot_radius,
    moved,
    ring_of,
    sort_by_ring,
    spline,
    tabulate,
)
from emeraldcut.frame.segment import NEIGHBOUR
from emeraldcut.galaxies.sky import Psf
from emeraldcut.numerics.jit import compiled
from emeraldcut.numerics.linalg import four_products, invert

STEP = 1.02  # ratio of the widths for which kernels are kept
BETA = 3.5  # of the Moffat profile that is assumed where only the width is known, between good and bad seeing
REACH_FWHM = 2.5  # half width of the kernel
COARSE_FWHM_PIX = 1.9  # from here on every second pixel shows all there is
OUTSIDE_WEIGHT = 0.003  # of pixels outside the measured range; they fix the profile that scatters light into it
BEND, FACTOR = 0.5, 3.0  # how far a profile is from the likely one, see `_prior`
# What may be lost of a kernel in its separable form, in the sum of absolute values: where the model is drawn, and where
# the matrix is summed.
LOST, LOST_IN_MATRIX = 2e-3, 1.5e-1


@dataclass(frozen=True)
class Kernel:
    """A PSF as a sum of products of a column and a row, (rank, taps) each.

    For the model, and more roughly for the matrix on all pixels and on every second one.
    """

    columns: np.ndarray
    rows: np.ndarray
    rough_columns: np.ndarray
    rough_rows: np.ndarray
    coarse_columns: np.ndarray
    coarse_rows: np.ndarray
    fwhm_pix: float

    def parts(self) -> tuple:
        """As `fit_before_psf` takes them."""
        return (self.fwhm_pix, self.columns, self.rows, self.rough_columns, self.rough_rows, self.coarse_columns,
                self.coarse_rows)  # fmt: skip


def separable(kernel: np.ndarray, lost: float) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows (rank, taps) float32 whose products add up to a kernel (odd, square), by singular values."""
    left, values, right = np.linalg.svd(kernel)
    for rank in range(1, len(values) + 1):
        product = (left[:, :rank] * values[:rank]) @ right[:rank]
        if np.abs(kernel - product).sum() < lost * np.abs(kernel).sum():
            break
    root = np.sqrt(values[:rank])
    product_sum = product.sum()
    columns, rows = (left[:, :rank] * root).T / product_sum, right[:rank] * root[:, None]
    return np.ascontiguousarray(columns, np.float32), np.ascontiguousarray(rows, np.float32)


@lru_cache(maxsize=2048)
def _moffat(step: int) -> Kernel:
    fwhm = STEP**step
    psf, kernels = Psf(fwhm, BETA), []
    for spacing in (1, 2):
        half = max(int(np.ceil(REACH_FWHM * fwhm / spacing)), 1)
        offset = np.arange(-half, half + 1) * spacing
        if spacing == 1:  # mean over a pixel, by Gauss-Legendre
            nodes, weights = np.polynomial.legendre.leggauss(4)
            fine = offset[:, None] + nodes / 2
            values = psf(fine[None, None], fine[:, :, None, None])
            values = np.einsum("yaxb,a,b->yx", values, weights / 2, weights / 2)
        else:
            values = psf(offset, offset[:, None])
        values /= values.sum()
        if spacing == 1:
            kernels += separable(values, LOST)
        kernels += separable(values, LOST_IN_MATRIX)
    return Kernel(*kernels, fwhm)


def moffat_kernel(fwhm_pix: float) -> Kernel:
    """A Moffat PSF (beta = 3.5) of this width, to one per cent, averaged over the pixel."""
    return _moffat(int(np.round(np.log(fwhm_pix) / np.log(STEP))))


@compiled
def _add_taps(target, source, weights, step):
    """target[i] += sum of weights[k] source[i + k step], four taps at a time: sums are loaded and stored less often."""
    n = len(target)
    for g in range(0, len(weights), 4):
        a, b, c, d = weights[g], weights[g + 1], weights[g + 2], weights[g + 3]
        p, q = source[g * step : g * step + n], source[(g + 1) * step : (g + 1) * step + n]
        r, s = source[(g + 2) * step : (g + 2) * step + n], source[(g + 3) * step : (g + 3) * step + n]
        for i in range(n):
            target[i] += a * p[i] + b * q[i] + c * r[i] + d * s[i]


@compiled
def convolve(grid, columns, rows, out, work):
    """out = grid (ny, nx) convolved with a separable kernel, nothing outside.

    All rows are one line, with zeros between them, so that each tap is one long sum. `work` is from `work_space`.
    """
    ny, nx = grid.shape
    rank, taps = rows.shape
    half, padded_taps = (taps - 1) // 2, (taps + 3) // 4 * 4
    stride = nx + half
    n = ny * stride
    line, across, down = work[0], work[1], work[2, :n]
    for y in range(ny):
        start = half + y * stride
        line[start : start + nx] = grid[y]
        line[start + nx : start + stride] = 0
    weights = np.zeros(padded_taps, np.float32)
    middle = across[half * stride : half * stride + n]
    down[:] = 0
    for r in range(rank):
        for k in range(taps):
            weights[k] = rows[r, taps - 1 - k]
        middle[:] = 0
        _add_taps(middle, line, weights, 1)
        for k in range(taps):
            weights[k] = columns[r, taps - 1 - k]
        _add_taps(down, across, weights, stride)
    for y in range(ny):
        out[y] = down[y * stride : y * stride + nx]


@compiled
def work_space(shape, columns):
    """What `convolve` needs for grids of a shape (ny, nx)."""
    taps = columns.shape[1]
    return np.zeros((3, (shape[0] + taps + 4) * (shape[1] + taps) + taps + 8), np.float32)


@compiled
def _draw_table(shape, x, y, coefficients, n_rings, places, pixels, ordered, table, angles, start):
    """Table of patterns and basis functions of all points, sorted by ring; places[j] is the point in column j."""
    sort_by_ring(shape, x, y, x, n_rings, pixels, ordered, start, places)
    tabulate(
        shape, ordered[4], ordered[0], ordered[1], ordered[2], ordered[3], start[: n_rings + 1], coefficients, -1e6,
        1e6, ALL, table, angles,
    )  # fmt: skip


@compiled
def _matrix(
    shape, coefficients, n_rings, x_first, y_first, width, height, spacing, weights, columns, rows
):  # fmt: skip
    """The matrix (P D)^T W P D of all patterns and basis functions, summed over every `spacing`-th pixel."""
    nx, ny = (width + spacing - 1) // spacing, (height + spacing - 1) // spacing
    n, size = nx * ny, ALL + n_rings + 3
    x, y = np.empty(n, np.float32), np.empty(n, np.float32)
    used, root, n_used = np.empty(n, np.int64), np.empty(n, np.float32), 0  # pixels that have any weight
    for j in range(ny):
        for i in range(nx):
            x[j * nx + i], y[j * nx + i] = x_first + i * spacing, y_first + j * spacing
            weight = weights[j * spacing, i * spacing]
            if weight > 0:
                used[n_used], root[n_used] = j * nx + i, spacing * np.sqrt(weight)
                n_used += 1
    pixels, ordered = np.empty((4, n), np.float32), np.empty((5, n), np.float32)
    table, angles = np.empty((N_ROWS, n), np.float32), np.empty((6, n), np.float32)
    places, start = np.empty(n, np.int64), np.empty(n_rings + 2, np.int64)
    bounds = start[: n_rings + 1]
    _draw_table(shape, x, y, coefficients, n_rings, places, pixels, ordered, table, angles, start)
    grids = np.zeros((size, ny, nx), np.float32)
    flat = grids.reshape(size, n)
    for a in range(ALL):
        row, target = table[a], flat[a]
        for j in range(n):
            target[places[j]] = row[j]
    for ring in range(n_rings):
        for a in range(4):
            for j in range(bounds[ring], bounds[ring + 1]):
                flat[ALL + ring + a, places[j]] = table[BASIS + a, j]
    seen = np.empty((ny, nx), np.float32)
    work = work_space((ny, nx), columns)
    for a in range(size):
        convolve(grids[a], columns, rows, seen, work)
        source, target = seen.reshape(n), flat[a]
        for j in range(n_used):
            target[j] = source[used[j]] * root[j]
    matrix = np.zeros((size, size))
    for a in range(size):
        first = flat[a, :n_used]
        for b in range(0, a + 1, 4):
            p, q = flat[b, :n_used], flat[min(b + 1, a), :n_used]
            r, s = flat[min(b + 2, a), :n_used], flat[min(b + 3, a), :n_used]
            t0, t1, t2, t3 = four_products(first, p, q, r, s)
            matrix[a, b], matrix[b, a] = t0, t0
            if b + 1 <= a:
                matrix[a, b + 1], matrix[b + 1, a] = t1, t1
            if b + 2 <= a:
                matrix[a, b + 2], matrix[b + 2, a] = t2, t2
            if b + 3 <= a:
                matrix[a, b + 3], matrix[b + 3, a] = t3, t3
    return matrix


@compiled
def _likely_profile(coefficients, sigmas, reach):
    """Light at the knots that the galaxy is likely to have: as seen, never below what its noise could hide."""
    n = len(coefficients)
    likely = np.empty(n)
    for k in range(n):
        radius = knot_radius(max(k - 1.0, 0.0))
        width = knot_radius(max(k, 1.0)) - radius
        members = 2 * np.pi * max(radius, 1.0) * width
        floor = 2 * sigmas[min(max(k - 1, 0), len(sigmas) - 1)] / np.sqrt(members)
        likely[k] = max(spline(coefficients, k - 1.0), floor) if radius < reach else floor
        if k > 0:
            likely[k] = min(likely[k], likely[k - 1])
    return likely


@compiled
def _prior(coefficients, likely):
    """Matrix and gradient of what is known of a profile: relative to the likely one it bends little from knot to knot
    (BEND), and is within a factor of a few (FACTOR). Without this a deconvolved profile swings.
    """
    n = len(coefficients)
    matrix, gradient = np.zeros((n, n)), np.zeros(n)
    bend = np.array([1.0, -2.0, 1.0]) / BEND
    for k in range(n - 2):
        amount = 0.0
        for a in range(3):
            amount += bend[a] * coefficients[k + a] / likely[k + a]
        for a in range(3):
            gradient[k + a] -= amount * bend[a] / likely[k + a]
            for b in range(3):
                matrix[k + a, k + b] += bend[a] * bend[b] / (likely[k + a] * likely[k + b])
    for k in range(n):
        gradient[k] -= (coefficients[k] - likely[k]) / (FACTOR * likely[k]) ** 2
        matrix[k, k] += 1 / (FACTOR * likely[k]) ** 2
    return matrix, gradient


@compiled
def fit_before_psf(
    image, parts, shape, coefficients, sigmas, inner, outer, fix_angle, iterations, fwhm, columns, rows, rough_columns,
    rough_rows, coarse_columns, coarse_rows,
):  # fmt: skip
    """The shape of a galaxy before the PSF, from the fit of the galaxy as it is seen.

    Parameters
    ----------
    image, parts, inner, outer, fix_angle
        As for `fit_shape`.
    shape, coefficients, sigmas
        What that fit gave.
    iterations : int
        Steps at most.
    fwhm, columns, rows, rough_columns, rough_rows, coarse_columns, coarse_rows
        The PSF, as in `Kernel`.

    Returns
    -------
    shape : (12,)
    covariance : (12, 12)
    coefficients : (k,)
        Of the profile before the PSF.
    model : (ny, nx)
        What the telescope sees of the fitted galaxy, within the pixels of the fit, 0 elsewhere.
    converged : bool
    """
    coefficients = coefficients.copy()
    ny, nx = image.shape
    model_image = np.zeros((ny, nx), np.float32)
    reach = FIT_MARGIN * outer + 1
    cos, sin, q = np.cos(shape[3]), np.sin(shape[3]), shape[2]
    x0, x1, y0, y1 = box_around(shape, reach, ny, nx)
    n_rings = len(sigmas)
    size = ALL + n_rings + 3
    covariance = np.full((ALL, ALL), np.nan)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return shape, covariance, coefficients, model_image, False
    margin = min(int(np.ceil(1.5 * fwhm)), columns.shape[1] // 2)
    width, height = x1 - x0 + 2 * margin, y1 - y0 + 2 * margin
    n = width * height
    x, y = np.empty(n, np.float32), np.empty(n, np.float32)
    for j in range(height):
        for i in range(width):
            x[j * width + i], y[j * width + i] = x0 - margin + i, y0 - margin + j
    pixels, ordered = np.empty((4, n), np.float32), np.empty((5, n), np.float32)
    table, angles = np.empty((N_ROWS, n), np.float32), np.empty((6, n), np.float32)
    places, start = np.empty(n, np.int64), np.empty(n_rings + 2, np.int64)
    bounds = start[: n_rings + 1]
    grid, seen = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    work = work_space((height, width), columns)
    weights = np.zeros((height, width), np.float32)
    inside = np.zeros((height, width), np.float32)
    flipped_columns, flipped_rows = columns[:, ::-1].copy(), rows[:, ::-1].copy()

    root_q = np.sqrt(q)
    low, high = inner * root_q, outer * root_q
    for j in range(y0, y1):
        for i in range(x0, x1):
            if parts[j, i] >= NEIGHBOUR:
                continue
            dx, dy = i - shape[0], j - shape[1]
            u, v = dx * cos + dy * sin, (dy * cos - dx * sin) / q
            r = root_q * np.sqrt(u * u + v * v)
            if not r <= reach * root_q:
                continue
            sigma = sigmas[ring_of(knot_place(r), n_rings)]
            part = min(max(r - low + 0.5, 0.0), 1.0) * min(max(high - r + 0.5, 0.0), 1.0)
            weights[j - y0 + margin, i - x0 + margin] = max(part, OUTSIDE_WEIGHT) / (sigma * sigma)
            inside[j - y0 + margin, i - x0 + margin] = sigma
    # the finest pattern, of order 8, must have a wavelength of more than two coarse pixels on the minor axis
    spacing = 2 if fwhm >= COARSE_FWHM_PIX and 2 * np.pi * 0.5 * (inner + outer) * q > 40 else 1
    kernel = (coarse_columns, coarse_rows) if spacing == 2 else (rough_columns, rough_rows)
    matrix = _matrix(
        shape, coefficients, n_rings, x0 - margin, y0 - margin, width, height, spacing, weights, kernel[0], kernel[1]
    )
    likely = _likely_profile(coefficients, sigmas, reach * root_q)
    for k in range(n_rings + 3):  # beyond the pixels of the fit the profile starts as the likely one
        if k - 1 > knot_place(reach * root_q):
            coefficients[k] = likely[k]
    prior, _ = _prior(coefficients, likely)
    matrix[ALL:, ALL:] += prior
    if fix_angle:
        matrix[3, :], matrix[:, 3] = 0.0, 0.0
    inverse = invert(matrix, 1e-7)
    covariance[:] = inverse[:ALL, :ALL]
    converged = False
    flat_grid, flat_seen = grid.reshape(n), seen.reshape(n)
    for iteration in range(iterations):
        _draw_table(shape, x, y, coefficients, n_rings, places, pixels, ordered, table, angles, start)
        model = table[RESIDUAL]
        for j in range(n):  # the table's residual is that of the coordinate x
            flat_grid[places[j]] = ordered[4, j] - model[j]
        convolve(grid, columns, rows, seen, work)
        for j in range(height):
            for i in range(width):
                weight = weights[j, i]
                grid[j, i] = 0.0
                if weight > 0:
                    residual = image[j + y0 - margin, i + x0 - margin] - seen[j, i]
                    model_image[j + y0 - margin, i + x0 - margin] = seen[j, i]
                    if abs(residual) < 1.5 * CLIP_SIGMA * inside[j, i] or iteration == 0:
                        grid[j, i] = weight * residual
        convolve(grid, flipped_columns, flipped_rows, seen, work)
        thrown = ordered[0]
        for j in range(n):
            thrown[j] = flat_seen[places[j]]
        right = np.zeros(size)
        for a in range(ALL):
            row, total = table[a], np.float32(0)
            for j in range(n):
                total += row[j] * thrown[j]
            right[a] = total
        for ring in range(n_rings):
            for a in range(4):
                row, total = table[BASIS + a], np.float32(0)
                for j in range(bounds[ring], bounds[ring + 1]):
                    total += row[j] * thrown[j]
                right[ALL + ring + a] += total
        right[ALL:] += _prior(coefficients, likely)[1]
        if fix_angle:
            right[3] = 0.0
        solution = inverse @ right
        if not np.isfinite(solution).all():
            converged = False
            break
        step = solution[:ALL].copy()
        coefficients = coefficients + solution[ALL:]
        shape = moved(shape, step, 0.3 * outer, fix_angle)
        converged = True
        for a in range(ALL):
            scale = 1.0 if a < 2 else outer
            error = np.sqrt(max(covariance[a, a], 0.0)) * scale
            if abs(step[a]) * scale > max(TOLERANCE_PIX, TOLERANCE_SIGMA * error):
                converged = False
        if converged and iteration > 0:
            break
    return shape, covariance, coefficients, model_image, converged
