"""How many samples an .mp4 or .mov claims to hold: a header of a kilobyte can claim a billion.

FFmpeg makes an entry of some 73 bytes for each of them when it opens the file, before anybody can count them.
"""

import struct
from collections.abc import Iterator
from io import BufferedIOBase
from math import ceil

# FFmpeg believes a table wherever it stands, in these too, and finds a header that is hidden in `free` or `hoov`.
_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex", b"udta", b"dinf"} | {
    *(b"tref", b"wave", b"free", b"hoov")
}

_MOST_DEPTH = 10  # FFmpeg's

MOST_BOXES = 2**18

# FFmpeg puts so many samples of sound that is not compressed into one entry.
_SOUND_SAMPLES = 1024


def claimed_samples(file: BufferedIOBase) -> int:
    """Return the most entries that FFmpeg would make of all tracks; 0 for a file of another kind.

    Raises:
        ValueError: a packed header, or more boxes than a header has.
    """
    total, track = 0, _Track()
    for count, (kind, start, end) in enumerate(_all_boxes(file, 0, file.seek(0, 2)), 1):
        if kind == b"cmov" or count > MOST_BOXES:
            raise ValueError(f"its header {'is packed' if kind == b'cmov' else f'has more than {MOST_BOXES} boxes'}")
        if kind == b"trak":
            total, track = total + track.entries, _Track()
        elif kind == b"trun":
            total += _number(file, start + 4)
        else:
            track.note(file, kind, start, end)
    return total + track.entries


def boxes(file: BufferedIOBase, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of the content of each box between two places; the last may claim to end behind them."""
    while at + 8 <= end:
        size, kind, start = _number(file, at), _bytes(file, at + 4, 4), at + 8
        if size == 1:
            size, start = int.from_bytes(_bytes(file, at + 8, 8)), at + 16
        at = at + size if size else end
        if at < start:
            return
        yield kind, start, at


def _all_boxes(file: BufferedIOBase, at: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of the content of each box between two places, and of those within it."""
    for kind, start, claimed in boxes(file, at, end):
        stop = min(claimed, end)
        if stop < start:
            return
        yield kind, start, stop
        if kind in _CONTAINERS and depth < _MOST_DEPTH:
            yield from _all_boxes(file, start, stop, depth + 1)


class _Track:
    """What the tables of one track claim."""

    def __init__(self):
        self.samples = self.chunks = self.in_chunk = 0
        self.edits = 1
        self.is_even = False
        self.handlers: set[bytes] = set()

    def note(self, file: BufferedIOBase, kind: bytes, start: int, end: int) -> None:
        """Take up what a table says."""
        match kind:
            case b"hdlr":
                self.handlers.add(_bytes(file, start + 8, 4))
            case b"stts":
                # One run of samples of one tick each: so FFmpeg tells sound that is not compressed.
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
        """Each edit can show all samples once more."""
        if self.is_even and b"soun" in self.handlers and b"vide" not in self.handlers:
            return self.edits * self.chunks * ceil(self.in_chunk / _SOUND_SAMPLES)
        return self.edits * self.samples


def _bytes(file: BufferedIOBase, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(max(0, count))


def _number(file: BufferedIOBase, at: int) -> int:
    return int.from_bytes(_bytes(file, at, 4))
