"""What a command shows while it works, and where: results on standard output, the rest on standard error."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from texthead.errors import MediaError, listed, printable
from texthead.text import prompts

if TYPE_CHECKING:
    from texthead.runs.run import Run


def notes() -> Console:
    """Standard error, for what is said on the way."""
    return _console(stderr=True)


def results() -> Console:
    """Standard output, for what a command is asked for."""
    return _console(stderr=False)


def say_notes(lines: Iterable[str]) -> None:
    """Print notes, each on a line of its own."""
    for line in lines:
        notes().print(f"note: {line}")


def say_skipped(errors: Iterable[MediaError]) -> None:
    """Print the files that cannot be read and are left out."""
    for error in errors:
        notes().print(f"skipped: {error}")


class _Console(Console):
    """A console that obeys nothing in what is printed, and leaves a closed pipe to the command."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(printable(text), **how)

    def on_broken_pipe(self) -> None:
        raise


def _console(*, stderr: bool) -> Console:
    """Class names and paths are printed as they are: no markup, no emoji codes. Only the first process speaks."""
    return _Console(stderr=stderr, quiet=not _speaks(), highlight=False, soft_wrap=True, markup=False, emoji=False)


def _speaks() -> bool:
    """Return whether this is the first process of its group, of which there is none before torch is imported."""
    distributed = sys.modules.get("texthead.parallel.distributed")
    return distributed is None or distributed.rank() == 0


def reader_gone() -> int:
    """The exit code that a shell gives for a closed pipe, as of `| head`; what is still to be written is dropped."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13  # as by SIGPIPE


class ProgressBar:
    """A progress bar: called with (done, total); `say` prints a line above it."""

    def __init__(self, progress: Progress, title: str, unit: str):
        self._progress = progress
        self._task = progress.add_task(title, total=None, rate="")
        self._unit = unit

    def __call__(self, done: int, total: int) -> None:
        speed = self._progress.tasks[0].speed
        rate = f"{speed:.1f} {self._unit}/s" if speed else ""
        self._progress.update(self._task, completed=done, total=total, rate=rate)

    def say(self, line: str) -> None:
        """Print a line."""
        self._progress.console.print(line)


@contextmanager
def bar(title: str, unit: str) -> Iterator[ProgressBar]:
    """A progress bar on standard error with rate and time left; gone when done, unseen where nobody looks."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    console = notes()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal or console.quiet
    ) as progress:
        yield ProgressBar(progress, title, unit)


def say_names(labels: Sequence[str], names: Sequence[str], template: str | Sequence[str] | None) -> None:
    """The class names and the prompt, as the text encoder reads them."""
    say = notes()
    changed = [f"{label} -> {name}" for label, name in zip(labels, names, strict=True) if label != name]
    if changed:
        say.print(f"class names cleaned: {listed(changed)} (--names verbatim keeps them)")
    if template is not None:
        more = f" and {len(names) - 1} more like it" if len(names) > 1 else ""
        one = template if isinstance(template, str) else template[0]
        each = "" if isinstance(template, str) else f", in {len(template)} templates"
        say.print(f"prompt: {prompts.fill_template(one, names)[0]!r}{more}{each}")


def say_prompts(labels: Sequence[str], shown: Sequence[str | Sequence[str]]) -> None:
    """What is behind each row, of a few classes; and whether an article stands there twice."""
    doubled = [prompt for prompt in prompts.flat(shown) if prompts.has_two_articles(prompt)]
    if doubled:
        notes().print(f"note: {len(doubled)} prompts have two articles ({doubled[0]!r}): leave them out of the names")
    if all(isinstance(prompt, str) for prompt in shown):
        more = f" and {len(shown) - 1} more" if len(shown) > 1 else ""
        notes().print(f"prompt: {shown[0]!r}{more}")
        return
    few = [
        f"{label}: {', '.join(map(repr, prompts.flat([prompt])))}"
        for label, prompt in list(zip(labels, shown, strict=True))[:4]
    ]
    more = f"; and {len(shown) - 4} more" if len(shown) > 4 else ""
    notes().print(f"prompts, averaged where a class has several: {'; '.join(few)}{more}")


def say_other_classes(run: "Run", shown: Sequence[str | Sequence[str]]) -> None:
    """What there is to know of text rows that take the place of a run's own."""
    for line in run.lost_by_other_classes():
        notes().print(f"note: {line}")
    say_residual(run, shown)


def say_residual(run: "Run", shown: Sequence[str | Sequence[str]]) -> None:
    """How much a saved map loses of prompts that it was not fitted to."""
    from texthead.encoders.pairing import residual

    head = run.head
    if head.learned_template or head.text_map is None:
        return
    lost = residual(run.encoder().text, head.text_map.cpu(), prompts.flat(shown))
    notes().print(f"text encoder {head.text_source}: the map of the run loses {lost:.2f} of the new names' length")
