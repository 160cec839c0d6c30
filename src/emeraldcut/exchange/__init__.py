"""To and from servers and other programs."""

from emeraldcut.exchange.convert import ConvertSettings, convert_images, convert_table
from emeraldcut.exchange.fetch import FetchSettings, fetch
from emeraldcut.exchange.sky import write_hats, write_moc, write_obscore

__all__ = [
    "ConvertSettings",
    "FetchSettings",
    "convert_images",
    "convert_table",
    "fetch",
    "write_hats",
    "write_moc",
    "write_obscore",
]
