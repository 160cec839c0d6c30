"""HTML: pages made from plain data by templates, which escape everything that they insert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from emeraldcut.report.cite import bibliography
from emeraldcut.report.explorer import script as explorer_script
from emeraldcut.report.figures import palette
from emeraldcut.runs.run import SETTINGS

TEMPLATES = Path(__file__).with_name("templates")
OF_SETTINGS = "settings."  # before the names of settings in a manifest


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than text.

    Attributes
    ----------
    text : str
    style : str
        A class of the style sheet, such as "id" for identifiers.
    link : str
        Its address, if it is one.
    fraction : float or None
        Length of the bar behind the text, between 0 and 1.
    """

    text: str
    style: str = ""
    link: str = ""
    fraction: float | None = None


@dataclass(frozen=True)
class Listing:
    """A table of a page: rows of text or `Cell`; `anchors` are the ids of the rows, empty for none."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    anchors: Sequence[str] = ()


@dataclass(frozen=True)
class Plot:
    """A plot as SVG text, with its name and its caption."""

    svg: str
    name: str
    caption: str


@cache
def environment(*folders: Path) -> Environment:
    """The templates of these folders, which come first, and of the report."""
    found = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    found.globals |= {"counted": counted, "style_sheet": style_sheet, "explorer_script": explorer_script}
    return found


def style_sheet() -> str:
    """The style sheet of all pages, including those of `review`."""
    return palette.style() + (TEMPLATES / "style.css").read_text(encoding="utf-8")


def page(template: str, title: str, manifest: Mapping[str, Any], folder: Path | None = None, **given: Any) -> str:
    """A whole page: the template filled with the values `given`, the provenance of the run, and what to cite.

    Parameters
    ----------
    template : str
        A file that extends `page.html`.
    title : str
    manifest : mapping
        Of the run. Its settings are shown if `folder` has no file with them.
    """
    provenance = [[Cell(name, "code"), Cell(str(value), "id")] for name, value in manifest.items()
                  if not name.startswith(OF_SETTINGS)]  # fmt: skip
    return (
        environment()
        .get_template(template)
        .render(
            given,
            title=title,
            notices=manifest.get("notices", []),
            version=manifest.get("version", ""),
            bibliography=bibliography(manifest),
            settings=_settings(manifest, folder),
            provenance=Listing(["fact", "value"], provenance),
        )
    )


def _settings(manifest: Mapping[str, Any], folder: Path | None) -> str:
    path = None if folder is None else folder / SETTINGS
    if path is not None and path.exists():
        return path.read_text(encoding="utf-8", errors="replace")
    known = {name.removeprefix(OF_SETTINGS): value for name, value in manifest.items() if name.startswith(OF_SETTINGS)}
    return "\n".join(f"{name} = {value}" for name, value in known.items())


def made_by(manifest: Mapping[str, Any], per_image: str = "") -> dict[str, Any]:
    """The facts of every run: date, version, seed and wall time."""
    wall = manifest.get("wall_seconds")
    return {
        "Date": str(manifest.get("date_utc", "")).replace("T", " ").replace("+00:00", " UTC"),
        "Version": manifest.get("version"),
        "Seed": manifest.get("seed"),
        "Wall time": None if wall is None else seconds(wall) + per_image,
    }


# --- numbers as text


def counted(n: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is 1."""
    if n == 1:
        return f"1 {noun}"
    return f"{n:,} {noun[:-1]}ies" if noun.endswith("y") else f"{n:,} {noun}s"


def seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    if value < 90:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 5400 else f"{value / 3600:.1f} h"


def percent(fraction: float) -> str:
    """A fraction in per cent, to three digits."""
    return f"{100 * round(fraction, 9):.3g} %"  # what is left of a sum by rounding is no fraction
