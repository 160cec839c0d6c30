"""Comparison in the galaxies' own frames: how similar the deviations of their isophotes from ellipses are.

A galaxy is described by a, the harmonics of the displacement of its isophotes in rings (`frame.ring_harmonics`). The
frame has removed position, angle, size and axis ratio, and the displacement does not depend on the light profile. Let b
be the harmonics of the reference, w weights, and <a, b> = sum(w a b). The galaxy then has x = <a, b> / <b, b> times
the deviations of the reference, and other deviations of square r = <a, a> - x <a, b> - n, where n is the mean plus one
standard deviation of what noise of variance v adds. The similarity is

    S = 2 x / (1 + x^2) - 0.025 max(r, 0) / <b, b>.

The first term is Dice's coefficient of x and 1. It is 1 for deviations of the reference's kind and size, 0 for an
ellipse and negative for the opposite deviations. Unlike a cosine it is small for an ellipse whose slight deviations
happen to be of the right kind. The second term lowers the similarity of galaxies with many other deviations, from
neighbours, arms or artefacts. The mean effect of noise of variance var(x) on the first term, half of its curvature
times var(x), is subtracted, so that neither term depends on the S/N. Each term of the reference is damped as the PSF of
the image damps it. A frame is defined up to four mirror images, and the best of these counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emeraldcut.frame import HIGHEST, N_RINGS, N_TERMS, RING_MIDDLES, FrameSet

SCATTER = 0.02  # of harmonics from ring to ring in real galaxies: no ring weighs more than this allows
OTHER = 0.025  # by how much deviations of another kind lower the similarity, see above
MOST_SPREAD = (0.1, 0.2)  # up to the first var(x) its effect is subtracted in full, from the second on not at all
PRIOR_TERMS = 2.0  # weight of the assumed noise against the measured noise, as a number of terms
FWHM_TO_SIGMA = 1 / 2.3548
ORDER = np.repeat(np.arange(1, HIGHEST + 1), 2)  # of each term
IS_SINE = np.arange(N_TERMS) % 2 == 1
LOPSIDED = np.isin(ORDER, (5, 7))  # terms that are zero for symmetric shapes
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
        Factor by which the PSF reduces each term; 1 where the PSF is not known.
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
    """The factor, at most 1, that corrects the variances (5,) of terms (5, 16).

    The variances assume that the galaxy's pixels have the correlated noise of the sky, which is wrong for a JPEG, for
    example. Orders 5 and 7 are zero for all but lopsided galaxies. The mean square of these 20 numbers over the assumed
    variance is averaged with a prior of 1 that counts as PRIOR_TERMS numbers.
    """
    ratios = terms[:, LOPSIDED] ** 2 / variances[:, None]
    return float(min((PRIOR_TERMS + ratios.sum()) / (PRIOR_TERMS + ratios.size), 1.0))


def psf_damping(fwhm_in_radii: float, axis_ratio: float) -> np.ndarray:
    """The factor (5, 16) by which a PSF of FWHM `fwhm_in_radii`, in half-light radii, reduces each harmonic.

    A Gaussian PSF damps a ripple of order m on a circle of radius s by exp(-m^2 sigma^2 / 2 s^2). On an ellipse the
    exponent is averaged over both axes. This agrees with drawn superellipses to about 0.05.
    """
    sigma = FWHM_TO_SIGMA * fwhm_in_radii
    square = RING_MIDDLES**2 * axis_ratio  # circularised
    exponent = 0.25 * (1 + axis_ratio**-2) * ORDER**2 * sigma**2 / square[:, None]
    return np.exp(-np.minimum(exponent, 8.0))


def similarities(images: Deviations, references: Deviations) -> tuple[np.ndarray, np.ndarray]:
    """Similarity and distance, both (n, n_references), at the best of the four mirror images; NaN without a galaxy.

    The distance is 1 - S without the correction for noise, (1 - x)^2 / (1 + x^2) + 0.025 max(r, 0) / <b, b>. It is
    above 0, and small ones are known to more digits than similarities near 1.
    """
    a, v = images.terms, images.variances
    weight = 1 / (v + SCATTER**2)  # (n, 5)
    # mean and scatter of what the noise adds to the square of all deviations
    from_noise, scatter = N_TERMS * np.sum(v * weight, axis=1), np.sqrt(2 * N_TERMS * np.sum((v * weight) ** 2, axis=1))
    own = np.einsum("nkt,nkt,nk->n", a, a, weight) - from_noise - scatter
    alike, apart = np.empty((len(a), len(references.terms))), np.empty((len(a), len(references.terms)))
    for j in range(len(references.terms)):
        # the reference as the PSF of the image shows it; a blurred reference cannot be sharpened
        b = references.terms[j] * np.minimum(images.damping / references.damping[j], 1.0)  # (n, 5, 16)
        theirs = np.einsum("nkt,nkt,nk->n", b, b, weight)
        product = (np.einsum("nkt,nkt,nk->nt", a, b, weight) @ MIRRORS.T).max(axis=1)
        amount = product.astype(np.float64) / theirs
        other = np.maximum(own - amount * product, 0.0) / theirs
        curvature = 4 * amount * (amount**2 - 3) / (1 + amount**2) ** 3
        spread = np.einsum("nkt,nkt,nk->n", b, b, weight**2 * v) / theirs**2
        known = np.clip((MOST_SPREAD[1] - spread) / (MOST_SPREAD[1] - MOST_SPREAD[0]), 0, 1)
        even = 2 * amount / (1 + amount**2) - 0.5 * curvature * spread * known
        alike[:, j] = even - OTHER * other
        apart[:, j] = (1 - amount) ** 2 / (1 + amount**2) + OTHER * other
    return alike, apart
