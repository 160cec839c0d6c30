"""Comparison: what each method sees, and what it does not."""

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.data import Flag, ImageSet, write_images
from emeraldcut.galaxies import draw_galaxy, leda074886, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.similarity import CompareSettings, compare

BOX, OVAL, DIAMOND = shapes.superellipse(0.7, 4), shapes.ellipse(0.7), shapes.diamond(0.7)


def draw(shape, angle=0.0, radius=8.0, index=1.0, size=64):
    return draw_galaxy(shape, Sersic(index), size=size, radius_pix=radius, position_angle_deg=angle, psf_fwhm_pix=2)


def images(*pixels):
    return ImageSet([np.asarray(p, np.float32) for p in pixels], Table({"id": [str(i) for i in range(len(pixels))]}))


def similarity(method, *pixels, reference):
    return compare(images(*pixels), CompareSettings(method=method), references=images(*reference))["similarity"]


def test_raw_cosine_is_the_one_of_the_thesis():
    from sklearn.metrics.pairwise import cosine_distances

    several = np.random.default_rng(0).normal(1, 1, size=(1500, 12, 12)).astype(np.float32)  # more than one batch
    several[7] = 0
    reference = several[3] ** 2
    expected = 1 - cosine_distances(several.reshape(1500, -1), reference.reshape(1, -1))[:, 0]
    np.testing.assert_allclose(similarity("cosine", *several, reference=[reference]), expected, atol=1e-5)


def test_raw_cosine_likes_a_circle_as_much_as_a_rectangle():
    """The thesis's measure on its own question (science: circle .922, ellipse .939, box .939)."""
    reference = draw(BOX, 0)
    circle, box = similarity(
        "cosine", draw(shapes.ellipse(1.0)), draw(shapes.superellipse(0.7, 4), 20), reference=[reference]
    )
    assert circle > 0.9 and abs(circle - box) < 0.05


@settings(max_examples=10, deadline=None)
@given(st.floats(0, 180), st.floats(5, 12), st.floats(0.7, 1.8), st.sampled_from([0.55, 0.7, 0.85]), st.booleans())
def test_framed_cosine_sees_the_shape_only(angle, radius, index, axis_ratio, mirror):
    flip = slice(None, None, -1 if mirror else 1)
    views = [
        draw(make, angle, radius, index, 96)[:, flip]
        for make in (shapes.superellipse(axis_ratio, 4), shapes.ellipse(axis_ratio), shapes.diamond(axis_ratio))
    ]
    box, oval, diamond = similarity("frame", *views, reference=[draw(BOX)])
    assert box > 0.85
    assert oval < 0.5 and diamond < 0


def test_framed_cosine_survives_noise():
    rng = np.random.default_rng(2)

    def noisy(shape):
        light = draw(shape, rng.uniform(0, 180))
        return light + rng.normal(0, light.max() / 25, light.shape)

    boxes = similarity("frame", *[noisy(BOX) for _ in range(20)], reference=[leda074886()])
    ovals = similarity("frame", *[noisy(OVAL) for _ in range(20)], reference=[leda074886()])
    assert np.median(boxes.filled()) > np.max(ovals)


def test_the_best_of_several_references_is_named():
    table = compare(
        images(draw(BOX, 40), draw(DIAMOND, 70)),
        CompareSettings(method="frame"),
        references=images(draw(DIAMOND), draw(BOX)),
    )
    assert list(table["reference"]) == ["1", "0"]


def test_sizes_may_differ():
    values = similarity("cosine", draw(BOX, size=50), draw(BOX, size=96), reference=[draw(BOX, size=64)])
    assert np.all(np.isfinite(values))


def test_sift_finds_the_image_itself():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:64, 0:64]
    texture = sum(np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 2.5**2) for a, b in rng.uniform(8, 56, (12, 2)))
    same, flat = similarity("sift", texture, draw(OVAL), reference=[texture]).filled(0)
    assert same > 0.8 and flat < 0.2


def test_what_cannot_be_compared_is_flagged():
    noise = np.random.default_rng(0).normal(size=(64, 64))
    table = compare(
        images(draw(BOX), noise, np.zeros((0, 0))), CompareSettings(method="frame"), references=images(draw(BOX))
    )
    assert list(np.ma.getmaskarray(table["similarity"])) == [False, True, True]
    assert table["flag"][1] & Flag.NO_GALAXY


def test_a_file_is_a_reference(tmp_path):
    write_images(images(draw(BOX)), tmp_path / "set", command="test")
    table = compare(images(draw(BOX, 30)), CompareSettings(reference=(str(tmp_path / "set"),)))
    assert table["similarity"][0] > 0.9


def test_a_reference_that_is_no_image_is_one_sentence(tmp_path):
    (tmp_path / "broken.fits").write_bytes(b"")
    with pytest.raises(ValueError, match="reference .* is not a usable image"):
        compare(images(draw(BOX)), CompareSettings(reference=(str(tmp_path / "broken.fits"),)))
