"""Cards: one candidate as plain values that become JSON: pictures to zoom and stretch, numbers, flags, links."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from astropy.table import Row
from PIL import Image

from emeraldcut.data.flags import SENTENCES
from emeraldcut.report.cards import data_url, decimal, flag_name, half_light_radius, sky_links, with_error
from emeraldcut.report.figures.pictures import COLOUR_MAP, SHOWN_RADII, GalaxyPictures, Picture, number, text
from emeraldcut.review.verdicts import SHAPES

CONTEXT_RADII = 12.0  # half-light radii around a galaxy that one can zoom out to
COLOUR_STOPS = 17


def card(row: Row, galaxy: GalaxyPictures | None) -> dict[str, Any]:
    """What a page shows of a candidate.

    Parameters
    ----------
    row : Row
        Of the candidates' table.
    galaxy : GalaxyPictures or None
        Its pictures, None where there is no image.

    Returns
    -------
    dict
        `id`, `rank`, `facts` (pairs of words), `classes` (probability by class), `flags` (word and sentence),
        `links` (name and address), and `sky` and `framed`: None or a picture with `src` (a grey PNG as a data URL),
        `side` in pixels, `lines` (class and SVG path), `bar` (length in pixels and its name; None for none), and
        `window` (x, y, side), what to show at first. x and y in the picture's pixels, y down as on a screen.
    """
    ra, dec = number(row, "ra"), number(row, "dec")
    return {
        "id": text(row, "id"),
        "rank": int(row["rank"]),
        "facts": _facts(row),
        "classes": {name: number(row, f"p_{name}") for name in SHAPES},
        "flags": [[flag_name(bit), SENTENCES[bit]] for bit in SENTENCES if int(row["flag"]) & bit],
        "links": [] if ra is None or dec is None else list(sky_links(ra, dec).items()),
        "sky": None if galaxy is None else _picture(galaxy.cutout, SHOWN_RADII),
        "framed": None if galaxy is None or galaxy.framed is None else _picture(galaxy.framed, None),
    }


def _facts(row: Row) -> list[tuple[str, str]]:
    """Names and values of what was measured."""
    return [
        ("a4/a", with_error(row, "a4")),
        ("a6/a", with_error(row, "a6")),
        ("score", decimal(number(row, "score"), 2)),
        ("similarity", decimal(number(row, "similarity"), 2)),
        ("axis ratio", decimal(number(row, "axis_ratio"), 2)),
        ("S/N", decimal(number(row, "snr"), 0)),
        ("half-light radius", half_light_radius(row)),
    ]


def _picture(picture: Picture, radii: float | None) -> dict[str, Any]:
    """A picture; the window reaches `radii` half-light radii from the galaxy, or to all edges without `radii`."""
    side = len(picture.values)
    window = [0.0, 0.0, float(side)]
    if radii is not None and picture.isophotes:
        outer = picture.isophotes[-1]  # at 2 half-light radii
        centre = (outer.min(axis=0) + outer.max(axis=0)) / 2
        half = min(radii / 2 * np.hypot(*(outer - centre).T).max(), side / 2)
        x, y = np.clip([centre[0] + 0.5, side - 0.5 - centre[1]], half, side - half) - half
        window = [round(float(v), 2) for v in (x, y, 2 * half)]
    lines = [("ellipse", line) for line in picture.ellipses] + [("isophote", line) for line in picture.isophotes]
    return {
        "src": data_url(_grey_png(picture.values), "image/png"),
        "side": side,
        "lines": [[name, _path(line, side)] for name, line in lines],
        "bar": [round(picture.bar_pix, 2), picture.bar_text] if picture.bar_pix else None,
        "window": window,
    }


def _path(line: np.ndarray, side: int) -> str:
    """A closed line (k, 2) as an SVG path: pixel centres at halves, y down."""
    return "M" + "L".join(f"{x + 0.5:.2f} {side - 0.5 - y:.2f}" for x, y in line) + "Z"


def _grey_png(values: np.ndarray) -> bytes:
    """Light between 0 and 1 as a grey PNG, one to one, transparent where there is no data; y up in, down out."""
    grey = np.round(255 * np.nan_to_num(values)).astype(np.uint8)
    alpha = np.where(np.isfinite(values), 255, 0).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(np.stack([grey, alpha], axis=-1)[::-1], "LA").save(buffer, "png")
    return buffer.getvalue()


@cache
def colours() -> list[list[float]]:
    """Red, green and blue (each `COLOUR_STOPS` values between 0 and 1) of the report's colour map."""
    from matplotlib import colormaps

    stops = colormaps[COLOUR_MAP](np.linspace(0, 1, COLOUR_STOPS))[:, :3]
    return np.round(stops, 3).T.tolist()
