"""Do our mergers make the remnants that were published? Shapes of remnants from all sides, from finished suites.

    emeraldcut simulate published_facts_1to1 --seed 2003 -o 1to1
    emeraldcut simulate published_facts_3to1 --seed 2003 -o 3to1
    emeraldcut simulate published_facts_gas --seed 2003 -o gas
    emeraldcut simulate published_facts_lattice --seed 2003 -o lattice
    python benchmarks/published_facts.py 1to1 3to1 gas lattice [--quick] [--views N] [--stack N] [--images]
        [--figure FILE]

Published: half of the projections of dry 1:1 remnants are boxy, 4 of 12 orientations are boxy from all sides, and 80 %
of these remnants rotate slowly, (v/sigma)* < 0.4; 3:1 and 4:1 remnants are fast and disky in nine of ten views (Naab &
Burkert 2003, ApJ 597, 893); a tenth of the discs as gas removes strong boxiness (Naab, Jesseit & Burkert 2006, MNRAS
372, 839).

The suite `published_facts_lattice` has spins at the corners of tetrahedra, as the published ones; the angles are
ours. With --images, a4/a is also measured as published (Naab, Burkert & Hernquist 1999, ApJ 523, L133): on images of
128 x 128 pixels over 10 scale lengths, smoothed by a Gaussian of 1.5 pixels, from isophotes (fitted by photutils)
between a quarter of the spatial half-light radius and that radius. They take the mean a4/a, or that of a strong peak;
they do not say how strong, so both the mean and the value farthest from 0 are given. The record of that run is
`published_facts-images`.

The last snapshots of each merger, 0.1 Gyr apart, are stacked. a4/a is the mean between 0.24 and 1.12 half-light
semi-major axes of the projected stars, see `mergers.measure_remnant`. Of unfinished suites the finished mergers are
used.

Keys of the last line, for each group of mergers (1:1, 3:1, 1:1 with gas, those on the lattice, the galaxies alone):

    mergers, views
    boxy, boxy_low, boxy_high   fraction of views with a4 < 0 and its 95 % interval, by a bootstrap over mergers
    disky_sure, boxy_sure       fraction of views with a4 more than two standard errors above, below 0
    strongly_boxy, strongly_boxy_low, strongly_boxy_high
                                fraction of views with a4 < -0.01
    boxy_from_all_sides         mergers with a4 < 0 in every view
    never_disky                 mergers with no view whose a4 is more than two standard errors above 0
    a4, a4_err                  median of the views; mean standard error of one view
    outer_boxy                  fraction of views with a4 < 0 at 1.5 half-light semi-major axes
    rotation                    median (v/sigma)*: rotation along the major axis over central dispersion, in units of
                                that of an oblate body flattened by rotation, sqrt(e / (1 - e)) with e = 1 - axis ratio
    slow                        fraction of views in which it is below 0.4
    image_boxy, peak_boxy, ...  with --images: fraction of views with a4 < 0 measured as published, by mean and by
                                peak, and intervals
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import record
from astropy.table import Table, hstack, vstack
from scipy.ndimage import gaussian_filter

from emeraldcut.camera import measure_remnant
from emeraldcut.camera.camera import rotation
from emeraldcut.camera.particle_isophote import fit_particle_isophote
from emeraldcut.camera.projection import count, project
from emeraldcut.camera.stars import gather
from emeraldcut.mergers import PROGENITORS, snapshots_of
from emeraldcut.mergers.suite import BEGUN
from emeraldcut.nbody import Snapshot, read_snapshot
from emeraldcut.report.figures.palette import EMERALD, GREY
from emeraldcut.report.figures.style import new_figure, save_figure
from emeraldcut.runs import read_manifest
from emeraldcut.runs.run import MANIFEST

SURE, STRONG, SLOW = 2.0, -0.01, 0.4
BOOTSTRAPS = 10_000
WAYS = ("image", "peak")  # of measuring a4 as published
SIDE, SMOOTHING = 128, 1.5  # of the published images, in pixels
PIXEL_KPC = 10 * PROGENITORS["naab_burkert"].disc_scale_kpc / SIDE


def group_of(row: dict) -> str:
    """The group of a run, from its row of `suite.ecsv`."""
    if row["mass_ratio"] is None:
        return "alone"
    return f"{row['mass_ratio']:g}:1" + (" with gas" if row["gas_fraction"] else "")


def isophotes(seen: np.ndarray, light: np.ndarray, least_kpc: float, most_kpc: float) -> np.ndarray:
    """a4/a (k,) of isophotes between two semi-major axes, of an image, as published, of stars at `seen` (2, n)."""
    from photutils.isophote import Ellipse, EllipseGeometry

    image = gaussian_filter(count(seen, light, (SIDE, SIDE), 1 / PIXEL_KPC)[1].astype(float), SMOOTHING)
    first, middle = fit_particle_isophote(seen, light, 0.8), (SIDE - 1) / 2
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
    """`image_a4` and `peak_a4` of views of `measure_remnant`: a4/a as published, mean and peak, or NaN."""
    stars, rows = gather(snapshots, None, aligned=True), []
    for view in views:
        seen = project(stars.position, rotation(view["view_theta_deg"], view["view_phi_deg"]))
        a4 = isophotes(seen, stars.light, 0.25 * stars.half_light_kpc, stars.half_light_kpc)
        rows.append((a4.mean(), a4[np.argmax(np.abs(a4))]) if len(a4) else (np.nan, np.nan))
    return Table(rows=rows, names=("image_a4", "peak_a4"))


def views_of(folder: Path, views: int, stack: int, images: bool) -> Table:
    """The views of all finished runs of a suite, with `group` and `merger`."""
    tables, begun = [], json.loads((folder / BEGUN).read_text())
    spins = " on a lattice" if begun["settings"]["grid"] == "lattice" else ""
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        row = read_manifest(manifest.parent)["row"]
        if row["mass_ratio"] is not None and row["merged_gyr"] is None:
            print(f"{manifest.parent.name} has not merged and is left out")
            continue
        snapshots = [read_snapshot(path) for path in snapshots_of(manifest.parent)[-stack:]]
        table = measure_remnant(snapshots, views, seed=row["orbit"])
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


def interval(fractions: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of fractions (m,), one per merger, by a bootstrap over mergers."""
    drawn = np.random.default_rng(0).choice(fractions, (BOOTSTRAPS, len(fractions))).mean(axis=1)
    return tuple(map(float, np.quantile(drawn, (0.025, 0.975))))


def figures_of(views: Table) -> dict[str, float]:
    """The figures of one group of mergers."""
    views = views[np.isfinite(views["a4"])]
    a4, error = np.asarray(views["a4"]), np.asarray(views["a4_err"])
    names = np.asarray(views["merger"], dtype=str)
    own = [names == name for name in np.unique(names)]
    result = {"mergers": len(own), "views": len(a4)}
    found = {"boxy": a4 < 0, "strongly_boxy": a4 < STRONG}
    found |= {f"{way}_boxy": np.asarray(views[f"{way}_a4"]) < 0 for way in WAYS if f"{way}_a4" in views.colnames}
    for name, chosen in found.items():
        fractions = np.array([chosen[of].mean() for of in own])
        low, high = interval(fractions)
        result |= {name: fractions.mean(), f"{name}_low": low, f"{name}_high": high}
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


def draw(groups: dict[str, Table], path: Path) -> None:
    """a4 of the views of each merger, one line each, and the boxy fraction of each group."""
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
    parser = record.parser(__doc__, "10 views of each merger", figure="published_facts.png")
    parser.add_argument("suites", nargs="+", type=Path, help="folders of `simulate`")
    parser.add_argument("--views", type=int, default=100, help="of each merger")
    parser.add_argument("--stack", type=int, default=5, help="last snapshots of each merger to stack")
    parser.add_argument("--images", action="store_true", help="also measure as published, about a second per view")
    arguments = parser.parse_args()
    views = vstack(
        [
            views_of(folder, 10 if arguments.quick else arguments.views, arguments.stack, arguments.images)
            for folder in arguments.suites
        ],
        metadata_conflicts="silent",
    )
    names = np.asarray(views["group"], dtype=str)
    groups = {name: views[names == name] for name in sorted(set(names))}
    if path := record.figure_of(arguments):
        draw(groups, path)
    figures = {name: figures_of(own) for name, own in groups.items()}
    name = "published_facts-images" if arguments.images else "published_facts"
    record.finish(name, figures, arguments, peers=("photutils",))


if __name__ == "__main__":
    main()
