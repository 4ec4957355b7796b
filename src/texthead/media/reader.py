"""What every reader of media offers, the frames of one file by number; and a part of a file, read by its reader."""

import math
import sys
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from texthead.errors import MediaError
from texthead.media.limits import MOST_MEGAPIXELS, changed_size, check_indices
from texthead.media.paths import span_of

Picture = UInt8[np.ndarray, "height width 3"]

# Makes something smaller of frames, as scaling and cropping do; of each apart from the others.
Change = Callable[[UInt8[Tensor, "frames 3 height width"]], UInt8[Tensor, "*views frames 3 new_height new_width"]]

# Frames are changed so many at a time: one call a frame would take longer.
_HELD_BYTES = 2**26

# Gives a frame's picture, upright: only frames that are looked at are converted to RGB.
Take = Callable[[], Picture]


class Media(ABC):
    """The frames of one file, by number; a context manager.

    A reader is a subclass with `num_frames` and `pictures`, and a line in `open.READERS`. The rest has defaults, which
    a reader replaces where it knows more or is faster.

    Attributes:
        kind: what one item is called: "video", "image" (one frame, read as a picture), ...
        suffixes: the endings of the names that it takes, with the dot, in lower case.
        one_file: the path must be a file with content; False where a reader takes something else, such as a folder.
        num_frames: the number of frames that a player shows.
        times: when each frame is shown, in seconds from the first; empty for pictures.
        duration_seconds: the end of the last frame; 0 for pictures.
        begin_seconds: when the first frame is shown on the file's own clock.
        has_times: False where the file holds no times and they were counted from its frame rate.
        listed_frames: the number of frames that the header claims; 0 where it claims none.
    """

    kind: ClassVar[str] = "video"
    suffixes: ClassVar[frozenset[str]] = frozenset()
    one_file: ClassVar[bool] = True

    num_frames: int
    times: Sequence[float] = ()
    duration_seconds: float = 0.0
    begin_seconds: float = 0.0
    has_times: bool = True
    listed_frames: int = 0

    def __init__(self, path: Path, data: bytes | None = None, most_megapixels: int = MOST_MEGAPIXELS):
        """Open the file at `path`; `data` is its content if it is a clip in a shard, which `prepare` wrote.

        Raises: MediaError for a file that cannot be read.
        """
        self.path = path
        self.most_megapixels = most_megapixels

    @classmethod
    def takes(cls, path: Path) -> bool:
        """Return whether this reader opens what has this name; the file itself is not looked at."""
        return path.suffix.lower() in cls.suffixes

    @classmethod
    def suffix_of(cls, content: bytes) -> str | None:
        """Return the suffix that a file with this content should have; None if this reader cannot tell."""
        return None

    @abstractmethod
    def pictures(self, wanted: Collection[int]) -> Iterator[tuple[int, Picture]]:
        """Yield (index, picture) of each wanted frame once: of all frames in order, of some as is quickest.

        Raises: MediaError for damage on the way to a wanted frame.
        """

    def frames_at(
        self, indices: Sequence[int], change: Change | None = None
    ) -> UInt8[Tensor, "*views frames 3 new_height new_width"]:
        """Return the frames at `indices`, in that order; an index may come twice, its frame is decoded once.

        The memory is channels-last (rows of RGB triples), which torchvision resizes fastest.

        Args:
            change: is called with some frames at a time, 64 MB or one, and only what it returns is kept. Without it all
                frames are held as they are, however large that is.

        Raises: DataError for an index outside 0..num_frames-1; MediaError for damage on the way to a wanted
        frame, or frames of two sizes.
        """
        check_indices(self.path, indices, self.num_frames)
        wanted, place, parts = set(indices), dict[int, int](), list[Tensor]()
        for some, frames in self._batches(wanted, sys.maxsize if change is None else _HELD_BYTES):
            place |= {index: len(place) + i for i, index in enumerate(some)}
            parts.append(change(frames) if change else frames)
        if missing := wanted - place.keys():
            problem = f"frame {min(missing)} of {self.num_frames} is listed but does not decode; encode it again"
            raise MediaError(self.path, problem, "damaged")
        clip, places = torch.cat(parts, dim=-4) if len(parts) > 1 else parts[0], [place[index] for index in indices]
        if places != [*range(len(place))]:
            clip = clip.index_select(clip.ndim - 4, torch.tensor(places))
        return clip if change else clip.contiguous(memory_format=torch.channels_last)

    def _batches(
        self, wanted: Collection[int], most: int
    ) -> Iterator[tuple[list[int], UInt8[Tensor, "frames 3 height width"]]]:
        """Yield the wanted frames with their indices, so many at a time as take `most` bytes, or one."""
        left, some = len(wanted), list[int]()
        shape: tuple[int, ...] | None = None
        out = np.empty(0, np.uint8)
        for index, picture in self.pictures(wanted):
            shape = shape or picture.shape
            self._check_same_size(shape, picture.shape)
            if 2 * picture.nbytes > most:  # A copy would take as much again.
                yield [index], torch.from_numpy(np.require(picture[None], requirements=("C", "W"))).permute(0, 3, 1, 2)
                continue
            if not some:
                out = np.empty((min(left, most // picture.nbytes), *shape), np.uint8)
            out[len(some)] = picture
            some.append(index)
            if len(some) == len(out):
                yield some, torch.from_numpy(out).permute(0, 3, 1, 2)
                left, some = left - len(some), []
        if some:
            yield some, torch.from_numpy(out[: len(some)]).permute(0, 3, 1, 2)

    def checked_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Picture]]:
        """Yield (index, picture) of each wanted frame in order, while every frame of the file is decoded.

        Raises: MediaError for the first fault, even one that `frames_at` would pass by.
        """
        shape: tuple[int, ...] | None = None
        for index, picture in self.pictures(range(self.num_frames)):
            shape = shape or picture.shape
            self._check_same_size(shape, picture.shape)
            if index in wanted:
                yield index, picture

    def check(self) -> int:
        """Return the number of frames, after decoding every one of them; none is kept.

        Raises: MediaError for the first fault, even one that `frames_at` would pass by.
        """
        for _ in self.checked_frames(()):
            pass
        return self.num_frames

    def in_order(self) -> Iterator[tuple[float, Take]]:
        """Yield (seconds, what gives the picture) of every frame, first shown first; none is kept.

        Raises: MediaError for the first fault, when the iteration reaches it.
        """
        for index, seconds in enumerate(self.times):
            yield seconds, lambda index=index: dict(self.pictures({index}))[index]

    def stretch(self, frames: range) -> Iterator[tuple[int, Take]]:
        """Yield (index, what gives the picture) of the frames of a range, first shown first; none is kept.

        Raises: MediaError for the first fault, when the iteration reaches it.
        """
        for index in frames:
            yield index, lambda index=index: dict(self.pictures({index}))[index]

    @property
    def turned(self) -> bool:
        """Whether the file says that its pictures are to be turned or mirrored, as `pictures` does."""
        return False

    def close(self) -> None:  # noqa: B027, many readers hold nothing open
        """Release what is open."""

    def __enter__(self) -> "Media":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_same_size(self, before: tuple[int, ...], here: tuple[int, ...]) -> None:
        if here != before:
            raise MediaError(self.path, changed_size(before, here), "changing size")


# Manifests hold times to a thousandth of a second, so a frame's time is rounded as they are.
_DIGITS = 3


def frames_within(path: Path, times: Sequence[float]) -> range:
    """Return the numbers of a file's frames in the part that `path` names.

    Worked example, frames at 0.0, 0.5, 1.0 and 1.5 s: #t=0.5,1.5 has the frames 1 and 2.

    Args:
        times: when each frame of the file is shown, in seconds.

    Raises: MediaError for times that break a rule, or within which no frame begins.
    """
    span = span_of(path)
    first = bisect_left(times, span.start, key=_to_thousandths)
    stop = len(times) if math.isinf(span.end) else bisect_left(times, span.end, key=_to_thousandths)
    if first >= stop:
        last = f"the last of its {len(times)} is shown at {times[-1]:.3f} s" if len(times) else "it has no times"
        raise MediaError(path, f"no frame is shown from {span}, {last}; name times of the file")
    return range(first, stop)


def _to_thousandths(seconds: float) -> float:
    return round(seconds, _DIGITS)


class Part(Media):
    """The frames of a part of a file, numbered from its first on; only what they need is decoded.

    A frame belongs to the part in which it is first shown, to a thousandth of a second: from the start on and before
    the end.

    Attributes:
        start_seconds: when the part's first frame is shown, in seconds from the file's first.
        frames: the frames of the file that it has.
    """

    def __init__(self, path: Path, whole: Media):
        super().__init__(path)
        self._whole = whole
        frames = self.frames = frames_within(path, whole.times)
        self.start_seconds = whole.times[frames.start]
        self.num_frames = len(frames)
        self.times = [whole.times[index] - self.start_seconds for index in frames]
        ends = whole.times[frames.stop] if frames.stop < whole.num_frames else whole.duration_seconds
        self.duration_seconds = ends - self.start_seconds
        self.begin_seconds = whole.begin_seconds + self.start_seconds
        self.has_times = whole.has_times

    def pictures(self, wanted: Collection[int]) -> Iterator[tuple[int, Picture]]:
        """Yield (index, picture) of each wanted frame once, as the file's reader does.

        Raises: MediaError for damage on the way to a wanted frame.
        """
        first = self.frames.start
        with named_as(self.path):
            for index, picture in self._whole.pictures({first + index for index in wanted}):
                yield index - first, picture

    def checked_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Picture]]:
        """Yield (index, picture) of each wanted frame in order, while every frame of the part is decoded.

        Raises: MediaError for the first fault within the part.
        """
        shape: tuple[int, ...] | None = None
        for index, take in self.stretch(range(self.num_frames)):
            picture = take()
            shape = shape or picture.shape
            self._check_same_size(shape, picture.shape)
            if index in wanted:
                yield index, picture

    def in_order(self) -> Iterator[tuple[float, Take]]:
        """Yield (seconds from the part's first frame, what gives the picture) of every frame, first shown first.

        Raises: MediaError for the first fault, when the iteration reaches it.
        """
        for index, take in self.stretch(range(self.num_frames)):
            yield self.times[index], take

    def stretch(self, frames: range) -> Iterator[tuple[int, Take]]:
        """Yield (index, what gives the picture) of the frames of a range, as the file's reader does.

        Raises: MediaError for the first fault, when the iteration reaches it.
        """
        first = self.frames.start
        with named_as(self.path):
            for index, take in self._whole.stretch(range(first + frames.start, first + frames.stop)):
                yield index - first, take

    @property
    def turned(self) -> bool:
        """Whether the file says that its pictures are to be turned or mirrored."""
        with named_as(self.path):
            return self._whole.turned

    def close(self) -> None:
        """Release the file."""
        self._whole.close()


@contextmanager
def named_as(path: Path) -> Iterator[None]:
    """Re-raise a MediaError of a file as one of the part of it that is read."""
    try:
        yield
    except MediaError as error:
        raise MediaError(path, error.problem, error.fault) from error
