"""The first look at a galaxy: where it lies, its axes and its size, from three passes over its pixels.

It is what a network needs, and where the careful fit of `ellipse_fit` starts. Light is a table of means on ellipses of
circularised radii 0, 1, 2, ... pixels; centre and axes follow from Gauss-Newton steps on the same patterns as there,
with all pixels alike. Where a galaxy is seen all around, its mean light and these patterns do not mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet
from emeraldcut.frame.ellipse_fit import (
    ALL,
    ANGLE,
    C2,
    GEOMETRY,
    S2,
    Axes,
    FitOptions,
    Q,
    X,
    Y,
    axes_of,
    box_around,
    moved,
    to_circle,
    turn_error,
)
from emeraldcut.frame.resample import binned_down
from emeraldcut.frame.segmentation import GALAXY, MISSING, NEIGHBOUR, Segmentation, segment, smoothed_noise
from emeraldcut.frame.star_marks import NO_MARKS, StarMarks, flags_of_star, marks_of_star
from emeraldcut.numerics.jit import Real, compile_ahead, compiled, part
from emeraldcut.numerics.linalg import solve

# Numbers for which neither a source nor a measurement is named were chosen by eye.
PETROSIAN_ETA = 0.2  # as the SDSS (Blanton et al. 2001, AJ 121, 2358)
GEOMETRY_RANGE = (0.7, 2.5)  # half-light radii between which centre and axes are determined
LOPSIDED_SIGMA, LOPSIDED_SHARE = 5.0, 1.0  # light beyond its mirror image that is a neighbour's, in noise and in light
NEARLY_ROUND = 0.75  # above this axis ratio the sides of a box may say better than its axes how it lies
FEWEST_PIXELS = 20  # from whose moments a shape is started
PASSES = 2  # Gauss-Newton steps
FINE = 8  # steps per pixel of the curve of growth
LEAST_AXIS_RATIO = 0.15  # that moments may give
LEAST_RADIUS_PIX = 0.8  # half-light radius that is found at least
EDGES = 48  # directions in which the distance to the edge is asked for
RIDGE = 1e-6  # of the normal equations, see `solve`; single precision sums them
# A frame is turned along the sides of a box, see `turn_to_sides`, if c_4 is so many errors, if the sides are known to
# this share of the axes' error, and if they lie within so many of the latter.
SIDES_SIGMA, SIDES_SHARE, SIDES_NEAR = 4.0, 0.7, 2.5
ASSUMED_PSF_FWHM_PIX = 2.5
COARSE_SIDE_PIX = 200  # images of more than twice this side are looked at coarsely first
LARGEST_RADIUS_PIX = 14.0  # images of larger galaxies are binned down to this half-light radius
# When a flag is set.
LOW_SNR = 10.0
NEIGHBOUR_SHARE = 0.02  # of the area within 2.5 half-light radii; a smaller neighbour is not worth a flag
UNCUT_SHARE, UNHIDDEN_SHARE = 0.95, 0.9  # of the area within two half-light radii, that is in the image, and seen
LEAST_SEEN_SHARE = 2 / 3  # of the same area, from which on a shape can be trusted
EDGE_ON = 0.3  # axis ratio
OFF_CENTRE = 0.12  # distance from the middle of the image, in its sides
GRADIENT_SIGMA = 1.0  # change of the sky across the image, in units of its noise
# Compiled code sees flags as integers.
LOW_SNR_BIT, NEIGHBOUR_BIT, CUT_BY_EDGE_BIT = int(Flag.LOW_SNR), int(Flag.NEIGHBOUR), int(Flag.CUT_BY_EDGE)
MISSING_PIXELS_BIT, NOT_CONVERGED_BIT = int(Flag.MISSING_PIXELS), int(Flag.NOT_CONVERGED)
HIDDEN_BIT = int(Flag.HIDDEN)
SKY_GRADIENT_BIT, EDGE_ON_BIT, OFF_CENTRE_BIT = int(Flag.SKY_GRADIENT), int(Flag.EDGE_ON), int(Flag.OFF_CENTRE)
as_flag = cache(Flag)  # making one takes longer than many a step here


class Radii(NamedTuple):
    """Half-light and Petrosian radius, pixels along the major axis."""

    half_light: float
    petrosian: float


class FirstShape(NamedTuple):
    """What `look` finds: centre and axes (12,), mean light (k,) and half-light radius (pixels)."""

    shape: np.ndarray
    light: np.ndarray
    radius: float


class _Step(NamedTuple):
    """Normal equations (4, 4), (4,) of a step in centre and axes.

    And c_4, s_4, as if nothing else were free, with their error.
    """

    matrix: np.ndarray
    right: np.ndarray
    c4: Real
    s4: Real
    error: Real


@part
def _safe_level(smooth, pixel_class):
    """The highest level of the galaxy's pixels at the edge of the image or beside missing ones; and its area."""
    ny, nx = pixel_class.shape
    level, area, missing = np.float32(-np.inf), 0, 0
    for y in range(ny):
        for x in range(nx):
            area += pixel_class[y, x] == GALAXY
            missing += pixel_class[y, x] == MISSING
    for y in range(ny):
        for x in range(0, nx, 1 if missing or y == 0 or y == ny - 1 else nx - 1):  # the edge, or all
            if pixel_class[y, x] == GALAXY and (
                x == 0 or y == 0 or x == nx - 1 or y == ny - 1
                or pixel_class[y - 1, x] == MISSING or pixel_class[y + 1, x] == MISSING
                or pixel_class[y, x - 1] == MISSING or pixel_class[y, x + 1] == MISSING
            ):  # fmt: skip
                level = max(level, smooth[y, x])
    return level, area


@part
def _sums_above(smooth, pixel_class, level):
    """Number of the galaxy's pixels above a level, and sums of x, y, x^2, y^2, x y."""
    ny, nx = pixel_class.shape
    n, sx, sy, sxx, syy, sxy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    for y in range(ny):
        row_n, row_x, row_xx = 0, 0, 0
        for x in range(nx):
            seen = pixel_class[y, x] == GALAXY and smooth[y, x] > level
            row_n += seen
            row_x += seen * x
            row_xx += seen * x * x
        n += row_n
        sx += row_x
        sy += y * row_n
        sxx += row_xx
        syy += y * y * row_n
        sxy += y * row_x
    return n, sx, sy, sxx, syy, sxy


@part
def moments(smooth: np.ndarray, pixel_class: np.ndarray) -> tuple[np.ndarray, float]:
    """A first shape from second moments of the galaxy's pixels, and its size (semi-major axis, pixels).

    All pixels above a threshold count alike, so the shape is that of an isophote: a uniform ellipse with semi-axes a, b
    has the principal second moments a^2/4 and b^2/4. The threshold is that of detection, or, where the galaxy is cut by
    the edge or by missing pixels, the level that keeps clear of them.
    """
    level, area = _safe_level(smooth, pixel_class)
    shape = np.zeros(ALL)
    if area == 0:
        return shape, 0.0
    n, sx, sy, sxx, syy, sxy = _sums_above(smooth, pixel_class, level)
    if n < FEWEST_PIXELS:  # too little is left above the level
        n, sx, sy, sxx, syy, sxy = _sums_above(smooth, pixel_class, np.float32(-np.inf))
    mx, my = sx / n, sy / n
    xx, yy, xy = sxx / n - mx * mx + 1 / 12, syy / n - my * my + 1 / 12, sxy / n - mx * my  # a pixel's own is 1/12
    half, root = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    shape[X], shape[Y] = mx, my
    shape[Q] = min(max(np.sqrt(max(half - root, 1e-3) / (half + root)), LEAST_AXIS_RATIO), 1.0)
    shape[ANGLE] = 0.5 * np.arctan2(2 * xy, xx - yy)
    return shape, max(2 * np.sqrt(half + root), np.sqrt(area / (np.pi * shape[Q])))


@part
def _middle_of(values):
    """The value above which less than half of the values are, and below which not more: the upper median."""
    for value in values:
        below, same = 0, 0
        for other in values:
            below += other < value
            same += other == value
        if below <= len(values) // 2 < below + same:
            return value
    return np.nan


@part
def reach_of(shape: np.ndarray, ny: int, nx: int) -> float:
    """The isophote radius out to which at least half of an ellipse's circumference lies on the stamp."""
    edges, axes, q = np.empty(EDGES), axes_of(shape), shape[Q]
    for i in range(EDGES):
        psi = 2 * np.pi * i / EDGES
        u, v = np.cos(psi), q * np.sin(psi)
        dx, dy = u * axes.cos - v * axes.sin, u * axes.sin + v * axes.cos
        edge = np.inf
        if dx != 0:
            edge = min(edge, (nx - 1 - axes.x) / dx if dx > 0 else -axes.x / dx)
        if dy != 0:
            edge = min(edge, (ny - 1 - axes.y) / dy if dy > 0 else -axes.y / dy)
        edges[i] = edge
    return min(max(_middle_of(edges), 3.0), 1.5 * max(nx, ny))


@part
def single_axes(shape: np.ndarray) -> Axes:
    """`axes_of` in single precision, for loops that run on vector units."""
    axes = axes_of(shape)
    return Axes(
        np.float32(axes.x), np.float32(axes.y), np.float32(axes.cos), np.float32(axes.sin), np.float32(axes.along),
        np.float32(axes.across),
    )  # fmt: skip


@part
def _place_row(shape, x0, y, along, across, radius):
    """For pixels x0, x0 + 1, ... of row y, where the galaxy is round: place on both axes and circularised radius."""
    axes, root_q, row, tiny = single_axes(shape), np.float32(np.sqrt(shape[Q])), np.float32(y), np.float32(1e-6)
    stretch = root_q / np.float32(shape[Q])
    circular = Axes(axes.x - np.float32(x0), axes.y, axes.cos, axes.sin, root_q, stretch)
    for i in range(len(radius)):
        u, v = to_circle(np.float32(i), row, circular)
        along[i], across[i], radius[i] = u, v, np.sqrt(u * u + v * v) + tiny


@part
def mean_light(image: np.ndarray, pixel_class: np.ndarray, shape: np.ndarray, reach: float) -> np.ndarray:
    """Mean light (k,) on the ellipses with circularised radius 0, 1, 2, ... pixels, out to `reach` (major axis).

    A pixel belongs to its two nearest ellipses in proportion; an ellipse without pixels takes its neighbour's light.
    """
    ny, nx = image.shape
    n = int(reach * np.sqrt(shape[Q])) + 2
    total, members = np.zeros(n + 1, np.float32), np.zeros(n + 1, np.float32)
    total_next, members_next = total[1:], members[1:]
    box = box_around(shape, reach, ny, nx)
    width, end, one = max(box.x1 - box.x0, 0), np.float32(n), np.float32(1)
    along, across, radius = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(box.y0, box.y1):
        _place_row(shape, box.x0, y, along, across, radius)
        row, part = image[y, box.x0 : box.x1], pixel_class[y, box.x0 : box.x1]
        for i in range(width):
            if radius[i] < end and part[i] < NEIGHBOUR:
                whole = np.int32(radius[i])
                outside, k = radius[i] - np.float32(whole), np.uint32(whole)  # unsigned: not counted from the end
                beyond = outside * row[i]
                total[k] += row[i] - beyond
                members[k] += one - outside
                total_next[k] += beyond
                members_next[k] += outside
    light = np.zeros(n, np.float32)
    for place in range(n):
        if members[place] > 0.2:
            light[place] = total[place] / members[place]
        elif place > 0:
            light[place] = light[place - 1]
    return light


@part
def _pixels_between(image, pixel_class, shape, inner, outer, light):
    """Rows (5, k) float32 of the pixels between two radii (major axis), and the number of these pixels.

    Place on both axes and radius, see `_place_row`; minus the slope of `light`; and the image less `light`.
    """
    ny, nx = image.shape
    box = box_around(shape, outer, ny, nx)
    width, last = max(box.x1 - box.x0, 0), len(light) - 2
    along, across, radius = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    root_q, zero = np.float32(np.sqrt(shape[Q])), np.float32(0)
    low, high = np.float32(inner) * root_q, min(np.float32(outer) * root_q, np.float32(last + 1))
    pixels, n = np.empty((5, width * max(box.y1 - box.y0, 0)), np.float32), 0
    for y in range(box.y0, box.y1):
        _place_row(shape, box.x0, y, along, across, radius)
        row, part = image[y, box.x0 : box.x1], pixel_class[y, box.x0 : box.x1]
        for i in range(width):
            r = radius[i]
            if low < r < high and part[i] < NEIGHBOUR:
                k = int(r)
                step = light[k + 1] - light[k]
                pixels[0, n], pixels[1, n], pixels[2, n] = along[i], across[i], r
                pixels[3, n], pixels[4, n] = -min(step, zero), row[i] - light[k] - (r - np.float32(k)) * step
                n += 1
    return pixels, n


@part
def _normal_equations(pixels, n, q):
    """The step that n pixels from `_pixels_between` ask for, with axis ratio q; see `ellipse_fit` for the patterns."""
    along, across, radius, slope, residual = pixels[0], pixels[1], pixels[2], pixels[3], pixels[4]
    one, two, zero, root_q = np.float32(1), np.float32(2), np.float32(0), np.float32(np.sqrt(q))
    stretch = root_q / np.float32(q)
    s00 = s01 = s02 = s03 = s11 = s12 = s13 = s22 = s23 = s33 = r0 = r1 = r2 = r3 = zero
    fourth_c = fourth_s = fourth = squares = used = zero
    for i in range(n):
        r, steep, rest = radius[i], slope[i], residual[i]
        c, s = along[i] / r, across[i] / r
        a, b = steep * root_q * c, steep * stretch * s
        steep *= r
        c, s = c * c - s * s, two * c * s
        fourth_c += steep * (c * c - s * s) * rest
        fourth_s += steep * two * c * s * rest
        fourth += steep * steep
        squares += rest * rest
        used += one if steep > 0 else zero
        c, s = steep * c, steep * s
        s00 += a * a
        s01 += a * b
        s02 += a * c
        s03 += a * s
        s11 += b * b
        s12 += b * c
        s13 += b * s
        s22 += c * c
        s23 += c * s
        s33 += s * s
        r0 += a * rest
        r1 += b * rest
        r2 += c * rest
        r3 += s * rest
    matrix = np.array([[s00, s01, s02, s03], [s01, s11, s12, s13], [s02, s12, s22, s23], [s03, s13, s23, s33]])
    half = 0.5 * fourth if 0.5 * fourth > 1e-30 else 1e-30  # mean square of a cosine
    error = np.sqrt(squares / (used if used > one else one) / half)
    right = np.array([r0, r1, r2, r3])
    return _Step(matrix.astype(np.float64), right.astype(np.float64), fourth_c / half, fourth_s / half, error)


@part
def half_light(light: np.ndarray, axis_ratio: float, reach: float) -> Radii:
    """Half-light and Petrosian radius from the mean light (k,) on ellipses.

    The Petrosian radius is where the surface brightness has fallen to a fifth of its mean inside; total light is that
    inside 1.5 Petrosian radii (or inside `reach`, where the data end).
    """
    root_q = np.sqrt(axis_ratio)
    n = min(int(reach * root_q * FINE), (len(light) - 1) * FINE)
    growth = np.zeros(n + 1)
    petrosian = -1
    for i in range(1, n + 1):
        r = (i - 0.5) / FINE
        k = int(r)
        here = light[k] + (r - k) * (light[k + 1] - light[k])
        growth[i] = growth[i - 1] + here * r
        if petrosian < 0 and i > FINE and here * i * i < 2 * PETROSIAN_ETA * growth[i] * FINE:
            petrosian = i
    if petrosian < 0:
        petrosian = n
    end = min(int(1.5 * petrosian), n)
    best = 0.0
    for i in range(end + 1):
        best = max(best, growth[i])
    half, i = 0.5 * best, 1
    while i < end and growth[i] < half:
        i += 1
    step = growth[i] - growth[i - 1]
    place = i - 1 + (half - growth[i - 1]) / step if step > 0 else i
    return Radii(place / FINE / root_q, petrosian / FINE / root_q)


@part
def measured_range(radius: float, psf_fwhm: float, reach: float) -> tuple[float, float]:
    """Isophote radii (pixels) between which centre, axes and harmonics are determined.

    From 0.7 half-light radii, but outside the core of the PSF (1.2 FWHM, if that leaves anything), to 2.5.
    """
    inner = max(GEOMETRY_RANGE[0] * radius, min(1.2 * psf_fwhm, 0.9 * radius))
    return inner, min(max(GEOMETRY_RANGE[1] * radius, radius + 3), max(reach, inner + 3))


@part
def _beyond_mirror(smooth, pixel_class, shape, radius, least, found):
    """Marks in `found` (ny, nx) what shines beyond its mirror image by `least` and by LOPSIDED_SHARE.

    Any at all?
    """
    ny, nx = pixel_class.shape
    any_found, one = False, np.float32(1)
    core, share = np.float32((0.6 * radius) ** 2 * shape[Q]), np.float32(1 + LOPSIDED_SHARE)
    centre_x, centre_y = np.float32(shape[X]), np.float32(shape[Y])
    for y in range(ny):
        dy = np.float32(y) - centre_y
        my = centre_y - dy
        j = int(np.floor(my))
        if j < 0 or j >= ny - 1:
            continue
        fy = my - np.float32(j)
        for x in range(nx):
            value = smooth[y, x]
            if value < least or pixel_class[y, x] >= NEIGHBOUR:
                continue
            dx = np.float32(x) - centre_x
            if dx * dx + dy * dy < core:
                continue
            mx = centre_x - dx
            i = int(np.floor(mx))
            if i < 0 or i >= nx - 1:
                continue
            if (
                pixel_class[j, i] == MISSING or pixel_class[j + 1, i] == MISSING
                or pixel_class[j, i + 1] == MISSING or pixel_class[j + 1, i + 1] == MISSING
            ):  # fmt: skip
                continue
            fx = mx - np.float32(i)
            mirror = (one - fy) * ((one - fx) * smooth[j, i] + fx * smooth[j, i + 1]) + fy * (
                (one - fx) * smooth[j + 1, i] + fx * smooth[j + 1, i + 1]
            )
            if value - mirror > least and value > share * mirror:
                found[y, x] = True
                any_found = True
    return any_found


@part
def mask_lopsided(smooth: np.ndarray, pixel_class: np.ndarray, shape: np.ndarray, radius: float, sigma: float) -> None:
    """Marks as NEIGHBOUR what shines well beyond its mirror image through the centre, and the pixels around it.

    A galaxy, boxy or not, is the same on both sides; a neighbour too faint to separate from it is not.
    """
    ny, nx = pixel_class.shape
    found = np.zeros((ny, nx), np.bool_)
    least = np.float32(LOPSIDED_SIGMA * np.sqrt(2.0) * smoothed_noise(sigma))
    if not _beyond_mirror(smooth, pixel_class, shape, radius, least, found):
        return
    for y in range(ny):
        for x in range(nx):
            if found[y, x]:
                for j in range(max(y - 1, 0), min(y + 2, ny)):
                    for i in range(max(x - 1, 0), min(x + 2, nx)):
                        if pixel_class[j, i] != MISSING:
                            pixel_class[j, i] = NEIGHBOUR


@part
def turn_to_sides(axis_ratio, variance, c, s, error):
    """How far (radians) a frame must turn to lie along the sides of a box, NaN if it should stay as it is.

    Near an axis ratio of 1 the major axis is hardly defined, and a square is as well a diamond. Where its four-fold
    shape says more precisely than its axes how a galaxy lies, its sides define the frame: the angle that makes c_4
    negative and s_4 zero. c_4 cos(4 psi) + s_4 sin(4 psi) = A cos(4 psi - delta), so the frame turns by
    (delta + pi) / 4, up to quarter turns, to an angle known to sigma_4 / 4 A. `variance` is that of s_2.
    """
    amplitude = np.hypot(c, s)
    of_axes = turn_error(axis_ratio, variance)
    if not amplitude > SIDES_SIGMA * error or error / (4 * amplitude) > SIDES_SHARE * of_axes:
        return np.nan
    turn = (np.arctan2(s, c) + np.pi) / 4 % (np.pi / 2)
    if turn > np.pi / 4:
        turn -= np.pi / 2
    return turn if abs(turn) < SIDES_NEAR * of_axes else np.nan


@part
def on_sky(turn, axis_ratio):
    """The angle on the sky of one in the plane where the galaxy is round."""
    return np.arctan2(axis_ratio * np.sin(turn), np.cos(turn))


@compiled
def turn_of_frame(axis_ratio, variance, c, s, error):
    """`turn_to_sides` for Python, on the sky."""
    return on_sky(turn_to_sides(axis_ratio, variance, c, s, error), axis_ratio)


@part
def refined(division: Segmentation, psf_fwhm: float, shape: np.ndarray, size: float) -> FirstShape:
    """Centre, axes, mean light and half-light radius of the galaxy, from its `moments`.

    Adds to the neighbours in `division.pixel_class` what is lopsided.
    """
    image, pixel_class, shape = division.image, division.pixel_class, shape.copy()
    ny, nx = image.shape
    reach = reach_of(shape, ny, nx)
    light = mean_light(image, pixel_class, shape, min(reach, 1.5 * size + 3))
    radius = max(half_light(light, shape[Q], reach).half_light, LEAST_RADIUS_PIX)
    inner, outer = measured_range(radius, psf_fwhm, reach)
    options, change = FitOptions(inner, outer, GEOMETRY, PASSES, False), np.zeros(ALL)
    for pass_number in range(options.iterations):
        pixels, n = _pixels_between(image, pixel_class, shape, inner, outer, light)
        step = _normal_equations(pixels, n, shape[Q])
        solution = solve(step.matrix, step.right, RIDGE)
        for k in range(GEOMETRY):
            change[k] = solution[k]
        if np.isfinite(change).all():
            shape = moved(shape, change, options)
        if pass_number == 0:
            mask_lopsided(division.smooth, pixel_class, shape, radius, division.sky_sigma)
    reach = min(reach_of(shape, ny, nx), 6 * radius)
    light = mean_light(image, pixel_class, shape, reach)
    if shape[Q] > NEARLY_ROUND:
        pixels, n = _pixels_between(image, pixel_class, shape, inner, outer, light)
        step = _normal_equations(pixels, n, shape[Q])
        along, across = step.matrix[C2, C2], max(step.matrix[S2, S2], 1e-30)
        variance = step.error * step.error * 0.5 * (along + step.matrix[S2, S2]) / across
        turn = turn_to_sides(shape[Q], variance, step.c4, step.s4, step.error)
        if np.isfinite(turn):
            shape[ANGLE] += on_sky(turn, shape[Q])
    radius = max(half_light(light, shape[Q], reach).half_light, LEAST_RADIUS_PIX)
    shape[ANGLE] %= np.pi
    return FirstShape(shape, light, radius)


@dataclass(frozen=True)
class QuickShape:
    """The first look at one galaxy, in the pixels of `segmentation.image` (binned by `binning`).

    Attributes
    ----------
    segmentation : Segmentation
    shape : (12,)
        Centre and axes (no harmonics): see `ellipse_fit`.
    light : (k,)
        Mean light, in the unit of `segmentation`, on the ellipses with circularised radius 0, 1, 2, ... pixels.
    radius : float
        Semi-major axis of the half-light ellipse in binned pixels.
    snr : float
        Light inside the half-light ellipse over its noise.
    binning : int
        Side in image pixels of one pixel here.
    flag : Flag
    marks : StarMarks
        What gives away a star.
    """

    segmentation: Segmentation
    shape: np.ndarray
    light: np.ndarray
    radius: float
    snr: float
    binning: int
    flag: Flag
    marks: StarMarks = NO_MARKS

    @property
    def background(self) -> float:
        """Sky level at the centre, counts per pixel of the image."""
        return self.segmentation.background * self.segmentation.unit

    @property
    def sky_sigma(self) -> float:
        """Noise of the sky, counts per pixel of the image."""
        return self.segmentation.sky_sigma * self.binning * self.segmentation.unit


class _Counts(NamedTuple):
    """Around a galaxy: light and number of its pixels inside the half-light ellipse.

    Of pixels within twice that, how many there are, hold data, belong to neighbours, and belong to the galaxy at the
    edge of the image; and pixels of neighbours within the measured range.
    """

    light: Real
    inside: int
    near: int
    seen: int
    hidden: int
    rim: int
    neighbours: int


@part
def _count(image, pixel_class, shape, radius):
    """The counts around a galaxy with this half-light radius."""
    ny, nx = image.shape
    light, zero, n_inside, near, seen, hidden, neighbours, rim = np.float32(0), np.float32(0), 0, 0, 0, 0, 0, 0
    inner, middle = np.float32(max(radius, 1.0) ** 2), np.float32(4 * radius * radius)
    outer = np.float32((GEOMETRY_RANGE[1] * radius) ** 2)
    box, axes = box_around(shape, max(GEOMETRY_RANGE[1] * radius, 1.0), ny, nx), single_axes(shape)
    for y in range(box.y0, box.y1):
        edge_row = y == 0 or y == ny - 1
        for x in range(box.x0, box.x1):
            part = pixel_class[y, x]
            u, v = to_circle(np.float32(x), np.float32(y), axes)
            square = u * u + v * v
            within = square < middle
            inside = square < inner and part < NEIGHBOUR
            light += image[y, x] if inside else zero
            n_inside += inside
            near += within
            seen += within and part != MISSING
            hidden += within and part == NEIGHBOUR
            rim += within and part == GALAXY and (edge_row or x == 0 or x == nx - 1)
            neighbours += square < outer and part == NEIGHBOUR
    return _Counts(light, n_inside, near, seen, hidden, rim, neighbours)


def signal_of(division: Segmentation, shape: np.ndarray, radius: float) -> tuple[float, int]:
    """Signal-to-noise ratio inside the half-light ellipse, and the flags of a galaxy there."""
    return _signal_of(tuple(division), shape, radius)


@compiled
def _signal_of(division, shape, radius):
    """`signal_of` for Python."""
    return _signal(Segmentation(*division), shape, radius)


@part
def _signal(division, shape, radius):
    """See `signal_of`."""
    (ny, nx), q = division.image.shape, shape[Q]
    counts = _count(division.image, division.pixel_class, shape, radius)
    area = max(np.pi * 4 * radius * radius * q, counts.near, 1.0)  # within two half-light radii
    flag = 0
    if counts.neighbours > NEIGHBOUR_SHARE * area:
        flag |= NEIGHBOUR_BIT
    if counts.rim > 0 or counts.seen < UNCUT_SHARE * area:
        flag |= CUT_BY_EDGE_BIT
    if counts.seen - counts.hidden < UNHIDDEN_SHARE * area:
        flag |= MISSING_PIXELS_BIT
    if counts.seen - counts.hidden < LEAST_SEEN_SHARE * area:
        flag |= HIDDEN_BIT
    if q < EDGE_ON:
        flag |= EDGE_ON_BIT
    if np.hypot((shape[X] - (nx - 1) / 2) / nx, (shape[Y] - (ny - 1) / 2) / ny) > OFF_CENTRE:
        flag |= OFF_CENTRE_BIT
    if division.gradient > GRADIENT_SIGMA:
        flag |= SKY_GRADIENT_BIT
    snr = counts.light / (division.sky_sigma * np.sqrt(max(counts.inside, 1) * division.correlation))
    return snr, flag | LOW_SNR_BIT if snr < LOW_SNR else flag


def quick_shape_of(image: np.ndarray, psf_fwhm_pix: float = np.nan, noise_sigma: float = np.nan) -> QuickShape | None:
    """Finds the central galaxy of one stamp and, roughly, its centre, axes and size; None if there is none.

    Parameters
    ----------
    image : (ny, nx), counts, NaN where there is no data
    psf_fwhm_pix : float
        Full width at half maximum of the PSF; 2.5 pixels are assumed where it is not known.
    noise_sigma : float
        Noise per pixel that the image's own map of it states, see `segment`; NaN if there is none.
    """
    compile_ahead("finding galaxies", quick_shape_example)
    psf = psf_fwhm_pix if psf_fwhm_pix < np.inf else np.inf  # NaN too is not known
    found, division, first, snr, binning, flag, marks = _quick_shape_of(as_float32(image), psf, noise_sigma)
    if not found:
        return None
    shape, light, radius = first
    return QuickShape(Segmentation(*division), shape, light, radius, snr, binning, as_flag(flag), StarMarks(*marks))


@compiled
def _quick_shape_of(image, stated_psf, noise):
    """See `quick_shape_of`: whether there is a galaxy, and what makes a `QuickShape` of it, in plain tuples."""
    psf_fwhm = stated_psf if stated_psf < np.inf else ASSUMED_PSF_FWHM_PIX
    found, division, binning, shape, size = _divide(image, noise)
    first, snr, flag = FirstShape(shape, np.zeros(2, np.float32), 0.0), 0.0, 0
    marks = StarMarks(0.0, 0.0, 0.0, 0.0, 0.0)
    if found:
        first = refined(division, psf_fwhm / binning, shape, size)
        ny, nx = division.image.shape
        found = 0 <= first.shape[X] < nx and 0 <= first.shape[Y] < ny  # else what was found is no galaxy
    if found:
        snr, flag = _signal(division, first.shape, first.radius)
        marks = marks_of_star(division, first.shape, first.radius, first.light, binning)
        flag |= flags_of_star(marks, first.radius * binning, stated_psf)
    return found, division[:], first[:], snr, binning, flag, marks[:]


@part
def _divide(image, noise):
    """Whether there is a galaxy; the image, binned down if that is large, divided; the binning.

    And first shape and size from moments.

    In a large image the galaxy is looked for on a coarse one first; if it is large too, that is all that is needed.
    """
    coarse = min(image.shape) // COARSE_SIDE_PIX
    binning, final, found, size, shape = max(coarse, 1), False, False, 0.0, np.zeros(ALL)
    while True:
        found, division = segment(binned_down(image, binning), noise / binning)
        if found:
            shape, size = moments(division.smooth, division.pixel_class)
        if final:
            break
        radius = 0.0
        if found and not (binning == 1 and size <= 1.5 * LARGEST_RADIUS_PIX):  # else half of the light is well inside
            light = mean_light(division.image, division.pixel_class, shape, size)
            radius = half_light(light, shape[Q], size).half_light * binning
        if radius > 1.5 * LARGEST_RADIUS_PIX:
            binning, final = int(np.ceil(radius / LARGEST_RADIUS_PIX)), True
        elif binning == 1:
            break
        else:
            binning = 1
    return found, division, binning, shape, size


def quick_shapes_of(images: ImageSet) -> list[QuickShape | None]:
    """The first look at every image; None where there is no galaxy or the image is flagged as not usable."""
    good, psf, noise = usable(images.table["flag"]), known_psf(images), known_noise(images)
    return [quick_shape_of(pixels, psf[i], noise[i]) if good[i] else None for i, pixels in enumerate(images.pixels)]


def as_float32(image: np.ndarray) -> np.ndarray:
    """`image` as compiled functions take it: float32 and contiguous; numbers beyond its range become infinite."""
    if image.dtype != np.float32:
        with np.errstate(over="ignore"):
            image = image.astype(np.float32)
    return np.ascontiguousarray(image)


def known_psf(images: ImageSet) -> np.ndarray:
    """`psf_fwhm_pix` of every image (n,), NaN where it is not known."""
    return _known(images, "psf_fwhm_pix")


def known_noise(images: ImageSet) -> np.ndarray:
    """`noise_sigma` of every image (n,), NaN where it is not known."""
    return _known(images, "noise_sigma")


def _known(images: ImageSet, column: str) -> np.ndarray:
    if column not in images.table.colnames:
        return np.full(len(images), np.nan)
    return np.array([_positive(value) for value in images.table[column]])


def _positive(value) -> float:
    """A positive finite number, NaN for everything else: one bad cell must not stop a run."""
    try:
        number = np.nan if value is np.ma.masked else float(value)
    except (TypeError, ValueError):
        return np.nan
    return number if 0 < number < np.inf else np.nan


# --- what is compiled ahead, see `numerics.jit`


def example_quick_shape() -> QuickShape:
    """A galaxy without noise, made without compiled code: the start of examples for the compiler."""
    y, x = np.mgrid[:64, :64] - 31.0
    image = (100 * np.exp(-np.hypot(x, y / 0.7) / 5)).astype(np.float32)
    division = Segmentation(image, image, np.full(image.shape, GALAXY, np.uint8), 0.0, 1.0, 0.0, 1.0, 0.0, 0.5, 1.0)
    shape = np.array([31.0, 31.0, 0.7, *[0.0] * (ALL - 3)])
    light = 100 * np.exp(-np.arange(40, dtype=np.float32) / 5)
    return QuickShape(division, shape, light, 8.0, 100.0, 1, Flag(0))


def quick_shape_example() -> None:
    """Finding a galaxy."""
    quick_shape_of(example_quick_shape().segmentation.image)
