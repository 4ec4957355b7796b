"""Confidence intervals of a rate and of the difference of two rates, for few items and few groups too."""

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


def binomial_interval(right: int | float, items: int | float) -> tuple[float, float]:
    """Return the 95 % interval, in percent, of the rate of which `right` of `items` is a sample.

    It covers any rate in at least 95 of 100 samples, for few items too. 8 of 10 gives (44.4, 97.5), 0 of 0 (0, 100).

    Source: Clopper and Pearson 1934; with numbers that are not whole, for grouped items, Korn and Graubard 1998.
    """
    from scipy.stats import beta

    low = float(beta.ppf(0.025, right, items - right + 1)) if right > 0 else 0.0
    high = float(beta.ppf(0.975, right + 1, items - right)) if right < items else 1.0
    return 100 * low, 100 * high


def standard_error(values: Float[np.ndarray, " items"], groups: Sequence[Hashable]) -> float:
    """Return the cluster-robust standard error of the mean of grouped values; infinite for a single group."""
    sums: dict[Hashable, float] = defaultdict(float)
    for value, group in zip(values - values.mean(), groups, strict=True):
        sums[group] += float(value)
    count = len(sums)
    if count < 2:
        return math.inf
    return math.sqrt(sum(s * s for s in sums.values()) * count / (count - 1)) / len(values)


def independent_items(
    values: Float[np.ndarray, " items"], variance: float, groups: Sequence[Hashable], weights: _Weights = None
) -> float:
    """Return how many independent items give an interval as wide as that of the mean of these grouped items.

    It is the smaller of two numbers: by the correlation within groups (Kish's design effect), and by the jackknife
    error of the mean, which leaves one group out at a time. Both are estimates from few groups, so the number is lower
    by the square of the normal quantile over Student's t. If no value differs from another, it is the number of groups,
    fewer if these differ in weight; it is 0 for a single group.

    Args:
        variance: of one item.
        weights: what each item counts in the mean; None if all count the same.

    Source of the degrees of freedom: Satterthwaite's, from the kurtosis of the groups' shares of the error.
    """
    from scipy.stats import t as student

    if weights is not None:
        counted = weights > 0
        groups = [group for group, counts in zip(groups, counted, strict=True) if counts]
        values, weights = values[counted], weights[counted]
    number = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    own, count = np.array([number[group] for group in groups]), len(number)
    if count < 2:
        return 0.0
    weights = np.ones(len(values)) if weights is None else weights
    items, mass = np.bincount(own), np.bincount(own, weights)
    total, means = mass.sum(), np.bincount(own, weights * values) / mass
    away = mass * (means - np.average(values, weights=weights))
    if np.ptp(values) < 1e-12:
        return float(total**2 / (mass**2).sum())
    # The correlation of two items of a group, by an analysis of variance.
    between = float((items * (away / mass) ** 2).sum() / (count - 1))
    within = float(((values - means[own]) ** 2).sum() / max(len(values) - count, 1))
    size = (len(values) - (items**2).sum() / len(values)) / (count - 1)
    correlation = min(max((between - within) / (between + (size - 1) * within), 0.0), 1.0)
    alone = np.bincount(own, weights**2)
    effective = float(total**2 / (correlation * mass**2 + (1 - correlation) * alone).sum())
    # The means without a group differ from the mean by its share of the error.
    moved = away / (total - mass)
    square = float(((moved - moved.mean()) ** 2).sum())
    if square * effective > 1e-12:
        effective = min(effective, variance / (square * (count - 1) / count))
    kurtosis = count * float((away**4).sum()) / float((away**2).sum()) ** 2 if away.any() else 3.0
    freedom = 2 * count / max(kurtosis - (count - 3) / (count - 1), 1e-9)
    return effective * (Z / float(student.ppf(0.975, min(max(freedom, 1.0), count - 1)))) ** 2


def grouped_interval(right: _Hits, groups: _Groups, weights: _Weights = None) -> tuple[float, float]:
    """Return the 95 % interval of a rate in percent, where items of one group are dependent.

    It is the `binomial_interval` of as many `independent_items`. Without groups, all items are independent: those of
    each weight have their own interval, and the rate that of a weighted sum.

    Args:
        weights: what each item counts in the mean; None if all count the same.
    """
    if groups is None or len(set(groups)) == len(right):
        strata = _strata(len(right), weights)
        counts = [(share, int(right[own].sum()), int(own.sum())) for share, own in strata]
        low, high = _combined([(share, (100 * hits / of, *binomial_interval(hits, of))) for share, hits, of in counts])
        return max(low, 0.0), min(high, 100.0)  # Sums of shares are rounded.
    rate = float(np.average(right, weights=weights))
    items = independent_items(right.astype(float), rate * (1 - rate), groups, weights)
    return binomial_interval(rate * items, items)


def _strata(items: int, weights: _Weights) -> list[tuple[float, _Hits]]:
    """Return (share of all weight, which items) of the items of each weight."""
    if weights is None or not np.ptp(weights):
        return [(1.0, np.ones(items, dtype=bool))]
    every = [weights == weight for weight in np.unique(weights)]
    return [(float(weights[own].sum() / weights.sum()), own) for own in every]


def _combined(parts: Sequence[tuple[float, Rate]]) -> tuple[float, float]:
    """Return the 95 % interval of a sum of (factor x rate), of rates of different items.

    Source: MOVER (Zou and Donner 2008); for two rates Newcombe 1998, hybrid score interval.
    """
    if len(parts) == 1 and parts[0][0] == 1:
        return parts[0][1][1:]
    middle = sum(factor * rate for factor, (rate, _, _) in parts)
    ends = [sorted((factor * (low - rate), factor * (high - rate))) for factor, (rate, low, high) in parts]
    below, above = zip(*ends, strict=True)
    return middle - math.hypot(*below), middle + math.hypot(*above)


def rate_of(right: _Hits, groups: _Groups, weights: _Weights = None) -> Rate:
    """Return the mean of `right` in percent, with its interval as from `grouped_interval`."""
    return 100 * float(np.average(right, weights=weights)), *grouped_interval(right, groups, weights)


def lead_interval(
    only_first: Shaped[np.ndarray, " items"],
    only_second: Shaped[np.ndarray, " items"],
    groups: Sequence[Hashable],
    weights: _Weights = None,
) -> tuple[float, float]:
    """Return the 95 % interval of first minus second in points, where items of one group are dependent.

    It is the `paired_interval` of as many `independent_items`; without groups, as in `grouped_interval`.

    Args:
        only_first, only_second: whether only that one was right on each item; for several draws, the fraction (0-1).
        weights: what each item counts in the mean; None if all count the same.
    """
    if len(set(groups)) == len(only_first):
        parts = []
        for share, own in _strata(len(only_first), weights):
            first, second, items = float(only_first[own].sum()), float(only_second[own].sum()), int(own.sum())
            parts.append((share, (100 * (first - second) / items, *paired_interval(first, second, items))))
        return _combined(parts)
    first, second = (float(np.average(each, weights=weights)) for each in (only_first, only_second))
    leads = only_first.astype(float) - only_second.astype(float)
    items = independent_items(leads, first + second - (first - second) ** 2, groups, weights)
    return paired_interval(first * items, second * items, items)


def paired_interval(only_first: int | float, only_second: int | float, items: int | float) -> tuple[float, float]:
    """Return the 95 % interval of first minus second in points, both scored on the same items.

    Only the first was right on `only_first` items, only the second on `only_second`. One item is added to both counts,
    so that the interval has a width even if no item differs: 6 and 1 of 40 give (-1.6, 25.4), 0 and 0 of 10 give
    (-23.1, 23.1). Counts may be means over several draws of the second; the interval is then conservative.

    Source: Bonett and Price 2012, adjusted Wald interval for paired proportions.
    """
    first, second = ((each + 1) / (items + 2) for each in (only_first, only_second))
    middle = first - second
    half = Z * max((first + second - middle**2) / (items + 2), 0.0) ** 0.5
    return 100 * max(middle - half, -1.0), 100 * min(middle + half, 1.0)


def rate_text(hits: Bool[Tensor, " items"], groups: Sequence[Hashable] | None) -> str:
    """Format the rate of hits in percent with its 95 % interval, as `80.0 % (44.4-97.5)`."""
    return "{:.1f} % ({:.1f}-{:.1f})".format(*rate_of(hits.numpy(), groups))
