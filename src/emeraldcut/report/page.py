"""Report: a finished run as one self-contained HTML page, and pictures in files."""

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
from emeraldcut.runs import Run, read_manifest
from emeraldcut.runs.run import MANIFEST, PAGE
from emeraldcut.runs.writing import write_text
from emeraldcut.settings import Settings, setting
from emeraldcut.tables.files import table_ending

FORMATS = ("html", "pdf")
PAGES = {
    "screen": screen_page, "demo": screen_page, "study": study_page, "simulate": suite_page,
    "completeness": completeness_page, "search": search_page,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Settings):
    """What is written in addition to the page."""

    format: str = setting("html", "pdf: also print the page as PDF (needs Chromium or Chrome)", choices=FORMATS)
    latex: bool = setting(False, "also write the tables as LaTeX and the references as BibTeX to DIR/latex")
    movie: bool = setting(False, "of a merger suite, also write a movie of each merger (animated WebP, in its folder)")


def report(source: str | Path | Run, *, movies: bool = False) -> Path:
    """Writes the page of a finished run, and its pictures.

    Parameters
    ----------
    source : str, Path or Run
        A run of `screen`, `demo`, `study`, `simulate`, `search` or `completeness`; an image set; a folder of `fetch`; a
        network folder; or a table of `measure`, `compare` or `classify`.

        The page of a screening starts with `notes.json`, if the run has it: `title`, `paragraphs`, `table` with
        `columns`, `rows` and `caption`, and `figures` with `file` and `caption`.

    movies : bool
        Of a merger suite, also write a movie of each merger.

    Returns
    -------
    Path
        The path of the page: `report.html` in the folder, or `NAME.report.html` next to a table. It is written as a
        whole or not at all. If there are candidates with a score, `figures/best.png` and `figures/best_match.png` are
        written too; for a study `figures/closest.png`, and for a merger suite `evolution.png` and `galaxies.png` in
        the folder of each merger.

    Raises
    ------
    ValueError
        There is no finished run, or one of another command.

    Examples
    --------
    >>> import emeraldcut
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     run = emeraldcut.write_images(emeraldcut.synthesise(3, seed=1), folder)
    ...     emeraldcut.report(run).name
    'report.html'
    """
    source = source.folder if isinstance(source, Run) else Path(source)
    page = source / PAGE
    if source.is_file():
        page = source.with_name(f"{source.name[: -len(table_ending(source))]}.{PAGE}")
        text = table_page(source)
    elif (source / CARD).exists():
        text = network_page(source)
    else:
        text = _page_of_run(source, movies)
    # file names may contain bytes that are not UTF-8, which could not be written
    write_text(page, text.encode("utf-8", "replace").decode("utf-8"))
    return page


def _page_of_run(folder: Path, movies: bool) -> str:
    if not (folder / MANIFEST).exists():
        raise UsageError(f"'{folder}' is not a finished run (no {MANIFEST}); run its command to the end.")
    if is_stored_set(folder) or (folder / CUTOUTS).exists():
        return set_page(folder)
    command = read_manifest(folder).get("command")
    if command not in PAGES:
        raise UsageError(f"report expects a run of {', '.join(PAGES)}; '{folder}' is a run of `{command}`.")
    if command == "simulate":
        return suite_page(folder, movies=movies)
    return PAGES[command](folder)
