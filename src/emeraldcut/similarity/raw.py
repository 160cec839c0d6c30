"""The thesis's comparison: cosine of raw pixels."""

from __future__ import annotations

import numpy as np

from emeraldcut.data.imageset import ImageSet

BATCH = 1024


def resampled(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image brought to another number of pixels, by area averaging where it shrinks; NaN becomes 0."""
    image = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0)
    if image.shape == shape:
        return image
    from skimage.transform import resize

    return resize(image, shape, order=1, anti_aliasing=True, preserve_range=True)


def raw_cosine(images: ImageSet, references: ImageSet) -> np.ndarray:
    """Cosine similarity (n, n_references) of flattened grey-scale images, exactly as the thesis took it.

    The thesis's `1 - sklearn.metrics.pairwise.cosine_distances`, which is the scalar product over both norms (0 where a
    norm is 0); a test compares the two. Images of another size than a reference are resampled to it. The measure is
    kept as the baseline: it likes a circle as much as a rectangle, because all galaxies are bright in the middle.
    """
    result = np.full((len(images), len(references)), np.nan)
    for j, reference in enumerate(references.pixels):
        target = np.nan_to_num(np.asarray(reference, np.float64)).ravel()
        for start in range(0, len(images), BATCH):
            batch = images.pixels[start : start + BATCH]
            readable = [i for i, image in enumerate(batch) if image.ndim == 2 and image.size]
            if readable:
                rows = np.stack([resampled(batch[i], reference.shape).ravel() for i in readable])
                norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(target)
                product = rows @ target
                result[start + np.array(readable), j] = np.divide(
                    product, norms, out=np.zeros_like(product), where=norms > 0
                )
    return result
