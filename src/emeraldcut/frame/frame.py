"""A galaxy's own frame: centre, axes and size, and the image resampled to them.

In this frame every ellipse is a circle of the same size, so a rectangle is a square whatever its position angle, size
and axis ratio. Measuring, comparing and classifying are three ways of looking at the same framed galaxy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet, add_flag
from emeraldcut.data.streaming import single_threaded
from emeraldcut.frame.ellipse_fit import ORDERS, Ellipse, Fit, Profile, fit_ellipse, fit_profile
from emeraldcut.frame.resample import STAMP_SIZE, bin_down, stamp
from emeraldcut.frame.segment import Segmentation, segment

PETROSIAN_ETA = 0.2  # as the SDSS (Blanton et al. 2001, AJ 121, 2358)
GEOMETRY_RANGE = (0.7, 2.5)  # half-light radii between which centre and axes are determined
ROUND = 0.92  # above this axis ratio the second harmonic no longer fixes a position angle
ASSUMED_PSF_FWHM_PIX = 2.5
COARSE_SIDE_PIX = 200  # images of more than twice this side are looked at coarsely first
NEIGHBOUR_SHARE = 0.02  # of the area within two half-light radii; a smaller neighbour is not worth a flag
LARGEST_RADIUS_PIX = 14.0  # images of larger galaxies are binned down to this half-light radius


@dataclass(frozen=True)
class FramedGalaxy:
    """One galaxy in its own frame, in the pixels of `segmentation.image` (binned by `binning`).

    Attributes
    ----------
    segmentation : Segmentation
    fit : Fit
        Centre, axes and harmonics around the half-light radius.
    light : Profile
        Light profile over the whole galaxy.
    radius, limit : float
        Semi-major axis of the half-light ellipse, and where the galaxy ends, in binned pixels.
    snr : float
        Light inside the half-light ellipse over its noise.
    binning : int
        Side in image pixels of one pixel here.
    flag : Flag
    square : bool
        Whether the galaxy is round and its position angle comes from its four sides.
    """

    segmentation: Segmentation
    fit: Fit
    light: Profile
    radius: float
    limit: float
    snr: float
    binning: int
    flag: Flag
    square: bool = False


@dataclass
class FrameSet:
    """Framed galaxies.

    Attributes
    ----------
    table : Table, n rows
        `id, x, y` (pixels), `axis_ratio` (as seen, after the PSF), `position_angle_deg`,
        `radius_pix` (semi-major axis of the half-light ellipse), `snr`, `background`, `sky_sigma`, `flag`, `flag_text`;
        masked where there is no galaxy.
    stamps : (n, size, size) float32
        Sky-subtracted light in units of the noise per pixel, major axis along +x, minor axis stretched until the
        ellipse is a circle. 0 where there is no galaxy.
    galaxies : list of FramedGalaxy or None
    """

    table: Table
    stamps: np.ndarray
    galaxies: list[FramedGalaxy | None]

    def __len__(self) -> int:
        return len(self.table)


def moments_ellipse(division: Segmentation) -> tuple[Ellipse, float]:
    """A first ellipse from second moments of the galaxy's pixels, and a first half-light radius in pixels.

    All pixels above the detection threshold count alike, so the shape is that of the outer isophote: a uniform
    ellipse with semi-axes a, b has the principal second moments a^2/4 and b^2/4.
    """
    y, x = np.nonzero(division.galaxy)
    dx, dy = x - x.mean(), y - y.mean()
    xx, yy, xy = (dx * dx).mean() + 1 / 12, (dy * dy).mean() + 1 / 12, (dx * dy).mean()
    half, root = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    q = float(np.clip(np.sqrt(max(half - root, 1e-3) / (half + root)), 0.15, 1))
    ellipse = Ellipse(x.mean(), y.mean(), q, float(0.5 * np.arctan2(2 * xy, xx - yy)))
    rho = ellipse.coordinates(x, y)[0]
    order = np.argsort(rho)
    growth = np.cumsum(np.clip(division.image[division.galaxy][order], 0, None))
    return ellipse, float(max(rho[order][np.searchsorted(growth, 0.5 * growth[-1])], 1.0))


def half_light(profile: Profile, s_max: float) -> tuple[float, float]:
    """Half-light and Petrosian radius (pixels along the major axis) of a fitted profile.

    The Petrosian radius is where the surface brightness has fallen to a fifth of its mean inside; total light is that
    inside 1.5 Petrosian radii (or inside `s_max`, where the data end).
    """
    s = np.linspace(0, s_max, 400)
    light = profile(s)
    growth = np.concatenate([[0], np.cumsum((light[1:] * s[1:] + light[:-1] * s[:-1]) / 2 * np.diff(s))])
    mean_inside = 2 * growth[1:] / s[1:] ** 2
    below = np.nonzero((light[1:] < PETROSIAN_ETA * mean_inside) & (s[1:] > 1))[0]
    petrosian = s[1 + below[0]] if len(below) else s_max
    end = np.searchsorted(s, min(1.5 * petrosian, s_max), side="right") - 1
    growth = np.maximum.accumulate(growth[: end + 1])
    return float(np.interp(0.5 * growth[-1], growth, s[: end + 1])), float(petrosian)


def measured_range(radius: float, psf_fwhm: float, reach: float) -> tuple[float, float]:
    """Isophote radii (pixels) between which centre, axes and harmonics are determined.

    From 0.7 half-light radii, but outside the core of the PSF (1.2 FWHM, if that leaves anything), to 2.5.
    """
    inner = max(GEOMETRY_RANGE[0] * radius, min(1.2 * psf_fwhm, 0.9 * radius))
    return inner, min(max(GEOMETRY_RANGE[1] * radius, radius + 3), max(reach, inner + 3))


def frame_galaxy(image: np.ndarray, psf_fwhm_pix: float = np.nan) -> FramedGalaxy | None:
    """Finds the central galaxy of one stamp and its centre, axes and size; None if there is none.

    Parameters
    ----------
    image : (ny, nx), counts, NaN where there is no data
    psf_fwhm_pix : float
        Full width at half maximum of the PSF; 2.5 pixels are assumed where it is not known.
    """
    psf = psf_fwhm_pix if np.isfinite(psf_fwhm_pix) else ASSUMED_PSF_FWHM_PIX
    division, binning = _divide(image)
    if division is None:
        return None
    fitted = partial(fit_ellipse, division.image, division.valid, sigma=division.sky_sigma)
    ellipse, radius = moments_ellipse(division)
    for orders in ((), (), ORDERS):
        reach = _reach(division, ellipse)
        light = fit_profile(division.image, division.valid, ellipse, min(reach, 6 * radius))
        radius, petrosian = half_light(light, min(reach, 6 * radius))
        radius = max(radius, 0.8)
        s_range = measured_range(radius, psf / binning, reach)
        fit = fitted(ellipse, s_range=s_range, orders=orders, iterations=8 if orders else 3)
        ellipse = fit.ellipse
    ny, nx = division.image.shape
    if not (0 <= ellipse.x < nx and 0 <= ellipse.y < ny):  # what was found is no galaxy, the fit ran away from it
        return None
    angle = _square_angle(fit)
    if angle is not None:
        start = replace(ellipse, angle=angle, cosine={}, sine={})
        fit = fitted(start, s_range=s_range, orders=ORDERS, iterations=8, fix_angle=True)
    galaxy = _judge(division, fit, light, radius, min(reach, 1.5 * petrosian), binning)
    return replace(galaxy, square=angle is not None)


def _divide(image: np.ndarray) -> tuple[Segmentation | None, int]:
    """The segmented image, binned down if its galaxy is large, and the binning.

    In a large image the galaxy is looked for on a coarse one first; if it is large too, that is all that is needed.
    """
    coarse = min(image.shape) // COARSE_SIDE_PIX
    for binning in (coarse, 1) if coarse > 1 else (1,):
        division = segment(bin_down(image, binning))
        if division is None:
            continue
        radius = moments_ellipse(division)[1] * binning
        if radius > 1.5 * LARGEST_RADIUS_PIX:
            binning = int(np.ceil(radius / LARGEST_RADIUS_PIX))
            return segment(bin_down(image, binning)), binning
        if binning == 1:
            return division, 1
    return None, 1


def _square_angle(fit: Fit) -> float | None:
    """The position angle (radians) along the sides of a round galaxy with a significant four-fold shape, else None.

    At an axis ratio near 1 the major axis is undefined, and a square is as well a diamond. Its sides then define the
    frame: the angle that makes c_4 negative and s_4 zero. c_4 cos(4 psi) + s_4 sin(4 psi) = A cos(4 psi - delta), so
    the frame turns by (delta + pi) / 4, up to quarter turns.
    """
    c, s = fit.ellipse.cosine.get(4, 0.0), fit.ellipse.sine.get(4, 0.0)
    if fit.ellipse.axis_ratio < ROUND or np.hypot(c, s) < 4 * fit.errors.get("cos4", np.inf):
        return None
    turn = ((np.arctan2(s, c) + np.pi) / 4 + np.pi / 4) % (np.pi / 2) - np.pi / 4
    return float(fit.ellipse.angle + turn)


def _reach(division: Segmentation, ellipse: Ellipse) -> float:
    """The isophote radius out to which at least half of an ellipse's circumference lies on the stamp."""
    ny, nx = division.image.shape
    psi = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    cos, sin = np.cos(ellipse.angle), np.sin(ellipse.angle)
    u, v = np.cos(psi), ellipse.axis_ratio * np.sin(psi)
    dx, dy = u * cos - v * sin, u * sin + v * cos
    with np.errstate(divide="ignore"):
        to_edge = np.minimum(
            np.where(dx > 0, (nx - 1 - ellipse.x) / dx, -ellipse.x / dx),
            np.where(dy > 0, (ny - 1 - ellipse.y) / dy, -ellipse.y / dy),
        )
    return float(np.clip(np.median(to_edge), 3, 1.5 * max(nx, ny)))


def _judge(division: Segmentation, fit: Fit, light: Profile, radius: float, limit: float, binning: int) -> FramedGalaxy:
    """Signal-to-noise ratio inside the half-light ellipse, and the flags of one framed galaxy."""
    ny, nx = division.image.shape
    y, x = np.mgrid[0:ny, 0:nx]
    rho = fit.ellipse.coordinates(x, y)[0]
    signal = (rho < max(radius, 1.0)) & division.valid
    snr = division.image[signal].sum() / (division.sky_sigma * np.sqrt(max(signal.sum(), 1)))
    near = rho < 2 * radius
    area = max(np.pi * (2 * radius) ** 2 * fit.ellipse.axis_ratio, near.sum(), 1.0)
    seen = (near & ~division.missing).sum() / area
    hidden = (near & division.neighbours).sum() / area
    beside = (division.neighbours & (rho < GEOMETRY_RANGE[1] * radius)).sum() / area
    flag = Flag.GOOD
    if snr < 10:
        flag |= Flag.LOW_SNR
    if beside > NEIGHBOUR_SHARE:
        flag |= Flag.NEIGHBOUR
    rim = np.ones((ny, nx), bool)
    rim[1:-1, 1:-1] = False
    if seen < 0.95 or (near & division.galaxy & rim).any():
        flag |= Flag.CUT_BY_EDGE
    if seen - hidden < 0.9:
        flag |= Flag.MISSING_PIXELS
    if not fit.converged:
        flag |= Flag.NOT_CONVERGED
    return FramedGalaxy(division, fit, light, radius, limit, float(snr), binning, flag)


@single_threaded
def frame_galaxies(images: ImageSet) -> FrameSet:
    """Puts the central galaxy of every image into its own frame.

    Parameters
    ----------
    images : ImageSet

    Returns
    -------
    FrameSet
        One row and one stamp per image; images without a galaxy are flagged `NO_GALAXY`.
    """
    galaxies: list[FramedGalaxy | None] = []
    stamps = np.zeros((len(images), STAMP_SIZE, STAMP_SIZE), np.float32)
    good, psf = usable(images.table["flag"]), known_psf(images)
    for i, pixels in enumerate(images.pixels):
        galaxy = frame_galaxy(np.asarray(pixels, dtype=np.float64), psf[i]) if good[i] else None
        galaxies.append(galaxy)
        if galaxy is not None:
            stamps[i] = stamp(galaxy)
    return FrameSet(_frame_table(images, galaxies), stamps, galaxies)


def known_psf(images: ImageSet) -> np.ndarray:
    """`psf_fwhm_pix` of every image (n,), NaN where it is not known."""
    if "psf_fwhm_pix" not in images.table.colnames:
        return np.full(len(images), np.nan)
    return np.array([_positive(value) for value in images.table["psf_fwhm_pix"]])


def _positive(value) -> float:
    """A positive finite number, NaN for everything else: one bad cell must not stop a run."""
    try:
        number = np.nan if value is np.ma.masked else float(value)
    except (TypeError, ValueError):
        return np.nan
    return number if 0 < number < np.inf else np.nan


def _frame_table(images: ImageSet, galaxies: list[FramedGalaxy | None]) -> Table:
    """The table of a FrameSet."""
    missing = np.array([g is None for g in galaxies], dtype=bool)

    def column(value) -> MaskedColumn:
        return MaskedColumn([0.0 if g is None else float(value(g)) for g in galaxies], mask=missing, dtype=float)

    table = Table({"id": Column(images.table["id"], dtype=object)})
    # a binned pixel k covers original pixels from k b to k b + b - 1
    table["x"] = column(lambda g: g.fit.ellipse.x * g.binning + (g.binning - 1) / 2)
    table["y"] = column(lambda g: g.fit.ellipse.y * g.binning + (g.binning - 1) / 2)
    table["axis_ratio"] = column(lambda g: g.fit.ellipse.axis_ratio)
    table["position_angle_deg"] = column(lambda g: np.degrees(g.fit.ellipse.angle) % 180)
    table["radius_pix"] = column(lambda g: g.radius * g.binning)
    table["snr"] = column(lambda g: g.snr)
    table["background"] = column(lambda g: g.segmentation.background)
    table["sky_sigma"] = column(lambda g: g.segmentation.sky_sigma * g.binning)
    table["flag"] = np.array(images.table["flag"], dtype=np.int64)
    table["flag_text"] = np.array([str(t) for t in images.table["flag_text"]], dtype=object)
    add_flag(table, missing & usable(images.table["flag"]), Flag.NO_GALAXY)
    for bit in Flag:
        if bit:
            add_flag(table, np.array([g is not None and bool(g.flag & bit) for g in galaxies], dtype=bool), bit)
    return table
