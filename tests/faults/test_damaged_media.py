"""Damaged media: each kind has its error from reading, `doctor`, preparing and predicting; none hangs or ends a process."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

from made import sound, write_frames, write_image, write_small_run, write_video
from media_files import damage
from texthead.data.dataset import Dataset, Item
from texthead.data.prepare import prepare
from texthead.errors import MediaError
from texthead.media import video as videos
from texthead.media.open import check, open_media
from texthead.prediction.bulk import open_parts, predict_parts
from texthead.runs.run import Run, load_run

SECONDS = 20.0


def filled(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def cut(make: Callable[[Path], object], share: float) -> Callable[[Path], object]:
    """The front of a whole file."""

    def write(path: Path) -> None:
        make(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return write


def video(path: Path, **options: object) -> Path:
    return write_video(path, "red", frames=24, **options)  # pyright: ignore[reportArgumentType]


def faststart(path: Path) -> None:
    """The index in front, as videos for the web have it."""
    video(path.with_suffix(".mkv"))
    with (
        av.open(str(path.with_suffix(".mkv"))) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as to,
    ):
        stream = to.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                to.mux(packet)
    path.with_suffix(".mkv").unlink()


def inside_its_index(path: Path) -> None:
    data = video(path).read_bytes()
    path.write_bytes(data[: data.index(b"moov") + 40])


def with_a_hole(path: Path) -> None:
    """Zeros in the middle, as a download in pieces leaves them."""
    data = bytearray(video(path).read_bytes())
    third = len(data) // 3
    data[third : third + third // 2] = bytes(third // 2)
    path.write_bytes(data)


def with_damage(path: Path) -> None:
    damage(video(path), 13)


def with_a_cover(path: Path) -> None:
    """Sound and a picture of its cover."""
    out = io.BytesIO()
    PIL.Image.new("RGB", (32, 32)).save(out, "JPEG")
    with av.open(str(path), "w", format="mp4") as container:
        audio = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
        packet = av.Packet(out.getvalue())
        packet.stream, packet.pts, packet.dts = cover, 0, 0
        container.mux(packet)


def packed(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.mp4", b"0" * 1000)


def with_wrong_checksum(path: Path) -> None:
    data = bytearray(write_image(path, "red").read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def of_fractions(path: Path) -> None:
    PIL.Image.fromarray(np.ones((8, 8), np.float32)).save(path)


def giant(path: Path) -> None:
    data = bytearray(write_image(path.with_suffix(".gif"), "red").read_bytes())
    data[6:10] = b"\x60\xea\x60\xea"
    path.write_bytes(data)


def named(path: Path, source: Callable[[Path], object], suffix: str) -> None:
    """A whole file under a wrong name."""
    other = path.with_name(f"other{suffix}")
    source(other)
    other.rename(path)


def frames_with_a_gap(path: Path) -> None:
    write_frames(path, "red")
    (path.parent / path.name.format(3)).unlink()


def frames_with_damage(path: Path) -> None:
    write_frames(path, "red")
    (path.parent / path.name.format(1)).write_bytes(b"no picture")


def frames_of_two_sizes(path: Path) -> None:
    write_frames(path, "red")
    PIL.Image.new("RGB", (20, 20)).save(path.parent / path.name.format(6))


def frames_of_none(path: Path) -> None:
    path.parent.mkdir(parents=True)


FRAMES = "f/img_{:05d}.png"
PAGE = b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 20
PLAYLIST = b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n"
# What it is: its name, how it is made, what the error says.
MADE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("a.mp4", lambda path: None, "no such file"),
    "a folder": ("a.mp4", Path.mkdir, "a folder, not a file"),
    "a link to nothing": ("a.mp4", lambda path: path.symlink_to("gone"), "no such file"),
    "a link to itself": ("a.mp4", lambda path: path.symlink_to(path), "no such file"),
    "a pipe that nobody writes to": ("a.mp4", os.mkfifo, "a pipe or a device"),
    "a device without end": ("a.mp4", lambda path: path.symlink_to("/dev/zero"), "a pipe or a device"),
    "empty": ("a.mp4", filled(b""), "the file is empty"),
    "text": ("a.mp4", filled(b"no video\n" * 100), "cannot be read as a video"),
    "noise": ("a.mkv", filled(np.random.default_rng(0).bytes(20_000)), "cannot be read as a video"),
    "a page of a server": ("a.mp4", filled(PAGE), "cannot be read as a video"),
    "a playlist": ("a.mp4", filled(PLAYLIST), "cannot be read as a video"),
    "a zip": ("a.mp4", packed, "cannot be read as a video"),
    "its first kilobyte": ("a.mp4", lambda path: filled(video(path).read_bytes()[:1000])(path), "cannot be read"),
    "cut, index behind": ("a.mp4", cut(video, 0.5), "cannot be read as a video"),
    "cut, index in front": ("a.mp4", cut(faststart, 0.6), "cut short: its header says 24 frames"),
    "cut inside its index": ("a.mp4", inside_its_index, "no video stream"),
    "cut .mkv": ("a.mkv", cut(video, 0.5), "cut short: its header says"),
    "cut .avi": ("a.avi", cut(lambda path: video(path, codec="mpeg4"), 0.9), "cut short: its header says"),
    "cut .avi, no frame left": (
        "a.avi",
        cut(lambda path: video(path, codec="mpeg4"), 0.5),
        "cannot be read as a video",
    ),
    "zeros in the middle": ("a.mp4", with_a_hole, "damaged|does not decode"),
    "a damaged frame": ("a.mp4", with_damage, "damaged|does not decode"),
    "sound alone": ("a.mp4", sound, "no video stream, it holds sound only"),
    "sound and its cover": ("a.m4a", with_a_cover, "no video stream, it holds sound only"),
    "a picture named as a video": ("a.mp4", lambda path: named(path, lambda p: write_image(p, "red"), ".png"), "video"),
    "a video named as a picture": ("a.jpg", lambda path: named(path, video, ".mp4"), "cannot be read as an image"),
    "a drawing in XML": ("a.png", filled(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), "cannot be read as an image"),
    "a cut .jpg": ("a.jpg", cut(lambda path: write_image(path, "red"), 0.5), "cannot be read as an image"),
    "a cut .png": ("a.png", cut(lambda path: write_image(path, "red"), 0.5), "cannot be read as an image"),
    "a cut .webp": ("a.webp", cut(lambda path: write_image(path, "red"), 0.5), "cannot be read as an image"),
    "a wrong checksum": ("a.png", with_wrong_checksum, "cannot be read as an image"),
    "pixels of no range": ("a.tif", of_fractions, "mode F have no known range"),
    "a giant .gif": ("a.gif", giant, "claims 60000x60000|cannot be read|no video stream|does not decode"),
    "frames with a gap": (FRAMES, frames_with_a_gap, "frame img_00003.png is missing"),
    "frames with a damaged one": (FRAMES, frames_with_damage, "frame img_00001.png: cannot be read as an image"),
    "frames of two sizes": (FRAMES, frames_of_two_sizes, "its frames change size"),
    "frames of which none is there": (FRAMES, frames_of_none, "none of the 0 files"),
}
# Of the reference data; the text is what reading all of it says.
SHARED = {
    "derived/zero_bytes.mp4": "the file is empty",
    "derived/random_bytes.mp4": "cannot be read as a video",
    "derived/text.avi": "cannot be read as a video",
    "derived/audio_only.m4a": "no video stream",
    "derived/truncated_no_moov.mp4": "cannot be read as a video",
    "derived/truncated_faststart.mp4": "cut short",
    "derived/bitflips.mp4": "damaged|does not decode",
    "real/decord_corrupted.mp4": "damaged|does not decode",
}
# Of a long video a clip takes only some frames, and damage between them changes none of those.
MAY_BE_PASSED_BY = {"zeros in the middle", "a damaged frame", "derived/bitflips.mp4", "real/decord_corrupted.mp4"}
MAY_BE_PASSED_BY |= {"frames of two sizes"}
# Reading knows only that no decoder takes them; `doctor` counts the bytes that their boxes claim.
CUT_UP_TO_THEIR_INDEX = {"cut, index behind", "cut inside its index", "its first kilobyte"}
CUT_UP_TO_THEIR_INDEX |= {"derived/truncated_no_moov.mp4"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(write_small_run(tmp_path_factory.mktemp("damaged") / "run"))


def test_there_are_more_than_thirty_kinds() -> None:
    assert len(MADE) + len(SHARED) > 40


@pytest.mark.parametrize("kind", MADE)
def test_what_was_made_here(kind: str, run: Run, tmp_path: Path) -> None:
    name, make, problem = MADE[kind]
    path = tmp_path / "in" / name
    (tmp_path / "in").mkdir()
    make(path)
    is_an_error_everywhere(path, problem, run, tmp_path, may_pass=kind in MAY_BE_PASSED_BY)


@pytest.mark.parametrize("name", SHARED)
def test_reference_data(name: str, run: Run, shared: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(shared / "decode" / name, tmp_path))
    is_an_error_everywhere(path, SHARED[name], run, tmp_path, may_pass=name in MAY_BE_PASSED_BY)


def is_an_error_everywhere(path: Path, problem: str, run: Run, out: Path, *, may_pass: bool) -> None:
    """The error of reading all of a file; of preparing it; of predicting, beside a file that is whole."""
    started = time.perf_counter()
    with pytest.raises(MediaError, match=problem) as caught:
        check(path)
    assert "\n" not in str(caught.value)
    assert caught.value.path == path

    lost = prepare(Dataset((Item(path, "a"),), "here"), out / "shards", skip_unreadable=True).unreadable
    # Of a file that is not there nothing was known when preparing began.
    assert [entry.path for entry in lost] == [str(path)]

    whole = write_video(out / "whole.mp4", "blue")
    (out / "list.txt").write_text(f"{path}\n{whole}\n")
    parts = open_parts(run, out / "list.txt", out / "named")
    state = predict_parts(parts, skip_unreadable=True)
    assert (state.files, state.finished) == (2, 1)
    assert state.unreadable == 1 or may_pass
    if not may_pass:
        with pytest.raises(MediaError, match=r"--skip-unreadable"):
            predict_parts(open_parts(run, out / "list.txt", out / "again"))
    assert time.perf_counter() - started < SECONDS


@pytest.mark.slow
def test_doctor_names_each_and_goes_on(shared: Path, tmp_path: Path) -> None:
    """All of them in one list, and two whole files behind: in two processes, as a user runs it."""
    paths: dict[str, Path] = {}
    for number, (kind, (name, make, _)) in enumerate(MADE.items()):
        paths[kind] = tmp_path / str(number) / name
        (tmp_path / str(number)).mkdir()
        make(paths[kind])
    paths |= {name: shared / "decode" / name for name in SHARED}
    expected = {str(path): _fault(kind, path) for kind, path in paths.items()}
    whole = [write_video(tmp_path / f"{colour}.mp4", colour, frames=9) for colour in ("red", "blue")]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((path, "a") for path in [*paths.values(), *whole])])

    command = [sys.executable, "-m", "texthead", "doctor", str(tmp_path / "list.csv")]
    # Who opens the pipe or the device hangs until the limit, and ends with another fault.
    options = ["--quick", "--json", "--workers", "2", "--limit", str(int(SECONDS))]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    told = [finding for finding in json.loads(done.stdout)["findings"] if finding["severity"] == "serious"]
    assert {finding["about"]: finding["fault"] for finding in told} == expected
    assert len(told) == len(expected) == len(MADE) + len(SHARED)
    assert all("; " in finding["detail"] for finding in told), "a remedy stands behind the rule"


def _fault(kind: str, path: Path) -> str:
    """What `doctor` must call it: what reading does, or better."""
    with pytest.raises(MediaError) as caught:
        check(path)
    if kind in CUT_UP_TO_THEIR_INDEX:
        assert caught.value.fault == "unreadable"
        return "cut short"
    return caught.value.fault


def test_a_file_that_takes_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of 2000 x 2000 of one colour is nothing to store and something to decode: so are ten thousand."""
    pictures = [PIL.Image.new("P", (2000, 2000), number % 2) for number in range(12)]
    path = tmp_path / "slow.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    monkeypatch.setattr(videos, "MAX_SECONDS", 0.02)
    for read in (check, lambda path: open_media(path).frames_at([11])):
        with pytest.raises(MediaError, match=r"takes more than 0 s to decode; cut it up or scale it down"):
            read(path)
    monkeypatch.undo()
    assert check(path) == 12
