"""What kind of shape the harmonics say a galaxy has."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers

KINDS = ("elliptical", "disky", "boxy", "rectangular", "obround")
SIGNIFICANT = 2.0  # standard errors of a4 from which on a galaxy is boxy or disky
LEAST_A4 = 0.015  # and its least size, below which real ellipticals are
# Fourth and sixth harmonic of obrounds (stadiums) with axis ratios of 1 to .3, computed from the outline; rectangles
# and superellipses have none of the sixth.
OBROUND_A4 = (0.0, 0.010, 0.022, 0.036, 0.051, 0.066, 0.082, 0.097)
OBROUND_A6 = (0.0, 0.004, 0.009, 0.014, 0.018, 0.020, 0.020, 0.017)


def boxy_kind(table: Table) -> np.ndarray:
    """One of KINDS for each row (n,), from `a4`, `a6` and their errors.

    `elliptical`: |a4| below 2 standard errors or below 0.015. `disky`: a4 above that. Boxy galaxies are split halfway
    between the sixth harmonic of a rectangle, 0, and that of an obround with the same a4: `rectangular` below,
    `obround` above; those within one standard error of the border stay `boxy`.
    """
    a4, a4_err = numbers(table["a4"]), numbers(table["a4_err"])
    a6, a6_err = numbers(table["a6"]), numbers(table["a6_err"])
    marked = np.abs(a4) > np.maximum(SIGNIFICANT * a4_err, LEAST_A4)
    border = np.interp(-a4, OBROUND_A4, OBROUND_A6) / 2
    beyond = (a6 - border) / np.maximum(a6_err, 1e-9)
    kinds = np.where(beyond > 1, "obround", np.where(beyond < -1, "rectangular", "boxy"))
    return np.where(~marked, "elliptical", np.where(a4 > 0, "disky", kinds)).astype(object)
