"""Point spread functions: images of them, PSFEx's models, those of SDSS fields; and their widths."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.data.flags import Flag
from emeraldcut.errors import UsageError
from emeraldcut.images.claims import BadImage, fits_file, shape_of
from emeraldcut.images.options import PictureSettings
from emeraldcut.images.unpacking import data_of
from emeraldcut.images.wcs import header_facts
from emeraldcut.runs.stamps import Stamp, stamp_of

LEAST_SIDE_PIX = 3
LARGEST_SIDE_PIX = 2048  # those of IRAC, which are sampled 100 times finer than its pixels, have 1281
SAME_SCALE = 0.01  # relative: a PSF with pixels of this size needs no other sampling
FINE = 8  # pixels of a PSF are divided so often along each side to find where it falls to half its peak
SDSS_BANDS = "urigz"  # order of the tables in a psField file: sdss.org/dr17/imaging/images/#psf
SDSS_PIXEL_UNIT = 1e-3  # of row and column in its polynomials


@dataclass(frozen=True)
class Psf:
    """A PSF that may change across a mosaic.

    Attributes
    ----------
    parts : (k, ny, nx) float
        Of the polynomial in the position.
    powers : tuple of (power of x, power of y)
        One for each part.
    zero, scale : (x, y)
        The polynomial is in (position - zero) / scale, pixels from 0.
    sampling : float
        Step of the PSF's pixels in pixels of the image.
    name : str
        The file or unit.
    scale_arcsec : float or None
        Step of the PSF's pixels on the sky, where its header states that and no `sampling`.
    """

    parts: np.ndarray
    powers: tuple[tuple[int, int], ...] = ((0, 0),)
    zero: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    sampling: float = 1.0
    name: str = ""
    scale_arcsec: float | None = None

    def in_pixels(self, pixel_scale_arcsec: float | None) -> Psf:
        """The same for an image with pixels of a size; each is made once."""
        if self.scale_arcsec is None or pixel_scale_arcsec is None:
            return self
        sampling = self.scale_arcsec / pixel_scale_arcsec
        if abs(sampling - 1) < SAME_SCALE:
            return self
        kept = self._of_scale
        key = round(sampling, 4)
        return kept.setdefault(key, kept.get(key) or replace(self, sampling=sampling, scale_arcsec=None))

    @cached_property
    def _of_scale(self) -> dict[float, Psf]:
        return {}

    def at(self, x: float = np.nan, y: float = np.nan) -> np.ndarray:
        """The PSF (ny, nx), of sum 1, in pixels of the image at a place; where none is given, that of `zero`."""
        u, v = ((place - zero) / scale for place, zero, scale in zip((x, y), self.zero, self.scale, strict=True))
        if not np.isfinite([u, v]).all():
            u = v = 0.0
        image = sum(part * u**i * v**j for part, (i, j) in zip(self.parts, self.powers, strict=True))
        image = _resampled(np.asarray(image, float), self.sampling)
        return (image / image.sum()).astype(np.float32)

    @cached_property
    def everywhere(self) -> tuple[np.ndarray, float | None]:
        """The image and its width where no position is known."""
        image = self.at()
        return image, fwhm_pix(image)


def _resampled(image: np.ndarray, sampling: float) -> np.ndarray:
    """A PSF with pixels of the size of the image's, centred as before."""
    if abs(sampling - 1) < 1e-6:
        return image
    from scipy.ndimage import map_coordinates

    if not 0 < sampling * max(image.shape) <= LARGEST_SIDE_PIX:
        ny, nx = image.shape
        detail = f"its {nx} x {ny} pixels are {sampling:g} times as large as the image's; at most {LARGEST_SIDE_PIX}"
        raise BadImage(Flag.UNREADABLE, f"{detail} pixels of the image are read of a PSF")
    sides = [max(2 * int((n - 1) / 2 * sampling) + 1, LEAST_SIDE_PIX) for n in image.shape]
    places = [(np.arange(m) - (m - 1) / 2) / sampling + (n - 1) / 2 for m, n in zip(sides, image.shape, strict=True)]
    return map_coordinates(image, np.meshgrid(*places, indexing="ij"), order=3, mode="constant")


def fwhm_pix(psf: Any) -> float | None:
    """Width of a PSF image: diameter of the disc that has the area above half its peak (derived here)."""
    from scipy.ndimage import zoom

    if psf is None or psf.ndim != 2 or not np.isfinite(psf).all() or psf.max() <= 0:
        return None
    fine = max(min(FINE, LARGEST_SIDE_PIX // max(psf.shape)), 1)
    finer = zoom(psf.astype(float), fine, order=3, grid_mode=True, mode="nearest")
    above = np.count_nonzero(finer > max(psf.max(), finer.max()) / 2)  # the peak may lie between pixels
    return float(2 * np.sqrt(above / np.pi) / fine)


def usable_image(image: Any) -> bool:
    """Whether an array can be the image of a PSF."""
    return bool(
        image is not None
        and image.ndim == 2
        and min(image.shape) >= LEAST_SIDE_PIX
        and np.isfinite(image).all()
        and image.max() > 0
        and image.sum() > 0
    )


def read_psf(path: str | Path, band: str = "") -> Psf:
    """The PSF in a file: a FITS image, a model of PSFEx, or of a field of SDSS (psField, with `band`).

    Raises
    ------
    FileNotFoundError
        There is no such file.
    UsageError
        It holds no PSF that can be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file '{path}' to read a PSF from.")
    return _read_psf(path, band.lower(), stamp_of(path))


@lru_cache(64)
def _read_psf(path: Path, band: str, as_it_is: Stamp) -> Psf:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits_file(path)
            with fits.open(path) as units:
                psf = psf_in(units, path.name, band)
            if psf is not None and not usable_image(psf.everywhere[0]):
                raise BadImage(Flag.UNREADABLE, "it is nothing but zeros, or has values that are not finite")
    except Exception as error:  # astropy raises many kinds of errors on damaged files
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise UsageError(f"the PSF '{path}' cannot be read as FITS ({reason}).") from None
    if psf is None:
        raise UsageError(f"'{path}' holds no PSF: neither an image, nor a PSFEx model (table PSF_DATA).")
    return psf


def psf_in(units: Any, name: str, band: str = "") -> Psf | None:
    """The PSF in an open FITS file that holds nothing else; None if there is none."""
    for unit in units:
        if not unit.is_image and unit.name == "PSF_DATA":
            return _psfex(unit, name)
    tables = [unit for unit in units if not unit.is_image and "RROWS" in (unit.columns.names or ())]
    if tables:
        return _sdss(tables, name, band)
    images = [unit for unit in units if unit.is_image and sum(n > 1 for n in shape_of(unit)) >= 2]
    named = [unit for unit in images if str(unit.header.get("BAND", unit.header.get("FILTER", ""))).lower() == band]
    return psf_of_unit((named or images)[0], name) if images else None


def psf_of_unit(unit: Any, name: str) -> Psf | None:
    """The PSF in an image unit; the average of several planes; None if it is no such image."""
    if max(shape_of(unit)[-2:], default=0) > LARGEST_SIDE_PIX:
        raise BadImage(Flag.UNREADABLE, f"a PSF has at most {LARGEST_SIDE_PIX} pixels along a side")
    data = np.squeeze(np.asarray(data_of(unit), dtype=np.float64))
    while data.ndim > 2:
        data = np.nanmean(data, axis=0)
    if np.isfinite(data).any():  # borders may have no data
        data = np.where(np.isfinite(data), data, 0.0)
    scale = None
    if "PSF_SAMP" in unit.header or "OVERSAMP" in unit.header:
        sampling = float(unit.header.get("PSF_SAMP", 1.0 / unit.header.get("OVERSAMP", 1.0)))
    else:
        sampling, scale = 1.0, header_facts(unit.header, data.shape).get("pixel_scale_arcsec")
    return Psf(data[None], sampling=sampling, name=name, scale_arcsec=scale) if usable_image(data) else None


def _psfex(unit: Any, name: str) -> Psf:
    """A model of PSFEx, with the powers of x, y in the order of psfex.readthedocs.io."""
    header, parts = unit.header, np.squeeze(unit.data["PSF_MASK"][0]).astype(float)
    parts = parts[None] if parts.ndim == 2 else parts
    axes, degree = int(header.get("POLNAXIS", 0)), int(header.get("POLDEG1", 0))
    if axes == 2 and (degree + 1) * (degree + 2) // 2 == len(parts):
        powers = [(i, j) for j in range(degree + 1) for i in range(degree + 1 - j)]
    else:  # in other quantities than the position; its constant part is left
        parts, powers = parts[:1], [(0, 0)]
    zero = tuple(float(header.get(f"POLZERO{n}", 1.0)) - 1 for n in (1, 2))
    scale = tuple(float(header.get(f"POLSCAL{n}", 1.0)) or 1.0 for n in (1, 2))
    return Psf(parts, tuple(powers), (zero[0], zero[1]), (scale[0], scale[1]), float(header["PSF_SAMP"]), name)


def _sdss(tables: list[Any], name: str, band: str) -> Psf:
    """The PSF of an SDSS field from its Karhunen-Loeve images; that of r where no band is said."""
    place = SDSS_BANDS.find(band or "r")
    unit = tables[min(max(place, 0), len(tables) - 1)]
    parts: dict[tuple[int, int], np.ndarray] = {}
    for row in unit.data:
        ny, nx = int(row["RNROW"]), int(row["RNCOL"])
        image = np.asarray(row["RROWS"], float)[: ny * nx].reshape(ny, nx)
        coefficients = np.asarray(row["C"])
        coefficients = coefficients.reshape(-1, coefficients.shape[-1])[: int(row["NROW_B"]), : int(row["NCOL_B"])]
        for (i, j), c in np.ndenumerate(coefficients):
            parts[j, i] = parts.get((j, i), 0.0) + float(c) * image
    unit_pix = 1 / SDSS_PIXEL_UNIT
    return Psf(np.array(list(parts.values())), tuple(parts), (0.0, 0.0), (unit_pix, unit_pix), 1.0, name)


def psf_of_row(
    row: Mapping[str, Any],
    settings: PictureSettings,
    own: Psf | None = None,
    own_fwhm_pix: float | None = None,
    *,
    x: float = np.nan,
    y: float = np.nan,
) -> tuple[np.ndarray | None, float | None]:
    """The PSF image of a row and its width in pixels, None where unknown.

    What the row says (`psf_file`, `psf_fwhm_pix`, `psf_fwhm_arcsec`) counts before the settings, and these before what
    the image's own file says. Widths in arcsec need the row's `pixel_scale_arcsec`.
    """
    scale = positive(row.get("pixel_scale_arcsec"))
    if row.get("psf_file"):
        return _image_and_width(read_psf(str(row["psf_file"])).in_pixels(scale), x, y)
    if (width := _width(row.get("psf_fwhm_pix"), row.get("psf_fwhm_arcsec"), scale)) is not None:
        return None, width
    if settings.psf is not None:
        psf = read_psf(settings.psf, str(row.get("bands", "")).partition(",")[0])
        return _image_and_width(psf.in_pixels(scale), x, y)
    if (width := _width(settings.psf_fwhm_pix, settings.psf_fwhm_arcsec, scale)) is not None:
        return None, width
    if own is None:
        return None, own_fwhm_pix
    image, width = _image_and_width(own.in_pixels(scale), x, y)
    return image, own_fwhm_pix or width


def psf_or_why(
    row: Mapping[str, Any], settings: PictureSettings, *own: Any, x: float = np.nan, y: float = np.nan
) -> tuple[np.ndarray | None, float | None, BadImage | None]:
    """The same, and what is wrong with it where a row's own PSF cannot be had, which is then the row's fault.

    UsageError or OSError for the PSF that the settings name.
    """
    try:
        return *psf_of_row(row, settings, *own, x=x, y=y), None
    except (BadImage, UsageError, OSError) as error:
        if not (isinstance(error, BadImage) or row.get("psf_file")):
            raise
        return None, None, BadImage(Flag.UNREADABLE, f"Its PSF is needed: {str(error).rstrip('.')}.")


def _image_and_width(psf: Psf, x: float, y: float) -> tuple[np.ndarray, float | None]:
    if len(psf.parts) == 1:
        return psf.everywhere
    image = psf.at(x, y)
    return image, fwhm_pix(image)


def _width(pix: Any, arcsec: Any, scale: float | None) -> float | None:
    """A width in pixels from one in pixels or in arcsec."""
    if positive(pix) is not None:
        return positive(pix)
    angle = positive(arcsec)
    return angle / scale if angle is not None and scale is not None else None


def positive(value: Any) -> float | None:
    """A value as a number above 0, None if it is not one."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < np.inf else None
