"""Matching: which row of a catalogue says what of which image, by the names of files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.images.mosaic import tiles_in
from emeraldcut.tables.catalogues import find_columns
from emeraldcut.tables.column_names import is_id_name
from emeraldcut.tables.identifiers import id_texts

LARGEST_CUTOUT_PIX = 1024  # a side; larger images are mosaics, whatever their names
LOOKED_AT = 12  # images whose size and position tell whether they are what their names say
ONE_EACH = 1.5  # more rows for one image are sources in it


@dataclass(frozen=True)
class Match:
    """Rows and images that belong together.

    Attributes
    ----------
    column : str
        Of the catalogue, that names the images.
    how : str
        What of an image's name it has, in words.
    images : list of list of int
        For each row its images.
    without_row : list of int
        Images that no row has.
    """

    column: str
    how: str
    images: list[list[int]]
    without_row: list[int]

    @property
    def rows(self) -> int:
        """Rows with an image."""
        return sum(map(bool, self.images))

    def sentence(self, catalogue: str, folder: Path) -> str:
        """What is said of it."""
        lacking = len(self.images) - self.rows
        return (
            f"Rows of '{catalogue}' go with images of '{folder}' by {self.how}, as in column '{self.column}': "
            f"{_counted(self.rows, 'row has', 'rows have')} an image, "
            f"{_counted(lacking, 'has', 'have')} none; "
            f"{_counted(len(self.without_row), 'image has', 'images have')} no row."
        )


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def match_names(
    names: Sequence[str], table: Table, given: Mapping[str, str], stem: Callable[[str], str]
) -> Match | None:
    """The images `names`, paths within a folder, that rows of a table go with; None where fewer than half are found.

    By a column of file names if there is one, else by identifiers: the name without its ending (`stem`), or a part of
    it between signs, as in cutout_12345_r.fits.
    """
    found = find_columns(table, given)
    columns = [found[wanted] for wanted in ("file", "id") if wanted in found]
    columns += [name for name in table.colnames if is_id_name(name) and name not in columns]
    stems = [stem(name) for name in names]
    paths = (("the path", list(names)), ("the name", [PurePosixPath(name).name for name in names]))
    bare = (("the path without ending", stems), ("the name without ending", [s.rpartition("/")[2] for s in stems]))
    safe = ("the name without ending", [_safe(s.rpartition("/")[2]) for s in stems])
    parts = ("a part of the name", [_parts(s.rpartition("/")[2]) for s in stems])
    loose = ("the name without ending, but for capitals and signs", [_letters(s.rpartition("/")[2]) for s in stems])
    for column in columns:
        if table[column].dtype.kind not in "OUSiu":
            continue
        values = id_texts(table[column])
        of_file = column == found.get("file")
        kept = [str(PurePosixPath(value)) if value else "" for value in values] if of_file else list(values)
        tries: list[tuple[str, Sequence[str | list[str]], list[str]]]
        tries = [(how, keys, kept) for how, keys in (*paths, *bare)]
        if of_file:
            tries += [(how, keys, [_base(value) for value in kept]) for how, keys in (paths[1], bare[1])]
            tries.append((*bare[1], [stem(_base(value)) for value in kept]))
        else:
            tries.append((*safe, [_safe(value) for value in kept]))
            tries.append((*parts, [_plain(value) for value in kept]))
            if len(set(loose[1])) == len(loose[1]):
                tries.append((*loose, [_letters(value) for value in kept]))
        for how, keys, wanted in tries:
            match = _match(column, how, keys, wanted)
            if match is not None:
                return match
    return None


def _base(path: str) -> str:
    """The name of a file at the end of a path, also of Windows, or of an address."""
    return re.split(r"[\\/=]", path)[-1]


def _letters(name: str) -> str:
    """Letters and digits of a name, in small letters: NGC 1234 is ngc1234. What tells + from - stays."""
    return re.sub(r"[^a-z0-9+-]", "", name.lower())


def _safe(name: str) -> str:
    """A name with one sign for all that file names lack."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", name).strip("_")


def _plain(name: str) -> str:
    """A number without zeros before it; else the name as it is in file names."""
    return name.lstrip("0") or "0" if name.isdigit() else _safe(name)


def _parts(name: str) -> list[str]:
    """What a name has between signs, one word or several that follow each other."""
    words = [word for word in re.split(r"[_\s-]+", name) if word]
    joined = [_safe(name[a:b]) for a, b in _spans(name)]
    return list(dict.fromkeys([*map(_plain, words), *joined]))


def _spans(name: str) -> list[tuple[int, int]]:
    """Where runs of words in a name begin and end."""
    words = [match.span() for match in re.finditer(r"[^_\s-]+", name)]
    return [(first[0], last[1]) for k, first in enumerate(words) for last in words[k : k + 6]]


def _match(column: str, how: str, keys: Sequence[str | list[str]], wanted: Sequence[str]) -> Match | None:
    """Rows whose `wanted` is a key of an image; an image that has several such keys goes with none."""
    known, images = {value for value in wanted if value}, defaultdict(list)
    for number, key in enumerate(keys):
        hits = [key] if isinstance(key, str) else [part for part in key if part in known]
        if len(hits) == 1:
            images[hits[0]].append(number)
    rows = [images.get(value, []) if value else [] for value in wanted]
    taken = {number for row in rows for number in row}
    matched = sum(map(bool, rows))
    if not matched or 2 * max(matched / len(rows), len(taken) / len(keys)) < 1:
        return None
    return Match(column, how, rows, [number for number in range(len(keys)) if number not in taken])


def are_cutouts(match: Match, files: Sequence[Path], table: Table) -> bool:
    """Whether images that have the names of rows are theirs alone, and not mosaics.

    They are small, hardly any has several rows, and where both have a position on the sky, most rows lie in their
    images.
    """
    rows = [row for row, images in enumerate(match.images) if images]
    distinct = {number for images in match.images for number in images}
    if sum(len(match.images[row]) for row in rows) > ONE_EACH * len(distinct):
        return False
    on_sky = {"ra", "dec"} <= set(table.colnames)
    if on_sky:
        ra, dec = numbers(table["ra"]), numbers(table["dec"])
    elif {"x", "y"} <= set(table.colnames) and match.column == "file":  # places in mosaics of these names
        return False
    inside = []
    for row in islice(rows, 0, None, max(len(rows) // LOOKED_AT, 1)):
        tile = tiles_in(files[match.images[row][0]])[0]
        if max(tile.shape) > LARGEST_CUTOUT_PIX:
            return False
        if on_sky and tile.wcs is not None and not tile.fault and np.isfinite(ra[row] + dec[row]):
            inside.append(bool(tile.depth(*tile.to_pixels(ra[row : row + 1], dec[row : row + 1]))[0] > 0))
    return not inside or 2 * sum(inside) >= len(inside)
