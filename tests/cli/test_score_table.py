"""The table names the leading method, whichever it is."""

from pathlib import Path

import pytest
import torch

from made import items
from messages import prints
from texthead.cli.console import console
from texthead.cli.score_table import show_scores
from texthead.data.division import Division
from texthead.evaluation.results import Evaluation
from texthead.transfer.baselines import ScoreTable

PAIR = items(("x", "a", "test"), ("y", "b", "test"))
A, B = [1.0, 0.0], [0.0, 1.0]


def result(scores: list[list[float]], targets: list[int]) -> Evaluation:
    """Return an evaluation of two classes."""
    paths = [Path(f"{i}.png") for i in range(len(targets))]
    return Evaluation(("a", "b"), paths, torch.tensor(targets), torch.tensor(scores))


def leads(capsys: pytest.CaptureFixture, *rows: tuple[str, Evaluation]) -> list[str]:
    """Print a table; return the lines that name both methods."""
    table = ScoreTable(Division(PAIR, None, PAIR, "test"))
    table.rows = list(rows)
    show_scores(table)
    lines = capsys.readouterr().out.splitlines()
    assert "test images are correct" in lines[0]
    return [line for line in lines if all(name in line for name, _ in rows)]


def test_the_method_that_leads_is_named(capsys):
    simple, own = ("simple", result([A, B] * 9, [0, 1] * 9)), ("this run", result([A, A] * 9, [0, 1] * 9))
    (line,) = leads(capsys, simple, own)
    prints(line, "50.0")
    assert leads(capsys, own, simple) == []
    # A lead that may be chance is not reported.
    simple, own = result([A] * 3000, [0] * 3000), result([A] * 2999 + [B], [0] * 3000)
    assert leads(capsys, ("simple", simple), ("this run", own)) == []


def test_unequal_classes_get_their_mean(capsys):
    """The run has 80 of 90 items right, and 50 % in the mean over classes; the other method 60, and 81 %."""
    targets = [0] * 80 + [1] * 10
    own, other = result([A] * 90, targets), result([A] * 50 + [B] * 40, targets)
    train = items(*((f"t{i}", "a", "train") for i in range(12)), ("u", "b", "train"))
    table = ScoreTable(Division(train, None, PAIR, "test"))
    table.rows = [("simple", other), ("this run", own)]
    with console.screen(verbose=True):
        show_scores(table)
    out = capsys.readouterr().out
    mean = "{:.1f} ({:.1f}-{:.1f})".format(*own.class_mean)
    assert mean.startswith("50.0 (")
    assert f"mean over classes {mean}" in " ".join(out.split())
    assert f"mean over classes {mean.replace(' (', ' % (')}" in repr(own)
    # Ahead on top-1 is the run, in the mean over classes the other.
    (lead,) = (line for line in out.splitlines() if "is ahead" in line)
    assert lead.startswith("simple is ahead of this run by 31.2 points in the mean over classes")
    # Balanced items print as before.
    table.rows = [("this run", result([A, B], [0, 1]))]
    show_scores(table)
    assert "mean over classes" not in capsys.readouterr().out
