"""The asinh stretch, and that whoever shows images with it gets what each of them wrote out before, to the bit."""

import io

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from emeraldcut.exchange.convert import SOFTENING_SIGMAS, WHITE_PERCENTILE, _write_png
from emeraldcut.galaxies.sky import as_picture
from emeraldcut.numerics.median import MAD_TO_SIGMA
from emeraldcut.numerics.stretch import asinh_stretch
from emeraldcut.report.figures.pictures import stretch


def an_image(seed: int, dtype=np.float32, light: float = 200.0, missing: bool = True) -> np.ndarray:
    y, x = np.mgrid[:48, :48] - 23.5
    image = np.random.default_rng(seed).normal(3, 1, (48, 48)) + light * np.exp(-np.hypot(x, y) / 5)
    if missing:
        image[:4, 7:] = np.nan
    return image.astype(dtype)


IMAGES = [an_image(0), an_image(1, np.float64), an_image(2, light=0.0), an_image(3, light=1e6)]


def test_black_is_0_white_is_1_and_what_lies_outside_is_cut():
    black, white = np.arcsinh(-0.5), np.arcsinh(50.0)
    assert_array_equal(asinh_stretch(np.array([-9.0, -1.0, 100.0, 400.0]), black, white, 2.0), [0, 0, 1, 1])
    assert np.isnan(asinh_stretch(np.array([np.nan]), black, white, 2.0)[0])


def test_it_is_linear_in_faint_light_and_logarithmic_in_bright_light():
    shown = asinh_stretch(np.array([0.0, 0.01, 0.02, 1e4, 1e5, 1e6]), 0.0, 20.0, 1.0)
    assert shown[2] == pytest.approx(2 * shown[1], rel=1e-3)
    assert shown[5] - shown[4] == pytest.approx(shown[4] - shown[3], rel=1e-6)


@pytest.mark.parametrize("image", IMAGES)
def test_pictures_of_the_report_are_as_before(image):
    sky, noise = 3.0, 1.1
    signal = image - sky
    top = np.nanpercentile(signal, 99.8)
    sigma = max(noise, 1e-3 * abs(top))
    low, high = np.arcsinh(-0.5), max(np.arcsinh(top / (2 * sigma)), 1.0)
    before = np.clip((np.arcsinh(signal / (2 * sigma)) - low) / (high - low), 0, 1)
    assert_array_equal(stretch(image, sky, noise), before, strict=True)


@pytest.mark.parametrize("image", IMAGES)
def test_pictures_for_zoobot_are_as_before(image, tmp_path):
    black = np.nanmedian(image)
    sigma = MAD_TO_SIGMA * np.nanmedian(np.abs(image - black)) or np.nanstd(image)
    stretched = np.arcsinh((image - black) / (SOFTENING_SIGMAS * sigma))
    white = max(np.nanpercentile(stretched, WHITE_PERCENTILE), 1e-6)
    before = np.round(255 * np.clip(np.nan_to_num(stretched / white), 0, 1)).astype(np.uint8)
    _write_png(image, tmp_path / "a.png", None, {})
    assert_array_equal(np.asarray(Image.open(tmp_path / "a.png"))[..., 0], before)


@pytest.mark.parametrize("seed", range(4))
def test_pictures_of_synthetic_surveys_are_as_before(seed):
    image, rng = an_image(seed, np.float64, missing=False), np.random.default_rng(seed)
    softening = np.exp(rng.uniform(np.log(1), np.log(60)))
    black, white = -rng.uniform(1, 5), image.max() * rng.uniform(0.7, 1.3)
    levels = np.arcsinh(np.array([black, white]) / softening)
    stretched = (np.arcsinh(image / softening) - levels[0]) / (levels[1] - levels[0])
    file = io.BytesIO()
    grey = np.clip(np.round(255 * stretched), 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(file, "JPEG", quality=int(rng.integers(75, 96)))
    before = np.asarray(Image.open(file), dtype=np.float64)
    assert_array_equal(as_picture(image, 1.0, rng=np.random.default_rng(seed)), before)
