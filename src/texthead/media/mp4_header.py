"""Count the samples that the header of an .mp4 or .mov claims.

A header of a kilobyte can claim a billion samples, and FFmpeg allocates some 73 bytes for each when it opens the file.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedIOBase
from math import ceil

# FFmpeg reads tables in all of these, wherever they are, and also finds a header inside `free` or `hoov`.
_CONTAINERS = frozenset(b"moov trak mdia minf stbl edts moof traf mvex udta dinf tref wave free hoov".split())

_MOST_DEPTH = 10  # FFmpeg's

MOST_BOXES = 2**18

# FFmpeg groups this many samples of uncompressed sound into one entry.
_SOUND_SAMPLES = 1024

# Start and end of the content of a track's boxes, by kind.
_Boxes = Mapping[bytes, Sequence[tuple[int, int]]]


def claimed_samples(file: BufferedIOBase) -> int:
    """Return an upper bound on the entries that FFmpeg would create for all tracks; 0 for other formats.

    Raises:
        ValueError: the header is compressed or has more than MOST_BOXES boxes.
    """
    total, track = 0, defaultdict[bytes, list[tuple[int, int]]](list)
    for count, (kind, start, end) in enumerate(_all_boxes(file, 0, file.seek(0, 2)), 1):
        if kind == b"cmov" or count > MOST_BOXES:
            fault = "is compressed" if kind == b"cmov" else f"has more than {MOST_BOXES} boxes"
            raise ValueError(f"its header {fault}")
        if kind == b"trak":
            total += _entries(file, track)
            track.clear()
        elif kind == b"trun":
            total += _number(file, start + 4)
        else:
            track[kind].append((start, end))
    return total + _entries(file, track)


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


def _entries(file: BufferedIOBase, track: _Boxes) -> int:
    """Return an upper bound on the entries that FFmpeg would create for a track; each edit can repeat all samples."""

    def numbers(offset: int, *kinds: bytes) -> list[int]:
        return [_number(file, start + offset) for kind in kinds for start, _ in track.get(kind, ())]

    edits = max([1, *numbers(4, b"elst")])
    # A single run of samples of one tick each is how FFmpeg recognises uncompressed sound.
    is_even = {*numbers(4, b"stts"), *numbers(12, b"stts")} == {1}
    handlers = {_bytes(file, start + 8, 4) for start, _ in track.get(b"hdlr", ())}
    if not is_even or b"soun" not in handlers or b"vide" in handlers:
        return edits * sum(numbers(8, b"stsz", b"stz2"))
    in_chunk = 0
    for start, end in track.get(b"stsc", ()):
        runs = _bytes(file, start + 8, min(end - start - 8, 12 * _number(file, start + 4)) // 12 * 12)
        in_chunk = max(in_chunk, max((samples for _, samples, _ in struct.iter_unpack(">III", runs)), default=0))
    return edits * sum(numbers(4, b"stco", b"co64")) * ceil(in_chunk / _SOUND_SAMPLES)


def _bytes(file: BufferedIOBase, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(max(0, count))


def _number(file: BufferedIOBase, at: int) -> int:
    return int.from_bytes(_bytes(file, at, 4))
