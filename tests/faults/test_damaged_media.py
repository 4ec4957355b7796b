"""Damaged media: reading, preparing and predicting each report an error; none hangs or ends a process."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import PIL.Image
import pytest

from made import sound, write_frames, write_image, write_small_run, write_video
from media_files import damage, encode, read_all
from platforms import mkfifo, symlink
from texthead.data.dataset import Dataset, Item
from texthead.data.prepare import prepare
from texthead.errors import MediaError
from texthead.features.reading import ReadOptions
from texthead.media import MediaPath
from texthead.prediction.load import load_run
from texthead.prediction.run import Run

SECONDS = 20.0
FRAMES = "f/img_{:05d}.png"
PLAYLIST = b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n"
Writer = Callable[[Path], object]


def filled(content: bytes) -> Writer:
    return lambda path: path.write_bytes(content)


def changed(write: Callable[[Path], Path], change: Callable[[bytes], bytes]) -> Writer:
    """Return a writer of an intact file with changed bytes."""
    return lambda path: path.write_bytes(change(write(path).read_bytes()))


def cut(write: Callable[[Path], Path], share: float) -> Writer:
    return changed(write, lambda d: d[: int(len(d) * share)])


video = partial(write_video, colour="red", frames=24)
avi = partial(video, codec="mpeg4")
# The index in front, as in videos for the web.
faststart = partial(encode, count=24, container_options={"movflags": "faststart"})
image = partial(write_image, colour="red")


def middle_zeroed(content: bytes) -> bytes:
    """Zero the middle third of an .mp4's frames; its index stays intact, wherever the encoder puts it."""
    start, stop = content.index(b"mdat") + 4, content.index(b"moov") - 4
    third = (stop - start) // 3
    return content[: start + third] + bytes(third) + content[start + 2 * third :]


def named(write: Callable[[Path], Path], suffix: str) -> Writer:
    """Return a writer of an intact file with the wrong suffix."""
    return lambda path: write(path.with_suffix(suffix)).rename(path)


def frames(number: int, change: Writer) -> Writer:
    """Return a writer of a folder of frames that changes one of them."""
    return lambda path: change(Path(str(write_frames(path, "red")).format(number)))


# For each kind: the file's name, its writer, and a pattern of the error as `fault: problem`.
MADE: dict[str, tuple[str, Writer, str]] = {
    "missing": ("a.mp4", lambda path: None, "missing"),
    "a folder": ("a.mp4", Path.mkdir, "missing: .*folder"),
    "a link to nothing": ("a.mp4", lambda path: symlink(path, "gone"), "missing"),
    "a link to itself": ("a.mp4", lambda path: symlink(path, path), "missing"),
    "a pipe that nobody writes to": ("a.mp4", mkfifo, "missing: .*pipe"),
    "a device without end": ("a.mp4", lambda path: symlink(path, "/dev/zero"), "missing: .*device"),
    "empty": ("a.mp4", filled(b""), "empty"),
    "text": ("a.mp4", filled(b"no video\n" * 100), "unreadable: .*video"),
    "a playlist": ("a.mp4", filled(PLAYLIST), "unreadable: .*video"),
    "its first kilobyte": ("a.mp4", changed(video, lambda d: d[:1000]), "unreadable"),
    "cut, index behind": ("a.mp4", cut(video, 0.5), "unreadable: .*video"),
    "cut, index in front": ("a.mp4", cut(faststart, 0.6), "cut short: .*header.* 24 frames"),
    "cut inside its index": ("a.mp4", changed(video, lambda d: d[: d.index(b"moov") + 40]), "unreadable: .*stream"),
    "cut .mkv": ("a.mkv", cut(video, 0.5), "cut short: .*header"),
    "cut .avi": ("a.avi", cut(avi, 0.9), "cut short: .*header"),
    "cut .avi, no frame left": ("a.avi", cut(avi, 0.5), "unreadable: .*video"),
    "zeros in the middle": ("a.mp4", changed(video, middle_zeroed), "damaged"),
    "a damaged frame": ("a.mp4", lambda path: damage(video(path), 13), "damaged"),
    "sound alone": ("a.mp4", sound, "sound only"),
    "sound and its cover": ("a.m4a", lambda path: sound(path, image(path.with_suffix(".jpg"))), "sound only"),
    "a picture named as a video": ("a.mp4", named(image, ".png"), "unreadable"),
    "a video named as a picture": ("a.jpg", named(video, ".mp4"), "unreadable: .*image"),
    "a cut .jpg": ("a.jpg", cut(image, 0.5), "(unreadable|cut short): .*image"),
    "a wrong checksum": ("a.png", changed(image, lambda d: d[:200] + bytes(4) + d[204:]), "unreadable: .*image"),
    "pixels of no range": ("a.tif", PIL.Image.new("F", (8, 8), 1.0).save, "unreadable: .*image.*mode F"),
    "a giant .gif": ("a.gif", changed(image, lambda d: d[:6] + 2 * b"\x60\xea" + d[10:]), "damaged|unreadable"),
    "frames with a damaged one": (FRAMES, frames(1, filled(b"no picture")), "unreadable: .*img_00001.png: .*image"),
    "frames of two sizes": (FRAMES, frames(6, PIL.Image.new("RGB", (20, 20)).save), "changing size"),
}
# A clip uses only some frames, so damage to the others may go unnoticed.
MAY_PASS = {"zeros in the middle", "a damaged frame", "frames of two sizes"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(write_small_run(tmp_path_factory.mktemp("damaged") / "run"))


@pytest.mark.parametrize("kind", MADE)
def test_it_is_an_error_everywhere(kind: str, run: Run, tmp_path: Path) -> None:
    """In reading, in preparing, and in predicting a list that also has an intact file."""
    name, write, pattern = MADE[kind]
    path = tmp_path / "in" / name
    (tmp_path / "in").mkdir()
    write(path)
    started = time.perf_counter()
    with pytest.raises(MediaError) as caught:
        read_all(MediaPath(path).open())
    error = caught.value
    assert re.match(pattern, f"{error.fault}: {error.problem}")
    assert "\n" not in str(error)
    assert error.path == path

    lost = prepare(Dataset((Item(path, ("a",)),), "here"), tmp_path / "shards", skip_unreadable=True).unreadable
    assert [entry.path for entry in lost] == [path]

    whole = write_video(tmp_path / "whole.mp4", "blue")
    if path.is_file():
        errors = [each.error for each in run.predict([path, whole], reading=ReadOptions(skip_unreadable=True))]
        assert errors[1] is None
        assert errors[0] or kind in MAY_PASS
    assert time.perf_counter() - started < SECONDS


def loud_pictures(folder: Path) -> None:
    """Write pictures with damaged EXIF or pixels, for which Pillow warns or libtiff prints."""
    folder.mkdir(parents=True)
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010F] = 6, 40 * "x"
    picture = PIL.Image.new("RGB", (64, 48), "red")
    picture.save(folder / "whole.jpg", exif=exif)
    data = (folder / "whole.jpg").read_bytes()
    start, entry = data.index(b"Exif") + 6, data.index(b"\x01\x12\x00\x03")
    for name, at, new in (("TIFF", start, b"XXXX"), ("offset", start + 4, b"\x7f"), ("count", entry + 4, 4 * b"\xff")):
        (folder / f"{name}.jpg").write_bytes(data[:at] + new + data[at + len(new) :])
    picture.save(folder / "damaged.tif", compression="tiff_lzw")
    data = (folder / "damaged.tif").read_bytes()
    (folder / "damaged.tif").write_bytes(data[:10] + 30 * b"\xff" + data[40:])
    picture.convert("P").save(folder / "palette.png", transparency=bytes(range(256)))


def test_no_library_prints_or_warns_on_its_own(tmp_path, capfd, recwarn) -> None:
    """A picture with unreadable EXIF counts as upright."""
    loud_pictures(tmp_path / "in")
    readable = set()
    for path in (tmp_path / "in").iterdir():
        with suppress(MediaError), MediaPath(path).open() as media:
            media.frames_at([0])
            readable.add(path.name)
    assert readable == {"whole.jpg", "TIFF.jpg", "offset.jpg", "count.jpg", "palette.png"}
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if not line.startswith("tempfile.tif: ")] == [], "but for a line of libtiff"
    assert not recwarn.list
