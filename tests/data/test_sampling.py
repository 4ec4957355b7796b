"""The published frame numbers, and properties for any length."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import refuses
from texthead.data.protocol import Views
from texthead.data.sampling import (
    center_in_segment,
    clips_in_segments,
    crop_offsets,
    dense_clips,
    first_in_segment,
    middle_in_segment,
    random_in_segment,
    random_window,
)
from texthead.errors import DataError
from texthead.recipes import Origin

LENGTH = st.integers(1, 2000)
FRAMES = st.integers(1, 40)
CLIPS = st.integers(1, 12)


def one_based(indices: list[int]) -> list[int]:
    """Count from 1, as the published code does."""
    return [index + 1 for index in indices]


def test_frames_are_the_published_ones():
    """One a segment: the first in validation, drawn in training; several clips; dense clips."""
    for length, expected in [
        (300, [1, 38, 76, 113, 151, 188, 226, 263]),
        (100, [1, 13, 26, 38, 51, 63, 76, 88]),
        (9, [1, 2, 3, 4, 5, 6, 7, 8]),
        (5, [1, 1, 2, 2, 3, 4, 4, 5]),
    ]:
        assert one_based(first_in_segment(length, 8)) == expected
    drawn = random_in_segment(300, 8, np.random.RandomState(0).randint)
    assert one_based(drawn) == [1, 41, 79, 122, 170, 209, 262, 286]
    clips = [one_based(clip) for clip in clips_in_segments(300, 8, 4)]
    assert [clip[0] for clip in clips] == [1, 13, 25, 37]
    assert clips[-1] == [37, 74, 112, 149, 187, 224, 262, 299]
    clips = [one_based(clip) for clip in dense_clips(300, 8, 4)]
    assert [clip[0] for clip in clips] == [1, 58, 115, 172]
    assert all(np.diff(clip).tolist() == [16] * 7 for clip in clips)


@pytest.mark.parametrize(
    ("along", "size", "boxes"),
    [
        ("width", (341, 256, 224), [(0, 16), (116, 16), (58, 16)]),
        ("width", (600, 336, 336), [(0, 0), (264, 0), (132, 0)]),
        ("width", (256, 341, 224), [(0, 58), (32, 58), (16, 58)]),
        ("long-side", (341, 256, 224), [(0, 16), (116, 16), (58, 16)]),
        ("long-side", (256, 341, 224), [(16, 0), (16, 116), (16, 58)]),
        ("long-side", (224, 299, 224), [(0, 0), (0, 74), (0, 37)]),
        ("long-side", (299, 224, 224), [(0, 0), (74, 0), (37, 0)]),
        ("long-side", (224, 224, 224), [(0, 0), (0, 0), (0, 0)]),
    ],
)
def test_three_crops_are_the_published_ones(along, size, boxes):
    """Along the long side, as in ViFi-CLIP: at both ends and in the middle."""
    assert crop_offsets(*size, 3, along) == boxes
    assert crop_offsets(*size, 1, along) == crop_offsets(*size, 1)


@pytest.mark.parametrize("num_frames", [8, 16, 32])
@pytest.mark.parametrize("clips", [1, 2, 3, 4, 5, 10])
def test_exact_integers_equal_the_published_floats(num_frames, clips):
    for length in range(num_frames, 700):
        tick = length / float(num_frames)
        shifts = np.linspace(0, tick - 1, num=clips, dtype=int).tolist()
        expected = [[int(shift + tick * i) for i in range(num_frames)] for shift in shifts]
        assert clips_in_segments(length, num_frames, clips) == expected


@pytest.mark.parametrize("num_frames", [1, 2, 3, 7, 8, 12, 16, 32])
def test_validation_frames_are_those_of_actionclip_and_vifi_clip(num_frames):
    """Their arithmetic is in floats, which decide where a center is a whole number; ActionCLIP's one frame is L // 2."""
    for length in range(num_frames + 1, 700):
        offset = (length / num_frames - 1) / 2.0
        actionclip = [length // 2] if num_frames == 1 else [i * length / num_frames + offset for i in range(num_frames)]
        assert middle_in_segment(length, num_frames) == np.array(actionclip).astype(int).tolist()
        interval = (length - 1 + 1) / float(num_frames)
        vifi = (np.arange(num_frames) * interval + interval / 2.0).astype(int)
        assert center_in_segment(length, num_frames) == vifi.tolist()


def test_worked_examples():
    draws = iter([2, 0, 1, 0])
    assert random_in_segment(10, 3, lambda n: next(draws)) == [2, 3, 7]
    assert random_in_segment(2, 3, lambda n: next(draws)) == [0, 0, 1]
    assert center_in_segment(2, 3) == [0, 1, 1]
    assert middle_in_segment(2, 3) == [0, 0, 1]
    assert dense_clips(100, 8, 1) == [[0, 16, 32, 48, 64, 80, 96, 12]]
    assert Views(2, origin="center").frame_indices(40, 2) == [[5, 25], [15, 35]]
    assert random_window(100, 4, 10, lambda n: {61: 7}[n]) == [7, 17, 27, 37]
    assert Views(2, stride=3).frame_indices(40, 4) == [[0, 3, 6, 9], [28, 31, 34, 37]]


def test_stride_window_and_short_video():
    rng = np.random.default_rng(0)
    drawn = [random_window(12, 4, 3, lambda n: int(rng.integers(n))) for _ in range(40)]
    assert drawn == [[0, 3, 6, 9]] * 40, "there is one"
    starts = {random_window(20, 4, 3, lambda n: int(rng.integers(n)))[0] for _ in range(300)}
    assert starts == set(range(9))
    draws = iter([2, 0, 1])
    assert random_window(10, 3, 4, lambda n: next(draws)) == [2, 3, 7]
    for origin in get_args(Origin):
        for length in (1, 7, 11):
            short, plain = Views(2, origin=origin, stride=3), Views(2, origin=origin)
            assert short.frame_indices(length, 4) == plain.frame_indices(length, 4)
        # A single window is centered.
        assert Views(origin=origin, stride=3).frame_indices(20, 4) == [[4, 7, 10, 13]]


@given(LENGTH, FRAMES, st.integers(0, 2**32 - 1))
def test_random_frames_lie_one_in_each_segment(length, num_frames, seed):
    drawn = random_in_segment(length, num_frames, np.random.RandomState(seed).randint)
    assert len(drawn) == num_frames
    assert drawn == sorted(drawn)
    assert all(0 <= index < length for index in drawn)
    if length >= num_frames:
        assert len(set(drawn)) == num_frames
        starts = [*first_in_segment(length, num_frames), length]
        assert all(a <= index < b for a, index, b in zip(starts, drawn, starts[1:], strict=False))
    else:
        assert set(drawn) == set(range(length))


@given(LENGTH, FRAMES, CLIPS, st.sampled_from(["first", "center", "middle", "dense"]))
def test_views_give_full_clips_in_range(length, num_frames, clips, origin):
    indices = Views(clips, origin=origin).frame_indices(length, num_frames)
    assert len(indices) == clips
    for clip in indices:
        assert len(clip) == num_frames
        assert all(0 <= index < length for index in clip)
        assert origin == "dense" or clip == sorted(clip)


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 600), st.sampled_from([1, 3]))
def test_crops_stay_inside(width, height, size, crops):
    size = min(size, width, height)
    boxes = crop_offsets(width, height, size, crops)
    assert len(boxes) == crops
    assert all(0 <= x <= width - size and 0 <= y <= height - size for x, y in boxes)


def test_one_crop_is_torchvisions_center():
    for width, x in [(341, 58), (340, 58), (343, 60), (224, 0)]:
        assert crop_offsets(width, 256, 224, 1) == [(x, 16)]


def test_views_parse_and_print():
    views = Views.parse("4x3", Views(origin="center", along="long-side", stride=2))
    assert views == Views(4, 3, "center", "long-side", 2)
    assert (str(views), views.count) == ("4x3", 12)
    for text in ("", "4", "4x", "x3", "4X3", "4x3x1", "-4x3", " 4x3", "4 x 3", "٤x٣", "²x3", "4.0x3"):
        with refuses(DataError, "views", repr(text)):
            Views.parse(text)


def test_values_out_of_range():
    for name, value in (("clips", 0), ("clips", 2.0), ("crops", 5), ("stride", -1), ("origin", "last")):
        views = Views()
        object.__setattr__(views, name, value)  # Beartype checks the types of arguments before `Views` does.
        with refuses(DataError, name, repr(value)):
            views.__post_init__()
