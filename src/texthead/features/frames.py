"""Encode once: cached frame features, so that heads and temporal modules train in seconds.

The key of a feature consists of the encoder's weights, the preprocessing, the file's bytes and the frame index. A
change in any of them changes the key, so features are never stale. A part of a file shares its file's frames.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from texthead.data.protocol import Pixels
from texthead.data.transforms import view_crops
from texthead.encoders.encoder import Visual, clip_features
from texthead.encoders.spec import VisualSpec
from texthead.errors import DataError, MediaError
from texthead.features.cache import AS_PICTURE, CachedClips, FeatureCache, open_cache
from texthead.features.engine import Engine
from texthead.features.reading import Reading
from texthead.features.stills import Still
from texthead.media.paths import MediaPath
from texthead.parallel.distributed import ranks
from texthead.parallel.loaders import FileDataset, read_each
from texthead.parallel.progress import Reporter

Choose = Callable[[int], list[int]]

ChooseClips = Callable[[int], list[list[int]]]

Entry = TypeVar("Entry")

_Frames = tuple[int, list[int], UInt8[Tensor, "frames 3 size size"], bytes]


# Files that are looked up, or encoded, before their features are handed on.
FILES_OF_CHUNK = 1000


class _Encoded(NamedTuple):
    """The features of frames of one file, by ascending frame index; `length` is the file's frame count.

    `still` is the stored `Still` of an image.
    """

    length: int
    indices: list[int]
    features: Float[Tensor, "frames dim"]
    still: bytes


class _Address(NamedTuple):
    """Where the frames of a file or part are cached: the digest and frame count of the file, and frame indices in it.

    `file_length` is 0 if the file has not been opened yet. `stamp` was taken before the digest.
    """

    media: MediaPath
    digest: str = ""
    frames: range = range(0)
    file_length: int = 0
    stamp: str = ""

    @property
    def is_current(self) -> bool:
        """Whether the file is still the one that was looked up: its stamp has not changed."""
        return self.media.stamp() == self.stamp

    def with_length(self, length: int) -> "_Address":
        """Return the address; if the file's length was unknown, fill it in."""
        return self if self.file_length else self._replace(frames=range(length), file_length=length)


def _times(path: Path) -> Float[Tensor, " frames"]:
    """Return a file's frame times in seconds; nothing is decoded if the packets have times."""
    with MediaPath(path).open() as media:
        return torch.tensor(media.times, dtype=torch.float64)


def _frames(path: str, choose: Choose, pixels: Pixels) -> _Frames:
    """Return (length, indices, centre crops, an image's still) of the chosen frames of a file."""
    still = b""
    with MediaPath(path).open() as media:
        media.enough = pixels.enough

        def crop(frames: UInt8[Tensor, "frames 3 height width"]) -> UInt8[Tensor, "frames 3 size size"]:
            nonlocal still
            if media.kind == "image":
                picture = frames[0].permute(1, 2, 0).numpy()
                size = media.shape or picture.shape[:2]
                still = Still.of(picture, size, turned=media.turned).to_bytes()
            return view_crops(frames, pixels)[0]

        indices = sorted(set(choose(media.num_frames)))
        crops = media.frames_at(indices, crop)
        return media.num_frames, indices, crops, still


def _read_frames(
    paths: Sequence[Path], choose: Sequence[Choose], pixels: Pixels, workers: int, device: torch.device
) -> Iterator[_Frames | MediaError]:
    """Yield what `_frames` returns for each file, or its MediaError."""
    # Strings pickle faster than paths.
    frames = FileDataset(partial(_frames, pixels=pixels), [str(path) for path in paths], choose)
    return read_each(frames, workers, pin_memory=device.type == "cuda")


def frame_features(
    visual: Visual,
    paths: Sequence[Path],
    choose: Choose | Sequence[Choose],
    pixels: Pixels,
    reading: Reading = Reading(),
    reporter: Reporter = Reporter(),
) -> Iterator[Float[Tensor, "frames dim"] | MediaError]:
    """Yield, for each file, the features of the frames that `choose` returns for its length, or its MediaError.

    The centre crop of each frame is encoded once; cached frames are not decoded. A thousand files are encoded at once,
    which bounds the memory. The reading's `batch` and `skip_unreadable` are not used.

    Args:
        choose: one function for all files, or one for each; picklable if the reading has workers.

    Raises:
        TextheadError: the cache cannot be used.
    """
    chooses = [choose] * len(paths) if callable(choose) else choose

    def look_up(cache: FeatureCache, position: int, address: _Address) -> Tensor | None:
        indices = chooses[start + position](len(address.frames))
        features = cache.get(address.digest, [address.frames[i] for i in indices]) if indices else None
        for name in cache.engines(address.digest) if features is not None else ():
            reporter.used(name)
        return features

    cache, engine = open_cache(visual, pixels, reading.cache), None
    used = closing(cache) if cache else nullcontext()  # An open one keeps two megabytes.
    with used, reporter.bar("encode", "files") as progress:
        for start in range(0, len(paths), FILES_OF_CHUNK):
            with torch.inference_mode():
                chunk = paths[start : start + FILES_OF_CHUNK]
                entries, addresses = _look_up(cache, chunk, look_up, reading)
                missing = [position for position, entry in enumerate(entries) if entry is None]
                chosen = [chooses[start + i] for i in missing]
                loader = _read_frames([chunk[i] for i in missing], chosen, pixels, reading.workers, visual.mean.device)
                if engine is None:
                    # An estimate: lengths are unknown, so count each video as a long one, and later files as one frame.
                    pairs = zip(missing, chosen, strict=True)
                    count = sum(1 if addresses[i].media.is_image else len(set(each(10_000))) for i, each in pairs)
                    count += len(paths) - start - len(chunk)
                    engine = Engine(visual, reading.engine, count, reporter)
                encoded = zip(missing, _encode(visual, engine, loader), strict=True)
                for done, (position, entry) in enumerate(encoded, start + len(chunk) - len(missing) + 1):
                    if isinstance(entry, _Encoded):
                        length, indices, features, still = entry
                        if cache and addresses[position].is_current and features.isfinite().all():
                            at = addresses[position].with_length(length)
                            cached = [at.frames[i] for i in indices]
                            cache.put(at.digest, at.file_length, cached, features, engine.name, still)
                        row_of = {index: row for row, index in enumerate(indices)}
                        entry = features[[row_of[i] for i in chooses[start + position](length)]]
                    entries[position] = entry
                    progress(done, len(paths))
            yield from (entry for entry in entries if entry is not None)


@torch.inference_mode()
def features_of_clips(
    visual: Visual,
    paths: Sequence[Path],
    choose: ChooseClips,
    pixels: Pixels,
    reading: Reading = Reading(),
    reporter: Reporter = Reporter(),
) -> list[Sequence[Float[Tensor, "tokens dim"]] | MediaError]:
    """Return, for each file, the features of the clips that `choose` returns for its length, or its MediaError.

    For encoders that take whole clips; otherwise like `frame_features`. With a cache the features stay there, and each
    clip is read when it is asked for. The size of a grid is reported before encoding.
    """

    def cached(cache: FeatureCache, address: _Address) -> CachedClips:
        clips = choose(len(address.frames))
        digests = [f"{address.digest} {[address.frames[index] for index in clip]}" for clip in clips]
        return CachedClips(cache, digests, visual.spec.dim)

    def look_up(cache: FeatureCache, _: int, address: _Address) -> Sequence[Tensor] | None:
        clips = cached(cache, address)
        if any(cache.get(digest, [0]) is None for digest in clips.digests):
            return None
        reporter.used("eager")
        return clips

    cache = open_cache(visual, pixels, reading.cache)
    with reporter.bar("encode", "files") as progress:
        entries, addresses = _look_up(cache, paths, look_up, reading)
        missing = [position for position, entry in enumerate(entries) if entry is None]
        clips = choose(10_000)
        # Not again for test items, or the next thousand files.
        if len(missing) * len(clips) > (cache.count() if cache else 0) and visual.spec.tokens > visual.spec.grid[0]:
            reporter.say(_size_text(visual.spec, clips, len(missing) * ranks(), "disk" if cache else "memory"))
        number_type = getattr(torch, visual.spec.number_type)
        chosen = [partial(frames_of_clips, choose=choose)] * len(missing)
        was_training, device = visual.training, visual.mean.device
        loader = _read_frames([paths[i] for i in missing], chosen, pixels, reading.workers, device)
        visual.eval()
        read = zip(missing, loader, strict=True)
        for done, (position, entry) in enumerate(read, len(paths) - len(missing) + 1):
            if not isinstance(entry, MediaError):
                reporter.used("eager")
                length, indices, pictures, _ = entry
                position_of = {index: i for i, index in enumerate(indices)}
                # One clip at a time, to save memory.
                clips = (pictures[None, [position_of[index] for index in clip]].to(device) for clip in choose(length))
                features = [clip_features(visual, clip)[0].to(number_type).cpu() for clip in clips]
                if cache and addresses[position].is_current and all(each.isfinite().all() for each in features):
                    address = addresses[position].with_length(length)
                    entry = cached(cache, address)
                    cache.put(address.digest, address.file_length, (), torch.empty(0, 1))
                    for digest, tokens in zip(entry.digests, features, strict=True):
                        cache.put(digest, address.file_length, [0], tokens.flatten()[None])
                else:
                    entry = features
            entries[position] = entry
            progress(done, len(paths))
        visual.train(was_training)
    return [entry for entry in entries if entry is not None]


def _look_up(
    cache: FeatureCache | None,
    paths: Sequence[Path],
    look_up: Callable[[FeatureCache, int, _Address], Entry | None],
    reading: Reading,
) -> tuple[list[Entry | MediaError | None], list[_Address]]:
    """Return each path's cached entry (None if missing) or the error of an unreadable file, and each path's address.

    Args:
        look_up: returns the cached entry for a position and an address.
        reading: how to open files whose frame times are not cached yet.
    """
    entries: list[Entry | MediaError | None] = [None] * len(paths)
    addresses = [_Address(MediaPath(path)) for path in paths]
    if cache is None:
        return entries, addresses
    # Stamps are taken before frame times are read, so that a file that is replaced in between is noticed.
    identified: list[tuple[int, MediaPath, str, str]] = []
    for position, media in enumerate(address.media for address in addresses):
        try:
            digest, stamp = cache.identify(media)
            identified.append((position, media, digest + (AS_PICTURE if media.is_image else ""), stamp))
        except MediaError as error:
            entries[position] = _named(error, media)
    files = [*dict.fromkeys(media.file for _, media, _, _ in identified if media.is_part)]
    times = dict(zip(files, frame_times(cache, files, reading), strict=True))
    for position, media, digest, stamp in identified:
        length = cache.length(digest) or 0
        frames = range(length)
        if media.is_part:
            try:
                if isinstance(seconds := times[media.file], MediaError):
                    raise seconds
                length, frames = len(seconds), media.frames(seconds)
            except MediaError as error:
                entries[position] = _named(error, media)
                continue
        addresses[position] = _Address(media, digest, frames, length, stamp)
        entries[position] = look_up(cache, position, addresses[position]) if length else None
    return entries, addresses


def _named(error: MediaError, media: MediaPath) -> MediaError:
    """Return the error of a part's file as that of the part."""
    return MediaError(media.path, error.problem, error.fault) if media.is_part else error


def frame_times(
    cache: FeatureCache | None, paths: Sequence[Path], reading: Reading
) -> Iterator[list[float] | MediaError]:
    """Yield the frame times of each video in seconds, or its MediaError; those in the cache are not read again."""

    before: dict[Path, tuple[str, str]] = {}

    def cached(path: Path) -> list[float] | MediaError | None:
        if cache is None:
            return None
        try:
            before[path] = cache.identify(MediaPath(path))
        except MediaError as error:
            return error
        return cache.times(before[path][0])

    missing = [path for path in paths if cached(path) is None]
    opened = read_each(FileDataset(_times, missing), reading.workers)
    waiting = {*missing}
    for path in paths:
        times = next(opened) if path in waiting else cached(path)
        if isinstance(times, Tensor):
            times = times.tolist()
            if cache is not None and MediaPath(path).stamp() == before[path][1]:
                cache.put_times(before[path][0], times)
        yield [] if times is None else times


def _size_text(spec: VisualSpec, clips: Sequence[Sequence[int]], files: int, where: str) -> str:
    """Return the size of a clip's grid, and of all of them: files with so many clips as `clips`."""
    steps, rows, columns = spec.grid
    steps *= len(clips[0]) // spec.frames
    half = spec.number_type == "float16"
    size, count = (2 if half else 4) * steps * rows * columns * spec.dim, len(clips) * files
    return (
        f"a clip's features take {_size(size)} ({steps} x {rows} x {columns} of {spec.dim} in "
        f"{'half' if half else 'single'} precision), "
        f"{_size(count * size)} of {where} for {count:,} clip{'s' * (count > 1)}"
    )


def _size(count: int) -> str:
    """Return a number of bytes with its unit: 262 kB, 1.6 MB, 3.1 GB."""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def frames_of_clips(length: int, choose: ChooseClips) -> list[int]:
    """Return the frame indices of all clips."""
    return [index for clip in choose(length) for index in clip]


def frames_at_once(device: torch.device) -> int:
    """Return the number of frames to encode at once without gradients.

    On a CPU it is small, since larger activations do not fit its caches and are newly allocated each time.
    (EfficientNet-Lite0 at 224 pixels: 47 frames per CPU-second in batches of 8, 29 in batches of 64; ViT-B/32: equal.)
    """
    return 8 if device.type == "cpu" else 64


def _encode(visual: Visual, engine: Engine, entries: Iterable[_Frames | MediaError]):
    """Yield the features of each entry in order; frames of consecutive entries are encoded together.

    A GPU encodes them while the next entries are decoded.
    """
    was_training = visual.training
    visual.eval()
    device = visual.mean.device
    waiting: list[_Frames | MediaError] = []
    running: list[Iterator[_Encoded | MediaError]] = []

    def start() -> Iterator[_Encoded | MediaError]:
        group = waiting.copy()
        waiting.clear()
        frames = [entry[2].to(device, non_blocking=True) for entry in group if not isinstance(entry, MediaError)]
        encoded = [engine(chunk).float() for chunk in torch.cat(frames).split(frames_at_once(device))] if frames else ()

        def finish() -> Iterator[_Encoded | MediaError]:
            rows = iter(torch.cat([*encoded]).cpu().split([len(chunk) for chunk in frames]) if frames else ())
            for entry in group:
                yield entry if isinstance(entry, MediaError) else _Encoded(*entry[:2], next(rows), entry[3])

        return finish()

    for entry in entries:
        waiting.append(entry)
        if sum(len(e[2]) for e in waiting if not isinstance(e, MediaError)) >= frames_at_once(device):
            running.append(start())
            while len(running) > (device.type != "cpu"):
                yield from running.pop(0)
    for group in (*running, start()):
        yield from group
    visual.train(was_training)


def readable(
    entries: Sequence[object], *, skip: bool, remedy: str = "`skip_unreadable` skips and lists such files"
) -> tuple[list[int], list[MediaError]]:
    """Return the positions of the entries that are not a MediaError, and the errors.

    Args:
        remedy: the end of the error message: what to do.

    Raises:
        MediaError: a file could not be read, unless `skip`.
    """
    errors = [entry for entry in entries if isinstance(entry, MediaError)]
    if errors and not skip:
        more = f" (and {len(errors) - 1} more that cannot be read)" if len(errors) > 1 else ""
        raise MediaError(errors[0].path, f"{errors[0].problem}{more}; {remedy}")
    return [i for i, entry in enumerate(entries) if not isinstance(entry, MediaError)], errors


def check_any(paths: Sequence[str | Path], positions: Sequence[int], errors: Sequence[MediaError]) -> None:
    """Raise DataError if none of the files could be read."""
    if not positions:
        none = f"none of {len(paths)} files can be read: " if len(paths) != 1 else ""
        raise DataError(f"{none}{errors[0] if errors else 'no files given'}")
