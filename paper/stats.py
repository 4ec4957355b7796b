"""What numbers of a few seeds say: intervals, paired differences, relations of class maps, steps to a level.

Pure functions on plain numbers.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from texthead.errors import DataError


def interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    """Return (mean, half): the mean of the values and half the width of its t-interval; half is nan for one value.

    60, 62 and 67: the mean is 63, the deviation 3.606; with 2 degrees of freedom t is 4.303, so half is
    4.303 * 3.606 / sqrt(3) = 8.96.

    Raises:
        DataError: no value.
    """
    if not len(values):
        raise DataError("an interval needs at least one value, got none: run a seed first")
    numbers = np.asarray(values, dtype=float)
    mean, count = float(numbers.mean()), len(numbers)
    if count == 1:
        return mean, math.nan
    return mean, float(student.ppf((1 + level) / 2, count - 1) * numbers.std(ddof=1) / math.sqrt(count))


def paired(a: Sequence[float], b: Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    """Return (mean difference, half) of a - b, paired by seed, with the t-interval of the differences.

    What all rows of a seed share, such as an easy draw of items, falls out: 60 62 67 beside 58 59 65 differ by 2, 3
    and 2, that is 2.33 ±1.43, though each alone is known to ±9 only.

    Raises:
        DataError: lists of different lengths, or no value.
    """
    if len(a) != len(b):
        raise DataError(f"values are paired by seed, got {len(a)} and {len(b)}: run the same seeds for both")
    return interval([one - other for one, other in zip(a, b, strict=True)], level=level)


def correlation_gap(
    matrix: ArrayLike, names: Sequence[str], ignore: Sequence[str] = ("a", "an", "the", "of")
) -> tuple[float, float, int]:
    """(mean correlation of pairs of names that share a word, mean of the other pairs, number of pairs that share one).

    Of "playing guitar", "playing a violin" and "tying a knot" the first two share "playing"; "a" does not count. The
    mean of no pair is nan. Capitals do not matter.

    Args:
        matrix: correlations of classes, symmetric, in the order of the names.
        ignore: words that every name could have.

    Source: Fig. 1.

    Raises:
        DataError: a matrix that does not fit the names.
    """
    entries = square(matrix)
    if len(entries) != len(names):
        raise DataError(f"{len(names)} names for a map of {len(entries)} classes: give the names of its rows")
    words = [set(name.lower().split()) - set(ignore) for name in names]
    rows, columns = np.triu_indices(len(names), 1)
    shared = np.array([bool(words[i] & words[j]) for i, j in zip(rows, columns, strict=True)], dtype=bool)
    pairs = entries[rows, columns]
    return _mean(pairs[shared]), _mean(pairs[~shared]), int(shared.sum())


def steps_to(curve: Sequence[tuple[int, float]], level: float) -> int | None:
    """The first step at which the value is at the level or above it; None if it never is.

    The first crossing counts, also where the curve falls below the level again: of (10, 40), (20, 55), (30, 48) and the
    level 50 it is 20. Smooth a curve with noise first.

    Args:
        curve: (step, value) in the order of the steps.
    """
    return next((step for step, value in curve if value >= level), None)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def map_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Pearson correlation of the off-diagonal entries of two symmetric maps of the same classes.

    A map with 0.9, 0.1 and 0.2 above its diagonal and one with 0.8, 0.2 and 0.1: 0.970.

    Raises:
        DataError: maps of other classes, or one whose entries are all the same: it cannot vary with the other.
    """
    x, y = (_standard(values) for values in _same_classes(a, b))
    return float((x * y).sum())


def permutation_test(a: ArrayLike, b: ArrayLike, *, permutations: int = 10_000, seed: int) -> float:
    """The one-sided p of Mantel's test that two symmetric maps of the same classes are related.

    Entries of a map are not independent, classes are: rows and columns of one map are permuted together, and p is the
    share of permutations, with the given order among them, whose correlation is at least the one found:
    (1 + hits) / (1 + permutations). With 9,999 permutations none of which hits, p is 0.0001; with 3 classes there are
    6 orders only, and p is about 1/6 at best.

    Source: Mantel 1967; for Fig. 1.

    Raises:
        DataError: maps as in `map_correlation`, or no permutation.
    """
    if permutations < 1:
        raise DataError(f"permutations must be at least 1, got {permutations}")
    x, y = (_standard(values) for values in _same_classes(a, b))
    # Means and deviations stay in every order: only the sum of products changes. Other sums of the same numbers, in
    # another order, may come out a rounding lower.
    found = (x * y).sum() - 1e-9
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(len(x)) for _ in range(permutations))
    hits = sum(bool((x * y[np.ix_(order, order)]).sum() >= found) for order in orders)
    return (1 + hits) / (1 + permutations)


def square(matrix: ArrayLike) -> np.ndarray:
    """The map as numbers.

    Raises:
        DataError: not square.
    """
    entries = np.asarray(matrix, dtype=float)
    if entries.ndim != 2 or entries.shape[0] != entries.shape[1]:
        raise DataError(f"a map of classes must be square, got shape {entries.shape}: give correlations of all pairs")
    return entries


def _same_classes(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both maps.

    Raises:
        DataError: maps of different sizes.
    """
    one, other = square(a), square(b)
    if len(one) != len(other):
        raise DataError(f"maps of {len(one)} and {len(other)} classes: give two of the same classes")
    return one, other


def _standard(entries: np.ndarray) -> np.ndarray:
    """The map with a diagonal of 0 and other entries of mean 0 and length 1.

    Raises:
        DataError: entries off the diagonal that do not vary.
    """
    off = ~np.eye(len(entries), dtype=bool)
    values = entries[off]
    if not values.size or not np.ptp(values) > 0:
        raise DataError(
            f"a map of {len(entries)} classes has constant entries, so its correlation is undefined; leave it out"
        )
    centred = np.where(off, entries - values.mean(), 0.0)
    return centred / np.linalg.norm(centred)
