"""What surveys and their pictures do to an image: resampling, tight crops, haloes of stars, colour pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform

SHIFT_PIX = 0.5  # a second resampling shifts the image by up to this much
LUMA = (0.299, 0.587, 0.114)  # Rec. 601, as colour pictures are read, see `images.formats`


@dataclass(frozen=True)
class Resampling:
    """How an image is brought onto another grid of pixels.

    Attributes
    ----------
    factor : float
        New pixels per old pixel along a side, 1 or more.
    turn_deg : float
        By which the scene is turned counter-clockwise about the middle of the image.
    orders : tuple of int
        Of the spline of each resampling, one after the other: 1 is linear, 3 cubic.
    """

    factor: float
    turn_deg: float
    orders: tuple[int, ...]

    @classmethod
    def drawn(cls, rng: np.random.Generator, largest: float) -> Resampling:
        """A factor of 1 to `largest`, and one or two resamplings."""
        orders = tuple(int(order) for order in rng.choice([1, 3], int(rng.integers(1, 3))))
        return cls(float(np.exp(rng.uniform(0, np.log(max(largest, 1.0))))), rng.uniform(0, 90), orders)

    def place(self, place: tuple[float, float], size: int) -> tuple[float, float]:
        """Where a point (x, y) of the old image is in the new one; both have sides of `size` pixels."""
        middle, angle = (size - 1) / 2, np.radians(self.turn_deg)
        x, y = place[0] - middle, place[1] - middle
        turned = (x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle))
        return middle + self.factor * turned[0], middle + self.factor * turned[1]

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The new image, with the sides of the old one: light per pixel is kept where a factor enlarges."""
        middle, angle = (np.array(image.shape) - 1) / 2, np.radians(self.turn_deg)
        back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / self.factor  # of (y, x)
        shifts = [rng.uniform(-SHIFT_PIX, SHIFT_PIX, 2) for _ in self.orders[1:]]
        first = middle - back @ (middle + sum(shifts, np.zeros(2)))
        result = affine_transform(image, back, first, order=self.orders[0], mode="mirror")
        for order, shift in zip(self.orders[1:], shifts, strict=True):
            result = affine_transform(result, np.eye(2), shift, order=order, mode="mirror")
        return result


def halo(size: int, at: tuple[float, float], radius_pix: float, rng: np.random.Generator) -> np.ndarray:
    """The light (size, size) of a bright star near a galaxy, 1 where the galaxy is.

    The star is 2.5 to 6 half-light radii away, and its light falls as r^-3 to r^-1.5 (King 1971, PASP 83, 199).
    """
    distance, angle = rng.uniform(2.5, 6) * radius_pix, rng.uniform(0, 2 * np.pi)
    place = (at[0] + distance * np.cos(angle), at[1] + distance * np.sin(angle))
    x, y = np.arange(size) - place[0], (np.arange(size) - place[1])[:, None]
    radius = np.hypot(np.hypot(x, y), 1.0)
    return (radius / np.hypot(distance, 1.0)) ** rng.uniform(-3, -1.5)


def cropped(image: np.ndarray, at: tuple[float, float], radius_pix: float, rng: np.random.Generator) -> np.ndarray:
    """`image` without data (NaN) beyond a window around a galaxy, whose sides are 1.2 to 4 half-light radii away."""
    result = np.full_like(image, np.nan)
    left, right, below, above = rng.uniform(1.2, 4, 4) * radius_pix
    rows = slice(max(round(at[1] - below), 0), max(round(at[1] + above), 0) + 1)
    columns = slice(max(round(at[0] - left), 0), max(round(at[0] + right), 0) + 1)
    result[rows, columns] = image[rows, columns]
    return result


def colour_picture(bands: list[np.ndarray], sky_sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Three bands as the luminance of a survey's colour picture: 0 to 255, arcsinh stretch, JPEG or PNG; (ny, nx).

    The mean of the bands is stretched and each band keeps its ratio to it (Lupton et al. 2004, PASP 116, 133). Where a
    colour exceeds white, either all three are lowered together, as they advise, or each is cut on its own. Missing
    pixels stay missing.
    """
    mean = np.mean(bands, axis=0)
    missing = ~np.isfinite(mean)
    softening = sky_sigma * np.exp(rng.uniform(np.log(1), np.log(60)))
    top = float(np.nanmax(mean))
    white = np.arcsinh(max(top, softening) * np.exp(rng.uniform(np.log(0.2), np.log(1.3))) / softening)
    black = rng.uniform(0, 3) * sky_sigma
    lifted = np.nan_to_num(mean) + black
    factor = np.arcsinh(np.maximum(lifted, 0) / softening) / white / np.maximum(lifted, 1e-9 * softening)
    colours = np.stack([np.maximum((np.nan_to_num(band) + black) * factor, 0) for band in bands], axis=-1)
    if rng.random() < 0.5:
        colours /= np.maximum(colours.max(axis=-1, keepdims=True), 1)
    grey = np.round(255 * np.clip(colours, 0, 1)).astype(np.uint8)
    if rng.random() < 0.75:
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "JPEG", quality=int(rng.integers(75, 96)))
        grey = np.asarray(Image.open(file))
    result = grey.astype(np.float64) @ np.array(LUMA)
    return np.where(missing, np.nan, result)
