"""Count the samples that the header of an .mp4 or .mov claims.

A header of a kilobyte can claim a billion samples, and FFmpeg allocates some 73 bytes for each when it opens the file.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedIOBase
from math import ceil

import numpy as np

# FFmpeg reads tables in all of these, wherever they are, and also finds a header inside `free` or `hoov`.
_CONTAINERS = dict.fromkeys(b"moov trak mdia minf stbl edts moof traf mvex udta dinf tref wave free hoov".split(), 0)

_MOST_DEPTH = 10  # FFmpeg's

MOST_BOXES = 2**18

# FFmpeg groups this many samples of uncompressed sound into one entry.
_SOUND_SAMPLES = 1024


def claimed_samples(file: BufferedIOBase) -> int:
    """Return an upper bound on the entries that FFmpeg would create for all tracks; 0 for other formats.

    It is sys.maxsize if the header is compressed or has more than MOST_BOXES boxes.
    """
    total, track, size = 0, defaultdict[bytes, list[tuple[int, int]]](list), file.seek(0, 2)
    for count, (kind, start, end) in enumerate(boxes(file, 0, size, _CONTAINERS), 1):
        if kind == b"cmov" or count > MOST_BOXES:
            return sys.maxsize
        if kind == b"trak":
            total += _entries(file, track)
            track.clear()
        track[kind].append((start, min(end, size)))
    return total + _entries(file, track)


def boxes(
    file: BufferedIOBase, at: int, end: int, nested: Mapping[bytes, int] = {}, depth: int = 0
) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of the content of each box between two offsets; it may claim to end after `end`.

    Boxes of the kinds in `nested` contain boxes, after so many bytes.
    """
    while at + 8 <= end:
        size, kind, start = unsigned(file, at), _bytes(file, at + 4, 4), at + 8
        if size == 1:
            size, start = unsigned(file, at + 8, 8), at + 16
        at = at + size if size else end
        if at < start:
            return
        yield kind, start, at
        if kind in nested and depth < _MOST_DEPTH:
            yield from boxes(file, start + nested[kind], min(at, end), nested, depth + 1)


def _entries(file: BufferedIOBase, track: Mapping[bytes, Sequence[tuple[int, int]]]) -> int:
    """Return an upper bound on the entries that FFmpeg would create for a track; each edit can repeat all samples."""

    def numbers(offset: int, *kinds: bytes) -> list[int]:
        return [unsigned(file, start + offset) for kind in kinds for start, _ in track.get(kind, ())]

    entries = sum(numbers(8, b"stsz", b"stz2"))
    handlers = {_bytes(file, start + 8, 4) for start, _ in track.get(b"hdlr", ())}
    # A single run of samples of one tick each is how FFmpeg recognises uncompressed sound.
    if {*numbers(4, b"stts"), *numbers(12, b"stts")} == {1} and b"soun" in handlers and b"vide" not in handlers:
        in_chunk = 0
        for start, end in track.get(b"stsc", ()):
            runs = _bytes(file, start + 8, 12 * min(unsigned(file, start + 4), (end - start - 8) // 12))
            in_chunk = max(in_chunk, int(np.frombuffer(runs, ">u4")[1::3].max(initial=0)))
        entries = sum(numbers(4, b"stco", b"co64")) * ceil(in_chunk / _SOUND_SAMPLES)
    return max([1, *numbers(4, b"elst")]) * entries + sum(numbers(4, b"trun"))


def _bytes(file: BufferedIOBase, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(max(0, count))


def unsigned(file: BufferedIOBase, at: int, count: int = 4) -> int:
    """Return the whole number in so many bytes of a file."""
    return int.from_bytes(_bytes(file, at, count))
