"""Verdicts: who gave which candidate which verdict, in a log to which entries are only added."""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from emeraldcut.errors import UsageError, WorkError

SHAPES = ("rectangular", "oval", "obround", "other")
UNSURE = "unsure"
VERDICTS = (*SHAPES, UNSURE)
KINDS = ("verdict", "note", "undo")  # of entries
LOCKED_S = 10  # to wait for another program that has the file, trying again and again
LONGEST = {"key": 64, "reviewer": 80, "note": 2000}  # characters

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL UNIQUE,
  time TEXT NOT NULL,
  reviewer TEXT NOT NULL,
  id TEXT NOT NULL,
  what TEXT NOT NULL CHECK (what IN ('verdict', 'note', 'undo')),
  value TEXT NOT NULL,
  again INTEGER NOT NULL
);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'rows are only added'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'rows are only added'); END;
"""


class Locked(WorkError):
    """Another program has locked the log for longer than we wait."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the log.

    Attributes
    ----------
    key : str
        Chosen by the page that made the entry, so that sending it twice adds it once.
    time : str
        When it was made, ISO 8601 in UTC.
    reviewer, id : str
        The name of the reviewer, and the id of the candidate.
    what, value : str
        "verdict" with one of the verdicts of the review; "note" with a text that replaces an earlier one; or "undo"
        with the key of the reviewer's entry to undo.
    again : bool
        Whether the candidate was shown a second time, unannounced. The first verdict counts, and this one measures
        consistency.
    """

    key: str
    time: str
    reviewer: str
    id: str
    what: str
    value: str
    again: bool = False

    @classmethod
    def checked(cls, given: Any, verdicts: tuple[str, ...] = VERDICTS) -> Entry:
        """An entry from a page or a file; ValueError if it is not valid, or its verdict none of `verdicts`."""
        if not isinstance(given, Mapping) or not set(given) <= set(NAMES):
            raise UsageError(f"an entry has the keys {', '.join(NAMES)}; received {str(given)[:200]!r}.")
        values = {"time": now(), **given}
        texts: dict[str, Any] = {name: values.get(name) for name in NAMES if name != "again"}
        for name, text in texts.items():
            if not isinstance(text, str) or not _storable(text):
                raise UsageError(f"'{name}' of an entry must be text; received {str(text)[:200]!r}.")
        if not re.fullmatch(rf"[A-Za-z0-9-]{{8,{LONGEST['key']}}}", texts["key"]):
            raise UsageError(f"the key of an entry is 8 to 64 letters and digits; received {texts['key'][:200]!r}.")
        if not 1 <= len(texts["reviewer"].strip()) <= LONGEST["reviewer"]:
            raise UsageError(f"a reviewer's name has 1 to 80 characters; received {len(texts['reviewer'])}.")
        if texts["what"] not in KINDS:
            raise UsageError(f"an entry is a verdict, a note or an undo; received {texts['what'][:200]!r}.")
        if texts["what"] == "verdict" and texts["value"] not in verdicts:
            raise UsageError(f"a verdict is one of {', '.join(verdicts)}; received {texts['value'][:200]!r}.")
        if len(texts["value"]) > LONGEST["note"]:
            raise UsageError(f"a note has at most 2000 characters; received {len(texts['value'])}.")
        try:
            texts["time"] = datetime.fromisoformat(texts["time"]).astimezone(UTC).isoformat(timespec="milliseconds")
        except (ValueError, OverflowError):
            raise UsageError(f"the time of an entry is ISO 8601; received {texts['time'][:200]!r}.") from None
        texts["reviewer"] = texts["reviewer"].strip()
        return cls(**texts, again=values.get("again") is True)


NAMES = tuple(field.name for field in fields(Entry))


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _storable(text: str) -> bool:
    """Whether SQLite can store `text`; JSON may contain half a surrogate pair, or a zero."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


class Verdicts:
    """The log in an SQLite file, and the verdicts and notes that count after all entries.

    Several processes may add to one file. An entry is on disk when `add` returns.

    Examples
    --------
    >>> log = Verdicts(":memory:")
    >>> log.add([Entry(key="k1234567", time=now(), reviewer="Ann", id="g1", what="verdict", value="oval")])
    1
    >>> log.said("verdict", "Ann")
    {'g1': 'oval'}
    >>> log.close()
    """

    def __init__(self, path: str | Path) -> None:
        self._lock, self._path = Lock(), path
        with self._explained():
            self._connection = sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None, check_same_thread=False)
        self.entries: list[Entry] = []
        self._read = 0  # number of the last row that is in `entries`
        self._by_key: dict[str, Entry] = {}
        self._undone: set[tuple[str, str]] = set()  # reviewer, key
        # kind -> reviewer -> id -> entries that stand, oldest first; a repeated verdict is of the kind "again"
        self._standing: dict[str, dict[str, dict[str, list[Entry]]]] = {
            kind: defaultdict(dict) for kind in ("verdict", "again", "note")
        }
        try:
            with self._explained():
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.executescript(_SCHEMA)
            self.refresh()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What SQLite says of its file as an error with a sentence."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of damaged texts
            code = getattr(error, "sqlite_errorname", "") or ""
            if "BUSY" in code or "LOCKED" in code:
                raise Locked(
                    f"another program has locked '{self._path}' for more than {LOCKED_S} s; close it, then try again."
                ) from error
            if "READONLY" in code or "CANTOPEN" in code or "PERM" in code:
                why = "cannot be written to; verdicts are kept in it. Make it and its folder writable"
            elif "FULL" in code or "IOERR" in code:
                why = f"could not be written or read ({error}); make room on its disk, or check it"
            else:
                why = f"is damaged, or is no log of verdicts ({error}); move it away, or put a copy of it back"
            raise UsageError(f"'{self._path}' {why}.") from error

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def add(self, entries: Iterable[Entry]) -> int:
        """Adds the entries whose key is new, all of them or none; returns their number."""
        rows = [tuple(asdict(entry).values()) for entry in entries]
        order = f"INSERT OR IGNORE INTO log ({', '.join(NAMES)}) VALUES ({', '.join('?' * len(NAMES))})"
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")  # waits for whoever writes, up to `LOCKED_S`
            try:
                before = self._connection.total_changes
                self._connection.executemany(order, rows)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
            added = self._connection.total_changes - before
        self.refresh()
        return added

    def refresh(self) -> None:
        """Reads the entries that this and other processes have added."""
        question = f"SELECT number, {', '.join(NAMES)} FROM log WHERE number > ? ORDER BY number"
        with self._lock, self._explained():
            for number, *values in self._connection.execute(question, (self._read,)):
                known = dict(zip(NAMES, values, strict=True))
                texts = all(isinstance(value, str) for name, value in known.items() if name != "again")
                if not texts or known["what"] not in KINDS:
                    raise UsageError(f"'{self._path}' is damaged (row {number}); put a copy of it back.")
                entry = Entry(**known | {"again": bool(known["again"])})
                self.entries.append(entry)
                self._by_key[entry.key] = entry
                self._take_in(entry)
                self._read = number

    def _take_in(self, entry: Entry) -> None:
        if entry.what == "undo":
            self._undone.add((entry.reviewer, entry.value))
            undone = self._by_key.get(entry.value)
            if undone is None or undone.reviewer != entry.reviewer:
                return
            for standing in self._standing.values():
                rest = [e for e in standing[undone.reviewer].pop(undone.id, []) if e.key != undone.key]
                if rest:
                    standing[undone.reviewer][undone.id] = rest
        elif (entry.reviewer, entry.key) not in self._undone:
            kind = "again" if entry.again and entry.what == "verdict" else entry.what
            self._standing[kind][entry.reviewer].setdefault(entry.id, []).append(entry)

    @property
    def reviewers(self) -> list[str]:
        """All reviewers with a verdict that counts."""
        return sorted(name for name, said in self._standing["verdict"].items() if said)

    def said(self, kind: str, reviewer: str) -> dict[str, str]:
        """The entries of a reviewer that count, by id; `kind` is "verdict", "note", or "again" for repeats."""
        return {name: entries[-1].value for name, entries in list(self._standing[kind].get(reviewer, {}).items())}

    def recent(self, reviewer: str, count: int) -> list[Entry]:
        """The last `count` verdicts of a reviewer that count, including repeats, oldest first."""
        of = [e for e in self.entries if e.reviewer == reviewer and e.what == "verdict"]
        return [e for e in of if (reviewer, e.key) not in self._undone][-count:]

    def votes(self) -> dict[str, dict[str, str]]:
        """The verdict of each reviewer by id of the candidate."""
        return self._by_id("verdict")

    def notes(self) -> dict[str, dict[str, str]]:
        """The note of each reviewer who wrote one, by id of the candidate."""
        return {name: kept for name, notes in self._by_id("note").items()
                if (kept := {who: text for who, text in notes.items() if text})}  # fmt: skip

    def _by_id(self, kind: str) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for reviewer in sorted(self._standing[kind]):
            for name, value in self.said(kind, reviewer).items():
                found[name][reviewer] = value
        return dict(found)
