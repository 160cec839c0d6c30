"""Outlines, harmonics and profiles, against published tables, geometry, and photutils."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from photutils.isophote import Ellipse, EllipseGeometry
from scipy.integrate import quad
from scipy.special import gamma

from emeraldcut.galaxies import shapes
from emeraldcut.galaxies.leda074886 import leda074886, leda074886_control
from emeraldcut.galaxies.profiles import Body, EdgeOnDisc, Sersic, exponential, half_light_radius, sersic_b
from emeraldcut.galaxies.synthesise import draw_galaxy

# Independent computation, quoted in the project's fact sheet: a4 of superellipses, a4 and a6 of obrounds.
SUPERELLIPSE_A4 = {
    1.5: 0.053,
    1.8: 0.018,
    2: 0,
    2.1: -0.008,
    2.2: -0.015,
    2.5: -0.034,
    3: -0.057,
    3.5: -0.074,
    4: -0.086,
    6: -0.112,
    12: -0.132,
}
OBROUND = {
    0.3: (-0.097, 0.017),
    0.4: (-0.082, 0.020),
    0.5: (-0.066, 0.020),
    0.6: (-0.051, 0.018),
    0.7: (-0.036, 0.014),
    0.8: (-0.022, 0.009),
    0.9: (-0.010, 0.004),
}
MAKERS = {
    "ellipse": shapes.ellipse,
    "superellipse": lambda q: shapes.superellipse(q, 3.2),
    "rectangle": shapes.rectangle,
    "rounded_rectangle": lambda q: shapes.rounded_rectangle(q, 0.4),
    "obround": shapes.obround,
    "disky": shapes.disky,
    "diamond": shapes.diamond,
    "egg": shapes.egg,
    "skewed_box": lambda q: shapes.skewed_box(q, 4.0, 8.0),
}


@pytest.mark.parametrize("exponent, a4", SUPERELLIPSE_A4.items())
def test_superellipse_a4_follows_the_table_at_any_axis_ratio(exponent, a4):
    for axis_ratio in (0.4, 0.7):
        found = shapes.harmonics(shapes.superellipse(axis_ratio, exponent))
        assert found["a4"] == pytest.approx(a4, abs=0.001)


@pytest.mark.parametrize("axis_ratio, terms", OBROUND.items())
def test_obround_a4_and_a6_follow_the_table(axis_ratio, terms):
    found = shapes.harmonics(shapes.obround(axis_ratio))
    assert (found["a4"], found["a6"]) == pytest.approx(terms, abs=0.001)


def test_sharp_rectangle_has_the_harmonics_of_a_square():
    """rho of a square is 1/cos(psi) for |psi| < pi/4; its Fourier integrals by scipy."""
    mean = quad(lambda t: 1 / np.cos(t), 0, np.pi / 4)[0]
    found = shapes.harmonics(shapes.rectangle(0.45))
    for m in (4, 8):
        term = 2 * quad(lambda t, m=m: np.cos(m * t) / np.cos(t), 0, np.pi / 4)[0] / mean
        assert found[f"a{m}"] == pytest.approx(term, abs=2e-4)
    assert found["a6"] == pytest.approx(0, abs=1e-6)
    assert (found["a4"], found["a8"]) == pytest.approx((-0.139, 0.044), abs=0.001)


def test_harmonics_returns_what_a_harmonic_outline_was_made_of():
    given_terms = shapes.harmonics(shapes.harmonic_outline(0.6, {3: 0.03, 4: -0.05, 6: 0.01}, {4: 0.02}))
    assert given_terms["a3"] == pytest.approx(0.03, abs=1e-4)
    assert given_terms["a4"] == pytest.approx(-0.05, abs=1e-4)
    assert given_terms["b4"] == pytest.approx(0.02, abs=1e-4)
    assert given_terms["a6"] == pytest.approx(0.01, abs=1e-4)


def test_an_outline_of_no_harmonics_is_an_ellipse():
    x, y = np.array([1.0, 0.2]), np.array([0.5, -0.9])
    assert shapes.harmonic_outline(0.7, {}).radius(x, y) == pytest.approx(shapes.ellipse(0.7).radius(x, y), rel=1e-12)


def test_skew_turns_the_cosine_into_a_sine_term():
    upright, skewed = (shapes.harmonics(shapes.skewed_box(0.6, 4.0, angle)) for angle in (0, 9))
    assert skewed["b4"] == pytest.approx(upright["a4"] * np.sin(np.radians(36)), abs=1e-4)
    assert skewed["a4"] == pytest.approx(upright["a4"] * np.cos(np.radians(36)), abs=1e-4)
    assert skewed["axis_ratio"] == pytest.approx(0.6, abs=1e-4)


def test_points_of_a_plain_ellipse_have_its_axis_ratio_and_no_harmonics():
    angle = np.linspace(0, 2 * np.pi, 1500, endpoint=False) + 0.01
    terms = shapes.harmonics(np.stack([3 * np.cos(angle), 1.2 * np.sin(angle)], axis=1))
    assert terms.pop("axis_ratio") == pytest.approx(0.4, abs=1e-4)
    assert np.abs(list(terms.values())).max() < 1e-4


@pytest.mark.parametrize("name", MAKERS)
@given(scale=st.floats(0.01, 100), axis_ratio=st.floats(0.3, 1.0), seed=st.integers(0, 1000))
@hypothesis_settings(max_examples=15, deadline=None)
def test_radius_is_one_on_the_outline_and_grows_with_scale(name, scale, axis_ratio, seed):
    shape = MAKERS[name](axis_ratio)
    outline = shape.outline()
    assert shape.radius(*outline.T) == pytest.approx(1, rel=1e-9)
    points = np.random.default_rng(seed).normal(size=(2, 50))
    assert shape.radius(*(scale * points)) == pytest.approx(scale * shape.radius(*points), rel=1e-9)


@given(exponent=st.floats(1.2, 8), axis_ratio=st.floats(0.3, 1.0), seed=st.integers(0, 1000))
@hypothesis_settings(max_examples=25, deadline=None)
def test_superellipse_radius_solves_its_equation(exponent, axis_ratio, seed):
    x, y = np.random.default_rng(seed).normal(size=(2, 100))
    s = shapes.superellipse(axis_ratio, exponent).radius(x, y)
    assert np.abs(x / s) ** exponent + np.abs(y / axis_ratio / s) ** exponent == pytest.approx(1, abs=1e-4)


def test_areas_of_figures_that_geometry_knows():
    q = 0.6
    assert shapes.ellipse(q).enclosed_area(2.0) == pytest.approx(np.pi * 4 * q)
    assert shapes.rectangle(q).enclosed_area(2.0) == pytest.approx(16 * q, rel=1e-4)
    assert shapes.obround(q).enclosed_area(1.0) == pytest.approx(np.pi * q**2 + 4 * q * (1 - q), rel=1e-4)
    corners = (4 - np.pi) * (0.3 * q) ** 2
    assert shapes.rounded_rectangle(q, 0.3).enclosed_area(1.0) == pytest.approx(4 * q - corners, rel=1e-4)
    lame = 4 * q * gamma(1 + 1 / 3) ** 2 / gamma(1 + 2 / 3)
    assert shapes.superellipse(q, 3.0).enclosed_area(1.0) == pytest.approx(lame, rel=1e-4)
    assert shapes.GradualBox(q, (1.0, 2.0), (3.0, 3.0)).enclosed_area(1.0) == pytest.approx(lame)


@given(seed=st.integers(0, 1000), rise=st.floats(0, 2.5))
@hypothesis_settings(max_examples=20, deadline=None)
def test_gradual_box_radius_solves_its_implicit_equation(seed, rise):
    box = shapes.GradualBox(0.7, (1.0, 3.0), (2.0, 2.0 + rise))
    x, y = 2 * np.random.default_rng(seed).normal(size=(2, 200))
    s = box.radius(x, y)
    c = box.exponent_at(s)
    assert np.abs(x / s) ** c + np.abs(y / 0.7 / s) ** c == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize(
    "shape, label, scored",
    [
        (shapes.ellipse(0.5), "oval", True),
        (shapes.superellipse(0.5, 2.05), "oval", True),
        (shapes.superellipse(0.7, 2.3), "oval", False),
        (shapes.superellipse(0.7, 2.45), "rectangular", False),
        (shapes.superellipse(0.7, 3.0), "rectangular", True),
        (shapes.rectangle(0.7), "rectangular", True),
        (shapes.skewed_box(0.7, 4.0, 8.0), "rectangular", True),
        (shapes.obround(0.5), "obround", True),
        (shapes.obround(0.82), "obround", False),
        (shapes.disky(0.5, 0.025), "other", False),
        (shapes.disky(0.5, 0.05), "other", True),
        (shapes.diamond(0.7), "other", True),
        (shapes.egg(0.7, 0.06), "other", True),
        (shapes.egg(0.7, 0.025), "oval", False),
    ],
)
def test_labels_follow_the_harmonics(shape, label, scored):
    assert shapes.label_of(shapes.harmonics(shape)) == (label, scored)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="axis ratio"):
        shapes.ellipse(1.2)
    with pytest.raises(ValueError, match="corner"):
        shapes.rounded_rectangle(0.5, 0.0)
    with pytest.raises(ValueError, match="below order 3"):
        shapes.harmonic_outline(0.5, {2: 0.1})
    with pytest.raises(ValueError, match="enclose its centre"):
        shapes.harmonic_outline(0.5, {3: 1.5})
    with pytest.raises(ValueError, match="32 or more points"):
        shapes.harmonics(np.zeros((5, 2)))


def test_sersic_b_agrees_with_published_values():
    """b_4 = 7.669 and b_1 = 1.678; the series is that of Ciotti & Bertin 1999."""
    assert sersic_b(4) == pytest.approx(7.6692, abs=1e-4)
    assert sersic_b(1) == pytest.approx(1.67835, abs=1e-4)
    for n in (1.0, 2.5, 6.0):
        assert sersic_b(n) == pytest.approx(2 * n - 1 / 3 + 4 / (405 * n) + 46 / (25515 * n**2), abs=2e-4)
    with pytest.raises(ValueError, match="Sersic index"):
        sersic_b(0)
    with pytest.raises(ValueError, match="truncated"):
        sersic_b(1, 1.0)


@pytest.mark.parametrize("profile", [Sersic(0.5), exponential(), Sersic(4.0), exponential(3.0), Sersic(2.5, 2.0)])
def test_profile_encloses_half_its_light_at_one(profile):
    edge = min(profile.truncation, 5000.0)
    inner = quad(lambda s: 2 * s * profile(s), 0, 1)[0]
    parts = np.geomspace(1, edge, 12)
    outer = sum(quad(lambda s: 2 * s * profile(s), *ends)[0] for ends in pairwise(parts))
    assert inner == pytest.approx(outer, rel=1e-3)
    assert profile.total_flux(3.0) == pytest.approx(3.0 * (inner + outer), rel=1e-3)


def test_edge_on_disc_holds_light_one():
    disc = EdgeOnDisc(0.7, 0.2)
    x, y = np.linspace(-12, 12, 4001), np.linspace(-3, 3, 601)
    assert disc(x[None, :], y[:, None]).sum() * (x[1] - x[0]) * (y[1] - y[0]) == pytest.approx(1, rel=2e-3)


@pytest.mark.parametrize("shape", [shapes.rectangle(0.5), shapes.obround(0.7), shapes.skewed_box(0.6, 3.0, 6.0)])
def test_half_light_radius_and_isophote_of_a_body_are_those_it_was_made_of(shape):
    body = Body(shape, Sersic(1.5), 1.3)
    assert half_light_radius(body, shape.axis_ratio) == pytest.approx(1.3, rel=0.01)
    traced = shapes.harmonics(shapes.trace_isophote(body, 2.0, shape.axis_ratio))
    for name, value in shapes.harmonics(shape).items():
        assert traced[name] == pytest.approx(value, abs=0.001)


def _isophotes(image, semi_major, angle_deg, radii):
    """photutils isophotes of a centred noise-free image: b4 and ellipticity."""
    centre = (image.shape[0] - 1) / 2
    geometry = EllipseGeometry(centre, centre, semi_major, 0.3, np.radians(angle_deg))
    fitter = Ellipse(np.asarray(image, dtype=float), geometry=geometry)
    return [fitter.fit_isophote(radius) for radius in radii]


@pytest.mark.parametrize("exponent, published", [(2.0, 0.0), (2.5, -0.0353), (3.0, -0.0588), (4.0, -0.0870)])
def test_photutils_measures_the_boxiness_of_our_images(exponent, published):
    """photutils 3.0.0 on exponential superellipses, axis ratio 0.7, from the fact sheet."""
    shape = shapes.superellipse(0.7, exponent)
    image = draw_galaxy(shape, exponential(), size=141, radius_pix=22.0, position_angle_deg=35, flux=1e5)
    b4 = np.median([isophote.b4 for isophote in _isophotes(image, 30, 35, (26, 30, 34))])
    assert b4 == pytest.approx(published, abs=0.004)


@pytest.mark.parametrize("psf_fwhm_pix", [0.0, 1.0])
def test_leda074886_is_as_boxy_as_published_and_its_control_is_not(psf_fwhm_pix):
    """Graham et al. 2012: a4/a of -0.05 to -0.08 between 3 and 5 kpc, 29.5 to 49.1 arcsec."""
    radii = (30, 35, 40, 45, 49)
    seen = {"psf_fwhm_pix": psf_fwhm_pix, "position_angle_deg": 25.0, "flux": 1e5}
    boxy = np.array([isophote.b4 for isophote in _isophotes(leda074886(**seen), 30, 25, radii)])
    assert np.all((boxy < -0.05) & (boxy > -0.081))
    plain = _isophotes(leda074886_control(**seen), 30, 25, radii)
    assert np.abs([isophote.b4 for isophote in plain]).max() < 0.005
    assert 1 - np.mean([isophote.eps for isophote in plain]) == pytest.approx(0.70, abs=0.005)


def test_leda074886_turns_with_its_position_angle():
    upright, turned = leda074886(), leda074886(position_angle_deg=90.0)
    assert upright.dtype == np.float32
    assert np.allclose(turned, np.rot90(upright, -1), rtol=1e-3, atol=1e-9)
