"""What every reader of media offers: the frames of one file, by number."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from texthead.errors import MediaError
from texthead.media.limits import changed_size, check_indices

Picture = UInt8[np.ndarray, "height width 3"]

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

    def __init__(self, path: Path, data: bytes | None = None):
        """Open the file at `path`; `data` is its content if it is a clip in a shard, which `prepare` wrote.

        Raises: MediaError for a file that cannot be read.
        """
        self.path = path

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

    def frames_at(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """Return the frames at `indices`, in that order; an index may come twice, its frame is decoded once.

        The memory is channels-last (rows of RGB triples), which torchvision resizes fastest.

        Raises: DataError for an index outside 0..num_frames-1; MediaError for damage on the way to a wanted
        frame, or frames of two sizes.
        """
        check_indices(self.path, indices, self.num_frames)
        places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            places.setdefault(index, []).append(place)
        out: np.ndarray | None = None
        for index, picture in self.pictures(set(places)):
            if out is None:
                out = np.empty((len(indices), *picture.shape), np.uint8)
            self._check_same_size(out.shape[1:], picture.shape)
            for place in places.pop(index):
                out[place] = picture
        if out is None or places:
            missing = min(places)
            problem = f"frame {missing} of {self.num_frames} is listed but does not decode; encode it again"
            raise MediaError(self.path, problem, "damaged")
        return torch.from_numpy(out).permute(0, 3, 1, 2)

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
