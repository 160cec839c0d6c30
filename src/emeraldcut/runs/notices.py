"""Notices: sentences about an input that a user should know, each said once, to whoever listens."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LISTENERS: list[Callable[[str], object]] = []
_SAID: dict[str, None] = {}  # in order
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories of Unicode: control, format (such as right to left), half pairs


def printable(text: str) -> str:
    r"""`text` as it may be shown on a terminal: control characters, which could steer it, become "?".

    Line breaks stay.

    Examples
    --------
    >>> printable("no image\x1b[2J here")
    'no image?[2J here'
    """
    return "".join("?" if c != "\n" and unicodedata.category(c) in UNSEEN else c for c in text)


def notice(sentence: str) -> None:
    """Tells a sentence to those who listen, unless it was told before, or is empty."""
    if sentence and _LISTENERS and sentence not in _SAID:
        _SAID[sentence] = None
        for listener in _LISTENERS:
            listener(printable(sentence))


def said() -> list[str]:
    """The sentences that were told since the outermost `listening` began: the notices of a manifest."""
    return list(_SAID) if _LISTENERS else []


@contextmanager
def listening(listener: Callable[[str], object] = lambda sentence: None) -> Iterator[None]:
    """While the block lasts `listener` is told every new notice, such as `print`.

    Examples
    --------
    >>> with listening(print):
    ...     notice("The catalogue has no row of 2 images.")
    ...     notice("The catalogue has no row of 2 images.")
    The catalogue has no row of 2 images.
    """
    if not _LISTENERS:
        _SAID.clear()
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)
