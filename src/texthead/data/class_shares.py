"""Class shares: how frequent each class is in what will be predicted, if the labels do not show it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from texthead.errors import DataError, did_you_mean, either
from texthead.files import read_value, without_twins
from texthead.recipes import CLASS_SHARES, ClassShares

# Classes differ in size if the largest has at least this many times the items of the smallest. Below it, predictions
# hardly depend on the shares.
UNBALANCED = 1.5


def are_unbalanced(sizes: Iterable[int]) -> bool:
    """Return whether classes differ in size; those without items do not count."""
    filled = [size for size in sizes if size]
    return bool(filled) and max(filled) >= UNBALANCED * min(filled)


def read_class_shares(text: str) -> ClassShares:
    """Return the text if it is one of CLASS_SHARES, or the shares in the file that it names: a .json of class: share.

    Raises:
        DataError: it is neither, or the file cannot be read.
    """
    if text in CLASS_SHARES:
        return text
    form = '{"cat": 0.9, "dog": 0.1}'
    if not text.lower().endswith(".json"):
        raise DataError(f"`class_shares` must be {either(CLASS_SHARES)}, or a .json such as {form}, got {text!r}")
    try:
        value = read_value(Path(text), pairs=without_twins)
    except (OSError, ValueError) as error:
        raise DataError(f"{text}: cannot be read ({error}): `class_shares` needs a .json such as {form}") from None
    if not isinstance(value, dict):
        raise DataError(f"{text}: holds a {type(value).__name__}: `class_shares` needs a .json such as {form}")
    return value


def check_class_shares(shares: ClassShares, labels: Sequence[str], *, unlabelled: bool = True) -> None:
    """Raise DataError unless shares of classes are positive, one for each label and for nothing else.

    Args:
        unlabelled: whether there are unlabelled files to estimate shares from.
    """
    if isinstance(shares, str):
        if shares == "estimate" and not unlabelled:
            raise DataError("`class_shares=estimate` needs unlabelled files: add some (`unlabelled`), or give shares")
        return
    for label in labels:
        if label not in shares:
            raise DataError(f"`class_shares` lacks class {label!r}: give a share for each of the {len(labels)} classes")
    for label, share in shares.items():
        if label not in labels:
            near = did_you_mean(label, labels) or ": remove or rename it"
            raise DataError(f"`class_shares` has {label!r}, which is not a class of the data{near}")
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not (number and 0 < share < math.inf):
            raise DataError(f"`class_shares` must be above 0, got {share!r} for class {label!r}: correct it")


def check_one_share(shares: ClassShares) -> None:
    """Raise DataError if shares are chosen for classes that are not shares of a whole: files have several labels."""
    if shares not in ("equal", "labels"):
        raise DataError("`class_shares` are for files with one label each, and these have several: leave it out")


def log_ratio(
    shares: ClassShares, labels: Sequence[str], counts: Int[np.ndarray, " classes"]
) -> Float[np.ndarray, " classes"]:
    """Return log(target share / label share) of each class, which turns scores fitted to labels into the target's.

    All are exactly 0 for "labels", and for "equal" if all classes have as many labels. "estimate" counts as "equal",
    since shares are estimated from scores that assume equal ones.

    log_ratio({"a": 3, "b": 1}, ["a", "b"], [2, 6]) is [log(3), -log(3)].

    Args:
        counts: the number of labels of each class; 0 counts as 1.

    Source: logit adjustment (Menon et al., ICLR 2021).

    Raises:
        DataError: as `check_class_shares`.
    """
    check_class_shares(shares, labels)
    if shares == "labels":
        return np.zeros(len(labels))
    target = np.ones(len(labels)) if isinstance(shares, str) else np.array([float(shares[label]) for label in labels])
    # Without rounding errors, so that shares proportional to the counts give exactly 0.
    return np.log(target * np.sum(counts) / (target.sum() * np.maximum(counts, 1))).round(12)


def item_weights(
    shares: ClassShares, labels: Sequence[str], targets: Int[np.ndarray, " items"]
) -> Float[np.ndarray, " items"]:
    """Return the weight of each labelled item in a mean: target share / label share of its class.

    Args:
        targets: the index of each item's label.
    """
    return np.exp(log_ratio(shares, labels, np.bincount(targets, minlength=len(labels))))[targets]


def unbalanced_text(shares: ClassShares, counts: Sequence[int]) -> str:
    """Return in one line what predictions assume; empty if the labels are balanced and no shares were chosen.

    Args:
        counts: the number of training labels of each class.
    """
    if isinstance(shares, Mapping):
        return f"predictions assume these {shares_text(shares)}"
    if shares == "estimate" or not are_unbalanced(counts):
        return ""
    keep = "equal shares; to keep those of the labels, set `class_shares=labels`"
    assumed = keep if shares == "equal" else "the same shares"
    return f"training labels are unbalanced, {min(counts)} to {max(counts)} a class; predictions assume {assumed}"


def weighted_text(weights: Float[np.ndarray, " items"]) -> str:
    """Return the words that follow a mean of items with the weights of `item_weights`; empty if all are equal."""
    return ", weighted by class" if np.ptp(weights) else ""


def shares_text(shares: ClassShares) -> str:
    """Return the largest and the smallest shares of a mapping: `class shares: cat 60 %, dog 30 %, ..., emu 1 %`."""
    assert isinstance(shares, Mapping)
    total = sum(shares.values())
    texts = [f"{label} {100 * shares[label] / total:.0f} %" for label in sorted(shares, key=lambda each: -shares[each])]
    return f"class shares: {', '.join(texts if len(texts) < 7 else [*texts[:3], '...', *texts[-2:]])}"
