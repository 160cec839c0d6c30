"""Suites of mergers: plans, seeds, stopping and going on, what the table says, and the commands."""

import json
import re
import shutil
from argparse import Namespace
from dataclasses import replace
from unittest.mock import Mock, call

import numpy as np
import pytest
from astropy.table import Table

from emeraldcut.camera import THESIS_MAPS, ObserveSettings
from emeraldcut.cli import main
from emeraldcut.images import read_images
from emeraldcut.mergers import (
    SuiteSettings,
    TakeSettings,
    drifts,
    last_snapshots,
    observe_run,
    plan,
    shipped_suites,
    simulate,
    suite_file,
)
from emeraldcut.mergers import suite as suite_module
from emeraldcut.mergers.diagnostics import VECTORS, _spacing, disc_of, gas_resolution, summarise
from emeraldcut.mergers.progenitors import model, scaled
from emeraldcut.mergers.tasks import begin, orbit_name, orbit_seed, progenitor_of, snapshots_of
from emeraldcut.nbody import EvolveSettings, read_snapshot
from emeraldcut.nbody.engines.program import ProgramSettings
from emeraldcut.nbody.gas import jeans_mass_msun
from emeraldcut.nbody.snapshot import COMPONENTS, Snapshot
from emeraldcut.runs.run import unlock_all
from emeraldcut.settings import from_file, from_flags
from emeraldcut.tables import read_table
from tests.helpers import ROOT, snapshot

SMALL = SuiteSettings(
    mass_ratios=(1.0, 2.0), orbits=1, duration_gyr=0.03, halo_particles=300, star_particles=400, separation=10.0
)
COARSE = EvolveSettings(output_gyr=0.01, softening_kpc=(0.5, 0.3, 0.3, 0.3, 0.3))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite") / "run"
    return folder, read_table(simulate(folder, SMALL, COARSE, seed=4).path("suite.ecsv"))


def test_a_plan_has_every_combination_once():
    tasks = plan(replace(SMALL, gas_fractions=(0.0, 0.1), orbits=3))
    assert len({task.name for task in tasks}) == len(tasks) == 2 + 2 * 2 * 3
    assert [task.mass_ratio for task in tasks[:2]] == [None, None]
    thesis = plan(replace(SMALL, grid="thesis", mass_ratios=(1.0,), control=False))
    assert len(thesis) == 558  # of 819 runs as many differ
    lattice = plan(replace(SMALL, grid="lattice", grid_step=4))
    assert [task.orbit for task in lattice if task.mass_ratio == 1] == [0, 4, 8, 12]


def test_masses_and_spins_of_a_task():
    """The lighter galaxy has its share of the mass; the same orbit number means the same spins at every ratio."""
    one, two = (begin(task, SMALL, 4) for task in plan(SMALL)[1:])
    masses = [float(two.mass[two.galaxy == k].sum(dtype=float)) for k in (0, 1)]
    assert masses[0] / masses[1] == pytest.approx(2, rel=1e-4)
    for spin in ("first_spin_deg", "second_spin_deg"):
        assert one.about["orbit"][spin] == two.about["orbit"][spin]
    again = begin(plan(SMALL)[1], SMALL, 4)
    np.testing.assert_array_equal(again.position, one.position)
    assert not np.array_equal(begin(plan(SMALL)[1], SMALL, 5).position, one.position)


@pytest.mark.slow
def test_a_suite_has_a_row_for_each_merger(run):
    folder, table = run
    assert list(table["merger"]) == ["control-gas0", "ratio1-gas0-orbit000", "ratio2-gas0-orbit000"]
    assert table["mass_ratio"].mask[0] and list(table["mass_ratio"][1:]) == [1, 2]
    assert np.all(table["merged_gyr"].mask)  # they have hardly begun
    assert np.all(np.asarray(table["energy_drift"]) < 0.02)
    assert table.meta["thickening"]["control-gas0"] == pytest.approx(1, abs=0.5)
    assert len(table.meta["control_a4"]["control-gas0"]["end"]) == 4
    for name in table["merger"]:
        rows = read_table(folder / name / "diagnostics.ecsv")
        np.testing.assert_allclose(rows["time_gyr"], [0, 0.01, 0.02, 0.03])
    assert len(read_table(folder / "suite.ecsv")) == 3


@pytest.mark.slow
def test_a_suite_that_is_killed_ends_the_same(run, tmp_path):
    """Wherever it was cut, and with other workers."""
    folder, _ = run
    cut = tmp_path / "cut"
    shutil.copytree(folder, cut)
    (cut / "manifest.json").unlink()
    for kept, task in enumerate(("control-gas0", "ratio1-gas0-orbit000", "ratio2-gas0-orbit000")):
        (cut / task / "manifest.json").unlink()
        for path in snapshots_of(cut / task)[kept + 1 :]:
            path.unlink()
    shutil.rmtree(cut / "ratio1-gas0-orbit000")
    with pytest.raises(FileExistsError, match="other settings"):
        simulate(cut, SMALL, COARSE, seed=5)
    progress = Mock()
    finished = simulate(cut, SMALL, COARSE, seed=4, jobs=2, progress=progress)
    assert progress.mock_calls == [call.begin(3, "mergers"), *[call.advance(1)] * 3]
    assert finished.manifest["mergers"] == 3
    paths = sorted(folder.glob("*/snapshot_*.hdf5"))
    assert len(paths) == 12
    for path in paths:
        one, other = read_snapshot(path), read_snapshot(cut / path.relative_to(folder))
        np.testing.assert_array_equal(one.position, other.position)
        np.testing.assert_array_equal(one.velocity, other.velocity)
        assert json.dumps(one.about) == json.dumps(other.about)  # in which NaN is NaN
    with pytest.raises(FileExistsError, match="--overwrite"):
        simulate(cut, SMALL, COARSE, seed=4)
    short = replace(SMALL, duration_gyr=0.01, mass_ratios=(1.0,), control=False)
    simulate(cut, short, COARSE, seed=5, overwrite=True)
    assert len(list(cut.glob("*/snapshot_*.hdf5"))) == 2


def test_the_disc_is_as_thick_as_it_was_made():
    """Of sech^2(z / z0) the median |z| is 0.549 z0; tilted and moved, it stays."""
    rng, n = np.random.default_rng(1), 20_000
    radius, angle = rng.gamma(2, 1.0, n), rng.uniform(0, 2 * np.pi, n)
    height = 0.2 * np.arctanh(rng.uniform(-1, 1, n))
    place = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
    speed = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1) * 50
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    disc = Snapshot(place @ turn + 3, speed @ turn + 70, np.ones(n), np.ones(n, np.int8), np.zeros(n, np.int8))
    found = disc_of(disc)
    assert found["disc_height_kpc"] == pytest.approx(0.549 * 0.2, rel=0.03)
    assert found["disc_radius_kpc"] == pytest.approx(1.678, rel=0.03)  # half of the mass of an exponential disc


def test_when_centres_have_merged():
    task = plan(SMALL)[1]
    small = begin(task, SMALL, 4)
    rows = {name: [1.0] * 5 for name in ("energy", "kinetic", *(f"{v}_{a}" for v in VECTORS for a in "xyz"))}
    rows |= {"time_gyr": [0.0, 1, 2, 3, 4], "lost": [0] * 5, "steps": [9] * 5, "new_stars_mass": [0.0] * 5}
    for apart, merged in (([9, 0.1, 5, 0.2, 0.1], 3), ([9, 5, 5, 5, 5], None), ([0.1] * 5, 0)):
        table = Table(rows | {"separation_kpc": np.array(apart, float)})
        assert summarise(task, table, small, scale_kpc=1.0)["merged_gyr"] == merged


def test_drifts_of_what_is_conserved():
    """In units of what they were; momentum in that of all the mass at its root mean square speed."""
    rows = {f"{v}_{a}": [0.0, 0.0] for v in VECTORS for a in "xyz"}
    rows |= {"energy": [-2.0, -2.02], "kinetic": [2.0, 2.0]}
    rows |= {"momentum_x": [0.0, 0.03], "angular_momentum_z": [5, 5.1]}
    found = drifts(Table(rows), mass_msun=4.0)
    for name, change in (("energy", 0.01), ("momentum", 0.0075), ("angular_momentum", 0.02)):
        assert found[name] == pytest.approx([0, change])


def test_spacing_of_a_uniform_sphere():
    """n particles in a sphere of radius 1 have the volume 4 pi / 3n each."""
    rng, n = np.random.default_rng(1), 30_000
    place = rng.normal(size=(n, 3))
    place *= (np.cbrt(rng.random(n)) / np.linalg.norm(place, axis=1))[:, None]
    ball = Snapshot(place + 4, place * 0, np.ones(n), np.ones(n, np.int8), np.zeros(n, np.int8))
    assert _spacing(ball, ball.stars) == pytest.approx(np.cbrt(4 / 3 * np.pi / n), rel=0.02)


@pytest.mark.parametrize("name", shipped_suites())
def test_shipped_suites_are_suites(name):
    settings, _ = from_flags(Namespace(settings=str(suite_file(name))), SuiteSettings, EvolveSettings)
    assert len(plan(settings)) > (1 if name == "emerald" else 6)  # a demonstration: one merger and its control
    model(settings.heavier, EvolveSettings().softening_kpc)


def test_shipped_suites_are_found_by_name():
    known = {f"sequence_{n}" for n in (1, 2, 3)} | {f"published_facts_{kind}" for kind in ("1to1", "3to1", "gas")}
    assert known <= set(shipped_suites())
    assert suite_file("sequence_2").exists()


@pytest.mark.slow
def test_views_of_a_run(run, tmp_path):
    folder, _ = run
    options, stacked = ObserveSettings(views=3, size=32), TakeSettings(stack=2, maps=str(tmp_path / "maps"))
    progress = Mock()
    first = observe_run(folder, tmp_path / "1", options, stacked, seed=1, progress=progress)
    one, two = (read_images(made) for made in (first, observe_run(folder, tmp_path / "2", options, seed=1, jobs=2)))
    assert progress.mock_calls == [call.begin(9), *[call.advance(3)] * 3] and first.manifest["images"] == 9
    assert len(read_images(tmp_path / "maps" / "2df.dat")) == 3 * THESIS_MAPS.views
    assert one.pixels.tobytes() != two.pixels.tobytes()  # of one snapshot each
    again = read_images(observe_run(folder, tmp_path / "3", options, TakeSettings(stack=2), seed=1, jobs=2))
    np.testing.assert_array_equal(one.pixels, again.pixels)
    assert not np.array_equal(one.table["view_theta_deg"][:3], one.table["view_theta_deg"][3:6])
    assert list(one.table["mass_ratio"][6:]) == [2.0] * 3
    assert [len(paths) for paths in last_snapshots(folder, 2)] == [2, 2, 2]


def test_suites_draw_their_own_orbits_unless_they_share_a_group():
    """Dry and wet mergers of one group are on the same orbits; those of other mass ratios are on their own."""
    files = [suite_file(f"published_facts_{kind}") for kind in ("1to1", "gas", "3to1")]
    dry, gas, other = (from_file(file, SuiteSettings, EvolveSettings)[0] for file in files)
    names = [[orbit_name(task, suite, 5) for task in plan(suite) if task.mass_ratio] for suite in (dry, gas, other)]
    assert names[1] == names[0][:6] and not set(names[2]) & set(names[0])
    assert orbit_name(plan(dry)[0], dry, 5) is None  # a galaxy alone
    again = [orbit_name(task, dry, 6) for task in plan(dry) if task.mass_ratio]
    assert not set(again) & set(names[0])  # another seed
    finer = replace(dry, star_particles=100_000, duration_gyr=9.0)
    assert orbit_seed(finer, 5) == orbit_seed(dry, 5)  # a suite repeated with more particles has its orbits
    thesis = replace(dry, grid="thesis")
    assert orbit_name(plan(thesis)[3], thesis, 5) == orbit_name(plan(thesis)[3], replace(thesis, progenitor="dwarf"), 6)


@pytest.mark.slow
def test_spins_follow_the_group():
    """The same spins in two suites of one group, and others in one without."""
    suites = (SMALL, replace(SMALL, gas_fractions=(0.1,)), replace(SMALL, orbit_group="a"))
    pairs = replace(SMALL, gas_fractions=(0.1,), orbit_group="a")
    own, wet, shared, shared_wet = (begin(plan(suite)[1], suite, 4).about["orbit"]["first_spin_deg"]
                                    for suite in (*suites, pairs))  # fmt: skip
    assert own != wet and shared == shared_wet and shared != own


def test_where_the_other_galaxy_starts_is_told():
    """As the fraction of the heavier galaxy that is nearer: that of its halo, in which nearly all of its mass is."""
    inside = [begin(plan(replace(SMALL, separation=s))[1], replace(SMALL, separation=s), 4).about["mass_inside_start"]
              for s in (5.0, 50.0, 1000.0)]  # fmt: skip
    galaxy = model(SMALL.heavier)
    wanted = [galaxy.halo.enclosed_mass(s * 0.9) / galaxy.halo.mass_msun for s in (5.0, 50.0, 1000.0)]
    assert inside == pytest.approx(wanted, abs=0.05) and inside[0] < inside[1] < inside[2] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["published_facts_gas", "small", "thesis_2", "thesis_3", "sequence_2", "sequence_3"])
def test_shipped_gas_is_resolved_where_stars_begin_to_form(name):
    """64 gas particles weigh less than the Jeans mass at the threshold; for c = 10 km/s that is 1.9e8 Msun."""
    suite, evolve = from_file(suite_file(name), SuiteSettings, EvolveSettings)
    for fraction in [f for f in suite.gas_fractions if f > 0] or [suite.heavier.gas_fraction]:
        particle = fraction * suite.heavier.disc_mass_msun / suite.heavier.gas_particles
        gas = snapshot(np.zeros((10, 3)), mass=particle, component=COMPONENTS.index("gas"),
                       about={"sound_speed_km_s": suite.heavier.sound_speed_km_s})  # fmt: skip
        found = gas_resolution(gas, evolve)
        assert found["gas_kernel_msun"] == pytest.approx(64 * particle, rel=1e-5)
        assert found["gas_kernel_msun"] < found["jeans_mass_msun"] == pytest.approx(1.887e8, rel=1e-3)
        assert jeans_mass_msun(found["gas_resolved_msun_kpc3"], 10.0) == pytest.approx(found["gas_kernel_msun"])
    (line,) = [line for line in (ROOT / "docs" / "gas.md").read_text().splitlines() if f"`{name}`" in line]
    told = [float(cell) for cell in line.strip("|").split("|")[1:]]  # of the most gas
    assert told == pytest.approx([found["gas_kernel_msun"], found["gas_resolved_msun_kpc3"]], rel=0.05)


def test_bad_suites_say_why(tmp_path):
    for wrong, sentence in (
        ({"mass_ratios": (0.5,)}, "every value of setting 'mass_ratios' must be from 1 to 1,000,000; received 0.5"),
        ({"gas_fractions": (1.0,)}, "'gas_fractions' must be at least 0 and below 1; received 1.0"),
        ({"orbits": 0}, "'orbits' must be from 1 to 10,000; received 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            replace(SMALL, **wrong)
    with pytest.raises(ValueError, match="milky_way"):
        _ = replace(SMALL, progenitor="spiral").heavier
    with pytest.raises(FileNotFoundError, match="no snapshots"):
        last_snapshots(tmp_path)


@pytest.mark.slow
def test_the_commands(tmp_path, capsys):
    """A suite as a file, and the images of its galaxies as a set that every other command reads."""
    file = tmp_path / "suite.toml"
    file.write_text(
        "mass_ratios = [1.0]\norbits = 1\nduration_gyr = 0.01\noutput_gyr = 0.01\nhalo_particles = 200\n"
        "star_particles = 400\nseparation = 8.0\ncontrol = false\n"
    )
    assert main(["simulate", str(file), "-o", str(tmp_path / "run"), "--quiet"]) == 0
    maps = ["--maps", str(tmp_path / "maps")]
    assert main(["observe", str(tmp_path / "run"), "-o", str(tmp_path / "set"), "--views", "4", *maps, "--quiet"]) == 0
    images = read_images(tmp_path / "set")
    assert len(images) == 4 and set(images.table["merger"]) == {"ratio1-gas0-orbit000"}
    assert len(read_images(tmp_path / "maps" / "2df.dat")) == 100
    assert (tmp_path / "run" / "report.html").exists()
    assert main(["simulate", "sequence_9", "-o", str(tmp_path / "other")]) == 2
    assert "sequence_3" in capsys.readouterr().err
    assert main(["simulate", str(file), "--sequence", "1", "-o", str(tmp_path / "other")]) == 2
    assert "not both" in capsys.readouterr().err
    file.write_text("speed = 3\n")
    assert main(["simulate", str(file), "-o", str(tmp_path / "other")]) == 2
    assert "unknown setting 'speed'" in capsys.readouterr().err


def rows_of_the_page() -> dict[str, list[str]]:
    """The cells of each suite's row in docs/suites.md; a row may be of several."""
    rows = {}
    for line in (ROOT / "docs" / "suites.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`(\w+)`", cells[0]) if line.startswith("|") else []:
            rows.setdefault(name, cells)
    return rows


@pytest.mark.parametrize("name", shipped_suites())
def test_the_page_of_suites_agrees_with_their_files(name):
    """Mergers, controls, particles of a 1:1 merger with the most gas and without, and duration."""
    suite, _ = from_file(suite_file(name), SuiteSettings, EvolveSettings)
    cells = rows_of_the_page()[name]
    tasks = plan(suite)
    alone = sum(task.mass_ratio is None for task in tasks)
    controls = {0: "", 1: " and a control"}.get(alone, f" and {alone} controls")
    assert cells[2].removesuffix(" each") == f"{len(tasks) - alone}{controls}"
    galaxy = suite.heavier
    other = progenitor_of(suite.companion) if suite.companion else scaled(galaxy, 1 / suite.mass_ratios[0])
    dry = sum(one.halo_particles + one.star_particles for one in (galaxy, other))
    wet = dry + sum(one.gas_particles for one in (galaxy, other))
    fractions = suite.gas_fractions or (galaxy.gas_fraction,)
    if name == "published_facts_3to1":
        assert cells[3].startswith("72,000 over")
    elif name.startswith("thesis") or (min(fractions) == 0 < max(fractions)):
        assert cells[3].startswith(f"{dry:,} (")
        assert f"({wet:,} with gas)" in cells[3] or max(fractions) == 0
    else:
        assert cells[3].startswith(f"{wet if max(fractions) else dry:,} over")
    assert cells[3].endswith(f"over {suite.duration_gyr:g} Gyr")


def test_each_merger_has_a_folder_of_its_own():
    """However close its numbers are to those of others."""
    ratios, fractions = (1.0, 1.0000001, 1 + 2**-52, 3.0), (0.1, 0.1 + 2**-53)
    tasks = plan(SuiteSettings(mass_ratios=ratios, gas_fractions=fractions, orbits=2))
    names = [task.name for task in tasks]
    assert len(set(names)) == len(names) == len(fractions) * (1 + 2 * len(ratios))
    assert {"control-gas0.1", "ratio1-gas0.1-orbit000", "ratio1.0000001-gas0.1-orbit001"} <= set(names)


@pytest.mark.parametrize("name", ["mass_ratios", "gas_fractions"])
def test_a_merger_is_run_once(name):
    with pytest.raises(ValueError, match=f"'{name}' .* twice"):
        SuiteSettings(**{name: (0.5, 0.5) if name == "gas_fractions" else (2.0, 2.0)})


def test_a_galaxy_whose_file_has_changed_is_refused(tmp_path):
    """Of a suite that was not finished, by the name of the file."""
    galaxy = tmp_path / "galaxy.toml"
    galaxy.write_text("disc_mass_msun = 1e9\n")
    settings = SuiteSettings(progenitor=str(galaxy))
    suite_module._begin_run(tmp_path / "run", settings, EvolveSettings(), ProgramSettings(), 0, False)
    unlock_all()
    galaxy.write_text("disc_mass_msun = 2e9\n")
    with pytest.raises(FileExistsError, match=f"the content of '{galaxy}' has changed"):
        suite_module._begin_run(tmp_path / "run", settings, EvolveSettings(), ProgramSettings(), 0, False)
