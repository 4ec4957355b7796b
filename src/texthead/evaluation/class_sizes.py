"""Classes of different sizes: the mean over classes, and the classes with few training items."""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from texthead.errors import listed
from texthead.evaluation.confusions import rate_among
from texthead.evaluation.intervals import Rate, rate_of

# A class is rare if it has at most this share of the mean number of training items.
RARE = 1 / 3


def class_weights(targets: Int[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    """Return the weight of each item in a mean over classes: the same for each class with items, 1 on average."""
    weights = 1 / np.bincount(targets)[targets]
    return weights / weights.mean()


def class_mean(
    right: Bool[np.ndarray, " items"], targets: Int[np.ndarray, " items"], groups: Sequence[Hashable] | None
) -> Rate:
    """Return the mean of the classes' recalls, of those with items, as (percent, low, high)."""
    return rate_of(right, groups, class_weights(targets))


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
