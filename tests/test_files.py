"""A file is either written completely or left as it was."""

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from made import write_frames
from messages import refuses
from platforms import WINDOWS, symlink
from texthead.errors import RunError
from texthead.files import _clean_once, cache_dir, locked, new_folder, read_json, replacing, write_csv, write_json
from texthead.media.paths import MediaPath, fingerprints
from texthead.report.html import write_html
from texthead.runs.folder import save_model


def test_json_goes_there_and_back(tmp_path: Path) -> None:
    name_that_is_not_utf8 = "caf\udce9\\.mp4"
    value = {"name": "señal — 信号", "numbers": [1, 0.1, 1e-300], "none": None, "path": name_that_is_not_utf8}
    write_json(tmp_path / "deep" / "a.json", value)
    assert read_json(tmp_path / "deep" / "a.json") == value
    assert "信号" in (tmp_path / "deep" / "a.json").read_text(encoding="utf-8")
    assert os.listdir(tmp_path / "deep") == ["a.json"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), TypeError("no JSON")])
def test_exception_keeps_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(type(error)) as caught, replacing(path) as beside:
        beside.write_text("half a fi")
        raise error
    assert caught.value is error
    assert read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


WRITERS = {
    "JSON": lambda path: write_json(path, {"new": 2}),
    "CSV": lambda path: write_csv(path, ["new"], []),
    "a page": lambda path: write_html(path, "new"),
    "weights": lambda path: save_model(path, torch.nn.Linear(3, 2)),
}


@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_disk_fault_keeps_the_old_file(tmp_path, monkeypatch, kind, broken) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(broken, fail)
    with refuses(RunError, path, "No space left"):
        WRITERS[kind](path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_old_file_stands_until_the_new_one_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "a.json", []
    write_json(path, {"old": 1})
    old = path.stat().st_ino

    def sync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, read_json(path)))

    monkeypatch.setattr(os, "fsync", sync)
    write_json(path, {"new": 2})
    ((file, during),) = synced
    assert file == path.stat().st_ino != old
    assert (during, read_json(path)) == ({"old": 1}, {"new": 2})


class Interrupted(io.BytesIO):
    """A file whose writing is interrupted by Ctrl-C."""

    def write(self, data: object) -> int:
        raise KeyboardInterrupt


def test_an_interrupt_while_torch_saves_is_an_interrupt(tmp_path: Path) -> None:
    """torch turns any error during writing into one about an unexpected position."""
    path = tmp_path / "last.pt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path):
        torch.save({"a": torch.zeros(1000)}, Interrupted())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["last.pt"]


def test_all_files_have_the_same_rights(tmp_path: Path) -> None:
    plain, tensors = tmp_path / "plain", tmp_path / "a.safetensors"
    plain.write_text("")
    with replacing(tensors) as beside:
        save_file({"a": torch.zeros(3)}, beside)
    assert tensors.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("at", [0, 100_000, 2_000_000, 3_999_999])
def test_a_fingerprint_is_of_every_byte_of_a_picture(at: int, tmp_path: Path) -> None:
    """Uncompressed pictures may differ in few places, and share their borders."""
    content = bytes(4_000_000)
    first, copy, other, longer = (tmp_path / name for name in ("first", "copy", "other", "longer"))
    first.write_bytes(content)
    copy.write_bytes(content)
    other.write_bytes(content[:at] + b"x" + content[at + 1 :])
    longer.write_bytes(content + b"x")
    found = [MediaPath(path).fingerprint() for path in (first, copy, other, longer)]
    assert found[0] == found[1]
    assert len({*found}) == 3
    assert MediaPath(tmp_path / "gone").fingerprint() == MediaPath(tmp_path).fingerprint() == ""
    assert fingerprints([first, tmp_path / "gone", other]) == [found[0], "", found[2]]
    for size in (0, 1, 65_536, 65_537):
        (tmp_path / "small").write_bytes(content[:size])
        assert len(MediaPath(tmp_path / "small").fingerprint()) == 32


def test_a_fingerprint_of_a_large_file_is_of_blocks_all_over_it(tmp_path: Path) -> None:
    """A changed tenth is seen wherever it is."""
    size = 40_000_000
    prints = set()
    for tenth in range(10):
        content = bytearray(size)
        content[tenth * size // 10 : (tenth + 1) * size // 10] = b"x" * (size // 10)
        (tmp_path / "large").write_bytes(content)
        prints.add(MediaPath(tmp_path / "large").fingerprint())
    assert len(prints) == 10


def test_a_fingerprint_of_a_folder_of_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = "img_{:05d}.png"
    first = write_frames(tmp_path / "first" / template, "red", 30)
    copy = Path(shutil.copytree(tmp_path / "first", tmp_path / "copies" / "second")) / template
    assert MediaPath(first).fingerprint() == MediaPath(copy).fingerprint() != ""
    assert len(MediaPath(first).fingerprint()) == 32
    longer = write_frames(tmp_path / "longer" / template, "red", 31)
    blue = write_frames(tmp_path / "blue" / template, "blue", 30)
    named = write_frames(Path(f"{tmp_path}/named/{{:05d}}.png"), "red", 30)
    assert len({MediaPath(path).fingerprint() for path in (first, longer, blue, named)}) == 4
    shutil.copy(tmp_path / "blue" / "img_00030.png", tmp_path / "copies" / "second")
    assert MediaPath(copy).fingerprint() != MediaPath(first).fingerprint(), "the last frame is always looked at"
    one = write_frames(tmp_path / "one" / template, "red", 1)
    assert len(MediaPath(one).fingerprint()) == 32
    (tmp_path / "first" / "img_00007.png").unlink()
    assert MediaPath(first).fingerprint() == MediaPath(tmp_path / "gone" / template).fingerprint() == ""
    assert fingerprints([one, first]) == [MediaPath(one).fingerprint(), ""]
    opened, real = [], Path.open
    monkeypatch.setattr(Path, "open", lambda self, *words: opened.append(self.name) or real(self, *words))
    MediaPath(longer).fingerprint()
    assert (len(opened), opened[0], opened[-1]) == (8, "img_00001.png", "img_00031.png")


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("USERPROFILE" if WINDOWS else "HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "named"))
    assert cache_dir() == tmp_path / "named"
    monkeypatch.delenv("TEXTHEAD_CACHE")
    assert cache_dir() == tmp_path / "xdg" / "texthead"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == tmp_path / ".cache" / "texthead"


WRITE = """
import os, signal, sys
from pathlib import Path
from texthead.files import new_folder, replacing
folder = Path(sys.argv[1])
with replacing(folder / "state" / "a.json") as a, new_folder(folder / "b") as b:
    for path in (a, b / "file"):
        path.write_text("half")
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
"""


@pytest.fixture
def left(tmp_path: Path) -> list[Path]:
    """Return the file and the folder that a process left behind, which was killed while writing them."""
    code = subprocess.run([sys.executable, "-c", WRITE, str(tmp_path)], check=False).returncode
    assert code == (signal.SIGTERM if WINDOWS else -signal.SIGKILL)
    left = [*tmp_path.glob("state/.a.json.*"), *tmp_path.glob(".b.*")]
    assert len(left) == 2
    return left


def make_folder(out: Path) -> None:
    with new_folder(out):
        pass


@pytest.mark.parametrize("write", [lambda out: write_json(out, {}), make_folder])
def test_a_day_later_the_next_writer_removes_leftovers(left, tmp_path, write) -> None:
    for path in left:
        write(path.parent / "recent")
        assert path.exists()
        os.utime(path, (0, 0))
    _clean_once.cache_clear()
    for path in left:
        write(path.parent / "other")
        assert not path.exists()


def test_who_holds_a_folder_removes_all_leftovers_in_it(left: list[Path], tmp_path: Path) -> None:
    with locked(tmp_path):
        assert not any(path.exists() for path in left)


def test_files_with_similar_names_stay(tmp_path: Path) -> None:
    alike = [tmp_path / name for name in ("texthead-20261127-1530", ".a.json.machine.1", "texthead-tmp")]
    for path in alike:
        path.touch()
        os.utime(path, (0, 0))
    with locked(tmp_path):
        assert all(path.is_file() for path in alike)


@pytest.mark.parametrize("make", [os.mkdir, lambda path: symlink(path, "target")])
def test_a_folder_or_a_link_in_place_of_the_lock(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / ".lock")
    with refuses(RunError, f"{tmp_path}: cannot be written"), locked(tmp_path):
        pass
    assert not (tmp_path / "target").exists()
