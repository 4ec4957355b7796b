"""Count the samples that the header of an .mp4 or .mov claims.

A header of a kilobyte can claim a billion samples, and FFmpeg allocates some 73 bytes for each when it opens the file.
"""

import struct
from collections.abc import Iterator
from io import BufferedIOBase
from math import ceil

# FFmpeg reads tables in all of these, wherever they are, and also finds a header inside `free` or `hoov`.
_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex", b"udta", b"dinf"} | {
    *(b"tref", b"wave", b"free", b"hoov")
}

_MOST_DEPTH = 10  # FFmpeg's

MOST_BOXES = 2**18

# FFmpeg groups this many samples of uncompressed sound into one entry.
_SOUND_SAMPLES = 1024


def claimed_samples(file: BufferedIOBase) -> int:
    """Return an upper bound on the entries that FFmpeg would create for all tracks; 0 for other formats.

    Raises:
        ValueError: the header is compressed or has more than MOST_BOXES boxes.
    """
    total, track = 0, _Track()
    for count, (kind, start, end) in enumerate(_all_boxes(file, 0, file.seek(0, 2)), 1):
        if kind == b"cmov" or count > MOST_BOXES:
            fault = "is compressed" if kind == b"cmov" else f"has more than {MOST_BOXES} boxes"
            raise ValueError(f"its header {fault}")
        if kind == b"trak":
            total, track = total + track.entries, _Track()
        elif kind == b"trun":
            total += _number(file, start + 4)
        else:
            track.note(file, kind, start, end)
    return total + track.entries


def boxes(file: BufferedIOBase, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of each box's content between two offsets; the last may claim to end after `end`."""
    while at + 8 <= end:
        size, kind, start = _number(file, at), _bytes(file, at + 4, 4), at + 8
        if size == 1:
            size, start = int.from_bytes(_bytes(file, at + 8, 8)), at + 16
        at = at + size if size else end
        if at < start:
            return
        yield kind, start, at


def _all_boxes(file: BufferedIOBase, at: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of each box's content between two offsets, and of the boxes nested in it."""
    for kind, start, claimed in boxes(file, at, end):
        stop = min(claimed, end)
        if stop < start:
            return
        yield kind, start, stop
        if kind in _CONTAINERS and depth < _MOST_DEPTH:
            yield from _all_boxes(file, start, stop, depth + 1)


class _Track:
    """The claims in the tables of one track."""

    def __init__(self):
        self.samples = self.chunks = self.in_chunk = 0
        self.edits = 1
        self.is_even = False
        self.handlers: set[bytes] = set()

    def note(self, file: BufferedIOBase, kind: bytes, start: int, end: int) -> None:
        """Record the claims of a table."""
        match kind:
            case b"hdlr":
                self.handlers.add(_bytes(file, start + 8, 4))
            case b"stts":
                # A single run of samples of one tick each is how FFmpeg recognises uncompressed sound.
                self.is_even = (_number(file, start + 4), _number(file, start + 12)) == (1, 1)
            case b"stsz" | b"stz2":
                self.samples += _number(file, start + 8)
            case b"stco" | b"co64":
                self.chunks += _number(file, start + 4)
            case b"stsc":
                runs = _bytes(file, start + 8, min(end - start - 8, 12 * _number(file, start + 4)) // 12 * 12)
                self.in_chunk = max((count for _, count, _ in struct.iter_unpack(">III", runs)), default=0)
            case b"elst":
                self.edits = max(1, _number(file, start + 4))

    @property
    def entries(self) -> int:
        """Entries that FFmpeg would create; each edit can repeat all samples."""
        if self.is_even and b"soun" in self.handlers and b"vide" not in self.handlers:
            return self.edits * self.chunks * ceil(self.in_chunk / _SOUND_SAMPLES)
        return self.edits * self.samples


def _bytes(file: BufferedIOBase, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(max(0, count))


def _number(file: BufferedIOBase, at: int) -> int:
    return int.from_bytes(_bytes(file, at, 4))
