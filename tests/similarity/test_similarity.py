"""Comparison: what each method sees, and what it does not."""

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import kstest

from emeraldcut.data import Flag, ImageSet
from emeraldcut.galaxies import draw_galaxy, leda074886, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.images import write_images
from emeraldcut.similarity import CompareSettings, compare, prepare_references
from emeraldcut.similarity.null import Null, ordinary
from tests.helpers import images

BOX, OVAL, DIAMOND = shapes.superellipse(0.7, 4), shapes.ellipse(0.7), shapes.diamond(0.7)


def draw(shape, angle=0.0, radius=8.0, index=1.0, size=64):
    return draw_galaxy(shape, Sersic(index), size=size, radius_pix=radius, position_angle_deg=angle, psf_fwhm_pix=2)


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_framed_cosine_survives_noise():
    rng = np.random.default_rng(2)

    def noisy(shape):
        light = draw(shape, rng.uniform(0, 180))
        return light + rng.normal(0, light.max() / 25, light.shape)

    boxes = similarity("frame", *[noisy(BOX) for _ in range(20)], reference=[leda074886()])
    ovals = similarity("frame", *[noisy(OVAL) for _ in range(20)], reference=[leda074886()])
    assert np.median(boxes.filled()) > np.max(ovals)


@pytest.mark.slow
def test_the_best_of_several_references_is_named():
    table = compare(
        images(draw(BOX, 40), draw(DIAMOND, 70)),
        CompareSettings(method="frame"),
        references=images(draw(DIAMOND), draw(BOX)),
    )
    assert list(table["reference"]) == ["image 1", "image 0"]


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


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.floats(0, 180), st.floats(0.5, 2), st.floats(0.5, 0.9), st.booleans())
def test_the_score_of_a_box_does_not_depend_on_what_it_should_not(angle, scale, axis_ratio, mirror):
    """Rotation, mirror image, size, axis ratio: less than 0.02."""
    shape = shapes.superellipse(axis_ratio, 4)
    box = draw_galaxy(
        shape, Sersic(1.0), size=128, radius_pix=10 * scale, position_angle_deg=angle, psf_fwhm_pix=2.5, psf_beta=3.5
    )
    plain = draw_galaxy(
        shapes.superellipse(0.7, 4), Sersic(1.0), size=128, radius_pix=10, psf_fwhm_pix=2.5, psf_beta=3.5
    )
    rows = Table({"id": ["a", "b"], "psf_fwhm_pix": [2.5, 2.5]})
    pair = ImageSet([box[:, :: -1 if mirror else 1].astype(np.float32), plain.astype(np.float32)], rows)
    reference = images(draw_galaxy(shapes.superellipse(0.6, 3.6), Sersic(1.0), size=128, radius_pix=14))
    a, b = compare(pair, references=reference)["similarity"]
    assert abs(a - b) < 0.02


@pytest.mark.slow
def test_noise_does_not_change_the_score_on_average():
    rng = np.random.default_rng(0)
    box = draw(BOX, 20)
    bright = np.sort(box.ravel())[::-1]
    half = bright[: np.searchsorted(np.cumsum(bright), 0.5 * bright.sum())]

    def mean_at(snr):
        sigma = half.sum() / np.sqrt(len(half)) / snr
        noisy = [box + rng.normal(0, sigma, box.shape) for _ in range(80)]
        return np.mean(similarity("frame", *noisy, reference=[draw(BOX, size=128, radius=16)]))

    assert abs(mean_at(200) - mean_at(100)) < 0.02


def test_negatives_push_away():
    both = images(draw(BOX, 30), draw(shapes.obround(0.6), 30))
    plain = compare(both, references=prepare_references(images(draw(BOX))))["similarity"]
    away = prepare_references(images(draw(BOX)), images(draw(shapes.obround(0.6))))
    pushed = compare(both, references=away)["similarity"]
    assert plain[1] - pushed[1] > plain[0] - pushed[0] > 0
    with pytest.raises(ValueError, match="negative"):
        CompareSettings(method="sift", negative=("a.fits",))


def test_a_reference_without_a_galaxy_is_one_sentence():
    with pytest.raises(ValueError, match="stands out of the noise"):
        prepare_references(images(np.random.default_rng(0).normal(size=(64, 64))))


@pytest.mark.slow
def test_p_values_are_shares_of_those_that_are_like_it():
    """Scores that are uniform whatever the conditions, and scores that depend on one of them."""
    rng = np.random.default_rng(1)
    where = np.stack([rng.uniform(2.5, 6, 8000), rng.uniform(0.3, 2, 8000), rng.uniform(0.3, 1, 8000)], axis=1)
    scores = rng.normal(size=8000) * where[:, 0]
    null = Null(scores[:6000], where[:6000])
    p = null.p_values(scores[6000:], where[6000:])
    assert kstest(p, "uniform").pvalue > 0.01
    high = null.p_values(np.array([100.0, 1000.0, np.nan]), where[:3])
    assert 0 < high[1] <= high[0] < 1e-4 and np.isnan(high[2])


@pytest.mark.slow
def test_small_p_values_are_those_of_a_known_tail():
    """Exponential scores whose scale depends on the conditions: true p-values are exp(-score / scale)."""
    rng = np.random.default_rng(3)
    where = np.stack([rng.uniform(2.5, 6, 24_000), rng.uniform(0.3, 2, 24_000), rng.uniform(0.3, 1, 24_000)], axis=1)
    scale = 0.5 + 2 * np.exp(-((where[:, 0] - 3) ** 2)) + where[:, 2]
    null = Null((scale * rng.exponential(size=len(scale)))[:16_000], where[:16_000])
    true = 10 ** rng.uniform(-5, -1, 8000)
    found = null.p_values(-scale[16_000:] * np.log(true), where[16_000:])
    for low, high, limit in ((1e-3, 1e-1, 0.25), (1e-4, 1e-3, 0.5), (1e-5, 1e-4, 1.0)):
        here = (true >= low) & (true < high)
        assert abs(np.median(np.log(found[here] / true[here]))) < limit, low
    p = null.p_values(scale[16_000:] * rng.exponential(size=8000), where[16_000:])
    assert np.mean(p < 0.01) == pytest.approx(0.01, abs=0.004)


@pytest.mark.slow
def test_p_values_of_ordinary_galaxies_that_ship_are_uniform_among_themselves():
    known = ordinary()
    assert len(known.conditions) > 10_000
    half = np.arange(len(known.conditions)) % 2 == 0
    references = prepare_references(images(leda074886()))
    scores = references.score(known.deviations)[1]
    p = Null(scores[half], known.conditions[half]).p_values(scores[~half], known.conditions[~half])
    rng = np.random.default_rng(0)
    assert kstest(rng.choice(p, 2000, replace=False), "uniform").pvalue > 0.01


def test_a_clear_box_has_a_small_p_value_and_an_ellipse_has_none():
    rng = np.random.default_rng(4)
    pair = [light / light.max() * 100 + rng.normal(size=light.shape) for light in (draw(BOX, 20), draw(OVAL, 20))]
    table = compare(images(*pair), references=images(draw(BOX)))
    assert table["similarity_p"][0] < 0.01 and table["similarity_p"][1] > 0.05


@pytest.mark.parametrize("mirror", [False, True])
def test_the_oriented_cosine_is_the_best_of_explicit_rotations(mirror):
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:65, 0:65]
    lumps = sum(np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 4**2) for a, b in rng.uniform(18, 46, (4, 2)))
    turned = ndimage.rotate(lumps[::-1] if mirror else lumps, -37, reshape=False, order=3)  # from +x to +y by 37
    table = compare(images(turned), CompareSettings(method="cosine"), references=images(lumps))
    row = table[0]
    assert row["similarity_oriented"] > 0.99 > row["similarity"]
    assert bool(row["mirrored"]) == mirror
    assert row["turn_deg"] == pytest.approx(37, abs=1.5)


def test_the_oriented_cosine_leaves_a_circle_as_alike_as_a_box():
    """Turning does not save the thesis's measure."""
    table = compare(
        images(draw(shapes.ellipse(1.0)), draw(BOX, 50)), CompareSettings(method="cosine"), references=images(draw(BOX))
    )
    assert table["similarity_oriented"][0] > 0.9 and table["similarity_oriented"][1] > 0.98


@pytest.mark.slow
def test_explanations_are_drawn(tmp_path):
    from emeraldcut.report import explain

    pool = images(draw(BOX, 30), draw(OVAL, 70), np.full((20, 20), np.nan))
    references = images(draw(BOX))
    path = explain(pool, compare(pool, references=references), references, tmp_path / "why.png")
    assert path.stat().st_size > 20_000
    with pytest.raises(ValueError, match="explain expects"):
        explain(pool[2], compare(pool, references=references), references, tmp_path / "none.png")
