"""Files of snapshots: ours, those of GADGET and its kin, of SWIFT, and what pynbody reads."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import cached_property
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.nbody.gadget_binary import as_hdf5, is_gadget_binary
from emeraldcut.nbody.periodic import densest, unwrap
from emeraldcut.nbody.snapshot import (
    CM_PER_KPC,
    CM_S_PER_KM_S,
    COMPONENTS,
    G_PER_MSUN,
    KPC_PER_KM_S_GYR,
    STARS,
    UNIT_MASS_MSUN,
    UNITS,
    Snapshot,
)
from emeraldcut.runs.apart import Crashed, first_apart
from emeraldcut.runs.notices import printable
from emeraldcut.runs.reading import check_regular, open_hdf5, values_of
from emeraldcut.runs.writing import new_hdf5

_OURS = "emeraldcut"  # group that only our own files have
_PARTS = {0: ("gas",), 1: ("halo",), 4: ("disc", "bulge", "new_stars")}  # which components each PartType holds
_OTHERS = {0: "gas", 1: "halo", 2: "disc", 3: "bulge", 4: "disc"}  # PartTypes of isolated galaxies elsewhere
_COSMOLOGICAL = {0: "gas", 1: "halo", 2: "halo", 4: "disc"}  # and of boxes, where 2 is coarse dark matter
_FACTORS = {"Coordinates": (1, -1), "Velocities": (0.5, 0), "Masses": (0, -1)}  # powers of a and h in GADGET
_FACTORS_SWIFT = {"Coordinates": (1, 0), "Velocities": (0, 0), "Masses": (0, 0)}
_TYPES = {  # of the arrays of a snapshot
    **dict.fromkeys(("position", "velocity", "mass"), np.float32),
    **dict.fromkeys(("component", "galaxy"), np.int8),
    **dict.fromkeys(("formed_gyr", "internal_energy"), np.float32),
}
HDF5_ENDINGS = (".hdf5", ".h5", ".hdf")
_SMALLEST_BOX_KPC = 3000.0  # of a cosmological run; isolated galaxies are in smaller ones
_LARGEST_BOX_MPC = 1000.0  # a cosmological run whose box is a smaller number than this has lengths in Mpc
_SINGLE_KPC = 16384.0  # beyond this, numbers of single precision are more than 1 pc apart
_SPREAD_ISOLATED = 0.9  # of a box: an isolated run reaches both edges only if it lies across one


def write_snapshot(snapshot: Snapshot, path: str | Path) -> Path:
    """Writes `snapshot` as Gadget-style HDF5, completely or not at all; a file that is there is replaced.

    pynbody and yt open the file: gas is PartType0, the halo PartType1 and all stars PartType4; lengths are in kpc,
    velocities in km/s, masses in 1e10 Msun and times in 0.978 Gyr. `read_snapshot` gives back what was written to
    the last bit and in the same order: ParticleIDs is the place in the snapshot, counted from 1, and the datasets
    Component, Galaxy and FormedGyr are ours. InternalEnergy is there where gas has one. Arrays are stored in the types
    that `Snapshot` documents.

    Raises
    ------
    ValueError
        A component that is none of `COMPONENTS`, or an `about` that JSON cannot hold.
    """
    path = Path(path)
    component = np.asarray(snapshot.component)
    if len(snapshot) and not 0 <= component.min() <= component.max() < len(COMPONENTS):
        raise UsageError(
            f"components count through {', '.join(COMPONENTS)}, 0 to {len(COMPONENTS) - 1}; "
            f"received {component.min()} to {component.max()}."
        )
    try:
        about = json.dumps(dict(snapshot.about), default=_plain)
    except TypeError as error:
        raise UsageError(f"`about` of a Snapshot may hold numbers, text, lists and mappings; {error}.") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with new_hdf5(temporary) as file:
            file.create_group("Header").attrs.update(_header(snapshot))
            file.create_group("Units").attrs.update(UNITS)
            ours = file.create_group(_OURS)
            ours["about"] = about
            ours.attrs["time_gyr"] = float(snapshot.time_gyr)
            ours.attrs["sha256"] = _hash_of(snapshot, about.encode())
            for part in _PARTS:
                _write_part(file, part, snapshot)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy as those of JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"received {type(value).__name__}")


def _part_of(snapshot: Snapshot, part: int) -> np.ndarray:
    """Places (m,) of the particles that PartType`part` holds."""
    return np.flatnonzero(np.isin(snapshot.component, [COMPONENTS.index(name) for name in _PARTS[part]]))


def _header(snapshot: Snapshot) -> dict[str, Any]:
    """Attributes of the group Header, as in GADGET; not cosmological, so Redshift is 0 and HubbleParam 1."""
    numbers = np.array([len(_part_of(snapshot, part)) if part in _PARTS else 0 for part in range(6)])
    stars_form = bool(np.any(snapshot.component == COMPONENTS.index("new_stars")))
    flags = ("Cooling", "Feedback", "Metals", "DoublePrecision", "IC_Info", "Entropy_ICs")
    return {
        "NumPart_ThisFile": numbers.astype(np.int32),
        "NumPart_Total": numbers.astype(np.uint32),
        "NumPart_Total_HighWord": np.zeros(6, np.uint32),
        "MassTable": np.zeros(6),
        "Code": _OURS,
        "Time": float(snapshot.time_gyr) * KPC_PER_KM_S_GYR,
        "Time_GYR": float(snapshot.time_gyr),
        "Redshift": 0.0,
        "BoxSize": 0.0,
        "NumFilesPerSnapshot": 1,
        "Omega0": 0.0,
        "OmegaLambda": 0.0,
        "HubbleParam": 1.0,
        **{f"Flag_{name}": 0 for name in flags},
        "Flag_Sfr": int(stars_form),
        "Flag_StellarAge": int(stars_form),
        **UNITS,
    }


def _write_part(file: Any, part: int, snapshot: Snapshot) -> None:
    """The group PartType`part`, if there are such particles."""
    places = _part_of(snapshot, part)
    if len(places) == 0:
        return
    formed_gyr = np.asarray(snapshot.formed_gyr, np.float32)[places]
    # In double precision, since a float32 divided by 1e10 and multiplied again is not always the same.
    masses = np.asarray(snapshot.mass, np.float32)[places].astype(np.float64) / UNIT_MASS_MSUN
    arrays = {  # name: (array, its unit in cgs, and as pynbody writes it)
        "Coordinates": (np.asarray(snapshot.position, np.float32)[places], CM_PER_KPC, "U_L"),
        "Velocities": (np.asarray(snapshot.velocity, np.float32)[places], CM_S_PER_KM_S, "U_V"),
        "Masses": (masses, UNITS["UnitMass_in_g"], "U_M"),
        "ParticleIDs": ((places + 1).astype(np.uint32), 1.0, ""),
        "Component": (np.asarray(snapshot.component, np.int8)[places], 1.0, ""),
        "Galaxy": (np.asarray(snapshot.galaxy, np.int8)[places], 1.0, ""),
        "FormedGyr": (formed_gyr, 1.0, ""),
    }
    if part == 4:
        time = formed_gyr.astype(np.float64) * KPC_PER_KM_S_GYR
        arrays["StellarFormationTime"] = (time, UNITS["UnitTime_in_s"], "U_T")
    energy = np.asarray(snapshot.internal_energy, np.float32)[places]
    if part == 0 and np.isfinite(energy).any():
        arrays["InternalEnergy"] = (energy, CM_S_PER_KM_S**2, "U_V^2")
    group = file.create_group(f"PartType{part}")
    for name, (values, cgs, units) in arrays.items():
        dataset = group.create_dataset(name, data=values, fletcher32=len(values) > 0)
        dataset.attrs.update({"VarDescription": units, "CGSConversionFactor": cgs})
        dataset.attrs.update({"aexp-scale-exponent": 0.0, "h-scale-exponent": 0.0})


def read_snapshot(path: str | Path) -> Snapshot:
    """Reads the particles of a snapshot or cut-out.

    From HDF5 these are our own files, and those of GADGET, AREPO (IllustrisTNG), GIZMO (SIMBA, FIRE), EAGLE and SWIFT.
    GADGET's binary formats 1 and 2 are read too; and where pynbody is installed, the extra [snapshots], the other
    formats that it reads, such as Tipsy.

    Of others' files, PartType0 is gas, 1 halo and 4 stars (`new_stars` where their formation time is known); 2 and 3
    are disc and bulge in an isolated run; in a cosmological one (and with SWIFT) 2 is coarse dark matter, that is
    halo, and 3 is left out. What is left out, such as black holes, is counted in `about["left_out"]`. Masses may
    stand in MassTable. Wind particles of IllustrisTNG count as gas. All particles get `galaxy` 0. Velocities that are
    not there are NaN, and `about["velocities"]` says so; positions and masses of stars must be there.

    Units are taken from the groups Units, Header or Parameters, from the attributes of the datasets, and are kpc, km/s
    and 1e10 Msun where none are given. A run is cosmological if the file says so (ComovingIntegrationOn, Cosmological
    run); else if it has a redshift or an ExpansionFactor; and at redshift 0, where an isolated run at Time = 1 looks
    alike, if there is a cosmology, HubbleParam below 1 and a box that is large enough. Powers of the scale factor and
    of h come from the attributes of each dataset, or are those of GADGET. Times of formation in a cosmological run are
    scale factors, and become ages of the universe in the file's cosmology.

    Positions are physical. What lies across the edge of a periodic box is put together around the densest place
    (`unwrap`), and coordinates in a cosmological box that single precision would blur are counted from there.

    What was decided is in `about`: `code`, `units`, `cosmological`, `redshift` (if cosmological), `hubble_param` (by
    which lengths and masses were divided; 1 if by none), `unwrapped` (axes, such as "xz"), `origin_kpc` (where the
    origin was moved to), and `guessed`, sentences on what the file does not say; empty if it says all.

    Of what pynbody reads, gas is gas, dark matter halo, and stars are disc, or `new_stars` where they formed after the
    beginning. Units are those that pynbody knows or assumes.

    Raises
    ------
    FileNotFoundError
    ValueError
        With one sentence, for a file that cannot be read, lacks what is needed, or is one of several pieces.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> stars = np.random.default_rng(0).normal(size=(100, 3))
    >>> disc = np.full(100, COMPONENTS.index("disc"), np.int8)
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_snapshot(Snapshot(stars, 0 * stars, np.ones(100), disc, 0 * disc), folder + "/stars.hdf5")
    ...     len(read_snapshot(folder + "/stars.hdf5"))
    100
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no snapshot '{path}'.")
    try:
        snapshot = first_apart("emeraldcut.nbody.snapshot_files:snapshot_here", path)
    except Crashed as error:
        raise UsageError(f"'{path}' cannot be read as a snapshot: {error}.") from None
    assert isinstance(snapshot, Snapshot)
    return snapshot


def snapshot_here(path: Path) -> Iterator[Snapshot]:
    """`read_snapshot` of a file that is there, in this process, which a damaged file may crash."""
    try:
        with _opened(path) as file:
            found = (
                _read_by_pynbody(path) if file is None else _read_ours(file) if _OURS in file else _read_others(file)
            )
    except NotOpenedError as error:
        raise UsageError(f"'{path}' cannot be opened as HDF5{error}") from None
    except KeyError as error:
        reason = str(error).strip("\"'")
    except MemoryError:
        reason = "there is not enough memory for it"
    except Exception as error:  # the libraries raise errors of every kind on damaged files
        reason = str(getattr(error, "strerror", None) or error) or type(error).__name__
    else:
        yield found
        return
    raise UsageError(f"'{path}' cannot be read as a snapshot: {printable(reason).rstrip('.')}.")


class NotOpenedError(Exception):
    """A file is no HDF5 that can be opened, and why; the rest of a sentence."""


def _opened(path: Path) -> Any:
    """An open HDF5 file, or one in memory as GADGET would have written it; None for what only pynbody may read."""
    import h5py

    check_regular(path)
    if is_gadget_binary(path):
        return as_hdf5(path)
    if not h5py.is_hdf5(path):
        return nullcontext()
    try:
        return open_hdf5(path)
    except Exception as error:
        raise NotOpenedError(f": {printable(str(error)).rstrip('.')}.") from None


def snapshot_kind(path: str | Path) -> str:
    """What kind of snapshot a file is, from its first bytes and its groups; empty if it is none.

    `ours` was written by emeraldcut, `others` by another program, and `broken` has the name or the first bytes of HDF5
    but cannot be opened. Formats that only pynbody reads are not recognised.
    """
    path = Path(path)
    try:
        check_regular(path)
        kind = first_apart("emeraldcut.nbody.snapshot_files:kind_here", path)
    except OSError:
        kind = "broken" if path.suffix.lower() in HDF5_ENDINGS else ""
    except Crashed:
        kind = "broken"
    return str(kind)


def kind_here(path: Path) -> Iterator[str]:
    """`snapshot_kind` of a regular file, in this process, which a damaged file may crash."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if _OURS in file:
                yield "ours"
            else:
                yield "others" if "Header" in file and any(name.startswith("PartType") for name in file) else ""
    except Exception:  # the library raises errors of every kind on damaged files
        if path.suffix.lower() in HDF5_ENDINGS or h5py.is_hdf5(path):
            yield "broken"
        else:
            yield "others" if is_gadget_binary(path) else ""


def _read_ours(file: Any) -> Snapshot:
    groups = [file[f"PartType{part}"] for part in _PARTS if f"PartType{part}" in file]
    n = sum(len(group["ParticleIDs"]) for group in groups)
    arrays: dict[str, Any] = {
        name: np.empty((n, 3) if name in ("position", "velocity") else n, kind)
        for name, kind in _TYPES.items()
        if name != "internal_energy"
    }
    names = ("Coordinates", "Velocities", "Masses", "Component", "Galaxy", "FormedGyr")
    internal_energy, there = np.full(n, np.nan, np.float32), np.zeros(n, bool)
    for group in groups:
        places = values_of(group["ParticleIDs"]).astype(np.int64) - 1
        if places.size and not 0 <= places.min() <= places.max() < n:
            raise ValueError("its ParticleIDs do not count its particles")
        there[places] = True
        if "InternalEnergy" in group:
            internal_energy[places] = values_of(group["InternalEnergy"])
        for name, array in zip(names, arrays.values(), strict=True):
            values = values_of(group[name])
            array[places] = values * UNIT_MASS_MSUN if name == "Masses" else values
    if not there.all():
        raise ValueError("its ParticleIDs do not count its particles")
    ours = file[_OURS]
    found = Snapshot(
        **arrays,
        internal_energy=internal_energy,
        time_gyr=float(ours.attrs["time_gyr"]),
        about=json.loads(ours["about"][()]),
    )
    if ours.attrs.get("sha256", hash_of := _hash_of(found, ours["about"][()])) != hash_of:
        raise ValueError("what it holds is not what was written")
    return found


def _hash_of(snapshot: Snapshot, about: bytes) -> str:
    """By which it is seen that nothing was changed, also where damage leads HDF5 past the checksums of its chunks."""
    digest = sha256(f"{float(snapshot.time_gyr)!r} ".encode() + about)
    energy = np.where(np.asarray(snapshot.component) == COMPONENTS.index("gas"), snapshot.internal_energy, np.nan)
    kept = {"internal_energy": energy if np.isfinite(energy).any() else np.full(len(energy), np.nan)}
    for name, kind in _TYPES.items():
        digest.update(np.asarray(kept.get(name, getattr(snapshot, name)), kind).tobytes())
    return digest.hexdigest()


def _read_others(file: Any) -> Snapshot:
    if "Header" not in file or not any(name.startswith("PartType") for name in file):
        raise ValueError("it has no groups Header and PartType0 to PartType5, as Gadget-style files have")
    facts = _Facts(file)
    if facts.code == _OURS:
        raise ValueError(f"it was written by {_OURS}, and the group in which it says more is damaged")
    _check_pieces(file, facts)
    names = _COSMOLOGICAL if facts.cosmological or facts.code == "SWIFT" else _OTHERS
    parts, left_out, incomplete = [], {}, None
    for number in range(8):
        group = file.get(f"PartType{number}")
        if group is None or not _length(group):
            continue
        if number not in names:
            left_out[f"PartType{number}"] = _length(group)
            continue
        try:
            parts.append(_read_part(group, number, names[number], facts))
        except ValueError as error:
            if COMPONENTS.index(names[number]) in STARS:
                raise
            incomplete = incomplete or error  # images are of stars; the rest of a cut-out may lack what it likes
            left_out[f"PartType{number}"] = _length(group)
    if not parts:
        raise incomplete or ValueError("it holds no particles of PartType0 to PartType4")
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    part_type = arrays.pop("number")
    if names is _OTHERS and "PartType2" in file:  # where the old stars are discs and bulges, the others are new
        arrays["component"][part_type == 4] = COMPONENTS.index("new_stars")
    about = facts.about() | _place(arrays, facts.box_kpc, facts.cosmological, facts.periodic)
    if not np.isfinite(arrays["velocity"]).any():
        about["velocities"] = "not in the file"
    return Snapshot(**_single(arrays), time_gyr=facts.time_gyr, about=about | {"left_out": left_out})


def _check_pieces(file: Any, facts: _Facts) -> None:
    """ValueError if the file is one of several pieces; not if it is a cut-out under the header of a piece."""
    here, total = (np.ravel(facts.given.get(f"NumPart_{name}", 0)) for name in ("ThisFile", "Total"))
    if not (facts.number("NumFilesPerSnapshot", default=1) > 1 and here.sum() < total.sum()):
        return
    held = {k: _length(file[f"PartType{k}"]) for k in range(len(here)) if f"PartType{k}" in file}
    if all(here[k] == n for k, n in held.items()):
        raise ValueError(
            f"it is one of {facts.number('NumFilesPerSnapshot'):g} pieces, with {here.sum()} of {total.sum()} "
            "particles; join the pieces to one file first"
        )


def _place(
    arrays: dict[str, np.ndarray], box_kpc: np.ndarray, cosmological: bool, periodic: bool | None
) -> dict[str, Any]:
    """Unwraps `position` and moves its origin, where that is needed, in place; returns what `about` says of it."""
    stars = np.isin(arrays["component"], STARS)
    chosen = stars if stars.any() else np.ones(len(stars), bool)
    axes = ""
    if periodic is not False:
        smallest = 0.5 if cosmological or periodic else _SPREAD_ISOLATED
        arrays["position"], axes = unwrap(arrays["position"], box_kpc, chosen, smallest)
    about: dict[str, Any] = {"unwrapped": axes}
    if cosmological and np.nanmax(np.abs(arrays["position"]), initial=0.0) > _SINGLE_KPC:
        origin = densest(arrays["position"][chosen & np.isfinite(arrays["position"]).all(axis=1)], np.zeros(3))
        arrays["position"] = arrays["position"] - origin
        about["origin_kpc"] = origin.tolist()
    return about


def _single(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays in the types that `Snapshot` documents."""
    return {name: a.astype(np.float32) if a.dtype.kind == "f" else a for name, a in arrays.items()}


def _length(group: Any) -> int:
    """Number of particles of a group PartTypeN."""
    return max((len(values) for values in group.values() if getattr(values, "shape", ())), default=0)


def _read_part(group: Any, number: int, component: str, facts: _Facts) -> dict[str, np.ndarray]:
    """Arrays of `Snapshot` for the particles of one group of somebody else's file, and `number` for each."""
    n = _length(group)
    arrays = {
        "position": _physical(group, ("Coordinates", "Position"), facts.length_kpc, facts),
        "component": np.full(n, COMPONENTS.index(component), np.int8),
        "galaxy": np.zeros(n, np.int8),
        "formed_gyr": np.full(n, np.nan, np.float32),
        "number": np.full(n, number, np.int8),
    }
    if "Velocities" in group or "Velocity" in group:
        arrays["velocity"] = _physical(group, ("Velocities", "Velocity"), facts.velocity_km_s, facts)
    else:  # which images do not need
        arrays["velocity"] = np.full((n, 3), np.nan)
    same_mass = np.ravel(facts.given.get("MassTable", 0.0))
    if "Masses" in group or "Mass" in group:
        mass = _physical(group, ("Masses", "Mass"), facts.mass_msun, facts)
    elif number < len(same_mass) and same_mass[number] > 0:
        mass = np.full(n, same_mass[number] * facts.mass_msun / facts.h)
    else:
        raise ValueError(f"{group.name[1:]} has neither Masses nor an entry in MassTable")
    arrays["mass"] = mass
    born = next((name for name in _BIRTH if name in group), None)
    if number == 4 and born is not None:
        formed_gyr, wind = facts.formation_times(born, values_of(group[born]).astype(np.float64))
        arrays["formed_gyr"][:] = formed_gyr
        arrays["component"][np.isfinite(formed_gyr)] = COMPONENTS.index("new_stars")
        arrays["component"][wind] = COMPONENTS.index("gas")
    elif number == 4 and facts.has_wind:
        facts.guessed.append("wind particles are taken for stars, since GFM_StellarFormationTime is not there")
    return arrays


_BIRTH = ("GFM_StellarFormationTime", "StellarFormationTime", "BirthScaleFactors", "BirthTimes")


def _physical(group: Any, names: tuple[str, str], unit: float, facts: _Facts) -> np.ndarray:
    """A dataset as float64 in our units, without comoving coordinates and powers of h."""
    name = next((name for name in names if name in group), None)
    if name is None:
        raise ValueError(f"{group.name[1:]} has no {names[0]}")
    given = dict(group[name].attrs)
    power_of_a, power_of_h = _powers(given, facts.factors[names[0]])
    if np.ravel(given.get("Value stored as physical", 0))[0]:  # by SWIFT, where a power is that for the comoving value
        power_of_a = 0.0
    return values_of(group[name]).astype(np.float64) * unit * facts.scale_factor**power_of_a * facts.h**power_of_h


def _powers(given: Mapping[str, Any], otherwise: tuple[float, float]) -> tuple[float, float]:
    """Powers of the scale factor and of h from the attributes of a dataset, or if they have none, `otherwise`."""
    for a_name, h_name in _EXPONENTS:
        if a_name in given:
            return tuple(float(np.ravel(given.get(key, 0.0))[0]) for key in (a_name, h_name))  # type: ignore[return-value]
    return otherwise


# Attributes that give a dataset's unit in cgs, and the powers of the scale factor and of h: EAGLE, GADGET-4 and AREPO,
# SWIFT. Where a unit has no dimension, or was not filled in, it is 0 or 1.
_CGS = ("CGSConversionFactor", "to_cgs", "Conversion factor to CGS (not including cosmological corrections)")
_EXPONENTS = (
    ("a_scaling", "h_scaling"),
    ("aexp-scale-exponent", "h-scale-exponent"),
    ("a-scale exponent", "h-scale exponent"),
)


class _Facts:
    """What somebody else's file says of units and cosmology, in Header, Units, Parameters and Cosmology.

    Attributes
    ----------
    given : mapping
        Attributes of these groups, those of Header before others.
    cosmological : bool
    scale_factor, h : float
        1 in an isolated run, and where lengths and masses have no h.
    length_kpc, mass_msun, velocity_km_s, unit_of_time_gyr : float
        Units, without their powers of a and h, but time with that of h.
    box_kpc : (3,)
        Physical sides of the box; 0 where there is none.
    periodic : bool or None
        Whether the box is periodic; None if that is not known.
    has_wind : bool
        Particles of PartType4 may be wind: AREPO with the physics of Illustris.
    guessed : list of str
        What the file does not say.
    """

    length_kpc: float
    velocity_km_s: float

    def __init__(self, file: Any) -> None:
        self.given: dict[str, Any] = {}
        for name in ("Config", "RuntimePars", "Parameters", "Cosmology", "Units", "Header"):
            if name in file:
                self.given |= dict(file[name].attrs)
        self.guessed: list[str] = []
        code = np.ravel(self.given.get("Code", [""]))[0]
        self.code = code.decode() if isinstance(code, bytes) else str(code)
        self.factors = _FACTORS_SWIFT if self.code == "SWIFT" else _FACTORS
        self.has_wind = "Composition_vector_length" in self.given or any(
            name.startswith("GFM_") for name in file.get("PartType4", ())
        )
        self.hubble = self._hubble()  # of the cosmology
        self._find_units(file)
        self.cosmological, self.scale_factor = self._epoch(file)
        self._find_h()
        box = np.ravel(self.given.get("BoxSize", 0.0)).astype(float)
        self.box_kpc = np.broadcast_to(box, 3) * self.length_kpc
        if self._units_guessed and self.cosmological and 0 < box.max() < _LARGEST_BOX_MPC:
            self.length_kpc, self.box_kpc = 1e3, self.box_kpc * 1e3
            self.guessed[0] = self.guessed[0].replace("kpc", "Mpc", 1)
        power_of_a, power_of_h = self._powers_of_lengths(file)
        self.box_kpc = self.box_kpc * self.scale_factor**power_of_a * self.h**power_of_h
        self.periodic = self._periodic()
        time = self.number("Time", default=0.0)
        self.unit_of_time_gyr = self.length_kpc / self.velocity_km_s / KPC_PER_KM_S_GYR / self.h
        self.time_gyr = self._age_gyr(self.scale_factor) if self.cosmological else time * self.unit_of_time_gyr

    def number(self, *names: str, default: float = np.nan) -> float:
        """The first of these attributes that is there."""
        return next((float(np.ravel(self.given[name])[0]) for name in names if name in self.given), default)

    def about(self) -> dict[str, Any]:
        """What `about` says of all this."""
        units = self.guessed[0] if self._units_guessed else "as the file says"
        about = {"code": self.code, "units": units, "cosmological": self.cosmological}
        if self.cosmological:
            about["redshift"] = 1 / self.scale_factor - 1
        return about | {"hubble_param": self.h, "guessed": "; ".join(dict.fromkeys(self.guessed))}

    def _hubble(self) -> float:
        """The Hubble constant over 100 km/s/Mpc; NaN if it is not there."""
        hubble = self.number("h") if self.code == "SWIFT" else self.number("HubbleParam")
        if hubble > 10:  # given in km/s/Mpc
            hubble /= 100
        return hubble if hubble > 0 else np.nan

    def _find_units(self, file: Any) -> None:
        cm = self.number("UnitLength_in_cm", "UnitLength_In_CGS", "Unit length in cgs (U_L)")
        gram = self.number("UnitMass_in_g", "UnitMass_In_CGS", "Unit mass in cgs (U_M)")
        second = self.number("Unit time in cgs (U_t)", "UnitTime_in_s")
        cm_s = self.number("UnitVelocity_in_cm_per_s", "UnitVelocity_In_CGS", default=cm / second)
        # GIZMO's UnitLength_In_CGS has h in it already: then its product with h is a round number of kpc.
        self._h_in_units = not _is_round(cm / CM_PER_KPC) and _is_round(cm * self.hubble / CM_PER_KPC)
        cm = cm if cm > 0 else _cgs_of(file, "Coordinates")
        gram = gram if gram > 0 else _cgs_of(file, "Masses", "Mass")
        cm_s = cm_s if cm_s > 0 else _cgs_of(file, "Velocities", "Velocity")
        self._units_guessed = not (cm > 0 and gram > 0)
        if self._units_guessed:
            cm, gram, cm_s = CM_PER_KPC, UNIT_MASS_MSUN * G_PER_MSUN, CM_S_PER_KM_S
            self.guessed.append("taken to be kpc, km/s and 1e10 Msun, since the file does not say")
        elif not cm_s > 0:
            cm_s = CM_S_PER_KM_S
            self.guessed.append("velocities are taken to be in km/s")
        self.length_kpc, self.mass_msun, self.velocity_km_s = (
            cm / CM_PER_KPC,
            gram / G_PER_MSUN,
            cm_s / CM_S_PER_KM_S,
        )

    def _epoch(self, file: Any) -> tuple[bool, float]:
        """Whether the run is cosmological, and its scale factor (1 if not). See `read_snapshot`."""
        redshift, time = self.number("Redshift"), self.number("Time", default=0.0)
        stated = self.number("ComovingIntegrationOn", "Cosmological run")
        expansion = self.number("Scale-factor", "ExpansionFactor")
        of_redshift = 1 / (1 + redshift) if redshift > -1 else np.nan
        scale_factor = next((a for a in (expansion, of_redshift, time) if a > 0), np.nan)
        if stated == 0 or (np.isnan(stated) and self.code == "SWIFT"):
            return False, 1.0
        if stated > 0:
            if np.isnan(scale_factor):
                raise ValueError("it is cosmological but has no Redshift, ExpansionFactor or Time")
            return True, scale_factor
        if np.isfinite(expansion) and np.isfinite(of_redshift) and abs(expansion / of_redshift - 1) > 1e-2:
            scale_factor = of_redshift  # in an isolated run an ExpansionFactor may be a time
        if np.isfinite(redshift) and abs(redshift) > 1e-6:
            return True, scale_factor
        now = abs(time - 1) < 1e-3 or expansion > 0 if np.isfinite(redshift) else 0 < scale_factor <= 1
        cosmological = bool(now and self._has_cosmological_box(file))
        return cosmological, scale_factor if cosmological else 1.0

    def _has_cosmological_box(self, file: Any) -> bool:
        """Whether an undecided file (Time and scale factor may both be 1) is of a cosmological run.

        Isolated runs have HubbleParam = 1 and often no box and no cosmology; if they kept one, a box that is too small
        tells, or one that does not hold their disc or bulge in PartType2 or 3.
        """
        box = np.ravel(self.given.get("BoxSize", 0.0)).astype(float)
        if not (self.number("Omega0", "Omega_Matter", default=0.0) > 0 and 0 < self.hubble < 1 and box.min() > 0):
            return False
        discs = [file[name] for name in ("PartType2", "PartType3") if name in file and _length(file[name])]
        outside = any(np.mean(values_of(group["Coordinates"]) < 0) > 0.01 for group in discs if "Coordinates" in group)
        too_small = box.min() * self.length_kpc < _SMALLEST_BOX_KPC
        return not (outside or (too_small and (discs or not self._units_guessed)))

    def _powers_of_lengths(self, file: Any) -> tuple[float, float]:
        """Powers of the scale factor and of h of the box: those of coordinates."""
        parts = (file.get(f"PartType{k}/Coordinates") for k in range(8))
        given = next((dict(values.attrs) for values in parts if values is not None), {})
        return _powers(given, self.factors["Coordinates"])

    def _find_h(self) -> None:
        """By what lengths and masses are to be divided."""
        from astropy.cosmology import Planck18

        self.h = 1.0 if self.code == "SWIFT" or self._h_in_units or np.isnan(self.hubble) else self.hubble
        if self.cosmological and np.isnan(self.hubble):
            self.hubble = Planck18.h
            self.h = 1.0 if self.code == "SWIFT" else self.hubble
            self.guessed.append(f"h is taken to be {self.hubble:g} (Planck 2018), since the file has no HubbleParam")
        elif not self.cosmological and self.h != 1:
            self.guessed.append(
                f"the run is isolated, and its lengths and masses are taken to be over HubbleParam = {self.h:g}, as "
                "GADGET defines its units"
            )

    def _periodic(self) -> bool | None:
        """Whether the box is periodic, as far as the file says."""
        if "GRAVITY_NOT_PERIODIC" in self.given:  # an option of AREPO, in Config
            return False
        if "InitialConditions:periodic" in self.given:  # a parameter of SWIFT
            return bool(self.number("InitialConditions:periodic"))
        return True if "PERIODIC" in self.given else None

    @cached_property
    def _ages(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale factors and ages of the universe in Gyr, in the cosmology of the file."""
        from astropy.cosmology import LambdaCDM, Planck18

        matter = self.number("Omega0", "Omega_m", "Omega_Matter")
        dark_energy = self.number("OmegaLambda", "Omega_lambda", "Omega_Lambda", default=1 - matter)
        universe = Planck18
        if matter > 0:
            universe = LambdaCDM(100 * self.hubble, matter, dark_energy, Tcmb0=0)
        else:
            self.guessed.append("ages are those of Planck 2018, since the file has no Omega0")
        grid = np.geomspace(1e-3, 2, 2000)
        return grid, universe.age(1 / grid - 1).to_value("Gyr")

    def _age_gyr(self, scale_factor: Any) -> Any:
        """Age of the universe in Gyr."""
        return np.interp(scale_factor, *self._ages)

    def formation_times(self, name: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Times in Gyr at which stars formed, NaN where they were there from the beginning, and which are wind."""
        wind = (values <= 0) & (name == "GFM_StellarFormationTime")
        known = values > 0 if self.cosmological or self.code == "SWIFT" else np.isfinite(values)
        if self.cosmological and np.any(values[known] > 1.01 * self.scale_factor):
            self.guessed.append(f"ages of stars are not known, since {name} holds no scale factors")
            return np.full(len(values), np.nan), wind
        in_gyr = self._age_gyr(values) if self.cosmological else values * self.unit_of_time_gyr
        return np.where(known & ~wind, in_gyr, np.nan), wind


def _is_round(number: float) -> bool:
    """Whether a positive number is a power of ten, to a thousandth."""
    return bool(number > 0 and abs(np.log10(number) - round(np.log10(number))) < 5e-4)


def _cgs_of(file: Any, *names: str) -> float:
    """The unit in cgs that a dataset of some PartType states, NaN if none does."""
    for part, name, attribute in product(range(8), names, _CGS):
        dataset = file.get(f"PartType{part}/{name}")
        if dataset is not None and attribute in dataset.attrs:
            unit = float(np.ravel(dataset.attrs[attribute])[0])
            if unit > 0 and unit != 1:
                return unit
    return np.nan


def _read_by_pynbody(path: Path) -> Snapshot:
    """A snapshot that is no HDF5 file; see `read_snapshot`."""
    try:
        import pynbody
    except ImportError:
        raise NotOpenedError(
            "; a snapshot must be a Gadget-style HDF5 file, or one that pynbody reads: "
            "pip install 'emeraldcut[snapshots]'."
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _from_pynbody(pynbody.load(str(path)))
    except Exception as error:  # whatever its many readers meet in a file that is none of theirs
        raise NotOpenedError(f", nor read by pynbody: {printable(str(error)).rstrip('.')}.") from None


def _from_pynbody(seen: Any) -> Snapshot:
    """The particles of a snapshot of pynbody's; ValueError if there are none."""
    seen.physical_units()  # kpc, km/s, Msun
    families = {str(family): seen[family] for family in seen.families()}
    known = {name: families.pop(name) for name in ("gas", "dm", "star") if name in families}
    if not known:
        raise ValueError("it holds no gas, dark matter or stars")
    arrays = {
        name: np.concatenate([np.asarray(part[key], np.float64) for part in known.values()])
        for name, key in {"position": "pos", "velocity": "vel", "mass": "mass"}.items()
    }
    ours = {"gas": "gas", "dm": "halo", "star": "disc"}
    kinds = [np.full(len(part), COMPONENTS.index(ours[name]), np.int8) for name, part in known.items()]
    formed = [np.full(len(part), np.nan, np.float32) for part in known.values()]
    if "star" in known and "tform" in known["star"].loadable_keys():
        time_gyr = known["star"]["tform"].in_units("Gyr")
        formed[-1][time_gyr > 0] = time_gyr[time_gyr > 0]
        kinds[-1][time_gyr > 0] = COMPONENTS.index("new_stars")
    time = seen.properties.get("time")
    about = {"code": type(seen).__name__.removesuffix("Snap"), "units": "as pynbody reads them"}
    arrays |= {"component": np.concatenate(kinds), "formed_gyr": np.concatenate(formed)}
    arrays["galaxy"] = np.zeros(len(arrays["mass"]), np.int8)
    box, redshift = seen.properties.get("boxsize"), float(seen.properties.get("z") or 0.0)
    box_kpc = 0.0 if box is None else float(box.in_units("kpc", **seen.conversion_context()))
    about |= _place(arrays, np.full(3, box_kpc), redshift > 1e-6, None)
    return Snapshot(
        **_single(arrays),
        time_gyr=0.0 if time is None else float(time.in_units("Gyr")),
        about=about | {"left_out": {name: len(part) for name, part in families.items()}},
    )
