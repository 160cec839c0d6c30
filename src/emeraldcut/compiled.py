"""Compiled code: how functions are compiled, and the few numerical pieces that all of them share."""

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

import numpy as np
from numba import njit

PACKAGE = Path(__file__).parent
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
from emeraldcut.data.snapshot import Snapshot
from emeraldcut.mergers.camera import ObserveSettings, observe
rng, n = numpy.random.default_rng(0), 20000
position = (rng.normal(size=(n, 3)) * [3, 2, 1]).astype(numpy.float32)
whose = numpy.zeros(n, numpy.int8)
stars = Snapshot(position, position, numpy.ones(n, numpy.float32), whose + numpy.int8(1), whose)
observe(stars, ObserveSettings(views=1))
""",
    "gravity": """
import numpy
from emeraldcut.data.snapshot import Snapshot
from emeraldcut.mergers.gravity import accelerations
from emeraldcut.mergers.leapfrog import evolve
from emeraldcut.mergers.tree import find_neighbours, plant
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
from emeraldcut.mergers.sph import flow_of
one = numpy.ones(300)
flow_of(numpy.random.default_rng(0).normal(size=(300, 3)), numpy.zeros((300, 3)), one, one, one)
""",
}
MAD_TO_SIGMA = 1.4826  # a normal distribution's standard deviation over its median absolute deviation


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
    ends; where there are no locks, nothing is waited for."""
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


@compiled
def select(values: np.ndarray, n: int, k: int) -> float:
    """The k-th smallest (from 0) of the first `n` values, float32 without NaN.

    The bits of a float, as an integer, grow with it (with the sign's bit set the others are turned over), so that at
    most 32 halvings of an interval find it. Counting what is below the middle runs on vector units.
    """
    bits, keys = values[:n].view(np.int32), np.empty(n, np.int32)
    low, high = bits[0] ^ ((bits[0] >> 31) & 0x7FFFFFFF), bits[0] ^ ((bits[0] >> 31) & 0x7FFFFFFF)
    for i in range(n):
        keys[i] = bits[i] ^ ((bits[i] >> 31) & 0x7FFFFFFF)
        low, high = min(low, keys[i]), max(high, keys[i])
    while low < high:
        middle = np.int32((low + high) >> 1)
        below = np.int32(0)
        for i in range(n):
            below += np.int32(keys[i] <= middle)
        if below > k:
            high = middle
        else:
            low = middle + 1
    found = np.array([low], np.int32)
    found[0] ^= (found[0] >> 31) & 0x7FFFFFFF
    return found.view(np.float32)[0]


@compiled
def median_of(values: np.ndarray, n: int) -> float:
    """Median of the first `n` values, float32; the upper one of the two in the middle; 0 of none."""
    return select(values, n, n // 2) if n else np.float32(0)


@compiled
def _factor(matrix: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Cholesky's lower factor (n, n) of a symmetric matrix scaled to a unit diagonal, and that scale (n,).

    `ridge` is added to the diagonal. A row of zeros gets the scale 0: nothing is known, nothing moves.
    """
    n = matrix.shape[0]
    factor, scale = np.zeros((n, n)), np.empty(n)
    for i in range(n):
        scale[i] = 1 / np.sqrt(matrix[i, i]) if matrix[i, i] > 0 else 0.0
    for i in range(n):
        for j in range(i):
            total = matrix[i, j] * scale[i] * scale[j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = total / factor[j, j]
        total = 1.0 + ridge
        for k in range(i):
            total -= factor[i, k] * factor[i, k]
        factor[i, i] = np.sqrt(max(total, 1e-12))
    return factor, scale


@compiled
def invert(matrix: np.ndarray, ridge: float) -> np.ndarray:
    """Inverse (n, n) of a symmetric matrix with no negative eigenvalue; see `_factor` for `ridge` and rows of zeros."""
    n = matrix.shape[0]
    factor, scale = _factor(matrix, ridge)
    lower = np.zeros((n, n))  # inverse of the factor
    for j in range(n):
        lower[j, j] = 1 / factor[j, j]
        for i in range(j + 1, n):
            total = 0.0
            for k in range(j, i):
                total -= factor[i, k] * lower[k, j]
            lower[i, j] = total / factor[i, i]
    inverse = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, n):
                total += lower[k, i] * lower[k, j]
            inverse[i, j] = total * scale[i] * scale[j]
            inverse[j, i] = inverse[i, j]
    return inverse


@compiled
def solve(matrix: np.ndarray, right: np.ndarray, ridge: float) -> np.ndarray:
    """The solution (n,) of matrix x = right, in the manner of `invert`."""
    n, x = matrix.shape[0], np.empty(matrix.shape[0])
    factor, scale = _factor(matrix, ridge)
    for i in range(n):
        total = right[i] * scale[i]
        for k in range(i):
            total -= factor[i, k] * x[k]
        x[i] = total / factor[i, i]
    for i in range(n - 1, -1, -1):
        total = x[i]
        for k in range(i + 1, n):
            total -= factor[k, i] * x[k]
        x[i] = total / factor[i, i]
    return x * scale


@compiled
def four_products(first: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray):
    """Scalar products of `first` (n,) float32 with four others; it is loaded once for all of them."""
    t0, t1, t2, t3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for j in range(len(first)):
        f = first[j]
        t0 += f * a[j]
        t1 += f * b[j]
        t2 += f * c[j]
        t3 += f * d[j]
    return t0, t1, t2, t3


@compiled
def arcsinh(values: np.ndarray) -> None:
    """Replaces float32 `values` (n,) by their arcsinh, to 1e-6, in loops that run on vector units.

    sign(x) log(|x| + sqrt(x^2 + 1)), with the logarithm by exponent and a polynomial of the mantissa (the one of `logf`
    in the Cephes library, Moshier 1989).
    """
    n = len(values)
    larger, shifted = np.empty(n, np.float32), np.empty(n, np.float32)
    one, half = np.float32(1), np.float32(0.5)
    for i in range(n):
        x = abs(values[i])
        larger[i] = x + np.sqrt(x * x + one)
    bits, mantissa = larger.view(np.int32), shifted.view(np.int32)
    for i in range(n):
        mantissa[i] = (bits[i] & 0x7FFFFF) | 0x3F800000
    for i in range(n):
        exponent = np.float32((bits[i] >> 23) - 127)
        high = shifted[i] > np.float32(1.41421356)
        f = (half * shifted[i] if high else shifted[i]) - one
        exponent += one if high else np.float32(0)
        p = np.float32(7.0376836292e-2) * f - np.float32(1.1514610310e-1)
        p = p * f + np.float32(1.1676998740e-1)
        p = p * f - np.float32(1.2420140846e-1)
        p = p * f + np.float32(1.4249322787e-1)
        p = p * f - np.float32(1.6668057665e-1)
        p = p * f + np.float32(2.0000714765e-1)
        p = p * f - np.float32(2.4999993993e-1)
        p = p * f + np.float32(3.3333331174e-1)
        square = f * f
        log = f - half * square + p * f * square + exponent * np.float32(0.69314718)
        values[i] = log if values[i] >= 0 else -log
