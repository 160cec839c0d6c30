"""Radial profiles: light, axes and harmonics of a galaxy isophote by isophote, one row each."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

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
from emeraldcut.frame.resample import bin_down
from emeraldcut.frame.segmentation import MISSING, SKY
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
from emeraldcut.numerics.median import MAD_TO_SIGMA
from emeraldcut.settings import Settings, setting

LEAST_HALF_WIDTH_PIX = 1.0  # of the ring around an isophote
STEPS = 10  # Gauss-Newton steps at most
STEPS_OF_PROFILE = 2  # of the fit of the whole galaxy's profile, from which all rings start
NO_NOISE = 0.9  # correlation between neighbouring pixels of a sky that shows light, not noise: resampling leaves less
# Error of a harmonic without any noise: EVEN_ERROR, and GRID_ERROR over the fourth power of the minor axis in pixels.
# Measured on noise-free drawings of ellipses.
EVEN_ERROR, GRID_ERROR = 3e-4, 0.15
# Semi-major axis in binned pixels below which isophotes are measured on the pixels of the image; and how far around.
SMALLEST_BINNED_PIX, MARGIN = 12.0, 1.3
ENOUGH_SKY_PIX = 8_192  # they tell the noise per pixel to 1.3 %
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
        None,
        "step between the radii in pixels, the same everywhere, instead of `radius_step`",
        at_least=0.5,
        at_most=10_000,
    )
    radii_pix: tuple[float, ...] = setting(
        (), "semi-major axes in pixels at which the profiles are measured, instead of steps", above=0, at_most=10_000
    )
    smallest_radius_pix: float = setting(
        2.0, "semi-major axis in pixels at which the profiles begin", at_least=0.01, at_most=10_000
    )
    largest_radius_pix: float | None = setting(
        None,
        "semi-major axis in pixels at which the profiles end; where the galaxy ends if not given",
        above=0,
        at_most=10_000,
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


@dataclass(frozen=True, kw_only=True)
class PlotSettings(Settings):
    """Whether isophotes are drawn."""

    plots: str | None = setting(
        None, "also draw each galaxy with its isophotes, model, residual and profiles into this folder"
    )
    most_plots: int = setting(100, "galaxies that are drawn, the first ones", at_least=1, at_most=100_000)


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
    binning : (n,) int
        Side of the squares of the image's pixels in whose mean an isophote was measured.
    by_psf : (n, 12) or None
        What the correction for the PSF added to each shape; None without one.
    """

    radii: np.ndarray
    shape: np.ndarray
    errors: np.ndarray
    seen: Rings
    light: np.ndarray
    light_error: np.ndarray
    light_inside: np.ndarray
    binning: np.ndarray
    by_psf: np.ndarray | None = None


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
        `isophote_pixels`, `isophote_binning` and `coverage`. What an isophote does not show is masked, never 0. Images
        without a galaxy have no row. Where the PSF is known, each shape is corrected by the difference that the PSF
        makes to the fitted model at that radius.
    """
    compile_ahead("radial profiles", quick_shape_example, fit_example, measure_example, frame_example, rings_example)
    frames = frame_galaxies(images) if frames is None else frames
    psf, tables = known_psf(images), []
    for i, galaxy in enumerate(frames.galaxies):
        fit = None if galaxy is None else measure_galaxy(galaxy, settings, psf[i], psf_image(images, i))
        if galaxy is None or fit is None:
            continue
        profile = fit_profile(galaxy, fit, profile_settings, images.pixels[i])
        if len(profile.radii):
            tables.append(profile_rows(images.table[i], profile, galaxy.binning, profile_settings))
    return describe_columns(
        vstack(tables, metadata_conflicts="silent") if tables else Table({"id": np.zeros(0, object)})
    )


def fit_profile(
    galaxy: FramedGalaxy,
    fit: Measurement,
    settings: ProfileSettings = ProfileSettings(),
    image: np.ndarray | None = None,
) -> Profile:
    """The isophotes of one framed galaxy, whose shape as a whole is `fit`.

    Of a large galaxy, whose frame has binned pixels, small isophotes are measured on the pixels of `image` (ny, nx)
    themselves, if it is given.
    """
    end = max(galaxy.limit, END * galaxy.radius)
    radii = settings.radii(end * galaxy.binning) / galaxy.binning
    n_small = 0 if image is None or galaxy.binning == 1 else int(np.count_nonzero(radii < SMALLEST_BINNED_PIX))
    # what the correction for the PSF adds to small isophotes is known in binned pixels only
    first = 0 if fit.model is not None else n_small
    options, least = _options(galaxy, fit, radii, settings)
    profile = profile_at(galaxy, fit, radii[first:], options, least[first:])
    if image is None or n_small == 0:
        return profile
    fine, corner = unbinned_galaxy(galaxy, image, SMALLEST_BINNED_PIX)
    of_fine = replace(fit, seen=_unbinned_shape(fit.seen, galaxy.binning, corner), model=None,
                      correlation=_same_variance(galaxy, fit, fine))  # fmt: skip
    small = radii[:n_small] * galaxy.binning
    options, least = _options(fine, of_fine, small, settings)
    by_psf = None if profile.by_psf is None else profile.by_psf[:n_small]
    inner = profile_at(fine, of_fine, small, options, least, by_psf=by_psf)
    return _with_inner(_without_first(profile, n_small - first), inner, galaxy, corner)


def _options(
    galaxy: FramedGalaxy, fit: Measurement, radii: np.ndarray, settings: ProfileSettings
) -> tuple[RingOptions, np.ndarray]:
    """How rings with these semi-major axes (n,) in the galaxy's pixels are fitted; their harmonics' least errors."""
    half = (settings.radius_step if settings.radius_step_pix is None or settings.radii_pix else 0.0) / 2
    least = LEAST_HALF_WIDTH_PIX
    if settings.radius_step_pix is not None and not settings.radii_pix:
        least = max(least, settings.radius_step_pix / 2 / galaxy.binning)
    n_free = GEOMETRY if settings.fix_harmonics else ALL
    fixed = settings.fix_centre, settings.fix_eps, settings.fix_pa or galaxy.square
    options = RingOptions(half, least, n_free, STEPS, *fixed, True)
    return options, np.hypot(EVEN_ERROR, GRID_ERROR / np.maximum(radii * fit.seen[Q], 1.0) ** 4)


# --- small isophotes of large galaxies, on pixels that are not binned


def unbinned_galaxy(galaxy: FramedGalaxy, image: np.ndarray, reach: float) -> tuple[FramedGalaxy, tuple[int, int]]:
    """The middle of a framed galaxy on the pixels of its image, and where its first pixel (x, y) is in the image.

    Parameters
    ----------
    galaxy : FramedGalaxy
    image : (ny, nx)
    reach : float
        Semi-major axis in binned pixels out to which isophotes are wanted.
    """
    bins, division = galaxy.binning, galaxy.segmentation
    ny, nx = division.image.shape
    side = reach * MARGIN + 2
    x0, y0 = (int(max(np.floor(galaxy.shape[k] - side), 0)) for k in (X, Y))
    x1, y1 = (int(min(np.ceil(galaxy.shape[k] + side) + 1, n)) for k, n in ((X, nx), (Y, ny)))
    pixels = np.asarray(image, np.float32)[y0 * bins : y1 * bins, x0 * bins : x1 * bins]
    known = np.isfinite(pixels)
    # the frame's image is the mean of blocks less the sky, so that the difference is the sky
    of_blocks = bin_down(np.ascontiguousarray(pixels), bins) / division.unit - division.image[y0:y1, x0:x1]
    sky, classes = _in_pixels(of_blocks, bins), _in_pixels(division.pixel_class[y0:y1, x0:x1], bins)
    noise = galaxy.noise if not galaxy.noise.size else _in_pixels(galaxy.noise[y0:y1, x0:x1], bins)
    light = np.where(known, pixels / np.float32(division.unit) - sky, 0).astype(np.float32)
    fine = division._replace(
        image=light,
        pixel_class=np.where(known, classes, np.uint8(MISSING)),
        sky_sigma=_noise_unbinned(galaxy, image),
    )
    places = np.arange(len(galaxy.light) * bins)
    shape = _unbinned_shape(galaxy.shape, bins, (x0 * bins, y0 * bins))
    return replace(
        galaxy,
        quick=replace(galaxy.quick, segmentation=fine, binning=1),
        shape=shape,
        light=np.interp(places / bins, np.arange(len(galaxy.light)), galaxy.light).astype(galaxy.light.dtype),
        radius=galaxy.radius * bins,
        limit=galaxy.limit * bins,
        noise=np.ascontiguousarray(noise),
    ), (x0 * bins, y0 * bins)


def _in_pixels(of_blocks: np.ndarray, bins: int) -> np.ndarray:
    """Values of blocks (ny, nx) for each of their pixels."""
    return of_blocks.repeat(bins, axis=0).repeat(bins, axis=1)


def _noise_unbinned(galaxy: FramedGalaxy, image: np.ndarray) -> float:
    """Noise per pixel of the image in the sky around a framed galaxy, in the unit of its frame.

    Of differences from the blocks that the frame's pixels are: these have no gradient. A block of n pixels takes 1 / n
    of the variance with it. Of a large sky every k-th block is enough.
    """
    bins, division = galaxy.binning, galaxy.segmentation
    y, x = np.nonzero(division.pixel_class == SKY)
    some = slice(None, None, max(len(y) * bins * bins // ENOUGH_SKY_PIX, 1))
    rows, columns = (bins * place[some, None, None] for place in (y, x))
    of_block = np.arange(bins)
    blocks = np.asarray(image, np.float32)[rows + of_block[:, None], columns + of_block]  # (n, bins, bins)
    with np.errstate(invalid="ignore"):
        differences = np.abs(blocks - blocks.mean(axis=(1, 2), keepdims=True))
    known = differences[np.isfinite(differences)]
    within = float(MAD_TO_SIGMA * np.median(known)) if known.size else 0.0
    # what the blocks themselves scatter by is the part that the differences do not see
    return float(np.hypot(within / division.unit, division.sky_sigma))


def _same_variance(galaxy: FramedGalaxy, fit: Measurement, fine: FramedGalaxy) -> float:
    """The correlation of the noise in single pixels: the mean of many pixels has the variance that it has in blocks."""
    ratio = galaxy.segmentation.sky_sigma * galaxy.binning / fine.segmentation.sky_sigma
    return max(fit.correlation * ratio**2, 1.0)


def _unbinned_shape(shape: np.ndarray, bins: int, corner: tuple[int, int]) -> np.ndarray:
    """A shape (12,) in binned pixels in those of a part of the image that begins at `corner` (x, y)."""
    fine = shape.copy()
    for k, first in zip((X, Y), corner, strict=True):
        fine[k] = unbinned(shape[k], bins) - first
    return fine


def _without_first(profile: Profile, n: int) -> Profile:
    """A profile without its first n isophotes."""
    own = {field.name: getattr(profile, field.name) for field in fields(profile)}
    cut = {name: value[n:] for name, value in own.items() if isinstance(value, np.ndarray)}
    return replace(profile, **cut, seen=Rings(*(values[n:] for values in profile.seen)))


def _with_inner(outer: Profile, inner: Profile, galaxy: FramedGalaxy, corner: tuple[int, int]) -> Profile:
    """A profile in binned pixels that begins with `inner`, in pixels of the image from `corner` on."""
    bins, unit = galaxy.binning, galaxy.segmentation.unit
    shape, errors, seen = inner.shape.copy(), inner.errors.copy(), inner.seen.shape.copy()
    for k, first in zip((X, Y), corner, strict=True):
        shape[:, k], seen[:, k] = ((values[:, k] + first + 0.5) / bins - 0.5 for values in (shape, seen))
        errors[:, k] /= bins
    radii = inner.radii / bins
    inside = light_inside(galaxy, radii, seen[:, Q]) * unit * bins**2
    inner = replace(inner, radii=radii, shape=shape, errors=errors, seen=inner.seen._replace(shape=seen),
                    light_inside=inside)  # fmt: skip
    own = {field.name: (getattr(inner, field.name), getattr(outer, field.name)) for field in fields(outer)}
    both = {name: np.concatenate(pair) for name, pair in own.items() if isinstance(pair[0], np.ndarray)}
    rings = Rings(*(np.concatenate(pair) for pair in zip(inner.seen, outer.seen, strict=True)))
    return replace(inner, **both, seen=rings)


class RingShapes(NamedTuple):
    """The shapes of the n isophotes of a galaxy.

    Attributes
    ----------
    shape, errors : (n, 12)
        Before the PSF where it is known; NaN where an isophote has none of its own.
    seen : Rings
    correlation : (n,)
        By how much the variance is larger than that of noise which is independent from pixel to pixel.
    by_psf : (n, 12) or None
        What the correction for the PSF has added.
    """

    shape: np.ndarray
    errors: np.ndarray
    seen: Rings
    correlation: np.ndarray
    by_psf: np.ndarray | None


def rings_at(
    galaxy: FramedGalaxy,
    fit: Measurement,
    radii: np.ndarray,
    options: RingOptions,
    least: np.ndarray,
    coefficients: np.ndarray,
    by_psf: np.ndarray | None = None,
) -> RingShapes:
    """The shapes of one framed galaxy's isophotes with these semi-major axes (n,), see `profile_at`."""
    if not np.isfinite(coefficients).all():
        coefficients = galaxy.coefficients
    first, starts = int(np.argmin(np.abs(radii - galaxy.radius))), np.tile(fit.seen, (len(radii), 1))
    seen = fit_rings(galaxy.pixels, starts, coefficients, radii, first, options)
    shape = seen.shape.copy()
    if fit.model is not None:
        by_psf = _change_by_psf(galaxy, fit, seen, coefficients, radii, options)
    if by_psf is not None:
        shape += by_psf
    smooth = galaxy.segmentation.neighbour_correlation > NO_NOISE
    correlation = 1.0 if smooth else fit.correlation
    shared = np.maximum(seen.correlation / correlation, 1.0)  # by structure of the galaxy, beyond that of the noise
    variance = seen.variance * shared[:, None]
    shape, errors = settled_rings(shape, seen.shape, variance, correlation, galaxy.square, fit.psf_trust, least)
    own = np.isfinite(seen.variance)  # amplitudes of patterns; the first two are the centre along both axes
    shape[:, GEOMETRY:][~own[:, GEOMETRY:]] = np.nan
    errors[~own] = np.nan
    return RingShapes(shape, errors, seen, correlation * shared, by_psf)


def profile_at(
    galaxy: FramedGalaxy,
    fit: Measurement,
    radii: np.ndarray,
    options: RingOptions,
    least: np.ndarray,
    by_psf: np.ndarray | None = None,
) -> Profile:
    """The isophotes of one framed galaxy with these semi-major axes (n,), in binned pixels.

    `least` (n,) is the error that harmonics have at least; `by_psf` (n, 12) is what the correction for the PSF adds,
    where the fit has no model.
    """
    pixels, n = galaxy.pixels, len(radii)
    if n == 0:
        none, no_shapes = np.zeros(0), np.zeros((0, ALL))
        rings = Rings(no_shapes, no_shapes, *[none] * (len(Rings._fields) - 2))
        return Profile(radii, no_shapes, no_shapes, rings, none, none, none, np.zeros(0, int))
    around = FitOptions(0.0, max(float(radii[-1]), galaxy.radius), GEOMETRY, STEPS_OF_PROFILE, galaxy.square)
    coefficients = fit_shape(pixels, fit.seen, galaxy.light, around).coefficients
    shape, errors, seen, correlation, by_psf = rings_at(galaxy, fit, radii, options, least, coefficients, by_psf)
    shape[:, ANGLE] %= np.pi
    shape[:, Q] = np.minimum(shape[:, Q], 1)
    unit = galaxy.segmentation.unit
    # an uncertain axis ratio moves the isophote with this semi-major axis through the light; c_2 is half of its change
    of_axes = np.where(np.isfinite(seen.variance[:, C2]), seen.variance[:, C2], 0.0)
    moved = (seen.slope * radii) ** 2 * of_axes
    error = np.sqrt((np.maximum(seen.light_variance, 0) + moved) * correlation) * unit
    inside = light_inside(galaxy, radii, seen.shape[:, Q]) * unit * galaxy.binning**2
    binning = np.full(n, galaxy.binning)
    return Profile(radii, shape, errors, seen, seen.light * unit, error, inside, binning, by_psf)


def _change_by_psf(galaxy, fit: Measurement, seen: Rings, coefficients, radii, options) -> np.ndarray:
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
    table["isophote_binning"] = profile.binning.astype(int)
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
