"""The sound of a video, copied into an .mp4 whose time begins with the video's first frame."""

import io
import math
from collections.abc import Iterator

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.packet import Packet

from texthead.media.paths import file_of
from texthead.media.reader import Media, Part
from texthead.media.shard import is_member
from texthead.media.video_stream import open_stream, stored_packets

# What players expect in an .mp4.
_PLAYABLE = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})

# A decoder wants some sound before the one that is heard; players leave out what lies before 0.
_BEFORE_SECONDS = 0.1

# A longer pause is more likely a wrong time stamp.
_MAX_PAUSE_SECONDS = 3600


class Sound:
    """The first sound of a video as packets for the .mp4 `out`, whose time counts from the video's first frame."""

    def __init__(self, video: Media, out: OutputContainer):
        self._begin = video.begin_seconds
        self._end = video.duration_seconds if isinstance(video, Part) else math.inf
        self._path, self._out = file_of(video.path), out
        # `prepare` keeps no sound.
        self._source = None if is_member(self._path) else open_stream(self._path, None)[0]
        sounds = self._source.streams.audio if self._source else ()
        self._first, self._count = next(iter(sounds), None), len(sounds)
        self._copy = out.add_stream_from_template(self._first) if self._first and _fits(self._first) else None
        self._lost = 0

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        if self._source:
            self._source.close()

    def packets(self) -> Iterator[Packet]:
        """Yield the packets as they are stored, without damaged ones, at their times in the .mp4."""
        if self._source is None or self._first is None or self._copy is None:
            return
        last = 0
        for packet in stored_packets(self._path, self._source, self._first):
            ticks, base = packet.dts if packet.pts is None else packet.pts, packet.time_base
            now = None if ticks is None else ticks - round(self._begin / base)
            if now is None or packet.is_corrupt or (now - last) * base > _MAX_PAUSE_SECONDS:
                self._lost += 1
                continue
            last = packet.pts = packet.dts = now
            if now * base < self._end and (now + (packet.duration or 0)) * base > -_BEFORE_SECONDS:
                packet.stream = self._copy
                yield packet

    def write(self, packet: Packet) -> None:
        """Write one of the packets, unless it is damaged or not behind the one before."""
        try:
            self._out.mux(packet)
        except (InvalidDataError, ArgumentError):
            self._lost += 1

    def note(self) -> str | None:
        """Return what of the sound is missing in the .mp4, if anything is."""
        if self._first is None:
            return None
        if self._copy is None:
            return f"its sound is left out: {_codec(self._first)} cannot be copied into .mp4"
        notes = [f"it has the first of {self._count} sounds"] if self._count > 1 else []
        notes += [f"{self._lost} damaged packets of its sound are left out"] if self._lost else []
        return "; ".join(notes) or None


def _codec(stream: AudioStream) -> str:
    """Return the codec's name; a stream that FFmpeg cannot play has none."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else "an unknown codec"


def _fits(stream: AudioStream) -> bool:
    """Return whether an .mp4 can hold the stream, by writing the header of one."""
    if _codec(stream) not in _PLAYABLE:
        return False
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except FFmpegError:
        return False
    return True
