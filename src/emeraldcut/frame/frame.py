"""A galaxy's own frame: centre, axes and size, and the image resampled to them.

In this frame every ellipse is a circle of the same size, so a rectangle is a square whatever its position angle, size
and axis ratio. Measuring, comparing and classifying are three ways of looking at the same framed galaxy.
"""

from __future__ import annotations

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
    GEOMETRY,
    S2,
    S4,
    Ellipse,
    FitOptions,
    Pixels,
    Q,
    X,
    Y,
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
    on_sky,
    quick_shape_example,
    quick_shape_of,
    reach_of,
    signal_of,
    turn_to_sides,
)
from emeraldcut.frame.resample import STAMP_SIZE, stamp_of, unbinned
from emeraldcut.frame.ring_harmonics import RingHarmonics, ring_harmonics
from emeraldcut.frame.segmentation import Segmentation
from emeraldcut.numerics.jit import compile_ahead, compiled


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

    @property
    def segmentation(self) -> Segmentation:
        return self.quick.segmentation

    @property
    def binning(self) -> int:
        return self.quick.binning

    @property
    def pixels(self) -> Pixels:
        """As `fit_shape` takes them."""
        division = self.segmentation
        return Pixels(division.image, division.pixel_class, division.sky_sigma)

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
        return stamps_of(self.quick_shapes)

    @property
    def quick_shapes(self) -> list[QuickShape | None]:
        return [None if galaxy is None else galaxy.quick for galaxy in self.galaxies]

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
    light = mean_light(pixels.image, pixels.pixel_class, shape, end)
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


def frame_galaxy(image: np.ndarray, psf_fwhm_pix: float = np.nan, noise_sigma: float = np.nan) -> FramedGalaxy | None:
    """Finds the central galaxy of one stamp and its centre, axes and size; None if there is none.

    Parameters are those of `quick_shape_of`.
    """
    compile_ahead("framing galaxies", quick_shape_example, frame_example)
    first = quick_shape_of(image, psf_fwhm_pix, noise_sigma)
    if first is None:
        return None
    division = first.segmentation
    psf = (psf_fwhm_pix if np.isfinite(psf_fwhm_pix) else ASSUMED_PSF_FWHM_PIX) / first.binning
    pixels = Pixels(division.image, division.pixel_class, division.sky_sigma)
    frame = _fit_frame(pixels, first.shape, first.light, psf, first.radius)
    ny, nx = division.image.shape
    if not (0 <= frame.shape[X] < nx and 0 <= frame.shape[Y] < ny):  # the fit ran away from it
        return None
    snr, flag = signal_of(division, frame.shape, frame.radius)
    if not frame.converged:
        flag |= NOT_CONVERGED_BIT
    return FramedGalaxy(
        first, frame.shape, frame.light, frame.coefficients, frame.sigmas, frame.radius, frame.limit, snr,
        as_flag(flag), frame.square,
    )  # fmt: skip


def flags_found(images: ImageSet, shapes: list[QuickShape | FramedGalaxy | None]) -> np.ndarray:
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
    """
    good, psf, noise = usable(images.table["flag"]), known_psf(images), known_noise(images)
    galaxies = [frame_galaxy(p, psf[i], noise[i]) if good[i] else None for i, p in enumerate(images.pixels)]
    return FrameSet(_frame_table(images, galaxies), galaxies)


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
    galaxy = example_galaxy()
    _fit_frame(galaxy.pixels, galaxy.shape, galaxy.light, 2.0, 8.0)
    signal_of(galaxy.segmentation, galaxy.shape, 8.0)


def maps_example() -> None:
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
