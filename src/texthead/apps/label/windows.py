"""Cut long unlabelled videos into windows of similar frames, to be labelled one by one."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead.data import Dataset, Item
from texthead.encoders import Encoder
from texthead.errors import MediaError
from texthead.features import Reading, frame_features
from texthead.media import Media, MediaPath, Span, Video, spans_by_file
from texthead.parallel import Reporter

# Seconds between sampled frames, and the fewest and most of these in a window.
EVERY, SHORTEST, LONGEST = 1.0, 2, 10

# How much a further window must reduce the spread of features within windows, as a multiple of the median distance of
# neighbouring frames; and a lower bound of that, for still videos.
PENALTY, LEAST_PENALTY = 3.0, 0.02


def cut(features: Float[Tensor, "frames dim"]) -> list[int]:
    """Return the indices at which windows begin among equally spaced frames.

    The windows minimise exactly, by dynamic programming, the sum of squared distances of unit features to their
    window's mean, plus a constant per window. Each has 2 to 10 frames; fewer than four frames are one window.

    Source: optimal partitioning (Jackson et al., IEEE Signal Processing Letters, 2005).
    """
    x = F.normalize(features.double(), dim=-1).numpy()
    count = len(x)
    if count < 2 * SHORTEST:
        return [0]
    sums = np.concatenate([np.zeros((1, x.shape[1])), x.cumsum(0)])
    neighbours = 1 - (x[1:] * x[:-1]).sum(1)
    penalty = max(PENALTY * float(np.median(neighbours)), LEAST_PENALTY)
    best, before = np.full(count + 1, np.inf), np.zeros(count + 1, dtype=int)
    best[0] = -penalty
    for end in range(SHORTEST, count + 1):
        starts = np.arange(max(0, end - LONGEST), end - SHORTEST + 1)
        spread = (end - starts) - ((sums[end] - sums[starts]) ** 2).sum(1) / (end - starts)
        costs = best[starts] + spread + penalty
        index = int(costs.argmin())
        best[end], before[end] = costs[index], starts[index]
    begins, end = [], count
    while end:
        end = int(before[end])
        begins.append(end)
    return begins[::-1]


def cut_files(
    files: Dataset,
    encoder: Encoder,
    reading: Reading,
    *,
    above: float,
    known: Sequence[Path] = (),
    reporter: Reporter = Reporter(),
) -> Dataset:
    """Return the files with each long video replaced by its windows.

    With encoders of whole clips, windows have equal lengths.

    Args:
        above: cut only videos longer than this, in seconds.
        known: labelled paths. Labelled files are not cut, labelled parts stay, and windows that overlap with them are
            left out.
    """
    labelled = spans_by_file(MediaPath(path).resolved() for path in known)
    items: list[Item] = []
    with reporter.bar("look for long videos", "files") as progress:
        for done, item in enumerate(files.items, 1):
            labelled_spans = labelled.get(item.media.resolved().path, [])
            starts: list[float] = []
            if not item.media.is_part and item.media.reader.kind == Video.kind and Span() not in labelled_spans:
                starts = _starts(item.path, encoder, reading, above)
            windows = [Span(*pair) for pair in pairwise([*starts, math.inf])]
            free = [window for window in windows if not any(window.overlaps(span) for span in labelled_spans)]
            spans = sorted({*free, *labelled_spans}) if starts or labelled_spans else []
            items += [replace(item, path=item.media.part(span).path) for span in spans] or [item]
            progress(done, len(files))
    return replace(files, items=tuple(items))


def _starts(path: Path, encoder: Encoder, reading: Reading, above: float) -> list[float]:
    """Return where windows of a video begin, in seconds; an empty list if it is short or unreadable."""
    try:
        with MediaPath(path).open() as media:
            if media.duration_seconds <= above:
                return []
            frames = _frames(media)
    except MediaError:
        return []  # The error is reported when the file is encoded.
    if encoder.visual.spec.unit != "frame":
        return [EVERY * start for start in range(0, len(frames), LONGEST // 2)]
    choose = partial(_fixed_frames, frames=frames)
    (entry,) = frame_features(encoder.visual, [path], choose, encoder.visual.spec.pixels(), reading)
    if isinstance(entry, MediaError):
        return []
    row_of = {index: row for row, index in enumerate(entry.indices)}
    return [EVERY * start for start in cut(entry.features[[row_of[index] for index in frames]])]


def _frames(media: Media) -> list[int]:
    """Return the index of the frame in the middle of each second."""
    middles = np.arange(EVERY / 2, media.duration_seconds, EVERY)
    return np.clip(np.searchsorted(media.times, middles, side="right") - 1, 0, media.num_frames - 1).tolist()


def _fixed_frames(length: int, frames: Sequence[int]) -> list[int]:
    """Return the same frames for every length."""
    return list(frames)
