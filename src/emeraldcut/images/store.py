"""Our own set of images: a Run folder with `images.h5` and `table.parquet`, written and read in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import describe_columns
from emeraldcut.data.flags import Flag
from emeraldcut.data.imageset import ImageSet, Pixels, add_flag, some
from emeraldcut.errors import UsageError
from emeraldcut.images.formats import NO_PIXELS, failed
from emeraldcut.images.origin import SET_ROW
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.reading import check_regular
from emeraldcut.runs.run import MANIFEST, Run
from emeraldcut.runs.writing import NewFile
from emeraldcut.tables.arrow import arrow_pieces, for_arrow, from_arrow, to_arrow
from emeraldcut.tables.files import read_table, write_table
from emeraldcut.tables.resumable import ResumableTable, join

if TYPE_CHECKING:
    import h5py

PIXELS, TABLE, UNFINISHED = "images.h5", "table.parquet", "table_unfinished"
LIGHT, NOISE = "pixels", "noise"  # arrays in the file of pixels; the second only where there are noise maps
BANDS, BAND_NAME = "bands", "band"  # the group of arrays of single bands, and the attribute with the name of each
IMAGES_PER_BLOCK = 16
BLOCK_BYTES = 4_200_000  # of pixels that are packed together, at most: 16 images of 256 x 256
LARGEST_BLOCK_SIDE = 1024  # pixels of a side that are packed together, of images that are larger than a block
CHUNK_BYTES = 64_000_000  # of pixels in one chunk, at most, unless one image has more: 256 images of 250 x 250
PSFS, PSF_NUMBER = (
    "psfs",
    "psf_number",
)  # the group of PSFs in the file of pixels, and the column of their numbers there


class ImageSetWriter:
    """Writes a set image by image or chunk by chunk; to be used in a `with` statement.

    Images of different sizes are padded with NaN at their upper ends; the columns `ny`, `nx` remember the
    sizes. PSFs, noise maps and the pixels of single bands are kept where the images have them. The manifest is written
    when the `with` block ends without an error. OSError where the disk is full.

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
        # A form (of HDF5 1.10) in which also what leads to the data has checksums: damage is an error, not a crash.
        self._file = h5py.File(self._target, "w", libver=("v110", "v110"))
        self._psfs: dict[tuple[tuple[int, ...], bytes], int] = {}
        self._datasets: dict[str, h5py.Dataset] = {}  # made when the size of the first images is known
        self._bands: dict[str, str] = {}  # where in the file each band is, by its name
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
        for name in _names_of_bands(images):
            planes = [(of_image or {}).get(name, NO_PIXELS) for of_image in images.bands or ()]
            self._write(self._place_of_band(name), planes, start, ny, nx)
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
        step = max(min(dataset.chunks[0], BLOCK_BYTES // int(4 * ny * nx)), 1)
        for first in range(0, len(planes), step):
            _write_padded(dataset, start + first, planes[first : first + step])

    def _place_of_band(self, name: str) -> str:
        """Where in the file the array of a band is; its name may hold what those of HDF5 cannot."""
        if name not in self._bands:
            self._bands[name] = f"{BANDS}/{len(self._bands)}"
        return self._bands[name]

    def _number_of_psf(self, psf: np.ndarray | None) -> int:
        """The place of a PSF among those of the set, where each is once; -1 for none."""
        if psf is None:
            return -1
        psf = np.ascontiguousarray(psf, dtype=np.float32)
        key = (psf.shape, sha256(psf.tobytes()).digest())
        if key not in self._psfs:
            self._psfs[key] = len(self._psfs)
            self._file.create_dataset(f"{PSFS}/{self._psfs[key]}", data=psf, fletcher32=True)
        return self._psfs[key]

    def _make_dataset(self, name: str, ny: int, nx: int) -> h5py.Dataset:
        together = max(min(IMAGES_PER_BLOCK, BLOCK_BYTES // int(4 * ny * nx)), 1)
        sides = [min(int(n), LARGEST_BLOCK_SIDE) for n in (ny, nx)] if together == 1 else [ny, nx]
        return self._file.create_dataset(
            name,
            shape=(0, ny, nx),
            maxshape=(None, None, None),
            chunks=(together, *sides),
            dtype=np.float32,
            fillvalue=np.nan,  # makes the padding when a larger image comes later
            shuffle=True,
            compression="lzf",
            fletcher32=True,
        )

    def __exit__(self, error_type, error, traceback) -> None:
        try:
            for dataset in self._datasets.values():  # images without a map or a band have none there either
                dataset.resize(self._datasets[LIGHT].shape)
            for band, place in self._bands.items():
                self._datasets[place].attrs[BAND_NAME] = band
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


def _names_of_bands(images: ImageSet) -> list[str]:
    """The names of all bands of images, in the order in which they come."""
    return list(dict.fromkeys(name for of_image in images.bands or () for name in of_image or ()))


def _write_padded(dataset: h5py.Dataset, start: int, images: Pixels) -> None:
    """Writes images of different sizes one after another, from place `start` on."""
    ny, nx = np.array([image.shape for image in images]).max(axis=0)
    block = np.full((len(images), ny, nx), np.nan, dtype=np.float32)
    for row, image in enumerate(images):
        block[row, : image.shape[0], : image.shape[1]] = image
    if block.size:
        dataset[start : start + len(images), :ny, :nx] = block


def write_images(
    images: ImageSet | Iterable[ImageSet],
    folder: str | Path,
    *,
    command: str = "write_images",
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

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     run = write_images(ImageSet(np.ones((2, 64, 64), np.float32), Table({"id": ["a", "b"]})), folder)
    ...     run.manifest["images"]
    2
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
    with_bands : bool
        Whether the pixels of single bands are read too.
    """

    folder: Path
    places: np.ndarray
    rows: Any
    with_bands: bool = False

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice) -> StoredImages:
        """Some of them."""
        return replace(self, places=self.places[rows], rows=self.rows[rows])

    def load(self, lost: Mapping[int, str] = MappingProxyType({})) -> ImageSet:
        """The images, each as large as it was written; one that cannot be read has a flag and a sentence.

        `lost` are the rows of those not to be read, and why.
        """
        table = from_arrow(self.rows)
        shapes = [(int(ny), int(nx)) for ny, nx in zip(table["ny"], table["nx"], strict=True)]
        table.remove_columns(["ny", "nx"])
        table[SET_ROW] = self.places
        numbered = np.ma.filled(table[PSF_NUMBER], -1).tolist() if PSF_NUMBER in table.colnames else None
        if numbered is not None:
            table.remove_column(PSF_NUMBER)
        why = dict(lost)
        read = self._read(shapes, numbered, why)
        pixels: Any = read.pixels
        if len(set(shapes)) == 1 and not why:
            pixels = pixels if isinstance(pixels, np.ndarray) else np.stack(pixels)
        images = ImageSet(pixels, table, read.psfs, read.noises, read.bands)
        for row, sentence in why.items():
            add_flag(images.table, row, Flag.UNREADABLE, sentence)
        return images

    def _read(self, shapes: list[tuple[int, int]], numbered: list[int] | None, why: dict[int, str]) -> _Read:
        """Pixels, PSFs, noise maps and bands; adds to `why` the rows that cannot be read."""
        import h5py

        read = _Read([NO_PIXELS] * len(self))
        try:
            check_regular(self.folder / PIXELS)
            with h5py.File(self.folder / PIXELS, "r") as file:
                read.pixels = _pixels(file[LIGHT], self.places, shapes, why)
                read.psfs = None if numbered is None else _psfs(file, numbered, why)
                if NOISE in file:
                    read.noises = some(_maps(file[NOISE], self.places, shapes, why))
                if self.with_bands and BANDS in file:
                    read.bands = self._bands(file[BANDS], shapes, why)
        except Exception as error:  # the file as a whole
            why |= dict.fromkeys(range(len(self)), failed(error).detail)
            return _Read([NO_PIXELS] * len(self), psfs=read.psfs)
        if why:
            read.pixels = [NO_PIXELS if row in why else image for row, image in enumerate(read.pixels)]
        return read

    def _bands(
        self, group: Any, shapes: list[tuple[int, int]], why: dict[int, str]
    ) -> list[dict[str, np.ndarray] | None]:
        """The pixels of each band of the images by its name, None of an image that is not made of several."""
        found: list[dict[str, np.ndarray]] = [{} for _ in shapes]
        for number in sorted(group, key=int):
            name = str(group[number].attrs[BAND_NAME])
            for own, plane in zip(found, _maps(group[number], self.places, shapes, why), strict=True):
                if plane is not None:
                    own[name] = plane
        return [own or None for own in found]


@dataclass
class _Read:
    """What the file of pixels holds of some images, see `ImageSet`."""

    pixels: Any
    psfs: list[np.ndarray | None] | None = None
    noises: list[np.ndarray | None] | None = None
    bands: list[dict[str, np.ndarray] | None] | None = None


def _psfs(file: Any, numbered: list[int], why: dict[int, str]) -> list[np.ndarray | None]:
    """The PSF of each image by its number in the set; adds to `why` the images whose PSF cannot be read."""
    read: dict[int, np.ndarray] = {}
    return [
        _once(read, number, file, row, why) if number >= 0 and row not in why else None
        for row, number in enumerate(numbered)
    ]


def _maps(
    dataset: Any, places: np.ndarray, shapes: list[tuple[int, int]], why: dict[int, str]
) -> list[np.ndarray | None]:
    """Noise maps, or one band, of images of a set; None of an image that has none."""
    planes = _pixels(dataset, places, shapes, why)
    return [plane if row not in why and np.isfinite(plane).any() else None for row, plane in enumerate(planes)]


def _pixels(dataset: Any, places: np.ndarray, shapes: list[tuple[int, int]], why: dict[int, str]) -> Any:
    """Images of a set; adds to `why` those that cannot be read."""
    ny, nx = np.array(shapes).max(axis=0)
    first, last = places[[0, -1]]
    if last - first == len(places) - 1 and not why:
        try:
            together = dataset[first : last + 1, :ny, :nx]
        except Exception:  # one of them is damaged; which one is found below
            pass
        else:
            return (
                together if len(set(shapes)) == 1 else [p[:m, :n] for p, (m, n) in zip(together, shapes, strict=True)]
            )
    pixels = []
    for row, (place, (m, n)) in enumerate(zip(places, shapes, strict=True)):
        image = NO_PIXELS
        if row not in why:
            try:
                image = dataset[place, :m, :n]
            except Exception as error:  # HDF5 raises errors of every kind
                why[row] = failed(error).detail
        pixels.append(image)
    return pixels


def _once(read: dict[int, np.ndarray], number: int, file: Any, row: int, why: dict[int, str]) -> np.ndarray | None:
    """A PSF of a set, which many images share; adds to `why` where it cannot be read."""
    if number not in read:
        try:
            read[number] = file[f"{PSFS}/{number}"][:]
        except Exception as error:  # HDF5 raises errors of every kind
            why[row] = f"Its PSF is needed: {failed(error).detail}"
            return None
    return read[number]


def stored_number(folder: Path) -> int:
    """How many images a set has."""
    import pyarrow.parquet as pq

    return pq.read_metadata(for_arrow(folder / TABLE)).num_rows


def stored_chunks(folder: Path, number: int, size: int, *, with_bands: bool = False) -> Iterator[StoredImages]:
    """The first `number` images of a set with their rows, in order; no pixel is read yet.

    At most `size` at a time, and no more than `CHUNK_BYTES` unless one image has more.
    """
    start = 0
    for rows in arrow_pieces(folder / TABLE, size):
        rows = rows[: number - start]
        for part in _by_bytes(rows):
            yield StoredImages(folder, start + np.arange(len(part)), part, with_bands)
            start += len(part)
        if start >= number:
            return


def _by_bytes(rows: Any) -> Iterator[Any]:
    """Rows of a set in pieces whose images, each padded to the largest of them, are no more than `CHUNK_BYTES`."""
    sides = np.array([rows["ny"].to_numpy(), rows["nx"].to_numpy()]).T  # (n, 2)
    if 4 * len(rows) * sides.max(axis=0, initial=1).prod(dtype=float) <= CHUNK_BYTES:
        yield rows
        return
    begin, largest = 0, np.ones(2)
    for row, shape in enumerate(sides):
        together = np.maximum(largest, shape)
        if row > begin and 4 * (row + 1 - begin) * together.prod() > CHUNK_BYTES:
            yield rows[begin:row]
            begin, together = row, np.maximum(shape, 1.0)
        largest = together
    yield rows[begin:]
