"""The page of a run of `screen` or `demo`: its conclusion, candidates as cards, plots and flags."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data import ImageSet, usable
from emeraldcut.errors import UsageError
from emeraldcut.images import read_images
from emeraldcut.images.source_images import SourceImages
from emeraldcut.report.cards import card, data_url, decimal, in_own_frame, on_sky, with_error
from emeraldcut.report.explorer import explorer
from emeraldcut.report.figures import galleries, plots
from emeraldcut.report.figures.comparison import TERMS, Comparison, compare_with_references
from emeraldcut.report.figures.pictures import GalaxyPictures, galaxy_pictures, number, text, with_data
from emeraldcut.report.html import Listing, counted, made_by, page, percent
from emeraldcut.report.pages.common import all_images, flag_counts
from emeraldcut.runs import read_manifest
from emeraldcut.runs.reading import read_json
from emeraldcut.runs.run import MANIFEST
from emeraldcut.screening.two_passes import BEST, CANDIDATES, LISTED, REFERENCES
from emeraldcut.tables.arrow import Columns, rows_of

NOTES = "notes.json"
SAMPLED = 50_000  # rows that the plots are of, evenly along the ranks
HARMONICS = [f"{name}{end}" for name in TERMS for end in ("", "_err")]
# Columns of the rows that are shown one by one.
COLUMNS = ["id", "axis_ratio", "axis_ratio_err", *HARMONICS, "class", "rank", "score", "flag", "p_rectangular"]
COLUMNS += ["similarity_p", "trusted"]


@dataclass(frozen=True)
class Contents:
    """What a finished run folder holds.

    Attributes
    ----------
    ranks : Columns
        The columns of all images, which are read one at a time.
    table : Table
        The columns that the page shows row by row, of at most `SAMPLED` images, the best of them first.
    best, references : lists of GalaxyPictures
        The best candidates and the references as the report shows them.
    comparisons : list of Comparison
        Of each of the best.
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
        """The most similar reference of a candidate, if the run has its image."""
        name = text(galaxy.row, "reference")
        return next((other for other in self.references if text(other.row, "id") == name), None)


def screen_page(folder: Path) -> str:
    """The page of a run of `screen` or `demo`; also draws its best candidates. See `report`."""
    contents = _read(folder)
    if contents.best:
        best, pictures = contents.best[0], folder / "figures"
        galleries.draw_gallery(contents.best, contents.references, pictures / "best.png")
        galleries.draw_best_match(best, contents.reference_of(best), pictures / "best_match.png")
    return _page(contents)


def _read(folder: Path) -> Contents:
    """The contents of a run folder; ValueError if it has no candidates."""
    if not (folder / CANDIDATES).exists():
        raise UsageError(f"report expects a run of `screen` or `demo`; '{folder}' has no {CANDIDATES}.")
    best_set, reference_set = (
        read_images(folder / name) if (folder / name / MANIFEST).exists() else None for name in (BEST, REFERENCES)
    )
    ranks = Columns(folder / CANDIDATES)
    best: list[GalaxyPictures] = []
    found: list[Comparison] = []
    rows = np.unique(np.linspace(0, len(ranks) - 1, min(len(ranks), SAMPLED)).astype(int))
    table = rows_of(folder / CANDIDATES, rows, COLUMNS)
    if best_set is not None:
        scored = np.isfinite(plots.column(best_set.table, "score"))
        kept = with_data(_in_colour(best_set[scored], read_manifest(folder), folder))[: galleries.SHOWN]
        best, found = galaxy_pictures(kept), compare_with_references(kept, reference_set, table)
    references = [] if reference_set is None else galaxy_pictures(reference_set)
    notes = read_json(folder / NOTES) if (folder / NOTES).exists() else {}
    return Contents(folder, read_manifest(folder), ranks, table, best, found, references, notes)


def _in_colour(images: ImageSet, manifest: dict[str, Any], folder: Path) -> ImageSet:
    """The images of a run, pictures and several bands with their colours as long as the files are where they were."""
    if not {"stretched", "bands"} & set(images.table.colnames):  # neither pictures nor several bands
        return images
    try:
        source_images = SourceImages.of_run(images.table, manifest, roots=(folder.parent, folder))
    except (OSError, LookupError, ValueError):
        return images
    found = source_images.shown(range(len(images)), images.table).colours or [None] * len(images)
    source_images.close()
    fitting = zip(found, images.pixels, strict=True)
    images.colours = [one if one is not None and one.shape[:2] == pixels.shape else None for one, pixels in fitting]
    return images


def _page(contents: Contents) -> str:
    """The whole page."""
    source = contents.manifest.get("input_1", contents.folder.resolve().name)
    best, reference = contents.best, contents.reference_of(contents.best[0]) if contents.best else None
    similarity = None if reference is None else number(best[0].row, "similarity")
    shown = {int(galaxy.row["rank"]) for galaxy in best}
    return page(
        "screen.html",
        f"Rectangular galaxies in {Path(str(source)).name}",
        contents.manifest,
        contents.folder,
        images=len(contents.ranks),
        first=_first(contents),
        clear=_clear(contents),
        threshold=plots.CLEAR_SCORE,
        details=_details(contents),
        facts=_facts(contents),
        notes=_notes(contents),
        pair=_pair(best[:1], "Best candidate") + _pair([reference] if reference else [], "Its reference"),
        similarity=None if similarity is None else decimal(similarity, 2),
        best=[card(*both, contents.table, shown) for both in zip(best, contents.comparisons, strict=True)],
        rows=explorer(contents.ranks, sorted(shown)),
        files=[CANDIDATES] + [LISTED] * (contents.folder / LISTED).exists(),
        plots=all_images(contents.ranks, sorted(shown), contents.table),
        flags=flag_counts(contents.ranks),
    )


# --- sections


def _first(contents: Contents) -> dict[str, str] | None:
    """The best candidate for the conclusion, one that can be trusted if there is any; None if nothing has a score."""
    table = contents.table
    if len(table) == 0 or number(table[0], "score") is None:
        return None
    row = contents.best[0].row if contents.best else table[int(np.argmax(_shown(table, contents.manifest)))]
    return {
        "id": text(row, "id"),
        "link": f"#rank-{int(row['rank'])}" if contents.best else "",
        "order": f"score {decimal(number(row, 'score'), 2)}",
        "a4": "" if number(row, "a4") is None else with_error(row, "a4"),
    }


def _shown(table: Table | Columns, manifest: dict[str, Any]) -> np.ndarray:
    """Which rows (n,) the page may show: those that can be trusted, or all if that was asked for or is not known."""
    if "trusted" not in table.colnames or manifest.get("settings.include_untrusted"):
        return np.ones(len(table), dtype=bool)
    return np.asarray(table["trusted"], dtype=bool)


def _clear(contents: Contents) -> int:
    """How many of the images that the page may show have a score above its threshold."""
    shown = _shown(contents.ranks, contents.manifest)
    return int((shown & (plots.column(contents.ranks, "score") > plots.CLEAR_SCORE)).sum())


def _details(contents: Contents) -> list[str]:
    """Sentences about the whole list, such as the expected numbers; none if nothing could be scored."""
    if _first(contents) is None:
        return []
    manifest, clear = contents.manifest, _clear(contents)
    sentences = []
    if clear:
        verb = "scores" if clear == 1 else "score"
        sentences.append(f"{counted(clear, 'image')} {verb} above {plots.CLEAR_SCORE}{_of_these(manifest)}.")
    if manifest.get("found_untrusted"):
        sentences.append(
            f"Not shown: {counted(manifest['found_untrusted'], 'image')} above it whose quality flags say not to trust "
            "them (--include-untrusted shows them)."
        )
    expected, prevalence = manifest.get("expected_rectangular"), manifest.get("settings.prevalence")
    if expected is None:
        return sentences
    among = f" at the stated prevalence of {percent(prevalence)}" if prevalence is not None else ""
    sentences.append(f"The scores of all images{among} add up to {_about(expected)} rectangular galaxies.")
    ranks = manifest.get("ranks_to_inspect")
    if ranks:
        half, most = (f"{ranks[fraction]:,}" for fraction in ("0.5", "0.9"))
        sentences.append(f"The top {half} contain half of that sum, the top {most} contain 90 %.")
    true, false = manifest.get("forecast_true"), manifest.get("forecast_false")
    if true is not None and false is not None:
        sentences.append(
            f"Forecast before looking at the images: at that prevalence, and if they are like the network's held-out "
            f"galaxies of the same S/N, {_between(true)} rectangular galaxies and {_between(false)} others get "
            "p(rectangular) ≥ 0.5 (68 % intervals)."
        )
    return sentences


def _of_these(manifest: dict[str, Any]) -> str:
    """How many of those found are rectangular by their scores; empty for a run that does not say it."""
    true = manifest.get("expected_true")
    if true is None:
        return ""
    return f"; by their scores {_between(true)} of them should be rectangular (68 % interval)"


def _about(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def _between(interval: list[float]) -> str:
    """A mean with its interval."""
    mean, low, high = map(_about, interval)
    return f"about {mean} ({low} to {high})"


def _facts(contents: Contents) -> dict[str, Any]:
    """The command, its input and its settings."""
    manifest, flags = contents.manifest, np.asarray(contents.ranks["flag"], dtype=np.int64)
    good = usable(flags)
    wall, prevalence = manifest.get("wall_seconds"), manifest.get("settings.prevalence")
    speed = f" ({len(flags) / wall:.3g} images/s)" if wall else ""
    facts = {
        "Command": f"emeraldcut {manifest.get('command', '')}",
        "Images": f"{len(flags):,}",
        "Usable": f"{good.sum():,}",
        "Usable but flagged": f"{(good & (flags != 0)).sum():,}",
        "Careful pass": _careful(manifest, len(flags)),
        "Network": manifest.get("settings.network"),
        "Reference": ", ".join(manifest.get("settings.reference") or []),
        "Prevalence": None if prevalence is None else percent(prevalence),
    }
    for precision, limit in (manifest.get("thresholds") or {}).items():
        facts[f"For precision {precision}"] = f"score ≥ {limit:.2f}: {counted(manifest['above'][precision], 'image')}"
    return facts | made_by(manifest, speed)


def _careful(manifest: dict[str, Any], images: int) -> str | None:
    """How many images had the careful pass, and down to which rank that is enough; None if all had it."""
    careful = manifest.get("careful", images)
    if careful == images:
        return None
    return f"{careful:,} images; the top {manifest['sure_ranks']:,} are the same as if all had had it"


def _notes(contents: Contents) -> dict[str, Any] | None:
    """The notes of the run, from `notes.json`."""
    notes = contents.notes
    if not notes:
        return None
    table = notes.get("table")
    return {
        "title": str(notes.get("title") or ""),
        "paragraphs": [str(paragraph) for paragraph in notes.get("paragraphs", [])],
        "table": table and Listing([str(name) for name in table["columns"]],
                                   [[str(value) for value in row] for row in table["rows"]]),
        "caption": table.get("caption", "") if table else "",
        "figures": [_note_figure(contents.folder, figure) for figure in notes.get("figures", [])],
    }  # fmt: skip


def _note_figure(folder: Path, figure: dict[str, str]) -> dict[str, str]:
    """A picture of the run folder as a data URL; only its caption if there is no such file."""
    path, source = (folder / figure["file"]).resolve(), ""
    if path.is_file() and path.is_relative_to(folder.resolve()):
        source = data_url(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "image/png")
    return {"src": source, "caption": figure.get("caption", "")}


def _pair(galaxies: list[GalaxyPictures], title: str) -> list[dict[str, Any]]:
    """The pictures of the best candidate, or of its reference; none if the run lacks it."""
    return [{"title": title, "id": text(galaxy.row, "id"), "sky": on_sky(galaxy), "framed": in_own_frame(galaxy)}
            for galaxy in galaxies]  # fmt: skip
