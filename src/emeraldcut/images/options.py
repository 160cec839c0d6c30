"""PictureSettings: which of the planes of an image file are read, and as what."""

from __future__ import annotations

from dataclasses import dataclass

from emeraldcut.errors import UsageError
from emeraldcut.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class PlaneSettings(Settings):
    """Which of the planes of an image file are read, and as what."""

    hdu: int | None = setting(
        None, "number of the FITS unit that holds the image; the primary unit is 0", at_least=0, at_most=10_000
    )
    image_extension: str | None = setting(None, "name (EXTNAME) of the FITS unit that holds the image")
    band: tuple[str, ...] = setting((), "bands to use where a file has several, such as r or g,r,z; otherwise all")
    stack: bool = setting(False, "the planes of a cube, or the units of a FITS file, are galaxies, not bands of one")
    mask_bits: tuple[str, ...] = setting(
        (), "bits of masks that mean bad: values (1,4096), names (SAT,CR), any or none; otherwise by their meaning"
    )

    def check(self) -> None:
        """UsageError for settings that exclude each other."""
        if self.hdu is not None and self.image_extension is not None:
            raise UsageError("give either the number of a FITS unit (--hdu) or its name (--image-extension).")


@dataclass(frozen=True, kw_only=True)
class PictureSettings(PlaneSettings):
    """Which of the planes of an image file are read, and as what; and the PSF of all images."""

    only: tuple[str, ...] = setting(
        (), "read only these files of a folder: names relative to it, or patterns such as '*_r.fits'"
    )
    psf: str | None = setting(
        None, "file with the PSF of all images: a FITS image, or a PSFEx model (.psf)", reads=True
    )
    psf_fwhm_arcsec: float | None = setting(None, "FWHM of the PSF of all images in arcsec", above=0, at_most=3_600)
    psf_fwhm_pix: float | None = setting(None, "FWHM of the PSF of all images in pixels", above=0, at_most=1_000)
    largest_megapixels: float = setting(
        400.0,
        "largest image that is read as one, in millions of pixels; a larger one is damage, or a mosaic",
        above=0,
        at_most=1_000_000,
    )
    largest_unpacked_gb: float = setting(
        4.0,
        "largest content of a compressed file, in GB; one that unpacks to more is not read",
        above=0,
        at_most=1_000_000,
    )

    def check(self) -> None:
        """UsageError for settings that exclude each other."""
        super().check()
        if sum(value is not None for value in (self.psf, self.psf_fwhm_arcsec, self.psf_fwhm_pix)) > 1:
            raise UsageError("give only one of --psf, --psf-fwhm-arcsec and --psf-fwhm-pix.")


DEFAULT = PictureSettings()
