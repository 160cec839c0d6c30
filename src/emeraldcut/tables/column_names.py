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
    ("ximage", "yimage"),
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

    A column of coordinates, of which `names` has two as NAME.ra and NAME.dec, comes last.
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
    return ends[0] if ends else None


def is_id_name(name: str) -> bool:
    """Whether a column with this name holds identifiers, whose digits matter."""
    return _squeezed(name).endswith("id") or _squeezed(name) in LATER["id"]
