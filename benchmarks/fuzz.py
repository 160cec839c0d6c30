"""Does a damaged file of any format that is read end in a crash, a hang or a missing row?

    python benchmarks/fuzz.py [--quick] [--seed N] [--examples N] [--only FORMAT,...]

Every format has a small whole file (`tests/fuzzing.py`). Each example damages it in one to six places: bytes, bits,
zeros, a cut, an insertion, a repetition, or one of the numbers of its header replaced by another. Half of those of a
format whose data are apart from its header damage the data alone; then every row must be there. A format is read in a
process of its own, so that a crash is counted and the next example goes on. Needs the packages of the tests.

Keys of the last line:

    examples                   of each format
    formats                    number of them
    crashes, hangs             examples by which a process died, or that took more than 20 s
    faults                     of which a row was missing or without its sentence, or an error of another kind came
    cpu_seconds                of all processes
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import record

from emeraldcut.runs import apart

sys.path.insert(0, str(record.ROOT))
from tests import fuzzing

MOST_SHOWN = 5  # faults of one format


def examples(sample: fuzzing.Sample, seed: int, start: int, number: int):
    """Damages, and whether they are of the data alone, from the `start`-th on."""
    for k in range(start, number):
        rng = np.random.default_rng([seed, k])
        kinds = rng.choice(fuzzing.KINDS_OF_DAMAGE, rng.integers(1, 7))
        damages = [(str(kind), int(rng.integers(10**6 + 1)), int(rng.integers(3000))) for kind in kinds]
        yield k, damages, bool(sample.data and rng.random() < 0.5)


def work(name: str, seed: int, start: int, number: int, folder: Path, answers: Any) -> None:
    """Reads the examples of a format, and says before each which it is, and what went wrong."""
    import warnings

    warnings.simplefilter("ignore")
    apart.SLOWEST_S = 2  # some damages make the decompressor of HCOMPRESS loop for ever
    stored = fuzzing.StoredSample(folder) if name == "set" else None
    sample = stored.sample if stored else fuzzing.SAMPLES[name]()
    for k, damages, only_data in examples(sample, seed, start, number):
        answers.send((k, ""))
        content = fuzzing.damaged(sample, damages, only_data=only_data)
        try:
            if stored:
                stored.check(content)
            elif name in fuzzing.IMAGES:
                fuzzing.check_images(sample, content, folder, only_data=only_data)
            elif name in fuzzing.SNAPSHOTS:
                fuzzing.check_snapshot(sample, content, folder)
            else:
                fuzzing.check_table(sample, content, folder)
        except Exception as error:
            answers.send((k, f"{type(error).__name__}: {str(error)[:200]} {damages} {only_data}"))
    answers.send((number, ""))


def fuzz(name: str, seed: int, number: int) -> Counter:
    """How often what went wrong with a format."""
    found, k = Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        while k < number:
            mine, theirs = get_context("spawn").Pipe(duplex=False)
            child = get_context("spawn").Process(target=work, args=(name, seed, k, number, Path(folder), theirs))
            child.start()
            theirs.close()
            try:
                while mine.poll(3 * fuzzing.LONGEST_S):
                    k, fault = mine.recv()
                    if fault:
                        found["hangs" if "it hangs" in fault else "faults"] += 1
                        if found["faults"] <= MOST_SHOWN:
                            print(f"  {name}: example {k}: {fault}", flush=True)
                found["hangs"] += 1
                print(f"  {name}: example {k} hangs", flush=True)
                child.kill()
            except EOFError:
                child.join()
                if k < number:
                    found["crashes"] += 1
                    print(f"  {name}: example {k} ends the process ({child.exitcode})", flush=True)
            child.join()
            k += k < number
    return found


def said(name: str) -> str:
    """A format by a name that can be given."""
    return name or "text map"


def main() -> None:
    """Runs all formats and prints what was found."""
    parser = record.parser(__doc__, "200 examples of each format", seed=1)
    parser.add_argument("--examples", type=int, default=20_000, help="of each format (default %(default)s)")
    parser.add_argument("--only", default="", help="formats, separated by commas")
    arguments = parser.parse_args()
    number = 200 if arguments.quick else arguments.examples
    only = arguments.only.split(",") if arguments.only else []
    names = [name for name in (*fuzzing.SAMPLES, "set") if not only or said(name) in only]
    total: Counter = Counter()
    for name in names:
        found = fuzz(name, arguments.seed, number)
        print(f"{said(name)}: {dict(found) or 'nothing'}", flush=True)
        total += found
    figures = {"examples": number, "formats": len(names)} | {n: total[n] for n in ("crashes", "hangs", "faults")}
    record.finish("fuzz", figures | {"cpu_seconds": round(sum(os.times()[:4]), 1)}, arguments)


if __name__ == "__main__":
    main()
