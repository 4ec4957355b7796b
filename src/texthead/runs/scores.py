"""Write and read `scores.json`: the final scores of a run and of its baselines."""

from pathlib import Path
from typing import NamedTuple

from texthead.errors import from_json
from texthead.evaluation.intervals import Rate
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.files import read_json, write_json
from texthead.runs.saved import in_file

SCORES = "scores.json"


class Score(NamedTuple):
    """The score of one method, in percent; the calibration error in points.

    Attributes:
        items: number of scored items.
        low, high: the 95 % interval of top-1, which takes groups of items into account.
        class_mean: the mean of the classes' recalls, and its interval.
        calibration_error: expected calibration error of the head's uncalibrated probabilities.
    """

    metric = "top-1"

    method: str
    items: int
    top1: float
    low: float
    high: float
    class_mean: Rate
    top5: float
    calibration_error: float

    @property
    def rate(self) -> Rate:
        """Top-1 and its interval."""
        return self.top1, self.low, self.high


class MultiLabelScore(NamedTuple):
    """The score of one method on multi-label data, in percent; the calibration error in points.

    Attributes:
        items: number of scored items.
        mean_ap, low, high: mAP over classes, and its 95 % interval.
        item_ap: mAP over items.
        f1, macro_f1: F1 at the thresholds, over all answers and as a mean over classes.
        exact: subset accuracy. All four have their intervals.
        calibration_error: expected calibration error of the answers' probabilities.
    """

    metric = "mAP"

    method: str
    items: int
    mean_ap: float
    low: float
    high: float
    item_ap: Rate
    f1: Rate
    macro_f1: Rate
    exact: Rate
    calibration_error: float

    @property
    def rate(self) -> Rate:
        """mAP and its interval."""
        return self.mean_ap, self.low, self.high


def score_of(method: str, result: Evaluation) -> Score | MultiLabelScore:
    """Return the score of an evaluation."""
    if isinstance(result, MultiLabelEvaluation):
        rates = *result.rate, result.item_ap, result.f1, result.macro_f1, result.exact
        return MultiLabelScore(method, result.count, *rates, result.calibration_error)
    rates = result.top1, *result.interval, result.class_mean, result.top5
    return Score(method, result.count, *rates, result.calibration_error)


class RunScores(NamedTuple):
    """The scored items ("test", "val" or "held-out") and the score of each method; the run's own is last."""

    scored: str
    methods: tuple[Score | MultiLabelScore, ...]


def write_scores(folder: Path, scores: RunScores) -> None:
    """Write `scores.json` to the run's folder, atomically."""
    write_json(folder / SCORES, {"scored": scores.scored, "methods": [score._asdict() for score in scores.methods]})


def read_scores(folder: Path) -> RunScores | None:
    """Read `scores.json`; None if the run was not scored after training.

    Raises:
        RunError: the file is not valid.
    """
    path = folder / SCORES
    if not path.is_file():
        return None
    value = read_json(path)
    with in_file(path):
        methods = [from_json(MultiLabelScore if "mean_ap" in each else Score, each) for each in value["methods"]]
        return RunScores(str(value["scored"]), tuple(methods))
