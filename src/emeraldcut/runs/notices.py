"""Notices: sentences about an input that a user should know, each said once, to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LISTENERS: list[Callable[[str], object]] = []
_SAID: dict[str, None] = {}  # in order


def notice(sentence: str) -> None:
    """Tells a sentence to those who listen, unless it was told before, or is empty."""
    if sentence and _LISTENERS and sentence not in _SAID:
        _SAID[sentence] = None
        for listener in _LISTENERS:
            listener(sentence)


def said() -> list[str]:
    """The sentences that were told since the outermost `listening` began: the notices of a manifest."""
    return list(_SAID)


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
