"""LEDA 074886, the emerald-cut galaxy, as a parametric model that uses no pixel of its published picture.

Graham et al. 2012 (ApJ 750, 121) give a distance of 21 Mpc, a4/a of -0.05 to -0.08 between 3 and 5 kpc, and an
embedded edge-on disc whose extent, twice its half-light radius, is 12 arcsec. The axis ratio of 0.70 was measured on
the published picture. Everything else is a guess and named as such below.
"""

from __future__ import annotations

import numpy as np

from emeraldcut.galaxies.profiles import Body, EdgeOnDisc, Sersic, Sum
from emeraldcut.galaxies.shapes import GradualBox, ellipse
from emeraldcut.galaxies.sky import Psf, draw

ARCSEC_PER_KPC = 9.82  # at 21 Mpc
AXIS_RATIO = 0.70
# Exponents for which photutils measures the published a4/a. None is published inside 1 kpc, where it is an ellipse.
EXPONENT_RADII_KPC, EXPONENTS = (1.0, 3.0, 5.0), (2.0, 2.87, 3.5)
DISC_SCALE_LENGTH_ARCSEC = 3.6  # half-light radius 6 arcsec / 1.68
# Guesses: the body's profile and the disc's thickness and fraction of the light were not found published.
BODY_SERSIC_INDEX = 1.0
BODY_RADIUS_ARCSEC = 18.0
DISC_FLATNESS = 0.25
DISC_FRACTION = 0.1


def leda074886(
    *,
    size: int = 161,
    pixel_scale_arcsec: float = 1.0,
    psf_fwhm_pix: float = 0.0,
    position_angle_deg: float = 0.0,
    flux: float = 1.0,
) -> np.ndarray:
    """A noise-free image of the galaxy, (size, size) float32, in the middle of the image.

    The body has generalised ellipses as isophotes, whose exponent rises from 2 inside 1 kpc over 2.87 at 3 kpc to 3.5
    at 5 kpc. Its Sersic index of 1 and half-light semi-major axis of 18 arcsec are guesses. An edge-on exponential disc
    lies on the same axis and has a tenth of the light, also a guess.

    Parameters
    ----------
    size : int
        Side in pixels; the published boxiness lies 29 to 49 arcsec from the centre along the major axis.
    pixel_scale_arcsec : float
    psf_fwhm_pix : float
        Width of a Gaussian PSF, 0 for none.
    position_angle_deg : float
        Of the major axis, counter-clockwise from +x.
    flux : float
        Total light in counts.

    Returns
    -------
    (size, size) float32 array

    Examples
    --------
    >>> image = leda074886(size=101, pixel_scale_arcsec=2.0, flux=1e5)
    >>> image.shape, bool(0.8e5 < image.sum() <= 1e5)
    ((101, 101), True)
    """
    radii = tuple(kpc * ARCSEC_PER_KPC for kpc in EXPONENT_RADII_KPC)
    body = Body(GradualBox(AXIS_RATIO, radii, EXPONENTS), Sersic(BODY_SERSIC_INDEX), BODY_RADIUS_ARCSEC)
    disc = EdgeOnDisc(DISC_SCALE_LENGTH_ARCSEC, DISC_FLATNESS * DISC_SCALE_LENGTH_ARCSEC)
    galaxy = Sum((body, disc), (1 - DISC_FRACTION, DISC_FRACTION))
    return _image(galaxy, size, pixel_scale_arcsec, psf_fwhm_pix, position_angle_deg, flux)


def leda074886_control(
    *,
    size: int = 161,
    pixel_scale_arcsec: float = 1.0,
    psf_fwhm_pix: float = 0.0,
    position_angle_deg: float = 0.0,
    flux: float = 1.0,
) -> np.ndarray:
    """The body of `leda074886` with elliptical isophotes and without the disc, for comparison."""
    body = Body(ellipse(AXIS_RATIO), Sersic(BODY_SERSIC_INDEX), BODY_RADIUS_ARCSEC)
    return _image(body, size, pixel_scale_arcsec, psf_fwhm_pix, position_angle_deg, flux)


def _image(
    galaxy: Body | Sum,
    size: int,
    pixel_scale_arcsec: float,
    psf_fwhm_pix: float,
    position_angle_deg: float,
    flux: float,
) -> np.ndarray:
    image = draw(
        galaxy,
        size,
        position_angle_deg=position_angle_deg,
        radius_pix=1 / pixel_scale_arcsec,
        psf=Psf(psf_fwhm_pix) if psf_fwhm_pix > 0 else None,
    )
    return (flux * image).astype(np.float32)
