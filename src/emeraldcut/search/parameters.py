"""Parameters: what an encounter is made from, each fixed or free within a prior, and the unit cube of the free ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.mergers.encounters import STARTS, EncounterSettings, TidalOrbit
from emeraldcut.mergers.progenitors import ProgenitorSettings
from emeraldcut.search.evaluation import Encounter
from emeraldcut.settings import Settings, items, setting

# Of all particles; a light companion needs few for its halo.
_HOST_HALO, _HOST_STARS, _COMPANION_HALO = 0.45, 0.19, 0.17
_ALONE_STARS = 0.35  # of those of a galaxy alone
_GAS_PER_STAR = 0.5  # particles
_TIDE = ("mass_msun", "scale_kpc", "start_kpc", "circularity", "angle_deg", "phase_deg")
LOGARITHMIC = ("_msun", "_kpc", "_over_stars", "_over_host")  # endings of what is drawn evenly in its logarithm
FORMATIONS = ("merger", "isolated", "tide")
_ORBIT = ("start_kpc", "circularity", "orbit_angle_deg", "phase_deg", "tilt_deg", "azimuth_deg")
_COUNT = {  # beginnings of the names of the parameters that count
    "merger": ("host_", "companion_", *_ORBIT),
    "isolated": ("host_",),
    "tide": ("host_", "tide_"),
}
_RANGE = "one number fixes it, two are the range that is searched"


# long: a list
@dataclass(frozen=True, kw_only=True)
class PriorSettings(Settings):
    """What is known of the encounter before the search. One number fixes a parameter, two are a range that is searched.

    Masses, their ratios and lengths are drawn evenly in their logarithm, all else evenly. The defaults are the region
    in which dwarfs have been found to make boxes: two discs without bulges, a companion with many stars and little dark
    matter on a nearly polar orbit that begins close to the host.
    """

    formation: str = setting(
        "merger",
        "what is tried: a merger; or, of its rivals, the host alone (isolated), or the host in the tide of a far "
        "heavier galaxy or group (tide); the others' parameters then do not count",
        choices=FORMATIONS,
    )
    host_stars_msun: tuple[float, ...] = setting((5e8, 1.2e9), f"mass of the host's disc: {_RANGE}", above=0)
    host_halo_msun: tuple[float, ...] = setting((1e10, 6e10), "mass of the host's dark halo", above=0)
    host_scale_kpc: tuple[float, ...] = setting((0.6, 1.3), "scale length of the host's disc", above=0)
    host_height_kpc: tuple[float, ...] = setting((0.15,), "height z0 of the host's disc", above=0)
    host_toomre_q: tuple[float, ...] = setting((1.5,), "lowest Toomre Q of the host's disc", above=0)
    host_concentration: tuple[float, ...] = setting((11.0,), "concentration of the host's halo", above=0)
    host_gas_fraction: tuple[float, ...] = setting((0.0,), "gas fraction of the host's disc", at_least=0, below=1)
    companion_stars_over_host: tuple[float, ...] = setting(
        (0.5, 1.2), "mass of the companion's disc over that of the host's", above=0
    )
    companion_halo_over_stars: tuple[float, ...] = setting(
        (1.0, 5.0), "mass of the companion's dark halo over that of its disc", above=0
    )
    companion_scale_kpc: tuple[float, ...] = setting((0.6, 1.3), "scale length of the companion's disc", above=0)
    companion_height_kpc: tuple[float, ...] = setting((0.15,), "height z0 of the companion's disc", above=0)
    companion_toomre_q: tuple[float, ...] = setting((1.5,), "lowest Toomre Q of the companion's disc", above=0)
    companion_concentration: tuple[float, ...] = setting((15.0,), "concentration of the companion's halo", above=0)
    companion_gas_fraction: tuple[float, ...] = setting(
        (0.0,), "gas fraction of the companion's disc", at_least=0, below=1
    )
    start: str = setting(
        "distance",
        "what start_kpc means: the distance at the start, or the radius of the circular orbit of the same energy",
        choices=STARTS,
    )
    start_kpc: tuple[float, ...] = setting(
        (3.0, 9.0), "distance at the start, or radius of that circular orbit", above=0
    )
    circularity: tuple[float, ...] = setting(
        (0.5, 1.0), "speed over the circular one, or angular momentum over that of the circular orbit", at_least=0
    )
    orbit_angle_deg: tuple[float, ...] = setting(
        (65.0, 100.0), "angle between the host's spin and the pole of the orbit", at_least=0, at_most=180
    )
    phase_deg: tuple[float, ...] = setting(
        (0.0, 360.0), "angle along the orbit from the point where it rises through the host's disc to the start"
    )
    tilt_deg: tuple[float, ...] = setting(
        (0.0, 30.0), "angle between the companion's spin and the pole of the orbit", at_least=0, at_most=180
    )
    azimuth_deg: tuple[float, ...] = setting(
        (0.0, 360.0), "azimuth of the companion's spin about the pole of the orbit"
    )
    tide_mass_msun: tuple[float, ...] = setting(
        (1e12, 1e14), "formation tide: mass of the Hernquist sphere in which the host moves", above=0
    )
    tide_scale_kpc: tuple[float, ...] = setting((20.0, 200.0), "scale length of that sphere", above=0)
    tide_start_kpc: tuple[float, ...] = setting((50.0, 300.0), "distance from its centre at the start", above=0)
    tide_circularity: tuple[float, ...] = setting(
        (0.1, 1.0), "speed over the circular one at the start, at right angles to the centre", at_least=0
    )
    tide_angle_deg: tuple[float, ...] = setting(
        (0.0, 180.0), "angle between the host's spin and the pole of that orbit", at_least=0, at_most=180
    )
    tide_phase_deg: tuple[float, ...] = setting(
        (0.0, 360.0), "angle along that orbit from the node on the host's disc to the start"
    )

    def check(self) -> None:
        """UsageError unless each parameter is a number or a range, and one of them is free."""
        for item in items(type(self)):
            values = getattr(self, item.name)
            if item.many and not (len(values) == 1 or (len(values) == 2 and values[0] < values[1])):
                raise UsageError(
                    f"parameter '{item.name}' expects one number, or the lower and the upper end of a range; "
                    f"received {', '.join(f'{v:g}' for v in values) or 'none'}."
                )
        if not self.free:
            raise UsageError("nothing is left to search: every parameter is fixed; give one of them a range.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters that are numbers and count with this formation."""
        return tuple(
            item.name for item in items(type(self)) if item.many and item.name.startswith(_COUNT[self.formation])
        )

    @property
    def free(self) -> tuple[str, ...]:
        """Names of those that are searched."""
        return tuple(name for name in self.names if len(getattr(self, name)) == 2)

    def at(self, point: np.ndarray) -> dict[str, float]:
        """The parameters at a point (d,) of the unit cube of the free ones."""
        found = {name: getattr(self, name)[0] for name in self.names}
        for name, part in zip(self.free, np.clip(np.asarray(point, float), 0, 1), strict=True):
            low, high = getattr(self, name)
            if name.endswith(LOGARITHMIC):
                found[name] = float(np.clip(low * (high / low) ** part, low, high))
            else:
                found[name] = float(low + (high - low) * part)
        return found


def encounter_of(parameters: dict[str, float], start: str, particles: int) -> Encounter:
    """The encounter of parameters as `PriorSettings.at` gives them, with about so many particles without gas.

    Which parameters there are says whether it is a merger, one galaxy alone, or one in a tide.
    """
    merger = "companion_scale_kpc" in parameters
    host_stars = round((_HOST_STARS if merger else _ALONE_STARS) * particles)
    host_halo = round(_HOST_HALO * particles) if merger else particles - host_stars
    host = _galaxy(
        "host", parameters, parameters["host_stars_msun"], parameters["host_halo_msun"], host_halo, host_stars
    )
    if not merger:
        tide = None
        if "tide_mass_msun" in parameters:
            tide = TidalOrbit(*(parameters[f"tide_{name}"] for name in _TIDE))
        return Encounter(host, tide=tide)
    stars = parameters["host_stars_msun"] * parameters["companion_stars_over_host"]
    halo = stars * parameters["companion_halo_over_stars"]
    companion = _galaxy("companion", parameters, stars, halo, round(_COMPANION_HALO * particles), host_stars)
    orbit = {name: parameters[name] for name in _ORBIT}
    return Encounter(host, companion, EncounterSettings(start=start, **orbit))


def _galaxy(
    name: str, parameters: dict[str, float], stars: float, halo: float, halo_particles: int, star_particles: int
) -> ProgenitorSettings:
    """The host or the companion, with masses of its disc and halo in Msun."""
    return ProgenitorSettings(
        halo_mass_msun=halo,
        halo_concentration=parameters[f"{name}_concentration"],
        disc_mass_msun=stars,
        disc_scale_kpc=parameters[f"{name}_scale_kpc"],
        disc_height_kpc=parameters[f"{name}_height_kpc"],
        toomre_q=parameters[f"{name}_toomre_q"],
        gas_fraction=parameters[f"{name}_gas_fraction"],
        halo_particles=halo_particles,
        star_particles=star_particles,
        gas_particles=round(_GAS_PER_STAR * star_particles),
    )
