"""From a file and typed names to the parts of a page, as they are known; no gradio in it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from texthead.answers import Named, Question
from texthead.errors import DataError, RunError, TextheadError
from texthead.page_html import downloads_html, error_html, named_html
from texthead.prompts import typed_names
from texthead.watched import Held, Lost


@dataclass(frozen=True)
class Rules:
    """What a page takes: megabytes of a file, seconds that an answer may take, questions that may wait for theirs."""

    megabytes: int = 200
    limit: float = 300.0
    waiting: int = 4


class Shown(NamedTuple):
    """The parts of an answer as HTML, in the order of the page."""

    named: str = ""
    downloads: str = ""


def shown(held: Held, rules: Rules, path: str | None, text: str) -> Iterator[Shown]:
    """What the page shows of a file, more each time; a mistake of the user's, or a lost answer, is one line of it."""
    parts = Shown()
    try:
        for parts in _parts(held, rules, path, text):
            yield parts
    except TextheadError as error:
        # What was found before stays.
        yield parts._replace(named=error_html(str(error)) + parts.named)


def _parts(held: Held, rules: Rules, path: str | None, text: str) -> Iterator[Shown]:
    if path is None:
        raise DataError("choose a video or an image first")
    until = time.monotonic() + rules.limit
    question = Question(Path(path), tuple(typed_names(text)) if text.strip() else ())
    named = asked(held, question, until, rules)
    yield Shown(named_html(named, question.path), downloads_html(named))


def asked(held: Held, question: Question, until: float, rules: Rules) -> Named:
    """The answer to a question.

    Raises:
        TextheadError: there is none: a mistake in the question, or it takes too long, or its process ends.
    """
    answer = held.ask(question, until - time.monotonic())
    if isinstance(answer, Lost):
        late = time.monotonic() >= until
        why = f"took longer than {rules.limit:g} s, the limit of this page" if late else answer.reason
        raise RunError(f"{question.path.name}: {why}; try a shorter or a smaller file")
    if isinstance(answer, TextheadError):
        raise answer
    return answer
