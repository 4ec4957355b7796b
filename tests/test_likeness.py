"""Pairs of rows that point the same way."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from made import taken
from texthead import likeness
from texthead.media_facts import HASH_BITS, Appearance, Facts


def groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The first row that each row hangs together with."""
    first = list(range(count))
    for one, other in pairs:
        joined = {first[one], first[other]}
        first = [min(joined) if own in joined else own for own in first]
    return first


@pytest.mark.parametrize("part", [7, 50, 4096])
@pytest.mark.parametrize("above", [0.9, 0.97, 0.999])
def test_pairs_hold_together_what_all_cosines_do(part: int, above: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    every = [(i, j) for i in range(50) for j in range(i + 1, 50) if unit[i] @ unit[j] > above]
    wanted = groups(50, every)
    monkeypatch.setattr(likeness, "_PART", part)
    found = likeness.near_pairs(rows, above)
    assert groups(50, [(i, j) for i, j, _ in found]) == wanted
    # No more than that takes, and each of them is above.
    assert len(found) == 50 - len(set(wanted))
    assert {(i, j) for i, j, _ in found} <= set(every)
    for first, second, cosine in found:
        assert cosine == pytest.approx(unit[first] @ unit[second], abs=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_rows_that_are_all_alike_take_bounded_memory() -> None:
    """Of 8,000 rows 32 million pairs are above; as places and cosines alone they would be 768 MB, twice that on the way."""
    rng = np.random.default_rng(0)
    rows = np.ones((8000, 8), np.float32) + rng.normal(0, 0.01, (8000, 8)).astype(np.float32)
    said, grown = taken(lambda: likeness.near_pairs(rows, 0.9))
    assert said == "no error"
    assert grown < 250 * 2**20
    assert len(likeness.near_pairs(rows[:3000], 0.9)) == 2999


def test_a_row_of_zeros_is_like_no_other() -> None:
    assert list(likeness.near_pairs(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]), 0.0)) == []


def seen(bits: np.ndarray, name: object, contrast: float = 40.0) -> Facts:
    return Facts(
        Path("a"), digest=str(name), look=Appearance(brightest=200.0, contrast=contrast, motion=0.0, bits=bits)
    )


def test_files_are_alike_by_hash_up_to_a_tenth_of_the_bits() -> None:
    bits = np.random.default_rng(0).random(HASH_BITS) > 0.5
    near, far = bits.copy(), bits.copy()
    near[:90] ^= True
    far[:110] ^= True
    facts = [seen(bits, 0), Facts(Path("b"), fault="damaged"), seen(far, 2), seen(near, 3), seen(bits, 4, contrast=4.0)]
    # The two that were changed differ in 20 bits.
    pairs = {(0, 3): "hashes agree in 91 % of bits", (2, 3): "hashes agree in 98 % of bits"}
    assert likeness.alike_by_hash(facts) == pairs
    # What has the bytes of another is found by those.
    assert likeness.alike_by_hash([*facts, facts[3]]) == pairs


def test_files_are_alike_by_what_features_have_of_their_own() -> None:
    own = np.random.default_rng(1).normal(size=(40, 30))
    features = {place: row + 100 for place, row in enumerate(own)}
    features[41] = features[7] + 0.05
    facts = [seen(np.zeros(HASH_BITS, bool), place) for place in range(42)]
    assert set(likeness.alike_by_feature(facts, features)) == {(7, 41)}
    facts[7] = seen(np.zeros(HASH_BITS, bool), 7, contrast=4.0)
    assert likeness.alike_by_feature(facts, features) == {}
    assert likeness.alike_by_feature(facts, {}) == {}
