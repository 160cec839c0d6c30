"""The first shape of a galaxy: light that its other side does not have is a neighbour's."""

import numpy as np
import pytest

from emeraldcut.data import Flag
from emeraldcut.frame.quick_shape import mask_lopsided
from emeraldcut.frame.segmentation import NEIGHBOUR, SMOOTHING_PIX
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.isophotes import measure
from tests.helpers import from_python, images

lopsided = from_python(mask_lopsided)
SIDE = 65
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
RADIUS = 9.0


def with_plume(excess, both_sides=False):
    """A galaxy, of noise 1, with a plume along the minor axis: there brighter by a factor of 1 + `excess`, but nowhere
    brighter than farther in, so that the plume has no peak of its own."""
    light = draw_galaxy(shapes.ellipse(0.7), Sersic(1.0), size=SIDE, radius_pix=RADIUS)
    angle, width = np.arctan2(X, Y), 0.2  # from the minor axis
    plume = np.exp(-0.5 * (angle / width) ** 2)
    if both_sides:
        plume += np.exp(-0.5 * ((np.abs(angle) - np.pi) / width) ** 2)
    plume *= 1 - np.exp(-((np.hypot(X, Y) / (1.4 * RADIUS)) ** 4))
    return 500 * light / light.max() * (1 + excess * plume) + np.random.default_rng(1).normal(size=light.shape)


def test_one_side_twice_as_bright_as_the_other_is_a_neighbours():
    scenes = [with_plume(0.0), with_plume(0.8), with_plume(1.8), with_plume(1.8, both_sides=True)]
    assert list(measure(images(*scenes))["flag"] & Flag.NEIGHBOUR > 0) == [False, False, True, False]


def masked(place, its_mirror_image, sigma=1.0):
    """Whether a patch of this light, where a galaxy has the other light opposite, is taken for a neighbour's.

    In units of the noise of the difference of two places of the smoothed image.
    """
    unit = np.sqrt(2) * sigma / (2 * np.sqrt(np.pi) * SMOOTHING_PIX)
    smooth = np.zeros((SIDE, SIDE), np.float32)
    here, opposite = (slice(30, 35), slice(50, 55)), (slice(30, 35), slice(10, 15))
    smooth[here], smooth[opposite] = place * unit, its_mirror_image * unit
    shape = np.zeros(12)
    shape[:3] = (SIDE - 1) / 2, (SIDE - 1) / 2, 0.7
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    lopsided(smooth, pixels, shape, RADIUS, sigma)
    assert not np.any(pixels[opposite] == NEIGHBOUR)
    return bool(pixels[32, 52] == NEIGHBOUR)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [1.0, 7.0])
def test_what_counts_is_five_times_the_noise_and_twice_the_light(sigma):
    assert masked(5.5, 0.0, sigma) and not masked(4.5, 0.0, sigma)
    assert masked(105.0, 50.0, sigma) and not masked(95.0, 50.0, sigma)
    assert masked(9.0, 3.5, sigma) and not masked(8.0, 3.5, sigma)  # more than twice, and not by enough
