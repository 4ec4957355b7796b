"""Labels as text, "dog; frisbee" in a cell; and the shares of classes among labels."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int

from texthead.errors import DataError
from texthead.recipes import ClassShares

SEPARATOR = ";"


def check_no_separator(names: Iterable[str]) -> None:
    """Raise DataError if a name contains a semicolon: in a CSV it would be read as two."""
    if wrong := [name for name in names if SEPARATOR in name]:
        raise DataError(f"class name {wrong[0]!r} contains {SEPARATOR!r}, which separates labels: rename the class")


def split_labels(text: str) -> tuple[str, ...]:
    """Return the class names in such a text, sorted: ("dog", "frisbee") for "frisbee;dog"."""
    return tuple(sorted({name.strip() for name in text.split(SEPARATOR)} - {""}))


def join_labels(names: Iterable[str]) -> str:
    """Return class names as the text of a cell: sorted and joined; "" for none.

    Raises:
        DataError: a name contains a semicolon.
    """
    names = sorted({*names})
    check_no_separator(names)
    return f"{SEPARATOR} ".join(names)


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
