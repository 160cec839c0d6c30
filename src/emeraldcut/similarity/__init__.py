"""How alike two galaxies are."""

from emeraldcut.similarity.compare import METHODS, CompareSettings, compare

__all__ = ["METHODS", "CompareSettings", "compare"]
