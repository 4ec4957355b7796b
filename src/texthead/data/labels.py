"""What items are labelled with: one class each, or several, of which each is a question of its own.

An item's label is text. With several labels it holds the class names, sorted and joined: "dog; frisbee"; "" for none.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from texthead.errors import DataError, listed

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
            remedy = "make a new head for the data's labels (`zero_shot`), rename the labels, or leave these items out"
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
