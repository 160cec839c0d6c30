"""Galaxies in several bands: one geometry for all of them, and the harmonics and the light of each.

The light of every band is fitted by itself, from where the galaxy lies in all bands together; each fit leaves a shape
and the matrix of its covariance, as amplitudes of the patterns of `frame.ellipse_fit`. Fits of independent pixels add
up: with W_b the inverse of a covariance, the shape that fits all bands best is (sum W_b)^-1 sum W_b d_b, where d_b is
what takes a reference shape to that of the band (the minimum of a sum of parabolas; Gauss-Newton steps end there too).
What a band says on a geometry that is given is its conditional mean (Rao 1973, Linear Statistical Inference, 8a.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from astropy.table import MaskedColumn, Table, join, vstack

from emeraldcut.data.columns import describe_columns
from emeraldcut.data.flags import Flag, describe
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.frame import ALL, GEOMETRY, ORDERS, FramedGalaxy, FrameSet, frame_galaxies, known_psf, unbinned
from emeraldcut.frame.ellipse_fit import (
    ACROSS,
    ALONG,
    ANGLE,
    C2,
    C4,
    C6,
    C8,
    MIN_AXIS_RATIO,
    S2,
    Q,
    X,
    Y,
    axes_of,
    to_circle,
)
from emeraldcut.frame.resample import bin_down
from emeraldcut.frame.segmentation import GALAXY, MISSING, NEIGHBOUR, SKY, Segmentation
from emeraldcut.isophotes.galaxy_fit import (
    COLUMN_OF,
    Fitted,
    Measurement,
    MeasureSettings,
    measure_galaxy,
    psf_image,
    settled,
)
from emeraldcut.isophotes.polar import fourth_harmonics, fourth_variances
from emeraldcut.isophotes.radial_profile import ProfileSettings, fit_profile, light_inside, profile_rows
from emeraldcut.numerics.median import MAD_TO_SIGMA

LEAST_SKY_PIX = 20  # of which the level of a band's sky is known
CLIP_SIGMA = 3.0  # pixels farther from the sky's plane have no say in it
EVEN_NOISE = 1e-6  # of the brightest pixel: noise of a drawing that has none
ROUNDS = 2  # of combining: in the second one the reference is what the first one found


class InBand(NamedTuple):
    """A galaxy in one band: its light in the frame of all bands, and what was fitted to it."""

    galaxy: FramedGalaxy
    fit: Measurement


class Together(NamedTuple):
    """What several bands say of one galaxy.

    Attributes
    ----------
    fit : Measurement
        The shape that all bands share.
    bands : dict of InBand
        By name; shapes are on the geometry of `fit`. A band that shows no galaxy is not in it.
    """

    fit: Measurement
    bands: dict[str, InBand]


# --- a galaxy in one band


def in_band(galaxy: FramedGalaxy, pixels: np.ndarray) -> FramedGalaxy | None:
    """A framed galaxy with the light of one band (ny, nx) in place of its own; None where the band shows none of it."""
    division = galaxy.segmentation
    image = bin_down(np.ascontiguousarray(pixels, np.float32), galaxy.binning)
    known = np.isfinite(image) & (division.pixel_class != MISSING)
    sky, own = known & (division.pixel_class == SKY), known & (division.pixel_class == GALAXY)
    if sky.sum() < LEAST_SKY_PIX or own.sum() < LEAST_SKY_PIX:
        return None
    level, sigma = _sky_of(image, sky, sloped=division.gradient > 0)
    light = np.where(known, image - level, 0.0)
    ratio = float(np.sum(light[own] * division.image[own]) / np.sum(division.image[own].astype(float) ** 2))
    brightest = float(np.abs(light[own]).max())
    if not ratio > 0 or not brightest > 0:
        return None
    unit = 2.0 ** np.floor(np.log2(brightest))
    divided = division._replace(
        image=(light / unit).astype(np.float32),
        pixel_class=np.where(known, division.pixel_class, np.uint8(MISSING)),
        background=float(level[_galaxy_pixel(galaxy, level.shape)]) / unit,
        sky_sigma=max(sigma, EVEN_NOISE * brightest) / unit,
        unit=unit,
    )
    return replace(
        galaxy,
        quick=replace(galaxy.quick, segmentation=divided),
        shape=galaxy.shape.copy(),
        light=_mean_light(divided, galaxy),
        coefficients=galaxy.coefficients * ratio / unit,
        sigmas=np.full_like(galaxy.sigmas, divided.sky_sigma),
    )


def _mean_light(division: Segmentation, galaxy: FramedGalaxy) -> np.ndarray:
    """Mean light (k,) on the ellipses with circularised radius 0, 1, 2, ... pixels; 0 where no pixel is."""
    y, x = np.nonzero(division.pixel_class < NEIGHBOUR)
    u, v = to_circle(x, y, axes_of(galaxy.shape))
    rings = np.rint(np.hypot(u, v) * np.sqrt(galaxy.shape[Q])).astype(int)
    n = len(galaxy.light)
    inside = rings < n
    total = np.bincount(rings[inside], division.image[y, x][inside], n)
    return (total / np.maximum(np.bincount(rings[inside], minlength=n), 1)).astype(galaxy.light.dtype)


def _galaxy_pixel(galaxy: FramedGalaxy, shape: tuple[int, ...]) -> tuple[int, int]:
    """Row and column of the pixel in the middle of a framed galaxy."""
    ny, nx = shape
    return int(np.clip(round(galaxy.shape[Y]), 0, ny - 1)), int(np.clip(round(galaxy.shape[X]), 0, nx - 1))


def _sky_of(image: np.ndarray, sky: np.ndarray, *, sloped: bool) -> tuple[np.ndarray, float]:
    """Level of the sky in all pixels (ny, nx), a plane if it is sloped, and its noise per pixel."""
    y, x = np.nonzero(sky)
    values = image[sky].astype(float)
    level = np.full(image.shape, np.median(values))
    if sloped:
        good = np.ones(len(values), bool)
        grid = np.indices(image.shape)
        for _ in range(2):
            plane = np.linalg.lstsq(np.column_stack([np.ones(good.sum()), y[good], x[good]]), values[good])[0]
            level = plane[0] + plane[1] * grid[0] + plane[2] * grid[1]
            left = values - level[sky]
            good = np.abs(left) <= CLIP_SIGMA * MAD_TO_SIGMA * np.median(np.abs(left)) + 1e-30
    return level, float(MAD_TO_SIGMA * np.median(np.abs(values - level[sky])))


# --- shapes as amplitudes of patterns


def amplitudes(reference: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The step (12,) that takes a reference shape (12,) to another near by; the inverse of `stepped`."""
    q, cos, sin = reference[Q], np.cos(reference[ANGLE]), np.sin(reference[ANGLE])
    step, dx, dy = np.empty(ALL), shape[X] - reference[X], shape[Y] - reference[Y]
    step[ALONG], step[ACROSS] = dx * cos + dy * sin, dy * cos - dx * sin
    step[C2] = (q - shape[Q]) / (q + shape[Q])
    turned = (shape[ANGLE] - reference[ANGLE] + np.pi / 2) % np.pi - np.pi / 2
    step[S2] = turned * _roundness(q) / (2 * q)
    step[GEOMETRY:] = _turned_harmonics(shape, -step[S2] * (1 + q * q) / _roundness(q)) - reference[GEOMETRY:]
    return step


def stepped(reference: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The shape (12,) after a step (12,), to first order in the angle: `ellipse_fit.moved` without its limits."""
    q, cos, sin = reference[Q], np.cos(reference[ANGLE]), np.sin(reference[ANGLE])
    new = reference.copy()
    new[X] += step[ALONG] * cos - step[ACROSS] * sin
    new[Y] += step[ALONG] * sin + step[ACROSS] * cos
    new[Q] = np.clip(q * (1 - step[C2]) / (1 + step[C2]), MIN_AXIS_RATIO, 1.0)
    new[ANGLE] += step[S2] * 2 * q / _roundness(q)
    new[GEOMETRY:] += step[GEOMETRY:]
    new[GEOMETRY:] = _turned_harmonics(new, step[S2] * (1 + q * q) / _roundness(q))
    return new


def _roundness(q: float) -> float:
    """1 - q^2, not 0: a circle has no angle."""
    return max(1 - q * q, 1e-3)


def _turned_harmonics(shape: np.ndarray, turn: float) -> np.ndarray:
    """Harmonics (8,) of a shape (12,) in a frame whose elliptical angle begins at `turn`."""
    turned = np.empty(ALL - GEOMETRY)
    for i, m in enumerate(ORDERS):
        c, s = shape[GEOMETRY + 2 * i], shape[GEOMETRY + 2 * i + 1]
        turned[2 * i] = c * np.cos(m * turn) + s * np.sin(m * turn)
        turned[2 * i + 1] = s * np.cos(m * turn) - c * np.sin(m * turn)
    return turned


# --- several bands together


def _free(square: bool) -> np.ndarray:
    """Places of the patterns that are free: of a galaxy whose sides say how it lies the angle is kept."""
    return np.array([k for k in range(ALL) if not (square and k == S2)])


def combined(shapes: list[np.ndarray], covariances: list[np.ndarray], start: np.ndarray, square: bool) -> Fitted:
    """The shape (12,) and covariance (12, 12) that fit several bands best.

    Parameters
    ----------
    shapes, covariances : lists of (12,) and (12, 12)
    start : (12,)
        A shape near by.
    square : bool
        Whether the angle is kept.
    """
    free, reference = _free(square), start
    weights = [np.linalg.inv(covariance[np.ix_(free, free)]) for covariance in covariances]
    inverse = np.linalg.inv(sum(weights))
    for _ in range(ROUNDS):
        parts = (weight @ amplitudes(reference, shape)[free] for weight, shape in zip(weights, shapes, strict=True))
        step = np.zeros(ALL)
        step[free] = inverse @ sum(parts)
        reference = stepped(reference, step)
    covariance = np.zeros((ALL, ALL))
    covariance[np.ix_(free, free)] = inverse
    return Fitted(reference, covariance)


def on_geometry(shape: np.ndarray, covariance: np.ndarray, geometry: Fitted, square: bool) -> Fitted:
    """What the fit of a band says of the harmonics if the galaxy's centre and axes are those of `geometry`.

    The errors of that geometry are in those of the harmonics.
    """
    step, free = amplitudes(geometry.shape, shape), _free(square)
    axes, rest = free[free < GEOMETRY], np.arange(GEOMETRY, ALL)
    gain = covariance[np.ix_(rest, axes)] @ np.linalg.inv(covariance[np.ix_(axes, axes)])
    of_axes = geometry.covariance[np.ix_(axes, axes)]
    found, known = geometry.shape.copy(), np.zeros((ALL, ALL))
    found[GEOMETRY:] += step[GEOMETRY:] - gain @ step[axes]
    known[np.ix_(axes, axes)] = of_axes
    known[np.ix_(rest, rest)] = (
        covariance[np.ix_(rest, rest)] - gain @ covariance[np.ix_(axes, rest)] + gain @ of_axes @ gain.T
    )
    return Fitted(found, known)


def fit_together(
    galaxy: FramedGalaxy,
    fit: Measurement,
    planes: Mapping[str, np.ndarray],
    settings: MeasureSettings,
    psf_fwhm_pix: float,
    psf: np.ndarray | None = None,
) -> Together | None:
    """One galaxy in several bands.

    Parameters
    ----------
    galaxy, fit : FramedGalaxy, Measurement
        Of the image of all bands.
    planes : dict of (ny, nx) arrays
        The pixels of each band by its name, NaN where there is no data.
    settings : MeasureSettings
        `bands` says whether the geometry is that of the image of all bands (forced), or fitted to all bands (joint).
    psf_fwhm_pix, psf : float, (ny, nx) or None
        As for `measure_galaxy`, of all bands.

    Returns
    -------
    Together or None
        None where no band shows the galaxy.
    """
    found: dict[str, InBand] = {}
    for name, plane in planes.items():
        alone = in_band(galaxy, plane) if np.shape(plane) else None
        of_band = None if alone is None else measure_galaxy(alone, settings, psf_fwhm_pix, psf)
        if alone is not None and of_band is not None and _usable(of_band.fitted, galaxy.square):
            found[name] = InBand(alone, of_band)
    if not found:
        return None
    fits = [band.fit for band in found.values()]
    if settings.bands == "joint":
        fit = _joint(fit, fits, galaxy.square)
    bands = {name: band._replace(fit=_conditional(fit, band.fit, galaxy.square)) for name, band in found.items()}
    return Together(fit, bands)


def _usable(fitted: Fitted, square: bool) -> bool:
    """Whether a fit has a covariance that can be turned around."""
    free = _free(square)
    matrix = fitted.covariance[np.ix_(free, free)]
    return bool(np.isfinite(matrix).all() and np.isfinite(fitted.shape).all() and np.all(np.diag(matrix) > 0))


def _joint(fit: Measurement, fits: list[Measurement], square: bool) -> Measurement:
    """`fit` with the shape that all bands have in common; those whose fit did not settle have no say in it."""
    steady = [one for one in fits if one.converged]
    fits = steady or fits
    noisy = [one.correlation * one.fitted.covariance for one in fits]
    joint = combined([one.fitted.shape for one in fits], noisy, fit.fitted.shape, square)
    as_seen = [one.correlation * one.seen_covariance for one in fits]
    seen = combined([one.seen for one in fits], as_seen, fit.seen, square)
    return replace(_with_shape(fit, joint, seen, square), converged=bool(steady))


def _conditional(together: Measurement, of_band: Measurement, square: bool) -> Measurement:
    """The fit of a band on the geometry of all."""
    covariance = of_band.correlation * of_band.fitted.covariance
    # those of the whole are without what the noise's correlation adds, or hold it already where bands were combined
    known = Fitted(together.fitted.shape, together.correlation * together.fitted.covariance)
    fitted = on_geometry(of_band.fitted.shape, covariance, known, square)
    of_seen = Fitted(together.seen, together.correlation * together.seen_covariance)
    seen = on_geometry(of_band.seen, of_band.correlation * of_band.seen_covariance, of_seen, square)
    return _with_shape(of_band, fitted, seen, square)


def _with_shape(fit: Measurement, fitted: Fitted, seen: Fitted, square: bool) -> Measurement:
    """`fit` with another shape, whose covariances hold what the correlation of the noise adds."""
    shape, errors = settled(fitted.shape, seen.shape, fitted.covariance, seen.covariance, 1.0, square, fit.psf_trust)
    return replace(
        fit,
        shape=shape,
        errors=errors,
        seen=seen.shape,
        fitted=fitted,
        seen_covariance=seen.covariance,
        correlation=1.0,
    )


# --- tables


def band_shapes(
    images: ImageSet, settings: MeasureSettings = MeasureSettings(bands="joint"), *, frames: FrameSet | None = None
) -> Table:
    """Harmonics of every galaxy in each of its bands, on one geometry; one row per image and band.

    Parameters
    ----------
    images : ImageSet
        With `bands`, as `read_images(..., bands=True)` gives them.
    settings : MeasureSettings
        `bands` is "joint" or "forced".
    frames : FrameSet, optional
        The framed galaxies of `images`, if they are at hand.

    Returns
    -------
    Table
        `id`, `band`, `x, y, axis_ratio, position_angle_deg` (those of all bands), harmonics as from `measure` with
        errors, `light_inside` (counts within the measured range's outer radius), `background`, `sky_sigma`; `flag` and
        `flag_text`, which say whether the band shows no galaxy, and whether its fit did not settle. Of a band that
        shows no galaxy all other values are masked. Images that are not made of several bands have no row.

    Raises
    ------
    UsageError
        The images have no bands.
    """
    names: list[tuple[str, str]] = []
    rows: list[list[float]] = []
    flags: list[Flag] = []
    for i, together, planes in _together(images, settings, frames):
        for name in planes:
            band = None if together is None else together.bands.get(name)
            names.append((str(images.table["id"][i]), name))
            rows.append(_row(band))
            flags.append(_flag_of(band))
    table = Table({"id": np.array([n for n, _ in names], object), "band": np.array([b for _, b in names], object)})
    for name, values in zip(COLUMNS, np.array(rows).reshape(-1, len(COLUMNS)).T, strict=True):
        hidden = ~np.isfinite(values)
        table[name] = MaskedColumn(np.where(hidden, 0.0, values), mask=hidden)
    table["flag"] = np.array(flags, dtype=np.int64)
    table["flag_text"] = np.array([describe(flag) for flag in flags], dtype=object)
    return describe_columns(table)


def _flag_of(band: InBand | None) -> Flag:
    """What is wrong with one band of a galaxy."""
    if band is None:
        return Flag.NO_GALAXY
    return Flag.GOOD if band.fit.converged else Flag.NOT_CONVERGED


def band_profiles(
    images: ImageSet,
    settings: MeasureSettings = MeasureSettings(bands="joint"),
    profile_settings: ProfileSettings = ProfileSettings(),
    *,
    frames: FrameSet | None = None,
) -> Table:
    """Light of every galaxy in each of its bands on the same isophotes; one row per image, band and isophote.

    Parameters are those of `band_shapes` and `radial_profiles`.

    Returns
    -------
    Table
        The columns of `radial_profiles`, and `band`; centre, axes and harmonics are those of all bands together at all
        radii. The colour between two bands is the difference of their surface brightness, see `colour_profile`.
    """
    fixed = replace(profile_settings, fix_centre=True, fix_eps=True, fix_pa=True, fix_harmonics=True)
    tables = []
    for i, together, _ in _together(images, settings, frames):
        for name, (galaxy, fit) in {} if together is None else together.bands.items():
            rows = profile_rows(images.table[i], fit_profile(galaxy, fit, fixed), galaxy.binning, fixed)
            rows.add_column(np.full(len(rows), name, dtype=object), name="band", index=1)
            tables.append(rows)
    return describe_columns(
        vstack(tables, metadata_conflicts="silent") if tables else Table({"id": np.zeros(0, object)})
    )


def colour_profile(profiles: Table, first: str, second: str, zero_points_mag: tuple[float, float] = (0, 0)) -> Table:
    """The colour of galaxies against radius, from `band_profiles`.

    Parameters
    ----------
    profiles : Table
    first, second : str
        Two bands; the colour is the magnitude in the first less that in the second.
    zero_points_mag : two floats
        Of the two bands. Of images in nanomaggies, or in any flux, both are the same.

    Returns
    -------
    Table
        `id`, `isophote_radius_pix`, `colour_mag` and `colour_err_mag`, masked where a band shows no light.

    Raises
    ------
    UsageError
        The profiles have no such band.
    """
    known = sorted(set(profiles["band"])) if "band" in profiles.colnames else []
    for band in (first, second):
        if band not in known:
            raise UsageError(f"colour_profile expects two bands of {', '.join(known) or 'none'}; received '{band}'.")
    columns = ["id", "isophote_radius_pix", "brightness", "brightness_err"]
    one, other = (profiles[profiles["band"] == band][columns] for band in (first, second))
    both = join(one, other, keys=columns[:2], table_names=["1", "2"])
    light = [np.ma.filled(both[f"brightness_{k}"].astype(float), np.nan) for k in (1, 2)]
    error = [np.ma.filled(both[f"brightness_err_{k}"].astype(float), np.nan) for k in (1, 2)]
    with np.errstate(all="ignore"):
        colour = zero_points_mag[0] - zero_points_mag[1] - 2.5 * np.log10(light[0] / light[1])
        colour_err = 2.5 / np.log(10) * np.hypot(error[0] / light[0], error[1] / light[1])
    hidden = ~np.isfinite(colour)
    table = both[columns[:2]]
    table["colour_mag"] = MaskedColumn(np.where(hidden, 0, colour), mask=hidden)
    table["colour_err_mag"] = MaskedColumn(np.where(hidden, 0, colour_err), mask=hidden)
    return describe_columns(table)


HARMONICS = (*COLUMN_OF, "a4_polar", "a4_bender")
COLUMNS = (
    "x",
    "y",
    "axis_ratio",
    "position_angle_deg",
    *(f"{n}{e}" for n in HARMONICS for e in ("", "_err")),
    "light_inside",
    "background",
    "sky_sigma",
)  # fmt: skip  of `band_shapes`


def _row(band: InBand | None) -> list[float]:
    """The values of `COLUMNS` for one band, NaN where it shows no galaxy."""
    if band is None:
        return [np.nan] * len(COLUMNS)
    galaxy, fit = band
    shape, errors, division = fit.shape, fit.errors, galaxy.segmentation
    row = [*np.asarray(unbinned(shape[:2], galaxy.binning)), shape[Q], np.degrees(shape[ANGLE]) % 180]
    q, even = shape[None, Q], [C4, C6, C8]
    polar, variances = fourth_harmonics(q, shape[None, even]), fourth_variances(q, errors[None, even] ** 2)
    values = [*shape[GEOMETRY:], *(float(one[0]) for one in polar)]
    noise = [*errors[GEOMETRY:], *(float(np.sqrt(one[0])) for one in variances)]
    for pair in zip(values, noise, strict=True):
        row += pair
    inside = light_inside(galaxy, np.array([fit.outer]), fit.seen[None, Q]) * division.unit * galaxy.binning**2
    return [*row, float(inside[0]), division.background * division.unit,
            division.sky_sigma * division.unit * galaxy.binning]  # fmt: skip


def _together(
    images: ImageSet, settings: MeasureSettings, frames: FrameSet | None
) -> Iterator[tuple[int, Together | None, dict[str, np.ndarray]]]:
    """Each image that is made of bands: its row, what these say, and their pixels."""
    frames = frame_galaxies(images) if frames is None else frames
    psf = known_psf(images)
    for i, galaxy in enumerate(frames.galaxies):
        planes = bands_of(images)[i]
        if not planes:
            continue
        fit = None if galaxy is None else measure_galaxy(galaxy, settings, psf[i], psf_image(images, i))
        if galaxy is None or fit is None:
            yield i, None, planes
        else:
            yield i, fit_together(galaxy, fit, planes, settings, psf[i], psf_image(images, i)), planes


def bands_of(images: ImageSet) -> list[dict[str, np.ndarray] | None]:
    """The pixels of the bands of each image, None of one that is not made of several; UsageError where none is kept."""
    if images.bands is None:
        raise UsageError(
            "measuring in bands expects images that are made of several bands, such as a FITS file with an image or a "
            "plane for each, or a file for each; none of these images is, or their bands were not kept."
        )
    return images.bands
