"""How similar galaxies are to a reference, and how often chance makes them as similar."""

from emeraldcut.similarity.compare import (
    METHODS,
    CompareSettings,
    References,
    compare,
    prepare_references,
    read_references,
)

__all__ = ["METHODS", "CompareSettings", "References", "compare", "prepare_references", "read_references"]
