"""Isophotes one by one: light, centre, axes and harmonics of the pixels in a ring around each, fitted by themselves.

The model is that of `frame.ellipse_fit`, with the same patterns and the same Gauss-Newton steps, but in a ring narrow
enough that three numbers describe how its light differs from the profile of the whole galaxy: as a factor of it that
is a parabola in the radius. Each ring starts from the shape of the one before it, from the middle of the galaxy's range
outwards and then inwards, as Jedrzejewski (1987, MNRAS 226, 747) has it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emeraldcut.frame.ellipse_fit import (
    ACROSS,
    ALL,
    ALONG,
    ANGLE,
    C2,
    C3,
    C4,
    C6,
    C8,
    CLIP_SIGMA,
    GEOMETRY,
    LEAST_DEFORMATION,
    MOST_DEFORMATION,
    ORDERS,
    S2,
    S3,
    S4,
    S6,
    S8,
    SPARE_PIXELS,
    FitOptions,
    Pixels,
    Q,
    X,
    Y,
    axes_of,
    in_pixels,
    is_last,
    knot_place,
    moved,
    spline,
)
from emeraldcut.frame.frame import example_galaxy
from emeraldcut.frame.segmentation import NEIGHBOUR
from emeraldcut.numerics.jit import compiled, kernel, part
from emeraldcut.numerics.linalg import four_products, invert
from emeraldcut.numerics.median import MAD_TO_SIGMA, median_of

# Numbers for which neither a source nor a measurement is named were chosen by eye.
RESIDUAL, LIGHT, PATTERNS, ROWS = 0, 1, 4, 16  # rows of a ring's table; three of light, then ALL patterns
N_LIGHT = PATTERNS - LIGHT
OTHER_SLOPE = 0.3  # standard deviation of an isophote's d ln I / d ln r from that of the galaxy's profile
RIDGE = 1e-9  # of the normal equations, see `numerics.linalg.invert`
FAINTEST = 0.1  # noise of the sky that the profile of the galaxy is not allowed to fall below
LEAST_COVERAGE = 0.3  # fraction of a ring's area that must have data
# Steps in which the edges of a ring move with it; then its pixels are kept, since a fit that changes them does not
# settle where noise moves the shape by as much as the ring is wide.
STEPS_OF_EDGES = 2
LEAST_SCATTER = 0.5  # of a ring's pixels, in the noise of the sky
MARGIN_PIX = 1.0  # by which the steps of a fit may move a ring before its pixels are looked for anew
MOST_CORRELATED = 0.7  # residuals of neighbouring pixels, so that few of them do not make errors without bounds
UNCERTAIN = 0.15  # error of the second harmonic from which on a ring has no axes of its own
# Why the fit of a ring ended; the numbers are those of photutils' `stop_code`.
CONVERGED, FEW_PIXELS, NOT_CONVERGED, FAINT = 0, 1, 2, 4
STOPS = {
    CONVERGED: "converged",
    FEW_PIXELS: "too few pixels",
    NOT_CONVERGED: "not converged",
    FAINT: "too faint",
}


class RingOptions(NamedTuple):
    """How rings are fitted.

    Attributes
    ----------
    half_width : float
        Of a ring, in its radius,
    least_half_width : float
        and at least, in pixels.
    n_free : GEOMETRY or ALL
        Harmonics are as they were at the start, or free.
    steps : int
        Gauss-Newton steps at most.
    fix_centre, fix_axis_ratio, fix_angle : bool
        Keep these as they are at the start.
    chained : bool
        Whether a ring starts from the shape of the one before it.
    """

    half_width: float
    least_half_width: float
    n_free: int
    steps: int
    fix_centre: bool
    fix_axis_ratio: bool
    fix_angle: bool
    chained: bool


class Rings(NamedTuple):
    """What `fit_rings` finds, n rings.

    Attributes
    ----------
    shape : (n, 12)
    variance : (n, 12)
        Of the patterns' amplitudes, see `ellipse_fit.ShapeFit`; NaN where the shape is that of a neighbour or was kept.
    light, light_variance : (n,)
        Mean light on the isophote.
    slope : (n,)
        - dI/dr along the major axis.
    scatter : (n,)
        Noise per pixel about the model.
    correlation : (n,)
        Sum of the correlation of the residuals between a pixel and all around it, at least 1: spiral arms and clumps
        are larger than a pixel, and do not average out as noise does.
    pixels, coverage : (n,)
        Number of pixels with data, and the fraction of the ring's area that they are.
    stop : (n,) int64
        One of STOPS.
    """

    shape: np.ndarray
    variance: np.ndarray
    light: np.ndarray
    light_variance: np.ndarray
    slope: np.ndarray
    scatter: np.ndarray
    correlation: np.ndarray
    pixels: np.ndarray
    coverage: np.ndarray
    stop: np.ndarray


class _Ring(NamedTuple):
    """The pixels (n,) of a ring: places, light, root of weight; and its radius, half width and area in pixels."""

    x: np.ndarray
    y: np.ndarray
    value: np.ndarray
    weight: np.ndarray
    radius: float
    half: float
    area: float


@part
def _spans(shape, reach, hole, dy):
    """Columns [x0, x1) and [x2, x3) of a row at dy from the centre between two ellipses of these semi-major axes."""
    cos, sin, q2 = np.cos(shape[ANGLE]), np.sin(shape[ANGLE]), shape[Q] * shape[Q]
    a, b, c = cos * cos + sin * sin / q2, cos * sin * (1 - 1 / q2), sin * sin + cos * cos / q2
    middle, inside = shape[X] - b * dy / a, (b * b - a * c) * dy * dy
    outer, inner = inside + a * reach * reach, inside + a * hole * hole
    if outer <= 0:
        return 0, 0, 0, 0
    half = np.sqrt(outer) / a
    x0, x3 = int(np.ceil(middle - half)), int(np.floor(middle + half)) + 1
    if inner <= 0:
        return x0, x3, x3, x3
    half = np.sqrt(inner) / a
    x1, x2 = int(np.floor(middle - half)) + 1, int(np.ceil(middle + half))
    return x0, min(x1, x3), max(x2, x1), x3


@part
def _with_space(ring):
    """A ring, memory for its table, and for what is needed on the way."""
    return ring, np.empty((ROWS, len(ring.x)), np.float32), np.empty((6, len(ring.x)), np.float32)


@part
def _gather(pixels, shape, radius, half):
    """The pixels around an isophote that a ring of this half width, on any deformed ellipse near by, may have.

    With memory for their table, and for what is needed on the way, see `_place`.
    """
    ny, nx = pixels.image.shape
    deformed, mapped = 0.0, pixels.noise.size > 0
    for k in range(GEOMETRY, ALL):
        deformed += abs(shape[k])
    margin = MARGIN_PIX + 0.5  # the edges of a ring are soft
    reach = (radius + half + margin) * (1 + min(deformed, 0.5))
    hole = max(radius - half - margin, 0.0) * (1 - min(deformed, 0.5))
    height = reach * np.hypot(np.sin(shape[ANGLE]), shape[Q] * np.cos(shape[ANGLE]))
    y0, y1 = int(min(max(np.ceil(shape[Y] - height), 0), ny)), int(max(min(np.floor(shape[Y] + height) + 1, ny), 0))
    most = 0
    for y in range(y0, y1):
        x0, x1, x2, x3 = _spans(shape, reach, hole, y - shape[Y])
        most += max(x1 - x0, 0) + max(x3 - x2, 0)
    space, n = np.empty((4, most), np.float32), 0
    for y in range(y0, y1):
        x0, x1, x2, x3 = _spans(shape, reach, hole, y - shape[Y])
        for side in range(2):
            first, last = (x0, x1) if side == 0 else (x2, x3)
            for x in range(max(first, 0), min(last, nx)):
                if pixels.pixel_class[y, x] < NEIGHBOUR:
                    space[0, n], space[1, n], space[2, n] = x, y, pixels.image[y, x]
                    space[3, n] = 1 / pixels.noise[y, x] if mapped else np.float32(1)
                    n += 1
    inner, outer = max(radius - half, 0.0), radius + half
    area = np.pi * shape[Q] * (outer * outer - inner * inner)
    return _with_space(_Ring(space[0, :n], space[1, :n], space[2, :n], space[3, :n], radius, half, area))


@part
def _within(ring, work):
    """The ring without the pixels that have no weight, and memory for them, with the weights of the others."""
    kept = np.flatnonzero(work[4] > 0)
    inside = _Ring(ring.x[kept], ring.y[kept], ring.value[kept], ring.weight[kept], ring.radius, ring.half, ring.area)
    inside, table, its_work = _with_space(inside)
    its_work[4] = work[4][kept]
    return inside, table, its_work


@part
def _profile_in_ring(coefficients, q, ring, floor):
    """The galaxy's profile as a cubic polynomial (4,) of (r - radius) / half, through four points."""
    v = np.empty(4)
    for i in range(4):
        r = np.sqrt(q) * max(ring.radius + (2 * i / 3 - 1) * ring.half, 0.0)
        v[i] = max(spline(coefficients, knot_place(r)), floor)
    even, nearer, odd, steep = (v[0] + v[3]) / 2, (v[1] + v[2]) / 2, (v[3] - v[0]) / 2, (v[2] - v[1]) / 2
    p2 = 9 * (even - nearer) / 8
    p1 = (27 * steep - odd) / 8
    return np.array([even - p2, p1, p2, odd - p1], np.float32)


@part
def _place(shape, ring, work, edges):
    """Fills the ring's geometry: rows of `work` (6, n): place in the ring, radius, cosine and sine, root of weight.

    The edges of a ring are a pixel wide; without `edges` its pixels keep the weights that they have. Returns the sum of
    these weights w, without those of the noise, and that of their squares over it: the noise is the same in all pixels,
    so that the covariance is not (X'WX)^-1 but (X'WX)^-1 X'WWX (X'WX)^-1, which is taken to be this fraction of it.
    """
    axes, root_q, total, squares = axes_of(shape), np.float32(np.sqrt(shape[Q])), np.float32(0), np.float32(0)
    x0, y0, cos, sin = np.float32(axes.x), np.float32(axes.y), np.float32(axes.cos), np.float32(axes.sin)
    across, one, half = np.float32(axes.across), np.float32(1), np.float32(0.5)
    c3, s3, c4, s4 = np.float32(shape[C3]), np.float32(shape[S3]), np.float32(shape[C4]), np.float32(shape[S4])
    c6, s6, c8, s8 = np.float32(shape[C6]), np.float32(shape[S6]), np.float32(shape[C8]), np.float32(shape[S8])
    radius, width = np.float32(ring.radius), np.float32(ring.half)
    least, most = np.float32(LEAST_DEFORMATION), np.float32(MOST_DEFORMATION)
    t, r, cosine, sine, root = work[0], work[1], work[2], work[3], work[4]
    for j in range(len(ring.x)):
        dx, dy = ring.x[j] - x0, ring.y[j] - y0
        u, v = dx * cos + dy * sin, (dy * cos - dx * sin) * across
        rho = np.sqrt(u * u + v * v) + np.float32(1e-6)
        c, s = u / rho, v / rho
        d2, e2 = c * c - s * s, np.float32(2) * c * s
        d3, e3 = d2 * c - e2 * s, e2 * c + d2 * s
        d4, e4 = d2 * d2 - e2 * e2, np.float32(2) * d2 * e2
        d6, e6 = d3 * d3 - e3 * e3, np.float32(2) * d3 * e3
        d8, e8 = d4 * d4 - e4 * e4, np.float32(2) * d4 * e4
        bent = one + c3 * d3 + s3 * e3 + c4 * d4 + s4 * e4 + c6 * d6 + s6 * e6 + c8 * d8 + s8 * e8
        here = rho / min(max(bent, least), most)
        edge = min(max(half - (abs(here - radius) - width) * root_q, np.float32(0)), one)
        t[j], r[j], cosine[j], sine[j] = (here - radius) / width, here, c, s
        if edges:
            root[j] = np.sqrt(edge) * ring.weight[j]
        total += edge
        squares += edge * edge
    return total, squares / max(total, one)


@part
def _fill_light(ring, work, profile, factor, table):
    """Rows of light and residual; the last row of `work` becomes minus the slope along the major axis, weighed."""
    t, root, slope = work[0], work[4], work[5]
    p0, p1, p2, p3 = profile[0], profile[1], profile[2], profile[3]
    b0, b1, b2, steep = np.float32(factor[0]), np.float32(factor[1]), np.float32(factor[2]), np.float32(1 / ring.half)
    two, three, zero = np.float32(2), np.float32(3), np.float32(0)
    first, second, third, residual = table[LIGHT], table[LIGHT + 1], table[LIGHT + 2], table[RESIDUAL]
    for j in range(len(ring.x)):
        first[j] = ((p3 * t[j] + p2) * t[j] + p1) * t[j] + p0
    for j in range(len(ring.x)):
        change = (three * p3 * t[j] + two * p2) * t[j] + p1
        fall = change * ((b2 * t[j] + b1) * t[j] + b0) + first[j] * (two * b2 * t[j] + b1)
        slope[j] = -min(fall, zero) * steep * root[j]
    for j in range(len(ring.x)):
        first[j] *= root[j]
        second[j] = first[j] * t[j]
        third[j] = second[j] * t[j]
        residual[j] = ring.value[j] * root[j] - (b0 * first[j] + b1 * second[j] + b2 * third[j])


@part
def _fill_patterns(shape, ring, work, table, n_free):
    """Rows of the patterns of centre, second harmonic and, with n_free = ALL, the other harmonics."""
    r, c, s, slope, twice = work[1], work[2], work[3], work[5], np.float32(2)
    across, n = np.float32(1 / shape[Q]), len(ring.x)
    along_row, across_row = table[PATTERNS + ALONG], table[PATTERNS + ACROSS]
    for j in range(n):
        along_row[j], across_row[j] = slope[j] * c[j], slope[j] * s[j] * across
    first, second = table[PATTERNS + C2], table[PATTERNS + S2]
    for j in range(n):
        f = slope[j] * r[j]
        first[j], second[j] = f * (c[j] * c[j] - s[j] * s[j]), f * twice * c[j] * s[j]
    if n_free < ALL:
        return
    for i in range(len(ORDERS)):
        cos_row, sin_row, m = table[PATTERNS + GEOMETRY + 2 * i], table[PATTERNS + GEOMETRY + 2 * i + 1], ORDERS[i]
        for j in range(n):
            c2, s2 = c[j] * c[j] - s[j] * s[j], twice * c[j] * s[j]
            c3, s3 = c2 * c[j] - s2 * s[j], s2 * c[j] + c2 * s[j]
            c4, s4 = c2 * c2 - s2 * s2, twice * c2 * s2
            if m == 3:
                a, b = c3, s3
            elif m == 4:
                a, b = c4, s4
            elif m == 6:
                a, b = c3 * c3 - s3 * s3, twice * c3 * s3
            else:
                a, b = c4 * c4 - s4 * s4, twice * c4 * s4
            f = slope[j] * r[j]
            cos_row[j], sin_row[j] = f * a, f * b


@part
def _cut(table, rows, limit):
    """Takes pixels whose residual is beyond a limit out of the first rows of the table."""
    residual = table[RESIDUAL]
    for j in range(len(residual)):
        if abs(residual[j]) > limit:
            for a in range(rows):
                table[a, j] = 0.0


@kernel
def _products(table, rows):
    """The symmetric matrix (rows, rows) of all scalar products of the first rows of a table."""
    matrix = np.zeros((rows, rows))
    for a in range(rows):
        for b in range(0, a + 1, 4):
            values = four_products(table[a], table[b], table[min(b + 1, a)], table[min(b + 2, a)], table[min(b + 3, a)])
            for i in range(min(4, a + 1 - b)):
                matrix[a, b + i] = values[i]
                matrix[b + i, a] = values[i]
    return matrix


@part
def _held(matrix, right, k):
    """Keeps the k-th number of normal equations as it is."""
    matrix[k, :] = 0.0
    matrix[:, k] = 0.0
    right[k] = 0.0


@part
def _solution(table, rows, factor, ring, sigma, options):
    """Step (rows - 1,), its covariance for noise of 1, and the sums of squared residuals before and after it."""
    matrix = _products(table, rows)
    square, right, normal = matrix[0, 0], matrix[0, 1:].copy(), matrix[1:, 1:].copy()
    wide = OTHER_SLOPE * ring.half / ring.radius  # what a parabola may add to a factor of 1
    for k, width in ((1, wide * max(factor[0], 0.1)), (2, wide * wide * max(factor[0], 0.1))):
        normal[k, k] += (sigma / width) ** 2
        right[k] -= (sigma / width) ** 2 * factor[k]
    if rows > PATTERNS:
        first = PATTERNS - 1
        if options.fix_centre:
            _held(normal, right, first + ALONG)
            _held(normal, right, first + ACROSS)
        if options.fix_axis_ratio:
            _held(normal, right, first + C2)
        if options.fix_angle:
            _held(normal, right, first + S2)
    inverse, step = invert(normal, RIDGE), np.zeros(len(right))
    left = square
    for a in range(len(right)):
        for b in range(len(right)):
            step[a] += inverse[a, b] * right[b]
    for a in range(len(right)):
        left -= step[a] * right[a]
    return step, inverse, square, max(left, 0.0)


@part
def _scatter(left, freedom, sky):
    """Noise per pixel from a sum of squares; at least the sky's, less what so many pixels may show by chance."""
    return max(np.sqrt(left / freedom), sky * max(1 - np.sqrt(2 / freedom), LEAST_SCATTER))


@part
def _take_step(found, inverse, sigma, n_free, step):
    """Writes the patterns' amplitudes into `step`; their variances (n_free, n_free), on the diagonal."""
    covariance = np.zeros((n_free, n_free))
    for a in range(n_free):
        step[a], covariance[a, a] = found[N_LIGHT + a], sigma * sigma * inverse[N_LIGHT + a, N_LIGHT + a]
    return covariance


@part
def _shows_no_axes(covariance, options):
    """Whether a ring does not say what its axes are."""
    total = 0.0  # it is 0 where light does not fall, so that no pattern is seen
    for a in range(len(covariance)):
        total += covariance[a, a]
    kept_all = len(covariance) == GEOMETRY and options.fix_centre and options.fix_axis_ratio and options.fix_angle
    uncertain = max(covariance[C2, C2], covariance[S2, S2])
    return not uncertain < UNCERTAIN * UNCERTAIN or not (total > 0 or kept_all)


@part
def _stepped(shape, step, fit_options, keep_ratio):
    """The shape after a step, with or without its axis ratio."""
    new = moved(shape, step, fit_options)
    if keep_ratio:
        new[Q] = shape[Q]
    return new


@part
def _keep_variances(variance, covariance, step, radius):
    """Fills `variance` (12,), NaN where nothing is free; how far the step moved the ring, in pixels."""
    variance[:], drift = np.nan, 0.0
    for a in range(len(covariance)):
        variance[a] = covariance[a, a]
        drift += abs(in_pixels(step[a], a, radius))
    return drift


class _RingFit(NamedTuple):
    """One ring, see `Rings`: shape and variance (12,), then numbers."""

    shape: np.ndarray
    variance: np.ndarray
    light: float
    light_variance: float
    slope: float
    scatter: float
    correlation: float
    pixels: float
    coverage: float
    stop: int


@part
def _fit_ring(pixels, start, coefficients, radius, options):
    """See `fit_rings`, for one of them."""
    half = min(max(options.half_width * radius, options.least_half_width), radius)
    shape, variance, factor = start.copy(), np.full(ALL, np.nan), np.array([1.0, 0.0, 0.0])
    ring, table, work = _gather(pixels, shape, radius, half)
    fit_options = FitOptions(max(radius - half, 0.0), radius, ALL, options.steps, options.fix_angle)
    sigma, stop, light_variance, step = pixels.sigma, NOT_CONVERGED, np.nan, np.zeros(ALL)
    n, share = 0.0, 1.0  # see `_place`
    profile = _profile_in_ring(coefficients, shape[Q], ring, FAINTEST * pixels.sigma)
    limit, n_most, drift = 0.0, options.n_free, 0.0
    for iteration in range(options.steps + 1):
        settled = iteration > STEPS_OF_EDGES
        if iteration == STEPS_OF_EDGES + 1:
            ring, table, work = _within(ring, work)
        inside = _place(shape, ring, work, not settled)
        n, share = (n, share) if settled else inside
        if n < n_most + N_LIGHT + SPARE_PIXELS:  # near the centre there are pixels enough for the axes only
            n_most = GEOMETRY
        n_free = 0 if iteration == 0 else n_most  # at first the light alone
        if n < n_free + N_LIGHT + SPARE_PIXELS or n < LEAST_COVERAGE * ring.area:
            stop = FEW_PIXELS
            break
        _fill_light(ring, work, profile, factor, table)
        rows = PATTERNS + n_free
        if n_free > 0:
            _fill_patterns(shape, ring, work, table, n_free)
            _cut(table, rows, limit)
        found, inverse, square, left = _solution(table, rows, factor, ring, sigma, options)
        if not np.isfinite(found).all():
            stop = FAINT
            break
        if iteration == 0:
            factor += found
            _fill_light(ring, work, profile, factor, table)
            sigma = max(_robust_scatter(table[RESIDUAL], work[4], work[5]), pixels.sigma)
            limit = CLIP_SIGMA * sigma
            continue
        sigma = _scatter(left, max(n - share * len(found), 1.0), pixels.sigma)
        limit = CLIP_SIGMA * max(np.sqrt(square / n), sigma)  # before the step: it may not have been the last
        covariance = _take_step(found, inverse, sigma * np.sqrt(share), n_free, step)
        if _shows_no_axes(covariance, options):
            stop = FAINT
            break
        factor += found[:N_LIGHT]
        shape = _stepped(shape, step, fit_options, options.fix_axis_ratio)
        light_variance = share * sigma * sigma * inverse[0, 0] * profile[0] * profile[0]
        drift += _keep_variances(variance, covariance, step, radius)
        if drift > MARGIN_PIX and iteration < STEPS_OF_EDGES:
            (ring, table, work), drift = _gather(pixels, shape, radius, half), 0.0
        if settled and is_last(step, covariance, radius, iteration):
            stop = CONVERGED
            break
    if stop in (FAINT, FEW_PIXELS):
        shape, variance[:] = start.copy(), np.nan
        ring, table, work = _gather(pixels, shape, radius, half)
        factor, light_variance, sigma = _light_alone(ring, shape, profile, table, work, options, pixels.sigma)
    slope = -(profile[1] * factor[0] + profile[0] * factor[1]) / half
    light = profile[0] * factor[0]
    shared = _correlation(ring, table[RESIDUAL])
    return _RingFit(shape, variance, light, light_variance, slope, sigma, shared, n, min(n / ring.area, 1.0), stop)


@part
def _correlation(ring, residual):
    """Sum of the correlation of the residuals between a pixel and all around it, from that of neighbours in a row.

    If correlation falls by the same factor rho from pixel to pixel along both axes, the sum is ((1 + rho) / (1 - rho))
    squared. One standard error of rho in noise that is independent from pixel to pixel is taken from it.
    """
    product, pairs, square, used = 0.0, 0.0, 0.0, 0.0
    for j in range(len(residual)):
        square += residual[j] * residual[j]
        used += residual[j] != 0
        if (
            j > 0
            and ring.y[j] == ring.y[j - 1]
            and ring.x[j] == ring.x[j - 1] + 1
            and residual[j] * residual[j - 1] != 0
        ):
            product += residual[j] * residual[j - 1]
            pairs += 1
    if pairs < SPARE_PIXELS or square == 0:
        return 1.0
    rho = min(max(product / pairs / (square / used) - 1 / np.sqrt(pairs), 0.0), MOST_CORRELATED)
    return ((1 + rho) / (1 - rho)) ** 2


@part
def _robust_scatter(residual, root, work):
    """Standard deviation of the residuals with any weight, by the median deviation."""
    n = 0
    for j in range(len(residual)):
        if root[j] > 0:
            work[n] = abs(residual[j])
            n += 1
    return MAD_TO_SIGMA * median_of(work, n)


@part
def _light_alone(ring, shape, profile, table, work, options, sky):
    """Factor (3,) of the profile, the variance of the light, and the scatter, of a ring of this shape; NaN if empty."""
    factor = np.array([1.0, 0.0, 0.0])
    n, share = _place(shape, ring, work, True)
    if n < N_LIGHT + 1:
        return np.full(3, np.nan), np.nan, np.nan
    sigma = sky
    for _ in range(2):
        _fill_light(ring, work, profile, factor, table)
        _cut(table, PATTERNS, CLIP_SIGMA * max(sigma, _robust_scatter(table[RESIDUAL], work[4], work[5])))
        found, inverse, _, left = _solution(table, PATTERNS, factor, ring, sigma, options)
        factor += found
        sigma = max(np.sqrt(left / max(n - share * N_LIGHT, 1.0)), sky)
    return factor, share * sigma * sigma * inverse[0, 0] * profile[0] * profile[0], sigma


def fit_rings(
    pixels: Pixels, starts: np.ndarray, coefficients: np.ndarray, radii: np.ndarray, first: int, options: RingOptions
) -> Rings:
    """Fits rings around a galaxy one by one.

    Parameters
    ----------
    pixels : Pixels
    starts : (n, 12)
        Where each begins; with `options.chained` only that of the first one counts.
    coefficients : (k,)
        The galaxy's profile, see `ellipse_fit.ShapeFit`.
    radii : (n,)
        Semi-major axes in pixels, above 0 and rising.
    first : int
        Which ring is fitted first.
    options : RingOptions
    """
    found = _fit_rings(tuple(pixels), starts, coefficients, np.asarray(radii, float), first, tuple(options))
    shape, variance, numbers, stop = found
    light, light_variance, slope, scatter, correlation, n, coverage = numbers.T
    return Rings(shape, variance, light, light_variance, slope, scatter, correlation, n, coverage, stop)


@compiled
def _fit_rings(pixels, starts, coefficients, radii, first, options):
    """`fit_rings` for Python."""
    image, how, number = Pixels(*pixels), RingOptions(*options), len(radii)
    shapes, variances = starts.copy(), np.full((number, ALL), np.nan)
    numbers, stops = np.full((number, 7), np.nan), np.full(number, FEW_PIXELS)
    start = starts[first].copy()
    for place in range(number):
        # outwards from the first one, then inwards
        k = first + place if first + place < number else number - 1 - place
        if k == first - 1:
            start = shapes[first].copy()
        fit = _fit_ring(image, start if how.chained else starts[k], coefficients, radii[k], how)
        shapes[k], variances[k], stops[k] = fit.shape, fit.variance, fit.stop
        numbers[k, 0], numbers[k, 1], numbers[k, 2] = fit.light, fit.light_variance, fit.slope
        numbers[k, 3], numbers[k, 4], numbers[k, 5], numbers[k, 6] = (
            fit.scatter,
            fit.correlation,
            fit.pixels,
            fit.coverage,
        )
        if fit.stop == CONVERGED:
            start = fit.shape.copy()
    return shapes, variances, numbers, stops


def rings_example() -> None:
    """What is compiled ahead, see `numerics.jit`."""
    galaxy = example_galaxy()
    options = RingOptions(0.05, 1.0, ALL, 2, False, False, False, True)
    fit_rings(galaxy.pixels, galaxy.shape[None], galaxy.coefficients, np.array([8.0]), 0, options)
