"""Start, serve and stop the web pages."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from texthead.errors import RunError, TextheadError
from texthead.files import scratch_folder
from texthead.parallel.worker_pool import StatefulWorker
from texthead.web.answers import About, Limits
from texthead.web.session import Rules

if TYPE_CHECKING:
    from texthead.web.guard import Uploads

LOCAL = ("127.0.0.1", "localhost", "::1")

# Capacity of the uploads folder, in uploads of the maximum size.
UPLOADS_KEPT = 10

LOAD_SECONDS = 600.0

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
                f"host {host}, port {port}: cannot listen ({reason}); choose another port, or 0 for a free one"
            ) from None
        yield listening


@contextmanager
def uploads_folder() -> Iterator[Path]:
    """Create a temporary folder for uploads; remove it on exit."""
    with scratch_folder() as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        # Otherwise Gradio summarises the last 10,000 questions after each, for a page that is not served.
        os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
        yield folder


def application(
    worker: StatefulWorker, rules: Rules, limits: Limits, host: str, password: str | None = None
) -> ASGIApp:
    """Load the model; return its page with guard and, if given, password.

    Raises:
        TextheadError: the model cannot be loaded.
    """
    from texthead.web.app import UPLOAD, asgi_app, build_page, is_open
    from texthead.web.guard import Uploads

    worker.begin()
    about = worker.run(None, LOAD_SECONDS)
    if isinstance(about, TextheadError):
        raise about
    if not isinstance(about, About):
        raise RunError(f"the model was not loaded: {about.reason}")
    page = asgi_app(build_page(worker, about, rules, limits), rules)
    largest = rules.megabytes * 2**20
    uploads = Uploads(UPLOAD, rules.uploads, UPLOADS_KEPT * largest, largest)
    return guarded(page, host, is_open, password, uploads)


def guarded(
    page: ASGIApp,
    host: str,
    is_open: Callable[[str], bool],
    password: str | None = None,
    uploads: "Uploads | None" = None,
) -> ASGIApp:
    """Return a page with the guard and, if given, a password.

    Args:
        host: address that is served; a local page accepts only local host names.
        is_open: whether an address belongs to the page.
        password: required from each browser; None for no password.
        uploads: None if the page takes no files.
    """
    from texthead.web.guard import Guard
    from texthead.web.password import SIGN_IN, Password

    hosts = LOCAL if host in LOCAL else None
    if password is None:
        return Guard(page, hosts, is_open, uploads)
    return Guard(Password(page, password), hosts, lambda path: path == SIGN_IN or is_open(path), uploads)


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

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    # Connections are now queued until the server has started.
    listening.listen()
    # A short timeout, because open pages keep idle connections.
    config = uvicorn.Config(app, http=PatientProtocol, log_level="error", timeout_graceful_shutdown=1)
    Quiet(config).run(sockets=[listening])
