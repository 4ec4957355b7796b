"""The overview of a dataset, from made-up facts: totals, and items of each class."""

from dataclasses import replace
from pathlib import Path

from texthead.apps.doctor.file_stats import FileStats
from texthead.apps.doctor.overview import overview
from texthead.data.dataset import Item

VIDEO = FileStats(Path("v.mp4"), frames=30, seconds=1.2, width=64, height=48)
IMAGE = FileStats(Path("i.jpg"), frames=1, width=64, height=48)
BROKEN = FileStats(Path("b.mp4"), fault="cut short", frames=9, seconds=9.0, problem="x")


def test_totals_and_items_of_each_class() -> None:
    """A broken file counts as an item only."""
    facts = [IMAGE, VIDEO, VIDEO, replace(VIDEO, width=128, seconds=400.0), BROKEN]
    labels, splits = ("a", "b", "b", "b", "b"), ("val", "test", None, "train", "train")
    items = [Item(each.path, (label,), split) for each, label, split in zip(facts, labels, splits, strict=True)]
    result = overview(items, facts)
    assert (result["unreadable"], result["frames"], result["seconds"]) == (1, 91, 402.4)
    assert (result["kinds"], result["sizes"]) == ({"video": 4, "image": 1}, {"64x48": 3, "128x48": 1})
    assert [*result["classes"].items()] == [("b", {"test": 1, "none": 1, "train": 2}), ("a", {"val": 1})]
    assert result["splits"] == {"val": 1, "test": 1, "none": 1, "train": 2}
