"""Whether the bands of a colour picture agree: by pictures whose answer is known."""

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from emeraldcut.data import Flag, ImageSet
from emeraldcut.frame import band_agreement, quick_shapes_of
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.screening import ScreenSettings, screen, two_passes
from emeraldcut.tables import read_table

LUMA = (0.299, 0.587, 0.114)


def picture(ratios, *, light=60.0, noise=(4.0, 4.0, 4.0), seed=0, size=96, radius_pix=8.0):
    """A galaxy with this light in three bands, each with a sky of 20 levels and its own noise, (ny, nx, 3) uint8."""
    galaxy = draw_galaxy(shapes.ellipse(0.7), Sersic(0.7), size=size, radius_pix=radius_pix, position_angle_deg=25)
    galaxy *= light / galaxy.max()
    rng = np.random.default_rng(seed)
    bands = [
        20 + ratio * galaxy + rng.normal(0, sigma, galaxy.shape) for ratio, sigma in zip(ratios, noise, strict=True)
    ]
    return np.clip(np.round(np.stack(bands, axis=-1)), 0, 255).astype(np.uint8)


def pictures(colours):
    pixels = [np.asarray(colour @ np.array(LUMA), np.float32) for colour in colours]
    table = Table({"id": [f"{k:03d}" for k in range(len(pixels))], "stretched": [True] * len(pixels)})
    return ImageSet(pixels, table, colours=list(colours))


def agreements(colours):
    images = pictures(colours)
    return band_agreement(images, quick_shapes_of(images))


@pytest.mark.slow
def test_agreement_is_the_signal_of_the_second_band_over_that_of_the_first():
    """By light over noise: where bands differ in light, in noise, and in both."""
    cases = [
        ((1.0, 1.0, 1.0), (4, 4, 4), 1.0),
        ((1.0, 0.6, 0.3), (4, 4, 4), 0.6),
        ((0.2, 1.0, 0.5), (4, 4, 4), 0.5),
        ((1.0, 1.0, 0.2), (8, 4, 4), 0.5),
        ((1.0, 0.0, 0.0), (4, 4, 4), 0.0),
        ((0.0, 1.0, 0.0), (4, 8, 4), 0.0),
    ]
    found = agreements([picture(ratios, noise=noise, seed=k) for k, (ratios, noise, _) in enumerate(cases)])
    np.testing.assert_allclose(found, [expected for *_, expected in cases], atol=0.08)


@settings(max_examples=15, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.floats(0.1, 1.0)] * 3), st.integers(0, 30), st.integers(0, 1000))
def test_agreement_knows_neither_the_order_of_bands_nor_their_sky(order, ratios, level, seed):
    colour = picture(ratios, seed=seed)
    images = pictures([colour, colour])
    changed = colour[..., order] + np.array([level, 0, level // 2], np.uint8)
    images.colours = [colour, changed]
    first, second = band_agreement(images, quick_shapes_of(images))
    assert second == pytest.approx(first, abs=1e-9) and first <= 1


def test_agreement_of_large_galaxies_and_of_pictures_without_colours():
    """Large images are binned down; grey ones and those that show no galaxy have none."""
    large = picture((1.0, 0.5, 0.1), size=460, radius_pix=60.0)
    images = pictures([large, picture((1, 1, 1)), np.full((64, 64, 3), 9, np.uint8)])
    images.colours[1] = None
    images.pixels[2] = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    found = band_agreement(images, quick_shapes_of(images))
    assert found[0] == pytest.approx(0.5, abs=0.05) and np.isnan(found[1:]).all()
    images.colours = None
    assert np.isnan(band_agreement(images, quick_shapes_of(images))).all()


def test_light_in_one_band_is_not_trusted():
    colours = [picture((1.0, 0.0, 0.0), light=150.0), picture((1.0, 0.7, 0.4), light=150.0)]
    table = screen(pictures([*colours, picture((1, 1, 1))]))
    table.sort("id")
    one_band = (table["flag"] & int(Flag.ONE_BAND)) != 0
    assert one_band.tolist() == [True, False, False] and not table["trusted"][0]
    assert "one band" in table["flag_text"][0]


@pytest.mark.slow
def test_both_passes_keep_the_agreement(tmp_path, monkeypatch):
    """The careful pass reads its images again; what the first has seen of their colours stays."""
    monkeypatch.setattr(two_passes, "LEAST_CAREFUL", 4)
    folder = tmp_path / "cutouts"
    folder.mkdir()
    colours = [picture((1.0, 0.1 * k, 0.05 * k), light=120.0, seed=k) for k in range(8)]
    for k, colour in enumerate(colours):
        Image.fromarray(colour).save(folder / f"{k:03d}.png")
    run = two_passes.screen_run(folder, tmp_path / "run", ScreenSettings(best=3, careful=0.01))
    table = read_table(run.path("candidates.parquet"))
    table.sort("id")
    assert table["careful"].sum() == 4
    np.testing.assert_allclose(np.array(table["band_agreement"]), agreements(colours), atol=1e-6)
