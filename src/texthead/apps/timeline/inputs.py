"""What names a stream (`-` for a pipe, a camera, or the address of a live stream), and the files that are written."""

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


def check_files(video: str, srt: str | Path | None, manifest: str | Path | None, overlay: str | Path | None) -> None:
    """Raise DataError for a file to write as `check_out_file`, or that is the video or cannot be made of a stream."""
    files = (("srt", srt, ".srt"), ("manifest", manifest, ".csv"), ("overlay", overlay, ".mp4"))
    for name, file, ending in files:
        if file is None:
            continue
        check_out_file(f"`{name}` {file}", Path(file), ending)
        if is_stream(video):
            if name != "srt":
                raise DataError(f"`{name}` {file}: needs a file, not a stream; save the stream and give its file")
        elif Path(file).resolve() == MediaPath(MediaPath(video).file).resolved().path:
            raise DataError(f"`{name}` {file}: is the input video; name another file")
