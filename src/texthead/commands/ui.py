"""`texthead ui`: a page on this machine that names what is in files."""

import importlib.util
import sys
from contextlib import suppress
from functools import partial
from typing import Any

from texthead.commands.console import given_template, notes, results
from texthead.errors import DataError, RunError
from texthead.parallel.device import pick_device
from texthead.parallel.worker_pool import Held
from texthead.runs import run
from texthead.web.answers import Answerer, Limits, Source
from texthead.web.guard import Guard
from texthead.web.server import LOCAL, UPLOADS_KEPT, application, listening_socket, serve, uploads_folder
from texthead.web.session import Rules


def ui(options: Any) -> None:
    """`texthead ui`."""
    if importlib.util.find_spec("gradio") is None:
        raise RunError("texthead ui needs gradio, which is not installed: pip install 'texthead[ui]'")
    source = _source(options)
    limits = Limits(options.most_seconds, options.most_frames)
    pick_device(options.device)
    with (
        listening_socket(options.host, options.port) as listening,
        uploads_folder() as folder,
        Held(partial(Answerer, source, limits)) as held,
    ):
        if options.host not in LOCAL:
            notes().print(
                f"warning: --host {options.host}: whoever reaches this machine can use the page; it has no password"
            )
        rules = Rules(folder, options.most_mb, options.limit, options.waiting)
        app = application(held, rules, limits)
        one = rules.megabytes * 2**20
        hosts = LOCAL if options.host in LOCAL else None
        guard = Guard(app, hosts, folder, most_bytes=UPLOADS_KEPT * one, most_bytes_of_one=one)
        with suppress(KeyboardInterrupt):
            serve(listening, guard, options.host, _show_address)


def _show_address(address: str) -> None:
    results().print(f"page: {address}  (Ctrl-C ends it)")
    sys.stdout.flush()


def _source(options: Any) -> Source:
    """What the model is loaded from.

    Raises:
        DataError, RunError: what is named does not go together, or is no run.
    """
    if options.run is not None:
        if not run.is_run(options.run):
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
