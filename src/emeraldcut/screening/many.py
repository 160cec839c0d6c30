"""Screen any number of images: a first look at all, a careful one at the best, a list that is never whole in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from shutil import rmtree

import numpy as np
from astropy.table import Table

from emeraldcut.data import (
    ImageSet,
    ImageSource,
    NoImagesError,
    Parts,
    ReadSettings,
    Run,
    fill,
    open_images,
    usable,
    write_images,
    write_table,
)
from emeraldcut.data.originals import Originals
from emeraldcut.data.parts import column_of, described, in_order, joined, joined_schema, write_joined
from emeraldcut.data.run import BEST, CANDIDATES, LISTED, MANIFEST, REFERENCES
from emeraldcut.data.storage import StoredImages
from emeraldcut.data.streaming import started
from emeraldcut.data.tables import from_arrow, table_pieces
from emeraldcut.networks import load_network
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.screening.screen import EXAMPLES, LEAST_CAREFUL, ScreenSettings, expectations, look
from emeraldcut.similarity import References, prepare_references, read_references

FIRST, CAREFUL, SORTED = "parts_first", "parts_careful", "parts_sorted"  # folders of a run that is not finished
CHUNK = 256  # images that get a careful look at a time
LISTED_ROWS = 10_000  # best candidates that are also written as text
# Columns of the parts that are not of the result.
HIGHEST, FLAG, FLAG_TEXT, PLACE = "_highest", "_flag", "_flag_text", "_place"
WHERE = ["id", "file", "mosaic_x", "mosaic_y"]  # what tells where an image is


def screen_run(
    source: str | Path,
    folder: str | Path,
    settings: ScreenSettings = ScreenSettings(),
    read_settings: ReadSettings = ReadSettings(),
    *,
    seed: int = 0,
    jobs: int | str = 1,
    overwrite: bool = False,
    progress: Callable[[int | None, int], object] | None = None,
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
        raise ValueError(f"the results need a folder of their own; '{folder}' is that of the images.")
    images, references = open_images(source, read_settings), read_references(settings.reference)
    inputs = [name for name in (source, read_settings.catalogue) if name]
    finished = (Path(folder) / MANIFEST).exists()
    run = Run.start(folder, "screen", (settings, read_settings), seed, inputs, overwrite)
    if finished:
        for name in (FIRST, CAREFUL):
            rmtree(run.folder / name, ignore_errors=True)
    first, careful = (
        Parts(run.folder / name, run.origin, "a run of `screen`", overwrite=overwrite) for name in (FIRST, CAREFUL)
    )

    def done(total: int | None) -> Callable[[int], object] | None:
        return partial(progress, total) if progress else None

    compile_ahead("screen", *EXAMPLES)
    clock = [time.perf_counter()]
    with started(jobs, partial(load_network, settings.network)) as workers:
        prepared = prepare_references(references)
        prepared.null  # noqa: B018  made here, once, and not by every worker
        stage = {"settings": settings, "seed": seed, "references": prepared}
        everything = settings.careful == 1 or _at_most(images, LEAST_CAREFUL)
        each = partial(_first_look, careful=everything, **stage)
        fill(first, each, images.chunks_after, jobs=workers, progress=done(images.n_images))
        if len(first) == 0:
            raise NoImagesError(f"'{source}' holds no images.")
        clock.append(time.perf_counter())
        facts = {"images": len(first), "careful": len(first), "sure_ranks": len(first)}
        places, cut = np.arange(0), -1.0
        if not everything:
            places, cut = _highest(first.column(HIGHEST), settings.careful)
            chosen = partial(_chosen, first, places, source, read_settings)
            each = partial(_careful_look, **stage)
            fill(careful, each, chosen, jobs=workers, progress=done(len(first) + len(places)))
            facts["careful"] = len(places)
        clock.append(time.perf_counter())
    best = _write_ranked(first, careful, places, run, settings.best)
    originals = Originals(best, source, read_settings, places=np.array(best[PLACE]))
    best.remove_column(PLACE)
    kept = ImageSet([originals[row] for row in range(len(best))], best)
    originals.close()
    for name, images in ((BEST, kept), (REFERENCES, references)):
        write_images(images, run.path(name), command="screen", settings=settings, seed=seed, overwrite=True)
    column = partial(column_of, [run.path(CANDIDATES)])
    if not everything:
        facts["sure_ranks"] = int(np.sum(column("score") > cut))
    facts["usable"] = int(usable(column("flag")).sum())
    facts["seconds"] = dict(
        zip(("first_look", "careful_look", "list"), np.diff([*clock, time.perf_counter()]).round(2), strict=True)
    )
    ranked = Table({"p_rectangular": np.nan_to_num(column("p_rectangular")), "snr": column("snr")}, copy=False)
    run.finish(**facts, **expectations(ranked, settings))
    for parts in (first, careful):
        parts.remove()
    if facts["usable"] == 0:
        raise NoImagesError(f"none of the {len(first)} images in '{source}' can be used; see '{run.folder}'.")
    return run


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


def _first_look(images: ImageSet, settings: ScreenSettings, seed: int, references: References, careful: bool) -> Table:
    table, highest = look(images, settings, seed=seed, references=references, careful=careful)
    table[HIGHEST], table[FLAG], table[FLAG_TEXT] = highest, images.table["flag"], images.table["flag_text"]
    return table


def _careful_look(images: ImageSet, settings: ScreenSettings, seed: int, references: References) -> Table:
    return look(images, settings, seed=seed, references=references)[0]


def _highest(values: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    """Places of the share of highest values, at least `LEAST_CAREFUL`, in rising order; the highest of the others."""
    values = np.nan_to_num(values, nan=-1.0)
    number = max(LEAST_CAREFUL, round(share * len(values)))
    order = np.argsort(-values, kind="stable")
    return np.sort(order[:number]), float(values[order[number]]) if number < len(values) else -1.0


def _chosen(
    first: Parts, places: np.ndarray, source: str | Path, read_settings: ReadSettings, done: int
) -> Iterator[ImageSet | StoredImages]:
    """The images at `places` (n,) with their rows of the first look and the flags of before, without the first `done`.

    Cut at the ends of the parts and every `CHUNK` images, so always at the same places.
    """
    where = from_arrow(joined(list(first.pick(places, WHERE))))
    originals, number = Originals(where, source, read_settings, places=places), 0
    before = {FLAG: "flag", FLAG_TEXT: "flag_text"}
    for rows in first.pick(places):
        rows = rows.drop_columns([HIGHEST, "flag", "flag_text"])
        rows = rows.rename_columns([before.get(name, name) for name in rows.column_names])
        for start in range(0, len(rows), CHUNK):
            table = rows.slice(start, CHUNK)
            number += len(table)
            if number > done:
                yield originals.chunk(range(number - len(table), number), table)
    originals.close()


def _replaced(first: Parts, careful: Parts, places: np.ndarray) -> Iterator:
    """The parts of the first look as Arrow tables, with the rows at `places` (n,) replaced by those of the careful."""
    ends = np.searchsorted(places, first.starts)
    for table, start, begin, end in zip(first, first.starts, ends, ends[1:], strict=False):
        table = table.drop_columns([HIGHEST, FLAG, FLAG_TEXT])
        rows = np.arange(len(table))
        numbers = rows + start
        if end > begin:
            rows[places[begin:end] - start] = len(table) + np.arange(end - begin)
            table = joined([table, *careful.pick(np.arange(begin, end))]).take(rows)
        yield table.append_column(PLACE, [numbers])


def _write_ranked(first: Parts, careful: Parts, places: np.ndarray, run: Run, number: int) -> Table:
    """Writes the candidates, best first, and gives the first `number` of them with their places in the input."""
    import pyarrow as pa

    best: list = []

    def ranked(tables: Iterable) -> Iterator:
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
