"""The page of `texthead ui` as a web application: a question about a file, answered part by part."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from texthead.apps.page.answers import About, Question
from texthead.apps.page.html import page_html, timeline_html, top_classes_html
from texthead.apps.page.worker import StatefulWorker
from texthead.apps.serving import Guard, Uploads, file_route, json_body, page_app
from texthead.cli import console
from texthead.errors import DataError, LostWorkerError, RunError, TextheadError
from texthead.media import media_suffixes
from texthead.text import typed_names

_HERE = Path(__file__).parent

# Time to load the model, and for an answer.
LOAD_SECONDS, ANSWER_SECONDS = 600.0, 300.0


def ui_app(worker: StatefulWorker, about: About, folder: Path) -> Guard:
    """Return the page for a model in another process, with its guard.

    Args:
        folder: an empty folder for uploads.
    """
    uploads, markup = Uploads(folder), page_html(about, sorted(media_suffixes()))

    async def ask(request: Request) -> Response:
        steps = answer_in_steps(worker, _question(await json_body(request), uploads))
        return StreamingResponse((json.dumps(step) + "\n" for step in steps), media_type="application/x-ndjson")

    files = [file_route(_HERE / name) for name in ("page.js", "page.css")]
    page, answers = Route("/", lambda _: HTMLResponse(markup)), Route("/ask", ask, methods=["POST"])
    return page_app([page, *files, *uploads.routes, answers])


def _question(body: dict[str, Any], uploads: Uploads) -> Question:
    """Return the question in a request.

    Raises:
        DataError: the request has no file, is not from the page, or the names are not valid classes.
    """
    names = body.get("names")
    if not isinstance(names, str):
        raise DataError("the class names must be text; reload the page")
    if body.get("file") is None:
        raise DataError("choose a video or an image first")
    path = uploads.path(body["file"])
    return Question(path, tuple(typed_names(names)) if names.strip() else ())


def answer_in_steps(
    worker: StatefulWorker, question: Question, limit: float = ANSWER_SECONDS
) -> Iterator[dict[str, str]]:
    """Yield what changes on the page: its parts as HTML, and as text its status or an error.

    Args:
        limit: seconds for the whole answer.
    """
    until = time.monotonic() + limit
    try:
        yield {"status": "Computing the classes …"}
        classes = _ask_model(worker, question, until, limit)
        yield {"named": top_classes_html(classes), "status": "Computing the timeline …" if classes.seconds else ""}
        if classes.seconds:
            times = _ask_model(worker, question._replace(times=True), until, limit)
            yield {"when": timeline_html(times), "status": ""}
    except TextheadError as error:
        yield {"error": console.error_line(error)}


def _ask_model(worker: StatefulWorker, question: Question, until: float, limit: float) -> Any:
    """Return the answer to a question.

    Raises:
        TextheadError: the question is invalid, takes too long, or kills the process.
    """
    try:
        return worker.run(question, until - time.monotonic())
    except LostWorkerError as error:
        late = time.monotonic() >= until
        reason = f"took longer than {limit:g} s, the limit of this page" if late else error
        raise RunError(f"{question.path.name}: {reason}; try a shorter or smaller file") from None
