"""Catalogues: positions, identifiers and files under any name and in any unit, HATS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from emeraldcut.data.columns import free_name, set_flags_apart
from emeraldcut.errors import UsageError
from emeraldcut.runs.notices import notice
from emeraldcut.tables.arrow import from_arrow
from emeraldcut.tables.column_names import DOT, FROM_ONE, find_column, only_id, unit_in_name
from emeraldcut.tables.files import read_table
from emeraldcut.tables.identifiers import WHOLE, are_whole, id_texts

WANTED = ("ra", "dec", "id")  # what is renamed where it is found
RENAMED = "renamed_columns"  # in the meta of a catalogue: names of columns that are kept as input_NAME
HOURS = ("h", "hr", "hrs", "hour", "hours", "hourangle")
UNIT_WORDS = {
    **dict.fromkeys(("degree", "degrees", "deg.", "degs", "°"), "deg"),
    **dict.fromkeys(("radian", "radians"), "rad"),
    **dict.fromkeys(("arcsecond", "arcseconds", "arcsecs"), "arcsec"),
}
SEXAGESIMAL = ("h:m:s", "hms", "hh:mm:ss", "d:m:s", "dms", "dd:mm:ss", "h m s", "d m s", "hmsdms")
GALACTIC = (("glon", "glat"), ("gallon", "gallat"), ("l", "b"))


def read_catalogue(path: str | Path, columns: Mapping[str, str] | None = None) -> Table:
    """A table with positions in `ra`, `dec` (ICRS, degrees) and text in `id`, found as `find_columns` does.

    Angles in any unit that astropy knows become degrees. Sexagesimal right ascension is taken to be in hours unless the
    column has another unit. Positions in a column of coordinates, or in galactic longitude and latitude, become `ra`
    and `dec`. Columns that are not there are not made.

    Parameters
    ----------
    path : str or Path
    columns : dict, optional
        Names of the columns to be taken for ra, dec, x, y, id or file.

    Raises
    ------
    FileNotFoundError
        There is no such table.
    UsageError
        The table cannot be read, lacks one of `columns`, or has a position in a unit that is no angle.
    """
    given = {wanted: name for wanted, name in (columns or {}).items() if name}
    return as_catalogue(read_table(path, ids=given.values()), given, str(path))


def as_catalogue(table: Table, columns: Mapping[str, str], where: str = "the catalogue") -> Table:
    """See `read_catalogue`."""
    _from_parts(table)
    found = find_columns(table, columns, where)
    named = {wanted: found[wanted] for wanted in WANTED if wanted in found}
    apart = [wanted for wanted, name in named.items() if name != wanted and wanted in table.colnames]
    units = {wanted: unit_in_name(name) for wanted, name in named.items()}
    for wanted, name in named.items():
        if name != wanted:
            if wanted in table.colnames:  # another column has this name
                table.rename_column(wanted, free_name(f"input_{wanted}", table.colnames))
            table.rename_column(name, wanted)
    _say_if_radians(table, named, units, where)
    for name in ("ra", "dec"):
        if name in table.colnames:
            table[name] = _degrees(table[name], name == "ra", units.get(name, ""), where)
    if not {"ra", "dec"} <= set(table.colnames):
        _from_galactic(table, where)
    if "id" in table.colnames:
        ids = table["id"]
        table["id"] = Column(id_texts(ids), description=ids.description, meta={WHOLE: are_whole(ids)})
    before = set(table.colnames)
    table = set_flags_apart(table)
    apart += [name for name in ("flag", "flag_text") if name in before - set(table.colnames)]
    table.meta |= {RENAMED: apart} if apart else {}
    return table


def with_pixels(table: Table, columns: Mapping[str, str], where: str = "the catalogue") -> Table:
    """`table` with pixels in `x`, `y`, from 0, where they have other names, in which some are from 1."""
    given = {axis: columns[axis] for axis in ("x", "y") if columns.get(axis)}
    found = find_columns(table, given, where)
    for axis in ("x", "y"):
        if found.get(axis, axis) != axis:
            origin = 1.0 if FROM_ONE.fullmatch(found[axis]) else 0.0
            values = np.ma.asarray(table[found[axis]], dtype=float) - origin
            if axis in table.colnames:
                table.rename_column(axis, free_name(f"input_{axis}", table.colnames))
            table[axis] = MaskedColumn(values, unit="pix")
    return table


def find_columns(table: Table, given: Mapping[str, str], where: str = "the catalogue") -> dict[str, str]:
    """The columns of a table that hold ra, dec, x, y, id and file, as far as they are there.

    Those that are `given`, else by the names in common use (see `column_names`), by UCD, or those of a column of
    coordinates. UsageError if the table lacks one that is given.
    """
    found = {}
    for wanted, name in given.items():
        names = [n for n in (name, f"{name}{DOT}{wanted}") if n in table.colnames]
        names += [n for n in table.colnames if n.lower() == name.lower()]
        if not names:
            raise UsageError(f"'{where}' has no column '{name}'; it has {', '.join(table.colnames)}.")
        found[wanted] = names[0]
    ucds = {name: str(table[name].meta.get("ucd", "")) for name in table.colnames if table[name].meta}
    for wanted in ("ra", "dec", "x", "y", "id", "file"):
        if wanted not in found and (named := find_column(wanted, table.colnames, ucds)) is not None:
            found[wanted] = named
    if "id" not in found and (only := only_id(table.colnames)) is not None and table[only].dtype.kind in "OUSiu":
        texts = id_texts(table[only])
        found |= {"id": only} if len(set(texts)) == len(texts) and all(texts) else {}
    if "id" not in found and {"label", "x"} <= {*table.colnames, *found} and found["x"] != "x":
        found |= {"id": "label"} if table["label"].dtype.kind in "iu" else {}  # photutils numbers its sources so
    return found


def common_name(wanted: str, columns: Iterable[str]) -> str | None:
    """The column that holds ra, dec or id under one of the names in common use."""
    return find_column(wanted, list(columns), {})


def catalogue_parts(
    folder: str | Path,
    dec: tuple[float, float],
    ra: Sequence[tuple[float, float]],
    columns: Mapping[str, str] | None = None,
) -> Iterator[Table]:
    """Part for part, the rows of a catalogue in Parquet files that lie in a part of the sky, in degrees.

    They have a declination in the range `dec` and a right ascension in one of the ranges `ra`; of other places only
    statistics are read, where files have them.

    The folder is a HATS catalogue or collection (its margins, indices and samples are passed over), or holds any
    Parquet files. `columns` as for `read_catalogue`. ValueError if there are none, or without columns of positions in
    degrees.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    files, names = _parquet_files(Path(folder))
    names |= {wanted: name for wanted, name in (columns or {}).items() if name}
    for file in files:
        try:
            data = ds.dataset(str(file), format="parquet", partitioning=None)
            at = [names.get(w) or common_name(w, data.schema.names) for w in ("ra", "dec")]
            if at[0] not in data.schema.names or at[1] not in data.schema.names:
                raise UsageError(f"'{file}' needs columns ra and dec; it has {', '.join(data.schema.names)}.")
            east = [(ds.field(at[0]) >= low) & (ds.field(at[0]) <= high) for low, high in ra]
            inside = (ds.field(at[1]) >= dec[0]) & (ds.field(at[1]) <= dec[1]) & reduce(or_, east)
            flat = [field.name for field in data.schema if not pa.types.is_nested(field.type)]
            rows = data.to_table(columns=flat, filter=inside)
        except OSError as error:  # ArrowInvalid is a ValueError and says what is wrong
            raise UsageError(f"'{file}' cannot be read as Parquet: {error}") from None
        if rows.num_rows:
            yield as_catalogue(from_arrow(rows), names | {"ra": str(at[0]), "dec": str(at[1])}, str(file))


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


# --- angles


def _degrees(column: Column, hours: bool, unit: str, where: str) -> MaskedColumn:
    """Angles as float64 degrees, from numbers or (sexagesimal) text; what is no angle is masked.

    `unit` is what the column's name says, for one that has none itself.
    """
    mask = np.ma.getmaskarray(column)
    stated = str(column.unit or "").strip(" \"'").lower() or unit
    factor = _degrees_in(stated, hours, f"column '{column.name}' of '{where}'")
    if column.dtype.kind in "iu" or column.dtype == np.float64:
        values = np.where(mask, np.nan, np.ma.getdata(column).astype(float))
    else:
        values = np.full(len(column), np.nan)
        for i in np.flatnonzero(~mask):
            text = str(column[i]).replace("\u2212", "-")  # a minus sign as typesetters have it
            try:
                values[i] = float(text)
            except ValueError:
                values[i] = _angle(text, hours and stated in ("", *SEXAGESIMAL, *HOURS), factor)
    if factor != 1:
        values = values * factor
    return MaskedColumn(values, mask=~np.isfinite(values), unit="deg", description=column.description)


def _angle(text: str, hours: bool, factor: float) -> float:
    """An angle in words, such as 3:40:43.2 or 10.5 deg, in units of `factor` degrees; NaN for what is none."""
    from astropy.coordinates import Angle

    sexagesimal = re.search(r"[\s:hd]", text.strip())
    try:
        return float(Angle(text, unit="hourangle" if hours and sexagesimal else "deg").degree) / factor
    except Exception:  # Angle raises many kinds of errors; each means that this is no angle
        return np.nan


def _degrees_in(unit: str, hours: bool, what: str) -> float:
    """Degrees in one unit of an angle; UsageError if it is none."""
    from astropy import units

    if unit in SEXAGESIMAL or not unit:
        return 1.0
    if unit in HOURS and (hours or unit == "hourangle"):
        return 15.0
    try:
        return float(units.Unit(UNIT_WORDS.get(unit, unit)).to(units.deg))
    except (ValueError, TypeError, units.UnitConversionError):
        raise UsageError(f"{what} is in '{unit}', which is not the unit of an angle.") from None


def _say_if_radians(table: Table, named: Mapping[str, str], units: Mapping[str, str], where: str) -> None:
    """Says that angles are taken for degrees, where they have no unit and Rubin's software writes radians."""
    names = [named.get(axis, "") for axis in ("ra", "dec")]
    if not all(name.lower().startswith("coord_") for name in names) or any(units.values()) or len(table) == 0:
        return
    columns = [table[axis] for axis in ("ra", "dec")]
    if any(column.unit or column.dtype.kind != "f" for column in columns):
        return
    largest = [np.nanmax(np.abs(np.ma.filled(column, 0.0))) for column in columns]
    if largest[0] <= 2 * np.pi and largest[1] <= np.pi / 2:
        notice(f"{', '.join(names)} of '{where}' have no unit and are taken for degrees; they could be radians.")


def _from_parts(table: Table) -> None:
    """Adds `ra` and `dec` in text to a table that has hours, minutes and seconds in columns, as those of VizieR."""
    names = {name.lower(): name for name in table.colnames}
    if not {"rah", "ram", "ras", "ded", "dem", "des"} <= set(names) or {"ra", "dec"} & set(names):
        return
    ra, dec = ([table[names[f"{axis}{part}"]] for part in parts] for axis, parts in (("ra", "hms"), ("de", "dms")))
    signs = table[names["de-"]] if "de-" in names else [""] * len(table)
    negative = [
        str(sign).strip() == "-" or str(degrees).startswith("-") for sign, degrees in zip(signs, dec[0], strict=True)
    ]
    hours = [_sexagesimal(*row) for row in zip(*ra, strict=True)]
    degrees = [_sexagesimal(*row) for row in zip(*dec, strict=True)]
    table["ra"] = MaskedColumn(15 * np.array(hours), mask=np.isnan(hours), unit="deg")
    table["dec"] = MaskedColumn(np.where(negative, -1, 1) * degrees, mask=np.isnan(degrees), unit="deg")


def _sexagesimal(whole: Any, minutes: Any, seconds: Any) -> float:
    """A number of whole units, minutes and seconds, without its sign; NaN where one is missing."""
    parts = [whole, minutes, seconds]
    if any(np.ma.is_masked(part) for part in parts):
        return np.nan
    units, sixtieths, rest = (float(part) for part in parts)
    return abs(units) + sixtieths / 60 + rest / 3600


def _from_galactic(table: Table, where: str) -> None:
    """Adds `ra` and `dec` to a table that has galactic longitude and latitude instead."""
    from astropy.coordinates import SkyCoord

    by_name = {re.sub(r"[^a-z]", "", name.lower()): name for name in table.colnames}
    for pair in GALACTIC:
        if all(name in by_name for name in pair):
            lon, lat = (_degrees(table[by_name[name]], False, "", where) for name in pair)
            known = ~(lon.mask | lat.mask)
            sky = SkyCoord(lon.filled(0), np.clip(lat.filled(0), -90, 90), unit="deg", frame="galactic").icrs
            table["ra"] = MaskedColumn(sky.ra.deg, mask=~known, unit="deg")
            table["dec"] = MaskedColumn(sky.dec.deg, mask=~known, unit="deg")
            return
