"""Devices by name, a bar that only people see, and what is said of other names behind a run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.table import Table

from made import calibrate_run, write_colour_run
from texthead.commands.console import bar, results, say_other_classes
from texthead.errors import DataError, RunError
from texthead.parallel.device import pick_device
from texthead.runs.run import load_run


def test_pick_device():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("abacus", "cuda:99"):
        with pytest.raises(RunError, match=f"'{name}' cannot be used .*: use auto, cpu, cuda or cuda:N$"):
            pick_device(name)


def test_bar_is_silent_where_nobody_looks(capsys):
    with bar("train", "clips") as update:
        update(1, 2)
        update(2, 2)
    assert capsys.readouterr() == ("", "")


def test_what_a_stranger_calls_a_class_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture) -> None:
    """Escape sequences would colour the terminal, rename its window or write over what stands there."""
    evil = "\x1b[31mred\x1b]0;title\x07\x9b2J\r"
    table = Table("name")
    table.add_row(evil)
    results().print(evil)
    results().print(table)
    print(DataError(evil))
    said = capsys.readouterr().out
    assert not set(said) & {"\x1b", "\x07", "\x9b", "\r"}
    assert said.count(r"\x1b[31mred\x1b]0;title\x07\x9b2J") == 3


def test_other_classes_are_told_what_they_lose(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Text rows behind what was trained against others, and a calibration that is not theirs."""
    run = load_run(calibrate_run(write_colour_run(tmp_path / "run"), temperature=2.0, threshold=0.5))
    assert not run.rows_are_text
    say_other_classes(run, ["a kite"])
    said = " ".join(capsys.readouterr().err.split())
    assert "are no text (its head is own), so names may mean little" in said
    assert "calibration is of its own classes; probabilities of these are as the head gives them" in said
    head = run.model.head
    head.kind = "text"  # pyright: ignore[reportArgumentType]
    say_other_classes(replace(run, calibration=None), ["a kite"])
    assert capsys.readouterr().err == ""
