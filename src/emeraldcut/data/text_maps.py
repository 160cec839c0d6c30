"""The thesis's density maps as text: `2df.dat`, and `2dfn.dat` with their labels. `readers` reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emeraldcut.data.imageset import ImageSet
from emeraldcut.data.tables import THESIS_CLASSES

MAPS, LABELS = "2df.dat", "2dfn.dat"


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
        raise ValueError(f"text maps must be square and of one size; received {found}.")
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
