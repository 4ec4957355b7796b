"""Classes of different sizes: the mean over classes, and the classes with few training items."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from texthead.errors import listed
from texthead.evaluation.confusions import Rate, rate_among
from texthead.evaluation.intervals import grouped_interval

# Classes differ in size if the largest has at least this many times the items of the smallest.
UNEQUAL = 1.5

# A class is rare if it has at most this share of the mean number of training items.
RARE = 1 / 3


def differ(sizes: Iterable[int]) -> bool:
    """Return whether classes differ in size; those without items do not count."""
    filled = [size for size in sizes if size]
    return bool(filled) and max(filled) >= UNEQUAL * min(filled)


def class_weights(targets: Int[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    """Return the weight of each item in a mean over classes: one over the number of items of its class."""
    return 1 / np.bincount(targets)[targets]


def class_mean(
    right: Bool[np.ndarray, " items"], targets: Int[np.ndarray, " items"], groups: Sequence[Hashable] | None
) -> Rate:
    """Return the mean of the classes' recalls, of those with items, as (percent, low, high)."""
    weights = class_weights(targets)
    return 100 * float(np.average(right, weights=weights)), *grouped_interval(right, groups, weights)


class RareClasses(NamedTuple):
    """The result on the classes with few training items.

    Attributes:
        names: their names.
        least, most: training items of the rarest and of the most frequent of them.
        items: number of scored items of these classes.
        recall: share of these that are correct; None without any.
    """

    names: tuple[str, ...]
    least: int
    most: int
    items: int
    recall: Rate | None

    def __str__(self) -> str:
        counts = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        about = f"rare classes ({counts} training item{'s' * (self.most > 1)}: {listed(self.names)})"
        if self.recall is None:
            return f"{about}: no item to score"
        recall = "{:.1f} % (95 % interval {:.1f}-{:.1f})".format(*self.recall)
        return f"{about}: {recall} of {self.items} item{'s' * (self.items > 1)}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, the recall as in tables of scores."""
        return {
            **self._asdict(),
            "recall": self.recall and dict(zip(("percent", "low", "high"), self.recall, strict=True)),
        }


def rare_classes(
    right: Bool[np.ndarray, " items"],
    targets: Int[np.ndarray, " items"],
    names: Sequence[str],
    groups: Sequence[Hashable] | None,
    trained: Mapping[str, int],
) -> RareClasses | None:
    """Return the result on the rare classes; None if there are none.

    Args:
        right, targets: whether each scored item is correct, and the index of its class.
        names: the name of each class.
        trained: training items of each class, by name.
    """
    limit = RARE * sum(trained.values()) / max(1, len(trained))
    rare = [index for index, name in enumerate(names) if 0 < trained.get(name, 0) <= limit]
    if not rare:
        return None
    counts, among = [trained[names[index]] for index in rare], np.isin(targets, rare)
    recall = rate_among(right, among, groups)
    return RareClasses(tuple(names[index] for index in rare), min(counts), max(counts), int(among.sum()), recall)
