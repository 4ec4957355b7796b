"""What numbers of a few seeds say: intervals, paired differences, relations of class maps, steps to a level.

Pure functions on plain numbers.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from texthead.errors import DataError
from texthead.evaluation.confusions import square

Finding = Literal["above", "below", "no difference shown"]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """(mean, half): the mean of the values and half the width of its 95 % t-interval; half is nan for one value.

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
    return mean, float(student.ppf(0.975, count - 1) * numbers.std(ddof=1) / math.sqrt(count))


def paired(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """(mean difference, half) of a - b, paired by seed, with the 95 % t-interval of the differences.

    What all rows of a seed share, such as an easy draw of items, falls out: 60 62 67 beside 58 59 65 differ by 2, 3
    and 2, that is 2.33 ±1.43, though each alone is known to ±9 only.

    Raises:
        DataError: lists of different lengths, or no value.
    """
    if len(a) != len(b):
        raise DataError(f"values are paired by seed, got {len(a)} and {len(b)}: run the same seeds of both")
    return interval([one - other for one, other in zip(a, b, strict=True)])


def verdict(difference: float, half: float) -> Finding:
    """Which side of zero the interval difference ± half lies on; where it holds zero, or half is nan, none is shown.

    2.3 ±1.4 is above, -2.3 ±1.4 below, and of 2.3 ±2.4 no difference is shown.
    """
    if difference - half > 0:
        return "above"
    if difference + half < 0:
        return "below"
    return "no difference shown"


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
