"""Mosaics: tiles that overlap or meet, their masks and weights, catalogues of many files; the truth is of astropy."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.modeling.models import Gaussian2D
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photutils.centroids import centroid_com
from photutils.datasets import make_model_image

from emeraldcut.data import Flag
from emeraldcut.detection import DetectSettings, detect
from emeraldcut.frame import frame_galaxies
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.images import NoImagesError, ReadSettings, open_images, read_images
from emeraldcut.images import mosaic as mosaic_module
from emeraldcut.images.formats import MOST_CRASHES
from emeraldcut.images.mosaic import tiles_in
from emeraldcut.images.psf import read_psf
from emeraldcut.images.source_images import SourceImages
from emeraldcut.images.tiles import Tiles, cut_out
from tests.helpers import fits_bytes, tan_wcs


def sources(shape, wcs, ra, dec, sigma=1.0, seed=0):
    """Round galaxies of photutils at places on the sky, in noise."""
    x, y = wcs.all_world2pix(ra, dec, 0)
    widths = np.full(len(ra), 2.5)
    table = Table(
        {"amplitude": np.full(len(ra), 60.0), "x_mean": x, "y_mean": y, "x_stddev": widths, "y_stddev": widths}
    )
    image = make_model_image(shape, Gaussian2D(), table, model_shape=(31, 31), x_name="x_mean", y_name="y_mean")
    return (image + np.random.default_rng(seed).normal(0, sigma, shape)).astype(np.float32)


def write(path, pixels, wcs=None, **units):
    """A FITS file: the image, and units by name."""
    units = [fits.ImageHDU(data, name=name) for name, data in units.items()]
    header = wcs.to_header() if wcs is not None else None
    fits.HDUList([fits.PrimaryHDU(pixels, header), *units]).writeto(path, overwrite=True)
    return path


def listed(path, **columns):
    Table(columns).write(path, overwrite=True)
    return str(path)


def moved(wcs, x0, y0):
    """The same sky for a part of an image that begins at column x0, row y0."""
    part = wcs.deepcopy()
    part.wcs.crpix = wcs.wcs.crpix - [x0, y0]
    return part


# --- tiles that are one image


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    """A mosaic, and the same in 3 x 2 tiles that meet without overlap."""
    folder = tmp_path_factory.mktemp("divided")
    whole, wcs = np.random.default_rng(1).normal(size=(240, 300)).astype(np.float32), tan_wcs((240, 300), angle_deg=20)
    write(folder / "whole.fits", whole, wcs)
    (folder / "tiles").mkdir()
    for i, x0 in enumerate((0, 90, 200)):
        for j, y0 in enumerate((0, 130)):
            part = whole[y0 : (130, 240)[j], x0 : (90, 200, 300)[i]]
            write(folder / "tiles" / f"t{i}{j}.fits", part, moved(wcs, x0, y0))
    return folder, whole, wcs


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 299), st.floats(0, 239)), min_size=1, max_size=6), st.integers(8, 90))
def test_a_cutout_across_borders_is_that_of_the_undivided_mosaic(divided, tmp_path, places, size):
    folder, _whole, wcs = divided
    ra, dec = wcs.all_pix2world(*np.array(places).T, 0)
    ids = [f"g{k}" for k in range(len(ra))]
    options = ReadSettings(catalogue=listed(tmp_path / "c.ecsv", id=ids, ra=ra, dec=dec), cutout_size=size)
    one, many = read_images(folder / "whole.fits", options), read_images(folder / "tiles", options)
    assert sorted(many.table["id"]) == ids and list(one.table["id"]) == ids
    row = {name: k for k, name in enumerate(many.table["id"])}
    for k, name in enumerate(ids):
        np.testing.assert_array_equal(many.pixels[row[name]], one.pixels[k])
        for column in ("ra", "dec", "pixel_scale_arcsec", "cd11", "cd12", "cd21", "cd22"):
            assert many.table[column][row[name]] == pytest.approx(one.table[column][k], rel=1e-6)


def test_the_originals_of_many_tiles_are_found_again(divided, tmp_path):
    folder, _whole, wcs = divided
    ra, dec = wcs.all_pix2world([89.6, 250, 20], [129.7, 30, 200], 0)
    options = ReadSettings(catalogue=listed(tmp_path / "c.ecsv", ra=ra, dec=dec), cutout_size=40)
    images = read_images(folder / "tiles", options)
    shuffled = images[[2, 0, 1]]
    (tmp_path / "other").symlink_to(folder / "tiles")
    for source_images in (
        SourceImages(shuffled.table, folder / "tiles", options),
        SourceImages(shuffled.table, tmp_path / "other", options, moved_from=folder / "tiles"),
    ):
        for k in range(3):
            np.testing.assert_array_equal(source_images[k], shuffled.pixels[k])
        source_images.close()


# --- tiles that overlap


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory):
    """Two tiles turned by 25 degrees against each other, and where the galaxies on the sky are."""
    folder, shape = tmp_path_factory.mktemp("overlap"), (400, 400)
    one, two = tan_wcs(shape, 150.0, 2.0), tan_wcs(shape, 150.018, 2.004, angle_deg=25)
    rng = np.random.default_rng(3)
    places = np.stack(np.meshgrid(np.arange(30, 700, 37.0), np.arange(30, 500, 37.0)), -1).reshape(-1, 2)
    places = places - [300, 50] + rng.uniform(-4, 4, places.shape)
    ra, dec = one.all_pix2world(*places.T, 0)
    pixels = [np.array(wcs.all_world2pix(ra, dec, 0)) for wcs in (one, two)]
    depths = np.array([np.minimum(p, 399 - p).min(axis=0) for p in pixels])
    inside = depths.max(axis=0) > 16
    ra, dec, depths = ra[inside], dec[inside], depths[:, inside]
    for name, wcs, seed in (("a", one, 1), ("b", two, 2)):
        write(folder / f"{name}.fits", sources(shape, wcs, ra, dec, seed=seed), wcs)
    return folder, ra, dec, depths


def test_what_lies_on_two_tiles_comes_once_from_where_it_is_deepest(overlapping, tmp_path):
    folder, ra, dec, depths = overlapping
    assert ((depths > 16).sum(axis=0) == 2).sum() > 20 and len(ra) > 100
    ids = np.arange(len(ra)).astype(str)
    options = ReadSettings(catalogue=listed(tmp_path / "c.ecsv", id=ids, ra=ra, dec=dec), cutout_size=31)
    images = read_images(folder, options)
    order = images.table["id"].astype(int)
    assert sorted(order) == list(range(len(ra))) and not images.table["flag"].any()
    deepest = np.array(["a.fits", "b.fits"])[depths.argmax(axis=0)]
    clear = np.abs(depths[0] - depths[1]) > 1
    chosen = np.array([Path(name).name for name in images.table["file"]])
    assert (chosen == deepest[order])[clear[order]].all()
    for k, image in enumerate(images.pixels):
        middle = np.array([images.table["mosaic_x"][k], images.table["mosaic_y"][k]])
        expected = middle - np.round(middle - 15)  # in the cut-out
        inner = np.where(np.hypot(*(np.indices(image.shape)[::-1] - expected[:, None, None])) < 9, image, 0)
        assert np.hypot(*(centroid_com(inner) - expected)) < 0.3


def test_where_the_deepest_tile_has_no_data_the_other_does(overlapping, tmp_path):
    folder, ra, dec, depths = overlapping
    k = np.flatnonzero((depths[0] > depths[1] + 20) & (depths[1] > 16))[0]
    for name in ("a", "b"):
        with fits.open(folder / f"{name}.fits") as units:
            if name == "a":
                units[0].data[:] = np.nan
            units.writeto(tmp_path / f"{name}.fits")
    options = ReadSettings(catalogue=listed(tmp_path / "c.ecsv", ra=ra[[k]], dec=dec[[k]]), cutout_size=31)
    images = read_images(tmp_path, options)
    assert Path(images.table["file"][0]).name == "b.fits" and images.table["flag"][0] == 0


def test_broken_tiles_are_flagged_rows(overlapping, tmp_path):
    folder, ra, dec, depths = overlapping
    content = (folder / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(content[:100_000])  # the header is whole
    (tmp_path / "b.fits").write_bytes((folder / "b.fits").read_bytes())
    (tmp_path / "c.fits").write_bytes(b"<html>not found</html>")
    options = ReadSettings(catalogue=listed(tmp_path / "c.ecsv", ra=ra, dec=dec), cutout_size=31)
    images = read_images(tmp_path, options)
    assert len(images) == len(ra)
    good = images.table["flag"] == 0
    assert good.sum() >= (depths[1] > 16).sum()
    assert set(images.table["flag"]) == {0, int(Flag.UNREADABLE)}
    assert "header claims" in images.table["flag_text"][~good][0]
    far = ReadSettings(catalogue=listed(tmp_path / "far.ecsv", ra=[10.0], dec=[-40.0]), cutout_size=31)
    row = read_images(tmp_path, far).table[0]
    assert row["flag"] == Flag.NO_DATA and "outside the 3 mosaics; a.fits cannot be read" in row["flag_text"]
    (tmp_path / "b.fits").unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        read_images(tmp_path, options)


@pytest.mark.slow
def test_a_tile_whose_pixels_are_damaged_within(tmp_path):
    shape = (300, 300)
    pixels = np.random.default_rng(0).normal(100, 5, shape).astype(np.float32)
    units = [fits.PrimaryHDU(), fits.CompImageHDU(pixels, tile_shape=(50, 300), quantize_level=16)]
    fits.HDUList(units).writeto(tmp_path / "m.fits.fz")
    content = bytearray((tmp_path / "m.fits.fz").read_bytes())
    content[-30_000:] = bytes(30_000)  # the last tiles of the compression
    (tmp_path / "m.fits.fz").write_bytes(content)
    options = ReadSettings(catalogue=listed(tmp_path / "c.ecsv", x=[100, 100], y=[30, 280]), cutout_size=32)
    images = read_images(tmp_path / "m.fits.fz", options)
    assert images.table["flag"][0] == 0 and images.table["flag"][1] != 0
    np.testing.assert_allclose(images.pixels[0], pixels[15:47, 85:117], atol=2)


def crashing(pixels, side, **options):
    """A file in tiles of HCOMPRESS, of which the last says that it has `side` x `side` pixels: SIGABRT of astropy."""
    unit = fits.CompImageHDU(pixels, compression_type="HCOMPRESS_1", **options)
    whole = bytearray(fits_bytes(fits.PrimaryHDU(), unit))
    last = whole.rindex(b"\xdd\x99\0\0")
    whole[last + 2 : last + 10] = np.array([side, side], ">i4").tobytes()
    return bytes(whole)


def test_tiles_that_crash_the_library_cost_only_their_cutouts(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 9, (600, 300)).astype(np.int16)
    pixels[50:70, 90:115] += 90  # a source
    (tmp_path / "m.fits.fz").write_bytes(crashing(pixels, 300, tile_shape=(50, 300)))
    positions = listed(tmp_path / "c.ecsv", x=[100, 200, 100, 200], y=[30, 30, 580, 580])
    images = read_images(tmp_path / "m.fits.fz", ReadSettings(catalogue=positions, cutout_size=32))
    assert list(images.table["flag"]) == [0, 0, Flag.UNREADABLE, Flag.UNREADABLE]
    # what becomes of memory that was written over is up to chance: mostly SIGABRT, or another error of the library
    texts = [*images.table["flag_text"][2:]]
    assert all("crashed (SIG" in text or "damaged (" in text for text in texts), texts
    np.testing.assert_array_equal(images.pixels[1], pixels[15:47, 185:217])
    found = detect(tmp_path / "m.fits.fz", DetectSettings(part_pix=128))
    assert (found["x"][0], found["y"][0]) == pytest.approx((102, 59.5), abs=4) and found["flag"][0] == 0
    lost = found[found["flag"] != 0]
    assert len(lost) and all(lost["flag"] == Flag.UNREADABLE)
    assert all("crashed (SIG" in text or "damaged (" in text for text in lost["flag_text"]), list(lost["flag_text"])


def test_a_mosaic_in_which_much_crashes_is_given_up(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 9, (256, 1280)).astype(np.int16)
    unit = fits.CompImageHDU(pixels, tile_shape=(128, 128), compression_type="HCOMPRESS_1")
    whole = bytearray(fits_bytes(fits.PrimaryHDU(), unit))
    starts = [found.start() for found in re.finditer(rb"\xdd\x99\0\0", whole)]
    assert len(starts) == 20
    for start in starts[:-1]:
        whole[start + 2 : start + 10] = np.array([300, 300], ">i4").tobytes()
    (tmp_path / "m.fits").write_bytes(whole)
    asked = []
    really = mosaic_module.part_of
    monkeypatch.setattr(mosaic_module, "part_of", lambda unit, part: asked.append(part) or really(unit, part))
    positions = listed(tmp_path / "c.ecsv", x=[*range(64, 1280, 128)] * 4, y=[64] * 20 + [192] * 20)
    images = read_images(tmp_path / "m.fits", ReadSettings(catalogue=positions, cutout_size=32))
    assert len(images) == 40 and all(images.table["flag"] == Flag.UNREADABLE)
    assert len(asked) == MOST_CRASHES == len(set(map(str, asked)))


def test_a_psf_in_compressed_tiles_that_crashes_the_library_is_a_sentence(tmp_path):
    psf = (100 * np.exp(-(np.hypot(*np.indices((21, 21)) - 10.0) ** 2) / 8)).astype(np.int16)
    unit = fits.CompImageHDU(psf, compression_type="HCOMPRESS_1", tile_shape=(21, 21))
    (tmp_path / "p.fits").write_bytes(fits_bytes(fits.PrimaryHDU(), unit))
    np.testing.assert_allclose(read_psf(tmp_path / "p.fits").at(), psf / psf.sum(), rtol=1e-6)
    (tmp_path / "p.fits").write_bytes(crashing(psf, 50, tile_shape=(21, 21)))
    with pytest.raises(ValueError, match=r"cannot be read as FITS \(The library that reads it crashed \(SIG"):
        read_psf(tmp_path / "p.fits")


def test_several_images_in_one_file_are_tiles(divided, tmp_path):
    _, whole, wcs = divided
    units = [fits.PrimaryHDU()]
    units += [fits.ImageHDU(whole[:, x : x + 150], moved(wcs, x, 0).to_header(), name=f"CCD{x}") for x in (0, 150)]
    fits.HDUList(units).writeto(tmp_path / "camera.fits")
    ra, dec = wcs.all_pix2world([60, 240], [100, 100], 0)
    options = ReadSettings(catalogue=listed(tmp_path / "c.ecsv", ra=ra, dec=dec), cutout_size=20)
    images = read_images(tmp_path / "camera.fits", options)
    assert [name.rpartition("/")[2] for name in images.table["file"]] == ["camera.fits[1]", "camera.fits[2]"]
    np.testing.assert_array_equal(images.pixels[1], whole[91:111, 231:251])
    names = listed(tmp_path / "xy.ecsv", x=[60, 90], y=[100, 100], file=["camera.fits[1]", "camera.fits[2]"])
    np.testing.assert_array_equal(
        read_images(tmp_path, ReadSettings(catalogue=names, cutout_size=20)).pixels[1], whole[91:111, 231:251]
    )


def test_pixel_positions_in_several_files_need_their_names(overlapping, tmp_path):
    folder = overlapping[0]
    options = ReadSettings(catalogue=listed(tmp_path / "c.ecsv", x=[50], y=[60]), cutout_size=20)
    with pytest.raises(ValueError, match="column 'file'"):
        read_images(folder, options)


# --- masks, weights, variances


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["WHT", "IVAR", "VAR", "ERR"])
def test_noise_and_missing_pixels_are_those_of_the_map(tmp_path, kind, packed):
    rng, shape = np.random.default_rng(5), (400, 600)
    sigma = np.where(np.arange(600) < 300, 2.0, 5.0) * np.ones(shape)
    pixels = rng.normal(0, sigma).astype(np.float32)
    noise = {"WHT": 7.3 / sigma**2, "IVAR": 1 / sigma**2, "VAR": sigma**2, "ERR": sigma}[kind].astype(np.float32)
    noise[95:105, 95:105] = 0  # no data, whatever the pixels are
    mask = np.zeros(shape, np.uint8)
    mask[100:110, 400:404] = 3
    if packed:
        parts = [fits.CompImageHDU(pixels, name="SCI", quantize_level=0, compression_type="GZIP_2")]
        parts += [fits.CompImageHDU(noise, name=kind, quantize_level=0, compression_type="GZIP_2")]
        parts += [fits.CompImageHDU(mask, name="MASK")]
        path = tmp_path / "m.fits.fz"
        fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(path)
    else:
        path = write(tmp_path / "m.fits", pixels, **{kind: noise, "MASK": mask})
    options = ReadSettings(catalogue=listed(tmp_path / "c.ecsv", x=[100, 400, 500], y=[100, 100, 300]), cutout_size=32)
    images = read_images(path, options)
    np.testing.assert_allclose(images.table["noise_sigma"], [2, 5, 5], rtol=0.05 if kind == "WHT" else 1e-6)
    missing = np.isnan(images.pixels)
    assert missing[0].sum() == 100 and missing[1].sum() == 40 and not missing[2].any()
    assert missing[0][10:20, 10:20].all()
    np.testing.assert_array_equal(images.pixels[2], pixels[285:317, 485:517])


def test_frayed_borders_of_weights_are_missing(tmp_path):
    rng, shape = np.random.default_rng(6), (300, 300)
    weight = np.ones(shape, np.float32)
    weight[:, :40] = 0.05  # 4.5 times the noise
    path = write(tmp_path / "m.fits", rng.normal(size=shape).astype(np.float32) / np.sqrt(weight), WEIGHT=weight)
    options = ReadSettings(catalogue=listed(tmp_path / "c.ecsv", x=[60], y=[100]), cutout_size=64)
    assert np.isnan(read_images(path, options).pixels[0]).all(axis=0).sum() == 11


def test_a_map_that_was_never_filled_says_nothing(tmp_path):
    pixels = np.random.default_rng(7).normal(size=(64, 64)).astype(np.float32)
    path = write(tmp_path / "m.fits", pixels, ERR=np.zeros_like(pixels))
    options = ReadSettings(catalogue=listed(tmp_path / "c.ecsv", x=[32], y=[32]), cutout_size=20)
    for images in (read_images(path), read_images(path, options)):
        assert np.isfinite(images.pixels).all() and "noise_sigma" not in images.table.colnames


def test_small_files_have_their_noise_too(tmp_path):
    pixels = np.random.default_rng(8).normal(0, 3, (40, 40)).astype(np.float32)
    variance = np.full(pixels.shape, 9.0)
    variance[0, 0] = 0
    images = read_images(write(tmp_path / "m.fits", pixels, VARIANCE=variance))
    assert images.table["noise_sigma"][0] == pytest.approx(3) and np.isnan(images.pixels).sum() == 1


def test_stated_noise_is_that_of_the_sky_where_a_galaxy_fills_its_stamp(tmp_path):
    """Its light looks like noise. What is stated counts, unless it is absurd, as a variance in other units."""
    light = draw_galaxy(shapes.ellipse(0.7), Sersic(1), size=48, radius_pix=14, flux=60_000)
    pixels = (light + np.random.default_rng(9).normal(0, 2, light.shape)).astype(np.float32)
    tables = [
        frame_galaxies(read_images(write(tmp_path / "m.fits", pixels, **units))).table
        for units in ({}, {"VAR": np.full(pixels.shape, 4.0)}, {"VAR": np.full(pixels.shape, 4e4)})
    ]
    alone, stated, absurd = (table["sky_sigma"][0] for table in tables)
    assert alone > 1.5 * 2 and stated == pytest.approx(2) and absurd == alone
    assert tables[1]["snr"][0] > 1.5 * tables[0]["snr"][0]


# --- of any size


@pytest.mark.slow
def test_a_mosaic_of_30000_pixels_a_side_is_not_read_whole(tmp_path):
    path, side = tmp_path / "huge.fits", 30_000
    wcs = tan_wcs((side, side))
    header = fits.PrimaryHDU(np.zeros((1, 1), np.float32), wcs.to_header()).header
    header["NAXIS1"] = header["NAXIS2"] = side
    start = header.tostring().encode()
    with path.open("wb") as file:  # holes take no room on the disk
        file.write(start)
        for y in (9_000, 20_000):
            file.seek(len(start) + 4 * (y * side + 14_990))
            file.write(np.arange(20, dtype=">f4").tobytes())
        file.truncate(-(-(len(start) + 4 * side**2) // 2880) * 2880)
    x, y = np.random.default_rng(0).uniform(50, side - 50, (2, 100))
    x[:3], y[:3] = [15_000, 15_000, 100], [9_000, 20_000, 29_000]
    catalogue = listed(tmp_path / "c.ecsv", **dict(zip(("ra", "dec"), wcs.all_pix2world(x, y, 0), strict=True)))
    script = (
        "import resource, sys\n"
        "from emeraldcut.images import ReadSettings, read_images\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"images = read_images({str(path)!r}, ReadSettings(catalogue={catalogue!r}, cutout_size=64))\n"
        "assert (images.pixels[:3].max(axis=(1, 2)) == [19, 19, 0]).all()\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 50  # MB; the mosaic has 3.6 GB


# --- catalogues of many files


def hats(folder, ra, dec, **columns):
    """A catalogue in the folders of HATS: a file for a third of the sky each, here."""
    for k in range(3):
        part = (ra >= 120 * k) & (ra < 120 * (k + 1))
        data = {"_healpix_29": np.arange(part.sum()), "RAJ2000": ra[part], "DEJ2000": dec[part]}
        data |= {name: values[part] for name, values in columns.items()}
        data["nested"] = [[1.0]] * int(part.sum())
        place = folder / "dataset" / "Norder=1" / "Dir=0"
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(data), place / f"Npix={k}.parquet", row_group_size=100)
    pq.write_table(pa.table({"RAJ2000": ra[:5], "DEJ2000": dec[:5]}), folder / "dataset" / "data_thumbnail.parquet")
    (folder / "dataset" / "_metadata").write_bytes(b"not ours to read")
    (folder / "hats.properties").write_text("obs_collection=x\nhats_col_ra=RAJ2000\nhats_col_dec=DEJ2000\n")
    return folder


@pytest.mark.parametrize("middle", [150.0, 0.0])
def test_of_a_hats_catalogue_the_rows_on_the_mosaics_are_taken(tmp_path, middle):
    rng, shape, n = np.random.default_rng(2), (300, 300), 3000
    ra, dec = rng.uniform(0, 360, n), rng.uniform(-80, 80, n)
    ra[::10], dec[::10] = (middle + rng.uniform(-0.02, 0.02, n // 10)) % 360, 2 + rng.uniform(-0.02, 0.02, n // 10)
    order = np.argsort(ra)
    ra, dec = ra[order], dec[order]
    (tmp_path / "tiles").mkdir()
    inside = np.zeros(n, bool)
    for name, shift in (("a", -0.01), ("b", 0.01)):
        wcs = tan_wcs(shape, (middle + shift) % 360)
        write(tmp_path / "tiles" / f"{name}.fits", rng.normal(size=shape).astype(np.float32), wcs)
        inside |= wcs.footprint_contains(SkyCoord(ra, dec, unit="deg"))
    collection = tmp_path / "sky"
    hats(collection / "main", ra, dec, ID=np.arange(n), z=rng.uniform(size=n))
    hats(collection / "main_10arcs", ra, dec, ID=np.arange(n), z=np.zeros(n))  # a margin, which repeats rows
    (collection / "collection.properties").write_text("obs_collection=sky\nhats_primary_table_url=main\n")
    for catalogue in (collection, collection / "main"):
        images = read_images(tmp_path / "tiles", ReadSettings(catalogue=str(catalogue), cutout_size=16))
        assert 20 < inside.sum() < 400
        assert sorted(images.table["id"].astype(int)) == list(np.flatnonzero(inside))
        assert (images.table["z"] > 0).all() and "nested" not in images.table.colnames
    assert open_images(tmp_path / "tiles", ReadSettings(catalogue=str(collection), limit=7)).n_images == 7


def test_catalogue_folders_that_do_not_help(tmp_path, divided):
    folder = divided[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no Parquet"):
        read_images(folder / "tiles", ReadSettings(catalogue=str(tmp_path / "empty")))
    hats(tmp_path / "far", np.array([10.0, 200.0, 300.0]), np.array([-50.0, -51.0, -52.0]))
    with pytest.raises(NoImagesError, match="no rows on these mosaics"):
        read_images(folder / "tiles", ReadSettings(catalogue=str(tmp_path / "far")))
    (tmp_path / "far" / "dataset" / "Norder=1" / "Dir=0" / "Npix=0.parquet").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="Npix=0.parquet"):
        read_images(folder / "tiles", ReadSettings(catalogue=str(tmp_path / "far")))


def test_the_box_around_tiles_holds_their_corners(tmp_path):
    for ra, dec in ((0.0, 10.0), (359.99, -60.0), (200.0, 89.5), (40.0, 70.0)):
        wcs = tan_wcs((200, 300), ra, dec, angle_deg=30)
        write(tmp_path / f"{ra}.fits", np.zeros((200, 300), np.float32), wcs)
        (low, high), east = Tiles([tmp_path / f"{ra}.fits"]).box()
        for corner_ra, corner_dec in wcs.calc_footprint():
            assert low <= corner_dec <= high
            assert any(west <= corner_ra <= far for west, far in east)
    assert len(tiles_in(tmp_path / "40.0.fits")) == 1


def test_cutouts_are_counted_in_bytes(monkeypatch, tmp_path):
    """As all images are: a chunk holds as many as there is room for, and at least one."""
    field = np.random.default_rng(0).normal(size=(80, 80)).astype(np.float32)
    places = Table({"id": [str(k) for k in range(7)], "x": [40.0] * 7, "y": [40.0] * 7})
    fits.writeto(tmp_path / "m.fits", field)
    for room, sizes in ((10**9, [5, 2]), (3 * 4 * 20 * 20 + 1, [3, 3, 1]), (1, [1] * 7)):
        monkeypatch.setattr("emeraldcut.images.tiles.CHUNK_BYTES", room)
        assert [len(part) for part in cut_out(Tiles([tmp_path / "m.fits"]), places, 20, 5)] == sizes
