"""Digests of the content of media files."""

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
    """Return the SHA-256 of a file's bytes; of a folder of frames that of its files' in the order of their numbers.

    Raises:
        OSError: the file cannot be read.
        MediaError: a folder of frames that is missing or lacks one, a clip that its shard does not list, or a part
            whose times break a rule.
    """
    if is_part(path):
        return _of_part(content_digest(file_of(path)), path)
    if is_member(path):
        return member(path).sha256
    digests = [_sha256(file) for file in (frame_files(path) if is_template(path) else [path])]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest() if is_template(path) else digests[0]


def _of_part(digest: str, path: Path) -> str:
    """Return the digest of the part that a path names of a file with this digest."""
    return hashlib.sha256(f"{digest} {span_of(path)}".encode()).hexdigest()[: len(digest)]


def _sha256(file: Path) -> str:
    if not file.is_file():  # A pipe or a device may never end.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def fingerprint(path: Path) -> str:
    """Return a digest of a file's size and its first and last 64 kB, whatever its name; "" if it cannot be read.

    It is equal for copies: it tells which files a run has seen without reading them whole. Of a folder of frames it
    takes the names and so the number of all frames, and the same of eight frames, evenly placed. A clip in a shard has
    that of the file that it was made from: the two are the same data. A part's is made of its file's and its times.
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
    if not path.is_file():  # To open a pipe would wait for somebody to write to it.
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
    """Return the fingerprint of each file or folder of frames, read by several threads."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(fingerprint, paths))
