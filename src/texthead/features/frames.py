"""Encode once: frame features by content, so that heads and temporal modules train in seconds.

A feature is addressed by what made it: the encoder's weights, the preprocessing, the file's bytes and the frame's
index. Any other weight, crop or file is another address, so nothing stale can be read. A part of a file has its file's
frames: what is encoded of one is there for the other.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from texthead.data.protocol import Pixels
from texthead.data.transforms import view_crops
from texthead.encoders.encoder import Visual, clip_features
from texthead.errors import DataError, MediaError, TextheadError
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.engine import Engine
from texthead.features.reading import Reading
from texthead.media.open import check_part, is_image, open_media
from texthead.media.paths import file_of, is_part
from texthead.media.reader import frames_within
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


class _Address(NamedTuple):
    """The frames of a file or of a part of it: the digest of the file, and their numbers in it.

    `file_length` counts the frames of the file.
    """

    digest: str
    frames: range
    file_length: int


class _Times(torch.utils.data.Dataset):
    """When the frames of files are shown, or the MediaError; none is decoded where packets have times."""

    def __init__(self, paths: Sequence[Path], most_megapixels: int):
        self.paths = [str(path) for path in paths]
        self.most_megapixels = most_megapixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Float[Tensor, " frames"] | MediaError:
        try:
            with open_media(self.paths[position], self.most_megapixels) as media:
                return torch.tensor(media.times, dtype=torch.float64)
        except MediaError as error:
            return error


class _Frames(torch.utils.data.Dataset):
    """Chosen frames of files: (length, indices, frames), or the MediaError."""

    def __init__(self, paths: Sequence[Path], choose: Choose, pixels: Pixels, most_megapixels: int):
        self.paths = [str(path) for path in paths]  # Quicker to hand to processes.
        self.choose = choose
        self.pixels = pixels
        self.most_megapixels = most_megapixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[int, list[int], Tensor] | MediaError:
        try:
            with open_media(self.paths[position], self.most_megapixels) as media:
                length = media.num_frames
                indices = sorted(set(self.choose(length)))
                return length, indices, media.frames_at(indices, self._crop)
        except MediaError as error:
            return error

    def _crop(self, frames: UInt8[Tensor, "frames 3 height width"]) -> UInt8[Tensor, "frames 3 size size"]:
        p = self.pixels
        return view_crops(frames, p.size, p.resize, 1, p.interpolation, squash=p.squash, antialias=p.antialias)[0]


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

    def look(cache: FeatureCache, address: _Address) -> FrameFeatures | None:
        length = len(address.frames)
        indices = sorted(set(choose(length)))
        features = cache.get(address.digest, [address.frames[i] for i in indices]) if indices else None
        if features is None:
            return None
        for name in cache.engines(address.digest) or ["kept"]:
            reading.used(name)
        return FrameFeatures(length, indices, features)

    found, addresses = _looked_up(cache, paths, look, reading)
    missing = [position for position, entry in enumerate(found) if entry is None]
    frames = _Frames([paths[i] for i in missing], choose, pixels, reading.most_megapixels)
    loader = data_loader(frames, reading.workers, batch_size=None)
    # As many of each file as of a long video.
    most = len(set(choose(10_000)))
    count = sum(1 if is_image(paths[i]) else most for i in missing)
    engine = Engine(visual, reading.engine, count, reading.say, reading.used)
    for position, entry in zip(missing, _encoded(visual, engine, loader), strict=True):
        found[position] = entry
        if cache and isinstance(entry, FrameFeatures):
            digest, frames, file_length = _known(addresses[position], entry.length)
            cache.put(digest, file_length, [frames[i] for i in entry.indices], entry.features, engine.name)
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

    def look(cache: FeatureCache, address: _Address) -> ClipFeatures | None:
        length = len(address.frames)
        clips, kept = choose(length), []
        for clip in clips:
            tokens = visual.spec.tokens * (len(clip) // visual.spec.frames)
            features = cache.get(_clip_digest(address, clip), range(tokens)) if tokens else None
            if features is None:
                return None
            kept.append(features)
        reading.used("eager")
        return ClipFeatures(length, clips, torch.stack(kept))

    found, addresses = _looked_up(cache, paths, look, reading)
    missing = [position for position, entry in enumerate(found) if entry is None]
    frames = _Frames([paths[i] for i in missing], partial(_flat, choose=choose), pixels, reading.most_megapixels)
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
                address = _known(addresses[position], length)
                cache.put(address.digest, address.file_length, (), torch.empty(0, visual.spec.dim))
                for clip, rows in zip(clips, features, strict=True):
                    cache.put(_clip_digest(address, clip), address.file_length, range(len(rows)), rows)
        found[position] = entry
        if progress:
            progress(len(found) - sum(entry is None for entry in found), len(paths))
    visual.train(was_training)
    return [entry for entry in found if entry is not None]


def _looked_up(
    cache: FeatureCache | None,
    paths: Sequence[Path],
    look: Callable[[FeatureCache, _Address], Found | None],
    reading: Reading,
) -> tuple[list[Found | MediaError | None], list[_Address]]:
    """Return (what is kept of each file or part, or the error of one that cannot be read; where its frames are kept).

    The length of a file that has not been opened yet is 0 in its address.

    Args:
        look: returns what is kept under an address.
        reading: how the files are opened whose parts are looked for the first time; `say` gets damaged rows.
    """
    found: list[Found | MediaError | None] = [None] * len(paths)
    addresses = [_Address("", range(0), 0)] * len(paths)
    if cache is None:
        return found, addresses
    digests: dict[int, str] = {}
    for position, path in enumerate(paths):
        try:
            if is_part(path):
                check_part(path)
            # The same bytes have other frames as a picture than as a video, or can be read as one of the two only.
            digests[position] = cache.digest(file_of(path)) + (" as a picture" if is_image(path) else "")
        except MediaError as error:
            found[position] = MediaError(path, error.problem, error.fault) if is_part(path) else error
    files = {digests[i]: file_of(path) for i, path in enumerate(paths) if i in digests and is_part(path)}
    times = _times_of(cache, files, reading)
    for position, digest in digests.items():
        try:
            address = addresses[position] = _address(cache, digest, paths[position], times.get(digest))
        except MediaError as error:
            found[position] = MediaError(paths[position], error.problem, error.fault)
            continue
        found[position] = look(cache, address) if address.file_length else None
    cache.say_misfits(reading.say)
    return found, addresses


def _address(cache: FeatureCache, digest: str, path: Path, times: list[float] | MediaError | None) -> _Address:
    """Return where the frames of a file are kept, or of a part, for which the times of its file's frames are needed.

    Raises:
        MediaError: the file cannot be opened, or the part has no frame.
    """
    if isinstance(times, MediaError):
        raise times
    if is_part(path):
        assert times is not None, "the times of every file with parts are read"
        return _Address(digest, frames_within(path, times), len(times))
    length = cache.length(digest) or 0
    return _Address(digest, range(length), length)


def _times_of(cache: FeatureCache, files: dict[str, Path], reading: Reading) -> dict[str, list[float] | MediaError]:
    """Return when the frames of the files are shown, by their digests; those not known yet are opened and kept."""
    known: dict[str, list[float] | MediaError] = {}
    for digest in files:
        times = cache.times(digest)
        if times is not None:
            known[digest] = times
    missing = [digest for digest in files if digest not in known]
    if not missing:
        return known
    opened = data_loader(
        _Times([files[digest] for digest in missing], reading.most_megapixels), reading.workers, batch_size=None
    )
    for digest, times in zip(missing, opened, strict=True):
        if isinstance(times, MediaError):
            known[digest] = times
        else:
            known[digest] = seconds = times.tolist()
            cache.put_times(digest, seconds)
    return known


def _known(address: _Address, length: int) -> _Address:
    """Return the address of a file that has been opened since it was looked up, and has so many frames."""
    return address if address.file_length else _Address(address.digest, range(length), length)


def _clip_digest(address: _Address, clip: Sequence[int]) -> str:
    """Return where the features of a clip are kept: its frames by their numbers in the file."""
    return f"{address.digest} {[address.frames[index] for index in clip]}"


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
