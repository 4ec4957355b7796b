"""What web pages share: their application with its guard, and a server that starts and stops it."""

import asyncio
import json
import logging
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from texthead.apps.serving.guard import Guard
from texthead.apps.serving.password import Password
from texthead.apps.serving.shown import ShownFiles
from texthead.cli import console
from texthead.errors import DataError, RunError, TextheadError, printable
from texthead.media import MediaPath

LOCAL = ("127.0.0.1", "localhost", "::1")

STYLE = "/base.css"

# The header in which a page sends which start of the server it is of.
_START = "x-start"

# Files of pages.
_TYPES = {".js": "text/javascript", ".css": "text/css"}

# Files of users that browsers show.
MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".avif": "image/avif",
}

# Pictures that are made at once, since each may take the memory of a large file.
DECODERS = 2

# Seconds between checks of a connection, and the fewest body bytes that must arrive in that time.
LOOK, FEWEST_BYTES = 30.0, 32 * 1024


class PatientProtocol(H11Protocol):
    """Closes connections that send no request within `LOOK` seconds, or whose body arrives too slowly."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._bytes = 0
        self._look = self.loop.call_later(LOOK, self._check, None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        super().data_received(data)

    def _check(self, before: Any) -> None:
        """Close a connection that is too slow; `before` is the request at the previous check."""
        request, received, self._bytes = self.cycle, self._bytes, 0
        waits_for_head = request is None or request.response_complete
        waits_for_body = not waits_for_head and request.more_body and not self.flow.read_paused
        if request is before and (waits_for_head or (waits_for_body and received < FEWEST_BYTES)):
            self.transport.abort()
        else:
            self._look = self.loop.call_later(LOOK, self._check, request)


@contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Open a socket bound to the host and port; port 0 is any free one.

    Raises:
        RunError: the port is taken, or the host is not one of this machine.
    """
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(kind, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunError(
                f"host {host}, port {port}: cannot listen ({reason}); choose another `port`, or 0 for a free one"
            ) from None
        yield listening


def page_app(
    routes: Sequence[Route],
    host: str,
    password: str | None = None,
    most_bytes: Mapping[str, int] | None = None,
    *,
    page: Path | None = None,
    act: Callable[[str, dict[str, Any]], Mapping[str, Any]] | None = None,
    shown: ShownFiles | None = None,
) -> ASGIApp:
    """Return a page with the shared style, the guard and, if given, a password.

    Args:
        host: address that is served; a local page accepts only local host names.
        password: required from each browser; None for no password.
        most_bytes: limits of the body, by address, where it is not 1 MiB.
        page: an HTML file to serve at `/`, with its .js and .css.
        act: answers an action, POST `/api/ACTION`, and its JSON object with another one; it runs in a thread.
        shown: its files: `/media/KEY` is a file, and `/preview/KEY` and `/still/KEY` are small pictures of it.
    """
    start = secrets.token_urlsafe(12)
    pages = [_page_route(page, start)] if page else []
    pages += [file_route(f"/{page.stem}{kind}", page.with_suffix(kind)) for kind in (".js", ".css")] if page else []
    pages += [_action_route(act, start)] if act else []
    style = file_route(STYLE, Path(__file__).with_name("base.css"))
    all_routes = [style, *routes, *pages, *(_media_routes(shown) if shown else [])]
    app = Starlette(routes=all_routes, exception_handlers={TextheadError: _error_response, OSError: _error_response})
    app.router.redirect_slashes = False
    guarded = app if password is None else Password(app, password, [STYLE])
    return Guard(guarded, LOCAL if host in LOCAL else None, most_bytes or {})


def _page_route(page: Path, start: str) -> Route:
    """Return the route of an HTML file, whose script sends `start` with each action."""
    markup = page.read_text(encoding="utf-8").replace("<html", f'<html data-start="{start}"', 1)
    return Route("/", lambda _: HTMLResponse(markup))


def _action_route(act: Callable[[str, dict[str, Any]], Mapping[str, Any]], start: str) -> Route:
    async def answer(request: Request) -> Response:
        # A tab that was left open would act on the files and labels of another command.
        if request.headers.get(_START) != start:
            raise DataError("texthead was started again since this page was opened; reload the page")
        body = await json_body(request)
        return _json(await run_in_threadpool(act, request.path_params["action"], body))

    return Route("/api/{action}", answer, methods=["POST"])


def _media_routes(shown: ShownFiles) -> list[Route]:
    """Return the routes of files and of their pictures, of which the last ones stay in memory."""
    from texthead.apps.serving.previews import preview

    @lru_cache(maxsize=512)
    def cached(_key: str, path: Path, *pictures: int) -> tuple[str, bytes]:
        return preview(path, *pictures)

    decoders = anyio.CapacityLimiter(DECODERS)

    def file(request: Request) -> Response:
        return media_response(MediaPath(shown.unchanged(request.path_params["key"])[1]).file)

    async def small(request: Request, *, pictures: tuple[int, ...] = ()) -> Response:
        key = request.path_params["key"]
        # Without threads of its own, requests that wait would take those of all others.
        make = partial(cached, key, shown.unchanged(key)[1], *pictures)
        kind, data = await anyio.to_thread.run_sync(make, limiter=decoders)
        return Response(data, media_type=kind)

    addresses = {"media": file, "preview": small, "still": partial(small, pictures=(1,))}
    return [Route(f"/{name}/{{key}}", endpoint) for name, endpoint in addresses.items()]


def file_route(address: str, path: Path) -> Route:
    """Return the route of a file of the page."""
    return Route(address, lambda _: FileResponse(path, media_type=_TYPES[path.suffix]))


def media_response(path: Path) -> Response:
    """Return a response with a file of a user; browsers show it only if it is a video or an image.

    Raises:
        DataError: it is gone, or not a file of its own, such as a folder of frames.
    """
    if not path.is_file():
        raise DataError(f"{path.name}: no such file; reload the page")
    return FileResponse(path, media_type=MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream"))


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
    """Return the settings of the server; it believes no header of a proxy, which any client can send."""
    # A short timeout, because open pages keep idle connections.
    return uvicorn.Config(
        app, http=PatientProtocol, proxy_headers=False, log_level="error", timeout_graceful_shutdown=1
    )


def serve(listening: socket.socket, app: ASGIApp, host: str, ready: Callable[[str], object]) -> None:
    """Serve until interrupted; call `ready` with the page's address at the start."""
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listening.getsockname()[1]}"

    class Quiet(uvicorn.Server):
        """A server that calls `ready` once signals can stop it, and doesn't log connections cut at shutdown."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if not self.should_exit:
                ready(address)

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Let SIGHUP too end the requests and then the server, unless it is ignored (nohup)."""
            hung_up = getattr(signal, "SIGHUP", signal.SIGINT)
            before = signal.getsignal(hung_up)
            with super().capture_signals():
                if not callable(before):
                    yield
                    return
                signal.signal(hung_up, self.handle_exit)
                try:
                    yield
                finally:
                    signal.signal(hung_up, before)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    # Connections are now queued until the server has started.
    listening.listen()
    Quiet(server_config(app)).run(sockets=[listening])
