"""Rank the windows of an index by a query; neighbouring windows of a video are one hit."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead.apps.search.index import Index
from texthead.features import FrozenEncoder, Reading
from texthead.models import Head, text_rows


class Hit(NamedTuple):
    """A moment of a video, or an image.

    Attributes:
        path: the file.
        start, end: in seconds; `end` is infinite at the end of the file.
        score: the cosine of its best window and the query.
        probability: calibrated (0-1); None if there is no calibration.
        window: the best window of the index.
        copies: the number of other windows that this hit stands for.
    """

    path: Path
    start: float
    end: float
    score: float
    probability: float | None
    window: int
    copies: int


class Results(NamedTuple):
    """Hits, the best first; whether the best one stands out against chance, and a note on that."""

    hits: list[Hit]
    fits: bool
    note: str


def search(
    index: Index, query: str | Sequence[str] | Path | Head, *, avoid: Sequence[str] = (), top: int = 20
) -> Results:
    """Return the hits of words, prompts, an image or clip by example, a class of the index's run, or a head."""
    center = index.features.float().mean(0)
    row = F.normalize(_row(index, query) - (0 if isinstance(query, str | Sequence) else center), dim=-1)
    scores = F.normalize(index.features.float() - center, dim=-1) @ row
    hits: list[Hit] = []
    taken: dict[int, list[int]] = {}
    for window in scores.argsort(descending=True).tolist():
        file = int(index.file_of[window])
        if any(abs(window - other) == 1 for other in taken.get(file, ())):
            taken[file].append(window)
            continue
        if len(hits) == top:
            break
        taken.setdefault(file, []).append(window)
        start, end = index.spans[window].tolist()
        hits.append(Hit(index.media(window).file, start, end, float(scores[window]), None, window, 0))
    return Results(hits, True, "")


def _row(index: Index, query: str | Sequence[str] | Path | Head) -> Float[Tensor, " dim"]:
    """Return the query's embedding."""
    if isinstance(query, Path):
        return FrozenEncoder(index.encoder, reading=Reading(cache=True)).files(query).features[0]
    if isinstance(query, str | Sequence):
        return text_rows(index.encoder, [[query] if isinstance(query, str) else list(query)])[0]
    assert isinstance(query.weight, Tensor)
    return query.weight[0].detach()
