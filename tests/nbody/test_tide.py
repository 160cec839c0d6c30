"""The tide of a far heavier galaxy: orbits in it, what is conserved, and that a run goes on undisturbed."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from emeraldcut.errors import UsageError
from emeraldcut.mergers.encounters import TidalOrbit
from emeraldcut.nbody.engines.program import ProgramSettings, evolve_elsewhere
from emeraldcut.nbody.leapfrog import evolve
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot import GRAVITY, KPC_PER_KM_S_GYR
from tests.helpers import snapshot
from tests.nbody.test_leapfrog import in_equilibrium

ORBIT = TidalOrbit(1e12, 20.0, 50.0, 0.6, 70.0, 130.0)
STEPS = EvolveSettings(softening_kpc=(0.1,) * 5, accuracy=0.1, output_gyr=0.125)


def test_a_body_follows_the_orbit_in_a_hernquist_sphere():
    """Compared with an integration by scipy in the frame of the sphere, in the plane of the orbit."""
    tide = ORBIT.applied(STEPS)
    body = snapshot(np.zeros((1, 3)), np.zeros((1, 3)), 1.0)
    states = list(evolve(body, tide, until_gyr=1.0))
    last = states[-1][0]
    centre = np.array(tide.tide_start_kpc) + np.array(tide.tide_velocity_km_s) * KPC_PER_KM_S_GYR

    def rates(_, state):
        x, v = state[:2], state[2:]
        r = np.hypot(*x)
        return [*(v * KPC_PER_KM_S_GYR), *(-GRAVITY * 1e12 / (r + 20.0) ** 2 * x / r * KPC_PER_KM_S_GYR)]

    speed = 0.6 * np.sqrt(GRAVITY * 1e12 * 50.0) / 70.0
    truth = solve_ivp(rates, (0, 1.0), [50.0, 0.0, 0.0, speed], rtol=1e-10, atol=1e-10).y[:2, -1]
    away = last.position[0] - centre
    assert np.linalg.norm(away) == pytest.approx(np.hypot(*truth), rel=1e-4)
    start = -np.array(tide.tide_start_kpc) / 50.0
    turned = np.degrees(np.arccos(away @ start / np.linalg.norm(away)))
    assert turned == pytest.approx(np.degrees(np.arccos(truth[0] / np.hypot(*truth))), abs=0.02)
    energies = [row["energy"] for _, row in states]
    assert np.ptp(energies) < 1e-4 * abs(energies[0])


def test_the_pole_of_the_orbit_is_inclined_as_asked():
    tide = ORBIT.applied(STEPS)
    position, velocity = -np.array(tide.tide_start_kpc), -np.array(tide.tide_velocity_km_s)
    pole = np.cross(position, velocity)
    assert np.degrees(np.arccos(pole[2] / np.linalg.norm(pole))) == pytest.approx(70.0)
    assert position @ velocity == pytest.approx(0.0, abs=1e-9)


def test_a_sphere_is_stretched_towards_the_centre_of_the_tide():
    """Before it has moved, the accelerations of its two ends differ by the tidal tensor of the sphere."""
    ends = np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0]])
    field = EvolveSettings(tide_mass_msun=1e12, tide_scale_kpc=20.0, tide_start_kpc=(50.0, 0.0, 0.0))
    from emeraldcut.nbody.tide import tide_of

    pulled, _ = tide_of(field).field(ends, 0.0)
    mass = GRAVITY * 1e12
    assert pulled[0, 0] - pulled[1, 0] == pytest.approx(2 * 2 * mass / 70.0**3, rel=1e-2)
    assert pulled[2, 1] - pulled[3, 1] == pytest.approx(-2 * mass / 50.0 / 70.0**2, rel=1e-2)


@pytest.mark.slow
def test_energy_of_many_bodies_is_conserved_in_a_tide_and_runs_go_on():
    sphere, moved = in_equilibrium(2000), ORBIT.applied(STEPS)
    states = list(evolve(sphere, moved, until_gyr=0.25))
    energies = np.array([row["energy"] for _, row in states])
    assert np.ptp(energies) < 2e-3 * abs(energies[0])
    (_, _), (again, _) = evolve(states[1][0], moved, until_gyr=0.25)
    np.testing.assert_array_equal(again.position, states[2][0].position)


def test_what_cannot_be_is_refused(tmp_path):
    body = snapshot(np.zeros((1, 3)), np.zeros((1, 3)), 1.0)
    with pytest.raises(UsageError, match="expects x, y and z"):
        evolve(body, EvolveSettings(softening_kpc=(1.0,) * 5, tide_mass_msun=1.0, tide_start_kpc=(1.0,)), until_gyr=1)
    with pytest.raises(UsageError, match="knows no tide"):
        settings = EvolveSettings(engine="gadget4", tide_mass_msun=1.0)
        next(evolve_elsewhere(body, settings, ProgramSettings(), until_gyr=1.0, folder=tmp_path))
