"""Single images of files, whatever the format: each file is opened once, and planes that rise are read in one go."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from math import inf
from pathlib import Path

from emeraldcut.data.flags import Flag
from emeraldcut.images.claims import BadImage, fits_file
from emeraldcut.images.fits_units import open_fits
from emeraldcut.images.formats import FitsPictures, Picture, failed, kind_of, npy_pictures, read_file
from emeraldcut.images.hdf5 import BLOCK_IMAGES, hdf5_contents, hdf5_pictures
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
            if any(fits_file(one, settings).is_packed for one in (path, group.mask, group.noise) if one is not None):
                return _by_unit(
                    lambda: read_file(path, settings, group)
                )  # which has them unpacked in a process of its own
            units, contents = stack.enter_context(open_fits(group, settings, lazy_load_hdus=False))
            pictures = FitsPictures(units, contents, group, settings)
            return lambda origin: pictures.one(origin.hdu, origin.plane)
        if kind == "hdf5":
            number = (hdf5_contents(path, settings).shape or (0,))[0]
            return _forwards(partial(hdf5_pictures, path, number, settings), near=BLOCK_IMAGES)
        if kind == "parquet":
            rows = ParquetPictures(path, settings)
            stack.callback(rows.close)
            return lambda origin: rows.one(origin.plane or 0)
        if kind == "npy":
            number, read = npy_pictures(path, settings)
            return lambda origin: read(_within(origin.plane or 0, number))
        if kind == "" and is_text_map(path):
            maps = partial(text_map, path, self._text_map_size)
            return _forwards(lambda start: (picture for picture, _ in islice(maps(), start, None)))
        if kind == "tiff":  # its pages are read together
            pages = list(read_file(path, settings))
            return lambda origin: pages[origin.plane or 0]
        return lambda origin: next(read_file(path, settings))


def _within(number: int, end: int) -> int:
    """The number; LookupError if there are not so many."""
    if number >= end:
        raise LookupError(f"it has no image {number}")
    return number


def _forwards(begin: Callable[[int], Iterator[Picture]], near: float = inf) -> Callable[[Origin], Picture]:
    """Images of a file that is best read from its beginning to its end.

    `begin(n)` gives those from the n-th on. One that is no more than `near` ahead is read on to.
    """
    pictures: Iterator[Picture] | None = None
    place = 0  # of the next

    def one(origin: Origin) -> Picture:
        nonlocal pictures, place
        number = origin.plane or 0
        if pictures is None or not place <= number <= place + near:
            pictures, place = begin(number), number
        for picture in pictures:
            place += 1
            if place > number:
                return picture
        pictures = None
        raise LookupError(f"it has no image {number}")

    return one


def _by_unit(begin: Callable[[], Iterator[Picture]]) -> Callable[[Origin], Picture]:
    """Images of a FITS file of which only all can be read, in order; it is read on from the last one that was found."""
    pictures = begin()

    def one(origin: Origin) -> Picture:
        nonlocal pictures
        for _ in range(2):  # to the end, and once more from the beginning
            for picture in pictures:
                place = picture.index if origin.hdu is None else picture.plane
                if (picture.hdu, place) == (origin.hdu, origin.plane) or picture.index is None:
                    return picture
            pictures = begin()
        raise LookupError(f"it has no image {origin.plane} in unit {origin.hdu}")

    return one
