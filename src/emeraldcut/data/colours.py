"""Colours: single bands of a galaxy as one picture in colour, for the eye alone."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

BLACK_SIGMA = 1.0  # below the sky
SOFTENING_SIGMA = 2.0  # of the noise of the picture: linear below it, logarithmic above, as grey pictures are
WHITE_PERCENTILE = 99.8
EDGE = 0.125  # of a side: how broad the rim is that tells the level of the sky
# Effective wavelengths in nm: SDSS and Pan-STARRS (ugrizy), Bessell (UBVRI), 2MASS (JHK), WISE, GALEX, Euclid VIS.
WAVELENGTH_NM = {
    "fuv": 153, "nuv": 231, "u": 355, "b": 436, "g": 475, "v": 545, "r": 620, "vis": 715, "i": 763, "i2": 770,
    "z": 905, "y": 970, "j": 1235, "h": 1662, "k": 2160, "ks": 2160, "w1": 3350, "w2": 4600, "w3": 11600, "w4": 22100,
}  # fmt: skip
HST_OR_JWST = re.compile(r"^f(\d{3,4})[a-z]{1,2}\d?$")
# Filters of WFC3/IR and NIRCam whose three digits are units of 10 nm; those of others are nm.
TENS_OF_NM = frozenset(
    "070 090 098 105 110 115 125 126 127 128 130 132 139 140 150 153 160 162 164 167 182 187 200 210 212 250 277 "
    "322 323 335 356 360 405 410 430 444 460 466 470 480".split()
)  # F300 is told by its width: F300W is of WFPC2, F300M of NIRCam


def wavelength_nm(band: str) -> float:
    """The wavelength of a filter by its name, such as g, HSC-I or F814W; NaN if the name does not tell.

    Examples
    --------
    >>> wavelength_nm("F814W"), wavelength_nm("f160w"), wavelength_nm("DES-r"), wavelength_nm("0")
    (814.0, 1600.0, 620.0, nan)
    """
    name = re.split(r"[-.:_ ]", band.strip().lower())[-1]
    if name in WAVELENGTH_NM:
        return float(WAVELENGTH_NM[name])
    if found := HST_OR_JWST.match(name):
        digits = found[1]
        return float(digits) * (10 if digits in TENS_OF_NM or (digits == "300" and name[4] == "m") else 1)
    found = re.match(r"^(?:nb|n)0?(\d{3})$", name)  # narrow bands of HSC and DECam
    return float(found[1]) if found else np.nan


def in_colour(bands: Mapping[str, np.ndarray] | None) -> np.ndarray | None:
    """Two or more bands of one image as red, green and blue, (ny, nx, 3) uint8.

    The stretch is that of Lupton et al. (2004, PASP 116, 133) by `astropy.visualization.make_lupton_rgb`. Every band is
    shown in units of its noise, so that units do not matter, and redder and bluer galaxies of one survey can be told
    apart. The band in the middle is then scaled such that its light is the geometric mean of that of the others, since
    no spectrum of stars is green. The longest wavelength is red; names that do not tell it count as sorted from blue to
    red. Of two bands the mean is green; of more than three those three are taken that have the most signal.

    Parameters
    ----------
    bands : mapping of (ny, nx) arrays
        By their names; NaN where there is no data, which the other bands stand in for.

    Returns
    -------
    (ny, nx, 3) uint8 array or None
        None where fewer than two bands have data.

    Examples
    --------
    >>> y, x = np.mgrid[:32, :32] - 15.5
    >>> galaxy, noise = 50 * np.exp(-np.hypot(x, y) / 4), np.random.default_rng(0).normal(size=(3, 32, 32))
    >>> seen = in_colour({"g": galaxy + noise[0], "r": 2 * galaxy + noise[1], "z": 4 * galaxy + noise[2]})
    >>> red, green, blue = seen[15, 15].tolist()
    >>> red > green > blue
    True
    """
    from astropy.visualization import ManualInterval, make_lupton_rgb

    planes = {name: plane for name, values in (bands or {}).items() if (plane := _in_noise(values)) is not None}
    if len(planes) < 2:
        return None
    names = list(planes)
    places = np.array([wavelength_nm(name) for name in names])
    if np.isfinite(places).all():
        names = [names[k] for k in np.argsort(places, kind="stable")]
    if len(names) > 3:
        best = sorted(names, key=lambda name: -np.nanpercentile(planes[name], WHITE_PERCENTILE))[:3]
        names = [name for name in names if name in best]
    shown = np.stack([planes[name] for name in names])
    known = np.isfinite(shown)
    mean = np.where(known, shown, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    if len(shown) == 3:
        shown[1] *= _balance(shown[:, known.all(axis=0)], mean[known.all(axis=0)])
        mean = np.where(known, shown, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    shown = np.where(known, shown, mean)
    blue, green, red = shown if len(shown) == 3 else (shown[0], mean, shown[1])
    noise = len(shown) ** -0.5  # of the mean of the bands
    height = np.arcsinh(max(float(np.percentile(mean, WHITE_PERCENTILE)), 0.0) / (SOFTENING_SIGMA * noise))
    # Lupton's Q and stretch for which white is at that percentile: asinh(Q I / stretch) .1 / asinh(.1 Q) is 1 there
    q = 10 * np.sinh(0.1 * max(height, 1.0))
    black = ManualInterval(-BLACK_SIGMA * noise, None)
    rgb: np.ndarray = make_lupton_rgb(red, green, blue, black, stretch=q * SOFTENING_SIGMA * noise, Q=q)
    return rgb


def _balance(bands: np.ndarray, mean: np.ndarray) -> float:
    """By what the middle one of three bands (3, n) is scaled: its light becomes the geometric mean of the others'.

    Light is counted in proportion to the mean (n,) of the bands; where one has none, nothing is scaled.
    """
    light = (bands * np.maximum(mean, 0)).sum(axis=1)
    return float(np.sqrt(light[0] * light[2]) / light[1]) if (light > 0).all() else 1.0


def _in_noise(values: np.ndarray) -> np.ndarray | None:
    """A band (ny, nx) above its sky in units of its noise; None if it shows nothing.

    The noise is that of differences between neighbouring pixels, which a galaxy changes little; of a drawing without
    noise it is a thousandth of the brightest pixel.
    """
    from astropy.stats import mad_std

    plane = np.asarray(values, dtype=float)
    known = np.isfinite(plane)
    if plane.ndim != 2 or not known.any():
        return None
    rim = known.copy()
    margin = [max(int(EDGE * n), 1) for n in plane.shape]
    rim[margin[0] : -margin[0], margin[1] : -margin[1]] = False
    light = np.where(known, plane, np.nan) - np.median(plane[rim if rim.any() else known])
    steps = np.diff(light, axis=1)
    steps = steps[np.isfinite(steps)]
    noise = max(float(mad_std(steps)) / np.sqrt(2) if steps.size else 0.0, 1e-3 * float(np.nanmax(np.abs(light))))
    return light / noise if noise > 0 else None
