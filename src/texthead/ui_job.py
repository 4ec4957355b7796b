"""`texthead ui`: a page on this machine that names what is in files."""

import importlib.util
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from texthead import runs
from texthead.answers import About, Answerer, Limits, Source
from texthead.asking import Rules
from texthead.errors import DataError, RunError, TextheadError
from texthead.guard import App, Guard
from texthead.terminal import given_template, notes, pick_device, results
from texthead.watched import Held

LOCAL = ("127.0.0.1", "localhost", "::1")
# Uploads of the largest size that the folder has room for.
UPLOADS_KEPT = 10
LOAD_SECONDS = 600.0


def ui(options: Any) -> None:
    """`texthead ui`."""
    if importlib.util.find_spec("gradio") is None:
        raise RunError("texthead ui needs gradio, which is not installed: pip install 'texthead[ui]'")
    source = _source(options)
    limits = Limits(options.most_seconds, options.most_frames)
    pick_device(options.device)
    with (
        _listening(options.host, options.port) as listening,
        _uploads() as folder,
        Held(partial(Answerer, source, limits)) as held,
    ):
        if options.host not in LOCAL:
            notes().print(
                f"warning: --host {options.host}: whoever reaches this machine can use the page; it has no password"
            )
        rules = Rules(folder, options.most_mb, options.limit, options.waiting)
        app = _application(held, rules, limits)
        one = rules.megabytes * 2**20
        hosts = LOCAL if options.host in LOCAL else None
        guard = Guard(app, hosts, folder, most_bytes=UPLOADS_KEPT * one, most_bytes_of_one=one)
        with suppress(KeyboardInterrupt):
            _serve(listening, guard, options.host)


def _source(options: Any) -> Source:
    """What the model is loaded from.

    Raises:
        DataError, RunError: what is named does not go together, or is no run.
    """
    if options.run is not None:
        if not runs.is_run(options.run):
            raise RunError(
                f"{options.run} is no run (no recipe.json in it): name a run folder, or none for names alone"
            )
        if options.encoder is not None:
            raise DataError(f"--encoder {options.encoder}: run {options.run} has its own encoder; leave it out")
    return Source(
        run=options.run,
        encoder=options.encoder or "mini",
        template=given_template(options),
        clean=options.names == "clean",
        device=options.device,
    )


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
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
def _uploads() -> Iterator[Path]:
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


def _application(held: Held, rules: Rules, limits: Limits) -> App:
    """The page of the model, when it is loaded.

    Raises:
        TextheadError: it cannot be loaded.
    """
    from texthead.page import application, build

    held.begin()
    about = held.ask(None, LOAD_SECONDS)
    if isinstance(about, TextheadError):
        raise about
    if not isinstance(about, About):
        raise RunError(f"the model was not loaded: {about.reason}")
    return application(build(held, about, rules, limits), rules)


def _serve(listening: socket.socket, app: App, host: str) -> None:
    """Answer until interrupted."""
    import uvicorn

    shown = f"[{host}]" if ":" in host else host

    class Quiet(uvicorn.Server):
        """A server that names its page when it answers, and says nothing of the connections that it cuts."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # From here on the server itself heeds the signals that end it.
            if self.started:
                results().print(f"page: http://{shown}:{listening.getsockname()[1]}  (Ctrl-C ends it)")
                sys.stdout.flush()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    # Pages hold a connection open, on which nothing more will come.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    Quiet(config).run(sockets=[listening])
