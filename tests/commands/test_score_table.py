"""Who is ahead is said, whoever it is."""

from dataclasses import replace
from pathlib import Path

import torch

from made import items
from texthead.commands.score_table import show_table
from texthead.data.division import Division
from texthead.evaluation.evaluate import Evaluation
from texthead.evaluation.intervals import wilson_interval
from texthead.transfer.baselines import Comparison


def result(scores: list[list[float]], targets: list[int]) -> Evaluation:
    """An evaluation of two classes."""
    paths = [Path(f"{i}.png") for i in range(len(targets))]
    return Evaluation(("a", "b"), paths, torch.tensor(targets), torch.tensor(scores))


def test_comparison_says_who_is_ahead(capsys):
    data = items(("x", "a", "test"), ("y", "b", "test"))
    table = Comparison(Division(data, None, data, "test"), ["a", "b"])
    table.add("simple", result([[1.0, 0.0], [0.0, 1.0]], [0, 1]))
    table.add("this run", result([[1.0, 0.0], [1.0, 0.0]], [0, 1]))
    show_table(table)
    out = capsys.readouterr().out
    assert "simple is ahead of this run by 50.0 points on these items" in out
    assert "test items" in out
    table.rows.reverse()
    show_table(table)
    assert "ahead" not in capsys.readouterr().out
    assert table.pairs()[1][1].startswith("100.0 % of 2 (95 % interval ")


def test_a_lead_that_the_table_does_not_show_is_not_said(capsys):
    data = items(("x", "a", "test"), ("y", "b", "test"))
    table = Comparison(Division(data, None, data, "test"), ["a", "b"])
    table.add("simple", result([[1.0, 0.0]] * 3000, [0] * 3000))
    table.add("this run", result([[1.0, 0.0]] * 3000, [0] * 2999 + [1]))
    show_table(table)
    assert "ahead" not in capsys.readouterr().out


def test_intervals_count_scenes_and_say_so(capsys):
    data = items(*((f"x{i}", "a" if i < 4 else "b", "test") for i in range(8)))
    scenes = replace(data, items=tuple(replace(item, group=f"scene {i // 2}") for i, item in enumerate(data.items)))
    found = result([[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 2, [0] * 4 + [1] * 4)
    table = Comparison(Division(scenes, None, scenes, "test"), ["a", "b"])
    table.add("alone", found)
    table.add("in scenes", replace(found, groups=scenes.groups))
    show_table(table)
    out = capsys.readouterr().out
    assert "the intervals take the 4 groups of these items into account" in out
    # Six right of eight; or three of four scenes, whose error is that of three items alone.
    for (low, high), (_, told) in zip((wilson_interval(6, 8), wilson_interval(2.25, 3)), table.pairs(), strict=True):
        assert f"{low:.1f}-{high:.1f}" in out
        assert f"{low:.1f}-{high:.1f}" in told
