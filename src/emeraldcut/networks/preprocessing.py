"""What a network sees of an image: the ways from an `ImageSet` to its input, by the card's name for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet


@lru_cache(maxsize=64)
def _overlap(number: int, size: int) -> np.ndarray:
    """(size, number): the length, in pixels, over which each of `size` equal cells overlaps each pixel."""
    edges = np.linspace(0, number, size + 1)
    pixel = np.arange(number)
    low = np.maximum(edges[:-1, None], pixel)
    return np.maximum(np.minimum(edges[1:, None], pixel + 1) - low, 0)


def area_average(image: np.ndarray, size: int) -> np.ndarray:
    """The central square of `image` (ny, nx) averaged over (size, size) equal cells, float32.

    Pixels that are not finite are left out of the averages; a cell without any other is 0.
    """
    side = min(image.shape)
    y, x = ((n - side) // 2 for n in image.shape)
    square = np.asarray(image[y : y + side, x : x + side], dtype=np.float64)
    finite = np.isfinite(square)
    weight = _overlap(side, size)
    total = weight @ np.where(finite, square, 0) @ weight.T
    area = weight @ finite @ weight.T
    return np.divide(total, area, out=np.zeros_like(total), where=area > 1e-9).astype(np.float32)


def raw_maps(images: ImageSet, frames: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """As the thesis: each image averaged to (size, size), in its own counts: (n, size, size), and flags."""
    maps = np.zeros((len(images), size, size), dtype=np.float32)
    flags = np.array(images.table["flag"], dtype=np.int64)
    for i in np.flatnonzero(usable(flags)):
        image = np.asarray(images.pixels[i])
        if image.ndim != 2:
            flags[i] |= Flag.NOT_AN_IMAGE
        elif min(image.shape) < 8:
            flags[i] |= Flag.TOO_SMALL
        elif not np.isfinite(image).any() or np.nanmin(image) == np.nanmax(image):
            flags[i] |= Flag.NO_DATA
        else:
            maps[i] = area_average(image, size)
    return maps, flags


def peak_maps(images: ImageSet, frames: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """`raw_maps`, each divided by its peak, because survey counts span orders of magnitude."""
    maps, flags = raw_maps(images, frames, size)
    peak = maps.max(axis=(1, 2), keepdims=True, initial=0)
    return maps / np.where(peak > 0, peak, 1), flags


def framed_stamps(images: ImageSet, frames: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The galaxies in their own frames, arcsinh of half the signal-to-noise: (n, size, size), and flags."""
    if len(frames.table) != len(images):
        raise ValueError(f"frames must belong to the images; received {len(frames.table)} for {len(images)} images.")
    if frames.stamps.shape[1:] != (size, size):
        raise ValueError(f"the network expects stamps of {size} x {size} pixels; received {frames.stamps.shape[1:]}.")
    flags = np.array(images.table["flag"], dtype=np.int64) | np.array(frames.table["flag"], dtype=np.int64)
    return np.arcsinh(frames.stamps / 2).astype(np.float32), flags


PREPROCESSING: dict[str, Callable[[ImageSet, Any, int], tuple[np.ndarray, np.ndarray]]] = {
    "raw": raw_maps,
    "peak": peak_maps,
    "framed": framed_stamps,
}


def prepare(name: str, images: ImageSet, frames: Any, size: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Network input (n, size, size) float32, flags (n,) and the frames, measured if needed and not given."""
    if name not in PREPROCESSING:
        raise ValueError(f"preprocessing must be one of {', '.join(PREPROCESSING)}; received '{name}'.")
    if name == "framed" and frames is None:
        from emeraldcut.frame import frame_galaxies

        frames = frame_galaxies(images)
    inputs, flags = PREPROCESSING[name](images, frames, size)
    return inputs, flags, frames
