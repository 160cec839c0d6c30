"""How well does `compare` find rectangles, what does its score not depend on, and what does it cost?

    python benchmarks/compare.py [--quick] [--seed N] [--jobs N] [--real FOLDER]

Pools of images of 96 x 96 pixels: rectangles (superellipses of exponent 3.2 to 4.5, axis ratio 0.5 to 0.75) among
ellipticals, disky galaxies, edge-on discs, pairs and artefacts. They are 2 in 100 (12 in 600, mean of several pools) or
1 in 1,000 (20 in 20,000); clean, or with noise of 0.12 of the surface brightness at the half-light radius and 1.5
neighbours per image. The reference is one box of exponent 3.6 or, for comparison, LEDA 074886. With --real (a folder
with EFIGI's `images` and `labels.csv`) models of LEDA 074886 replace real E and S0 galaxies; each takes over the flux,
size, noise and neighbours of the galaxy that it replaces. These figures have a record of their own, `compare-real`.

Keys of the last line:

    ms_per_stamp, ms_per_stamp_10_references
                            CPU milliseconds per stamp of 64 x 64, from pixels to score and p-value
    precision_at_k_clean, precision_at_k_noisy
                            fraction of rectangles among the top 12; 12 in 600
    precision_at_20_rare_clean, precision_at_20_rare_noisy
                            the same among the top 20; 20 in 20,000
    *_leda                  the same with the model of LEDA 074886 as the only reference
    change_*                largest change of the score of a box of exponent 4 under rotation, mirroring, size 0.5 to 2
                            (the PSF scaled with it, and a fixed one) and axis ratio 0.5 to 0.9
    change_snr_*            change of its mean score when the S/N doubles
    leda_in_top_1_percent   fraction of the models that score higher than 99 in 100 of the real E and S0 galaxies
    real_galaxies, planted  numbers of real galaxies and of models
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import record
from astropy.table import Table

from emeraldcut.data import ImageSet, concatenate
from emeraldcut.frame import frame_galaxies, without_galaxy
from emeraldcut.galaxies import SynthesiseSettings, draw_galaxy, leda074886, shapes, synthesise
from emeraldcut.galaxies.leda074886 import AXIS_RATIO
from emeraldcut.galaxies.profiles import Body, EdgeOnDisc, Sersic
from emeraldcut.galaxies.sky import Psf, draw, neighbours
from emeraldcut.images import read_images
from emeraldcut.runs import map_chunks
from emeraldcut.similarity import References, compare, prepare_references, read_references

SIZE, FWHM = 96, 3.5
COUNTS = {"rectangle": 12, "elliptical": 420, "disky": 60, "edge_on": 48, "pair": 36, "artefact": 24}
RARE = {"rectangle": 20, "elliptical": 14_380, "disky": 2000, "edge_on": 1600, "pair": 1200, "artefact": 800}
NOISE = 0.12  # of the surface brightness at the half-light radius


def _object(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A noise-free image of one object, and its half-light radius in pixels."""
    radius, index = rng.uniform(7, 13), rng.uniform(0.7, 3)
    centre = tuple((SIZE - 1) / 2 + rng.normal(0, 1, 2))
    seen = partial(draw, size=SIZE, psf=Psf(FWHM))
    placed = {"centre": centre, "position_angle_deg": rng.uniform(0, 180), "radius_pix": radius}
    if kind == "rectangle":
        body = Body(shapes.superellipse(rng.uniform(0.5, 0.75), rng.uniform(3.2, 4.5)), Sersic(index))
    elif kind == "elliptical":
        body = Body(shapes.superellipse(rng.uniform(0.4, 1), rng.uniform(1.9, 2.15)), Sersic(index))
    elif kind == "disky":
        body = Body(shapes.disky(rng.uniform(0.4, 0.9), rng.uniform(0.015, 0.05)), Sersic(index))
    elif kind == "edge_on":
        body = EdgeOnDisc(0.6, rng.uniform(0.08, 0.2))
    elif kind == "pair":
        body = Body(shapes.ellipse(rng.uniform(0.5, 1)), Sersic(index))
    else:
        return _artefact(centre, radius, rng), radius
    image = seen(body, **placed)
    if kind == "pair":
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 2) * radius
        beside = (centre[0] + distance * np.cos(angle), centre[1] + distance * np.sin(angle))
        other = Body(shapes.ellipse(rng.uniform(0.5, 1)), Sersic(1.5))
        image += rng.uniform(0.3, 1) * seen(
            other, centre=beside, position_angle_deg=rng.uniform(0, 180), radius_pix=radius * rng.uniform(0.4, 1)
        )
    return image, radius


def _artefact(centre: tuple[float, float], radius: float, rng: np.random.Generator) -> np.ndarray:
    """A trail, a flat box, or a star with a bad column, of light 1."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    dx, dy = x - centre[0], y - centre[1]
    which, angle = rng.integers(3), rng.uniform(0, np.pi)
    if which == 0:
        image = np.exp(-0.5 * ((np.cos(angle) * dx + np.sin(angle) * dy) / 1.5) ** 2)
    elif which == 1:
        image = ((abs(dx) < radius) & (abs(dy) < 0.6 * radius)).astype(float)
    else:
        image = np.exp(-0.5 * (dx**2 + dy**2) / 1.5**2) + 0.1 * (abs(dx) < 1)
    return image / image.sum()


def pool(kinds: list[str], seeds: range, seed: int, noisy: bool) -> ImageSet:
    """Images of the given kinds; each depends on its own number only."""
    pixels = []
    for kind, number in zip(kinds, seeds, strict=True):
        rng = np.random.default_rng([seed, number])
        image, radius = _object(kind, rng)
        if noisy:
            y, x = np.mgrid[0:SIZE, 0:SIZE] - (SIZE - 1) / 2
            ring = (np.hypot(x, y) > 0.6 * radius) & (np.hypot(x, y) < 1.1 * radius)
            brightness = np.median(image[ring]) or 0.2 * image.max()
            number_beside = rng.poisson(1.5)
            image += neighbours(number_beside, SIZE, Psf(FWHM), flux=image.sum(), keep_clear_pix=1.2 * radius, rng=rng)
            image += rng.normal(0, NOISE * brightness, image.shape)
        pixels.append(image.astype(np.float32))
    names = np.array([f"{kind}-{number}" for kind, number in zip(kinds, seeds, strict=True)], dtype=object)
    return ImageSet(pixels, Table({"id": names, "psf_fwhm_pix": [FWHM] * len(pixels)}))


def _scores(numbers: range, kinds: list[str], seed: int, noisy: bool, references: list[References]) -> np.ndarray:
    """Scores (n_references, n) of some images of a pool."""
    images = pool([kinds[k] for k in numbers], numbers, seed, noisy)
    frames = frame_galaxies(images)
    return np.array(
        [np.ma.filled(compare(images, references=r, frames=frames)["similarity"], -9.0) for r in references]
    )


def precision(counts: dict[str, int], seed: int, noisy: bool, references: list[References], jobs: int) -> list[float]:
    """Fraction of rectangles among the top k, k being their number, for each reference; ties count as last."""
    kinds = [kind for kind, number in counts.items() for _ in range(number)]
    chunks = [range(i, min(i + 500, len(kinds))) for i in range(0, len(kinds), 500)]
    part = partial(_scores, kinds=kinds, seed=seed, noisy=noisy, references=references)
    scores = np.concatenate(list(map_chunks(part, chunks, jobs=jobs)), axis=1)
    k = counts["rectangle"]
    return [float(np.mean([(s >= value).sum() <= k for value in s[:k]])) for s in scores]


def invariance(reference: References, seed: int) -> dict[str, float]:
    """How much the score of a box changes with what it should not depend on."""
    rng = np.random.default_rng(seed)

    def box(angle=30.0, radius=10.0, axis_ratio=0.7, fwhm=2.5, size=128):
        shape = shapes.superellipse(axis_ratio, 4)
        return draw_galaxy(
            shape, Sersic(1.0), size=size, radius_pix=radius, position_angle_deg=angle, psf_fwhm_pix=fwhm, psf_beta=3.5
        )

    def score(images, fwhm) -> np.ndarray:
        rows = Table({"id": [str(i) for i in range(len(images))], "psf_fwhm_pix": fwhm})
        return np.asarray(
            compare(ImageSet([i.astype(np.float32) for i in images], rows), references=reference)["similarity"]
        )

    def at_snr(snr: float, number: int) -> np.ndarray:
        light = box(size=64)
        ordered = np.sort(light, axis=None)[::-1]
        half = ordered[: np.searchsorted(np.cumsum(ordered), 0.5 * ordered.sum())]
        noise = half.sum() / np.sqrt(len(half)) / snr
        return score([light + rng.normal(0, noise, light.shape) for _ in range(number)], [2.5] * number)

    base = score([box()], [2.5])[0]
    sizes = (0.5, 0.7, 1.4, 2.0)
    changes = {
        "change_rotation": score([box(angle=a) for a in range(0, 180, 15)], [2.5] * 12),
        "change_mirror": score([box()[:, ::-1], box()[::-1]], [2.5] * 2),
        "change_size": score([box(radius=10 * s, fwhm=2.5 * s) for s in sizes], [2.5 * s for s in sizes]),
        "change_size_fixed_psf": score([box(radius=10 * s) for s in sizes], [2.5] * 4),
        "change_axis_ratio": score([box(axis_ratio=q) for q in (0.5, 0.6, 0.8, 0.9)], [2.5] * 4),
    }
    figures = {name: float(np.abs(values - base).max()) for name, values in changes.items()}
    means = [at_snr(snr, 200).mean() for snr in (50, 100, 200, 400)]
    return figures | {
        f"change_snr_{s}_to_{2 * s}": float(b - a)
        for s, a, b in zip((50, 100, 200), means[:-1], means[1:], strict=True)
    }


def planted(folder: Path, reference: References, seed: int, number: int) -> dict[str, float]:
    """Models of LEDA 074886 that replace real galaxies of types E and S0.

    The mean light on the galaxy's ellipses is replaced by that of the model, with the same flux and circularised
    half-light radius; noise, neighbours and all other structure of the galaxy stay.
    """
    labels = Table.read(folder / "labels.csv", format="ascii.csv")
    kind = {str(row[labels.colnames[0]]).removesuffix(".jpg"): row["t"] for row in labels}
    images = read_images(folder / "images")
    types = np.array([kind.get(str(i).split("/")[-1], 99) for i in images.table["id"]], dtype=float)
    images = images[(types >= -6) & (types <= -1)]
    frames, rng = frame_galaxies(images), np.random.default_rng(seed)
    real = np.ma.filled(compare(images, references=reference, frames=frames)["similarity"], -9.0)
    unbinned = [i for i, g in enumerate(frames.galaxies) if g is not None and g.binning == 1]
    pixels = []
    for i in rng.choice(unbinned, number):
        galaxy = frames.galaxies[i]
        ny, nx = images.pixels[i].shape
        empty = without_galaxy(images.pixels[i], galaxy.quick)
        light = float(np.sum(np.asarray(images.pixels[i], float) - empty))
        radius = galaxy.radius * np.sqrt(galaxy.shape[2] / AXIS_RATIO)
        model = leda074886(
            size=max(ny, nx), pixel_scale_arcsec=17 / radius, psf_fwhm_pix=2, position_angle_deg=rng.uniform(0, 180)
        )[:ny, :nx].astype(float)
        pixels.append((empty + model * light / model.sum()).astype(np.float32))
    models = ImageSet(pixels, Table({"id": [f"model-{k}" for k in range(len(pixels))]}))
    scores = np.ma.filled(compare(models, references=reference)["similarity"], -9.0)
    found = float(np.mean(scores > np.quantile(real, 0.99)))
    return {"leda_in_top_1_percent": found, "real_galaxies": len(real), "planted": len(scores)}


def cost(references: References) -> float:
    """CPU milliseconds per stamp of 64 x 64, best of three."""
    images = synthesise(SynthesiseSettings(number=300, snr_min=30), seed=123)
    compare(images, references=references)
    spent = []
    for _ in range(3):
        start = time.process_time()
        compare(images, references=references)
        spent.append((time.process_time() - start) / len(images) * 1e3)
    return min(spent)


def main() -> None:
    parser = record.parser(__doc__, "one pool of 600, none of 20,000", seed=100)
    parser.add_argument("--real", type=Path, help="folder of the EFIGI images and labels.csv")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    box = draw_galaxy(shapes.superellipse(0.6, 3.6), Sersic(1.0), size=128, radius_pix=14).astype(np.float32)
    references = [
        prepare_references(ImageSet([box], Table({"id": ["box"]}))),
        prepare_references(read_references(("leda074886",))),
    ]
    figures: dict[str, float] = {"ms_per_stamp": cost(references[0])}
    several = [
        prepare_references(concatenate([ImageSet([np.rot90(box, k)], Table({"id": [f"box {k}"]})) for k in range(10)]))
    ]
    figures["ms_per_stamp_10_references"] = cost(several[0])
    for noisy, name in ((False, "clean"), (True, "noisy")):
        pools = [
            precision(COUNTS, arguments.seed + i, noisy, references, arguments.jobs)
            for i in range(1 if arguments.quick else 8)
        ]
        figures[f"precision_at_k_{name}"], figures[f"precision_at_k_{name}_leda"] = np.mean(pools, axis=0).tolist()
        if not arguments.quick:
            rare = precision(RARE, arguments.seed + 1000, noisy, references, arguments.jobs)
            figures[f"precision_at_20_rare_{name}"], figures[f"precision_at_20_rare_{name}_leda"] = rare
        print(record.plain(figures), flush=True)
    figures |= invariance(references[0], arguments.seed)
    record.save("compare", figures, arguments)
    if arguments.real:
        replaced = planted(arguments.real, references[1], arguments.seed, 100 if arguments.quick else 1000)
        record.save("compare-real", replaced, arguments)
        figures |= replaced
    record.show(figures)


if __name__ == "__main__":
    main()
