"""What is measured in a galaxy's own frame: isophote harmonics with errors, as a whole and isophote by isophote."""

from emeraldcut.isophotes.bands import band_profiles, band_shapes, colour_profile
from emeraldcut.isophotes.deconvolved_fit import fit_before_psf, image_kernel, moffat_kernel
from emeraldcut.isophotes.galaxy_fit import MeasureSettings, measure_galaxy
from emeraldcut.isophotes.measure import KINDS, boxy_kind, measure
from emeraldcut.isophotes.radial_profile import PlotSettings, ProfileSettings, radial_profiles

__all__ = [
    "KINDS",
    "MeasureSettings",
    "PlotSettings",
    "ProfileSettings",
    "band_profiles",
    "band_shapes",
    "boxy_kind",
    "colour_profile",
    "fit_before_psf",
    "image_kernel",
    "measure",
    "measure_galaxy",
    "moffat_kernel",
    "radial_profiles",
]
