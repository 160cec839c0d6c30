"""Results as Python users get them: tables that draw and show themselves."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from astropy.table import QTable

from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import flag_name
from emeraldcut.data.imageset import ImageSet
from emeraldcut.data.snippets import GALLERY, TABLE, snippet
from emeraldcut.data.thumbnails import thumbnail
from emeraldcut.errors import UsageError

FIRST: tuple[str, ...] = (
    "rank",
    "id",
    "score",
    "p_rectangular",
    "class",
    "similarity",
    "similarity_p",
    "a4",
    "a4_err",
    "boxy_kind",
    "axis_ratio",
    "radius_pix",
    "snr",
    "flag",
)  # the columns of a short table, in order
SHOWN = 10  # rows of a short table
LONGEST = 40  # letters of a value in it
LEDA_A4 = (-0.08, -0.05)  # LEDA 074886 between 3 and 5 kpc (Graham et al. 2012, ApJ 750, 121)


class Result(QTable):
    """A table of results: an astropy `QTable` with one row per image, that draws and shows itself.

    Attributes
    ----------
    images : ImageSet or None
        The images that were given, for pictures; None where they are only in files.
    meta : dict
        `provenance` says which version, settings, seed and inputs made it.

    Examples
    --------
    >>> import numpy as np, emeraldcut
    >>> y, x = np.mgrid[:64, :64] - 31.5
    >>> image = 100 * np.exp(-((np.abs(x / 12) ** 4 + np.abs(y / 9) ** 4) ** 0.5))
    >>> shapes = emeraldcut.measure(image + np.random.default_rng(0).normal(size=image.shape))
    >>> bool(shapes["a4"][0] < -0.05)
    True
    """

    images: ImageSet | None = None

    @classmethod
    def of(cls, table: Any, images: ImageSet | None = None) -> Result:
        """A table as a result, the columns that people look for first."""
        order = [name for name in ("rank", "id", "score") if name in table.colnames]
        result = cls(table[[*order, *(name for name in table.colnames if name not in order)]], copy=False)
        result.images = images
        return result

    def __repr__(self) -> str:
        names = self._short_names()
        more = f", {len(self.colnames) - len(names)} more columns" if len(names) < len(self.colnames) else ""
        cells = [[name, *(_cut(_words(value, name)) for value in self[name][:SHOWN])] for name in names]
        widths = [max(map(len, column)) for column in cells]
        rows = [" ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
                for row in zip(*cells, strict=True)]  # fmt: skip
        return "\n".join([f"<Result: {_rows(len(self))}{more}>", *rows])

    def _repr_html_(self) -> str:
        """The first rows with pictures, for notebooks."""
        names, rows = self._short_names(), self[:SHOWN]
        pictures = [thumbnail(image) if image is not None else "" for image in map(self._image, rows["id"])]
        cells = [[_words(row[name], name) for name in names] for row in rows]
        summary = f"{_rows(len(self))}, {len(self.colnames)} columns"
        return snippet(TABLE, names=names, rows=list(zip(pictures, cells, strict=True)), summary=summary)

    def _short_names(self) -> list[str]:
        return [name for name in FIRST if name in self.colnames] or self.colnames[:8]

    def _image(self, identity: Any) -> np.ndarray | None:
        """What is shown of an image that is at hand, by its id."""
        if self.images is None:
            return None
        found = np.flatnonzero(self.images.table["id"] == str(identity))
        return self.images.seen(found[0]) if len(found) else None

    def _new_from_slice(self, slice_: Any) -> Any:
        part = super()._new_from_slice(slice_)
        part.images = self.images
        return part

    def plot(self, x: str = "axis_ratio", y: str = "a4", ax: Any = None) -> Any:
        """Draws one column against another, with the errors in `NAME_err` where there are some.

        Parameters
        ----------
        x, y : str
            Columns of numbers. The range of LEDA 074886 is shaded where `y` is a4.
        ax : matplotlib axes, optional
            Those to draw into; a new figure is made otherwise.

        Returns
        -------
        matplotlib axes

        Raises
        ------
        UsageError
            A column is not there, or holds no numbers.
        """
        points: dict[str, np.ndarray | None] = {}
        for axis, name in (("x", x), ("y", y)):
            if name not in self.colnames or self[name].dtype.kind not in "buif":
                known = ", ".join(name for name in self.colnames if self[name].dtype.kind in "buif")
                raise UsageError(f"plot expects a column of numbers; received '{name}'. There are {known}.")
            points[axis] = numbers(self[name])
            points[f"{axis}err"] = numbers(self[f"{name}_err"]) if f"{name}_err" in self.colnames else None
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.figure().add_subplot()
        if y == "a4":
            ax.axhspan(*LEDA_A4, color="tab:green", alpha=0.15, linewidth=0, label="LEDA 074886, 3 to 5 kpc")
            ax.axhline(0, color="0.7", linewidth=0.8)
            ax.legend(frameon=False)
        ax.errorbar(**points, fmt="o", markersize=4, elinewidth=0.8, color="tab:blue", alpha=0.8)
        ax.set_xlabel(self._label(x))
        ax.set_ylabel(self._label(y))
        return ax

    def _label(self, name: str) -> str:
        unit = getattr(self[name], "unit", None)
        return f"{name} ({unit})" if unit else name

    def cards(self, number: int = 12) -> Any:
        """Pictures of the first rows with what was found, as HTML that a notebook shows.

        Raises
        ------
        UsageError
            The images are not at hand: they were read from files chunk by chunk. `emeraldcut.report` writes their page.
        """
        if self.images is None:
            raise UsageError("the images of this table are not in memory; emeraldcut.report(...) shows those in files.")
        pictures = []
        for row in self[:number]:
            image = self._image(row["id"])
            facts = [f"{name} {_words(row[name], name)}" for name in ("score", "class", "a4") if name in self.colnames]
            pictures.append(("" if image is None else thumbnail(image), ", ".join([str(row["id"]), *facts])))
        return Html(snippet(GALLERY, title=_rows(len(self)), pictures=pictures, more=max(len(self) - number, 0)))

    def show(self, number: int = SHOWN) -> None:
        """Shows the first rows: with pictures in a notebook, else as text."""
        if "IPython" in sys.modules:
            from IPython.display import display

            display(self[:number])
        else:
            sys.stdout.write(f"{self[:number]!r}\n")


class Html:
    """A piece of HTML that a notebook shows."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_html_(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<HTML of {len(self.text):,} characters; a notebook shows it>"


def _rows(number: int) -> str:
    return f"{number:,} row{'s' * (number != 1)}"


def _words(value: Any, name: str) -> str:
    """A value of a column in few letters."""
    if name == "flag" and np.asarray(value).dtype.kind in "iu":
        return flag_name(int(value))
    if value is np.ma.masked or getattr(value, "mask", False):
        return "–"
    unit = getattr(value, "unit", None)
    number = getattr(value, "value", value)
    if np.asarray(number).dtype.kind == "f":
        return f"{float(number):.4g}" + (f" {unit}" if unit else "")
    return str(number)


def _cut(words: str) -> str:
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"
