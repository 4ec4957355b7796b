"""Copy the audio of a video into an .mp4 that starts at the video's first frame."""

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

# Audio codecs that players support in an .mp4.
_PLAYABLE = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})

# Audio kept from before time 0, which decoders need and players skip.
_BEFORE_SECONDS = 0.1

# A longer pause is probably a wrong time stamp.
_MAX_PAUSE_SECONDS = 3600


class Sound:
    """The first audio stream of a video, as packets for the .mp4 `out`; times count from the first frame."""

    def __init__(self, video: Media, out: OutputContainer):
        self._begin = video.begin_seconds
        self._end = video.duration_seconds if isinstance(video, Part) else math.inf
        self._path, self._out = file_of(video.path), out
        # `prepare` stores no audio.
        self._source = None if is_member(self._path) else open_stream(self._path, None)[0]
        streams = self._source.streams.audio if self._source else ()
        self._first, self._count = next(iter(streams), None), len(streams)
        self._copy = out.add_stream_from_template(self._first) if self._first and _fits(self._first) else None
        self._lost = 0

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        if self._source:
            self._source.close()

    def packets(self) -> Iterator[Packet]:
        """Yield the undamaged packets in stored order, with times for the .mp4."""
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
        """Write a packet; skip and count it if it is damaged or not later than the previous one."""
        try:
            self._out.mux(packet)
        except (InvalidDataError, ArgumentError):
            self._lost += 1

    def note(self) -> str | None:
        """Return what audio is missing in the .mp4, or None."""
        if self._first is None:
            return None
        if self._copy is None:
            return f"it has no audio: this {_codec(self._first)} stream cannot be copied into .mp4"
        notes = [f"it has the first of {self._count} audio streams"] if self._count > 1 else []
        notes += [f"{self._lost} damaged audio packets are left out"] if self._lost else []
        return "; ".join(notes) or None


def _codec(stream: AudioStream) -> str:
    """Return the name of the codec, which FFmpeg may not know."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else "an unknown codec"


def _fits(stream: AudioStream) -> bool:
    """Return whether an .mp4 can contain the stream, by writing a trial header."""
    if _codec(stream) not in _PLAYABLE:
        return False
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except FFmpegError:
        return False
    return True
