"""Bands in files of their own are one galaxy, or one mosaic; what only looks so is left alone."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from emeraldcut.data import Flag
from emeraldcut.errors import UsageError
from emeraldcut.images import ReadSettings, read_images
from emeraldcut.images.source_images import SourceImages
from emeraldcut.runs.notices import listening
from emeraldcut.screening.two_passes import WHERE
from tests.helpers import tan_wcs

SIDE = 40
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
LIGHT = 200 * np.exp(-np.hypot(X, Y / 0.6) / 4)
SIGMAS = {"g": 1.0, "r": 2.0, "z": 4.0}
SKY = tan_wcs((SIDE, SIDE), scale_arcsec=0.2)


def plane(band, seed=0):
    rng = np.random.default_rng([seed, ord(band[-1])])
    return (LIGHT + rng.normal(0, SIGMAS.get(band, 1.0), LIGHT.shape)).astype(np.float32)


def write(path, pixels, wcs=SKY, **cards):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = wcs.to_header() if wcs is not None else fits.Header()
    header.update(cards)
    fits.PrimaryHDU(pixels, header).writeto(path)


def read(path, **settings):
    return read_images(path, ReadSettings(**settings))


NAMES = {
    "plain": ("12_{}", "12"),
    "HSC": ("cutout-HSC-{}-9813-pdr2_wide", "cutout-HSC-9813-pdr2_wide"),
    "Legacy Surveys": ("legacysurvey-0001m002-image-{}", "legacysurvey-0001m002-image"),
    "PS1": ("cutout_rings.v3.skycell.2090.045.stk.{}.unconv", "cutout_rings.v3.skycell.2090.045.stk.unconv"),
    "KiDS": ("KiDS_DR4.0_140.0_0.5_{}_sci", "KiDS_DR4.0_140.0_0.5_sci"),
    "redshift in the name": ("z_0.5_{}", "z_0.5"),
    "folders": ("{}/12", "12"),
    "a folder each": ("ngc/{}", "ngc"),
}


@pytest.mark.parametrize("survey", NAMES)
def test_one_galaxy_with_a_file_for_each_band(tmp_path, survey):
    name, title = NAMES[survey]
    for band in SIGMAS:
        write(tmp_path / "f" / f"{name.format(band)}.fits", plane(band))
    write(tmp_path / "f" / "other.fits", plane("g", 7))
    said = []
    with listening(said.append):
        images = read(tmp_path / "f")
    rows = {identity: k for k, identity in enumerate(images.table["id"])}
    assert set(rows) == {title, "other"} and images.table["bands"][rows[title]] == "g,r,z"
    assert len(said) == 1 and "g, r, z" in said[0] and "--stack" in said[0]
    weights = np.array([s**-2 for s in SIGMAS.values()])
    expected = sum(w * plane(b) for w, b in zip(weights / weights.sum(), SIGMAS, strict=True))
    assert np.abs(images.pixels[rows[title]] - expected).max() < 0.05 * LIGHT.max()
    one = read(tmp_path / "f", band="r")
    row = list(one.table["id"]).index(title)
    np.testing.assert_array_equal(one.pixels[row], plane("r"))
    assert one.table["bands"][row] == "r" and one.table["file"][row].endswith(f"{name.format('r')}.fits")
    assert len(read(tmp_path / "f", stack=True)) == 4
    absent = read(tmp_path / "f", band="w1").table
    assert absent["flag"][list(absent["id"]).index(title)] == Flag.NOT_AN_IMAGE
    kept = images.table[[name for name in WHERE if name in images.table.colnames]]  # what `screen` has of each image
    again = SourceImages(kept, tmp_path / "f", ReadSettings())
    np.testing.assert_array_equal(again[rows[title]], images.pixels[rows[title]])


def test_pictures_and_arrays_too(tmp_path):
    for band in "gri":
        np.save(tmp_path / f"a_{band}.npy", plane(band))
        Image.fromarray(np.clip(plane(band) + 20, 0, 255).astype("u1")).save(tmp_path / f"b_{band}.png")
    table = read(tmp_path).table
    assert list(table["id"]) == ["a", "b"] and list(table["bands"]) == ["g,i,r", "g,i,r"]


@pytest.mark.parametrize(
    "names", [["a", "b", "c", "g", "h"], ["s_g", "s_h", "s_l"], ["w1", "w2", "w5"], ["x_r", "y_z"], ["r_1", "r_2"]]
)
def test_names_that_only_look_like_bands(tmp_path, names):
    for k, name in enumerate(names):
        write(tmp_path / f"{name}.fits", plane("g", k), None)
    assert sorted(read(tmp_path).table["id"]) == sorted(names)


def test_other_places_and_pixels(tmp_path):
    write(tmp_path / "far" / "o_g.fits", plane("g"))
    write(tmp_path / "far" / "o_r.fits", plane("r"), tan_wcs((SIDE, SIDE), 151.0))
    images = read(tmp_path / "far")
    assert list(images.table["id"]) == ["o_g", "o_r"] and not images.table["flag"].any()
    write(tmp_path / "fine" / "o_g.fits", plane("g"))
    write(tmp_path / "fine" / "o_r.fits", plane("r"))
    write(tmp_path / "fine" / "o_z.fits", plane("z")[:30, :30], tan_wcs((30, 30), scale_arcsec=0.25))
    table = read(tmp_path / "fine").table
    assert table["bands"][0] == "g,r" and "band z left out" in table["read_as"][0]
    write(tmp_path / "ask" / "o_g.fits", plane("g"))
    write(tmp_path / "ask" / "o_r.fits", plane("r")[:30, :30], tan_wcs((30, 30), scale_arcsec=0.25))
    table = read(tmp_path / "ask").table
    assert len(table) == 1 and table["flag"][0] == Flag.NOT_AN_IMAGE and "--band" in table["flag_text"][0]
    assert read(tmp_path / "ask", band="r").pixels[0].shape == (30, 30)
    (tmp_path / "ask" / "o_r.fits").write_bytes(b"damaged")
    table = read(tmp_path / "ask").table
    assert table["bands"][0] == "g" and "band r cannot be used" in table["read_as"][0]


def test_bands_have_their_own_maps(tmp_path):
    for band, sigma in SIGMAS.items():
        write(tmp_path / f"b-image-{band}.fits", plane(band))
        write(tmp_path / f"b-invvar-{band}.fits", np.full((SIDE, SIDE), sigma**-2, np.float32))
    images = read(tmp_path)
    weights = np.array([s**-2 for s in SIGMAS.values()])
    assert images.table["noise_sigma"][0] == pytest.approx(weights.sum() ** -0.5, rel=1e-5)
    expected = sum(w * plane(b) for w, b in zip(weights / weights.sum(), SIGMAS, strict=True))
    np.testing.assert_allclose(images.pixels[0], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("column", ["id", "file"])
def test_with_a_catalogue(tmp_path, column):
    """Identifiers go with galaxies, names of files with the files that they name."""
    for number in (11, 12):
        for band in SIGMAS:
            write(tmp_path / "f" / f"{number}_{band}.fits", plane(band, number))
    table = Table({"id": [12, 11]})
    if column == "file":
        table = Table({"id": [12, 11], "file": ["12_r.fits", "11_r.fits"]})
    table.write(tmp_path / "c.ecsv")
    images = read(tmp_path / "f", catalogue=str(tmp_path / "c.ecsv"))
    if column == "id":
        assert list(images.table["id"]) == ["12", "11"] and list(images.table["bands"]) == ["g,r,z"] * 2
    else:
        assert list(images.table["id"])[:2] == ["12", "11"]
        np.testing.assert_array_equal(images.pixels[1], plane("r", 11))


def test_mosaics_of_bands_in_files(tmp_path):
    side, planes = 200, {}
    wcs = tan_wcs((side, side), scale_arcsec=0.2)
    for band, sigma in SIGMAS.items():
        planes[band] = np.random.default_rng(ord(band)).normal(0, sigma, (side, side)).astype(np.float32)
        write(tmp_path / "m" / f"tile-{band}.fits", planes[band], wcs)
        write(tmp_path / "m" / f"tile-{band}.weight.fits", np.full((side, side), sigma**-2, np.float32), wcs)
    Table({"x": [100.0], "y": [80.0], "file": ["tile-g.fits"]}).write(tmp_path / "c.ecsv")
    Table({"ra": [150.0], "dec": [2.0]}).write(tmp_path / "d.ecsv")
    cut = read(tmp_path / "m", catalogue=str(tmp_path / "d.ecsv"), cutout_size=64)
    assert cut.table["bands"][0] == "g,r,z" and "one file for each band" in cut.table["read_as"][0]
    assert np.std(cut.pixels[0]) == pytest.approx(sum(s**-2 for s in SIGMAS.values()) ** -0.5, rel=0.05)
    assert len(read(tmp_path / "m", catalogue=str(tmp_path / "c.ecsv"), cutout_size=20)) == 1
    one = read(tmp_path / "m", catalogue=str(tmp_path / "d.ecsv"), cutout_size=64, band="r").pixels[0]
    np.testing.assert_array_equal(one, planes["r"][68:132, 68:132])
    again = SourceImages(cut.table, tmp_path / "m", ReadSettings(catalogue=str(tmp_path / "d.ecsv"), cutout_size=64))
    np.testing.assert_array_equal(again[0], cut.pixels[0])
    write(tmp_path / "m" / "tile-i.fits", planes["g"][::2, ::2], tan_wcs((100, 100), scale_arcsec=0.4))
    with pytest.raises(UsageError, match="choose one with --band"):
        read(tmp_path / "m", catalogue=str(tmp_path / "d.ecsv"))


def test_a_file_of_another_band_than_is_wanted(tmp_path):
    write(tmp_path / "a.fits", plane("g"), FILTER="HSC-G")
    table = read(tmp_path / "a.fits", band="r").table
    assert table["flag"][0] == Flag.NOT_AN_IMAGE and "band g" in table["flag_text"][0]
    assert read(tmp_path / "a.fits", band="g").table["flag"][0] == 0
    write(tmp_path / "two" / "one.fits", plane("g"), FILTER="g")
    write(tmp_path / "two" / "second.fits", plane("r"), FILTER="r")
    Table({"ra": [150.0], "dec": [2.0]}).write(tmp_path / "d.ecsv")
    said = []
    with listening(said.append):
        read(tmp_path / "two", catalogue=str(tmp_path / "d.ecsv"), cutout_size=20)
    assert len(said) == 1 and "show one place" in said[0] and "--band" in said[0]
    cut = read(tmp_path / "two", catalogue=str(tmp_path / "d.ecsv"), cutout_size=20, band="r")
    np.testing.assert_array_equal(cut.pixels[0], plane("r")[10:30, 10:30])
