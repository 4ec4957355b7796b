"""A file's claims are checked before memory is allocated; each file is read in a process with little memory."""

import contextlib
import functools
import http.server
import json
import re
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import ClassVar

import av
import open_clip
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file

from made import encode, pictures, taken, write_image, write_small_run, write_video, write_with_sound
from text_models import bert
from texthead.apps.bulk.bulk import _names
from texthead.data import Dataset, read_dataset
from texthead.data.prepare import ShardOptions, prepare
from texthead.encoders import load_encoder, save_openclip
from texthead.encoders.text_only import sentences
from texthead.encoders.weights import read_tensors
from texthead.files import read_json
from texthead.media import MediaPath, VideoStream, limits, shard, video
from texthead.parallel.progress import Reporter
from texthead.runs.folder import load_weights
from texthead.runs.run import load_run
from texthead.text import prompts, read_names
from texthead.text.label_files import read_labels

MEGABYTE = 2**20
# A correct reader allocates less, for loaded code and small files.
MOST = 150 * MEGABYTE
GIGABYTE = 2**30
SIDE = 60_000


def fails_cheaply(call: Callable[[], object], *parts: str, room: int = 2**30) -> None:
    """Check that a call takes little memory and raises a one-line error with the parts."""
    message, grown = taken(call, room)
    assert grown < MOST, f"{grown / MEGABYTE:.0f} MB; {message}"
    assert message.split(":")[0] in ("DataError", "MediaError", "RunError", "EncoderError"), message
    assert all(part in message for part in parts), message
    assert "\n" not in message


def sparse(path: Path, size: int, content: bytes = b"") -> Path:
    """Write a sparse file of a size: the content, then zeros."""
    with path.open("wb") as file:
        file.write(content)
        file.truncate(size)
    return path


def test_the_measure_sees_what_is_taken(tmp_path: Path) -> None:
    message, grown = taken(sparse(tmp_path / "a", 200 * MEGABYTE).read_bytes)
    assert message == "no error"
    assert grown > 175 * MEGABYTE
    assert taken(sparse(tmp_path / "b", 4 * GIGABYTE).read_bytes)[0].startswith("MemoryError")


def png(path: Path) -> None:
    data = write_image(path, "red").read_bytes()
    header = b"IHDR" + struct.pack(">II", SIDE, SIDE) + data[24:29]
    path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])


def swap(path: Path, old: bytes, new: bytes, count: int = -1) -> None:
    """Replace bytes, which must occur."""
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, count))


def sides(form: str, *behind: int, shift: int = 0) -> tuple[bytes, bytes]:
    """Return the bytes of the real sides and of the sides to claim."""
    old, new = (struct.pack(form, side << shift, side << shift, *behind) for side in (48, SIDE))
    return old, new


def still(path: Path, suffix: str, form: str) -> None:
    """Write a picture in the format of `suffix`, with other sides in its header."""
    swap(write_image(path.with_suffix(suffix), "red").rename(path), *sides(form), count=1)


def tiff(path: Path) -> None:
    PIL.Image.new("RGB", (48, 48)).save(path, compression="tiff_deflate")
    for tag in (256, 257):
        (old,) = [e for kind in (3, 4) if (e := struct.pack("<HHII", tag, kind, 1, 48)) in path.read_bytes()]
        swap(path, old, struct.pack("<HHII", tag, 4, 1, SIDE))


def mp4(path: Path) -> None:
    """Change both sides in the track header (16.16 fixed point) and in the codec entry (16 bits)."""
    swap(write_video(path, "red"), *sides(">II", shift=16))
    swap(path, *sides(">HHI", 0x480000))
    # Remove the codec data, which also states the size, so that only the header is left.
    swap(path, b"avcC", b"none", count=1)


def avi(path: Path) -> None:
    swap(write_video(path, "red"), *sides("<ii"))
    path.write_bytes(path.read_bytes().replace(b"H264", b"DIB ").replace(b"h264", b"DIB "))


MEDIA = {
    "a.png": png,
    "a.jpg": lambda path: still(path, ".jpg", ">HH"),
    "a.gif": lambda path: still(path, ".gif", "<HH"),
    "b.webp": lambda path: still(path, ".gif", "<HH"),
    "a.bmp": lambda path: still(path, ".bmp", "<ii"),
    "a.tif": tiff,
    "a.mp4": mp4,
    "a.avi": avi,
}


@pytest.mark.parametrize("name", MEDIA)
def test_pictures_of_sixty_thousand_pixels_a_side(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    MEDIA[name](path)
    fails_cheaply(lambda: MediaPath(path).open().check(), name)


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


def sound(path: Path, count: int, chunks: int = 1000) -> None:
    """Claim uncompressed sound, with all chunks at the same offset."""
    write_with_sound(path, 1)
    patched(path, b"stsz", 0, 2, 2**32 - 1)
    patched(path, b"stts", 1, 2**32 - 1, at=12)
    patched(path, b"stsc", 1, 1, 1024 * count // chunks, at=12)
    replaced(path, b"stco", 0, chunks, *chunks * (36,), within=(b"stbl", b"minf", b"mdia", b"trak", b"moov"))


TABLES = {"a.mp4": samples, "b.mp4": fragments, "c.mp4": edits, "a.mov": sound}


@pytest.mark.parametrize("count", [10**7, 8 * 10**7])
@pytest.mark.parametrize("name", TABLES)
def test_a_header_that_lists_many_millions_of_samples(tmp_path: Path, name: str, count: int) -> None:
    """FFmpeg allocates 73 bytes per sample when it opens the file."""
    path = tmp_path / name
    TABLES[name](path, count)
    assert path.stat().st_size < 250_000
    fails_cheaply(lambda: MediaPath(path).open().check(), "4194304", room=2**33)


def test_more_packets_than_a_header_may_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a frame count in the header, frames are counted as packets are listed."""
    path = write_video(tmp_path / "a.mkv", "red", frames=9)
    monkeypatch.setattr(limits, "MAX_FRAMES", 8)
    fails_cheaply(lambda: MediaPath(path).open().check(), "a.mkv", "9 frames", "1 and 8")
    monkeypatch.setattr(limits, "MAX_FRAMES", 9)
    assert MediaPath(path).open().check() == 9


@pytest.mark.slow
def test_tiny_packets_bounded_in_memory(tmp_path: Path) -> None:
    """Each four-byte packet takes half a kilobyte of memory."""
    path, count = tmp_path / "a.avi", 800_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 48, "yuvj420p"
        for number in range(count):
            packet = av.Packet(b"\xff\xd8\xff\xd9")
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = number
            container.mux(packet)

    def listed() -> None:
        with VideoStream(path) as stream:
            assert len(video.list_packets(stream)[0]) == count

    message, grown = taken(listed, 2**31)
    assert message == "no error"
    assert grown < video._HELD_BYTES + 250 * count


@pytest.mark.parametrize("header", [2 * GIGABYTE, 2**63 - 1, 2**64 - 1, 101 * MEGABYTE])
@pytest.mark.parametrize("size", [16, 2 * GIGABYTE + 16])
def test_a_header_of_safetensors_of_two_gigabytes(tmp_path: Path, header: int, size: int) -> None:
    path = sparse(tmp_path / "a.safetensors", size, struct.pack("<Q", header) + b"{")
    fails_cheaply(lambda: read_tensors(path), "a.safetensors")
    fails_cheaply(lambda: load_weights(path, torch.nn.Linear(2, 2)), "a.safetensors")


def test_a_tensor_of_a_terabyte_in_safetensors(tmp_path: Path) -> None:
    about = json.dumps({"weight": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}).encode()
    content = struct.pack("<Q", len(about)) + about
    for size in (len(content) + 100, len(content) + 2**40):
        path = sparse(tmp_path / "a.safetensors", size, content)
        for room in (GIGABYTE, 2**42):
            fails_cheaply(partial(load_weights, path, torch.nn.Linear(2, 2)), "a.safetensors", room=room)


@pytest.mark.slow
def test_a_zip_of_weights_that_unpacks_to_much_more(tmp_path: Path) -> None:
    """As a checkpoint, and with the file that makes it TorchScript."""
    path = tmp_path / "a.pt"
    for mode, name, content in (("w", "a/data.pkl", bytes(256 * MEGABYTE)), ("a", "a/constants.pkl", b"3")):
        with zipfile.ZipFile(path, mode, zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        assert path.stat().st_size < MEGABYTE
        fails_cheaply(lambda: read_tensors(path), "a.pt")


def test_a_tensor_that_repeats_one_value(tmp_path: Path) -> None:
    """With a stride of 0, one stored value can fill a tensor of any size."""
    torch.save({"a": torch.zeros(1).expand(2**20, 2**20)}, tmp_path / "a.pt")
    fails_cheaply(lambda: read_tensors(tmp_path / "a.pt"), "a.pt", "(1048576, 1048576)")


def small_run(folder: Path) -> tuple[Path, Callable[[], object]]:
    return write_small_run(folder) / "recipe.json", partial(load_run, folder)


def small_openclip(folder: Path) -> tuple[Path, Callable[[], object]]:
    """Write a small open_clip model, whose text tower is built when a text is encoded."""
    towers = {
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
    }
    save_openclip(folder, {"embed_dim": 8, **towers}, open_clip.CLIP(8, **towers).state_dict())
    load = partial(load_encoder, f"openclip:local-dir:{folder}")
    return folder / "open_clip_config.json", lambda: load().encode_text(["a"])


def small_bert(folder: Path) -> tuple[Path, Callable[[], object]]:
    bert(folder, 16)
    return folder / "config.json", partial(sentences, folder)


def small_torch_bert(folder: Path) -> tuple[Path, Callable[[], object]]:
    config, load = small_bert(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return config, load


TRANSFORMER = {"kind": "transformer", "dim": 256, "layers": 2}
# (writer of a model, value, path of its key in the settings)
NETWORKS = [
    (small_run, "timm:eva02_enormous_patch14_clip_224", "encoder", "architecture"),
    (small_run, {**TRANSFORMER, "dim": 2**20}, "temporal"),
    (small_run, {**TRANSFORMER, "width": 2**20}, "temporal"),
    (small_run, {**TRANSFORMER, "layers": 10**9}, "temporal"),
    (small_run, {**TRANSFORMER, "max_frames": 2**33}, "temporal"),
    (small_run, 2**33, "encoder", "dim"),
    (small_run, [2**17, 2**17], "head", "text_map"),
    (small_openclip, 2**20, "model_cfg", "vision_cfg", "width"),
    (small_openclip, 10**9, "model_cfg", "vision_cfg", "layers"),
    (small_openclip, 2**22, "model_cfg", "vision_cfg", "image_size"),
    (small_openclip, 2**33, "model_cfg", "embed_dim"),
    (small_openclip, 2**20, "model_cfg", "text_cfg", "width"),
    (small_openclip, 10**9, "model_cfg", "text_cfg", "layers"),
    (small_openclip, 2**33, "model_cfg", "text_cfg", "vocab_size"),
    (small_openclip, 2**24, "model_cfg", "text_cfg", "context_length"),
]
BERT = {"hidden_size": 2**20, "intermediate_size": 2**30, "num_hidden_layers": 100_000}
BERT |= {"vocab_size": 2**33, "max_position_embeddings": 2**33}
NETWORKS += [(write, size, name) for write in (small_bert, small_torch_bert) for name, size in BERT.items()]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: f"{network[0].__name__}-{network[-1]}")
def test_a_model_that_asks_for_gigabytes(tmp_path: Path, network: tuple) -> None:
    write, value, *keys, last = network
    config, load = write(tmp_path / "model")
    load()
    settings = json.loads(config.read_text())
    functools.reduce(dict.__getitem__, keys, settings)[last] = value
    config.write_text(json.dumps(settings))
    fails_cheaply(load, room=2**36)


@pytest.mark.parametrize("size", [GIGABYTE, 10**6])
def test_json_of_a_gigabyte_or_nested_a_million_times(tmp_path: Path, size: int) -> None:
    path = sparse(tmp_path / "open_clip_config.json", size, b"{" if size == GIGABYTE else size * b"[")
    part = "16,777,216 bytes" if size == GIGABYTE else path.name
    fails_cheaply(lambda: read_json(path), part)
    fails_cheaply(lambda: prompts.read_classes(str(path)), part)
    fails_cheaply(lambda: load_encoder(f"openclip:local-dir:{tmp_path}"), str(tmp_path))


def test_an_index_of_shards_of_a_gigabyte(tmp_path: Path) -> None:
    sparse(tmp_path / "shards.json", GIGABYTE, b"{")
    fails_cheaply(lambda: read_dataset(tmp_path), "shards.json")
    sparse(tmp_path / "shard-000000.json", GIGABYTE, b"{")
    sparse(tmp_path / "shard-000000.tar", GIGABYTE)
    fails_cheaply(lambda: MediaPath(tmp_path / "shard-000000.tar" / "000000000.avi").open(), "shard-000000.json")


class Endless(http.server.BaseHTTPRequestHandler):
    """A server that sends endless zeros instead of an index, or after a requested range."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        content = type(self).files.get(self.path)
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "bytes=0-999999")).groups())
        self.send_response(206)
        self.end_headers()
        with contextlib.suppress(OSError):
            if content is not None:
                self.wfile.write(content[first : last + 1])
            while content is None or self.path.endswith(".tar"):
                self.wfile.write(bytes(MEGABYTE))


@pytest.mark.slow
def test_a_server_that_sends_without_end(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "MOST_BYTES_OF_LISTS", 32 * MEGABYTE)
    prepare(data, tmp_path, ShardOptions(frames=2, short_side=32))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = f"http://127.0.0.1:{server.server_port}"
        fails_cheaply(lambda: read_dataset(source), "shards.json", "33,554,432 bytes")
        monkeypatch.setattr(Endless, "files", {f"/{path.name}": path.read_bytes() for path in tmp_path.iterdir()})
        clip = read_dataset(source).items[0].path
        fails_cheaply(lambda: MediaPath(clip).open(), str(clip))
        server.shutdown()


@pytest.mark.slow
def test_ten_million_lines(tmp_path: Path) -> None:
    table, names, labels = tmp_path / "a.csv", tmp_path / "names.txt", tmp_path / "labels.csv"
    lines = b"".join(b"%d,n%d,a.png,b\n" % (number, number) for number in range(100_000))
    table.write_bytes(b"id,name,path,label\n" + 100 * lines)
    labels.write_text("id,name\n0,a\n")
    names.symlink_to(table)
    fails_cheaply(lambda: read_labels(table), "a.csv")
    fails_cheaply(lambda: read_dataset(table), "a.csv", "4,000,000 lines")
    fails_cheaply(lambda: read_dataset(names, labels=labels), "names.txt", "4,000,000 lines")
    fails_cheaply(lambda: read_names(str(names)), "names.txt")
    fails_cheaply(lambda: prompts.read_template(str(names)), "names.txt")


@pytest.mark.slow
@pytest.mark.parametrize("byte", [b'"', b"\0", b"a"])
def test_one_endless_line(tmp_path: Path, byte: bytes) -> None:
    """Zeros, or a quoted field that is never closed."""
    manifest, text = (sparse(tmp_path / name, GIGABYTE, 10**6 * byte) for name in ("a.csv", "a.txt"))
    labels = tmp_path / "labels.csv"
    labels.write_text("id,name\n0,a\n")
    fails_cheaply(lambda: read_dataset(manifest), "a.csv")
    fails_cheaply(lambda: read_labels(manifest), "a.csv")
    fails_cheaply(lambda: read_dataset(text, labels=labels), "a.txt")
    fails_cheaply(lambda: list(_names(manifest, Reporter())), "a.csv")
    fails_cheaply(lambda: list(_names(text, Reporter())), "a.txt")
