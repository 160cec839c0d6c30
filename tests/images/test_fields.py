"""Mosaics without a catalogue: what is one, that its sources are found, said, and found again after a stop."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import emeraldcut
from emeraldcut import cli
from emeraldcut.detection import detect, detect_run
from emeraldcut.errors import UsageError
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.images import ReadSettings, fields, matching
from emeraldcut.images.fields import image_type, is_filled
from emeraldcut.runs import read_manifest
from emeraldcut.runs.notices import listening
from emeraldcut.tables import read_table, resumable
from tests.helpers import tan_wcs

LARGE = 1100  # pixels a side: a mosaic, or a large galaxy


def light(size, radius_pix, flux, centre=None):
    shape = shapes.superellipse(0.7, 3.0)
    return draw_galaxy(shape, Sersic(1), size=size, radius_pix=radius_pix, flux=flux, centre=centre, psf_fwhm_pix=2.5)


def crowd(side=LARGE, number=30, seed=1):
    """A field of small galaxies."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 1, (side, side))
    for x, y in rng.integers(40, side - 40, (number, 2)):
        pixels[y - 24 : y + 24, x - 24 : x + 24] += light(48, 4.0, 6000.0)
    return pixels.astype(np.float32)


def large_galaxy(side=LARGE):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    sky = np.random.default_rng(2).normal(0, 1, (side, side))
    return (sky + 300 * np.exp(-np.hypot(x, y / 0.7) / (side / 15))).astype(np.float32)


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    path = tmp_path_factory.mktemp("mosaic") / "mosaic.fits"
    fits.PrimaryHDU(crowd(), tan_wcs((LARGE, LARGE)).to_header()).writeto(path)
    return path


@pytest.mark.parametrize("kind, filled", [("crowd", False), ("galaxy", True), ("noise", False), ("bright star", False)])
def test_one_galaxy_in_the_middle_is_told_from_many(kind, filled):
    """Of the cells of a large image: exponential discs of known size."""
    y, x = np.mgrid[:128, :128] - 63.5
    rng = np.random.default_rng(0)
    cells = rng.normal(0, 1, (128, 128))
    if kind == "crowd":
        for cx, cy, height in zip(*rng.uniform(-60, 60, (2, 60)), rng.uniform(20, 400, 60), strict=True):
            cells += height * np.exp(-np.hypot(x - cx, y - cy) / 1.5)
    elif kind == "galaxy":
        cells += 100 * np.exp(-np.hypot(x - 4, y) / 8)
    elif kind == "bright star":
        cells += 1e4 * np.exp(-np.hypot(x - 40, y - 20) / 1.5)
    assert is_filled(cells) is filled


def test_what_counts_as_a_mosaic(tmp_path, mosaic):
    assert image_type(mosaic, ReadSettings()).is_mosaic
    assert not image_type(mosaic, ReadSettings(image_type="cutout")).is_mosaic
    assert not image_type(mosaic, ReadSettings(catalogue="c.ecsv")).is_mosaic
    fits.PrimaryHDU(large_galaxy()).writeto(tmp_path / "large.fits")
    found = image_type(tmp_path / "large.fits", ReadSettings())
    assert not found.is_mosaic and "one galaxy" in found.sentence and "--image-type mosaic" in found.sentence
    fits.PrimaryHDU(crowd(600)).writeto(tmp_path / "small.fits")
    found = image_type(tmp_path / "small.fits", ReadSettings())
    assert not found.is_mosaic and "--image-type mosaic" in found.sentence
    assert image_type(tmp_path / "small.fits", ReadSettings(image_type="mosaic")).is_mosaic
    fits.PrimaryHDU(large_galaxy(64)).writeto(tmp_path / "one.fits")
    assert image_type(tmp_path / "one.fits", ReadSettings()) == (False, "")
    with pytest.raises(UsageError, match="image-type"):
        Table({"a": [1]}).write(tmp_path / "t.ecsv")
        image_type(tmp_path / "t.ecsv", ReadSettings(image_type="mosaic"))


def test_folders_and_lists_are_what_most_of_their_images_are(tmp_path, monkeypatch):
    monkeypatch.setattr(fields, "LARGEST_CUTOUT_PIX", 100)
    (tmp_path / "f").mkdir()
    for k in range(3):
        fits.PrimaryHDU(crowd(200, 10, k)).writeto(tmp_path / "f" / f"m{k}.fits")
    fits.PrimaryHDU(np.ones((200, 200), np.float32)).writeto(tmp_path / "f" / "m0.weight.fits")
    assert image_type(tmp_path / "f", ReadSettings()).is_mosaic
    Table({"file": [f"f/m{k}.fits" for k in range(3)]}).write(tmp_path / "list.csv")
    assert image_type(tmp_path / "list.csv", ReadSettings()).is_mosaic
    catalogue = detect(tmp_path / "list.csv")
    assert len(set(catalogue["file"])) == 3 and len(catalogue) > 20
    for k in range(4):
        fits.PrimaryHDU(large_galaxy(48)).writeto(tmp_path / "f" / f"c{k}.fits")
    found = image_type(tmp_path / "f", ReadSettings())
    assert not found.is_mosaic and "200 x 200" in found.sentence


@pytest.mark.slow
def test_screen_and_others_find_the_sources_and_say_so(tmp_path, mosaic, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["measure", str(mosaic), "--output", "m.parquet", "-j", "1"]) == 0
    err = capsys.readouterr().err
    assert err.count("taken as a mosaic") == 1 and "--image-type cutout" in err and "--cutout-size" in err
    table, expected = read_table("m.parquet"), detect(mosaic)
    assert sorted(table["id"]) == sorted(expected["id"]) and len(table) > 20
    assert any("taken as a mosaic" in one for one in table.meta["provenance"]["notices"])
    assert sorted(read_table("m.sources.parquet")["id"]) == sorted(expected["id"])
    assert cli.main(["screen", str(mosaic), "--output", "run", "--limit", "4"]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "taken as a mosaic" in page and "no known PSF" in page
    assert read_manifest("run")["images"] == 4 and len(read_table("run/sources.parquet")) == len(expected)


@pytest.mark.slow
def test_python_finds_them_too(tmp_path, mosaic):
    with pytest.warns(UserWarning, match="taken as a mosaic"):
        table = emeraldcut.measure(mosaic, limit=3)
    assert len(table) == 3 and "mosaic_x" in table.colnames
    with pytest.warns(UserWarning, match="taken as a mosaic"):
        emeraldcut.measure(mosaic, limit=3, output=tmp_path / "t.parquet")
    assert (tmp_path / "t.sources.parquet").exists()
    notices = read_table(tmp_path / "t.parquet").meta["provenance"]["notices"]
    assert any("taken as a mosaic" in one for one in notices) and any("no known PSF" in one for one in notices)


def test_sources_that_are_listed_are_not_searched_again(tmp_path, mosaic, monkeypatch):
    from emeraldcut import detection

    said = []
    with listening(said.append):
        settings = detection.with_sources(mosaic, ReadSettings(), tmp_path / "s.parquet")
    assert settings.catalogue == str(tmp_path / "s.parquet") and "sources were found" in said[0]
    monkeypatch.setattr(detection, "detect_run", None)
    again = []
    with listening(again.append):
        assert detection.with_sources(mosaic, ReadSettings(), tmp_path / "s.parquet") == settings
    assert again == said
    Table({"id": ["mine"]}).write(tmp_path / "mine.ecsv")
    with pytest.raises(FileExistsError, match="another table"):
        detection.with_sources(mosaic, ReadSettings(), tmp_path / "mine.ecsv")


@pytest.mark.slow
def test_a_search_that_is_stopped_resumes(tmp_path, mosaic, monkeypatch):
    from emeraldcut import detection

    small = detection.DetectSettings(part_pix=256)
    monkeypatch.setattr(resumable, "PART_ROWS", 1)
    whole, searched = detect(mosaic, small), []
    search = detection._search

    def stops(parts, settings):
        searched.append(parts.y0)
        if len(searched) == 3:
            raise KeyboardInterrupt
        return search(parts, settings)

    monkeypatch.setattr(detection, "_search", stops)
    with pytest.raises(KeyboardInterrupt):
        detect_run(mosaic, tmp_path / "s.parquet", small)
    path = detect_run(mosaic, tmp_path / "s.parquet", small)
    assert searched == [0, 256, 512, 512, 768, 1024]
    table = read_table(path)
    assert list(table["id"]) == list(whole["id"]) and not list(tmp_path.glob(".*"))
    np.testing.assert_array_equal(table["x"], whole["x"])


def test_the_limit_is_that_of_catalogues_with_cutouts():
    assert fields.LARGEST_CUTOUT_PIX == matching.LARGEST_CUTOUT_PIX == 1024
