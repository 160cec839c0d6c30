"""What fraction of the views of remnants is boxy, against the resolution of the image and the radius?

    emeraldcut simulate published_facts_1to1 --seed 2003 -o 1to1
    emeraldcut simulate published_facts_3to1 --seed 2003 -o 3to1
    python benchmarks/boxy_resolution.py 1to1 3to1 [--quick] [--views N] [--stack N]

Published: half of the projections of dry 1:1 remnants are boxy, a4 < 0 (Naab & Burkert 2003, ApJ 597, 893), on images
of 128 x 128 pixels that are smoothed by 1.5 pixels. How wide an image was could not be read. Here the light is
smoothed as in images 10, 15 and 20 scale lengths of the disc wide, and not at all: each star is moved by a Gaussian
of that width, which is the same as smoothing the light, without pixels. a4/a is that of single isophotes, from the
particles of the last snapshots of each merger, stacked.

Keys of the last line: for each group of mergers, smoothing in kpc and radius in half-light semi-major axes

    boxy, boxy_low, boxy_high   fraction of views with a4 < 0 and its 90 % interval over orbits
    a4                          its median
    mergers, orbits
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import record
from published_facts import PIXEL_KPC, SMOOTHING, group_of

from emeraldcut.camera.camera import rotation
from emeraldcut.camera.particle_isophote import fit_particle_isophote
from emeraldcut.camera.projection import project
from emeraldcut.camera.remnant_shape import even_directions
from emeraldcut.camera.stars import gather
from emeraldcut.mergers import snapshots_of
from emeraldcut.nbody import Snapshot, read_snapshot
from emeraldcut.runs import read_manifest
from emeraldcut.runs.run import MANIFEST
from emeraldcut.studies.fractions import estimate_fractions, means_of

WIDTHS = (10, 15, 20)  # of images, in scale lengths of the disc
SMOOTHINGS_KPC = (0.0, *(SMOOTHING * PIXEL_KPC * width / WIDTHS[0] for width in WIDTHS))
RADII = (0.4, 0.6, 0.8, 1.0, 1.5, 2.0)  # of isophotes, in half-light semi-major axes


def a4_of(snapshots: list[Snapshot], views: int, seed: int) -> np.ndarray:
    """a4/a (views, smoothings, radii) of stacked snapshots; NaN where an isophote does not settle."""
    stars = gather(snapshots, None, aligned=True)
    a4 = np.empty((views, len(SMOOTHINGS_KPC), len(RADII)))
    for k, (x, y, z) in enumerate(even_directions(views)):
        turn = rotation(float(np.degrees(np.arccos(z))), float(np.degrees(np.arctan2(y, x))))
        seen, rng = project(stars.position, turn), np.random.default_rng([seed, k])
        away = rng.normal(size=seen.shape)
        for i, width in enumerate(SMOOTHINGS_KPC):
            moved = (seen + width * away).astype(np.float32)
            a4[k, i] = [fit_particle_isophote(moved, stars.light, radius).terms["a4"] for radius in RADII]
    return a4


def main() -> None:
    parser = record.parser(__doc__, "6 views of each merger")
    parser.add_argument("suites", nargs="+", type=Path, help="folders of `simulate`")
    parser.add_argument("--views", type=int, default=64, help="of each merger")
    parser.add_argument("--stack", type=int, default=5, help="last snapshots of each merger to stack")
    arguments = parser.parse_args()
    found: dict[str, list[tuple[str, np.ndarray]]] = {}
    for number, manifest in enumerate(
        sorted(file for suite in arguments.suites for file in suite.glob(f"*/{MANIFEST}"))
    ):
        row = read_manifest(manifest.parent)["row"]
        if row["mass_ratio"] is None or row["merged_gyr"] is None:
            continue
        snapshots = [read_snapshot(path) for path in snapshots_of(manifest.parent)[-arguments.stack :]]
        a4 = a4_of(snapshots, 6 if arguments.quick else arguments.views, number)
        found.setdefault(group_of(row), []).append((row["orbit_id"], a4))
        print(f"{row['merger']}: boxy {np.round(np.mean(a4 < 0, axis=0), 2).tolist()}", flush=True)
    figures: dict[str, dict] = {}
    rng = np.random.default_rng(0)
    for group, rows in found.items():
        orbits = np.array([orbit for orbit, _ in rows])
        figures[group] = {"mergers": len(rows), "orbits": len(set(orbits))}
        for i, width in enumerate(SMOOTHINGS_KPC):
            for j, radius in enumerate(RADII):
                own = np.array([np.mean(a4[:, i, j] < 0) for _, a4 in rows])
                (boxy,) = estimate_fractions(means_of(own, orbits)[1][:, None], rng)
                middle = float(np.nanmedian([a4[:, i, j] for _, a4 in rows]))
                figures[group][f"{width:.2f}_{radius:g}"] = {
                    "smoothing_kpc": width, "radius": radius, "boxy": boxy.value, "boxy_low": boxy.low,
                    "boxy_high": boxy.high, "a4": middle,
                }  # fmt: skip
    record.finish("boxy_resolution", figures, arguments)


if __name__ == "__main__":
    main()
