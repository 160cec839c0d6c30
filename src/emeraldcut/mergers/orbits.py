"""Orbits: how two galaxies approach each other and how their discs are turned, and the placing of both on an orbit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from scipy.integrate import quad

from emeraldcut.errors import UsageError
from emeraldcut.nbody.snapshot import GRAVITY, KPC_PER_KM_S_GYR, Snapshot
from emeraldcut.numerics.linalg import rotation
from emeraldcut.settings import Settings, setting

# Grid of the thesis: relative velocity and the two angles of a disc's spin.
THESIS_VELOCITIES = tuple(0.5 * i for i in range(9))
THESIS_THETA_DEG = tuple(range(0, 181, 30))
THESIS_PHI_DEG = tuple(range(0, 361, 30))
THESIS_LENGTH_KPC, THESIS_MASS_MSUN = 17.5, 6e10


@dataclass(frozen=True)
class Orbit:
    """Where the second galaxy is, as seen from the first, how it moves, and how both discs are turned.

    Attributes
    ----------
    separation_kpc, velocity_km_s : (x, y, z)
        Of the second galaxy's centre relative to the first one's.
    first_spin_deg, second_spin_deg : (theta, phi)
        A disc's angular momentum points in the direction (sin theta cos phi, sin theta sin phi, cos theta).
    about : dict
        What the orbit was made from.
    """

    separation_kpc: tuple[float, float, float]
    velocity_km_s: tuple[float, float, float]
    first_spin_deg: tuple[float, float] = (0.0, 0.0)
    second_spin_deg: tuple[float, float] = (0.0, 0.0)
    about: dict = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OrbitSettings(Settings):
    """A Kepler orbit of two point masses, on which the galaxies approach each other in the plane of x and y."""

    pericentre_kpc: float = setting(2.0, "pericentre of the two-body orbit", above=0)
    eccentricity: float = setting(1.0, "1: parabola; below 1: bound orbit; above: hyperbola", at_least=0)
    separation_kpc: float = setting(60.0, "separation of the two centres at the start", above=0)

    def check(self) -> None:
        """UsageError for a starting separation that the orbit does not reach."""
        q, e, r = self.pericentre_kpc, self.eccentricity, self.separation_kpc
        farthest = q * (1 + e) / (1 - e) if e < 1 else np.inf
        if not q <= r <= farthest * (1 + 1e-12):
            raise UsageError(
                f"an orbit of pericentre {q:g} kpc and eccentricity {e:g} runs from {q:g} to {farthest:g} kpc; "
                f"received a separation of {r!r}."
            )


def kepler_orbit(
    settings: OrbitSettings,
    mass_msun: float,
    *,
    first_spin_deg: tuple[float, float] = (0.0, 0.0),
    second_spin_deg: tuple[float, float] = (0.0, 0.0),
) -> Orbit:
    """An orbit of two points of `mass_msun` together, on its way to the pericentre, which is on the x axis.

    With p = q (1 + e) and the true anomaly f, r = p / (1 + e cos f), v_r = sqrt(GM / p) e sin f and
    v_phi = sqrt(GM / p) (1 + e cos f) (Murray & Dermott 1999, section 2.4). The angular momentum points to +z.
    Galaxies are no points: where they overlap they come less close than q, and friction takes energy.

    Raises
    ------
    ValueError
        If the mass is not above 0.
    """
    q, e, r = settings.pericentre_kpc, settings.eccentricity, settings.separation_kpc
    _check_mass(mass_msun)
    p = q * (1 + e)
    cosine = np.clip((p / r - 1) / e, -1, 1) if e else 1.0
    sine = -np.sqrt(1 - cosine**2)
    unit = np.sqrt(GRAVITY * mass_msun / p)
    radial, around = unit * e * sine, unit * (1 + e * cosine)
    return Orbit(
        separation_kpc=(float(r * cosine), float(r * sine), 0.0),
        velocity_km_s=(float(radial * cosine - around * sine), float(radial * sine + around * cosine), 0.0),
        first_spin_deg=(float(first_spin_deg[0]), float(first_spin_deg[1])),
        second_spin_deg=(float(second_spin_deg[0]), float(second_spin_deg[1])),
        about=dataclasses.asdict(settings) | {"time_to_pericentre_gyr": time_to_pericentre_gyr(settings, mass_msun)},
    )


def _check_mass(mass_msun: float) -> None:
    if not 0 < mass_msun < np.inf:
        raise UsageError(f"an orbit needs a mass above 0; received {mass_msun!r}.")


def attracting_mass_msun(first: Snapshot, second: Snapshot, separation_kpc: float) -> float:
    """The mass of two points that would attract each other with the energy that two galaxies have at this distance.

    Galaxies that begin inside each other's halos attract each other less than points of their masses, and on the orbit
    of such points they would fly past each other. Both masses M1, M2 together, times W / (G M1 M2 / separation), where
    W is the energy of the second galaxy's particles in the spherically averaged potential of the first one.
    """
    inner, outer = (np.asarray(galaxy.mass, float) for galaxy in (first, second))
    radius = np.linalg.norm(np.asarray(first.position, float), axis=1)
    order = np.argsort(radius)
    radius, inner = np.maximum(radius[order], 1e-9), inner[order]
    enclosed = np.concatenate([[0.0], np.cumsum(inner)])
    beyond = np.append(np.cumsum((inner / radius)[::-1])[::-1], 0.0)  # sum of m / r outside
    away = np.linalg.norm(np.asarray(second.position, float) + [separation_kpc, 0.0, 0.0], axis=1)
    place = np.searchsorted(radius, away)
    energy = np.sum(outer * (enclosed[place] / np.maximum(away, 1e-9) + beyond[place]))  # over -G
    total = enclosed[-1] + outer.sum()
    return float(total * energy * separation_kpc / (enclosed[-1] * outer.sum()))


def time_to_pericentre_gyr(settings: OrbitSettings, mass_msun: float) -> float:
    """Time from the separation to the pericentre, if the galaxies were points.

    The integral of dr / v_r over r = q + s^2, in which nothing is singular: 2 sqrt(q / GM) times that of
    r / sqrt(2 e q - (1 - e) s^2) over s.
    """
    q, e = settings.pericentre_kpc, settings.eccentricity
    _check_mass(mass_msun)
    last = np.sqrt(settings.separation_kpc - q)
    if last == 0:
        return 0.0

    def steps(s: float) -> float:
        return (q + s**2) / np.sqrt(max(2 * e * q - (1 - e) * s**2, 1e-300))

    unit = 2 * np.sqrt(q / (GRAVITY * mass_msun)) / KPC_PER_KM_S_GYR
    return float(unit * quad(steps, 0, last, limit=200)[0])


def draw_spins_deg(number: int, rng: np.random.Generator) -> np.ndarray:
    """Directions (number, 2), theta and phi in degrees, drawn evenly over the sphere, not on a lattice of angles.

    Equal steps of the angles, as in the thesis or in the inclinations of GalMer, crowd at the poles.
    """
    theta = np.degrees(np.arccos(rng.uniform(-1, 1, number)))
    return np.stack([theta, rng.uniform(0, 360, number)], axis=1)


def draw_orbits(settings: OrbitSettings, mass_msun: float, number: int, *, seed: int) -> list[Orbit]:
    """Orbits of one kind with the spins of both galaxies drawn evenly over the sphere.

    The n-th orbit is the same whatever the number.
    """
    orbits = []
    for rng in np.random.default_rng(seed).spawn(number):
        first, second = draw_spins_deg(2, rng)
        orbits.append(kepler_orbit(settings, mass_msun, first_spin_deg=first, second_spin_deg=second))
    return orbits


def lattice_orbits(settings: OrbitSettings, mass_msun: float) -> list[Orbit]:
    """Orbits of one kind with 16 pairs of spins, which point to the corners of two regular tetrahedra.

    The lattice is ours. The idea, spins at the corners of tetrahedra, is that of Barnes (1998, in Galaxies:
    Interactions and Induced Star Formation, Saas-Fee 26), and Naab & Burkert (2003, ApJ 597, 893) drew theirs from it;
    their table of angles could not be read, and their abstract counts 12 orientations for equal galaxies where there
    are 16 here. The first galaxy's spin is along that of the orbit, or 109.5 degrees from it; the second one's is
    against it, or 70.5 degrees from it; every spin of one galaxy with every one of the other. About the axis the
    arguments of the pericentre (from the node to the other galaxy at the pericentre) are 60, 180 and -60 degrees for
    inclinations of -109.5, and 90, -30 and -150 for 70.5. Each four orbits in a row hold every spin once.
    """
    tilt = float(np.degrees(np.arccos(-1 / 3)))
    first = [(0.0, 0.0), *((tilt, phi) for phi in (150.0, 270.0, 30.0))]
    second = [(180.0, 0.0), *((180.0 - tilt, phi) for phi in (240.0, 120.0, 0.0))]
    pairs = [(first[k], second[(k + shift) % 4]) for shift in range(4) for k in range(4)]
    return [kepler_orbit(settings, mass_msun, first_spin_deg=a, second_spin_deg=b) for a, b in pairs]


def place(first: Snapshot, second: Snapshot, orbit: Orbit) -> Snapshot:
    """Both galaxies on the orbit, each turned to its spin, their centre of mass at rest at the origin.

    Particles of the first galaxy come first and keep their `galaxy`; those of the second one count on from it. `about`
    holds the orbit and what was said about both galaxies; the time is that of the first.

    Raises ValueError if a galaxy has no particles.
    """
    if len(first) == 0 or len(second) == 0:
        raise UsageError("an orbit needs two galaxies of at least one particle; received one without.")
    parts = []
    for galaxy, spin_deg in ((first, orbit.first_spin_deg), (second, orbit.second_spin_deg)):
        parts.append(_turned(galaxy, spin_deg))
    mass = np.concatenate([first.mass, second.mass]).astype(float)
    for i, relative in enumerate((orbit.separation_kpc, orbit.velocity_km_s)):
        parts[1][i] += relative
    position, velocity = (np.concatenate([a, b]) for a, b in zip(*parts, strict=True))
    return Snapshot(
        position=(position - np.average(position, axis=0, weights=mass)).astype(np.float32),
        velocity=(velocity - np.average(velocity, axis=0, weights=mass)).astype(np.float32),
        mass=np.concatenate([first.mass, second.mass]),
        component=np.concatenate([first.component, second.component]),
        galaxy=np.concatenate([first.galaxy, second.galaxy + (first.galaxy.max() + 1)]).astype(np.int8),
        time_gyr=first.time_gyr,
        formed_gyr=np.concatenate([first.formed_gyr, second.formed_gyr]),
        about={"orbit": _as_lists(orbit), "first": dict(first.about), "second": dict(second.about)},
    )


def _as_lists(orbit: Orbit) -> dict:
    """The orbit as JSON gives it back."""
    values = dataclasses.asdict(orbit)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _turned(galaxy: Snapshot, spin_deg: tuple[float, float]) -> list[np.ndarray]:
    """Positions and velocities (n, 3), turned, from the galaxy's own centre of mass."""
    mass, turn = np.asarray(galaxy.mass, float), rotation(spin_deg)
    vectors = (np.asarray(values, float) for values in (galaxy.position, galaxy.velocity))
    return [(values - np.average(values, axis=0, weights=mass)) @ turn.T for values in vectors]


def thesis_orbits(
    separation_kpc: float, *, length_kpc: float = THESIS_LENGTH_KPC, mass_msun: float = THESIS_MASS_MSUN
) -> list[Orbit]:
    """The 819 runs of the thesis: relative velocity v_y 0 to 4, spin theta 0 to 180 and phi 0 to 360 degrees.

    Known from the thesis's scripts: the values of the grid, in code units, and their order (velocity outermost, phi
    innermost); that the velocity has the components (0, v_y, 0); and that theta and phi are "spin angles". Not known,
    and our choice: the separation, taken along x, so that the orbits lie in the plane of x and y and v_y = 0 falls
    straight in; which galaxy is turned (the second; the spin of the first points to +z); and the units, 17.5 kpc and
    6e10 Msun with G = 1, usual in Bekki's work, in which the unit of velocity is 121 km/s.

    819 counts duplicates: phi = 360 is phi = 0, and at theta = 0 and 180 phi does not matter, since discs are round.
    558 are distinct. `about` of each orbit holds `v_y` (code units), `distinct`, and `same_as`, the number of the
    first run that is the same (its own number if it is distinct).

    Raises ValueError unless the separation and the units are above 0.
    """
    if not min(separation_kpc, length_kpc, mass_msun) > 0:
        raise UsageError(
            "the separation and the units of the thesis's orbits must be above 0; "
            f"received {separation_kpc!r}, {length_kpc!r}, {mass_msun!r}."
        )
    unit_km_s = float(np.sqrt(GRAVITY * mass_msun / length_kpc))
    orbits: list[Orbit] = []
    seen: dict[tuple, int] = {}
    for v_y in THESIS_VELOCITIES:
        for theta in THESIS_THETA_DEG:
            for phi in THESIS_PHI_DEG:
                same_as = seen.setdefault((v_y, theta, 0 if theta in (0, 180) else phi % 360), len(orbits))
                about = {"v_y": v_y, "distinct": same_as == len(orbits), "same_as": same_as}
                velocity, spin = (0.0, v_y * unit_km_s, 0.0), (float(theta), float(phi))
                orbits.append(Orbit((float(separation_kpc), 0.0, 0.0), velocity, second_spin_deg=spin, about=about))
    return orbits
