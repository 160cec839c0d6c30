"""How fast and how well a whole merger is computed: two dwarfs of equal mass, on a parabolic orbit, without gas.

    python benchmarks/merger.py [--quick] [--seed N]

The default galaxies and steps of `simulate`, 100,000 particles of which 40,000 are stars, over 3 Gyr; with --quick
10,000 particles over 1 Gyr, which ends within 50 seconds. Times are CPU seconds of one core. The last line is one JSON
object:

    particles, gyr, steps
    cpu_seconds              from the first force to the end; not what compiles and writes
    force_share              part of it within the force
    energy_drift, angular_momentum_drift, momentum_drift
                             largest change; of momentum over that of all the mass at its root mean square speed
    merged_gyr               since when the centres have stayed together; null if they do not
    mergers_per_hour         as many of these a core does
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from emeraldcut.mergers import SUITE, SuiteSettings, simulate
from emeraldcut.nbody import EvolveSettings
from emeraldcut.runs import read_manifest
from emeraldcut.tables import read_table

FULL = SuiteSettings(mass_ratios=(1.0,), orbits=1, control=False, duration_gyr=3.0)
QUICK = replace(FULL, duration_gyr=1.0, halo_particles=3000, star_particles=2000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10,000 particles over 1 Gyr")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    settings = QUICK if arguments.quick else FULL
    with TemporaryDirectory() as folder:
        print(f"one merger over {settings.duration_gyr:g} Gyr ...", flush=True)
        run = simulate(folder, settings, EvolveSettings(output_gyr=0.1), seed=arguments.seed)
        (row,) = read_table(run.path(SUITE))
        spent = read_manifest(Path(folder) / row["merger"])
    seconds = spent["force_seconds"] + spent["other_seconds"]
    figures = {"particles": int(row["particles"]), "gyr": settings.duration_gyr, "steps": int(row["steps"])}
    figures |= {"cpu_seconds": round(seconds, 1), "force_share": round(spent["force_seconds"] / seconds, 3)}
    drifts = ("energy_drift", "angular_momentum_drift", "momentum_drift")
    figures |= {name: round(float(row[name]), 6) for name in drifts}
    figures |= {"merged_gyr": spent["row"]["merged_gyr"], "mergers_per_hour": round(3600 / seconds, 1)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
