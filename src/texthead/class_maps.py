"""Maps of classes against classes: whether two of them are related.

Pure functions on plain numbers. Entries of such a map are not independent of each other, classes are.
"""

import numpy as np
from numpy.typing import ArrayLike

from texthead.errors import DataError


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
        raise DataError(f"a map of classes is square, got shape {entries.shape}: give correlations of all pairs")
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
        raise DataError(f"a map of {len(entries)} classes whose entries do not vary is related to none: leave it out")
    centred = np.where(off, entries - values.mean(), 0.0)
    return centred / np.linalg.norm(centred)
