"""Class shares: read, checked, and turned into offsets and weights."""

from pathlib import Path

import numpy as np
import pytest

from messages import refuses
from texthead.data.class_shares import (
    are_unbalanced,
    check_class_shares,
    item_weights,
    log_ratio,
    read_class_shares,
    shares_text,
    unbalanced_text,
    weighted_text,
)
from texthead.errors import DataError

LABELS = ["a", "b", "c"]


def test_classes_without_items_do_not_count() -> None:
    assert are_unbalanced([3, 0, 2])
    assert not are_unbalanced([4, 0, 3])
    assert not are_unbalanced([])


def test_the_ratio_of_target_and_label_shares() -> None:
    counts = np.array([2, 6, 8])
    assert log_ratio("equal", LABELS, counts) == pytest.approx(np.log([16 / 6, 16 / 18, 16 / 24]))
    assert log_ratio({"a": 6, "b": 3, "c": 3}, LABELS, counts) == pytest.approx(np.log([4, 2 / 3, 1 / 2]))
    assert not log_ratio("labels", LABELS, counts).any()
    for number in range(1, 50):
        assert not log_ratio("equal", LABELS, np.full(3, number)).any()
        assert not log_ratio({"a": 0.1, "b": 0.7, "c": 0.3}, LABELS, number * np.array([1, 7, 3])).any()


def test_weights_give_each_class_its_share() -> None:
    targets = np.array([0, 1, 1, 1, 2, 2])
    weights = item_weights("equal", LABELS, targets)
    assert np.bincount(targets, weights) == pytest.approx([2, 2, 2])
    weights = item_weights({"a": 0.5, "b": 0.4, "c": 0.1}, LABELS, targets)
    assert np.bincount(targets, weights) == pytest.approx([3, 2.4, 0.6])
    assert weighted_text(weights) == ", weighted by class"
    assert (item_weights("labels", LABELS, targets) == 1).all()
    assert weighted_text(item_weights({"a": 0.1, "b": 0.3, "c": 0.2}, LABELS, targets)) == ""


def test_shares_that_are_refused(tmp_path: Path) -> None:
    with refuses(DataError, "class_shares", "'c'"):
        check_class_shares({"a": 1, "b": 1}, LABELS)
    with refuses(DataError, "class_shares", "'dog'"):
        check_class_shares({"a": 1, "b": 1, "c": 1, "dog": 1}, LABELS)
    for wrong in (0, -1, float("nan"), float("inf"), "much", True, None):
        with refuses(DataError, "class_shares", repr(wrong), "'b'"):
            check_class_shares({"a": 1, "b": wrong, "c": 1}, LABELS)
    with refuses(DataError, "estimate", "unlabelled"):
        check_class_shares("estimate", LABELS, unlabelled=False)
    check_class_shares("estimate", LABELS)

    file = tmp_path / "shares.json"
    with refuses(DataError, "equal, labels or estimate", "'equall'"):
        read_class_shares("equall")
    with refuses(DataError, file):
        read_class_shares(str(file))
    for text in ("[0.5, 0.5]", '{"a": 1, "a": 2}', "{"):
        file.write_text(text)
        with refuses(DataError, file):
            read_class_shares(str(file))
    file.write_text('{"a": 0.9, "b": 0.1}')
    assert read_class_shares(str(file)) == {"a": 0.9, "b": 0.1}
    assert read_class_shares("labels") == "labels"


def test_what_is_printed() -> None:
    assert unbalanced_text("equal", [2, 20, 7]) == (
        "training labels are unbalanced, 2 to 20 a class; predictions assume equal shares; to keep those of the labels, "
        "set `class_shares=labels`"
    )
    assert not unbalanced_text("equal", [10, 14])
    assert unbalanced_text("labels", [2, 20]).endswith("predictions assume the same shares")
    assert unbalanced_text({"a": 9, "b": 1}, [4, 4]) == "predictions assume these class shares: a 90 %, b 10 %"
    assert not unbalanced_text("estimate", [2, 20])
    eight = {label: 8.0 - number for number, label in enumerate("abcdefgh")}
    assert shares_text(eight) == "class shares: a 22 %, b 19 %, c 17 %, ..., g 6 %, h 3 %"
