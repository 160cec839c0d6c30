"""Radial profiles: light, axes and harmonics of a galaxy isophote by isophote, one row each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import MaskedColumn, Row, Table, vstack

from emeraldcut.data.columns import describe_columns, numbers
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.frame import ALL, GEOMETRY, FramedGalaxy, FrameSet, fit_shape, frame_galaxies, known_psf, unbinned
from emeraldcut.frame.ellipse_fit import (
    ACROSS,
    ALONG,
    ANGLE,
    C2,
    C4,
    C6,
    C8,
    FIT_MARGIN,
    FitOptions,
    Q,
    X,
    Y,
    fit_example,
)
from emeraldcut.frame.frame import frame_example
from emeraldcut.frame.quick_shape import quick_shape_example
from emeraldcut.isophotes.galaxy_fit import (
    COLUMN_OF,
    Measurement,
    MeasureSettings,
    measure_example,
    measure_galaxy,
    psf_image,
    settled_rings,
)
from emeraldcut.isophotes.isophote_fit import CONVERGED, STOPS, RingOptions, Rings, fit_rings, rings_example
from emeraldcut.isophotes.polar import fourth_harmonics, fourth_variances
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.settings import Settings, setting

LEAST_HALF_WIDTH_PIX = 1.0  # of the ring around an isophote
STEPS = 10  # Gauss-Newton steps at most
STEPS_OF_PROFILE = 2  # of the fit of the whole galaxy's profile, from which all rings start
NO_NOISE = 0.9  # correlation between neighbouring pixels of a sky that shows light, not noise: resampling leaves less
# Error of a harmonic without any noise: EVEN_ERROR, and GRID_ERROR over the fourth power of the minor axis in pixels.
# Measured on noise-free drawings of ellipses.
EVEN_ERROR, GRID_ERROR = 3e-4, 0.15
END = 2.5  # half-light radii out to which isophotes are fitted, where the galaxy does not end farther out


@dataclass(frozen=True, kw_only=True)
class ProfileSettings(Settings):
    """Whether and where isophotes are measured one by one."""

    profiles: str | None = setting(
        None, "also write radial profiles (light, axis ratio, position angle, harmonics) to this table"
    )
    radius_step: float = setting(
        0.1, "step between the radii of the profiles, as a fraction of the radius", at_least=0.01, at_most=1
    )
    radius_step_pix: float | None = setting(
        None, "step between the radii in pixels, the same everywhere, instead of `radius_step`", at_least=0.5
    )
    radii_pix: tuple[float, ...] = setting(
        (), "semi-major axes in pixels at which the profiles are measured, instead of steps", above=0
    )
    smallest_radius_pix: float = setting(2.0, "semi-major axis in pixels at which the profiles begin", above=0)
    largest_radius_pix: float | None = setting(
        None, "semi-major axis in pixels at which the profiles end; where the galaxy ends if not given", above=0
    )
    fix_centre: bool = setting(False, "keep the centre of the whole galaxy for all isophotes")
    fix_eps: bool = setting(False, "keep the axis ratio (ellipticity) of the whole galaxy for all isophotes")
    fix_pa: bool = setting(False, "keep the position angle of the whole galaxy for all isophotes")
    fix_harmonics: bool = setting(False, "keep the harmonics of the whole galaxy for all isophotes")

    def check(self) -> None:
        """Raises UsageError where there is no room for an isophote."""
        if self.largest_radius_pix is not None and self.largest_radius_pix < self.smallest_radius_pix:
            raise UsageError(
                "profiles need smallest_radius_pix <= largest_radius_pix; received "
                f"{self.smallest_radius_pix} and {self.largest_radius_pix}."
            )

    def radii(self, end_pix: float) -> np.ndarray:
        """The semi-major axes (n,) in pixels of a galaxy that ends at `end_pix`; rising."""
        if self.radii_pix:
            return np.unique(self.radii_pix)
        first, last = self.smallest_radius_pix, self.largest_radius_pix or end_pix
        if last < first:
            return np.zeros(0)
        if self.radius_step_pix is not None:
            return first + self.radius_step_pix * np.arange(int((last - first) / self.radius_step_pix + 1e-9) + 1)
        number = int(np.log(last / first) / np.log1p(self.radius_step) + 1e-9) + 1
        return first * (1 + self.radius_step) ** np.arange(number)

    @property
    def free(self) -> tuple[bool, bool, bool]:
        """Which of centre, axis ratio and angle are kept."""
        return self.fix_centre, self.fix_eps, self.fix_pa


@dataclass(frozen=True)
class Profile:
    """The isophotes of one galaxy, n of them, in the pixels of its frame.

    Attributes
    ----------
    radii : (n,)
        Semi-major axes.
    shape, errors : (n, 12)
        x, y, axis ratio, angle and harmonics (see `frame.ellipse_fit`), before the PSF where that is known, and their
        standard errors; NaN where an isophote has none of its own.
    seen : Rings
        What was fitted, without a correction for the PSF.
    light, light_error : (n,)
        Mean light on the isophote in counts per pixel, and its standard error.
    light_inside : (n,)
        Counts inside the isophote.
    """

    radii: np.ndarray
    shape: np.ndarray
    errors: np.ndarray
    seen: Rings
    light: np.ndarray
    light_error: np.ndarray
    light_inside: np.ndarray


def radial_profiles(
    images: ImageSet,
    settings: MeasureSettings = MeasureSettings(),
    profile_settings: ProfileSettings = ProfileSettings(),
    *,
    frames: FrameSet | None = None,
) -> Table:
    """Light, axis ratio, position angle and harmonics of every isophote, by default from 2 pixels to the galaxy's end.

    Parameters
    ----------
    images : ImageSet
    settings : MeasureSettings
        Only `psf_correction` matters here.
    profile_settings : ProfileSettings
    frames : FrameSet, optional
        The framed galaxies of `images`, if they are at hand.

    Returns
    -------
    Table
        `id`, `isophote_radius_pix` (semi-major axis), `brightness` (mean light, counts per pixel), `light_inside`
        (counts: the growth curve), `surface_brightness_mag_arcsec2` where `zero_point_mag` and `pixel_scale_arcsec` are
        known, `x, y, axis_ratio, position_angle_deg`, and harmonics as from `measure`, all with errors; `stop_reason`,
        `isophote_pixels` and `coverage`. What an isophote does not show is masked, never 0. Images without a galaxy
        have no row. Where the PSF is known, each shape is corrected by the difference that the PSF makes to the fitted
        model at that radius.
    """
    compile_ahead("radial profiles", quick_shape_example, fit_example, measure_example, frame_example, rings_example)
    frames = frame_galaxies(images) if frames is None else frames
    psf, tables = known_psf(images), []
    for i, galaxy in enumerate(frames.galaxies):
        fit = None if galaxy is None else measure_galaxy(galaxy, settings, psf[i], psf_image(images, i))
        if galaxy is None or fit is None:
            continue
        profile = fit_profile(galaxy, fit, profile_settings)
        if len(profile.radii):
            tables.append(profile_rows(images.table[i], profile, galaxy.binning, profile_settings))
    return describe_columns(
        vstack(tables, metadata_conflicts="silent") if tables else Table({"id": np.zeros(0, object)})
    )


def fit_profile(galaxy: FramedGalaxy, fit: Measurement, settings: ProfileSettings = ProfileSettings()) -> Profile:
    """The isophotes of one framed galaxy, whose shape as a whole is `fit`."""
    end = max(galaxy.limit, END * galaxy.radius)
    radii = settings.radii(end * galaxy.binning) / galaxy.binning
    half = (settings.radius_step if settings.radius_step_pix is None or settings.radii_pix else 0.0) / 2
    least = LEAST_HALF_WIDTH_PIX
    if settings.radius_step_pix is not None and not settings.radii_pix:
        least = max(least, settings.radius_step_pix / 2 / galaxy.binning)
    n_free = GEOMETRY if settings.fix_harmonics else ALL
    fixed = settings.fix_centre, settings.fix_eps, settings.fix_pa or galaxy.square
    options = RingOptions(half, least, n_free, STEPS, *fixed, True)
    least = np.hypot(EVEN_ERROR, GRID_ERROR / np.maximum(radii * fit.seen[Q], 1.0) ** 4)
    return profile_at(galaxy, fit, radii, options, least)


def profile_at(
    galaxy: FramedGalaxy,
    fit: Measurement,
    radii: np.ndarray,
    options: RingOptions,
    least: np.ndarray,
    coefficients: np.ndarray | None = None,
) -> Profile:
    """The isophotes of one framed galaxy with these semi-major axes (n,), in binned pixels.

    `least` (n,) is the error that harmonics have at least; `coefficients` is the profile as in `ShapeFit`, found here
    unless it is at hand.
    """
    pixels, n = galaxy.pixels, len(radii)
    if n == 0:
        none, no_shapes = np.zeros(0), np.zeros((0, ALL))
        return Profile(radii, no_shapes, no_shapes, Rings(*[none] * len(Rings._fields)), none, none, none)
    first = int(np.argmin(np.abs(radii - galaxy.radius)))
    if coefficients is None:
        around = FitOptions(0.0, max(float(radii[-1]), galaxy.radius), GEOMETRY, STEPS_OF_PROFILE, galaxy.square)
        coefficients = fit_shape(pixels, fit.seen, galaxy.light, around).coefficients
    if not np.isfinite(coefficients).all():
        coefficients = galaxy.coefficients
    seen = fit_rings(pixels, np.tile(fit.seen, (n, 1)), coefficients, radii, first, options)
    shape = seen.shape.copy()
    if fit.model is not None:
        shape += _change_by_psf(galaxy, fit, seen, coefficients, radii, first, options)
    smooth = galaxy.segmentation.neighbour_correlation > NO_NOISE
    correlation = 1.0 if smooth else fit.correlation
    shape, errors = settled_rings(shape, seen.shape, seen.variance, correlation, galaxy.square, fit.psf_trust, least)
    own = np.isfinite(seen.variance)  # amplitudes of patterns; the first two are the centre along both axes
    shape[:, ANGLE] %= np.pi
    shape[:, Q] = np.minimum(shape[:, Q], 1)
    none = ~own.any(axis=1)
    shape[:, GEOMETRY:][~own[:, GEOMETRY:]] = np.nan
    errors[~own] = np.nan
    errors[none] = np.nan
    unit = galaxy.segmentation.unit
    # an uncertain axis ratio moves the isophote with this semi-major axis through the light; c_2 is half of its change
    moved = (seen.slope * radii) ** 2 * np.nan_to_num(seen.variance[:, C2])
    error = np.sqrt((np.maximum(seen.light_variance, 0) + moved) * correlation) * unit
    inside = light_inside(galaxy, radii, seen.shape[:, Q]) * unit * galaxy.binning**2
    return Profile(radii, shape, errors, seen, seen.light * unit, error, inside)


def _change_by_psf(galaxy, fit: Measurement, seen: Rings, coefficients, radii, first: int, options) -> np.ndarray:
    """What the PSF's correction adds to the shapes (n, 12) of rings: the fitted model before, less as it is seen.

    0 where a ring is not wholly within the pixels of the model.
    """
    half = np.maximum(options.half_width * radii, options.least_half_width)
    within = radii + half < FIT_MARGIN * fit.outer
    change = np.zeros_like(seen.shape)
    if not within.any():
        return change
    there = np.flatnonzero(within & (seen.stop == CONVERGED))
    if not there.size:
        return change
    pixels = galaxy.pixels._replace(image=fit.model)
    of_model = fit_rings(pixels, seen.shape[there], coefficients, radii[there], 0, options._replace(chained=False))
    good = np.isfinite(of_model.variance).any(axis=1)
    changed = [Q, *range(GEOMETRY, ALL)] if options.n_free == ALL else [Q]
    if options.fix_axis_ratio:
        changed = changed[1:]
    for name in changed:
        change[there[good], name] = fit.shape[name] - of_model.shape[good, name]
    return change


def light_inside(galaxy: FramedGalaxy, radii: np.ndarray, axis_ratio: np.ndarray) -> np.ndarray:
    """Light inside ellipses with these semi-major axes and axis ratios (n,), in binned pixels: the growth curve.

    From the mean light on the galaxy's ellipses, so that pixels without data count as their ellipse does.
    """
    edges = np.arange(len(galaxy.light) + 1) - 0.5
    edges[0] = 0.0
    total = np.concatenate([[0.0], np.cumsum(galaxy.light * np.pi * np.diff(edges**2))])
    circular = radii * np.sqrt(axis_ratio)
    inside = np.interp(circular**2, edges**2, total)
    return np.where(circular <= edges[-1], inside, np.nan)


def profile_rows(row: Row, profile: Profile, binning: int, settings: ProfileSettings) -> Table:
    """The rows of `radial_profiles` for the galaxy of one row of a table."""
    n, seen, shape, errors = len(profile.radii), profile.seen, profile.shape, profile.errors
    own = np.isfinite(seen.variance)
    table = Table({"id": np.full(n, row["id"], dtype=object), "isophote_radius_pix": profile.radii * binning})

    def add(name: str, values: np.ndarray, known: np.ndarray | None = None) -> None:
        hidden = ~np.isfinite(values) if known is None else ~(known & np.isfinite(values))
        table[name] = MaskedColumn(np.where(hidden, 0.0, values), mask=hidden, dtype=float)

    add("brightness", profile.light)
    add("brightness_err", profile.light_error)
    add("light_inside", profile.light_inside)
    _add_magnitudes(table, row, profile)
    for k, name in ((X, "x"), (Y, "y")):
        add(name, np.asarray(unbinned(shape[:, k], binning)))
    kept = {ALONG: settings.fix_centre, ACROSS: settings.fix_centre}
    add("x_err", errors[:, X] * binning, np.full(n, not kept[ALONG]))
    add("y_err", errors[:, Y] * binning, np.full(n, not kept[ACROSS]))
    add("axis_ratio", shape[:, Q])
    add("axis_ratio_err", errors[:, Q], np.full(n, not settings.fix_eps))
    add("position_angle_deg", np.degrees(shape[:, ANGLE]))
    add("position_angle_err_deg", np.degrees(errors[:, ANGLE]), np.full(n, not settings.fix_pa))
    for k, name in enumerate(COLUMN_OF, GEOMETRY):
        add(name, shape[:, k], own[:, k])
        add(f"{name}_err", errors[:, k], own[:, k])
    even, with_four = [C4, C6, C8], own[:, C4]
    others = fourth_harmonics(shape[:, Q], shape[:, even]), fourth_variances(shape[:, Q], errors[:, even] ** 2)
    for name, values, variances in zip(("a4_polar", "a4_bender"), *others, strict=True):
        add(name, values, with_four)
        add(f"{name}_err", np.sqrt(variances), with_four)
    table["isophote_pixels"] = np.nan_to_num(np.round(seen.pixels)).astype(int)
    add("coverage", seen.coverage)
    table["stop_reason"] = np.array([STOPS[int(stop)] for stop in seen.stop], dtype=object)
    return table


def _add_magnitudes(table: Table, row, profile: Profile) -> None:
    """Adds `surface_brightness_mag_arcsec2` and its error where zero point and pixel scale are known."""
    if not {"zero_point_mag", "pixel_scale_arcsec"} <= set(row.colnames):
        return
    zero, scale = (float(numbers([row[name]])[0]) for name in ("zero_point_mag", "pixel_scale_arcsec"))
    if not (np.isfinite(zero) and scale > 0):
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        mag = zero - 2.5 * np.log10(profile.light) + 5 * np.log10(scale)
        error = 2.5 / np.log(10) * profile.light_error / profile.light
    dark = ~np.isfinite(mag)
    table["surface_brightness_mag_arcsec2"] = MaskedColumn(np.where(dark, 0, mag), mask=dark)
    table["surface_brightness_err_mag_arcsec2"] = MaskedColumn(np.where(dark, 0, error), mask=dark)
