"""Pairs of files that look alike, by the hashes of their pictures and by their features.

Files with the same bytes count once, by the first of them. Of files that are all alike there are as many pairs as hold
them together, so that ten thousand frames of one camera make ten thousand pairs and not fifty million.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Float, Int

from texthead.doctor.facts import HASH_BITS, Appearance, Facts

# Set on photos saved again and on real sets that hold no copies: LOG.md, 2026-11-25.
HASHES_ALIKE = 0.8

FEATURES_ALIKE = 0.9

# Of drawn shapes on shaded grounds, where hashes agree by chance, nine in ten pairs are below: LOG.md, 2026-11-27.
NOT_CONTRADICTED = 0.5

# Pictures of hardly more than one colour (a clear sky) are all alike, in grey levels.
_FLAT = 5.0

# So many rows are compared with as many others at once.
_PART = 1024

Alike = dict[tuple[int, int], str]

Pairs = tuple[Int[np.ndarray, "2 _"], Float[np.ndarray, " _"]]


def alike(facts: Sequence[Facts], features: Mapping[int, Float[np.ndarray, " dim"]] | None = None) -> Alike:
    """How alike two files are whose hashes or features agree.

    Shading alone makes hashes agree: a pair that both have features is one only if these do not contradict.

    Args:
        features: of the items that have one, by position; without them hashes alone count.
    """
    by_hash = alike_by_hash(facts)
    if not features:
        return by_hash
    centre = _centre(features)
    return alike_by_feature(facts, features) | {
        pair: how
        for pair, how in by_hash.items()
        if not all(place in features for place in pair)
        or _cosine(*(features[place] - centre for place in pair)) > NOT_CONTRADICTED
    }


def alike_by_hash(facts: Sequence[Facts]) -> Alike:
    """How alike two files are whose hashes correlate.

    A hash's mean is taken off: all bits of two pictures agree where both grow brighter to one side.
    """
    looks = _told_apart(facts)
    rows = np.zeros((len(looks), HASH_BITS), np.float32)
    for row, look in zip(rows, looks.values(), strict=True):
        row[:] = look.bits - look.bits.mean()
    return _named(list(looks), rows, HASHES_ALIKE, lambda cosine: f"hashes' correlation {cosine:.2f}")


def alike_by_feature(facts: Sequence[Facts], features: Mapping[int, Float[np.ndarray, " dim"]]) -> Alike:
    """How alike two files are whose features point the same way once their common part is gone.

    Args:
        features: of the items that have one, by position.
    """
    places = [place for place in _told_apart(facts) if place in features]
    if not places:
        return {}
    centre = _centre(features)
    rows = np.stack([features[place] - centre for place in places])
    return _named(places, rows, FEATURES_ALIKE, lambda cosine: f"features' cosine {cosine:.3f}")


def _centre(features: Mapping[int, Float[np.ndarray, " dim"]]) -> Float[np.ndarray, " dim"]:
    return np.mean(list(features.values()), axis=0)


def _cosine(first: Float[np.ndarray, " dim"], second: Float[np.ndarray, " dim"]) -> float:
    return float(first @ second) / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12)


def _told_apart(facts: Sequence[Facts]) -> dict[int, Appearance]:
    """What the files look like in which there is enough to be seen that another would look different, by position."""
    first: dict[str, int] = {}
    for position, fact in enumerate(facts):
        if fact.look is not None and fact.look.contrast > _FLAT:
            first.setdefault(fact.digest, position)
    return {position: look for position in first.values() if (look := facts[position].look) is not None}


def _named(
    places: Sequence[int], rows: Float[np.ndarray, "items dim"], above: float, words: Callable[[float], str]
) -> Alike:
    return {(places[first], places[second]): words(cosine) for first, second, cosine in near_pairs(rows, above)}


def near_pairs(rows: Float[np.ndarray, "items dim"], above: float) -> list[tuple[int, int, float]]:
    """(first, second, cosine) of pairs of rows whose cosine is above the threshold, first < second.

    They hold together what all such pairs do: of n rows that are all alike there are n - 1. A row of zeros has cosine 0
    with all. Time grows with the square of the number of rows (docs/reference/reliability.md has times), memory beside
    the rows does not.
    """
    count, pairs = len(rows), (np.zeros((2, 0), int), np.zeros(0))
    groups = np.arange(count)
    for start in range(0, count, _PART):
        here = _unit(rows[start : start + _PART])
        for other in range(start, count, _PART):
            cosines = here @ _unit(rows[other : other + _PART]).T
            near = np.triu(cosines > above, k=1 + start - other)
            if near.any():
                near &= groups[start : start + _PART, None] != groups[other : other + _PART]
            first, second = np.nonzero(near)
            if len(first):
                more = np.stack([first + start, second + other]), cosines[first, second]
                pairs, groups = _joined(pairs, more, count)
    (first, second), cosines = pairs
    return list(zip(first.tolist(), second.tolist(), cosines.tolist(), strict=True))


def _joined(pairs: Pairs, more: Pairs, count: int) -> tuple[Pairs, Int[np.ndarray, " items"]]:
    """(as many of the pairs as hold together what all of them do, the group of each item)."""
    ends, cosines = (np.concatenate(both, axis=-1) for both in zip(pairs, more, strict=True))
    # The closest are the shortest edges; none is 0, which would be no edge.
    graph = scipy.sparse.csr_array((2 - cosines, tuple(ends)), (count, count))
    tree = scipy.sparse.csgraph.minimum_spanning_tree(graph).tocoo()
    groups = scipy.sparse.csgraph.connected_components(tree, directed=False)[1]
    return (np.stack([tree.row, tree.col]), 2 - tree.data), groups


def _unit(rows: Float[np.ndarray, "items dim"]) -> Float[np.ndarray, "items dim"]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
