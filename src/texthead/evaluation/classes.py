"""Results of single classes: recall and precision, confused pairs, and classes with few training items."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from texthead.evaluation.intervals import Rate, rate_of

Confusion = Integer[np.ndarray, "classes classes"]


class ClassRow(NamedTuple):
    """Results of one class. Rates are (percent, low, high) with the 95 % interval; None where there is no item.

    Attributes:
        items: number of items of the class.
        recall: fraction of these that were predicted as the class.
        predicted: number of items predicted as the class.
        precision: fraction of these that are of the class.
        confused_with: (the class that its items were most often mistaken for, how many); None for multi-label data.
    """

    name: str
    items: int
    recall: Rate | None
    predicted: int
    precision: Rate | None
    confused_with: tuple[str, int] | None


def class_rows(
    truth: Int[np.ndarray, " items"] | Bool[np.ndarray, "items classes"],
    predicted: Int[np.ndarray, " items"] | Bool[np.ndarray, "items classes"],
    names: Sequence[str],
    groups: Sequence[Hashable] | None = None,
) -> list[ClassRow]:
    """Return one row per class, in order.

    Args:
        truth, predicted: the true and the predicted class of each item, or masks of its classes.
        groups: the group of each item, for intervals that treat items of one group as dependent; None if all are
            independent.
    """
    multilabel, rows = truth.ndim == 2, []
    for index, name in enumerate(names):
        actual, assigned = (each[:, index] if multilabel else each == index for each in (truth, predicted))
        others = np.bincount([] if multilabel else predicted[actual & ~assigned], minlength=len(names))
        most = int(others.argmax())
        confused_with = (names[most], int(others[most])) if others[most] else None
        recall, precision = rate_among(assigned, actual, groups), rate_among(actual, assigned, groups)
        rows.append(ClassRow(name, int(actual.sum()), recall, int(assigned.sum()), precision, confused_with))
    return rows


def rate_among(
    right: Bool[np.ndarray, " items"], among: Bool[np.ndarray, " items"], groups: Sequence[Hashable] | None
) -> Rate | None:
    """Return the percentage of these items that are right, with its interval; None if there are no items."""
    if not among.any():
        return None
    own_groups = None if groups is None else [groups[index] for index in np.flatnonzero(among).tolist()]
    return rate_of(right[among], own_groups)


def wrong_pairs(confusion: Confusion) -> list[tuple[int, int, int]]:
    """Return (index of the true class, index of the predicted class, count), most frequent first."""
    wrong = confusion * ~np.eye(len(confusion), dtype=bool)
    pairs = [(truth, predicted, int(wrong[truth, predicted])) for truth, predicted in np.argwhere(wrong).tolist()]
    return sorted(pairs, key=lambda pair: -pair[2])


def class_weights(targets: Int[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    """Return the weight of each item in a mean over classes: the same for each class with items, 1 on average."""
    weights = 1 / np.bincount(targets)[targets]
    return weights / weights.mean()
