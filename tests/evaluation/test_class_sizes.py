"""The mean over classes, and which classes are rare."""

import numpy as np
import pytest

from texthead.evaluation.class_sizes import class_mean, rare_classes
from texthead.evaluation.intervals import grouped_interval, wilson_interval

# 8 of 10 items of class 0 are correct, 1 of 2 of class 2; class 1 has no item.
TARGETS = np.array([0] * 10 + [2] * 2)
RIGHT = np.array([True] * 8 + [False] * 2 + [True, False])


def test_the_mean_over_classes_by_hand() -> None:
    mean, low, high = class_mean(RIGHT, TARGETS, None)
    assert mean == pytest.approx((80 + 50) / 2)
    # The variance is 12 / 11 * (8 * 0.35^2 / 100 + 2 * 0.65^2 / 100 + 0.35^2 / 4 + 0.65^2 / 4) / 4 = 0.0421, that of
    # 0.65 * 0.35 / 0.0421 = 5.4 independent items.
    assert (low, high) == wilson_interval(0.65 * 5, 5)
    balanced = np.array([0, 0, 1, 1])
    right = np.array([True, False, True, True])
    assert class_mean(right, balanced, None) == (75.0, *grouped_interval(right, None))


@pytest.mark.parametrize(
    ("counts", "rare"),
    [((20, 20, 2, 2), "cd"), ((20, 3, 2, 2), "cd"), ((5, 5, 2, 2), ""), ((9, 9, 9, 9), ""), ((100, 1, 1, 1), "bcd")],
)
def test_rare_classes_have_at_most_a_third_of_the_mean(counts: tuple[int, ...], rare: str) -> None:
    trained = dict(zip("abcd", counts, strict=True))
    result = rare_classes(RIGHT, TARGETS, "abcd", None, trained)
    assert "".join(result.names if result else ()) == rare


def test_the_figure_of_rare_classes() -> None:
    result = rare_classes(RIGHT, TARGETS, ("hat", "cap", "fez"), None, {"hat": 30, "cap": 2, "fez": 3})
    assert result is not None
    assert result.recall == (50.0, *wilson_interval(1, 2))
    assert str(result) == "rare classes (2 to 3 training items: cap, fez): 50.0 % (95 % interval 9.5-90.5) of 2 items"
    unscored = rare_classes(RIGHT, TARGETS, ("hat", "cap", "fez"), None, {"hat": 30, "cap": 2, "fez": 30})
    assert str(unscored) == "rare classes (2 training items: cap): no item to score"
