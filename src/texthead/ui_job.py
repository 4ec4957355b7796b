"""`texthead ui`: a page on this machine that names what is in files."""

import importlib.util
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from texthead import runs
from texthead.answers import Answerer, Limits, Source
from texthead.asking import Rules
from texthead.errors import DataError, RunError
from texthead.guard import Guard
from texthead.terminal import given_template, notes, pick_device, results
from texthead.watched import Held

LOCAL = ("127.0.0.1", "localhost", "::1")


def ui(options: Any) -> None:
    """`texthead ui`."""
    if importlib.util.find_spec("gradio") is None:
        raise RunError("texthead ui needs gradio, which is not installed: pip install 'texthead[ui]'")
    source = _source(options)
    limits = Limits(options.most_seconds, options.most_frames)
    rules = Rules(options.most_mb, options.limit, options.waiting)
    pick_device(options.device)
    with (
        _listening(options.host, options.port) as listening,
        _uploads(),
        Held(partial(Answerer, source, limits)) as held,
    ):
        if options.host not in LOCAL:
            notes().print(
                f"warning: --host {options.host}: whoever reaches this machine can use the page, and it has no password"
            )
        with suppress(KeyboardInterrupt):
            _serve(listening, held, rules, limits, options.host)


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
def _uploads() -> Iterator[None]:
    """A folder of their own for uploads, gone at the end, also where the process is told to end."""
    with tempfile.TemporaryDirectory(prefix="texthead-ui-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        # Gradio asks a hub for nothing here; nothing of it shall try.
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        before = signal.signal(signal.SIGTERM, _leave)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _serve(listening: socket.socket, held: Held, rules: Rules, limits: Limits, host: str) -> None:
    """Answer until interrupted."""
    import uvicorn

    from texthead.page import application, build

    held.begin()
    about = held.ask(None, 120.0)
    app = application(build(held, about, rules, limits), rules)
    guard = Guard(app, LOCAL if host in LOCAL else None)
    shown = f"[{host}]" if ":" in host else host
    results().print(f"page: http://{shown}:{listening.getsockname()[1]}  (Ctrl-C ends it)")
    sys.stdout.flush()
    config = uvicorn.Config(guard, log_level="warning", timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[listening])
