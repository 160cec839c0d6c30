"""A galaxy as one light profile on one (deformed) ellipse, fitted to all its pixels at once.

The model is I(x, y) = f(s) with the isophote radius s = rho / (1 + sum_m [c_m cos(m psi) + s_m sin(m psi)]), where
rho and psi are the elliptical radius and the elliptical (eccentric) angle about the centre: x' = rho cos(psi) along
the major axis and y' = q rho sin(psi) along the minor one. Taking the harmonics along psi and not along the polar
angle is what makes them free of the axis ratio (Ciambur 2015, ApJ 810, 120).

Changing one parameter by a little changes the model by f'(s) times the change of s, so every parameter is the
amplitude of a known pattern (derived here from the definitions above):

    centre, along the major axis     - cos(psi)       s/rho f'(s)
    centre, along the minor axis     - sin(psi) / q   s/rho f'(s)
    c_m, s_m                         - s cos(m psi),  - s sin(m psi)   times f'(s)

The second harmonic is the ellipse itself: c_2 and s_2 turn the unit circle of the stretched plane into the ellipse
[[1 + c_2, s_2], [s_2, 1 - c_2]], whose axes, seen on the sky, are the new axis ratio and position angle. This is
Jedrzejewski's (1987, MNRAS 226, 747) relation between the first two harmonics and the geometry, written for pixels
and without his degeneracy at q = 1. Gauss-Newton steps on these patterns, together with the profile f (a cubic
B-spline), are a weighted least-squares fit; its covariance holds the errors of the harmonics with those of centre and
axes marginalised. Isophotes cover all angles, so what no isophote can show, an even light profile, is what the profile
takes; masked sectors enter because their pixels are missing from the sums.

Compiled functions hold a shape as 12 numbers: x, y, q, angle, then c_m and s_m for m in ORDERS; X, Y, Q, ANGLE, C3, S3
and so on say where each is. Radii inside are circularised, sqrt(q) times those along the major axis, because a step of
the ellipse keeps these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from emeraldcut.frame.segmentation import NEIGHBOUR
from emeraldcut.numerics.jit import FAST, Real, compiled, part
from emeraldcut.numerics.linalg import four_products, invert, solve
from emeraldcut.numerics.median import MAD_TO_SIGMA, median_of

# Numbers for which neither a source nor a measurement is named were chosen by eye.
ORDERS = (3, 4, 6, 8)  # harmonics measured; 1 and 2 are centre and axes
X, Y, Q, ANGLE, C3, S3, C4, S4, C6, S6, C8, S8 = range(12)  # places in a shape
ALONG, ACROSS, C2, S2 = range(4)  # places in a step, where they differ: centre along both axes, second harmonic
GEOMETRY, ALL = 4, 12  # numbers that are free: centre and axes, or these and the harmonics
MIN_AXIS_RATIO = 0.05  # that a step may lead to
# What one step changes at most: c_2 and s_2, harmonics, and the centre in outer radii.
MOST_AXES, MOST_HARMONIC, MOST_CENTRE = 0.15, 0.08, 0.3
LEAST_DEFORMATION, MOST_DEFORMATION = 0.3, 3.0  # of any isophote, so that a bad step leaves one
# A fit has converged when its last step moved no isophote by more than this, in pixels or in shares of its error. What
# remains after that step is a tenth of it or less.
TOLERANCE_PIX, TOLERANCE_SIGMA = 0.02, 0.25
# A fit that needs more than STRAIGHT_STEPS wanders, along a path that hangs on the last bit of the pixels. So that
# this does not matter, its last step is smaller by AFTER_WANDERING. One that has not settled after MOST_STEPS is left
# where it was before it wandered, and flagged. Of 800 synthetic galaxies of all classes and artefacts these are 5 %,
# with a known PSF 7 %, of the rectangles among them 1 %; of the others less than one in a hundred moves by more than
# 1e-4 of its errors in another unit, and none by more than .012.
STRAIGHT_STEPS, AFTER_WANDERING, MOST_STEPS = 10, 0.1, 20
ALMOST_PIX = 0.22  # a step below this may be the last one: then errors are computed; saves time only
# A step that turns back by more than this fraction of the one before it is damped, and what is left of it at least. Of
# 177 synthetic galaxies below a S/N of 40 two do not settle; without this there were 27.
TURNS_BACK, LEAST_DAMPING = -1 / 3, 0.2
CLIP_SIGMA = 5.0  # pixels farther from the model have no say
# Steps in which the noise of the rings, and with it the pixels that have no say, are found anew. A fit whose weights
# change for ever does not settle, and then what it ends with hangs on the last bit.
STEPS_OF_WEIGHTS = 4
SPARE_PIXELS = 8  # that a fit needs beyond one for each number that is free
FIT_MARGIN = 1.08  # the profile is fitted out to this many times the outer end of the range
CORE_PIX, SPACING = 1.5, 0.45  # of the profile's knots
KNOTS_REACH = 1.2  # the last knot, in radii out to which pixels are fitted: deformed isophotes reach beyond
SMOOTHNESS = 1e-4  # weight of the squared second differences, which settle coefficients without pixels
MAX_INTERVALS = 40
LEAST_S2 = 0.002  # error of s_2 without any noise, see `turn_error`
RIDGE = 1e-9  # of the normal equations, whose diagonal is scaled to 1: far above rounding, far below what matters
CUT_VARIANCE = 0.9733  # a normal distribution's variance inside 3 sigma
FEWEST_OF_SCATTER = 12  # pixels whose scatter may say more of the noise than what is expected
RESIDUAL, BASIS, SLOPE, N_ROWS = ALL, ALL + 1, ALL + 5, ALL + 6  # rows of the table of pixels, after the patterns


EVEN = np.zeros((0, 0), np.float32)  # in the place of a noise map, where all pixels are alike


class Axes(NamedTuple):
    """Where an ellipse lies, made ready for many pixels.

    Centre, direction of its major axis, and by what lengths along and across it are multiplied so that it becomes a
    circle.
    """

    x: Real
    y: Real
    cos: Real
    sin: Real
    along: Real
    across: Real


class Box(NamedTuple):
    """First and last + 1 of columns and rows of an image."""

    x0: int
    x1: int
    y0: int
    y1: int


class Pixels(NamedTuple):
    """What a shape is fitted to.

    Attributes
    ----------
    image : (ny, nx) float32
        Light less the sky, of the size of 1, see `Segmentation`.
    pixel_class : (ny, nx) uint8
        What each pixel is; neighbours and missing pixels are not used.
    sigma : float
        Noise per pixel of the sky; larger noise of bright pixel_class is found from the residuals.
    noise : (ny, nx) float32
        Noise of each pixel over `sigma`, where a map states it; else of shape (0, 0).
    """

    image: np.ndarray
    pixel_class: np.ndarray
    sigma: float
    noise: np.ndarray = EVEN


class FitOptions(NamedTuple):
    """What is fitted.

    Attributes
    ----------
    inner, outer : float
        Isophote radii in pixels along the major axis whose pixels determine the shape.
    n_free : GEOMETRY or ALL
    iterations : int
        Gauss-Newton steps at most; a fit that has not settled by then is given as it was after STRAIGHT_STEPS.
    fix_angle : bool
        Keep the position angle.
    """

    inner: float
    outer: float
    n_free: int
    iterations: int
    fix_angle: bool


class ShapeFit(NamedTuple):
    """What `fit_shape` finds.

    Attributes
    ----------
    shape : (12,)
    covariance : (n_free, n_free)
        Of the patterns' amplitudes: centre along both axes (pixels), c_2, s_2, c_3, s_3, ...; NaN if nothing was
        fitted.
    coefficients : (k,)
        Of the profile, a cubic B-spline in `knot_place` of the circularised radius.
    sigmas : (k - 3,)
        Noise per pixel between the knots.
    converged : bool
    shared, noise, mean_light : float
        In the range: mean product of the residuals of neighbouring pixels, mean variance of the noise, and mean light.
    """

    shape: np.ndarray
    covariance: np.ndarray
    coefficients: np.ndarray
    sigmas: np.ndarray
    converged: bool
    shared: float
    noise: float
    mean_light: float


class Points(NamedTuple):
    """Places (n,) float32 of pixels in an image, their light, and `sigma` over their noise, (0,) without a map."""

    x: np.ndarray
    y: np.ndarray
    value: np.ndarray
    weight: np.ndarray


class Rings(NamedTuple):
    """Pixels sorted by the ring, the interval between two knots, in which they lie; and what a fit sums of them.

    Attributes
    ----------
    radius, fraction, value : (n,) float32
        Circularised isophote radius, how far that is between the two knots, and light.
    angle : (2, n) float32
        Cosine and sine of the elliptical angle.
    start : (k + 2,) int64
        Where each of k rings begins; the last two are n.
    place : (n,) int64
        Which of the pixels each column is.
    table : (N_ROWS, n) float32
        Patterns, residual, basis functions and minus the profile's slope.
    space : (6, n) float32
        For what is needed on the way.
    """

    radius: np.ndarray
    fraction: np.ndarray
    value: np.ndarray
    angle: np.ndarray
    start: np.ndarray
    place: np.ndarray
    table: np.ndarray
    space: np.ndarray


@dataclass(frozen=True)
class Ellipse:
    """Centre (pixels), axis ratio q = b/a, position angle (radians, counter-clockwise from +x), and deformation.

    `cosine` and `sine` map the order m to the relative amplitudes c_m and s_m: boxy is a negative cosine[4].
    """

    x: float
    y: float
    axis_ratio: float
    angle: float
    cosine: dict[int, float]
    sine: dict[int, float]

    @classmethod
    def from_shape(cls, shape: np.ndarray) -> Ellipse:
        """From the 12 numbers of compiled functions."""
        x, y, axis_ratio, angle = (float(v) for v in shape[:GEOMETRY])
        cosine, sine = (dict(zip(ORDERS, shape[k::2].tolist(), strict=True)) for k in (GEOMETRY, GEOMETRY + 1))
        return cls(x, y, axis_ratio, angle, cosine, sine)

    def deformation(self, psi: np.ndarray) -> np.ndarray:
        """1 + sum of the harmonics at the angles psi."""
        total = np.ones_like(psi)
        for m, c in self.cosine.items():
            total += c * np.cos(m * psi) + self.sine[m] * np.sin(m * psi)
        return np.clip(total, LEAST_DEFORMATION, MOST_DEFORMATION)


@register_jitable(**FAST)
def axes_of(shape: np.ndarray) -> Axes:
    """The ellipse of a shape (12,), with its semi-major axis as the circle's radius."""
    return Axes(shape[X], shape[Y], np.cos(shape[ANGLE]), np.sin(shape[ANGLE]), 1.0, 1 / shape[Q])


@register_jitable(**FAST)
def to_circle(x, y, axes: Axes):
    """The place (u, v) of a pixel, or of arrays of them, in the plane where the ellipse is a circle about 0.

    Its distance from 0 is the elliptical radius, and its angle the elliptical one.
    """
    dx, dy = x - axes.x, y - axes.y
    return (dx * axes.cos + dy * axes.sin) * axes.along, (dy * axes.cos - dx * axes.sin) * axes.across


@part
def knot_place(radius: float) -> float:
    """Place of a circularised radius (pixels) among the profile's knots, which are uniform in (r^2 + core^2)^(1/4).

    They are dense where galaxies are steep; a function of r^2 is flat at the centre.
    """
    return (np.sqrt(np.sqrt(radius * radius + CORE_PIX * CORE_PIX)) - np.sqrt(CORE_PIX)) / SPACING


@part
def knot_radius(place: float) -> float:
    """The circularised radius (pixels) at a place among the knots; the inverse of `knot_place`."""
    root = place * SPACING + np.sqrt(CORE_PIX)
    return np.sqrt(max(root**4 - CORE_PIX * CORE_PIX, 0.0))


@part
def spline(coefficients: np.ndarray, place: float) -> float:
    """Value of the cubic B-spline at a place among its knots."""
    k = min(max(int(place), 0), len(coefficients) - 4)
    t = min(max(place - k, 0.0), 1.0)
    r = 1 - t
    return (
        r * r * r * coefficients[k]
        + (3 * t * t * t - 6 * t * t + 4) * coefficients[k + 1]
        + (3 * r * r * r - 6 * r * r + 4) * coefficients[k + 2]
        + t * t * t * coefficients[k + 3]
    ) / 6


@part
def add_smoothness(matrix: np.ndarray, first: int) -> None:
    """Adds the squared second differences of the coefficients from row `first` on to normal equations, in place."""
    n = matrix.shape[0] - first
    trace = 0.0
    for i in range(n):
        trace += matrix[first + i, first + i]
    weight = trace / n * SMOOTHNESS
    row = np.array([1.0, -2.0, 1.0])
    for i in range(n - 2):
        for a in range(3):
            for b in range(3):
                matrix[first + i + a, first + i + b] += weight * row[a] * row[b]
    for i in range(n):
        matrix[first + i, first + i] += 1e-9 * trace / n + 1e-300


@part
def limited(value: float, limit: float) -> float:
    """`value` between -limit and limit."""
    return min(max(value, -limit), limit)


@part
def moved(shape: np.ndarray, step: np.ndarray, options: FitOptions) -> np.ndarray:
    """The shape after a Gauss-Newton step (12,), kept within what one step may sensibly change."""
    limit = MOST_CENTRE * options.outer
    new = shape.copy()
    q, cos, sin = shape[Q], np.cos(shape[ANGLE]), np.sin(shape[ANGLE])
    u, v = limited(step[ALONG], limit), limited(step[ACROSS], limit)
    new[X] += u * cos - v * sin
    new[Y] += u * sin + v * cos
    c2, s2 = limited(step[C2], MOST_AXES), limited(step[S2], MOST_AXES)
    turn = 0.0
    if options.fix_angle:
        new[Q] = min(q * (1 - c2) / (1 + c2), 1.0)
    else:
        # singular values of [[1, 0], [0, q]] [[1 + c2, s2], [s2, 1 - c2]] = R(out) diag R(within)
        a, b, c, d = 1 + c2, s2, q * s2, q * (1 - c2)
        e, f, g, h = (a + d) / 2, (a - d) / 2, (c + b) / 2, (c - b) / 2
        large, small = np.hypot(e, h), np.hypot(f, g)
        sum_angle, difference = np.arctan2(h, e), np.arctan2(g, f)
        new[Q] = abs(large - small) / (large + small)
        new[ANGLE] = shape[ANGLE] + (sum_angle + difference) / 2
        # the point that had the angle psi on the old ellipse has psi - turn on the new one
        turn = -(sum_angle - difference) / 2
    new[Q] = max(new[Q], MIN_AXIS_RATIO)
    for i in range(len(ORDERS)):
        k, m = GEOMETRY + 2 * i, ORDERS[i]
        c, s = shape[k] + limited(step[k], MOST_HARMONIC), shape[k + 1] + limited(step[k + 1], MOST_HARMONIC)
        new[k] = c * np.cos(m * turn) + s * np.sin(m * turn)
        new[k + 1] = s * np.cos(m * turn) - c * np.sin(m * turn)
    return new


@part
def box_around(shape: np.ndarray, reach: float, ny: int, nx: int) -> Box:
    """The columns and rows of an image (ny, nx) that an ellipse with semi-major axis `reach` touches."""
    cos, sin, q = np.cos(shape[ANGLE]), np.sin(shape[ANGLE]), shape[Q]
    half_x, half_y = reach * np.hypot(cos, q * sin), reach * np.hypot(sin, q * cos)
    x0, x1 = int(max(shape[X] - half_x, 0)), int(min(max(shape[X] + half_x + 2, 0), nx))
    y0, y1 = int(max(shape[Y] - half_y, 0)), int(min(max(shape[Y] + half_y + 2, 0), ny))
    return Box(x0, x1, y0, y1)


@part
def turn_error(axis_ratio: float, variance: float) -> float:
    """Standard error (radians, at most pi / 4) of the frame's angle in the plane where the galaxy is round.

    `variance` is that of s_2; `moved` turns that plane by s_2 (1 + q^2) / (1 - q^2), to first order. Without any noise
    s_2 is still off by LEAST_S2.
    """
    q2 = axis_ratio * axis_ratio
    return min(np.sqrt(max(variance, 0.0) + LEAST_S2 * LEAST_S2) * (1 + q2) / max(1 - q2, 1e-3), np.pi / 4)


def fit_example() -> None:
    """What is compiled ahead, see `numerics.jit`."""
    y, x = np.mgrid[:64, :64] - 31.0
    light = 100 * np.exp(-np.arange(40, dtype=np.float32) / 5)
    image = (100 * np.exp(-np.hypot(x, y / 0.7) / 5)).astype(np.float32)
    pixels = Pixels(image, np.zeros(image.shape, np.uint8), 1.0)
    shape = np.array([31.0, 31.0, 0.7, *[0.0] * (ALL - 3)])
    fit_shape(pixels, shape, light, FitOptions(5.0, 20.0, ALL, 8, False))


@part
def space_for(n: int, n_rings: int) -> Rings:
    """Memory for n pixels in so many rings, which `sort_by_ring` and `tabulate` fill anew in each step of a fit."""
    columns = np.empty((3, n), np.float32)
    return Rings(
        columns[0], columns[1], columns[2], np.empty((2, n), np.float32), np.empty(n_rings + 2, np.int64),
        np.empty(n, np.int64), np.empty((N_ROWS, n), np.float32), np.empty((6, n), np.float32),
    )  # fmt: skip


@part
def _place_pixels(shape, x, y, radius, place, cosine, sine):
    """For n pixels: circularised isophote radius, place among the knots, cosine and sine of the elliptical angle."""
    axes, root_q = axes_of(shape), np.sqrt(shape[Q])
    for i in range(len(x)):
        u, v = to_circle(x[i], y[i], axes)
        rho = np.sqrt(u * u + v * v) + 1e-9
        c, s = u / rho, v / rho
        c2, s2 = c * c - s * s, 2 * c * s
        c3, s3 = c2 * c - s2 * s, s2 * c + c2 * s
        c4, s4 = c2 * c2 - s2 * s2, 2 * c2 * s2
        c6, s6 = c3 * c3 - s3 * s3, 2 * c3 * s3
        c8, s8 = c4 * c4 - s4 * s4, 2 * c4 * s4
        deformation = (
            1 + shape[C3] * c3 + shape[S3] * s3 + shape[C4] * c4 + shape[S4] * s4
            + shape[C6] * c6 + shape[S6] * s6 + shape[C8] * c8 + shape[S8] * s8
        )  # fmt: skip
        r = root_q * rho / min(max(deformation, LEAST_DEFORMATION), MOST_DEFORMATION)
        radius[i], place[i], cosine[i], sine[i] = r, knot_place(r), c, s


@part
def ring_of(place: float, n_rings: int) -> int:
    """The interval between knots in which a place lies; the last one beyond them, the first one for NaN."""
    return int(place) if 0 <= place < n_rings else (n_rings - 1 if place >= n_rings else 0)


@part
def sort_by_ring(shape: np.ndarray, points: Points, rings: Rings) -> None:
    """Sorts points by the ring in which they lie, by counting; fills all of `rings` but its table."""
    n, n_rings, start = len(points.x), len(rings.start) - 2, rings.start
    radius, place, cosine, sine = rings.space[0], rings.space[1], rings.space[2], rings.space[3]
    _place_pixels(shape, points.x, points.y, radius, place, cosine, sine)
    start[:] = 0
    for i in range(n):
        start[ring_of(place[i], n_rings) + 2] += 1
    for k in range(n_rings):
        start[k + 2] += start[k + 1]
    for i in range(n):
        k = ring_of(place[i], n_rings)
        j = start[k + 1]
        start[k + 1] += 1
        rings.place[j] = i
        rings.radius[j], rings.fraction[j] = radius[i], min(place[i] - k, np.float32(1))
        rings.angle[0, j], rings.angle[1, j], rings.value[j] = cosine[i], sine[i], points.value[i]


@part
def _light_of_ring(rings, k, coefficients, inner, outer):
    """Basis functions, residual, and minus the profile's slope for the pixels of ring k; as loops of one output.

    The slope counts between the circularised radii `inner` and `outer` only.
    """
    low, high = rings.start[k], rings.start[k + 1]
    fraction, r, value = rings.fraction[low:high], rings.radius[low:high], rings.value[low:high]
    residual, slope = rings.table[RESIDUAL, low:high], rings.table[SLOPE, low:high]
    b0, b1 = rings.table[BASIS, low:high], rings.table[BASIS + 1, low:high]
    b2, b3 = rings.table[BASIS + 2, low:high], rings.table[BASIS + 3, low:high]
    f0, f1 = np.float32(coefficients[k]), np.float32(coefficients[k + 1])
    f2, f3 = np.float32(coefficients[k + 2]), np.float32(coefficients[k + 3])
    one, six, n = np.float32(1), np.float32(1 / 6), high - low
    for j in range(n):
        p = one - fraction[j]
        b0[j] = p * p * p * six
    for j in range(n):
        t = fraction[j]
        b1[j] = ((np.float32(3) * t - np.float32(6)) * t * t + np.float32(4)) * six
    for j in range(n):
        p = one - fraction[j]
        b2[j] = ((np.float32(3) * p - np.float32(6)) * p * p + np.float32(4)) * six
    for j in range(n):
        t = fraction[j]
        b3[j] = t * t * t * six
    for j in range(n):
        residual[j] = value[j] - (f0 * b0[j] + f1 * b1[j])
    for j in range(n):
        residual[j] -= f2 * b2[j] + f3 * b3[j]
    # derivatives of the basis, with the differences of the coefficients
    d0, d1, d2 = f1 - f0, f2 - f1, f3 - f2
    half, core, spacing = np.float32(0.5), np.float32(CORE_PIX * CORE_PIX), np.float32(0.5 / SPACING)
    for j in range(n):
        t, square = fraction[j], r[j] * r[j] + core
        p = one - t
        s = half * p * p * d0 + (half + t * p) * d1 + half * t * t * d2
        inside = min(max(r[j] - inner + half, np.float32(0)), one) * min(max(outer - r[j] + half, np.float32(0)), one)
        slope[j] = -min(s, np.float32(0)) * inside * spacing * r[j] * np.sqrt(np.sqrt(square)) / square


@part
def _add_products(out, a, b, c, d, sign):
    """out = a b + sign c d. Loops of one output run on vector units."""
    for j in range(len(out)):
        out[j] = a[j] * b[j] + sign * c[j] * d[j]


@part
def _add_angles(out, a, b):
    """Cosine and sine (2, n) of the sums of two angles."""
    _add_products(out[0], a[0], b[0], a[1], b[1], np.float32(-1))
    _add_products(out[1], a[0], b[1], a[1], b[0], np.float32(1))


@part
def _fill_patterns(out, factor, angle):
    """Patterns (2, n) of the cosine and the sine of an angle."""
    cos_out, sin_out, cosine, sine = out[0], out[1], angle[0], angle[1]
    for j in range(len(factor)):
        cos_out[j] = factor[j] * cosine[j]
    for j in range(len(factor)):
        sin_out[j] = factor[j] * sine[j]


@part
def tabulate(rings: Rings, q: float, coefficients: np.ndarray, options: FitOptions) -> None:
    """Fills the table of `rings` with patterns, residual and basis functions.

    `q` is the axis ratio; patterns are 0 outside of the measured range.
    """
    root_q = np.sqrt(q)
    inner, outer = np.float32(options.inner * root_q), np.float32(options.outer * root_q)
    for k in range(len(rings.start) - 2):
        if rings.start[k + 1] > rings.start[k]:
            _light_of_ring(rings, k, coefficients, inner, outer)
    table, angle, radius = rings.table, rings.angle, rings.radius
    twice, fourth, other = rings.space[0:2], rings.space[2:4], rings.space[4:6]
    slope, first, second, cosine, sine = table[SLOPE], table[ALONG], table[ACROSS], angle[0], angle[1]
    # the deformation s/rho differs from 1 by little; the centre's patterns need no more
    along = np.float32(root_q)
    across = along / np.float32(q)
    for j in range(len(slope)):
        first[j] = slope[j] * cosine[j] * along
    for j in range(len(slope)):
        second[j] = slope[j] * sine[j] * across
    for j in range(len(slope)):
        slope[j] *= radius[j]
    _add_angles(twice, angle, angle)
    _fill_patterns(table[C2:C3], slope, twice)
    if options.n_free == ALL:
        _add_angles(other, twice, angle)
        _fill_patterns(table[C3:C4], slope, other)
        _add_angles(fourth, twice, twice)
        _fill_patterns(table[C4:C6], slope, fourth)
        _add_angles(other, fourth, twice)
        _fill_patterns(table[C6:C8], slope, other)
        _add_angles(other, fourth, fourth)
        _fill_patterns(table[C8:ALL], slope, other)


@part
def _ring_scatter(rings, k, robust, limit):
    """Sum of the squared residuals of ring k, and number of pixels; those beyond the limit are left out.

    With `robust` from the median deviation instead, of all pixels.
    """
    low, high, residuals, work = rings.start[k], rings.start[k + 1], rings.table[RESIDUAL], rings.space[0]
    if robust:
        for j in range(low, high):
            work[j - low] = abs(residuals[j])
        scatter = MAD_TO_SIGMA * median_of(work, high - low)
        return scatter * scatter * (high - low), float(high - low)
    square, count = 0.0, 0.0
    for j in range(low, high):
        inside = abs(residuals[j]) < limit
        square += residuals[j] * residuals[j] if inside else 0.0
        count += inside
    return square / CUT_VARIANCE, count


@part
def _ring_sigmas(rings, sigma, share, robust, coefficients, sigmas):
    """Noise per pixel in every ring, from the scatter of its residuals, never below that of the sky.

    Photon noise is found as a variance that grows in proportion to the light; spiral arms, dust and clumps raise that
    of single rings beyond it, so that errors are those of the galaxy as it is. `share` is that of the degrees of
    freedom which the fit has left. The first pass is by median deviation (`robust`); later ones are the standard
    deviation inside 3 sigma of the one before, which is steadier.
    """
    n, sky = len(sigmas), sigma * sigma
    square, count, light = np.zeros(n), np.zeros(n), np.zeros(n)
    for k in range(n):
        light[k] = max(spline(coefficients, k + 0.5), 0.0)
        square[k], count[k] = _ring_scatter(rings, k, robust, 3 * sigmas[k])
        square[k] /= share
    above, below = 0.0, 0.0
    for k in range(n):
        if count[k] > 0:
            weight = 1 / max(square[k] / count[k], sky) ** 2
            above += weight * (square[k] - sky * count[k]) * light[k]
            below += weight * count[k] * light[k] * light[k]
    per_light = max(above / below, 0.0) if below > 0 else 0.0
    for k in range(n):
        total, members = 0.0, 0.0
        for i in range(max(k - 1, 0), min(k + 2, n)):
            total += square[i]
            members += count[i]
        expected = sky + per_light * light[k]
        # the scatter of few pixels may exceed what is expected by chance: two standard errors of a variance
        more = members >= FEWEST_OF_SCATTER and total > members * expected * (1 + 2 * np.sqrt(2 / members))
        sigmas[k] = np.sqrt(total / members if more else expected)


@part
def _normal_equations(rings, weight, n_free, matrix, right):
    """Weighted sums of all products of the table's rows, ring by ring: the free patterns, then the coefficients."""
    matrix[:], right[:] = 0.0, 0.0
    n_rows, table = n_free + 5, rings.table
    rows, places = np.empty(n_rows + 3, np.int64), np.empty(n_rows + 3, np.int64)
    for ring in range(len(rings.start) - 2):
        low, high = rings.start[ring], rings.start[ring + 1]
        if high == low:
            continue
        rows[0], places[0] = RESIDUAL, -1
        for a in range(n_free):
            rows[a + 1], places[a + 1] = a, a
        for a in range(4):
            rows[n_free + 1 + a], places[n_free + 1 + a] = BASIS + a, n_free + ring + a
        rows[n_rows:], places[n_rows:] = RESIDUAL, -1  # fills the last block of four
        w = weight[ring]
        for a in range(1, n_rows):
            first = table[rows[a], low:high]
            for b in range(0, a + 1, 4):
                p, q = table[rows[b], low:high], table[rows[b + 1], low:high]
                r, s = table[rows[b + 2], low:high], table[rows[b + 3], low:high]
                t0, t1, t2, t3 = four_products(first, p, q, r, s)
                if b == 0:
                    right[places[a]] += w * t0
                else:
                    matrix[places[a], places[b]] += w * t0
                if b + 1 <= a:
                    matrix[places[a], places[b + 1]] += w * t1
                if b + 2 <= a:
                    matrix[places[a], places[b + 2]] += w * t2
                if b + 3 <= a:
                    matrix[places[a], places[b + 3]] += w * t3
    n = len(right)
    for a in range(n):
        for b in range(a):
            matrix[b, a] = matrix[a, b]


@part
def _shared(rings, points, box, low, high):
    """Mean product of the residuals of neighbouring pixels between two circularised radii.

    Noise that is independent from pixel to pixel adds nothing on average.
    """
    width, residual, radius = box.x1 - box.x0, rings.table[RESIDUAL], rings.radius
    n = width * (box.y1 - box.y0)
    grid = np.zeros(n + width + 1, np.float32)
    for j in range(len(rings.place)):
        if low < radius[j] < high:
            i = rings.place[j]
            grid[(int(points.y[i]) - box.y0) * width + int(points.x[i]) - box.x0] = residual[j]
    total, count = 0.0, 0
    for i in range(n):
        if grid[i] != 0:
            total += grid[i] * (grid[i + 1] + grid[i + width])
            count += 2
    return total / max(count, 1)


@part
def _points_within(pixels, shape, reach, box):
    """The pixels of galaxy and sky in a box that lie within `reach` (major axis) of the centre."""
    axes, n, mapped = axes_of(shape), 0, pixels.noise.size > 0
    most = max(box.x1 - box.x0, 0) * max(box.y1 - box.y0, 0)
    x, y, value = np.empty(most, np.float32), np.empty(most, np.float32), np.empty(most, np.float32)
    weight = np.empty(most if mapped else 0, np.float32)
    for j in range(box.y0, box.y1):
        for i in range(box.x0, box.x1):
            if pixels.pixel_class[j, i] < NEIGHBOUR:
                u, v = to_circle(i, j, axes)
                if u * u + v * v < reach * reach:
                    x[n], y[n], value[n] = i, j, pixels.image[j, i]
                    if mapped:
                        weight[n] = 1 / pixels.noise[j, i]
                    n += 1
    return Points(x[:n], y[:n], value[:n], weight[:n])


@part
def _weigh(rings, weight, n_free):
    """Divides residuals, free patterns and basis functions by the relative noise of their pixels.

    All pixels of a ring then have one noise. `weight` is that of `Points`.
    """
    if len(weight) == 0:
        return
    table, sorted_weight = rings.table, rings.space[0]
    for j in range(len(rings.place)):
        sorted_weight[j] = weight[rings.place[j]]
    for a in range(BASIS + 4):
        if n_free <= a < RESIDUAL:
            continue
        row = table[a]
        for j in range(len(row)):
            row[j] *= sorted_weight[j]


@part
def _first_profile(light, n):
    """The first n coefficients: light (k,) at the radii of their knots, from that at the radii 0, 1, 2, ... pixels."""
    coefficients = np.empty(n)
    for k in range(n):
        r = min(knot_radius(max(k - 1.0, 0.0)), len(light) - 1.0)
        below = min(int(r), len(light) - 2)
        coefficients[k] = light[below] + (r - below) * (light[below + 1] - light[below])
    return coefficients


@part
def _mark_far(rings, sigmas, far):
    """Says in `far` (n,), by the place of each pixel, which are far from the model."""
    for k in range(len(sigmas)):
        limit = CLIP_SIGMA * sigmas[k]
        for j in range(rings.start[k], rings.start[k + 1]):
            far[rings.place[j]] = abs(rings.table[RESIDUAL, j]) > limit


@part
def _clip(rings, sigmas, far, n_free, low, high):
    """Takes pixels that are `far` from the model out of the table.

    Returns number, sum of light and sum of the noise's variance of those left between two circularised radii.
    """
    n_used, light, variance, table = 0, 0.0, 0.0, rings.table
    for k in range(len(sigmas)):
        for j in range(rings.start[k], rings.start[k + 1]):
            if far[rings.place[j]]:
                for a in range(n_free):
                    table[a, j] = 0.0
                for a in range(RESIDUAL, BASIS + 4):
                    table[a, j] = 0.0
            elif low < rings.radius[j] < high:
                n_used += 1
                light += rings.value[j]
                variance += sigmas[k] * sigmas[k]
    return n_used, light, variance


@part
def in_pixels(amplitude: float, pattern: int, outer: float) -> float:
    """How far a pattern with this amplitude moves isophotes; harmonics are relative to the radius."""
    return amplitude if pattern < C2 else amplitude * outer


@part
def is_last(step: np.ndarray, covariance: np.ndarray, outer: float, iteration: int) -> bool:
    """Whether a step moves no isophote by more than TOLERANCE_PIX or TOLERANCE_SIGMA of its error.

    Or by less than that, if `iteration` (from 0) says that there were many steps before it.
    """
    share = 1.0 if iteration < STRAIGHT_STEPS else AFTER_WANDERING
    for a in range(len(covariance)):
        error = in_pixels(np.sqrt(max(covariance[a, a], 0.0)), a, outer)
        if abs(in_pixels(step[a], a, outer)) > share * max(TOLERANCE_PIX, TOLERANCE_SIGMA * error):
            return False
    return True


@part
def hold(matrix: np.ndarray, k: int) -> None:
    """Makes the k-th number of normal equations one that does not move, see `invert`."""
    for i in range(len(matrix)):
        matrix[i, k] = 0.0
        matrix[k, i] = 0.0


def fit_shape(pixels: Pixels, shape: np.ndarray, light: np.ndarray, options: FitOptions) -> ShapeFit:
    """Fits profile, centre, axes and (with `n_free` = ALL) harmonics to the pixels between two isophote radii.

    Parameters
    ----------
    pixels : Pixels
    shape : (12,)
        Where to start.
    light : (k,) float32
        Light at circularised radius 0, 1, 2, ... pixels, to start the profile.
    options : FitOptions
    """
    fit = ShapeFit(*_fit_shape(tuple(pixels), shape, light, tuple(options)))
    if fit.converged or options.iterations <= STRAIGHT_STEPS:
        return fit
    return fit_shape(pixels, shape, light, options._replace(iterations=STRAIGHT_STEPS))


@compiled
def _fit_shape(pixels, shape, light, options):
    """`fit_shape` for Python: it takes and gives plain tuples, since named ones are slow to hand over."""
    return _fitted(Pixels(*pixels), shape, light, FitOptions(*options))[:]


@part
def damping_of(step, last, damping, outer):
    """By what a step (n,) is multiplied, after one that was `last` before it was multiplied by `damping`.

    Where clipped pixels and weights change from step to step, a step may overshoot and the next one turn back, for
    ever. If steps change by the factor c from one to the next, the one that ends at the goal is damping / (1 - c) as
    long (Aitken's relaxation, as in Irons & Tuck 1969, Int. J. Numer. Meth. Eng. 1, 275).
    """
    product, square = 0.0, 1e-30
    for a in range(len(last)):
        before = in_pixels(last[a], a, outer)
        product += in_pixels(step[a], a, outer) * before
        square += before * before
    change = product / square
    if damping == 1 and change > TURNS_BACK:
        return 1.0
    return min(max(damping / (1 - min(change, 0.5)), LEAST_DAMPING), 1.0)


@part
def _fitted(pixels, shape, light, options):
    """See `fit_shape`."""
    ny, nx = pixels.image.shape
    n_free, outer = options.n_free, options.outer
    reach = FIT_MARGIN * outer + 1
    box = box_around(shape, reach, ny, nx)
    points = _points_within(pixels, shape, reach, box)
    n_rings = min(int(knot_place(KNOTS_REACH * reach)) + 1, MAX_INTERVALS)
    size = n_free + n_rings + 3
    rings, far = space_for(len(points.x), n_rings), np.zeros(len(points.x), np.bool_)
    coefficients, sigmas = _first_profile(light, n_rings + 3), np.full(n_rings, pixels.sigma)
    matrix, right = np.empty((size, size)), np.empty(size)
    covariance = np.full((n_free, n_free), np.nan)
    converged, shared, noise, mean_light = False, np.nan, np.nan, np.nan
    share = 1 - min(size / max(len(points.x), 1), 0.5)  # degrees of freedom that are left
    last, damping = np.zeros(ALL), 1.0
    for iteration in range(options.iterations):
        low, high = options.inner * np.sqrt(shape[Q]), outer * np.sqrt(shape[Q])
        sort_by_ring(shape, points, rings)
        tabulate(rings, shape[Q], coefficients, options)
        _weigh(rings, points.weight, n_free)
        if iteration < STEPS_OF_WEIGHTS:
            _ring_sigmas(rings, pixels.sigma, share, iteration == 0, coefficients, sigmas)
            _mark_far(rings, sigmas, far)
        n_used, total_light, total_variance = _clip(rings, sigmas, far, n_free, low, high)
        if n_used < n_free + SPARE_PIXELS:
            break
        _normal_equations(rings, 1 / (sigmas * sigmas), n_free, matrix, right)
        add_smoothness(matrix, n_free)
        if options.fix_angle:
            hold(matrix, S2)
            right[S2] = 0.0
        solution = solve(matrix, right, RIDGE)
        if not np.isfinite(solution).all():  # what is fitted is no galaxy
            converged = False
            break
        step, largest = np.zeros(ALL), 0.0
        for a in range(n_free):
            step[a] = solution[a]
            largest = max(largest, abs(in_pixels(step[a], a, outer)))
        if iteration == options.iterations - 1 or largest < ALMOST_PIX:
            inverse = invert(matrix, RIDGE)
            for a in range(n_free):
                for b in range(n_free):
                    covariance[a, b] = inverse[a, b]
            converged = iteration > 0 and is_last(step, covariance, outer, iteration)
        mean_light, noise = total_light / n_used, total_variance / n_used
        shared = _shared(rings, points, box, low, high)
        damping = damping_of(step, last, damping, outer)
        last = step
        coefficients += damping * solution[n_free:]
        shape = moved(shape, damping * step, options)
        if converged:
            break
    return ShapeFit(shape, covariance, coefficients, sigmas, converged, shared, noise, mean_light)
