"""Find rectangular galaxies in images, and test how such galaxies form."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

# Public names and where they live; each is imported when it is first used, so that `import emeraldcut` is quick.
_HOMES = {
    "ImageSet": "data",
    "Flag": "data",
    "as_images": "images.given",
    "read_images": "images",
    "write_images": "api.exchange",
    "read_table": "tables",
    "write_table": "tables",
    "synthesise": "api.stages",
    "synthesize": "api.stages",
    "leda074886": "galaxies",
    "simulate": "api.runs",
    "observe": "api.stages",
    "read_snapshot": "nbody",
    "detect": "api.exchange",
    "fetch": "api.exchange",
    "convert": "api.exchange",
    "frame_galaxies": "api.stages",
    "clean": "api.stages",
    "measure": "api.stages",
    "radial_profiles": "api.stages",
    "plot_isophotes": "api.pages",
    "train": "api.runs",
    "export": "api.exchange",
    "classify": "api.stages",
    "compare": "api.stages",
    "screen": "api.stages",
    "completeness": "api.runs",
    "study": "api.runs",
    "search": "api.runs",
    "report": "api.pages",
    "review": "api.pages",
    "demo": "api.pages",
    "Result": "results",
    "ReadSettings": "images",
    "CleanSettings": "frame",
    "ClassifySettings": "networks",
    "CompareSettings": "similarity",
    "CompletenessSettings": "screening",
    "ConvertSettings": "exchange",
    "DemoSettings": "demo",
    "DetectSettings": "detection",
    "EvolveSettings": "nbody",
    "ExplainSettings": "report",
    "FetchSettings": "exchange",
    "MeasureSettings": "isophotes",
    "ObserveSettings": "camera",
    "PlaneSettings": "images.options",
    "PlotSettings": "isophotes",
    "PriorSettings": "search",
    "ProfileSettings": "isophotes",
    "ProgramSettings": "nbody.engines.program",
    "ReportSettings": "report",
    "ReviewSettings": "review",
    "ScreenSettings": "screening",
    "SearchSettings": "search",
    "StudySettings": "studies",
    "SuiteSettings": "mergers",
    "SynthesiseSettings": "galaxies",
    "TakeSettings": "mergers",
    "TrainSettings": "networks",
}
_SPELLINGS = {"synthesize": "synthesise"}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  the keys are names


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'emeraldcut' has no attribute '{name}'")
    found = globals()[name] = getattr(import_module(f"emeraldcut.{_HOMES[name]}"), _SPELLINGS.get(name, name))
    return found


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """A package in which a function may be called like the room that it lives in, such as `report`: it has the name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):  # which Python sets when a room is first imported
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
