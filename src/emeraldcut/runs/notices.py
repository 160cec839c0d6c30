"""Notices: sentences about an input that a user should know, each said once, to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LISTENERS: list[Callable[[str], object]] = []
_SAID: set[str] = set()


def notice(sentence: str) -> None:
    """Tells a sentence to those who listen, unless it was told before."""
    if _LISTENERS and sentence not in _SAID:
        _SAID.add(sentence)
        for listener in _LISTENERS:
            listener(sentence)


@contextmanager
def listening(listener: Callable[[str], object]) -> Iterator[None]:
    """While the block lasts `listener` is told every new notice, such as `print`.

    Examples
    --------
    >>> with listening(print):
    ...     notice("The catalogue has no row of 2 images.")
    ...     notice("The catalogue has no row of 2 images.")
    The catalogue has no row of 2 images.
    """
    _SAID.clear()
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)
