"""Confidence intervals of a rate and of the difference of two rates, for few items too."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

Z = 1.959964  # the 97.5 % quantile of the standard normal distribution

# (percent, low, high): a rate with its 95 % interval.
Rate = tuple[float, float, float]
_Hits = Bool[np.ndarray, " items"]
_Weights = Float[np.ndarray, " items"] | None
_Groups = Sequence[Hashable] | None


def wilson_interval(right: int | float, items: int, z: float = Z) -> tuple[float, float]:
    """Return the 95 % interval, in percent, of the rate of which `right` of `items` is a sample.

    Wilson's score interval: it stays within 0..100 and holds for few items. 8 of 10 gives (49.0, 94.3).
    """
    rate, weight = right / items, z * z / items
    middle = (rate + weight / 2) / (1 + weight)
    half = z * (rate * (1 - rate) / items + weight / (4 * items)) ** 0.5 / (1 + weight)
    # Rounding errors can exceed the range.
    return 100 * max(middle - half, 0.0), 100 * min(middle + half, 1.0)


def standard_error(values: Float[np.ndarray, " items"], groups: Sequence[Hashable], weights: _Weights = None) -> float:
    """Return the cluster-robust standard error of the weighted mean of grouped values; infinite for a single group."""
    weights = np.ones(len(values)) if weights is None else weights
    sums: dict[Hashable, float] = defaultdict(float)
    for value, group in zip(weights * (values - np.average(values, weights=weights)), groups, strict=True):
        sums[group] += float(value)
    count = len(sums)
    if count < 2:
        return math.inf
    return math.sqrt(sum(s * s for s in sums.values()) * count / (count - 1)) / float(weights.sum())


def grouped_interval(right: _Hits, groups: _Groups, weights: _Weights = None) -> tuple[float, float]:
    """Return the 95 % interval of a rate in percent, where items of one group are dependent.

    It is Wilson's interval for the effective number of items: the number of independent items with the same standard
    error, at most all items. If all items are right or all are wrong, it is the number of groups; if every group has
    the same rate, so that the error is 0, it is all items. Without groups, all items are independent.

    Args:
        weights: what each item counts in the mean; None if all count the same. Unequal weights are worth fewer items:
            (sum of weights)^2 / sum of squares.

    Source of that number: Kish, Survey Sampling, 1965.
    """
    items, groups = len(right), range(len(right)) if groups is None else groups
    (weights, most), count = _counted(weights, items), len(set(groups))
    if count == most == items:
        return wilson_interval(int(right.sum()), items)
    rate, error = float(np.average(right, weights=weights)), standard_error(right.astype(float), groups, weights)
    effective = count * most / items if rate in (0, 1) else most if not error else rate * (1 - rate) / error**2
    independent = max(1, round(min(effective, most)))
    return wilson_interval(rate * independent, independent)


def rate_of(right: _Hits, groups: _Groups, weights: _Weights = None) -> Rate:
    """Return the mean of `right` in percent, with its interval as from `grouped_interval`."""
    return 100 * float(np.average(right, weights=weights)), *grouped_interval(right, groups, weights)


def _counted(weights: Float[np.ndarray, " items"] | None, items: int) -> tuple[Float[np.ndarray, " items"], float]:
    """Return (the weights, 1 if all are equal; how many items of equal weight these items are worth)."""
    weights = np.ones(items) if weights is None or not np.ptp(weights) else weights
    return weights, float(weights.sum() ** 2 / (weights**2).sum())


def lead_interval(
    only_first: Shaped[np.ndarray, " items"],
    only_second: Shaped[np.ndarray, " items"],
    groups: Sequence[Hashable],
    weights: _Weights = None,
) -> tuple[float, float]:
    """Return the 95 % interval of first minus second in points, where items of one group are dependent.

    Independent items give `paired_interval`, for the effective number of items if they have weights; groups give the
    normal interval of the cluster-robust standard error.

    Args:
        only_first, only_second: whether only that one was right on each item; for several draws, the share (0-1).
        weights: what each item counts in the mean; None if all count the same.
    """
    items = len(only_first)
    (weights, most), independent = _counted(weights, items), len(set(groups)) == items
    if independent and most == items:
        return paired_interval(float(only_first.sum()), float(only_second.sum()), items)
    leads = only_first.astype(float) - only_second.astype(float)
    middle, error = float(np.average(leads, weights=weights)), standard_error(leads, groups, weights)
    if independent:
        first, second = (float(np.average(each, weights=weights)) for each in (only_first, only_second))
        effective = min(most, (first + second - middle**2) / error**2) if error else most
        # Half an item of the heaviest is added: with half an average one, few heavy items are covered in 88 of 100.
        added = 0.5 * most * float(weights.max() / weights.sum())
        return paired_interval(first * effective, second * effective, effective, added=added)
    half = Z * error
    return 100 * max(middle - half, -1.0), 100 * min(middle + half, 1.0)


def paired_interval(
    only_first: int | float, only_second: int | float, items: int | float, *, added: float = 0.5
) -> tuple[float, float]:
    """Return the 95 % interval of first minus second in points, both scored on the same items.

    Only the first was right on `only_first` items, only the second on `only_second`. Half an item (`added`) is added to
    each of the four counts, so that the interval has a width even if no item differs: 6 and 1 of 40 give (-0.8, 24.6),
    0 and 0 of 10 give (-16.3, 16.3). Counts may be means over several draws of the second; the interval is then
    conservative.

    Source: Agresti and Min 2005, adjusted Wald interval for matched pairs.
    """
    count = items + 4 * added
    first, second = only_first + added, only_second + added
    middle = (first - second) / count
    half = Z * max((first + second) - (first - second) ** 2 / count, 0.0) ** 0.5 / count
    return 100 * max(middle - half, -1.0), 100 * min(middle + half, 1.0)


def difference_interval(first: Rate, second: Rate) -> tuple[float, float]:
    """Return the 95 % interval of first minus second, rates of different items.

    Source: Newcombe 1998, hybrid score interval.
    """
    (rate, low, high), (other, other_low, other_high) = first, second
    return (
        rate - other - math.hypot(rate - low, other_high - other),
        rate - other + math.hypot(high - rate, other - other_low),
    )


def rate_text(hits: Bool[Tensor, " items"], groups: Sequence[Hashable] | None) -> str:
    """Format the share of hits in percent with its 95 % interval, as `80.0 % (49.0-94.3)`."""
    return "{:.1f} % ({:.1f}-{:.1f})".format(*rate_of(hits.numpy(), groups))
