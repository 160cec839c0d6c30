"""Cut-outs at the positions of a catalogue, of one mosaic or of many that overlap; they are read piece by piece."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import numpy as np
from astropy.table import MaskedColumn, Table, vstack

from emeraldcut.data.columns import keep_apart, numbers
from emeraldcut.data.flags import Flag
from emeraldcut.data.imageset import ImageSet, add_flag, some
from emeraldcut.errors import UsageError
from emeraldcut.images.formats import NO_PIXELS, Picture, already_unusable, checked, failed
from emeraldcut.images.mosaic import BLOCK_PIX, Mosaic, Tile, on_sky, open_mosaic, tiles_in
from emeraldcut.images.options import DEFAULT, PictureSettings
from emeraldcut.images.origin import FILE, FILE_BYTES, Origin, Origins, file_text
from emeraldcut.images.planes import FileGroup
from emeraldcut.images.psf import psf_or_why
from emeraldcut.images.store import CHUNK_BYTES
from emeraldcut.images.wcs import sky_facts
from emeraldcut.tables.catalogues import catalogue_parts

MOST_COMPARED = 200  # mosaics of which it is said that two are of different bands
KEPT_OPEN = 8  # mosaics; a cut-out needs its own and those beside it
SAME_GRID_PIX = 0.02  # two tiles share their pixels' grid if these agree to this


class Tiles:
    """The mosaics of a source, opened as they are needed; `tiles[k]` says where and what the k-th is."""

    def __init__(self, files: Iterable[Path | FileGroup], settings: PictureSettings = DEFAULT) -> None:
        self._tiles = [tile for file in files for tile in _tiles_of(file, settings)]
        numbered = reversed(list(enumerate(self._tiles)))
        self.numbers = {name: number for number, tile in numbered for name in (file_text(tile.name), tile.name)}
        self._open: OrderedDict[int, tuple[Mosaic, AbstractContextManager]] = OrderedDict()
        self.beside = cache(self._beside)  # of each tile, once
        faults = [tile for tile in self._tiles if tile.fault]
        if len(faults) == len(self._tiles):
            raise UsageError(f"the mosaic '{faults[0].path}' cannot be read: {faults[0].fault}")

    def __len__(self) -> int:
        return len(self._tiles)

    def __getitem__(self, number: int) -> Tile:
        return self._tiles[number]

    def __iter__(self) -> Iterator[Tile]:
        return iter(self._tiles)

    def two_bands(self) -> str:
        """A sentence, if two tiles of different bands show one place; empty if none do."""
        of_band = [tile for tile in self._tiles if tile.band and not tile.fault and not tile.parts]
        if len({tile.band for tile in of_band}) < 2:
            return ""
        for k, tile in enumerate(of_band[:MOST_COMPARED]):
            for other in of_band[k + 1 : MOST_COMPARED]:
                if other.band != tile.band and _near(tile, other) and tile.overlaps(other):
                    return (
                        f"'{tile.path.name}' (band {tile.band}) and '{other.path.name}' ({other.band}) show one place: "
                        "positions are cut out of the mosaic in which they lie deepest; choose with --band."
                    )
        return ""

    def close(self) -> None:
        """Closes all files."""
        while self._open:
            self._open.popitem()[1][1].__exit__(None, None, None)

    def mosaic(self, number: int) -> Mosaic:
        """The pixels of a tile. BadImage, or whatever its library raises, if it cannot be read."""
        if number not in self._open:
            while len(self._open) >= KEPT_OPEN:
                self._open.popitem(last=False)[1][1].__exit__(None, None, None)
            context = open_mosaic(self._tiles[number])
            self._open[number] = context.__enter__(), context
        self._open.move_to_end(number)
        return self._open[number][0]

    def cutout(self, number: int, x0: int, y0: int, size: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels (size, size) of a tile from column x0, row y0 on, and the noise of each that its map states, or None.

        What lies beyond the tile comes from tiles beside it that share its grid of pixels; NaN where there is none.
        """
        window, noise = self.mosaic(number).window_and_noise(x0, y0, size, size)
        beyond = self[number].beyond(x0, y0, size)
        for other, dx, dy in self.beside(number) if beyond.any() else ():
            filled = beyond & ~self[other].beyond(x0 - dx, y0 - dy, size)
            if filled.any():
                theirs, their_noise = self.mosaic(other).window_and_noise(x0 - dx, y0 - dy, size, size)
                window[filled] = theirs[filled]
                if noise is not None:  # of a tile without a map the typical noise of this one
                    noise[filled] = np.nanmedian(noise) if their_noise is None else their_noise[filled]
                beyond &= ~filled
        return window, noise

    def _beside(self, number: int) -> list[tuple[int, int, int]]:
        """Tiles near a tile with the same grid of pixels, and where their first pixel is in its pixels: (k, x, y)."""
        tile, found = self[number], []
        for k, other in enumerate(self._tiles):
            if k == number or other.fault or not _near(tile, other):
                continue
            ny, nx = other.shape
            theirs = np.array([[0, nx - 1, 0, nx - 1, nx // 2], [0, 0, ny - 1, ny - 1, ny // 2]], dtype=float)
            ours = np.array(tile.to_pixels(*other.to_sky(*theirs)))
            shift = np.nan_to_num(np.round(ours - theirs).mean(axis=1))
            if np.abs(ours - theirs - shift[:, None]).max() < SAME_GRID_PIX:  # not for NaN
                found.append((k, int(shift[0]), int(shift[1])))
        return found

    def places(self, catalogue: Table, reach: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each row of a catalogue the number (n,) of its tile, -1 if it has none, and its pixels x, y (n,) there.

        By `ra`, `dec` where there is a WCS: the tile in which the place lies deepest (on the sky), or the next if that
        has no data there; up to `reach` pixels outside. A tile that cannot be read has only what no other tile has.
        Else by `x`, `y`, in the mosaic that `file` names if there are several. Sky positions come first because in
        tables of ours `x`, `y` are places in a cut-out.
        """
        with_wcs = [tile for tile in self._tiles if tile.wcs is not None]
        if with_wcs and {"ra", "dec"} <= set(catalogue.colnames):
            return self._places_on_sky(numbers(catalogue["ra"]), numbers(catalogue["dec"]), reach)
        if not {"x", "y"} <= set(catalogue.colnames):
            raise UsageError(
                "the catalogue needs ra and dec (for a mosaic with a WCS) or x and y; its columns are "
                f"{', '.join(catalogue.colnames)}{'' if with_wcs else '; the mosaic has no WCS'}."
            )
        x, y = numbers(catalogue["x"]), numbers(catalogue["y"])
        names = catalogue["file"] if "file" in catalogue.colnames else [""] * len(catalogue)
        if FILE_BYTES in catalogue.colnames:
            origins = Origins(catalogue)
            names = [origin.path if (origin := origins[row]) else "" for row in range(len(catalogue))]
        number = np.array([self._named(str(name)) for name in names])
        if not (number >= 0).any():
            if len({tile.path for tile in self._tiles}) > 1:
                raise UsageError("positions x, y in several mosaics need a column 'file' that names the mosaic.")
            number = np.zeros(len(catalogue), int)
        for k in np.unique(number[number >= 0]):
            there = number == k
            number[there] = np.where(self[k].depth(x[there], y[there]) > -reach, k, -1)  # not for NaN
        return number, x, y

    def _named(self, name: str) -> int:
        """The number of the tile with a name, or the only one whose path ends with it; -1 if there is none."""
        if name in self.numbers:
            return self.numbers[name]
        ends = [k for k, tile in enumerate(self._tiles) if name and f"/{tile.name}".endswith(f"/{name}")]
        return ends[0] if len(ends) == 1 else -1

    def _places_on_sky(self, ra: np.ndarray, dec: np.ndarray, reach: float):
        order = np.argsort(dec)
        order = order[np.isfinite(ra[order]) & np.isfinite(dec[order])]
        vectors, sorted_dec = on_sky(ra[order], dec[order]), dec[order]
        # of the deepest tile and of the next: number, x, y and depth (arcsec)
        first, second = (np.full((4, len(ra)), np.nan) for _ in range(2))
        for found in (first, second):
            found[0], found[3] = -1, -np.inf
        for k in sorted(range(len(self)), key=lambda k: bool(self[k].fault)):
            tile = self[k]
            if tile.wcs is None:
                continue
            middle, radius = tile.circle
            radius += 2 * reach * tile.scale_arcsec / 3600
            height = np.degrees(np.arcsin(np.clip(middle[2], -1, 1)))
            band = slice(*np.searchsorted(sorted_dec, (height - radius, height + radius)))
            rows = order[band][vectors[band] @ middle >= np.cos(np.radians(min(radius, 180.0)))]
            if tile.fault:
                rows = rows[first[0, rows] < 0]
            x, y = tile.to_pixels(ra[rows], dec[rows])
            depth = tile.depth(x, y)
            rows, here = rows[depth > -reach], np.array([np.full(len(rows), k), x, y, depth * tile.scale_arcsec])
            here = here[:, depth > -reach]
            deeper = here[3] > first[3, rows]
            second[:, rows[deeper]] = first[:, rows[deeper]]
            first[:, rows[deeper]] = here[:, deeper]
            next_deep = ~deeper & (here[3] > second[3, rows])
            second[:, rows[next_deep]] = here[:, next_deep]
        for row in np.flatnonzero(second[3] > 0):
            if not self._has_data(*first[:3, row]) and self._has_data(*second[:3, row]):
                first[:, row] = second[:, row]
        return first[0].astype(int), first[1], first[2]

    def _has_data(self, number: float, x: float, y: float) -> bool:
        try:
            pixels = self.mosaic(int(number)).window(round(x) - 1, round(y) - 1, 3)
        except Exception:  # of any library; whoever cuts it out will say what is wrong
            return False
        return bool(np.isfinite(pixels).any() and np.ptp(pixels[np.isfinite(pixels)]) > 0)

    def rows_inside(self, folder: str | Path, columns: Mapping[str, str] | None = None) -> Table:
        """The rows of a catalogue in Parquet files, see `catalogue_parts`, that lie in one of the tiles."""
        inside = []
        for part in catalogue_parts(folder, *self.box(), columns):
            part = part[self.places(part)[0] >= 0]
            if len(part):
                inside.append(part)
        return vstack(inside, metadata_conflicts="silent") if inside else Table()

    def box(self) -> tuple[tuple[float, float], list[tuple[float, float]]]:
        """Ranges of declination, and of right ascension, in which all tiles lie, degrees."""
        circles = [tile.circle for tile in self._tiles if tile.wcs is not None]
        if not circles:
            raise UsageError("a catalogue in a folder needs mosaics with a WCS.")
        middles, radii = np.array([middle for middle, _ in circles]), np.array([radius for _, radius in circles])
        dec = np.degrees(np.arcsin(np.clip(middles[:, 2], -1, 1)))
        low, high = float((dec - radii).min()), float((dec + radii).max())
        if low < -89 or high > 89:
            return (low, high), [(-360.0, 360.0)]
        ra = np.degrees(np.arctan2(middles[:, 1], middles[:, 0]))
        half = np.degrees(np.arcsin(np.minimum(np.sin(np.radians(radii)) / np.cos(np.radians(dec)), 1)))
        order = np.argsort((ra - half) % 360)
        starts, ends = ((ra - half) % 360)[order], ((ra - half) % 360 + 2 * half)[order]
        reached = np.maximum.accumulate(ends)
        gaps = np.append(starts[1:], starts[0] + 360) - reached
        widest = int(np.argmax(gaps))
        if gaps[widest] <= 0:
            return (low, high), [(-360.0, 360.0)]
        begin, end = float(starts[(widest + 1) % len(starts)]), float(reached[widest])
        begin -= 360 * (begin > end)
        return (low, high), [(begin + turn, end + turn) for turn in (-360, 0, 360)]


def _tiles_of(file: Path | FileGroup, settings: PictureSettings) -> list[Tile]:
    """The large images in a file; one that says what is wrong where it cannot be opened."""
    try:
        return tiles_in(file, settings)
    except UsageError:
        raise
    except Exception as error:  # libraries raise errors of every kind on damaged files
        path = file.path if isinstance(file, FileGroup) else file
        return [Tile(str(path), path, fault=failed(error).detail)]


def _near(one: Tile, other: Tile) -> bool:
    """Whether the circles around two tiles, a tenth wider, touch."""
    if one.wcs is None or other.wcs is None:
        return False
    (a, a_radius), (b, b_radius) = one.circle, other.circle
    return bool(np.degrees(np.arccos(np.clip(a @ b, -1, 1))) < 1.1 * (a_radius + b_radius))


def first_pixel(middle: np.ndarray, size: int) -> np.ndarray:
    """Where along an axis a cut-out around `middle` (n,) begins.

    Halves, as of whole numbers in a cut-out of even size, go up, also where the arithmetic of a projection has left
    them a little less, so that the same place gives the same cut-out on every tile.
    """
    return np.floor(np.asarray(middle) - (size - 1) / 2 + 0.5 + 1e-6).astype(int)


def cut_out(
    tiles: Tiles,
    catalogue: Table,
    size: int,
    chunk: int,
    settings: PictureSettings = DEFAULT,
    *,
    bands: bool = False,
) -> Iterator[ImageSet]:
    """Cut-outs (size, size) around the positions of a catalogue, at most `chunk` and `CHUNK_BYTES` at a time.

    They come tile by tile, and within each in the order of the catalogue (if it is compressed from the bottom up).
    Every row of the catalogue comes once.

    Each row carries the catalogue's columns, `file` (the tile), `mosaic_x`, `mosaic_y`, the local WCS, and
    `noise_sigma` where the mosaic has a map of its noise. The middle of a cut-out, (size - 1) / 2, is within half a
    pixel of the position. What no mosaic has is NaN; a cut-out wholly outside is flagged NO_DATA, one that cannot be
    read UNREADABLE. With `bands` the sets have the pixels of single bands too, without what lies on other tiles.
    """
    catalogue = catalogue.copy(copy_data=False)
    try:
        number, x, y = tiles.places(catalogue, reach=size / 2)
        if "file" in catalogue.colnames and not set(catalogue["file"]) <= tiles.numbers.keys():
            catalogue.rename_column("file", "input_file")
        packed = np.array([tile.packed for tile in tiles])[number] & (number >= 0)
        blocks = np.where(packed, np.nan_to_num(y) // BLOCK_PIX, 0)
        order = np.lexsort((blocks, np.where(number < 0, len(tiles), number)))
        planes = 1 + (max(len(tile.bands.split(",")) for tile in tiles) if bands else 0)
        chunk = max(min(chunk, CHUNK_BYTES // (4 * size * size * planes)), 1)
        for start in range(0, len(order), chunk):
            rows = order[start : start + chunk]
            images = _cutouts(tiles, catalogue[rows], number[rows], x[rows], y[rows], size, settings)
            images.bands = _single_bands(tiles, number[rows], x[rows], y[rows], size) if bands else None
            yield images
    finally:
        tiles.close()


def _cutouts(
    tiles: Tiles,
    table: Table,
    number: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    size: int,
    settings: PictureSettings,
) -> ImageSet:
    known = number >= 0
    x0, y0 = (first_pixel(np.where(known, v, 0.0), size) for v in (x, y))
    pictures = [_picture(tiles, table[i], number[i], x0[i], y0[i], size) for i in range(len(table))]
    facts: dict[str, np.ndarray] = {}
    for k in np.unique(number[known]):
        there = number == k
        if tiles[k].wcs is not None:
            for name, values in sky_facts(tiles[k].wcs, *(v[there] + (size - 1) / 2 for v in (x0, y0))).items():
                facts.setdefault(name, np.full(len(table), np.nan))[there] = values
    given = {"ra", "dec"} & set(table.colnames)
    facts = {f"image_{name}" if name in given else name: values for name, values in facts.items()}
    noise = np.array([picture.facts.get("noise_sigma", np.nan) for picture in pictures])
    facts |= {"mosaic_x": x, "mosaic_y": y} | ({"noise_sigma": noise} if np.isfinite(noise).any() else {})
    for name, values in facts.items():
        table[name] = MaskedColumn(values, mask=~np.isfinite(values))
    origins = [Origin(tiles[k].name).columns() if k >= 0 else {} for k in number]
    files = np.array([origin.get(FILE, "") for origin in origins], dtype=object)
    table["file"] = MaskedColumn(files, mask=~known) if not known.all() else files
    table.remove_columns([name for name in ("x", "y", "flag", "flag_text") if name in table.colnames])
    nothing = np.full((size, size), np.nan, np.float32)
    for name in ("read_as", "bands"):
        said = np.array([getattr(tiles[k], name) if k >= 0 else "" for k in number], dtype=object)
        if said.astype(bool).any():
            table[name] = said
    psfs = _psfs(tiles, table, number, x, y, settings, pictures)
    pixels = np.stack([p.pixels if p.pixels.size else nothing for p in pictures])
    noises = [p.noise if p.pixels.size else None for p in pictures]
    images = ImageSet(pixels, keep_apart(table), psfs, some(noises))
    if any(FILE_BYTES in origin for origin in origins):
        images.table[FILE_BYTES] = np.array([origin.get(FILE_BYTES, "") for origin in origins], dtype=object)
    for row, picture in enumerate(pictures):
        if picture.flag:
            add_flag(images.table, row, picture.flag, picture.detail)
    return images


def _single_bands(
    tiles: Tiles, number: np.ndarray, x: np.ndarray, y: np.ndarray, size: int
) -> list[dict[str, np.ndarray] | None]:
    """The bands of each cut-out, None where there is one, or none can be read."""
    found: list[dict[str, np.ndarray] | None] = []
    for k, x0, y0 in zip(number, *(first_pixel(np.nan_to_num(v), size) for v in (x, y)), strict=True):
        try:
            bands = tiles.mosaic(k).bands(int(x0), int(y0), size) if k >= 0 else {}
        except Exception:  # of any library; the row says what is wrong
            bands = {}
        found.append(bands if len(bands) > 1 else None)
    return found


def _psfs(
    tiles: Tiles,
    table: Table,
    number: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    settings: PictureSettings,
    pictures: list[Picture],
) -> list[np.ndarray | None] | None:
    """The PSF of each cut-out where it is known, with its width as a column of the table; None if none is.

    One of `pictures` whose own PSF cannot be read becomes one that says so.
    """
    found = []
    for i, k in enumerate(number):
        tile = tiles[k] if k >= 0 else None
        row = {name: table[name][i] for name in table.colnames if not np.ma.is_masked(table[name][i])}
        own = (tile.psf, tile.psf_fwhm_pix) if tile is not None else (None, None)
        psf, width, problem = psf_or_why(row, settings, *own, x=x[i], y=y[i])
        if problem is not None and not pictures[i].flag:
            pictures[i] = failed(problem)
        found.append((psf, width))
    widths = np.array([np.nan if width is None else width for _, width in found], dtype=float)
    if np.isfinite(widths).any():
        table["psf_fwhm_pix"] = MaskedColumn(widths, mask=~np.isfinite(widths))
    return [psf for psf, _ in found] if any(psf is not None for psf, _ in found) else None


def _picture(tiles: Tiles, row, number: int, x0: int, y0: int, size: int) -> Picture:
    """The cut-out of one row of a catalogue."""
    if number < 0:
        broken = [tile.path.name for tile in tiles if tile.fault]
        where = "the mosaic" if len(tiles) == 1 else f"the {len(tiles)} mosaics"
        detail = f"The position is unknown or outside {where}{f'; {broken[0]} cannot be read' if broken else ''}."
        return already_unusable(row) or Picture(NO_PIXELS, Flag.NO_DATA, detail)
    try:
        pixels, noise = tiles.cutout(number, x0, y0, size)
    except Exception as error:  # libraries raise errors of every kind on damaged files
        return failed(error)
    known = noise[np.isfinite(pixels) & np.isfinite(noise)] if noise is not None else NO_PIXELS
    picture = checked(pixels, facts={"noise_sigma": float(np.median(known)) if known.size else np.nan})
    picture.noise = noise if known.size else None
    return picture
