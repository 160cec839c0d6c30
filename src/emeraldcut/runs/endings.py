"""Endings: Ctrl-C ends a command wherever it comes, and a worker that imports a script without a main guard ends.

Python raises KeyboardInterrupt at whatever place it is. In compiled functions that becomes a SystemError, which code
that turns errors of an image into its row takes for such an error. So it is remembered that Ctrl-C was pressed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import current_process
from threading import Event, current_thread, main_thread
from typing import Any

NO_MAIN_GUARD = 78  # status of a worker whose script does its work when it is imported
_pressed = Event()


def leave_if_imported_by_a_worker() -> None:
    """Ends a worker process that gets to work of its own while it imports the script that started it."""
    if getattr(current_process(), "_inheriting", False):
        os._exit(NO_MAIN_GUARD)


@contextmanager
def noticing_interrupts() -> Iterator[None]:
    """While the block lasts it is remembered that Ctrl-C was pressed; it still raises KeyboardInterrupt."""
    _pressed.clear()
    if current_thread() is not main_thread():  # only that one may say what signals do
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # somebody else's, or Ctrl-C is ignored
        yield
        return
    signal.signal(signal.SIGINT, _press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _press(number: int, frame: Any) -> None:
    _pressed.set()
    raise KeyboardInterrupt


def interrupted() -> bool:
    """Whether Ctrl-C was pressed, so that any error now is most likely its consequence."""
    return _pressed.is_set()


def end_if_interrupted() -> None:
    """Raises KeyboardInterrupt if Ctrl-C was pressed and what it raised was swallowed."""
    if _pressed.is_set():
        raise KeyboardInterrupt
