"""The asinh stretch, by which faint and bright parts of an image are seen in one picture."""

from __future__ import annotations

import numpy as np


def asinh_stretch(values: np.ndarray, black: float, white: float, softening: float) -> np.ndarray:
    """Light between 0 and 1 for display: linear where it is faint, logarithmic where it is bright.

    Lupton, Gunn & Szalay 1999 (AJ 118, 1406); for pictures, Lupton et al. 2004 (PASP 116, 133).

    Parameters
    ----------
    values : array of any shape
        Light, with the sky level at 0.
    black, white : float
        The values of asinh(light / softening) that become 0 and 1.
    softening : float
        The light at which the stretch turns from linear to logarithmic, above 0.

    Returns
    -------
    array of the same shape
        NaN where there is no data.
    """
    return np.clip((np.arcsinh(values / softening) - black) / (white - black), 0, 1)
