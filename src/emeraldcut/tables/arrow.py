"""The one form behind all formats: Arrow tables, written and read piece by piece."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from emeraldcut.data.columns import describe_columns
from emeraldcut.errors import UsageError
from emeraldcut.runs.reading import check_regular
from emeraldcut.runs.writing import complete
from emeraldcut.tables.identifiers import id_texts

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

GROUP_ROWS = 16_384  # of a row group of a joined table
PIECE_ROWS = 4096  # that are read at a time where only some of them are wanted
NOTES = "emeraldcut"  # name under which our own notes travel inside a file
OF_VOTABLES = ("ucd", "utype")  # what a column means to the Virtual Observatory, in its meta
ASTROPY = b"table_meta_yaml"  # and those of astropy


def column_of(files: Iterable[Path], name: str) -> np.ndarray:
    """A column of numbers of several Parquet tables, one after another, as float32 (n,), NaN where it is missing."""
    pieces = [np.zeros(0, np.float32)]
    for path in files:
        for table in arrow_pieces(path, GROUP_ROWS, [name]):
            lacking = np.full(len(table), np.nan, np.float32)
            pieces.append(np.asarray(table[name].to_numpy(), np.float32) if table.column_names else lacking)
    return np.concatenate(pieces)


def for_arrow(path: str | Path, mode: str = "rb") -> Any:
    """A path as Arrow takes it, which asks for names in UTF-8; a file that is open where the name is not.

    OSError, with a sentence, for what is to be read and is no regular file.
    """
    name = os.fspath(path)
    if mode == "rb":
        check_regular(name)
    try:
        name.encode()
    except UnicodeEncodeError:
        return open(name, mode, buffering=0)  # closed when Arrow has done with it
    return name


class Columns:
    """The columns of a Parquet table, of which none stays in memory.

    Numbers as from `column_of`; text, and `id` whatever it is, as objects.
    """

    def __init__(self, file: Path) -> None:
        import pyarrow.parquet as pq

        self._file, self._rows = file, pq.read_metadata(for_arrow(file)).num_rows
        self._schema = pq.read_schema(for_arrow(file))
        self.colnames = self._schema.names

    def __len__(self) -> int:
        return int(self._rows)

    def __getitem__(self, name: str) -> np.ndarray:
        import pyarrow as pa

        if name != "id" and not pa.types.is_string(self._schema.field(name).type):
            return column_of([self._file], name)
        columns = (from_arrow(piece)[name] for piece in arrow_pieces(self._file, GROUP_ROWS, [name]))
        pieces = [id_texts(column) if name == "id" else np.asarray(column) for column in columns]
        return np.concatenate([np.zeros(0, dtype=object), *pieces])


def rows_of(file: Path, places: np.ndarray, columns: list[str]) -> Table:
    """Rows of a Parquet table at `places` (n,), which rise, of those `columns` that it has."""
    import pyarrow.parquet as pq

    schema, start = pq.read_schema(for_arrow(file)), 0
    columns = [name for name in columns if name in schema.names]
    pieces = [schema.empty_table().select(columns)]
    for piece in arrow_pieces(file, PIECE_ROWS, columns):
        first, last = np.searchsorted(places, (start, start + len(piece)))
        pieces.append(piece.take(places[first:last] - start))
        start += len(piece)
    return from_arrow(joined(pieces))


def joined_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The columns of all schemas in the order of their coming; where types differ, one that holds both."""
    import pyarrow as pa

    distinct: list[pa.Schema] = []  # no keys of a dictionary, which they cannot be before pyarrow 22
    for schema in schemas:
        if not any(schema.equals(known, check_metadata=True) for known in distinct):
            distinct.append(schema)
    if not distinct:
        return pa.schema([])
    return pa.unify_schemas(distinct, promote_options="permissive").with_metadata(distinct[0].metadata)


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """An Arrow table with the columns of `schema`; those that it lacks are missing in all rows."""
    import pyarrow as pa

    if table.schema.equals(schema):
        return table
    arrays = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def joined(tables: list[pa.Table]) -> pa.Table:
    """Arrow tables one below the other."""
    import pyarrow as pa

    schema = joined_schema(table.schema for table in tables)
    return pa.concat_tables([fitted(table, schema) for table in tables])


def described(schema: pa.Schema, provenance: dict[str, Any]) -> pa.Schema:
    """`schema` with its columns in the contract's order, with units and descriptions, and where the table is from."""
    import pyarrow as pa

    table = describe_columns(from_arrow(schema.empty_table()))
    table.meta["provenance"] = provenance
    fields = to_arrow(table).schema
    return pa.schema([schema.field(f.name).with_metadata(f.metadata) for f in fields], metadata=fields.metadata)


def write_joined(
    tables: Iterable[pa.Table], schema: pa.Schema, path: Path, lengths: dict[str, int] | None = None
) -> None:
    """Arrow tables below one another as one Parquet file with the columns of `schema`, whole or not at all.

    `lengths` are those of the longest texts, see `for_astropy`.
    """
    import pyarrow.parquet as pq

    schema = for_astropy(schema, lengths or {})
    with complete(path) as temporary, pq.ParquetWriter(for_arrow(temporary, "wb"), schema, **written(schema)) as writer:
        for table in row_groups(fitted(table, schema) for table in tables):
            writer.write_table(table)


def row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Arrow tables joined until they have `GROUP_ROWS`."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP_ROWS:
            yield joined(waiting)
            waiting = []
    if waiting:
        yield joined(waiting)


def is_text(column: Column) -> bool:
    """Whether the values of a column, of either kind, are text."""
    return column.dtype.kind in "OUS"


def plain_copy(table: Table) -> Table:
    """A copy with text columns of dtype object and native byte order; None in a text column is masked."""
    plain = Table(meta=dict(table.meta))
    for name in table.colnames:
        column = table[name]
        if column.ndim != 1:
            raise UsageError(f"a column must hold one value per row; '{name}' has shape {column.shape}.")
        mask, values = np.ma.getmaskarray(column), np.ma.getdata(np.asanyarray(column))
        if is_text(column):
            mask = mask | np.array([v is None for v in values], dtype=bool)
            values = np.array([as_text(v) for v in values], dtype=object)
        else:
            values = values.astype(values.dtype.newbyteorder("="))
        plain[name] = as_column(values, mask, column.unit, column.description)
        plain[name].meta.update({key: str(column.meta[key]) for key in OF_VOTABLES if column.meta.get(key)})
    return plain


def as_text(value: Any) -> str:
    """A value of a text column as text that every format can hold; empty where it is missing."""
    if value is None or value is np.ma.masked:
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be stored anywhere


def as_column(values: np.ndarray, mask: np.ndarray, unit: Any = None, description: str | None = None) -> Column:
    """A column that is masked only where a value is missing."""
    attributes = {"unit": unit or None, "description": description or None}
    return MaskedColumn(values, mask=mask, **attributes) if mask.any() else Column(values, **attributes)


def to_arrow(table: Table) -> pa.Table:
    """A table of Arrow, with units, descriptions and `table.meta` in its schema."""
    import pyarrow as pa

    table = plain_copy(table)
    arrays, fields = [], []
    for name in table.colnames:
        column = table[name]
        mask, values = np.ma.getmaskarray(column), np.ma.getdata(np.asanyarray(column))
        array = pa.array(values, mask=mask, type=pa.string() if is_text(column) else None, from_pandas=False)
        about = {"unit": str(column.unit or ""), "description": column.description or ""}
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=about))
    notes = {NOTES: json.dumps(dict(table.meta), default=str)}
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=notes))


def text_lengths(tables: Iterable[pa.Table]) -> dict[str, int]:
    """Letters of the longest text in each column of text of Arrow tables."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths: dict[str, int] = {}
    for table in tables:
        for field in table.schema:
            if pa.types.is_string(field.type):
                longest = pc.max(pc.utf8_length(table[field.name])).as_py() or 0
                lengths[field.name] = max(lengths.get(field.name, 0), longest)
    return lengths


def for_astropy(schema: pa.Schema, lengths: dict[str, int]) -> pa.Schema:
    """`schema` with what astropy's own reader of Parquet looks for: units, descriptions and meta, and longest texts.

    As astropy writes it (astropy/io/misc/parquet.py): the header of ECSV in `table_meta_yaml`, and `table::len::NAME`.
    """
    import pyarrow as pa
    from astropy.table.meta import get_yaml_from_table

    metadata = dict(schema.metadata or {})
    header = from_arrow(schema.empty_table())
    for name in header.colnames:
        if is_text(header[name]):
            header[name] = Column(np.zeros(0, dtype=str), unit=header[name].unit, description=header[name].description)
            metadata[f"table::len::{name}".encode()] = str(max(lengths.get(name, 0), 1)).encode()
    metadata[ASTROPY] = "\n".join(get_yaml_from_table(header)).encode()
    return pa.schema(list(schema), metadata=metadata)


def check_names(names: Iterable[str]) -> None:
    """UsageError that lists the names which several columns of a table have."""
    again = [name for name, number in Counter(names).items() if number > 1]
    if again:
        raise UsageError(f"several columns have the same name: {', '.join(map(repr, again))}; rename all but one.")


def from_arrow(data: pa.Table) -> Table:
    """The table that `to_arrow` made, or of any other table of Arrow; UsageError if columns have equal names."""
    import pyarrow as pa

    check_names(data.schema.names)
    metadata = data.schema.metadata or {}
    table = Table(meta=json.loads(metadata.get(NOTES.encode(), b"{}")))
    for field, array in zip(data.schema, data.columns, strict=True):
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        mask = np.asarray(array.is_null())
        boolean = pa.types.is_boolean(array.type)
        if boolean or pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
            zero = pa.scalar(False if boolean else 0, array.type)
            values = array.fill_null(zero).to_numpy()
        elif pa.types.is_string(array.type) and len(array):
            words = array.fill_null("").combine_chunks().dictionary_encode()  # a word that recurs is in memory once
            values = np.array(words.dictionary.to_pylist(), dtype=object)[words.indices.to_numpy()]
        else:
            values = np.array([as_text(v) for v in array.to_pylist()], dtype=object)
        about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        table[field.name] = as_column(values, mask, about.get("unit"), about.get("description"))
    return table


def written(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet is written, as arguments of its writer.

    Measured numbers hardly recur: without a dictionary of them a table is smaller, and written in half the time.
    """
    import pyarrow as pa

    return {"compression": "zstd", "use_dictionary": [f.name for f in schema if not pa.types.is_floating(f.type)]}


def arrow_pieces(path: Path, size: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a Parquet table in order, `size` at a time, as tables of Arrow.

    Without `pre_buffer`, which would read all row groups ahead of the rows that are asked for.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(for_arrow(path), pre_buffer=False)
    check_groups(file.metadata)
    for batch in file.iter_batches(size, columns=columns):
        yield pa.Table.from_batches([batch])


def check_groups(about: pq.FileMetaData) -> None:
    """UsageError where the groups of a Parquet file do not hold the rows that it claims."""
    held = sum(about.row_group(k).num_rows for k in range(about.num_row_groups))
    if held != about.num_rows:
        raise UsageError(f"it is damaged: it claims {about.num_rows:,} rows, and its groups hold {held:,}.")


def table_pieces(path: Path, size: int) -> Iterator[Table]:
    """The rows of a Parquet table in order, `size` at a time."""
    return map(from_arrow, arrow_pieces(path, size))
