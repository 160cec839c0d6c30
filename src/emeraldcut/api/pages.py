"""Pages and plots for Python users: `report`, `review`, `plot_isophotes`, and the run of `demo`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from emeraldcut.api.keywords import freely, of_any_images
from emeraldcut.demo import demo as _demo
from emeraldcut.errors import UsageError
from emeraldcut.report import plot_isophotes as _plot_isophotes
from emeraldcut.report import report as _report
from emeraldcut.review import review as _review


def _at_a_path(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of what is in files, which says so of what is not."""

    @wraps(function)
    def called(source: Any, *given: Any, **keywords: Any) -> Any:
        if not isinstance(source, str | os.PathLike):
            raise UsageError(
                f"{function.__name__} expects a finished run, or the path of one or of a table; received "
                f"{type(source).__name__}. Give the stage an `output`, or write the table with emeraldcut.write_table."
            )
        return function(source, *given, **keywords)

    return called


demo = freely(_demo)
plot_isophotes = of_any_images(_plot_isophotes)
report = _at_a_path(_report)
review = _at_a_path(freely(_review))
