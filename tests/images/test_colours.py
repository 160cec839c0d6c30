"""Images of several bands are seen in colour, however their bands come: as a notebook and as pages show them."""

from contextlib import closing

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import emeraldcut
from emeraldcut.images import ReadSettings, formats, read_images, readers
from emeraldcut.images.source_images import SourceImages
from emeraldcut.screening import ScreenSettings
from emeraldcut.screening.two_passes import screen_run
from emeraldcut.tables import read_table
from tests.helpers import tan_wcs

SIDE = 48
LIGHT = {"g": 20.0, "r": 40.0, "z": 80.0}  # red galaxies


def bands(seed: int = 0) -> np.ndarray:
    """A galaxy in g, r, z with noise of 1: (3, ny, nx) float32."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    shape, rng = np.exp(-np.hypot(x / 6, y / 4)), np.random.default_rng(seed)
    return np.array([bright * shape + rng.normal(size=shape.shape) for bright in LIGHT.values()], np.float32)


def header(**cards) -> fits.Header:
    return fits.Header({**tan_wcs((SIDE, SIDE)).to_header(), **cards})


def cube(folder):
    fits.writeto(folder / "a.fits", bands(), header(BANDS="grz"))
    return folder, {}


def units(folder):
    planes = zip(LIGHT, bands(), strict=True)
    images = [fits.ImageHDU(plane, header(FILTER=name), name=name) for name, plane in planes]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(folder / "a.fits")
    return folder / "a.fits", {}


def files_of_bands(folder):
    for name, plane in zip(LIGHT, bands(), strict=True):
        fits.writeto(folder / f"a_{name}.fits", plane, header(FILTER=name))
    return folder, {}


def hdf5(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file["images"] = bands()[None]
        file["images"].attrs["bands"] = list(LIGHT)
    return folder / "a.h5", {}


def mosaic(folder):
    field = np.random.default_rng(1).normal(size=(3, 200, 200)).astype(np.float32)
    field[:, 80 : 80 + SIDE, 60 : 60 + SIDE] = bands()
    fits.writeto(folder / "a.fits", field, fits.Header({**tan_wcs((200, 200)).to_header(), "BANDS": "grz"}))
    middle = (SIDE - 1) / 2
    Table({"id": ["a"], "x": [60 + middle], "y": [80 + middle]}).write(folder / "c.ecsv")
    return folder / "a.fits", {"catalogue": str(folder / "c.ecsv"), "cutout_size": SIDE}


def stored(folder):
    fits.writeto(folder / "a.fits", bands(), header(BANDS="grz"))
    emeraldcut.write_images(read_images(folder / "a.fits", bands=True), folder / "set")
    return folder / "set", {}


KINDS = (cube, units, files_of_bands, hdf5, mosaic, stored)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_bands_are_seen_in_colour_in_notebooks_and_on_pages(tmp_path, kind):
    source, options = kind(tmp_path)
    given = emeraldcut.as_images(source, **options)
    again = read_images(source, ReadSettings(**options))
    assert again.colours is None and again.bands is None  # what streams keeps neither
    with closing(SourceImages(again.table, source, ReadSettings(**options))) as source_images:
        shown = source_images.shown([0], again.table)
    np.testing.assert_array_equal(shown.colours[0], given.colours[0])
    np.testing.assert_array_equal(shown.pixels[0], given.pixels[0])
    red, green, blue = given.colours[0][SIDE // 2 - 3 : SIDE // 2 + 3, SIDE // 2 - 3 : SIDE // 2 + 3].mean(axis=(0, 1))
    assert red > green > blue
    kept = read_images(source, ReadSettings(**options), bands=True)
    np.testing.assert_array_equal(kept.seen(0), given.colours[0])


def test_one_band_and_one_that_was_picked_are_grey(tmp_path):
    fits.writeto(tmp_path / "a.fits", bands(), header(BANDS="grz"))
    fits.writeto(tmp_path / "b.fits", bands()[0], header())
    assert emeraldcut.as_images(tmp_path, band=("r",)).colours is None
    found = emeraldcut.as_images(tmp_path)
    assert found.colours[0] is not None and found.colours[1] is None


def test_an_array_of_bands_and_an_hdu_of_bands_are_in_colour():
    of_hdu = emeraldcut.as_images(fits.PrimaryHDU(bands(), header(BANDS="grz")))
    assert of_hdu.colours[0].shape == (SIDE, SIDE, 3)
    five = np.moveaxis(np.concatenate([bands(), bands()[:2]]), 0, -1)
    assert emeraldcut.as_images(five).colours[0].shape == (SIDE, SIDE, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [cube, mosaic, stored], ids=lambda kind: kind.__name__)
def test_a_picture_made_of_bands_is_not_judged_when_they_are_screened(tmp_path, kind, monkeypatch):
    """The agreement of bands is calibrated on pictures of surveys; a run does not draw others at all."""
    source, options = kind(tmp_path)
    given = emeraldcut.as_images(source, **options)
    assert given.colours[0] is not None
    table = emeraldcut.screen(given)
    monkeypatch.setattr(readers, "in_colour", None)
    monkeypatch.setattr(formats, "in_colour", None)
    run = screen_run(source, tmp_path / "run", ScreenSettings(best=1), ReadSettings(**options))
    for rows in (table, read_table(run.path("candidates.parquet"))):
        assert np.ma.getmaskarray(rows["band_agreement"]).all()
