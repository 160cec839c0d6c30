"""A run with its verdicts, and the data of each page of the review, as JSON."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table

from emeraldcut.data import ImageSet, describe_columns
from emeraldcut.errors import UsageError
from emeraldcut.images import read_images
from emeraldcut.images.source_images import SourceImages
from emeraldcut.report.figures.pictures import GalaxyPictures, galaxy_pictures
from emeraldcut.review.agreement import agreement, compared
from emeraldcut.review.cards import CONTEXT_RADII, card
from emeraldcut.review.order import ORDERS, Order
from emeraldcut.review.verdicts import UNSURE, VERDICTS, Entry, Verdicts
from emeraldcut.runs import read_manifest
from emeraldcut.runs.run import MANIFEST
from emeraldcut.screening.two_passes import BEST, CANDIDATES
from emeraldcut.settings import Settings, setting
from emeraldcut.tables import read_table
from emeraldcut.tables.files import RAW_HELP

NEEDED_COLUMNS = ("id", "rank", "score")  # of the candidates
LOG = "verdicts.sqlite"  # in the run's folder
REMEMBERED = 20  # a candidate is shown a second time after at least this many others
PAGE = 48  # candidates on a page of the grid
SHOW = ("all", "unjudged", *VERDICTS)
CARDS_KEPT = 2000  # in memory, about 15 kB each
LATEST = 50  # entries on the page of results


@dataclass(frozen=True, kw_only=True)
class ReviewSettings(Settings):
    """How candidates are judged, and whether to import or export verdicts instead of serving the page."""

    port: int = setting(8642, "port of the page; 0: any free port", at_least=0, at_most=65535)
    images: str | None = setting(None, "where the images are now, if they were moved after the run")
    refresh: int = setting(
        5, "number of verdicts after which the suggested order is updated", at_least=1, at_most=1_000_000
    )
    repeats: float = setting(
        0.05,
        "fraction of candidates that are shown a second time, unannounced, to measure consistency",
        at_least=0,
        at_most=0.5,
    )
    static: bool = setting(False, "write a folder that opens from disk instead of serving a page")
    number: int = setting(200, "number of candidates in that folder (with --static)", at_least=1, at_most=100_000)
    import_: tuple[str, ...] = setting((), "import the verdicts of these files, separated by commas")
    export: str | None = setting(None, "write the candidates with their verdicts to this table")
    raw: bool = setting(False, RAW_HELP)


class ReviewedRun:
    """A finished run, its log of verdicts, and the order of its candidates.

    It can be used by several threads. Close it at the end.

    Raises
    ------
    ValueError
        The folder has no finished run, or the run has no candidates.
    """

    def __init__(self, folder: str | Path, settings: ReviewSettings = ReviewSettings(), *, seed: int = 0) -> None:
        self.folder, self.settings, self._seed = Path(folder), settings, seed
        if not (self.folder / MANIFEST).exists() or not (self.folder / CANDIDATES).exists():
            raise UsageError(
                f"'{folder}' is not a finished run of `screen` or `demo` (no {MANIFEST}, or no {CANDIDATES})."
            )
        self.manifest = read_manifest(self.folder)
        self.table = read_table(self.folder / CANDIDATES)
        if lacking := [name for name in NEEDED_COLUMNS if name not in self.table.colnames]:
            raise UsageError(
                f"'{self.folder / CANDIDATES}' lacks the column '{lacking[0]}'; a review needs candidates as `screen` "
                "writes them."
            )
        self._ids = [str(name) for name in self.table["id"]]
        self._rows = {name: row for row, name in reversed(list(enumerate(self._ids)))}
        self.source_images = self._find_source_images()
        best = self.folder / BEST
        self._best = read_images(best) if (best / MANIFEST).exists() else None
        self.verdicts = Verdicts(self.folder / LOG)
        self.order = Order(self.table)
        self._drawing, self._learning = Lock(), Lock()
        self._n_learned = -1  # entries of the log that the order was learned from
        self.card = lru_cache(CARDS_KEPT)(self._card)

    def close(self) -> None:
        """Closes the files of the images and the log."""
        if self.source_images is not None:
            self.source_images.close()
        self.verdicts.close()

    def _find_source_images(self) -> SourceImages | None:
        """The images that were screened; None if they cannot be found. The run itself has the best ones."""
        roots = (self.folder.parent, self.folder)
        try:
            return SourceImages.of_run(self.table, self.manifest, moved_to=self.settings.images, roots=roots)
        except FileNotFoundError:
            if self.settings.images:
                raise
            return None

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What every page needs: `run`, what was screened; `candidates`, how many; and `key`.

        A browser keeps verdicts that are not sent yet under the key of their run.
        """
        source = Path(str(self.manifest.get("input_1", self.folder.resolve())))
        key = sha256("\n".join([str(self.manifest.get("date_utc")), *self._ids]).encode()).hexdigest()[:16]
        return {"run": source.name, "candidates": len(self), "key": key}

    def __len__(self) -> int:
        return len(self.table)

    # --- one candidate

    def _card(self, row: int) -> dict[str, Any]:
        """The card of a row of the candidates' table; IndexError if there is no such row."""
        if not 0 <= row < len(self):
            raise IndexError(f"there are candidates 0 to {len(self) - 1}; received {row}.")
        with self._drawing:
            return {"row": row, **card(self.table[row], self._pictures(row))}

    def _pictures(self, row: int) -> GalaxyPictures | None:
        pixels = np.zeros((0, 0)) if self.source_images is None else self.source_images[row]
        if pixels.size == 0 and self._best is not None:
            kept = np.flatnonzero(self._best.table["id"] == self._ids[row])
            pixels = self._best.pixels[kept[0]] if len(kept) else pixels
        shown = galaxy_pictures(ImageSet([pixels], self.table[row : row + 1]), CONTEXT_RADII)
        return shown[0] if shown else None

    # --- pages

    def judge(self, reviewer: str, order: str = ORDERS[0], count: int = 20, skip: Iterable[int] = ()) -> dict[str, Any]:
        """The next candidates for a reviewer.

        `queue` has their `row`, and `again` if they are shown a second time. `recent` are the last verdicts of the
        reviewer, oldest first, and `progress` is that of the reviewer. Rows in `skip` are left out.
        """
        self.verdicts.refresh()
        said = self.verdicts.said("verdict", reviewer)
        again = self.verdicts.said("again", reviewer)
        left = self._left(said)
        skipped = [row for row in skip if 0 <= row < len(self)]
        left[skipped] = False
        queue: list[dict[str, Any]] = [{"row": row, "again": False} for row in self.order.next(order, left, count)]
        known = [self._rows[name] for name in list(said)[:-REMEMBERED] if name not in again and name in self._rows]
        old = [row for row in known if row not in skipped]
        queue = self._with_repeats(queue, old, len(said) + len(again) + len(skipped))
        notes = self.verdicts.said("note", reviewer)
        for item in queue:
            item["id"] = self._ids[item["row"]]
            item["note"] = "" if item["again"] else notes.get(item["id"], "")
        recent = [
            {"key": entry.key, "row": self._rows[entry.id], "id": entry.id, "verdict": entry.value,
             "again": entry.again, "note": notes.get(entry.id, "")}
            for entry in self.verdicts.recent(reviewer, LATEST) if entry.id in self._rows
        ]  # fmt: skip
        return {"order": order, "queue": queue, "recent": recent, "progress": self.progress(reviewer)}

    def _left(self, said: Iterable[str]) -> np.ndarray:
        """True (n,) for candidates that are not in `said`."""
        left = np.ones(len(self), dtype=bool)
        left[[self._rows[name] for name in said if name in self._rows]] = False
        return left

    def _with_repeats(self, queue: list[dict], old: list[int], n_shown: int) -> list[dict]:
        """The queue with a candidate of `old`, drawn with the seed, at every 1 / repeats-th place."""
        if not self.settings.repeats:
            return queue
        every, old = round(1 / self.settings.repeats), list(old)
        mixed: list[dict] = []
        for item in queue:
            if (n_shown + len(mixed) + 1) % every == 0 and old:
                draw = np.random.default_rng([self._seed, n_shown + len(mixed)])
                mixed.append({"row": old.pop(int(draw.integers(len(old)))), "again": True})
            mixed.append(item)
        return mixed

    def progress(self, reviewer: str) -> dict[str, Any]:
        """How many candidates a reviewer has judged and found rectangular, and how many verdicts the order knows."""
        said = self.verdicts.said("verdict", reviewer)
        return {
            "judged": len(said),
            "of": len(self),
            "rectangular": sum(value == VERDICTS[0] for value in said.values()),
            "learned": self.order.n_verdicts,
        }

    def grid(self, reviewer: str, order: str = "rank", show: str = "all", page: int = 1) -> dict[str, Any]:
        """A page of the grid of candidates, those of `show` only: a verdict of the reviewer, or unjudged."""
        self.verdicts.refresh()
        said, notes = self.verdicts.said("verdict", reviewer), self.verdicts.said("note", reviewer)
        rows = self.order.all(order)
        if show != "all":
            wanted = self._left(name for name, value in said.items() if show in ("unjudged", value))
            rows = rows[wanted[rows] == (show == "unjudged")]
        pages = max(-(-len(rows) // PAGE), 1)
        page = min(max(page, 1), pages)
        shown = rows[(page - 1) * PAGE : page * PAGE].tolist()
        items = [{"row": row, "rank": int(self.table["rank"][row]), "id": self._ids[row],
                  "verdict": said.get(self._ids[row]), "note": notes.get(self._ids[row], "")}
                 for row in shown]  # fmt: skip
        return {"order": order, "show": show, "page": page, "pages": pages, "candidates": len(rows), "items": items,
                "progress": self.progress(reviewer)}  # fmt: skip

    def results(self) -> dict[str, Any]:
        """Verdicts and agreement of all reviewers, disputed candidates and the latest entries."""
        self.verdicts.refresh()
        votes, notes = self.verdicts.votes(), self.verdicts.notes()
        sides = {name: {who: "yes" if word == VERDICTS[0] else "no" for who, word in said.items()}
                 for name, said in votes.items()}  # fmt: skip
        disputed: list[dict[str, Any]] = [
            {"id": name, "row": self._rows.get(name), "votes": said, "notes": notes.get(name, {})}
            for name, said in votes.items() if len(set(said.values())) > 1
        ]  # fmt: skip
        disputed.sort(key=lambda item: len(self) if item["row"] is None else item["row"])
        return {
            "candidates": len(self),
            "judged": len(votes),
            "reviewers": [self._reviewer(name) for name in self.verdicts.reviewers],
            "agreement": {"all verdicts": agreement(votes), "rectangular or not": agreement(sides)},
            "disputed": disputed[:500],
            "latest": [{**dataclasses.asdict(entry), "row": self._rows.get(entry.id)}
                       for entry in self.verdicts.entries[: -LATEST - 1 : -1]],
        }  # fmt: skip

    def _reviewer(self, name: str) -> dict[str, Any]:
        """How often a reviewer gave each verdict, and how consistent the reviewer is."""
        said, again = self.verdicts.said("verdict", name), self.verdicts.said("again", name)
        counts = Counter(said.values())
        both = [(said[key], value) for key, value in again.items() if key in said]
        return {
            "name": name,
            "judged": len(said),
            "counts": {word: counts[word] for word in VERDICTS},
            "repeats": compared(both) if both else None,
        }

    # --- verdicts

    def add(self, entries: Iterable[Any]) -> list[Entry]:
        """Checks entries, adds them to the log, and updates the suggested order when it is due.

        Raises ValueError if one of them is not valid or not of a candidate of this run; then none is added.
        """
        checked = [Entry.checked(entry) for entry in entries]
        unknown = [entry.id for entry in checked if entry.id not in self._rows]
        if unknown:
            raise UsageError(
                f"verdicts must be of candidates of this run; received {len(unknown)} of others, such as "
                f"{unknown[0][:200]!r}."
            )
        self.verdicts.add(checked)
        if len(self.verdicts.entries) - max(self._n_learned, 0) >= self.settings.refresh:
            self.learn_soon()
        return checked

    def learn_soon(self) -> Thread:
        """Updates the suggested order in a thread of its own."""
        thread = Thread(target=self.learn, daemon=True)
        thread.start()
        return thread

    def learn(self) -> None:
        """Updates the suggested order from all verdicts, unless it is up to date or being updated."""
        if not self._learning.acquire(blocking=False):
            return
        try:
            n_entries = len(self.verdicts.entries)
            if n_entries == self._n_learned:
                return
            rows, fractions = [], []
            for name, said in self.verdicts.votes().items():
                decided = [word == VERDICTS[0] for word in said.values() if word != UNSURE]
                if decided and name in self._rows:
                    rows.append(self._rows[name])
                    fractions.append(sum(decided) / len(decided))
            self.order.learn(np.array(rows, dtype=int), np.array(fractions))
            self._n_learned = n_entries
        finally:
            self._learning.release()

    def joined(self) -> Table:
        """The candidates with their verdicts: `verdict`, `verdict_fraction`, `verdicts`, `reviewers`, `review_notes`.

        The verdict is the most frequent one, or "unsure" if two are equally frequent; it is masked without verdicts.
        """
        votes, notes = self.verdicts.votes(), self.verdicts.notes()
        table, n = self.table.copy(), len(self)
        words, names, texts = (np.full(n, "", dtype=object) for _ in range(3))
        fractions, counts = np.zeros(n), np.zeros(n, dtype=np.int64)
        for row, name in enumerate(self._ids):
            said = votes.get(name, {})
            most = Counter(said.values()).most_common(2)
            if most:
                tied = len(most) == 2 and most[0][1] == most[1][1]
                words[row] = UNSURE if tied else most[0][0]
                counts[row] = len(said)
                fractions[row] = most[0][1] / len(said)
                names[row] = ", ".join(said)
            texts[row] = "; ".join(f"{who}: {text}" for who, text in notes.get(name, {}).items())
        none = counts == 0
        table["verdict"] = MaskedColumn(words, mask=none)
        table["verdict_fraction"] = MaskedColumn(fractions, mask=none)
        table["verdicts"] = counts
        table["reviewers"] = MaskedColumn(names, mask=none)
        table["review_notes"] = MaskedColumn(texts, mask=texts == "")
        return describe_columns(table)
