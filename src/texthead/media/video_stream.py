"""VideoStream: open a video, read its packets, decode its frames, and check that it is complete.

A header's frame count is wrong too often to be the criterion of completeness (.avi counts frames that were dropped in
recording, .mov those that its edit list hides). Instead a file is

- cut short, on opening, if the last packet is incomplete, the container's index lists more packets than there are, or
  a container without a full index claims a longer duration than its packets have;
- damaged, on reading, if a frame on the way to a wanted one does not decode. `check` reads all of them.
"""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from texthead.errors import Fault, MediaError, raising
from texthead.media.limits import check_size, max_pixels

# Containers only: playlists and plain text can make FFmpeg open other files, even over the network.
_CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,gif,ogg,h264,hevc,m4v,ivf,mjpeg,dv,mxf,nut"

_OPEN_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}

# Old files may have titles that are not UTF-8. PyAV accepts them from version 19 on, which dropped this option.
_TITLES: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}

# A file counts as cut short if its claimed duration exceeds that of its packets by more than this.
_MISSING_SECONDS, _MISSING_SHARE = 0.5, 0.05


class VideoStream(AbstractContextManager["VideoStream"]):
    """The best video stream of a file: its packets in stored order, and what the decoder makes of them.

    The decoder has one thread and a limit on the frame size. Cover art does not count as video.

    Args:
        data: the content, if it is not that of the file at `path`.

    Attributes:
        container, stream, context: PyAV's objects.
        base: seconds of a tick.
        rgb: converts frames to pictures.
        count: number of packets read so far.
        end: the latest end of a packet so far, in ticks.

    Raises:
        MediaError: it cannot be opened, has no video, or frames of more than half of `max_pixels()`.
    """

    def __init__(self, path: Path, data: bytes | None = None):
        self.path, self.rgb, self.count, self.end = path, UprightRgb(path), 0, 0
        self._whole, self._last_is_whole = 0, True
        with decoder_errors(path):
            # Absolute, so that a name like "http:x.mp4" is a file.
            source = str(path.absolute()) if data is None else io.BytesIO(data)
            self.container = av.open(source, options=_OPEN_OPTIONS, **_TITLES)
        most = max_pixels() // 2  # Decoders hold several frames.
        try:
            self.stream = self._best_stream()
            self.base = self.stream.time_base or Fraction(1, 90_000)
            self.context = self.stream.codec_context
            if self.context.width or self.context.height:  # They may be unknown until the first frame.
                check_size(path, self.context.width, self.context.height, most)
        except BaseException:
            self.close()
            raise
        self.context.thread_count = 1
        # FFmpeg counts rows that are rounded up to 64 pixels.
        self.context.options = {"max_pixels": str(most * 11 // 10)}

    def _best_stream(self) -> av.VideoStream:
        with decoder_errors(self.path):
            stream = self.container.streams.best("video")
        usable = isinstance(stream, av.VideoStream) and not stream.disposition & Disposition.attached_pic
        if usable and stream.codec_context is not None:  # It is None if FFmpeg does not know the codec.
            return stream
        fault: Fault = "sound only" if self.container.streams.audio else "unreadable"
        problem = f"no video stream that can be decoded ({fault}); remove the file, or encode it as h264"
        raise MediaError(self.path, problem, fault)

    def packets(self) -> Iterator[Packet]:
        """Yield the packets in stored order, except empty ones (frames dropped in recording, end of stream)."""
        with decoder_errors(self.path):
            for packet in self.container.demux(self.stream):
                if packet.size:
                    end = (packet.pts or 0) + (packet.duration or 0)
                    self.end = max(self.end, end) if self.count else end
                    self.count += 1
                    self._last_is_whole = not packet.is_corrupt
                    self._whole += self._last_is_whole
                    yield packet

    def frames(self, packet: Packet | None, first: int | None = None) -> Iterator[VideoFrame]:
        """Yield the frames that the decoder returns for a further packet, or at the end (None).

        Args:
            first: leave out frames that are shown before this time, in ticks.

        Raises: MediaError for a damaged frame.
        """
        where = "at the end" if packet is None else self.where(packet.pts)
        make, problem = partial(MediaError, self.path, fault="damaged"), f"the frame {where} does not decode"
        faults = raising(make, problem, "download or encode the file again", FFmpegError)
        with faults:
            frames = self.context.decode(packet)
        for frame in frames:
            if first is not None and frame.pts is not None and frame.pts < first:
                # Stored after the starting keyframe but shown before it: its reference frames were not decoded.
                continue
            if frame.is_corrupt:
                problem = f"the frame {self.where(frame.pts)} is damaged; download or encode the file again"
                raise MediaError(self.path, problem, "damaged")
            yield frame

    def seconds(self, ticks: int | float) -> float:
        """Return a time in ticks as seconds."""
        # Not `ticks * base`: Fraction arithmetic would take as long as demuxing the file.
        return ticks * self.base.numerator / self.base.denominator

    @property
    def offset_seconds(self) -> float:
        """How much later than the file its pictures start, in seconds: sound may come first."""
        start, first = self.container.start_time, self.stream.start_time
        return 0.0 if start is None or first is None else max(0.0, self.seconds(first) - start / av.time_base)

    def where(self, pts: int | None) -> str:
        """Return the time of a frame for a message."""
        return "without a time" if pts is None else f"at {self.seconds(pts):.2f} s"

    def check_whole(self) -> None:
        """Raise MediaError if the file was cut short, as the module's docstring defines it; after all packets."""
        indexed = len(self.stream.index_entries)
        listed, present = max(self.stream.frames, indexed), self._whole
        claimed, end = self._claimed_seconds(), self.seconds(self.end)
        if indexed > self.count or not self._last_is_whole:
            claim = f"its header claims {listed} frames, but it has {present}"
            claim = claim if listed > present else f"its last frame, {present}, is incomplete"
        elif claimed - end > max(_MISSING_SECONDS, _MISSING_SHARE * claimed):
            claim = f"its header claims {claimed:.1f} s, but it has {end:.1f} s"
        else:
            return
        raise MediaError(self.path, f"cut short: {claim}; download or copy the file again", "cut short")

    def _claimed_seconds(self) -> float:
        """Return the duration that the header claims for the video; 0 if it claims none or is not needed.

        If the stream has a frame count or a duration, its index is more reliable; except in .avi, which counts dropped
        frames too, so that its count is a duration. In a file with several streams the duration may be that of the
        sound, but .mkv and .webm often store one per stream, as text.
        """
        container, stream = self.container, self.stream
        if container.format.name == "avi":
            return self.seconds(stream.frames)
        # Streams in .mkv and .webm have no duration of their own; for a single frame FFmpeg reports the file's.
        if stream.frames or (stream.duration and "matroska" not in container.format.name):
            return 0.0
        written = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
        if written:
            hours, minutes, seconds = map(float, written.groups())
            return 3600 * hours + 60 * minutes + seconds
        if len(container.streams) > 1 or not container.duration:
            return 0.0
        return container.duration / av.time_base

    def close(self) -> None:
        """Close the container."""
        self.container.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class UprightRgb:
    """Convert frames of a video to RGB pictures, turned as the container says.

    The display matrix is read once per rotation: a frame whose side data was read stays in memory until the cyclic
    garbage collector runs.
    """

    def __init__(self, path: Path):
        self._path, self._to_rgb = path, VideoReformatter()
        self._turns = dict[float, Callable[[np.ndarray], np.ndarray]]()

    def __call__(self, frame: VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
        """Return the picture.

        Raises: MediaError for one that is too large, or not turned by a multiple of 90 degrees.
        """
        check_size(self._path, frame.width, frame.height)
        to_upright = self._turn(frame)
        with decoder_errors(self._path):
            plane = self._to_rgb.reformat(frame, format="rgb24", threads=1).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        return to_upright(rows[:, : 3 * plane.width].reshape(plane.height, plane.width, 3))

    def _turn(self, frame: VideoFrame) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that turns a frame's stored picture upright: it transposes and mirrors as its matrix says.

        Worked example, a quarter turn clockwise, x' = -y and y' = x: transpose, then mirror left to right.

        Raises: MediaError for a picture that is not turned by a multiple of 90 degrees.
        """
        if frame.rotation in self._turns:
            return self._turns[frame.rotation]
        if Type.DISPLAYMATRIX not in frame.side_data:
            return self._turns.setdefault(frame.rotation, lambda picture: picture)
        # FFmpeg truncates the angle to whole degrees, so a quarter turn may be 89.
        if abs(frame.rotation - 90 * round(frame.rotation / 90)) > 1:
            problem = f"rotated by {frame.rotation} degrees, not a multiple of 90; encode it upright"
            raise MediaError(self._path, problem)
        # A point (x, y) is shown at (a x + c y, b x + d y).
        a, b, _, c, d = np.frombuffer(frame.side_data[Type.DISPLAYMATRIX], np.int32)[:5].tolist()  # pyright: ignore[reportGeneralTypeIssues]
        across, down = (a, d) if abs(a) > abs(b) else (c, b)
        mirrored = slice(None, None, -1 if down < 0 else 1), slice(None, None, -1 if across < 0 else 1)
        return self._turns.setdefault(
            frame.rotation, lambda picture: (picture if abs(a) > abs(b) else picture.swapaxes(0, 1))[mirrored]
        )


def decoder_errors(path: Path) -> AbstractContextManager[None]:
    """Turn FFmpeg's errors into MediaError."""
    return raising(partial(MediaError, path), "cannot be read as a video", "download or encode it again", FFmpegError)
