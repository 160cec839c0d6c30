"""What is measured in a galaxy's own frame: isophote harmonics with errors."""

from emeraldcut.isophotes.kind import KINDS, boxy_kind
from emeraldcut.isophotes.measure import MeasureSettings, measure, measure_galaxy
from emeraldcut.isophotes.profile import ProfileSettings, radial_profiles

__all__ = ["KINDS", "MeasureSettings", "ProfileSettings", "boxy_kind", "measure", "measure_galaxy", "radial_profiles"]
