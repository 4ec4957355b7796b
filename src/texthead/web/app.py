"""The page of `texthead ui`. Only this module imports gradio."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fastapi
import gradio as gr
from gradio import route_utils, themes
from gradio.components import Component
from gradio.utils import LRUCache
from gradio_client.utils import strip_invalid_filename_characters
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp

from texthead.errors import DataError
from texthead.media.open import media_suffixes
from texthead.parallel.worker_pool import StatefulWorker
from texthead.web.answers import About, Limits
from texthead.web.html import heading_html
from texthead.web.queue_requests import MOST_TEXT, QueueRequests
from texthead.web.session import AnswerParts, Rules, answer_in_steps, uploaded

_HERE = Path(__file__).parent

_API = "/gradio_api/"

UPLOAD = f"{_API}upload"

# Addresses that the page needs. Gradio has more, including some that fetch other addresses on request.
_OPEN = ("/assets/", "/static/", "/theme.css", "/config", "/favicon.ico", "/robots.txt", "/manifest.json")

_OPEN_API = (
    *("upload", "upload_progress", "queue/join", "queue/data", "heartbeat/", "startup-events", "info", "cancel"),
    *("app_id", "reset", "theme.css", "file=/"),
)

# Unread answers kept; then the oldest is dropped.
_UNREAD = 50

_FONTS = [themes.Font("system-ui"), themes.Font("sans-serif")]

_MONO = [themes.Font("ui-monospace"), themes.Font("monospace")]


def build_page(worker: StatefulWorker, about: About, rules: Rules, limits: Limits) -> gr.Blocks:
    """Return the page for a model in another process."""
    with gr.Blocks(title="texthead", analytics_enabled=False, delete_cache=(60, 3600)) as page:
        gr.HTML(heading_html(about), padding=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=280):
                size = f"up to {rules.megabytes} MB, {limits.seconds:g} s"
                kinds = sorted(media_suffixes())
                file = gr.File(label=f"Video or image, {size}", file_types=kinds, elem_id="file")
                names = gr.Textbox(
                    label="Class names",
                    info=_names_info(about),
                    placeholder="a cat, a bicycle, an umbrella",
                    lines=3,
                    max_lines=10,
                    max_length=MOST_TEXT,
                    elem_id="names",
                )
                closer = gr.CheckboxGroup(
                    [("times of events, in videos", "when"), ("regions that matter (slower)", "where")],
                    value=["when", "where"],
                    label="Also show",
                    elem_id="closer",
                )
                button = gr.Button("Predict", variant="primary", elem_id="ask")
            with gr.Column(scale=3, min_width=280, elem_id="answer"):
                parts = {part: gr.HTML(elem_id=f"answer-{part}", padding=False) for part in AnswerParts._fields}
        for component in (file, names, closer):
            _read_only_uploads(component, rules.uploads)
        # Gradio's own preprocessing leaves an empty file behind for each question.
        file.preprocess = lambda payload: getattr(payload, "path", None)
        button.click(
            _answer_handler(worker, rules),
            [file, names, closer],
            [*parts.values()],
            show_progress_on=parts["named"],
            concurrency_limit=1,
            concurrency_id="model",
            trigger_mode="once",
            api_visibility="private",
            show_progress="minimal",
        )
    return page.queue(max_size=rules.waiting, api_open=False)


def _read_only_uploads(component: Component, folder: Path) -> None:
    """Let the component accept only files in the folder of uploads.

    In a mounted page, Gradio copies any path or address that a request names.
    """

    async def checked(url_or_file_path: str | Path | None) -> str | None:
        if url_or_file_path is None:
            return None
        try:
            path = str(uploaded(url_or_file_path, folder))
        except DataError as error:
            raise gr.Error(str(error), print_exception=False) from None
        component.temp_files.add(path)
        return path

    component.async_move_resource_to_block_cache = checked


class _FilesOnly(route_utils.GradioMultiPartParser):
    """Gradio's parser of uploads, without text fields, which it would hold in memory at three times their size.

    Also removes incomplete files and files of other fields, which Gradio would leave on disk.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **{**options, "max_fields": 0})

    async def parse(self) -> FormData:
        try:
            form = await super().parse()
        except FormParserError as error:
            raise MultiPartException(f"not a form of files: {error}") from None
        started, complete = self._files_to_close_on_error, form.getlist("files")
        if not started or len(complete) < len(started) or any(map(_is_nameless, complete)):
            for file in started:
                file.close()
                Path(file.name).unlink()
            raise MultiPartException("a form with complete files is needed")
        return form


def _is_nameless(file: Any) -> bool:
    """Return whether a file has a name that Gradio reduces to nothing; no name at all is allowed."""
    name = file.filename and strip_invalid_filename_characters(Path(file.filename).name)
    return name in (".", "..") or (not name and bool(file.filename))


def _names_info(about: About) -> str:
    first = "One per line, or separated by commas."
    return f"{first} Leave empty for the model's own {len(about.names)} classes." if about.names else first


def _answer_handler(
    worker: StatefulWorker, rules: Rules
) -> Callable[[str | None, str, list[str]], Iterator[list[Any]]]:
    def ask(path: str | None, text: str, closer: list[str]) -> Iterator[list[Any]]:
        before: Sequence[str | None] = [None] * len(AnswerParts._fields)
        for parts in answer_in_steps(worker, rules, path, text or "", closer):
            # Skip unchanged parts, because resending one would restart its video.
            yield [gr.skip() if part == old else part for part, old in zip(parts, before, strict=True)]
            before = parts

    return ask


def is_open(path: str) -> bool:
    """Return whether the page needs an address."""
    inner = path.removeprefix(_API)
    return path == "/" or path.startswith(_OPEN) or (inner != path and inner.startswith(_OPEN_API))


def asgi_app(page: gr.Blocks, rules: Rules) -> ASGIApp:
    """Return the page as a web application without documentation, monitoring, history or other addresses."""
    route_utils.GradioMultiPartParser = _FilesOnly
    # Malformed forms are the client's fault and not worth logging.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    outer = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    queue = page._queue
    queue.pending_messages_per_session = LRUCache(_UNREAD)
    app = gr.mount_gradio_app(
        outer,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        allowed_paths=[],
        show_error=False,
        max_file_size=f"{rules.megabytes}mb",
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(),
        css_paths=_HERE / "page.css",
        head=f"<script>{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>",
    )
    return QueueRequests(app, _API, lambda: queue.pending_messages_per_session)


def _theme() -> themes.Base:
    """Return Gradio's theme with more contrast, and system fonts so that it downloads none."""
    return themes.Default(font=_FONTS, font_mono=_MONO).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
    )
