"""Encode once: cached frame features, so that heads and temporal modules train in seconds.

The key of a feature consists of the encoder's weights, the preprocessing, the file's bytes and the frame index. A
change in any of them changes the key, so features are never stale. A part of a file shares its file's frames.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from texthead.data.protocol import Pixels
from texthead.data.transforms import view_crops
from texthead.encoders.encoder import Visual, clip_features
from texthead.encoders.spec import VisualSpec
from texthead.errors import DataError, MediaError, plural
from texthead.features.cache import AS_PICTURE, CachedClips, FeatureCache, Unit, open_cache
from texthead.features.engine import Engine
from texthead.features.reading import Reading
from texthead.features.stills import Still
from texthead.media.paths import MediaPath
from texthead.parallel.distributed import ranks
from texthead.parallel.loaders import FileDataset, read_each
from texthead.parallel.progress import Reporter

# Returns the frames of a file with so many frames, or for an encoder of whole clips the frames of each clip.
Choose = Callable[[int], list[int]] | Callable[[int], list[list[int]]]

_Frames = tuple[int, UInt8[Tensor, "units *frames 3 size size"], bytes]


# Files that are looked up, or encoded, before their features are handed on.
FILES_OF_CHUNK = 1000


class _Encoded(NamedTuple):
    """The features of the distinct frames or clips of one file, in ascending order; `length` is its frame count.

    `still` is the stored `Still` of an image.
    """

    length: int
    features: Float[Tensor, "units *tokens dim"]
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

    def in_file(self, units: Iterable[Unit]) -> list[Unit]:
        """Return frames or clips of a part as those of its file."""
        frames = self.frames
        return [frames[unit] if isinstance(unit, int) else tuple(frames[index] for index in unit) for unit in units]


def _units(choose: Choose, length: int) -> list[Unit]:
    """Return the frames or clips that are chosen from a file with so many frames."""
    return [tuple(unit) if isinstance(unit, Sequence) else int(unit) for unit in choose(length)]


def _distinct(units: Iterable[Unit]) -> list[Unit]:
    return sorted({*units})  # pyright: ignore[reportArgumentType] - all are frames, or all are clips


def _times(path: Path) -> Float[Tensor, " frames"]:
    """Return a file's frame times in seconds; nothing is decoded if the packets have times."""
    with MediaPath(path).open() as media:
        return torch.tensor(media.times, dtype=torch.float64)


def _frames(path: str, choose: Choose, pixels: Pixels) -> _Frames:
    """Return (length, centre crops of the distinct frames or clips in ascending order, an image's still) of a file."""
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

        units = _distinct(_units(choose, media.num_frames))
        crops = media.frames_at(np.ravel(units).tolist(), crop)
        return media.num_frames, crops.unflatten(0, np.shape(units)), still


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
) -> Iterator[Any | MediaError]:
    """Yield, for each file, the features of the frames that `choose` returns for its length, or its MediaError.

    The centre crop of each frame is encoded once; cached frames are not decoded. A thousand files are encoded at once,
    which bounds the memory. The reading's `batch` and `skip_unreadable` are not used.

    An encoder of whole clips gives a sequence with the features of each clip that `choose` returns. With a cache they
    stay there, and each clip is read when it is asked for. The size of a grid is reported before encoding.

    Args:
        choose: one function for all files, or one for each; picklable if the reading has workers.

    Raises:
        TextheadError: the cache cannot be used.
    """
    chooses, sees_clips = [choose] * len(paths) if callable(choose) else choose, visual.spec.unit == "clip"
    cache, engine = open_cache(visual, pixels, reading.cache), None
    # An open one keeps two megabytes, but clips are read from it later.
    used = closing(cache) if cache and not sees_clips else nullcontext()
    with used, reporter.bar("encode", "files") as progress:
        for start in range(0, len(paths), FILES_OF_CHUNK):
            with torch.inference_mode():
                part = slice(start, start + FILES_OF_CHUNK)
                chunk, own = paths[part], chooses[part]
                entries, addresses = _look_up(cache, visual, chunk, own, reading, reporter)
                missing = [position for position, entry in enumerate(entries) if entry is None]
                chosen = [own[i] for i in missing]
                loader = _read_frames([chunk[i] for i in missing], chosen, pixels, reading.workers, visual.mean.device)
                later = len(paths) - start - len(chunk)
                if engine is None and sees_clips:
                    clips, where = _units(own[0], 10_000), "disk" if cache else "memory"
                    count = (len(missing) + later) * len(clips)
                    # Not again for test items, or the next thousand files.
                    if visual.spec.tokens > visual.spec.grid[0] and count > (cache.count() if cache else 0):
                        reporter.say(_size_text(visual.spec, len(np.ravel(clips[0])), count * ranks(), where))
                    engine = Engine(partial(clip_features, visual), "eager", reporter=reporter)
                elif engine is None:
                    # An estimate: lengths are unknown, so count each video as a long one, and later files as one frame.
                    pairs = zip(missing, chosen, strict=True)
                    count = sum(1 if addresses[i].media.is_image else len(set(each(10_000))) for i, each in pairs)
                    engine = Engine(visual, reading.engine, count + later, reporter)
                encoded = zip(missing, _encode(visual, engine, loader), strict=True)
                for done, (position, entry) in enumerate(encoded, start + len(chunk) - len(missing) + 1):
                    if isinstance(entry, _Encoded):
                        length, features, still = entry
                        units = _distinct(wanted := _units(own[position], length))
                        if cache and addresses[position].is_current and features.isfinite().all():
                            at = addresses[position].with_length(length)
                            cache.put(at.digest, at.file_length, at.in_file(units), features, engine.name, still)
                            entry = _cached(cache, visual, at, own[position])
                        else:
                            row_of = {unit: row for row, unit in enumerate(units)}
                            rows = [row_of[unit] for unit in wanted]
                            entry = [features[row].clone() for row in rows] if sees_clips else features[rows]
                    entries[position] = entry
                    progress(done, len(paths))
            yield from (entry for entry in entries if entry is not None)


def _cached(
    cache: FeatureCache, visual: Visual, address: _Address, choose: Choose
) -> Float[Tensor, "frames dim"] | CachedClips | None:
    """Return the cached features of the chosen frames or clips; None if one is missing."""
    units = address.in_file(_units(choose, len(address.frames)))
    features = cache.get(address.digest, units) if units else None
    if features is None or visual.spec.unit == "frame":
        return features
    return CachedClips(cache, address.digest, units, visual.spec.dim)


def _look_up(
    cache: FeatureCache | None,
    visual: Visual,
    paths: Sequence[Path],
    chooses: Sequence[Choose],
    reading: Reading,
    reporter: Reporter,
) -> tuple[list[Any | MediaError | None], list[_Address]]:
    """Return each path's cached features (None if missing) or the error of an unreadable file, and each path's address.

    Args:
        reading: how to open files whose frame times are not cached yet.
    """
    entries: list[Any | MediaError | None] = [None] * len(paths)
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
        address = addresses[position] = _Address(media, digest, frames, length, stamp)
        entries[position] = _cached(cache, visual, address, chooses[position]) if length else None
        for name in cache.engines(digest) if entries[position] is not None else ():
            reporter.used(name)
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


def _size_text(spec: VisualSpec, frames: int, count: int, where: str) -> str:
    """Return the size of the grid of a clip with so many frames, and of `count` of them."""
    steps, rows, columns = spec.grid
    steps *= frames // spec.frames
    half = spec.number_type == "float16"
    size = (2 if half else 4) * steps * rows * columns * spec.dim
    return (
        f"a clip's features take {_size(size)} ({steps} x {rows} x {columns} of {spec.dim} in "
        f"{'half' if half else 'single'} precision), "
        f"{_size(count * size)} of {where} for {plural(count, 'clip')}"
    )


def _size(count: int) -> str:
    """Return a number of bytes with its unit: 262 kB, 1.6 MB, 3.1 GB."""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def frames_at_once(device: torch.device) -> int:
    """Return the number of frames to encode at once without gradients.

    On a CPU it is small, since larger activations do not fit its caches and are newly allocated each time.
    (EfficientNet-Lite0 at 224 pixels: 47 frames per CPU-second in batches of 8, 29 in batches of 64; ViT-B/32: equal.)
    """
    return 8 if device.type == "cpu" else 64


def _encode(visual: Visual, engine: Engine, entries: Iterable[_Frames | MediaError]):
    """Yield the features of each entry in order; frames of consecutive entries are encoded together, clips one by one.

    A GPU encodes them while the next entries are decoded.
    """
    was_training = visual.training
    visual.eval()
    device, number_type = visual.mean.device, getattr(torch, visual.spec.number_type)
    most = 1 if visual.spec.unit == "clip" else frames_at_once(device)
    waiting: list[_Frames | MediaError] = []
    running: list[Iterator[_Encoded | MediaError]] = []

    def start() -> Iterator[_Encoded | MediaError]:
        group = waiting.copy()
        waiting.clear()
        frames = [entry[1].to(device, non_blocking=True) for entry in group if not isinstance(entry, MediaError)]
        encoded = [engine(chunk).to(number_type) for chunk in torch.cat(frames).split(most)] if frames else ()

        def finish() -> Iterator[_Encoded | MediaError]:
            rows = iter(torch.cat([*encoded]).cpu().split([len(chunk) for chunk in frames]) if frames else ())
            for entry in group:
                yield entry if isinstance(entry, MediaError) else _Encoded(entry[0], next(rows), entry[2])

        return finish()

    for entry in entries:
        waiting.append(entry)
        if sum(len(e[1]) for e in waiting if not isinstance(e, MediaError)) >= most:
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
