"""Readers: every kind of source gives its images; every bad input gives a flagged row and no noise."""

import gzip
import os
import struct
import warnings
import zlib
from functools import partial
from unittest.mock import Mock, call

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from emeraldcut.data import Flag, ImageSet, usable
from emeraldcut.images import ImageSetWriter, NoImagesError, ReadSettings, open_images, read_images, write_images
from emeraldcut.runs import map_chunks, read_manifest
from tests.helpers import fits_bytes, npy_bytes, tan_wcs


@pytest.fixture
def picture():
    """A ramp (20, 24) in which each value says where it is."""
    return (np.arange(20)[:, None] * 100 + np.arange(24)).astype(np.float32)


def turned_wcs(size, ra=150.0, dec=60.0):
    return tan_wcs((size, size), ra, dec, angle_deg=30.0, scale_arcsec=0.5)


# --- what can be read


@pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".fits.fz", ".npy", ".tif", ".png"])
def test_one_file_of_each_format(tmp_path, picture, ending):
    path = tmp_path / f"a galaxy é{ending}"
    if ending == ".fits.fz":
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(picture.astype(np.int16))]).writeto(path)
    elif ending.startswith(".fits"):
        fits.PrimaryHDU(picture).writeto(path)
    elif ending == ".npy":
        np.save(path, picture)
    else:
        Image.fromarray(picture.astype(np.uint16)).save(path)
    images = read_images(path)
    assert list(images.table["id"]) == ["a galaxy é"]
    assert images.table["flag"][0] == 0 and images.table["flag_text"][0] == ""
    np.testing.assert_array_equal(images.pixels[0], picture)
    assert images.pixels[0].dtype == np.float32


def test_folder_is_sorted_recursive_and_skips_what_is_hidden(tmp_path, picture):
    for name in ("b.npy", "a.npy", "deep/er/c.npy", ".hidden.npy", ".cache/d.npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / name, picture)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path, target_is_directory=True)
    images = read_images(tmp_path)
    assert list(images.table["id"]) == ["a", "b", "deep/er/c"]
    assert not images.table["flag"].any()


def test_fits_integers_scaling_and_blank(tmp_path):
    stored = np.arange(100, dtype=np.int16).reshape(10, 10)
    fits.PrimaryHDU(stored).writeto(tmp_path / "scaled.fits")
    content = (tmp_path / "scaled.fits").read_bytes()
    cards = "BSCALE  =                  0.5BZERO   =                 10.0BLANK   =                    7END"
    text = "".join(cards[i : i + 30].ljust(80) for i in range(0, len(cards), 30)).encode()
    (tmp_path / "scaled.fits").write_bytes(content.replace(b"END".ljust(len(text)), text, 1))
    expected = 10 + 0.5 * np.arange(100.0).reshape(10, 10)
    expected[0, 7] = np.nan
    np.testing.assert_array_equal(read_images(tmp_path / "scaled.fits").pixels[0], expected)
    Table({"x": [4.0], "y": [4.0]}).write(tmp_path / "c.ecsv")
    by_pixel = ReadSettings(catalogue=str(tmp_path / "c.ecsv"), cutout_size=9)
    cut = read_images(tmp_path / "scaled.fits", by_pixel)
    np.testing.assert_array_equal(cut.pixels[0], expected[:9, :9])


def test_cube_and_multi_extension_fits(tmp_path, picture):
    cube = np.stack([picture, picture + 1, np.full_like(picture, np.nan)])
    fits.PrimaryHDU(cube).writeto(tmp_path / "cube.fits")
    images = read_images(tmp_path / "cube.fits")
    assert list(images.table["id"]) == ["cube#0", "cube#1", "cube#2"]
    assert list(images.table["flag"]) == [0, 0, Flag.NO_DATA]
    np.testing.assert_array_equal(images.pixels[1], picture + 1)

    mask = np.zeros(picture.shape, dtype=np.uint8)
    mask[3, 4] = 1
    y, x = np.mgrid[-12:13, -12:13]
    psf = np.exp(-4 * np.log(2) * (x**2 + y**2) / 3.5**2)  # full width at half maximum 3.5 pixels
    units = [fits.PrimaryHDU()]
    for version in (1, 2):
        units.append(fits.ImageHDU(picture + version, name="SCI", ver=version))
        units.append(fits.ImageHDU(np.ones_like(picture), name="WHT", ver=version))
    units += [fits.ImageHDU(mask, name="DQ", ver=1), fits.ImageHDU(psf, name="PSF")]
    fits.HDUList(units).writeto(tmp_path / "mef.fits")
    images = read_images(tmp_path / "mef.fits")
    assert list(images.table["id"]) == ["mef#0", "mef#1"]
    assert np.isnan(images.pixels[0][3, 4]) and np.isnan(images.pixels[0]).sum() == 1
    np.testing.assert_array_equal(images.pixels[1], picture + 2)
    np.testing.assert_allclose(images.table["psf_fwhm_pix"], 3.5, rtol=0.02)


def test_sky_position_scale_and_matrix(tmp_path, picture):
    wcs = turned_wcs(20)
    fits.PrimaryHDU(picture[:20, :20], wcs.to_header()).writeto(tmp_path / "sky.fits")
    row = read_images(tmp_path / "sky.fits").table[0]
    assert row["ra"] == pytest.approx(150.0, abs=1e-9) and row["dec"] == pytest.approx(60.0, abs=1e-9)
    assert row["pixel_scale_arcsec"] == pytest.approx(0.5, rel=1e-6)
    matrix = [[row["cd11"], row["cd12"]], [row["cd21"], row["cd22"]]]
    np.testing.assert_allclose(matrix, wcs.wcs.cd, rtol=1e-5)

    fits.PrimaryHDU(picture, fits.Header({"PIXSCALE": 0.263})).writeto(tmp_path / "key.fits")
    table = read_images(tmp_path / "key.fits").table
    assert table["pixel_scale_arcsec"][0] == 0.263 and "ra" not in table.colnames


def test_galactic_wcs_gives_icrs(tmp_path, picture):
    from astropy.coordinates import SkyCoord

    wcs = turned_wcs(20, ra=120.0, dec=30.0)
    wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
    fits.PrimaryHDU(picture[:20, :20], wcs.to_header()).writeto(tmp_path / "g.fits")
    row = read_images(tmp_path / "g.fits").table[0]
    truth = SkyCoord(l=120.0, b=30.0, unit="deg", frame="galactic").icrs
    assert (row["ra"], row["dec"]) == (pytest.approx(truth.ra.deg), pytest.approx(truth.dec.deg))
    assert row["pixel_scale_arcsec"] == pytest.approx(0.5, rel=1e-5)


def test_colour_palette_and_alpha(tmp_path):
    rng = np.random.default_rng(3)
    colour = rng.integers(0, 256, (12, 10, 4), dtype=np.uint8)
    colour[..., 3] = 255
    colour[0, :3, 3] = 0
    Image.fromarray(colour).save(tmp_path / "rgba.png")
    Image.fromarray(colour[..., :3]).save(tmp_path / "rgb.png")
    Image.fromarray(colour[..., :3]).save(tmp_path / "rgb.tif")
    np.save(tmp_path / "rgb_array.npy", colour[..., :3])
    pillow = np.asarray(Image.fromarray(colour[..., :3]).convert("L"), dtype=float)  # rounded Rec. 601
    for name in ("rgba.png", "rgb.png", "rgb.tif", "rgb_array.npy"):
        pixels = read_images(tmp_path / name).pixels[0]
        transparent = np.isnan(pixels)
        assert transparent.sum() == (3 if name == "rgba.png" else 0)
        np.testing.assert_allclose(pixels[~transparent], pillow[~transparent], atol=0.51)
    Image.fromarray(colour[..., :3]).quantize(16).save(tmp_path / "palette.png")
    with Image.open(tmp_path / "palette.png") as image:
        expected = np.asarray(image.convert("RGB").convert("L"), dtype=float)
    np.testing.assert_allclose(read_images(tmp_path / "palette.png").pixels[0], expected, atol=0.51)


@pytest.mark.parametrize("ending", ["png", "jpg", "npy"])
def test_a_star_that_one_band_cuts_off_is_a_plateau_and_no_ring(tmp_path, ending):
    """A red star as a picture server draws it: where its red reaches white, the hue changes, and luminance would fall.

    What is not cut off, such as a fainter star beside it, stays as it is.
    """
    y, x = np.mgrid[:80, :80]
    radius = np.hypot(x - 36.3, y - 40.2)
    light = 1e3 * (1 + (radius / 3) ** 2) ** -1.8
    red = np.minimum(255 * np.arcsinh(light) / np.arcsinh(60), 255)
    clipped = red >= 255
    green = red * np.where(clipped, 0.5, 0.85)
    faint = 100 * np.exp(-((x - 68) ** 2 + (y - 12) ** 2) / 18)
    colour = np.stack([red + faint, green + faint, 0.3 * red + faint], axis=-1).clip(0, 255).astype(np.uint8)
    path = tmp_path / f"star.{ending}"
    np.save(path, colour) if ending == "npy" else Image.fromarray(colour).save(path, quality=95)
    seen = read_images(path).pixels[0]
    plain = np.asarray(Image.open(path).convert("L"), float) if ending != "npy" else colour @ [0.299, 0.587, 0.114]
    assert plain[radius < 4].mean() < plain[(radius > 6) & (radius < 7)].mean() - 10  # a ring, without the mending
    assert np.ptp(seen[radius < 5]) <= 0.5 and seen[40, 36] >= seen.max() - 1, ending
    beyond = radius > np.sqrt(clipped.sum() / np.pi) + 2
    np.testing.assert_allclose(seen[beyond], plain[beyond], atol=2 if ending == "jpg" else 0.6)


def test_kinds_of_tiff_and_degenerate_axes(tmp_path):
    import tifffile

    pages = np.random.default_rng(2).normal(size=(3, 12, 10))
    tifffile.imwrite(tmp_path / "double.tif", pages[0])
    tifffile.imwrite(tmp_path / "pages.tif", pages.astype(np.float32), photometric="minisblack")
    Image.fromarray((pages[0] > 0).astype(np.uint8) * 200).save(tmp_path / "packed.tif", compression="tiff_lzw")
    fits.PrimaryHDU(pages[None, :1]).writeto(tmp_path / "radio.fits")
    np.save(tmp_path / "mask.npy", pages[0] > 0)
    images = read_images(tmp_path)
    assert list(images.table["id"]) == ["double", "mask", "packed", "pages#0", "pages#1", "pages#2", "radio"]
    assert not images.table["flag"].any()
    single = pages.astype(np.float32)
    expected = [single[0], pages[0] > 0, 200 * (pages[0] > 0), *single, single[0]]
    np.testing.assert_array_equal(images.pixels, np.array(expected, dtype=np.float32))


def test_type_is_found_by_content(tmp_path, picture):
    Image.fromarray((picture / 10).astype(np.uint8)).save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").rename(tmp_path / "really_jpeg.png")
    fits.PrimaryHDU(picture).writeto(tmp_path / "really.fits")
    (tmp_path / "really.fits").rename(tmp_path / "really_fits.png")
    images = read_images(tmp_path)
    assert not images.table["flag"].any()
    np.testing.assert_array_equal(images.pixels[0], picture)


def test_galaxy10_hdf5(tmp_path):
    rng = np.random.default_rng(1)
    colour = rng.integers(0, 255, (7, 12, 12, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "g10.h5", "w") as file:
        file["images"], file["ans"] = colour, np.arange(7, dtype=np.uint8)
        file["ra"], file["pxscale"] = np.linspace(0, 6, 7), np.full(7, 0.262)
    source = open_images(tmp_path / "g10.h5")
    assert source.n_images == 7
    images = read_images(tmp_path / "g10.h5")
    assert list(images.table["label"]) == [str(i) for i in range(7)]
    assert images.table["ra"][6] == 6 and images.table["pixel_scale_arcsec"][0] == pytest.approx(0.262)
    expected = colour[2] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(images.pixels[2], expected, rtol=1e-5)


TEXT_MAPS = [("2df.dat", "2dfn.dat"), ("2df.dat.m3", "n2df.dat.m3"), ("train.dat", "ntrain.dat")]


@pytest.mark.parametrize("names", TEXT_MAPS)
def test_thesis_text_maps(tmp_path, names):
    maps = np.random.default_rng(5).random((3, 50, 50)).astype(np.float32)
    np.savetxt(tmp_path / names[0], maps.ravel(), fmt="%.9e")
    (tmp_path / names[1]).write_text("1\n3\n2\n")
    images = read_images(tmp_path / names[0])
    np.testing.assert_allclose(images.pixels, maps, rtol=1e-6)
    assert list(images.table["label"]) == ["oval", "obround", "rectangular"]


def test_text_map_that_ends_early(tmp_path):
    lines = ["1.0D-03"] + ["2.5"] * 2499 + ["3"] * 100
    (tmp_path / "2df.dat").write_text("\n".join(lines))
    images = read_images(tmp_path / "2df.dat")
    assert images.pixels[0][0, 0] == np.float32(1e-3)
    assert list(images.table["flag"]) == [0, Flag.UNREADABLE]
    assert "100 of its 2500 values" in images.table["flag_text"][1]


@pytest.mark.parametrize("ending", [".csv", ".ecsv", ".parquet", ".fits", ".vot"])
def test_table_of_files(tmp_path, picture, ending):
    from emeraldcut.tables import write_table

    (tmp_path / "img").mkdir()
    np.save(tmp_path / "img" / "one.npy", picture)
    np.save(tmp_path / "img" / "two.npy", np.stack([picture, picture]))
    files = ["img/one.npy", "img/two.npy", "img/gone.npy", "img/one.npy"]
    table = Table({"file": files, "id": ["007", "b", "c", "007"], "z": [0.1, 0.2, 0.3, 0.4]})
    write_table(table, tmp_path / f"list{ending}")
    images = read_images(tmp_path / f"list{ending}")
    assert list(images.table["id"]) == ["007", "b#0", "b#1", "c", "007#2"]
    assert list(images.table["z"]) == [0.1, 0.2, 0.2, 0.3, 0.4]
    assert list(images.table["flag"]) == [0, 0, 0, Flag.UNREADABLE, 0]
    assert "No such file" in images.table["flag_text"][3]


# --- mosaics


@pytest.fixture
def mosaic(tmp_path):
    """A mosaic whose pixel values are their own places: value = 1000 y + x."""
    data = (np.arange(200)[:, None] * 1000 + np.arange(200)).astype(np.float32)
    wcs = turned_wcs(200)
    fits.PrimaryHDU(data, wcs.to_header()).writeto(tmp_path / "mosaic.fits")
    return tmp_path / "mosaic.fits", data, wcs


def test_cutouts_by_sky_position(tmp_path, mosaic):
    path, data, wcs = mosaic
    x, y = np.array([50.0, 120.3, 2.0, 500.0]), np.array([60.0, 99.6, 100.0, 500.0])
    ra, dec = wcs.all_pix2world(x, y, 0)
    catalogue = Table({"RAJ2000": ra, "DEJ2000": dec, "ID": [4, 5, 6, 6], "mag": [1.0, 2, 3, 4]})
    catalogue.write(tmp_path / "cat.ecsv")
    source = open_images(path, ReadSettings(catalogue=str(tmp_path / "cat.ecsv"), cutout_size=21))
    assert source.n_images == 4
    chunks = list(source.chunks(3))
    assert [len(c) for c in chunks] == [3, 1]
    images = read_images(path, ReadSettings(catalogue=str(tmp_path / "cat.ecsv"), cutout_size=21))
    assert list(images.table["id"]) == ["4", "5", "6", "6#2"]
    np.testing.assert_array_equal(images.pixels[0], data[50:71, 40:61])
    np.testing.assert_array_equal(images.pixels[1], data[90:111, 110:131])
    assert np.isnan(images.pixels[2][:, :8]).all()
    np.testing.assert_array_equal(images.pixels[2][:, 8:], data[90:111, :13])
    assert list(images.table["flag"]) == [0, 0, 0, Flag.NO_DATA]
    assert "outside" in images.table["flag_text"][3]
    np.testing.assert_allclose(images.table["mosaic_x"][:3], x[:3], atol=1e-6)
    np.testing.assert_allclose(images.table["pixel_scale_arcsec"][:3], 0.5, rtol=1e-4)
    np.testing.assert_allclose(images.table["mag"], [1, 2, 3, 4])


def test_cutouts_by_pixel_position_and_sexagesimal(tmp_path, mosaic):
    path, data, _ = mosaic
    np.save(tmp_path / "mosaic.npy", data)
    (tmp_path / "xy.csv").write_text("x,y\n100,50\n")
    by_pixel = ReadSettings(catalogue=str(tmp_path / "xy.csv"), cutout_size=9)
    images = read_images(tmp_path / "mosaic.npy", by_pixel)
    assert images.pixels[0][4, 4] == data[50, 100]
    (tmp_path / "sexagesimal.csv").write_text("NAME,RA,DEC\ncentre,10:00:00,+60:00:00\n")
    settings = ReadSettings(catalogue=str(tmp_path / "sexagesimal.csv"), cutout_size=10)
    images = read_images(path, settings)
    np.testing.assert_array_equal(images.pixels[0], data[95:105, 95:105])  # the sky centre is at (99.5, 99.5)
    assert images.table["ra"][0] == pytest.approx(150.0)


def test_mosaic_that_cannot_be_cut(tmp_path, mosaic):
    (tmp_path / "none.csv").write_text("id,mag\n1,2\n")
    with pytest.raises(ValueError, match="ra and dec"):
        read_images(mosaic[0], ReadSettings(catalogue=str(tmp_path / "none.csv")))
    with pytest.raises(FileNotFoundError, match="no table"):
        read_images(mosaic[0], ReadSettings(catalogue=str(tmp_path / "gone.csv")))


# --- bad inputs


def png_claiming(width, height):
    def block(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = block(b"IDAT", zlib.compress(b"\0" * 10))
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + body + block(b"IEND", b"")


def claim_bytes():
    values = {"SIMPLE": "T", "BITPIX": -32, "NAXIS": 2, "NAXIS1": 100000, "NAXIS2": 100000}
    cards = [f"{name:8}= {value:>20}" for name, value in values.items()] + ["END"]
    return b"".join(card.ljust(80).encode() for card in cards).ljust(2880) + b"\0" * 200


RAMP = (np.arange(20)[:, None] * 100 + np.arange(24)).astype(np.float32)
RAMP_FITS = fits_bytes(fits.PrimaryHDU(RAMP))
TABLE_FITS = fits_bytes(fits.PrimaryHDU(), fits.BinTableHDU(Table({"a": [1, 2]})))
BAD_INPUTS = {
    "empty.fits": (b"", Flag.UNREADABLE, "empty"),
    "text.fits": (b"hello, this is no FITS file\n", Flag.UNREADABLE, "not a FITS"),
    "truncated.fits": (RAMP_FITS[:3500], Flag.UNREADABLE, "has only 3500 bytes"),
    "cut_header.fits": (RAMP_FITS[:400], Flag.UNREADABLE, "truncated or damaged"),
    "cut_gzip.fits.gz": (gzip.compress(RAMP_FITS)[:200], Flag.UNREADABLE, "truncated"),
    "gzip_of_text.fits.gz": (gzip.compress(b"hello"), Flag.UNREADABLE, "not a FITS"),
    "claim.fits": (claim_bytes(), Flag.UNREADABLE, "100000 x 100000"),
    "claim.fits.gz": (gzip.compress(claim_bytes()), Flag.UNREADABLE, "100000 x 100000"),
    "table_only.fits": (TABLE_FITS, Flag.NOT_AN_IMAGE, "only tables"),
    "no_data.fits": (fits_bytes(fits.PrimaryHDU()), Flag.NOT_AN_IMAGE, "no data"),
    "spectrum.fits": (fits_bytes(fits.PrimaryHDU(np.arange(50.0))), Flag.NOT_AN_IMAGE, "1 axis"),
    "four_axes.fits": (fits_bytes(fits.PrimaryHDU(np.zeros((2, 3, 9, 9)))), Flag.NOT_AN_IMAGE, "4 axes"),
    "constant.fits": (fits_bytes(fits.PrimaryHDU(np.ones((20, 20)))), Flag.NO_DATA, "same value"),
    "all_nan.fits": (fits_bytes(fits.PrimaryHDU(np.full((20, 20), np.nan))), Flag.NO_DATA, "missing"),
    "one_pixel.fits": (fits_bytes(fits.PrimaryHDU(np.ones((1, 1)))), Flag.TOO_SMALL, "1 x 1"),
    "sliver.npy": (npy_bytes(RAMP[:7]), Flag.TOO_SMALL, "24 x 7"),
    "complex.npy": (npy_bytes(RAMP * 1j), Flag.NOT_AN_IMAGE, "complex64"),
    "text.npy": (npy_bytes(np.array([["a", "b"]])), Flag.NOT_AN_IMAGE, "<U1"),
    "structured.npy": (npy_bytes(np.zeros((9, 9), dtype="f4,i4")), Flag.NOT_AN_IMAGE, "real numbers"),
    "pickle.npy": (npy_bytes(np.array([[{}, []]], dtype=object)), Flag.UNREADABLE, "objects of Python"),
    "cut.npy": (npy_bytes(RAMP)[:300], Flag.UNREADABLE, "truncated"),
    "scalar.npy": (npy_bytes(np.array(3.0)), Flag.NOT_AN_IMAGE, "one number"),
    "bomb.png": (
        png_claiming(60000, 60000),
        Flag.UNREADABLE,
        "60,000 x 60,000 pixels are more than the limit of 400 million",
    ),
    "cut.png": (png_claiming(50, 50), Flag.UNREADABLE, "truncated"),
    "cut.tif": (b"II*\0\x08\0\0\0\x01", Flag.UNREADABLE, "truncated"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_one_flagged_row_without_noise(tmp_path, capfd, name):
    content, flag, sentence = BAD_INPUTS[name]
    (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = read_images(tmp_path)
        alone = read_images(tmp_path / name)
    assert list(images.table["flag"]) == [int(flag)] == list(alone.table["flag"])
    assert sentence in images.table["flag_text"][0]
    assert images.table["flag_text"][0].endswith(".")
    assert not usable(images.table["flag"]).any()
    assert capfd.readouterr() == ("", "")


def test_bad_inputs_do_not_disturb_the_good(tmp_path):
    for name, (content, _, _) in BAD_INPUTS.items():
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "good.npy", RAMP)
    (tmp_path / "dangling.fits").symlink_to(tmp_path / "nowhere.fits")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    images = read_images(tmp_path)
    assert len(images) == len(BAD_INPUTS) + 3
    rows = {row["id"]: row for row in images.table}
    assert rows["good"]["flag"] == 0
    assert rows["dangling"]["flag"] == Flag.UNREADABLE and "No such file" in rows["dangling"]["flag_text"]
    assert rows["loop"]["flag"] == Flag.UNREADABLE and "symbolic links" in rows["loop"]["flag_text"]
    assert len(set(images.table["id"])) == len(images)


def test_no_permission(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", RAMP)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("emeraldcut.images.formats.kind_of", refuse)
    table = read_images(tmp_path).table
    assert table["flag"][0] == Flag.UNREADABLE and "Permission denied." in table["flag_text"][0]


@pytest.mark.slow
def test_unusual_values_and_headers(tmp_path):
    wild = RAMP.astype(">f8")
    wild[0, :3] = [np.inf, -np.inf, 1e300]
    np.save(tmp_path / "infinite.npy", wild)
    unit = fits.PrimaryHDU(RAMP)
    for number in range(5000):
        unit.header[f"HIERARCH CARD NUMBER {number}"] = number
    unit.writeto(tmp_path / "long_header.fits")
    broken = fits.PrimaryHDU(RAMP)
    broken.header["CTYPE1"], broken.header["CTYPE2"] = "RA---XYZ", "DEC--TAN"
    broken.writeto(tmp_path / "odd_wcs.fits")
    os.close(os.open(os.fsencode(tmp_path) + b"/caf\xe9.npy", os.O_CREAT))
    images = read_images(tmp_path)
    assert list(images.table["id"]) == ["caf\ufffd", "infinite", "long_header", "odd_wcs"]
    assert list(images.table["flag"]) == [Flag.UNREADABLE, 0, 0, 0]
    assert np.isnan(images.pixels[1]).sum() == 3
    np.testing.assert_array_equal(images.pixels[2], RAMP)
    assert "ra" not in images.table.colnames


def test_sources_without_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        open_images(tmp_path / "nothing")
    with pytest.raises(NoImagesError, match="no image files"):
        open_images(tmp_path)
    (tmp_path / "t.csv").write_text("id,ra\n1,2\n")
    with pytest.raises(NoImagesError, match="column 'file'"):
        open_images(tmp_path / "t.csv")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["other"] = np.zeros(3)
    with pytest.raises(NoImagesError, match="'images'.*other"):
        open_images(tmp_path / "x.h5")
    with pytest.raises(ValueError, match="at least 1"):
        ReadSettings(limit=0)


# --- chunks, our own sets, streaming


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 9), size=st.integers(1, 10), limit=st.none() | st.integers(1, 12))
def test_chunks_do_not_change_the_images(tmp_path_factory, n, size, limit):
    folder = tmp_path_factory.mktemp("chunks")
    for i in range(n):
        np.save(folder / f"{i}.npy", RAMP[: 10 + i % 2] + i)
    chunks = list(open_images(folder, ReadSettings(limit=limit)).chunks(size))
    assert all(len(chunk) == size for chunk in chunks[:-1]) and 1 <= len(chunks[-1]) <= size
    ids = [name for chunk in chunks for name in chunk.table["id"]]
    assert ids == [str(i) for i in range(min(n, limit or n))]
    assert [chunk.pixels[0][0, 0] for chunk in chunks] == list(range(0, len(ids), size))


def mixed_set():
    pixels = [RAMP[:12, :10], RAMP + 1, np.zeros((0, 0), np.float32), RAMP[:9, :9]]
    table = Table({"id": ["a", "é", "c", "d"], "flag": [0, 0, 1, 0], "label": ["oval", "other", "", "oval"]})
    return ImageSet(pixels, table)


@pytest.mark.parametrize("append", [1, 2, 4])
def test_own_set_round_trip(tmp_path, append):
    images = mixed_set()
    with ImageSetWriter(tmp_path / "set", command="test", seed=3) as writer:
        for start in range(0, 4, append):
            writer.append(images[start : start + append])
        assert not (tmp_path / "set" / "manifest.json").exists()
    assert read_manifest(tmp_path / "set")["images"] == 4
    source = open_images(tmp_path / "set")
    assert source.n_images == 4
    back = read_images(tmp_path / "set")
    for ours, theirs in zip(images.pixels, back.pixels, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert list(back.table["id"]) == ["a", "é", "c", "d"]
    assert list(back.table["flag_text"]) == list(images.table["flag_text"])
    assert "ny" not in back.table.colnames


def test_own_set_that_is_finished_or_unfinished(tmp_path):
    write_images(mixed_set(), tmp_path / "set", command="test")
    with pytest.raises(FileExistsError, match="finished run"):
        write_images(mixed_set(), tmp_path / "set", command="test")

    def breaks():
        yield mixed_set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_images(breaks(), tmp_path / "set", command="test", overwrite=True)
    with pytest.raises(ValueError, match="is not finished"):
        open_images(tmp_path / "set")


def chunk_sum(images, factor=1):
    return factor * float(np.nansum(images.pixels))


def die(images):
    os._exit(1)


def fail(images):
    raise KeyError("stage")


def one_by_one(n, started):
    for i in range(n):
        started.append(i)
        yield ImageSet(np.full((2, 9, 9), i, dtype=np.float32), Table({"id": ["a", "b"]}))


@pytest.mark.slow
def test_map_chunks_in_order_and_few_in_flight():
    expected = [3.0 * 162 * i for i in range(7)]
    for jobs in (1, 2):
        started, progress, results = [], Mock(), []
        stage = partial(chunk_sum, factor=3)
        for result in map_chunks(stage, one_by_one(7, started), jobs=jobs, progress=progress):
            results.append(result)
            assert len(started) <= len(results) + (2 * jobs if jobs > 1 else 0)
        assert results == expected and progress.advance.mock_calls == [call(2)] * 7


@pytest.mark.slow
def test_map_chunks_reports_dead_workers_and_errors():
    with pytest.raises(RuntimeError, match="worker process died"):
        list(map_chunks(die, one_by_one(3, []), jobs=2))
    with pytest.raises(KeyError, match="stage"):
        list(map_chunks(fail, one_by_one(3, []), jobs=2))
    with pytest.raises(ValueError, match="at least 1"):
        list(map_chunks(fail, [], jobs=0))


@pytest.mark.parametrize("axes", ["RA first", "DEC first"])
@pytest.mark.parametrize("system", ["ICRS", "FK4"])
def test_sky_positions_follow_astropy_whatever_the_axes(tmp_path, axes, system):
    from astropy.coordinates import SkyCoord
    from astropy.io import fits

    turn, scale = np.radians(25), 0.3 / 3600
    matrix = scale * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    first = 0 if axes == "RA first" else 1
    wcs = WCS(naxis=2)
    order = [first, 1 - first]
    wcs.wcs.ctype = [["RA---TAN", "DEC--TAN"][i] for i in order]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cd = np.array([150.0, 2.0])[order], [30, 20], matrix[order]
    wcs.wcs.radesys = system
    if system == "FK4":
        wcs.wcs.equinox = 1950.0
    image = np.random.default_rng(0).normal(size=(41, 61)).astype(np.float32)
    fits.PrimaryHDU(image, wcs.to_header()).writeto(tmp_path / "image.fits")
    row = read_images(tmp_path / "image.fits").table[0]
    centre, along_x = (wcs.pixel_to_world(x, 20.0).icrs for x in (30.0, 31.0))
    assert SkyCoord(row["ra"], row["dec"], unit="deg").separation(centre).arcsec < 0.01
    expected = centre.position_angle(along_x).deg
    assert np.degrees(np.arctan2(row["cd11"], row["cd21"])) % 360 == pytest.approx(expected, abs=0.05)
    assert row["pixel_scale_arcsec"] == pytest.approx(0.3, rel=1e-4)

    catalogue = Table(
        {
            "id": ["a"],
            "ra": [wcs.pixel_to_world(40.0, 12.0).icrs.ra.deg],
            "dec": [wcs.pixel_to_world(40.0, 12.0).icrs.dec.deg],
        }
    )
    catalogue.write(tmp_path / "places.ecsv")
    settings = ReadSettings(catalogue=str(tmp_path / "places.ecsv"), cutout_size=11)
    cutout = read_images(tmp_path / "image.fits", settings)
    np.testing.assert_array_equal(cutout.pixels[0], image[7:18, 35:46])
