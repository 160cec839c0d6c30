"""Whether the bands of a colour picture agree that there is an object.

Surveys expose one band after the other, through different filters. Satellites, ghosts of bright stars, scattered light,
cosmic rays and defects of a detector are therefore in one band, while stars and galaxies shine in all of them, more or
less.
"""

from __future__ import annotations

import numpy as np

from emeraldcut.data.imageset import ImageSet
from emeraldcut.frame.ellipse_fit import X, Y, axes_of, box_around, to_circle
from emeraldcut.frame.quick_shape import QuickShape
from emeraldcut.frame.resample import unbinned
from emeraldcut.frame.segmentation import NEIGHBOUR, SKY
from emeraldcut.numerics.jit import compiled, part
from emeraldcut.numerics.median import MAD_TO_SIGMA

LEVELS = 256
SKY_RADII, LEAST_REACH_PIX = (2.5, 5.0), 12.0  # half-light radii, at least so many pixels, between which sky is taken
FEWEST_SKY_PIXELS = 100  # else all sky of the image is taken
ONE_BAND = 0.2  # agreement below which the light is in one band only
LEAST_NOISE = 0.5  # grey levels: the noise of rounding, and of a black sky that is cut off


@part
def _middle(counts, n):
    """The median of n grey levels, from how often each occurs; linear within a level."""
    below, half = 0.0, 0.5 * n
    for level in range(LEVELS):
        if counts[level] > 0 and below + counts[level] >= half:
            return level - 0.5 + (half - below) / counts[level]
        below += counts[level]
    return 0.0


@part
def _sky_levels(colour, pixel_class, binning, shape, inner, outer):
    """How often each grey level occurs in the sky (3, LEVELS) between two radii, pixels, and the number of pixels."""
    (ny, nx), counts, n = pixel_class.shape, np.zeros((3, LEVELS)), 0
    axes = axes_of(shape)
    box = box_around(shape, outer, colour.shape[0], colour.shape[1])
    for y in range(box.y0, min(box.y1, ny * binning)):
        for x in range(box.x0, min(box.x1, nx * binning)):
            if pixel_class[y // binning, x // binning] != SKY:
                continue
            u, v = to_circle(x, y, axes)
            square = u * u + v * v
            if inner * inner < square < outer * outer:
                for band in range(3):
                    counts[band, colour[y, x, band]] += 1
                n += 1
    return counts, n


@compiled
def _agreement(colour, pixel_class, binning, shape, radius):
    """See `band_agreement`, for a shape and a half-light radius in pixels of the picture (ny, nx, 3) uint8."""
    (ny, nx), reach = pixel_class.shape, max(SKY_RADII[1] * radius, LEAST_REACH_PIX)
    counts, n_sky = _sky_levels(colour, pixel_class, binning, shape, SKY_RADII[0] * radius, reach)
    if n_sky < FEWEST_SKY_PIXELS:
        counts, n_sky = _sky_levels(colour, pixel_class, binning, shape, 0.0, 2.0 * (colour.shape[0] + colour.shape[1]))
    if n_sky < FEWEST_SKY_PIXELS:
        return np.nan
    axes, box = axes_of(shape), box_around(shape, radius, colour.shape[0], colour.shape[1])
    total, n = np.zeros(3), 0
    for y in range(box.y0, min(box.y1, ny * binning)):
        for x in range(box.x0, min(box.x1, nx * binning)):
            u, v = to_circle(x, y, axes)
            if u * u + v * v < radius * radius and pixel_class[y // binning, x // binning] < NEIGHBOUR:
                for band in range(3):
                    total[band] += colour[y, x, band]
                n += 1
    if n == 0:
        return np.nan
    signal = np.empty(3)
    for band in range(3):
        level, away = _middle(counts[band], n_sky), np.zeros(LEVELS)
        nearest = min(max(int(np.floor(level + 0.5)), 0), LEVELS - 1)
        for k in range(LEVELS):
            away[abs(k - nearest)] += counts[band, k]
        noise = max(MAD_TO_SIGMA * _middle(away, n_sky), LEAST_NOISE)
        signal[band] = (total[band] / n - level) / noise
    signal = np.sort(signal)
    return signal[1] / signal[2] if signal[2] > 0 else np.nan


def band_agreement(images: ImageSet, shapes: list[QuickShape | None]) -> np.ndarray:
    """The S/N of each object in the second of three bands over that in the first (n,), NaN where there are no colours.

    It is that of the light inside the half-light ellipse of the first look: near 1 for what shines in all bands alike,
    near 0 or negative for what is in one band only. Colours that were made of bands for the eye have none: their
    stretch is ours, and on it nothing was calibrated.
    """
    result = np.full(len(images), np.nan)
    names = images.table.colnames
    pictures = np.ma.filled(images.table["stretched"], False) if "stretched" in names else np.zeros(len(images), bool)
    for k, (colour, quick) in enumerate(zip(images.colours or [], shapes, strict=False)):
        if not pictures[k] or colour is None or quick is None:
            continue
        if colour.shape[:2] == np.shape(images.pixels[k]):
            shape = quick.shape.copy()
            shape[X], shape[Y] = unbinned(shape[X], quick.binning), unbinned(shape[Y], quick.binning)
            radius = quick.radius * quick.binning
            result[k] = _agreement(
                np.ascontiguousarray(colour), quick.segmentation.pixel_class, quick.binning, shape, radius
            )
    return result
