"""Clips in tar shards: `SHARDS/shard-000003.tar/000000781.avi`.

A shard is a tar in WebDataset's format. A JSON index beside it lists the offset, size and digest of each clip. An
image is read at once and its digest checked; a video follows a table of its frames (`texthead.media.stored_clip`).
"""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from texthead.errors import MediaError, raising
from texthead.files import MAX_BYTES_OF_LISTS, read_value

INDEX = "shards.json"

SHARD_FORMAT = 1

# Shard indices cached in memory, 68 bytes per clip; with more shards some are read repeatedly.
_CACHED_INDICES = 8192

_READERS = 16

BLOCK = tarfile.BLOCKSIZE

# A member in memory.
_ROW = np.dtype([("offset", "i8"), ("size", "i8"), ("table", "i4"), ("sha256", "V32"), ("source", "V16")])


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
        MediaError: the shard's index is not valid, or does not list the clip.
    """
    with _valid(path):
        first, rows = _members(path.parent, _stamp(path.parent))
    at = int(path.stem) - first if path.stem.isdecimal() else -1
    if not 0 <= at < len(rows):
        raise MediaError(path, f"not one of the {len(rows)} clips in the shard's index; check the path")
    offset, size, table, sha256, source = rows[at].item()
    return Member(offset, size, table, sha256.hex(), source.hex())


def source_name(path: Path) -> str:
    """Return the name that the source of a clip in a shard had in its data."""
    with _valid(path):
        return _names(path.parent, _stamp(path.parent))[path.name]


def read_ranges(path: Path, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Yield the bytes of each (offset, size) of the shard of a clip.

    Raises:
        MediaError: the shard cannot be read.
    """
    problem = raising(partial(MediaError, path), "its shard cannot be read", "prepare or copy it again")
    with problem, path.parent.open("rb", buffering=0) as file:
        for offset, size in ranges:
            file.seek(offset)
            yield file.read(size)


def check_digest(path: Path, what: str, data: bytes, sha256: str, size: int) -> None:
    """Raise MediaError unless data of a clip, read from its shard, has its digest."""
    if hashlib.sha256(data).hexdigest() != sha256:
        problem = f"the shard is damaged: {what}, {len(data)} of {size} bytes, has a wrong digest; copy it again"
        raise MediaError(path, problem, "damaged")


def padded(size: int) -> int:
    """Return the bytes that a file of `size` bytes occupies in a tar, without its header."""
    return -(-size // BLOCK) * BLOCK


def read_rows(source: str | Path) -> tuple[list[tuple], bool, list[str], dict[str, tuple[str, ...]]]:
    """Return the rows of the clips in the source's order, whether they are multi-label, notes, and the class tree.

    A row is (path, labels, split, group, extra, name).

    Raises:
        MediaError: there are no shards, their format is unknown, or an index is not valid.
    """
    root = Path(source)
    with _valid(root / INDEX):
        index = read_value(root / INDEX, most=MAX_BYTES_OF_LISTS)
        own = index.get("texthead", {})
        if own.get("format") != SHARD_FORMAT:
            raise ValueError(f"its format is not {SHARD_FORMAT}")
        tars = [root / shard["url"] for shard in index["shardlist"]]
        notes = [f"{root}: prepared from {own['source']}, {own['frames']} frames per clip"]
        lost = int(own["unreadable"])
        tree = {str(label): tuple(map(str, names)) for label, names in own.get("tree", {}).items()}
    with ThreadPoolExecutor(_READERS) as pool:
        rows = [row for of_tar in pool.map(_rows, tars) for row in of_tar]
    rows.sort(key=lambda row: row[0])
    multilabel = own.get("several") is True
    labels = (tuple(filter(None, row[2].split("; "))) if multilabel else (row[2],) for row in rows)
    rows = [(row[1], names, *row[3:]) for row, names in zip(rows, labels, strict=True)]
    if lost:
        notes.append(f"{root}: lacks {lost} unreadable files of the source")
    return rows, multilabel, notes, tree


def _rows(tar: Path) -> list[tuple]:
    """Return (order, path, label, split, group, extra, name) of each clip of a shard."""
    rows = []
    with _valid(tar.with_suffix(".json")):
        for clip in _clips(tar):
            path, group = tar / f"{clip['key']}{clip['suffix']}", clip["group"]
            extra = tuple((str(name), str(value)) for name, value in clip["extra"])
            rows.append((int(clip["order"]), path, str(clip["label"]), clip["split"], group, extra, str(clip["name"])))
    return rows


def _valid(path: Path) -> AbstractContextManager[None]:
    """Raise MediaError for an index that cannot be read, lacks a value, or has one of another type."""
    kinds = AttributeError, KeyError, OverflowError, TypeError
    return raising(partial(MediaError, path), "its index of shards is not valid", "prepare them again", *kinds)


def _clips(tar: Path) -> Sequence[Mapping[str, Any]]:
    """Return the clips in a shard's index."""
    return read_value(tar.with_suffix(".json"), most=MAX_BYTES_OF_LISTS)["clips"]


def _stamp(tar: Path) -> tuple[int, int]:
    """Return what differs for an index that is rewritten while this process runs."""
    stat = tar.with_suffix(".json").stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=64)
def _names(tar: Path, stamp: tuple[int, int]) -> dict[str, str]:
    """Return the name of each clip's source, by the clip's file name, cached like `_members`."""
    return {f"{clip['key']}{clip['suffix']}": clip["name"] for clip in _clips(tar)}


@lru_cache(maxsize=_CACHED_INDICES)
def _members(tar: Path, stamp: tuple[int, int]) -> tuple[int, np.ndarray]:
    """Return the first key of a shard and its members, which follow it, cached as long as its `stamp` is the same."""
    clips = _clips(tar)
    ranges = ((clip["offset"], clip["size"], clip["table"]) for clip in clips)
    digests = ((bytes.fromhex(clip["sha256"]), bytes.fromhex(clip["print"])) for clip in clips)
    rows = np.array([where + digest for where, digest in zip(ranges, digests, strict=True)], _ROW)
    return int(clips[0]["key"]) if clips else 0, rows
