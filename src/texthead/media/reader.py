"""Media, the base class of all readers: the frames of a file by number; and Part, a time span of a file."""

import sys
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from texthead.errors import DataError, MediaError, TextheadError, line_of
from texthead.extensions import OURS

Frame = UInt8[np.ndarray, "height width 3"]

# Transforms frames independently of each other, usually to smaller ones, by resizing and cropping.
Change = Callable[[UInt8[Tensor, "frames 3 height width"]], UInt8[Tensor, "*views frames 3 new_height new_width"]]

# Frames are transformed in batches of this size: one call per frame would take longer.
_BATCH_BYTES = 2**26

# Returns an upright frame in RGB; called only for the frames in use, since conversion costs time.
Take = Callable[[], Frame]


@contextmanager
def reader_errors(reader: "type[Media]", path: Path) -> Iterator[None]:
    """Turn any error of a reader of another package into a MediaError; its code may raise anything."""
    try:
        yield
    except Exception as error:
        if isinstance(error, TextheadError) or reader.__module__.partition(".")[0] == OURS:
            raise
        problem = f"the reader {reader.__module__}.{reader.__name__} failed ({line_of(error, kind=True)})"
        raise MediaError(path, f"{problem}; repair the file or the package") from error


class Media(AbstractContextManager["Media"]):
    """The frames of one file, by number; a context manager.

    A reader is a subclass with `num_frames` and `iter_frames`. It may override the defaults of the rest with better or
    faster ones. The table of readers (`open.py`) gives it the suffixes of its files.

    Attributes:
        kind: name of one item: "video", "image" (one frame), ...
        one_file: whether the path must be a non-empty file; False for a reader of folders, say.
        num_frames: number of frames that a player shows.
        times: presentation time of each frame in seconds from the first; empty for images.
        duration_seconds: end of the last frame; 0 for images.
        start_seconds: time of the first frame in the file, in seconds; above 0 for a part.
        offset_seconds: how much later than the file its frames start, in seconds; players count from the file.
        has_times: False if the file has no time stamps and times were computed from its frame rate.
        min_short_side: short side in pixels that suffices, set by the user of the frames: a reader may give larger
            ones at a smaller size, but at least this one; 0 for full size.
        shape: height and width, at full size, of the last frame that a reader may have reduced.
    """

    kind: ClassVar[str] = "video"
    one_file: ClassVar[bool] = True

    num_frames: int
    times: Sequence[float] = ()
    duration_seconds: float = 0.0
    start_seconds: float = 0.0
    offset_seconds: float = 0.0
    has_times: bool = True
    min_short_side: int = 0
    shape: tuple[int, ...] | None = None

    def __init__(self, path: Path, data: bytes | None = None):
        """Open the file at `path`; `data` is its content if it is a clip in a shard.

        Raises: MediaError for a file that cannot be read.
        """
        self.path = path

    def close(self) -> None:
        """Close the file."""

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def iter_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
        """Yield (index, frame) of each wanted frame once: in order if all are wanted, else in the quickest order.

        Raises: MediaError for damage on the way to a wanted frame.
        """

    def safe_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
        """Yield what `iter_frames` yields; errors of another package's reader and wrong frames are MediaErrors.

        Frames are wrong if their type is, if they differ in size, or if one is missing.
        """
        shape, missing = None, {*wanted}
        with reader_errors(type(self), getattr(self, "path", Path("?"))):
            for index, frame in self.iter_frames(wanted):
                if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                    problem = f"frame {index} is {frame.dtype} {frame.shape}; expected uint8 (height, width, 3)"
                    raise MediaError(self.path, problem)
                shape = shape or frame.shape
                self._check_same_size(shape, frame.shape)
                missing.discard(index)
                yield index, frame
        if missing:
            problem = f"frame {min(missing)} of {self.num_frames} is listed but does not decode; encode it again"
            raise MediaError(self.path, problem, "damaged")

    def frames_at(
        self, indices: Sequence[int], change: Change | None = None
    ) -> UInt8[Tensor, "*views frames 3 new_height new_width"]:
        """Return the frames at `indices`, in that order; repeated indices are decoded once.

        The memory format is channels-last (rows of RGB triples), which torchvision resizes fastest.

        Args:
            change: called on batches of frames, 64 MB or one frame each; only its results are kept. Without it all
                frames are held in memory unchanged.

        Raises: DataError for an index outside 0..num_frames-1; MediaError for damage on the way to a wanted
        frame, or frames of two sizes.
        """
        if not len(indices) or min(indices) < 0 or max(indices) >= self.num_frames:
            asked = f"{min(indices)} to {max(indices)}" if len(indices) else "none"
            raise DataError(f"{self.path}: indices must be from 0 to {self.num_frames - 1}, at least one; got {asked}")
        wanted, row_of, batches = set(indices), dict[int, int](), list[Tensor]()
        for batch, frames in self._batches(wanted, sys.maxsize if change is None else _BATCH_BYTES):
            row_of |= {index: len(row_of) + i for i, index in enumerate(batch)}
            batches.append(change(frames) if change else frames)
        clip = torch.cat(batches, dim=-4) if len(batches) > 1 else batches[0]
        rows = [row_of[index] for index in indices]
        if rows != [*range(len(row_of))]:
            clip = clip.index_select(clip.ndim - 4, torch.tensor(rows))
        return clip if change else clip.contiguous(memory_format=torch.channels_last)

    def _batches(
        self, wanted: Collection[int], most: int
    ) -> Iterator[tuple[list[int], UInt8[Tensor, "frames 3 height width"]]]:
        """Yield (indices, frames) of the wanted frames in batches of at most `most` bytes, or of one frame."""
        batch, out = list[int](), np.empty(0, np.uint8)
        for index, frame in self.safe_frames(wanted):
            if not batch:
                out = np.empty((min(len(wanted), max(1, most // frame.nbytes)), *frame.shape), np.uint8)
            out[len(batch)] = frame  # A copy: a reader may use its memory again.
            batch.append(index)
            if len(batch) == len(out):
                yield batch, torch.from_numpy(out).permute(0, 3, 1, 2)
                batch = []
        if batch:
            yield batch, torch.from_numpy(out[: len(batch)]).permute(0, 3, 1, 2)

    def checked_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
        """Decode every frame of the file and yield (index, frame) of each wanted one, in order.

        Raises: MediaError for the first fault, even one that `frames_at` would not reach.
        """
        for index, frame in self.safe_frames(range(self.num_frames)):
            if index in wanted:
                yield index, frame

    def in_order(self) -> Iterator[tuple[float, Take]]:
        """Yield (seconds from the first, function that returns the frame) of every frame, in presentation order.

        Raises: MediaError for the first fault, when the iteration reaches it.
        """
        for index, take in self.iter_range(range(self.num_frames)):
            yield self.times[index], take

    def iter_range(self, frames: range) -> Iterator[tuple[int, Take]]:
        """Yield (index, function that returns the frame) of a range of frames, in presentation order, keeping none.

        Raises: MediaError for the first fault, when the iteration reaches it.
        """
        for index in frames:
            yield index, lambda index=index: dict(self.safe_frames({index}))[index]

    def _check_same_size(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        if after != before:
            sizes = f"{before[1]}x{before[0]} to {after[1]}x{after[0]}"
            problem = f"its frames change size from {sizes}; encode it again at one size"
            raise MediaError(self.path, problem, "changing size")


class Part(Media):
    """The frames of a part of a file, numbered from 0; only the packets that they need are decoded.

    A part has the frames that are shown from its start on and before its end, to half a thousandth of a second.

    Attributes:
        frames: its frame numbers in the file.
        whole: the file.
    """

    def __init__(self, path: Path, frames: range, whole: Media):
        super().__init__(path)
        self.whole, self.frames = whole, frames
        self.start_seconds, self.offset_seconds = whole.times[frames.start], whole.offset_seconds
        self.num_frames = len(frames)
        self.times = [whole.times[index] - self.start_seconds for index in frames]
        ends = whole.times[frames.stop] if frames.stop < whole.num_frames else whole.duration_seconds
        self.duration_seconds = ends - self.start_seconds
        self.has_times = whole.has_times

    def iter_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
        """Yield (index, frame) of each wanted frame once, as the file's reader does.

        Raises: MediaError for damage on the way to a wanted frame.
        """
        first = self.frames.start
        with named_as(self.path):
            for index, frame in self.whole.safe_frames({first + index for index in wanted}):
                yield index - first, frame

    def iter_range(self, frames: range) -> Iterator[tuple[int, Take]]:
        """Yield (index, function that returns the frame) of a range of frames, as the file's reader does.

        Raises: MediaError for the first fault, when the iteration reaches it.
        """
        first = self.frames.start
        with named_as(self.path):
            for index, take in self.whole.iter_range(range(first + frames.start, first + frames.stop)):
                yield index - first, take

    def close(self) -> None:
        """Close the file."""
        self.whole.close()


@contextmanager
def named_as(path: Path) -> Iterator[None]:
    """Re-raise a MediaError of a file under the path of its part."""
    try:
        yield
    except MediaError as error:
        raise MediaError(path, error.problem, error.fault) from error
