"""How many boxes stay candidates when their images are treated as pictures of surveys and papers are?

    python benchmarks/robustness.py [--quick] [--seed N] [--jobs N] [--number N] [--network NAME]

Boxes of a generator that shares no code with `emeraldcut.galaxies` (`blind`; S/N 60 to 300, half-light radius 4 to 13
pixels, half-light radius at least 1.3 FWHM) are screened as they are and after each treatment. Those whose score is
then at least the threshold for precision 0.85 at 1 in 100 are counted.

Keys of the last line:

    boxes      boxes, and fraction of them above the threshold as they are, [value, low, high] with a 68 % interval
    kept       by treatment: of those above as they are, the fraction that still are, [value, low, high]
    share      by treatment: fraction of all boxes above the threshold
    trusted    by treatment: fraction of all boxes without a flag that says not to trust them
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import record
from astropy.table import Table
from blind import SIDE, blind_galaxies
from PIL import Image
from scipy.ndimage import map_coordinates, zoom

from emeraldcut.data import ImageSet
from emeraldcut.data.columns import numbers
from emeraldcut.networks import load_network
from emeraldcut.runs import map_chunks
from emeraldcut.screening.ranking import AT, read_rankings
from emeraldcut.screening.screen import ScreenSettings, examine

PRECISION = 0.85
CHUNK = 200
SOFTENING, WHITE = 3.0, 0.9  # of the arcsinh stretch: in units of the noise, and of the highest light
COLOURS, QUALITY = (1.2, 1.0, 0.8), 85  # ratios of the bands to their mean; of the JPEG
HALOES, HALO_SLOPE = (3.0, 8.0), -2.0  # light of stars' haloes at the galaxy over the noise, and its power of radius
HALO_AWAY = 0.75  # distance of the star, which is off the image, in sides of the image
CROP = 2.2  # half-light radii from the galaxy to each side of the crop
SCALE, LEVEL = 37.0, 250.0  # a factor and an offset

Treatment = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def stretched(image: np.ndarray) -> np.ndarray:
    """An arcsinh stretch from 0 to 1."""
    light = image - np.median(image)
    values = np.arcsinh(light / SOFTENING)
    black, white = np.arcsinh(-2 / SOFTENING), np.arcsinh(light.max() * WHITE / SOFTENING)
    return np.clip((values - black) / (white - black), 0, 1)


def png(image: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    return np.round(255 * stretched(image))


def jpeg(image: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """The luminance of a colour JPEG whose bands have noise of their own."""
    bands = [255 * stretched(ratio * image + rng.normal(0, 1, image.shape)) for ratio in COLOURS]
    file = io.BytesIO()
    Image.fromarray(np.round(np.stack(bands, axis=-1)).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(file).convert("L"), float)


def halo(image: np.ndarray, size: float, rng: np.random.Generator, *, level: float) -> np.ndarray:
    """The halo of a star beyond the edge, with this light at the galaxy, and its photon noise."""
    angle, middle = rng.uniform(0, 2 * np.pi), SIDE / 2
    x, y = middle + HALO_AWAY * SIDE * np.array([np.cos(angle), np.sin(angle)])
    radius = np.hypot(np.arange(SIDE) - x, np.arange(SIDE)[:, None] - y)
    light = level * (radius / (HALO_AWAY * SIDE)) ** HALO_SLOPE
    return image + light + rng.normal(size=image.shape) * np.sqrt(light / 30)


def crop(image: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    half = int(min(np.ceil(CROP * size), SIDE // 2))
    part = slice(SIDE // 2 - half, SIDE // 2 + half)
    return image[part, part]


def turned(image: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Resampled twice: turned by any angle, and back by a third of it."""
    angle = rng.uniform(0, np.pi / 2)
    for turn in (angle, -angle / 3):
        y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
        cos, sin = np.cos(turn), np.sin(turn)
        image = map_coordinates(image, [y * cos - x * sin + (SIDE - 1) / 2, y * sin + x * cos + (SIDE - 1) / 2],
                                order=3, mode="mirror")  # fmt: skip
    return image


TREATMENTS: dict[str, Treatment] = {
    "as they are": lambda image, size, rng: image,
    "factor and offset": lambda image, size, rng: SCALE * image + LEVEL,
    "quarter turn": lambda image, size, rng: np.rot90(image),
    "turned twice": turned,
    "upsampled by 2": lambda image, size, rng: zoom(image, 2, order=1),
    **{f"halo of {level:g} times the noise": partial(halo, level=level) for level in HALOES},
    "arcsinh PNG": png,
    "colour JPEG": jpeg,
    "tight crop": crop,
}
PICTURES, ENLARGED = ("arcsinh PNG", "colour JPEG"), {"upsampled by 2": 2.0}


def screened(part: range, seed: int, network: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Score and trust of the boxes of one chunk after each treatment, (n,)."""
    drawn, found = blind_galaxies(part, seed), {}
    boxes = drawn[np.array(drawn.table["label"], str) == "rectangular"]
    for number, (name, treat) in enumerate(TREATMENTS.items()):
        rngs = [np.random.default_rng([seed, number, int(name_of[-6:])]) for name_of in boxes.table["id"]]
        sizes = np.array(boxes.table["truth_radius_pix"])
        pixels = [
            np.ascontiguousarray(treat(np.asarray(image, float), size, rng), dtype=np.float32)
            for image, size, rng in zip(boxes.pixels, sizes, rngs, strict=True)
        ]
        table = Table({"id": np.array(boxes.table["id"])})
        if name not in PICTURES:
            table["psf_fwhm_pix"] = np.array(boxes.table["psf_fwhm_pix"]) * ENLARGED.get(name, 1.0)
        rows = examine(ImageSet(pixels, table), ScreenSettings(network=network, prevalence=AT))
        found[name] = numbers(rows["score"], 0.0), np.array(rows["trusted"], bool)
    return found


def share(hits: np.ndarray) -> list[float]:
    """The fraction of hits (n,) with its 68 % interval, by Wilson (1927, J. Am. Stat. Assoc. 22, 209) at z = 1."""
    n, p = max(len(hits), 1), float(np.mean(hits)) if len(hits) else 0.0
    middle, half = (p + 0.5 / n) / (1 + 1 / n), np.sqrt(p * (1 - p) / n + 0.25 / n**2) / (1 + 1 / n)
    return [p, float(middle - half), float(middle + half)]


def main() -> None:
    parser = record.parser(__doc__, "400 galaxies, a quarter of which are boxes", seed=9_600_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--number", type=int, default=4_000, help="galaxies drawn, a quarter of which are boxes")
    parser.add_argument("--network", default="screener")
    arguments = parser.parse_args()
    number = 400 if arguments.quick else arguments.number
    chunks = (range(start, min(start + CHUNK, number)) for start in range(0, number, CHUNK))
    run = partial(screened, seed=arguments.seed, network=arguments.network)
    parts = list(map_chunks(run, chunks, jobs=arguments.jobs))
    rankings = read_rankings(load_network(arguments.network).folder)
    limit = rankings.threshold(PRECISION, AT)
    above = {name: np.concatenate([part[name][0] for part in parts]) >= limit for name in TREATMENTS}
    before = above["as they are"]
    treated = [name for name in TREATMENTS if name != "as they are"]
    figures = {
        "boxes": [len(before), share(before)],
        "kept": {name: share(above[name][before]) for name in treated},
        "share": {name: float(above[name].mean()) for name in treated},
        "trusted": {name: float(np.concatenate([part[name][1] for part in parts]).mean()) for name in TREATMENTS},
    }
    record.finish("robustness", figures, arguments, peers=("pillow",))


if __name__ == "__main__":
    main()
