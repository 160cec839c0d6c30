"""Fields: which images show many galaxies, that are to be found first, and which show one in their middle."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.images.formats import BadImage, kind_of
from emeraldcut.images.matching import LARGEST_CUTOUT_PIX
from emeraldcut.images.mosaic import Mosaic, Tile, open_mosaic, tiles_in
from emeraldcut.images.planes import FileGroup, Role, kind_of_name
from emeraldcut.images.readers import ReadSettings, image_files, is_folder_of_files, listed_files, stem_of

LOOKED_AT = 12  # images of a folder whose size tells what all of them are
MEASURED = 3  # large ones of them that are searched for one galaxy in their middle
LARGEST_GALAXY_PIX = 16_384  # a side; no larger image is one of a single galaxy
DOUBTFUL_PIX = 300  # a side, from which on it is said that a single image is taken for that of one galaxy
GRID = 128  # cells along the longer side of an image, in which a galaxy in its middle is looked for
BORDER = 0.1  # of a side, where the sky is
ABOVE_SKY = 3.0  # times its scatter
LEAST_ACROSS = 0.2  # of the shorter side: diameter of a source that an image is of
NEAR_MIDDLE = 0.2  # of the longer side, from the middle to where an image is brightest
SMOOTHED = 0.04  # of the longer side: so that this is no single star
IMAGE_KINDS = ("fits", "png", "jpeg", "tiff", "npy", "gif", "bmp", "webp")


class ImageType(NamedTuple):
    """Whether images are mosaics, and a sentence that says so; empty where there is nothing to say."""

    is_mosaic: bool
    sentence: str = ""


CUTOUTS = ImageType(False)


def image_type(source: str | Path, settings: ReadSettings) -> ImageType:
    """What the images of a source are, if no catalogue says what is to be cut out of them.

    As `settings.image_type` says. Else an image with a side of more than 1024 pixels is a mosaic, unless one galaxy
    fills its middle (see `fills_middle`), and all others are images of one galaxy each. Of a folder or list of files,
    all images are what most of the first dozen are.

    UsageError where mosaics are asked for and the source holds no files of images.
    """
    name, source = os.fspath(source), Path(source)  # no name is not the folder where the program runs
    if settings.catalogue is not None or settings.image_type == "cutout" or not name or not source.exists():
        return CUTOUTS
    files = _files(source, settings)
    if settings.image_type == "mosaic":
        if files is None:
            raise UsageError(
                f"--image-type mosaic expects files of images, or a folder of them; '{source}' is neither."
            )
        return ImageType(True, f"'{source}' is searched for sources (--image-type mosaic).")
    if files is None:
        return CUTOUTS
    alone = not source.is_dir()
    tiles = [tile for file in islice(files, LOOKED_AT) for tile in tiles_in(file, settings)]
    tiles = [tile for tile in tiles if not tile.fault and min(tile.shape) > 0]
    large = [tile for tile in tiles if max(tile.shape) > LARGEST_CUTOUT_PIX]
    if 2 * len(large) < len(tiles) or not large:
        return ImageType(False, _said_of_small(source, tiles, large, alone))
    if 2 * sum(map(fills_middle, large[:MEASURED])) > len(large[:MEASURED]):
        each = "one galaxy" if len(tiles) == 1 else "one galaxy each"
        return ImageType(
            False,
            f"'{source}' ({_size(large[0])}) is read as {each}, since one source fills the middle of it; use "
            "--image-type mosaic to find all sources.",
        )
    ask = "if it shows one galaxy" if alone and len(tiles) == 1 else "if they show one galaxy each"
    return ImageType(
        True,
        f"'{source}' ({_size(large[0])}) is taken as {'a mosaic' if len(tiles) == 1 else 'mosaics'}: it has more than "
        f"{LARGEST_CUTOUT_PIX} pixels along a side, and no galaxy fills its middle; use --image-type cutout {ask}.",
    )


def _said_of_small(source: Path, tiles: list[Tile], large: list[Tile], alone: bool) -> str:
    """What is to be said of images that are taken for those of one galaxy each, for their size."""
    if large:
        return (
            f"Images of '{source}' are read as one galaxy each, since most have at most {LARGEST_CUTOUT_PIX} pixels "
            f"along a side, but '{large[0].name}' has {_size(large[0])}; mosaics need a folder of their own, or "
            "--image-type mosaic."
        )
    if alone and len(tiles) == 1 and max(tiles[0].shape) > DOUBTFUL_PIX and not fills_middle(tiles[0]):
        return (
            f"'{source}' ({_size(tiles[0])}) is read as an image of one galaxy, that in its middle; use --image-type "
            "mosaic to find all sources."
        )
    return ""


def _size(tile: Tile) -> str:
    return f"{tile.shape[1]} x {tile.shape[0]} pixels"


def _files(source: Path, settings: ReadSettings) -> Iterable[FileGroup] | None:
    """The files of images of a source, without those of maps; None if it is something else."""
    if source.is_dir():
        given = settings.only or is_folder_of_files(source)
        return map(FileGroup, _pictures(source, settings)) if given else None
    if (listed := listed_files(source, settings.file)) is not None:
        return listed
    try:
        return [FileGroup(source)] if kind_of(source) in IMAGE_KINDS else None
    except (BadImage, OSError, EOFError):  # the row of this file will say what is wrong
        return None


def _pictures(folder: Path, settings: ReadSettings) -> Iterator[Path]:
    for path in image_files(folder, settings.only):
        kind = kind_of_name(stem_of(path.name))
        if kind.role in (Role.SCIENCE, Role.UNKNOWN) or not kind.sure:
            yield path


def fills_middle(tile: Tile) -> bool:
    """Whether an image shows one galaxy in its middle, rather than a field of many.

    In cells of 1/128 of its longer side, one region brighter than the sky at the borders covers the middle, is at least
    a fifth of the shorter side across, and the image, smoothed, is brightest near there.
    """
    if max(tile.shape) > LARGEST_GALAXY_PIX:
        return False
    try:
        with open_mosaic(tile) as mosaic:
            cells = _cells(mosaic)
    except Exception:  # of any library; whoever reads it will say what is wrong
        return False
    return is_filled(cells)


def _cells(mosaic: Mosaic) -> np.ndarray:
    """Mean light in square cells, NaN where there is no data; what fills no cell at the upper ends is left out."""
    ny, nx = mosaic.tile.shape
    side = max(-(-max(ny, nx) // GRID), 1)
    rows = []
    for k in range(ny // side):
        strip = mosaic.window_and_noise(0, k * side, nx // side * side, side)[0].astype(float)
        known = np.isfinite(strip).reshape(side, -1, side)
        total = np.nan_to_num(strip).reshape(side, -1, side).sum(axis=(0, 2))
        number = known.sum(axis=(0, 2))
        rows.append(np.where(2 * number > side**2, total / np.maximum(number, 1), np.nan))
    return np.array(rows)


def is_filled(cells: np.ndarray) -> bool:
    """See `fills_middle`; of the light in cells (ny, nx)."""
    from astropy.stats import mad_std
    from scipy.ndimage import gaussian_filter, label

    ny, nx = cells.shape
    edge = max(int(BORDER * min(ny, nx)), 1)
    border = np.ones(cells.shape, bool)
    border[edge:-edge, edge:-edge] = False
    sky = cells[border & np.isfinite(cells)]
    if sky.size < 2 or not np.isfinite(cells).any():
        return False
    light = np.where(np.isfinite(cells), cells - np.median(sky), 0.0)
    bright = light > ABOVE_SKY * mad_std(sky)
    regions = label(bright)[0]
    middle = regions[ny // 2 - ny // 16 : ny // 2 + ny // 16 + 1, nx // 2 - nx // 16 : nx // 2 + nx // 16 + 1]
    counts = np.bincount(middle[middle > 0], minlength=1)
    if not counts.any():
        return False
    area = np.count_nonzero(regions == counts.argmax())
    smooth = gaussian_filter(light, SMOOTHED * max(ny, nx), mode="constant")
    y, x = np.unravel_index(np.argmax(smooth), smooth.shape)
    off = np.hypot(y - (ny - 1) / 2, x - (nx - 1) / 2)
    return bool(2 * np.sqrt(area / np.pi) >= LEAST_ACROSS * min(ny, nx) and off <= NEAR_MIDDLE * max(ny, nx))
