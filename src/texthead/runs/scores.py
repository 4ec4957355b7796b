"""The final score of a run and of what stands beside it, as the run's folder keeps them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from texthead.errors import RunError
from texthead.evaluation.evaluate import Evaluation
from texthead.files import read_json, write_json

# In a run's folder.
NAME = "scores.json"


class Score(NamedTuple):
    """A method on the scored items, in percent; the calibration error in points.

    Attributes:
        items: how many were scored.
        low, high: the 95 % interval of top-1, which takes groups of items into account.
        calibration_error: the expected one, of the probabilities as the head gives them.
    """

    method: str
    items: int
    top1: float
    low: float
    high: float
    top5: float
    calibration_error: float

    @classmethod
    def of(cls, method: str, result: Evaluation) -> "Score":
        """That of an evaluation."""
        return cls(method, result.count, result.top1, *result.interval, result.top5, result.calibration_error)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Score":
        """What stands in a file.

        Raises:
            KeyError, TypeError, ValueError: something else.
        """
        numbers = [float(value[key]) for key in ("top1", "low", "high", "top5", "calibration_error")]
        found = cls(str(value["method"]), int(value["items"]), *numbers)
        if found.items < 1 or not all(0 <= number <= 100 for number in numbers):
            raise ValueError(f"out of range: {found}")
        return found


class RunScores(NamedTuple):
    """What was scored ("test", "val" or "held-out") and each method's score; the run's own is the last."""

    scored: str
    methods: tuple[Score, ...]


def write_scores(folder: Path, found: RunScores) -> None:
    """Into the run's folder, whole or not at all."""
    write_json(folder / NAME, {"scored": found.scored, "methods": [score._asdict() for score in found.methods]})


def read_scores(folder: Path) -> RunScores | None:
    """What the folder holds; None where the run was not scored at its end.

    Raises:
        RunError: the file holds something else.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    value = read_json(path)
    try:
        methods = tuple(Score.from_json(each) for each in value["methods"])
        if not methods:
            raise ValueError("no method")
        return RunScores(str(value["scored"]), methods)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RunError(f"{path}: holds no scores ({error!r}): restore the file, or remove it to do without") from None
