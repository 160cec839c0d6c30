"""Origin: where the pixels of a row are, which travels with it, so that they are found again whatever its id is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import numpy as np
from astropy.table import Table

from emeraldcut.images.planes import FileGroup
from emeraldcut.runs.stamps import Stamp, stamp_of

FILE, FILE_BYTES, HDU, PLANE = "file", "file_bytes", "hdu", "plane"
SET_ROW = "set_row"  # of an image in a set of ours, whatever file it once was in
ORIGIN_COLUMNS = (FILE, FILE_BYTES, HDU, PLANE, SET_ROW)


@dataclass(frozen=True)
class Origin:
    """A file, and which of its images is meant.

    Attributes
    ----------
    path : str
        As Python names files; bytes that are not UTF-8 are lone surrogates. Empty where something else says it.
    hdu : int or None
        The unit of a FITS file, if that holds several images.
    plane : int or None
        The place, from 0, in the cube, array or table that the file holds; None if it holds one image.
    files : tuple of Stamp
        The file and those of its maps, as they were before they were read.
    """

    path: str
    hdu: int | None = None
    plane: int | None = None
    files: tuple[Stamp, ...] = ()

    def columns(self) -> dict[str, Any]:
        """The same as columns of a row, which `Origins` reads; the path in full where its text cannot be stored."""
        if not self.path:
            return {}
        name = file_text(self.path)
        whole = None if name == self.path else quote(os.fsencode(self.path))
        columns = {FILE: name, FILE_BYTES: whole, HDU: self.hdu, PLANE: self.plane}
        return {name: value for name, value in columns.items() if value is not None}


def file_text(path: Path | str) -> str:
    """A file name as text that can be stored, also where its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def stamps_of(group: FileGroup) -> tuple[Stamp, ...]:
    """The stamps of an image file and of the files of its maps, as they are now."""
    return tuple(map(stamp_of, files_of(group)))


def files_of(group: FileGroup) -> list[Path]:
    """An image file, or those of its bands, and the files of their maps that are read with them."""
    return [path for one in group.bands for path in (one.path, one.mask, one.noise, one.psf) if path is not None]


class Origins:
    """The origins of the rows of a table: `origins[row]`, None where the row names no file."""

    def __init__(self, table: Table) -> None:
        self._columns = {name: table[name] for name in (FILE, FILE_BYTES, HDU, PLANE) if name in table.colnames}

    def removed_from(self, table: Table) -> Table:
        """The table without the columns that only these origins make use of."""
        return table[[name for name in table.colnames if name == FILE or name not in self._columns]]

    def __getitem__(self, row: int) -> Origin | None:
        path = self._value(FILE, row)
        if whole := self._value(FILE_BYTES, row):
            path = os.fsdecode(unquote_to_bytes(str(whole)))
        if not path:
            return None
        hdu, plane = (self._value(name, row) for name in (HDU, PLANE))
        return Origin(str(path), None if hdu is None else int(hdu), None if plane is None else int(plane))

    def _value(self, name: str, row: int) -> Any:
        """None where it is missing."""
        value = self._columns[name][row] if name in self._columns else None
        return None if value is None or np.ma.is_masked(value) or value != value else value
