"""Report: a finished run folder as one HTML file that needs nothing else, and pictures."""

from __future__ import annotations

from pathlib import Path

from emeraldcut.data import read_manifest
from emeraldcut.data.run import MANIFEST, write_text
from emeraldcut.report.screen_page import screen_page
from emeraldcut.report.study_page import study_page
from emeraldcut.report.suite_page import suite_page

PAGE = "report.html"
PAGES = {"screen": screen_page, "demo": screen_page, "study": study_page, "simulate": suite_page}


def report(folder: str | Path) -> Path:
    """Writes `report.html` into a finished run folder, and pictures beside it.

    Parameters
    ----------
    folder : str or Path
        A run of `screen` or `demo`: `manifest.json`, `candidates.parquet`, and as far as they are there the
        sets `best` and `references`, `settings.toml`, and `notes.json` (`title`, `paragraphs`, `table` with
        `columns`, `rows` and `caption`, and `figures` with `file` and `caption`), shown at the top. Or a run of `study`
        with its tables and sets, or of `simulate`.

    Returns
    -------
    Path
        Of `report.html`, which is complete or not there. Where there are candidates with a score,
        `figures/best.png` and `figures/best_match.png` are written too; of a study `figures/closest.png`; of
        mergers `course.png` in the folder of each.

    Raises
    ------
    ValueError
        The folder holds no finished run, or one of another command.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).exists():
        raise ValueError(f"report expects a finished run; '{folder}' has no {MANIFEST}: run it to its end.")
    command = read_manifest(folder).get("command")
    if command not in PAGES:
        raise ValueError(f"report expects a run of {', '.join(PAGES)}; '{folder}' is one of `{command}`.")
    # names of files may hold bytes that are no UTF-8, which would end the writing of the page
    write_text(folder / PAGE, PAGES[command](folder).encode("utf-8", "replace").decode("utf-8"))
    return folder / PAGE
