"""Encounters: angles, speeds and centres of mass as asked for."""

import numpy as np
import pytest

from emeraldcut.errors import UsageError
from emeraldcut.mergers.encounters import (
    EncounterSettings,
    apocentre_kpc,
    circular_speed_km_s,
    enclosed_mass_msun,
    encounter_orbit,
    potential_km2_s2,
)
from emeraldcut.mergers.progenitors import ProgenitorSettings, model
from emeraldcut.mergers.tasks import SuiteSettings, begin, plan, progenitor_of, progenitor_text
from emeraldcut.nbody.snapshot import GRAVITY

HOST = ProgenitorSettings(
    halo_mass_msun=2.87e10, disc_mass_msun=5.7e8, disc_scale_kpc=0.76, disc_height_kpc=0.15, toomre_q=1.5,
    halo_particles=6000, star_particles=4000,
)  # fmt: skip
COMPANION = ProgenitorSettings(
    halo_mass_msun=7.3e8, halo_concentration=15.0, disc_mass_msun=3.6e8, disc_scale_kpc=0.99, disc_height_kpc=0.15,
    toomre_q=1.5, halo_particles=2000, star_particles=4000,
)  # fmt: skip
START = EncounterSettings(
    start_kpc=6.0, circularity=0.8, orbit_angle_deg=77.0, phase_deg=250.0, tilt_deg=17.0, azimuth_deg=164.0
)


def unit(spin_deg):
    theta, phi = np.radians(spin_deg)
    return np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])


def angle_deg(a, b):
    return np.degrees(np.arccos(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)))


def test_angles_are_those_asked_for():
    orbit = encounter_orbit(HOST, COMPANION, START)
    separation, velocity = np.array(orbit.separation_kpc), np.array(orbit.velocity_km_s)
    pole, spin = np.cross(separation, velocity), unit(orbit.second_spin_deg)
    assert np.linalg.norm(separation) == pytest.approx(6.0)
    assert separation @ velocity == pytest.approx(0.0, abs=1e-9)
    assert angle_deg(pole, [0, 0, 1]) == pytest.approx(77.0)
    assert angle_deg(pole, spin) == pytest.approx(17.0)
    azimuth = np.degrees(np.arctan2(spin @ velocity / np.linalg.norm(velocity), spin @ separation / 6.0))
    assert azimuth % 360 == pytest.approx(164.0)
    assert orbit.first_spin_deg == (0.0, 0.0)
    assert separation[2] / 6.0 == pytest.approx(np.sin(np.radians(77.0)) * np.sin(np.radians(250.0)))
    assert separation[0] / 6.0 == pytest.approx(np.cos(np.radians(250.0)))


def test_the_speed_is_a_fraction_of_the_circular_one():
    """That of the masses of both galaxies inside the distance: of cut Hernquist halos, and of discs that end inside."""
    orbit = encounter_orbit(HOST, COMPANION, START)
    inside = sum(float(enclosed_mass_msun(model(g), np.array([6.0]))[0]) for g in (HOST, COMPANION))
    assert np.linalg.norm(orbit.velocity_km_s) == pytest.approx(0.8 * np.sqrt(GRAVITY * inside / 6.0))
    assert enclosed_mass_msun(model(HOST), np.array([1e4]))[0] == pytest.approx(2.87e10 + 5.7e8, rel=1e-3)


def test_the_force_is_the_slope_of_the_potential():
    galaxies = (model(HOST), model(COMPANION))
    for radius in (1.0, 5.0, 20.0):
        slope = (potential_km2_s2(galaxies, radius * 1.01) - potential_km2_s2(galaxies, radius / 1.01)) / np.log(
            1.01**2
        )
        assert slope == pytest.approx(circular_speed_km_s(galaxies, radius) ** 2, rel=2e-3)


def test_orbits_by_energy_have_that_energy_and_angular_momentum():
    galaxies = (model(HOST), model(COMPANION))
    settings = EncounterSettings(start="energy", start_kpc=6.0, circularity=0.5)
    orbit = encounter_orbit(HOST, COMPANION, settings)
    distance, speed = orbit.separation_kpc[0], np.linalg.norm(orbit.velocity_km_s)
    circular = circular_speed_km_s(galaxies, 6.0)
    assert distance > 6.0
    assert distance * speed == pytest.approx(0.5 * 6.0 * circular)
    energy = potential_km2_s2(galaxies, 6.0) + circular**2 / 2
    assert potential_km2_s2(galaxies, distance) + speed**2 / 2 == pytest.approx(energy, rel=1e-6)
    assert apocentre_kpc(galaxies, 6.0, 1.0) == 6.0


@pytest.mark.parametrize(
    "values, words",
    [({"start": "energy", "circularity": 1.2}, "at most 1"), ({"tilt_deg": 200}, "from 0 to 180"),
     ({"orbit_angle_deg": 181}, "from 0 to 180"), ({"start_kpc": 0}, "'start_kpc' must be from 0.001 to 100,000")],
)  # fmt: skip
def test_what_cannot_be_is_refused(values, words):
    with pytest.raises(UsageError, match=words):
        EncounterSettings(**values)


@pytest.mark.slow
def test_a_suite_begins_with_the_encounter_at_rest():
    suite = SuiteSettings(
        grid="encounter", orbits=2, control=False, start_kpc=6.0, circularity=0.8, orbit_angle_deg=77.0,
        progenitor=progenitor_text(HOST), companion=progenitor_text(COMPANION),
    )  # fmt: skip
    tasks = plan(suite)
    assert [task.name for task in tasks] == ["encounter-gas0-run000", "encounter-gas0-run001"]
    both = begin(tasks[0], suite, 3, (0.4, 0.1, 0.1, 0.1, 0.1))
    mass = both.mass.astype(float)
    assert np.abs(np.average(both.position, axis=0, weights=mass)).max() < 1e-5
    assert np.abs(np.average(both.velocity, axis=0, weights=mass)).max() < 1e-4
    centres = [np.average(both.position[both.galaxy == g], axis=0, weights=mass[both.galaxy == g]) for g in (0, 1)]
    assert centres[1] - centres[0] == pytest.approx([6.0, 0.0, 0.0], abs=1e-4)
    assert mass[both.galaxy == 1].sum() == pytest.approx(COMPANION.disc_mass_msun + COMPANION.halo_mass_msun, rel=1e-4)
    other = begin(tasks[1], suite, 3, (0.4, 0.1, 0.1, 0.1, 0.1))
    assert (other.position != both.position).any()
    assert other.about["orbit"] == both.about["orbit"]


def test_galaxies_are_written_and_read_as_text():
    assert progenitor_of(progenitor_text(HOST)) == HOST
    assert progenitor_of(progenitor_text(COMPANION)) == COMPANION
    assert progenitor_text(ProgenitorSettings()) == "dwarf"
    with pytest.raises(UsageError, match=r"progenitor must be one of .*NAME=VALUE"):
        progenitor_of("giant")
    with pytest.raises(UsageError, match="unknown setting 'mass'"):
        progenitor_of("mass=1e9")
