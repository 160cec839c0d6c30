"""Composition: classify, measure and compare every image, rank the candidates, and tell what would be found."""

from emeraldcut.screening.completeness import CompletenessSettings, completeness, completeness_run, inject
from emeraldcut.screening.many import screen_run
from emeraldcut.screening.screen import ScreenSettings, examine, rank, screen

__all__ = [
    "CompletenessSettings",
    "ScreenSettings",
    "completeness",
    "completeness_run",
    "examine",
    "inject",
    "rank",
    "screen",
    "screen_run",
]
