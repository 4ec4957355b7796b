"""Devices by name, and a bar that only people see."""

import pytest
import torch

from texthead.errors import RunError
from texthead.terminal import bar, pick_device


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
