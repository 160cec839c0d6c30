"""The data of the program: image sets, the columns of tables and quality flags."""

from emeraldcut.data.columns import COLUMNS, describe_columns
from emeraldcut.data.flags import UNTRUSTED, UNUSABLE, Flag, describe, trusted, usable
from emeraldcut.data.imageset import ImageSet, add_flag, add_flags, concatenate

__all__ = [
    "COLUMNS",
    "Flag",
    "ImageSet",
    "UNTRUSTED",
    "UNUSABLE",
    "add_flag",
    "add_flags",
    "concatenate",
    "describe",
    "describe_columns",
    "trusted",
    "usable",
]
