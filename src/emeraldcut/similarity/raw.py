"""The comparison of the thesis: the cosine of raw pixels, as it was and at the best orientation."""

from __future__ import annotations

import numpy as np

from emeraldcut.data.imageset import ImageSet

BATCH = 1024
N_ANGLES = 256  # of the scan over orientations: 1.4 degrees


def resampled(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image resampled to another shape, smoothed before it shrinks; NaN where most data are missing."""
    image = np.asarray(image, dtype=np.float64)
    if image.shape == shape:
        return image
    from skimage.transform import resize

    known = np.isfinite(image)
    light, weight = (
        resize(a, shape, order=1, anti_aliasing=True, preserve_range=True)
        for a in (np.where(known, image, 0.0), known.astype(float))
    )
    return np.where(weight > 0.5, light / np.maximum(weight, 1e-9), np.nan)


def _batches(images: ImageSet, shape: tuple[int, int]):
    """Row numbers and images resampled to `shape`, BATCH at a time; rows without an image are left out."""
    for start in range(0, len(images), BATCH):
        batch = images.pixels[start : start + BATCH]
        readable = [i for i, image in enumerate(batch) if image.ndim == 2 and image.size]
        if readable:
            yield start + np.array(readable), np.stack([resampled(batch[i], shape) for i in readable])


def raw_cosine(images: ImageSet, references: ImageSet) -> np.ndarray:
    """Cosine similarity (n, n_references) of flattened grey-scale images, exactly as in the thesis.

    The thesis used `1 - sklearn.metrics.pairwise.cosine_distances`, which is the scalar product over both norms (0
    where a norm is 0); a test compares the two. Images whose size differs from the reference are resampled to it.
    Pixels without data in either image are left out of the sums.

    This is the baseline. It finds circles as similar to the reference as rectangles, because all galaxies are bright in
    the middle.
    """
    result = np.full((len(images), len(references)), np.nan)
    for j, reference in enumerate(references.pixels):
        target = np.asarray(reference, np.float64).ravel()
        for rows, batch in _batches(images, reference.shape):
            result[rows, j] = _cosine(batch.reshape(len(batch), -1), target)
    return result


def _cosine(rows: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Cosine (n,) of rows (n, p) and a target (p,) over the pixels that both have; 0 where a norm is 0."""
    both = np.isfinite(rows) & np.isfinite(target)
    rows, targets = np.where(both, rows, 0.0), np.where(both, target, 0.0)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(targets, axis=1)
    product = (rows * targets).sum(axis=1)
    return np.divide(product, norms, out=np.zeros_like(product), where=norms > 0)


def oriented_cosine(images: ImageSet, references: ImageSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cosine of `raw_cosine` at the best of all rotations about the middle and of both mirror images.

    Images and reference are resampled to polar coordinates (r, t) about their middle, within the largest circle.
    Turning the reference by an angle is then a shift in t, and the scalar product for all shifts is the inverse
    Fourier transform of sum_r r A(r, k) conj(B(r, k)); the mirror image has conj(B) for B. Pixels without data count
    as 0.

    Returns
    -------
    cosine : (n, n_references)
    turn_deg : (n, n_references)
        Rotation of the reference, counter-clockwise from +x to +y, after it was mirrored.
    mirrored : (n, n_references) bool
        Whether the reference was mirrored (y reversed).
    """
    shape = (len(images), len(references))
    best, turn, mirrored = np.full(shape, np.nan), np.zeros(shape), np.zeros(shape, bool)
    for j, reference in enumerate(references.pixels):
        target = _polar_spectrum(np.asarray(reference, np.float64)[None])[0]
        for rows, batch in _batches(images, reference.shape):
            spectra = _polar_spectrum(batch)
            norms = np.sqrt(_energy(spectra) * _energy(target[None]))
            for mirror, other in ((False, target.conj()), (True, target)):
                products = np.fft.irfft((spectra * other).sum(axis=1), N_ANGLES, axis=1)
                place = products.argmax(axis=1)
                value = products[np.arange(len(rows)), place]
                cosine = np.divide(value, norms, out=np.zeros_like(value), where=norms > 0)
                better = ~(cosine <= best[rows, j])
                best[rows[better], j] = cosine[better]
                turn[rows[better], j] = place[better] * 360 / N_ANGLES
                mirrored[rows[better], j] = mirror
    return best, turn, mirrored


def _polar_spectrum(batch: np.ndarray) -> np.ndarray:
    """Fourier transform in angle (n, n_radii, N_ANGLES / 2 + 1) of images (n, ny, nx), times the root of the radius."""
    from scipy.ndimage import map_coordinates

    _, ny, nx = batch.shape
    radii = np.arange(0.5, min(ny, nx) / 2)
    angles = 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES
    y = (ny - 1) / 2 + radii[:, None] * np.sin(angles)
    x = (nx - 1) / 2 + radii[:, None] * np.cos(angles)
    filled = np.where(np.isfinite(batch), batch, 0.0)
    polar = np.stack([map_coordinates(image, [y, x], order=1, mode="nearest") for image in filled])
    return np.fft.rfft(polar * np.sqrt(radii)[:, None], axis=2)


def _energy(spectra: np.ndarray) -> np.ndarray:
    """Sum over radii and angles (n,) of the squares of the images, by Parseval's theorem."""
    power = np.abs(spectra) ** 2
    power[:, :, 1 : (N_ANGLES + 1) // 2] *= 2
    return power.sum(axis=(1, 2)) / N_ANGLES
