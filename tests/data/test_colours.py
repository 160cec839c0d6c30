"""Bands in colour: by astropy's own stretch, in the order of wavelength, whatever the units, names and gaps."""

import numpy as np
import pytest
from astropy.visualization import make_lupton_rgb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emeraldcut.data.colours import in_colour, wavelength_nm

SIDE = 64


def galaxy(light: dict[str, float], noise: float = 1.0, seed: int = 0) -> dict[str, np.ndarray]:
    """A round galaxy whose middle is so many times its noise bright in each band."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    shape, rng = np.exp(-np.hypot(x, y) / 5), np.random.default_rng(seed)
    return {name: noise * (bright * shape + rng.normal(size=shape.shape)) for name, bright in light.items()}


def middle(seen: np.ndarray) -> list[int]:
    return seen[SIDE // 2 - 2 : SIDE // 2 + 2, SIDE // 2 - 2 : SIDE // 2 + 2].mean(axis=(0, 1)).tolist()


@pytest.mark.parametrize(
    "name, nm",
    [("g", 475), ("DES-r", 620), ("HSC-I", 763), ("sdss_z", 905), ("F814W", 814), ("F160W", 1600), ("f090w", 900),
     ("F444W", 4440), ("F275W", 275), ("F277W", 2770), ("Ks", 2160), ("NB0921", 921), ("w1", 3350)],
)  # fmt: skip
def test_filters_have_the_wavelengths_of_their_handbooks(name, nm):
    assert wavelength_nm(name) == pytest.approx(nm, rel=0.01)


def test_a_name_that_is_no_filter_has_none():
    assert np.isnan([wavelength_nm(name) for name in ("0", "band1", "", "first")]).all()


def test_the_ratios_of_the_bands_are_those_of_lupton():
    """Where no band is cut off, R : G : B are as the light of the bands, as Lupton et al. want it."""
    bands = galaxy({"g": 20.0, "r": 40.0, "z": 80.0}, seed=3)
    red, green, blue = middle(in_colour(bands))
    assert red / blue == pytest.approx(4, rel=0.25) and green / blue == pytest.approx(2, rel=0.25)
    same = make_lupton_rgb(bands["z"], bands["r"], bands["g"], minimum=0, stretch=5, Q=8)
    theirs = middle(same)
    assert red / green == pytest.approx(theirs[0] / theirs[1], rel=0.1)


def test_bands_are_sorted_by_wavelength_however_they_come():
    bands = galaxy({"g": 20.0, "r": 40.0, "z": 80.0})
    turned = {name: bands[name] for name in ("z", "g", "r")}
    np.testing.assert_array_equal(in_colour(bands), in_colour(turned))
    unnamed = {str(k): plane for k, plane in enumerate(bands.values())}  # as they come: blue first
    np.testing.assert_array_equal(in_colour(bands), in_colour(unnamed))


@settings(max_examples=20, deadline=None)
@given(unit=st.tuples(*[st.floats(1e-20, 1e20)] * 3), sky=st.tuples(*[st.floats(-100, 100)] * 3))
def test_neither_units_nor_sky_change_the_picture(unit, sky):
    bands = galaxy({"g": 20.0, "r": 40.0, "z": 80.0})
    other = {name: u * (plane + s) for (name, plane), u, s in zip(bands.items(), unit, sky, strict=True)}
    assert np.abs(in_colour(bands).astype(int) - in_colour(other).astype(int)).max() <= 1


@settings(max_examples=20, deadline=None)
@given(depth=st.floats(0.5, 5.0), red=st.floats(0.5, 2.0))  # the noise of shallower bands is cut off at white
def test_no_galaxy_is_green_or_magenta_however_deep_its_middle_band_is(depth, red):
    """Light of a smooth spectrum, in bands of other depths: the middle colour lies between the outer ones."""
    r, g, b = middle(in_colour(galaxy({"g": 30.0 / red, "r": 30.0 * depth, "z": 30.0 * red})))
    assert min(r, b) - 12 <= g <= max(r, b) + 12
    assert abs(r - b) < 12 or (r > b) == (red > 1)


def test_the_sky_is_grey_and_dark():
    seen = in_colour(galaxy({"g": 20.0, "r": 40.0, "z": 80.0}))[:12].reshape(-1, 3).mean(axis=0)
    assert np.ptp(seen) < 4 and seen.max() < 90


def test_two_bands_have_their_mean_between_them_and_one_has_no_colour():
    bands = galaxy({"g": 20.0, "z": 80.0})
    red, green, blue = middle(in_colour(bands))
    assert red > green > blue and green == pytest.approx((red + blue) / 2, abs=3)
    assert in_colour({"g": bands["g"]}) is None and in_colour({}) is None and in_colour(None) is None


def test_of_many_bands_those_with_the_most_signal_are_shown():
    bands = galaxy({"u": 1.0, "g": 20.0, "r": 40.0, "i": 60.0, "y": 2.0})
    three = in_colour({name: bands[name] for name in "gri"})
    np.testing.assert_array_equal(in_colour(bands), three)


def test_where_a_band_is_missing_the_others_stand_for_it():
    bands = galaxy({"g": 30.0, "r": 30.0, "z": 30.0})
    bands["g"][:, : SIDE // 2] = np.nan
    seen = in_colour(bands).astype(float)
    assert np.abs(seen[28:36, 20:30].mean(axis=(0, 1)) - seen[28:36, 34:44].mean(axis=(0, 1))).max() < 15
    bands["g"][:] = np.nan
    assert in_colour(bands) is not None
    bands["r"][:] = np.nan
    assert in_colour(bands) is None


@settings(max_examples=50, deadline=None)
@given(planes=st.lists(hnp.arrays(np.float32, (9, 7), elements=st.floats(width=32)), min_size=2, max_size=5))
@pytest.mark.filterwarnings("error")
def test_whatever_bands_hold_is_a_picture_or_none(planes):
    seen = in_colour({str(k): plane for k, plane in enumerate(planes)})
    assert seen is None or (seen.shape == (9, 7, 3) and seen.dtype == np.uint8)
