"""What gives away a star: a saturated plateau, edges steeper than any galaxy's, and diffraction spikes.

A galaxy's light is peaked and falls over a length of the order of its size. A star that saturates the detector, or the
white of a picture, is a plateau whose edge falls as the wings of the PSF do, within a small part of the plateau's
radius, and its spikes stay narrow while their distance grows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emeraldcut.data.flags import Flag
from emeraldcut.frame.ellipse_fit import Q, X, Y, box_around
from emeraldcut.frame.segmentation import ENLARGED, MISSING, NEIGHBOUR, Segmentation
from emeraldcut.numerics.jit import part
from emeraldcut.numerics.median import median_of, select

TOP_SHARE = 0.02  # of the half-light ellipse's area: pixels brighter than the level from which the plateau is counted
STEPS = (0.03, 0.08)  # of that level: half of a plateau's scatter, about 7 and 20 grey levels of 255
BY_CHANCE_PIX = 4.0  # pixels: the scatter of that number for a small source, whose top is a few pixels
REACH = 1.6  # half-light radii out to which plateaus are looked for; those of stars end at 1.0 to 1.5
EDGE_LEVELS = (0.6, 0.2)  # of the plateau, between which the steepness of the edge is measured
WEDGES = 72  # directions in which spikes are looked for, a multiple of 4 and of 6
COSINES = np.cos(2 * np.pi * np.arange(WEDGES) / WEDGES)
BESIDE = 3  # wedges from a spike to the sky beside it: 15 degrees
SPIKE_RADII, SPIKE_RADII_PIX = (2.0, 5.0), (6.0, 16.0)  # half-light radii, at least so many pixels, between which
FEWEST_RINGS, LEAST_OF_RING = 4, 0.5  # rings, and share of a ring that is on the image
SPIKY = 50.0  # times the noise: the highest light from which on a star's spikes, a few per cent of it, may be seen
SPIKE_SIGMA = 5.0  # significance from which spikes count


# A plateau of this area is that of a star if its edge is no wider than this share of its radius or than so many FWHM.
# In SDSS pictures those of stars end at 2.25 FWHM, and those of galaxies with a white core begin at 2.33.
STAR_PLATEAU, STAR_EDGE, SATURATED_EDGE_FWHM = 0.05, 0.65, 2.3
STAR_SPIKES = 1.0  # and so is one whose spikes have so much of the light between them
ASSUMED_FWHM = 2.5  # of a PSF that is not known, in pixels of the detector
SMALL_FWHM = 1.2  # half-light radius in FWHM, below which nothing is resolved in an enlarged image
# In one that was, objects are stars within this radius whose edges are no wider than this, both in FWHM: an arcsinh
# stretch makes stars larger, but not their edges.
STAR_RADIUS, STAR_EDGE_FWHM = 3.0, 1.2
SATURATED_SHARE = 0.08  # of the half-light ellipse, from which on a plateau is flagged
WIDEST_EDGE = 9.0  # what a light that does not fall to its levels has
SATURATED_BIT, UNRESOLVED_BIT = int(Flag.SATURATED), int(Flag.UNRESOLVED)
STAR_BITS = SATURATED_BIT | UNRESOLVED_BIT


class StarMarks(NamedTuple):
    """The marks of a star.

    Attributes
    ----------
    saturated : float
        Area of the plateau over that of the half-light ellipse; 0 for a smooth peak.
    edge_width : float
        Distance over which the light falls from 0.6 to 0.2 of its highest level, over the radius at 0.4: below 0.3 for
        a saturated star, 0.58 for a Gaussian, 1.2 for an exponential disc.
    edge_pix : float
        The same distance in pixels, circularised.
    grain_pix : float
        Size of the grains of the sky's noise: 0.5 for independent pixels, f in an image that was enlarged f times.
    spikes : float
        Light of narrow rays in four or six directions over the light between them; 0 if not significant.
    """

    saturated: float
    edge_width: float
    spikes: float
    edge_pix: float
    grain_pix: float


NO_MARKS = StarMarks(0.0, WIDEST_EDGE, 0.0, 1e9, 0.5)


@part
def _plateau(division, shape, radius):
    """Area of the plateau over that of the half-light ellipse, and the level of the top.

    The areas within steps of 1 and 3 below the top are as 1 to 3 for any smooth maximum, and as 1 to 9 for a cusp. A
    plateau has equal ones. So 1.5 times the first less half of the second is the plateau alone. The larger step finds
    the plateaus of colour pictures, where not all bands are saturated.
    """
    image, pixel_class = division.image, division.pixel_class
    ny, nx = image.shape
    box, q = box_around(shape, REACH * radius, ny, nx), shape[Q]
    values, n = np.empty(max(box.y1 - box.y0, 0) * max(box.x1 - box.x0, 0) + 1, np.float32), 0
    for y in range(box.y0, box.y1):
        for x in range(box.x0, box.x1):
            if pixel_class[y, x] < NEIGHBOUR:
                values[n] = image[y, x]
                n += 1
    area = max(np.pi * radius * radius * q, 1.0)
    if n < 9:
        return 0.0, np.float32(0)
    work = values[:n].copy()
    top = select(work, n, n - 1 - min(int(TOP_SHARE * area), n - 1))
    plateau = 0.0
    for step in STEPS:
        near, far = np.float32(1 - step) * top, np.float32(1 - 3 * step) * top
        n_near, n_far = 0, 0
        for i in range(n):
            n_near += values[i] >= near
            n_far += values[i] >= far
        plateau = max(plateau, 1.5 * n_near - 0.5 * n_far - BY_CHANCE_PIX)
    return plateau / area, top


@part
def _edge_width(light, top):
    """Distance over which mean light (k,) falls between EDGE_LEVELS of `top`, over the radius at their middle.

    And that distance in circularised pixels.
    """
    places = np.zeros(3)
    for m in range(3):
        level = (EDGE_LEVELS[0] + 0.5 * m * (EDGE_LEVELS[1] - EDGE_LEVELS[0])) * top
        k = 0
        while k < len(light) and light[k] > level:
            k += 1
        if k == len(light) or k == 0:
            return WIDEST_EDGE, float(len(light))
        places[m] = k - 1 + (light[k - 1] - level) / max(light[k - 1] - light[k], 1e-30)
    edge = places[2] - places[0]
    return min(edge / max(places[1], 0.5), WIDEST_EDGE), edge


@part
def _rays(division, shape, radius):
    """Light in each wedge above the median of its ring, over all rings (WEDGES,); the median light; number of rings.

    The former is NaN where a wedge is not on the image.
    """
    image, pixel_class = division.image, division.pixel_class
    ny, nx = image.shape
    above, seen = np.zeros(WEDGES), np.zeros(WEDGES)
    ring, work = np.empty(WEDGES, np.float32), np.empty(WEDGES, np.float32)
    between, n_rings = 0.0, 0
    inner = max(SPIKE_RADII[0] * radius, SPIKE_RADII_PIX[0])
    outer = max(SPIKE_RADII[1] * radius, SPIKE_RADII_PIX[1])
    r = inner
    while r < outer:
        n = 0
        for k in range(WEDGES):
            px, py = shape[X] + r * COSINES[k], shape[Y] + r * COSINES[k - WEDGES // 4]
            i, j = int(np.floor(px)), int(np.floor(py))
            ring[k] = np.nan
            if i < 0 or j < 0 or i >= nx - 1 or j >= ny - 1 or pixel_class[j, i] == MISSING:
                continue
            fx, fy = px - i, py - j
            ring[k] = (1 - fy) * ((1 - fx) * image[j, i] + fx * image[j, i + 1]) + fy * (
                (1 - fx) * image[j + 1, i] + fx * image[j + 1, i + 1]
            )
            work[n] = ring[k]
            n += 1
        if n < LEAST_OF_RING * WEDGES:
            break
        middle = median_of(work, n)
        for k in range(WEDGES):
            if np.isfinite(ring[k]):
                above[k] += ring[k] - middle
                seen[k] += 1
        between += max(middle, np.float32(0))
        n_rings += 1
        r += 1.0
    for k in range(WEDGES):  # as if all rings had been seen
        above[k] = above[k] * n_rings / seen[k] if seen[k] >= max(FEWEST_RINGS, n_rings / 2) else np.nan
    return above, between, n_rings


@part
def _spikes(division, shape, radius, top):
    """Light of rays in four or six directions over the light between them, 0 if not significant."""
    if top < SPIKY * division.sky_sigma:
        return 0.0
    above, between, n_rings = _rays(division, shape, radius)
    if n_rings < FEWEST_RINGS:
        return 0.0
    noise = division.sky_sigma * np.sqrt(n_rings * division.correlation)
    best = 0.0
    for fold in (4, 6):
        apart = WEDGES // fold
        for k in range(apart):
            lowest, beside, n, n_beside = np.inf, 0.0, 0, 0
            for m in range(fold):
                place = k + m * apart
                if np.isfinite(above[place]):
                    lowest = min(lowest, above[place])
                    n += 1
                for other in (above[place - BESIDE], above[(place + BESIDE) % WEDGES]):
                    if np.isfinite(other):
                        beside += other
                        n_beside += 1
            if n >= fold - 1 and n_beside >= fold:
                best = max(best, lowest - max(beside / n_beside, 0.0))
    if best < SPIKE_SIGMA * noise:
        return 0.0
    return best / max(between, noise)


@part
def marks_of_star(
    division: Segmentation, shape: np.ndarray, radius: float, light: np.ndarray, binning: int
) -> StarMarks:
    """The marks of a star that a galaxy with this shape, half-light radius (pixels) and mean light (k,) has."""
    saturated, top = _plateau(division, shape, radius)
    edge_width, edge_pix = _edge_width(light, top)
    spikes = _spikes(division, shape, radius, top)
    return StarMarks(saturated, edge_width, spikes, edge_pix * binning, division.grain_pix * binning)


@part
def flags_of_star(marks: StarMarks, radius: float, psf_fwhm: float) -> int:
    """The flags of an object with these marks and half-light radius (pixels); the PSF is infinite if not known.

    Without a PSF, that of an enlarged image is taken to be ASSUMED_FWHM pixels of the detector, whose size the grain
    tells.
    """
    flag = SATURATED_BIT if marks.saturated >= SATURATED_SHARE else 0
    known = psf_fwhm < np.inf
    fwhm = psf_fwhm if known else ASSUMED_FWHM * max(marks.grain_pix, 1.0)
    if not known and marks.grain_pix >= ENLARGED:
        small = radius < SMALL_FWHM * fwhm or (radius < STAR_RADIUS * fwhm and marks.edge_pix < STAR_EDGE_FWHM * fwhm)
        flag |= UNRESOLVED_BIT if small else 0
    if marks.saturated >= STAR_PLATEAU and (
        marks.edge_width <= STAR_EDGE
        or marks.edge_width >= WIDEST_EDGE  # its own halo is brighter than that
        or marks.edge_pix < SATURATED_EDGE_FWHM * fwhm
    ):
        flag |= UNRESOLVED_BIT
    if marks.spikes >= STAR_SPIKES:
        flag |= UNRESOLVED_BIT
    return flag
