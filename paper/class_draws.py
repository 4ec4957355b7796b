"""Seeded draws of classes: those that are unseen in training."""

from collections.abc import Sequence

import numpy as np

from texthead.errors import DataError


def unseen_classes(names: Sequence[str], unseen: int, *, seed: int) -> tuple[list[str], list[str]]:
    """Divide the class names at random into (seen, unseen), both in their original order, which the draw ignores.

    Source: Tables 9 and 11 (K300 and K100, IN600 and IN400).

    Raises:
        DataError: fewer than one class on either side.
    """
    if not 1 <= unseen < len(names):
        raise DataError(f"unseen must be 1 to {len(names) - 1}, of {len(names)} classes, got {unseen}")
    ordered, ranks = sorted(names), np.random.default_rng(seed).permutation(len(names))[:unseen]
    picked = {ordered[rank] for rank in ranks}
    return [name for name in names if name not in picked], [name for name in names if name in picked]


def half_classes(classes: int, seed: int) -> list[int]:
    """Draw the label indices of half of the classes, in the order drawn; for an odd number, the smaller half.

    The halves equal those of the published zero-shot code: 101 classes and seed 0 begin with 26, 86, 2, 55. Its
    protocol: for each of the seeds 0 to 9, keep the items of the drawn classes, score them against the drawn classes
    that have an item, and report the mean and the population standard deviation of the ten top-1 (and top-5) values.

    Source: the zero-shot test of the published code, `np.random.seed(s)` and the first half of
        `np.random.permutation(C)`.
    Differs: uses its own generator and leaves the global one untouched.

    Raises:
        DataError: fewer than two classes.
    """
    if classes < 2:
        raise DataError(f"`classes` must be at least 2 to draw half of them, got {classes}")
    # Only the legacy generator reproduces the published halves.
    drawn = np.random.RandomState(seed).permutation(classes)
    return drawn[: classes // 2].tolist()
