"""What is measured in a galaxy's own frame: isophote harmonics with errors."""

from emeraldcut.isophotes.measure import MeasureSettings, measure

__all__ = ["MeasureSettings", "measure"]
