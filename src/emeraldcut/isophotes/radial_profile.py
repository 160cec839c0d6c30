"""Harmonics against radius: one row per galaxy and isophote."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import describe_columns
from emeraldcut.data.imageset import ImageSet
from emeraldcut.frame import ALL, GEOMETRY, FramedGalaxy, FrameSet, fit_shape, frame_galaxies, known_psf, unbinned
from emeraldcut.frame.ellipse_fit import ANGLE, FitOptions, Pixels, Q, ShapeFit, X, Y
from emeraldcut.isophotes.measure import COLUMN_OF, Measurement, MeasureSettings, measure_galaxy, psf_image, settled
from emeraldcut.settings import Settings, setting

HALF_WIDTH = 0.1  # of the ring around an isophote, in its radius,
LEAST_HALF_WIDTH_PIX = 1.0  # and at least
STEPS = 4  # Gauss-Newton steps at most, from the shape of the whole galaxy


@dataclass(frozen=True, kw_only=True)
class ProfileSettings(Settings):
    """Whether and where isophotes are measured one by one."""

    profiles: str | None = setting(
        None, "also write radial profiles (axis ratio, position angle, harmonics) to this table"
    )
    radius_step: float = setting(
        0.1, "step between the radii of the profiles, as a fraction of the radius", at_least=0.01, at_most=1
    )


def radial_profiles(
    images: ImageSet,
    settings: MeasureSettings = MeasureSettings(),
    profile_settings: ProfileSettings = ProfileSettings(),
    *,
    frames: FrameSet | None = None,
) -> Table:
    """Axis ratio, position angle and harmonics of every isophote from 2 pixels to where the galaxy ends.

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
        `id`, `isophote_radius_pix` (semi-major axis), `brightness` (counts per pixel), and `x, y, axis_ratio,
        position_angle_deg`, harmonics and errors as from `measure`. Images without a galaxy have no row. Where the PSF
        is known, each harmonic is corrected by the difference that the PSF makes to the fitted model at that radius.
    """
    frames = frame_galaxies(images) if frames is None else frames
    psf, rows = known_psf(images), []
    for i, galaxy in enumerate(frames.galaxies):
        fit = None if galaxy is None else measure_galaxy(galaxy, settings, psf[i], psf_image(images, i))
        if galaxy is None or fit is None:
            continue
        end = max(galaxy.limit, 2.5 * galaxy.radius)
        n = int(np.log(end / 2) / np.log1p(profile_settings.radius_step)) + 1
        for radius in 2.0 * (1 + profile_settings.radius_step) ** np.arange(max(n, 0)):
            row = isophote(galaxy, fit, radius)
            if row is not None:
                rows.append({"id": images.table["id"][i]} | row)
    return describe_columns(Table(rows) if rows else Table({"id": np.zeros(0, dtype=object)}))


def isophote(galaxy: FramedGalaxy, fit: Measurement, radius: float) -> dict[str, float] | None:
    """One row of `radial_profiles` at a radius in binned pixels; None if too few pixels are left there."""
    bins, half = galaxy.binning, max(HALF_WIDTH * radius, LEAST_HALF_WIDTH_PIX)
    options = FitOptions(radius - half, radius + half, ALL, STEPS, galaxy.square)

    def ring(pixels: Pixels) -> ShapeFit:
        return fit_shape(pixels, fit.seen, galaxy.light, options)

    pixels = galaxy.pixels
    seen = ring(pixels)
    if not np.isfinite(seen.covariance).all() or not np.isfinite(seen.shape).all():
        return None
    shape = seen.shape.copy()
    if fit.model is not None:
        of_model = ring(pixels._replace(image=fit.model))
        if np.isfinite(of_model.covariance).all():
            changed = [Q, *range(GEOMETRY, ALL)]
            shape[changed] += fit.shape[changed] - of_model.shape[changed]
    shape, errors = settled(shape, seen.shape, seen.covariance, seen.covariance, fit.correlation, galaxy.square)
    light = np.interp(radius * np.sqrt(seen.shape[Q]), np.arange(len(galaxy.light)), galaxy.light)
    row = {
        "isophote_radius_pix": radius * bins,
        "brightness": float(light * galaxy.segmentation.unit),
        "x": unbinned(shape[X], bins),
        "y": unbinned(shape[Y], bins),
        "axis_ratio": min(shape[Q], 1.0),
        "axis_ratio_err": errors[Q],
        "position_angle_deg": np.degrees(shape[ANGLE]) % 180,
        "position_angle_err_deg": np.degrees(errors[ANGLE]),
    }
    for k, name in enumerate(COLUMN_OF, GEOMETRY):
        row[name], row[f"{name}_err"] = shape[k], errors[k]
    return row
