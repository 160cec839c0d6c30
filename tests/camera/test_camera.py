"""The camera against analytic galaxies: their surface density, projected axes, isophotes, and what particles cost."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.special import gammaincinv

from emeraldcut.camera.camera import (
    THESIS_DIRECTIONS,
    THESIS_MAPS,
    ObserveSettings,
    _angles,
    judge,
    observe,
    observe_both,
    rotation,
)
from emeraldcut.camera.particle_isophote import ParticleIsophote, fit_particle_isophote
from emeraldcut.camera.projection import smooth
from emeraldcut.camera.stars import _principal_axes, _turn
from emeraldcut.data.imageset import ImageSet
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic, sersic_b
from emeraldcut.images.readers import read_images
from emeraldcut.images.text_maps import write_text_maps
from emeraldcut.nbody.centre import centre_of
from emeraldcut.nbody.snapshot import Snapshot
from tests.helpers import plummer, snapshot, within_outline

BULGE, NEW = 2, 4
CLEAN = ObserveSettings(psf_fwhm_pix=0.0, smoothing=0.0, noise=False)


def together(*snapshots):
    names = ("position", "velocity", "mass", "component", "galaxy", "formed_gyr")
    return Snapshot(**{name: np.concatenate([getattr(s, name) for s in snapshots]) for name in names}, time_gyr=5.0)


def projected(shape, n, seed, index=1.0):
    """Positions (2, n) of particles of a galaxy with these isophotes and a Sersic profile, half-light radius 1."""
    rng = np.random.default_rng(seed)
    s = (gammaincinv(2 * index, rng.random(n)) / sersic_b(index)) ** index
    return within_outline(shape, s, rng).astype(np.float32)


def turned(seen, angle_deg):
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return (np.array([[cosine, -sine], [sine, cosine]]) @ seen).astype(np.float32)


def of(images, name):
    return np.asarray(images.table[name], dtype=float)


# --- light


def test_a_plummer_sphere_has_its_surface_density():
    """M / (pi a^2) (1 + R^2 / a^2)^-2, as counts of particles per pixel with the scatter of counting."""
    n = 200_000
    images = observe(snapshot(plummer(n, 1), mass=1.0), replace(CLEAN, pixel_values="mass", views=3, radius_pix=10.0))
    scale = images.table["kpc_per_pix"][0]
    for image, row in zip(images.pixels, images.table, strict=True):
        x, y = np.arange(64) - row["truth_x_pix"], np.arange(64) - row["truth_y_pix"]
        assert np.hypot(row["truth_x_pix"] - 31.5, row["truth_y_pix"] - 31.5) < 0.3  # a thirtieth of the radius
        square = (x**2 + y[:, None] ** 2) * scale**2
        expected = n * scale**2 / np.pi * (1 + square) ** -2
        outer = (expected > 10) & (square > (3 * scale) ** 2)  # the middle of a pixel stands for all of it
        scatter = (image - expected)[outer] / np.sqrt(expected[outer])
        assert abs(np.mean(scatter**2) - 1) < 5 * np.sqrt(2 / scatter.size)
        assert abs(image[outer].sum() / expected[outer].sum() - 1) < 5 / np.sqrt(expected[outer].sum())


@pytest.mark.parametrize("kept", [{}, {"smoothing": 32.0}, {"smoothing": 32.0, "psf_fwhm_pix": 2.5}])
def test_light_is_kept_and_is_as_bright_as_stars_and_distance_say(kept):
    stars = snapshot(0.5 * np.random.default_rng(2).normal(size=(20_000, 3)), mass=2e5)
    images = observe(stars, replace(CLEAN, views=2, distance_mpc=20.0, pixel_scale_arcsec=1.0, **kept))
    luminosity = 20_000 * 2e5 / 2.0
    magnitude = 4.65 - 2.5 * np.log10(luminosity) + 5 * np.log10(20e6 / 10)
    assert of(images, "truth_mag") == pytest.approx(magnitude, abs=1e-4)
    counts = 10 ** (-0.4 * (magnitude - 27.0))
    wings = 0.02 if "psf_fwhm_pix" in kept else 1e-4
    assert images.pixels.sum(axis=(1, 2)) == pytest.approx(counts, rel=wings)


def test_surface_brightness_does_not_depend_on_distance():
    stars, found = snapshot(plummer(50_000, 3)), []
    for distance in (50.0, 100.0):
        settings = replace(CLEAN, views=1, distance_mpc=distance, pixel_scale_arcsec=20.0 / distance)
        image = observe(stars, settings).pixels[0]
        counts_per_arcsec2 = image[28:36, 28:36].mean() / (20.0 / distance) ** 2
        found.append(27.0 - 2.5 * np.log10(counts_per_arcsec2))
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_components_and_ages_shine_by_their_mass_to_light_ratio():
    body = plummer(1000, 4)

    def magnitude(**stars):
        settings = replace(CLEAN, views=1, distance_mpc=50.0, mass_to_light_disc=1.0, mass_to_light_bulge=4.0)
        return of(observe(snapshot(body, **stars), settings), "truth_mag")[0]

    assert magnitude(component=BULGE) - magnitude() == pytest.approx(2.5 * np.log10(4), abs=1e-4)
    born = [magnitude(component=NEW, time_gyr=5.0, formed_gyr=np.full(1000, 5 - age)) for age in (0.1, 1.0)]
    assert born[1] - born[0] == pytest.approx(2.5 * 0.75, abs=1e-3)
    assert magnitude(component=NEW) == pytest.approx(magnitude(), abs=1e-6)  # of unknown age


def test_half_light_radius_of_a_plummer_sphere_is_its_scale():
    images = observe(snapshot(plummer(100_000, 5, scale=2.0)), replace(CLEAN, views=6))
    kpc = of(images, "truth_radius_pix") * np.sqrt(of(images, "truth_axis_ratio")) * of(images, "kpc_per_pix")
    assert kpc == pytest.approx(2.0, rel=0.015)


# --- directions


def test_views_are_isotropic():
    """Each element of a random rotation has mean 0 and variance 1/3, and squares of a row's elements sum to 1."""
    settings = ObserveSettings()
    turns = np.stack([rotation(*_angles(settings, i, np.random.default_rng([0, i]))) for i in range(4000)])
    assert np.abs(turns.mean(axis=0)).max() < 4 / np.sqrt(3 * 4000)
    assert np.abs((turns**2).mean(axis=0) - 1 / 3).max() < 4 * np.sqrt(4 / 45 / 4000)
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    assert np.linalg.det(turns) == pytest.approx(1)


@pytest.mark.parametrize("axes", [(3.0, 3.0, 1.2), (3.0, 2.2, 1.5)])
def test_an_ellipsoid_has_the_analytic_projected_axes(axes):
    """The projection of x^T A^-1 x = 1 has the upper left block of R A R^T as its matrix."""
    body = np.stack([axis * x for axis, x in zip(axes, plummer(100_000, 6).T, strict=True)], axis=1)
    images = observe(snapshot(body), replace(CLEAN, views=25), seed=3)
    for row in images.table:
        turn = rotation(row["view_theta_deg"], row["view_phi_deg"], row["view_roll_deg"])
        squares, vectors = np.linalg.eigh((turn @ np.diag(np.square(axes)) @ turn.T)[:2, :2])
        axis_ratio = np.sqrt(squares[0] / squares[1])
        angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
        assert abs(row["truth_axis_ratio"] - axis_ratio) < 4.5 * row["truth_axis_ratio_err"]
        away = (row["truth_position_angle_deg"] - angle + 90) % 180 - 90
        assert abs(np.radians(away)) < 4.5 * row["truth_a4_err"] / max(-np.log(axis_ratio), 1e-3)
        radius = np.sqrt(squares[1]) / row["kpc_per_pix"]  # a Plummer body's half-light ellipse
        assert row["truth_radius_pix"] == pytest.approx(radius, rel=0.03)


def test_views_of_the_thesis_are_its_grid_of_angles():
    images = observe(snapshot(plummer(500, 7)), replace(CLEAN, views=93, directions="thesis"))
    seen = list(zip(of(images, "view_theta_deg"), of(images, "view_phi_deg"), strict=True))
    assert seen[:91] == [tuple(map(float, pair)) for pair in THESIS_DIRECTIONS]
    assert seen[91:] == seen[:2]
    assert len(THESIS_DIRECTIONS) == 7 * 13


# --- the true isophote

BODIES = {
    "ellipse": shapes.ellipse(0.5),
    "round": shapes.ellipse(0.97),
    "box": shapes.superellipse(0.7, 3.0),
    "rectangle": shapes.rectangle(0.55),
    "obround": shapes.obround(0.6),
    "diamond": shapes.diamond(0.7),
    "egg": shapes.egg(0.8),
    "skewed": shapes.skewed_box(0.7, 3.5, 8.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("index", [1.0, 3.0])
def test_true_harmonics_are_the_analytic_ones(name, index):
    known, found = shapes.harmonics(BODIES[name]), []
    for seed in range(8):
        seen = turned(projected(BODIES[name], 100_000, seed, index), 25.0) + np.float32([[0.1], [-0.05]])
        found.append(fit_particle_isophote(seen, np.ones(100_000, np.float32)))
    error = found[0].error / np.sqrt(len(found))
    for term in ("a3", "b3", "a4", "b4", "a6", "a8"):
        if name != "round":  # its axes are known to 20 degrees only
            assert np.mean([o.terms[term] for o in found]) == pytest.approx(known[term], abs=6 * error)
    assert np.mean([o.axis_ratio for o in found]) == pytest.approx(known["axis_ratio"], abs=8 * error)
    assert np.mean([o.x for o in found]) == pytest.approx(0.1, abs=6 * error)
    assert np.mean([o.y for o in found]) == pytest.approx(-0.05, abs=6 * error)
    if name != "round":
        assert np.mean([o.position_angle_deg for o in found]) == pytest.approx(25, abs=0.6)


@pytest.mark.slow
@pytest.mark.parametrize("n", [5_000, 40_000])
def test_stated_errors_are_the_scatter(n):
    """And the formula is that of counting: sqrt(2 / n) / gamma, here with weights that differ."""
    light = np.random.default_rng(8).uniform(0.2, 1.8, n).astype(np.float32)
    found = [fit_particle_isophote(projected(shapes.superellipse(0.7, 2.6), n, seed), light) for seed in range(60)]
    stated = np.mean([o.error for o in found])
    scatter = [np.std([o.terms[term] for o in found]) for term in ("a3", "b3", "a4", "a6", "b6", "a8")]
    assert np.sqrt(np.mean(np.square(scatter))) == pytest.approx(stated, rel=0.15)
    assert np.std([o.axis_ratio for o in found]) == pytest.approx(np.mean([o.axis_ratio_error for o in found]), rel=0.3)


def test_an_isophote_further_in_has_the_shape_there():
    """A box inside 0.6 half-light radii and an ellipse beyond."""
    inner, outer = shapes.superellipse(0.7, 3.0), shapes.ellipse(0.7)
    box, oval = projected(inner, 200_000, 1, 3.0), projected(outer, 200_000, 2, 3.0)
    seen = np.concatenate([box[:, near(box)], oval[:, ~near(oval)]], axis=1)
    seen = seen[:, np.random.default_rng(3).permutation(seen.shape[1])]
    for place, shape in ((0.4, inner), (1.5, outer)):
        found = fit_particle_isophote(seen, np.ones(seen.shape[1], np.float32), place, 0.3)
        assert found.terms["a4"] == pytest.approx(shapes.harmonics(shape)["a4"], abs=4 * found.error)
        assert found.error < 0.01


def near(seen):
    return np.hypot(seen[0], seen[1] / 0.7) < 0.6


@hypothesis_settings(max_examples=15, deadline=None)
@given(angle=st.floats(0, 360), scale=st.floats(0.1, 30), x=st.floats(-0.2, 0.2), y=st.floats(-0.2, 0.2))
def test_the_isophote_turns_and_grows_with_the_galaxy(angle, scale, x, y):
    body, light = projected(shapes.superellipse(0.6, 3.0), 20_000, 9), np.ones(20_000, np.float32)
    first = fit_particle_isophote(body, light)
    second = fit_particle_isophote(np.float32(scale) * (turned(body, angle) + np.float32([[x], [y]])), light)
    slack = 0.2 * first.error  # steps end where they are small beside the error
    assert second.radius == pytest.approx(scale * first.radius, rel=2 * slack)
    assert second.axis_ratio == pytest.approx(first.axis_ratio, abs=2 * slack)
    assert abs((second.position_angle_deg - first.position_angle_deg - angle + 90) % 180 - 90) < 0.1
    for term in ("a4", "b4", "a6", "b6", "a8"):  # even: which end of the axis comes first does not matter
        assert second.terms[term] == pytest.approx(first.terms[term], abs=slack)


@pytest.mark.slow
@pytest.mark.parametrize("n", [20_000, 40_000])
def test_isophotes_of_concentrated_galaxies_settle(n):
    """Also where the particles that should give the start are too few for one."""
    light = np.ones(n, np.float32)
    found = [fit_particle_isophote(projected(shapes.superellipse(0.6, 4), n, seed, 4.0), light) for seed in range(40)]
    known = shapes.harmonics(shapes.superellipse(0.6, 4))["a4"]
    assert np.mean([one.terms["a4"] for one in found]) == pytest.approx(known, abs=6 * found[0].error / np.sqrt(40))


def test_no_isophote_of_few_particles_or_of_none():
    few = fit_particle_isophote(projected(shapes.ellipse(0.7), 90, 1), np.ones(90, np.float32))
    assert np.isnan(few.error) and np.isnan(few.terms["a4"]) and judge(few) == ("other", False)
    assert np.isnan(fit_particle_isophote(np.zeros((2, 500), np.float32), np.ones(500, np.float32)).radius)


def true(a4=0.0, a6=0.0, *, error=0.003, axis_ratio=0.7):
    terms = {"a3": 0.0, "b3": 0.0, "a4": a4, "b4": 0.0, "a6": a6, "b6": 0.0, "a8": 0.0}
    return ParticleIsophote(0.0, 0.0, 1.0, axis_ratio, 0.0, terms, error, 2.5)


@pytest.mark.parametrize(
    "shape, known",
    [
        (true(-0.06), ("rectangular", True)),
        (true(-0.06, 0.02), ("obround", True)),
        (true(0.0), ("oval", True)),
        (true(0.05), ("other", True)),
        (true(-0.03), ("rectangular", False)),  # in the grey zone
        (true(-0.06, 0.008), ("rectangular", False)),  # may be an obround
        (true(-0.06, error=0.03), ("rectangular", False)),
        (true(-0.06, axis_ratio=0.995), ("rectangular", False)),  # seen along a corner it is a diamond
        (true(0.0, axis_ratio=0.995), ("oval", True)),
    ],
)
def test_what_is_scored_is_what_the_error_lets_be_said(shape, known):
    assert judge(shape) == known


# --- smoothing


@pytest.mark.parametrize("index", [1.0, 3.0])
@pytest.mark.parametrize("name", ["ellipse", "box", "obround", "diamond"])
def test_smoothing_changes_no_isophote(name, index):
    """By less than 0.001 in a4 and a6 at 1.5 and 2.5 half-light radii, from 3e4 particles; without noise."""
    shape, radius, number = BODIES[name], 9.0, 3e4
    light = draw_galaxy(shape, Sersic(index), size=129, radius_pix=radius)
    smoothed = smooth(np.stack([number * light, light]).astype(np.float32), 32.0, 4.0)
    assert smoothed[64, 64 + 30] != pytest.approx(light[64, 64 + 30], rel=1e-4)
    rows = np.arange(129) - 64.0

    def on_isophote(image, times):
        from scipy.ndimage import map_coordinates

        magnitudes = np.log(image)

        def brightness(x, y):
            return np.exp(map_coordinates(magnitudes, [y - rows[0], x - rows[0]], order=3))

        return shapes.harmonics(shapes.trace_isophote(brightness, times * radius, shape.axis_ratio))

    for times in (1.5, 2.5):
        before, after = on_isophote(light, times), on_isophote(smoothed, times)
        for term in ("a4", "a6"):
            assert after[term] == pytest.approx(before[term], abs=1e-3)
        assert after["axis_ratio"] == pytest.approx(before["axis_ratio"], abs=3e-3)


def test_smoothing_lessens_the_noise_of_particles_and_nothing_else():
    body, n = plummer(30_000, 10), 30_000
    rough, soft = (
        observe(snapshot(body, mass=1.0), replace(CLEAN, pixel_values="mass", views=4, smoothing=k)) for k in (0, 32)
    )
    scale = rough.table["kpc_per_pix"][0]
    square = np.sum((np.indices((64, 64)) - 31.5) ** 2, axis=0) * scale**2
    expected = n * scale**2 / np.pi * (1 + square) ** -2
    outer = square > (20 * scale) ** 2
    noise = [np.sqrt(np.mean((images.pixels - expected)[:, outer] ** 2)) for images in (rough, soft)]
    assert noise[1] < 0.35 * noise[0]
    assert soft.pixels[:, outer].sum() == pytest.approx(rough.pixels[:, outer].sum(), rel=0.01)


# --- stacks, centres


def test_a_stack_of_snapshots_has_less_noise():
    bodies = [snapshot(plummer(10_000, seed) * [2, 1.5, 1] + [40 * seed, 0, 0]) for seed in range(6)]
    one, all_six = (observe(given, replace(CLEAN, views=3)) for given in (bodies[0], bodies))
    assert of(all_six, "truth_a4_err") == pytest.approx(of(one, "truth_a4_err") / np.sqrt(6), rel=0.15)
    assert of(all_six, "stacked") == pytest.approx(6)
    assert of(all_six, "truth_mag") == pytest.approx(of(one, "truth_mag"), abs=0.02)  # each at its own distance
    rough = [np.abs(np.diff(images.pixels[:, 20:44, 20:44], axis=2)).mean() for images in (one, all_six)]
    assert rough[1] < 0.55 * rough[0]


def test_a_tumbling_remnant_is_aligned():
    stack = []
    for seed in range(5):
        body = plummer(20_000, seed) * [2.0, 1.5, 1.0]
        stack.append(snapshot(body @ rotation(0, 33.0 * seed).T))
    settings = replace(CLEAN, views=4)
    single = observe(stack[-1], settings)
    turned_to_last = observe(stack, replace(settings, aligned=True))
    left = observe(stack, settings)
    for name in ("truth_axis_ratio", "truth_position_angle_deg"):
        away = (of(turned_to_last, name) - of(single, name) + 90) % 180 - 90
        assert np.abs(away).max() < (0.04 if name == "truth_axis_ratio" else 10)
    assert np.abs(of(left, "truth_axis_ratio") - of(single, "truth_axis_ratio")).max() > 0.06


def test_alignment_does_not_turn_a_lopsided_galaxy_end_for_end():
    body, light = plummer(5000, 6) * [3.0, 2.0, 1.0], np.ones(5000)
    moved = rotation(20.0, 30.0, 15.0) @ rotation(0.0, 0.0, 0.0).T
    turn = _turn(_principal_axes(body @ moved.T, light), _principal_axes(body, light))
    np.testing.assert_allclose(turn, moved.T, atol=1e-6)


def test_centres_of_a_pair():
    large = snapshot(plummer(4000, 1), galaxy=0)
    small = snapshot(plummer(2000, 2, scale=2.0) + [20, 0, 0], galaxy=1)
    pair = together(large, small)
    assert np.linalg.norm(centre_of(pair.position, pair.mass)) < 0.15
    images = observe(pair, replace(CLEAN, views=3, centre="remnant"))
    assert of(images, "separation_kpc") == pytest.approx(20, abs=0.4)
    both = observe(pair, replace(CLEAN, views=30, centre="pair", distance_mpc=2000.0))  # far, so that all is seen
    rows, columns = np.indices((64, 64)) - 31.5
    middle = [np.array([(image * k).sum() for k in (columns, rows)]) / image.sum() for image in both.pixels]
    assert np.abs(middle).max() * both.table["kpc_per_pix"][0] < 2.0


def test_what_is_seen_has_its_class_however_far_apart_the_galaxies_are():
    """Two galaxies 20 kpc apart along the line of sight, each an ellipse on the sky: together they are one."""
    flat = [1.0, 0.6, 0.6]
    near, far = (snapshot(plummer(30_000, k) * flat + [0, 0, 20 * k], galaxy=k) for k in (0, 1))
    images = observe(together(near, far), replace(CLEAN, views=1, directions="thesis"))  # the first is from +z
    assert of(images, "separation_kpc") == pytest.approx(20, abs=0.4) and of(images, "view_theta_deg") == 0
    assert list(images.table["label"]) == ["oval"]


def test_the_middle_of_two_equal_galaxies_is_not_their_centre():
    body = plummer(3000, 3)
    centre = centre_of(np.concatenate([body - [15, 0, 0], body + [15, 0, 0]]), np.ones(6000))
    assert abs(abs(centre[0]) - 15) < 0.2


# --- exposure and reproducibility


def test_a_view_depends_on_the_seed_and_its_number_only():
    stars = snapshot(plummer(3000, 11), about={"merger": "run-1", "seed": 7, "mass_ratio": 0.5})
    first = observe(stars, ObserveSettings(views=5), seed=4)
    again = observe(stars, ObserveSettings(views=2), seed=4, start=3)
    np.testing.assert_array_equal(first.pixels[3:], again.pixels)
    assert list(first.table["id"][3:]) == list(again.table["id"]) == ["run-1-0.000-000003", "run-1-0.000-000004"]
    assert np.abs(observe(stars, ObserveSettings(views=1), seed=5).pixels[0] - first.pixels[0]).max() > 1
    row = first.table[0]
    assert (row["merger"], row["galaxy"], row["merger_seed"], row["seed"], row["mass_ratio"]) == (
        "run-1", "run-1", 7, 4, 0.5,
    )  # fmt: skip


def test_views_without_noise_and_with_it_are_those_of_each():
    stars, settings = snapshot(plummer(2000, 3)), ObserveSettings(views=3, size=32, snr=50.0)
    both = observe_both(stars, settings, seed=4, start=2)
    for images, noise in zip(both, (False, True), strict=True):
        alone = observe(stars, replace(settings, noise=noise), seed=4, start=2)
        np.testing.assert_array_equal(images.pixels, alone.pixels)
        assert images.table.colnames == alone.table.colnames and list(images.table[1]) == list(alone.table[1])
    with pytest.raises(ValueError, match="noise is that of light"):
        observe_both(stars, replace(settings, noise=False, pixel_values="mass"))


def test_noise_is_that_of_the_sky_and_s_n_what_is_asked_for():
    stars = snapshot(0.3 * plummer(20_000, 12))
    noisy = observe(stars, ObserveSettings(views=4, snr=60.0))
    corners = noisy.pixels[:, :8, :8]
    assert corners.std() == pytest.approx(noisy.table["sky_sigma"][0], rel=0.15)
    assert of(noisy, "truth_snr") == pytest.approx(60, rel=1e-4)
    clean = observe(stars, ObserveSettings(views=4, snr=60.0, noise=False))
    assert "sky_sigma" not in clean.table.colnames
    sigma = np.sqrt(noisy.table["sky_sigma"][0] ** 2 + clean.pixels / 100.0)
    assert ((noisy.pixels - clean.pixels) / sigma).std() == pytest.approx(1, abs=0.03)
    as_bright = 10 ** (0.4 * (of(clean, "zero_point_mag") - of(clean, "truth_mag")))
    assert clean.pixels.sum(axis=(1, 2)) == pytest.approx(as_bright, rel=0.1)


def test_maps_of_the_thesis_are_read_as_they_were_written(tmp_path):
    images = observe(snapshot(plummer(3000, 13) * [2, 1.2, 1]), replace(THESIS_MAPS, views=4))
    images.table["label"] = np.array(["oval", "rectangular", "obround", "other"], dtype=object)
    path = write_text_maps(images, tmp_path / "maps")
    assert len(path.read_text().split("\n")) == 4 * 2500 + 1
    assert path.with_name("2dfn.dat").read_text() == "1\n2\n3\n0\n"
    back = read_images(path)
    np.testing.assert_allclose(back.pixels, images.pixels, rtol=1e-7)
    assert list(np.ma.filled(back.table["label"], "none")) == ["oval", "rectangular", "obround", "none"]
    with pytest.raises(FileExistsError, match="is there already"):
        write_text_maps(images, tmp_path / "maps")
    write_text_maps(images[:1], tmp_path / "maps", overwrite=True)
    assert len(read_images(path)) == 1
    with pytest.raises(ValueError, match="square and of one size; received 7 x 9"):
        write_text_maps(ImageSet(np.ones((1, 9, 7)), images.table[:1]), tmp_path)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"views": 0}, "setting 'views' must be from 1 to 100,000; received 0"),
        ({"distance_mpc": -1.0}, "setting 'distance_mpc' must be from 1e-6 to 1e6; received -1"),
        ({"mass_to_light_new": 0.0}, "setting 'mass_to_light_new' must be from 1e-6 to 1e6; received 0.0"),
        ({"psf_fwhm_pix": np.nan}, "setting 'psf_fwhm_pix' expects a finite number; received nan"),
        ({"pixel_values": "mass"}, "noise is that of light"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(ObserveSettings(), **change)


def test_snapshots_without_an_image_are_refused():
    with pytest.raises(ValueError, match="at least one snapshot is needed"):
        observe([])
    with pytest.raises(ValueError, match="100 stars or more; received 0 stars among 300 particles"):
        observe(snapshot(plummer(300, 1), component=0))
    broken = plummer(300, 1)
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="positions and masses must be finite"):
        observe(snapshot(broken))
