"""A run, or any table of images, with its verdicts, and the data of each page of the review, as JSON."""

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
from emeraldcut.frame import FrameSet, frame_galaxies
from emeraldcut.report.figures.comparison import residual_of
from emeraldcut.report.figures.pictures import Picture, galaxy_pictures, text
from emeraldcut.review.agreement import agreement, compared
from emeraldcut.review.cards import CONTEXT_RADII, card
from emeraldcut.review.order import ORDERS, Order
from emeraldcut.review.subject import subject
from emeraldcut.review.verdicts import UNSURE, Entry, Verdicts
from emeraldcut.settings import Settings, setting
from emeraldcut.tables.files import RAW_HELP

REMEMBERED = 20  # a candidate is shown a second time after at least this many others
PAGE = 48  # candidates on a page of the grid
CARDS_KEPT = 2000  # in memory, about 15 kB each
LATEST = 50  # entries on the page of results


@dataclass(frozen=True, kw_only=True)
class ReviewSettings(Settings):
    """How candidates are judged, and whether to import or export verdicts instead of serving the page."""

    port: int = setting(8642, "port of the page; 0: any free port", at_least=0, at_most=65535)
    images: str | None = setting(
        None,
        "where the images are, if they were moved after the run; of a table that names no files, a folder of images "
        "named as its ids, an image set, or a file with one image for each row",
    )
    classes: tuple[str, ...] = setting(
        (), "classes to choose from, the one that is searched for first (default: rectangular,oval,obround,other)"
    )
    reference: str | None = setting(
        None, "galaxy to show beside each candidate: leda074886 or an image (default: that of the run)", reads=True
    )
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
    """A finished run or a table of images, its log of verdicts, and the order of its candidates.

    It can be used by several threads. Close it at the end.

    Raises
    ------
    ValueError
        There is no finished run or table, or it has no candidates.
    """

    def __init__(self, source: str | Path, settings: ReviewSettings = ReviewSettings(), *, seed: int = 0) -> None:
        self.settings, self._seed = settings, seed
        self.subject = subject(source, settings.classes, settings.images, settings.reference)
        self.table, self.manifest = self.subject.table, self.subject.manifest
        self.log, self.words = self.subject.log, self.subject.verdicts
        self.show = ("all", "unjudged", *self.words)
        self._ids = [str(name) for name in self.table["id"]]
        self._rows = {name: row for row, name in reversed(list(enumerate(self._ids)))}
        self.source_images, self._best = self.subject.images, self.subject.best
        self.verdicts = Verdicts(self.log)
        self.order = Order(self.table, self.subject.score, self.subject.network)
        self._drawing, self._learning = Lock(), Lock()
        self._n_learned = -1  # entries of the log that the order was learned from
        self.card = lru_cache(CARDS_KEPT)(self._card)

    def close(self) -> None:
        """Closes the files of the images and the log."""
        if self.source_images is not None:
            self.source_images.close()
        self.verdicts.close()

    @cached_property
    def _references(self) -> tuple[FrameSet, list[str]] | None:
        """The references in their own frames, and their ids; None if there are none."""
        references = self.subject.references
        if references is None or not len(references):
            return None
        return frame_galaxies(references), [str(name) for name in references.table["id"]]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What every page needs: `run`, what was screened; `candidates`, how many; `verdicts` to choose from; `key`.

        A browser keeps verdicts that are not sent yet under the key of their run.
        """
        what = [str(self.manifest.get("date_utc")), *self._ids, *self.words]
        key = sha256("\n".join(what).encode("utf-8", "replace")).hexdigest()[:16]
        facts = {"run": self.subject.name, "candidates": len(self), "key": key}
        return facts | {"verdicts": self.words, "show": self.show}

    def __len__(self) -> int:
        return len(self.table)

    # --- one candidate

    def _card(self, row: int) -> dict[str, Any]:
        """The card of a row of the candidates' table; IndexError if there is no such row."""
        if not 0 <= row < len(self):
            raise IndexError(f"there are candidates 0 to {len(self) - 1}; received {row}.")
        with self._drawing:
            images = self._image(row)
            pictures = galaxy_pictures(images, CONTEXT_RADII)
            made = card(self.table[row], pictures[0] if pictures else None, self.words, *self._compared(images))
            return {"row": row, **made}

    def _image(self, row: int) -> ImageSet:
        """The image of a row, without pixels where it cannot be found."""
        own = self.table[row : row + 1]
        if self.source_images is not None:
            images = self.source_images.shown([row], own)
            if images.pixels[0].size:
                return images
        pixels = np.zeros((0, 0), np.float32)
        if self._best is not None:
            kept = np.flatnonzero(self._best.table["id"] == self._ids[row])
            pixels = self._best.pixels[kept[0]] if len(kept) else pixels
        return ImageSet([pixels], own)

    def _compared(self, images: ImageSet) -> tuple[str, Picture | None, Picture | None]:
        """The name of a candidate's reference, its picture, and that of the residual; None where there is none."""
        if self._references is None or not np.isfinite(images.pixels[0]).any():
            return "", None, None
        framed, names = self._references
        wanted = text(images.table[0], "reference")
        k = names.index(wanted) if wanted in names else 0
        frames = frame_galaxies(images)
        if frames.galaxies[0] is None or framed.galaxies[k] is None:
            return "", None, None
        return names[k], *residual_of(frames, 0, framed, k)

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
        """How many candidates a reviewer has judged, and found to be the first class, and how many the order knows."""
        said = self.verdicts.said("verdict", reviewer)
        return {
            "judged": len(said),
            "of": len(self),
            "found": sum(value == self.words[0] for value in said.values()),
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
        sides = {name: {who: "yes" if word == self.words[0] else "no" for who, word in said.items()}
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
            "agreement": {"all verdicts": agreement(votes), f"{self.words[0]} or not": agreement(sides)},
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
            "counts": {word: counts[word] for word in self.words},
            "repeats": compared(both) if both else None,
        }

    # --- verdicts

    def add(self, entries: Iterable[Any]) -> list[Entry]:
        """Checks entries, adds them to the log, and updates the suggested order when it is due.

        Raises ValueError if one of them is not valid or not of a candidate of this run; then none is added.
        """
        checked = [Entry.checked(entry, self.words) for entry in entries]
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
                decided = [word == self.words[0] for word in said.values() if word != UNSURE]
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
        table.remove_columns([name for name in self.subject.added if name != "id"])
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
