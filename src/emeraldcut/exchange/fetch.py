"""Fetch: cut-outs of a survey by position, one FITS file each from an HTTP service, and the table that names them."""

from __future__ import annotations

import json
import os
import string
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from threading import Lock
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import describe_columns, keep_apart, numbers
from emeraldcut.data.flags import Flag, describe, usable
from emeraldcut.errors import UsageError
from emeraldcut.exchange.http import Client, UnknownHost
from emeraldcut.exchange.sia import VERSIONS, check_installed, cut_to, image_at
from emeraldcut.images.claims import BadImage
from emeraldcut.images.formats import SMALLEST_SIDE_PIX, failed, kind_of, read_file
from emeraldcut.images.readers import CUTOUTS, NoImagesError, safe_names, unique_ids
from emeraldcut.runs.notices import printable
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import MANIFEST, Run, begun_settings
from emeraldcut.runs.workers import map_chunks
from emeraldcut.runs.writing import check_folder
from emeraldcut.settings import Settings, setting
from emeraldcut.tables.catalogues import read_catalogue
from emeraldcut.tables.files import write_table
from emeraldcut.tables.identifiers import are_whole, with_numbers

SERVICES = {
    # https://alasky.cds.unistra.fr/hips-image-services/hips2fits; `fov` is the larger side, in degrees
    "hips2fits": "https://alasky.cds.unistra.fr/hips-image-services/hips2fits?hips={survey}&ra={ra}&dec={dec}"
    "&width={size}&height={size}&fov={fov}&projection=TAN&coordsys=icrs&format=fits",
}
PLACEHOLDERS = ("survey", "ra", "dec", "size", "scale", "fov")
FILES = "fits"  # folder of the cut-outs
Result = tuple[Flag, str, bool]  # of one row: its flag, a detail, and whether its file is there
DECIDES = ("survey", "service", "cutout_size", "pixel_scale_arcsec")  # settings that decide what a cut-out shows
PASSING = (408, 425, 429)  # client errors that another try may get past: timeout, too early, too many requests
LONGEST_WAIT_S = 120.0  # however long a server asks to be left alone, and however often it has failed
OFF_CENTRE_PIX = 2.0  # services round the centre to pixels; what is further off is another place


@dataclass(frozen=True, kw_only=True)
class FetchSettings(Settings):
    """What is fetched, and how politely."""

    catalogue: str | None = setting(None, "table of positions: columns ra and dec in degrees, and id if known")
    ra: str | None = setting(None, "the catalogue's column of right ascension, where its name is not a usual one")
    dec: str | None = setting(None, "the catalogue's column of declination")
    id: str | None = setting(None, "the catalogue's column of identifiers")
    survey: str | None = setting(
        None, "name of the survey at the service, such as CDS/P/DSS2/red for hips2fits; not needed for sia1"
    )
    service: str = setting(
        "hips2fits",
        "hips2fits; or sia1:URL or sia2:URL of an image service of the Virtual Observatory (extra [sky]); or a URL "
        "with {survey}, {ra}, {dec}, {size}, {scale} (arcsec per pixel), {fov} (degrees)",
    )
    cutout_size: int = setting(64, "side of a cutout in pixels", at_least=SMALLEST_SIDE_PIX, at_most=8_192)
    pixel_scale_arcsec: float = setting(
        0.25, "pixel scale of the cutouts; best that of the survey", at_least=1e-6, at_most=3_600
    )
    rate: float = setting(2.0, "highest number of requests per second, over all jobs", at_least=1e-6, at_most=10_000)
    retries: int = setting(
        4, "retries after a server or network error, or an answer that is not an image", at_least=0, at_most=100
    )
    wait_s: float = setting(
        1.0,
        "wait before the first retry, doubled each time; the server's Retry-After is respected",
        at_least=0,
        at_most=86_400,
    )
    timeout_s: float = setting(60.0, "time limit for one request", above=0, at_most=86_400)
    public_only: bool = setting(
        False, "refuse servers at addresses of this machine or of private networks, also after redirects"
    )
    give_up: int = setting(
        5,
        "stop after this many failed cutouts in a row, since the server is probably down; 0: never",
        at_least=0,
        at_most=1_000_000,
    )

    def check(self) -> None:
        """Raises UsageError without positions or a survey."""
        if self.catalogue is None or (self.survey is None and not self.service.startswith("sia1:")):
            raise UsageError("fetch needs positions and a survey; give --catalogue TABLE --survey NAME.")
        if self.searches:
            if urlsplit(self.template).scheme not in ("http", "https"):
                raise UsageError(f"service expects sia1:URL or sia2:URL (http, https); received '{self.service}'.")
            return
        try:
            used = {name for _, name, _, _ in string.Formatter().parse(self.template) if name is not None}
        except ValueError:  # a brace without its other
            used = set()
        if urlsplit(self.template).scheme not in ("http", "https") or not {"ra", "dec"} <= used <= {*PLACEHOLDERS}:
            raise UsageError(
                f"service must be one of {', '.join(SERVICES)}, sia1:URL, sia2:URL, or a URL (http, https) with "
                f"placeholders of {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}; received '{self.service}'."
            )

    @property
    def searches(self) -> bool:
        """Whether the service is asked which images it has, before one of them is."""
        return self.service.startswith(tuple(f"{version}:" for version in VERSIONS))

    @property
    def template(self) -> str:
        """The service's URL with its placeholders."""
        return self.service.partition(":")[2] if self.searches else SERVICES.get(self.service, self.service)

    def url(self, ra: float, dec: float) -> str:
        """Where the cut-out around `ra`, `dec` (degrees) is to be had."""
        size, scale = self.cutout_size, self.pixel_scale_arcsec
        return self.template.format(
            survey=quote(self.survey or "", safe=""),
            ra=f"{ra:.7f}",
            dec=f"{dec:.7f}",
            size=size,
            scale=f"{scale:.10g}",
            fov=f"{size * scale / 3600:.10g}",
        )


# long: half of it documents its parameters
def fetch(
    folder: str | Path,
    settings: FetchSettings,
    *,
    jobs: int = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Fetches a cut-out for every row of a catalogue.

    The folder gets `fits/NAME.fits` for each cut-out that there is, `cutouts.parquet` (a row for every row of the
    catalogue, in its order), `settings.toml`, and `manifest.json` when every row has been asked for. A file has its
    name only when it is whole. The same call goes on where it was stopped, and tries again what did not come.

    Parameters
    ----------
    folder : where the cut-outs are written.
    settings : what is fetched.
    jobs : requests under way at the same time; `settings.rate` holds for all of them together.
    overwrite : fetch again what is there.
    progress : told of each row that is done.

    Returns
    -------
    Run
        Its table is the catalogue with `id` (unique), `file` (relative to the folder, masked where there is none),
        `ra`, `dec`, `flag` and `flag_text`: NO_DATA outside the survey or where the server refuses, UNREADABLE where no
        whole image came. Every command that takes images takes the folder or the table.

    Raises
    ------
    ValueError
        A catalogue without positions, or a folder that holds cut-outs made with other settings.
    MissingPackageError
        sia1 or sia2 without pyvo.
    NoImagesError
        Not one cut-out can be used.
    ConnectionError
        The server answers none of several cut-outs in a row; what has come stays, for the next call.
    """
    assert settings.catalogue is not None  # FetchSettings asks for one
    if settings.searches:
        check_installed()
    folder = Path(folder)
    table, whole_ids = _places(settings.catalogue, {name: getattr(settings, name) for name in ("ra", "dec", "id")})
    check_folder(folder / FILES)
    _check_same(folder, settings, overwrite)
    run = Run.start(folder, "fetch", settings, inputs=[settings.catalogue], overwrite=True)
    names = list(map(safe_names(), table["id"]))
    if overwrite:
        for name in names:
            (folder / FILES / f"{name}.fits").unlink(missing_ok=True)
    get = _Getter(folder, settings, numbers(table["ra"]), numbers(table["dec"]), names)
    table = _with_results(table, names, _get_all(get, jobs, progress))
    table = with_numbers(table) if whole_ids else table
    write_table(table, folder / CUTOUTS, provenance=run.origin, overwrite=True)
    flags = np.asarray(table["flag"])
    counts = {"usable": int(usable(flags).sum()), "failed": int(np.sum(flags & int(Flag.UNREADABLE) != 0))}
    run.finish(images=len(table), **counts)
    if not counts["usable"]:
        raise NoImagesError(f"none of the {len(table)} cutouts can be used: {table['flag_text'][0]}")
    return run


def _get_all(get: _Getter, jobs: int, progress: Progress) -> list[Result]:
    """What comes for each row; ConnectionError when nothing has come too often in a row."""
    number, give_up = len(get.names), get.settings.give_up
    progress.begin(number, "cutouts")
    rows = (range(k, k + 1) for k in range(number))
    results: list[Result] = []
    failures = 0
    found = map_chunks(get, rows, jobs=jobs, threads=True, progress=progress)
    while True:
        try:
            result = next(found, None)
        except UnknownHost as error:
            raise ConnectionError(
                f"{error}; check the service and the network. Completed cutouts are saved; rerun the command to resume."
            ) from None
        if result is None:
            return results
        results.append(result)
        failures = failures + 1 if result[0] & Flag.UNREADABLE else 0
        if failures and failures == give_up:
            raise ConnectionError(
                f"{urlsplit(get.settings.template).netloc} gave no image {failures} times in a row ({result[1]}) "
                "Completed cutouts are saved; rerun the command to resume."
            )


def _with_results(table: Table, names: list[str], results: list[Result]) -> Table:
    """The catalogue with `file`, `flag` and `flag_text` of what has come."""
    files = [f"{FILES}/{name}.fits" if there else "" for name, (_, _, there) in zip(names, results, strict=True)]
    table["file"] = np.ma.MaskedArray(np.array(files, dtype=object), mask=[not file for file in files])
    table["flag"] = np.array([int(flag) for flag, _, _ in results], dtype=np.int64)
    table["flag_text"] = np.array([f"{describe(flag)} {text}".strip() for flag, text, _ in results], dtype=object)
    return describe_columns(table)


def _places(catalogue: str, columns: dict[str, str | None]) -> tuple[Table, bool]:
    """The catalogue with unique ids, from the position where it has none, and without what `fetch` writes.

    And whether its ids are whole numbers. `columns` as for `read_catalogue`.
    """
    table = read_catalogue(catalogue, {wanted: name for wanted, name in columns.items() if name})
    if not {"ra", "dec"} <= set(table.colnames):
        raise UsageError(
            f"the catalogue '{catalogue}' needs the columns ra and dec; it has {', '.join(table.colnames)}."
        )
    if len(table) == 0:
        raise NoImagesError(f"the catalogue '{catalogue}' has no rows.")
    table.remove_columns([name for name in ("flag", "flag_text") if name in table.colnames])
    if "file" in table.colnames:
        table.rename_column("file", "input_file")
    whole_ids = "id" in table.colnames and are_whole(table["id"])
    given = table["id"] if "id" in table.colnames else [""] * len(table)
    unique, places = unique_ids(), zip(numbers(table["ra"]), numbers(table["dec"]), strict=True)
    ids = [unique(name or f"{ra:.5f}{dec:+.5f}") for name, (ra, dec) in zip(given, places, strict=True)]
    table["id"] = np.array(ids, dtype=object)
    return keep_apart(table), whole_ids


def _check_same(folder: Path, settings: FetchSettings, overwrite: bool) -> None:
    """ValueError if the folder holds cut-outs that other settings have made, or something else."""
    old = begun_settings(folder)
    begun = bool(old) or (folder / MANIFEST).exists() or any((folder / FILES).glob("*"))
    changed = [name for name in DECIDES if old.get(name) != getattr(settings, name)]
    if begun and changed and not overwrite:
        name = changed[0]
        raise UsageError(
            f"'{folder}' was begun with {name} = {old.get(name, 'nothing')}, now it is {getattr(settings, name)}; "
            "use the old settings, another folder, or --overwrite."
        )


class _Pace:
    """Says when the next request may start, to any number of threads."""

    def __init__(self, rate: float) -> None:
        self._gap_s, self._next, self._lock = 1 / rate, 0.0, Lock()

    def wait(self) -> None:
        """Returns when it is this caller's turn."""
        with self._lock:
            start = max(self._next, time.monotonic())
            self._next = start + self._gap_s
        time.sleep(max(start - time.monotonic(), 0.0))

    def pause(self, seconds: float) -> None:
        """Nobody's turn comes for `seconds`."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


@dataclass
class _Getter:
    """Gets the cut-out of one row of the catalogue: its flag, a detail, and whether its file is there."""

    folder: Path
    settings: FetchSettings
    ra: np.ndarray
    dec: np.ndarray
    names: list[str]

    def __post_init__(self) -> None:
        self._pace, self._lock = _Pace(self.settings.rate), Lock()
        self._client = Client(self.settings.timeout_s, self.settings.public_only)

    def __call__(self, rows: range) -> Result:
        row = rows[0]
        if not (np.isfinite(self.ra[row]) and abs(self.dec[row]) <= 90):
            return Flag.NO_DATA, "The position is unknown.", False
        path = self.folder / FILES / f"{self.names[row]}.fits"
        if path.exists():
            try:
                return *self._check(path, row), True
            except BadImage:  # broken since, or of another position with the same id
                path.unlink()
        try:
            return *self._download(path, row), True
        except BadImage as error:
            return error.flag, printable(error.detail), False
        except UnknownHost:  # so is it for all others
            raise
        except OSError as error:
            if error.errno is not None:  # of this machine's disk, not of the server
                raise
            reason: Exception = error
        except Exception as error:  # of whatever is in an answer
            reason = error
        return Flag.UNREADABLE, failed(reason).detail, False

    def _download(self, path: Path, row: int) -> tuple[Flag, str]:
        """Fetches to `path`, in as many tries as it takes; BadImage with the last reason if all of them fail."""
        settings, ra, dec = self.settings, self.ra[row], self.dec[row]
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        for attempt in range(settings.retries + 1):
            wait_s = settings.wait_s * 2**attempt
            try:
                if settings.searches:
                    width_deg = settings.cutout_size * settings.pixel_scale_arcsec / 3600
                    partial.write_bytes(image_at(settings.service, settings.survey, ra, dec, width_deg, self._get))
                    with self._lock:  # see `_check`
                        cut_to(partial, ra, dec, settings.cutout_size)
                else:
                    partial.write_bytes(self._get(settings.url(ra, dec), _largest_bytes(settings.cutout_size)))
                seen = self._check(partial, row)
                os.replace(partial, path)
                return seen
            except HTTPError as error:
                reason = _words(error)
                if 400 <= error.code < 500 and error.code not in PASSING:
                    raise BadImage(Flag.NO_DATA, f"The server has no image of this place ({reason}).") from None
                wait_s = max(wait_s, _retry_after_s(error.headers.get("Retry-After", "")))
            except BadImage as error:
                if error.flag == Flag.NO_DATA:
                    raise
                reason = error.detail
            except UnknownHost as error:
                if attempt or f"'{urlsplit(settings.template).hostname}'" not in str(error):
                    raise BadImage(Flag.UNREADABLE, f"{error}.") from None
                raise
            except ConnectionError as error:
                reason = str(error)
            finally:
                partial.unlink(missing_ok=True)
            self._pace.pause(min(wait_s, LONGEST_WAIT_S))
        tries = f"{settings.retries + 1} tries" if settings.retries else "one try"
        raise BadImage(Flag.UNREADABLE, f"The server sent no whole image in {tries} ({reason.rstrip('.')}).")

    def _get(self, url: str, largest_bytes: int) -> bytes:
        self._pace.wait()
        return self._client.get(url, largest_bytes)

    def _check(self, path: Path, row: int) -> tuple[Flag, str]:
        """Flag and detail of a file that is a whole FITS image of this place; BadImage if it is not."""
        with self._lock, closing(read_file(path)) as pictures:  # it silences warnings: not in several threads at once
            picture = next(pictures)
        if picture.flag & ~Flag.NO_DATA:
            raise BadImage(Flag.UNREADABLE, picture.detail)
        if kind_of(path) != "fits":
            raise BadImage(Flag.UNREADABLE, f"It is a {kind_of(path)} picture, not FITS.")
        facts = picture.facts
        if {"ra", "dec"} <= facts.keys():
            ra, dec = np.radians([facts["ra"], self.ra[row]]), np.radians([facts["dec"], self.dec[row]])
            sine = np.hypot(np.sin((dec[1] - dec[0]) / 2), np.sqrt(np.cos(dec).prod()) * np.sin((ra[1] - ra[0]) / 2))
            apart_arcsec = np.degrees(2 * np.arcsin(min(sine, 1.0))) * 3600
            if apart_arcsec > OFF_CENTRE_PIX * max(facts["pixel_scale_arcsec"], self.settings.pixel_scale_arcsec):
                raise BadImage(Flag.UNREADABLE, f"Its centre is {apart_arcsec:.1f} arcsec from the position.")
        outside = bool(picture.flag & Flag.NO_DATA)
        return picture.flag, "The place is outside the survey." if outside else ""


def _largest_bytes(size: int) -> int:
    """More than any cut-out of `size` pixels a side takes: double precision, a mask and a weight, and headers."""
    return 24 * size**2 + 10_000_000


def _words(error: HTTPError) -> str:
    """What an error of the server says: its code, and the text that comes with it if that is short and plain."""
    said = printable(f"{error.code} {error.reason}".strip())
    try:
        with error:
            text = error.read(2000).decode("utf-8", "replace")
    except (OSError, HTTPException):
        return said
    try:
        answer = json.loads(text)
        text = ": ".join(str(answer[key]) for key in ("title", "description") if answer.get(key))
    except (ValueError, AttributeError):
        text = "" if "<" in text else text
    text = printable(" ".join(text.split())[:200].rstrip("."))
    return f"{said}: {text}" if text else said


def _retry_after_s(value: str) -> float:
    """Seconds that a Retry-After header asks for, as a number or a date; 0 if it says nothing."""
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return 0.0
