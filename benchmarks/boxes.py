"""How long does a box live alone in its halo, and are boxes recognised with the stars of a suite?

    python benchmarks/boxes.py --only live [--quick] [--galaxy dwarf naab_burkert] [--halo N ...] [--seeds N]
        [--duration GYR] [--runs FOLDER]
    python benchmarks/boxes.py --only power [--quick] [--seeds N]
    python benchmarks/boxes.py --only coverage [--quick]

`live`: a galaxy whose stars all have orbits of about one inclination (`mergers.boxes.boxy_galaxy`) is boxy when seen
from the side, and nothing but the noise of the halo's particles can change that for long. It is evolved alone with
the softening and accuracy of the shipped suites. a4/a is the mean at 1.5, 2 and 2.5 half-light semi-major axes from
16 directions around the equator, of five snapshots that are stacked. The first stack begins after 0.5 Gyr, when the
body has settled in its own potential; the last one ends with the run. With --runs each run is kept as a file in that
folder, and is not repeated; the figures are then of all runs there. Keys of the last line, for each galaxy and number
of halo particles:

    a4_begin, a4_end   of all seeds
    kept               a4_end / a4_begin, with kept_low and kept_high, the least and most of the seeds
    cpu_s              of one run

`power`: generalised ellipses and ellipses of axis ratio 0.7, drawn with the profile of Hernquist's sphere and judged as
remnants are (`studies.remnants.powers`). Keys, for each number of stars and of independent snapshots:

    power, power_strong   fraction of boxes of a4/a -0.057, and -0.086, that are found boxy
    false_boxy            fraction of ellipses that are
    sure                  fraction of the former that the rule of former versions finds, a6 = 0 within two errors

`coverage`: how often 90 % intervals hold the truth, in drawn studies in which the orbit sets the boxy fraction of three
mergers each. Keys, for each number of orbits: `over_orbits`, and `over_mergers` if these were taken as draws.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import record

from emeraldcut.camera.remnant_shape import BOX_RADII, Body, body_of, view_remnant
from emeraldcut.mergers import PROGENITORS
from emeraldcut.mergers.boxes import boxy_galaxy
from emeraldcut.nbody import EvolveSettings, Snapshot
from emeraldcut.nbody.leapfrog import evolve
from emeraldcut.studies.fractions import estimate_fractions, means_of
from emeraldcut.studies.remnants import EXPONENTS, powers

SETTLED_GYR, STACK = 0.5, 5
EQUATOR = np.array([[np.cos(phi), np.sin(phi), 0.0] for phi in np.linspace(0, np.pi, 16, endpoint=False)])
STARS = 16_000
ORBITS, MERGERS = (3, 6, 12, 24), 3  # of studies, and on each orbit
POWER_STARS, INDEPENDENT = (14_000, 20_000, 40_000), (1, 2, 3, 5)
SOFTENING_KPC = {"dwarf": (0.4, 0.1, 0.1, 0.1, 0.1), "naab_burkert": (1.4, 0.35, 0.35, 0.35, 0.35)}


def boxiness(snapshots: list[Snapshot]) -> float:
    """Mean a4/a of stacked snapshots from the side."""
    return float(np.nanmean(view_remnant([body_of(one) for one in snapshots], EQUATOR, BOX_RADII).a4))


def run(galaxy: str, halo: int, seed: int, duration_gyr: float) -> dict[str, float]:
    """One galaxy alone."""
    settings = PROGENITORS[galaxy]
    settings = type(settings)(**vars(settings) | {"halo_particles": halo, "star_particles": STARS})
    begun = time.process_time()
    softening = SOFTENING_KPC[galaxy]
    evolve_settings = EvolveSettings(softening_kpc=softening, accuracy=0.6, output_gyr=0.125)
    first = boxy_galaxy(settings, seed=seed, softening_kpc=softening)
    states = [state for state, _ in evolve(first, evolve_settings, until_gyr=duration_gyr, seed=seed)]
    settled = [state for state in states if state.time_gyr > SETTLED_GYR - 1e-9]
    begin, end = boxiness(settled[:STACK]), boxiness(settled[-STACK:])
    found = {"a4_start": boxiness(states[:1]), "a4_begin": begin, "a4_end": end, "kept": end / begin}
    return found | {"cpu_s": time.process_time() - begun}


def run_or_read(folder: Path | None, galaxy: str, halo: int, seed: int, duration_gyr: float) -> dict[str, float]:
    """The same, kept in a folder if one is given."""
    path = None if folder is None else folder / f"{galaxy}-{halo}-{seed}-{duration_gyr:g}.json"
    if path is not None and path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    found = run(galaxy, halo, seed, duration_gyr)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found), encoding="utf-8")
    return found


def live(arguments: Namespace) -> dict[str, dict[str, float]]:
    """Figures of boxes that are evolved alone, of all runs in the folder of kept ones."""
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for galaxy in arguments.galaxy:
        for halo in [4_000] if arguments.quick else arguments.halo:
            for seed in range(1 if arguments.quick else arguments.seeds):
                duration_gyr = 1.5 if arguments.quick else arguments.duration
                own = run_or_read(arguments.runs, galaxy, halo, seed, duration_gyr)
                found.setdefault((galaxy, halo), []).append(own)
                print(galaxy, halo, seed, {name: round(value, 4) for name, value in own.items()}, flush=True)
    if arguments.runs is not None and not arguments.quick:
        found = {}
        for path in sorted(arguments.runs.glob(f"*-{arguments.duration:g}.json")):
            galaxy, halo, *_ = path.stem.split("-")
            found.setdefault((galaxy, int(halo)), []).append(json.loads(path.read_text(encoding="utf-8")))
    figures = {}
    for (galaxy, halo), runs in sorted(found.items()):
        own = {name: float(np.mean([one[name] for one in runs])) for name in runs[0]}
        kept = [one["kept"] for one in runs]
        facts = {"galaxy": galaxy, "halo": halo, "seeds": len(runs), "kept_low": min(kept), "kept_high": max(kept)}
        figures[f"{galaxy}_{halo}"] = own | facts
    return figures


def hernquist(number: int, seed: int) -> Body:
    """Stars of Hernquist's sphere with a scale length of 1, cut at 50."""
    rng = np.random.default_rng(seed)
    root = np.sqrt(rng.random(number)) * 50 / 51
    way = rng.normal(size=(number, 3))
    position = (root / (1 - root) / np.linalg.norm(way, axis=1))[:, None] * way
    return Body(position, np.zeros_like(position), np.ones(number), np.zeros(number, int), 2.4)


def power(arguments: Namespace) -> dict[str, dict[str, float]]:
    """Figures of shapes that are known."""
    figures = {}
    for stars in POWER_STARS[:1] if arguments.quick else POWER_STARS:
        for snapshots in INDEPENDENT[:2] if arguments.quick else INDEPENDENT:
            runs = [powers([hernquist(stars, seed)], snapshots, seed=seed) for seed in range(arguments.seeds)]
            own = {name: float(np.mean([one[name] for one in runs])) for name in runs[0]}
            found = {"stars": stars, "snapshots": snapshots, "power": own["power"], "false_boxy": own["false_boxy"]}
            found |= {"power_strong": own[f"power_{max(EXPONENTS):g}"], "sure": own["power_sure"]}
            figures[f"{stars}_{snapshots}"] = found
            print(found, flush=True)
    return figures


def coverage(arguments: Namespace) -> dict[str, dict[str, float]]:
    """Figures of intervals; the fractions of orbits are spread as widely as those of remnants of equal discs are."""
    rng, figures = np.random.default_rng(0), {}
    studies = 100 if arguments.quick else 2000
    for orbits in ORBITS:
        held = {"over_orbits": 0, "over_mergers": 0}
        for _ in range(studies):
            which = np.repeat(np.arange(orbits), MERGERS)
            seen = rng.binomial(64, rng.beta(1.2, 1.8, orbits)[which]) / 64
            for name, draws in (("over_orbits", means_of(seen, which)[1]), ("over_mergers", seen)):
                (found,) = estimate_fractions(draws[:, None], rng)
                held[name] += found.low <= 0.4 <= found.high
        figures[str(orbits)] = {"orbits": orbits, "studies": studies} | {k: v / studies for k, v in held.items()}
        print(figures[str(orbits)], flush=True)
    return figures


PARTS = {"live": live, "power": power, "coverage": coverage}


def main() -> None:
    parser = record.parser(__doc__, "one short run")
    parser.add_argument("--only", choices=tuple(PARTS), required=True)
    parser.add_argument("--galaxy", nargs="+", default=["dwarf"], choices=sorted(SOFTENING_KPC))
    parser.add_argument("--halo", nargs="+", type=int, default=[8_000, 30_000, 60_000, 100_000], help="halo particles")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--duration", type=float, default=3.5, help="in Gyr")
    parser.add_argument("--runs", type=Path, help="folder that keeps every run")
    arguments = parser.parse_args()
    record.finish(f"boxes-{arguments.only}", PARTS[arguments.only](arguments), arguments)


if __name__ == "__main__":
    main()
