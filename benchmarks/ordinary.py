"""The null hypothesis of `compare`: are the p-values of ordinary galaxies uniform?

    python benchmarks/ordinary.py [--quick] [--number N] [--seed N] [--jobs N] [--write]

Draws ordinary galaxies (ellipticals, lenticulars, disky, edge-on, barred and spiral ones; S/N 10 to 400), compares
them with LEDA 074886 and with a plain box, and tests their p-values against a uniform distribution (Kolmogorov-
Smirnov), on the whole and in bins of S/N. With --write it makes the file of ordinary galaxies that ships with the
package instead (seed 7000). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from functools import partial

import numpy as np
from astropy.table import Table
from scipy.stats import kstest

from emeraldcut.data import ImageSet
from emeraldcut.frame import frame_galaxies, known_psf
from emeraldcut.galaxies import SynthesiseSettings, draw_galaxy, shapes, synthesise
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.runs import map_chunks
from emeraldcut.similarity import prepare_references, read_references
from emeraldcut.similarity.framed import Deviations
from emeraldcut.similarity.null import FILE, Ordinary, conditions

# Shares of kinds among ordinary galaxies; all labelled oval are one.
KINDS = {"oval": 0.6, "disky": 0.12, "spiral": 0.14, "barred": 0.07, "edge_on_disc": 0.07}
CHUNK = 2000


def ordinary_images(number: int, seed: int, start: int = 0) -> ImageSet:
    """The ordinary ones, about a third, among `number` synthetic images of a series that goes on from `start`."""
    settings = SynthesiseSettings(
        number=number, classes=("oval", "other"), weights=(0.25, 0.75), snr_min=10, snr_max=400, neighbours=1.0,
        blemishes=0.0, psf_fwhm_min_pix=1.2, axis_ratio_min=0.3,
    )  # fmt: skip
    images = synthesise(settings, seed=seed, start=start)
    rng = np.random.default_rng([seed, start])
    kind = np.where(images.table["label"] == "oval", "oval", np.asarray(images.table["kind"], dtype=object))
    most = min(np.mean(kind == name) / share for name, share in KINDS.items())
    keep = np.zeros(len(images), bool)
    for name, share in KINDS.items():
        rows = np.nonzero(kind == name)[0]
        keep[rng.permutation(rows)[: round(share * most * len(images))]] = True
    return images[keep]


def observe(numbers: range, seed: int) -> Ordinary:
    """Deviations and conditions of those in which a galaxy is found."""
    images = ordinary_images(len(numbers), seed, numbers.start)
    frames = frame_galaxies(images)
    found = ~np.ma.getmaskarray(frames.table["snr"])
    return Ordinary(Deviations.of(frames, known_psf(images))[found], conditions(images, frames)[found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few galaxies, within 50 seconds")
    parser.add_argument("--number", type=int, help="images drawn, of which about a third is of ordinary kinds")
    parser.add_argument("--seed", type=int, help="default 8000; 7000 with --write")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write the file that ships with the package")
    arguments = parser.parse_args()
    number = arguments.number or (60_000 if arguments.write else 4_000 if arguments.quick else 15_000)
    seed = arguments.seed if arguments.seed is not None else (7_000 if arguments.write else 8_000)
    chunks = [range(i, min(i + CHUNK, number)) for i in range(0, number, CHUNK)]
    parts = list(map_chunks(partial(observe, seed=seed), chunks, jobs=arguments.jobs))
    terms, variances, damping = (
        np.concatenate([getattr(part.deviations, name) for part in parts]) for name in ("terms", "variances", "damping")
    )
    where = np.concatenate([part.conditions for part in parts])
    if arguments.write:
        stored = {"terms": terms, "variances": variances, "conditions": where}
        stored = {name: values.astype(np.float16) for name, values in stored.items()}
        np.savez_compressed(FILE, **stored, seed=seed, number=number)
        print(json.dumps({"galaxies": len(terms), "seed": seed}))
        return
    box = draw_galaxy(shapes.superellipse(0.65, 3.5), Sersic(1.0), size=128, radius_pix=14).astype(np.float32)
    figures: dict[str, float] = {"galaxies": len(terms)}
    for name, images in (
        ("leda074886", read_references(("leda074886",))),
        ("box", ImageSet([box], Table({"id": ["box"]}))),
    ):
        references = prepare_references(images)
        p = references.null.p_values(references.score(Deviations(terms, variances, damping))[0], where)
        figures[f"ks_p_{name}"] = float(kstest(p, "uniform").pvalue)
        for limit in (0.1, 0.01, 0.001):
            figures[f"share_below_{limit}_{name}"] = float(np.mean(p < limit))
        for low, high in ((10, 30), (30, 100), (100, 400)):
            within = (where[:, 0] > np.log(low)) & (where[:, 0] <= np.log(high))
            figures[f"ks_p_{name}_snr_{low}_{high}"] = float(kstest(p[within], "uniform").pvalue)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
