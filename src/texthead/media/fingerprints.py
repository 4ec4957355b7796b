"""Content digests of media files."""

import errno
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from texthead.errors import MediaError
from texthead.media.frame_folder import frame_files, is_template
from texthead.media.paths import file_of, is_part, span_of
from texthead.media.shard import is_member, member


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; of a frame folder, the SHA-256 over the digests of its files in order.

    Raises:
        OSError: the file cannot be read.
        MediaError: a frame folder or one of its frames is missing, a shard does not list the clip, or the times of a
            part are invalid.
    """
    if is_part(path):
        return _of_part(content_digest(file_of(path)), path)
    if is_member(path):
        return member(path).sha256
    digests = [_sha256(file) for file in (frame_files(path) if is_template(path) else [path])]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest() if is_template(path) else digests[0]


def _of_part(digest: str, path: Path) -> str:
    """Return the digest of a part of a file: of the file's digest and the part's times."""
    return hashlib.sha256(f"{digest} {span_of(path)}".encode()).hexdigest()[: len(digest)]


def _sha256(file: Path) -> str:
    if not file.is_file():  # A pipe or a device may never end.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def fingerprint(path: Path) -> str:
    """Return a digest of a file's size and its first and last 64 kB; "" if it cannot be read.

    Copies have equal fingerprints whatever their names, so a run's files are recognised without reading them whole. For
    a frame folder it covers the names of all frames and the fingerprints of eight evenly spaced ones. A clip in a shard
    has the fingerprint of its source file. A part's covers its file's fingerprint and its times.
    """
    if is_part(path):
        with suppress(MediaError):
            digest = fingerprint(file_of(path))
            return _of_part(digest, path) if digest else ""
        return ""
    if is_template(path):
        return _frames_fingerprint(path)
    if is_member(path):
        with suppress(MediaError):
            return member(path).source
        return ""
    part = 1 << 16
    if not path.is_file():  # Opening a pipe could block.
        return ""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode() + file.read(part))
            file.seek(max(part, size - part))
            digest.update(file.read(part))
    except OSError:
        return ""
    return digest.hexdigest()[:32]


def _frames_fingerprint(path: Path, most: int = 8) -> str:
    try:
        frames = frame_files(path)
    except MediaError:
        return ""
    last = len(frames) - 1
    chosen = sorted({i * last // (most - 1) for i in range(most)})
    parts = [fingerprint(frames[i]) for i in chosen]
    digest = hashlib.sha256("/".join([frame.name for frame in frames] + parts).encode())
    return digest.hexdigest()[:32] if all(parts) else ""


def fingerprints(paths: Sequence[Path]) -> list[str]:
    """Return the fingerprint of each path, reading with several threads."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(fingerprint, paths))
