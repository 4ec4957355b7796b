"""What was taken for what: each class's rates, the confused pairs, and which of them the head's rows foretold."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer
from numpy.typing import ArrayLike

from texthead.errors import DataError
from texthead.evaluation.intervals import Z, grouped_interval

FEWEST_CLASSES = 5  # for a relation between maps

PERMUTATIONS = 999

Confusion = Integer[np.ndarray, "classes classes"]

Correlation = Float[np.ndarray, "classes classes"]

Rate = tuple[float, float, float]


class ClassRow(NamedTuple):
    """How one class fared. A rate is percent and its 95 % interval; None where there is nothing to count.

    Attributes:
        items: that are of the class.
        recall: how many of them were called so.
        said: how many items were called so.
        precision: how many of those are of the class.
        taken_for: the other class that its items were most often called, and how many of them.
    """

    name: str
    items: int
    recall: Rate | None
    said: int
    precision: Rate | None
    taken_for: tuple[str, int] | None


def class_rows(
    truth: Int[np.ndarray, " items"],
    said: Int[np.ndarray, " items"],
    names: Sequence[str],
    groups: Sequence[Hashable] | None = None,
) -> list[ClassRow]:
    """One row a class, in their order.

    Args:
        truth, said: the class of each item, and the one that it was called.
        groups: what hangs together and counts so in intervals, one an item; each item stands alone if None.
    """
    right, rows = truth == said, []
    for place, name in enumerate(names):
        own, called = truth == place, said == place
        others = np.bincount(said[own & ~right], minlength=len(names))
        most = int(others.argmax())
        taken_for = (names[most], int(others[most])) if others[most] else None
        recall, precision = (_rate(right, these, groups) for these in (own, called))
        rows.append(ClassRow(name, int(own.sum()), recall, int(called.sum()), precision, taken_for))
    return rows


def _rate(
    right: Bool[np.ndarray, " items"], these: Bool[np.ndarray, " items"], groups: Sequence[Hashable] | None
) -> Rate | None:
    """How many of these items are right."""
    if not these.any():
        return None
    together = None if groups is None else [groups[place] for place in np.flatnonzero(these).tolist()]
    return 100 * float(right[these].mean()), *grouped_interval(right[these], together)


def wrong_pairs(confusion: Confusion) -> list[tuple[int, int, int]]:
    """(the place of a true class, of what it was taken for, how often), the most frequent first."""
    wrong = confusion * ~np.eye(len(confusion), dtype=bool)
    pairs = [(truth, said, int(wrong[truth, said])) for truth, said in np.argwhere(wrong).tolist()]
    return sorted(pairs, key=lambda pair: -pair[2])


class Pair(NamedTuple):
    """`wrong` of a class's `items` that were called another, and how alike the rows are: `rank` 1 is most alike."""

    truth: str
    said: str
    wrong: int
    items: int
    correlation: float
    rank: int


def confused_pairs(
    confusion: Confusion, correlation: Correlation, names: Sequence[str], *, most: int = 10
) -> list[Pair]:
    """The most frequent confusions, with the correlation of the two rows and its rank among all pairs of classes."""
    upper = np.triu_indices(len(names), 1)
    ascending = np.sort(correlation[upper])
    pairs = []
    for row, column, count in wrong_pairs(confusion)[:most]:
        alike = float(correlation[row, column])
        rank = 1 + len(ascending) - int(np.searchsorted(ascending, alike, side="right"))
        pairs.append(Pair(names[row], names[column], count, int(confusion[row].sum()), alike, rank))
    return pairs


class Relation(NamedTuple):
    """Spearman's rank correlation between how alike two rows are and how often their classes are confused.

    Attributes:
        rho: over pairs of classes.
        low, high: its 95 % interval over classes.
        p: how often it is as high where the classes' rows are dealt out anew, one-sided.
    """

    classes: int
    rho: float
    low: float
    high: float
    p: float


def relation(confusion: Confusion, correlation: Correlation, *, seed: int = 0) -> Relation | None:
    """Whether alike rows are confused more often; None where too little was confused, or of too few classes, to say.

    A pair's confusion is the mean of the two rates at which one class is called the other, over classes that have
    items. Pairs that share a class hang together, so the interval is a jackknife over classes and p is Mantel's test.
    """
    there = confusion.sum(axis=1) > 0
    if there.sum() < FEWEST_CLASSES:
        return None
    counts = confusion[np.ix_(there, there)].astype(float)
    rates = counts / confusion[there].sum(axis=1, keepdims=True)
    confused, alike = _ranks(rates + rates.T), _ranks(correlation[np.ix_(there, there)])
    off = ~np.eye(len(counts), dtype=bool)
    if not np.ptp(confused[off]) or not np.ptp(alike[off]):
        return None
    rho = map_correlation(alike, confused)
    half = Z * _jackknife(alike, confused, off)
    p = permutation_test(alike, confused, permutations=PERMUTATIONS, seed=seed)
    return Relation(len(counts), rho, max(rho - half, -1.0), min(rho + half, 1.0), p)


def _ranks(matrix: Float[np.ndarray, "classes classes"]) -> Float[np.ndarray, "classes classes"]:
    """The ranks of a symmetric map's pairs, equal ones sharing the mean of theirs; 0 on the diagonal.

    Pairs of 0.5, 0.1 and 0.1 have ranks 3, 1.5 and 1.5.
    """
    upper = np.triu_indices(len(matrix), 1)
    # Entries that differ by rounding alone are equal.
    _, places, counts = np.unique(matrix[upper].round(9), return_inverse=True, return_counts=True)
    ranks = np.zeros(matrix.shape)
    ranks[upper] = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks + ranks.T


def _jackknife(
    a: Float[np.ndarray, "classes classes"],
    b: Float[np.ndarray, "classes classes"],
    off: Bool[np.ndarray, "classes classes"],
) -> float:
    """The standard error of the correlation of two maps' pairs, each class left out in turn."""
    x, y = (np.where(off, matrix - matrix[off].mean(), 0.0) for matrix in (a, b))
    sums = [(m.sum() - 2 * m.sum(axis=1)) for m in (off.astype(float), x, y, x * x, y * y, x * y)]
    count, sx, sy, xx, yy, xy = sums
    spread = np.sqrt(np.maximum((xx - sx**2 / count) * (yy - sy**2 / count), 1e-12))
    without = (xy - sx * sy / count) / spread
    return float(np.sqrt((len(a) - 1) / len(a) * ((without - without.mean()) ** 2).sum()))


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
