"""Engines that are programs of their own: what they are sent, what comes back, what goes wrong; AMUSE where it is."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emeraldcut.camera import ObserveSettings, observe
from emeraldcut.cli import main
from emeraldcut.errors import UsageError
from emeraldcut.mergers import ProgenitorSettings, SuiteSettings, make_progenitor, simulate, snapshots_of
from emeraldcut.nbody import EvolveSettings, evolve, read_snapshot
from emeraldcut.nbody.engines.amuse_codes import PYTHON
from emeraldcut.nbody.engines.program import GAS, NEW_STARS, SCRIPT, ProgramSettings, evolve_elsewhere, gyr_of_outputs
from emeraldcut.nbody.snapshot import GRAVITY, KPC_PER_KM_S_GYR, Snapshot
from emeraldcut.tables import read_table
from tests import helpers

SMALL = SuiteSettings(
    mass_ratios=(1.0,), orbits=1, control=False, duration_gyr=0.03, halo_particles=60, star_particles=120,
    separation=10.0,
)  # fmt: skip
SOFTENING = (0.5,) * 5
HOW = EvolveSettings(output_gyr=0.01, softening_kpc=SOFTENING, engine="gadget4")

# A program that speaks GADGET's and SWIFT's language and moves particles on straight lines; MODE is what goes wrong.
STAND_IN = """#!{python}
import re, sys, time
import h5py, numpy as np
mode = "{mode}"
text = open(sys.argv[-1]).read()
swift = "InternalUnitSystem" in text
def value(name):
    return re.search(rf"^\\s*{{name}}:?\\s+(\\S+)", text, re.M).group(1)
initial = value("file_name") if swift else value("InitCondFile") + ".hdf5"
times = np.loadtxt(value("output_list") if swift else value("OutputListFilename"))
width = 4 if swift else 3
with h5py.File(initial) as file:
    header, units = dict(file["Header"].attrs), dict(file["Units"].attrs)
    parts = {{name: {{key: file[name][key][:] for key in file[name]}} for name in file if name.startswith("Part")}}
print("Begin step 0", flush=True)
for k, now in enumerate(times):
    if k == 2 and mode == "crash":
        sys.exit("task 0: out of memory")
    if k == 2 and mode == "early":
        print("reaching time-limit. stopping.")
        sys.exit(0)
    if k == 2 and mode == "stall":
        time.sleep(60)
    path = f"snapshot_{{k:0{{width}}d}}.hdf5"
    if k == 2 and mode == "torn":
        open(path, "wb").write(open("snapshot_001.hdf5", "rb").read()[:5000])
        sys.exit(0)
    with h5py.File(path, "w") as file:
        head = file.create_group("Header").attrs
        head.update(header | {{"Time": now * (977.8 if mode == "megayears" else 1)}})
        if swift:
            head["Code"] = "SWIFT"
            file.create_group("Units").attrs.update(units)
        for name, part in parts.items():
            n = len(part["Masses"]) - (k == 2 and mode == "partial")
            order = np.random.default_rng(k).permutation(len(part["Masses"]))[:n]
            group = file.create_group(name)
            for key in ("Velocities", "ParticleIDs"):
                group[key] = part[key][order]
            group["Masses"] = part["Masses"][order] * (1e10 if mode == "solar" else 1)
            group["Coordinates"] = part["Coordinates"][order] + part["Velocities"][order] * (now - times[0])
            group["Potentials" if swift else "Potential"] = np.full(n, -1e4)
"""


def stand_in(folder: Path, mode: str = "") -> str:
    path = folder / "program"
    path.write_text(STAND_IN.format(python=sys.executable, mode=mode))
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def pair() -> Snapshot:
    """Two galaxies of three components."""
    rng, n = np.random.default_rng(0), 300
    return Snapshot(
        rng.normal(size=(n, 3)).astype(np.float32), (50 * rng.normal(size=(n, 3))).astype(np.float32),
        rng.uniform(1e6, 1e7, n).astype(np.float32), rng.integers(0, 3, n).astype(np.int8),
        rng.integers(0, 2, n).astype(np.int8), time_gyr=0.5, about={"softening_kpc": list(SOFTENING)},
    )  # fmt: skip


def test_outputs_are_those_of_our_engine():
    assert gyr_of_outputs(0.0, 0.1, 0.04) == pytest.approx((0, 0.04, 0.08, 0.1))
    assert gyr_of_outputs(0.08, 0.1, 0.04) == pytest.approx((0.08, 0.1))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["gadget2", "gadget4", "swift"])
def test_particles_on_straight_lines(engine, pair, tmp_path):
    """Whatever order the program writes them in, from a beginning that is not 0, in a box or not."""
    program = ProgramSettings(executable=stand_in(tmp_path))
    run = evolve_elsewhere(pair, replace(HOW, engine=engine), program, until_gyr=0.525, folder=tmp_path / "run")
    states = list(run)
    assert [snapshot.time_gyr for snapshot, _ in states] == pytest.approx([0.5, 0.51, 0.52, 0.525])
    np.testing.assert_array_equal(states[0][0].position, pair.position)
    for snapshot, row in states:
        moved = pair.position + pair.velocity * ((snapshot.time_gyr - 0.5) * KPC_PER_KM_S_GYR)
        np.testing.assert_allclose(snapshot.position, moved, atol=2e-5)
        for name in ("velocity", "mass", "component", "galaxy"):
            np.testing.assert_allclose(getattr(snapshot, name), getattr(pair, name), rtol=1e-6)
        assert row["potential"] == pytest.approx(-5e3 * pair.mass.sum(dtype=float), rel=1e-5)
        assert row["energy"] == row["kinetic"] + row["potential"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        (
            "crash",
            "ended with exit status 1 and without its output at 0.52 Gyr, .* last words are 'task 0: out of mem",
        ),
        (
            "early",
            "ended with exit status 0 and without its output at 0.52 Gyr, .* last words are 'reaching time-lim",
        ),
        ("stall", r"no progress for 0.1 minutes before the output at 0.5\d* Gyr and was stopped"),
        ("torn", "incomplete output .*snapshot_002.hdf5': .*HDF5"),
        ("partial", "incomplete output .*snapshot_002.hdf5': it holds 297 particles, not the 300"),
        ("solar", "holds 300 of .*; it must work in the units"),
        ("megayears", "asked for an output at 0.5 Gyr .* it must work in the units"),
    ],
)
def test_what_goes_wrong_is_one_sentence(mode, sentence, pair, tmp_path):
    program = ProgramSettings(executable=stand_in(tmp_path, mode), patience_minutes=0.1 if mode == "stall" else 5)
    with pytest.raises(RuntimeError, match=sentence) as error:
        list(evolve_elsewhere(pair, HOW, program, until_gyr=0.53, folder=tmp_path / "run"))
    assert "\n" not in str(error.value)


def test_what_cannot_be_is_said_before_it_is_tried(pair, tmp_path, monkeypatch):
    gas = replace(pair, component=np.where(pair.component == 2, 3, pair.component))

    def said(engine: str, snapshot: Snapshot = pair, lengths=SOFTENING, **program) -> str:
        how = replace(HOW, engine=engine, softening_kpc=lengths)
        with pytest.raises(UsageError) as error:
            list(evolve_elsewhere(snapshot, how, ProgramSettings(**program), until_gyr=0.53, folder=tmp_path))
        return str(error.value)

    here = stand_in(tmp_path)
    assert "needs --executable" in said("gadget4") and "needs --executable" in said("swift", executable="no/such")
    assert "adiabatic gas" in said("gadget4", gas, executable=here)
    assert "one softening length for the halo" in said("swift", lengths=(1, 2, 3, 4, 5), executable=here)
    monkeypatch.delenv(PYTHON, raising=False)
    assert PYTHON in said("amuse:fi")
    monkeypatch.setenv(PYTHON, sys.executable)
    assert "one process" in said("amuse:fi", mpi=2)
    assert "neither gas of one temperature nor" in said("amuse:gadget2", gas)
    assert "sound_speed_km_s expects" in said("amuse:fi", gas)
    assert "one softening length" in said("amuse:gadget2", lengths=(1, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="multiples of one step"):
        list(evolve_elsewhere(pair, replace(HOW, engine="amuse:fi"), ProgramSettings(), until_gyr=0.5 + np.pi / 100,
                              folder=tmp_path))  # fmt: skip
    with pytest.raises(ValueError, match="'mpi' must be from 1 to 100,000; received 0"):
        ProgramSettings(mpi=0)
    with pytest.raises(RuntimeError, match="cannot be started"):
        (tmp_path / "program").write_text("#!/no/such/interpreter\n")
        list(evolve_elsewhere(pair, HOW, ProgramSettings(executable=here), until_gyr=0.53, folder=tmp_path / "run"))


@pytest.mark.slow
def test_a_suite_goes_on_after_a_crash(tmp_path):
    """From the last snapshot, also with another number of processes."""
    run = tmp_path / "suite"
    with pytest.raises(RuntimeError, match="out of memory"):
        simulate(run, SMALL, HOW, ProgramSettings(executable=stand_in(tmp_path, "crash")))
    task = run / "ratio1-gas0-orbit000"
    assert len(snapshots_of(task)) == 2
    again = simulate(run, SMALL, HOW, ProgramSettings(executable=stand_in(tmp_path), patience_minutes=5))
    table = read_table(again.path("suite.ecsv"))
    paths = snapshots_of(task)
    assert len(paths) == 4 and table["steps"][0] == 0
    first, last = (read_snapshot(path) for path in (paths[0], paths[-1]))
    moved = first.position + first.velocity * (0.03 * KPC_PER_KM_S_GYR)
    np.testing.assert_allclose(last.position, moved, atol=1e-4)


@pytest.mark.slow
def test_a_script_in_place_of_a_run(tmp_path, capsys):
    """The command is given three times: it writes a script, goes on after a run that was cut short, and finishes."""
    file = tmp_path / "suite.toml"
    file.write_text(
        "mass_ratios = [1.0]\norbits = 1\nduration_gyr = 0.03\noutput_gyr = 0.01\nhalo_particles = 60\n"
        "star_particles = 120\nseparation = 10.0\ncontrol = false\nengine = 'gadget4'\npatience_minutes = 1e-9\n"
    )
    command = ["simulate", str(file), "-o", str(tmp_path / "run"), "--script", "--quiet", "--executable"]
    script = tmp_path / "run" / "ratio1-gas0-orbit000" / "program" / SCRIPT
    assert main([*command, stand_in(tmp_path, "early")]) == 1
    assert "is to be submitted" in capsys.readouterr().err
    assert main([*command, stand_in(tmp_path, "early")]) == 1  # it has not run yet
    assert "has not ended yet" in capsys.readouterr().err
    assert subprocess.run(["sh", script]).returncode == 0
    assert main([*command, stand_in(tmp_path)]) == 1
    assert "ended early" in capsys.readouterr().err
    assert subprocess.run(["sh", script]).returncode == 0
    assert main([*command, stand_in(tmp_path)]) == 0
    times = [read_snapshot(path).time_gyr for path in snapshots_of(script.parent.parent)]
    assert times == pytest.approx([0, 0.01, 0.02, 0.03])


amuse = pytest.mark.skipif(
    not os.environ.get(PYTHON), reason=f"{PYTHON} names no Python with AMUSE; tools/install_amuse.sh makes one"
)


@pytest.fixture
def as_root(monkeypatch):
    """Open MPI's processes start also from root, and where there are fewer cores than they are."""
    for name in ("ALLOW_RUN_AS_ROOT", "ALLOW_RUN_AS_ROOT_CONFIRM", "MCA_rmaps_base_oversubscribe"):
        monkeypatch.setenv(f"OMPI_{name}", "1")


def cold_sphere(n: int) -> Snapshot:
    """A Plummer sphere of 1e10 Msun and 1 kpc at rest, so that it collapses; no particle far out or at the centre."""
    place = helpers.plummer(2 * n, 5)
    radius = np.linalg.norm(place, axis=1)
    return helpers.snapshot(place[(radius > 0.28) & (radius < 5.4)][:n], mass=1e10 / n, component=0)


@amuse
@pytest.mark.parametrize(("engine", "processes"), [("amuse:fi", 1), ("amuse:gadget2", 1), ("amuse:gadget2", 2)])
def test_codes_of_amuse_move_particles_as_the_sum_over_all_pairs(engine, processes, as_root, tmp_path):
    """A cold sphere falls in; the softening of 0.03 kpc, in which the codes differ, hardly matters yet."""
    begin = cold_sphere(2000)
    how = EvolveSettings(output_gyr=0.002, softening_kpc=(0.03,) * 5, engine="direct", accuracy=0.2)
    program, until = ProgramSettings(mpi=processes, patience_minutes=5), 0.004
    true = [snapshot for snapshot, _ in evolve(begin, how, until_gyr=until)]
    found = list(evolve_elsewhere(begin, replace(how, engine=engine), program, until_gyr=until, folder=tmp_path / "a"))
    assert len(found) == len(true) == 3
    fallen = np.linalg.norm(true[-1].position - begin.position, axis=1)
    wrong = np.linalg.norm(found[-1][0].position - true[-1].position, axis=1)
    assert np.median(wrong) < 0.03 * np.median(fallen)
    energies = [row["energy"] for _, row in found]
    np.testing.assert_allclose(energies, energies[0], rtol=0.01)
    assert energies[0] == pytest.approx(-3 * np.pi / 32 * GRAVITY * 1e20, rel=0.2)


@amuse
def test_fi_moves_gas_from_which_stars_form(as_root, tmp_path):
    """A disc with much gas, alone, beside the same in our engine; many stars form, so that their number tells."""
    galaxy = ProgenitorSettings(gas_fraction=0.5, halo_particles=600, star_particles=600, gas_particles=600)
    begin, how = make_progenitor(galaxy, seed=1), EvolveSettings(output_gyr=0.02, star_efficiency=0.3)
    program, until = ProgramSettings(patience_minutes=5), 0.06
    *_, (ours, _) = evolve(begin, how, until_gyr=until)
    how = replace(how, engine="amuse:fi")
    states = list(evolve_elsewhere(begin, how, program, until_gyr=until, folder=tmp_path / "run", seed=2))
    whole = begin.mass[begin.component == GAS].sum(dtype=float)
    for (snapshot, row), (before, _) in zip(states[1:], states, strict=False):
        formed = (snapshot.component == NEW_STARS) & (before.component == GAS)
        assert formed.any() and not np.any((snapshot.component == GAS) & (before.component != GAS))
        times = snapshot.formed_gyr[formed]
        assert before.time_gyr < times.min() <= times.max() <= snapshot.time_gyr + 1e-6
        np.testing.assert_array_equal(snapshot.mass, begin.mass)
        assert row["gas_mass"] + row["new_stars_mass"] == pytest.approx(whole)
        assert not np.isfinite(snapshot.formed_gyr[snapshot.component != NEW_STARS]).any()
        assert np.isfinite(row["gas_energy"])
    last = states[-1][0]
    centre = np.average(last.position - begin.position, axis=0, weights=begin.mass)
    assert np.abs(centre).max() < 0.01 * np.median(np.linalg.norm(begin.position, axis=1))
    stars = [(snapshot.component == NEW_STARS).sum() for snapshot in (last, ours)]
    assert stars[0] == pytest.approx(stars[1], rel=0.25)
    radii = [np.median(np.hypot(*one.position[one.component >= GAS, :2].T)) for one in (last, ours)]
    assert radii[0] == pytest.approx(radii[1], rel=0.1)
    assert len(observe(last, ObserveSettings(views=1))) == 1


@amuse
def test_fi_heats_gas_that_falls_in(as_root, tmp_path):
    """Cold adiabatic gas in place of the cold sphere's particles: what it loses in potential is motion and heat."""
    begin, until = cold_sphere(1000), 0.009
    gas = np.full(len(begin), GAS, np.int8)
    begin = replace(begin, component=gas, internal_energy=np.full(len(begin), 50.0, np.float32))
    how = EvolveSettings(output_gyr=0.003, softening_kpc=(0.1,) * 5, gas="adiabatic", star_efficiency=0)
    *_, (ours, our_row) = evolve(begin, how, until_gyr=until)
    how, program = replace(how, engine="amuse:fi"), ProgramSettings(patience_minutes=5)
    found = list(evolve_elsewhere(begin, how, program, until_gyr=until, folder=tmp_path / "run"))
    energies = [row["energy"] for _, row in found]
    np.testing.assert_allclose(energies, energies[0], rtol=0.01)
    last, row = found[-1]
    assert row["gas_energy"] > 100 * found[0][1]["gas_energy"]
    assert row["gas_energy"] == pytest.approx(our_row["gas_energy"], rel=0.2)
    sizes = [np.median(np.linalg.norm(one.position, axis=1)) for one in (last, ours)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
