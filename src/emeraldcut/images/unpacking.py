"""Parts of FITS images in compressed tiles, unpacked in a process of their own: damage can crash the library."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from types import EllipsisType
from typing import Any

import numpy as np

from emeraldcut.images.claims import check_claim, file_of, in_tiles
from emeraldcut.runs.apart import first_apart, is_apart

Part = tuple[int | slice, ...] | EllipsisType
KEPT_OPEN = 8  # files, in the other process


def data_of(unit: Any) -> Any:
    """All values of an image unit of an open FITS file, None where it has none.

    BadImage for a claim that cannot be true, Crashed where the library does, or whatever else it raises.
    """
    return part_of(unit, ...) if in_tiles(unit) else unit.data


def part_of(unit: Any, part: Part) -> np.ndarray:
    """A part of an image unit in compressed tiles; errors as of `data_of`."""
    path = file_of(unit)
    if path is not None and part is ...:
        check_claim(unit, path)
    if path is None or is_apart():
        return np.asarray(unit.section[part])
    found = os.stat(path)
    as_it_is = (found.st_mtime_ns, found.st_size, found.st_ino)
    header_at = unit.fileinfo()["hdrLoc"]
    values: np.ndarray = first_apart("emeraldcut.images.unpacking:part_here", str(path), as_it_is, header_at, part)
    return values


_open: OrderedDict[tuple[Any, ...], Any] = OrderedDict()  # by name and state


def part_here(path: str, as_it_is: tuple[int, ...], header_at: int, part: Part) -> Iterator[np.ndarray]:
    """The same of the unit whose header is at a place of a file, in this process, which keeps some files open."""
    from astropy.io import fits

    warnings.simplefilter("ignore")
    key = path, as_it_is
    if key not in _open:
        while len(_open) >= KEPT_OPEN:
            _open.popitem(last=False)[1].close()
        _open[key] = fits.open(path, memmap=False)
    _open.move_to_end(key)
    unit = next(unit for unit in _open[key] if unit.fileinfo()["hdrLoc"] == header_at)
    yield np.ascontiguousarray(unit.section[part])
