"""Are the p-values of `compare` right: are those of ordinary galaxies uniform?

    python benchmarks/ordinary.py [--quick] [--seed N] [--number N] [--jobs N] [--write]

Draws ordinary galaxies (elliptical, lenticular, disky, edge-on, barred and spiral ones; S/N 10 to 400), compares them
with LEDA 074886 and with a plain box, and tests their p-values against a uniform distribution (Kolmogorov-Smirnov),
overall and in bins of S/N. With --write it makes the file of ordinary galaxies that ships with the package instead
(seed 7000). Keys of the last line, for the references `leda074886` and `box`:

    galaxies                   ordinary galaxies that were compared
    ks_p_*, ks_p_*_snr_*       p-value of the Kolmogorov-Smirnov test, overall and by S/N
    fraction_below_LIMIT_*     fraction of galaxies with a p-value below 0.1, 0.01 and 0.001
    counts_*                   for all and for four bins of S/N, and for p-values below 0.01 to 0.00001, the number of
                               galaxies and the number that is expected
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import record
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

# Six in ten are labelled oval, the others are discs, see `population.ORDINARY_KINDS`.
ORDINARY = SynthesiseSettings(
    population="ordinary", classes=("oval", "other"), weights=(0.6, 0.4), exposures=2, snr_min=10, snr_max=400,
    neighbours=1.0, blemishes=0.0, psf_fwhm_min_pix=1.2, axis_ratio_min=0.3,
)  # fmt: skip
CHUNK = 2000
LIMITS = (0.01, 0.001, 1e-4, 1e-5)
SNR_BINS = ((1, 10_000), (1, 20), (20, 50), (50, 120), (120, 10_000))


def ordinary_images(number: int, seed: int, start: int = 0) -> ImageSet:
    """Images `start` to `start + number` of a series of ordinary galaxies."""
    return synthesise(replace(ORDINARY, number=number), seed=seed, start=start)


def observe(numbers: range, seed: int) -> Ordinary:
    """Deviations and conditions of the images in which a galaxy is found."""
    images = ordinary_images(len(numbers), seed, numbers.start)
    frames = frame_galaxies(images)
    found = ~np.ma.getmaskarray(frames.table["snr"])
    return Ordinary(Deviations.of(frames, known_psf(images))[found], conditions(images, frames)[found])


def counts(p: np.ndarray) -> dict[str, list[float]]:
    """The number of p-values (n,) below each limit, and the number that is expected."""
    return {f"{limit:g}": [int(np.sum(p < limit)), limit * len(p)] for limit in LIMITS}


def main() -> None:
    parser = record.parser(__doc__, "2,000 images instead of 40,000")
    parser.add_argument("--number", type=int, help="images drawn, two of each galaxy")
    parser.add_argument("--seed", type=int, help="default 8000; 7000 with --write")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write the file that ships with the package")
    arguments = parser.parse_args()
    number = arguments.number or (40_000 if arguments.write or not arguments.quick else 2_000)
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
        print(f"wrote {FILE} with {len(terms)} galaxies of seed {seed}")
        return
    box = draw_galaxy(shapes.superellipse(0.65, 3.5), Sersic(1.0), size=128, radius_pix=14).astype(np.float32)
    figures: dict = {"galaxies": len(terms)}
    for name, images in (
        ("leda074886", read_references(("leda074886",))),
        ("box", ImageSet([box], Table({"id": ["box"]}))),
    ):
        references = prepare_references(images)
        p = references.null.p_values(references.score(Deviations(terms, variances, damping))[1], where)
        figures[f"ks_p_{name}"] = float(kstest(p, "uniform").pvalue)
        for limit in (0.1, 0.01, 0.001):
            figures[f"fraction_below_{limit}_{name}"] = float(np.mean(p < limit))
        for low, high in ((10, 30), (30, 100), (100, 400)):
            within = (where[:, 0] > np.log(low)) & (where[:, 0] <= np.log(high))
            figures[f"ks_p_{name}_snr_{low}_{high}"] = float(kstest(p[within], "uniform").pvalue)
        figures[f"counts_{name}"] = {
            f"{low} to {high}": counts(p[(where[:, 0] > np.log(low)) & (where[:, 0] <= np.log(high))])
            for low, high in SNR_BINS
        }
    record.finish("ordinary", figures, arguments)


if __name__ == "__main__":
    main()
