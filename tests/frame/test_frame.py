"""The frame against drawings of known centre, axes and size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.data import Flag
from emeraldcut.frame import frame_galaxies, frame_galaxy
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from tests.helpers import images

SHAPES = {
    "ellipse": shapes.ellipse(0.6),
    "box": shapes.superellipse(0.6, 4),
    "rectangle": shapes.rectangle(0.7),
    "obround": shapes.obround(0.5),
    "skewed box": shapes.skewed_box(0.7, 4, 10),
    "egg": shapes.egg(0.7),
}
SEEING = {"psf_fwhm_pix": 2.5}
named_shape = st.sampled_from(sorted(SHAPES))


def framed(*pixels):
    return frame_galaxies(images(*pixels))


def draw(name, angle=30.0, scale=1.0, centre=None):
    size = int(96 * scale)
    return draw_galaxy(
        SHAPES[name],
        Sersic(1.0),
        size=size,
        radius_pix=10 * scale,
        centre=centre,
        position_angle_deg=angle,
        psf_fwhm_pix=2.5 * scale,
    )


def change(image, reference):
    """Relative rms difference of two framed images of unit light, at the best of the frame's four flips."""
    a, b = (s / np.abs(s).mean() for s in framed(image, reference).stamps)
    flips = [a[::i, ::j] for i in (1, -1) for j in (1, -1)]
    return min(np.sqrt(np.mean((f - b) ** 2) / np.mean(b**2)) for f in flips)


@settings(max_examples=12, deadline=None)
@given(named_shape, st.floats(0, 180), st.booleans(), st.booleans())
def test_rotation_and_mirrors_do_not_change_the_framed_image(name, angle, up, left):
    image = draw(name, angle)[:: -1 if up else 1, :: -1 if left else 1]
    assert change(image, draw(name)) < 0.01


@settings(max_examples=8, deadline=None)
@given(named_shape, st.floats(-4, 4), st.floats(-4, 4))
def test_a_shift_does_not_change_the_framed_image(name, dx, dy):
    assert change(draw(name, centre=(47.5 + dx, 47.5 + dy)), draw(name)) < 0.01


@settings(max_examples=8, deadline=None)
@given(named_shape, st.floats(-100, 100), st.floats(0.01, 1000))
def test_a_constant_and_a_factor_do_not_change_the_framed_image(name, constant, factor):
    image = draw(name)
    assert change(image / image.max() * factor + constant * factor, image) < 0.01


@settings(max_examples=8, deadline=None)
@given(named_shape, st.floats(0.5, 2))
def test_size_hardly_changes_the_framed_image(name, scale):
    # below one, the pixel itself blurs what there is to see
    assert change(draw(name, scale=scale), draw(name)) < 0.04


@pytest.mark.parametrize("axis_ratio", [0.3, 0.5, 0.7, 0.9])
def test_geometry_of_a_noise_free_ellipse(axis_ratio):
    image = draw_galaxy(
        shapes.ellipse(axis_ratio), Sersic(1.0), size=96, radius_pix=9, centre=(46.2, 49.7), position_angle_deg=72
    )
    table = framed(image).table
    assert table["x"][0] == pytest.approx(46.2, abs=0.03)
    assert table["y"][0] == pytest.approx(49.7, abs=0.03)
    assert table["axis_ratio"][0] == pytest.approx(axis_ratio, abs=0.006)
    assert table["position_angle_deg"][0] == pytest.approx(72, abs=0.3)
    assert table["radius_pix"][0] == pytest.approx(9, rel=0.05)  # the Petrosian aperture misses a little light


@pytest.mark.parametrize("angle", [0, 20, 45, 70])
def test_a_square_is_framed_along_its_sides(angle):
    image = draw_galaxy(shapes.superellipse(1.0, 5), Sersic(1.0), size=80, radius_pix=9, position_angle_deg=angle)
    ellipse = frame_galaxy(image.astype(np.float32)).ellipse
    assert ellipse.cosine[4] < -0.08
    assert abs((np.degrees(ellipse.angle) - angle + 45) % 90 - 45) < 1


def test_a_brighter_neighbour_is_masked():
    galaxy = draw_galaxy(shapes.ellipse(0.6), Sersic(1.0), radius_pix=7, position_angle_deg=60)
    y, x = np.mgrid[0:64, 0:64]
    star = 3 * galaxy.max() * np.exp(-0.5 * ((x - 47) ** 2 + (y - 40) ** 2) / 1.3**2)
    alone, beside = framed(galaxy, galaxy + star).table
    assert beside["flag"] & Flag.NEIGHBOUR and not alone["flag"] & Flag.NEIGHBOUR
    assert abs(beside["axis_ratio"] - alone["axis_ratio"]) < 0.02
    assert abs(beside["position_angle_deg"] - alone["position_angle_deg"]) < 2


def test_missing_pixels_are_ignored_not_zero():
    galaxy = draw_galaxy(shapes.ellipse(0.6), Sersic(1.0), radius_pix=8, position_angle_deg=10).astype(np.float32)
    holed = galaxy.copy()
    holed[36:40, 40:46] = np.nan
    whole, part = framed(galaxy, holed).table
    assert abs(whole["axis_ratio"] - part["axis_ratio"]) < 0.01


def test_what_is_no_galaxy_is_a_flagged_row():
    noise = np.random.default_rng(0).normal(size=(64, 64))
    flags = framed(noise, np.zeros((64, 64)), np.full((64, 64), np.nan), np.zeros((0, 0))).table["flag"]
    assert flags[0] & Flag.NO_GALAXY and flags[1] & Flag.NO_GALAXY
    assert all(flags[2:])


def test_a_galaxy_cut_by_the_edge_is_flagged():
    image = draw_galaxy(shapes.ellipse(0.7), Sersic(1.0), radius_pix=9, centre=(54, 32))
    assert framed(image).table["flag"][0] & Flag.CUT_BY_EDGE
