"""SourceImages: whatever images came from, each row of a shuffled table finds its own pixels again."""

import os
from contextlib import closing

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from emeraldcut.data import ImageSet
from emeraldcut.images import ReadSettings, one_by_one, read_images, write_images
from emeraldcut.images.one_by_one import OneByOne
from emeraldcut.images.source_images import SourceImages
from emeraldcut.images.text_maps import text_map
from emeraldcut.tables import read_table, write_table
from tests.helpers import fits_bytes, npy_bytes, tan_wcs

N, SIDE = 6, 20
PIXELS = np.random.default_rng(5).normal(100, 10, (N, SIDE, SIDE)).astype(np.float32)


def folder_of_files(path):
    (path / "sub").mkdir(parents=True)
    for i in range(3):
        fits.PrimaryHDU(PIXELS[i]).writeto(path / "sub" / f"g#{i}.fits")
    Image.fromarray(PIXELS[3].astype(np.uint8)).save(path / "g.png")
    np.save(path / "g.npy", PIXELS[4])  # the same name as the picture: ids g, g#2
    fits.PrimaryHDU(PIXELS).writeto(path / "cube.fits")
    return path, ReadSettings()


def cube(path):
    fits.PrimaryHDU(PIXELS).writeto(path.with_suffix(".fits"))
    return path.with_suffix(".fits"), ReadSettings()


def extensions(path):
    units = [fits.PrimaryHDU(), *(fits.ImageHDU(image) for image in PIXELS)]
    fits.HDUList(units).writeto(path.with_suffix(".fits"))
    return path.with_suffix(".fits"), ReadSettings()


def hdf5(path):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["images"] = np.repeat(PIXELS[..., None], 3, axis=-1)
    return path.with_suffix(".h5"), ReadSettings()


def text_maps(path):
    path.mkdir()
    (path / "2df.dat").write_text("".join(f"{value:.6e}\n" for value in PIXELS.ravel()))
    return path / "2df.dat", ReadSettings(text_map_size=SIDE)


def stored(path):
    sizes = [PIXELS[i][: SIDE - i, :] for i in range(N)]
    write_images(ImageSet(sizes, Table({"id": [f"s{i}" for i in range(N)]})), path, command="test")
    return path, ReadSettings()


def table_of_files(path):
    path.mkdir()
    fits.PrimaryHDU(PIXELS[0]).writeto(path / "one.fits")
    fits.PrimaryHDU(PIXELS[1:]).writeto(path / "more.fits")
    table = Table({"file": ["one.fits", "one.fits", "more.fits"], "id": ["NGC 1", "NGC #2", "rest"]})
    return write_table(table, path / "list.csv"), ReadSettings()


def mosaic(path):
    path.mkdir()
    field = np.random.default_rng(1).normal(size=(90, 100)).astype(np.float32)
    fits.PrimaryHDU(field).writeto(path / "field.fits")
    catalogue = Table({"id": ["a", "b", "c"], "x": [50.4, 3.0, 500.0], "y": [20.6, 80.0, 10.0]})
    listed = write_table(catalogue, path / "positions.ecsv")
    return path / "field.fits", ReadSettings(catalogue=str(listed), cutout_size=32)


def parquet(path):
    path.mkdir()
    bands = [[{"band": "r", "array": image.tolist(), "scale": 0.2}] for image in PIXELS]
    table = pa.table({"object_id": [f"o{i}" for i in range(N)], "image": bands})
    pq.write_table(table, path / "train.parquet", row_group_size=2)
    return path, ReadSettings()


def two_cubes_of_one_name(path):
    """Ids such as b#5 name another plane of another cube than the one that a row is of."""
    path.mkdir()
    fits.PrimaryHDU(PIXELS[:3]).writeto(path / "a.fits")
    fits.PrimaryHDU(PIXELS[3:]).writeto(path / "b.fits")
    files = ["a.fits", "b.fits"]
    return write_table(Table({"file": files, "id": ["b#5", "b#5"]}), path / "list.csv"), ReadSettings()


def names_that_are_not_utf8(path):
    path.mkdir()
    for name, pixels in zip((b"caf\xe9.fits", b"caf\xe8.fits", b"caf\xff.npy"), PIXELS, strict=False):
        (path / os.fsdecode(name)).write_bytes(npy_bytes(pixels) if name.endswith(b"npy") else fits_bytes(pixels))
    fits.PrimaryHDU(PIXELS[3:]).writeto(path / os.fsdecode(b"cube\xe9.fits"))
    return path, ReadSettings()


def cubes_in_extensions(path):
    units = [fits.PrimaryHDU(), fits.ImageHDU(PIXELS[:3]), fits.ImageHDU(PIXELS[3:])]
    fits.HDUList(units).writeto(path.with_suffix(".fits"))
    return path.with_suffix(".fits"), ReadSettings(stack=True)


def stack_of_numpy(path):
    np.save(path.with_suffix(".npy"), PIXELS)
    return path.with_suffix(".npy"), ReadSettings()


def pages(path):
    tifffile.imwrite(path.with_suffix(".tif"), PIXELS, photometric="minisblack")
    return path.with_suffix(".tif"), ReadSettings()


def mosaics_that_are_not_utf8(path):
    path.mkdir()
    for k, name in enumerate((b"t\xe9.fits", b"t\xe8.fits")):
        field = np.random.default_rng(k).normal(size=(90, 100)).astype(np.float32)
        header = tan_wcs(field.shape, ra=150 + k).to_header()
        fits.PrimaryHDU(field, header).writeto(path / os.fsdecode(name))
    catalogue = Table({"id": ["a", "b", "c"], "ra": [150.0, 151.0, 150.001], "dec": [2.0, 2.0, 2.0]})
    listed = write_table(catalogue, path.with_name("positions.ecsv"))
    return path, ReadSettings(catalogue=str(listed), cutout_size=32)


SOURCES = [folder_of_files, cube, extensions, hdf5, text_maps, stored, table_of_files, mosaic, parquet]
SOURCES += [two_cubes_of_one_name, names_that_are_not_utf8, cubes_in_extensions, stack_of_numpy, pages]
SOURCES += [mosaics_that_are_not_utf8]


@pytest.mark.parametrize("make", SOURCES, ids=lambda f: f.__name__)
def test_each_row_finds_its_own_pixels(make, tmp_path):
    source, settings = make(tmp_path / "source")
    images = read_images(source, settings)
    shuffled = images[np.random.default_rng(0).permutation(len(images))]
    source_images = SourceImages(shuffled.table, source, settings)
    for row in range(len(shuffled)):
        np.testing.assert_array_equal(source_images[row], shuffled.pixels[row])
    source_images.close()


@pytest.mark.parametrize("ending", ["parquet", "csv", "fits", "vot"])
@pytest.mark.parametrize("make", [two_cubes_of_one_name, names_that_are_not_utf8, stored], ids=lambda f: f.__name__)
def test_a_table_in_any_format_leads_to_its_images(make, ending, tmp_path):
    source, settings = make(tmp_path / "source")
    images = read_images(source, settings)
    table = read_table(write_table(images.table[::-1], tmp_path / f"t.{ending}"))
    with closing(SourceImages(table, source, settings)) as source_images:
        for row in range(len(images)):
            np.testing.assert_array_equal(source_images[row], images.pixels[len(images) - 1 - row])


def test_a_table_of_ours_is_read_image_by_image(tmp_path):
    """As by `convert`: the rows of some planes, of two cubes, and not all planes of their files."""
    source, settings = two_cubes_of_one_name(tmp_path / "source")
    images = read_images(source, settings)
    chosen = images.table[[4, 1]]
    table = write_table(chosen, tmp_path / "candidates.parquet", provenance={"program": "emeraldcut"})
    again = read_images(table)
    assert list(again.table["id"]) == list(chosen["id"]) and list(again.table["plane"]) == [1, 1]
    np.testing.assert_array_equal(again.pixels, PIXELS[[4, 1]])


@pytest.mark.parametrize("make", [cube, hdf5, parquet, text_maps], ids=lambda f: f.__name__)
def test_planes_in_order_open_their_file_once(make, tmp_path, monkeypatch):
    source, settings = make(tmp_path / "source")
    table, opened = read_images(source, settings).table, []
    find = OneByOne._opened
    monkeypatch.setattr(OneByOne, "_opened", lambda files, path, stack: opened.append(path) or find(files, path, stack))
    begun = []
    monkeypatch.setattr(one_by_one, "text_map", lambda *words: begun.append(words) or text_map(*words))
    with closing(SourceImages(table, source, settings)) as source_images:
        for row in range(len(table)):
            assert source_images[row].size
    assert len(opened) == 1 and len(begun) <= 1


def test_a_file_that_holds_other_images_now_says_so(tmp_path):
    source, settings = cube(tmp_path / "source")
    table = read_images(source, settings).table
    fits.PrimaryHDU(PIXELS[:2]).writeto(source, overwrite=True)
    with closing(SourceImages(table, source, settings)) as source_images:
        assert source_images[1].size and not source_images[5].size
        assert source_images.picture(5).detail == "The file does not hold this image any more."
    source.unlink()
    np.save(tmp_path / "other.npy", PIXELS)
    with closing(SourceImages(table, tmp_path, settings)) as source_images:
        assert source_images.picture(0).detail == "The file is not there any more."


def test_images_that_were_moved_are_found_where_they_are_now(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    folder_of_files(old)
    images = read_images(old)
    os.rename(old, new)
    with pytest.raises(FileNotFoundError, match="old"):
        SourceImages(images.table, old)
    source_images = SourceImages(images.table, new, moved_from=old)
    for row in range(len(images)):
        np.testing.assert_array_equal(source_images[row], images.pixels[row])


def test_relative_names_are_looked_for_in_the_roots(tmp_path, monkeypatch):
    folder_of_files(tmp_path / "here" / "cutouts")
    monkeypatch.chdir(tmp_path / "here")
    images = read_images("cutouts")
    monkeypatch.chdir(tmp_path)
    source_images = SourceImages(images.table, "cutouts", roots=[tmp_path / "here"])
    np.testing.assert_array_equal(source_images[0], images.pixels[0])


def test_what_is_gone_or_damaged_is_no_image(tmp_path):
    folder_of_files(tmp_path / "cutouts")
    images = read_images(tmp_path / "cutouts")
    source_images = SourceImages(images.table, tmp_path / "cutouts")
    row = list(images.table["id"]).index("sub/g#0")
    (tmp_path / "cutouts" / "sub" / "g#0.fits").write_bytes(b"damaged")
    assert source_images[row].size == 0
    (tmp_path / "cutouts" / "sub" / "g#0.fits").unlink()
    assert source_images[row].size == 0
