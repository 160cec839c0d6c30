"""The stage classify: one row per image, whatever happened to it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from emeraldcut.data.flags import Flag
from emeraldcut.data.imageset import ImageSet
from emeraldcut.networks import ClassifySettings, Network, classify, load_network
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
    card = {"classes": list(classes), "input_size": size, "preprocessing": preprocessing, "flips": False,
            "temperature": 1.0, **card}  # fmt: skip
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


def test_temperature_and_flips(images):
    warm, cool = (classify(images, network=network(temperature=t))["p_oval"].compressed() for t in (2.0, 1.0))
    np.testing.assert_allclose(np.log(warm / (1 - warm)), np.log(cool / (1 - cool)) / 2, atol=1e-4)
    # mirrored in y, upper and lower half change places: p and 1 - p average to a half
    both = classify(images, network=network(flips=True))["p_oval"].compressed()
    np.testing.assert_allclose(both, 0.5, atol=1e-6)


def test_framed_networks_take_flags_from_the_frame(images):
    rng = np.random.default_rng(1)
    flag = images.table["flag"] | np.array([0, 0, 4, 16, 32, 0, 0, 0, 0])
    frames = SimpleNamespace(
        stamps=rng.normal(size=(9, 8, 8)).astype(np.float32),
        table=Table({"flag": flag, "flag_text": [f"text {i}" for i in range(9)]}),
    )
    classes = ("oval", "rectangular", "obround", "other")
    table = classify(images, network=network("framed", classes), frames=frames)
    assert table["flag"].tolist() == flag.tolist() and table["flag_text"][3] == "text 3"
    assert table["p_other"].mask.tolist() == [False, False, True, True, False, True, False, False, False]
    total = sum(table[f"p_{name}"] for name in classes)
    np.testing.assert_allclose(total.compressed(), 1, atol=1e-6)


def test_settings():
    assert build(ClassifySettings, {"classes": "rectangular,obround"}).classes == ("rectangular", "obround")
    with pytest.raises(ValueError, match="precision"):
        build(ClassifySettings, {"precision": "int4"})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        classify(ImageSet([], Table({"id": []})), ClassifySettings(network="nowhere"))


@pytest.mark.skipif(not (SHIPPED / "screener" / "card.json").is_file(), reason="the screener is not trained")
def test_the_shipped_screener():
    """Noise-free shapes in their own frame: the disc is oval, the square, which no ellipse fits, is not."""
    y, x = (np.mgrid[:32, :32] - 15.5) / 6.4  # in half-light radii
    corner = np.array([np.hypot(x, y), (x**8 + y**8) ** (1 / 8) / 0.886])
    images = ImageSet(np.zeros((2, 40, 40)), Table({"id": ["disc", "square"]}))
    stamps = np.float32(60 * np.exp(-1.68 * corner) + np.random.default_rng(0).normal(0, 1, corner.shape))
    table = classify(images, frames=SimpleNamespace(stamps=stamps, table=images.table))
    assert table["class"].tolist() == ["oval", "rectangular"]
    card = json.loads((SHIPPED / "screener" / "card.json").read_text())
    assert load_network("screener").classes == tuple(card["classes"])
    assert sum(map(sum, card["metrics"]["confusion"])) == sum(card["training"]["figures"].values())
