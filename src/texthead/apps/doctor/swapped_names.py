"""Pairs of classes whose names look swapped: the items of each are closer to the other's text row than to their own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from texthead.evaluation import standard_error

# A swap is reported if its gain in mean cosine exceeds SWAP_MARGIN and ERRORS standard errors.
SWAP_MARGIN = 0.05

ERRORS = 3.0


@dataclass(frozen=True)
class Swap:
    """Two classes, by index, whose items are closer to the other's text row than to their own.

    `gain` is the difference of mean cosines, summed over both classes; `error` is its standard error over groups.
    """

    first: int
    second: int
    gain: float
    error: float


def swaps(
    cosines: Float[np.ndarray, "items classes"], targets: Int[np.ndarray, " items"], groups: Sequence[str]
) -> list[Swap]:
    """Return the swaps whose gain exceeds SWAP_MARGIN and ERRORS standard errors, largest gain first.

    A class is in at most one swap.

    Args:
        cosines: of each item's centred feature with each class's text row.
        targets: class of each item.
        groups: group of each item, such as a scene.
    """
    gains = swap_gains(cosines, targets)
    candidates = []
    for first, second in np.argwhere(np.triu(gains > SWAP_MARGIN, k=1)).tolist():
        gain, error = float(gains[first, second]), _error(cosines, targets, groups, first, second)
        if gain > ERRORS * error:
            candidates.append(Swap(first, second, gain, error))
    taken: set[int] = set()
    kept = []
    for swap in sorted(candidates, key=lambda swap: -swap.gain):
        if not taken & {swap.first, swap.second}:
            kept.append(swap)
            taken |= {swap.first, swap.second}
    return kept


def swap_gains(
    cosines: Float[np.ndarray, "items classes"], targets: Int[np.ndarray, " items"]
) -> Float[np.ndarray, "classes classes"]:
    """Return the gain in mean cosine from swapping two class names, summed over both classes; -inf without items.

    Constants added to all cosines of a class's items, or of a name, cancel: a name that is close to all items, or items
    that are close to all names, make no gain.
    """
    means = np.full((cosines.shape[1],) * 2, np.nan)
    for target in np.unique(targets):
        means[target] = cosines[targets == target].mean(0)
    straight = np.diag(means)
    gains = means + means.T - straight[:, None] - straight[None, :]
    return np.where(np.isnan(gains), -np.inf, gains)


def _error(
    cosines: Float[np.ndarray, "items classes"], targets: np.ndarray, groups: Sequence[str], first: int, second: int
) -> float:
    """Return the standard error of a gain; the errors of the two classes are independent."""
    errors = []
    for own, other in ((first, second), (second, first)):
        items = np.flatnonzero(targets == own)
        errors.append(standard_error(cosines[items, other] - cosines[items, own], np.asarray(groups)[items].tolist()))
    return math.hypot(*errors)
