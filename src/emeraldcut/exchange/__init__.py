"""To and from servers and other programs."""

from emeraldcut.exchange.convert import ConvertSettings, convert_images, convert_table
from emeraldcut.exchange.fetch import FetchSettings, fetch

__all__ = [
    "ConvertSettings",
    "FetchSettings",
    "convert_images",
    "convert_table",
    "fetch",
]
