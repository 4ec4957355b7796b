"""The features of each item's views: after the temporal module, before the head."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from texthead.data.clips import ViewClips
from texthead.data.protocol import Pixels, Protocol
from texthead.errors import MediaError
from texthead.features.engine import Engine
from texthead.features.frames import FILES_OF_CHUNK, frame_features, frames_at_once
from texthead.features.reading import Reading
from texthead.media.paths import MediaPath
from texthead.models.build import ATTENDED
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import check_same, gather_list, rank, ranks, share, together
from texthead.parallel.loaders import read_each
from texthead.parallel.progress import Reporter, silent


def item_features(
    model: Recognizer,
    paths: Sequence[Path],
    protocol: Protocol,
    reading: Reading = Reading(),
    reporter: Reporter = Reporter(),
    title: str = "encode",
) -> list[Float[Tensor, "views dim"] | MediaError]:
    """Return, for each file, the feature of each view (after the temporal module, before the head), or its MediaError.

    With several processes, each encodes a share of the batches and all return the whole list; the progress bar counts
    the share of the first process.

    Args:
        title: title of the progress bar.

    Raises:
        RunError: another process has stopped.
    """
    # All tokens of an imported classifier would fill the disk.
    few = not model.sees_clips or model.spec.tokens <= math.prod(ATTENDED)
    cacheable = (model.sees_frames_apart or model.sees_clips) and few
    use_cache = protocol.views.crops == 1 and cacheable and bool(reading.cache)
    # `_view_features` reports prepared clips, which have no windows, as errors.
    use_cache = use_cache and not (protocol.views.of_windows and any(MediaPath(path).is_member for path in paths))
    encode = _cached_features if use_cache else _view_features
    check_same("files", paths)
    # Whole batches, so that a file is encoded with the same other files on any number of processes.
    batches = share(math.ceil(len(paths) / reading.batch), rank(), ranks())
    chunk = paths[reading.batch * batches.start : reading.batch * batches.stop]
    with together(), reporter.bar(title, "files") as progress:
        features = encode(model, chunk, protocol, reading, reporter.counting(progress if rank() == 0 else silent))
    return gather_list(features)


def features_in_chunks(
    model: Recognizer,
    paths: Sequence[str | Path],
    protocol: Protocol,
    reading: Reading = Reading(),
    reporter: Reporter = Reporter(),
    title: str = "encode",
) -> Iterator[list[Float[Tensor, "views dim"] | MediaError]]:
    """Yield the results of `item_features` for about a thousand files at a time, to limit memory.

    Args:
        title: title of the progress bar.

    Raises:
        RunError: another process has stopped.
    """
    # Whole batches, so that a file is encoded with the same other files.
    size = reading.batch * math.ceil(FILES_OF_CHUNK / reading.batch)
    with reporter.bar(title, "files") as progress:
        for start in range(0, len(paths), size):
            chunk = [Path(path) for path in paths[start : start + size]]

            def count(done: int, share: int, start: int = start, files: int = len(chunk)) -> None:
                progress(start + done * files // share, len(paths))

            yield item_features(model, chunk, protocol, reading, reporter.counting(count))


def pixels_of(model: Recognizer, protocol: Protocol) -> Pixels:
    """Return the protocol's sizes, or the encoder's own if it has none."""
    return protocol.pixels or model.spec.pixels()


def _view_features(
    model: Recognizer, paths: Sequence[Path], protocol: Protocol, reading: Reading, reporter: Reporter
) -> list[Float[Tensor, "views dim"] | MediaError]:
    """Return the feature of each view of each file, without the cache."""
    clips = ViewClips(paths, replace(protocol, pixels=pixels_of(model, protocol)))
    features: list[Tensor | MediaError] = []
    frames = sum(1 if MediaPath(path).is_image else protocol.frames for path in paths)
    count = frames * protocol.views.count
    engine = Engine(model.visual, reading.engine, count, reporter)
    with reporter.bar("encode", "files") as progress:
        pinned = {"pin_memory": model.device.type == "cuda"}
        read = read_each(clips, reading.workers, collate_fn=_one_frame, **pinned)
        while entries := [*islice(read, reading.batch)]:
            views = [
                each if isinstance(each, MediaError) else each.expand(-1, protocol.frames, -1, -1, -1)
                for each in entries
            ]
            features += encode_views(model, views, engine)
            progress(len(features), len(paths))
    return features


def _one_frame(
    entry: UInt8[Tensor, "views frames 3 size size"] | MediaError,
) -> UInt8[Tensor, "views _ 3 size size"] | MediaError:
    """Return the entry with one frame if it is a picture: torch cannot pin views that repeat it."""
    return entry if isinstance(entry, MediaError) or entry.stride(1) else entry[:, :1]


def _encode(
    model: Recognizer, views: Sequence[UInt8[Tensor, "views frames 3 size size"]], engine: Engine | None
) -> Float[Tensor, "clips dim"]:
    """Return the feature of each clip; on a CPU, encode a few frames at a time. A picture is encoded once."""
    device, frames = model.device, views[0].shape[1]
    most = max(1, frames_at_once(device) // frames) if device.type == "cpu" else sum(map(len, views))
    if not model.sees_frames_apart:
        clips = torch.cat([each.to(device, non_blocking=True) for each in views])
        return torch.cat([model.features(chunk).cpu() for chunk in clips.split(most)])
    distinct = [each[:, :1] if each.stride(1) == 0 else each for each in views]
    pixels = torch.cat([each.flatten(0, 1).to(device, non_blocking=True) for each in distinct])
    encoded = torch.cat([(engine or model.visual)(chunk) for chunk in pixels.split(most * frames)])
    rows = encoded.split([len(each) * each.shape[1] for each in distinct])
    pairs, pool = zip(rows, distinct, strict=True), model.on_features()
    clips = torch.cat([row.unflatten(0, each.shape[:2]).expand(-1, frames, -1) for row, each in pairs])
    return torch.cat([pool.features(chunk).cpu() for chunk in clips.split(most)])


@torch.inference_mode()
def encode_views(
    model: Recognizer,
    clips: Sequence[UInt8[Tensor, "views frames 3 size size"] | MediaError],
    engine: Engine | None = None,
) -> list[Float[Tensor, "views dim"] | MediaError]:
    """Encode the views of several files together; return each file's view features, or its MediaError.

    Without an engine, plain torch runs the encoder.
    """
    model.eval()
    readable_clips = [clip for clip in clips if not isinstance(clip, MediaError)]
    features = _encode(model, readable_clips, engine) if readable_clips else torch.empty(0)
    rows = iter(features.split([len(clip) for clip in readable_clips]))
    return [clip if isinstance(clip, MediaError) else next(rows) for clip in clips]


@torch.inference_mode()
def _cached_features(
    model: Recognizer, paths: Sequence[Path], protocol: Protocol, reading: Reading, reporter: Reporter
) -> list[Float[Tensor, "views dim"] | MediaError]:
    """Return the feature of each view of each file, using the feature cache."""
    model.eval()
    choose = partial(protocol.views.frame_indices, num_frames=protocol.frames)
    if not model.sees_clips:
        choose = partial(_frames_of_clips, choose=choose)
    entries = frame_features(model.visual_encoder, paths, choose, pixels_of(model, protocol), reading, reporter)
    features: list[Tensor | MediaError] = []
    for entry in entries:
        if isinstance(entry, MediaError):
            features.append(entry)
        else:  # The frames of all clips in one tensor, or a tensor for each clip.
            clips = entry.unflatten(0, (-1, protocol.frames)) if isinstance(entry, Tensor) else torch.stack([*entry])
            features.append(model.temporal(clips.float().to(model.device)).cpu())
    return features


def _frames_of_clips(length: int, choose: Callable[[int], list[list[int]]]) -> list[int]:
    """Return the frame indices of all clips."""
    return [index for clip in choose(length) for index in clip]
