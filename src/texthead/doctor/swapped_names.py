"""Classes whose names look swapped: the pictures of each are nearer to the other's text row than to their own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from texthead.evaluation.intervals import standard_error

# A swap is reported where it gains more than this in mean cosine, and by so many standard errors.
MARGIN = 0.05

ERRORS = 3.0


@dataclass(frozen=True)
class Swap:
    """Two classes, by their places, and how much nearer their pictures are to the other's text row than to their own.

    `gain` is a difference of mean cosines, summed over both classes; `error` is its standard error over groups.
    """

    first: int
    second: int
    gain: float
    error: float


def swaps(
    cosines: Float[np.ndarray, "items classes"],
    targets: Int[np.ndarray, " items"],
    groups: Sequence[str],
    *,
    margin: float = MARGIN,
    errors: float = ERRORS,
) -> list[Swap]:
    """The swaps that gain more than the margin and so many standard errors, the clearest first; a class is in one.

    Args:
        cosines: of each item's centred feature with each class's text row.
        targets: the class of each item.
        groups: the group of each item, such as a scene.
    """
    gains = swap_gains(cosines, targets)
    found = []
    for first, second in np.argwhere(np.triu(gains > margin, k=1)).tolist():
        gain, error = float(gains[first, second]), _error(cosines, targets, groups, first, second)
        if gain > errors * error:
            found.append(Swap(first, second, gain, error))
    taken: set[int] = set()
    kept = []
    for swap in sorted(found, key=lambda swap: -swap.gain):
        if not taken & {swap.first, swap.second}:
            kept.append(swap)
            taken |= {swap.first, swap.second}
    return kept


def swap_gains(
    cosines: Float[np.ndarray, "items classes"], targets: Int[np.ndarray, " items"]
) -> Float[np.ndarray, "classes classes"]:
    """What swapping the names of two classes gains in mean cosine, over both; minus infinity where one has no item.

    What is added to all cosines of a class's pictures, or to all of a name's, cancels: a name that is near to every
    picture, or pictures that are near to every name, make no gain.
    """
    means = np.full((cosines.shape[1],) * 2, np.nan)
    for own in np.unique(targets):
        means[own] = cosines[targets == own].mean(0)
    straight = np.diag(means)
    gains = means + means.T - straight[:, None] - straight[None, :]
    return np.where(np.isnan(gains), -np.inf, gains)


def _error(
    cosines: Float[np.ndarray, "items classes"], targets: np.ndarray, groups: Sequence[str], first: int, second: int
) -> float:
    """The standard error of a gain: the two classes' own are independent."""
    parts = []
    for own, other in ((first, second), (second, first)):
        here = np.flatnonzero(targets == own)
        parts.append(standard_error(cosines[here, other] - cosines[here, own], np.asarray(groups)[here].tolist()))
    return math.hypot(*parts)
