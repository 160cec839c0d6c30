"""Our own set of images: a Run folder with `images.h5` and `table.parquet`, written and read in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from emeraldcut.data.columns import describe_columns
from emeraldcut.data.hdf5 import NewFile
from emeraldcut.data.imageset import ImageSet
from emeraldcut.data.run import MANIFEST, Run
from emeraldcut.data.tables import read_table, write_table

PIXELS, TABLE = "images.h5", "table.parquet"
IMAGES_PER_BLOCK = 16


class ImageSetWriter:
    """Writes a set image by image or chunk by chunk; to be used in a `with` statement.

    Images of different sizes are padded with NaN at their upper ends; the columns `ny`, `nx` remember the
    sizes. The manifest is written when the `with` block ends without an error. OSError where the disk is full.

    Examples
    --------
    >>> with ImageSetWriter("set", command="synthesise", seed=1) as writer:  # doctest: +SKIP
    ...     for images in chunks:
    ...         writer.append(images)
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        command: str,
        settings: Any = None,
        seed: int | None = None,
        inputs: Iterable = (),
        overwrite: bool = False,
    ) -> None:
        import h5py

        self.run = Run.start(folder, command, settings, seed, inputs, overwrite)
        self._target = NewFile(self.run.path(PIXELS))
        self._file = h5py.File(self._target, "w")
        self._dataset = None
        self._tables: list[Table] = []

    def __enter__(self) -> ImageSetWriter:
        return self

    def append(self, images: ImageSet) -> None:
        """Adds `images` at the end."""
        if len(images) == 0:
            return
        shapes = np.array([image.shape for image in images.pixels])  # (n, 2)
        ny, nx = np.maximum(shapes.max(axis=0), 1)
        if self._dataset is None:
            self._dataset = self._make_dataset(ny, nx)
        start, old_ny, old_nx = self._dataset.shape
        self._dataset.resize((start + len(images), max(ny, old_ny), max(nx, old_nx)))
        if isinstance(images.pixels, np.ndarray) and images.pixels.size:
            self._dataset[start:, :ny, :nx] = images.pixels
        else:
            block = np.full((len(images), ny, nx), np.nan, dtype=np.float32)
            for row, image in enumerate(images.pixels):
                block[row, : image.shape[0], : image.shape[1]] = image
            self._dataset[start:, :ny, :nx] = block
        self._target.check()
        table = images.table.copy()
        table["ny"], table["nx"] = shapes.T.astype(np.int32)
        self._tables.append(table)

    def _make_dataset(self, ny: int, nx: int):
        return self._file.create_dataset(
            "pixels",
            shape=(0, ny, nx),
            maxshape=(None, None, None),
            chunks=(IMAGES_PER_BLOCK, ny, nx),
            dtype=np.float32,
            fillvalue=np.nan,  # makes the padding when a larger image comes later
            shuffle=True,
            compression="lzf",
        )

    def __exit__(self, error_type, error, traceback) -> None:
        try:
            self._file.close()
        finally:
            self._target.close()
            self._target.check()
        if error_type is None:
            tables = self._tables or [Table({"id": [""]})[:0]]
            table = vstack(tables, metadata_conflicts="silent")
            path = self.run.path(TABLE)
            write_table(describe_columns(table), path, provenance=self.run.origin, overwrite=True)
            self.run.finish(images=len(table))


def write_images(
    images: ImageSet | Iterable[ImageSet],
    folder: str | Path,
    *,
    command: str,
    settings: Any = None,
    seed: int | None = None,
    inputs: Iterable = (),
    overwrite: bool = False,
) -> Path:
    """Writes a set, or an iterable of chunks of one, to `folder`, and returns the folder.

    Raises FileExistsError where a finished run is there already and `overwrite` is not set.
    """
    facts = {"command": command, "settings": settings, "seed": seed, "inputs": inputs}
    with ImageSetWriter(folder, **facts, overwrite=overwrite) as writer:
        for chunk in [images] if isinstance(images, ImageSet) else images:
            writer.append(chunk)
    return Path(folder)


def is_stored_set(folder: Path) -> bool:
    """Whether `folder` is a set of ours; ValueError if it is one that was not finished."""
    if not (folder / PIXELS).exists():
        return False
    if not (folder / MANIFEST).exists():
        raise ValueError(f"the set '{folder}' is unfinished (no {MANIFEST}); make it again.")
    return (folder / TABLE).exists()


def stored_table(folder: Path) -> Table:
    """The table of a set, one row per image."""
    return read_table(folder / TABLE)


def stored_chunks(folder: Path, table: Table, size: int) -> Iterator[ImageSet]:
    """The images of a set with their rows of `table`, `size` at a time, each as large as it was written."""
    import h5py

    with h5py.File(folder / PIXELS, "r") as file:
        dataset = file["pixels"]
        for start in range(0, len(table), size):
            rows = table[start : start + size]
            pixels = dataset[start : start + len(rows)]
            shapes = list(zip(rows["ny"], rows["nx"], strict=True))
            rows.remove_columns(["ny", "nx"])
            if len(set(shapes)) == 1:
                pixels = pixels[:, : shapes[0][0], : shapes[0][1]]
            else:
                pixels = [image[:ny, :nx] for image, (ny, nx) in zip(pixels, shapes, strict=True)]
            yield ImageSet(pixels, rows)
