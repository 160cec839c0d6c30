"""Run: a folder with settings, results, and a manifest written last, so a run without one is unfinished."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emeraldcut.errors import UsageError
from emeraldcut.runs.endings import leave_if_imported_by_a_worker
from emeraldcut.runs.reading import read_json
from emeraldcut.runs.stamps import content_of, file_facts
from emeraldcut.runs.writing import write_text
from emeraldcut.settings import read_toml, to_toml

MANIFEST = "manifest.json"
LOCK = ".lock"
SETTINGS = "settings.toml"
PAGE = "report.html"  # of a finished run, written by `report`
Paths = Iterable[str | os.PathLike[str]]
MOST_NAMED, LONGEST_VALUE = 3, 80  # changes in a sentence, and letters of a value there
PACKAGES = ("numpy", "scipy", "astropy", "photutils", "openvino")


def _input_facts(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, see `file_facts`; of a folder how many files it has, and hashes of what they are."""
    try:
        if path.is_dir():
            number, digest, times = 0, hashlib.sha256(), hashlib.sha256()
            for number, (name, size, mtime_ns) in enumerate(_files(path), start=1):
                line = f"{name} {size}" if number == 1 else f"\n{name} {size}"
                digest.update(line.encode("utf-8", "surrogateescape"))
                times.update(b"%d " % mtime_ns)
            facts = {"names_sizes_sha256": digest.hexdigest(), "times_sha256": times.hexdigest()}
            return {"files": number, **facts}
        return dict(file_facts(path))
    except OSError as error:
        return {"error": error.strerror or str(error)}


def _files(folder: Path, before: str = "") -> Iterator[tuple[str, int, int]]:
    """Names, sizes and times of change (ns) of all files in a folder, in order, with one folder's list in memory."""
    with os.scandir(folder) as entries:
        listed = sorted(entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in entries)
    for name in listed:
        if name.endswith("/"):
            yield from _files(folder / name, before + name)
        elif (file := folder / name).is_file():
            found = file.stat()
            yield before + name, found.st_size, found.st_mtime_ns


def provenance(command: str, settings: Any = None, seed: int | None = None, inputs: Paths = ()) -> dict[str, Any]:
    """Where a result comes from, as one flat dict of JSON values.

    Parameters
    ----------
    command : str
        The verb, for instance "measure".
    settings : settings dataclass, tuple of them, or None
        Resolved settings; each becomes a key `settings.NAME`, and of those that name a file or folder which decides
        the result (`reads`) the hash of its content `settings.NAME_sha256`.
    seed : int or None
    inputs : iterable of str or Path
        Files and folders read; the n-th becomes `input_n`, with its size and SHA-256 (above 64 MiB of a sample, with
        the time of change; of a folder, the number of files and a hash of their names and sizes).
    """
    from importlib.metadata import PackageNotFoundError, version

    from emeraldcut import __version__

    facts: dict[str, Any] = {"program": "emeraldcut", "version": __version__, "command": command, "seed": seed}
    facts["date_utc"] = datetime.now(UTC).isoformat(timespec="seconds")
    for part in parts_of(settings):
        for item in dataclasses.fields(part):
            value = getattr(part, item.name)
            facts[f"settings.{item.name}"] = list(value) if isinstance(value, tuple) else value
        facts |= {f"settings.{name}_sha256": value for name, value in contents(part).items()}
    for number, path in enumerate(inputs, start=1):
        facts[f"input_{number}"] = os.fspath(path)
        facts |= {f"input_{number}_{key}": value for key, value in _input_facts(Path(path)).items()}
    facts["python"] = platform.python_version()
    facts["platform"] = f"{sys.platform} {platform.machine()}"
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            continue
    return facts


def contents(settings: Any) -> dict[str, list[str]]:
    """Hashes of the files and folders that settings name and that decide the result, by setting; names are passed over.

    Of those that do not exist, as the names of what ships with the program, there are none.
    """
    found: dict[str, list[str]] = {}
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name) if item.metadata.get("reads") else None
        names = value if isinstance(value, tuple) else (value,) if value else ()
        hashes = [content_of(Path(name)) for name in names if os.path.exists(name)]
        found |= {item.name: hashes} if hashes else {}
    return found


def parts_of(settings: Any) -> tuple[Any, ...]:
    """One settings object, several, or none, as a tuple."""
    return () if settings is None else settings if isinstance(settings, tuple) else (settings,)


def _cpu_seconds() -> float:
    """CPU time of this process and of the worker processes that have ended."""
    return sum(os.times()[:4])


@dataclass
class Run:
    """A folder of results. `start` it, write to `path(name)`, and `finish` it; only then is it complete.

    A path to its folder wherever one is expected: `read_images(run)`, `report(run)`.
    """

    folder: Path
    origin: dict[str, Any]
    _wall: float = field(default_factory=time.perf_counter, repr=False)
    _cpu: float = field(default_factory=_cpu_seconds, repr=False)

    @classmethod
    def start(
        cls,
        folder: str | Path,
        command: str,
        settings: Any = None,
        seed: int | None = None,
        inputs: Paths = (),
        overwrite: bool = False,
    ) -> Run:
        """Makes `folder` and writes the resolved settings to `settings.toml`.

        Raises FileExistsError if a finished run is there and `overwrite` is not set, or if another process is writing
        to it; with `overwrite` the manifest is removed first, so that a run that is cut short is not taken for the old
        one.
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(f"'{folder}' is a file; give the name of a folder to write to.")
        folder.mkdir(parents=True, exist_ok=True)
        lock(folder)
        manifest = folder / MANIFEST
        if manifest.exists():
            if not overwrite:
                unlock(folder)
                raise FileExistsError(f"'{folder}' holds a finished run; choose another folder or set --overwrite.")
            manifest.unlink()
        if settings is not None:
            write_text(folder / SETTINGS, "".join(to_toml(part) for part in parts_of(settings)))
        return cls(folder, provenance(command, settings, seed, inputs))

    def __fspath__(self) -> str:
        return os.fspath(self.folder)

    def __str__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"<Run: {self._said()}, '{self.folder}'>"

    def _said(self) -> str:
        done = (self.folder / MANIFEST).exists()
        return f"{self.origin.get('command', 'run')}: {'finished' if done else 'not finished'}"

    def _repr_html_(self) -> str:
        pages = sorted(self.folder.glob("*.html"))
        from emeraldcut.data.snippets import RUN, snippet  # with astropy, which takes time to import

        return snippet(RUN, words=self._said(), folder=str(self.folder), pages=pages)

    @property
    def manifest(self) -> dict[str, Any]:
        """What `finish` has written; FileNotFoundError before."""
        return read_manifest(self.folder)

    def path(self, name: str) -> Path:
        """The path of a result in the folder; folders on the way are made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self, **facts: Any) -> Path:
        """Writes `manifest.json`: provenance, wall and CPU seconds, and `facts`. To be called last."""
        manifest = dict(self.origin)
        manifest["wall_seconds"] = round(time.perf_counter() - self._wall, 3)
        manifest["cpu_seconds"] = round(_cpu_seconds() - self._cpu, 3)
        manifest |= facts
        write_text(self.folder / MANIFEST, json.dumps(manifest, indent=2, default=_plain) + "\n")
        unlock(self.folder)
        return self.folder / MANIFEST


def begin_or_go_on(file: Path, facts: dict[str, Any], what: str) -> None:
    """Writes to `file` what interruptible work is begun with, or checks that it was begun with the same.

    Raises FileExistsError, which names what is different, if the folder of `file` holds unfinished work, `what`, that
    was begun with other facts.
    """
    described = json.dumps(facts, sort_keys=True, default=_plain)
    try:
        before = read_json(file) if file.exists() else None
    except UsageError as error:
        raise FileExistsError(f"{error} Use another output, or --overwrite.") from None
    if before is not None and (changed := changes(before, json.loads(described))):
        raise FileExistsError(
            f"'{file.parent}' holds {what} with other settings that was not finished: {'; '.join(changed[:MOST_NAMED])}"
            f"{f'; and {len(changed) - MOST_NAMED} more' if len(changed) > MOST_NAMED else ''}. "
            "Use what began it, another output, or --overwrite."
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, described)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What is different between the facts with which work was begun and those of now, in words."""
    before, now = _flat(old), _flat(new)
    names = [name for name in before | now if before.get(name) != now.get(name)]
    said = [_change(name, before, now) for name in names]
    return list(dict.fromkeys(said))


def _flat(facts: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Facts without groups: what is in one has the names of both."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return flat


def _change(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    plain = name.rpartition(".")[2]
    if found := re.fullmatch(r"(.*?)_((names_sizes_|times_|sampled_)?sha256|bytes|files|mtime_ns|error)", name):
        of = now.get(found[1], before.get(found[1]))
        named = ", ".join(map(str, of)) if isinstance(of, list) else of
        return f"the content of {plain.rpartition('_')[0] if named is None else repr(str(named))} has changed"
    old, new = (_short(facts.get(name)) for facts in (before, now))
    return f"{plain} was {old}, now it is {new}"


def _short(value: Any) -> str:
    text = "not set" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def begun_settings(folder: Path) -> dict[str, Any]:
    """The settings with which the run in `folder`, finished or not, was begun; empty where there is none."""
    path = folder / SETTINGS
    return read_toml(path) if path.exists() else {}


_HELD: dict[Path, Any] = {}  # open lock files of this process, by folder


def lock(folder: Path) -> None:
    """Takes the folder for this process, until `unlock` or its end, however it ends; FileExistsError if it is taken.

    The same process may take it again, as after an error. Where the system has no locks, everything is free.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    folder = folder.resolve()
    if folder in _HELD:
        return
    leave_if_imported_by_a_worker()
    while True:
        file = (folder / LOCK).open("w")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN):  # a file system without locks
                return
            raise FileExistsError(
                f"another run is writing to '{folder}'; wait until it has finished, or choose another folder."
            ) from None
        if _is_at(file, folder / LOCK):
            break
        file.close()  # between opening and locking, whoever held the folder has given it up and removed this file
    _HELD[folder] = file


def _is_at(file: Any, path: Path) -> bool:
    """Whether `path` is still the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def unlock(folder: Path) -> None:
    """Gives up a folder, if this process has taken it."""
    file = _HELD.pop(folder.resolve(), None)
    if file is not None:
        (folder / LOCK).unlink(missing_ok=True)
        file.close()


def unlock_all() -> None:
    """Gives up every folder that this process has taken."""
    for folder in list(_HELD):
        unlock(folder)


def _plain(value: Any) -> Any:
    """Numpy scalars and arrays as Python values, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a finished run.

    Raises FileNotFoundError where there is none, as in an unfinished run, and UsageError where it is damaged.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise FileNotFoundError(f"'{folder}' is not a finished run (no {MANIFEST}); rerun the command to finish it.")
    return read_json(path)
