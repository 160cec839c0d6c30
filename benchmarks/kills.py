"""Does a suite of mergers that is killed again and again end with the same snapshots as one that is not?

    python benchmarks/kills.py [--quick] [--seed N] [--kills N]

Two small mergers and a control run in a process of their own. It gets SIGKILL at a random moment: after a random number
of snapshots and a random part of the time that the next one takes. Then the same command is run again.

Keys of the last line:

    kills        processes that were killed before they had finished
    snapshots    files compared
    same         whether position, velocity, mass and the header of all files are the same
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import record

from emeraldcut.nbody import read_snapshot

FLAGS = (
    "--mass-ratios 1,2 --orbits 1 --duration-gyr 0.1 --output-gyr 0.01 --halo-particles 1000 --star-particles 800 "
    "--separation 10 --quiet"
)
RUN = "import sys; from emeraldcut.cli import main; sys.exit(main())"


def start(folder: Path, seed: int) -> subprocess.Popen:
    """A process that runs the suite."""
    command = [sys.executable, "-c", RUN, "simulate", "-o", str(folder), "--seed", str(seed), *FLAGS.split()]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def snapshots(folder: Path) -> list[Path]:
    """All snapshots of a run."""
    return sorted(folder.glob("*/snapshot_*.hdf5"))


def same(one: Path, other: Path) -> bool:
    """Whether two snapshots are the same."""
    first, second = read_snapshot(one), read_snapshot(other)
    arrays = ("position", "velocity", "mass", "component", "galaxy")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in arrays) and (
        (first.time_gyr, first.about) == (second.time_gyr, second.about)
    )


def main() -> None:
    parser = record.parser(__doc__, "three kills", seed=0)
    parser.add_argument("--kills", type=int, default=10)
    arguments = parser.parse_args()
    rng, kills, killed = np.random.default_rng(arguments.seed), 3 if arguments.quick else arguments.kills, 0
    with TemporaryDirectory() as place:
        whole, broken = Path(place) / "whole", Path(place) / "broken"
        begun = time.perf_counter()
        assert start(whole, arguments.seed).wait() == 0
        took = time.perf_counter() - begun
        print(f"undisturbed: {len(snapshots(whole))} snapshots in {took:.0f} s", flush=True)
        number = len(snapshots(whole))
        for target in np.sort(rng.integers(0, number, kills)):
            process = start(broken, arguments.seed)
            while len(snapshots(broken)) < target and process.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, took / number))
            process.kill()
            killed += process.wait() == -signal.SIGKILL
            print(f"kill {killed}: {len(snapshots(broken))} snapshots", flush=True)
        assert start(broken, arguments.seed).wait() == 0
        pairs = list(zip(snapshots(whole), snapshots(broken), strict=True))
        equal = all(a.name == b.name and same(a, b) for a, b in pairs)
    record.finish("kills", {"kills": killed, "snapshots": len(pairs), "same": equal}, arguments)


if __name__ == "__main__":
    main()
