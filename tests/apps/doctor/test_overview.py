"""The overview of a dataset, from made-up facts: totals, and items of each class."""

from dataclasses import replace
from pathlib import Path

from messages import prints
from texthead.apps.doctor.file_stats import FileStats
from texthead.apps.doctor.overview import Overview
from texthead.data.dataset import Item

VIDEO = FileStats(Path("v.mp4"), frames=30, seconds=1.2, width=64, height=48)
IMAGE = FileStats(Path("i.jpg"), frames=1, width=64, height=48)
BROKEN = FileStats(Path("b.mp4"), fault="cut short", frames=9, seconds=9.0, problem="x")


def overview(*rows: tuple[FileStats, str, str | None]) -> Overview:
    """Return the overview of (facts, label, split) rows."""
    items = [Item(facts.path, (label,), split) for facts, label, split in rows]  # pyright: ignore[reportArgumentType]
    return Overview.of(items, [facts for facts, _, _ in rows])


def test_totals_and_items_of_each_class() -> None:
    """A broken file counts as an item only."""
    wide = replace(VIDEO, width=128, seconds=400.0)
    result = overview(
        (IMAGE, "a", "val"), (VIDEO, "b", "test"), (VIDEO, "b", None), (wide, "b", "train"), (BROKEN, "b", "train")
    )
    assert (result.unreadable, result.frames, result.seconds) == (1, 91, 402.4)
    assert (result.kinds, result.sizes) == ({"video": 4, "image": 1}, {"64x48": 3, "128x48": 1})
    assert [*result.classes.items()] == [("b", {"test": 1, "none": 1, "train": 2}), ("a", {"val": 1})]
    (totals, broken), headers, rows = result.table(20)
    assert totals == "4 videos, 1 image of 2 classes: 91 frames, 6.7 min of video, 2 sizes, mostly 64x48"
    prints(broken, "1 of 5")
    assert headers == ["class", "train", "val", "test", "none"]
    assert rows == [["all", "2", "1", "1", "1"], ["b", "2", "0", "1", "1"], ["a", "0", "1", "0", "0"]]


def test_what_tells_nothing_is_left_out() -> None:
    images = overview((IMAGE, "a", None)).table(20)
    assert images == (["1 image of 1 class: all 64x48"], ["class", "items"], [["a", "1"]]), "no row of all"
    assert overview((BROKEN, "a", None)).table(20).lines[0] == "1 video of 1 class"
    assert overview((VIDEO, "a", None)).table(20).lines == ["1 video of 1 class: 30 frames, 1.2 s, all 64x48"]


def test_the_largest_classes_are_listed() -> None:
    """One image of class 0, two of class 1 and so on."""
    images = overview(*((IMAGE, f"{label}", None) for label in range(6) for _ in range(label + 1)))
    lines, _, rows = images.table(4)
    assert rows == [["all", "21"], ["5", "6"], ["4", "5"], ["3", "4"], ["2", "3"]]
    prints(lines[-1], "the 4 largest of 6 classes")
