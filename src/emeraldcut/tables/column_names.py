"""Names and UCDs under which surveys and programs keep positions, identifiers and files.

Names are compared first as they are, in small letters, then without anything but letters and digits and without a unit
at the end, in the order of the lists: `RA (deg)` and `ra_rad` are `ra`, `Right Ascension` is `rightascension`. The
lists follow the column descriptions of the surveys named beside them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

DOT = "."  # between the name of a column of coordinates and that of one of them, as astropy writes it

FIRST = {
    "ra": ("ra", "ra_deg", "_raj2000", "raj2000", "ra_icrs", "ra_j2000", "alpha_j2000", "alphawin_j2000", "radeg"),
    "dec": ("dec", "dec_deg", "_dej2000", "dej2000", "de_icrs", "dec_j2000", "delta_j2000", "deltawin_j2000", "dedeg"),
    "id": ("id", "id_str", "source_id", "objid", "object_id", "name", "number"),
    "x": ("x",),
    "y": ("y",),
    "file": ("file",),
}
SKY = (  # right ascension, declination
    ("ra", "dec"),
    ("ra", "de"),
    ("raj2000", "dej2000"),  # VizieR
    ("raj2000", "decj2000"),
    ("raicrs", "deicrs"),
    ("raicrs", "decicrs"),
    ("rightascension", "declination"),
    ("coordra", "coorddec"),  # Rubin, HSC
    ("targetra", "targetdec"),  # DESI
    ("ramean", "decmean"),  # Pan-STARRS
    ("ramean", "demean"),  # the same in VizieR
    ("rastack", "decstack"),
    ("meanra", "meandec"),
    ("alphaj2000", "deltaj2000"),  # SExtractor
    ("alphawinj2000", "deltawinj2000"),
    ("alphapeakj2000", "deltapeakj2000"),
    ("alphapsfj2000", "deltapsfj2000"),
    ("alphamodelj2000", "deltamodelj2000"),
    ("alphasky", "deltasky"),
    ("alphawinsky", "deltawinsky"),
    ("sra", "sdec"),  # ObsCore
    ("objra", "objdec"),
    ("raobj", "decobj"),
    ("galra", "galdec"),
    ("skyra", "skydec"),
    ("racen", "deccen"),
    ("racenter", "deccenter"),
    ("racentre", "deccentre"),
    ("ramain", "decmain"),
    ("rafk5", "defk5"),
    ("rafk5", "decfk5"),
    ("radet", "decdet"),  # KiDS and others
    ("ra1", "dec1"),  # of the first table of a match
    ("skycentroidicrsra", "skycentroidicrsdec"),  # photutils
    ("skycentroidra", "skycentroiddec"),
)
PIXELS = (  # x, y
    ("xcentroid", "ycentroid"),  # photutils before version 3
    ("xcenter", "ycenter"),
    ("xcentre", "ycentre"),
    ("xfit", "yfit"),
    ("xpix", "ypix"),
    ("xpixel", "ypixel"),
    ("xpos", "ypos"),
    ("slotcentroidx", "slotcentroidy"),  # Rubin
    ("basesdsscentroidx", "basesdsscentroidy"),
    ("xwinimage", "ywinimage"),
    ("xwinimagedbl", "ywinimagedbl"),
    ("ximage", "yimage"),
    ("ximagedbl", "yimagedbl"),
    ("bx", "by"),  # Tractor
    ("xpsfimage", "ypsfimage"),
    ("xmodelimage", "ymodelimage"),
    ("xpeakimage", "ypeakimage"),
)
# SExtractor's pixels, and the capitals of IRAF and gnuastro, are counted from 1; all others from 0.
FROM_ONE = re.compile(r"(?i:[xy](win|psf|model|peak)?_?image(_dbl)?)|[XY]_?CENTER|[XY]")

LATER = {
    "ra": tuple(dict.fromkeys(ra for ra, _ in SKY)),
    "dec": tuple(dict.fromkeys(dec for _, dec in SKY)),
    "x": ("x", *(x for x, _ in PIXELS)),
    "y": ("y", *(y for _, y in PIXELS)),
    "id": (
        "id",
        "targetid",  # DESI
        "coaddobjectsid",  # DES
        "coaddobjectid",
        "objectid",  # HSC, Rubin, Euclid
        "objid",  # SDSS, Pan-STARRS
        "sourceid",  # Gaia, KiDS, VISTA
        "idstr",
        "diaobjectid",
        "specobjid",
        "dr8objid",
        "dr7objid",
        "galaxyid",
        "galid",
        "lsid",
        "catalogid",  # SDSS-V
        "catid",
        "cataid",  # GAMA
        "cosmosid",
        "uniqueid",
        "uid",
        "ident",
        "identifier",
        "mainid",  # SIMBAD
        "designation",  # 2MASS, WISE, Gaia
        "objname",
        "objectname",
        "sourcename",
        "targetname",
        "galaxyname",
        "iauname",
        "iauid",
        "name",
        "number",
        "seqnr",
        "recno",
    ),
    "file": (
        "file",
        "filename",
        "filepath",
        "path",
        "fileloc",  # Zoobot
        "imagefile",
        "imagepath",
        "imagename",
        "imgpath",
        "imgfile",
        "fitsfile",
        "fitspath",
        "fitsname",
        "cutoutfile",
        "cutoutpath",
        "cutout",
        "stampfile",
        "fname",
        "image",
        "img",
    ),
}
UCDS = {
    "ra": ("pos.eq.ra;meta.main", "pos_eq_ra_main", "pos.eq.ra", "pos_eq_ra"),
    "dec": ("pos.eq.dec;meta.main", "pos_eq_dec_main", "pos.eq.dec", "pos_eq_dec"),
    "id": ("meta.id;meta.main", "id_main"),
    "file": ("meta.id;meta.file", "meta.file"),
    "x": ("pos.cartesian.x;instr.det",),
    "y": ("pos.cartesian.y;instr.det",),
}
UNITS = {
    "deg": "deg",
    "degree": "deg",
    "degrees": "deg",
    "rad": "rad",
    "radian": "rad",
    "radians": "rad",
    "hour": "hour",
    "hours": "hour",
    "hms": "hms",
    "dms": "dms",
    "arcsec": "arcsec",
    "arcmin": "arcmin",
    "mas": "mas",
}
_BRACKETS = re.compile(r"\s*[\(\[\{]([^\)\]\}]*)[\)\]\}]\s*$")


def _squeezed(name: str) -> str:
    """The letters and digits of a name, small, without what is in brackets at its end."""
    return re.sub(r"[^a-z0-9]", "", _BRACKETS.sub("", name).lower())


def _without_unit(name: str) -> tuple[str, str]:
    """A squeezed name without the unit at its end, and the unit."""
    for ending, unit in sorted(UNITS.items(), key=lambda pair: -len(pair[0])):
        if name.endswith(ending) and len(name) > len(ending):
            return name.removesuffix(ending), unit
    return name, ""


def unit_in_name(name: str) -> str:
    """The unit of an angle that a name such as `RA (deg)` or `ra_rad` states; empty if it states none."""
    brackets = _BRACKETS.search(name)
    if brackets and (unit := UNITS.get(brackets[1].strip().lower())):
        return unit
    stem, unit = _without_unit(_squeezed(name))
    return unit if any(stem in LATER[axis] for axis in ("ra", "dec")) else ""


def find_column(wanted: str, names: Sequence[str], ucds: Mapping[str, str]) -> str | None:
    """The one of some columns that holds what is `wanted`, by its name or else by its UCD; None if there is none.

    A column of coordinates, of which `names` has two as NAME.ra and NAME.dec, comes last, before the only two columns
    whose names have the words for right ascension and declination, and the same besides.
    """
    by_name = {name.lower(): name for name in reversed(names)} | ({wanted: wanted} if wanted in names else {})
    for name in FIRST[wanted]:
        if name in by_name:
            return by_name[name]
    squeezed = {_squeezed(name): name for name in reversed(names)}
    if wanted in ("ra", "dec"):
        squeezed = {_without_unit(key)[0]: name for key, name in squeezed.items()} | squeezed
    for name in LATER[wanted]:
        if name in squeezed:
            return squeezed[name]
    for ucd in UCDS[wanted]:
        for name, told in ucds.items():
            if told.lower() == ucd:
                return name
    ends = [name for name in names if name.lower().endswith(f"{DOT}{wanted}")]
    if not ends and wanted in ("ra", "dec") and (pair := _one_pair(names)) is not None:
        return pair[wanted == "dec"]
    return ends[0] if ends else None


RA_WORDS = ("rightascension", "raj2000", "ra")
DEC_WORDS = {"rightascension": ("declination",), "raj2000": ("dej2000", "decj2000"), "ra": ("dec", "de")}
# Beside the word for right ascension: quantities that are no positions, or those of something else.
NO_POSITION = re.compile(
    r"(^|[^a-z])(pm|mu|d|e|s|err|error|sig|sigma|std|stdev|var|ivar|cov|corr|off|offset|delta|rate|epoch|flag|n|min|max|"
    r"num|unc|ep|parallax)([^a-z]|$)|^(pm|err|sigma|delta|e|d|off)$|err|sig|std|var|off"
)


def _one_pair(names: Sequence[str]) -> tuple[str, str] | None:
    """The only two columns that are named right ascension and declination with the same words besides.

    Such as `ra_gaia` and `dec_gaia`, `i_ra` and `i_dec`, `FIBERRA` and `FIBERDEC`. None if there are several pairs.
    """
    by_letters = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    pairs: dict[str, tuple[str, str]] = {}
    for letters, name in by_letters.items():
        for word in RA_WORDS:
            for before, after in ((letters.removesuffix(word), ""), ("", letters.removeprefix(word))):
                if before + after in ("", letters):
                    continue
                partners = (before + other + after for other in DEC_WORDS[word])
                partner = next((by_letters[p] for p in partners if p in by_letters), None)
                if partner is not None and not NO_POSITION.search(_besides(name, word)):
                    pairs.setdefault(name, (name, partner))
    return next(iter(pairs.values())) if len(pairs) == 1 else None


def _besides(name: str, word: str) -> str:
    """A name without a word at one of its ends, in small letters."""
    pattern = "[^a-z0-9]*".join(word)
    return re.sub(rf"^{pattern}[^a-z0-9]*|[^a-z0-9]*{pattern}$", "", name.lower())


# Ends of names of identifiers that many rows have: of places, exposures, groups.
OF_MANY = re.compile(
    r"(brick|field|tile|htm|group|run|ccd|chip|exp|exposure|visit|patch|tract|healpix|hpx|parent|filter|obs|plate|night|"
    r"cluster|host|zone|image|detector|amp|region|block|project|survey|release|class|type|flag|centro|gr|vo)id$"
)


def only_id(names: Sequence[str]) -> str | None:
    """The only column whose name ends like that of an identifier of one object, such as `KIDS_ID` or `mangaid`."""
    plain = {name: _squeezed(name).rstrip("0123456789") for name in names}
    ids = [name for name, text in plain.items() if text.endswith("id") and not OF_MANY.search(text)]
    return ids[0] if len(ids) == 1 else None


def is_object_id(name: str) -> bool:
    """Whether a name is one in common use for the identifier of an object."""
    return _squeezed(name) in LATER["id"]


def is_id_name(name: str) -> bool:
    """Whether a column with this name holds identifiers, whose digits matter."""
    return _squeezed(name).endswith("id") or _squeezed(name) in LATER["id"]
