"""Screen any number of images: a first pass over all, a careful pass over the best, and a list sorted on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from astropy.table import Table, vstack

from emeraldcut.data import Flag, ImageSet, add_flag, usable
from emeraldcut.detection import sources_of, with_sources
from emeraldcut.errors import UsageError
from emeraldcut.images import ImageSource, NoImagesError, ReadSettings, open_images, write_images
from emeraldcut.images.apply import reading_facts
from emeraldcut.images.origin import ORIGIN_COLUMNS
from emeraldcut.images.readers import CHUNK, keeping_colours
from emeraldcut.images.source_images import UNREAD, SourceImages
from emeraldcut.images.store import StoredImages
from emeraldcut.networks import load_network
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.runs import SILENT, Progress, Run
from emeraldcut.runs.notices import listening, notice, said
from emeraldcut.runs.run import MANIFEST
from emeraldcut.runs.workers import Workers, started
from emeraldcut.screening.screen import EXAMPLES, LEAST_CAREFUL, ScreenSettings, examine_with_bound, expectations
from emeraldcut.similarity import References, prepare_references, read_references
from emeraldcut.tables import ResumableTable, fill, write_table
from emeraldcut.tables.arrow import column_of, described, from_arrow, joined, joined_schema, table_pieces, write_joined
from emeraldcut.tables.identifiers import with_whole_ids
from emeraldcut.tables.resumable import say_what_is_done_again
from emeraldcut.tables.sorting import in_order

if TYPE_CHECKING:
    import pyarrow as pa

FIRST, CAREFUL, SORTED = "rows_first", "rows_careful", "rows_sorted"  # folders of a run that is not finished
LISTED_ROWS = 10_000  # best candidates that are also written as text
# Columns of unfinished tables that the result does not have.
HIGHEST, FLAG, FLAG_TEXT = "_highest", "_flag", "_flag_text"
FIRST_FLAG, FIRST_TEXT = "_first_flag", "_first_text"
NOT_SHOWN = (HIGHEST, FLAG, FLAG_TEXT)
WHERE = [*ORIGIN_COLUMNS, "image_id", "read_as", "mosaic_x", "mosaic_y"]  # columns by which an image is found again
CANDIDATES = "candidates.parquet"  # the ranked table of a run of `screen`
LISTED = "candidates.ecsv"  # the first of its rows
BEST, REFERENCES = "best", "references"  # its image sets: the best candidates, and the references


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

    Results are written as they are computed, so that an interrupted run resumes when it is started again. Apart from a
    few numbers per image, memory does not grow with the number of images.

    The folder contains `candidates.parquet` (one row per input image, best first), `candidates.ecsv` (the first 10,000
    rows), the image sets `best` and `references`, `settings.toml` and, once the run is finished, `manifest.json`. Its
    `careful` is the number of images that had the careful pass, and `sure_ranks` the rank down to which the list is as
    if all images had had it.

    Raises
    ------
    NoImagesError
        There is no image, or not one of them can be used.
    FileExistsError
        The folder holds a finished run and `overwrite` is not set, or an unfinished one with other settings.
    """
    if Path(folder).resolve() == Path(source).resolve():
        raise UsageError(f"the output needs a folder of its own; '{folder}' is that of the images.")
    if (Path(folder) / MANIFEST).exists() and not overwrite:
        raise FileExistsError(f"'{folder}' holds a finished run; choose another folder or set --overwrite.")
    with listening(), keeping_colours(of_bands=False):
        return _screen_run(source, folder, settings, read_settings, jobs, overwrite, progress)


def _screen_run(
    source: str | Path,
    folder: str | Path,
    settings: ScreenSettings,
    read_settings: ReadSettings,
    jobs: int | str,
    overwrite: bool,
    progress: Progress,
) -> Run:
    read_settings = with_sources(
        source, read_settings, sources_of(folder), jobs=jobs, overwrite=overwrite, progress=progress
    )
    images, references = open_images(source, read_settings), read_references(settings.reference)
    compile_ahead("screen", *EXAMPLES)
    run, first, careful = _begin_run(source, folder, settings, read_settings, images, overwrite)
    with started(jobs, partial(load_network, settings.network)) as workers:
        prepared = prepare_references(references)
        prepared.null  # noqa: B018  computed once here, and not by every worker
        first_pass = partial(_first_pass, settings=settings, references=prepared)
        careful_pass = partial(_careful_pass, settings=settings, references=prepared)
        chosen = partial(_chosen, first, source=source, read_settings=read_settings)
        passes = _both_passes(
            images, first, careful, first_pass, careful_pass, chosen, settings.careful, jobs=workers, progress=progress
        )
        if len(first) == 0:
            raise NoImagesError(f"'{source}' holds no images.")
    best = _write_ranked(first, careful, passes.places, run, settings, images.whole_ids)
    kept = _with_images(best, source, read_settings)
    for name, shown, whole in ((BEST, kept, images.whole_ids), (REFERENCES, references, False)):
        write_images(shown, run.path(name), command="screen", settings=settings, overwrite=True, whole_ids=whole)
    column, reading = partial(column_of, [run.path(CANDIDATES)]), reading_facts(first)
    facts = passes.facts(column) | {"usable": int(usable(column("flag")).sum())}
    passes.say_what_was_not_read()
    facts["seconds"] = passes.seconds | {"list": round(time.perf_counter() - passes.ended, 2)}
    ranked = Table({name: np.nan_to_num(column(name)) for name in ("score", "trusted")}, copy=False)
    ranked["snr"] = column("snr")
    sentences = reading.pop("notices", [])
    run.finish(**images.facts, **facts, **reading, **expectations(ranked, settings), notices=[*said(), *sentences])
    for sentence in sentences:
        notice(sentence)
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
    images: ImageSource,
    overwrite: bool,
) -> tuple[Run, ResumableTable, ResumableTable]:
    """The run, new or resumed, and its tables of the first and of the careful pass."""
    inputs = [name for name in (source, read_settings.catalogue) if name]
    finished = (Path(folder) / MANIFEST).exists()
    run = Run.start(folder, "screen", (settings, read_settings), inputs=inputs, overwrite=overwrite)
    if finished:
        for name in (FIRST, CAREFUL):
            rmtree(run.folder / name, ignore_errors=True)
    first, careful = (
        ResumableTable(run.folder / name, run.origin, "a run of `screen`", overwrite=overwrite, inputs=inputs)
        for name, inputs in ((FIRST, images.inputs), (CAREFUL, replace(images.inputs, files=None)))
    )
    say_what_is_done_again(first)
    return run, first, careful


class _Passes(NamedTuple):
    """Which images had the careful pass, and how long both passes took."""

    number: int  # of images
    everything: bool  # whether all of them had it, in one pass
    places: np.ndarray  # (n,) rising indices in the input of those that had it, if these are not all
    cut: float  # the highest score that an image without the careful pass could have
    unread: int  # how many of `places` could not be read again
    seconds: dict[str, float]
    ended: float  # on the clock `time.perf_counter`

    def facts(self, column: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """For the manifest: how many images had the careful pass, and down to which rank the list is final."""
        if self.everything:
            return dict.fromkeys(("images", "careful", "sure_ranks"), self.number)
        sure, careful = int(np.sum(column("score") > self.cut)), len(self.places) - self.unread
        facts = {"images": self.number, "careful": careful, "sure_ranks": sure}
        return facts | ({"not_read_again": self.unread} if self.unread else {})

    def say_what_was_not_read(self) -> None:
        """Tells how many images the careful pass could not read, if there are some."""
        if self.unread:
            notice(
                f"{self.unread} of the {len(self.places)} top-ranked images could not be read again for the careful "
                "pass; they keep the result of the first pass and are flagged FIRST_PASS_ONLY."
            )


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
    """Fills the table of the first pass with all images, and that of the careful pass with the most promising.

    This `fraction` of the images gets the careful pass. If there are few images, all get it in the first pass.
    """
    clock = [time.perf_counter()]
    everything = fraction == 1 or _at_most(images, LEAST_CAREFUL)
    each = partial(first_pass, careful=everything)
    progress.begin(images.expected, what="first pass")
    fill(first, each, images.chunks_after, jobs=jobs, progress=progress)
    clock.append(time.perf_counter())
    places, cut, unread = np.arange(0), -1.0, 0
    if not everything and len(first):
        highest = first.column(HIGHEST)
        places, cut = _highest(highest, fraction)
        careful.only_of({"places_sha256": sha256(places.astype("<i8").tobytes()).hexdigest()})
        progress.begin(len(places), what="careful pass")
        fill(careful, careful_pass, partial(chosen, places), jobs=jobs, progress=progress)
        lost = places[careful.column("flag").astype(np.int64) & int(Flag.FIRST_PASS_ONLY) != 0]
        unread, cut = len(lost), float(np.nan_to_num(highest[lost], nan=-1.0).max(initial=cut))
    clock.append(time.perf_counter())
    seconds = dict(zip(("first_pass", "careful_pass"), np.diff(clock).round(2).tolist(), strict=True))
    return _Passes(len(first), everything, places, cut, unread, seconds, clock[-1])


def _with_images(best: Table, source: str | Path, read_settings: ReadSettings) -> ImageSet:
    """The best candidates with their images."""
    source_images = SourceImages(best, source, read_settings)
    kept = ImageSet([source_images[row] for row in range(len(best))], best)
    source_images.close()
    return kept


def _at_most(images: ImageSource, number: int) -> bool:
    """Whether there are at most `number` images; they are counted up to that number if it is not known."""
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
    """The rows of the careful pass; of an image that could not be read again that of the first pass, flagged."""
    table, unread = images.table, _unread(images)
    before = table[np.flatnonzero(unread)]
    reasons = [str(text) for text in before[UNREAD]] if UNREAD in table.colnames else [""] * len(before)
    first = {"flag": np.array(before[FIRST_FLAG]), "flag_text": np.array(before[FIRST_TEXT])}
    table.remove_columns([name for name in (UNREAD, FIRST_FLAG, FIRST_TEXT) if name in table.colnames])
    before.remove_columns([name for name in (UNREAD, FIRST_FLAG, FIRST_TEXT) if name in before.colnames])
    if not unread.any():
        return examine_with_bound(images, settings, references=references)[0]
    for name, values in first.items():
        before[name] = values
    for row, reason in enumerate(reasons):
        add_flag(before, row, Flag.FIRST_PASS_ONLY, reason)
    rows = np.argsort(np.concatenate([np.flatnonzero(~unread), np.flatnonzero(unread)]))
    if unread.all():
        return before
    again = examine_with_bound(images[~unread], settings, references=references)[0]
    return vstack([again, before], metadata_conflicts="silent")[rows]


def _unread(images: ImageSet) -> np.ndarray:
    """Which images (n,) the first pass could read and this one cannot."""
    lost = np.array([np.size(pixels) == 0 for pixels in images.pixels], dtype=bool)
    if UNREAD in images.table.colnames:
        lost |= np.array([bool(reason) for reason in images.table[UNREAD]], dtype=bool)
    lost |= np.asarray(images.table["flag"], np.int64) & int(Flag.UNREADABLE) != 0
    return lost & usable(np.asarray(images.table[FIRST_FLAG]))


def _highest(values: np.ndarray, fraction: float) -> tuple[np.ndarray, float]:
    """Rising indices of this fraction of highest values, at least `LEAST_CAREFUL`, and the highest other value."""
    values = np.nan_to_num(values, nan=-1.0)
    number = max(LEAST_CAREFUL, round(fraction * len(values)))
    order = np.argsort(-values, kind="stable")
    return np.sort(order[:number]), float(values[order[number]]) if number < len(values) else -1.0


def _chosen(
    first: ResumableTable, places: np.ndarray, done: int, *, source: str | Path, read_settings: ReadSettings
) -> Iterator[ImageSet | StoredImages]:
    """The images at `places` (n,) without the first `done`, with their rows of the first pass and flags from before it.

    Chunks end at the ends of the parts and after every `CHUNK` images, so they are always the same.
    """
    where = from_arrow(joined(list(first.pick(places, WHERE))))
    source_images, number = SourceImages(where, source, read_settings), 0
    before = {FLAG: "flag", FLAG_TEXT: "flag_text", "flag": FIRST_FLAG, "flag_text": FIRST_TEXT}
    for rows in first.pick(places):
        rows = rows.drop_columns([HIGHEST])
        rows = rows.rename_columns([before.get(name, name) for name in rows.column_names])
        for start in range(0, len(rows), CHUNK):
            table = rows.slice(start, CHUNK)
            number += len(table)
            if number > done:
                yield source_images.chunk(range(number - len(table), number), table)
    source_images.close()


def _replaced(first: ResumableTable, careful: ResumableTable, places: np.ndarray) -> Iterator[pa.Table]:
    """The parts of the first pass as Arrow tables, with rows at `places` (n,) replaced by those of the careful pass."""
    ends = np.searchsorted(places, first.starts)
    for table, start, begin, end in zip(first, first.starts, ends, ends[1:], strict=False):
        table = table.drop_columns(list(NOT_SHOWN))
        rows = np.arange(len(table))
        if end > begin:
            rows[places[begin:end] - start] = len(table) + np.arange(end - begin)
            table = joined([table, *careful.pick(np.arange(begin, end))]).take(rows)
        yield table


def _write_ranked(
    first: ResumableTable,
    careful: ResumableTable,
    places: np.ndarray,
    run: Run,
    settings: ScreenSettings,
    whole_ids: bool,
) -> Table:
    """Writes the candidates, best first, and returns those to show.

    These are the first `settings.best` that can be trusted, or of all if that is asked for.
    """
    import pyarrow as pa

    best: list[pa.Table] = []

    def ranked(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        start = 1
        for table in tables:
            table = table.append_column("rank", [np.arange(start, start + len(table))])
            start += len(table)
            if (lacking := settings.best - sum(map(len, best))) > 0:
                shown = np.arange(len(table)) if settings.include_untrusted else np.flatnonzero(table["trusted"])
                best.append(table.take(shown[:lacking]))
            yield table

    schema = joined_schema([first.schema(), *([careful.schema()] if len(places) else [])])
    names = [name for name in schema.names if name not in NOT_SHOWN]
    schema = pa.schema([*map(schema.field, names), ("rank", pa.int64())], metadata=schema.metadata)
    path = run.path(CANDIDATES)
    tables = in_order(_replaced(first, careful, places), "score", run.folder / SORTED)
    schema = described(schema, run.origin)
    schema = with_whole_ids(schema, first.parts(["id"])) if whole_ids else schema
    of_first, of_careful = first.text_lengths(), careful.text_lengths() if len(places) else {}
    lengths = {name: max(of_first.get(name, 0), of_careful.get(name, 0)) for name in of_first | of_careful}
    write_joined(ranked(tables), schema, path, lengths)
    text = next(table_pieces(path, LISTED_ROWS))
    write_table(text, run.path(LISTED), provenance=run.origin, overwrite=True)
    return from_arrow(joined(best))
