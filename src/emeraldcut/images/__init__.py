"""Images from anything that holds them, and sets of ours."""

from emeraldcut.images.apply import apply_to_images, map_images
from emeraldcut.images.readers import ImageSource, NoImagesError, ReadSettings, open_images, read_images
from emeraldcut.images.store import ImageSetWriter, write_images

__all__ = [
    "ImageSetWriter",
    "ImageSource",
    "NoImagesError",
    "ReadSettings",
    "apply_to_images",
    "map_images",
    "open_images",
    "read_images",
    "write_images",
]
