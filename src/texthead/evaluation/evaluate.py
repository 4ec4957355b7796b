"""Evaluate a model: features of views -> scores -> exact counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from texthead.data.class_shares import are_unbalanced
from texthead.data.dataset import Dataset, label_indices
from texthead.data.protocol import Pooling, Protocol
from texthead.errors import DataError, MediaError, RunError
from texthead.evaluation import class_sizes
from texthead.evaluation.class_sizes import RareClasses, rare_classes
from texthead.evaluation.confusions import ClassRow, class_rows
from texthead.evaluation.intervals import Rate, grouped_interval
from texthead.evaluation.reliability import confidences, expected_calibration_error
from texthead.features.frames import check_any, readable
from texthead.features.reading import Reading
from texthead.features.views import features_in_chunks
from texthead.models.heads import mean_probability
from texthead.models.recognizer import Recognizer
from texthead.notebook import html_table
from texthead.parallel.progress import Reporter

# Items scored at once.
_CHUNK = 256

# Classes that a notebook shows of an evaluation.
WORST = 10


def average_views(
    features: Float[Tensor, "items views dim"], head: nn.Module, *, pooling: Pooling = "features"
) -> Float[Tensor, "items classes"]:
    """Return the scores of each item from the features of its views.

    "features" averages before the head, as the published code does; "logits" and "probabilities" average after it
    (probabilities are returned as logarithms, so that softmax of the result gives them).

    Source: Sec. 4.1, multiple views; Tables 5 and 7.
    """
    if pooling == "features":
        return head(features.mean(dim=1))
    scores = head(features)
    if pooling == "logits":
        return scores.mean(dim=1)
    return mean_probability(scores, dim=1)


@dataclass(frozen=True)
class Scores:
    """Scores of the readable items, their positions in the input, and the errors of skipped files."""

    paths: list[Path]
    scores: Float[Tensor, "items classes"]
    positions: list[int]
    skipped: list[MediaError] = field(default_factory=list)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores and exact counts of a test, every item once.

    `groups` holds the group of each item, for intervals that treat items of one group as dependent; None if all are
    independent.
    """

    names: tuple[str, ...]
    paths: list[Path]
    targets: Int[Tensor, " items"]
    scores: Float[Tensor, "items classes"]
    skipped: list[MediaError] = field(default_factory=list)
    groups: list[str] | None = None

    def __repr__(self) -> str:
        scored = f"{self.count} items of {len(self.names)} classes"
        return f"Evaluation({scored}, top-1 {self.top1:.1f} %, 95 % interval {self.interval_text}{self.mean_text})"

    @property
    def count(self) -> int:
        """Number of items that were scored."""
        return len(self.targets)

    def top(self, k: int) -> float:
        """Percent of items whose label is among the k best scores."""
        best = self.scores.topk(min(k, self.scores.shape[1]), dim=1).indices
        return 100 * int((best == self.targets[:, None]).any(1).sum()) / self.count

    @property
    def top1(self) -> float:
        """Percent of items whose label has the best score."""
        return self.top(1)

    @property
    def top5(self) -> float:
        """Percent of items whose label is among the five best scores."""
        return self.top(5)

    @property
    def right(self) -> Bool[np.ndarray, " items"]:
        """Whether each item's label has the best score."""
        return (self.scores.argmax(1) == self.targets).numpy()

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of top-1 in percent (`intervals.grouped_interval`)."""
        return grouped_interval(self.right, self.groups)

    @property
    def interval_text(self) -> str:
        """The interval as text, in percent: `41.7-84.8`."""
        return "{:.1f}-{:.1f}".format(*self.interval)

    @property
    def class_mean(self) -> Rate:
        """The mean of the classes' recalls as (percent, low, high); classes without items do not count."""
        return class_sizes.class_mean(self.right, self.targets.numpy(), self.groups)

    @property
    def sizes_differ(self) -> bool:
        """Whether classes differ in size, so that `class_mean` tells more than top-1."""
        return are_unbalanced(self.targets.bincount().tolist())

    @property
    def mean_text(self) -> str:
        """The mean over classes as text to follow top-1; empty if the classes have about the same size."""
        return ", mean over classes {:.1f} % ({:.1f}-{:.1f})".format(*self.class_mean) if self.sizes_differ else ""

    def rare(self, trained: Mapping[str, int]) -> RareClasses | None:
        """Return the result on the classes with clearly fewer training items than others; None if there are none.

        Args:
            trained: training items of each class.
        """
        return rare_classes(self.right, self.targets.numpy(), self.names, self.groups, trained)

    @property
    def classes(self) -> list[ClassRow]:
        """Results of each class, in the order of `names`."""
        return class_rows(self.targets.numpy(), self.scores.argmax(1).numpy(), self.names, self.groups)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, in points 0-100."""
        return expected_calibration_error(confidences(self.scores.double()).numpy(), self.right)

    def confusion(self) -> np.ndarray:
        """Return the confusion matrix: counts of (true class, predicted class)."""
        classes = len(self.names)
        cells = self.targets * classes + self.scores.argmax(1)
        return torch.bincount(cells, minlength=classes * classes).view(classes, classes).numpy()

    def _repr_html_(self) -> str:
        """Return the scores and the worst classes, for a notebook."""
        top5 = f", top-5 {self.top5:.1f} %" if len(self.names) > 5 else ""
        top1 = f"top-1 {self.top1:.1f} % (95 % interval {self.interval_text}){self.mean_text}"
        caption = f"{top1}{top5}, {self.count} items"
        rated = sorted((row.recall[0], index) for index, row in enumerate(self.classes) if row.recall)
        rows = []
        for recall, index in rated[:WORST]:
            row = self.classes[index]
            wrong = "{} ({})".format(*row.taken_for) if row.taken_for else None
            rows.append([row.name, row.items, recall, "{1:.1f}-{2:.1f}".format(*row.recall or ()), wrong])
        notes = [f"the {WORST} worst of {len(rated)} classes"] if len(rated) > WORST else []
        if self.skipped:
            notes.append(f"{len(self.skipped)} unreadable files are not counted")
        columns = ("class", "items", "correct (%)", "95 % interval", "most often predicted instead")
        return html_table(columns, rows, caption=caption, notes=notes)


def score(
    model: Recognizer,
    paths: Sequence[Path],
    protocol: Protocol,
    reading: Reading = Reading(),
    reporter: Reporter = Reporter(),
    title: str = "score",
) -> Scores:
    """Return the scores of each file.

    Of several processes all must call it; each gets the whole result.

    Args:
        title: title of the progress bar.

    Raises:
        MediaError: a file cannot be read and `reading` does not skip such files.
        DataError: no file can be read.
    """
    rows: list[Tensor] = []
    waiting: list[Tensor] = []
    positions: list[int] = []
    errors: list[MediaError] = []
    for entries in features_in_chunks(model, paths, protocol, reading, reporter, title):
        for entry in entries:
            if isinstance(entry, MediaError):
                errors.append(entry)
                continue
            positions.append(len(positions) + len(errors))
            waiting.append(entry)
        # Whole chunks only, so that items are grouped as in `head_scores` of all at once.
        complete = len(waiting) // _CHUNK * _CHUNK
        if complete:
            rows.append(head_scores(model, torch.stack(waiting[:complete]), pooling=protocol.pooling))
            del waiting[:complete]
    readable(errors, skip=reading.skip_unreadable)
    check_any(paths, positions, errors)
    if waiting:
        rows.append(head_scores(model, torch.stack(waiting), pooling=protocol.pooling))
    return Scores([paths[i] for i in positions], torch.cat(rows), positions, errors)


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
    check_scores(scores)
    return scores


def check_scores(scores: Float[Tensor, "items classes"]) -> None:
    """Raise RunError if the best score of an item is not finite; single scores of minus infinity are allowed."""
    bad = int((~scores.amax(1).isfinite()).sum())
    if bad:
        raise RunError(
            f"the scores of {bad} of {len(scores)} items are not finite: the model's weights overflow; train again or "
            "restore the run from a copy"
        )


def evaluate(
    model: Recognizer,
    dataset: Dataset,
    protocol: Protocol = Protocol(),
    reading: Reading = Reading(),
    *,
    labels: Sequence[str] | None = None,
    reporter: Reporter = Reporter(),
) -> Evaluation:
    """Evaluate the model on every readable item, each exactly once on any number of processes.

    All processes must call it, with the same model and data; each gets the whole result.

    Args:
        labels: the data's label for each row of the head; the model's names if None.
        reporter: gets progress and messages.

    Raises:
        DataError: the head has no row for a label.
        MediaError: an item cannot be read and `reading` does not skip such items.
    """
    targets = torch.tensor(label_indices(dataset, labels or model.names))
    scored = score(model, [item.path for item in dataset.items], protocol, reading, reporter, "evaluate")
    groups = dataset.pick(scored.positions).groups
    return Evaluation(model.names, scored.paths, targets[scored.positions], scored.scores, scored.skipped, groups)


def mean_average_precision(
    scores: Float[Tensor, "items classes"],
    targets: Int[Tensor, " items"] | Bool[Tensor, "items classes"],
    *,
    double_softmax: bool = False,
    absent: Literal["skip", "zero"] = "skip",
) -> float:
    """Return the mean average precision over classes, in percent 0-100.

    The average precision is scikit-learn's: items with equal scores share a rank.

    Args:
        scores: the values that rank the items of each class, usually probabilities.
        targets: each item's label, or a mask of its labels.
        double_softmax: rank by the softmax of the given probabilities, as the published code does. This keeps the order
            of the classes of an item, and so top-1, but not the order of the items of a class: the denominator
            of the second softmax differs between items. For the first class, 0.5 0.5 0 and 0.5 0.25 0.25 are tied;
            after a second softmax they are 0.384 and 0.391.
        absent: leave out classes without an item ("skip"), or count their precision as 0 ("zero").

    Source: the metric of ActivityNet; double softmax and zero for absent classes as in the published test code.
    Differs: double precision, so that small probabilities are not tied; absent classes are left out by default.

    Raises:
        DataError: no item, a label out of range, scores that are not finite, or `double_softmax` of values that are
            not probabilities.
    """
    from sklearn.metrics import average_precision_score

    ranked, hot = scores.cpu().double(), _multi_hot(targets.cpu(), scores.shape[1])
    if absent not in ("skip", "zero"):
        raise DataError(f"absent must be skip or zero, got {absent!r}")
    if not ranked.isfinite().all():
        raise DataError("scores to rank must be finite numbers: pass probabilities, scores.softmax(-1)")
    if double_softmax:
        total = ranked.sum(-1)
        if ranked.min() < 0 or (total - 1).abs().max() > 1e-3:
            raise DataError(
                f"double_softmax needs probabilities, got rows that sum to {total.min():.3g} to {total.max():.3g}: "
                "pass scores.softmax(-1)"
            )
        ranked = ranked.softmax(-1)
    present = hot.any(0).nonzero().flatten().tolist()
    precisions = [average_precision_score(hot[:, label].numpy(), ranked[:, label].numpy()) for label in present]
    return 100 * float(np.sum(precisions)) / (hot.shape[1] if absent == "zero" else len(precisions))


def _multi_hot(targets: Int[Tensor, " items"] | Bool[Tensor, "items classes"], classes: int) -> Bool[Tensor, "items _"]:
    """Return a mask of the labels of each item.

    Raises:
        DataError: no item has a label, or a label is out of range.
    """
    hot = targets
    if targets.ndim == 1 and len(targets):
        if not 0 <= int(targets.min()) <= int(targets.max()) < classes:
            raise DataError(
                f"labels must be from 0 to {classes - 1} for scores of {classes} classes, got labels from "
                f"{int(targets.min())} to {int(targets.max())}"
            )
        hot = F.one_hot(targets.long(), classes).bool()
    if not hot.any():
        raise DataError("no item has a label: average precision needs at least one")
    return hot
