"""The thesis's comparison: cosine of raw pixels."""

from __future__ import annotations

import numpy as np

from emeraldcut.data.imageset import ImageSet

BATCH = 1024


def resampled(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image brought to another number of pixels, smoothed before it shrinks; NaN where most of it is missing."""
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


def raw_cosine(images: ImageSet, references: ImageSet) -> np.ndarray:
    """Cosine similarity (n, n_references) of flattened grey-scale images, exactly as the thesis took it.

    The thesis's `1 - sklearn.metrics.pairwise.cosine_distances`, which is the scalar product over both norms (0 where a
    norm is 0); a test compares the two. Images of another size than a reference are resampled to it. The measure is
    kept as the baseline: it likes a circle as much as a rectangle, because all galaxies are bright in the middle.
    Pixels without data in either image are left out of the sums.
    """
    result = np.full((len(images), len(references)), np.nan)
    for j, reference in enumerate(references.pixels):
        target = np.asarray(reference, np.float64).ravel()
        for start in range(0, len(images), BATCH):
            batch = images.pixels[start : start + BATCH]
            readable = [i for i, image in enumerate(batch) if image.ndim == 2 and image.size]
            if readable:
                rows = np.stack([resampled(batch[i], reference.shape).ravel() for i in readable])
                result[start + np.array(readable), j] = _cosine(rows, target)
    return result


def _cosine(rows: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Cosine (n,) of rows (n, p) and a target (p,) over the pixels that both have; 0 where a norm is 0."""
    both = np.isfinite(rows) & np.isfinite(target)
    rows, targets = np.where(both, rows, 0.0), np.where(both, target, 0.0)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(targets, axis=1)
    product = (rows * targets).sum(axis=1)
    return np.divide(product, norms, out=np.zeros_like(product), where=norms > 0)
