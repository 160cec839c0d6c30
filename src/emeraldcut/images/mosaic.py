"""One large image, of which any part is read alone: its pixels, what is masked, and the noise that its maps state."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.data.flags import Flag
from emeraldcut.errors import UsageError
from emeraldcut.images.band_files import ONE_FILE_EACH, SAME_PIXEL, mean_psf
from emeraldcut.images.bands import Layout, band_names, chosen_bands, combine, layout
from emeraldcut.images.claims import OPENED, BadImage, cards_of, check_claim, file_of, fits_file, in_tiles, shape_of
from emeraldcut.images.fits_units import Contents, ImageUnits, MaskAndNoise, open_fits, unit_band
from emeraldcut.images.formats import (
    MOST_CRASHES,
    NO_PIXELS,
    check_band,
    kind_of,
    masked,
    noise_per_pixel,
    read_file,
    weighed,
)
from emeraldcut.images.light import Stretch, stretch_of
from emeraldcut.images.options import DEFAULT, PictureSettings
from emeraldcut.images.planes import WEIGHT, FileGroup, plain_band
from emeraldcut.images.psf import Psf
from emeraldcut.images.unpacking import part_of
from emeraldcut.images.wcs import from_icrs, header_facts, missing_facts, sky_axes, sky_facts, wcs_or_none
from emeraldcut.runs.apart import Crashed

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
    group : FileGroup
        The files of its maps.
    settings : PictureSettings
        How it is read.
    number : int
        Its place among the images of its file.
    read_as, bands : str
        How it is read, in words, and which bands it is made of.
    psf : Psf or None
    psf_fwhm_pix : float or None
        That the header of the PSF states.
    band : str
        That its header states.
    parts : tuple of Tile
        Of a mosaic with a file for each of its bands, these; they have one grid of pixels.
    """

    name: str
    path: Path
    unit: int = -1
    shape: tuple[int, int] = (0, 0)
    wcs: Any = None
    fault: str = ""
    packed: bool = False
    group: FileGroup | None = field(default=None, compare=False)
    settings: PictureSettings = DEFAULT
    number: int = 0
    read_as: str = ""
    bands: str = ""
    psf: Psf | None = field(default=None, compare=False)
    psf_fwhm_pix: float | None = None
    band: str = ""
    parts: tuple[Tile, ...] = field(default=(), compare=False)

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
        with warnings.catch_warnings():  # about distortions that have no inverse far outside
            warnings.simplefilter("ignore")
            x, y = from_icrs(self.wcs, ra, dec)
        return np.atleast_1d(x), np.atleast_1d(y)

    def overlaps(self, other: Tile) -> bool:
        """Whether the middle of one of two tiles lies in the other; of those without WCS that is assumed."""
        if self.wcs is None or other.wcs is None:
            return True
        for one, two in ((self, other), (other, self)):
            y, x = (np.array([(n - 1) / 2]) for n in two.shape)
            if one.depth(*one.to_pixels(*two.to_sky(x, y)))[0] > 0:  # not for NaN
                return True
        return False

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


def tiles_in(file: Path | FileGroup, settings: PictureSettings = DEFAULT) -> list[Tile]:
    """The large images in a file, at least one; one that cannot be read has a fault."""
    group = file if isinstance(file, FileGroup) else FileGroup(file)
    if group.of_bands:
        return _tiles_of_bands(group, settings)
    path = group.path
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
            return _fits_tiles(group, settings)
    except UsageError:
        raise
    except BadImage as error:
        return [Tile(str(path), path, fault=error.detail)]
    except Exception as error:  # astropy raises many kinds of errors on damaged files
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        return [Tile(str(path), path, fault=f"It is truncated or damaged ({reason}).")]


def _tiles_of_bands(group: FileGroup, settings: PictureSettings) -> list[Tile]:
    """The mosaic of files of single bands, of those that `settings.band` names; several if they show other places.

    UsageError for bands of one place whose pixels are different, which cannot be combined here.
    """
    wanted = {band.lower() for band in settings.band}
    parts = [one for one in group.bands if not wanted or one.band in wanted]
    if not parts:
        known = ", ".join(one.band for one in group.bands)
        return [Tile(group.name, group.path, fault=f"There is no band '{settings.band[0]}'; it has the bands {known}.")]
    found = [tiles_in(one, replace(settings, band=())) for one in parts]
    tiles = [tile for one in found for tile in one]
    if len(parts) == 1 or any(len(one) != 1 for one in found):
        return tiles
    good = [tile for tile in tiles if not tile.fault]
    if len(good) < 2:
        return good or tiles[:1]
    if not all(_one_grid(good[0], tile) for tile in good[1:]):
        if any(good[0].overlaps(tile) for tile in good[1:]):
            raise UsageError(
                f"'{group.path}' and the mosaics of its other bands ({', '.join(one.band for one in parts)}) have "
                "different pixels; choose one with --band."
            )
        return tiles
    names = [one.band for one, tile in zip(parts, tiles, strict=True) if not tile.fault]
    notes = list(dict.fromkeys(note for tile in good for note in [tile.read_as] if note))
    psf = mean_psf([tile.psf for tile in good])
    said = "; ".join([ONE_FILE_EACH, *notes])
    whole = replace(good[0], bands=",".join(names), read_as=said, psf=psf, psf_fwhm_pix=None, parts=tuple(good))
    return [replace(whole, packed=any(tile.packed for tile in good))]


def _one_grid(one: Tile, other: Tile) -> bool:
    """Whether two tiles have the same pixels on the sky, as far as both say."""
    if one.shape != other.shape or (one.wcs is None) != (other.wcs is None):
        return False
    if one.wcs is None:
        return True
    ny, nx = one.shape
    x, y = np.array([0.0, nx - 1, 0, nx - 1, nx // 2]), np.array([0.0, 0, ny - 1, ny - 1, ny // 2])
    there = np.array(one.to_pixels(*other.to_sky(x, y)))
    return bool(np.abs(there - [x, y]).max() < SAME_PIXEL)  # not for NaN


PLANS = (Layout.PLANE, Layout.FIRST_PLANE, Layout.BANDS_FIRST)  # what can be cut from


def _plan(image: ImageUnits, settings: PictureSettings) -> Layout:
    header = cards_of(image.units[0])
    return layout(header, image.shape, on_sky=sky_axes(header), stack=settings.stack)


def _fits_tiles(group: FileGroup, settings: PictureSettings) -> list[Tile]:
    path = group.path
    with open_fits(group, settings) as (units, contents):
        numbers = {id(unit): number for number, unit in enumerate(units)}
        images = [image for image in contents.images if _plan(image, settings) in PLANS and len(image.shape) <= 3]
        if not images:
            return [Tile(str(path), path, fault=contents.problem or "It holds no two-dimensional image.")]
        tiles = []
        for image in images:
            unit, fault, bands = image.units[0], "", ""
            try:
                for one in image.units + [m for maps in image.maps for m in (maps.mask, maps.noise) if m is not None]:
                    check_claim(one, file_of(one) or path, largest_megapixels=np.inf)
                bands = ",".join(name for _, _, name in _parts(image, settings))
            except BadImage as error:
                fault = error.detail
            notes = contents.notes(image) + [s.said for s in [stretch_of(cards_of(unit))] if s]
            notes += [f"PSF from {contents.psf.name}"] if contents.psf is not None else []
            header = cards_of(unit)
            wcs = wcs_or_none(header, units)
            notes += (
                []
                if wcs is not None
                else missing_facts(cards_of(unit), header_facts(cards_of(unit), image.shape, units))
            )
            ny, nx = image.shape[-2:]
            tile = Tile(
                str(path) if len(images) == 1 else f"{path}[{numbers[id(unit)]}]",
                path,
                numbers[id(unit)],
                (ny, nx),
                wcs,
                fault,
                in_tiles(unit),
                group,
                settings,
                contents.images.index(image),
                "; ".join(notes),
                bands,
                contents.psf,
                contents.psf_fwhm_pix,
                plain_band(unit_band(unit)) if len(image.units) == 1 else "",
            )
            tiles.append(tile)
        return tiles


def _parts(image: ImageUnits, settings: PictureSettings) -> list[tuple[int, int, str]]:
    """The planes that an image is made of: the place of the unit, the plane in it, the name of the band if it is one.

    BadImage for a band that is not there.
    """
    header, shape = cards_of(image.units[0]), image.shape
    if len(image.units) == 1 and _plan(image, settings) is not Layout.BANDS_FIRST:
        check_band(image.units[0], settings)
        return [(0, 0, "")]
    number = len(image.units) if len(image.units) > 1 else shape[0]
    names = image.bands if len(image.units) > 1 else band_names(header, number)
    try:
        wanted = chosen_bands(settings.band, names, number)
    except LookupError as error:
        raise BadImage(Flag.NOT_AN_IMAGE, str(error.args[0])) from None
    labels = [names[k] if names else str(k) for k in wanted]
    if len(image.units) > 1:
        return [(k, 0, label) for k, label in zip(wanted, labels, strict=True)]
    return [(0, k, label) for k, label in zip(wanted, labels, strict=True)]


class Mosaic:
    """The pixels of a tile, part by part; of several bands as one image."""

    def __init__(self, tile: Tile, layers: list[_Layer]) -> None:
        self.tile, self.layers = tile, layers

    def window(self, x0: int, y0: int, size: int) -> np.ndarray:
        """Pixels (size, size) float32 from column x0, row y0 on; NaN outside, where masked, and without weight."""
        return self.window_and_noise(x0, y0, size, size)[0]

    def bands(self, x0: int, y0: int, size: int) -> dict[str, np.ndarray]:
        """The same of each band by its name; empty where bands have no names."""
        names = self.tile.bands.split(",") if self.tile.bands else []
        if len(names) != len(self.layers):
            return {}
        return {
            name: Mosaic(self.tile, [layer]).window(x0, y0, size)
            for name, layer in zip(names, self.layers, strict=True)
        }

    def window_and_noise(self, x0: int, y0: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The same of any shape, and the noise per pixel that a map in the file states, NaN where unknown, or None."""
        window = np.full((height, width), np.nan, dtype=np.float32)
        ny, nx = self.tile.shape
        left, right, bottom, top = max(x0, 0), min(x0 + width, nx), max(y0, 0), min(y0 + height, ny)
        stated = all(layer.noise_scale is not None for layer in self.layers)
        noise = window.copy() if stated else None
        if left >= right or bottom >= top:
            return window, noise
        inside = slice(bottom - y0, top - y0), slice(left - x0, right - x0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parts = [layer.part(slice(bottom, top), slice(left, right)) for layer in self.layers]
        part, sigma = parts[0]
        if len(parts) > 1:
            combined = combine(*zip(*parts, strict=True))
            part, sigma = combined.pixels, combined.sigma
        window[inside] = part
        if noise is not None and sigma is not None:
            noise[inside] = sigma
        return window, noise


class _Layer:
    """One plane of a mosaic with its maps."""

    def __init__(self, data: Any, shape: tuple[int, int], maps: MaskAndNoise = MaskAndNoise(), plane: int = 0) -> None:
        self._shape, self._maps = shape, maps
        self._data, self._mask, self._noise = (_light(part, plane) for part in (data, maps.mask, maps.noise))

    def part(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels float32, NaN where masked and without weight, and the noise that a map states, or None."""
        part = np.array(self._data[rows, columns], dtype=np.float32)
        if self._mask is not None:
            part = masked(part, self._mask[rows, columns], self._maps.rule)
        if self.noise_scale is None:
            return part, None
        sigma = self.noise_scale * self._stated(rows, columns)
        return weighed(part, sigma, self._maps.holds == WEIGHT)[0], sigma

    def _stated(self, rows: slice, columns: slice) -> np.ndarray:
        return noise_per_pixel(self._noise[rows, columns], self._maps.holds)

    @cached_property
    def noise_scale(self) -> float | None:
        """What the values of the noise map are to be multiplied with; None where there is no map, or an empty one.

        That of weights is such that they agree with the noise that the pixels of some parts of the mosaic show, as
        SExtractor has it (Bertin & Arnouts 1996); other maps are taken at their word.
        """
        if self._noise is None:
            return None
        from astropy.stats import mad_std

        relative, ratios, stated = self._maps.holds == WEIGHT, [], False
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
        last = max(self._shape[axis] - SAMPLE_PIX, 0)
        return np.unique(np.linspace(0, last, SAMPLES_A_SIDE + 2)[1:-1].astype(int))


@contextmanager
def open_mosaic(tile: Tile) -> Iterator[Mosaic]:
    """The pixels of a tile; BadImage if it has a fault."""
    if tile.fault:
        raise BadImage(Flag.UNREADABLE, tile.fault)
    if tile.parts:
        with ExitStack() as stack:
            bands = [stack.enter_context(open_mosaic(part)) for part in tile.parts]
            yield Mosaic(tile, [layer for band in bands for layer in band.layers])
        return
    if tile.unit < 0:
        yield Mosaic(tile, [_Layer(_whole(tile.path), tile.shape)])
        return
    with ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # not mapped into memory, see `_PlainUnit`
            opened = open_fits(tile.group or FileGroup(tile.path), tile.settings, memmap=False)
            contents: Contents = stack.enter_context(opened)[1]
        image = contents.images[tile.number]
        yield Mosaic(
            tile,
            [_Layer(image.units[k], tile.shape, image.maps[k], plane) for k, plane, _ in _parts(image, tile.settings)],
        )


class _Unit:
    """A FITS unit of which a part [rows, columns] of a plane is read without the rest; axes of length 1 are ignored."""

    def __init__(self, unit, plane: int = 0) -> None:
        leading = int(cards_of(unit)["NAXIS"]) - 2
        self._section, self._leading = unit.section, (0,) * (leading - 1) + (plane,) * (leading > 0)

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        return self._section[(*self._leading, *part)]


class _Linear:
    """The same of pixels that are not linear in light, made linear."""

    def __init__(self, pixels, stretch: Stretch) -> None:
        self._pixels, self._stretch = pixels, stretch

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        return self._stretch.undo(self._pixels[part])


class _PlainUnit:
    """The same of a unit that is neither compressed nor in a compressed file.

    The file is mapped into memory anew for each part, because pages that were looked at count as memory for as long as
    it is mapped: astropy's sections of a large mosaic grow to its size.
    """

    def __init__(self, unit, plane: int = 0) -> None:
        info, header = unit.fileinfo(), cards_of(unit)
        ny, nx = shape_of(unit)[-2:]
        offset = info["datLoc"] + plane * ny * nx * abs(int(header["BITPIX"])) // 8
        self._place = {"filename": info["file"].name, "offset": offset, "shape": (ny, nx)}
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
    """The same of a unit in compressed tiles, which are unpacked in a process of their own.

    Blocks that were unpacked last are kept a while, since unpacking takes long. One at which the library crashed is not
    tried again, and after MOST_CRASHES of them nothing more of the unit.
    """

    def __init__(self, unit: Any, plane: int = 0) -> None:
        self._unit, self._shape = unit, shape_of(unit)[-2:]
        leading = int(cards_of(unit)["NAXIS"]) - 2
        self._leading = (0,) * (leading - 1) + (plane,) * (leading > 0)
        self._sides = [min(-(-BLOCK_PIX // n) * n, m) for n, m in zip(unit.tile_shape[-2:], self._shape, strict=True)]
        block_bytes = 4 * self._sides[0] * self._sides[1]
        self._block = lru_cache(max(KEPT_BYTES // int(block_bytes), 2))(self._unpack)
        self._crashed: dict[tuple[int, int], str] = {}

    def _unpack(self, row: int, column: int) -> np.ndarray:
        why = self._crashed.get((row, column))
        if why is None and len(self._crashed) >= MOST_CRASHES:
            why = next(iter(self._crashed.values()))
        if why is not None:
            raise Crashed(why)
        ny, nx = self._sides
        there = slice(row * ny, (row + 1) * ny), slice(column * nx, (column + 1) * nx)
        try:
            return part_of(self._unit, (*self._leading, *there))
        except Crashed as error:
            self._crashed[row, column] = str(error)
            raise

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        (y0, y1), (x0, x1) = (sorted((max(s.start, 0), min(s.stop, n))) for s, n in zip(part, self._shape, strict=True))
        ny, nx = self._sides
        bands = [
            np.concatenate([self._block(row, column) for column in range(x0 // nx, -(-x1 // nx))], axis=1)
            for row in range(y0 // ny, -(-y1 // ny))
        ]
        below, left = y0 // ny * ny, x0 // nx * nx
        return np.concatenate(bands)[y0 - below : y1 - below, x0 - left : x1 - left]


def _light(source: Any, plane: int) -> Any:
    """What gives any part of a plane of a FITS unit as light; anything else does so itself."""
    if not hasattr(source, "section"):
        return source
    plane = plane if len(shape_of(source)) == 3 else 0
    if in_tiles(source):
        pixels: Any = _PackedUnit(source, plane)
    else:
        packed = fits_file(Path(source.fileinfo()["file"].name), OPENED).is_compressed
        pixels = _Unit(source, plane) if packed else _PlainUnit(source, plane)
    stretch = stretch_of(cards_of(source))
    return _Linear(pixels, stretch) if stretch else pixels


def _whole(path: Path):
    """An image file other than FITS; one of numpy stays on disk."""
    if kind_of(path) == "npy" and np.load(path, mmap_mode="r", allow_pickle=False).ndim == 2:
        return _Array(path)
    picture = next(read_file(path))
    if picture.pixels is NO_PIXELS:
        raise BadImage(picture.flag, picture.detail)
    return picture.pixels
