"""The scores of a test: exact counts, every item once."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from texthead.data.class_shares import are_unbalanced
from texthead.errors import DataError, MediaError
from texthead.evaluation.average_precision import average_precision
from texthead.evaluation.class_sizes import RareClasses, class_mean, rare_classes
from texthead.evaluation.confusions import ClassRow, class_rows
from texthead.evaluation.intervals import Rate, Z, grouped_interval, lead_interval, rate_of, wilson_interval
from texthead.evaluation.reliability import confidences, expected_calibration_error
from texthead.notebook import html_table

# Classes that a notebook shows of an evaluation.
WORST = 10

# Draws of a bootstrap.
DRAWS = 400


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
        return (
            f"Evaluation({scored}, {self.metric} {self.rate[0]:.1f} %, 95 % interval {self.interval_text}"
            f"{self.mean_text})"
        )

    @property
    def rate(self) -> Rate:
        """The metric in percent, and its 95 % interval."""
        return self.top1, *self.interval

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

    @property
    def text(self) -> str:
        """The metric, the number of items and the interval."""
        return f"{self.top1:.1f} % of {self.count} (95 % interval {self.interval_text}){self.mean_text}"

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
    def predicted(self) -> Int[np.ndarray, " items"] | Bool[np.ndarray, "items classes"]:
        """The index of the best score of each item; with several labels, which classes it is said to have."""
        return self.scores.argmax(1).numpy()

    @property
    def right(self) -> Bool[np.ndarray, " items"]:
        """Whether each item's label has the best score; with several, whether it is said to have exactly its labels."""
        hits = self.predicted == self.targets.numpy()
        return hits.all(axis=tuple(range(1, hits.ndim)))

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
        return class_mean(self.right, self.targets.numpy(), self.groups)

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
        """Results of each class, in the order of `names`; with several labels at its threshold."""
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
        notes += _unreadable(self.skipped)
        columns = ("class", "items", "correct (%)", "95 % interval", "most often predicted instead")
        return html_table(columns, rows, caption=caption, notes=notes)


def _unreadable(skipped: Sequence[MediaError]) -> list[str]:
    return [f"{len(skipped)} unreadable files are not counted"] if skipped else []


@dataclass(frozen=True, repr=False)
class SeveralEvaluation(Evaluation):
    """The same for items with several labels: `targets` says which classes an item has, `scores` are log-odds.

    Args:
        thresholds: log-odds from which on an item is said to have a class; 0 if None.
    """

    metric: ClassVar[str] = "mAP"

    targets: Bool[Tensor, "items classes"]
    thresholds: Float[Tensor, "*rows classes"] | None = None

    @property
    def predicted(self) -> Bool[np.ndarray, "items classes"]:
        """Which classes each item is said to have."""
        return (self.scores >= (0.0 if self.thresholds is None else self.thresholds)).numpy()

    @cached_property
    def _counted(self) -> Float[np.ndarray, "draws items"]:
        """How often each item counts: first once, then as in each draw of a bootstrap, in which groups stay whole."""
        numbers = np.unique(self.groups or np.arange(self.count), return_inverse=True)[1]
        count = int(numbers.max()) + 1
        drawn = np.random.default_rng(0).multinomial(count, [1 / count] * count, size=DRAWS)[:, numbers]
        return np.concatenate([np.ones((1, self.count)), drawn])

    def _rate(self, values: Float[np.ndarray, " draws"]) -> Rate:
        """Return the first value (percent) and its 95 % interval, which holds what tests of this size have on average.

        The draws give the standard error of the logit; their percentiles would be too high, since repeated items raise
        an average precision. If all draws are the same, it is Wilson's interval for the number of groups.
        """
        value = float(values[0])
        share, error = value / 100, float(values[1:].std()) / 100
        if not 0 < share < 1 or error < 1e-9:
            groups = len(set(self.groups)) if self.groups else self.count
            return value, *wilson_interval(share * groups, groups)
        width = Z * error / (share * (1 - share))
        low, high = (1 / (1 + (1 / share - 1) * math.exp(side * width)) for side in (1, -1))
        return value, 100 * low, 100 * high

    @cached_property
    def _mean_ap(self) -> Float[np.ndarray, " draws"]:
        """The mean of the classes' average precisions in each draw; classes without items do not count."""
        pairs = zip(self.scores.double().numpy().T, self.targets.numpy().T, strict=True)
        each = np.stack([average_precision(*pair, self._counted) for pair in pairs if pair[1].any()])
        return 100 * np.ma.masked_invalid(each).mean(0)

    @property
    def rate(self) -> Rate:
        """mAP over classes in percent, and its 95 % interval."""
        return self._rate(self._mean_ap)

    def lead_over(
        self, other: Evaluation, groups: Sequence[Hashable], weights: Float[np.ndarray, " items"] | None = None
    ) -> Rate:
        """Return the lead in mAP; both are drawn alike, with the groups of this evaluation."""
        assert isinstance(other, SeveralEvaluation)
        leads = self._mean_ap - other._mean_ap
        lead, half = float(leads[0]), Z * float(leads[1:].std()) if len(set(groups)) > 1 else 100.0
        return lead, lead - half, lead + half

    @cached_property
    def item_ap(self) -> Rate:
        """The mean of the items' average precisions, of those with a label: how well each item's classes are ranked."""
        pairs = zip(self.scores.double().numpy(), self.targets.numpy(), strict=True)
        values = np.array([average_precision(*pair)[0] for pair in pairs if pair[1].any()])
        counted = self._counted[:, self.targets.any(1).numpy()]
        return self._rate(100 * np.ma.divide(counted @ values, counted.sum(1)))

    @cached_property
    def _answers(self) -> tuple[Float[np.ndarray, "draws classes"], Float[np.ndarray, "draws classes"]]:
        """Twice the number of right labels of each class, and the number of its labels, true and said."""
        has, said = self.targets.numpy(), self.predicted
        return 2 * self._counted @ (has & said), self._counted @ (has.astype(float) + said)

    @cached_property
    def f1(self) -> Rate:
        """F1 of all yes-or-no answers together (micro) in percent, at the thresholds."""
        hits, total = (each.sum(1) for each in self._answers)
        return self._rate(100 * hits / np.maximum(total, 1))

    @cached_property
    def macro_f1(self) -> Rate:
        """The mean of the F1 of the classes that have items."""
        hits, total = (each[:, self.targets.any(0).numpy()] for each in self._answers)
        return self._rate((100 * hits / np.maximum(total, 1)).mean(1))

    @property
    def exact(self) -> Rate:
        """Subset accuracy: the percentage of items that are said to have exactly their labels."""
        return rate_of(self.right, self.groups)

    def top(self, k: int) -> float:
        """Raise DataError: there is no single label of an item."""
        raise DataError(f"top-{k} is for files with one label each, and these have several: see rate, f1 and exact")

    def confusion(self) -> np.ndarray:
        """Raise DataError: there is no single label of an item."""
        raise DataError("a confusion is of files with one label each, and these have several: see classes")

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of mAP."""
        return self.rate[1:]

    @property
    def class_mean(self) -> Rate:
        """mAP and its interval: it is a mean over classes."""
        return self.rate

    @property
    def text(self) -> str:
        """The metrics, the number of items and the intervals."""
        return f"mAP {self.rate[0]:.1f} on {self.count} (95 % interval {self.interval_text}), F1 {self.f1[0]:.1f}"

    @property
    def sizes_differ(self) -> bool:
        """False: mAP is a mean over classes."""
        return False

    def rare(self, trained: Mapping[str, int]) -> RareClasses | None:
        """Return None: there is no single result of an item."""
        return None

    def _repr_html_(self) -> str:
        """Return the scores and each class, for a notebook."""
        rows = [
            [row.name, row.items, *(rate and rate[0] for rate in (row.recall, row.precision))] for row in self.classes
        ]
        rows.sort(key=lambda row: (row[2] is None, row[2]))
        columns = ("class", "items", "recall (%)", "precision (%)")
        return html_table(columns, rows, caption=f"{self.text} items", notes=_unreadable(self.skipped))

    @property
    def calibration_error(self) -> float:
        """The expected calibration error of all yes-or-no answers together, in points 0-100."""
        sure = self.scores.double().sigmoid()
        return expected_calibration_error(
            torch.maximum(sure, 1 - sure).flatten().numpy(), ((sure >= 0.5) == self.targets).flatten().numpy()
        )


def joined(parts: Sequence[tuple[Sequence[int], Evaluation]]) -> Evaluation:
    """Return the evaluation of all items, given the positions of each part's items."""
    order = np.argsort(np.concatenate([positions for positions, _ in parts])).tolist()
    every = [result for _, result in parts]
    changes: dict[str, Any] = {
        name: torch.cat([getattr(each, name) for each in every])[order] for name in ("targets", "scores")
    }
    for name in ("paths", "groups"):
        values = [value for each in every for value in getattr(each, name)]
        changes[name] = [values[index] for index in order]
    if isinstance(every[0], SeveralEvaluation):
        changes["thresholds"] = torch.cat([each.thresholds.expand_as(each.scores) for each in every])[order]  # pyright: ignore[reportAttributeAccessIssue]
    return replace(every[0], **changes)


def evaluation_for(
    head: nn.Module,
    paths: list[Path],
    targets: Int[Tensor, " items"] | Bool[Tensor, "items classes"],
    scores: Float[Tensor, "items classes"],
    skipped: list[MediaError],
    groups: list[str],
) -> Evaluation:
    """Return the evaluation of a head's scores.

    Raises:
        DataError: the items have several labels and the head chooses one class, or no item has a label.
    """
    names: tuple[str, ...] = head.names  # pyright: ignore[reportAssignmentType]
    if not getattr(head, "several", False):
        if targets.ndim == 2:
            raise DataError(
                "the items have several labels, and the model chooses one class per file: train a run on such data"
            )
        return Evaluation(names, paths, targets, scores, skipped, groups)
    hot = targets if targets.ndim == 2 else F.one_hot(targets, len(names)).bool()
    if not hot.any():
        raise DataError(f"none of the {len(paths)} items has a label of the model: mAP needs items with labels")
    thresholds: Tensor = head.thresholds  # pyright: ignore[reportAssignmentType]
    return SeveralEvaluation(names, paths, hot, scores, skipped, groups, thresholds.cpu())
