"""Image files opened: FITS, PNG, JPEG, TIFF, NPY. What a file is, its first bytes say, not its ending.

Each function yields `Picture`s, one per image in the file, and raises `BadImage` (or whatever its library
raises) where an image cannot be had; `read_file` turns that into a picture with a flag. Arrays keep the order
of the file: row 0 is the bottom of a FITS image, and the top of a PNG, JPEG or TIFF image.
"""

from __future__ import annotations

import gzip
import logging
import os
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from emeraldcut.data.flags import Flag, describe, usable

SMALLEST_SIDE_PIX = 8
LARGEST_MEGAPIXELS = 400  # a claim beyond this in a file that is read as one image is damage, or a mosaic
GZIP = b"\x1f\x8b"
LARGEST_COMPRESSION = 1100  # DEFLATE, of gzip and of tiled FITS, makes nothing more than 1032 times smaller
# Rec. 601 luma, the weights of PIL's convert("L"): colour pictures of galaxies are mostly sRGB composites
# that were made grey in this way elsewhere, so that results can be compared. Not a photometric quantity.
LUMINANCE_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)

MASK_NAMES = {"MASK", "DQ", "BADPIX"}
# Maps of the noise, by the names of their units, and what their values are. Of weights only the ratios count.
WEIGHT = "weight"
NOISE_NAMES = {
    **dict.fromkeys(("WHT", "WEIGHT"), WEIGHT),
    **dict.fromkeys(("IVAR", "INVVAR"), "inverse variance"),
    **dict.fromkeys(("VAR", "VARIANCE"), "variance"),
    **dict.fromkeys(("ERR", "ERROR", "UNCERT"), "deviation"),
}
NOT_IMAGE_NAMES = {"EXP", "CTX"}
NOISIEST = 3.0  # a pixel with more than this many times the usual noise of an image is as good as missing
PIXEL_SCALE_KEYS = ("PIXSCALE", "PIXSCAL1", "PIXSCL", "PIXSIZE", "SECPIX", "SECPIX1", "PIXELSCL", "PLATESCL")


class BadImage(Exception):
    """An image that cannot be used: the flag to set, and one sentence of detail."""

    def __init__(self, flag: Flag, detail: str = "") -> None:
        super().__init__(detail)
        self.flag, self.detail = flag, detail


@dataclass
class Picture:
    """One image of a file: pixels (ny, nx) float32, flag, detail, its index there, and what the file tells."""

    pixels: np.ndarray
    flag: Flag = Flag.GOOD
    detail: str = ""
    index: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


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
    """Colour (..., 3), or (..., 4) with alpha last, as luminance (...); NaN where wholly transparent."""
    grey = array[..., :3].astype(np.float32) @ LUMINANCE_WEIGHTS
    if array.shape[-1] == 4:
        grey[array[..., 3] == 0] = np.nan
    return grey


def kind_of(path: Path) -> str:
    """fits, png, jpeg, tiff, npy, hdf5, parquet, votable or "" from the first bytes of the file."""
    with open(path, "rb") as file:
        head = file.read(1024)
    if not head:
        raise BadImage(Flag.UNREADABLE, "It is empty (0 bytes).")
    if head.startswith(GZIP):
        with gzip.open(path) as file:
            head = file.read(80)
    signatures = {
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
    }
    for signature, kind in signatures.items():
        if head.startswith(signature):
            return kind
    return "votable" if b"<VOTABLE" in head else ""


def read_file(path: Path) -> Generator[Picture]:
    """All images in the file, in order; at least one picture, whatever the file is. Emits no warnings."""
    pictures = None
    while True:
        try:
            with warnings.catch_warnings():  # not around `yield`, where it would act on the caller
                warnings.simplefilter("ignore")
                pictures = pictures or _pictures(path)
                picture = next(pictures)
        except StopIteration:
            return
        except Exception as error:  # image libraries raise errors of every kind on damaged files
            yield failed(error)
            return
        yield picture


def _pictures(path: Path) -> Iterator[Picture]:
    readers = {"fits": _fits, "png": raster, "jpeg": raster, "tiff": _tiff, "npy": _npy}
    kind = kind_of(path)
    if kind not in readers:
        detail = "It is not a FITS, PNG, JPEG, TIFF or NPY file, whatever its name says."
        raise BadImage(Flag.UNREADABLE, detail)
    return readers[kind](path)


def failed(error: Exception) -> Picture:
    """What stands for an image that could not be read because of `error`."""
    if isinstance(error, BadImage):
        return Picture(NO_PIXELS, error.flag, error.detail)
    if isinstance(error, OSError) and error.strerror:
        return Picture(NO_PIXELS, Flag.UNREADABLE, f"{error.strerror}.")
    reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return Picture(NO_PIXELS, Flag.UNREADABLE, f"It is truncated or damaged ({reason}).")


# --- FITS


def _fits(path: Path) -> Iterator[Picture]:
    from astropy.io import fits

    if _is_gzip(path):
        with gzip.open(path) as file:  # to the end, where the checksum is that astropy does not get to
            while file.read(2**20):
                pass
    # Astropy maps the file into memory, so a cube is read piece by piece.
    with fits.open(path, lazy_load_hdus=False) as units:
        pictures, beside, facts = image_units(units)
        if not pictures:
            raise _no_picture(units)
        alone = len(pictures) == 1 and len(shape_of(pictures[0])) != 3
        planes = (_unit_planes(unit, beside[id(unit)], facts, path) for unit in pictures)
        for index, picture in enumerate(chain.from_iterable(planes)):
            picture.index = None if alone else index
            yield picture


def _is_gzip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == GZIP


@dataclass
class MaskAndNoise:
    """What a FITS file holds beside a picture: the units of its mask and of its noise, None where there is none."""

    mask: Any = None
    noise: Any = None

    @property
    def kind(self) -> str:
        """What the values of the noise are, see `NOISE_NAMES`; CCDData tells in the key UTYPE of UNCERT."""
        said = str(self.noise.header.get("UTYPE", ""))
        told = {"VarianceUncertainty": "variance", "InverseVariance": "inverse variance"}
        return told.get(said, NOISE_NAMES[self.noise.name])


def image_units(units) -> tuple[list, dict[int, MaskAndNoise], dict[str, Any]]:
    """The picture units of a FITS file, what lies beside each (by `id` of the picture), and facts for all of them.

    A mask (MASK, DQ, BADPIX) or a map of the noise (WHT, IVAR, ERR, VAR, ...) is that of the last picture before it
    with the same EXTVER and shape; the PSF's width is a fact.
    """
    pictures: list[Any] = []
    beside: dict[int, MaskAndNoise] = {}
    facts: dict[str, Any] = {}
    for unit in units:
        shape = shape_of(unit)
        if not unit.is_image or 0 in shape or not shape:
            continue
        if unit.name in MASK_NAMES or unit.name in NOISE_NAMES:
            owner = [p for p in pictures if p.ver == unit.ver and shape_of(p) == shape]
            if owner:
                setattr(beside[id(owner[-1])], "mask" if unit.name in MASK_NAMES else "noise", unit)
        elif unit.name == "PSF":
            fwhm = unit.header.get("FWHM")
            facts["psf_fwhm_pix"] = float(fwhm) if isinstance(fwhm, int | float) and fwhm > 0 else _fwhm_pix(unit.data)
        elif unit.name not in NOT_IMAGE_NAMES and len(shape) >= 2:
            pictures.append(unit)
            beside[id(unit)] = MaskAndNoise()
    return pictures, beside, facts


def shape_of(unit) -> tuple[int, ...]:
    """Axis lengths of an image unit, y first, from its header alone; leading axes of length 1 are dropped."""
    header = unit.header
    shape = [int(header.get(f"NAXIS{i}", 0)) for i in range(int(header.get("NAXIS", 0)), 0, -1)]
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return tuple(shape)


def _no_picture(units) -> BadImage:
    if any(not unit.is_image for unit in units):
        return BadImage(Flag.NOT_AN_IMAGE, "The FITS file holds only tables.")
    shapes = [shape_of(unit) for unit in units if shape_of(unit)]
    detail = f"Its array has {len(shapes[0])} axis." if shapes else "The FITS file holds no data."
    return BadImage(Flag.NOT_AN_IMAGE, detail)


def _unit_planes(unit, beside: MaskAndNoise, facts: dict, path: Path) -> Iterator[Picture]:
    shape = shape_of(unit)
    if len(shape) > 3:
        yield Picture(NO_PIXELS, Flag.NOT_AN_IMAGE, f"Its array has {len(shape)} axes.")
        return
    check_claim(unit, path)
    facts = facts | header_facts(unit.header, shape)
    if len(shape) == 2:
        pixels, mask, noise = (part and part.data.reshape(shape) for part in (unit, beside.mask, beside.noise))
        yield _plane(pixels, mask, noise, beside, facts)
        return
    leading = (0,) * (int(unit.header["NAXIS"]) - 3)
    for plane in range(shape[0]):
        here = (*leading, plane)
        pixels, mask, noise = (part and part.section[here] for part in (unit, beside.mask, beside.noise))
        yield _plane(pixels, mask, noise, beside, facts)


def _plane(pixels, mask, noise, beside: MaskAndNoise, facts: dict) -> Picture:
    """One image without its masked pixels and those of no weight; its fact `noise_sigma` is what its noise map says."""
    pixels = masked(pixels, mask)
    if noise is not None:
        sigma = noise_per_pixel(noise, beside.kind)
        if np.isfinite(sigma).any():  # else the map was never filled
            pixels, typical = weighed(pixels, sigma, beside.kind == WEIGHT)
            facts = facts | ({} if beside.kind == WEIGHT else {"noise_sigma": typical})
    return checked(pixels, facts=facts)


def check_claim(unit, path: Path, largest_megapixels: float = LARGEST_MEGAPIXELS) -> None:
    """BadImage if the header claims more data than the file can hold, before memory is taken for it."""
    shape = shape_of(unit)
    claimed = float(np.prod(shape, dtype=float)) * abs(int(unit.header["BITPIX"])) / 8
    size = path.stat().st_size
    packed = _is_gzip(path) or type(unit).__name__ == "CompImageHDU"
    room = size * LARGEST_COMPRESSION if packed else size - unit.fileinfo()["datLoc"]
    if claimed > room:
        pixels = " x ".join(map(str, reversed(shape)))
        raise BadImage(Flag.UNREADABLE, f"Its header claims {pixels} pixels; the file has only {size} bytes.")
    if np.prod(shape[-2:], dtype=float) > largest_megapixels * 1e6:
        detail = f"Its {shape[-1]} x {shape[-2]} pixels are a mosaic; `emeraldcut detect` makes a --catalogue."
        raise BadImage(Flag.UNREADABLE, detail)


def masked(pixels, mask) -> np.ndarray:
    """`pixels` with NaN where `mask` is not zero; a type that has no NaN becomes float32."""
    if mask is None:
        return pixels
    pixels = np.array(pixels, dtype=np.float32)
    pixels[np.asarray(mask) != 0] = np.nan
    return pixels


def noise_per_pixel(values, kind: str) -> np.ndarray:
    """Standard deviation of the noise (ny, nx) float32 from a map of it; NaN where it says that there is no data.

    `kind` is what the values are, see `NOISE_NAMES`; weights give deviations of unknown scale.
    """
    values = np.asarray(values, np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = np.sqrt(values) if kind == "variance" else np.array(values) if kind == "deviation" else values**-0.5
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


def _fwhm_pix(psf: np.ndarray) -> float | None:
    """Width of a PSF image: diameter of the disc that has the area above half its peak (derived here)."""
    from scipy.ndimage import zoom

    if psf is None or psf.ndim != 2 or not np.isfinite(psf).all() or psf.max() <= 0:
        return None
    fine = 8
    finer = zoom(psf.astype(float), fine, order=3, grid_mode=True, mode="nearest")
    above = np.count_nonzero(finer > psf.max() / 2)
    return float(2 * np.sqrt(above / np.pi) / fine)


def header_facts(header, shape: tuple[int, ...]) -> dict[str, Any]:
    """Sky position, scale and orientation at the image centre from a sky WCS, else the scale from a key."""
    if any(str(header.get(f"CTYPE{i}", ""))[:4].strip("-") in ("RA", "DEC", "GLON", "GLAT") for i in (1, 2)):
        try:
            wcs = celestial_wcs(header)
            facts = sky_facts(wcs, np.array([(shape[-1] - 1) / 2]), np.array([(shape[-2] - 1) / 2]))
            if np.isfinite(facts["pixel_scale_arcsec"][0]) and facts["pixel_scale_arcsec"][0] > 0:
                return {name: float(values[0]) for name, values in facts.items()}
        except Exception:  # a damaged WCS does not make the pixels useless
            pass
    for key in PIXEL_SCALE_KEYS:
        value = header.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf:
            return {"pixel_scale_arcsec": float(value)}
    return {}


def celestial_wcs(header):
    """The WCS of the first two FITS axes, which are x and y, in whichever order they hold longitude and latitude.

    Raises ValueError if they are not on the sky.
    """
    from astropy.wcs import WCS

    wcs = WCS(header, naxis=2)
    if not wcs.has_celestial:
        raise ValueError("the first two axes have no celestial coordinates.")
    return wcs


def sky_facts(wcs, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Position, scale and local matrix of `wcs` at pixels x, y (n,), origin 0.

    The matrix is the derivative of the tangent-plane offsets (east, north) by x and y, from differences over
    one pixel (derived here), so distortions are in it; the scale is the root of its determinant.
    """
    step = np.array([[0, 0], [-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])
    ra, dec = _to_icrs(wcs, x[:, None] + step[:, 0], y[:, None] + step[:, 1])  # (n, 5) degrees
    east = ((ra - ra[:, :1] + 180) % 360 - 180) * np.cos(np.radians(dec[:, :1]))
    cd11, cd12 = east[:, 2] - east[:, 1], east[:, 4] - east[:, 3]
    cd21, cd22 = dec[:, 2] - dec[:, 1], dec[:, 4] - dec[:, 3]
    scale = np.sqrt(np.abs(cd11 * cd22 - cd12 * cd21)) * 3600
    return {
        "ra": ra[:, 0],
        "dec": dec[:, 0],
        "pixel_scale_arcsec": scale,
        "cd11": cd11,
        "cd12": cd12,
        "cd21": cd21,
        "cd22": cd22,
    }


def _to_icrs(wcs, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from astropy.wcs.utils import wcs_to_celestial_frame

    frame = wcs_to_celestial_frame(wcs)
    j2000 = frame.name == "icrs" or (frame.name == "fk5" and frame.equinox.jyear == 2000)
    if j2000 and wcs.wcs.lng == 0:  # the quick way, for nearly all images
        return wcs.all_pix2world(x, y, 0)

    sky = wcs.pixel_to_world(x, y).icrs  # pixel_to_skycoord would swap x and y where latitude comes first
    return sky.ra.deg, sky.dec.deg


# --- PNG, JPEG, TIFF, NPY


def raster(path: Path | BinaryIO) -> Iterator[Picture]:
    """PNG or JPEG, in a file or in memory; 16-bit values keep their range, palettes and CMYK go through RGB."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as file:
            image: Image.Image = file
            if image.mode == "P":
                image = image.convert("RGBA" if "transparency" in image.info else "RGB")
            elif image.mode == "LA":
                image = image.convert("RGBA")
            elif image.mode not in ("1", "L", "I", "F", "RGB", "RGBA") and not image.mode.startswith("I;16"):
                image = image.convert("RGB")
            array = np.asarray(image)
    return iter([checked(luminance(array) if array.ndim == 3 else array)])


def _tiff(path: Path) -> Iterator[Picture]:
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it logs damage to standard error
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            if np.prod(series.shape[-3:], dtype=float) > 4 * LARGEST_MEGAPIXELS * 1e6:
                raise BadImage(Flag.UNREADABLE, f"It claims {' x '.join(map(str, series.shape))} pixels.")
            array, axes = series.asarray(), series.axes
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        return raster(path)  # a compression that tifffile leaves to another package
    if "S" in axes:
        array = luminance(np.moveaxis(array, axes.index("S"), -1))
    return _planes(array)


def _npy(path: Path) -> Iterator[Picture]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    last_is_colour = array.ndim in (3, 4) and array.shape[-1] in (3, 4)
    colour = last_is_colour and min(array.shape[-3:-1]) >= SMALLEST_SIDE_PIX
    return _planes(array, colour)


def _planes(array: np.ndarray, colour: bool = False) -> Iterator[Picture]:
    """One picture of a 2-D array (colour: 3-D), one per plane of an array with one more axis."""
    axes = array.ndim - colour
    if axes != 3 or array.dtype.kind not in "buif":
        yield checked(luminance(array) if colour and array.dtype.kind in "buif" else array)
        return
    for index, plane in enumerate(array):
        yield checked(luminance(plane) if colour else plane, index=index if len(array) > 1 else None)


def file_text(path: Path | str) -> str:
    """A file name as text that can be stored, also where its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")
