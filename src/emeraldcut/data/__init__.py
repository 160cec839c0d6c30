"""What flows through the program, and how it is read and written: images with their table, particles, tables, runs."""

from emeraldcut.data.columns import COLUMNS, describe_columns
from emeraldcut.data.flags import UNUSABLE, Flag, describe, usable
from emeraldcut.data.imageset import ImageSet, add_flag, add_flags, concatenate
from emeraldcut.data.parts import Parts, fill, join
from emeraldcut.data.tables import check_output, read_catalogue, read_table, write_table

__all__ = [
    "COLUMNS",
    "Flag",
    "ImageSet",
    "Parts",
    "UNUSABLE",
    "add_flag",
    "add_flags",
    "check_output",
    "concatenate",
    "describe",
    "describe_columns",
    "fill",
    "join",
    "read_catalogue",
    "read_table",
    "usable",
    "write_table",
]
