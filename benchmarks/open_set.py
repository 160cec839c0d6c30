"""Does the network say so when it sees what it was never trained on?

Trains the screening network as it ships but without two kinds of confusers, draws both and the three shape classes anew
(S/N 60 to 300), and asks how well scores separate the two kinds from the shapes: 1 - p_other (a shape),
`typical` (how usual an image's features are), and their product. The first is the one to go by: what is new is mostly
called `other`. With `--folder` what is done is kept there, and the same command goes on from it.

    python benchmarks/open_set.py [--without spiral,close_pair] [--number 330000] [--folder F] --jobs 2      1 hour
    python benchmarks/open_set.py --quick

Keys of the last line: auroc (of 1 - p_other), auroc_typical, auroc_both, by_kind, by_class (of 1 - p_other), flagged
    (share with the flag UNUSUAL of left-out kinds and of shapes), left_out, shapes
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from prevalence import CHUNK
from sklearn.metrics import roc_auc_score

from emeraldcut.data import Flag
from emeraldcut.data.columns import numbers
from emeraldcut.galaxies import synthesise
from emeraldcut.networks import ClassifySettings, TrainSettings, classify, train
from emeraldcut.networks.train import WIDE
from emeraldcut.runs import map_chunks

FRESH = replace(WIDE, exposures=1, snr_min=60.0)


def look(part: range, seed: int, network: str, without: tuple[str, ...]):
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a network of 1,200 galaxies")
    parser.add_argument("--without", default="spiral,close_pair")
    parser.add_argument("--number", type=int, default=330_000, help="galaxies to train on")
    parser.add_argument("--folder", help="where to keep what is done")
    parser.add_argument("--seed", type=int, default=0)
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
        go = partial(look, seed=8_000_001 + arguments.seed, network=network, without=without)
        parts = (range(start, min(start + CHUNK, fresh)) for start in range(0, fresh, CHUNK))
        found = list(map_chunks(go, parts, jobs=arguments.jobs))
    kind, typical, shape, flagged = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    new = np.isin(kind, without)

    def auroc(score: np.ndarray, chosen: np.ndarray | bool = True) -> float:
        rows = np.broadcast_to(chosen, new.shape)
        return float(roc_auc_score(new[rows], -score[rows]))

    result = {
        "auroc": auroc(shape),
        "auroc_typical": auroc(typical),
        "auroc_both": auroc(shape * typical),
        "by_kind": {name: round(auroc(shape, ~new | (kind == name)), 4) for name in without},
        "by_class": {name: round(auroc(shape, new | (kind == name)), 4) for name in sorted(set(kind[~new]))},
        "flagged": [round(float(flagged[new].mean()), 4), round(float(flagged[~new].mean()), 5)],
        "left_out": int(new.sum()),
        "shapes": int((~new).sum()),
    }
    print(json.dumps({name: round(v, 4) if isinstance(v, float) else v for name, v in result.items()}))


if __name__ == "__main__":
    main()
