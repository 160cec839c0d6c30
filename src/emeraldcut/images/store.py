"""Our own set of images: a Run folder with `images.h5` and `table.parquet`, written and read in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import describe_columns
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import MANIFEST, Run
from emeraldcut.runs.writing import NewFile
from emeraldcut.tables.arrow import arrow_pieces, from_arrow, to_arrow
from emeraldcut.tables.files import read_table, write_table
from emeraldcut.tables.resumable import ResumableTable, join

if TYPE_CHECKING:
    import h5py

PIXELS, TABLE, UNFINISHED = "images.h5", "table.parquet", "table_unfinished"
LIGHT, NOISE = "pixels", "noise"  # arrays in the file of pixels; the second only where there are noise maps
IMAGES_PER_BLOCK = 16
PSFS, PSF_NUMBER = (
    "psfs",
    "psf_number",
)  # the group of PSFs in the file of pixels, and the column of their numbers there


class ImageSetWriter:
    """Writes a set image by image or chunk by chunk; to be used in a `with` statement.

    Images of different sizes are padded with NaN at their upper ends; the columns `ny`, `nx` remember the
    sizes. The manifest is written when the `with` block ends without an error. OSError where the disk is full.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from emeraldcut.images import read_images
    >>> with ImageSetWriter("set", command="example") as writer:
    ...     for name, size in (("a", 32), ("b", 48)):
    ...         writer.append(ImageSet(np.ones((1, size, size), np.float32), Table({"id": [name]})))
    >>> [pixels.shape for pixels in read_images("set").pixels]
    [(32, 32), (48, 48)]
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
        self.facts: dict[str, Any] = {}  # for the manifest, besides the number of images
        self.whole_ids = False  # whether the images' ids came in as whole numbers
        self._target = NewFile(self.run.path(PIXELS))
        self._file = h5py.File(self._target, "w")
        self._psfs: dict[tuple[tuple[int, ...], bytes], int] = {}
        self._datasets: dict[str, h5py.Dataset] = {}  # made when the size of the first images is known
        rmtree(self.run.folder / UNFINISHED, ignore_errors=True)
        self._rows = ResumableTable(self.run.folder / UNFINISHED, self.run.origin, "a set")

    def __enter__(self) -> ImageSetWriter:
        return self

    def append(self, images: ImageSet) -> None:
        """Adds `images` at the end."""
        if len(images) == 0:
            return
        shapes = np.array([image.shape for image in images.pixels])  # (n, 2)
        ny, nx = np.maximum(shapes.max(axis=0), 1)
        start = self._rows.done  # with those that are not written yet
        self._write(LIGHT, images.pixels, start, ny, nx)
        if images.noises is not None:
            nothing = np.zeros((0, 0), np.float32)
            noises = [nothing if noise is None else noise for noise in images.noises]
            self._write(NOISE, noises, start, ny, nx)
        self._target.check()
        table = images.table.copy()
        table["ny"], table["nx"] = shapes.T.astype(np.int32)
        if images.psfs is not None:
            table[PSF_NUMBER] = np.array([self._number_of_psf(psf) for psf in images.psfs], dtype=np.int32)
        self._rows.append(to_arrow(describe_columns(table)), len(table))

    def _write(self, name: str, planes: Sequence[np.ndarray] | np.ndarray, start: int, ny: int, nx: int) -> None:
        """Puts planes of up to (ny, nx) pixels into an array of the file, from image `start` on."""
        if name not in self._datasets:
            self._datasets[name] = self._make_dataset(name, ny, nx)
        dataset = self._datasets[name]
        _, old_ny, old_nx = dataset.shape
        dataset.resize((start + len(planes), max(ny, old_ny), max(nx, old_nx)))
        if isinstance(planes, np.ndarray) and planes.size:
            dataset[start:, :ny, :nx] = planes
            return
        block = np.full((len(planes), ny, nx), np.nan, dtype=np.float32)
        for row, plane in enumerate(planes):
            block[row, : plane.shape[0], : plane.shape[1]] = plane
        dataset[start:, :ny, :nx] = block

    def _number_of_psf(self, psf: np.ndarray | None) -> int:
        """The place of a PSF among those of the set, where each is once; -1 for none."""
        if psf is None:
            return -1
        psf = np.ascontiguousarray(psf, dtype=np.float32)
        key = (psf.shape, sha256(psf.tobytes()).digest())
        if key not in self._psfs:
            self._psfs[key] = len(self._psfs)
            self._file.create_dataset(f"{PSFS}/{self._psfs[key]}", data=psf)
        return self._psfs[key]

    def _make_dataset(self, name: str, ny: int, nx: int) -> h5py.Dataset:
        return self._file.create_dataset(
            name,
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
            self._rows.flush()
            path, number = self.run.path(TABLE), len(self._rows)
            if number:
                join(self._rows, path, self.run.origin, whole_ids=self.whole_ids)
            else:
                write_table(Table({"id": [""]})[:0], path, provenance=self.run.origin, overwrite=True)
            self._rows.remove()
            self.run.finish(images=number, **self.facts)


def write_images(
    images: ImageSet | Iterable[ImageSet],
    folder: str | Path,
    *,
    command: str,
    settings: Any = None,
    seed: int | None = None,
    inputs: Iterable = (),
    overwrite: bool = False,
    whole_ids: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Writes a set, or an iterable of chunks of one, to `folder`, and returns the finished run.

    With `whole_ids` their identifiers are whole numbers in the set's table, if all of them are. `progress`, which the
    caller begins, is advanced by the number of images of each chunk. Raises FileExistsError where a finished run is
    there already and `overwrite` is not set.
    """
    facts = {"command": command, "settings": settings, "seed": seed, "inputs": inputs}
    with ImageSetWriter(folder, **facts, overwrite=overwrite) as writer:
        writer.whole_ids = whole_ids
        for chunk in [images] if isinstance(images, ImageSet) else images:
            writer.append(chunk)
            progress.advance(len(chunk))
    return writer.run


def is_stored_set(folder: Path) -> bool:
    """Whether `folder` is a set of ours; ValueError if it is one that was not finished."""
    if not (folder / PIXELS).exists():
        return False
    if not (folder / MANIFEST).exists():
        raise UsageError(f"the image set '{folder}' is not finished (no {MANIFEST}); make it again.")
    return (folder / TABLE).exists()


def stored_table(folder: Path, columns: Sequence[str] | None = None) -> Table:
    """The table of a set, one row per image, or some columns of it."""
    return read_table(folder / TABLE, columns)


@dataclass(frozen=True)
class StoredImages:
    """Images of a set that are named here and read when they are `loaded`.

    Attributes
    ----------
    folder : Path
    places : (n,) int
        Of each in the set; they rise.
    rows : Arrow table
        Their rows, with `ny` and `nx`.
    """

    folder: Path
    places: np.ndarray
    rows: Any

    def __len__(self) -> int:
        return len(self.places)

    def load(self) -> ImageSet:
        """The images, each as large as it was written."""
        import h5py

        table = from_arrow(self.rows)
        shapes = list(zip(table["ny"], table["nx"], strict=True))
        table.remove_columns(["ny", "nx"])
        numbered = np.ma.filled(table[PSF_NUMBER], -1) if PSF_NUMBER in table.colnames else None
        if numbered is not None:
            table.remove_column(PSF_NUMBER)
        with h5py.File(self.folder / PIXELS, "r") as file:
            pixels = self._planes(file[LIGHT])
            noise = self._planes(file[NOISE]) if NOISE in file else None
            psfs = None
            if numbered is not None:
                read = {number: file[f"{PSFS}/{number}"][:] for number in set(numbered.tolist()) if number >= 0}
                psfs = [read.get(number) for number in numbered.tolist()]
        noises = None if noise is None else self._noises(noise, shapes)
        if len(set(shapes)) == 1:
            return ImageSet(pixels[:, : shapes[0][0], : shapes[0][1]], table, psfs, noises)
        each = [image[:ny, :nx] for image, (ny, nx) in zip(pixels, shapes, strict=True)]
        return ImageSet(each, table, psfs, noises)

    def _planes(self, dataset) -> np.ndarray:
        """The planes of these images in an array of the file; NaN for those after its end."""
        first, last = self.places[[0, -1]]
        if last - first == len(self) - 1 and last < len(dataset):
            return dataset[first : last + 1]
        nothing = np.full(dataset.shape[1:], np.nan, np.float32)
        return np.stack([dataset[place] if place < len(dataset) else nothing for place in self.places])

    @staticmethod
    def _noises(noise: np.ndarray, shapes: list[tuple[int, int]]) -> list[np.ndarray | None] | None:
        """The noise maps (n, ny, nx) each in the size of its image, None where there is none; None if none is."""
        cut = [plane[:ny, :nx] for plane, (ny, nx) in zip(noise, shapes, strict=True)]
        maps = [plane if plane.shape == shape and np.isfinite(plane).any() else None
                for plane, shape in zip(cut, shapes, strict=True)]  # fmt: skip
        return maps if any(plane is not None for plane in maps) else None


def stored_number(folder: Path) -> int:
    """How many images a set has."""
    import pyarrow.parquet as pq

    return pq.read_metadata(folder / TABLE).num_rows


def stored_chunks(folder: Path, number: int, size: int) -> Iterator[StoredImages]:
    """The first `number` images of a set with their rows, `size` at a time; no pixel is read yet."""
    start = 0
    for rows in arrow_pieces(folder / TABLE, size):
        rows = rows[: number - start]
        yield StoredImages(folder, start + np.arange(len(rows)), rows)
        start += len(rows)
        if start >= number:
            return
