"""Decoding a small file that claims large pictures takes at most 512 MB, or is refused beforehand.

Each call runs in its own process with a memory limit.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from made import taken
from media_files import box, heic, tiled
from messages import refuses
from texthead.apps.doctor.facts import facts_of, thumbnail_of
from texthead.apps.serving.previews import preview
from texthead.data import Dataset, Item, Pixels, Protocol, Views
from texthead.data.clips import TrainClips, ViewClips
from texthead.data.prepare import ShardOptions, encoded, motion_jpeg
from texthead.errors import MediaError
from texthead.media import Image, MediaPath
from texthead.media.limits import BYTES_A_MEGAPIXEL, MAX_MEGAPIXELS, MAX_SCANS, set_max_megapixels
from texthead.recipes import Recipe

# The pictures, plus loaded code and the crop.
MOST = MAX_MEGAPIXELS * BYTES_A_MEGAPIXEL + 100 * 2**20
SIDE, FRAMES = 9300, 32


def gif(path: Path, side: int = SIDE) -> Path:
    """Write frames of one pixel on a large canvas: 756 bytes."""
    dot = b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    frame = b"\x21\xf9\x04\x00\x04\x00\x00\x00" + dot
    head = b"GIF89a" + struct.pack("<2H3B", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    path.write_bytes(head + FRAMES * frame + b";")
    return path


def png(path: Path, depth: int, kind: int, channels: int, side: int = SIDE) -> Path:
    """Write a black picture."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packed, row = zlib.compressobj(9), bytes(1 + side * channels * depth // 8)
    data = b"".join([packed.compress(row) for _ in range(side)]) + packed.flush()
    header = struct.pack(">2I5B", side, side, depth, kind, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def saved(path: Path, mode: str = "RGB", **options: Any) -> Path:
    PIL.Image.new(mode, (SIDE, SIDE)).save(path, **options)
    return path


def scans(path: Path, side: int, groups: Sequence[bytes]) -> Path:
    """Write a grey baseline JPEG at full resolution of colours, with a scan for each group of components."""

    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, 2 + len(data)) + data

    one_code = b"\1" + bytes(15) + b"\0"  # The bit 0: no difference, or the end of the block.
    parts = [b"\xff\xd8", segment(0xDB, b"\0" + bytes(64 * [1]))]
    parts.append(
        segment(0xC0, struct.pack(">BHHB", 8, side, side, 3) + b"".join(bytes((i, 0x11, 0)) for i in b"\1\2\3"))
    )
    parts += [segment(0xC4, bytes([kind]) + one_code) for kind in (0x00, 0x10)]
    for group in groups:
        bits = 2 * len(group) * (side // 8) ** 2
        header = bytes([len(group)]) + b"".join(bytes((i, 0)) for i in group) + b"\0\x3f\0"
        parts += [segment(0xDA, header), bytes(bits // 8)]
    path.write_bytes(b"".join(parts) + b"\xff\xd9")
    return path


FILES: dict[str, Callable[[Path], Path]] = {
    "frames.gif": gif,
    "rgba of 16 bits.png": partial(png, depth=16, kind=6, channels=4),
    "grey of 16 bits.png": partial(png, depth=16, kind=0, channels=1),
    "baseline.jpg": saved,
    "progressive.jpg": partial(saved, progressive=True, subsampling=0),
    "cmyk.jpg": partial(saved, mode="CMYK", progressive=True),
    "a.webp": partial(saved, method=0),
    "a.avif": partial(saved, mode="RGBA", speed=10),
    "a.jp2": partial(saved, mode="RGBA"),
    "a.heic": lambda path: heic(path, np.zeros((SIDE // 2, SIDE // 2, 3), np.uint8)),
    "one strip.tif": partial(saved, mode="RGBA", compression="tiff_deflate", tiffinfo={278: SIDE}),
}


def raised(result: object) -> object:
    if isinstance(result, MediaError):
        raise result
    return result


def trained(path: Path) -> object:
    clips = TrainClips(
        Dataset((Item(path, "a"),), "here"), ["a"], Recipe("test", frames=FRAMES, flip=0.5), Pixels(224, 256, "bicubic")
    )
    return raised(clips[0, 0][0])


def viewed(path: Path, antialias: bool = True) -> object:
    pixels = Pixels(224, 256, "bicubic", antialias=antialias)
    return raised(ViewClips([path], Protocol(FRAMES, pixels, Views(1, 3)))[0])


WAYS: dict[str, Callable[[Path], object]] = {
    "view": viewed,
    "view without antialias": partial(viewed, antialias=False),
    "train": trained,
    "doctor": facts_of,
    "thumbnail": thumbnail_of,
    "prepare": lambda path: encoded(path, ShardOptions(frames=FRAMES)),
    "preview": preview,
}


def check_memory(path: Path, way: str) -> None:
    torch.set_num_threads(1)
    message, grown = taken(partial(WAYS[way], path), 8 * 2**30)
    assert message == "no error" or (message.startswith("MediaError") and "raise `max_megapixels`" in message), message
    assert grown < MOST, f"{grown / 2**20:.0f} MB"


@pytest.mark.parametrize("way", WAYS)
def test_a_gif_of_756_bytes(tmp_path: Path, way: str) -> None:
    check_memory(gif(tmp_path / "a.gif"), way)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FILES)
def test_a_small_file_of_large_pictures(tmp_path: Path, name: str, way: str) -> None:
    if name.endswith(".heic"):
        pytest.importorskip("pi_heif")
    check_memory(FILES[name](tmp_path / name), way)


@pytest.mark.slow
def test_frames_are_scaled_as_they_are_decoded(tmp_path: Path) -> None:
    """Each frame is within the limit, but all 32 at once would take 864 MB."""
    path = gif(tmp_path / "a.gif", side=3000)
    for way in ("view", "train", "preview"):
        message, grown = taken(partial(WAYS[way], path), 8 * 2**30)
        assert message == "no error"
        assert grown < 500 * 2**20, f"{way}: {grown / 2**20:.0f} MB"


@pytest.mark.parametrize("form", ["JPEG", "MPO"])
def test_pictures_at_the_limit_are_whole(tmp_path: Path, form: str) -> None:
    """A 50-megapixel phone photo is decoded at full size; phones also add a smaller picture to the file (MPO)."""
    path, more = tmp_path / "a.jpg", [PIL.Image.new("RGB", (64, 48))] if form == "MPO" else []
    PIL.Image.new("RGB", (8192, 6144), "red").save(path, form, save_all=bool(more), append_images=more)
    with MediaPath(path).open() as media:
        ((_, picture),) = media.pictures({0})
    assert picture.shape == (6144, 8192, 3)


def test_a_picture_of_a_shard_is_read_again_and_again(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (40, 30), "red").save(tmp_path / "a.jpg")
    with Image(tmp_path / "clip.jpg", (tmp_path / "a.jpg").read_bytes()) as image:
        for _ in range(2):
            assert dict(image.pictures({0}))[0].shape == (30, 40, 3)
            assert not image.turned


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A 33-megapixel picture that takes 19 bytes per pixel to decode: the memory of 209 megapixels."""
    path = tmp_path / "a.webp"
    PIL.Image.new("RGB", (6000, 5500), "red").save(path, method=0)
    return path


@pytest.mark.slow
def test_a_larger_picture_is_read_where_the_limit_is_raised(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTHEAD_MAX_MEGAPIXELS", "179")  # Restored at the end.
    limit = "takes the memory of 209 megapixels, the limit is 179; scale it down or raise `max_megapixels`"
    for way in (viewed, trained, preview, lambda path: encoded(path, ShardOptions())):
        with pytest.raises(MediaError, match=limit):
            way(large)
    assert limit in facts_of(large).problem
    set_max_megapixels(209)
    assert facts_of(large).width == 6000
    assert encoded(large, ShardOptions()).data
    assert preview(large)[1]


@pytest.mark.parametrize("groups", [[b"\1", b"\2", b"\3"], [b"\1\2", b"\3"], [b"\1\2\3"]])
def test_a_jpeg_of_several_scans_needs_more_memory(tmp_path: Path, groups: list[bytes]) -> None:
    small = scans(tmp_path / "small.jpg", 64, groups)
    assert viewed(small) is not None
    with MediaPath(scans(tmp_path / "large.jpg", 8000, groups)).open() as media:
        if len(groups) == 1:
            assert dict(media.pictures({0}))[0].shape == (8000, 8000, 3)
        else:
            with pytest.raises(MediaError, match="takes the memory of 278 megapixels"):
                next(media.pictures({0}))


@pytest.mark.parametrize("name", ["a.jpg", "a.avi"])
def test_a_jpeg_of_a_thousand_scans(tmp_path: Path, name: str) -> None:
    """A megabyte of them, each of 64 bytes, would take libjpeg 200 CPU-seconds for 41 megapixels; 64 take three."""
    path = tmp_path / name
    picture = scans(tmp_path / "a", 64, 334 * [b"\1", b"\2", b"\3"]).read_bytes()
    path.write_bytes(picture if path.suffix == ".jpg" else motion_jpeg([picture], Fraction(8), height=64, width=64))
    with MediaPath(path).open() as media, refuses(MediaError, path, "1002 scans", MAX_SCANS):
        media.check()


def test_a_progressive_jpeg_of_any_size_is_read(tmp_path: Path) -> None:
    """In CMYK libjpeg writes the most scans; a video behind the picture may contain their marker."""
    path = tmp_path / "a.jpg"
    PIL.Image.new("CMYK", (6000, 5000)).save(path, progressive=True)
    path.write_bytes(path.read_bytes() + 1000 * b"\xff\xda\1")
    assert path.read_bytes().count(b"\xff\xda\0") == 18
    with MediaPath(path).open() as media:
        assert media.check() == 1


@pytest.mark.parametrize("tile", [(2**20, 16), (16, 2**20)])
def test_a_tiff_of_tiles_that_it_does_not_fill(tmp_path: Path, tile: tuple[int, int]) -> None:
    """All tiles are the same 16 kB of data; decoding a thousand would take 32 CPU-seconds."""
    width, height = (16, 16_000) if tile[1] == 16 else (16_000, 16)
    assert MediaPath(tiled(tmp_path / "small.tif", 100, 90, (64, 64))).open().check() == 1
    path = tiled(tmp_path / "a.tif", width, height, tile)
    with MediaPath(path).open() as media, refuses(MediaError, path, "memory of 22371 megapixels"):
        media.check()


def test_a_heic_of_a_tile_that_it_does_not_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pi_heif")
    path = heic(tmp_path / "a.heic", np.zeros((64, 64, 3), np.uint8), shown=(32, 48))
    with MediaPath(path).open() as media:
        assert dict(media.pictures({0}))[0].shape == (48, 32, 3)
    path = heic(path, np.zeros((1000, 1000, 3), np.uint8), shown=(32, 48))
    monkeypatch.setenv("TEXTHEAD_MAX_MEGAPIXELS", "3")
    with MediaPath(path).open() as media, refuses(MediaError, path, "claims 1000x1000 pixels"):
        media.check()


@pytest.mark.parametrize(("levels", "megapixels"), [(9, 134), (10, 268), (60, (2**61 - 1) * 2**17 // 10**6)])
def test_a_heic_of_layers_in_layers(tmp_path: Path, levels: int, megapixels: int) -> None:
    """Two layers of two layers each, and so on, in 2 kB: libheif would need hours to open 40 levels."""
    pytest.importorskip("pi_heif")
    items = range(3, 2 * levels + 3)
    uses = [box(b"dimg", struct.pack(">4H", item, 2, (item - 1) // 2 * 2 - 1, (item - 1) // 2 * 2)) for item in items]
    check_parts(tmp_path / "a.heic", box(b"iref", bytes(4) + b"".join(uses)), megapixels)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("layers", [11, 12])
def test_a_heic_of_many_layers(tmp_path: Path, layers: int, wide: bool) -> None:
    """Layers of 16 megapixels: 50 in 9 kB took 7 CPU-seconds. Their sizes come after the list of what they have.

    The wide numbers are in an AVIF.
    """
    pytest.importorskip(*(("PIL", "11.3") if wide else ("pi_heif",)))
    full, form, index = (b"\1\0\0\1", ">IBH", 0x8001) if wide else (bytes(4), ">HBB", 0x81)
    used = b"".join(struct.pack(form, item, 1, index) for item in range(1, layers + 1))
    sizes = box(b"ipco", box(b"ispe", bytes(4) + struct.pack(">2I", 4000, 4000)))
    uses = box(b"dimg", struct.pack(f">{layers + 2}H", layers + 1, layers, *range(1, layers + 1)))
    content = box(b"iprp", box(b"ipma", full + struct.pack(">I", layers) + used) + sizes)
    content += box(b"iref", bytes(4) + uses)
    check_parts(tmp_path / "a.heic", content, 16 * layers, b"avif" if wide else b"heic")


def check_parts(path: Path, content: bytes, megapixels: int, brand: bytes = b"heic") -> None:
    """Check that a picture of these boxes is refused for the pixels of its parts if they are too many."""
    full = bytes(4)
    path.write_bytes(box(b"ftyp", brand + full + b"mif1" + brand) + box(b"meta", full + content))
    problem = f"parts of {megapixels} megapixels, the limit is 179" if megapixels > 179 else "cannot be read"
    with refuses(MediaError, path, problem):
        MediaPath(path).open()
