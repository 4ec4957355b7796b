"""Encode once: frame features by content, so that heads and temporal modules train in seconds.

A feature is addressed by what made it: the encoder's weights, the preprocessing, the file's bytes and the frame's
index. Any other weight, crop or file is another address, so nothing stale can be read.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.data.protocol import Pixels
from texthead.data.transforms import view_crops
from texthead.encoders.encoder import Visual, clip_features
from texthead.errors import DataError, MediaError, TextheadError
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.engine import Engine
from texthead.features.reading import Reading
from texthead.media.open import is_image, open_media
from texthead.parallel.loaders import data_loader, worker_faults
from texthead.parallel.progress import Progress

Choose = Callable[[int], list[int]]

ChooseClips = Callable[[int], list[list[int]]]

Found = TypeVar("Found")


class FrameFeatures(NamedTuple):
    """The features of some frames of one file, by ascending frame index; `length` counts all its frames."""

    length: int
    indices: list[int]
    features: Float[Tensor, "frames dim"]


class ClipFeatures(NamedTuple):
    """The features of some clips of one file, each of these frames; `length` counts all its frames."""

    length: int
    clips: list[list[int]]
    features: Float[Tensor, "clips tokens dim"]


class _Frames(torch.utils.data.Dataset):
    """Chosen frames of files: (length, indices, frames), or the MediaError."""

    def __init__(self, paths: Sequence[Path], choose: Choose, pixels: Pixels):
        self.paths = [str(path) for path in paths]  # Quicker to hand to processes.
        self.choose = choose
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[int, list[int], Tensor] | MediaError:
        try:
            with open_media(self.paths[position]) as media:
                length = media.num_frames
                indices = sorted(set(self.choose(length)))
                frames = media.frames_at(indices)
        except MediaError as error:
            return error
        p = self.pixels
        return (
            length,
            indices,
            view_crops(frames, p.size, p.resize, 1, p.interpolation, squash=p.squash, antialias=p.antialias)[0],
        )


@worker_faults()
@torch.inference_mode()
def frame_features(
    visual: Visual,
    paths: Sequence[Path],
    choose: Choose,
    pixels: Pixels,
    reading: Reading = Reading(),
    progress: Progress | None = None,
) -> list[FrameFeatures | MediaError]:
    """For each file, the sorted frame indices that `choose` picks of its length, and their features.

    The centre crop of each frame is encoded, once; what the cache holds is not decoded again. A file that cannot be
    read gives its MediaError. `choose` must be picklable where the reading has workers. The reading's batch and
    `skip_unreadable` do not matter here.

    Raises:
        TextheadError: the cache is of another encoder or preprocessing, or its file cannot be used.
    """
    cache = _cache(visual, pixels, reading)

    def look(cache: FeatureCache, digest: str, length: int) -> FrameFeatures | None:
        indices = sorted(set(choose(length)))
        features = cache.get(digest, indices) if indices else None
        if features is None:
            return None
        for name in cache.engines(digest) or ["kept"]:
            reading.used(name)
        return FrameFeatures(length, indices, features)

    found, digests = _looked_up(cache, paths, look)
    missing = [position for position, entry in enumerate(found) if entry is None]
    loader = data_loader(_Frames([paths[i] for i in missing], choose, pixels), reading.workers, batch_size=None)
    # As many of each file as of a long video.
    most = len(set(choose(10_000)))
    count = sum(1 if is_image(paths[i]) else most for i in missing)
    engine = Engine(visual, reading.engine, count, reading.say, reading.used)
    for position, entry in zip(missing, _encoded(visual, engine, loader), strict=True):
        found[position] = entry
        if cache and isinstance(entry, FrameFeatures):
            cache.put(digests[position], *entry, engine.name)
        if progress:
            progress(len(found) - sum(entry is None for entry in found), len(paths))
    return [entry for entry in found if entry is not None]


@worker_faults()
@torch.inference_mode()
def features_of_clips(
    visual: Visual,
    paths: Sequence[Path],
    choose: ChooseClips,
    pixels: Pixels,
    reading: Reading = Reading(),
    progress: Progress | None = None,
) -> list[ClipFeatures | MediaError]:
    """For each file, the features of the clips that `choose` picks of its length, by an encoder that sees clips.

    As `frame_features` in all else.
    """
    cache = _cache(visual, pixels, reading)

    def look(cache: FeatureCache, digest: str, length: int) -> ClipFeatures | None:
        clips, kept = choose(length), []
        for clip in clips:
            tokens = visual.spec.tokens * (len(clip) // visual.spec.frames)
            features = cache.get(f"{digest} {clip}", range(tokens)) if tokens else None
            if features is None:
                return None
            kept.append(features)
        reading.used("eager")
        return ClipFeatures(length, clips, torch.stack(kept))

    found, digests = _looked_up(cache, paths, look)
    missing = [position for position, entry in enumerate(found) if entry is None]
    frames = _Frames([paths[i] for i in missing], partial(_flat, choose=choose), pixels)
    was_training, device = visual.training, visual.mean.device
    visual.eval()
    for position, entry in zip(missing, data_loader(frames, reading.workers, batch_size=None), strict=True):
        if not isinstance(entry, MediaError):
            reading.used("eager")
            length, indices, pictures = entry
            place, clips = {index: i for i, index in enumerate(indices)}, choose(length)
            # One at a time: a clip has many frames.
            features = [
                clip_features(visual, pictures[None, [place[index] for index in clip]].to(device))[0].float().cpu()
                for clip in clips
            ]
            entry = ClipFeatures(length, clips, torch.stack(features))
            if cache:
                cache.put(digests[position], length, (), torch.empty(0, visual.spec.dim))
                for clip, rows in zip(clips, features, strict=True):
                    cache.put(f"{digests[position]} {clip}", length, range(len(rows)), rows)
        found[position] = entry
        if progress:
            progress(len(found) - sum(entry is None for entry in found), len(paths))
    visual.train(was_training)
    return [entry for entry in found if entry is not None]


def _looked_up(
    cache: FeatureCache | None, paths: Sequence[Path], look: Callable[[FeatureCache, str, int], Found | None]
) -> tuple[list[Found | MediaError | None], list[str]]:
    """Return (what is kept of each file, or the error of one that cannot be read; the address of its content).

    Args:
        look: returns what is kept under an address of a file with so many frames.
    """
    found: list[Found | MediaError | None] = [None] * len(paths)
    digests = [""] * len(paths)
    for position, path in enumerate(paths if cache else ()):
        assert cache is not None
        try:
            # The same bytes have other frames as a picture than as a video, or can be read as one of the two only.
            digests[position] = cache.digest(path) + (" as a picture" if is_image(path) else "")
        except MediaError as error:
            found[position] = error
            continue
        length = cache.length(digests[position])
        found[position] = look(cache, digests[position], length) if length else None
    return found, digests


def _flat(length: int, choose: ChooseClips) -> list[int]:
    return [index for clip in choose(length) for index in clip]


def _cache(visual: Visual, pixels: Pixels, reading: Reading) -> FeatureCache | None:
    """Return the reading's cache for what the engine gives.

    Raises:
        TextheadError: it is of another encoder or preprocessing.
    """
    cache = reading.cache
    if cache and cache.key != encoder_key(visual, pixels):
        raise TextheadError(
            f"{cache.path}: holds features of other weights or another size: make the cache with "
            "FeatureCache(encoder_key(visual, pixels)) of the encoder as it is now"
        )
    return cache.of_inexact(reading.engine) if cache and reading.engine == "bf16" else cache


def frames_together(device: torch.device) -> int:
    """So many frames go through an encoder at once where no gradient is wanted.

    On a CPU few: the activations of more outgrow its caches, and are new memory each time. (EfficientNet-Lite0 at 224
    pixels: 47 frames a CPU-second by 8, 29 by 64; ViT-B/32 the same either way.)
    """
    return 8 if device.type == "cpu" else 64


def _encoded(visual: Visual, engine: Engine, entries: Iterable[tuple[int, list[int], Tensor] | MediaError]):
    """The features of each entry in order, the frames of neighbours encoded together."""
    was_training = visual.training
    visual.eval()
    device = visual.mean.device
    waiting: list[tuple[int, list[int], Tensor] | MediaError] = []

    def flush() -> Iterator[FrameFeatures | MediaError]:
        frames = [entry[2] for entry in waiting if not isinstance(entry, MediaError)]
        parts = torch.cat(frames).split(frames_together(device)) if frames else ()
        encoded = [engine(part.to(device)).float().cpu() for part in parts]
        rows = iter(torch.cat(encoded).split([len(part) for part in frames]) if frames else ())
        for entry in waiting:
            yield entry if isinstance(entry, MediaError) else FrameFeatures(entry[0], entry[1], next(rows))
        waiting.clear()

    for entry in entries:
        waiting.append(entry)
        if sum(len(e[2]) for e in waiting if not isinstance(e, MediaError)) >= frames_together(device):
            yield from flush()
    yield from flush()
    visual.train(was_training)


def readable(
    entries: Sequence[object], *, skip: bool, remedy: str = "skip_unreadable would leave out and list such files"
) -> tuple[list[int], list[MediaError]]:
    """Positions of the entries that are no MediaError, and the errors.

    Args:
        remedy: what is to be done about one that is not skipped.

    Raises:
        MediaError: the first file that could not be read, unless `skip`.
    """
    errors = [entry for entry in entries if isinstance(entry, MediaError)]
    if errors and not skip:
        more = f" (and {len(errors) - 1} more that cannot be read)" if len(errors) > 1 else ""
        raise MediaError(errors[0].path, f"{errors[0].problem}{more}; {remedy}")
    return [i for i, entry in enumerate(entries) if not isinstance(entry, MediaError)], errors


def check_any(paths: Sequence[str | Path], positions: Sequence[int], errors: Sequence[MediaError]) -> None:
    """Nothing, if some of the files could be read.

    Raises:
        DataError: none could.
    """
    if not positions:
        raise DataError(f"none of {len(paths)} files can be read: {errors[0] if errors else 'no files given'}")
