"""Sky: where images are on it, as a MOC and in ObsCore, and tables as catalogues in HATS."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from astropy.table import Column, MaskedColumn, Row, Table

from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import usable
from emeraldcut.errors import MissingPackageError, UsageError
from emeraldcut.exchange.headers import sky_header
from emeraldcut.images.fields import image_type
from emeraldcut.images.readers import NoImagesError, ReadSettings, mosaic_files, open_images
from emeraldcut.images.tiles import Tiles
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import provenance
from emeraldcut.runs.writing import check_folder, complete, write_text
from emeraldcut.tables.arrow import to_arrow
from emeraldcut.tables.catalogues import read_catalogue
from emeraldcut.tables.files import write_table

NEEDED = "needs the extra [sky]: pip install 'emeraldcut[sky]'"
MOC_FORMATS = {".fits": "fits", ".json": "json", ".txt": "ascii"}
ORDER_ZERO_DEG = 58.6  # side of the 12 cells of HEALPix of order 0, the square root of 4 pi / 12 steradians
CELLS_ACROSS = 32  # of the smallest image at least, so that its area is right to a few per cent
FINEST, COARSEST = 24, 3  # orders of a MOC
POINTS_A_SIDE = 8  # of an outline, which is curved on the sky where an image is large
HATS_ORDER = 29  # of the column that sorts the rows, `_healpix_29`
HATS_FINEST = 10  # of a partition; the largest orders would make a file of each row
ROWS_A_FILE = 1_000_000  # of a partition in HATS, the usual threshold of hats-import
SUBFOLDER = 10_000  # partitions in a folder `Dir=`


@dataclass(frozen=True)
class Outline:
    """An image on the sky.

    Attributes
    ----------
    id : str
    ra, dec : (k,) float
        Points along its edges, degrees, ICRS.
    centre : (2,) float
        Right ascension and declination of its middle.
    shape : (ny, nx)
    scale_arcsec : float
        Side of a pixel.
    file : str
    bands : str
    psf_fwhm_arcsec : float
        NaN if it is not known.
    """

    id: str
    ra: np.ndarray
    dec: np.ndarray
    centre: tuple[float, float]
    shape: tuple[int, int]
    scale_arcsec: float
    file: str = ""
    bands: str = ""
    psf_fwhm_arcsec: float = np.nan


def outlines(
    source: str | Path, settings: ReadSettings = ReadSettings(), progress: Progress = SILENT
) -> Iterator[Outline]:
    """Where the images of a source are: mosaics as a whole, or each cutout. Those without a place are left out."""
    if image_type(source, settings).is_mosaic or (settings.catalogue and settings.match == "position"):
        yield from _of_mosaics(Path(source), settings)
        return
    images = open_images(source, settings)
    progress.begin(images.expected)
    for chunk in images.chunks():
        progress.advance(len(chunk))
        for row, pixels in zip(chunk.table, chunk.pixels, strict=True):
            if usable(row["flag"]) and pixels.size and (outline := _of_row(row, pixels.shape)) is not None:
                yield outline


def _of_mosaics(path: Path, settings: ReadSettings) -> Iterator[Outline]:
    for tile in Tiles(mosaic_files(path, settings), settings):
        if tile.wcs is None or tile.fault:
            continue
        ra, dec = tile.to_sky(*_edges(tile.shape))
        middle = tile.to_sky(*(np.array([(n - 1) / 2]) for n in tile.shape[::-1]))
        if np.isfinite(ra + dec).all():
            centre = (float(middle[0][0]), float(middle[1][0]))
            yield Outline(str(tile.name), ra, dec, centre, tile.shape, tile.scale_arcsec, str(tile.path), tile.bands)


def _of_row(row: Row, shape: tuple[int, ...]) -> Outline | None:
    """The outline of an image by its local matrix; None if its row does not have it."""
    from astropy.wcs import WCS

    header = sky_header(row, shape)
    if "CRVAL1" not in header:
        return None
    wcs = WCS(header)
    ra, dec = wcs.wcs_pix2world(*_edges(shape), 0)
    matrix = wcs.pixel_scale_matrix
    scale = 3600 * math.sqrt(abs(np.linalg.det(matrix)))
    known = {name: str(row[name]) for name in ("file", "bands")
             if name in row.colnames and not np.ma.is_masked(row[name])}  # fmt: skip
    width = float(numbers(row["psf_fwhm_pix"])) * scale if "psf_fwhm_pix" in row.colnames else np.nan
    centre = (float(header["CRVAL1"]), float(header["CRVAL2"]))
    return Outline(str(row["id"]), ra, dec, centre, (shape[0], shape[1]), scale, psf_fwhm_arcsec=width, **known)


def _edges(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Points x, y (4 `POINTS_A_SIDE`,) along the edges of an image (ny, nx), counter-clockwise."""
    ny, nx = shape
    step = np.arange(POINTS_A_SIDE) / POINTS_A_SIDE
    zero, one = np.zeros(POINTS_A_SIDE), np.ones(POINTS_A_SIDE)
    x = nx * np.concatenate([step, one, 1 - step, zero]) - 0.5
    y = ny * np.concatenate([zero, step, one, 1 - step]) - 0.5
    return x, y


# --- MOC


def write_moc(
    source: str | Path,
    output: str | Path,
    settings: ReadSettings = ReadSettings(),
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """Writes the area of the sky that images cover as a MOC (IVOA, version 2), with mocpy.

    The area is that within the edges of the images: pixels that are missing in them count. Cells are so small that 32
    or more lie across the smallest image.

    Parameters
    ----------
    output : str or Path
        .fits, .json or .txt (ASCII).

    Raises
    ------
    MissingPackageError
        mocpy is not installed.
    UsageError
        The output has another ending, or no image has a place on the sky.
    """
    output = Path(output)
    if output.suffix.lower() not in MOC_FORMATS:
        raise UsageError(f"a MOC is written as {', '.join(MOC_FORMATS)}; received '{output.name}'.")
    _check_new(output, overwrite)
    mocpy, found = _package("mocpy", "a MOC"), list(outlines(source, settings, progress))
    if not found:
        raise NoImagesError(f"no image of '{source}' has a place on the sky (WCS, or ra, dec and a matrix).")
    moc = area(found, mocpy)
    with complete(output) as temporary:
        moc.save(str(temporary), format=MOC_FORMATS[output.suffix.lower()], overwrite=True)
    return output


def area(found: list[Outline], mocpy: ModuleType) -> Any:
    """The union of outlines as a MOC of mocpy."""
    smallest_deg = min(min(one.shape) * one.scale_arcsec / 3600 for one in found)
    order = math.ceil(math.log2(ORDER_ZERO_DEG * CELLS_ACROSS / smallest_deg))
    order = min(max(order, COARSEST), FINEST)
    from astropy import units as u

    parts = [mocpy.MOC.from_polygon(lon=one.ra * u.deg, lat=one.dec * u.deg, max_depth=order) for one in found]
    return parts[0].union(*parts[1:]) if len(parts) > 1 else parts[0]


# --- ObsCore

# Mandatory columns of ObsCore 1.1 (Louys et al. 2017, IVOA Recommendation, table 1) with unit, UCD and Utype.
OBSCORE = {
    "dataproduct_type": ("", "meta.id", "ObsDataset.dataProductType"),
    "calib_level": ("", "meta.code;obs.calib", "ObsDataset.calibLevel"),
    "obs_collection": ("", "meta.id", "DataID.collection"),
    "obs_id": ("", "meta.id", "DataID.observationID"),
    "obs_publisher_did": ("", "meta.ref.ivoid", "Curation.publisherDID"),
    "access_url": ("", "meta.ref.url", "Access.reference"),
    "access_format": ("", "meta.code.mime", "Access.format"),
    "access_estsize": ("kbyte", "phys.size;meta.file", "Access.size"),
    "target_name": ("", "meta.id;src", "Target.name"),
    "s_ra": ("deg", "pos.eq.ra", "Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C1"),
    "s_dec": ("deg", "pos.eq.dec", "Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C2"),
    "s_fov": ("deg", "phys.angSize;instr.fov", "Char.SpatialAxis.Coverage.Bounds.Extent.diameter"),
    "s_region": ("", "pos.outline;obs.field", "Char.SpatialAxis.Coverage.Support.Area"),
    "s_resolution": ("arcsec", "pos.angResolution", "Char.SpatialAxis.Resolution.Refval.value"),
    "s_xel1": ("", "meta.number", "Char.SpatialAxis.numBins1"),
    "s_xel2": ("", "meta.number", "Char.SpatialAxis.numBins2"),
    "t_min": ("d", "time.start;obs.exposure", "Char.TimeAxis.Coverage.Bounds.Limits.StartTime"),
    "t_max": ("d", "time.end;obs.exposure", "Char.TimeAxis.Coverage.Bounds.Limits.StopTime"),
    "t_exptime": ("s", "time.duration;obs.exposure", "Char.TimeAxis.Coverage.Support.Extent"),
    "t_resolution": ("s", "time.resolution", "Char.TimeAxis.Resolution.Refval.value"),
    "t_xel": ("", "meta.number", "Char.TimeAxis.numBins"),
    "em_min": ("m", "em.wl;stat.min", "Char.SpectralAxis.Coverage.Bounds.Limits.LoLimit"),
    "em_max": ("m", "em.wl;stat.max", "Char.SpectralAxis.Coverage.Bounds.Limits.HiLimit"),
    "em_res_power": ("", "spect.resolution", "Char.SpectralAxis.Resolution.ResolPower.refVal"),
    "em_xel": ("", "meta.number", "Char.SpectralAxis.numBins"),
    "o_ucd": ("", "meta.ucd", "Char.ObservableAxis.ucd"),
    "pol_states": ("", "meta.code;phys.polarization", "Char.PolarizationAxis.stateList"),
    "pol_xel": ("", "meta.number", "Char.PolarizationAxis.numBins"),
    "facility_name": ("", "meta.id;instr.tel", "Provenance.ObsConfig.Facility.name"),
    "instrument_name": ("", "meta.id;instr", "Provenance.ObsConfig.Instrument.name"),
}
OBSCORE_TEXTS = (
    "dataproduct_type obs_collection obs_id obs_publisher_did access_url access_format target_name s_region o_ucd "
    "pol_states facility_name instrument_name"
).split()
OBSCORE_INTEGERS = "calib_level access_estsize s_xel1 s_xel2 t_xel em_xel pol_xel".split()
FORMATS = {".fits": "image/fits", ".fz": "image/fits", ".gz": "image/fits", ".png": "image/png", ".jpg": "image/jpeg",
           ".jpeg": "image/jpeg", ".tif": "image/tiff", ".tiff": "image/tiff"}  # fmt: skip


def write_obscore(
    source: str | Path,
    output: str | Path,
    settings: ReadSettings = ReadSettings(),
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """Writes one row for each image with the columns of ObsCore 1.1; what files do not tell is missing.

    Raises
    ------
    UsageError
        The output is no table, or no image has a place on the sky.
    """
    found = list(outlines(source, settings, progress))
    if not found:
        raise NoImagesError(f"no image of '{source}' has a place on the sky (WCS, or ra, dec and a matrix).")
    rows = [_in_obscore(one, Path(source).resolve().name) for one in found]
    origin = provenance("convert", settings, inputs=[source])
    return write_table(_obscore_table(rows), output, provenance=origin, overwrite=overwrite)


def _in_obscore(one: Outline, collection: str) -> dict[str, Any]:
    ny, nx = one.shape
    facts: dict[str, Any] = {
        "dataproduct_type": "image",
        "calib_level": 2,  # in units of physics or counts, on the sky
        "obs_collection": collection,
        "obs_id": one.id,
        "obs_publisher_did": f"ivo://{collection}/?{one.id}",
        "target_name": one.id,
        "s_ra": one.centre[0],
        "s_dec": one.centre[1],
        "s_fov": math.hypot(nx, ny) * one.scale_arcsec / 3600,
        "s_region": "POLYGON ICRS " + " ".join(f"{a:.7f} {d:.7f}" for a, d in zip(one.ra, one.dec, strict=True)),
        "s_resolution": one.psf_fwhm_arcsec,
        "s_xel1": nx,
        "s_xel2": ny,
        "o_ucd": "phot.count",
    }
    path = Path(one.file)
    if one.file and path.is_file():
        facts |= {"access_url": path.resolve().as_uri(), "access_estsize": -(-path.stat().st_size // 1000)}
        facts["access_format"] = FORMATS.get(path.suffix.lower(), "application/octet-stream")
    return facts


def _obscore_table(rows: list[dict[str, Any]]) -> Table:
    """The rows with all columns of ObsCore, missing where they are not known."""
    table = Table()
    for name, (unit, ucd, utype) in OBSCORE.items():
        values = [row.get(name) for row in rows]
        missing = [value is None or value != value for value in values]
        text, whole = name in OBSCORE_TEXTS, name in OBSCORE_INTEGERS
        empty: Any = "" if text else 0
        filled = [empty if lost else value for value, lost in zip(values, missing, strict=True)]
        kind = object if text else np.int64 if whole else float
        column: Column = MaskedColumn(np.array(filled, dtype=kind), mask=missing, unit=unit or None)
        column.meta.update(ucd=ucd, utype=f"obscore:{utype}")
        table[name] = column
    return table


# --- HATS


def write_hats(source: str | Path, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a table with positions as a catalogue in HATS (Hierarchical Adaptive Tiling Scheme), which LSDB opens.

    Rows are sorted by their cell of HEALPix of order 29 (column `_healpix_29`) and lie in one Parquet file for each
    cell of the coarsest order at which no cell has more than a million rows. Rows without a position are left out.

    This is our own code, on cdshealpix, because the writer of LSDB needs Dask and the whole table as its own kind of
    frame for a few files.

    Raises
    ------
    MissingPackageError
        cdshealpix is not installed.
    UsageError
        The table has no positions.
    FileExistsError
        There is such a folder, and `overwrite` is not set; or one that holds something else.
    """
    import pyarrow.parquet as pq

    folder, table = Path(folder), read_catalogue(source)
    if not {"ra", "dec"} <= set(table.colnames):
        raise UsageError(f"HATS needs ra and dec; '{source}' has {', '.join(table.colnames)}.")
    if folder.exists() and any(folder.iterdir()) and not (overwrite and (folder / "hats.properties").exists()):
        raise FileExistsError(f"'{folder}' exists; choose another folder or set --overwrite.")
    known = np.isfinite(numbers(table["ra"])) & np.isfinite(numbers(table["dec"]))
    if not known.any():
        raise UsageError(f"no row of '{source}' has a position.")
    cells = _cells(numbers(table["ra"])[known], numbers(table["dec"])[known])
    order = np.argsort(cells, kind="stable")
    table, cells = table[known][order], cells[order]
    table.add_column(Column(cells, name=f"_healpix_{HATS_ORDER}"), index=0)
    check_folder(folder.parent)
    shutil.rmtree(folder, ignore_errors=True)
    data, rows = folder / "dataset", to_arrow(table)
    level = _level(cells)
    numbers_of = cells >> 2 * (HATS_ORDER - level)
    pixels, starts = np.unique(numbers_of, return_index=True)
    ends = [*starts[1:], len(cells)]
    collected: list[Any] = []
    for pixel, start, end in zip(pixels.tolist(), starts.tolist(), ends, strict=True):
        name = f"Norder={level}/Dir={pixel // SUBFOLDER * SUBFOLDER}/Npix={pixel}.parquet"
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        part = rows.slice(start, end - start)
        here: list[Any] = []
        pq.write_table(part, data / name, metadata_collector=here)
        here[-1].set_file_path(name)
        collected += here
    pq.write_metadata(rows.schema, data / "_common_metadata")
    pq.write_metadata(rows.schema, data / "_metadata", metadata_collector=collected)
    lines = [f"{level},{pixel}" for pixel in pixels.tolist()]
    write_text(folder / "partition_info.csv", "\n".join(["Norder,Npix", *lines]) + "\n")
    write_text(folder / "hats.properties", _properties(Path(source), folder, table, level, len(pixels)))
    return folder


def _cells(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """The cells (n,) int64 of HEALPix of order 29, nested, of positions in degrees."""
    from astropy import units as u

    healpix = _package("cdshealpix", "HATS")
    found = healpix.lonlat_to_healpix((ra % 360) * u.deg, dec * u.deg, HATS_ORDER)
    return np.asarray(found, dtype=np.int64)


def _level(cells: np.ndarray) -> int:
    """The coarsest order at which no cell has more than `ROWS_A_FILE` of these cells (n,) of order 29."""
    for level in range(HATS_FINEST):
        if np.unique(cells >> 2 * (HATS_ORDER - level), return_counts=True)[1].max() <= ROWS_A_FILE:
            return level
    return HATS_FINEST


def _properties(source: Path, folder: Path, table: Table, level: int, pixels: int) -> str:
    """What the catalogue says of itself (HATS 1.0; key = value)."""
    from emeraldcut import __version__

    size = sum(file.stat().st_size for file in (folder / "dataset").rglob("*.parquet"))
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MUTC")
    facts = {
        "obs_collection": source.name.partition(".")[0],
        "dataproduct_type": "object",
        "hats_nrows": len(table),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": f"_healpix_{HATS_ORDER}",
        "hats_col_healpix_order": HATS_ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_max_rows": ROWS_A_FILE,
        "hats_order": level,
        "moc_sky_fraction": f"{pixels / (12 * 4**level):.5f}",
        "hats_builder": f"emeraldcut {__version__}",
        "hats_creation_date": now,
        "hats_estsize": -(-size // 1000),
        "hats_release_date": "2025-08-22",
        "hats_version": "v1.0",
    }
    return "".join(f"{name}={value}\n" for name, value in facts.items())


# --- what they share


def _package(name: str, what: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackageError(f"{what} {NEEDED} ({error}).") from error


def _check_new(output: Path, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise FileExistsError(f"'{output}' exists; choose another name or set --overwrite.")
    check_folder(output.parent)
