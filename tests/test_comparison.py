"""Who is ahead is said, whoever it is."""

from pathlib import Path

import torch

from made import items
from texthead.comparison import Comparison, Division
from texthead.evaluation import Evaluation


def result(scores: list[list[float]], targets: list[int]) -> Evaluation:
    """An evaluation of two classes."""
    paths = [Path(f"{i}.png") for i in range(len(targets))]
    return Evaluation(("a", "b"), paths, torch.tensor(targets), torch.tensor(scores))


def test_comparison_says_who_is_ahead(capsys):
    data = items(("x", "a", "test"), ("y", "b", "test"))
    table = Comparison(Division(data, None, data, "test"), ["a", "b"])
    table.add("simple", result([[1.0, 0.0], [0.0, 1.0]], [0, 1]))
    table.add("this run", result([[1.0, 0.0], [1.0, 0.0]], [0, 1]))
    table.show()
    out = capsys.readouterr().out
    assert "simple is ahead of this run by 50.0 points on these items" in out
    assert "test items" in out
    table.rows.reverse()
    table.show()
    assert "ahead" not in capsys.readouterr().out
    assert table.pairs()[1][1].startswith("100.0 % of 2 (95 % interval ")
