"""Read frames with their times from a pipe, camera or address, one after the other, without listing packets first.

Whether a stream was cut short, and how long it is, is known only at its end. Times are the frames' own time stamps;
missing or decreasing time stamps are an error.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BufferedReader
from itertools import chain, dropwhile, islice
from pathlib import Path
from queue import Empty, Queue

import av
from av.error import FFmpegError
from av.video.frame import VideoFrame

from texthead.apps.timeline.inputs import STREAMS
from texthead.errors import MediaError
from texthead.media import Closing, Take, UprightRgb, VideoStream


@contextmanager
def _hinted() -> Iterator[None]:
    """Add to an error which formats can be read through a pipe."""
    try:
        yield
    except MediaError as error:
        hint = "a pipe can carry .mkv, .ts, and .mp4 with its index in front (-movflags +faststart)"
        problem = error.problem if error.fault == "sound only" else f"{error.problem.partition(';')[0]}; {hint}"
        raise MediaError(error.path, problem, error.fault) from error


class _Arriving:
    """A reader that returns the bytes that have arrived instead of blocking until `size` bytes are there."""

    def __init__(self, file: BufferedReader):
        self.read = file.read1


class PipedVideo(VideoStream):
    """The frames of a video that is read once from start to end, upright as those of `Video`.

    Args:
        file: the stream; it need not be seekable.
        path: its name in errors.

    Raises:
        MediaError: the data is not a video that can be read through a pipe.
    """

    has_times = True

    def __init__(self, file: BufferedReader, path: Path):
        with _hinted():
            super().__init__(path, file if file.seekable() else _Arriving(file))
        self._duration: float | None = None

    @property
    def duration_seconds(self) -> float:
        """The end of the last frame, available after all frames were read."""
        assert self._duration is not None, "all frames must be read first"
        return self._duration

    def in_order(self) -> Iterator[tuple[float, Take]]:
        """Yield (seconds, function that returns the picture) of every frame as it arrives.

        Raises: MediaError for the first fault, when the iteration reaches it; at the end if the stream was cut short.
        """
        first = last = None
        ticks = 0
        for frame in self._all_frames():
            now = self._time_of(frame, last)
            first = now if first is None else first
            ticks = 0 if last is None else now - last
            last = now
            yield self.seconds(now - first), partial(self.rgb, frame)
        if first is None or last is None:
            raise MediaError(self.path, "no frame of its video stream decodes; send it again from its beginning")
        self.check_whole()
        # The last frame lasts as long as its packet says, else as long as the one before.
        self._duration = self.seconds(last - first) + self.seconds(self.end - last or ticks)

    def _time_of(self, frame: VideoFrame, last: int | None) -> int:
        """Return the frame's time stamp; raise MediaError unless it is after the last one."""
        if frame.pts is None:
            raise MediaError(self.path, "its frames have no time stamps; send it as .mkv or .ts")
        if last is not None and frame.pts <= last:
            steps = f"a frame {self.where(last)} precedes one {self.where(frame.pts)}"
            problem = f"its time stamps are out of order ({steps}); send a single video, and an .avi as .mkv"
            raise MediaError(self.path, problem)
        return frame.pts

    def _all_frames(self) -> Iterator[VideoFrame]:
        """Yield every frame from the first keyframe on."""
        packets = self.packets()
        with _hinted():
            first = [*islice(packets, 1)]
        for packet in dropwhile(lambda packet: not packet.is_keyframe, chain(first, packets)):
            yield from self.frames(packet)
        yield from self.frames(None)


# Formats that `LiveStream` opens. No playlists, since they can name other files and addresses.
_KINDS = "rtsp,rtp,sdp,mpegts,matroska,mov,flv,ogg,avi,mpjpeg,mjpeg,h264,hevc,video4linux2"

# A stream that sends nothing for this long has ended.
SILENT_SECONDS = 10.0

# Frames that may wait to be processed; one of 1080p takes 3 MB.
WAITING = 16


class LiveStream(Closing):
    """The frames of a camera or an address, read by a thread.

    At most `WAITING` frames are buffered. If processing falls behind real time, the oldest are dropped and counted; a
    source faster than real time, such as a file on a server, is made to wait.

    Args:
        source: a source for which `is_live` is true.

    Attributes:
        dropped: number of frames dropped so far.
        fault: why the stream ended, or its last decoding error; "" if there was none.

    Raises:
        MediaError: it cannot be opened, or has no video.
    """

    has_times = True

    def __init__(self, source: str):
        self.path, self.source, self.dropped = Path(source), source, 0
        camera = source.startswith("/dev/video")
        names = "file" if camera else STREAMS[source.partition("://")[0]]
        options = {"protocol_whitelist": names, "format_whitelist": _KINDS, "rtsp_transport": "tcp"}
        try:
            form = "v4l2" if camera else None
            self._container = av.open(source, format=form, options=options, timeout=SILENT_SECONDS)
        except (FFmpegError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise MediaError(source, f"cannot be opened as a stream ({why}); check that it runs") from None
        stream = self._container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            self._container.close()
            raise MediaError(source, "has no video stream; check the address", "sound only")
        self._stream = stream
        self._rgb = UprightRgb(self.path)
        self._waiting = Queue[VideoFrame | None](WAITING)
        self._over, self._end, self.fault = False, 0.0, ""

    @property
    def duration_seconds(self) -> float:
        """The time of the last frame that was yielded."""
        return self._end

    def in_order(self) -> Iterator[tuple[float, Take]]:
        """Yield (seconds from the first frame, function that returns the picture) of the frames that are not dropped.

        Frames without a time stamp, or with a decreasing one, are dropped.

        Raises: MediaError if no frame of the stream decodes.
        """
        threading.Thread(target=self._read, daemon=True).start()
        first = last = None
        while (frame := self._waiting.get()) is not None:
            if frame.pts is None or (last is not None and frame.pts <= last):
                self.dropped += 1
                continue
            first, last = frame.pts if first is None else first, frame.pts
            self._end = float((last - first) * (self._stream.time_base or 0))
            yield self._end, partial(self._rgb, frame)
        if first is None:
            raise MediaError(
                self.source, f"no frame of it decodes ({self.fault or 'it ended'}); check that it sends video"
            )

    def _read(self) -> None:
        """Decode the frames for `in_order`; None is the end."""
        begun, first = time.monotonic(), None
        try:
            for frame in self._decoded():
                first = frame.time if first is None else first
                early = (frame.time or 0.0) - (first or 0.0) > time.monotonic() - begun
                if self._waiting.full() and not early:
                    with suppress(Empty):
                        self._waiting.get_nowait()
                        self.dropped += 1
                self._waiting.put(frame)
                if self._over:
                    return
        finally:
            self._waiting.put(None)

    def _decoded(self) -> Iterator[VideoFrame]:
        """Yield every frame that decodes, recording errors instead of raising them."""
        with self._recording_errors():
            for packet in self._container.demux(self._stream):
                with self._recording_errors():
                    yield from packet.decode()
        with self._recording_errors():
            yield from self._stream.decode(None)

    @contextmanager
    def _recording_errors(self) -> Iterator[None]:
        try:
            yield
        except EOFError:
            pass
        except FFmpegError as error:
            self.fault = error.strerror

    def close(self) -> None:
        """Stop reading the stream."""
        self._over = True
        with suppress(Empty):  # So that its thread does not wait any more.
            while True:
                self._waiting.get_nowait()
