"""Screening: images classified, measured, compared and ranked in one list, and the completeness of that list."""

from emeraldcut.screening.completeness import CompletenessSettings, completeness, completeness_run, inject
from emeraldcut.screening.screen import ScreenSettings, examine, rank, screen
from emeraldcut.screening.two_passes import screen_run

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
