"""Gas against exact solutions, what it conserves, and the stars that form from it."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.mergers.observing import last_snapshots
from emeraldcut.mergers.progenitors import DWARF, make_progenitor
from emeraldcut.mergers.suite import simulate
from emeraldcut.mergers.tasks import SuiteSettings
from emeraldcut.nbody.gas import schmidt_rate
from emeraldcut.nbody.leapfrog import evolve
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot import COMPONENTS, GRAVITY, KPC_PER_KM_S_GYR
from emeraldcut.nbody.snapshot_files import read_snapshot, write_snapshot
from emeraldcut.nbody.sph import flow_of
from emeraldcut.tables import read_table
from tests.helpers import ROOT

GAS, NEW = (COMPONENTS.index(name) for name in ("gas", "new_stars"))
PATH = ROOT / "benchmarks" / "gas.py"  # holds the problems and their true solutions
spec = importlib.util.spec_from_file_location("gas_benchmark", PATH)
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)
lattice = bench.lattice


def flow(position, velocity=None, mass=None, speed=1.0, **options):
    n = len(position)
    velocity, mass = np.zeros((n, 3)) if velocity is None else velocity, np.ones(n) if mass is None else mass
    return flow_of(position, velocity, mass, np.full(n, speed**2), np.full(n, speed), **options)


# --- sums over neighbours


@pytest.mark.slow
@pytest.mark.parametrize("neighbours", [40, 64, 100])
def test_the_density_of_a_lattice(neighbours):
    place = lattice((-6,) * 3, (6,) * 3, 1.0)
    inner = np.abs(place).max(axis=1) < 2
    found = flow(place, neighbours=neighbours)
    np.testing.assert_allclose(found.density[inner], 2, rtol=0.01)
    np.testing.assert_allclose(
        found.radius[inner], (3 * neighbours / (4 * np.pi * found.density[inner])) ** (1 / 3), rtol=1e-4
    )
    assert np.abs(found.acceleration[inner]).max() < 1e-4  # in balance


def test_density_and_pressure_on_a_slope():
    """Of a lattice that is stretched to a density proportional to x + 2."""
    place = lattice((-1,) * 3, (1,) * 3, 0.1)
    place[:, 0] = 2 * np.sqrt(2 * (place[:, 0] + 1)) - 2
    inner = (np.abs(place[:, 1:]) < 0.5).all(axis=1) & (np.abs(place[:, 0]) < 1)
    found, above = flow(place), place[inner, 0] + 2
    np.testing.assert_allclose(found.density[inner], len(place) / 32 * above, rtol=0.03)
    # pressure pushes to where there is less: -c^2 d ln(density)/dx
    assert np.median(found.acceleration[inner, 0] * above) == pytest.approx(-1, abs=0.05)


def test_velocities_that_are_known_everywhere():
    place = lattice((-4,) * 3, (4,) * 3, 1.0)
    inner = np.abs(place).max(axis=1) < 1.5
    gradient = np.random.default_rng(1).normal(size=(3, 3))
    found = flow(place, place @ gradient.T)
    turn = np.array([gradient[2, 1] - gradient[1, 2], gradient[0, 2] - gradient[2, 0], gradient[1, 0] - gradient[0, 1]])
    np.testing.assert_allclose(found.divergence[inner], np.trace(gradient), rtol=0.05, atol=0.02)
    np.testing.assert_allclose(found.rotation[inner], np.linalg.norm(turn), rtol=0.05)
    turning = flow(place, np.cross([0, 0, 1.0], place))
    assert np.abs(turning.friction[inner]).max() < 1e-3  # nothing rubs in rigid rotation
    closing = flow(place, -0.3 * place)
    assert closing.friction[inner].min() > 0 and closing.compression[inner].min() > 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.floats(0.1, 30))
def test_pairs_conserve_momentum_angular_momentum_and_energy(seed, n, speed):
    """Also of few particles, of several masses, and in clumps."""
    rng = np.random.default_rng(seed)
    place = rng.normal(size=(n, 3)) * rng.choice([0.1, 1.0], (n, 1)) + rng.choice([0.0, 5.0], (n, 1))
    velocity, mass = rng.normal(0, 10, (n, 3)), rng.uniform(0.5, 2, n)
    found = flow(place, velocity, mass, speed)
    force = mass[:, None] * found.acceleration
    size = np.abs(force).sum() + 1e-9
    assert all(np.isfinite(values).all() for values in found)
    assert np.abs(force.sum(axis=0)).max() < 1e-4 * size
    assert np.abs(np.cross(place, force).sum(axis=0)).max() < 1e-3 * size
    # what kinetic energy loses is what the gas gains
    power = np.sum(force * velocity)
    heating = mass @ (found.compression + found.friction)
    assert power + heating == pytest.approx(0, abs=1e-4 * np.abs(force * velocity).sum() + 1e-6)
    assert (found.friction >= -1e-6 * np.abs(found.friction).max()).all()


def test_pressure_is_the_slope_of_the_free_energy():
    """The force is minus the derivative of the energy that the density stands for, by finite differences."""
    rng = np.random.default_rng(3)
    place, mass = rng.normal(size=(300, 3)), rng.uniform(0.5, 2, 300)
    force = mass[:, None] * flow(place, mass=mass, viscosity=0.0).acceleration
    direction = rng.normal(size=place.shape)
    step = 1e-3
    energy = []
    for sign in (1, -1):
        moved, state = place + sign * step * direction, None
        for _ in range(3):  # H is found to the end
            state = flow(moved, mass=mass, before=state)
        energy.append(mass @ np.log(state.density))
    assert np.sum(force * direction) == pytest.approx(-(energy[0] - energy[1]) / (2 * step), rel=0.02)


def test_threads_and_the_first_guess_do_not_matter():
    rng = np.random.default_rng(4)
    place, velocity = rng.normal(size=(3000, 3)), rng.normal(size=(3000, 3))
    one, two = flow(place, velocity), flow(place, velocity, threads=2)
    again = flow(place, velocity, before=one)
    for a, b, c in zip(one, two, again, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=0.02, atol=0.01 * np.abs(a).max())
    some = rng.random(3000) < 0.2
    partly = flow(place, velocity, before=one, active=some)
    np.testing.assert_array_equal(partly.acceleration[~some], one.acceleration[~some])
    np.testing.assert_allclose(partly.density[some], again.density[some], rtol=1e-6)


# --- flows with known solutions


@pytest.mark.slow
def test_sod_shock_tube():
    tube = bench.sod(0.06)
    first, last = tube["rows"]
    density, speed, energy = np.abs(tube["found"] - tube["true"]).mean(axis=1)
    assert density < 0.025 and speed < 0.045 and energy < 0.05
    behind = (tube["x"] > 0) & (tube["x"] < 0.15)  # the shock
    assert tube["found"][1, behind].mean() == pytest.approx(tube["true"][1, behind].mean(), rel=0.05)
    assert last["energy"] == pytest.approx(first["energy"], rel=2e-3)
    assert np.abs(last["momentum"]).max() < 1e-4 * last["gas_mass"] * 100  # steps are not the same for all


@pytest.mark.slow
def test_evrard_collapse():
    """Of few particles the peak is lower than the true one; it comes at the same time, and energy stays."""
    found, true = bench.collapse(2000, 1.5), bench.shells(1.5)
    assert found[0, 2] == pytest.approx(-2 / 3, rel=0.02)
    assert np.abs(found[:, 3] / found[0, 3] - 1).max() < 2e-3
    assert np.argmax(found[1:, 1]) == pytest.approx(np.argmax(true[:, 1]), abs=1)
    assert np.argmax(found[1:, 0]) == pytest.approx(np.argmax(true[:, 0]), abs=1)
    assert 0.7 < found[:, 1].max() / true[:, 1].max() < 1
    np.testing.assert_allclose(found[1:6, :3], true[:5], atol=0.035)  # before the shock


@pytest.mark.slow
def test_a_disc_in_equilibrium_stays_in_it():
    sizes, rows = bench.disc(1500, 0.15)
    radius, height = np.array(sizes).T
    np.testing.assert_allclose(radius / radius[0], 1, atol=0.12)
    assert (height / height[0]).max() < 1.6  # the kernel is thicker than the disc
    energy = np.array([row["energy"] for row in rows])
    assert np.abs(energy / energy[0] - 1).max() < 2e-3
    assert rows[-1]["radiated"] > 0 and rows[-1]["new_stars_mass"] == 0


# --- stars


def test_schmidts_law_in_a_uniform_box():
    """The gas that is left is exp(-efficiency t / t_ff) while it has no time to move: it is heavy and cold."""
    place, density = lattice((-1,) * 3, (1,) * 3, 0.2), 1e7
    n = len(place)
    box = bench.gas_at_rest(place, density * 0.2**3 / 2, np.full(n, np.nan), 50.0)
    free_fall = np.sqrt(3 * np.pi / (32 * GRAVITY * density)) / KPC_PER_KM_S_GYR  # 0.081 Gyr
    options = EvolveSettings(sound_speed_km_s=0.5, star_efficiency=5.0, output_gyr=0.002)
    inner = np.abs(place).max(axis=1) < 0.55
    for state, row in evolve(box, options, until_gyr=0.01, seed=3):
        assert row["gas_mass"] + row["new_stars_mass"] == pytest.approx(box.mass.sum(dtype=float))
        left = np.mean(state.component[inner] == GAS)
        # Less gas is less dense: d(rho)/dt = -k rho^1.5
        expected = (1 + 0.5 * 5.0 * row["time_gyr"] / free_fall) ** -2
        assert left == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / inner.sum()) + 0.02)
    formed = state.formed_gyr[state.component == NEW]
    assert len(formed) > 0.1 * n and formed.min() > 0 and formed.max() <= np.float32(0.01)
    assert np.isnan(state.formed_gyr[state.component == GAS]).all()


def test_no_stars_below_the_threshold():
    rate = schmidt_rate(np.array([1e5, 1e7, 4e7]), 0.02, 3e6)
    assert rate[0] == 0 and rate[2] / rate[1] == pytest.approx(2)
    assert 1 / rate[1] / KPC_PER_KM_S_GYR == pytest.approx(4.05, rel=0.01)  # Gyr


@pytest.fixture(scope="session")
def galaxy():
    small = replace(DWARF, gas_fraction=0.3, gas_particles=400, star_particles=400, halo_particles=400)
    return make_progenitor(small, seed=2)


def test_a_run_that_goes_on_is_the_undisturbed_one(galaxy, tmp_path):
    options = EvolveSettings(star_efficiency=0.2, output_gyr=0.01)
    whole = list(evolve(galaxy, options, until_gyr=0.05, seed=7))
    begun = list(evolve(galaxy, options, until_gyr=0.02, seed=7))
    kept = read_snapshot(write_snapshot(begun[-1][0], tmp_path / "s.hdf5"))
    rest = list(evolve(kept, options, until_gyr=0.05, seed=7, threads=2))
    for (one, row), (other, again) in zip(whole, begun + rest[1:], strict=True):
        for name in ("position", "velocity", "component", "formed_gyr"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert row["energy"] == again["energy"] and row["radiated"] == again["radiated"]
    assert row["new_stars_mass"] > 0
    other_seed = [state for state, _ in evolve(galaxy, options, until_gyr=0.05, seed=8)][-1]
    assert not np.array_equal(other_seed.component, one.component)


def test_adiabatic_gas_goes_on_too(tmp_path):
    ball = bench.evrard(300)
    options = EvolveSettings(gas="adiabatic", output_gyr=0.001, star_efficiency=1.0)
    whole = list(evolve(ball, options, until_gyr=0.004))
    kept = read_snapshot(write_snapshot(whole[2][0], tmp_path / "s.hdf5"))
    rest = list(evolve(kept, options, until_gyr=0.004))
    np.testing.assert_array_equal(whole[-1][0].internal_energy, rest[-1][0].internal_energy)
    np.testing.assert_array_equal(whole[-1][0].position, rest[-1][0].position)
    assert whole[-1][1]["energy"] == rest[-1][1]["energy"]
    assert np.isnan(whole[-1][0].internal_energy[whole[-1][0].component == NEW]).all()


def test_all_gas_may_become_stars(galaxy):
    options = EvolveSettings(star_efficiency=1e6, star_threshold=0.0, output_gyr=0.005)
    rows = [row for _, row in evolve(galaxy, options, until_gyr=0.015)]
    assert rows[1]["gas_mass"] == 0 and rows[-1]["gas_energy"] == 0
    assert rows[-1]["energy"] == pytest.approx(rows[0]["energy"], rel=0.01)


def test_gas_of_unknown_temperature_is_an_error(galaxy):
    unknown = replace(galaxy, about={"softening_kpc": galaxy.about["softening_kpc"]})
    with pytest.raises(ValueError, match="sound_speed_km_s expects"):
        evolve(unknown, until_gyr=0.1)
    with pytest.raises(ValueError, match="internal_energy"):
        evolve(galaxy, EvolveSettings(gas="adiabatic"), until_gyr=0.1)
    for wrong in ({"courant": 0.0}, {"viscosity": -1.0}, {"neighbours": 3.0}, {"star_efficiency": -0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            EvolveSettings(**wrong)


@pytest.mark.slow
def test_a_suite_with_gas(tmp_path):
    suite = SuiteSettings(
        mass_ratios=(2.0,), gas_fractions=(0.3,), orbits=1, duration_gyr=0.02, separation=8.0, control=False,
        halo_particles=300, star_particles=400, gas_particles=200,
    )  # fmt: skip
    run = simulate(tmp_path / "run", suite, EvolveSettings(output_gyr=0.01, star_efficiency=0.5), seed=1)
    row = read_table(run.path("suite.ecsv"))[0]
    last = read_snapshot(last_snapshots(tmp_path / "run")[0][-1])
    assert row["new_stars_mass"] == pytest.approx(last.mass[last.component == NEW].sum()) and row["new_stars_mass"] > 0
    assert last.about["diagnostics"]["gas_mass"] == pytest.approx(last.mass[last.component == GAS].sum())
    assert row["energy_drift"] < 0.01
