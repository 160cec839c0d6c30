"""How isophotes deviate from a galaxy's ellipses, ring by ring: what is left when profile and axes are taken away."""

from __future__ import annotations

import numpy as np

from emeraldcut.frame.ellipse_fit import CORE_PIX, SPACING, box_around, ring_of, spline
from emeraldcut.frame.segment import NEIGHBOUR
from emeraldcut.numerics.jit import compiled

RING_WIDTH = 0.4
RINGS = (0.6, 1.0, 1.4, 1.8, 2.2, 2.6)  # edges, in half-light radii, RING_WIDTH apart
HIGHEST = 8  # order of the harmonics
N_RINGS, N_TERMS = len(RINGS) - 1, 2 * HIGHEST
RING_MIDDLES = (np.array(RINGS[1:]) + np.array(RINGS[:-1])) / 2
UNKNOWN = 1.0  # variance where a ring has no pixels, or no light


@compiled
def ring_harmonics(image, parts, shape, radius, coefficients, sigmas):
    """Harmonics of the isophotes' displacement in rings around a galaxy.

    A ring's light I = f(s) + f'(s) ds deviates from the profile by the displacement ds of its isophotes. The relative
    displacement is ds / s = sum of a_m cos(m psi) + b_m sin(m psi), and each term is the least-squares amplitude of its
    pattern - s f'(s) cos(m psi) in the residual light; dividing by the slope makes it free of the profile.

    Parameters
    ----------
    image, parts
        As in `Segmentation`.
    shape : (12,)
        The galaxy's ellipse; its harmonics are not used.
    radius : float
        Half-light radius, pixels along the major axis.
    coefficients, sigmas
        Profile and noise, from `fit_shape`.

    Returns
    -------
    terms : (5, 16) float32
        a_1, b_1, a_2, ... in each ring of RINGS.
    variances : (5,) float32
        Of each term in a ring, from the noise.
    """
    ny, nx = image.shape
    terms, variances = np.zeros((N_RINGS, N_TERMS), np.float32), np.full(N_RINGS, np.float32(UNKNOWN))
    weights, information = np.zeros((N_RINGS, N_TERMS)), np.zeros(N_RINGS)
    sums = np.zeros((N_RINGS, N_TERMS))
    cos, sin, q, root_q = np.cos(shape[3]), np.sin(shape[3]), shape[2], np.sqrt(shape[2])
    reach = RINGS[N_RINGS] * radius
    x0, x1, y0, y1 = box_around(shape, reach, ny, nx)
    for y in range(y0, y1):
        for x in range(x0, x1):
            if parts[y, x] >= NEIGHBOUR:
                continue
            dx, dy = x - shape[0], y - shape[1]
            u, v = dx * cos + dy * sin, (dy * cos - dx * sin) / q
            rho = np.sqrt(u * u + v * v)
            ring = int(np.floor((rho / radius - RINGS[0]) / RING_WIDTH))
            if ring < 0 or ring >= N_RINGS:
                continue
            c1, s1, r = u / rho, v / rho, root_q * rho
            square = r * r + CORE_PIX * CORE_PIX
            root = np.sqrt(np.sqrt(square))
            place = (root - np.sqrt(CORE_PIX)) / SPACING
            light = spline(coefficients, place)
            slope = (spline(coefficients, place + 0.05) - spline(coefficients, place - 0.05)) / 0.1
            slope = -min(slope, 0.0) * 0.5 * r * root / (square * SPACING) * r
            weight = 1 / sigmas[ring_of(place, len(sigmas))] ** 2
            residual = image[y, x] - light
            if residual * residual * weight > 100.0:  # a cosmic ray, a star
                continue
            information[ring] += weight * slope * slope
            c, s = c1, s1
            for m in range(HIGHEST):
                sums[ring, 2 * m] += weight * residual * slope * c
                sums[ring, 2 * m + 1] += weight * residual * slope * s
                weights[ring, 2 * m] += weight * slope * slope * c * c
                weights[ring, 2 * m + 1] += weight * slope * slope * s * s
                c, s = c * c1 - s * s1, s * c1 + c * s1
    for k in range(N_RINGS):
        if information[k] > 2 / UNKNOWN:
            variances[k] = 2 / information[k]
            for t in range(N_TERMS):
                # a term whose angles are hidden stays small
                terms[k, t] = sums[k, t] / max(weights[k, t], 0.2 * information[k])
    return terms, variances
