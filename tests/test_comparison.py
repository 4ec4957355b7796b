"""The table names the method that leads, whichever it is."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from made import items
from messages import prints
from texthead.comparison import Comparison, Division
from texthead.evaluation import Evaluation
from texthead.intervals import wilson_interval

PAIR = items(("x", "a", "test"), ("y", "b", "test"))
A, B = [1.0, 0.0], [0.0, 1.0]


def result(scores: list[list[float]], targets: list[int]) -> Evaluation:
    """An evaluation of two classes."""
    paths = [Path(f"{i}.png") for i in range(len(targets))]
    return Evaluation(("a", "b"), paths, torch.tensor(targets), torch.tensor(scores))


def show(table: Comparison, capsys: pytest.CaptureFixture) -> tuple[str, list[str]]:
    """Print the table; return the output and the lines that name both methods."""
    table.show()
    out = capsys.readouterr().out
    return out, [line for line in out.splitlines() if "simple" in line and "this run" in line]


def test_the_method_that_leads_is_named(capsys):
    table = Comparison(Division(PAIR, None, PAIR, "test"), ["a", "b"])
    table.add("simple", result([A, B], [0, 1]))
    table.add("this run", result([A, A], [0, 1]))
    out, (lead,) = show(table, capsys)
    prints(lead, "50.0")
    assert "test" in out.splitlines()[0]
    table.rows.reverse()
    assert not show(table, capsys)[1]
    assert table.pairs()[1][1].startswith("100.0 % of 2 (")


def test_a_lead_below_the_table_s_precision_is_not_named(capsys):
    table = Comparison(Division(PAIR, None, PAIR, "test"), ["a", "b"])
    table.add("simple", result([A] * 3000, [0] * 3000))
    table.add("this run", result([A] * 3000, [0] * 2999 + [1]))
    assert not show(table, capsys)[1]


def test_intervals_count_scenes(capsys):
    data = items(*((f"x{i}", "a" if i < 4 else "b", "test") for i in range(8)))
    scenes = replace(data, items=tuple(replace(item, group=f"scene {i // 2}") for i, item in enumerate(data.items)))
    evaluation = result([A] * 6 + [B] * 2, [0] * 4 + [1] * 4)
    table = Comparison(Division(scenes, None, scenes, "test"), ["a", "b"])
    table.add("alone", evaluation)
    table.add("in scenes", replace(evaluation, groups=scenes.groups))
    out, _ = show(table, capsys)
    prints(out, "intervals", 4)
    # Six right of eight; or three of four scenes, whose error is that of three items alone.
    for (low, high), (_, text) in zip((wilson_interval(6, 8), wilson_interval(2.25, 3)), table.pairs(), strict=True):
        assert f"{low:.1f}-{high:.1f}" in out
        assert f"{low:.1f}-{high:.1f}" in text
