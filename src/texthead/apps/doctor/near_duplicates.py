"""Pairs of files that look alike, by their edges and by features.

Of files with the same bytes, only the first is compared. n files that all look alike give n - 1 pairs that connect
them, not all n (n - 1) / 2: ten thousand frames of one camera would make fifty million.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from texthead.apps.doctor.file_stats import EDGES, FileStats

# Chosen on re-saved photos and on real datasets without copies: docs/decisions.md, 2026-11-29. SURE also holds for
# the colours.
EDGES_ALIKE, SURE = 0.9, 0.95

# Features of one class are also compared without the mean of its OTHERS or more other files: all photos of one texture
# are alike (docs/decisions.md, 2026-12-03).
FEATURES_ALIKE, IN_CLASS, OTHERS = 0.9, 0.75, 4

# 90 % of the pairs of drawn shapes whose edges agree only by shading are below this cosine (docs/decisions.md).
NOT_CONTRADICTED = 0.5

# Contrast in grey levels below which pictures (a clear sky) all look alike and are not compared.
_FLAT = 5.0

# Rows per block of the comparison.
_BLOCK = 1024


class Likeness(NamedTuple):
    """How alike two files are, in words, and whether they surely show the same."""

    words: str
    sure: bool = True


Alike = dict[tuple[int, int], Likeness]


def alike(
    facts: Sequence[FileStats],
    features: Mapping[int, Float[np.ndarray, " dim"]] | None = None,
    labels: Sequence[str] = (),
) -> Alike:
    """Return pairs of files that look alike; they are sure if pixels agree.

    Similar shading is enough for edges to agree, so a pair found by edges must also pass a weak test of its features,
    if it has any.

    Args:
        features: of items, by position; without features, only edges are compared.
        labels: the class of each item; empty if there are none.
    """
    pairs, centered = alike_by_edges(facts), _centered(features or {})
    for pair in [*pairs]:
        if all(index in centered for index in pair) and _cosine(*(centered[each] for each in pair)) <= NOT_CONTRADICTED:
            del pairs[pair]
    for pair, likeness in alike_by_feature(facts, features or {}).items():
        if _alike_in_class(pair, features or {}, labels):
            pairs[pair] = likeness._replace(sure=pair in pairs)  # Features make an unsure pair a sure one.
    return pairs


def _alike_in_class(
    pair: tuple[int, int], features: Mapping[int, Float[np.ndarray, " dim"]], labels: Sequence[str]
) -> bool:
    """Return whether two files are also alike among the others of their class; True if these are of two, or few."""
    one, other = pair
    same = labels and labels[one] == labels[other]
    others = [own for index, own in features.items() if same and labels[index] == labels[one] and index not in pair]
    if len(others) < OTHERS:
        return True
    mean = np.mean(others, axis=0)
    return _cosine(features[one] - mean, features[other] - mean) > IN_CLASS


def alike_by_edges(facts: Sequence[FileStats]) -> Alike:
    """Return pairs of files whose edges correlate; they are sure if edges and colours both do so closely.

    The mean is subtracted: if two pictures both get brighter to one side, all their edges agree.
    """
    positions = _comparable(facts)
    rows = np.zeros((len(positions), EDGES), np.float32)
    for row, position in zip(rows, positions, strict=True):
        row[:] = facts[position].edges - facts[position].edges.mean(dtype=np.float32)
    pairs: Alike = {}
    for first, second, cosine in near_pairs(rows, EDGES_ALIKE):
        pair = positions[first], positions[second]
        colours = [facts[position].colours.ravel().astype(np.float32) for position in pair]
        sure = cosine > SURE and _cosine(*(each - each.mean() for each in colours)) > SURE
        pairs[pair] = Likeness(f"correlation of edges {cosine:.2f}", sure)
    return pairs


def alike_by_feature(facts: Sequence[FileStats], features: Mapping[int, Float[np.ndarray, " dim"]]) -> Alike:
    """Return pairs of files whose centered features have a high cosine.

    Args:
        features: of items, by position.
    """
    centered = _centered(features)
    indices = [index for index in _comparable(facts) if index in centered]
    pairs = near_pairs(np.stack([centered[index] for index in indices]), FEATURES_ALIKE) if indices else ()
    words = "features' cosine {:.3f}"
    return {(indices[one], indices[other]): Likeness(words.format(cosine)) for one, other, cosine in pairs}


def _centered(features: Mapping[int, Float[np.ndarray, " dim"]]) -> dict[int, Float[np.ndarray, " dim"]]:
    center = np.mean([*features.values()], axis=0) if features else None
    return {index: feature - center for index, feature in features.items()}


def _cosine(first: Float[np.ndarray, " dim"], second: Float[np.ndarray, " dim"]) -> float:
    return float(first @ second) / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12)


def _comparable(facts: Sequence[FileStats]) -> list[int]:
    """Return the positions of files with enough contrast to be compared, the first of each set of copies."""
    first: dict[str, int] = {}
    for position, fact in enumerate(facts):
        if fact.contrast > _FLAT:
            first.setdefault(fact.digest, position)
    return [*first.values()]


def near_pairs(rows: Float[np.ndarray, "items dim"], above: float) -> list[tuple[int, int, float]]:
    """Return (first, second, cosine) for pairs of rows whose cosine is above the threshold, first < second.

    The pairs are a maximum spanning forest of all such pairs: n rows that are all alike give n - 1. A row of zeros has
    cosine 0 with all others. Time is quadratic in the number of rows (77 CPU-seconds for 100,000 of 512 numbers), extra
    memory is not.
    """
    shape, groups = (len(rows), len(rows)), np.arange(len(rows))
    forest = csr_array(shape)
    for start in range(0, len(rows), _BLOCK):
        block = _unit(rows[start : start + _BLOCK])
        for other in range(start, len(rows), _BLOCK):
            cosines = block @ _unit(rows[other : other + _BLOCK]).T
            near = np.triu(cosines > above, k=1 + start - other)
            if near.any():
                near &= groups[start : start + _BLOCK, None] != groups[other : other + _BLOCK]
            first, second = np.nonzero(near)
            if len(first):
                # The closest pairs become the shortest edges; a length of 0 would mean no edge.
                lengths = 2 - cosines[first, second].astype(float)
                forest = minimum_spanning_tree(forest + csr_array((lengths, (first + start, second + other)), shape))
                groups = connected_components(forest, directed=False)[1]
    pairs = forest.tocoo()
    return list(zip(pairs.row.tolist(), pairs.col.tolist(), (2 - pairs.data).tolist(), strict=True))


def _unit(rows: Float[np.ndarray, "items dim"]) -> Float[np.ndarray, "items dim"]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
