"""A galaxy's own frame: centre, axes and size, and the image resampled to them.

In this frame every ellipse is a circle of the same size, so a rectangle is a square whatever its position angle, size
and axis ratio. Measuring, comparing and classifying are three ways of looking at the same framed galaxy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet, add_flags
from emeraldcut.frame.ellipse_fit import (
    ALL,
    ANGLE,
    C3,
    C4,
    GEOMETRY,
    S2,
    S4,
    Ellipse,
    FitOptions,
    Pixels,
    Q,
    X,
    Y,
    box_around,
    fit_shape,
    to_circle,
)
from emeraldcut.frame.look import (
    GEOMETRY_RANGE,
    LEAST_RADIUS_PIX,
    NEARLY_ROUND,
    FirstShape,
    half_light,
    look,
    mean_light,
    measured_range,
    moments,
    on_sky,
    reach_of,
    single_axes,
    turn_to_sides,
)
from emeraldcut.frame.resample import STAMP_SIZE, bin_down, stamp, unbinned
from emeraldcut.frame.rings import RingHarmonics, ring_harmonics
from emeraldcut.frame.segment import (
    GALAXY,
    MISSING,
    NEIGHBOUR,
    Segmentation,
    segment,
)
from emeraldcut.numerics.jit import compile_ahead, compiled, part

ASSUMED_PSF_FWHM_PIX = 2.5
COARSE_SIDE_PIX = 200  # images of more than twice this side are looked at coarsely first
LARGEST_RADIUS_PIX = 14.0  # images of larger galaxies are binned down to this half-light radius
# When a flag is set.
LOW_SNR = 10.0
NEIGHBOUR_SHARE = 0.02  # of the area within 2.5 half-light radii; a smaller neighbour is not worth a flag
UNCUT_SHARE, UNHIDDEN_SHARE = 0.95, 0.9  # of the area within two half-light radii, that is in the image, and seen
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

    @property
    def pixels(self) -> Pixels:
        """As `fit_shape` takes them."""
        division = self.segmentation
        return Pixels(division.image, division.parts, division.sky_sigma)

    @cached_property
    def rings(self) -> RingHarmonics:
        """Deviations of the isophotes from ellipses, and their variances."""
        compile_ahead("comparing galaxies", maps_example)
        sigmas = self.sigmas * np.sqrt(self.segmentation.correlation)
        return ring_harmonics(self.pixels, self.shape, self.radius, self.coefficients, sigmas)

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


class _Frame(NamedTuple):
    """What `_fit_frame` finds, see `FramedGalaxy`."""

    shape: np.ndarray
    light: np.ndarray
    coefficients: np.ndarray
    sigmas: np.ndarray
    radius: float
    limit: float
    converged: bool
    square: bool


@compiled
def _fit_frame(pixels, shape, light, psf_fwhm, radius):
    """Centre, axes and size of the galaxy, see `frame_galaxy`, starting from those of the first look."""
    ny, nx = pixels.image.shape
    reach = reach_of(shape, ny, nx)
    inner, outer = measured_range(radius, psf_fwhm, reach)
    fit = fit_shape(pixels, shape, light, FitOptions(inner, outer, GEOMETRY, 10, False))
    shape = fit.shape
    reach = reach_of(shape, ny, nx)
    end = min(reach, 6 * radius)
    light = mean_light(pixels.image, pixels.parts, shape, end)
    radii, square = half_light(light, shape[Q], end), False
    radius = max(radii.half_light, LEAST_RADIUS_PIX)
    if shape[Q] > NEARLY_ROUND:
        inner, outer = measured_range(radius, psf_fwhm, reach)
        boxy = fit_shape(pixels, shape, light, FitOptions(inner, outer, ALL, 3, False))
        for k in range(GEOMETRY, ALL):
            shape[k] = boxy.shape[k]
        error = np.sqrt(boxy.covariance[C4, C4])
        turn = turn_to_sides(shape[Q], boxy.covariance[S2, S2], shape[C4], shape[S4], error)
        if np.isfinite(turn):
            turned, square = boxy.shape, True
            turned[ANGLE] += on_sky(turn, shape[Q])
            turned[C3:] = 0.0
            fit = fit_shape(pixels, turned, light, FitOptions(inner, outer, ALL, 6, True))
            shape = fit.shape
    shape[ANGLE] %= np.pi
    limit = min(reach, 1.5 * radii.petrosian)
    return _Frame(shape, light, fit.coefficients, fit.sigmas, radius, limit, fit.converged, square)


class _Counts(NamedTuple):
    """Around a galaxy: light and number of its pixels inside the half-light ellipse; of pixels within twice that, how
    many there are, hold data, belong to neighbours, and belong to the galaxy at the edge of the image; and pixels of
    neighbours within the measured range.
    """

    light: float
    inside: int
    near: int
    seen: int
    hidden: int
    rim: int
    beside: int


@part
def _count(image, parts, shape, radius):
    """The counts around a galaxy with this half-light radius."""
    ny, nx = image.shape
    light, zero, n_inside, near, seen, hidden, beside, rim = np.float32(0), np.float32(0), 0, 0, 0, 0, 0, 0
    inner, middle = np.float32(max(radius, 1.0) ** 2), np.float32(4 * radius * radius)
    outer = np.float32((GEOMETRY_RANGE[1] * radius) ** 2)
    box, axes = box_around(shape, max(GEOMETRY_RANGE[1] * radius, 1.0), ny, nx), single_axes(shape)
    for y in range(box.y0, box.y1):
        edge_row = y == 0 or y == ny - 1
        for x in range(box.x0, box.x1):
            part = parts[y, x]
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
            beside += square < outer and part == NEIGHBOUR
    return _Counts(light, n_inside, near, seen, hidden, rim, beside)


@compiled
def _signal(division, shape, radius):
    """Signal-to-noise ratio inside the half-light ellipse, and the flags of a galaxy there."""
    (ny, nx), q = division.image.shape, shape[Q]
    counts = _count(division.image, division.parts, shape, radius)
    area = max(np.pi * 4 * radius * radius * q, counts.near, 1.0)  # within two half-light radii
    flag = 0
    if counts.beside > NEIGHBOUR_SHARE * area:
        flag |= NEIGHBOUR_BIT
    if counts.rim > 0 or counts.seen < UNCUT_SHARE * area:
        flag |= CUT_BY_EDGE_BIT
    if counts.seen - counts.hidden < UNHIDDEN_SHARE * area:
        flag |= MISSING_PIXELS_BIT
    if q < EDGE_ON:
        flag |= EDGE_ON_BIT
    if np.hypot((shape[X] - (nx - 1) / 2) / nx, (shape[Y] - (ny - 1) / 2) / ny) > OFF_CENTRE:
        flag |= OFF_CENTRE_BIT
    if division.gradient > GRADIENT_SIGMA:
        flag |= SKY_GRADIENT_BIT
    snr = counts.light / (division.sky_sigma * np.sqrt(max(counts.inside, 1) * division.correlation))
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
    found, division, binning, first, snr, flag = _look_at(_as_float32(image), psf, noise_sigma)
    return Look(division, first.shape, first.light, first.radius, snr, binning, _flag(flag)) if found else None


@compiled
def _look_at(image, psf_fwhm, noise):
    """See `look_at`: whether there is a galaxy, and what makes a `Look` of it."""
    found, division, binning, shape, size = _divide(image, noise)
    first, snr, flag = FirstShape(shape, np.zeros(2, np.float32), 0.0), 0.0, 0
    if found:
        first = look(division, psf_fwhm / binning, shape, size)
        ny, nx = division.image.shape
        found = 0 <= first.shape[X] < nx and 0 <= first.shape[Y] < ny  # else what was found is no galaxy
    if found:
        snr, flag = _signal(division, first.shape, first.radius)
    return found, division, binning, first, snr, flag


@part
def _divide(image, noise):
    """Whether there is a galaxy; the image, binned down if that is large, divided; the binning; and first shape and
    size from moments.

    In a large image the galaxy is looked for on a coarse one first; if it is large too, that is all that is needed.
    """
    coarse = min(image.shape) // COARSE_SIDE_PIX
    binning, final, found, size, shape = max(coarse, 1), False, False, 0.0, np.zeros(ALL)
    while True:
        found, division = segment(bin_down(image, binning), noise / binning)
        if found:
            shape, size = moments(division.smooth, division.parts)
        if final:
            break
        radius = 0.0
        if found and not (binning == 1 and size <= 1.5 * LARGEST_RADIUS_PIX):  # else half of the light is well inside
            light = mean_light(division.image, division.parts, shape, size)
            radius = half_light(light, shape[Q], size).half_light * binning
        if radius > 1.5 * LARGEST_RADIUS_PIX:
            binning, final = int(np.ceil(radius / LARGEST_RADIUS_PIX)), True
        elif binning == 1:
            break
        else:
            binning = 1
    return found, division, binning, shape, size


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
    pixels = Pixels(division.image, division.parts, division.sky_sigma)
    frame = _fit_frame(pixels, first.shape, first.light, psf, first.radius)
    ny, nx = division.image.shape
    if not (0 <= frame.shape[X] < nx and 0 <= frame.shape[Y] < ny):  # the fit ran away from it
        return None
    snr, flag = _signal(division, frame.shape, frame.radius)
    if not frame.converged:
        flag |= NOT_CONVERGED_BIT
    return FramedGalaxy(
        first, frame.shape, frame.light, frame.coefficients, frame.sigmas, frame.radius, frame.limit, snr,
        _flag(flag), frame.square,
    )  # fmt: skip


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
                g.shape[Q],
                np.degrees(g.shape[ANGLE]),
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
    galaxy = example_galaxy()
    _fit_frame(galaxy.pixels, galaxy.shape, galaxy.light, 2.0, 8.0)
    _signal(galaxy.segmentation, galaxy.shape, 8.0)


def maps_example() -> None:
    galaxy = example_galaxy()
    stamps_of([galaxy.look])
    _ = galaxy.rings
