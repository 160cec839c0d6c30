"""Images from anything that holds them: folders, files, tables of files, text maps, mosaics, our own sets."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from hashlib import sha256
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Row, Table, vstack

from emeraldcut.data.colours import in_colour
from emeraldcut.data.columns import RESULTS, free_name, keep_apart
from emeraldcut.data.flags import Flag, describe
from emeraldcut.data.imageset import ImageSet, concatenate, some
from emeraldcut.errors import UsageError
from emeraldcut.images.band_files import joined_bands, read_group
from emeraldcut.images.band_files import sentence as band_sentence
from emeraldcut.images.claims import BadImage, fits_file
from emeraldcut.images.formats import (
    NO_PIXELS,
    Item,
    Picture,
    already_unusable,
    failed,
    kind_of,
)
from emeraldcut.images.hdf5 import IMAGES, hdf5_contents, hdf5_pictures
from emeraldcut.images.matching import LOOKED_AT, Match, are_cutouts, match_names
from emeraldcut.images.mosaic import tiles_in
from emeraldcut.images.one_by_one import OneByOne
from emeraldcut.images.options import DEFAULT, PictureSettings
from emeraldcut.images.origin import Origin, Origins, file_text, files_of, stamps_of
from emeraldcut.images.parquet import image_column, n_rows, parquet_images
from emeraldcut.images.planes import FileGroup, grouped, kind_of_name
from emeraldcut.images.psf import Psf, psf_or_why
from emeraldcut.images.store import (
    CHUNK_BYTES,
    PIXELS,
    TABLE,
    StoredImages,
    is_stored_set,
    stored_chunks,
    stored_number,
    stored_table,
)
from emeraldcut.images.text_maps import is_text_map, label_files, text_map
from emeraldcut.images.tiles import Tiles, cut_out
from emeraldcut.runs.notices import notice, printable
from emeraldcut.runs.run import MANIFEST
from emeraldcut.runs.stamps import Stamp, stamp_of
from emeraldcut.runs.workers import loaded
from emeraldcut.settings import setting
from emeraldcut.tables.catalogues import RENAMED, common_name, find_columns, read_catalogue, with_pixels
from emeraldcut.tables.column_names import find_column
from emeraldcut.tables.identifiers import are_whole, id_texts
from emeraldcut.tables.resumable import Inputs

FITS_ENDINGS = (
    *(f"{e}{packed}" for packed in ("", ".gz", ".bz2", ".xz", ".fz") for e in (".fits", ".fit", ".fts")),
    ".fz",
)
IMAGE_ENDINGS = (*FITS_ENDINGS, ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".gif", ".bmp", ".webp")
LONGEST_FIRST = sorted(IMAGE_ENDINGS, key=len, reverse=True)
# Of these, which hold images too but are not read among others, each is a row that says so.
OTHER_ENDINGS = (".asdf", ".fits.z", ".fits.zip", ".fits.zst", ".npz", ".h5", ".hdf5", ".jp2", ".jxl", ".imh", ".nc")
PSF_ENDING = ".psf"  # of PSFEx
WANTED = ("ra", "dec", "x", "y", "id", "file")  # columns that settings may name
CHUNK = 512  # images at a time: of fewer the tables between the stages cost as much as a stage
MOST_NAMED = 3  # files in a sentence
MOST_MEMBERS = 20  # of an HDF5 file, in a sentence
LONGEST_NAME = 100  # letters of a file name made of an id
LONGEST_ID, LONGEST_TEXT = 1000, 50_000  # letters; tables of fixed width take room for the longest in every row
LISTED_ROW = "row_of_the_list"  # while images of a table of files are read for a catalogue, its row of each
CUTOUTS = "cutouts.parquet"  # the table that `fetch` puts beside the cut-outs
TABLE_ENDINGS = (".csv", ".ecsv", ".parquet", ".vot", ".vot.xml", ".csv.gz", ".ecsv.gz", ".vot.gz", ".tsv", ".tbl")
TEXT_ENDINGS = (".txt", ".dat", ".cat", ".ascii", ".list")  # of tables, or of text maps


NAMED = ("input_1",)  # what images are called in a provenance
FROM_IMAGES = Inputs(names=NAMED)


class NoImagesError(UsageError):
    """The source exists but holds nothing that could be an image, or nothing that can be used."""

    status = 1


@dataclass(frozen=True, kw_only=True)
class ReadSettings(PictureSettings):
    """How images are read."""

    catalogue: str | None = setting(
        None,
        "table, or HATS folder, of positions (ra, dec or x, y) to cut out of one or more mosaics",
    )
    image_type: str | None = setting(
        None,
        "what the images are: 'cutout' (one galaxy in the middle of each) or 'mosaic' (many, which are found first if "
        "there is no catalogue); if not given, images with a side above 1024 pixels are mosaics, unless one galaxy "
        "fills their middle",
        choices=("cutout", "mosaic"),
    )
    match: str | None = setting(
        None,
        "how rows of the catalogue go with images: 'name' (each has an image of its own) or 'position' (cut out of "
        "mosaics); found out if not given",
        choices=("name", "position"),
    )
    ra: str | None = setting(None, "the catalogue's column of right ascension, where its name is not a usual one")
    dec: str | None = setting(None, "the catalogue's column of declination")
    x: str | None = setting(None, "the catalogue's column of pixels along x")
    y: str | None = setting(None, "the catalogue's column of pixels along y")
    id: str | None = setting(None, "the catalogue's column of identifiers")
    file: str | None = setting(None, "the catalogue's column of file names")
    cutout_size: int = setting(64, "side of the cutouts from a mosaic in pixels", at_least=1, at_most=8_192)
    text_map_size: int = setting(
        50, "side of the images in the thesis's text maps (2df.dat) in pixels", at_least=1, at_most=8_192
    )
    limit: int | None = setting(None, "read only this many images", at_least=1)


@dataclass(frozen=True)
class ImageSource:
    """A place that images come from; nothing but names and tables is in memory until `chunks` is used.

    `n_images` is None where the files would have to be opened to know it; `n_files`, which of a folder or a table of
    files is known, is then what to expect. `whole_ids` says that ids came in as whole numbers; they are text here, and
    whole numbers again in tables. `facts` are for the manifest. `inputs` are the files, for work that goes on.
    """

    n_images: int | None
    _chunks: Callable[[int], Iterator[ImageSet | StoredImages]]
    n_files: int | None = None
    whole_ids: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    inputs: Inputs = FROM_IMAGES
    _chunks_with_bands: Callable[[int], Iterator[ImageSet | StoredImages]] | None = None

    @property
    def expected(self) -> int | None:
        """How many images there are if no file holds several, for bars of progress; None where nothing is known."""
        return self.n_files if self.n_images is None else self.n_images

    def chunks(self, size: int = CHUNK) -> Iterator[ImageSet]:
        """The images in order, at most `size` at a time."""
        if size < 1:
            raise UsageError(f"a chunk must hold at least 1 image; received {size}.")
        return map(loaded, self._chunks(size))

    def with_bands(self) -> ImageSource:
        """The same images, with the pixels of the single bands of those that are made of several."""
        return self if self._chunks_with_bands is None else replace(self, _chunks=self._chunks_with_bands)

    def chunks_after(self, done: int, size: int = CHUNK) -> Iterator[ImageSet | StoredImages]:
        """The same without the first `done`; images of a set are named, not yet read."""
        for chunk in self._chunks(size):
            if done >= len(chunk):
                done -= len(chunk)
                continue
            yield chunk[done:] if done else chunk
            done = 0


def open_images(source: str | Path, settings: ReadSettings | None = None) -> ImageSource:
    """Finds out what `source` is, without reading pixels.

    Parameters
    ----------
    source : str or Path
        A folder (searched recursively, in sorted order) of FITS, PNG, JPEG, TIFF and NPY files; one such
        file; a FITS cube (n, ny, nx) or multi-extension FITS; an HDF5 file with `images` (and `ans`); a set
        written by `write_images`; a folder made by `fetch`; Parquet with a column of images, or a folder of such
        files; a thesis text map such as `2df.dat`; a table with a column `file`, relative to the table or else to
        where the program runs; or, with `settings.catalogue`, a mosaic or a folder of mosaics, which may overlap.
    settings : ReadSettings, optional

    Returns
    -------
    ImageSource
        Every image has one row. One that cannot be used has a flag and a sentence instead of pixels. Arrays
        keep the order of the file: row 0 is the bottom of a FITS image and the top of a PNG, JPEG or TIFF
        image.

    Raises
    ------
    FileNotFoundError
        There is no such source or catalogue.
    NoImagesError
        A folder or table without images.
    ValueError
        An unfinished set, or a mosaic or catalogue that cannot be used.
    """
    settings, path = settings or ReadSettings(), Path(source)
    if not os.fspath(source) or not path.exists():  # an empty name would be the folder where the program runs
        raise FileNotFoundError(f"there is no file or folder '{source}' to read images from.")
    if settings.catalogue is not None:
        return _open_with_catalogue(path, settings.catalogue, settings)
    if path.is_dir():
        if settings.only:
            return _open_folder(path, settings)
        if (path / CUTOUTS).is_file():
            return _open_listed(path / CUTOUTS, settings, _together(path / CUTOUTS))
        if is_stored_set(path):
            return _open_stored(path, settings)
        if shards := _shards(path):
            return _open_parquet(shards, settings)
        return _open_folder(path, settings)
    kind = _kind(path)
    if kind == "hdf5":
        return _open_hdf5(path, settings)
    if kind == "parquet" and (column := image_column(path)):
        return _open_parquet({path: column}, settings)
    if _is_table(path, kind, settings):
        return _open_listed(path, settings)
    if kind == "" and is_text_map(path):
        return _open_text_map(path, settings)
    inputs = Inputs(lambda: [os.path.abspath(path)], names=NAMED)
    return from_pictures(None, lambda: _file(path, stem_of(path.name), settings), settings, inputs=inputs)


def _together(*files: Path) -> Inputs:
    return Inputs(together=files, names=NAMED)


def _kind(path: Path) -> str:
    try:
        return kind_of(path)
    except Exception:  # the row of this one file says what is wrong
        return "damaged"


def _is_table(path: Path, kind: str, settings: ReadSettings) -> bool:
    """Whether a file of a `kind` is a table, to be read as a list of files of images."""
    if kind in ("parquet", "votable") or path.name.lower().endswith(TABLE_ENDINGS):
        return True
    if kind == "fits":
        return _is_fits_table(path, settings.file)
    return kind == "" and not is_text_map(path) and path.name.lower().endswith(TEXT_ENDINGS)


def _shards(folder: Path) -> dict[Path, str]:
    """Parquet files with images, and the columns of these, of a folder that has no other files of images."""
    shards = {file: column for file in sorted(folder.rglob("*.parquet")) if (column := image_column(file))}
    return {} if shards and list(image_files(folder)) else shards


def is_folder_of_files(folder: Path) -> bool:
    """Whether a folder is read file by file: no set of ours, nor what `fetch` has made, nor one without image files."""
    return not ((folder / CUTOUTS).is_file() or is_stored_set(folder)) and any(True for _ in image_files(folder))


def read_images(source: str | Path, settings: ReadSettings | None = None, *, bands: bool = False) -> ImageSet:
    """All images of `source` in memory; see `open_images` for what it may be and for the errors raised.

    With `bands` the single bands of images that are made of several are kept.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.save(folder + "/pair.npy", np.ones((2, 48, 48)))
    ...     read_images(folder).table["id"].tolist()
    ['pair#0', 'pair#1']
    """
    images = open_images(source, settings)
    return concatenate(list((images.with_bands() if bands else images).chunks()))


# --- from pictures to sets


def from_pictures(
    n_images: int | None,
    items: Callable[[], Iterator[Item]],
    settings: ReadSettings,
    n_files: int | None = None,
    whole_ids: bool = False,
    inputs: Inputs = FROM_IMAGES,
) -> ImageSource:
    """A source of the pictures that `items` gives, each with what its row holds besides what the file tells."""
    if settings.limit is not None:
        n_images, n_files = (None if n is None else min(n, settings.limit) for n in (n_images, n_files))

    def chunks(size: int, *, bands: bool = False) -> Iterator[ImageSet]:
        unique, coloured = unique_ids(), _COLOURS.get()
        found = islice(items(), settings.limit)
        for part in _parts(found if coloured else _grey(found), size):
            images = _image_set(part, unique, settings)
            images.colours = some([_colour_of(picture, coloured) for picture, _ in part])
            images.bands = [picture.bands for picture, _ in part] if bands else None
            yield images

    with_bands = partial(chunks, bands=True)
    return ImageSource(n_images, chunks, n_files, whole_ids, inputs=inputs, _chunks_with_bands=with_bands)


OF_PICTURES, OF_BANDS_TOO = "of pictures", "of pictures and of bands"
_COLOURS: ContextVar[str] = ContextVar("colours", default="")


@contextmanager
def keeping_colours(*, of_bands: bool) -> Iterator[None]:
    """While the block lasts images that are read keep what the eye sees of pictures in colour, or also of bands."""
    token = _COLOURS.set(OF_BANDS_TOO if of_bands else OF_PICTURES)
    try:
        yield
    finally:
        _COLOURS.reset(token)


def _colour_of(picture: Picture, coloured: str) -> np.ndarray | None:
    if coloured == OF_BANDS_TOO:
        return picture.seen_in_colour()
    return picture.colour if coloured else None


def coloured_by_bands(images: ImageSet, *, keep: bool) -> ImageSet:
    """Images with what the eye sees of their bands; the pixels of these stay only where they are to be kept."""
    if images.bands is not None:
        images.colours = some([in_colour(one) for one in images.bands])
        images.bands = images.bands if keep else None
    return images


def _grey(items: Iterator[Item]) -> Iterator[Item]:
    """Items without their colours, which nothing is measured of."""
    for item in items:
        item[0].colour = None
        yield item


def _parts(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of at most `size` of them, and of no more than `CHUNK_BYTES` unless one image has more."""
    part: list[Item] = []
    n_bytes = 0
    for item in items:
        own = item[0].pixels.nbytes + sum(plane.nbytes for plane in (item[0].bands or {}).values())
        own += sum(0 if one is None else one.nbytes for one in (item[0].noise, item[0].colour))
        if part and (len(part) == size or n_bytes + own > CHUNK_BYTES):
            yield part
            part, n_bytes = [], 0
        part.append(item)
        n_bytes += own
    if part:
        yield part


def _image_set(items: list[Item], unique: Callable[[str], str], settings: PictureSettings) -> ImageSet:
    images, rows, psfs, noises, sources = [], [], [], [], dict[Stamp, None]()
    for picture, known in items:
        if picture.origin is not None:
            sources |= dict.fromkeys(picture.origin.files)
            known = {"id": known["id"], **picture.origin.columns(), **known}
        row, psf, problem = _row_and_psf(picture, known, unique, settings)
        if problem is not None:
            picture = failed(problem)
        images.append(picture.pixels)
        rows.append(row)
        psfs.append(psf)
        noises.append(noise_of(picture))
    pixels = np.stack(images) if len({image.shape for image in images}) == 1 else images
    made = ImageSet.from_rows(pixels, rows, some(psfs), some(noises))
    made.sources = tuple(sources)
    return made


def noise_of(picture: Picture) -> np.ndarray | None:
    """The noise of the pixels of a picture, if it is one of these pixels."""
    noise = picture.noise
    return noise if noise is not None and noise.shape == picture.pixels.shape else None


def _row_and_psf(
    picture: Picture, known: dict[str, Any], unique: Callable[[str], str], settings: PictureSettings
) -> tuple[dict[str, Any], np.ndarray | None, BadImage | None]:
    """The row of an image, its PSF where that is known, and what is wrong with that, which the row says."""
    row = picture.facts | {name: value for name, value in known.items() if value is not None}
    if {"ra", "dec"} <= picture.facts.keys() and {"ra", "dec"} & known.keys():
        row |= {f"image_{name}": picture.facts[name] for name in ("ra", "dec")}
    told = {name: value for name, value in row.items() if name in known or not name.startswith("psf_")}
    psf, width, problem = psf_or_why(told, settings, picture.psf, picture.facts.get("psf_fwhm_pix"))
    said = picture if problem is None else failed(problem)
    text = " ".join(part for part in (describe(said.flag), said.detail) if part)
    row |= {} if width is None else {"psf_fwhm_pix": width}
    row = {name: shortened(v, LONGEST_TEXT) if isinstance(v, str) else v for name, v in row.items()}
    identity = unique(shortened(str(row["id"]), LONGEST_ID))
    row |= {"id": identity, "flag": int(said.flag), "flag_text": shortened(text, LONGEST_TEXT)}
    return row, psf, problem


def shortened(text: str, longest: int) -> str:
    """`text`, or what fits into `longest` letters of it with a hash of all of it at the end."""
    if len(text) <= longest:
        return text
    end = f"...{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    return text[: longest - len(end)] + end


def unique_ids() -> Callable[[str], str]:
    """A function that gives each id it has seen before the first free ending #2, #3, ..."""
    seen: set[str] = set()
    endings: dict[str, Iterator[int]] = {}  # of each id that came again, those that were not tried yet

    def unique(name: str) -> str:
        free = name
        if name in seen:
            numbers = endings.setdefault(name, count(2))
            free = next(f"{name}#{n}" for n in numbers if f"{name}#{n}" not in seen)
        seen.add(free)
        return free

    return unique


def safe_names() -> Callable[[str], str]:
    """A function that gives each id a file name that every file system takes and that it has not given before.

    A name that is not the id itself ends with a hash of the id.
    """
    taken: set[str] = set()

    def safe(identity: str) -> str:
        name = re.sub(r"[^A-Za-z0-9._+-]", "_", identity).lstrip(".-")[:LONGEST_NAME]
        if not name or name != identity or name.lower() in taken:  # some file systems do not tell capitals apart
            name += f"-{sha256(identity.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
        taken.add(name.lower())
        return name

    return safe


def stem_of(name: str) -> str:
    """A file name without the ending of an image file."""
    lower = name.lower()
    ending = next((e for e in LONGEST_FIRST if lower.endswith(e)), None)
    ending = Path(name).suffix if ending is None else ending
    return file_text(name[: len(name) - len(ending)] or name)


def _file(
    path: Path,
    name: str,
    settings: PictureSettings,
    known: dict[str, Any] | None = None,
    group: FileGroup | None = None,
) -> Iterator[Item]:
    """The pictures of one file; `name#0`, `name#1`, ... where a file holds several."""
    group = group or FileGroup(path)
    stamps = stamps_of(group)
    for own, file, picture in read_group(group, settings):
        given = name if known is not None or own == group.name else own  # files that are no bands of one image
        identity = given if picture.index is None else f"{given}#{picture.index}"
        plane = picture.index if picture.hdu is None else picture.plane
        picture.origin = Origin(str(file), picture.hdu, plane, stamps)
        yield picture, {"id": identity, **(known or {})}


# --- folders and tables of files


def _open_folder(folder: Path, settings: ReadSettings) -> ImageSource:
    groups, alone = _image_groups(folder, settings)

    def items() -> Iterator[Item]:
        for group in groups:
            if group.path in alone:
                yield _lonely_map(group.path), {"id": _name(group, folder)}
            else:
                yield from _file(group.path, _name(group, folder), settings, group=group)

    notice(band_sentence(groups, folder))
    return from_pictures(None, items, settings, len(groups), inputs=_of_groups(groups))


def _of_groups(groups: Iterable[FileGroup]) -> Inputs:
    return Inputs(lambda: [os.path.abspath(path) for group in groups for path in files_of(group)], names=NAMED)


def _name(group: FileGroup, folder: Path) -> str:
    """By what an image of a folder is known."""
    return group.name or _stem(group.path, folder)


def _lonely_map(path: Path) -> Picture:
    origin = Origin(str(path), files=(stamp_of(path),))
    return Picture(NO_PIXELS, Flag.NOT_AN_IMAGE, lonely_map(path), origin=origin)


def lonely_map(path: Path) -> str:
    """Why a file that is named as a map is not read."""
    kind = kind_of_name(stem_of(path.name))
    what = kind.holds if kind.holds and kind.holds != "good pixels" else str(kind.role)
    return f"Its name says that it is a map ({what}) of an image that is not in the folder; give it alone to read it."


def folder_groups(folder: Path, settings: PictureSettings, *, join: bool = True) -> tuple[list[FileGroup], set[Path]]:
    """The images of a folder, in order, each with the files of its maps, and which of them are maps of no image.

    Only FITS files are taken for maps, by their names. Files of the bands of one image are one group (see
    `images.band_files`), unless `settings.stack` or `join` says otherwise. Of other files whose names say a band only
    those of `settings.band` are kept, if there are some.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in image_files(folder, settings.only)}
    models = [path for path in paths.values() if path.name.lower().endswith(PSF_ENDING)]
    ordered = [path for _, path in sorted(paths.items()) if path not in models]
    fits = [path for path in ordered if path.name.lower().endswith(FITS_ENDINGS)]
    stems = [(path, stem_of(path.name)) for path in fits] + [(path, f"{path.stem}_psf") for path in models]
    found, maps = grouped(stems) if fits else ([], [])
    by_path = {group.path: group for group in found}
    used = {path for group in found for path in (group.mask, group.noise, group.psf, *group.passed_over)}
    alone = {path for path in maps if path not in models}
    groups = [by_path.get(path, FileGroup(path)) for path in ordered if path not in used]
    groups = _with_bands(groups, alone, folder, settings) if join else groups
    bands = {band.lower() for band in settings.band}
    if any(one.band in bands for group in groups for one in group.bands):
        groups = [group for group in groups if group.of_bands or not group.band or group.band in bands]
    return groups, alone


def _with_bands(groups: list[FileGroup], alone: set[Path], folder: Path, settings: PictureSettings) -> list[FileGroup]:
    """Files of a folder, of which those of the bands of one image are one group."""
    if settings.stack:
        return groups
    order = {group.path: number for number, group in enumerate(groups)}
    images = joined_bands([group for group in groups if group.path not in alone], lambda path: _stem(path, folder))
    return sorted([*images, *(g for g in groups if g.path in alone)], key=lambda group: order[group.path])


def _stem(path: Path, folder: Path) -> str:
    return stem_of(path.relative_to(folder).as_posix())


def image_files(folder: Path, only: Sequence[str] = ()) -> Iterator[Path]:
    """The files of images in a folder, or those of them that `only` names, or that match one of its patterns."""
    named = [name for name in only if not set(name) & set("*?[") or (folder / name).exists()]
    yield from (folder / name for name in named)
    patterns = [pattern for pattern in only if pattern not in named]
    if patterns or not only:
        for path in _walked(folder):
            name = path.relative_to(folder).as_posix()
            if not only or (name not in named and any(fnmatchcase(name, pattern) for pattern in patterns)):
                yield path


def _walked(folder: Path) -> Iterator[Path]:
    """Files with an image's ending, not hidden; each folder once, so that circles of links come to an end.

    Folders of results of ours inside (they have a manifest) are passed over.
    """
    visited: set[tuple[int, int]] = set()
    denied: list[OSError] = []
    for place, folders, files in os.walk(folder, followlinks=True, onerror=denied.append):
        try:
            status = os.stat(place)
        except OSError as error:
            denied.append(error)
            continue
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        if Path(place) != folder and MANIFEST in files:  # results of ours, not images to look at
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and name.lower().endswith((*IMAGE_ENDINGS, *OTHER_ENDINGS, PSF_ENDING)):
                yield Path(place, name)
    # A folder that may not be read becomes a flagged row.
    yield from (Path(error.filename) for error in denied)


def _open_listed(path: Path, settings: ReadSettings, inputs: Inputs = Inputs()) -> ImageSource:
    """The images of a table of files, whose content decides what is read."""
    return open_table(path, read_catalogue(path, named_columns(settings)), settings, inputs)


def open_table(path: Path, table: Table, settings: ReadSettings, inputs: Inputs = Inputs()) -> ImageSource:
    """A source of the images that the column of files of a table names; `path` is the table's, for messages."""
    column = find_columns(table, {"file": settings.file} if settings.file else {}, str(path)).get("file")
    if column is None:
        raise NoImagesError(
            f"a table of images needs a column 'file'; '{path}' has the columns {', '.join(table.colnames)}."
        )
    if len(table) == 0:
        raise NoImagesError(f"the table '{path}' has no rows.")
    _say_renamed(table, path, ["file"] if column != "file" else [])
    if column != "file":
        if "file" in table.colnames:
            table.rename_column("file", free_name("input_file", table.colnames))
        table.rename_column(column, "file")
    whole = "id" in table.colnames and are_whole(table["id"])
    origins = Origins(table if table.meta.get("provenance", {}).get("program") == "emeraldcut" else table["file",])
    table = keep_apart(origins.removed_from(table))

    def items() -> Iterator[Item]:
        with closing(OneByOne(settings, text_map_size=settings.text_map_size)) as files:
            for number, row in enumerate(table[: settings.limit]):
                origin = origins[number]
                if origin is None:
                    yield _without_image(row, number, "The table names no file.")
                    continue
                yield from _at_border(_of_named_file(origin, files, row, settings, path.parent), row, number)

    return from_pictures(None, items, settings, len(table), whole, inputs)


def _of_named_file(
    origin: Origin, files: OneByOne, row: Row, settings: PictureSettings, folder: Path
) -> Iterator[Item]:
    """The pictures of the file that a row of a table in `folder` names, or the one of them that it means.

    The name is relative to the folder or to where the program runs.
    """
    file = _place_of(origin.path, folder)
    one = None if origin.hdu is None and origin.plane is None else partial(files.one_or_why, file, origin)
    yield from _of_row(file, stem_of(origin.path), row, settings, folder, one=one)


def _at_border(items: Iterator[Item], row: Row, number: int) -> Iterator[Item]:
    """`items`, at least one: whatever is wrong with the image that a row names becomes its row."""
    come = 0
    try:
        for item in items:
            come += 1
            yield item
    except UsageError:
        raise
    except Exception as error:  # of the file system or of any library
        yield failed(error), _without_image(row, number, "")[1]
        return
    if not come:
        yield _without_image(row, number, "There is no image in it.")


def _say_renamed(table: Table, path: str | Path, others: Sequence[str] = (), kept: Sequence[str] = ()) -> None:
    """Says which columns of a user's table go by other names in the results: those of results, and `others`."""
    names = [*table.meta.pop(RENAMED, []), *(name for name in others if name in table.colnames)]
    names += [name for name in table.colnames if name in RESULTS and name not in (*kept, *names)]
    if names:
        notice(f"Columns of '{path}' that have the names of results are kept as input_NAME: {', '.join(names)}.")


def _place_of(given: str, folder: Path) -> Path:
    """A file that a table in a folder names, relative to it or else to where the program runs."""
    file = folder / given  # the functions of `os.path`, unlike those of Path, raise nothing
    return file if os.path.exists(file) or not os.path.exists(given) else Path(given)


def listed_files(path: Path, column: str | None = None) -> list[FileGroup] | None:
    """The files that a table of images lists (in a `column` if it is given), each once; None if it is no such table."""
    kind = "" if path.is_dir() else _kind(path)
    if path.is_dir() or not _is_table(path, kind, ReadSettings(file=column)):
        return None
    if kind == "parquet" and image_column(path):
        return None
    table = read_catalogue(path)
    column = find_columns(table, {"file": column} if column else {}, str(path)).get("file")
    if column is None:
        return None
    files = {text: None for text in id_texts(table[column]) if text}
    return [FileGroup(_place_of(text, path.parent)) for text in files]


def _known(row: Row) -> dict[str, Any]:
    """What the row of a table says of an image; None where a value is missing."""
    carried = [name for name in row.colnames if name not in ("file", "flag", "flag_text")]
    return {name: None if row[name] is np.ma.masked else row[name] for name in carried}


def _of_row(
    file: Path,
    name: str,
    row: Row,
    settings: PictureSettings,
    folder: Path,
    group: FileGroup | None = None,
    one: Callable[[], Picture] | None = None,
) -> Iterator[Item]:
    """The pictures of a file, or the `one` that is meant, with what a row, of a table in `folder`, says of it.

    `name` is for a row without an id.
    """
    known = _known(row)
    name = known.pop("id", None) or name
    if known.get("psf_file"):
        psf_file = folder / str(known["psf_file"])
        known["psf_file"] = str(psf_file) if os.path.exists(psf_file) else known["psf_file"]
    if one is None:
        yield from _file(file, name, settings, known, group)
    else:
        yield one(), {"id": name, **known}


def _without_image(row: Row, number: int, detail: str) -> Item:
    """What stands for the image of a row that has none."""
    known = _known(row)
    known["id"] = known.get("id") or str(number)
    return already_unusable(row) or Picture(NO_PIXELS, Flag.UNREADABLE, detail), known


def _is_fits_table(path: Path, file: str | None = None) -> bool:
    """Whether a FITS file has no pictures but a table with a column of files, which `file` names if it is given."""
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits_file(path)
            with fits.open(path) as units:
                names = [name for unit in units if not unit.is_image for name in unit.columns.names]
                known = file in names or find_column("file", names, {}) is not None
                return known and not any(unit.is_image and unit.header.get("NAXIS", 0) for unit in units)
    except Exception:  # damaged; the row of this one file will say how
        return False


# --- HDF5, text maps, our own sets, mosaics


def _open_hdf5(path: Path, settings: ReadSettings) -> ImageSource:
    """Galaxy10's layout: `images` (n, ny, nx), (n, ny, nx, bands) or (n, bands, ny, nx).

    If there, `ans`, `ra`, `dec`, `pxscale` (n,), and the attribute `bands` with their names.
    """
    try:
        contents = hdf5_contents(path, settings)
    except Exception as error:  # the library raises errors of every kind on damaged files, or crashes
        picture = failed(error)
        picture.origin = Origin(str(path), files=(stamp_of(path),))
        item = (picture, {"id": stem_of(path.name)})
        return from_pictures(1, lambda: iter([item]), settings, inputs=_together(path))
    if contents.shape is None or contents.problem:
        found = ", ".join(contents.names[:MOST_MEMBERS]) or "nothing"
        problem = f", {contents.problem}" if contents.problem else ""
        raise NoImagesError(
            f"'{path}' needs a dataset '{IMAGES}' of shape (n, ny, nx) or, of 1 to 9 bands, (n, ny, nx, bands); "
            f"it holds {printable(found)}{problem}."
        )
    number = contents.shape[0]

    def items() -> Iterator[Item]:
        stamps = (stamp_of(path),)
        for i, picture in enumerate(hdf5_pictures(path, number, settings)):
            known = {name: values[i] for name, values in contents.facts.items()}
            picture.origin = Origin(str(path), plane=i, files=stamps)
            yield picture, {"id": f"{stem_of(path.name)}#{i}", **known}

    return from_pictures(number, items, settings, inputs=_together(path))


def _open_text_map(path: Path, settings: ReadSettings) -> ImageSource:
    maps = partial(text_map, path, settings.text_map_size)
    return from_pictures(None, maps, settings, inputs=_together(path, *label_files(path)))


def _open_parquet(files: dict[Path, str], settings: ReadSettings) -> ImageSource:
    """Parquet files and their columns of images, see `images.parquet`; ids from usual columns, else the file's name."""

    def items() -> Iterator[Item]:
        for file, column in files.items():
            number, stamps = -1, (stamp_of(file),)
            try:
                for number, (picture, row) in enumerate(parquet_images(file, column, settings)):
                    picture.origin = Origin(str(file), plane=number, files=stamps)
                    yield picture, _of_parquet_row(picture.origin, row)
            except UsageError:
                raise
            except Exception as error:  # of its metadata
                picture = failed(error)
                picture.origin = Origin(str(file), plane=number + 1, files=stamps)
                yield picture, _of_parquet_row(picture.origin, {})

    return from_pictures(_rows_of(files), items, settings, inputs=_together(*files))


def _rows_of(files: Iterable[Path]) -> int | None:
    """How many rows Parquet files claim to have together; None where one of them cannot say so."""
    try:
        return sum(map(n_rows, files))
    except Exception:  # damaged; its row will say so
        return None


def _of_parquet_row(origin: Origin, row: dict[str, Any]) -> dict[str, Any]:
    """What the other columns of a row say of its image, under our names."""
    ours = {common_name(wanted, row): wanted for wanted in ("ra", "dec", "id")}
    row = {ours.get(name, name): v for name, v in row.items() if isinstance(v, str | int | float)}
    known = {f"input_{name}" if name in RESULTS else name: value for name, value in row.items()}
    known |= {name: str(known[name]) for name in ("id", "label") if name in known}
    return {"id": f"{stem_of(Path(origin.path).name)}#{origin.plane}", **known, **origin.columns()}


def _open_stored(folder: Path, settings: ReadSettings) -> ImageSource:
    number = min(stored_number(folder), settings.limit or sys.maxsize)
    if number == 0:
        raise NoImagesError(f"the image set '{folder}' holds no images.")
    whole = are_whole(stored_table(folder, ["id"])["id"][:0])
    inputs = _together(folder / PIXELS, folder / TABLE)
    chunks = partial(stored_chunks, folder, number)
    with_bands = partial(chunks, with_bands=True)
    return ImageSource(number, chunks, whole_ids=whole, inputs=inputs, _chunks_with_bands=with_bands)


def named_columns(settings: ReadSettings) -> dict[str, str]:
    """The columns of a catalogue that the settings name."""
    named = {wanted: getattr(settings, wanted) for wanted in WANTED}
    return {wanted: name for wanted, name in named.items() if name}


def _open_with_catalogue(path: Path, positions: str, settings: ReadSettings) -> ImageSource:
    """Images that a catalogue names, or mosaics in which it has positions, whichever these are."""
    if Path(positions).is_dir():
        return _open_mosaics(path, positions, settings, None)
    table = read_catalogue(positions, named_columns(settings))
    if len(table) == 0:
        raise NoImagesError(f"the catalogue '{positions}' has no rows.")
    detected = table.meta.get("provenance", {}).get("command") == "detect"
    by_name = settings.match != "position" and not (detected and settings.match is None)
    of_planes = by_name and _names_planes(path, table, settings)
    if of_planes or (by_name and not (path.is_dir() and is_folder_of_files(path))):
        if (joined := _open_joined(path, table, settings, of_planes=of_planes)) is not None:
            return joined
    elif by_name:
        given = _named_after(table, settings)
        single, alone = _image_groups(path, settings, join=False)
        bands = _image_groups(path, settings)[0] if settings.band else _with_bands(single, alone, path, settings)
        for found in (single, bands):  # a column of file names may name files of single bands
            lonely = [group for group in found if group.path in alone]
            groups = [group for group in found if group.path not in alone]
            names = [
                f"{group.name}.fits" if group.of_bands else group.path.relative_to(path).as_posix() for group in groups
            ]
            match = match_names(names, table, given, stem_of)
            if match is not None and found is single and match.column != find_columns(table, given).get("file"):
                continue
            if match is not None and (
                settings.match == "name" or are_cutouts(match, [group.path for group in groups], table)
            ):
                return _open_matched(path, groups, table, match, settings, lonely)
    if settings.match == "name":
        raise UsageError(
            f"no column of '{positions}' names the images of '{path}'; give --id or --file, or --match position."
        )
    return _open_mosaics(path, positions, settings, table)


def _names_planes(path: Path, table: Table, settings: ReadSettings) -> bool:
    """Whether the ids of a table are those of images in the cubes of a folder or list of files: cube#0, cube#1, ..."""
    column = find_columns(table, _named_after(table, settings)).get("id")
    if column is None:
        return False
    named = [re.fullmatch(r"(.*)#\d+", text) for text in id_texts(table[column])]
    stems = {found[1] for found in named if found}
    if 2 * sum(map(bool, named)) < len(table):
        return False
    if path.is_dir():
        files = list(image_files(path)) if is_folder_of_files(path) else []
        cubes = [file for file in files if {stem_of(file.name), _stem(file, path)} & stems]
    else:
        cubes = [one.path for one in listed_files(path) or [] if stem_of(one.path.name) in stems]
    return bool(cubes) and all(map(_is_cube, cubes[:LOOKED_AT]))


def _is_cube(path: Path) -> bool:
    """Whether a file holds several images, and none that could be a mosaic, where sources have such ids too."""
    try:
        several = len(next(open_images(path).chunks(2))) > 1
    except Exception:  # what is wrong with it is said when it is read
        return False
    return several and (_kind(path) != "fits" or all(tile.fault for tile in tiles_in(path)))


def _open_joined(path: Path, table: Table, settings: ReadSettings, *, of_planes: bool = False) -> ImageSource | None:
    """Images of a source with the rows of a catalogue that have their ids or files.

    The source is no folder of files, unless the ids are those of planes in its cubes (`of_planes`). The images come in
    its order, then the rows that have no image. None if they are mosaics.
    """
    given = _named_after(table, settings)
    without: dict[str, Any] = dict.fromkeys(("catalogue", *WANTED, "limit"))
    inner = (open_images if of_planes else _open_numbered)(path, replace(settings, **without))
    ids, files = _ids_and_files(path, inner, of_planes=of_planes)
    if ids is None or files is None:
        return None
    listed = None if of_planes else listed_files(path)
    match = match_names(ids, table, given, str) or match_names(files, table, given, stem_of)
    if match is None and listed is None:
        raise UsageError(
            f"no column of '{settings.catalogue}' names the images of '{path}'; give --id or --file. Their ids are "
            f"{', '.join(ids[:MOST_NAMED])} and the like."
        )
    if match is None or (
        listed is not None
        and settings.match != "name"
        and not are_cutouts(match, [Path(file) for file in files], table)
    ):
        return None
    whole = "id" in table.colnames and are_whole(table["id"])
    _say_renamed(table, str(settings.catalogue), ["file"])
    if "file" in table.colnames:
        table.rename_column("file", free_name("input_file", table.colnames))
    table = keep_apart(table)
    rows_of: dict[int, list[int]] = {}
    for row, images in enumerate(match.images):
        for image in images:
            rows_of.setdefault(image, []).append(row)

    def items() -> Iterator[Item]:
        pictures = (item for chunk in inner.chunks() for item in _as_items(chunk))
        for number, (picture, own) in enumerate(pictures):
            rows = rows_of.get(int(picture.facts.pop(LISTED_ROW, number)), [])
            for row in rows:
                known = {"image_id": own["id"], **_known(table[row])}
                yield picture, {**known, "id": known.get("id") or own["id"], "file": own.get("file")}
            if not rows:
                picture.flag |= Flag.NOT_LISTED
                yield picture, {"image_id": own["id"], **own}
        for row in (row for row, images in enumerate(match.images) if not images):
            yield _without_image(table[row], row, "No image has the name that this row needs.")

    sentence = match.sentence(str(settings.catalogue), path)
    notice(sentence)
    number = sum(max(len(images), 1) for images in match.images) + len(match.without_row)
    inputs = replace(inner.inputs, files=None)
    return replace(from_pictures(number, items, settings, None, whole, inputs), facts={"catalogue_match": sentence})


def _list_of(path: Path) -> Path | None:
    """The table of files that images are read from, None for another source."""
    if path.is_dir():
        return path / CUTOUTS if (path / CUTOUTS).is_file() else None
    return path if listed_files(path) is not None else None


def _open_numbered(path: Path, settings: ReadSettings) -> ImageSource:
    """As `open_images`; of a table of files, of which some may hold several images, LISTED_ROW says each one's row."""
    listed = _list_of(path)
    if listed is None:
        return open_images(path, settings)
    table = read_catalogue(listed, named_columns(settings))
    table[LISTED_ROW] = np.arange(len(table))
    return open_table(listed, table, settings, Inputs() if listed == path else _together(listed))


def _ids_and_files(
    path: Path, source: ImageSource, *, of_planes: bool
) -> tuple[list[str], list[str]] | tuple[None, None]:
    """The ids of all images of a source, and their files; None if it is one file of mosaics, which is not read."""
    kind = "" if path.is_dir() else _kind(path)
    if not of_planes and (listed := _list_of(path)) is not None:
        return _listed(listed)
    if path.is_dir() and is_stored_set(path):
        table = stored_table(path, ["id", "file"])
    elif kind == "hdf5" and source.n_images is not None:
        names = [f"{stem_of(path.name)}#{k}" for k in range(source.n_images)]
        return names, names
    elif kind in ("fits", "png", "jpeg", "tiff", "npy", "gif", "bmp", "webp") and not all(
        tile.fault for tile in tiles_in(path)
    ):
        return None, None
    else:
        chunks = (chunk.table for chunk in source.chunks())
        table = vstack([table[[n for n in ("id", "file") if n in table.colnames]] for table in chunks])
    ids = list(id_texts(table["id"]))
    return ids, list(id_texts(table["file"])) if "file" in table.colnames else ids


def _listed(path: Path) -> tuple[list[str], list[str]]:
    """The ids that the images of a table of files have, one for each file, and the files."""
    table = read_catalogue(path)
    files = list(id_texts(table[find_columns(table, {}, str(path))["file"]]))
    unique = unique_ids()
    own = id_texts(table["id"]) if "id" in table.colnames else [""] * len(table)
    ids = [
        unique(name or (stem_of(file) if file else str(k)))
        for k, (name, file) in enumerate(zip(own, files, strict=True))
    ]
    return ids, [str(_place_of(file, path.parent)) for file in files]


def _as_items(images: ImageSet) -> Iterator[Item]:
    """Images with what their rows say, as they were read."""
    psfs = images.psfs or [None] * len(images)
    for pixels, row, psf in zip(images.pixels, images.table, psfs, strict=True):
        facts = {name: value for name, value in _known(row).items() if value is not None and name != "id"}
        own = {"id": str(row["id"])} | ({"file": str(row["file"])} if "file" in row.colnames else {})
        detail = str(row["flag_text"]).removeprefix(describe(row["flag"])).strip()
        psf_model = None if psf is None else Psf(psf[None], name="of the image")
        picture = Picture(np.asarray(pixels), Flag(int(row["flag"])), detail, None, facts, psf_model)
        picture.origin = Origin("", files=tuple(Stamp(*source) for source in images.sources))  # the row has the rest
        yield picture, own


def _named_after(table: Table, settings: ReadSettings) -> dict[str, str]:
    """Columns of `read_catalogue`'s table that the settings name: ra, dec and id have these names there."""
    return {
        wanted: wanted if wanted in table.colnames else name for wanted, name in named_columns(settings).items()
    } | ({"file": settings.file} if settings.file else {})


def _open_matched(
    folder: Path,
    groups: list[FileGroup],
    table: Table,
    match: Match,
    settings: ReadSettings,
    lonely: Sequence[FileGroup] = (),
) -> ImageSource:
    """Images that rows of a table go with; then images that no row has, and maps of no image."""
    whole = "id" in table.colnames and are_whole(table["id"])
    _say_renamed(table, str(settings.catalogue), ["file"])
    if "file" in table.colnames:
        table.rename_column("file", free_name("input_file", table.colnames))
    table = keep_apart(table)
    of_table = Path(str(settings.catalogue)).parent
    names = [_name(group, folder) for group in groups]

    def items() -> Iterator[Item]:
        for number, (row, images) in enumerate(zip(table, match.images, strict=True)):
            if not images:
                yield _without_image(row, number, "No image of the folder has the name that this row needs.")
            for image in images:
                of_image = _of_row(groups[image].path, names[image], row, settings, of_table, groups[image])
                yield from _at_border(of_image, row, number)
        for image in match.without_row:
            for picture, known in _file(groups[image].path, names[image], settings, group=groups[image]):
                picture.flag |= Flag.NOT_LISTED
                yield picture, known
        for group in lonely:
            yield _lonely_map(group.path), {"id": _name(group, folder)}

    sentence = match.sentence(str(settings.catalogue), folder)
    for said in (band_sentence(groups, folder), sentence):
        notice(said)
    number = sum(max(len(images), 1) for images in match.images) + len(match.without_row) + len(lonely)
    order = [groups[image] for image in (*chain.from_iterable(match.images), *match.without_row)]
    source = from_pictures(None, items, settings, number, whole, _of_groups([*order, *lonely]))
    return replace(source, facts={"catalogue_match": sentence})


def _open_mosaics(path: Path, positions: str, settings: ReadSettings, catalogue: Table | None) -> ImageSource:
    """Cut-outs at the positions of a catalogue, which is read from a folder of Parquet files if it is None."""
    groups, columns = mosaic_files(path, settings), named_columns(settings)
    inputs, tiles = _together(*chain.from_iterable(map(files_of, groups))), Tiles(groups, settings)
    notice(tiles.two_bands())
    in_folder = catalogue is None
    catalogue = tiles.rows_inside(positions, columns) if catalogue is None else catalogue
    catalogue = catalogue[: settings.limit]
    if len(catalogue) == 0:
        raise NoImagesError(f"the catalogue '{positions}' has no rows{' on these mosaics' if in_folder else ''}.")
    _say_renamed(catalogue, positions, kept=("x", "y"))
    catalogue = with_pixels(catalogue, columns, positions)
    if settings.file:
        named = np.array(id_texts(catalogue[settings.file]), dtype=object)
        if "file" in catalogue.colnames and settings.file != "file":
            catalogue.rename_column("file", free_name("input_file", catalogue.colnames))
        catalogue["file"] = named
    made_of = catalogue.meta.get("provenance", {})
    if made_of.get("command") == "detect" and same_path(made_of.get("input_1", ""), path):  # it changes with them
        inputs = Inputs(together=(*inputs.together, Path(positions)), names=(*NAMED, "input_2"))
    unique = unique_ids()
    numbered = [f"{stem_of(path.name)}#{i}" for i in range(len(catalogue))]
    names = catalogue["id"] if "id" in catalogue.colnames else numbered
    whole = "id" in catalogue.colnames and are_whole(catalogue["id"])
    catalogue["id"] = np.array([unique(str(name) or numbered[i]) for i, name in enumerate(names)], dtype=object)
    how = f"Rows of '{positions}' are positions in {'the mosaic' if len(tiles) == 1 else 'the mosaics'} of '{path}'."

    def chunks(size: int, *, bands: bool = False) -> Iterator[ImageSet]:
        coloured = _COLOURS.get() == OF_BANDS_TOO
        for images in cut_out(tiles, catalogue, settings.cutout_size, size, settings, bands=bands or coloured):
            yield coloured_by_bands(images, keep=bands) if coloured else images

    return ImageSource(
        len(catalogue),
        chunks,
        whole_ids=whole,
        facts={"catalogue_match": how},
        inputs=inputs,
        _chunks_with_bands=partial(chunks, bands=True),
    )


def same_path(one: str | Path, other: str | Path) -> bool:
    """Whether two names lead to one place."""
    return os.path.realpath(one) == os.path.realpath(other)


def _image_groups(folder: Path, settings: PictureSettings, *, join: bool = True) -> tuple[list[FileGroup], set[Path]]:
    """As `folder_groups`; NoImagesError if there is none."""
    groups, alone = folder_groups(folder, settings, join=join)
    if not groups:
        raise NoImagesError(f"the folder '{folder}' holds no image files ({', '.join(IMAGE_ENDINGS)}).")
    return groups, alone


def mosaic_files(path: Path, settings: PictureSettings = DEFAULT) -> list[FileGroup]:
    """The files of mosaics at `path`, with those of their maps: of a folder or list of files, in order, or itself."""
    if not path.is_dir():
        return listed_files(path) or [FileGroup(path)]
    groups, alone = folder_groups(path, settings)
    if not groups:
        raise NoImagesError(f"the folder '{path}' holds no mosaics ({', '.join(IMAGE_ENDINGS)}).")
    lonely = sorted(path.name for path in alone)
    if len(lonely) == len(groups):
        raise NoImagesError(f"the folder '{path}' holds only maps: {', '.join(lonely[:MOST_NAMED])}.")
    if lonely:
        more = f" and {len(lonely) - MOST_NAMED} more" if len(lonely) > MOST_NAMED else ""
        notice(f"Passed over, maps of no mosaic in '{path}': {', '.join(lonely[:MOST_NAMED])}{more}.")
    groups = [group for group in groups if group.path not in alone]
    notice(band_sentence(groups, path))
    return groups
