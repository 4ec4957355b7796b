"""Intervals: closed forms, ends within bounds, and their coverage."""

import math

import numpy as np
import pytest

from texthead.evaluation.intervals import (
    difference_interval,
    grouped_interval,
    lead_interval,
    paired_interval,
    standard_error,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("first", "second", "items", "expected"),
    [(6, 1, 40, (-0.79, 24.60)), (0, 0, 10, (-16.33, 16.33)), (1, 6, 40, (-24.60, 0.79))],
)
def test_paired_interval_by_hand(first, second, items, expected):
    assert paired_interval(first, second, items) == pytest.approx(expected, abs=0.005)
    low, high = paired_interval(3, 0, 3)
    assert -100 <= low < high <= 100


def test_difference_interval_of_the_literature():
    """56 of 70 against 48 of 80: Newcombe 1998, Table II."""
    rates = [(100 * right / items, *wilson_interval(right, items)) for right, items in ((56, 70), (48, 80))]
    assert difference_interval(*rates) == pytest.approx((5.24, 33.39), abs=0.005)


@pytest.mark.parametrize("rates", [(0.2, 0.1, 0.7), (0.05, 0.05, 0.9), (0.3, 0.02, 0.68)])
def test_the_paired_interval_covers_about_95_of_100(rates):
    counts = np.random.default_rng(0).multinomial(40, rates, size=4000)
    truth = 100 * (rates[0] - rates[1])
    ends = [paired_interval(first, second, 40) for first, second, _ in counts.tolist()]
    covered = np.mean([low <= truth <= high for low, high in ends])
    assert 0.93 < covered < 0.99


def test_items_of_one_scene_count_as_one_where_they_agree() -> None:
    values = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, -1.0])
    # Without groups: the textbook standard error of a mean.
    assert standard_error(values, list(range(7))) == pytest.approx(values.std(ddof=1) / math.sqrt(7))
    values, scenes = np.array([1.0] * 4 + [0.0] * 4 + [1.0] * 4), [i // 4 for i in range(12)]
    alone = standard_error(values[::4], [0, 1, 2])
    assert standard_error(values, scenes) == pytest.approx(alone)
    assert standard_error(values, ["one"] * 12) == math.inf
    (low, high), (lower, higher) = (grouped_interval(values.astype(bool), each) for each in (range(12), scenes))
    assert lower < low < high < higher


def test_items_without_a_shared_error_have_the_wilson_interval() -> None:
    right = np.array([True] * 8 + [False] * 2)
    assert grouped_interval(right, range(10)) == wilson_interval(8, 10)
    # Groups with equal rates show no group effect, so items count singly.
    assert grouped_interval(np.array([True, False] * 3), list("aabbcc")) == wilson_interval(3, 6)
    low, high = grouped_interval(np.ones(20, dtype=bool), range(20))
    assert 80 < low < 90
    assert high == pytest.approx(100.0)


def test_the_grouped_interval_covers_about_95_of_100() -> None:
    """Scenes of eight takes whose results correlate; the Wilson interval over all takes covers far less."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 8)
    inside, alone = [], []
    for _ in range(1000):
        right = rng.random(240) < rng.beta(1.2, 0.8, 30)[groups]
        low, high = grouped_interval(right, groups.tolist())
        inside.append(low <= 60 <= high)
        low, high = wilson_interval(int(right.sum()), 240)
        alone.append(low <= 60 <= high)
    assert 0.92 < np.mean(inside) < 0.98
    assert np.mean(alone) < 0.8


def test_equal_weights_change_no_bit() -> None:
    rng = np.random.default_rng(0)
    right, other, weights = rng.random(30) < 0.7, rng.random(30) < 0.6, np.full(30, 1 / 7)
    for groups in (list(range(30)), (np.arange(30) // 4).tolist()):
        assert grouped_interval(right, groups, weights) == grouped_interval(right, groups)
        firsts = right & ~other, other & ~right
        assert lead_interval(*firsts, groups, weights) == lead_interval(*firsts, groups)


@pytest.mark.parametrize(
    ("few", "many", "rare", "frequent", "take"),
    [(2, 20, 0.5, 0.95, 1), (2, 20, 0.9, 0.6, 1), (2, 20, 0.97, 0.97, 1), (1, 20, 0.5, 0.95, 1), (8, 80, 0.5, 0.9, 4)],
)
def test_the_interval_of_a_class_mean_covers_95_of_100(few, many, rare, frequent, take) -> None:
    """Ten classes, of which five have few items; an item weighs one over the items of its class."""
    rng, sizes = np.random.default_rng(0), np.repeat([few, many], 5)
    classes = np.repeat(np.arange(10), sizes)
    groups = np.arange(len(classes)) // take
    rates = np.repeat([rare, frequent], 5)[classes[::take]]
    inside = []
    for _ in range(1000):
        drawn = rng.beta(3 * rates, 3 * (1 - rates)) if take > 1 else rates
        low, high = grouped_interval(rng.random(len(classes)) < drawn[groups], groups.tolist(), (1 / sizes)[classes])
        inside.append(low <= 50 * (rare + frequent) <= high)
    # It counts differences between classes as chance, as an unweighted interval does: at most too wide.
    assert 0.925 < np.mean(inside) <= 1


@pytest.mark.parametrize(
    ("few", "first", "second"),
    [(2, (0.3, 0.02), (0.05, 0.05)), (2, (0.02, 0.05), (0.2, 0.02)), (1, (0.3, 0.02), (0.05, 0.05))],
)
def test_the_weighted_lead_covers_about_95_of_100(few, first, second) -> None:
    """As above; `first` and `second` are the rates at which only that one is right, of rare and frequent classes."""
    rng, sizes = np.random.default_rng(0), np.repeat([few, 20], 5)
    classes = np.repeat(np.arange(10), sizes)
    ahead, behind = (np.repeat(rates, 5)[classes] for rates in (first, second))
    inside = []
    for _ in range(1000):
        draw = rng.random(len(classes))
        leads = draw < ahead, (draw >= ahead) & (draw < ahead + behind)
        low, high = lead_interval(*leads, range(len(classes)), (1 / sizes)[classes])
        inside.append(low <= 50 * (sum(first) - sum(second)) <= high)
    assert 0.92 < np.mean(inside) < 0.98
