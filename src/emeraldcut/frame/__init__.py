"""A galaxy's own frame."""

from emeraldcut.frame.clean import CleanSettings, clean, emptied, noise_of, without_galaxy
from emeraldcut.frame.colours import ONE_BAND, band_agreement
from emeraldcut.frame.ellipse_fit import ALL, GEOMETRY, ORDERS, Ellipse, fit_shape, turn_error
from emeraldcut.frame.frame import FramedGalaxy, FrameSet, flags_found, frame_galaxies, frame_galaxy, stamp
from emeraldcut.frame.quick_shape import ASSUMED_PSF_FWHM_PIX, QuickShape, known_psf, quick_shape_of, quick_shapes_of
from emeraldcut.frame.resample import EXTENT, STAMP_SIZE, stamp_of, unbinned
from emeraldcut.frame.ring_harmonics import HIGHEST, N_RINGS, N_TERMS, RING_MIDDLES, ring_harmonics
from emeraldcut.frame.warp import moved_to, warp_of, warped

__all__ = [
    "ALL",
    "ASSUMED_PSF_FWHM_PIX",
    "CleanSettings",
    "EXTENT",
    "Ellipse",
    "FrameSet",
    "FramedGalaxy",
    "GEOMETRY",
    "HIGHEST",
    "QuickShape",
    "N_RINGS",
    "N_TERMS",
    "ONE_BAND",
    "ORDERS",
    "RING_MIDDLES",
    "STAMP_SIZE",
    "band_agreement",
    "clean",
    "emptied",
    "quick_shapes_of",
    "fit_shape",
    "frame_galaxies",
    "frame_galaxy",
    "known_psf",
    "moved_to",
    "quick_shape_of",
    "flags_found",
    "noise_of",
    "ring_harmonics",
    "stamp",
    "stamp_of",
    "turn_error",
    "unbinned",
    "warp_of",
    "warped",
    "without_galaxy",
]
