"""What the units of a FITS file are: images, the masks and noise maps of each, bands of one galaxy, a PSF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emeraldcut.errors import UsageError
from emeraldcut.images.bands import MOST_BANDS
from emeraldcut.images.claims import cards_of, file_of, fits_file, shape_of
from emeraldcut.images.masks import MaskRule, mask_rule
from emeraldcut.images.options import DEFAULT, PictureSettings
from emeraldcut.images.planes import (
    NOISE_ORDER,
    FileGroup,
    Kind,
    Role,
    is_band,
    kind_of_unit,
    numbered_alike,
    plain_band,
)
from emeraldcut.images.psf import Psf, psf_of_unit, read_psf
from emeraldcut.images.wcs import sky_axes

WCS_CARDS = [f"{name}{i}" for name in ("CTYPE", "CRVAL", "CRPIX", "CDELT") for i in (1, 2)]
WCS_CARDS += [f"{name}{i}_{j}" for name in ("CD", "PC") for i in (1, 2) for j in (1, 2)]


@dataclass
class MaskAndNoise:
    """The units of the mask and of the noise map of an image, None where there is none, and what their values are."""

    mask: Any = None
    noise: Any = None
    holds: str = ""
    rule: MaskRule = field(default_factory=MaskRule)


@dataclass
class ImageUnits:
    """One image of a FITS file, of one unit or of one for each of its bands, with the maps of each."""

    units: list[Any]
    maps: list[MaskAndNoise]
    bands: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Axis lengths, y and x last."""
        return shape_of(self.units[0])

    def notes(self) -> list[str]:
        """What is used besides the pixels, in words."""
        said = []
        for maps in self.maps:
            if maps.mask is not None:
                said.append(f"mask {_label(maps.mask)}: bad is {maps.rule.said}")
            if maps.noise is not None:
                said.append(f"noise from {_label(maps.noise)} ({maps.holds})")
        return list(dict.fromkeys(said))


@dataclass
class Contents:
    """What a FITS file holds.

    Attributes
    ----------
    images : list of ImageUnits
    psf : Psf or None
    psf_fwhm_pix : float or None
        That its header states.
    passed_over : list of str
        Names of image units that are not used.
    problem : str
        Why no image can be chosen, and what to do; empty if all is clear.
    """

    images: list[ImageUnits] = field(default_factory=list)
    psf: Psf | None = None
    psf_fwhm_pix: float | None = None
    passed_over: list[str] = field(default_factory=list)
    problem: str = ""

    def notes(self, image: ImageUnits) -> list[str]:
        """How an image is read, in words."""
        said = image.notes()
        return said + ([f"passed over {', '.join(self.passed_over)}"] if self.passed_over else [])


@contextmanager
def open_fits(group: FileGroup, settings: PictureSettings = DEFAULT, **options: Any) -> Iterator[tuple[Any, Contents]]:
    """The units of a FITS file, and what it and the files of its maps hold. `options` are those of astropy."""
    from astropy.io import fits

    for path in (group.path, group.mask, group.noise):
        if path is not None:
            fits_file(path, settings)  # what no FITS file can claim ends here, before astropy follows it
    with ExitStack() as stack:
        units = stack.enter_context(fits.open(group.path, **options))
        beside = {
            role: first_image(stack.enter_context(fits.open(path, **options)))
            for role, path in ((Role.MASK, group.mask), (Role.NOISE, group.noise))
            if path is not None
        }
        contents = contents_of(units, settings, group, beside)
        yield units, contents


def first_image(units: Any) -> tuple[Any, Any] | None:
    """The first image unit of a file, and the file's first unit."""
    return next(((unit, units[0]) for unit in units if unit.is_image and len(shape_of(unit)) >= 2), None)


def contents_of(
    units: Any,
    settings: PictureSettings = DEFAULT,
    group: FileGroup | None = None,
    beside: dict[Role, tuple[Any, Any] | None] | None = None,
) -> Contents:
    """What the units of a FITS file, and the maps `beside` it in files of their own, hold."""
    name = group.path.name if group else ""
    images = [unit for unit in units if unit.is_image and len(shape_of(unit)) >= 2 and 0 not in shape_of(unit)]
    kinds = {id(unit): kind_of_unit(cards_of(unit), unit.name) for unit in images}
    contents = Contents()
    if settings.hdu is not None or settings.image_extension is not None:
        chosen = _asked_for(units, settings)
        if not any(chosen is unit for unit in images):
            contents.problem = _no_such_unit(units, images, settings)
            return contents
        for unit in images:
            if unit is chosen:
                kinds[id(unit)] = Kind(Role.SCIENCE)
            elif kinds[id(unit)].role in (Role.SCIENCE, Role.UNKNOWN):
                kinds[id(unit)] = Kind(Role.OTHER)
    elif len(images) == 1 and not kinds[id(images[0])].sure:
        kinds[id(images[0])] = Kind(Role.SCIENCE)
    for unit in (unit for unit in images if kinds[id(unit)].role is Role.PSF):
        fwhm = cards_of(unit).get("FWHM")
        contents.psf_fwhm_pix = float(fwhm) if isinstance(fwhm, int | float) and fwhm > 0 else None
        contents.psf = psf_of_unit(unit, _label(unit))
    if group is not None and group.psf is not None and contents.psf is None:
        try:
            contents.psf = read_psf(group.psf)
        except (UsageError, OSError) as error:  # of this image, not of what the user asks for
            raise ValueError(f"the PSF beside it: {error}") from None
    pictures = _pictures(images, kinds, settings, contents)
    if not pictures and not contents.problem and images:
        maps = ", ".join(f"{_label(unit)} ({kinds[id(unit)].holds or kinds[id(unit)].role})" for unit in images)
        contents.problem = f"It holds no image but maps: {maps}; read one with --hdu."
    own = _maps(pictures, images, kinds, units, settings, name)
    unused = _add_files(own, pictures, group, beside or {}, settings)
    contents.images = _with_bands(pictures, own, kinds, settings)
    used = {id(unit) for one in own.values() for unit in (one.mask, one.noise)} | {id(unit) for unit in pictures}
    used |= {id(unit) for unit in images if kinds[id(unit)].role is Role.PSF}
    contents.passed_over = [_label(unit) for unit in images if id(unit) not in used] if pictures else []
    if group is not None:
        contents.passed_over += [path.name for path in (*group.passed_over, *unused)]
    return contents


def _asked_for(units: Any, settings: PictureSettings) -> Any:
    if settings.hdu is not None:
        return units[settings.hdu] if settings.hdu < len(units) else None
    wanted = (settings.image_extension or "").strip().upper()
    return next((unit for unit in units if unit.name.upper() == wanted), None)


def _no_such_unit(units: Any, images: list[Any], settings: PictureSettings) -> str:
    asked = f"unit {settings.hdu}" if settings.hdu is not None else f"unit '{settings.image_extension}'"
    numbers = {id(unit): number for number, unit in enumerate(units)}
    known = ", ".join(f"{numbers[id(unit)]} ({_label(unit)})" for unit in images) or "none"
    return f"It has no image {asked}; its image units are {known}."


def _label(unit: Any) -> str:
    """The name of a unit; that of its file where it has none."""
    if unit.name and unit.name not in ("PRIMARY", "COMPRESSED_IMAGE"):
        return str(unit.name) + (f",{unit.ver}" if unit.ver > 1 else "")
    path = file_of(unit)
    return path.name if path else "primary"


def same_place(one: Any, other: Any) -> bool:
    """Whether two units show one place: the same WCS cards, or none in the second."""
    if not sky_axes(cards_of(other)):
        return True
    return _wcs_cards(one) == _wcs_cards(other)


def _wcs_cards(unit: Any) -> tuple[Any, ...]:
    return tuple(cards_of(unit).get(card) for card in WCS_CARDS)


def _pictures(images: list[Any], kinds: dict[int, Kind], settings: PictureSettings, contents: Contents) -> list[Any]:
    """The units that are images of galaxies, in order; a question in `contents.problem` where that is not clear."""
    science = [unit for unit in images if kinds[id(unit)].role is Role.SCIENCE]
    unknown = [unit for unit in images if kinds[id(unit)].role is Role.UNKNOWN]
    if settings.stack:
        return [unit for unit in images if kinds[id(unit)].role in (Role.SCIENCE, Role.UNKNOWN)]
    wanted = {plain_band(band) for band in settings.band}
    of_band = [unit for unit in unknown if plain_band(band_of(unit, kinds[id(unit)])) in wanted]
    if of_band and not any(plain_band(band_of(unit, kinds[id(unit)])) in wanted for unit in science):
        return of_band  # beside an image that is made of all bands
    plain = [unit for unit in science if not _apart(kinds[id(unit)])] or science
    extra = [unit for unit in (*science, *unknown) if unit not in plain and _shown_by(unit, plain)]
    kept = [unit for unit in (*science, *unknown) if unit not in extra]
    unclear = [unit for unit in kept if unit in unknown]
    for first in unclear:
        alike = [unit for unit in unclear if shape_of(unit) == shape_of(first) and same_place(first, unit)]
        names = [unit.name for unit in alike]
        if len(alike) > 1 and not numbered_alike(names) and not all(band_of(unit, kinds[id(unit)]) for unit in alike):
            contents.problem = (
                f"It holds {len(alike)} images of one place, {', '.join(names)}, and nothing says which is the galaxy; "
                "choose with --hdu or --image-extension, or read all with --stack."
            )
            return []
    places = {id(unit): place for place, unit in enumerate(images)}
    return sorted(kept, key=lambda unit: places[id(unit)])


def _apart(kind: Kind) -> bool:
    """Whether a name has words besides those of an image, of a band or of a number: SCI_BKSUB."""
    return any(not is_band(word) and not any(letter.isdigit() for letter in word) for word in kind.rest)


def _shown_by(unit: Any, plain: list[Any]) -> bool:
    """Whether one of the images has the shape and the place of a unit, and so is the image that it belongs to."""
    return any(p is not unit and shape_of(p) == shape_of(unit) and same_place(p, unit) for p in plain)


def unit_band(unit: Any) -> str:
    """The band of a unit by its header; empty if it is not said."""
    return band_of(unit, Kind(Role.SCIENCE))


def band_of(unit: Any, kind: Kind) -> str:
    """The band of a unit by its header or its name; empty if it is not said."""
    for card in ("FILTER", "BAND"):
        text = str(cards_of(unit).get(card, "")).strip()
        if text:
            return text.split()[0]
    return next((word.lower() for word in (*kind.rest, unit.name) if is_band(word)), "")


def _fits(picture: Any, a_map: Any) -> bool:
    return shape_of(a_map) in (shape_of(picture), shape_of(picture)[-2:]) and picture is not a_map


def _maps(
    pictures: list[Any], images: list[Any], kinds: dict[int, Kind], units: Any, settings: PictureSettings, name: str
) -> dict[int, MaskAndNoise]:
    """The mask and the noise map of each image, by its id.

    A map is that of the last image before it (or the first of all) with its EXTVER, its shape, and, if there is one,
    the words of its name besides: VIS_RMS goes with VIS_SCI. A map without words of its own may be for several bands.
    """
    maps = {id(picture): MaskAndNoise() for picture in pictures}
    places = {id(unit): place for place, unit in enumerate(images)}
    for unit in images:
        kind = kinds[id(unit)]
        if kind.role not in (Role.MASK, Role.NOISE):
            continue
        owners = [p for p in pictures if p.ver == unit.ver and _fits(p, unit)]
        alike = [p for p in owners if set(kinds[id(p)].rest) == set(kind.rest)]
        before = [p for p in alike or owners if places[id(p)] < places[id(unit)]]
        for owner in (before or alike or owners)[-1:]:
            band = band_of(owner, kinds[id(owner)])
            _set_map(maps[id(owner)], unit, kind, cards_of(units[0]), name, settings, band)
    without = [p for p in pictures if maps[id(p)].mask is None]
    shared = [one for one in maps.values() if one.mask is not None]
    if len(shared) == 1 and len(pictures) > 1 and not kinds[id(shared[0].mask)].rest:
        for picture in without:
            if _fits(picture, shared[0].mask) and all(
                same_place(p, picture) and sky_axes(cards_of(p)) for p in pictures
            ):
                maps[id(picture)].mask, maps[id(picture)].rule = shared[0].mask, shared[0].rule
    return maps


def _set_map(
    maps: MaskAndNoise, unit: Any, kind: Kind, primary: Any, name: str, settings: PictureSettings, band: str
) -> None:
    """Gives an image a map; of several noise maps, the one that says most, the last of equals."""
    if kind.role is Role.MASK:
        good = kind.holds == "good pixels"
        rule = mask_rule(cards_of(unit), primary, name, mask_bits=settings.mask_bits, band=band, good_pixels=good)
        maps.mask, maps.rule = unit, rule
    elif maps.noise is None or NOISE_ORDER.index(kind.holds) <= NOISE_ORDER.index(maps.holds):
        maps.noise, maps.holds = unit, kind.holds


def _add_files(
    maps: dict[int, MaskAndNoise],
    pictures: list[Any],
    group: FileGroup | None,
    beside: dict[Role, tuple[Any, Any] | None],
    settings: PictureSettings,
) -> list[Path]:
    """Gives images the maps in files of their own that have their shape, if their file has none; the others' paths."""
    unused: list[Path] = []
    if group is None:
        return unused
    for role, found in beside.items():
        fitting = [p for p in pictures if found is not None and _fits(p, found[0])]
        if found is None or not fitting:
            unused.append((group.mask if role is Role.MASK else group.noise) or group.path)
            continue
        unit, primary = found
        holds = group.mask_holds if role is Role.MASK else group.noise_holds
        file_name = (group.mask or group.path).name
        for picture in fitting:
            known = maps[id(picture)].mask if role is Role.MASK else maps[id(picture)].noise
            if known is None:
                band = band_of(picture, Kind(Role.SCIENCE)) or group.band
                _set_map(maps[id(picture)], unit, Kind(role, holds), cards_of(primary), file_name, settings, band)
    return unused


def _with_bands(
    pictures: Iterable[Any], maps: dict[int, MaskAndNoise], kinds: dict[int, Kind], settings: PictureSettings
) -> list[ImageUnits]:
    """The images, those of 2 to 9 two-dimensional units with one WCS on the sky as one of several bands."""
    pictures, together = list(pictures), dict[Any, list[Any]]()
    if len(pictures) == 1:  # as nearly always
        return [ImageUnits(pictures, [maps[id(pictures[0])]])]
    for number, unit in enumerate(pictures):
        flat = len(shape_of(unit)) == 2
        one_place = (shape_of(unit), _wcs_cards(unit)) if flat and sky_axes(cards_of(unit)) else number
        named = band_of(unit, kinds[id(unit)]) if not sky_axes(cards_of(unit)) and is_band(unit.name) else ""
        key = (shape_of(unit), "bands") if named else one_place
        together.setdefault(number if settings.stack else key, []).append(unit)
    images = []
    for alike in together.values():
        names = tuple(band_of(unit, kinds[id(unit)]) for unit in alike)
        if 1 < len(alike) <= MOST_BANDS:
            known = names if all(names) and len(set(names)) == len(names) else ()
            images.append(ImageUnits(alike, [maps[id(unit)] for unit in alike], known))
        else:
            images += [ImageUnits([unit], [maps[id(unit)]]) for unit in alike]
    return images
