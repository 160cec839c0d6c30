"""The pictures of a galaxy in the report: a cutout and the galaxy in its own frame, with isophotes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from astropy.table import Row

from emeraldcut.data import ImageSet
from emeraldcut.frame import EXTENT, FramedGalaxy, frame_galaxies
from emeraldcut.frame.resample import bin_down, unbinned
from emeraldcut.isophotes import MeasureSettings, measure_galaxy
from emeraldcut.numerics.median import MAD_TO_SIGMA
from emeraldcut.numerics.stretch import asinh_stretch

COLOUR_MAP, RESIDUAL_MAP = "magma", "RdBu_r"
ISOPHOTE_RADII = (1.0, 2.0)  # half-light radii
SHOWN_RADII = 5.0  # half-light radii from the centre to the edge of a cutout, if the image reaches that far
SMALLEST_SIDE_PIX = 32
LARGEST_SIDE_PIX = 192  # larger cutouts are binned
LONGEST_BAR = 0.35  # of the side of the cutout


@dataclass(frozen=True)
class Picture:
    """One picture of a galaxy: square pixels with lines drawn on them.

    Attributes
    ----------
    values : (n, n) float
        Stretched light between 0 and 1, NaN where there are no data; y first, pixel (0, 0) at the lower left.
    isophotes, ellipses : lists of (k, 2) arrays
        x, y of closed lines, in pixels of the picture: fitted isophotes, and the ellipses that they deviate from.
    bar_pix, bar_text : float, str
        Length of the scale bar in pixels of the picture, 0 for none, and its text.
    colour_map : str
        Matplotlib's name of the colour map of `values`.
    colours : (n, n, 3) float or None
        What is shown instead of `values` of a picture in colour: red, green and blue between 0 and 1.
    """

    values: np.ndarray
    isophotes: list[np.ndarray]
    ellipses: list[np.ndarray]
    bar_pix: float = 0.0
    bar_text: str = ""
    colour_map: str = COLOUR_MAP
    colours: np.ndarray | None = None

    def drawn(self) -> np.ndarray:
        """What is seen, (n, n, 4) uint8: red, green, blue and opacity, transparent where there are no data."""
        from matplotlib import colormaps

        if self.colours is None:
            seen = colormaps[self.colour_map](np.nan_to_num(self.values), bytes=True)
        else:
            seen = np.round(255 * np.nan_to_num(np.insert(self.colours, 3, 1.0, axis=-1))).astype(np.uint8)
        seen[..., 3] = np.where(np.isfinite(self.values), 255, 0)
        return seen


@dataclass(frozen=True)
class GalaxyPictures:
    """One galaxy: its row, its cutout, and its picture in its own frame, None if no galaxy was found."""

    row: Row
    cutout: Picture
    framed: Picture | None


def number(row: Row, name: str) -> float | None:
    """The value of a column in `row`; None where the column is missing, or the value masked or not finite."""
    if name not in row.colnames or np.ma.is_masked(row[name]) or not np.isfinite(row[name]):
        return None
    return float(row[name])


def text(row: Row, name: str) -> str:
    """The text of a column in `row`; empty where the column is missing or the value masked."""
    return "" if name not in row.colnames or np.ma.is_masked(row[name]) else str(row[name])


def galaxy_pictures(images: ImageSet, shown_radii: float = SHOWN_RADII) -> list[GalaxyPictures]:
    """Pictures of all images with data, in order, out to `shown_radii` half-light radii around the galaxies."""
    images = with_data(images)
    frames = frame_galaxies(images)
    shown = []
    galaxies = map(_with_harmonics, frames.galaxies)
    colours = images.colours or [None] * len(images)
    for row, image, colour, stamp, galaxy in zip(
        images.table, images.pixels, colours, frames.stamps, galaxies, strict=True
    ):
        scale = number(row, "pixel_scale_arcsec")
        cutout = _cutout(np.asarray(image, dtype=float), galaxy, scale, shown_radii, colour)
        shown.append(GalaxyPictures(row, cutout, None if galaxy is None else _framed(stamp, galaxy)))
    return shown


def with_data(images: ImageSet) -> ImageSet:
    """The images that have any finite pixel."""
    return images[np.array([np.isfinite(image).any() for image in images.pixels], dtype=bool)]


def _with_harmonics(galaxy: FramedGalaxy | None) -> FramedGalaxy | None:
    """The galaxy with the harmonics of its observed isophotes; for most galaxies the frame has ellipses only."""
    if galaxy is None:
        return None
    fit = measure_galaxy(galaxy, MeasureSettings(psf_correction=False), np.nan)
    return galaxy if fit is None else replace(galaxy, shape=fit.seen)


def png(picture: Picture) -> bytes:
    """A picture as a colour PNG with one pixel for each of its own, transparent where there are no data."""
    from matplotlib.image import imsave

    buffer = BytesIO()
    imsave(buffer, picture.drawn(), format="png", origin="lower")
    return buffer.getvalue()


def stretch(values: np.ndarray, sky: float, sigma: float) -> np.ndarray:
    """Light between 0 and 1 for display: linear in the noise, logarithmic in the galaxy (see `asinh_stretch`).

    It is 0 at 1 sigma below the sky and 1 for the brightest 1 in 500 pixels.
    """
    signal = values - sky
    top = np.nanpercentile(signal, 99.8)
    sigma = max(sigma, 1e-3 * abs(top), np.finfo(float).tiny)  # noise-free images have a finite range too
    return asinh_stretch(signal, np.arcsinh(-0.5), max(np.arcsinh(top / (2 * sigma)), 1.0), 2 * sigma)


def sky_level(image: np.ndarray, galaxy: FramedGalaxy | None = None) -> tuple[float, float]:
    """Sky level and noise per pixel; from all pixels if there is no galaxy."""
    if galaxy is not None:
        return galaxy.quick.background, galaxy.quick.sky_sigma
    sky = float(np.nanmedian(image))
    return sky, float(MAD_TO_SIGMA * np.nanmedian(np.abs(image - sky)))


def _square(image: np.ndarray, x: float, y: float, side: int) -> tuple[np.ndarray, int, int]:
    """The square of `side` pixels around (x, y), inside the image where it fits, and its corner x0, y0."""
    corner = []
    for centre, length in ((y, image.shape[0]), (x, image.shape[1])):
        start = round(centre - (side - 1) / 2)
        corner.append(int(np.clip(start, min(0, length - side), max(0, length - side))))
    square = np.full((side, side), np.nan)
    y0, x0 = corner
    part = image[max(y0, 0) : y0 + side, max(x0, 0) : x0 + side]
    y1, x1 = max(-y0, 0), max(-x0, 0)
    square[y1 : y1 + part.shape[0], x1 : x1 + part.shape[1]] = part
    return square, x0, y0


def _cutout(
    image: np.ndarray,
    galaxy: FramedGalaxy | None,
    pixel_scale_arcsec: float | None,
    shown_radii: float,
    colour: np.ndarray | None = None,
) -> Picture:
    """The galaxy on the sky, in a cutout that suits its size, with isophotes and a scale bar."""
    ny, nx = image.shape
    x, y, side = (nx - 1) / 2, (ny - 1) / 2, max(nx, ny)
    if galaxy is not None:
        bins, ellipse = galaxy.binning, galaxy.ellipse
        x, y = (unbinned(centre, bins) for centre in (ellipse.x, ellipse.y))
        side = min(side, max(int(2 * shown_radii * galaxy.radius * bins), SMALLEST_SIDE_PIX))
    factor = int(np.ceil(side / LARGEST_SIDE_PIX))
    square, x0, y0 = _square(image, x, y, side - side % factor)
    sky, sigma = sky_level(image, galaxy)
    values = stretch(bin_down(np.ascontiguousarray(square, np.float32), factor), sky, sigma / factor)
    colours = None
    if colour is not None:
        planes = (_square(colour[..., k] / 255, x, y, len(square))[0] for k in range(3))
        colours = np.stack([bin_down(np.ascontiguousarray(p, np.float32), factor) for p in planes], axis=-1)
    isophotes = []
    if galaxy is not None:
        corner = np.array([x0, y0]) + (factor - 1) / 2
        isophotes = [(points - corner) / factor for points in _isophotes(galaxy)]
    scale, unit = (pixel_scale_arcsec, "″") if pixel_scale_arcsec else (1.0, " pix")
    length = _bar(side * LONGEST_BAR * scale)
    return Picture(values, isophotes, [], length / scale / factor, f"{length:g}{unit}", colours=colours)


def _bar(longest: float) -> float:
    """The largest of 1, 2, 5, 10, 20, ... (and 0.5, 0.2, ...) that is not above `longest`."""
    decade = 10.0 ** np.floor(np.log10(longest))
    return float(max(step for step in (1, 2, 5) if step * decade <= longest) * decade)


def _isophotes(galaxy: FramedGalaxy) -> list[np.ndarray]:
    """Points (k, 2) of the fitted isophotes in the pixels of the original image.

    x' = rho cos(psi), y' = q rho sin(psi) with rho = radius times the deformation (see `frame.ellipse_fit`).
    """
    ellipse, bins = galaxy.ellipse, galaxy.binning
    psi = np.linspace(0, 2 * np.pi, 97)
    cos, sin = np.cos(ellipse.angle), np.sin(ellipse.angle)
    lines = []
    for radius in ISOPHOTE_RADII:
        rho = radius * galaxy.radius * ellipse.deformation(psi)
        u, v = rho * np.cos(psi), ellipse.axis_ratio * rho * np.sin(psi)
        points = np.stack([ellipse.x + u * cos - v * sin, ellipse.y + u * sin + v * cos], axis=1)
        lines.append(np.asarray(unbinned(points, bins)))
    return lines


def _framed(stamp: np.ndarray, galaxy: FramedGalaxy) -> Picture:
    """The galaxy in its own frame, where the fitted ellipses are circles."""
    size, psi = len(stamp), np.linspace(0, 2 * np.pi, 97)
    circle = np.stack([np.cos(psi), np.sin(psi)], axis=1) * size / (2 * EXTENT)
    middle, deformation = (size - 1) / 2, galaxy.ellipse.deformation(psi)[:, None]
    return Picture(
        stretch(np.asarray(stamp, dtype=float), 0.0, 1.0),
        [middle + radius * circle * deformation for radius in ISOPHOTE_RADII],
        [middle + radius * circle for radius in ISOPHOTE_RADII],
    )
