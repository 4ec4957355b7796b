"""The scores of a test: exact counts, every item once."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from texthead.data.dataset import Dataset
from texthead.data.labels import Targets, are_unbalanced
from texthead.errors import DataError, MediaError
from texthead.evaluation.classes import ClassRow, class_rows, class_weights
from texthead.evaluation.intervals import (
    Rate,
    binomial_interval,
    grouped_interval,
    independent_items,
    lead_interval,
    paired_interval,
    rate_of,
)
from texthead.evaluation.reliability import confidences, expected_calibration_error, group_numbers
from texthead.media.paths import fingerprints


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores and exact counts of a test, every item once.

    `groups` holds the group of each item, for intervals that treat items of one group as dependent; None if all are
    independent.
    """

    metric: ClassVar[str] = "top-1"

    names: tuple[str, ...]
    paths: list[Path]
    targets: Int[Tensor, " items"]
    scores: Float[Tensor, "items classes"]
    skipped: list[MediaError] = field(default_factory=list)
    groups: list[str] | None = None

    def __repr__(self) -> str:
        scored = f"{self.count} items of {len(self.names)} classes"
        about = "{} {:.1f} %, 95 % CI {:.1f}-{:.1f}".format(self.metric, *self.rate)
        mean = ", mean over classes {:.1f} % ({:.1f}-{:.1f})".format(*self.class_mean) if self.sizes_differ else ""
        return f"Evaluation({scored}, {about}{mean})"

    @property
    def rate(self) -> Rate:
        """The metric in percent, and its 95 % interval (`intervals.grouped_interval`)."""
        return self.top1, *grouped_interval(self.right, self.groups)

    def lead_over(
        self, other: "Evaluation", groups: Sequence[Hashable], weights: Float[np.ndarray, " items"] | None = None
    ) -> Rate:
        """Return by how many points the metric is above another's on the same items, and its 95 % interval.

        Args:
            groups: the group of each item.
            weights: what each item counts in the mean; None if all count the same.
        """
        first, second = self.right, other.right
        points = np.average(first, weights=weights) - np.average(second, weights=weights)
        return 100 * float(points), *lead_interval(first & ~second, second & ~first, groups, weights)

    def select(self, indices: Sequence[int]) -> "Evaluation":
        """Return the result on the items at the given indices."""
        rows, paths = torch.tensor(indices, dtype=torch.long), [self.paths[position] for position in indices]
        groups = self.groups and [self.groups[position] for position in indices]
        return replace(self, paths=paths, targets=self.targets[rows], scores=self.scores[rows], groups=groups)

    def without(self, content: Collection[str]) -> "Evaluation | None":
        """Return the result on items whose fingerprint is not among these: itself if all are, None if none is."""
        new = [index for index, each in enumerate(fingerprints(self.paths)) if each not in content]
        return self if len(new) == self.count else self.select(new) if new else None

    @property
    def count(self) -> int:
        """Number of items that were scored."""
        return len(self.targets)

    def top(self, k: int) -> float:
        """Percent of items whose label is among the k best scores; of equal scores the first are best."""
        best = self.scores.argsort(dim=1, descending=True, stable=True)[:, :k]
        best = best.where(self.scores.gather(1, best) > -torch.inf, -1)  # A class of probability 0 is no answer.
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
    def predicted(self) -> Int[np.ndarray, " items"] | Bool[np.ndarray, "items classes"]:
        """The index of the best score of each item; for multi-label data, which classes it is assigned."""
        return self.scores.argmax(1).numpy()

    @property
    def right(self) -> Bool[np.ndarray, " items"]:
        """Whether each item's label has the best score; with several, whether it is assigned exactly its labels."""
        hits = self.predicted == self.targets.numpy()
        return hits.all(axis=tuple(range(1, hits.ndim)))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the metric in percent."""
        return self.rate[1:]

    @property
    def class_mean(self) -> Rate:
        """The mean of the classes' recalls as (percent, low, high); classes without items do not count."""
        return rate_of(self.right, self.groups, class_weights(self.targets.numpy()))

    @property
    def sizes_differ(self) -> bool:
        """Whether classes differ in size, so that `class_mean` tells more than top-1."""
        return are_unbalanced(self.targets.bincount().tolist())

    @property
    def classes(self) -> list[ClassRow]:
        """Results of each class, in the order of `names`; for multi-label data at its threshold."""
        return class_rows(self.targets.numpy(), self.predicted, self.names, self.groups)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, in points 0-100."""
        return expected_calibration_error(confidences(self.scores.double()).numpy(), self.right)

    def confusion(self) -> np.ndarray:
        """Return the confusion matrix: counts of (true class, predicted class)."""
        classes = len(self.names)
        cells = self.targets * classes + self.scores.argmax(1)
        return torch.bincount(cells, minlength=classes * classes).view(classes, classes).numpy()


def average_precision(
    scores: Float[np.ndarray, " items"], positive: Bool[np.ndarray, " items"]
) -> tuple[float, Float[np.ndarray, " items"]]:
    """Return the average precision (0-1) of one class, and the influence of each item on it.

    It is scikit-learn's: items with equal scores share a rank. The influence is the derivative with respect to the
    item's weight, which is 1; all sum to 0.

    Args:
        positive: which items have the class, at least one.
    """
    order, total = np.argsort(-scores, kind="stable"), positive.sum()
    ends = np.flatnonzero(np.diff(scores[order], append=np.inf))
    rank = np.empty(len(order), int)
    rank[order] = np.searchsorted(ends, np.arange(len(order)))
    seen, found = ends + 1, np.cumsum(positive[order])[ends]
    precision, own = found / seen, np.diff(found, prepend=0)
    value = float((own * precision).sum() / total)
    # An item counts at its own rank and at all later ones.
    gain, loss = (np.cumsum((each / seen)[::-1])[::-1] for each in (own, own * precision))
    influence = positive * (precision[rank] + gain[rank] - value) - loss[rank]
    return value, influence / total


class Estimate(NamedTuple):
    """A statistic in percent, from the labels of items.

    Attributes:
        influence: each item's influence on it: the derivative with respect to the item's weight.
        labels: number of independent labels that it is measured on, which limits what it can tell; for a mean over
            classes the number if all had as many, with the same error.
    """

    value: float
    influence: Float[np.ndarray, " items"]
    labels: float

    def rate(self, groups: Sequence[Hashable]) -> Rate:
        """Return the value and its 95 % interval, which holds what tests of this size have on average.

        It is the `binomial_interval` of the number of `independent_items`, at most that of the labels.
        """
        share = self.value / 100
        items = min(independent_items(self._values, share * (1 - share), groups), self.labels)
        return self.value, *binomial_interval(share * items, items)

    def lead_over(self, other: "Estimate", groups: Sequence[Hashable]) -> Rate:
        """Return by how much it is above another of the same labels, and the 95 % interval (`paired_interval`)."""
        lead = Estimate(self.value - other.value, self.influence - other.influence, self.labels)
        values, points = lead._values, lead.value / 100
        variance = float(values.var())
        items = independent_items(values, variance, groups)
        labels = min(items, self.labels)
        # The share of labels that differ which gives the same error.
        differ = max(variance * labels / items + points**2, abs(points)) if items else 0.0
        ahead, behind = (labels * (differ + side * points) / 2 for side in (1, -1))
        return lead.value, *paired_interval(ahead, behind, labels)

    @property
    def _values(self) -> Float[np.ndarray, " items"]:
        """Values of the items whose mean is the statistic, with the same error."""
        return (self.value + len(self.influence) * self.influence) / 100


@dataclass(frozen=True, repr=False)
class MultiLabelEvaluation(Evaluation):
    """The same for multi-label items: `targets` says which classes an item has, `scores` are log-odds.

    Args:
        thresholds: log-odds from which on an item is assigned a class.
    """

    metric: ClassVar[str] = "mAP"

    targets: Bool[Tensor, "items classes"]
    thresholds: Float[Tensor, "*rows classes"] | float = 0.0

    @property
    def predicted(self) -> Bool[np.ndarray, "items classes"]:
        """Which classes each item is assigned."""
        return (self.scores >= self.thresholds).numpy()

    @property
    def _groups(self) -> Sequence[Hashable]:
        return self.groups or range(self.count)

    @property
    def margins(self) -> Float[Tensor, "items classes"]:
        """How far each score is from the threshold, in log-odds."""
        return (self.scores - self.thresholds).abs()

    @cached_property
    def _precisions(self) -> list[Any]:
        """The average precision of each class and its derivatives; None for a class without items."""
        pairs = zip(self.scores.double().numpy().T, self.targets.numpy().T, strict=True)
        return [average_precision(*pair) if pair[1].any() else None for pair in pairs]

    def _labels(self, has: Bool[np.ndarray, "items classes"]) -> float:
        """Return the number of independent labels, one per class and group; see `Estimate`."""
        numbers = group_numbers(self.groups, self.count)
        counts = np.array([len(np.unique(numbers[own])) for own in has.T if own.any()])
        return len(counts) ** 2 / float((1 / counts).sum()) if len(counts) else 0.0

    @property
    def class_ap(self) -> list[Rate | None]:
        """The average precision of each class in percent, and its 95 % interval; None for a class without items."""
        labels = [self._labels(own[:, None]) for own in self.targets.numpy().T]
        pairs = zip(self._precisions, labels, strict=True)
        return [each and Estimate(100 * each[0], 100 * each[1], count).rate(self._groups) for each, count in pairs]

    @cached_property
    def mean_ap(self) -> Estimate:
        """The mean of the classes' average precisions; classes without items do not count.

        Raises:
            DataError: no item has a class.
        """
        every = [each for each in self._precisions if each]
        if not every:
            raise DataError(f"none of {self.count} scored items has a class of the model: mAP needs one that has")
        value, influence = float(np.mean([each[0] for each in every])), np.mean([each[1] for each in every], axis=0)
        return Estimate(100 * value, 100 * influence, self._labels(self.targets.numpy()))

    @property
    def rate(self) -> Rate:
        """mAP over classes in percent, and its 95 % interval."""
        return self.mean_ap.rate(self._groups)

    def lead_over(
        self, other: Evaluation, groups: Sequence[Hashable], weights: Float[np.ndarray, " items"] | None = None
    ) -> Rate:
        """Return the lead in mAP; arguments as for one label, without weights."""
        assert isinstance(other, MultiLabelEvaluation)
        return self.mean_ap.lead_over(other.mean_ap, groups)

    @cached_property
    def item_ap(self) -> Rate:
        """The mean of the items' average precisions, of those with a label: how well each item's classes are ranked."""
        pairs = zip(self.scores.double().numpy(), self.targets.numpy(), strict=True)
        values = np.array([average_precision(*pair)[0] if pair[1].any() else np.nan for pair in pairs])
        known, mean = ~np.isnan(values), float(np.nanmean(values))
        influence = np.where(known, values - mean, 0.0) / known.sum()
        return Estimate(100 * mean, 100 * influence, self._labels(known[:, None])).rate(self._groups)

    @cached_property
    def f1(self) -> Rate:
        """F1 of all binary labels together (micro) in percent, at the thresholds."""
        has, said = self.targets.numpy(), self.predicted
        return self._f1(*(each.sum(1, keepdims=True) for each in (has & said, has + 1 * said, has | said)))

    @cached_property
    def macro_f1(self) -> Rate:
        """The mean of the F1 of the classes that have items."""
        has, said = (each[:, self.targets.any(0).numpy()] for each in (self.targets.numpy(), self.predicted))
        return self._f1(has & said, has + 1 * said, has)

    def _f1(self, hits: np.ndarray, answers: np.ndarray, labels: np.ndarray) -> Rate:
        """Return the mean over columns of 2 x hits / answers, each summed over items."""
        totals = np.maximum(answers.sum(0), 1)
        values = 2 * hits.sum(0) / totals
        influence = (2 * hits - values * answers) / totals
        return Estimate(100 * float(values.mean()), 100 * influence.mean(1), self._labels(labels > 0)).rate(
            self._groups
        )

    @property
    def exact(self) -> Rate:
        """Subset accuracy: the percentage of items that are assigned exactly their labels."""
        return rate_of(self.right, self.groups)

    def top(self, k: int) -> float:
        """Raise DataError: there is no single label of an item."""
        raise DataError(f"top-{k} is for single-label data; these items are multi-label: use rate, f1 or exact")

    def confusion(self) -> np.ndarray:
        """Raise DataError: there is no single label of an item."""
        raise DataError("a confusion matrix is for single-label data; these items are multi-label: use classes")

    @property
    def class_mean(self) -> Rate:
        """mAP and its interval: it is a mean over classes."""
        return self.rate

    @property
    def sizes_differ(self) -> bool:
        """False: mAP is a mean over classes."""
        return False

    @property
    def calibration_error(self) -> float:
        """The expected calibration error of all binary labels together, in points 0-100."""
        sure = self.scores.double().sigmoid()
        return expected_calibration_error(
            torch.maximum(sure, 1 - sure).flatten().numpy(), ((sure >= 0.5) == self.targets).flatten().numpy()
        )


def joined(folds: Sequence[tuple[Sequence[int], Evaluation]]) -> Evaluation:
    """Return the evaluation of all items, given the positions of each fold's items."""
    order = np.argsort(np.concatenate([positions for positions, _ in folds])).tolist()
    every = [result for _, result in folds]
    changes: dict[str, Any] = {
        name: torch.cat([getattr(each, name) for each in every])[order] for name in ("targets", "scores")
    }
    for name in ("paths", "groups"):
        values = [value for each in every for value in getattr(each, name)]
        changes[name] = [values[index] for index in order]
    if isinstance(every[0], MultiLabelEvaluation):
        changes["thresholds"] = torch.cat([each.thresholds.expand_as(each.scores) for each in every])[order]  # pyright: ignore[reportAttributeAccessIssue]
    return replace(every[0], **changes)


def evaluation_for(
    head: nn.Module,
    items: Dataset,
    targets: Targets,
    scores: Float[Tensor, "items classes"],
    skipped: list[MediaError],
) -> Evaluation:
    """Return the evaluation of a head's scores.

    Raises:
        DataError: the items are multi-label, and the head chooses one class.
    """
    names: tuple[str, ...] = head.names  # pyright: ignore[reportAssignmentType]
    if getattr(head, "multilabel", False):
        multi_hot = targets if targets.ndim == 2 else F.one_hot(targets, len(names)).bool()
        thresholds: Tensor = head.thresholds  # pyright: ignore[reportAssignmentType]
        return MultiLabelEvaluation(names, items.paths, multi_hot, scores, skipped, items.groups, thresholds.cpu())
    if targets.ndim == 2:
        problem = "the items are multi-label, and the model chooses one class per file"
        raise DataError(f"{problem}: train a run on such data")
    return Evaluation(names, items.paths, targets, scores, skipped, items.groups)
