"""What a model is asked about each file, labels as text, and the shares of classes among labels."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from texthead.errors import DataError, listed
from texthead.recipes import ClassShares

# The index of each item's class, or whether it has each class.
Targets = Int[Tensor, " items"] | Bool[Tensor, "items classes"]


@dataclass(frozen=True)
class Task:
    """The classes, and whether a file has any number of them, each a binary label; else it has exactly one."""

    names: Sequence[str]
    multilabel: bool = False

    def targets(self, sets: Sequence[tuple[str, ...]], source: str = "") -> Targets:
        """Return the targets of items.

        Args:
            sets: the labels of each item.
            source: of the items, for the error.

        Raises:
            DataError: a label is not among the classes.
        """
        number_of = {name: number for number, name in enumerate(self.names)}
        wrong = [own for own in sets if not (number_of.keys() >= {*own} and (own or self.multilabel))]
        if wrong:
            unknown = sorted({name for own in wrong for name in own} - number_of.keys())
            some = f"{len(wrong)} of {len(sets)} items have labels that are not among the {len(number_of)} classes"
            remedy = "make a new head for other class names (`classes`), rename the labels, or remove these items"
            raise DataError(f"{source}: {some} ({listed(unknown)}); {remedy}")
        if not self.multilabel:
            return torch.tensor([number_of[name] for (name,) in sets], dtype=torch.long)
        multi_hot = torch.zeros(len(sets), len(number_of), dtype=torch.bool)
        rows = [row for row, own in enumerate(sets) for _ in own]
        multi_hot[rows, [number_of[name] for own in sets for name in own]] = True
        return multi_hot

    def loss(self, scores: Float[Tensor, "items classes"], targets: Targets) -> Float[Tensor, ""]:
        """Return the summed loss of items: their cross-entropy, or the binary cross-entropies of all classes."""
        if self.multilabel:
            return F.binary_cross_entropy_with_logits(scores, targets.float(), reduction="sum")
        return F.cross_entropy(scores, targets, reduction="sum")


# ---- labels as text: "dog; frisbee" in a cell, "" for none

SEPARATOR = ";"


def split_labels(text: str) -> tuple[str, ...]:
    """Return the class names in the text of a cell, sorted: ("dog", "frisbee") for "frisbee;dog"."""
    return tuple(sorted({name.strip() for name in text.split(SEPARATOR)} - {""}))


def join_labels(names: Iterable[str]) -> str:
    """Return class names as the text of a cell: sorted and joined; "" for none.

    Raises:
        DataError: a name contains a semicolon, which would be read as two.
    """
    names = sorted({*names})
    if wrong := [name for name in names if SEPARATOR in name]:
        raise DataError(f"class name {wrong[0]!r} contains {SEPARATOR!r}, which separates labels: rename the class")
    return f"{SEPARATOR} ".join(names)


# ---- class shares: how frequent each class is in what will be predicted, if the labels do not show it


# Classes differ in size if the largest has at least this many times the items of the smallest. Below it, predictions
# hardly depend on the shares.
UNBALANCED = 1.5


def are_unbalanced(sizes: Iterable[int]) -> bool:
    """Return whether classes differ in size; those without items do not count."""
    filled = [size for size in sizes if size]
    return bool(filled) and max(filled) >= UNBALANCED * min(filled)


def log_ratio(shares: ClassShares, counts: Real[np.ndarray, " classes"]) -> Float[np.ndarray, " classes"]:
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
    return np.log(np.sum(counts) / (len(counts) * np.where(counts > 0, counts, 1))).round(12)


def item_weights(
    shares: ClassShares,
    classes: int,
    targets: Int[np.ndarray, " items"],
    groups: Sequence[Hashable] | None = None,
) -> Float[np.ndarray, " items"]:
    """Return the weight of each labelled item in a mean: target share / label share of its class.

    Args:
        targets: the index of each item's label.
        groups: the group of each item, if a group counts as one item: a class has then the share of its groups.
    """
    if groups is None:
        counts = np.bincount(targets, minlength=classes)
    else:
        sizes = Counter(groups)
        counts = np.bincount(targets, [1 / sizes[group] for group in groups], classes)
    return np.exp(log_ratio(shares, counts))[targets]


def unbalanced_text(shares: ClassShares, counts: Sequence[int]) -> str:
    """Return in one line what predictions assume; empty if the labels are balanced.

    Args:
        counts: the number of training labels of each class.
    """
    if not are_unbalanced(counts):
        return ""
    keep = "equal class frequencies; to keep those of the labels, set `class_shares=labels`"
    assumed = keep if shares == "equal" else "the same frequencies"
    return f"training labels are unbalanced, {min(counts)} to {max(counts)} per class; predictions assume {assumed}"


def weighted_text(weights: Float[np.ndarray, " items"]) -> str:
    """Return the words that follow a mean of items with the weights of `item_weights`; empty if all are equal."""
    return ", weighted by class" if np.ptp(weights) else ""
