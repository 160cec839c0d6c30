"""Stamps: by what a file is known again, and whether its content is still the same.

A file of images is known by its path, size and time of change to the nanosecond. What is larger than 64 MiB is known
by a sample of its content too: 64 blocks of 16 KiB, evenly spaced from its first byte to its last. What decides a
result, such as a network or a reference, is known by all of its content.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from emeraldcut.runs.reading import open_regular

LARGEST_HASHED_BYTES = 64 * 1024**2  # about 0.2 s of SHA-256; of what is larger, a sample is
SAMPLED_BLOCKS, BLOCK_BYTES = 64, 16 * 1024
MOST_HASHED_FILES = 1000  # of a folder; of one with more, as of a catalogue in HATS, names, sizes and times are


class Stamp(NamedTuple):
    """A file as it was when it was read.

    Attributes
    ----------
    path : str
        Absolute; bytes that are not UTF-8 as `os.fsdecode` has them.
    size : int
        Bytes; -1 where it could not be asked.
    mtime_ns : int
    sample : str
        Of its content if it is larger than `LARGEST_HASHED_BYTES`, see `sample_of`.
    """

    path: str
    size: int
    mtime_ns: int
    sample: str = ""


def stamp_of(path: str | os.PathLike[str]) -> Stamp:
    """The stamp of a file or folder as it is now."""
    name = os.path.abspath(os.fspath(path))
    try:
        found = os.stat(name)
        large = found.st_size > LARGEST_HASHED_BYTES
        sample = _sample(name, found.st_size, found.st_mtime_ns) if large and os.path.isfile(name) else ""
    except OSError:
        return Stamp(name, -1, 0)
    return Stamp(name, found.st_size, found.st_mtime_ns, sample)


@lru_cache(4096)
def _sample(path: str, size: int, mtime_ns: int) -> str:
    return sample_of(path, size)


def sample_of(path: str | os.PathLike[str], size: int) -> str:
    """SHA-256 of blocks of a file of this many bytes, the first and the last among them."""
    digest, last = hashlib.sha256(), max(size - BLOCK_BYTES, 0)
    with open_regular(path) as file:
        for k in range(SAMPLED_BLOCKS):
            file.seek(last * k // (SAMPLED_BLOCKS - 1))
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()


def file_facts(path: Path) -> dict[str, int | str]:
    """Size and SHA-256 of a file; of one above 64 MiB size, time of change and SHA-256 of a sample."""
    found = path.stat()
    if found.st_size > LARGEST_HASHED_BYTES:
        sample = sample_of(path, found.st_size)
        return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns, "sampled_sha256": sample}
    with open_regular(path) as file:
        return {"bytes": found.st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def content_of(path: Path) -> str:
    """SHA-256 of the content of a file, or of the names and contents of all files in a folder; see the module."""
    if not path.is_dir():
        return _content(path)
    digest, files = hashlib.sha256(), sorted(_files(path))
    for name in files:
        about = path / name
        if len(files) > MOST_HASHED_FILES:
            found = about.stat()
            said = f"{found.st_size} {found.st_mtime_ns}"
        else:
            said = _content(about)
        digest.update(f"{name}\0{said}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _content(path: Path) -> str:
    facts = file_facts(path)
    if "sha256" in facts:
        return str(facts["sha256"])
    return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()


def _files(folder: Path) -> Iterator[str]:
    """Names of all files in and below a folder that are not hidden."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and os.path.isfile(os.path.join(place, name)):
                yield os.path.relpath(os.path.join(place, name), folder)
