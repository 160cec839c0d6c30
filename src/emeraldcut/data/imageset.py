"""Image sets: pixels with one table row per image, which all stages take and return."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from emeraldcut.data.colours import in_colour
from emeraldcut.data.columns import table_from_rows
from emeraldcut.data.flags import Flag, describe
from emeraldcut.data.snippets import GALLERY, snippet
from emeraldcut.data.thumbnails import thumbnail
from emeraldcut.errors import UsageError

Pixels = Sequence[np.ndarray] | np.ndarray  # one (ny, nx) array per image, or one (n, ny, nx) array
Rows = int | slice | Sequence[int] | Sequence[bool] | np.ndarray  # one row, a slice, indices, or a boolean mask


SHOWN = 24  # pictures in a notebook


@dataclass(repr=False)
class ImageSet:
    """Images of one or several sizes, with one row of metadata each.

    Attributes
    ----------
    pixels : sequence of (ny, nx) float32 arrays, or one (n, ny, nx) array
        Counts, y first. NaN where there is no data. Shape (0, 0) where the image could not be read.
    table : astropy Table, n rows
        Always `id` (str), `flag` (int, see `Flag`) and `flag_text` (str). Where they are known also `file`, `label`,
        `ra`, `dec` (degrees, of the image centre), `pixel_scale_arcsec`, `psf_fwhm_pix`, `sky_sigma`, the local WCS
        matrix `cd11, cd12, cd21, cd22` (degrees per pixel), and the truth columns of synthetic galaxies.
    psfs : list of (ny, nx) float32 arrays or None, optional
        The PSF of each image, of sum 1, in its pixels, None where it is not known; None if none is.
    noises : list of (ny, nx) float32 arrays or None, optional
        The noise of each pixel of an image, as a standard deviation in its counts, where a map states it; one that is
        missing or not positive takes its pixel out. Where the table has no `noise_sigma` only the ratios count.
    bands : list of dict or None, optional
        The pixels (ny, nx) of each band by its name, of images that were made of several; only where they were asked
        for.
    sources : tuple
        Stamps of the files that the images were read from (`runs.stamps`); of a set that a reader has made.
    colours : list of (ny, nx, 3) uint8 arrays or None, optional
        What the eye sees of pictures in colour and of several bands, None of others; only where they are to be shown.

    Examples
    --------
    >>> images = ImageSet(np.ones((2, 64, 64), np.float32), Table({"id": ["a", "b"], "psf_fwhm_pix": [2.0, 2.5]}))
    >>> images
    <ImageSet: 2 images (64x64 pixels), 0 flagged; id, psf_fwhm_pix, flag, flag_text>
    >>> images[1].table["id"][0]
    'b'
    """

    pixels: Pixels
    table: Table
    psfs: list[np.ndarray | None] | None = None
    noises: list[np.ndarray | None] | None = None
    bands: list[dict[str, np.ndarray] | None] | None = None
    sources: tuple[tuple[str, int, int, str], ...] = ()
    colours: list[np.ndarray | None] | None = None

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.table):
            raise UsageError(
                f"an ImageSet needs one table row per image; received {len(self.pixels)} images "
                f"and {len(self.table)} rows."
            )
        if self.psfs is not None and len(self.psfs) != len(self.table):
            raise UsageError(f"an ImageSet of {len(self.table)} images needs as many PSFs; received {len(self.psfs)}.")
        self._check_noises()
        if "id" not in self.table.colnames:
            self.table.add_column(np.arange(len(self.table)), name="id", index=0)
        self.table["id"] = np.array([str(i) for i in self.table["id"]], dtype=object)
        for name in self.table.colnames:  # text of fixed width cannot be stacked with other text, nor grow
            if self.table[name].dtype.kind in "US":
                self.table[name] = self.table[name].astype(object)
        if "flag" not in self.table.colnames:
            self.table["flag"] = np.zeros(len(self.table), dtype=np.int64)
        if "flag_text" not in self.table.colnames:
            self.table["flag_text"] = np.array([describe(f) for f in self.table["flag"]], dtype=object)

    def _check_noises(self) -> None:
        """Raises UsageError unless there is one map, or None, for each image, of its size."""
        if self.noises is None:
            return
        if len(self.noises) != len(self.table):
            raise UsageError(
                f"an ImageSet of {len(self.table)} images needs as many noise maps; received {len(self.noises)}."
            )
        for pixels, noise in zip(self.pixels, self.noises, strict=True):
            if noise is not None and np.shape(noise) != np.shape(pixels):
                raise UsageError(
                    f"a noise map needs the size of its image, {np.shape(pixels)}; received {np.shape(noise)}."
                )

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        sizes = sorted({np.shape(image)[::-1] for image in self.pixels[:100]})
        shown = ", ".join("x".join(map(str, size)) for size in sizes[:3]) + ", ..." * (len(sizes) > 3)
        flagged = int(np.count_nonzero(self.table["flag"]))
        return f"<ImageSet: {self._counted} ({shown} pixels), {flagged:,} flagged; {', '.join(self.table.colnames)}>"

    def _repr_html_(self) -> str:
        shown = range(min(len(self), SHOWN))
        pictures = [(thumbnail(self.seen(k)), str(self.table["id"][k])) for k in shown]
        return snippet(GALLERY, title=self._counted, pictures=pictures, more=len(self) - len(shown))

    @property
    def _counted(self) -> str:
        return f"{len(self):,} image{'s' * (len(self) != 1)}"

    def seen(self, place: int) -> np.ndarray:
        """What is shown of an image: its colours (ny, nx, 3) uint8 where they are known, else its pixels (ny, nx).

        Colours are also made of its bands, where these are kept; see `data.colours.in_colour`.
        """
        colour = None if self.colours is None else self.colours[place]
        if colour is None and self.bands is not None:
            colour = in_colour(self.bands[place])
        return self.pixels[place] if colour is None else colour

    def __getitem__(self, rows: Rows) -> ImageSet:
        """The chosen rows (slice, indices or boolean mask) as a new set; one integer gives a set of one."""
        index = np.atleast_1d(np.arange(len(self))[rows])
        psfs = None if self.psfs is None else [self.psfs[i] for i in index]
        noises = None if self.noises is None else [self.noises[i] for i in index]
        bands = None if self.bands is None else [self.bands[i] for i in index]
        colours = None if self.colours is None else [self.colours[i] for i in index]
        pixels = self.pixels[index] if isinstance(self.pixels, np.ndarray) else [self.pixels[i] for i in index]
        return ImageSet(pixels, self.table[index], psfs, noises, bands, self.sources, colours)

    @classmethod
    def from_rows(
        cls,
        pixels: Pixels,
        rows: Sequence[Mapping[str, Any]],
        psfs: list[np.ndarray | None] | None = None,
        noises: list[np.ndarray | None] | None = None,
    ) -> ImageSet:
        """A set from one dict of column values per image, see `table_from_rows`."""
        return cls(pixels, table_from_rows(rows), psfs, noises)


MAPS = ("psfs", "noises", "bands", "colours")  # what an image may have besides pixels and a row


def concatenate(sets: Sequence[ImageSet]) -> ImageSet:
    """All `sets` in one; the pixels become one array if all images have one size."""
    if len(sets) == 1:
        return sets[0]
    images = [image for s in sets for image in s.pixels]
    pixels = np.stack(images) if len({image.shape for image in images}) == 1 else images
    table = vstack([s.table for s in sets], metadata_conflicts="silent")
    psfs, noises, bands, colours = (_joined(getattr(s, name) or [None] * len(s) for s in sets) for name in MAPS)
    return ImageSet(pixels, table, psfs, noises, bands, colours=colours)


def _joined(maps: Iterable[list[Any]]) -> list[Any] | None:
    """The PSFs, noise maps, bands or colours of several sets as one list; None if there is none."""
    return some([one for several in maps for one in several])


def some(maps: list[Any]) -> list[Any] | None:
    """The PSFs, noise maps, bands or colours of images; None if there is none."""
    return maps if any(one is not None for one in maps) else None


def add_flags(table: Table, flags: np.ndarray, detail: str = "") -> None:
    """Sets the bits of `flags` (n,) in `table`, in place, and appends the sentences of new bits and `detail`."""
    old, texts = np.asarray(table["flag"], dtype=np.int64), np.array(table["flag_text"], dtype=object)
    new = np.asarray(flags, dtype=np.int64) & ~old
    for row in np.flatnonzero(new):
        texts[row] = f"{texts[row]} {describe(new[row])} {detail}".strip()
    table["flag"], table["flag_text"] = old | new, texts


def add_flag(table: Table, rows: Rows, flag: Flag, detail: str = "") -> None:
    """Sets `flag` in `rows` of `table`, in place, and appends its sentence and `detail` to `flag_text`."""
    flags = np.zeros(len(table), dtype=np.int64)
    flags[rows] = int(flag)
    add_flags(table, flags, detail)
