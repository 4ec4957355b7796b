"""Drawn shapes: balanced pairs, true captions, and pictures and videos determined by their seed."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paper import shapes
from paper.shapes import Pair
from texthead.apps.demo.drawn_videos import MOTIONS
from texthead.media import MediaPath

SMALL: dict[str, Any] = {"pairs": 2, "train": 2, "test": 1, "frames": 3, "size": 48}
RED_CIRCLE = Pair("red", "circle")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_seen_and_unseen_pairs_are_disjoint_and_balanced(seed: int):
    seen, unseen = shapes.seen_pairs(seed), shapes.unseen_pairs(seed)
    assert len({pair.name for pair in shapes.all_pairs()}) == 144
    assert set(seen) | set(unseen) == set(shapes.all_pairs())
    assert not set(seen) & set(unseen)
    for part, times in ((seen, 8), (unseen, 4)):
        assert len(part) == 12 * times
        assert set(Counter(pair.colour for pair in part).values()) == {times}
        assert set(Counter(pair.shape for pair in part).values()) == {times}
    assert shapes.unseen_pairs(seed) == unseen
    assert set(shapes.unseen_pairs(seed + 1)) != set(unseen)


def test_twins_differ_in_what_their_captions_name():
    motions = Counter()
    for seed in range(60):
        first, second = shapes.draw_twins(RED_CIRCLE, rng=rng(seed), size=32)
        for twin, other in ((first, second), (second, first)):
            assert twin.distinguishing in twin.words
            assert twin.distinguishing not in other.words
        motions[first.distinguishing in MOTIONS] += 1
        assert {first.distinguishing, second.distinguishing} <= set(MOTIONS) or (
            first.distinguishing,
            second.distinguishing,
        ) in shapes.OPPOSITES
    assert min(motions.values()) > 15


def test_videos_are_listed_with_their_classes(tmp_path: Path):
    manifest = shapes.draw_shape_videos(tmp_path / "draw", **SMALL)
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter((row["label"], row["split"]) for row in rows) == {
        (name, split): SMALL[split] for name in shapes.video_names(2) for split in ("train", "test")
    }
    for row in rows:
        assert row["label"] == f"{Pair(row['colour'], row['shape']).name} {row['motion']}"
        with MediaPath(tmp_path / "draw" / row["path"]).open() as clip:
            assert clip.frames_at(range(clip.num_frames)).shape == (3, 3, 48, 48)
    assert len({row["path"] for row in rows}) == len(rows) == len(list(tmp_path.rglob("*.mp4")))
