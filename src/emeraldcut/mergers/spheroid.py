"""Spheroids in equilibrium: halos and bulges with isotropic velocities by Eddington's inversion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emeraldcut.nbody.snapshot import GRAVITY

_INNER = 1e-3  # innermost radius of the grids, in scale lengths; it holds a millionth of the mass
_OUTER = 4.0  # outermost radius, in truncation radii, where the density has fallen by exp(-16)
_POINTS = 500
_SLOPES = {"hernquist": 4, "nfw": 3}  # of the density, far out; all are 1 / r at the centre


@dataclass(frozen=True)
class Spheroid:
    """A spherical density x^-1 (1 + x)^(1 - slope) exp(-(r / truncation)^2), x = r / scale.

    `profile` is "hernquist" (slope 4; Hernquist 1990, ApJ 356, 359) or "nfw" (slope 3; Navarro, Frenk & White 1997,
    ApJ 490, 493). All of `mass_msun` is inside: the truncated density is scaled up to it.
    """

    profile: str
    mass_msun: float
    scale_kpc: float
    truncation_kpc: float

    @cached_property
    def radii_kpc(self) -> np.ndarray:
        """Grid of radii (m,), in equal steps of the logarithm."""
        return np.geomspace(_INNER * self.scale_kpc, _OUTER * self.truncation_kpc, _POINTS)

    def _shape(self, radius_kpc: np.ndarray) -> np.ndarray:
        x = radius_kpc / self.scale_kpc
        return (1 + x) ** (1 - _SLOPES[self.profile]) / x * np.exp(-((radius_kpc / self.truncation_kpc) ** 2))

    @cached_property
    def _cumulative(self) -> tuple[np.ndarray, float]:
        """Integral of r^2 times the shape out to each radius of the grid (m,), and the factor that makes it a mass."""
        r = self.radii_kpc
        integrand = r**3 * self._shape(r)  # over ln r
        inner = r[0] ** 2 * self.scale_kpc / 2  # x^-1 inside the grid
        total = inner + np.concatenate([[0.0], np.cumsum((integrand[1:] + integrand[:-1]) / 2 * np.diff(np.log(r)))])
        return total, self.mass_msun / total[-1]

    def density(self, radius_kpc: np.ndarray) -> np.ndarray:
        """Density in Msun/kpc^3."""
        return self._cumulative[1] / (4 * np.pi) * self._shape(np.asarray(radius_kpc, float))

    def slope(self, radius_kpc: np.ndarray) -> np.ndarray:
        """Logarithmic slope of the density, negative."""
        r = np.asarray(radius_kpc, float)
        x = r / self.scale_kpc
        return -1 - (_SLOPES[self.profile] - 1) * x / (1 + x) - 2 * (r / self.truncation_kpc) ** 2

    def enclosed_mass(self, radius_kpc: np.ndarray) -> np.ndarray:
        """Mass in Msun inside each radius."""
        r = np.asarray(radius_kpc, float)
        total, factor = self._cumulative
        outside = np.interp(np.log(np.maximum(r, self.radii_kpc[0])), np.log(self.radii_kpc), total * factor)
        return np.where(r < self.radii_kpc[0], total[0] * factor * (r / self.radii_kpc[0]) ** 2, outside)


def felt_mass(
    radius_kpc: np.ndarray, shells_kpc: np.ndarray, enclosed_msun: np.ndarray, softening_kpc: float
) -> np.ndarray:
    """Mass in Msun that would pull as strongly from the centre, at radii of any shape, as softened spherical shells do.

    `enclosed_msun` (m,) is the mass inside each of `shells_kpc` (m,). The Plummer potential -G m / sqrt(d^2 + e^2),
    averaged over a shell of the radius s, is -G m (P - Q) / 2rs at the radius r, with P, Q = sqrt((r +- s)^2 + e^2);
    its derivative is used. Without softening this is the mass inside.
    """
    r = np.asarray(radius_kpc, float)[..., None]
    mass = np.diff(enclosed_msun, prepend=0.0)
    s = np.concatenate([shells_kpc[:1] / 2, np.sqrt(shells_kpc[1:] * shells_kpc[:-1])])
    e = max(softening_kpc, 1e-6 * shells_kpc[0])
    p, q = np.hypot(r + s, e), np.hypot(r - s, e)
    return ((p - q - r * ((r + s) / p - (r - s) / q)) / (2 * s)) @ mass


def potential(radii_kpc: np.ndarray, mass_msun: np.ndarray) -> np.ndarray:
    """Minus the potential (km/s)^2 at the radii (m,) of a spherical mass of which `mass_msun` (m,) lies inside each."""
    force = GRAVITY * mass_msun / radii_kpc  # G M / r^2, times r, for steps of ln r
    steps = (force[1:] + force[:-1]) / 2 * np.diff(np.log(radii_kpc))
    return force[-1] + np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])


def distribution_function(spheroid: Spheroid, mass_msun: np.ndarray) -> np.ndarray:
    """Isotropic f(E) (m,), Msun / (kpc km/s)^3, at E = minus the potential at each of `spheroid.radii_kpc`.

    Eddington's formula (Binney & Tremaine 2008, equation 4.46b) for the density of `spheroid` in the potential of all
    matter, of which `mass_msun` (m,) is inside each radius, or is felt there. The second derivative of the density by
    the potential is taken to be constant between two radii, where 1 / sqrt(E - psi) can be integrated; the term of the
    outer boundary, where the density has fallen by exp(-16), is left out.

    Cusps of 1 / r have such an f in the potential of any mass about the same centre, even of a point.
    """
    r, psi = spheroid.radii_kpc, potential(spheroid.radii_kpc, mass_msun)
    first = -spheroid.density(r) * spheroid.slope(r) * r / (GRAVITY * mass_msun)  # d rho / d psi
    second = -first * np.gradient(np.log(first), np.log(r)) * r / (GRAVITY * mass_msun)
    root = np.sqrt(np.maximum(psi[:, None] - psi[None, :], 0))  # (m, m), 0 where E < psi
    middle = (second[1:] + second[:-1]) / 2
    return np.maximum(2 * np.diff(root, axis=1) @ middle, 0) / (np.sqrt(8) * np.pi**2)


def _speeds(psi: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Density (m, m) at each radius of what has at most the speed with which one reaches the other radius.

    4 pi times the integral of f v^2 dv, with v^2 = 2 (psi - E), and f taken to be linear over each step of E.
    """
    power = np.maximum(psi[:, None] - psi[None, :], 0) ** 1.5
    steps = 4 * np.pi * np.sqrt(2) * 2 / 3 * np.diff(power, axis=1) * (f[1:] + f[:-1]) / 2
    return np.concatenate([np.zeros((len(psi), 1)), np.cumsum(steps, axis=1)], axis=1)


def draw_spheroid(
    spheroid: Spheroid,
    mass_msun: np.ndarray,
    number: int,
    *,
    grading: float = 0.0,
    grading_radius_kpc: float = 0.0,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (n, 3) kpc, velocities (n, 3) km/s and masses (n,) Msun of a spheroid in equilibrium.

    Parameters
    ----------
    spheroid : Spheroid
    mass_msun : (m,) array
        Mass of the whole galaxy that is felt at each of `spheroid.radii_kpc`.
    number : int
    grading : float
        Particles have masses proportional to (R + r_max)^grading, where r_max is the largest radius that their energy
        lets them reach, at most the truncation radius, and R is `grading_radius_kpc`; 0 gives equal masses. With 1,
        those that come into the disc are light and many. Heating of the disc goes as the sum of m^2 times the part of
        its time that a particle spends within the disc. For discs of 0.1 and 0.28 of the halo's scale it is 3 and 2
        times less than with as many equal particles; the least possible, with m proportional to that part to the power
        -1/2, is 4.6 and 2.2 times less. Since the mass depends on the energy alone, the mixture stays in equilibrium.
    rng : numpy Generator

    Notes
    -----
    Particles come in pairs, one opposite to the other in position and velocity, so that the centre of mass is at rest
    at the centre, which a few heavy particles far out would move otherwise; of an odd number the innermost has no
    partner. Radii are drawn one in each of n / 2 equal shares of the particles, which lowers the noise of the mass
    within a radius.
    """
    r, psi = spheroid.radii_kpc, potential(spheroid.radii_kpc, mass_msun)
    weight = (grading_radius_kpc + np.minimum(r, spheroid.truncation_kpc)) ** grading  # of a particle of energy psi(r)
    slower = _speeds(psi, distribution_function(spheroid, mass_msun) / weight)  # numbers, not masses
    shells = 4 * np.pi * r**3 * slower[:, -1]
    inside = np.concatenate([[0.0], np.cumsum((shells[1:] + shells[:-1]) / 2 * np.diff(np.log(r)))])
    pairs = (number + 1) // 2
    share = (np.arange(pairs) + rng.random(pairs)) / pairs * inside[-1]
    place = np.interp(share, inside, np.arange(len(r)))  # on the grid of radii
    radius = np.exp(np.interp(place, np.arange(len(r)), np.log(r)))
    speed, energy = _draw_speeds(place, slower, psi, rng)
    mass = np.interp(-energy, -psi, weight)
    position, velocity = radius[:, None] * isotropic(pairs, rng), speed[:, None] * isotropic(pairs, rng)
    odd = number % 2
    position, velocity = (np.concatenate([vectors, -vectors[odd:]]) for vectors in (position, velocity))
    mass = np.concatenate([mass, mass[odd:]])
    return position, velocity, mass * (spheroid.mass_msun / mass.sum())


def _draw_speeds(
    place: np.ndarray, slower: np.ndarray, psi: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Speeds (n,) km/s and energies (n,) of particles at places of the grid of radii.

    Speeds are drawn as fractions of the escape speed at one of the two neighbouring radii, the nearer one more often.
    """
    n = len(place)
    row = np.floor(place + rng.random(n)).astype(int)
    row = np.minimum(row, len(psi) - 2)
    chance, fraction = rng.random(n), np.empty(n)
    for k in np.unique(row):
        of_row = row == k
        share = np.cbrt(slower[k, k:] / slower[k, -1])  # grows like the speed, for small ones
        speeds = np.sqrt(np.maximum(1 - psi[k:] / psi[k], 0))
        fraction[of_row] = np.interp(np.cbrt(chance[of_row]), share, speeds)
    here = np.interp(place, np.arange(len(psi)), psi)
    return fraction * np.sqrt(2 * here), here * (1 - fraction**2)


def isotropic(number: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors (number, 3) in directions drawn evenly over the sphere."""
    z, angle = rng.uniform(-1, 1, number), rng.uniform(0, 2 * np.pi, number)
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=1)
