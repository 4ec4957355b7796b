"""Progress bars are drawn in an IPython kernel, and removed when the work ends."""

import sys
from types import ModuleType
from typing import Any

import pytest

from texthead.parallel.progress import Reporter, silent


class Shell(ModuleType):
    """A fake IPython module with a kernel."""

    def __init__(self) -> None:
        super().__init__("IPython")
        self.kernel: object | None = object()

    def get_ipython(self) -> Any:
        return self


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", shell)
    return shell


def test_a_bar_is_drawn_and_removed_even_after_an_error(shell, monkeypatch, capsys) -> None:
    monkeypatch.setattr("texthead.parallel.progress._DELAY_SECONDS", 0)
    with pytest.raises(ZeroDivisionError), Reporter().bar("read", "files") as bar:
        bar(2, 2)
        raise ZeroDivisionError
    *_, drawn, cleared, last = capsys.readouterr().err.split("\r")
    assert drawn.startswith("read: ")
    assert cleared.strip() == last == ""


def test_nothing_is_shown_of_short_work_outside_a_notebook_and_of_what_the_caller_counts(shell, capsys, monkeypatch):
    with Reporter().bar("read", "files") as bar:
        bar(1, 1)
    assert capsys.readouterr().err.strip() == ""
    seen: list[tuple[int, int]] = []
    with Reporter().counting(lambda *done: seen.append(done)).bar("read", "files") as progress:
        progress(1, 2)
    assert seen == [(1, 2)]
    assert capsys.readouterr().err == ""
    monkeypatch.delitem(sys.modules, "IPython")
    with Reporter().bar("read", "files") as progress:
        assert progress is silent
