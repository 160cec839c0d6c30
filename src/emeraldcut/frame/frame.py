"""A galaxy's own frame: centre, axes and size, and the image resampled to them.

In this frame every ellipse is a circle of the same size, so a rectangle is a square whatever its position angle, size
and axis ratio. Measuring, comparing and classifying are three ways of looking at the same framed galaxy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet, add_flags
from emeraldcut.frame.ellipse_fit import ALL, GEOMETRY, Ellipse, box_around, fit_shape
from emeraldcut.frame.look import (
    GEOMETRY_RANGE,
    NEARLY_ROUND,
    half_light,
    look,
    mean_light,
    measured_range,
    moments,
    on_sky,
    reach_of,
    turn_to_sides,
)
from emeraldcut.frame.resample import STAMP_SIZE, bin_down, stamp, unbinned
from emeraldcut.frame.rings import ring_harmonics
from emeraldcut.frame.segment import (
    GALAXY,
    MISSING,
    NEIGHBOUR,
    Segmentation,
    segment,
)
from emeraldcut.numerics.jit import compile_ahead, compiled

ASSUMED_PSF_FWHM_PIX = 2.5
COARSE_SIDE_PIX = 200  # images of more than twice this side are looked at coarsely first
LARGEST_RADIUS_PIX = 14.0  # images of larger galaxies are binned down to this half-light radius
# When a flag is set.
LOW_SNR = 10.0
NEIGHBOUR_SHARE = 0.02  # of the area within 2.5 half-light radii; a smaller neighbour is not worth a flag
EDGE_ON = 0.3  # axis ratio
OFF_CENTRE = 0.12  # distance from the middle of the image, in its sides
GRADIENT_SIGMA = 1.0  # change of the sky across the image, in units of its noise
# Compiled code sees flags as integers.
LOW_SNR_BIT, NEIGHBOUR_BIT, CUT_BY_EDGE_BIT = int(Flag.LOW_SNR), int(Flag.NEIGHBOUR), int(Flag.CUT_BY_EDGE)
MISSING_PIXELS_BIT, NOT_CONVERGED_BIT = int(Flag.MISSING_PIXELS), int(Flag.NOT_CONVERGED)
SKY_GRADIENT_BIT, EDGE_ON_BIT, OFF_CENTRE_BIT = int(Flag.SKY_GRADIENT), int(Flag.EDGE_ON), int(Flag.OFF_CENTRE)


@dataclass(frozen=True)
class Look:
    """The first look at one galaxy, in the pixels of `segmentation.image` (binned by `binning`).

    Attributes
    ----------
    segmentation : Segmentation
    shape : (12,)
        Centre and axes (no harmonics): see `ellipse_fit`.
    light : (k,)
        Mean light (counts) on the ellipses with circularised radius 0, 1, 2, ... pixels.
    radius : float
        Semi-major axis of the half-light ellipse in binned pixels.
    snr : float
        Light inside the half-light ellipse over its noise.
    binning : int
        Side in image pixels of one pixel here.
    flag : Flag
    """

    segmentation: Segmentation
    shape: np.ndarray
    light: np.ndarray
    radius: float
    snr: float
    binning: int
    flag: Flag


@dataclass(frozen=True)
class FramedGalaxy:
    """One galaxy in its own frame, fitted with care, in the pixels of `segmentation.image` (binned by `binning`).

    Attributes
    ----------
    look : Look
        Where the fit started.
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
    flag : Flag
    square : bool
        Whether the position angle comes from the four sides of a nearly round galaxy.
    """

    look: Look
    shape: np.ndarray
    light: np.ndarray
    coefficients: np.ndarray
    sigmas: np.ndarray
    radius: float
    limit: float
    snr: float
    flag: Flag
    square: bool

    @property
    def segmentation(self) -> Segmentation:
        return self.look.segmentation

    @property
    def binning(self) -> int:
        return self.look.binning

    @cached_property
    def rings(self) -> tuple[np.ndarray, np.ndarray]:
        """Deviations of the isophotes from ellipses, (5, 16), and their variances (5,): see `ring_harmonics`."""
        compile_ahead("comparing galaxies", maps_example)
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
        """The galaxies in the frames of the first look, see `stamps_of`; made when they are first asked for."""
        return stamps_of(self.looks)

    @property
    def looks(self) -> list[Look | None]:
        return [None if galaxy is None else galaxy.look for galaxy in self.galaxies]

    def __len__(self) -> int:
        return len(self.table)


@compiled
def _fit_frame(image, parts, shape, light, sigma, psf_fwhm, radius):
    """Centre, axes and size of the galaxy, see `frame_galaxy`, starting from those of the first look."""
    ny, nx = image.shape
    reach = reach_of(shape, ny, nx)
    inner, outer = measured_range(radius, psf_fwhm, reach)
    square = False
    shape, _, coefficients, sigmas, converged, _ = fit_shape(
        image, parts, shape, light, sigma, inner, outer, GEOMETRY, 10, False, 1
    )
    reach = reach_of(shape, ny, nx)
    light = mean_light(image, parts, shape, min(reach, 6 * radius))
    radius, petrosian = half_light(light, shape, min(reach, 6 * radius))
    radius = max(radius, 0.8)
    if shape[2] > NEARLY_ROUND:
        inner, outer = measured_range(radius, psf_fwhm, reach)
        fitted, covariance, _, _, _, _ = fit_shape(image, parts, shape, light, sigma, inner, outer, ALL, 3, False, 1)
        shape[4:] = fitted[4:]
        turn = turn_to_sides(shape[2], covariance[3, 3], fitted[6], fitted[7], np.sqrt(covariance[6, 6]))
        if np.isfinite(turn):
            fitted[3] += on_sky(turn, shape[2])
            fitted[4:] = 0.0
            shape, _, coefficients, sigmas, converged, _ = fit_shape(
                image, parts, fitted, light, sigma, inner, outer, ALL, 6, True, 1
            )
            square = True
    shape[3] %= np.pi
    return shape, light, coefficients, sigmas, radius, min(reach, 1.5 * petrosian), converged, square


@compiled
def _signal(image, parts, shape, radius, sigma, correlation, gradient):
    """Signal-to-noise ratio inside the half-light ellipse, and the flags of a galaxy there."""
    ny, nx = image.shape
    q = shape[2]
    light, zero, n_inside, near, seen, hidden, beside, rim = np.float32(0), np.float32(0), 0, 0, 0, 0, 0, 0
    inner, middle = np.float32(max(radius, 1.0) ** 2), np.float32(4 * radius * radius)
    outer = np.float32((GEOMETRY_RANGE[1] * radius) ** 2)
    x0, x1, y0, y1 = box_around(shape, max(GEOMETRY_RANGE[1] * radius, 1.0), ny, nx)
    cos, sin, flat = np.float32(np.cos(shape[3])), np.float32(np.sin(shape[3])), np.float32(1 / q)
    centre_x, centre_y = np.float32(shape[0]), np.float32(shape[1])
    for y in range(y0, y1):
        dy, edge_row = np.float32(y) - centre_y, y == 0 or y == ny - 1
        for x in range(x0, x1):
            dx, part = np.float32(x) - centre_x, parts[y, x]
            u, v = dx * cos + dy * sin, (dy * cos - dx * sin) * flat
            square = u * u + v * v
            within = square < middle
            inside = square < inner and part < NEIGHBOUR
            light += image[y, x] if inside else zero
            n_inside += inside
            near += within
            seen += within and part != MISSING
            hidden += within and part == NEIGHBOUR
            rim += within and part == GALAXY and (edge_row or x == 0 or x == nx - 1)
            beside += square < outer and part == NEIGHBOUR
    area = max(np.pi * middle * q, near, 1.0)  # within two half-light radii
    flag = 0
    if beside > NEIGHBOUR_SHARE * area:
        flag |= NEIGHBOUR_BIT
    if rim > 0 or seen < 0.95 * area:
        flag |= CUT_BY_EDGE_BIT
    if seen - hidden < 0.9 * area:
        flag |= MISSING_PIXELS_BIT
    if q < EDGE_ON:
        flag |= EDGE_ON_BIT
    if np.hypot((shape[0] - (nx - 1) / 2) / nx, (shape[1] - (ny - 1) / 2) / ny) > OFF_CENTRE:
        flag |= OFF_CENTRE_BIT
    if gradient > GRADIENT_SIGMA:
        flag |= SKY_GRADIENT_BIT
    snr = light / (sigma * np.sqrt(max(n_inside, 1) * correlation))
    return snr, flag | LOW_SNR_BIT if snr < LOW_SNR else flag


_flag = cache(Flag)  # making one takes longer than many a step here


def look_at(image: np.ndarray, psf_fwhm_pix: float = np.nan, noise_sigma: float = np.nan) -> Look | None:
    """Finds the central galaxy of one stamp and, roughly, its centre, axes and size; None if there is none.

    Parameters
    ----------
    image : (ny, nx), counts, NaN where there is no data
    psf_fwhm_pix : float
        Full width at half maximum of the PSF; 2.5 pixels are assumed where it is not known.
    noise_sigma : float
        Noise per pixel that the image's own map of it states, see `segment`; NaN if there is none.
    """
    compile_ahead("finding galaxies", look_example)
    psf = psf_fwhm_pix if psf_fwhm_pix < np.inf else ASSUMED_PSF_FWHM_PIX
    (found, *divided), binning, shape, light, radius, snr, flag = _look_at(_as_float32(image), psf, noise_sigma)
    return Look(Segmentation(*divided), shape, light, radius, snr, binning, _flag(flag)) if found else None


@compiled
def _look_at(image, psf_fwhm, noise):
    """See `look_at`: what `segment` returns, the binning and what else makes a `Look`."""
    divided, binning, shape, size = _divide(image, noise)
    found, data, smooth, parts, level, sigma, gradient, correlation, beside = divided
    light, radius, snr, flag = np.zeros(2, np.float32), 0.0, 0.0, 0
    if found:
        shape, light, radius = look(data, smooth, parts, sigma, psf_fwhm / binning, shape, size)
        ny, nx = data.shape
        found = 0 <= shape[0] < nx and 0 <= shape[1] < ny  # else what was found is no galaxy
    if found:
        snr, flag = _signal(data, parts, shape, radius, sigma, correlation, gradient)
    divided = (found, data, smooth, parts, level, sigma, gradient, correlation, beside)
    return divided, binning, shape, light, radius, snr, flag


@compiled
def _divide(image, noise):
    """The segmented image, binned down if its galaxy is large, the binning, and first shape and size from moments.

    In a large image the galaxy is looked for on a coarse one first; if it is large too, that is all that is needed.
    """
    coarse = min(image.shape) // COARSE_SIDE_PIX
    for attempt in range(0 if coarse > 1 else 1, 2):
        binning = 1 if attempt else coarse
        divided = segment(bin_down(image, binning), noise / binning)
        found, data, smooth, parts = divided[:4]
        if not found:
            continue
        shape, size = moments(smooth, parts)
        if binning == 1 and size <= 1.5 * LARGEST_RADIUS_PIX:  # half of the light is well inside
            return divided, binning, shape, size
        light = mean_light(data, parts, shape, size)
        radius = half_light(light, shape, size)[0] * binning
        if radius > 1.5 * LARGEST_RADIUS_PIX:
            binning = int(np.ceil(radius / LARGEST_RADIUS_PIX))
            divided = segment(bin_down(image, binning), noise / binning)
            shape, size = moments(divided[2], divided[3])
            return divided, binning, shape, size
        if binning == 1:
            return divided, binning, shape, size
    return divided, 1, np.zeros(ALL), 0.0


def frame_galaxy(image: np.ndarray, psf_fwhm_pix: float = np.nan, noise_sigma: float = np.nan) -> FramedGalaxy | None:
    """Finds the central galaxy of one stamp and its centre, axes and size; None if there is none.

    Parameters are those of `look_at`.
    """
    compile_ahead("framing galaxies", look_example, frame_example)
    first = look_at(image, psf_fwhm_pix, noise_sigma)
    if first is None:
        return None
    division = first.segmentation
    psf = (psf_fwhm_pix if np.isfinite(psf_fwhm_pix) else ASSUMED_PSF_FWHM_PIX) / first.binning
    shape, light, coefficients, sigmas, radius, limit, converged, square = _fit_frame(
        division.image, division.parts, first.shape, first.light, division.sky_sigma, psf, first.radius
    )
    ny, nx = division.image.shape
    if not (0 <= shape[0] < nx and 0 <= shape[1] < ny):  # the fit ran away from it
        return None
    snr, flag = _signal(
        division.image, division.parts, shape, radius, division.sky_sigma, division.correlation, division.gradient
    )
    if not converged:
        flag |= NOT_CONVERGED_BIT
    return FramedGalaxy(first, shape, light, coefficients, sigmas, radius, limit, snr, _flag(flag), square)


def first_looks(images: ImageSet) -> list[Look | None]:
    """The first look at every image; None where there is no galaxy or the image is flagged as not usable."""
    good, psf, noise = usable(images.table["flag"]), known_psf(images), known_noise(images)
    return [look_at(pixels, psf[i], noise[i]) if good[i] else None for i, pixels in enumerate(images.pixels)]


def looked_flags(images: ImageSet, looks: list[Look | FramedGalaxy | None]) -> np.ndarray:
    """The flags (n,) of images at which somebody has looked."""
    old = np.array(images.table["flag"], dtype=np.int64)
    found = np.array([int(Flag.NO_GALAXY) if look is None else int(look.flag) for look in looks], dtype=np.int64)
    return np.where(usable(old), old | found, old)


def stamps_of(looks: list[Look | None]) -> np.ndarray:
    """The galaxies in their own frames, (n, size, size) float32.

    Sky-subtracted light in units of the noise per pixel, major axis along +x, minor axis stretched until the
    ellipse is a circle. 0 where there is no galaxy.
    """
    compile_ahead("resampling galaxies", maps_example)
    stamps = np.zeros((len(looks), STAMP_SIZE, STAMP_SIZE), np.float32)
    for i, first in enumerate(looks):
        if first is not None:
            stamps[i] = stamp(first)
    return stamps


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
    good, psf, noise = usable(images.table["flag"]), known_psf(images), known_noise(images)
    galaxies = [frame_galaxy(p, psf[i], noise[i]) if good[i] else None for i, p in enumerate(images.pixels)]
    return FrameSet(_frame_table(images, galaxies), galaxies)


def _as_float32(image: np.ndarray) -> np.ndarray:
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


def _frame_table(images: ImageSet, galaxies: list[FramedGalaxy | None]) -> Table:
    """The table of a FrameSet."""
    missing = np.array([g is None for g in galaxies], dtype=bool)
    rows = np.array(
        [
            (0.0,) * 8
            if g is None
            else (
                *unbinned(g.shape[:2], g.binning),
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
    add_flags(table, looked_flags(images, galaxies))
    return table


# --- what is compiled ahead, see `numerics.jit`


def example_galaxy() -> FramedGalaxy:
    """A galaxy without noise in its frame, made without compiled code: the start of examples for the compiler."""
    y, x = np.mgrid[:64, :64] - 31.0
    image = (100 * np.exp(-np.hypot(x, y / 0.7) / 5)).astype(np.float32)
    division = Segmentation(image, image, np.full(image.shape, GALAXY, np.uint8), 0.0, 1.0, 0.0, 1.0, 0.0)
    shape = np.array([31.0, 31.0, 0.7, *[0.0] * (ALL - 3)])
    light = 100 * np.exp(-np.arange(40, dtype=np.float32) / 5)
    first = Look(division, shape, light, 8.0, 100.0, 1, Flag(0))
    return FramedGalaxy(first, shape, light, np.ones(12), np.ones(9), 8.0, 25.0, 100.0, Flag(0), False)


def look_example() -> None:
    look_at(example_galaxy().segmentation.image)


def frame_example() -> None:
    galaxy, division = example_galaxy(), example_galaxy().segmentation
    _fit_frame(division.image, division.parts, galaxy.shape, galaxy.light, 1.0, 2.0, 8.0)
    _signal(division.image, division.parts, galaxy.shape, 8.0, 1.0, 1.0, 0.0)


def maps_example() -> None:
    galaxy = example_galaxy()
    stamps_of([galaxy.look])
    _ = galaxy.rings
