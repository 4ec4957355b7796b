"""Small files that are made to take all memory or time, and what `texthead predict` makes of each.

`PYTHONPATH=tests python -m crafted [NAME ...]` prints a table: outcome, seconds, and the peak memory of the process.
"""

import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image

from made import encode, pictures, sound, write_image, write_video, write_with_sound
from media_files import box, heic, tiled, truncate, x264
from texthead.data.prepare import motion_jpeg

# Sides: claimed; of a picture and a frame just below the limit.
SIDE, MOST, MOST_OF_FRAME = 60_000, 9400, 6680


# ---- pictures


def swap(path: Path, old: bytes, new: bytes, count: int = -1) -> None:
    """Replace bytes, which must occur."""
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, count))


def sides(form: str, *behind: int, shift: int = 0, side: int = SIDE) -> tuple[bytes, bytes]:
    """Return the bytes of the real sides and of the sides to claim."""
    old, new = (struct.pack(form, each << shift, each << shift, *behind) for each in (48, side))
    return old, new


def claimed(path: Path, form: str, written: str = "") -> None:
    """Write a picture with other sides in its header; `written` is the suffix of its format."""
    swap(write_image(path.with_suffix(written or path.suffix), "red").rename(path), *sides(form), count=1)


def claimed_png(path: Path) -> None:
    data = write_image(path, "red").read_bytes()
    header = chunk(b"IHDR", struct.pack(">II", SIDE, SIDE) + data[24:29])
    path.write_bytes(data[:8] + header + data[33:])


def claimed_tiff(path: Path) -> None:
    PIL.Image.new("RGB", (48, 48)).save(path, compression="tiff_deflate")
    for tag in (256, 257):
        (old,) = [e for kind in (3, 4) if (e := struct.pack("<HHII", tag, kind, 1, 48)) in path.read_bytes()]
        swap(path, old, struct.pack("<HHII", tag, 4, 1, SIDE))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(path: Path, side: int, depth: int = 16, kind: int = 6, channels: int = 4, more: bytes = b"") -> None:
    """Write a black picture, after more chunks."""
    packed, row = zlib.compressobj(9), bytes(1 + side * channels * depth // 8)
    data = b"".join([packed.compress(row) for _ in range(side)]) + packed.flush()
    header = chunk(b"IHDR", struct.pack(">2I5B", side, side, depth, kind, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def saved(path: Path, mode: str = "RGB", side: int = MOST, **options: Any) -> None:
    PIL.Image.new(mode, (side, side)).save(path, **options)


def scans(side: int, count: int) -> bytes:
    """Return a grey progressive JPEG whose one coefficient a block is sent again and again, in 64 bytes each time."""

    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, 2 + len(data)) + data

    blocks = (side // 8) ** 2
    code = b"\1" + bytes(15)
    parts = [b"\xff\xd8", segment(0xDB, b"\0" + bytes(64 * [1]))]
    parts += [segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")]
    # One code, the bit 0: no difference; the end of 2^14 blocks and as many more as the next 14 bits say.
    parts += [segment(0xC4, b"\0" + code + b"\0"), segment(0xC4, b"\x10" + code + b"\xe0")]
    parts += [segment(0xDA, b"\1\1\0\0\0\0"), bytes(-(-blocks // 8))]
    ends = -(-blocks // 2**14)
    parts += count * [segment(0xDA, b"\1\1\0\1\x3f\0") + bytes(-(-15 * ends // 8))]
    return b"".join(parts) + b"\xff\xd9"


def endless_tiff(path: Path) -> None:
    """Write a directory that names itself as the next one."""
    tags = [(256, 48), (257, 48), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 48), (279, 48 * 48)]
    entries = b"".join(struct.pack("<2H2I", tag, 4, 1, value) for tag, value in tags)
    at = 8 + 48 * 48
    end = struct.pack("<H", len(tags)) + entries + struct.pack("<I", at)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, at) + bytes(48 * 48) + end)


def gif(path: Path, side: int, frames: int = 32) -> None:
    """Write frames of one pixel on a large canvas."""
    dot = b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    frame = b"\x21\xf9\x04\x00\x04\x00\x00\x00" + dot
    head = b"GIF89a" + struct.pack("<2H3B", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    path.write_bytes(head + frames * frame + b";")


def animated(path: Path, frames: int, side: int = 1000) -> None:
    stills = [PIL.Image.new("RGB", (side, side), (number % 256, 0, 0)) for number in range(frames)]
    stills[0].save(path, save_all=True, append_images=stills[1:])


def layers_in_layers(path: Path, levels: int = 40) -> None:
    items = range(3, 2 * levels + 3)
    uses = [box(b"dimg", struct.pack(">4H", item, 2, (item - 1) // 2 * 2 - 1, (item - 1) // 2 * 2)) for item in items]
    content = box(b"iref", bytes(4) + b"".join(uses))
    path.write_bytes(box(b"ftyp", b"heic" + bytes(4) + b"mif1heic") + box(b"meta", bytes(4) + content))


# ---- videos


def patched(path: Path, kind: bytes, *numbers: int, at: int = 8) -> None:
    """Write numbers into the last box of a kind, starting at an offset."""
    data = bytearray(path.read_bytes())
    struct.pack_into(f">{len(numbers)}I", data, data.rindex(kind) - 4 + at, *numbers)
    path.write_bytes(data)


def replaced(path: Path, kind: bytes, *numbers: int, within: tuple[bytes, ...]) -> None:
    """Replace the last box of a kind, and adjust the sizes of those around it."""
    data = path.read_bytes()
    at = data.rindex(kind) - 4
    (old,) = struct.unpack_from(">I", data, at)
    new = struct.pack(f">I4s{len(numbers)}I", 8 + 4 * len(numbers), kind, *numbers)
    path.write_bytes(data[:at] + new + data[at + old :])
    for outer in within:
        (size,) = struct.unpack_from(">I", data, data.rindex(outer) - 4)
        patched(path, outer, size + len(new) - old, at=0)


def samples(path: Path, count: int) -> None:
    """Claim one-byte samples of equal duration in one chunk: three tables with one row each."""
    write_video(path, "red")
    patched(path, b"stsz", 0, 1, count)
    patched(path, b"stts", 1, count, at=12)
    patched(path, b"stsc", 1, 1, count, at=12)


def fragments(path: Path, count: int) -> None:
    """Claim one run of samples without an entry for each."""
    encode(path, pictures("red", 6, 0), "mpeg4", container_options={"movflags": "frag_keyframe+empty_moov"})
    patched(path, b"trun", 0, count)


def edits(path: Path, count: int) -> None:
    """Claim a hundred edits, each of which repeats all samples."""
    samples(path, count // 100)
    replaced(path, b"elst", 0, 100, *100 * (count, 0, 1 << 16), within=(b"edts", b"trak", b"moov"))


def sound_samples(path: Path, count: int, chunks: int = 1000) -> None:
    """Claim uncompressed sound, with all chunks at the same offset."""
    write_with_sound(path, 1)
    patched(path, b"stsz", 0, 2, 2**32 - 1)
    patched(path, b"stts", 1, 2**32 - 1, at=12)
    patched(path, b"stsc", 1, 1, 1024 * count // chunks, at=12)
    replaced(path, b"stco", 0, chunks, *chunks * (36,), within=(b"stbl", b"minf", b"mdia", b"trak", b"moov"))


def large_video(path: Path) -> None:
    """Change both sides in the track header (16.16 fixed point) and in the codec entry (16 bits)."""
    swap(write_video(path, "red"), *sides(">II", shift=16, side=30_000))
    swap(path, *sides(">HHI", 0x480000, side=30_000))
    # Remove the codec data, which also states the size, so that only the header is left.
    swap(path, b"avcC", b"none", count=1)


def raw_video(path: Path) -> None:
    swap(write_video(path, "red"), *sides("<ii"))
    path.write_bytes(path.read_bytes().replace(b"H264", b"DIB ").replace(b"h264", b"DIB "))


def endless(path: Path) -> None:
    """Claim a duration of years, of the file and of its stream."""
    write_video(path, "red")
    patched(path, b"mvhd", 2**32 - 2, at=24)
    patched(path, b"mdhd", 2**32 - 2, at=24)
    patched(path, b"stts", 1, 6, 2**31, at=12)


def tiny_packets(path: Path, count: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 48, "yuvj420p"
        for number in range(count):
            packet = av.Packet(b"\xff\xd8\xff\xd9")
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = number
            container.mux(packet)


def large_frames(path: Path) -> None:
    """Write frames at the limit of pixels, all of one colour."""
    encode(path, 16 * [np.zeros((MOST_OF_FRAME, MOST_OF_FRAME, 3), np.uint8)], "mpeg4")


CRAFTED: dict[str, Callable[[Path], object]] = {
    "claims 60,000 a side.png": claimed_png,
    "30,000 a side.png": partial(png, side=30_000, depth=1, kind=0, channels=1),
    "88 megapixels of 16 bits.png": partial(png, side=MOST),
    "a gigabyte of text.png": lambda path: png(
        path, 48, more=8 * chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**27), 9))
    ),
    "claims 60,000 a side.jpg": partial(claimed, form=">HH"),
    "88 megapixels, progressive.jpg": partial(saved, progressive=True, subsampling=0),
    "88 megapixels of 16,000 scans.jpg": lambda path: path.write_bytes(scans(MOST, 16_000)),
    "truncated.jpg": lambda path: (saved(path, side=4000), truncate(path, 0.5)),
    "empty.jpg": lambda path: path.write_bytes(b""),
    "zeros.jpg": lambda path: path.write_bytes(bytes(10**6)),
    "claims 60,000 a side.tif": claimed_tiff,
    "a thousand large tiles.tif": partial(tiled, width=16, height=16_000, tile=(2**20, 16)),
    "directory of itself.tif": endless_tiff,
    "88 megapixels in one strip.tif": partial(saved, mode="RGBA", compression="tiff_deflate", tiffinfo={278: MOST}),
    "claims 60,000 a side.webp": partial(claimed, form="<HH", written=".gif"),
    "88 megapixels.webp": partial(saved, method=0),
    "a thousand pictures.webp": partial(animated, frames=1000),
    "a thousand pictures.png": partial(animated, frames=1000),
    "88 megapixels, RGBA.avif": partial(saved, mode="RGBA", speed=10),
    "88 megapixels, RGBA.jp2": partial(saved, mode="RGBA"),
    "claims 60,000 a side.bmp": partial(claimed, form="<ii"),
    "86 megapixels.heic": lambda path: heic(path, np.zeros((9280, 9280, 3), np.uint8)),
    "layers in layers.heic": layers_in_layers,
    "756 bytes, 44 megapixels.gif": partial(gif, side=MOST_OF_FRAME),
    "claims 60,000 a side.gif": partial(gif, side=SIDE),
    "a million frames.gif": partial(gif, side=64, frames=10**6),
    "lists 80 million samples.mp4": partial(samples, count=8 * 10**7),
    "lists 20 million samples.mp4": partial(samples, count=2 * 10**7),
    "lists 80 million fragments.mp4": partial(fragments, count=8 * 10**7),
    "lists 80 million edits.mp4": partial(edits, count=8 * 10**7),
    "lists 80 million of sound.mov": partial(sound_samples, count=8 * 10**7),
    "claims 30,000 a side.mp4": large_video,
    "claims 60,000 a side.avi": raw_video,
    "lasts 800 years.mp4": endless,
    "16 frames of 44 megapixels.mp4": large_frames,
    "800,000 packets.avi": partial(tiny_packets, count=800_000),
    "16,000 scans a frame.avi": lambda path: path.write_bytes(
        motion_jpeg(8 * [scans(6400, 16_000)], Fraction(8), height=6400, width=6400)
    ),
    "truncated.mp4": lambda path: truncate(x264(path, count=200), 0.6),
    "sound only.mp4": sound,
}


# Run by a process that is small itself: a new process counts the memory of the one that starts it.
_MEASURED = """import os, subprocess, sys, time
begun, process = time.monotonic(), subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
printed = process.stdout.read()
_, status, used = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.stdout.flush()
sys.stdout.buffer.write(printed)"""


def measured(words: Sequence[object]) -> tuple[int, float, float, float, str]:
    """Return (exit code, seconds, CPU seconds, peak megabytes, all it prints) of a command."""
    command = [sys.executable, "-c", _MEASURED, sys.executable, "-m", "texthead", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    about, _, printed = done.stdout.partition("\n")
    code, seconds, used, peak = about.split()
    return int(code), float(seconds), float(used), int(peak) / 1024, printed


def main() -> None:
    """Print the table."""
    print("| file | bytes | exit code | s | CPU s | MB | outcome |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or CRAFTED:
            path = Path(folder) / name
            CRAFTED[name](path)
            quick = ("--classes", "red, blue", "--workers", os.environ.get("WORKERS", "0"))
            code, seconds, used, peak, printed = measured(["predict", path, *quick])
            assert "Traceback" not in printed, printed
            outcome = printed.strip().splitlines()[-1].replace(f"{path}: ", "").removeprefix("texthead: ")
            size = f"{path.stat().st_size:,}"
            numbers = f"{code} | {seconds:.0f} | {used:.0f} | {peak:.0f}"
            print(f"| {name} | {size} | {numbers} | {outcome if code else 'read':.160} |", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
