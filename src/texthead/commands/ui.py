"""`texthead ui`: a page on this machine that names what is in files."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from texthead.commands.options import (
    DownloadOptions,
    EncodingOptions,
    ServerOptions,
    TemplateOptions,
    local_run,
)
from texthead.commands.parser import PositiveFloat, PositiveInt, argument, option
from texthead.errors import DataError, RunError

if TYPE_CHECKING:
    from texthead.web.answers import ModelSource


@dataclass(frozen=True, kw_only=True)
class PageLimits:
    """Requests beyond these limits are refused in one line.

    Args:
        most_mb: largest file, in MB
        most_seconds: longest video, in seconds
        most_frames: most frames of a video
        limit: time limit per answer, in seconds
        waiting: questions that may wait while one is answered
    """

    TITLE: ClassVar = "limits"

    most_mb: PositiveInt = option(200, "MB")
    most_seconds: PositiveFloat = option(300.0, "SECONDS")
    most_frames: PositiveInt = option(20_000, "FRAMES")
    limit: PositiveFloat = option(300.0, "SECONDS")
    waiting: PositiveInt = option(4, "N")


@dataclass(frozen=True, kw_only=True)
class Ui:
    """Open a page in the browser: drop a file, type names, see which fit.

    It takes videos and images, works offline, is for this machine alone if no other --host is given, and reads nothing
    but what is dropped there.

    Args:
        run: a run folder, or hub:ORG/NAME[@REVISION]; without one, names alone
        encoder: without a run: mini (the default), openclip:..., hf:...
    """

    run: str | None = argument("RUN", nargs="?", read=local_run)
    downloads: DownloadOptions = DownloadOptions()
    encoder: str | None = None
    prompts: TemplateOptions = TemplateOptions()
    server: ServerOptions = ServerOptions()
    limits: PageLimits = PageLimits()
    encoding: EncodingOptions = EncodingOptions()

    def __call__(self) -> None:
        self.server.check_installed("ui")
        password = self.server.password()

        from texthead.parallel.worker_pool import Held
        from texthead.web.answers import Answerer, Limits
        from texthead.web.server import application, listening_socket, serve, uploads_folder
        from texthead.web.session import Rules

        source = _source(self)
        limits = Limits(
            self.limits.most_seconds, self.limits.most_frames, most_megapixels=self.encoding.most_megapixels
        )
        self.encoding.pick_device()
        with (
            listening_socket(self.server.host, self.server.port) as listening,
            uploads_folder() as folder,
            Held(partial(Answerer, source, limits)) as held,
        ):
            self.server.say_password(password)
            rules = Rules(folder, self.limits.most_mb, self.limits.limit, self.limits.waiting)
            app = application(held, rules, limits, self.server.host, password)
            with suppress(KeyboardInterrupt):
                serve(listening, app, self.server.host, self.server.show_address)


def _source(command: Ui) -> "ModelSource":
    """What the model is loaded from.

    Raises:
        DataError, RunError: what is named does not go together, or is no run.
    """
    from texthead.runs import saved
    from texthead.web.answers import ModelSource

    if command.run is not None:
        saved.check_run_exists(command.run)
        if not saved.is_run(command.run):
            raise RunError(
                f"{command.run} is no run (no recipe.json in it): name a run folder, or none for names alone"
            )
        if command.encoder is not None:
            raise DataError(f"--encoder {command.encoder}: run {command.run} has its own encoder; leave it out")
    return ModelSource(
        run=command.run,
        allow_download=command.downloads.allow_download,
        encoder=command.encoder or "mini",
        template=command.prompts.read_template(),
        clean=command.prompts.clean,
        device=command.encoding.device,
        engine=command.encoding.engine,
    )
