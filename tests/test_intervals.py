"""Intervals: closed forms, sane ends, and coverage that is counted."""

import numpy as np
import pytest
from scipy.stats import binom

from texthead.intervals import paired_interval, wilson_interval


@pytest.mark.parametrize(
    ("right", "items", "expected"),
    # Closed forms: k = 0 gives 0 .. z²/(n + z²), k = n its mirror image.
    [(8, 10, (49.02, 94.33)), (0, 10, (0.0, 27.75)), (10, 10, (72.25, 100.0)), (50, 100, (40.38, 59.62))],
)
def test_wilson_interval(right, items, expected):
    low, high = wilson_interval(right, items)
    assert (low, high) == pytest.approx(expected, abs=0.005)
    assert 0 <= low <= high <= 100
    assert not f"{low:.1f}".startswith("-")


def test_the_wilson_interval_covers_about_95_of_100():
    for rate in (0.1, 0.5, 0.8):
        chances = binom.pmf(range(41), 40, rate)
        inside = [low <= 100 * rate <= high for low, high in (wilson_interval(k, 40) for k in range(41))]
        assert 0.92 < float((chances * inside).sum()) < 0.98


@pytest.mark.parametrize(
    ("first", "second", "items", "expected"),
    [(6, 1, 40, (-0.79, 24.60)), (0, 0, 10, (-16.33, 16.33)), (1, 6, 40, (-24.60, 0.79))],
)
def test_paired_interval_by_hand(first, second, items, expected):
    assert paired_interval(first, second, items) == pytest.approx(expected, abs=0.005)


def test_a_paired_interval_stays_within_all_points():
    low, high = paired_interval(3, 0, 3)
    assert -100 <= low < high <= 100


@pytest.mark.parametrize("rates", [(0.2, 0.1, 0.7), (0.05, 0.05, 0.9), (0.3, 0.02, 0.68)])
def test_the_paired_interval_covers_about_95_of_100(rates):
    counts = np.random.default_rng(0).multinomial(40, rates, size=4000)
    truth = 100 * (rates[0] - rates[1])
    ends = [paired_interval(first, second, 40) for first, second, _ in counts.tolist()]
    covered = np.mean([low <= truth <= high for low, high in ends])
    assert 0.93 < covered < 0.99
