"""Answer a request with the parts of the page, one after the other. Does not use gradio."""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from texthead.errors import DataError, RunError, TextheadError
from texthead.parallel.worker_pool import FailedTask, StatefulWorker
from texthead.text.class_names import typed_names
from texthead.web.answers import Answer, Question, Saliency, Timeline, TopClasses
from texthead.web.html import downloads_html, error_html, saliency_html, timeline_html, top_classes_html, waiting_html


@dataclass(frozen=True)
class Rules:
    """Limits of the page: folder of uploads, megabytes per file, seconds per answer, waiting questions."""

    uploads: Path
    megabytes: int = 200
    limit: float = 300.0
    waiting: int = 4


class AnswerParts(NamedTuple):
    """The parts of an answer as HTML, in the order of the page."""

    error: str = ""
    named: str = ""
    when: str = ""
    where: str = ""
    downloads: str = ""


def answer_in_steps(
    worker: StatefulWorker, rules: Rules, path: str | None, text: str, closer: Collection[str]
) -> Iterator[AnswerParts]:
    """Yield the page's content for a file, with more parts each time; errors become a line on the page.

    `closer` contains "when" and "where" if these parts are wanted.
    """
    parts = AnswerParts()
    try:
        for parts in _parts(worker, rules, path, text, closer):
            yield parts
    except TextheadError as error:
        # Keep finished parts, remove placeholders.
        waiting = {part: "" for part in ("when", "where") if getattr(parts, part) == waiting_html(part)}
        yield parts._replace(error=error_html(str(error)), **waiting)


def _parts(
    worker: StatefulWorker, rules: Rules, path: str | None, text: str, closer: Collection[str]
) -> Iterator[AnswerParts]:
    if path is None:
        raise DataError("choose a video or an image first")
    until = time.monotonic() + rules.limit
    question = Question(uploaded(path, rules.uploads), tuple(typed_names(text)) if text.strip() else ())
    classes = ask_model(worker, question, until, rules)
    assert isinstance(classes, TopClasses)
    wanted = [part for part in ("when", "where") if part in closer and (part == "where" or classes.seconds)]
    parts = AnswerParts(named=top_classes_html(classes, question.path), downloads=downloads_html(classes, None))
    parts = parts._replace(**{part: waiting_html(part) for part in wanted})
    yield parts
    if "when" in wanted:
        timeline = ask_model(worker, question._replace(part="when"), until, rules)
        assert isinstance(timeline, Timeline)
        parts = parts._replace(when=timeline_html(timeline), downloads=downloads_html(classes, timeline))
        yield parts
    if "where" in wanted:
        saliency = ask_model(worker, question._replace(part="where"), until, rules)
        assert isinstance(saliency, Saliency)
        yield parts._replace(where=saliency_html(saliency))


def uploaded(path: str | Path, folder: Path) -> Path:
    """Return the file at `path` in the folder of uploads.

    Raises:
        DataError: it is elsewhere, or was removed.
    """
    real = Path(path).resolve()
    if not (real.is_relative_to(folder.resolve()) and real.is_file()):
        raise DataError("only files uploaded here within the last hour can be read; upload it again")
    return real


def ask_model(worker: StatefulWorker, question: Question, until: float, rules: Rules) -> Answer:
    """Return the answer to a question.

    Raises:
        TextheadError: the question is invalid, takes too long, or kills the process.
    """
    answer = worker.run(question, until - time.monotonic())
    if isinstance(answer, FailedTask):
        late = time.monotonic() >= until
        reason = f"took longer than {rules.limit:g} s, the limit of this page" if late else answer.reason
        raise RunError(f"{question.path.name}: {reason}; try a shorter or smaller file")
    if isinstance(answer, TextheadError):
        raise answer
    return answer
