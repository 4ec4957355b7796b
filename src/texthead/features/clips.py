"""Encode clips once: cached features, so that heads and temporal modules train in seconds.

The clip is the unit of encoding: for an encoder of single frames, a frame is a clip of one. The key of a feature
consists of the encoder's weights, the preprocessing, the file's bytes and the clip's frames. A change in any of them
changes the key, so features are never stale. A part of a file shares its file's frames.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from texthead.data.protocol import Pixels, Protocol, Views
from texthead.data.transforms import view_crops
from texthead.encoders.encoder import Visual, clip_features
from texthead.encoders.spec import VisualSpec
from texthead.errors import MediaError, plural
from texthead.features.cache import AS_PICTURE, CachedClips, FeatureCache, open_cache
from texthead.features.engine import Engine, frames_at_once
from texthead.features.reading import Reading
from texthead.features.stills import Still
from texthead.media.paths import MediaPath
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import ranks
from texthead.parallel.loaders import FileDataset, read_each
from texthead.parallel.progress import Reporter
from texthead.recipes import EngineName

# Returns the frame indices of a clip of a file with so many frames, or those of several clips of equal length.
Choose = Callable[[int], list[int]] | Callable[[int], list[list[int]]]

# The features of the views of a file: all crops of the first clip, then those of the second, and so on.
Encoded = Float[Tensor, "views tokens dim"] | CachedClips

# Files that are looked up at once.
FILES_OF_CHUNK = 1000

# The frames of a video whose length is unknown, for estimates.
_LONG = 10_000


class _Units(NamedTuple):
    """What is encoded of the clips of a file, each once: the clips, or their frames as clips of one.

    Attributes:
        frames: the frame indices of each unit, in ascending order.
        rows: the units of each clip.
    """

    frames: Int[Tensor, "units frames"]
    rows: Int[Tensor, "clips units"]

    @classmethod
    def of(cls, clips: Sequence[int] | Sequence[Sequence[int]], *, whole: bool) -> "_Units":
        """Return the units of clips: themselves if `whole`, else their frames."""
        units = torch.atleast_2d(torch.tensor(clips)).unsqueeze(1 if whole else 2)
        frames, rows = units.flatten(0, 1).unique(dim=0, return_inverse=True)
        return cls(frames, rows.view(units.shape[:2]))

    def in_views(self, features: Float[Tensor, "units crops unit_tokens dim"]) -> Float[Tensor, "views tokens dim"]:
        """Return the features of the crops of each clip."""
        return features[self.rows].transpose(1, 2).flatten(0, 1).flatten(1, 2)


class _Decoded(NamedTuple):
    """What is read of a file.

    Attributes:
        length: its number of frames.
        pixels: the crops of the distinct frames of its units, in ascending order.
        still: of an image, as stored.
    """

    length: int
    units: _Units
    pixels: UInt8[Tensor, "crops frames 3 size size"]
    still: bytes


class _Place(NamedTuple):
    """Where the frames of a file or part are cached: the digest and frame count of the file, and frame indices in it.

    `file_length` is 0 if the file has not been opened yet. `stamp` was taken before the digest.
    """

    media: MediaPath
    digest: str = ""
    frames: range = range(0)
    file_length: int = 0
    stamp: str = ""

    def with_length(self, length: int) -> "_Place":
        """Return the place; if the file's length was unknown, fill it in."""
        return self if self.file_length else self._replace(frames=range(length), file_length=length)

    def in_file(self, units: _Units) -> list[list[int]]:
        """Return the frames of a part's units as those of its file."""
        return (units.frames + self.frames.start).tolist()


def encode(
    network: Visual | Recognizer,
    paths: Sequence[Path],
    protocol: Protocol,
    reading: Reading = Reading(),
    reporter: Reporter = Reporter(),
    *,
    choose: Choose | Sequence[Choose] | None = None,
    batch: int | None = None,
) -> Iterator[Encoded | MediaError]:
    """Yield, for each file, the features of its views, or its MediaError.

    Each frame is decoded once; cached ones are not. An encoder of single frames gives a token for each frame. One of
    whole clips gives tokens of its own; with a cache they stay there, and each clip is read when it is asked for. The
    size of a grid of tokens is reported before encoding.

    Args:
        network: a visual encoder; or a model whose features depend on whole clips: these are one token then, and not
            cached. It is left in evaluation mode.
        protocol: the sizes and views.
        reading: its `batch` and `skip_unreadable` are not used.
        choose: replaces the clips of the protocol: one function for all files, or one for each; picklable if the
            reading has workers.
        batch: files that are encoded together; None for enough to be fast.

    Raises:
        TextheadError: the cache cannot be used.
    """
    views, pixels = protocol.views, protocol.pixels or network.spec.pixels()
    choose = choose or partial(views.frame_indices, num_frames=protocol.frames)
    chooses = [choose] * len(paths) if callable(choose) else choose
    whole = isinstance(network, Recognizer) or network.spec.unit == "clip"
    cache = open_cache(network, protocol, reading.cache) if isinstance(network, Visual) else None
    decode = partial(_decode, pixels=pixels, views=views, whole=whole, with_still=cache is not None)
    store, engine = _Store(cache, network, whole), None
    network.eval()
    # An open cache keeps two megabytes, but clips are read from it later.
    with closing(cache) if cache and not whole else nullcontext(), reporter.bar("encode", "files") as progress:
        for start in range(0, len(paths), FILES_OF_CHUNK):
            part = slice(start, start + FILES_OF_CHUNK)
            chunk, own = paths[part], chooses[part]
            places = _look_up(cache, chunk, reading, windows=views.of_windows)
            entries = [store.get(*each, reporter) for each in zip(places, own, strict=True)]
            missing = [position for position, entry in enumerate(entries) if entry is None]
            if engine is None:
                later = len(paths) - start - len(chunk)
                if isinstance(network, Visual) and whole:
                    clips = np.atleast_2d(own[0](_LONG)).shape
                    _report_size(network.spec, len(missing) + later, clips, cache, reporter)
                # An estimate: lengths are unknown, so count each video as a long one, and later files as one frame.
                wanted = (1 if MediaPath(chunk[i]).is_image else np.unique(own[i](_LONG)).size for i in missing)
                engine = Engine(_function(network), reading.engine, views.crops * sum(wanted) + later, reporter)
            # Strings pickle faster than paths.
            files = FileDataset(decode, [str(chunk[i]) for i in missing], [own[i] for i in missing])
            decoded = read_each(files, reading.workers, pin_memory=network.device.type == "cuda")
            encoded = _encode(network, engine, decoded, batch or (1 if whole else None), whole=whole)
            done = start + len(chunk) - len(missing)
            for place, entry in zip(places, entries, strict=True):
                if entry is None:
                    result = next(encoded)
                    entry = result if isinstance(result, MediaError) else store.put(place, *result, engine.name)
                    done += 1
                    progress(done, len(paths))
                yield entry


def _function(network: Visual | Recognizer) -> Visual | Callable[[Tensor], Tensor]:
    """Return what computes the features of units."""
    if isinstance(network, Recognizer):
        return network.features
    return network if network.spec.unit == "frame" else partial(clip_features, network)


# ---- cached features


@dataclass(frozen=True)
class _Store:
    """The cached features of a network, if there is a cache."""

    cache: FeatureCache | None
    network: Visual | Recognizer
    whole: bool

    def get(self, place: _Place | MediaError, choose: Choose, reporter: Reporter) -> Encoded | MediaError | None:
        """Return the cached features of a file's views; None if one is missing."""
        if isinstance(place, MediaError):
            return place
        if self.cache is None or not place.frames:
            return None
        units = _Units.of(choose(len(place.frames)), whole=self.whole)
        features = self.cache.get(place.digest, place.in_file(units))
        if features is None:
            return None
        for name in self.cache.engines(place.digest):
            reporter.used(name)
        return self._of_views(place, units, features.unflatten(1, (-1, 1, self.network.spec.dim)))

    def put(self, place: _Place, decoded: _Decoded, features: Tensor, engine: EngineName) -> Encoded:
        """Return the new features of a file's views; cache them if they are finite and the file has not changed."""
        if self.cache is None or place.media.stamp() != place.stamp or not features.isfinite().all():
            return decoded.units.in_views(features)
        place = place.with_length(decoded.length)
        units = place.in_file(decoded.units)
        self.cache.put(place.digest, place.file_length, units, features, engine, decoded.still)
        return self._of_views(place, decoded.units, features)

    def _of_views(self, place: _Place, units: _Units, features: Float[Tensor, "units crops unit_tokens dim"]) -> Encoded:
        if self.cache is None or not self.whole:
            return units.in_views(features)
        frames = place.in_file(units)
        clips = [frames[row] for (row,) in units.rows.tolist()]
        return CachedClips(self.cache, place.digest, clips, features.shape[-1])


def _look_up(
    cache: FeatureCache | None, paths: Sequence[Path], reading: Reading, *, windows: bool
) -> list[_Place | MediaError]:
    """Return where the features of each file are cached, or the error of an unreadable one.

    Args:
        reading: how to open files whose frame times are not cached yet.
        windows: whether windows of frames are to be chosen.
    """
    places: list[_Place | MediaError] = [_Place(MediaPath(path)) for path in paths]
    if cache is None:
        return places
    # Stamps are taken before frame times are read, so that a file that is replaced in between is noticed.
    for position, media in enumerate(map(MediaPath, paths)):
        try:
            if windows:
                media.check_windows()
            digest, stamp = cache.identify(media)
            places[position] = _Place(media, digest + (AS_PICTURE if media.is_image else ""), stamp=stamp)
        except MediaError as error:
            places[position] = _named(error, media)
    files = dict.fromkeys(p.media.file for p in places if isinstance(p, _Place) and p.media.is_part)
    times = dict(zip(files, frame_times(cache, [*files], reading), strict=True))
    for position, place in enumerate(places):
        if isinstance(place, MediaError):
            continue
        length = cache.length(place.digest) or 0
        frames = range(length)
        if place.media.is_part:
            try:
                if isinstance(seconds := times[place.media.file], MediaError):
                    raise seconds
                length, frames = len(seconds), place.media.frames(seconds)
            except MediaError as error:
                places[position] = _named(error, place.media)
                continue
        places[position] = place._replace(frames=frames, file_length=length)
    return places


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


def _times(path: Path) -> Float[Tensor, " frames"]:
    """Return a file's frame times in seconds; nothing is decoded if the packets have times."""
    with MediaPath(path).open() as media:
        return torch.tensor(media.times, dtype=torch.float64)


# ---- new features


def _decode(path: str, choose: Choose, pixels: Pixels, views: Views, *, whole: bool, with_still: bool) -> _Decoded:
    """Return the units of a file's clips and the crops of their distinct frames."""
    still = b""
    with MediaPath(path).open(windows=views.of_windows) as media:
        media.enough = pixels.enough

        def crop(frames: UInt8[Tensor, "frames 3 height width"]) -> UInt8[Tensor, "crops frames 3 size size"]:
            nonlocal still
            if with_still and media.kind == "image":
                picture = frames[0].permute(1, 2, 0).numpy()
                size = media.shape or picture.shape[:2]
                still = Still.of(picture, size, turned=media.turned).to_bytes()
            return view_crops(frames, pixels, views.crops, views.along)

        units = _Units.of(choose(media.num_frames), whole=whole)
        return _Decoded(media.num_frames, units, media.frames_at(units.frames.unique().tolist(), crop), still)


def _encode(
    network: Visual | Recognizer,
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
            if isinstance(network, Visual):
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
    pixels, frames = decoded.pixels.to(device, non_blocking=True), decoded.units.frames
    if whole:
        pixels = pixels[:, torch.searchsorted(frames.unique(), frames).to(device)]
    return pixels.transpose(0, 1).flatten(0, 1)


# ---- the size of grids


def _report_size(
    spec: VisualSpec, files: int, clips: tuple[int, int], cache: FeatureCache | None, reporter: Reporter
) -> None:
    """Report the size of a clip's grid, and of those of all files, unless as many clips are cached.

    Args:
        clips: the number of clips of a file, and of their frames.
    """
    count, steps = files * clips[0], spec.grid[0] * clips[1] // spec.frames
    # Not again for test items.
    if spec.tokens == spec.grid[0] or count <= (cache.count() if cache else 0):
        return
    half, (_, rows, columns) = spec.number_type == "float16", spec.grid
    size, count = (2 if half else 4) * steps * rows * columns * spec.dim, count * ranks()
    reporter.say(
        f"a clip's features take {_size(size)} ({steps} x {rows} x {columns} of {spec.dim} in "
        f"{'half' if half else 'single'} precision), "
        f"{_size(count * size)} of {'disk' if cache else 'memory'} for {plural(count, 'clip')}"
    )


def _size(count: int) -> str:
    """Return a number of bytes with its unit: 262 kB, 1.6 MB, 3.1 GB."""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
