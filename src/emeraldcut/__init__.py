"""Find rectangular galaxies in images, and test how such galaxies form."""

__version__ = "0.1.0"
