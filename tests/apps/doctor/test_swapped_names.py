"""Swapped names, on random cosines."""

import itertools

import numpy as np
import pytest

from texthead.apps.doctor import swapped_names
from texthead.apps.doctor.swapped_names import swap_gains, swaps

# Cosines of 12 items per class, 0.2 higher for their own name; every name has its own offset.
TARGETS = np.repeat(np.arange(5), 12)
COSINES = np.random.default_rng(0).normal(0, 0.1, (60, 5)) + np.linspace(0, 1, 5) + 0.2 * np.eye(5)[TARGETS]
ALONE = [str(position) for position in range(60)]


def swap(targets: np.ndarray, first: int, second: int) -> np.ndarray:
    """Return the targets with two classes swapped."""
    other = targets.copy()
    other[targets == first], other[targets == second] = second, first
    return other


def test_every_planted_swap_is_found_and_nothing_else() -> None:
    assert swaps(COSINES, TARGETS, ALONE) == []
    for first, second in itertools.combinations(range(5), 2):
        (result,) = swaps(COSINES, swap(TARGETS, first, second), ALONE)
        assert (result.first, result.second) == (first, second)
        assert abs(result.gain - 0.4) < 4 * result.error
        # Two differences of two cosines with a standard deviation of 0.1, each averaged over 12 items.
        assert result.error == pytest.approx((4 * 0.01 / 12) ** 0.5, rel=0.4)
    # Two swaps at once.
    mixed = swap(swap(TARGETS, 0, 3), 1, 4)
    assert {(result.first, result.second) for result in swaps(COSINES, mixed, ALONE)} == {(0, 3), (1, 4)}


def test_class_offsets_cause_no_swaps() -> None:
    lifted = COSINES + np.array([0, 5, 0, -3, 1])[None, :] + np.array([2, 0, 0, 7, 0])[TARGETS][:, None]
    assert np.allclose(swap_gains(lifted, TARGETS), swap_gains(COSINES, TARGETS))


def test_items_of_one_group_count_as_one_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = swap(TARGETS, 0, 1)
    assert swaps(COSINES, mixed, [str(target) for target in mixed]) == []
    two_scenes = [f"{target} {position % 2}" for position, target in enumerate(mixed)]
    monkeypatch.setattr(swapped_names, "ERRORS", 0.1)
    (result,) = swaps(COSINES, mixed, two_scenes)
    (by_item,) = swaps(COSINES, mixed, ALONE)
    assert result.gain == by_item.gain
    assert result.error != by_item.error


def test_a_class_without_items_is_in_no_swap() -> None:
    some = TARGETS != 2
    assert np.isneginf(swap_gains(COSINES[some], TARGETS[some])[2]).all()
    (result,) = swaps(COSINES[some], swap(TARGETS[some], 0, 4), ALONE[12:])
    assert (result.first, result.second) == (0, 4)
