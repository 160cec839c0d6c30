"""Pixels that are not linear in light: what headers say of it is undone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

POGSON = 2.5 / np.log(10)  # magnitudes a unit of natural logarithm
ZERO_POINT_MAG = 22.5  # of counts made of magnitudes; only their ratios count


@dataclass(frozen=True)
class Stretch:
    """How pixels are made linear, and what was done, in words."""

    undo: Callable[[np.ndarray], np.ndarray]
    said: str


@dataclass(frozen=True)
class _Asinh:
    """Pan-STARRS: light = BOFFSET + BSOFTEN * 2 sinh(pixel / 1.0857), Waters et al. 2020, ApJS 251, 4, section 2.2."""

    softening: float
    offset: float

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return self.offset + self.softening * 2 * np.sinh(np.asarray(pixels, np.float64) / POGSON)


def _from_magnitudes(pixels: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return 10 ** (-0.4 * (np.asarray(pixels, np.float64) - ZERO_POINT_MAG))


def _from_decades(pixels: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return 10.0 ** np.asarray(pixels, np.float64)


def stretch_of(header: Mapping[str, Any]) -> Stretch | None:
    """What a header says that was done to the light; None where the pixels are linear."""
    softening, offset = header.get("BSOFTEN"), header.get("BOFFSET")
    if isinstance(softening, int | float) and isinstance(offset, int | float) and 0 < softening < np.inf:
        return Stretch(_Asinh(float(softening), float(offset)), "asinh magnitudes (BSOFTEN, BOFFSET) made linear")
    unit = str(header.get("BUNIT", "")).strip().lower()
    if re.match(r"(ab|st|vega)? ?mag(nitudes?)?\b", unit):
        return Stretch(_from_magnitudes, "magnitudes made linear")
    if re.match(r"(dex|log(10)?)\b", unit):
        return Stretch(_from_decades, "logarithms made linear")
    return None
