"""`texthead ui`: serve a page on this machine that predicts the classes of files."""

from dataclasses import dataclass
from functools import partial

from texthead.cli import check_no_encoder, common, console
from texthead.errors import NonNegativeInt
from texthead.extras import check_extra
from texthead.files import scratch_folder
from texthead.runs import check_run


@dataclass(frozen=True, kw_only=True)
class Ui:
    """Serve a page for the browser: drop a file, type class names, see the top classes.

    The page takes videos and images and works offline. It reads only files that are dropped on it, and only this
    machine can reach it.
    """

    run: str | None = common("run", nargs="?")
    encoder: str | None = common("encoder without a run")
    port: NonNegativeInt = common("port")
    device: str = common("device")

    def check(self) -> None:
        """Raise RunError if RUN is not a run, DataError if an encoder is given with it."""
        if self.run is not None:
            check_run(self.run)
            check_no_encoder(self, self.run)

    def __call__(self) -> None:
        check_extra("ui", "texthead ui")
        console.status("starting the page")
        from texthead.apps.page.answers import Answerer
        from texthead.apps.page.app import LOAD_SECONDS, ui_app
        from texthead.apps.page.worker import StatefulWorker
        from texthead.apps.serving import listening, serve
        from texthead.parallel import pick_device

        pick_device(self.device)  # Raises an error before the page opens.
        with (
            listening(self.port) as server,
            scratch_folder() as folder,
            StatefulWorker(partial(Answerer, self.run, self.encoder, self.device)) as worker,
        ):
            serve(server, ui_app(worker, worker.run(None, LOAD_SECONDS), folder))
