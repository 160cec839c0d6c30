"""Does a damaged file of any format that is read end in a crash, a hang or a missing row?

    python benchmarks/fuzz.py [--quick] [--seed N] [--examples N] [--only FORMAT,...] [--kept FILE]

Every format has a small whole file (`tests/fuzzing.py`): images, tables, snapshots, PSFs, networks, answers of
services, logs of verdicts, sets of ours. Each example damages it in one to six places: bytes, bits, zeros, a cut, an
insertion, a repetition, or one of the numbers of its header replaced by another. Half of those of a format whose data
are apart from its header damage the data alone; then every row must be there. A format is read in a process of its own,
so that a crash is counted and the next example goes on. Images that are read from folders are read so, 50 at a time,
nine times of ten, and one by one otherwise and where something is wrong. Needs the packages of the tests.

`--kept` names a file in which the results of each format are kept when it is done, so that the run can be resumed.

Keys of the last line:

    examples                   of each format
    formats                    number of them
    crashes, hangs             examples by which a process died, or that took more than 20 s
    faults                     of which a row was missing or without its sentence, or an error of another kind came
    cpu_seconds                of all processes, since the run was resumed
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import record

from emeraldcut.runs import apart

sys.path.insert(0, str(record.ROOT))
from tests import fuzzing

MOST_SHOWN = 5  # faults of one format
BATCH, ALONE = 50, 10  # images in one folder; every so many-th folder is read file by file


class Example(NamedTuple):
    """A damaged file."""

    number: int
    content: bytes
    only_data: bool
    damages: list[fuzzing.Damage]


def examples(sample: fuzzing.Sample, seed: int, start: int, number: int) -> Iterator[Example]:
    """Damaged files, from the `start`-th on."""
    for k in range(start, number):
        rng = np.random.default_rng([seed, k])
        kinds = rng.choice(fuzzing.KINDS_OF_DAMAGE, rng.integers(1, 7))
        damages = [(str(kind), int(rng.integers(10**6 + 1)), int(rng.integers(3000))) for kind in kinds]
        only_data = bool(sample.data and rng.random() < 0.5)
        yield Example(k, fuzzing.damaged(sample, damages, only_data=only_data), only_data, damages)


def work(name: str, seed: int, start: int, stop: int, folder: Path, answers: Any, alone: bool) -> None:
    """Reads examples of a format, and says before each (or each folder of them) which it is, and what went wrong."""
    import warnings

    warnings.simplefilter("ignore")
    apart.SLOWEST_S = 5  # some damages make the decompressor of HCOMPRESS loop for ever
    stored = fuzzing.StoredSample(folder) if name == "set" else None
    sample = stored.sample if stored else fuzzing.SAMPLES[name]()
    together = folder / "together"
    together.mkdir(exist_ok=True)

    def one_by_one(batch: list[Example]) -> None:
        for example in batch:
            answers.send((example.number, ""))
            try:
                if stored:
                    stored.check(example.content)
                else:
                    fuzzing.check(name, sample, example.content, folder, only_data=example.only_data)
            except Exception as error:
                what = f"{type(error).__name__}: {str(error)[:200]} {example.damages} {example.only_data}"
                answers.send((example.number, what))

    for begin in range(start, stop, BATCH):
        batch = list(examples(sample, seed, begin, min(begin + BATCH, stop)))
        if alone or name not in fuzzing.IN_FOLDERS or begin // BATCH % ALONE == 0:
            one_by_one(batch)
            continue
        answers.send((begin, ""))
        try:
            fuzzing.check_folder(sample, [one.content for one in batch], together, [one.only_data for one in batch])
        except Exception as error:
            answers.send((begin, f"{type(error).__name__}: {str(error)[:200]} among the {len(batch)} from here on"))
            one_by_one(batch)
    answers.send((stop, ""))


def fuzz(name: str, seed: int, number: int) -> Counter[str]:
    """How often what went wrong with a format."""
    found, k, alone_until = Counter[str](), 0, 0

    def said(what: str, words: str) -> None:
        found[what] += 1
        if found[what] <= MOST_SHOWN:
            print(f"  {name}: example {k}{words}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        while k < number:
            alone = k < alone_until
            stop = alone_until if alone else number
            mine, theirs = get_context("spawn").Pipe(duplex=False)
            task = (name, seed, k, stop, Path(folder), theirs, alone)
            child = get_context("spawn").Process(target=work, args=task)
            child.start()
            theirs.close()
            ended = ""
            try:
                while k < stop:
                    if not mine.poll(3 * fuzzing.LONGEST_S * (1 if alone else 5)):
                        ended = " hangs"
                        child.kill()
                        break
                    k, fault = mine.recv()
                    if fault:
                        said("hangs" if "it hangs" in fault else "faults", f": {fault}")
            except EOFError:
                child.join()
                ended = f" ends the process ({child.exitcode})"
            child.join()
            if ended and not alone and name in fuzzing.IN_FOLDERS and k % BATCH == 0 and k // BATCH % ALONE:
                alone_until = min(k + BATCH, number)  # one of the folder
            elif ended:
                said("hangs" if "hangs" in ended else "crashes", ended)
                k += 1
    return found


def said(name: str) -> str:
    """A format by a name that can be given."""
    return name or "text map"


def main() -> None:
    """Runs all formats and prints what was found."""
    parser = record.parser(__doc__, "200 examples of each format", seed=1)
    parser.add_argument("--examples", type=int, default=20_000, help="of each format (default %(default)s)")
    parser.add_argument("--only", default="", help="formats, separated by commas")
    parser.add_argument("--kept", type=Path, help="file of what was found of the formats that are done")
    arguments = parser.parse_args()
    number = min(arguments.examples, 200) if arguments.quick else arguments.examples
    only = arguments.only.split(",") if arguments.only else []
    names = [name for name in (*fuzzing.SAMPLES, "set") if not only or said(name) in only]
    kept: dict[str, Any] = json.loads(arguments.kept.read_text()) if arguments.kept and arguments.kept.exists() else {}
    for name in names:
        if (known := kept.get(said(name))) is None or known["examples"] != number:
            kept[said(name)] = {"examples": number, **fuzz(name, arguments.seed, number)}
            if arguments.kept:
                arguments.kept.write_text(json.dumps(kept))
        print(f"{said(name)}: {kept[said(name)]}", flush=True)
    total = {what: sum(kept[said(name)].get(what, 0) for name in names) for what in ("crashes", "hangs", "faults")}
    figures = {"examples": number, "formats": len(names)} | total
    record.finish("fuzz", figures | {"cpu_seconds": round(sum(os.times()[:4]), 1)}, arguments)


if __name__ == "__main__":
    main()
