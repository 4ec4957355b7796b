"""What names a stream: `-` for a pipe, a camera, or the address of a live stream."""

PIPE = "-"

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


def is_live(path: str) -> bool:
    """Return whether a path is a camera or the address of a live stream."""
    scheme, colon, _ = path.partition(":/")
    return path.startswith("/dev/video") or (colon != "" and scheme in STREAMS)


def is_stream(path: str) -> bool:
    """Return whether a path is a pipe or `is_live`."""
    return path == PIPE or is_live(path)
