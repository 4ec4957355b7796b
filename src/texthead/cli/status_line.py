"""One line on a terminal that shows what a command is doing: a step with its seconds, or a progress bar.

A terminal without control characters (TERM=dumb) or with NO_COLOR gets a plain line for each long wait instead.
"""

import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TextIO

from rich.cells import set_cell_size

# Seconds: between two drawings, before a step is shown, between two plain lines, and over which a rate is measured.
_TICK, _SHORT, _PLAIN, _WINDOW = 0.1, 0.3, 10.0, 30.0

_WIDTH = 20  # characters of a bar

_CLEAR = "\r\x1b[2K"


class ProgressBar:
    """A progress bar: call it with (done, total)."""

    def __init__(self, title: str, unit: str):
        self.title = title
        self._unit = unit
        self._total = 0
        self._times: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def __call__(self, done: int, total: int) -> None:
        now, self._total = time.monotonic(), total
        self._times.append((now, done))
        while len(self._times) > 2 and now - self._times[0][0] > _WINDOW:
            self._times.popleft()

    def text(self, full: str, empty: str, width: int) -> str:
        """Return title, bar, count, rate and time left; an empty text before the first call.

        Args:
            full, empty: a character of the bar that is done, and one that is not.
            width: characters of the line; the bar, then the title, gets shorter to fit.
        """
        (began, first), (last, done) = self._times[0], self._times[-1]
        if not self._total:
            return ""
        rate = (done - first) / (last - began) if last > began else 0.0
        speed = f"  {rate:.1f} {self._unit}/s" if rate > 0 else ""
        left = f"  {_clock((self._total - done) / rate - (time.monotonic() - last))} left" if rate > 0 else ""
        numbers = f" {done:,}/{self._total:,}{speed}{left}"
        title = self.title[: max(1, width - len(numbers))]
        cells = min(_WIDTH, max(0, width - len(title) - 1 - len(numbers)))
        filled = full * (cells * min(done, self._total) // self._total)
        return f"{title} {filled:{empty}<{cells}}{numbers}" if cells else f"{title}{numbers}"


def _clock(seconds: float) -> str:
    """Return seconds as 0:07 or 1:02:03."""
    minutes, whole = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"


class StatusLine:
    """The line; a thread draws it on standard error, or another stream, until the block ends."""

    def __init__(self, stream: TextIO | None = None, *, shown: bool):
        self._stream = stream or sys.stderr
        self._shown = shown and self._stream.isatty()
        self._plain = os.environ.get("TERM") in (None, "", "dumb", "unknown") or bool(os.environ.get("NO_COLOR"))
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._bars: list[ProgressBar] = []
        self._drawn = False
        self.show("starting")

    def __enter__(self) -> "StatusLine":
        if self._shown:
            self._thread = threading.Thread(target=self._draw_always, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Clear the line and draw no more."""
        self._ended.set()
        with self.hidden():
            self._shown = False

    def show(self, what: str) -> None:
        """Show a step that has no count."""
        self._what, self._since, self._printed = what, time.monotonic(), time.monotonic()

    @contextmanager
    def showing(self, progress: ProgressBar) -> Iterator[None]:
        """Show a progress bar in the block."""
        self._bars.append(progress)
        self._since = self._printed = time.monotonic()
        try:
            yield
        finally:
            self._bars.remove(progress)
            self.show(self._what)
            with self.hidden():
                pass

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Clear the line, and draw nothing in the block."""
        with self._lock:
            if self._drawn:
                self._drawn = False
                with suppress(OSError, ValueError):  # The terminal may be gone.
                    self._stream.write(_CLEAR)
                    self._stream.flush()
            yield

    def _draw_always(self) -> None:
        while not self._ended.wait(_TICK):
            with self._lock, suppress(OSError, ValueError, RuntimeError):
                if self._shown and not self._ended.is_set():
                    self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if self._plain:
            if now - self._printed > (_PLAIN if self._printed > self._since else 2):
                self._printed = now
                self._stream.write(f"{self._text(now, '#', '.', 79)}\n")
        elif now - self._since > _SHORT:
            bright = "utf" in (self._stream.encoding or "").lower()
            full, empty = "━ " if bright else "#."
            width = shutil.get_terminal_size().columns - 1
            text = self._text(now, full, empty, width)
            self._stream.write(f"{_CLEAR}{set_cell_size(text, width).rstrip()}")
            self._drawn = True
        self._stream.flush()

    def _text(self, now: float, full: str, empty: str, width: int) -> str:
        if self._bars and (text := self._bars[-1].text(full, empty, width)):
            return text
        seconds, what = int(now - self._since), self._bars[-1].title if self._bars else self._what
        return f"{what} ..." + (f" {seconds} s" if seconds else "")
