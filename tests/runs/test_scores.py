"""The final scores of a run are read back as they were printed; anything else in their file is an error."""

import json
from pathlib import Path

import pytest
import torch

from texthead.errors import RunError
from texthead.evaluation.intervals import grouped_interval
from texthead.evaluation.results import Evaluation
from texthead.runs.scores import RunScores, read_scores, score_of, write_scores

SCENES = ["x", "x", "y", "y"]
EVALUATION = Evaluation(
    ("a", "b"),
    [Path(f"{i}.png") for i in range(4)],
    torch.tensor([0, 0, 1, 1]),
    torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]),
    groups=SCENES,
)
OWN = score_of("this run", EVALUATION)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert read_scores(tmp_path) is None
    assert (OWN.items, OWN.top1, OWN.top5) == (4, 75.0, 100.0)
    assert (OWN.low, OWN.high) == grouped_interval(EVALUATION.right, SCENES)
    whole = RunScores("test", (OWN._replace(method="zero-shot"), OWN))
    write_scores(tmp_path, whole)
    assert read_scores(tmp_path) == whole


METHODS = [[{}], 3, *([{**OWN._asdict(), key: value}] for key, value in (("items", None), ("class_mean", [1, 2])))]


@pytest.mark.parametrize("content", [{}, *({"scored": "test", "methods": methods} for methods in METHODS)])
def test_what_holds_no_scores_is_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / "scores.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"scores\.json"):
        read_scores(tmp_path)
