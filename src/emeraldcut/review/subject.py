"""Subject: what is reviewed, a run of `screen` or any table of images, and where its images and verdicts are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data import ImageSet
from emeraldcut.data.columns import numbers
from emeraldcut.errors import UsageError
from emeraldcut.images import ReadSettings, read_images
from emeraldcut.images.matching import match_names
from emeraldcut.images.origin import FILE, PLANE, SET_ROW
from emeraldcut.images.readers import folder_groups, stem_of, unique_ids
from emeraldcut.images.source_images import SourceImages
from emeraldcut.images.store import TABLE, is_stored_set
from emeraldcut.review.verdicts import SHAPES, UNSURE, VERDICTS
from emeraldcut.runs import read_manifest
from emeraldcut.runs.run import MANIFEST
from emeraldcut.screening.two_passes import BEST, CANDIDATES, REFERENCES
from emeraldcut.similarity import read_references
from emeraldcut.tables import read_table
from emeraldcut.tables.catalogues import find_columns, read_catalogue
from emeraldcut.tables.files import table_ending

LOG = "verdicts.sqlite"  # in the folder of a run; of a table NAME.verdicts.sqlite beside it
NEEDED_COLUMNS = ("id", "rank", "score")  # of the candidates of a run
MOST_CLASSES, LONGEST_CLASS = 9, 40  # a key of a digit each; letters


@dataclass(frozen=True)
class Subject:
    """What is reviewed.

    Attributes
    ----------
    table : Table
        With `id`, `rank` and `flag`; `added` are the names of those that it came without.
    score : (n,) float
        Between 0 and 1, higher for what is searched for; 0 where nothing is known.
    network : (n,) float
        The probability that a network gave what is searched for, or the score.
    manifest : dict
        Of the run, or the provenance of the table.
    name, log, output : str and Paths
        What it is called; the file of its verdicts; where `--static` writes by default.
    verdicts : tuple of str
        What may be said of a candidate; the first is what is searched for, the last "unsure".
    images : SourceImages or None
        None if they cannot be found.
    best, references : ImageSet or None
        Images that the run keeps itself.
    """

    table: Table
    score: np.ndarray
    network: np.ndarray
    manifest: dict[str, Any]
    name: str
    log: Path
    output: Path
    verdicts: tuple[str, ...] = VERDICTS
    images: SourceImages | None = None
    best: ImageSet | None = None
    references: ImageSet | None = None
    added: tuple[str, ...] = ()


def subject(
    source: str | Path,
    classes: tuple[str, ...] = (),
    images: str | None = None,
    reference: str | None = None,
) -> Subject:
    """What is reviewed at `source`: a folder with a finished run of `screen` or `demo`, or a table.

    Parameters
    ----------
    classes : tuple of str
        To choose from, the one that is searched for first; those of emeraldcut if there are none.
    images : str, optional
        Where the images are; by default where the run or the table says.
    reference : str, optional
        A galaxy to show beside each candidate, see `similarity.read_references`; by default that of the run.

    Raises
    ------
    UsageError
        There is no such run or table, or the classes are not distinct names.
    FileNotFoundError
        There is nothing at `images`.
    """
    source, verdicts = Path(source), _verdicts(classes)
    references = None if reference is None else read_references((reference,))
    if source.is_dir() or not source.exists():
        return _of_run(source, verdicts, images, references)
    return _of_table(source, verdicts, images, references)


def _verdicts(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes and "unsure"; UsageError unless they are few distinct names."""
    names = tuple(name.strip() for name in classes if name.strip() != UNSURE) or SHAPES
    if not 2 <= len(names) < MOST_CLASSES or len(set(names)) < len(names):
        raise UsageError(
            f"--classes expects 2 to {MOST_CLASSES - 1} different names, separated by commas; received "
            f"'{','.join(classes)}'."
        )
    if wrong := [name for name in names if not 1 <= len(name) <= LONGEST_CLASS or not name.isprintable()]:
        raise UsageError(f"a class has 1 to {LONGEST_CLASS} printable characters; received {wrong[0][:80]!r}.")
    return (*names, UNSURE)


# --- a run


def _of_run(folder: Path, verdicts: tuple[str, ...], images: str | None, references: ImageSet | None) -> Subject:
    if not (folder / MANIFEST).exists() or not (folder / CANDIDATES).exists():
        raise UsageError(
            f"'{folder}' is not a finished run of `screen` or `demo` (no {MANIFEST}, or no {CANDIDATES}), and not a "
            "table."
        )
    manifest, table = read_manifest(folder), read_table(folder / CANDIDATES)
    if lacking := [name for name in NEEDED_COLUMNS if name not in table.colnames]:
        raise UsageError(
            f"'{folder / CANDIDATES}' lacks the column '{lacking[0]}'; a review needs candidates as `screen` writes "
            "them."
        )
    kept = {name: read_images(folder / name) if (folder / name / MANIFEST).exists() else None
            for name in (BEST, REFERENCES)}  # fmt: skip
    score = _score(table, verdicts[0])
    return Subject(
        table, score, _network(table, verdicts[0], score), manifest,
        Path(str(manifest.get("input_1", folder.resolve()))).name, folder / LOG, folder / "review", verdicts,
        _of_provenance(table, manifest, images, (folder.parent, folder)), kept[BEST],
        references if references is not None else kept[REFERENCES],
    )  # fmt: skip


def _of_provenance(
    table: Table, manifest: dict[str, Any], images: str | None, roots: tuple[Path, ...]
) -> SourceImages | None:
    """The images that a stage was given; None if they cannot be found."""
    try:
        return SourceImages.of_run(table, manifest, moved_to=images, roots=roots)
    except FileNotFoundError:
        if images:
            raise
        return None


# --- any table


def _of_table(path: Path, verdicts: tuple[str, ...], images: str | None, references: ImageSet | None) -> Subject:
    table = read_catalogue(path)
    if len(table) == 0:
        raise UsageError(f"'{path}' has no rows.")
    before, manifest = set(table.colnames), dict(table.meta.get("provenance", {}))
    named = find_columns(table, {}).get("file")
    if named and FILE not in before:
        table[FILE] = table[named]
    _identify(table)
    score = _score(table, verdicts[0])
    if "rank" not in before:
        table["rank"] = np.argsort(np.argsort(-score, kind="stable"), kind="stable") + 1
    if "flag" not in before:
        table["flag"] = np.zeros(len(table), dtype=np.int64)
    if references is None and "reference" in before and manifest.get("settings.reference"):
        references = read_references(tuple(manifest["settings.reference"]))
    stem = path.name[: -len(table_ending(path))]
    found = _images_of(table, path, images, manifest)
    return Subject(
        table, score, _network(table, verdicts[0], score), manifest, path.name,
        path.with_name(f"{stem}.{LOG}"), path.with_name(f"{stem}.review"), verdicts, found, references=references,
        added=tuple(name for name in table.colnames if name not in before),
    )  # fmt: skip


def _identify(table: Table) -> None:
    """Gives every row an id of its own: that of the table, or its file's name, or its number from 1."""
    if "id" in table.colnames:
        names = [str(name) for name in np.ma.filled(np.ma.asarray(table["id"], dtype=object), "")]
    elif FILE in table.colnames:
        names = [Path(str(name)).name for name in np.ma.filled(np.ma.asarray(table[FILE], dtype=object), "")]
    else:
        names = [str(number + 1) for number in range(len(table))]
    unique = unique_ids()
    table["id"] = np.array([unique(name or "nameless") for name in names], dtype=object)


def _images_of(table: Table, path: Path, images: str | None, manifest: dict[str, Any]) -> SourceImages | None:
    """Where the images of the rows are: as the table's provenance says, in its files, or in `images`, by name."""
    if images is None:
        if manifest.get("input_1"):
            found = _of_provenance(table, manifest, None, (path.parent,))
            if found is not None:
                return found
        return SourceImages(table, path.parent, roots=(path.parent,)) if FILE in table.colnames else None
    place = Path(images)
    if not place.exists():
        raise FileNotFoundError(f"there is no file or folder '{place}' to read images from.")
    if place.is_dir() and is_stored_set(place):
        stored = [str(name) for name in read_table(place / TABLE)["id"]]
        rows = {name: row for row, name in enumerate(stored)}
        table[SET_ROW] = np.array([rows.get(name, -1) for name in table["id"]])
    elif place.is_dir():
        table[FILE] = _files_by_name(table, place)
    else:
        table[FILE] = np.full(len(table), str(place), dtype=object)
        table[PLANE] = np.arange(len(table))
    return SourceImages(table, place, ReadSettings())


def _files_by_name(table: Table, folder: Path) -> np.ndarray:
    """The file of each row (n,) in a folder, empty where it has none; UsageError if hardly any row has one."""
    files = [group.path for group in folder_groups(folder, ReadSettings(), join=False)[0]]
    match = match_names([file.relative_to(folder).as_posix() for file in files], table, {}, stem_of)
    if match is None:
        shown = ", ".join(str(name) for name in table["id"][:3])
        raise UsageError(f"the images in '{folder}' have other names than the rows of the table ({shown} ...).")
    return np.array([str(files[found[0]]) if found else "" for found in match.images], dtype=object)


# --- what is likely to be what is searched for


def _network(table: Table, sought: str, score: np.ndarray) -> np.ndarray:
    return numbers(table[f"p_{sought}"], -1.0) if f"p_{sought}" in table.colnames else score


def _score(table: Table, sought: str) -> np.ndarray:
    """The score (n,) of the table, or its probability of what is searched for; values beyond 0 to 1 by their order."""
    name = next((name for name in ("score", f"p_{sought}") if name in table.colnames), None)
    if name is None or table[name].dtype.kind not in "buif":
        return np.zeros(len(table))
    values = numbers(table[name])
    known = np.isfinite(values)
    if known.any() and (values[known].min() < 0 or values[known].max() > 1):
        order = np.argsort(np.argsort(values[known], kind="stable"), kind="stable")
        values = values.copy()
        values[known] = (order + 0.5) / known.sum()
    return np.nan_to_num(values)
