"""Start, serve and stop the page of `texthead ui`."""

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
from texthead.parallel.worker_pool import Held
from texthead.web.answers import About, Limits
from texthead.web.session import Rules

if TYPE_CHECKING:
    from texthead.web.guard import Uploads

LOCAL = ("127.0.0.1", "localhost", "::1")

# Uploads of the largest size that the folder has room for.
UPLOADS_KEPT = 10

LOAD_SECONDS = 600.0

# Between two looks at a connection, in seconds; and the fewest bytes of a body in that time.
LOOK, FEWEST_BYTES = 30.0, 32 * 1024


class PatientProtocol(H11Protocol):
    """A connection that is closed where no whole request comes within `LOOK` seconds, or its body comes too slowly."""

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
        """Close the connection where the client has had its time; `before` is the request at the last look."""
        request, came, self._bytes = self.cycle, self._bytes, 0
        waits_for_head = request is None or request.response_complete
        waits_for_body = not waits_for_head and request.more_body and not self.flow.read_paused
        if request is before and (waits_for_head or (waits_for_body and came < FEWEST_BYTES)):
            self.transport.abort()
        else:
            self._look = self.loop.call_later(LOOK, self._check, request)


@contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Open a socket bound to the host's port; 0 is any free one.

    Raises:
        RunError: the port is taken, or the host is not one of this machine.
    """
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(kind, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise RunError(
                f"host {host}, port {port}: cannot be listened at ({why}); choose another port, or 0 for a free one"
            ) from None
        yield listening


@contextmanager
def uploads_folder() -> Iterator[Path]:
    """Make a folder for uploads, which is removed at the end."""
    with scratch_folder() as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        # Gradio sums up the last 10,000 questions after each, for a page that is not served.
        os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
        yield folder


def application(held: Held, rules: Rules, limits: Limits, host: str, password: str | None = None) -> ASGIApp:
    """Return the page of the model behind its guard and its password, once the model is loaded.

    Raises:
        TextheadError: it cannot be loaded.
    """
    from texthead.web.app import UPLOAD, asgi_app, build_page, is_open
    from texthead.web.guard import Uploads

    held.begin()
    about = held.ask(None, LOAD_SECONDS)
    if isinstance(about, TextheadError):
        raise about
    if not isinstance(about, About):
        raise RunError(f"the model was not loaded: {about.reason}")
    page = asgi_app(build_page(held, about, rules, limits), rules)
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
    """Return a page behind what all pages have in front of them.

    Args:
        host: where it is served; a page of this machine answers to its names alone.
        is_open: whether an address is a part of the page.
        password: asked of each browser; None asks for none.
    """
    from texthead.web.guard import Guard
    from texthead.web.password import SIGN_IN, Password

    hosts = LOCAL if host in LOCAL else None
    if password is None:
        return Guard(page, hosts, is_open, uploads)
    return Guard(Password(page, password), hosts, lambda path: path == SIGN_IN or is_open(path), uploads)


def serve(listening: socket.socket, app: ASGIApp, host: str, ready: Callable[[str], object]) -> None:
    """Answer until interrupted; calls `ready` with the page's address."""
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}"

    class Quiet(uvicorn.Server):
        """A server that tells its address once signals end it, and does not report the connections it cuts then."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if not self.should_exit:
                ready(address)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    # Who connects from now on waits until the server has started.
    listening.listen()
    # Pages hold a connection open, on which nothing more will come.
    config = uvicorn.Config(app, http=PatientProtocol, log_level="error", timeout_graceful_shutdown=1)
    Quiet(config).run(sockets=[listening])
