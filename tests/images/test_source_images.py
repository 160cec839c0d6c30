"""SourceImages: whatever images came from, each row of a shuffled table finds its own pixels again."""

import os

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from emeraldcut.data import ImageSet
from emeraldcut.images import ReadSettings, read_images, write_images
from emeraldcut.images.source_images import SourceImages
from emeraldcut.tables import write_table

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


SOURCES = [folder_of_files, cube, extensions, hdf5, text_maps, stored, table_of_files, mosaic, parquet]


@pytest.mark.parametrize("make", SOURCES, ids=lambda f: f.__name__)
def test_each_row_finds_its_own_pixels(make, tmp_path):
    source, settings = make(tmp_path / "source")
    images = read_images(source, settings)
    shuffled = images[np.random.default_rng(0).permutation(len(images))]
    source_images = SourceImages(shuffled.table, source, settings)
    for row in range(len(shuffled)):
        np.testing.assert_array_equal(source_images[row], shuffled.pixels[row])
    source_images.close()


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
