"""Chatter: what libraries say of themselves on standard error, which is shown only to those who ask for it."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event

ERROR_STREAM = 2  # file descriptor of standard error, to which compiled libraries write past Python
_wanted = Event()


def show_chatter(wanted: bool) -> None:
    """Whether the messages of libraries are shown, from now on."""
    if wanted:
        _wanted.set()
        logging.basicConfig(level=logging.INFO)
    else:
        _wanted.clear()
        root = logging.getLogger()
        if not root.handlers:  # else Python would write what nobody handles to standard error
            root.addHandler(logging.NullHandler())


@contextmanager
def without_chatter() -> Iterator[None]:
    """While the block lasts nothing reaches standard error, also of compiled code, unless it is wanted.

    TensorFlow writes lines at its import that none of its own settings keeps back. After an error they are shown.
    """
    if _wanted.is_set():
        yield
        return
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    try:
        before = os.dup(ERROR_STREAM)
    except OSError:  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), ERROR_STREAM)
        failed = True
        try:
            yield
            failed = False
        finally:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(before, ERROR_STREAM)
            os.close(before)
            if failed:
                kept.seek(0)
                with suppress(OSError):
                    os.write(ERROR_STREAM, kept.read())
