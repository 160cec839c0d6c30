"""Does the score order candidates at least as well as the best of its parts, and is it a probability?

    python benchmarks/ranking.py [--quick] [--seed N] [--jobs N] [--network NAME] [--real FOLDER] [--keep FOLDER]
    python benchmarks/ranking.py --write [--real FOLDER]    fits the ranking that ships with the network

Galaxies of the populations `wide` and `survey` are drawn from seeds that neither training nor fit has seen. With --real
FOLDER (efigi, galaxy_zoo and stripe82 as folders of pictures, none known to be rectangular) real galaxies are added:
those whose name has an even checksum take part in the fit, the others are only judged; E and S0 galaxies of efigi are
also warped into boxes. --keep stores what was measured, so that a fit can be repeated at once.

Keys of the last line, at 1 rectangular galaxy in 100 unless stated otherwise; [value, low, high] with 68 % intervals

    galaxies                   numbers of images by set
    recall_SET                 recall at precision 0.9 by score, and of `network`, `similarity` and `a4` (over its
                               error) alone
    gain_SET                   score less the best of these, by the same bootstrap
    calibration_SET, calibration_by_snr_SET
                               expected calibration error of the score
    counts_SET                 number of images with a score of at least 0.5; the expected number of rectangular ones
                               among them with its interval; the true number
    above_REAL                 images of a real set, and those whose score is above the threshold for precision 0.85
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import record
from astropy.table import Table, vstack
from blind import blind_galaxies
from prevalence import BOOTSTRAPS, with_interval

from emeraldcut.data import ImageSet
from emeraldcut.data.columns import numbers
from emeraldcut.frame import moved_to, warp_of
from emeraldcut.galaxies import synthesise
from emeraldcut.images import open_images
from emeraldcut.images.readers import keeping_colours
from emeraldcut.networks import CLASSES, load_network
from emeraldcut.networks.calibration import SNR_BINS, number_true, priors, snr_bin
from emeraldcut.networks.train import SURVEY, WIDE
from emeraldcut.runs import map_chunks
from emeraldcut.screening.ranking import (
    AT,
    PRECISIONS,
    TERMS,
    Ranking,
    Rankings,
    fit_ranking,
    probability,
    read_rankings,
    threshold_for,
    write_rankings,
)
from emeraldcut.screening.screen import ScreenSettings, examine_with_bound
from emeraldcut.similarity import prepare_references, read_references
from emeraldcut.tables import read_table

RARE = (6, 3, 1, 7)  # relative numbers of oval, rectangular, obround and other galaxies that are drawn
WIDE_RARE, SURVEY_RARE = replace(WIDE, exposures=1, weights=RARE), replace(SURVEY, exposures=1, weights=RARE)
SETS = {"wide": WIDE_RARE, "survey": SURVEY_RARE}
BLIND = "blind"  # drawn by the generator of `blind`, and only judged
FIT_SEED = 9_100_000
REAL = ("efigi", "galaxy_zoo", "stripe82")
BOXES = (3.0, 6.0)  # exponents of the superellipses that real galaxies are warped into
KEPT = ["id", "set", "label", "kind", "truth_snr", "snr", "radius_pix", "psf_fwhm_pix", "axis_ratio", "a4", "a4_err"]
KEPT += ["a6", "a6_err", "a8", "a8_err", "similarity", "similarity_p", "residual", "typical", "saturated", "edge_width"]
KEPT += [
    "spikes",
    "edge_pix",
    "grain_pix",
    "sky_structure",
    "band_agreement",
    "flag",
    *(f"p_{name}" for name in CLASSES),
]
CHUNK = 300
OF_REAL = 0.3  # share of the real galaxies among the negatives of the fit
OF_WARPED = 0.3  # share of the warped ones among its rectangular galaxies


def both_passes(images: ImageSet, network: str, name: str) -> Table:
    """The rows of the careful pass, and for every third set those of the first, with the columns KEPT and `careful`."""
    settings, parts = ScreenSettings(network=network, prevalence=AT), []
    references = prepare_references(read_references(settings.reference))
    for careful in (True, False) if zlib.crc32(str(images.table["id"][0]).encode()) % 3 == 0 else (True,):
        table, _ = examine_with_bound(images, settings, references=references, careful=careful)
        table["set"] = [name] * len(table)
        part = Table({"careful": np.full(len(table), careful)})
        for column in KEPT:
            if column in ("id", "set", "label", "kind"):
                given = table[column] if column in table.colnames else [""] * len(table)
                part[column] = np.array([str(value) for value in given])
            else:
                given = numbers(table[column]) if column in table.colnames else np.full(len(table), np.nan)
                part[column] = given.astype(np.int64 if column == "flag" else np.float64)
        part["scored"] = np.array(table["scored"], bool) if "scored" in table.colnames else np.ones(len(table), bool)
        parts.append(part)
    return vstack(parts)


def drawn(part: range, settings, seed: int, network: str, name: str) -> Table:
    images = synthesise(replace(settings, number=len(part)), seed=seed, start=part.start)
    for row in range(0, len(images), 4):
        images.table["psf_fwhm_pix"][row] = np.nan  # not known for a quarter
    return both_passes(images, network, name)


def blind(part: range, seed: int, network: str) -> Table:
    return both_passes(blind_galaxies(part, seed), network, BLIND)


def real(images: ImageSet, network: str, name: str) -> Table:
    return both_passes(images, network, name)


def boxes(images: ImageSet, network: str, types: dict[str, float]) -> Table:
    """E and S0 galaxies warped into boxes, none left out for its flags."""
    pixels, names, colours = [], [], []
    for number, (name, image) in enumerate(zip(images.table["id"], images.pixels, strict=True)):
        short = str(name).split("/")[-1].removesuffix(".jpg")
        if not -6 <= types.get(short, 99) <= -1:
            continue
        rng = np.random.default_rng([zlib.crc32(short.encode()), number])
        places = warp_of(np.asarray(image, np.float32), rng.uniform(*BOXES), whatever=True)
        if places is not None:
            pixels.append(moved_to(np.asarray(image, np.float32), places))
            colour = images.colours[number] if images.colours else None
            colours.append(None if colour is None else in_colour(colour, places))
            names.append(str(name))
    if not pixels:
        return Table()
    table = Table({"id": names, "label": ["rectangular"] * len(names), "stretched": [True] * len(names)})
    return both_passes(ImageSet(pixels, table, colours=colours), network, "warped")


def in_colour(colour: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A colour picture (ny, nx, 3) uint8 whose pixels take the light from `places` (2, ny, nx)."""
    bands = [moved_to(colour[..., band].astype(np.float32), places) for band in range(3)]
    return np.round(np.stack(bands, axis=-1)).astype(np.uint8)


def in_colours(folder: Path) -> Callable[[], Iterator[ImageSet]]:
    """What reads the images of a folder, chunk by chunk, with the colours of pictures."""

    def chunks() -> Iterator[ImageSet]:
        with keeping_colours(of_bands=False):
            yield from open_images(folder).chunks()

    return chunks


def gather(arguments, number: int, seed: int) -> Table:
    """All rows, of drawn and of real galaxies."""
    tables = []
    for k, (name, settings) in enumerate(SETS.items()):
        stage = partial(drawn, settings=settings, seed=seed + k, network=arguments.network, name=name)
        chunks = (range(start, min(start + CHUNK, number)) for start in range(0, number, CHUNK))
        tables += list(map_chunks(stage, chunks, jobs=arguments.jobs))
    if not arguments.write:  # it takes no part in the fit
        stage = partial(blind, seed=seed, network=arguments.network)
        chunks = (range(start, min(start + CHUNK, number)) for start in range(0, number, CHUNK))
        tables += list(map_chunks(stage, chunks, jobs=arguments.jobs))
    for name in REAL if arguments.real else ():
        folder = arguments.real / name
        source = in_colours(folder / "images" if (folder / "images").is_dir() else folder)
        stage = partial(real, network=arguments.network, name=name)
        tables += list(map_chunks(stage, source(), jobs=arguments.jobs))
        if name == "efigi":
            labels = read_table(folder / "labels.csv")
            types = {str(row[0]).removesuffix(".jpg"): float(row["t"]) for row in labels}
            stage = partial(boxes, network=arguments.network, types=types)
            tables += list(map_chunks(stage, source(), jobs=arguments.jobs))
    table = vstack([t for t in tables if len(t)])
    return table[table["scored"] & np.isfinite(table["p_rectangular"])]


def is_even(table: Table) -> np.ndarray:
    """Whether each name (n,) has an even checksum."""
    return np.array([zlib.crc32(str(name).split("/")[-1].encode()) % 2 == 0 for name in table["id"]])


def survey_weights(table: Table, prevalence: float, of_real: float, of_warped: float) -> np.ndarray:
    """Weights (n,) with which the rows are a survey of this prevalence; they add up to 1."""
    label, kind = np.array(table["label"], str), np.array(table["set"], str)
    weights, fractions = np.zeros(len(table)), dict(zip(CLASSES, priors(CLASSES, prevalence), strict=True))
    is_real = np.isin(kind, REAL)
    warped_ones = kind == "warped"
    of_real, of_warped = of_real * is_real.any(), of_warped * warped_ones.any()
    for name, fraction in fractions.items():
        own = (label == name) & ~is_real & ~warped_ones
        share = 1 - (of_warped if name == "rectangular" else of_real if name in ("oval", "other") else 0)
        weights[own] = fraction * share / max(own.sum(), 1)
    weights[is_real] = (fractions["oval"] + fractions["other"]) * of_real / max(is_real.sum(), 1)
    weights[warped_ones] = prevalence * of_warped / max(warped_ones.sum(), 1)
    return weights / weights.sum()


def ranking_of(part: Table, *, careful: bool) -> Ranking:
    """The ranking that is fitted to these rows as to a survey."""
    rectangular = np.array(part["label"], str) == "rectangular"
    weights = survey_weights(part, AT, OF_REAL, OF_WARPED)
    weights *= rectangular.sum() / weights[rectangular].sum()
    return fit_ranking(part, rectangular, weights, careful=careful)


def fitted(table: Table) -> Rankings:
    """The rankings of both passes, fitted to the even half, with thresholds from scores that no fit has seen.

    For the thresholds the odd half is fitted too, and each half is judged by the fit to the other.
    """
    half, was_careful = is_even(table), np.array(table["careful"], bool)
    first, careful = (ranking_of(table[half & (was_careful == passed)], careful=passed) for passed in (False, True))
    other = ranking_of(table[~half & was_careful], careful=True)
    judged = vstack([table[~half & was_careful], table[half & was_careful]])
    rectangular = np.array(judged["label"], str) == "rectangular"
    thresholds: dict[str, dict[str, float]] = {}
    for prevalence in (0.01, 0.001):
        weights = survey_weights(judged, prevalence, OF_REAL, OF_WARPED)
        odds = np.where(is_even(judged), at_prevalence(other, judged, prevalence),
                        at_prevalence(careful, judged, prevalence))  # fmt: skip
        limits = {f"{p:g}": threshold_for(probability(odds), rectangular, weights, p) for p in PRECISIONS}
        thresholds[f"{prevalence:g}"] = {name: round(v, 5) for name, v in limits.items() if v is not None}
    sets, names = np.array(table["set"][half], str), sorted(set(np.array(table["set"], str)))
    facts = {"galaxies": {name: int(np.sum(sets == name)) for name in names}}
    return Rankings(first, careful, thresholds, facts)


def at_prevalence(ranking, table: Table, prevalence: float) -> np.ndarray:
    """The log odds (n,) at another prevalence than AT, for which the probabilities of the table are."""
    shifted = table.copy()
    p = np.stack([table[f"p_{name}"] for name in CLASSES], axis=1) * priors(CLASSES, prevalence) / priors(CLASSES, AT)
    for k, name in enumerate(CLASSES):
        shifted[f"p_{name}"] = p[:, k] / p.sum(axis=1)
    return ranking.log_odds(shifted, prevalence)


# --- figures


def recall_at(score: np.ndarray, rectangular: np.ndarray, weights: np.ndarray, precision: float) -> float:
    limit = threshold_for(score, rectangular, weights, precision)
    if limit is None:
        return 0.0
    return float(weights[rectangular & (score >= limit)].sum() / weights[rectangular].sum())


def calibration_error(score: np.ndarray, rectangular: np.ndarray, weights: np.ndarray) -> float:
    """Expected calibration error of a probability (n,), in 15 bins of equal width."""
    bins = np.minimum((score * 15).astype(int), 14)
    gap = np.bincount(bins, weights=weights * (rectangular - score), minlength=15)
    return float(np.abs(gap).sum() / weights.sum())


def judge(table: Table, ranking, name: str, seed: int) -> dict:
    """Recall of the score and of its parts, calibration and counts, in a survey of these rows."""
    rectangular = np.array(table["label"], str) == "rectangular"
    weights = survey_weights(table, AT, 1.0 if name == "real" else 0.0, 1.0 if name == "real" else 0.0)
    kept = weights > 0
    table, rectangular, weights = table[kept], rectangular[kept], weights[kept]
    score = probability(ranking.log_odds(table, AT))
    scores = {"score": score, "network": np.array(table["p_rectangular"]),
              "similarity": np.nan_to_num(table["similarity"], nan=-9.0),
              "a4": np.nan_to_num(-np.array(table["a4"]) / np.array(table["a4_err"]), nan=-99.0)}  # fmt: skip
    rng, n = np.random.default_rng(seed), len(table)
    samples = [np.arange(n), *(rng.integers(0, n, n) for _ in range(BOOTSTRAPS // 2))]
    found = {
        k: np.array([recall_at(s[r], rectangular[r], weights[r], 0.9) for r in samples]) for k, s in scores.items()
    }
    best = max((found[k] for k in scores if k != "score"), key=lambda values: values[0])
    bins = snr_bin(np.array(table["snr"]))
    called = score >= 0.5
    survey = rng.choice(n, 100_000, p=weights)  # a survey drawn from these rows
    mine = survey[called[survey]]
    return {
        f"recall_{name}": {k: with_interval(values) for k, values in found.items()},
        f"gain_{name}": with_interval(found["score"] - best),
        f"calibration_{name}": calibration_error(score, rectangular, weights),
        f"calibration_by_snr_{name}": [
            calibration_error(score[bins == k], rectangular[bins == k], weights[bins == k])
            for k in range(len(SNR_BINS) - 1) if (bins == k).any()
        ],
        f"counts_{name}": {"found": len(mine), "expected": number_true(score[mine])[0],
                           "true": int(rectangular[mine].sum())},
    }  # fmt: skip


def main() -> None:
    parser = record.parser(__doc__, "1,200 galaxies of each population", seed=9_200_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--number", type=int, default=20_000, help="galaxies of each population")
    parser.add_argument("--network", default="screener")
    parser.add_argument("--real", type=Path, help="folder with real galaxies")
    parser.add_argument("--keep", type=Path, help="file .parquet for what was measured; read if it is there")
    parser.add_argument("--write", action="store_true", help="fit the ranking and write it beside the network")
    arguments = parser.parse_args()
    number = 1200 if arguments.quick else arguments.number
    seed = FIT_SEED if arguments.write else arguments.seed
    if arguments.keep and arguments.keep.exists():
        table = read_table(arguments.keep)
    else:
        table = gather(arguments, number, seed)
        if arguments.keep:
            table.write(arguments.keep)
    folder = load_network(arguments.network).folder
    if arguments.write:
        write_rankings(fitted(table), folder)
        print(f"wrote the ranking beside the network in {folder}")
        return
    rankings = read_rankings(folder)
    judged = table[np.array(table["careful"], bool)]
    is_drawn = np.isin(np.array(judged["set"], str), [*SETS, BLIND])
    judged = judged[is_drawn | ~is_even(judged)]
    kinds = np.array(judged["set"], str)
    result: dict = {"galaxies": {name: int(np.sum(kinds == name)) for name in sorted(set(kinds))},
                    "terms": len(TERMS)}  # fmt: skip
    for name in (*SETS, BLIND):
        result |= judge(judged[kinds == name], rankings.careful, name, arguments.seed)
    if arguments.real:
        result |= judge(judged[~np.isin(kinds, [*SETS, BLIND])], rankings.careful, "real", arguments.seed)
        limit = rankings.threshold(0.85, AT)
        for name in REAL:
            score = probability(rankings.careful.log_odds(judged[kinds == name], AT))
            above = int(np.sum(score >= limit))
            result[f"above_{name}"] = [len(score), above, above / len(score)]
    record.finish("ranking", result, arguments)


if __name__ == "__main__":
    main()
