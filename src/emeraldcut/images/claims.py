"""Claims: what a file says that it holds, checked against its size and the limits before memory is taken for it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakKeyDictionary

from emeraldcut.data.flags import Flag
from emeraldcut.images.options import DEFAULT, PictureSettings
from emeraldcut.runs.fits_headers import FitsFile, NotFits, Packed, Plain, Tiles, walk
from emeraldcut.runs.reading import LARGEST_COMPRESSION, Unpadded, open_regular, unpacker

# A file that was cut short has lost some of its planes; one that has fewer than one in so many never had them.
MOST_PLANES_LOST = 1000


class BadImage(Exception):
    """An image that cannot be used: the flag to set, and one sentence of detail."""

    def __init__(self, flag: Flag, detail: str = "") -> None:
        super().__init__(detail)
        self.flag, self.detail = flag, detail

    def __reduce__(self) -> tuple[Any, ...]:  # by which it comes through from another process
        return BadImage, (self.flag, self.detail)


@dataclass(frozen=True)
class Claim:
    """What a file says that it holds.

    Attributes
    ----------
    planes : int
        Images, or bands of one.
    shape : tuple of int
        Of each of them, y first; with colours last where they belong together.
    item_bytes : float
        Of one value.
    stored_bytes : int
        That the file has for them.
    compression : float
        How many times smaller its way of packing can make data; 1 for what is not packed.
    file_bytes : int
        Of the whole file, if that is more, to be said.
    """

    planes: int
    shape: tuple[int, ...]
    item_bytes: float
    stored_bytes: int
    compression: float = 1.0
    file_bytes: int = 0

    @property
    def plane_bytes(self) -> float:
        """Of one plane in memory."""
        return math.prod(map(float, self.shape)) * self.item_bytes

    @property
    def whole_planes(self) -> int:
        """How many of the planes the file can hold, from the first on."""
        if self.plane_bytes <= 0:
            return self.planes
        return int(min(self.stored_bytes * self.compression // self.plane_bytes, self.planes))

    def check(self, settings: PictureSettings = DEFAULT, largest_megapixels: float | None = None) -> None:
        """BadImage where the file cannot hold one plane or nearly all are lost, or where a plane is beyond the limit.

        The limit is that of the settings unless it is given.
        """
        limit = settings.largest_megapixels if largest_megapixels is None else largest_megapixels
        if self.planes < 0 or min(self.shape, default=0) < 0:
            raise BadImage(Flag.UNREADABLE, f"It claims {self.said} pixels.")
        if self.planes and _nearly_all_lost(self.planes, self.whole_planes):
            there = max(self.file_bytes, self.stored_bytes)
            detail = (
                f"It is truncated or damaged: its header claims {self.said} pixels, the file has only {there} bytes."
            )
            raise BadImage(Flag.UNREADABLE, detail)
        if math.prod(map(float, self.shape)) > limit * 1e6:
            raise BadImage(Flag.UNREADABLE, too_large(self.shape, limit))

    def check_together(self, settings: PictureSettings = DEFAULT) -> None:
        """BadImage where all planes, which are unpacked at one time, are beyond the limit of the settings."""
        self.check(settings)
        check_unpacked(self.planes * self.plane_bytes, settings)

    @property
    def said(self) -> str:
        """The claim in words: planes x pixels along x x pixels along y."""
        sides = [*reversed(self.shape[:2]), *self.shape[2:]]
        return " x ".join(str(n) for n in ([self.planes] if self.planes != 1 else []) + sides)


def _nearly_all_lost(planes: int, there: int) -> bool:
    """Whether so few planes of an image are there that they never were."""
    return there < max(planes / MOST_PLANES_LOST, min(planes, 1))


def too_large(shape: tuple[int, ...], limit: float) -> str:
    """Why an image (ny, nx, ...) is not read that has more than `limit` million pixels, and what to do."""
    return (
        f"Its {shape[1]:,} x {shape[0]:,} pixels are more than the limit of {limit:g} million; raise it with "
        "--largest-megapixels, or if it is a mosaic, `emeraldcut detect` makes a --catalogue."
    )


def check_unpacked(number: float, settings: PictureSettings = DEFAULT) -> None:
    """BadImage for what unpacks to more bytes than the settings allow."""
    if number > settings.largest_unpacked_gb * 1e9:
        raise BadImage(
            Flag.UNREADABLE,
            f"It unpacks to more than the limit of {settings.largest_unpacked_gb:g} GB; raise it with "
            "--largest-unpacked-gb if that is right.",
        )


# --- FITS


def fits_file(path: Path, settings: PictureSettings = DEFAULT) -> FitsFile:
    """Walks through the headers of a FITS file. A compressed file is unpacked to its end, where its checksum is.

    Raises BadImage for a header without an end or with axes that cannot be, and for what unpacks to more than
    `settings.largest_unpacked_gb`; OSError, EOFError, zlib.error or lzma.LZMAError where it cannot be unpacked.
    """
    status = os.stat(path)
    known = _known(path, (status.st_mtime_ns, status.st_size, status.st_ino))
    if not known:
        with open_regular(path) as file:
            opened = unpacker(file.peek(8))
            try:
                if opened is None:
                    known.append(walk(Plain(file, status.st_size), status.st_size))
                else:
                    with opened(Unpadded(file), "rb") as content:
                        limited = Packed(content, partial(check_unpacked, settings=settings))
                        known.append(walk(limited, status.st_size))
            except NotFits as error:
                raise BadImage(Flag.UNREADABLE, str(error)) from None
    check_unpacked(known[0].unpacked_bytes, settings)
    return known[0]


def remember(path: Path, file: BinaryIO) -> None:
    """Walks through the headers of an open FITS file, which is not compressed, so that `fits_file` need not open it."""
    status = os.fstat(file.fileno())
    known = _known(path, (status.st_mtime_ns, status.st_size, status.st_ino))
    if not known:
        file.seek(0)
        with suppress(NotFits):  # which `fits_file` raises
            known.append(walk(Plain(file, status.st_size), status.st_size))


@lru_cache(32)
def _known(path: Path, changed: tuple[int, ...]) -> list[FitsFile]:
    """Where to keep what a file holds, until it is changed or many others were read."""
    return []


class Cards(Mapping[str, Any]):
    """The cards of a FITS header by their names, each parsed once.

    Most that are asked for are not there, which takes a header of astropy as long to find as one that is.
    """

    def __init__(self, header: Any) -> None:
        self.header = header
        self._values: dict[str, Any] = dict.fromkeys(header, _UNREAD)

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        if value is _UNREAD:
            value = self._values[name] = self.header[name]
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a card; `default` if it is not there."""
        return self[name] if name in self._values else default

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """What `shape_of` says."""
        shape = [int(self.get(f"NAXIS{i}", 0)) for i in range(int(self.get("NAXIS", 0)), 0, -1)]
        while len(shape) > 2 and shape[0] == 1:
            shape = shape[1:]
        return tuple(shape)

    @property
    def comments(self) -> Any:
        """Those of the cards, by their names."""
        return self.header.comments


_UNREAD = object()
_cards: WeakKeyDictionary[Any, Cards] = WeakKeyDictionary()


def cards_of(unit: Any) -> Cards:
    """The cards of a unit of an open FITS file, as they were when they were asked for first."""
    cards = _cards.get(unit)
    if cards is None:
        cards = _cards[unit] = Cards(unit.header)
    return cards


def file_of(unit: Any) -> Path | None:
    """The file that a unit is in, if it is in one."""
    info = unit.fileinfo()
    return Path(info["file"].name) if info and info["file"].name else None


def in_tiles(unit: Any) -> bool:
    """Whether a unit of an open FITS file is an image in compressed tiles."""
    return hasattr(unit, "tile_shape")


def shape_of(unit: Any) -> tuple[int, ...]:
    """Axis lengths of an image unit, y first, from its header alone; leading axes of length 1 are dropped."""
    return cards_of(unit).shape


def check_claim(unit: Any, path: Path, largest_megapixels: float = DEFAULT.largest_megapixels) -> None:
    """BadImage if the header of a unit claims more data than its file can hold, before memory is taken for it.

    Of a stack, some planes must be there.
    """
    shape, about = shape_of(unit), fits_file(path, OPENED)
    packed = in_tiles(unit)
    if packed:
        _check_tiles(about.tiles.get((unit.fileinfo() or {}).get("hdrLoc", -1)), math.prod(shape[:-2]))
    before = 0 if packed or about.is_compressed else unit.fileinfo()["datLoc"]
    claim = Claim(
        math.prod(shape[:-2]),
        shape[-2:],
        abs(int(cards_of(unit)["BITPIX"])) / 8,
        about.unpacked_bytes - before,
        LARGEST_COMPRESSION if packed else 1.0,
        about.file_bytes,
    )
    claim.check(largest_megapixels=largest_megapixels)


def _check_tiles(tiles: Tiles | None, planes: int) -> None:
    """BadImage where the table of a packed image has so few rows that it cannot hold its planes."""
    if tiles and tiles.claimed and _nearly_all_lost(planes, tiles.rows * planes // tiles.claimed):
        detail = f"its header claims {tiles.claimed:,} compressed tiles, its table has {tiles.rows:,}."
        raise BadImage(Flag.UNREADABLE, f"It is truncated or damaged: {detail}")


OPENED = PictureSettings(largest_unpacked_gb=1e6)  # the limit was checked when the file was opened
