"""What a few bytes claim is checked before memory is taken: each in a process that gets little of it."""

import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import open_clip  # noqa: F401 - else a test would take the memory of its code
import PIL.Image
import pytest
import torch

from made import taken, write_image, write_video
from texthead import prompts
from texthead.datasets import read_dataset
from texthead.decoding import check, open_media
from texthead.files import read_json
from texthead.label_files import read_labels
from texthead.openclip import load_openclip
from texthead.parts import _listed
from texthead.runs import load_weights
from texthead.weights import read_tensors

MEGABYTE = 2**20
# What an honest reader takes beside: code that is loaded, a file that is small.
MOST = 150 * MEGABYTE
GIGABYTE = 2**30
SIDE = 60_000


def refuses(call: Callable[[], object], *words: str, room: int = 2**30) -> None:
    said, grown = taken(call, room)
    assert grown < MOST, f"{grown / MEGABYTE:.0f} MB; {said}"
    assert said.split(":")[0] in ("DataError", "MediaError", "RunError", "EncoderError"), said
    assert all(word in said for word in words), said
    assert "\n" not in said


def sparse(path: Path, size: int, content: bytes = b"") -> Path:
    """A file of a size that takes no disk: the content, then zeros."""
    with path.open("wb") as file:
        file.write(content)
        file.truncate(size)
    return path


def test_the_measure_sees_what_is_taken(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a", 400 * MEGABYTE)
    said, grown = taken(path.read_bytes)
    assert said == "no error"
    assert grown > 350 * MEGABYTE
    said, _ = taken(sparse(tmp_path / "b", 4 * GIGABYTE).read_bytes)
    assert said.startswith("MemoryError")


# --- pictures and videos


def png(path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**7))) + chunk(b"IEND", b""))


def jpeg(path: Path) -> None:
    data = bytearray(write_image(path, "red").read_bytes())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", SIDE, SIDE)
    path.write_bytes(data)


def gif(path: Path) -> None:
    data = bytearray(write_image(path.with_suffix(".gif"), "red").read_bytes())
    data[6:10] = struct.pack("<HH", SIDE, SIDE)
    path.write_bytes(data)


def bmp(path: Path) -> None:
    data = bytearray(write_image(path, "red").read_bytes())
    data[18:26] = struct.pack("<ii", SIDE, SIDE)
    path.write_bytes(data)


def tiff(path: Path) -> None:
    PIL.Image.new("RGB", (48, 48)).save(path, compression="tiff_deflate")
    data = path.read_bytes()
    for tag in (256, 257):
        for size in (48,):
            entry = struct.pack("<HHI", tag, 4, 1) + struct.pack("<I", size)
            short = struct.pack("<HHI", tag, 3, 1) + struct.pack("<I", size)
            new = struct.pack("<HHI", tag, 4, 1) + struct.pack("<I", SIDE)
            assert entry in data or short in data
            data = data.replace(entry, new).replace(short, new)
    path.write_bytes(data)


def mp4(path: Path) -> None:
    """Both sizes of the track: in its header in 16.16, and with the codec in 16 bits."""
    data = write_video(path, "red").read_bytes()
    sizes = {struct.pack(">II", 48 << 16, 48 << 16): struct.pack(">II", SIDE << 16, SIDE << 16)}
    sizes[struct.pack(">HHI", 48, 48, 0x480000)] = struct.pack(">HHI", SIDE, SIDE, 0x480000)
    for old, new in sizes.items():
        assert old in data
        data = data.replace(old, new)
    # The pictures themselves claim something too: without them only the header is left to believe.
    place = data.index(b"avcC")
    path.write_bytes(data[:place] + b"none" + data[place + 4 :])


def avi(path: Path) -> None:
    data = write_video(path, "red").read_bytes()
    old = struct.pack("<ii", 48, 48)
    assert old in data
    path.write_bytes(
        data.replace(old, struct.pack("<ii", SIDE, SIDE)).replace(b"H264", b"DIB ").replace(b"h264", b"DIB ")
    )


MEDIA = {
    "a.png": png,
    "a.jpg": jpeg,
    "a.gif": gif,
    "b.webp": gif,
    "a.bmp": bmp,
    "a.tif": tiff,
    "a.mp4": mp4,
    "a.avi": avi,
}


@pytest.mark.parametrize("name", MEDIA)
def test_pictures_of_sixty_thousand_pixels_a_side(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    MEDIA[name](path)
    refuses(lambda: check(path), name)


# --- weights


@pytest.mark.parametrize("header", [2 * GIGABYTE, 2**63 - 1, 2**64 - 1, 101 * MEGABYTE])
@pytest.mark.parametrize("size", [16, 2 * GIGABYTE + 16])
def test_a_header_of_safetensors_of_two_gigabytes(tmp_path: Path, header: int, size: int) -> None:
    path = sparse(tmp_path / "a.safetensors", size, struct.pack("<Q", header) + b"{")
    refuses(lambda: read_tensors(path), "a.safetensors")
    refuses(lambda: load_weights(path, torch.nn.Linear(2, 2)), "a.safetensors")


def test_a_tensor_of_a_terabyte_in_safetensors(tmp_path: Path) -> None:
    about = json.dumps({"weight": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}).encode()
    content = struct.pack("<Q", len(about)) + about
    for size in (len(content) + 100, len(content) + 2**40):
        path = sparse(tmp_path / "a.safetensors", size, content)
        for room in (GIGABYTE, 2**42):
            refuses(partial(load_weights, path, torch.nn.Linear(2, 2)), "a.safetensors", room=room)


@pytest.mark.parametrize("script", [False, True])
def test_a_zip_of_weights_that_unpacks_to_two_gigabytes(tmp_path: Path, script: bool) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a/data.pkl", "w", force_zip64=True) as file:
            for _ in range(64):
                file.write(bytes(32 * MEGABYTE))
        archive.writestr("a/constants.pkl" if script else "a/version", b"3")
    assert path.stat().st_size < 4 * MEGABYTE
    refuses(lambda: read_tensors(path), "a.pt")


def test_a_tensor_that_repeats_one_value(tmp_path: Path) -> None:
    """A stride of 0 lets one number stand for any number of them."""
    torch.save({"a": torch.zeros(1).expand(2**20, 2**20)}, tmp_path / "a.pt")
    refuses(lambda: read_tensors(tmp_path / "a.pt"), "a.pt", "'a' claims (1048576, 1048576)")


# --- text


def test_json_of_a_gigabyte(tmp_path: Path) -> None:
    path = sparse(tmp_path / "open_clip_config.json", GIGABYTE, b"{")
    refuses(lambda: read_json(path), "more than 16,777,216 bytes")
    refuses(lambda: prompts.read_classes(str(path)), "more than 16,777,216 bytes")
    refuses(lambda: load_openclip("openclip:x", f"local-dir:{tmp_path}"), "no open_clip model")


def test_json_that_is_nested_a_million_times(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * 10**6)
    refuses(lambda: read_json(path), "nested too deeply")
    refuses(lambda: prompts.read_classes(str(path)), "nested too deeply")


def test_an_index_of_shards_of_a_gigabyte(tmp_path: Path) -> None:
    sparse(tmp_path / "shards.json", GIGABYTE, b"{")
    refuses(lambda: read_dataset(tmp_path), "shards.json: cannot be read (holds more than")
    sparse(tmp_path / "shard-000000.json", GIGABYTE, b"{")
    sparse(tmp_path / "shard-000000.tar", GIGABYTE)
    refuses(lambda: open_media(tmp_path / "shard-000000.tar" / "000000000.avi"), "holds more than")


@pytest.fixture(scope="module")
def ten_million_lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lines") / "a.csv"
    with path.open("wb") as file:
        file.write(b"id,name,path,label\n")
        for start in range(0, 10_000_000, 100_000):
            file.write(b"".join(b"%d,n%d,a.png,b\n" % (number, number) for number in range(start, start + 100_000)))
    return path


def test_ten_million_lines(ten_million_lines: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("id,name\n0,a\n")
    names = tmp_path / "names.txt"
    names.symlink_to(ten_million_lines)
    refuses(lambda: read_labels(ten_million_lines), "not a readable label file (holds more than")
    refuses(lambda: read_dataset(ten_million_lines), "has more than 4,000,000 lines")
    refuses(lambda: read_dataset(names, labels=labels), "has more than 4,000,000 lines")
    refuses(lambda: prompts.read_names(str(names)), "holds more than")
    refuses(lambda: prompts.read_template(str(names)), "holds more than")


@pytest.mark.parametrize("byte", [b"\0", b"a", b'"'])
def test_one_endless_line(tmp_path: Path, byte: bytes) -> None:
    """Zeros, or a quoted field that is never closed."""
    manifest, text = (sparse(tmp_path / name, GIGABYTE, 10**6 * byte) for name in ("a.csv", "a.txt"))
    labels = tmp_path / "labels.csv"
    labels.write_text("id,name\n0,a\n")
    refuses(lambda: read_dataset(manifest), "a.csv")
    refuses(lambda: read_labels(manifest), "a.csv")
    refuses(lambda: read_dataset(text, labels=labels), "a.txt")
    refuses(lambda: list(_listed(manifest)), "a.csv")
    refuses(lambda: list(_listed(text)), "a.txt")
