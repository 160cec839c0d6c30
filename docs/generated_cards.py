"""Data cards that are made from the code: the synthetic population and the null hypothesis of `compare`."""

from __future__ import annotations

import numpy as np

from emeraldcut.galaxies import SynthesiseSettings
from emeraldcut.galaxies.population import POPULATIONS
from emeraldcut.settings import items
from emeraldcut.similarity.null import FILE, NEAREST

DRAWN = ("snr", "radius", "axis_ratio", "sersic", "psf_fwhm")


def population_card() -> str:
    """Which kinds of objects each population draws, how often, and in which ranges."""
    defaults = {item.name: item.shown_default for item in items(SynthesiseSettings)}
    lines = [
        "# Data card: the synthetic population",
        "",
        "Galaxies of exactly known shape, drawn from formulas, for training, for tests and for injection. Their variety is",
        "wide on purpose. Their frequencies are choices and say nothing about the sky.",
        "",
        "| | |",
        "|---|---|",
        "| Contents | images with label, true harmonics, axis ratio, profile, S/N and PSF; made on your machine, none is shipped |",
        "| Made by | `emeraldcut synthesise`; image i depends on the seed and on i only |",
        "| Truth | harmonics computed from the outline by integration; labels follow from the harmonics, not from the name of the kind |",
        "| Sky and telescope | Moffat PSF, neighbours, photon and sky noise, gradients, cosmic rays; on request correlated noise, JPEG, resampling, haloes, crops |",
        "| Real data in it | none, unless `train --real` or `--backgrounds` adds yours |",
        "| Not in it | tidal tails of real mergers, real dust, real crowding, every instrument's own artefacts |",
        "| Licence | BSD-3-Clause |",
        "",
        "## Ranges",
        "",
        "By default; each is a [setting](../commands.md#emeraldcut-synthesise).",
        "",
        "| quantity | smallest | largest |",
        "|---|--:|--:|",
    ]
    for name in DRAWN:
        low, high = (next(v for k, v in defaults.items() if k.startswith(f"{name}_{end}")) for end in ("min", "max"))
        lines.append(f"| {name} | {low} | {high} |")
    lines += ["", "## Kinds", "", "Percentages of each class."]
    for label in POPULATIONS["standard"]:
        kinds = list(dict.fromkeys(kind for population in POPULATIONS.values() for kind in population[label]))
        lines += ["", f"### {label}", "", "| kind | " + " | ".join(f"`{name}`" for name in POPULATIONS) + " |",
                  "|---|" + "--:|" * len(POPULATIONS)]  # fmt: skip
        for kind in kinds:
            cells = []
            for population in POPULATIONS.values():
                share = population[label].get(kind, 0) / sum(population[label].values())
                cells.append(f"{100 * share:.0f}" if share else "")
            lines.append(f"| {kind.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def null_card() -> str:
    """What the ordinary galaxies are that p-values refer to."""
    with np.load(FILE) as stored:
        where = stored["conditions"].astype(float)
    low, high = np.quantile(where, (0.01, 0.99), axis=0)
    snr, size = (np.exp([a, b]) for a, b in zip(low[:2], high[:2], strict=True))
    lines = [
        "# Data card: ordinary galaxies",
        "",
        f"{len(where):,} synthetic galaxies, none of them boxy, from which `similarity_p` follows. A p-value says how rare",
        "a similarity is among these, and no more.",
        "",
        "| | |",
        "|---|---|",
        "| Contents | harmonics of orders 1 to 8 in five rings with variances, and S/N, size over PSF, axis ratio; no pixels |",
        "| Kinds | ellipticals and lenticulars (60 %), spirals (14 %), disky discs (12 %), barred (7 %), edge-on (7 %) |",
        f"| S/N | {snr[0]:.0f} to {snr[1]:.0f} (98 % of them) |",
        f"| half-light radius over FWHM of the PSF | {size[0]:.1f} to {size[1]:.1f} (98 % of them) |",
        f"| axis ratio | {low[2]:.2f} to {high[2]:.2f} (98 % of them) |",
        f"| Used as | the {NEAREST} nearest in S/N, size and axis ratio give the p-value of one galaxy |",
        "| Made by | `python benchmarks/ordinary.py --write`, seed 7000, from the [synthetic population](population.md) |",
        "| Test | `python benchmarks/ordinary.py`: are the p-values of other ordinary galaxies uniform? See [Results](../results.md) |",
        "| Licence | BSD-3-Clause |",
        "",
        "## Known limits",
        "",
        "- Real galaxies have tides, shells, dust and neighbours that no kind here has. Their p-values are smaller than",
        "  uniform; how much is not known for your survey. Use `compare --negative IMAGES` with ordinary galaxies of your own.",
        f"- Counting {NEAREST} galaxies gives p-values down to 0.1. Smaller ones follow from a tail that is fitted to the whole",
        "  sample ([how](../concepts/similarity.md#the-p-value)).",
        "- The frequencies of the kinds are choices. Edge-on discs are the nearest to boxes, so their fraction matters most.",
    ]
    return "\n".join(lines) + "\n"
