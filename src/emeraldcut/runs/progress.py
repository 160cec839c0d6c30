"""Progress: how far a stage is, told to a bar or to anything else that listens."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class Progress(Protocol):
    """What a stage tells while it works. `Bar` shows it; a class of yours with these two methods will do as well.

    Examples
    --------
    >>> class Printed:
    ...     def begin(self, total, unit="images", what=""):
    ...         self.done, self.of = 0, f"of {total} {unit} {what}"
    ...
    ...     def advance(self, n=1, **figures):
    ...         self.done += n
    ...         print(self.done, self.of, figures or "")
    """

    def begin(self, total: int | None, unit: str = "images", what: str = "") -> object:
        """A stretch of work begins: so many `unit` (None where that is not known), and `what` is done to them."""

    def advance(self, n: int = 1, **figures: float) -> object:
        """`n` more are done; `figures`, such as the loss of a training, tell how it goes."""


class Silent:
    """Tells nobody."""

    def begin(self, total: int | None, unit: str = "images", what: str = "") -> None:
        """Nothing."""

    def advance(self, n: int = 1, **figures: float) -> None:
        """Nothing."""


SILENT = Silent()


class Bar:
    """Progress as a bar on standard error, or in a notebook as a widget; to be used in a `with` statement.

    Examples
    --------
    >>> with Bar("measure", silent=True) as bar:
    ...     bar.begin(2, "images")
    ...     bar.advance(2)
    """

    def __init__(self, name: str = "", *, silent: bool = False) -> None:
        self.name, self.silent = name, silent
        self._bar: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def begin(self, total: int | None, unit: str = "images", what: str = "") -> None:
        """Ends the bar of the stretch before, and starts one for this."""
        from tqdm.auto import tqdm

        self._close()
        if not self.silent:
            words = ": ".join(part for part in (self.name, what) if part)
            self._bar = tqdm(total=total, unit=f" {unit}", desc=words or None)

    def advance(self, n: int = 1, **figures: float) -> None:
        """Moves the bar on."""
        if self._bar is not None:
            if figures:
                self._bar.set_postfix(figures, refresh=False)
            self._bar.update(n)

    def write(self, text: str) -> None:
        """Writes a line above the bar."""
        from tqdm.auto import tqdm

        tqdm.write(text, file=sys.stderr)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
