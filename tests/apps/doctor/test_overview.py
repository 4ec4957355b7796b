"""The overview of a dataset, from made-up facts: numbers, text, rows and which files are shown."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from messages import prints
from texthead.apps.doctor.file_stats import FileStats
from texthead.apps.doctor.overview import Overview, Spread, duration, overview_of, overview_table, spread_text
from texthead.data.dataset import Item

VIDEO = FileStats(Path("v.mp4"), frames=30, seconds=1.2, width=64, height=48)
IMAGE = FileStats(Path("i.jpg"), frames=1, width=64, height=48)
BROKEN = FileStats(Path("b.mp4"), fault="cut short", frames=9, seconds=9.0, problem="x")


def overview(*rows: tuple[FileStats, str, str | None]) -> Overview:
    """Return the overview of (facts, label, split) rows."""
    items = [Item(facts.path, (label,), split) for facts, label, split in rows]  # pyright: ignore[reportArgumentType]
    return overview_of(items, [facts for facts, _, _ in rows])


def overview_of_sizes(counts: Sequence[int]) -> Overview:
    """Return the overview of images, `counts[0]` of class 000, `counts[1]` of class 001 and so on."""
    return overview(*((IMAGE, f"{number:03d}", None) for number, count in enumerate(counts) for _ in range(count)))


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
    assert (b.unreadable, b.frames, b.all_frames) == (1, Spread(20, 10, 90), 170)
    assert (b.seconds, b.all_seconds) == (Spread(0.8, 0.4, 3.6), pytest.approx(6.8))
    assert (b.size, b.sizes) == ((64, 48), 2)
    assert (a.name, a.kinds, a.frames, a.seconds) == ("a", {"image": 1}, Spread(1, 1, 1), None)
    assert result.whole.splits == {"train": 4, "val": 1, "test": 1}
    assert (result.whole.items, result.whole.kinds, result.whole.sizes) == (6, {"video": 5, "image": 1}, 2)
    assert json.loads(json.dumps(asdict(result)))["classes"][0]["size"] == [64, 48]


def test_a_class_of_which_nothing_can_be_read() -> None:
    result = overview((BROKEN, "a", None), (VIDEO, "b", None))
    a = result.classes[0]
    assert (a.frames, a.seconds, a.size, a.all_frames) == (None, None, None, 0)
    in_words = overview_table(result, 20)
    assert in_words.headers == ["class", "items", "frames", "seconds"]
    assert in_words.rows[1] == ["a", "1", "-", "-"]
    prints(in_words.unreadable, "1 of 2")
    assert overview_table(overview((VIDEO, "b", None)), 20).unreadable == ""
    prints(overview_table(overview((BROKEN, "a", None)), 20).headline, "1 video", "1 class")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (Spread(75, 75, 75), "75"),
        (Spread(75, 60, 1200), "75 (60-1,200)"),
        (Spread(2.5, 0.4, 12.0), "2.5 (0.4-12.0)"),
        (Spread(0.04, 0.04, 1234.5), "0.04 (0.04-1,234)"),
        (Spread(2.501, 2.5, 2.502), "2.5"),
        *((0.48, "0.5 s"), (119.0, "119 s"), (400.0, "6.7 min"), (7100.0, "118 min"), (7200.0, "2.0 h")),
        (1e7, "2,778 h"),
    ],
)
def test_a_spread_or_a_duration_in_words(value: Spread | float | None, text: str) -> None:
    assert (duration(value) if isinstance(value, float) else spread_text(value)) == text


def test_columns_that_tell_nothing_are_left_out() -> None:
    images = overview_table(overview((IMAGE, "a", None), (IMAGE, "b", None)), 20)
    assert overview((IMAGE, "a", None)).whole.splits == {"none": 1}
    assert (images.headers, images.rows[1], images.legend) == (["class", "items"], ["a", "1"], "")
    assert [row[0] for row in overview_table(overview((VIDEO, "a", None)), 20).rows] == ["a"], "no row of all"
    wide = replace(VIDEO, path=Path("w.mp4"), width=128)
    full = overview_table(overview((VIDEO, "a", "train"), (wide, "a", "train"), (IMAGE, "b", None)), 20)
    assert full.headers == ["class", "train", "none", "kinds", "frames", "seconds", "size"]
    assert full.sides == ["left", "right", "right", "left", "right", "right", "left"]
    assert full.rows == [
        ["all", "2", "1", "2 videos, 1 image", "30 (1-30)", "1.2", "64x48 (1 of 2)"],
        ["a", "2", "0", "2 videos", "30", "1.2", "64x48 (1 of 2)"],
        ["b", "0", "1", "1 image", "1", "-", "64x48"],
    ]
    prints(full.legend, "frames, seconds", "median", "size")


def test_rows_of_largest_and_smallest_classes() -> None:
    result = overview_table(overview_of_sizes([1, 2, 3, 4, 5, 6]), 4)
    *largest, between, fifth, sixth = (name for name, _ in result.rows)
    assert [*largest, fifth, sixth] == ["all", "005", "004", "001", "000"]
    prints(between, 2, "3-4")
    prints(overview_table(overview_of_sizes([1, 1, 1]), 2).rows[2][0], "1 more", "1 item")
    assert len(overview_table(overview_of_sizes([1] * 20), 20).rows) == 21
    assert len(overview_table(overview_of_sizes([1] * 21), 20).rows) == 22
