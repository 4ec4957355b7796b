"""A file is there whole, or as it was before."""

import os
from pathlib import Path

import pytest

from texthead.files import cache_dir, read_json, replacing, write_json


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


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "named"))
    assert cache_dir() == tmp_path / "named"
    monkeypatch.delenv("TEXTHEAD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "texthead"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "texthead"
