"""Cut-outs through the protocols of the Virtual Observatory: SIA finds an image, DataLink and SODA cut it.

As in the IVOA's recommendations Simple Image Access 1.0 and 2.0, DataLink 1.0 and SODA 1.0. The requests go through
`get`, which keeps the pace and the patience of `fetch`; pyvo has a session of its own, without either.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
from astropy.table import Row, Table

from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import Flag
from emeraldcut.errors import UsageError
from emeraldcut.exchange.http import checked
from emeraldcut.images.claims import BadImage
from emeraldcut.images.tiles import Tiles, first_pixel
from emeraldcut.runs.notices import printable
from emeraldcut.tables.foreign import parsed_votable

VERSIONS = ("sia1", "sia2")
LARGEST_ANSWER_BYTES = 20_000_000  # of a table of images or links
LARGEST_IMAGE_BYTES = 400_000_000  # of a service that does not cut
DATALINK = "content=datalink"
# What the columns of an answer are: UCDs of version 1, names of version 2.
ACCESS = {
    "url": ("VOX:Image_AccessReference", "access_url"),
    "format": ("VOX:Image_Format", "access_format"),
    "ra": ("POS_EQ_RA_MAIN", "s_ra"),
    "dec": ("POS_EQ_DEC_MAIN", "s_dec"),
}


def image_at(
    service: str, survey: str | None, ra: float, dec: float, width_deg: float, get: Callable[[str, int], bytes]
) -> bytes:
    """A FITS file that has the place `ra`, `dec` (degrees) and what is `width_deg` around it, or more.

    `get` takes a URL and the length of the longest answer. `service` is sia1:URL or sia2:URL; `survey` is the
    collection that version 2 is asked for. Raises BadImage: NO_DATA if the service has no image there, UNREADABLE if it
    answers something else than it should; and what `get` raises.
    """
    version, _, url = service.partition(":")
    if version == "sia1":
        asked = {"POS": f"{ra:.7f},{dec:.7f}", "SIZE": f"{width_deg:.7f}", "FORMAT": "image/fits"}
    else:
        asked = {"POS": f"CIRCLE {ra:.7f} {dec:.7f} {width_deg / 2:.7f}"} | ({"COLLECTION": survey} if survey else {})
    images = _records(get(_with(url, asked), LARGEST_ANSWER_BYTES))
    url, form = _nearest(images, ra, dec)
    if DATALINK in form:
        url = _cutting_link(get(url, LARGEST_ANSWER_BYTES), ra, dec, width_deg * np.sqrt(0.5))
    return get(url, LARGEST_IMAGE_BYTES)


def cut_to(path: Path, ra: float, dec: float, size: int) -> None:
    """Replaces a FITS file by the (size, size) pixels around a place in it, with their noise if there is a map of it.

    BadImage if the place is not in it.
    """
    from astropy.io import fits

    try:
        tiles = Tiles([path])
    except ValueError as error:
        raise BadImage(Flag.UNREADABLE, str(error)) from None
    try:
        if tiles[0].wcs is None:
            raise BadImage(Flag.UNREADABLE, "The image has no sky coordinates.")
        (number,), x, y = tiles.places(Table({"ra": [ra], "dec": [dec]}))
        if number < 0:
            raise BadImage(Flag.NO_DATA, "The place is not in the image that the service has of it.")
        x0, y0 = int(first_pixel(x, size)[0]), int(first_pixel(y, size)[0])
        pixels, noise = tiles.mosaic(number).window_and_noise(x0, y0, size, size)
        wcs = tiles[number].wcs.deepcopy()
    finally:
        tiles.close()
    wcs.wcs.crpix = wcs.wcs.crpix - [x0, y0]
    units = [fits.PrimaryHDU(pixels, wcs.to_header(relax=True))]
    if noise is not None:
        units.append(fits.ImageHDU(noise, name="ERR"))
    content = io.BytesIO()
    fits.HDUList(units).writeto(content)
    path.write_bytes(content.getvalue())


def _with(url: str, asked: dict[str, str]) -> str:
    """A URL with parameters at its end. BadImage for anything but http and https."""
    checked(url)
    glue = "" if url.endswith(("?", "&")) else "&" if "?" in url else "?"
    return url + glue + "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())


def _parsed(answer: bytes):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return parsed_votable(answer, verify="ignore")
    except UsageError as error:
        raise BadImage(Flag.UNREADABLE, f"the service sent no VOTable that can be used: {error}") from None
    except Exception:  # of the parser or of what it uses
        raise BadImage(Flag.UNREADABLE, "the service sent no VOTable.") from None


def _table(document) -> Table:
    """The results of an answer, columns by name; BadImage if it says that it failed."""
    for resource in document.resources:
        for info in resource.infos:
            if info.name == "QUERY_STATUS" and str(info.value).upper() == "ERROR":
                raise BadImage(
                    Flag.UNREADABLE, f"the service says: {printable((info.content or 'error').strip()[:200])}"
                )
        if resource.type == "results" and resource.tables:
            return resource.tables[0].to_table(use_names_over_ids=True)
    return Table()


def _records(answer: bytes) -> Table:
    """The images that an answer names: `url`, `format`, and `ra`, `dec` of their centres where they are known."""
    table, images = _table(_parsed(answer)), Table()
    for wanted, (ucd, name) in ACCESS.items():
        ucds = {column.meta.get("ucd", ""): column.name for column in table.itercols()}
        found = ucds.get(ucd) or (name if name in table.colnames else None)
        if found is not None:
            images[wanted] = table[found]
    if len(table) and not {"url", "format"} <= set(images.colnames):
        raise BadImage(Flag.UNREADABLE, "the service's answer does not say where its images are.")
    return images


def _nearest(images: Table, ra: float, dec: float) -> tuple[str, str]:
    """URL and format of the FITS image, or link to one, whose centre is nearest to a place."""
    rows = [row for row in range(len(images)) if any(w in str(images["format"][row]) for w in ("fits", DATALINK))]
    if not rows:
        raise BadImage(Flag.NO_DATA, "The service has no FITS image of this place.")
    far = np.zeros(len(images))
    if {"ra", "dec"} <= set(images.colnames):
        east = (numbers(images["ra"]) - ra + 180) % 360 - 180
        far = np.nan_to_num(np.hypot(east * np.cos(np.radians(dec)), numbers(images["dec"]) - dec), nan=np.inf)
    row = min(rows, key=lambda row: far[row])
    return str(images["url"][row]), str(images["format"][row])


def _cutting_link(answer: bytes, ra: float, dec: float, radius_deg: float) -> str:
    """Where the links of an image lead to a cut-out of it (SODA), or else to the image."""
    document = _parsed(answer)
    links = _table(document)
    services = {resource.ID: resource for resource in document.resources if resource.utype == "adhoc:service"}
    for link in links:
        service = services.get(str(link["service_def"])) if "service_def" in links.colnames else None
        if service is None:
            continue
        told = {param.name: str(param.value) for param in service.params}
        if "SODA" in told.get("standardID", "") and "accessURL" in told:
            circle = f"{ra:.7f} {dec:.7f} {radius_deg:.7f}"
            return _with(told["accessURL"], {"ID": _text(links, link, "ID"), "CIRCLE": circle})
    for link in links:
        if _text(links, link, "semantics") == "#this" and _text(links, link, "access_url"):
            return _with(str(link["access_url"]), {}).rstrip("?&")
    raise BadImage(Flag.NO_DATA, "The service links to no image of this place.")


def _text(links: Table, link: Row, name: str) -> str:
    """A value of a link as text, empty where it is missing."""
    return "" if name not in links.colnames or np.ma.is_masked(link[name]) else str(link[name])
