"""The shape of one framed galaxy as a whole: centre, axes and harmonics in the measured range, with their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.frame import ALL, GEOMETRY, ORDERS, FramedGalaxy, fit_shape, turn_error
from emeraldcut.frame.ellipse_fit import ANGLE, C4, MOST_STEPS, S2, FitOptions, Q, ShapeFit
from emeraldcut.frame.frame import example_galaxy
from emeraldcut.isophotes.deconvolved_fit import (
    FitBeforePsf,
    ImageKernel,
    Kernel,
    fit_before_psf,
    image_kernel,
    moffat_kernel,
)
from emeraldcut.numerics.jit import compiled, part
from emeraldcut.settings import Settings, setting

COLUMN_OF = ("a3", "b3", "a4", "b4_sin", "a6", "b6_sin", "a8", "b8_sin")  # of c_3, s_3, c_4, ...
# Relative error of the correction for the PSF, see `settled`: where only a width is known, and of an image of the PSF.
# Stars in ten SDSS fields are narrower by 6 % than the images of their PSFs; the correction grows with the square.
PSF_TRUST, PSF_IMAGE_TRUST = 0.2, 0.12
# Variance of a4 before the PSF over that as it is seen, from which on the former is held back, see `_held_back`; and
# how far a harmonic may lie from what its correction in second order says.
AMPLIFIED, LIKELY_ERROR = 2.0, 0.01
# Size of an error at which its square counts as much as itself. Of 68 % intervals of all harmonics 64 to 72 % hold at
# S/N 12 to 60, where the fit settles (at 15 four of five do, at 30 all); of a4 alone, in benchmarks/measure.py, 76 % at
# S/N 20 to 50, 69 % above.
SECOND_ORDER = 0.040
LEAST_ERROR = 0.003  # of a harmonic: what drawings without noise differ from their outlines
LEAST_RANGE_PIX = 3.0  # between inner and outer radius, so that pixels are left
SEEN_LIMIT = 1.3  # times where the galaxy ends, as far as is measured at most
STEPS_START = 2  # of the fit from which that before the PSF starts
LEAST_A4 = 0.015  # of a galaxy that is called boxy or disky: below it real ellipticals are
MOST_TURNED = 1.3  # harmonics are raised by this factor at most


@dataclass(frozen=True, kw_only=True)
class MeasureSettings(Settings):
    """Which part of a galaxy is measured."""

    inner_radius: float = setting(
        0.7, "inner edge of the measured range, in half-light radii along the major axis", at_least=0, at_most=10
    )
    outer_radius: float = setting(
        2.5, "outer edge of the measured range, in half-light radii along the major axis", above=0, at_most=10
    )
    psf_correction: bool = setting(
        True, "correct for the PSF, by a fit of the galaxy before it, where `psf_fwhm_pix` is known"
    )
    zones: bool = setting(
        True, "also say how a4 changes with radius: inside, outside, where it is extreme, and its slope"
    )
    bands: str | None = setting(
        None,
        "of images made of several bands: fit one geometry to all bands (joint), or take that of the combined image "
        "(forced), and also write the harmonics of each band, to OUTPUT-bands",
        choices=("joint", "forced"),
    )
    unresolved_ratio: float = setting(
        1.0,
        "flag galaxies as unresolved whose half-light radius is below this many FWHM of the PSF",
        at_least=0,
        at_most=1_000,
    )

    def check(self) -> None:
        """Raises UsageError unless the inner radius is below the outer one."""
        if not self.inner_radius < self.outer_radius:
            raise UsageError(
                f"measuring needs inner_radius < outer_radius; received {self.inner_radius} and {self.outer_radius}."
            )


class Fitted(NamedTuple):
    """What a fit found: shape (12,), and covariance (12, 12) of the patterns' amplitudes, see `ellipse_fit`."""

    shape: np.ndarray
    covariance: np.ndarray


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
    coefficients : (k,)
        Of the profile that is seen, see `ellipse_fit.ShapeFit`.
    outer : float
        Semi-major axis of the outer end of the measured range.
    psf_trust : float
        Relative error of the correction for the PSF.
    fitted : Fitted
        As the fit left it, see `settled`, for noise that is independent from pixel to pixel.
    seen_covariance : (12, 12)
        The same of `seen`.
    converged : bool
        Whether the fit settled; else the shape hangs on where it was stopped.
    """

    shape: np.ndarray
    errors: np.ndarray
    seen: np.ndarray
    residual: float
    model: np.ndarray | None
    correlation: float
    coefficients: np.ndarray
    outer: float
    psf_trust: float
    fitted: Fitted
    seen_covariance: np.ndarray
    converged: bool


def psf_image(images: ImageSet, row: int) -> np.ndarray | None:
    """The image of the PSF of one image, None where there is none that can be used."""
    image = None if images.psfs is None else images.psfs[row]
    if image is None or np.ndim(image) != 2 or not np.isfinite(image).all() or not (image.max() > 0 < image.sum()):
        return None
    return np.asarray(image)


def measure_galaxy(
    galaxy: FramedGalaxy, settings: MeasureSettings, psf_fwhm_pix: float, psf: np.ndarray | None = None
) -> Measurement | None:
    """Centre, axes and harmonics of one framed galaxy in the measured range; None if the fit found nothing.

    Parameters
    ----------
    galaxy : FramedGalaxy
    settings : MeasureSettings
    psf_fwhm_pix : float
        NaN where it is not known.
    psf : (ny, nx), optional
        The image of the PSF, in pixels of the galaxy's image; used instead of the width.
    """
    inner = settings.inner_radius * galaxy.radius
    outer = max(min(settings.outer_radius * galaxy.radius, SEEN_LIMIT * galaxy.limit), inner + LEAST_RANGE_PIX)
    division, square = galaxy.segmentation, galaxy.square
    kernel = _kernel_of(galaxy, psf_fwhm_pix, psf) if settings.psf_correction else None
    options = FitOptions(inner, outer, ALL, MOST_STEPS if kernel is None else STEPS_START, square)
    pixels = galaxy.pixels
    seen = fit_shape(pixels, galaxy.shape, galaxy.light, options)
    if not np.isfinite(seen.covariance[C4, C4]):
        return None
    shape, covariance, model, converged = seen.shape, seen.covariance, None, seen.converged
    if kernel is not None:
        before = fit_before_psf(pixels, seen, options._replace(iterations=MOST_STEPS), kernel)
        if np.isfinite(before.covariance[C4, C4]) and np.isfinite(before.shape).all():
            shape, covariance, model, converged = before.shape, before.covariance, before.model, before.converged
            if psf is not None and covariance[C4, C4] > AMPLIFIED * seen.covariance[C4, C4]:
                shape, covariance = _held_back(galaxy, seen, before, options, kernel)
    # the correlation of the sky's noise counts as far as the galaxy's pixels show it too
    expected = division.neighbour_correlation * seen.noise
    share = min(max(seen.shared, 0.0) / expected, 1.0) if division.neighbour_correlation > 0 else 0.0
    correlation = 1 + (division.correlation - 1) * share
    residual = np.sqrt(max(seen.shared - expected, 0.0)) / max(seen.mean_light, 1e-30)
    trust = PSF_TRUST if psf is None else PSF_IMAGE_TRUST
    fitted = Fitted(shape, covariance)
    shape, errors = settled(shape, seen.shape, covariance, seen.covariance, correlation, square, trust)
    return Measurement(
        shape, errors, seen.shape, float(residual), model, correlation, seen.coefficients, outer, trust, fitted,
        seen.covariance, converged,
    )  # fmt: skip


def _held_back(
    galaxy: FramedGalaxy, seen: ShapeFit, before: FitBeforePsf, options: FitOptions, kernel: Kernel | ImageKernel
) -> Fitted:
    """Shape (12,) and covariance (12, 12) of a galaxy before a PSF, known by its image, that leaves little of it.

    There the least-squares fit multiplies noise, and all that its model lacks. What the PSF does to a model with the
    harmonics that are seen has no noise; it corrects them in first order, and with the fraction T of a harmonic that
    is left in second (van Cittert 1931, Z. Phys. 69, 298), T being the ratio of the errors of both fits. The fit's
    harmonics are combined with these by their variances, as the mean of a prior. Without noise that changes nothing; at
    low S/N it leaves them less boxy by up to half of an error. Images of PSFs are those of real galaxies, whose shapes
    change with radius as no model does; where a width is all that is known, the fit is left as it is.
    """
    drawn = fit_before_psf(
        galaxy.pixels, seen._replace(coefficients=before.coefficients), options._replace(iterations=1), kernel
    )
    again = fit_shape(galaxy.pixels._replace(image=drawn.model), seen.shape, galaxy.light, options)
    if not np.isfinite(again.covariance[C4, C4]) or not np.isfinite(again.shape).all():
        return Fitted(before.shape, before.covariance)
    shape, covariance = before.shape.copy(), before.covariance.copy()
    for k in range(GEOMETRY, ALL):
        variance = covariance[k, k]
        left = min(np.sqrt(seen.covariance[k, k] / variance), 1.0)
        first = seen.shape[k] - again.shape[k]
        likely = seen.shape[k] + first * (2 - left)
        spread = max(abs(first) / 2, LIKELY_ERROR) ** 2
        kept = spread / (spread + variance)
        shape[k] = likely + kept * (shape[k] - likely)
        # both are of the same pixels, so that their errors add up; the series to second order multiplies those of the
        # harmonics that are seen, and what it leaves out is about half of its last term
        gain = 1 + (1 - left) + (1 - left) ** 2
        noise = kept * np.sqrt(variance) + (1 - kept) * gain * np.sqrt(seen.covariance[k, k])
        cut = (1 - kept) * first * (1 - left) / 2
        change = np.sqrt((noise * noise + cut * cut) / variance)
        covariance[k, :] *= change
        covariance[:, k] *= change
    return Fitted(shape, covariance)


def _kernel_of(galaxy: FramedGalaxy, psf_fwhm_pix: float, psf: np.ndarray | None) -> Kernel | ImageKernel | None:
    """What the PSF does to the pixels of the fit; None where it is not known.

    One as wide as a quarter of the image is a mistake or leaves nothing to measure.
    """
    widest = min(galaxy.segmentation.image.shape) / 4
    if psf is not None:
        of_image = image_kernel(psf, galaxy.binning)
        return of_image if of_image.kernel.fwhm_pix < widest else None
    width = psf_fwhm_pix / galaxy.binning
    return moffat_kernel(width) if width < widest else None


def settled(
    shape: np.ndarray,
    seen: np.ndarray,
    covariance: np.ndarray,
    of_seen: np.ndarray,
    correlation: float,
    square: bool,
    psf_trust: float = PSF_TRUST,
) -> Settled:
    """The shape (12,) freed of what an uncertain angle did to it, and its standard errors (12,).

    A frame whose angle is off by delta sees c_m cos(m delta): on average c_m exp(-m^2 var(delta) / 2), so harmonics are
    divided by that. Variances are those of the fit's covariance, larger by the correlation of the noise (a sum over
    many pixels of noise with correlation coefficients r_k has a variance larger by sum r_k) and by a term of second
    order (SECOND_ORDER, measured on simulated noise); then the fraction `psf_trust` of what the PSF's correction
    changed, a fifth for a PSF of which only the width is known, and for s_m what turning c_m does.
    """
    return Settled(*_settled(shape, seen, covariance, of_seen, correlation, square, psf_trust))


def settled_rings(
    shapes: np.ndarray, seen: np.ndarray, variances: np.ndarray, correlation: float, square: bool, psf_trust: float,
    least: np.ndarray,
) -> Settled:  # fmt: skip
    """The same for n isophotes: shapes, those seen and variances (n, 12), and errors that harmonics have at least (n,).

    Errors of the centre are here those along x and y. There is no term of second order: measured on simulated noise,
    isophotes that are fitted one by one, from the shape of their neighbours, need none.
    """
    return Settled(*_settled_rings(shapes, seen, variances, correlation, square, psf_trust, least))


@compiled
def _settled_rings(shapes, seen, variances, correlation, square, psf_trust, least):
    """A plain tuple of `settled_rings`."""
    settled_shapes, errors = np.empty_like(shapes), np.empty_like(shapes)
    for i in range(len(shapes)):
        known = np.diag(variances[i])
        shape, error = _settle(shapes[i], seen[i], known, known, correlation, square, psf_trust, least[i], np.inf)
        cos2, sin2 = np.cos(shape[ANGLE]) ** 2, np.sin(shape[ANGLE]) ** 2
        along, across = error[0] ** 2, error[1] ** 2
        error[0], error[1] = np.sqrt(cos2 * along + sin2 * across), np.sqrt(sin2 * along + cos2 * across)
        settled_shapes[i], errors[i] = shape, error
    return settled_shapes, errors


@compiled
def _settled(shape, seen, covariance, of_seen, correlation, square, psf_trust):
    """A plain tuple of `settled`."""
    return _settle(shape, seen, covariance, of_seen, correlation, square, psf_trust, LEAST_ERROR, SECOND_ORDER)


@part
def _settle(shape, seen, covariance, of_seen, correlation, square, psf_trust, least, second_order):
    """See `settled`; `least` is the error of a harmonic without any noise."""
    q, shape, variance = shape[Q], shape.copy(), np.empty(ALL)
    turn = 0.0 if square else turn_error(q, covariance[S2, S2] * correlation)
    for k in range(ALL):
        variance[k] = max(covariance[k, k], 0.0) * correlation
        if k >= GEOMETRY:
            variance[k] *= 1 + correlation * of_seen[k, k] / second_order**2
    # from c_2 and s_2 to axis ratio and angle; the sides of a square say how it lies
    variance[Q] *= (2 * q) ** 2
    variance[ANGLE] *= (2 * q / max(1 - q * q, 1e-3)) ** 2
    if square:
        variance[ANGLE] = variance[C4] / (4 * shape[C4]) ** 2
    for k in range(Q, ALL):
        variance[k] += (psf_trust * (shape[k] - seen[k])) ** 2
    for i in range(len(ORDERS)):
        k, m = GEOMETRY + 2 * i, ORDERS[i]
        turned = (m * turn) ** 2
        back = min(np.exp(0.5 * turned), MOST_TURNED)
        c, s = shape[k], shape[k + 1]
        variance[k] = back * back * (variance[k] + (0.5 * turned * c) ** 2) + least * least
        variance[k + 1] = back * back * (variance[k + 1] + turned * c * c) + least * least
        shape[k], shape[k + 1] = back * c, back * s
    errors = np.sqrt(variance)
    errors[ANGLE] = min(errors[ANGLE], np.pi / 2)
    return shape, errors


def measure_example() -> None:
    """What is compiled ahead, see `numerics.jit`, besides `fit_shape`."""
    galaxy, options, known = example_galaxy(), FitOptions(5.0, 20.0, ALL, MOST_STEPS, False), np.eye(ALL)
    seen = ShapeFit(galaxy.shape, known, galaxy.coefficients, galaxy.sigmas, True, 0.0, 1.0, 10.0)
    fit_before_psf(galaxy.pixels, seen, options, moffat_kernel(2.0))
    settled(galaxy.shape, galaxy.shape, known, known, 1.0, False, PSF_TRUST)
    shapes = galaxy.shape[None]
    settled_rings(shapes, shapes, shapes, 1.0, False, PSF_TRUST, np.ones(1))
