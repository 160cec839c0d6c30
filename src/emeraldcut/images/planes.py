"""Planes: what each unit of a FITS file, or each file of a folder, is, from its header and its name.

A survey ships masks, noise maps and others on the pixels of its images, in units of the same file or in files of their
own. Those that are known by their words are used or passed over; none of them is an image of galaxies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

WEIGHT, INVERSE_VARIANCE, VARIANCE, DEVIATION = "weight", "inverse variance", "variance", "deviation"


class Role(StrEnum):
    """What a plane is for."""

    SCIENCE = "image"
    MASK = "mask"
    NOISE = "noise map"
    PSF = "PSF"
    OTHER = "other map"  # known to be no image, and of no use here
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Kind:
    """What a plane is: its role, what a noise map holds (or "good pixels" of a mask), the words besides, if sure.

    `sure` is False for words that name a map only where the image is there too, since objects may be named so.
    """

    role: Role
    holds: str = ""
    rest: tuple[str, ...] = ()
    sure: bool = True


# Words in the names of units and of files of HST, JWST, DES, HSC and Rubin, Euclid, Legacy Surveys, WISE, VISTA, SDSS,
# MaNGA, GALFIT and CCDData; see docs/surveys.md for the manuals.
NOISE_WORDS = {
    **dict.fromkeys("WHT WEIGHT WEIGHTS WGT WEI WT WEIGHTMAP CONF CONFIDENCE INVMSE WMAP".split(), WEIGHT),
    **dict.fromkeys("IVAR INVVAR INVVARIANCE INVERSEVARIANCE IVM".split(), INVERSE_VARIANCE),
    **dict.fromkeys("VAR VARIANCE VARIANCES MSE VARMAP".split(), VARIANCE),
    **dict.fromkeys(
        "ERR ERROR ERRORS UNCERT UNC UNCERTAINTY RMS RMSMAP RMSE SIGMA SIG SIGMAMAP NOISE NOISEMAP STD STDEV STDDEV "
        "STDEVMAP ERRMAP PHOTERR MUNC BUNC".split(),
        DEVIATION,
    ),
}
MASK_WORDS = frozenset(
    "MASK MASKS DQ BADPIX BADPIXEL BADPIXELS MSK BPM FLAG FLAGS FLG FLAGMAP MASKBITS BITMASK QUALITY MSKIM PIXELMASK "
    "DATAQUALITY DQMASK DQM OOD IMSK BIMSK MMSK".split()
)
GOOD_PIXEL_WORDS = frozenset("GPM GOODPIX GOODPIXELS GOODMASK VALID VALIDMASK".split())
GOOD = frozenset("GOOD VALID".split())  # before the word of a mask: GOOD_MASK
PSF_WORDS = frozenset("PSF PSFIM PSFIMAGE PSFEX PSFSTAMP KERNEL PSFS".split())
OTHER_WORDS = frozenset(
    "EXP EXPOSURE EXPTIME EXPMAP EXPWT NEXP NIMAGE NUM NCOMB CON CTX CONTEXT AREA COVERAGE COV HITS DEPTH GALDEPTH "
    "PSFDEPTH PSFSIZE SEG SEGM SEGMENTATION SEGMAP SEGIM SEGMENT SRCMASK SOURCEMASK OBJMASK OBJECTS WISEM1 WISEM2 BKG "
    "BG BACK BACKGROUND BGMOD BKGD BKGMODEL SKY SKYBG CHI2 CHI CHISQ RESID RESIDUAL RESIDUALS RES MODEL MODELS "
    "BLOBMODEL BLOBS MCOV CNT FLAT DARK BIAS WCSDVARR D2IMARR WAVELENGTH RRHR SRCMAP TRANSMISSION".split()
)
SCIENCE_WORDS = frozenset(
    "SCI SCIENCE IMAGE IMAGES IMG IM DATA FLUX INTENSITY SIGNAL BGSUB MOSAIC STACK COADD COADDED DRZ DRC I2D FITIM "
    "UNCONV INT INTBGSUB MAIC COMPRESSED PRIMARY CUTOUT STAMP OBJECT ST".split()
)
# Of these, an object or a field may be named as well: such a file is a map only beside the image that it belongs to.
AMBIGUOUS_WORDS = frozenset(
    "WT WEI CONF SIG STD NOISE ERROR QUALITY FLAG FLAGS EXP NUM CON AREA COV HITS SEG OBJECTS BG BACK SKY RES CHI "
    "MODEL VALID CNT DEPTH MSE RMSE DARK FLAT BIAS KERNEL UNC VAR OOD FLG SEGMENT MASKS ERR EXPOSURE BLOBS".split()
)
FILLERS = frozenset("MAP MAPS IMAGE IMG IM FITS".split())  # "weight_map", "mask-image"
PARTS_OF_VARIANCE = frozenset("POISSON RNOISE FLAT SKY".split())  # VAR_POISSON of JWST: the sum of them is ERR
# In falling order of what decides where a name has words of several roles: BKG_RMS is a noise map.
PRECEDENCE = (Role.MASK, Role.NOISE, Role.OTHER, Role.PSF, Role.SCIENCE)
COUNTS = "adu|dn|counts?|electrons?|e-?|njy|mjy|ujy|jy|nanomaggy|nanomaggies"  # whose squares are variances
TYPE_CARDS = ("EXTTYPE", "IMTYPE", "DES_EXT", "HDUCLAS2", "PRODCATG")  # Rubin, Legacy Surveys, DES, ESO, ESO phase 3
BANDS = frozenset(
    "u g r i z y j h k ks w1 w2 w3 w4 nuv fuv vis nisp ux vx bx rx ix v b zs i2 g1 nb816 nb921 n540 n708 n964".split()
)
FILTER_NAME = re.compile(r"^(f\d{3,4}[wmnlpx]{1,2}\d?|nb\d{3,4})$")  # of HST and JWST, such as F160W; of HSC, NB0921


def is_band(word: str) -> bool:
    """Whether a word is the name of a filter."""
    return word.lower() in BANDS or bool(FILTER_NAME.match(word.lower()))


def plain_band(name: str) -> str:
    """The name of a filter in small letters without what stands before it: HSC-R and des-r are r."""
    return re.split(r"[-.:]", name.strip().lower())[-1]


def words_of(name: str) -> list[str]:
    """The words of a name, in capitals: "VAR_POISSON" has two."""
    return [word for word in re.split(r"[^A-Za-z0-9]+", name.upper()) if word]


@lru_cache(1024)
def kind_of_name(name: str) -> Kind:
    """What the name of a unit, or of a file without its ending, says."""
    words = words_of(name)
    found: dict[Role, list[tuple[int, str]]] = {}
    for place, word in enumerate(words):
        role, holds = _role_of(word)
        if role is not Role.UNKNOWN:
            found.setdefault(role, []).append((place, holds))
    roles = [role for role in PRECEDENCE if role in found]
    if not roles:
        return Kind(Role.UNKNOWN, rest=tuple(words))
    role = roles[0]
    if role is Role.NOISE and any(word in PARTS_OF_VARIANCE for word in words) and "VAR" in words:
        return Kind(Role.OTHER, rest=tuple(words))
    place, holds = found[role][-1]
    if holds == VARIANCE and "INV" in words:  # INV_VAR
        holds = INVERSE_VARIANCE
    if role is Role.MASK and GOOD & set(words):
        holds = "good pixels"
    named = {place for role in roles for place, _ in found[role]}
    sure = any(words[place].rstrip("0123456789") not in AMBIGUOUS_WORDS for place, _ in found[role])
    rest = tuple(word for place, word in enumerate(words) if place not in named and word not in FILLERS | {"INV"})
    return Kind(role, holds, rest, sure)


def _role_of(word: str) -> tuple[Role, str]:
    """The role of a word, with or without the number at its end, and what it holds."""
    for text in (word, word.rstrip("0123456789")):
        if text in NOISE_WORDS:
            return Role.NOISE, NOISE_WORDS[text]
        if text in MASK_WORDS:
            return Role.MASK, ""
        if text in GOOD_PIXEL_WORDS:
            return Role.MASK, "good pixels"
        for role, words in ((Role.OTHER, OTHER_WORDS), (Role.PSF, PSF_WORDS), (Role.SCIENCE, SCIENCE_WORDS)):
            if text in words:
                return role, ""
    return Role.UNKNOWN, ""


def kind_of_unit(header: Mapping[str, Any], name: str) -> Kind:
    """What a unit of a FITS file is, by its cards, else its name, else its units; SCIENCE if nothing is said."""
    for card in TYPE_CARDS:
        said = str(header.get(card, ""))
        if said and (kind := kind_of_name(said)).role is not Role.UNKNOWN:
            return Kind(kind.role, kind.holds or _holds_error(header), words_besides(name))
    if name and name not in ("PRIMARY", "COMPRESSED_IMAGE"):
        told = {"VarianceUncertainty": VARIANCE, "InverseVariance": INVERSE_VARIANCE}.get(str(header.get("UTYPE", "")))
        kind = kind_of_name(name)
        return Kind(kind.role, told, kind.rest) if kind.role is Role.NOISE and told else kind
    return _kind_of_unit_of_values(str(header.get("BUNIT", "")))


def words_besides(name: str) -> tuple[str, ...]:
    """What the name of a unit has besides words of its role: a chip, a band."""
    return () if name in ("", "PRIMARY", "COMPRESSED_IMAGE") else kind_of_name(name).rest


def _holds_error(header: Mapping[str, Any]) -> str:
    """What an error map of ESO's standard holds, by HDUCLAS3."""
    return {"MSE": VARIANCE, "RMSE": DEVIATION, "INVMSE": INVERSE_VARIANCE, "INVRMSE": WEIGHT}.get(
        str(header.get("HDUCLAS3", "")).strip().upper(), DEVIATION
    )


def _kind_of_unit_of_values(unit: str) -> Kind:
    """What a map is by the unit of its values: seconds of exposure, squares of counts."""
    unit = unit.strip().lower().replace(" ", "")
    if unit in ("s", "sec", "second", "seconds"):
        return Kind(Role.OTHER)
    if re.fullmatch(r"[a-z/_]*[a-z](\*\*|\^|)-2|1/\(?[a-z/]+\)?(\*\*|\^|)2", unit):
        return Kind(Role.NOISE, INVERSE_VARIANCE)
    if re.fullmatch(
        r"\(?(adu|dn|counts?|electrons?|e-?|njy|mjy|ujy|jy|nanomaggy|nanomaggies)(/s)?\)?(\*\*|\^)?2", unit
    ):
        return Kind(Role.NOISE, VARIANCE)
    return Kind(Role.SCIENCE, sure=False)


# --- files of a folder


@dataclass
class FileGroup:
    """A file with an image, and the files of its maps beside it.

    Attributes
    ----------
    path : Path
    mask, noise, psf : Path or None
    noise_holds, mask_holds : str
        What the values of the maps are.
    passed_over : list of Path
        Maps of it that are of no use here.
    band : str
        That its name says; empty if it says none.
    name : str
        By which its image is known in a folder; empty for the name of the file.
    of_bands : list of FileGroup
        Of an image with a file for each band, these (see `images.band_files`); its path is that of the first.
    """

    path: Path
    mask: Path | None = None
    noise: Path | None = None
    psf: Path | None = None
    noise_holds: str = ""
    mask_holds: str = ""
    band: str = ""
    passed_over: list[Path] = field(default_factory=list)
    name: str = ""
    of_bands: list[FileGroup] = field(default_factory=list)

    @property
    def bands(self) -> list[FileGroup]:
        """The group of each band, of one that has several files; else it alone."""
        return self.of_bands or [self]


GAMA_NAME = re.compile(r"^(.*\d)(fitim|mskim|psfim|segim|sigma)$")  # names of GAMA have no break before their word
EUCLID_NAME = re.compile(r"^EUC_MER_(.+?)_TILE(\d+)", re.IGNORECASE)
UNWISE_NAME = re.compile(r"^(unwise-.+)-(img|invvar|std|n)-([mu])$")
UNWISE_WORDS = {"img": "img", "invvar": "invvar", "std": "std", "n": "num"}
NOISE_ORDER = (DEVIATION, INVERSE_VARIANCE, VARIANCE, WEIGHT)  # what is stated in counts before what is relative


def readable_stem(stem: str) -> str:
    """The stem of a survey's file with breaks between its words, without what differs from map to map."""
    if found := EUCLID_NAME.match(stem):
        return f"{found[1]}_{found[2]}"
    if found := GAMA_NAME.match(stem):
        return f"{found[1]}_{found[2]}"
    if found := UNWISE_NAME.match(stem):
        return f"{found[1]}-{UNWISE_WORDS[found[2]]}"
    return stem


def grouped(files: Iterable[tuple[Path, str]]) -> tuple[list[FileGroup], list[Path]]:
    """The images of a folder with the files of their maps, and maps that belong to no image.

    Parameters
    ----------
    files : (path, stem)
        The stem is the name without the ending.

    Returns
    -------
    groups : list of FileGroup
        In the order of `files`.
    alone : list of Path
        Files that are maps by their names, without an image that they belong to.
    """
    kinds: dict[Path, Kind] = {}
    stems: dict[Path, tuple[str, ...]] = {}
    for path, stem in files:
        kinds[path] = kind_of_name(readable_stem(stem))
        stems[path] = (str(path.parent), *kinds[path].rest)
    maps = [path for path, kind in kinds.items() if kind.role not in (Role.SCIENCE, Role.UNKNOWN)]
    groups = {path: FileGroup(path) for path in kinds if path not in set(maps)}
    for path, group in groups.items():
        group.band = next((word.lower() for word in stems[path][1:] if is_band(word)), "")
    by_words: dict[tuple[str, ...], list[FileGroup]] = {}
    for group in groups.values():
        by_words.setdefault(stems[group.path], []).append(group)
        without_band = tuple(word for word in stems[group.path] if not is_band(word))
        if without_band != stems[group.path]:
            by_words.setdefault((*without_band, "any band"), []).append(group)
    alone = []
    for path in maps:
        owners = by_words.get(stems[path], []) or by_words.get((*stems[path], "any band"), [])
        if owners:
            for owner in owners:
                _add_map(owner, path, kinds[path])
        elif kinds[path].sure:
            alone.append(path)
        else:
            groups[path] = FileGroup(path)
    return [groups[path] for path in kinds if path in groups], alone


def _add_map(owner: FileGroup, path: Path, kind: Kind) -> None:
    """Gives an image a map; of several noise maps, it keeps the one that says most."""
    if kind.role is Role.MASK and owner.mask is None:
        owner.mask, owner.mask_holds = path, kind.holds
    elif kind.role is Role.PSF and owner.psf is None:
        owner.psf = path
    elif kind.role is Role.NOISE and (
        owner.noise is None or NOISE_ORDER.index(kind.holds) < NOISE_ORDER.index(owner.noise_holds)
    ):
        if owner.noise is not None:
            owner.passed_over.append(owner.noise)
        owner.noise, owner.noise_holds = path, kind.holds
    else:
        owner.passed_over.append(path)


def numbered_alike(names: Iterable[str]) -> bool:
    """Whether names differ only in their numbers, as those of chips do: CCD1, CCD2."""
    return len(list(groupby(sorted(re.sub(r"\d+", "#", name) for name in names)))) <= 1
