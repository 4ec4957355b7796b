"""Small videos that are hard to decode: motion, codecs, rotation, cuts and damage; deep grey images."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

import made
from texthead.media import Media

WIDTH, HEIGHT, RATE = 64, 48, 25
X264 = "keyint=10:scenecut=0:bframes=3:log-level=none"


def scene(count: int, width: int = WIDTH, height: int = HEIGHT) -> list[np.ndarray]:
    """Return frames of a moving textured picture: decoders must predict motion, and every frame differs."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    large = np.kron(coarse, np.ones((4, 4, 1), np.uint8))
    return [np.ascontiguousarray(np.roll(large, (3 * i, 5 * i), (0, 1))) for i in range(count)]


def read_all(media: Media) -> int:
    """Decode every frame and return their number."""
    for _ in media.checked_frames(()):
        pass
    return media.num_frames


def encode(
    path: Path,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    count: int = 36,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    times: Sequence[int] | None = None,
    **more: Any,
) -> Path:
    """Write a small video of `scene`; `times` are in units of 1/25 s, `more` goes to `made.encode`."""
    return made.encode(path, scene(count, *size), codec, RATE, times or range(count), options=options, **more)


def x264(path: Path, extra: str = "", **kwargs) -> Path:
    return encode(path, options={"x264-params": X264 + extra}, **kwargs)


def remux(source: Path, target: Path, degrees: int = 0, kind: str = "video") -> Path:
    """Copy the packets to a container that rotates them by so many degrees; .mp4 and .mov get their index in front."""
    options = {"movflags": "+faststart"} if target.suffix in (".mov", ".mp4") else {}
    with av.open(str(source)) as opened, av.open(str(target), "w", options=options) as container:
        (taken,) = opened.streams.get({kind: 0})
        stream = container.add_stream_from_template(taken)
        if degrees:
            stream.set_display_rotation(degrees)
        for packet in opened.demux(taken):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return target


def sound_first(source: Path, target: Path, seconds: int) -> Path:
    """Copy a video to a container whose sound starts at 0 s and whose pictures start later."""
    with av.open(str(source)) as opened, av.open(str(target), "w") as container:
        (taken,) = opened.streams.video
        stream, sound = container.add_stream_from_template(taken), container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * seconds), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        for packet in opened.demux(taken):
            if packet.size:
                late = int(seconds / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + late, packet.dts + late, stream
                container.mux(packet)
    return target


def with_matrix(source: Path, target: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write an .mp4 whose display matrix maps a point (x, y) to (a x + c y, b x + d y)."""
    data = bytearray(source.read_bytes())
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    offset = data.index(upright, data.index(b"tkhd"))
    struct.pack_into(">9i", data, offset, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target


def truncate(path: Path, share: float) -> Path:
    """Truncate a file to this share of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def packet_place(path: Path, number: int) -> tuple[int, int]:
    """Return a packet's offset in the file and its size."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        return packet.pos, packet.size


def damage(path: Path, number: int) -> None:
    """Overwrite most of one packet in the file."""
    offset, size = packet_place(path, number)
    data = bytearray(path.read_bytes())
    data[offset + size // 4 : offset + size] = b"\xff" * (size - size // 4)
    path.write_bytes(data)


def lossless(path: Path, frames: Sequence[np.ndarray]) -> Path:
    """Write the frames as a lossless video."""
    return made.encode(path, frames, "ffv1", pix_fmt="bgr0")


def heic(path: Path, picture: np.ndarray, turn: bytes = b"") -> Path:
    """Write a picture of even sides as HEIC: the first frame of an HEVC video, as the one item of a container.

    Args:
        turn: one more property: `box(b"irot", b"\\1")` turns the picture to the left.
    """
    # With B frames, x265 gives the packet of a single frame a random time, which .mkv may refuse.
    options = {"x265-params": "log-level=none:bframes=0"}
    video = made.encode(path.with_suffix(".mkv"), [picture], "libx265", options=options)
    with av.open(str(video)) as container:
        config = container.streams.video[0].codec_context.extradata or b""
        data = b"".join(bytes(packet) for packet in container.demux(video=0) if packet.size)
    video.unlink()
    full, one = bytes(4), struct.pack(">H", 1)
    size = box(b"ispe", full + struct.pack(">2I", *picture.shape[1::-1]))
    used = bytes([3, 1, 2, 3]) if turn else bytes([2, 1, 2])
    properties = box(b"ipco", size + box(b"hvcC", config) + turn)
    properties += box(b"ipma", full + struct.pack(">IH", 1, 1) + used)
    name = box(b"infe", b"\2" + bytes(3) + struct.pack(">2H", 1, 0) + b"hvc1\0")

    def head(start: int) -> bytes:
        place = box(b"iloc", full + struct.pack(">2B2H2H2I", 0x44, 0, 1, 1, 0, 1, start, len(data)))
        parts = [box(b"hdlr", full + bytes(4) + b"pict" + bytes(13)), box(b"pitm", full + one), place]
        parts += [box(b"iinf", full + one + name), box(b"iprp", properties)]
        return box(b"ftyp", b"heic" + bytes(4) + b"mif1heic") + box(b"meta", full + b"".join(parts))

    path.write_bytes(head(len(head(0)) + 8) + box(b"mdat", data))
    return path


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box of an MP4 or HEIF file."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def write_grey_tiff(path: Path, values: np.ndarray, bits: int, *, white_is_zero: bool) -> Path:
    """Write grey values from 0 (black) to 1 as an uncompressed TIFF of 8, 12 or 16 bits; the width is even."""
    (height, width), most = values.shape, 2**bits - 1
    stored = np.round((1 - values if white_is_zero else values) * most).astype("<u2" if bits > 8 else "u1")
    data = stored.tobytes()
    if bits == 12:  # Two values in three bytes.
        first, second = stored.reshape(-1, 2).T
        packed = (first >> 4, (first & 15) << 4 | second >> 8, second & 255)
        data = np.stack(packed, 1).astype(np.uint8).tobytes()
    # Sizes, bits, no compression, photometric, offset of the data after nine entries, channels, rows, bytes.
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 8 + 2 + 12 * 9 + 4}
    tags |= {277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + data)
    return path
