"""Composition: classify, measure and compare every image, and rank the candidates."""

from emeraldcut.screening.screen import ScreenSettings, examine, rank, screen, screen_run

__all__ = ["ScreenSettings", "examine", "rank", "screen", "screen_run"]
