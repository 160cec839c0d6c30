"""Harmonics ring by ring: what a cosmic ray does to them."""

from dataclasses import replace

import numpy as np
import pytest

from emeraldcut.frame import frame_galaxy
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from tests.helpers import sky_noise_for

ROW, COLUMN = 36, 47  # of the pixel that is hit, in the middle of the second ring


@pytest.fixture(scope="module")
def galaxy():
    light = draw_galaxy(shapes.ellipse(0.8), Sersic(1.0), size=80, radius_pix=10)
    noise = np.random.default_rng(3).normal(0, sky_noise_for(light, 400), light.shape)
    noise[ROW, COLUMN] = 0
    return frame_galaxy((light + noise).astype(np.float32))


def hit(galaxy, sigmas):
    """Change of the harmonics, in their standard errors, when one pixel is brighter by so many times the noise."""
    division = galaxy.segmentation
    image = division.image.copy()
    image[ROW, COLUMN] += sigmas * division.sky_sigma
    changed = replace(galaxy, quick=replace(galaxy.quick, segmentation=division._replace(image=image)))
    (before, variances), (after, _) = galaxy.rings, changed.rings
    return np.abs(after - before).max(axis=1) / np.sqrt(variances)


def test_a_pixel_ten_times_the_noise_off_is_a_cosmic_ray(galaxy):
    """It has no say; one of nine times the noise has one, in its ring alone."""
    for sigmas in (8.5, -8.5):
        change = hit(galaxy, sigmas)
        assert change.max() > 0.5 and np.sum(change > 0) == 1
    for sigmas in (12.0, -12.0, 1000.0):
        assert hit(galaxy, sigmas).max() < 0.15
