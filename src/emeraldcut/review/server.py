"""Server: the pages of a run and their JSON twins, on this machine and for whoever has the token only."""

from __future__ import annotations

import json
import secrets
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from emeraldcut.data import write_table
from emeraldcut.data.tables import table_ending
from emeraldcut.report.figures import palette
from emeraldcut.review.cards import colours
from emeraldcut.review.order import ORDERS
from emeraldcut.review.reviewed_run import SHOW, ReviewedRun
from emeraldcut.review.verdicts import LONGEST, VERDICTS

HERE = Path(__file__).parent
NAMES = ("127.0.0.1", "localhost", "::1")  # under which this machine calls itself; others mean a rebound name
LARGEST_BODY = 4 * 1024**2  # bytes
MOST_ROWS = 500  # in one question
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the token stands in the address
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
PAGES = {"judge": "Judge", "grid": "Grid", "results": "Results"}
ASSETS: dict[str, Callable[[], str]] = {  # what the pages load besides
    "review.js": lambda: (HERE / "review.js").read_text(encoding="utf-8"),
    "review.css": lambda: palette.style() + (HERE / "review.css").read_text(encoding="utf-8"),
}


class Guard:
    """Lets requests through that know the token and come from a page of ours, if from any; adds `HEADERS`."""

    def __init__(self, app: Callable, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":  # start and end of the server
            return await self.app(scope, receive, send)

        async def send_with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *ours]
            await send(message)

        refusal = self._refusal(Headers(scope=scope), QueryParams(scope["query_string"]))
        answer = self.app if refusal is None else JSONResponse({"error": refusal}, status_code=403)
        await answer(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers, query: QueryParams) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if urlsplit(f"//{host}").hostname not in NAMES:
            return "the page is asked for under a name that is not this machine's."
        if origin is not None and origin != f"http://{host}":
            return "the request comes from another page."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "the request comes from another page."
        if not secrets.compare_digest(query.get("token", "").encode(), self.token.encode()):
            return "the token is missing or wrong; open the address that `emeraldcut review` printed."
        return None


def page(name: str, given: dict[str, Any], suffix: str = "") -> str:
    """The HTML of a page; the script fills it from `given` and from its JSON twin. `suffix` ends local addresses."""
    facts = {"page": name, "orders": ORDERS, "show": SHOW, "verdicts": VERDICTS, "longest": LONGEST}
    return Template((HERE / "page.html").read_text(encoding="utf-8")).substitute(
        name=name,
        title=PAGES[name],
        suffix=suffix,
        given=json.dumps(facts | {"colours": colours()} | given).replace("<", "\\u003c"),
    )


def application(run: ReviewedRun, token: str) -> Starlette:
    """The pages of `run` as an ASGI application; every request needs `?token=...`."""
    suffix = f"?token={token}"

    def number(request: Request, name: str, default: int) -> int:
        text = request.query_params.get(name, str(default))
        if not text.isdecimal() or len(text) > 9:
            raise ValueError(f"'{name}' expects a whole number; received {text[:200]!r}.")
        return int(text)

    def choice(request: Request, name: str, known: tuple[str, ...]) -> str:
        value = request.query_params.get(name, known[0])
        if value not in known:
            raise ValueError(f"'{name}' is one of {', '.join(known)}; received {value[:200]!r}.")
        return value

    def reviewer(request: Request) -> str:
        return request.query_params.get("reviewer", "").strip()[: LONGEST["reviewer"]]

    def shell(name: str) -> Callable:
        def show(request: Request) -> Response:
            return HTMLResponse(page(name, {"token": token, **run.facts}, suffix))

        return show

    def judge(request: Request) -> Response:
        skipped = request.query_params.get("skip", "").split(",")
        skip = [int(row) for row in skipped if row.isdecimal() and len(row) < 10]
        count = min(number(request, "count", 20), MOST_ROWS)
        return JSONResponse(run.judge(reviewer(request), choice(request, "order", ORDERS), count, skip[:MOST_ROWS]))

    def grid(request: Request) -> Response:
        order, show = choice(request, "order", ORDERS), choice(request, "show", SHOW)
        return JSONResponse(run.grid(reviewer(request), order, show, number(request, "page", 1)))

    def results(request: Request) -> Response:
        return JSONResponse(run.results())

    def card(request: Request) -> Response:
        return JSONResponse(run.card(request.path_params["row"]))

    async def verdicts(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"entries": [entry.__dict__ for entry in run.verdicts.entries]})
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_BODY:
                return JSONResponse({"error": f"at most {LARGEST_BODY} bytes at once."}, status_code=413)
        try:
            entries = json.loads(body)["entries"]
            if not isinstance(entries, list):
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ValueError('verdicts are sent as JSON, {"entries": [...]}.') from None
        added = await run_in_threadpool(run.add, entries)
        who = {entry.reviewer for entry in added}
        progress = run.progress(who.pop()) if len(who) == 1 else None
        return JSONResponse({"saved": [entry.key for entry in added], "progress": progress})

    def export(request: Request) -> Response:
        name = request.path_params["name"]
        table_ending(name)
        with tempfile.TemporaryDirectory() as folder:
            content = write_table(run.joined(), Path(folder) / name, provenance=run.manifest).read_bytes()
        headers = {"Content-Disposition": "attachment"}
        return Response(content, media_type="application/octet-stream", headers=headers)

    def asset(name: str, kind: str) -> Callable:
        return lambda request: Response(ASSETS[name](), media_type=kind)

    async def wrong(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status_code=404 if isinstance(error, IndexError) else 400)

    routes = [
        Route("/", lambda request: RedirectResponse(f"judge{suffix}")),
        *(Route(f"/{name}", shell(name)) for name in PAGES),
        Route("/judge.json", judge),
        Route("/grid.json", grid),
        Route("/results.json", results),
        Route("/card/{row:int}.json", card),
        Route("/verdicts.json", verdicts, methods=["GET", "POST"]),
        Route("/export/{name}", export),
        Route("/review.js", asset("review.js", "text/javascript")),
        Route("/review.css", asset("review.css", "text/css")),
    ]
    app = Starlette(routes=routes, exception_handlers={ValueError: wrong, IndexError: wrong})
    app.add_middleware(Guard, token=token)
    return app


def serve(run: ReviewedRun, say: Callable[[str], object]) -> None:
    """Shows the pages until interrupted; `say` is told the address.

    Raises OSError with a sentence if the port is taken.
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
                say(address)  # not before there is an answer

        colours()  # what the first page and the first cards need is loaded before anybody asks for them
        run.learn()
        for row in run.order.next(ORDERS[0], np.ones(len(run), dtype=bool), 4):
            run.card(row)
        server = Server(uvicorn.Config(application(run, token), log_level="warning", access_log=False))
        try:
            server.run(sockets=[place])
        except KeyboardInterrupt:  # the way to end it
            pass
