"""One line on a terminal that shows what a command is doing: a step with its seconds, or a bar and its last message.

A terminal without control characters (TERM=dumb) or with NO_COLOR gets a plain line for each step instead. There, and
where there is no terminal, such as in a log, a plain line every ten seconds says how far long work is.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

# Seconds before a step is shown, over which a rate is measured, and between two lines of a log.
_SHORT, _WINDOW, _LOG = 0.3, 30.0, 10.0


class _Terminal(Console):
    """A terminal that keeps its cursor: a process that is killed could not bring it back."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class _Rate(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} {task.fields['unit']}/s")


class ProgressBar:
    """A progress bar: call it with (done, total)."""

    def __init__(self, title: str, unit: str):
        name, count, rate = (Column(no_wrap=True) for _ in range(3))
        self.progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(20),
            MofNCompleteColumn(table_column=count),
            _Rate(rate),
            TimeRemainingColumn(compact=True),
            speed_estimate_period=_WINDOW,
        )
        self._task = self.progress.add_task(title, total=None, unit=unit)
        self._title, self._unit = title, unit
        self.message, self.text = "", f"{title} ..."

    def __call__(self, done: int, total: int) -> None:
        self.text = f"{self._title}: {done:,} of {total:,} {self._unit}"
        self.progress.update(self._task, completed=done, total=total)


class StatusLine:
    """The line, drawn on standard error or another stream until the block ends."""

    def __init__(self, stream: TextIO | None = None, *, shown: bool):
        self._stream: TextIO = stream or sys.stderr
        self._plain = os.environ.get("TERM") in (None, "", "dumb", "unknown") or bool(os.environ.get("NO_COLOR"))
        self._shown = shown
        self._on_terminal = self._stream.isatty()
        self._ended = Event()
        self._bars: list[ProgressBar] = []
        self._what, self._since = "starting", time.monotonic()
        self._live = Live(
            console=_Terminal(file=self._stream, highlight=False, markup=False),
            get_renderable=self._line,
            refresh_per_second=10,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> "StatusLine":
        if self._shown and self._on_terminal and not self._plain:
            self._live.start()
        elif self._shown:
            Thread(target=self._log, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Clear the line and draw no more."""
        self._shown = False
        self._ended.set()
        self._live.stop()

    def _log(self) -> None:
        """Write a line on what is going on every ten seconds."""
        while not self._ended.wait(_LOG):
            line = self._bars[-1].text if self._bars else self._step()
            with suppress(OSError, ValueError):  # The stream is closed.
                self._stream.write(f"{line}\n")
                self._stream.flush()

    def show(self, what: str) -> None:
        """Show a step that has no count."""
        self._what, self._since = what, time.monotonic()
        if self._shown and self._on_terminal and self._plain:
            self._stream.write(f"{what} ...\n")
            self._stream.flush()

    def tell(self, message: str) -> bool:
        """Show a message below the progress bar until the next one; return whether there is a bar on a terminal."""
        seen = self._live.is_started and bool(self._bars)
        if seen:
            self._bars[-1].message = message
        return seen

    @contextmanager
    def showing(self, progress: ProgressBar) -> Iterator[None]:
        """Show a progress bar in the block."""
        self._bars.append(progress)
        try:
            yield
        finally:
            self._bars.remove(progress)
            self._since = time.monotonic()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Clear the line, and draw nothing in the block."""
        drawn = self._live.is_started
        self._live.stop()
        try:
            yield
        finally:
            if drawn and self._shown:
                self._live.start()

    def _line(self) -> RenderableType:
        if self._bars:
            bar = self._bars[-1]
            return Group(bar.progress.get_renderable(), *[Text(bar.message)] * (bar.message != ""))
        short = time.monotonic() - self._since <= _SHORT
        return Text("" if short else self._step(), no_wrap=True, overflow="ellipsis")

    def _step(self) -> str:
        seconds = time.monotonic() - self._since
        return f"{self._what} ..." + (f" {int(seconds)} s" if seconds >= 1 else "")
