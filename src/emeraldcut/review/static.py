"""The page as a folder that opens from disk; verdicts are kept in the browser and saved as a file."""

from __future__ import annotations

import json
from pathlib import Path

from emeraldcut.review.reviewed_run import ReviewedRun
from emeraldcut.review.server import ASSETS, page
from emeraldcut.runs.writing import write_text

INDEX, CARDS = "index.html", "cards"
CARDS_A_FILE = 20


def write_static(run: ReviewedRun, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a page of the first `run.settings.number` candidates in the suggested order; returns its path.

    The folder contains `index.html`, the script, the style sheet, and `cards/N.js` with pictures and numbers of 20
    candidates each. These are scripts because a browser may not read other files from disk.

    Raises FileExistsError if there is such a page already and `overwrite` is not set.
    """
    folder = Path(folder)
    if (folder / INDEX).exists() and not overwrite:
        raise FileExistsError(f"'{folder}' holds a page; choose another folder or set --overwrite.")
    (folder / CARDS).mkdir(parents=True, exist_ok=True)
    run.learn()
    rows = run.order.all("suggested")[: run.settings.number].tolist()
    for start in range(0, len(rows), CARDS_A_FILE):
        cards = [run.card(row) for row in rows[start : start + CARDS_A_FILE]]
        write_text(folder / CARDS / f"{start // CARDS_A_FILE}.js", f"emeraldcutCards({json.dumps(cards)});\n")
    for name, text in ASSETS.items():
        write_text(folder / name, text())
    known = [{"row": row, "id": run.card(row)["id"], "rank": run.card(row)["rank"]} for row in rows]
    every = round(1 / run.settings.repeats) if run.settings.repeats else 0
    given = {"static": known, "aFile": CARDS_A_FILE, "every": every}
    write_text(folder / INDEX, page("judge", given | run.facts))
    return folder / INDEX
