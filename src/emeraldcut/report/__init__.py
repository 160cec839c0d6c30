"""Leaf: a finished run as one page that a person reads."""

from emeraldcut.report.page import report

__all__ = ["report"]
