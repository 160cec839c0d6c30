"""Gas against exact solutions, what it conserves, and the stars that form from it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from emeraldcut.data.snapshot import COMPONENTS, GRAVITY, KPC_PER_KM_S_GYR, Snapshot, read_snapshot, write_snapshot
from emeraldcut.mergers.gas import GAMMA, schmidt_rate
from emeraldcut.mergers.leapfrog import EvolveSettings, evolve
from emeraldcut.mergers.progenitors import DWARF, make_progenitor
from emeraldcut.mergers.sph import flow_of

DISC, GAS, NEW = (COMPONENTS.index(name) for name in ("disc", "gas", "new_stars"))
COARSE = {"softening_kpc": (1.0,) * 5}


def lattice(low: tuple, high: tuple, spacing: float) -> np.ndarray:
    """Places (n, 3) of a body-centred cubic lattice in a box; one fills spacing^3 / 2."""
    axes = [np.arange(a + spacing / 4, b, spacing) for a, b in zip(low, high, strict=True)]
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.concatenate([corners, corners + spacing / 2])


def gas(position, mass, energy=None, velocity=None, about=COARSE) -> Snapshot:
    n = len(position)
    return Snapshot(
        np.asarray(position, np.float32), np.zeros((n, 3), np.float32) if velocity is None else velocity,
        np.broadcast_to(mass, n).astype(np.float32), np.full(n, GAS, np.int8), np.zeros(n, np.int8),
        internal_energy=None if energy is None else energy.astype(np.float32), about=about,
    )  # fmt: skip


def flow(position, velocity=None, mass=None, speed=1.0, **options):
    n = len(position)
    velocity, mass = np.zeros((n, 3)) if velocity is None else velocity, np.ones(n) if mass is None else mass
    return flow_of(position, velocity, mass, np.full(n, speed**2), np.full(n, speed), **options)


# --- sums over neighbours


@pytest.mark.parametrize("neighbours", [40, 64, 100])
def test_the_density_of_a_lattice(neighbours):
    place = lattice((-6,) * 3, (6,) * 3, 1.0)
    inner = np.abs(place).max(axis=1) < 2
    found = flow(place, neighbours=neighbours)
    np.testing.assert_allclose(found.density[inner], 2, rtol=0.01)
    np.testing.assert_allclose(found.radius[inner], (3 * neighbours / (4 * np.pi * found.density[inner])) ** (1 / 3), rtol=1e-4)
    assert np.abs(found.acceleration[inner]).max() < 1e-4  # in balance


def test_the_density_of_gas_at_random_and_of_a_slope():
    rng = np.random.default_rng(0)
    place = rng.uniform(-1, 1, (20_000, 3))
    place[:, 0] = np.sqrt(2 * (place[:, 0] + 1)) * 2 - 2  # density proportional to x + 2
    inner = np.abs(place).max(axis=1) < 0.7
    found, true = flow(place), 20_000 / 32 * (place[:, 0] + 2)
    ratio = found.density[inner] / true[inner]
    assert np.mean(ratio) == pytest.approx(1, abs=0.03) and np.std(ratio) < 0.12
    # pressure pushes to where there is less: -c^2 d ln(density)/dx
    push = found.acceleration[inner, 0] * (place[inner, 0] + 2)
    assert np.median(push) == pytest.approx(-1, abs=0.15)


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
        np.testing.assert_allclose(a, c, rtol=0.02, atol=2e-3 * np.abs(a).max())
    some = rng.random(3000) < 0.2
    partly = flow(place, velocity, before=one, active=some)
    np.testing.assert_array_equal(partly.acceleration[~some], one.acceleration[~some])
    np.testing.assert_allclose(partly.density[some], again.density[some], rtol=1e-6)


# --- flows with known solutions


def riemann(left, right, x_over_t, gamma=GAMMA):
    """Density, velocity and pressure of the exact solution for gas at rest on both sides, (density, pressure), with a
    rarefaction to the left and a shock to the right (Toro 2009, chapter 4)."""
    (density, pressure), (thin, low) = left, right
    sound, a, b = np.sqrt(gamma * pressure / density), 2 / ((gamma + 1) * thin), (gamma - 1) / (gamma + 1) * low
    power = (gamma - 1) / (2 * gamma)

    def behind(p):
        return 2 * sound / (gamma - 1) * (1 - (p / pressure) ** power)

    p = brentq(lambda p: behind(p) - (p - low) * np.sqrt(a / (p + b)), low, pressure)
    speed, ratio = behind(p), (gamma - 1) / (gamma + 1)
    front = np.sqrt(gamma * low / thin * ((gamma + 1) / (2 * gamma) * p / low + power))
    tail = speed - sound * (p / pressure) ** power
    inside = sound - (gamma - 1) / (gamma + 1) * (sound + x_over_t)
    where = [x_over_t < -sound, x_over_t < tail, x_over_t < speed, x_over_t < front]
    shocked = thin * (p / low + ratio) / (ratio * p / low + 1)
    fan = [density * (inside / sound) ** (2 / (gamma - 1)), density * (p / pressure) ** (1 / gamma)]
    return (
        np.select(where, [density, *fan, shocked], thin),
        np.select(where, [0, 2 / (gamma + 1) * (sound + x_over_t), speed, speed], 0),
        np.select(where, [pressure, pressure * (inside / sound) ** (1 / power), p, p], low),
    )


def test_sod_shock_tube():
    """In the middle of an open bar, where nothing is known yet of its ends and sides: sound has come 0.13."""
    spacing, wide, time = 0.06, 0.36, 0.1
    left = lattice((-0.6, -wide, -wide), (0, wide, wide), spacing / 2)
    right = lattice((0, -wide, -wide), (0.5, wide, wide), spacing)
    place = np.concatenate([left, right])
    energy = np.where(np.arange(len(place)) < len(left), 1.0, 0.1 / 0.125) / (GAMMA - 1)
    tube = gas(place, 0.125 * spacing**3 / 2, 1e4 * energy)  # the unit of speed is 100 km/s; gravity is nothing
    until = time / 100 / KPC_PER_KM_S_GYR
    options = EvolveSettings(gas="adiabatic", output_gyr=until, star_efficiency=0.0)
    (_, first), (state, last) = evolve(tube, options, until_gyr=until)
    inner = (np.abs(state.position[:, 1:]) < 0.13).all(axis=1) & (np.abs(state.position[:, 0] + 0.05) < 0.3)
    x = state.position[inner, 0].astype(float)
    density, speed, pressure = riemann((1, 1), (0.125, 0.1), x / time)
    found = flow(state.position, mass=state.mass.astype(float)).density[inner]
    assert np.mean(np.abs(found - density)) < 0.03 * 1
    assert np.mean(np.abs(state.velocity[inner, 0] / 100 - speed)) < 0.045
    assert np.mean(np.abs(state.internal_energy[inner] / 1e4 - pressure / density * 1.5)) < 0.06
    # the plateau between the contact and the shock, and the jump
    plateau = (x > 0.1) & (x < 0.15)
    assert np.mean(state.velocity[inner, 0][plateau]) / 100 == pytest.approx(speed[plateau].mean(), rel=0.06)
    assert last["energy"] == pytest.approx(first["energy"], rel=2e-3)
    assert np.abs(last["momentum"]).max() < 1e-4 * tube.mass.sum() * 100


def evrard(number: int) -> Snapshot:
    """A sphere of gas with the density 1/r, at rest, u = 0.05 GM/R (Evrard 1988, MNRAS 235, 911): a stretched lattice."""
    spacing = (4 * np.pi / 3 * 2 / number) ** (1 / 3)
    place = lattice((-1.2,) * 3, (1.2,) * 3, spacing)
    radius = np.linalg.norm(place, axis=1)
    place = (place * np.sqrt(radius)[:, None])[radius < 1]
    return gas(place, 1e10 / len(place), np.full(len(place), 0.05 * GRAVITY * 1e10), about={"softening_kpc": (0.03,) * 5})


def shells(until: float, number: int = 150) -> np.ndarray:
    """Kinetic, thermal and potential energy of the same in one dimension, at times 0.1, 0.2 ... for G = M = R = 1.

    Lagrangian shells with the viscosity of von Neumann & Richtmyer (1950, J. Appl. Phys. 21, 232): another method than
    ours. It keeps its energy to 1 %, and twice as many shells change the peak by 1 %.
    """
    edge, inside, mass = np.sqrt(np.linspace(0, 1, number + 1)), np.linspace(0, 1, number + 1), 1 / number
    weight = np.append(np.full(number - 1, mass), mass / 2)  # of edges
    speed, energy, time, result = np.zeros(number + 1), np.full(number, 0.05), 0.0, []
    volume = 4 * np.pi / 3 * np.diff(edge**3)
    while time < until:
        density, jump = mass / volume, np.diff(speed)
        sound = np.sqrt(GAMMA * (GAMMA - 1) * energy)
        stress = np.where(jump < 0, density * (2 * jump**2 - 0.5 * sound * jump), 0)
        longest = 0.2 * np.min(np.diff(edge) / (sound + 4 * np.abs(jump)))
        step = min(longest, 0.1 * (len(result) + 1) - time + 1e-9)
        pressure = np.append((GAMMA - 1) * density * energy + stress, 0)
        speed[1:] -= step * (np.diff(pressure) * 4 * np.pi * edge[1:] ** 2 / weight + inside[1:] / edge[1:] ** 2)
        edge = edge + step * speed
        grown = 4 * np.pi / 3 * np.diff(edge**3)
        half = (GAMMA - 1) / 2 * (grown - volume)
        energy = (energy * (1 - half / volume) - stress * (grown - volume) / mass) / (1 + half / grown)
        volume, time = grown, time + step
        if time >= 0.1 * (len(result) + 1):
            result.append((0.5 * weight @ speed[1:] ** 2, mass * energy.sum(), -weight @ (inside[1:] / edge[1:])))
    return np.array(result)


@pytest.fixture(scope="session")
def collapse():
    """Kinetic, thermal, potential and all energy of `evrard` at times 0.1 ... 2.0, over GM^2/R."""
    unit, time = GRAVITY * 1e20, 1 / np.sqrt(GRAVITY * 1e10) / KPC_PER_KM_S_GYR
    options = EvolveSettings(gas="adiabatic", output_gyr=0.1 * time, star_efficiency=0.0, accuracy=0.15)
    rows = [row for _, row in evolve(evrard(4000), options, until_gyr=2 * time)]
    return np.array([[row[k] / unit for k in ("kinetic", "gas_energy", "potential", "energy")] for row in rows])


def test_evrard_collapse(collapse):
    true = shells(2.0)
    assert np.ptp(collapse[:, 3]) < 0.01 * np.abs(collapse[0, 3])
    assert collapse[0, 2] == pytest.approx(-2 / 3, rel=0.02)
    thermal = collapse[1:, 1]
    assert 0.1 * (np.argmax(thermal) + 1) == pytest.approx(0.1 * (np.argmax(true[:, 1]) + 1), abs=0.11)
    for column in range(3):
        print(np.round(collapse[1:, column], 3), np.round(true[:, column], 3))
