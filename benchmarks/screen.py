"""How fast is `screen` on a million images on disk, how much memory does it need, and does it survive kills?

    python benchmarks/screen.py [--quick] [--seed N] [--number N] [--small N] [--jobs N] [--kills N]
        [--only speed|kills] [--alone] [--folder DIR]

The set is made of 2,048 synthetic galaxies (0.5 % of them rectangular, 64 x 64 pixels, S/N of at least 300), repeated;
each time turned and mirrored in one of eight ways, with fresh noise for an S/N of 15 to 300. It is written as an
emeraldcut image set (HDF5), and `emeraldcut screen` reads it from there in a process of its own.

- Speed and memory (record `screen-speed`): the first `--small` images and all, with `--jobs` workers. Peaks are those
  that the system keeps for each process (VmHWM). The speed of a core is images over CPU seconds of all processes, start
  and report included, so that other work on the machine does not count.
- Workers: the small set with one and with two; with --alone also all images with one.
- Kills (record `screen-kills`): a run of other images in which the main process or a worker gets SIGKILL at random
  moments, and the command is run again until it has finished; one round is on a Dask cluster whose worker and scheduler
  are killed. The table must be that of an undisturbed run, by id.

Keys of the last line:

    images, images_per_second_core     of the large run
    wall_seconds, jobs                 of the large run
    stages                             CPU milliseconds per image by stage, measured in this process
    seconds                            wall seconds of the parts of the large run
    peak_memory_mb, main_memory_mb     of the largest worker, and of the main process, in the large run
    together_memory_mb                 largest sum over all processes at one time, in the large run
    small_images                       of the small run
    memory_growth                      of main process and workers together, large over small run, minus 1
    together_memory_growth, worker_memory_growth, main_memory_growth
                                       the same of all at one time, of the largest worker, of the main process
    scaling_2_workers                  wall time of the small run with one worker over that with two
    scaling                            --alone: the same of the large run with `jobs`
    kill_images, kills, kills_cluster  images of that run, and processes that were killed
    same                               whether its tables are those of an undisturbed run
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import record

from emeraldcut.data.imageset import ImageSet
from emeraldcut.frame import frame_galaxies
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.images import ImageSetWriter, open_images
from emeraldcut.isophotes import MeasureSettings, measure
from emeraldcut.networks import ClassifySettings, classify
from emeraldcut.runs import read_manifest
from emeraldcut.screening import examine
from emeraldcut.similarity import prepare_references, read_references
from emeraldcut.tables import read_table
from emeraldcut.tables.arrow import to_arrow

RUN = "import sys; from emeraldcut.cli import main; sys.exit(main())"
# With parts of 512 rows and a full analysis of 1,000 images, a small set is enough for kills in every stage.
SMALL_PARTS = "from emeraldcut.screening import two_passes; from emeraldcut.tables import resumable; "
SMALL_PARTS += "resumable.PART_ROWS = 512; two_passes.LEAST_CAREFUL = 1000; "
DRAWN = SynthesiseSettings(number=2048, weights=(0.4, 0.005, 0.1, 0.495), snr_min=300, snr_max=1000)
SNR = 15.0, 300.0
BLOCK = 4096
KEPT = ["label", "psf_fwhm_pix", "pixel_scale_arcsec", "sky_sigma"]


def make_set(folder: Path, number: int, drawn: ImageSet, seed: int) -> Path:
    """A set of `number` images on disk, written block by block."""
    with ImageSetWriter(folder, command="synthesise", seed=seed) as writer:
        for start in range(0, number, BLOCK):
            rng = np.random.default_rng([seed, start])
            n = min(BLOCK, number - start)
            rows = rng.integers(0, len(drawn), n)
            snr = np.exp(rng.uniform(*np.log(SNR), n)).astype(np.float32)
            sigma = np.sqrt((np.array(drawn.table["truth_snr"], np.float32)[rows] / snr) ** 2 - 1)
            pixels = np.empty((n, *drawn.pixels.shape[1:]), np.float32)
            for k, (row, turn) in enumerate(zip(rows, rng.integers(0, 8, n), strict=True)):
                image = np.rot90(drawn.pixels[row], turn % 4)
                pixels[k] = image[::-1] if turn >= 4 else image
            pixels += sigma[:, None, None] * rng.standard_normal(pixels.shape, np.float32)
            table = drawn.table[KEPT][rows]
            table["id"] = np.array([f"galaxy-{start + k:08d}" for k in range(n)], dtype=object)
            table["sky_sigma"] = np.hypot(sigma, table["sky_sigma"])
            writer.append(ImageSet(pixels, table))
    return folder


def start(source: Path, folder: Path, *words: str, run: str = RUN) -> subprocess.Popen:
    """A process that screens; its messages are in `folder`.log."""
    command = [sys.executable, "-c", run, "screen", str(source), "-o", str(folder), "--quiet", *words]
    with folder.with_suffix(".log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def watched(source: Path, folder: Path, jobs: int, *words: str, run: str = RUN) -> dict[str, float]:
    """Figures of a run: wall and CPU seconds, peak memory of the main process, the largest worker and all together."""
    seen = record.watch(start(source, folder, "--jobs", str(jobs), *words, run=run))
    assert seen.returncode == 0, folder.with_suffix(".log").read_text()
    facts = read_manifest(folder)
    figures = {"images": facts["images"], "wall": seen.wall_s, "cpu": seen.cpu_s, "main": seen.main_mb}
    return figures | {"together": seen.together_mb, "worker": seen.worker_mb, "seconds": facts["seconds"]}


def stages(folder: Path) -> dict[str, float]:
    """CPU milliseconds per image by stage, in this process, chunk by chunk."""
    references = prepare_references(read_references(("leda074886",)))
    spent: dict[str, float] = {}

    def timed(name: str, work):
        begun = time.process_time()
        result = work()
        spent[name] = spent.get(name, 0.0) + time.process_time() - begun
        return result

    source = open_images(folder)
    number, chunks = 0, source.chunks()
    for count in range(min(9, source.n_images // 256)):
        images = timed("read from disk", lambda: next(chunks))
        frames = timed("frame", partial(frame_galaxies, images))
        seen = MeasureSettings(psf_correction=False)
        table = timed("harmonics", partial(measure, images, seen, frames=frames))
        timed("network", partial(classify, images, ClassifySettings(), frames=frames))
        timed("rows for the table", partial(to_arrow, table))
        timed("full analysis", partial(examine, images, references=references))
        if count == 0:  # the first loads libraries
            spent.clear()
        else:
            number += len(images)
    return {name: 1000 * seconds / number for name, seconds in spent.items()}


def same(one: Path, other: Path) -> bool:
    """Whether two runs have the same candidates, by id, and each id once."""
    first, second = (read_table(folder / "candidates.parquet") for folder in (one, other))
    for table in (first, second):
        if len(set(table["id"])) != len(table):
            return False
        table.sort("id")
    return first.colnames == second.colnames and all(
        np.array_equal(np.ma.getmaskarray(first[name]), np.ma.getmaskarray(second[name]))
        and np.all(np.ma.filled(first[name] == second[name], True) | (first[name] != first[name]))
        for name in first.colnames
    )


def kill_at_random(source: Path, broken: Path, took: float, kills: int, jobs: int, rng) -> int:
    """Restarts a run until it has been killed so many times, and then lets it finish. Returns the number of kills."""
    killed = 0
    while killed < kills:
        process = start(source, broken, "--jobs", str(jobs), "--overwrite", run=SMALL_PARTS + RUN)
        deadline = time.perf_counter() + rng.uniform(0.05, 1.0) * took
        while time.perf_counter() < deadline and process.poll() is None:
            time.sleep(0.02)
        workers = record.children(process.pid)
        victim = int(rng.choice(workers)) if workers and rng.random() < 0.5 else process.pid
        if process.poll() is None:
            os.kill(victim, signal.SIGKILL)
            killed += process.wait() != 0
            parts = [len(list(broken.glob(f"rows_{one}/0*.parquet"))) for one in ("first", "careful")]
            print(
                f"kill {killed}: {'main process' if victim == process.pid else 'a worker'}, parts {parts}", flush=True
            )
    if not (broken / "manifest.json").exists():
        assert start(source, broken, "--jobs", str(jobs), run=SMALL_PARTS + RUN).wait() == 0
    return killed


def cluster(port: int, workers: int) -> list[subprocess.Popen]:
    """A Dask scheduler and its workers, each a process."""
    address, quiet = f"tcp://127.0.0.1:{port}", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    module = "distributed.cli.dask_{}".format
    head = [sys.executable, "-m", module("scheduler"), "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    hand = [sys.executable, "-m", module("worker"), address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    return [subprocess.Popen(head, **quiet), *(subprocess.Popen(hand, **quiet) for _ in range(workers))]


def kill_cluster(source: Path, broken: Path, took: float, rng, port: int = 18_786) -> int:
    """A run on a cluster whose worker and then scheduler is killed, and one that finishes it. Returns the kills."""
    words = "--cluster", f"tcp://127.0.0.1:{port}"
    running = cluster(port, 2)
    process = start(source, broken, *words, run=SMALL_PARTS + RUN)
    try:
        for victim, parts in ((running[1], "rows_first"), (running[0], "rows_careful")):
            while not list(broken.glob(f"{parts}/0*.parquet")) and process.poll() is None:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 0.01) * took)
            victim.kill()
        assert process.wait() == 1, "without its scheduler the run should have stopped"
    finally:
        for other in running:
            other.kill()
            other.wait()
    running = cluster(port, 2)
    try:
        assert start(source, broken, *words, run=SMALL_PARTS + RUN).wait() == 0
    finally:
        for other in running:
            other.kill()
            other.wait()
    return 2


def main() -> None:
    parser = record.parser(__doc__, "2,000 and 1,000 images, one kill, no cluster", seed=0)
    parser.add_argument("--number", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kill-images", type=int, default=6000)
    parser.add_argument("--only", choices=("speed", "kills"), help="one half of the figures")
    parser.add_argument("--alone", action="store_true", help="also all images with one worker")
    parser.add_argument("--folder", type=Path, help="for sets and runs (default: a temporary folder)")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.number, arguments.small, arguments.kill_images, arguments.kills = 2000, 1000, 1500, 1
    figures: dict[str, object] = {}
    with TemporaryDirectory() as temporary:
        place = arguments.folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        drawn = synthesise(replace(DRAWN, number=256) if arguments.quick else DRAWN, seed=arguments.seed)
        for name, half in (("speed", speed), ("kills", kills)):
            if arguments.only in (None, name):
                found = half(place, drawn, arguments)
                record.save(f"screen-{name}", found, arguments, peers=("distributed",))
                figures |= found
    record.show(figures)


def speed(place: Path, drawn: ImageSet, arguments: argparse.Namespace) -> dict[str, object]:
    """Figures of speed, memory and workers."""
    begun, jobs = time.perf_counter(), arguments.jobs
    source = make_set(place / "set", arguments.number, drawn, arguments.seed)
    print(f"{arguments.number:,} images on disk after {time.perf_counter() - begun:.0f} s", flush=True)
    parts = stages(source)
    print("CPU milliseconds per image:", ", ".join(f"{name} {ms:.3f}" for name, ms in parts.items()), flush=True)
    small = ("--limit", str(arguments.small))
    runs = {}
    print("run     images  workers     wall s      CPU s  images/s/core  main MB  worker MB  together MB")
    planned = [("one", 1, small), ("two", 2, small), ("large", jobs, ()), ("alone", 1, ())]
    for name, workers, words in planned[: 3 + arguments.alone]:
        run = runs[name] = watched(source, place / name, workers, *words)
        print(f"{name:6} {run['images']:8,} {workers:8} {run['wall']:10.1f} {run['cpu']:10.1f}"
              f" {run['images'] / run['cpu']:14.0f} {run['main']:8.0f} {run['worker']:10.0f}"
              f" {run['together']:12.0f}", flush=True)  # fmt: skip
    large, little = runs["large"], runs["two" if jobs > 1 else "one"]
    memory = [run["main"] + (jobs > 1) * jobs * run["worker"] for run in (little, large)]
    figures = {"scaling": runs["alone"]["wall"] / large["wall"]} if arguments.alone else {}
    return figures | {
        "images": large["images"],
        "images_per_second_core": large["images"] / large["cpu"],
        "wall_seconds": large["wall"],
        "jobs": jobs,
        "stages": parts,
        "seconds": large["seconds"],
        "peak_memory_mb": large["worker"],
        "main_memory_mb": large["main"],
        "together_memory_mb": large["together"],
        "small_images": little["images"],
        "memory_growth": memory[1] / memory[0] - 1,
        **{f"{whose}_memory_growth": large[whose] / little[whose] - 1 for whose in ("together", "worker", "main")},
        "scaling_2_workers": runs["one"]["wall"] / runs["two"]["wall"],
    }


def kills(place: Path, drawn: ImageSet, arguments: argparse.Namespace) -> dict[str, object]:
    """Figures of runs that are killed."""
    rng = np.random.default_rng(arguments.seed)
    source = make_set(place / "few", arguments.kill_images, drawn, arguments.seed + 1)
    took = watched(source, place / "whole", 2, run=SMALL_PARTS + RUN)["wall"]
    print(f"undisturbed: {took:.0f} s", flush=True)
    killed, on_cluster = kill_at_random(source, place / "broken", took, arguments.kills, 2, rng), 0
    equal = same(place / "whole", place / "broken")
    if not arguments.quick:
        on_cluster = kill_cluster(source, place / "broken_cluster", took, rng)
        equal = equal and same(place / "whole", place / "broken_cluster")
    return {"kill_images": arguments.kill_images, "kills": killed, "kills_cluster": on_cluster, "same": equal}


if __name__ == "__main__":
    main()
