"""Cards: the data of a candidate for its page, as JSON: pictures to zoom and stretch, numbers, flags, links."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from astropy.table import Row
from PIL import Image

from emeraldcut.data.flags import SENTENCES, flag_name
from emeraldcut.report.cards import (
    data_url,
    decimal,
    half_light_radius,
    sky_links,
    value_words,
    with_error,
)
from emeraldcut.report.figures.pictures import (
    COLOUR_MAP,
    SHOWN_RADII,
    GalaxyPictures,
    Picture,
    number,
    png,
    text,
)
from emeraldcut.review.verdicts import SHAPES, VERDICTS

CONTEXT_RADII = 12.0  # half-light radii around a galaxy to which one can zoom out
COLOUR_STOPS = 17


def card(
    row: Row,
    galaxy: GalaxyPictures | None,
    verdicts: tuple[str, ...] = VERDICTS,
    reference: str = "",
    of_reference: Picture | None = None,
    residual: Picture | None = None,
) -> dict[str, Any]:
    """The data of a candidate for its page.

    Parameters
    ----------
    row : Row
        Of the candidates' table.
    galaxy : GalaxyPictures or None
        Its pictures, None where there is no image.
    verdicts : tuple of str
        What may be said of it.
    reference, of_reference, residual : str and Pictures
        What it is compared with, if anything, see `comparison.residual_of`.

    Returns
    -------
    dict
        `id`, `rank`, `facts` (names and values), `classes` (probability by class), `flags` (name and sentence) and
        `links` (name and address), and the pictures `sky`, `framed`, `reference` and `residual`, and `compared`, the
        name of the reference.

        A picture is None or has `src` (a PNG as a data URL), `plain` if it is shown in its own colours, `side` in
        pixels, `lines` (class and SVG path), `bar` (length in pixels and its name, or None) and `window` (x, y, side),
        the part that is shown at first. x and y are in pixels of the picture, y downwards.
    """
    ra, dec = number(row, "ra"), number(row, "dec")
    return {
        "id": text(row, "id"),
        "rank": int(row["rank"]),
        "facts": _facts(row),
        "classes": {name: p for name in dict.fromkeys((*verdicts[:-1], *SHAPES))
                    if (p := number(row, f"p_{name}")) is not None},
        "flags": [[flag_name(bit), SENTENCES[bit]] for bit in SENTENCES if int(row["flag"]) & bit],
        "links": [] if ra is None or dec is None else list(sky_links(ra, dec).items()),
        "sky": None if galaxy is None else _picture(galaxy.cutout, SHOWN_RADII),
        "framed": None if galaxy is None or galaxy.framed is None else _picture(galaxy.framed, None),
        "compared": reference,
        "reference": None if of_reference is None else _picture(of_reference, None),
        "residual": None if residual is None else _picture(residual, None),
    }  # fmt: skip


def _facts(row: Row) -> list[tuple[str, str]]:
    """Names and values of the measurements."""
    facts = (
        ("a4/a", "a4", with_error(row, "a4")),
        ("a6/a", "a6", with_error(row, "a6")),
        ("score", "score", value_words(row, "score")),
        ("similarity", "similarity", decimal(number(row, "similarity"), 2)),
        ("axis ratio", "axis_ratio", decimal(number(row, "axis_ratio"), 2)),
        ("S/N", "snr", decimal(number(row, "snr"), 0)),
        ("half-light radius", "radius_pix", half_light_radius(row)),
    )
    return [(words, value) for words, column, value in facts if column in row.colnames]


def _picture(picture: Picture, radii: float | None) -> dict[str, Any]:
    """A picture whose window reaches `radii` half-light radii from the galaxy, or to the edges if that is None."""
    side = len(picture.values)
    window = [0.0, 0.0, float(side)]
    if radii is not None and picture.isophotes:
        outer = picture.isophotes[-1]  # at 2 half-light radii
        centre = (outer.min(axis=0) + outer.max(axis=0)) / 2
        half = min(radii / 2 * np.hypot(*(outer - centre).T).max(), side / 2)
        x, y = np.clip([centre[0] + 0.5, side - 0.5 - centre[1]], half, side - half) - half
        window = [round(float(v), 2) for v in (x, y, 2 * half)]
    lines = [("ellipse", line) for line in picture.ellipses] + [("isophote", line) for line in picture.isophotes]
    plain = picture.colours is not None or picture.colour_map != COLOUR_MAP  # not through the page's own colours
    return {
        "src": data_url(png(picture) if plain else _grey_png(picture.values), "image/png"),
        "plain": plain,
        "side": side,
        "lines": [[name, _path(line, side)] for name, line in lines],
        "bar": [round(picture.bar_pix, 2), picture.bar_text] if picture.bar_pix else None,
        "window": window,
    }


def _path(line: np.ndarray, side: int) -> str:
    """A closed line (k, 2) as an SVG path: pixel centres at halves, y down."""
    return "M" + "L".join(f"{x + 0.5:.2f} {side - 0.5 - y:.2f}" for x, y in line) + "Z"


def _grey_png(values: np.ndarray) -> bytes:
    """Light between 0 and 1 as a grey PNG, flipped so that y is downwards, and transparent without data."""
    grey = np.round(255 * np.nan_to_num(values)).astype(np.uint8)
    alpha = np.where(np.isfinite(values), 255, 0).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(np.stack([grey, alpha], axis=-1)[::-1], "LA").save(buffer, "png")
    return buffer.getvalue()


@cache
def colours() -> list[list[float]]:
    """The colour map of the report: `COLOUR_STOPS` values between 0 and 1 of each of red, green and blue."""
    from matplotlib import colormaps

    stops = colormaps[COLOUR_MAP](np.linspace(0, 1, COLOUR_STOPS))[:, :3]
    return np.round(stops, 3).T.tolist()
