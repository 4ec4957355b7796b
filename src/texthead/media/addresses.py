"""Remote addresses, for fsspec, and the addresses of live streams."""

import re
from pathlib import Path

_REMOTE = re.compile(r"(?:[a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+:/")

# URL schemes of live streams, with the FFmpeg protocols that each needs.
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
    """Return the URL of a remote path, for fsspec; None for a local path.

    `Path("http://host/shards")` collapses to `http:/host/shards`; its address is `http://host/shards`.
    """
    text = str(path)
    if not _REMOTE.match(text) or Path(path).exists():
        return None
    return _SCHEME.sub(r"\1\2://", text)
