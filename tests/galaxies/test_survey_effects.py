"""What surveys do to images: resampling, crops, haloes, colour pictures, and the objects that they hold."""

from dataclasses import replace

import numpy as np
import pytest

from emeraldcut.galaxies import SynthesiseSettings, confusers, population, synthesise
from emeraldcut.galaxies.sky import Psf, draw_star
from emeraldcut.galaxies.survey_effects import Resampling, colour_picture, cropped, halo
from emeraldcut.networks.train import SURVEY


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def centroid(image):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(image * x).sum(), (image * y).sum()]) / image.sum()


@pytest.mark.parametrize("orders", [(1,), (3,), (1, 3)])
@pytest.mark.parametrize("factor, turn", [(1.0, 0.0), (1.7, 30.0), (2.0, 77.0)])
def test_a_resampled_source_is_where_it_is_said_to_be(orders, factor, turn, rng):
    how, star = Resampling(factor, turn, orders), draw_star(Psf(4.0), 65, (36.0, 29.0))
    new = how(star, rng)
    shift = 0 if len(orders) == 1 else 0.75  # a second resampling shifts by half a pixel along each axis
    assert np.hypot(*(centroid(new) - how.place((36.0, 29.0), 65))) < 0.05 + shift
    assert new.sum() == pytest.approx(factor**2 * star.sum(), rel=0.02)


def test_a_halo_is_one_at_the_galaxy_and_falls_away_from_the_star(rng):
    for _ in range(20):
        wings = halo(64, (30.0, 33.0), 6.0, rng)
        assert wings[33, 30] == pytest.approx(1) and wings.min() > 0 and wings.max() > 1


def test_a_crop_keeps_the_galaxy_and_nothing_far_from_it(rng):
    for _ in range(20):
        image = cropped(np.ones((64, 64)), (30.0, 33.0), 5.0, rng)
        y, x = np.nonzero(np.isfinite(image))
        assert 30 - 21 <= x.min() <= 30 - 5 and 30 + 5 <= x.max() <= 30 + 21
        assert 33 - 21 <= y.min() <= 33 - 5 and 33 + 5 <= y.max() <= 33 + 21


def test_a_colour_picture_keeps_the_order_of_brightness(rng):
    light = 300 * np.exp(-np.hypot(*(np.mgrid[:48, :48] - 23.5)) / 5)
    for _ in range(10):
        seen = colour_picture([0.7 * light, light, 1.3 * light], 1.0, rng)
        assert seen.min() >= 0 and seen.max() <= 255
        rings = [seen[np.abs(light - level) < 0.1 * level].mean() for level in (1, 5, 20, 80, 250)]
        assert (np.diff(rings) > -2).all() and rings[-1] > rings[0] + 30
    light[3, 4] = np.nan
    assert np.isnan(colour_picture([light, light, light], 1.0, rng)[3, 4])


def test_a_saturated_star_has_a_plateau_of_the_stated_radius(rng):
    """Without halo, spikes and bleeding the saturated pixels are those within the radius."""
    for radius in (3.0, 8.0, 20.0):
        star = confusers.BrightStar(radius, spikes=0, aureole=0.0)
        image = confusers.bright_star(96, (47.3, 47.9), Psf(3.0, 3.0), star, rng)
        assert image.max() == 1 and np.sum(image >= 0.999) == pytest.approx(np.pi * radius**2, rel=0.12)


@pytest.mark.parametrize("spikes", [4, 6, 8])
def test_spikes_point_in_their_directions(spikes, rng):
    star = confusers.BrightStar(5.0, spikes=spikes, spike_light=0.1, turn=0.3, aureole=0.0)
    image = confusers.bright_star(129, (64.0, 64.0), Psf(2.5, 3.0), star, rng)
    angles = 0.3 + 2 * np.pi * (np.arange(spikes) + np.array([[0.0], [0.5]])) / spikes  # on spikes, between them
    place = np.round(64 + 25 * np.stack([np.sin(angles), np.cos(angles)])).astype(int)
    on, between = image[place[0], place[1]]
    assert on.min() > 5 * between.max()


@pytest.mark.slow
def test_survey_draws_everything_and_older_series_stay(rng):
    """All kinds come up, and settings of 0 draw nothing: series of older versions are unchanged."""
    images = synthesise(replace(SURVEY, number=150, exposures=1, classes=("other",)), seed=3)
    kinds = set(images.table["kind"])
    assert set(population.ON_PIXELS) <= kinds and len(kinds) > 15
    plain = SynthesiseSettings(number=6, population="wide")
    explicit = replace(plain, colour=0.0, resampled=0.0, haloes=0.0, cropped=0.0)
    np.testing.assert_array_equal(synthesise(plain, seed=5).pixels, synthesise(explicit, seed=5).pixels)
    boxes = synthesise(replace(SURVEY, number=40, exposures=1, classes=("rectangular",), resampled=1.0), seed=4)
    y, x = np.mgrid[:64, :64]
    for image, row in zip(boxes.pixels, boxes.table, strict=True):
        near = np.hypot(x - row["truth_x_pix"], y - row["truth_y_pix"]) < 0.7 * row["truth_radius_pix"]
        assert np.isfinite(image[near]).any()


def test_what_is_drawn_on_pixels_has_light():
    """Whatever is drawn: an image without light cannot have a signal-to-noise ratio."""
    for draw in (confusers.defect, confusers.star_blend):
        for seed in range(150):
            image = draw(48, (23.0, 24.0), Psf(2.0), np.random.default_rng(seed))
            assert np.isfinite(image).all() and image.sum() > 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        image = confusers.bright_star(48, (23.0, 24.0), Psf(2.0), confusers.BrightStar.drawn(rng, 17.0), rng)
        assert np.isfinite(image).all() and 0 < image.max() <= 1


def test_boxes_that_change_with_radius_are_as_frequent_as_plain_ones():
    kinds = population.SURVEY_KINDS["rectangular"]
    assert kinds["leda_like"] == kinds["gradual_box"] == kinds["cored_box"] == kinds["superellipse"]
    rng = np.random.default_rng(0)
    drawn = [population.draw_kind("rectangular", rng, "survey") for _ in range(4000)]
    assert np.mean(np.isin(drawn, ["leda_like", "gradual_box", "cored_box"])) == pytest.approx(12 / 20, abs=0.03)
