"""What is measured in a galaxy's own frame: isophote harmonics with errors."""

from emeraldcut.isophotes.deconvolved_fit import fit_before_psf, moffat_kernel
from emeraldcut.isophotes.measure import KINDS, MeasureSettings, boxy_kind, measure, measure_galaxy
from emeraldcut.isophotes.radial_profile import ProfileSettings, radial_profiles

__all__ = [
    "KINDS",
    "MeasureSettings",
    "ProfileSettings",
    "boxy_kind",
    "fit_before_psf",
    "measure",
    "measure_galaxy",
    "moffat_kernel",
    "radial_profiles",
]
