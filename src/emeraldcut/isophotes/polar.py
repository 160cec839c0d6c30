"""The fourth harmonic in other conventions: of the polar angle, as photutils and IRAF, and Bender, have it.

Our harmonics c_m are those of the elliptical angle psi, and do not change when a galaxy is flattened. Others take the
polar angle phi, tan(phi) = q tan(psi):

- photutils and IRAF (Jedrzejewski 1987, MNRAS 226, 747) take the light at points that are evenly spaced along the
  ellipse, where it deviates from its mean in proportion to h(psi) = sum c_m cos(m psi), and fit cos(4 phi) to it, over
  the slope along the major axis;
- Bender & Moellenhoff (1987, A&A 177, 71) expand in cos(4 phi) how far the isophote lies from the ellipse, as seen from
  the centre, R_ellipse(phi) h(psi), over the semi-major axis.

Both take the ellipse that leaves no second harmonic in their own sense, which is not quite the one that leaves none in
psi. To first order in h all of this is linear, with factors that depend on the axis ratio alone (derived here). Were
the points of the first evenly spaced in phi, a pure c_4 would give (4 q / (1 + q)^2)^2 c_4, by the Moebius
transformation that takes exp(2i phi) to exp(2i psi). photutils takes the slope towards an isophote 10 % farther out,
which for falling light is less than that on the isophote: its harmonics are larger by about a tenth.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

ORDERS = (4, 6, 8)  # even cosine terms that have a share in the fourth one
GRID = np.linspace(0.05, 1.0, 96)  # axis ratios for which factors are kept; between them they are interpolated
STEPS = 512  # of the polar angle in half a turn


@lru_cache(maxsize=1)
def _factors() -> tuple[np.ndarray, np.ndarray]:
    """What c_4, c_6 and c_8 contribute (3, k) for each axis ratio of GRID: along the ellipse, and in radius."""
    phi = (np.arange(STEPS) + 0.5) * np.pi / STEPS
    along, radial = np.empty((3, len(GRID))), np.empty((3, len(GRID)))
    for i, q in enumerate(GRID):
        psi = np.arctan2(np.sin(phi), q * np.cos(phi))
        ellipse = q / np.hypot(q * np.cos(phi), np.sin(phi))
        along[:, i] = _fourth_terms(phi, psi, np.ones_like(phi), ellipse)
        radial[:, i] = _fourth_terms(phi, psi, ellipse, np.ones_like(phi))
    return along, radial


def _fourth_terms(phi: np.ndarray, psi: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> list[float]:
    """How much of cos(4 phi) is in each of cos(m psi) times `scale`, fitted with a weight, (3,).

    Other ellipses differ by an even light and by c_2; they take what a term has in cos(0 phi) and cos(2 phi).
    """
    root = np.sqrt(weight)
    second = np.stack([np.ones_like(phi), np.cos(2 * phi)], axis=1) * root[:, None]
    fourth = np.stack([np.ones_like(phi), np.cos(4 * phi)], axis=1) * root[:, None]
    others = np.stack([scale, scale * np.cos(2 * psi)])

    def fitted(terms: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(terms, root * values, rcond=None)[0]

    mixing = np.stack([fitted(second, other) for other in others], axis=1)
    found = []
    for m in ORDERS:
        term = scale * np.cos(m * psi)
        term = term - np.linalg.solve(mixing, fitted(second, term)) @ others
        found.append(float(fitted(fourth, term)[1]))
    return found


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
