"""Progress on a terminal: one line that disappears when done; plain lines if the terminal has no control characters."""

import io
import re
import time
from collections.abc import Callable

import pytest
from rich.console import Console

from texthead.cli import status_line
from texthead.cli.status_line import ProgressBar, StatusLine

GONE = "\x1b[1A\x1b[2K"


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stream = Terminal()
    monkeypatch.setattr(status_line, "_SHORT", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


def wait_for(stream: Terminal, text: str, start: int = 0) -> None:
    end = time.monotonic() + 10
    while text not in stream.getvalue()[start:]:
        assert time.monotonic() < end, stream.getvalue()
        time.sleep(0.01)


def text_of(progress: ProgressBar, width: int) -> str:
    """Return the bar as text on a terminal of this width."""
    console = Console(file=io.StringIO(), width=width)
    console.print(progress.progress.get_renderable())
    return console.file.getvalue().rstrip("\n")  # pyright: ignore[reportAttributeAccessIssue]


def test_bar_with_count_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    progress = ProgressBar("encode", "files")
    monkeypatch.setattr(progress.progress, "get_time", lambda: now)
    for done in range(1, 6):
        now += 2.0
        progress(done, 1000)
    assert re.fullmatch(r"encode +5/1000 0\.5 files/s 33:10", text_of(progress, 79))
    assert len(text_of(progress, 50)) <= 50
    assert len(text_of(progress, 35).splitlines()) == 1


def test_line_shows_step_and_bar_and_is_gone_when_done(terminal: Terminal) -> None:
    with StatusLine(terminal, shown=True) as line:
        line.show("loading torch")
        wait_for(terminal, "loading torch ...")
        with line.showing(progress := ProgressBar("encode", "files")):
            progress(1, 4)
            wait_for(terminal, "1/4")
            with line.hidden():
                assert terminal.getvalue().endswith(GONE)
                hidden = len(terminal.getvalue())
            wait_for(terminal, "encode", hidden)
    assert terminal.getvalue().endswith(GONE)
    assert "\x1b[?25l" not in terminal.getvalue(), "the cursor stays"


class FakeTime:
    """A clock that waiting moves, and what happens while it waits; it ends when nothing more happens."""

    def __init__(self, *happenings: Callable[[], object]):
        self.now, self.happenings = 0.0, list(happenings)

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        if self.happenings:
            self.happenings.pop(0)()
            return False
        return True


@pytest.mark.parametrize("terminal", [False, True])
def test_a_log_gets_a_line_every_ten_seconds(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream, progress = Terminal() if terminal else io.StringIO(), ProgressBar("encode", "clips")
    line = StatusLine(stream, shown=True)
    clock = FakeTime(lambda: None, lambda: line._bars.append(progress), lambda: progress(320, 1200), line._bars.clear)
    monkeypatch.setattr(status_line.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(line, "_ended", clock)
    line._what, line._since = "loading the run", 0.0
    line._log()
    lines = ["loading the run ... 10 s", "encode ...", "encode: 320 of 1,200 clips", "loading the run ... 40 s"]
    assert stream.getvalue().splitlines() == lines
    assert clock.now == 50


# --- a real terminal ------------------------------------------------------------------------------------------------
