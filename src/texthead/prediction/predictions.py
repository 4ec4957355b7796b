"""Predictions of files: from their features and scores, as JSON and as CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead.errors import MediaError
from texthead.evaluation.broader_names import name_probabilities
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.evaluate import head_scores
from texthead.models.recognizer import Recognizer
from texthead.parallel.progress import Reporter
from texthead.recipes import Pooling
from texthead.text.class_names import NONE
from texthead.transfer.transductive import refine

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


# ---- from features and scores


def refined_scores(
    model: Recognizer,
    entries: Sequence[Float[Tensor, "views dim"] | MediaError],
    scores: Float[Tensor, "files classes"],
    calibration: Calibration | None,
    reporter: Reporter,
) -> Float[Tensor, "files classes"]:
    """Return the scores after `refine` on all readable files as one batch; note if few classes occur in it."""
    read = [position for position, entry in enumerate(entries) if isinstance(entry, Tensor)]
    features = torch.stack([entry.mean(0) for entry in entries if isinstance(entry, Tensor)])
    assert isinstance(model.head.weight, Tensor)
    rows = model.head.weight.detach().cpu()
    # A head may score each frame: then a file's feature is that of its frames one after the other.
    features = features.unflatten(1, (-1, rows.shape[1])).mean(1)
    center = getattr(model.head, "center", None)
    features = F.normalize(features - (features.mean(0) if center is None else center.cpu()), dim=-1)
    prior = scores if calibration is None else calibration.apply(scores)
    refined = refine(prior[read], features, rows)
    if note := refined.note():
        reporter.note(note)
    return scores.index_copy(0, torch.tensor(read), refined.scores.to(scores.dtype))


def entry_scores(
    model: Recognizer, entries: Sequence[Float[Tensor, "views dim"] | MediaError], pooling: Pooling
) -> tuple[Float[Tensor, "files classes"], list[str | None]]:
    """Return (scores per file, NaN if unreadable; problem per file or None)."""
    scores = torch.full((len(entries), len(model.names)), torch.nan)
    for row, entry in zip(scores, entries, strict=True):
        if not isinstance(entry, MediaError):
            # One file at a time, because the last bits of a matrix product depend on its number of rows.
            row.copy_(head_scores(model, entry[None], pooling=pooling)[0])
    return scores, [entry.problem if isinstance(entry, MediaError) else None for entry in entries]


def predictions_of(
    names: tuple[str, ...],
    paths: Sequence[Path],
    scores: Float[Tensor, "files classes"],
    problems: Sequence[str | None],
    *,
    top: int,
    calibration: Calibration | None = None,
    sets: bool = False,
    thresholds: Float[Tensor, " classes"] | None = None,
) -> list[Prediction]:
    """Return the prediction of each file from its scores or its problem.

    Args:
        thresholds: for multi-label data, the smallest log-odds at which it has a class.
    """
    probabilities = (scores if calibration is None else calibration.apply(scores)).softmax(dim=-1)
    accepted = [True] * len(paths) if calibration is None else calibration.accepts(scores).tolist()
    answers: list[tuple[str, float] | None] = [None] * len(paths)
    if calibration and calibration.level:
        every, given = (*names, *calibration.level.broader), calibration.answers(scores).tolist()
        values = name_probabilities(probabilities, calibration.level.broader)
        answers = [(every[name], float(values[i, name])) if name >= 0 else None for i, name in enumerate(given)]
        accepted = [answer is not None for answer in answers]
    sizes = calibration.prediction_sets(scores).sum(1).tolist() if sets and calibration else [None] * len(paths)
    # Sorted by score, because probabilities can be equal (0 or 1) where scores are not.
    order = scores.argsort(dim=-1, descending=True, stable=True)
    num_labels: list[int | None] = [None] * len(paths)
    if thresholds is not None:
        # The classes above their thresholds first.
        yes, probabilities = scores >= thresholds, scores.sigmoid()
        order = order.gather(1, yes.gather(1, order).int().argsort(dim=-1, descending=True, stable=True))
        num_labels = yes.sum(1).tolist()
    result: list[Prediction] = []
    for i, (path, problem) in enumerate(zip(paths, problems, strict=True)):
        if problem is not None:
            result.append(Prediction(path, error=problem))
            continue
        indices = order[i, : max(top, sizes[i] or 0, num_labels[i] or 0)].tolist()
        pairs = tuple((names[index], float(probabilities[i, index])) for index in indices)
        result.append(Prediction(path, pairs, None, accepted[i], sizes[i], num_labels[i], answers[i]))
    return result
