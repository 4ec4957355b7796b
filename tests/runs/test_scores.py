"""The final score of a run is what was printed, and what is no score is refused."""

import json
from pathlib import Path

import pytest
import torch

from texthead.errors import RunError
from texthead.evaluation.evaluate import Evaluation
from texthead.evaluation.intervals import grouped_interval
from texthead.runs.scores import Score, Scores, read_scores, write_scores


def found() -> Evaluation:
    scores = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    paths = [Path(f"{i}.png") for i in range(4)]
    return Evaluation(("a", "b"), paths, torch.tensor([0, 0, 1, 1]), scores, groups=["x", "x", "y", "y"])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert read_scores(tmp_path) is None
    own = Score.of("this run", found())
    assert (own.items, own.top1, own.top5) == (4, 75.0, 100.0)
    assert (own.low, own.high) == grouped_interval(found().right, ["x", "x", "y", "y"])
    whole = Scores("test", (own._replace(method="zero-shot"), own))
    write_scores(tmp_path, whole)
    assert read_scores(tmp_path) == whole


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        '{"scored": "test", "methods": []}',
        '{"scored": "test", "methods": [{}]}',
        '{"scored": "test", "methods": 3}',
        '{"scored": "test", "methods": [3]}',
    ],
)
def test_what_holds_no_scores_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(RunError, match=r"scores\.json"):
        read_scores(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("top1", 101), ("top1", float("nan")), ("low", -1), ("items", 0), ("items", None), ("items", 1e999), ("top5", [])],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, key: str, value: object) -> None:
    entry = {**Score.of("this run", found())._asdict(), key: value}
    (tmp_path / "scores.json").write_text(json.dumps({"scored": "test", "methods": [entry]}))
    with pytest.raises(RunError, match="holds no scores"):
        read_scores(tmp_path)
