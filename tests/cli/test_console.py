"""Device names, a progress bar on terminals only, and notes on classes other than a run's own."""

from pathlib import Path

import pytest
import torch
from rich.table import Table

from made import write_colour_run
from messages import prints, refuses
from texthead.cli.console import console
from texthead.cli.model import notes_on_other_classes
from texthead.cli.parser import print_error
from texthead.errors import DataError, MediaError, RunError, printable
from texthead.parallel.distributed import pick_device
from texthead.prediction.load import load_run


def test_pick_device(monkeypatch: pytest.MonkeyPatch):
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with refuses(RunError, "device", "'abacus'"):
        pick_device("abacus")
    with pytest.raises(RunError) as caught:  # Part of the message comes from torch.
        pick_device("cuda:99")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert pick_device("auto") == torch.device("mps")
    assert "'cuda:99'" in str(caught.value)


def test_error_is_one_line_wrapped_at_words(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    error = "no-such-folder/with-a-long-name: no such file or folder; check the path"
    print_error(error)
    assert capsys.readouterr().err == f"texthead: {error}\n"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    print_error(error)
    lines = capsys.readouterr().err.splitlines()
    assert " ".join(lines) == f"texthead: {error}"
    assert lines[1:] == ["no-such-folder/with-a-long-name:", "no such file or folder; check", "the path"]


def test_escape_sequences_in_names_not_printed(capsys: pytest.CaptureFixture) -> None:
    """Escape sequences could colour the terminal, rename its window or overwrite its text."""
    evil = "\x1b[31mred\x1b]0;title\x07\x9b2J\r\u202egpj.\u2066"
    table = Table("name")
    table.add_row(evil)
    console.results().print(evil)
    console.results().print(table)
    print(DataError(evil))
    out = capsys.readouterr().out
    assert not set(out) & {"\x1b", "\x07", "\x9b", "\r", "\u202e", "\u2066"}
    assert out.count(r"\x1b[31mred\x1b]0;title\x07\x9b2J") == out.count(r"\u202egpj.\u2066") == 3


def test_passwords_in_addresses_are_not_printed(capsys: pytest.CaptureFixture) -> None:
    for address in ("rtsp://ann:s3cret@camera/1", Path("http://ann:s3:cr@t@host:80/a.tar"), "a::https://:s3cret@host"):
        console.results().print(f"reading {address}")
        print(MediaError(Path(address), "cannot be read"))
    out = capsys.readouterr().out
    assert ("s3" in out, out.count(":***@"), out.count("ann:***@")) == (False, 6, 4)
    assert printable("http://host:80/a@b s3://bucket/a:b@c") == "http://host:80/a@b s3://bucket/a:b@c"


def test_what_other_classes_lose_is_noted(tmp_path: Path) -> None:
    """New classes get text rows among rows trained otherwise."""
    run = load_run(write_colour_run(tmp_path / "run"))
    assert not run.head.is_text
    prints(*notes_on_other_classes(run, ["a kite"]), "text")
    run.model.head.kind = "text"  # pyright: ignore[reportArgumentType]
    assert notes_on_other_classes(run, ["a kite"]) == []
