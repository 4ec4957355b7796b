"""What web pages share: their application, its guard, and a server on this machine."""

import asyncio
import json
import logging
import os
import re
import secrets
import socket
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from texthead.apps.serving.files import ShownFiles, media_response
from texthead.cli import console
from texthead.errors import DataError, RunError, TextheadError, printable
from texthead.media import MediaPath
from texthead.report import STYLE

# Browsers then load scripts, styles and media from this page only, and run no script or style inside the markup.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # The address has the token.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # A page of another folder may be at this address next.
    "cache-control": "no-store",
}

# Another site may have a name of its own that leads to this machine.
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")

# Pictures that are made at once, since each may take the memory of a large file.
DECODERS = 2

Act = Callable[[str, dict[str, Any]], Mapping[str, Any]]


class Guard:
    """ASGI middleware that answers unwanted requests with status 403 and one line of text.

    A browser shows the token once, in the address, and then by a cookie, which scripts and other sites cannot use.

    Attributes:
        token: 96 random bits.
    """

    def __init__(self, app: ASGIApp):
        self._app = app
        self.token = secrets.token_hex(12)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request, or refuse it before its body is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        host = request.headers.get("host", "").lower()
        # Browsers send cookies to all ports of a host, so pages on two ports need two names.
        cookie = f"texthead-{host.rpartition(':')[2]}"
        tokens = request.query_params.get("token", ""), request.cookies.get(cookie, "")
        refusal = ""
        if not _HOST.fullmatch(host):
            refusal = "this page is not available under that host name"
        elif request.headers.get("origin", f"http://{host}").lower() != f"http://{host}":
            refusal = "this page accepts no requests from other sites"
        elif not any(secrets.compare_digest(each.encode(errors="replace"), self.token.encode()) for each in tokens):
            refusal = "open the link that texthead has printed; it has the token of this page"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if not refusal:
                    headers.append("set-cookie", f"{cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        # On an open connection, the server would go on reading the body.
        refused = PlainTextResponse(refusal, 403, {"connection": "close"})
        await (refused if refusal else self._app)(scope, receive, send_with_headers)


def page_app(
    routes: Sequence[Route], page: Path | None = None, act: Act | None = None, shown: ShownFiles | None = None
) -> Guard:
    """Return a page with the shared style and the guard.

    Args:
        page: an HTML file to serve at `/`, with its .js and .css.
        act: answers an action, POST `/api/ACTION`, and its JSON object with another one; it runs in a thread.
        shown: its files: `/media/KEY` is a file, and `/preview/KEY` and `/still/KEY` are small pictures of it.
    """
    start, routes = secrets.token_urlsafe(12), [file_route(STYLE), *routes]
    if page:
        markup = page.read_text(encoding="utf-8").replace("<html", f'<html data-start="{start}"', 1)
        routes += [Route("/", lambda _: HTMLResponse(markup))]
        routes += [file_route(page.with_suffix(kind)) for kind in (".js", ".css")]
    routes += [_action_route(act, start)] if act else []
    routes += _media_routes(shown) if shown else []
    errors = dict.fromkeys((TextheadError, OSError, ClientDisconnect), _error_response)
    return Guard(Starlette(routes=routes, exception_handlers=errors))


def _action_route(act: Act, start: str) -> Route:
    async def answer(request: Request) -> Response:
        # A tab that was left open would act on the files and labels of another command.
        if request.headers.get("x-start") != start:
            raise DataError("texthead was started again since this page was opened; reload the page")
        body = await json_body(request)
        return _json(await run_in_threadpool(act, request.path_params["action"], body))

    return Route("/api/{action}", answer, methods=["POST"])


def _media_routes(shown: ShownFiles) -> list[Route]:
    """Return the routes of files and of their pictures."""
    from texthead.apps.serving.previews import FRAMES, preview

    decoders, pictures = asyncio.Semaphore(DECODERS), {"preview": FRAMES, "still": 1}

    async def answer(request: Request) -> Response:
        key, kind = request.path_params["key"], request.scope["path"].split("/")[1]
        _, path = shown.find(key)
        if kind == "media":
            return media_response(MediaPath(path).file)
        async with decoders:
            kind, data = await run_in_threadpool(preview, path, pictures[kind], key)
        return Response(data, media_type=kind)

    return [Route(f"/{kind}/{{key}}", answer) for kind in ("media", *pictures)]


def file_route(path: Path) -> Route:
    """Return the route of a script or a style of the page."""
    kind = {".js": "text/javascript", ".css": "text/css"}[path.suffix]
    return Route(f"/{path.name}", lambda _: FileResponse(path, media_type=kind))


async def json_body(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request.

    Raises:
        DataError: the body is something else, or has a lone surrogate, which cannot be encoded.
    """
    try:
        body = await request.json()
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise DataError("the page sent no JSON object; reload it")
    return body


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    """Return a response in ASCII, since the bytes of a file name need not be UTF-8."""
    return Response(json.dumps(_shown(content), separators=(",", ":")), status, media_type="application/json")


def _shown(value: Any) -> Any:
    """Return a JSON value with the control characters of its texts escaped, which a page shows as they are."""
    if isinstance(value, Mapping):
        return {key: _shown(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    return printable(value) if isinstance(value, str) else value


async def _error_response(_: Request, error: Exception) -> Response:
    return _json({"error": console.error_line(error)}, 400)


def server_config(app: ASGIApp) -> uvicorn.Config:
    """Return the settings of the server."""
    # A short timeout, because open pages keep idle connections.
    return uvicorn.Config(app, ws="none", log_level="error", timeout_graceful_shutdown=1)


class _Server(uvicorn.Server):
    """A server that does not log connections that it cuts at its end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


def listening(port: int) -> socket.socket:
    """Return a socket at a port of this machine, 0 for any free one.

    Raises:
        RunError: the port is taken, or there is no such port.
    """
    try:
        return socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise RunError(f"port {port}: cannot listen ({reason}); choose another `port`, or 0 for a free one") from None


def serve(server: socket.socket, page: Guard) -> None:
    """Print the link of a page, and serve it until it is interrupted."""
    console.hide_progress()
    console.flush_notes()
    link = f"http://127.0.0.1:{server.getsockname()[1]}/?token={page.token}"
    with suppress(KeyboardInterrupt), warnings.catch_warnings():
        # Of an interrupt before it began.
        warnings.filterwarnings("ignore", "coroutine 'Server.serve' was never awaited", RuntimeWarning)
        console.results().print(f"page: {link}  (Ctrl-C ends it)", soft_wrap=True)
        sys.stdout.flush()
        _Server(server_config(page)).run(sockets=[server])
