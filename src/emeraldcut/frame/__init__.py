"""A galaxy's own frame."""

from emeraldcut.frame.clean import CleanSettings, clean, emptied, noise_of, without_galaxy
from emeraldcut.frame.ellipse_fit import ALL, GEOMETRY, ORDERS, Ellipse, fit_shape, turn_error
from emeraldcut.frame.frame import FramedGalaxy, FrameSet, frame_galaxies, frame_galaxy, looked_flags, stamp
from emeraldcut.frame.quick_shape import ASSUMED_PSF_FWHM_PIX, Look, first_looks, known_psf, look_at
from emeraldcut.frame.resample import EXTENT, STAMP_SIZE, stamp_of, unbinned
from emeraldcut.frame.ring_harmonics import HIGHEST, N_RINGS, N_TERMS, RING_MIDDLES, ring_harmonics
from emeraldcut.frame.warp import warped

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
    "Look",
    "N_RINGS",
    "N_TERMS",
    "ORDERS",
    "RING_MIDDLES",
    "STAMP_SIZE",
    "clean",
    "emptied",
    "first_looks",
    "fit_shape",
    "frame_galaxies",
    "frame_galaxy",
    "known_psf",
    "look_at",
    "looked_flags",
    "noise_of",
    "ring_harmonics",
    "stamp",
    "stamp_of",
    "turn_error",
    "unbinned",
    "warped",
    "without_galaxy",
]
