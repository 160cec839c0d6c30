"""Functions as Python users call them: settings as keywords, images of any kind, True for a bar of progress."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from emeraldcut.api.progress import told_by
from emeraldcut.errors import UsageError
from emeraldcut.images import write_images
from emeraldcut.images.given import as_images
from emeraldcut.settings import Settings, from_keywords

IMAGES = {"images", "real", "backgrounds"}  # parameters that are image sets, and
IN_FILES = {"background"}  # settings that are paths of images


def freely(function: Callable[..., Any]) -> Callable[..., Any]:
    """A stage that takes its settings as keywords too, images as people have them, and True for a bar of progress."""
    parameters = inspect.signature(function).parameters
    classes = {type(one.default): name for name, one in parameters.items() if isinstance(one.default, Settings)}

    @wraps(function)
    def called(*given: Any, **keywords: Any) -> Any:
        own = {name: keywords.pop(name) for name in list(keywords) if name in parameters}
        objects = [one for one in (*given, *own.values()) if isinstance(one, Settings)]
        plain = [one for one in given if not isinstance(one, Settings)]
        with TemporaryDirectory() as folder:
            for name in IN_FILES & keywords.keys():
                keywords[name] = _stored(keywords[name], Path(folder, name))
            chosen = from_keywords(objects, keywords, *classes)
            own |= dict(zip(classes.values(), chosen, strict=True))
            own |= {name: as_images(own[name]) for name in IMAGES & own.keys() if own[name] is not None}
            if plain and next(iter(parameters)) in IMAGES and plain[0] is not None:
                plain[0] = as_images(plain[0])
            with told_by(own.get("progress", False), function.__name__) as told:
                return function(*plain, **own | ({"progress": told} if "progress" in parameters else {}))

    called.__doc__ = _noted(function, "Settings may be given as keywords, and `progress=True` shows a bar.")
    return called


def take_seed(keywords: dict[str, Any]) -> None:
    """Takes the `seed` out of the keywords of a stage in which nothing is random; UsageError if it is none."""
    seed = keywords.pop("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise UsageError(f"seed expects a whole number of at least 0; received {seed!r}.")


def of_any_images(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of an image set that takes whatever `as_images` does as its first argument, or chunks one by one."""

    @wraps(function)
    def called(images: Any, *given: Any, **keywords: Any) -> Any:
        return function(images if isinstance(images, Iterator) else as_images(images), *given, **keywords)

    called.__doc__ = _noted(function, "`images` is whatever `as_images` takes.")
    return called


def _noted(function: Callable[..., Any], note: str) -> str:
    """The docstring of a function, with a note after its first line."""
    first, _, rest = (inspect.getdoc(function) or "").partition("\n")
    return f"{first}\n\n{note}\n{rest}"


def _stored(images: Any, folder: Path) -> Any:
    """The path of images; those in memory are written to a folder first."""
    if images is None or isinstance(images, str | os.PathLike):
        return images
    write_images(as_images(images), folder, command="as_images")
    return os.fspath(folder)
