"""A galaxy's own frame: centre, axes and size, and the image resampled to them.

In this frame every ellipse is a circle of the same size, so a rectangle is a square whatever its position angle, size
and axis ratio. Measuring, comparing and classifying are three ways of looking at the same framed galaxy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
    EVEN,
    GEOMETRY,
    MOST_STEPS,
    S2,
    S4,
    Ellipse,
    FitOptions,
    Pixels,
    Q,
    ShapeFit,
    X,
    Y,
    fit_example,
    fit_shape,
)
from emeraldcut.frame.quick_shape import (
    ASSUMED_PSF_FWHM_PIX,
    LEAST_RADIUS_PIX,
    NEARLY_ROUND,
    NOT_CONVERGED_BIT,
    QuickShape,
    as_flag,
    example_quick_shape,
    half_light,
    known_noise,
    known_psf,
    mean_light,
    measured_range,
    quick_shape_example,
    quick_shape_of,
    reach_of,
    signal_of,
    turn_of_frame,
)
from emeraldcut.frame.resample import STAMP_SIZE, bin_down, stamp_of, unbinned
from emeraldcut.frame.ring_harmonics import RingHarmonics, ring_harmonics
from emeraldcut.frame.segmentation import SKY, Segmentation
from emeraldcut.frame.star_marks import STAR_BITS, StarMarks
from emeraldcut.numerics.jit import compile_ahead, compiled
from emeraldcut.numerics.median import MAD_TO_SIGMA

USELESS = 1e3  # times the typical noise: so noisy is a pixel that stands for a missing one
# So is one with this many times the typical noise whose light does not stand out of that by so many standard
# deviations: it has no weight, and would look like an object. Bright centres are noisier still, and stand out.
NOISY, SHOWS_SIGMA = 10.0, 5.0
FLAT = 0.01  # relative differences in a noise map that change no weight that matters


@dataclass(frozen=True)
class FramedGalaxy:
    """One galaxy in its own frame, fitted with care, in the pixels of `segmentation.image` (binned by `binning`).

    Attributes
    ----------
    quick : QuickShape
        Where the fit started.
    shape : (12,)
        Centre, axes and, for a square, harmonics around the half-light radius: see `ellipse_fit`.
    light : (k,)
        Mean light, in the unit of `segmentation`, on the ellipses with circularised radius 0, 1, 2, ... pixels.
    coefficients, sigmas : (k,), (k - 3,)
        Profile and noise where the shape was determined, see `fit_shape`.
    radius, limit : float
        Semi-major axis of the half-light ellipse, and where the galaxy ends, in binned pixels.
    snr : float
        Light inside the half-light ellipse over its noise.
    flag : Flag
    square : bool
        Whether the position angle comes from the four sides of a nearly round galaxy.
    noise : (ny, nx) float32
        Noise of each pixel over that of the sky, of shape (0, 0) where no map states it.
    """

    quick: QuickShape
    shape: np.ndarray
    light: np.ndarray
    coefficients: np.ndarray
    sigmas: np.ndarray
    radius: float
    limit: float
    snr: float
    flag: Flag
    square: bool
    noise: np.ndarray = field(default_factory=lambda: EVEN)

    @property
    def segmentation(self) -> Segmentation:
        """The stamp, divided into sky, galaxy, neighbours and missing pixels."""
        return self.quick.segmentation

    @property
    def binning(self) -> int:
        """How many pixels of the image, along each side, are one here."""
        return self.quick.binning

    @property
    def pixels(self) -> Pixels:
        """As `fit_shape` takes them."""
        division = self.segmentation
        return Pixels(division.image, division.pixel_class, division.sky_sigma, self.noise)

    @cached_property
    def rings(self) -> RingHarmonics:
        """Deviations of the isophotes from ellipses, and their variances."""
        compile_ahead("comparing galaxies", maps_example)
        sigmas = self.sigmas * np.sqrt(self.segmentation.correlation)
        return ring_harmonics(self.pixels, self.shape, self.radius, self.coefficients, sigmas)

    @property
    def ellipse(self) -> Ellipse:
        """The shape as an ellipse with harmonics."""
        return Ellipse.from_shape(self.shape)


@dataclass
class FrameSet:
    """Framed galaxies.

    Attributes
    ----------
    table : Table, n rows
        `id, x, y` (pixels), `axis_ratio` (as seen, after the PSF), `position_angle_deg`,
        `radius_pix` (semi-major axis of the half-light ellipse), `snr`, `background`, `sky_sigma`, `saturated`,
        `edge_width`, `spikes` (see `star_marks`), `flag`, `flag_text`; masked where there is no galaxy.
    galaxies : list of FramedGalaxy or None
    """

    table: Table
    galaxies: list[FramedGalaxy | None] = field(repr=False)

    @cached_property
    def stamps(self) -> np.ndarray:
        """The galaxies in the frames of the first look, see `stamps_of`; made when they are first asked for."""
        return stamps_of(self.quick_shapes)

    @property
    def quick_shapes(self) -> list[QuickShape | None]:
        """Where the fit of each galaxy started."""
        return [None if galaxy is None else galaxy.quick for galaxy in self.galaxies]

    def __len__(self) -> int:
        return len(self.table)


class _Size(NamedTuple):
    """What `_size_of` finds: mean light (k,), half-light radius, where the galaxy ends, and the measured range."""

    light: np.ndarray
    radius: float
    limit: float
    inner: float
    outer: float


@compiled
def _first_range(shape, ny, nx, psf_fwhm, radius):
    """The range that the first look's radius gives, see `measured_range`."""
    return measured_range(radius, psf_fwhm, reach_of(shape, ny, nx))


@compiled
def _size_of(image, pixel_class, shape, psf_fwhm, radius):
    """A plain tuple of `_Size` for a galaxy of this shape, whose half-light radius was thought to be `radius`."""
    ny, nx = image.shape
    reach = reach_of(shape, ny, nx)
    end = min(reach, 6 * radius)
    light = mean_light(image, pixel_class, shape, end)
    radii = half_light(light, shape[Q], end)
    radius = max(radii.half_light, LEAST_RADIUS_PIX)
    inner, outer = measured_range(radius, psf_fwhm, reach)
    return light, radius, min(reach, 1.5 * radii.petrosian), inner, outer


def _fit_along_sides(pixels: Pixels, fit: ShapeFit, size: _Size) -> tuple[ShapeFit, bool]:
    """The fit of a nearly round galaxy in the frame of its four sides, where these say how it lies.

    And whether they do; else the fit as it was, with the harmonics that it has.
    """
    options = FitOptions(size.inner, size.outer, ALL, 3, False)
    boxy = fit_shape(pixels, fit.shape, size.light, options)
    fit.shape[GEOMETRY:] = boxy.shape[GEOMETRY:]
    q, turned, of_boxy = fit.shape[Q], boxy.shape, boxy.covariance
    turn = turn_of_frame(q, of_boxy[S2, S2], turned[C4], turned[S4], np.sqrt(of_boxy[C4, C4]))
    if not np.isfinite(turn):
        return fit, False
    turned[ANGLE] += turn
    turned[C3:] = 0.0
    return fit_shape(pixels, turned, size.light, options._replace(iterations=MOST_STEPS, fix_angle=True)), True


def with_noise_known(image: np.ndarray, noise: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Image and noise map, NaN where the map knows none, or one so large that the pixel holds nothing."""
    if noise is None:
        return image, None
    known = noise > 0
    typical = np.median(noise[known]) if known.any() else np.nan
    lost = (noise > NOISY * typical) & (np.abs(image - np.nanmedian(image)) < SHOWS_SIGMA * noise)
    known &= (noise < USELESS * typical) & ~lost
    missing = np.float32(np.nan)
    return np.where(known, image, missing), np.where(known, noise, missing) if known.any() else None


def relative_noise(noise: np.ndarray | None, stated: float, quick: QuickShape) -> np.ndarray:
    """Noise of each pixel of a galaxy over that of its sky (ny, nx) float32; EVEN where there is no map, or a flat one.

    `stated` is the typical noise per pixel, NaN where a map is known up to a factor only. Where the sky shows another
    noise than that (see `segment`), the map says how the noise changes, and the sky's pixels, each over its own, how
    large it is.
    """
    if noise is None:
        return EVEN
    division, binning = quick.segmentation, quick.binning
    typical = float(np.median(noise[noise > 0]))
    squares = np.where(noise > 0, noise / typical, np.nan).astype(np.float32) ** 2
    ratio = np.sqrt(bin_down(squares, binning))
    if not abs(stated - quick.sky_sigma) < 1e-5 * stated:
        sky = (division.pixel_class == SKY) & (ratio > 0)
        shown = MAD_TO_SIGMA * np.median(np.abs(division.image[sky] / ratio[sky])) if sky.any() else 0.0
        if not shown > 0:
            return EVEN
        ratio *= shown / division.sky_sigma
    else:
        ratio *= typical / stated
    middle = np.median(ratio[ratio > 0])
    ratio = np.where(ratio > 0, ratio, middle).astype(np.float32)  # of pixels without data, which no fit takes
    return EVEN if np.ptp(ratio) < FLAT * middle else np.ascontiguousarray(ratio)


def frame_galaxy(
    image: np.ndarray, psf_fwhm_pix: float = np.nan, noise_sigma: float = np.nan, noise: np.ndarray | None = None
) -> FramedGalaxy | None:
    """Finds the central galaxy of one stamp and its centre, axes and size; None if there is none.

    Parameters are those of `quick_shape_of`, and `noise` (ny, nx), the noise of each pixel where a map states it.
    """
    compile_ahead("framing galaxies", quick_shape_example, fit_example, frame_example)
    image, noise = with_noise_known(image, noise)
    first = quick_shape_of(image, psf_fwhm_pix, noise_sigma)
    if first is None:
        return None
    division, relative = first.segmentation, relative_noise(noise, noise_sigma, first)
    psf = (psf_fwhm_pix if np.isfinite(psf_fwhm_pix) else ASSUMED_PSF_FWHM_PIX) / first.binning
    pixels, (ny, nx) = Pixels(division.image, division.pixel_class, division.sky_sigma, relative), division.image.shape
    inner, outer = _first_range(first.shape, ny, nx, psf, first.radius)
    options, square = FitOptions(inner, outer, GEOMETRY, MOST_STEPS, False), False
    fit = fit_shape(pixels, first.shape, first.light, options)
    size = _Size(*_size_of(division.image, division.pixel_class, fit.shape, psf, first.radius))
    if fit.shape[Q] > NEARLY_ROUND:
        fit, square = _fit_along_sides(pixels, fit, size)
    shape = fit.shape
    shape[ANGLE] %= np.pi
    if not (0 <= shape[X] < nx and 0 <= shape[Y] < ny):  # the fit ran away from it
        return None
    snr, flag = signal_of(division, shape, size.radius)
    flag |= int(first.flag) & STAR_BITS
    if not fit.converged:
        flag |= NOT_CONVERGED_BIT
    return FramedGalaxy(
        first,
        shape,
        size.light,
        fit.coefficients,
        fit.sigmas,
        size.radius,
        size.limit,
        snr,
        as_flag(flag),
        square,
        relative,
    )


def flags_found(images: ImageSet, shapes: Sequence[QuickShape | FramedGalaxy | None]) -> np.ndarray:
    """The flags (n,) of images at which somebody has looked."""
    old = np.array(images.table["flag"], dtype=np.int64)
    found = np.array([int(Flag.NO_GALAXY) if quick is None else int(quick.flag) for quick in shapes], dtype=np.int64)
    return np.where(usable(old), old | found, old)


def stamps_of(shapes: list[QuickShape | None]) -> np.ndarray:
    """The galaxies in their own frames, (n, size, size) float32.

    Sky-subtracted light in units of the noise per pixel, major axis along +x, minor axis stretched until the
    ellipse is a circle. 0 where there is no galaxy.
    """
    compile_ahead("resampling galaxies", maps_example)
    stamps = np.zeros((len(shapes), STAMP_SIZE, STAMP_SIZE), np.float32)
    for i, first in enumerate(shapes):
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

    Examples
    --------
    >>> y, x = np.mgrid[:64, :64] - 31.5
    >>> image = 100 * np.exp(-np.hypot(x / 8, y / 5)) + np.random.default_rng(1).normal(size=x.shape)
    >>> frames = frame_galaxies(ImageSet([image.astype(np.float32)], Table({"id": ["a"]})))
    >>> bool(0.5 < frames.table["axis_ratio"][0] < 0.75), frames.stamps[0].ndim
    (True, 2)
    """
    good, psf, noise = usable(images.table["flag"]), known_psf(images), known_noise(images)
    maps = images.noises or [None] * len(images)
    galaxies = [frame_galaxy(p, psf[i], noise[i], maps[i]) if good[i] else None for i, p in enumerate(images.pixels)]
    return FrameSet(_frame_table(images, galaxies), galaxies)


def _frame_table(images: ImageSet, galaxies: list[FramedGalaxy | None]) -> Table:
    """The table of a FrameSet."""
    missing = np.array([g is None for g in galaxies], dtype=bool)
    rows = np.array(
        [
            (0.0,) * 13
            if g is None
            else (
                *np.asarray(unbinned(g.shape[:2], g.binning)),
                g.shape[Q],
                np.degrees(g.shape[ANGLE]),
                g.radius * g.binning,
                g.snr,
                g.quick.background,
                g.quick.sky_sigma,
                *g.quick.marks,
            )
            for g in galaxies
        ]
    ).reshape(-1, 13)
    table = Table({"id": Column(images.table["id"], dtype=object)})
    seen = ("x", "y", "axis_ratio", "position_angle_deg", "radius_pix", "snr", "background", "sky_sigma")
    names = (*seen, *StarMarks._fields)
    for name, values in zip(names, rows.T, strict=True):
        table[name] = MaskedColumn(values, mask=missing, dtype=float)
    table["flag"] = np.array(images.table["flag"], dtype=np.int64)
    table["flag_text"] = np.array([str(t) for t in images.table["flag_text"]], dtype=object)
    add_flags(table, flags_found(images, galaxies))
    return table


# --- what is compiled ahead, see `numerics.jit`


def example_galaxy() -> FramedGalaxy:
    """A galaxy without noise in its frame, made without compiled code: the start of examples for the compiler."""
    first = example_quick_shape()
    return FramedGalaxy(
        first, first.shape, first.light, np.ones(12), np.ones(9), first.radius, 25.0, 100.0, Flag(0), False
    )


def frame_example() -> None:
    """Framing a galaxy."""
    galaxy = example_galaxy()
    _first_range(galaxy.shape, 64, 64, 2.0, 8.0)
    _size_of(galaxy.pixels.image, galaxy.pixels.pixel_class, galaxy.shape, 2.0, 8.0)
    turn_of_frame(0.9, 1e-3, 0.1, 0.0, 1e-3)
    signal_of(galaxy.segmentation, galaxy.shape, 8.0)


def maps_example() -> None:
    """Resampling a galaxy, and its harmonics ring by ring."""
    galaxy = example_galaxy()
    stamps_of([galaxy.quick])
    _ = galaxy.rings


def stamp(galaxy: QuickShape) -> np.ndarray:
    """The galaxy in its own frame: (size, size) float32, in units of the sky's noise per pixel.

    Each stamp pixel is the mean of enough linear interpolations that every image pixel under it counts. Pixels
    without data take the value of the point opposite the centre (a galaxy is symmetric to first order), or, where
    that is missing too, the mean light at their radius.
    """
    division = galaxy.segmentation
    values = stamp_of(division.image, division.pixel_class, galaxy.shape, galaxy.radius, galaxy.light)
    return values / np.float32(division.sky_sigma)
