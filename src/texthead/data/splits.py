"""Seeded draws of items: K-shot, held-out items.

Each draw is a function of (seed, names, labels): the order of a list does not matter, and every process draws the same.
An item that is added or removed moves few others.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from texthead.errors import DataError


def _random_order(names: Sequence[str], *seeds: int) -> list[int]:
    """Return the positions sorted by a hash of (seeds, name)."""
    start = hashlib.blake2b(" ".join(map(str, seeds)).encode(), digest_size=16)
    digests = []
    for name in names:
        each = start.copy()
        each.update(b"\0" + name.encode(errors="surrogateescape"))
        digests.append(each.digest())
    return sorted(range(len(names)), key=digests.__getitem__)


def shuffled(labels: Sequence[str], names: Sequence[str], *seeds: int) -> dict[str, list[int]]:
    """Return the positions of each label's items in random order, labels sorted."""
    positions: dict[str, list[int]] = {label: [] for label in sorted(set(labels))}
    for position in _random_order(names, *seeds):
        positions[labels[position]].append(position)
    return positions


def k_shot(sets: Sequence[Sequence[str]], k: int, *, names: Sequence[str], seed: int) -> list[int]:
    """Draw items until each class has at least k, the rarest class first; return ascending positions.

    If each item has one class, each class has exactly k, and a smaller k draws a subset of a larger k's items.

    Args:
        sets: the classes of each item.

    Source: Tables 8 and 10, K-shot C-way.
    Differs: the published code draws on each process, so its K-shot on G processes trains on up to G*K items per class
        (`paper.class_draws.k_shot_per_process`).

    Raises:
        DataError: a class has fewer than k items.
    """
    of_class: dict[str, list[int]] = defaultdict(list)
    for position in _random_order(names, seed):
        for label in sets[position]:
            of_class[label].append(position)
    for label, own in sorted(of_class.items()):
        if len(own) < k:
            raise DataError(f"class {label!r} has {len(own)} items, fewer than `k={k}`; lower it, or add items")
    drawn = set[int]()
    for label in sorted(of_class, key=lambda each: (len(of_class[each]), each)):
        own = of_class[label]
        drawn.update([position for position in own if position not in drawn][: max(0, k - len(drawn & {*own}))])
    return sorted(drawn)


def at_most(labels: Sequence[str], k: int, *, names: Sequence[str], seed: int) -> list[int]:
    """Draw k items per class, or all if a class has fewer; return ascending positions.

    Source: Sec. 4.2, "we first sample 60 videos from each class" for LDA.
    """
    return sorted(position for own in shuffled(labels, names, seed).values() for position in own[:k])


def hold_out(
    labels: Sequence[str], share: float, *, names: Sequence[str], seed: int, groups: Sequence[Hashable]
) -> list[int]:
    """Draw about `share` of each class's items to hold out of training; return ascending positions.

    Each class has at least one training item, and one that has others a held-out item, unless they are of groups that
    other classes need. A group is held out whole or not at all, so the held-out fraction is approximate.

    Raises:
        DataError: `share` is outside (0, 1).
    """
    if not 0 < share < 1:
        raise DataError(f"`held_out` must be between 0 and 1, got {share}")
    group_labels: dict[Hashable, set[str]] = defaultdict(set)
    for group, label in zip(groups, labels, strict=True):
        group_labels[group].add(label)
    training_groups = Counter(label for in_group in group_labels.values() for label in in_group)
    held_groups: set[Hashable] = set()
    for positions in shuffled(labels, names, seed).values():
        members = Counter(groups[position] for position in positions)
        wanted = max(1, round(share * len(positions)))
        held = sum(count for group, count in members.items() if group in held_groups)
        for group, count in members.items():
            if held >= wanted:
                break
            # Each class keeps at least one group for training.
            if group not in held_groups and all(training_groups[other] > 1 for other in group_labels[group]):
                held_groups.add(group)
                training_groups.subtract(group_labels[group])
                held += count
    return [position for position, group in enumerate(groups) if group in held_groups]
