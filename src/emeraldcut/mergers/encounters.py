"""Encounters: a companion on a bound orbit about a host, with chosen angle, speed and spins; orbits in a tide."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.optimize import brentq

from emeraldcut.errors import UsageError
from emeraldcut.mergers.orbits import Orbit
from emeraldcut.mergers.progenitors import Model, ProgenitorSettings, model
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot import GRAVITY
from emeraldcut.settings import Settings, setting

STARTS = ("distance", "energy")
_POINTS, _INNER, _OUTER = 2000, 1e-3, 4.0  # of the potential's grid, from so many scale lengths to so many truncations
_MOST_CIRCULAR = 1 - 1e-6  # above it the orbit's apocentre is its circular radius


@dataclass(frozen=True, kw_only=True)
class EncounterSettings(Settings):
    """How a companion starts: where, how fast, and how its orbit and its disc are turned. The host spins about +z."""

    start: str = setting(
        "distance",
        "what start_kpc means: the distance at the start, or the radius of the circular orbit of the same energy",
        choices=STARTS,
    )
    start_kpc: float = setting(5.0, "distance at the start, or radius of the circular orbit of its energy", above=0)
    circularity: float = setting(
        0.8,
        "speed at the start in units of the circular speed (start: distance), or angular momentum in units of that of "
        "the circular orbit (start: energy); the companion starts at right angles to its direction from the host",
        at_least=0,
    )
    orbit_angle_deg: float = setting(
        90.0, "angle between the host's spin and the pole of the orbit", at_least=0, at_most=180
    )
    phase_deg: float = setting(
        0.0, "angle along the orbit from the point where it rises through the host's disc to the starting point"
    )
    tilt_deg: float = setting(
        0.0, "angle between the companion's spin and the pole of the orbit", at_least=0, at_most=180
    )
    azimuth_deg: float = setting(
        0.0, "azimuth of the companion's spin about the pole of the orbit, counted from the starting point"
    )

    def check(self) -> None:
        """UsageError for more angular momentum than the energy allows."""
        if self.start == "energy" and self.circularity > 1:
            raise UsageError(
                f"no orbit has more angular momentum than the circular one of its energy: circularity must be at most "
                f"1 with start = energy; received {self.circularity:g}."
            )


def enclosed_mass_msun(galaxy: Model, radius_kpc: np.ndarray) -> np.ndarray:
    """Mass in Msun inside spheres of each radius (m,), of all components of a galaxy."""
    r = np.atleast_1d(np.asarray(radius_kpc, float))
    mass = galaxy.halo.enclosed_mass(r) + galaxy.stars.spherical_mass(r)
    if galaxy.bulge is not None:
        mass = mass + galaxy.bulge.enclosed_mass(r)
    if galaxy.gas is not None:
        mass = mass + galaxy.gas.spherical_mass(r)
    return mass


def circular_speed_km_s(galaxies: tuple[Model, ...], radius_kpc: float) -> float:
    """Circular speed of the mass of all these galaxies, each spherically averaged, inside a radius."""
    inside = sum(float(enclosed_mass_msun(one, np.array([radius_kpc]))[0]) for one in galaxies)
    return float(np.sqrt(GRAVITY * inside / radius_kpc))


def potential_km2_s2(galaxies: tuple[Model, ...], radius_kpc: float) -> float:
    """Potential whose force is that of the mass inside each radius; negative, zero at infinity."""
    innermost = _INNER * min(one.stars.scale_kpc for one in galaxies)
    outermost = _OUTER * max(one.halo.truncation_kpc for one in galaxies)
    grid = np.geomspace(innermost, outermost, _POINTS)
    force = GRAVITY * sum(enclosed_mass_msun(one, grid) for one in galaxies) / grid  # times r, for steps of ln r
    steps = (force[1:] + force[:-1]) / 2 * np.diff(np.log(grid))
    outside = np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])
    return -float(np.interp(np.log(radius_kpc), np.log(grid), outside + force[-1]))


def apocentre_kpc(galaxies: tuple[Model, ...], circular_kpc: float, circularity: float) -> float:
    """Farthest distance on the orbit that has the energy of the circular one of `circular_kpc`.

    Its angular momentum is `circularity` times that of the circular orbit: the outer root of E = Phi + L^2 / 2 r^2.
    """
    if circularity > _MOST_CIRCULAR:
        return circular_kpc
    speed = circular_speed_km_s(galaxies, circular_kpc)
    energy = potential_km2_s2(galaxies, circular_kpc) + speed**2 / 2
    momentum = circularity * speed * circular_kpc

    def left(r: float) -> float:
        return energy - potential_km2_s2(galaxies, r) - momentum**2 / (2 * r**2)

    farthest = 2 * circular_kpc
    while left(farthest) > 0:
        farthest *= 2
    return float(brentq(left, circular_kpc, farthest))


def start_of(galaxies: tuple[Model, ...], settings: EncounterSettings) -> tuple[float, float]:
    """Distance in kpc at which the companion starts, and its speed in km/s, at right angles to it.

    Both galaxies attract each other here as their masses inside that distance, spherically averaged, would if they were
    points; friction then takes energy.
    """
    r = settings.start_kpc
    momentum = settings.circularity * circular_speed_km_s(galaxies, r) * r
    distance = apocentre_kpc(galaxies, r, settings.circularity) if settings.start == "energy" else r
    return distance, momentum / distance


def encounter_orbit(host: ProgenitorSettings, companion: ProgenitorSettings, settings: EncounterSettings) -> Orbit:
    """The orbit of a companion about a host that spins about +z.

    The orbit rises through the host's disc on the x axis; its pole is (0, -sin a, cos a) with the orbit's angle a. The
    companion's spin is tilted from the pole, towards the starting point for an azimuth of 0 and along the velocity for
    90 degrees.

    Raises
    ------
    ValueError
        For settings of a galaxy that cannot be, see `progenitors.model`.
    """
    distance, speed = start_of((model(host), model(companion)), settings)
    outwards, forwards, pole = _directions(settings.orbit_angle_deg, settings.phase_deg)
    tilt, azimuth = np.radians([settings.tilt_deg, settings.azimuth_deg])
    spin = np.cos(tilt) * pole + np.sin(tilt) * (np.cos(azimuth) * outwards + np.sin(azimuth) * forwards)
    theta, phi = np.degrees([np.arccos(np.clip(spin[2], -1, 1)), np.arctan2(spin[1], spin[0])])
    return Orbit(
        separation_kpc=_vector(distance * outwards),
        velocity_km_s=_vector(speed * forwards),
        second_spin_deg=(float(theta), float(phi)),
        about=asdict(settings) | {"distance_kpc": float(distance), "speed_km_s": float(speed)},
    )


@dataclass(frozen=True)
class TidalOrbit:
    """The orbit of a galaxy in the tide of a far heavier one, a Hernquist sphere. The galaxy spins about +z.

    Attributes
    ----------
    mass_msun, scale_kpc : float
        Of the sphere.
    start_kpc : float
        Distance from its centre at the start.
    circularity : float
        Speed at the start over the circular one, at right angles to the direction from the centre.
    orbit_angle_deg, phase_deg : float
        As in `EncounterSettings`.
    """

    mass_msun: float
    scale_kpc: float
    start_kpc: float
    circularity: float
    orbit_angle_deg: float
    phase_deg: float

    @property
    def speed_km_s(self) -> float:
        """At the start: circular speed sqrt(G M r) / (r + a) of the Hernquist sphere, times the circularity."""
        circular = np.sqrt(GRAVITY * self.mass_msun * self.start_kpc) / (self.start_kpc + self.scale_kpc)
        return float(self.circularity * circular)

    def applied(self, settings: EvolveSettings) -> EvolveSettings:
        """The same settings with this tide, in the frame in which the galaxy begins at rest at the origin."""
        outwards, forwards, _ = _directions(self.orbit_angle_deg, self.phase_deg)
        return replace(
            settings,
            tide_mass_msun=self.mass_msun,
            tide_scale_kpc=self.scale_kpc,
            tide_start_kpc=_vector(-self.start_kpc * outwards),
            tide_velocity_km_s=_vector(-self.speed_km_s * forwards),
        )


def _directions(orbit_angle_deg: float, phase_deg: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors from the host to the start, of the velocity there, and of the orbit's pole, for a host along +z."""
    angle, phase = np.radians([orbit_angle_deg, phase_deg])
    pole = np.array([0.0, -np.sin(angle), np.cos(angle)])
    outwards = np.array([np.cos(phase), np.sin(phase) * np.cos(angle), np.sin(phase) * np.sin(angle)])
    return outwards, np.cross(pole, outwards), pole


def _vector(values: np.ndarray) -> tuple[float, float, float]:
    """Three numbers as a tuple."""
    x, y, z = (float(v) for v in values)
    return x, y, z
