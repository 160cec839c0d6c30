"""How long until the first result after installation, and how long do commands take to start?

    python benchmarks/startup.py [--quick]

Each command runs on 16 small galaxies, or simulates a merger of 1,600 particles, in a process of its own: first with an
empty cache of compiled code (`$EMERALDCUT_CACHE_DIR` is a new folder for each command), then again with the filled one.
`--help` and `import emeraldcut` use the filled cache of `measure`. With --quick only `measure` runs. Times are wall
times, on idle cores.

Keys of the last line:

    first_COMMAND_s      seconds with an empty cache; first_COMMAND_cpu_s the CPU seconds of that, all processes
    second_COMMAND_s     seconds with the filled cache
    cache_COMMAND_mb     size of the cache that the command fills
    help_s               `emeraldcut measure --help`, best of five
    import_s             a Python that only imports emeraldcut, over one that imports nothing, best of five
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import record

CACHE = "EMERALDCUT_CACHE_DIR"
SIDE, GALAXIES, TIMES = 64, 16, 5
RUN = "import sys; from emeraldcut.cli import main; sys.exit(main())"
SMALL_MERGER = "--mass-ratios 1 --orbits 1 --duration-gyr 0.02 --output-gyr 0.01 --halo-particles 400"
COMMANDS = {
    "measure": ("images.npy", "--output", "shapes.ecsv"),
    "classify": ("images.npy", "--output", "classes.ecsv"),
    "screen": ("images.npy", "--output", "run"),
    "simulate": (*SMALL_MERGER.split(), "--star-particles", "400", "--output", "mergers"),
}


def galaxies() -> np.ndarray:
    """Elliptical Gaussian galaxies in noise (n, side, side), float32, made without the package and its cache."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    light = [np.exp(-0.5 * (x**2 + (y / rng.uniform(0.5, 1)) ** 2) / 6**2) for _ in range(GALAXIES)]
    return (50 * np.array(light) + rng.normal(size=(GALAXIES, SIDE, SIDE))).astype(np.float32)


def seconds(program: str, words: tuple[str, ...] = (), folder: Path | None = None, cache: Path | None = None):
    """Wall and CPU seconds of a Python process that runs a program in a folder, with this cache of compiled code."""
    environment = os.environ | ({CACHE: str(cache)} if cache else {})
    begun, before = time.perf_counter(), sum(os.times()[2:4])
    command = [sys.executable, "-c", program, *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun, sum(os.times()[2:4]) - before


def started(name: str, place: Path) -> dict[str, float]:
    """Times of one command, first and again, and the size of the cache that it fills."""
    cache = place / f"cache_{name}"
    words = (name, *COMMANDS[name], "--overwrite", "--quiet")
    first, cpu = seconds(RUN, words, place, cache)
    second, _ = seconds(RUN, words, place, cache)
    megabytes = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) / 1e6
    if not megabytes:
        raise SystemExit(f"`{name}` left nothing in ${CACHE}, so what it compiled is not known.")
    print(f"{name}: {first:.1f} s with an empty cache, then {second:.1f} s", flush=True)
    return {
        f"first_{name}_s": first,
        f"first_{name}_cpu_s": cpu,
        f"second_{name}_s": second,
        f"cache_{name}_mb": megabytes,
    }


def main() -> None:
    arguments = record.parser(__doc__, "only `measure`").parse_args()
    figures: dict[str, float] = {}
    with TemporaryDirectory() as temporary:
        place = Path(temporary)
        np.save(place / "images.npy", galaxies())
        for name in ("measure",) if arguments.quick else COMMANDS:
            figures |= started(name, place)
        cache = place / "cache_measure"
        bare = min(seconds("pass")[0] for _ in range(TIMES))
        figures["help_s"] = min(seconds(RUN, ("measure", "--help"), place, cache)[0] for _ in range(TIMES))
        figures["import_s"] = min(seconds("import emeraldcut", (), place, cache)[0] for _ in range(TIMES)) - bare
    record.finish("startup", figures, arguments)


if __name__ == "__main__":
    main()
