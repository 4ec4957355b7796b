"""Paths and addresses of media."""

import os
import re
from pathlib import Path

from texthead.errors import DataError
from texthead.media.frame_folder import is_template

_REMOTE = re.compile(r"(?:[a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+:/")

# What a live stream comes by, and the protocols of FFmpeg that this takes.
STREAMS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtp,udp,tcp,tls",
    "http": "http,tcp",
    "https": "https,http,tls,tcp",
    "udp": "udp",
    "tcp": "tcp",
    "rtp": "rtp,udp",
    "srt": "srt",
}

_SCHEME = re.compile(r"(^|::)([a-z][a-z0-9+.-]+):/+")


def address(path: str | Path) -> str | None:
    """Return the address that fsspec reads a remote path at; None for a path on this machine.

    `Path("http://host/shards")` is printed as `http:/host/shards`; its address is `http://host/shards`.
    """
    text = str(path)
    if not _REMOTE.match(text) or Path(path).exists():
        return None
    return _SCHEME.sub(r"\1\2://", text)


def surely_missing(path: str | Path) -> bool:
    """Return whether a path names nothing: it does not exist here, nor could it be remote, a template or in a shard."""
    path = Path(path)
    elsewhere = address(path) is not None or is_template(path) or path.parent.suffix == ".tar"
    return not elsewhere and not path.exists()


def check_not_missing(path: str | Path) -> None:
    """Raise DataError if a path surely names nothing."""
    if surely_missing(path):
        raise DataError(f"{path}: no such file or folder; check the path")


def resolved(path: Path) -> Path:
    """Return the absolute path without links; a remote one as it is."""
    # `resolve` raises for a link to itself.
    return path if address(path) else Path(os.path.realpath(path))


def relative(path: Path, folder: Path) -> str:
    """Return a path below a folder as the rest from there, any other as the absolute one."""
    whole, start = path.absolute(), folder.absolute()
    return str(whole.relative_to(start) if whole.is_relative_to(start) else whole)


def is_live(source: str) -> bool:
    """Return whether a name is that of a camera, or an address with a protocol that streams come by."""
    scheme, colon, _ = source.partition("://")
    return source.startswith("/dev/video") or (colon != "" and scheme in STREAMS)
