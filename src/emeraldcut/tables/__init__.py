"""Tables of any length in any format."""

from emeraldcut.tables.catalogues import read_catalogue
from emeraldcut.tables.files import check_output, read_table, write_table
from emeraldcut.tables.resumable import ResumableTable, fill, join

__all__ = [
    "ResumableTable",
    "check_output",
    "fill",
    "join",
    "read_catalogue",
    "read_table",
    "write_table",
]
