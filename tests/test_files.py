"""A file is there whole, or as it was before."""

import io
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from texthead.files import cache_dir, fingerprint, fingerprints, read_json, replacing, write_json


def test_json_goes_there_and_back(tmp_path: Path) -> None:
    value = {"name": "señal — 信号", "numbers": [1, 0.1, 1e-300], "none": None}
    write_json(tmp_path / "deep" / "a.json", value)
    assert read_json(tmp_path / "deep" / "a.json") == value
    assert "信号" in (tmp_path / "deep" / "a.json").read_text(encoding="utf-8")
    assert os.listdir(tmp_path / "deep") == ["a.json"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), TypeError("no JSON")])
def test_an_exception_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(type(error)) as caught, replacing(path) as beside:
        beside.write_text("half a fi")
        raise error
    assert caught.value is error
    assert read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_old_file_stands_until_the_new_one_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "a.json", []
    write_json(path, {"old": 1})

    def sync(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), read_json(path)))

    monkeypatch.setattr(os, "fsync", sync)
    write_json(path, {"new": 2})
    ((name, during),) = synced
    assert Path(name).parent == tmp_path
    assert Path(name) != path
    assert during == {"old": 1}
    assert read_json(path) == {"new": 2}


class Interrupted(io.BytesIO):
    """A file whose writer presses Ctrl-C."""

    def write(self, data: object) -> int:
        raise KeyboardInterrupt


def test_an_interrupt_while_torch_saves_is_an_interrupt(tmp_path: Path) -> None:
    """torch reports whatever ends its writing as a position that it did not expect."""
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


def test_a_fingerprint_is_of_size_and_both_ends(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1024
    first, copy, middle, end, longer = (tmp_path / name for name in ("first", "copy", "middle", "end", "longer"))
    first.write_bytes(content)
    copy.write_bytes(content)
    middle.write_bytes(content[:100_000] + b"x" + content[100_001:])
    end.write_bytes(content[:-1] + b"x")
    longer.write_bytes(content[:100_000] + b"x" + content[100_000:])
    assert fingerprint(first) == fingerprint(copy)
    assert fingerprint(first) == fingerprint(middle), "the middle is not read: this is what makes it quick"
    assert len({fingerprint(path) for path in (first, end, longer)}) == 3
    assert fingerprint(tmp_path / "gone") == fingerprint(tmp_path) == ""
    assert fingerprints([first, tmp_path / "gone", end]) == [fingerprint(first), "", fingerprint(end)]
    for size in (0, 1, 65_536, 65_537, 131_072):
        (tmp_path / "small").write_bytes(content[:size])
        assert len(fingerprint(tmp_path / "small")) == 32


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "named"))
    assert cache_dir() == tmp_path / "named"
    monkeypatch.delenv("TEXTHEAD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "texthead"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "texthead"
