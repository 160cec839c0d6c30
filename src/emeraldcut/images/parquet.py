"""Images in Parquet, as data sets of Hugging Face have them: files in a column, or bands of numbers with noise."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.data.flags import Flag
from emeraldcut.errors import UsageError
from emeraldcut.images.bands import chosen_bands
from emeraldcut.images.claims import BadImage, check_unpacked
from emeraldcut.images.formats import NO_PIXELS, Picture, failed, noise_per_pixel, of_bands, raster
from emeraldcut.images.options import DEFAULT, PictureSettings
from emeraldcut.images.planes import INVERSE_VARIANCE
from emeraldcut.runs.reading import LARGEST_COMPRESSION, check_regular
from emeraldcut.tables.arrow import for_arrow

ROWS_AT_ONCE = 64
ARRAYS = ("array", "flux")  # what bands of numbers are called: Multimodal Universe's scripts have the first


def image_column(path: Path) -> str | None:
    """The column of a Parquet file that holds images, `image` if there are several; None if there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def holds_images(kind) -> bool:
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):  # one for each band
            kind = kind.value_type
            return pa.types.is_struct(kind) and any(kind.get_field_index(name) >= 0 for name in ARRAYS)
        if not pa.types.is_struct(kind):
            return False
        return any(kind.get_field_index(name) >= 0 for name in ("bytes", *ARRAYS))

    try:
        check_regular(path)
        schema = pq.ParquetFile(for_arrow(path)).schema_arrow
    except Exception:  # damaged; whoever reads it as a table will say so
        return None
    names = [field.name for field in schema if holds_images(field.type)]
    return "image" if "image" in names else names[0] if names else None


def parquet_images(
    path: Path, column: str, settings: PictureSettings = DEFAULT
) -> Iterator[tuple[Picture, dict[str, Any]]]:
    """The image of each row, and what the row's other columns of one value say of it.

    Every row that the file claims comes, one whose image cannot be read with a flag and what else is known of it; those
    that none of its groups holds come last.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(for_arrow(path), pre_buffer=False) as file:
        lacking = _lacking_rows(file, path)
        plain = [field.name for field in file.schema_arrow if not pa.types.is_nested(field.type)]
        for group in range(file.num_row_groups):
            number, done = _claimed_rows(file, group, path, settings), 0
            try:
                for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[column, *plain]):
                    for row in batch.to_pylist():
                        image = row.pop(column)
                        done += 1
                        yield _guarded(image, settings), row
            except Exception as error:  # a damaged page
                reason: Exception = error
            else:
                reason = BadImage(Flag.UNREADABLE, "The file ends before this row.")
            if done < number:
                for row in _plain_rows(file, group, plain, number)[done:]:
                    yield failed(reason), row
    for _ in range(lacking):
        yield failed(BadImage(Flag.UNREADABLE, "The file claims this row, but none of its groups holds it.")), {}


def _claimed_rows(file: Any, group: int, path: Path, settings: PictureSettings) -> int:
    """How many rows a group claims to have; BadImage where the file cannot have them, or they unpack to too much."""
    about = file.metadata.row_group(group)
    _check_number(about.num_rows, path)
    check_unpacked(about.total_byte_size, settings)
    return int(about.num_rows)


def _lacking_rows(file: Any, path: Path) -> int:
    """How many rows a file claims beyond those of its groups; BadImage where it cannot have them."""
    _check_number(file.metadata.num_rows, path)
    groups = sum(file.metadata.row_group(k).num_rows for k in range(file.num_row_groups))
    return max(int(file.metadata.num_rows) - groups, 0)


def _check_number(rows: int, path: Path) -> None:
    """BadImage where a file cannot have so many rows."""
    size = path.stat().st_size
    if rows > size * LARGEST_COMPRESSION:
        raise BadImage(Flag.UNREADABLE, f"It claims {rows:,} rows in {size:,} bytes.")


def _plain_rows(file: Any, group: int, columns: list[str], number: int) -> list[dict[str, Any]]:
    """The rows of a group without their images, as far as their columns can be read, each on its own."""
    rows: list[dict[str, Any]] = [{} for _ in range(number)]
    for name in columns:
        try:
            values = file.read_row_group(group, [name])[name].to_pylist()
        except Exception:  # damaged too
            continue
        for row, value in zip(rows, values, strict=False):
            row[name] = value
    return rows


def _guarded(image: Any, settings: PictureSettings) -> Picture:
    try:
        return _picture(image, settings)
    except UsageError:
        raise
    except Exception as error:  # image libraries raise errors of every kind on damaged data
        return failed(error)


class ParquetPictures:
    """The images of an open Parquet file, one at a time; those that are asked for in their order are read once."""

    def __init__(self, path: Path, settings: PictureSettings = DEFAULT) -> None:
        import pyarrow.parquet as pq

        check_regular(path)
        self._path, self._settings, self._column = path, settings, image_column(path)
        self._file = pq.ParquetFile(for_arrow(path), pre_buffer=False)
        groups = (self._file.metadata.row_group(k).num_rows for k in range(self._file.num_row_groups))
        self._starts = np.cumsum([0, *groups])
        self._batch: Any = None
        self._group, self._next = -1, 0  # the group that batches are of, and the row at which the next one begins
        self._batches: Iterator[Any] = iter(())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def one(self, number: int) -> Picture:
        """The image of a row; LookupError if there is no such row."""
        if not 0 <= number < self._starts[-1]:
            raise LookupError(f"it has no row {number}")
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        if group != self._group or number < self._next - len(self._batch or ()):
            _claimed_rows(self._file, group, self._path, self._settings)
            self._batches = self._file.iter_batches(ROWS_AT_ONCE, [group], [self._column])
            self._group, self._next = group, int(self._starts[group])
        while number >= self._next:
            try:
                self._batch = next(self._batches)
            except Exception:  # a damaged page; what comes after it is not to be had either
                self._group = -1
                raise
            self._next += len(self._batch)
        return _guarded(self._batch.column(0)[number - self._next].as_py(), self._settings)


def n_rows(path: Path) -> int:
    """Rows of a Parquet file."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(for_arrow(path)).metadata.num_rows


def _picture(image: Any, settings: PictureSettings) -> Picture:
    if image is None:
        return Picture(NO_PIXELS, Flag.UNREADABLE, "The row has no image.")
    if isinstance(image, dict) and image.get("bytes") is not None:
        return raster(io.BytesIO(image["bytes"]), settings)
    bands = image if isinstance(image, list) else _bands(image)
    if not bands:
        return Picture(NO_PIXELS, Flag.UNREADABLE, "The row has no image.")
    return _of_bands(bands, settings)


def _bands(image: dict[str, Any]) -> list[dict[str, Any]]:
    """A struct of lists, one entry a band, as a list of structs."""
    lists = {name: values for name, values in image.items() if isinstance(values, list)}
    numbers = {len(values) for name, values in lists.items() if name in ARRAYS}
    n = numbers.pop() if numbers else 0
    return [{name: values[k] for name, values in lists.items() if len(values) == n} for k in range(n)]


def _of_bands(bands: list[dict[str, Any]], settings: PictureSettings) -> Picture:
    """The bands as one image, see `images.bands`, with the noise that their inverse variances give it.

    Its PSF has the mean width of theirs. What has no weight is missing in its band. Masks are left alone, because in
    some sets they mark what is good.
    """
    names = [str(band.get("band") or place) for place, band in enumerate(bands)]
    try:
        bands = [bands[place] for place in chosen_bands(_full_names(settings.band, names), names, len(bands))]
    except LookupError as error:
        raise BadImage(Flag.NOT_AN_IMAGE, str(error.args[0])) from None
    array, facts = next(name for name in ARRAYS if name in bands[0]), {}
    planes: list[tuple[np.ndarray, np.ndarray | None]] = []
    for band in bands:
        pixels, sigma = np.asarray(band[array], dtype=np.float32), None
        if band.get("ivar") is not None:
            sigma = noise_per_pixel(np.asarray(band["ivar"], np.float32), INVERSE_VARIANCE)
            pixels = np.where(np.isfinite(sigma), pixels, np.float32(np.nan))
        planes.append((pixels, sigma))
    scales = [band["scale"] for band in bands if band.get("scale")]
    widths = [band["psf_fwhm"] for band in bands if band.get("psf_fwhm")]
    if scales:
        facts["pixel_scale_arcsec"] = float(np.mean(scales))
    if scales and len(widths) == len(bands):  # in arcsec there
        facts["psf_fwhm_pix"] = float(np.mean(widths) / np.mean(scales))
    return of_bands(planes, [str(band.get("band") or place) for place, band in enumerate(bands)], facts, [])


def _full_names(wanted: tuple[str, ...], names: list[str]) -> tuple[str, ...]:
    """Bands as they are named there, as des-r for r."""
    ends = {name.rpartition("-")[2].lower(): name for name in names}
    return tuple(name if name in names else ends.get(name.lower(), name) for name in wanted)
