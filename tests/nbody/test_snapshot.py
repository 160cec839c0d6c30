"""Snapshots on disk: ours come back to the last bit, and those of GADGET, IllustrisTNG and SWIFT are understood."""

import dataclasses
import struct
import sys
import warnings

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emeraldcut.nbody import Snapshot, read_snapshot, write_snapshot
from emeraldcut.nbody.snapshot import GRAVITY, KPC_PER_KM_S_GYR
from emeraldcut.nbody.snapshot_files import snapshot_here

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def snapshots(draw):
    n = draw(st.integers(0, 30))
    reals = st.floats(width=32, allow_nan=True, allow_infinity=True)
    return Snapshot(
        position=draw(hnp.arrays(np.float32, (n, 3), elements=reals)),
        velocity=draw(hnp.arrays(np.float32, (n, 3), elements=reals)),
        mass=draw(hnp.arrays(np.float32, n, elements=st.floats(0, width=32))),
        component=draw(hnp.arrays(np.int8, n, elements=st.integers(0, 4))),
        galaxy=draw(hnp.arrays(np.int8, n, elements=st.integers(0, 127))),
        formed_gyr=draw(hnp.arrays(np.float32, n, elements=reals)),
        time_gyr=draw(st.floats(-20, 20)),
        about=draw(st.dictionaries(st.text(), JSON, max_size=3)),
    )


def merger(n=300, seed=0):
    rng = np.random.default_rng(seed)
    component = rng.integers(0, 5, n).astype(np.int8)
    return Snapshot(
        position=rng.normal(size=(n, 3)).astype(np.float32),
        velocity=rng.normal(0, 100, (n, 3)).astype(np.float32),
        mass=rng.uniform(1e4, 1e6, n).astype(np.float32),
        component=component,
        galaxy=rng.integers(0, 2, n).astype(np.int8),
        formed_gyr=np.where(component == 4, rng.uniform(0, 2, n), np.nan).astype(np.float32),
        time_gyr=2.5,
        about={"mass_ratio": 0.25, "spins": [1.0, 2.0], "name": "é"},
    )


def assert_same(a: Snapshot, b: Snapshot) -> None:
    for field in dataclasses.fields(Snapshot):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype and x.tobytes() == y.tobytes(), field.name  # NaN and signs of zero included
        else:
            assert x == y, field.name


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(snapshots())
def test_what_is_written_comes_back_to_the_last_bit(tmp_path_factory, snapshot):
    path = tmp_path_factory.mktemp("snapshot") / "s.hdf5"
    with np.errstate(all="ignore"):
        assert write_snapshot(snapshot, path) == path
        assert_same(read_snapshot(path), snapshot)


def test_numbers_of_numpy_in_about_become_those_of_json(tmp_path):
    about = {"n": np.int64(3), "x": np.float32(0.5), "array": np.arange(2), "yes": np.True_}
    snapshot = dataclasses.replace(merger(), about=about)
    assert read_snapshot(write_snapshot(snapshot, tmp_path / "a.hdf5")).about == {
        "n": 3, "x": 0.5, "array": [0, 1], "yes": True,
    }  # fmt: skip


def test_the_layout_is_that_of_gadget(tmp_path):
    snapshot = merger()
    with h5py.File(write_snapshot(snapshot, tmp_path / "deep" / "s.hdf5")) as file:
        counts = [np.isin(snapshot.component, which).sum() for which in ([3], [0], [], [], [1, 2, 4], [])]
        header = file["Header"].attrs
        assert header["NumPart_ThisFile"].tolist() == header["NumPart_Total"].tolist() == counts
        assert header["Time"] == pytest.approx(2.5 / 0.9778, rel=1e-4) and header["Redshift"] == 0
        assert header["NumFilesPerSnapshot"] == 1 and not header["MassTable"].any()
        stars = snapshot.stars
        assert np.array_equal(file["PartType4/Coordinates"][:], snapshot.position[stars])
        assert np.allclose(file["PartType4/Masses"][:] * 1e10, snapshot.mass[stars], rtol=1e-7)
        assert file["Units"].attrs["UnitVelocity_in_cm_per_s"] == 1e5
        ids = np.concatenate([file[f"PartType{p}/ParticleIDs"][:] for p in (0, 1, 4)])
        assert sorted(ids) == list(range(1, len(snapshot) + 1))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = write_snapshot(merger(seed=1), tmp_path / "s.hdf5")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disc full")))
    with pytest.raises(OSError, match="disc full"):
        write_snapshot(merger(seed=2), path)
    assert [p.name for p in tmp_path.iterdir()] == ["s.hdf5"]
    assert_same(read_snapshot(path), merger(seed=1))


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(ValueError, match="received 0 to 7"):
        snapshot = merger()
        write_snapshot(dataclasses.replace(snapshot, component=np.where(snapshot.stars, 7, 0)), tmp_path / "s.hdf5")
    with pytest.raises(ValueError, match="received object"):
        write_snapshot(dataclasses.replace(merger(), about={"x": object()}), tmp_path / "s.hdf5")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_said(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no snapshot"):
        read_snapshot(tmp_path / "gone.hdf5")
    (tmp_path / "text.hdf5").write_text("no")
    with pytest.raises(ValueError, match="cannot be opened as HDF5"):
        read_snapshot(tmp_path / "text.hdf5")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pynbody", None)
        with pytest.raises(ValueError, match=r"pip install 'emeraldcut\[snapshots\]'"):
            list(snapshot_here(tmp_path / "text.hdf5"))
    with h5py.File(tmp_path / "s.hdf5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(ValueError, match="no groups Header and PartType0"):
        read_snapshot(tmp_path / "s.hdf5")
    write_snapshot(merger(), tmp_path / "s.hdf5")
    with h5py.File(tmp_path / "s.hdf5", "a") as file:
        del file["PartType1/Galaxy"]
    with pytest.raises(ValueError, match="cannot be read as a snapshot.*Galaxy"):
        read_snapshot(tmp_path / "s.hdf5")


def gadget(path, header=(), parts=(), units=None):
    """A Gadget-style file; `parts` maps a PartType's number to its datasets, (values, attributes) or values."""
    with h5py.File(path, "w") as file:
        file.create_group("Header").attrs.update(dict(header))
        if units:
            file.create_group("Units").attrs.update(units)
        for number, datasets in dict(parts).items():
            for name, values in datasets.items():
                values, attributes = values if isinstance(values, tuple) else (values, {})
                file[f"PartType{number}/{name}"] = values
                file[f"PartType{number}/{name}"].attrs.update(attributes)
    return path


ONE = np.array([[1.0, 2.0, 3.0]])


def test_isolated_gadget_without_units_and_with_a_mass_table(tmp_path):
    common = {"Coordinates": ONE, "Velocities": 10 * ONE, "ParticleIDs": [1]}
    header = {"MassTable": [0, 3.0, 2.0, 1.0, 0, 0], "Time": 2.0, "Redshift": 0.0, "HubbleParam": 1.0}
    parts = {1: common, 2: common, 3: common, 4: common | {"Masses": [0.5]}, 5: common}
    snapshot = read_snapshot(gadget(tmp_path / "s.hdf5", header, parts))
    assert snapshot.component.tolist() == [0, 1, 2, 4]
    assert np.allclose(snapshot.mass, [3e10, 2e10, 1e10, 5e9])
    assert np.allclose(snapshot.position, ONE) and np.allclose(snapshot.velocity, 10 * ONE)
    assert snapshot.time_gyr == pytest.approx(2 / KPC_PER_KM_S_GYR)
    assert "taken to be kpc" in snapshot.about["units"] and snapshot.about["left_out"] == {"PartType5": 1}


@pytest.mark.parametrize("with_attributes", [False, True])
def test_cosmological_arepo(tmp_path, with_attributes):
    """Comoving kpc/h, velocities over the root of the scale factor, formation times as scale factors."""
    a, h = 0.5, 0.7
    header = {
        "Time": a, "Redshift": 1.0, "HubbleParam": h, "Omega0": 0.3, "OmegaLambda": 0.7,
        "MassTable": [0, 4.0, 0, 0, 0, 0], "NumPart_ThisFile": [0, 1, 0, 0, 1, 0], "NumPart_Total": [0, 1, 0, 0, 1, 0],
        "UnitLength_in_cm": 3.085678e21, "UnitMass_in_g": 1.989e43, "UnitVelocity_in_cm_per_s": 1e5,
    }  # fmt: skip

    def scale(a_power, h_power):
        return {"a_scaling": a_power, "h_scaling": h_power} if with_attributes else {}

    common = {
        "Coordinates": (np.tile(ONE, (3, 1)), scale(1.0, -1.0)),
        "Velocities": (np.tile(ONE, (3, 1)), scale(0.5, 0.0)),
    }
    stars = {"Masses": ([1.0, 1, 1], scale(0.0, -1.0)), "GFM_StellarFormationTime": [0.25, a, -0.3]}
    path = gadget(tmp_path / "s.hdf5", header, {1: common, 4: common | stars})
    snapshot = read_snapshot(path)
    assert snapshot.component.tolist() == [0, 0, 0, 4, 4, 3]  # the last one is wind
    assert np.allclose(snapshot.position, ONE * a / h, rtol=1e-5)
    assert np.allclose(snapshot.velocity, ONE * np.sqrt(a))
    assert np.allclose(snapshot.mass, np.array([4, 4, 4, 1, 1, 1]) * 1e10 / h, rtol=1e-3)
    # Age of a flat universe: 2 asinh(sqrt(OL/Om) a^1.5) / (3 H0 sqrt(OL)), 1/H0 = 13.968 Gyr.
    age = [2 * 13.968 * np.arcsinh(np.sqrt(7 / 3) * x**1.5) / (3 * np.sqrt(0.7)) for x in (0.25, 0.5)]
    assert np.allclose(snapshot.formed_gyr[3:5], age, rtol=1e-3) and np.isnan(snapshot.formed_gyr[[0, 5]]).all()
    assert snapshot.time_gyr == pytest.approx(age[1], rel=1e-3) and snapshot.about["redshift"] == pytest.approx(1.0)


def test_swift(tmp_path):
    """Units in a group of their own, arrays of one number, comoving lengths without h."""
    header = {"Code": np.bytes_("SWIFT"), "Time": [0.1], "Redshift": [1.0], "Scale-factor": [0.5]}
    units = {
        "Unit length in cgs (U_L)": [3.0856775814913673e24],
        "Unit mass in cgs (U_M)": [1.98841e43],
        "Unit time in cgs (U_t)": [3.0856775814913673e19],
    }
    exponents = [{"a-scale exponent": [p], "h-scale exponent": [0.0]} for p in (1.0, 0.0, 0.0)]
    names = ("Coordinates", "Velocities", "Masses")
    values = (ONE, ONE, [1.0])
    part = dict(zip(names, zip(values, exponents, strict=True), strict=True))
    path = gadget(
        tmp_path / "s.hdf5", header, {1: part, 2: part, 4: part | {"BirthScaleFactors": [-1.0]}, 5: part}, units
    )
    with h5py.File(path, "a") as file:
        cosmology = {"Cosmological run": [1], "h": [0.7], "Omega_m": [0.3], "Omega_lambda": [0.7]}
        file.create_group("Cosmology").attrs.update(cosmology)
    snapshot = read_snapshot(path)
    assert snapshot.component.tolist() == [0, 0, 1] and np.isnan(snapshot.formed_gyr).all()
    assert np.allclose(snapshot.position, ONE * 1000 * 0.5) and np.allclose(snapshot.velocity, ONE)
    assert np.allclose(snapshot.mass, 1e10) and snapshot.time_gyr == pytest.approx(5.75, abs=0.02)
    assert snapshot.about["left_out"] == {"PartType5": 1}


def test_incomplete_files_of_others_are_named(tmp_path):
    bare = {"Coordinates": ONE, "Velocities": ONE}
    for header, parts, reason in (
        ({}, {1: bare}, "neither Masses nor"),
        ({}, {1: {"Masses": [1.0], "Velocities": ONE}}, "PartType1 has no Coordinates"),
        ({}, {5: bare}, "no particles of PartType0"),
        ({"NumFilesPerSnapshot": 4, "NumPart_ThisFile": [1] * 6, "NumPart_Total": [4] * 6}, {1: bare}, "of 4 pieces"),
        ({"ComovingIntegrationOn": 1}, {1: bare}, "no Redshift, ExpansionFactor or Time"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_snapshot(gadget(tmp_path / "s.hdf5", header, parts))


def record(content: bytes) -> bytes:
    """As Fortran writes it: the length before and after."""
    return struct.pack("<i", len(content)) + content + struct.pack("<i", len(content))


def test_binary_gadget_is_read_without_pynbody(tmp_path, monkeypatch):
    """Format 1 of Gadget-2's user guide (Springel 2005), with the mass of the halo's particles in the header."""
    monkeypatch.setitem(sys.modules, "pynbody", None)
    numbers, rng = [2, 30, 4, 1, 2, 0], np.random.default_rng(0)
    position, velocity = rng.normal(size=(2, 39, 3)).astype(np.float32)
    mass, energy = rng.uniform(1, 2, 9).astype(np.float32), np.ones(2, np.float32)
    header = struct.pack("<6i6d2d2i6i2i4d", *numbers, 0, 0.25, 0, 0, 0, 0, 1.5, 0, 0, 0, *numbers, 0, 1, 0, 0, 0, 1)
    blocks = (position, velocity, np.arange(39, dtype=np.int32), mass, energy)
    content = record(header.ljust(256, b"\0")) + b"".join(record(block.tobytes()) for block in blocks)
    (tmp_path / "snapshot_005").write_bytes(content)
    (snapshot,) = snapshot_here(tmp_path / "snapshot_005")
    assert snapshot.component.tolist() == [3] * 2 + [0] * 30 + [1] * 4 + [2] + [4] * 2
    np.testing.assert_allclose(snapshot.position, position, rtol=1e-6)
    np.testing.assert_allclose(snapshot.velocity, velocity, rtol=1e-6)
    np.testing.assert_allclose(snapshot.mass, 1e10 * np.concatenate([mass[:2], [0.25] * 30, mass[2:]]), rtol=1e-6)
    assert snapshot.time_gyr == pytest.approx(1.5 / KPC_PER_KM_S_GYR, rel=1e-4)
    assert snapshot.about["code"] == "GADGET, binary format 1" and snapshot.about["left_out"] == {}
    (tmp_path / "cut").write_bytes(content[:300])
    with pytest.raises(ValueError, match="cut' cannot be read as a snapshot: it is cut off in its POS"):
        read_snapshot(tmp_path / "cut")


def test_tipsy_is_read_through_pynbody(tmp_path):
    """Big-endian, in units of kpc, 1e10 Msun and G = 1, which are pynbody's where no parameter file tells."""
    pytest.importorskip("pynbody", reason="pynbody, the extra [snapshots], is not installed")
    header = struct.pack(">d6i", 1.5, 5, 3, 1, 2, 2, 0)
    gas = struct.pack(">12f", 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0)
    dark = struct.pack(">9f", 2, 1, 2, 3, 4, 5, 6, 0.1, 0) * 2
    stars = (struct.pack(">11f", 3, 1, 2, 3, 4, 5, 6, 0, formed, 0.1, 0) for formed in (0.5, -1.0))
    (tmp_path / "galaxy.tipsy").write_bytes(header + gas + dark + b"".join(stars))
    snapshot = read_snapshot(tmp_path / "galaxy.tipsy")
    unit = np.sqrt(GRAVITY * 1e10)  # km/s
    assert snapshot.component.tolist() == [3, 0, 0, 4, 1]
    np.testing.assert_allclose(snapshot.position, [[1, 2, 3]] * 5, rtol=1e-6)
    np.testing.assert_allclose(snapshot.velocity, np.array([[4, 5, 6]] * 5) * unit, rtol=1e-3)
    np.testing.assert_allclose(snapshot.mass, np.array([1, 2, 2, 3, 3]) * 1e10, rtol=1e-6)
    assert snapshot.time_gyr == pytest.approx(1.5 / unit / KPC_PER_KM_S_GYR, rel=1e-3)
    np.testing.assert_allclose(snapshot.formed_gyr, [np.nan] * 3 + [snapshot.time_gyr / 3, np.nan], rtol=1e-3)


def test_pynbody_sees_the_same_galaxy(tmp_path):
    pynbody = pytest.importorskip("pynbody")
    snapshot = merger()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = pynbody.load(str(write_snapshot(snapshot, tmp_path / "s.hdf5")))
        seen.physical_units()
        families = {0: seen.gas, 1: seen.dm, 2: seen.star}
        for family, which in zip(families.values(), ([3], [0], [1, 2, 4]), strict=True):
            places = np.isin(snapshot.component, which)
            assert np.allclose(family["pos"].in_units("kpc"), snapshot.position[places], rtol=1e-4)
            assert np.allclose(family["vel"].in_units("km s**-1"), snapshot.velocity[places], rtol=1e-4)
            assert np.allclose(family["mass"].in_units("Msol"), snapshot.mass[places], rtol=1e-3)
        assert seen.properties["time"].in_units("Gyr") == pytest.approx(2.5)


def test_yt_sees_the_same_galaxy(tmp_path):
    yt = pytest.importorskip("yt")
    snapshot = merger()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yt.set_log_level("error")
        seen = yt.load(str(write_snapshot(snapshot, tmp_path / "s.hdf5"))).all_data()
        assert float(seen["PartType4", "particle_mass"].sum().to("Msun")) == pytest.approx(
            snapshot.mass[snapshot.stars].sum(), rel=1e-3
        )
        assert float(seen["PartType1", "particle_velocity_x"].max().to("km/s")) == pytest.approx(
            snapshot.velocity[snapshot.component == 0, 0].max(), rel=1e-4
        )
