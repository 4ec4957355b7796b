"""Read single frames of a clip in a shard, checking the digest of each.

In the tar a frame table precedes the clip: `000000781.frames.json` before `000000781.avi`. It lists the offset, size,
SHA-256 and presentation time of each frame's JPEG. The shard's index has the digest of the table, which thus covers
every frame.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import simplejpeg

from texthead.errors import MediaError, raising
from texthead.media.reader import Frame, Media
from texthead.media.shard import BLOCK, Member, check_digest, padded, read_ranges

TABLE_SUFFIX = ".frames.json"


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
        make, problem = partial(MediaError, path), "its frame table is invalid"
        with raising(make, problem, "prepare the shard again", KeyError, TypeError, RecursionError):
            # The table precedes the clip in the tar.
            (read,) = read_ranges(path, [(entry.offset - BLOCK - padded(entry.table), entry.table)])
            check_digest(path, "its frame table", read, entry.sha256, entry.table)
            table = json.loads(read)
            self._begins, self._sizes, self._digests = zip(*table["frames"], strict=True)
            self.num_frames = len(self._sizes)
            self.times = [float(seconds - table["seconds"][0]) for seconds in table["seconds"]]
        if len(self.times) > 1:
            # The last frame is assumed to last as long as the others on average.
            self.duration_seconds = self.times[-1] * self.num_frames / (self.num_frames - 1)

    def iter_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
        """Yield (index, frame) of each wanted frame by ascending number.

        Raises: MediaError for a damaged frame.
        """
        order = sorted(wanted)
        ranges = [(self._clip + self._begins[index], self._sizes[index]) for index in order]
        for index, data in zip(order, read_ranges(self.path, ranges), strict=True):
            check_digest(self.path, f"frame {index}", data, self._digests[index], self._sizes[index])
            make, problem = partial(MediaError, self.path, fault="damaged"), f"frame {index} does not decode"
            with raising(make, problem, "prepare the shard again", Exception):  # The library may raise anything.
                picture = simplejpeg.decode_jpeg(data)
            yield index, picture
