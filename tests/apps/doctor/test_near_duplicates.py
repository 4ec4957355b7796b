"""Near duplicates: rows that point in the same direction, and similar hashes."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from made import taken
from messages import prints
from texthead.apps.doctor import near_duplicates
from texthead.apps.doctor.facts import HASH_BITS, Appearance, Facts


def label_groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Label each row by the first row that pairs connect it to."""
    first = list(range(count))
    for one, other in pairs:
        joined = {first[one], first[other]}
        first = [min(joined) if own in joined else own for own in first]
    return first


@pytest.mark.parametrize("part", [7, 50, 4096])
@pytest.mark.parametrize("above", [0.9, 0.97, 0.999])
def test_pairs_connect_the_same_groups_as_all_cosines(part: int, above: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    every = [(i, j) for i in range(50) for j in range(i + 1, 50) if unit[i] @ unit[j] > above]
    expected = label_groups(50, every)
    monkeypatch.setattr(near_duplicates, "_BLOCK", part)
    result = near_duplicates.near_pairs(rows, above)
    pairs = {(first, second) for first, second, _ in result}
    assert pairs <= set(every)
    # No more pairs than these groups need.
    assert label_groups(50, pairs) == expected
    assert len(result) == 50 - len(set(expected))
    for first, second, cosine in result:
        assert cosine == pytest.approx(unit[first] @ unit[second], abs=1e-6)
    # A row of zeros is similar to no other.
    assert near_duplicates.near_pairs(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]), 0.0) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_rows_that_are_all_alike_take_bounded_memory() -> None:
    """5,000 rows have 12 million pairs above 0.9; positions and cosines alone take 300 MB, twice that while built."""
    rows = 1 + np.random.default_rng(0).normal(0, 0.01, (5000, 8)).astype(np.float32)
    error, grown = taken(lambda: near_duplicates.near_pairs(rows, 0.9))
    assert error == "no error"
    assert grown < 250 * 2**20
    assert len(near_duplicates.near_pairs(rows[:1000], 0.9)) == 999


def make_facts(bits: np.ndarray, name: object, contrast: float = 40.0) -> Facts:
    appearance = Appearance(brightest=200.0, contrast=contrast, motion=0.0, bits=bits)
    return Facts(Path("a"), digest=str(name), appearance=appearance)


def test_files_are_alike_by_hash_up_to_a_tenth_of_the_bits() -> None:
    bits = np.random.default_rng(0).random(HASH_BITS) > 0.5
    near, far = bits.copy(), bits.copy()
    near[:90] ^= True
    far[:110] ^= True
    facts = [make_facts(bits, 0), Facts(Path("b"), fault="damaged"), make_facts(far, 2), make_facts(near, 3)]
    facts.append(make_facts(bits, 4, contrast=4.0))
    pairs = near_duplicates.alike_by_hash(facts)
    assert list(pairs) == [(0, 3), (2, 3)]
    prints(pairs[0, 3], "0.82")
    # Rows 2 and 3 were changed from row 0 and differ in 20 bits.
    prints(pairs[2, 3], "0.96")
    # Exact copies are left out: they are found by their bytes.
    assert near_duplicates.alike_by_hash([*facts, facts[3]]) == pairs


def test_alike_by_centred_features() -> None:
    own = np.random.default_rng(1).normal(size=(40, 30))
    features = {index: row + 100 for index, row in enumerate(own)}
    features[41] = features[7] + 0.05
    facts = [make_facts(np.zeros(HASH_BITS, bool), index) for index in range(42)]
    assert set(near_duplicates.alike_by_feature(facts, features)) == {(7, 41)}
    facts[7] = make_facts(np.zeros(HASH_BITS, bool), 7, contrast=4.0)
    assert near_duplicates.alike_by_feature(facts, features) == {}
    assert near_duplicates.alike_by_feature(facts, {}) == {}


def test_gradients_alone_are_not_alike() -> None:
    """All bits of a smooth gradient are equal, whatever the picture shows."""
    draws = np.random.default_rng(0)
    shades = [np.ones(HASH_BITS, bool) ^ (draws.random(HASH_BITS) < 0.04) for _ in range(2)]
    assert near_duplicates.alike_by_hash([make_facts(bits, name) for name, bits in enumerate(shades)]) == {}


def test_features_that_contradict_a_hash_are_believed() -> None:
    bits = np.random.default_rng(0).random(HASH_BITS) > 0.5
    facts = [make_facts(bits, name) for name in range(3)]
    assert set(near_duplicates.alike(facts)) == {(0, 1), (0, 2)}
    features = {0: np.array([1.0, 0.1, 0]), 1: np.array([-1, 0.2, 0.3]), 2: np.array([0.9, 0.2, 0.6])}
    assert set(near_duplicates.alike(facts, features)) == {(0, 2)}
    # For a file without features only the hash counts.
    del features[1]
    assert (0, 1) in near_duplicates.alike(facts, features)
