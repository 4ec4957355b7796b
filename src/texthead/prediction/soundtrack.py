"""The sound of a video, carried into an .mp4 whose time begins with the video's first frame."""

import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec import Codec
from av.container import InputContainer, OutputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.error import BlockingIOError as NothingReadyError
from av.error import EOFError as AtEndError
from av.filter import Graph
from av.packet import Packet

from texthead.media.shard import is_member, read_member
from texthead.media.video_stream import decoder_faults, open_container, stored_packets

# What players expect in an .mp4; anything else is encoded anew.
KEPT = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})

# A decoder wants some sound before the one that is heard; players leave out what lies before 0.
_BEFORE_SECONDS = 0.1

# A longer pause is more likely a wrong time stamp, and would be filled with silence.
_MAX_PAUSE_SECONDS = 3600

# What FFmpeg says of packets that it cannot use.
_USELESS = (InvalidDataError, ArgumentError)


class Sound:
    """The first sound of the video at `path` as a stream of an .mp4; `begin` is when the first frame is, on its clock.

    What can lie in an .mp4 is copied as it is stored, anything else becomes AAC. One packet is held.
    """

    def __init__(self, path: Path, begin: float, container: OutputContainer):
        self._container = container
        self._source = _opened(path)
        self._sounds = self._source.streams.audio
        self._way: _Copied | _Encoded | None = None
        self._packets: Iterator[Packet] = iter(())
        self._last: int | None = None
        self._lost = 0
        stream = next(iter(self._sounds), None)
        # A stream without a rate has nothing to play.
        if stream is not None and stream.codec_context and stream.codec_context.sample_rate:
            base = stream.time_base or Fraction(1, stream.codec_context.sample_rate)
            self._way = (_Copied if _fits(stream) else _Encoded)(stream, base, container)
            self._packets = _shifted(stored_packets(path, self._source, stream), round(begin / base))
        self._next = next(self._packets, None)

    def until(self, seconds: float) -> None:
        """Write what begins before a time of the .mp4 (seconds)."""
        while self._way is not None and self._next is not None and (self._next.pts or 0) * self._way.base < seconds:
            self._write(self._way, self._next)
            self._next = next(self._packets, None)

    def finish(self) -> str | None:
        """What is to be said of the sound, if anything is, after the rest of it is written."""
        self.until(math.inf)
        if not self._sounds:
            return None
        if self._way is None:
            return "its sound is left out: this FFmpeg does not know how to play it"
        self._container.mux(self._way.finish())
        said = [f"it has the first of {len(self._sounds)} sounds"] if len(self._sounds) > 1 else []
        if isinstance(self._way, _Encoded):
            said.append(f"its sound is encoded anew as AAC, since {self._way.name} does not go into .mp4")
        if self._lost:
            said.append(f"{self._lost} damaged packets of its sound are left out")
        return "; ".join(said) or None

    def close(self) -> None:
        """Let go of the video."""
        self._source.close()

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, way: "_Copied | _Encoded", packet: Packet) -> None:
        if not self._follows(packet, way.base):
            self._lost += 1
            return
        self._last = packet.pts
        try:
            self._container.mux(way.take(packet))
        except _USELESS:
            self._lost += 1

    def _follows(self, packet: Packet, base: Fraction) -> bool:
        """Whether the packet is whole and comes behind the last one, by an hour at most."""
        if packet.is_corrupt or packet.pts is None:
            return False
        if self._last is not None and packet.pts <= self._last:
            return False
        return (packet.pts - (self._last or 0)) * base <= _MAX_PAUSE_SECONDS


def _fits(stream: AudioStream) -> bool:
    """Whether its packets can lie in an .mp4, of which the header is written on trial."""
    if stream.codec_context.codec.canonical_name not in KEPT:
        return False
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except FFmpegError:
        return False
    return True


def _shifted(packets: Iterator[Packet], begin: int) -> Iterator[Packet]:
    """The packets at times that count from `begin` (ticks); of sound, both times of a packet are one."""
    for packet in packets:
        ticks = packet.dts if packet.pts is None else packet.pts
        packet.pts = packet.dts = None if ticks is None else ticks - begin
        yield packet


class _Copied:
    """Packets as they are stored."""

    def __init__(self, stream: AudioStream, base: Fraction, container: OutputContainer):
        self.base = base
        self._out = container.add_stream_from_template(stream)

    def take(self, packet: Packet) -> list[Packet]:
        """The packet to write, unless it ends before the video begins."""
        if ((packet.pts or 0) + (packet.duration or 0)) * self.base <= -_BEFORE_SECONDS:
            return []
        packet.stream = self._out
        return [packet]

    def finish(self) -> list[Packet]:
        """No more packets."""
        return []


class _Encoded:
    """AAC of one or two channels from 0 on without a gap: what is missing is silent."""

    def __init__(self, stream: AudioStream, base: Fraction, container: OutputContainer):
        self.base = base
        self._context = stream.codec_context
        self.name = self._context.codec.canonical_name
        known = Codec("aac", "w").audio_rates or []
        rate = self._context.sample_rate if self._context.sample_rate in known else 48_000
        layout = "mono" if self._context.channels == 1 else "stereo"
        self._out = container.add_stream("aac", rate=rate, layout=layout)
        self._wanted = f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout}"
        self._graph: Graph | None = None
        self._end = Fraction(0)

    def take(self, packet: Packet | None) -> list[Packet]:
        """What is ready to be written after one more packet, or after the last (None).

        Raises: FFmpegError for a packet that does not decode.
        """
        packets: list[Packet] = []
        for frame in self._context.decode(packet):
            self._graph = self._graph or self._resampler(frame)
            begin = self._end if frame.pts is None else frame.pts * self.base
            # The filter fills a pause in one go: of a long one it gets a second at a time.
            while begin > self._end + 1:
                packets += self._through(self._graph, self._silence(frame))
                self._end += 1
            packets += self._through(self._graph, frame)
            self._end = max(self._end, begin + Fraction(frame.samples, frame.sample_rate))
        return packets

    def finish(self) -> list[Packet]:
        """The rest."""
        try:
            rest = self.take(None)
        except _USELESS:
            rest = []
        if self._graph is not None:
            rest += self._through(self._graph, None)
        return [*rest, *self._out.encode(None)]

    def _silence(self, like: AudioFrame) -> AudioFrame:
        """A second of it from where the sound ends so far."""
        frame = AudioFrame(like.format, like.layout, like.sample_rate)
        for plane in frame.planes:
            plane.update((b"\x80" if like.format.name.startswith("u8") else b"\0") * plane.buffer_size)
        frame.sample_rate, frame.time_base, frame.pts = like.sample_rate, self.base, round(self._end / self.base)
        return frame

    def _resampler(self, frame: AudioFrame) -> Graph:
        """From frames like this one to the encoder's, by their times: cut before 0, filled where one is missing."""
        graph = Graph()
        begin = graph.add_abuffer(
            sample_rate=frame.sample_rate, format=frame.format.name, layout=frame.layout.name, time_base=self.base
        )
        filled = graph.add("aresample", "async=1:first_pts=0")
        graph.link_nodes(begin, filled, graph.add("aformat", self._wanted), graph.add("abuffersink")).configure()
        return graph

    def _through(self, graph: Graph, frame: AudioFrame | None) -> list[Packet]:
        """The packets that are ready after one more frame went through the filter, or after the last."""
        graph.push(frame)
        packets: list[Packet] = []
        while True:
            try:
                ready = graph.pull()
            except (NothingReadyError, AtEndError):
                return packets
            assert isinstance(ready, AudioFrame), "what is pushed is sound, so what comes out is"
            packets += self._out.encode(ready)


def _opened(path: Path) -> InputContainer:
    """The container of a video that could be read before."""
    with decoder_faults(path):
        return open_container(io.BytesIO(read_member(path)) if is_member(path) else str(path.absolute()))
