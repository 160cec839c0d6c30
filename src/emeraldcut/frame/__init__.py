"""A galaxy's own frame."""

from emeraldcut.frame.detect import detect_sources
from emeraldcut.frame.ellipse_fit import ORDERS, Ellipse, Fit, Profile, fit_ellipse, fit_profile
from emeraldcut.frame.frame import FramedGalaxy, FrameSet, frame_galaxies, frame_galaxy, known_psf
from emeraldcut.frame.pixels import psf_kernel
from emeraldcut.frame.resample import EXTENT, STAMP_SIZE

__all__ = [
    "EXTENT",
    "ORDERS",
    "STAMP_SIZE",
    "Ellipse",
    "Fit",
    "FrameSet",
    "FramedGalaxy",
    "Profile",
    "detect_sources",
    "fit_ellipse",
    "fit_profile",
    "frame_galaxies",
    "frame_galaxy",
    "known_psf",
    "psf_kernel",
]
