"""Target: what a remnant should look like, as limits on isophotes at several radii, each of which may be left free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.camera.remnant_shape import BOX_A4, BOX_RADII, Views
from emeraldcut.data.columns import numbers
from emeraldcut.errors import UsageError
from emeraldcut.settings import read_toml
from emeraldcut.tables.files import ENDINGS as TABLES
from emeraldcut.tables.files import read_table

QUANTITIES = {  # and how far outside its limits counts as much as another's
    "a4": 0.015,
    "a6": 0.015,
    "axis_ratio": 0.05,
    "rotation_km_s": 10.0,
    "dispersion_km_s": 10.0,
}
MOTION = ("rotation_km_s", "dispersion_km_s")  # of these
SIGMAS = 2.0  # standard errors on both sides of a value within which a view matches
LEAST_ERROR = {"a4": 0.005, "a6": 0.005, "axis_ratio": 0.02}  # of a profile that was measured: no model is better
PROFILE_RADII = (0.5, 1.0, 1.5, 2.0, 2.5)  # at which a measured profile is compared, as far as it reaches
ENDINGS = ("", "_err", "_at_least", "_at_most")


@dataclass(frozen=True)
class Constraint:
    """A quantity of the isophote at `radius` half-light semi-major axes lies between `low` and `high`."""

    quantity: str
    radius: float
    low: float = -np.inf
    high: float = np.inf

    def __str__(self) -> str:
        limits = " to ".join(f"{v:+.3g}" for v in (self.low, self.high) if np.isfinite(v))
        word = "" if np.isfinite([self.low, self.high]).all() else "at least " if np.isfinite(self.low) else "at most "
        return f"{self.quantity} at {self.radius:g} a_e: {word}{limits}"


@dataclass(frozen=True)
class Target:
    """What a view of a remnant is compared with. A quantity that no constraint names is free.

    Attributes
    ----------
    name : str
    constraints : tuple of Constraint
    about : str
        Where the numbers come from, a sentence.
    """

    name: str
    constraints: tuple[Constraint, ...]
    about: str = ""

    def __post_init__(self) -> None:
        if not self.constraints:
            raise UsageError(
                f"target '{self.name}' constrains nothing; name {', '.join(QUANTITIES)} at one radius or more."
            )

    @property
    def facts(self) -> dict[str, Any]:
        """The same as plain values, for a file; limits that do not bind are left out."""
        limits = [
            {name: value for name, value in asdict(one).items() if name == "quantity" or np.isfinite(value)}
            for one in self.constraints
        ]
        return {"name": self.name, "about": self.about, "constraints": limits}

    @property
    def motion(self) -> bool:
        """Whether it says how the stars move."""
        return any(one.quantity in MOTION for one in self.constraints)

    @property
    def radii(self) -> tuple[float, ...]:
        """Radii (r,) of all constraints, rising."""
        return tuple(sorted({one.radius for one in self.constraints}))

    def misfits(self, views: Views) -> np.ndarray:
        """How far each view is outside each constraint's limits (d, c), in units of `QUANTITIES`; infinite for NaN."""
        columns = []
        for one in self.constraints:
            values = getattr(views, one.quantity)[:, views.radii.index(one.radius)]
            outside = np.maximum(np.maximum(one.low - values, values - one.high), 0) / QUANTITIES[one.quantity]
            columns.append(np.where(np.isfinite(values), outside, np.inf))
        return np.stack(columns, axis=1)

    def matches(self, views: Views) -> np.ndarray:
        """Boolean (d,): the views that are within the limits of every constraint."""
        return np.all(self.misfits(views) == 0, axis=1)

    def closeness(self, views: Views) -> np.ndarray:
        """How close each view (d,) comes, from 0 to 1, which is a match: 1 / (1 + the sum of squared misfits).

        Its wings are wide, so that bad views can be told from worse ones.
        """
        return 1 / (1 + np.sum(self.misfits(views) ** 2, axis=1))


def between(
    quantity: str, radii: Iterable[float], low: float = -np.inf, high: float = np.inf
) -> tuple[Constraint, ...]:
    """The same limits at several radii."""
    return tuple(Constraint(quantity, float(radius), low, high) for radius in radii)


LEDA074886 = Target(
    "LEDA 074886",
    (
        *between("a4", BOX_RADII, -0.08, -0.05),
        *between("axis_ratio", BOX_RADII, 0.65, 0.75),
        *between("a4", (0.5,), 0.01),
    ),
    "Graham et al. (2012, ApJ 750, 121): a4/a of -0.05 to -0.08 between 3 and 5 kpc, and an edge-on disc inside. The "
    "axis ratio, 0.70, was measured on the published picture; the half-light radius that puts 3 to 5 kpc at 1.6 to 2.7 "
    "of it is our guess (18 arcsec). a6 is not published and is free.",
)
BOX = Target(
    "box",
    between("a4", BOX_RADII, high=BOX_A4),
    f"Any remnant whose isophotes are boxy, a4/a at most {BOX_A4:g}, over a range of radii; all else is free.",
)
LEDA_OUTSIDE = Target(
    "the outskirts of LEDA 074886",
    tuple(one for one in LEDA074886.constraints if one.radius in BOX_RADII),
    "As leda074886, without its inner disc, which may have formed from gas later.",
)
BUILT_IN = {"leda074886": LEDA074886, "box": BOX, "leda074886_outside": LEDA_OUTSIDE}


def read_target(source: str | Path) -> Target:
    """A target that is built in (`BUILT_IN`), that a TOML file describes, or a table of `measure --profiles`.

    The TOML file has `name`, and either a list of tables `[[isophote]]`, each with `radius` in half-light semi-major
    axes and any of `QUANTITIES`, as NAME with NAME_err (two standard errors on both sides match), or as NAME_at_least,
    NAME_at_most or both; or `profile`, a table of `measure --profiles`, with

    - `half_light_radius_pix`, the half-light semi-major axis of the galaxy in pixels; if not given, from the growth
      curve in the table, which ends at its last isophote;
    - `use`, which of a4, a6 and axis_ratio to compare; if not given, all three;
    - `id`, if the table holds several galaxies.

    Raises
    ------
    UsageError
        The file does not exist or does not say what is needed; the sentence says what was expected.
    """
    if str(source) in BUILT_IN:
        return BUILT_IN[str(source)]
    if not Path(source).is_file():
        raise UsageError(f"no target, TOML file or table named '{source}'; targets are {', '.join(BUILT_IN)}.")
    table = str(source).lower().endswith(TABLES)
    values: dict[str, Any] = {"profile": Path(source).name} if table else read_toml(source)
    name = str(values.get("name", Path(source).stem))
    if "profile" in values:
        return profile_target(name, values, Path(source).parent)
    isophotes = values.get("isophote", [])
    if not isinstance(isophotes, list) or not all(isinstance(one, dict) for one in isophotes):
        raise UsageError(f"'{source}' expects tables [[isophote]]; received isophote = {isophotes!r}.")
    return Target(name, tuple(c for one in isophotes for c in _constraints(one, source)), f"From {Path(source).name}.")


def _constraints(isophote: Mapping[str, Any], source: str | Path) -> list[Constraint]:
    """Those of one table [[isophote]]."""
    known = {"radius", *(f"{name}{end}" for name in QUANTITIES for end in ENDINGS)}
    if unknown := set(isophote) - known:
        raise UsageError(f"unknown key '{min(unknown)}' in '{source}'; an isophote has {', '.join(sorted(known))}.")
    for key, value in isophote.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise UsageError(f"'{key}' in '{source}' expects a finite number; received {value!r}.")
    radius = float(isophote.get("radius", 0))
    if not radius > 0:
        raise UsageError(f"every [[isophote]] in '{source}' expects a radius above 0, in half-light semi-major axes.")
    found = []
    for name in QUANTITIES:
        low, high = isophote.get(f"{name}_at_least", -np.inf), isophote.get(f"{name}_at_most", np.inf)
        if name in isophote:
            if not isophote.get(f"{name}_err", 0) > 0:
                raise UsageError(f"'{name}' in '{source}' needs '{name}_err', its standard error, above 0.")
            spread = SIGMAS * isophote[f"{name}_err"]
            low, high = max(low, isophote[name] - spread), min(high, isophote[name] + spread)
        if low > high:
            raise UsageError(f"no {name} at the radius {radius:g} is allowed by '{source}': {low:g} to {high:g}.")
        if np.isfinite([low, high]).any():
            found.append(Constraint(name, radius, float(low), float(high)))
    return found


def profile_target(name: str, values: Mapping[str, Any], folder: Path) -> Target:
    """The target of a galaxy that `measure --profiles` has measured, named in a file in `folder`; see `read_target`."""
    rows = read_table(folder / str(values["profile"]))
    if "id" in values:
        rows = rows[np.asarray(rows["id"]).astype(str) == str(values["id"])]
    if len(rows) == 0 or len(set(np.asarray(rows["id"]).astype(str))) > 1:
        raise UsageError(f"'{values['profile']}' must hold one galaxy, or name its `id`; found {len(rows)} isophotes.")
    half = values.get("half_light_radius_pix", _half_light_pix(rows))
    if isinstance(half, bool) or not isinstance(half, int | float) or not half > 0:
        raise UsageError("a target with a profile needs half_light_radius_pix, above 0.")
    names = list(values.get("use", LEAST_ERROR))
    if unknown := set(names) - set(LEAST_ERROR):
        raise UsageError(f"a profile gives {', '.join(LEAST_ERROR)}; received '{min(unknown)}' to use.")
    found = [c for quantity in names for c in _of_profile(rows, quantity, float(half))]
    return Target(name, tuple(found), f"The profile of {values['profile']}.")


def _half_light_pix(rows: Table) -> float:
    """Semi-major axis that holds half of the light inside the last isophote; 0 where the growth curve is not there."""
    if "light_inside" not in rows.colnames:
        return 0.0
    radius, light = numbers(rows["isophote_radius_pix"]), numbers(rows["light_inside"])
    good = np.isfinite(radius) & np.isfinite(light)
    order = np.argsort(radius[good])
    radius, light = radius[good][order], np.maximum.accumulate(light[good][order])
    return float(np.interp(light[-1] / 2, light, radius)) if len(light) and light[-1] > 0 else 0.0


def _of_profile(rows: Table, quantity: str, half_light_pix: float) -> list[Constraint]:
    """Limits of one quantity at those of `PROFILE_RADII` that a profile reaches, interpolated."""
    radius, value, error = (numbers(rows[c]) for c in ("isophote_radius_pix", quantity, f"{quantity}_err"))
    good = np.isfinite(radius) & np.isfinite(value) & np.isfinite(error)
    order = np.argsort(radius[good])
    radius, value, error = (v[good][order] for v in (radius / half_light_pix, value, error))
    found = []
    for at in PROFILE_RADII:
        if len(radius) > 1 and radius[0] <= at <= radius[-1]:
            middle = float(np.interp(at, radius, value))
            spread = SIGMAS * max(float(np.interp(at, radius, error)), LEAST_ERROR[quantity])
            found.append(Constraint(quantity, at, middle - spread, middle + spread))
    return found
