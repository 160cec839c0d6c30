"""Clean: noise removed from images, and a galaxy removed from its image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from emeraldcut.data.flags import usable
from emeraldcut.data.imageset import ImageSet
from emeraldcut.frame.ellipse_fit import Q, X, Y, axes_of, to_circle
from emeraldcut.frame.quick_shape import QuickShape, known_noise, known_psf, quick_shape_of
from emeraldcut.frame.resample import unbinned
from emeraldcut.numerics.median import MAD_TO_SIGMA
from emeraldcut.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class CleanSettings(Settings):
    """How noise is removed."""

    method: str = setting(
        "nlm",
        "'nlm', non-local means (Buades et al. 2005), or 'wavelet', BayesShrink (Chang et al. 2000), of scikit-image",
        choices=("nlm", "wavelet"),
    )
    strength: float = setting(
        0.8, "nlm: scale of the weights, in standard deviations of the noise", above=0, at_most=1_000
    )


def clean(images: ImageSet, settings: CleanSettings = CleanSettings()) -> ImageSet:
    """The images without their noise, which is estimated from the sky of each.

    Parameters
    ----------
    images : ImageSet
        Counts. Where there is no galaxy to tell from the sky, the noise comes from differences of pixels.

    Returns
    -------
    ImageSet
        The same rows, with `noise_removed`, the standard deviation per pixel that was estimated (NaN in an image that
        cannot be used, which stays as it is). Pixels without data stay without.
    """
    good, psf, noise = usable(images.table["flag"]), known_psf(images), known_noise(images)
    pixels: Any = []
    sigmas = np.full(len(images), np.nan)
    for i, image in enumerate(images.pixels):
        image = np.asarray(image, np.float32)
        if good[i] and image.ndim == 2 and min(image.shape) >= 8 and np.isfinite(image).any():
            quick = quick_shape_of(image, psf[i], noise[i])
            sigmas[i] = noise_of(image, quick)
            image = _cleaned(image, sigmas[i], settings)
        pixels.append(image)
    table = images.table.copy()
    table["noise_removed"] = sigmas
    if "noise_sigma" in table.colnames:  # it is no longer there
        table.remove_column("noise_sigma")
    if isinstance(images.pixels, np.ndarray):
        pixels = np.array(pixels, np.float32).reshape(images.pixels.shape)
    return ImageSet(pixels, table, images.psfs)


def noise_of(image: np.ndarray, quick: QuickShape | None = None) -> float:
    """Standard deviation of the noise per pixel: that of the sky around the galaxy of `quick`.

    Without one it is taken from second differences along both axes, as if pixels were independent: Immerkaer 1996
    (Computer Vision and Image Understanding 64, 300), with the median for robustness against edges. The mask is the
    product of (1, -2, 1) along each axis, whose squares sum to 36.
    """
    if quick is not None:
        return quick.sky_sigma
    rows = image[:-2] - 2 * image[1:-1] + image[2:]
    both = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    both = both[np.isfinite(both)]
    return float(MAD_TO_SIGMA * np.median(np.abs(both)) / 6) if both.size else 0.0


def _cleaned(image: np.ndarray, sigma: float, settings: CleanSettings) -> np.ndarray:
    """One image (ny, nx) float32 with finite pixels and noise `sigma`."""
    from skimage.restoration import denoise_nl_means, denoise_wavelet

    if not sigma > 0:
        return image
    missing = ~np.isfinite(image)
    if missing.any():  # filled with the nearest pixel, so that no edge arises
        nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
        image = image[tuple(nearest)]
    noise_units = image.astype(np.float64) / sigma
    if settings.method == "nlm":
        result = denoise_nl_means(
            noise_units, patch_size=5, patch_distance=7, h=settings.strength, sigma=1.0, fast_mode=True
        )
    else:
        result = denoise_wavelet(noise_units, sigma=1.0, method="BayesShrink", mode="soft", rescale_sigma=False)
    return np.where(missing, np.nan, result * sigma).astype(np.float32)


def emptied(image: np.ndarray, psf_fwhm_pix: float = np.nan) -> tuple[np.ndarray, float, np.ndarray | None]:
    """`image` (ny, nx) as a background for another galaxy: `without_galaxy`, its noise, and the galaxy's centre (x, y).

    The centre is None where there is no galaxy.
    """
    image = np.asarray(image, np.float32)
    quick = quick_shape_of(image, psf_fwhm_pix)
    sigma = noise_of(image, quick)
    if quick is None:
        return image, sigma, None
    return without_galaxy(image, quick), sigma, np.asarray(unbinned(quick.shape[[X, Y]], quick.binning))


def without_galaxy(image: np.ndarray, quick: QuickShape) -> np.ndarray:
    """`image` (ny, nx) less the light that the galaxy has on average on its ellipses; float32.

    Its noise, neighbours, and whatever in the galaxy is not on ellipses stay.
    """
    ny, nx = image.shape
    bins, shape = quick.binning, quick.shape
    axes = axes_of(shape)._replace(x=unbinned(shape[X], bins), y=unbinned(shape[Y], bins))
    y, x = np.mgrid[0:ny, 0:nx]
    place = np.hypot(*to_circle(x, y, axes)) * np.sqrt(shape[Q]) / bins
    light = quick.segmentation.unit * np.interp(place, np.arange(len(quick.light)), quick.light, right=0.0)
    return (np.asarray(image, np.float64) - light).astype(np.float32)
