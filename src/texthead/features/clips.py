"""Encode clips once: cached features, so that heads and temporal modules train in seconds.

The clip is the unit of encoding: for an encoder of single frames, a frame is a clip of one. The key of a feature
consists of the encoder's weights, the preprocessing, the file's bytes and the clip's frames. A change in any of them
changes the key, so features are never stale. A part of a file shares its file's frames.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from texthead.data.protocol import Pixels, Protocol, Views
from texthead.data.transforms import view_crops
from texthead.encoders.encoder import VisualEncoder, clip_features
from texthead.errors import MediaError
from texthead.features.cache import AS_PICTURE, FeatureCache, open_cache
from texthead.features.engine import Engine, frames_at_once
from texthead.features.reading import ReadOptions
from texthead.media.paths import MediaPath
from texthead.media.reader import Part
from texthead.models.recognizer import Recognizer
from texthead.parallel.loaders import FileDataset, read_each
from texthead.parallel.progress import Reporter
from texthead.recipes import EngineName

# Returns the frame indices of a clip of a file with so many frames, or those of several clips of equal length.
Choose = Callable[[int], list[int]] | Callable[[int], list[list[int]]]

# Files that are looked up at once.
FILES_OF_CHUNK = 1000

# The frames of a video whose length is unknown, for estimates.
_LONG = 10_000


class Units(NamedTuple):
    """What is encoded of the clips of a file, each once: the clips, or their frames as clips of one.

    Attributes:
        frames: the frame indices of each unit in the file, in ascending order.
        rows: the units of each clip.
    """

    frames: Sequence[Sequence[int]]
    rows: Sequence[Sequence[int]]

    @classmethod
    def from_clips(cls, clips: Sequence[int] | Sequence[Sequence[int]], frames: range, *, whole: bool) -> "Units":
        """Return the units of clips of a part with these frames: the clips themselves if `whole`, else their frames."""
        in_file = (np.atleast_2d(clips) + frames.start).tolist()
        units = [[tuple(clip)] if whole else [(frame,) for frame in clip] for clip in in_file]
        row_of = {unit: row for row, unit in enumerate(sorted({*chain(*units)}))}
        return cls([*row_of], [[row_of[unit] for unit in own] for own in units])

    def in_views(self, features: Float[Tensor, "units crops unit_tokens dim"]) -> Float[Tensor, "views tokens dim"]:
        """Return the features of the crops of each clip."""
        return features[torch.tensor(self.rows)].transpose(1, 2).flatten(0, 1).flatten(1, 2)


class _Decoded(NamedTuple):
    """What is read of a file or part.

    Attributes:
        times: the times of all frames of the file, in seconds.
        pixels: the crops of the distinct frames of the units, in ascending order.
    """

    times: Float[Tensor, " frames"]
    units: Units
    pixels: UInt8[Tensor, "crops frames 3 size size"]


class _Missing(NamedTuple):
    """A file or part whose features are not cached. Its stamp was taken before the digest."""

    media: MediaPath
    digest: str = ""
    stamp: str = ""


@dataclass(frozen=True)
class CachedClips(Sequence):
    """The features of a file's clips, read from the cache when they are asked for.

    Args:
        digest: the cache's digest of the file.
        units: the clips of the file.
        dim: length of a feature.

    Raises:
        TextheadError: the cache has lost a clip.
    """

    cache: FeatureCache
    digest: str
    units: Units
    dim: int

    def __len__(self) -> int:
        return len(self.units.rows)

    def __getitem__(self, position: int) -> Float[Tensor, "tokens dim"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        frames = [self.units.frames[row] for row in self.units.rows[position]]
        return self.cache.get(self.digest, frames).view(-1, self.dim)

    def in_views(self, crops: int) -> Float[Tensor, "views tokens dim"]:
        """Return the features of all views."""
        features = self.cache.get(self.digest, self.units.frames)
        return self.units.in_views(features.unflatten(1, (crops, -1, self.dim)))


def encode(
    network: VisualEncoder | Recognizer,
    paths: Sequence[Path],
    protocol: Protocol,
    reading: ReadOptions = ReadOptions(),
    reporter: Reporter = Reporter(),
    *,
    choose: Choose | Sequence[Choose] | None = None,
    batch: int | None = None,
    leave: bool = False,
) -> Iterator[Any | MediaError]:
    """Yield the features of each file (views, tokens, dim), or its MediaError.

    Each frame is decoded once; cached ones are not. An encoder of single frames gives a token for each frame, one of
    whole clips gives tokens of its own.

    Args:
        network: a visual encoder; or a model whose features depend on whole clips: these are one token then, and not
            cached. It is left in evaluation mode.
        protocol: the sizes and views.
        reading: its `batch` and `skip_unreadable` are not used.
        choose: replaces the clips of the protocol: one function for all files, or one for each; picklable if the
            reading has workers.
        batch: files that are encoded together; None for enough to be fast.
        leave: leave the features of whole clips in the cache, if there is one, and read each clip when it is asked for.

    Raises:
        TextheadError: the cache cannot be used.
    """
    views, pixels = protocol.views, protocol.pixels or network.spec.pixels()
    choose = choose or partial(views.frame_indices, num_frames=protocol.frames)
    chooses = [choose] * len(paths) if callable(choose) else choose
    whole = not (isinstance(network, VisualEncoder) and network.spec.unit == "frame")
    run = network.features if isinstance(network, Recognizer) else network
    run = partial(clip_features, run) if whole and isinstance(run, VisualEncoder) else run
    cache = open_cache(network, protocol, reading.cache) if isinstance(network, VisualEncoder) else None
    decode = partial(_decode, pixels=pixels, views=views, whole=whole)
    network.eval()
    engine, leave = None, leave and whole and cache is not None
    # An open cache keeps two megabytes, but clips are read from it later.
    with closing(cache) if cache and not leave else nullcontext(), reporter.bar("encode", "files") as progress:
        for start in range(0, len(paths), FILES_OF_CHUNK):
            part = slice(start, start + FILES_OF_CHUNK)
            chunk, own = [*map(MediaPath, paths[part])], chooses[part]
            entries = [_look_up(cache, network, *each, views, reporter) for each in zip(chunk, own, strict=True)]
            missing = [position for position, entry in enumerate(entries) if isinstance(entry, _Missing)]
            if engine is None:
                later = len(paths) - start - len(chunk)
                # An estimate: lengths are unknown, so count each video as a long one, and later files as one frame.
                counts = (1 if chunk[i].is_image else np.unique(own[i](_LONG)).size for i in missing)
                engine = Engine(run, reading.engine, views.crops * sum(counts) + later, reporter)
            # Strings pickle faster than paths.
            files = FileDataset(decode, [str(chunk[i]) for i in missing], [own[i] for i in missing])
            decoded = read_each(files, reading.workers, pin_memory=network.device.type == "cuda")
            encoded = _encode(network, engine, decoded, batch or (1 if whole else None), whole=whole)
            done = start + len(chunk) - len(missing)
            for entry in entries:
                if isinstance(entry, _Missing):
                    entry = _stored(cache, entry, next(encoded), engine.name, leave=leave)
                    done += 1
                    progress(done, len(paths))
                yield entry.in_views(views.crops) if isinstance(entry, CachedClips) and not leave else entry


# ---- cached features


def _look_up(
    cache: FeatureCache | None,
    network: VisualEncoder | Recognizer,
    media: MediaPath,
    choose: Choose,
    views: Views,
    reporter: Reporter,
) -> _Missing | CachedClips | MediaError:
    """Return the cached units of a file or part; if one is missing, how it is identified; or why it cannot be read."""
    if cache is None:
        return _Missing(media)
    try:
        if views.uses_windows:
            media.check_windows()
        digest, stamp = cache.identify(media)
        digest += AS_PICTURE if media.is_image else ""
        times = cache.times(digest).tolist()
        frames = media.frames(times) if media.is_part and times else range(len(times))
    except MediaError as error:
        # Of a part, not of its file.
        return MediaError(media.path, error.problem, error.fault) if media.is_part else error
    spec = network.spec
    units = Units.from_clips(choose(len(frames)), frames, whole=spec.unit == "clip") if frames else None
    engines = cache.engines(digest, units.frames) if units else None
    if units is None or engines is None:
        return _Missing(media, digest, stamp)
    for name in sorted(engines):
        reporter.used(name)
    return CachedClips(cache, digest, units, spec.dim)


def _stored(
    cache: FeatureCache | None,
    file: _Missing,
    result: tuple[_Decoded, Tensor] | MediaError,
    engine: EngineName,
    *,
    leave: bool,
) -> Tensor | CachedClips | MediaError:
    """Store new features, if they are finite and the file has not changed, and return them or where they are left."""
    if isinstance(result, MediaError):
        return result
    (times, units, _), features = result
    if cache is None or file.media.stamp() != file.stamp or not features.isfinite().all():
        return units.in_views(features)
    cache.put(file.digest, times.tolist(), units.frames, features, engine)
    return CachedClips(cache, file.digest, units, features.shape[-1]) if leave else units.in_views(features)


# ---- new features


def _decode(path: str, choose: Choose, pixels: Pixels, views: Views, *, whole: bool) -> _Decoded:
    """Decode the frames of a file's clips."""
    with MediaPath(path).open(windows=views.uses_windows) as media:
        media.min_short_side = pixels.min_short_side
        crop = partial(view_crops, pixels=pixels, crops=views.crops, along=views.along)
        file, frames = (media.whole, media.frames) if isinstance(media, Part) else (media, range(media.num_frames))
        units = Units.from_clips(choose(media.num_frames), frames, whole=whole)
        crops = media.frames_at([frame - frames.start for frame in sorted({*chain(*units.frames)})], crop)
        times = torch.tensor(file.times if len(file.times) else [0.0] * len(frames), dtype=torch.float64)
        return _Decoded(times, units, crops)


def _encode(
    network: VisualEncoder | Recognizer,
    engine: Engine,
    entries: Iterable[_Decoded | MediaError],
    batch: int | None,
    *,
    whole: bool,
) -> Iterator[tuple[_Decoded, Float[Tensor, "units crops unit_tokens dim"]] | MediaError]:
    """Yield the features of each file in order; those of `batch` files, or of enough frames, are computed together.

    A GPU computes them while the next files are decoded.
    """
    device = network.device
    waiting: list[_Decoded | MediaError] = []
    running: list[Iterator[tuple[_Decoded, Tensor] | MediaError]] = []

    def start() -> Iterator[tuple[_Decoded, Tensor] | MediaError]:
        group = waiting.copy()
        waiting.clear()
        pixels = [_pixels(entry, whole, device) for entry in group if not isinstance(entry, MediaError)]
        with torch.inference_mode():
            features = engine(torch.cat(pixels)) if pixels else torch.empty(0)
            if isinstance(network, VisualEncoder):
                features = features.to(getattr(torch, network.spec.number_type))

        def finish() -> Iterator[tuple[_Decoded, Tensor] | MediaError]:
            rows = iter(features.cpu().split([len(each) for each in pixels]))
            for entry in group:
                if isinstance(entry, MediaError):
                    yield entry
                else:
                    crops, dim = len(entry.pixels), features.shape[-1]
                    yield entry, next(rows).reshape(len(entry.units.frames), crops, -1, dim)

        return finish()

    for entry in entries:
        waiting.append(entry)
        frames = sum(entry.pixels.shape[:2].numel() for entry in waiting if isinstance(entry, _Decoded))
        if len(waiting) >= batch if batch else frames >= frames_at_once(device):
            running.append(start())
            while len(running) > (device.type != "cpu"):
                yield from running.pop(0)
    for group in (*running, start()):
        yield from group


def _pixels(decoded: _Decoded, whole: bool, device: torch.device) -> UInt8[Tensor, "units *frames 3 size size"]:
    """Return the pixels of each crop of each unit on a device; a frame has no axis of frames."""
    pixels = decoded.pixels.to(device, non_blocking=True)
    if whole:
        rows = torch.tensor(decoded.units.frames).unique(return_inverse=True)[1]
        pixels = pixels[:, rows.to(device)]
    return pixels.transpose(0, 1).flatten(0, 1)
