"""Paths and addresses of media."""

import os
import re
from pathlib import Path

_REMOTE = re.compile(r"(?:[a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+:/")

_SCHEME = re.compile(r"(^|::)([a-z][a-z0-9+.-]+):/+")


def address(path: str | Path) -> str | None:
    """Return the address that fsspec reads a remote path at; None for a path on this machine.

    `Path("http://host/shards")` is printed as `http:/host/shards`; its address is `http://host/shards`.
    """
    text = str(path)
    if not _REMOTE.match(text) or Path(path).exists():
        return None
    return _SCHEME.sub(r"\1\2://", text)


def resolved(path: Path) -> Path:
    """Return the absolute path without links; a remote one as it is."""
    # `resolve` raises for a link to itself.
    return path if address(path) else Path(os.path.realpath(path))
