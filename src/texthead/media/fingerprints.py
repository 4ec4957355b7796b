"""Content digests of files and frame folders."""

import errno
import hashlib
import os
from pathlib import Path

from texthead.media.frame_folder import frame_files

_END_BYTES = 1 << 16


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    if not file.is_file():  # A pipe or a device may never end.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def file_fingerprint(file: Path) -> str:
    """Return a digest of a file's size and its first and last 64 kB; "" if it cannot be read."""
    if not file.is_file():  # Opening a pipe could block.
        return ""
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            digest = hashlib.sha256(str(size).encode() + opened.read(_END_BYTES))
            opened.seek(max(_END_BYTES, size - _END_BYTES))
            digest.update(opened.read(_END_BYTES))
    except OSError:
        return ""
    return digest.hexdigest()[:32]


def frames_fingerprint(template: Path) -> str:
    """Return a digest of the names of all frames and the fingerprints of eight of them; "" if one is unreadable.

    Raises:
        MediaError: the folder or one of its frames is missing.
    """
    frames = frame_files(template)
    last = len(frames) - 1
    prints = [file_fingerprint(frames[i]) for i in sorted({k * last // 7 for k in range(8)})]
    digest = hashlib.sha256("/".join([frame.name for frame in frames] + prints).encode())
    return digest.hexdigest()[:32] if all(prints) else ""
