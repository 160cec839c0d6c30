"""What all benchmarks share: their arguments, and the records of what they measured.

A benchmark prints one JSON object with its figures as the last line on standard output. A full run also writes
`benchmarks/results/NAME.json`: the figures with the command, date, commit, versions, machine and time. The record that
was there before moves to the front of the list `history` of the same file. Runs with `--quick` write no record and no
picture. `python docs/generate.py` then makes docs/results.md from all records.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emeraldcut import __version__

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"
MEASURED = ("src", "benchmarks/*.py")  # files that a record depends on
DIGITS = 5  # significant digits of a figure
KEPT = ("date", "commit", "version", "command", "figures")  # of former records
BEGUN, LOAD = time.perf_counter(), os.getloadavg()[0]  # a benchmark imports this file when it starts


def parser(doc: str, quick: str, *, seed: int | None = None, figure: str = "") -> argparse.ArgumentParser:
    """The arguments that benchmarks have in common.

    Parameters
    ----------
    doc : docstring of the benchmark, shown by `--help`
    quick : what `--quick` leaves out
    seed : default of `--seed`; without it there is no such argument
    figure : file name of a picture in docs/pictures, which a full run renews; without it there is no `--figure`
    """
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--quick", action="store_true", help=f"{quick}; nothing is recorded")
    if seed is not None:
        found.add_argument("--seed", type=int, default=seed, help="of all that is random (default %(default)s)")
    if figure:
        words = f"where to draw the picture (default: docs/pictures/{figure}, not with --quick)"
        found.add_argument("--figure", type=Path, help=words)
        found.set_defaults(picture=figure)
    return found


def figure_of(arguments: argparse.Namespace) -> Path | None:
    """Where the picture goes, None if it is not drawn."""
    return arguments.figure or (None if arguments.quick else PICTURES / arguments.picture)


def finish(name: str, figures: Mapping, arguments: argparse.Namespace, *, peers: Sequence[str] = ()) -> None:
    """Records the figures of a full run, and prints them as the last line on standard output."""
    save(name, figures, arguments, peers=peers)
    show(figures)


def show(figures: Mapping) -> None:
    """Prints the figures as one line of JSON."""
    print(json.dumps(plain(figures)), flush=True)


def save(
    name: str, figures: Mapping, arguments: argparse.Namespace, *, peers: Sequence[str] = (), folder: Path = RESULTS
) -> None:
    """Writes the record `folder`/NAME.json, unless the run is a quick one.

    Parameters
    ----------
    name : of the benchmark, with `-VARIANT` where its arguments choose among several sets of figures
    figures : numbers, words, lists and mappings of them, NumPy's as well; what is not finite becomes null
    arguments : of the command line; with `quick` nothing is written
    peers : other packages that the figures depend on, whose versions are recorded too
    """
    if arguments.quick:
        return
    file = folder / f"{name}.json"
    record = {
        "name": name,
        "command": command(sys.argv),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "version": __version__,
        "versions": {"python": platform.python_version()} | versions(("numpy", "numba", *peers)),
        "machine": machine(),
        "seconds": {"wall": time.perf_counter() - BEGUN, "cpu": sum(os.times()[:4]), "load_at_start": LOAD},
        "figures": figures,
    }
    former = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    history = [] if former is None else [{key: former[key] for key in KEPT}, *former["history"]]
    folder.mkdir(exist_ok=True)
    text = json.dumps(plain(record) | {"history": history}, indent=1, ensure_ascii=False, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8")


def plain(value):
    """A value as JSON has it: Python's types, numbers of `DIGITS` significant digits, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def command(words: Sequence[str]) -> str:
    """The command line without paths of this machine: relative to the project, or the last part of what is outside."""
    return " ".join(["python", f"benchmarks/{Path(words[0]).name}", *map(_without_machine, words[1:])])


def _without_machine(word: str) -> str:
    if os.sep not in word:
        return word
    path = Path(word).resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def commit() -> str | None:
    """The commit that was measured, with "+" if files have changed since; None outside a git repository."""
    found = _git("rev-parse", "--short=7", "HEAD")
    return None if found is None else found + ("+" if _git("status", "--porcelain", "--", *MEASURED) else "")


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, object]:
    """The machine in words: cores, processor, memory and system, without its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (OSError, StopIteration, ValueError):
        model, memory = platform.processor() or "unknown", None
    system = f"{platform.system()} {platform.machine()}"
    return {"cores": os.cpu_count(), "processor": model, "memory_gib": memory, "system": system}


# --- what a process needs


class Watched(NamedTuple):
    """What a process and its workers needed: seconds, and the peaks of memory in MiB.

    Attributes
    ----------
    main_mb, worker_mb : float
        Of the process, and of the largest of its workers (of the process if it has none).
    together_mb : float
        Of all at one time.
    """

    returncode: int
    wall_s: float
    cpu_s: float
    main_mb: float
    worker_mb: float
    together_mb: float


def watch(process: subprocess.Popen) -> Watched:
    """Waits for a process, which has just been started, and says what it needed."""
    begun, before = time.perf_counter(), os.times()
    main, together, workers = 0.0, 0.0, {}
    while process.poll() is None:
        main, hands = max(main, memory_mb(process.pid, "VmHWM")), children(process.pid)
        workers |= {pid: max(workers.get(pid, 0.0), memory_mb(pid, "VmHWM")) for pid in hands}
        together = max(together, sum(memory_mb(pid, "VmRSS") for pid in (process.pid, *hands)))
        time.sleep(0.1)
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])
    wall = time.perf_counter() - begun
    return Watched(process.returncode, wall, cpu, main, max(workers.values(), default=main), together)


def children(pid: int) -> list[int]:
    """Workers of a process."""
    try:
        names = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(name) for name in names if "spawn_main" in Path(f"/proc/{name}/cmdline").read_text()]
    except OSError:
        return []


def memory_mb(pid: int, which: str) -> float:
    """The memory of a process, 0 if it has ended: its peak ("VmHWM") or its current size ("VmRSS")."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(which)), 0.0)
    except OSError:
        return 0.0
