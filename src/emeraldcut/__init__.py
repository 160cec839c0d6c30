"""Find rectangular galaxies in images, and test how such galaxies form."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Public names and where they live; each is imported when it is first used, so that `import emeraldcut` is quick.
_HOMES = {
    "ImageSet": "data",
    "Flag": "data",
    "read_images": "images",
    "read_table": "tables",
    "write_images": "images",
    "write_table": "tables",
    "synthesise": "galaxies",
    "synthesize": "galaxies",
    "leda074886": "galaxies",
    "simulate": "mergers",
    "observe": "camera",
    "detect": "detection",
    "frame_galaxies": "frame",
    "clean": "frame",
    "measure": "isophotes",
    "train": "networks",
    "classify": "networks",
    "compare": "similarity",
    "screen": "screening",
    "completeness": "screening",
    "study": "studies",
}
_SPELLINGS = {"synthesize": "synthesise"}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  the keys are names


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'emeraldcut' has no attribute '{name}'")
    return getattr(import_module(f"emeraldcut.{_HOMES[name]}"), _SPELLINGS.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
