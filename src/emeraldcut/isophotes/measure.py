"""Measure: axis ratio, position angle, size, signal-to-noise ratio and the isophote harmonics of every galaxy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from astropy.table import MaskedColumn, Table
from scipy.special import ndtr

from emeraldcut.data.columns import describe_columns, numbers
from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet, add_flag
from emeraldcut.errors import UsageError
from emeraldcut.frame import (
    ALL,
    GEOMETRY,
    ORDERS,
    FramedGalaxy,
    FrameSet,
    fit_shape,
    frame_galaxies,
    known_psf,
    turn_error,
)
from emeraldcut.frame.ellipse_fit import ANGLE, C4, S2, FitOptions, Q, ShapeFit, fit_example
from emeraldcut.frame.frame import example_galaxy, frame_example
from emeraldcut.frame.quick_shape import quick_shape_example
from emeraldcut.frame.star_marks import StarMarks
from emeraldcut.isophotes.deconvolved_fit import fit_before_psf, moffat_kernel
from emeraldcut.numerics.jit import compile_ahead, compiled
from emeraldcut.settings import Settings, setting

BOXY_A4 = -0.03  # from here on a galaxy counts as boxy: rarer than one elliptical in thirty
COLUMN_OF = ("a3", "b3", "a4", "b4_sin", "a6", "b6_sin", "a8", "b8_sin")  # of c_3, s_3, c_4, ...
PSF_TRUST = 0.2  # relative error of the correction for the PSF where only a width is known, see `settled`
SECOND_ORDER = 0.065  # size of an error at which its square counts as much as itself
LEAST_ERROR = 0.003  # of a harmonic: what drawings without noise differ from their outlines
LEAST_RANGE_PIX = 3.0  # between inner and outer radius, so that pixels are left
SEEN_LIMIT = 1.3  # times where the galaxy ends, as far as is measured at most
# Gauss-Newton steps at most: of the fit as seen alone, of the one that starts that before the PSF, and of the latter.
STEPS_SEEN, STEPS_START, STEPS_BEFORE_PSF = 8, 2, 5
MOST_TURNED = 1.3  # harmonics are raised by this factor at most
STRUCTURE = 0.12  # residual from which on a galaxy is more than a smooth profile on one ellipse
KINDS = ("elliptical", "disky", "boxy", "rectangular", "obround")
SIGNIFICANT = 2.0  # standard errors of a4 from which on a galaxy is boxy or disky
LEAST_A4 = 0.015  # and its least size, below which real ellipticals are
# Fourth and sixth harmonic of obrounds (stadiums) with axis ratios of 1 to .3, computed from the outline; rectangles
# and superellipses have none of the sixth.
OBROUND_A4 = (0.0, 0.010, 0.022, 0.036, 0.051, 0.066, 0.082, 0.097)
OBROUND_A6 = (0.0, 0.004, 0.009, 0.014, 0.018, 0.020, 0.020, 0.017)


@dataclass(frozen=True, kw_only=True)
class MeasureSettings(Settings):
    """Which part of a galaxy is measured."""

    inner_radius: float = setting(
        0.7, "inner edge of the measured range, in half-light radii along the major axis", at_least=0
    )
    outer_radius: float = setting(
        2.5, "outer edge of the measured range, in half-light radii along the major axis", above=0, at_most=10
    )
    psf_correction: bool = setting(
        True, "correct for the PSF, by a fit of the galaxy before it, where `psf_fwhm_pix` is known"
    )
    unresolved_ratio: float = setting(
        1.0, "flag galaxies as unresolved whose half-light radius is below this many FWHM of the PSF", at_least=0
    )

    def check(self) -> None:
        """Raises UsageError unless the inner radius is below the outer one."""
        if not self.inner_radius < self.outer_radius:
            raise UsageError(
                f"measuring needs inner_radius < outer_radius; received {self.inner_radius} and {self.outer_radius}."
            )


class Settled(NamedTuple):
    """Shape (12,), and the standard errors (12,) of axis ratio, angle and so on."""

    shape: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True)
class Measurement:
    """Shape of one galaxy, in the pixels of its frame.

    Attributes
    ----------
    shape, errors : (12,)
        x, y, axis ratio, angle and harmonics (see `frame.ellipse_fit`), and their standard errors.
    seen : (12,)
        The same without a correction for the PSF.
    residual : float
        Scatter about the model that is not noise, over the light.
    model : (ny, nx) or None
        Where the PSF is known, what the telescope sees of the fitted galaxy, in pixels and unit of the fit.
    correlation : float
        Sum of the noise's correlation in the galaxy's pixels.
    """

    shape: np.ndarray
    errors: np.ndarray
    seen: np.ndarray
    residual: float
    model: np.ndarray | None
    correlation: float


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
        `b3, b4_sin, b6_sin, b8_sin` (sine) of isophotes between `inner_radius` and `outer_radius`,
        relative to the elliptical radius: boxy
        is a4 < 0, as photutils >= 2 `b4`. Each is the mean over that range that noise disturbs least. Errors are from
        the noise, its correlation, masked sectors and the PSF, with centre and axes left free. `p_boxy` is the
        probability that a4 < -0.03; `boxy_kind` says what kind of shape it is (see `isophotes.kind`); `residual` is
        the scatter about the fitted model that neighbouring pixels share, over the light, small for a smooth galaxy.
        Where `psf_fwhm_pix` is known, axes and harmonics are those before the PSF. `saturated`, `edge_width` and
        `spikes` are the marks of a star, see `frame.star_marks`.
    """
    compile_ahead("measure", quick_shape_example, fit_example, measure_example, frame_example)
    frames = frame_galaxies(images) if frames is None else frames
    psf = known_psf(images)
    fits = [None if g is None else measure_galaxy(g, settings, psf[i]) for i, g in enumerate(frames.galaxies)]
    table = images.table.copy()
    seen = ("x", "y", "axis_ratio", "position_angle_deg", "radius_pix", "snr", "background", "sky_sigma")
    for name in (*seen, *StarMarks._fields):
        table[name] = frames.table[name].copy()
    table["flag"], table["flag_text"] = frames.table["flag"], frames.table["flag_text"]
    missing = np.array([fit is None for fit in fits], dtype=bool)
    _add_shapes(table, fits, missing)
    if "cd11" in table.colnames:
        table["pa_sky_deg"] = sky_position_angle(table)
        if {"ra", "dec"} <= set(table.colnames):
            table["galaxy_ra"], table["galaxy_dec"] = galaxy_position(table, [pixels.shape for pixels in images.pixels])
    good = usable(table["flag"])
    resolved = numbers(table["radius_pix"], np.inf) >= settings.unresolved_ratio * np.nan_to_num(psf)
    add_flag(table, ~resolved & good, Flag.UNRESOLVED)
    add_flag(table, missing & good, Flag.NOT_CONVERGED)
    add_flag(table, (numbers(table["residual"], 0.0) > STRUCTURE) & good, Flag.STRUCTURE)
    return describe_columns(table)


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
    table["p_boxy"] = column(ndtr((BOXY_A4 - shapes[:, C4]) / np.maximum(errors[:, C4], 1e-9)))
    table["residual"] = column([0.0 if fit is None else fit.residual for fit in fits])
    table["boxy_kind"] = MaskedColumn(boxy_kind(table), mask=missing, dtype=object)


def measure_galaxy(galaxy: FramedGalaxy, settings: MeasureSettings, psf_fwhm_pix: float) -> Measurement | None:
    """Centre, axes and harmonics of one framed galaxy in the measured range; None if the fit found nothing."""
    inner = settings.inner_radius * galaxy.radius
    outer = max(min(settings.outer_radius * galaxy.radius, SEEN_LIMIT * galaxy.limit), inner + LEAST_RANGE_PIX)
    division, square = galaxy.segmentation, galaxy.square
    # a PSF as wide as a quarter of the image is a mistake or leaves nothing to measure
    correct = settings.psf_correction and psf_fwhm_pix < min(division.image.shape) * galaxy.binning / 4
    options = FitOptions(inner, outer, ALL, STEPS_START if correct else STEPS_SEEN, square)
    pixels = galaxy.pixels
    seen = fit_shape(pixels, galaxy.shape, galaxy.light, options)
    if not np.isfinite(seen.covariance[C4, C4]):
        return None
    shape, covariance, model = seen.shape, seen.covariance, None
    if correct:
        kernel = moffat_kernel(psf_fwhm_pix / galaxy.binning)
        before = fit_before_psf(pixels, seen, options._replace(iterations=STEPS_BEFORE_PSF), kernel)
        if np.isfinite(before.covariance[C4, C4]) and np.isfinite(before.shape).all():
            shape, covariance, model = before.shape, before.covariance, before.model
    # the correlation of the sky's noise counts as far as the galaxy's pixels show it too
    expected = division.neighbour_correlation * seen.noise
    share = min(max(seen.shared, 0.0) / expected, 1.0) if division.neighbour_correlation > 0 else 0.0
    correlation = 1 + (division.correlation - 1) * share
    residual = np.sqrt(max(seen.shared - expected, 0.0)) / max(seen.mean_light, 1e-30)
    shape, errors = settled(shape, seen.shape, covariance, seen.covariance, correlation, square)
    return Measurement(shape, errors, seen.shape, float(residual), model, correlation)


def settled(
    shape: np.ndarray, seen: np.ndarray, covariance: np.ndarray, of_seen: np.ndarray, correlation: float, square: bool
) -> Settled:
    """The shape (12,) freed of what an uncertain angle did to it, and its standard errors (12,).

    A frame whose angle is off by delta sees c_m cos(m delta): on average c_m exp(-m^2 var(delta) / 2), so harmonics are
    divided by that. Variances are those of the fit's covariance, larger by the correlation of the noise (a sum over
    many pixels of noise with correlation coefficients r_k has a variance larger by sum r_k) and by a term of second
    order (SECOND_ORDER, measured on simulated noise); then a fifth of what the PSF's correction changed, for a PSF of
    which only the width is known, and for s_m what turning c_m does.
    """
    return Settled(*_settled(shape, seen, covariance, of_seen, correlation, square))


@compiled
def _settled(shape, seen, covariance, of_seen, correlation, square):
    """A plain tuple of `settled`."""
    q, shape, variance = shape[Q], shape.copy(), np.empty(ALL)
    turn = 0.0 if square else turn_error(q, covariance[S2, S2] * correlation)
    for k in range(ALL):
        variance[k] = max(covariance[k, k], 0.0) * correlation
        if k >= GEOMETRY:
            variance[k] *= 1 + correlation * of_seen[k, k] / SECOND_ORDER**2
    # from c_2 and s_2 to axis ratio and angle; the sides of a square say how it lies
    variance[Q] *= (2 * q) ** 2
    variance[ANGLE] *= (2 * q / max(1 - q * q, 1e-3)) ** 2
    if square:
        variance[ANGLE] = variance[C4] / (4 * shape[C4]) ** 2
    for k in range(Q, ALL):
        variance[k] += (PSF_TRUST * (shape[k] - seen[k])) ** 2
    for i in range(len(ORDERS)):
        k, m = GEOMETRY + 2 * i, ORDERS[i]
        turned = (m * turn) ** 2
        back = min(np.exp(0.5 * turned), MOST_TURNED)
        c, s = shape[k], shape[k + 1]
        variance[k] = back * back * (variance[k] + (0.5 * turned * c) ** 2) + LEAST_ERROR**2
        variance[k + 1] = back * back * (variance[k + 1] + turned * c * c) + LEAST_ERROR**2
        shape[k], shape[k + 1] = back * c, back * s
    errors = np.sqrt(variance)
    errors[ANGLE] = min(errors[ANGLE], np.pi / 2)
    return shape, errors


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


def measure_example() -> None:
    """What is compiled ahead, see `numerics.jit`, besides `fit_shape`."""
    galaxy, options, known = example_galaxy(), FitOptions(5.0, 20.0, ALL, STEPS_BEFORE_PSF, False), np.eye(ALL)
    seen = ShapeFit(galaxy.shape, known, galaxy.coefficients, galaxy.sigmas, True, 0.0, 1.0, 10.0)
    fit_before_psf(galaxy.pixels, seen, options, moffat_kernel(2.0))
    settled(galaxy.shape, galaxy.shape, known, known, 1.0, False)


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
