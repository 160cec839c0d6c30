"""The image that isophotes make."""

import numpy as np
import pytest
from astropy.table import Table

from emeraldcut.data import ImageSet
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.isophotes import MeasureSettings, radial_profiles
from emeraldcut.isophotes.profile_model import profile_model


@pytest.mark.parametrize("exponent", [2.0, 3.0])
def test_the_isophotes_of_a_drawing_make_the_drawing(exponent):
    outline = shapes.superellipse(0.6, exponent)
    light = draw_galaxy(outline, Sersic(1.0), size=96, radius_pix=10, position_angle_deg=70)
    profile = radial_profiles(ImageSet([light], Table({"id": ["x"]})), MeasureSettings(psf_correction=False))
    model = profile_model(profile, light.shape)
    within = np.isfinite(model) & (light > 0.05 * light.max()) & (light < 0.7 * light.max())
    assert within.sum() > 300
    assert np.std(model[within] / light[within] - 1) < 0.01
    assert abs(np.mean(model[within] / light[within] - 1)) < 0.01
    assert np.isnan(model[0, 0])  # beyond the last isophote


def test_a_profile_without_light_makes_nothing():
    profile = radial_profiles(ImageSet([np.zeros((32, 32), np.float32)], Table({"id": ["x"]})))
    empty = Table({"brightness": np.zeros(0), "axis_ratio": np.zeros(0)})
    assert not len(profile) and np.isnan(profile_model(empty, (8, 9))).all()
