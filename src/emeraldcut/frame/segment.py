"""What in a stamp is sky, what is the galaxy, and what belongs to its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

MAD_TO_SIGMA = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
SMOOTHING_PIX = 1.2  # standard deviation of the Gaussian before detection
DETECTION_SIGMA = 3.0  # threshold in units of the noise of the smoothed image
MIN_SIDE, MIN_PIXELS = 8, 50  # with less there is no sky to speak of
N_LEVELS = 12  # thresholds at which a neighbour may separate from the galaxy


@dataclass(frozen=True)
class Segmentation:
    """One stamp, divided.

    Attributes
    ----------
    image : (ny, nx) float64
        Sky-subtracted counts, 0 where there is no data.
    neighbours, missing : (ny, nx) bool
        Pixels that belong to neighbours, and those without data; all others are `valid`.
    galaxy : (ny, nx) bool
        Pixels of the galaxy above the detection threshold.
    background, sky_sigma : float
        Sky level at the centre, and its noise per pixel, in counts.
    """

    image: np.ndarray
    neighbours: np.ndarray
    missing: np.ndarray
    galaxy: np.ndarray
    background: float
    sky_sigma: float

    @cached_property
    def valid(self) -> np.ndarray:
        """Pixels (ny, nx) bool with data that no neighbour covers."""
        return ~(self.neighbours | self.missing)


def sky_plane(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The sky as a plane through the border of a stamp, and its noise per pixel.

    Tukey's biweight keeps light of the galaxy and of neighbours out. The slope counts only where it is significant
    (5 sigma), so that a clean stamp is not tilted by its noise.

    Parameters
    ----------
    image : (ny, nx), NaN where there is no data

    Returns
    -------
    plane : (ny, nx) counts
    sigma : float, counts
    """
    ny, nx = image.shape
    width = max(2, round(0.08 * min(ny, nx)))
    ring = np.zeros(image.shape, bool)
    ring[:width] = ring[-width:] = True
    ring[:, :width] = ring[:, -width:] = True
    ring &= np.isfinite(image)
    if ring.sum() < 20:
        ring = np.isfinite(image)
    yy, xx = np.nonzero(ring)
    values = image[ring]
    u, v = (xx - (nx - 1) / 2) / nx, (yy - (ny - 1) / 2) / ny
    design = np.stack([np.ones_like(u), u, v], axis=1)  # (n, 3)
    level, sigma = np.median(values), MAD_TO_SIGMA * np.median(np.abs(values - np.median(values)))
    coefficients = np.array([level, 0.0, 0.0])
    for _ in range(6):
        residual = values - design @ coefficients
        centre = np.median(residual)
        sigma = MAD_TO_SIGMA * np.median(np.abs(residual - centre)) or sigma
        if sigma == 0:
            break
        weight = np.clip(1 - ((residual - centre) / (4 * sigma)) ** 2, 0, None) ** 2
        normal = design.T @ (design * weight[:, None])
        coefficients = np.linalg.lstsq(normal, design.T @ (values * weight), rcond=None)[0]
    if sigma > 0:
        residual = values - design @ coefficients
        inside = np.abs(residual) < 3 * sigma
        sigma = np.std(residual[inside]) / 0.9866  # a normal distribution cut at 3 sigma
        slope_error = sigma * np.sqrt(np.diag(np.linalg.pinv(normal))[1:])
        if np.hypot(*coefficients[1:]) < 5 * slope_error.max():
            coefficients = np.array([np.mean(values[inside]) if inside.any() else level, 0.0, 0.0])
    v, u = np.mgrid[0:ny, 0:nx]
    plane = coefficients[0] + coefficients[1] * ((u - (nx - 1) / 2) / nx) + coefficients[2] * ((v - (ny - 1) / 2) / ny)
    return plane, float(sigma)


def _most_central(labels: np.ndarray, n: int, light: np.ndarray) -> int:
    """The label (1..n) with most light, where light counts less the farther it is from the stamp's centre."""
    ny, nx = light.shape
    y, x = np.mgrid[0:ny, 0:nx]
    r2 = ((y - (ny - 1) / 2) ** 2 + (x - (nx - 1) / 2) ** 2) / (0.12 * max(ny, nx)) ** 2
    return int(np.argmax(ndimage.sum_labels(light / (1 + r2) ** 2, labels, np.arange(1, n + 1)))) + 1


def _pieces(smooth: np.ndarray, component: np.ndarray, threshold: float, noise: float) -> tuple[np.ndarray, int]:
    """Markers (ny, nx) int of the objects blended in one component, and their number.

    The component is cut at rising thresholds. Pieces are objects of their own if the peaks of at least two rise well
    above the saddle between them (5 sigma and 30 per cent); weaker ones are texture.
    """
    box = ndimage.find_objects(component.astype(np.int8))[0]
    inside = smooth[box]
    pieces = [component[box]]
    for level in np.geomspace(threshold, max(inside[pieces[0]].max(), 1.01 * threshold), N_LEVELS + 1)[1:-1]:
        parted = []
        for piece in pieces:
            labels, n = ndimage.label(piece & (inside > level))
            if n > 1:
                peaks = ndimage.maximum(inside, labels, np.arange(1, n + 1))
                own = np.nonzero((peaks > 1.3 * level) & (peaks - level > 5 * noise))[0] + 1
                if len(own) > 1:
                    parted += [labels == k for k in own]
                    continue
            parted.append(piece)
        pieces = parted
    markers = np.zeros(smooth.shape, int)
    for k, piece in enumerate(pieces, 1):
        markers[box][np.unravel_index(np.argmax(np.where(piece, inside, -np.inf)), inside.shape)] = k
    return markers, len(pieces)


def segment(image: np.ndarray) -> Segmentation | None:
    """Divides a stamp into sky, central galaxy and neighbours; None if nothing stands out near the centre.

    Parameters
    ----------
    image : (ny, nx), NaN where there is no data
    """
    ny, nx = image.shape
    finite = np.isfinite(image)
    if min(ny, nx) < MIN_SIDE or finite.sum() < MIN_PIXELS:
        return None
    plane, sigma = sky_plane(image)
    data = np.where(finite, image - plane, 0.0)
    bright = np.percentile(data[finite], 99.5)
    sigma = max(sigma, 1e-4 * bright)  # a noise-free drawing still has a scale
    if sigma <= 0 or bright <= 0:
        return None
    smooth = ndimage.gaussian_filter(data, SMOOTHING_PIX)
    noise = sigma / (2 * np.sqrt(np.pi) * SMOOTHING_PIX)
    labels, n = ndimage.label(smooth > DETECTION_SIGMA * noise)
    if n == 0:
        return None
    light = np.clip(smooth, 0, None)
    component = labels == _most_central(labels, n, light)
    if component.sum() < 9 or smooth[component].max() < 6 * noise:
        return None
    galaxy = component
    markers, n_pieces = _pieces(smooth, component, DETECTION_SIGMA * noise, noise)
    if n_pieces > 1:
        from skimage.segmentation import watershed

        basins = watershed(-smooth, markers, mask=component)
        galaxy = basins == _most_central(basins, n_pieces, light)
    others = (labels > 0) & ~galaxy
    others = ndimage.binary_dilation(others, iterations=2) & ~galaxy
    level = float(plane[(ny - 1) // 2, (nx - 1) // 2])
    return Segmentation(data, finite & others, ~finite, galaxy & finite, level, float(sigma))
