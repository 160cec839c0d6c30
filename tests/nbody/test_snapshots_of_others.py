"""One galaxy as each simulation writes it: the same kpc, km/s, Msun and ages come back, from anywhere in its box."""

import struct
import warnings
from dataclasses import dataclass, field

import h5py
import numpy as np
import pytest
from astropy.cosmology import LambdaCDM
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.camera import ObserveSettings
from emeraldcut.camera.remnant import measure_remnant
from emeraldcut.cli import main
from emeraldcut.images import read_images
from emeraldcut.mergers import find_snapshots
from emeraldcut.mergers.observing import observe_each
from emeraldcut.nbody import EvolveSettings, Snapshot, evolve, read_snapshot, write_snapshot
from emeraldcut.nbody.periodic import unwrap
from emeraldcut.nbody.snapshot import COMPONENTS, KPC_PER_KM_S_GYR
from emeraldcut.nbody.snapshot_files import snapshot_kind

N, H, MATTER = 400, 0.6774, 0.3089
KPC, MPC, KM, GRAM = 3.085678e21, 3.085678e24, 1e5, 1.989e43
UNIVERSE = LambdaCDM(100 * H, MATTER, 1 - MATTER, Tcmb0=0)
RNG = np.random.default_rng(7)
POSITION, VELOCITY = RNG.normal(size=(N, 3)) * [4.0, 2.0, 1.0], RNG.normal(0, 50, (N, 3))  # kpc, km/s
MASS = RNG.uniform(1e6, 2e6, N)  # Msun
STAR = COMPONENTS.index("new_stars")


@dataclass
class Code:
    """How a code writes: its units, powers of a and h of positions, velocities and masses, and names."""

    length_cm: float = KPC
    units: dict = field(default_factory=dict)  # attributes
    group: str = "Header"  # where these are
    powers: tuple = ((1, -1), (0.5, 0), (0, -1))
    attributes: tuple = ()  # names of those of datasets that give the powers
    names: tuple = ("Coordinates", "Velocities", "Masses", "StellarFormationTime")
    omegas: tuple = ("Omega0", "OmegaLambda", "HubbleParam")
    cosmology: str = "Header"
    box_mpc: float = 100.0  # over h, comoving
    header: dict = field(default_factory=dict)
    more: tuple = ({}, {}, {}, {})  # attributes of datasets that pynbody needs and we do not


UNITS = {"UnitLength_in_cm": KPC, "UnitMass_in_g": GRAM, "UnitVelocity_in_cm_per_s": KM}
CODES = {
    "TNG": Code(
        units=UNITS,
        attributes=("a_scaling", "h_scaling"),
        names=("Coordinates", "Velocities", "Masses", "GFM_StellarFormationTime"),
        header={"Composition_vector_length": 0},
    ),
    "Illustris": Code(names=("Coordinates", "Velocities", "Masses", "GFM_StellarFormationTime")),
    "EAGLE": Code(
        length_cm=MPC,
        units=UNITS | {"UnitLength_in_cm": MPC},
        group="Units",
        attributes=("aexp-scale-exponent", "h-scale-exponent"),
        names=("Coordinates", "Velocity", "Mass", "StellarFormationTime"),
        header={"ExpansionFactor": True, "Time": 0.005862},
        more=tuple(
            {"VarDescription": text, "CGSConversionFactor": cgs}
            for text, cgs in (
                ("Co-moving coordinates. Physical position: r = a x = Coordinates h^-1 a U_L [cm]", MPC),
                ("Co-moving velocities. Physical v_p = a dx/dt = Velocities a^1/2 U_V [cm/s]", KM),
                ("Particle mass. Physical m = Mass h^-1 U_M [g]", GRAM),
                ("Expansion factor a when star particle was born", 1.0),
            )
        ),
    ),
    "SIMBA": Code(),
    "FIRE": Code(box_mpc=60.0, header={"ComovingIntegrationOn": 1}),
    "GIZMO with h in its units": Code(
        units={"UnitLength_In_CGS": KPC / H, "UnitMass_In_CGS": GRAM / H, "UnitVelocity_In_CGS": KM},
        omegas=("Omega_Matter", "Omega_Lambda", "HubbleParam"),
        header={"ComovingIntegrationOn": 1},
    ),
    "GADGET-4": Code(
        units=UNITS | {"ComovingIntegrationOn": 1},
        group="Parameters",
        attributes=("a_scaling", "h_scaling"),
        cosmology="Parameters",
    ),
    "GADGET-4 without h": Code(
        units=UNITS, powers=((1, 0), (0.5, 0), (0, 0)), attributes=("a_scaling", "h_scaling"), box_mpc=100.0 / H
    ),
    "SWIFT": Code(
        length_cm=MPC,
        units={
            "Unit length in cgs (U_L)": [MPC], "Unit mass in cgs (U_M)": [GRAM], "Unit time in cgs (U_t)": [MPC / KM],
        },
        group="Units",
        powers=((1, 0), (0, 0), (0, 0)),
        attributes=("a-scale exponent", "h-scale exponent"),
        names=("Coordinates", "Velocities", "Masses", "BirthScaleFactors"),
        omegas=("Omega_m", "Omega_lambda", "h"),
        cosmology="Cosmology",
        box_mpc=100.0 / H,
        header={"Code": np.bytes_("SWIFT"), "Time": [0.01]},
        more=tuple(
            {f"U_{unit} exponent": [power] for unit, power in zip("LtMTI", (*powers, 0.0, 0.0), strict=True)}
            for powers in ((1.0, 0.0, 0.0), (1.0, -1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
        ),
    ),
}  # fmt: skip


def numbers(**counts):
    return np.array([counts.get(f"p{k}", 0) for k in range(6)], np.int32)


def write(path, code, a=1.0, centre=(0.5, 0.5, 0.5), without=(), box=None, header=()):
    """The galaxy in a box of `code` at scale factor `a`, its centre at fractions of the box; without some datasets."""
    length, mass, velocity = code.length_cm, GRAM, KM
    box_units = code.box_mpc * MPC / length
    raw = []
    physical = POSITION * KPC / length, VELOCITY * 1e5 / velocity, MASS * 1.989e33 / mass
    for values, (power_of_a, power_of_h) in zip(physical, code.powers, strict=True):
        raw.append(values / a**power_of_a / H**power_of_h)
    raw[0] = (raw[0] + np.array(centre) * box_units) % box_units
    raw.append(np.linspace(0.3, 1.0, N) * a)
    facts = {"BoxSize": box_units if box is None else box_units * np.ones(3), "Time": a, "Redshift": 1 / a - 1}
    facts |= {"MassTable": np.zeros(6), "NumFilesPerSnapshot": 1} | code.header
    if facts.get("ExpansionFactor"):
        facts["ExpansionFactor"] = a
    facts |= {"NumPart_ThisFile": numbers(p4=N), "NumPart_Total": numbers(p4=N)} | dict(header)
    with h5py.File(path, "w") as file:
        for group in {"Header", code.group, code.cosmology}:
            file.create_group(group)
        file["Header"].attrs.update(facts)
        file[code.group].attrs.update(code.units)
        file[code.cosmology].attrs.update(dict(zip(code.omegas, (MATTER, 1 - MATTER, H), strict=True)))
        if code.cosmology == "Cosmology":
            file["Cosmology"].attrs.update({"Cosmological run": [1], "Scale-factor": [a]})
        file["PartType4/ParticleIDs"] = np.arange(1, N + 1)
        for name, values, powers, more in zip(code.names, raw, (*code.powers, (0, 0)), code.more, strict=True):
            if name not in without:
                file[f"PartType4/{name}"] = values
                file[f"PartType4/{name}"].attrs.update(more)
                file[f"PartType4/{name}"].attrs.update(dict(zip(code.attributes, map(float, powers), strict=False)))
    return path


def assert_is_the_galaxy(snapshot, a=1.0, velocities=True):
    assert set(snapshot.component) == {STAR}
    relative = snapshot.position.astype(float) - snapshot.position.mean(axis=0, dtype=float)
    np.testing.assert_allclose(relative, POSITION - POSITION.mean(axis=0), atol=5e-3)
    np.testing.assert_allclose(snapshot.mass, MASS, rtol=1e-3)
    if velocities:
        np.testing.assert_allclose(snapshot.velocity, VELOCITY, rtol=1e-4, atol=0.01)
    age = UNIVERSE.age(1 / (np.linspace(0.3, 1.0, N) * a) - 1).value
    np.testing.assert_allclose(snapshot.formed_gyr, age, atol=2e-3)
    assert snapshot.time_gyr == pytest.approx(age[-1], abs=2e-3)


@pytest.mark.parametrize("name", CODES)
@settings(max_examples=8, deadline=None)
@given(
    redshift=st.floats(0.01, 9) | st.just(0.0) | st.just(2.2e-16),
    centre=st.tuples(*[st.floats(0, 1)] * 3),
    vector=st.booleans(),
)
def test_the_same_galaxy_comes_back(tmp_path_factory, name, redshift, centre, vector):
    """At any redshift, and anywhere in its periodic box, also across its edges."""
    a, path = 1 / (1 + redshift), tmp_path_factory.mktemp("s") / "s.hdf5"
    snapshot = read_snapshot(write(path, CODES[name], a, centre, box=vector or None))
    assert_is_the_galaxy(snapshot, a)
    assert snapshot.about["cosmological"] and snapshot.about["redshift"] == pytest.approx(redshift, abs=1e-9)


def test_what_was_decided_is_told(tmp_path):
    tng = read_snapshot(write(tmp_path / "tng.hdf5", CODES["TNG"], 0.5, (0.0, 0.5, 1.0))).about
    assert tng["unwrapped"] == "xz" and tng["guessed"] == "" and tng["units"] == "as the file says"
    assert tng["hubble_param"] == H and np.shape(tng["origin_kpc"]) == (3,)
    simba = read_snapshot(write(tmp_path / "simba.hdf5", CODES["SIMBA"], 0.5)).about
    assert simba["unwrapped"] == "" and "taken to be kpc, km/s and 1e10 Msun" in simba["guessed"]
    swift = read_snapshot(write(tmp_path / "swift.hdf5", CODES["SWIFT"], 0.5)).about
    assert swift["hubble_param"] == 1 and swift["code"] == "SWIFT"


def test_units_that_are_not_stated_are_mpc_in_a_box_of_few_of_them(tmp_path):
    snapshot = read_snapshot(write(tmp_path / "s.hdf5", Code(length_cm=MPC), 0.5, (0, 0, 0)))
    assert_is_the_galaxy(snapshot, 0.5)
    assert "taken to be Mpc" in snapshot.about["units"] and "taken to be Mpc" in snapshot.about["guessed"]


def test_units_of_datasets_count_where_no_group_has_them(tmp_path):
    path = write(tmp_path / "s.hdf5", Code(length_cm=MPC), 0.5)
    with h5py.File(path, "a") as file:
        for name, unit in (("Coordinates", MPC), ("Velocities", KM), ("Masses", GRAM)):
            file[f"PartType4/{name}"].attrs["CGSConversionFactor"] = unit
    snapshot = read_snapshot(path)
    assert_is_the_galaxy(snapshot, 0.5)
    assert snapshot.about["units"] == "as the file says" and snapshot.about["guessed"] == ""


def test_swift_may_store_physical_values(tmp_path):
    a, path = 0.5, write(tmp_path / "s.hdf5", CODES["SWIFT"], 0.5)
    with h5py.File(path, "a") as file:
        values = file["PartType4/Coordinates"]
        values[...] = values[:] * a
        values.attrs["Value stored as physical"] = [1]
    assert_is_the_galaxy(read_snapshot(path), a)


def test_without_a_cosmology_ages_are_those_of_planck_and_that_is_said(tmp_path):
    path = write(tmp_path / "s.hdf5", CODES["SIMBA"], 0.5)
    with h5py.File(path, "a") as file:
        for name in ("Omega0", "OmegaLambda", "HubbleParam"):
            del file["Header"].attrs[name]
    snapshot = read_snapshot(path)
    assert snapshot.time_gyr == pytest.approx(5.85, abs=0.1)
    assert "no HubbleParam" in snapshot.about["guessed"] and "no Omega0" in snapshot.about["guessed"]
    assert snapshot.about["hubble_param"] == pytest.approx(0.6766)


def test_times_of_formation_that_are_no_scale_factors_are_not_taken_for_them(tmp_path):
    path = write(tmp_path / "s.hdf5", CODES["SIMBA"], 0.5)
    with h5py.File(path, "a") as file:
        file["PartType4/StellarFormationTime"][...] = 5.0
    snapshot = read_snapshot(path)
    assert np.isnan(snapshot.formed_gyr).all() and "no scale factors" in snapshot.about["guessed"]
    assert snapshot.stars.all()


def test_a_position_that_is_no_number_stays_one_and_moves_no_other(tmp_path):
    path = write(tmp_path / "s.hdf5", CODES["TNG"], 0.5, (0, 0, 0))
    with h5py.File(path, "a") as file:
        file["PartType4/Coordinates"][3] = np.nan
    position = read_snapshot(path).position
    assert np.isnan(position[3]).all() and np.isnan(position).sum() == 3
    np.testing.assert_allclose(position[4:] - position[0], POSITION[4:] - POSITION[0], atol=5e-3)


def test_wind_is_no_star(tmp_path):
    path = write(tmp_path / "s.hdf5", CODES["TNG"], 0.5)
    with h5py.File(path, "a") as file:
        file["PartType4/GFM_StellarFormationTime"][:10] = -0.3
    snapshot = read_snapshot(path)
    assert snapshot.stars.sum() == N - 10 and (snapshot.component[:10] == COMPONENTS.index("gas")).all()
    with h5py.File(path, "a") as file:
        del file["PartType4/GFM_StellarFormationTime"]
    assert "wind particles are taken for stars" in read_snapshot(path).about["guessed"]


# --- isolated runs


def isolated(path, header=(), parts=(1, 2), shift=0.0, config=()):
    """A galaxy whose disc is PartType2, in kpc, km/s and 1e10 Msun."""
    facts = {"BoxSize": 0.0, "HubbleParam": 1.0, "Omega0": 0.3, "OmegaLambda": 0.7, "Redshift": 0.0, "Time": 1.0}
    with h5py.File(path, "w") as file:
        file.create_group("Header").attrs.update(facts | dict(header))
        if config:
            file.create_group("Config").attrs.update(dict(config))
        for part in parts:
            file[f"PartType{part}/Coordinates"] = POSITION * (3 if part == 1 else 1) + shift
            file[f"PartType{part}/Velocities"], file[f"PartType{part}/Masses"] = VELOCITY, MASS / 1e10
    return path


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"BoxSize": 300.0},  # AREPO
        {"BoxSize": 100_000.0, "HubbleParam": 0.7},  # a parameter file that was made for a box
        {"Omega0": 0.0, "OmegaLambda": 0.0},
        {"ComovingIntegrationOn": 0, "BoxSize": 100_000.0, "HubbleParam": 0.7},
        {"ExpansionFactor": 0.5, "Time": 0.5},
    ],
)
@pytest.mark.parametrize("time", [0.0, 0.3, 1.0, 1.5])
def test_isolated_runs_keep_their_stars_at_any_time(tmp_path, header, time):
    snapshot = read_snapshot(isolated(tmp_path / "s.hdf5", {"Time": time} | header))
    h = header.get("HubbleParam", 1.0)
    assert snapshot.stars.sum() == N and not snapshot.about["cosmological"]
    np.testing.assert_allclose(snapshot.position[snapshot.stars], POSITION / h, atol=1e-4)
    assert snapshot.time_gyr == pytest.approx(header.get("Time", time) / h / KPC_PER_KM_S_GYR)
    assert ("over HubbleParam = 0.7" in snapshot.about["guessed"]) == (h != 1)


def test_stars_of_an_isolated_run_in_a_small_box_are_not_dated_by_scale_factors(tmp_path):
    path = write(tmp_path / "s.hdf5", Code(units=UNITS, box_mpc=0.2))
    snapshot = read_snapshot(path)
    assert not snapshot.about["cosmological"] and snapshot.time_gyr == pytest.approx(1 / H / KPC_PER_KM_S_GYR)
    assert snapshot.stars.all() and np.allclose(snapshot.formed_gyr / snapshot.time_gyr, np.linspace(0.3, 1, N))


@pytest.mark.parametrize(
    "header, config, shift, moved",
    [
        ({"BoxSize": 0.0}, {}, 0.0, ""),
        ({"BoxSize": 1e5}, {}, 0.0, ""),
        ({"BoxSize": 60.0}, {}, 30.0, ""),  # fills its box
        ({"BoxSize": 10.0}, {}, 0.0, ""),  # reaches beyond its box, which therefore is not periodic
        ({"BoxSize": 200.0}, {"PERIODIC": ""}, 200.0, "xyz"),
        ({"BoxSize": 200.0}, {"GRAVITY_NOT_PERIODIC": ""}, 200.0, ""),
    ],
)
def test_isolated_galaxies_move_only_across_the_edge_of_a_periodic_box(tmp_path, header, config, shift, moved):
    path = isolated(tmp_path / "s.hdf5", header, parts=(2,), shift=shift, config=config)
    if shift == 200.0:
        with h5py.File(path, "a") as file:
            file["PartType2/Coordinates"][...] = file["PartType2/Coordinates"][:] % 200.0
            raw = file["PartType2/Coordinates"][:]
    snapshot = read_snapshot(path)
    assert snapshot.about["unwrapped"] == moved
    if moved:
        np.testing.assert_allclose(snapshot.position - snapshot.position.mean(axis=0), POSITION - POSITION.mean(axis=0),
                                   atol=1e-3)  # fmt: skip
    else:
        np.testing.assert_allclose(snapshot.position, raw if shift == 200.0 else POSITION + shift, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.floats(-3, 3)] * 3), st.integers(0, 3), st.floats(20, 2000))
def test_a_box_has_no_edge_where_it_is_periodic(shift, flat, side):
    """Axes 0 .. `flat` - 1 are not periodic, and sides differ."""
    box = np.array([side, 1.5 * side, 2 * side])
    box[:flat] = 0.0
    galaxy = POSITION * 0.4
    moved = galaxy + np.array(shift) * side
    wrapped = np.where(box > 0, np.mod(moved, np.where(box > 0, box, 1)), moved)
    found, axes = unwrap(wrapped, box, np.ones(N, bool))
    np.testing.assert_allclose(found - found[0], galaxy - galaxy[0], atol=1e-9 * side + 1e-9)
    assert not set(axes) & set("xyz"[:flat])


# --- what may lack


def test_velocities_are_needed_only_where_they_are_used(tmp_path):
    snapshot = read_snapshot(write(tmp_path / "s.hdf5", CODES["TNG"], 1.0, (0, 0, 0), without=("Velocities",)))
    assert_is_the_galaxy(snapshot, velocities=False)
    assert np.isnan(snapshot.velocity).all() and snapshot.about["velocities"] == "not in the file"
    views = measure_remnant([snapshot], 2, seed=0)
    assert np.isfinite(views["axis_ratio"]).any() and np.isnan(views["rotation_km_s"]).all()
    with pytest.raises(ValueError, match="without velocities"):
        evolve(snapshot, EvolveSettings(), until_gyr=20.0)


def test_gas_and_dark_matter_of_a_cut_out_may_lack_what_they_like(tmp_path):
    path = write(tmp_path / "s.hdf5", CODES["TNG"], 0.5)
    with h5py.File(path, "a") as file:
        file["PartType0/Masses"], file["PartType1/ParticleIDs"] = np.ones(5), np.arange(7)
    snapshot = read_snapshot(path)
    assert_is_the_galaxy(snapshot, 0.5)
    assert snapshot.about["left_out"] == {"PartType0": 5, "PartType1": 7}
    with h5py.File(path, "a") as file:
        del file["PartType4/Masses"]
    with pytest.raises(ValueError, match="PartType4 has neither Masses"):
        read_snapshot(path)


def test_a_cut_out_may_have_the_header_of_the_piece_it_came_from(tmp_path):
    header = {"NumFilesPerSnapshot": 600, "NumPart_ThisFile": numbers(p4=10**6), "NumPart_Total": numbers(p4=10**9)}
    assert_is_the_galaxy(read_snapshot(write(tmp_path / "s.hdf5", CODES["TNG"], 0.5, header=header)), 0.5)
    header["NumPart_ThisFile"] = numbers(p4=N)
    with pytest.raises(ValueError, match="one of 600 pieces"):
        read_snapshot(write(tmp_path / "s.hdf5", CODES["TNG"], 0.5, header=header))


# --- GADGET's binary formats


def binary(path, number=1, order="<", kind="f4", a=None, centre=0.0, cut=None, more_ages=0):
    """Gas (5), halo with its mass in the header (20), disc (30) and stars (N), as in the user guide of GADGET-2."""
    counts = [5, 20, 30, 0, N, more_ages]
    total, box, h = sum(counts), 100_000.0 if a else 0.0, H if a else 1.0
    positions, velocities = np.zeros((total, 3)), np.zeros((total, 3))
    positions[55 : 55 + N], velocities[55 : 55 + N] = POSITION * h / (a or 1), VELOCITY / np.sqrt(a or 1)
    positions += centre
    positions = positions % box if a else positions
    facts = (*counts, 0, 0.25, 0, 0, 0, 0, a or 1.5, 1 / a - 1 if a else 0.0, 0, 0, *counts, 0, 1, box, MATTER)
    header = struct.pack(order + "6i6d2d2i6I2i4d", *facts, 1 - MATTER, h).ljust(256, b"\0")
    masses = np.concatenate([np.ones(35), MASS / 1e10 * h, np.ones(more_ages)])
    blocks = {"HEAD": header, "POS ": positions, "VEL ": velocities, "ID  ": np.arange(total), "MASS": masses}
    blocks |= {"U   ": np.ones(5)} | (
        {"AGE ": np.pad(np.linspace(0.3, 1, N) * a, (0, more_ages))} if number == 2 and a else {}
    )

    def record(content):
        return struct.pack(order + "I", len(content)) + content + struct.pack(order + "I", len(content))

    content = b""
    for label, values in blocks.items():
        if isinstance(values, np.ndarray):
            values = values.astype(order + ("u4" if label == "ID  " else kind)).tobytes()
        if number == 2:
            content += record(label.encode() + struct.pack(order + "I", len(values) + 8))
        content += record(values)
    path.write_bytes(content[:cut])
    return path


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("number", [1, 2])
def test_binary_gadget(tmp_path, number, order, kind):
    snapshot = read_snapshot(binary(tmp_path / "snapshot_005", number, order, kind))
    names = ["gas"] * 5 + ["halo"] * 20 + ["disc"] * 30 + ["new_stars"] * N
    assert [COMPONENTS[c] for c in snapshot.component] == names
    np.testing.assert_allclose(snapshot.position[-N:], POSITION, rtol=1e-5)
    np.testing.assert_allclose(snapshot.velocity[-N:], VELOCITY, rtol=1e-5)
    np.testing.assert_allclose(snapshot.mass[-N:], MASS, rtol=1e-3)
    assert snapshot.mass[5] == pytest.approx(0.25e10) and snapshot.time_gyr == pytest.approx(1.5 / KPC_PER_KM_S_GYR)
    assert (
        snapshot.about["code"] == f"GADGET, binary format {number}" and "taken to be kpc" in snapshot.about["guessed"]
    )


@pytest.mark.parametrize("holes", [0, 3])
def test_binary_gadget_of_a_cosmological_run(tmp_path, holes):
    path = binary(tmp_path / "s", 2, kind="f8", a=0.5, centre=[0.0, 99_999.0, 1e3], more_ages=holes)
    snapshot = read_snapshot(path)
    stars = np.flatnonzero(snapshot.stars)
    assert len(stars) == N and snapshot.about["unwrapped"] == "xy"  # PartType2 is coarse dark matter
    parts = {name: getattr(snapshot, name)[stars] for name in ("position", "velocity", "mass", "component", "galaxy")}
    galaxy = Snapshot(**parts, time_gyr=snapshot.time_gyr, formed_gyr=snapshot.formed_gyr[stars])
    assert_is_the_galaxy(galaxy, 0.5)


@pytest.mark.parametrize("number", [1, 2])
def test_binary_gadget_that_is_cut_off_is_named(tmp_path, number):
    for cut in (100, 300, 2000, -40):
        with pytest.raises(ValueError, match="cannot be read as a snapshot: it is cut off"):
            read_snapshot(binary(tmp_path / "s", number, cut=cut))
    whole = binary(tmp_path / "s", number).read_bytes()
    (tmp_path / "s").write_bytes(whole.replace(struct.pack("<I", 12 * (55 + N)), struct.pack("<I", 8), 1))
    with pytest.raises(ValueError, match="block POS has not the length"):
        read_snapshot(tmp_path / "s")


# --- folders of snapshots and cut-outs


VIEWS = ObserveSettings(views=2, size=32)


@pytest.fixture
def folder(tmp_path):
    """Three cut-outs, one of them in binary; one that is broken, one with 10 stars; a side file and a text."""
    there = tmp_path / "cutouts"
    (there / "more").mkdir(parents=True)
    write(there / "subhalo_12.hdf5", CODES["TNG"], 1.0, (0, 0, 0), without=("Velocities",))
    write(there / "more" / "subhalo_12.hdf5", CODES["EAGLE"], 0.5)
    binary(there / "snapshot_005")
    (there / "broken.hdf5").write_bytes((there / "subhalo_12.hdf5").read_bytes()[:3000])
    (there / "page.h5").write_text("<html>Forbidden</html>")
    with h5py.File(isolated(there / "few.hdf5"), "a") as file:
        for part in ("PartType1", "PartType2"):
            for name in ("Coordinates", "Velocities", "Masses"):
                values = file[f"{part}/{name}"][:10]
                del file[f"{part}/{name}"]
                file[f"{part}/{name}"] = values
    with h5py.File(there / "snapshot_005.hsml.hdf5", "w") as file:
        file["PartType0/SmoothingLength"] = np.ones(10)
    with h5py.File(there / "fof_subhalo_tab_099.hdf5", "w") as file:
        file.create_group("Header")
        file["Group/GroupMass"] = np.ones(3)
    (there / "README.txt").write_text("from the archive")
    return there


@pytest.mark.slow
def test_a_folder_is_observed_file_by_file(folder):
    found, passed_over = find_snapshots(folder)
    names = ["broken", "few", "page", "snapshot_005", "subhalo_12", "more-subhalo_12"]
    assert [one.name for one in found] == names
    assert [path.name for path in passed_over] == ["fof_subhalo_tab_099.hdf5", "snapshot_005.hsml.hdf5"]
    sets = [images for (images,) in observe_each(find_snapshots(folder)[0], VIEWS, seed=1)]
    assert [len(images) for images in sets] == [1, 1, 1, 2, 2, 2]
    ids = [str(i) for images in sets for i in images.table["id"]]
    assert len(set(ids)) == 9 and [i.rsplit("-", 2)[0] for i in ids[3:]] == [n for n in names[3:] for _ in range(2)]
    for images, name, reason in zip(sets[:3], names[:3], ("opened as HDF5", "10 stars", "opened as HDF5"), strict=True):
        row = images.table[0]
        assert (
            row["id"] == name and row["flag"] == 1 and reason in row["flag_text"] and images.pixels.shape == (1, 0, 0)
        )
    table = sets[4].table
    assert set(table["snapshot_file"]) == {"subhalo_12.hdf5"} and set(table["unwrapped"]) == {"xyz"}
    assert set(table["cosmological"]) == {True} and set(table["velocities"]) == {"not in the file"}
    for (one,), images in zip(observe_each(find_snapshots(folder)[0], VIEWS, seed=1, jobs=2), sets, strict=True):
        np.testing.assert_array_equal(one.pixels, images.pixels)


@pytest.mark.slow
def test_the_command_takes_folders_and_says_what_it_guesses_once(folder, tmp_path, capsys):
    write(folder / "a.hdf5", CODES["SIMBA"], 0.5)
    write(folder / "b.hdf5", CODES["SIMBA"], 0.5)
    options = ["--views", "2", "--size", "32"]
    assert main(["observe", str(folder), "-o", str(tmp_path / "set"), *options]) == 0
    said = capsys.readouterr().err
    assert "Passed over, no snapshots: fof_subhalo_tab_099.hdf5, snapshot_005.hsml.hdf5." in said
    assert said.count("taken to be kpc, km/s and 1e10 Msun") == 1 and "3 of 8 snapshots" in said
    images = read_images(tmp_path / "set")
    assert len(images) == 13 and sorted(images.table["id"][images.table["flag"] > 0]) == ["broken", "few", "page"]
    maps = ["--maps", str(tmp_path / "maps")]
    assert main(["observe", str(folder), "-o", str(tmp_path / "other"), *options, *maps, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_only_where_none_can_be_observed_the_command_ends(tmp_path, capsys):
    for name in ("a.hdf5", "b.h5"):
        (tmp_path / name).write_text("nothing")
    assert main(["observe", str(tmp_path), "-o", str(tmp_path / "set"), "--quiet"]) == 2
    assert "none of 2 snapshots can be observed: " in capsys.readouterr().err
    assert main(["observe", str(tmp_path / "a.hdf5"), "-o", str(tmp_path / "set"), "--quiet"]) == 2
    assert "a.hdf5' cannot be opened as HDF5" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="a folder of snapshots or cutouts"):
        find_snapshots(tmp_path / "empty")


def test_what_others_leave_in_a_run_is_not_of_the_run(tmp_path):
    """Such as yt's smoothing lengths, and the files of a program that moved the particles."""
    ours = Snapshot(POSITION, VELOCITY, MASS, np.ones(N, np.int8), np.zeros(N, np.int8), about={"merger": "ratio1"})
    for k in range(3):
        write_snapshot(ours, tmp_path / "run" / "ratio1" / f"snapshot_{k:04d}.hdf5")
    write_snapshot(ours, tmp_path / "run" / "other" / "ratio1" / "snapshot_0000.hdf5")
    program = tmp_path / "run" / "ratio1" / "program"
    program.mkdir()
    isolated(program / "snapshot_0000.hdf5")
    with h5py.File(tmp_path / "run" / "ratio1" / "snapshot_0002.hsml.hdf5", "w") as file:
        file["PartType0/SmoothingLength"] = np.ones(10)
    found, passed_over = find_snapshots(tmp_path / "run", stack=2)
    assert [(one.name, [path.name for path in one.files]) for one in found] == [
        ("other-ratio1", ["snapshot_0000.hdf5"]), ("ratio1", ["snapshot_0001.hdf5", "snapshot_0002.hdf5"]),
    ]  # fmt: skip
    assert [path.name for path in passed_over] == ["snapshot_0002.hsml.hdf5"]
    mergers = [set(images.table["merger"]) for (images,) in observe_each(find_snapshots(tmp_path / "run")[0], VIEWS)]
    assert mergers == [{"other-ratio1"}, {"ratio1"}]


def test_kinds_of_files(folder):
    kinds = {path.name: snapshot_kind(path) for path in folder.iterdir() if path.is_file()}
    assert kinds["README.txt"] == kinds["fof_subhalo_tab_099.hdf5"] == kinds["snapshot_005.hsml.hdf5"] == ""
    assert kinds["broken.hdf5"] == kinds["page.h5"] == "broken"
    assert kinds["snapshot_005"] == kinds["subhalo_12.hdf5"] == "others"


# --- the same files through other packages


@pytest.mark.parametrize("name", ["TNG", "EAGLE", "SWIFT", "GADGET-4"])
def test_pynbody_reads_the_same(tmp_path, name):
    pynbody = pytest.importorskip("pynbody")
    path = write(tmp_path / "snap.hdf5", CODES[name], 0.5, header={"NumPart_Total_HighWord": numbers()})
    if name == "SWIFT":  # which pynbody knows by these
        with h5py.File(path, "a") as file:
            for group in ("Policy", "Parameters"):
                file.create_group(group)
            units = CODES[name].units | {"Unit temperature in cgs (U_T)": [1.0]}
            file.create_group("InternalCodeUnits").attrs.update(units)
            file["Header"].attrs["Dimension"] = [3]
            file["Header"].attrs["BoxSize"] = file["Header"].attrs["BoxSize"] * np.ones(3)
            file["Cosmology"].attrs.update({name: [0.0] for name in ("Omega_b", "Omega_cdm", "Omega_nu_0")})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = pynbody.load(str(path))
        seen.physical_units()
        position, mass = np.asarray(seen.star["pos"]), np.asarray(seen.star["mass"])
        velocity = np.asarray(seen.star["vel"])
    snapshot = read_snapshot(tmp_path / "snap.hdf5")
    origin = snapshot.about.get("origin_kpc", np.zeros(3))
    np.testing.assert_allclose(snapshot.position + origin, position, rtol=1e-5)
    np.testing.assert_allclose(snapshot.mass, mass, rtol=1e-3)
    np.testing.assert_allclose(snapshot.velocity, velocity, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["TNG", "SIMBA"])
def test_yt_reads_the_same(tmp_path, name):
    yt = pytest.importorskip("yt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yt.set_log_level("error")
        seen = yt.load(str(write(tmp_path / "snap.hdf5", CODES[name], 0.5))).all_data()
        position = seen["PartType4", "particle_position"].to_value("kpc")
        mass, velocity = seen["PartType4", "particle_mass"].to_value("Msun"), seen["PartType4", "particle_velocity"]
        velocity = velocity.to_value("km/s")
    snapshot = read_snapshot(tmp_path / "snap.hdf5")
    order, others = np.argsort(snapshot.mass), np.argsort(mass)
    origin = snapshot.about.get("origin_kpc", np.zeros(3))
    np.testing.assert_allclose((snapshot.position + origin)[order], position[others], rtol=1e-5)
    np.testing.assert_allclose(snapshot.mass[order], mass[others], rtol=1e-3)
    np.testing.assert_allclose(snapshot.velocity[order], velocity[others], rtol=1e-3, atol=1e-2)
