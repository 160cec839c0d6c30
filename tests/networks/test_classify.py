"""The stage classify: one row per image, whatever happened to it."""

import json

import numpy as np
import pytest
from astropy.table import Table

from emeraldcut.data.flags import Flag
from emeraldcut.data.imageset import ImageSet
from emeraldcut.galaxies import draw_galaxy
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.galaxies.shapes import ellipse, obround, superellipse
from emeraldcut.networks import ClassifySettings, Network, classify, load_network
from emeraldcut.networks.calibration import IDENTITY
from emeraldcut.networks.keras_files import Layer
from emeraldcut.networks.network import SHIPPED
from emeraldcut.settings import build


def network(preprocessing="raw", classes=("oval", "rectangular"), size=8, **card):
    """A network whose first class is likely where one half of the image is brighter than the other."""
    kernel = np.zeros((size * size, len(classes)), np.float32)
    kernel[: size * size // 2, 0] = 1
    kernel[size * size // 2 :, 0] = -1
    layers = [
        Layer("in", "InputLayer", (), {"batch_shape": [None, size, size, 1]}),
        Layer("flat", "Flatten", ("in",), {}),
        Layer("out", "Dense", ("flat",), {"units": len(classes), "activation": "softmax"}, (kernel,)),
    ]
    card = {
        "classes": list(classes),
        "input_size": size,
        "preprocessing": preprocessing,
        "calibration": IDENTITY,
        **card,
    }
    return Network("halves", layers, card)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    pixels = [rng.normal(0, 0.1, (8, 8)) for _ in range(9)]
    pixels[2][:] = np.nan
    pixels[5] = np.zeros((0, 0))
    flag = [0] * 5 + [int(Flag.UNREADABLE)] + [0] * 3
    table = Table({"id": [f"g{i}" for i in range(9)], "file": ["f.fits"] * 9, "flag": flag})
    return ImageSet(pixels, table)


def test_probabilities_are_analytic(images):
    table = classify(images, network=network())
    for row, pixels in zip(table, images.pixels, strict=True):
        if row["flag"] == 0:
            half = np.sum(pixels[:4]) - np.sum(pixels[4:])
            assert row["p_oval"] == pytest.approx(1 / (1 + np.exp(-half)), abs=1e-5)
            assert row["p_oval"] + row["p_rectangular"] == pytest.approx(1, abs=1e-6)
            assert row["class"] == ("oval" if half > 0 else "rectangular")
    assert table["p_obround"].mask.all() and table["p_other"].mask.all()
    assert set(table["network"]) == {"halves"} and list(table["file"]) == ["f.fits"] * 9


def test_bad_rows_are_masked_and_explained(images):
    table = classify(images, network=network())
    assert table["flag"].tolist() == [0, 0, Flag.NO_DATA, 0, 0, Flag.UNREADABLE, 0, 0, 0]
    np.testing.assert_array_equal(table["p_oval"].mask, table["flag"] != 0)
    assert table["class"][2] == "" and "missing" in table["flag_text"][2]
    assert images.table["flag"].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0]  # the input is left alone


def test_chunks_agree_with_the_whole(images):
    whole = classify(images, network=network())
    for rows in (slice(0, 4), slice(4, 9), slice(2, 3)):
        part = classify(images[rows], network=network())
        for name in whole.colnames:
            assert list(part[name]) == list(whole[name][rows]), name
    empty = classify(images[:0], network=network())
    assert len(empty) == 0 and empty.colnames == whole.colnames


def test_temperature_of_the_card(images):
    two = IDENTITY | {"log_temperature": [np.log(2)]}
    warm, cool = (classify(images, network=network(calibration=t))["p_oval"].compressed() for t in (two, IDENTITY))
    np.testing.assert_allclose(np.log(warm / (1 - warm)), np.log(cool / (1 - cool)) / 2, atol=1e-4)


def test_prevalence_is_bayes_rule(images):
    """By hand: odds at equal priors times the ratio of the priors; the class stays that at equal priors."""
    classes = ("oval", "rectangular", "obround", "other")
    equal, rare = (
        classify(images, ClassifySettings(prevalence=p), network=network(classes=classes)) for p in (None, 0.01)
    )
    for other, prior in (("oval", 0.49), ("other", 0.49), ("obround", 0.01)):
        odds, shifted = (t["p_rectangular"].compressed() / t[f"p_{other}"].compressed() for t in (equal, rare))
        np.testing.assert_allclose(shifted, odds * 0.01 / prior, rtol=1e-4)
    assert list(rare["class"]) == list(equal["class"])
    with pytest.raises(ValueError, match="'prevalence' must be above 0 and below 1; received 1.5"):
        ClassifySettings(prevalence=1.5)


def test_settings():
    assert build(ClassifySettings, {"classes": "rectangular,obround"}).classes == ("rectangular", "obround")
    with pytest.raises(ValueError, match="fast"):
        build(ClassifySettings, {"fast": "int4"})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        classify(ImageSet([], Table({"id": []})), ClassifySettings(network="nowhere"))


@pytest.mark.skipif(not (SHIPPED / "screener" / "card.json").is_file(), reason="the screener is not trained")
def test_the_shipped_screener():
    """Bright, well resolved shapes: an ellipse, a box and an obround are what they are, whatever their mirror image."""
    outlines = {"oval": ellipse(0.6), "rectangular": superellipse(0.6, 6), "obround": obround(0.45)}
    rng, pixels = np.random.default_rng(0), []
    for outline in outlines.values():
        light = draw_galaxy(outline, Sersic(1), radius_pix=9, position_angle_deg=35, psf_fwhm_pix=2)
        pixels.append(light / light.max() * 300 + rng.normal(size=light.shape))
    images = ImageSet(np.float32(pixels), Table({"id": list(outlines), "psf_fwhm_pix": [2.0] * 3}))
    table = classify(images)
    assert table["class"].tolist() == list(outlines)
    assert all(name in possible.split() for name, possible in zip(outlines, table["possible"], strict=True))
    assert np.all(table["typical"] > 0.001)
    mirrored = classify(ImageSet(images.pixels[:, :, ::-1], images.table))
    for name in ("p_oval", "p_rectangular", "p_obround", "p_other"):
        np.testing.assert_allclose(mirrored[name], table[name], atol=0.02)
    card = json.loads((SHIPPED / "screener" / "card.json").read_text())
    assert load_network("screener").classes == tuple(card["classes"])
    assert sum(map(sum, card["metrics"]["confusion"])) == sum(card["training"]["figures"].values())
