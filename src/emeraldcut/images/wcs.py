"""Sky positions, scales and orientations that image headers state; what wcslib assumes where they do not is no fact."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from emeraldcut.images.claims import in_tiles
from emeraldcut.images.unpacking import data_of

# Longitudes of frames other than those that astropy's WCS tells by itself.
LONGITUDES = {"RA", "GLON", "ELON", "SLON"}
SKY_AXES = LONGITUDES | {"DEC", "GLAT", "ELAT", "SLAT"}
# Keys of the scale, and what their values are in where their comments do not say so; None: they must say so.
PIXEL_SCALE_KEYS = {
    **dict.fromkeys(("PIXSCALE", "PIXSCAL1", "PIXSCL", "SECPIX", "SECPIX1", "PIXELSCL", "PXSCALE"), "arcsec"),
    **dict.fromkeys(("PIXSIZE", "PLATESCL", "PLTSCALE"), None),
}
ARCSEC = {
    **dict.fromkeys(("arcsec", "arcsecond", "arcseconds", "arcsecs", "asec", "as", '"', "''"), 1.0),
    **dict.fromkeys(("mas", "milliarcsec", "milliarcsecond", "milliarcseconds"), 1e-3),
    **dict.fromkeys(("arcmin", "arcminute", "arcminutes", "amin", "'"), 60.0),
    **dict.fromkeys(("deg", "degree", "degrees"), 3600.0),
    **dict.fromkeys(("rad", "radian", "radians"), np.degrees(1) * 3600),
}
PER_PIXEL = r"(?:\s*(?:/|per)\s*(?:pixel|pixels|pix|px)|\s*(?:pixel|pix|px)\s*\^?-1)?"
UNIT_WORDS = "|".join(sorted((re.escape(word) for word in ARCSEC if word.isalpha()), key=len, reverse=True))
LENGTH_UNIT = re.compile(r"(?<![a-z])(um|micron|microns|micrometers?|micrometres?|mm|cm|nm|m)(?![a-z])")
OTHER_AXIS = re.compile(r"^[A-Z]{2,4}-+[A-Z]{3}$")  # on a sphere other than that of the stars
NO_SCALE, NO_POSITION = "its WCS states no pixel scale", "its WCS states no position"  # what is said of headers
DISTORTIONS = ("WCSDVARR", "D2IMARR")  # names of units with tables of distortion (astropy, after the draft Paper IV)
ORDERS = ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER")  # of the polynomials of SIP, whose coefficients are looked for
MOST = 99  # axes of a WCS, and order of its polynomials, which by their definitions have one digit
CENTRE_PIX = 0.51  # a reference pixel no further from the middle of an image is its middle


def header_facts(header: Mapping[str, Any], shape: tuple[int, ...], units: Any = None) -> dict[str, Any]:
    """Sky position, scale and orientation at the image centre from a sky WCS, else the scale from a key.

    `shape` is (..., ny, nx); `units` the whole FITS file, in which tables of distortion are.
    """
    facts: dict[str, Any] = {}
    if sky_axes(header):
        try:
            facts = _wcs_facts(header, shape, units)
        except Exception:  # a damaged WCS does not make the pixels useless
            facts = {}
    if "pixel_scale_arcsec" not in facts:
        facts |= _stated_scale(header)
    return facts


def missing_facts(header: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """What a header seems to say of the sky, in words, and does not: `facts` are those that it says."""
    said = []
    if sky_axes(header):
        said += [NO_SCALE] if "pixel_scale_arcsec" not in facts else []
        said += [NO_POSITION] if "ra" not in facts else []
    axes = [str(header.get(f"CTYPE{i}", "")).strip().upper() for i in (1, 2)]
    if not sky_axes(header) and all(OTHER_AXIS.match(axis) for axis in axes):
        said.append(f"its axes {', '.join(axes)} are not on the celestial sphere")
    if "pixel_scale_arcsec" not in facts:
        said += [
            f"{key} is no scale on the sky" for key in PIXEL_SCALE_KEYS if isinstance(header.get(key), int | float)
        ]
    return said


def sky_axes(header: Mapping[str, Any]) -> bool:
    """Whether the first two axes are on the sky."""
    return any(str(header.get(f"CTYPE{i}", ""))[:4].strip("-") in SKY_AXES for i in (1, 2))


def _wcs_facts(header: Mapping[str, Any], shape: tuple[int, ...], units: Any) -> dict[str, float]:
    middle = (shape[-1] - 1) / 2, (shape[-2] - 1) / 2
    position, scale = _states_position(header), _states_scale(header)
    wcs = celestial_wcs(header, units)
    if not scale:
        at_middle = all(abs(float(header.get(f"CRPIX{i}", 0)) - 1 - m) < CENTRE_PIX for i, m in enumerate(middle, 1))
        if not (position and at_middle):
            return {}
        ra, dec = to_icrs(wcs, *(np.array([float(header[f"CRPIX{i}"]) - 1]) for i in (1, 2)))
        return {"ra": float(ra[0]), "dec": float(dec[0])}
    facts = sky_facts(wcs, *(np.array([m]) for m in middle))
    if not (np.isfinite(facts["pixel_scale_arcsec"][0]) and facts["pixel_scale_arcsec"][0] > 0):
        return {}
    return {name: float(values[0]) for name, values in facts.items() if position or name not in ("ra", "dec")}


def _states_scale(header: Mapping[str, Any]) -> bool:
    """Whether the header has a scale: a CD matrix or CDELT, other than the 1 degree a pixel of an empty WCS."""
    matrix = [_number(header, f"CD{i}_{j}") for i in (1, 2) for j in (1, 2)]
    if any(value is not None for value in matrix):
        return tuple(value or 0 for value in matrix) not in ((1, 0, 0, 1), (0, 0, 0, 0))
    steps = [_number(header, f"CDELT{i}") for i in (1, 2)]
    turned = [_number(header, f"PC{i}_{j}", float(i == j)) for i in (1, 2) for j in (1, 2)]
    if any(value is None for value in steps):  # a PC matrix may hold the scale, with steps of 1
        return turned != [1, 0, 0, 1] and all(abs(value or 0) < 1 for value in turned) and steps == [None, None]
    return 0 not in steps and (steps != [1, 1] or turned != [1, 0, 0, 1])


def _number(header: Mapping[str, Any], key: str, missing: float | None = None) -> float | None:
    """The value of a card if it is a number."""
    value = header.get(key, missing)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _states_position(header: Mapping[str, Any]) -> bool:
    """Whether the header has a place on the sky and the pixel that has it, not the zeros of an empty WCS."""
    cards = [_number(header, f"{name}{i}") for name in ("CRVAL", "CRPIX") for i in (1, 2)]
    return all(value is not None for value in cards) and any(value != 0 for value in cards)


def _stated_scale(header: Mapping[str, Any]) -> dict[str, float]:
    """The scale that a key states, in the unit of its comment or of its name."""
    for key, unit in PIXEL_SCALE_KEYS.items():
        value = header.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < np.inf:
            continue
        factor = _unit_in_arcsec(_comment(header, key), unit)
        if factor is not None:
            return {"pixel_scale_arcsec": float(value) * factor}
    return {}


def _comment(header: Any, key: str) -> str:
    return str(header.comments[key]) if hasattr(header, "comments") else ""


def _unit_in_arcsec(comment: str, usual: str | None) -> float | None:
    """The unit that a comment states, in arcsec; `usual` where it states none; None for one that is not of an angle."""
    text = comment.strip().lower()
    bracketed = re.search(r"[\[(]([^\])]*)[\])]", text)
    inside = (bracketed[1] if bracketed else text).strip()
    if LENGTH_UNIT.search(inside):  # of the detector, also as arcsec/mm
        return None
    if bracketed:
        bare = re.sub(PER_PIXEL + "$", "", inside).strip()
        if bare in ARCSEC:
            return ARCSEC[bare]
    if found := re.search(rf"(?<![a-z])({UNIT_WORDS})(?![a-z])", text):
        return ARCSEC[found[1]]
    return ARCSEC[usual] if usual else None


def celestial_wcs(header: Any, units: Any = None):
    """The WCS of the first two FITS axes, which are x and y, in whichever order they hold longitude and latitude.

    `units` is the file's list of units, for distortions that are in tables of it. Raises ValueError if the axes are
    not on the sky.
    """
    from astropy.wcs import WCS

    for card in ("WCSAXES", *ORDERS):  # for which memory and time are taken that grow with their squares
        if not 0 <= float(header.get(card, 0)) <= MOST:
            raise ValueError(f"{card} is {header[card]}.")
    in_tables = any(
        str(header.get(f"{key}{i}", "")).strip() == "Lookup" for key in ("CPDIS", "D2IMDIS") for i in (1, 2)
    )
    in_tables |= any(f"{key}{i}" in header for key in ("D2IMERR", "CPERR") for i in (1, 2))
    with _saying_nothing():
        wcs = WCS(getattr(header, "header", header), _unpacked_tables(units) if in_tables else None, naxis=2)
    if not wcs.has_celestial:
        raise ValueError("the first two axes have no celestial coordinates.")
    return wcs


@contextmanager
def _saying_nothing() -> Iterator[None]:
    """While the block lasts astropy does not print what it thinks of a header on standard output."""
    from astropy import log

    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


def _unpacked_tables(units: Any) -> Any:
    """The units of a file; where tables of distortion are in compressed tiles, these alone, unpacked."""
    from astropy.io import fits

    tables = [unit for unit in units or () if unit.name in DISTORTIONS]
    if not any(map(in_tiles, tables)):
        return units
    return fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(data_of(unit), unit.header) for unit in tables)])


def wcs_or_none(header: Any, units: Any = None):
    """The WCS of the first two axes if the header states one wholly; positions must be x, y otherwise."""
    try:
        if sky_axes(header) and _states_scale(header) and _states_position(header):
            return celestial_wcs(header, units)
    except Exception:  # astropy raises many kinds of errors
        pass
    return None


def sky_facts(wcs, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Position, scale and local matrix of `wcs` at pixels x, y (n,), origin 0.

    The matrix is the derivative of the tangent-plane offsets (east, north) by x and y, from differences over
    one pixel (derived here), so distortions are in it; the scale is the root of its determinant.
    """
    step = np.array([[0, 0], [-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])
    ra, dec = to_icrs(wcs, x[:, None] + step[:, 0], y[:, None] + step[:, 1])  # (n, 5) degrees
    east = ((ra - ra[:, :1] + 180) % 360 - 180) * np.cos(np.radians(dec[:, :1]))
    cd11, cd12 = east[:, 2] - east[:, 1], east[:, 4] - east[:, 3]
    cd21, cd22 = dec[:, 2] - dec[:, 1], dec[:, 4] - dec[:, 3]
    scale = np.sqrt(np.abs(cd11 * cd22 - cd12 * cd21)) * 3600
    return {
        "ra": ra[:, 0],
        "dec": dec[:, 0],
        "pixel_scale_arcsec": scale,
        "cd11": cd11,
        "cd12": cd12,
        "cd21": cd21,
        "cd22": cd22,
    }


def frame_of(wcs):
    """The astropy frame of a WCS; ValueError for one that has no fixed place among the stars."""
    from astropy.coordinates import BarycentricMeanEcliptic, Supergalactic
    from astropy.time import Time
    from astropy.wcs.utils import wcs_to_celestial_frame

    longitude = wcs.wcs.ctype[wcs.wcs.lng][:4]
    if longitude == "ELON":
        year = wcs.wcs.equinox if np.isfinite(wcs.wcs.equinox) else 2000.0
        return BarycentricMeanEcliptic(equinox=Time(year, format="jyear"))
    if longitude == "SLON":
        return Supergalactic()
    return wcs_to_celestial_frame(wcs)


def to_icrs(wcs, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right ascension and declination, degrees, ICRS, of pixels of any shape, origin 0."""
    from astropy.coordinates import SkyCoord

    frame = frame_of(wcs)
    j2000 = frame.name == "icrs" or (frame.name == "fk5" and frame.equinox.jyear == 2000)
    if j2000 and wcs.wcs.lng == 0:  # the quick way, for nearly all images
        return wcs.all_pix2world(x, y, 0)
    if wcs.wcs.ctype[wcs.wcs.lng][:4] in ("ELON", "SLON"):
        axes = wcs.all_pix2world(x, y, 0)
        sky = SkyCoord(axes[wcs.wcs.lng], axes[wcs.wcs.lat], unit="deg", frame=frame).icrs
    else:
        sky = wcs.pixel_to_world(x, y).icrs  # pixel_to_skycoord would swap x and y where latitude comes first
    return sky.ra.deg, sky.dec.deg


def from_icrs(wcs, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels x, y, origin 0, of positions in degrees, ICRS; NaN where the projection has none."""
    from astropy.coordinates import SkyCoord

    sky = SkyCoord(ra, dec, unit="deg")
    if wcs.wcs.ctype[wcs.wcs.lng][:4] not in ("ELON", "SLON"):
        return wcs.world_to_pixel(sky)
    sky = sky.transform_to(frame_of(wcs))
    axes = [sky.spherical.lon.deg, sky.spherical.lat.deg]
    return wcs.all_world2pix(*(axes if wcs.wcs.lng == 0 else axes[::-1]), 0, quiet=True)
