"""Discs in equilibrium: exponential discs of stars and of gas in the potential of a whole galaxy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import cumulative_trapezoid
from scipy.ndimage import map_coordinates
from scipy.special import j0, j1

from emeraldcut.nbody.snapshot import GRAVITY

EDGE = 8.0  # scale lengths at which a disc ends; 0.3 % of an endless one would be outside
_POINTS = 160  # radii
_FINEST, _WAVE_STEP = 0.03, 0.04  # smallest wavelength / 2 pi in heights; step in wave number, over scale length
_STABILITY = 3.36  # Toomre (1964), ApJ 139, 1217, for stars
_GAS_LEVELS = 200


def _levels(number: int) -> np.ndarray:
    """Mean heights z / z0 of equal parts of a sech^2 layer, whose height is ln(q / (1 - q)) / 2 at the part q of it."""
    q = np.arange(1, number) / number
    integral = np.concatenate([[0.0], (q * np.log(q) + (1 - q) * np.log(1 - q)) / 2, [0.0]])
    return np.diff(integral) * number


_LEVELS = _levels(24)


@dataclass(frozen=True)
class Disc:
    """Density proportional to exp(-R / scale) sech^2(z / height) out to `EDGE` scale lengths, where it is cut."""

    mass_msun: float
    scale_kpc: float
    height_kpc: float

    @property
    def radii_kpc(self) -> np.ndarray:
        """Grid of radii (m,)."""
        return np.linspace(0.01, EDGE, _POINTS) * self.scale_kpc

    def surface_density(self, radius_kpc: ArrayLike) -> np.ndarray:
        """Msun/kpc^2."""
        inside = 1 - (1 + EDGE) * np.exp(-EDGE)
        central = self.mass_msun / (2 * np.pi * self.scale_kpc**2 * inside)
        return central * np.exp(-np.asarray(radius_kpc) / self.scale_kpc)

    def enclosed_mass(self, radius_kpc: np.ndarray) -> np.ndarray:
        """Mass in Msun inside cylinders of each radius."""
        x = np.minimum(np.asarray(radius_kpc) / self.scale_kpc, EDGE)
        return self.mass_msun * (1 - (1 + x) * np.exp(-x)) / (1 - (1 + EDGE) * np.exp(-EDGE))

    def spherical_mass(self, radius_kpc: np.ndarray) -> np.ndarray:
        """Mass in Msun inside spheres of each radius (m,): of a ring, what is at |z| < sqrt(r^2 - R^2)."""
        r = np.asarray(radius_kpc, float)[:, None]
        edges = np.concatenate([[0.0], np.geomspace(1e-4, EDGE, 400)]) * self.scale_kpc
        ring = (edges[1:] + edges[:-1]) / 2
        inside = np.tanh(np.sqrt(np.maximum(r**2 - ring**2, 0)) / self.height_kpc)
        return inside @ np.diff(self.enclosed_mass(edges))

    def field(self, radius_kpc: np.ndarray, height_kpc: float, softening_kpc: float) -> tuple[np.ndarray, np.ndarray]:
        """Means of R dPhi/dR and of z dPhi/dz (km/s)^2 at radii (m,), over a sech^2 layer of the height `height_kpc`.

        The first is the square of the circular velocity, the second that of the velocity dispersion which keeps the
        layer at its height (virial theorem in one dimension). Phi is this disc's potential: a sum over wave numbers k
        of its surface density, whose field at the distance s falls by exp(-k s) (Binney & Tremaine 2008, section
        2.6.2), averaged over the distances dz of two particles in height, s^2 = dz^2 + softening^2. For the disc's own
        layer, thin and not softened, these are Freeman's formula and pi G Sigma height.
        """
        z, other = height_kpc * _LEVELS[:, None], self.height_kpc * _LEVELS
        distance = np.hypot(z - other, max(softening_kpc, 1e-9)).ravel()
        arm = (z * (z - other)).ravel() / distance
        last = 1 / (_FINEST * max(self.height_kpc, height_kpc, softening_kpc))
        k = np.arange(0.5, last * self.scale_kpc / _WAVE_STEP) * (_WAVE_STEP / self.scale_kpc)
        spectrum = k * (1 + (k * self.scale_kpc) ** 2) ** -1.5 * (k[1] - k[0])
        spectrum *= 2 * np.pi * GRAVITY * self.surface_density(0.0) * self.scale_kpc**2
        fading = np.exp(-k[:, None] * distance) / len(distance)
        phase = np.outer(radius_kpc, k)
        inwards = radius_kpc * (j1(phase) @ (spectrum * fading.sum(axis=1)))
        return inwards, j0(phase) @ (spectrum * (fading @ arm))


def spheroid_field(
    radius_kpc: np.ndarray, height_kpc: float, mass: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """As `Disc.field`, for a spherical mass of which `mass(r)` Msun is felt at r."""
    z = height_kpc * _LEVELS
    r = np.hypot(radius_kpc[:, None], z)
    force = GRAVITY * mass(r) / r**3
    return (force * radius_kpc[:, None] ** 2).mean(axis=1), (force * z**2).mean(axis=1)


@dataclass(frozen=True)
class Kinematics:
    """Velocities of a disc of stars at radii (m,), in km/s.

    Attributes
    ----------
    radius_kpc, circular, rotation, radial, azimuthal, vertical, toomre_q : (m,) arrays
        Circular velocity, mean rotation, the three velocity dispersions, and Toomre's Q.
    """

    radius_kpc: np.ndarray
    circular: np.ndarray
    rotation: np.ndarray
    radial: np.ndarray
    azimuthal: np.ndarray
    vertical: np.ndarray
    toomre_q: np.ndarray


def kinematics(disc: Disc, speed_squared: np.ndarray, vertical_squared: np.ndarray, toomre_q: float) -> Kinematics:
    """Velocities that keep `disc` in equilibrium where the circular velocity is sqrt(`speed_squared`).

    The square of the radial dispersion falls like the surface density (Hernquist 1993, ApJS 86, 389, section 2.2.3),
    with the factor that makes the least of Q = sigma_R kappa / (3.36 G Sigma) equal to `toomre_q`. In the epicyclic
    approximation sigma_phi = sigma_R kappa / (2 Omega), and the mean rotation follows from the radial Jeans equation,
    <v_phi>^2 = v_c^2 + sigma_R^2 [1 - kappa^2 / (4 Omega^2) - 2 R / h] (Binney & Tremaine 2008, section 4.8.2).
    Where that would be negative, close to the centre, the dispersion is less.

    Parameters
    ----------
    speed_squared, vertical_squared : (m,) arrays
        (km/s)^2 at `disc.radii_kpc`: square of the circular velocity and of the vertical dispersion.
    """
    r = disc.radii_kpc
    omega_squared = speed_squared / r**2
    kappa_squared = np.maximum(r * np.gradient(omega_squared, r) + 4 * omega_squared, omega_squared)
    needed = toomre_q * _STABILITY * GRAVITY * disc.surface_density(r) / np.sqrt(kappa_squared)
    radial_squared = np.exp(-r / disc.scale_kpc)
    radial_squared *= np.max(needed**2 / radial_squared)
    ratio = kappa_squared / (4 * omega_squared)
    drift = 1 - ratio - 2 * r / disc.scale_kpc
    limit = np.where(drift < 0, 0.9 * speed_squared / np.maximum(-drift, 1e-9), np.inf)
    radial_squared = np.minimum(radial_squared, limit)
    return Kinematics(
        radius_kpc=r,
        circular=np.sqrt(speed_squared),
        rotation=np.sqrt(speed_squared + radial_squared * drift),
        radial=np.sqrt(radial_squared),
        azimuthal=np.sqrt(radial_squared * ratio),
        vertical=np.sqrt(vertical_squared),
        toomre_q=toomre_q * np.sqrt(radial_squared) / needed,
    )


def draw_radii(disc: Disc, number: int, rng: np.random.Generator) -> np.ndarray:
    """Cylindrical radii (n,) in kpc, one in each of n equal shares of the mass."""
    grid = np.linspace(0, EDGE * disc.scale_kpc, 5000)
    share = (np.arange(number) + rng.random(number)) / number * disc.mass_msun
    return np.interp(share, disc.enclosed_mass(grid), grid)


def draw_stars(disc: Disc, motion: Kinematics, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 3) kpc and velocities (n, 3) km/s of a disc of stars that turns about +z."""
    radius = draw_radii(disc, number, rng)
    height = disc.height_kpc * np.arctanh(rng.uniform(-1, 1, number))
    cylindrical = rng.normal(size=(3, number)) * [
        np.interp(radius, motion.radius_kpc, sigma) for sigma in (motion.radial, motion.azimuthal, motion.vertical)
    ]
    cylindrical[1] += np.interp(radius, motion.radius_kpc, motion.rotation)
    return _cartesian(radius, height, cylindrical, rng)


def draw_gas(
    disc: Disc,
    speed_squared: np.ndarray,
    heights: np.ndarray,
    sound_speed_km_s: float,
    number: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 3) kpc and velocities (n, 3) km/s of an isothermal disc of gas that turns about +z.

    `heights` is what `gas_heights` returns. Pressure carries a part of the weight: v_phi^2 = v_c^2 - c^2 R / h, with
    the sound speed c and the surface density's scale length h.
    """
    radius = draw_radii(disc, number, rng)
    row = np.interp(radius, disc.radii_kpc, np.arange(_POINTS))
    level = rng.uniform(0, _GAS_LEVELS - 1, number)
    height = map_coordinates(heights, [row, level], order=1) * rng.choice([-1.0, 1.0], number)
    squared = np.interp(radius, disc.radii_kpc, speed_squared) - sound_speed_km_s**2 * radius / disc.scale_kpc
    cylindrical = np.zeros((3, number))
    cylindrical[1] = np.sqrt(np.maximum(squared, 0))
    return _cartesian(radius, height, cylindrical, rng)


def gas_heights(
    gas: Disc, stars: Disc, mass: Callable[[np.ndarray], np.ndarray], sound_speed_km_s: float
) -> np.ndarray:
    """Heights |z| (m, q) in kpc below which the part 0 ... 1 of an isothermal gas is, at each of `gas.radii_kpc`.

    Vertical hydrostatic balance, density proportional to exp(-[Phi(z) - Phi(0)] / c^2), where Phi is that of thin
    layers of stars and gas, 2 pi G Sigma z0 ln cosh(z / z0) (Spitzer 1942, ApJ 95, 329), and of a spherical mass of
    which `mass(r)` Msun is felt at r.
    The gas's own z0 follows from its mean height, z0 ln 2, by iteration.
    """
    r = gas.radii_kpc[:, None]
    z = np.concatenate([[0.0], np.geomspace(1e-4, 1, 400)]) * 4 * gas.scale_kpc  # (k,)
    pull = GRAVITY * mass(np.hypot(r, z)) * z / np.hypot(r, z) ** 3
    spherical = cumulative_trapezoid(pull, z, axis=1, initial=0)
    own = np.full_like(r, stars.height_kpc)
    for _ in range(20):
        phi = spherical
        for layer, height in ((stars, stars.height_kpc), (gas, own)):
            x = z / height
            log_cosh = x + np.log1p(np.exp(-2 * x)) - np.log(2)
            phi = phi + 2 * np.pi * GRAVITY * layer.surface_density(r) * height * log_cosh
        below = cumulative_trapezoid(np.exp(-phi / sound_speed_km_s**2), z, axis=1, initial=0)
        below /= below[:, -1:]
        parts = np.linspace(0, 1, _GAS_LEVELS + 1)[:-1] + 0.5 / _GAS_LEVELS
        heights = np.array([np.interp(parts, row, z) for row in below])
        own = heights.mean(axis=1, keepdims=True) / np.log(2)
    return heights


def _cartesian(
    radius: np.ndarray, height: np.ndarray, cylindrical: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities (n, 3) at azimuths drawn evenly; `cylindrical` is (3, n): v_R, v_phi, v_z."""
    angle = rng.uniform(0, 2 * np.pi, len(radius))
    cosine, sine = np.cos(angle), np.sin(angle)
    radial, azimuthal, vertical = cylindrical
    position = np.stack([radius * cosine, radius * sine, height], axis=1)
    velocity = np.stack([radial * cosine - azimuthal * sine, radial * sine + azimuthal * cosine, vertical], axis=1)
    return position, velocity
