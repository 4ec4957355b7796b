"""The overview of a dataset, from made-up facts: numbers, columns and rows."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from messages import prints
from texthead.apps.doctor.file_stats import FileStats
from texthead.apps.doctor.overview import Overview, Spread
from texthead.data.dataset import Item

VIDEO = FileStats(Path("v.mp4"), frames=30, seconds=1.2, width=64, height=48)
IMAGE = FileStats(Path("i.jpg"), frames=1, width=64, height=48)
BROKEN = FileStats(Path("b.mp4"), fault="cut short", frames=9, seconds=9.0, problem="x")


def overview(*rows: tuple[FileStats, str, str | None]) -> Overview:
    """Return the overview of (facts, label, split) rows."""
    items = [Item(facts.path, (label,), split) for facts, label, split in rows]  # pyright: ignore[reportArgumentType]
    return Overview.of(items, [facts for facts, _, _ in rows])


def test_numbers_of_each_class_and_of_all() -> None:
    result = overview(
        (replace(VIDEO, frames=10, seconds=0.4), "b", "test"),
        (replace(VIDEO, frames=20, seconds=0.8), "b", "train"),
        (replace(VIDEO, frames=50, seconds=2.0, width=32), "b", "train"),
        (replace(VIDEO, frames=90, seconds=3.6), "b", "train"),
        (BROKEN, "b", "train"),
        (IMAGE, "a", "val"),
    )
    b, a = result.classes
    assert (b.name, b.items, b.splits, b.kinds) == ("b", 5, {"train": 4, "test": 1}, {"video": 5})
    # The unreadable file counts only as an item; the median of four is the lower middle one.
    assert (b.unreadable, b.frames) == (1, Spread(20, 10, 90, 170))
    assert b.seconds == Spread(0.8, 0.4, 3.6, sum((0.4, 0.8, 2.0, 3.6)))
    assert (b.size, b.sizes) == ((64, 48), 2)
    assert (a.name, a.kinds, a.frames, a.seconds) == ("a", {"image": 1}, Spread(1, 1, 1, 1), None)
    assert result.whole.splits == {"train": 4, "val": 1, "test": 1}
    assert (result.whole.items, result.whole.kinds, result.whole.sizes) == (6, {"video": 5, "image": 1}, 2)
    assert json.loads(json.dumps(asdict(result)))["classes"][0]["size"] == [64, 48]


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((75, 75), "75"),
        ((75, 60, 1200), "75 (60-1,200)"),
        ((2.5, 0.4, 12.0), "2.5 (0.4-12.0)"),
        ((0.04, 0.04, 1234.5), "0.04 (0.04-1,234)"),
        ((2.501, 2.5, 2.502), "2.5"),
    ],
)
def test_a_spread_in_words(numbers: tuple[float, ...], text: str) -> None:
    assert str(Spread.of(numbers)) == text


def test_only_columns_that_tell_something_are_shown() -> None:
    images = overview((IMAGE, "a", None), (IMAGE, "b", None))
    assert images.table(20) == (
        ["2 images of 2 classes: all 64x48"],
        {"class": "left", "items": "right"},
        images_rows(),
    )
    wide = replace(VIDEO, path=Path("w.mp4"), width=128, seconds=400.0)
    lines, sides, rows = overview((VIDEO, "a", "train"), (wide, "a", "train"), (IMAGE, "b", None)).table(20)
    assert [*sides] == ["class", "train", "none", "kinds", "frames", "seconds", "size"]
    assert [*sides.values()] == ["left", "right", "right", "left", "right", "right", "left"]
    assert rows == [
        ["all", "2", "1", "2 videos, 1 image", "30 (1-30)", "1.2 (1.2-400)", "64x48 (1 of 2)"],
        ["a", "2", "0", "2 videos", "30", "1.2 (1.2-400)", "64x48 (1 of 2)"],
        ["b", "0", "1", "1 image", "1", "-", "64x48"],
    ]
    prints(lines[0], "2 videos, 1 image of 2 classes: 61 frames, 6.7 min of video")
    prints(lines[1], "frames, seconds", "median", "size")


def images_rows() -> list[list[str]]:
    return [["all", "2"], ["a", "1"], ["b", "1"]]


def test_what_cannot_be_read_is_a_dash_and_a_line() -> None:
    lines, sides, rows = overview((BROKEN, "a", None), (VIDEO, "b", None)).table(20)
    assert ([*sides], rows[1]) == (["class", "items", "frames", "seconds"], ["a", "1", "-", "-"])
    prints(lines[-1], "1 of 2")
    (line, _), _, (row,) = overview((BROKEN, "a", None)).table(20)
    assert (line, row) == ("1 video of 1 class", ["a", "1"]), "no row of all"


def test_the_largest_classes_are_shown() -> None:
    """One image of class 0, two of class 1 and so on."""
    images = overview(*((IMAGE, f"{label}", None) for label in range(6) for _ in range(label + 1)))
    lines, _, rows = images.table(4)
    assert [row[0] for row in rows] == ["all", "5", "4", "3", "2"]
    prints(lines[-1], "the 4 largest of 6 classes")
