"""Images as Python users have them: arrays, objects of astropy, tables, paths, and lists of these, as an image set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data.imageset import ImageSet, concatenate
from emeraldcut.errors import UsageError
from emeraldcut.images.formats import Picture, array_pictures, counted, of_bands
from emeraldcut.images.readers import (
    ImageSource,
    ReadSettings,
    coloured_by_bands,
    from_pictures,
    keeping_colours,
    named_columns,
    open_table,
    read_images,
    unique_ids,
)
from emeraldcut.images.store import is_stored_set
from emeraldcut.settings import from_keywords
from emeraldcut.tables.catalogues import as_catalogue
from emeraldcut.tables.foreign import as_table

EXPECTED = (
    "an array (ny, nx) or (n, ny, nx), a dict of bands, an NDData, CCDData, Cutout2D, HDU or HDUList of astropy, a "
    "path of a file or folder, a table with a column of files, an ImageSet, or a list of these"
)


def as_images(given: Any, settings: ReadSettings = ReadSettings(), *, bands: bool = False, **keywords: Any) -> ImageSet:
    """Whatever a Python user has as an image set.

    Parameters
    ----------
    given : array, dict, NDData, CCDData, Cutout2D, HDU, HDUList, path, Run, Table, DataFrame, ImageSet, or a list
        An array is one image (ny, nx), images (n, ny, nx), a colour picture (ny, nx, 3) or images of bands (n, ny, nx,
        bands). A dict holds the bands of one image (ny, nx) by their names. Of an `NDData` mask, uncertainty and WCS
        are used; HDUs are read as the same FITS file is. Paths are all that `open_images` takes, or a pattern such as
        `dir/*.jpg`. Tables of astropy, pandas, polars or pyarrow have a column of files, relative to where the program
        runs.
    settings : ReadSettings
    bands : bool
        Keep the single bands of images that are made of several.
    **keywords
        Settings by name, such as `psf_fwhm_pix` or `band`; `emeraldcut measure --help` lists them.

    Returns
    -------
    ImageSet
        Images of arrays and HDUs are called 0, 1, 2, ... in the order in which they are given.

    Raises
    ------
    UsageError
        It is none of these, or holds no image; FileNotFoundError for a path that is not there.

    Examples
    --------
    >>> as_images(np.ones((64, 64))).table["id"].tolist()
    ['0']
    >>> as_images([np.ones((64, 64)), np.ones((3, 48, 48))]).table["id"].tolist()
    ['0', '1#0', '1#1', '1#2']
    """
    if isinstance(given, ImageSet):
        return given
    (settings,) = from_keywords([settings], keywords, ReadSettings)
    if isinstance(given, Iterator) or (isinstance(given, np.ndarray) and given.dtype == object):
        given = list(given)
    if not isinstance(given, list | tuple) or _as_hdus(given) is not None:
        with keeping_colours(of_bands=True):
            return _part(given, "", settings, bands)
    if not given:
        raise UsageError(f"an empty list holds no image; expected {EXPECTED}.")
    if all(np.isscalar(item) and not isinstance(item, str | bytes) for item in given):
        raise UsageError(f"a list of numbers is no image; expected {EXPECTED}.")
    if all(isinstance(item, list | tuple) and item and np.isscalar(item[0]) and len(item) == len(given[0])
           and not isinstance(item[0], str | bytes) for item in given):  # fmt: skip
        return as_images(np.array(given), settings, bands=bands)  # the rows of one image
    with keeping_colours(of_bands=True):
        sets = [
            item if isinstance(item, ImageSet) else _part(item, str(k), settings, bands) for k, item in enumerate(given)
        ]
    return _with_unique_ids(concatenate(sets))


def _part(given: Any, name: str, settings: ReadSettings, bands: bool) -> ImageSet:
    """One thing that is no list.

    If it has no names itself its images are called `name`, or `name#0`, `name#1`, ... where it holds several; without a
    name 0, 1, ...
    """
    if isinstance(given, str | bytes | os.PathLike):
        source, only = one_source(os.fsdecode(given))
        return _of_path(Path(source), replace(settings, only=only or settings.only), bands)
    hdus = _as_hdus(given)
    if hdus is not None:
        return _of_hdus(hdus, name, settings, bands)
    if hasattr(given, "__array__") and not _is_table(given):
        return _of_array(given, name, settings, bands)
    if isinstance(given, Mapping):
        return _of_bands(given, name, settings, bands)
    if _is_table(given):
        catalogue = as_catalogue(as_table(given), named_columns(settings))
        return _read(open_table(Path("the table"), catalogue, settings), bands)
    kind = f"{type(given).__module__}.{type(given).__qualname__}".removeprefix("builtins.")
    raise UsageError(f"images must be {EXPECTED}; received {kind}.")


def _of_path(path: Path, settings: ReadSettings, bands: bool) -> ImageSet:
    """Images of a path; those of a set of ours with the colours of its bands, as others have them."""
    if not is_stored_set(path):
        return read_images(path, settings, bands=bands)
    return coloured_by_bands(read_images(path, settings, bands=True), keep=bands)


def one_source(given: str | list[str]) -> tuple[str, tuple[str, ...]]:
    """A path of images, and of several files, or a pattern of such, the folder with those that are meant in it.

    UsageError for several of which one is no file.
    """
    paths = [given] if isinstance(given, str) else given
    paths = [path for one in paths for path in (sorted(glob(one)) if _is_pattern(one) else [one]) or [one]]
    if paths == [""]:  # which would be the folder where the program runs
        raise FileNotFoundError("there is no file or folder '' to read images from.")
    if len(paths) == 1:
        return paths[0], ()
    for path in paths:
        if not os.path.isfile(path):
            what = "is a folder" if os.path.isdir(path) else "is not there"
            raise UsageError(f"of several IMAGES each must be a file; '{path}' {what}. Give one folder, or files.")
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    shown = os.path.relpath(folder) if not os.path.isabs(paths[0]) else folder
    return shown, tuple(dict.fromkeys(os.path.relpath(os.path.abspath(path), folder) for path in paths))


def _is_pattern(path: str) -> bool:
    """Whether a name is that of no file, and a pattern that a shell has left alone."""
    return has_magic(path) and not os.path.lexists(path)


def _is_table(given: Any) -> bool:
    """Whether it is a table of astropy, pandas, polars or pyarrow."""
    return isinstance(given, Table) or (
        type(given).__module__.split(".")[0] in ("pandas", "polars", "pyarrow") and hasattr(given, "columns")
    )


def _of_array(given: Any, name: str, settings: ReadSettings, bands: bool) -> ImageSet:
    """Images of an array; masked values are missing, units are left out."""
    array: Any = given if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
    if array.dtype.kind not in "buif":
        raise UsageError(f"an array of images holds numbers; received one of type {array.dtype}.")
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise UsageError(
            f"an array of images has the shape (ny, nx), (n, ny, nx) or (n, ny, nx, bands); received {array.shape}."
        )
    if isinstance(array, np.ma.MaskedArray):
        array = np.ma.filled(array.astype(float if array.dtype.itemsize > 4 else np.float32), np.nan)

    def items() -> Iterator[tuple[Picture, dict[str, Any]]]:
        for picture in counted(array_pictures(array, len(array), settings))[1]:
            yield picture, {"id": _name(name, picture.index)}

    return _read(from_pictures(None, items, settings), bands)


def _of_bands(given: Mapping[Any, Any], name: str, settings: ReadSettings, bands: bool) -> ImageSet:
    """One image of bands by their names; those that `settings.band` names, if it does."""
    named = bool(settings.band) and set(settings.band) <= set(given)
    wanted = {band: given[band] for band in settings.band} if named else given
    planes: list[np.ndarray] = [
        np.ma.filled(np.ma.asarray(plane, dtype=float), np.nan) for plane in wanted.values() if np.ndim(plane) == 2
    ]
    if not planes or len(planes) < len(wanted) or len({plane.shape for plane in planes}) > 1:
        raise UsageError(
            "a dict of images holds the bands of one by their names, each an array (ny, nx) of one shape; received "
            f"{', '.join(f'{key}: {np.shape(one) or type(one).__name__}' for key, one in given.items()) or 'none'}."
        )
    single = [(plane.astype(np.float32), None) for plane in planes]
    picture = of_bands(single, [str(band) for band in wanted], {}, [])
    return _read(from_pictures(None, lambda: iter([(picture, {"id": name or "0"})]), settings), bands)


def _read(source: ImageSource, bands: bool) -> ImageSet:
    """All images of a source."""
    return concatenate(list((source.with_bands() if bands else source).chunks()))


def _name(name: str, index: int | None) -> str:
    if name and index is not None:
        return f"{name}#{index}"
    return name or str(index or 0)


def _of_hdus(hdus: Any, name: str, settings: ReadSettings, bands: bool) -> ImageSet:
    """Images of HDUs, by way of a file, so that they are what the same file would give."""
    with TemporaryDirectory() as folder:
        path = Path(folder, f"{name or 0}.fits")
        hdus.writeto(path, output_verify="silentfix")
        images = read_images(path, settings, bands=bands)
    if "file" in images.table.colnames:
        images.table.remove_column("file")
    if not name:  # as those of an array
        images.table["id"] = np.array([str(one).removeprefix("0#") for one in images.table["id"]], dtype=object)
    return images


def _as_hdus(given: Any) -> Any:
    """An HDUList of an HDU, HDUList, NDData, CCDData or Cutout2D; None if it is none of them."""
    from astropy.io import fits
    from astropy.nddata import CCDData, Cutout2D, NDData

    if isinstance(given, fits.HDUList):
        return given
    if isinstance(given, fits.PrimaryHDU):
        return fits.HDUList([given])
    if isinstance(given, fits.hdu.base._BaseHDU):
        return fits.HDUList([fits.PrimaryHDU(), given])
    if isinstance(given, Cutout2D):
        header = given.wcs.to_header() if given.wcs is not None else None
        return fits.HDUList([fits.PrimaryHDU(np.asarray(given.data), header)])
    if not isinstance(given, NDData):
        return None
    data = given if isinstance(given, CCDData) else CCDData(given, unit=given.unit or "adu")
    return data.to_hdu(hdu_mask="MASK", hdu_uncertainty="UNCERT", hdu_flags=None, as_image_hdu=False)


def write_mosaics(given: Any, folder: Path) -> list[Path]:
    """Writes mosaics in memory as FITS files: an array (ny, nx), an object of astropy, or a list of them.

    UsageError if it is none of these.
    """
    several = isinstance(given, list | tuple) and _as_hdus(given) is None
    written = []
    for k, one in enumerate(given if several else [given]):
        hdus = _as_hdus(one)
        if hdus is None:
            array = np.ma.filled(one.astype(float), np.nan) if isinstance(one, np.ma.MaskedArray) else np.asarray(one)
            if array.ndim != 2 or array.dtype.kind not in "buif":
                raise UsageError(
                    "mosaics must be paths, arrays (ny, nx), NDData, CCDData, Cutout2D, HDUs or HDULists of astropy, "
                    f"or a list of these; received {type(one).__name__}{f' of shape {array.shape}' * (array.ndim > 0)}."
                )
            from astropy.io import fits

            hdus = fits.HDUList([fits.PrimaryHDU(array.astype(int) if array.dtype.kind == "b" else array)])
        written.append(folder / f"{k}.fits")
        hdus.writeto(written[-1], output_verify="silentfix")
    return written


def _with_unique_ids(images: ImageSet) -> ImageSet:
    """Ids that appear twice get an ending, as in folders."""
    unique = unique_ids()
    images.table["id"] = np.array([unique(str(identity)) for identity in images.table["id"]], dtype=object)
    return images
