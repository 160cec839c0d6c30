"""Files of snapshots: ours, GADGET, SWIFT, AREPO, and what pynbody reads."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.nbody.snapshot import (
    CM_PER_KPC,
    CM_S_PER_KM_S,
    COMPONENTS,
    G_PER_MSUN,
    KPC_PER_KM_S_GYR,
    UNIT_MASS_MSUN,
    UNITS,
    Snapshot,
)
from emeraldcut.runs.writing import new_hdf5

_OURS = "emeraldcut"  # group that only our own files have
_PARTS = {0: ("gas",), 1: ("halo",), 4: ("disc", "bulge", "new_stars")}  # which components each PartType holds
_OTHERS = {0: "gas", 1: "halo", 2: "disc", 3: "bulge", 4: "disc"}  # PartTypes of isolated galaxies elsewhere
_COSMOLOGICAL = {0: "gas", 1: "halo", 2: "halo", 4: "disc"}  # and of boxes, where 2 is coarse dark matter
_FACTORS = {"Coordinates": (1, -1), "Velocities": (0.5, 0), "Masses": (0, -1)}  # powers of a and h in GADGET


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
        dataset = group.create_dataset(name, data=values)
        dataset.attrs.update({"VarDescription": units, "CGSConversionFactor": cgs})
        dataset.attrs.update({"aexp-scale-exponent": 0.0, "h-scale-exponent": 0.0})


def read_snapshot(path: str | Path) -> Snapshot:
    """Reads particles from HDF5: our own files, and those of GADGET, AREPO (IllustrisTNG), GIZMO and SWIFT.

    Where pynbody is installed, the extra [snapshots], also from the other formats that it reads, such as GADGET's
    binary one and Tipsy.

    Of others' files, PartType0 is gas, 1 halo and 4 stars (`new_stars` where their formation time is known); 2 and 3
    are disc and bulge in an isolated run; in a cosmological one (and with SWIFT) 2 is coarse dark matter, that is
    halo, and 3 is left out. What is left out, such as black holes, is counted in `about["left_out"]`. Masses may
    stand in MassTable. Units are taken from the groups Units, Header or Parameters, and are kpc, km/s and 1e10 Msun
    where none are given (`about["units"]` says so). Powers of the scale factor and of h come from the attributes of
    each dataset, or are those of GADGET. A run is cosmological if the file says so, or if Time is 1 / (1 + Redshift)
    and Omega0 is given. Wind particles of IllustrisTNG count as gas. All particles get `galaxy` 0.

    Of what pynbody reads, gas is gas, dark matter halo, and stars are disc, or `new_stars` where they formed after the
    beginning; GADGET's types 2, 3 and 4 are as above. Units are those that pynbody knows or assumes; for GADGET's
    binary files, which state none, pynbody's configuration counts, but with kpc where that says Mpc, its default.

    Raises
    ------
    FileNotFoundError
    ValueError
        With one sentence, for a file that cannot be read, lacks what is needed, or is one of several pieces.
    """
    import h5py

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no snapshot '{path}'.")
    try:
        file = h5py.File(path, "r")
    except OSError:
        return _read_by_pynbody(path)
    with file:
        try:
            return _read_ours(file) if _OURS in file else _read_others(file)
        except KeyError as error:
            reason = str(error).strip("\"'")
        except (ValueError, TypeError, OSError) as error:
            reason = str(error)
    raise UsageError(f"'{path}' cannot be read as a snapshot: {reason.rstrip('.')}.")


def _read_ours(file: Any) -> Snapshot:
    groups = [file[f"PartType{part}"] for part in _PARTS if f"PartType{part}" in file]
    n = sum(len(group["ParticleIDs"]) for group in groups)
    arrays: dict[str, Any] = {
        "position": np.empty((n, 3), np.float32),
        "velocity": np.empty((n, 3), np.float32),
        "mass": np.empty(n, np.float32),
        "component": np.empty(n, np.int8),
        "galaxy": np.empty(n, np.int8),
        "formed_gyr": np.empty(n, np.float32),
    }
    names = ("Coordinates", "Velocities", "Masses", "Component", "Galaxy", "FormedGyr")
    internal_energy = np.full(n, np.nan, np.float32)
    for group in groups:
        places = group["ParticleIDs"][:].astype(np.int64) - 1
        if "InternalEnergy" in group:
            internal_energy[places] = group["InternalEnergy"][:]
        for name, array in zip(names, arrays.values(), strict=True):
            values = group[name][:]
            array[places] = values * UNIT_MASS_MSUN if name == "Masses" else values
    ours = file[_OURS]
    return Snapshot(
        **arrays,
        internal_energy=internal_energy,
        time_gyr=float(ours.attrs["time_gyr"]),
        about=json.loads(ours["about"][()]),
    )


def _read_others(file: Any) -> Snapshot:
    if "Header" not in file or not any(name.startswith("PartType") for name in file):
        raise ValueError("it has no groups Header and PartType0 to PartType5, as Gadget-style files have")
    facts = _Facts(file)
    here, total = (np.ravel(facts.given.get(f"NumPart_{name}", 0)) for name in ("ThisFile", "Total"))
    if facts.number("NumFilesPerSnapshot", default=1) > 1 and here.sum() < total.sum():
        raise ValueError(
            f"it is one of {facts.number('NumFilesPerSnapshot'):g} pieces, with {here.sum()} of {total.sum()} "
            "particles; join the pieces to one file first"
        )
    names = _COSMOLOGICAL if facts.cosmological or facts.code == "SWIFT" else _OTHERS
    parts: list[dict[str, np.ndarray]] = []
    left_out = {}
    for number in range(8):
        group = file.get(f"PartType{number}")
        if group is None or not _length(group):
            continue
        if number in names:
            parts.append(_read_part(group, number, names[number], facts))
        else:
            left_out[f"PartType{number}"] = _length(group)
    if not parts:
        raise ValueError("it holds no particles of PartType0 to PartType4")
    arrays: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if names is _OTHERS and "PartType2" in file:  # where the old stars are discs and bulges, the others are new
        arrays["component"][arrays.pop("number") == 4] = COMPONENTS.index("new_stars")
    arrays.pop("number", None)
    about: dict[str, Any] = {"code": facts.code, "units": facts.origin_of_units, "left_out": left_out}
    if facts.cosmological:
        about["redshift"] = 1 / facts.scale_factor - 1
    return Snapshot(**arrays, time_gyr=facts.time_gyr, about=about)


def _length(group: Any) -> int:
    """Number of particles of a group PartTypeN."""
    return max((len(values) for values in group.values() if getattr(values, "shape", ())), default=0)


def _read_part(group: Any, number: int, component: str, facts: _Facts) -> dict[str, np.ndarray]:
    """Arrays of `Snapshot` for the particles of one group of somebody else's file, and `number` for each."""
    n = _length(group)
    arrays: dict[str, np.ndarray] = {
        "position": _physical(group, ("Coordinates", "Position"), facts.length_kpc, facts).astype(np.float32),
        "velocity": _physical(group, ("Velocities", "Velocity"), facts.velocity_km_s, facts).astype(np.float32),
        "component": np.full(n, COMPONENTS.index(component), np.int8),
        "galaxy": np.zeros(n, np.int8),
        "formed_gyr": np.full(n, np.nan, np.float32),
        "number": np.full(n, number, np.int8),
    }
    same_mass = np.ravel(facts.given.get("MassTable", 0.0))
    if "Masses" in group or "Mass" in group:
        mass = _physical(group, ("Masses", "Mass"), facts.mass_msun, facts)
    elif number < len(same_mass) and same_mass[number] > 0:
        mass = np.full(n, same_mass[number] * facts.mass_msun / facts.h)
    else:
        raise ValueError(f"{group.name[1:]} has neither Masses nor an entry in MassTable")
    arrays["mass"] = mass.astype(np.float32)
    born = next((name for name in _BIRTH if name in group), None)
    if number == 4 and born is not None:
        formed_gyr, wind = facts.formation_times(born, group[born][:].astype(np.float64))
        arrays["formed_gyr"][:] = formed_gyr
        arrays["component"][np.isfinite(formed_gyr)] = COMPONENTS.index("new_stars")
        arrays["component"][wind] = COMPONENTS.index("gas")
    return arrays


_BIRTH = ("GFM_StellarFormationTime", "StellarFormationTime", "BirthScaleFactors", "BirthTimes")


def _physical(group: Any, names: tuple[str, str], unit: float, facts: _Facts) -> np.ndarray:
    """A dataset as float64 in our units, without comoving coordinates and powers of h."""
    name = next((name for name in names if name in group), None)
    if name is None:
        raise ValueError(f"{group.name[1:]} has no {names[0]}")
    given = dict(group[name].attrs)
    power_of_a: float
    power_of_h: float
    power_of_a, power_of_h = _FACTORS[names[0]]
    for a_name, h_name in _EXPONENTS:
        if a_name in given:
            power_of_a, power_of_h = (float(np.ravel(given.get(key, 0.0))[0]) for key in (a_name, h_name))
    return group[name][:].astype(np.float64) * unit * facts.scale_factor**power_of_a * facts.h**power_of_h


# Attributes that give the powers of the scale factor and of h: GADGET-4 and AREPO, EAGLE, SWIFT.
_EXPONENTS = (
    ("a_scaling", "h_scaling"),
    ("aexp-scale-exponent", "h-scale-exponent"),
    ("a-scale exponent", "h-scale exponent"),
)


class _Facts:
    """What somebody else's file says of units and cosmology, in Header, Units, Parameters and Cosmology."""

    def __init__(self, file: Any) -> None:
        self.given: dict[str, Any] = {}
        for name in ("Parameters", "Cosmology", "Units", "Header"):
            if name in file:
                self.given |= dict(file[name].attrs)
        code = np.ravel(self.given.get("Code", [""]))[0]
        self.code = code.decode() if isinstance(code, bytes) else str(code)
        self.h = (self.number("HubbleParam", default=1.0) if self.code != "SWIFT" else 1.0) or 1.0
        self._find_units()
        redshift, time = self.number("Redshift", default=0.0), self.number("Time", default=0.0)
        self.cosmological = bool(
            self.number(
                "ComovingIntegrationOn",
                "Cosmological run",
                default=abs(time * (1 + redshift) - 1) < 1e-3 and self.number("Omega0", default=0.0) > 0,
            )
        )
        self.scale_factor = self.number("Scale-factor", default=1 / (1 + redshift)) if self.cosmological else 1.0
        self.time_gyr = self._age_gyr(self.scale_factor) if self.cosmological else time * self.unit_of_time_gyr

    def number(self, *names: str, default: float = np.nan) -> float:
        """The first of these attributes that is there."""
        return next((float(np.ravel(self.given[name])[0]) for name in names if name in self.given), default)

    def _find_units(self) -> None:
        cm = self.number("UnitLength_in_cm", "UnitLength_In_CGS", "Unit length in cgs (U_L)")
        gram = self.number("UnitMass_in_g", "UnitMass_In_CGS", "Unit mass in cgs (U_M)")
        second = self.number("Unit time in cgs (U_t)", "UnitTime_in_s")
        cm_s = self.number("UnitVelocity_in_cm_per_s", "UnitVelocity_In_CGS", default=cm / second)
        self.origin_of_units = "as the file says"
        if not np.isfinite([cm, gram, cm_s]).all():
            cm, gram, cm_s = CM_PER_KPC, UNIT_MASS_MSUN * G_PER_MSUN, CM_S_PER_KM_S
            self.origin_of_units = "taken to be kpc, km/s and 1e10 Msun, since the file does not say"
        self.length_kpc, self.mass_msun, self.velocity_km_s = (
            cm / CM_PER_KPC,
            gram / G_PER_MSUN,
            cm_s / CM_S_PER_KM_S,
        )
        self.unit_of_time_gyr = self.length_kpc / self.velocity_km_s / KPC_PER_KM_S_GYR / self.h

    def _age_gyr(self, scale_factor: Any) -> Any:
        """Age of the universe in Gyr."""
        from astropy.cosmology import LambdaCDM

        matter, dark_energy = self.number("Omega0", "Omega_m"), self.number("OmegaLambda", "Omega_lambda")
        hubble = self.number("h") if self.code == "SWIFT" else self.h
        if not np.isfinite([matter, dark_energy, hubble]).all():
            raise ValueError("it is cosmological but has no Omega0, OmegaLambda and HubbleParam")
        universe, grid = LambdaCDM(100 * hubble, matter, dark_energy, Tcmb0=0), np.geomspace(1e-3, 2, 2000)
        return np.interp(scale_factor, grid, universe.age(1 / grid - 1).to_value("Gyr"))

    def formation_times(self, name: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Times in Gyr at which stars formed, NaN where they were there from the beginning, and which are wind."""
        wind = (values <= 0) & (name == "GFM_StellarFormationTime")
        known = values > 0 if self.cosmological or self.code == "SWIFT" else np.isfinite(values)
        in_gyr = self._age_gyr(values) if self.cosmological else values * self.unit_of_time_gyr
        return np.where(known & ~wind, in_gyr, np.nan), wind


def _read_by_pynbody(path: Path) -> Snapshot:
    """A snapshot that is no HDF5 file; see `read_snapshot`."""
    try:
        import pynbody
    except ImportError:
        raise UsageError(
            f"'{path}' cannot be opened as HDF5; a snapshot must be a Gadget-style HDF5 file, or one that pynbody "
            "reads: pip install 'emeraldcut[snapshots]'."
        ) from None
    if pynbody.config_parser.get("gadget-units", "pos") == "Mpc a h^-1":
        pynbody.config_parser.set("gadget-units", "pos", "kpc a h^-1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _from_pynbody(pynbody.load(str(path)))
    except Exception as error:  # whatever its many readers meet in a file that is none of theirs
        reason = str(error).rstrip(".")
        raise UsageError(f"'{path}' cannot be opened as HDF5, nor read by pynbody: {reason}.") from None


def _from_pynbody(seen: Any) -> Snapshot:
    """The particles of a snapshot of pynbody's; ValueError if there are none."""
    seen.physical_units()  # kpc, km/s, Msun
    families = {str(family): seen[family] for family in seen.families()}
    known = {name: families.pop(name) for name in ("gas", "dm", "star") if name in families}
    if not known:
        raise ValueError("it holds no gas, dark matter or stars")
    arrays: dict[str, Any] = {
        name: np.concatenate([np.asarray(part[key], np.float32) for part in known.values()])
        for name, key in {"position": "pos", "velocity": "vel", "mass": "mass"}.items()
    }
    ours = {"gas": "gas", "dm": "halo", "star": "disc"}
    kinds = [np.full(len(part), COMPONENTS.index(ours[name]), np.int8) for name, part in known.items()]
    formed = [np.full(len(part), np.nan, np.float32) for part in known.values()]
    if "star" in known:
        numbers = getattr(getattr(seen, "header", None), "npart", None)
        if numbers is not None:  # of GADGET, where stars are particles of types 2, 3 and 4, in this order
            names = "disc", "bulge", "new_stars" if numbers[2] else "disc"
            kinds[-1][:] = np.repeat([COMPONENTS.index(name) for name in names], np.asarray(numbers[2:5], int))
        if "tform" in known["star"].loadable_keys():
            time_gyr = known["star"]["tform"].in_units("Gyr")
            formed[-1][time_gyr > 0] = time_gyr[time_gyr > 0]
            kinds[-1][time_gyr > 0] = COMPONENTS.index("new_stars")
    time = seen.properties.get("time")
    about = {"code": type(seen).__name__.removesuffix("Snap"), "units": "as pynbody reads them"}
    return Snapshot(
        **arrays,
        component=np.concatenate(kinds),
        galaxy=np.zeros(len(arrays["mass"]), np.int8),
        formed_gyr=np.concatenate(formed),
        time_gyr=0.0 if time is None else float(time.in_units("Gyr")),
        about=about | {"left_out": {name: len(part) for name, part in families.items()}},
    )
