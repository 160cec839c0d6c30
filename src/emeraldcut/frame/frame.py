"""A galaxy's own frame: centre, axes and size, and the image resampled to them.

In this frame every ellipse is a circle of the same size, so a rectangle is a square whatever its position angle, size
and axis ratio. Measuring, comparing and classifying are three ways of looking at the same framed galaxy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet, add_flags
from emeraldcut.frame.compiled import compile_apart, compiled
from emeraldcut.frame.ellipse_fit import ALL, GEOMETRY, Ellipse, fit_shape, turn_error
from emeraldcut.frame.resample import STAMP_SIZE, bin_down, stamp
from emeraldcut.frame.rings import ring_harmonics
from emeraldcut.frame.segment import (
    GALAXY,
    MISSING,
    NEIGHBOUR,
    SMOOTHING_PIX,
    Segmentation,
    segment,
)

PETROSIAN_ETA = 0.2  # as the SDSS (Blanton et al. 2001, AJ 121, 2358)
GEOMETRY_RANGE = (0.7, 2.5)  # half-light radii between which centre and axes are determined
NEARLY_ROUND = 0.75  # above this axis ratio the sides of a box may say better than its axes how it lies
ASSUMED_PSF_FWHM_PIX = 2.5
COARSE_SIDE_PIX = 200  # images of more than twice this side are looked at coarsely first
LARGEST_RADIUS_PIX = 14.0  # images of larger galaxies are binned down to this half-light radius
LOPSIDED_SIGMA, LOPSIDED_SHARE = 5.0, 1.0  # light beyond its mirror image that is a neighbour's, in noise and in light
FEWEST_PIXELS = 20  # from whose moments a shape is started
# When a flag is set.
LOW_SNR = 10.0
NEIGHBOUR_SHARE = 0.02  # of the area within 2.5 half-light radii; a smaller neighbour is not worth a flag
EDGE_ON = 0.3  # axis ratio
OFF_CENTRE = 0.12  # distance from the middle of the image, in its sides
GRADIENT_SIGMA = 1.0  # change of the sky across the image, in units of its noise
# Compiled code sees flags as integers.
LOW_SNR_BIT, NEIGHBOUR_BIT, CUT_BY_EDGE_BIT = int(Flag.LOW_SNR), int(Flag.NEIGHBOUR), int(Flag.CUT_BY_EDGE)
NOT_CONVERGED_BIT, MISSING_PIXELS_BIT = int(Flag.NOT_CONVERGED), int(Flag.MISSING_PIXELS)
SKY_GRADIENT_BIT, EDGE_ON_BIT, OFF_CENTRE_BIT = int(Flag.SKY_GRADIENT), int(Flag.EDGE_ON), int(Flag.OFF_CENTRE)


@dataclass(frozen=True)
class FramedGalaxy:
    """One galaxy in its own frame, in the pixels of `segmentation.image` (binned by `binning`).

    Attributes
    ----------
    segmentation : Segmentation
    shape : (12,)
        Centre, axes and, for a square, harmonics around the half-light radius: see `ellipse_fit`.
    light : (k,)
        Mean light (counts) on the ellipses with circularised radius 0, 1, 2, ... pixels.
    coefficients, sigmas : (k,), (k - 3,)
        Profile and noise where the shape was determined, see `fit_shape`.
    radius, limit : float
        Semi-major axis of the half-light ellipse, and where the galaxy ends, in binned pixels.
    snr : float
        Light inside the half-light ellipse over its noise.
    binning : int
        Side in image pixels of one pixel here.
    flag : Flag
    square : bool
        Whether the position angle comes from the four sides of a nearly round galaxy.
    """

    segmentation: Segmentation
    shape: np.ndarray
    light: np.ndarray
    coefficients: np.ndarray
    sigmas: np.ndarray
    radius: float
    limit: float
    snr: float
    binning: int
    flag: Flag
    square: bool

    @cached_property
    def rings(self) -> tuple[np.ndarray, np.ndarray]:
        """Deviations of the isophotes from ellipses, (5, 16), and their variances (5,): see `ring_harmonics`."""
        division = self.segmentation
        sigmas = self.sigmas * np.sqrt(division.correlation)
        return ring_harmonics(division.image, division.parts, self.shape, self.radius, self.coefficients, sigmas)

    @property
    def ellipse(self) -> Ellipse:
        return Ellipse.from_shape(self.shape)


@dataclass
class FrameSet:
    """Framed galaxies.

    Attributes
    ----------
    table : Table, n rows
        `id, x, y` (pixels), `axis_ratio` (as seen, after the PSF), `position_angle_deg`,
        `radius_pix` (semi-major axis of the half-light ellipse), `snr`, `background`, `sky_sigma`, `flag`, `flag_text`;
        masked where there is no galaxy.
    galaxies : list of FramedGalaxy or None
    """

    table: Table
    galaxies: list[FramedGalaxy | None] = field(repr=False)

    @cached_property
    def stamps(self) -> np.ndarray:
        """The galaxies in their own frames, (n, size, size) float32; made when they are first asked for.

        Sky-subtracted light in units of the noise per pixel, major axis along +x, minor axis stretched until the
        ellipse is a circle. 0 where there is no galaxy.
        """
        stamps = np.zeros((len(self), STAMP_SIZE, STAMP_SIZE), np.float32)
        for i, galaxy in enumerate(self.galaxies):
            if galaxy is not None:
                stamps[i] = stamp(galaxy)
        return stamps

    def __len__(self) -> int:
        return len(self.table)


@compiled
def _moments(smooth, parts):
    """A first shape from second moments of the galaxy's pixels, and its size (semi-major axis, pixels).

    All pixels above a threshold count alike, so the shape is that of an isophote: a uniform ellipse with semi-axes a, b
    has the principal second moments a^2/4 and b^2/4. The threshold is that of detection, or, where the galaxy is cut by
    the edge or by missing pixels, the level that keeps clear of them.
    """
    ny, nx = parts.shape
    level, area = np.float32(-np.inf), 0
    for y in range(ny):
        for x in range(nx):
            if parts[y, x] == GALAXY:
                area += 1
                if (
                    x == 0 or y == 0 or x == nx - 1 or y == ny - 1
                    or parts[y - 1, x] == MISSING or parts[y + 1, x] == MISSING
                    or parts[y, x - 1] == MISSING or parts[y, x + 1] == MISSING
                ):  # fmt: skip
                    level = max(level, smooth[y, x])
    shape = np.zeros(ALL)
    if area == 0:
        return shape, 0.0
    half, root = 0.0, 0.0
    for attempt in range(2):  # if too little is left above the level, all pixels
        n, sx, sy, sxx, syy, sxy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
        for y in range(ny):
            for x in range(nx):
                if parts[y, x] == GALAXY and (smooth[y, x] > level or attempt == 1):
                    n += 1
                    sx += x
                    sy += y
                    sxx += x * x
                    syy += y * y
                    sxy += x * y
        if n >= FEWEST_PIXELS or attempt == 1:
            mx, my = sx / n, sy / n
            xx, yy, xy = sxx / n - mx * mx + 1 / 12, syy / n - my * my + 1 / 12, sxy / n - mx * my
            half, root = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
            shape[0], shape[1] = mx, my
            shape[2] = min(max(np.sqrt(max(half - root, 1e-3) / (half + root)), 0.15), 1.0)
            shape[3] = 0.5 * np.arctan2(2 * xy, xx - yy)
            break
    return shape, max(2 * np.sqrt(half + root), np.sqrt(area / (np.pi * shape[2])))


@compiled
def _reach(shape, ny, nx):
    """The isophote radius out to which at least half of an ellipse's circumference lies on the stamp."""
    edges = np.empty(48)
    cos, sin = np.cos(shape[3]), np.sin(shape[3])
    for i in range(48):
        psi = 2 * np.pi * i / 48
        u, v = np.cos(psi), shape[2] * np.sin(psi)
        dx, dy = u * cos - v * sin, u * sin + v * cos
        edge = np.inf
        if dx != 0:
            edge = min(edge, (nx - 1 - shape[0]) / dx if dx > 0 else -shape[0] / dx)
        if dy != 0:
            edge = min(edge, (ny - 1 - shape[1]) / dy if dy > 0 else -shape[1] / dy)
        edges[i] = edge
    return min(max(np.sort(edges)[24], 3.0), 1.5 * max(nx, ny))


@compiled
def _mean_light(image, parts, shape, reach):
    """Mean light (k,) on the ellipses with circularised radius 0, 1, 2, ... pixels, out to `reach` (major axis).

    A pixel belongs to its two nearest ellipses in proportion; an ellipse without pixels takes its neighbour's light.
    """
    ny, nx = image.shape
    root_q = np.sqrt(shape[2])
    n = int(reach * root_q) + 2
    total, members = np.zeros(n + 1), np.zeros(n + 1)
    cos, sin = np.cos(shape[3]) * root_q, np.sin(shape[3]) * root_q
    for y in range(ny):
        dy = y - shape[1]
        for x in range(nx):
            if parts[y, x] >= NEIGHBOUR:
                continue
            dx = x - shape[0]
            u, v = dx * cos + dy * sin, (dy * cos - dx * sin) / shape[2]
            r = np.sqrt(u * u + v * v)
            if r < n:
                k = int(r)
                outer = r - k
                total[k] += (1 - outer) * image[y, x]
                members[k] += 1 - outer
                total[k + 1] += outer * image[y, x]
                members[k + 1] += outer
    light = np.zeros(n)
    for k in range(n):
        if members[k] > 0.2:
            light[k] = total[k] / members[k]
        elif k > 0:
            light[k] = light[k - 1]
    return light


@compiled
def _half_light(light, shape, reach):
    """Half-light and Petrosian radius (pixels along the major axis).

    The Petrosian radius is where the surface brightness has fallen to a fifth of its mean inside; total light is that
    inside 1.5 Petrosian radii (or inside `reach`, where the data end).
    """
    fine = 8  # steps per pixel
    root_q = np.sqrt(shape[2])
    n = min(int(reach * root_q * fine), (len(light) - 1) * fine)
    growth = np.zeros(n + 1)
    petrosian = -1
    for i in range(1, n + 1):
        r = (i - 0.5) / fine
        k = int(r)
        here = light[k] + (r - k) * (light[k + 1] - light[k])
        growth[i] = growth[i - 1] + here * r
        if petrosian < 0 and i > fine and here * i * i < 2 * PETROSIAN_ETA * growth[i] * fine:
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
    return place / fine / root_q, petrosian / fine / root_q


@compiled
def measured_range(radius: float, psf_fwhm: float, reach: float) -> tuple[float, float]:
    """Isophote radii (pixels) between which centre, axes and harmonics are determined.

    From 0.7 half-light radii, but outside the core of the PSF (1.2 FWHM, if that leaves anything), to 2.5.
    """
    inner = max(GEOMETRY_RANGE[0] * radius, min(1.2 * psf_fwhm, 0.9 * radius))
    return inner, min(max(GEOMETRY_RANGE[1] * radius, radius + 3), max(reach, inner + 3))


@compiled
def _mask_lopsided(smooth, parts, shape, radius, sigma):
    """Marks as NEIGHBOUR what shines well beyond its mirror image through the centre.

    A galaxy, boxy or not, is the same on both sides; a neighbour too faint to separate from it is not.
    """
    ny, nx = parts.shape
    noise = np.sqrt(2.0) * sigma / (2 * np.sqrt(np.pi) * SMOOTHING_PIX)
    found = np.zeros((ny, nx), np.bool_)
    any_found = False
    core = (0.6 * radius) ** 2 * shape[2]
    for y in range(ny):
        for x in range(nx):
            value = smooth[y, x]
            if parts[y, x] >= NEIGHBOUR or value < LOPSIDED_SIGMA * noise:
                continue
            dx, dy = x - shape[0], y - shape[1]
            if dx * dx + dy * dy < core:
                continue
            mx, my = shape[0] - dx, shape[1] - dy
            i, j = int(np.floor(mx)), int(np.floor(my))
            if i < 0 or j < 0 or i >= nx - 1 or j >= ny - 1:
                continue
            if (
                parts[j, i] == MISSING or parts[j + 1, i] == MISSING
                or parts[j, i + 1] == MISSING or parts[j + 1, i + 1] == MISSING
            ):  # fmt: skip
                continue
            fx, fy = mx - i, my - j
            mirror = (1 - fy) * ((1 - fx) * smooth[j, i] + fx * smooth[j, i + 1]) + fy * (
                (1 - fx) * smooth[j + 1, i] + fx * smooth[j + 1, i + 1]
            )
            if value - mirror > LOPSIDED_SIGMA * noise and value > (1 + LOPSIDED_SHARE) * mirror:
                found[y, x] = True
                any_found = True
    if any_found:
        for y in range(ny):
            for x in range(nx):
                if found[y, x]:
                    for j in range(max(y - 1, 0), min(y + 2, ny)):
                        for i in range(max(x - 1, 0), min(x + 2, nx)):
                            if parts[j, i] != MISSING:
                                parts[j, i] = NEIGHBOUR


@compiled
def _turn_to_sides(shape, covariance):
    """How far (radians) a frame must turn to lie along the sides of a box, NaN if it should stay as it is.

    Near an axis ratio of 1 the major axis is hardly defined, and a square is as well a diamond. Where its four-fold
    shape says more precisely than its axes how a galaxy lies, its sides define the frame: the angle that makes c_4
    negative and s_4 zero. c_4 cos(4 psi) + s_4 sin(4 psi) = A cos(4 psi - delta), so the frame turns by
    (delta + pi) / 4, up to quarter turns, to an angle known to sigma_4 / 4 A.
    """
    c, s, error = shape[6], shape[7], np.sqrt(covariance[6, 6])
    amplitude = np.hypot(c, s)
    of_axes = turn_error(shape[2], covariance[3, 3])
    if not amplitude > 4 * error or error / (4 * amplitude) > 0.7 * of_axes:
        return np.nan
    turn = (np.arctan2(s, c) + np.pi) / 4 % (np.pi / 2)
    if turn > np.pi / 4:
        turn -= np.pi / 2
    return turn if abs(turn) < 2.5 * of_axes else np.nan


@compiled
def _fit_frame(image, smooth, parts, sigma, psf_fwhm):
    """Centre, axes and size of the galaxy, see `frame_galaxy`; may add to the neighbours in `parts`."""
    ny, nx = image.shape
    shape, size = _moments(smooth, parts)
    reach = _reach(shape, ny, nx)
    light = _mean_light(image, parts, shape, min(reach, 1.5 * size + 3))
    radius, petrosian = _half_light(light, shape, reach)
    converged, square = False, False
    for step in range(2):
        radius = max(radius, 0.8)
        inner, outer = measured_range(radius, psf_fwhm, reach)
        if step == 1:
            _mask_lopsided(smooth, parts, shape, radius, sigma)
        shape, _, coefficients, sigmas, converged, _ = fit_shape(
            image, parts, shape, light, sigma, inner, outer, GEOMETRY, 2 + 8 * step, False, 2 - step
        )
        reach = _reach(shape, ny, nx)
        light = _mean_light(image, parts, shape, min(reach, 6 * radius))
        radius, petrosian = _half_light(light, shape, min(reach, 6 * radius))
    radius = max(radius, 0.8)
    if shape[2] > NEARLY_ROUND:
        inner, outer = measured_range(radius, psf_fwhm, reach)
        fitted, covariance, _, _, _, _ = fit_shape(image, parts, shape, light, sigma, inner, outer, ALL, 3, False, 1)
        shape[4:] = fitted[4:]
        turn = _turn_to_sides(fitted, covariance)
        if np.isfinite(turn):
            # what was an angle in the plane where the galaxy is round is one on the sky
            fitted[3] += np.arctan2(shape[2] * np.sin(turn), np.cos(turn))
            fitted[4:] = 0.0
            shape, _, coefficients, sigmas, converged, _ = fit_shape(
                image, parts, fitted, light, sigma, inner, outer, ALL, 6, True, 1
            )
            square = True
    shape[3] %= np.pi
    return shape, light, coefficients, sigmas, radius, min(reach, 1.5 * petrosian), converged, square


@compiled
def _judge(image, parts, shape, radius, sigma):
    """Signal-to-noise ratio inside the half-light ellipse, and the flags that follow from what is where."""
    ny, nx = image.shape
    cos, sin, q = np.cos(shape[3]), np.sin(shape[3]), shape[2]
    light, n_inside, near, seen, hidden, beside, rim = 0.0, 0, 0, 0, 0, 0, False
    inner, middle = max(radius, 1.0) ** 2, 4 * radius * radius
    outer = (GEOMETRY_RANGE[1] * radius) ** 2
    for y in range(ny):
        for x in range(nx):
            dx, dy = x - shape[0], y - shape[1]
            u, v = dx * cos + dy * sin, (dy * cos - dx * sin) / q
            square, part = u * u + v * v, parts[y, x]
            if square < inner and part < NEIGHBOUR:
                light += image[y, x]
                n_inside += 1
            if square < middle:
                near += 1
                seen += part != MISSING
                hidden += part == NEIGHBOUR
                if part == GALAXY and (x == 0 or y == 0 or x == nx - 1 or y == ny - 1):
                    rim = True
            beside += square < outer and part == NEIGHBOUR
    area = max(np.pi * middle * q, near, 1.0)  # within two half-light radii
    flag = 0
    if beside > NEIGHBOUR_SHARE * area:
        flag |= NEIGHBOUR_BIT
    if rim or seen < 0.95 * area:
        flag |= CUT_BY_EDGE_BIT
    if seen - hidden < 0.9 * area:
        flag |= MISSING_PIXELS_BIT
    if q < EDGE_ON:
        flag |= EDGE_ON_BIT
    if np.hypot((shape[0] - (nx - 1) / 2) / nx, (shape[1] - (ny - 1) / 2) / ny) > OFF_CENTRE:
        flag |= OFF_CENTRE_BIT
    return light / (sigma * np.sqrt(max(n_inside, 1))), flag


def frame_galaxy(image: np.ndarray, psf_fwhm_pix: float = np.nan) -> FramedGalaxy | None:
    """Finds the central galaxy of one stamp and its centre, axes and size; None if there is none.

    Parameters
    ----------
    image : (ny, nx), counts, NaN where there is no data
    psf_fwhm_pix : float
        Full width at half maximum of the PSF; 2.5 pixels are assumed where it is not known.
    """
    compile_apart()
    psf = psf_fwhm_pix if np.isfinite(psf_fwhm_pix) else ASSUMED_PSF_FWHM_PIX
    division, binning = _divide(_as_float32(image))
    if division is None:
        return None
    sigma = division.sky_sigma
    shape, light, coefficients, sigmas, radius, limit, converged, square = _fit_frame(
        division.image, division.smooth, division.parts, sigma, psf / binning
    )
    ny, nx = division.image.shape
    if not (0 <= shape[0] < nx and 0 <= shape[1] < ny):  # what was found is no galaxy, the fit ran away from it
        return None
    snr, flag = _judge(division.image, division.parts, shape, radius, sigma)
    snr /= np.sqrt(division.correlation)
    if snr < LOW_SNR:
        flag |= LOW_SNR_BIT
    if not converged:
        flag |= NOT_CONVERGED_BIT
    if division.gradient > GRADIENT_SIGMA:
        flag |= SKY_GRADIENT_BIT
    return FramedGalaxy(
        division, shape, light, coefficients, sigmas, radius, limit, float(snr), binning, Flag(flag), square
    )


def _divide(image: np.ndarray) -> tuple[Segmentation | None, int]:
    """The segmented image, binned down if its galaxy is large, and the binning.

    In a large image the galaxy is looked for on a coarse one first; if it is large too, that is all that is needed.
    """
    coarse = min(image.shape) // COARSE_SIDE_PIX
    for binning in (coarse, 1) if coarse > 1 else (1,):
        division = segment(bin_down(image, binning))
        if division is None:
            continue
        shape, size = _moments(division.smooth, division.parts)
        if binning == 1 and size <= 1.5 * LARGEST_RADIUS_PIX:  # half of the light is well inside
            return division, 1
        light = _mean_light(division.image, division.parts, shape, size)
        radius = _half_light(light, shape, size)[0] * binning
        if radius > 1.5 * LARGEST_RADIUS_PIX:
            binning = int(np.ceil(radius / LARGEST_RADIUS_PIX))
            return segment(bin_down(image, binning)), binning
        if binning == 1:
            return division, 1
    return None, 1


def frame_galaxies(images: ImageSet) -> FrameSet:
    """Puts the central galaxy of every image into its own frame.

    Parameters
    ----------
    images : ImageSet

    Returns
    -------
    FrameSet
        One row per image; images without a galaxy are flagged `NO_GALAXY`.
    """
    good, psf = usable(images.table["flag"]), known_psf(images)
    galaxies = [frame_galaxy(pixels, psf[i]) if good[i] else None for i, pixels in enumerate(images.pixels)]
    return FrameSet(_frame_table(images, galaxies), galaxies)


def _as_float32(image: np.ndarray) -> np.ndarray:
    """`image` as compiled functions take it: float32 and contiguous; numbers beyond its range become infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(image, dtype=np.float32)


def known_psf(images: ImageSet) -> np.ndarray:
    """`psf_fwhm_pix` of every image (n,), NaN where it is not known."""
    if "psf_fwhm_pix" not in images.table.colnames:
        return np.full(len(images), np.nan)
    return np.array([_positive(value) for value in images.table["psf_fwhm_pix"]])


def _positive(value) -> float:
    """A positive finite number, NaN for everything else: one bad cell must not stop a run."""
    try:
        number = np.nan if value is np.ma.masked else float(value)
    except (TypeError, ValueError):
        return np.nan
    return number if 0 < number < np.inf else np.nan


def _frame_table(images: ImageSet, galaxies: list[FramedGalaxy | None]) -> Table:
    """The table of a FrameSet."""
    missing = np.array([g is None for g in galaxies], dtype=bool)
    # a binned pixel k covers original pixels from k b to k b + b - 1
    rows = np.array(
        [
            (0.0,) * 8
            if g is None
            else (
                g.shape[0] * g.binning + (g.binning - 1) / 2,
                g.shape[1] * g.binning + (g.binning - 1) / 2,
                g.shape[2],
                np.degrees(g.shape[3]),
                g.radius * g.binning,
                g.snr,
                g.segmentation.background,
                g.segmentation.sky_sigma * g.binning,
            )
            for g in galaxies
        ]
    ).reshape(-1, 8)
    table = Table({"id": Column(images.table["id"], dtype=object)})
    names = ("x", "y", "axis_ratio", "position_angle_deg", "radius_pix", "snr", "background", "sky_sigma")
    for name, values in zip(names, rows.T, strict=True):
        table[name] = MaskedColumn(values, mask=missing, dtype=float)
    table["flag"] = np.array(images.table["flag"], dtype=np.int64)
    table["flag_text"] = np.array([str(t) for t in images.table["flag_text"]], dtype=object)
    found = np.array([0 if g is None else int(g.flag) for g in galaxies], dtype=np.int64)
    found[missing & usable(images.table["flag"])] = int(Flag.NO_GALAXY)
    add_flags(table, found)
    return table
