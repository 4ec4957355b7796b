"""Reliability bins, the expected calibration error, its interval and its value by chance."""

import numpy as np
import pytest

from made import drawn_scores
from texthead.evaluation import reliability


def draw_confidences(items: int, heat: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw items whose scores are overconfident by `heat`; return (confidences, whether each is correct)."""
    scores, targets = drawn_scores(items, heat=heat)
    return reliability.confidences(scores.double()).numpy(), (scores.argmax(1) == targets).numpy()


def test_bins_include_upper_end():
    sure, right = np.array([0.0, 0.1, 0.1001, 0.2, 1.0]), np.array([True, False, True, True, False])
    first, second, *empty, last = reliability.reliability_bins(sure, right)
    assert (first, last) == ((2, 0.05, 0.5), (1, 1.0, 0.0))
    assert second == (2, pytest.approx(0.15005), 1.0)
    assert empty == [(0, None, None)] * 7
    # Two bins: 3 items of 0.7 with 1 right (gap 0.3667), 1 of 0.2 with 1 right (gap 0.8).
    confidences, correct = np.array([0.7, 0.7, 0.7, 0.2]), np.array([True, False, False, True])
    expected = 100 * (3 * (0.7 - 1 / 3) + 0.8) / 4
    assert reliability.expected_calibration_error(confidences, correct) == pytest.approx(expected)


def test_chance_is_the_error_of_true_probabilities():
    sure, _ = draw_confidences(80, heat=1.0)
    errors = [
        reliability.expected_calibration_error(sure, np.random.default_rng([1, i]).random(80) < sure)
        for i in range(2000)
    ]
    assert reliability.chance_error(sure) == pytest.approx(np.mean(errors), rel=0.03)


def test_an_interval_holds_its_error_and_shrinks_with_items():
    widths = []
    for items in (100, 400, 1600):
        sure, right = draw_confidences(items)
        low, high = reliability.error_interval(sure, right)
        assert 0 <= low <= reliability.expected_calibration_error(sure, right) <= high <= 100
        widths.append(high - low)
    assert widths[0] > 1.6 * widths[1] > 1.6 * 1.6 * widths[2]


def test_items_of_one_group_count_together():
    sure, right = draw_confidences(50)
    four = reliability.error_interval(np.tile(sure, 4), np.tile(right, 4), groups=[*range(50)] * 4)
    assert four == pytest.approx(reliability.error_interval(sure, right), rel=0.02)
