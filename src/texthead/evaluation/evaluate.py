"""Evaluate a model: features of views -> scores -> exact counts."""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from texthead.data.dataset import Dataset
from texthead.data.protocol import Protocol
from texthead.errors import MediaError, RunError
from texthead.evaluation.results import Evaluation, evaluation_for
from texthead.features.reading import ReadOptions, check_any, readable
from texthead.features.views import item_features
from texthead.models.recognizer import Recognizer
from texthead.parallel.progress import Reporter
from texthead.recipes import Pooling

# Items scored at once.
_CHUNK = 256


def average_views(
    features: Float[Tensor, "items views dim"], head: nn.Module, *, pooling: Pooling = "features"
) -> Float[Tensor, "items classes"]:
    """Return the scores of each item from the features of its views.

    "features" averages before the head, as the published code does; "logits" and "probabilities" average after it
    (probabilities are returned as logarithms, so that softmax of the result gives them; for multi-label data as
    log-odds, so that its sigmoid does).

    Source: Sec. 4.1, multiple views; Tables 5 and 7.
    """
    if pooling == "features":
        return head(features.mean(dim=1))
    scores = head(features)
    if pooling == "logits":
        return scores.mean(dim=1)
    if getattr(head, "multilabel", False):
        # The log-odds of the mean, from logarithms, since a probability near 1 is rounded to 1.
        return F.logsigmoid(scores).logsumexp(1) - F.logsigmoid(-scores).logsumexp(1)
    # In log space, since small probabilities would be rounded to 0.
    return scores.log_softmax(-1).logsumexp(1) - math.log(scores.shape[1])


@dataclass(frozen=True)
class ItemScores:
    """The scores of the readable items of a dataset, and the errors of the others."""

    items: Dataset
    scores: Float[Tensor, "items classes"]
    skipped: list[MediaError] = field(default_factory=list)


def score(
    model: Recognizer,
    dataset: Dataset,
    protocol: Protocol,
    reading: ReadOptions = ReadOptions(),
    reporter: Reporter = Reporter(),
    title: str = "score",
) -> ItemScores:
    """Return the scores of each item.

    Of several processes all must call it; each gets the whole result.

    Args:
        title: title of the progress bar.

    Raises:
        MediaError: a file cannot be read and `reading` does not skip such files.
        DataError: no file can be read.
    """
    paths, rows = dataset.paths, list[Tensor]()
    waiting: list[Tensor] = []
    positions: list[int] = []
    errors: list[MediaError] = []
    for position, entry in enumerate(item_features(model, paths, protocol, reading, reporter, title)):
        if isinstance(entry, MediaError):
            errors.append(entry)
            continue
        positions.append(position)
        waiting.append(entry)
        # Whole chunks only, so that items are grouped as in `head_scores` of all at once.
        if len(waiting) == _CHUNK:
            rows.append(head_scores(model, torch.stack(waiting), pooling=protocol.pooling))
            waiting.clear()
    readable(errors, skip=reading.skip_unreadable)
    check_any(paths, positions, errors)
    if waiting:
        rows.append(head_scores(model, torch.stack(waiting), pooling=protocol.pooling))
    return ItemScores(dataset.select(positions), torch.cat(rows), errors)


@torch.inference_mode()
def head_scores(
    model: Recognizer, features: Float[Tensor, "items views dim"], *, pooling: Pooling
) -> Float[Tensor, "items classes"]:
    """Return the scores of each item from the features of its views, on the CPU.

    Raises:
        RunError: the best score of an item is not finite.
    """
    model.eval()
    head_device = next(model.head.parameters()).device
    # In chunks to limit memory: a head of several templates has several scores per item, view and class.
    chunks = (chunk.to(head_device) for chunk in features.split(_CHUNK))
    scores = torch.cat([average_views(chunk, model.head, pooling=pooling).float().cpu() for chunk in chunks])
    # Single scores of minus infinity are allowed.
    bad = int((~scores.amax(1).isfinite()).sum())
    if bad:
        raise RunError(
            f"the scores of {bad} of {len(scores)} items are not finite: the model's weights overflow; train again or "
            "restore the run from a copy"
        )
    return scores


def evaluate(
    model: Recognizer,
    dataset: Dataset,
    protocol: Protocol | None = None,
    reading: ReadOptions = ReadOptions(),
    *,
    reporter: Reporter = Reporter(),
) -> Evaluation:
    """Evaluate the model on every readable item, each exactly once on any number of processes.

    All processes must call it, with the same model and data; each gets the whole result. The model is left in
    evaluation mode.

    Args:
        protocol: frames, views and sizes; the encoder's own if None. Pass `run.protocol` for those of a run.
        reporter: gets progress and messages.

    Raises:
        DataError: the head has no row for a label.
        MediaError: an item cannot be read and `reading` does not skip such items.
    """
    dataset.targets(model.names)  # Checks the labels before anything is encoded.
    scored = score(model, dataset, protocol or model.protocol, reading, reporter, "evaluate")
    targets = scored.items.targets(model.names)
    return evaluation_for(model.head, scored.items, targets, scored.scores, scored.skipped)
