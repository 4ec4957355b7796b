"""Videos -> windows of similar frames with their features, kept in one file that is read by memory map."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from texthead import Encoder, MeanPool, Protocol, ReadOptions, Recognizer, Reporter
from texthead.errors import MediaError, reason
from texthead.features import encode, item_features
from texthead.files import replacing
from texthead.media import MediaPath, Span
from texthead.parallel import FileDataset, read_each
from texthead.platform import MAPPED_FILES_ARE_REPLACEABLE

# Seconds between sampled frames, and the fewest and most of these in a window.
EVERY, SHORTEST, LONGEST = 1.0, 2, 10

# Frames of a video that is shorter than so many seconds, and so not cut.
_MIN_POINTS = 4

# How much a further window must reduce the spread of features within windows, as a multiple of the median distance of
# neighbouring frames; and a lower bound of that, for still videos.
PENALTY, MIN_PENALTY = 3.0, 0.02

# Files whose frame times are in memory at once.
_FILES = 500


# The spans of a file's windows in seconds from its first frame, which together have all its frames; and their features.
Encoded = tuple[list[Span], Float[Tensor, "windows dim"]]


class _Grid(NamedTuple):
    """The frames sampled from a video, and their distance in seconds."""

    frames: list[int]
    step: float


# A file and the frames sampled from it; None if it is not cut, or cannot be read.
_Sampled = tuple[MediaPath, _Grid | None]

# Largest number in half precision.
_LARGEST = 65504.0


@dataclass(frozen=True, eq=False, repr=False)
class Windows:
    """The windows of files; an image, a frame folder or a part of a video is one window.

    Attributes:
        paths: the files.
        problems: why a file cannot be read, by its path; such files have no window.
        file_of: for each window the position of its file, ascending.
        spans: start and end of each window, in seconds from the first frame of its file; infinite at the end.
        features: the feature of each window in half precision, not normalised; a memory map.
    """

    paths: list[str]
    problems: dict[str, str]
    file_of: Int[Tensor, " windows"]
    spans: Float[Tensor, "windows 2"]
    features: Float[Tensor, "windows dim"]


def as_model(model: Encoder | Recognizer) -> Recognizer:
    """Return a model whose features are those of an encoder, their mean over frames; a model as it is."""
    return Recognizer(model.visual, MeanPool(), nn.Identity()) if isinstance(model, Encoder) else model


def encode_windows(
    model: Recognizer | Encoder,
    paths: Sequence[Path | str],
    protocol: Protocol | None = None,
    reading: ReadOptions = ReadOptions(),
    reporter: Reporter = Reporter(),
    *,
    file: Path | None = None,
) -> Windows:
    """Return the windows of files with their features.

    A video is sampled once a second, at least four times, and cut where its frames change (`cut`); the feature of a
    window is the mean of its frames. If the encoder takes whole clips, or the temporal module is not a mean, videos are
    cut into windows of five seconds, each encoded as a part of its file.

    Args:
        protocol: sizes, and the frames of all that is not cut; the model's own if None.
        reading: how files are read. With a cache, a renamed or touched file is not encoded again, and an interrupted
            call continues where it was. Unreadable files are always left out.
        file: keeps the windows; the next call encodes only files that are new or have changed, and tries unreadable
            ones again only then. It is for one model and protocol: `Recognizer.features_digest` tells models apart.

    Raises:
        RunError: `file` cannot be written.
    """
    model = as_model(model)
    protocol = protocol or model.protocol
    names, stamps = [str(path) for path in paths], [MediaPath(path).stamp() for path in paths]
    old, old_stamps = (None, []) if file is None else _read(file, reporter)
    if old and (old.paths, old_stamps) == (names, stamps) and all(stamps):
        return old
    known = zip(old.paths if old else (), old_stamps, strict=True)
    row_of = {stamped: row for row, stamped in enumerate(known) if stamped[1]}
    rows = [row_of.get(stamped) for stamped in zip(names, stamps, strict=True)]
    new = [Path(name) for name, row in zip(names, rows, strict=True) if row is None]
    encoded = windows_of(model, new, protocol, reading, reporter)
    problems, file_of, spans, features = dict[str, str](), list[int](), list[Span](), list[Tensor]()
    for position, (name, row) in enumerate(zip(names, rows, strict=True)):
        if old is None or row is None:
            entry = next(encoded)
        elif name in old.problems:
            entry = MediaError(name, old.problems[name])
        else:
            begin, end = torch.searchsorted(old.file_of, torch.tensor([row, row + 1], dtype=torch.int32)).tolist()
            entry = [Span(*span) for span in old.spans[begin:end].tolist()], old.features[begin:end]
        if not isinstance(entry, MediaError) and entry[1].isnan().any():
            entry = MediaError(name, "its features are not numbers (NaN): the encoder overflows; use another one")
        if isinstance(entry, MediaError):
            problems[name] = entry.problem
            continue
        file_of += [position] * len(entry[0])
        spans += [media.span] if (media := MediaPath(name)).is_part else entry[0]
        features.append(entry[1].clamp(-_LARGEST, _LARGEST).half())
    windows = Windows(
        names,
        problems,
        torch.tensor(file_of, dtype=torch.int32),
        torch.tensor(spans, dtype=torch.float64).view(-1, 2),
        torch.cat(features) if features else torch.empty(0, 0, dtype=torch.half),
    )
    if file is None:
        return windows
    texts = torch.frombuffer(bytearray(json.dumps([names, windows.problems, stamps]).encode()), dtype=torch.uint8)
    arrays = {"file_of": windows.file_of, "spans": windows.spans, "features": windows.features}
    with replacing(file, sync=False) as temporary:
        save_file({**arrays, "texts": texts}, temporary)
    return _read(file, reporter)[0] or windows


def _read(file: Path, reporter: Reporter) -> tuple[Windows | None, list[str]]:
    """Return the windows in a file, and the stamps of their files; None if there is no file, or it is damaged."""
    if not file.is_file():  # Opening a pipe could block.
        return None, []
    try:
        with safe_open(file, "pt") as saved:
            texts, *tensors = (saved.get_tensor(name) for name in ("texts", "file_of", "spans", "features"))
        if not MAPPED_FILES_ARE_REPLACEABLE:
            tensors = [tensor.clone() for tensor in tensors]
        paths, problems, stamps = json.loads(texts.numpy().tobytes())
        return Windows(paths, problems, *tensors), stamps
    except (SafetensorError, OSError, ValueError) as error:
        reporter.note(f"{file}: damaged ({reason(error)}); it is made again")
        return None, []


# ---- cutting


def windows_of(
    model: Recognizer, paths: Sequence[Path], protocol: Protocol, reading: ReadOptions, reporter: Reporter
) -> Iterator[Encoded | MediaError]:
    """Yield the windows of each file with their features, or its MediaError; see `encode_windows`.

    They are of similar frames if features are means of frames, else of equal length.
    """
    means = model.encodes_frames_independently and type(model.temporal) is MeanPool
    cut_and_encode = _of_similar_frames if means else _of_equal_length
    with reporter.bar("encode", "files") as progress:
        for start in range(0, len(paths), _FILES):
            media = [*map(MediaPath, paths[start : start + _FILES])]
            cut_it = [not (each.is_part or each.is_member or each.is_image) and each.reader.one_file for each in media]
            times = read_each(FileDataset(_times, [each.path for each in compress(media, cut_it)]), reading.workers)
            files = [(each, _grid(next(times)) if cuts else None) for each, cuts in zip(media, cut_it, strict=True)]

            def count(share: int, whole: int, start: int = start, files: int = len(files)) -> None:
                progress(start + share * files // whole, len(paths))

            yield from cut_and_encode(model, files, protocol, reading, reporter.counting(count))


def _of_similar_frames(
    model: Recognizer, files: Sequence[_Sampled], protocol: Protocol, reading: ReadOptions, reporter: Reporter
) -> Iterator[Encoded | MediaError]:
    """Yield windows of similar frames, each with the mean of its frames."""
    paths, grids = [media.path for media, _ in files], [grid for _, grid in files]
    choose = [partial(_chosen, grid=grid, protocol=protocol) for grid in grids]
    entries = encode(model.visual_encoder, paths, protocol, reading, reporter, choose=choose)
    for grid, entry in zip(grids, entries, strict=True):
        if isinstance(entry, MediaError):
            yield entry
            continue
        frames = entry.mean(0)
        if grid is None or grid.step < EVERY:
            yield [Span()], frames.mean(0, keepdim=True)
        else:
            starts = cut(frames)
            windows = frames.split(np.diff([*starts, len(frames)]).tolist())
            yield _spans(starts, grid.step), torch.stack([window.mean(0) for window in windows])


def _of_equal_length(
    model: Recognizer, files: Sequence[_Sampled], protocol: Protocol, reading: ReadOptions, reporter: Reporter
) -> Iterator[Encoded | MediaError]:
    """Yield windows of equal length, each encoded as a part of its file."""
    spans = [
        [Span()] if grid is None else _spans(range(0, len(grid.frames), LONGEST // 2), grid.step) for _, grid in files
    ]
    cuts = [(media, own) for (media, _), own in zip(files, spans, strict=True)]
    paths = [media.path if span == Span() else media.part(span).path for media, own in cuts for span in own]
    entries = item_features(model, paths, protocol, reading, reporter)
    for media, own in cuts:
        encoded = [next(entries) for _ in own]
        faults = [entry for entry in encoded if isinstance(entry, MediaError)]
        if faults:
            yield MediaError(media.path, faults[0].problem, faults[0].fault)
        else:
            yield own, torch.stack([entry.mean(0) for entry in encoded if isinstance(entry, Tensor)])


def _times(path: Path) -> list[float]:
    """Return a file's frame times in seconds; nothing is decoded if the packets have times."""
    with MediaPath(path).open() as media:
        return [*media.times]


def _grid(times: Sequence[float] | MediaError) -> _Grid | None:
    """Return the frame in the middle of each second; None for a single frame or an error.

    Worked example, 10 frames at 0, 0.2, ... 1.8 s: 2 seconds, so four steps of 0.5 s, with middles 0.25, 0.75, 1.25 and
    1.75 s: the frames 1, 3, 6 and 8.
    """
    if isinstance(times, MediaError) or len(times) < 2 or not times[-1] > 0:
        return None
    seconds = times[-1] * len(times) / (len(times) - 1)
    step = max(min(EVERY, seconds / _MIN_POINTS), seconds / len(times))
    middles = np.arange(step / 2, seconds, step)
    frames = np.clip(np.searchsorted(times, middles, side="right") - 1, 0, len(times) - 1)
    return _Grid(frames.tolist(), step)


def _spans(starts: Sequence[int], step: float) -> list[Span]:
    """Return the spans that begin at these steps."""
    return [Span(*pair) for pair in pairwise([*(round(step * start, 3) for start in starts), math.inf])]


def _chosen(length: int, grid: _Grid | None, protocol: Protocol) -> list[list[int]]:
    """Return the frames of a file to encode: those of its grid, else those of the protocol's clips."""
    return [grid.frames] if grid else protocol.views.frame_indices(length, protocol.frames)


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
    penalty = max(PENALTY * float(np.median(neighbours)), MIN_PENALTY)
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
