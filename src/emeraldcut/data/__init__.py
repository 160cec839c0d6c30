"""What flows through the program, and how it is read and written: images with their table, particles, tables, runs."""

from emeraldcut.data.columns import COLUMNS, describe_columns
from emeraldcut.data.flags import UNUSABLE, Flag, describe, usable
from emeraldcut.data.imageset import ImageSet, add_flag, add_flags, concatenate

__all__ = [
    "COLUMNS",
    "Flag",
    "ImageSet",
    "UNUSABLE",
    "add_flag",
    "add_flags",
    "concatenate",
    "describe",
    "describe_columns",
    "usable",
]
