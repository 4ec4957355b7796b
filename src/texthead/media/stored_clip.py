"""Read single frames of a clip in a shard, checking the digest of each.

In the tar a frame table precedes the clip: `000000781.frames.json` before `000000781.avi`. It lists the offset, size,
SHA-256 and presentation time of each frame's JPEG. The shard's index has the digest of the table, which thus covers
every frame.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg

from texthead.errors import MediaError, line_of
from texthead.media.addresses import address
from texthead.media.limits import check_frames, check_scans, check_size
from texthead.media.reader import Media, Picture
from texthead.media.shard import BLOCK, Member, check_header, padded, read_ranges

TABLE_SUFFIX = ".frames.json"

# Frames at most this many bytes apart are read at once. Locally that covers the container's chunk headers; remotely, it
# is what one more request would cost in time.
_GAP, _REMOTE_GAP = 64, 2**14

_MOST_AT_ONCE = 2**22

_MOST_SECONDS = 2**31

# The image, and the coefficients of a progressive JPEG.
_BYTES_A_PIXEL = 9.0


class _Frame(NamedTuple):
    """Start and end of a frame's JPEG in the clip, in bytes, and the SHA-256 of its bytes."""

    begin: int
    end: int
    digest: str


def frame_table(clip: bytes, pictures: Sequence[bytes], seconds: Sequence[float]) -> bytes:
    """Return the frame table of a clip that contains these JPEGs in this order."""
    frames, end = [], 0
    for picture in pictures:
        offset = clip.index(picture, end)
        end = offset + len(picture)
        frames.append((offset, len(picture), hashlib.sha256(picture).hexdigest()))
    return json.dumps({"frames": frames, "seconds": list(seconds)}, separators=(",", ":")).encode()


class StoredClip(Media):
    """The frames of a clip in a shard, with the times of its source if it had any."""

    def __init__(self, path: Path, entry: Member):
        super().__init__(path)
        self._clip = entry.offset
        table = _read_table(path, entry)
        try:
            self._frames, self.times = _parsed(table, entry.size)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise MediaError(path, f"its frame table is invalid ({error}); prepare the shard again") from None
        self.num_frames = len(self._frames)
        check_frames(path, self.num_frames)
        if len(self.times) > 1:
            # The last frame is assumed to last as long as the others on average.
            self.duration_seconds = self.times[-1] * self.num_frames / (self.num_frames - 1)

    def pictures(self, wanted: Collection[int]) -> Iterator[tuple[int, Picture]]:
        """Yield (index, picture) of each wanted frame by ascending number.

        Raises: MediaError for a damaged frame.
        """
        for index, data in self._read(sorted(wanted)):
            picture = np.empty(self._shape(index, data), np.uint8)
            self._decode(index, data, picture)
            yield index, picture

    def _shape(self, index: int, data: bytes) -> tuple[int, int, int]:
        try:
            height, width = map(int, simplejpeg.decode_jpeg_header(data)[:2])
        except Exception as error:  # The libraries may raise anything.
            raise self._damaged(index, error) from None
        check_size(self.path, width, height, _BYTES_A_PIXEL)
        check_scans(self.path, data)
        return height, width, 3

    def _decode(self, index: int, data: bytes, out: Picture) -> None:
        try:
            simplejpeg.decode_jpeg(data, buffer=out)
        except Exception as error:
            raise self._damaged(index, error) from None

    def _damaged(self, index: int, error: Exception) -> MediaError:
        problem = f"frame {index} does not decode ({line_of(error)}); prepare the shard again"
        return MediaError(self.path, problem, "damaged")

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield (index, bytes) of each wanted frame, ascending, after checking its digest."""
        frames, runs = self._frames, [*self._runs(wanted)]
        ranges = [(self._clip + frames[run[0]].begin, frames[run[-1]].end - frames[run[0]].begin) for run in runs]
        for run, read in zip(runs, read_ranges(self.path, ranges), strict=True):
            first = frames[run[0]].begin
            for index in run:
                begin, end, digest = frames[index]
                data = read[begin - first : end - first]
                if hashlib.sha256(data).hexdigest() != digest:
                    size = f"{len(data)} of {end - begin} bytes"
                    problem = f"the shard is damaged: frame {index}, {size}, has a wrong digest; copy it again"
                    raise MediaError(self.path, problem, "damaged")
                yield index, data

    def _runs(self, wanted: Sequence[int]) -> Iterator[list[int]]:
        """Yield the frames in runs that are each read at once."""
        frames, gap, run = self._frames, _REMOTE_GAP if address(self.path) else _GAP, [wanted[0]]
        for index in wanted[1:]:
            apart, size = frames[index].begin - frames[run[-1]].end, frames[index].end - frames[run[0]].begin
            if apart > gap or size > _MOST_AT_ONCE:
                yield run
                run = []
            run.append(index)
        yield run


def _read_table(path: Path, entry: Member) -> bytes:
    """Return the frame table of a clip, after checking its digest and the tar headers of table and clip.

    Raises:
        MediaError: the shard cannot be read, ends early, or does not match its index.
    """
    room = padded(entry.table)
    begin = entry.offset - BLOCK - room - BLOCK
    (read,) = read_ranges(path, [(begin, entry.offset - begin)])
    check_header(path, read[:BLOCK], f"{path.stem}{TABLE_SUFFIX}", entry.table)
    check_header(path, read[BLOCK + room :], path.name, entry.size)
    table = read[BLOCK : BLOCK + entry.table]
    if hashlib.sha256(table).hexdigest() != entry.sha256:
        raise MediaError(path, "the shard is damaged: its frame table has a wrong digest; copy it again", "damaged")
    return table


def _parsed(table: bytes, size: int) -> tuple[list[_Frame], list[float]]:
    """Return the frames and their times in seconds from the frame table of a clip of `size` bytes.

    Raises:
        KeyError, TypeError, ValueError, RecursionError: the table is invalid.
    """
    parsed = json.loads(table)
    frames, end = list[_Frame](), 0
    for number, (begin, length, digest) in enumerate(parsed["frames"]):
        if not (type(begin) is int and type(length) is int and isinstance(digest, str)):
            raise TypeError(f"frame {number} has no offset, size and digest")
        if not (end <= begin and 0 < length <= size - begin):
            raise ValueError(f"frame {number} has {length} bytes at {begin}, after {end} of {size}")
        end = begin + length
        frames.append(_Frame(begin, end, digest))
    return frames, _times(parsed["seconds"], len(frames))


def _times(seconds: Sequence[float], frames: int) -> list[float]:
    """Return the frame times in seconds from the first; an empty list if the table has no times.

    Raises:
        ValueError, TypeError, KeyError: the number of times is wrong, or they are not ascending numbers.
    """
    if not seconds:
        return []
    ascending = all(before <= after for before, after in pairwise(seconds))
    if len(seconds) != frames or not ascending or not 0 <= seconds[0] <= seconds[-1] <= _MOST_SECONDS:
        raise ValueError(f"{len(seconds)} times for {frames} frames, or times that do not ascend")
    return [float(value - seconds[0]) for value in seconds]
