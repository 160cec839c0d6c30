"""Fetch through SIA, DataLink and SODA: against a small service of the test's own."""

import socket
import sys
import time
import unicodedata
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from emeraldcut import cli
from emeraldcut.data import Flag
from emeraldcut.errors import MissingPackageError
from emeraldcut.exchange import FetchSettings, fetch
from emeraldcut.exchange.http import Client, Refused, UnknownHost, addresses
from emeraldcut.exchange.sia import image_at
from emeraldcut.images import NoImagesError, read_images
from emeraldcut.images.claims import BadImage
from emeraldcut.tables import read_table
from tests.helpers import fits_bytes, running, tan_wcs

SCALE, SIDE = 0.5, 200
RETRY_AFTER_S = 0.1
VOTABLE = '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">{}</VOTABLE>'
OK = '<INFO name="QUERY_STATUS" value="OK"/>'


def survey_image(ra=150.0, dec=2.0):
    """A large image of the survey; its pixels say where they are."""
    wcs = tan_wcs((SIDE, SIDE), ra, dec, scale_arcsec=SCALE)
    return np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE), wcs


def survey_file(pixels, wcs, **maps):
    units = [fits.ImageHDU(values, name=name) for name, values in maps.items()]
    return fits_bytes(fits.PrimaryHDU(pixels, wcs.to_header()), *units)


def results(fields, rows, info=OK, more=""):
    names = "".join(f"<FIELD {field}/>" for field in fields)
    cells = "".join("<TR>" + "".join(f"<TD>{cell}</TD>" for cell in row) + "</TR>" for row in rows)
    table = f"<TABLE>{names}<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE>"
    return VOTABLE.format(f'<RESOURCE type="results">{info}{table}</RESOURCE>{more}').encode()


TEXT = 'datatype="char" arraysize="*"'
SIA1_FIELDS = [
    f'name="title" ucd="VOX:Image_Title" {TEXT}', f'name="link" ucd="VOX:Image_AccessReference" {TEXT}',
    f'name="mime" ucd="VOX:Image_Format" {TEXT}', 'name="lon" ucd="POS_EQ_RA_MAIN" datatype="double"',
    'name="lat" ucd="POS_EQ_DEC_MAIN" datatype="double"',
]  # fmt: skip
SIA2_FIELDS = [
    f'name="access_url" ucd="meta.ref.url" {TEXT}', f'name="access_format" ucd="meta.code.mime" {TEXT}',
    'name="s_ra" ucd="pos.eq.ra" datatype="double"', 'name="s_dec" ucd="pos.eq.dec" datatype="double"',
]  # fmt: skip
LINK_FIELDS = [
    f'name="{name}" ucd="{ucd}" {TEXT}'
    for name, ucd in (
        ("ID", "meta.id;meta.main"), ("access_url", "meta.ref.url"), ("service_def", "meta.ref"),
        ("error_message", "meta.code.error"), ("semantics", "meta.code"), ("description", "meta.note"),
        ("content_type", "meta.code.mime"),
    )
]  # fmt: skip


def sia1(url):
    rows = [("a picture", f"{url}/picture", "image/jpeg", 150.0, 2.0), ("far", f"{url}/far", "image/fits", 150.5, 2.0)]
    return results(SIA1_FIELDS, [*rows, ("it", f"{url}/whole?a=1&amp;b=2", "image/fits", 150.0, 2.0)])


def sia2(url):
    form = "application/x-votable+xml;content=datalink"
    return results(SIA2_FIELDS, [(f"{url}/links?ID=x", form, 150.0, 2.0), (f"{url}/far", "image/fits", 151.0, 2.0)])


def links(url, cuts=True):
    rows = [("x/1", f"{url}/whole", "", "", "#this", "the image", "image/fits")]
    if cuts:
        rows.append(("x/1", "", "soda", "", "#cutout", "a part", "image/fits"))
    service = (
        '<RESOURCE type="meta" utype="adhoc:service" ID="soda">'
        f'<PARAM name="standardID" {TEXT} value="ivo://ivoa.net/std/SODA#sync-1.0"/>'
        f'<PARAM name="accessURL" {TEXT} value="{url}/soda"/>'
        f'<GROUP name="inputParams"><PARAM name="ID" {TEXT} value="x/1"/></GROUP></RESOURCE>'
    )
    return results(LINK_FIELDS, rows, more=service)


class Service(BaseHTTPRequestHandler):
    """Answers as `server.manner` says, by the last part of the path."""

    def do_GET(self):
        parts = urlsplit(self.path)
        place, query = parts.path.strip("/"), {k: v[0] for k, v in parse_qs(parts.query).items()}
        self.server.asked.append((place, query))
        self.server.agents.append(self.headers["User-Agent"])
        if self.server.busy.get(place):
            self.server.busy[place] -= 1
            self.send_response(503)
            self.send_header("Retry-After", str(RETRY_AFTER_S))
            self.end_headers()
            return
        answer = self.server.manner.get(place)
        answer = answer(query) if callable(answer) else answer
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Length", str(len(answer or b"")))
        self.end_headers()
        self.wfile.write(answer or b"")

    def log_message(self, *arguments):
        pass


def soda(query):
    """The part of the survey's image around a place, cut off where the image ends."""
    ra, dec, radius = map(float, query["CIRCLE"].split())
    pixels, wcs = survey_image()
    x, y = wcs.all_world2pix(ra, dec, 0)
    r = radius * 3600 / SCALE
    x0, x1, y0, y1 = (int(v) for v in np.clip([x - r, x + r + 1, y - r, y + r + 1], 0, SIDE))
    wcs.wcs.crpix = wcs.wcs.crpix - [x0, y0]
    return survey_file(pixels[y0:y1, x0:x1], wcs, VAR=np.full((y1 - y0, x1 - x0), 4.0))


@contextmanager
def serving(**manner):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.url, server.asked, server.daemon_threads = f"http://127.0.0.1:{server.server_port}", [], True
    server.agents, server.busy = [], {}
    made = {"sia1": sia1(server.url), "sia2": sia2(server.url), "links": links(server.url)}
    server.manner = made | {"whole": survey_file(*survey_image()), "soda": soda} | manner
    with running(server):
        yield server


def options(tmp_path, service, x, y, **changes):
    """Settings to fetch what is at pixels of the survey's image."""
    ra, dec = survey_image()[1].all_pix2world(x, y, 0)
    Table({"id": [f"g{k}" for k in range(len(x))], "ra": ra, "dec": dec}).write(tmp_path / "c.ecsv", overwrite=True)
    facts = {"cutout_size": 20, "pixel_scale_arcsec": SCALE, "rate": 1000.0, "wait_s": 0.01, "retries": 1}
    return FetchSettings(catalogue=str(tmp_path / "c.ecsv"), service=service, **(facts | changes))


@pytest.mark.parametrize("version", ["sia1", "sia2"])
def test_cutouts_are_those_of_the_surveys_image(tmp_path, version):
    with serving() as server:
        asked = options(tmp_path, f"{version}:{server.url}/{version}", [60, 150, 3], [70, 40, 100], survey="DEEP")
        table = read_table(fetch(tmp_path / "out", asked, jobs=2).path("cutouts.parquet"))
    assert not table["flag"].any()
    images, pixels = read_images(tmp_path / "out"), survey_image()[0]
    np.testing.assert_array_equal(images.pixels[0], pixels[61:81, 51:71])
    np.testing.assert_array_equal(images.pixels[1], pixels[31:51, 141:161])
    assert np.isnan(images.pixels[2][:, :6]).all()
    np.testing.assert_array_equal(images.pixels[2][:, 6:], pixels[91:111, :14])
    places = [place for place, _ in server.asked]
    if version == "sia1":
        assert places.count("whole") == 3 and "far" not in places and "picture" not in places
        query = server.asked[0][1]
        assert float(query["SIZE"]) == pytest.approx(20 * SCALE / 3600, rel=1e-4) and query["FORMAT"] == "image/fits"
        assert ("whole", {"a": "1", "b": "2"}) in server.asked
    else:
        assert places.count("soda") == 3 and "whole" not in places
        queries = [query for place, query in server.asked if place == "sia2"]  # of two at a time, in any order
        assert {query["COLLECTION"] for query in queries} == {"DEEP"}
        circles = sorted([float(word) for word in query["POS"].removeprefix("CIRCLE ").split()] for query in queries)
        wanted = np.transpose(survey_image()[1].all_pix2world([60, 150, 3], [70, 40, 100], 0))
        np.testing.assert_allclose([circle[:2] for circle in circles], sorted(wanted.tolist()), atol=1e-6)
        np.testing.assert_allclose(images.table["noise_sigma"], 2)


def test_requests_of_pyvo_keep_to_the_rate_and_are_ours(tmp_path):
    """Five pauses between the six requests of three rows: the search and the image of each."""
    with serving() as server:
        asked = options(tmp_path, f"sia1:{server.url}/sia1", [60, 70, 80], [70, 70, 70], rate=20.0)
        begun = time.monotonic()
        fetch(tmp_path / "out", asked, jobs=3)
        assert time.monotonic() - begun > 5 / 20
        assert len(server.asked) == 6 and {name.split("/")[0] for name in server.agents} == {"emeraldcut"}


@pytest.mark.parametrize("place", ["sia2", "links", "soda"])
def test_a_search_that_fails_is_tried_again_after_the_pause_that_the_server_asks_for(tmp_path, place):
    with serving() as server:
        server.busy[place] = 2
        asked = options(tmp_path, f"sia2:{server.url}/sia2", [60], [70], survey="DEEP", retries=2)
        begun = time.monotonic()
        assert fetch(tmp_path / "out", asked).manifest["usable"] == 1
        assert time.monotonic() - begun > 2 * RETRY_AFTER_S
        assert [name for name, _ in server.asked].count(place) == 3


def test_without_pyvo_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvo", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'emeraldcut\[sky\]'"):
        fetch(tmp_path / "out", options(tmp_path, "sia1:http://host/sia", [60], [70]))


def test_a_service_that_does_not_cut_gives_the_image(tmp_path):
    with serving() as server:
        server.manner["links"] = links(server.url, cuts=False)
        fetch(tmp_path / "out", options(tmp_path, f"sia2:{server.url}/sia2", [60], [70], survey="DEEP"))
    np.testing.assert_array_equal(read_images(tmp_path / "out").pixels[0], survey_image()[0][61:81, 51:71])


NOTHING = results(SIA2_FIELDS, [])
ERROR = VOTABLE.format('<RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">too many</INFO></RESOURCE>')


@pytest.mark.parametrize(
    ("manner", "flag", "said"),
    [
        ({"sia2": NOTHING}, Flag.NO_DATA, "no FITS image of this place"),
        ({"sia2": ERROR.encode()}, Flag.UNREADABLE, "the service says: too many"),
        ({"sia2": b"<html>down</html>"}, Flag.UNREADABLE, "no VOTable"),
        ({"sia2": b""}, Flag.UNREADABLE, "no VOTable"),
        ({"sia2": results([f'name="x" {TEXT}'], [("1",)])}, Flag.UNREADABLE, "does not say where"),
        ({"links": b"\0\1"}, Flag.UNREADABLE, "no VOTable"),
        ({"links": results(LINK_FIELDS, [])}, Flag.NO_DATA, "links to no image"),
        ({"links": links("file:///etc")}, Flag.UNREADABLE, "points to 'file:"),
        ({"soda": None}, Flag.NO_DATA, "404"),
        ({"soda": b"garbage"}, Flag.UNREADABLE, "cannot be read"),
        ({"soda": survey_file(*survey_image(151.0))}, Flag.NO_DATA, "not in the image"),
    ],
)
def test_whatever_a_service_answers_is_a_row(tmp_path, manner, flag, said):
    with serving() as server:
        asked = options(tmp_path, f"sia2:{server.url}/sia2", [60, 61], [70, 70], survey="DEEP")
        whole = dict(server.manner)
        server.manner |= manner
        with pytest.raises(NoImagesError, match="none of the 2"):
            fetch(tmp_path / "out", asked)
        table = read_table(tmp_path / "out" / "cutouts.parquet")
        assert list(table["flag"]) == [flag, flag] and all(said in text for text in table["flag_text"])
        server.manner = whole
        assert fetch(tmp_path / "out", asked).manifest["usable"] == 2  # the next call gets them


def test_the_command_says_what_a_service_is(tmp_path, capsys):
    Table({"ra": [1.0], "dec": [1.0]}).write(tmp_path / "c.ecsv")
    words = ["fetch", "--catalogue", str(tmp_path / "c.ecsv"), "-o", str(tmp_path / "out"), "--service"]
    assert cli.main([*words, "sia2:ftp://x", "--survey", "X"]) == 2
    assert "sia1:URL or sia2:URL (http, https)" in capsys.readouterr().err


# --- what a hostile service answers


def redirecting(target):
    """A server that sends everybody elsewhere."""

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    return running(ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere))


def answered(tmp_path, url):
    """The row of a fetch from a service that says that its image is at a URL."""
    rows = [("it", url, "image/fits", 150.0, 2.0)]
    with serving(sia1=results(SIA1_FIELDS, rows)) as server:
        asked = options(tmp_path, f"sia1:{server.url}/sia1", [60], [70], retries=0)
        folder = tmp_path / f"out {len(list(tmp_path.iterdir()))}"
        with pytest.raises(NoImagesError) as caught:
            fetch(folder, asked)
    return read_table(folder / "cutouts.parquet")[0], str(caught.value)


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", "gopher"])
def test_no_other_scheme_is_followed(tmp_path, scheme):
    (tmp_path / "secret.fits").write_bytes(survey_file(*survey_image()))
    row, _ = answered(tmp_path, f"{scheme}://{tmp_path}/secret.fits")
    assert row["flag"] == Flag.UNREADABLE and "not http or https" in row["flag_text"]


def test_no_redirect_to_another_scheme_is_followed(tmp_path):
    (tmp_path / "secret.fits").write_bytes(survey_file(*survey_image()))
    for target in (f"file://{tmp_path}/secret.fits", f"ftp://127.0.0.1{tmp_path}/secret.fits"):
        with redirecting(target) as server:
            row, _ = answered(tmp_path, f"http://127.0.0.1:{server.server_port}/x")
        assert row["flag"] == Flag.UNREADABLE and "redirect" in row["flag_text"].lower()


def test_links_without_what_they_mean_are_a_row(tmp_path):
    fields = [field for field in LINK_FIELDS if '"semantics"' not in field and '"ID"' not in field]
    with serving(links=results(fields, [("", "", "", "", "")])) as server:
        asked = options(tmp_path, f"sia2:{server.url}/sia2", [60], [70], survey="DEEP", retries=0)
        with pytest.raises(NoImagesError, match="links to no image"):
            fetch(tmp_path / "out", asked)


def test_public_only_refuses_private_addresses(tmp_path, monkeypatch):
    with serving() as server:
        for name in ("127.0.0.1", "localhost"):
            service = f"sia1:http://{name}:{server.server_port}/sia1"
            asked = options(tmp_path, service, [60], [70], public_only=True, retries=0)
            with pytest.raises(NoImagesError, match="no public address"):
                fetch(tmp_path / name, asked)
        assert server.asked == []
    for private in ("10.0.0.1", "192.168.1.1", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:127.0.0.1", "0.0.0.0"):
        found = [(2, 1, 6, "", ("8.8.8.8", 80)), (2, 1, 6, "", (private, 80))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, found=found, **k: found)
        with pytest.raises(Refused, match="no public address"):
            addresses("host", 80, public_only=True)
        assert len(addresses("host", 80)) == 2


def test_the_address_that_was_checked_is_connected_to(monkeypatch):
    """A name that has another address when it is looked up a second time does not get past the check."""
    asked, connected = [], []

    def look_up(*arguments, **options):
        asked.append(arguments[0])
        return [(2, 1, 6, "", ("8.8.8.8" if len(asked) == 1 else "127.0.0.1", 80))]

    def connect(address, *arguments, **options):
        connected.append(address)
        raise OSError("not here")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ConnectionError, match="not here"):
        Client(5.0, public_only=True).get("http://host.example/x", 100)
    assert connected == [("8.8.8.8", 80)] and asked == ["host.example"]


def test_control_characters_of_a_server_stay_away(tmp_path):
    evil = "\x1b]0;owned\x07\x9b2J\u202e"
    row, said = answered(tmp_path, f"ftp://x/{evil[:1]}{evil[-1:]}".replace("\x1b", "&#155;"))
    for text in (row["flag_text"], said):
        assert not any(unicodedata.category(c) in ("Cc", "Cf") for c in text)
    info = f'<INFO name="QUERY_STATUS" value="ERROR">no&#155;{evil[-1]} images</INFO>'
    with serving(sia1=results(SIA1_FIELDS, [], info)) as server:
        asked = options(tmp_path, f"sia1:{server.url}/sia1", [60], [70], retries=0)
        with pytest.raises(NoImagesError, match="the service says: no") as caught:
            fetch(tmp_path / "again", asked)
    assert not any(unicodedata.category(c) in ("Cc", "Cf") for c in str(caught.value))


def test_a_name_that_is_not_found_ends_in_seconds(tmp_path, monkeypatch, capsys):
    def unknown(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    Table({"ra": np.arange(9.0), "dec": np.arange(9.0)}).write(tmp_path / "c.csv")
    begun = time.monotonic()
    words = ["fetch", "--catalogue", str(tmp_path / "c.csv"), "--survey", "X", "--output", str(tmp_path / "out")]
    assert cli.main([*words, "--service", "http://nowhere.example/?ra={ra}&dec={dec}"]) == 1
    err = capsys.readouterr().err
    assert time.monotonic() - begun < 10
    assert "the name of the server 'nowhere.example' cannot be found (Name or service not known)" in err


def test_a_resolver_that_says_nothing_ends_in_seconds(monkeypatch):
    monkeypatch.setattr("emeraldcut.exchange.http.LONGEST_LOOKUP_S", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: time.sleep(3))
    begun = time.monotonic()
    with pytest.raises(UnknownHost, match=r"no answer in 0\.2 s"):
        addresses("host", 80)
    assert time.monotonic() - begun < 2


@pytest.mark.slow
def test_a_server_that_drips_ends_in_time():
    """One byte of the headers every .1 s would keep a socket's own timeout from ever ending it."""

    def drip(listener):
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while True:
                connection.sendall(b"a")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=drip, args=(listener,), daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(ConnectionError, match=r"took more than 0\.5 s"):
            Client(timeout_s=0.5).get(f"http://127.0.0.1:{listener.getsockname()[1]}/", 1000)
        assert time.monotonic() - begun < 10


@pytest.mark.parametrize("version", ["sia1", "sia2"])
@pytest.mark.parametrize("where", ["file:///etc/hostname", "http://127.0.0.1:9/x"])
def test_data_of_an_answer_that_are_elsewhere_are_not_opened(version, where):
    fields = "".join(f"<FIELD {field}/>" for field in SIA2_FIELDS)
    table = f'<TABLE>{fields}<DATA><BINARY><STREAM href="{where}"/></BINARY></DATA></TABLE>'
    answer = VOTABLE.format(f'<RESOURCE type="results">{OK}{table}</RESOURCE>').encode()
    asked = []

    def get(url, most):
        asked.append(url)
        return answer

    with pytest.raises(BadImage, match=f"its data are in '{where}', which is not followed"):
        image_at(f"{version}:http://a.test/sia", None, 150.0, 2.0, 0.01, get)
    assert len(asked) == 1
