"""Classes of different sizes: weights for the mean over classes, and the classes with few training items."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from texthead.errors import listed, plural
from texthead.evaluation.intervals import Rate

# A class is rare if it has at most this fraction of the mean number of training items.
RARE = 1 / 3


def class_weights(targets: Int[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    """Return the weight of each item in a mean over classes: the same for each class with items, 1 on average."""
    weights = 1 / np.bincount(targets)[targets]
    return weights / weights.mean()


class RareClasses(NamedTuple):
    """The result on the classes with few training items.

    Attributes:
        names: of those with a scored item; of all if none has one.
        min_items, max_items: training items of the rarest and of the most frequent of them.
        items: number of scored items of these classes.
        recall: fraction of these that are correct; None without any.
    """

    names: tuple[str, ...]
    min_items: int
    max_items: int
    items: int
    recall: Rate | None

    def __str__(self) -> str:
        counts = f"{self.min_items}" if self.min_items == self.max_items else f"{self.min_items} to {self.max_items}"
        about = f"rare classes ({counts} training item{'s' * (self.max_items > 1)}: {listed(self.names)})"
        if self.recall is None:
            return f"{about}: no item to score"
        recall = "{:.1f} % (95 % CI {:.1f}-{:.1f})".format(*self.recall)
        return f"{about}: {recall} of {plural(self.items, 'item')}"
