"""Clips in tar shards: `SHARDS/shard-000003.tar/000000781.avi`.

A shard is a tar in WebDataset's format. A JSON index beside it lists the offset, size and digest of each clip. An
image is read at once and its digest checked; a video follows a table of its frames (`texthead.media.stored_clip`).
"""

import hashlib
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from texthead.errors import DataError, MediaError, TextheadError, line_of
from texthead.files import MOST_BYTES_OF_LISTS, read_value
from texthead.platform import NONBLOCKING

INDEX = "shards.json"

SHARD_FORMAT = 1

# Shard indices cached in memory, 68 bytes per clip; with more shards some are read repeatedly.
_CACHED_INDICES = 8192

_READERS = 16

BLOCK = tarfile.BLOCKSIZE

# A member in memory.
_ROW = np.dtype([("offset", "i8"), ("size", "i8"), ("table", "i4"), ("sha256", "V32"), ("source", "V16")])

_PATTERNS = {"key": r"\d{9,}", "suffix": r"\.(avi|jpg)", "sha256": "[0-9a-f]{64}", "print": "[0-9a-f]{32}"}


class Member(NamedTuple):
    """The position of a clip in its shard, and its source's fingerprint.

    Attributes:
        offset: start of the clip in the tar, in bytes.
        size: bytes of the clip.
        table: bytes of its frame table; 0 for an image.
        sha256: digest of the table if there is one, else of the clip.
        source: fingerprint of the file that the clip was made from.
    """

    offset: int
    size: int
    table: int
    sha256: str
    source: str


def member(path: Path) -> Member:
    """Return the position of a clip in its shard.

    Raises:
        MediaError: the shard's index cannot be read, or does not list the clip.
    """
    index = path.parent.with_suffix(".json")
    try:
        stat = index.stat()
    except OSError as error:
        raise MediaError(path, f"its shard's index cannot be read ({error.strerror}); prepare it again") from None
    # The stamp detects shards that are rewritten while this process runs.
    first, rows = _members(str(path.parent), (stat.st_size, stat.st_mtime_ns))
    at = int(path.stem) - first if path.stem.isdecimal() else -1
    if not 0 <= at < len(rows):
        raise MediaError(path, f"not one of the {len(rows)} clips in the shard's index; check the path")
    offset, size, table, sha256, source = rows[at].item()
    return Member(offset, size, table, sha256.hex(), source.hex())


@lru_cache(maxsize=64)
def source_names(shard: Path) -> dict[str, str]:
    """Return the name that the source of each clip in a shard had in its data, by the clip's file name."""
    return {f"{clip['key']}{clip['suffix']}": clip["name"] for clip in _clips(shard)}


def read_member(path: Path, entry: Member) -> bytes:
    """Return the bytes of an image, after checking their digest and their name in the tar.

    Raises:
        MediaError: the shard cannot be read, ends early, or its data differs from the index: other bytes, or a link
            instead of a file.
    """
    (read,) = read_ranges(path, [(entry.offset - BLOCK, BLOCK + entry.size)])
    check_header(path, read[:BLOCK], path.name, entry.size)
    data = read[BLOCK:]
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        problem = f"the shard is damaged: {len(data)} of {entry.size} bytes, wrong digest; copy it again"
        raise MediaError(path, problem)
    return data


def read_ranges(path: Path, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Yield the bytes of each (offset, size) of the shard of a clip.

    Raises:
        MediaError: the shard cannot be read.
    """

    def opened(name: str, flags: int) -> int:
        """Open a file; opening a pipe does not wait for its other end, and seeking in it is an error."""
        return os.open(name, flags | NONBLOCKING)

    try:
        with open(path.parent, "rb", buffering=0, opener=opened) as file:
            end = os.fstat(file.fileno()).st_size
            for offset, size in ranges:
                if not 0 <= offset <= offset + size:
                    raise ValueError(f"{size} bytes at {offset}")
                file.seek(offset)
                size = min(size, max(0, end - offset))  # Python would reserve memory for all of it.
                yield file.read(size)
    except (OSError, ValueError) as error:
        raise MediaError(path, f"its shard cannot be read ({line_of(error)}); prepare or copy it again") from None


def padded(size: int) -> int:
    """Return the bytes that a file of `size` bytes occupies in a tar, without its header."""
    return -(-size // BLOCK) * BLOCK


def check_header(path: Path, header: bytes, name: str, size: int) -> None:
    """Raise MediaError unless the tar has a plain file of this name and size where the index says so."""
    # Compared in a tenth of the time that tarfile takes.
    fields = header[:100].rstrip(b"\0"), header[124:135], header[156:157], header[345:]
    if fields != (os.fsencode(name), b"%011o" % size, tarfile.REGTYPE, bytes(BLOCK - 345)):
        actual = f"at the listed offset the shard has {os.fsdecode(fields[0])!r}"
        raise MediaError(path, f"{actual}, not a file {name!r} of {size} bytes; prepare it again")


def read_rows(source: str | Path) -> tuple[list[tuple], list[str]]:
    """Return (path, label, split, group, extra, name) of every clip in the source's order, and notes for the user.

    With several labels, the label is the tuple of their names.

    Raises:
        DataError: there are no shards, their format is unknown, or an index is invalid.
    """
    root = Path(source)
    index = _json(root / INDEX)
    own = index.get("texthead")
    if not isinstance(own, dict) or own.get("format") != SHARD_FORMAT:
        raise DataError(
            f"{root / INDEX}: not an index of shards of format {SHARD_FORMAT}; make them with `texthead prepare`"
        )
    with _valid(root / INDEX):
        tars = [root / _must_match(r"[\w-]+\.tar", shard["url"]) for shard in index["shardlist"]]
        notes = [f"{root}: prepared from {own['source']}, {own['frames']} frames per clip"]
        lost = int(own["unreadable"])
    with ThreadPoolExecutor(_READERS) as pool:
        rows = [row for of_tar in pool.map(_rows, tars) for row in of_tar]
    rows.sort(key=lambda row: row[0])
    if own.get("several") is True:
        rows = [(order, path, tuple(filter(None, text.split("; "))), *more) for order, path, text, *more in rows]
    if lost:
        notes.append(f"{root}: lacks {lost} unreadable files of the source")
    return [row[1:] for row in rows], notes


def _rows(tar: Path) -> list[tuple]:
    """Return (order, path, label, split, group, extra, name) of each clip of a shard."""
    rows = []
    with _valid(tar.with_suffix(".json")):
        for clip in _clips(tar):
            path, group = tar / f"{clip['key']}{clip['suffix']}", clip["group"]
            extra = tuple((str(name), str(value)) for name, value in clip["extra"])
            rows.append((int(clip["order"]), path, str(clip["label"]), clip["split"], group, extra, str(clip["name"])))
    return rows


@contextmanager
def _valid(path: Path) -> Iterator[None]:
    """Raise DataError for an index that lacks a value, or has one of another type."""
    try:
        yield
    except TextheadError:
        raise
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise DataError(f"{path}: invalid ({line_of(error, kind=True)}); prepare the shards again") from None


def _clips(tar: Path) -> Sequence[Mapping[str, Any]]:
    """Return the clips in a shard's index; raise DataError if it cannot be read, or a name is none of a clip."""
    path = tar.with_suffix(".json")
    with _valid(path):
        clips = _json(path)["clips"]
        for number, clip in enumerate(clips):
            for name, pattern in _PATTERNS.items():
                _must_match(pattern, clip[name])
            if int(clip["key"]) != int(clips[0]["key"]) + number:
                raise ValueError(f"key {clip['key']} is out of order")
    return clips


def _must_match(pattern: str, text: object) -> str:
    """Return the text if it matches the pattern, so that no name in an index leads out of its folder."""
    if not isinstance(text, str) or not re.fullmatch(pattern, text):
        raise ValueError(f"{text!r} does not match {pattern}")
    return text


@lru_cache(maxsize=_CACHED_INDICES)
def _members(shard: str, stamp: tuple[int, int]) -> tuple[int, np.ndarray]:
    """Return the first key of a shard and its members, which follow it, cached as long as its `stamp` is the same."""
    tar = Path(shard)
    try:
        clips = _clips(tar)
        with _valid(tar.with_suffix(".json")):
            ranges = ((clip["offset"], clip["size"], clip["table"]) for clip in clips)
            digests = ((bytes.fromhex(clip["sha256"]), bytes.fromhex(clip["print"])) for clip in clips)
            rows = np.array([where + digest for where, digest in zip(ranges, digests, strict=True)], _ROW)
    except DataError as error:
        raise MediaError(tar, f"its index cannot be used ({error})") from None
    return int(clips[0]["key"]) if clips else 0, rows


def _json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        DataError: the file cannot be read or is not an object.
    """
    try:
        if path.exists() and not path.is_file():  # Reading a pipe could block.
            raise ValueError("it is not a file")
        value = read_value(path, most=MOST_BYTES_OF_LISTS)
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({line_of(error)}); check the path, or prepare the shards again"
        raise DataError(f"{path}: {problem}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}; prepare the shards again")
    return value
