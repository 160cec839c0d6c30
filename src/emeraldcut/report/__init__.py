"""Leaf: a finished run as one page that a person reads, and pictures that say why."""

from emeraldcut.report.explain import ExplainSettings, explain, explain_best
from emeraldcut.report.page import report

__all__ = ["ExplainSettings", "explain", "explain_best", "report"]
