"""Cutouts from one large image at the positions of a catalogue; the large image is read piece by piece."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.table import MaskedColumn, Table

from emeraldcut.data.columns import keep_apart, numbers
from emeraldcut.data.formats import (
    NO_PIXELS,
    BadImage,
    celestial_wcs,
    check_claim,
    checked,
    image_units,
    kind_of,
    read_file,
    sky_facts,
)
from emeraldcut.data.imageset import ImageSet, add_flag


class Mosaic:
    """A large image: `window` gives any part of it, `wcs` its sky axes or None."""

    def __init__(self, data, mask, wcs, shape: tuple[int, int]) -> None:
        self.data, self.mask, self.wcs, self.shape = data, mask, wcs, shape

    def window(self, x0: int, y0: int, size: int) -> np.ndarray:
        """Pixels (size, size) float32 from column x0, row y0 on; NaN outside the mosaic and where masked."""
        window = np.full((size, size), np.nan, dtype=np.float32)
        left, right = max(x0, 0), min(x0 + size, self.shape[1])
        bottom, top = max(y0, 0), min(y0 + size, self.shape[0])
        if left >= right or bottom >= top:
            return window
        part = np.array(self.data[bottom:top, left:right], dtype=np.float32)
        if self.mask is not None:
            part[np.asarray(self.mask[bottom:top, left:right]) != 0] = np.nan
        window[bottom - y0 : top - y0, left - x0 : right - x0] = part
        return window


@contextmanager
def open_mosaic(path: Path) -> Iterator[Mosaic]:
    """The first image in a FITS file (read piece by piece), or any other image file (read whole).

    Raises ValueError with one sentence where there is no image.
    """
    try:
        kind = kind_of(path)
    except BadImage as error:
        raise ValueError(f"the mosaic '{path}' cannot be read: {error}") from None
    if kind != "fits":
        picture = next(read_file(path))
        if picture.pixels is NO_PIXELS:
            raise ValueError(f"the mosaic '{path}' cannot be read: {picture.detail}")
        yield Mosaic(picture.pixels, None, None, picture.pixels.shape)
        return
    from astropy.io import fits

    with fits.open(path) as units:
        pictures, masks, _ = image_units(units)
        pictures = [unit for unit in pictures if int(unit.header["NAXIS"]) == 2]
        if not pictures:
            raise ValueError(f"the mosaic '{path}' holds no two-dimensional image.")
        unit = pictures[0]
        try:
            check_claim(unit, path, largest_megapixels=np.inf)
        except BadImage as error:
            raise ValueError(f"the mosaic '{path}' cannot be read: {error}") from None
        mask = masks.get(id(unit))
        shape = (int(unit.header["NAXIS2"]), int(unit.header["NAXIS1"]))
        yield Mosaic(unit.section, mask.section if mask else None, _wcs_or_none(unit.header), shape)


def _wcs_or_none(header):
    try:
        wcs = celestial_wcs(header)
    except Exception:  # astropy raises many kinds of errors; without a WCS positions must be x, y
        return None
    return wcs if wcs.naxis == 2 else None


def positions(mosaic: Mosaic, catalogue: Table) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions x, y (n,), NaN where unknown: from `ra`, `dec` and the WCS where both are there, else
    `x`, `y`.

    Sky positions come first because in tables of ours `x`, `y` are places in a cutout, not in the mosaic.
    """
    if mosaic.wcs is not None and {"ra", "dec"} <= set(catalogue.colnames):
        ra, dec = numbers(catalogue["ra"]), numbers(catalogue["dec"])
        x, y = np.full((2, len(catalogue)), np.nan)
        good = np.isfinite(ra) & np.isfinite(dec)
        if good.any():
            x[good], y[good] = _to_pixels(mosaic.wcs, ra[good], dec[good])
        return x, y
    if {"x", "y"} <= set(catalogue.colnames):
        return numbers(catalogue["x"]), numbers(catalogue["y"])
    raise ValueError(
        f"the catalogue needs ra and dec (for a mosaic with a WCS) or x and y; its columns are "
        f"{', '.join(catalogue.colnames)}{'' if mosaic.wcs is not None else '; the mosaic has no WCS'}."
    )


def _to_pixels(wcs, ra: np.ndarray, dec: np.ndarray):
    from astropy.coordinates import SkyCoord

    return wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))


def cut_out(path: Path, catalogue: Table, size: int, chunk: int) -> Iterator[ImageSet]:
    """Cutouts (size, size) of the mosaic around the catalogue's positions, `chunk` at a time, in catalogue
    order.

    Each row carries the catalogue's columns, `mosaic_x`, `mosaic_y`, and the local WCS. The middle of a
    cutout, (size - 1) / 2, is within half a pixel of the position. What lies outside the mosaic is NaN; a
    cutout wholly outside is flagged NO_DATA.
    """
    with open_mosaic(path) as mosaic:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x, y = positions(mosaic, catalogue)
        for start in range(0, len(catalogue), chunk):
            rows = slice(start, min(start + chunk, len(catalogue)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                images = _cutouts(mosaic, catalogue[rows], x[rows], y[rows], size)
            yield images


def _cutouts(mosaic: Mosaic, table: Table, x: np.ndarray, y: np.ndarray, size: int) -> ImageSet:
    height, width = mosaic.shape
    half = size / 2
    inside = (x > -half) & (x < width - 1 + half) & (y > -half) & (y < height - 1 + half)  # False for NaN
    x0, y0 = (np.where(inside, np.round(v - (size - 1) / 2), 0).astype(int) for v in (x, y))
    pictures = [
        checked(mosaic.window(a, b, size) if ok else np.full((size, size), np.nan))
        for a, b, ok in zip(x0, y0, inside, strict=True)
    ]
    if mosaic.wcs is not None:
        middle = [np.where(inside, v + (size - 1) / 2, np.nan) for v in (x0, y0)]
        for name, values in sky_facts(mosaic.wcs, *middle).items():
            if name not in ("ra", "dec") or name not in table.colnames:
                table[name] = MaskedColumn(values, mask=~np.isfinite(values))
    table["mosaic_x"], table["mosaic_y"] = (MaskedColumn(v, mask=~np.isfinite(v)) for v in (x, y))
    table.remove_columns([name for name in ("x", "y", "flag", "flag_text") if name in table.colnames])
    table = keep_apart(table)
    images = ImageSet(np.stack([picture.pixels for picture in pictures]), table)
    for row, picture in enumerate(pictures):
        if picture.flag:
            detail = "" if inside[row] else "The position is unknown or outside the mosaic."
            add_flag(images.table, row, picture.flag, picture.detail or detail)
    return images
