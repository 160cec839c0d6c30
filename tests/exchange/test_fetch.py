"""Fetch: against a small server of the test's own that answers, refuses, fails, stalls and sends garbage."""

import errno
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from emeraldcut import cli
from emeraldcut.data import Flag
from emeraldcut.exchange import FetchSettings, fetch
from emeraldcut.exchange.fetch import _retry_after_s
from emeraldcut.images import NoImagesError, read_images
from emeraldcut.images.readers import safe_names
from emeraldcut.runs import read_manifest
from emeraldcut.tables import read_table
from tests.helpers import fits_bytes, running, tan_wcs

SCALE = 0.5


def fetched(*arguments, **keywords):
    """The table that `fetch` writes."""
    return read_table(fetch(*arguments, **keywords).path("cutouts.parquet"))


def cutout(ra, dec, size=24, fill=None):
    """A FITS file around a position, as hips2fits sends it; its pixels hold the declination."""
    pixels = np.full((size, size), fill) if fill is not None else dec + np.arange(size * size).reshape(size, size)
    wcs = tan_wcs((size, size), ra, dec, scale_arcsec=SCALE)
    return fits_bytes(fits.PrimaryHDU(pixels.astype(np.float32), wcs.to_header()))


class Sky(BaseHTTPRequestHandler):
    """Behaves as `server.manner[dec]` says: a list of what to do at the first, second, ... request of that row."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        ra, dec = float(query["ra"]), float(query["dec"])
        row = round(dec)
        with self.server.lock:
            self.server.asked.append((row, time.monotonic(), query, self.headers))
            manners = self.server.manner.get(row, ["image"])
            manner = manners[min(sum(r == row for r, *_ in self.server.asked), len(manners)) - 1]
        if isinstance(manner, tuple):
            return self.reply(*manner)
        if manner == "stall":
            return self.server.over.wait(5)
        if manner == "drip":
            self.send_response(200)
            self.end_headers()
            while not self.server.over.wait(0.02):
                self.wfile.write(b"S")
            return None
        if manner == "hang up":
            return self.connection.close()
        image = cutout(ra, dec)
        if manner == "short":  # promises more than it sends
            self.send_response(200)
            self.send_header("Content-Length", str(len(image)))
            self.end_headers()
            self.wfile.write(image[:-2880])
            return self.connection.close()
        bodies = {
            "image": image,
            "truncated": image[:-2000],
            "empty": b"",
            "html": b"<html><body>Down for maintenance</body></html>",
            "nan": cutout(ra, dec, fill=np.nan),
            "elsewhere": cutout(ra, dec + 0.1),
            "gzip": b"\x1f\x8b\x08\x00 not really",
        }
        return self.reply(200, bodies[manner])

    def reply(self, code, body=b"", headers=()):
        self.send_response(code)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self):
        with suppress(OSError, ValueError):  # the other side has gone
            super().handle()

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(manner):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sky)
    server.manner, server.asked, server.lock, server.over = manner, [], threading.Lock(), threading.Event()
    server.daemon_threads = True
    server.url = (
        f"http://127.0.0.1:{server.server_port}/cut?hips={{survey}}&ra={{ra}}&dec={{dec}}&width={{size}}&fov={{fov}}"
    )
    with running(server):
        try:
            yield server
        finally:
            server.over.set()


def catalogue(tmp_path, n, **columns):
    table = Table({"id": [f"g{k}" for k in range(1, n + 1)], "ra": 150.0 + np.arange(n), "dec": np.arange(1.0, n + 1)})
    for name, values in columns.items():
        table[name] = values
    table.write(tmp_path / "sky.ecsv", overwrite=True)
    return str(tmp_path / "sky.ecsv")


def quick(server, tmp_path, n, **changes):
    facts = {"service": server.url, "survey": "CDS/P/X 1&2", "cutout_size": 24, "pixel_scale_arcsec": SCALE}
    facts |= {"rate": 1000.0, "wait_s": 0.01, "timeout_s": 1.0, "retries": 2}
    facts["catalogue"] = changes.get("catalogue") or catalogue(tmp_path, n)
    return FetchSettings(**(facts | changes))


@pytest.mark.slow
def test_everything_that_a_server_can_do(tmp_path):
    page = (500, b"<html>oops</html>")
    manner = {
        2: ["nan"],
        3: [(404, b'{"title": "Bad Request", "description": "no tile here."}')],
        4: [page, "image"],
        5: [(503,), (429, b"", {"Retry-After": "0.2"}), "image"],
        6: ["html", "truncated", "image"],
        7: ["stall", "short", "image"],
        8: ["hang up", "empty", "image"],
        9: ["drip", "gzip", "image"],
        10: [page],
        11: ["html"],
        12: ["truncated"],
        13: ["elsewhere"],
    }
    with serving(manner) as server:
        table = fetched(tmp_path / "out", quick(server, tmp_path, 14, catalogue=catalogue(tmp_path, 14, z=0.1)), jobs=3)
    assert list(table["id"]) == [f"g{k}" for k in range(1, 15)] and (table["z"] == 0.1).all()
    flags = dict.fromkeys(range(1, 15), 0) | {2: Flag.NO_DATA, 3: Flag.NO_DATA}
    flags |= dict.fromkeys((10, 11, 12, 13), int(Flag.UNREADABLE))
    assert list(table["flag"]) == list(flags.values())
    said = dict(zip(range(1, 15), table["flag_text"], strict=True))
    for row, words in {
        2: "outside the survey",
        3: "404 Not Found: Bad Request: no tile here",
        10: "in 3 tries (500 Internal Server Error)",
        11: "not a FITS",
        12: "truncated or damaged|header claims",
        13: "360.0 arcsec from the position",
    }.items():
        assert any(part in said[row] for part in words.split("|")), said[row]
    asked = Counter(row for row, *_ in server.asked)
    assert asked == {1: 1, 2: 1, 3: 1, 4: 2, 14: 1} | dict.fromkeys(range(5, 14), 3)
    there = sorted(path.name for path in (tmp_path / "out" / "fits").iterdir())
    assert there == sorted(f"g{k}.fits" for k in flags if k not in (3, 10, 11, 12, 13))
    manifest = read_manifest(tmp_path / "out")
    assert (manifest["images"], manifest["usable"], manifest["failed"]) == (14, 8, 4)
    query, headers = server.asked[0][2:]
    assert query["hips"] == "CDS/P/X 1&2" and query["width"] == "24"
    assert float(query["fov"]) == pytest.approx(24 * SCALE / 3600) and "emeraldcut/" in headers["User-Agent"]


def test_every_command_takes_the_folder_and_the_table(tmp_path):
    with serving({2: [(404,)], 3: ["nan"]}) as server:
        fetch(tmp_path / "out", quick(server, tmp_path, 4))
    for source in (tmp_path / "out", tmp_path / "out" / "cutouts.parquet"):
        images = read_images(source)
        assert list(images.table["id"]) == ["g1", "g2", "g3", "g4"]
        assert list(images.table["flag"]) == [0, Flag.NO_DATA, Flag.NO_DATA, 0]
        assert "404 Not Found" in images.table["flag_text"][1]
        assert images.table["flag_text"][1].count("All pixels are missing") == 1
        assert list(images.table["dec"]) == [1, 2, 3, 4]
        np.testing.assert_allclose(images.pixels[3], 4 + np.arange(576.0).reshape(24, 24))
        assert images.table["pixel_scale_arcsec"][0] == pytest.approx(SCALE, rel=1e-6)


def test_what_is_there_and_whole_is_not_fetched_again(tmp_path):
    out, files = tmp_path / "out", tmp_path / "out" / "fits"
    with serving({3: ["html", "image"]}) as server:
        options = quick(server, tmp_path, 5, retries=0)
        assert list(fetched(out, options)["flag"]) == [0, 0, Flag.UNREADABLE, 0, 0]
        kept = (files / "g1.fits").read_bytes()
        (files / "g4.fits").write_bytes(kept[:3000])  # damaged on disk
        (files / "g5.fits").write_bytes(kept)  # whole, but another place
        server.asked.clear()
        server.manner = {}
        assert not fetched(out, options)["flag"].any()
        assert sorted(row for row, *_ in server.asked) == [3, 4, 5]
        assert (files / "g1.fits").read_bytes() == kept
        longer = quick(server, tmp_path, 7, rate=500.0)  # a longer catalogue, at another pace
        server.asked.clear()
        assert len(fetched(out, longer)) == 7 and [row for row, *_ in server.asked] == [6, 7]
        with pytest.raises(ValueError, match="begun with survey = CDS/P/X 1&2, now it is other"):
            fetch(out, quick(server, tmp_path, 7, survey="other"))
        server.asked.clear()
        fetch(out, quick(server, tmp_path, 7, survey="other"), overwrite=True)
        assert len(server.asked) == 7


def test_a_full_disk_ends_the_run_and_the_next_goes_on(tmp_path, monkeypatch, capsys):
    whole = Path.write_bytes

    def fills(path, data):
        if len(list(path.parent.glob("*.fits"))) == 3:
            whole(path, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return whole(path, data)

    with serving({}) as server:
        words = ["--service", server.url, "--survey", "X", "--catalogue", catalogue(tmp_path, 6), "--rate", "1000"]
        words += ["--cutout-size", "24", "--pixel-scale-arcsec", str(SCALE), "-o", str(tmp_path / "out")]
        with monkeypatch.context() as patched:
            patched.setattr(Path, "write_bytes", fills)
            assert cli.main(["fetch", *words]) == 1 and "is full; make room" in capsys.readouterr().err
        assert sorted(path.name for path in (tmp_path / "out" / "fits").iterdir()) == ["g1.fits", "g2.fits", "g3.fits"]
        server.asked.clear()
        assert cli.main(["fetch", *words]) == 0
        assert [row for row, *_ in server.asked] == [4, 5, 6]


@pytest.mark.parametrize("name", ["manifest.json", "fits/g1.fits"])
def test_what_others_have_made_is_left_alone(tmp_path, name):
    (tmp_path / "out" / "fits").mkdir(parents=True)
    (tmp_path / "out" / name).write_text("{}")
    with serving({}) as server, pytest.raises(ValueError, match="begun with survey = nothing"):
        fetch(tmp_path / "out", quick(server, tmp_path, 1))
    assert not server.asked and (tmp_path / "out" / name).read_text() == "{}"


@pytest.mark.slow
def test_a_server_that_is_down_ends_the_run_and_the_next_goes_on(tmp_path):
    with serving({k: [(502,)] for k in range(3, 30)}) as server:
        options = quick(server, tmp_path, 20, retries=1)
        with pytest.raises(ConnectionError, match=r"5 times in a row .*502 Bad Gateway.*rerun the command to resume"):
            fetch(tmp_path / "out", options)
        assert len(server.asked) == 2 + 2 * 5
        with pytest.raises(FileNotFoundError):
            read_manifest(tmp_path / "out")
        server.manner = {}
        server.asked.clear()
        assert not fetched(tmp_path / "out", options)["flag"].any()
        assert len(server.asked) == 18
    with pytest.raises(ConnectionError, match="refused"):
        fetch(tmp_path / "other", options)
    with serving({k: [(502,)] for k in range(3, 13)}) as server:  # or it is broken there for good
        table = fetched(tmp_path / "hole", quick(server, tmp_path, 20, retries=0, give_up=0))
    assert (table["flag"] == Flag.UNREADABLE).sum() == 10


@pytest.mark.slow
def test_requests_keep_the_pace(tmp_path):
    with serving({}) as server:
        fetch(tmp_path / "out", quick(server, tmp_path, 9, rate=20.0), jobs=4)
    times = [when for _, when, *_ in server.asked]
    assert max(times) - min(times) > 8 / 20 - 0.1


@pytest.mark.slow
def test_retry_after_holds_everybody(tmp_path):
    with serving({1: [(429, b"", {"Retry-After": "1"}), "image"]}) as server:
        fetch(tmp_path / "out", quick(server, tmp_path, 8, rate=20.0), jobs=4)
    first = [when for row, when, *_ in server.asked if row == 1]
    assert first[1] - first[0] > 0.95
    assert np.diff(np.sort([when for _, when, *_ in server.asked])).max() > 0.5


@pytest.mark.slow
def test_waits_double(tmp_path):
    with serving({1: [(500,)]}) as server, pytest.raises(NoImagesError, match="none of the 1"):
        fetch(tmp_path / "out", quick(server, tmp_path, 1, retries=3, wait_s=0.1))
    gaps = np.diff([when for _, when, *_ in server.asked])
    assert (gaps > np.array([0.1, 0.2, 0.4]) - 0.01).all() and gaps[0] < 0.4 < gaps[2] + 0.01


def test_retry_after_as_seconds_and_as_date():
    assert _retry_after_s("7") == 7 and _retry_after_s("-3") == 0
    assert _retry_after_s(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert _retry_after_s("soon") == _retry_after_s("") == 0


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=120), unique=True, max_size=8))
def test_file_names_are_safe_and_apart(ids):
    names = list(map(safe_names(), ids))
    assert len({name.lower() for name in names}) == len(ids)
    for name in names:
        assert name and name.isascii() and len(name) < 120 and not name.startswith(".")
        assert not set(name) & set('/\\:*?"<>| \0\n')


def test_names_of_files_and_ids(tmp_path):
    table = Table({"ra": [10.0, 10.0, np.nan, 11.0], "dec": [1.0, 1.0, 1.0, 2.0], "file": ["a", "b", "c", "d"]})
    table["flag"] = 7
    table.write(tmp_path / "bare.ecsv")
    with serving({}) as server:
        result = fetched(tmp_path / "out", quick(server, tmp_path, 1, catalogue=str(tmp_path / "bare.ecsv")))
    assert list(result["id"]) == ["10.00000+1.00000", "10.00000+1.00000#2", "nan+1.00000", "11.00000+2.00000"]
    assert list(result["input_file"]) == ["a", "b", "c", "d"] and result["file"][0] == "fits/10.00000+1.00000.fits"
    assert list(result["flag"]) == [0, 0, Flag.NO_DATA, 0] and "position is unknown" in result["flag_text"][2]


def test_the_command(tmp_path, capsys):
    words = ["--cutout-size", "24", "--pixel-scale-arcsec", str(SCALE), "--rate", "1000", "--wait-s", "0"]
    words += ["--retries", "0", "--catalogue", catalogue(tmp_path, 3), "--survey", "X", "-o", str(tmp_path / "out")]
    with serving({2: ["html", "image"]}) as server:
        words += ["--service", server.url]
        assert cli.main(["fetch", *words]) == 0
        out, err = capsys.readouterr()
        assert out.strip() == str(tmp_path / "out" / "cutouts.parquet")
        assert "1 of 3 cutouts failed; rerun the command to try them again." in err.splitlines()
        assert cli.main(["fetch", *words]) == 0
        assert "failed" not in capsys.readouterr().err
    assert list(read_table(tmp_path / "out" / "cutouts.parquet")["flag"]) == [0, 0, 0]
    assert cli.main(["measure", str(tmp_path / "out"), "-o", str(tmp_path / "shapes.ecsv")]) in (0, 1)
    assert len(read_table(tmp_path / "shapes.ecsv")) == 3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--catalogue", "{sky}"], 2, "--survey NAME"),
        (
            ["--catalogue", "{sky}", "--survey", "x", "--service", "ftp://x/{ra}{dec}"],
            2,
            "hips2fits, sia1:URL, sia2:URL, or a URL",
        ),
        (["--catalogue", "{sky}", "--survey", "x", "--service", "http://x/?{ra}"], 2, "placeholders of {survey}"),
        (["--catalogue", "{sky}", "--survey", "x", "--service", "http://x/?{ra}{dec}{}"], 2, "placeholders"),
        (["--catalogue", "{sky}", "--survey", "x", "--cutout-size", "4"], 2, "from 8 to 8192"),
        (
            ["--catalogue", "{sky}", "--survey", "x", "--rate", "0"],
            2,
            "'rate' must be from 1e-6 to 10,000; received 0.0",
        ),
        (["--catalogue", "{bare}", "--survey", "x"], 2, "needs the columns ra and dec; it has id"),
        (
            ["--catalogue", "{sky}", "--survey", "x", "--service", "{down}", "--retries", "0", "--wait-s", "0"],
            1,
            "none of",
        ),
    ],
)
def test_wrong_input_gets_one_sentence(words, code, said, tmp_path, capsys):
    (tmp_path / "bare.csv").write_text("id\n1\n")
    with serving({}) as server:
        down = server.url  # nobody is there once this ends
    places = {"sky": catalogue(tmp_path, 1), "bare": tmp_path / "bare.csv"}
    words = [down if w == "{down}" else w.format(**places) if w in ("{sky}", "{bare}") else w for w in words]
    assert cli.main(["fetch", *words, "-o", str(tmp_path / "out")]) == code
    out, err = capsys.readouterr()
    assert out == "" and said in err and len(err.strip().splitlines()) == 1
