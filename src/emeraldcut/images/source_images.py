"""SourceImages: the images that the rows of a table were made of, found again one at a time."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import finalize

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import UNUSABLE, Flag, describe
from emeraldcut.data.imageset import ImageSet, some
from emeraldcut.images.band_files import ONE_FILE_EACH, read_group
from emeraldcut.images.formats import NO_PIXELS, BadImage, Picture, checked, failed
from emeraldcut.images.one_by_one import OneByOne
from emeraldcut.images.origin import SET_ROW, Origins, stamps_of
from emeraldcut.images.planes import FileGroup
from emeraldcut.images.psf import Psf, psf_or_why
from emeraldcut.images.readers import ReadSettings, folder_groups, mosaic_files, noise_of
from emeraldcut.images.store import (
    BAND_NAME,
    BANDS,
    PIXELS,
    PSF_NUMBER,
    TABLE,
    StoredImages,
    is_stored_set,
)
from emeraldcut.images.tiles import Tiles, first_pixel
from emeraldcut.runs.reading import check_regular
from emeraldcut.runs.stamps import Stamp, stamp_of
from emeraldcut.tables.arrow import from_arrow, rows_of

UNREAD = "_unread"  # column that says why an image could not be read again; empty if it could


class SourceImages:
    """Pixels of single rows of a table that a stage made of the images of `source`, whatever their order now.

    A row says itself where its pixels are, see `Origin`; its id may be anything.

    Parameters
    ----------
    table : Table
        With the columns of `Origin`; of a mosaic `file`, `mosaic_x` and `mosaic_y`, of a set of ours `set_row`.
    source : str or Path
        What `open_images` was given.
    settings : ReadSettings
        Those that the images were read with.
    moved_from : str or Path, optional
        Where `source` was when the table was made, if that is another place: files named in the table are
        looked for at the same place within `source`.
    roots : paths, optional
        Folders in which relative names of files are looked for, besides the current one.

    Raises
    ------
    FileNotFoundError
        There is no `source`.
    """

    def __init__(
        self,
        table: Table,
        source: str | Path,
        settings: ReadSettings = ReadSettings(),
        *,
        moved_from: str | Path | None = None,
        roots: Iterable[Path] = (),
    ) -> None:
        self._roots = (Path(), *roots)
        self._settings, self._moved_from, self._origins = settings, moved_from, Origins(table)
        self._joined = "image_id" in table.colnames  # with a catalogue, in whose order the rows may be
        self._was = str(moved_from or source)
        self._source, self._lock, self._open = self._place(Path(source)), Lock(), ExitStack()
        self._close = finalize(self, self._open.close)  # also where nobody does
        self._own: tuple[Psf | None, float, float] = (None, np.nan, np.nan)  # the PSF last read, and the place on it
        self._stamps: dict[Stamp, None] = {}  # of the files that were read last
        if settings.catalogue is not None and "mosaic_x" in table.colnames:
            self._places = np.stack([numbers(table[name]) for name in ("mosaic_x", "mosaic_y")], axis=1)
            self._tiles = self._open.enter_context(closing(Tiles(mosaic_files(self._source, settings), settings)))
            self._find = self._cutout
        elif self._source.is_dir() and is_stored_set(self._source):
            self._rows = numbers(table[SET_ROW], -1).astype(int) if SET_ROW in table.colnames else _none(table)
            self._open_set()
            self._find = self._stored
        else:
            self._read_as = table["read_as"] if "read_as" in table.colnames else None
            alone, self._of_bands = (self._groups_by_file(join=join) for join in (False, True))

            def group_of(path: Path) -> FileGroup:  # not a method: what is open shall not keep this object alive
                return alone.get(path, FileGroup(path))

            self._files = self._open.enter_context(closing(OneByOne(settings, group_of, settings.text_map_size)))
            self._find = self._from_file

    def _open_set(self) -> None:
        import h5py

        order = np.argsort(self._rows)
        read = rows_of(self._source / TABLE, np.maximum(self._rows[order], 0), ["ny", "nx", PSF_NUMBER])
        self._shapes = np.stack([read["ny"], read["nx"]], axis=1)[np.argsort(order)]
        self._psf_numbers = None
        if PSF_NUMBER in read.colnames:
            self._psf_numbers = np.ma.filled(read[PSF_NUMBER], -1)[np.argsort(order)]
        check_regular(self._source / PIXELS)
        self._images = self._open.enter_context(h5py.File(self._source / PIXELS, "r"))["pixels"]

    @classmethod
    def of_run(
        cls, table: Table, manifest: Mapping[str, Any], *, moved_to: str | None = None, roots: Iterable[Path] = ()
    ) -> SourceImages:
        """Those of a run's table, by what its manifest says of input and settings, or now in `moved_to`."""
        names = [field.name for field in dataclasses.fields(ReadSettings)]
        given = {name: manifest.get(f"settings.{name}") for name in names}
        settings = ReadSettings(**{name: value for name, value in given.items() if value is not None})
        source = manifest.get("input_1", "")
        moved = {"moved_from": source} if moved_to else {}
        return cls(table, moved_to or source, settings, roots=roots, **moved)

    def close(self) -> None:
        """Closes the files that are open."""
        self._close()

    def __getitem__(self, row: int) -> np.ndarray:
        """Pixels (ny, nx) float32 of a row of the table; shape (0, 0) where they cannot be found or read."""
        return self.picture(row).pixels

    def picture(self, row: int) -> Picture:
        """The image of a row of the table; one without pixels, and why, where it cannot be found or read."""
        try:
            with self._lock:  # a file has one position for all threads
                return self._find(row)
        except Exception as error:  # libraries raise errors of every kind on damaged files
            return failed(error)

    def shown(self, rows: Iterable[int], table: Table) -> ImageSet:
        """The images of some rows for a page, with the colours of pictures in colour and of several bands.

        `table` has these rows.
        """
        pictures = [self._with_bands(int(row)) for row in rows]
        colours = [one.seen_in_colour() if one.pixels.size else None for one in pictures]
        return ImageSet([one.pixels for one in pictures], table, colours=some(colours))

    def _with_bands(self, row: int) -> Picture:
        """The image of a row, with its bands also where it is a part of a mosaic of several, or of a set."""
        picture = self.picture(row)
        if not picture.pixels.size:
            return picture
        with self._lock:
            if self._find == self._cutout:
                x0, y0 = first_pixel(self._places[row], self._settings.cutout_size)
                picture.bands = self._tiles.mosaic(self._tile(row)).bands(x0, y0, self._settings.cutout_size)
            elif self._find == self._stored:
                ny, nx = self._shapes[row]
                planes = self._images.file.get(BANDS, {}).values()
                own = {str(plane.attrs[BAND_NAME]): plane[self._rows[row], :ny, :nx] for plane in planes}
                picture.bands = {name: plane for name, plane in own.items() if np.isfinite(plane).any()}
        return picture

    def chunk(self, rows: range, table: Any) -> ImageSet | StoredImages:
        """The images of some rows, which are now those of an Arrow table; of a set they are only named, not yet read.

        Of a set, the places must rise. The column `UNREAD` says of the others which could not be read.
        """
        if self._find != self._stored or self._joined:
            return self._read(rows, from_arrow(table))
        if self._psf_numbers is not None:
            table = table.append_column(PSF_NUMBER, [self._psf_numbers[rows]])
        for name, sizes in zip(("ny", "nx"), self._shapes[rows].T, strict=True):
            table = table.append_column(name, [sizes])
        return StoredImages(self._source, self._rows[rows], table)

    def _read(self, rows: range, table: Table) -> ImageSet:
        """The images of some rows with their PSFs and noise maps."""
        pictures, psfs = [], []
        self._stamps = {}
        for place, row in enumerate(rows):
            self._own = (None, np.nan, np.nan)
            pictures.append(self.picture(row))
            psf, x, y = self._own
            known = {name: table[name][place] for name in ("psf_file", "pixel_scale_arcsec") if name in table.colnames}
            known = {name: value for name, value in known.items() if not np.ma.is_masked(value)}
            psfs.append(psf_or_why(known, self._settings, psf, x=x, y=y)[0])
        table[UNREAD] = np.array([_why_unread(picture) for picture in pictures], dtype=object)
        images = ImageSet([p.pixels for p in pictures], table, some(psfs), some([noise_of(p) for p in pictures]))
        images.sources = tuple(self._stamps)
        return images

    def _place(self, path: Path) -> Path:
        """Where `path` is, seen from the first root that has it."""
        for root in self._roots:
            if (root / path).exists():
                return root / path
        raise FileNotFoundError(f"there is no file or folder '{path}' to read images from.")

    def _moved(self, name: str) -> str:
        """Where a file within the source is now."""
        if self._moved_from is None or not Path(name).is_relative_to(self._moved_from):
            return name
        return os.path.normpath(self._source / Path(name).relative_to(self._moved_from))

    def _groups_by_file(self, *, join: bool) -> dict[Path, FileGroup]:
        """The files of a folder with their maps, those of several bands together or not, by the path of each."""
        groups = folder_groups(self._source, self._settings, join=join)[0] if self._source.is_dir() else []
        return {one.path: group for group in groups for one in group.bands}

    def _tile(self, row: int) -> int:
        """The mosaic of a row; -1 if it has none."""
        if len(self._tiles) == 1:
            return 0
        origin = self._origins[row]
        if origin is None:
            return -1
        return self._tiles.numbers.get(f"{self._source}{origin.path.removeprefix(self._was)}", -1)

    def _cutout(self, row: int) -> Picture:
        size, number = self._settings.cutout_size, self._tile(row)
        if number < 0 or not np.isfinite(self._places[row]).all():
            return Picture(NO_PIXELS, detail="It is on no mosaic.")
        x0, y0 = first_pixel(self._places[row], size)
        self._own = (self._tiles[number].psf, *self._places[row])
        pixels, noise = self._tiles.cutout(number, x0, y0, size)
        picture = checked(pixels)
        picture.noise = noise
        return picture

    def _stored(self, row: int) -> Picture:
        if self._rows[row] < 0:
            return Picture(NO_PIXELS, detail="The row does not say which image of the set it is.")
        ny, nx = self._shapes[row]
        return Picture(self._images[self._rows[row], :ny, :nx])

    def _from_file(self, row: int) -> Picture:
        origin = self._origins[row]
        if origin is None:
            return Picture(NO_PIXELS, detail="The row names no file.")
        path = Path(self._moved(origin.path))
        path = next((root / path for root in self._roots if (root / path).exists()), path)
        if not path.exists():
            self._stamps[stamp_of(path)] = None
            raise BadImage(Flag.UNREADABLE, "The file is not there any more.")
        if self._read_as is not None and ONE_FILE_EACH in str(self._read_as[row]):
            group = self._of_bands.get(path, FileGroup(path))
            self._stamps |= dict.fromkeys(stamps_of(group))
            picture = next(picture for _, _, picture in read_group(group, self._settings))
        else:
            try:
                picture = self._files.one(path, origin)
            finally:
                self._stamps |= dict.fromkeys(self._files.stamps[path])
        self._own = (picture.psf, np.nan, np.nan)
        return picture


def _why_unread(picture: Picture) -> str:
    """What prevents any measurement of an image; empty if nothing does."""
    if picture.pixels.size and not picture.flag & UNUSABLE:
        return ""
    return picture.detail or describe(picture.flag) or "It has no pixels."


def _none(table: Table) -> np.ndarray:
    return np.full(len(table), -1)
