"""Prevalence: what fraction of all mergers of a stated prior gives such a view, with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.search.parameters import LOGARITHMIC, PriorSettings
from emeraldcut.settings import Settings, build, items, read_toml, setting

COUNTS_FROM = 0.05  # fraction of directions that match, from which on a merger counts as one that gives such a view
LEVEL = 0.9  # of the interval
ISOTROPIC = ("orbit_angle_deg", "tilt_deg", "tide_angle_deg")  # drawn as directions are: evenly in their cosine


@dataclass(frozen=True, kw_only=True)
class NatureSettings(Settings):
    """What mergers of dwarfs are like before any search: ranges of the parameters that are searched.

    Drawn as `PriorSettings` are, but angles of spins and orbits isotropically. These ranges are our statement and not
    a measurement. A parameter that is missing here is taken to be as it was searched.
    """

    host_stars_msun: tuple[float, ...] = setting((3e8, 3e9), "mass of the host's disc", above=0)
    host_halo_msun: tuple[float, ...] = setting((1e10, 1e11), "mass of the host's dark halo", above=0)
    host_scale_kpc: tuple[float, ...] = setting((0.5, 2.0), "scale length of the host's disc", above=0)
    companion_stars_over_host: tuple[float, ...] = setting((0.1, 1.0), "mass of the discs", above=0)
    companion_halo_over_stars: tuple[float, ...] = setting(
        (1.0, 100.0), "mass of the companion's dark halo over that of its disc", above=0
    )
    companion_scale_kpc: tuple[float, ...] = setting((0.3, 2.0), "scale length of the companion's disc", above=0)
    start_kpc: tuple[float, ...] = setting((3.0, 30.0), "distance at the start", above=0)
    circularity: tuple[float, ...] = setting((0.0, 1.0), "speed over the circular one", at_least=0)
    orbit_angle_deg: tuple[float, ...] = setting((0.0, 180.0), "angle between the host's spin and the orbit's pole")
    tilt_deg: tuple[float, ...] = setting((0.0, 180.0), "angle between the companion's spin and the orbit's pole")

    def check(self) -> None:
        """UsageError unless each is a rising range."""
        for item in items(type(self)):
            values = getattr(self, item.name)
            if len(values) != 2 or not values[0] < values[1]:
                raise UsageError(f"'{item.name}' expects the lower and the upper end of a range; received {values}.")


@dataclass(frozen=True)
class Prevalence:
    """How many mergers of a prior give a view that matches.

    Attributes
    ----------
    draws : int
        Mergers that were drawn evenly over the searched region, and run.
    effective : float
        As many draws of the prior would say as much (Kish 1965, Survey Sampling): (sum of weights)^2 / sum of squares.
    region : float
        Part of the prior that lies in the searched region.
    inside : (low, middle, high)
        Fraction of the mergers in that region that count, and its interval.
    overall : (low, middle, high)
        Fraction of all mergers of the prior: the middle and the low end if none outside the region does, the high end
        if all of them do.
    view : float
        Fraction of the views, over mergers in the region and over directions, that match.
    fixed : tuple of str
        Parameters of the prior that the search held fixed, so that nothing is said of other values.
    """

    draws: int
    effective: float
    region: float
    inside: tuple[float, float, float]
    overall: tuple[float, float, float]
    view: float
    fixed: tuple[str, ...]


def read_nature(source: str | None) -> NatureSettings:
    """The prior that a TOML file states, or ours."""
    if not source:
        return NatureSettings()
    if not Path(source).is_file():
        raise UsageError(f"no TOML file of a prior named '{source}'.")
    return cast(NatureSettings, build(NatureSettings, read_toml(source)))


def prevalence(
    rows: Sequence[Mapping[str, Any]], priors: PriorSettings, nature: NatureSettings = NatureSettings()
) -> Prevalence:
    """The prevalence from runs at points spread evenly over the region that `priors` span.

    A draw has the weight of the prior's density over the region's (importance sampling). What the region leaves out is
    not known, and goes into the upper end of the interval alone.

    Parameters
    ----------
    rows : evaluations of a search
        Those of its Sobol points alone: what an optimiser has chosen is no sample of anything.
    priors : what was searched.
    nature : the prior of mergers.

    Raises
    ------
    UsageError
        There are no rows.
    """
    if not rows:
        raise UsageError("a prevalence needs runs at Sobol points; the search has none.")
    known = [one.name for one in fields(nature)]
    free = [name for name in known if name in priors.free]
    region = float(np.prod([_part_inside(name, priors, nature) for name in free]))
    weight = np.array([np.prod([_weight(name, row["parameters"][name], nature) for name in free]) for row in rows])
    fraction = np.array([row["fraction"] if row["mixed"] else 0.0 for row in rows])
    if weight.sum() == 0:
        return Prevalence(len(rows), 0.0, region, (0.0, np.nan, 1.0), (0.0, np.nan, 1.0), np.nan, ())
    effective = float(weight.sum() ** 2 / np.sum(weight**2))
    counts = float(weight @ (fraction >= COUNTS_FROM) / weight.sum())
    low, high = interval(counts * effective, effective)
    return Prevalence(
        draws=len(rows),
        effective=effective,
        region=region,
        inside=(low, counts, high),
        overall=(region * low, region * counts, region * high + 1 - region),
        view=float(weight @ fraction / weight.sum()),
        fixed=tuple(name for name in known if name in priors.names and name not in priors.free),
    )


def interval(successes: float, draws: float, level: float = LEVEL) -> tuple[float, float]:
    """Ends of the interval of Clopper & Pearson (1934, Biometrika 26, 404) of a fraction; numbers need not be whole."""
    from scipy.stats import beta  # takes a second to import

    tail = (1 - level) / 2
    low = 0.0 if successes <= 0 else float(beta.ppf(tail, successes, draws - successes + 1))
    high = 1.0 if successes >= draws else float(beta.ppf(1 - tail, successes + 1, draws - successes))
    return low, high


def _measure(name: str, value: float) -> float:
    """A parameter on the scale on which the prior of mergers is even."""
    if name in ISOTROPIC:
        return float(-np.cos(np.radians(value)))
    return float(np.log(value)) if name.endswith(LOGARITHMIC) else value


def _part_inside(name: str, priors: PriorSettings, nature: NatureSettings) -> float:
    """Part of the prior of mergers that lies within the range that was searched."""
    low, high = (_measure(name, v) for v in getattr(nature, name))
    first, last = (_measure(name, v) for v in getattr(priors, name))
    return max(min(high, last) - max(low, first), 0.0) / (high - low)


def _weight(name: str, value: float, nature: NatureSettings) -> float:
    """Density of the prior of mergers over that of the search, up to a factor; 0 outside the former."""
    low, high = getattr(nature, name)
    if not low <= value <= high:
        return 0.0
    return float(np.sin(np.radians(value))) if name in ISOTROPIC else 1.0
