"""Pairs of files that look alike, by difference hashes and by features.

Of files with the same bytes, only the first is compared. n files that all look alike give n - 1 pairs that connect
them, not all n (n - 1) / 2: ten thousand frames of one camera would make fifty million.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Float, Int

from texthead.apps.doctor.facts import HASH_BITS, Appearance, Facts

# Chosen on re-saved photos and on real datasets without copies: LOG.md, 2026-11-25.
HASHES_ALIKE = 0.8

FEATURES_ALIKE = 0.9

# 90 % of the pairs of drawn shapes whose hashes agree only by shading are below this cosine: LOG.md, 2026-11-27.
NOT_CONTRADICTED = 0.5

# Contrast in grey levels below which pictures (a clear sky) all look alike and are not compared.
_FLAT = 5.0

# Rows per block of the comparison.
_BLOCK = 1024

Alike = dict[tuple[int, int], str]

Pairs = tuple[Int[np.ndarray, "2 _"], Float[np.ndarray, " _"]]


def alike(facts: Sequence[Facts], features: Mapping[int, Float[np.ndarray, " dim"]] | None = None) -> Alike:
    """Return pairs of files that look alike, with their similarity in words.

    Similar shading is enough for hashes to agree, so a pair found by hash must also pass a weak test of its features,
    if it has any.

    Args:
        features: of items, by position; without features, only hashes are compared.
    """
    by_hash = alike_by_hash(facts)
    if not features:
        return by_hash
    centre = _centre(features)
    return alike_by_feature(facts, features) | {
        pair: how
        for pair, how in by_hash.items()
        if not all(index in features for index in pair)
        or _cosine(*(features[index] - centre for index in pair)) > NOT_CONTRADICTED
    }


def alike_by_hash(facts: Sequence[Facts]) -> Alike:
    """Return pairs of files whose hashes correlate.

    The mean of each hash is subtracted: if two pictures both get brighter to one side, all their bits agree.
    """
    appearances = _comparable(facts)
    rows = np.zeros((len(appearances), HASH_BITS), np.float32)
    for row, appearance in zip(rows, appearances.values(), strict=True):
        row[:] = appearance.bits - appearance.bits.mean()
    return _pairs_in_words(list(appearances), rows, HASHES_ALIKE, lambda cosine: f"hash correlation {cosine:.2f}")


def alike_by_feature(facts: Sequence[Facts], features: Mapping[int, Float[np.ndarray, " dim"]]) -> Alike:
    """Return pairs of files whose centred features have a high cosine.

    Args:
        features: of items, by position.
    """
    indices = [index for index in _comparable(facts) if index in features]
    if not indices:
        return {}
    centre = _centre(features)
    rows = np.stack([features[index] - centre for index in indices])
    return _pairs_in_words(indices, rows, FEATURES_ALIKE, lambda cosine: f"features' cosine {cosine:.3f}")


def _centre(features: Mapping[int, Float[np.ndarray, " dim"]]) -> Float[np.ndarray, " dim"]:
    return np.mean(list(features.values()), axis=0)


def _cosine(first: Float[np.ndarray, " dim"], second: Float[np.ndarray, " dim"]) -> float:
    return float(first @ second) / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12)


def _comparable(facts: Sequence[Facts]) -> dict[int, Appearance]:
    """Return the appearance of files with enough contrast to be compared, by position; one of each set of copies."""
    first: dict[str, int] = {}
    for position, fact in enumerate(facts):
        if fact.appearance is not None and fact.appearance.contrast > _FLAT:
            first.setdefault(fact.digest, position)
    return {
        position: appearance for position in first.values() if (appearance := facts[position].appearance) is not None
    }


def _pairs_in_words(
    indices: Sequence[int], rows: Float[np.ndarray, "items dim"], above: float, words: Callable[[float], str]
) -> Alike:
    return {(indices[first], indices[second]): words(cosine) for first, second, cosine in near_pairs(rows, above)}


def near_pairs(rows: Float[np.ndarray, "items dim"], above: float) -> list[tuple[int, int, float]]:
    """Return (first, second, cosine) for pairs of rows whose cosine is above the threshold, first < second.

    The pairs are a maximum spanning forest of all such pairs: n rows that are all alike give n - 1. A row of zeros has
    cosine 0 with all others. Time is quadratic in the number of rows, extra memory is not
    (docs/reference/reliability.md has both for 100,000).
    """
    count, pairs = len(rows), (np.zeros((2, 0), int), np.zeros(0))
    groups = np.arange(count)
    for start in range(0, count, _BLOCK):
        block = _unit(rows[start : start + _BLOCK])
        for other in range(start, count, _BLOCK):
            cosines = block @ _unit(rows[other : other + _BLOCK]).T
            near = np.triu(cosines > above, k=1 + start - other)
            if near.any():
                near &= groups[start : start + _BLOCK, None] != groups[other : other + _BLOCK]
            first, second = np.nonzero(near)
            if len(first):
                more = np.stack([first + start, second + other]), cosines[first, second]
                pairs, groups = _joined(pairs, more, count)
    (first, second), cosines = pairs
    return list(zip(first.tolist(), second.tolist(), cosines.tolist(), strict=True))


def _joined(pairs: Pairs, more: Pairs, count: int) -> tuple[Pairs, Int[np.ndarray, " items"]]:
    """Return (a maximum spanning forest of all pairs, the connected component of each item)."""
    ends, cosines = (np.concatenate(both, axis=-1) for both in zip(pairs, more, strict=True))
    # The closest pairs become the shortest edges; a length of 0 would mean no edge.
    graph = scipy.sparse.csr_array((2 - cosines, tuple(ends)), (count, count))
    tree = scipy.sparse.csgraph.minimum_spanning_tree(graph).tocoo()
    groups = scipy.sparse.csgraph.connected_components(tree, directed=False)[1]
    return (np.stack([tree.row, tree.col]), 2 - tree.data), groups


def _unit(rows: Float[np.ndarray, "items dim"]) -> Float[np.ndarray, "items dim"]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
