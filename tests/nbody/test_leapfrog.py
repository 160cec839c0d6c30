"""Orbits of known shape, spheres in equilibrium, what is conserved, and runs that go on."""

import dataclasses
from itertools import islice

import numpy as np
import pytest
from scipy.optimize import brentq

from emeraldcut.nbody.centre import centre_of, separation
from emeraldcut.nbody.leapfrog import evolve
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot import GRAVITY, KPC_PER_KM_S_GYR, Snapshot
from tests.helpers import isotropic, plummer_radii, snapshot

MASS, SCALE = 1e10, 1.0  # of the Plummer spheres below, Msun and kpc
DYNAMICAL = np.sqrt(SCALE**3 / (GRAVITY * MASS)) / KPC_PER_KM_S_GYR  # Gyr


def alike(softening: float, **others) -> EvolveSettings:
    return EvolveSettings(softening_kpc=(softening,) * 5, **others)


def in_equilibrium(number: int, seed: int = 0) -> Snapshot:
    """A Plummer sphere in equilibrium (Aarseth, Henon & Wielen 1974)."""
    rng = np.random.default_rng(seed)
    radius = plummer_radii(number, rng, SCALE)
    share, height = rng.random(20 * number), 0.1 * rng.random(20 * number)
    share = share[height < share**2 * (1 - share**2) ** 3.5][:number]  # of the escape speed
    speed = share * np.sqrt(2 * GRAVITY * MASS) * (radius**2 + SCALE**2) ** -0.25
    position, velocity = isotropic(radius, rng), isotropic(speed, rng)
    return snapshot(position - position.mean(0), velocity - velocity.mean(0), MASS / number)


def collision(number: int) -> Snapshot:
    """Two Plummer spheres on a bound, grazing orbit."""
    first, second = in_equilibrium(number // 2, 1), in_equilibrium(number // 2, 2)
    at, moving = np.array([3, 0.7, 0], np.float32), np.array([-80, 20, 0], np.float32)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(first, name), getattr(second, name)])

    return Snapshot(
        np.concatenate([first.position + at, second.position - at]),
        np.concatenate([first.velocity + moving, second.velocity - moving]),
        joined("mass"), joined("component"), np.repeat(np.array([0, 1], np.int8), number // 2),
    )  # fmt: skip


def two_bodies(eccentricity: float, axis: float = 1.0) -> tuple[Snapshot, float]:
    """Two bodies of 3 to 1 at apocentre, and their period in Gyr."""
    mass = np.array([7.5e9, 2.5e9], np.float32)
    distance = axis * (1 + eccentricity)
    speed = np.sqrt(GRAVITY * 1e10 / axis * (1 - eccentricity) / (1 + eccentricity))
    position = np.outer([-0.25, 0.75], [distance, 0, 0]).astype(np.float32)
    velocity = np.outer([-0.25, 0.75], [0, speed, 0]).astype(np.float32)
    period = 2 * np.pi * np.sqrt(axis**3 / (GRAVITY * 1e10)) / KPC_PER_KM_S_GYR
    return Snapshot(position, velocity, mass, np.ones(2, np.int8), np.array([0, 1], np.int8)), period


def kepler(eccentricity: float, phase: float) -> np.ndarray:
    """Where the second body is seen from the first, a share of a period after apocentre, for a = 1."""
    mean = np.pi + 2 * np.pi * phase
    anomaly = brentq(lambda e: e - eccentricity * np.sin(e) - mean, 0, 4 * np.pi, xtol=1e-13)
    return -np.array([np.cos(anomaly) - eccentricity, np.sqrt(1 - eccentricity**2) * np.sin(anomaly)])


@pytest.mark.parametrize("eccentricity", [0.0, 0.5])
def test_two_bodies_go_round_an_ellipse(eccentricity):
    snapshot, period = two_bodies(eccentricity)
    run = evolve(snapshot, alike(1e-3, accuracy=0.1, output_gyr=period / 8), until_gyr=period)
    for number, (state, row) in enumerate(run):
        seen = state.position[1] - state.position[0]
        np.testing.assert_allclose(seen[:2], kepler(eccentricity, number / 8), atol=4e-3)
        assert row["separation_kpc"] == pytest.approx(np.linalg.norm(seen), rel=1e-5)
    assert number == 8 and row["steps"] > 1000


def test_errors_go_with_the_square_of_the_step():
    snapshot, period = two_bodies(0.0)
    missed, steps = [], []
    for accuracy in (1.6, 0.8):
        *_, (state, row) = evolve(snapshot, alike(1e-3, accuracy=accuracy, output_gyr=period), until_gyr=period)
        seen = state.position[1] - state.position[0]
        missed.append(np.linalg.norm(seen[:2] - kepler(0.0, 1)))
        steps.append(row["steps"])
    assert steps[1] == 2 * steps[0]
    assert missed[0] / missed[1] == pytest.approx(4, rel=0.1)


@pytest.mark.slow
def test_a_sphere_in_equilibrium_stays_in_it():
    rows, radii = [], []
    for state, row in evolve(in_equilibrium(12_000), alike(0.05, output_gyr=2 * DYNAMICAL), until_gyr=12 * DYNAMICAL):
        distance = np.linalg.norm(state.position - state.position.mean(0), axis=1)
        radii.append(np.quantile(distance, (0.1, 0.5, 0.9)))
        rows.append(row)
    for share, most in ((0, 0.08), (1, 0.03), (2, 0.03)):  # Lagrangian radii; softening loosens the centre a little
        kept = np.array(radii)[:, share]
        assert np.abs(kept / kept[0] - 1).max() < most
    assert rows[0]["kinetic"] / rows[0]["potential"] == pytest.approx(-0.5, abs=0.01)  # virial theorem
    # potential energy of a Plummer sphere, 3 pi G M^2 / (32 a)
    assert rows[0]["potential"] == pytest.approx(-3 * np.pi / 32 * GRAVITY * MASS**2 / SCALE, rel=0.02)


@pytest.mark.slow
def test_what_a_merger_conserves():
    states, rows = zip(*evolve(collision(3000), alike(0.05, output_gyr=0.02), until_gyr=0.2), strict=True)
    energy = np.array([row["energy"] for row in rows])
    assert np.abs(energy / energy[0] - 1).max() < 0.01
    spin = np.array([row["angular_momentum"] for row in rows])
    assert np.linalg.norm(spin - spin[0], axis=1).max() < 0.01 * np.linalg.norm(spin[0])
    speed = np.linalg.norm(states[0].velocity, axis=1).mean()
    assert np.linalg.norm([row["momentum"] for row in rows], axis=1).max() < 0.01 * 2 * MASS * speed
    assert rows[0]["separation_kpc"] > 5 and rows[-1]["separation_kpc"] < 0.5  # they have merged
    assert all(row["energy"] == pytest.approx(row["kinetic"] + row["potential"]) for row in rows)
    assert all(row["force_seconds"] > 0 and row["other_seconds"] >= 0 for row in rows[1:])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["tree", "direct"])
def test_a_run_that_goes_on_is_the_undisturbed_one(engine):
    settings = alike(0.1, output_gyr=0.01, engine=engine)
    whole = list(evolve(collision(800), settings, until_gyr=0.05))
    begun = list(evolve(collision(800), settings, until_gyr=0.02))
    rest = list(evolve(begun[-1][0], settings, until_gyr=0.05, threads=2))
    assert [state.time_gyr for state, _ in rest] == [state.time_gyr for state, _ in whole[2:]]
    for (one, row), (other, again) in zip(whole, begun + rest[1:], strict=True):
        np.testing.assert_array_equal(one.position, other.position)
        np.testing.assert_array_equal(one.velocity, other.velocity)
        assert row["energy"] == again["energy"]
    assert one.position.dtype == one.velocity.dtype == np.float32
    assert not np.array_equal(whole[0][0].position, one.position)


def test_outputs_are_at_multiples_and_at_the_end():
    start = dataclasses.replace(in_equilibrium(50), time_gyr=0.013)
    times = [state.time_gyr for state, _ in evolve(start, alike(0.2, output_gyr=0.01), until_gyr=0.045)]
    assert times == [0.013, 2 * 0.01, 3 * 0.01, 4 * 0.01, 0.045]


def test_the_caller_need_not_take_all_of_it():
    states = [
        state for state, _ in islice(evolve(in_equilibrium(50), alike(0.2, output_gyr=0.001), until_gyr=100.0), 3)
    ]
    assert states[-1].time_gyr == 0.002


def test_nothing_is_accelerated_without_mass_nearby():
    """One particle moves straight on, at 1.0227 kpc per Gyr and km/s."""
    one = Snapshot(np.zeros((1, 3)), np.array([[10.0, 0, 0]]), np.ones(1), np.zeros(1, int), np.zeros(1, int))
    *_, (state, row) = evolve(one, alike(0.1, output_gyr=0.5), until_gyr=1.0)
    np.testing.assert_allclose(state.position, [[10 * KPC_PER_KM_S_GYR, 0, 0]], rtol=1e-6)
    assert row["steps"] == 2 and row["lost"] == 0 and np.isnan(row["separation_kpc"])


def test_what_escapes_is_lost():
    sphere = in_equilibrium(1000)
    sphere.velocity[:7] = (3000, 0, 0)
    _, row = next(evolve(sphere, alike(0.05), until_gyr=1.0))
    assert row["lost"] == 7


def test_softening_is_the_snapshots_where_it_is_not_set():
    sphere = in_equilibrium(100)
    stated = dataclasses.replace(sphere, about={"softening_kpc": (9.0, 0.3, 9.0, 9.0, 9.0)})
    (_, row), (_, same) = (
        next(evolve(snapshot, settings, until_gyr=1.0))
        for snapshot, settings in ((stated, EvolveSettings()), (sphere, alike(0.3)))
    )
    assert row["energy"] == same["energy"]


def test_centres_are_those_of_the_densest_parts():
    rng = np.random.default_rng(0)
    cloud = np.concatenate([rng.normal(size=(900, 3)) * 0.2 + (3, 4, 5), rng.normal(size=(600, 3)) * 10])
    np.testing.assert_allclose(centre_of(cloud, np.ones(1500)), (3, 4, 5), atol=0.1)
    np.testing.assert_allclose(centre_of(cloud + 1e3, np.ones(1500)), centre_of(cloud, np.ones(1500)) + 1e3)
    np.testing.assert_allclose(centre_of(cloud[:1], np.ones(1)), cloud[0])
    kinds = np.repeat(np.array([1, 0], np.int8), [900, 600])  # stars, and a halo that lies elsewhere
    here = Snapshot(cloud, cloud, np.ones(1500), kinds, np.zeros(1500, np.int8))
    there = Snapshot(cloud + (0, 8, 0), cloud, np.ones(1500), 0 * kinds, np.ones(1500, np.int8))
    both = Snapshot(
        *(np.concatenate([getattr(here, name), getattr(there, name)])
          for name in ("position", "velocity", "mass", "component", "galaxy"))
    )  # fmt: skip
    assert separation(both) == pytest.approx(8, abs=0.2)
    assert np.isnan(separation(here))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"opening": 0.0}, "'opening' must be above 0 and at most 1; received 0.0"),
        ({"accuracy": -1.0}, "'accuracy' must be from 1e-4 to 100; received -1.0"),
        ({"output_gyr": 0.0}, "'output_gyr' must be from 1e-6 to 1000; received 0.0"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        EvolveSettings(**settings)


def test_runs_that_cannot_be():
    with pytest.raises(ValueError, match="after that of the snapshot, 0.0 Gyr; received 0.0"):
        evolve(in_equilibrium(10), alike(0.1), until_gyr=0.0)
    with pytest.raises(ValueError, match="every value of setting 'softening_kpc' must be above 0"):
        EvolveSettings(softening_kpc=(0.1, 0.1, 0.0, 0.1, 0.1))
    for lengths in (None, (0.1, 0.1)):
        with pytest.raises(ValueError, match="softening_kpc expects 5 positive lengths, of halo, disc"):
            evolve(in_equilibrium(10), EvolveSettings(softening_kpc=lengths), until_gyr=1.0)
