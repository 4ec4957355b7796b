"""Scores and predictions of files from their features."""

from collections.abc import Sequence
from pathlib import Path

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
from texthead.prediction.formats import Prediction
from texthead.recipes import Pooling
from texthead.transfer.transductive import refine


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
