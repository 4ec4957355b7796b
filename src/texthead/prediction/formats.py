"""Predictions as JSON and CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from texthead.evaluation.calibration import Calibration
from texthead.text.class_names import NONE

CSV_COLUMNS = ("path", "rank", "name", "probability", "error")


@dataclass(frozen=True)
class Prediction:
    """The top classes of one file with their probabilities (0-1), best first; or an error if it could not be read.

    With a rejection threshold, `accepted` is False if the highest probability is not above it. With a level, `answer`
    is the most specific name that reaches it, with its probability, and `accepted` is False if none does. The
    prediction set, if requested, is the first `set_size` names of `top`. For multi-label data, the first `num_labels`
    names of `top`, which may be none, are those above their thresholds.
    """

    path: Path
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    accepted: bool = True
    set_size: int | None = None
    num_labels: int | None = None
    answer: tuple[str, float] | None = None

    @property
    def answer_name(self) -> str | None:
        """The answer: a broader name, or the best class; None for none of these."""
        return (self.answer or self.top[0])[0] if self.accepted and self.top and self.num_labels != 0 else None

    @property
    def labels(self) -> tuple[tuple[str, float], ...]:
        """The classes that the file is assigned, with their probabilities: none for a broader name."""
        if self.num_labels is not None:
            return self.top[: self.num_labels]
        return () if self.displayed_answer else self.top[:1]

    @property
    def displayed_answer(self) -> str:
        """The text that replaces the best class as the answer: none of these, or a broader name; empty if none does."""
        if not self.accepted or self.num_labels == 0:
            return NONE
        if self.answer is None or self.answer[0] == self.top[0][0]:
            return ""
        return f"{100 * self.answer[1]:.1f} % {self.answer[0]}"


def json_entry(prediction: Prediction, calibration: Calibration | None = None) -> dict[str, Any]:
    """Return the prediction for JSON, with unrounded probabilities; an error only if there is one.

    For a calibrated run, includes the temperature, and the answer (null for none of these) and prediction set if any.
    """
    top = [{"name": name, "probability": value} for name, value in prediction.top]
    entry: dict[str, Any] = {"path": str(prediction.path), "top": top}
    if prediction.error:
        return entry | {"error": prediction.error}
    if calibration is not None:
        entry |= {"temperature": calibration.temperature} if calibration.items else {}
        if calibration.answers_differ:
            entry["answer"] = prediction.answer_name
        if prediction.answer is not None:
            entry["answer_probability"] = prediction.answer[1]
    if prediction.num_labels is not None:
        entry["labels"] = [name for name, _ in prediction.labels]
    if prediction.set_size is not None:
        entry["set"] = [name for name, _ in prediction.top[: prediction.set_size]]
    return entry


def csv_columns(calibration: Calibration | None, *, sets: bool, multilabel: bool = False) -> tuple[str, ...]:
    """Return the CSV columns: "answer" only with a threshold or a level, "in_set" only with `sets`.

    Args:
        multilabel: whether a file may have several labels, so that there is a column "chosen".
    """
    answer = ("answer",) if calibration and calibration.answers_differ else ()
    return (*CSV_COLUMNS, *answer, *(("in_set",) if sets else ()), *(("chosen",) if multilabel else ()))


def csv_rows(prediction: Prediction, columns: Sequence[str]) -> list[tuple[object, ...]]:
    """Return the CSV rows: one per class of `top`, or one with the error.

    "answer" is in the first row: the best class, a broader name, or "none of these".
    """
    rows = [{"error": prediction.error}] if prediction.error else []
    for rank, (name, probability) in enumerate(prediction.top, 1):
        row = {"rank": rank, "name": name, "probability": f"{probability:.6f}"}
        row["answer"] = "" if rank > 1 else prediction.answer_name or NONE
        row["in_set"] = "yes" if rank <= (prediction.set_size or 0) else "no"
        row["chosen"] = "yes" if rank <= (prediction.num_labels or 0) else "no"
        rows.append(row)
    return [tuple({"path": prediction.path, **row}.get(column, "") for column in columns) for row in rows]
