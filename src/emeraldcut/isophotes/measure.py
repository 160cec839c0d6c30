"""Measure: axis ratio, position angle, size, signal-to-noise ratio and the isophote harmonics of every galaxy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import MaskedColumn, Table
from scipy.special import ndtr

from emeraldcut.data.columns import describe_columns, numbers
from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet, add_flag
from emeraldcut.frame import ALL, GEOMETRY, FrameSet, frame_galaxies, known_psf
from emeraldcut.frame.ellipse_fit import ANGLE, C4, C6, C8, Q, fit_example
from emeraldcut.frame.frame import frame_example
from emeraldcut.frame.quick_shape import quick_shape_example
from emeraldcut.frame.star_marks import StarMarks
from emeraldcut.isophotes.bands import bands_of, fit_together
from emeraldcut.isophotes.galaxy_fit import (
    COLUMN_OF,
    LEAST_A4,
    Measurement,
    MeasureSettings,
    measure_example,
    measure_galaxy,
    psf_image,
)
from emeraldcut.isophotes.isophote_fit import rings_example
from emeraldcut.isophotes.polar import fourth_harmonics, fourth_variances
from emeraldcut.isophotes.zones import add_zones, course_of, zones_example
from emeraldcut.numerics.jit import compile_ahead

OF_ZONES = (rings_example, zones_example)
# The longest first, so that two cores end together.
EXAMPLES = (quick_shape_example, measure_example, rings_example, fit_example, zones_example, frame_example)
BOXY_A4 = -0.03  # from here on a galaxy counts as boxy: rarer than one elliptical in thirty
STRUCTURE = 0.12  # residual from which on a galaxy is more than a smooth profile on one ellipse
KINDS = ("elliptical", "disky", "boxy", "rectangular", "obround")
SIGNIFICANT = 2.0  # standard errors of a4 from which on a galaxy is boxy or disky
# Fourth and sixth harmonic of obrounds (stadiums) with axis ratios of 1 to .3, computed from the outline; rectangles
# and superellipses have none of the sixth.
OBROUND_A4 = (0.0, 0.010, 0.022, 0.036, 0.051, 0.066, 0.082, 0.097)
OBROUND_A6 = (0.0, 0.004, 0.009, 0.014, 0.018, 0.020, 0.020, 0.017)


def measure(
    images: ImageSet,
    settings: MeasureSettings = MeasureSettings(),
    *,
    frames: FrameSet | None = None,
) -> Table:
    """Shapes with errors, one row per image.

    Parameters
    ----------
    images : ImageSet
    settings : MeasureSettings
    frames : FrameSet, optional
        The framed galaxies of `images`, if they are at hand.

    Returns
    -------
    Table
        Everything that the input's table holds, with `x, y, axis_ratio, position_angle_deg` with errors (and
        `pa_sky_deg, galaxy_ra, galaxy_dec` where there is a WCS), `radius_pix, snr`; `a3, a4, a6, a8` (cosine) and
        `b3, b4_sin, b6_sin, b8_sin` (sine) of isophotes between `inner_radius` and `outer_radius`, relative to the
        elliptical radius: boxy is a4 < 0, as photutils >= 2 `b4`; `a4_polar` and `a4_bender` are a4 in the conventions
        of photutils and IRAF, and of Bender, see `isophotes.polar`. Each is the mean over that range that noise
        disturbs least. Errors are from the noise, its correlation, masked sectors and the PSF, with centre and axes
        left free. `p_boxy` is the probability that a4 < -0.03; `boxy_kind` says what kind of shape it is (see
        `isophotes.kind`); `residual` is the scatter about the fitted model that neighbouring pixels share, over the
        light, small for a smooth galaxy. `saturated`, `edge_width` and `spikes` are the marks of a star, see
        `frame.star_marks`.
        With `zones`, `a4_inner`, `a4_outer`, `a4_slope`, `a4_extreme` (all with errors), `a4_extreme_radius_pix` and
        `boxy_zones` say how a4 changes with radius, see `isophotes.zones`.
        Where the image of the PSF is known (`ImageSet.psfs`), or else `psf_fwhm_pix`, axes and harmonics are those
        before the PSF.
    """
    compile_ahead("measure", *(EXAMPLES if settings.zones else [one for one in EXAMPLES if one not in OF_ZONES]))
    frames = frame_galaxies(images) if frames is None else frames
    psf = known_psf(images)
    fits = [
        None if galaxy is None else measure_galaxy(galaxy, settings, psf[i], psf_image(images, i))
        for i, galaxy in enumerate(frames.galaxies)
    ]
    if settings.bands is not None:
        fits = _of_all_bands(images, settings, frames, fits, psf)
    table = images.table.copy()
    seen = ("x", "y", "axis_ratio", "position_angle_deg", "radius_pix", "snr", "background", "sky_sigma")
    for name in (*seen, *StarMarks._fields):
        table[name] = frames.table[name].copy()
    table["flag"], table["flag_text"] = frames.table["flag"], frames.table["flag_text"]
    missing = np.array([fit is None for fit in fits], dtype=bool)
    _add_shapes(table, fits, missing)
    if settings.zones:
        pairs = zip(frames.galaxies, fits, strict=True)
        courses = [None if fit is None or galaxy is None else course_of(galaxy, fit) for galaxy, fit in pairs]
        add_zones(table, courses, numbers(table["radius_pix"]))
    if "cd11" in table.colnames:
        table["pa_sky_deg"] = sky_position_angle(table)
        if {"ra", "dec"} <= set(table.colnames):
            table["galaxy_ra"], table["galaxy_dec"] = galaxy_position(table, [pixels.shape for pixels in images.pixels])
    _add_flags(table, fits, numbers(table["radius_pix"], np.inf) >= settings.unresolved_ratio * np.nan_to_num(psf))
    return describe_columns(table)


def _of_all_bands(
    images: ImageSet, settings: MeasureSettings, frames: FrameSet, fits: list[Measurement | None], psf: np.ndarray
) -> list[Measurement | None]:
    """`fits` with the shapes that all bands of each image have in common."""
    found, bands = list(fits), bands_of(images)
    if settings.bands != "joint":  # the shape of the combined image stays
        return found
    for i, (galaxy, fit, planes) in enumerate(zip(frames.galaxies, fits, bands, strict=True)):
        if galaxy is not None and fit is not None and planes:
            together = fit_together(galaxy, fit, planes, settings, psf[i], psf_image(images, i))
            found[i] = fit if together is None else together.fit
    return found


def _add_flags(table: Table, fits: list[Measurement | None], resolved: np.ndarray) -> None:
    """Sets the flags of `measure`, from the fits and from which galaxies the PSF resolves, (n,)."""
    unsettled = np.array([fit is None or not fit.converged for fit in fits], dtype=bool)
    good = usable(table["flag"])
    add_flag(table, ~resolved & good, Flag.UNRESOLVED)
    add_flag(table, unsettled & good, Flag.NOT_CONVERGED)
    add_flag(table, (numbers(table["residual"], 0.0) > STRUCTURE) & good, Flag.STRUCTURE)


def _add_shapes(table: Table, fits: list[Measurement | None], missing: np.ndarray) -> None:
    """Writes what was fitted into the columns of `measure`, masked where it is missing (n,)."""
    nothing = np.zeros(ALL)
    shapes = np.array([nothing if fit is None else fit.shape for fit in fits]).reshape(-1, ALL)
    errors = np.array([nothing if fit is None else fit.errors for fit in fits]).reshape(-1, ALL)

    def column(values) -> MaskedColumn:
        return MaskedColumn(values, mask=missing, dtype=float)

    table["axis_ratio"][~missing] = shapes[~missing, Q]
    table["position_angle_deg"][~missing] = np.degrees(shapes[~missing, ANGLE]) % 180
    for k, name in enumerate(COLUMN_OF, GEOMETRY):
        table[name], table[f"{name}_err"] = column(shapes[:, k]), column(errors[:, k])
    table["axis_ratio_err"] = column(errors[:, Q])
    table["position_angle_err_deg"] = column(np.degrees(errors[:, ANGLE]))
    even = [C4, C6, C8]
    for name, values, variances in zip(
        ("a4_polar", "a4_bender"),
        fourth_harmonics(shapes[:, Q], shapes[:, even]),
        fourth_variances(shapes[:, Q], errors[:, even] ** 2),
        strict=True,
    ):
        table[name], table[f"{name}_err"] = column(values), column(np.sqrt(variances))
    table["p_boxy"] = column(ndtr((BOXY_A4 - shapes[:, C4]) / np.maximum(errors[:, C4], 1e-9)))
    table["residual"] = column([0.0 if fit is None else fit.residual for fit in fits])
    table["boxy_kind"] = MaskedColumn(boxy_kind(table), mask=missing, dtype=object)


def sky_position_angle(table: Table) -> np.ndarray:
    """Position angle on the sky (n,), degrees from north through east, from the local WCS matrix of each row.

    The direction (cos t, sin t) in pixels is (east, north) = CD (cos t, sin t); with RA growing to the east this
    holds for any rotation and handedness of the image.
    """
    angle = np.radians(numbers(table["position_angle_deg"]))
    cd = {k: numbers(table[k]) for k in ("cd11", "cd12", "cd21", "cd22")}
    east = cd["cd11"] * np.cos(angle) + cd["cd12"] * np.sin(angle)
    north = cd["cd21"] * np.cos(angle) + cd["cd22"] * np.sin(angle)
    degrees = np.degrees(np.arctan2(east, north)) % 180
    return np.ma.masked_invalid(degrees)


def galaxy_position(table: Table, shapes: Sequence[tuple[int, ...]]) -> tuple[np.ma.MaskedArray, np.ma.MaskedArray]:
    """Right ascension and declination (n,) of the measured galaxies, degrees, from their pixels in images (ny, nx).

    `image_ra`, `image_dec`, else `ra`, `dec`, are those of the images' middles. The local WCS matrix gives the offsets
    in the plane that touches the sky there; back on the sphere they are by the equations of Calabretta & Greisen (2002,
    A&A 395, 1077) for TAN.
    """
    names = [f"image_{name}" if f"image_{name}" in table.colnames else name for name in ("ra", "dec")]
    middle = np.radians([np.where(np.isfinite(a := numbers(table[n])), a, numbers(table[m]))
                         for n, m in zip(names, ("ra", "dec"), strict=True)])  # fmt: skip
    ny, nx = np.array([(*shape, 0, 0)[:2] for shape in shapes]).reshape(-1, 2).T
    dx, dy = numbers(table["x"]) - (nx - 1) / 2, numbers(table["y"]) - (ny - 1) / 2
    cd = {k: np.radians(numbers(table[k])) for k in ("cd11", "cd12", "cd21", "cd22")}
    east, north = cd["cd11"] * dx + cd["cd12"] * dy, cd["cd21"] * dx + cd["cd22"] * dy
    ra, dec = middle
    along = np.cos(dec) - north * np.sin(dec)
    new_ra = np.degrees(ra + np.arctan2(east, along)) % 360
    new_dec = np.degrees(np.arctan2(np.sin(dec) + north * np.cos(dec), np.hypot(east, along)))
    return np.ma.masked_invalid(new_ra), np.ma.masked_invalid(new_dec)


def boxy_kind(table: Table) -> np.ndarray:
    """One of KINDS for each row (n,), from `a4`, `a6` and their errors.

    `elliptical`: |a4| below 2 standard errors or below 0.015. `disky`: a4 above that. Boxy galaxies are split halfway
    between the sixth harmonic of a rectangle, 0, and that of an obround with the same a4: `rectangular` below,
    `obround` above; those within one standard error of the border stay `boxy`.
    """
    a4, a4_err = numbers(table["a4"]), numbers(table["a4_err"])
    a6, a6_err = numbers(table["a6"]), numbers(table["a6_err"])
    marked = np.abs(a4) > np.maximum(SIGNIFICANT * a4_err, LEAST_A4)
    border = np.interp(-a4, OBROUND_A4, OBROUND_A6) / 2
    beyond = (a6 - border) / np.maximum(a6_err, 1e-9)
    kinds = np.where(beyond > 1, "obround", np.where(beyond < -1, "rectangular", "boxy"))
    return np.where(~marked, "elliptical", np.where(a4 > 0, "disky", kinds)).astype(object)
