"""Outlines of galaxies, such as ovals, boxes and obrounds, with their exact deviations from an ellipse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gamma

from emeraldcut.errors import UsageError

LABELS = ("oval", "rectangular", "obround", "other")

_ANGLES = 4096  # table of the outline: a corner is rounded over 0.09 degrees


@dataclass(frozen=True, eq=False)
class Shape:
    """A family of similar outlines, centred on the origin, major axis along +x.

    In the elliptical angle psi, x = rho cos(psi) and y = axis_ratio rho sin(psi); an ellipse has rho = 1.

    Attributes
    ----------
    name : str
    axis_ratio : float
        Height over width of the outline; the best-fitting ellipse may differ, see `harmonics`.
    rho : (4096,) array
        The outline at psi = 2 pi k / 4096, with a mean of 1 over the two ends of the major axis.
    parameters : mapping of str to float
        What the outline was made from.
    """

    name: str
    axis_ratio: float
    rho: np.ndarray = field(repr=False)
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.axis_ratio <= 1:
            raise UsageError(f"the axis ratio of a shape must be in (0, 1]; received {self.axis_ratio}.")
        if not np.all(self.rho > 0):
            raise UsageError(
                f"the outline of '{self.name}' must enclose its centre; received a radius of "
                f"{self.rho.min():.3g}; reduce its deviations from an ellipse."
            )
        ends = (self.rho[0] + self.rho[_ANGLES // 2]) / 2
        object.__setattr__(self, "rho", self.rho / ends)

    def radius(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Semi-major axis (>= 0, in the unit of `x` and `y`, any array) of the outline through each point."""
        height = y / self.axis_ratio
        place = np.arctan2(height, x) * (_ANGLES / (2 * np.pi)) + _ANGLES  # never negative
        index = place.astype(np.int32)
        table = np.concatenate([self.rho, self.rho[:1]])
        index_in_table = index & (_ANGLES - 1)
        start = table[index_in_table]
        rho = start + (place - index) * (table[index_in_table + 1] - start)
        return np.sqrt(x * x + height * height) / rho

    def outline(self, semi_major: float = 1.0) -> np.ndarray:
        """Points (4096, 2) of the outline with this semi-major axis, counter-clockwise from +x."""
        psi = _psi()
        x, y = self.rho * np.cos(psi), self.axis_ratio * self.rho * np.sin(psi)
        return semi_major * np.stack([x, y], axis=1)

    def enclosed_area(self, semi_major: ArrayLike) -> np.ndarray:
        """Area inside the outline with this semi-major axis: the integral of rho^2 q dpsi / 2, any array."""
        return np.pi * self.axis_ratio * np.mean(self.rho**2) * np.asarray(semi_major) ** 2


def _psi() -> np.ndarray:
    return 2 * np.pi * np.arange(_ANGLES) / _ANGLES


def _superellipse_rho(psi: np.ndarray, exponent: float) -> np.ndarray:
    return (np.abs(np.cos(psi)) ** exponent + np.abs(np.sin(psi)) ** exponent) ** (-1 / exponent)


def ellipse(axis_ratio: float) -> Shape:
    """An ellipse."""
    return Shape("ellipse", axis_ratio, np.ones(_ANGLES))


def superellipse(axis_ratio: float, exponent: float) -> Shape:
    """|x|^c + |y/q|^c = 1 (Lame curve; `generalised ellipse` of Athanassoula et al. 1990, MNRAS 245, 130)."""
    return Shape("superellipse", axis_ratio, _superellipse_rho(_psi(), exponent), {"exponent": exponent})


def diamond(axis_ratio: float, exponent: float = 1.3) -> Shape:
    """A superellipse with an exponent below 2; with an exponent of 1 its sides are straight."""
    return replace(superellipse(axis_ratio, exponent), name="diamond")


def rectangle(axis_ratio: float) -> Shape:
    """A rectangle with sharp corners."""
    psi = _psi()
    return Shape("rectangle", axis_ratio, 1 / np.maximum(np.abs(np.cos(psi)), np.abs(np.sin(psi))))


def rounded_rectangle(axis_ratio: float, corner: float) -> Shape:
    """A rectangle with round corners of radius `corner` (0 to 1) times half its height; 1 gives an obround."""
    if not 0 < corner <= 1:
        raise UsageError(f"the corner of a rounded rectangle must be in (0, 1]; received {corner}.")
    cosine, sine = np.abs(np.cos(_psi())), axis_ratio * np.abs(np.sin(_psi()))
    arc = corner * axis_ratio
    x0, y0 = 1 - arc, axis_ratio - arc
    # Far crossing of the ray with the corner's circle; used only where the ray meets neither straight side.
    a, b = cosine**2 + sine**2, cosine * x0 + sine * y0
    c = x0**2 + y0**2 - arc**2
    rho = (b + np.sqrt(np.maximum(b * b - a * c, 0))) / a
    with np.errstate(divide="ignore"):
        rho = np.where(sine <= y0 * cosine, 1 / cosine, rho)
        rho = np.where(cosine * axis_ratio <= x0 * sine, axis_ratio / sine, rho)
    return Shape("rounded_rectangle", axis_ratio, rho, {"corner": corner})


def obround(axis_ratio: float) -> Shape:
    """A stadium: two half circles joined by straight sides."""
    return replace(rounded_rectangle(axis_ratio, 1.0), name="obround", parameters={})


def skewed_box(axis_ratio: float, exponent: float, skew_deg: float) -> Shape:
    """A superellipse turned by `skew_deg` before it is flattened: a parallelogram with rounded corners.

    Its best-fitting ellipse is that of the superellipse. The fourth harmonic is divided between cosine and sine
    (a4 cos 4 skew, a4 sin 4 skew), as in LEDA 074886.
    """
    rho = _superellipse_rho(_psi() - np.radians(skew_deg), exponent)
    return Shape("skewed_box", axis_ratio, rho, {"exponent": exponent, "skew_deg": skew_deg})


def harmonic_outline(axis_ratio: float, cosine: Mapping[int, float], sine: Mapping[int, float] | None = None) -> Shape:
    """rho = 1 + sum of `cosine`[m] cos(m psi) + `sine`[m] sin(m psi), m >= 3, relative to the mean radius."""
    sine = sine or {}
    orders = [*cosine, *sine]
    if orders and min(orders) < 3:
        raise UsageError(f"harmonics below order 3 change centre and axes; received order {min(orders)}.")
    psi = _psi()
    rho = np.ones_like(psi) + sum(value * np.cos(m * psi) for m, value in cosine.items())
    rho = rho + sum(value * np.sin(m * psi) for m, value in sine.items())
    parameters = {f"a{m}": v for m, v in cosine.items()} | {f"b{m}": v for m, v in sine.items()}
    return Shape("harmonic", axis_ratio, rho, parameters)


def disky(axis_ratio: float, a4: float = 0.04) -> Shape:
    """An ellipse pointed at the ends of its axes, a4 > 0."""
    return replace(harmonic_outline(axis_ratio, {4: a4}), name="disky")


def egg(axis_ratio: float, a3: float = 0.06) -> Shape:
    """An outline with a blunt and a pointed end."""
    return replace(harmonic_outline(axis_ratio, {3: a3}), name="egg")


@dataclass(frozen=True)
class GradualBox:
    """Generalised ellipses whose exponent is linear in the semi-major axis between knots and constant beyond.

    Attributes
    ----------
    axis_ratio : float
    semi_major, exponent : tuples of float of one length
        Knots; semi-major axes rise, in the unit in which points will be given.
    """

    axis_ratio: float
    semi_major: tuple[float, ...]
    exponent: tuple[float, ...]

    def exponent_at(self, semi_major: ArrayLike) -> np.ndarray:
        """The exponent of the outline with this semi-major axis."""
        return np.interp(np.asarray(semi_major, float), self.semi_major, self.exponent)

    def radius(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Semi-major axis s of the outline through each point: |x/s|^c(s) + |y/(q s)|^c(s) = 1.

        Solved by fixed-point iteration. As d ln s / dc is at most ln(2)/c^2 in size, each step reduces the error by a
        factor of 5 or more where the exponent rises by less than about 2.5 per factor e in radius.
        """
        width, height = np.abs(x), np.abs(y) / self.axis_ratio
        large, small = np.maximum(width, height), np.minimum(width, height)
        ratio = small / np.maximum(large, 1e-12)
        s = np.hypot(width, height)
        for _ in range(6):
            c = self.exponent_at(s)
            s = large * (1 + ratio**c) ** (1 / c)
        return s

    def enclosed_area(self, semi_major: ArrayLike) -> np.ndarray:
        """Area inside the outline with this semi-major axis (area of a Lame curve)."""
        c = self.exponent_at(semi_major)
        return 4 * self.axis_ratio * gamma(1 + 1 / c) ** 2 / gamma(1 + 2 / c) * np.asarray(semi_major) ** 2


def trace_isophote(brightness: Callable, semi_major: float, axis_ratio: float) -> np.ndarray:
    """Points (512, 2) of the isophote of `brightness(x, y)` through (semi_major, 0), counter-clockwise.

    The light must fall outwards along each ray from the origin between 0.5 and 1.8 times the ellipse of
    `axis_ratio`.
    """
    psi = 2 * np.pi * np.arange(512) / 512
    steps = np.linspace(0.5, 1.8, 66)
    x, y = np.cos(psi)[:, None] * steps, axis_ratio * np.sin(psi)[:, None] * steps
    level = np.log(brightness(np.array([semi_major]), np.array([0.0])))
    light = np.log(np.maximum(brightness(semi_major * x, semi_major * y), 1e-300))  # (512, 66)
    outer = np.clip(np.argmax(light < level, axis=1), 1, len(steps) - 1)
    rows = np.arange(len(psi))
    above, below = light[rows, outer - 1], light[rows, outer]
    rho = steps[outer - 1] + (above - level) / (above - below) * (steps[1] - steps[0])
    return semi_major * np.stack([rho * np.cos(psi), axis_ratio * rho * np.sin(psi)], axis=1)


def harmonics(shape: Shape | np.ndarray, orders: tuple[int, ...] = (3, 4, 6, 8)) -> dict[str, float]:
    """Deviations of an outline from its best-fitting ellipse, in elliptical-radius units.

    With x = rho cos(psi) and y = q rho sin(psi), rho(psi) is Fourier-analysed by quadrature and divided by
    its mean. q is that of the ellipse for which the cos(2 psi) term vanishes, as isophote fitters choose it;
    for an obround it is 1 to 3 per cent rounder than the outline. Centre and position angle are kept. Boxy is
    a4 < 0. This is A4/a of Bender & Moellenhoff 1987 (A&A 177, 71) to first order, and `b4` of photutils >= 2
    in sign.

    Parameters
    ----------
    shape : Shape or (n, 2) array
        Or the points of a closed outline around the origin, counter-clockwise, major axis along x.
    orders : tuple of int

    Returns
    -------
    dict
        `a3, b3, a4, b4, ...`: cosine and sine terms; and `axis_ratio`, that of the best-fitting ellipse.
    """
    points = shape.outline()[::2] if isinstance(shape, Shape) else np.asarray(shape, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 32:
        raise UsageError(f"an outline needs 32 or more points (n, 2); received an array of {points.shape}.")
    axis_ratio = np.ptp(points[:, 1]) / np.ptp(points[:, 0])
    for _ in range(12):
        terms = _fourier(points, axis_ratio, max(orders))
        if abs(terms[2].real) < 1e-6:
            break
        axis_ratio *= np.exp(-2 * terms[2].real)  # to first order a2 = ln(p/q)/2 for q seen in p
    result = {"axis_ratio": float(axis_ratio)}
    for m in orders:
        result[f"a{m}"], result[f"b{m}"] = float(terms[m].real), float(-terms[m].imag)
    return result


def _fourier(points: np.ndarray, axis_ratio: float, order: int) -> np.ndarray:
    """Complex terms a_m - i b_m, m = 0..order, of rho(psi) over its mean, for an ellipse of `axis_ratio`."""
    x, y = points[:, 0], points[:, 1] / axis_ratio
    psi = 2 * np.pi * np.arange(2048) / 2048
    rho = np.interp(psi, np.arctan2(y, x) % (2 * np.pi), np.hypot(x, y), period=2 * np.pi)
    terms = np.fft.rfft(rho)
    return 2 * terms[: order + 1] / terms[0].real


def label_of(terms: Mapping[str, float]) -> tuple[str, bool]:
    """The label of an outline with these harmonics, and whether it is clear enough to be scored.

    - rectangular: a4 <= -0.04 and |a6| < 0.01
    - obround: a4 <= -0.02 and a6 >= 0.01
    - oval: fourth harmonic <= 0.01, third harmonic < 0.02 and |a6| < 0.01
    - other: a4 >= 0.03 or third harmonic >= 0.04

    The third and fourth harmonics of ovals and others are amplitudes of cosine and sine (`b3`, `b4`, zero if absent).
    Outlines between these limits are in the grey zone. They have the nearest label and are not scored; distances are in
    units of 0.02 in a3, 0.03 in a4 (the gaps between oval and the others) and 0.01 in a6 (the smallest of an obround).
    The limits were chosen for this program; a4 of -0.05 to -0.08 is published for LEDA 074886 (Graham et al. 2012, ApJ
    750, 121).
    """
    a4, a6 = terms["a4"] / 0.03, terms["a6"] / 0.01
    third = np.hypot(terms["a3"], terms.get("b3", 0.0)) / 0.02
    fourth = np.hypot(terms["a4"], terms.get("b4", 0.0)) / 0.03
    misses = {
        "rectangular": (a4 + 4 / 3, abs(a6) - 1, third - 2),
        "obround": (a4 + 2 / 3, 1 - a6, third - 2),
        "oval": (fourth - 1 / 3, abs(a6) - 1, third - 1),
        "other": (min(1 - a4, 2 - third),),
    }
    distance = {label: float(np.linalg.norm(np.maximum(miss, 0))) for label, miss in misses.items()}
    label = min(distance, key=lambda name: distance[name])
    return label, bool(distance[label] == 0)
