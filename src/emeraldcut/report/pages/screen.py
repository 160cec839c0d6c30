"""The page of a run of `screen` or `demo`: what was found, the candidates as cards, plots, flags."""

from __future__ import annotations

import json
import mimetypes
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data import read_images, read_manifest, usable
from emeraldcut.data.parts import Columns, rows_of
from emeraldcut.data.run import BEST, CANDIDATES, LISTED, MANIFEST, REFERENCES
from emeraldcut.report.cards import CARD_WORDS, card, cutout, data_url, decimal, framed, with_error
from emeraldcut.report.figures import galleries, plots
from emeraldcut.report.figures.comparison import TERMS, Comparison, compare_with_references
from emeraldcut.report.figures.pictures import GalaxyPictures, galaxy_pictures, number, text, with_data
from emeraldcut.report.html import counted, fact_list, made_by, percent, shell, table_of
from emeraldcut.report.pages.common import all_images, flags_section

NOTES = "notes.json"
SAMPLED = 50_000  # rows that the plots are of, evenly along the ranks
HARMONICS = [f"{name}{end}" for name in TERMS for end in ("", "_err")]
# Of the rows that are shown one by one.
COLUMNS = ["id", "axis_ratio", "axis_ratio_err", *HARMONICS, "class", "rank", "score", "flag", "p_rectangular"]
COLUMNS += ["similarity_p"]


@dataclass(frozen=True)
class Contents:
    """What a finished run folder holds, `best` (with `comparisons` of each) and `references` already as the report
    shows them.

    `ranks` has the columns of all images, to be read one at a time; `table` all that the page tells, of `SAMPLED` of
    them at most, the first among them.
    """

    folder: Path
    manifest: dict[str, Any]
    ranks: Columns
    table: Table
    best: list[GalaxyPictures]
    comparisons: list[Comparison]
    references: list[GalaxyPictures]
    notes: dict[str, Any]

    def reference_of(self, galaxy: GalaxyPictures) -> GalaxyPictures | None:
        """The reference that a candidate is most like, if the run has its image."""
        name = text(galaxy.row, "reference")
        return next((other for other in self.references if text(other.row, "id") == name), None)


def screen_page(folder: Path) -> str:
    """The page of a run of `screen` or `demo`; writes the pictures of its candidates. See `report`."""
    contents = _read(folder)
    if contents.best:
        best, pictures = contents.best[0], folder / "figures"
        galleries.draw_gallery(contents.best, contents.references, pictures / "best.png")
        galleries.draw_best_match(best, contents.reference_of(best), pictures / "best_match.png")
    return _page(contents)


def _read(folder: Path) -> Contents:
    """The contents of a run folder; ValueError if it holds no candidates."""
    if not (folder / CANDIDATES).exists():
        raise ValueError(f"report expects a run of `screen` or `demo`; '{folder}' has no {CANDIDATES}.")
    sets = {name: read_images(folder / name) if (folder / name / MANIFEST).exists() else None
            for name in (BEST, REFERENCES)}  # fmt: skip
    ranks, best, found = Columns(folder / CANDIDATES), [], []
    rows = np.unique(np.linspace(0, len(ranks) - 1, min(len(ranks), SAMPLED)).astype(int))
    table = rows_of(folder / CANDIDATES, rows, COLUMNS)
    if sets[BEST] is not None:
        scored = np.isfinite(plots.column(sets[BEST].table, "score"))
        kept = with_data(sets[BEST][scored])[: galleries.SHOWN]
        best, found = galaxy_pictures(kept), compare_with_references(kept, sets[REFERENCES], table)
    references = [] if sets[REFERENCES] is None else galaxy_pictures(sets[REFERENCES])
    notes = json.loads((folder / NOTES).read_text(encoding="utf-8")) if (folder / NOTES).exists() else {}
    return Contents(folder, read_manifest(folder), ranks, table, best, found, references, notes)


def _page(contents: Contents) -> str:
    """The whole page."""
    source = contents.manifest.get("input_1", contents.folder.resolve().name)
    main = Template(Path(__file__).with_name("screen.html").read_text(encoding="utf-8")).substitute(
        facts=_facts(contents),
        notes=_notes(contents),
        match=_match(contents),
        candidates=_candidates(contents),
        figures=all_images(contents.ranks, [int(galaxy.row["rank"]) for galaxy in contents.best], contents.table),
        flags=flags_section(contents.ranks),
    )
    title = f"Rectangular galaxies in {Path(str(source)).name}"
    return shell(title, _result(contents), main, contents.manifest, contents.folder)


# --- sections


def _result(contents: Contents) -> str:
    """What was found, in one plain sentence."""
    table, manifest = contents.table, contents.manifest
    first = None if len(table) == 0 or number(table[0], "score") is None else table[0]
    if first is None:
        images = counted(len(contents.ranks), "image")
        return f"None of {images} could be scored; the <a href='#flags'>flags</a> say why."
    shape = ""
    if number(first, "a4") is not None:
        shape = f", a4/a = <span class='number'>{with_error(first, 'a4')}</span>"
    clear = int((plots.column(contents.ranks, "score") > plots.CLEAR_SCORE).sum())
    name = f"<span class='id'>{escape(text(first, 'id'))}</span>"
    if contents.best:
        name = f"<a href='#rank-{int(contents.best[0].row['rank'])}'>{name}</a>"
    sentence = (
        f"The best of {counted(len(contents.ranks), 'image')} is {name}, "
        f"score {decimal(number(first, 'score'), 2)}{shape}; {counted(clear, 'image')} "
        f"{'scores' if clear == 1 else 'score'} above {plots.CLEAR_SCORE}"
    )
    expected, prevalence = manifest.get("expected_rectangular"), manifest.get("settings.prevalence")
    if expected is None:
        return sentence + "."
    among = f" at the stated prevalence of {percent(prevalence)}" if prevalence is not None else ""
    sentence += f". The network's probabilities{among} add up to {_about(expected)} rectangular galaxies"
    look_at = manifest.get("look_at")
    if look_at:
        half, most = (f"{look_at[share]:,}" for share in ("0.5", "0.9"))
        sentence += f"; the first {half} of the list hold half of them, the first {most} nine in ten"
    true, false = manifest.get("expected_true"), manifest.get("expected_false")
    if true is None or false is None:
        return sentence + "."
    return (
        f"{sentence}. Of the {counted(manifest['found'], 'image')} with p(rectangular) &ge; 0.5, "
        f"{_between(true)} should be rectangular and {_between(false)} not, "
        "if the images are like the network's held-out galaxies of the same S/N."
    )


def _about(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def _between(interval: list[float]) -> str:
    """A mean with its interval."""
    mean, low, high = map(_about, interval)
    return f"about {mean} ({low} to {high})"


def _facts(contents: Contents) -> str:
    """What was asked, of what, when and with what: the summary."""
    manifest, flags = contents.manifest, np.asarray(contents.ranks["flag"], dtype=np.int64)
    good = usable(flags)
    flagged = good & (flags != 0)
    wall, prevalence = manifest.get("wall_seconds"), manifest.get("settings.prevalence")
    speed = f" ({len(flags) / wall:.3g} images/s)" if wall else ""
    facts = {
        "Asked": f"emeraldcut {manifest.get('command', '')}",
        "Images": f"{len(flags):,}",
        "Usable": f"{good.sum():,}",
        "Of these flagged": f"{flagged.sum():,}",
        "With a careful look": _careful(manifest, len(flags)),
        "Network": manifest.get("settings.network"),
        "Reference": ", ".join(manifest.get("settings.reference") or []),
        "Prevalence": None if prevalence is None else percent(prevalence),
    }
    return fact_list(facts | made_by(manifest, speed))


def _careful(manifest: dict[str, Any], images: int) -> str | None:
    """How many images had the careful look, and how far down the list that makes no difference; None if all had it."""
    careful = manifest.get("careful", images)
    if careful == images:
        return None
    return f"{careful:,}; the first {manifest['sure_ranks']:,} are as if all had had it"


def _notes(contents: Contents) -> str:
    """What the run itself has to say, from `notes.json`."""
    notes = contents.notes
    if not notes:
        return ""
    parts = [f"<h2>{escape(str(notes['title']))}</h2>" if notes.get("title") else ""]
    parts += [f"<p>{escape(str(paragraph))}</p>" for paragraph in notes.get("paragraphs", [])]
    if notes.get("table"):
        table = notes["table"]
        columns = [escape(str(name)) for name in table["columns"]]
        rows = [[escape(str(value)) for value in row] for row in table["rows"]]
        parts.append(table_of(columns, rows, escape(table.get("caption", ""))))
    parts += [_note_figure(contents.folder, figure) for figure in notes.get("figures", [])]
    return f"<section class='note'>{''.join(parts)}</section>"


def _note_figure(folder: Path, figure: dict[str, str]) -> str:
    """A picture of the run folder, put into the page; only its caption if the file is not there."""
    path, caption = (folder / figure["file"]).resolve(), escape(figure.get("caption", ""))
    image = ""
    if path.is_file() and path.is_relative_to(folder.resolve()):
        kind = mimetypes.guess_type(path.name)[0] or "image/png"
        image = f"<img src='{data_url(path.read_bytes(), kind)}' alt='{caption}'>"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _match(contents: Contents) -> str:
    """The best candidate beside the reference that it is most like."""
    if not contents.best:
        return ""
    best = contents.best[0]
    reference = contents.reference_of(best)
    parts = [_pair_card(best, "Best candidate")]
    if reference is not None:
        parts.append(_pair_card(reference, "Its reference"))
    similarity = number(best.row, "similarity")
    alike = "" if similarity is None or reference is None else f" Their similarity is {decimal(similarity, 2)}."
    return (
        f"<section id='match'><h2>The best match</h2><p>Left on the sky, right in the galaxy's own frame, "
        f"where every ellipse is a circle and a rectangle is a square.{alike} Point at a picture to hide the "
        f"lines.</p>"
        f"<div class='pair'>{''.join(parts)}</div></section>"
    )


def _pair_card(galaxy: GalaxyPictures, title: str) -> str:
    """One of the two galaxies of the best match."""
    name = escape(text(galaxy.row, "id"))
    return (
        f"<article class='card'><header><h3>{title}: <span class='id'>{name}</span></h3></header>"
        f"<div class='looks even'>{cutout(galaxy)}{framed(galaxy)}</div></article>"
    )


def _candidates(contents: Contents) -> str:
    """A card for each of the best candidates."""
    if not contents.best:
        words = "There is no candidate with a score and an image."
        return f"<section id='candidates'><h2>Candidates</h2><p>{words}</p></section>"
    links = f"<a href='{CANDIDATES}'>{CANDIDATES}</a>"
    if (contents.folder / LISTED).exists():
        links += f", the first of them also in <a href='{LISTED}'>{LISTED}</a>"
    shown = {int(galaxy.row["rank"]) for galaxy in contents.best}
    cards = "".join(
        card(galaxy, found, contents.table, shown)
        for galaxy, found in zip(contents.best, contents.comparisons, strict=True)
    )
    return (
        f"<section id='candidates'><h2>The best {counted(len(contents.best), 'candidate')}</h2>"
        f"<p>In order of falling score, of {counted(len(contents.ranks), 'image')}; all rows are in "
        f"{links}. {CARD_WORDS}</p><div class='cards'>{cards}</div></section>"
    )
