"""Report: a finished run folder as one HTML file that needs nothing else, and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emeraldcut.errors import UsageError
from emeraldcut.images.readers import CUTOUTS
from emeraldcut.images.store import is_stored_set
from emeraldcut.report.pages.completeness import completeness_page
from emeraldcut.report.pages.image_set import set_page
from emeraldcut.report.pages.network import CARD, network_page
from emeraldcut.report.pages.screen import screen_page
from emeraldcut.report.pages.search import search_page
from emeraldcut.report.pages.study import study_page
from emeraldcut.report.pages.suite import suite_page
from emeraldcut.report.pages.table import table_page
from emeraldcut.runs import read_manifest
from emeraldcut.runs.run import MANIFEST
from emeraldcut.runs.writing import write_text
from emeraldcut.settings import Settings, setting
from emeraldcut.tables.files import table_ending

PAGE = "report.html"
FORMATS = ("html", "pdf")
PAGES = {
    "screen": screen_page, "demo": screen_page, "study": study_page, "simulate": suite_page,
    "completeness": completeness_page, "search": search_page,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Settings):
    """What is written besides the page."""

    format: str = setting("html", "pdf: also print the page as PDF (needs Chromium or Chrome)", choices=FORMATS)
    latex: bool = setting(False, "also write the tables as LaTeX and the references as BibTeX to DIR/latex")


def report(source: str | Path) -> Path:
    """Writes the page of a finished run, and pictures beside it.

    Parameters
    ----------
    source : str or Path
        A run of `screen` or `demo`: `manifest.json`, `candidates.parquet`, and as far as they are there the
        sets `best` and `references`, `settings.toml`, and `notes.json` (`title`, `paragraphs`, `table` with
        `columns`, `rows` and `caption`, and `figures` with `file` and `caption`), shown at the top. Or a run of
        `study`, `simulate`, `search` or `completeness`; a set of images; a folder of `fetch`; a network folder; or a
        table of `measure`, `compare` or `classify`.

    Returns
    -------
    Path
        Of `report.html` in the folder, or of `NAME.report.html` beside a table of any format; it is complete or not
        there. Where there are candidates with a score, `figures/best.png` and `figures/best_match.png`
        are written too; of a study `figures/closest.png`; of mergers `evolution.png` in the folder of each.

    Raises
    ------
    ValueError
        There is no finished run, or one of another command.
    """
    source = Path(source)
    page = source / PAGE
    if source.is_file():
        page = source.with_name(f"{source.name[: -len(table_ending(source))]}.{PAGE}")
        text = table_page(source)
    elif (source / CARD).exists():
        text = network_page(source)
    else:
        text = _page_of_run(source)
    # names of files may hold bytes that are no UTF-8, which would end the writing of the page
    write_text(page, text.encode("utf-8", "replace").decode("utf-8"))
    return page


def _page_of_run(folder: Path) -> str:
    if not (folder / MANIFEST).exists():
        raise UsageError(f"'{folder}' is not a finished run (no {MANIFEST}); run its command to the end.")
    if is_stored_set(folder) or (folder / CUTOUTS).exists():
        return set_page(folder)
    command = read_manifest(folder).get("command")
    if command not in PAGES:
        raise UsageError(f"report expects a run of {', '.join(PAGES)}; '{folder}' is one of `{command}`.")
    return PAGES[command](folder)
