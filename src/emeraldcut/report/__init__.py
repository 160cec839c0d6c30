"""Leaf: a finished run as one page that a person reads, as PDF and as LaTeX tables, and pictures that say why."""

from emeraldcut.report.figures.explain import ExplainSettings, explain, explain_best
from emeraldcut.report.figures.isophotes import plot_isophotes, save_isophote_plots
from emeraldcut.report.latex import write_latex
from emeraldcut.report.page import ReportSettings, report
from emeraldcut.report.pdf import write_pdf

__all__ = [
    "ExplainSettings",
    "ReportSettings",
    "explain",
    "explain_best",
    "plot_isophotes",
    "report",
    "save_isophote_plots",
    "write_latex",
    "write_pdf",
]
