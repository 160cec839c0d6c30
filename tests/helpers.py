"""What several test files make: particles, images, files, servers and command lines."""

import io
import os
import re
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numba.core.caching import IndexDataCacheFile
from PIL import Image

from emeraldcut import cli
from emeraldcut.data import ImageSet
from emeraldcut.galaxies.shapes import Shape
from emeraldcut.nbody import Snapshot
from emeraldcut.numerics import jit

ROOT = Path(__file__).parents[1]  # of the repository
DISC = 1  # place of the disc's stars among the components of a snapshot

# --- compiled code


class _Kept(jit._Cache):
    """Keeps what tests compile next to what commands do, so that the next run of the tests has it."""

    def _save_overload(self, sig, data):
        if (folder := jit._folder()) is not None and os.access(folder, os.W_OK) and self._impl.check_cachable(data):
            place = folder / "tests"
            place.mkdir(exist_ok=True)
            file = IndexDataCacheFile(str(place), self._impl.filename_base, "")
            file.save(self._index_key(sig, data.codegen), self._impl.reduce(data))


def from_python(part):
    """A part of compiled functions as one that Python may call."""
    dispatcher = jit.compiled(part.py_func)
    dispatcher._cache = _Kept(part.py_func)
    return dispatcher


# --- particles


def isotropic(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vectors (n, 3) of these lengths in random directions."""
    vectors = rng.normal(size=(len(lengths), 3))
    return (lengths / np.linalg.norm(vectors, axis=1))[:, None] * vectors


def plummer_radii(number: int, rng: np.random.Generator, scale: float = 1.0) -> np.ndarray:
    """Distances (n,) from the centre of Plummer's sphere, M(r) = r^3 / (r^2 + scale^2)^(3/2)."""
    return scale / np.sqrt(rng.random(number) ** (-2 / 3) - 1)


def plummer(number: int, rng: np.random.Generator | int, scale: float = 1.0) -> np.ndarray:
    """Positions (n, 3) in Plummer's sphere."""
    rng = np.random.default_rng(rng)
    return isotropic(plummer_radii(number, rng, scale), rng)


def within_outline(shape: Shape, radii: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points (2, n), one on each isophote of an outline with these radii, so that isophotes are evenly bright."""
    step = 2 * np.pi / len(shape.rho)
    area = np.concatenate([[0], np.cumsum(shape.rho**2)])  # of the outline up to the middle between two of its points
    psi = np.interp(rng.random(len(radii)), area / area[-1], step * (np.arange(len(area)) - 0.5))
    rho = radii * np.interp(psi, step * np.arange(len(shape.rho)), shape.rho, period=2 * np.pi)
    return np.stack([rho * np.cos(psi), shape.axis_ratio * rho * np.sin(psi)])


def snapshot(position, velocity=None, mass=1e6, component=DISC, galaxy=0, **more) -> Snapshot:
    """Particles of one kind, at rest unless a velocity is given."""
    n = len(position)
    return Snapshot(
        position=np.asarray(position, np.float32),
        velocity=np.zeros((n, 3), np.float32) if velocity is None else np.asarray(velocity, np.float32),
        mass=np.full(n, mass, np.float32),
        component=np.full(n, component, np.int8),
        galaxy=np.full(n, galaxy, np.int8),
        **more,
    )


# --- images


def images(*pixels, **columns) -> ImageSet:
    """A set of these images (ny, nx) with these columns."""
    rows = Table({"id": [f"image {i}" for i in range(len(pixels))], **columns})
    return ImageSet([np.asarray(p, np.float32) for p in pixels], rows)


def sky_noise_for(clean: np.ndarray, snr: float) -> float:
    """Noise per pixel at which the light inside the brightest half has this signal-to-noise ratio."""
    bright = np.sort(clean.ravel())[::-1]
    half = bright[: np.searchsorted(np.cumsum(bright), 0.5 * bright.sum())]
    return half.sum() / np.sqrt(len(half)) / snr


def tan_wcs(shape, ra=150.0, dec=2.0, angle_deg=0.0, scale_arcsec=0.3) -> WCS:
    """A tangential projection around the middle of an image of this shape, east to the left before it is turned."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [ra, dec]
    wcs.wcs.crpix, wcs.pixel_shape = [(shape[1] + 1) / 2, (shape[0] + 1) / 2], shape[::-1]
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    wcs.wcs.cd = scale_arcsec / 3600 * np.array([[-c, s], [s, c]])
    return wcs


# --- files


def fits_bytes(first, *others) -> bytes:
    """A FITS file of these units; the first may be an array."""
    file = io.BytesIO()
    first = fits.PrimaryHDU(first) if isinstance(first, np.ndarray) else first
    fits.HDUList([first, *others]).writeto(file)
    return file.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def png_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


# --- programs


class Stretches:
    """Progress that remembers each stretch of work: what it is, how much was announced, and how much was done."""

    def __init__(self):
        self.all: list[list] = []

    def begin(self, total, unit="images", what=""):
        self.all.append([f"{what} {unit}".strip(), total, 0])

    def advance(self, n=1, **figures):
        self.all[-1][2] += n

    def check(self):
        """Every stretch ended where it was said to end."""
        assert self.all and all(done == total for _, total, done in self.all), self.all


SUMMARY = r"^.*\bDone in [\d a-z]+\.\n((Best candidates|Most [a-z ]+):\n(  .*\n)*|No image could be given a score.\n)?"


def run(capsys, *words) -> tuple[int, str, str]:
    """Runs a command: its exit code, standard output, and standard error without the summary at the end."""
    code = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    err = re.sub(SUMMARY, "", err, flags=re.MULTILINE)
    return code, out.strip(), err.strip()


@contextmanager
def running(server):
    """Runs a server in a thread of its own until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
