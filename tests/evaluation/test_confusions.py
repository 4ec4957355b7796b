"""Per-class rates by hand; confused pairs."""

import numpy as np
import pytest

from texthead.evaluation.confusions import class_rows, wrong_pairs
from texthead.evaluation.intervals import binomial_interval

CONFUSION = np.array([[8, 2, 0], [1, 4, 5], [0, 0, 0]])


def test_rates_by_hand():
    a, b, c = class_rows(*np.indices((3, 3)).reshape(2, -1).repeat(CONFUSION.ravel(), 1), ["a", "b", "c"])
    assert (a.name, a.items, a.predicted, a.confused_with) == ("a", 10, 9, ("b", 2))
    assert a.recall == (80.0, *binomial_interval(8, 10))
    assert a.precision == (pytest.approx(100 * 8 / 9), *binomial_interval(8, 9))
    assert (b.recall, b.predicted, b.confused_with) == ((40.0, *binomial_interval(4, 10)), 6, ("c", 5))
    # There are no items of c, but items of b were predicted as c.
    assert c == ("c", 0, None, 5, (0.0, *binomial_interval(0, 5)), None)
    # Nothing was predicted as b.
    _, b = class_rows(np.array([0, 0, 1, 1]), np.zeros(4, int), ["a", "b"])
    assert (b.predicted, b.precision, b.recall) == (0, None, (0.0, *binomial_interval(0, 2)))


def test_intervals_of_classes_take_groups_into_account():
    """Items of scenes that are all correct or all wrong count by scene."""
    truth, predicted = np.repeat([0, 1], 8), np.array([0] * 4 + [1] * 4 + [1] * 8)
    alone, _ = class_rows(truth, predicted, ["a", "b"])
    grouped, other = class_rows(truth, predicted, ["a", "b"], [f"scene {i // 4}" for i in range(16)])
    assert alone.recall == (50.0, *binomial_interval(4, 8))
    assert grouped.recall == pytest.approx((50, 0, 100), abs=1)
    assert (other.recall, grouped.precision) == ((100.0, *binomial_interval(2, 2)), (100.0, 0.0, 100.0))
    assert grouped[3:4] == alone[3:4]


def test_the_most_frequent_confusions_come_first():
    assert wrong_pairs(np.array([[3, 1, 0], [0, 0, 2], [4, 0, 5]])) == [(2, 0, 4), (1, 2, 2), (0, 1, 1)]
    assert wrong_pairs(np.eye(3, dtype=np.int64)) == []
