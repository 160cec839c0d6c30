"""SourceImages: the images that the rows of a table were made of, found again one at a time."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.data.imageset import ImageSet
from emeraldcut.images.band_files import ONE_FILE_EACH, read_group
from emeraldcut.images.formats import NO_PIXELS, BadImage, checked, hdf5_bands, kind_of, read_array
from emeraldcut.images.parquet import parquet_image
from emeraldcut.images.planes import FileGroup
from emeraldcut.images.psf import Psf, psf_of_row
from emeraldcut.images.readers import ReadSettings, folder_groups, mosaic_files, stem_of
from emeraldcut.images.store import (
    PIXELS,
    PSF_NUMBER,
    TABLE,
    StoredImages,
    is_stored_set,
    stored_table,
)
from emeraldcut.images.text_maps import is_text_map, text_map
from emeraldcut.images.tiles import Tiles, first_pixel
from emeraldcut.tables.arrow import from_arrow, rows_of
from emeraldcut.tables.identifiers import id_texts


class SourceImages:
    """Pixels of single rows of a table that a stage made of the images of `source`, whatever their order now.

    Parameters
    ----------
    table : Table
        With `id` and, as far as `open_images` gave them, `file`, `mosaic_x`, `mosaic_y`.
    source : str or Path
        What `open_images` was given.
    settings : ReadSettings
        Those that the images were read with.
    moved_from : str or Path, optional
        Where `source` was when the table was made, if that is another place: files named in the table are
        looked for at the same place within `source`.
    roots : paths, optional
        Folders in which relative names of files are looked for, besides the current one.
    places : (n,) int, optional
        Place of each row among the images of `source`, if it is known; only a set of ours makes use of it.

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
        places: np.ndarray | None = None,
    ) -> None:
        self._roots = (Path(), *roots)
        self._joined = "image_id" in table.colnames  # with a catalogue, whose ids the rows have
        self._ids = id_texts(table["image_id" if self._joined else "id"])
        self._settings, self._moved_from = settings, moved_from
        self._source, self._lock, self._open = self._place(Path(source)), Lock(), ExitStack()
        self._own: tuple[Psf | None, float, float] = (None, np.nan, np.nan)  # the PSF last read, and the place on it
        if settings.catalogue is not None and "mosaic_x" in table.colnames:
            self._places = np.stack([numbers(table[name]) for name in ("mosaic_x", "mosaic_y")], axis=1)
            self._tiles = self._open.enter_context(closing(Tiles(mosaic_files(self._source, settings), settings)))
            self._tile_of = self._tile_numbers(table, Path(moved_from or source))
            self._find = self._cutout
        elif self._source.is_dir() and is_stored_set(self._source):
            import h5py

            if places is None or self._joined:
                stored = id_texts(stored_table(self._source, ["id"])["id"])
                rows = {name: row for row, name in reversed(list(enumerate(stored)))}
                places = np.array([rows.get(name, -1) for name in self._ids], dtype=int)
            self._rows, order = places, np.argsort(places)
            read = rows_of(self._source / TABLE, np.maximum(places[order], 0), ["ny", "nx", PSF_NUMBER])
            self._shapes = np.stack([read["ny"], read["nx"]], axis=1)[np.argsort(order)]
            self._psf_numbers = None
            if PSF_NUMBER in read.colnames:
                self._psf_numbers = np.ma.filled(read[PSF_NUMBER], -1)[np.argsort(order)]
            self._images = self._open.enter_context(h5py.File(self._source / PIXELS, "r"))["pixels"]
            self._find = self._stored
        else:
            self._files = table["file"] if "file" in table.colnames else None
            self._read_as = table["read_as"] if "read_as" in table.colnames else None
            is_folder = self._source.is_dir()
            self._groups, self._of_bands = (
                {
                    str(one.path): group
                    for group in folder_groups(self._source, settings, join=join)[0]
                    for one in group.bands
                }
                if is_folder
                else {}
                for join in (False, True)
            )
            self._find = self._from_file

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
        self._open.close()

    def __getitem__(self, row: int) -> np.ndarray:
        """Pixels (ny, nx) float32 of a row of the table; shape (0, 0) where they cannot be found or read."""
        try:
            with self._lock:  # a file has one position for all threads
                return self._find(row)
        except (BadImage, EOFError, OSError, LookupError, ValueError):
            return NO_PIXELS

    def chunk(self, rows: range, table: Any) -> ImageSet | StoredImages:
        """The images of some rows, which are now those of an Arrow table; of a set they are only named, not yet read.

        Of a set, `places` must rise.
        """
        if self._find != self._stored or self._joined:
            return self._read(rows, from_arrow(table))
        if self._psf_numbers is not None:
            table = table.append_column(PSF_NUMBER, [self._psf_numbers[rows]])
        for name, sizes in zip(("ny", "nx"), self._shapes[rows].T, strict=True):
            table = table.append_column(name, [sizes])
        return StoredImages(self._source, self._rows[rows], table)

    def _read(self, rows: range, table: Table) -> ImageSet:
        """The images of some rows with their PSFs."""
        pixels, psfs = [], []
        for place, row in enumerate(rows):
            self._own = (None, np.nan, np.nan)
            pixels.append(self[row])
            psf, x, y = self._own
            known = {name: table[name][place] for name in ("psf_file", "pixel_scale_arcsec") if name in table.colnames}
            known = {name: value for name, value in known.items() if not np.ma.is_masked(value)}
            psfs.append(psf_of_row(known, self._settings, psf, x=x, y=y)[0])
        return ImageSet(pixels, table, psfs if any(psf is not None for psf in psfs) else None)

    def _place(self, path: Path) -> Path:
        """Where `path` is, seen from the first root that has it."""
        for root in self._roots:
            if (root / path).exists():
                return root / path
        raise FileNotFoundError(f"there is no file or folder '{path}' to read images from.")

    def _tile_numbers(self, table: Table, source: Path) -> list[int]:
        """The mosaic of each row, which was in the file or folder `source` when the table was made."""
        if "file" not in table.colnames or len(self._tiles) == 1:
            return [0] * len(table)
        ends = [str(name).removeprefix(str(source)) for name in table["file"]]
        return [self._tiles.numbers.get(f"{self._source}{end}", -1) for end in ends]

    def _cutout(self, row: int) -> np.ndarray:
        size, number = self._settings.cutout_size, self._tile_of[row]
        if number < 0 or not np.isfinite(self._places[row]).all():
            return NO_PIXELS
        x0, y0 = first_pixel(self._places[row], size)
        self._own = (self._tiles[number].psf, *self._places[row])
        return checked(self._tiles.cutout(number, x0, y0, size)[0]).pixels

    def _stored(self, row: int) -> np.ndarray:
        ny, nx = self._shapes[row]
        return NO_PIXELS if self._rows[row] < 0 else self._images[self._rows[row], :ny, :nx]

    def _from_file(self, row: int) -> np.ndarray:
        if self._files is None or self._files[row] is np.ma.masked:
            return NO_PIXELS
        path = Path(self._files[row])
        if self._moved_from is not None and path.is_relative_to(self._moved_from):
            path = self._source / path.relative_to(self._moved_from)
        packed = re.fullmatch(r"(.+)\[(\d+)\]", str(path))
        if packed and not path.exists():
            return parquet_image(self._place(Path(packed[1])), int(packed[2]), self._settings).pixels
        path = self._place(path)
        number = _number_in_file(str(self._ids[row]), path)
        kind = kind_of(path)
        if kind == "hdf5":
            import h5py

            with h5py.File(path, "r") as file:
                return read_array(file["images"][number], self._settings, hdf5_bands(file["images"])).pixels
        if kind == "" and is_text_map(path):
            maps = text_map(path, self._settings.text_map_size)
            return next(islice(maps, number, None))[0].pixels
        joined = self._read_as is not None and ONE_FILE_EACH in str(self._read_as[row])
        group = (self._of_bands if joined else self._groups).get(str(path), FileGroup(path))
        read = (picture for _, _, picture in read_group(group, self._settings))
        picture = next((p for p in read if p.index is None or p.index == number), None)
        if picture is None:
            return NO_PIXELS
        self._own = (picture.psf, np.nan, np.nan)
        return picture.pixels


def _number_in_file(identity: str, path: Path) -> int:
    """The n of an id NAME#n or, where NAME was there twice, NAME#n#2; NAME is the end of the file's path."""
    wholes = (str(path), stem_of(str(path)))
    found = list(re.finditer(r"#(\d+)(?=#|$)", identity))
    for match in found:
        if any(whole.endswith(identity[: match.start()]) for whole in wholes):
            return int(match[1])
    return int(found[-1][1]) if found else 0
