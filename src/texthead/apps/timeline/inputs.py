"""What names a stream (`-` for a pipe, a camera, or the address of a live stream), and the files that are written."""

from collections.abc import Iterable
from pathlib import Path

from texthead.cli import check_out_file
from texthead.errors import DataError
from texthead.media import MediaPath

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


# What is written to a file, by its ending.
EXPORTS = {".srt": "subtitles", ".csv": "manifest", ".mp4": "overlay"}


def exports(video: str, files: Iterable[str | Path]) -> dict[Path, str]:
    """Return what each file to write gets, a value of `EXPORTS`.

    Raises:
        DataError: as `check_out_file`, or a file is the video or cannot be made of a stream.
    """
    kinds: dict[Path, str] = {}
    for file in map(Path, files):
        check_out_file(f"`export` {file}", file, " ".join(EXPORTS))
        kind = kinds[file] = EXPORTS[file.suffix.lower()]
        if is_stream(video):
            if kind != "subtitles":
                raise DataError(f"`{kind}` {file}: needs a file, not a stream; save the stream and give its file")
        elif file.resolve() == MediaPath(MediaPath(video).file).resolved().path:
            raise DataError(f"`{kind}` {file}: is the input video; name another file")
    return kinds
