"""How isophotes deviate from a galaxy's ellipses, ring by ring: what is left when profile and axes are taken away."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emeraldcut.frame.ellipse_fit import (
    CORE_PIX,
    SPACING,
    Pixels,
    Q,
    axes_of,
    box_around,
    knot_place,
    ring_of,
    spline,
    to_circle,
)
from emeraldcut.frame.segmentation import NEIGHBOUR
from emeraldcut.numerics.jit import compiled, part

# Numbers for which neither a source nor a measurement is named were chosen by eye.
RING_WIDTH = 0.4
RINGS = (0.6, 1.0, 1.4, 1.8, 2.2, 2.6)  # edges, in half-light radii, RING_WIDTH apart
HIGHEST = 8  # order of the harmonics
N_RINGS, N_TERMS = len(RINGS) - 1, 2 * HIGHEST
RING_MIDDLES = (np.array(RINGS[1:]) + np.array(RINGS[:-1])) / 2
UNKNOWN = 1.0  # variance where a ring has no pixels, or no light
OUTLIER_SIGMA = 10.0  # residual of a cosmic ray, or a star
HIDDEN = 0.2  # of a ring's information, a term has no less: one whose angles are hidden stays small


class RingHarmonics(NamedTuple):
    """Harmonics of the isophotes' displacement in the rings of RINGS.

    Attributes
    ----------
    terms : (5, 16) float32
        a_1, b_1, a_2, ... in each ring.
    variances : (5,) float32
        Of each term in a ring, from the noise.
    """

    terms: np.ndarray
    variances: np.ndarray


class _Sums(NamedTuple):
    """Sums over the pixels of each ring: for each term those of its pattern times the residual, and of its square.

    And the square of what all patterns have in common.
    """

    residual: np.ndarray
    pattern: np.ndarray
    common: np.ndarray


@part
def _slope_at(coefficients, r, place):
    """-r f'(r) of the profile, at a circularised radius and its place among the knots; not negative."""
    square = r * r + CORE_PIX * CORE_PIX
    difference = (spline(coefficients, place + 0.05) - spline(coefficients, place - 0.05)) / 0.1
    return -min(difference, 0.0) * 0.5 * r * np.sqrt(np.sqrt(square)) / (square * SPACING) * r


@part
def _add_pixel(sums, ring, c1, s1, slope, residual, weight):
    """Adds one pixel, at an elliptical angle with this cosine and sine, to the sums of a ring."""
    sums.common[ring] += weight * slope * slope
    c, s = c1, s1
    for m in range(HIGHEST):
        sums.residual[ring, 2 * m] += weight * residual * slope * c
        sums.residual[ring, 2 * m + 1] += weight * residual * slope * s
        sums.pattern[ring, 2 * m] += weight * slope * slope * c * c
        sums.pattern[ring, 2 * m + 1] += weight * slope * slope * s * s
        c, s = c * c1 - s * s1, s * c1 + c * s1


def ring_harmonics(
    pixels: Pixels, shape: np.ndarray, radius: float, coefficients: np.ndarray, sigmas: np.ndarray
) -> RingHarmonics:
    """Harmonics of the isophotes' displacement in rings around a galaxy.

    A ring's light I = f(s) + f'(s) ds deviates from the profile by the displacement ds of its isophotes. The relative
    displacement is ds / s = sum of a_m cos(m psi) + b_m sin(m psi), and each term is the least-squares amplitude of its
    pattern - s f'(s) cos(m psi) in the residual light; dividing by the slope makes it free of the profile.

    Parameters
    ----------
    pixels : Pixels
        Their `sigma` is not used.
    shape : (12,)
        The galaxy's ellipse; its harmonics are not used.
    radius : float
        Half-light radius, pixels along the major axis.
    coefficients, sigmas
        Profile and noise, from `fit_shape`.
    """
    return RingHarmonics(*_ring_harmonics(tuple(pixels), shape, radius, coefficients, sigmas))


@compiled
def _ring_harmonics(pixels, shape, radius, coefficients, sigmas):
    """`ring_harmonics` for Python."""
    return _harmonics_in_rings(Pixels(*pixels), shape, radius, coefficients, sigmas)[:]


@part
def _harmonics_in_rings(pixels, shape, radius, coefficients, sigmas):
    """See `ring_harmonics`."""
    ny, nx = pixels.image.shape
    axes, root_q = axes_of(shape), np.sqrt(shape[Q])
    sums = _Sums(np.zeros((N_RINGS, N_TERMS)), np.zeros((N_RINGS, N_TERMS)), np.zeros(N_RINGS))
    box = box_around(shape, RINGS[N_RINGS] * radius, ny, nx)
    for y in range(box.y0, box.y1):
        for x in range(box.x0, box.x1):
            if pixels.pixel_class[y, x] >= NEIGHBOUR:
                continue
            u, v = to_circle(x, y, axes)
            rho = np.sqrt(u * u + v * v)
            ring = int(np.floor((rho / radius - RINGS[0]) / RING_WIDTH))
            if ring < 0 or ring >= N_RINGS:
                continue
            place = knot_place(root_q * rho)
            residual = pixels.image[y, x] - spline(coefficients, place)
            weight = 1 / sigmas[ring_of(place, len(sigmas))] ** 2
            if residual * residual * weight <= OUTLIER_SIGMA * OUTLIER_SIGMA:
                slope = _slope_at(coefficients, root_q * rho, place)
                _add_pixel(sums, ring, u / rho, v / rho, slope, residual, weight)
    terms, variances = np.zeros((N_RINGS, N_TERMS), np.float32), np.full(N_RINGS, np.float32(UNKNOWN))
    for k in range(N_RINGS):
        if sums.common[k] > 2 / UNKNOWN:
            variances[k] = 2 / sums.common[k]
            for t in range(N_TERMS):
                terms[k, t] = sums.residual[k, t] / max(sums.pattern[k, t], HIDDEN * sums.common[k])
    return RingHarmonics(terms, variances)
