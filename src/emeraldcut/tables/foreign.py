"""Tables as other programs write them: what is one, its content says; which of several in a file, their columns."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from astropy.table import Column, MaskedColumn, Table, vstack

from emeraldcut.errors import UsageError
from emeraldcut.runs.apart import apart
from emeraldcut.runs.fits_headers import Plain, walk
from emeraldcut.runs.notices import printable
from emeraldcut.runs.reading import Unpadded, open_hdf5, unpacker
from emeraldcut.tables.column_names import DOT, find_column

FITS_WITHIN_BYTES = 1_000_000  # of a VOTable, in which its data begin
HEAD_BYTES = 4096  # of a file, which say what it is
LARGEST_UNPACKED_BYTES = 4_000_000_000  # of a table, which is then in memory
LONGEST_LINE = 1_000_000  # letters of a line of text: thousands of columns
NUMBERED_COLUMN = re.compile(r"#\s*(\d+)\s")  # in the header of a table of SExtractor
MOST_COLUMNS, DIGITS_OF_COLUMNS = 10_000, 9  # of a table without rows; and how many digits of a number are read
LDAC = "LDAC_OBJECTS"  # of SExtractor; the table before it holds the header of the image


SIGNATURES = {
    b"PAR1": ".parquet",
    b"SIMPLE  =": ".fits",
    b"ARROW1": "feather",
    b"\x89HDF\r\n": "hdf5",
    b"PK\x03\x04": "zip",
}


def is_packed(path: Path) -> bool:
    """Whether gzip, bzip2 or xz has packed a file."""
    with path.open("rb") as file:
        return unpacker(file.read(6)) is not None


def unpack(path: Path, target: Path) -> None:
    """Writes the content of a packed file to another one; UsageError where it is too long, or no table by its head."""
    with path.open("rb") as file:
        opened = unpacker(file.read(6))
    assert opened is not None  # see `is_packed`
    with path.open("rb") as file, opened(Unpadded(file), "rb") as content, target.open("wb") as out:
        part = content.read(LONGEST_LINE)
        if not kind_of_head(part):
            check_first_line(part)
        while part:
            if out.tell() + len(part) > LARGEST_UNPACKED_BYTES:
                raise UsageError(f"it unpacks to more than {LARGEST_UNPACKED_BYTES / 1e9:g} GB; unpack it yourself.")
            out.write(part)
            part = content.read(LONGEST_LINE)


def check_first_line(head: bytes) -> None:
    """UsageError for text of which the first `LONGEST_LINE` bytes are no whole line, which no table has."""
    if len(head) >= LONGEST_LINE and b"\n" not in head and b"\r" not in head:
        raise UsageError(f"its first line has more than {LONGEST_LINE:,} letters.")


def kind_of_table(path: Path) -> str:
    """What the first bytes say that a table is: an ending of ours, the name of a reader of astropy, or nothing."""
    with path.open("rb") as file:
        kind = kind_of_head(file.read(HEAD_BYTES))
        file.seek(0)
        if not kind and unpacker(head := file.read(LONGEST_LINE)) is None:
            check_first_line(head)
    return kind


def kind_of_head(head: bytes) -> str:
    """The same of the first bytes of a file."""
    head = head[:HEAD_BYTES]
    for signature, kind in SIGNATURES.items():
        if head.startswith(signature):
            return kind
    text = head.decode("utf-8-sig", "replace")
    if "<VOTABLE" in text:
        return ".vot"
    if text.startswith("# %ECSV"):
        return ".ecsv"
    if re.match(r"#\s+1\s+[A-Z]\w*", text):
        return "sextractor"
    if re.match(r"[\\|]", text):
        return "ipac"
    return ""


def read_text(path: Path) -> Table:
    """A table in text with columns between blanks, tabs, bars or commas, as astropy finds out."""
    from astropy.io import ascii

    lines = [line for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines() if line.strip()]
    if not lines:
        raise UsageError("it is empty.")
    if lines[0].startswith("#") and len(lines) > 1 and not lines[1].startswith("#"):
        return ascii.read(path, format="commented_header", guess=False)
    try:
        _check_numbers_of_columns(lines)
    except UsageError:
        if all(NUMBERED_COLUMN.match(line) for line in takewhile(lambda line: line.startswith("#"), lines)):
            raise
        # comments that astropy would take for a header of SExtractor
        lines = [line for line in lines if not NUMBERED_COLUMN.match(line)]
    return ascii.read(lines)


def read_other(path: Path, kind: str) -> Table:
    """A table of a `kind` that only astropy or pyarrow reads."""
    if kind == "zip":
        raise UsageError("it is a spreadsheet or an archive; save the table as CSV, or unpack it.")
    if kind == "feather":
        import pyarrow.feather

        from emeraldcut.tables.arrow import from_arrow

        data = pyarrow.feather.read_table(path)
        data.validate(full=True)  # else places of texts behind their end would be read
        return from_arrow(data)
    if kind == "hdf5":
        with closing(apart("emeraldcut.tables.foreign:hdf5_table", path)) as answers:
            return next(answers)
    if kind == "sextractor":
        with path.open(encoding="utf-8", errors="replace") as file:
            _check_numbers_of_columns(file)
    formats = {"sextractor": "ascii.sextractor", "ipac": "ascii.ipac"}
    return Table.read(path, format=formats[kind])


def _check_numbers_of_columns(lines: Iterable[str]) -> None:
    """Raises UsageError where the header of a table of SExtractor numbers a column that its rows do not have.

    Lines are "# 5 FLUX_AUTO ...". Astropy makes all columns up to the largest number, and may run out of memory.
    """
    largest, most = 0, MOST_COLUMNS
    for line in lines:
        if not line.startswith("#"):
            most = len(line.split())
            break
        if found := NUMBERED_COLUMN.match(line):
            largest = max(largest, int(found[1][:DIGITS_OF_COLUMNS]))
    if largest > most:
        raise UsageError(f"its header names a column {largest}, and its rows have {most} values; it is damaged.")


def hdf5_table(path: Path) -> Iterator[Table]:
    """The table of an HDF5 file, to be read apart: the library crashes on some damaged files."""
    open_hdf5(path).close()  # has all of it inside
    yield Table.read(path, format="hdf5")


# --- FITS


def fits_table(units: Sequence[Any], path: Path) -> Table:
    """The table of a FITS file: SExtractor's objects, or the first with rows whose columns say what they are.

    UCDs (TUCDn) are in the meta of columns. Raises UsageError where columns have equal names.
    """
    from emeraldcut.tables.arrow import check_names

    objects = [unit for unit in units if unit.name == LDAC]
    chosen = objects or [best_of(list(units), lambda unit: unit.columns.names, lambda unit: int(unit.header["NAXIS2"]))]
    tables = []
    for unit in chosen:
        check_names(unit.columns.names)
        table = Table.read(unit, mask_invalid=False)
        for number, name in enumerate(unit.columns.names, start=1):
            if (ucd := unit.header.get(f"TUCD{number}")) and name in table.colnames:
                table[name].info.meta = {"ucd": str(ucd)}
        tables.append(_in_rows(table))
    return tables[0] if len(tables) == 1 else vstack(tables, metadata_conflicts="silent")


def best_of(tables: list[Any], names: Any, rows: Any) -> Any:
    """Of several tables the first with rows and with columns of positions, files or identifiers; else the first."""
    for wanted in (("ra", "dec"), ("file",), ("x", "y"), ("id",)):
        for table in tables:
            if rows(table) and all(find_column(name, names(table), {}) for name in wanted):
                return table
    return tables[0]


def _in_rows(table: Table) -> Table:
    """A table that holds each column as one value of a single row (colfits of STILTS and TOPCAT), as rows."""
    if len(table) != 1 or not table.colnames:
        return table
    lengths = {table[name].shape[1] if table[name].ndim > 1 else 1 for name in table.colnames}
    if len(lengths) != 1 or lengths == {1}:
        return table
    rows = Table(meta=table.meta)
    for name in table.colnames:
        column = table[name]
        about = {"unit": column.unit, "description": column.description, "meta": column.meta}
        values, mask = np.ma.getdata(column)[0], np.ma.getmaskarray(column)[0]
        rows[name] = MaskedColumn(values, mask=mask, **about) if mask.any() else Column(values, **about)
    return rows


def parsed_votable(content: bytes, **options: Any) -> Any:
    """A VOTable as astropy reads it, if all its data are in it; see `check_is_whole`."""
    from astropy.io.votable import parse

    check_is_whole(content)
    return parse(io.BytesIO(content), **options)


def check_is_whole(votable: bytes) -> None:
    """Raises UsageError where a VOTable says that some of its data are elsewhere.

    Astropy would open any address, also of this machine or of its network, so that whoever made the table, or a server
    that sent it, could have it read.
    """
    if links := _links(votable):
        raise UsageError(f"its data are in '{printable(links[0][:100])}', which is not followed; open that itself.")


def _links(content: bytes) -> list[str]:
    """Where a VOTable says that data of it are, by the parser that astropy uses too."""
    found: list[str] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == "STREAM":
            found.extend(value for key, value in attributes.items() if key.rpartition(":")[2] == "href")

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise UsageError(f"it is no XML ({error}).") from None
    return found


def votable_of_fits(path: Path) -> Table | None:
    """The table of a VOTable whose data are FITS, in it or beside it (votable-fits of STILTS); None for any other.

    Astropy reads only those beside it. UsageError if its data are not in the same folder.
    """
    from astropy.io import fits

    with path.open("rb") as file:
        if b"<FITS" not in file.read(FITS_WITHIN_BYTES):
            return None
    content = path.read_bytes()
    stream = re.search(rb"<FITS[^>]*>\s*<STREAM([^>]*)>?(.*?)(</STREAM>|/>)", content, re.DOTALL)
    if stream is None:
        return None
    if link := re.search(rb"""href\s*=\s*["']([^"']+)""", stream[1]):
        name = link[1].decode("utf-8", "replace").removeprefix("file://")
        beside = path.parent / name
        if Path(name).parts != (beside.name,):  # whoever made it could have any file of this machine read
            raise UsageError(f"its data are in '{printable(name)}', not beside it; save it as a table of one file.")
        if not beside.is_file():
            raise UsageError(
                f"its data are in '{printable(name)}', which is not there; save it as a table of one file."
            )
        data = beside.read_bytes()
    else:
        data = base64.b64decode(stream[2])
    walk(Plain(io.BytesIO(data), len(data)), len(data))  # astropy would follow whatever it claims
    with fits.open(io.BytesIO(data)) as units:
        tables = [unit for unit in units if not unit.is_image]
        table = fits_table(tables, path)
    about = re.sub(rb"<DATA>.*?</DATA>", b"", content, flags=re.DOTALL)
    return with_votable_metadata(table, about)


# --- columns that are more than numbers and text


def plain_columns(table: Table) -> Table:
    """A table without columns of coordinates, times or quantities: NAME.ra and NAME.dec (ICRS, degrees), text, numbers.

    Columns of several values per row stay.
    """
    from astropy.coordinates import SkyCoord
    from astropy.time import Time
    from astropy.units import Quantity

    if all(isinstance(table[name], Column) for name in table.colnames):
        return table
    plain = Table(meta=dict(table.meta))
    for name in table.colnames:
        column = table[name]
        if isinstance(column, Column):
            plain[name] = column
        elif isinstance(column, SkyCoord):
            sky, missing = column.icrs, np.broadcast_to(getattr(column, "mask", False), len(table))
            for axis, angle in (("ra", sky.ra), ("dec", sky.dec)):
                values = np.ma.filled(np.ma.asarray(np.asarray(getattr(angle, "unmasked", angle).deg)), np.nan)
                plain[f"{name}{DOT}{axis}"] = MaskedColumn(values, mask=missing | ~np.isfinite(values), unit="deg")
        elif isinstance(column, Quantity):
            unmasked = getattr(column, "unmasked", column)
            mask = np.broadcast_to(getattr(column, "mask", False), unmasked.shape)
            plain[name] = MaskedColumn(unmasked.value, mask=mask, unit=column.unit, description=column.info.description)
        else:
            texts = column.isot if isinstance(column, Time) else [str(value) for value in column]
            plain[name] = Column(np.array([str(text) for text in texts], dtype=object))
    return plain


def astropy_parquet(data: Any, header: str) -> Table:
    """What astropy wrote to Parquet, from its table of Arrow and the header that came with it."""
    from astropy.table import meta, serialize

    from emeraldcut.tables.arrow import NOTES, from_arrow

    about = meta.get_header_from_yaml(header.split("\n"))
    table = from_arrow(data)
    table.meta.pop(NOTES, None)
    table.meta.update(about.get("meta", {}))
    for entry in about["datatype"]:
        if entry["name"] in table.colnames:
            for attribute in ("description", "unit"):
                if attribute in entry:
                    setattr(table[entry["name"]], attribute, entry[attribute])
    serialized = table.meta.get("__serialized_columns__", {})
    missing = [name for about in serialized.values() for name in _names(about) if name not in table.colnames]
    if missing:  # only some columns were asked for
        table.meta.pop("__serialized_columns__", None)
        return table
    return plain_columns(serialize._construct_mixins_from_columns(table))


def _names(about: dict[str, Any]) -> list[str]:
    """Names of the columns that a serialized column of astropy is made of."""
    inside = [name for value in about.values() if isinstance(value, dict) for name in _names(value)]
    own = [about["name"]] if isinstance(about.get("name"), str) else []
    return own + inside


def with_votable_metadata(table: Table, content: bytes) -> Table:
    """A table with the units, descriptions and UCDs of the VOTable without data that came with it (VOParquet)."""
    fields = {field.name: field for field in parsed_votable(content).get_first_table().fields}
    for name in set(fields) & set(table.colnames):
        column, field = table[name], fields[name]
        column.unit = column.unit or (str(field.unit) if field.unit else None)
        column.description = column.description or field.description
        if field.ucd:
            column.meta["ucd"] = field.ucd
    return table


def as_table(given: Any) -> Table:
    """A table of astropy, pandas, polars or pyarrow as one of astropy."""
    if isinstance(given, Table):
        return Table(given)
    library = type(given).__module__.split(".")[0]
    if library == "pandas":
        return Table.from_pandas(given)
    from emeraldcut.tables.arrow import from_arrow

    return from_arrow(given.to_arrow() if library == "polars" else given)
