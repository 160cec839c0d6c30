"""Does removing noise before classifying help or hurt, and at which S/N?

    python benchmarks/cleaning.py [--quick] [--seed N] [--jobs N]

The thesis classified both raw images and images with the noise removed. Here labelled galaxies of four equally frequent
classes are classified raw and cleaned, by the screening network and by a4 alone, which needs no training (oval against
rectangular: a4 < -0.03).

Keys of the last line, each list by bins of S/N:

    snr, images              edges of the bins; galaxies in each
    accuracy                 of the network for four classes, raw and by method of cleaning
    a4_accuracy              of a4 for two classes, raw and by method of cleaning
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import record
from prevalence import EQUAL

from emeraldcut.data.columns import numbers
from emeraldcut.frame import CleanSettings, clean
from emeraldcut.galaxies import synthesise
from emeraldcut.isophotes import measure
from emeraldcut.networks import CLASSES, classify
from emeraldcut.runs import map_chunks

EDGES = (10, 20, 40, 80, 160, 300)
WAYS = {
    "raw": None,
    "non-local means": CleanSettings(),
    "non-local means, weak": CleanSettings(strength=0.4),
    "wavelets": CleanSettings(method="wavelet"),
}
BOXY_A4 = -0.03


def examine(part: range, seed: int):
    """S/N and class (n,), and the class found and a4 by way of cleaning (n, ways)."""
    images = synthesise(replace(EQUAL, number=len(part)), seed=seed, start=part.start)
    images = images[np.array(images.table["scored"])]
    label = np.array([CLASSES.index(str(name)) for name in images.table["label"]])
    classes, a4 = [], []
    for way in WAYS.values():
        seen = images if way is None else clean(images, way)
        found = classify(seen)["class"]
        classes.append([CLASSES.index(str(name)) if name else -1 for name in found])
        a4.append(numbers(measure(seen)["a4"]))
    return np.array(images.table["truth_snr"], float), label, np.array(classes).T, np.array(a4).T


def main() -> None:
    parser = record.parser(__doc__, "300 galaxies instead of 6,000", seed=0)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    number = 300 if arguments.quick else 6000
    parts = (range(start, min(start + 100, number)) for start in range(0, number, 100))
    found = map_chunks(partial(examine, seed=9_000_001 + arguments.seed), parts, jobs=arguments.jobs)
    snr, label, classes, a4 = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    accuracy, boxy = {}, {}
    bins = [(snr >= low) & (snr < high) for low, high in itertools.pairwise(EDGES)]
    for k, way in enumerate(WAYS):
        accuracy[way] = [np.mean(classes[b, k] == label[b]) for b in bins]
        right = (a4[:, k] < BOXY_A4) == (label == 1)
        boxy[way] = [np.mean([right[b & (label == c)].mean() for c in (0, 1)]) for b in bins]
    figures = {"snr": EDGES, "images": [b.sum() for b in bins], "accuracy": accuracy, "a4_accuracy": boxy}
    record.finish("cleaning", figures, arguments)


if __name__ == "__main__":
    main()
