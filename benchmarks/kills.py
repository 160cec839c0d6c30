"""Does work that is killed again and again, with its input changed in between, end as if it had not been?

    python benchmarks/kills.py [--quick] [--only suite|commands] [--commands screen,train] [--seed N] [--kills N]
                               [--kept FILE]

`suite`: two small mergers and a control run in a process of their own. It gets SIGKILL at a random moment: after a
random number of snapshots and a random part of the time that the next one takes. Then the same command is run again.

`commands`: screen, measure, detect, fetch, observe, train, study and completeness on small inputs, in parts of 32 rows,
so that there is something to go on with. Each is killed at random moments. After half of the kills an input is changed
at the same size: images, a catalogue, labels, snapshots. After every four kills the command runs to its end. Its table
must be that of a run that was never disturbed, to the last digit. Or the command refuses to go on in one sentence that
names what has changed; then it begins again with --overwrite. `--kept` names a file in which the results of each
command are kept when it is done, so that the run can be resumed.

Keys of the last line:

    kills        processes that were killed before they had finished
    snapshots    files compared
    same         whether position, velocity, mass and the header of all files are the same
    commands     of each command: kills, changes of an input, runs to the end, those that were the same, and refusals
    all_same     whether all of these were
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import numpy as np
import record
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.images import read_images, write_images
from emeraldcut.mergers import SuiteSettings, simulate
from emeraldcut.nbody import EvolveSettings, read_snapshot
from emeraldcut.networks import load_network
from emeraldcut.tables import read_table, write_table

FLAGS = (
    "--mass-ratios 1,2 --orbits 1 --duration-gyr 0.1 --output-gyr 0.01 --halo-particles 1000 --star-particles 800 "
    "--separation 10 --quiet"
)
RUN = "import sys; from emeraldcut.cli import main; sys.exit(main())"
IN_SMALL_PARTS = """
from emeraldcut.images import ImageSource
from emeraldcut.screening import two_passes
from emeraldcut.tables import resumable
resumable.PART_ROWS, two_passes.LEAST_CAREFUL, two_passes.CHUNK = 32, 100, 16
chunks = ImageSource.chunks_after
ImageSource.chunks_after = lambda images, done: chunks(images, done, 16)
"""
KEEPS_EVERY_EPOCH = """
from emeraldcut.networks import train
import sys
sys.modules["emeraldcut.networks.train"].PAUSE_SECONDS = 0.0
"""
GALAXIES, SIDE = 240, 48
KILLS_PER_END = 4


# --- a suite


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


def kill_a_suite(place: Path, kills: int, seed: int) -> dict[str, object]:
    """A suite that is killed, against one that is not."""
    rng, killed, whole, broken = np.random.default_rng(seed), 0, place / "whole", place / "broken"
    begun = time.perf_counter()
    assert start(whole, seed).wait() == 0
    took = time.perf_counter() - begun
    print(f"undisturbed: {len(snapshots(whole))} snapshots in {took:.0f} s", flush=True)
    number = len(snapshots(whole))
    for target in np.sort(rng.integers(0, number, kills)):
        process = start(broken, seed)
        while len(snapshots(broken)) < target and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, took / number))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        print(f"kill {killed}: {len(snapshots(broken))} snapshots", flush=True)
    assert start(broken, seed).wait() == 0
    pairs = list(zip(snapshots(whole), snapshots(broken), strict=True))
    equal = all(a.name == b.name and same(a, b) for a, b in pairs)
    return {"kills": killed, "snapshots": len(pairs), "same": equal}


# --- commands


@dataclass(frozen=True)
class Work:
    """A command on one of two inputs.

    Attributes
    ----------
    make : callable
        Writes the first (False) or the second (True) input below a folder, in place of the other.
    words : str
        The command; {place} is that folder, {output} where it writes.
    result : callable
        What must be the same, of the output.
    before : str
        Python that the process runs first.
    """

    make: Callable[[Path, bool], None]
    words: str
    result: Callable[[Path], list[np.ndarray]]
    before: str = IN_SMALL_PARTS


def columns_of(path: Path) -> list[np.ndarray]:
    """All values of a table."""
    table = read_table(path)
    return [np.array(table.colnames), *(np.ma.filled(table[name], 0).astype(str) for name in table.colnames)]


def of_run(folder: Path, *names: str) -> list[np.ndarray]:
    """All values of the tables of a run."""
    return [values for name in names for values in columns_of(folder / name)]


def of_set(folder: Path) -> list[np.ndarray]:
    images = read_images(folder)
    return [*columns_of(folder / "table.parquet"), *map(np.asarray, images.pixels)]


def of_network(folder: Path) -> list[np.ndarray]:
    return [np.asarray(array) for layer in load_network(folder).layers for array in layer.weights]


def galaxies(seed: int, number: int = GALAXIES):
    return synthesise(SynthesiseSettings(number=number, size=SIDE, classes=("oval", "rectangular")), seed=seed)


def make_files(place: Path, other: bool) -> None:
    """A folder of files and a cube; the others differ in a few files, and in the number of planes."""
    folder = place / "images"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    first, second = galaxies(1), galaxies(2)
    for k in range(GALAXIES - 60):
        pixels = (second if other and k % 40 == 7 else first).pixels[k]
        fits.PrimaryHDU(pixels).writeto(folder / f"g{k:03}.fits")
    planes = first.pixels[-60 : -5 if other else None]
    fits.PrimaryHDU(np.stack(planes)).writeto(folder / "h.fits")


def make_mosaic(place: Path, other: bool) -> None:
    field = np.random.default_rng(other).normal(size=(1500, 1500)).astype(np.float32)
    for k, pixels in enumerate(galaxies(1 + other, 100).pixels):
        y, x = (140 * (k // 10) + 40, 140 * (k % 10) + 40)
        field[y : y + SIDE, x : x + SIDE] += pixels
    place.mkdir(exist_ok=True)
    fits.PrimaryHDU(field).writeto(place / "mosaic.fits", overwrite=True)


def make_catalogue(place: Path, other: bool) -> None:
    place.mkdir(exist_ok=True)
    dec = np.arange(60) / 10
    dec[17] += 3 * other
    table = Table({"id": [f"p{k}" for k in range(60)], "ra": np.full(60, 150.0), "dec": dec})
    write_table(table, place / "positions.csv", overwrite=True)


def make_suite(place: Path, other: bool) -> None:
    """A small suite, of another seed; both are kept, because they take long."""
    own = place / f"suite-{int(other)}"
    if not own.exists():
        settings = SuiteSettings(
            mass_ratios=(1.0, 2.0), orbits=1, duration_gyr=1.0, halo_particles=600, star_particles=1500, separation=8.0
        )
        simulate(own, settings, EvolveSettings(output_gyr=0.1), seed=int(other))
    shutil.rmtree(place / "suite", ignore_errors=True)
    shutil.copytree(own, place / "suite")


def make_set(place: Path, other: bool) -> None:
    """A set with labels, of which one is another."""
    images = galaxies(3, 120)
    if other:
        images.table["label"][3] = "oval" if images.table["label"][3] == "rectangular" else "rectangular"
    write_images(images, place / "images", command="synthesise", overwrite=True)


COMMANDS = {
    "screen": Work(
        make_files,
        "screen {place}/images -o {output} --best 5",
        lambda out: of_run(out, "candidates.parquet"),
    ),
    "measure": Work(make_files, "measure {place}/images -o {output}.parquet", columns_of),
    "detect": Work(make_mosaic, "detect {place}/mosaic.fits -o {output}.parquet --part-pix 256", columns_of),
    "fetch": Work(
        make_catalogue,
        "fetch --catalogue {place}/positions.csv -o {output} --service {server} --survey sky --cutout-size 24 "
        "--rate 30",
        lambda out: [*of_run(out, "cutouts.parquet"), *map(np.asarray, read_images(out).pixels)],
    ),
    "observe": Work(make_suite, "observe {place}/suite -o {output} --views 12", of_set),
    "train": Work(
        make_set,
        "train {place}/images -o {output} --network thesis --epochs 12 --batch-size 16",
        of_network,
        KEEPS_EVERY_EPOCH,
    ),
    "study": Work(
        make_suite,
        "study {place}/suite -o {output} --views 3 --snapshots 1 --known 60",
        lambda out: of_run(out, "images.parquet", "fractions.ecsv"),
    ),
    "completeness": Work(
        make_files,
        "completeness --background {place}/images -o {output} --injections 4 --snr 40,160",
        lambda out: of_run(out, "injected.parquet"),
    ),
}  # fmt: skip


class Sky(BaseHTTPRequestHandler):
    """Sends a cutout around the position that it is asked for."""

    def do_GET(self) -> None:
        query = {name: float(values[0]) for name, values in parse_qs(urlsplit(self.path).query).items()}
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [query["ra"], query["dec"]]
        wcs.wcs.crpix, wcs.wcs.cdelt = [12.5, 12.5], [-0.25 / 3600, 0.25 / 3600]
        pixels = query["dec"] + np.arange(24 * 24, dtype=np.float32).reshape(24, 24)
        file = BytesIO()
        fits.PrimaryHDU(pixels, wcs.to_header()).writeto(file)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(file.getvalue())

    def log_message(self, *words: object) -> None:
        """Nothing."""


class Victim:
    """A command in a folder of its own, which is run, killed and run again."""

    def __init__(self, name: str, place: Path, server: str) -> None:
        self.work, self.place, self.server = COMMANDS[name], place, server

    def begin(self, output: str, *more: str) -> subprocess.Popen:
        """A process that runs the command."""
        words = self.work.words.format(place=self.place, output=self.place / output, server=self.server)
        line = [sys.executable, "-c", self.work.before + RUN, *words.split(), "--quiet", *more]
        return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def result(self, output: str) -> list[np.ndarray]:
        path = self.place / (f"{output}.parquet" if "{output}.parquet" in self.work.words else output)
        return self.work.result(path)

    def has_finished(self, output: str) -> bool:
        """Whether all is there, also where the process was killed after that, as while it wrote a report."""
        finished = [self.place / output / name for name in ("manifest.json", "card.json")]
        return any(path.exists() for path in (*finished, self.place / f"{output}.parquet"))

    def forget(self, output: str) -> None:
        """Removes what the command wrote."""
        shutil.rmtree(self.place / output, ignore_errors=True)
        (self.place / f"{output}.parquet").unlink(missing_ok=True)


def refuses(process: subprocess.Popen) -> bool:
    """Whether a process that has ended has said, in one line, that something changed. RuntimeError for another end."""
    said = process.stderr.read().strip()
    lines = said.splitlines()
    if process.returncode and ("has changed" in said or "now it is" in said) and len(lines) == 1:
        return True
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"status {process.returncode}: {said}")
    return False


def kill_a_command(name: str, place: Path, kills: int, server: str, rng: np.random.Generator) -> dict[str, int]:
    """How often a command was killed, and how often it then ended as it should."""
    victim = Victim(name, place, server)
    expected, took = [], 0.0
    for other in (False, True):
        victim.work.make(place, other)
        begun, process = time.perf_counter(), victim.begin(f"undisturbed-{other}")
        process.wait()
        assert not refuses(process), name
        took = time.perf_counter() - begun
        expected.append(victim.result(f"undisturbed-{other}"))
    counts = dict.fromkeys(("kills", "changes", "ends", "same", "refusals"), 0)
    other, more, k = True, (), 0
    while counts["kills"] < kills:
        process = victim.begin("broken", *more)
        try:
            process.wait(rng.uniform(0.15, 1.0) * took)
        except subprocess.TimeoutExpired:
            process.kill()
            counts["kills"] += 1
        process.wait()
        more = ("--overwrite",) if refuses(process) else ()
        counts["refusals"] += bool(more)
        if victim.has_finished("broken") and not more:  # it was quicker than the kill
            victim.forget("broken")
        k += 1
        if k % 2:  # so half of the kills have another input after them
            other = not other
            victim.work.make(place, other)
            counts["changes"] += 1
        if k % KILLS_PER_END == 0 or counts["kills"] == kills:
            counts["ends"] += 1
            process = victim.begin("broken", *more)
            process.wait()
            if refuses(process):
                counts["refusals"] += 1
                process = victim.begin("broken", "--overwrite")
                process.wait()
                assert not refuses(process), name
            found, wanted = victim.result("broken"), expected[other]
            equal = len(found) == len(wanted) and all(map(np.array_equal, found, wanted))
            counts["same"] += equal
            victim.forget("broken")
            more = ()
    print(f"{name}: {counts}", flush=True)
    return counts


def kill_commands(place: Path, names: list[str], kills: int, seed: int, kept: Path | None) -> dict[str, object]:
    """All commands, one after another; those whose results are `kept` are done."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sky)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/?ra={{ra}}&dec={{dec}}"
    found = json.loads(kept.read_text()) if kept is not None and kept.exists() else {}
    for number, name in enumerate(names):
        own = place / name
        own.mkdir()
        if name not in found:
            found[name] = kill_a_command(name, own, kills, url, np.random.default_rng([seed, number]))
        if kept is not None:
            kept.write_text(json.dumps(found))
    server.shutdown()
    return {"commands": found, "all_same": all(counts["ends"] == counts["same"] for counts in found.values())}


def main() -> None:
    parser = record.parser(__doc__, "three kills of the suite, and four of `measure`", seed=0)
    parser.add_argument("--kills", type=int, default=None, help="default: 10 of the suite, 20 of each command")
    parser.add_argument("--only", choices=("suite", "commands"))
    parser.add_argument("--commands", default=",".join(COMMANDS), help="default: %(default)s")
    parser.add_argument("--kept", type=Path, help="file of what was found of the commands that are done")
    arguments: argparse.Namespace = parser.parse_args()
    figures: dict[str, object] = {}
    with TemporaryDirectory() as place:
        if arguments.only != "commands":
            kills = 3 if arguments.quick else arguments.kills or 10
            figures |= kill_a_suite(Path(place), kills, arguments.seed)
        if arguments.only != "suite":
            names = ["measure"] if arguments.quick else arguments.commands.split(",")
            kills = 4 if arguments.quick else arguments.kills or 20
            figures |= kill_commands(Path(place), names, kills, arguments.seed, arguments.kept)
    record.finish("kills" if arguments.only is None else f"kills-{arguments.only}", figures, arguments)


if __name__ == "__main__":
    main()
