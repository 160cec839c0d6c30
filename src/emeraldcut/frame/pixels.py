"""The pixels of a fit: where a model is evaluated, which pixels it is compared with, and what the PSF does between."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from emeraldcut.galaxies.sky import Psf


class FitPixels:
    """Pixels around a galaxy.

    Without a PSF the model is evaluated on the compared pixels themselves. With one it is evaluated on a whole box with
    a margin, convolved, and then compared, so that the fitted parameters are those of the galaxy before the PSF.

    Attributes
    ----------
    x, y : (n,) float
        Where the model is evaluated.
    at : (m,) int, or slice
        Which of these are compared with the image.
    values : (m,) float
        The image there.
    """

    def __init__(self, image: np.ndarray, valid: np.ndarray, near: np.ndarray, psf: np.ndarray | None = None) -> None:
        """Takes the pixels of `image` (ny, nx) that are `valid` and `near`; `psf` is a square odd array of sum 1."""
        use = valid & near
        self.values = image[use]
        self._psf = psf if use.any() else None
        if self._psf is None:
            y, x = np.nonzero(use)
            self.x, self.y, self.at = x.astype(float), y.astype(float), slice(None)
            return
        from scipy import fft

        half = len(psf) // 2
        rows, columns = np.nonzero(near.any(axis=1))[0], np.nonzero(near.any(axis=0))[0]
        y, x = np.mgrid[rows[0] - half : rows[-1] + half + 1, columns[0] - half : columns[-1] + half + 1]
        self._shape = y.shape
        compared = np.zeros(self._shape, bool)
        compared[half:-half, half:-half] = use[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        self.x, self.y, self.at = x.ravel().astype(float), y.ravel().astype(float), np.nonzero(compared.ravel())[0]
        self._padded = [fft.next_fast_len(n + half, real=True) for n in self._shape]
        kernel = np.zeros(self._padded, np.float32)
        kernel[: len(psf), : len(psf)] = psf
        self._transform = fft.rfft2(np.roll(kernel, (-half, -half), (0, 1)))

    def seen(self, columns: np.ndarray) -> np.ndarray:
        """What the telescope sees of model images (n, k) at the compared pixels: (m, k)."""
        if self._psf is None:
            return columns
        from scipy import fft

        ny, nx = self._shape
        stack = columns.T.astype(np.float32).reshape(-1, ny, nx)
        blurred = fft.irfft2(fft.rfft2(stack, self._padded) * self._transform, self._padded)[:, :ny, :nx]
        return blurred.reshape(len(stack), -1)[:, self.at].T.astype(np.float64)


@lru_cache(maxsize=64)
def psf_kernel(fwhm_pix: float) -> np.ndarray:
    """A Moffat PSF (beta = 3.5, between good and bad seeing) of known width, out to 3 FWHM; sum 1."""
    kernel = Psf(fwhm_pix, 3.5).kernel()
    cut = max(len(kernel) // 2 - int(np.ceil(3 * fwhm_pix)), 0)
    kernel = kernel[cut : len(kernel) - cut, cut : len(kernel) - cut]
    return kernel / kernel.sum()
