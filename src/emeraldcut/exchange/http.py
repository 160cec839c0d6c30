"""Answers of servers: by HTTP alone, from public addresses alone if that is wanted, in time and of bounded length."""

from __future__ import annotations

import http.client
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from ipaddress import ip_address
from queue import Empty, Queue
from threading import Event, Thread, Timer, local
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
    getproxies,
)

from emeraldcut.data.flags import Flag
from emeraldcut.images.claims import BadImage
from emeraldcut.runs.notices import printable

SCHEMES = ("http", "https")
LONGEST_LOOKUP_S = 10.0  # of a name, by the system's resolver, which may ask several servers several times
PART_BYTES = 65536


class UnknownHost(ConnectionError):
    """The name of a server has no address, or nobody could be asked for it; another try does not help."""


class Refused(ValueError):
    """An address that is not asked: neither http nor https, or of a private network where only public ones are."""


@dataclass(frozen=True)
class Client:
    """Who asks servers.

    Attributes
    ----------
    timeout_s : float
        For one whole answer.
    public_only : bool
        Whether addresses of private networks and of this machine are refused, also after redirects. The address that
        was looked up and checked is the one that is connected to, without a proxy.
    """

    timeout_s: float = 60.0
    public_only: bool = False

    def get(self, url: str, largest_bytes: int) -> bytes:
        """The body of the answer to a GET.

        Raises
        ------
        HTTPError
            An error of the server.
        UnknownHost
            Its name has no address.
        ConnectionError
            No answer comes in time.
        BadImage
            An answer that is too long or too short, or an address that is not asked.
        """
        from emeraldcut import __version__

        body = bytearray()
        request = Request(checked(url), headers={"User-Agent": f"emeraldcut/{__version__}"})
        try:
            with _InTime(self.timeout_s), self._opener.open(request, timeout=self.timeout_s) as response:
                while part := response.read1(PART_BYTES):
                    body += part
                    if len(body) > largest_bytes:
                        raise BadImage(Flag.UNREADABLE, f"the answer is longer than {largest_bytes} bytes")
                promised = response.headers.get("Content-Length", "")
        except HTTPError:
            raise
        except Refused as error:
            raise BadImage(Flag.UNREADABLE, str(error)) from None
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, UnknownHost):
                raise reason from None
            if isinstance(reason, Refused):
                raise BadImage(Flag.UNREADABLE, str(reason)) from None
            raise ConnectionError(printable(str(reason)) or type(reason).__name__) from None
        if promised.isdigit() and len(body) < int(promised):
            raise BadImage(Flag.UNREADABLE, f"only {len(body)} of {promised} bytes came")
        return bytes(body)

    @cached_property
    def _opener(self) -> OpenerDirector:
        """What opens http and https, and nothing else."""
        opener = OpenerDirector()
        proxies = {} if self.public_only else getproxies()
        handlers = (ProxyHandler(proxies), UnknownHandler(), HTTPDefaultErrorHandler(), HTTPErrorProcessor())
        for handler in (*handlers, _Redirects(), _Plain(self.public_only), _Secure(self.public_only)):
            opener.add_handler(handler)
        return opener


class _InTime:
    """Ends the connections that are made within it after some time, however slowly a server sends; then TimeoutError.

    The timeout of a socket is that of one byte, which a server can begin anew with each.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._made, self._late = seconds, list[socket.socket](), Event()
        self._timer = Timer(seconds, self._end)
        self._timer.daemon = True

    def add(self, connection: socket.socket) -> None:
        """A connection that is to end in time; a copy of it, since TLS takes the socket itself over."""
        self._made.append(connection.dup())
        if self._late.is_set():
            self._end()

    def _end(self) -> None:
        self._late.set()
        for one in self._made:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> None:
        _asking.now = self
        self._timer.start()

    def __exit__(self, *error: object) -> None:
        _asking.now = None
        self._timer.cancel()
        for one in self._made:
            one.close()
        if self._late.is_set():
            raise TimeoutError(f"the answer took more than {self._seconds:g} s")


_asking = local()  # in each thread, the `_InTime` that it is in


def checked(url: str) -> str:
    """A URL of http or https; BadImage for any other."""
    try:
        parts = urlsplit(url)
        asked = parts.scheme.lower() in SCHEMES and bool(parts.hostname)
    except ValueError:
        asked = False
    if not asked:
        raise BadImage(Flag.UNREADABLE, f"the service points to '{printable(url[:100])}', which is not http or https")
    return url


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to http and https only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The request to the new place."""
        if urlsplit(newurl).scheme.lower() not in SCHEMES:
            raise Refused(f"the service redirects to '{printable(newurl[:100])}', which is not http or https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Plain(HTTPHandler):
    """HTTP to addresses that were looked up within seconds, and checked."""

    def __init__(self, public_only: bool) -> None:
        super().__init__()
        self._public_only = public_only

    def http_open(self, req: Any) -> Any:
        """Opens a request."""
        return self.do_open(_connection(http.client.HTTPConnection, self._public_only), req)


class _Secure(HTTPSHandler):
    """The same of HTTPS."""

    def __init__(self, public_only: bool) -> None:
        super().__init__()
        self._public_only = public_only

    def https_open(self, req: Any) -> Any:
        """Opens a request."""
        connection = _connection(http.client.HTTPSConnection, self._public_only)
        return self.do_open(connection, req, context=self._context)  # type: ignore[attr-defined]


def _connection(kind: type[http.client.HTTPConnection], public_only: bool) -> Any:
    """A maker of connections that go to an address of `addresses`; the certificate is still that of the name."""

    def make(host: str, **options: Any) -> http.client.HTTPConnection:
        connection = kind(host, **options)

        def connect(address: tuple[str, int], timeout: Any = None, source_address: Any = None) -> socket.socket:
            error: OSError | None = None
            for found in addresses(*address, public_only=public_only):
                try:
                    opened = socket.create_connection(found, timeout, source_address)
                except OSError as this:
                    error = this
                else:
                    if (in_time := getattr(_asking, "now", None)) is not None:
                        in_time.add(opened)
                    return opened
            raise error or ConnectionError(f"'{address[0]}' has no address")

        connection._create_connection = connect  # type: ignore[attr-defined]
        return connection

    return make


def addresses(host: str, port: int, *, public_only: bool = False) -> list[tuple[str, int]]:
    """The numeric addresses of a name, in at most `LONGEST_LOOKUP_S`.

    Raises UnknownHost if there are none, Refused if one of them is not public where that is wanted.
    """
    answers: Queue[Any] = Queue()

    def look_up() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    Thread(target=look_up, daemon=True).start()  # the resolver's own patience can be minutes
    try:
        found = answers.get(timeout=LONGEST_LOOKUP_S)
    except Empty:
        found = TimeoutError(f"no answer in {LONGEST_LOOKUP_S:g} s")
    if isinstance(found, Exception):
        reason = getattr(found, "strerror", None) or str(found)
        raise UnknownHost(f"the name of the server '{printable(host)}' cannot be found ({reason})")
    numeric = [str(entry[4][0]) for entry in found]
    for address in numeric if public_only else ():
        one = ip_address(address.partition("%")[0])
        if not one.is_global or one.is_multicast:
            raise Refused(f"'{printable(host)}' is at {address}, which is no public address (--public-only)")
    return [(address, port) for address in dict.fromkeys(numeric)]
