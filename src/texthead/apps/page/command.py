"""`texthead ui`: serve a page on this machine that predicts the classes of files."""

from dataclasses import dataclass
from functools import partial

from texthead.apps.page.options import PageLimits
from texthead.apps.serving import ServerOptions
from texthead.cli import DownloadOptions, EncodingOptions, TemplateOptions, argument, console, run_argument
from texthead.errors import DataError
from texthead.files import scratch_folder
from texthead.runs import check_run


@dataclass(frozen=True, kw_only=True)
class Ui:
    """Serve a page for the browser: drop a file, type class names, see which fit.

    The page takes videos and images and works offline. It reads only files that are dropped on it, and only this
    machine can reach it unless --host is given.

    Args:
        run: a run folder, or hub:ORG/NAME[@REVISION]; without one, type class names
        encoder: encoder to use without a run: mini (the default), openclip:..., hf:...
    """

    run: str | None = argument("RUN", nargs="?", read=run_argument)
    downloads: DownloadOptions = DownloadOptions()
    encoder: str | None = None
    prompts: TemplateOptions = TemplateOptions()
    server: ServerOptions = ServerOptions()
    limits: PageLimits = PageLimits()
    encoding: EncodingOptions = EncodingOptions()

    def check(self) -> None:
        """Raise RunError if RUN is no run, DataError if an encoder is given with it or there is no such template."""
        if self.run is not None:
            check_run(self.run)
            if self.encoder is not None:
                raise DataError(f"--encoder {self.encoder}: run {self.run} has its own encoder; leave it out")
        self.prompts.read_template()

    def __call__(self) -> None:
        password = self.server.password("ui")

        console.doing("starting the page")
        from texthead.apps.page.answers import Answerer
        from texthead.apps.page.app import open_model, ui_app
        from texthead.parallel import StatefulWorker

        self.encoding.pick_device()
        model = self.run, self.encoder, self.prompts, self.encoding, self.limits
        with (
            self.server.listening(password) as serve,
            scratch_folder() as folder,
            StatefulWorker(partial(Answerer, *model, allow_download=self.downloads.allow_download)) as worker,
        ):
            serve(ui_app(worker, open_model(worker), folder, self.limits, self.server.host, password))
