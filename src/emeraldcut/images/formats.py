"""Image files opened: FITS, PNG, JPEG, TIFF, NPY. What a file is, its first bytes say, not its ending.

Each function yields `Picture`s, one per image in the file, and raises `BadImage` (or whatever its library
raises) where an image cannot be had; `read_file` turns that into a picture with a flag. Arrays keep the order
of the file: row 0 is the bottom of a FITS image, and the top of a PNG, JPEG or TIFF image.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import struct
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path
from threading import RLock
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from emeraldcut.data.colours import in_colour
from emeraldcut.data.flags import Flag, describe, usable
from emeraldcut.errors import UsageError
from emeraldcut.images.bands import MOST_BANDS, Layout, band_names, bands_last, chosen_bands, combine, layout
from emeraldcut.images.claims import (
    BadImage,
    Claim,
    cards_of,
    check_claim,
    file_of,
    fits_file,
    remember,
    shape_of,
    too_large,
)
from emeraldcut.images.fits_units import Contents, ImageUnits, MaskAndNoise, open_fits, unit_band
from emeraldcut.images.light import stretch_of
from emeraldcut.images.masks import MaskRule
from emeraldcut.images.options import DEFAULT, PictureSettings
from emeraldcut.images.origin import Origin
from emeraldcut.images.planes import DEVIATION, VARIANCE, WEIGHT, FileGroup, is_band, plain_band
from emeraldcut.images.psf import Psf
from emeraldcut.images.wcs import header_facts, missing_facts, sky_axes
from emeraldcut.runs.apart import Crashed, apart
from emeraldcut.runs.notices import printable
from emeraldcut.runs.reading import LARGEST_COMPRESSION, MOST_COMPRESSION, open_regular, unpacker

SMALLEST_SIDE_PIX = 8
# Rec. 601 luma, the weights of PIL's convert("L"): colour pictures of galaxies are mostly sRGB composites
# that were made grey in this way elsewhere, so that results can be compared. Not a photometric quantity.
LUMINANCE_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)
NOISIEST = 3.0  # a pixel with more than this many times the usual noise of an image is as good as missing
PICTURE = {"stretched": True}  # what is known of a picture for the eye


@dataclass
class Picture:
    """One image of a file: pixels (ny, nx) float32, flag, detail, its index there, what the file tells, its PSF.

    `hdu` and `plane` say where it is among several images, see `Origin`; `origin` is set by who knows the file.
    `noise` (ny, nx) is the noise per pixel that its map states, or weights say up to a factor.
    `bands` are the pixels of each band that it is made of, if there are several; `colour` (ny, nx, 3) uint8 is what
    the eye sees of a picture in colour.
    """

    pixels: np.ndarray
    flag: Flag = Flag.GOOD
    detail: str = ""
    index: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    psf: Psf | None = None
    hdu: int | None = None
    plane: int | None = None
    origin: Origin | None = None
    noise: np.ndarray | None = None
    bands: dict[str, np.ndarray] | None = None
    colour: np.ndarray | None = None

    def seen_in_colour(self) -> np.ndarray | None:
        """What the eye sees of a picture in colour, or of several bands, (ny, nx, 3) uint8; None of others."""
        return self.colour if self.colour is not None else in_colour(self.bands)


HOLDS_NONE = BadImage(Flag.NOT_AN_IMAGE, "It holds no image.")
MOST_CRASHES = 5  # of a file, after which the rest of it is not tried
LONGEST_REASON = 300  # letters of what a library says
Item = tuple[Picture, dict[str, Any]]  # a picture, and what its row holds besides what the file tells
NO_PIXELS = np.zeros((0, 0), dtype=np.float32)


def checked(array: Any, *, index: int | None = None, facts: dict[str, Any] | None = None) -> Picture:
    """`array` as float32 pixels, infinite values as NaN, with the flag for its type, size and values."""
    array = np.asanyarray(array)
    facts = facts or {}
    if array.dtype.kind not in "buif":
        detail = f"Its values are of type {array.dtype}, not real numbers."
        return Picture(NO_PIXELS, Flag.NOT_AN_IMAGE, detail, index, facts)
    if array.ndim != 2:
        detail = f"Its array has the shape {' x '.join(map(str, array.shape)) or 'of one number'}."
        return Picture(NO_PIXELS, Flag.NOT_AN_IMAGE, detail, index, facts)
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = array.astype(np.float32)
    finite = np.isfinite(pixels)
    pixels[~finite] = np.nan
    if min(pixels.shape) < SMALLEST_SIDE_PIX:
        detail = f"It has {pixels.shape[1]} x {pixels.shape[0]} pixels."
        return Picture(pixels, Flag.TOO_SMALL, detail, index, facts)
    values = pixels[finite]
    if values.size == 0 or values.min() == values.max():
        return Picture(pixels, Flag.NO_DATA, "", index, facts)
    return Picture(pixels, Flag.GOOD, "", index, facts)


def already_unusable(row) -> Picture | None:
    """What stands for the image of a table's row that says itself why there is none; None if it does not say so."""
    if not {"flag", "flag_text"} <= set(row.colnames) or np.ma.is_masked(row["flag"]) or usable(row["flag"]):
        return None
    text = "" if np.ma.is_masked(row["flag_text"]) else str(row["flag_text"])
    return Picture(NO_PIXELS, Flag(int(row["flag"])), text.removeprefix(describe(row["flag"])).strip())


def luminance(array: np.ndarray) -> np.ndarray:
    """Colour (..., 3), or (..., 4) with alpha last, as luminance (...); NaN where wholly transparent.

    Regions of a picture of 8 bits in which a band is clipped are made even, see `_flatten`.
    """
    grey = array[..., :3].astype(np.float32) @ LUMINANCE_WEIGHTS
    if array.dtype == np.uint8 and grey.ndim >= 2:
        clipped: np.ndarray = np.any(array[..., :3] >= CLIPPED, axis=-1)
        for place in np.ndindex(grey.shape[:-2]):
            if np.count_nonzero(clipped[place]) >= FEWEST_CLIPPED:
                _flatten(grey[place], clipped[place])
    if array.shape[-1] == 4:
        grey[array[..., 3] == 0] = np.nan
    return grey


CLIPPED = 250  # of 255, from which on a band is clipped; compression as JPEG scatters it, and makes holes in regions
FEWEST_CLIPPED, RIM_PIX = 5, 2  # pixels of a region; its rim is what the pictures' resampling mixes with what is beyond
LEFT_OVER = 0.5  # grey levels
MOSTLY_CLIPPED = 0.6  # share of a region that is clipped itself and no hole


def _flatten(grey: np.ndarray, clipped: np.ndarray) -> None:
    """Gives each clipped region of a picture (ny, nx), in place, the brightest luminance in it and on its rim.

    Where one band is clipped and the others are not, the luminance is too low, lower even than around it: a saturated
    star would be a ring. What is clipped is at least as bright as what is not.
    """
    from scipy.ndimage import binary_closing, find_objects, label, maximum_filter

    closed = binary_closing(np.pad(clipped, 2), np.ones((3, 3)))[2:-2, 2:-2]
    regions, _ = label(closed, np.ones((3, 3)))
    for k, (rows, columns) in enumerate(find_objects(regions), start=1):
        near = tuple(slice(max(s.start - RIM_PIX, 0), s.stop + RIM_PIX) for s in (rows, columns))
        own = regions[near] == k
        if np.count_nonzero(own & clipped[near]) >= max(FEWEST_CLIPPED, MOSTLY_CLIPPED * np.count_nonzero(own)):
            top, light = grey[near][maximum_filter(own, 2 * RIM_PIX + 1)].max(), grey[near][own]
            # what is left of the differences keeps the region from looking like one without data
            grey[near][own] = top - LEFT_OVER * (light.max() - light) / max(np.ptp(light), 1.0)


def seen_colours(array: np.ndarray) -> np.ndarray | None:
    """Colours (ny, nx, 3 or 4) of 8 or 16 bits as (ny, nx, 3) uint8; None of other numbers, and of what is grey."""
    if array.ndim != 3 or array.dtype not in (np.uint8, np.uint16):
        return None
    colour = array[..., :3]
    if (colour[..., 0] == colour[..., 1]).all() and (colour[..., 0] == colour[..., 2]).all():
        return None
    return colour if array.dtype == np.uint8 else (colour >> 8).astype(np.uint8)


SIGNATURES = {
    b"SIMPLE  =": "fits",
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\x93NUMPY": "npy",
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"PAR1": "parquet",
    b"GIF8": "gif",
    b"BM": "bmp",
}
KINDS = (*dict.fromkeys(SIGNATURES.values()), "webp", "votable")  # that `kind_of` knows


def kind_of(path: Path) -> str:
    """fits, png, jpeg, tiff, npy, hdf5, parquet, votable or "" from the first bytes of the file."""
    with open_regular(path) as file:
        head = file.read(1024)
        if not head:
            raise BadImage(Flag.UNREADABLE, "It is empty (0 bytes).")
        if opened := unpacker(head):
            file.seek(0)
            with opened(file, "rb") as content:
                head = content.read(80)
        elif head.startswith(b"SIMPLE  ="):
            remember(path, file)
    for signature, kind in SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return "votable" if b"<VOTABLE" in head else ""


def read_file(
    path: Path, settings: PictureSettings = DEFAULT, group: FileGroup | None = None, start: int = 0
) -> Generator[Picture]:
    """All images in the file from the `start`-th on, in order; at least one picture, whatever the file is.

    This is the border at which whatever goes wrong with an image becomes its row: every plane of a stack that the file
    claims has a picture, one that cannot be read with a flag and a sentence. Emits no warnings. `group` has the files
    of its maps. UsageError for settings that the file cannot follow.
    """
    done, expected, crashes = start, 0, 0
    pictures: Iterator[Picture] | None = None
    while True:
        try:
            with warnings.catch_warnings():  # not around `yield`, where it would act on the caller
                warnings.simplefilter("ignore")
                if pictures is None:
                    expected, pictures = _pictures(path, settings, group or FileGroup(path), done)
                picture = next(pictures)
        except StopIteration:
            for k in range(done, max(expected, start + 1)):
                nothing = BadImage(Flag.UNREADABLE, "The file ends before this image.")
                yield failed(nothing if expected else HOLDS_NONE, k if expected > 1 else None)
            return
        except UsageError:
            raise
        except Exception as error:  # image libraries raise errors of every kind on damaged files
            if start < expected <= done:  # it came after the last image
                return
            if isinstance(error, Crashed) and error.spoiled:
                pictures = None
                continue
            crashes += isinstance(error, Crashed)
            goes_on = isinstance(error, Crashed) and crashes < MOST_CRASHES
            left = max(expected - done, 1)
            for _ in range(1 if goes_on else left):
                yield failed(error, done if expected > 1 else None)
                done += 1
            if left == 1 or not goes_on:
                return
            pictures = None
        else:
            done += 1
            yield picture


def _pictures(path: Path, settings: PictureSettings, group: FileGroup, start: int) -> tuple[int, Iterator[Picture]]:
    """How many images a file has, 0 if that is not known before they are read, and those from the `start`-th on."""
    kind = kind_of(path)
    if kind == "fits":
        files = [one for one in (path, group.mask, group.noise) if one is not None]
        if any(fits_file(one, settings).is_packed for one in files):
            return _apart(group, settings, start)
        return counted(_fits(group, settings, start))
    readers = {"tiff": _tiff, "npy": _npy} | dict.fromkeys(("png", "jpeg", "gif", "bmp", "webp"), _raster)
    if kind not in readers:
        detail = "It is not a FITS, PNG, JPEG, TIFF or NPY file, whatever its name says."
        raise BadImage(Flag.UNREADABLE, detail)
    number, pictures = counted(readers[kind](path, settings))
    return number, islice(pictures, start, None)


Counted = Iterator["int | Picture"]  # first how many pictures come, 0 if that is not known, then these


def counted(items: Counted) -> tuple[int, Iterator[Picture]]:
    """The number that comes first, and the rest."""
    number = next(items)
    assert isinstance(number, int)
    return number, items  # type: ignore[return-value]  # only the first is a number


def _apart(group: FileGroup, settings: PictureSettings, start: int) -> tuple[int, Iterator[Picture]]:
    """The same of a FITS file with compressed tiles, whose unpacking in astropy can crash, in a process of its own."""
    return counted(apart("emeraldcut.images.formats:fits_pictures", group, settings, start))


def fits_pictures(group: FileGroup, settings: PictureSettings, start: int) -> Counted:
    """`_fits` without warnings, to be run apart."""
    warnings.simplefilter("ignore")
    return _fits(group, settings, start)


def failed(error: BaseException, index: int | None = None) -> Picture:
    """What stands for an image, the `index`-th of its file, that could not be read because of `error`."""
    if isinstance(error, BadImage):
        return Picture(NO_PIXELS, error.flag, printable(error.detail), index)
    return Picture(NO_PIXELS, Flag.UNREADABLE, _why(error), index)


def _why(error: BaseException) -> str:
    """A sentence about whatever was raised while an image was read."""
    reason = printable(str(error).strip().split("\n")[0]).rstrip(".")[:LONGEST_REASON] or type(error).__name__
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return "There was not enough memory to read it; use fewer --jobs, or more memory."
    if isinstance(error, Crashed):
        return f"{reason}."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    return f"It is truncated or damaged ({reason})."


def each_plane(number: int, plane: Callable[[int], Picture], start: int = 0) -> Iterator[Picture]:
    """The planes of a stack from the `start`-th on, one picture each, whatever is wrong with some of them."""
    for k in range(start, number):
        try:
            picture = plane(k)
        except UsageError:
            raise
        except Exception as error:  # image libraries raise errors of every kind on damaged files
            picture = failed(error, k if number > 1 else None)
        yield picture


# --- FITS


def _fits(group: FileGroup, settings: PictureSettings, start: int = 0) -> Counted:
    # Astropy maps the file into memory, so a cube is read piece by piece.
    with open_fits(group, settings, lazy_load_hdus=False) as (units, contents):
        pictures = FitsPictures(units, contents, group, settings)
        yield pictures.number
        yield from pictures.after(start)


class _OpenFile(NamedTuple):
    """An open FITS file: its units, what they hold, the files of its maps, and how it is read."""

    units: Any
    contents: Contents
    group: FileGroup
    settings: PictureSettings


class FitsPictures:
    """The images of an open FITS file, in order or one alone. BadImage where it holds none that can be chosen."""

    def __init__(self, units: Any, contents: Contents, group: FileGroup, settings: PictureSettings) -> None:
        if contents.problem:
            raise BadImage(Flag.NOT_AN_IMAGE, contents.problem)
        if not contents.images:
            raise _no_picture(units)
        places = {id(unit): place for place, unit in enumerate(units)}
        self._read = partial(_guarded, _OpenFile(units, contents, group, settings))
        self._images = [(image, _layout(image, settings)) for image in contents.images]
        self._numbers = [_number(image, plan, group, settings) for image, plan in self._images]
        self._hdus = [places[id(image.units[0])] for image, _ in self._images]
        self._alone = len(self._images) == 1 and self._images[0][1] is not Layout.STACK
        self.number = sum(self._numbers)

    def after(self, start: int) -> Iterator[Picture]:
        """All images from the `start`-th on."""
        index = 0
        for (image, plan), number, hdu in zip(self._images, self._numbers, self._hdus, strict=True):
            if index + number <= start:
                index += number
                continue
            first = max(start - index, 0)
            index += first
            for plane, picture in enumerate(self._read(image, plan, first), start=first):
                if not self._alone:
                    picture.index, picture.hdu = index, hdu
                    picture.plane = plane if plan is Layout.STACK else None
                index += 1
                yield picture

    def one(self, hdu: int | None, plane: int | None) -> Picture:
        """The image of a unit and plane, as `Picture` has them. LookupError if there is no such."""
        number = plane or 0
        if hdu is not None:
            place = self._hdus.index(hdu) if hdu in self._hdus else len(self._hdus)
            if number >= self._numbers[place]:
                raise LookupError(f"it has no plane {plane}")
            number += sum(self._numbers[:place])
        if number >= self.number:
            raise LookupError(f"it has no image {number}")
        return next(self.after(number))


def _number(image: ImageUnits, plan: Layout, group: FileGroup, settings: PictureSettings) -> int:
    """How many pictures an image of a file gives: the planes of a stack whose claim can be true, else one."""
    if plan is not Layout.STACK or len(image.shape) != 3:
        return 1
    try:
        check_claim(image.units[0], group.path, settings.largest_megapixels)
    except BadImage:
        return 1
    return image.shape[0]


def _guarded(file: _OpenFile, image: ImageUnits, plan: Layout, start: int) -> Iterator[Picture]:
    """The pictures of one image of a file with several, of which one that fails does not take the others along."""
    try:
        yield from _read(file, image, plan, start)
    except UsageError:
        raise
    except Exception as error:  # image libraries raise errors of every kind on damaged files
        yield failed(error)


def _layout(image: ImageUnits, settings: PictureSettings) -> Layout:
    header = cards_of(image.units[0])
    if len(image.units) > 1:
        return Layout.PLANE
    return layout(header, image.shape, on_sky=sky_axes(header), stack=settings.stack)


def _no_picture(units) -> BadImage:
    if any(not unit.is_image for unit in units):
        return BadImage(Flag.NOT_AN_IMAGE, "The FITS file holds only tables.")
    shapes = [shape_of(unit) for unit in units if shape_of(unit)]
    detail = f"Its array has {len(shapes[0])} axis." if shapes else "The FITS file holds no data."
    return BadImage(Flag.NOT_AN_IMAGE, detail)


def _read(file: _OpenFile, image: ImageUnits, plan: Layout, start: int) -> Iterator[Picture]:
    """The pictures of one image of a FITS file: one, or one a plane of a stack from the `start`-th on."""
    units, contents, group, settings = file
    shape, header = image.shape, cards_of(image.units[0])
    if len(shape) > 3:
        yield Picture(NO_PIXELS, Flag.NOT_AN_IMAGE, f"Its array has {len(shape)} axes.")
        return
    if plan is Layout.SPECTRUM:
        detail = f"It has {shape[0]} wavelengths; make one image of them, or use --stack if each is a galaxy."
        yield Picture(NO_PIXELS, Flag.NOT_AN_IMAGE, detail)
        return
    if len(image.units) == 1 and plan in (Layout.PLANE, Layout.FIRST_PLANE):
        check_band(image.units[0], settings)
    for unit in image.units:
        check_claim(unit, group.path, settings.largest_megapixels)
    for maps in image.maps:
        for unit in (maps.mask, maps.noise):
            if unit is not None:
                check_claim(unit, file_of(unit) or group.path, settings.largest_megapixels)
    facts = {} if plan is Layout.BANDS_LAST else header_facts(header, shape, units)
    notes = [*contents.notes(image), *([] if plan is Layout.BANDS_LAST else missing_facts(header, facts))]
    if contents.psf is not None:
        notes.append(f"PSF from {contents.psf.name}")
    if contents.psf_fwhm_pix is not None:
        facts["psf_fwhm_pix"] = contents.psf_fwhm_pix
    if stretch := stretch_of(header):
        notes.append(stretch.said)
    layers = [_Layers(unit, maps) for unit, maps in zip(image.units, image.maps, strict=True)]
    read: Iterator[Picture]
    if plan is Layout.STACK:
        layer = layers[0]
        read = each_plane(shape[0], lambda k: _single(layer.plane(k), layer.maps, dict(facts), list(notes)), start)
    elif plan in (Layout.PLANE, Layout.FIRST_PLANE) and len(layers) == 1:
        read = iter([_single(layers[0].plane(0), layers[0].maps, facts, notes)])
    else:
        read = iter([_banded(image, plan, layers, facts, notes, settings)])
    for picture in read:
        picture.psf = contents.psf
        yield picture


Planes = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]  # pixels, mask and noise, None where there is no map


@dataclass
class _Layers:
    """The planes of a unit, read one at a time, with those of its maps."""

    unit: Any
    maps: MaskAndNoise

    def plane(self, k: int, *, last: bool = False) -> Planes:
        """The k-th plane (ny, nx) of pixels, made linear, mask and noise; None where there is no map."""
        pixels, mask, noise = (_plane(unit, k, last) for unit in (self.unit, self.maps.mask, self.maps.noise))
        assert pixels is not None  # there is a unit
        return linear(pixels, self.unit), mask, None if noise is None else linear(noise, self.maps.noise)


def linear(pixels: np.ndarray, unit: Any) -> np.ndarray:
    """Pixels of a FITS unit as light."""
    stretch = stretch_of(cards_of(unit)) if unit is not None else None
    return pixels if stretch is None else stretch.undo(pixels)


def _plane(unit: Any, k: int, last: bool) -> np.ndarray | None:
    """The k-th plane of a unit of two or three axes; the only one of those of two."""
    if unit is None:
        return None
    shape = shape_of(unit)
    if len(shape) == 2:
        return unit.data.reshape(shape)
    leading = (0,) * (int(cards_of(unit)["NAXIS"]) - 3)
    return unit.section[(*leading, slice(None), slice(None), k) if last else (*leading, k)]


def _single(plane: Planes, maps: MaskAndNoise, facts: dict[str, Any], notes: list[str]) -> Picture:
    """One image without its masked pixels and those of no weight; its fact `noise_sigma` is what its noise map says."""
    pixels, sigma = cleared(*plane, maps)
    if sigma is not None and stated(sigma, maps) is not None:
        known = np.isfinite(sigma) & np.isfinite(pixels)
        facts["noise_sigma"] = float(np.median(sigma[known])) if known.any() else np.nan
    picture = checked(pixels, facts=facts | said(notes))
    picture.noise = sigma
    return picture


def said(notes: list[str]) -> dict[str, str]:
    """How an image was read, as a fact of its row; nothing where there is nothing to say."""
    return {"read_as": "; ".join(notes)} if notes else {}


def cleared(pixels, mask, noise, maps: MaskAndNoise) -> tuple[np.ndarray, np.ndarray | None]:
    """One plane without masked pixels and those of no weight, and its noise per pixel where it has a map, see `stated`.

    That of weights is known up to a factor.
    """
    pixels = masked(pixels, mask, maps.rule)
    if noise is None:
        return pixels, None
    sigma = noise_per_pixel(noise, maps.holds)
    if not np.isfinite(sigma).any():  # the map was never filled
        return pixels, None
    return weighed(pixels, sigma, maps.holds == WEIGHT)[0], sigma


def stated(sigma: np.ndarray | None, maps: MaskAndNoise) -> np.ndarray | None:
    """Noise per pixel from a map if it is that of the image, and not known up to a factor only."""
    return None if maps.holds == WEIGHT else sigma


def _banded(
    image: ImageUnits, plan: Layout, layers: list[_Layers], facts: dict, notes: list[str], settings: PictureSettings
) -> Picture:
    """Bands as one image; its fact `bands` says which it is made of."""
    shape, header = image.shape, cards_of(image.units[0])
    last = plan is Layout.BANDS_LAST
    number = len(layers) if len(layers) > 1 else shape[-1 if last else 0]
    names = image.bands if len(layers) > 1 else band_names(header, number)
    wanted = _chosen(settings, names, number)
    if last and number in (3, 4) and header.get("BITPIX") == 8 and not settings.band:
        pixels = luminance(np.stack([layers[0].plane(k, last=True)[0] for k in range(number)], axis=-1))
        return checked(pixels, facts=facts | PICTURE | said(notes))
    if len(layers) > 1:
        read = [(cleared(*layers[k].plane(0), layers[k].maps), layers[k].maps) for k in wanted]
    else:
        read = [(cleared(*layers[0].plane(k, last=last), layers[0].maps), layers[0].maps) for k in wanted]
    planes = [(pixels, stated(sigma, maps)) for (pixels, sigma), maps in read]
    return of_bands(planes, [names[k] if names else str(k) for k in wanted], facts, notes)


def _chosen(settings: PictureSettings, names: Sequence[str], number: int) -> list[int]:
    try:
        return chosen_bands(settings.band, names, number)
    except LookupError as error:
        raise BadImage(Flag.NOT_AN_IMAGE, str(error.args[0])) from None


def of_bands(
    planes: Sequence[tuple[np.ndarray, np.ndarray | None]], names: Sequence[str], facts: dict, notes: list[str]
) -> Picture:
    """Planes (ny, nx), each with its noise where it is stated, as one image; `bands` and `noise_sigma` are facts."""
    combined = combine(*zip(*planes, strict=True)) if len(planes) > 1 else None
    if combined is None:
        (pixels, sigma), used = planes[0], [0]
    else:
        pixels, sigma, used = combined.pixels, combined.sigma, combined.used
    if sigma is not None:
        known = np.isfinite(sigma) & np.isfinite(pixels)
        facts = facts | ({"noise_sigma": float(np.median(sigma[known]))} if known.any() else {})
    missing = [name for k, name in enumerate(names) if k not in used]
    notes = [*notes, *([f"no data in band {', '.join(missing)}"] if missing else [])]
    picture = checked(pixels, facts=facts | {"bands": ",".join(names[k] for k in used)} | said(notes))
    picture.noise = sigma
    if len(used) > 1:
        picture.bands = {names[k]: np.asarray(planes[k][0], np.float32) for k in used}
    return picture


def check_band(unit: Any, settings: PictureSettings) -> None:
    """BadImage for a unit whose header says that it is of another band than those that are wanted."""
    own, wanted = plain_band(unit_band(unit)), {plain_band(band) for band in settings.band}
    if wanted and is_band(own) and own not in wanted:
        raise BadImage(Flag.NOT_AN_IMAGE, f"It is of band {own}, not {', '.join(settings.band)} (--band).")


def masked(pixels, mask, rule: MaskRule = MaskRule()) -> np.ndarray:
    """`pixels` with NaN where `mask` is bad by the rule; a type that has no NaN becomes float32."""
    if mask is None:
        return pixels
    pixels = np.array(pixels, dtype=np.float32)
    pixels[rule.bad(mask)] = np.nan
    return pixels


def noise_per_pixel(values, kind: str) -> np.ndarray:
    """Standard deviation of the noise (ny, nx) float32 from a map of it; NaN where it says that there is no data.

    `kind` is what the values are, see `images.planes`; weights give deviations of unknown scale.
    """
    values = np.asarray(values, np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = np.sqrt(values) if kind == VARIANCE else np.array(values) if kind == DEVIATION else values**-0.5
    sigma[~(np.isfinite(sigma) & (values > 0))] = np.nan
    return sigma


def weighed(pixels: np.ndarray, sigma: np.ndarray, relative: bool) -> tuple[np.ndarray, float]:
    """`pixels` (ny, nx), NaN where their noise `sigma` is not known, and the median noise of the others.

    Where the noise comes from relative weights, which do not know of the light of galaxies, pixels that are noisier
    than NOISIEST times the median are taken out too: the frayed borders of mosaics.
    """
    known = np.isfinite(sigma) & np.isfinite(pixels)
    typical = float(np.median(sigma[known])) if known.any() else np.nan
    if relative:
        known &= sigma <= NOISIEST * typical
    return np.where(known, pixels, np.float32(np.nan)), typical


# --- PNG, JPEG, TIFF, NPY


def _raster(path: Path, settings: PictureSettings) -> Counted:
    yield 1
    yield raster(path, settings)


def raster(path: Path | BinaryIO, settings: PictureSettings = DEFAULT) -> Picture:
    """PNG, JPEG, GIF, BMP or WebP, in a file or in memory.

    16-bit values keep their range; palettes and CMYK go through RGB.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _any_size(), Image.open(path) as file:
            width, height = file.size
            if width * height > settings.largest_megapixels * 1e6:
                raise BadImage(Flag.UNREADABLE, too_large((height, width), settings.largest_megapixels))
            image: Image.Image = file
            if image.mode == "P":
                image = image.convert("RGBA" if "transparency" in image.info else "RGB")
            elif image.mode == "LA":
                image = image.convert("RGBA")
            elif image.mode not in ("1", "L", "I", "F", "RGB", "RGBA") and not image.mode.startswith("I;16"):
                image = image.convert("RGB")
            array = np.asarray(image)
    for_the_eye = image.mode in ("L", "RGB", "RGBA")  # 8 bits a channel, which need a stretch
    return of_colours(array, settings, facts=PICTURE if for_the_eye else {})


@contextmanager
def _any_size() -> Iterator[None]:
    """Pillow without its own limit of pixels, which is lower than that of the settings."""
    from PIL import Image

    with _PILLOW:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


_PILLOW = RLock()  # its limit is that of all threads


def of_colours(array: np.ndarray, settings: PictureSettings, facts: dict[str, Any]) -> Picture:
    """A grey (ny, nx) or colour (ny, nx, 3 or 4) array as one image: its luminance, or the colours that are wanted."""
    if array.ndim == 3 and settings.band:
        channels = array[..., :3].astype(np.float32)
        wanted = _chosen(settings, ("r", "g", "b"), 3)
        return of_bands([(channels[..., k], None) for k in wanted], [("r", "g", "b")[k] for k in wanted], facts, [])
    picture = checked(luminance(array) if array.ndim == 3 else array, facts=dict(facts))
    picture.colour = seen_colours(array)
    return picture


def _tiff(path: Path, settings: PictureSettings) -> Counted:
    """The images of a TIFF file: pages, but for thumbnails of others."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it logs damage to standard error
    pictures: list[Picture] = []
    try:
        with tifffile.TiffFile(path) as file:
            _check_chain(file)
            series = [s for s in file.series if not s.keyframe.is_reduced] or file.series
            for one in series:
                pictures += _series(one, path, settings)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        pictures = [raster(path, settings)]  # a compression that tifffile leaves to another package
    yield len(pictures)
    for number, picture in enumerate(pictures):
        picture.index = number if len(pictures) > 1 else None
        yield picture


def _check_chain(file: Any) -> None:
    """BadImage where the pages of a TIFF file, each of which says where the next is, come back to an earlier one.

    tifffile would follow them for ever.
    """
    tiff, handle, met = file.tiff, file.filehandle, set()
    handle.seek(8 if tiff.version == 43 else 4)  # BigTIFF, and TIFF
    while len(where := handle.read(tiff.offsetsize)) == tiff.offsetsize:
        (offset,) = struct.unpack(tiff.offsetformat, where)
        if offset == 0 or offset >= handle.size:
            return
        if offset in met:
            raise BadImage(Flag.UNREADABLE, "It is damaged: its pages lead back to an earlier one.")
        met.add(offset)
        handle.seek(offset)
        number = handle.read(tiff.tagnosize)
        if len(number) < tiff.tagnosize:
            return
        handle.seek(struct.unpack(tiff.tagnoformat, number)[0] * tiff.tagsize, 1)


def _series(series: Any, path: Path, settings: PictureSettings) -> list[Picture]:
    """The images of pages of one kind; where they cannot be read together, page for page."""
    claim = _claim_of_series(series, path)
    claim.check_together(settings)
    try:
        return _of_tiff(series.asarray(), series.axes, series.keyframe, settings)
    except Exception as error:  # of damaged pages
        pages = list(series.pages)
        if claim.planes == 1 or "imagecodecs" in str(error):
            raise
        if len(pages) != claim.planes:
            return [failed(error) for _ in range(claim.planes)]

        def page(k: int) -> Picture:
            (picture,) = _of_tiff(pages[k].asarray(), pages[k].axes, series.keyframe, settings)
            return picture

        return list(each_plane(len(pages), page))


# How many times smaller TIFF's own ways of packing make data at most: none; LZW, whose table of 4,094 strings stands
# for 7.4 million bytes in 12 bits each; DEFLATE by both of its numbers; PackBits, 128 bytes in 2.
TIFF_COMPRESSION = {1: 1.0, 5: 1400.0, 8: LARGEST_COMPRESSION, 32946: LARGEST_COMPRESSION, 32773: 64.0}


def _claim_of_series(series: Any, path: Path) -> Claim:
    shape = tuple(int(n) for n in series.shape)
    inner = 3 if "S" in series.axes else 2
    compression = TIFF_COMPRESSION.get(int(series.keyframe.compression), MOST_COMPRESSION)
    item_bytes = series.dtype.itemsize * min(series.keyframe.bitspersample / (8 * series.dtype.itemsize), 1)
    return Claim(prod(shape[:-inner]), shape[-inner:], item_bytes, path.stat().st_size, compression)


def _of_tiff(array: np.ndarray, axes: str, page: Any, settings: PictureSettings) -> list[Picture]:
    """The images of an array of TIFF pages; those that are white where there is no light are turned."""
    facts = PICTURE if array.dtype == np.uint8 and page.bitspersample == 8 else {}
    if page.photometric == 0:  # MINISWHITE
        largest = 2**page.bitspersample - 1 if array.dtype.kind in "ub" else np.nanmax(array)
        array = largest - array.astype(np.float64)
    if "S" not in axes:
        return list(each_plane(*_planes(array, facts=facts)))
    array = np.moveaxis(array, axes.index("S"), -1)
    if array.shape[-1] not in (3, 4):
        return [_of_last_axis(image, settings) for image in array.reshape(-1, *array.shape[-3:])]
    if settings.band:
        return [of_colours(image, settings, facts) for image in array.reshape(-1, *array.shape[-3:])]
    return list(each_plane(*_planes(array, colour=True, facts=facts)))


def bands_axis(shape: tuple[int, ...]) -> int | None:
    """Which axis of images (n, ny, nx, bands) or (n, bands, ny, nx) is that of the bands; None if none can be."""
    if shape[-1] <= MOST_BANDS:
        return -1
    return -3 if shape[-3] <= MOST_BANDS else None


def hdf5_bands(images: Any) -> tuple[str, ...]:
    """The names of the bands of a dataset of HDF5, from the attribute `bands` or `filters` of it or of its file."""
    for attributes in (images.attrs, images.file.attrs):
        for key in ("bands", "filters"):
            if key in attributes:
                values = np.atleast_1d(attributes[key])
                names = [v.decode() if isinstance(v, bytes) else str(v) for v in values]
                return tuple(names if len(names) > 1 else re.split(r"[\s,;]+", names[0]))
    return ()


def read_array(image: np.ndarray, settings: PictureSettings, names: tuple[str, ...] = ()) -> Picture:
    """One image of an array (ny, nx), (ny, nx, bands) or (bands, ny, nx); 3 or 4 bands without names are colours.

    BadImage for a band that is not there.
    """
    if image.ndim == 2:
        return checked(image)
    if bands_axis((1, *image.shape)) == -3:
        image = np.moveaxis(image, 0, -1)
    elif image.shape[-1] in (3, 4) and not names:
        return of_colours(image, settings, PICTURE if image.dtype == np.uint8 else {})
    return _of_last_axis(image, settings, names)


def _of_last_axis(array: np.ndarray, settings: PictureSettings, names: tuple[str, ...] = ()) -> Picture:
    """One image of the bands in the last axis of an array (ny, nx, n); of one band, that."""
    number = array.shape[-1]
    if number == 1:
        return checked(array[..., 0])
    names = names if len(names) == number else ()
    wanted = _chosen(settings, names, number)
    planes = [(array[..., k].astype(np.float32), None) for k in wanted]
    return of_bands(planes, [names[k] if names else str(k) for k in wanted], {}, [])


def _npy(path: Path, settings: PictureSettings) -> Counted:
    yield from array_pictures(*mapped_array(path, settings), settings)


def npy_pictures(path: Path, settings: PictureSettings) -> tuple[int, Callable[[int], Picture]]:
    """How many images an array of numpy in a file has, and a function that reads one of them."""
    return _array_reader(*mapped_array(path, settings), settings)


def array_pictures(array: np.ndarray, number: int, settings: PictureSettings) -> Counted:
    """The images of an array (ny, nx), (n, ny, nx), (ny, nx, bands) or (n, ny, nx, bands); 3 or 4 bands are colours.

    `number` is how many its first axis should have, if that is more than are there.
    """
    number, picture = _array_reader(array, number, settings)
    yield number
    yield from each_plane(number, picture)


def _array_reader(array: np.ndarray, number: int, settings: PictureSettings) -> tuple[int, Callable[[int], Picture]]:
    """How many images are in an array, see `array_pictures`, and a function that reads one of them."""
    last_is_colour = array.ndim in (3, 4) and array.shape[-1] in (3, 4)
    colour = last_is_colour and min(array.shape[-3:-1]) >= SMALLEST_SIDE_PIX
    if array.dtype.kind in "buif" and not colour and not settings.stack and bands_last(array.shape[-3:]):
        images = array.reshape(-1, *array.shape[-3:])

        def picture(k: int) -> Picture:
            of_bands = _of_last_axis(np.array(images[k]), settings)
            of_bands.index = k if len(images) > 1 else None
            return of_bands

        return len(images), picture
    return _planes(array, colour, number=number)


def mapped_array(path: Path, settings: PictureSettings = DEFAULT) -> tuple[np.ndarray, int]:
    """An array of numpy in a file, which stays there, and how many planes its first axis should have.

    Of a file that was cut short the array has the planes that are there. BadImage for a claim that cannot be true.
    """
    with open_regular(path) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, columns_first, kind = header(file)
        start = file.tell()
        stored = os.fstat(file.fileno()).st_size - start
    if kind.hasobject:
        raise BadImage(Flag.UNREADABLE, "It holds objects of Python, not numbers.")
    if 0 in shape or not shape:
        raise BadImage(Flag.NOT_AN_IMAGE, f"Its array has the shape {' x '.join(map(str, shape)) or 'of one number'}.")
    claim = Claim(shape[0] if len(shape) > 2 else 1, shape[1:] if len(shape) > 2 else shape, kind.itemsize, stored)
    claim.check(settings)
    there = claim.whole_planes if len(shape) > 2 else shape[0]
    if columns_first and there < shape[0]:
        raise BadImage(Flag.UNREADABLE, "It is truncated or damaged (its columns are first, and some are missing).")
    array = np.memmap(path, kind, "r", start, (there, *shape[1:]), "F" if columns_first else "C")
    return array, shape[0]


def _planes(
    array: np.ndarray, colour: bool = False, facts: dict[str, Any] | None = None, number: int = 0
) -> tuple[int, Callable[[int], Picture]]:
    """How many pictures are in an array, one of 2 axes (colour: 3), one per plane of one more; what reads one of them.

    `number` is how many planes there should be, if more than there are.
    """
    facts = facts or {}
    axes = array.ndim - colour

    def one(plane: np.ndarray, index: int | None = None) -> Picture:
        grey = luminance(plane) if colour and plane.dtype.kind in "buif" else plane
        picture = checked(grey, index=index, facts=dict(facts))
        picture.colour = seen_colours(plane) if colour else None
        return picture

    if axes != 3 or array.dtype.kind not in "buif":
        return 1, lambda k: one(array)
    number = max(number, len(array))

    def picture(k: int) -> Picture:
        if k >= len(array):
            raise BadImage(Flag.UNREADABLE, "The file ends before this image.")
        return one(array[k], k if number > 1 else None)

    return number, picture
