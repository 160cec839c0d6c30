"""How a galaxy's fourth harmonic changes with radius, in a few numbers: inside, outside, where it is extreme."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from astropy.table import MaskedColumn, Table

from emeraldcut.frame import ALL, FramedGalaxy
from emeraldcut.frame.ellipse_fit import C4
from emeraldcut.isophotes.galaxy_fit import LEAST_A4, LEAST_ERROR, Measurement
from emeraldcut.isophotes.isophote_fit import RingOptions
from emeraldcut.isophotes.radial_profile import rings_at
from emeraldcut.numerics.jit import compiled, part

# Numbers for which neither a source nor a measurement is named were chosen by eye.
RANGE = (0.3, 2.5)  # half-light radii between which isophotes are looked at
INNER, OUTER = (0.3, 0.8), (1.25, 2.5)  # the two zones, in half-light radii
WIDTH, LEAST_WIDTH_PIX = 0.24, 1.5  # of a ring, relative to its inner edge, and in pixels; rings do not overlap
STEPS = 4  # Gauss-Newton steps at most
# Standard errors from which on a zone is boxy or disky by itself; from which on zones of opposite signs differ; and
# which each of these then needs. Of 7,200 ellipses at S/N 30 to 250, .8 % are beyond one of them by chance, and of
# galaxies that are boxy outside and elliptical inside, at S/N 100, 13 % are called disky inside.
ZONE_SIGMA, DIFFERENCE_SIGMA, SIGN_SIGMA = 3.6, 2.5, 0.9
MOST_ERROR = 0.1  # of a4 in a ring that counts


class Course(NamedTuple):
    """a4 in the rings of one galaxy, (n,).

    Attributes
    ----------
    radius : (n,)
        Over the half-light radius.
    a4, error, common : (n,)
        Its error from the noise, independent from ring to ring, and that which all rings share.
    """

    radius: np.ndarray
    a4: np.ndarray
    error: np.ndarray
    common: np.ndarray


def ring_edges(radius: float, limit: float) -> np.ndarray:
    """Edges (n + 1,) in pixels of rings that do not overlap, for a half-light radius, out to `limit` at most."""
    edges, end = [RANGE[0] * radius], min(RANGE[1] * radius, limit)
    while edges[-1] < end:
        edges.append(edges[-1] + max(WIDTH * edges[-1], LEAST_WIDTH_PIX))
    return np.array(edges[:-1] if len(edges) > 2 and edges[-1] > 1.1 * end else edges)


def course_of(galaxy: FramedGalaxy, fit: Measurement) -> Course:
    """a4 ring by ring of one framed galaxy, whose shape as a whole is `fit`."""
    edges = ring_edges(galaxy.radius, fit.outer)
    radii, half = (edges[1:] + edges[:-1]) / 2, WIDTH / (2 + WIDTH)
    if not len(radii):
        return Course(radii, radii, radii, radii)
    options = RingOptions(half, LEAST_WIDTH_PIX / 2, ALL, STEPS, False, False, galaxy.square, True)
    rings = rings_at(galaxy, fit, radii, options, np.zeros(len(radii)), fit.coefficients)
    a4, common = rings.shape[:, C4], fit.psf_trust * (rings.shape[:, C4] - rings.seen.shape[:, C4])
    error = np.sqrt(np.maximum(rings.errors[:, C4] ** 2 - common**2, 1e-8))
    known = np.isfinite(a4) & (error < MOST_ERROR)
    found = (radii / galaxy.radius, a4, error, np.hypot(common, LEAST_ERROR))
    return Course(*(values[known] for values in found))


@part
def _mean(course, zone):
    """Weighted mean of a4 in a zone, and its error; NaN where no ring is."""
    total, sum_a4, sum_common, n = 0.0, 0.0, 0.0, 0
    for k in range(len(course.radius)):
        if zone[0] < course.radius[k] < zone[1]:
            weight = 1 / course.error[k] ** 2
            total, n = total + weight, n + 1
            sum_a4 += weight * course.a4[k]
            sum_common += weight * course.common[k]
    if n == 0:
        return np.nan, np.nan
    mean, common, spread = sum_a4 / total, sum_common / total, 0.0
    for k in range(len(course.radius)):
        if zone[0] < course.radius[k] < zone[1]:
            spread += (course.a4[k] - mean) ** 2 / course.error[k] ** 2
    # rings that scatter by more than their errors make the mean less certain, as in `_slope`
    scatter = max(spread / max(n - 1, 1), 1.0)
    return mean, np.sqrt(scatter / total + common**2)


@part
def _slope(course):
    """Change of a4 over a factor e in radius, by least squares, and its error."""
    n = len(course.radius)
    if n < 3:
        return np.nan, np.nan
    weight, x = 1 / course.error**2, np.log(course.radius)
    x -= np.sum(weight * x) / np.sum(weight)
    square = np.sum(weight * x * x)
    # a slope that the rings do not follow is less certain: by the root of chi^2 per degree of freedom
    slope = np.sum(weight * x * course.a4) / square
    mean = np.sum(weight * course.a4) / np.sum(weight)
    scatter = np.sum(weight * (course.a4 - mean - slope * x) ** 2) / (n - 2)
    return slope, np.sqrt(max(scatter, 1.0) / square)


@part
def _extreme(course):
    """The a4 that is farthest from 0, its error and its radius, freed of what being the extreme adds to it.

    Of many rings the one that noise has pushed out most is chosen, so that its own value is too large. Rings scatter
    about their weighted mean by more than their noise only as far as a4 changes with radius; each is moved to the mean
    by the fraction of the scatter that is noise (empirical Bayes, Efron 2011, JASA 106, 1602), and the extreme is that
    of these values.
    """
    if len(course.radius) < 3:
        return np.nan, np.nan, np.nan
    variance = course.error**2
    weight = 1 / variance
    total = np.sum(weight)
    mean = np.sum(weight * course.a4) / total
    spread = np.sum(weight * (course.a4 - mean) ** 2) - (len(weight) - 1)
    own = max(spread / (total - np.sum(weight**2) / total), 0.0)  # DerSimonian & Laird 1986
    kept = own / (own + variance)
    moved = mean + kept * (course.a4 - mean)
    k = np.argmax(np.abs(moved))
    error = np.sqrt(kept[k] * variance[k] + (1 - kept[k]) ** 2 / total + course.common[k] ** 2)
    return moved[k], error, course.radius[k]


@compiled
def _summary(course):
    """Numbers of `add_zones` (9,), of the fields of a `Course`."""
    course = Course(*course)
    inner, outer = _mean(course, INNER), _mean(course, OUTER)
    return np.array([*inner, *outer, *_slope(course), *_extreme(course)])


def _word(a4: float, error: float, sigmas: float) -> str:
    if not abs(a4) > max(sigmas * error, LEAST_A4):
        return ""
    return "disky" if a4 > 0 else "boxy"


def zones_in_words(inner: tuple[float, float], outer: tuple[float, float]) -> str:
    """What a4 and its error say inside and outside, as in "boxy outside, disky inside".

    Two zones of opposite signs are called so if their difference is significant: there is one difference, but there
    are two zones, each of which may err.
    """
    inside, outside = _word(*inner, SIGN_SIGMA), _word(*outer, SIGN_SIGMA)
    differ = abs(inner[0] - outer[0]) > DIFFERENCE_SIGMA * np.hypot(inner[1], outer[1])
    if not (differ and inside and outside and inside != outside):
        inside, outside = _word(*inner, ZONE_SIGMA), _word(*outer, ZONE_SIGMA)
    if inside and inside == outside:
        return f"{inside} throughout"
    parts = [f"{word} {where}" for word, where in ((outside, "outside"), (inside, "inside")) if word]
    return ", ".join(parts) or "elliptical"


def add_zones(table: Table, courses: list[Course | None], radii_pix: np.ndarray) -> None:
    """Adds to the table of `measure` what a4 does with radius, masked where that is not known."""
    found = np.full((len(courses), 9), np.nan)
    words = np.full(len(courses), "", dtype=object)
    for row, course in enumerate(courses):
        if course is not None and len(course.radius):
            found[row] = _summary(tuple(course))
            words[row] = zones_in_words(tuple(found[row, :2]), tuple(found[row, 2:4]))
    names = ("a4_inner", "a4_inner_err", "a4_outer", "a4_outer_err", "a4_slope", "a4_slope_err", "a4_extreme",
             "a4_extreme_err", "a4_extreme_radius_pix")  # fmt: skip
    for k, name in enumerate(names):
        values = found[:, k]
        if name == "a4_extreme_radius_pix":
            values = values * radii_pix
        hidden = ~np.isfinite(values)
        table[name] = MaskedColumn(np.where(hidden, 0.0, values), mask=hidden)
    table["boxy_zones"] = MaskedColumn(words, mask=[not word for word in words], dtype=object)


def zones_example() -> None:
    """What is compiled ahead, see `numerics.jit`, besides `fit_rings`."""
    some = np.linspace(0.5, 2.0, 5)
    _summary(tuple(Course(some, some - 1, some, some)))
