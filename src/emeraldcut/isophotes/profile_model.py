"""The image of a galaxy as its isophotes have it: what is left when it is taken away is no part of them."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.frame import ORDERS
from emeraldcut.frame.ellipse_fit import LEAST_DEFORMATION, MOST_DEFORMATION

ROUNDS = 12  # in which the isophote through each pixel is found
NAMES = {3: ("a3", "b3"), 4: ("a4", "b4_sin"), 6: ("a6", "b6_sin"), 8: ("a8", "b8_sin")}  # cosine and sine


def profile_model(profile: Table, shape: tuple[int, int]) -> np.ndarray:
    """Light (ny, nx) of a galaxy from its isophotes, less the sky; NaN beyond the last one.

    Each pixel gets the light of the isophote that goes through it: centre, axes, harmonics and the logarithm of the
    light are interpolated linearly in the logarithm of the semi-major axis, and its semi-major axis is found by
    repetition.

    Parameters
    ----------
    profile : Table
        The rows of one galaxy from `radial_profiles`, as they are seen: of a fit without a correction for the PSF.
    shape : (ny, nx)
        Of the image.

    Examples
    --------
    >>> import emeraldcut
    >>> from emeraldcut.isophotes import MeasureSettings, radial_profiles
    >>> images = emeraldcut.synthesise(1, seed=2)
    >>> rows = radial_profiles(images, MeasureSettings(psf_correction=False))
    >>> profile_model(rows, images.pixels[0].shape).shape == images.pixels[0].shape
    True
    """
    light = numbers(profile["brightness"])
    known = np.isfinite(light) & (light > 0) & np.isfinite(numbers(profile["axis_ratio"]))
    if not known.any():
        return np.full(shape, np.nan)
    rows = profile[known]
    radius = np.log(numbers(rows["isophote_radius_pix"]))
    angle = np.unwrap(2 * np.radians(numbers(rows["position_angle_deg"]))) / 2
    columns = {name: numbers(rows[name]) for name in ("x", "y", "axis_ratio")} | {"angle": angle}
    for pair in NAMES.values():  # an isophote without harmonics is an ellipse
        columns |= {name: np.nan_to_num(numbers(rows[name])) for name in pair}
    y, x = np.indices(shape, dtype=float)
    a = np.maximum(np.hypot(x - columns["x"].mean(), y - columns["y"].mean()), 0.1)
    for _ in range(ROUNDS):
        at = {name: np.interp(np.log(a), radius, values) for name, values in columns.items()}
        a = np.maximum(_semi_major_axis(x, y, at), 0.1)
    model = np.exp(np.interp(np.log(a), radius, np.log(light[known])))
    return np.where(np.log(a) <= radius[-1], model, np.nan)


def _semi_major_axis(x: np.ndarray, y: np.ndarray, at: dict[str, np.ndarray]) -> np.ndarray:
    """Of the isophote with this geometry through each pixel."""
    dx, dy = x - at["x"], y - at["y"]
    cos, sin = np.cos(at["angle"]), np.sin(at["angle"])
    u, v = dx * cos + dy * sin, (dy * cos - dx * sin) / at["axis_ratio"]
    psi, deformation = np.arctan2(v, u), np.ones(x.shape)
    for m in ORDERS:
        cosine, sine = NAMES[m]
        deformation += at[cosine] * np.cos(m * psi) + at[sine] * np.sin(m * psi)
    return np.hypot(u, v) / np.clip(deformation, LEAST_DEFORMATION, MOST_DEFORMATION)
