"""How fast and how accurate are the forces in two merging galaxies, next to pytreegrav?

    python benchmarks/gravity.py [--quick]

Two overlapping galaxies of disc, bulge and halo. Errors are those of 2,000 particles against the sum over all pairs,
each program with its own softening. pytreegrav's opening angle is set so that its median error is within 20 % of ours
at our default opening; its quadrupoles are on or off, whichever is faster. Times are CPU seconds of one core, the best
of several in which the programs take turns. Needs pip install 'emeraldcut[bench]'; pytreegrav compiles in every new
process, which takes half a minute.

Keys of the last line, for the largest number of particles, and with _10000 for the smaller one:

    n                     number of particles
    speed_ratio           time of pytreegrav over ours
    median_error, p99_error, pytreegrav_median_error
                          relative errors of the force
    seconds               per force evaluation by the tree, ours
    direct_seconds        the same by all pairs (1e4 particles only)
    two_core_speedup      wall time with one thread over that with two; needs two idle cores
    first_force_seconds   CPU time of a new process up to its first force on 1e4 particles, imports included
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import record

from emeraldcut.nbody.gravity import accelerations
from emeraldcut.nbody.snapshot import GRAVITY

PLUMMER_TO_SPLINE = 2.8  # support of a spline kernel as deep as a Plummer sphere of unit length (Springel 2005)
FIRST = """
import numpy
from emeraldcut.nbody.gravity import accelerations
accelerations(numpy.random.default_rng(0).normal(size=(10_000, 3)), numpy.ones(10_000), numpy.full(10_000, 0.1))
"""


def hernquist(number: int, scale: float, edge: float, rng: np.random.Generator) -> np.ndarray:
    """Positions (number, 3) in a Hernquist (1990) sphere out to `edge`."""
    root = np.sqrt(rng.random(number)) * edge / (edge + scale)
    direction = rng.normal(size=(number, 3))
    return (scale * root / (1 - root) / np.linalg.norm(direction, axis=1))[:, None] * direction


def galaxy(number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position in kpc, mass in Msun and softening in kpc of a galaxy like ours: half of it halo, a tenth bulge."""
    halo, bulge = number // 2, number // 10
    disc = number - halo - bulge
    radius, angle = rng.gamma(2, 3.0, disc), rng.uniform(0, 2 * np.pi, disc)
    height = 0.3 * np.arctanh(rng.uniform(-0.999, 0.999, disc))
    in_disc = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), height])
    position = np.concatenate([hernquist(halo, 30, 300, rng), in_disc, hernquist(bulge, 0.6, 20, rng)])
    counts = (halo, disc, bulge)
    mass = np.repeat(np.array((1e12, 4e10, 1e10)) / counts, counts)
    return position, mass, np.repeat((0.4, 0.1, 0.1), counts)


def two_galaxies(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two galaxies 43 kpc apart, with their discs inclined to each other by 52 degrees."""
    rng = np.random.default_rng(seed)
    (first, *others), (second, *more) = galaxy(number // 2, rng), galaxy(number - number // 2, rng)
    cosine, sine = np.cos(0.9), np.sin(0.9)
    second = second @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) + (40, 15, 5)
    return np.concatenate([first, second]), *(np.concatenate(pair) for pair in zip(others, more, strict=True))


def errors(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Relative errors (n,) of forces (n, 3)."""
    return np.linalg.norm(found - true, axis=1) / np.linalg.norm(true, axis=1)


def best(function: Callable, times: int, clock: Callable[[], float] = time.process_time) -> tuple[float, object]:
    """The shortest time of a few calls, and what the last one returned."""
    least = np.inf
    for _ in range(times):
        start = clock()
        result = function()
        least = min(least, clock() - start)
    return least, result


def children() -> float:
    """CPU seconds of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def matching(force: Callable[[float], np.ndarray], median: Callable[[np.ndarray], float], target: float, start: float):
    """The opening angle at which pytreegrav's median error is `target` to 20 %, and that error."""
    angle = start
    for _ in range(8):
        error = median(force(angle))
        if abs(error / target - 1) < 0.2:
            return angle, error
        angle *= (target / error) ** 0.5
    raise RuntimeError(f"no opening angle of pytreegrav gives a median error of {target:.2%}.")


def compare(number: int, options: tuple[bool, ...], times: int, angles: dict[bool, float]) -> dict[str, float]:
    """Times and errors of both programs; the search starts at `angles`, which is updated."""
    import pytreegrav

    position, mass, softening = two_galaxies(number)
    support = PLUMMER_TO_SPLINE * softening
    some = np.random.default_rng(1).choice(number, 2000, replace=False)
    exact_seconds, exact = best(lambda: accelerations(position, mass, softening, engine="direct")[0], 1)
    their_exact = pytreegrav.AccelTarget(
        position[some], position, mass, softening_target=support[some], softening_source=support, G=GRAVITY,
        method="bruteforce",
    )  # fmt: skip
    ours, found = best(lambda: accelerations(position, mass, softening)[0], times)
    error = errors(found[some], exact[some])
    target, theirs = float(np.median(error)), np.inf
    for quadrupole in options:

        def force(angle: float, quadrupole: bool = quadrupole) -> np.ndarray:
            return pytreegrav.Accel(
                position, mass, support, G=GRAVITY, theta=angle, method="tree", quadrupole=quadrupole
            )

        def median(a: np.ndarray) -> float:
            return float(np.median(errors(a[some], their_exact)))

        angle, their_error = matching(force, median, target, angles[quadrupole])
        angles[quadrupole] = angle
        for _ in range(times):
            ours = min(ours, best(lambda: accelerations(position, mass, softening), 2)[0])
            seconds, _ = best(lambda: force(angle), 1)  # noqa: B023
            if seconds < theirs:
                theirs, their_median, chosen = seconds, their_error, (angle, quadrupole)
    print(
        f"{number} particles: ours {ours * 1e3:.1f} ms, median error {target:.2%}; pytreegrav {theirs * 1e3:.0f} ms, "
        f"{their_median:.2%} (theta {chosen[0]:.2f}, quadrupole {chosen[1]})"
    )
    figures = {"speed_ratio": theirs / ours, "median_error": target, "p99_error": np.quantile(error, 0.99)}
    figures |= {"pytreegrav_median_error": their_median, "seconds": ours}
    return figures | ({"direct_seconds": exact_seconds} if number <= 10_000 else {})


def main() -> None:
    arguments = record.parser(__doc__, "fewer repetitions, no quadrupoles").parse_args()
    quick = arguments.quick
    position, mass, softening = two_galaxies(100_000)
    accelerations(position, mass, softening)
    walls = {1: np.inf, 2: np.inf}
    for _ in range(5 if quick else 20):
        for threads in walls:
            wall = best(lambda: accelerations(position, mass, softening, threads=threads), 1, time.perf_counter)[0]  # noqa: B023
            walls[threads] = min(walls[threads], wall)
    print(f"two threads: {walls[1] / walls[2]:.2f} times faster (load of the machine {os.getloadavg()[0]:.1f})")
    first, _ = best(lambda: subprocess.run([sys.executable, "-c", FIRST], check=True), 3, children)
    print(f"first force of a new process after {first:.2f} s of CPU time; compiling pytreegrav ...", flush=True)
    options, angles = ((False,) if quick else (False, True)), {False: 0.8, True: 1.2}
    small = compare(10_000, options, 3 if quick else 10, angles)
    large = compare(100_000, options, 1 if quick else 3, angles)
    figures = {"n": 100_000} | large | {f"{key}_10000": value for key, value in small.items()}
    figures |= {"two_core_speedup": walls[1] / walls[2], "first_force_seconds": first}
    record.finish("gravity", figures, arguments, peers=("pytreegrav",))


if __name__ == "__main__":
    main()
