"""Detect: planted galaxies are found in mosaics, each once, wherever parts and tiles meet."""

from unittest.mock import Mock, call

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from photutils.datasets import make_100gaussians_image

from emeraldcut import cli
from emeraldcut.data import Flag
from emeraldcut.detection import DetectSettings, detect, detect_sources
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.images import NoImagesError, ReadSettings, read_images
from emeraldcut.tables import read_table, write_table
from tests.helpers import tan_wcs

SCALE = 0.3
SMALL_PARTS = DetectSettings(part_pix=200)


def field(shape, wcs, ra, dec, seed, sigma=1.0):
    """Boxy and oval galaxies at places on the sky, in noise."""
    pixels = np.random.default_rng(seed).normal(0, sigma, shape)
    rng = np.random.default_rng(4)  # the same galaxies in every field
    for x, y in np.array(wcs.all_world2pix(ra, dec, 0)).T:
        shape_of_it = shapes.superellipse(rng.uniform(0.5, 0.9), rng.uniform(2, 4))
        corner = np.round([x, y]).astype(int) - 24
        light = draw_galaxy(
            shape_of_it, Sersic(1), size=48, radius_pix=rng.uniform(3.5, 6), flux=rng.uniform(3e3, 9e3),
            centre=(x - corner[0], y - corner[1]), position_angle_deg=rng.uniform(0, 180), psf_fwhm_pix=2.5,
        )  # fmt: skip
        low = np.maximum(corner, 0)
        high = np.minimum(corner + 48, shape[::-1])
        if (high > low).all():
            here = slice(low[1] - corner[1], high[1] - corner[1]), slice(low[0] - corner[0], high[0] - corner[0])
            pixels[low[1] : high[1], low[0] : high[0]] += light[here]
    return pixels.astype(np.float32)


@pytest.fixture(scope="module")
def mosaics(tmp_path_factory):
    """Two tiles turned against each other with an overlap, and the galaxies that lie well inside one of them."""
    folder, shape = tmp_path_factory.mktemp("mosaics"), (330, 400)
    wcss = tan_wcs(shape), tan_wcs(shape, 150.02, 2.003, angle_deg=25)
    rng = np.random.default_rng(3)
    places = np.stack(np.meshgrid(np.arange(30, 800, 47.0), np.arange(30, 500, 47.0)), -1).reshape(-1, 2)
    ra, dec = wcss[0].all_pix2world(*(places - [380, 60] + rng.uniform(-4, 4, places.shape)).T, 0)
    inside = np.zeros(len(ra), int)
    for name, wcs in zip("ab", wcss, strict=True):
        x, y = wcs.all_world2pix(ra, dec, 0)
        inside += (np.minimum(x, 399 - x) > 14) & (np.minimum(y, 329 - y) > 14)
        fits.PrimaryHDU(field(shape, wcs, ra, dec, ord(name)), wcs.to_header()).writeto(folder / f"{name}.fits")
    assert (inside == 2).sum() > 10
    return folder, SkyCoord(ra, dec, unit="deg"), inside > 0


def test_each_planted_galaxy_is_found_once_where_it_is(mosaics):
    folder, truth, inside = mosaics
    progress = Mock()
    table = detect(folder, SMALL_PARTS, progress=progress)
    assert progress.mock_calls == [call.begin(4, "rows of parts"), *[call.advance(1)] * 4]
    found = SkyCoord(table["ra"], table["dec"], unit="deg")
    nearest, apart, _ = found.match_to_catalog_sky(truth)
    assert len(set(nearest)) == len(table)  # none twice
    assert set(np.flatnonzero(inside)) <= set(nearest)
    well = inside[nearest]
    assert apart.arcsec[well].max() < 0.3 * SCALE * 3 and np.median(apart.arcsec[well]) < 0.3 * SCALE
    assert len(set(table["id"])) == len(table) and not table["flag"].any()


def test_parts_make_no_difference(mosaics):
    """Found in parts of 150 pixels is what is found in the field as one."""
    folder = mosaics[0]
    pixels = fits.getdata(folder / "a.fits")
    whole, parts = detect_sources(pixels), detect(folder / "a.fits", SMALL_PARTS)
    assert len(whole) == len(parts)
    for row in whole:
        assert np.hypot(parts["x"] - row["x"], parts["y"] - row["y"]).min() < 0.3


def test_a_field_of_photutils_without_wcs(tmp_path):
    """Its bright Gaussians are found; the order and number do not depend on the size of the parts."""
    pixels = make_100gaussians_image()
    np.save(tmp_path / "field.npy", pixels)
    table = detect(tmp_path / "field.npy", DetectSettings(part_pix=256, min_area_pix=20))
    whole = detect_sources(pixels, min_area_pix=20)
    assert abs(len(table) - len(whole)) <= 2 and "ra" not in table.colnames
    for row in whole[:30]:
        assert np.hypot(table["x"] - row["x"], table["y"] - row["y"]).min() < 0.3
    options = ReadSettings(catalogue=str(tmp_path / "c.parquet"), cutout_size=16)
    write_table(table, tmp_path / "c.parquet")
    assert len(read_images(tmp_path / "field.npy", options)) == len(table)


def test_a_noisy_half_makes_no_sources(tmp_path):
    rng, shape = np.random.default_rng(1), (300, 300)
    sigma = np.where(np.arange(300) < 270, 1.0, 6.0) * np.ones(shape)
    pixels, light = rng.normal(0, sigma), draw_galaxy(shapes.ellipse(0.7), Sersic(1), flux=5e3, radius_pix=5)
    pixels[100:164, 100:164] += light
    units = [fits.PrimaryHDU(pixels), fits.ImageHDU(3 / sigma**2, name="WHT")]
    fits.HDUList(units).writeto(tmp_path / "m.fits")
    few = DetectSettings(min_area_pix=5, n_sigma=1.8)
    with_map = detect(tmp_path / "m.fits", few)
    fits.PrimaryHDU(pixels).writeto(tmp_path / "bare.fits")
    assert (detect(tmp_path / "bare.fits", few)["x"] > 265).sum() > 5
    assert (with_map["x"] > 265).sum() <= 1
    assert np.hypot(with_map["x"] - 131.5, with_map["y"] - 131.5).min() < 0.3


@pytest.mark.slow
def test_what_cannot_be_read_is_a_flagged_row(mosaics, tmp_path, capsys):
    folder = mosaics[0]
    (tmp_path / "tiles").mkdir()
    for name in "ab":
        content = (folder / f"{name}.fits").read_bytes()
        (tmp_path / "tiles" / f"{name}.fits").write_bytes(content[: 100_000 if name == "b" else None])
    words = [str(tmp_path / "tiles"), "--part-pix", "200"]
    assert cli.main(["detect", *words, "-o", str(tmp_path / "c.parquet")]) == 0
    table = read_table(tmp_path / "c.parquet")
    bad = table["flag"] == Flag.UNREADABLE
    assert bad.sum() == 1 and "header claims" in table["flag_text"][bad][0] and table["id"][bad][0] == "b"
    words = ["--catalogue", str(tmp_path / "c.parquet"), "--cutout-size", "40", "-o", str(tmp_path / "shapes.ecsv")]
    assert cli.main(["measure", str(tmp_path / "tiles"), *words]) == 0
    measured = read_table(tmp_path / "shapes.ecsv")
    assert len(measured) == len(table) and (measured["flag"] == Flag.UNREADABLE).sum() == 1
    said, _, best = capsys.readouterr().err.partition("Most likely boxy:\n")
    assert said.startswith("63 sources: 62 with results") and "63 images: 62 with results" in said
    assert "no known PSF" in said and said.count("Done in") == 2 and said.count("\n") == 4 and best.count("\n") == 5


@pytest.mark.slow
def test_parts_that_cannot_be_read(tmp_path):
    shape = (600, 150)
    pixels = np.random.default_rng(0).normal(100, 5, shape).astype(np.float32)
    pixels[40:90, 60:110] += draw_galaxy(shapes.ellipse(0.7), Sersic(1), size=50, flux=5e4, radius_pix=5)
    units = [fits.PrimaryHDU(), fits.CompImageHDU(pixels, tile_shape=(50, 150), quantize_level=16)]
    fits.HDUList(units).writeto(tmp_path / "m.fits.fz")
    content = bytearray((tmp_path / "m.fits.fz").read_bytes())
    content[-4_000:] = bytes(4_000)  # the last tile of the compression
    (tmp_path / "m.fits.fz").write_bytes(content)
    table = detect(tmp_path / "m.fits.fz", DetectSettings(part_pix=150, min_area_pix=30))
    bad = np.asarray(table["flag"] != 0)
    assert bad.any() and (~bad).sum() == 1
    assert np.hypot(table["x"] - 84.5, table["y"] - 64.5)[~bad][0] < 0.3


@pytest.mark.parametrize("pixels", [np.zeros((200, 200)), np.full((200, 200), np.nan)])
def test_nothing_to_find(pixels, tmp_path):
    np.save(tmp_path / "m.npy", pixels)
    with pytest.raises((NoImagesError, ValueError), match="no source is found|cannot be read"):
        detect(tmp_path / "m.npy")
    assert isinstance(detect_sources(pixels), Table) and len(detect_sources(pixels)) == 0


@pytest.mark.parametrize("change", [{"n_sigma": 0}, {"min_area_pix": 0}, {"part_pix": 20}])
def test_settings_that_make_no_sense(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        DetectSettings(**change)
