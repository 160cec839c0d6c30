"""Orbits: Kepler's laws, spins without preferred direction, and placing that leaves galaxies as they are."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.stats import kstest

from emeraldcut.mergers.orbits import (
    Orbit,
    OrbitSettings,
    attracting_mass_msun,
    draw_orbits,
    draw_spins_deg,
    kepler_orbit,
    lattice_orbits,
    place,
    thesis_orbits,
    time_to_pericentre_gyr,
)
from emeraldcut.nbody.snapshot import GRAVITY, KPC_PER_KM_S_GYR, Snapshot
from emeraldcut.nbody.snapshot_files import read_snapshot, write_snapshot
from emeraldcut.numerics.linalg import rotation
from emeraldcut.settings import build


def path_of(q, e, r):
    return OrbitSettings(pericentre_kpc=q, eccentricity=e, separation_kpc=r)


@st.composite
def orbit_settings(draw):
    q, e = draw(st.floats(0.1, 20)), draw(st.floats(0, 1.5))
    farthest = q * (1 + e) / (1 - e) if e < 1 else np.inf
    return path_of(q, e, q + draw(st.floats(0, 1)) * (min(farthest, 50 * q) - q))


def galaxy(n, seed, galaxies=1):
    rng = np.random.default_rng(seed)
    x, v = rng.normal(5, 3, (n, 3)), rng.normal(-20, 50, (n, 3))
    v += np.cross([0, 0, 30.0], x - 5)  # turns about +z
    return Snapshot(
        x.astype(np.float32), v.astype(np.float32), rng.uniform(1, 2, n).astype(np.float32) * np.float32(1e5),
        rng.integers(0, 5, n).astype(np.int8), rng.integers(0, galaxies, n).astype(np.int8), time_gyr=1.5,
        formed_gyr=rng.uniform(0, 1, n).astype(np.float32), about={"seed": seed},
    )  # fmt: skip


def mean_of(snapshot, values, chosen):
    return np.average(values[chosen].astype(float), axis=0, weights=snapshot.mass[chosen].astype(float))


# --- Kepler


@settings(max_examples=200, deadline=None)
@given(orbit_settings(), st.floats(1e8, 1e13))
def test_energy_angular_momentum_and_direction(orbit, mass):
    made = kepler_orbit(orbit, mass)
    r, v = np.array(made.separation_kpc), np.array(made.velocity_km_s)
    q, e = orbit.pericentre_kpc, orbit.eccentricity
    unit = GRAVITY * mass / q
    assert np.linalg.norm(r) == pytest.approx(orbit.separation_kpc)
    assert v @ v / 2 - GRAVITY * mass / np.linalg.norm(r) == pytest.approx(-(1 - e) / 2 * unit, abs=1e-6 * unit)
    assert np.allclose(np.cross(r, v), [0, 0, np.sqrt(GRAVITY * mass * q * (1 + e))], rtol=1e-6, atol=1e-6 * q)
    assert r @ v <= 1e-6 * np.linalg.norm(r) * np.linalg.norm(v)  # they approach


@pytest.mark.parametrize("e, separation", [(1.0, 60.0), (0.9, 37.0), (0.5, 5.5), (1.3, 40.0), (0.9, 38.0)])
def test_the_pericentre_is_reached_when_and_where_it_is_said(e, separation):
    orbit, mass = path_of(2.0, e, separation), 1.2e11
    made = kepler_orbit(orbit, mass)

    def motion(_, state):
        return np.concatenate([state[3:], -GRAVITY * mass * state[:3] / np.linalg.norm(state[:3]) ** 3])

    end = time_to_pericentre_gyr(orbit, mass) * KPC_PER_KM_S_GYR
    assert made.about["time_to_pericentre_gyr"] == pytest.approx(end / KPC_PER_KM_S_GYR)
    start = np.concatenate([made.separation_kpc, made.velocity_km_s])
    state = solve_ivp(motion, (0, end), start, rtol=1e-10, atol=1e-10).y[:, -1]
    assert np.allclose(state[:3], [2.0, 0, 0], atol=1e-3)
    assert abs(state[3]) < 0.01 * state[4]


def test_from_the_farthest_point_it_takes_half_a_period():
    q, e, mass = 2.0, 0.6, 1e11
    a = q / (1 - e)
    half = np.pi * np.sqrt(a**3 / (GRAVITY * mass)) / KPC_PER_KM_S_GYR
    assert time_to_pericentre_gyr(path_of(q, e, a * (1 + e)), mass) == pytest.approx(half, rel=1e-5)
    assert time_to_pericentre_gyr(path_of(q, e, q), mass) == 0


@pytest.mark.parametrize(
    "values, mass, reason",
    [
        ((2.0, 0.5, 7.0), 1e10, "runs from 2 to 6 kpc; received a separation of 7.0"),
        ((2.0, 1.0, 1.0), 1e10, "runs from 2 to inf kpc"),
        ((2.0, 1.0, np.inf), 1e10, "'separation_kpc' expects a finite number; received inf"),
        ((0.0, 1.0, 10.0), 1e10, "'pericentre_kpc' must be from 0.001 to 100,000; received 0.0"),
        ((2.0, -0.1, 10.0), 1e10, "'eccentricity' must be from 0 to 1000; received -0.1"),
        ((2.0, 1.0, 10.0), 0.0, "a mass above 0; received 0.0"),
    ],
)
def test_impossible_orbits_are_named(values, mass, reason):
    with pytest.raises(ValueError, match=reason):
        kepler_orbit(path_of(*values), mass)
    with pytest.raises(ValueError, match=reason):
        time_to_pericentre_gyr(path_of(*values), mass)


def test_settings_are_built_from_text():
    assert build(OrbitSettings, {"pericentre_kpc": "3", "eccentricity": "0.95"}) == path_of(3.0, 0.95, 60.0)


# --- spins


def directions(spins_deg):
    theta, phi = np.radians(np.asarray(spins_deg)).T
    return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)


def test_spins_have_no_preferred_direction():
    n = 20_000
    spins = draw_spins_deg(n, np.random.default_rng(3))
    units = directions(spins)
    assert np.abs(units.mean(axis=0)).max() < 5 / np.sqrt(3 * n)
    assert np.abs(units.T @ units / n - np.eye(3) / 3).max() < 0.012  # quadrupole
    assert kstest(np.cos(np.radians(spins[:, 0])), "uniform", (-1, 2)).pvalue > 1e-3
    assert kstest(spins[:, 1], "uniform", (0, 360)).pvalue > 1e-3
    lattice = directions([(theta, phi) for theta in range(0, 181, 30) for phi in range(0, 360, 30)])
    assert np.mean(lattice[:, 2] ** 2) > 0.45  # equal steps of the angles crowd at the poles: not 1/3


def test_orbits_are_drawn_with_independent_spins_and_the_nth_is_always_the_same():
    orbits = draw_orbits(OrbitSettings(), 1e11, 600, seed=5)
    first = directions([orbit.first_spin_deg for orbit in orbits])
    second = directions([orbit.second_spin_deg for orbit in orbits])
    assert np.abs(first.mean(axis=0)).max() < 0.12 and np.abs(second.mean(axis=0)).max() < 0.12
    assert abs((first * second).sum(axis=1).mean()) < 0.12
    assert orbits[:3] == draw_orbits(OrbitSettings(), 1e11, 3, seed=5) != draw_orbits(OrbitSettings(), 1e11, 3, seed=6)
    assert len({orbit.separation_kpc for orbit in orbits}) == 1


@given(st.floats(0, 180), st.floats(0, 360))
def test_a_rotation_turns_z_to_the_spin(theta, phi):
    turn = rotation((theta, phi))
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)
    assert np.allclose(turn @ [0, 0, 1], directions([(theta, phi)])[0])


# --- both galaxies


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000),
    st.tuples(st.floats(0, 180), st.floats(0, 360)), st.tuples(st.floats(0, 180), st.floats(0, 360)),
)  # fmt: skip
def test_placing_leaves_galaxies_as_they_are(n, m, seed, first_spin, second_spin):
    first, second = galaxy(n, seed), galaxy(m, seed + 1)
    orbit = Orbit((30.0, -20.0, 5.0), (-100.0, 40.0, 3.0), first_spin, second_spin)
    both = place(first, second, orbit)
    own = both.galaxy == 0
    assert np.array_equal(both.galaxy, [0] * n + [1] * m) and both.time_gyr == 1.5
    for name in ("mass", "component", "formed_gyr"):
        joined = np.concatenate([getattr(first, name), getattr(second, name)])
        assert getattr(both, name).tobytes() == joined.tobytes()
    everything = np.ones(n + m, bool)
    for values, relative in ((both.position, orbit.separation_kpc), (both.velocity, orbit.velocity_km_s)):
        assert np.allclose(mean_of(both, values, everything), 0, atol=1e-4)
        assert np.allclose(mean_of(both, values, ~own) - mean_of(both, values, own), relative, atol=1e-3)
    for before, chosen, spin in ((first, own, first_spin), (second, ~own, second_spin)):
        x, v = (values[chosen] - mean_of(both, values, chosen) for values in (both.position, both.velocity))
        x0, v0 = (values - mean_of(before, values, slice(None)) for values in (before.position, before.velocity))
        assert np.allclose(x @ x.T, x0 @ x0.T, atol=0.02) and np.allclose(v @ v.T, v0 @ v0.T, rtol=1e-3, atol=1)
        momentum = [(before.mass[:, None] * np.cross(a, b)).sum(axis=0, dtype=float) for a, b in ((x0, v0), (x, v))]
        assert np.allclose(
            rotation(spin) @ momentum[0], momentum[1], rtol=1e-3, atol=1e-4 * np.abs(momentum[0]).max() + 1
        )


@pytest.mark.slow
def test_placed_galaxies_count_on_and_are_written_and_read(tmp_path):
    orbit = kepler_orbit(OrbitSettings(), 1e11, second_spin_deg=(30, 60))
    pair = place(galaxy(5, 0), galaxy(6, 1), orbit)
    three = place(pair, galaxy(7, 2), orbit)
    assert np.array_equal(three.galaxy, [0] * 5 + [1] * 6 + [2] * 7)
    back = read_snapshot(write_snapshot(pair, tmp_path / "pair.hdf5"))
    assert back.about == pair.about and back.about["second"] == {"seed": 1}
    assert back.about["orbit"]["second_spin_deg"] == [30, 60]


def test_an_empty_galaxy_cannot_be_placed():
    with pytest.raises(ValueError, match="at least one particle"):
        place(galaxy(3, 0), galaxy(0, 0), Orbit((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)))


# --- the thesis's grid


def test_spins_of_the_lattice_are_two_tetrahedra():
    orbits = lattice_orbits(OrbitSettings(), 1e11)
    first, second = (
        directions([getattr(orbit, name) for orbit in orbits]) for name in ("first_spin_deg", "second_spin_deg")
    )
    assert len({(orbit.first_spin_deg, orbit.second_spin_deg) for orbit in orbits}) == 16
    for corners, up in ((first[4:8], 1), (second[:4], -1)):
        np.testing.assert_allclose(corners @ corners.T, np.where(np.eye(4), 1, -1 / 3), atol=1e-9)
        assert corners[0] @ [0, 0, 1] == pytest.approx(up)
    # a disc turned by its inclination about its node, which is an argument of the pericentre before the other galaxy
    for spin, inclination, argument, pericentre in ((first[1], -109.47, -60, 0), (second[2], 70.53, -30, 180)):
        node, tilt = np.radians(pericentre - argument), np.radians(inclination)
        true = [np.sin(tilt) * np.sin(node), -np.sin(tilt) * np.cos(node), np.cos(tilt)]
        np.testing.assert_allclose(spin, true, atol=1e-4)


def test_the_grid_of_the_thesis():
    orbits = thesis_orbits(50.0)
    assert len(orbits) == 819 and sum(orbit.about["distinct"] for orbit in orbits) == 558
    assert orbits[0].velocity_km_s == (0, 0, 0) and orbits[0].separation_kpc == (50, 0, 0)
    assert orbits[-1].velocity_km_s[1] == pytest.approx(486, abs=1)  # v_y = 4 in units of 121 km/s
    assert [orbit.second_spin_deg for orbit in orbits[:3]] == [(0, 0), (0, 30), (0, 60)]
    assert len({(orbit.about["v_y"], orbit.second_spin_deg) for orbit in orbits}) == 819


def test_duplicates_of_the_grid_are_those_of_the_same_motion_and_spin():
    orbits = thesis_orbits(50.0)
    units = directions([orbit.second_spin_deg for orbit in orbits])
    motion = np.array([(*orbit.velocity_km_s, *unit) for orbit, unit in zip(orbits, units, strict=True)])
    first_of_kind = {}
    for number, row in enumerate(np.round(motion, 6) + 0.0):
        assert orbits[number].about["same_as"] == first_of_kind.setdefault(tuple(row), number)


def test_units_of_the_grid_are_named():
    with pytest.raises(ValueError, match="must be above 0; received 0"):
        thesis_orbits(0)
    halved = thesis_orbits(50.0, mass_msun=1.5e10)
    assert halved[-1].velocity_km_s[1] == pytest.approx(243, abs=1)
    assert dataclasses.replace(halved[0], about={}) == Orbit((50.0, 0.0, 0.0), (0.0, 0.0, 0.0))


def test_the_mass_with_which_galaxies_attract_each_other():
    """Points: their mass. A point inside a uniform sphere: its potential, G M (3 R^2 - r^2) / (2 R^3)."""
    rng = np.random.default_rng(3)

    def galaxy(position, mass):
        n = len(position)
        kinds = np.ones(n, np.int8), np.zeros(n, np.int8)
        return Snapshot(position.astype(np.float32), np.zeros((n, 3), np.float32), np.full(n, mass / n), *kinds)

    n = 200_000
    ball = rng.normal(size=(n, 3))
    ball *= 10 * np.cbrt(rng.uniform(size=(n, 1))) / np.linalg.norm(ball, axis=1, keepdims=True)
    sphere, point = galaxy(ball, 4.0), galaxy(np.zeros((1, 3)), 2.0)
    for distance in (4.0, 8.0):
        expected = 6 * (300 - distance**2) / 2000 * distance
        assert attracting_mass_msun(sphere, point, distance) == pytest.approx(expected, rel=3e-3)
        assert attracting_mass_msun(point, sphere, distance) == pytest.approx(expected, rel=3e-3)
    assert attracting_mass_msun(sphere, sphere, 50.0) == pytest.approx(8, rel=3e-3)
