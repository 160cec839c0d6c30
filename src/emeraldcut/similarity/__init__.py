"""How alike two galaxies are."""

from emeraldcut.similarity.compare import METHODS, CompareSettings, compare, read_references

__all__ = ["METHODS", "CompareSettings", "compare", "read_references"]
