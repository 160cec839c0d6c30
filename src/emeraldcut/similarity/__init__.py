"""How alike two galaxies are."""

from emeraldcut.similarity.compare import (
    METHODS,
    CompareSettings,
    References,
    compare,
    prepare_references,
    read_references,
)

__all__ = ["METHODS", "CompareSettings", "References", "compare", "prepare_references", "read_references"]
