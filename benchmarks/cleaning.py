"""Does cleaning noise before classifying help or hurt, and at which S/N?

The thesis classified both raw images and images cleaned of noise. Here labelled galaxies of four classes, as frequent
as one another, are classified raw and cleaned; the classifier is the screening network, and a4 alone, which needs no
training: oval against rectangular by a4 < -0.03.

    python benchmarks/cleaning.py --jobs 2 [--quick]

Keys of the last line: snr (edges of bins), accuracy (of four classes) and a4_accuracy (of two), each raw and by method.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial

import numpy as np
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
    "nlm": CleanSettings(),
    "nlm, weak": CleanSettings(strength=0.4),
    "wavelet": CleanSettings(method="wavelet"),
}
BOXY_A4 = -0.03


def look(part: range, seed: int):
    """S/N, class, and by way of cleaning the class found and a4."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="300 galaxies instead of 6,000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    number = 300 if arguments.quick else 6000
    parts = (range(start, min(start + 100, number)) for start in range(0, number, 100))
    found = map_chunks(partial(look, seed=9_000_001 + arguments.seed), parts, jobs=arguments.jobs)
    snr, label, classes, a4 = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    accuracy, boxy = {}, {}
    bins = [(snr >= low) & (snr < high) for low, high in zip(EDGES, EDGES[1:], strict=False)]
    for k, way in enumerate(WAYS):
        accuracy[way] = [round(float(np.mean(classes[b, k] == label[b])), 3) for b in bins]
        right = (a4[:, k] < BOXY_A4) == (label == 1)
        boxy[way] = [round(float(np.mean([right[b & (label == c)].mean() for c in (0, 1)])), 3) for b in bins]
    print(json.dumps({"snr": EDGES, "images": [int(b.sum()) for b in bins], "accuracy": accuracy, "a4_accuracy": boxy}))


if __name__ == "__main__":
    main()
