"""Compare: how alike every image is to one or several reference galaxies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import MaskedColumn, Table

from emeraldcut.data.columns import describe_columns
from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet, add_flag, concatenate
from emeraldcut.data.readers import read_images, unique_ids
from emeraldcut.frame import FrameSet, frame_galaxies
from emeraldcut.galaxies import leda074886
from emeraldcut.settings import setting
from emeraldcut.similarity.framed import framed_cosine
from emeraldcut.similarity.raw import raw_cosine
from emeraldcut.similarity.sift import sift_match

METHODS = ("frame", "cosine", "sift")
BUILT_IN_REFERENCE = "leda074886"


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """With what, and how, images are compared."""

    reference: tuple[str, ...] = setting(
        (BUILT_IN_REFERENCE,), "built-in model leda074886, or image files, separated by commas"
    )
    method: str = setting(
        "frame",
        "frame: in the galaxies' own frames; cosine: raw pixels, as the thesis; sift: keypoints",
        choices=METHODS,
    )


def read_references(names: tuple[str, ...]) -> ImageSet:
    """The reference galaxies as images: the built-in model or files.

    Raises
    ------
    ValueError
        If there is no reference, or one of them holds no usable image.
    """
    if not names:
        raise ValueError(f"compare expects at least one reference; received none. Try '{BUILT_IN_REFERENCE}'.")
    sets = []
    for name in names:
        if name == BUILT_IN_REFERENCE:
            sets.append(ImageSet([leda074886()], Table({"id": [BUILT_IN_REFERENCE]})))
        else:
            sets.append(read_images(name))
        bad = ~usable(sets[-1].table["flag"])
        if bad.any():
            raise ValueError(f"reference '{name}' is not a usable image: {sets[-1].table['flag_text'][bad][0]}")
    images = concatenate([ImageSet(list(s.pixels), s.table["id", "flag", "flag_text"]) for s in sets])
    unique = unique_ids()
    images.table["id"] = np.array([unique(name) for name in images.table["id"]], dtype=object)
    return images


def compare(
    images: ImageSet,
    settings: CompareSettings = CompareSettings(),
    *,
    seed: int = 0,
    frames: FrameSet | None = None,
    references: ImageSet | None = None,
) -> Table:
    """Similarity of every image to its best reference.

    Parameters
    ----------
    images : ImageSet
    settings : CompareSettings
    seed : int
        Not used: comparing draws no random numbers.
    frames : FrameSet, optional
        The framed galaxies of `images`, if they are at hand.
    references : ImageSet, optional
        Reference images to use instead of those named in the settings.

    Returns
    -------
    Table
        The input's table with `similarity` (1 is identical; masked where an image cannot be compared) and
        `reference`, the id of the most similar reference.
    """
    references = read_references(settings.reference) if references is None else references
    table = images.table.copy()
    if settings.method == "frame":
        frames = frame_galaxies(images) if frames is None else frames
        table["flag"], table["flag_text"] = frames.table["flag"], frames.table["flag_text"]
        values = framed_cosine(frames, frame_galaxies(references))
    else:
        method = {"cosine": raw_cosine, "sift": sift_match}[settings.method]
        values = method(images, references)
    values[~usable(table["flag"])] = np.nan
    missing = np.isnan(values).all(axis=1)
    filled = np.where(np.isnan(values), -np.inf, values)
    best = np.argmax(filled, axis=1)
    table["similarity"] = MaskedColumn(np.where(missing, 0.0, filled[np.arange(len(filled)), best]), mask=missing)
    table["reference"] = MaskedColumn(np.array(references.table["id"], dtype=object)[best], mask=missing)
    add_flag(table, missing & usable(table["flag"]), Flag.NOT_COMPARED)
    return describe_columns(table)
