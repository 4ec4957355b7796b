"""What a command is doing: a step or a bar on a terminal; elsewhere a line of a bar every ten seconds."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from texthead.parallel.progress import Progress, terminal_bar

# Seconds between two lines of a log.
_LOG = 10.0


class StatusLine:
    """The line, which is gone when its step or bar ends."""

    def __init__(self, *, shown: bool):
        self._shown = shown
        self._width = 0

    def show(self, what: str) -> None:
        """Show a step that has no count, on a terminal."""
        if self._shown and sys.stderr.isatty():
            self._clear()
            text = f"{what} ..."[: shutil.get_terminal_size().columns - 1]
            self._width = len(text)
            sys.stderr.write(text)
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._width:
            sys.stderr.write(f"\r{' ' * self._width}\r")
            sys.stderr.flush()
            self._width = 0

    def end(self) -> None:
        """Clear the line and show no more."""
        self._clear()
        self._shown = False

    @contextmanager
    def bar(self, title: str, unit: str) -> Iterator[Progress]:
        """Show a progress bar in the block."""
        self._clear()
        due = time.monotonic() + _LOG
        with terminal_bar(title, unit) if self._shown else nullcontext() as draw:

            def count(done: int, total: int) -> None:
                nonlocal due
                if draw:
                    draw(done, total)
                if self._shown and not sys.stderr.isatty() and time.monotonic() >= due:
                    due = time.monotonic() + _LOG
                    sys.stderr.write(f"{title}: {done:,} of {total:,} {unit}\n")

            yield count

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Clear the line for what the block prints; a bar is drawn again afterwards."""
        self._clear()
        bars = sys.modules.get("tqdm")
        with bars.tqdm.external_write_mode() if bars else nullcontext():
            yield
