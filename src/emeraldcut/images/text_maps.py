"""The thesis's density maps as text: `2df.dat`, and `2dfn.dat` with their labels, read and written."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path

import numpy as np

from emeraldcut.data.flags import Flag
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.images.claims import BadImage
from emeraldcut.images.formats import NO_PIXELS, Item, Picture, checked, failed
from emeraldcut.images.origin import Origin, file_text
from emeraldcut.runs.reading import open_regular
from emeraldcut.runs.stamps import stamp_of
from emeraldcut.tables.files import THESIS_CLASSES

MAPS, LABELS = "2df.dat", "2dfn.dat"
FIRST_LINE_BYTES, LONGEST_LINE = 1000, 100  # one number each
NO_LINES = BadImage(
    Flag.UNREADABLE,
    f"A line of it has more than {LONGEST_LINE} letters, where a number should be; the rest of the file is not read.",
)


def write_text_maps(images: ImageSet, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Writes `2df.dat` and `2dfn.dat` to `folder`, and returns the path of the first.

    One value a line, row by row, image after image; and per image one integer: 1 oval, 2 rectangular, 3 obround, 0 for
    any other label and where there is none.

    Raises
    ------
    FileExistsError
        One of the files is there and `overwrite` is not set.
    ValueError
        The images are not square, or of several sizes: the format has no place for a size.
    """
    maps, labels = Path(folder) / MAPS, Path(folder) / LABELS
    shapes = {tuple(image.shape) for image in images.pixels}
    if len(shapes) != 1 or len(set(next(iter(shapes)))) != 1:
        found = ", ".join(f"{nx} x {ny}" for ny, nx in sorted(shapes)) or "no image"
        raise UsageError(f"text maps must be square and of one size; received {found}.")
    for path in (maps, labels):
        if path.exists() and not overwrite:
            raise FileExistsError(f"'{path}' is there already; give another folder, or overwrite.")
    maps.parent.mkdir(parents=True, exist_ok=True)
    with maps.open("w", encoding="ascii") as file:
        for image in images.pixels:
            np.savetxt(file, np.asarray(image).ravel(), fmt="%.9g")
    known = np.ma.filled(images.table["label"], "") if "label" in images.table.colnames else [""] * len(images)
    numbers = [THESIS_CLASSES.index(label) + 1 if label in THESIS_CLASSES else 0 for label in known]
    labels.write_text("".join(f"{number}\n" for number in numbers), encoding="ascii")
    return maps


def is_text_map(path: Path) -> bool:
    """Whether a file begins like a text map, with one number on its first line."""
    with open_regular(path) as file:
        head = file.read(FIRST_LINE_BYTES).decode("ascii", "replace")
    return _number(next((line for line in head.splitlines() if line.strip()), "")) is not None


def _number(text: str) -> float | None:
    try:
        return float(text.upper().replace("D", "E"))  # Fortran writes double precision as 1.0D-03
    except ValueError:
        return None


def text_map(path: Path, size: int) -> Iterator[Item]:
    """Images of a thesis text map: one value per line, size * size lines an image, row by row."""
    labels, stamps = _thesis_labels(path), (stamp_of(path),)
    with path.open(encoding="ascii", errors="replace") as file:
        values = (line for line in iter(partial(file.readline, LONGEST_LINE), "") if line.strip())
        for index in count():
            lines = list(islice(values, size * size))
            if not lines:
                return
            label = labels[index] if index < len(labels) else None
            long = any(len(line) == LONGEST_LINE and not line.endswith("\n") for line in lines)
            picture = failed(NO_LINES) if long else _text_picture(lines, size)
            picture.origin = Origin(str(path), plane=index, files=stamps)
            yield picture, {"id": f"{file_text(path.name)}#{index}", "label": label}
            if long:
                return


def _text_picture(lines: list[str], size: int) -> Picture:
    numbers = [_number(line) for line in lines]
    if None in numbers:
        bad = lines[numbers.index(None)].strip()[:20]
        return Picture(NO_PIXELS, Flag.UNREADABLE, f"'{bad}' is not a number; each line must be one.")
    if len(numbers) < size * size:
        detail = f"The file ends after {len(numbers)} of its {size * size} values."
        return Picture(NO_PIXELS, Flag.UNREADABLE, detail)
    return checked(np.array(numbers).reshape(size, size))


def _thesis_labels(path: Path) -> list[str | None]:
    """Labels from the file beside a text map: 2dfn.dat for 2df.dat, else `n` before its name."""
    for beside in label_files(path):
        if beside.is_file():
            numbers = beside.read_text(encoding="ascii", errors="replace").split()
            return [THESIS_CLASSES[int(n) - 1] if n in ("1", "2", "3") else None for n in numbers]
    return []


def label_files(path: Path) -> list[Path]:
    """Where the labels of a text map may be, in the order of looking."""
    names = (path.name.replace("2df.", "2dfn.", 1), f"n{path.name}")
    return [path.with_name(name) for name in names if name != path.name]
