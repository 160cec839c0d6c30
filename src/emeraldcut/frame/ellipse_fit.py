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

Compiled functions hold a shape as 12 numbers: x, y, q, angle, then c_m and s_m for m in ORDERS. Radii inside are
circularised, sqrt(q) times those along the major axis, because a step of the ellipse keeps these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emeraldcut.frame.segment import NEIGHBOUR
from emeraldcut.numerics.jit import compiled
from emeraldcut.numerics.linalg import four_products, invert, solve
from emeraldcut.numerics.median import MAD_TO_SIGMA, median_of

ORDERS = (3, 4, 6, 8)  # harmonics measured; 1 and 2 are centre and axes
GEOMETRY, ALL = 4, 12  # numbers that are free: centre and axes, or these and the harmonics
MIN_AXIS_RATIO = 0.05
# A fit has converged when its last step moved no isophote by more than this, in pixels or in shares of its error. What
# remains after that step is a tenth of it or less.
TOLERANCE_PIX, TOLERANCE_SIGMA = 0.02, 0.25
CLIP_SIGMA = 5.0  # pixels farther from the model have no say
FIT_MARGIN = 1.08  # the profile is fitted out to this many times the outer end of the range
CORE_PIX, SPACING = 1.5, 0.45  # of the profile's knots
SMOOTHNESS = 1e-4  # weight of the squared second differences, which settle coefficients without pixels
MAX_INTERVALS = 40
LEAST_S2 = 0.002
RESIDUAL, BASIS, SLOPE, N_ROWS = ALL, ALL + 1, ALL + 5, ALL + 6  # rows of the table of pixels, after the patterns


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
        return np.clip(total, 0.3, 3.0)


@compiled
def knot_place(radius: float) -> float:
    """Place of a circularised radius (pixels) among the profile's knots, which are uniform in (r^2 + core^2)^(1/4).

    They are dense where galaxies are steep; a function of r^2 is flat at the centre.
    """
    return (np.sqrt(np.sqrt(radius * radius + CORE_PIX * CORE_PIX)) - np.sqrt(CORE_PIX)) / SPACING


@compiled
def knot_radius(place: float) -> float:
    """The circularised radius (pixels) at a place among the knots; the inverse of `knot_place`."""
    root = place * SPACING + np.sqrt(CORE_PIX)
    return np.sqrt(max(root**4 - CORE_PIX * CORE_PIX, 0.0))


@compiled
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


@compiled
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


@compiled
def moved(shape: np.ndarray, step: np.ndarray, limit: float, fix_angle: bool) -> np.ndarray:
    """The shape after a Gauss-Newton step (12,), kept within what one step may sensibly change."""
    new = shape.copy()
    q, cos, sin = shape[2], np.cos(shape[3]), np.sin(shape[3])
    u, v = min(max(step[0], -limit), limit), min(max(step[1], -limit), limit)
    new[0] += u * cos - v * sin
    new[1] += u * sin + v * cos
    c2, s2 = min(max(step[2], -0.15), 0.15), min(max(step[3], -0.15), 0.15)
    turn = 0.0
    if fix_angle:
        new[2] = min(q * (1 - c2) / (1 + c2), 1.0)
    else:
        # singular values of [[1, 0], [0, q]] [[1 + c2, s2], [s2, 1 - c2]] = R(out) diag R(within)
        a, b, c, d = 1 + c2, s2, q * s2, q * (1 - c2)
        e, f, g, h = (a + d) / 2, (a - d) / 2, (c + b) / 2, (c - b) / 2
        large, small = np.hypot(e, h), np.hypot(f, g)
        sum_angle, difference = np.arctan2(h, e), np.arctan2(g, f)
        new[2] = abs(large - small) / (large + small)
        new[3] = shape[3] + (sum_angle + difference) / 2
        # the point that had the angle psi on the old ellipse has psi - turn on the new one
        turn = -(sum_angle - difference) / 2
    new[2] = max(new[2], MIN_AXIS_RATIO)
    for i in range(len(ORDERS)):
        k, m = GEOMETRY + 2 * i, ORDERS[i]
        c = shape[k] + min(max(step[k], -0.08), 0.08)
        s = shape[k + 1] + min(max(step[k + 1], -0.08), 0.08)
        new[k] = c * np.cos(m * turn) + s * np.sin(m * turn)
        new[k + 1] = s * np.cos(m * turn) - c * np.sin(m * turn)
    return new


@compiled
def box_around(shape: np.ndarray, reach: float, ny: int, nx: int) -> tuple[int, int, int, int]:
    """First and last + 1 of the columns and rows of an image that an ellipse with semi-major axis `reach` touches."""
    cos, sin, q = np.cos(shape[3]), np.sin(shape[3]), shape[2]
    half_x, half_y = reach * np.hypot(cos, q * sin), reach * np.hypot(sin, q * cos)
    x0, x1 = int(max(shape[0] - half_x, 0)), int(min(max(shape[0] + half_x + 2, 0), nx))
    y0, y1 = int(max(shape[1] - half_y, 0)), int(min(max(shape[1] + half_y + 2, 0), ny))
    return x0, x1, y0, y1


@compiled
def turn_error(axis_ratio: float, variance: float) -> float:
    """Standard error (radians, at most pi / 4) of the frame's angle in the plane where the galaxy is round.

    `variance` is that of s_2; `moved` turns that plane by s_2 (1 + q^2) / (1 - q^2), to first order. Without any noise
    s_2 is still off by LEAST_S2.
    """
    q2 = axis_ratio * axis_ratio
    return min(np.sqrt(max(variance, 0.0) + LEAST_S2 * LEAST_S2) * (1 + q2) / max(1 - q2, 1e-3), np.pi / 4)


@compiled
def _place_pixels(shape, x, y, n, radius, place, cosine, sine):
    """For n pixels: circularised isophote radius, place among the knots, cosine and sine of the elliptical angle."""
    cos, sin, q, root_q = np.cos(shape[3]), np.sin(shape[3]), shape[2], np.sqrt(shape[2])
    for i in range(n):
        dx, dy = x[i] - shape[0], y[i] - shape[1]
        u, v = dx * cos + dy * sin, (dy * cos - dx * sin) / q
        rho = np.sqrt(u * u + v * v) + 1e-9
        c, s = u / rho, v / rho
        c2, s2 = c * c - s * s, 2 * c * s
        c3, s3 = c2 * c - s2 * s, s2 * c + c2 * s
        c4, s4 = c2 * c2 - s2 * s2, 2 * c2 * s2
        c6, s6 = c3 * c3 - s3 * s3, 2 * c3 * s3
        c8, s8 = c4 * c4 - s4 * s4, 2 * c4 * s4
        deformation = (
            1 + shape[4] * c3 + shape[5] * s3 + shape[6] * c4 + shape[7] * s4
            + shape[8] * c6 + shape[9] * s6 + shape[10] * c8 + shape[11] * s8
        )  # fmt: skip
        r = root_q * rho / min(max(deformation, 0.3), 3.0)
        radius[i], cosine[i], sine[i] = r, c, s
        place[i] = (np.sqrt(np.sqrt(r * r + CORE_PIX * CORE_PIX)) - np.sqrt(CORE_PIX)) / SPACING


@compiled
def ring_of(place: float, n_rings: int) -> int:
    """The interval between knots in which a place lies; the last one beyond them, the first one for NaN."""
    return int(place) if 0 <= place < n_rings else (n_rings - 1 if place >= n_rings else 0)


@compiled
def sort_by_ring(shape, x, y, values, n_rings, pixels, ordered, start, places):
    """Sorts the n points at x, y by the interval between knots in which they lie, and fills

    ordered (5, n): circularised radius, fraction of the interval, cosine and sine of the elliptical angle, value;
    start (n_rings + 2,): where each interval begins and the last one ends; places (n,): which point each column is.
    """
    n = len(x)
    _place_pixels(shape, x, y, n, pixels[0], pixels[1], pixels[2], pixels[3])
    start[:] = 0
    for i in range(n):
        start[ring_of(pixels[1, i], n_rings) + 2] += 1
    for k in range(n_rings):
        start[k + 2] += start[k + 1]
    for i in range(n):
        k = ring_of(pixels[1, i], n_rings)
        j = start[k + 1]
        start[k + 1] += 1
        places[j] = i
        ordered[0, j], ordered[1, j] = pixels[0, i], min(pixels[1, i] - k, np.float32(1))
        ordered[2, j], ordered[3, j], ordered[4, j] = pixels[2, i], pixels[3, i], values[i]


@compiled
def _rotated(out, a, b, c, d, sign):
    """out = a b + sign c d: cosine (-1) or sine (+1) of a sum of angles. Loops of one output run on vector units."""
    for j in range(len(out)):
        out[j] = a[j] * b[j] + sign * c[j] * d[j]


@compiled
def _scaled(out, a, b):
    for j in range(len(out)):
        out[j] = a[j] * b[j]


@compiled
def _light_of_ring(table, values, radius, place, low, high, k, coefficients, inner, outer):
    """Basis functions, residual, and minus the profile's slope (in the last row) for the pixels of one ring."""
    fraction, r = place[low:high], radius[low:high]
    b0, b1, b2, b3 = (
        table[BASIS, low:high], table[BASIS + 1, low:high], table[BASIS + 2, low:high], table[BASIS + 3, low:high],
    )  # fmt: skip
    one, six = np.float32(1), np.float32(1 / 6)
    f0, f1, f2, f3 = (
        np.float32(coefficients[k]), np.float32(coefficients[k + 1]),
        np.float32(coefficients[k + 2]), np.float32(coefficients[k + 3]),
    )  # fmt: skip
    n = high - low
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
    residual, value, slope = table[RESIDUAL, low:high], values[low:high], table[SLOPE, low:high]
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


@compiled
def tabulate(shape, values, radius, place, cosine, sine, start, coefficients, inner, outer, n_free, table, angles):
    """Fills the columns of `table` with patterns, residual and basis functions of pixels that are sorted by ring."""
    root_q = np.float32(np.sqrt(shape[2]))
    for k in range(len(start) - 1):
        if start[k + 1] > start[k]:
            _light_of_ring(
                table, values, radius, place, start[k], start[k + 1], k, coefficients,
                np.float32(inner), np.float32(outer),
            )  # fmt: skip
    slope = table[SLOPE]
    # the deformation s/rho differs from 1 by little; the centre's patterns need no more
    along, across = root_q, root_q / np.float32(shape[2])
    first, second = table[0], table[1]
    for j in range(len(slope)):
        first[j] = slope[j] * cosine[j] * along
    for j in range(len(slope)):
        second[j] = slope[j] * sine[j] * across
    _scaled(slope, slope, radius)
    c2, s2, c4, s4, a, b = angles[0], angles[1], angles[2], angles[3], angles[4], angles[5]
    _rotated(c2, cosine, cosine, sine, sine, np.float32(-1))
    _rotated(s2, cosine, sine, cosine, sine, np.float32(1))
    _scaled(table[2], slope, c2)
    _scaled(table[3], slope, s2)
    if n_free == ALL:
        _rotated(a, c2, cosine, s2, sine, np.float32(-1))  # 3
        _rotated(b, c2, sine, s2, cosine, np.float32(1))
        _scaled(table[4], slope, a)
        _scaled(table[5], slope, b)
        _rotated(c4, c2, c2, s2, s2, np.float32(-1))
        _rotated(s4, c2, s2, c2, s2, np.float32(1))
        _scaled(table[6], slope, c4)
        _scaled(table[7], slope, s4)
        _rotated(a, c4, c2, s4, s2, np.float32(-1))  # 6
        _rotated(b, c4, s2, s4, c2, np.float32(1))
        _scaled(table[8], slope, a)
        _scaled(table[9], slope, b)
        _rotated(a, c4, c4, s4, s4, np.float32(-1))  # 8
        _rotated(b, c4, s4, c4, s4, np.float32(1))
        _scaled(table[10], slope, a)
        _scaled(table[11], slope, b)


@compiled
def _ring_sigmas(residuals, start, sigma, share, robust, coefficients, sigmas, work):
    """Noise per pixel in every ring, from the scatter of its residuals, never below that of the sky.

    Photon noise is found as a variance that grows in proportion to the light; spiral arms, dust and clumps raise that
    of single rings beyond it, so that errors are those of the galaxy as it is. `share` is that of the degrees of
    freedom which the fit has left. The first pass is by median deviation; later ones are the standard deviation inside
    3 sigma of the one before, which is steadier.
    """
    n, sky = len(sigmas), sigma * sigma
    square, count, light = np.zeros(n), np.zeros(n), np.zeros(n)
    for k in range(n):
        low, high = start[k], start[k + 1]
        light[k] = max(spline(coefficients, k + 0.5), 0.0)
        if robust:
            for j in range(low, high):
                work[j - low] = abs(residuals[j])
            scatter = MAD_TO_SIGMA * median_of(work, high - low)
            square[k], count[k] = scatter * scatter * (high - low), high - low
        else:
            limit = 3 * sigmas[k]
            for j in range(low, high):
                inside = abs(residuals[j]) < limit
                square[k] += residuals[j] * residuals[j] if inside else 0.0
                count[k] += inside
            square[k] /= 0.9733  # a normal distribution's variance inside 3 sigma
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
        # the scatter of few pixels may exceed what is expected by chance
        more = members >= 12 and total > members * expected * (1 + 2 * np.sqrt(2 / members))
        sigmas[k] = np.sqrt(total / members if more else expected)


@compiled
def _normal_equations(table, start, weight, n_free, matrix, right):
    """Weighted sums of all products of the table's rows, ring by ring: the free patterns, then the coefficients."""
    matrix[:], right[:] = 0.0, 0.0
    n_rows = n_free + 5
    rows, places = np.empty(n_rows + 3, np.int64), np.empty(n_rows + 3, np.int64)
    for ring in range(len(start) - 1):
        low, high = start[ring], start[ring + 1]
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


@compiled
def _shared(table, radius, places, x, y, low, high, capacity, x0, y0, width):
    """Mean product of the residuals of neighbouring pixels between two isophotes.

    Noise that is independent from pixel to pixel adds nothing on average.
    """
    grid, residual = np.zeros(capacity + width + 1, np.float32), table[RESIDUAL]
    for j in range(len(places)):
        if low < radius[j] < high:
            grid[(int(y[places[j]]) - y0) * width + int(x[places[j]]) - x0] = residual[j]
    total, count = 0.0, 0
    for i in range(capacity):
        if grid[i] != 0:
            total += grid[i] * (grid[i + 1] + grid[i + width])
            count += 2
    return total / max(count, 1)


@compiled
def fit_shape(
    image: np.ndarray,
    parts: np.ndarray,
    shape: np.ndarray,
    light: np.ndarray,
    sigma: float,
    inner: float,
    outer: float,
    n_free: int,
    iterations: int,
    fix_angle: bool,
    thin: int,
):
    """Fits profile, centre, axes and (with `n_free` = ALL) harmonics to the pixels between two isophote radii.

    Parameters
    ----------
    image : (ny, nx)
        Sky-subtracted counts.
    parts : (ny, nx) uint8
        What each pixel is; neighbours and missing pixels are not used.
    shape : (12,)
        Where to start.
    light : (k,)
        Light at circularised radius 0, 1, 2, ... pixels, to start the profile.
    sigma : float
        Noise per pixel of the sky; larger noise of bright parts is found from the residuals.
    inner, outer : float
        Isophote radii in pixels along the major axis whose pixels determine the shape.
    n_free : GEOMETRY or ALL
    iterations : int
        Gauss-Newton steps at most.
    fix_angle : bool
        Keep the position angle.
    thin : int
        Use one pixel in so many; for a first look.

    Returns
    -------
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
    ny, nx = image.shape
    reach = FIT_MARGIN * outer + 1
    x0, x1, y0, y1 = box_around(shape, reach, ny, nx)
    cos, sin = np.cos(shape[3]), np.sin(shape[3])
    capacity = max(x1 - x0, 0) * max(y1 - y0, 0)
    x, y, values = np.empty(capacity, np.float32), np.empty(capacity, np.float32), np.empty(capacity, np.float32)
    n = 0
    for j in range(y0, y1):
        for i in range(x0, x1):
            if parts[j, i] < NEIGHBOUR and (i + j) % thin == 0:
                dx, dy = i - shape[0], j - shape[1]
                u, v = dx * cos + dy * sin, (dy * cos - dx * sin) / shape[2]
                if u * u + v * v < reach * reach:
                    x[n], y[n], values[n] = i, j, image[j, i]
                    n += 1
    n_rings = min(int(knot_place(1.2 * reach)) + 1, MAX_INTERVALS)
    size = n_free + n_rings + 3
    pixels, ordered = np.empty((4, n), np.float32), np.empty((5, n), np.float32)  # where they are, and by ring
    table, angles, work = np.empty((N_ROWS, n), np.float32), np.empty((6, n), np.float32), np.empty(n, np.float32)
    places, start = np.empty(n, np.int64), np.empty(n_rings + 2, np.int64)
    coefficients, sigmas = np.zeros(n_rings + 3), np.full(n_rings, sigma)
    weight = np.empty(n_rings)
    matrix, right = np.empty((size, size)), np.empty(size)
    covariance = np.full((n_free, n_free), np.nan)
    converged, shared, noise, mean_light = False, np.nan, np.nan, np.nan
    to_pixels = np.full(ALL, outer)
    to_pixels[:2] = 1.0
    share = 1 - min((size + 0.0) / max(n, 1), 0.5)
    for k in range(n_rings + 3):
        r = min(knot_radius(max(k - 1.0, 0.0)), len(light) - 1.0)
        below = min(int(r), len(light) - 2)
        coefficients[k] = light[below] + (r - below) * (light[below + 1] - light[below])
    for iteration in range(iterations):
        sort_by_ring(shape, x[:n], y[:n], values, n_rings, pixels, ordered, start, places)
        bounds = start[: n_rings + 1]
        root_q = np.sqrt(shape[2])
        low, high = inner * root_q, outer * root_q
        tabulate(
            shape, ordered[4], ordered[0], ordered[1], ordered[2], ordered[3], bounds, coefficients, low, high,
            n_free, table, angles,
        )  # fmt: skip
        _ring_sigmas(table[RESIDUAL], bounds, sigma, share, iteration == 0, coefficients, sigmas, work)
        n_used, total_light, total_variance = 0, 0.0, 0.0
        for k in range(n_rings):
            weight[k] = 1 / (sigmas[k] * sigmas[k])
            limit = CLIP_SIGMA * sigmas[k]
            for j in range(start[k], start[k + 1]):
                if abs(table[RESIDUAL, j]) > limit:
                    for a in range(n_free):
                        table[a, j] = 0.0
                    table[RESIDUAL, j] = 0.0
                    for a in range(4):
                        table[BASIS + a, j] = 0.0
                elif low < ordered[0, j] < high:
                    n_used += 1
                    total_light += ordered[4, j]
                    total_variance += sigmas[k] * sigmas[k]
        if n_used < n_free + 8:
            break
        _normal_equations(table, bounds, weight, n_free, matrix, right)
        add_smoothness(matrix, n_free)
        if fix_angle:
            matrix[3, :], matrix[:, 3], right[3] = 0.0, 0.0, 0.0
        last = iteration == iterations - 1
        step = np.zeros(ALL)
        solution = solve(matrix, right, 1e-9)
        if not np.isfinite(solution).all():  # what is fitted is no galaxy
            converged = False
            break
        step[:n_free] = solution[:n_free]
        largest = 0.0
        for a in range(n_free):
            largest = max(largest, abs(step[a]) * to_pixels[a])
        if last or largest < TOLERANCE_PIX + 0.2:
            inverse = invert(matrix, 1e-9)
            covariance[:] = inverse[:n_free, :n_free]
            converged = iteration > 0
            for a in range(n_free):
                error = np.sqrt(max(covariance[a, a], 0.0)) * to_pixels[a]
                if abs(step[a]) * to_pixels[a] > max(TOLERANCE_PIX, TOLERANCE_SIGMA * error):
                    converged = False
        mean_light, noise = total_light / n_used, total_variance / n_used
        shared = _shared(table, ordered[0], places, x, y, low, high, capacity, x0, y0, x1 - x0)
        coefficients += solution[n_free:]
        shape = moved(shape, step, 0.3 * outer, fix_angle)
        if converged:
            break
    return shape, covariance, coefficients, sigmas, converged, (shared, noise, mean_light)
