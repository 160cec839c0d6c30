"""Compiled code: how functions are compiled, and where the result is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import parent_process
from pathlib import Path

from numba import njit

PACKAGE = Path(__file__).parent.parent
APART = "EMERALDCUT_COMPILES_APART"  # set in the environment of the process that compiles
# What compiles all functions of a part of the program.
EXAMPLES = {
    "images": """
import emeraldcut, numpy
from astropy.table import Table
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
rng = numpy.random.default_rng(0)
light = [draw_galaxy(shapes.superellipse(q, 4), Sersic(1), radius_pix=8, psf_fwhm_pix=2) for q in (0.6, 0.98)]
pixels = [(i / i.max() * 200 + rng.normal(size=i.shape)).astype(numpy.float32) for i in light]
images = emeraldcut.ImageSet(pixels, Table({"id": ["a", "b"], "psf_fwhm_pix": [2.0, 2.0]}))
emeraldcut.measure(images)
emeraldcut.compare(images)
emeraldcut.classify(images)
emeraldcut.frame_galaxies(images).stamps
""",
    "camera": """
import numpy
from emeraldcut.nbody import Snapshot
from emeraldcut.camera.camera import ObserveSettings, observe
rng, n = numpy.random.default_rng(0), 20000
position = (rng.normal(size=(n, 3)) * [3, 2, 1]).astype(numpy.float32)
whose = numpy.zeros(n, numpy.int8)
stars = Snapshot(position, position, numpy.ones(n, numpy.float32), whose + numpy.int8(1), whose)
observe(stars, ObserveSettings(views=1))
""",
    "gravity": """
import numpy
from emeraldcut.nbody import Snapshot
from emeraldcut.nbody.gravity import accelerations
from emeraldcut.nbody.leapfrog import evolve
from emeraldcut.nbody.tree import find_neighbours, plant
position = numpy.random.default_rng(0).normal(size=(300, 3))
for engine in ("tree", "direct"):
    accelerations(position, numpy.ones(300), numpy.ones(300), engine=engine)
find_neighbours(numpy.ones(300), True, plant(position))
kinds, galaxies = numpy.zeros(300, numpy.int8), numpy.arange(300) % 2
softening = {"softening_kpc": (1.0,) * 5}
for _ in evolve(Snapshot(position, position, numpy.ones(300), kinds, galaxies, about=softening), until_gyr=0.05):
    pass
""",
    "gas": """
import numpy
from emeraldcut.nbody.sph import flow_of
one = numpy.ones(300)
flow_of(numpy.random.default_rng(0).normal(size=(300, 3)), numpy.zeros((300, 3)), one, one, one)
""",
}


def _forget_outdated() -> None:
    """Removes compiled code that is older than any source file of the package.

    Numba looks only at the file of a function, not at the files of those that it calls.
    """
    newest = max(path.stat().st_mtime for path in PACKAGE.rglob("*.py"))
    for path in PACKAGE.rglob("*.nb[ci]"):
        try:
            if path.stat().st_mtime < newest:
                path.unlink()
        except OSError:  # another process was quicker, or the folder is read-only, where nothing is kept anyway
            pass


if parent_process() is None:  # a worker leaves to its parent what that has begun with, see `compile_apart`
    _forget_outdated()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits until no other process is in here with this file. The system lets go of it when a process ends, however it
    ends; where there are no locks, nothing is waited for.
    """
    with path.open("w") as file:
        try:
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX)
        except (ImportError, OSError):  # on Windows; a file system without locks
            pass
        yield


@cache
def compile_apart(part: str) -> None:
    """Compiles all functions of a part of the program in a process of its own, if it is not compiled yet.

    A process that compiles a function and one that loads it link it differently, and sums that may be reordered then
    round differently. With this every process loads, so that results do not depend on who came first. Of several that
    start together one compiles and the others wait for it. Where nothing can be kept beside the sources, each process
    compiles for itself, or takes what numba keeps elsewhere. So does one that runs while sources are edited, if another
    that starts then removes what the first has not loaded yet.
    """
    complete = PACKAGE / "__pycache__" / f"{part}.complete.nbi"  # written last; forgotten with the rest
    if APART in os.environ or not os.access(PACKAGE, os.W_OK) or complete.exists():
        return
    if sys.stderr.isatty():
        print("emeraldcut: compiling, once, for about a minute ...", file=sys.stderr, flush=True)
    complete.parent.mkdir(exist_ok=True)  # it is not there where Python and numba keep their files elsewhere
    with _alone(complete.with_suffix(".lock")):
        if complete.exists():  # another process was quicker
            return
        command = [sys.executable, "-c", EXAMPLES[part]]
        done = subprocess.run(command, env=os.environ | {APART: "1"}, capture_output=True, text=True)
        if done.returncode == 0:
            complete.touch()
    if done.returncode != 0:
        why = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        warnings.warn(
            f"the part '{part}' could not be compiled ahead; each process compiles for itself: {why}", stacklevel=2
        )


# Sums may be reordered, so that they run on vector units; NaN keeps its meaning.
FAST = {"error_model": "numpy", "fastmath": {"reassoc", "contract", "arcp", "nsz"}}
compiled = njit(cache=True, nogil=True, **FAST)  # compiled once and kept on disk
# For parts of compiled functions, which Python does not call: without what it would need, which takes long to compile.
part = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **FAST)
