"""Comparison in the galaxies' own frames: how alike the deviations of their isophotes from ellipses are.

A galaxy is described by the harmonics of its isophotes' displacement in rings (`frame.rings`), a. The frame has taken
away position, angle, size and axis ratio, and the displacement the profile. With b the reference's, weights w and the
product <a, b> = sum(w a b), the galaxy has x = <a, b> / <b, b> times the reference's deviations and others of the
square r = <a, a> - x <a, b> - n; n is what noise of variance v adds, mean and one standard deviation. The similarity
is

    S = 2 x / (1 + x^2) - 0.025 max(r, 0) / <b, b>.

The first term is Dice's coefficient of x and 1: it is 1 for deviations of the reference's kind and size, 0 for an
ellipse, negative for the opposite ones, and, unlike a cosine, small for an ellipse whose slight deviations happen to
point the right way. The second keeps away what has much else: neighbours, arms, artefacts. What noise of variance
var(x) does on average to the first, half of its curvature times var(x), is taken off, so that neither depends on the
signal-to-noise ratio. The reference is seen through the image's PSF: each term is damped as the PSF damps it. The best
of the four mirror images counts, up to which a frame is defined.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emeraldcut.frame import HIGHEST, N_RINGS, N_TERMS, RING_MIDDLES, FrameSet

SCATTER = 0.02  # of harmonics from ring to ring in real galaxies: no ring weighs more than this allows
OTHER = 0.025  # what deviations of another kind take off, see above
MOST_SPREAD = (0.1, 0.2)  # up to the first var(x) that is taken off whole, from the second on not at all
PRIOR_TERMS = 2.0  # weight of the noise that is assumed against that which is seen, in numbers
FWHM_TO_SIGMA = 1 / 2.3548
ORDER = np.repeat(np.arange(1, HIGHEST + 1), 2)  # of each term
IS_SINE = np.arange(N_TERMS) % 2 == 1
LOPSIDED = np.isin(ORDER, (5, 7))  # terms that no symmetric shape has
# Mirrored along x: psi becomes pi - psi; along y: - psi; both: psi + pi.
_MIRROR_X = np.where(IS_SINE, -1.0, 1.0) * (-1.0) ** ORDER
_MIRROR_Y = np.where(IS_SINE, -1.0, 1.0)
MIRRORS = np.stack([np.ones(N_TERMS), _MIRROR_X, _MIRROR_Y, _MIRROR_X * _MIRROR_Y]).astype(np.float32)


@dataclass(frozen=True)
class Deviations:
    """How the isophotes of n galaxies deviate from ellipses.

    Attributes
    ----------
    terms : (n, 5, 16) float32
        Harmonics in rings, as from `ring_harmonics`; NaN where there is no galaxy.
    variances : (n, 5) float32
    damping : (n, 5, 16) float32
        Share of each term that the PSF leaves; 1 where the PSF is not known.
    """

    terms: np.ndarray
    variances: np.ndarray
    damping: np.ndarray

    @classmethod
    def of(cls, frames: FrameSet, psf_fwhm_pix: np.ndarray) -> Deviations:
        """Of framed galaxies with known PSF widths (n,), NaN where unknown."""
        n = len(frames)
        terms, variances = np.full((n, N_RINGS, N_TERMS), np.nan, np.float32), np.ones((n, N_RINGS), np.float32)
        damping = np.ones((n, N_RINGS, N_TERMS), np.float32)
        for i, galaxy in enumerate(frames.galaxies):
            if galaxy is not None:
                terms[i], known = galaxy.rings
                variances[i] = known * _noise_factor(terms[i], known)
                if np.isfinite(psf_fwhm_pix[i]):
                    damping[i] = psf_damping(psf_fwhm_pix[i] / galaxy.binning / galaxy.radius, galaxy.shape[2])
        return cls(terms, variances, damping)

    def __getitem__(self, rows) -> Deviations:
        return Deviations(self.terms[rows], self.variances[rows], self.damping[rows])


def _noise_factor(terms: np.ndarray, variances: np.ndarray) -> float:
    """By what the variances (5,) of terms (5, 16) must be multiplied, from orders that no symmetric shape has.

    The variances assume the noise of the sky, its correlation included, which may not be that of the galaxy's pixels,
    least of all in a JPEG; they are never taken as larger. Orders 5 and 7 are zero for all but lopsided galaxies;
    their mean square over the assumed variance, 20 numbers, is weighed against a prior of 1 that counts as
    PRIOR_TERMS.
    """
    ratios = terms[:, LOPSIDED] ** 2 / variances[:, None]
    return float(min((PRIOR_TERMS + ratios.sum()) / (PRIOR_TERMS + ratios.size), 1.0))


def psf_damping(fwhm_in_radii: float, axis_ratio: float) -> np.ndarray:
    """Share (5, 16) of each harmonic that a PSF leaves; `fwhm_in_radii` is its width in half-light radii.

    A ripple of order m on a circle of radius s is damped by a Gaussian of sigma as exp(-m^2 sigma^2 / 2 s^2); on an
    ellipse the mean of both axes is taken in the exponent. Agrees with drawn superellipses to about .05.
    """
    sigma = FWHM_TO_SIGMA * fwhm_in_radii
    square = RING_MIDDLES**2 * axis_ratio  # circularised
    exponent = 0.25 * (1 + axis_ratio**-2) * ORDER**2 * sigma**2 / square[:, None]
    return np.exp(-np.minimum(exponent, 8.0))


def similarities(images: Deviations, references: Deviations) -> np.ndarray:
    """Similarity (n, n_references) at the best of the four mirror images; NaN where either has no galaxy."""
    a, v = images.terms, images.variances
    weight = 1 / (v + SCATTER**2)  # (n, 5)
    # of the square of all deviations: what the noise adds on average, and its scatter
    from_noise, scatter = N_TERMS * np.sum(v * weight, axis=1), np.sqrt(2 * N_TERMS * np.sum((v * weight) ** 2, axis=1))
    own = np.einsum("nkt,nkt,nk->n", a, a, weight) - from_noise - scatter
    result = np.empty((len(a), len(references.terms)))
    for j in range(len(references.terms)):
        # at most what the image's PSF leaves of it; a blurred reference cannot be sharpened
        b = references.terms[j] * np.minimum(images.damping / references.damping[j], 1.0)  # (n, 5, 16)
        theirs = np.einsum("nkt,nkt,nk->n", b, b, weight)
        product = (np.einsum("nkt,nkt,nk->nt", a, b, weight) @ MIRRORS.T).max(axis=1)
        amount = product / theirs
        other = np.maximum(own - amount * product, 0.0) / theirs
        curvature = 4 * amount * (amount**2 - 3) / (1 + amount**2) ** 3
        spread = np.einsum("nkt,nkt,nk->n", b, b, weight**2 * v) / theirs**2
        known = np.clip((MOST_SPREAD[1] - spread) / (MOST_SPREAD[1] - MOST_SPREAD[0]), 0, 1)
        even = 2 * amount / (1 + amount**2) - 0.5 * curvature * spread * known
        result[:, j] = even - OTHER * other
    return result
