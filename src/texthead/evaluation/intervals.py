"""How sure one can be of a rate, and of a difference between two, from few items."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

Z = 1.959964  # of 95 % under the normal curve


def wilson_interval(right: int | float, items: int, z: float = Z) -> tuple[float, float]:
    """The percent between which a rate lies with 95% confidence, when `right` of `items` were seen.

    Wilson's score interval: it stays within 0..100 and is of use for few items. 8 of 10 gives (49.0, 94.3).
    """
    rate, weight = right / items, z * z / items
    middle = (rate + weight / 2) / (1 + weight)
    half = z * (rate * (1 - rate) / items + weight / (4 * items)) ** 0.5 / (1 + weight)
    # Rounding alone can lead just outside.
    return 100 * max(middle - half, 0.0), 100 * min(middle + half, 1.0)


def standard_error(values: Float[np.ndarray, " items"], groups: Sequence[Hashable]) -> float:
    """Return the standard error of the mean of dependent values in groups; infinite where all are one group."""
    sums: dict[Hashable, float] = defaultdict(float)
    for value, group in zip(values - values.mean(), groups, strict=True):
        sums[group] += float(value)
    count = len(sums)
    if count < 2:
        return math.inf
    return math.sqrt(sum(s * s for s in sums.values()) * count / (count - 1)) / len(values)


def grouped_interval(right: Bool[np.ndarray, " items"], groups: Sequence[Hashable] | None) -> tuple[float, float]:
    """Return the 95% interval of a rate in percent, where items of one group are dependent.

    Wilson's of as many items as would give the groups' standard error if each stood alone, and of at most all of them;
    where all are right or all wrong, of as many as there are groups; of all where every group has the same rate, which
    leaves no error. Items that are groups of their own (without groups all are) give Wilson's.
    """
    items, count = len(right), len(right) if groups is None else len(set(groups))
    if groups is None or count == items:
        return wilson_interval(int(right.sum()), items)
    rate, error = float(right.mean()), standard_error(right.astype(float), groups)
    alone = count if rate in (0, 1) else items if not error else rate * (1 - rate) / error**2
    independent = max(1, round(min(alone, items)))
    return wilson_interval(rate * independent, independent)


def lead_interval(
    only_first: Shaped[np.ndarray, " items"], only_second: Shaped[np.ndarray, " items"], groups: Sequence[Hashable]
) -> tuple[float, float]:
    """Return the 95% interval of first minus second in points, where items of one group are dependent.

    Of items that stand alone that of `paired_interval`; else the normal interval of the groups' standard error.

    Args:
        only_first, only_second: whether each item was right for that one alone; of several draws how often, 0 to 1.
    """
    if len(set(groups)) == len(only_first):
        return paired_interval(float(only_first.sum()), float(only_second.sum()), len(only_first))
    leads = only_first.astype(float) - only_second.astype(float)
    middle, half = float(leads.mean()), Z * standard_error(leads, groups)
    return 100 * max(middle - half, -1.0), 100 * min(middle + half, 1.0)


def paired_interval(only_first: int | float, only_second: int | float, items: int, z: float = Z) -> tuple[float, float]:
    """The points between which first minus second lies with 95% confidence, both scored on the same items.

    `only_first` items were right for the first alone, `only_second` for the second alone. Half an item is added to each
    of the four counts, so that few items, or none that differ, still leave some doubt: 6 and 1 of 40 give
    (-0.8, 24.6), 0 and 0 of 10 give (-16.3, 16.3). Counts may be means over several draws of the second; the interval
    is then a little wide.

    Source: Agresti and Min 2005, adjusted Wald interval for matched pairs.
    """
    count = items + 2
    first, second = only_first + 0.5, only_second + 0.5
    middle = (first - second) / count
    half = z * max((first + second) - (first - second) ** 2 / count, 0.0) ** 0.5 / count
    return 100 * max(middle - half, -1.0), 100 * min(middle + half, 1.0)


def rate_text(hits: Bool[Tensor, " items"], groups: Sequence[Hashable] | None) -> str:
    """The share of the items that are hits, in percent, with its 95 % interval, which takes groups into account."""
    low, high = grouped_interval(hits.numpy(), groups)
    return f"{100 * int(hits.sum()) / len(hits):.1f} % ({low:.1f}-{high:.1f})"
