"""docs/explanation/paper.md covers every equation, table and figure, and its names can be imported."""

import json
import re
from pathlib import Path

import pytest

from paper.class_draws import unseen_classes
from paper.experiments import NAMES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "paper.md").read_text(encoding="utf-8")
DOTTED = sorted(set(re.findall(r"`((?:texthead|paper)\.[\w.]+)`", PAGE)))


def test_every_equation_table_figure_and_experiment_is_on_the_page():
    for kind, last in (("Eq.", 6), ("Fig.", 4), ("Table", 12)):
        lines = [int(number) for number in re.findall(rf"^\| {re.escape(kind)} (\d+) \|", PAGE, re.MULTILINE)]
        assert {*range(1, last + 1)} <= {*lines}
    assert {name.removeprefix("paper.") for name in DOTTED} >= set(NAMES)


def test_the_summary_has_the_numbers_of_the_claims():
    evidence = (ROOT / "docs/explanation/evidence.md").read_text(encoding="utf-8")
    summary = evidence.partition("## The paper's claims\n")[2].partition("\n## ")[0]
    results = (ROOT / "paper/RESULTS.md").read_text(encoding="utf-8")
    stated = re.findall(r"\b\d+(?= claims| hold| do not| the| are undecided)", " ".join(summary.split()))
    counts = re.search(
        r"(\d+) claims in \d+ groups: holds (\d+), does not hold (\d+), equivalent (\d+), undecided (\d+)", results
    )
    assert counts
    assert stated == [*counts.groups()]
    figures = re.findall(r"[-+]?\d+\.\d+ ±\d+\.\d+", summary)
    assert len(figures) > 10
    assert all(figure in results for figure in figures)


@pytest.mark.parametrize(("file", "classes", "unseen"), [("k300-k100", 400, 100), ("in600-in400", 1000, 400)])
def test_saved_splits_are_what_the_draw_gives(file, classes, unseen):
    saved = json.loads((ROOT / "paper" / "splits" / f"{file}.json").read_text())
    seen, left_out = unseen_classes([f"{i:04d}" for i in range(classes)], unseen, seed=saved["seed"])
    assert (saved["seen"], saved["unseen"]) == ([int(n) for n in seen], [int(n) for n in left_out])
    assert "not the paper's split" in saved["note"].lower()
