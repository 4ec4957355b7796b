"""A pipe -> frames with their times, one after the other; nothing is listed beforehand and nothing kept.

What can be known of a file on opening is known of a stream at its end: that it was cut short, how long it was. Times
are the frames' own time stamps; a stream without them, or with ones that step back, is an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedReader
from itertools import chain
from pathlib import Path

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from texthead.errors import MediaError
from texthead.media.reader import Take
from texthead.media.video_stream import (
    Tally,
    check_whole,
    one_thread,
    open_stream,
    seconds_from,
    stored_packets,
    upright_rgb,
    where_is,
    whole_frames,
)


@contextmanager
def _hinted() -> Iterator[None]:
    """Add to the error of a video that cannot be read at all which videos a pipe can carry."""
    try:
        yield
    except MediaError as error:
        hint = "through a pipe .mkv and .ts can be read, and .mp4 with its index in front (-movflags +faststart)"
        problem = error.problem if error.fault == "sound only" else f"{error.problem.partition(';')[0]}; {hint}"
        raise MediaError(error.path, problem, error.fault) from error


class _Arriving:
    """Gives what has arrived instead of waiting for as much as is asked for: a camera's last second may be short."""

    def __init__(self, file: BufferedReader):
        self.read = file.read1


class PipedVideo:
    """The frames of a video that is read once, from front to end, upright as those of `videos.Video`.

    Args:
        file: is read, and never sought in where it says that it cannot seek.
        path: what errors call it.

    Raises:
        MediaError: what comes is no video that can be read through a pipe.
    """

    has_times = True

    def __init__(self, file: BufferedReader, path: Path):
        self.path = path
        with _hinted():
            self._container, self._stream = open_stream(path, file if file.seekable() else _Arriving(file))
        self._context = one_thread(self._stream.codec_context)
        self._to_rgb = VideoReformatter()
        self._tally = Tally()
        self._end: float | None = None

    @property
    def duration_seconds(self) -> float:
        """The end of the last frame, once all have come."""
        assert self._end is not None, "the end of a stream is known when its last frame has come"
        return self._end

    def in_order(self) -> Iterator[tuple[float, Take]]:
        """Yield (seconds, what gives the picture) of every frame, as they come.

        Raises: MediaError for the first fault, when it is come to; for a stream that was cut short at its end.
        """
        first = last = None
        ticks = 0
        for frame in self._frames():
            now = self._time_of(frame, last)
            first = now if first is None else first
            ticks = 0 if last is None else now - last
            last = now
            yield seconds_from(first, [now], self._stream)[0], partial(upright_rgb, self.path, frame, self._to_rgb)
        if first is None or last is None:
            raise MediaError(self.path, "no frame of its video stream decodes; send it again from its beginning")
        check_whole(self.path, self._container, self._stream, self._tally)
        # The last frame stays as long as its packet says, else as long as the one before.
        ticks = (self._tally.end or 0) - last or ticks
        self._end = seconds_from(first, [last], self._stream)[0] + float(ticks * (self._stream.time_base or 0))

    def _time_of(self, frame: VideoFrame, last: int | None) -> int:
        """Return the frame's time stamp, which must be after that of the last one."""
        if frame.pts is None:
            raise MediaError(self.path, "its frames have no time stamps; send it as .mkv or .ts")
        if last is not None and frame.pts <= last:
            steps = f"from the frame {where_is(last, self._stream)} to one {where_is(frame.pts, self._stream)}"
            raise MediaError(self.path, f"its time stamps step back {steps}; send one video alone, an .avi as .mkv")
        return frame.pts

    def _frames(self) -> Iterator[VideoFrame]:
        """Yield every frame from the first key frame on."""
        begun = False
        packets = stored_packets(self.path, self._container, self._stream)
        with _hinted():
            first = next(packets, None)
        for packet in chain([] if first is None else [first], packets):
            self._tally.add(packet)
            begun = begun or packet.is_keyframe
            if begun:
                yield from self._decoded(packet)
        yield from self._decoded(None)

    def _decoded(self, packet: Packet | None) -> Iterator[VideoFrame]:
        return whole_frames(self.path, self._stream, self._context, packet, None)

    def close(self) -> None:
        """Release the decoder; the file stays open."""
        self._container.close()

    def __enter__(self) -> "PipedVideo":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
