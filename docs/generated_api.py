"""The page of the Python API: every public name, by task, and the functions and classes of each folder."""

from __future__ import annotations

import inspect
from importlib import import_module
from types import ModuleType
from typing import Any

import emeraldcut

GROUPS = {
    "Images in and out": ("as_images", "read_images", "write_images", "ImageSet", "Flag", "detect", "fetch", "convert"),
    "Tables": ("read_table", "write_table", "Result"),
    "Find and measure galaxies": (
        "screen", "measure", "classify", "compare", "completeness", "frame_galaxies", "clean", "leda074886",
        "radial_profiles",
    ),
    "Synthetic galaxies and networks": ("synthesise", "synthesize", "train", "export"),
    "Mergers": ("simulate", "observe", "read_snapshot", "study", "search"),
    "Pages and plots": ("report", "review", "plot_isophotes", "demo"),
}  # fmt: skip
SAME = {"synthesize": "synthesise"}  # another spelling, which needs no page of its own
FOLDERS = {  # what a reader finds in each
    "emeraldcut.images": "reading and writing images; a function applied to all of them",
    "emeraldcut.tables": "tables of any length in any format",
    "emeraldcut.data": "the types that flow: image sets, columns, flags",
    "emeraldcut.frame": "a galaxy in its own frame",
    "emeraldcut.isophotes": "harmonics with errors, and against radius",
    "emeraldcut.networks": "class probabilities, training, export",
    "emeraldcut.similarity": "how alike two galaxies are",
    "emeraldcut.screening": "the ranked list, and completeness",
    "emeraldcut.galaxies": "galaxies from formulas",
    "emeraldcut.nbody": "particles, gravity, gas, snapshots",
    "emeraldcut.camera": "images of particles, and their true shape",
    "emeraldcut.mergers": "galaxies in equilibrium, orbits, suites",
    "emeraldcut.studies": "fractions of shapes",
    "emeraldcut.search": "encounters whose remnants look like a target",
    "emeraldcut.exchange": "servers and other tools",
    "emeraldcut.runs": "run folders, workers, progress",
    "emeraldcut.report": "pages of finished runs",
    "emeraldcut.review": "verdicts of people",
}


def grouped() -> dict[str, list[str]]:
    """Every public name but the version, by task; new ones come last, settings have a group of their own."""
    known = {name for names in GROUPS.values() for name in names}
    public = [name for name in emeraldcut.__all__ if not name.startswith("__")]
    settings = [name for name in public if name.endswith("Settings")]
    more = [name for name in public if name not in known and name not in settings]
    found = {task: [name for name in names if name in public] for task, names in GROUPS.items()}
    return found | ({"More": more} if more else {}) | {"Settings": settings}


def api_page() -> str:
    """The page, as Markdown with a list of names that Sphinx turns into pages."""
    lines = [
        "# API reference",
        "",
        "Everything that `import emeraldcut` offers, by task. Each function has the name of its command, and takes its",
        "settings as keywords: `emeraldcut.screen(images, prevalence=0.01)`. What is in the folders below it is public too",
        "where it is listed here; names that are not listed may change without notice.",
        "",
        "Written by `docs/generate.py` from the package.",
    ]
    for task, names in grouped().items():
        lines += ["", f"## {task}", *_summary("emeraldcut", [SAME.get(n, n) for n in names if n not in SAME])]
        lines += [f"\n`{name}` is `{same}` in another spelling." for name, same in SAME.items() if name in names]
    for folder, what in FOLDERS.items():
        if names := own_names(folder):
            lines += ["", f"## {folder}", "", f"{what[0].upper()}{what[1:]}.", *_summary(folder, names)]
    return "\n".join(lines) + "\n"


def own_names(folder: str) -> list[str]:
    """Functions and classes that a folder offers, less those which `emeraldcut` itself offers."""
    module = import_module(folder)
    return [name for name in module.__all__ if is_described(module, name) and not is_at_top(module, name)]


def is_described(module: ModuleType, name: str) -> bool:
    value: Any = getattr(module, name)
    return inspect.isclass(value) or inspect.isfunction(value)


def is_at_top(module: ModuleType, name: str) -> bool:
    """Whether `emeraldcut` offers the same object; a stage of the same name that takes keywords is another one."""
    return name in emeraldcut.__all__ and getattr(emeraldcut, name) is getattr(module, name)


def _summary(module: str, names: list[str]) -> list[str]:
    """A table of names, each with a page of its own."""
    return [
        "",
        "```{eval-rst}",
        f".. currentmodule:: {module}",
        "",
        ".. autosummary::",
        "   :toctree: generated",
        "",
        *(f"   {name}" for name in names),
        "```",
    ]
