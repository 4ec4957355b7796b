"""Start, serve and stop the page of `texthead ui`."""

import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from texthead.errors import RunError, TextheadError
from texthead.parallel.worker_pool import Held
from texthead.web.answers import About, Limits
from texthead.web.guard import App
from texthead.web.session import Rules

LOCAL = ("127.0.0.1", "localhost", "::1")

# Uploads of the largest size that the folder has room for.
UPLOADS_KEPT = 10

LOAD_SECONDS = 600.0


@contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at the host's port; 0 is any free one.

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
                f"--host {host} --port {port} cannot be listened at ({why}): another --port, or 0 for a free one"
            ) from None
        yield listening


@contextmanager
def uploads_folder() -> Iterator[Path]:
    """A folder of their own for uploads, gone at the end, also where the process is told to end."""
    with tempfile.TemporaryDirectory(prefix="texthead-ui-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        before = signal.signal(signal.SIGTERM, _leave)
        try:
            yield Path(folder)
        finally:
            signal.signal(signal.SIGTERM, before)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def application(held: Held, rules: Rules, limits: Limits) -> App:
    """The page of the model, when it is loaded.

    Raises:
        TextheadError: it cannot be loaded.
    """
    from texthead.web.app import asgi_app, build

    held.begin()
    about = held.ask(None, LOAD_SECONDS)
    if isinstance(about, TextheadError):
        raise about
    if not isinstance(about, About):
        raise RunError(f"the model was not loaded: {about.reason}")
    return asgi_app(build(held, about, rules, limits), rules)


def serve(listening: socket.socket, app: App, host: str, ready: Callable[[str], object]) -> None:
    """Answer until interrupted; `ready` is called with the page's address once it answers."""
    import uvicorn

    shown = f"[{host}]" if ":" in host else host

    class Quiet(uvicorn.Server):
        """A server that names its page when it answers, and says nothing of the connections that it cuts."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # From here on the server itself heeds the signals that end it.
            if self.started:
                ready(f"http://{shown}:{listening.getsockname()[1]}")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    # Pages hold a connection open, on which nothing more will come.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    Quiet(config).run(sockets=[listening])
