"""Cut-outs through the protocols of the Virtual Observatory: SIA finds an image, DataLink and SODA cut it.

As in the IVOA's recommendations Simple Image Access 1.0 and 2.0, DataLink 1.0 and SODA 1.0, by pyvo. Its requests go
through a session of ours, and so through `get`, which keeps the pace, the patience and the bounds of `fetch`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import Flag
from emeraldcut.errors import MissingPackageError, UsageError
from emeraldcut.exchange.http import checked
from emeraldcut.exchange.sky import NEEDED
from emeraldcut.images.claims import BadImage
from emeraldcut.images.tiles import Tiles, first_pixel
from emeraldcut.runs.notices import printable
from emeraldcut.tables.foreign import check_is_whole

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
Get = Callable[[str, int], bytes]  # of a URL and the length of the longest answer


def check_installed() -> None:
    """Raises MissingPackageError without pyvo."""
    try:
        import pyvo  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(f"an image service of the Virtual Observatory {NEEDED} ({error}).") from error


def image_at(service: str, survey: str | None, ra: float, dec: float, width_deg: float, get: Get) -> bytes:
    """A FITS file that has the place `ra`, `dec` (degrees) and what is `width_deg` around it, or more.

    `service` is sia1:URL or sia2:URL; `survey` is the collection that version 2 is asked for. Raises BadImage: NO_DATA
    if the service has no image there, UNREADABLE if it answers something else than it should; and what `get` raises.
    """
    from pyvo.dal.adhoc import DatalinkResults
    from pyvo.dal.sia import SIAQuery, SIAResults
    from pyvo.dal.sia2 import SIA2Query, SIA2Results

    version, _, url = service.partition(":")
    session = _Session(get)
    with _understood():
        if version == "sia1":
            asked = SIAQuery(url, (float(ra), float(dec)), float(width_deg), format="image/fits", session=session)
            images = SIAResults(asked.execute_votable(), url=url, session=session)
        else:
            place = (float(ra), float(dec), float(width_deg) / 2)
            asked = SIA2Query(url, place, collection=survey, session=session)
            images = SIA2Results(asked.execute_votable(), url=url, session=session)
        url, form = nearest(images, ra, dec)
        if DATALINK in form:
            links = DatalinkResults.from_result_url(url, session=session)
            url = cutting_link(links, ra, dec, float(width_deg) * 0.5**0.5)
    return get(checked(url), LARGEST_IMAGE_BYTES)


class _Session:
    """What pyvo asks servers with, instead of a session of requests."""

    def __init__(self, get: Get) -> None:
        self._get = get

    def get(self, url: str, params: Any = None, **others: Any) -> Any:
        """The answer to a GET as requests gives it."""
        from requests import Response
        from urllib3.response import HTTPResponse

        response = Response()
        response.status_code, response.url = 200, _with(url, params)
        content = self._get(response.url, LARGEST_ANSWER_BYTES)
        try:
            check_is_whole(content)
        except UsageError as error:
            raise BadImage(Flag.UNREADABLE, f"the service sent no VOTable that can be used: {error}") from None
        response.raw = HTTPResponse(io.BytesIO(content), preload_content=False)
        return response


def _with(url: str, asked: Any) -> str:
    """A URL with parameters at its end. BadImage for anything but http and https."""
    from requests import Request

    return str(Request("GET", checked(url), params=asked).prepare().url)


@contextmanager
def _understood() -> Iterator[None]:
    """Within it BadImage is raised of what pyvo makes nothing of; what goes wrong in `get` stays what it is."""
    from pyvo.dal import DALQueryError

    passing = (BadImage, HTTPError, ConnectionError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except passing:
        raise
    except DALQueryError as error:
        said = printable(str(error).strip()[:200]) or "error"
        raise BadImage(Flag.UNREADABLE, f"the service says: {said}") from None
    except Exception as error:  # of the parser, of what it uses, or of ours, in which pyvo wraps what `get` raises
        if isinstance(error.__context__, passing):
            raise error.__context__ from None
        raise BadImage(Flag.UNREADABLE, "the service sent no VOTable that can be read.") from None


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


def nearest(images: Any, ra: float, dec: float) -> tuple[str, str]:
    """URL and format of the FITS image, or link to one, whose centre is nearest to a place, of results of pyvo.

    BadImage if there is none, or if they do not say where their images are.
    """
    table, found = images.to_table(), Table()
    for wanted, (ucd, name) in ACCESS.items():
        column = images.fieldname_with_ucd(ucd) or name
        if column in table.colnames:
            found[wanted] = table[column]
    if len(table) and not {"url", "format"} <= set(found.colnames):
        raise BadImage(Flag.UNREADABLE, "the service's answer does not say where its images are.")
    rows = [row for row in range(len(table)) if any(w in str(found["format"][row]) for w in ("fits", DATALINK))]
    if not rows:
        raise BadImage(Flag.NO_DATA, "The service has no FITS image of this place.")
    far = np.zeros(len(found))
    if {"ra", "dec"} <= set(found.colnames):
        east = (numbers(found["ra"]) - ra + 180) % 360 - 180
        far = np.nan_to_num(np.hypot(east * np.cos(np.radians(dec)), numbers(found["dec"]) - dec), nan=np.inf)
    row = min(rows, key=lambda row: far[row])
    return str(found["url"][row]), str(found["format"][row])


def cutting_link(links: Any, ra: float, dec: float, radius_deg: float) -> str:
    """Where the links of an image (pyvo's `DatalinkResults`) lead to a cut-out of it (SODA), or else to the image."""
    from pyvo.dal import DALServiceError
    from pyvo.dal.adhoc import SODA_SYNC_IVOID, SodaQuery

    try:
        service = links.get_adhocservice_by_ivoid(SODA_SYNC_IVOID)
    except DALServiceError:
        service = None
    if service is not None:
        for link in links:
            if link.service_def == service.ID:
                circle = f"{ra:.7f} {dec:.7f} {radius_deg:.7f}"
                query = SodaQuery.from_resource(link, service)
                return _with(query.queryurl, {**query, "CIRCLE": circle})
    for link in links.bysemantics("#this", include_narrower=False):  # whose narrower terms are on a server
        if link.get("access_url"):
            return _with(str(link.get("access_url", decode=True)), {})
    raise BadImage(Flag.NO_DATA, "The service links to no image of this place.")
