"""Remnants from all sides: shape and rotation of bodies that are known."""

import numpy as np
import pytest

from emeraldcut.camera import measure_remnant
from emeraldcut.camera.camera import draw_angles
from emeraldcut.galaxies import shapes
from tests.helpers import plummer, snapshot, within_outline

SPEED, DISPERSION = 150.0, 50.0


def body(n, seed, thickness=0.5):
    """An oblate Plummer body about z that turns at one speed, with the same dispersion everywhere."""
    rng = np.random.default_rng(seed)
    place = plummer(n, rng) * (1, 1, thickness)
    around = np.stack([-place[:, 1], place[:, 0], 0 * place[:, 0]], axis=1)
    around /= np.linalg.norm(around, axis=1)[:, None]
    velocity = SPEED * around + rng.normal(0, DISPERSION, (n, 3)) + (300, -200, 100)
    return snapshot(place + (5, -3, 8), velocity, mass=1.0)


def test_an_ellipsoid_has_no_a4_from_anywhere():
    """Its projections are ellipses, whose axis ratio follows from the angle to the axis."""
    views = measure_remnant([body(40_000, seed) for seed in range(3)], 20, seed=1)
    pull = np.asarray(views["a4"] / views["a4_err"])
    assert abs(pull.mean()) < 1 and pull.std() < 1.6
    assert np.all(np.abs(views["a4_outer"]) < 4 * views["a4_outer_err"])
    cosine = np.cos(np.radians(views["view_theta_deg"]))
    np.testing.assert_allclose(views["axis_ratio"], np.sqrt(0.25 + 0.75 * cosine**2), atol=0.03)


def test_a_box_is_boxy_where_it_is_seen_as_one():
    """A flat body whose outline is a superellipse, from above."""
    shape, rng, n = shapes.superellipse(0.7, 3.0), np.random.default_rng(2), 200_000
    x, y = within_outline(shape, rng.gamma(2, 1.0, n), rng)
    place = np.stack([x, y, rng.normal(0, 0.1, n)], axis=1)
    above = next(k for k in range(10_000) if draw_angles(np.random.default_rng([k, 0]))[0] < 5)
    (view,) = measure_remnant([snapshot(place, mass=1.0)], 1, seed=above)
    wanted = shapes.harmonics(shape)["a4"]
    assert view["a4"] == pytest.approx(wanted, abs=4 * view["a4_err"])
    assert view["a4_outer"] == pytest.approx(wanted, abs=4 * view["a4_outer_err"])


@pytest.mark.slow
def test_rotation_goes_with_the_sine_of_the_inclination():
    """And bulk motion, which is not rotation, does not matter."""
    views = measure_remnant([body(100_000, 4)], 30, seed=5)
    sine = np.sin(np.radians(views["view_theta_deg"]))
    seen = views["rotation_km_s"] / sine
    assert np.std(seen[sine > 0.3]) / np.mean(seen[sine > 0.3]) < 0.12
    assert 0.6 * SPEED < np.mean(seen[sine > 0.3]) < SPEED
    assert np.all(views["dispersion_km_s"] > 0.95 * DISPERSION)


def test_views_are_the_same_for_the_same_seed():
    one, two, other = (measure_remnant([body(3000, 6)], 3, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one["a4_outer"], two["a4_outer"])
    assert not np.array_equal(one["view_phi_deg"], other["view_phi_deg"])
    with pytest.raises(ValueError, match="100 stars"):
        measure_remnant([body(50, 6)], 3, seed=7)
