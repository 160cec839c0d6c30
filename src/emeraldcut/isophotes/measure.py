"""Measure: axis ratio, position angle, size, signal-to-noise ratio and the isophote harmonics of every galaxy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import MaskedColumn, Table
from scipy.special import ndtr

from emeraldcut.data.columns import describe_columns, numbers
from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet, add_flag
from emeraldcut.data.streaming import single_threaded
from emeraldcut.frame import ORDERS, Fit, FramedGalaxy, FrameSet, fit_ellipse, frame_galaxies, known_psf, psf_kernel
from emeraldcut.settings import setting

BOXY_A4 = -0.03  # from here on a galaxy counts as boxy: rarer than one elliptical in thirty
HARMONICS = ("a3", "a4", "a6", "a8")


@dataclass(frozen=True, kw_only=True)
class MeasureSettings:
    """Which part of a galaxy is measured."""

    inner_radius: float = setting(0.7, "inner end of the measured range, in half-light radii (major axis)")
    outer_radius: float = setting(3.0, "outer end of the measured range, in half-light radii (major axis)")
    psf_correction: bool = setting(True, "fit the galaxy as it was before the PSF, where `psf_fwhm_pix` is known")
    unresolved_ratio: float = setting(1.0, "flag galaxies whose half-light radius is below this many PSF FWHM")

    def __post_init__(self) -> None:
        if not 0 <= self.inner_radius < self.outer_radius <= 10:
            raise ValueError(
                f"measuring needs 0 <= inner_radius < outer_radius <= 10; received {self.inner_radius} and "
                f"{self.outer_radius}."
            )
        if not self.unresolved_ratio >= 0:
            raise ValueError(f"unresolved_ratio expects a number of at least 0; received {self.unresolved_ratio}.")


@single_threaded
def measure(
    images: ImageSet,
    settings: MeasureSettings = MeasureSettings(),
    *,
    seed: int = 0,
    frames: FrameSet | None = None,
) -> Table:
    """Shapes with errors, one row per image.

    Parameters
    ----------
    images : ImageSet
    settings : MeasureSettings
    seed : int
        Not used: measuring draws no random numbers.
    frames : FrameSet, optional
        The framed galaxies of `images`, if they are at hand.

    Returns
    -------
    Table
        Everything that the input's table holds, with `x, y, axis_ratio, position_angle_deg` with errors (and
        `pa_sky_deg` where there is a WCS), `radius_pix, snr`; `a3, a4, a6, a8` (cosine) and `b3, b4_sin` (sine) of
        isophotes between `inner_radius` and `outer_radius`, relative to the elliptical radius: boxy is a4 < 0, as
        photutils >= 2 `b4`; their errors, from the noise, with centre and axes left free; `p_boxy`, the probability
        that a4 < -0.03; `residual`, the scatter about the fitted model beyond the sky's noise over the light, small for
        a smooth galaxy. Where `psf_fwhm_pix` is known, axes and harmonics are those before the PSF.
    """
    frames = frame_galaxies(images) if frames is None else frames
    psf = known_psf(images)
    fits = [None if g is None else _fit_harmonics(g, settings, psf[i]) for i, g in enumerate(frames.galaxies)]
    table = images.table.copy()
    for name in ("x", "y", "axis_ratio", "position_angle_deg", "radius_pix", "snr", "background", "sky_sigma"):
        table[name] = frames.table[name].copy()
    table["flag"], table["flag_text"] = frames.table["flag"], frames.table["flag_text"]
    missing = np.array([fit is None or not np.isfinite(fit.errors["cos4"]) for fit in fits], dtype=bool)

    def column(value) -> MaskedColumn:
        values = [0.0 if absent else value(fit) for fit, absent in zip(fits, missing, strict=True)]
        return MaskedColumn(values, mask=missing, dtype=float)

    table["axis_ratio"][~missing] = column(lambda fit: fit.ellipse.axis_ratio)[~missing]
    table["position_angle_deg"][~missing] = column(lambda fit: np.degrees(fit.ellipse.angle) % 180)[~missing]
    for name in HARMONICS:
        order = int(name[1])
        table[name] = column(lambda fit, order=order: fit.ellipse.cosine[order])
        table[f"{name}_err"] = column(lambda fit, order=order: fit.errors[f"cos{order}"])
    table["axis_ratio_err"] = column(lambda fit: fit.errors["axis_ratio"])
    table["position_angle_err_deg"] = column(lambda fit: np.degrees(fit.errors["angle"]))
    table["b3"] = column(lambda fit: fit.ellipse.sine[3])
    table["b4_sin"] = column(lambda fit: fit.ellipse.sine[4])
    table["p_boxy"] = column(lambda fit: float(ndtr((BOXY_A4 - fit.ellipse.cosine[4]) / max(fit.errors["cos4"], 1e-9))))
    table["residual"] = column(_residual_fraction)
    if "cd11" in table.colnames:
        table["pa_sky_deg"] = sky_position_angle(table)
    resolved = numbers(table["radius_pix"], np.inf) >= settings.unresolved_ratio * np.nan_to_num(psf)
    add_flag(table, ~resolved & usable(table["flag"]), Flag.UNRESOLVED)
    add_flag(table, missing & usable(table["flag"]), Flag.NOT_CONVERGED)
    return describe_columns(table)


def _fit_harmonics(galaxy: FramedGalaxy, settings: MeasureSettings, psf_fwhm_pix: float) -> Fit:
    """Profile, centre, axes and harmonics of one framed galaxy in the measured range."""
    inner = settings.inner_radius * galaxy.radius
    outer = max(min(settings.outer_radius * galaxy.radius, 1.3 * galaxy.limit), inner + 3)
    division = galaxy.segmentation
    # a PSF as wide as a quarter of the image is a mistake or leaves nothing to measure
    known = settings.psf_correction and psf_fwhm_pix < min(division.image.shape) * galaxy.binning / 4
    return fit_ellipse(
        division.image,
        division.valid,
        galaxy.fit.ellipse,
        division.sky_sigma,
        (inner, outer),
        orders=ORDERS,
        iterations=8,
        fix_angle=galaxy.square,
        psf=psf_kernel(psf_fwhm_pix / galaxy.binning) if known else None,
    )


def _residual_fraction(fit: Fit) -> float:
    """Scatter of the residuals beyond the sky's noise (photon noise is in it), over the light in the measured range."""
    return float(np.sqrt(max(fit.residual_sigma**2 - 1, 0.0)) / max(fit.mean_snr, 1e-9))


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
