"""Boxybench: which method finds rare rectangular galaxies, and which finds galaxies like one reference picture?

    python benchmarks/boxybench.py [--quick] [--seed N] [--jobs N] [--number N] [--real FOLDER ...]
    python benchmarks/boxybench.py --classifier FILE.py:FUNCTION --comparison FILE.py:FUNCTION     also your methods

docs/boxybench.md describes the pools, the tasks and the metrics. A method is one function. For the task `find` it takes
an `ImageSet` and returns a score of each image, the higher the more likely rectangular; for the task `reference` it
takes the images and an `ImageSet` with one picture. NaN ranks last. Slow methods are given as many images of each pool
as SLOW says.

Keys of the last line; each metric is [mean, low, high] with the 68 % interval of surveys drawn from the pools

    images                     number of images by pool
    find, reference            by survey (`drawn`, `stars`, `real`), prevalence (1 in so many) and method: `first_page`
                               (fraction of rectangular galaxies among the first 20), `recall` (at precision 0.9),
                               `average_precision`, `ndcg` (at 10)
    tested                     negatives and rectangular galaxies that a method was given, by survey
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import record
from astropy.table import Table

from emeraldcut.data import Flag, ImageSet
from emeraldcut.data.columns import numbers
from emeraldcut.errors import UsageError
from emeraldcut.frame import frame_galaxies, warped
from emeraldcut.galaxies import synthesise
from emeraldcut.galaxies.population import ON_PIXELS
from emeraldcut.images import open_images
from emeraldcut.isophotes import measure
from emeraldcut.networks.train import SURVEY
from emeraldcut.runs import map_chunks
from emeraldcut.screening.screen import ScreenSettings, examine_with_bound
from emeraldcut.similarity import CompareSettings, compare, prepare_references, read_references

PREVALENCES = (100, 1_000, 10_000)  # one rectangular galaxy in so many
PLANTED = 20  # rectangular galaxies of a survey, so that the first page could hold nothing else
PAGE, NDCG, PRECISION = 20, 10, 0.9
SURVEYS = 200  # that are drawn from the pools for each figure
SLOW = 400  # images of each pool for methods that take more than some milliseconds each
CHUNK = 250
EXPONENTS = (3.0, 6.0)  # of the superellipses that real galaxies are warped into
POOLS = {
    "ordinary": replace(SURVEY, exposures=1, classes=("oval", "other"), snr_min=20.0),
    "stars": replace(SURVEY, exposures=1, classes=("other",), snr_min=20.0),
    "boxes": replace(SURVEY, exposures=1, classes=("rectangular",), snr_min=60.0),
}
# Negatives and rectangular galaxies of each survey.
SURVEY_POOLS = {"drawn": ("ordinary", "boxes"), "stars": ("stars", "boxes"), "real": ("real", "planted")}
Scores = dict[str, np.ndarray]


# --- methods


def random_features(images: ImageSet, reference: ImageSet) -> np.ndarray:
    """Cosine of the features of an untrained network: random filters, rectified, and averaged over a grid."""
    own, other = _features(images), _features(reference)
    lengths = np.linalg.norm(own, axis=1) * np.linalg.norm(other)
    return own @ other[0] / np.maximum(lengths, 1e-12)


def _features(images: ImageSet) -> np.ndarray:
    from scipy.ndimage import zoom
    from scipy.signal import fftconvolve

    filters = np.random.default_rng(0).normal(size=(32, 7, 7))
    filters -= filters.mean(axis=(1, 2), keepdims=True)
    found = []
    for image in images.pixels:
        light = np.nan_to_num(np.asarray(image, dtype=float))
        scaled = zoom(np.arcsinh((light - np.median(light)) / (light.std() + 1e-9)), 64 / min(light.shape), order=1)
        answers = np.maximum([fftconvolve(scaled[:64, :64], one, mode="same") for one in filters], 0)
        found.append(answers[:, :64, :64].reshape(32, 4, 16, 4, 16).mean(axis=(2, 4)).ravel())
    return np.array(found)


def photutils_a4(images: ImageSet) -> np.ndarray:
    """How boxy photutils finds the isophote at the half-light radius, over its error; NaN where its fit fails."""
    from photutils.isophote import Ellipse, EllipseGeometry

    frames, result = frame_galaxies(images).table, np.full(len(images), np.nan)
    for i, image in enumerate(images.pixels):
        if np.ma.is_masked(frames["x"][i]):
            continue
        light = np.nan_to_num(np.asarray(image, dtype=float) - frames["background"][i])
        radius = max(float(frames["radius_pix"][i]), 3.0)
        start = EllipseGeometry(frames["x"][i], frames["y"][i], radius, 1 - frames["axis_ratio"][i],
                                np.radians(frames["position_angle_deg"][i]))  # fmt: skip
        try:
            found = Ellipse(light, start).fit_isophote(radius)
            result[i] = -found.b4 / max(found.b4_err, 1e-6) if found.valid else np.nan
        except Exception:  # of the fit, which raises errors of every kind
            continue
    return result


@lru_cache(maxsize=2)
def _leda():
    return prepare_references(read_references(("leda074886",)))


def find_scores(images: ImageSet) -> Scores:
    """The methods of this package for the task `find`."""
    table = examine_with_bound(images, ScreenSettings(), references=_leda())[0]
    return {
        "emeraldcut score": numbers(table["score"]),
        "emeraldcut network": numbers(table["p_rectangular"]),
        "emeraldcut a4 over its error": -numbers(table["a4"]) / numbers(table["a4_err"]),
        "emeraldcut a4": -numbers(table["a4"]),
    }


def reference_scores(images: ImageSet, reference: ImageSet) -> Scores:
    """The methods of this package for the task `reference`, and the cosine of raw pixels."""
    table = compare(images, references=prepare_references(reference))
    cosine = compare(images, CompareSettings(method="cosine"), references=reference)
    return {
        "emeraldcut similarity": numbers(table["similarity"]),
        "emeraldcut p-value": -numbers(table["similarity_p"]),
        "raw cosine": numbers(cosine["similarity"]),
        "raw cosine, best orientation": numbers(cosine["similarity_oriented"]),
    }


def sift(images: ImageSet, reference: ImageSet) -> np.ndarray:
    """The fraction of the keypoints of the reference that have a match."""
    return numbers(compare(images, CompareSettings(method="sift"), references=reference)["similarity"])


SLOW_FIND: dict[str, Callable] = {"photutils a4 over its error": photutils_a4}
SLOW_REFERENCE: dict[str, Callable] = {"SIFT": sift, "features of a random network": random_features}


def loaded(words: Sequence[str]) -> dict[str, Callable]:
    """The functions that FILE.py:FUNCTION name."""
    found = {}
    for word in words:
        file, _, name = word.rpartition(":")
        spec = importlib.util.spec_from_file_location("method", file) if Path(file).is_file() else None
        if spec is None or spec.loader is None:
            raise UsageError(f"a method is FILE.py:FUNCTION with an existing file; received '{word}'.")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found[name] = getattr(module, name)
    return found


# --- pools


def drawn(part: range, pool: str, seed: int) -> ImageSet:
    """Images of a synthetic pool, without those in the grey zone between the classes."""
    images = synthesise(replace(POOLS[pool], number=len(part)), seed=seed, start=part.start)
    keep = np.array(images.table["scored"], dtype=bool)
    if pool == "stars":
        keep &= np.isin(np.array(images.table["kind"], dtype=str), ON_PIXELS)
    return images[keep]


def planted(images: ImageSet, seed: int) -> ImageSet:
    """Smooth galaxies among real images whose isophotes have been made superellipses."""
    table = measure(images)
    smooth = (np.array(table["flag"]) & int(Flag.STRUCTURE | Flag.EDGE_ON | Flag.UNRESOLVED)) == 0
    rng, pixels = np.random.default_rng([seed, len(images)]), []
    for i in np.flatnonzero(smooth & (numbers(table["snr"], 0.0) > 30)):
        box = warped(np.asarray(images.pixels[i], np.float32), rng.uniform(*EXPONENTS), whatever=True)
        if box is not None:
            pixels.append(box)
    return ImageSet(pixels, Table({"id": np.arange(len(pixels)), "stretched": np.ones(len(pixels), bool)}))


def the_reference(seed: int) -> ImageSet:
    """One picture of a box: noisy, with a PSF, and with neighbours where they happen to be."""
    settings = replace(POOLS["boxes"], snr_min=150.0, snr_max=200.0, pictures=0.0, haloes=0.0, cropped=0.0, number=20)
    images = synthesise(settings, seed=seed + 99)
    good = np.array(images.table["scored"], bool) & (np.array(images.table["kind"], dtype=str) == "superellipse")
    return images[np.flatnonzero(good)[:1]]


# --- scores


def scored(images: ImageSet, seed: int, slow: bool, classifiers: Sequence[str], comparisons: Sequence[str]) -> Scores:
    """What each method says of one chunk: task and method, to scores (n,)."""
    if not len(images):
        return {}
    box = the_reference(seed)
    own, theirs = loaded(classifiers), loaded(comparisons)
    find = find_scores(images) | {name: run(images) for name, run in own.items()}
    like = reference_scores(images, box) | {name: run(images, box) for name, run in theirs.items()}
    if slow:
        find |= {name: run(images) for name, run in SLOW_FIND.items()}
        like |= {name: run(images, box) for name, run in SLOW_REFERENCE.items()}
    return {f"find/{k}": v for k, v in find.items()} | {f"reference/{k}": v for k, v in like.items()}


def of_drawn(task: tuple[range, bool], pool: str, seed: int, **more) -> Scores:
    part, slow = task
    return scored(drawn(part, pool, seed + list(POOLS).index(pool)), seed, slow, **more)


def of_real(task: tuple[ImageSet, bool], plant: bool, seed: int, **more) -> Scores:
    images, slow = task
    return scored(planted(images, seed) if plant else images, seed, slow, **more)


def joined(parts: list[Scores]) -> Scores:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}


def gather(arguments, numbers_of: dict[str, int]) -> dict[str, Scores]:
    """The scores of every method in every pool."""
    more = {"classifiers": arguments.classifier, "comparisons": arguments.comparison}
    pools = {}
    for pool, number in numbers_of.items():
        run = partial(of_drawn, pool=pool, seed=arguments.seed, **more)
        chunks = ((range(k, min(k + CHUNK, number)), k < SLOW) for k in range(0, number, CHUNK))
        pools[pool] = joined(list(map_chunks(run, chunks, jobs=arguments.jobs)))
    for plant, pool in ((False, "real"), (True, "planted")) if arguments.real else ():
        run, parts = partial(of_real, plant=plant, seed=arguments.seed, **more), []
        for folder in arguments.real:
            chunks = ((images, k == 0) for k, images in enumerate(open_images(folder).chunks()))
            parts += list(map_chunks(run, chunks, jobs=arguments.jobs))
        pools[pool] = joined([part for part in parts if part])
    return pools


# --- metrics


def survey_metrics(negatives: np.ndarray, boxes: np.ndarray, one_in: int, rng: np.random.Generator) -> np.ndarray:
    """First page, recall, average precision and nDCG (4,) of one survey drawn from the scores of two pools.

    A survey has PLANTED boxes, drawn without repetition where there are enough, and `one_in` - 1 times as many
    negatives: each of the pool occurs as often as a Poisson distribution says. Of equal scores negatives come first.
    """
    chosen = rng.choice(boxes, PLANTED, replace=len(boxes) < PLANTED)
    times = rng.poisson(PLANTED * (one_in - 1) / len(negatives), len(negatives))
    seen = times > 0
    score = np.concatenate([negatives[seen], chosen])
    score = np.where(np.isnan(score), -np.inf, score)
    is_box = np.arange(len(score)) >= seen.sum()
    count = np.concatenate([times[seen], np.ones(PLANTED, int)])
    order = np.lexsort((is_box, -score))
    is_box, count = is_box[order], count[order]
    last = np.cumsum(count)  # rank of the last copy of each
    found = np.cumsum(is_box)
    precision = found / last
    ranks = last[is_box]
    reached = precision >= PRECISION
    gains = 1 / np.log2(np.arange(2, NDCG + 2))
    return np.array([
        np.sum(ranks <= PAGE) / PAGE,
        found[reached].max(initial=0) / PLANTED,
        precision[is_box].mean(),
        gains[ranks[ranks <= NDCG] - 1].sum() / gains.sum(),
    ])  # fmt: skip


def metrics(negatives: np.ndarray, boxes: np.ndarray, one_in: int, seed: int) -> dict[str, list[float]]:
    """The metrics of SURVEYS surveys, each as [mean, low, high]."""
    rng = np.random.default_rng([seed, one_in])
    values = np.array([survey_metrics(negatives, boxes, one_in, rng) for _ in range(SURVEYS)])
    names = ("first_page", "recall", "average_precision", "ndcg")
    return {
        name: [float(column.mean()), *map(float, np.quantile(column, (0.16, 0.84)))]
        for name, column in zip(names, values.T, strict=True)
    }


def summary(pools: dict[str, Scores], seed: int) -> dict:
    """The figures of all tasks, surveys, prevalences and methods."""
    result: dict = {"images": {}, "find": {}, "reference": {}, "tested": {}}
    for pool, scores in pools.items():
        result["images"][pool] = max((len(values) for values in scores.values()), default=0)
    for survey, (negative, box) in SURVEY_POOLS.items():
        if not pools.get(negative) or not pools.get(box):
            continue
        for key, values in pools[negative].items():
            task, _, method = key.partition("/")
            boxes = pools[box].get(key)
            if boxes is None:
                continue
            result["tested"].setdefault(survey, {})[method] = [len(values), len(boxes)]
            for one_in in PREVALENCES:
                found = result[task].setdefault(survey, {}).setdefault(f"1 in {one_in:,}", {})
                found[method] = metrics(values, boxes, one_in, seed)
    return result


def main() -> None:
    parser = record.parser(__doc__, "500 images of each pool", seed=9_400_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--number", type=int, default=20_000, help="ordinary galaxies that are drawn; others in share")
    parser.add_argument("--real", type=Path, action="append", default=[], help="folder of real images without boxes")
    parser.add_argument("--classifier", action="append", default=[], help="FILE.py:FUNCTION, function(images)")
    parser.add_argument("--comparison", action="append", default=[], help="FILE.py:FUNCTION, (images, reference)")
    arguments = parser.parse_args()
    n = 500 if arguments.quick else arguments.number
    pools = gather(arguments, {"ordinary": n, "stars": n // 2, "boxes": max(n // 20, 250)})
    result = summary(pools, arguments.seed)
    for task in ("find", "reference"):
        for survey, prevalences in result[task].items():
            for prevalence, methods in prevalences.items():
                print(f"\n{task}, {survey}, {prevalence}: first page, recall at precision 0.9, AP, nDCG@10")
                for method, found in sorted(methods.items(), key=lambda item: -item[1]["average_precision"][0]):
                    print(f"  {method:<32}" + "".join(f"{value[0]:>8.3f}" for value in found.values()))
    record.finish("boxybench", result, arguments, peers=("photutils", "scikit-image"))


if __name__ == "__main__":
    main()
