"""Progress on a terminal: one line that disappears when done; in a log, lines of a bar."""

import os
import re
import select
import subprocess
import sys

import pytest

from platforms import needs_posix
from texthead.cli import status_line
from texthead.cli.console import console


@pytest.mark.parametrize(("quiet", "lines"), [(False, ["encode: 320 of 1,200 clips"]), (True, [])])
def test_a_log_gets_a_line_of_a_bar(quiet, lines, monkeypatch, capsys) -> None:
    now = 0.0
    monkeypatch.setattr(status_line.time, "monotonic", lambda: now)
    with console.screen(quiet=quiet):
        console.status("loading the run")
        with console.bar("encode", "clips") as progress:
            progress(100, 1200)
            now = 10.0
            progress(320, 1200)
            progress(330, 1200)
    assert capsys.readouterr().err.splitlines() == lines


PROGRAM = """
import time
from texthead.cli.console import console
with console.screen():
    console.status("loading the encoder")
    time.sleep(0.7)
    console.say_notes("the second")
    with console.bar("encode", "files") as progress:
        time.sleep(0.7)
        progress(1, 2)
        console.notes().print("said meanwhile")
    console.results().print("the result " + "of words " * 20)
    console.next_command("texthead", "predict", "a run", "/a/path/" + "x" * 90)
"""


def on_a_terminal() -> str:
    """Return everything that a program writes to a terminal, without colours."""
    needs_posix("terminals that a program makes")
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    for name in ("NO_COLOR", "TQDM_DISABLE"):
        environment.pop(name, None)
    command = [sys.executable, "-c", PROGRAM]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    while process.poll() is None or select.select([ours], [], [], 0.1)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            if not piece:
                break
            written += piece
    assert process.wait() == 0
    os.close(ours)
    return re.sub(r"\x1b\[[\d;]*m", "", written.decode()).replace("\r\n", "\n")


def test_result_then_notes_then_the_next_command() -> None:
    written = on_a_terminal()
    assert "loading the encoder ..." in written
    assert re.search(r"encode: +50%.* 1/2 ", written)
    left = [line.rstrip().rpartition("\r")[2] for line in written.rstrip().split("\n")]
    assert left[0] == "said meanwhile"
    assert left[1].startswith("the result of words")
    assert left[-2:] == ["note: the second", f"next: texthead predict 'a run' /a/path/{'x' * 90}"]
    assert max(map(len, left[:-1])) <= 80
