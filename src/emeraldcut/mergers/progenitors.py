"""Progenitors: galaxies in equilibrium, of a dark halo, a disc of stars and gas, and a bulge."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.mergers.disc import (
    EDGE,
    Disc,
    Kinematics,
    draw_gas,
    draw_stars,
    gas_heights,
    kinematics,
    spheroid_field,
)
from emeraldcut.mergers.spheroid import Spheroid, draw_spheroid, felt_mass
from emeraldcut.nbody.snapshot import COMPONENTS, GRAVITY, Snapshot
from emeraldcut.settings import Settings, setting

HUBBLE_KM_S_KPC = 0.07
# Truncation radii: of halos in r200, of bulges in scale lengths. All of a bulge's mass is inside, so that within any
# radius it holds more than an endless Hernquist sphere of that mass: by 6 % with 60 scale lengths, by 20 % with 15.
HALO_EDGE, BULGE_EDGE = 1.5, 60.0


@dataclass(frozen=True, kw_only=True)
class ProgenitorSettings(Settings):
    """A galaxy before the merger; the defaults are a dwarf of 5e8 Msun, two of which make a LEDA 074886.

    Graham et al. 2012 (ApJ 750, 121) give LEDA 074886 about 1e9 Msun of stars. The other numbers are ours: a halo as
    heavy as dwarfs of that mass are taken to have, and a disc of ordinary size for its mass.
    """

    halo: str = setting("hernquist", "profile of the halo", choices=("hernquist", "nfw"))
    halo_mass_msun: float = setting(6e10, "total mass of the halo", above=0)
    halo_concentration: float = setting(
        11.0, "concentration r200 / r_s of the NFW halo that is meant, or equivalent", above=0
    )
    halo_scale_kpc: float | None = setting(
        None, "scale length of the halo; if not given, from its mass and concentration", above=0
    )
    disc_mass_msun: float = setting(5e8, "mass of the disc, stars and gas", above=0)
    disc_scale_kpc: float = setting(0.9, "scale length of the disc of stars", above=0)
    disc_height_kpc: float = setting(0.25, "height z0 of the disc of stars, density as sech^2(z / z0)", above=0)
    toomre_q: float = setting(2.5, "lowest Toomre Q of the stellar disc", above=0)
    gas_fraction: float = setting(0.0, "gas fraction of the disc's mass", at_least=0, below=1)
    gas_scale_kpc: float | None = setting(
        None, "scale length of the gas disc; if not given, that of the stars", above=0
    )
    sound_speed_km_s: float = setting(8.0, "isothermal sound speed of the gas", above=0)
    bulge_mass_msun: float = setting(0.0, "mass of the bulge, a Hernquist sphere", at_least=0)
    bulge_scale_kpc: float = setting(0.2, "scale length of the bulge", above=0)
    # With so many a box of known strength keeps nine tenths of its a4 for 3 Gyr, with 30,000 83 % and with 8,000 35 %
    # (`python benchmarks/boxes.py --only live`).
    halo_particles: int = setting(60_000, "number of halo particles", at_least=2, at_most=100_000_000)
    star_particles: int = setting(
        20_000, "number of star particles of equal mass, in disc and bulge together", at_least=2, at_most=100_000_000
    )
    gas_particles: int = setting(10_000, "number of gas particles, where there is gas", at_least=2, at_most=100_000_000)
    halo_grading: float = setting(
        1.0, "0: halo particles of one mass; 1: those that come close to the disc are light", at_least=0
    )


DWARF = ProgenitorSettings()
MILKY_WAY = ProgenitorSettings(
    halo_mass_msun=1e12,
    halo_concentration=10.0,
    disc_mass_msun=5e10,
    disc_scale_kpc=3.0,
    disc_height_kpc=0.6,
    toomre_q=1.5,
    sound_speed_km_s=10.0,
    bulge_mass_msun=1e10,
    bulge_scale_kpc=0.6,
    halo_particles=30_000,
)
_SEQUENCE = ProgenitorSettings(
    halo="nfw",
    halo_mass_msun=1e12,
    halo_concentration=10.0,
    disc_mass_msun=6e10,
    disc_scale_kpc=3.5,
    disc_height_kpc=0.7,
    toomre_q=1.5,
    sound_speed_km_s=10.0,
    bulge_mass_msun=1e12 / 16.7,
    bulge_scale_kpc=0.7,
    halo_particles=30_000,
)
# Table 1 of the thesis gives the mass of the bulge over that of the dark matter, and whether there is gas: 1/16.7
# without, 1/16.7 with, 0.1/16.7 with gas. All else is not known and is our choice: masses and lengths of Bekki's usual
# model (halo 1e12 and disc 6e10 Msun; scale length 0.2 and height 0.04 of a disc of 17.5 kpc; Q 1.5), and a tenth of
# the disc as gas.
_SCALE, _DISC = 3.5, 5.6e10
# The galaxy of Naab & Burkert (2003, ApJ 597, 893), after Hernquist (1993, ApJS 86, 389), in their units of length and
# mass, 3.5 kpc and 5.6e10 Msun: disc 1 and 1, height 0.2, Q 1.5; bulge 1/3 with the scale 0.2; halo 5.8, in theirs
# pseudo-isothermal with a core of 1 and cut off as exp(-(r / 10)^2). The halo here is the cut NFW profile whose mass
# within r comes closest to that between r = 1 and 8: 18 % more at 1, up to 4 % less between 1.5 and 4, 3 % more at 8.
_NAAB_BURKERT = ProgenitorSettings(
    halo="nfw",
    halo_mass_msun=5.8 * _DISC,
    halo_scale_kpc=7.25 * _SCALE,
    halo_concentration=9.66 / 7.25 / HALO_EDGE,  # so that it is cut off as exp(-(r / 9.66)^2)
    disc_mass_msun=_DISC,
    disc_scale_kpc=_SCALE,
    disc_height_kpc=0.2 * _SCALE,
    toomre_q=1.5,
    sound_speed_km_s=10.0,
    bulge_mass_msun=_DISC / 3,
    bulge_scale_kpc=0.2 * _SCALE,
    halo_particles=30_000,
)
PROGENITORS = {
    "dwarf": DWARF,
    "milky_way": MILKY_WAY,
    "sequence_1": _SEQUENCE,
    "sequence_2": dataclasses.replace(_SEQUENCE, gas_fraction=0.1),
    "sequence_3": dataclasses.replace(_SEQUENCE, gas_fraction=0.1, bulge_mass_msun=1e11 / 16.7),
    "naab_burkert": _NAAB_BURKERT,
}


def total_mass_msun(settings: ProgenitorSettings) -> float:
    """Mass in Msun of the whole galaxy."""
    return settings.halo_mass_msun + settings.disc_mass_msun + settings.bulge_mass_msun


def halo_scale_kpc(settings: ProgenitorSettings) -> float:
    """Scale length of the halo: as set, or from its mass and concentration c.

    r200 is the radius inside which the mean density is 200 times the critical one, for 70 km/s/Mpc, and r_s = r200 / c.
    An "nfw" halo has the scale r_s; a "hernquist" one that with which it is as dense inside as the NFW halo of the mass
    inside r200. For an endless one this is r_s sqrt(2 [ln(1 + c) - c / (1 + c)]) (Springel, Di Matteo & Hernquist 2005,
    MNRAS 361, 776, equation 2); ours, with all its mass inside the truncation, needs a little more.
    """
    if settings.halo_scale_kpc is not None:
        return settings.halo_scale_kpc
    c = settings.halo_concentration
    r_s = float(np.cbrt(GRAVITY * settings.halo_mass_msun / (100 * HUBBLE_KM_S_KPC**2)) / c)
    return r_s * _hernquist_over_nfw(c) if settings.halo == "hernquist" else r_s


def _hernquist_over_nfw(concentration: float) -> float:
    """Scale length of a Hernquist halo over that of the NFW halo that it stands for, found by iteration."""
    endless = ratio = np.sqrt(2 * (np.log1p(concentration) - concentration / (1 + concentration)))
    x = np.geomspace(1e-4, 1e3, 2000)
    for _ in range(50):
        truncated = x / (1 + x) ** 3 * np.exp(-((x * ratio / (HALO_EDGE * concentration)) ** 2))
        ratio = endless / np.sqrt(2 * np.trapezoid(truncated, x))  # the endless integral is 1/2
    return float(ratio)


def recommended_softening_kpc(settings: ProgenitorSettings) -> tuple[float, ...]:
    """Recommended (Plummer) softening lengths of `COMPONENTS`.

    Discs: 0.4 of their height z0. Halo: 2 z0, since its particles are the heavy ones, and what one of them does to the
    disc at less than that is noise: with 2 z0 discs of the dwarf thicken half as much as with z0. Bulge: a fifth of its
    scale length, if that is less than for the disc.
    """
    disc = 0.4 * settings.disc_height_kpc
    bulge = min(disc, 0.2 * settings.bulge_scale_kpc) if settings.bulge_mass_msun else disc
    return (2 * settings.disc_height_kpc, disc, bulge, disc, disc)


@dataclass(frozen=True)
class Model:
    """The smooth galaxy that particles are drawn from. See `model`.

    Attributes
    ----------
    halo, bulge : Spheroid
        `bulge` is None if there is none.
    stars, gas : Disc
        `gas` is None if there is none.
    motion : Kinematics
        Of the disc of stars.
    softening_kpc : (5,) floats
        Of `COMPONENTS`.
    gas_speed_squared : (m,) array, (km/s)^2
        Square of the circular velocity at `gas.radii_kpc`.
    gas_heights : (m, q) array, kpc
        Heights that divide the gas at these radii in equal parts, see `disc.gas_heights`.
    """

    halo: Spheroid
    bulge: Spheroid | None
    stars: Disc
    gas: Disc | None
    motion: Kinematics | None
    softening_kpc: tuple[float, ...]
    gas_speed_squared: np.ndarray | None = None
    gas_heights: np.ndarray | None = None

    def felt_mass(self, radius_kpc: np.ndarray, component: str, sources: tuple[str, ...] = COMPONENTS) -> np.ndarray:
        """Mass in Msun of the sources that would pull particles of `component` as strongly from the centre.

        The field of the discs is averaged over spheres. Radii may have any shape.
        """
        parts: dict[str, Spheroid | Disc | None] = {
            "halo": self.halo, "disc": self.stars, "bulge": self.bulge, "gas": self.gas
        }  # fmt: skip
        total = np.zeros(np.shape(radius_kpc))
        for name in sources:
            part = parts.get(name)
            if part is not None:
                total += _felt_mass(part, radius_kpc, pair_softening(self.softening_kpc, component, name))
        return total


def pair_softening(softening_kpc: tuple[float, ...], one: str, other: str) -> float:
    """Softening length in kpc between two components: the root mean square of theirs, as in our gravity."""
    e, f = (softening_kpc[COMPONENTS.index(name)] for name in (one, other))
    return float(np.sqrt((e**2 + f**2) / 2))


def _felt_mass(part: Spheroid | Disc, radius_kpc: np.ndarray, softening: float) -> np.ndarray:
    """As `Model.felt_mass`, of one part; interpolated, as mean densities."""
    if isinstance(part, Spheroid):
        shells, inside = part.radii_kpc, part.enclosed_mass(part.radii_kpc)
    else:
        shells = np.geomspace(0.01 * part.height_kpc, 2 * EDGE * part.scale_kpc, 300)
        inside = part.spherical_mass(shells)
    r = np.maximum(np.asarray(radius_kpc, float), shells[0])
    grid = np.geomspace(shells[0], max(r.max(), 2 * shells[0]), 300)
    density = felt_mass(grid, shells, inside, softening) / grid**3
    return np.exp(np.interp(np.log(r), np.log(grid), np.log(density))) * np.asarray(radius_kpc) ** 3


def model(settings: ProgenitorSettings, softening_kpc: tuple[float, ...] | None = None) -> Model:
    """The smooth galaxy in equilibrium that `settings` describe, for forces softened by the lengths of `COMPONENTS`.

    Without `softening_kpc` the recommended ones. Raises ValueError with a sentence for settings that cannot be.
    """
    softening_kpc = tuple(softening_kpc or recommended_softening_kpc(settings))
    if len(softening_kpc) != len(COMPONENTS) or not 0 <= min(softening_kpc) <= max(softening_kpc) < np.inf:
        raise UsageError(
            f"softening_kpc expects {len(COMPONENTS)} lengths, of {', '.join(COMPONENTS)}; received {softening_kpc}."
        )
    halo, bulge = _spheroids(settings)
    gas_mass = settings.gas_fraction * settings.disc_mass_msun
    stars = Disc(settings.disc_mass_msun - gas_mass, settings.disc_scale_kpc, settings.disc_height_kpc)
    gas = Disc(gas_mass, settings.gas_scale_kpc or settings.disc_scale_kpc, stars.height_kpc) if gas_mass else None
    galaxy = Model(halo, bulge, stars, gas, None, softening_kpc)
    if gas:
        mass = partial(galaxy.felt_mass, component="gas", sources=("halo", "bulge"))
        heights = gas_heights(gas, stars, mass, settings.sound_speed_km_s)
        z0 = np.average(heights.mean(axis=1), weights=gas.radii_kpc * gas.surface_density(gas.radii_kpc)) / np.log(2)
        galaxy = dataclasses.replace(galaxy, gas=dataclasses.replace(gas, height_kpc=float(z0)), gas_heights=heights)
        galaxy = dataclasses.replace(galaxy, gas_speed_squared=_fields(galaxy, "gas")[0])
    speed_squared, dispersion_squared = _fields(galaxy, "disc")
    motion = kinematics(stars, speed_squared, dispersion_squared, settings.toomre_q)
    return dataclasses.replace(galaxy, motion=motion)


def _fields(galaxy: Model, component: str) -> np.ndarray:
    """As `Disc.field` (2, m), of the whole galaxy on its disc of stars or of gas."""
    discs = {"disc": galaxy.stars} | ({"gas": galaxy.gas} if galaxy.gas is not None else {})
    layer = discs[component]
    mass = partial(galaxy.felt_mass, component=component, sources=("halo", "bulge"))
    fields = [spheroid_field(layer.radii_kpc, layer.height_kpc, mass)]
    for name, disc in discs.items():
        softening = pair_softening(galaxy.softening_kpc, component, name)
        fields.append(disc.field(layer.radii_kpc, layer.height_kpc, softening))
    return np.sum(fields, axis=0)


def _spheroids(settings: ProgenitorSettings) -> tuple[Spheroid, Spheroid | None]:
    """Halo and bulge, or None."""
    scale, c = halo_scale_kpc(settings), settings.halo_concentration
    r200 = c * scale / (_hernquist_over_nfw(c) if settings.halo == "hernquist" else 1)
    halo = Spheroid(settings.halo, settings.halo_mass_msun, scale, HALO_EDGE * r200)
    if not settings.bulge_mass_msun:
        return halo, None
    edge = BULGE_EDGE * settings.bulge_scale_kpc
    return halo, Spheroid("hernquist", settings.bulge_mass_msun, settings.bulge_scale_kpc, edge)


def make_progenitor(
    settings: ProgenitorSettings = DWARF, *, seed: int, softening_kpc: tuple[float, ...] | None = None
) -> Snapshot:
    """Particles of a galaxy in equilibrium, its centre of mass at rest at the origin, its disc turning about +z.

    The halo and the bulge have isotropic velocities by Eddington's inversion in the spherically averaged potential of
    everything, the disc those of `kinematics`; gas is isothermal, in vertical hydrostatic balance. `about` holds the
    settings, the seed, `softening_kpc` of `COMPONENTS` and `sound_speed_km_s`.

    Parameters
    ----------
    settings : ProgenitorSettings
    seed : int
        The same seed gives the same particles.
    softening_kpc : (5,) floats, optional
        Softening lengths of `COMPONENTS` with which the galaxy will be evolved; without, the recommended ones. With
        others a galaxy changes within an orbit. A pair is taken to have the root mean square of both lengths.

    Raises
    ------
    ValueError
        For settings that cannot be.

    Examples
    --------
    >>> galaxy = make_progenitor(scaled(DWARF, 0.1), seed=1)
    >>> len(galaxy)
    8000
    """
    galaxy = model(settings, softening_kpc)
    parts = _drawn(galaxy, settings, seed)
    names = [name for name in COMPONENTS if name in parts]
    position, velocity, mass = (np.concatenate([parts[name][i] for name in names]) for i in range(3))
    component = np.repeat([COMPONENTS.index(name) for name in names], [len(parts[name][2]) for name in names])
    about = {
        "progenitor": dataclasses.asdict(settings),
        "seed": seed,
        "softening_kpc": list(galaxy.softening_kpc),
        "sound_speed_km_s": settings.sound_speed_km_s,
    }
    return Snapshot(
        position=(position - np.average(position, axis=0, weights=mass)).astype(np.float32),
        velocity=(velocity - np.average(velocity, axis=0, weights=mass)).astype(np.float32),
        mass=mass.astype(np.float32),
        component=component.astype(np.int8),
        galaxy=np.zeros(len(mass), np.int8),
        about=about,
    )


def _drawn(
    galaxy: Model, settings: ProgenitorSettings, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Position (n, 3), velocity (n, 3) and mass (n,) of the particles of each component, each from its own randoms."""
    randoms = dict(zip(("halo", "disc", "bulge", "gas"), np.random.default_rng(seed).spawn(4), strict=True))
    bulge_mass = settings.bulge_mass_msun
    bulge_number = round(settings.star_particles * bulge_mass / (bulge_mass + galaxy.stars.mass_msun))
    bulge_number = min(max(bulge_number, int(bulge_mass > 0)), settings.star_particles - 1)
    disc_number = settings.star_particles - bulge_number
    graded = {"grading": settings.halo_grading, "grading_radius_kpc": settings.disc_scale_kpc}
    parts = {}
    for name, spheroid, number, grading in (
        ("halo", galaxy.halo, settings.halo_particles, graded),
        ("bulge", galaxy.bulge, bulge_number, {}),
    ):
        if spheroid is not None:
            mass = galaxy.felt_mass(spheroid.radii_kpc, name)
            parts[name] = draw_spheroid(spheroid, mass, number, **grading, rng=randoms[name])
    assert galaxy.motion is not None  # `model` gives it
    drawn = draw_stars(galaxy.stars, galaxy.motion, disc_number, randoms["disc"])
    parts["disc"] = (*drawn, np.full(disc_number, galaxy.stars.mass_msun / disc_number))
    if galaxy.gas is not None:
        n, speed_squared, heights = settings.gas_particles, galaxy.gas_speed_squared, galaxy.gas_heights
        assert speed_squared is not None  # and these with the gas
        assert heights is not None
        drawn = draw_gas(galaxy.gas, speed_squared, heights, settings.sound_speed_km_s, n, randoms["gas"])
        parts["gas"] = (*drawn, np.full(n, galaxy.gas.mass_msun / n))
    return parts


def scaled(settings: ProgenitorSettings, mass_ratio: float) -> ProgenitorSettings:
    """The same galaxy with `mass_ratio` times the mass, and lengths times its root; ValueError unless above 0.

    Surface densities stay the same and velocities go with the fourth root of the mass, as in the Tully-Fisher relation.
    Particle numbers go with the mass, so that particles of two galaxies weigh the same; Q and the sound speed stay.
    """
    if not 0 < mass_ratio < np.inf:
        raise UsageError(f"a mass ratio must be above 0; received {mass_ratio!r}.")
    root = float(np.sqrt(mass_ratio))
    new: dict[str, Any] = {"halo_scale_kpc": halo_scale_kpc(settings) * root}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name.endswith("_msun"):
            new[field.name] = value * mass_ratio
        elif field.name.endswith("_particles"):
            new[field.name] = max(round(value * mass_ratio), 2)
        elif field.name.endswith("_kpc") and field.name not in new and value is not None:
            new[field.name] = value * root
    return dataclasses.replace(settings, **new)
