"""Identifiers, digit for digit: text inside the program, whole numbers in its tables where they came in as such."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Column, Table

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE = "whole_numbers"  # in the meta of a column of ids that are kept as text: they came in as whole numbers
DIGITS = r"-?[1-9][0-9]*|0"  # of a whole number that a column of numbers gives back as it was


def id_texts(column: Any) -> np.ndarray:
    """Identifiers (n,) as text, empty where one is missing."""
    missing = np.ma.getmaskarray(column)
    texts = ["" if m else str(v) for v, m in zip(np.ma.getdata(np.asanyarray(column)), missing, strict=True)]
    return np.array(texts, dtype=object)


def are_whole(column: Column) -> bool:
    """Whether identifiers came in as whole numbers, in a column of them or in one that `read_catalogue` made text."""
    return column.dtype.kind in "iu" or bool(column.meta.get(WHOLE))


def whole_type(texts: Iterable[str | None]) -> np.dtype | None:
    """The type that holds all these texts as whole numbers, digit for digit; None if there is none, or no text."""
    low, high, some = 0, 0, False
    for text in texts:
        if not text or len(text) > 20 or not re.fullmatch(DIGITS, text):
            return None
        low, high, some = min(low, int(text)), max(high, int(text)), True
    kinds = [kind for kind in (np.int64, np.uint64) if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
    return np.dtype(kinds[0]) if some and kinds else None


def with_numbers(table: Table) -> Table:
    """`table` with `id` as whole numbers, if they all are."""
    texts = id_texts(table["id"])
    kind = whole_type(texts)
    if kind is not None:
        table["id"] = Column([int(text) for text in texts], dtype=kind, description=table["id"].description)
    return table


def with_whole_ids(schema: pa.Schema, tables: Iterable[pa.Table]) -> pa.Schema:
    """`schema` with `id` as whole numbers, if those of all `tables` are such."""
    import pyarrow as pa

    kind = whole_type(text for table in tables for text in table["id"].to_pylist())
    if kind is None:
        return schema
    place = schema.get_field_index("id")
    return schema.set(place, schema.field("id").with_type(pa.from_numpy_dtype(kind)))
