"""Comparison by SIFT keypoints (Lowe 2004, IJCV 60, 91)."""

from __future__ import annotations

import numpy as np

from emeraldcut.data.imageset import ImageSet
from emeraldcut.similarity.raw import resampled

SIDE = 128  # smooth galaxies have hardly any keypoints at survey sizes, so images are enlarged to this side
RATIO = 0.8  # Lowe's ratio test


def descriptors(image: np.ndarray) -> np.ndarray | None:
    """SIFT descriptors (k, 128) of an image stretched to 0..1; None if it has no keypoint."""
    from skimage.feature import SIFT

    if image.ndim != 2 or not image.size or not np.isfinite(image).any():
        return None
    low, high = np.nanpercentile(image, [1, 99.8])
    if not high > low:
        return None
    sift = SIFT()
    try:
        shown = np.nan_to_num(np.clip((image - low) / (high - low), 0, 1))  # missing data as dark as the sky
        sift.detect_and_extract(resampled(shown, (SIDE, SIDE)))
    except RuntimeError:  # by which scikit-image reports that there is no keypoint
        return None
    return sift.descriptors


def sift_match(images: ImageSet, references: ImageSet) -> np.ndarray:
    """Fraction (n, n_references) of a reference's keypoints with a match that passes the ratio test; NaN if none."""
    from skimage.feature import match_descriptors

    known = [descriptors(np.asarray(r)) for r in references.pixels]
    result = np.full((len(images), len(references)), np.nan)
    for i, image in enumerate(images.pixels):
        own = descriptors(np.asarray(image))
        for j, reference in enumerate(known):
            if own is not None and reference is not None:
                matches = (
                    match_descriptors(own, reference, max_ratio=RATIO, cross_check=True) if len(reference) > 1 else []
                )
                result[i, j] = len(matches) / len(reference)
    return result
