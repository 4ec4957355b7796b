"""Copy files, and parts of videos without decoding."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import OutputContainer
from av.error import FFmpegError

from texthead.errors import MediaError, line_of
from texthead.media import Media, Part, Video, VideoStream


def copy(media: Media, out: Path) -> float:
    """Copy a file to `out`; of a part of a video only the packets of its frames and the best sound beside them.

    Returns the seconds by which the copy begins earlier: at the keyframe that the part's first frame needs.

    Raises:
        MediaError: it is not one file, or it cannot be read or cut, or files named like `out` cannot hold its packets.
        OSError: `out` cannot be written.
    """
    if not isinstance(media, Part):
        if not media.path.is_file():
            raise MediaError(media.path, "is not a file of its own, so it cannot be copied; leave it out")
        shutil.copyfile(media.path, out)
        return 0.0
    if not isinstance(media.whole, Video):
        raise MediaError(media.path, f"no packets to copy: it is of kind {media.whole.kind!r}; leave out its times")
    positions, first, (begin, *times) = media.whole.packets_of(media.frames)
    with VideoStream(media.whole.path) as source, _written(media.path, out) as target:
        streams = [source.stream, *filter(None, [source.container.streams.best("audio")])]
        copies = {stream.index: target.add_stream_from_template(stream, opaque=True) for stream in streams}
        position, end = 0, max(times)
        for packet in source.container.demux(streams):
            if packet.stream is source.stream:
                wanted = position in positions
                position += packet.size > 0
            else:
                wanted = packet.pts is not None and begin <= packet.pts * packet.time_base <= end
            if wanted and packet.size:
                shift = round(first * (source.stream.time_base or 0) / packet.time_base)
                packet.dts = None if packet.dts is None else packet.dts - shift
                packet.pts = None if packet.pts is None else packet.pts - shift
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
    return times[0] - begin


@contextmanager
def _written(path: Path, out: Path) -> Iterator[OutputContainer]:
    """Open a new file for packets of `path`; errors of FFmpeg become MediaErrors."""
    try:
        with av.open(str(out.absolute()), "w") as target:
            yield target
    except (FFmpegError, ValueError) as error:
        problem = f"cannot be copied to {out.name} ({line_of(error)}); encode it as h264 in .mp4"
        raise MediaError(path, problem) from error
