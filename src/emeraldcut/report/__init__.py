"""Leaf: a finished run as one page that a person reads, and pictures that say why."""

from emeraldcut.report.explain import ExplainSettings, explain, explain_best
from emeraldcut.report.figures import completeness_figure
from emeraldcut.report.page import report

__all__ = ["ExplainSettings", "completeness_figure", "explain", "explain_best", "report"]
