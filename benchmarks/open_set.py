"""Does the network notice kinds of objects that it was not trained on?

    python benchmarks/open_set.py [--quick] [--seed N] [--jobs N] [--without KINDS] [--number N] [--folder DIR]

Trains the screening network as shipped, but without two kinds of confusers. Then these two kinds and the three shape
classes are drawn anew (S/N 60 to 300), and three scores are asked to tell the new kinds from the shapes: 1 - p_other,
`typical` (how common the features of an image are), and their product. The first is the recommended one, because most
new kinds are called `other`. A full run takes about an hour; with --folder it can be resumed by the same command.

Keys of the last line (area: under the receiver operating characteristic):

    training             galaxies that the network was trained on
    auroc, auroc_typical, auroc_both
                         area for 1 - p_other, for `typical` and for their product
    by_kind, by_class    area for 1 - p_other by left-out kind, and against one shape class at a time
    flagged              fractions with the flag UNUSUAL, of left-out kinds and of shapes
    left_out, shapes     numbers of galaxies
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import record
from prevalence import CHUNK
from sklearn.metrics import roc_auc_score

from emeraldcut.data import Flag
from emeraldcut.data.columns import numbers
from emeraldcut.galaxies import synthesise
from emeraldcut.networks import ClassifySettings, TrainSettings, classify, train
from emeraldcut.networks.train import WIDE
from emeraldcut.runs import map_chunks

FRESH = replace(WIDE, exposures=1, snr_min=60.0)


def examine(part: range, seed: int, network: str, without: tuple[str, ...]):
    """Kind or class, `typical`, 1 - p_other and flag of the shapes and of the left-out kinds of one chunk."""
    images = synthesise(replace(FRESH, number=len(part)), seed=seed, start=part.start)
    label, kind = (np.array(images.table[name], dtype=str) for name in ("label", "kind"))
    images = images[np.array(images.table["scored"]) & ((label != "other") | np.isin(kind, without))]
    table = classify(images, ClassifySettings(network=network))
    flagged = np.array(table["flag"]) & int(Flag.UNUSUAL) > 0
    label = np.array(table["label"], dtype=str)
    return (
        np.where(label == "other", np.array(table["kind"], dtype=str), label),
        numbers(table["typical"], 0.0),
        1 - numbers(table["p_other"], 1.0),
        flagged,
    )


def main() -> None:
    parser = record.parser(__doc__, "a network trained on 1,200 galaxies", seed=0)
    parser.add_argument("--without", default="spiral,close_pair", help="kinds that are left out of the training")
    parser.add_argument("--number", type=int, default=330_000, help="galaxies to train on")
    parser.add_argument("--folder", help="where to keep the training set and the network")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    without = tuple(arguments.without.split(","))
    settings, fresh = TrainSettings(without=without, number=arguments.number), 24_000
    if arguments.quick:
        settings, fresh = replace(settings, number=1200), 2000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary)
        network = str(folder / "network")
        if not (folder / "network" / "card.json").exists():
            train(None, settings, seed=arguments.seed, jobs=arguments.jobs, folder=folder).save(network)
        go = partial(examine, seed=8_000_001 + arguments.seed, network=network, without=without)
        parts = (range(start, min(start + CHUNK, fresh)) for start in range(0, fresh, CHUNK))
        found = list(map_chunks(go, parts, jobs=arguments.jobs))
    kind, typical, shape, flagged = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    new = np.isin(kind, without)

    def auroc(score: np.ndarray, chosen: np.ndarray | bool = True) -> float:
        rows = np.broadcast_to(chosen, new.shape)
        return float(roc_auc_score(new[rows], -score[rows]))

    result = {
        "training": settings.number,
        "auroc": auroc(shape),
        "auroc_typical": auroc(typical),
        "auroc_both": auroc(shape * typical),
        "by_kind": {name: auroc(shape, ~new | (kind == name)) for name in without},
        "by_class": {name: auroc(shape, new | (kind == name)) for name in sorted(set(kind[~new]))},
        "flagged": [flagged[new].mean(), flagged[~new].mean()],
        "left_out": new.sum(),
        "shapes": (~new).sum(),
    }
    record.finish("open_set", result, arguments, peers=("keras", "scikit-learn"))


if __name__ == "__main__":
    main()
