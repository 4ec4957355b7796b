"""Pairs of rows that point the same way."""

from pathlib import Path

import numpy as np
import pytest

from texthead import likeness
from texthead.media_facts import HASH_BITS, Facts, Look


def test_pairs_are_those_of_all_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = {(i, j) for i in range(50) for j in range(i + 1, 50) if unit[i] @ unit[j] > 0.9}
    assert {(i, j) for i, j, _ in likeness.near_pairs(rows, 0.9)} == wanted
    monkeypatch.setattr(likeness, "_PART", 7)
    found = list(likeness.near_pairs(rows, 0.9))
    assert {(i, j) for i, j, _ in found} == wanted
    assert len(found) == len(wanted)
    for first, second, cosine in found:
        assert cosine == pytest.approx(unit[first] @ unit[second], abs=1e-6)


def test_a_row_of_zeros_is_like_no_other() -> None:
    assert list(likeness.near_pairs(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]), 0.0)) == []


def seen(bits: np.ndarray, contrast: float = 40.0) -> Facts:
    return Facts(Path("a"), look=Look(brightest=200.0, contrast=contrast, motion=0.0, bits=bits))


def test_files_are_alike_by_hash_up_to_a_tenth_of_the_bits() -> None:
    bits = np.random.default_rng(0).random(HASH_BITS) > 0.5
    near, far = bits.copy(), bits.copy()
    near[:90] ^= True
    far[:110] ^= True
    facts = [seen(bits), Facts(Path("b"), fault="damaged"), seen(far), seen(near), seen(bits, contrast=4.0)]
    # The two that were changed differ in 20 bits.
    assert likeness.alike_by_hash(facts) == {
        (0, 3): "hashes agree in 91 % of bits",
        (2, 3): "hashes agree in 98 % of bits",
    }


def test_files_are_alike_by_what_features_have_of_their_own() -> None:
    own = np.random.default_rng(1).normal(size=(40, 30))
    features = {place: row + 100 for place, row in enumerate(own)}
    features[41] = features[7] + 0.05
    facts = [seen(np.zeros(HASH_BITS, bool)) for _ in range(42)]
    assert set(likeness.alike_by_feature(facts, features)) == {(7, 41)}
    facts[7] = seen(np.zeros(HASH_BITS, bool), contrast=4.0)
    assert likeness.alike_by_feature(facts, features) == {}
    assert likeness.alike_by_feature(facts, {}) == {}
