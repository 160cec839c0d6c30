"""Single images of files, whatever the format: each file is opened once, and planes that rise are read in one go."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.data.flags import Flag
from emeraldcut.images.fits_units import open_fits
from emeraldcut.images.formats import (
    BadImage,
    FitsPictures,
    Picture,
    failed,
    hdf5_bands,
    kind_of,
    npy_pictures,
    read_array,
    read_file,
    read_to_the_end,
)
from emeraldcut.images.options import PictureSettings
from emeraldcut.images.origin import Origin, stamps_of
from emeraldcut.images.parquet import ParquetPictures
from emeraldcut.images.planes import FileGroup
from emeraldcut.images.text_maps import is_text_map, text_map
from emeraldcut.runs.stamps import Stamp

KEPT_OPEN = 4  # files; a pass in the order of the input needs one


class OneByOne:
    """Images by their origins. Files that were read last stay open.

    Parameters
    ----------
    settings : PictureSettings
    group_of : callable
        The files of the maps that go with an image file.
    text_map_size : int
        Side of the images in text maps in pixels.
    """

    def __init__(
        self,
        settings: PictureSettings,
        group_of: Callable[[Path], FileGroup] = FileGroup,
        text_map_size: int = 0,
    ) -> None:
        self._settings, self._group_of, self._text_map_size = settings, group_of, text_map_size
        self._open: OrderedDict[Path, tuple[Callable[[Origin], Picture], ExitStack]] = OrderedDict()
        self.stamps: dict[Path, tuple[Stamp, ...]] = {}  # of what is open, and of what was asked for last

    def close(self) -> None:
        """Closes all files."""
        while self._open:
            self._open.popitem()[1][1].close()

    def one(self, path: Path, origin: Origin) -> Picture:
        """The image that `origin` means, of the file that is at `path` now.

        Raises BadImage if the file has no such image, and that or whatever its library raises if it cannot be read.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path not in self._open:
                while len(self._open) >= KEPT_OPEN:
                    self._open.popitem(last=False)[1][1].close()
                self.stamps = {there: self.stamps[there] for there in self._open}
                self.stamps[path] = stamps_of(self._group_of(path))
                with ExitStack() as stack:
                    find = self._opened(path, stack)
                    self._open[path] = find, stack.pop_all()
            self._open.move_to_end(path)
            try:
                return self._open[path][0](origin)
            except LookupError:
                raise BadImage(Flag.UNREADABLE, "The file does not hold this image any more.") from None

    def one_or_why(self, path: Path, origin: Origin) -> Picture:
        """The same with its origin; one without pixels, and why, where it cannot be read."""
        try:
            picture = self.one(path, origin)
        except Exception as error:  # libraries raise errors of every kind on damaged files
            picture = failed(error)
        picture.origin = Origin(str(path), origin.hdu, origin.plane, self.stamps.get(path, ()))
        return picture

    def _opened(self, path: Path, stack: ExitStack) -> Callable[[Origin], Picture]:
        """A function that reads one image of a file, which is open until the stack is closed."""
        kind, settings = kind_of(path), self._settings
        if kind == "fits":
            group = self._group_of(path)
            read_to_the_end(path)
            units, contents = stack.enter_context(open_fits(group, settings, lazy_load_hdus=False))
            pictures = FitsPictures(units, contents, group, settings)
            return lambda origin: pictures.one(origin.hdu, origin.plane)
        if kind == "hdf5":
            import h5py

            return _hdf5(stack.enter_context(h5py.File(path, "r"))["images"], settings)
        if kind == "parquet":
            rows = ParquetPictures(path, settings)
            stack.callback(rows.close)
            return lambda origin: rows.one(origin.plane or 0)
        if kind == "npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            return lambda origin: next(npy_pictures(array, settings, origin.plane))
        if kind == "" and is_text_map(path):
            return _forwards(lambda: (picture for picture, _ in text_map(path, self._text_map_size)))
        if kind == "tiff":  # its pages are read together
            pages = list(read_file(path, settings))
            return lambda origin: pages[origin.plane or 0]
        return lambda origin: next(read_file(path, settings))


def _hdf5(images: Any, settings: PictureSettings) -> Callable[[Origin], Picture]:
    """Images of a dataset, of which one block of its own chunks, which is unpacked as a whole, is in memory."""
    names, size = hdf5_bands(images), images.chunks[0] if images.chunks else 1
    start, block = -1, images[:0]

    def one(origin: Origin) -> Picture:
        nonlocal start, block
        number = origin.plane or 0
        if number >= len(images):
            raise LookupError(f"it has no image {number}")
        if number // size * size != start:
            start = number // size * size
            block = images[start : start + size]
        return read_array(block[number - start], settings, names)

    return one


def _forwards(begin: Callable[[], Iterator[Picture]]) -> Callable[[Origin], Picture]:
    """Images of a file that can only be read from its beginning on, which is gone back to where that must be."""
    pictures, place = begin(), -1  # of the last that was read

    def one(origin: Origin) -> Picture:
        nonlocal pictures, place
        number = origin.plane or 0
        if number <= place:
            pictures, place = begin(), -1
        for picture in pictures:
            place += 1
            if place == number:
                return picture
        pictures, place = begin(), -1
        raise LookupError(f"it has no image {number}")

    return one
