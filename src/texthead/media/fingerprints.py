"""Content digests of files and frame folders."""

import hashlib
import os
from pathlib import Path

from texthead.media.frame_folder import frame_files

# Files of up to this many bytes are read whole; of larger ones as many bytes in blocks that are evenly spread.
_MAX_WHOLE_BYTES = 1 << 22
_BLOCKS = 64


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def file_fingerprint(file: Path) -> str:
    """Return a digest of a file's size and its bytes, for files above 4 MiB of 64 blocks; "" if it cannot be read."""
    if not file.is_file():  # Opening a pipe could block.
        return ""
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            digest = hashlib.sha256(str(size).encode())
            block = _MAX_WHOLE_BYTES // _BLOCKS
            for index in range(_BLOCKS):
                if size > _MAX_WHOLE_BYTES:
                    opened.seek(index * (size - block) // (_BLOCKS - 1))
                digest.update(opened.read(block))
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
