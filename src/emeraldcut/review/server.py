"""The server of the review: pages and their data as JSON, only on this machine and with the right token."""

from __future__ import annotations

import json
import secrets
import socket
import tempfile
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from emeraldcut.errors import UsageError
from emeraldcut.report.html import environment, style_sheet
from emeraldcut.review.cards import colours
from emeraldcut.review.order import ORDERS
from emeraldcut.review.reviewed_run import ReviewedRun
from emeraldcut.review.verdicts import LONGEST, VERDICTS, Locked
from emeraldcut.tables import write_table
from emeraldcut.tables.files import table_ending

HERE = Path(__file__).parent
NAMES = ("127.0.0.1", "localhost", "::1")  # of this machine; a request under another is an attack by DNS rebinding
LARGEST_BODY = 4 * 1024**2  # bytes
LONGEST_EXPORT_NAME = 100  # letters; file systems allow 255 bytes, and names of temporary files are longer
MOST_ROWS = 500  # in one request
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address contains the token
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
PAGES = {"judge": "Judge", "grid": "Grid", "results": "Results"}
ASSETS: dict[str, Callable[[], str]] = {  # files that the pages load
    "review.js": lambda: (HERE / "review.js").read_text(encoding="utf-8"),
    "style.css": style_sheet,
}


class TooLarge(ValueError):
    """A request is too large."""


STATUS = {
    TooLarge: 413,
    ValueError: 400,
    IndexError: 404,
    Locked: 503,
}  # of the answer to an error; the first kind that fits counts


class Guard:
    """Lets requests pass that have the token and do not come from other pages; adds `HEADERS` to all answers."""

    def __init__(self, app: Callable, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Answers a request (ASGI): by the application, or with status 403 and the reason."""
        if scope["type"] != "http":  # start and end of the server
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *ours]
            await send(message)

        refusal = self._refusal(Headers(scope=scope), QueryParams(scope["query_string"]))
        answer = self.app if refusal is None else JSONResponse({"error": refusal}, status_code=403)
        await answer(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers, query: QueryParams) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if _name_of(host) not in NAMES:
            return "the request uses a host name that is not of this machine."
        if origin is not None and origin != f"http://{host}":
            return "the request comes from another page."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "the request comes from another page."
        if not secrets.compare_digest(query.get("token", "").encode(), self.token.encode()):
            return "the token is missing or wrong; open the address that `emeraldcut review` printed."
        return None


def _name_of(host: str) -> str | None:
    """The name in a Host header, without a port; None for what is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # such as "["
        return None


def page(name: str, given: dict[str, Any], suffix: str = "") -> str:
    """The HTML of a page, which its script fills from `given` and from JSON; `suffix` ends local addresses."""
    facts = {"page": name, "orders": ORDERS, "verdicts": VERDICTS, "longest": LONGEST}
    template = environment(HERE / "templates").get_template("review.html")
    return template.render(name=name, title=PAGES[name], suffix=suffix, given=facts | {"colours": colours()} | given)


# --- requests


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or len(text) > 9:
        raise UsageError(f"'{name}' expects a whole number; received {text[:200]!r}.")
    return int(text)


def _choice(request: Request, name: str, known: tuple[str, ...]) -> str:
    value = request.query_params.get(name, known[0])
    if value not in known:
        raise UsageError(f"'{name}' is one of {', '.join(known)}; received {value[:200]!r}.")
    return value


def _reviewer(request: Request) -> str:
    return request.query_params.get("reviewer", "").strip()[: LONGEST["reviewer"]]


async def _entries(request: Request) -> list[Any]:
    """The entries that a page sends; ValueError if there are none or too many."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise TooLarge(f"a request has at most {LARGEST_BODY} bytes.")
    try:
        entries = json.loads(body)["entries"]
        if not isinstance(entries, list):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UsageError('verdicts are sent as JSON, {"entries": [...]}.') from None
    return entries


# --- answers


class Answers:
    """The answers to requests about one run."""

    def __init__(self, run: ReviewedRun, token: str) -> None:
        self.run, self.token, self.suffix = run, token, f"?token={token}"

    def home(self, request: Request) -> Response:
        """Redirects to the page on which candidates are judged."""
        return RedirectResponse(f"judge{self.suffix}")

    def shell(self, name: str) -> Callable:
        """The endpoint of a page, which is filled by its script."""
        return lambda request: HTMLResponse(page(name, {"token": self.token, **self.run.facts}, self.suffix))

    def judge(self, request: Request) -> Response:
        """The next candidates for a reviewer, see `ReviewedRun.judge`."""
        skipped = request.query_params.get("skip", "").split(",")
        skip = [int(row) for row in skipped if row.isdecimal() and len(row) < 10][:MOST_ROWS]
        count = min(_number(request, "count", 20), MOST_ROWS)
        return JSONResponse(self.run.judge(_reviewer(request), _choice(request, "order", ORDERS), count, skip))

    def grid(self, request: Request) -> Response:
        """A page of the grid of candidates, see `ReviewedRun.grid`."""
        order, show = _choice(request, "order", ORDERS), _choice(request, "show", self.run.show)
        return JSONResponse(self.run.grid(_reviewer(request), order, show, _number(request, "page", 1)))

    def results(self, request: Request) -> Response:
        """Verdicts and agreement of all reviewers, see `ReviewedRun.results`."""
        return JSONResponse(self.run.results())

    def card(self, request: Request) -> Response:
        """Pictures and numbers of one candidate, see `cards.card`."""
        return JSONResponse(self.run.card(request.path_params["row"]))

    async def verdicts(self, request: Request) -> Response:
        """The log, or after POST the keys of the added entries."""
        if request.method == "GET":
            return JSONResponse({"entries": [entry.__dict__ for entry in self.run.verdicts.entries]})
        added = await run_in_threadpool(self.run.add, await _entries(request))
        who = {entry.reviewer for entry in added}
        progress = self.run.progress(who.pop()) if len(who) == 1 else None
        return JSONResponse({"saved": [entry.key for entry in added], "progress": progress})

    def export(self, request: Request) -> Response:
        """The candidates with their verdicts, as a table in the format of the name."""
        name = request.path_params["name"]
        table_ending(name)
        if len(name) > LONGEST_EXPORT_NAME:
            raise UsageError(f"the name of an export has at most {LONGEST_EXPORT_NAME} letters; it has {len(name)}.")
        options: dict[str, Any] = {"provenance": self.run.manifest, "raw": self.run.settings.raw}
        with tempfile.TemporaryDirectory() as folder:
            path = write_table(self.run.joined(), Path(folder) / name, **options)
            content = path.read_bytes()
        headers = {"Content-Disposition": "attachment"}
        return Response(content, media_type="application/octet-stream", headers=headers)


def _asset(name: str, kind: str) -> Callable:
    return lambda request: Response(ASSETS[name](), media_type=kind)


async def _wrong(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
    return JSONResponse({"error": str(error)}, status_code=status)


def application(run: ReviewedRun, token: str) -> Starlette:
    """The pages of `run` as an ASGI application; every request needs `?token=...`."""
    answers = Answers(run, token)
    routes = [
        Route("/", answers.home),
        *(Route(f"/{name}", answers.shell(name)) for name in PAGES),
        Route("/judge.json", answers.judge),
        Route("/grid.json", answers.grid),
        Route("/results.json", answers.results),
        Route("/card/{row:int}.json", answers.card),
        Route("/verdicts.json", answers.verdicts, methods=["GET", "POST"]),
        Route("/export/{name}", answers.export),
        Route("/review.js", _asset("review.js", "text/javascript")),
        Route("/style.css", _asset("style.css", "text/css")),
    ]
    app = Starlette(routes=routes, exception_handlers=dict.fromkeys((ValueError, IndexError, Locked), _wrong))
    app.add_middleware(Guard, token=token)
    return app


def serve(run: ReviewedRun, say: Callable[[str], object]) -> None:
    """Serves the pages until interrupted; `say` is called with the address.

    Raises OSError if the port is in use.
    """
    import uvicorn

    token = secrets.token_urlsafe(16)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind((NAMES[0], run.settings.port))
        except OSError as error:
            raise OSError(
                f"port {run.settings.port} cannot be used ({error.strerror}); choose another with --port, 0 for any."
            ) from None
        address = f"http://{NAMES[0]}:{place.getsockname()[1]}/?token={token}"

        class Server(uvicorn.Server):
            async def startup(self, sockets=None) -> None:
                await super().startup(sockets=sockets)
                say(address)  # not before the server answers

        colours()  # prepare what the first page and the first cards need, so that they appear at once
        run.learn()
        for row in run.order.next(ORDERS[0], np.ones(len(run), dtype=bool), 4):
            run.card(row)
        server = Server(uvicorn.Config(application(run, token), log_level="warning", access_log=False))
        with suppress(KeyboardInterrupt):  # the way to end it
            server.run(sockets=[place])
