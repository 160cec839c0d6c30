"""Boxes of known strength: discs whose stars were tilted alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emeraldcut.mergers.boxes import boxy_galaxy, inclined
from emeraldcut.mergers.progenitors import DWARF, make_progenitor, scaled

SMALL = scaled(DWARF, 0.1)


@given(st.integers(0, 2**31), st.floats(0, 180), st.floats(0, 360))
def test_each_vector_is_turned_by_a_rotation_of_its_own(seed, inclination, node):
    """Lengths and products are kept; the normal of the plane of x and y gets the inclination and the node asked for."""
    vectors = np.random.default_rng(seed).normal(size=(3, 3))
    same = np.full(3, inclination), np.full(3, node)
    turned = inclined(vectors, *same)
    np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-9)
    (x, y, z) = inclined(np.eye(3), *same)
    np.testing.assert_allclose(np.cross(x, y), z, atol=1e-9)
    i, towards = np.radians([inclination, node])
    np.testing.assert_allclose(z, [np.sin(i) * np.sin(towards), -np.sin(i) * np.cos(towards), np.cos(i)], atol=1e-9)


def test_only_the_orbits_of_the_stars_are_tilted():
    """Radii, speeds and the halo stay; angular momenta have the inclinations asked for, and nodes are all round."""
    disc, box = make_progenitor(SMALL, seed=3), boxy_galaxy(SMALL, seed=3, inclination_deg=50.0, spread_deg=5.0)
    stars = disc.stars
    np.testing.assert_array_equal(box.position[~stars], disc.position[~stars])
    for name in ("position", "velocity"):
        one, other = (np.linalg.norm(getattr(galaxy, name)[stars], axis=1) for galaxy in (disc, box))
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    momentum = np.cross(box.position[stars], box.velocity[stars])
    inclination = np.degrees(np.arccos(momentum[:, 2] / np.linalg.norm(momentum, axis=1)))
    own = np.cross(disc.position[stars], disc.velocity[stars])
    thick = np.degrees(np.arccos(own[:, 2] / np.linalg.norm(own, axis=1)))  # of the disc itself
    assert np.median(inclination) == pytest.approx(50, abs=2)
    assert 5 < np.std(inclination) < 6 + 2 * thick.std()
    node = momentum[:, 0] + 1j * momentum[:, 1]
    assert abs(np.sum(node)) / np.sum(np.abs(node)) < 0.1
