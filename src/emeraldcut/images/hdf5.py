"""HDF5 in the layout of Galaxy10, read in a process of its own: the library crashes on some damaged files."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.data.flags import Flag
from emeraldcut.errors import UsageError
from emeraldcut.images.claims import BadImage, Claim, check_unpacked
from emeraldcut.images.formats import (
    MOST_CRASHES,
    Picture,
    bands_axis,
    failed,
    hdf5_bands,
    read_array,
)
from emeraldcut.images.options import DEFAULT, PictureSettings
from emeraldcut.runs.apart import Crashed, apart, first_apart
from emeraldcut.runs.reading import LARGEST_COMPRESSION, MOST_COMPRESSION, open_hdf5

GALAXY10_COLUMNS = {"ans": "label", "ra": "ra", "dec": "dec", "pxscale": "pixel_scale_arcsec"}
IMAGES = "images"
BLOCK_IMAGES, BLOCK_BYTES = 64, 64_000_000  # that are read together where the file says nothing else


@dataclass(frozen=True)
class Hdf5Contents:
    """What an HDF5 file holds.

    Attributes
    ----------
    names : tuple of str
        Of its members.
    shape : tuple of int or None
        Of its `images`; None where it has none.
    problem : str
        Why they cannot be read as images; empty if they can.
    facts : dict
        Columns of one value for each image.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...] | None
    problem: str = ""
    facts: dict[str, list[Any]] = field(default_factory=dict)


def hdf5_contents(path: Path, settings: PictureSettings = DEFAULT) -> Hdf5Contents:
    """What an HDF5 file holds. BadImage for a claim that cannot be true, OSError for a damaged file, Crashed."""
    contents: Hdf5Contents = first_apart("emeraldcut.images.hdf5:contents_here", path, settings)
    return contents


def contents_here(path: Path, settings: PictureSettings) -> Iterator[Hdf5Contents]:
    """`hdf5_contents` in this process."""
    import h5py

    with open_hdf5(path) as file:
        names, images = tuple(file), file.get(IMAGES)
        if not isinstance(images, h5py.Dataset) or images.shape is None:
            yield Hdf5Contents(names, None)
            return
        shape, problem = tuple(images.shape), ""
        if len(shape) not in (3, 4) or 0 in shape or (len(shape) == 4 and bands_axis(shape) is None):
            problem = f"images of shape {shape}"
        if not problem:
            _claim(images).check(settings)
        yield Hdf5Contents(names, shape, problem, {} if problem else _facts(file, shape[0]))


def _claim(images: Any) -> Claim:
    """What a dataset of images claims, against what is stored of it."""
    shape = images.shape
    sides = shape[1:] if len(shape) == 3 or bands_axis(shape) == -1 else (*shape[2:], shape[1])
    packed = images.compression is not None or bool(images.chunks and images.id.get_create_plist().get_nfilters())
    known = images.compression in (None, "gzip")  # of others the file does not say how much smaller they make data
    compression = (LARGEST_COMPRESSION if known else MOST_COMPRESSION) if packed else 1.0
    return Claim(shape[0], tuple(sides), images.dtype.itemsize, images.id.get_storage_size(), compression)


def _facts(file: Any, number: int) -> dict[str, list[Any]]:
    """The columns of Galaxy10 that a file has."""
    facts: dict[str, list[Any]] = {}
    for name, column in GALAXY10_COLUMNS.items():
        if name not in file or getattr(file[name], "shape", None) != (number,):
            continue
        try:
            values = file[name][:].tolist()
        except (OSError, ValueError, TypeError):  # damaged; the images may be whole
            continue
        if column == "label":
            values = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]
        facts[column] = values
    return facts


def hdf5_pictures(path: Path, number: int, settings: PictureSettings = DEFAULT, start: int = 0) -> Generator[Picture]:
    """The images of an HDF5 file from the `start`-th of a `number` on, one picture each whatever is wrong with some."""
    done, crashes = start, 0
    while done < number:
        try:
            for picture in apart("emeraldcut.images.hdf5:pictures_here", path, settings, done):
                done += 1
                yield picture
            reason: Exception = BadImage(Flag.UNREADABLE, "The file ends before this image.")
        except UsageError:
            raise
        except Exception as error:  # also of the library, after a crash or on opening
            reason = error
        if isinstance(reason, Crashed) and reason.spoiled:
            continue
        crashes += 1
        goes_on = isinstance(reason, Crashed) and crashes < MOST_CRASHES
        for _ in range(min(1, number - done) if goes_on else number - done):
            done += 1
            yield failed(reason)


def pictures_here(path: Path, settings: PictureSettings, start: int) -> Iterator[Picture]:
    """`hdf5_pictures` in this process.

    Read in blocks of the dataset's own chunks, since each of these is unpacked as a whole; the images of a block that
    is damaged one by one.
    """
    warnings.simplefilter("ignore")
    with open_hdf5(path) as file:
        images = file[IMAGES]
        _claim(images).check(settings)
        names, block = hdf5_bands(images), _block(images, settings)
        first = start // block * block
        for begin in range(first, len(images), block):
            yield from _block_of(images, begin, min(begin + block, len(images)), max(start, begin), names, settings)


def _block(images: Any, settings: PictureSettings) -> int:
    """How many images are read together."""
    image_bytes = int(np.prod(images.shape[1:], dtype=float)) * images.dtype.itemsize
    if images.chunks:
        check_unpacked(float(np.prod(images.chunks, dtype=float)) * images.dtype.itemsize, settings)
        if images.chunks[0] * image_bytes <= settings.largest_unpacked_gb * 1e9:
            return int(images.chunks[0])
    return max(min(BLOCK_IMAGES, BLOCK_BYTES // max(image_bytes, 1)), 1)


def _block_of(
    images: Any, begin: int, end: int, start: int, names: tuple[str, ...], settings: PictureSettings
) -> Iterator[Picture]:
    """The images `start` to `end` of the block that starts with image `begin`."""
    try:
        block = images[begin:end]
    except Exception:  # one of its chunks is damaged
        block = None
    for k in range(start, end):
        try:
            picture = read_array(images[k] if block is None else block[k - begin], settings, names)
        except UsageError:
            raise
        except Exception as error:  # libraries raise errors of every kind on damaged data
            picture = failed(error)
        yield picture
