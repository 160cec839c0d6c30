"""A second generator of galaxies, which shares no code with `emeraldcut.galaxies`: a check that is not of its making.

Light on a three times finer grid, in a superelliptical radius; PSFs of two Gaussians; noise of photons and read-out.
"""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from scipy.ndimage import gaussian_filter

from emeraldcut.data import ImageSet

SIDE, FINE = 72, 3
OTHERS = ("disky", "spiral", "ring", "double", "edge_on", "clumpy", "star", "saturated")


def _radius(x, y, q, c, n_corner=0.0):
    """Superelliptical radius; `n_corner` > 0 flattens the ends into those of an obround."""
    if n_corner:
        straight = max(1 - q, 0)
        return np.hypot(np.maximum(np.abs(x) - straight * n_corner, 0), y) / q
    return (np.abs(x) ** c + np.abs(y / q) ** c) ** (1 / c)


def _profile(rng):
    """A brightness as a function of the radius in half-light radii, roughly."""
    form = rng.integers(3)
    if form == 0:  # Sersic, with b of Ciotti & Bertin 1999, first terms
        n = rng.uniform(0.5, 3.5)
        b = 2 * n - 1 / 3 + 0.009876 / n
        return lambda s: np.exp(-b * (np.maximum(s, 1e-3) ** (1 / n) - 1))
    if form == 1:  # broken exponential
        knee, inner, outer = rng.uniform(0.8, 2), rng.uniform(0.8, 1.5), rng.uniform(1.8, 3.5)
        return lambda s: np.where(s < knee, np.exp(-inner * s), np.exp(-inner * knee - outer * (s - knee)))
    power, core = rng.uniform(1.2, 2.5), rng.uniform(0.3, 0.9)  # a cored power law with an end
    return lambda s: np.maximum((1 + (s / core) ** 2) ** -power - (1 + 25 / core**2) ** -power, 0)


def _scene(kind, rng, x, y, size, fwhm):
    """Light of one object on the fine grid; x and y in its axes, in pixels."""
    q, profile = rng.uniform(0.35, 0.95), _profile(rng)
    u, v = x / size, y / size
    if kind == "rectangular":
        outer = np.exp(rng.uniform(np.log(2.9), np.log(7)))
        if rng.random() < 0.3:  # rounder inside, and a small disc
            c = 2 + (outer - 2) / (1 + (0.5 / np.maximum(np.hypot(u, v / q), 1e-3)) ** 4)
            disc = rng.uniform(0, 0.15) * np.exp(-np.abs(u) / 0.25) / np.cosh(v / 0.06) ** 2
            return profile(_radius(u, v, q, c)) + disc
        return profile(_radius(u, v, q, outer))
    if kind == "obround":
        q = min(q, 0.75)
        return profile(_radius(u, v, q, 2, 1.0))
    if kind == "oval":
        return profile(_radius(u, v, q, rng.uniform(1.95, 2.08)))
    if kind == "disky":
        return profile(_radius(u, v, min(q, 0.7), rng.uniform(1.3, 1.75)))
    s, angle = np.hypot(u, v / q), np.arctan2(v / q, u)
    if kind == "spiral":
        arms = 1 + rng.uniform(0.2, 0.8) * np.cos(rng.integers(2, 4) * (angle - rng.uniform(2, 5) * np.log(s + 0.2)))
        return np.exp(-1.7 * s) * arms + 0.4 * np.exp(-((s / 0.2) ** 2))
    if kind == "ring":
        return 0.5 * np.exp(-1.7 * s) + rng.uniform(0.2, 0.8) * np.exp(-(((s - 1) / 0.25) ** 2))
    if kind == "double":
        away = rng.uniform(0.7, 1.6)
        return profile(_radius(u, v, q, 2)) + rng.uniform(0.3, 1) * profile(1.4 * np.hypot(u - away, v))
    if kind == "edge_on":
        thick = rng.uniform(0.08, 0.25)
        return np.exp(-np.abs(u) / 0.6) / np.cosh(v / thick) ** 2 + rng.uniform(0, 1) * np.exp(-s / 0.15)
    if kind == "clumpy":
        places = rng.normal(0, 0.6, (9, 2))
        clumps = sum(rng.exponential() * np.exp(-((u - a) ** 2 + (v - b) ** 2) / 0.05) for a, b in places)
        return 0.3 * clumps + 0.5 * np.exp(-1.7 * s)
    return np.exp(-(x**2 + y**2) / (2 * 0.05**2 * fwhm**2))  # a star, which the PSF widens


def blind_galaxies(numbers: range, seed: int) -> ImageSet:
    """Images of the series with these numbers: labels, PSF and S/N in the table."""
    pixels, rows = [], []
    for number in numbers:
        rng = np.random.default_rng([seed, number])
        label = str(rng.choice(["oval", "rectangular", "obround", "other"], p=[0.35, 0.25, 0.08, 0.32]))
        kind = str(rng.choice(OTHERS)) if label == "other" else label
        size, fwhm, snr = (np.exp(rng.uniform(*np.log(limits))) for limits in ((4, 13), (1.8, 4), (60, 300)))
        fwhm = min(fwhm, size / 1.3)
        axis = (np.arange(SIDE * FINE) + 0.5) / FINE - SIDE / 2
        dx, dy = axis - rng.normal(0, 0.7), (axis - rng.normal(0, 0.7))[:, None]
        angle = rng.uniform(0, np.pi)
        x, y = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        light = _scene(kind, rng, x, y, size, fwhm)
        sigma = FINE * fwhm / 2.355
        light = 0.85 * gaussian_filter(light, sigma) + 0.15 * gaussian_filter(light, 2.2 * sigma)
        light = light.reshape(SIDE, FINE, SIDE, FINE).mean(axis=(1, 3))
        if kind == "saturated":
            light = np.minimum(light, light.max() * 10 ** rng.uniform(-3, -1))
            light /= light.max()
            snr *= 5
        ordered = np.sort(light, axis=None)[::-1]
        half = int(np.searchsorted(np.cumsum(ordered), light.sum() / 2)) + 1
        light = light * snr * np.sqrt(half) / ordered[:half].sum()  # over a sky noise of 1
        for _ in range(rng.poisson(1.0)):
            a, b = rng.uniform(0, SIDE, 2)
            if np.hypot(a - SIDE / 2, b - SIDE / 2) > 1.5 * size:
                r = np.hypot(np.arange(SIDE) - a, np.arange(SIDE)[:, None] - b)
                light += light.max() * rng.uniform(0.05, 0.5) * np.exp(-r / rng.uniform(1, 2.5))
        image = light + rng.normal(size=light.shape) * np.sqrt(1 + light / rng.uniform(5, 100))
        pixels.append(image.astype(np.float32))
        row = {"id": f"blind-{number:06d}", "label": label, "kind": kind, "psf_fwhm_pix": fwhm, "truth_snr": snr}
        rows.append(row | {"truth_radius_pix": size})
    return ImageSet(pixels, Table(rows=rows))
