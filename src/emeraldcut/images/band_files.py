"""Bands in files of their own: one galaxy, or mosaic, with a file for each filter, by the names of the files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emeraldcut.data.flags import UNUSABLE, Flag
from emeraldcut.errors import UsageError
from emeraldcut.images.bands import MOST_BANDS
from emeraldcut.images.formats import NO_PIXELS, Picture, failed, of_bands, read_file
from emeraldcut.images.options import PictureSettings
from emeraldcut.images.planes import FileGroup, is_band, readable_stem
from emeraldcut.images.psf import Psf

SAME_PIXEL = 0.2  # pixels: files whose middles agree to this show one place
SAME_SCALE = 1e-3  # relative: and whose pixels agree to this have one grid
WORD = re.compile(r"[A-Za-z0-9]+")
ONE_FILE_EACH = "one file for each band"  # in `read_as`


class _Place(NamedTuple):
    """Where in a name the band may be: the name around it, and what is there."""

    key: tuple[str, str]
    word: str
    name: str  # without the band


def _places(name: str) -> Iterator[_Place]:
    """Every word of a path without its ending; of the folders on it, which are words as a whole."""
    folders, _, stem = name.rpartition("/")
    for word in WORD.finditer(stem):
        before, after = stem[: word.start()], stem[word.end() :]
        rest = before.rstrip("_-. ") + after if before else after.lstrip("_-. ")
        path = "/".join(part for part in (folders, rest) if part)
        yield _Place((f"{folders}/{before}".lower(), after.lower()), word[0], path or name)
    parts = folders.split("/") if folders else []
    for k, part in enumerate(parts):
        path = "/".join([*parts[:k], *parts[k + 1 :], stem])
        yield _Place(("/".join(parts[:k]), "/".join(["", *parts[k + 1 :], stem]).lower()), part, path)


def _form(word: str) -> str:
    """Letters and digits of a word: w5 is like w1."""
    return re.sub(r"[a-z]", "a", re.sub(r"[0-9]", "0", word.lower()))


def joined_bands(groups: Sequence[FileGroup], name_of: Callable[[Path], str]) -> list[FileGroup]:
    """Files whose names differ in nothing but the name of a filter as one group each, others as they are.

    The filter is a word of the name (`12_g.fits`, `cutout-HSC-I-12.fits`) or a folder on the way (`g/12.fits`). Names
    that number something with letters, of which only some are those of filters, are left alone.

    Parameters
    ----------
    groups : list of FileGroup
    name_of : callable
        The path of a file within its folder, without the ending.
    """
    members: dict[tuple[str, str], list[tuple[int, _Place]]] = defaultdict(list)
    letters: dict[tuple[str, str], set[str]] = defaultdict(set)
    names = [name_of(group.path) for group in groups]
    if not any(
        is_band(word) for name in names for word in WORD.findall(f"{name}/{readable_stem(name.rpartition('/')[2])}")
    ):
        return list(groups)
    for number, name in enumerate(names):
        folder, _, stem = name.rpartition("/")
        for place in _places("/".join(part for part in (folder, readable_stem(stem)) if part)):
            if is_band(place.word):
                members[place.key].append((number, place))
            elif len(place.word) < 3:
                letters[place.key].add(_form(place.word))
    joined: dict[int, list[int]] = {}
    taken: set[int] = set()
    bands: dict[int, str] = {}
    titles: dict[int, str] = {}
    for key, found in sorted(members.items(), key=lambda item: -len(item[1])):
        free = [(number, place) for number, place in found if number not in taken]
        words = [place.word.lower() for _, place in free]
        enumerated = letters.get(key, set()) & {_form(word) for word in words}
        if enumerated or not 2 <= len(free) <= MOST_BANDS or len(set(words)) < len(words):
            continue
        numbers = [number for number, _ in free]
        taken.update(numbers)
        joined[numbers[0]], titles[numbers[0]] = numbers, free[0][1].name
        bands |= {number: place.word.lower() for number, place in free}
    made = []
    for number, group in enumerate(groups):
        if number in joined:
            parts = [replace(groups[k], band=bands[k], name=names[k]) for k in joined[number]]
            made.append(replace(parts[0], name=titles[number], of_bands=parts))
        elif number not in taken:
            made.append(group)
    return made


def sentence(groups: Sequence[FileGroup], where: Path) -> str:
    """What is said of files that were joined; empty if none were."""
    joined = [group for group in groups if group.of_bands]
    if not joined:
        return ""
    bands = ", ".join(one.band for one in joined[0].bands)
    some = "1 image" if len(joined) == 1 else f"{len(joined):,} images"
    return (
        f"{some} of '{where}' {'has' if len(joined) == 1 else 'have'} a file for each band ({bands}), which are "
        "combined; --band picks, --stack reads each file as a galaxy of its own."
    )


def read_group(group: FileGroup, settings: PictureSettings) -> Iterator[tuple[str, Path, Picture]]:
    """The images of a file, or of the files of all its bands: the name in the folder, if any, the file, and the image.

    Bands on one grid of pixels are combined, see `images.bands`; others are left out, and named in `read_as`. Where no
    two of them share their pixels, there is one image without pixels that asks for a choice. Files that show different
    places are images of their own.
    """
    if not group.of_bands:
        for picture in read_file(group.path, settings, group):
            yield group.name, group.path, picture
        return
    wanted = {band.lower() for band in settings.band}
    parts, plain = [one for one in group.bands if not wanted or one.band in wanted], replace(settings, band=())
    if not parts:
        detail = (
            f"There is no band '{settings.band[0]}'; it has the bands {', '.join(one.band for one in group.bands)}."
        )
        yield group.name, group.path, Picture(NO_PIXELS, Flag.NOT_AN_IMAGE, detail)
        return
    read = [list(read_file(one.path, plain, one)) for one in parts]
    if any(len(pictures) != 1 for pictures in read) or _apart([pictures[0].facts for pictures in read]):
        for one, pictures in zip(parts, read, strict=True):
            for picture in pictures:
                yield one.name, one.path, picture
        return
    try:
        picture = _combined([one.band for one in parts], [pictures[0] for pictures in read])
    except UsageError:
        raise
    except Exception as error:  # of what their headers state
        picture = failed(error)
    yield group.name, parts[0].path, picture


def _apart(facts: list[dict[str, Any]]) -> bool:
    """Whether images show places that are further apart than they could be as bands of one."""
    known = [f for f in facts if {"ra", "dec", "pixel_scale_arcsec"} <= f.keys()]
    far = [_offset_pix(known[0], other) for other in known[1:]]
    return any(offset > FAR_PIX for offset in far)


FAR_PIX = 10.0  # between the middles of images that are no bands of one another


def _offset_pix(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Distance of the middles of two images, in the larger pixels."""
    east = (one["ra"] - other["ra"] + 180) % 360 - 180
    north = one["dec"] - other["dec"]
    scale = max(one["pixel_scale_arcsec"], other["pixel_scale_arcsec"])
    return float(np.hypot(east * np.cos(np.radians(one["dec"])), north) * 3600 / scale)


def _one_grid(one: Picture, other: Picture) -> bool:
    """Whether two images have the same pixels, as far as their headers say."""
    if one.pixels.shape != other.pixels.shape:
        return False
    a, b = one.facts, other.facts
    if {"pixel_scale_arcsec"} <= a.keys() & b.keys():
        if abs(a["pixel_scale_arcsec"] / b["pixel_scale_arcsec"] - 1) > SAME_SCALE:
            return False
        if {"ra", "dec"} <= a.keys() & b.keys() and _offset_pix(a, b) > SAME_PIXEL:
            return False
    matrix = [name for name in ("cd11", "cd12", "cd21", "cd22") if name in a.keys() & b.keys()]
    size = max((abs(a[name]) for name in matrix), default=0.0)
    return all(abs(a[name] - b[name]) <= 10 * SAME_SCALE * size for name in matrix)


def _combined(names: list[str], pictures: list[Picture]) -> Picture:
    """Images of one galaxy in several bands as one."""
    good = [k for k, picture in enumerate(pictures) if not picture.flag & UNUSABLE]
    if not good:
        return pictures[0]
    grids = [[k for k in good if _one_grid(pictures[first], pictures[k])] for first in good]
    used = max(grids, key=len)
    if len(used) == 1 and len(good) > 1:
        detail = (
            f"It has the bands {', '.join(names[k] for k in good)} with different pixels; choose one with --band, or "
            "read each file with --stack."
        )
        return Picture(NO_PIXELS, Flag.NOT_AN_IMAGE, detail)
    facts = {name: value for name, value in pictures[used[0]].facts.items() if name not in ("noise_sigma", "read_as")}
    notes = [ONE_FILE_EACH]
    notes += list(dict.fromkeys(str(pictures[k].facts["read_as"]) for k in used if "read_as" in pictures[k].facts))
    other = [names[k] for k in good if k not in used]
    notes += [f"band {', '.join(other)} left out, with other pixels"] if other else []
    bad = [names[k] for k in range(len(names)) if k not in good]
    notes += [f"band {', '.join(bad)} cannot be used"] if bad else []
    planes = []
    for k in used:
        pixels, sigma = pictures[k].pixels, pictures[k].facts.get("noise_sigma", np.nan)
        planes.append((pixels, np.full_like(pixels, sigma) if np.isfinite(sigma) else None))
    psf = mean_psf([pictures[k].psf for k in used])
    if psf is None or len(used) > 1:  # a width that one band states is not that of all
        facts.pop("psf_fwhm_pix", None)
    picture = of_bands(planes, [names[k] for k in used], facts, notes)
    picture.psf = psf
    return picture


def mean_psf(psfs: Sequence[Psf | None]) -> Psf | None:
    """The mean of the PSFs of several bands; None if one is unknown, or changes with the place."""
    known = [psf for psf in psfs if psf is not None and len(psf.parts) == 1]
    if len(known) < len(psfs) or not known:
        return None
    images = [psf.everywhere[0] for psf in known]
    side = [max(image.shape[axis] for image in images) for axis in (0, 1)]
    if any((s - n) % 2 for image in images for s, n in zip(side, image.shape, strict=True)):
        return None  # their middles do not agree
    padded = [
        np.pad(image, [((s - n) // 2, (s - n) // 2) for s, n in zip(side, image.shape, strict=True)])
        for image in images
    ]
    return Psf(np.mean(padded, axis=0)[None], name="mean of the bands")
