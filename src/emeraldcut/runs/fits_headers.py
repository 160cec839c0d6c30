"""The headers of FITS files, walked through: what a file holds, before a library follows what they claim."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

BLOCK_BYTES, CARD_BYTES = 2880, 80  # of FITS
LONGEST_HEADER_BYTES = 1000 * BLOCK_BYTES  # 36,000 cards; those of stacks with all their history have some thousand
MOST_UNITS = 10_000  # of a FITS file; the largest of surveys have some hundred
MOST_AXES = MOST_COLUMNS = 999  # by the FITS standard


class NotFits(ValueError):
    """What is wrong with a FITS file, in one sentence."""


class Tiles(NamedTuple):
    """How many compressed tiles the axes of an image ask for, and how many rows its table has, of one tile each."""

    claimed: int
    rows: int


@dataclass(frozen=True)
class FitsFile:
    """What the headers of a FITS file say of it as a whole.

    Attributes
    ----------
    units : int
    file_bytes, unpacked_bytes : int
        Its length, and where it is compressed that when it is unpacked.
    is_compressed : bool
        Whether it is so as a whole.
    tiles : dict
        Of its images in compressed tiles, by the byte at which their headers begin.
    """

    units: int
    file_bytes: int
    unpacked_bytes: int
    is_compressed: bool
    tiles: dict[int, Tiles] = field(default_factory=dict)

    @property
    def is_packed(self) -> bool:
        """Whether some of its images are in compressed tiles."""
        return bool(self.tiles)


class Plain:
    """A file whose parts can be passed over."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self.place = file, size, 0
        self._at = 0  # in the file, which is moved when something is read

    def read(self, number: int) -> bytes:
        """The next bytes."""
        if self.place >= self._size:
            return b""
        if self._at != self.place:
            self._file.seek(self.place)
        data = self._file.read(number)
        self.place += len(data)
        self._at = self.place
        return data

    def skip(self, number: int) -> int:
        """Passes over bytes; returns how many there were."""
        there = max(min(number, self._size - self.place), 0)
        self.place += there
        return there


class Packed:
    """The same of what a compressed file unpacks to; `check` is told how long it is so far, and may raise an error."""

    def __init__(self, file: Any, check: Callable[[int], None]) -> None:
        self._file, self._check, self.place = file, check, 0

    def read(self, number: int) -> bytes:
        """The next bytes."""
        data = bytes(self._file.read(number))
        self.place += len(data)
        self._check(self.place)
        return data

    def skip(self, number: int) -> int:
        """Passes over bytes; returns how many there were."""
        start = self.place
        while number > self.place - start and self.read(min(2**20, number - (self.place - start))):
            pass
        return self.place - start


def walk(file: Plain | Packed, file_bytes: int) -> FitsFile:
    """From unit to unit of a FITS file of that length; NotFits for a header without an end or a false claim."""
    units, tiles, begins = 0, {}, 0
    while (header := _header(file, first=not units)) is not None:
        if (found := _pass_over(header, file)) is not None:
            tiles[begins] = found
        units, begins = units + 1, file.place
        if units > MOST_UNITS:
            raise NotFits(f"It has more than {MOST_UNITS:,} units.")
    start = file.place
    if file.skip(LONGEST_HEADER_BYTES) == LONGEST_HEADER_BYTES and file.read(1):
        raise NotFits(f"After its last unit, at byte {start:,}, more follows that is no FITS.")
    return FitsFile(units, file_bytes, file.place, isinstance(file, Packed), tiles)


CARD = re.compile(
    rb"(SIMPLE|XTENSION|BITPIX|Z?NAXIS\d*|PCOUNT|GCOUNT|GROUPS|TFIELDS|ZIMAGE|ZBITPIX|ZTILE\d+) *= *([^/]*)"
)
END = re.compile(rb"END([^A-Z0-9_-]|$)")
_E, _FIRST = ord("E"), frozenset(b"SXBNZPGT")  # letters with which END and these cards begin


def _header(file: Plain | Packed, *, first: bool) -> dict[str, str] | None:
    """The cards of a header that say how much data follow; None where no unit begins."""
    cards: dict[str, str] = {}
    begun = 0
    while block := file.read(BLOCK_BYTES):
        if not begun and not block.startswith(b"SIMPLE  =" if first else b"XTENSION"):
            return None
        begun += len(block)
        for start in range(0, len(block), CARD_BYTES):
            letter = block[start]
            if letter == _E and END.match(block[start : start + CARD_BYTES]):
                return cards
            if letter in _FIRST and (found := CARD.match(block[start : start + CARD_BYTES])):
                cards.setdefault(found[1].decode("ascii"), found[2].decode("ascii", "replace").strip())
        if begun > LONGEST_HEADER_BYTES:
            raise NotFits(f"A header of it has no end within {LONGEST_HEADER_BYTES:,} bytes.")
    if first:
        raise NotFits("It is truncated or damaged (its header has no end).")
    return None


def _pass_over(cards: dict[str, str], file: Plain | Packed) -> Tiles | None:
    """Passes over the data of a unit with these cards; its tiles, if it is an image in compressed tiles."""

    def number(name: str, default: int) -> int:
        text = cards.get(name, str(default))
        try:
            value = int(text)
        except ValueError:
            raise NotFits(f"Its header is damaged ({name} is '{text[:20]}').") from None
        if value < 0 and "BITPIX" not in name:
            raise NotFits(f"Its header claims a negative {name}.")
        return value

    def axes(before: str) -> tuple[int, ...]:
        n = number(f"{before}NAXIS", 0)
        if n > MOST_AXES:
            raise NotFits(f"Its header claims {n} axes.")
        return tuple(number(f"{before}NAXIS{k}", 0) for k in range(n, 0, -1))

    if (columns := number("TFIELDS", 0)) > MOST_COLUMNS:  # astropy looks for the cards of each
        raise NotFits(f"Its header claims {columns:,} columns.")
    shape = axes("")
    of_groups = shape[:-1] if cards.get("GROUPS", "F").startswith("T") and shape[-1:] == (0,) else shape
    items = number("GCOUNT", 1) * (number("PCOUNT", 0) + math.prod(of_groups)) if shape else 0
    data_bytes = items * abs(number("BITPIX", 8)) // 8
    file.skip(data_bytes + -data_bytes % BLOCK_BYTES)
    if not cards.get("ZIMAGE", "F").startswith("T"):
        return None
    inside = axes("Z")
    # by the standard tiles are rows of the image unless the header says otherwise
    sides = tuple(number(f"ZTILE{k}", inside[-1] if k == 1 else 1) for k in range(len(inside), 0, -1))
    return Tiles(_number_of_tiles(inside, sides), shape[0] if shape else 0)


def _number_of_tiles(shape: tuple[int, ...], tile: tuple[int, ...]) -> int:
    """NotFits for tiles that are larger than their image: whoever unpacks them takes memory for them."""
    if math.prod(map(float, tile)) > max(math.prod(map(float, shape)), 1.0):
        sides = " x ".join(f"{n:,}" for n in reversed(tile))
        raise NotFits(f"Its header claims tiles of {sides} pixels in a smaller image.")
    return math.prod(-(-n // max(side, 1)) for n, side in zip(shape, tile, strict=True))
