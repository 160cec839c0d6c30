"""Do mergers of ours make what was published? Shapes of remnants from all sides, from finished suites.

    emeraldcut simulate published_facts_1to1 --seed 2003 -o 1to1
    emeraldcut simulate published_facts_3to1 --seed 2003 -o 3to1
    emeraldcut simulate published_facts_gas --seed 2003 -o gas
    emeraldcut simulate published_facts_lattice --seed 2003 -o lattice
    python benchmarks/published_facts.py 1to1 3to1 gas lattice [--views N] [--stack N] [--images] [--figure FILE]
        [--quick]

What was published: half of the projections of dry 1:1 remnants are boxy, 4 of 12 orientations from all sides, 80 % of
these remnants rotate slowly, (v/sigma)* < 0.4, and 3:1 and 4:1 remnants are fast and in nine of ten views disky (Naab &
Burkert 2003, ApJ 597, 893); a tenth of the discs as gas removes strong boxiness (Naab, Jesseit & Burkert 2006, MNRAS
372, 839).

The suite `published_facts_lattice` has their own spins. With --images a4/a is also measured in their way (Naab,
Burkert & Hernquist 1999, ApJ 523, L133): on images of 128 x 128 pixels over 10 scale lengths, smoothed by a Gaussian of
1.5 pixels, from isophotes (fitted by photutils) between a quarter of the spatial half-light radius and the whole of it:
their mean a4/a, or that of a strong peak; how strong is not said, so here both: the mean, and the farthest from 0.

The last snapshots of each merger, 0.1 Gyr apart, are laid on top of each other. a4/a is the mean between 0.24 and 1.12
half-light semi-major axes of the projected stars, see `mergers.look_at`. Mergers of unfinished suites are taken as far
as they are finished; --quick takes few views. The last line is one JSON object, of each group of mergers (1:1, 3:1, 1:1
with gas, those of the lattice, and the galaxies alone):

    mergers, views
    boxy, boxy_low, boxy_high   share of views with a4 < 0, and its 95 % interval, by a bootstrap that draws mergers
    disky_sure, boxy_sure       share of views with a4 more than two standard errors above, below 0
    strongly_boxy, strongly_boxy_low, strongly_boxy_high
                                share of views with a4 < -0.01
    boxy_from_all_sides         mergers of which every view has a4 < 0
    never_disky                 mergers of which no view has an a4 more than two standard errors above 0
    a4, a4_err                  median of the views; mean standard error of one
    outer_boxy                  share of views with a4 < 0 at 1.5 half-light semi-major axes
    rotation                    median (v/sigma)*: rotation along the major axis over central dispersion, in units of
                                that of an oblate body flattened by rotation, sqrt(e / (1 - e)) with e = 1 - axis ratio
    slow                        share of views in which it is below 0.4
    image_boxy, peak_boxy, ...  with --images: share of views with a4 < 0 as they measured it, mean and peak; intervals
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table, hstack, vstack
from scipy.ndimage import gaussian_filter

from emeraldcut.data import Snapshot, read_manifest, read_snapshot
from emeraldcut.data.run import MANIFEST
from emeraldcut.mergers import PROGENITORS, look_at, snapshots_of
from emeraldcut.mergers.camera import rotation
from emeraldcut.mergers.outline import outline
from emeraldcut.mergers.pixels import count, project
from emeraldcut.mergers.stars import gather
from emeraldcut.mergers.suite import BEGUN
from emeraldcut.report.figures.palette import EMERALD, GREY
from emeraldcut.report.figures.style import new_figure, save_figure

SURE, STRONG, SLOW = 2.0, -0.01, 0.4
BOOTSTRAPS = 10_000
WAYS = ("image", "peak")  # in which they measured a4
SIDE, SMOOTHING = 128, 1.5  # of their images, in pixels
PIXEL_KPC = 10 * PROGENITORS["naab_burkert"].disc_scale_kpc / SIDE


def group_of(row: dict) -> str:
    """The group of a run, from its row of `suite.ecsv`."""
    if row["mass_ratio"] is None:
        return "alone"
    return f"{row['mass_ratio']:g}:1" + (" with gas" if row["gas_fraction"] else "")


def isophotes(seen: np.ndarray, light: np.ndarray, least_kpc: float, most_kpc: float) -> np.ndarray:
    """a4/a (k,) of isophotes with semi-major axes between two, of an image in their way of stars at `seen` (2, n)."""
    from photutils.isophote import Ellipse, EllipseGeometry

    image = gaussian_filter(count(seen, light, (SIDE, SIDE), 1 / PIXEL_KPC)[1].astype(float), SMOOTHING)
    first, middle = outline(seen, light, 0.8), (SIDE - 1) / 2
    geometry = EllipseGeometry(
        middle + first.x / PIXEL_KPC, middle + first.y / PIXEL_KPC, 0.8 * first.radius / PIXEL_KPC,
        min(1 - first.axis_ratio, 0.9), np.radians(first.position_angle_deg),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Ellipse(image, geometry=geometry).fit_image(minsma=least_kpc / PIXEL_KPC, maxsma=most_kpc / PIXEL_KPC)
    good = [one for one in found if least_kpc < one.sma * PIXEL_KPC < most_kpc and one.stop_code == 0]
    a4 = np.array([one.b4 for one in good], float)  # None, where there is none, becomes NaN
    return a4[np.isfinite(a4)]


def as_published(snapshots: Sequence[Snapshot], views: Table) -> Table:
    """`image_a4` and `peak_a4` of views of `look_at`: a4/a in their way, mean and peak; NaN where there is none."""
    stars, rows = gather(snapshots, None, aligned=True), []
    for view in views:
        seen = project(stars.position, rotation(view["view_theta_deg"], view["view_phi_deg"]))
        a4 = isophotes(seen, stars.light, 0.25 * stars.half_light_kpc, stars.half_light_kpc)
        rows.append((a4.mean(), a4[np.argmax(np.abs(a4))]) if len(a4) else (np.nan, np.nan))
    return Table(rows=rows, names=("image_a4", "peak_a4"))


def look(folder: Path, views: int, stack: int, images: bool) -> Table:
    """The views of all finished runs of a suite, with `group` and `merger`."""
    tables, begun = [], json.loads((folder / BEGUN).read_text())
    spins = " on a lattice" if begun["settings"]["grid"] == "lattice" else ""
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        row = read_manifest(manifest.parent)["row"]
        if row["mass_ratio"] is not None and row["merged_gyr"] is None:
            print(f"{manifest.parent.name} has not merged and is left out")
            continue
        snapshots = [read_snapshot(path) for path in snapshots_of(manifest.parent)[-stack:]]
        table = look_at(snapshots, views, seed=row["orbit"])
        table["group"], table["merger"] = group_of(row) + spins, f"{folder.name}/{row['merger']}"
        if images:
            table = hstack([table, as_published(snapshots, table)])
        tables.append(table)
        print(
            f"{table['merger'][0]}: boxy {np.mean(table['a4'] < 0):.2f}, a4 {np.nanmedian(table['a4']):+.4f}, error "
            f"{np.nanmean(table['a4_err']):.4f}, outer {np.nanmedian(table['a4_outer']):+.4f}, "
            f"rotation {np.nanmedian(turning(table)):.2f}"
            + "".join(f", {way} {np.mean(table[f'{way}_a4'] < 0):.2f}" for way in WAYS if images),
            flush=True,
        )
    return vstack(tables, metadata_conflicts="silent")


def turning(views: Table) -> np.ndarray:
    """(v/sigma)* of views (n,); infinite where the outline is round."""
    flattening = 1 - np.asarray(views["axis_ratio"])
    with np.errstate(divide="ignore"):
        return np.asarray(views["rotation_km_s"] / views["dispersion_km_s"]) / np.sqrt(flattening / (1 - flattening))


def interval(shares: np.ndarray) -> tuple[float, float]:
    """95 % of the means of shares (m,) of mergers, each drawn as often as chance has it."""
    drawn = np.random.default_rng(0).choice(shares, (BOOTSTRAPS, len(shares))).mean(axis=1)
    return tuple(map(float, np.quantile(drawn, (0.025, 0.975))))


def figures_of(views: Table) -> dict[str, float]:
    """What the views of one group come to."""
    views = views[np.isfinite(views["a4"])]
    a4, error = np.asarray(views["a4"]), np.asarray(views["a4_err"])
    names = np.asarray(views["merger"], dtype=str)
    own = [names == name for name in np.unique(names)]
    result = {"mergers": len(own), "views": len(a4)}
    found = {"boxy": a4 < 0, "strongly_boxy": a4 < STRONG}
    found |= {f"{way}_boxy": np.asarray(views[f"{way}_a4"]) < 0 for way in WAYS if f"{way}_a4" in views.colnames}
    for name, chosen in found.items():
        shares = np.array([chosen[of].mean() for of in own])
        low, high = interval(shares)
        result |= {name: shares.mean(), f"{name}_low": low, f"{name}_high": high}
    return result | {
        "disky_sure": np.mean(a4 > SURE * error),
        "boxy_sure": np.mean(a4 < -SURE * error),
        "boxy_from_all_sides": sum(bool(np.all(a4[of] < 0)) for of in own),
        "never_disky": sum(not np.any((a4 > SURE * error)[of]) for of in own),
        "a4": np.median(a4),
        "a4_err": error.mean(),
        "outer_boxy": np.mean(np.asarray(views["a4_outer"]) < 0),
        "rotation": np.nanmedian(turning(views)),
        "slow": np.mean(turning(views) < SLOW),
    }


def draw(groups: dict[str, Table], path: str) -> None:
    """a4 of every merger's views, one line each, and the shares of each group."""
    figure = new_figure(9.0, 1.2 + 0.16 * sum(len(set(views["merger"])) + 2 for views in groups.values()))
    axes, place, ticks = figure.subplots(), 0, []
    for name, views in groups.items():
        names = np.asarray(views["merger"], dtype=str)
        start = place
        for merger in sorted(set(names), key=lambda one: np.nanmedian(views["a4"][names == one])):
            a4 = np.asarray(views["a4"][names == merger])
            axes.plot(a4, np.full(len(a4), place), "|", color=EMERALD, alpha=0.35, markersize=7)
            axes.plot(np.nanmedian(a4), place, "o", color=GREY, markersize=3.5)
            place += 1
        boxy = figures_of(views)
        ticks.append(((start + place - 1) / 2, f"{name}\n{boxy['boxy']:.0%} boxy"))
        axes.errorbar(0.062, ticks[-1][0], xerr=boxy["a4_err"], color=GREY, capsize=2, linewidth=1)
        place += 1
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(*zip(*ticks, strict=True))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(-0.05, 0.07)
    axes.set_xlabel(
        "a4/a of the views of each merger (ticks), their median (points); right: standard error of one view"
    )
    for words, x, side in (("boxy", 0.01, "left"), ("disky", 0.99, "right")):
        axes.text(x, 1.0, words, transform=axes.transAxes, ha=side, va="bottom", color=GREY)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.tight_layout()
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", type=Path, help="folders of `simulate`")
    parser.add_argument("--views", type=int, default=100, help="of each merger")
    parser.add_argument("--stack", type=int, default=5, help="last snapshots that are laid on top of each other")
    parser.add_argument("--images", action="store_true", help="also measure in their way, about a second a view")
    parser.add_argument("--figure", default="published_facts.png", help="where the picture goes")
    parser.add_argument("--quick", action="store_true", help="10 views of each merger")
    arguments = parser.parse_args()
    views = vstack(
        [
            look(folder, 10 if arguments.quick else arguments.views, arguments.stack, arguments.images)
            for folder in arguments.suites
        ],
        metadata_conflicts="silent",
    )
    names = np.asarray(views["group"], dtype=str)
    groups = {name: views[names == name] for name in sorted(set(names))}
    draw(groups, arguments.figure)
    found = {
        name: {key: round(float(value), 4) for key, value in figures_of(own).items()} for name, own in groups.items()
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
