"""What a few bytes claim is checked before memory is taken: each in a process that gets little of it."""

import contextlib
import http.server
import json
import re
import shutil
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import av
import open_clip
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file

from made import pictures, taken, write_image, write_small_run, write_video, write_with_sound
from text_models import bert
from texthead import cli
from texthead.data.dataset import Dataset
from texthead.data.prepare import ShardOptions, prepare
from texthead.data.reading import read_dataset
from texthead.encoders.load import load_encoder
from texthead.encoders.openclip import save_openclip
from texthead.encoders.text_only import Sentences
from texthead.encoders.weights import read_tensors
from texthead.files import read_json
from texthead.media import shard, video
from texthead.media.open import check, open_media
from texthead.media.video_stream import open_stream
from texthead.prediction.bulk import _listed
from texthead.runs.folder import load_weights
from texthead.runs.run import load_run
from texthead.text import prompts
from texthead.text.class_names import read_names
from texthead.text.label_files import read_labels

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


def patched(path: Path, kind: bytes, *numbers: int, at: int = 8) -> None:
    """Put numbers into the last box of a kind, from a place in it on."""
    data = bytearray(path.read_bytes())
    struct.pack_into(f">{len(numbers)}I", data, data.rindex(kind) - 4 + at, *numbers)
    path.write_bytes(data)


def replaced(path: Path, kind: bytes, *numbers: int, within: tuple[bytes, ...]) -> None:
    """Put another box of the kind in place of the last one, and let those around it grow."""
    data = path.read_bytes()
    at = data.rindex(kind) - 4
    (old,) = struct.unpack_from(">I", data, at)
    new = struct.pack(f">I4s{len(numbers)}I", 8 + 4 * len(numbers), kind, *numbers)
    path.write_bytes(data[:at] + new + data[at + old :])
    for outer in within:
        (size,) = struct.unpack_from(">I", data, data.rindex(outer) - 4)
        patched(path, outer, size + len(new) - old, at=0)


def samples(path: Path, count: int) -> None:
    """Of one byte each, in one chunk, and lasting as long as one another: three tables of a line."""
    write_video(path, "red")
    patched(path, b"stsz", 0, 1, count)
    patched(path, b"stts", 1, count, at=12)
    patched(path, b"stsc", 1, 1, count, at=12)


def fragments(path: Path, count: int) -> None:
    """One run of samples of which nothing is said one by one."""
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 48, "yuv420p"
        for picture in pictures("red", 6, 0):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    patched(path, b"trun", 0, count)


def edits(path: Path, count: int) -> None:
    """A hundred edits, each of which shows all samples again."""
    samples(path, count // 100)
    replaced(path, b"elst", 0, 100, *100 * (count, 0, 1 << 16), within=(b"edts", b"trak", b"moov"))


def sound(path: Path, count: int, chunks: int = 1000) -> None:
    """Sound that is not compressed, all chunks of it at one place."""
    write_with_sound(path, 1)
    patched(path, b"stsz", 0, 2, 2**32 - 1)
    patched(path, b"stts", 1, 2**32 - 1, at=12)
    patched(path, b"stsc", 1, 1, 1024 * count // chunks, at=12)
    replaced(path, b"stco", 0, chunks, *chunks * (36,), within=(b"stbl", b"minf", b"mdia", b"trak", b"moov"))


TABLES = {"a.mp4": samples, "b.mp4": fragments, "c.mp4": edits, "a.mov": sound}


@pytest.mark.parametrize("count", [10**7, 8 * 10**7])
@pytest.mark.parametrize("name", TABLES)
def test_a_header_that_lists_many_millions_of_samples(tmp_path: Path, name: str, count: int) -> None:
    """FFmpeg takes 73 bytes for each when it opens the file."""
    path = tmp_path / name
    TABLES[name](path, count)
    assert path.stat().st_size < 250_000
    refuses(lambda: check(path), "samples, the limit is 4194304; cut it up", room=2**33)


def test_more_packets_than_a_header_may_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no header says how many there are, they are counted as they are listed."""
    path = write_video(tmp_path / "a.mkv", "red", frames=9)
    monkeypatch.setattr(video, "MAX_SAMPLES", 8)
    refuses(lambda: check(path), "holds more than 8 frames; cut it up")
    monkeypatch.setattr(video, "MAX_SAMPLES", 9)
    assert check(path) == 9


@pytest.mark.slow
def test_packets_of_next_to_nothing_are_not_all_held(tmp_path: Path) -> None:
    """Each is half a kilobyte in memory, with four bytes in it."""
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
        container, stream = open_stream(path, None)
        assert len(video._list_packets(path, container, stream)[0]) == count

    said, grown = taken(listed, 2**31)
    assert said == "no error"
    assert grown < video._HELD_BYTES + 250 * count


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


@pytest.fixture(scope="module")
def two_gigabytes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of next to nothing that unpacks to them."""
    path = tmp_path_factory.mktemp("zip") / "a.pt"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a/data.pkl", "w", force_zip64=True) as file,
    ):
        for _ in range(64):
            file.write(bytes(32 * MEGABYTE))
    return path


@pytest.mark.parametrize("script", [False, True])
def test_a_zip_of_weights_that_unpacks_to_two_gigabytes(two_gigabytes: Path, tmp_path: Path, script: bool) -> None:
    path = Path(shutil.copy(two_gigabytes, tmp_path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/constants.pkl" if script else "a/version", b"3")
    assert path.stat().st_size < 4 * MEGABYTE
    refuses(lambda: read_tensors(path), "a.pt")


def test_a_tensor_that_repeats_one_value(tmp_path: Path) -> None:
    """A stride of 0 lets one number stand for any number of them."""
    torch.save({"a": torch.zeros(1).expand(2**20, 2**20)}, tmp_path / "a.pt")
    refuses(lambda: read_tensors(tmp_path / "a.pt"), "a.pt", "'a' claims (1048576, 1048576)")


def in_json(path: Path, value: object, *keys: Any) -> None:
    """Put a value into a JSON file."""
    found = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(found))


TRANSFORMER = {"kind": "transformer", "dim": 256, "layers": 2}
RECIPES = {
    "one of timm's largest": ("timm:eva02_enormous_patch14_clip_224", "encoder", "architecture"),
    "wide": ({**TRANSFORMER, "dim": 2**20}, "temporal"),
    "a wide inside": ({**TRANSFORMER, "width": 2**20}, "temporal"),
    "deep": ({**TRANSFORMER, "layers": 10**9}, "temporal"),
    "long": ({**TRANSFORMER, "max_frames": 2**33}, "temporal"),
    "a long feature": (2**33, "encoder", "dim"),
    "a large map of text": ([2**17, 2**17], "head", "text_map"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_that_asks_for_a_network_of_gigabytes(tmp_path: Path, name: str) -> None:
    run = write_small_run(tmp_path / "run")
    load_run(run)
    value, *keys = RECIPES[name]
    in_json(run / "recipe.json", value, *keys)
    refuses(lambda: load_run(run), "they do not belong together", room=2**36)


CONFIGS = {
    "wide": (2**20, "model_cfg", "vision_cfg", "width"),
    "deep": (10**9, "model_cfg", "vision_cfg", "layers"),
    "large": (2**22, "model_cfg", "vision_cfg", "image_size"),
    "a long feature": (2**33, "model_cfg", "embed_dim"),
}
TEXT_CONFIGS = {
    "wide": (2**20, "model_cfg", "text_cfg", "width"),
    "deep": (10**9, "model_cfg", "text_cfg", "layers"),
    "wordy": (2**33, "model_cfg", "text_cfg", "vocab_size"),
    "long": (2**24, "model_cfg", "text_cfg", "context_length"),
}


def write_small_openclip(folder: Path) -> Path:
    """A CLIP model of 0.2 M numbers in open_clip's format."""
    towers = {
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 64, "heads": 1, "layers": 1},
    }
    save_openclip(folder, {"embed_dim": 8, **towers}, open_clip.CLIP(8, **towers).state_dict())
    return folder


@pytest.mark.parametrize("name", CONFIGS)
def test_a_folder_that_asks_for_a_network_of_gigabytes(tmp_path: Path, name: str) -> None:
    folder = write_small_openclip(tmp_path)
    load_encoder(f"openclip:local-dir:{folder}")
    in_json(folder / "open_clip_config.json", *CONFIGS[name])
    refuses(lambda: load_encoder(f"openclip:local-dir:{folder}"), "they do not belong together", room=2**36)


@pytest.mark.parametrize("name", TEXT_CONFIGS)
def test_a_folder_that_asks_for_a_text_tower_of_gigabytes(tmp_path: Path, name: str) -> None:
    folder = write_small_openclip(tmp_path)
    in_json(folder / "open_clip_config.json", *TEXT_CONFIGS[name])
    encoder = load_encoder(f"openclip:local-dir:{folder}")
    refuses(lambda: encoder.encode_text(["a"]), "they do not belong together", room=2**36)


SENTENCE_CONFIGS = {
    "wide": (2**20, "hidden_size"),
    "a wide inside": (2**30, "intermediate_size"),
    "deep": (100_000, "num_hidden_layers"),
    "wordy": (2**33, "vocab_size"),
    "long": (2**33, "max_position_embeddings"),
}


@pytest.mark.parametrize("name", SENTENCE_CONFIGS)
@pytest.mark.parametrize("torchs", [False, True], ids=["safetensors", "bin"])
def test_a_text_encoder_that_asks_for_a_network_of_gigabytes(tmp_path: Path, name: str, torchs: bool) -> None:
    folder = Path(bert(tmp_path / "bert", 16).removeprefix("text:"))
    if torchs:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    Sentences(folder)
    in_json(folder / "config.json", *SENTENCE_CONFIGS[name])
    refuses(lambda: Sentences(folder), "they do not belong together", room=2**36)


# --- text


def test_json_of_a_gigabyte(tmp_path: Path) -> None:
    path = sparse(tmp_path / "open_clip_config.json", GIGABYTE, b"{")
    refuses(lambda: read_json(path), "more than 16,777,216 bytes")
    refuses(lambda: prompts.read_classes(str(path)), "more than 16,777,216 bytes")
    refuses(lambda: load_encoder(f"openclip:local-dir:{tmp_path}"), "no open_clip model")


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


class Endless(http.server.BaseHTTPRequestHandler):
    """A server that sends zeros for ever instead of an index, or behind the parts that it is asked for."""

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

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endless() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_sends_without_end(
    data: Dataset, tmp_path: Path, endless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "MOST_BYTES_OF_LISTS", 32 * MEGABYTE)
    refuses(lambda: read_dataset(endless), "shards.json: cannot be read (holds more than 33,554,432 bytes")
    prepare(data, tmp_path, ShardOptions(frames=2, short_side=32))
    monkeypatch.setattr(Endless, "files", {f"/{path.name}": path.read_bytes() for path in tmp_path.iterdir()})
    clip = read_dataset(endless).items[0].path
    refuses(lambda: open_media(clip), "its server answers a part with the whole shard")


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
    refuses(lambda: read_names(str(names)), "holds more than")
    refuses(lambda: prompts.read_template(str(names)), "holds more than")


@pytest.mark.slow
@pytest.mark.parametrize("byte", [b'"', *(pytest.param(byte, marks=pytest.mark.slow) for byte in (b"\0", b"a"))])
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


BOMB = "template: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(10 * [f'*{before}'])}]\n" for before, name in pairwise("abcdefghij")
)
OPTIONS = {
    "a reference to references": (BOMB, "refers to a value by *a"),
    "a reference to itself": ("template: &a [*a]\n", "refers to a value by *a"),
    "a deep nest": (f"template: {'[' * 30_000}{']' * 30_000}\n", "nested more than 20 deep"),
    "a deep nest of maps": ("".join(f"{level * ' '}a:\n" for level in range(300)), "nested more than 20 deep"),
    "a long text": (f"template: {'x' * 10**8}\n", "holds more than 65,536 bytes"),
    "a million options": ("".join(f"k{number}: 1\n" for number in range(10**6)), "holds more than 65,536 bytes"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_in_yaml(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    content, word = OPTIONS[name]
    path = tmp_path / "options.yaml"
    path.write_text(content)

    def train() -> None:
        with pytest.raises(SystemExit, match="2"):
            cli.main(["train", str(tmp_path), "--out", str(tmp_path / "run"), "--config", str(path)])

    began = time.monotonic()
    said, grown = taken(train)
    assert said == "no error"
    assert grown < MOST
    assert time.monotonic() - began < 10
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"texthead: --config {path}: ")
    assert word in line
