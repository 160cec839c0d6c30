"""Thumbnails: images as small grey pictures for notebooks."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from emeraldcut.numerics.stretch import asinh_stretch

if TYPE_CHECKING:
    from PIL import Image

SIDE_PIX = 96  # of a thumbnail


def thumbnail(image: np.ndarray) -> str:
    """A PNG of an image as a data URL, its first row at the bottom; empty where it has no data.

    Pixels (ny, nx) are stretched to grey; colours (ny, nx, 3) uint8 are shown as they are.

    Examples
    --------
    >>> thumbnail(np.eye(8))[:22]
    'data:image/png;base64,'
    """
    from PIL import Image

    from emeraldcut.numerics.median import MAD_TO_SIGMA  # with numba, which takes time to import

    if image.ndim == 3:
        return _png(Image.fromarray(np.ascontiguousarray(image[::-1])))
    values = np.asarray(image, dtype=np.float64)
    known = np.isfinite(values)
    if values.ndim != 2 or not known.any():
        return ""
    sky = float(np.median(values[known]))
    top = float(np.percentile(values[known], 99.8)) - sky
    noise = max(MAD_TO_SIGMA * float(np.median(np.abs(values[known] - sky))), 1e-3 * abs(top), np.finfo(float).tiny)
    grey = asinh_stretch(values - sky, -0.5, max(float(np.arcsinh(top / (2 * noise))), 1.0), 2 * noise)
    picture = np.stack([255 * np.where(known, grey, 0), 255 * known], axis=-1)[::-1].astype(np.uint8)
    return _png(Image.fromarray(picture, "LA"))


def _png(picture: Image.Image) -> str:
    from PIL import Image

    buffer = BytesIO()
    picture.resize((SIDE_PIX, SIDE_PIX), Image.Resampling.NEAREST).save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
