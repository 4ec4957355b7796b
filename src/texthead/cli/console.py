"""What a command prints: results on standard output; progress, notes and the next command on standard error."""

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from texthead.cli.flag_names import with_flags
from texthead.cli.status_line import StatusLine
from texthead.cli.system import os_error_message
from texthead.errors import MediaError, listed, on_one_line, printable
from texthead.parallel.progress import Progress, Reporter
from texthead.platform import quoted
from texthead.text import prompts

if TYPE_CHECKING:
    from texthead.prediction.run import Run


@dataclass
class _Screen:
    """How the running command prints.

    Attributes:
        notes: notes to print after the result; None prints them at once.
        skipped: the unreadable files that were printed.
        skips: whether unreadable files are skipped, so that the next command must skip them too.
        next: the command to suggest as the last line.
    """

    quiet: bool = False
    verbose: bool = False
    json: bool = False
    skips: bool = False
    skipped: set[str] = field(default_factory=set)
    notes: list[str] | None = None
    next: str | None = None
    line: StatusLine = field(default_factory=lambda: StatusLine(shown=False))


class _Console(Console):
    """A console that obeys nothing in what is printed, and leaves a closed pipe to the command.

    A terminal gets lines that are wrapped between words, everything else whole lines. Parameters in messages become
    flags, but not in lines of data (`flags=False`), where a class or file may be named so.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def print(self, *objects: Any, flags: bool = True, **options: Any) -> None:
        objects = tuple(with_flags(each) if flags and isinstance(each, str) else each for each in objects)
        if self.is_terminal and not options.get("soft_wrap"):
            objects = tuple(_wrapped(each, self.width) if isinstance(each, str) else each for each in objects)
        with console.hidden_line():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        raise


class CommandOutput:
    """What the running command prints.

    Attributes:
        reporter: shows what the library reports.
    """

    def __init__(self) -> None:
        self._screen = _Screen()  # Of the running command.
        self.reporter = Reporter(
            self.bar,
            say=lambda line: self.notes().print(line),
            note=self.say_notes,
            skipped=lambda error: self.say_skipped([error]),
        )

    @contextmanager
    def screen(
        self, *, quiet: bool = False, verbose: bool = False, json: bool = False, skips: bool = False
    ) -> Iterator[None]:
        """Apply --quiet, --verbose and --json to a command; afterwards print its notes and the next command."""
        first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
        line = StatusLine(shown=first and not quiet)
        before, self._screen = self._screen, _Screen(quiet, verbose, json, skips, notes=[], line=line)
        try:
            yield
            self.flush_notes()
            if self._screen.next:
                sys.stdout.flush()
                self.notes().print(f"next: {self._screen.next}", soft_wrap=True)
        finally:
            line.end()
            self.flush_notes()
            self._screen = before

    def notes(self) -> Console:
        """Return the console on standard error for progress and notes; --quiet silences it."""
        return self._console(stderr=True, quiet=self._screen.quiet)

    def problems(self) -> Console:
        """Return the console on standard error for what --quiet must not hide."""
        return self._console(stderr=True)

    def results(self) -> "_Console":
        """Return the console on standard output for results as text; --json silences it."""
        return self._console(stderr=False, quiet=self._screen.json)

    def details(self) -> Console:
        """Return the console on standard output for tables behind a result, which --verbose shows."""
        return self._console(stderr=False, quiet=self._screen.json or not self._screen.verbose)

    def remarks(self) -> Console:
        """Return the console on standard error for steps and settings, which --verbose shows."""
        return self._console(stderr=True, quiet=self._screen.quiet or not self._screen.verbose)

    def prints_json(self) -> bool:
        """Return whether the command prints JSON instead of text."""
        return self._screen.json

    def write(self, text: str, end: str = "\n") -> None:
        """Write text to standard output as it is, such as JSON, CSV or lines with tabs."""
        if _is_first_process():
            with self.hidden_line():
                sys.stdout.write(f"{text}{end}")

    def hidden_line(self) -> AbstractContextManager[None]:
        """Hide the line that shows what the command is doing."""
        return self._screen.line.hidden()

    def show_json(self, document: Any) -> None:
        """Print the result as JSON if --json was given: numbers unrounded, null for what is not finite."""
        if self._screen.json:
            self.write(json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False))

    def status(self, what: str) -> None:
        """Show what the command is doing, on a terminal, until it does something else."""
        self._screen.line.show(what)

    def hide_progress(self) -> None:
        """Show nothing more of what the command is doing, such as while it serves a page."""
        self._screen.line.end()

    def bar(self, title: str, unit: str) -> AbstractContextManager[Progress]:
        """Show a progress bar with rate and time left on standard error, on a terminal; it is gone when done."""
        return self._screen.line.bar(title, unit)

    def next_command(self, *words: object, encoder: str | None = None, text: str | None = None) -> None:
        """Suggest the command to type next, with the encoder if it is not the default; words are quoted for a shell."""
        given = {"--encoder": None if encoder == "mini" else encoder, "--text": text}
        words += tuple(word for name, value in given.items() if value is not None for word in (name, value))
        skip = ["--skip-unreadable"] * (self._screen.skips and words[1] in ("train", "report", "label"))
        self._screen.next = " ".join(quoted(str(word)) for word in (*words, *skip))

    @staticmethod
    def error_line(error: Exception) -> str:
        """Return the message of an error on one line, with flags in place of parameters."""
        line = os_error_message(error) if isinstance(error, OSError) else str(error)
        return " ".join(with_flags(line).split())

    with_flags = staticmethod(with_flags)

    def say_notes(self, *lines: str | None) -> None:
        """Print notes, each on a line of its own, after the result of the command; None and empty ones are left out."""
        deferred = self._screen.notes
        if deferred is None:
            for line in filter(None, lines):
                self.notes().print(f"note: {line}")
        else:
            deferred += filter(None, lines)

    def flush_notes(self) -> None:
        """Print the notes so far."""
        lines = self._screen.notes
        if lines:
            sys.stdout.flush()
            for line in dict.fromkeys(lines):
                self.notes().print(f"note: {on_one_line(line)}")
            lines.clear()

    def say_skipped(self, errors: Iterable[MediaError]) -> None:
        """Print the files that cannot be read and are left out, each once."""
        seen = self._screen.skipped
        for error in errors:
            if str(error.path) not in seen:
                self.problems().print(f"skipped: {error}")
                seen.add(str(error.path))

    @staticmethod
    def cell(name: str) -> Text:
        """Return a class name as a cell of a table: on one line, shortened if the table is too wide."""
        return Text(printable(name), no_wrap=True, overflow="ellipsis")

    def say_names(self, labels: Sequence[str], names: Sequence[str]) -> None:
        """Note the class names that were cleaned."""
        changed = [f"{label} -> {name}" for label, name in zip(labels, names, strict=True) if label != name]
        if changed:
            self.say_notes(f"class names cleaned: {listed(changed)}")

    def say_prompts(
        self, labels: Sequence[str], by_class: Sequence[str | Sequence[str]], run: "Run | None" = None
    ) -> None:
        """With --verbose, print the prompts of the first classes.

        Args:
            run: the run that gets these classes: print how much of the prompts its text map loses, if it has one.
        """
        if run is not None and run.head.text_map is not None:
            from texthead.encoders.pairing import residual

            lost = residual(run.encoder().text, run.head.text_map.cpu(), prompts.flat(by_class))
            source = run.head.text_source
            self.notes().print(
                f"text encoder {source}: the run's text projection drops a part of norm {lost:.2f} of the new class "
                "embeddings, which have length 1"
            )
        if all(isinstance(prompt, str) for prompt in by_class):
            few, line = 1, f"prompt: {by_class[0]!r}"
        else:
            few = 4
            pairs = list(zip(labels, by_class, strict=True))[:few]
            shown = [f"{label}: {', '.join(map(repr, prompts.flat([prompt])))}" for label, prompt in pairs]
            line = f"prompts, averaged where a class has several: {'; '.join(shown)}"
        more = f" and {len(by_class) - few} more" if len(by_class) > few else ""
        self.remarks().print(f"{line}{more}")

    def _console(self, *, stderr: bool, quiet: bool = False) -> _Console:
        """Return a console without markup or emoji codes, since class names and paths may look like them.

        Only the first process of a group prints.
        """
        return _Console(
            stderr=stderr,
            quiet=quiet or not _is_first_process(),
            color_system=None if os.environ.get("NO_COLOR") else "auto",
            highlight=False,
            soft_wrap=True,
            markup=False,
            emoji=False,
        )


console = CommandOutput()


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):  # numpy and torch
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _wrapped(text: str, width: int) -> str:
    """Return the lines of a text wrapped between words; words that are too long, such as paths, stay whole."""
    lines = []
    for line in text.replace(" %", "\xa0%").split("\n"):  # A number stays beside its unit.
        indent = line[: len(line) - len(line.lstrip())]
        lines += wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join(lines).replace("\xa0", " ")


def _is_first_process() -> bool:
    """Return whether this is the first process of its group; there is no group before torch is imported."""
    distributed = sys.modules.get("texthead.parallel.distributed")
    return distributed is None or distributed.rank() == 0
