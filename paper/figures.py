"""Makes the figures of the paper again: `make paper`, about three minutes on two cores.

Both figures are measured when this runs; no number in them is kept. It ends with the figures that the text may quote.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

import emeraldcut
from emeraldcut.camera import measure_remnant
from emeraldcut.data import trusted
from emeraldcut.data.columns import numbers
from emeraldcut.mergers import simulate, snapshots_of, suite_file
from emeraldcut.nbody import EvolveSettings, read_snapshot
from emeraldcut.results import LEDA_A4

HERE = Path(__file__).parent
FIGURES, RUN = HERE / "figures", HERE.parent / "build" / "paper" / "emerald"
GALAXIES, VIEWS, SEED = 3000, 60, 1


def shapes() -> None:
    """Measured against true a4, and errors in units of what is stated."""
    galaxies = emeraldcut.synthesise(GALAXIES, classes=("oval", "rectangular"), snr_min=30.0, blemishes=0.0, seed=SEED)
    table = emeraldcut.measure(galaxies, zones=False)
    true, a4 = numbers(galaxies.table["truth_a4"]), numbers(table["a4"])
    error = numbers(table["a4_err"])
    known = trusted(table["flag"]) & np.isfinite(a4) & np.isfinite(true)
    pull = (a4 - true)[known] / error[known]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4))
    left.plot(true[known], a4[known], ".", markersize=2, alpha=0.5, color="tab:green")
    left.plot([-0.14, 0.02], [-0.14, 0.02], color="k", linewidth=0.8)
    left.set(xlabel="true a4", ylabel="measured a4", xlim=(-0.145, 0.02), ylim=(-0.2, 0.06))
    right.hist(pull, bins=np.linspace(-5, 5, 51), density=True, color="tab:green", alpha=0.5)
    z = np.linspace(-5, 5, 200)
    right.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color="k", linewidth=0.8)
    right.set(xlabel="(measured - true) / standard error", ylabel="density")
    save(figure, "shapes.png")
    print(f"shapes: {known.sum():,} of {GALAXIES:,} galaxies; {np.mean(np.abs(pull) < 1):.3f} within one error; "
          f"median difference {np.median((a4 - true)[known]):+.4f}")  # fmt: skip


def emerald() -> None:
    """The remnant of the suite `emerald`: its boxiest view, and a4 against axis ratio from all sides."""
    values = tomllib.loads(suite_file("emerald").read_text(encoding="utf-8")) | {"control": False}
    evolve = {name: values.pop(name) for name in ("softening_kpc", "accuracy", "output_gyr")}
    if not (RUN / "manifest.json").exists():
        settings = emeraldcut.SuiteSettings(**values)
        simulate(RUN, settings, EvolveSettings(**evolve), seed=SEED)
    (folder,) = {path.parent for path in RUN.glob("*/diagnostics.ecsv")}
    last = [read_snapshot(path) for path in snapshots_of(folder)[-4:]]
    views = measure_remnant(last, VIEWS, seed=SEED)
    images = emeraldcut.observe(last, views=VIEWS, aligned=True, snr=200.0, radius_pix=10.0, size=80, seed=SEED)
    best = int(np.nanargmin(numbers(images.table["truth_a4"])))
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    left.imshow(np.arcsinh(images.pixels[best] / 3), origin="lower", cmap="magma")
    left.set_axis_off()
    right.axhspan(*LEDA_A4, color="tab:green", alpha=0.2, label="LEDA 074886")
    right.errorbar(views["axis_ratio"], views["a4_outer"], views["a4_outer_err"], fmt="o", markersize=3, elinewidth=0.7)
    right.axhline(0, color="0.7", linewidth=0.8)
    right.set(xlabel="axis ratio", ylabel="a4 at 1.5 half-light semi-major axes")
    right.legend(frameon=False)
    save(figure, "emerald.png")
    boxy = np.mean(numbers(views["a4_outer"]) < LEDA_A4[1])
    print(f"emerald: {100 * boxy:.0f} % of {VIEWS} directions have a4 below {LEDA_A4[1]}")


def save(figure, name: str) -> None:
    FIGURES.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(FIGURES / name, dpi=150, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    shapes()
    emerald()
