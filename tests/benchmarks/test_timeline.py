"""Joined clips, and scoring of events against them."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import timeline
from benchmarks.timeline import Clip, Join
from made import write_video
from texthead.apps.timeline.events import Event, Stretch
from texthead.apps.timeline.timeline import open_timed
from texthead.data.dataset import Dataset, Item


def event(name: str, start: float, end: float) -> Event:
    return Event(name, start, end, 0.9, 0.9)


def test_events_are_matched_once_by_class_and_overlap():
    video = Join(Path("a.mp4"), 10, [("a", 0.0, 2.0), ("b", 2.0, 4.0), ("a", 4.0, 6.0)])
    events = [event("a", 0.0, 2.2), event("b", 2.9, 4.0), event("b", 4.0, 6.0), event("a", 0.1, 1.9)]
    # IoU with the truth: 0.91, 0.55, 0 (another class) and 0.9; the last loses to the first.
    f1, off = timeline.match_events(events, video)
    assert f1 == pytest.approx(200 * 2 / (4 + 3))
    assert sorted(off) == pytest.approx([0, 0, 2, 9])
    assert timeline.match_events([], video) == (0.0, [])
    assert timeline.match_events([event("a", 0.0, 0.9)], video) == (0.0, [])


def test_argmax_joins_neighbours():
    rows = [Stretch(0.0, 1.0, (0.4, 0.6)), Stretch(1.0, 2.0, (0.1, 0.9)), Stretch(2.0, 3.0, (0.7, 0.3))]
    result = timeline.by_argmax(rows, ["a", "b"])
    assert [(e.name, e.start, e.end, e.peak) for e in result] == [("b", 0.0, 2.0, 0.9), ("a", 2.0, 3.0, 0.7)]


def test_a_join_is_as_it_says(tmp_path: Path):
    items = [Item(write_video(tmp_path / f"{c}{i}.mp4", c, 6, i), c, "test") for c in ("red", "blue") for i in range(5)]
    other = Clip(None, np.zeros((4, 48, 48, 3), np.uint8))
    data = Dataset(tuple(items), "here")
    made = timeline.join(tmp_path / "a.mp4", data, [other] * 8, 10, np.random.default_rng(0))
    assert [label for label, _, _ in made.truth] in (["red", "blue"] * 4, ["blue", "red"] * 4)
    assert [start for _, start, _ in made.truth] == pytest.approx([i * 1.0 for i in range(8)])
    with open_timed(made.path) as video:
        assert video.num_frames == 80
        frames = video.frames_at([3, 8]).float().mean((2, 3))
    assert frames[1].max() < 30
    assert frames[0].argmax() == {"red": 0, "blue": 2}[made.truth[0][0]]


def test_halves_share_no_group():
    items = [Item(Path(f"{i}.mp4"), "ab"[i % 2], "train", f"{'ab'[i % 2]}{i // 4}") for i in range(20)]
    fit, rest = timeline.halves(Dataset(tuple(items), "here"))
    assert len(fit.items) + len(rest.items) == 20
    assert {item.group for item in fit.items}.isdisjoint({item.group for item in rest.items})
    assert fit.classes == rest.classes == ["a", "b"]
