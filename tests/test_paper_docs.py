"""docs/paper.md names every equation, table and figure of the paper, and every name in it can be imported."""

import importlib
import json
import re
from pathlib import Path

import pytest

from paper.experiments import NAMES, label, module
from texthead.splits import unseen_classes

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
DOTTED = sorted(set(re.findall(r"`((?:texthead|paper)\.[\w.]+)`", PAGE)))


def found(dotted: str) -> object:
    """What the dotted name stands for."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            value = getattr(value, name)
        return value
    raise AssertionError(dotted)


@pytest.mark.parametrize("dotted", DOTTED)
def test_every_name_imports(dotted):
    assert found(dotted).__doc__


def test_a_name_that_is_not_there_is_noticed():
    with pytest.raises(AttributeError):
        found("texthead.heads.no_such_head")


@pytest.mark.parametrize(
    "item",
    [*(f"Eq. {i}" for i in range(1, 7)), *(f"Fig. {i}" for i in range(1, 5)), *(f"Table {i}" for i in range(1, 13))],
)
def test_every_equation_table_and_figure_has_a_line(item):
    assert re.search(rf"^\| {re.escape(item)} \|", PAGE, re.MULTILINE)


def test_every_experiment_is_on_the_page():
    assert {name.removeprefix("paper.") for name in DOTTED} >= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_has_a_lab_label(name):
    text = label(name)
    assert f"python -m paper run {name} --scale full" in text
    assert all(f"\n{word}" in text for word in ("Files", "Paper:", "Mini:"))
    assert module(name).TITLE


@pytest.mark.parametrize(("file", "classes", "unseen"), [("k300-k100", 400, 100), ("in600-in400", 1000, 400)])
def test_saved_splits_are_what_the_draw_gives(file, classes, unseen):
    saved = json.loads((ROOT / "paper" / "splits" / f"{file}.json").read_text())
    seen, left_out = unseen_classes([f"{i:04d}" for i in range(classes)], unseen, seed=saved["seed"])
    assert (saved["seen"], saved["unseen"]) == ([int(n) for n in seen], [int(n) for n in left_out])
    assert "not the paper's split" in saved["note"].lower()
