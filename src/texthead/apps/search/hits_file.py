"""Hits as a CSV file."""

import math
from collections.abc import Sequence
from pathlib import Path

from texthead.apps.search.search import Hit
from texthead.files import write_csv
from texthead.media import MediaPath


def write_hits(hits: Sequence[Hit], out: Path, base: Path | None = None) -> None:
    """Write hits as a CSV.

    Args:
        hits: the score of one that was marked but not searched for is NaN, and not written.
        base: the folder that files are named from; that of `out` if None.

    Raises:
        RunError: it cannot be written.
    """
    rows = []
    for hit in hits:
        path, end = MediaPath(hit.path).relative_to(base or out.parent), None if math.isinf(hit.end) else hit.end
        score = None if math.isnan(hit.score) else hit.score
        rows.append((path, hit.start, end, score, hit.probability, "; ".join(hit.copies)))
    write_csv(out, ("path", "start", "end", "score", "probability", "copies"), rows)
