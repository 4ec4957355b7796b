"""Pairs of files that look alike, by the hashes of their pictures and by their features."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from texthead.media_facts import HASH_BITS, Facts

# Set on photos saved again and on real sets that hold no copies: LOG.md, 2026-11-25.
HASHES_ALIKE = 0.8
FEATURES_ALIKE = 0.9
# Pictures of hardly more than one colour (a clear sky) are all alike, in grey levels.
_FLAT = 5.0
# So many rows are compared with all others at once.
_PART = 1024

Alike = dict[tuple[int, int], str]


def alike_by_hash(facts: Sequence[Facts]) -> Alike:
    """How alike two files are whose hashes differ in less than a tenth of their bits."""
    rows = np.zeros((len(facts), HASH_BITS), np.float32)
    for row, fact in zip(rows, facts, strict=True):
        if fact.look is not None and _is_told_apart(fact):
            # The cosine of such rows is 1 - 2 x the part of the bits that differ.
            row[:] = np.where(fact.look.bits, 1, -1)
    return {(a, b): f"hashes agree in {50 + 50 * c:.0f} % of bits" for a, b, c in near_pairs(rows, HASHES_ALIKE)}


def alike_by_feature(facts: Sequence[Facts], features: Mapping[int, Float[np.ndarray, " dim"]]) -> Alike:
    """How alike two files are whose features point the same way once their common part is gone.

    Args:
        features: of the items that have one, by position.
    """
    if not features:
        return {}
    centre = np.mean(list(features.values()), axis=0)
    places = [place for place in features if _is_told_apart(facts[place])]
    rows = np.stack([features[place] - centre for place in places]) if places else np.zeros((0, 1))
    pairs = near_pairs(rows, FEATURES_ALIKE)
    return {(places[a], places[b]): f"features' cosine {cosine:.3f}" for a, b, cosine in pairs}


def _is_told_apart(fact: Facts) -> bool:
    """Whether there is enough to be seen that another picture would look different."""
    return fact.look is not None and fact.look.contrast > _FLAT


def near_pairs(rows: Float[np.ndarray, "items dim"], above: float) -> Iterator[tuple[int, int, float]]:
    """(first, second, cosine) of each pair of rows whose cosine is above the threshold, first < second.

    A row of zeros has cosine 0 with all. Time grows with the square of the number of rows: 10,000 of
    1,280 numbers take 1.6 CPU seconds.
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    for start in range(0, len(unit), _PART):
        cosines = unit[start : start + _PART] @ unit[start:].T
        for first, second in np.argwhere(np.triu(cosines > above, k=1)).tolist():
            yield start + first, start + second, float(cosines[first, second])
