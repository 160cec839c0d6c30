"""Light profiles: how the brightness falls with the radius of the isophote, and bodies of a shape and a profile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gamma as gamma_function
from scipy.special import gammainc, gammaincinv, k1

from emeraldcut.errors import UsageError
from emeraldcut.galaxies.shapes import GradualBox, Shape


@lru_cache(maxsize=4096)
def sersic_b(index: float, truncation: float = np.inf) -> float:
    """The b for which exp(-b (s^(1/n) - 1)), truncated at s = `truncation`, has half of its light inside s = 1.

    It solves P(2n, b) = P(2n, b t^(1/n)) / 2, where P is the regularised incomplete gamma function. Without truncation
    this is the exact definition that Ciotti & Bertin 1999 (A&A 352, 447) expand; with it, it was derived here.
    """
    if not 0.05 <= index <= 20:
        raise UsageError(f"a Sersic index must be in 0.05 to 20; received {index}.")
    if truncation <= 1.5:
        raise UsageError(f"a profile must be truncated beyond 1.5 half-light radii; received {truncation}.")
    b, fraction = gammaincinv(2 * index, 0.5), 0.0
    while np.isfinite(truncation) and abs(fraction - 0.5) > 1e-10:
        kept = gammainc(2 * index, b * truncation ** (1 / index))
        fraction = gammainc(2 * index, b) / kept
        b = gammaincinv(2 * index, kept / 2)
    return float(b)


@dataclass(frozen=True)
class Sersic:
    """A Sersic profile with brightness 1 on the half-light isophote, whose radius is also the unit of `truncation`."""

    index: float = 1.0
    truncation: float = np.inf

    def __call__(self, s: np.ndarray) -> np.ndarray:
        """Brightness on the isophotes of radius `s`, in half-light radii; an array of any shape."""
        light = np.exp(-sersic_b(self.index, self.truncation) * (s ** (1 / self.index) - 1))
        return light if np.isinf(self.truncation) else np.where(s < self.truncation, light, 0.0)

    def total_flux(self, area: float) -> float:
        """Light of a galaxy of similar isophotes whose half-light isophote encloses `area`.

        The integral of I(s) 2 s ds times the area; Ciotti & Bertin 1999 with pi R_e^2 replaced by `area`.
        """
        n, b = self.index, sersic_b(self.index, self.truncation)
        inside = 1.0 if np.isinf(self.truncation) else gammainc(2 * n, b * self.truncation ** (1 / n))
        return float(area * 2 * n * np.exp(b) * b ** (-2 * n) * gamma_function(2 * n) * inside)


def exponential(truncation: float = np.inf) -> Sersic:
    """The exponential profile, a Sersic profile of index 1; its scale length is 1/b half-light radii."""
    return Sersic(1.0, truncation)


@dataclass(frozen=True)
class Body:
    """A galaxy of similar isophotes with half-light semi-major axis `radius` and total light 1."""

    shape: Shape | GradualBox
    profile: Sersic
    radius: float = 1.0

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Surface brightness at points in the galaxy's frame, x along the major axis."""
        return self.profile(self.shape.radius(x, y) / self.radius) / self._flux()

    def _flux(self) -> float:
        if isinstance(self.shape, Shape):
            return self.profile.total_flux(float(self.shape.enclosed_area(self.radius)))
        edges = np.concatenate([[0.0], np.geomspace(1e-4, 40, 800)])
        light = self.profile((edges[1:] + edges[:-1]) / 2)
        return float(np.sum(light * np.diff(self.shape.enclosed_area(edges * self.radius))))


@dataclass(frozen=True)
class EdgeOnDisc:
    """An exponential disc seen edge-on, total light 1: (x/h) K1(x/h) sech^2(y/z).

    van der Kruit & Searle 1981 (A&A 95, 105); its integral 2 pi h z is derived here from that of t K1(t),
    pi/2.
    """

    scale_length: float
    scale_height: float

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Surface brightness at points in the galaxy's frame, the disc's plane along x."""
        along = np.maximum(np.abs(x) / self.scale_length, 1e-9)
        across = np.exp(-2 * np.abs(y) / self.scale_height)
        sech2 = 4 * across / (1 + across) ** 2
        return along * k1(along) * sech2 / (2 * np.pi * self.scale_length * self.scale_height)


@dataclass(frozen=True)
class Sum:
    """Several bodies, each with its fraction of the light."""

    bodies: tuple[Callable, ...]
    fractions: tuple[float, ...]

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Surface brightness at points in the galaxy's frame."""
        return sum(fraction * body(x, y) for fraction, body in zip(self.fractions, self.bodies, strict=True))


def half_light_radius(brightness: Callable, axis_ratio: float, largest: float = 12.0) -> float:
    """Semi-major axis, along +x, of the isophote of `brightness(x, y)` that encloses half of the light.

    By quadrature in polar elliptical coordinates out to `largest` half-light radii (expected near 1).
    """
    edges = np.geomspace(1e-3, largest, 161)
    s = np.sqrt(edges[1:] * edges[:-1])
    psi = 2 * np.pi * (np.arange(64) + 0.5) / 64
    light = brightness(np.cos(psi)[:, None] * s, axis_ratio * np.sin(psi)[:, None] * s)  # (64, 160)
    flux = (light * np.diff(edges**2)).ravel()
    order = np.argsort(-light, axis=None)
    enclosed = np.cumsum(flux[order])
    level = light.ravel()[order][np.searchsorted(enclosed, enclosed[-1] / 2)]
    along = np.maximum(brightness(s, np.zeros_like(s)), np.finfo(float).tiny)
    return float(np.exp(np.interp(-np.log(level), -np.log(along), np.log(s))))
