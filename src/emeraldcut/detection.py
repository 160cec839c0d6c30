"""Detect: where the galaxies are, in one field or in mosaics of any size, part for part."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, Table, vstack
from scipy.spatial import cKDTree

from emeraldcut.data import Flag, describe, describe_columns
from emeraldcut.data.columns import numbers
from emeraldcut.errors import UsageError
from emeraldcut.images import NoImagesError
from emeraldcut.images.fields import image_type
from emeraldcut.images.formats import failed
from emeraldcut.images.mosaic import Mosaic, Tile, on_sky, open_mosaic
from emeraldcut.images.options import PictureSettings, PlaneSettings
from emeraldcut.images.origin import FILE, FILE_BYTES, Origin, files_of
from emeraldcut.images.readers import ReadSettings, mosaic_files, stem_of, unique_ids
from emeraldcut.images.tiles import Tiles
from emeraldcut.runs import SILENT, Progress, map_chunks, provenance
from emeraldcut.runs.notices import notice
from emeraldcut.runs.stamps import stamp_of
from emeraldcut.settings import Settings, setting
from emeraldcut.tables import ResumableTable, fill, read_table, write_table
from emeraldcut.tables.arrow import from_arrow, joined
from emeraldcut.tables.files import check_output, table_ending
from emeraldcut.tables.resumable import Inputs, same_work, say_what_is_done_again

MARGIN_PIX = 128  # around each part, so that a galaxy on its border is whole in one of them
SAME_PIX = 3.0  # sources of different parts or mosaics that are closer are one
LEAST_SHARE = 0.05  # of a part must have data, to know its sky
BRIGHT_PERCENT = 99.5  # of the pixels are fainter than what is called bright
LEAST_NOISE = 1e-12  # of what is bright: a drawing without noise has a threshold too
SOURCES = "sources.parquet"  # the catalogue of what was found for another command


@dataclass(frozen=True, kw_only=True)
class DetectSettings(Settings):
    """What counts as a source, and how much of a mosaic is searched at a time."""

    n_sigma: float = setting(
        3.0, "detection threshold above the local sky, in units of its noise", above=0, at_most=1_000_000
    )
    min_area_pix: int = setting(60, "smallest number of connected pixels of a source", at_least=1, at_most=1_000_000)
    part_pix: int = setting(
        1024, "side in pixels of the tiles that a mosaic is searched in, one at a time", at_least=128, at_most=16_384
    )


def detect(
    source: str | Path,
    settings: DetectSettings = DetectSettings(),
    planes: PlaneSettings = PlaneSettings(),
    *,
    jobs: int | str = 1,
    progress: Progress = SILENT,
) -> Table:
    """Sources of a mosaic, or of a folder of mosaics, each once: a catalogue to cut out by.

    Parameters
    ----------
    source : path of an image file, of a folder of them, or of a table that lists them
        Mosaics may have any size, since one part at a time is in memory, and may overlap: a source in several is
        that of the mosaic in which it lies deepest.
    settings : DetectSettings
    planes : PlaneSettings
        Which planes of the files are the images.
    jobs : workers, as `map_chunks` takes them
    progress : Progress
        Told of each row of parts that is done.

    Returns
    -------
    Table
        `id`, `file` (the mosaic), `ra`, `dec` (degrees) where it has a WCS, `x`, `y` (pixels of the mosaic),
        `detected_area_pix`, `detected_flux` (counts), in the order of the mosaics and of their parts. A mosaic, or
        part, that cannot be read is a row without position, flagged UNREADABLE.

    Raises
    ------
    ValueError
        Not one mosaic can be read.
    NoImagesError
        A folder without image files, or nothing is found.
    """
    tiles, rows = _rows_of(source, settings, planes)
    search = partial(_search, settings=settings)
    progress.begin(len(rows), "rows of parts")
    return _catalogue(map_chunks(search, rows, jobs=jobs, progress=progress), tiles, source)


def detect_run(
    source: str | Path,
    output: str | Path,
    settings: DetectSettings = DetectSettings(),
    planes: PlaneSettings = PlaneSettings(),
    *,
    jobs: int | str = 1,
    overwrite: bool = False,
    raw: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """Writes the catalogue of `detect` to `output`; one that was interrupted resumes.

    What is found is kept in `.NAME.unfinished` beside the catalogue as it comes; it is begun again if a mosaic has
    changed. Errors are those of `detect`, and FileExistsError if `output` exists, or was begun with other settings, and
    `overwrite` is not set. `raw` is for `write_table`.
    """
    path = check_output(output, overwrite)
    if not os.fspath(source):  # which would be the folder where the program runs
        raise FileNotFoundError(f"there is no file or folder '{source}' to read images from.")
    origin, files = provenance("detect", (settings, planes), inputs=[source]), _files(source, planes)
    tiles, rows = _rows_of(source, settings, planes)
    kept = ResumableTable(
        path.with_name(f".{path.name}.unfinished"),
        origin,
        "a catalogue of `detect`",
        overwrite=overwrite,
        inputs=Inputs(together=files, names=("input_1",)),
    )
    say_what_is_done_again(kept)
    origin |= _known_by(files)
    progress.begin(len(rows), "rows of parts")
    fill(kept, partial(_search, settings=settings), lambda done: rows[done:], jobs=jobs, progress=progress)
    parts = list(kept)
    try:
        table = _catalogue([from_arrow(joined(parts))] if parts else [], tiles, source)
    except NoImagesError:
        kept.remove()
        raise
    write_table(table, path, provenance=origin, overwrite=overwrite, raw=raw)
    kept.remove()
    return path


def with_sources(
    source: str | Path,
    read_settings: ReadSettings,
    catalogue: str | Path,
    settings: DetectSettings = DetectSettings(),
    *,
    jobs: int | str = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ReadSettings:
    """Settings to read `source` with: mosaics that come without a catalogue get one, of all sources in them.

    Parameters
    ----------
    source : str or Path
    read_settings : ReadSettings
        With a catalogue, they are returned as they are; so they are for images of one galaxy each, see
        `images.fields.image_type`.
    catalogue : str or Path
        Where the sources are written (Parquet). One that is there, and was made with the same settings, is used again.
    settings : DetectSettings
    jobs, overwrite, progress
        As for `detect_run`.

    Raises
    ------
    NoImagesError
        Nothing is found.
    FileExistsError
        There is a `catalogue` that `detect` has not made.
    """
    found = image_type(source, read_settings)
    if not found.is_mosaic:
        if found.sentence:
            notice(found.sentence)
        return read_settings
    path = Path(catalogue)
    planes = PlaneSettings(**{f.name: getattr(read_settings, f.name) for f in fields(PlaneSettings)})
    if not _is_made(path, source, settings, planes):
        try:
            detect_run(source, path, settings, planes, jobs=jobs, overwrite=True, progress=progress)
        except NoImagesError:
            raise NoImagesError(f"{found.sentence} No source is found in it.") from None
    number = int(np.isfinite(numbers(read_table(path, ["x"])["x"])).sum())
    notice(
        f"{found.sentence} {number:,} {'source was' if number == 1 else 'sources were'} found, listed in '{path}', and "
        f"cut out in {read_settings.cutout_size} pixels (--cutout-size); `emeraldcut detect` has more settings."
    )
    return replace(read_settings, catalogue=str(path))


def sources_of(output: str | Path) -> Path:
    """Where the sources that were found for an output are listed: in its folder, or beside the table."""
    path = Path(output)
    try:
        ending = table_ending(path)
    except UsageError:
        return path / SOURCES
    return path.with_name(f"{path.name.removesuffix(ending)}.{SOURCES}")


def _is_made(path: Path, source: str | Path, settings: DetectSettings, planes: PlaneSettings) -> bool:
    """Whether the catalogue is there already; FileExistsError if it is another table."""
    if not path.exists():
        return False
    made: dict[str, Any] = read_table(path, ["id"]).meta.get("provenance", {})
    if made.get("command") != "detect":
        raise FileExistsError(f"'{path}' is needed for the sources that are found, and holds another table; move it.")
    now = provenance("detect", (settings, planes), inputs=[source]) | _known_by(_files(source, planes))
    return same_work(path, made, now)


def _given(planes: PlaneSettings) -> PictureSettings:
    return PictureSettings(**{f.name: getattr(planes, f.name) for f in fields(PlaneSettings)})


def _files(source: str | Path, planes: PlaneSettings) -> tuple[Path, ...]:
    """All files that are read: of the mosaics, of their maps, and the table that lists them."""
    path = Path(source)
    files = [file for group in mosaic_files(path, _given(planes)) for file in files_of(group)]
    return tuple(dict.fromkeys([*([] if path.is_dir() else [path]), *files]))


def _known_by(files: Iterable[Path]) -> dict[str, str]:
    """A fact by which the same mosaics are known again."""
    return {"mosaics_sha256": sha256(json.dumps([stamp_of(file) for file in files]).encode()).hexdigest()}


def _rows_of(source: str | Path, settings: DetectSettings, planes: PlaneSettings) -> tuple[Tiles, list[_RowOfParts]]:
    """The mosaics of a source, and what is searched at a time."""
    given = _given(planes)
    tiles = Tiles(mosaic_files(Path(source), given), given)
    notice(tiles.two_bands())
    return tiles, [row for tile in tiles for row in _rows_of_parts(tile, settings.part_pix)]


def _catalogue(tables: Iterable[Table], tiles: Tiles, source: str | Path) -> Table:
    """The catalogue of what was found in all parts."""
    found = [table for table in tables if len(table)]
    if not any(np.isfinite(numbers(table["x"])).any() for table in found):
        raise NoImagesError(f"no source is found in '{source}'.")
    table = _once(vstack(found, metadata_conflicts="silent"), tiles)
    unique = unique_ids()
    table["id"] = np.array([unique(name) for name in table["id"]], dtype=object)
    origins = {name: Origin(name).columns() for name in set(table["file"])}
    for column in (FILE_BYTES, FILE)[not any(FILE_BYTES in origin for origin in origins.values()) :]:
        table[column] = np.array([origins[name].get(column, "") for name in table["file"]], dtype=object)
    table.remove_columns(["part", "depth"])
    table.rename_columns(["area_pix", "flux"], ["detected_area_pix", "detected_flux"])
    texts = [f"{describe(f)} {text}".strip() for f, text in zip(table["flag"], table["flag_text"], strict=True)]
    table["flag_text"] = np.array(texts, dtype=object)
    return describe_columns(table)


@dataclass(frozen=True)
class _RowOfParts:
    """Parts of a mosaic side by side, which one worker searches: where their lower left pixels are."""

    tile: Tile
    x0: tuple[int, ...]
    y0: int

    def __len__(self) -> int:
        return 1


def _rows_of_parts(tile: Tile, side: int) -> list[_RowOfParts]:
    ny, nx = tile.shape
    if tile.fault:
        return [_RowOfParts(tile, (0,), 0)]
    return [_RowOfParts(tile, tuple(range(0, nx, side)), y0) for y0 in range(0, ny, side)]


def _search(parts: _RowOfParts, settings: DetectSettings) -> Table:
    """The sources of a row of parts, with the number of their part and their depth in the mosaic (arcsec or pixels)."""
    tile, tables = parts.tile, []
    stem = stem_of(Path(tile.name).name)
    try:
        with open_mosaic(tile) as mosaic:
            for x0 in parts.x0:
                try:
                    tables.append(_search_part(mosaic, x0, parts.y0, settings))
                except Exception as error:  # libraries raise errors of every kind on damaged files
                    tables.append(_unread(f"{stem}[{x0}:,{parts.y0}:]", error))
    except Exception as error:
        tables = [_unread(stem, error)]
    table = vstack(tables)
    table["file"] = np.array([tile.name] * len(table), dtype=object)
    place, n = np.flatnonzero(np.isfinite(table["x"])), len(table)
    depth = np.full(n, np.nan)
    depth[place] = tile.depth(table["x"][place], table["y"][place])
    if tile.wcs is not None:
        ra, dec = np.full((2, n), np.nan)
        ra[place], dec[place] = tile.to_sky(table["x"][place], table["y"][place])
        table["ra"], table["dec"], depth = ra, dec, depth * tile.scale_arcsec
        names = [f"{a:.5f}{d:+.5f}" for a, d in zip(ra[place], dec[place], strict=True)]
    else:
        names = [f"{stem}-{x:.0f}-{y:.0f}" for x, y in zip(table["x"][place], table["y"][place], strict=True)]
    table["id"][place] = names
    table["depth"] = depth
    return table


def _search_part(mosaic: Mosaic, x0: int, y0: int, settings: DetectSettings) -> Table:
    """The sources whose centroid lies in a part, or hardly outside, since the next part may see it a bit elsewhere."""
    side, (ny, nx) = settings.part_pix, mosaic.tile.shape
    left, bottom = max(x0 - MARGIN_PIX, 0), max(y0 - MARGIN_PIX, 0)
    width, height = min(x0 + side + MARGIN_PIX, nx) - left, min(y0 + side + MARGIN_PIX, ny) - bottom
    field, noise = mosaic.window_and_noise(left, bottom, width, height)
    table = detect_sources(field, noise, n_sigma=settings.n_sigma, min_area_pix=settings.min_area_pix)
    table["x"] += left
    table["y"] += bottom
    x, y = table["x"] - x0, table["y"] - y0
    table = table[(np.minimum(x, y) >= -1) & (np.maximum(x, y) < side + 1)]
    table["part"] = f"{x0},{y0}"
    table["flag"], table["flag_text"] = 0, Column([""] * len(table), dtype=object)
    return table


def _unread(identity: str, error: Exception) -> Table:
    """A row for what could not be read."""
    picture = failed(error)
    row = {"id": identity, "x": np.nan, "y": np.nan, "area_pix": np.nan, "flux": np.nan, "part": ""}
    row |= {"flag": int(picture.flag | Flag.UNREADABLE), "flag_text": picture.detail}
    table = Table([row])
    for name in ("id", "flag_text"):
        table[name] = table[name].astype(object)
    return table


def _once(table: Table, tiles: Tiles) -> Table:
    """The table without sources that lie, closer than SAME_PIX, on a source of another part or mosaic that is deeper.

    Where the depth is the same, as in two parts of one mosaic, the first stays.
    """
    keep = np.ones(len(table), bool)
    owners = np.array([f"{file} {part}" for file, part in zip(table["file"], table["part"], strict=True)])
    groups: list[tuple[np.ndarray, np.ndarray, float]] = []  # rows, their places, and how near is near
    on_the_sky = np.zeros(len(table), bool)
    if "ra" in table.colnames:
        ra, dec = numbers(table["ra"]), numbers(table["dec"])
        on_the_sky = np.isfinite(ra)
        scale = max(tile.scale_arcsec for tile in tiles if tile.wcs is not None)
        rows = np.flatnonzero(on_the_sky)
        groups.append((rows, on_sky(ra[rows], dec[rows]), np.radians(SAME_PIX * scale / 3600)))
    for file in np.unique(table["file"][~on_the_sky].astype(str)):
        rows = np.flatnonzero((table["file"] == file) & ~on_the_sky & np.isfinite(table["x"]))
        groups.append((rows, np.stack([table["x"][rows], table["y"][rows]], axis=1), SAME_PIX))
    for rows, places, near in groups:
        order = np.argsort(-np.asarray(table["depth"][rows]), kind="stable")
        rank = np.empty(len(rows), int)
        rank[order] = np.arange(len(rows))
        pairs = np.sort(rank[cKDTree(places).query_pairs(near, output_type="ndarray").reshape(-1, 2)], axis=1)
        for first, second in pairs[np.lexsort(pairs.T[::-1])]:
            one, other = rows[order[first]], rows[order[second]]
            if keep[one] and owners[one] != owners[other]:
                keep[other] = False
    return table[keep]


def detect_sources(
    field: np.ndarray, noise: np.ndarray | None = None, *, n_sigma: float = 3.0, min_area_pix: int = 60
) -> Table:
    """Sources of a field, brightest first, by photutils' segmentation and deblending.

    Parameters
    ----------
    field : (ny, nx) counts, NaN where there is no data
    noise : (ny, nx), optional
        Noise per pixel, NaN where unknown. Only its ratios count: its median is made that of the noise that the sky
        shows.
    n_sigma : float
        Threshold above the local sky, in units of its noise.
    min_area_pix : int
        Connected pixels that a source must have.

    Returns
    -------
    Table
        `id`, `x`, `y` (pixels, of the centroid), `area_pix` and `flux` (counts); empty if nothing is found.
    """
    from photutils.background import Background2D, MedianBackground
    from photutils.segmentation import SourceCatalog, SourceFinder

    nothing = Table(names=("id", "x", "y", "area_pix", "flux"), dtype=(object, float, float, float, float))
    missing = ~np.isfinite(field)
    if np.mean(~missing) < LEAST_SHARE or np.ptp(field[~missing]) == 0:
        return nothing
    # a power of two, in which all is of the size of 1: squares of light in erg vanish in single precision
    bright = np.percentile(np.abs(field[~missing]), BRIGHT_PERCENT) or np.ptp(field[~missing])
    unit = float(2.0 ** np.floor(np.log2(bright)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pixels without data, and that there are no sources
        sky = Background2D(
            np.where(missing, 0.0, field / unit), max(16, min(field.shape) // 8), filter_size=3,
            bkg_estimator=MedianBackground(), coverage_mask=missing, exclude_percentile=100 * (1 - LEAST_SHARE),
        )  # fmt: skip
        light = np.where(missing, 0.0, field / unit - sky.background)
        sigma = np.maximum(sky.background_rms, LEAST_NOISE)
        if noise is not None:
            known = np.isfinite(noise) & ~missing
            sigma = np.where(known, noise * np.median(sigma[known] / noise[known]), sigma)
        finder = SourceFinder(n_pixels=min_area_pix, n_levels=16, contrast=0.02, progress_bar=False)
        segments = finder(light, n_sigma * sigma, mask=missing)
        if segments is None:
            return nothing
        sources = SourceCatalog(light, segments)
        table = Table({"x": sources.x_centroid, "y": sources.y_centroid})
        table["area_pix"], table["flux"] = sources.area.value, sources.segment_flux * unit
    table = table[np.isfinite(table["x"]) & np.isfinite(table["y"])]
    table.sort("flux", reverse=True)
    table.add_column(np.array([f"source-{i:04d}" for i in range(1, len(table) + 1)], dtype=object), name="id", index=0)
    return table
