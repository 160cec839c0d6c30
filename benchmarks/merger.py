"""What does a whole merger cost, and what does it conserve? Two equal dwarfs on a parabolic orbit, without gas.

    python benchmarks/merger.py [--quick] [--seed N]

The default galaxies and steps of `simulate`: 160,000 particles, 40,000 of them stars, over 3 Gyr; with --quick 10,000
particles over 1 Gyr. Times are CPU seconds of one core.

Keys of the last line:

    particles, gyr, steps
    cpu_seconds              from the first force to the end, without compiling and writing
    force_fraction           fraction of that spent in the force
    energy_drift, angular_momentum_drift
                             largest relative change
    momentum_drift           largest change, over the total mass at its root mean square speed
    merged_gyr               time from which the centres stay together; null if they do not
    mergers_per_hour         of one core
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import record

from emeraldcut.mergers import SUITE, SuiteSettings, simulate
from emeraldcut.nbody import EvolveSettings
from emeraldcut.runs import read_manifest
from emeraldcut.tables import read_table

FULL = SuiteSettings(mass_ratios=(1.0,), orbits=1, control=False, duration_gyr=3.0)
QUICK = replace(FULL, duration_gyr=1.0, halo_particles=3000, star_particles=2000)


def main() -> None:
    arguments = record.parser(__doc__, "10,000 particles over 1 Gyr", seed=0).parse_args()
    settings = QUICK if arguments.quick else FULL
    with TemporaryDirectory() as folder:
        print(f"one merger over {settings.duration_gyr:g} Gyr ...", flush=True)
        run = simulate(folder, settings, EvolveSettings(output_gyr=0.1), seed=arguments.seed)
        (row,) = read_table(run.path(SUITE))
        spent = read_manifest(Path(folder) / row["merger"])
    seconds = spent["force_seconds"] + spent["other_seconds"]
    figures = {"particles": int(row["particles"]), "gyr": settings.duration_gyr, "steps": int(row["steps"])}
    figures |= {"cpu_seconds": seconds, "force_fraction": spent["force_seconds"] / seconds}
    figures |= {name: row[name] for name in ("energy_drift", "angular_momentum_drift", "momentum_drift")}
    figures |= {"merged_gyr": spent["row"]["merged_gyr"], "mergers_per_hour": 3600 / seconds}
    record.finish("merger", figures, arguments)


if __name__ == "__main__":
    main()
