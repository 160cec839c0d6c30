"""A candidate compared with its reference: a4 against radius, the residual, and other similar candidates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Row, Table

from emeraldcut.data import ImageSet, usable
from emeraldcut.data.columns import numbers
from emeraldcut.frame import FrameSet, frame_galaxies
from emeraldcut.isophotes import radial_profiles
from emeraldcut.report.figures.pictures import RESIDUAL_MAP, Picture, number, stretch, text, with_data
from emeraldcut.similarity.framed import MIRRORS

STAMP_FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # rows and columns, in the order of MIRRORS
RESIDUAL_SIGMA = 5.0  # where the colours of a residual end
ALIKE = 3  # similar candidates that are listed
TERMS = "a3 b3 a4 b4_sin a6 a8".split()
TURNED_BY_MIRRORS = "a3 b3 b4_sin".split()  # whose sign depends on the orientation
LEAST_ERROR = 0.005  # of a harmonic, added to all errors in quadrature


@dataclass(frozen=True)
class Profile:
    """a4/a against radius.

    Attributes
    ----------
    radius : (k,) float
        In half-light radii.
    a4, a4_err : (k,) float
    """

    radius: np.ndarray
    a4: np.ndarray
    a4_err: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """The comparison of a candidate with its reference; None or empty where it is not known.

    Attributes
    ----------
    profile, of_reference : Profile or None
    reference, residual : Picture or None
        The reference, mirrored to match the candidate, and the residual, candidate minus reference; both in the
        galaxies' own frames.
    alike : tuple of int
        Rows of the table with the most similar isophotes.
    """

    profile: Profile | None = None
    of_reference: Profile | None = None
    reference: Picture | None = None
    residual: Picture | None = None
    alike: tuple[int, ...] = ()


def compare_with_references(images: ImageSet, references: ImageSet | None, table: Table) -> list[Comparison]:
    """The comparison of each image that `pictures.galaxy_pictures` shows, in the same order.

    Parameters
    ----------
    images : ImageSet
        With the column `reference`, the id of the most similar of `references`, if it is known.
    references : ImageSet or None
    table : Table
        All candidates, among which similar ones are searched for.
    """
    images = with_data(images)
    frames = frame_galaxies(images)
    profiles = _profiles(images, frames)
    framed: FrameSet | None = None
    of_references: list[Profile | None] = []
    places: dict[str, int] = {}
    if references is not None and len(references):
        framed = frame_galaxies(references)
        of_references = _profiles(references, framed)
        places = {str(name): k for k, name in enumerate(references.table["id"]) if framed.galaxies[k] is not None}
    found = []
    for i, galaxy in enumerate(frames.galaxies):
        row = images.table[i]
        own = Comparison(profiles[i], alike=alike(table, row))
        k = places.get(text(row, "reference"))
        if galaxy is not None and framed is not None and k is not None:
            reference, residual = residual_of(frames, i, framed, k)
            own = replace(own, of_reference=of_references[k], reference=reference, residual=residual)
        found.append(own)
    return found


def _profiles(images: ImageSet, frames: FrameSet) -> list[Profile | None]:
    """a4 against radius of every image, None where there is no galaxy."""
    rows = radial_profiles(images, frames=frames)
    names = np.array(rows["id"], dtype=str)
    found: list[Profile | None] = []
    for name, galaxy in zip(images.table["id"], frames.galaxies, strict=True):
        own = rows[names == str(name)]
        if galaxy is None or not len(own):
            found.append(None)
            continue
        radius = np.asarray(own["isophote_radius_pix"]) / (galaxy.radius * galaxy.binning)
        a4, error = numbers(own["a4"]), numbers(own["a4_err"])
        known = np.isfinite(a4) & np.isfinite(error)  # of the smallest isophotes only the light is known
        found.append(Profile(radius[known], a4[known], error[known]) if known.any() else None)
    return found


def residual_of(frames: FrameSet, i: int, references: FrameSet, k: int) -> tuple[Picture, Picture]:
    """Pictures of reference `k`, turned as galaxy `i`, and of the residual, see `reference_and_residual`."""
    other, left, _ = reference_and_residual(frames, i, references, k)
    residual = np.clip(0.5 + left / (2 * RESIDUAL_SIGMA), 0, 1)
    return Picture(stretch(other, 0.0, 1.0), [], []), Picture(residual, [], [], colour_map=RESIDUAL_MAP)


def reference_and_residual(
    frames: FrameSet, i: int, references: FrameSet, k: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Reference `k` and the residual of galaxy `i`, in their own frames.

    Returns
    -------
    (n, n) float
        The image of the reference, mirrored such that the galaxy is most similar to it.
    (n, n) float
        The residual, in units of the noise: galaxy minus reference, scaled to the galaxy's profile.
    int
        The number of that mirror image in `MIRRORS`.
    """
    galaxy, reference = frames.galaxies[i], references.galaxies[k]
    assert galaxy is not None  # the caller chooses images with a galaxy
    assert reference is not None
    mirror = int(np.argmax(MIRRORS @ np.einsum("kt,kt->t", galaxy.rings[0], reference.rings[0])))
    own, other = frames.stamps[i], references.stamps[k][:: STAMP_FLIPS[mirror][0], :: STAMP_FLIPS[mirror][1]]
    return other, own - _scaled_to_profile(other, own), mirror


def _scaled_to_profile(reference: np.ndarray, galaxy: np.ndarray) -> np.ndarray:
    """The image of the reference, scaled such that its azimuthal mean is that of the galaxy."""
    size = len(galaxy)
    grid = np.arange(size) + 0.5 - size / 2
    radius = np.hypot(*np.meshgrid(grid, grid))
    place = np.minimum(radius, size / 2).ravel()
    ring = np.arange(int(place.max()) + 2)
    weight = np.clip(1 - np.abs(place - ring[:, None]), 0, None)  # (n_rings, p)

    def mean(stamp: np.ndarray) -> np.ndarray:
        profile = (weight @ stamp.ravel()) / np.maximum(weight.sum(axis=1), 1e-9)
        return (profile @ weight).reshape(size, size)

    own = mean(reference)
    return mean(galaxy) * np.clip(reference / np.where(np.abs(own) > 1e-6 * own.max(), own, np.inf), 0, 3)


def alike(table: Table, row: Row) -> tuple[int, ...]:
    """The rows of `table` whose harmonics are most similar to those of `row`, which is left out.

    They are sorted by the probability density of a difference of zero, with normal errors: the sum over terms of
    d^2 / s^2 + ln s^2, where d is the difference and s^2 the sum of both variances, is smallest for the most similar
    one. Signs that depend on how a galaxy is mirrored are ignored.
    """
    names = [name for name in TERMS if {name, f"{name}_err"} <= set(table.colnames) & set(row.colnames)]
    if not names:
        return ()
    unlike = np.zeros(len(table))
    for name in names:
        own, error = number(row, name), number(row, f"{name}_err")
        if own is None or error is None:
            return ()
        theirs = numbers(table[name])
        if name in TURNED_BY_MIRRORS:
            theirs, own = np.abs(theirs), abs(own)
        variance = numbers(table[f"{name}_err"]) ** 2 + error**2 + LEAST_ERROR**2
        unlike += (theirs - own) ** 2 / variance + np.log(variance)
    good = np.isfinite(unlike) & usable(table["flag"]) & (np.asarray(table["id"], dtype=str) != str(row["id"]))
    order = np.argsort(np.where(good, unlike, np.inf), kind="stable")[: min(ALIKE, int(good.sum()))]
    return tuple(int(place) for place in order)
