"""Progress as Python users ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from emeraldcut.runs import SILENT, Bar, Progress


@contextmanager
def told_by(progress: bool | Progress, name: str) -> Iterator[Progress]:
    """Who is told how far the work is."""
    if isinstance(progress, bool):
        with Bar(name, silent=not progress) as bar:
            yield bar if progress else SILENT
    else:
        yield progress
