"""A galaxy's own frame."""

from emeraldcut.frame.detect import detect_sources
from emeraldcut.frame.ellipse_fit import ORDERS, Ellipse, Fit, Profile, fit_ellipse, fit_profile
from emeraldcut.frame.frame import FramedGalaxy, FrameSet, FrameSettings, frame_galaxies, frame_galaxy, known_psf

__all__ = [
    "ORDERS",
    "Ellipse",
    "Fit",
    "FrameSet",
    "FrameSettings",
    "FramedGalaxy",
    "Profile",
    "detect_sources",
    "fit_ellipse",
    "fit_profile",
    "frame_galaxies",
    "frame_galaxy",
    "known_psf",
]
