"""Isophotes one by one: against analytic galaxies that change with radius, photutils, and IRAF's tables."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.errors import UsageError
from emeraldcut.galaxies import draw_galaxy, leda074886, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.isophotes import ProfileSettings, measure, radial_profiles
from emeraldcut.isophotes.polar import fourth_harmonics
from tests.helpers import ROOT, images, sky_noise_for

ISOPHOTE = ROOT.parent / "shared" / "real" / "fits" / "isophote"
SIZE, CENTRE = 121, (60.3, 59.8)


def changing(
    radius=12.0, a4=(0.03, -0.06), axis_ratio=(0.55, 0.75), angle_deg=(20.0, 35.0), size=SIZE, ends=(0.3, 2.5)
):
    """Light whose a4, axis ratio and angle change with the logarithm of the radius, and their true values.

    Brightness falls as an exponential of the isophote's semi-major axis, which is found on a fine grid of radii.
    """
    knots = np.geomspace(0.2, 12 * radius, 4000)
    share = np.clip(np.log(knots / (ends[0] * radius)) / np.log(ends[1] / ends[0]), 0, 1)

    def at(ends):
        return ends[0] + (ends[1] - ends[0]) * share

    fine = 5
    place = (np.arange(size * fine) - (fine - 1) / 2) / fine
    x, y = np.meshgrid(place - CENTRE[0], place - CENTRE[1])
    semi = np.hypot(x, y) * 1.2
    for _ in range(60):  # s = rho(s) / (1 + a4(s) cos 4 psi(s)), by iteration
        q, angle, c4 = (np.interp(semi, knots, at(e)) for e in (axis_ratio, np.radians(angle_deg), a4))
        u, v = x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / q
        semi = 0.5 * semi + 0.5 * np.hypot(u, v) / (1 + c4 * np.cos(4 * np.arctan2(v, u)))
    light = np.exp(-1.7 * semi / radius).reshape(size, fine, size, fine).mean(axis=(1, 3))

    def truth(values):
        return {n: np.interp(values, knots, at(e)) for n, e in (("a4", a4), ("axis_ratio", axis_ratio),
                                                               ("position_angle_deg", angle_deg))}  # fmt: skip

    return 1000 * light, truth


LIGHT, TRUTH = changing()


def test_isophotes_follow_shapes_that_change():
    table = radial_profiles(images(LIGHT))
    radius = np.asarray(table["isophote_radius_pix"])
    within = (radius > 5) & (radius < 40)
    truth = TRUTH(radius)
    assert within.sum() > 15
    assert np.abs(table["a4"] - truth["a4"])[within].max() < 0.004
    assert np.abs(table["axis_ratio"] - truth["axis_ratio"])[within].max() < 0.006
    assert np.abs(table["position_angle_deg"] - truth["position_angle_deg"])[within].max() < 1.0
    np.testing.assert_allclose(table["x"][within], CENTRE[0], atol=0.03)
    near = within & (radius < 30)  # farther out the light is a part of the sky's level
    np.testing.assert_allclose(table["brightness"][near], 1000 * np.exp(-1.7 * radius[near] / 12), rtol=0.01)


def test_errors_of_isophotes_hold_the_truth():
    rng, pulls = np.random.default_rng(1), {"a4": [], "axis_ratio": [], "brightness": []}
    near = ProfileSettings(smallest_radius_pix=5, largest_radius_pix=36)
    for snr in (60, 200):
        sigma = sky_noise_for(LIGHT, snr)
        noisy = images(*[LIGHT + sigma * rng.normal(size=LIGHT.shape) for _ in range(40)])
        table = radial_profiles(noisy, profile_settings=near)
        radius = np.asarray(table["isophote_radius_pix"])
        truth = TRUTH(radius) | {"brightness": 1000 * np.exp(-1.7 * radius / 12)}
        for name, values in pulls.items():
            level = np.ma.filled(table[name] - truth[name], np.nan)
            if name == "brightness":  # whose error is that of its pixels, not of the level of the sky
                level[(radius < 8) | (radius > 14)] = np.nan
            values.append(level / np.ma.filled(table[f"{name}_err"], np.nan))
    for name, values in pulls.items():
        found = np.concatenate(values)
        found = found[np.isfinite(found)]
        assert len(found) > 300
        assert 0.63 < np.mean(np.abs(found) < 1) < 0.73, name


def test_profiles_follow_photutils_on_leda074886():
    """LEDA 074886's exponent rises from 2 inside 1 kpc (10 arcsec) to 3.5 at 5 kpc; photutils measures the same.

    photutils takes the slope between an isophote and one 10 % farther out, which is less than the slope on the
    isophote, so that its harmonics are larger; here they are brought to the latter, by its own light on both sides.
    """
    from photutils.isophote import Ellipse, EllipseGeometry

    image = leda074886(size=160, pixel_scale_arcsec=1.0, position_angle_deg=30)
    geometry = EllipseGeometry(79.5, 79.5, 30.0, 0.3, np.radians(30))
    fitter = Ellipse(image.astype(float), geometry=geometry)
    radii = (22.0, 27.0, 33.0, 40.0, 48.0)
    isophotes = [fitter.fit_isophote(radius) for radius in radii]
    slopes = [(fitter.fit_isophote(1.02 * r).intens - fitter.fit_isophote(0.98 * r).intens) / (0.04 * r) for r in radii]
    b4 = [i.b4 * i.grad / slope for i, slope in zip(isophotes, slopes, strict=True)]
    table = radial_profiles(images(image), profile_settings=ProfileSettings(radii_pix=radii))
    np.testing.assert_allclose(table["a4_polar"], b4, atol=0.004)
    # the ellipse without a second harmonic in the polar angle is flatter than a box's own
    np.testing.assert_allclose(table["axis_ratio"], [1 - i.eps for i in isophotes], atol=0.035)


def test_given_radii_linear_and_geometric_steps():
    pool = images(LIGHT)

    def radii(**options):
        return np.asarray(
            radial_profiles(pool, profile_settings=ProfileSettings(**options))["isophote_radius_pix"], float
        )

    np.testing.assert_allclose(radii(radii_pix=(9.0, 4.0, 20.5)), [4, 9, 20.5])
    linear = radii(radius_step_pix=2.5, smallest_radius_pix=5, largest_radius_pix=20)
    np.testing.assert_allclose(linear, np.arange(5, 20.1, 2.5))
    geometric = radii(radius_step=0.2, smallest_radius_pix=4, largest_radius_pix=30)
    np.testing.assert_allclose(geometric[1:] / geometric[:-1], 1.2)
    assert geometric[0] == pytest.approx(4) and 25 < geometric[-1] <= 30
    with pytest.raises(UsageError, match="smallest_radius_pix <= largest_radius_pix"):
        ProfileSettings(smallest_radius_pix=5, largest_radius_pix=4)


@pytest.mark.parametrize("fixed", ["fix_centre", "fix_eps", "fix_pa", "fix_harmonics"])
def test_what_is_fixed_is_that_of_the_whole_galaxy(fixed):
    pool = images(LIGHT)
    table = radial_profiles(pool, profile_settings=ProfileSettings(**{fixed: True}))
    names = {"fix_centre": ("x", "y"), "fix_eps": ("axis_ratio",), "fix_pa": ("position_angle_deg",)}.get(fixed, ())
    for name in names:
        assert np.ptp(np.ma.filled(table[name], np.nan)[np.isfinite(np.ma.filled(table[name], np.nan))]) < 1e-6, name
    for name in {"x", "axis_ratio", "position_angle_deg"} - set(names):
        assert np.ma.std(table[name]) > 1e-5, name
    if fixed == "fix_harmonics":
        assert np.ma.getmaskarray(table["a4"]).all()  # not measured, so missing
    else:
        assert np.ma.getmaskarray(table[f"{names[0]}_err" if fixed != "fix_pa" else "position_angle_err_deg"]).all()


def test_what_is_missing_is_masked_and_says_why():
    rng = np.random.default_rng(3)
    sigma = sky_noise_for(LIGHT, 60)
    pixels = LIGHT + sigma * rng.normal(size=LIGHT.shape)
    pixels[:, 75:] = np.nan
    table = radial_profiles(images(pixels), profile_settings=ProfileSettings(largest_radius_pix=110))
    hidden = np.ma.getmaskarray(table["a4"])
    assert hidden.any() and not hidden.all()
    assert np.ma.getmaskarray(table["a4_err"])[hidden].all() and np.ma.getmaskarray(table["a6"])[hidden].all()
    reasons = np.asarray(table["stop_reason"])
    few = np.asarray(table["isophote_pixels"]) < 30  # there are the axes, but not the harmonics
    assert set(reasons[hidden & ~few]) <= {"too few pixels", "too faint"}
    assert set(reasons[~hidden]) <= {"converged", "not converged"}
    assert table["coverage"][np.argmax(table["isophote_radius_pix"])] < 0.7
    assert np.all(table["coverage"][table["isophote_radius_pix"] < 10] > 0.95)


def test_brightness_growth_and_magnitudes():
    """Against the integral of the light over the pixels, and magnitudes by hand."""
    light = draw_galaxy(shapes.ellipse(0.7), Sersic(1.0), size=161, radius_pix=12, position_angle_deg=30)
    light = light * 1e5
    table = radial_profiles(images(light, zero_point_mag=[25.0], pixel_scale_arcsec=[0.4]))
    row = table[np.argmin(np.abs(table["isophote_radius_pix"] - 12))]
    y, x = np.mgrid[:161, :161] - 80.0
    u, v = x * np.cos(np.pi / 6) + y * np.sin(np.pi / 6), y * np.cos(np.pi / 6) - x * np.sin(np.pi / 6)
    inside = np.hypot(u, v / 0.7) < row["isophote_radius_pix"]
    assert row["light_inside"] == pytest.approx(light[inside].sum(), rel=0.02)
    mag = 25 - 2.5 * np.log10(row["brightness"] / 0.4**2)
    assert row["surface_brightness_mag_arcsec2"] == pytest.approx(mag, abs=1e-6)
    grows = np.ma.filled(table["light_inside"], np.nan)
    assert np.all(np.diff(grows[np.isfinite(grows)]) > 0)


@settings(max_examples=8, deadline=None)
@given(st.floats(0, 180), st.booleans(), st.floats(0.01, 1000))
def test_isophotes_do_not_change_with_angle_mirror_and_unit(angle, mirror, factor):
    shape, options = shapes.superellipse(0.65, 3.5), ProfileSettings(radii_pix=(6.0, 9.0, 14.0, 20.0))
    base, other = (draw_galaxy(shape, Sersic(1.0), size=80, radius_pix=9, position_angle_deg=a) for a in (10.0, angle))
    other = other[:, :: -1 if mirror else 1] * factor
    a, b = (radial_profiles(images(light / base.max()), profile_settings=options) for light in (base, other))
    np.testing.assert_allclose(a["a4"], b["a4"], atol=0.004)
    np.testing.assert_allclose(a["axis_ratio"], b["axis_ratio"], atol=0.006)


# --- the other conventions of the fourth harmonic


def in_polar_angle(exponent: float, axis_ratio: float) -> tuple[float, float]:
    """a4 of a superellipse as photutils and IRAF, and as Bender have it, from their definitions.

    The light at even steps along the ellipse without a second harmonic, over the slope along its major axis; and the
    radial distance of the outline from such an ellipse over its semi-major axis.
    """
    from scipy.optimize import brentq, least_squares

    phi = (np.arange(4096) + 0.5) * 2 * np.pi / 4096

    def ellipse(a, b):
        return a * b / np.hypot(b * np.cos(phi), a * np.sin(phi))

    def size(r):  # of the superellipse through a point
        x, y = np.abs(r * np.cos(phi)), np.abs(r * np.sin(phi) / axis_ratio)
        return (x**exponent + y**exponent) ** (1 / exponent)

    def term(b, m):  # of the light, -size, at points evenly spaced along the ellipse (1, b), with the mean
        root = np.sqrt(ellipse(1, b))
        terms = np.stack([np.ones_like(phi), np.cos(m * phi)], axis=1) * root[:, None]
        return np.linalg.lstsq(terms, -size(ellipse(1, b)) * root, rcond=None)[0]

    b = brentq(lambda b: term(b, 2)[1], 0.5 * axis_ratio, 1.2 * axis_ratio)
    mean = np.average(size(ellipse(1, b)), weights=ellipse(1, b))  # which grows with the ellipse: the slope
    along = term(b, 4)[1] / mean
    outline = 1 / size(np.ones_like(phi))

    def left(axes):
        rest = outline - ellipse(*axes)
        return [rest.mean(), np.mean(rest * np.cos(2 * phi))]

    axes = least_squares(left, [1, axis_ratio]).x
    return along, 2 * np.mean((outline - ellipse(*axes)) * np.cos(4 * phi)) / axes[0]


@pytest.mark.parametrize("axis_ratio", [1.0, 0.85, 0.7, 0.5, 0.35])
@pytest.mark.parametrize("exponent", [2.2, 3.0])
def test_a4_in_other_conventions(axis_ratio, exponent):
    terms = shapes.harmonics(shapes.superellipse(axis_ratio, exponent))
    cosines = np.array([[terms["a4"], terms["a6"], terms["a8"]]])
    along, radial = (float(v[0]) for v in fourth_harmonics(np.array([axis_ratio]), cosines))
    expected = in_polar_angle(exponent, axis_ratio)
    assert along == pytest.approx(expected[0], rel=0.06, abs=2e-4)
    assert radial == pytest.approx(expected[1], rel=0.06, abs=2e-4)


@pytest.mark.parametrize("axis_ratio", [0.7, 0.5])
def test_a4_of_a_box_is_photutils(axis_ratio):
    """On light that falls linearly, of which photutils' slope is the true one."""
    from photutils.isophote import Ellipse, EllipseGeometry

    y, x = np.mgrid[:401, :401] - 200.0
    light = 500 - (np.abs(x) ** 3 + np.abs(y / axis_ratio) ** 3) ** (1 / 3)
    theirs = Ellipse(light, geometry=EllipseGeometry(200, 200, 100, 1 - axis_ratio, 0.0)).fit_isophote(100)
    terms = shapes.harmonics(shapes.superellipse(axis_ratio, 3.0))
    cosines = np.array([[terms["a4"], terms["a6"], terms["a8"]]])
    assert fourth_harmonics(np.array([axis_ratio]), cosines)[0][0] == pytest.approx(theirs.b4, abs=0.001)


# --- zones


@pytest.mark.slow
def test_zones_say_what_changes_with_radius():
    rng = np.random.default_rng(0)
    light, _ = changing(a4=(0.04, -0.06), axis_ratio=(0.55, 0.7), angle_deg=(20, 20), ends=(0.8, 1.3))
    sigma = sky_noise_for(light, 200)
    even = draw_galaxy(shapes.ellipse(0.65), Sersic(1.0), size=SIZE, radius_pix=12, position_angle_deg=20)
    even_sigma = sky_noise_for(even, 200)
    table = measure(
        images(
            *[light + sigma * rng.normal(size=light.shape) for _ in range(20)],
            *[even + even_sigma * rng.normal(size=even.shape) for _ in range(40)],
        )
    )
    boxy, plain = table[:20], table[20:]
    assert np.mean(boxy["boxy_zones"] == "boxy outside, disky inside") >= 0.7
    assert np.ma.median(boxy["a4_inner"]) == pytest.approx(0.035, abs=0.01)
    assert np.ma.median(boxy["a4_outer"]) == pytest.approx(-0.06, abs=0.006)
    assert np.all(boxy["a4_slope"] < -0.03)
    assert np.mean(plain["boxy_zones"] == "elliptical") >= 0.95
    pulls = plain["a4_extreme"] / plain["a4_extreme_err"]
    assert np.sqrt(np.mean(pulls**2)) < 1.6  # the largest of ten, of which one expects 2.4 were it not corrected
    assert np.mean(boxy["a4_extreme_radius_pix"] > boxy["radius_pix"]) >= 0.85  # .95 of 300
    assert np.ma.median(boxy["a4_extreme"]) == pytest.approx(-0.06, abs=0.01)


def test_small_isophotes_of_large_galaxies_have_the_error_of_their_correction_for_the_psf():
    """Where the frame is binned too, a fifth of what the correction changes is in the errors."""
    light = draw_galaxy(shapes.superellipse(0.5, 3), Sersic(1.0), size=320, radius_pix=36, psf_fwhm_pix=6)
    settings = ProfileSettings(radii_pix=(12.0, 16.0, 60.0))
    known = radial_profiles(images(light, psf_fwhm_pix=[6.0]), profile_settings=settings)
    unknown = radial_profiles(images(light), profile_settings=settings)
    for table in (known, unknown):
        assert list(table["isophote_binning"][:2]) == [1, 1] and table["isophote_binning"][2] > 1
    change = np.abs(known["a4"] - unknown["a4"])[:2]
    assert np.all(change > 0.003) and np.all(known["a4_err"][:2] > 0.19 * change)


# --- tables of IRAF


@pytest.mark.skipif(not ISOPHOTE.exists(), reason="needs IRAF's tables beside the project")
@pytest.mark.parametrize("name", ["synth", "synth_highsnr", "synth_lowsnr", "M51"])
def test_irafs_tables(name):
    """Nine in ten radii within two sigma, ours and IRAF's combined; no difference on average but for spiral arms."""
    pixels = fits.getdata(ISOPHOTE / f"{name}.fits").astype(np.float32)
    table = Table.read(ISOPHOTE / f"{name}_table.fits")
    radius, b4, error = (np.ma.filled(np.ma.asarray(table[c], float), np.nan) for c in ("SMA", "B4", "B4_ERR"))
    good = np.isfinite(b4) & np.isfinite(error) & (radius >= 3) & (np.asarray(table["STOP"]) <= 2)
    options = ProfileSettings(radii_pix=tuple(float(r) for r in radius[good]))
    ours = radial_profiles(images(pixels), profile_settings=options)
    a4, a4_err = (np.ma.filled(ours[c], np.nan) for c in ("a4_polar", "a4_polar_err"))
    known = np.isfinite(a4)
    difference = (a4 - b4[good])[known]
    pulls = difference / np.hypot(a4_err, error[good])[known]
    assert known.mean() > 0.6  # M51 has arms, in which no ellipse converges
    assert np.mean(np.abs(pulls) < 2) >= 0.9
    assert name == "M51" or abs(np.median(difference)) < 0.002
