"""Do shapes and probabilities depend on the unit of the counts, or on the level of the sky?

    python benchmarks/units.py [--quick] [--seed N]

Synthetic galaxies of all classes and degradations of `synthesise` are measured and classified as they are, and again
with their pixels multiplied by factors from 1e-30 to 1e30, and with a level added, in single precision. Results that
have an error are compared in its units, probabilities as such. One more time a random two thirds of the values are
moved by one step of single precision, up or down: the least that can be done to them, and 2.8 times (rms) what rounding
to another unit does. It shows which fits hang on the last bit of their pixels, not what the best code could reach.

Keys of the last line:

    galaxies                   number of galaxies
    changes                    of each factor, the level and the steps (below), with (`psf`) and without a known PSF:
        within_1e4             fraction of galaxies of which no result from all isophotes moves by more than 1e-4
        within_1e4_converged   the same of those without the flag NOT_CONVERGED
        most, most_converged   the largest difference of all, and of those
        zones_within_1e3       the fraction of which no result of zones or single isophotes (`a4_inner`, `a4_outer`,
                               `a4_slope`, `a4_extreme`) moves by more than 1e-3: they hang on fewer and fainter pixels
        zones_most             the largest of these differences
        probability            the largest difference of a class probability
        flags                  galaxies whose flags differ
    converged                  fraction of galaxies without the flag NOT_CONVERGED, without and with a known PSF
    beyond                     galaxies that are beyond 1e-4 for some factor: with their S/N, the largest difference,
                               whether their fit converged, and what the steps of rounding alone do to them
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import record
from astropy.table import Table

from emeraldcut.data import ImageSet
from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import Flag
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.isophotes import measure
from emeraldcut.networks import classify

FACTORS = (1e-30, 3.7e-12, 1e-9, 7.7, 1.3e7, 1e30)
LEVEL = 30.0  # of the sky, in counts of the images
COUNTS = {"background", "sky_sigma", "brightness"}  # have the unit of the pixels
ZONES = ("a4_inner", "a4_outer", "a4_slope", "a4_extreme")
TOLERANCE, OF_ZONES = 1e-4, 1e-3


def changed(images: ImageSet, change: Callable[[np.ndarray], np.ndarray], psf: bool) -> ImageSet:
    """The images with their pixels changed, with or without what is known of the PSF."""
    table = images.table.copy()
    if not psf:
        table.remove_columns([name for name in table.colnames if name.startswith("psf_")])
    return ImageSet([change(np.asarray(pixels, float)).astype(np.float32) for pixels in images.pixels], table)


def changes(seed: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What is done to the pixels, by name."""
    rng = np.random.default_rng(seed)
    found = {f"{factor:g}": (lambda pixels, factor=factor: factor * pixels) for factor in FACTORS}
    found["level"] = lambda pixels: pixels + LEVEL
    found["steps"] = lambda pixels: stepped(pixels.astype(np.float32), rng)
    return found


def stepped(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixels float32, of whose values a third each go to the next higher number, to the next lower, and nowhere.

    Those that are equal, as on a plateau, stay equal, as in another unit.
    """
    values, where = np.unique(pixels, return_inverse=True)
    moved = np.choose(
        rng.integers(0, 3, len(values)), (np.nextafter(values, -np.inf), values, np.nextafter(values, np.inf))
    )
    return moved.astype(np.float32)[where].reshape(pixels.shape)


def of_all_isophotes(table: Table) -> list[str]:
    """Results with an error that are not of zones."""
    return [name for name in table.colnames if f"{name}_err" in table.colnames and name not in COUNTS.union(ZONES)]


def differences(found: Table, expected: Table, names: Sequence[str]) -> np.ndarray:
    """The largest difference of a galaxy's results in their errors (n,); infinite where only one was measured."""
    largest = np.zeros(len(found))
    for name in names:
        one, other, error = numbers(found[name]), numbers(expected[name]), numbers(expected[f"{name}_err"])
        moved = np.abs(one - other) / error
        moved[np.isnan(one) & np.isnan(other)] = 0.0
        largest = np.fmax(largest, np.where(np.isnan(one) != np.isnan(other), np.inf, moved))
    return largest


def probabilities(table: Table) -> np.ndarray:
    return np.array([numbers(table[name]) for name in table.colnames if name.startswith("p_")])


def main() -> None:
    parser = record.parser(__doc__, "30 galaxies", seed=11)
    arguments = parser.parse_args()
    images = synthesise(SynthesiseSettings(number=30 if arguments.quick else 300), seed=arguments.seed)
    found: list[dict[str, object]] = []
    beyond: list[dict[str, object]] = []
    shares: list[float] = []
    for psf in (False, True):
        as_they_are = changed(images, lambda pixels: pixels, psf)
        expected, classes = measure(as_they_are), classify(as_they_are)
        converged = (np.asarray(expected["flag"]) & Flag.NOT_CONVERGED) == 0
        shares.append(converged.mean())
        worst, alone = np.zeros(len(images)), np.zeros(len(images))
        for name, change in changes(arguments.seed).items():
            others = changed(images, change, psf)
            table, their_classes = measure(others), classify(others)
            moved = differences(table, expected, of_all_isophotes(expected))
            of_zones = differences(table, expected, ZONES)
            if name == "steps":
                alone = moved
            else:
                worst = np.maximum(worst, moved)
            compared = {
                "change": name,
                "psf": psf,
                "within_1e4": np.mean(moved <= TOLERANCE),
                "within_1e4_converged": np.mean(moved[converged] <= TOLERANCE),
                "most": moved.max(),
                "most_converged": moved[converged].max(),
                "zones_within_1e3": np.mean(of_zones <= OF_ZONES),
                "zones_most": of_zones.max(),
                "probability": np.nanmax(np.abs(probabilities(their_classes) - probabilities(classes))),
                "flags": int(np.sum(np.asarray(table["flag"]) != np.asarray(expected["flag"]))),
            }
            found.append(compared)
            print(record.plain(compared), flush=True)
        beyond += [
            {
                "id": str(expected["id"][k]), "psf": psf, "snr": float(numbers(expected["snr"])[k]), "moved": worst[k],
                "converged": converged[k], "steps": alone[k],
            }
            for k in np.flatnonzero(worst > TOLERANCE)
        ]  # fmt: skip
    record.finish(
        "units", {"galaxies": len(images), "converged": shares, "changes": found, "beyond": beyond}, arguments
    )


if __name__ == "__main__":
    main()
