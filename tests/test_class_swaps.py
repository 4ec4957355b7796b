"""Swapped names, on cosines that are drawn."""

import numpy as np
import pytest

from texthead.class_swaps import swap_gains, swaps


def drawn(each: int = 12, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cosines whose own name is 0.2 above the others, and the targets; every name has a height of its own."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(classes), each)
    cosines = rng.normal(0, 0.1, (len(targets), classes)) + np.linspace(0, 1, classes)
    cosines[np.arange(len(targets)), targets] += 0.2
    return cosines, targets


def planted(targets: np.ndarray, first: int, second: int) -> np.ndarray:
    other = targets.copy()
    other[targets == first], other[targets == second] = second, first
    return other


def alone(targets: np.ndarray) -> list[str]:
    return [str(position) for position in range(len(targets))]


def test_no_swap_where_there_is_none() -> None:
    cosines, targets = drawn()
    assert swaps(cosines, targets, alone(targets)) == []


def test_every_planted_swap_is_found_and_nothing_else() -> None:
    cosines, targets = drawn()
    for first in range(5):
        for second in range(first + 1, 5):
            mixed = planted(targets, first, second)
            (found,) = swaps(cosines, mixed, alone(mixed))
            assert (found.first, found.second) == (first, second)
            assert abs(found.gain - 0.4) < 4 * found.error
            # Two differences of two cosines of deviation 0.1, each a mean over 12.
            assert found.error == pytest.approx((4 * 0.01 / 12) ** 0.5, rel=0.4)


def test_two_swaps_at_once() -> None:
    cosines, targets = drawn()
    mixed = planted(planted(targets, 0, 3), 1, 4)
    assert {(found.first, found.second) for found in swaps(cosines, mixed, alone(mixed))} == {(0, 3), (1, 4)}


def test_heights_of_names_and_of_pictures_make_no_gain() -> None:
    cosines, targets = drawn()
    before = swap_gains(cosines, targets)
    lifted = cosines + np.array([0, 5, 0, -3, 1])[None, :] + np.array([2, 0, 0, 7, 0])[targets][:, None]
    assert np.allclose(swap_gains(lifted, targets), before)


def test_items_of_one_group_count_as_one_witness() -> None:
    cosines, targets = drawn()
    mixed = planted(targets, 0, 1)
    one_scene = [str(target) for target in mixed]
    assert swaps(cosines, mixed, one_scene) == []
    two_scenes = [f"{target} {position % 2}" for position, target in enumerate(mixed)]
    (found,) = swaps(cosines, mixed, two_scenes, errors=0.1)
    (by_item,) = swaps(cosines, mixed, alone(mixed))
    assert found.gain == by_item.gain
    assert found.error != by_item.error


def test_a_class_without_items_is_in_no_swap() -> None:
    cosines, targets = drawn()
    some = targets != 2
    gains = swap_gains(cosines[some], targets[some])
    assert np.isneginf(gains[2]).all()
    (found,) = swaps(cosines[some], planted(targets[some], 0, 4), alone(targets[some]))
    assert (found.first, found.second) == (0, 4)
