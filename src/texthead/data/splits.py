"""Draws of items and classes: K-shot, fractions, held-out items, unseen classes. Pure, seeded, plain integers.

Each draw is a function of (labels, seed) alone, so that it is the same on every process and can be saved as data.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from texthead.errors import DataError


def _by_label(labels: Sequence[str]) -> dict[str, list[int]]:
    """Return the positions of each label, labels in sorted order."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        positions[label].append(position)
    return {label: positions[label] for label in sorted(positions)}


def _shuffled(labels: Sequence[str], seed: int, *process: int) -> dict[str, list[int]]:
    """Shuffle the positions of each label; the order depends on the numbers and the label's place only."""
    return {
        label: [positions[i] for i in np.random.default_rng([seed, place, *process]).permutation(len(positions))]
        for place, (label, positions) in enumerate(_by_label(labels).items())
    }


def k_shot(labels: Sequence[str], k: int, *, seed: int) -> list[int]:
    """Draw exactly k items per class: ascending positions. Those of a smaller k are among those of a larger one.

    Source: Tables 8 and 10, K-shot C-way.
    Differs: the published code draws on each process, so that its K-shot on G processes sees up to G*K
        (`k_shot_per_process` is that).

    Raises:
        DataError: a class with fewer than k items.
    """
    return sorted(_first(k, _shuffled(labels, seed)))


def k_shot_per_process(labels: Sequence[str], k: int, *, processes: int, seed: int) -> list[int]:
    """Return the positions of all items that training sees if each process draws its own k per class, ascending.

    This is a defect, here to be measured: a "K-shot" on G processes is trained on K to G*K different items a class.
    Of 30 items a class, 8 draws of 2 hold 12.7 different ones on average: 30 * (1 - (28 / 30)**8). The first process
    draws what `k_shot` draws. An item that several processes have drawn stands here once.

    Source: the published few-shot code, which samples on each process from a generator without a seed.

    Raises:
        DataError: a class with fewer than k items, or no process.
    """
    if processes < 1:
        raise DataError(f"processes must be at least 1, got {processes}")
    # The first draw has the key of `k_shot`.
    draws = [_shuffled(labels, seed, *([process] if process else [])) for process in range(processes)]
    return sorted({position for draw in draws for position in _first(k, draw)})


def _first(k: int, shuffled: dict[str, list[int]], *, at_most: bool = False) -> list[int]:
    """Return the first k positions of each label; with `at_most` all of a label that has fewer."""
    if k < 1:
        raise DataError(f"k must be at least 1, got {k}")
    for label, positions in shuffled.items():
        if len(positions) < k and not at_most:
            raise DataError(f"class {label!r} has {len(positions)} items < k = {k}: lower k or add items")
    return [position for positions in shuffled.values() for position in positions[:k]]


def at_most(labels: Sequence[str], k: int, *, seed: int) -> list[int]:
    """Draw k items per class, or all of a class that has fewer: ascending positions.

    Source: Sec. 4.2, "we first sample 60 videos from each class" for LDA.

    Raises:
        DataError: k below 1.
    """
    return sorted(_first(k, _shuffled(labels, seed), at_most=True))


def fraction(labels: Sequence[str], part: float, *, seed: int) -> list[int]:
    """Draw a part of each class's items, at least one: ascending positions. Smaller parts lie within larger ones.

    Source: Fig. 3, label fractions.

    Raises:
        DataError: a part outside (0, 1].
    """
    if not 0 < part <= 1:
        raise DataError(f"fraction must be above 0 and at most 1, got {part}")
    picked: list[int] = []
    for positions in _shuffled(labels, seed).values():
        picked += positions[: max(1, round(part * len(positions)))]
    return sorted(picked)


def hold_out(labels: Sequence[str], part: float, *, seed: int, groups: Sequence[Hashable] | None = None) -> list[int]:
    """Draw about `part` of each class's items to hold out of training: ascending positions.

    At least one item a class is held out and at least one stays. With groups, a group is held out whole or not
    at all, so the part is met only roughly.

    Raises:
        DataError: a part outside (0, 1), a class with one item, or groups that cannot be divided so.
    """
    if not 0 < part < 1:
        raise DataError(f"held-out part must be between 0 and 1, got {part}")
    keys: Sequence[Hashable] = groups if groups is not None else list(range(len(labels)))
    homes: dict[Hashable, set[str]] = defaultdict(set)
    for key, label in zip(keys, labels, strict=True):
        homes[key].add(label)
    staying = Counter(label for home in homes.values() for label in home)
    held_groups: set[Hashable] = set()
    for label, positions in _shuffled(labels, seed).items():
        members = Counter(keys[position] for position in positions)
        if len(members) < 2:
            what = "one item" if groups is None else "items of one group only"
            raise DataError(
                f"class {label!r} has {what}: none could be held out; add items or name the splits in a manifest"
            )
        wanted = max(1, round(part * len(positions)))
        held = sum(count for key, count in members.items() if key in held_groups)
        for key, count in members.items():
            if held >= wanted:
                break
            # The last group of a class always stays, so that the class can be learned.
            if key not in held_groups and all(staying[home] > 1 for home in homes[key]):
                held_groups.add(key)
                staying.subtract(homes[key])
                held += count
        if not held:
            raise DataError(
                f"class {label!r}: none of its groups can be held out without leaving a class nothing to train "
                "on; name the splits in a manifest"
            )
    return [position for position, key in enumerate(keys) if key in held_groups]


def unseen_classes(names: Sequence[str], unseen: int, *, seed: int) -> tuple[list[str], list[str]]:
    """Draw disjoint (seen, unseen) class names, both in their original order.

    Source: Tables 9 and 11 (K300 and K100, IN600 and IN400).

    Raises:
        DataError: fewer than one class on either side.
    """
    if not 1 <= unseen < len(names):
        raise DataError(f"unseen must be from 1 to {len(names) - 1} of {len(names)} classes, got {unseen}")
    picked = set(np.random.default_rng(seed).permutation(len(names))[:unseen].tolist())
    return (
        [name for i, name in enumerate(names) if i not in picked],
        [name for i, name in enumerate(names) if i in picked],
    )


def half_classes(classes: int, seed: int) -> list[int]:
    """Draw the labels of half of the classes, in the order drawn; of an odd number the smaller half.

    They are the halves of the published zero-shot code to the label: 101 classes and seed 0 begin 26, 86, 2, 55. Its
    protocol: with each of the seeds 0 to 9, keep the items of the half, score them among those of its classes that have
    an item, and report the mean and the population deviation of the ten top-1 (and top-5).

    Source: the zero-shot test of the published code, `np.random.seed(s)` and the first half of
        `np.random.permutation(C)`.
    Differs: the generator is one of its own, so the global one stays as it was.

    Raises:
        DataError: fewer than two classes.
    """
    if classes < 2:
        raise DataError(f"half of the classes needs at least 2 classes, got {classes}")
    # Only the legacy generator draws the published halves.
    drawn = np.random.RandomState(seed).permutation(classes)
    return drawn[: classes // 2].tolist()
