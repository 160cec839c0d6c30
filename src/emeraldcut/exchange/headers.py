"""Headers: what a row of a table knows of the sky, as a header of FITS."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import Row

from emeraldcut.data.columns import numbers


def sky_header(row: Row, shape: tuple[int, ...]) -> Any:
    """A FITS header with the WCS of an image (ny, nx): its local matrix, around the middle of the image.

    Without the matrix only the pixel scale is in it, if that is known.
    """
    from astropy.io import fits

    def value(name: str) -> float:
        return float(numbers(row[name])) if name in row.colnames else np.nan

    header = fits.Header()
    place = [value(f"image_{n}") if np.isfinite(value(f"image_{n}")) else value(n) for n in ("ra", "dec")]
    matrix = [value(f"cd{k}") for k in (11, 12, 21, 22)]
    if np.isfinite([*place, *matrix]).all():
        header["CTYPE1"], header["CTYPE2"], header["RADESYS"] = "RA---TAN", "DEC--TAN", "ICRS"
        header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
        header["CRVAL1"], header["CRVAL2"] = place
        header["CRPIX1"], header["CRPIX2"] = (shape[1] + 1) / 2, (shape[0] + 1) / 2
        for key, cd in zip(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), matrix, strict=True):
            header[key] = cd
    elif np.isfinite(value("pixel_scale_arcsec")):
        header["PIXSCALE"] = (value("pixel_scale_arcsec"), "arcsec")
    return header
