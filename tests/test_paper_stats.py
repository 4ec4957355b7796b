"""Intervals and tests are scipy's or a hand's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from paper.stats import correlation_gap, interval, paired, steps_to, verdict
from texthead.errors import DataError

numbers = st.floats(-100, 100)


# ---- intervals


def test_an_interval_by_hand():
    mean, half = interval([60, 62, 67])
    assert mean == pytest.approx(63)
    # t of 2 degrees of freedom; squares 9 + 1 + 16 over 2 is 13.
    assert half == pytest.approx(4.302653 * math.sqrt(13) / math.sqrt(3), rel=1e-6)


@given(st.lists(numbers, min_size=2, max_size=10).filter(lambda values: np.std(values) > 1e-3))
def test_an_interval_is_scipy_s(values):
    mean, half = interval(values)
    low, high = scipy_stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scipy_stats.sem(values))
    assert mean - half == pytest.approx(low)
    assert mean + half == pytest.approx(high)


def test_one_value_has_no_interval():
    mean, half = interval([61.5])
    assert mean == pytest.approx(61.5)
    assert math.isnan(half)
    assert interval([5.0, 5.0, 5.0]) == (5.0, 0.0)
    with pytest.raises(DataError, match="at least one value, got none"):
        interval([])


def test_the_interval_covers_the_mean_in_95_of_100_draws():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        mean, half = interval(rng.normal(3, 2, 4).tolist())
        covered += abs(mean - 3) <= half
    assert 925 < covered < 975


def test_pairs_by_hand():
    mean, half = paired([60, 62, 67], [58, 59, 65])
    assert mean == pytest.approx(7 / 3)
    assert half == pytest.approx(4.302653 * math.sqrt(1 / 3) / math.sqrt(3), rel=1e-6)


@given(
    st.lists(st.tuples(numbers, numbers), min_size=3, max_size=8).filter(lambda p: np.std([a - b for a, b in p]) > 1e-2)
)
def test_pairs_exclude_zero_where_the_paired_t_test_does(pairs):
    a, b = zip(*pairs, strict=True)
    mean, half = paired(a, b)
    p = float(scipy_stats.ttest_rel(a, b).pvalue)
    if abs(p - 0.05) > 1e-6:
        assert (verdict(mean, half) != "no difference shown") == (p < 0.05)
    back, same = paired(b, a)
    assert (back, same) == (pytest.approx(-mean), pytest.approx(half))


def test_pairs_need_a_partner_each():
    with pytest.raises(DataError, match="paired by seed, got 2 and 3"):
        paired([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="at least one value"):
        paired([], [])
    assert math.isnan(paired([2], [1])[1])


@pytest.mark.parametrize(
    ("difference", "half", "found"),
    [
        (2.3, 1.4, "above"),
        (-2.3, 1.4, "below"),
        (2.3, 2.4, "no difference shown"),
        (-2.3, 2.4, "no difference shown"),
        (1.0, 1.0, "no difference shown"),
        (0.0, 0.0, "no difference shown"),
        (5.0, math.nan, "no difference shown"),
        (-5.0, math.nan, "no difference shown"),
    ],
)
def test_a_verdict_is_the_side_of_the_interval(difference, half, found):
    assert verdict(difference, half) == found


# ---- names that share a word


def test_the_gap_by_hand():
    names = ["playing guitar", "playing a violin", "tying a knot", "Tying the shoes of a friend"]
    matrix = np.eye(4)
    for (i, j), value in {(0, 1): 0.8, (0, 2): 0.1, (0, 3): 0.2, (1, 2): 0.3, (1, 3): 0.0, (2, 3): 0.6}.items():
        matrix[i, j] = matrix[j, i] = value
    # "playing" and "tying" are shared; "a" is in three names and "the" and "of" in one.
    shared, others, pairs = correlation_gap(matrix, names)
    assert (shared, others, pairs) == (pytest.approx(0.7), pytest.approx(0.15), 2)
    # With "a" counted the last three share a word with each other, and "playing" is shared by the first two.
    shared, others, pairs = correlation_gap(matrix.tolist(), names, ignore=())
    assert (shared, others, pairs) == (pytest.approx((0.8 + 0.3 + 0.0 + 0.6) / 4), pytest.approx(0.15), 4)
    # Order is nothing.
    order = [2, 0, 3, 1]
    moved = correlation_gap(matrix[np.ix_(order, order)], [names[i] for i in order])
    assert moved == (pytest.approx(0.7), pytest.approx(0.15), 2)


def test_no_pair_has_no_mean():
    shared, others, pairs = correlation_gap(np.eye(2), ["a cat", "a dog"])
    assert (math.isnan(shared), others, pairs) == (True, 0.0, 0)
    shared, others, pairs = correlation_gap(np.ones((2, 2)), ["red cat", "red dog"])
    assert (shared, math.isnan(others), pairs) == (1.0, True, 1)


def test_a_map_must_fit_its_names():
    with pytest.raises(DataError, match="3 names for a map of 2 classes"):
        correlation_gap(np.eye(2), ["a", "b", "c"])
    with pytest.raises(DataError, match=r"square, got shape \(2, 3\)"):
        correlation_gap(np.ones((2, 3)), ["a", "b"])


# ---- curves


def test_steps_to_a_level():
    curve = [(10, 40.0), (20, 55.0), (30, 48.0), (40, 60.0)]
    assert steps_to(curve, 50) == 20
    assert steps_to(curve, 55) == 20, "the level itself is reached"
    assert steps_to(curve, 58) == 40
    assert steps_to(curve, 10) == 10
    assert steps_to(curve, 60.1) is None
    assert steps_to([], 0) is None
    assert steps_to([(1, math.nan), (2, 3.0)], 1) == 2
