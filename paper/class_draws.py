"""Seeded draws: classes that are unseen in training, label fractions, and the K-shot of the published code."""

from collections.abc import Sequence

import numpy as np

from texthead import Dataset
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


def fraction(dataset: Dataset, share: float, *, seed: int) -> Dataset:
    """Draw a fraction of each class's items, at least one.

    A smaller fraction draws a subset of a larger one's items.

    Source: Fig. 3, label fractions.

    Raises:
        DataError: `share` is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise DataError(f"fraction must be above 0 and at most 1, got {share}")
    picked: list[int] = []
    for positions in dataset.shuffled(seed).values():
        picked += positions[: max(1, round(share * len(positions)))]
    return dataset.select(sorted(picked))


def k_shot_per_process(dataset: Dataset, k: int, *, processes: int, seed: int) -> Dataset:
    """Return all items drawn if each process draws its own k per class.

    This reproduces a flaw of the published code, to measure its effect: a "K-shot" on G processes trains on K to G*K
    distinct items per class. With 30 items per class, 8 draws of 2 hold 12.7 distinct items on average:
    30 * (1 - (28 / 30)**8). The first process draws the same items as `Dataset.k_shot`. Each item is returned once.

    Source: the published few-shot code, which samples on each process from an unseeded generator.

    Raises:
        DataError: a class has fewer than k items, or `processes` is below 1.
    """
    if processes < 1:
        raise DataError(f"`processes` must be at least 1, got {processes}")
    drawn = {item.path for item in dataset.k_shot(k, seed=seed).items}
    others = (dataset.shuffled(seed, process) for process in range(1, processes))
    drawn |= {dataset.paths[position] for draw in others for own in draw.values() for position in own[:k]}
    return dataset.select([position for position, path in enumerate(dataset.paths) if path in drawn])
