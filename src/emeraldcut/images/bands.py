"""Bands: several images of one galaxy as one, for detection and shape.

The planes are averaged with weights of inverse variance, one weight a band. A band without data is left out, and where
single pixels of a band are missing, the others stand for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import Any

import numpy as np

MOST_BANDS = 9  # planes on one WCS; more are a stack of images
LEAST_COVERAGE = 0.5  # a band with fewer pixels than this fraction of those of the best covered one is left out
LEAST_COMMON = 64  # pixels that all bands have, to tell how bright they are relative to each other
SPECTRAL_AXES = ("WAVE", "AWAV", "FREQ", "VELO", "VRAD", "VOPT", "ENER", "WAVN", "ZOPT", "BETA", "LAMB")


@dataclass(frozen=True)
class Combined:
    """Bands as one image.

    Attributes
    ----------
    pixels : (ny, nx) float32
    sigma : (ny, nx) float32 or None
        Noise per pixel, where all bands state theirs.
    used : list of int
        The bands that it is made of.
    """

    pixels: np.ndarray
    sigma: np.ndarray | None
    used: list[int]


def combine(planes: Sequence[np.ndarray], sigmas: Sequence[np.ndarray | None]) -> Combined:
    """The average (ny, nx) of images of one galaxy in several bands, weighted by the inverse variance of their noise.

    Parameters
    ----------
    planes : (ny, nx) arrays
        NaN where there is no data.
    sigmas : (ny, nx) arrays or None
        Noise that maps state; it is estimated where there is none.
    """
    stacked = np.array(planes, dtype=np.float32)
    stacked[~np.isfinite(stacked)] = np.nan
    noise = np.array([_typical_noise(*pair) for pair in zip(stacked, sigmas, strict=True)])
    used = _bands_with_data(stacked, noise)
    if not used:
        return Combined(np.full(stacked.shape[1:], np.nan, np.float32), None, [])
    weights = noise[used] ** -2
    weights /= weights.sum()
    pixels = _average(stacked[used], weights)
    given = [sigma for band in used if (sigma := sigmas[band]) is not None]
    if len(given) < len(used):
        return Combined(pixels, None, used)
    variance = sum(w**2 * np.nan_to_num(s, nan=n) ** 2 for w, s, n in zip(weights, given, noise[used], strict=True))
    return Combined(pixels, np.sqrt(variance).astype(np.float32), used)


def _typical_noise(plane: np.ndarray, sigma: np.ndarray | None) -> float:
    """Noise of a pixel: the median of what a map states, else from differences of pixels side by side; NaN if none."""
    if sigma is not None and np.isfinite(sigma).any():
        return float(np.nanmedian(sigma[np.isfinite(sigma)]))
    both = [np.diff(plane, axis=axis) for axis in (0, 1)]
    steps = np.concatenate([step[np.isfinite(step)] for step in both])
    if steps.size < 2 or not steps.any():
        return np.nan
    from astropy.stats import mad_std

    noise = float(mad_std(steps.astype(np.float64))) / np.sqrt(2)
    return noise if noise > 0 else float(steps.std(dtype=np.float64)) / np.sqrt(2)


def _bands_with_data(planes: np.ndarray, noise: np.ndarray) -> list[int]:
    """Bands that have data, enough of it, and in common with the others."""
    known = np.isfinite(planes)
    covered = known.sum(axis=(1, 2)) * np.isfinite(noise)
    used = [k for k in range(len(planes)) if covered[k] and covered[k] >= LEAST_COVERAGE * covered.max()]
    while len(used) > 1 and known[used].all(axis=0).sum() < LEAST_COMMON:
        used.remove(min(used, key=lambda k: covered[k]))
    return used


def _average(planes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted average; where bands are missing, that of the others, made as bright as all of them together are."""
    known = np.isfinite(planes)
    w = weights[:, None, None]
    everywhere = known.all(axis=0)
    whole = np.einsum("k,kij->ij", weights, np.where(known, planes, 0.0).astype(np.float64))
    pixels = np.where(everywhere, whole, np.nan)
    patterns = np.einsum("k,kij->ij", 1 << np.arange(len(planes)), known)
    for pattern in np.unique(patterns[~everywhere & (patterns > 0)]):
        there = [k for k in range(len(planes)) if pattern >> k & 1]
        part = np.einsum("kij->ij", (w * planes)[there].astype(np.float64)) / weights[there].sum()
        x, y = part[everywhere], whole[everywhere]
        x0, y0 = np.median(x), np.median(y)
        bright = np.sum((x - x0) ** 2)
        slope = np.sum((x - x0) * (y - y0)) / bright if bright > 0 else 1.0
        here = patterns == pattern
        pixels[here] = y0 + slope * (part[here] - x0)
    return pixels.astype(np.float32)


# --- what the planes of an array are


def band_names(header: Mapping[str, Any], number: int) -> tuple[str, ...]:
    """Names of `number` bands as a header has them: BANDS or FILTERS, BANDn, FILTERn; empty if it has none."""
    for key in ("BANDS", "FILTERS", "BAND", "FILTER"):
        text = str(header.get(key, "")).strip()
        names = re.split(r"[\s,;|/]+", text) if re.search(r"[\s,;|/]", text) else list(text)
        if len(names) == number and number > 1:
            return tuple(names)
    for key in ("BAND", "FILTER", "FILT"):
        for first in (0, 1):
            texts = (str(header.get(f"{key}{n}", "")).strip() for n in range(first, first + number))
            names = list(takewhile(bool, texts))  # up to the first that is missing, whatever the header claims
            if len(names) == number:
                return tuple(names)
    return ()


def chosen_bands(wanted: tuple[str, ...], names: Sequence[str], number: int) -> list[int]:
    """Places of the bands that the user wants, by name or by number from 0; all where none is said.

    LookupError, with a sentence, for a band that is not there.
    """
    if not wanted:
        return list(range(number))
    by_name = {name.lower(): place for place, name in reversed(list(enumerate(names)))}
    places = []
    for band in wanted:
        if band.lower() in by_name:
            places.append(by_name[band.lower()])
        elif not names and band.isdigit() and int(band) < number:
            places.append(int(band))
        else:
            known = f"the bands {', '.join(names)}" if names else f"{number} bands without names (0 to {number - 1})"
            raise LookupError(f"There is no band '{band}'; it has {known}.")
    return places


class Layout(StrEnum):
    """What the axes of an array are."""

    PLANE = "one image"
    STACK = "images, (n, ny, nx)"
    BANDS_FIRST = "bands of one image, (n, ny, nx)"
    BANDS_LAST = "bands of one image, (ny, nx, n)"
    FIRST_PLANE = "one image and others that are no light, (n, ny, nx)"
    SPECTRUM = "one image at many wavelengths, (n, ny, nx)"


def bands_last(shape: tuple[int, ...]) -> bool:
    """Whether the last axis of a (ny, nx, n) array can only be one of bands or colours."""
    return len(shape) == 3 and shape[-1] <= MOST_BANDS < min(shape[:2])


def layout(header: Mapping[str, Any], shape: tuple[int, ...], *, on_sky: bool, stack: bool) -> Layout:
    """What the axes of a FITS array of two or three axes are.

    Three axes are bands of one image where the header names as many bands, or where 2 to 9 planes have one WCS on the
    sky; else they are a stack of images, as always if the user says so (`stack`).
    """
    if len(shape) < 3:
        return Layout.PLANE
    if stack:
        return Layout.STACK
    if bands_last(shape):
        return Layout.BANDS_LAST
    third = str(header.get("CTYPE3", "")).strip().upper()
    if third == "STOKES":
        return Layout.FIRST_PLANE
    if third[:4] in SPECTRAL_AXES and shape[0] > MOST_BANDS:
        return Layout.SPECTRUM
    if band_names(header, shape[0]) or (on_sky and 2 <= shape[0] <= MOST_BANDS):
        return Layout.BANDS_FIRST
    return Layout.STACK
