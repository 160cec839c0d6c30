"""Apply: a stage over all images of a source, chunk by chunk, into one table or one new set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.images.psf import positive
from emeraldcut.images.readers import ImageSource, NoImagesError, ReadSettings, open_images
from emeraldcut.images.store import ImageSetWriter
from emeraldcut.images.wcs import NO_POSITION, NO_SCALE
from emeraldcut.runs.notices import listening, notice, said
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import Run, parts_of, provenance
from emeraldcut.runs.workers import map_chunks
from emeraldcut.tables.files import check_output, write_table
from emeraldcut.tables.resumable import ResumableTable, fill, join, joined_table, say_what_is_done_again

MOST_SAID = 20  # ways in which files are read, in a manifest
LACKING = {  # facts of a manifest, and the sentences that they are in
    "psf_unknown_images": "no known PSF: shapes are as seen, not corrected for it (--psf, --psf-fwhm-arcsec, "
    "--psf-fwhm-pix, or columns of these names).",
    "no_pixel_scale_images": "a WCS that states no pixel scale, which is missing, and with it all that is in arcsec.",
    "no_position_images": "a WCS that states no position: ra and dec are missing.",
}
SIGNS = {NO_SCALE: "no_pixel_scale_images", NO_POSITION: "no_position_images"}  # in `read_as`


# long: two thirds document its parameters
def apply_to_images(
    stage: Callable[[ImageSet], Table],
    source: str | Path,
    read_settings: ReadSettings,
    output: str | Path,
    *,
    command: str,
    settings: Any = None,
    seed: int | None = None,
    jobs: int | str = 1,
    overwrite: bool = False,
    raw: bool = False,
    bands: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """Writes the rows that `stage` makes of all images as one table.

    Rows are kept as they come, in `.NAME.unfinished` beside the table, so that the same call goes on where it was
    stopped. A Parquet table is never whole in memory; tables of other formats are.

    Parameters
    ----------
    stage : callable
        Takes an ImageSet and gives a table, such as `measure`, `classify`, `compare`, or a function of yours. Must be
        picklable (a module's function or a `functools.partial` of one) if `jobs` is not 1.
    source : str or Path
        Anything that `open_images` takes.
    read_settings : ReadSettings
    output : str or Path
        The table to write; its ending says in which format.
    command : str
        What the stage does, for the provenance that is written with the table.
    settings : settings dataclass or tuple of them, optional
        Those of the stage, for the provenance. Work is gone on with only if it was begun with the same.
    seed : int, optional
        That of the stage, if it draws anything, likewise.
    jobs : int or str
        Workers, as `map_chunks` takes them.
    overwrite : bool
        Replace the table if it exists.
    raw : bool
        For `write_table`.
    bands : bool
        Give the stage the single bands of images that are made of several.
    progress : Progress
        Told of each chunk that is done.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    NoImagesError
        There is no image, or, where the stage gives a column `flag`, not one that can be used.
    FileExistsError
        The table exists and `overwrite` is not set, or was begun with other settings.

    Examples
    --------
    >>> from emeraldcut.images import ReadSettings, write_images
    >>> from emeraldcut.tables import read_table
    >>> _ = write_images(ImageSet(np.ones((3, 16, 16), np.float32), Table({"id": ["a", "b", "c"]})), "set", command="x")
    >>> def brightest(images):
    ...     return Table({"id": images.table["id"], "peak": [float(pixels.max()) for pixels in images.pixels]})
    >>> path = apply_to_images(brightest, "set", ReadSettings(), "peaks.parquet", command="brightest")
    >>> read_table(path)["peak"].tolist()
    [1.0, 1.0, 1.0]
    """
    path = check_output(output, overwrite)
    with listening():
        images = open_images(source, read_settings)
        images = images.with_bands() if bands else images
        return _applied(
            stage, source, images, read_settings, path, command, settings, seed, jobs, overwrite, raw, progress
        )


def _applied(
    stage: Callable[[ImageSet], Table],
    source: str | Path,
    images: ImageSource,
    read_settings: ReadSettings,
    path: Path,
    command: str,
    settings: Any,
    seed: int | None,
    jobs: int | str,
    overwrite: bool,
    raw: bool,
    progress: Progress,
) -> Path:
    origin = provenance(command, (*parts_of(settings), read_settings), seed, _inputs(source, read_settings))
    origin |= images.facts
    beside = path.with_name(f".{path.name}.unfinished")
    rows = ResumableTable(beside, origin, f"a table of `{command}`", overwrite=overwrite, inputs=images.inputs)
    say_what_is_done_again(rows)
    progress.begin(images.expected)
    fill(rows, stage, images.chunks_after, jobs=jobs, progress=progress)
    if rows.done == 0:
        rows.remove()
        raise NoImagesError(f"'{source}' holds no images.")
    reading = reading_facts(rows)
    sentences = reading.pop("notices", [])
    origin = origin | reading | {"notices": [*said(), *sentences]}
    if path.suffix == ".parquet":
        join(rows, path, origin, whole_ids=images.whole_ids)
    else:
        write_table(
            joined_table(rows, whole_ids=images.whole_ids), path, provenance=origin, overwrite=overwrite, raw=raw
        )
    flags = rows.column("flag")
    rows.remove()
    if np.isfinite(flags).any() and not usable(flags).any():
        raise NoImagesError(f"none of the {len(flags)} images can be used; '{path}' says why.")
    for sentence in sentences:
        notice(sentence)
    return path


def map_images(
    stage: Callable[[ImageSet], ImageSet],
    source: str | Path,
    read_settings: ReadSettings,
    folder: str | Path,
    *,
    command: str,
    settings: Any = None,
    seed: int | None = None,
    jobs: int | str = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Writes the images that `stage`, such as `clean`, makes of all images of a source as a set in `folder`.

    Parameters are those of `apply_to_images`.

    Raises
    ------
    NoImagesError
        There is no image that can be used.
    FileExistsError
        The folder holds a finished run and `overwrite` is not set.
    """
    if Path(folder).resolve() == Path(source).resolve():
        raise UsageError(f"the new images need a folder of their own; '{folder}' holds the old ones.")
    images, n_usable = open_images(source, read_settings), 0
    progress.begin(images.expected)
    with ImageSetWriter(
        folder,
        command=command,
        settings=(*parts_of(settings), read_settings),
        seed=seed,
        inputs=_inputs(source, read_settings),
        overwrite=overwrite,
    ) as writer:
        writer.whole_ids, writer.facts = images.whole_ids, dict(images.facts)
        for chunk in map_chunks(stage, images.chunks(), jobs=jobs, progress=progress):
            writer.append(chunk)
            n_usable += int(usable(chunk.table["flag"]).sum())
        writer.facts["notices"] = said()
    if not n_usable:
        raise NoImagesError(f"'{source}' holds no usable images.")
    return writer.run


def reading_facts(tables: Iterable[Any]) -> dict[str, Any]:
    """For a manifest, from tables (Arrow) of rows: how their files were read, and what is not known of how many.

    Also how many could not be read. Of more than `MOST_SAID` ways, the first ones are kept. What is not known of usable
    images, and what could not be read, is also in sentences, under `notices`, if there is something.
    """
    ways: dict[str, None] = {}
    number = images = unreadable = 0
    lacking = dict.fromkeys(LACKING, 0)
    for table in tables:
        names = table.column_names
        number += len(table)
        if "flag" in names:
            flags = np.asarray(table["flag"].fill_null(0).to_numpy(), dtype=np.int64)
            unreadable += int(np.count_nonzero(flags & int(Flag.UNREADABLE)))
        if "read_as" in names and len(ways) < MOST_SAID:
            ways |= dict.fromkeys(text for text in table["read_as"].unique().to_pylist() if text)
        table = table.filter(usable(table["flag"].to_numpy())) if "flag" in names else table
        images += len(table)
        texts = table["read_as"].value_counts().to_pylist() if "read_as" in names else []
        for sign, name in SIGNS.items():
            lacking[name] += sum(row["counts"] for row in texts if sign in (row["values"] or ""))
        widths = table["psf_fwhm_pix"].to_pylist() if "psf_fwhm_pix" in names else [None] * len(table)
        lacking["psf_unknown_images"] += sum(positive(width) is None for width in widths)
    sentences = []
    if unreadable:
        sentences += [
            f"{unreadable:,} of {number:,} images could not be read; the rows of these are flagged and say why."
        ]
    for name, some in lacking.items():
        has = "image has" if images == 1 else "images has" if some == 1 else "images have"
        sentences += [f"{some:,} of {images:,} {has} {LACKING[name]}"] if some else []
    facts: dict[str, Any] = {name: some for name, some in lacking.items() if some or name == "psf_unknown_images"}
    facts |= {"unreadable_images": unreadable} | ({"read_as": list(ways)[:MOST_SAID]} if ways else {})
    return facts | ({"notices": sentences} if sentences else {})


def _inputs(source: str | Path, read_settings: ReadSettings) -> list[str | Path]:
    """The files and folders that are read."""
    return [source, read_settings.catalogue] if read_settings.catalogue else [source]
