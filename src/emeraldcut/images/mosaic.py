"""One large image, of which any part is read alone: its pixels, what is masked, and the noise that its maps state."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.data.flags import Flag
from emeraldcut.images.formats import (
    NO_PIXELS,
    WEIGHT,
    BadImage,
    MaskAndNoise,
    celestial_wcs,
    check_claim,
    image_units,
    kind_of,
    masked,
    noise_per_pixel,
    read_file,
    shape_of,
    sky_facts,
    weighed,
)

FITS_TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}  # by BITPIX
SAMPLE_PIX, SAMPLES_A_SIDE = 128, 3  # parts of a mosaic that tell how its weights and its noise go together
BLOCK_PIX, KEPT_BYTES = 128, 48_000_000  # what is unpacked at a time of a compressed mosaic, and what stays so


@dataclass(frozen=True)
class Tile:
    """Where a large image is, and what its header says; its pixels are in no memory.

    Attributes
    ----------
    name : str
        The file, and [n] for the n-th unit of a FITS file that holds several images, as CFITSIO has it.
    path : Path
    unit : int
        Its place in a FITS file, -1 for other files.
    shape : (ny, nx)
    wcs : astropy WCS or None
        Sky axes.
    fault : str
        Why it cannot be read; empty if it can.
    packed : bool
        Whether it is compressed, so that it is best read from the bottom up.
    """

    name: str
    path: Path
    unit: int = -1
    shape: tuple[int, int] = (0, 0)
    wcs: Any = None
    fault: str = ""
    packed: bool = False

    @cached_property
    def circle(self) -> tuple[np.ndarray, float]:
        """A circle on the sky around the tile: unit vector (3,) of its middle, and radius in degrees."""
        ny, nx = self.shape
        x, y = np.array([(nx - 1) / 2, 0, nx - 1, 0, nx - 1]), np.array([(ny - 1) / 2, 0, 0, ny - 1, ny - 1])
        middle, *corners = on_sky(*self.to_sky(x, y))
        radius = np.degrees(np.arccos(np.clip(np.array(corners) @ middle, -1, 1)).max())
        return (middle, float(radius)) if np.isfinite(radius) else (np.array([0.0, 0.0, 1.0]), 180.0)

    @cached_property
    def scale_arcsec(self) -> float:
        """Side of a pixel in the middle."""
        y, x = (np.array([(n - 1) / 2]) for n in self.shape)
        return float(sky_facts(self.wcs, x, y)["pixel_scale_arcsec"][0])

    def to_sky(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Right ascension and declination (n,), ICRS, degrees, of pixels."""
        facts = sky_facts(self.wcs, np.asarray(x, float), np.asarray(y, float))
        return facts["ra"], facts["dec"]

    def to_pixels(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels x, y (n,) at positions in degrees, ICRS; NaN where the projection has none."""
        from astropy.coordinates import SkyCoord

        with warnings.catch_warnings():  # about distortions that have no inverse far outside
            warnings.simplefilter("ignore")
            x, y = self.wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
        return np.atleast_1d(x), np.atleast_1d(y)

    def depth(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How deep inside places x, y (n,) lie, in pixels from the nearest edge; negative outside, NaN if unknown."""
        ny, nx = self.shape
        return np.minimum(np.minimum(x, nx - 1 - x), np.minimum(y, ny - 1 - y)) + 0.5

    def beyond(self, x0: int, y0: int, size: int) -> np.ndarray:
        """Which pixels of the square (size, size) from column x0, row y0 on are not in the image."""
        ny, nx = self.shape
        x, y = np.arange(x0, x0 + size), np.arange(y0, y0 + size)[:, None]
        return (x < 0) | (x >= nx) | (y < 0) | (y >= ny)


def on_sky(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) of positions in degrees."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def tiles_in(path: Path) -> list[Tile]:
    """The large images in a file, at least one; one that cannot be read has a fault."""
    try:
        kind = kind_of(path)
    except BadImage as error:
        return [Tile(str(path), path, fault=error.detail)]
    except (OSError, EOFError) as error:
        return [Tile(str(path), path, fault=f"{getattr(error, 'strerror', None) or error}.")]
    if kind == "npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.ndim == 2 and array.dtype.kind in "buif":
            return [Tile(str(path), path, shape=array.shape)]
    if kind != "fits":
        picture = next(read_file(path))
        return [
            Tile(str(path), path, shape=picture.pixels.shape, fault=picture.detail if not picture.pixels.size else "")
        ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _fits_tiles(path)
    except Exception as error:  # astropy raises many kinds of errors on damaged files
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        return [Tile(str(path), path, fault=f"It is truncated or damaged ({reason}).")]


def _fits_tiles(path: Path) -> list[Tile]:
    from astropy.io import fits

    with fits.open(path) as units:
        numbers = {id(unit): number for number, unit in enumerate(units)}
        pictures = [unit for unit in image_units(units)[0] if len(shape_of(unit)) == 2]
        if not pictures:
            return [Tile(str(path), path, fault="It holds no two-dimensional image.")]
        tiles = []
        for unit in pictures:
            number, fault = numbers[id(unit)], ""
            try:
                check_claim(unit, path, largest_megapixels=np.inf)
            except BadImage as error:
                fault = error.detail
            name = str(path) if len(pictures) == 1 else f"{path}[{number}]"
            packed = hasattr(unit, "tile_shape")
            ny, nx = shape_of(unit)
            tiles.append(Tile(name, path, number, (ny, nx), _wcs_or_none(unit.header), fault, packed))
        return tiles


def _wcs_or_none(header):
    try:
        return celestial_wcs(header)
    except Exception:  # astropy raises many kinds of errors; without a WCS positions must be x, y
        return None


class Mosaic:
    """The pixels of a tile, part by part."""

    def __init__(self, tile: Tile, data, beside: MaskAndNoise = MaskAndNoise()) -> None:
        self.tile, self._beside = tile, beside
        self._data, self._mask, self._noise = map(_readable, (data, beside.mask, beside.noise))

    def window(self, x0: int, y0: int, size: int) -> np.ndarray:
        """Pixels (size, size) float32 from column x0, row y0 on; NaN outside, where masked, and without weight."""
        return self.window_and_noise(x0, y0, size, size)[0]

    def window_and_noise(self, x0: int, y0: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The same of any shape, and the noise per pixel that a map in the file states, NaN where unknown, or None."""
        window = np.full((height, width), np.nan, dtype=np.float32)
        ny, nx = self.tile.shape
        left, right, bottom, top = max(x0, 0), min(x0 + width, nx), max(y0, 0), min(y0 + height, ny)
        noise = None if self._noise_scale is None else window.copy()
        if left >= right or bottom >= top:
            return window, noise
        rows, columns = slice(bottom, top), slice(left, right)
        inside = slice(bottom - y0, top - y0), slice(left - x0, right - x0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            part = np.array(self._data[rows, columns], dtype=np.float32)
            if self._mask is not None:
                part = masked(part, self._mask[rows, columns])
            if noise is not None:
                sigma = self._noise_scale * self._stated(rows, columns)
                noise[inside] = sigma
                part = weighed(part, sigma, self._beside.kind == WEIGHT)[0]
        window[inside] = part
        return window, noise

    def _stated(self, rows: slice, columns: slice) -> np.ndarray:
        return noise_per_pixel(self._noise[rows, columns], self._beside.kind)

    @cached_property
    def _noise_scale(self) -> float | None:
        """What the values of the noise map are to be multiplied with; None where there is no map, or an empty one.

        That of weights is such that they agree with the noise that the pixels of some parts of the mosaic show, as
        SExtractor has it (Bertin & Arnouts 1996); other maps are taken at their word.
        """
        if self._noise is None:
            return None
        from astropy.stats import mad_std

        relative, ratios, stated = self._beside.kind == WEIGHT, [], False
        for y in self._sampled(0):
            for x in self._sampled(1):
                here = slice(y, y + SAMPLE_PIX), slice(x, x + SAMPLE_PIX)
                sigma = self._stated(*here)
                stated |= bool(np.isfinite(sigma).any())
                if stated and not relative:
                    return 1.0
                with np.errstate(invalid="ignore"):
                    pulls = np.asarray(self._data[here], np.float32) / sigma
                pulls = pulls[np.isfinite(pulls)]
                ratio = mad_std(pulls) if pulls.size > SAMPLE_PIX else 0.0
                ratios += [ratio] if ratio > 0 else []  # it is 0 where all pixels are the same
        return float(np.median(ratios)) if ratios else 1.0 if stated else None

    def _sampled(self, axis: int) -> np.ndarray:
        """Where the sampled parts begin along an axis."""
        last = max(self.tile.shape[axis] - SAMPLE_PIX, 0)
        return np.unique(np.linspace(0, last, SAMPLES_A_SIDE + 2)[1:-1].astype(int))


@contextmanager
def open_mosaic(tile: Tile) -> Iterator[Mosaic]:
    """The pixels of a tile; BadImage if it has a fault."""
    if tile.fault:
        raise BadImage(Flag.UNREADABLE, tile.fault)
    if tile.unit < 0:
        yield Mosaic(tile, _whole(tile.path))
        return
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        units = fits.open(tile.path, memmap=False)  # see `_PlainUnit`
    with units:
        beside = image_units(units)[1]
        unit = units[tile.unit]
        yield Mosaic(tile, unit, beside[id(unit)])


class _Unit:
    """A FITS unit of which a part [rows, columns] is read without the rest; axes of length 1 are passed over."""

    def __init__(self, unit) -> None:
        self._section, self._leading = unit.section, (0,) * (int(unit.header["NAXIS"]) - 2)

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        return self._section[(*self._leading, *part)]


class _PlainUnit:
    """The same of a unit that is neither compressed nor in a compressed file.

    The file is mapped into memory anew for each part, because pages that were looked at count as memory for as long as
    it is mapped: astropy's sections of a large mosaic grow to its size.
    """

    def __init__(self, unit) -> None:
        info, header = unit.fileinfo(), unit.header
        self._place = {"filename": info["file"].name, "offset": info["datLoc"], "shape": shape_of(unit)}
        self._type = FITS_TYPES[int(header["BITPIX"])]
        self._scale, self._zero = float(header.get("BSCALE", 1)), float(header.get("BZERO", 0))
        self._blank = header.get("BLANK") if int(header["BITPIX"]) > 0 else None

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        stored = np.array(np.memmap(**self._place, dtype=self._type, mode="r")[part])
        if self._blank is None and (self._scale, self._zero) == (1, 0):
            return stored
        values = stored * self._scale + self._zero
        if self._blank is not None:
            values[stored == self._blank] = np.nan
        return values


class _Array:
    """The same of an array in a file of numpy."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        return np.array(np.load(self._path, mmap_mode="r", allow_pickle=False)[part])


class _PackedUnit:
    """The same of a compressed unit: blocks that were unpacked last are kept a while, since unpacking takes long."""

    def __init__(self, unit) -> None:
        self._unit, self._shape = _Unit(unit), shape_of(unit)
        self._sides = [min(-(-BLOCK_PIX // n) * n, m) for n, m in zip(unit.tile_shape[-2:], self._shape, strict=True)]
        block_bytes = 4 * self._sides[0] * self._sides[1]
        self._block = lru_cache(max(KEPT_BYTES // int(block_bytes), 2))(self._unpack)

    def _unpack(self, row: int, column: int) -> np.ndarray:
        ny, nx = self._sides
        return self._unit[row * ny : (row + 1) * ny, column * nx : (column + 1) * nx]

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        (y0, y1), (x0, x1) = (sorted((max(s.start, 0), min(s.stop, n))) for s, n in zip(part, self._shape, strict=True))
        ny, nx = self._sides
        bands = [
            np.concatenate([self._block(row, column) for column in range(x0 // nx, -(-x1 // nx))], axis=1)
            for row in range(y0 // ny, -(-y1 // ny))
        ]
        below, left = y0 // ny * ny, x0 // nx * nx
        return np.concatenate(bands)[y0 - below : y1 - below, x0 - left : x1 - left]


def _readable(source):
    """What gives any part of a FITS unit; anything else does so itself."""
    if not hasattr(source, "section"):
        return source
    if hasattr(source, "tile_shape"):
        return _PackedUnit(source)
    return _Unit(source) if source.fileinfo()["file"].compression else _PlainUnit(source)


def _whole(path: Path):
    """An image file other than FITS; one of numpy stays on disk."""
    if kind_of(path) == "npy" and np.load(path, mmap_mode="r", allow_pickle=False).ndim == 2:
        return _Array(path)
    picture = next(read_file(path))
    if picture.pixels is NO_PIXELS:
        raise BadImage(picture.flag, picture.detail)
    return picture.pixels
