"""Catalogues: positions and ids under any name, HATS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from emeraldcut.errors import UsageError
from emeraldcut.tables.arrow import from_arrow
from emeraldcut.tables.files import read_table

RA_NAMES = ("ra", "ra_deg", "_raj2000", "raj2000", "ra_icrs", "ra_j2000", "alpha_j2000", "alphawin_j2000", "radeg")
DEC_NAMES = ("dec", "dec_deg", "_dej2000", "dej2000", "de_icrs", "dec_j2000", "delta_j2000", "deltawin_j2000", "dedeg")
ID_NAMES = ("id", "id_str", "source_id", "objid", "object_id", "name", "number")


def read_catalogue(path: str | Path) -> Table:
    """A table with positions in `ra`, `dec` (degrees) and text in `id`, found under the names in common use.

    Right ascension as sexagesimal text is taken to be in hours. Columns that are not there are not made.
    """
    return _as_catalogue(read_table(path))


def _as_catalogue(table: Table) -> Table:
    for wanted in ("ra", "dec", "id"):
        found = common_name(wanted, table.colnames)
        if wanted not in table.colnames and found is not None:
            table.rename_column(found, wanted)
    for name in ("ra", "dec"):
        if name in table.colnames:
            table[name] = _degrees(table[name], hours=name == "ra")
    if "id" in table.colnames:
        mask = np.ma.getmaskarray(table["id"])
        names = ["" if m else str(v) for v, m in zip(table["id"], mask, strict=True)]
        table["id"] = np.array(names, dtype=object)
    return table


def common_name(wanted: str, columns: Iterable[str]) -> str | None:
    """The column that holds ra, dec or id under one of the names in common use."""
    by_lower_name = {name.lower(): name for name in reversed(list(columns))}
    names = {"ra": RA_NAMES, "dec": DEC_NAMES, "id": ID_NAMES}[wanted]
    return next((by_lower_name[name] for name in names if name in by_lower_name), None)


def catalogue_parts(folder: str | Path, dec: tuple[float, float], ra: Sequence[tuple[float, float]]) -> Iterator[Table]:
    """Part for part, the rows of a catalogue in Parquet files that lie in a part of the sky, in degrees.

    They have a declination in the range `dec` and a right ascension in one of the ranges `ra`; of other places only
    statistics are read, where files have them.

    The folder is a HATS catalogue or collection (its margins, indices and samples are passed over), or holds any
    Parquet files. ValueError if there are none, or without columns of positions in degrees.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    files, names = _parquet_files(Path(folder))
    for file in files:
        try:
            data = ds.dataset(str(file), format="parquet", partitioning=None)
            columns = [names.get(w) or common_name(w, data.schema.names) for w in ("ra", "dec")]
            if None in columns:
                raise UsageError(f"'{file}' needs columns ra and dec; it has {', '.join(data.schema.names)}.")
            at = [ds.field(name) for name in columns]
            east = [(at[0] >= low) & (at[0] <= high) for low, high in ra]
            inside = (at[1] >= dec[0]) & (at[1] <= dec[1]) & reduce(or_, east)
            flat = [field.name for field in data.schema if not pa.types.is_nested(field.type)]
            rows = data.to_table(columns=flat, filter=inside)
        except OSError as error:  # ArrowInvalid is a ValueError and says what is wrong
            raise UsageError(f"'{file}' cannot be read as Parquet: {error}") from None
        if rows.num_rows:
            table = from_arrow(rows)
            table.rename_columns(columns, ["ra", "dec"])
            yield _as_catalogue(table)


def _parquet_files(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The data files of a catalogue in order, and the names of its columns of ra and dec if it says so."""

    def properties(name: str) -> dict[str, str]:
        file = folder / name
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
        lines = (line.partition("=") for line in text.splitlines())
        return {key.strip(): value.strip() for key, _, value in lines}

    primary = properties("collection.properties").get("hats_primary_table_url", "")
    if primary and (folder / primary).is_dir():
        folder = folder / primary
    about = properties("hats.properties") or properties("properties")
    files = sorted(f for f in folder.rglob("*.parquet") if f.is_file() and not f.name.startswith(("_", ".")))
    of_hats = [file for file in files if any(part.startswith("Norder=") for part in file.relative_to(folder).parts)]
    if not files:
        raise UsageError(f"the catalogue '{folder}' holds no Parquet files.")
    named = {w: about[f"hats_col_{w}"] for w in ("ra", "dec") if about.get(f"hats_col_{w}")}
    return of_hats or files, named


def _degrees(column: Column, hours: bool) -> MaskedColumn:
    """Angles as float64 degrees, from numbers or (sexagesimal) text; what is no angle is masked."""
    from astropy.coordinates import Angle

    def angle(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            sexagesimal = re.search(r"[\s:hd]", text.strip())
            return float(Angle(text, unit="hourangle" if hours and sexagesimal else "deg").degree)

    values, mask = np.full(len(column), np.nan), np.ma.getmaskarray(column)
    in_hours = hours and str(column.unit) in ("hourangle", "h", "hour")
    for i in np.flatnonzero(~mask):
        try:
            values[i] = angle(str(column[i]))
        except Exception:  # Angle raises many kinds of errors; each means that this is no angle
            continue
    if in_hours and column.dtype.kind in "fiu":
        values *= 15.0
    return MaskedColumn(values, mask=~np.isfinite(values), unit="deg", description=column.description)
