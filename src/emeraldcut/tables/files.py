"""Tables read and written: Parquet, ECSV, CSV, FITS, VOTable, and the thesis's `.out`, by their ending."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from emeraldcut.data.columns import BY_NAME
from emeraldcut.errors import UsageError, WorkError
from emeraldcut.runs.fits_headers import Plain, walk
from emeraldcut.runs.notices import printable
from emeraldcut.runs.reading import check_regular, read_json
from emeraldcut.runs.writing import check_folder, write_text
from emeraldcut.tables.arrow import (
    ASTROPY,
    NOTES,
    as_column,
    as_text,
    check_groups,
    check_names,
    for_arrow,
    for_astropy,
    from_arrow,
    is_text,
    plain_copy,
    text_lengths,
    to_arrow,
    written,
)
from emeraldcut.tables.column_names import is_id_name, is_object_id
from emeraldcut.tables.foreign import (
    LARGEST_UNPACKED_BYTES,
    LONGEST_LINE,
    as_table,
    astropy_parquet,
    best_of,
    fits_table,
    is_packed,
    kind_of_table,
    parsed_votable,
    plain_columns,
    read_other,
    read_text,
    unpack,
    votable_of_fits,
    with_votable_metadata,
)
from emeraldcut.tables.identifiers import whole_type

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ENDINGS = (".parquet", ".ecsv", ".csv", ".fits", ".vot", ".vot.xml", ".out")
LEAST_CELL_BYTES = 4  # of a value in memory
MOST_TIMES_LARGER = 100  # in memory than as a file; catalogues are below 20, repeated values without end above 1000
RECORD_LINES = 50  # at most, of the first row of CSV with line breaks in quotes
FORMULA = r"^'*[=+\-@\t\r]"  # how a cell begins that a spreadsheet would compute, or that was made to be one no more
NUMBER = r"[+-]?(\d+([: ]\d+)*\.?\d*|\.\d+)([eE][+-]?\d+)?"  # also sexagesimal; these stay as they are
RAW_HELP = (
    "write cells of .csv as they are; otherwise text that a spreadsheet would take for a formula (= + - @) gets an "
    "apostrophe before it"
)
THESIS_CLASSES = ("oval", "rectangular", "obround")  # integer labels 1, 2, 3


def table_ending(path: str | Path) -> str:
    """The known ending of `path`; ValueError that lists the known ones if it has none."""
    name = Path(path).name.lower()
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if name.endswith(ending):
            return ending
    raise UsageError(f"a table's name must end in one of {', '.join(ENDINGS)}; received '{Path(path).name}'.")


def check_output(path: str | Path, overwrite: bool = False) -> Path:
    """`path` as a Path if a table may be written there, to be asked before long work.

    Raises ValueError for an unknown ending, FileExistsError if `path` exists and `overwrite` is not set.
    """
    table_ending(path)
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"'{path}' exists; choose another name or set --overwrite.")
    check_folder(path.parent)
    return path


def write_table(
    table: Table,
    path: str | Path,
    *,
    provenance: dict[str, Any] | None = None,
    overwrite: bool = False,
    raw: bool = False,
) -> Path:
    """Writes `table` in the format of the ending of `path`, completely or not at all.

    Text, masked values, units, descriptions and `table.meta` survive in .parquet, .ecsv, .fits and .vot; .csv
    keeps text and masked values. `provenance` becomes `meta["provenance"]`, and for .csv and .out the file
    `NAME.manifest.json` beside the table.

    In .csv a text, or a column's name, that a spreadsheet would take for a formula, since it begins with = + - @, a tab
    or a carriage return and is no number, gets an apostrophe before it, which `read_table` takes away again. With `raw`
    it is written as it is.

    Raises
    ------
    ValueError
        Unknown ending, a column that is not one value per row, or an `.out` without probabilities.
    FileExistsError
        `path` exists and `overwrite` is not set.

    Examples
    --------
    >>> with TemporaryDirectory() as folder:
    ...     path = write_table(Table({"id": ["007"], "a4": [-0.05]}), folder + "/shapes.csv")
    ...     print(path.read_text().splitlines())
    ['"id","a4"', '"007",-0.05']
    """
    path, ending = check_output(path, overwrite), table_ending(path)
    table = plain_copy(as_table(table))
    path.parent.mkdir(parents=True, exist_ok=True)
    if provenance is not None:
        table.meta["provenance"] = provenance
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _WRITERS[ending](_neutral(table) if ending == ".csv" and not raw else table, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if provenance is not None and ending in (".csv", ".out"):
        write_text(_sidecar(path), json.dumps(provenance, indent=2, default=str) + "\n")
    return path


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".manifest.json")


def read_table(path: str | Path, columns: Sequence[str] | None = None, *, ids: Iterable[str] = ()) -> Table:
    """Reads a table, or those of `columns` that it has; text columns have dtype object, missing values are masked.

    What the first bytes do not tell, the ending of the name does. Besides the formats that `write_table` writes these
    are SExtractor's ASCII_HEAD and FITS_LDAC, IPAC, Feather, HDF5, and text between blanks, tabs or commas; also packed
    by gzip, bzip2 or xz. Of several tables in a file the one that has positions, files or identifiers is read. Columns
    of coordinates become two, NAME.ra and NAME.dec, in degrees.

    `ids` names columns of CSV that hold identifiers, besides those with usual names: digits with a leading 0 are text
    there.

    Raises FileNotFoundError, or ValueError with one sentence for a damaged file and for columns of equal names.

    Examples
    --------
    >>> with TemporaryDirectory() as folder:
    ...     path = write_table(Table({"id": ["007"], "a4": [-0.05]}), folder + "/shapes.csv")
    ...     read_table(path)["id"][0]
    '007'
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no table '{path}'.")
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder, not a table.")
    try:
        check_regular(path)
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read as a table: {error.strerror}.") from None
    ending = next((e for e in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(e)), "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if columns is not None and ending == ".parquet":
                return _read_parquet(path, columns)
            table = _read(path, ending, ids)
            return table if columns is None else table[[name for name in columns if name in table.colnames]]
    except MemoryError as error:
        raise WorkError(f"there is not enough memory to read the table '{path}'.") from error
    except Exception as error:
        reason = printable(str(error).strip().split("\n")[0]).rstrip(".: ") or type(error).__name__
        raise UsageError(f"'{path}' cannot be read as a {f'{ending} ' * bool(ending)}table: {reason}.") from error


def _read(path: Path, ending: str, ids: Iterable[str]) -> Table:
    """The table in a file, by its first bytes, or else by the known `ending` of its name."""
    kind = kind_of_table(path)
    if kind != ".fits" and is_packed(path):
        with TemporaryDirectory() as folder:
            unpacked = Path(folder, path.stem)
            unpack(path, unpacked)
            inner = next((e for e in ENDINGS if unpacked.name.lower().endswith(e)), ending)
            return _read(unpacked, inner, ids)
    kind = kind or ending
    if kind == ".csv":
        return _read_csv(path, ids)
    if kind in _READERS:
        return _READERS[kind](path)
    if kind:
        return _unpack(plain_columns(read_other(path, kind)), None)
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = next((line for line in file if not line.startswith("#") and line.strip()), "")
    if "," in header:
        return _read_csv(path, ids)
    return _unpack(plain_columns(read_text(path)), None)


# --- Parquet and CSV, through Arrow, which knows missing values


def _write_parquet(table: Table, path: Path) -> None:
    import pyarrow.parquet as pq

    data = to_arrow(table)
    data = data.cast(for_astropy(data.schema, text_lengths([data])))
    pq.write_table(data, for_arrow(path, "wb"), **written(data.schema))


def _read_parquet(path: Path, columns: Sequence[str] | None = None) -> Table:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(for_arrow(path))
    check_names(file.schema_arrow.names)
    _check_rows(file, path, columns)
    data = file.read(columns)
    metadata = {**(data.schema.metadata or {}), **(file.metadata.metadata or {})}
    if NOTES.encode() not in metadata and ASTROPY in metadata:
        return _unpack(astropy_parquet(data, metadata[ASTROPY].decode()), None)
    table = from_arrow(data)
    votable = metadata.get(b"IVOA.VOTable-Parquet.content")
    return with_votable_metadata(table, votable) if votable else table


def _check_rows(file: pq.ParquetFile, path: Path, columns: Sequence[str] | None) -> None:
    """UsageError for rows that take more memory than is read of a packed table, and far more than the file has.

    And where its groups do not hold them.
    """
    number, wanted = file.metadata.num_rows, file.schema_arrow.names if columns is None else columns
    claimed = number * LEAST_CELL_BYTES * max(len(wanted), 1)
    if claimed > max(LARGEST_UNPACKED_BYTES, path.stat().st_size * MOST_TIMES_LARGER):
        raise UsageError(f"it claims {number:,} rows in {path.stat().st_size:,} bytes.")
    check_groups(file.metadata)


def _write_csv(table: Table, path: Path) -> None:
    import pyarrow.csv as pc

    pc.write_csv(to_arrow(table), for_arrow(path, "wb"))


def _read_csv(path: Path, ids: Iterable[str] = ()) -> Table:
    """CSV with a header line. Our writer quotes text, so an empty text and a missing one stay different.

    Whole numbers that are identifiers, or are beyond 64 bits with a sign, keep their digits: as whole numbers where
    these have them, else as text.
    """
    import pyarrow as pa
    import pyarrow.csv as pc

    with path.open(encoding="utf-8-sig", errors="replace") as file:
        comments = 0
        while (line := file.readline()).startswith("#"):
            comments += 1
    names = [name.strip().strip('"') for name in line.split(",")]
    text = {name: pa.string() for name in names if name in BY_NAME and BY_NAME[name].dtype is str}
    quoted = _quoted_columns(path, comments)
    text |= dict.fromkeys(quoted, pa.string())

    def read(columns: list[str], types: dict[str, pa.DataType]) -> pa.Table:
        return pc.read_csv(
            path,
            read_options=pc.ReadOptions(skip_rows=comments),
            parse_options=pc.ParseOptions(newlines_in_values=True),
            convert_options=pc.ConvertOptions(
                null_values=["", "NA", "N/A", "NULL", "null", "--"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["true", "True", "TRUE"],
                false_values=["false", "False", "FALSE"],
                column_types=types,
                include_columns=columns,
            ),
        )

    data = read([], text)
    check_names(name.strip() for name in data.column_names)
    doubtful = [
        field.name
        for field in data.schema
        if field.name not in quoted and _may_have_lost_digits(data[field.name], field.name, {*ids})
    ]
    if doubtful:
        digits = read(doubtful, dict.fromkeys(doubtful, pa.string()))
        for name in doubtful:
            is_float = pa.types.is_floating(data[name].type)
            is_id = name in ids or (is_object_id(name) if is_float else is_id_name(name))
            data = data.set_column(data.column_names.index(name), name, _with_digits(data[name], digits[name], is_id))
    table = _as_given(from_arrow(data.rename_columns([name.strip() for name in data.column_names])))
    for name in table.colnames:  # a column of whole numbers, or of nothing, has lost its type
        if name in BY_NAME and BY_NAME[name].dtype is float and table[name].dtype.kind == "i":
            table[name] = table[name].astype(float)
    if _sidecar(path).exists():
        table.meta["provenance"] = read_json(_sidecar(path))
    return table


def _neutral(table: Table) -> Table:
    """A table whose texts and names of columns no spreadsheet takes for formulas."""

    def neutral(text: str) -> str:
        return f"'{text}" if re.match(FORMULA, text) and not re.fullmatch(NUMBER, text) else text

    return _with_texts(table, neutral)


def _as_given(table: Table) -> Table:
    """Undoes `_neutral`."""

    def given(text: str) -> str:
        return text[1:] if text.startswith("'") and re.match(FORMULA, text) else text

    return _with_texts(table, given)


def _with_texts(table: Table, changed: Callable[[str], str]) -> Table:
    """A table with its texts and the names of its columns `changed`."""
    names = [changed(name) for name in table.colnames]
    columns = {}
    for name, new in zip(table.colnames, names, strict=True):
        column = columns[new] = table[name]
        if is_text(column):
            mask = np.ma.getmaskarray(column)
            texts = [v if m else changed(str(v)) for v, m in zip(np.ma.getdata(column), mask, strict=True)]
            columns[new] = as_column(np.array(texts, dtype=object), mask, column.unit, column.description)
    return Table(columns, meta=table.meta, copy=False) if len(columns) == len(names) else table


def _quoted_columns(path: Path, comments: int) -> list[str]:
    """The columns of CSV whose first value is in quotes, if those of others are not; else those of identifiers."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for _ in range(comments):
            file.readline()
        lines = "".join(islice(iter(partial(file.readline, LONGEST_LINE), ""), 1 + RECORD_LINES))
    names = next(csv.reader(io.StringIO(lines)), [])
    fields = re.findall(r'("(?:[^"]|"")*"|[^,\r\n"]*)(,|\r?\n|$)', lines)
    ends = [k for k, (_, end) in enumerate(fields) if end != ","]
    first = [value for value, _ in fields[ends[0] + 1 : ends[1] + 1]] if len(ends) > 1 else []
    quoted = [name for name, value in zip(names, first, strict=False) if value.startswith('"')]
    return quoted if len(quoted) < sum(map(bool, first)) else [name for name in quoted if is_id_name(name)]


def _may_have_lost_digits(column: pa.ChunkedArray, name: str, ids: set[str]) -> bool:
    """Whether a column of CSV, as pyarrow takes it, may have been written with other digits, or with a leading 0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name.strip() == "id":
        return True
    if pa.types.is_integer(column.type):
        return name in ids or is_id_name(name)
    if not pa.types.is_floating(column.type):
        return False
    return name in ids or is_object_id(name) or bool((pc.max(pc.abs(column)).as_py() or 0) >= 2.0**63)


def _with_digits(column: pa.ChunkedArray, texts: pa.ChunkedArray, is_id: bool) -> pa.ChunkedArray:
    """A column of CSV as whole numbers if its `texts` are such, as text if it is one of ids, else as it is."""
    import pyarrow as pa

    given = [text for text in texts.to_pylist() if text is not None]
    kind = whole_type(given)
    if kind is not None:
        return texts.cast(pa.from_numpy_dtype(kind))
    if is_id and pa.types.is_floating(column.type) and given != [str(v) for v in column.to_pylist() if v is not None]:
        return texts  # such as 1e5, a name
    return texts if is_id and all(re.fullmatch(r"[+-]?[0-9]+", text) for text in given) else column


# --- ECSV, FITS and VOTable, through astropy, which mixes up empty and missing text

_CONTROL = r"[\x00-\x1f\x7f-\x9f\ufffe\uffff\\]|^\s|\s$"
_NOT_ASCII = r"[^\x20-\x5b\x5d-\x7e]|^\s|\s$"
_QUOTE, _QUOTED = '"', r'[ "\r\n]'  # in ECSV: the sign, and signs that call for it
# Stands for an empty text in a column that also has missing ones; no escaped text is one backslash.
_EMPTY = "\\"


def _escape(text: str, pattern: str) -> str:
    """`text` with the characters that match `pattern` as backslash escapes."""

    def escaped(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code:02x}" if code < 256 else f"\\U{code:08x}"

    return re.sub(pattern, escaped, text)


def _unescape(text: str) -> str:
    return re.sub(r"\\U([0-9a-f]{8})|\\x([0-9a-f]{2})", lambda m: chr(int(m[1] or m[2], 16)), text)


def _pack(table: Table, pattern: str, unsigned: str = "never") -> Table:
    """`table` in types that all three formats know, with the notes that `_unpack` needs as JSON in its meta.

    Missing text is written as empty, missing floats as NaN and missing integers as a value that no row has,
    which the formats declare as null, so that other programs see them as missing. FITS has no missing
    booleans: these go as integers. Whole numbers from 2**63 go as text where the format has none so large: `unsigned`
    is "never", "known" (only if none is missing) or "always".
    """
    packed, notes = Table(), {"meta": dict(table.meta), "columns": {}}
    for name in table.colnames:
        column, packed_name = table[name], _escape(name, pattern)
        masked = bool(np.ma.getmaskarray(column).any())
        as_digits = _is_large(column) and (unsigned == "never" or (masked and unsigned == "known"))
        packed[packed_name] = _packed_digits(column) if as_digits else _packed_values(column, masked, pattern)
        packed[packed_name].unit = column.unit
        packed[packed_name].description = _escape(column.description or "", pattern) or None
        about = {"name": name, "masked": masked, "boolean": column.dtype.kind == "b", "digits": as_digits}
        notes["columns"][packed_name] = {**about, "description": column.description}
    packed.meta[NOTES] = json.dumps(notes, default=str)
    return packed


def _packed_values(column: Column, masked: bool, pattern: str) -> np.ndarray | MaskedColumn:
    mask, values = np.ma.getmaskarray(column), np.ma.getdata(np.asanyarray(column))
    if is_text(column):
        empty = _EMPTY if masked else ""
        texts = ["" if m else _escape(v, pattern) or empty for v, m in zip(values, mask, strict=True)]
        return np.array(texts, dtype=str)
    if column.dtype.kind == "f":
        values = values if values.dtype.itemsize in (4, 8) else values.astype(np.float64)
        return _with_null(values, mask, np.nan)
    if column.dtype.kind == "b" and not masked:
        return values
    values = values.astype(np.uint64 if _is_large(column) else np.int64)
    return _with_null(values, mask, _free_number(values[~mask]))


def _is_large(column: Column) -> bool:
    """Whether a column holds whole numbers beyond 64 bits with a sign."""
    if column.dtype.kind != "u":
        return False
    known = np.ma.getdata(column)[~np.ma.getmaskarray(column)]
    return bool(known.max(initial=0) > np.iinfo(np.int64).max)


def _packed_digits(column: Column) -> np.ndarray:
    return np.array(
        ["" if m else str(v) for v, m in zip(np.ma.getdata(column), np.ma.getmaskarray(column), strict=True)]
    )


def _free_number(values: np.ndarray) -> int:
    """A number that stands for a missing one, since none of `values` (n,) is it: below all, else above, or between."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low > np.iinfo(values.dtype).min:
        return low - 1
    if high < np.iinfo(values.dtype).max:
        return high + 1
    between = np.unique(values[(values >= 0) & (values <= values.size)])  # of size + 1 numbers one is free
    return int(np.setdiff1d(np.arange(values.size + 1, dtype=values.dtype), between)[0])


def _with_null(values: np.ndarray, mask: np.ndarray, null: float) -> np.ndarray | MaskedColumn:
    """`values`, with `null` as the value that stands for a missing one if there is any."""
    if not mask.any():
        return values
    return MaskedColumn(np.where(mask, null, values).astype(values.dtype), mask=mask, fill_value=null)


def _unpack(packed: Table, notes_text: str | None) -> Table:
    """Undoes `_pack`; without notes (a file of another program) only text and masks are put in our form."""
    notes = json.loads(notes_text) if notes_text else {"meta": dict(packed.meta), "columns": {}}
    table = Table(meta=notes["meta"])
    for name in packed.colnames:
        column = packed[name]
        mask, values = np.ma.getmaskarray(column), np.ma.getdata(np.asanyarray(column))
        foreign = {"name": name, "masked": mask.any(), "boolean": False, "description": column.description}
        about = notes["columns"].get(name, foreign)
        if column.ndim > 1:  # of another program
            table[name] = column
            continue
        if about.get("digits"):
            texts = ["" if m else as_text(v) for v, m in zip(values, mask, strict=True)]
            mask = np.array([text == "" for text in texts], dtype=bool)
            values = np.array([int(text or 0) for text in texts], dtype=np.uint64)
        elif is_text(column):
            texts = ["" if m else as_text(v) for v, m in zip(values, mask, strict=True)]
            mask = np.array([text == "" for text in texts], dtype=bool) & about["masked"]
            if about is not foreign:
                texts = ["" if text == _EMPTY else _unescape(text) for text in texts]
            values = np.array(texts, dtype=object)
        elif values.dtype.kind == "f":
            mask = (mask | np.isnan(values)) & about["masked"]
        elif about["boolean"]:
            values = np.where(mask, 0, values).astype(bool)
        values = values if values.dtype.kind == "O" else values.astype(values.dtype.newbyteorder("="))
        table[about["name"]] = as_column(values, mask, column.unit, about["description"])
        if column.meta.get("ucd"):
            table[about["name"]].meta["ucd"] = str(column.meta["ucd"])
    return table


def _write_ecsv(table: Table, path: Path) -> None:
    """As astropy writes it, to the last sign, which asks the columns for each value: here that is the header alone."""
    packed = _pack(table, _CONTROL + "|^#", "always")  # a line that begins with # is a comment
    if any(column.ndim > 1 or column.dtype.kind == "O" for column in packed.itercols()) or not len(packed.columns):
        packed.write(path, format="ascii.ecsv")
        return
    head = io.StringIO()
    packed[:0].write(head, format="ascii.ecsv")
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(head.getvalue())
        columns = [_ecsv_texts(column) for column in packed.itercols()]
        file.writelines(f"{' '.join(values)}\n" for values in zip(*columns, strict=True))


def _ecsv_texts(column: Column) -> list[str]:
    """The values of a column as ECSV has them; `""` where one is missing, or empty."""
    values, hidden = np.ma.getdata(np.asanyarray(column)), np.ma.getmaskarray(column)
    texts, quoted = values.astype(str).tolist(), values.dtype.kind in "US"
    for row in np.flatnonzero(hidden):
        texts[row] = ""
    if quoted:
        texts = [f'"{text.replace(_QUOTE, 2 * _QUOTE)}"' if re.search(_QUOTED, text) else text for text in texts]
    return [text or '""' for text in texts]


def _read_ecsv(path: Path) -> Table:
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = (line for line in file if not line.startswith("#"))
        check_names(next(csv.reader([next(lines, "")], delimiter=_ecsv_delimiter(path)), []))
    table = Table.read(path, format="ascii.ecsv")
    return _unpack(plain_columns(table), table.meta.get(NOTES))


def _ecsv_delimiter(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.startswith("#"):
                break
            if line.startswith("# delimiter:"):
                return "," if "," in line else " "
    return " "


def _write_fits(table: Table, path: Path) -> None:
    """The notes are a table of their own, of one text: FITS headers hold neither long nor non-ASCII text."""
    from astropy.io import fits

    packed = _pack(table, _NOT_ASCII, "known")
    notes = Table({"json": np.array([packed.meta.pop(NOTES)], dtype=str)})
    data_unit, notes_unit = fits.table_to_hdu(packed), fits.table_to_hdu(notes)
    data_unit.name, notes_unit.name = "TABLE", NOTES
    for number, name in enumerate(packed.colnames, start=1):
        if packed[name].description:
            data_unit.header[f"TCOMM{number}"] = packed[name].description
    fits.HDUList([fits.PrimaryHDU(), data_unit, notes_unit]).writeto(path, output_verify="silentfix")


def _read_fits(path: Path) -> Table:
    from astropy.io import fits

    with path.open("rb") as file:
        size = path.stat().st_size
        walk(Plain(file, size), size)  # astropy would follow whatever it claims
    with fits.open(path, memmap=False) as units:
        tables = [unit for unit in units if isinstance(unit, fits.BinTableHDU | fits.TableHDU)]
        tables = [unit for unit in tables if not isinstance(unit, fits.CompImageHDU)]
        if not tables:
            raise UsageError("it holds no table.")
        notes = next((str(unit.data["json"][0]) for unit in tables if unit.name == NOTES.upper()), None)
        table = Table.read(tables[0], mask_invalid=False) if notes else plain_columns(fits_table(tables, path))
        if units[0].header.get("VOTMETA") is True and units[0].data is not None:  # fits-plus of STILTS and TOPCAT
            table = with_votable_metadata(table, units[0].data.astype(np.uint8).tobytes())
    return _unpack(table, notes)


def _write_votable(table: Table, path: Path) -> None:
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info

    packed = _pack(table, _CONTROL)
    document = from_table(packed)
    document.resources[0].infos.append(Info(name=NOTES, value=packed.meta[NOTES]))
    for field in document.get_first_table().fields:
        about = table[field.name].meta if field.name in table.colnames else {}
        if field.name in BY_NAME and BY_NAME[field.name].ucd:
            field.ucd = BY_NAME[field.name].ucd
        elif about.get("ucd"):
            field.ucd = about["ucd"]
        if about.get("utype"):
            field.utype = about["utype"]
    document.to_xml(str(path))


def _read_votable(path: Path) -> Table:
    if (table := votable_of_fits(path)) is not None:
        return _unpack(plain_columns(table), None)
    document = parsed_votable(path.read_bytes())
    notes = next((info.value for info in document.resources[0].infos if info.name == NOTES), None)
    tables = list(document.iter_tables())
    if not tables:
        raise UsageError("it holds no table.")
    table = (
        tables[0] if notes else best_of(tables, lambda one: [f.name for f in one.fields], lambda one: len(one.array))
    )
    check_names(field.name for field in table.fields)
    return _unpack(table.to_table(use_names_over_ids=True), notes)


# --- the thesis's format


def _write_thesis(table: Table, path: Path) -> None:
    """First line the number of images; then per image `class p1 p2 p3`: 1-based, and probabilities whose sum is 1.

    An image without probabilities, for which the format has no word, gets three equal ones and class 0.
    """
    names = [f"p_{label}" for label in THESIS_CLASSES]
    missing = [name for name in names if name not in table.colnames]
    if missing:
        raise UsageError(f"the .out format needs the columns {', '.join(names)}; '{missing[0]}' is missing.")
    p = np.stack([np.ma.filled(np.ma.asarray(table[n]).astype(float), 0.0) for n in names], axis=1)  # (n, 3)
    total = np.nan_to_num(p).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.where(total[:, None] > 0, np.nan_to_num(p) / total[:, None], 1 / 3)
    number = np.where(total > 0, p.argmax(axis=1) + 1, 0)
    lines = [f"{k} {a:.6f} {b:.6f} {c:.6f}" for k, (a, b, c) in zip(number, p, strict=True)]
    path.write_text("\n".join([str(len(table)), *lines]) + "\n")


def _read_thesis(path: Path) -> Table:
    lines = path.read_text().split("\n")
    count = int(lines[0])
    values = np.array(" ".join(lines[1:]).split(), dtype=float)
    if values.size != 4 * count:
        raise UsageError(f"it promises {count} images of 4 numbers and has {values.size} numbers.")
    values = values.reshape(count, 4)
    number, p = values[:, 0].astype(int), values[:, 1:]
    table = Table({"id": np.array([str(i) for i in range(count)], dtype=object)})
    missing = number == 0
    for label, column in zip(THESIS_CLASSES, p.T, strict=True):
        table[f"p_{label}"] = as_column(column.copy(), missing)
    labels = np.array(["", *THESIS_CLASSES], dtype=object)[number]
    table["class"] = as_column(labels, missing)
    return table


_WRITERS = {
    ".parquet": _write_parquet,
    ".ecsv": _write_ecsv,
    ".csv": _write_csv,
    ".fits": _write_fits,
    ".vot": _write_votable,
    ".vot.xml": _write_votable,
    ".out": _write_thesis,
}
_READERS = {
    ".parquet": _read_parquet,
    ".ecsv": _read_ecsv,
    ".csv": _read_csv,
    ".fits": _read_fits,
    ".vot": _read_votable,
    ".vot.xml": _read_votable,
    ".out": _read_thesis,
}
