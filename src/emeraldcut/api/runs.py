"""Stages that write runs or read much, for Python users: settings are keywords, and `progress=True` shows a bar."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from emeraldcut.api.progress import told_by
from emeraldcut.detection import detect as _detect
from emeraldcut.mergers import simulate as _simulate
from emeraldcut.networks import train as _train
from emeraldcut.screening import completeness as _completeness
from emeraldcut.search import search as _search
from emeraldcut.settings import Settings, from_keywords
from emeraldcut.studies import study as _study


def _freely(function: Callable[..., Any]) -> Callable[..., Any]:
    """A stage that takes its settings as keywords too, and True for a bar of progress."""
    parameters = inspect.signature(function).parameters
    classes = {type(one.default): name for name, one in parameters.items() if isinstance(one.default, Settings)}

    @wraps(function)
    def called(*given: Any, **keywords: Any) -> Any:
        own = {name: keywords.pop(name) for name in list(keywords) if name in parameters}
        objects = [one for one in (*given, *own.values()) if isinstance(one, Settings)]
        plain = [one for one in given if not isinstance(one, Settings)]
        chosen = from_keywords(objects, keywords, *classes)
        own |= dict(zip(classes.values(), chosen, strict=True))
        with told_by(own.get("progress", False), function.__name__) as told:
            return function(*plain, **own | ({"progress": told} if "progress" in parameters else {}))

    called.__module__ = __name__
    first, _, rest = (inspect.getdoc(function) or "").partition("\n")
    called.__doc__ = f"{first}\n\nSettings may be given as keywords, and `progress=True` shows a bar.\n{rest}"
    return called


completeness = _freely(_completeness)
detect = _freely(_detect)
search = _freely(_search)
simulate = _freely(_simulate)
study = _freely(_study)
train = _freely(_train)
