"""The mean over classes, and which classes are rare."""

from pathlib import Path

import numpy as np
import pytest
import torch

from texthead.evaluation import Evaluation, grouped_interval, wilson_interval


def evaluation(targets: list[int], right: list[bool], names: str = "abcd") -> Evaluation:
    """Return the evaluation of items whose wrong answers are the second class."""
    answers = [target if hit else 1 for target, hit in zip(targets, right, strict=True)]
    return Evaluation(tuple(names), [Path("x")] * len(right), torch.tensor(targets), torch.eye(len(names))[answers])


# 8 of 10 items of class 0 are correct, 1 of 2 of class 2; class 1 has no item.
RESULT = evaluation([0] * 10 + [2] * 2, [True] * 8 + [False] * 2 + [True, False])


def test_the_mean_over_classes_by_hand() -> None:
    mean, low, high = RESULT.class_mean
    assert mean == pytest.approx((80 + 50) / 2)
    # The variance is 12 / 11 * (8 * 0.35^2 / 100 + 2 * 0.65^2 / 100 + 0.35^2 / 4 + 0.65^2 / 4) / 4 = 0.0421, that of
    # 0.65 * 0.35 / 0.0421 = 5.4 independent items.
    assert (low, high) == wilson_interval(0.65 * 5, 5)
    right = [True, False, True, True]
    assert evaluation([0, 0, 2, 2], right).class_mean == (75.0, *grouped_interval(np.array(right), None))


@pytest.mark.parametrize(
    ("counts", "rare"),
    [
        ((20, 20, 2, 2), "c, d"),
        ((20, 3, 2, 2), "c, d"),
        ((5, 5, 2, 2), ""),
        ((9, 9, 9, 9), ""),
        ((100, 1, 2, 1), "b, c, d"),
    ],
)
def test_rare_classes_have_at_most_a_third_of_the_mean(counts: tuple[int, ...], rare: str) -> None:
    result = RESULT.rare(dict(zip("abcd", counts, strict=True)))
    assert ", ".join(result.names if result else ()) == rare
    if result:
        assert result.recall == (50.0, *wilson_interval(1, 2))


def test_the_figure_of_rare_classes() -> None:
    line = "rare classes (2 to 3 training items: b, c): 50.0 % (95 % interval 9.5-90.5) of 2 items"
    assert str(RESULT.rare({"a": 30, "b": 2, "c": 3})) == line
    assert str(RESULT.rare({"a": 30, "b": 2, "c": 30})) == "rare classes (2 training items: b): no item to score"
