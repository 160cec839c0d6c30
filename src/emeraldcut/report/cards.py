"""Cards: one galaxy with its pictures, numbers, flags and links, as plain data for the templates."""

from __future__ import annotations

import base64
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from astropy.table import Row, Table

from emeraldcut.data.flags import SENTENCES, flag_name, level_of
from emeraldcut.networks import CLASSES
from emeraldcut.report.figures.comparison import Comparison
from emeraldcut.report.figures.pictures import GalaxyPictures, Picture, number, png, text

NONE = "–"  # where there is no value
PROFILE_BOX = (300, 106)  # width and height of the plot of a4 against radius,
PROFILE_AREA = (48, 5, 246, 70)  # and the area inside its axes: x, y, width, height
RADII = (0.2, 3.2)  # ends of its logarithmic axis, in half-light radii,
RADIUS_TICKS = (0.25, 0.5, 1, 2)  # and its ticks
STEPS = (0.05, 0.1, 0.2)  # between ticks of its a4 axis; the first at which all but very uncertain points fit
BAR_PLACE = (0.05, 0.94)  # of the scale bar, in sides of the picture
COLUMN_WORDS = {"p_rectangular": "p(rect.)", "p_boxy": "p(boxy)"}  # names on the page of columns that sort cards


@dataclass(frozen=True)
class Fact:
    """A line of a card: its name, the column that it needs, the text of its value, and a hint."""

    name: str
    column: str
    words: Callable[[Row], str]
    hint: str = ""
    wide: bool = False


def card(
    galaxy: GalaxyPictures, found: Comparison, table: Table, shown: Container[int], by: str = "score"
) -> dict[str, Any]:
    """The data of one candidate for the macro `card`: pictures, comparison, numbers, flags, similar galaxies, links.

    Parameters
    ----------
    galaxy : GalaxyPictures
        With `rank` in its row.
    found : Comparison
    table : Table
        All candidates; `found.alike` are indices of its rows.
    shown : ranks that have a card on the page
    by : str
        Column by which the candidates are sorted.
    """
    row, score = galaxy.row, number(galaxy.row, by)
    return {
        "rank": int(row["rank"]),
        "id": text(row, "id"),
        "order": COLUMN_WORDS.get(by, by),
        "value": value_words(row, by),
        "percent": round(100 * min(max(score or 0, 0), 1)),
        "sky": on_sky(galaxy),
        "framed": in_own_frame(galaxy),
        "comparison": _compared(found, row),
        "classes": _classes(row),
        "profile": _profile(found),
        "facts": [
            {"name": fact.name, "value": fact.words(row), "hint": fact.hint, "wide": fact.wide}
            for fact in FACTS if fact.column in row.colnames
        ],
        "flags": [{"bit": bit.value, "name": flag_name(bit), "sentence": SENTENCES[bit], "level": level_of(bit)}
                  for bit in SENTENCES if int(row["flag"]) & bit],
        "alike": _alike(found, table, shown),
        "links": _links(row),
    }  # fmt: skip


def _compared(found: Comparison, row: Row) -> list[tuple[str, dict[str, Any]]]:
    """The reference and the residual, each with its caption."""
    pictures = {
        "reference": (found.reference, f"reference {text(row, 'reference')}"),
        "residual": (found.residual, "galaxy minus reference"),
    }
    return [(caption, drawing(picture, words)) for caption, (picture, words) in pictures.items() if picture is not None]


def _classes(row: Row) -> list[tuple[str, str, str]]:
    """Each class with its probability as text and in per cent; empty if none is known."""
    known = {name: number(row, f"p_{name}") for name in CLASSES}
    if all(p is None for p in known.values()):
        return []
    return [(name, probability(p), f"{100 * (p or 0):.1f}") for name, p in known.items()]


def _profile(found: Comparison) -> dict[str, Any] | None:
    """The plot of a4 against radius, as numbers and paths of an SVG."""
    own, other = found.profile, found.of_reference
    if own is None:
        return None
    precise = own.a4_err < STEPS[0]  # the others have error bars without dots
    if not precise.any():
        return None  # a plot would show nothing but errors
    reach = max(np.max(np.abs(one.a4[one.a4_err < STEPS[0]]), initial=0) for one in (own, other) if one is not None)
    step = next((step for step in STEPS if 1.4 * step > reach), STEPS[-1])
    left, top, width, height = PROFILE_AREA
    ends = np.log(RADII)

    def across(radius):
        return width * (np.log(radius) - ends[0]) / (ends[1] - ends[0])

    def down(a4):
        return height * (0.5 - a4 / (3 * step))

    x, y, error = across(own.radius), down(own.a4), height * own.a4_err / (3 * step)
    reference = ""
    if other is not None:
        reference = f"M{_points(across(other.radius), down(other.a4), 1)}"
    return {
        "box": PROFILE_BOX, "left": left, "top": top, "width": width, "height": height,
        "levels": [(f"{top + down(a4):.1f}", decimal(a4, 2)) for a4 in (-step, 0.0, step)],
        "ticks": [(f"{left + across(radius):.1f}", f"{radius:g}") for radius in RADIUS_TICKS],
        "reference": reference,
        "errors": "".join(f"M{a:.1f} {b - e:.1f}v{2 * e:.1f}" for a, b, e in zip(x, y, error, strict=True)),
        "points": [(f"{a:.1f}", f"{b:.1f}") for a, b in zip(x[precise], y[precise], strict=True)],
    }  # fmt: skip


def _alike(found: Comparison, table: Table, shown: Container[int]) -> list[dict[str, Any]]:
    """The galaxies with the most similar harmonics, and whether they have a card."""
    ranks = [int(table["rank"][place]) for place in found.alike]
    return [{"rank": rank, "id": str(table["id"][place]), "shown": rank in shown}
            for rank, place in zip(ranks, found.alike, strict=True)]  # fmt: skip


def half_light_radius(row: Row) -> str:
    """The half-light radius, in arcseconds where the pixel scale is known."""
    radius, scale = number(row, "radius_pix"), number(row, "pixel_scale_arcsec")
    if radius is None:
        return NONE
    return f"{decimal(radius, 1)} pix" if scale is None else f"{decimal(radius * scale, 2)}″"


FACTS = (
    Fact("why", "why", lambda row: text(row, "why") or NONE, "what changed the odds most, as factors", wide=True),
    Fact("a4/a", "a4", lambda row: with_error(row, "a4"), wide=True),
    Fact("a6/a", "a6", lambda row: with_error(row, "a6"), wide=True),
    Fact("half-light radius", "radius_pix", half_light_radius, wide=True),
    Fact("similarity", "similarity", lambda row: decimal(number(row, "similarity"), 2),
         "to the reference: 1 for the same deviations from ellipses, 0 for an ellipse"),
    Fact("p-value", "similarity_p", lambda row: probability(number(row, "similarity_p")),
         "probability that an ordinary galaxy is at least as similar"),
    Fact("axis ratio", "axis_ratio", lambda row: decimal(number(row, "axis_ratio"), 2)),
    Fact("S/N", "snr", lambda row: decimal(number(row, "snr"), 0), "within the half-light ellipse"),
    Fact("typicality", "typical", lambda row: probability(number(row, "typical")),
         "fraction of galaxies of known classes that are at least as unusual"),
    Fact("known as", "label", lambda row: text(row, "label") or NONE, wide=True),
)  # fmt: skip


def sky_links(ra: float, dec: float) -> dict[str, str]:
    """Addresses of pages about a position (degrees, ICRS), by the name of the service."""
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


def _links(row: Row) -> dict[str, str]:
    """Links to services that show the position of a candidate; none if it is not known."""
    ra, dec = number(row, "ra"), number(row, "dec")
    return {} if ra is None or dec is None else sky_links(ra, dec)


# --- pictures


def data_url(content: bytes, kind: str) -> str:
    """A file of this media type as a URL that holds its content."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def on_sky(galaxy: GalaxyPictures) -> dict[str, Any]:
    """The galaxy on the sky, for the macro `picture`."""
    return drawing(galaxy.cutout, f"{text(galaxy.row, 'id')} on the sky")


def in_own_frame(galaxy: GalaxyPictures) -> dict[str, Any] | None:
    """The galaxy in its own frame, for the macro `picture`; None where no galaxy was found."""
    return None if galaxy.framed is None else drawing(galaxy.framed, f"{text(galaxy.row, 'id')} in its own frame")


def drawing(picture: Picture, words: str) -> dict[str, Any]:
    """A picture for the macro `picture`: pixels as a data URL, lines and scale bar as SVG paths, and its description.

    y points up in the picture and down in SVG.
    """
    n = len(picture.values)

    def path(line: np.ndarray) -> str:
        return f"M{_points(line[:, 0], n - 1 - line[:, 1], 2)}Z"

    bar = None
    if picture.bar_pix:
        x, y = BAR_PLACE[0] * n - 0.5, BAR_PLACE[1] * n - 0.5
        bar = {
            "path": f"M{x:.2f} {y:.2f}h{picture.bar_pix:.2f}", "x": f"{x:.2f}", "y": f"{y - 0.025 * n:.2f}",
            "size": f"{0.06 * n:.2f}", "text": picture.bar_text,
        }  # fmt: skip
    return {
        "src": data_url(png(picture), "image/png"),
        "words": words,
        "side": n,
        "ellipses": [path(line) for line in picture.ellipses],
        "isophotes": [path(line) for line in picture.isophotes],
        "bar": bar,
    }


def _points(x: np.ndarray, y: np.ndarray, digits: int) -> str:
    """Points of an SVG path, joined by straight lines."""
    return "L".join(f"{a:.{digits}f} {b:.{digits}f}" for a, b in zip(x, y, strict=True))


# --- numbers as text


def decimal(value: float | None, digits: int) -> str:
    """A number with a true minus sign, or an en dash where there is none."""
    return NONE if value is None else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def value_words(row: Row, name: str) -> str:
    """The value of a column that sorts galaxies, as text; probabilities, as the score is one, are never 0 or 1."""
    value = number(row, name)
    if name == "score" and value is not None and 0 <= value <= 1 and not 0.005 <= value < 0.995:
        return "< 0.01" if value < 0.5 else "> 0.99"
    return probability(value) if name.startswith("p_") else decimal(value, 2)


def with_error(row: Row, name: str) -> str:
    """A value with its error, to three digits."""
    value, error = number(row, name), number(row, f"{name}_err")
    if value is None or error is None:
        return decimal(value, 3)
    return f"{decimal(value, 3)} ± {decimal(error, 3)}"


def probability(value: float | None) -> str:
    """A probability as text, which is never 0 or 1."""
    if value is not None and value < 0.001:
        return "< 0.001"
    return "> 0.999" if value is not None and value > 0.999 else decimal(value, 3)
