"""Convert: our tables and images in the forms that other programs take, and tables sent to those that run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

import numpy as np
from astropy.table import Row, Table, vstack

from emeraldcut.data.columns import describe_columns, free_name, numbers
from emeraldcut.data.flags import usable
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import MissingPackageError, UsageError
from emeraldcut.exchange.headers import sky_header
from emeraldcut.exchange.sky import NEEDED
from emeraldcut.images.readers import NoImagesError, ReadSettings, open_images, safe_names
from emeraldcut.images.tiles import first_pixel
from emeraldcut.runs.notices import said
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import Run, begun_settings
from emeraldcut.runs.writing import check_folder, write_text
from emeraldcut.settings import Settings, setting
from emeraldcut.tables.catalogues import read_catalogue
from emeraldcut.tables.files import RAW_HELP, THESIS_CLASSES, check_output, read_table, write_table
from emeraldcut.tables.identifiers import whole_type, with_numbers

LABELS = (*THESIS_CLASSES, "other")  # 0, 1, 2, 3 for Zoobot
ANOMALY = "rectangular"
REGIONS = ".reg"
FILES = "images"  # folder of the pictures
WHITE_PERCENTILE = 99.8  # of a picture's pixels
OF_HYRAX = ("object_id", "filename", "filter")  # columns that mean something to it; a user's go by other names
HEADER_FACTS = (  # column, key of a FITS header, comment
    ("psf_fwhm_pix", "PSF_FWHM", "pixels"),
    ("label", "LABEL", "known class"),
    ("bands", "FILTER", "bands that the image is made of"),
)
SOFTENING_SIGMAS = 3.0  # of the sky, where the stretch turns from linear to logarithmic


@dataclass(frozen=True, kw_only=True)
class ConvertSettings(Settings):
    """For which programs a table or images are written."""

    to: str | None = setting(
        None,
        "write a folder of images for this program, instead of a table; or of IMAGES the area of the sky that they "
        "cover (moc) or a table in ObsCore (obscore); or of a TABLE a folder in HATS (moc and hats: extra [sky])",
        choices=("fits", "zoobot", "hyrax", "anomalymatch", "moc", "obscore", "hats"),
    )
    send: bool = setting(
        False,
        "also send the table (.vot) through SAMP to TOPCAT, Aladin and others that run on this machine (extra [sky])",
    )
    raw: bool = setting(False, RAW_HELP)


def convert_table(
    source: str | Path, output: str | Path, settings: ConvertSettings = ConvertSettings(), *, overwrite: bool = False
) -> Path:
    """Writes the table `source` in the format of the ending of `output`, also as regions for DS9 (.reg).

    Columns of ours get their units, descriptions and UCDs, whatever the source's format could hold. With
    `settings.send` the programs that listen are asked to load it, see `send`.

    Raises ValueError where the format cannot hold the table, FileExistsError if `output` exists.
    """
    output = Path(output)
    as_regions = output.name.lower().endswith(REGIONS)
    if settings.send and not output.name.lower().endswith((".vot", ".vot.xml")):
        raise UsageError(f"only a VOTable can be sent; let the output end in .vot (received '{output.name}').")
    if as_regions:
        text = regions(read_catalogue(source))
        if output.exists() and not overwrite:
            raise FileExistsError(f"'{output}' exists; choose another name or set --overwrite.")
        check_folder(output.parent)
        write_text(output, text)
        return output
    check_output(output, overwrite)
    path = write_table(describe_columns(read_table(source)), output, overwrite=overwrite, raw=settings.raw)
    if settings.send:
        send(path)
    return path


def regions(table: Table) -> str:
    """The rows of a table that have a position as text for DS9, with `id` beside each.

    On the sky: the measured galaxy (`galaxy_ra`, `galaxy_dec`), or where it is not known `ra`, `dec`. Else in pixels,
    from 1 as DS9 counts, of the mosaic (`mosaic_x`, `mosaic_y`; the galaxy in it where the provenance knows the size of
    the cutouts) or image (`x`, `y`). The half-light ellipse where `radius_pix`, `axis_ratio` and its angle are known
    (on the sky `pixel_scale_arcsec` and `pa_sky_deg`), else a point. DS9's angle on the sky runs from west through
    north, so it is the position angle and 90 degrees (https://ds9.si.edu/doc/ref/region.html).

    Raises ValueError if the table has no positions.
    """
    pairs = [pair for pair in (("ra", "dec"), ("mosaic_x", "mosaic_y"), ("x", "y")) if {*pair} <= {*table.colnames}]
    if not pairs:
        raise UsageError(f"regions need ra and dec, or x and y; the table has {', '.join(table.colnames)}.")

    def values(name: str) -> np.ndarray:
        return numbers(table[name]) if name in table.colnames else np.full(len(table), np.nan)

    sky = pairs[0] == ("ra", "dec")
    first, second = (values(name) + (not sky) for name in pairs[0])
    size = table.meta.get("provenance", {}).get("settings.cutout_size")
    if sky:
        measured = [values("galaxy_ra"), values("galaxy_dec")]
        first, second = (np.where(np.isfinite(m), m, v) for m, v in zip(measured, (first, second), strict=True))
    elif pairs[0] == ("mosaic_x", "mosaic_y") and size:
        first, second = (
            _in_mosaic(v - 1, values(n), int(size)) + 1 for n, v in zip("xy", (first, second), strict=True)
        )
    major = values("radius_pix") * (values("pixel_scale_arcsec") if sky else 1)
    minor = major * values("axis_ratio")
    angle = values("pa_sky_deg") + 90 if sky else values("position_angle_deg")
    unit = '"' if sky else ""
    lines = ["# Region file format: DS9 version 4.1", "global color=green", "icrs" if sky else "image"]
    ids = table["id"] if "id" in table.colnames else range(len(table))
    for a, b, ma, mi, an, name in zip(first, second, major, minor, angle, ids, strict=True):
        if not np.isfinite(a + b):
            continue
        shape = f"point({a:.7f},{b:.7f}) # point=cross"
        if np.isfinite(ma + mi + an):
            shape = f"ellipse({a:.7f},{b:.7f},{ma:.4f}{unit},{mi:.4f}{unit},{an % 180:.3f}) #"
        text = "".join("_" if letter in "{}\n\r" else letter for letter in str(name))
        lines.append(f"{shape} text={{{text}}}")
    return "\n".join(lines) + "\n"


def _in_mosaic(middle: np.ndarray, within: np.ndarray, size: int) -> np.ndarray:
    """Pixels (n,) of a mosaic of what lies `within` cutouts of a `size` around `middle`; that if it is not known."""
    known = np.isfinite(middle + within)
    return np.where(known, first_pixel(np.where(known, middle, 0.0), size) + within, middle)


def send(path: Path) -> list[str]:
    """Asks all programs that listen through SAMP on this machine to load a VOTable; returns their names.

    By pyvo, to which astropy has handed its own client over. Raises MissingPackageError without it, ConnectionError if
    no program listens.
    """
    try:
        from pyvo.samp import SAMPHubError, SAMPIntegratedClient
    except ImportError as error:
        raise MissingPackageError(f"'{path}' is written; sending it {NEEDED} ({error}).") from error

    kind = "table.load.votable"
    client = SAMPIntegratedClient(name="emeraldcut", description="galaxies of rare shapes", callable=False)
    try:
        client.connect()
    except SAMPHubError:
        raise ConnectionError(
            f"'{path}' is written, but no SAMP hub runs here; start TOPCAT or Aladin first."
        ) from None
    try:
        listeners = [
            client.get_metadata(listener).get("samp.name", listener) for listener in client.get_subscribed_clients(kind)
        ]
        if not listeners:
            raise ConnectionError(f"'{path}' is written, but no program that is connected through SAMP takes tables.")
        url = path.resolve().as_uri()
        parameters = {"url": url, "table-id": url, "name": _ascii(path.name)}
        client.notify_all({"samp.mtype": kind, "samp.params": parameters})
    finally:
        client.disconnect()
    return listeners


def _ascii(text: str) -> str:
    """Text as SAMP may hold it: letters without their accents, and `?` for what has none."""
    return normalize("NFKD", text).encode("ascii", "ignore").decode() if not text.isascii() else text


def convert_images(
    source: str | Path,
    folder: str | Path,
    settings: ConvertSettings,
    read_settings: ReadSettings = ReadSettings(),
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Writes images and their table as the program `settings.to` takes them.

    The folder gets `images/`, the program's tables, `settings.toml` and `manifest.json`. Images that cannot be used
    are left out; the manifest counts them.

    - fits: FITS with the WCS of each image, and the bands that it is made of, if there are several, as extensions;
      `table.fits` with `filename` and what else is known.
    - zoobot: PNG with an arcsinh stretch; `catalog.csv` with `id_str`, `file_loc` (absolute) and, if there are labels,
      `label` (0 oval, 1 rectangular, 2 obround, 3 other; labels of others as they are).
    - hyrax: FITS; `catalog.fits` with `object_id` (whole numbers: the ids if they are, else the rows' numbers),
      `filename`, and what else is known, for `FitsImageDataset`.
    - anomalymatch: FITS; `metadata.csv` with `filename`, `sourceID`, and what else is known, and, if there are labels,
      `labeled_data.csv` with `filename` and `label`: `anomaly` for rectangular galaxies, else `normal`.

    Returns the finished run. Raises NoImagesError if no image can be used, FileExistsError if the folder holds a
    finished run, or images that `convert` has not made.
    """
    images, folder = open_images(source, read_settings), Path(folder)
    if any((folder / FILES).glob("*")) and "to" not in begun_settings(folder):
        raise FileExistsError(f"'{folder / FILES}' holds files already; choose another folder.")
    run = Run.start(folder, "convert", (settings, read_settings), inputs=[source], overwrite=overwrite)
    tables, left_out, name_of = [], 0, safe_names()
    write: Callable = _write_png if settings.to == "zoobot" else _write_fits
    chunks = (images.with_bands() if settings.to == "fits" else images).chunks()
    ending = ".png" if settings.to == "zoobot" else ".fits"
    progress.begin(images.expected)
    for chunk in chunks:
        good = usable(chunk.table["flag"])
        left_out += int((~good).sum())
        progress.advance(len(chunk))
        if good.any():
            tables.append(_write_pictures(chunk[good], run, write, ending, name_of))
    if not tables:
        raise NoImagesError(f"none of the {left_out} images of '{source}' can be used.")
    table = vstack(tables, metadata_conflicts="silent")
    for name, part in PROGRAMS[str(settings.to)](table, run.folder.resolve()).items():
        part = with_numbers(part) if images.whole_ids and "id" in part.colnames else part
        write_table(part, run.path(name), overwrite=True, raw=settings.raw)
    run.finish(**images.facts, images=len(table), left_out=left_out, notices=said())
    return run


def _write_pictures(images: ImageSet, run: Run, write: Callable, ending: str, name_of: Callable[[str], str]) -> Table:
    """Writes each image to a file of its own; the table of the images with the files' names in `filename`."""
    table = images.table.copy()
    table["filename"] = np.array([name_of(name) + ending for name in table["id"]], dtype=object)
    for pixels, row, bands in zip(images.pixels, table, images.bands or [None] * len(images), strict=True):
        write(np.asarray(pixels), run.path(f"{FILES}/{row['filename']}"), row, bands or {})
    return table


def _write_fits(pixels: np.ndarray, path: Path, row: Row, bands: Mapping[str, np.ndarray]) -> None:
    """One image, its header with what its row knows of the sky, the PSF and the identifier; its bands as extensions."""
    from astropy.io import fits

    header = sky_header(row, pixels.shape)
    header["OBJECT"] = ("".join(c if " " <= c <= "~" else "?" for c in str(row["id"]))[:68], "identifier")
    for name, key, comment in HEADER_FACTS:
        if name in row.colnames and not np.ma.is_masked(row[name]) and row[name] not in ("", None):
            value = row[name]
            header[key] = (str(value)[:68] if isinstance(value, str) else float(value), comment)
    units = [fits.PrimaryHDU(pixels, header)]
    for name, plane in bands.items():
        of_band = sky_header(row, plane.shape)
        of_band["FILTER"] = name
        units.append(fits.ImageHDU(plane, of_band, name=f"BAND{name}" if name.isdigit() else name))
    fits.HDUList(units).writeto(path, overwrite=True, output_verify="silentfix")


def _write_png(pixels: np.ndarray, path: Path, row: Row, bands: Mapping[str, np.ndarray]) -> None:
    """8 bits: black at the median, arcsinh stretch softened at 3 sigma of the sky, white at the 99.8th percentile."""
    from PIL import Image

    from emeraldcut.numerics.median import MAD_TO_SIGMA
    from emeraldcut.numerics.stretch import asinh_stretch

    light = pixels - np.nanmedian(pixels)
    softening = SOFTENING_SIGMAS * (MAD_TO_SIGMA * np.nanmedian(np.abs(light)) or np.nanstd(pixels))
    white = max(np.nanpercentile(np.arcsinh(light / softening), WHITE_PERCENTILE), 1e-6)
    grey = np.round(255 * np.nan_to_num(asinh_stretch(light, 0.0, white, softening))).astype(np.uint8)
    Image.fromarray(np.repeat(grey[..., None], 3, axis=-1)).save(path)


def _labels(table: Table) -> np.ma.MaskedArray | None:
    """Labels as text, masked where there is none; None if no row has one."""
    if "label" not in table.colnames:
        return None
    labels = np.ma.MaskedArray(np.asarray(table["label"], dtype=object), mask=np.ma.getmaskarray(table["label"]).copy())
    labels[np.array([not label for label in labels.filled("")], dtype=bool)] = np.ma.masked
    return None if labels.mask.all() else labels


def _known(table: Table) -> list[str]:
    """Columns that go along beside the program's own."""
    return [name for name in table.colnames if name not in ("filename", "file", "flag", "flag_text")]


def _for_zoobot(table: Table, folder: Path) -> dict[str, Table]:
    files = [os.fspath(folder / FILES / name) for name in table["filename"]]
    catalog = Table({"id_str": table["id"], "file_loc": np.array(files, dtype=object)})
    labels = _labels(table)
    if labels is not None:
        if set(labels.compressed()) <= set(LABELS):
            places = [LABELS.index(label) if label in LABELS else 0 for label in labels.filled("")]
            labels = np.ma.MaskedArray(places, mask=labels.mask)
        catalog["label"] = labels
    return {"catalog.csv": catalog}


def _for_hyrax(table: Table, folder: Path) -> dict[str, Table]:
    """Hyrax converts every `object_id` to a whole number (hyrax/datasets/fits_image_dataset.py)."""
    ids = list(table["id"])
    kind = whole_type(ids)
    whole = [int(name) for name in ids] if kind is not None else list(range(len(ids)))
    catalog = Table({"object_id": np.array(whole, dtype=kind or np.int64), "filename": table["filename"]})
    for name in _known(table):
        catalog[free_name(f"input_{name}", table.colnames) if name in OF_HYRAX else name] = table[name]
    return {"catalog.fits": catalog}


def _for_fits(table: Table, folder: Path) -> dict[str, Table]:
    catalog = Table({"id": table["id"], "filename": [f"{FILES}/{name}" for name in table["filename"]]})
    for name in table.colnames:
        if name not in ("id", "filename", "file"):
            catalog[name] = table[name]
    return {"table.fits": describe_columns(catalog)}


def _for_anomalymatch(table: Table, folder: Path) -> dict[str, Table]:
    metadata = Table({"filename": table["filename"], "sourceID": table["id"]})
    for name in _known(table):
        if name not in ("id", "label"):
            metadata[name] = table[name]
    tables, labels = {"metadata.csv": metadata}, _labels(table)
    if labels is not None:
        known = ~labels.mask
        words = np.array(["anomaly" if label == ANOMALY else "normal" for label in labels[known]], dtype=object)
        tables["labeled_data.csv"] = Table({"filename": table["filename"][known], "label": words})
    return tables


PROGRAMS = {"fits": _for_fits, "zoobot": _for_zoobot, "hyrax": _for_hyrax, "anomalymatch": _for_anomalymatch}
