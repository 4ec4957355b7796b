"""Files that a page shows, each by a key that stands for its path and its content."""

import hashlib
import os
from pathlib import Path

from texthead.errors import DataError
from texthead.media import MediaPath


class ShownFiles:
    """Files and parts of videos by key: a digest of path, size and time of change, and of the part.

    A number would name another file once one is added, and a browser would show and label that one.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, Path]] = {}

    def key(self, number: int, path: Path) -> str:
        """Return the key of a file as it is now; the page then knows it by this key."""
        key = _digest(path)
        self._known[key] = number, path
        return key

    def number(self, key: object) -> int:
        """Return the number of a file, which may have changed since it was shown.

        Raises:
            DataError: the page shows no such file.
        """
        return self._entry(key)[0]

    def unchanged(self, key: object) -> tuple[int, Path]:
        """Return number and path of a file.

        Raises:
            DataError: the page shows no such file, or the file has changed since it was shown.
        """
        number, path = self._entry(key)
        if _digest(path) != key:
            raise DataError(f"{MediaPath(path).file.name}: changed since it was shown; reload the page")
        return number, path

    def _entry(self, key: object) -> tuple[int, Path]:
        if not isinstance(key, str) or key not in self._known:
            raise DataError("this page does not show that file; reload the page")
        return self._known[key]


def _digest(path: Path) -> str:
    file = MediaPath(path).file
    try:
        status = file.stat()
        content = status.st_size, status.st_mtime_ns
    except OSError:
        content = None
    facts = os.fspath(path), os.path.realpath(file), content
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
