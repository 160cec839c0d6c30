"""How work is carried out: folders of results, workers, and files that are written whole or not at all."""

from emeraldcut.runs.progress import SILENT, Bar, Progress
from emeraldcut.runs.run import Run, provenance, read_manifest
from emeraldcut.runs.workers import map_chunks

__all__ = [
    "SILENT",
    "Bar",
    "Progress",
    "Run",
    "map_chunks",
    "provenance",
    "read_manifest",
]
