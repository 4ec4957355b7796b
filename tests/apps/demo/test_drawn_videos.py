"""The drawn videos: complete, correctly labelled, deterministic for a seed, and with no shortcut to the class."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from messages import refuses
from texthead.apps.demo import drawn_videos
from texthead.apps.demo.drawn_videos import (
    COLUMNS,
    MOTIONS,
    OBJECTS,
    class_name,
    class_names,
    draw_clip,
    unseen_combinations,
)
from texthead.errors import DataError

GREY = (200, 200, 200)
SMALL: dict[str, Any] = {"train": 2, "test": 1, "frames": 4, "size": 48}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished draw; do not modify."""
    return draw_small(tmp_path_factory.mktemp("synthetic") / "draw").parent


def draw_small(out: Path, **change: Any) -> Path:
    return drawn_videos.draw_videos(out, **{**SMALL, **change})


def clip_on_grey(
    object: str, motion: str, seed: int, frames: int = 8, size: int = 112, picture: str = ""
) -> np.ndarray:
    picture, rng = picture or OBJECTS[object].train[0], np.random.default_rng(seed)
    grey = Image.new("RGB", (2 * size, 2 * size), GREY)
    with mock.patch.object(drawn_videos, "_background", return_value=grey):
        return draw_clip(picture, motion, frames=frames, size=size, rng=rng)


def covered(clip: np.ndarray) -> np.ndarray:
    """Return the mask of the object: true for each pixel that isn't background."""
    return (clip != np.array(GREY, np.uint8)).any(axis=-1)


@pytest.mark.parametrize("count", [1, 12, 23, 24, 25, 40])
def test_unseen_combinations_are_balanced(count: int):
    unseen = unseen_combinations(count, seed=3)
    assert len(set(unseen) & set(class_names())) == len(unseen) == count
    for words in (OBJECTS, MOTIONS):
        times = [sum(word in name for name in unseen) for word in words]
        assert max(times) - min(times) <= 1
        assert max(times) < 48 // len(words), "each still occurs among the seen classes"


def test_train_and_test_pictures_are_disjoint():
    for object, pictures in OBJECTS.items():
        one_picture = set(pictures.train) == set(pictures.test) and len(pictures.train) == 1
        assert one_picture or not set(pictures.train) & set(pictures.test), object
    assert sum(not set(p.train) & set(p.test) for p in OBJECTS.values()) >= 4


@pytest.mark.parametrize(("motion", "backwards"), [("moving right", "moving left"), ("growing", "shrinking")])
def test_opposite_motions_show_the_same_frames_in_reverse_order(motion: str, backwards: str):
    for seed, object in enumerate(OBJECTS):
        np.testing.assert_array_equal(clip_on_grey(object, motion, seed), clip_on_grey(object, backwards, seed)[::-1])


def test_the_manifest_lists_every_video_with_its_label(drawn: Path):
    listed = [*csv.DictReader((drawn / "clips.csv").open(newline=""))]
    assert tuple(listed[0]) == COLUMNS
    counts = {(name, split): SMALL[split] for name in class_names() for split in ("train", "test")}
    assert Counter((row["label"], row["split"]) for row in listed) == counts
    for row in listed:
        assert row["label"] == class_name(row["object"], row["motion"])
        assert row["picture"] in getattr(OBJECTS[row["object"]], row["split"])
        assert row["path"].startswith(f"videos/{row['label'].replace(' ', '-')}/{row['split']}_")
    assert {row["path"] for row in listed} == {path.relative_to(drawn).as_posix() for path in drawn.rglob("*.mp4")}
    # The picture does not reveal the motion.
    shown = Counter((row["object"], row["picture"], row["motion"]) for row in listed)
    for object, picture, _ in shown:
        assert len({shown[object, picture, motion] for motion in MOTIONS}) == 1


def test_a_finished_draw_with_its_credits_is_used_again(drawn: Path):
    assert "CC BY-SA 4.0" in (drawn / "CREDITS.txt").read_text()
    assert json.loads((drawn / "drawn.json").read_text()).items() >= {**SMALL, "seed": 0}.items()
    before = {path: path.stat().st_mtime_ns for path in drawn.rglob("*")}
    assert draw_small(drawn) == drawn / "clips.csv"
    assert before == {path: path.stat().st_mtime_ns for path in drawn.rglob("*")}


def test_a_draw_of_other_parameters_is_not_overwritten(drawn: Path):
    with refuses(DataError, drawn, "'seed': 1"):
        draw_small(drawn, seed=1)


def middles(clip: np.ndarray) -> np.ndarray:
    """Return the object's middle in each frame, as (x, y) in pixels."""
    return np.array([np.argwhere(mask).mean(axis=0)[::-1] for mask in covered(clip)])


def test_motions_are_what_their_names_say():
    for seed, object in enumerate(OBJECTS):
        right = middles(clip_on_grey(object, "moving right", seed))
        assert (np.diff(right[:, 0]) > 2).all()
        assert np.ptp(right[:, 1]) < 2

        jump = middles(clip_on_grey(object, "jumping", seed))
        assert np.ptp(jump[:, 0]) < 2
        assert np.ptp(jump[:, 1]) > 20
        assert {-1, 1} <= set(np.sign(np.diff(jump[:, 1]).round())), "up and down"

        area = covered(clip_on_grey(object, "growing", seed)).sum(axis=(1, 2))
        assert (np.diff(area) > 0).all()
        assert area[-1] > 2 * area[0]

        spin = clip_on_grey(object, "spinning", seed)
        assert np.ptp(middles(spin), axis=0).max() < 15
        assert (np.diff(spin.astype(int), axis=0) != 0).any(axis=(1, 2, 3)).all()
