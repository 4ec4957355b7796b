"""Statistics over a few seeds: intervals, paired differences, correlations of class maps, steps to a level."""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, repeat

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from texthead.errors import DataError


class Outcomes(list[float]):
    """One value for each of the seeds 0, 1, ..., and what each test item adds to it where that is known.

    Attributes:
        items: per seed an array over the test items, whose mean is the value, or None.
    """

    def __init__(self, values: Iterable[float] = (), items: Iterable[np.ndarray | None] | None = None):
        super().__init__(values)
        known = getattr(values, "items", ()) if items is None else items
        self.items = [array for _, array in zip(self, chain(known, repeat(None)), strict=False)]

    def __sub__(self, other: "Outcomes") -> "Outcomes":
        """Return the differences paired by seed, over the seeds that both have."""
        pairs = zip(self.items, other.items, strict=False)
        return Outcomes(
            (a - b for a, b in zip(self, other, strict=False)),
            (a - b if a is not None and b is not None and a.shape == b.shape else None for a, b in pairs),
        )

    def less(self, points: float) -> "Outcomes":
        """Return the values minus a constant."""
        return Outcomes((v - points for v in self), (None if array is None else array - points for array in self.items))


@cache
def quantile(level: float, degrees: float) -> float:
    """Return the half-width of the central interval of Student's t, in standard errors."""
    return float(student.ppf((1 + level) / 2, degrees))


def interval(values: Sequence[float], *, level: float = 0.95, new_items: bool = False) -> tuple[float, float]:
    """Return (mean, half): the mean and the half-width of its t-interval; half is nan for one value.

    For 60, 62 and 67 the mean is 63 and the standard deviation 3.606; with 2 degrees of freedom t is 4.303, so half
    is 4.303 * 3.606 / sqrt(3) = 8.96.

    Args:
        new_items: for new seeds and new test items of the same kind, instead of new seeds on these items; needs
            `Outcomes` with items, else half is nan. Seeds and items have random effects: the variance of the mean is
            (MS_seeds + MS_items - MS_rest) / (seeds x items), with Satterthwaite's degrees of freedom, and half is
            at least that of the seeds alone. If each seed draws its own items, these have no effect in common.
    """
    numbers = np.asarray(values, dtype=float)
    mean, count = float(numbers.mean()), len(numbers)
    if count == 1:
        return mean, math.nan
    variance = float(numbers.var(ddof=1)) / count
    half = quantile(level, count - 1) * math.sqrt(variance)
    if not new_items:
        return mean, half
    squares = _mean_squares(values)
    if squares is None:
        return mean, math.nan
    rows, columns, by_item, rest = squares
    parts = (
        (variance, count - 1),
        (by_item / (rows * columns), columns - 1),
        (-rest / (rows * columns), (rows - 1) * (columns - 1)),
    )
    total = sum(part for part, _ in parts)
    if total <= variance:
        return mean, half
    degrees = total**2 / sum(part**2 / free for part, free in parts)
    return mean, max(half, quantile(level, degrees) * math.sqrt(total))


def noise_share(values: Sequence[float]) -> float | None:
    """Return the share of the variance between seeds that is noise of single test items; None if items are unknown.

    The noise is what is neither the same for all items of a seed nor for all seeds of an item. With n times as many
    test items it would be an n-th.
    """
    squares = _mean_squares(values)
    if squares is None:
        return None
    _, columns, _, rest = squares
    between = columns * float(np.var(values, ddof=1))
    return min(1.0, rest / between) if between else float(rest > 0)


def _mean_squares(values: Sequence[float]) -> tuple[int, int, float, float] | None:
    """Return (seeds, items, mean square of items, of the rest) of the seeds whose items are known, None below two."""
    known = [array for array in getattr(values, "items", ()) if array is not None]
    if len(known) < 2 or len({array.shape for array in known}) > 1 or known[0].size < 2:
        return None
    matrix = np.stack(known)
    rows, columns = matrix.shape
    of_item = matrix.mean(0)
    rest = matrix - of_item - matrix.mean(1, keepdims=True) + matrix.mean()
    square = float((rest**2).sum()) / ((rows - 1) * (columns - 1))
    return rows, columns, rows * float(of_item.var(ddof=1)), square


def paired(a: Sequence[float], b: Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    """Return (mean, half) of the differences a - b, paired by seed: their mean and the half-width of its t-interval.

    Each list has the values of seeds 0, 1, ...; if one is longer, only the seeds that both have count.

    Pairing removes the variation that both rows share, such as an easy draw of items: 60 62 67 and 58 59 65 differ by
    2, 3 and 2, which gives 2.33 ±1.43, although each mean alone has an interval of about ±9.
    """
    return interval(Outcomes(a) - Outcomes(b), level=level)


def correlation_gap(
    matrix: ArrayLike, names: Sequence[str], ignore: Sequence[str] = ("a", "an", "the", "of")
) -> tuple[float, float, int]:
    """Compare correlations of class names that share a word with those of the other pairs (Fig. 1).

    "playing guitar" and "playing a violin" share "playing"; words in `ignore` and case do not count.

    Args:
        matrix: symmetric correlation matrix of the classes, in the order of the names.
        ignore: words to ignore.

    Returns:
        (mean of pairs that share a word, mean of the others, number of pairs that share a word); a mean of no pairs is
        nan.
    """
    entries = np.asarray(matrix, dtype=float)
    words = [set(name.lower().split()) - set(ignore) for name in names]
    rows, columns = np.triu_indices(len(names), 1)
    shared = np.array([bool(words[i] & words[j]) for i, j in zip(rows, columns, strict=True)], dtype=bool)
    pairs = entries[rows, columns]
    return _mean(pairs[shared]), _mean(pairs[~shared]), int(shared.sum())


def steps_to(curve: Sequence[tuple[int, float]], level: float) -> int | None:
    """Return the first step at which the value reaches the level; None if it never does.

    The curve may fall below the level again: (10, 40), (20, 55), (30, 48) reaches 50 at step 20. Smooth noisy curves
    first.

    Args:
        curve: (step, value) in the order of the steps.
    """
    return next((step for step, value in curve if value >= level), None)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def map_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Return the Pearson correlation of the off-diagonal entries of two symmetric matrices over the same classes.

    0.9, 0.1, 0.2 above one diagonal and 0.8, 0.2, 0.1 above the other give 0.970.

    Raises:
        DataError: a matrix has constant entries.
    """
    x, y = _standard(a), _standard(b)
    return float((x * y).sum())


def permutation_test(a: ArrayLike, b: ArrayLike, *, permutations: int = 10_000, seed: int) -> float:
    """Return the one-sided p-value of Mantel's test for correlation of two symmetric matrices over the same classes.

    Entries of a matrix are not independent, so the test permutes classes: rows and columns of one matrix together.
    p = (1 + hits) / (1 + permutations), where a hit correlates at least as much as the original order. With 9,999
    permutations and no hit, p is 0.0001; 3 classes have only 6 orders, so p is at least about 1/6.

    Source: Mantel 1967; for Fig. 1.

    Raises:
        DataError: as in `map_correlation`.
    """
    x, y = _standard(a), _standard(b)
    # Permuting changes neither mean nor deviation, so sums of products suffice. The tolerance counts sums that are
    # equal up to rounding as hits.
    threshold = (x * y).sum() - 1e-9
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(len(x)) for _ in range(permutations))
    hits = sum(bool((x * y[np.ix_(order, order)]).sum() >= threshold) for order in orders)
    return (1 + hits) / (1 + permutations)


def _standard(matrix: ArrayLike) -> np.ndarray:
    """Standardize the off-diagonal entries to mean 0 and norm 1, with a diagonal of 0.

    Raises:
        DataError: the off-diagonal entries are constant.
    """
    entries = np.asarray(matrix, dtype=float)
    off = ~np.eye(len(entries), dtype=bool)
    values = entries[off]
    if not values.size or not np.ptp(values) > 0:
        raise DataError(
            f"off-diagonal entries must vary, got constant ones ({len(entries)} classes): their correlation is "
            "undefined; leave this matrix out"
        )
    centered = np.where(off, entries - values.mean(), 0.0)
    return centered / np.linalg.norm(centered)
