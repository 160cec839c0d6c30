"""Sets of ours on disk: what images have besides their pixels comes back."""

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_array_equal

from emeraldcut.data import ImageSet
from emeraldcut.data.flags import Flag
from emeraldcut.exchange.convert import ConvertSettings, convert_images
from emeraldcut.images import open_images, read_images, write_images
from emeraldcut.images.store import PIXELS
from emeraldcut.isophotes import MeasureSettings, measure

RNG = np.random.default_rng(5)
NAMES = ("g", "r'", "z/y")  # the last one is no name that HDF5 allows


def a_set(sizes=((20, 24), (16, 18), (20, 24), (8, 30))) -> ImageSet:
    """Four images; the second has no bands, the third lacks one, the last has one of its own."""
    pixels = [RNG.normal(size=size).astype(np.float32) for size in sizes]
    named = (NAMES, (), NAMES[:2], ("new",))
    bands = [
        {name: RNG.normal(size=size).astype(np.float32) for name in names} or None
        for size, names in zip(sizes, named, strict=True)
    ]
    return ImageSet(pixels, Table({"id": list("abcd")}), bands=bands)


def same_bands(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert list(one) == list(other)
            for name in one:
                assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("size", [1, 2, 4])
def test_bands_come_back(tmp_path, size):
    images = a_set()
    write_images((images[k : k + size] for k in range(0, 4, size)), tmp_path / "set", command="test")
    same_bands(read_images(tmp_path / "set", bands=True).bands, images.bands)
    read = [chunk.bands for chunk in open_images(tmp_path / "set").with_bands().chunks(3)]
    same_bands([one for part in read for one in part], images.bands)
    assert read_images(tmp_path / "set").bands is None


def test_a_damaged_band_is_a_flagged_row(tmp_path):
    write_images(a_set(((24, 24),) * 4), tmp_path / "set", command="test")
    path = tmp_path / "set" / PIXELS
    with h5py.File(path) as file:
        place = file["bands/0"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[place + 40] ^= 0xFF
    path.write_bytes(data)
    with_bands, without = read_images(tmp_path / "set", bands=True), read_images(tmp_path / "set")
    assert (with_bands.table["flag"] & Flag.UNREADABLE).all()
    assert not without.table["flag"].any()


@pytest.mark.parametrize("bands", ["joint", "forced"])
def test_measured_in_bands_from_a_set_as_from_files(tmp_path, bands):
    y, x = np.mgrid[:64, :64] - 31.5
    light = 200 * np.exp(-np.hypot(x, y / 0.6) / 6)
    planes = np.array([light * k + RNG.normal(size=light.shape) for k in (1, 2, 3)], np.float32)
    header = fits.Header({"BANDS": "grz"})
    fits.PrimaryHDU(planes, header).writeto(tmp_path / "cube.fits")
    write_images(read_images(tmp_path / "cube.fits", bands=True), tmp_path / "set", command="test")
    of_file, of_set = (
        measure(read_images(tmp_path / name, bands=True), MeasureSettings(bands=bands)) for name in ("cube.fits", "set")
    )
    for name in ("a4", "a4_err", "axis_ratio", "snr"):
        assert_array_equal(of_file[name], of_set[name])
    convert_images(tmp_path / "set", tmp_path / "out", ConvertSettings(to="fits"))
    with fits.open(next((tmp_path / "out" / "images").glob("*.fits"))) as hdus:
        assert [hdu.header["FILTER"] for hdu in hdus[1:]] == ["g", "r", "z"]
        assert_array_equal(hdus["r"].data, planes[1])
