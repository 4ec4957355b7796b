"""Intervals, tests, correlations and average precision agree with scipy or with hand calculations."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from made import noise
from paper.average_precision import mean_average_precision
from paper.results import Results, right
from paper.stats import Outcomes, correlation_gap, interval, map_correlation, noise_share, paired, permutation_test

numbers = st.floats(-100, 100)


def test_intervals_by_hand():
    # t with 2 degrees of freedom; the variance is (9 + 1 + 16) / 2 = 13.
    assert interval([60, 62, 67]) == pytest.approx((63, 4.302653 * math.sqrt(13) / math.sqrt(3)), rel=1e-6)
    expected = (7 / 3, 4.302653 * math.sqrt(1 / 3) / math.sqrt(3))
    assert paired([60, 62, 67], [58, 59, 65]) == pytest.approx(expected, rel=1e-6)
    assert interval([5.0, 5.0, 5.0]) == (5.0, 0.0)
    assert interval([61.5]) == pytest.approx((61.5, math.nan), nan_ok=True)
    assert math.isnan(paired([2], [1])[1])
    assert paired([60, 62, 67, 90], [58, 59, 65]) == pytest.approx(expected, rel=1e-6), "the seeds that both have"


@given(
    st.lists(numbers, min_size=2, max_size=10).filter(lambda values: np.std(values) > 1e-3),
    st.sampled_from([0.9, 0.95, 0.9875]),
)
def test_an_interval_is_scipy_s(values, level):
    mean, half = interval(values, level=level)
    expected = scipy_stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=scipy_stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx(expected)
    assert paired([0.0] * len(values), values, level=level) == pytest.approx((-mean, half))


def test_seeds_and_items_by_hand():
    # Rows are seeds, columns items: the mean squares are 3 (seeds), 1/3 (items) and 5/6 (rest).
    matrix = np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 1.0], [2.0, 1.0, 3.0]])
    values = Outcomes(matrix.mean(1), matrix)
    assert noise_share(values) == pytest.approx(5 / 18)
    mean, seeds = interval(values)
    assert interval(values, new_items=True) == (mean, seeds), "items differ less than their noise"
    # Mean squares 6, 42 and 2, and 422 instead of 42 if the second and third items are 10 and 20 higher.
    matrix = np.array([[0.0, 4.0, 8.0], [2.0, 4.0, 12.0]])
    few, apart = (Outcomes(each.mean(1), each) for each in (matrix, matrix + np.array([0.0, 10.0, 20.0])))
    variance = (6 + 422 - 2) / 6
    degrees = variance**2 / (1 / 1 + (422 / 6) ** 2 / 2 + (2 / 6) ** 2 / 2)
    half = scipy_stats.t.ppf(0.975, degrees) * variance**0.5
    assert interval(apart, new_items=True) == pytest.approx((15.0, half))
    assert interval(few, new_items=True) == interval(few), "with two seeds, theirs is the wider interval"
    # Items that differ much: their part is nearly all of the variance.
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(20, 50)) + rng.normal(size=(20, 1)) + 10.0 * rng.normal(size=(1, 50))
    wide = Outcomes(matrix.mean(1), matrix)
    mean, half = interval(wide, new_items=True)
    assert half == pytest.approx(
        scipy_stats.t.ppf(0.975, 49) * np.std(np.mean(wide.items, 0), ddof=1) / 50**0.5, rel=0.1
    )
    assert half > 3 * interval(wide)[1]
    # Seeds without items still count as seeds; a value per seed alone says nothing of items.
    part = Outcomes(wide, [None] * 10 + wide.items[10:])
    assert interval(part)[1] == interval(wide)[1]
    assert interval(part, new_items=True)[1] == pytest.approx(half, rel=0.2)
    assert math.isnan(interval(list(wide), new_items=True)[1])
    assert noise_share(list(wide)) is None


def test_outcomes_pair_seeds_and_items():
    a = Outcomes([50.0, 100.0, 0.0], [np.array([0.0, 100.0]), np.array([100.0, 100.0]), None])
    b = Outcomes([0.0, 50.0], [np.array([0.0, 0.0]), None])
    difference = a - b
    assert difference == [50.0, 50.0]
    assert [None if each is None else each.tolist() for each in difference.items] == [[0.0, 100.0], None]
    assert (a - Outcomes([1.0])).items == [None]
    assert difference.less(10) == [40.0, 40.0]
    assert difference.less(10).items[0].tolist() == [-10.0, 90.0]


def test_stored_hits_are_read_from_the_first_item_on():
    score = {"top1": 60.0, "hits": f"{0b0110100001:x}", "count": 10}
    assert right(score).tolist() == [0, 100, 100, 0, 100, 0, 0, 0, 0, 100]
    results = Results({("a", 0): {"top1": 40.0, "views": {"4x3": score}}})
    assert results.values("a").items == [None]
    assert results.values("a", views="4x3").items[0].mean() == 40.0
    assert results.values("a", "count", views="4x3").items == [None]


def test_the_gap_by_hand():
    names = ["playing guitar", "playing a violin", "tying a knot", "Tying the shoes of a friend"]
    matrix = np.eye(4)
    for (i, j), value in {(0, 1): 0.8, (0, 2): 0.1, (0, 3): 0.2, (1, 2): 0.3, (1, 3): 0.0, (2, 3): 0.6}.items():
        matrix[i, j] = matrix[j, i] = value
    # "playing" and "tying" are shared; "a", "the" and "of" are ignored.
    assert correlation_gap(matrix, names) == pytest.approx((0.7, 0.15, 2))
    # With "a" counted the last three share a word with each other, and "playing" is shared by the first two.
    result = correlation_gap(matrix.tolist(), names, ignore=())
    assert result == pytest.approx(((0.8 + 0.3 + 0.0 + 0.6) / 4, 0.15, 4))
    # The order does not matter.
    order = [2, 0, 3, 1]
    moved = correlation_gap(matrix[np.ix_(order, order)], [names[i] for i in order])
    assert moved == pytest.approx((0.7, 0.15, 2))
    # No pair has no mean.
    result = correlation_gap(np.eye(2), ["a cat", "a dog"])
    assert result == pytest.approx((math.nan, 0.0, 0), nan_ok=True)
    result = correlation_gap(np.ones((2, 2)), ["red cat", "red dog"])
    assert result == pytest.approx((1.0, math.nan, 1), nan_ok=True)


def symmetric(classes: int, seed: int) -> np.ndarray:
    """Return a symmetric matrix of independent noise with a diagonal of ones."""
    entries = np.triu(np.random.default_rng(seed).normal(size=(classes, classes)), 1)
    return entries + entries.T + np.eye(classes)


@given(st.integers(3, 12), st.integers(0, 1000))
def test_the_correlation_of_maps_is_scipy_s(classes, seed):
    a, b = symmetric(classes, seed), symmetric(classes, seed + 1)
    result, upper = map_correlation(a, b), np.triu_indices(classes, 1)
    assert result == pytest.approx(scipy_stats.pearsonr(a[upper], b[upper]).statistic)
    assert map_correlation(b, a) == pytest.approx(result)
    # The diagonal, scaling and shifting have no effect.
    assert map_correlation((3 * a + 5 * np.eye(classes) - 1).tolist(), b) == pytest.approx(result)


def test_related_map_has_lowest_p():
    a = symmetric(12, 0)
    assert permutation_test(a, a, permutations=999, seed=0) == pytest.approx(1 / 1000)
    assert permutation_test(a, 2 * a + 1, permutations=999, seed=0) == pytest.approx(1 / 1000)
    # One-sided: a negative correlation is not significant.
    assert permutation_test(a, -a, permutations=999, seed=0) == pytest.approx(1)
    # With three classes only the original one of six orders has the highest correlation.
    b = symmetric(3, 0)
    assert permutation_test(b, b, permutations=20_000, seed=0) == pytest.approx(1 / 6, abs=0.01)
    # A relation in noise.
    c = symmetric(20, 0)
    assert permutation_test(c, c + symmetric(20, 1), permutations=999, seed=0) < 0.01


def test_permutations_of_classes_not_entries():
    """Unrelated rank-one maps of 8 classes: permuting single entries would find significant relations."""
    drawn = [np.random.default_rng(seed).normal(size=(2, 8)) for seed in range(100)]
    result = [permutation_test(np.outer(x, x), np.outer(y, y), permutations=199, seed=0) for x, y in drawn]
    assert sum(p <= 0.05 for p in result) <= 12


def test_a_class_without_an_item_is_left_out() -> None:
    scores, targets = noise(30, 5), torch.arange(30) % 3
    assert mean_average_precision(scores, targets) == pytest.approx(mean_average_precision(scores[:, :3], targets))


def test_double_softmax_keeps_item_order() -> None:
    # Items 0 and 1 tie for class 0; a second softmax (0.384 and 0.391) puts item 1 first. Class 1 is right in both.
    probabilities = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]])
    assert mean_average_precision(probabilities, torch.tensor([1, 0])) == pytest.approx(75)
    assert mean_average_precision(probabilities, torch.tensor([1, 0]), double_softmax=True) == pytest.approx(100)
    order = probabilities.double().argsort(stable=True)
    assert torch.equal(probabilities.double().softmax(-1).argsort(stable=True), order)
    large = (5 * noise(200, 10)).softmax(-1)
    labels = torch.arange(200) % 10
    once, again = (mean_average_precision(large, labels, double_softmax=double) for double in (False, True))
    assert once != again
    assert again == pytest.approx(mean_average_precision(large.double().softmax(-1), labels))
    # Small probabilities must not tie: in single precision exp(1e-8) is 1, and both items would score alike.
    small = torch.tensor([[2e-8, 0.4, 0.6], [1e-8, 0.6, 0.4]])
    assert mean_average_precision(small, torch.tensor([0, 1]), double_softmax=True) == pytest.approx(100)
