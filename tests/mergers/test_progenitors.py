"""Progenitors: what is drawn has the profiles, velocities and balance that formulas and direct sums give."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from scipy.integrate import cumulative_trapezoid
from scipy.special import i0e, i1e, k0e, k1e
from scipy.stats import kstest

from emeraldcut.mergers.disc import EDGE, Disc, gas_heights
from emeraldcut.mergers.progenitors import (
    DWARF,
    MILKY_WAY,
    PROGENITORS,
    ProgenitorSettings,
    halo_scale_kpc,
    make_progenitor,
    model,
    recommended_softening_kpc,
    scaled,
)
from emeraldcut.mergers.spheroid import Spheroid, distribution_function, draw_spheroid, felt_mass, potential
from emeraldcut.nbody.snapshot import COMPONENTS, GRAVITY, KPC_PER_KM_S_GYR
from emeraldcut.nbody.snapshot_files import read_snapshot, write_snapshot
from emeraldcut.settings import build, to_toml

SMALL = dataclasses.replace(MILKY_WAY, halo_particles=3000, star_particles=3000)
HALO, DISC, BULGE, GAS = (COMPONENTS.index(name) for name in ("halo", "disc", "bulge", "gas"))


@pytest.fixture(scope="module")
def milky_way():
    return make_progenitor(MILKY_WAY, seed=1), model(MILKY_WAY)


@njit(fastmath=True, error_model="numpy")
def add_forces(x, y, z, mass, softening_squared, out):
    """Accelerations over G, by the sum over all pairs, in single precision."""
    n, half, one = len(x), np.float32(0.5), np.float32(1)
    for i in range(n):
        xi, yi, zi, soft = x[i], y[i], z[i], softening_squared[i]
        ax, ay, az = np.float32(0), np.float32(0), np.float32(0)
        for j in range(n):
            dx, dy, dz = x[j] - xi, y[j] - yi, z[j] - zi
            w = one / np.sqrt(dx * dx + dy * dy + dz * dz + half * (soft + softening_squared[j]))
            w = mass[j] * w * w * w
            ax += w * dx
            ay += w * dy
            az += w * dz
        out[i, 0], out[i, 1], out[i, 2] = ax, ay, az


def forces(position, mass, softening_kpc):
    out = np.empty((len(mass), 3), np.float32)
    x, y, z = np.ascontiguousarray(position.T, np.float32)
    add_forces(x, y, z, mass.astype(np.float32), np.square(softening_kpc).astype(np.float32), out)
    return GRAVITY * out.astype(float)


def softening_of(galaxy):
    return np.array(galaxy.about["softening_kpc"])[galaxy.component]


def radii(galaxy, component):
    return np.linalg.norm(galaxy.position[galaxy.component == component].astype(float), axis=1)


# --- spheroids


@pytest.mark.parametrize(
    "profile, mass_inside",
    [("hernquist", lambda x: (x / (1 + x)) ** 2), ("nfw", lambda x: np.log1p(x) - x / (1 + x))],
)
def test_profiles_are_those_of_the_literature(profile, mass_inside):
    spheroid = Spheroid(profile, 1e10, 2.0, 2e4)
    r = np.geomspace(0.02, 200, 30)
    ratio = spheroid.enclosed_mass(r) / mass_inside(r / 2)
    assert np.allclose(ratio / ratio[0], 1, rtol=5e-3)
    grid = np.geomspace(1e-5, 200, 5000)
    shells = cumulative_trapezoid(4 * np.pi * grid**2 * spheroid.density(grid), grid, initial=0)
    assert np.allclose(np.interp(r, grid, shells), spheroid.enclosed_mass(r), rtol=5e-3)
    assert spheroid.enclosed_mass(1e6) == pytest.approx(1e10)


def test_eddington_gives_the_known_distribution_function_of_hernquist():
    """Hernquist 1990, equation 17."""
    mass, a = 1e10, 2.0
    spheroid = Spheroid("hernquist", mass, a, 1e4)
    r = spheroid.radii_kpc
    f = distribution_function(spheroid, spheroid.enclosed_mass(r))
    unit = np.sqrt(GRAVITY * mass / a)
    q = np.sqrt(potential(r, spheroid.enclosed_mass(r))) / unit
    chosen = (q > 0.15) & (q < 0.97)
    q = q[chosen]
    polynomial = q * np.sqrt(1 - q**2) * (1 - 2 * q**2) * (8 * q**4 - 8 * q**2 - 3)
    known = mass / (8 * np.sqrt(2) * (np.pi * a * unit) ** 3) * (3 * np.arcsin(q) + polynomial) / (1 - q**2) ** 2.5
    assert chosen.sum() > 100 and np.allclose(f[chosen], known, rtol=0.05)


def test_softened_shells():
    r, e = np.geomspace(0.01, 100, 40), 0.7
    point = felt_mass(r, np.array([1e-4]), np.array([5.0]), e)
    assert np.allclose(point, 5 * r**3 / (r**2 + e**2) ** 1.5, rtol=1e-4)
    spheroid = Spheroid("hernquist", 1e10, 2.0, 100.0)
    inside = spheroid.enclosed_mass(spheroid.radii_kpc)
    assert np.allclose(felt_mass(r, spheroid.radii_kpc, inside, 0.0), spheroid.enclosed_mass(r), rtol=0.05)
    assert np.all(felt_mass(r, spheroid.radii_kpc, inside, e) < 1.02 * felt_mass(r, spheroid.radii_kpc, inside, 0.1))


@pytest.mark.parametrize("profile", ["hernquist", "nfw"])
@pytest.mark.parametrize("grading", [0.0, 1.0])
def test_a_drawn_halo_has_its_profile_and_obeys_the_jeans_equation(profile, grading):
    spheroid = Spheroid(profile, 1e12, 30.0, 300.0)
    grid = spheroid.radii_kpc
    mass = spheroid.enclosed_mass(grid)
    drawn = draw_spheroid(spheroid, mass, 60_000, grading=grading, grading_radius_kpc=3.0, rng=np.random.default_rng(2))
    position, velocity, masses = drawn
    r = np.linalg.norm(position, axis=1)
    assert masses.sum() == pytest.approx(1e12) and (np.ptp(masses) == 0) == (grading == 0)
    for radius in (10, 30, 100, 300):
        assert masses[r < radius].sum() == pytest.approx(spheroid.enclosed_mass(radius), rel=0.03)
    pressure = -cumulative_trapezoid((spheroid.density(grid) * GRAVITY * mass / grid**2)[::-1], grid[::-1], initial=0)
    along = np.einsum("ij,ij->i", position, velocity) / r
    for low, high in ((3, 6), (10, 20), (40, 80), (100, 200)):
        shell = (r > low) & (r < high)
        jeans = np.interp(r[shell], grid, pressure[::-1] / spheroid.density(grid))
        expected = np.average(jeans, weights=masses[shell])
        independent = masses[shell].sum() ** 2 / (masses[shell] ** 2).sum() / 2  # particles come in pairs
        error = 4 * expected * np.sqrt(2 / independent)
        assert np.average(along[shell] ** 2, weights=masses[shell]) == pytest.approx(expected, abs=error)
        total = np.average((velocity[shell] ** 2).sum(axis=1), weights=masses[shell])
        assert total == pytest.approx(3 * expected, abs=2 * error)  # isotropic


def test_grading_makes_the_particles_near_the_disc_light():
    spheroid = Spheroid("hernquist", 1e12, 35.0, 300.0)
    mass = spheroid.enclosed_mass(spheroid.radii_kpc)
    heating = []
    for grading in (0.0, 1.0):
        rng = np.random.default_rng(0)
        position, _, masses = draw_spheroid(spheroid, mass, 40_000, grading=grading, grading_radius_kpc=3.0, rng=rng)
        heating.append(np.sum(masses[np.linalg.norm(position, axis=1) < 9] ** 2))
    assert heating[0] / heating[1] > 2


@pytest.mark.parametrize("heavy_scale_kpc", [0.001, 3.0, 1000.0])
def test_isotropic_equilibria_exist_around_anything(heavy_scale_kpc):
    """What f gives back is the density, though something else, a point or a wide mass, makes the potential."""
    spheroid, heavy = Spheroid("nfw", 1e9, 10.0, 300.0), Spheroid("hernquist", 1e12, heavy_scale_kpc, 1e4)
    r = spheroid.radii_kpc
    mass = spheroid.enclosed_mass(r) + heavy.enclosed_mass(r)
    f, psi = distribution_function(spheroid, mass), potential(r, mass)
    for i in (50, 150, 250, 350):
        speed_squared = 2 * (psi[i] - psi[i:])
        density = np.trapezoid(4 * np.pi * f[i:] * speed_squared, np.sqrt(speed_squared))
        assert density == pytest.approx(spheroid.density(r[i]), rel=0.05)


# --- discs


def thin_speed_squared(disc, radius_kpc):
    """Square of the circular velocity in the disc's own field if it had no height.

    4 pi G Sigma_0 h y^2 [I0(y) K0(y) - I1(y) K1(y)], y = R / 2h (Freeman 1970, ApJ 160, 811, equation 10).
    """
    y = np.asarray(radius_kpc) / (2 * disc.scale_kpc)
    bessel = i0e(y) * k0e(y) - i1e(y) * k1e(y)  # the exponential factors of I and K cancel
    return 4 * np.pi * GRAVITY * disc.surface_density(0.0) * disc.scale_kpc * y**2 * bessel


@pytest.mark.slow
def test_a_thin_disc_is_that_of_freeman_and_of_spitzer():
    disc = Disc(5e10, 3.0, 0.05)
    r = np.array([3.0, 6.5, 12.0, 20.0])
    speed_squared, vertical_squared = disc.field(r, disc.height_kpc, 0.0)
    assert np.allclose(speed_squared, thin_speed_squared(disc, r), rtol=0.03)
    layer = np.pi * GRAVITY * disc.surface_density(r) * disc.height_kpc
    assert np.allclose(vertical_squared[:3], layer[:3], rtol=0.05)
    assert vertical_squared[3] > layer[3]  # far out, the pull of the inner disc counts as well
    grid = np.linspace(3, 12, 500)
    peak = thin_speed_squared(disc, grid)
    assert grid[peak.argmax()] == pytest.approx(2.15 * 3, rel=0.01)
    inside = 1 - (1 + EDGE) * np.exp(-EDGE)
    assert peak.max() == pytest.approx(0.3874 * GRAVITY * 5e10 / inside / 3, rel=1e-3)


def test_the_disc_of_stars_is_exponential_and_sech_squared(milky_way):
    galaxy, smooth = milky_way
    x, y, z = galaxy.position[galaxy.component == DISC].astype(float).T
    disc = smooth.stars
    assert kstest(np.hypot(x, y), lambda r: disc.enclosed_mass(r) / disc.mass_msun).pvalue > 1e-3
    assert kstest(z, lambda z: (1 + np.tanh(z / MILKY_WAY.disc_height_kpc)) / 2).pvalue > 1e-3


def test_the_disc_of_stars_moves_as_said(milky_way):
    galaxy, smooth = milky_way
    stars = galaxy.component == DISC
    x, y, _ = galaxy.position[stars].astype(float).T
    vx, vy, vz = galaxy.velocity[stars].astype(float).T
    r, motion = np.hypot(x, y), smooth.motion
    outwards, around = (x * vx + y * vy) / r, (x * vy - y * vx) / r
    kappa_over_two_omega = motion.azimuthal / motion.radial
    for scale_lengths in (1.0, 2.0, 3.0):
        ring = abs(r / 3.0 - scale_lengths) < 0.15

        def at(values, ring=ring):
            return np.interp(r[ring], motion.radius_kpc, values)

        n = ring.sum()
        assert around[ring].mean() == pytest.approx(
            at(motion.rotation).mean(), abs=4 * at(motion.azimuthal).mean() / n**0.5
        )
        assert vz[ring].std() == pytest.approx(at(motion.vertical).mean(), rel=0.12)
        kappa = 2 * at(kappa_over_two_omega) * at(motion.circular) / r[ring]
        toomre_q = outwards[ring].std() * kappa / (3.36 * GRAVITY * smooth.stars.surface_density(r[ring]))
        assert toomre_q.mean() == pytest.approx(at(motion.toomre_q).mean(), rel=0.12)
    inner = (motion.radius_kpc > 1) & (motion.radius_kpc < 15)
    assert motion.toomre_q[inner].min() == pytest.approx(MILKY_WAY.toomre_q, rel=0.01)
    assert np.all(motion.rotation[inner] < motion.circular[inner])  # asymmetric drift


def test_circular_velocity_and_vertical_balance_agree_with_the_sum_over_all_pairs():
    galaxy = make_progenitor(dataclasses.replace(SMALL, halo_particles=10_000, star_particles=8000), seed=3)
    smooth, stars = model(MILKY_WAY), galaxy.component == DISC
    pull = forces(galaxy.position, galaxy.mass, softening_of(galaxy))[stars]
    x, y, z = galaxy.position[stars].astype(float).T
    r = np.hypot(x, y)
    inwards, downwards = -(x * pull[:, 0] + y * pull[:, 1]), -z * pull[:, 2]
    for low, high in ((1, 2), (2, 4), (4, 8), (8, 14)):
        ring = (r > low) & (r < high)
        expected = np.interp(r[ring], smooth.motion.radius_kpc, smooth.motion.circular**2).mean()
        assert inwards[ring].mean() == pytest.approx(expected, rel=0.04)
        expected = np.interp(r[ring], smooth.motion.radius_kpc, smooth.motion.vertical**2).mean()
        assert downwards[ring].mean() == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("name", ["dwarf", "milky_way", "sequence_1"])
def test_the_virial_theorem_holds_for_the_softened_galaxy(name):
    galaxy = make_progenitor(dataclasses.replace(PROGENITORS[name], halo_particles=6000, star_particles=4000), seed=4)
    mass, position = galaxy.mass.astype(float), galaxy.position.astype(float)
    pull = forces(position, mass, softening_of(galaxy))
    kinetic = 0.5 * mass @ (galaxy.velocity.astype(float) ** 2).sum(axis=1)
    virial = mass @ (position * pull).sum(axis=1)
    assert -2 * kinetic / virial == pytest.approx(1, abs=0.04)
    stars = np.isin(galaxy.component, (DISC, BULGE))
    kinetic = 0.5 * mass[stars] @ (galaxy.velocity[stars].astype(float) ** 2).sum(axis=1)
    virial = mass[stars] @ (position * pull)[stars].sum(axis=1)
    assert -2 * kinetic / virial == pytest.approx(1, abs=0.05)


# --- gas


def test_a_layer_of_gas_alone_has_the_height_of_spitzer():
    """c^2 = pi G Sigma z0, the median height is z0 artanh(1/2)."""
    gas, stars = Disc(1e10, 3.0, 1.0), Disc(1.0, 3.0, 0.5)
    heights = gas_heights(gas, stars, lambda r: 0 * r, 10.0)
    inner = gas.radii_kpc < 6
    z0 = 10.0**2 / (np.pi * GRAVITY * gas.surface_density(gas.radii_kpc))
    median = (heights[:, 99] + heights[:, 100]) / 2
    assert np.allclose(median[inner], z0[inner] * np.arctanh(0.5), rtol=0.03)


@pytest.mark.slow
def test_gas_is_cold_thin_and_carried_by_rotation_and_pressure():
    with_gas = dataclasses.replace(MILKY_WAY, gas_fraction=0.2, gas_particles=6000, halo_particles=100)
    galaxy, smooth = make_progenitor(with_gas, seed=5), model(with_gas)
    gas = galaxy.component == GAS
    assert galaxy.mass[gas].sum(dtype=float) == pytest.approx(1e10) and gas.sum() == 6000
    x, y, z = galaxy.position[gas].astype(float).T
    vx, vy, vz = galaxy.velocity[gas].astype(float).T
    r = np.hypot(x, y)
    assert np.abs(vz).max() < 1 and np.abs((x * vx + y * vy) / r).max() < 3  # what brings the centre of mass to rest
    ring = (r > 3) & (r < 9)
    around = np.median(((x * vy - y * vx) / r)[ring])
    circular = np.interp(r[ring], smooth.gas.radii_kpc, smooth.gas_speed_squared)
    assert around == pytest.approx(np.median(np.sqrt(circular - 10.0**2 * r[ring] / 3.0)), rel=0.03)
    assert np.median(np.abs(z[ring])) < 0.5 * MILKY_WAY.disc_height_kpc
    assert np.median(np.abs(z[r > 12])) > 2 * np.median(np.abs(z[ring]))  # it flares


# --- whole galaxies


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**63), st.sampled_from(sorted(PROGENITORS)))
def test_any_seed_gives_a_galaxy_at_rest_of_the_mass_that_was_asked_for(seed, name):
    numbers = {"halo_particles": 501, "star_particles": 400, "gas_particles": 99}
    asked = dataclasses.replace(PROGENITORS[name], **numbers)
    galaxy = make_progenitor(asked, seed=seed)
    mass = galaxy.mass.astype(float)
    for component, expected in (
        (HALO, asked.halo_mass_msun),
        (DISC, asked.disc_mass_msun * (1 - asked.gas_fraction)),
        (BULGE, asked.bulge_mass_msun),
        (GAS, asked.disc_mass_msun * asked.gas_fraction),
    ):
        assert mass[galaxy.component == component].sum() == pytest.approx(expected, rel=1e-5)
    assert len(galaxy) == 901 + 99 * (asked.gas_fraction > 0) and np.isfinite(galaxy.velocity).all()
    for vectors, size in ((galaxy.position, 1e-3), (galaxy.velocity, 1e-3)):
        assert np.abs(np.average(vectors.astype(float), axis=0, weights=mass)).max() < size
    spin = mass[galaxy.stars] @ np.cross(galaxy.position[galaxy.stars], galaxy.velocity[galaxy.stars])
    assert spin[2] > 5 * np.hypot(spin[0], spin[1])


def test_the_same_seed_gives_the_same_particles_also_through_a_file(tmp_path):
    first, again, other = (make_progenitor(scaled(DWARF, 0.05), seed=seed) for seed in (7, 7, 8))
    assert first.position.tobytes() == again.position.tobytes() and first.velocity.tobytes() == again.velocity.tobytes()
    assert not np.array_equal(first.position, other.position)
    back = read_snapshot(write_snapshot(first, tmp_path / "galaxy.hdf5"))
    assert back.about == first.about and back.position.tobytes() == first.position.tobytes()
    assert build(ProgenitorSettings, back.about["progenitor"]) == scaled(DWARF, 0.05)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 4))
def test_scaling_keeps_surface_densities(ratio):
    small = scaled(MILKY_WAY, ratio)
    assert small.halo_mass_msun / 1e12 == pytest.approx(ratio) == small.bulge_mass_msun / 1e10
    for density in (
        lambda s: s.disc_mass_msun / s.disc_scale_kpc**2,
        lambda s: s.halo_mass_msun / halo_scale_kpc(s) ** 2,
    ):
        assert density(small) == pytest.approx(density(MILKY_WAY))
    assert small.halo_particles == round(30_000 * ratio) and small.toomre_q == MILKY_WAY.toomre_q


def test_speeds_scale_with_the_fourth_root_of_the_mass():
    large, small = model(MILKY_WAY).motion, model(scaled(MILKY_WAY, 1 / 16)).motion
    assert np.allclose(small.circular / large.circular, 0.5, rtol=1e-3)
    assert np.allclose(small.vertical / large.vertical, 0.5, rtol=1e-3)


def test_presets_are_those_of_the_thesis():
    for name, ratio, gas in (("sequence_1", 1, False), ("sequence_2", 1, True), ("sequence_3", 0.1, True)):
        preset = PROGENITORS[name]
        assert preset.bulge_mass_msun / preset.halo_mass_msun == pytest.approx(ratio / 16.7)
        assert (preset.gas_fraction > 0) == gas
        assert build(ProgenitorSettings, dataclasses.asdict(preset)) == preset
    assert 2 * PROGENITORS["dwarf"].disc_mass_msun == 1e9  # two of them make a LEDA 074886
    assert "# halo_scale_kpc is not set" in to_toml(PROGENITORS["dwarf"])


def test_a_hernquist_halo_is_as_dense_inside_as_the_nfw_halo_that_it_stands_for():
    hernquist, nfw = (dataclasses.replace(MILKY_WAY, halo=name) for name in ("hernquist", "nfw"))
    r_s, c = halo_scale_kpc(nfw), 10.0
    springel = r_s * np.sqrt(2 * (np.log(1 + c) - c / (1 + c)))  # of an endless halo
    assert springel < halo_scale_kpc(hernquist) < 1.4 * springel
    inner = 1e12 / (4 * np.pi * r_s**2 * (np.log(1 + c) - c / (1 + c)) * 0.1)  # NFW at 0.1 kpc, r << r_s
    assert model(hernquist).halo.density(0.1) == pytest.approx(inner, rel=0.02)
    mean_density = 1e12 / (4 / 3 * np.pi * (c * r_s) ** 3)
    assert mean_density == pytest.approx(200 * 3 * 0.07**2 / (8 * np.pi * GRAVITY), rel=1e-6)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"halo_mass_msun": 0.0}, "'halo_mass_msun' must be from 1 to 1e"),
        ({"disc_scale_kpc": float("nan")}, "'disc_scale_kpc' expects a finite number; received nan"),
        ({"bulge_mass_msun": -1.0}, "'bulge_mass_msun' must be from 0 to 1e"),
        ({"gas_fraction": 1.0}, "'gas_fraction' must be at least 0 and below 1; received 1.0"),
        ({"halo": "plummer"}, "one of hernquist, nfw"),
        ({"star_particles": 1}, "from 2 to"),
        ({"halo_scale_kpc": -3.0}, "'halo_scale_kpc' must be from 0.001 to 100,000; received -3.0"),
    ],
)
def test_impossible_settings_are_named(change, reason):
    with pytest.raises(ValueError, match=reason):
        make_progenitor(dataclasses.replace(DWARF, **change), seed=0)


def test_impossible_arguments_are_named():
    with pytest.raises(ValueError, match="mass ratio must be above 0; received 0"):
        scaled(DWARF, 0)
    with pytest.raises(ValueError, match="softening_kpc expects 5 lengths"):
        make_progenitor(DWARF, seed=0, softening_kpc=(0.1, 0.2))


@pytest.mark.slow
def test_an_isolated_galaxy_stays_as_it_is():
    """300 Myr by direct sum: radii that hold parts of the mass, scale length and height of the disc."""
    galaxy = make_progenitor(SMALL, seed=6)
    position, velocity = galaxy.position.astype(float), galaxy.velocity.astype(float)
    softening, step = softening_of(galaxy), 0.0015 * KPC_PER_KM_S_GYR

    def state():
        halo, bulge, disc = (galaxy.component == component for component in (HALO, BULGE, DISC))
        centred = position - np.median(position[bulge], axis=0)
        order = np.argsort(np.linalg.norm(centred[halo], axis=1))
        parts = np.cumsum(galaxy.mass[halo][order]) / galaxy.mass[halo].sum()
        spin = np.cross(centred[disc], velocity[disc]).sum(axis=0)
        height = centred[disc] @ (spin / np.linalg.norm(spin))  # the disc tilts a little
        radius = np.sqrt((centred[disc] ** 2).sum(axis=1) - height**2)
        return np.array([
            *np.interp([0.1, 0.5, 0.8], parts, np.linalg.norm(centred[halo][order], axis=1)),
            np.median(np.linalg.norm(centred[bulge], axis=1)), np.median(radius),
            np.median(np.abs(height[(radius > 1.5) & (radius < 9)])),
        ])  # fmt: skip

    before, pull = state(), forces(position, galaxy.mass, softening)
    for _ in range(200):
        velocity += step / 2 * pull
        position += step * velocity
        pull = forces(position, galaxy.mass, softening)
        velocity += step / 2 * pull
    change = state() / before
    assert np.all(np.abs(change[:3] - 1) < 0.08), change  # halo: 10, 50 and 80 % of the mass
    assert 0.8 < change[3] < 1.25, change  # bulge, of 500 particles
    assert abs(change[4] - 1) < 0.08, change  # scale length
    assert change[5] < 1.35, change  # height; 1.4 to 1.65 with halo particles of equal mass


def test_recommended_softening_is_below_the_sizes_it_may_not_smear():
    for preset in PROGENITORS.values():
        halo, disc, bulge, *_ = recommended_softening_kpc(preset)
        assert disc < 0.5 * preset.disc_height_kpc and halo < 0.1 * halo_scale_kpc(preset)
        assert preset.bulge_mass_msun == 0 or bulge < 0.3 * preset.bulge_scale_kpc
