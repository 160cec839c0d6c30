"""Masks of bits: which of them mean that a pixel is bad, survey by survey."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError

# What mask planes that a file names in its own header mean. Names are those of the pipelines of HSC and Rubin (MP_*
# cards: https://pipelines.lsst.io, `afw.image.Mask`), and of PS1 (MSKNAM, MSKVAL). Planes that are on neither list say
# how a pixel was made or what is on it (DETECTED, INTRP, INEXACT_PSF, SENSOR_EDGE, CLIPPED ...). INTRP is left out as
# the pipelines leave it out of coadds: "interpolation is pretty good" (lsst-dm/legacy-pipe_drivers, pull request 44).
BAD_WORDS = frozenset(
    "BAD SAT SATURATED SUSPECT CR EDGE NO_DATA NODATA UNMASKEDNAN STREAK CROSSTALK VIGNETTED GHOST SPIKE DO_NOT_USE "
    "DONOTUSE INVALID DETECTOR FLAT DARK BLANK CTE LOW CONV.BAD DEAD DEADFIBER HOT NAN BLEED BADPIX BPM COSMIC "
    "COSMICRAY SATUR SATURATE SATURATION NOCOV NOTCHECKED TRAIL BLEEDTRAIL STARCORE".split()
)


@dataclass(frozen=True)
class Survey:
    """The mask bits of one survey that has no cards for them: names and values, and which are bad."""

    name: str
    bits: Mapping[str, int]
    bad: frozenset[str]


def _survey(name: str, bits: str, good: str = "", bad: str = "") -> Survey:
    """`bits` as "NAME=VALUE ..."; all are bad but those in `good`, or only those in `bad`."""
    values = {word.partition("=")[0]: int(word.partition("=")[2], 0) for word in bits.split()}
    return Survey(name, values, frozenset(bad.split()) if bad else frozenset(values) - set(good.split()))


JWST = _survey(  # jwst-pipeline.readthedocs.io, "Data Quality Flags"; also of Roman
    "JWST", "DO_NOT_USE=1 SATURATED=2 JUMP_DET=4 DROPOUT=8 OUTLIER=16 PERSISTENCE=32", bad="DO_NOT_USE"
)
HST = _survey(  # ACS Data Handbook, table of DQ flags; warm, CTE tail and trap pixels are calibrated
    "HST",
    "LOST=1 FILLED=2 BADPIX=4 MASKED=8 HOT=16 CTE=32 WARM=64 BADCOL=128 SATURATED=256 BADREF=512 TRAP=1024 "
    "ATODSAT=2048 CRDRIZ=4096 CRREJ=8192 USER=16384",
    good="CTE WARM TRAP",
)
DES = _survey(  # despyfits/pixcorrect, mask_bits.h
    "DES",
    "BPM=1 SATURATE=2 INTERP=4 LOW=8 CRAY=16 STAR=32 TRAIL=64 EDGEBLEED=128 SSXTALK=256 EDGE=512 STREAK=1024 "
    "SUSPECT=2048 FIXED=4096 NEAREDGE=8192 TAPEBUMP=16384",
    good="STAR SSXTALK SUSPECT FIXED NEAREDGE TAPEBUMP",
)
LEGACY = _survey(  # legacysurvey.org/dr10/bitmasks
    "Legacy Surveys",
    "NPRIMARY=0x1 BRIGHT=0x2 SATUR_G=0x4 SATUR_R=0x8 SATUR_Z=0x10 ALLMASK_G=0x20 ALLMASK_R=0x40 ALLMASK_Z=0x80 "
    "WISEM1=0x100 WISEM2=0x200 BAILOUT=0x400 MEDIUM=0x800 GALAXY=0x1000 CLUSTER=0x2000 SATUR_I=0x4000 "
    "ALLMASK_I=0x8000 SUB_BLOB=0x10000",
    bad="SATUR_G SATUR_R SATUR_I SATUR_Z ALLMASK_G ALLMASK_R ALLMASK_I ALLMASK_Z",
)
SDSS = _survey(  # planes of fpM files, SDSS DR7 data model
    "SDSS",
    "INTERP=1 SATUR=2 NOTCHECKED=4 OBJECT=8 BRIGHTOBJECT=16 BINOBJECT=32 CATOBJECT=64 SUBTRACTED=128 GHOST=256 CR=512",
    good="OBJECT BRIGHTOBJECT BINOBJECT CATOBJECT SUBTRACTED",
)
MANGA = _survey(  # sdss.org, MaNGA DRP3PIXMASK
    "MaNGA", "NOCOV=1 LOWCOV=2 DEADFIBER=4 FORESTAR=8 DONOTUSE=1024", good="LOWCOV"
)
PS1 = _survey(  # outerspace.stsci.edu, "PS1 Pixel flags in Image Table Data"
    "PS1",
    "DETECTOR=1 FLAT=2 DARK=4 BLANK=8 CTE=0x10 SAT=0x20 LOW=0x40 SUSPECT=0x80 CR=0x100 SPIKE=0x200 GHOST=0x400 "
    "STREAK=0x800 STARCORE=0x1000 CONV.BAD=0x2000 CONV.POOR=0x4000 MARK=0x8000",
    good="SUSPECT CONV.POOR MARK",
)
KIDS = _survey(  # kids.strw.leidenuniv.nl/DR1/masking.php; haloes are light on top of good pixels
    "KiDS",
    "READOUT_SPIKE=1 SATURATION_CORE=2 DIFFRACTION_SPIKE=4 PRIMARY_HALO=8 SECONDARY_HALO=16 TERTIARY_HALO=32 "
    "BAD_PIXEL=64 MANUAL=128",
    good="PRIMARY_HALO SECONDARY_HALO TERTIARY_HALO",
)
EUCLID = _survey("Euclid", "INVALID=1", bad="INVALID")  # Euclid data product description, flag maps of VIS and NISP
ZTF = _survey(  # ZTF Science Data System Explanatory Supplement, section 10.4
    "ZTF",
    "TRACK=1 SOURCE=2 LOW_RESPONSE=4 HIGH_RESPONSE=8 NOISY=16 GHOST=32 CROSSTALK=64 SATURATED=128 DEAD=256 NAN=512 "
    "PSF_SOURCE=1024 HALO=2048",
    good="SOURCE PSF_SOURCE HALO",
)
# What is found in one of these cards of the mask's or the primary header, or in the file's name, tells the survey.
SURVEY_CARDS = ("TELESCOP", "SURVEY", "ORIGIN", "INSTRUME", "OBSERVAT", "PROJECT", "PROPID", "PIPELINE")
SIGNS = (
    (JWST, r"\b(JWST|ROMAN)\b", r"^jw\d{5}"),
    (HST, r"^(HST|HUBBLE)\b", r"^(hst_|[ijuo][a-z0-9]{8}_(flt|flc|drz|drc|crj)\b)"),
    (MANGA, r"\bMANGA\b", r"^manga-"),
    (LEGACY, r"\b(LEGACY ?SURVEYS?|DECALS|LEGACYPIPE)\b", r"maskbits|^legacysurvey"),
    (SDSS, r"^(SDSS|2\.5M)\b", r"^fpM-"),
    (PS1, r"^(PS1|PAN-?STARRS|GPC1)", r"skycell|\.stk\."),
    (KIDS, r"\b(KIDS|OMEGACAM|ASTRO-?WISE)\b", r"^KiDS_"),
    (EUCLID, r"\b(EUCLID|VIS|NISP)\b", r"^EUC_"),
    (ZTF, r"\b(ZTF|PALOMAR.*48)", r"^ztf_"),
    (DES, r"\b(DES|DESDM|DESY\dA\d)\b", r"^DES\d|_r\d+p\d+_"),
)


@dataclass(frozen=True)
class MaskRule:
    """Which values of a mask are bad: any of `bits`; where that is None, all but zero (or zero, if `inverted`).

    Attributes
    ----------
    bits : int or None
    said : str
        The rule in words.
    inverted : bool
        The mask holds 1 where pixels are good.
    """

    bits: int | None = None
    said: str = "all values but 0"
    inverted: bool = False

    def bad(self, mask: np.ndarray) -> np.ndarray:
        """Boolean, in the shape of the mask: which pixels are bad."""
        mask = np.asarray(mask)
        if self.inverted:
            return ~(np.nan_to_num(mask) > 0)
        if self.bits is None:
            return mask != 0
        if mask.dtype.kind == "f":  # bits that were stored as floating point numbers
            mask = np.nan_to_num(mask, nan=0.0, posinf=0.0, neginf=0.0).astype(np.int64)
        return (mask.astype(np.uint64) & np.uint64(self.bits)) != 0


def mask_rule(
    header: Mapping[str, Any],
    primary: Mapping[str, Any],
    file_name: str = "",
    *,
    mask_bits: tuple[str, ...] = (),
    band: str = "",
    good_pixels: bool = False,
) -> MaskRule:
    """Which pixels of a mask are bad.

    Parameters
    ----------
    header, primary : FITS headers
        Of the mask, and of the file's first unit.
    file_name : str
        Survey files tell by their names what they are.
    mask_bits : texts
        What the user says: values, names, "any" or "none".
    band : str
        Of masks whose bits are those of single bands, only these count.
    good_pixels : bool
        The mask holds 1 where pixels are good.

    Raises
    ------
    UsageError
        `mask_bits` has a name that the file does not know.
    """
    named = _named_planes(header)
    survey = None if named else _survey_of(header, primary, file_name)
    known = named or (dict(survey.bits) if survey else {})
    if mask_bits:
        return _as_told(mask_bits, known)
    if good_pixels:
        return MaskRule(inverted=True, said="the value 0")
    if named:
        bad, of = [name for name in named if name.upper() in BAD_WORDS], "named in the header"
    elif survey is not None:
        bad, of = [name for name in survey.bits if name in survey.bad], f"of {survey.name}"
        mine = [name for name in bad if name.rpartition("_")[2] == band.upper()]
        bad = mine if survey is LEGACY and mine else bad
    else:
        return MaskRule()
    bits = sum(known[name] for name in bad)
    return MaskRule(bits, f"{', '.join(bad) or 'no bits'} ({of})")


def _named_planes(header: Mapping[str, Any]) -> dict[str, int]:
    """Mask planes and their values as the header has them: MP_NAME = number of the bit; MSKNAMnn, MSKVALnn."""
    planes = {}
    for key, value in header.items():
        if key.upper().startswith("MP_") and isinstance(value, int):
            planes[key[3:].upper()] = 1 << value
        elif re.fullmatch(r"MSKNAM\d+", key) and isinstance(header.get(f"MSKVAL{key[6:]}"), int):
            planes[str(value).strip().upper()] = int(header[f"MSKVAL{key[6:]}"])
    return planes


def _survey_of(header: Mapping[str, Any], primary: Mapping[str, Any], file_name: str) -> Survey | None:
    if str(header.get("EXTNAME", "")).strip().upper() == "MASKBITS":
        return LEGACY
    if "DES_EXT" in header:
        return DES
    words = [str(cards.get(card, "")).upper() for cards in (header, primary) for card in SURVEY_CARDS]
    for survey, sign, name in SIGNS:
        if any(re.search(sign, word) for word in words if word) or re.search(name, file_name):
            return survey
    return None


def _as_told(told: tuple[str, ...], known: dict[str, int]) -> MaskRule:
    """The rule that the user gives."""
    if told in (("any",), ("none",)):
        return MaskRule() if told == ("any",) else MaskRule(0, "no bits (--mask-bits)")
    bits = 0
    by_name = {name.upper(): value for name, value in known.items()}
    for word in told:
        if re.fullmatch(r"\d+|0x[0-9A-Fa-f]+", word):
            bits |= int(word, 0)
        elif word.upper() in by_name:
            bits |= by_name[word.upper()]
        else:
            names = f"names {', '.join(known)}" if known else "no names"
            raise UsageError(f"--mask-bits {word}: expected values, any, none, or names of bits; the mask has {names}.")
    return MaskRule(bits, f"{', '.join(told)} (--mask-bits)")
