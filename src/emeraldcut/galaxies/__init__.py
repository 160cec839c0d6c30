"""Synthetic galaxies: shapes with exact harmonics, light profiles, telescope and sky, and labelled image sets."""

from emeraldcut.galaxies.leda074886 import leda074886, leda074886_control
from emeraldcut.galaxies.synthesise import SynthesiseSettings, draw_galaxy, iterate_synthesise, paint, synthesise
from emeraldcut.galaxies.thesis_grid import thesis_grid, thesis_maps

__all__ = [
    "SynthesiseSettings",
    "draw_galaxy",
    "iterate_synthesise",
    "leda074886",
    "leda074886_control",
    "paint",
    "synthesise",
    "thesis_grid",
    "thesis_maps",
]
