"""Where the galaxies are in a large field."""

from __future__ import annotations

import numpy as np
from astropy.table import Table


def detect_sources(field: np.ndarray, *, n_sigma: float = 3.0, min_area_pix: int = 60) -> Table:
    """Sources of a field, brightest first, by photutils' segmentation and deblending.

    Parameters
    ----------
    field : (ny, nx) counts, NaN where there is no data
    n_sigma : float
        Threshold above the local sky, in units of its noise.
    min_area_pix : int
        Connected pixels that a source must have.

    Returns
    -------
    Table
        `id`, `x`, `y` (pixels, of the centroid), `area_pix` and `flux` (counts); empty if nothing is found.
    """
    from photutils.background import Background2D, MedianBackground
    from photutils.segmentation import SourceCatalog, SourceFinder

    box = max(16, min(field.shape) // 8)
    missing = ~np.isfinite(field)
    sky = Background2D(
        np.where(missing, 0.0, field), box, filter_size=3, bkg_estimator=MedianBackground(), coverage_mask=missing
    )
    light = np.where(missing, 0.0, field - sky.background)
    finder = SourceFinder(n_pixels=min_area_pix, n_levels=16, contrast=0.02, progress_bar=False)
    segments = finder(light, n_sigma * np.maximum(sky.background_rms, 1e-12), mask=missing)
    if segments is None:
        return Table(names=("id", "x", "y", "area_pix", "flux"), dtype=(object, float, float, float, float))
    sources = SourceCatalog(light, segments)
    table = Table(
        {"x": sources.x_centroid, "y": sources.y_centroid, "area_pix": sources.area.value, "flux": sources.segment_flux}
    )
    table = table[np.isfinite(table["x"]) & np.isfinite(table["y"])]
    table.sort("flux", reverse=True)
    table.add_column(np.array([f"source-{i:04d}" for i in range(1, len(table) + 1)], dtype=object), name="id", index=0)
    return table
