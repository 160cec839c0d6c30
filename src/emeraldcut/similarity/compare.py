"""The similarity of every image to one or several reference galaxies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy.table import MaskedColumn, Table

from emeraldcut.data.columns import describe_columns
from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet, add_flag
from emeraldcut.errors import UsageError
from emeraldcut.frame import FrameSet, frame_galaxies, known_psf
from emeraldcut.frame.ellipse_fit import fit_example
from emeraldcut.frame.frame import frame_example, maps_example
from emeraldcut.frame.quick_shape import quick_shape_example
from emeraldcut.galaxies import leda074886
from emeraldcut.images.readers import read_images, unique_ids
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.runs.workers import single_threaded
from emeraldcut.settings import Settings, setting
from emeraldcut.similarity.framed import Deviations, similarities
from emeraldcut.similarity.null import Null, conditions, null_of, ordinary
from emeraldcut.similarity.raw import oriented_cosine, raw_cosine
from emeraldcut.similarity.sift import sift_match

METHODS = ("frame", "cosine", "sift")
BUILT_IN_REFERENCE = "leda074886"
LEAST_DISTANCE = 1e-12  # that single precision tells from 0


@dataclass(frozen=True, kw_only=True)
class CompareSettings(Settings):
    """Which references images are compared with, and by which method."""

    reference: tuple[str, ...] = setting(
        (BUILT_IN_REFERENCE,),
        "reference galaxy: the built-in model leda074886, or image files, separated by commas",
        reads=True,
    )
    negative: tuple[str, ...] = setting(
        (), "image files of galaxies that matches should be unlike (method frame)", reads=True
    )
    method: str = setting(
        "frame",
        "frame: in the galaxies' own frames; cosine: raw pixels, the thesis method; sift: keypoints",
        choices=METHODS,
    )

    def check(self) -> None:
        """UsageError for negative references with another method than `frame`."""
        if self.negative and self.method != "frame":
            raise UsageError(f"negative references need --method frame; received --method {self.method}.")


@dataclass(frozen=True)
class References:
    """The references that images are compared with, prepared once.

    Attributes
    ----------
    images : ImageSet
        The reference galaxies.
    positive, negative : Deviations
        Of the references, and of galaxies that matches should be unlike.
    """

    images: ImageSet
    positive: Deviations
    negative: Deviations

    @cached_property
    def null(self) -> Null:
        """The distribution of the closeness of ordinary galaxies to these references."""
        return null_of(np.asarray(self.score(ordinary().deviations)[1], dtype=np.float64).tobytes())

    def score(self, deviations: Deviations) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Similarity (n,) to the most similar reference, closeness (n,) to it, and the number of that reference (n,).

        Closeness is - ln of the distance, see `similarities`. The similarity to the most similar negative reference is
        subtracted where it is positive, and added to the distance.
        """
        alike, apart = similarities(deviations, self.positive)
        score, best = _best(alike)
        distance = apart[np.arange(len(best)), best]
        if len(self.negative.terms):
            unlike = np.maximum(np.nanmax(similarities(deviations, self.negative)[0], axis=1), 0.0)
            score, distance = score - unlike, distance + unlike
        return score, -np.log(np.maximum(distance, LEAST_DISTANCE)), best


def read_references(names: tuple[str, ...]) -> ImageSet:
    """The images of the reference galaxies, which are the built-in model or files.

    Raises
    ------
    ValueError
        If there is no reference, or one of them has no usable image.
    """
    if not names:
        raise UsageError(f"compare expects at least one reference; received none. Try '{BUILT_IN_REFERENCE}'.")
    sets = []
    for name in names:
        if name == BUILT_IN_REFERENCE:
            sets.append(ImageSet([leda074886()], Table({"id": [BUILT_IN_REFERENCE]})))
        else:
            sets.append(read_images(name))
        bad = ~usable(sets[-1].table["flag"])
        if bad.any():
            raise UsageError(f"reference '{name}' is not a usable image: {sets[-1].table['flag_text'][bad][0]}")
    rows = [
        {"id": row["id"], "flag": row["flag"], "flag_text": row["flag_text"], "psf_fwhm_pix": fwhm}
        for s in sets
        for row, fwhm in zip(s.table, known_psf(s), strict=True)
    ]
    images = ImageSet.from_rows([pixels for s in sets for pixels in s.pixels], rows)
    unique = unique_ids()
    images.table["id"] = np.array([unique(name) for name in images.table["id"]], dtype=object)
    return images


def prepare_references(images: ImageSet, negative: ImageSet | None = None) -> References:
    """The references in their own frames, prepared once for any number of images.

    Raises
    ------
    ValueError
        If one of them has no galaxy.
    """
    parts: list[Deviations] = []
    for chosen in (images, negative):
        if chosen is None:
            parts.append(parts[0][:0])
            continue
        frames = frame_galaxies(chosen)
        if None in frames.galaxies:
            name = chosen.table["id"][frames.galaxies.index(None)]
            raise UsageError(f"a reference needs a galaxy that stands out of the noise; '{name}' has none.")
        parts.append(Deviations.of(frames, known_psf(chosen)))
    return References(images, *parts)


@single_threaded
def compare(
    images: ImageSet,
    settings: CompareSettings = CompareSettings(),
    *,
    frames: FrameSet | None = None,
    references: ImageSet | References | None = None,
) -> Table:
    """The similarity of every image to the reference that it is most like.

    Parameters
    ----------
    images : ImageSet
    settings : CompareSettings
    frames : FrameSet, optional
        The framed galaxies of `images`, if they were computed before.
    references : ImageSet or References, optional
        Used instead of those named in the settings. References from `prepare_references` are not prepared again.

    Returns
    -------
    Table
        The table of the images with `similarity` (1 is identical; masked where an image cannot be compared) and
        `reference`, the id of the most similar reference.

        The method `frame` adds `similarity_p`, the probability that an ordinary galaxy of the same S/N, size and axis
        ratio is at least as similar (see `similarity.null`). The method `cosine` adds `similarity_oriented`, the cosine
        at the best of all rotations and mirror images of the reference, with `turn_deg` and `mirrored`.
    """
    if settings.method == "frame":
        compile_ahead("compare", quick_shape_example, fit_example, frame_example, maps_example)
    references = read_references(settings.reference) if references is None else references
    table = images.table.copy()
    extra: dict[str, np.ndarray] = {}
    if settings.method == "frame":
        if isinstance(references, ImageSet):
            negative = read_references(settings.negative) if settings.negative else None
            references = prepare_references(references, negative)
        frames = frame_galaxies(images) if frames is None else frames
        table["flag"], table["flag_text"] = frames.table["flag"], frames.table["flag_text"]
        values, closeness, best = references.score(Deviations.of(frames, known_psf(images)))
        extra["similarity_p"] = references.null.p_values(closeness, conditions(images, frames))
        reference_images = references.images
    else:
        reference_images = references.images if isinstance(references, References) else references
        method = {"cosine": raw_cosine, "sift": sift_match}[settings.method]
        values, best = _best(method(images, reference_images))
        if settings.method == "cosine":
            oriented, turn, mirrored = oriented_cosine(images, reference_images)
            extra["similarity_oriented"], best_oriented = _best(oriented)
            rows = np.arange(len(images))
            extra["turn_deg"], extra["mirrored"] = turn[rows, best_oriented], mirrored[rows, best_oriented]
    missing = ~np.isfinite(values) | ~usable(table["flag"])
    # the noise is corrected for on average, so that the value of a single galaxy may exceed that of an identical one
    table["similarity"] = MaskedColumn(np.where(missing, 0.0, np.minimum(values, 1.0)), mask=missing)
    for name, column in extra.items():
        table[name] = MaskedColumn(np.where(missing, 0, column), mask=missing)
    table["reference"] = MaskedColumn(np.array(reference_images.table["id"], dtype=object)[best], mask=missing)
    add_flag(table, missing & usable(table["flag"]), Flag.NOT_COMPARED)
    return describe_columns(table)


def _best(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each row of values (n, n_references), NaN if there is none, and its index; both (n,)."""
    best = np.argmax(np.where(np.isnan(values), -np.inf, values), axis=1)
    return values[np.arange(len(values)), best], best
