"""A cache whose rows or file were damaged, edited by hand, or written by another version."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from installed import Install
from made import PIXELS, write_video
from messages import refuses
from texthead.data.sampling import evenly
from texthead.encoders.encoder import Visual
from texthead.errors import TextheadError
from texthead.extensions import code_of_packages
from texthead.features.cache import FeatureCache, open_cache
from texthead.features.frames import FrameFeatures, frame_features
from texthead.features.reading import Reading
from texthead.parallel.progress import Reporter


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [write_video(folder / f"{colour}.mp4", colour, 5) for colour in ("red", "blue")]


def everything(length: int) -> list[int]:
    return evenly(length, most=8)


def edit(cache: FeatureCache, *statements: str) -> None:
    """Edit a cache's file with SQL statements."""
    with sqlite3.connect(cache.path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


EDITS = {
    "short": ("UPDATE frames SET feature = substr(feature, 1, 8) WHERE frame = 2",),
    "null": ("UPDATE frames SET feature = NULL WHERE frame = 2",),
    "nan": ("UPDATE frames SET feature = CAST(x'0000c07f' || substr(feature, 5) AS BLOB) WHERE frame = 2",),
    "another number": ("UPDATE frames SET feature = zeroblob(length(feature)) WHERE frame = 2",),
    "swapped frames": ("UPDATE frames SET frame = -1 WHERE frame = 2", "UPDATE frames SET frame = 2 WHERE frame = 3",
                       "UPDATE frames SET frame = 3 WHERE frame = -1"),
    "length of text": ("UPDATE lengths SET length = 'many'",),
    "another length": ("UPDATE lengths SET length = 3",),
    "another file's digest": ("UPDATE files SET digest = (SELECT max(digest) FROM files)",),
}  # fmt: skip


@pytest.mark.parametrize("kind", EDITS)
def test_a_row_that_was_edited_is_made_again(
    visual: Visual, videos: list[Path], cache: FeatureCache, kind: str
) -> None:
    messages: list[str] = []
    reading, reporter = Reading(cache=cache.path.parent), Reporter(note=messages.append)

    def features() -> list[torch.Tensor]:
        result = [*frame_features(visual, videos, everything, PIXELS, reading, reporter)]
        features = [entry.features for entry in result if isinstance(entry, FrameFeatures)]
        assert len(features) == len(videos)
        return features

    first = features()
    edit(cache, *EDITS[kind])
    again = features()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    (line,) = messages
    assert str(cache.path) in line
    assert "rows were damaged or edited" in line
    features()
    assert len(messages) == 1, "they are whole again"


@pytest.mark.parametrize("value", ["NULL", "x'00'", "'text'", "x'000000000000f87f'"])
def test_times_that_were_edited_are_missing(tmp_path: Path, value: str) -> None:
    cache = FeatureCache("key", tmp_path)
    cache.put_times("a", [0.0, 0.5])
    assert cache.times("a") == [0.0, 0.5]
    edit(cache, f"UPDATE times SET seconds = {value}")
    assert cache.times("a") is None


def test_rows_of_another_width_than_the_encoder_are_misfits(visual: Visual, tmp_path: Path) -> None:
    dim, cache = visual.spec.dim, open_cache(visual, PIXELS, tmp_path)
    assert cache is not None
    for count in (dim, dim - 1, 2 * dim):
        cache.put("a", 2, [0, 1], torch.ones(2, count))
        assert (cache.get("a", [0, 1]) is None) == (count != dim)
    assert cache.misfits == 2


def test_misnamed_cache_file_ignored(tmp_path: Path) -> None:
    cache = FeatureCache("key", tmp_path)
    cache.put("a", 1, [0], torch.ones(1, 4))
    cache.close()
    cache.path.rename(tmp_path / "other.sqlite")
    other = FeatureCache("other", tmp_path)
    assert other.get("a", [0]) is None
    assert other.misfits == 1


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


def newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


@pytest.mark.parametrize("damage", [text, cut, folder, other_tables, newer])
def test_a_file_that_is_no_such_cache_is_one_line(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cache = FeatureCache("key", tmp_path)
    cache.put("a", 200, range(200), torch.ones(200, 512))
    cache.close()
    damage(cache.path)
    with refuses(TextheadError, "key.sqlite: ", "TEXTHEAD_CACHE"):
        FeatureCache("key", tmp_path).get("a", range(200))


def test_features_depend_on_the_code_of_packages(install: Install) -> None:
    groups = "texthead.encoders", "texthead.readers"
    folder = install("mine", groups[1], "abc = mine:Reader", "VALUE = 1")
    before = code_of_packages(*groups)
    assert code_of_packages(groups[0]) == ""
    (folder / "mine.py").write_text("VALUE = 2")
    assert code_of_packages(*groups) not in ("", before)
