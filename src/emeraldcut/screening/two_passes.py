"""Screen any number of images: a first look at all, a careful one at the best, a list that is never whole in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from astropy.table import Table

from emeraldcut.data import ImageSet, usable
from emeraldcut.errors import UsageError
from emeraldcut.images import ImageSource, NoImagesError, ReadSettings, open_images, write_images
from emeraldcut.images.apply import reading_facts
from emeraldcut.images.source_images import SourceImages
from emeraldcut.images.store import StoredImages
from emeraldcut.networks import load_network
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.runs import SILENT, Progress, Run
from emeraldcut.runs.run import MANIFEST
from emeraldcut.runs.workers import Workers, started
from emeraldcut.screening.screen import EXAMPLES, LEAST_CAREFUL, ScreenSettings, examine_with_bound, expectations
from emeraldcut.similarity import References, prepare_references, read_references
from emeraldcut.tables import ResumableTable, fill, write_table
from emeraldcut.tables.arrow import column_of, described, from_arrow, joined, joined_schema, table_pieces, write_joined
from emeraldcut.tables.sorting import in_order

if TYPE_CHECKING:
    import pyarrow as pa

FIRST, CAREFUL, SORTED = "rows_first", "rows_careful", "rows_sorted"  # folders of a run that is not finished
CHUNK = 256  # images that get a careful look at a time
LISTED_ROWS = 10_000  # best candidates that are also written as text
# Columns of unfinished tables that are not of the result.
HIGHEST, FLAG, FLAG_TEXT, PLACE = "_highest", "_flag", "_flag_text", "_place"
WHERE = ["id", "file", "mosaic_x", "mosaic_y"]  # what tells where an image is
CANDIDATES = "candidates.parquet"  # the ranked table of a run of `screen`
LISTED = "candidates.ecsv"  # the first of its rows
BEST, REFERENCES = "best", "references"  # its sets: images of the best candidates, and what they are compared with


def screen_run(
    source: str | Path,
    folder: str | Path,
    settings: ScreenSettings = ScreenSettings(),
    read_settings: ReadSettings = ReadSettings(),
    *,
    jobs: int | str = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Screens all images of `source`, chunk by chunk, into a run folder.

    What is found is written as it comes, so that a run that ended early goes on when it is started again. Memory does
    not grow with the number of images, but for a few numbers of each.

    The folder gets `candidates.parquet` (one row per input image, best first), `candidates.ecsv` (the first 10,000 of
    them), the sets `best` and `references` with images to look at, `settings.toml`, and, when everything is done,
    `manifest.json`: `careful` is the number of images with a careful look, and down to the rank `sure_ranks` the list
    is as if all images had had one.

    Raises
    ------
    NoImagesError
        There is no image, or not one of them can be used.
    FileExistsError
        The folder holds a finished run and `overwrite` is not set, or an unfinished one with other settings.
    """
    if Path(folder).resolve() == Path(source).resolve():
        raise UsageError(f"the results need a folder of their own; '{folder}' is that of the images.")
    images, references = open_images(source, read_settings), read_references(settings.reference)
    compile_ahead("screen", *EXAMPLES)
    run, first, careful = _begin_run(source, folder, settings, read_settings, overwrite)
    with started(jobs, partial(load_network, settings.network)) as workers:
        prepared = prepare_references(references)
        prepared.null  # noqa: B018  made here, once, and not by every worker
        first_pass = partial(_first_pass, settings=settings, references=prepared)
        careful_pass = partial(_careful_pass, settings=settings, references=prepared)
        chosen = partial(_chosen, first, source=source, read_settings=read_settings)
        passes = _both_passes(
            images, first, careful, first_pass, careful_pass, chosen, settings.careful, jobs=workers, progress=progress
        )
        if len(first) == 0:
            raise NoImagesError(f"'{source}' holds no images.")
    best = _write_ranked(first, careful, passes.places, run, settings.best)
    kept = _with_images(best, source, read_settings)
    for name, shown in ((BEST, kept), (REFERENCES, references)):
        write_images(shown, run.path(name), command="screen", settings=settings, overwrite=True)
    column, reading = partial(column_of, [run.path(CANDIDATES)]), reading_facts(first)
    facts = passes.facts(column) | {"usable": int(usable(column("flag")).sum())}
    facts["seconds"] = passes.seconds | {"list": round(time.perf_counter() - passes.ended, 2)}
    ranked = Table({"p_rectangular": np.nan_to_num(column("p_rectangular")), "snr": column("snr")}, copy=False)
    run.finish(**facts, **reading, **expectations(ranked, settings))
    for rows in (first, careful):
        rows.remove()
    if facts["usable"] == 0:
        raise NoImagesError(f"none of the {len(first)} images in '{source}' can be used; see '{run.folder}'.")
    return run


def _begin_run(
    source: str | Path,
    folder: str | Path,
    settings: ScreenSettings,
    read_settings: ReadSettings,
    overwrite: bool,
) -> tuple[Run, ResumableTable, ResumableTable]:
    """The run, begun or to be gone on with, and its tables of the first and of the careful pass."""
    inputs = [name for name in (source, read_settings.catalogue) if name]
    finished = (Path(folder) / MANIFEST).exists()
    run = Run.start(folder, "screen", (settings, read_settings), inputs=inputs, overwrite=overwrite)
    if finished:
        for name in (FIRST, CAREFUL):
            rmtree(run.folder / name, ignore_errors=True)
    first, careful = (
        ResumableTable(run.folder / name, run.origin, "a run of `screen`", overwrite=overwrite)
        for name in (FIRST, CAREFUL)
    )
    return run, first, careful


class _Passes(NamedTuple):
    """Which images had the careful pass, and how long both took."""

    number: int  # of images
    everything: bool  # all of them had it, at once
    places: np.ndarray  # (n,) theirs in the input, rising, where it was not all of them
    cut: float  # above it, no other image could have a score
    seconds: dict[str, float]
    ended: float  # on the clock `time.perf_counter`

    def facts(self, column: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """For the manifest, from a `column` of the ranked table: how many had the careful pass, how far it is final."""
        if self.everything:
            return dict.fromkeys(("images", "careful", "sure_ranks"), self.number)
        sure = int(np.sum(column("score") > self.cut))
        return {"images": self.number, "careful": len(self.places), "sure_ranks": sure}


def _both_passes(
    images: ImageSource,
    first: ResumableTable,
    careful: ResumableTable,
    first_pass: Callable[..., Table],
    careful_pass: Callable[[ImageSet], Table],
    chosen: Callable[..., Iterator[ImageSet | StoredImages]],
    fraction: float,
    *,
    jobs: int | str | Workers,
    progress: Progress,
) -> _Passes:
    """Fills the table of the first pass with all images, and that of the careful one with the most promising.

    `fraction` of them get it, or all at once where there are few.
    """
    clock = [time.perf_counter()]
    everything = fraction == 1 or _at_most(images, LEAST_CAREFUL)
    each = partial(first_pass, careful=everything)
    progress.begin(images.expected, what="first pass")
    fill(first, each, images.chunks_after, jobs=jobs, progress=progress)
    clock.append(time.perf_counter())
    places, cut = np.arange(0), -1.0
    if not everything and len(first):
        places, cut = _highest(first.column(HIGHEST), fraction)
        progress.begin(len(places), what="careful pass")
        fill(careful, careful_pass, partial(chosen, places), jobs=jobs, progress=progress)
    clock.append(time.perf_counter())
    seconds = dict(zip(("first_pass", "careful_pass"), np.diff(clock).round(2).tolist(), strict=True))
    return _Passes(len(first), everything, places, cut, seconds, clock[-1])


def _with_images(best: Table, source: str | Path, read_settings: ReadSettings) -> ImageSet:
    """The best candidates with their images, which are looked for at their `PLACE`."""
    source_images = SourceImages(best, source, read_settings, places=np.array(best[PLACE]))
    best.remove_column(PLACE)
    kept = ImageSet([source_images[row] for row in range(len(best))], best)
    source_images.close()
    return kept


def _at_most(images: ImageSource, number: int) -> bool:
    """Whether there are no more than so many images; where that is not known, they are counted so far."""
    if images.n_images is not None:
        return images.n_images <= number
    counted = 0
    for chunk in images.chunks():
        counted += len(chunk)
        if counted > number:
            return False
    return True


def _first_pass(images: ImageSet, settings: ScreenSettings, references: References, careful: bool) -> Table:
    table, highest = examine_with_bound(images, settings, references=references, careful=careful)
    table[HIGHEST], table[FLAG], table[FLAG_TEXT] = highest, images.table["flag"], images.table["flag_text"]
    return table


def _careful_pass(images: ImageSet, settings: ScreenSettings, references: References) -> Table:
    return examine_with_bound(images, settings, references=references)[0]


def _highest(values: np.ndarray, fraction: float) -> tuple[np.ndarray, float]:
    """Places of this fraction of highest values, at least `LEAST_CAREFUL`, rising; and the highest of the others."""
    values = np.nan_to_num(values, nan=-1.0)
    number = max(LEAST_CAREFUL, round(fraction * len(values)))
    order = np.argsort(-values, kind="stable")
    return np.sort(order[:number]), float(values[order[number]]) if number < len(values) else -1.0


def _chosen(
    first: ResumableTable, places: np.ndarray, done: int, *, source: str | Path, read_settings: ReadSettings
) -> Iterator[ImageSet | StoredImages]:
    """The images at `places` (n,) with their rows of the first pass and the flags of before, without the first `done`.

    Cut at the ends of the parts and every `CHUNK` images, so always at the same places.
    """
    where = from_arrow(joined(list(first.pick(places, WHERE))))
    source_images, number = SourceImages(where, source, read_settings, places=places), 0
    before = {FLAG: "flag", FLAG_TEXT: "flag_text"}
    for rows in first.pick(places):
        rows = rows.drop_columns([HIGHEST, "flag", "flag_text"])
        rows = rows.rename_columns([before.get(name, name) for name in rows.column_names])
        for start in range(0, len(rows), CHUNK):
            table = rows.slice(start, CHUNK)
            number += len(table)
            if number > done:
                yield source_images.chunk(range(number - len(table), number), table)
    source_images.close()


def _replaced(first: ResumableTable, careful: ResumableTable, places: np.ndarray) -> Iterator[pa.Table]:
    """The parts of the first pass as Arrow tables, with the rows at `places` (n,) replaced by those of the careful."""
    ends = np.searchsorted(places, first.starts)
    for table, start, begin, end in zip(first, first.starts, ends, ends[1:], strict=False):
        table = table.drop_columns([HIGHEST, FLAG, FLAG_TEXT])
        rows = np.arange(len(table))
        numbers = rows + start
        if end > begin:
            rows[places[begin:end] - start] = len(table) + np.arange(end - begin)
            table = joined([table, *careful.pick(np.arange(begin, end))]).take(rows)
        yield table.append_column(PLACE, [numbers])


def _write_ranked(first: ResumableTable, careful: ResumableTable, places: np.ndarray, run: Run, number: int) -> Table:
    """Writes the candidates, best first, and gives the first `number` of them with their places in the input."""
    import pyarrow as pa

    best: list[pa.Table] = []

    def ranked(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        start = 1
        for table in tables:
            table = table.append_column("rank", [np.arange(start, start + len(table))])
            start += len(table)
            if (lacking := number - sum(map(len, best))) > 0:
                best.append(table.take(np.arange(min(lacking, len(table)))))
            yield table

    schema = joined_schema([first.schema(), *([careful.schema()] if len(places) else [])])
    names = [name for name in schema.names if name not in (HIGHEST, FLAG, FLAG_TEXT)]
    schema = pa.schema([*map(schema.field, names), ("rank", pa.int64())], metadata=schema.metadata)
    path = run.path(CANDIDATES)
    tables = in_order(_replaced(first, careful, places), "score", run.folder / SORTED)
    write_joined(ranked(tables), described(schema, run.origin), path)
    text = next(table_pieces(path, LISTED_ROWS))
    write_table(text, run.path(LISTED), provenance=run.origin, overwrite=True)
    return from_arrow(joined(best))
