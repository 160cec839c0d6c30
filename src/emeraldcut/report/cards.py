"""Cards: one galaxy as a piece of HTML, with its pictures, numbers, flags and links."""

from __future__ import annotations

import base64
from collections.abc import Callable, Container
from html import escape
from urllib.parse import quote

import numpy as np
from astropy.table import Row, Table

from emeraldcut.data import Flag
from emeraldcut.data.flags import SENTENCES
from emeraldcut.networks import CLASSES
from emeraldcut.report.figures.comparison import Comparison
from emeraldcut.report.figures.pictures import GalaxyPictures, Picture, number, png, text

CARD_WORDS = (  # what is to be seen on cards, for those who read them
    "Lines on the pictures: fitted isophotes at 1 and 2 half-light radii; dashed, in the own frame, the ellipses they "
    "deviate from. Below: the reference as it is turned for the comparison, and the galaxy less the reference with the "
    "galaxy's profile (red is more light, blue is less; the colours end at 5 sigma of the noise); a4/a against radius "
    "in half-light radii, points with standard errors for the galaxy, a line for the reference; and the galaxies of "
    "this run whose isophotes are most alike, by their harmonics within the errors."
)
NONE = "–"  # where there is no value
PROFILE_BOX = (300.0, 92.0)  # of the drawing of a4 against radius: width and height,
PROFILE_AREA = (34.0, 5.0, 260.0, 70.0)  # and in it the axes: x, y, width, height
COLUMN_WORDS = {"p_rectangular": "p(rect.)", "p_boxy": "p(boxy)"}  # columns that cards may be ordered by, for readers
RADII = (0.2, 3.2)  # half-light radii on its logarithmic axis
STEPS = (0.05, 0.1, 0.2)  # of its axis of a4; the first that all points but very uncertain ones fit in


def card(galaxy: GalaxyPictures, found: Comparison, table: Table, shown: Container[int], by: str = "score") -> str:
    """One candidate: pictures, what speaks for it, numbers, flags, look-alikes and links.

    Parameters
    ----------
    galaxy : GalaxyPictures
        With `rank` in its row.
    found : Comparison
    table : Table
        All candidates, which `found.alike` counts.
    shown : ranks that have a card on the page
    by : str
        Column that orders the candidates.
    """
    row, score = galaxy.row, number(galaxy.row, by)
    rank = int(row["rank"])
    values = {name: of(row) for name, (column, of) in FACTS.items() if column in row.colnames}
    wide = {"a4/a", "a6/a", "known as"}
    listed = "".join(
        f"<div{' class=wide' if name in wide else ''}><dt>{name}</dt><dd>{value}</dd></div>"
        for name, value in values.items()
    )
    words = COLUMN_WORDS.get(by, by)
    share = 0 if score is None else 100 * min(max(score, 0), 1)
    return (
        f"<article class='card' id='rank-{rank}'><header><span class='rank'>{rank}</span>"
        f"<h3 class='id'>{escape(text(row, 'id'))}</h3></header>"
        f"<div class='looks'>{cutout(galaxy)}<div class='side'><div><span class='quiet'>{words}</span> "
        f"<strong class='score'>{decimal(score, 2)}</strong>"
        f"<div class='meter' aria-hidden='true'><i style='width:{share:.0f}%'></i></div></div>"
        f"{framed(galaxy)}</div></div>{_beside(found, row)}{_profile(found)}"
        f"<dl class='values'>{listed}</dl>{_chips(row)}{_alike(found, table, shown)}{_links(row)}</article>"
    )


def _beside(found: Comparison, row: Row) -> str:
    """The reference and what is left of it, and the probabilities of the classes."""
    name = escape(text(row, "reference"))
    pictures = [
        (found.reference, f"reference {name}", "reference"),
        (found.residual, "galaxy less reference", "residual"),
    ]
    parts = [
        f"<figure>{_picture(picture, words)}<figcaption>{caption}</figcaption></figure>"
        for picture, words, caption in pictures
        if picture is not None
    ]
    known = {name: number(row, f"p_{name}") for name in CLASSES}
    if any(p is not None for p in known.values()):
        bars = "".join(
            f"<div><dt>{name}</dt><dd>{probability(p)}</dd><i style='width:{100 * (p or 0):.1f}%'></i></div>"
            for name, p in known.items()
        )
        parts.append(f"<dl class='classes' aria-label='Probability of each class'>{bars}</dl>")
    return f"<div class='looks beside'>{''.join(parts)}</div>" if parts else ""


def _profile(found: Comparison) -> str:
    """a4 against radius as SVG: the galaxy as points with errors, the reference as a line."""
    own, other = found.profile, found.of_reference
    if own is None:
        return ""
    sure = own.a4_err < STEPS[0]  # the others have bars without dots
    reach = max(np.max(np.abs(one.a4[one.a4_err < STEPS[0]]), initial=0) for one in (own, other) if one is not None)
    step = next((step for step in STEPS if 1.4 * step > reach), STEPS[-1])
    left, top, width, height = PROFILE_AREA
    ends = np.log(RADII)

    def across(radius):
        return width * (np.log(radius) - ends[0]) / (ends[1] - ends[0])

    def down(a4):
        return height * (0.5 - a4 / (3 * step))

    grid = "".join(
        f"<path class='grid' d='M{left:g} {top + down(a4):.1f}h{width:g}'/>"
        f"<text x='{left - 4:g}' y='{top + down(a4) + 3:.1f}' text-anchor='end'>{decimal(a4, 2)}</text>"
        for a4 in (-step, 0.0, step)
    )
    grid += "".join(
        f"<text x='{left + across(radius):.1f}' y='{PROFILE_BOX[1] - 4:g}' text-anchor='middle'>{radius:g}</text>"
        for radius in (0.25, 0.5, 1, 2)
    )
    lines = ""
    if other is not None:
        points = zip(across(other.radius), down(other.a4), strict=True)
        lines = f"<path class='theirs' d='M{'L'.join(f'{x:.1f} {y:.1f}' for x, y in points)}'/>"
    bars, dots = "", ""
    for x, y, error, known in zip(
        across(own.radius), down(own.a4), height * own.a4_err / (3 * step), sure, strict=True
    ):
        bars += f"M{x:.1f} {y - error:.1f}v{2 * error:.1f}"
        dots += f"<circle cx='{x:.1f}' cy='{y:.1f}' r='1.8'/>" if known else ""
    return (
        f"<svg class='profile' viewBox='0 0 {PROFILE_BOX[0]:g} {PROFILE_BOX[1]:g}' role='img' "
        f"aria-label='a4/a against radius in half-light radii'>{grid}"
        f"<svg x='{left:g}' y='{top:g}' width='{width:g}' height='{height:g}'>{lines}"
        f"<path class='errors' d='{bars}'/>{dots}</svg></svg>"
    )


def _alike(found: Comparison, table: Table, shown: Container[int]) -> str:
    """The names of the look-alikes, linked to their cards where they have one."""
    names = []
    for place in found.alike:
        rank, name = int(table["rank"][place]), escape(str(table["id"][place]))
        words = f"{rank}. <span class='id'>{name}</span>"
        names.append(f"<a href='#rank-{rank}'>{words}</a>" if rank in shown else words)
    return f"<p class='alike'><span class='quiet'>Most alike:</span> {'; '.join(names)}</p>" if names else ""


# What a card lists: name, the column without which it is left out, and what it says of a row.
FACTS: dict[str, tuple[str, Callable[[Row], str]]] = {
    "a4/a": ("a4", lambda row: with_error(row, "a4")),
    "a6/a": ("a6", lambda row: with_error(row, "a6")),
    "similarity": ("similarity", lambda row: decimal(number(row, "similarity"), 2)),
    "its p-value": ("similarity_p", lambda row: probability(number(row, "similarity_p"))),
    "axis ratio": ("axis_ratio", lambda row: decimal(number(row, "axis_ratio"), 2)),
    "half light": ("radius_pix", lambda row: _radius(row)),
    "S/N": ("snr", lambda row: decimal(number(row, "snr"), 0)),
    "typical": ("typical", lambda row: probability(number(row, "typical"))),
    "known as": ("label", lambda row: escape(text(row, "label")) or NONE),
}


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


def cutout(galaxy: GalaxyPictures) -> str:
    return _picture(galaxy.cutout, f"{escape(text(galaxy.row, 'id'))} on the sky")


def framed(galaxy: GalaxyPictures) -> str:
    if galaxy.framed is None:
        return ""
    return _picture(galaxy.framed, f"{escape(text(galaxy.row, 'id'))} in its own frame")


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


def probability(value: float | None) -> str:
    """A probability without a false 0 or 1."""
    if value is not None and value < 0.001:
        return "&lt; 0.001"
    return "&gt; 0.999" if value is not None and value > 0.999 else decimal(value, 3)
