"""What in a stamp is sky, what is the galaxy, and what belongs to its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

MAD_TO_SIGMA = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
SMOOTHING_PIX = 1.2  # standard deviation of the Gaussian before detection
DETECTION_SIGMA = 3.0  # threshold in units of the noise of the smoothed image
N_LEVELS = 12  # thresholds at which a neighbour may separate from the galaxy


@dataclass(frozen=True)
class Segmentation:
    """One stamp, divided.

    Attributes
    ----------
    image : (ny, nx) float64
        Sky-subtracted counts, 0 where there is no data.
    valid : (ny, nx) bool
        Pixels with data that no neighbour covers.
    galaxy : (ny, nx) bool
        Pixels of the galaxy above the detection threshold.
    x, y : float
        Brightest point of the smoothed galaxy.
    background, sky_sigma : float
        Sky level at the centre, and its noise per pixel, in counts.
    overlap : bool
        Whether a neighbour's light runs into the galaxy's.
    """

    image: np.ndarray
    valid: np.ndarray
    galaxy: np.ndarray
    x: float
    y: float
    background: float
    sky_sigma: float
    overlap: bool


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
    plane = (coefficients[0] + coefficients[1] * ((u - (nx - 1) / 2) / nx)
             + coefficients[2] * ((v - (ny - 1) / 2) / ny))
    return plane, float(sigma)


def _central_component(labels: np.ndarray, n: int, flux: np.ndarray) -> int:
    """The label of the component with most light, where light counts less the farther from the stamp's centre."""
    ny, nx = flux.shape
    y, x = np.mgrid[0:ny, 0:nx]
    r2 = ((y - (ny - 1) / 2) ** 2 + (x - (nx - 1) / 2) ** 2) / (0.12 * max(ny, nx)) ** 2
    return int(np.argmax(ndimage.sum_labels(flux / (1 + r2) ** 2, labels, np.arange(1, n + 1)))) + 1


def _neighbours(smooth: np.ndarray, component: np.ndarray, peak: tuple[int, int], threshold: float,
                noise: float) -> np.ndarray:
    """Markers (ny, nx) int: 1 the galaxy's peak, 2, 3, ... peaks of neighbours inside its component.

    The component is cut at rising thresholds. A piece that comes off the one with the galaxy's peak is a neighbour if
    its own peak rises well above the saddle (5 sigma and 30 per cent); weaker ones are texture of the galaxy.
    """
    markers = np.zeros(smooth.shape, int)
    top = smooth[component].max()
    if top <= threshold:
        return markers
    found = 1
    for level in np.geomspace(threshold, top, N_LEVELS + 1)[1:-1]:
        labels, n = ndimage.label(component & (smooth > level))
        if n < 2:
            continue
        peaks = ndimage.maximum(smooth, labels, np.arange(1, n + 1))
        for k in range(1, n + 1):
            if k == labels[peak] or peaks[k - 1] < 1.3 * level or peaks[k - 1] - level < 5 * noise:
                continue
            piece = labels == k
            if not markers[piece].any():
                found += 1
                markers[piece] = found
    if found > 1:
        markers[peak] = 1
    return markers


def segment(image: np.ndarray) -> Segmentation | None:
    """Divides a stamp into sky, central galaxy and neighbours; None if nothing stands out near the centre.

    Parameters
    ----------
    image : (ny, nx), NaN where there is no data
    """
    plane, sigma = sky_plane(image)
    finite = np.isfinite(image)
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
    component = labels == _central_component(labels, n, np.clip(smooth, 0, None))
    if component.sum() < 9 or smooth[component].max() < 6 * noise:
        return None
    ny, nx = image.shape
    y, x = np.mgrid[0:ny, 0:nx]
    pull = np.exp(-0.5 * ((y - (ny - 1) / 2) ** 2 + (x - (nx - 1) / 2) ** 2) / (0.2 * max(ny, nx)) ** 2)
    peak = np.unravel_index(np.argmax(np.where(component, smooth * pull, -np.inf)), image.shape)
    markers = _neighbours(smooth, component, peak, DETECTION_SIGMA * noise, noise)
    galaxy = component
    overlap = markers.max() > 1
    if overlap:
        from skimage.segmentation import watershed

        galaxy = watershed(-smooth, markers, mask=component) == 1
    others = (labels > 0) & ~galaxy
    others = ndimage.binary_dilation(others, iterations=2) & ~galaxy
    return Segmentation(data, finite & ~others, galaxy & finite, float(peak[1]), float(peak[0]),
                        float(plane[(ny - 1) // 2, (nx - 1) // 2]), float(sigma), bool(overlap))
