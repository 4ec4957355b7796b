"""What items are labelled with: one class each, or several, of which each is a question of its own.

An item's label is text. With several labels it holds the class names, sorted and joined: "dog; frisbee"; "" for none.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from texthead.errors import DataError, listed
from texthead.recipes import ClassShares

SEPARATOR = ";"


def check_no_separator(names: Iterable[str]) -> None:
    """Raise DataError if a name contains a semicolon: in a CSV it would be read as two."""
    if wrong := [name for name in names if SEPARATOR in name]:
        raise DataError(f"class name {wrong[0]!r} contains {SEPARATOR!r}, which separates labels: rename the class")


def split_labels(text: str) -> tuple[str, ...]:
    """Return the class names in a label of several, sorted: ("dog", "frisbee") for "frisbee;dog"."""
    return tuple(sorted({name.strip() for name in text.split(SEPARATOR)} - {""}))


@dataclass(frozen=True)
class Labels:
    """The labels of items.

    Args:
        texts: the label of each item.
        several: whether an item may have several labels or none; else it has one, which may contain a semicolon.
        source: of the items, for messages.
    """

    texts: tuple[str, ...]
    several: bool = False
    source: str = ""

    @staticmethod
    def join(names: Iterable[str]) -> str:
        """Return the label of an item with several labels: the names, sorted and joined; "" for none.

        Raises:
            DataError: a name contains a semicolon.
        """
        names = sorted({*names})
        check_no_separator(names)
        return f"{SEPARATOR} ".join(names)

    @property
    def sets(self) -> list[tuple[str, ...]]:
        """The class names of each item."""
        return [split_labels(text) if self.several else (text,) for text in self.texts]

    @property
    def counts(self) -> Counter[str]:
        """The number of items of each class."""
        return Counter(name for names in self.sets for name in names)

    @property
    def strata(self) -> list[str]:
        """One class of each item, for draws that keep the shares of classes: its rarest; "" if it has none."""
        counts = self.counts
        return [min(names, key=lambda name: (counts[name], name), default="") for names in self.sets]

    def within(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return each item's label without the classes that are not among the names."""
        kept = {*names}
        return tuple(self.join(kept & {*own}) if self.several else own[0] for own in self.sets)

    def renamed(self, names: Mapping[str, str | None]) -> tuple[str, ...]:
        """Return each item's label with new names for its classes; None removes a class of several."""
        sets = [[names.get(name, name) for name in own] for own in self.sets]
        return tuple(self.join(filter(None, own)) if self.several else own[0] or "" for own in sets)

    def numbers(self, names: Sequence[str]) -> list[int]:
        """Return for each item a number that `table` explains: the index of its label, or of its set of labels.

        Raises:
            DataError: a label is not in `names`.
        """
        if unknown := self.counts.keys() - {*names}:
            count = sum(not unknown.isdisjoint(own) for own in self.sets)
            some = f"{count} of {len(self.texts)} items have labels that are not among the {len(names)} classes"
            remedy = "make a new head for other class names (`classes`), rename the labels, or leave these items out"
            raise DataError(f"{self.source}: {some} ({listed(sorted(unknown))}); {remedy}")
        numbers = {text: number for number, text in enumerate(self._keys(names))}
        return [numbers[text] for text in (self.within(names) if self.several else self.texts)]

    def table(self, names: Sequence[str]) -> Bool[Tensor, "numbers classes"]:
        """Return the classes that each of the `numbers` stands for."""
        sets = Labels(tuple(self._keys(names)), self.several).sets
        hot = [[name in own for name in names] for own in map(set, sets)]
        return torch.tensor(hot, dtype=torch.bool).reshape(len(sets), len(names))

    def targets(self, names: Sequence[str]) -> Int[Tensor, " items"] | Bool[Tensor, "items classes"]:
        """Return the index of each item's label; with several labels, whether each item has each class.

        Raises:
            DataError: a label is not in `names`.
        """
        numbers = torch.tensor(self.numbers(names), dtype=torch.long)
        return self.table(names)[numbers] if self.several else numbers

    def _keys(self, names: Sequence[str]) -> list[str]:
        """Return the label that each of the `numbers` stands for."""
        return sorted({*self.within(names)}) if self.several else [*names]


# ---- class shares: how frequent each class is in what will be predicted, if the labels do not show it


# Classes differ in size if the largest has at least this many times the items of the smallest. Below it, predictions
# hardly depend on the shares.
UNBALANCED = 1.5


def are_unbalanced(sizes: Iterable[int]) -> bool:
    """Return whether classes differ in size; those without items do not count."""
    filled = [size for size in sizes if size]
    return bool(filled) and max(filled) >= UNBALANCED * min(filled)


def log_ratio(shares: ClassShares, counts: Int[np.ndarray, " classes"]) -> Float[np.ndarray, " classes"]:
    """Return log(target share / label share) of each class, which turns scores fitted to labels into the target's.

    All are exactly 0 for "labels", and for "equal" if all classes have as many labels.

    log_ratio("equal", [2, 6]) is [log(2), log(2 / 3)].

    Args:
        counts: the number of labels of each class; 0 counts as 1.

    Source: logit adjustment (Menon et al., ICLR 2021).
    """
    if shares == "labels":
        return np.zeros(len(counts))
    # Without rounding errors, so that equal counts give exactly 0.
    return np.log(np.sum(counts) / (len(counts) * np.maximum(counts, 1))).round(12)


def item_weights(shares: ClassShares, classes: int, targets: Int[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    """Return the weight of each labelled item in a mean: target share / label share of its class.

    Args:
        targets: the index of each item's label.
    """
    return np.exp(log_ratio(shares, np.bincount(targets, minlength=classes)))[targets]


def unbalanced_text(shares: ClassShares, counts: Sequence[int]) -> str:
    """Return in one line what predictions assume; empty if the labels are balanced.

    Args:
        counts: the number of training labels of each class.
    """
    if not are_unbalanced(counts):
        return ""
    keep = "equal shares; to keep those of the labels, set `class_shares=labels`"
    assumed = keep if shares == "equal" else "the same shares"
    return f"training labels are unbalanced, {min(counts)} to {max(counts)} a class; predictions assume {assumed}"


def weighted_text(weights: Float[np.ndarray, " items"]) -> str:
    """Return the words that follow a mean of items with the weights of `item_weights`; empty if all are equal."""
    return ", weighted by class" if np.ptp(weights) else ""
