"""Class shares as offsets and weights."""

import numpy as np
import pytest

from texthead.data.labels import are_unbalanced, item_weights, log_ratio, unbalanced_text, weighted_text


def test_classes_without_items_do_not_count() -> None:
    assert are_unbalanced([3, 0, 2])
    assert not are_unbalanced([4, 0, 3])
    assert not are_unbalanced([])


def test_the_ratio_of_target_and_label_shares() -> None:
    assert log_ratio("equal", np.array([2, 6, 8])) == pytest.approx(np.log([16 / 6, 16 / 18, 16 / 24]))
    assert not log_ratio("labels", np.array([2, 6, 8])).any()
    for number in range(1, 50):
        assert not log_ratio("equal", np.full(3, number)).any()


def test_weights_give_each_class_its_share() -> None:
    targets = np.array([0, 1, 1, 1, 2, 2])
    weights = item_weights("equal", 3, targets)
    assert np.bincount(targets, weights) == pytest.approx([2, 2, 2])
    assert weighted_text(weights) == ", weighted by class"
    assert (item_weights("labels", 3, targets) == 1).all()
    assert weighted_text(item_weights("equal", 3, np.array([0, 1, 2]))) == ""
    # Where a group counts as one item: of two classes of four items, one is of half a group and the other of 4 groups.
    targets, groups = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]), [*"aaaabcdeaaaa"]
    weights = item_weights("equal", 3, targets, groups)
    shared = weights / np.array([groups.count(group) for group in groups])
    assert np.bincount(targets, shared) == pytest.approx(np.full(3, shared.sum() / 3))
    assert item_weights("equal", 3, targets, range(12)) == pytest.approx(item_weights("equal", 3, targets))


def test_what_is_printed() -> None:
    assert "2 to 20 per class" in unbalanced_text("equal", [2, 20, 7])
    assert not unbalanced_text("equal", [10, 14])
    assert unbalanced_text("labels", [2, 20]).endswith("predictions assume the same frequencies")
