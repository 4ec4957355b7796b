"""A cache whose file was damaged, and what its key depends on."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from installed import Install
from made import tiny_visual
from messages import refuses
from texthead.errors import TextheadError
from texthead.extensions import code_of_packages
from texthead.features.cache import FeatureCache, open_cache


def text(path: Path) -> None:
    path.write_text("not a database\n" * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def other_tables(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE frames")
        db.execute("CREATE TABLE frames(name TEXT)")
    db.close()


@pytest.mark.parametrize("damage", [text, cut, folder, other_tables])
def test_a_file_that_is_no_such_cache_is_one_line(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cache = FeatureCache("key", tmp_path)
    cache.put("a", 200, range(200), torch.ones(200, 512))
    cache.close()
    damage(cache.path)
    with refuses(TextheadError, "key.2.sqlite: ", "TEXTHEAD_CACHE"):
        FeatureCache("key", tmp_path).get("a", range(200))


def test_features_depend_on_the_code_of_packages(install: Install) -> None:
    groups = "texthead.encoders", "texthead.readers"
    folder = install("mine", groups[1], "abc = mine:Reader", "VALUE = 1")
    before = code_of_packages(*groups)
    assert code_of_packages(groups[0]) == ""
    (folder / "mine.py").write_text("VALUE = 2")
    assert code_of_packages(*groups) not in ("", before)


@pytest.mark.parametrize("package", ["pillow", "av"])
def test_features_depend_on_what_decodes(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    visual = tiny_visual()
    with closing(open_cache(visual, visual.spec.pixels(), tmp_path)) as before:
        monkeypatch.setattr("texthead.features.cache.version", lambda name: "0" if name == package else version(name))
        with closing(open_cache(visual, visual.spec.pixels(), tmp_path)) as after:
            assert before.path != after.path
    monkeypatch.undo()
    with closing(open_cache(visual, visual.spec.pixels(), tmp_path)) as again:
        assert again.path == before.path
