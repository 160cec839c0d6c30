"""Explorer: the rows of a page as a table that its reader sorts, filters and searches, also from disk.

The columns travel inside the page, rounded and compressed, and its script (`templates/explorer.js`) unpacks them. A
page of 100,000 rows has about 3 MB more.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import SENTENCES, Flag, flag_name, level_of

SCRIPT = Path(__file__).with_name("templates") / "explorer.js"
MOST_ROWS = 200_000  # the rest is in the table only
DIGITS = 4  # significant ones of a number
COMPRESSION = 6  # of gzip; 9 takes three times as long for a page that is 1 % smaller
LABELS = {  # of the columns, in their order; those that the table lacks are left out
    "rank": "rank",
    "id": "id",
    "score": "score",
    "p_rectangular": "p(rectangular)",
    "p_boxy": "p(boxy)",
    "class": "class",
    "similarity": "similarity",
    "similarity_p": "p-value of similarity",
    "a4": "a4/a",
    "a4_err": "± a4/a",
    "a6": "a6/a",
    "axis_ratio": "axis ratio",
    "radius_pix": "half-light radius (pix)",
    "snr": "S/N",
    "ra": "RA (deg)",
    "dec": "Dec (deg)",
    "trusted": "trusted",
    "flag": "quality flags",
}
TEXTS = ("id", "class")
PLACES = ("ra", "dec")
PLACE_DECIMALS = 4  # of degrees: 0.4 arcsec


def explorer(table: Any, shown: Iterable[int] = ()) -> dict[str, Any]:
    """What the macro `explorer` shows: the rows of a table and their number.

    Parameters
    ----------
    table : Table or Columns
        In the order of the page, with `id`; `rank` is the order if it is not there.
    shown : ranks that have a card on the page, to which their rows lead
    """
    rows = min(len(table), MOST_ROWS)
    names = [name for name in LABELS if name in table.colnames or name == "rank"]
    if "score" in names and "p_boxy" in names:  # of which it is a part
        names.remove("p_boxy")
    columns = [{"name": name, "label": LABELS[name], "values": _values(table, name, rows)} for name in names]
    flags = [[bit.value, flag_name(bit), SENTENCES[bit], level_of(bit)] for bit in _raised(table, rows)]
    content = {"rows": rows, "columns": columns, "flags": flags, "cards": [int(rank) for rank in shown]}
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    packed = gzip.compress(text.encode("ascii"), COMPRESSION, mtime=0)
    return {"packed": base64.b64encode(packed).decode("ascii"), "rows": rows, "of": len(table), "names": names}


def script() -> str:
    """The program that unpacks and shows the rows; it contains nothing of the data."""
    return SCRIPT.read_text(encoding="utf-8")


def _raised(table: Any, rows: int) -> list[Flag]:
    """The flags that any of the rows has."""
    if "flag" not in table.colnames:
        return []
    together = int(np.bitwise_or.reduce(numbers(table["flag"])[:rows].astype(np.int64), initial=0))
    return [bit for bit in SENTENCES if together & bit]


def _values(table: Any, name: str, rows: int) -> list[Any]:
    """The first values of a column, as JSON holds them; None where they are missing."""
    if name == "rank" and name not in table.colnames:
        return list(range(1, rows + 1))
    if name in TEXTS:
        column: np.ndarray = np.ma.filled(np.ma.asarray(table[name][:rows], dtype=object), "")
        return [str(value) for value in column]
    values = numbers(table[name])[:rows]
    if name in ("rank", "flag", "trusted"):
        return np.nan_to_num(values).astype(np.int64).tolist()
    rounded = np.round(values.astype(float), PLACE_DECIMALS) if name in PLACES else _rounded(values)
    listed: list[Any] = rounded.tolist()
    for row in np.flatnonzero(~np.isfinite(rounded)):
        listed[row] = None
    return listed


def _rounded(values: np.ndarray) -> np.ndarray:
    """Values (n,) to `DIGITS` significant digits."""
    values = np.asarray(values, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = DIGITS - 1 - np.floor(np.log10(np.abs(values)))
    power = np.clip(np.nan_to_num(power, posinf=0.0, neginf=0.0), 0, 15)
    return np.round(values * 10**power) / 10**power
