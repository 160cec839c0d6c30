"""The fourth harmonic in other conventions: of the polar angle, as photutils and IRAF, and Bender, have it.

Our harmonics c_m are those of the elliptical angle psi, and do not change when a galaxy is flattened. Others take the
polar angle phi, tan(phi) = q tan(psi):

- photutils and IRAF (Jedrzejewski 1987, MNRAS 226, 747) take the light along the ellipse, which deviates from its mean
  in proportion to h(psi) = sum c_m cos(m psi), and expand it in cos(4 phi), over the slope along the major axis;
- Bender & Moellenhoff (1987, A&A 177, 71) expand in cos(4 phi) how far the isophote lies from the ellipse, as seen from
  the centre, R_ellipse(phi) h(psi), over the semi-major axis.

Both take the ellipse that leaves no second harmonic in their own sense, which is not quite the one that leaves none in
psi. To first order in h all of this is linear, with factors that depend on the axis ratio alone; for a pure c_4 the
first is (4 q / (1 + q)^2)^2, by the Moebius transformation that takes exp(2i phi) to exp(2i psi) (derived here).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

ORDERS = (4, 6, 8)  # even cosine terms that have a share in the fourth one
GRID = np.linspace(0.05, 1.0, 191)  # axis ratios for which factors are kept; between them they are interpolated
STEPS = 2048  # of the polar angle in half a turn


@lru_cache(maxsize=1)
def _factors() -> tuple[np.ndarray, np.ndarray]:
    """What c_4, c_6 and c_8 contribute (3, k) for each axis ratio of GRID: along the ellipse, and in radius."""
    phi = (np.arange(STEPS) + 0.5) * np.pi / STEPS
    along, radial = np.empty((3, len(GRID))), np.empty((3, len(GRID)))
    for i, q in enumerate(GRID):
        psi = np.arctan2(np.sin(phi), q * np.cos(phi))
        ellipse = q / np.hypot(q * np.cos(phi), np.sin(phi))
        for factors, scale in ((along, np.ones_like(phi)), (radial, ellipse)):
            # other ellipses differ by an even light and by c_2; they take what the terms have in cos(0) and cos(2 phi)
            wanted = np.stack([np.ones_like(phi), np.cos(2 * phi)])
            others = np.stack([scale, scale * np.cos(2 * psi)])
            mixing = wanted @ others.T
            for j, m in enumerate(ORDERS):
                term = scale * np.cos(m * psi)
                term = term - np.linalg.solve(mixing, wanted @ term) @ others
                factors[j, i] = 2 * np.mean(term * np.cos(4 * phi))
    return along, radial


def fourth_harmonics(axis_ratio: np.ndarray, cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """c_4 in the sense of photutils and IRAF, and in that of Bender (n,).

    Parameters
    ----------
    axis_ratio : (n,)
    cosines : (n, 3)
        c_4, c_6 and c_8 of the elliptical angle; or variances of them, see `fourth_variances`.
    """
    found = [sum(np.interp(axis_ratio, GRID, row) * cosines[:, j] for j, row in enumerate(part)) for part in _factors()]
    return found[0], found[1]


def fourth_variances(axis_ratio: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances of what `fourth_harmonics` gives, from those of c_4, c_6 and c_8, (n, 3), which are independent."""
    found = [
        sum(np.interp(axis_ratio, GRID, row) ** 2 * variances[:, j] for j, row in enumerate(part))
        for part in _factors()
    ]
    return found[0], found[1]
