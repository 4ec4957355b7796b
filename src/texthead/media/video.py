"""Read the frames of a video by number.

All packets are listed once, which gives the exact frame count and presentation times without trusting a header. Then
only the packets from the last keyframe to a wanted frame are decoded. Each file uses one thread: process several files
in parallel instead.
"""

import math
from bisect import bisect_right
from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, dropwhile, islice
from pathlib import Path
from time import thread_time

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from texthead.errors import MediaError
from texthead.media.limits import check_frames, check_time
from texthead.media.reader import Frame, Media, Take
from texthead.media.video_stream import VideoStream, decoder_errors

# Packets are held in memory up to this many bytes per video; those of longer videos are read again.
_HELD_BYTES = 256 * 2**20

# Memory that a packet takes in addition to its data, in bytes.
_PACKET_BYTES = 512


class Video(Media):
    """The frames of a file's best video stream in presentation order, turned and mirrored as the container says.

    A sample aspect ratio other than 1:1 is ignored.
    """

    suffixes = frozenset(
        {".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"}
        | {".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
    )

    def __init__(self, path: Path, data: bytes | None = None):
        super().__init__(path, data)
        self._data = data
        self._begin = thread_time()
        self._video = VideoStream(path, data)
        try:
            self._entries, self._held = list_packets(self._video)
            self._keys = [i for i, entry in enumerate(self._entries) if entry.is_key] or [0]
            self._order = self._presentation_order()
            ticks = self._count_frames() if self._order is None else [self._pts(i) for i in self._order]
            if not ticks:
                raise MediaError(path, "no frame of its video stream decodes; download or encode the file again")
            self.times = [self._video.seconds(tick - ticks[0]) for tick in ticks]
            self.num_frames, self.offset_seconds = len(ticks), self._video.offset_seconds
            last = self._entries[self._order[-1] if self._order else -1].duration
            step = self.times[-1] - self.times[-2] if self.num_frames > 1 else 0.0
            self.duration_seconds = self.times[-1] + (self._video.seconds(last) if last else step)
        except BaseException:
            self.close()
            raise

    def iter_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
        """Yield (index, frame) of each wanted frame, in decoding order.

        Raises: MediaError for damage on the way to a wanted frame.
        """
        self._begin = thread_time()
        yield from ((index, self._video.rgb(frame)) for index, frame in self._frames(wanted))

    def checked_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
        """Decode every frame of the file once and yield (index, frame) of each wanted one, in order.

        Raises: MediaError for the first fault, even one that `frames_at` would not reach.
        """
        self._begin = thread_time()
        shape, count = None, 0
        for index, frame in enumerate(self._decode(self._keys[0], len(self._entries))):
            shape, count = shape or (frame.height, frame.width), index + 1
            self._check_same_size(shape, (frame.height, frame.width))
            if index in wanted:
                yield index, self._video.rgb(frame)
        if count != self.num_frames:
            problem = f"{self.num_frames} frames are listed, {count} decode; encode the file again"
            raise MediaError(self.path, problem, "damaged")

    def iter_range(self, frames: range) -> Iterator[tuple[int, Take]]:
        """Yield (index, function that returns the frame) of a range of frames, in presentation order.

        The time limit is per frame here, since the caller works between frames.

        Raises: MediaError for the first fault, when the iteration reaches it.
        """
        self._begin = thread_time()
        due, early = frames.start, dict[int, VideoFrame]()
        for index, frame in self._frames(frames):
            early[index] = frame  # A frame that must be decoded from the start of the file comes late.
            while due in early:
                yield due, partial(self._video.rgb, early.pop(due))
                due += 1
                self._begin = thread_time()
        if due < frames.stop:
            problem = f"frame {due} of {self.num_frames} is listed but does not decode; encode it again"
            raise MediaError(self.path, problem, "damaged")

    def close(self) -> None:
        """Close the decoder and the file."""
        self._video.close()

    # ---- packets and frames

    def _pts(self, position: int) -> int:
        pts = self._entries[position].pts
        assert pts is not None, "called only if _presentation_order found a time for every packet"
        return pts

    def _presentation_order(self) -> list[int] | None:
        """Return the packet position of every frame in presentation order; None if only decoding can tell.

        Worked example, I P B B as stored with times 0 3 1 2: positions 0 2 3 1, so frame 1 is the third packet.
        """
        entries = self._entries[self._keys[0] :]
        shown = [i for i in range(self._keys[0], len(self._entries)) if self._entries[i].is_shown]
        times = [self._entries[i].pts for i in shown]
        if any(entry.pts is None for entry in entries) or len(set(times)) < len(times):
            return None
        # An .avi stores no presentation times: FFmpeg guesses them, wrongly if frames are reordered.
        if self._video.container.format.name == "avi" and self._video.context.has_b_frames:
            return None
        # Frames shown before the first keyframe may depend on frames that are not in the file.
        if any(self._pts(i) < self._pts(self._keys[0]) for i in shown):
            return None
        return sorted(shown, key=self._pts)

    def _count_frames(self) -> Sequence[int | float]:
        """Decode the whole file and return the presentation times of all frames, in ticks."""
        times = [frame.pts for frame in self._decode(self._keys[0], len(self._entries))]
        known = sorted({time for time in times if time is not None})
        if len(known) == len(times):
            return known
        if mended := mended_times(times):
            return mended
        self.has_times = False
        stream = self._video.stream
        rate = stream.average_rate or stream.guessed_rate or 25
        return [round(i / rate / self._video.base) for i in range(len(times))]

    # ---- decoding

    def _frames(self, wanted: Collection[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (index, frame) for every wanted index once, in decoding order."""
        if self._order is None:
            shown = self._decode(self._keys[0], len(self._entries))
            yield from ((i, frame) for i, frame in enumerate(islice(shown, max(wanted) + 1)) if i in wanted)
            return
        positions = sorted(self._order[i] for i in wanted)
        index_at = {self._pts(self._order[i]): i for i in wanted}
        spans: list[tuple[int, int]] = []
        for start, stop in sorted((self._keyframe_before(position), position + 1) for position in positions):
            if spans and start <= spans[-1][1]:  # They overlap or touch.
                spans[-1] = spans[-1][0], max(stop, spans[-1][1])
            else:
                spans.append((start, stop))
        # Frames that a span misses, because its keyframe is not a clean start, are decoded from the start of the file.
        for start, stop in [*spans, (self._keys[0], positions[-1] + 1)]:
            frames = self._decode(start, stop, index_at) if index_at else iter(())
            # With periodic intra refresh a "keyframe" only starts to refresh the picture. The decoder holds frames back
            # until it considers the refresh complete, which is a little too early. So its first frame is the keyframe
            # itself, or none of its frames is used.
            first, clean = next(frames, None), start == self._keys[0] or not self._entries[start].is_shown
            if first is not None and (clean or first.pts == self._pts(start)):
                for frame in chain([first], frames):
                    if frame.pts in index_at:
                        yield index_at.pop(frame.pts), frame

    def _keyframe_before(self, position: int) -> int:
        """Return the position of the keyframe from which the frame at `position` decodes correctly.

        Worked example, I0 P4 B2 | I8 B6 as stored: B6 is shown before I8 and needs P4 too. So B6 starts from I0, the
        last keyframe that is both stored and shown before it.
        """
        key = bisect_right(self._keys, position) - 1
        while key > 0 and self._pts(self._keys[key]) > self._pts(position):
            key -= 1
        return self._keys[key]

    def _decode(self, start: int, stop: int, needed: Container[int | None] | None = None) -> Iterator[VideoFrame]:
        """Yield the frames in packets start..stop-1; if `needed` lists times, other frames may be skipped.

        Raises: MediaError for a damaged frame.
        """
        first = None if needed is None else self._pts(start)
        context = self._video.context
        context.flush_buffers()
        context.skip_frame = "DEFAULT"
        for packet in chain(self._packets(start, stop), [None]):
            if needed is not None and context.name == "h264" and packet is not None:
                # h264 marks frames that no other frame refers to, so they can be skipped.
                context.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
            check_time(self.path, self._begin)
            yield from self._video.frames(packet, first)

    def _packets(self, start: int, stop: int) -> Iterator[Packet]:
        """Yield the packets start..stop-1 from memory; for a long video, from the file again."""
        if self._held is not None:
            yield from islice(self._held, start, stop)
            return
        count = 0
        if self._order is not None and start > 0:
            entry = self._entries[start]
            # Compare sizes too, since after a seek an .mpg may be split into packets differently.
            wanted = (entry.pts, entry.dts, entry.size)
            with VideoStream(self.path, self._data) as video:
                with decoder_errors(self.path):
                    video.container.seek(self._pts(start) if entry.dts is None else entry.dts, stream=video.stream)
                after = dropwhile(lambda packet: (packet.pts, packet.dts, packet.size) != wanted, video.packets())
                for packet in islice(after, stop - start):
                    count += 1
                    yield packet
        if not count:
            # If start is 0 or the seek went past the keyframe, read from the start of the file: slow but correct.
            with VideoStream(self.path, self._data) as video:
                yield from islice(video.packets(), start, stop)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The properties of a packet without its data; times in ticks of the stream's time base."""

    pts: int | None
    dts: int | None
    duration: int
    size: int
    is_key: bool
    is_shown: bool


def list_packets(video: VideoStream) -> tuple[list[_Entry], list[Packet] | None]:
    """Return an entry for every packet, and the packets themselves if they take at most `_HELD_BYTES`, else None.

    Raises: MediaError for a stream that was cut short or has too many packets.
    """
    entries: list[_Entry] = []
    held: list[Packet] | None = []
    size = 0
    vp8 = video.context.name == "vp8"
    for packet in video.packets():
        # vp8 stores reference-only frames as separate packets, marked by one bit.
        hidden = packet.is_discard or (vp8 and not memoryview(packet)[0] & 0x10)
        timing = packet.pts, packet.dts, packet.duration or 0
        entries.append(_Entry(*timing, packet.size, is_key=packet.is_keyframe, is_shown=not hidden))
        check_frames(video.path, len(entries))
        size += packet.size + _PACKET_BYTES
        if held is not None:
            held.append(packet)
        if size > _HELD_BYTES:
            held = None
    video.check_whole()
    return entries, held


def mended_times(times: Sequence[int | None]) -> Sequence[int | float]:
    """Return ascending times: missing, repeated and backward ones spread evenly between their neighbours.

    Worked example, 0 4 4 None 16: 4 to 16 in three steps give 0 4 8 12 16.

    Returns: no times if fewer than half of them ascend.
    """
    kept, last = dict[int, int](), -math.inf
    for index, time in enumerate(times):
        if time is not None and time > last:
            kept[index] = last = time
    if len(kept) < max(2, len(times) / 2):
        return []
    step = float(np.median(np.diff([*kept.values()])))
    (first, start), *_, (end, stop) = kept.items()
    inner = np.interp(range(first, end + 1), [*kept], [*kept.values()]).tolist()
    before = [start - step * (first - index) for index in range(first)]
    return [*before, *inner, *(stop + step * (index - end) for index in range(end + 1, len(times)))]
