"""Small videos that are hard to decode: motion, codecs, rotation, cuts and damage."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, RATE = 64, 48, 25


X264 = "keyint=10:scenecut=0:bframes=3:log-level=none"


def scene(count: int, width: int = WIDTH, height: int = HEIGHT) -> list[np.ndarray]:
    """A textured picture that slides along, so that decoders must predict and every frame differs."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    large = np.kron(coarse, np.ones((4, 4, 1), np.uint8))
    return [np.ascontiguousarray(np.roll(large, (3 * i, 5 * i), (0, 1))) for i in range(count)]


def encode(
    path: Path,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    count: int = 36,
    times: list[int] | None = None,
    container_options: dict[str, str] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    gop: int | None = None,
    b_frames: int | None = None,
) -> Path:
    """A small video of `scene`; `times` are in 1/25 s."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        if gop is not None:
            stream.codec_context.gop_size = gop
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        for i, picture in enumerate(scene(count, *size)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = (times[i] if times else i), Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def x264(path: Path, extra: str = "", **kwargs) -> Path:
    return encode(path, options={"x264-params": X264 + extra}, **kwargs)


def turn(source: Path, target: Path, degrees: int) -> Path:
    """The same packets in a container that says how far to turn them."""
    with av.open(str(source)) as opened, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(opened.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in opened.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return target


def truncate(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def packet_place(path: Path, number: int) -> tuple[int, int]:
    """Where in the file a packet's bytes start, and how many they are."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        return packet.pos, packet.size


def damage(path: Path, number: int) -> None:
    """Overwrites most of one packet in the file."""
    place, size = packet_place(path, number)
    data = bytearray(path.read_bytes())
    data[place + size // 4 : place + size] = b"\xff" * (size - size // 4)
    path.write_bytes(data)


def lossless(path: Path, frames: list[np.ndarray]) -> Path:
    """The same pictures as a video that keeps every bit."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        (stream.height, stream.width), stream.pix_fmt = frames[0].shape[:2], "bgr0"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode(None))
    return path
