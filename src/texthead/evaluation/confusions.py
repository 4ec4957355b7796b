"""What was taken for what: each class's rates, the confused pairs, and which of them the head's rows foretold."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from texthead.evaluation.intervals import Z, grouped_interval

FEWEST_CLASSES = 5  # for a relation between maps

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
    """Return one row a class, in their order.

    Args:
        truth, said: the class of each item, and the one that it was called.
        groups: of each item; intervals take items of one group as dependent; None: all independent.
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
    """Return the percent of these items that are right, with its interval."""
    if not these.any():
        return None
    together = None if groups is None else [groups[place] for place in np.flatnonzero(these).tolist()]
    return 100 * float(right[these].mean()), *grouped_interval(right[these], together)


def wrong_pairs(confusion: Confusion) -> list[tuple[int, int, int]]:
    """Return (place of the true class, place of the answer, how often), the most frequent first."""
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
    """Return the most frequent confusions, with the correlation of the two rows and its rank among all pairs."""
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
    """

    classes: int
    rho: float
    low: float
    high: float


def relation(confusion: Confusion, correlation: Correlation) -> Relation | None:
    """Test whether alike rows are confused more often; None with too few confusions, or too few classes, to tell.

    A pair's confusion is the mean of the two rates at which one class is called the other, over classes that have
    items. Pairs that share a class are dependent, so the interval is a jackknife over classes.
    """
    from scipy.stats import rankdata  # It takes half a second.

    there = np.flatnonzero(confusion.sum(axis=1))
    if len(there) < FEWEST_CLASSES:
        return None
    rates = confusion[np.ix_(there, there)] / confusion[there].sum(axis=1, keepdims=True)
    first, second = pair = np.triu_indices(len(there), 1)
    # Entries that differ by rounding alone are equal.
    confused, alike = (
        rankdata(matrix[pair].round(9)) for matrix in (rates + rates.T, correlation[np.ix_(there, there)])
    )
    if not np.ptp(confused) or not np.ptp(alike):
        return None
    rho = _correlation(alike, confused)
    apart = ((first != place) & (second != place) for place in range(len(there)))
    without = np.array([_correlation(alike[others], confused[others]) for others in apart])
    half = Z * float(np.sqrt((len(there) - 1) * without.var()))
    return Relation(len(there), rho, max(rho - half, -1.0), min(rho + half, 1.0))


def _correlation(x: Float[np.ndarray, " pairs"], y: Float[np.ndarray, " pairs"]) -> float:
    """Return Pearson's correlation; 0 where one does not vary."""
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-6))
