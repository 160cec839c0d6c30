"""What the telescope does to a galaxy, and the fit of the galaxy as it was before.

The model of `ellipse_fit` is drawn, convolved with the PSF and compared with the image, so that the fitted profile and
shape are those before the PSF. With D the patterns and P the convolution, the least-squares step needs the gradient
(P D)^T W r = D^T (P^T W r) and the matrix (P D)^T W P D. The gradient is exact and needs two convolutions however many
parameters are free. The matrix, which only guides the steps and gives the errors, is summed over every second pixel
where the PSF is wide enough. The result is that of the exact fit; only the number of steps depends on the matrix.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from emeraldcut.frame.ellipse_fit import (
    ALL,
    BASIS,
    CLIP_SIGMA,
    FIT_MARGIN,
    RESIDUAL,
    S2,
    STRAIGHT_STEPS,
    FitOptions,
    Pixels,
    Points,
    Q,
    ShapeFit,
    axes_of,
    box_around,
    damping_of,
    hold,
    is_last,
    knot_place,
    knot_radius,
    moved,
    ring_of,
    sort_by_ring,
    space_for,
    spline,
    tabulate,
    to_circle,
)
from emeraldcut.frame.segmentation import NEIGHBOUR
from emeraldcut.galaxies.sky import Psf
from emeraldcut.numerics.jit import compiled, part
from emeraldcut.numerics.linalg import four_exact_products, invert

# Numbers for which neither a source nor a measurement is named were chosen by eye.
STEP = 1.02  # ratio of the widths for which kernels are kept
BETA = 3.5  # of the Moffat profile that is assumed where only the width is known, between good and bad seeing
REACH_FWHM = 2.5  # half width of the kernel
COARSE_FWHM_PIX = 1.9  # from here on every second pixel shows all there is
OUTSIDE_WEIGHT = 0.003  # of pixels outside the measured range; they fix the profile that scatters light into it
BEND, FACTOR = 0.5, 3.0  # how far a profile is from the likely one, see `_prior`
# What may be lost of a kernel in its separable form, in the sum of absolute values: where the model is drawn, and where
# the matrix is summed.
LOST, LOST_IN_MATRIX = 2e-3, 1.5e-1
# The latter of the image of a PSF: with less of its wings in the matrix the steps are too short to arrive in time.
IMAGE_LOST_IN_MATRIX = 2e-2


MARGIN_FWHM = 1.5  # the model is drawn so far beyond the fitted pixels, from where light is scattered into them
# The same of the image of a PSF: up to where this fraction of its light lies farther to one side.
MARGIN_LOST = 0.015
WINGS_LOST = 2e-3  # of the light in the image of a PSF, beyond the square that is used of it
CORE = 0.1  # of its peak: pixels above that say where its middle is
SMALLEST_SIDE = 4  # of the box of pixels; of a smaller one there is no fit
# The finest pattern, of order 8, must have a wavelength of more than two coarse pixels on the minor axis; here 2.5.
COARSE_CIRCUMFERENCE_PIX = 8 * 2.5 * 2
EVERYWHERE = 1e6  # a radius beyond any pixel
RIDGE = 1e-7  # of the normal equations, see `invert`; more than in `fit_shape`, since the patterns are convolved
STEPS_OF_CLIPPING = 2  # after the first; then the pixels that have no say are kept, so that the fit settles
CLIP_LATE = 1.5  # times CLIP_SIGMA; the pixels far from the model as it is seen were clipped before


class Separable(NamedTuple):
    """A kernel as a sum of products of a column and a row, (rank, taps) float32 each."""

    columns: np.ndarray
    rows: np.ndarray


class Kernel(NamedTuple):
    """A PSF and its full width at half maximum.

    For the model, and more roughly for the matrix, on all pixels and on every second one. Each is a `Separable` as one
    array (2, rank, taps). The model is drawn `margin_pix` beyond the fitted pixels.
    """

    fwhm_pix: float
    margin_pix: int
    fine: np.ndarray
    rough: np.ndarray
    coarse: np.ndarray


class FitBeforePsf(NamedTuple):
    """What `fit_before_psf` finds.

    Attributes
    ----------
    shape : (12,)
    covariance : (12, 12)
        NaN if nothing was fitted.
    coefficients : (k,)
        Of the profile before the PSF.
    model : (ny, nx) float32
        What the telescope sees of the fitted galaxy, within the pixels of the fit, 0 elsewhere.
    converged : bool
    """

    shape: np.ndarray
    covariance: np.ndarray
    coefficients: np.ndarray
    model: np.ndarray
    converged: bool


class Canvas(NamedTuple):
    """Where the model is drawn: the pixels of the fit and a margin.

    Attributes
    ----------
    x, y : int
        Which pixel of the image its first one is.
    weight, noise : (height, width) float32
        Weight of the pixels and their noise; 0 where none is fitted.
    """

    x: int
    y: int
    weight: np.ndarray
    noise: np.ndarray


def separable(kernel: np.ndarray, lost: float) -> Separable:
    """Columns and rows whose products add up to a kernel (odd, square), by singular values."""
    left, values, right = np.linalg.svd(kernel)
    for rank in range(1, len(values) + 1):
        product = (left[:, :rank] * values[:rank]) @ right[:rank]
        if np.abs(kernel - product).sum() < lost * np.abs(kernel).sum():
            break
    root = np.sqrt(values[:rank])
    product_sum = product.sum()
    columns, rows = (left[:, :rank] * root).T / product_sum, right[:rank] * root[:, None]
    return Separable(np.ascontiguousarray(columns, np.float32), np.ascontiguousarray(rows, np.float32))


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
            kernels.append(separable(values, LOST))
        kernels.append(separable(values, LOST_IN_MATRIX))
    return Kernel(fwhm, int(np.ceil(MARGIN_FWHM * fwhm)), *(np.stack(kernel) for kernel in kernels))


def moffat_kernel(fwhm_pix: float) -> Kernel:
    """A Moffat PSF (beta = 3.5) of this width, to one per cent, averaged over the pixel."""
    return _moffat(int(np.round(np.log(fwhm_pix) / np.log(STEP))))


class ImageKernel(NamedTuple):
    """The kernel of the image of a PSF, and where its middle lies (pixels along x and y) from the kernel's."""

    kernel: Kernel
    dx: float
    dy: float


def image_kernel(psf: np.ndarray, binning: int = 1) -> ImageKernel:
    """The image of a PSF as it is, whatever its shape, sides and middle, for pixels that are binned by `binning`.

    Parameters
    ----------
    psf : (ny, nx)
        In pixels of the image before binning, the pixel's own width included; finite, of positive sum.
    binning : int
    """
    psf = np.ascontiguousarray(psf, np.float32)
    return _image_kernel(psf.tobytes(), psf.shape, binning)


@lru_cache(maxsize=256)
def _image_kernel(data: bytes, shape: tuple[int, int], binning: int) -> ImageKernel:
    # Light is not negative. Rings that are, in the images of PSFs of real surveys, hold up to a fifth of the light, and
    # stars in the same fields have none of them (KiDS, seen here in ten fields).
    positive = np.maximum(np.frombuffer(data, np.float32).reshape(shape).astype(float), 0.0)
    psf, dx, dy = _around_middle(positive, binning)
    psf /= psf.sum()
    # width of the Gaussian that has as much noise-equivalent area, 1 / sum p^2 = 4 pi sigma^2
    fwhm = float(np.sqrt(8 * np.log(2) / (4 * np.pi * np.sum(psf**2))))
    half = len(psf) // 2
    beyond = [psf.sum(axis=axis)[np.abs(np.arange(-half, half + 1)) > k].sum() / 2
              for k in range(half + 1) for axis in (0, 1)]  # fmt: skip
    margin = int(np.argmax(np.reshape(beyond, (-1, 2)).max(axis=1) < MARGIN_LOST))
    every_second = psf[half % 2 :: 2, half % 2 :: 2]
    rough = IMAGE_LOST_IN_MATRIX
    kernels = [separable(psf, LOST), separable(psf, rough), separable(every_second, rough)]
    return ImageKernel(Kernel(fwhm, margin, *(np.stack(kernel) for kernel in kernels)), dx, dy)


def _around_middle(psf: np.ndarray, binning: int) -> tuple[np.ndarray, float, float]:
    """An odd square around the middle of a PSF, in binned pixels, without what lies far out; and where that middle is.

    Along x and y, from that of the square.
    """
    places = np.indices(psf.shape)
    core = np.where(psf > CORE * psf.max(), psf, 0.0)
    middle = (places * core).sum(axis=(1, 2)) / core.sum()
    # the mean of a block of pixels sees the sum of that block of the PSF
    first = np.round(middle - (binning - 1) / 2).astype(int)  # of the block nearest to the middle
    blocks = int(max(np.max(first), np.max(np.array(psf.shape) - first)) // binning) + 1  # on either side
    side = (2 * blocks + 1) * binning
    square, corner = np.zeros((side, side)), blocks * binning - first
    square[corner[0] : corner[0] + psf.shape[0], corner[1] : corner[1] + psf.shape[1]] = psf
    square = square.reshape(2 * blocks + 1, binning, 2 * blocks + 1, binning).sum(axis=(1, 3))
    dy, dx = (middle - first - (binning - 1) / 2) / binning
    y, x = np.abs(np.indices(square.shape) - blocks)
    total = square.sum()
    beyond = [square[np.maximum(x, y) > half].sum() for half in range(blocks + 1)]
    half = max(int(np.argmax(np.array(beyond) <= WINGS_LOST * total)), 1)
    inside = slice(blocks - half, blocks + half + 1)
    return square[inside, inside], float(dx), float(dy)


@part
def _add_taps(target, source, weights, step):
    """target[i] += sum of weights[k] source[i + k step], four taps at a time: sums are loaded and stored less often."""
    n = len(target)
    for g in range(0, len(weights), 4):
        a, b, c, d = weights[g], weights[g + 1], weights[g + 2], weights[g + 3]
        p, q = source[g * step : g * step + n], source[(g + 1) * step : (g + 1) * step + n]
        r, s = source[(g + 2) * step : (g + 2) * step + n], source[(g + 3) * step : (g + 3) * step + n]
        for i in range(n):
            target[i] += a * p[i] + b * q[i] + c * r[i] + d * s[i]


@part
def convolve(grid, kernel, out, work):
    """out = grid (ny, nx) convolved with a separable kernel, nothing outside.

    All rows are one line, with zeros between them, so that each tap is one long sum. `work` is from `work_space`.
    """
    ny, nx = grid.shape
    rank, taps = kernel.rows.shape
    half, padded_taps = (taps - 1) // 2, (taps + 3) // 4 * 4
    stride = nx + half
    n = ny * stride
    line, across, down = work[0], work[1], work[2, :n]
    for y in range(ny):
        start = half + y * stride
        for x in range(nx):
            line[start + x] = grid[y, x]
        line[start + nx : start + stride] = 0
    weights = np.zeros(padded_taps, np.float32)
    middle = across[half * stride : half * stride + n]
    down[:] = 0
    for r in range(rank):
        for k in range(taps):
            weights[k] = kernel.rows[r, taps - 1 - k]
        middle[:] = 0
        _add_taps(middle, line, weights, 1)
        for k in range(taps):
            weights[k] = kernel.columns[r, taps - 1 - k]
        _add_taps(down, across, weights, stride)
    for y in range(ny):
        for x in range(nx):
            out[y, x] = down[y * stride + x]


@part
def work_space(shape, kernel):
    """What `convolve` needs for grids of a shape (ny, nx)."""
    taps = kernel.columns.shape[1]
    return np.zeros((3, (shape[0] + taps + 4) * (shape[1] + taps) + taps + 8), np.float32)


@part
def _flipped(kernel):
    """The kernel seen through a point: its convolution is the transposed one."""
    return Separable(kernel.columns[:, ::-1].copy(), kernel.rows[:, ::-1].copy())


@part
def _grid_points(canvas, spacing):
    """Every `spacing`-th pixel of the canvas along both axes, row by row, and how many rows and columns they are.

    Their light is 0, so that the residual is minus the model, to the last bit.
    """
    ny, nx = canvas.weight.shape
    wide, high = (nx + spacing - 1) // spacing, (ny + spacing - 1) // spacing
    x, y = np.empty(high * wide, np.float32), np.empty(high * wide, np.float32)
    for j in range(high):
        for i in range(wide):
            x[j * wide + i], y[j * wide + i] = canvas.x + i * spacing, canvas.y + j * spacing
    return Points(x, y, np.zeros(high * wide, np.float32), x[:0]), high, wide


@part
def _draw(shape, coefficients, points, rings):
    """Fills the table of all points, with patterns and basis functions everywhere."""
    sort_by_ring(shape, points, rings)
    tabulate(rings, shape[Q], coefficients, FitOptions(-EVERYWHERE, EVERYWHERE, ALL, 1, False))


@part
def _pictures(rings, ny, nx):
    """Pictures (ALL + k, ny, nx) of all patterns and basis functions of a table of points row by row."""
    n_rings, table, place = len(rings.start) - 2, rings.table, rings.place
    size = ALL + n_rings + 3
    pictures = np.zeros((size, ny, nx), np.float32)
    flat = pictures.reshape(size, ny * nx)
    for a in range(ALL):
        row, target = table[a], flat[a]
        for j in range(len(row)):
            target[place[j]] = row[j]
    for ring in range(n_rings):
        for a in range(4):
            row, target = table[BASIS + a], flat[ALL + ring + a]
            for j in range(rings.start[ring], rings.start[ring + 1]):
                target[place[j]] = row[j]
    return pictures


@part
def _used_pixels(canvas, spacing, ny, nx):
    """Which of the points of `_grid_points` have any weight, and the root of the weight of the pixels around each."""
    used, root, n = np.empty(ny * nx, np.int64), np.empty(ny * nx, np.float32), 0
    for j in range(ny):
        for i in range(nx):
            weight = canvas.weight[j * spacing, i * spacing]
            if weight > 0:
                used[n], root[n] = j * nx + i, spacing * np.sqrt(weight)
                n += 1
    return used[:n], root[:n]


@part
def _squares(rows, n):
    """The symmetric matrix of all scalar products of the first n columns of rows (k, ...) float32."""
    size = len(rows)
    matrix = np.zeros((size, size))
    for a in range(size):
        first = rows[a, :n]
        for b in range(0, a + 1, 4):
            p, q = rows[b, :n], rows[min(b + 1, a), :n]
            r, s = rows[min(b + 2, a), :n], rows[min(b + 3, a), :n]
            t0, t1, t2, t3 = four_exact_products(first, p, q, r, s)
            matrix[a, b], matrix[b, a] = t0, t0
            if b + 1 <= a:
                matrix[a, b + 1], matrix[b + 1, a] = t1, t1
            if b + 2 <= a:
                matrix[a, b + 2], matrix[b + 2, a] = t2, t2
            if b + 3 <= a:
                matrix[a, b + 3], matrix[b + 3, a] = t3, t3
    return matrix


@part
def _matrix(shape, coefficients, canvas, spacing, kernel):
    """The matrix (P D)^T W P D of all patterns and basis functions, summed over every `spacing`-th pixel."""
    points, ny, nx = _grid_points(canvas, spacing)
    rings = space_for(ny * nx, len(coefficients) - 3)
    _draw(shape, coefficients, points, rings)
    pictures = _pictures(rings, ny, nx)
    used, root = _used_pixels(canvas, spacing, ny, nx)
    seen, work, flat = np.empty((ny, nx), np.float32), work_space((ny, nx), kernel), pictures.reshape(-1, ny * nx)
    for a in range(len(pictures)):
        convolve(pictures[a], kernel, seen, work)
        source, target = seen.reshape(ny * nx), flat[a]
        for j in range(len(used)):
            target[j] = source[used[j]] * root[j]
    return _squares(flat, len(used))


@part
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


@part
def _add_prior(matrix, likely):
    """Adds to a matrix (k, k) what is known of a profile before any pixel.

    Relative to the likely one it bends little from knot to knot (BEND), and is within a factor of a few (FACTOR).
    Without this a deconvolved profile swings.
    """
    n, bend = len(likely), (1.0 / BEND, -2.0 / BEND, 1.0 / BEND)
    for k in range(n - 2):
        for a in range(3):
            for b in range(3):
                matrix[k + a, k + b] += bend[a] * bend[b] / (likely[k + a] * likely[k + b])
    for k in range(n):
        matrix[k, k] += 1 / (FACTOR * likely[k]) ** 2


@part
def _add_prior_gradient(gradient, coefficients, likely):
    """Adds to the gradient (k,) what `_add_prior` says of a profile."""
    n, bend = len(coefficients), (1.0 / BEND, -2.0 / BEND, 1.0 / BEND)
    for k in range(n - 2):
        amount = 0.0
        for a in range(3):
            amount += bend[a] * coefficients[k + a] / likely[k + a]
        for a in range(3):
            gradient[k + a] -= amount * bend[a] / likely[k + a]
    for k in range(n):
        gradient[k] -= (coefficients[k] - likely[k]) / (FACTOR * likely[k]) ** 2


@part
def _canvas_for(pixels, shape, sigmas, options, box, margin):
    """The canvas around a box of pixels, with weights and noise of those that are fitted."""
    root_q, reach = np.sqrt(shape[Q]), FIT_MARGIN * options.outer + 1
    low, high, axes = options.inner * root_q, options.outer * root_q, axes_of(shape)
    size = (box.y1 - box.y0 + 2 * margin, box.x1 - box.x0 + 2 * margin)
    weight, noise = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for j in range(box.y0, box.y1):
        for i in range(box.x0, box.x1):
            if pixels.pixel_class[j, i] >= NEIGHBOUR:
                continue
            u, v = to_circle(i, j, axes)
            r = root_q * np.sqrt(u * u + v * v)
            if not r <= reach * root_q:
                continue
            sigma = sigmas[ring_of(knot_place(r), len(sigmas))]
            if pixels.noise.size > 0:
                sigma *= pixels.noise[j, i]
            part = min(max(r - low + 0.5, 0.0), 1.0) * min(max(high - r + 0.5, 0.0), 1.0)
            weight[j - box.y0 + margin, i - box.x0 + margin] = max(part, OUTSIDE_WEIGHT) / (sigma * sigma)
            noise[j - box.y0 + margin, i - box.x0 + margin] = sigma
    return Canvas(box.x0 - margin, box.y0 - margin, weight, noise)


@part
def _guide(shape, coefficients, canvas, options, kernel):
    """The matrix that guides the steps, with every second pixel where that is enough."""
    circumference = 2 * np.pi * 0.5 * (options.inner + options.outer) * shape[Q]
    if kernel.fwhm_pix >= COARSE_FWHM_PIX and circumference > COARSE_CIRCUMFERENCE_PIX:
        spacing, rough = 2, kernel.coarse
    else:
        spacing, rough = 1, kernel.rough
    return _matrix(shape, coefficients, canvas, spacing, Separable(rough[0], rough[1]))


@part
def _inverse_at(shape, coefficients, canvas, options, kernel, likely):
    """The inverse of the matrix that guides the steps from a shape and a profile, with what is known of the latter."""
    matrix = _guide(shape, coefficients, canvas, options, kernel)
    _add_prior(matrix[ALL:, ALL:], likely)
    if options.fix_angle:
        hold(matrix, S2)
    return invert(matrix, RIDGE)


@part
def _weigh_residuals(image, canvas, seen, anew, far, out, model):
    """Writes weighted residuals of what is seen of the model into `out`, and what is seen into `model`, an image.

    Pixels `far` from the model have no say; with `anew` these are found first.
    """
    ny, nx = seen.shape
    for j in range(ny):
        for i in range(nx):
            weight, x, y = canvas.weight[j, i], i + canvas.x, j + canvas.y
            out[j, i] = 0.0
            if weight > 0:
                residual = image[y, x] - seen[j, i]
                model[y, x] = seen[j, i]
                if anew:
                    far[j, i] = abs(residual) > CLIP_LATE * CLIP_SIGMA * canvas.noise[j, i]
                if not far[j, i]:
                    out[j, i] = weight * residual


@part
def _project(rings, thrown):
    """Scalar products (ALL + k,) of all patterns and basis functions with a picture, given point by point."""
    n_rings, place, column = len(rings.start) - 2, rings.place, rings.radius  # the radius is not needed any more
    for j in range(len(column)):
        column[j] = thrown[place[j]]
    right = np.zeros(ALL + n_rings + 3)
    for a in range(ALL):
        row, total = rings.table[a], np.float32(0)
        for j in range(len(row)):
            total += row[j] * column[j]
        right[a] = total
    for ring in range(n_rings):
        for a in range(4):
            row, total = rings.table[BASIS + a], np.float32(0)
            for j in range(rings.start[ring], rings.start[ring + 1]):
                total += row[j] * column[j]
            right[ALL + ring + a] += total
    return right


@part
def _times(matrix, vector):
    """The product (n,) of a matrix (n, n) and a vector."""
    product = np.zeros(len(vector))
    for a in range(len(vector)):
        for b in range(len(vector)):
            product[a] += matrix[a, b] * vector[b]
    return product


def fit_before_psf(pixels: Pixels, seen: ShapeFit, options: FitOptions, kernel: Kernel | ImageKernel) -> FitBeforePsf:
    """The shape of a galaxy before the PSF, from the fit of the galaxy as it is seen.

    Parameters
    ----------
    pixels : Pixels
    seen : ShapeFit
        What `fit_shape` gave for the same range.
    options : FitOptions
        All patterns are free, whatever it says.
    kernel : Kernel or ImageKernel
        The place of the shape is that of the light that is seen, wherever the middle of the PSF's image lies.
    """
    shape, offset, separable = seen.shape, np.zeros(2), kernel
    if isinstance(kernel, ImageKernel):
        shape, offset, separable = shape.copy(), np.array([kernel.dx, kernel.dy]), kernel.kernel
        shape[:2] -= offset
    start = (shape, seen.coefficients, seen.sigmas)
    found = FitBeforePsf(*_fit_before_psf(tuple(pixels), start, tuple(options), tuple(separable)))
    found.shape[:2] += offset
    if found.converged or options.iterations <= STRAIGHT_STEPS:
        return found
    return fit_before_psf(pixels, seen, options._replace(iterations=STRAIGHT_STEPS), kernel)


@compiled
def _fit_before_psf(pixels, start, options, kernel):
    """`fit_before_psf` for Python."""
    return _deconvolved(Pixels(*pixels), start, FitOptions(*options), Kernel(*kernel))[:]


@part
def _deconvolved(pixels, start, options, kernel):
    """See `fit_before_psf`; starts with a shape, and coefficients and noise of the profile."""
    shape, coefficients, sigmas = start[0], start[1].copy(), start[2]
    fine = Separable(kernel.fine[0], kernel.fine[1])
    model, covariance = np.zeros(pixels.image.shape, np.float32), np.full((ALL, ALL), np.nan)
    reach = FIT_MARGIN * options.outer + 1
    box = box_around(shape, reach, pixels.image.shape[0], pixels.image.shape[1])
    if box.x1 - box.x0 < SMALLEST_SIDE or box.y1 - box.y0 < SMALLEST_SIDE:
        return FitBeforePsf(shape, covariance, coefficients, model, False)
    margin = min(kernel.margin_pix, fine.columns.shape[1] // 2)
    canvas = _canvas_for(pixels, shape, sigmas, options, box, margin)
    reach *= np.sqrt(shape[Q])
    likely = _likely_profile(coefficients, sigmas, reach)
    for k in range(len(coefficients)):  # beyond the pixels of the fit the profile starts as the likely one
        if k - 1 > knot_place(reach):
            coefficients[k] = likely[k]
    points, ny, nx = _grid_points(canvas, 1)
    rings = space_for(ny * nx, len(sigmas))
    grid, thrown = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32)
    work, far = work_space((ny, nx), fine), np.zeros((ny, nx), np.bool_)
    flat, transposed, converged = grid.reshape(ny * nx), _flipped(fine), False
    inverse = _inverse_at(shape, coefficients, canvas, options, kernel, likely)
    covariance[:] = inverse[:ALL, :ALL]
    last, damping = np.zeros(ALL), 1.0
    for iteration in range(options.iterations):
        _draw(shape, coefficients, points, rings)
        for j in range(ny * nx):
            flat[rings.place[j]] = -rings.table[RESIDUAL, j]
        convolve(grid, fine, thrown, work)
        anew = 0 < iteration <= STEPS_OF_CLIPPING
        _weigh_residuals(pixels.image, canvas, thrown, anew, far, grid, model)
        convolve(grid, transposed, thrown, work)
        right = _project(rings, thrown.reshape(ny * nx))
        _add_prior_gradient(right[ALL:], coefficients, likely)
        if options.fix_angle:
            right[S2] = 0.0
        solution = _times(inverse, right)
        if not np.isfinite(solution).all():
            converged = False
            break
        converged = is_last(solution, covariance, options.outer, iteration)
        damping = damping_of(solution, last, damping, options.outer)
        last = solution[:ALL].copy()
        coefficients += damping * solution[ALL:]
        shape = moved(shape, damping * last, options)
        if converged and iteration > 0:
            break
    return FitBeforePsf(shape, covariance, coefficients, model, converged)
