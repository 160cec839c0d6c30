"""Cards: one galaxy as a piece of HTML, with its pictures, numbers, flags and links."""

from __future__ import annotations

import base64
from html import escape
from urllib.parse import quote

import numpy as np
from astropy.table import Row

from emeraldcut.data import Flag
from emeraldcut.data.flags import SENTENCES
from emeraldcut.report.pictures import Picture, View, number, png, text

NONE = "–"  # where there is no value


def card(view: View) -> str:
    """One candidate: pictures, numbers, flags and links."""
    row, score = view.row, number(view.row, "score")
    rank = int(row["rank"])
    values = {
        "a4/a": with_error(row, "a4"),
        "p(rectangular)": _probability(number(row, "p_rectangular")),
        "similarity": decimal(number(row, "similarity"), 2),
        "axis ratio": decimal(number(row, "axis_ratio"), 2),
        "S/N": decimal(number(row, "snr"), 0),
        "half light": _radius(row),
    }
    if text(row, "label"):
        values["known as"] = escape(text(row, "label"))
    wide = {"a4/a", "p(rectangular)", "known as"}
    listed = "".join(
        f"<div{' class=wide' if name in wide else ''}><dt>{name}</dt><dd>{value}</dd></div>"
        for name, value in values.items()
    )
    return (
        f"<article class='card' id='rank-{rank}'><header><span class='rank'>{rank}</span>"
        f"<h3 class='id'>{escape(text(row, 'id'))}</h3></header>"
        f"<div class='looks'>{cutout(view)}<div class='side'><div><span class='quiet'>score</span> "
        f"<strong class='score'>{decimal(score, 2)}</strong>"
        f"<div class='meter' aria-hidden='true'><i style='width:{100 * score:.0f}%'></i></div></div>"
        f"{framed(view)}</div></div>"
        f"<dl class='values'>{listed}</dl>{_chips(row)}{_links(row)}</article>"
    )


def _radius(row: Row) -> str:
    """The half-light radius, in arcseconds where the pixel scale is known."""
    radius, scale = number(row, "radius_pix"), number(row, "pixel_scale_arcsec")
    if radius is None:
        return NONE
    return f"{decimal(radius, 1)} pix" if scale is None else f"{decimal(radius * scale, 2)}″"


def _chips(row: Row) -> str:
    """The flags of a row in a word each, with the sentence on pointing at it."""
    bits = [bit for bit in SENTENCES if int(row["flag"]) & bit]
    chips = "".join(
        f"<a class='chip' href='#flag-{bit.value}' title='{escape(SENTENCES[bit])}'>{flag_name(bit)}</a>"
        for bit in bits
    )
    return f"<div class='chips'>{chips}</div>" if chips else ""


def sky_links(ra: float, dec: float) -> dict[str, str]:
    """Addresses of pages about a place on the sky (degrees, ICRS), by the name of the service."""
    place = quote(f"{ra:.6f} {dec:+.6f}")
    near = quote(f"{ra:.6f}d {dec:+.6f}d")
    return {
        "Legacy Survey": f"https://www.legacysurvey.org/viewer?ra={ra:.6f}&dec={dec:.6f}&layer=ls-dr10&zoom=15&mark={ra:.6f},{dec:.6f}",
        "Aladin": f"https://aladin.cds.unistra.fr/AladinLite/?target={place}&fov=0.05",
        "ESASky": f"https://sky.esa.int/esasky/?target={place}&fov=0.05&cooframe=J2000",
        "SIMBAD": f"https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={place}&CooFrame=ICRS&Radius=1&Radius.unit=arcmin",
        "NED": f"https://ned.ipac.caltech.edu/conesearch?search_type=Near%20Position%20Search&coordinates={near}"
        "&radius=1&in_csys=Equatorial&in_equinox=J2000",
    }


def _links(row: Row) -> str:
    """Links to what is known about the place of a candidate, where its position is known."""
    ra, dec = number(row, "ra"), number(row, "dec")
    if ra is None or dec is None:
        return ""
    links = "".join(f"<a href='{escape(url)}' rel='noopener'>{name}</a>" for name, url in sky_links(ra, dec).items())
    return f"<nav class='links' aria-label='Look up {escape(text(row, 'id'))}'>{links}</nav>"


def flag_name(bit: Flag) -> str:
    return bit.name.lower().replace("_", " ")


# --- pictures


def data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def cutout(view: View) -> str:
    return _picture(view.cutout, f"{escape(text(view.row, 'id'))} on the sky")


def framed(view: View) -> str:
    if view.framed is None:
        return ""
    return _picture(view.framed, f"{escape(text(view.row, 'id'))} in its own frame")


def _picture(picture: Picture, words: str) -> str:
    """Pixels as an image, lines and scale bar as vectors over it; y points up here and down in SVG."""
    n = len(picture.values)

    def path(line: np.ndarray, style: str) -> str:
        points = "L".join(f"{x:.2f} {n - 1 - y:.2f}" for x, y in line)
        return f"<path class='{style}' d='M{points}Z'/>"

    lines = "".join(path(line, "ellipse") for line in picture.ellipses)
    lines += "".join(path(line, "under") + path(line, "isophote") for line in picture.isophotes)
    bar = ""
    if picture.bar_pix:
        x, y = 0.05 * n - 0.5, 0.94 * n - 0.5
        place = f"x='{x:.2f}' y='{y - 0.025 * n:.2f}' font-size='{0.06 * n:.2f}'"
        bar = f"<path class='bar' d='M{x:.2f} {y:.2f}h{picture.bar_pix:.2f}'/>"
        bar += f"<text {place}>{picture.bar_text}</text>"
    box = f"viewBox='-0.5 -0.5 {n} {n}' aria-hidden='true'"
    return (
        f"<div class='picture'>"
        f"<img src='{data_url(png(picture), 'image/png')}' alt='{words}' width='{n}' height='{n}'>"
        f"<svg class='lines' {box}>{lines}</svg><svg {box} style='pointer-events:none'>{bar}</svg></div>"
    )


# --- numbers as text


def decimal(value: float | None, digits: int) -> str:
    """A number with a true minus sign, or an en dash where there is none."""
    return NONE if value is None else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def with_error(row: Row, name: str) -> str:
    """A value with its error, to three digits."""
    value, error = number(row, name), number(row, f"{name}_err")
    if value is None or error is None:
        return decimal(value, 3)
    return f"{decimal(value, 3)} ± {decimal(error, 3)}"


def _probability(value: float | None) -> str:
    """A probability without a false 0 or 1."""
    if value is not None and value < 0.001:
        return "&lt; 0.001"
    return "&gt; 0.999" if value is not None and value > 0.999 else decimal(value, 3)
